"""The U-Net of the two stages: 2-D on slices, 3-D on stacked probabilities."""

import itertools

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from segment.networks.blocks import convolution, double_convolution, pool, upsample
from segment.networks.network import Network, check_sizes

__all__ = ["SMALLEST_PROBABILITY", "UNet"]

SMALLEST_PROBABILITY = 1e-4


class UNet(Network):
    """U-Net with bilinear (2-D) or trilinear (3-D) upsampling.

    Parameters
    ----------
    dims : int
        2 for slices, 3 for volumes.
    in_channels : int
        Channels of the input. The 2.5-D U-Net, which sees what shines through from deeper slices, is the 2-D one
        with 2 k + 1 channels: the slice between its k neighbours on both sides.
    n_phases : int
        Channels of the output: one logit a phase.
    width : int
        Channels of the first level; each level below has twice as many. 64 in the papers.
    depth : int
        How often the resolution is halved. 4 in [1]_, 3 in [2]_.
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
        check_sizes({"in_channels": in_channels, "n_phases": n_phases, "width": width, "depth": depth})
        widths = [width * 2**level for level in range(depth + 1)]
        self.entry = double_convolution(dims, in_channels, widths[0])
        self.down = nn.ModuleList(double_convolution(dims, above, below) for above, below in itertools.pairwise(widths))
        self.up = nn.ModuleList(
            double_convolution(dims, above + below, above)
            for above, below in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.refines = refines
        self.exit = convolution(dims, widths[0], n_phases, 1)
        if refines:
            for parameter in self.exit.parameters():
                nn.init.zeros_(parameter)

    @property
    def factor(self) -> int:
        """Number of which every side of the input must be a multiple: 2 to the power of `depth`."""
        return 2 ** len(self.down)

    def logits(self, grey: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, n_phases, …)`` for an input ``(B, in_channels, …)``."""
        skips = [self.entry(grey)]
        for block in self.down:
            skips.append(block(pool(skips[-1])))
        x = skips.pop()
        for block in self.up:
            x = block(torch.cat([skips.pop(), upsample(x)], dim=1))
        logits: torch.Tensor = self.exit(x)
        if self.refines:
            logits = logits + grey[:, : logits.shape[1]].clamp(min=SMALLEST_PROBABILITY).log()
        return logits
