"""The U-Net whose encoder is a Swin transformer: attention in shifted windows."""

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config

from segment.networks.network import Network, check_sizes

__all__ = ["SwinUNet"]

# Patches of 2, and three times a merging of 2: where the last windows are.
COARSEST_ATTENTION = 16


class SwinUNet(Network):
    """Swin U-Net, MONAI's Swin UNETR, in two or three dimensions.

    Parameters
    ----------
    dims : int
        2 for slices, 3 for volumes.
    in_channels : int
        Channels of the input.
    n_phases : int
        Channels of the output: one logit a phase.
    width : int
        Channels of a patch of 2 voxels a side, a multiple of 12; each of the four stages doubles them. 48 in [1]_.
    window : int
        Side of an attention window in patches, 2 or more. 7 in [1]_; on the papers' 96³ cubes give 6.

    Notes
    -----
    Sides must be multiples of 16 · `window` (at a window of 6, then, of 96). MONAI takes every multiple of 32, but
    where a stage is smaller than the window it looks up relative positions for a window of another shape, so that
    weights learnt on small crops mean something else on larger tiles; and where a stage is no multiple of the window
    it fills up with zeros that are attended to. With these sides neither happens: every window of every stage is
    whole. Instance norms are replaced by batch norms. Where a window begins still depends on where the tile begins:
    tiles that overlap by a multiple of 16 · `window` see the same windows.

    Batch norm in training needs more than one value a channel, so a batch of a single picture must be larger than 32
    along a side. Weights begin at random, not from ImageNet. The papers tell no sizes.

    Raises
    ------
    ValueError
        If a size is out of range, or MONAI is not installed.

    References
    ----------
    .. [1] A. Hatamizadeh et al., "Swin UNETR", BrainLes 2021, arXiv:2201.01266.
    .. [2] Z. Liu et al., "Swin transformer", ICCV 2021, arXiv:2103.14030.
    """

    @register_to_config
    def __init__(
        self, dims: int = 2, in_channels: int = 1, n_phases: int = 2, width: int = 12, window: int = 4
    ) -> None:
        super().__init__()
        if dims not in (2, 3):
            raise ValueError(f"dims is {dims}; give 2 for slices or 3 for volumes")
        check_sizes({"in_channels": in_channels, "n_phases": n_phases, "width": width, "window": window})
        if width % 12:
            raise ValueError(f"width is {width}; give a multiple of 12")
        if window < 2:
            raise ValueError(f"window is {window}; give 2 or more")
        self.window = window
        self.body = _swin_unetr(
            spatial_dims=dims,
            in_channels=in_channels,
            out_channels=n_phases,
            feature_size=width,
            window_size=window,
            norm_name="batch",
            downsample="mergingv2",
        )

    @property
    def factor(self) -> int:
        """Number of which every side of the input must be a multiple: 16 · `window`."""
        return COARSEST_ATTENTION * self.window

    def logits(self, grey: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, n_phases, …)`` for an input ``(B, in_channels, …)``."""
        logits: torch.Tensor = self.body(grey)
        return logits


def _swin_unetr(**sizes: Any) -> torch.nn.Module:
    try:
        from monai.networks.nets.swin_unetr import SwinUNETR
    except ImportError as error:
        raise ValueError("the Swin U-Net needs MONAI, which is not installed: run pip install monai") from error
    body: torch.nn.Module = SwinUNETR(**sizes)
    return body
