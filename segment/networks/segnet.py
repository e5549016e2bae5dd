"""The encoder and decoder of the pore-segnet paper, without skip connections."""

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from segment.networks.blocks import convolution, pool, upsample
from segment.networks.network import Network, check_sizes

__all__ = ["SegNet"]

HALVINGS = 3


class SegNet(Network):
    """Convolutions and max-pooling down, a dense layer, upsampling and convolutions up.

    Parameters
    ----------
    dims : int
        2; the paper has no other.
    in_channels : int
        Channels of the input.
    n_phases : int
        Channels of the output: one logit a phase. With 1, as in the paper, the logit of a single phase.
    width : int
        Filters of the first convolution; 32 is the paper's size.

    Notes
    -----
    The paper [1]_ tells that filters are 3 pixels wide, that the encoder alternates convolution and 2 × 2 max-pooling
    and does so again twice, that a dense layer follows, that the decoder mirrors the encoder, and that there are
    331,137 parameters. It gives no numbers of filters. Inferred here is what meets that number exactly: three stages
    of one convolution each with 32, 64 and 128 filters, a dense layer from 128 to 128 channels at every pixel, and a
    decoder of 128, 64 and 1 filters, all with a bias and none with batch norm. 1 → 32 → 64 → 128 then have 92,672
    numbers, the dense layer 16,512, and 128 → 128 → 64 → 1 have 221,953.

    The text speaks of a softmax over two labels; its number of parameters, of a single output. Here it is one output
    a phase, so two phases have 331,714 parameters. Rectifiers after every layer but the last, and upsampling by
    repetition, are inferred without evidence. Weights begin as Keras, which the paper used, draws them: without batch
    norm the smaller ones of torch would let the signal fade.

    References
    ----------
    .. [1] H.-B. Lee et al., "Deep learning image segmentation for the reliable porosity measurement of high-capacity
       Ni-based oxide cathode secondary particles", J. Anal. Sci. Technol. 14 (2023),
       doi:10.1186/s40543-023-00407-z, Fig. 4.
    .. [2] V. Badrinarayanan, A. Kendall, R. Cipolla, "SegNet", IEEE TPAMI 39 (2017) 2481-2495, arXiv:1511.00561.
    """

    @register_to_config
    def __init__(self, dims: int = 2, in_channels: int = 1, n_phases: int = 2, width: int = 32) -> None:
        super().__init__()
        if dims != 2:
            raise ValueError(f"dims is {dims}; this SegNet exists for slices alone: give 2")
        check_sizes({"in_channels": in_channels, "n_phases": n_phases, "width": width})
        self.down = nn.ModuleList(
            [
                convolution(dims, in_channels, width),
                convolution(dims, width, 2 * width),
                convolution(dims, 2 * width, 4 * width),
            ]
        )
        self.dense = convolution(dims, 4 * width, 4 * width, 1)
        self.up = nn.ModuleList([convolution(dims, 4 * width, 4 * width), convolution(dims, 4 * width, 2 * width)])
        self.exit = convolution(dims, 2 * width, n_phases)
        for layer in (*self.down, self.dense, *self.up, self.exit):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def factor(self) -> int:
        """Number of which every side of the input must be a multiple: 8."""
        return 2**HALVINGS

    def logits(self, grey: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, n_phases, Y, X)`` for an input ``(B, in_channels, Y, X)``."""
        x = grey
        for layer in self.down:
            x = pool(layer(x).relu())
        x = self.dense(x).relu()
        for layer in self.up:
            x = layer(upsample(x, by="nearest")).relu()
        logits: torch.Tensor = self.exit(upsample(x, by="nearest"))
        return logits
