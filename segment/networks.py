"""The U-Net of the two stages: 2-D on slices, 3-D on stacked probabilities."""

import itertools
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from torch.nn import functional

__all__ = ["UNet", "count_parameters"]

SMALLEST_PROBABILITY = 1e-4


class UNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """U-Net with bilinear (2-D) or trilinear (3-D) upsampling.

    Parameters
    ----------
    dims : int
        2 for slices, 3 for volumes.
    in_channels : int
        Channels of the input.
    n_phases : int
        Channels of the output: one logit a phase.
    width : int
        Channels of the first level; each level below has twice as many.
    depth : int
        How often the resolution is halved.
    refines : bool
        The first `n_phases` input channels are probabilities, and the network learns what to add to their
        logarithms. It begins by changing nothing.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer, T. Brox, "U-Net", MICCAI 2015, arXiv:1505.04597.
    .. [2] Ö. Çiçek et al., "3D U-Net", MICCAI 2016, arXiv:1606.06650.
    """

    @register_to_config
    def __init__(
        self,
        dims: int = 2,
        in_channels: int = 1,
        n_phases: int = 2,
        width: int = 16,
        depth: int = 3,
        refines: bool = False,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.entry = _double_convolution(dims, in_channels, widths[0])
        self.down = nn.ModuleList(
            _double_convolution(dims, above, below) for above, below in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(
            _double_convolution(dims, above + below, above)
            for above, below in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.refines = refines
        self.exit = _convolution(dims, widths[0], n_phases, size=1)
        if refines:
            for parameter in self.exit.parameters():
                nn.init.zeros_(parameter)

    @property
    def factor(self) -> int:
        """Number of which every side of the input must be a multiple."""
        return 2 ** len(self.down)

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, n_phases, …)`` for an input ``(B, in_channels, …)``."""
        pool = functional.max_pool2d if grey.ndim == 4 else functional.max_pool3d
        skips = [self.entry(grey)]
        for block in self.down:
            skips.append(block(pool(skips[-1], 2)))
        x = skips.pop()
        mode = "bilinear" if grey.ndim == 4 else "trilinear"
        for block in self.up:
            x = functional.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
            x = block(torch.cat([skips.pop(), x], dim=1))
        logits = self.exit(x)
        if self.refines:
            logits = logits + grey[:, : logits.shape[1]].clamp(min=SMALLEST_PROBABILITY).log()
        return logits


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers training may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _convolution(dims: int, fan_in: int, fan_out: int, size: int = 3) -> nn.Module:
    kinds: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
    if dims not in kinds:
        raise ValueError(f"dims is {dims}; give 2 for slices or 3 for volumes")
    return kinds[dims](fan_in, fan_out, size, padding=size // 2)


def _double_convolution(dims: int, fan_in: int, fan_out: int) -> nn.Sequential:
    # Batch rather than group norm: its statistics are fixed after training, so the answer at a voxel depends on its
    # surroundings alone and not on where a tile happens to end.
    normalise = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
    return nn.Sequential(
        _convolution(dims, fan_in, fan_out), normalise(fan_out), nn.SiLU(),
        _convolution(dims, fan_out, fan_out), normalise(fan_out), nn.SiLU(),
    )  # fmt: skip
