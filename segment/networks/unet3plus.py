"""The U-Net 3+: every level of the decoder sees every scale, and every level is taught."""

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from segment.networks.blocks import batch_norm, convolution, pool, upsample
from segment.networks.network import Network, check_sizes

__all__ = ["UNet3Plus"]


class UNet3Plus(Network):
    """U-Net 3+ with full-scale skip connections and deep supervision.

    Parameters
    ----------
    dims : int
        2 for slices, 3 for volumes.
    in_channels : int
        Channels of the input.
    n_phases : int
        Channels of the output: one logit a phase.
    width : int
        Channels of the first level, and of what each level contributes to another; each level of the encoder below
        has twice as many. 64 in the paper.
    depth : int
        How often the resolution is halved. 4 in the paper.

    Notes
    -----
    Level i of the decoder joins depth + 1 maps of `width` channels each: the encoder's levels above, max-pooled to
    its size; its own; and the decoder's levels below, interpolated (the deepest is the encoder's). One more
    convolution joins them [1]_. All filters are 3 wide, all convolutions have batch norm and a rectifier.

    In ``train()`` mode the answer is a tuple of ``depth + 1`` logits, all of the input's size: the final ones first,
    then those of the levels below, each interpolated from its own. A loss is meant to be summed over them. In
    ``eval()`` mode it is the final logits alone.

    The paper's classification-guided module is left out: it tells pictures without an organ from those with one, and
    every tile of a porous material holds pores. The weights of the redox-cell paper began from ImageNet's; these do
    not.

    References
    ----------
    .. [1] H. Huang et al., "UNet 3+: a full-scale connected UNet for medical image segmentation", ICASSP 2020,
       arXiv:2004.08790, equation 1.
    """

    @register_to_config
    def __init__(self, dims: int = 2, in_channels: int = 1, n_phases: int = 2, width: int = 8, depth: int = 3) -> None:
        super().__init__()
        check_sizes({"in_channels": in_channels, "n_phases": n_phases, "width": width, "depth": depth})
        widths = [width * 2**level for level in range(depth + 1)]
        joined = width * (depth + 1)
        self.encoder = nn.ModuleList(
            nn.Sequential(_unit(dims, before, here), _unit(dims, here, here))
            for before, here in zip([in_channels, *widths], widths, strict=False)
        )
        self.skips = nn.ModuleList()
        for level in range(depth):
            below = [joined] * (depth - level - 1) + [widths[-1]]
            self.skips.append(nn.ModuleList(_unit(dims, here, width) for here in widths[: level + 1] + below))
        self.join = nn.ModuleList(_unit(dims, joined, joined) for _ in range(depth))
        self.exits = nn.ModuleList(convolution(dims, fan_in, n_phases) for fan_in in [joined] * depth + [widths[-1]])

    @property
    def factor(self) -> int:
        """Number of which every side of the input must be a multiple: 2 to the power of `depth`."""
        return 2 ** len(self.join)

    def logits(self, grey: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return logits ``(B, n_phases, …)`` of the input's size, or while training a tuple of them."""
        levels = self._decode(self._encode(grey))
        if not self.training:
            return self._exit(levels[0], 0)
        return tuple(self._exit(features, level) for level, features in enumerate(levels))

    def _encode(self, grey: torch.Tensor) -> list[torch.Tensor]:
        levels = [self.encoder[0](grey)]
        for block in list(self.encoder)[1:]:
            levels.append(block(pool(levels[-1])))
        return levels

    def _decode(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the decoder's levels, the finest first, from the encoder's."""
        levels = list(levels)
        for here in range(len(self.join) - 1, -1, -1):
            # Levels below `here` are the decoder's already.
            units: Any = self.skips[here]
            maps = [
                unit(_bring(features, there - here))
                for there, (unit, features) in enumerate(zip(units, levels, strict=True))
            ]
            levels[here] = self.join[here](torch.cat(maps, dim=1))
        return levels

    def _exit(self, features: torch.Tensor, level: int) -> torch.Tensor:
        logits = self.exits[level](features)
        return upsample(logits, 2**level) if level else logits


def _bring(features: torch.Tensor, levels_up: int) -> torch.Tensor:
    """Return features brought up, or down if negative, by a number of levels."""
    if levels_up == 0:
        return features
    return upsample(features, 2**levels_up) if levels_up > 0 else pool(features, 2**-levels_up)


def _unit(dims: int, fan_in: int, fan_out: int) -> nn.Sequential:
    return nn.Sequential(convolution(dims, fan_in, fan_out), batch_norm(dims, fan_out), nn.ReLU())
