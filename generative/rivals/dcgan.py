"""The 3-D DCGAN: a generator of volumes against a discriminator of volumes.

References
----------
.. [1] L. Mosser, O. Dubrule, M. J. Blunt, "Reconstruction of three-dimensional porous media using generative
   adversarial neural networks", Phys. Rev. E 96 (2017) 043309.
.. [2] A. Gayon-Lombardo, L. Mosser, N. P. Brandon, S. J. Cooper, "Pores for thought: generative adversarial networks
   for stochastic reconstruction of 3D multi-phase electrode microstructures with periodic boundaries", npj Comput.
   Mater. 6 (2020) 82: n phases by one-hot volumes and a softmax.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from generative.patches import LabelledPatches
from generative.rivals.critics import Critic, one_hot
from generative.rivals.volume_generator import VolumeGenerator
from learn import Turn

__all__ = ["DCGAN", "VolumesAndLatents", "dcgan_generator", "dcgan_turns"]

LATENT = 3


class DCGAN(nn.Module):
    """The two players, ``generator`` and ``discriminator``, with the first weights of the original."""

    def __init__(self, generator: VolumeGenerator, discriminator: Critic) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm3d):
                nn.init.normal_(module.weight, 1.0, 0.02)


def dcgan_generator(n_phases: int, *, latent_channels: int, widths: Sequence[int]) -> VolumeGenerator:
    """Return a generator whose first layer turns a site into 4³ and each further one doubles the resolution."""
    doublings = len(widths)
    return VolumeGenerator(
        n_phases=n_phases,
        latent_channels=latent_channels,
        widths=tuple(widths),
        kernels=(4,) * (doublings + 1),
        strides=(1,) + (2,) * doublings,
        paddings=(0,) + (1,) * doublings,
    )


class VolumesAndLatents:
    """The row of training examples: a patch of the material, and a latent for each of the two turns.

    Parameters
    ----------
    patches : LabelledPatches
        Where the real volumes come from.
    generator : VolumeGenerator
        Decides the shape of the latents.
    """

    def __init__(self, patches: LabelledPatches, generator: VolumeGenerator) -> None:
        self.patches, self.latent_shape = patches, generator.latent_shape(patches.size)

    def __call__(self, index: int) -> dict[str, Tensor]:
        """Return ``labels`` (Z, Y, X) and ``latents`` (2, C, …), a function of `index` alone."""
        rng = np.random.default_rng(np.random.SeedSequence(self.patches.seed, spawn_key=(LATENT, index)))
        latents = rng.standard_normal((2, *self.latent_shape), dtype=np.float32)
        return {"labels": torch.from_numpy(self.patches[index]), "latents": torch.from_numpy(latents)}


class DiscriminatorLoss:
    """Binary cross-entropy of telling real from made, with the answer for real volumes smoothed on that one side.

    Parameters
    ----------
    n_phases : int
        Phases of the material.
    real_label : float
        What a real volume should be given; below 1 the discriminator stays less sure of itself.
    """

    def __init__(self, n_phases: int, real_label: float) -> None:
        self.n_phases, self.real_label = n_phases, real_label

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch of `VolumesAndLatents`."""
        game = cast(DCGAN, model)
        with torch.no_grad():
            made = game.generator(batch["latents"][:, 0])
        told_real = game.discriminator(one_hot(batch["labels"], self.n_phases))
        told_made = game.discriminator(made)
        wanted = torch.full_like(told_real, self.real_label)
        return F.binary_cross_entropy_with_logits(told_real, wanted) + F.softplus(told_made).mean()


class GeneratorLoss:
    """Cross-entropy of passing for real: −log D(G(z)), which keeps a slope where the discriminator wins."""

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch of `VolumesAndLatents`."""
        game = cast(DCGAN, model)
        return F.softplus(-game.discriminator(game.generator(batch["latents"][:, 1]))).mean()


def dcgan_turns(
    n_phases: int, *, real_label: float, discriminator_rate: float | None, betas: tuple[float, float]
) -> tuple[Turn, Turn]:
    """Return the turns of a step: the discriminator's, then the generator's."""
    return (
        Turn(
            DiscriminatorLoss(n_phases, real_label),
            parameters="discriminator",
            learning_rate=discriminator_rate,
            betas=betas,
        ),
        Turn(GeneratorLoss(), parameters="generator", betas=betas),
    )
