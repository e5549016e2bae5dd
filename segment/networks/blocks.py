"""The layers of which the networks are built, for pictures and for volumes."""

from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

__all__ = ["batch_norm", "convolution", "double_convolution", "pool", "transposed_convolution", "upsample"]

CONVOLUTIONS: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


def convolution(dims: int, fan_in: int, fan_out: int, size: int = 3, **options: Any) -> nn.Module:
    """Return a convolution with zeros around its input, so that at stride 1 the size stays.

    Parameters
    ----------
    dims : int
        2 for slices, 3 for volumes.
    fan_in, fan_out : int
        Channels before and after.
    size : int
        Side of the filter, odd.
    **options
        Of torch: ``stride``, ``groups``, ``bias``.

    Raises
    ------
    ValueError
        If `dims` is neither 2 nor 3.
    """
    if dims not in CONVOLUTIONS:
        raise ValueError(f"dims is {dims}; give 2 for slices or 3 for volumes")
    layer: nn.Module = CONVOLUTIONS[dims](fan_in, fan_out, size, padding=size // 2, **options)
    return layer


def transposed_convolution(dims: int, fan_in: int, fan_out: int) -> nn.Module:
    """Return the learnt upsampling that makes 2 voxels of 1 along each axis."""
    layer: nn.Module = TRANSPOSED[dims](fan_in, fan_out, 2, stride=2)
    return layer


def batch_norm(dims: int, channels: int) -> nn.Module:
    """Return a batch norm over the channels.

    Rather than group or instance norm: its statistics are fixed after training, so the answer at a voxel depends
    on its surroundings alone and not on where a tile happens to end.
    """
    layer: nn.Module = NORMS[dims](channels)
    return layer


def double_convolution(dims: int, fan_in: int, fan_out: int) -> nn.Sequential:
    """Return twice a convolution with 3-wide filters, batch norm and SiLU."""
    return nn.Sequential(
        convolution(dims, fan_in, fan_out), batch_norm(dims, fan_out), nn.SiLU(),
        convolution(dims, fan_out, fan_out), batch_norm(dims, fan_out), nn.SiLU(),
    )  # fmt: skip


def pool(x: torch.Tensor, factor: int = 2) -> torch.Tensor:
    """Return the maxima over blocks of `factor` voxels along each axis of ``(B, C, …)``."""
    return functional.max_pool2d(x, factor) if x.ndim == 4 else functional.max_pool3d(x, factor)


def upsample(x: torch.Tensor, factor: int = 2, *, by: Literal["linear", "nearest"] = "linear") -> torch.Tensor:
    """Return ``(B, C, …)`` with every side `factor` times as long; voxels are cells, not grid points."""
    if by == "nearest":
        return functional.interpolate(x, scale_factor=factor, mode="nearest")
    return functional.interpolate(x, scale_factor=factor, mode=LINEAR[x.ndim - 2], align_corners=False)
