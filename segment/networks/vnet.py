"""The V-Net: residual blocks, and learnt down- and upsampling instead of pooling."""

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from segment.networks.blocks import CONVOLUTIONS, batch_norm, convolution, transposed_convolution
from segment.networks.network import Network, check_sizes

__all__ = ["VNet"]

# How many convolutions a residual block has, from the first level to the deepest.
BLOCK_LENGTHS = (1, 2, 3, 3, 3)


class VNet(Network):
    """V-Net for volumes.

    Parameters
    ----------
    dims : int
        3; the papers have no other.
    in_channels : int
        Channels of the input.
    n_phases : int
        Channels of the output: one logit a phase.
    width : int
        Channels of the first level; each level below has twice as many. 16 in the paper.
    depth : int
        How often the resolution is halved, 1 to 4. 4 in the paper.
    kernel : int
        Side of the filters, odd. 5 in the paper.

    Notes
    -----
    As in [1]_: residual blocks of 1, 2, 3, 3 and 3 convolutions, PReLU, halving by convolutions of side 2 and stride
    2, doubling by their transposes, the skipped features concatenated. Batch norm after each convolution is added, as
    everyone does since. Residual blocks are meant to keep fine boundaries [2]_.

    Not MONAI's: its widths are fixed (45.6 million parameters), its input may have 1, 2, 4, 8 or 16 channels only,
    which shuts out two probabilities beside a grey value, and two of its dropouts cannot be turned off.

    References
    ----------
    .. [1] F. Milletari, N. Navab, S.-A. Ahmadi, "V-Net", 3DV 2016, arXiv:1606.04797.
    .. [2] A. Colliard-Granero et al., "UTILE-Pore", J. Electrochem. Soc. 172 (2025) 074515, Table I.
    """

    @register_to_config
    def __init__(
        self,
        dims: int = 3,
        in_channels: int = 1,
        n_phases: int = 2,
        width: int = 8,
        depth: int = 3,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        _check_vnet(dims, depth, kernel)
        check_sizes({"in_channels": in_channels, "n_phases": n_phases, "width": width})
        widths = [width * 2**level for level in range(depth + 1)]
        lengths = BLOCK_LENGTHS[: depth + 1]
        self.entry = _unit(convolution(dims, in_channels, width, kernel), width)
        self.shrink, self.down = nn.ModuleList(), nn.ModuleList()
        self.grow, self.up = nn.ModuleList(), nn.ModuleList()
        for level in range(1, depth + 1):
            above, below = widths[level - 1], widths[level]
            self.shrink.append(_unit(CONVOLUTIONS[dims](above, below, 2, stride=2), below))
            self.down.append(_Residual(below, length=lengths[level], kernel=kernel))
        for level in range(depth, 0, -1):
            above = widths[level - 1]
            # The block before put out two halves: what came up from below and what was skipped.
            below = widths[level] if level == depth else 2 * widths[level]
            self.grow.append(_unit(transposed_convolution(dims, below, above), above))
            self.up.append(_Residual(2 * above, length=lengths[level - 1], kernel=kernel))
        self.exit = convolution(dims, 2 * width, n_phases, 1)

    @property
    def factor(self) -> int:
        """Number of which every side of the input must be a multiple: 2 to the power of `depth`."""
        return 2 ** len(self.down)

    def logits(self, grey: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, n_phases, Z, Y, X)`` for an input ``(B, in_channels, Z, Y, X)``."""
        skips = [self.entry(grey)]
        for shrink, block in zip(self.shrink, self.down, strict=True):
            skips.append(block(shrink(skips[-1])))
        x = skips.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat([grow(x), skips.pop()], dim=1))
        logits: torch.Tensor = self.exit(x)
        return logits


class _Residual(nn.Module):
    """Some convolutions whose input is added to their output."""

    def __init__(self, channels: int, *, length: int, kernel: int) -> None:
        super().__init__()
        self.units = nn.Sequential(
            *(_unit(convolution(3, channels, channels, kernel), channels) for _ in range(length - 1)),
            convolution(3, channels, channels, kernel),
            batch_norm(3, channels),
        )
        self.rectify = nn.PReLU(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        return self.rectify(x + self.units(x))


def _unit(layer: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(layer, batch_norm(3, channels), nn.PReLU(channels))


def _check_vnet(dims: int, depth: int, kernel: int) -> None:
    if dims != 3:
        raise ValueError(f"dims is {dims}; the V-Net exists for volumes alone: give 3")
    check_sizes({"depth": depth, "kernel": kernel})
    if depth >= len(BLOCK_LENGTHS):
        raise ValueError(f"depth is {depth}; the V-Net has 1 to {len(BLOCK_LENGTHS) - 1} halvings")
    if kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel}; give an odd side")
