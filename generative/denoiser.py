"""The network: a 3-D U-Net with residual blocks and self-attention that knows the time step."""

import math
from functools import partial
from typing import cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from generative.linear_estimate import LinearEstimate

__all__ = ["Denoiser"]


class Denoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]  # both name their file config_name
    """Predict noise, velocity or clean volume from a noisy volume and its time step.

    The network is convolutional and its attention has no notion of place, so one set of weights takes volumes
    of any shape whose lengths are multiples of `factor`.

    Parameters
    ----------
    n_phases : int
        Channels of the coded volume.
    channels : sequence of int
        Features of each level; each level halves the resolution of the one before.
    blocks_per_level : int
        Residual blocks of a level, on the way down and on the way up.
    attention_levels : int
        How many of the coarsest levels attend to the whole volume; with 1 or more the middle does too.
    attention_heads : int
        Heads of the attention; must divide the features of the levels that attend.
    stem : int
        Space-to-depth factor: blocks of `stem` × `stem` × `stem` voxels become channels first (1: none).
    conditions : int
        Numbers that describe a volume as a whole and that the network may be told, e.g. the volume fraction of each
        phase; 0: none.
    planar : bool
        Treat each z plane as a picture of its own: kernels 1 × 3 × 3; levels, stem and attention within the plane.
    linear_window : three ints, optional
        Shape of all volumes: the network is shown the best linear estimate of the clean volume too, and predicts what
        is to be added to it; see `generative.linear_estimate.LinearEstimate`, whose numbers must be measured once
        (``denoiser.linear.measure``). Its output then is a clean volume.
    timesteps : int
        Length of the schedule, which the linear estimate must know.

    Raises
    ------
    ValueError
        If the heads do not divide the features.

    References
    ----------
    Bentamou, Chrétien, Gavet, Comput. Mater. Sci. 248 (2025) 113596, section 3.2.3.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        n_phases: int = 2,
        channels: tuple[int, ...] = (32, 64, 128),
        blocks_per_level: int = 2,
        attention_levels: int = 1,
        attention_heads: int = 4,
        stem: int = 1,
        conditions: int = 0,
        planar: bool = False,
        linear_window: tuple[int, int, int] | None = None,
        timesteps: int = 1000,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        depth = len(channels)
        heads = [attention_heads if level >= depth - attention_levels else None for level in range(depth)]
        _check_heads(channels, heads)
        time_width = 4 * channels[0]
        block, conv = partial(_Block, time_width=time_width, planar=planar), partial(_conv, planar=planar)
        self.time = nn.Sequential(nn.Linear(channels[0], time_width), nn.SiLU(), nn.Linear(time_width, time_width))
        # One input more says whether the numbers are told at all.
        self.condition = nn.Linear(conditions + 1, time_width) if conditions else None
        self.linear = None
        if linear_window:
            self.linear = LinearEstimate(linear_window, channels=n_phases, timesteps=timesteps)
        coded = n_phases * (stem**2 if planar else stem**3)
        self.entry = conv(coded * (2 if linear_window else 1), channels[0])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before = channels[0]
        for level, width in enumerate(channels):
            last = level == depth - 1
            inputs = [before] + [width] * (blocks_per_level - 1)
            blocks = [block(n, width, heads=heads[level]) for n in inputs]
            self.down.append(_Level(blocks, nn.Identity() if last else conv(width, width, stride=2)))
            # Upwards a level starts from the coarser level's features (the middle's, at the bottom).
            inputs = [width if last else channels[level + 1]] + [width] * (blocks_per_level - 1)
            blocks = [block(n + width, width, heads=heads[level]) for n in inputs]
            self.up.insert(0, _Level(blocks, nn.Identity() if last else _Double(channels[level + 1], planar=planar)))
            before = width
        self.middle = nn.ModuleList([block(before, before, heads=heads[-1]), block(before, before, heads=None)])
        self.head = nn.Sequential(_norm(channels[0]), nn.SiLU(), conv(channels[0], coded))
        for parameter in self.head[-1].parameters():
            nn.init.zeros_(parameter)

    @property
    def factor(self) -> int:
        """Every length of a volume must be a multiple of this (of a planar network: its y and x)."""
        return int(self.config["stem"] * 2 ** (len(self.config["channels"]) - 1))

    @property
    def factors(self) -> tuple[int, int, int]:
        """The same along z, y and x."""
        return (1 if self.config["planar"] else self.factor, self.factor, self.factor)

    def forward(self, noisy: Tensor, timesteps: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Predict.

        Parameters
        ----------
        noisy : Tensor
            ``(B, n_phases, Z, Y, X)``.
        timesteps : Tensor
            ``(B,)`` whole numbers.
        conditions : Tensor, optional
            ``(B, conditions)``; not-a-numbers are not told. Without it nothing is told.

        Returns
        -------
        Tensor
            Of the shape of `noisy`; what it means is the schedule's ``prediction``.

        Raises
        ------
        ValueError
            If the channels are not the phases or a length is not a multiple of `factor`.
        """
        lengths = zip(noisy.shape[2:], self.factors, strict=True)
        if noisy.shape[1] != self.config["n_phases"] or any(length % factor for length, factor in lengths):
            raise ValueError(
                f"this denoiser takes (B, {self.config['n_phases']}, Z, Y, X) with multiples of {self.factors}, "
                f"not {tuple(noisy.shape)}"
            )
        emb = self._embed(timesteps, conditions)
        if self.linear is None:
            return self._predict_planes_or_volumes(noisy, emb)
        linear = self.linear(noisy, timesteps)
        return linear + self._predict_planes_or_volumes(torch.cat([noisy, linear.to(noisy)], dim=1), emb)

    def _predict_planes_or_volumes(self, noisy: Tensor, emb: Tensor) -> Tensor:
        if not self.config["planar"]:
            return self._predict(noisy, emb)
        depth = noisy.shape[2]
        planes = rearrange(noisy, "b c z y x -> (b z) c 1 y x")
        predicted = self._predict(planes, repeat(emb, "b w -> (b z) w", z=depth))
        return rearrange(predicted, "(b z) c 1 y x -> b c z y x", z=depth)

    def _embed(self, timesteps: Tensor, conditions: Tensor | None) -> Tensor:
        emb = self.time(
            get_timestep_embedding(timesteps, self.config["channels"][0], flip_sin_to_cos=True).to(self.dtype)
        )
        if self.condition is None or conditions is None:
            return cast(Tensor, emb)
        told = conditions.isfinite().all(dim=1, keepdim=True)
        known = torch.where(told, conditions, 0.0)
        return cast(Tensor, emb + self.condition(torch.cat([known, told.to(known)], dim=1).to(self.dtype)))

    def _predict(self, noisy: Tensor, emb: Tensor) -> Tensor:
        s = self.config["stem"]
        deep = 1 if self.config["planar"] else s
        x = self.entry(rearrange(noisy, "b c (z i) (y j) (x k) -> b (c i j k) z y x", i=deep, j=s, k=s))
        skips: list[Tensor] = []
        for level in cast(list[_Level], self.down):
            for block in level.blocks:
                x = self._run(block, x, emb)
                skips.append(x)
            x = level.resample(x)
        for block in self.middle:
            x = self._run(block, x, emb)
        for level in cast(list[_Level], self.up):
            x = level.resample(x)
            for block in level.blocks:
                x = self._run(block, torch.cat([x, skips.pop()], dim=1), emb)
        return rearrange(self.head(x), "b (c i j k) z y x -> b c (z i) (y j) (x k)", i=deep, j=s, k=s)

    def _run(self, block: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(block, x, emb, use_reentrant=False))
        return cast(Tensor, block(x, emb))


class _Level(nn.Module):
    """Residual blocks of one resolution and the step to the next (down: after them; up: before them)."""

    def __init__(self, blocks: list["_Block"], resample: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.resample = resample


class _Block(nn.Module):
    """Two convolutions with the time step as scale and shift between them, a shortcut, and maybe attention."""

    def __init__(self, inputs: int, width: int, *, time_width: int, heads: int | None, planar: bool) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inputs), _conv(inputs, width, planar=planar)
        self.time = nn.Linear(time_width, 2 * width)
        self.norm2, self.conv2 = _norm(width), _conv(width, width, planar=planar)
        self.shortcut = nn.Conv3d(inputs, width, 1) if inputs != width else nn.Identity()
        self.attention = _Attention(width, heads) if heads else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        scale, shift = rearrange(self.time(F.silu(emb)), "b (two c) -> two b c 1 1 1", two=2)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return cast(Tensor, self.attention(self.shortcut(x) + h))


class _Attention(nn.Module):
    """Every voxel attends to every voxel."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _norm(width)
        self.project = nn.Conv3d(width, 3 * width, 1)
        self.out = nn.Conv3d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        _, _, z, y, _ = x.shape
        projected = self.project(self.norm(x))
        q, k, v = rearrange(projected, "b (three h c) z y x -> three b h (z y x) c", three=3, h=self.heads)
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(rearrange(attended, "b h (z y x) c -> b (h c) z y x", z=z, y=y))


class _Double(nn.Module):
    """Twice the resolution by repetition, then a convolution."""

    def __init__(self, width: int, *, planar: bool) -> None:
        super().__init__()
        self.factors = (1.0, 2.0, 2.0) if planar else (2.0, 2.0, 2.0)
        self.conv = _conv(width, width, planar=planar)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(F.interpolate(x, scale_factor=self.factors, mode="nearest")))


def _conv(inputs: int, outputs: int, *, stride: int = 1, planar: bool) -> nn.Conv3d:
    if planar:
        return nn.Conv3d(inputs, outputs, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1))
    return nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1)


def _norm(width: int) -> nn.GroupNorm:
    # At least four channels in a group: with fewer, a one-voxel-deep level would be normalised to nothing.
    return nn.GroupNorm(math.gcd(width, max(1, min(32, width // 4))), width)


def _check_heads(channels: tuple[int, ...], heads: list[int | None]) -> None:
    for width, count in zip(channels, heads, strict=True):
        if count and width % count:
            raise ValueError(f"{count} attention heads do not divide {width} channels; change either")
