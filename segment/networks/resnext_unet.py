"""The U-Net whose encoder is a ResNeXt: bottlenecks with grouped convolutions."""

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional

from segment.networks.blocks import batch_norm, convolution, upsample
from segment.networks.network import Network, check_sizes

__all__ = ["ResNeXtUNet"]

# Bottlenecks in each of the four stages, by the number of weighted layers.
STAGES = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class ResNeXtUNet(Network):
    """U-Net decoder on a ResNeXt encoder, in two or three dimensions.

    Parameters
    ----------
    dims : int
        2 for slices, 3 for volumes.
    in_channels : int
        Channels of the input.
    n_phases : int
        Channels of the output: one logit a phase.
    width : int
        Channels of the stem, a multiple of 4; stage s of the encoder puts out 4 · 2ˢ · `width`. 64 in the papers.
    layers : {26, 50, 101}
        Depth of the encoder, 101 in the papers.
    cardinality : int
        Groups of the middle convolution of each bottleneck, 32 in the papers. They must divide 2 · `width`.

    Notes
    -----
    The encoder is [1]_'s without its classifier: a stem with a 7-wide convolution of stride 2 and max-pooling, and
    four stages of bottlenecks 1, 3 (grouped), 1 wide, whose middle has half the channels of its output; at width 64 and
    cardinality 32 that is the template "32 × 4d". In three dimensions every filter gets a third axis of the same side.
    The papers give the backbone's name and no more, so the decoder is inferred: upsampling by repetition, the
    encoder's features of that size joined, two convolutions; 4, 2, 1, 1/2 and 1/4 times `width` channels from the
    deepest level on. Weights begin at random, not from ImageNet.

    The input's resolution is halved five times. Batch norm in training needs more than one value a channel, so a
    batch of a single picture must be larger than 32 along a side.

    References
    ----------
    .. [1] S. Xie et al., "Aggregated residual transformations for deep neural networks", CVPR 2017, arXiv:1611.05431,
       Table 1.
    """

    @register_to_config
    def __init__(
        self,
        dims: int = 2,
        in_channels: int = 1,
        n_phases: int = 2,
        width: int = 16,
        layers: int = 26,
        cardinality: int = 32,
    ) -> None:
        super().__init__()
        check_sizes({"in_channels": in_channels, "n_phases": n_phases, "width": width, "cardinality": cardinality})
        _check_resnext(width, layers, cardinality)
        self.stem = nn.Sequential(
            convolution(dims, in_channels, width, 7, stride=2, bias=False), batch_norm(dims, width), nn.ReLU()
        )
        self.stages = nn.ModuleList()
        channels, skipped = width, [width]
        for number, length in enumerate(STAGES[layers]):
            before, channels = channels, 4 * width * 2**number
            self.stages.append(
                nn.Sequential(
                    _Bottleneck(dims, before, channels, groups=cardinality, stride=1 if number == 0 else 2),
                    *(_Bottleneck(dims, channels, channels, groups=cardinality) for _ in range(length - 1)),
                )
            )
            skipped.append(channels)
        self.up = nn.ModuleList()
        below = skipped.pop()
        for beside, here in zip([*reversed(skipped), 0], _decoder_widths(width), strict=True):
            self.up.append(nn.Sequential(*_unit(dims, below + beside, here), *_unit(dims, here, here)))
            below = here
        self.exit = convolution(dims, below, n_phases)

    @property
    def factor(self) -> int:
        """Number of which every side of the input must be a multiple: 32."""
        return 2 ** len(self.up)

    def logits(self, grey: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, n_phases, …)`` for an input ``(B, in_channels, …)``."""
        skips = [self.stem(grey)]
        x = _pool_stem(skips[0])
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = skips.pop()
        for block in self.up:
            x = upsample(x, by="nearest")
            x = block(torch.cat([x, skips.pop()], dim=1) if skips else x)
        logits: torch.Tensor = self.exit(x)
        return logits


class _Bottleneck(nn.Module):
    """Convolutions 1, 3 (grouped) and 1 wide, whose input is added to their output."""

    def __init__(self, dims: int, fan_in: int, fan_out: int, *, groups: int, stride: int = 1) -> None:
        super().__init__()
        middle = fan_out // 2
        self.units = nn.Sequential(
            convolution(dims, fan_in, middle, 1, bias=False), batch_norm(dims, middle), nn.ReLU(),
            convolution(dims, middle, middle, stride=stride, groups=groups, bias=False),
            batch_norm(dims, middle), nn.ReLU(),
            convolution(dims, middle, fan_out, 1, bias=False), batch_norm(dims, fan_out),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if fan_in != fan_out or stride != 1:
            self.shortcut = nn.Sequential(
                convolution(dims, fan_in, fan_out, 1, stride=stride, bias=False), batch_norm(dims, fan_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features ``(B, fan_out, …)``."""
        return (self.shortcut(x) + self.units(x)).relu()


def _pool_stem(x: torch.Tensor) -> torch.Tensor:
    pooling = functional.max_pool2d if x.ndim == 4 else functional.max_pool3d
    return pooling(x, kernel_size=3, stride=2, padding=1)


def _unit(dims: int, fan_in: int, fan_out: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return convolution(dims, fan_in, fan_out, bias=False), batch_norm(dims, fan_out), nn.ReLU()


def _decoder_widths(width: int) -> tuple[int, ...]:
    return 4 * width, 2 * width, width, width // 2, width // 4


def _check_resnext(width: int, layers: int, cardinality: int) -> None:
    if layers not in STAGES:
        raise ValueError(f"layers is {layers!r}; give {', '.join(map(str, list(STAGES)[:-1]))} or {max(STAGES)}")
    if width % 4:
        raise ValueError(f"width is {width}; give a multiple of 4")
    if 2 * width % cardinality:
        raise ValueError(
            f"cardinality is {cardinality}, which does not divide 2 · width = {2 * width}; give other numbers"
        )
