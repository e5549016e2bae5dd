"""The network that turns noise into a volume: transposed convolutions, at any size, without seams."""

import itertools
from collections.abc import Sequence
from functools import reduce
from math import prod

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

__all__ = ["VolumeGenerator", "check_information_density"]

Layer = tuple[int, int, int]


class VolumeGenerator(ModelMixin, ConfigMixin):  # type: ignore[misc]  # both name their file config_name
    """Make the scores of n phases from a small volume of Gaussian noise, the latent.

    Layers of transposed convolution, each but the last with batch norm and ReLU. Being convolutional, the network
    makes a larger volume of a larger latent, and a volume voxel depends only on the few latent sites near it.

    Parameters
    ----------
    n_phases : int
        Phases of the material.
    latent_channels : int
        Numbers at each site of the latent.
    widths : sequence of int
        Channels between the layers, so one fewer than there are layers.
    kernels, strides, paddings : sequence of int
        Of each layer, the same along z, y and x. A padding of p cuts p voxels off each face.

    Raises
    ------
    ValueError
        If there are not as many kernels, strides and paddings as layers, or one is out of its range.

    Notes
    -----
    Of n latent sites along an axis come ``length(n)`` = `scale` n + constant voxels. Voxels nearer than `edge` to a
    face lack the sites that would lie beyond it.
    """

    @register_to_config
    def __init__(
        self,
        n_phases: int = 2,
        latent_channels: int = 32,
        widths: Sequence[int] = (256, 128, 64, 32),
        kernels: Sequence[int] = (4, 4, 4, 4, 4),
        strides: Sequence[int] = (2, 2, 2, 2, 2),
        paddings: Sequence[int] = (2, 2, 2, 2, 3),
    ) -> None:
        super().__init__()
        if not len(kernels) == len(strides) == len(paddings) == len(widths) + 1:
            raise ValueError(
                f"{len(widths)} widths need {len(widths) + 1} kernels, strides and paddings, not {len(kernels)}, "
                f"{len(strides)} and {len(paddings)}"
            )
        self.layers: list[Layer] = list(zip(kernels, strides, paddings, strict=True))
        if any(s < 1 or k < s or not 0 <= p < k for k, s, p in self.layers):
            raise ValueError(f"(kernel, stride, padding) are {self.layers}; give 1 <= stride <= kernel > padding >= 0")
        channels, parts = [latent_channels, *widths], []
        for (before, after), (k, s, p) in zip(itertools.pairwise(channels), self.layers[:-1], strict=True):
            # A bias would be lost in the batch norm that follows.
            parts += [nn.ConvTranspose3d(before, after, k, s, p, bias=False), nn.BatchNorm3d(after), nn.ReLU()]
        self.net = nn.Sequential(*parts, nn.ConvTranspose3d(channels[-1], n_phases, *self.layers[-1]))

    @property
    def scale(self) -> int:
        """Voxels along an axis that each latent site adds."""
        return prod(stride for _, stride, _ in self.layers)

    @property
    def edge(self) -> int:
        """Voxels at each face that lack contributions of sites beyond it."""
        return reduce(lambda edge, layer: max(0, layer[1] * edge + layer[0] - layer[1] - layer[2]), self.layers, 0)

    def length(self, sites: int) -> int:
        """Return how many voxels come of so many latent sites along an axis."""
        return reduce(lambda n, layer: (n - 1) * layer[1] + layer[0] - 2 * layer[2], self.layers, sites)

    def sites(self, length: int) -> int:
        """Return the fewest latent sites along an axis of which at least `length` voxels come."""
        return max(1, -(-(length - self.length(0)) // self.scale))

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape ``(C, Z, Y, X)`` of a latent of which a volume of at least `shape` comes."""
        return (self.config["latent_channels"], *(self.sites(length) for length in shape))

    def scores(self, latent: Tensor) -> Tensor:
        """Return the scores of the phases, not yet normalised, ``(B, n, Z, Y, X)``."""
        return self.net(latent)

    def forward(self, latent: Tensor) -> Tensor:
        """Return the probability of each phase.

        Parameters
        ----------
        latent : Tensor
            ``(B, C, Z, Y, X)``, normally distributed.

        Returns
        -------
        Tensor
            ``(B, n, length(Z), length(Y), length(X))``, adding up to 1 over the phases; single precision.
        """
        return torch.softmax(self.scores(latent).float(), dim=1)


def check_information_density(layers: Sequence[Layer]) -> None:
    """Refuse layers of transposed convolution that spread the latent's information unevenly over the volume.

    Parameters
    ----------
    layers : sequence of (kernel, stride, padding)
        From the latent to the volume.

    Raises
    ------
    ValueError
        If not stride < kernel (neighbours must overlap), or the stride does not divide the kernel (each voxel must be
        reached equally often), or not padding >= kernel − stride (the voxels at a face are reached less often).

    References
    ----------
    .. [1] S. Kench, S. J. Cooper, "Generating three-dimensional structures from a two-dimensional slice with generative
       adversarial network-based dimensionality expansion", Nat. Mach. Intell. 3 (2021) 299-305, the three rules.
    """
    for k, s, p in layers:
        if not (s < k and k % s == 0 and p >= k - s):
            raise ValueError(
                f"kernel {k}, stride {s} and padding {p} spread information unevenly; the stride must be smaller than "
                "the kernel and divide it, and the padding at least their difference"
            )
