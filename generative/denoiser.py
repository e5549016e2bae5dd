"""The network: a 3-D U-Net with residual blocks and self-attention that knows the time step."""

import math
from typing import Literal, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["Denoiser"]


class Denoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]  # both name their file config_name
    """Predict noise, velocity or clean volume from a noisy volume and its time step.

    The network is convolutional and its attention has no notion of place, so one set of weights takes volumes
    of any shape whose lengths are multiples of `factor`.

    Parameters
    ----------
    n_phases : int
        Channels of the one-hot volume.
    channels : sequence of int
        Features of each level; each level halves the resolution of the one before.
    blocks_per_level : int
        Residual blocks of a level, on the way down and on the way up.
    attention_levels : int
        How many of the coarsest levels attend to the whole volume; the middle always does.
    attention_heads : int
        Heads of the attention; must divide the features of the levels that attend.
    stem : int
        Space-to-depth factor: blocks of `stem` × `stem` × `stem` voxels become channels first (1: none).

    Raises
    ------
    ValueError
        If there is no level or if the heads do not divide the features.

    References
    ----------
    Bentamou, Chrétien, Gavet, Comput. Mater. Sci. 248 (2025) 113596, section 3.2.3.
    """

    @register_to_config
    def __init__(
        self,
        n_phases: int = 2,
        channels: tuple[int, ...] = (32, 64, 128),
        blocks_per_level: int = 2,
        attention_levels: int = 1,
        attention_heads: int = 4,
        stem: int = 1,
    ) -> None:
        super().__init__()
        depth = len(channels)
        attentive = [level >= depth - attention_levels for level in range(depth)]
        for width in {w for w, attends in zip(channels, attentive, strict=True) if attends} | {channels[-1]}:
            if width % attention_heads:
                raise ValueError(f"{attention_heads} attention heads do not divide {width} channels; change either")
        time_width = 4 * channels[0]
        self.time = nn.Sequential(nn.Linear(channels[0], time_width), nn.SiLU(), nn.Linear(time_width, time_width))
        self.entry = _conv(n_phases * stem**3, channels[0])

        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        before = channels[0]
        for level, width in enumerate(channels):
            heads = attention_heads if attentive[level] else None
            inputs = [before] + [width] * (blocks_per_level - 1)
            last = level == depth - 1
            blocks = [_Block(n, width, time_width, heads=heads) for n in inputs]
            self.down.append(_Level(blocks, nn.Identity() if last else _conv(width, width, stride=2)))
            # Upwards a level starts from the coarser level's features (the middle's, at the bottom).
            inputs = [width if last else channels[level + 1]] + [width] * (blocks_per_level - 1)
            blocks = [_Block(n + width, width, time_width, heads=heads) for n in inputs]
            self.up.insert(0, _Level(blocks, nn.Identity() if last else _Double(channels[level + 1])))
            before = width
        self.middle = nn.ModuleList(
            [_Block(before, before, time_width, heads=attention_heads), _Block(before, before, time_width, heads=None)]
        )
        self.head = nn.Sequential(_norm(channels[0]), nn.SiLU(), _conv(channels[0], n_phases * stem**3))
        for parameter in self.head[-1].parameters():
            nn.init.zeros_(parameter)

    @property
    def factor(self) -> int:
        """Every length of a volume must be a multiple of this."""
        return int(self.config["stem"] * 2 ** (len(self.config["channels"]) - 1))

    def forward(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Predict.

        Parameters
        ----------
        noisy : Tensor
            ``(B, n_phases, Z, Y, X)``.
        timesteps : Tensor
            ``(B,)`` whole numbers.

        Returns
        -------
        Tensor
            Of the shape of `noisy`; what it means is the scheduler's ``prediction_type``.

        Raises
        ------
        ValueError
            If the channels are not the phases or a length is not a multiple of `factor`.
        """
        if noisy.shape[1] != self.config["n_phases"] or any(length % self.factor for length in noisy.shape[2:]):
            raise ValueError(
                f"this denoiser takes (B, {self.config['n_phases']}, Z, Y, X) with multiples of {self.factor}, "
                f"not {tuple(noisy.shape)}"
            )
        s = self.config["stem"]
        emb = self.time(
            get_timestep_embedding(timesteps, self.config["channels"][0], flip_sin_to_cos=True).to(self.dtype)
        )
        x = self.entry(rearrange(noisy, "b c (z i) (y j) (x k) -> b (c i j k) z y x", i=s, j=s, k=s))
        skips: list[Tensor] = []
        for level in cast(list[_Level], self.down):
            for block in level.blocks:
                x = block(x, emb)
                skips.append(x)
            x = level.resample(x)
        for block in self.middle:
            x = block(x, emb)
        for level in cast(list[_Level], self.up):
            x = level.resample(x)
            for block in level.blocks:
                x = block(torch.cat([x, skips.pop()], dim=1), emb)
        return rearrange(self.head(x), "b (c i j k) z y x -> b c (z i) (y j) (x k)", i=s, j=s, k=s)

    def set_boundary(self, boundary: Literal["zeros", "circular"]) -> None:
        """Choose what lies beyond the faces of the volume: nothing, or the volume again (periodic)."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d) and module.kernel_size != (1, 1, 1):
                module.padding_mode = boundary


class _Level(nn.Module):
    """Residual blocks of one resolution and the step to the next (down: after them; up: before them)."""

    def __init__(self, blocks: list["_Block"], resample: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.resample = resample


class _Block(nn.Module):
    """Two convolutions with the time step as scale and shift between them, a shortcut, and maybe attention."""

    def __init__(self, inputs: int, width: int, time_width: int, *, heads: int | None) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inputs), _conv(inputs, width)
        self.time = nn.Linear(time_width, 2 * width)
        self.norm2, self.conv2 = _norm(width), _conv(width, width)
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

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest")))


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1)


def _norm(width: int) -> nn.GroupNorm:
    # At least four channels in a group: with fewer, a one-voxel-deep level would be normalised to nothing.
    return nn.GroupNorm(math.gcd(width, max(1, min(32, width // 4))), width)
