"""The U-Net whose skipped features are weighed by what the level below has seen."""

import itertools

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from segment.networks.blocks import CONVOLUTIONS, convolution, double_convolution, pool, upsample
from segment.networks.network import Network, check_sizes

__all__ = ["AttentionUNet"]


class AttentionUNet(Network):
    """Attention U-Net with bilinear (2-D) or trilinear (3-D) upsampling.

    Parameters
    ----------
    dims : int
        2 for slices, 3 for volumes.
    in_channels : int
        Channels of the input.
    n_phases : int
        Channels of the output: one logit a phase.
    width : int
        Channels of the first level; each level below has twice as many. 64 in the papers.
    depth : int
        How often the resolution is halved. 4 in the papers.

    Notes
    -----
    The features x of a level are multiplied, before they are joined to those from below, by
    α = σ₂(ψ · σ₁(W_x x + W_g g + b_g) + b_ψ), equations 1 and 2 of [1]_, where g are the features of the level below,
    W_x has the stride that brings x to their size, σ₁ rectifies, σ₂ is the logistic function, and α is brought back
    by linear interpolation. The weights of the redox-cell paper began from ImageNet's; these do not.

    Not MONAI's: it joins with an instance norm that no argument changes, so that the answer at a voxel depends on
    where its tile ends, and its gates compare features of one and the same level.

    References
    ----------
    .. [1] O. Oktay et al., "Attention U-Net: learning where to look for the pancreas", MIDL 2018, arXiv:1804.03999.
    """

    @register_to_config
    def __init__(self, dims: int = 2, in_channels: int = 1, n_phases: int = 2, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        check_sizes({"in_channels": in_channels, "n_phases": n_phases, "width": width, "depth": depth})
        widths = [width * 2**level for level in range(depth + 1)]
        steps = list(itertools.pairwise(widths))
        self.entry = double_convolution(dims, in_channels, width)
        self.down = nn.ModuleList(double_convolution(dims, above, below) for above, below in steps)
        self.gates = nn.ModuleList(_Gate(dims, above, below) for above, below in reversed(steps))
        self.up = nn.ModuleList(double_convolution(dims, above + below, above) for above, below in reversed(steps))
        self.exit = convolution(dims, width, n_phases, 1)

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
        for gate, block in zip(self.gates, self.up, strict=True):
            x = block(torch.cat([gate(skips.pop(), x), upsample(x)], dim=1))
        logits: torch.Tensor = self.exit(x)
        return logits


class _Gate(nn.Module):
    """Weights between 0 and 1 for the features of a level, from themselves and from the level below."""

    def __init__(self, dims: int, above: int, below: int) -> None:
        super().__init__()
        self.of_features = CONVOLUTIONS[dims](above, above, 2, stride=2, bias=False)
        self.of_signal = convolution(dims, below, above, 1)
        self.weigh = convolution(dims, above, 1, 1)

    def forward(self, features: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
        """Return `features` ``(B, above, …)`` weighed with the help of a signal of half the size."""
        met = (self.of_features(features) + self.of_signal(signal)).relu()
        return features * upsample(self.weigh(met).sigmoid())
