"""SliceGAN: a generator of volumes whose slices must pass for images.

References
----------
.. [1] S. Kench, S. J. Cooper, "Generating three-dimensional structures from a two-dimensional slice with generative
   adversarial network-based dimensionality expansion", Nat. Mach. Intell. 3 (2021) 299-305.
.. [2] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017, arXiv:1704.00028: gradient penalty.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from generative.patches import LabelledPatches, Symmetry
from generative.requests import sample_seed
from generative.rivals.critics import Critic, one_hot
from generative.rivals.volume_generator import VolumeGenerator, check_information_density
from learn import Turn

__all__ = [
    "CriticLoss", "PlaneCrops", "PlanesAndLatents", "SliceGAN", "gradient_penalty", "slicegan_generator",
    "slicegan_turns",
]  # fmt: skip

AXES = ("z", "y", "x")
LATENT, PLANES = 4, 5


class SliceGAN(nn.Module):
    """The players: ``generator`` and ``critic``, the latter one network for each direction or one for all three."""

    def __init__(self, generator: VolumeGenerator, critics: Sequence[Critic]) -> None:
        super().__init__()
        if len(critics) not in (1, 3):
            raise ValueError(f"there are {len(critics)} critics; give one for all directions or three (z, y, x)")
        self.generator, self.critic = generator, nn.ModuleList(critics)

    def critic_along(self, axis: int) -> nn.Module:
        """Return the critic of the slices normal to an axis."""
        return self.critic[axis if len(self.critic) == 3 else 0]


def slicegan_generator(n_phases: int, *, latent_channels: int, widths: Sequence[int]) -> VolumeGenerator:
    """Return a generator of uniform information density: four latent sites give 64³ with four widths.

    Each layer has kernel 4, stride 2 and padding 2 (the last 3), so that neighbouring sites overlap everywhere and the
    faces of the volume look like its inside: of larger latents come larger volumes without a seam.
    """
    layers = [(4, 2, 2)] * len(widths) + [(4, 2, 3)]
    check_information_density(layers)
    kernels, strides, paddings = zip(*layers, strict=True)
    return VolumeGenerator(
        n_phases=n_phases,
        latent_channels=latent_channels,
        widths=tuple(widths),
        kernels=kernels,
        strides=strides,
        paddings=paddings,
    )


class PlaneCrops:
    """Crops of the planes normal to each axis, cut when asked for: never an array of all of them.

    Parameters
    ----------
    sources : three ndarrays of uint8
        Labels ``(Z, Y, X)`` whose planes normal to z, y and x are cut: the same volume three times, or images
        with a length of 1 along their normal.
    size : tuple of three ints
        Shape ``(z, y, x)`` of the volumes to be made; a plane has it without its normal.
    stride : int
        Spacing of the corners, voxels.
    symmetry : {"none", "flips", "transverse", "cubic"}
        See `generative.configuration.PatchConfig`; a plane is turned and mirrored only within itself.
    seed : int
        Where order and orientation come from.

    Raises
    ------
    ValueError
        If a source is smaller than the crop.
    """

    def __init__(
        self,
        sources: Sequence[NDArray[np.uint8]],
        *,
        size: tuple[int, int, int],
        stride: int,
        symmetry: Symmetry = "none",
        seed: int = 0,
    ) -> None:
        self.size, self.seed, self.rows = size, seed, []
        for axis, labels in enumerate(sources):
            crop = cast(tuple[int, int, int], tuple(1 if a == axis else n for a, n in enumerate(size)))
            if any(n > whole for n, whole in zip(crop, labels.shape, strict=True)):
                have = " × ".join(str(n) for a, n in enumerate(labels.shape) if a != axis)
                want = " × ".join(str(n) for a, n in enumerate(crop) if a != axis)
                raise ValueError(
                    f"the planes normal to {AXES[axis]} have {have} pixels, fewer than the crop of {want}; "
                    "lower 'patches.size' or give larger images"
                )
            row_seed = sample_seed(seed, axis, PLANES) >> 1
            self.rows.append(LabelledPatches(labels, size=crop, stride=stride, symmetry=symmetry, seed=row_seed))

    def __call__(self, axis: int, index: int) -> NDArray[np.uint8]:
        """Return crop `index` (0, 1, … without end) normal to an axis, 2-D."""
        return self.rows[axis][index].squeeze(axis)


class PlanesAndLatents:
    """The row of training examples: real planes, two latents, and which slices of the made volumes are judged.

    Parameters
    ----------
    crops : PlaneCrops
        Where the real planes come from.
    generator : VolumeGenerator
        Decides the shape of the latents.
    slices : int
        Real planes, and slices of a made volume, along each axis of an example.
    """

    def __init__(self, crops: PlaneCrops, generator: VolumeGenerator, *, slices: int) -> None:
        self.crops, self.latent_shape, self.slices = crops, generator.latent_shape(crops.size), slices

    def __call__(self, index: int) -> dict[str, Tensor]:
        """Return the example `index`, a function of it alone.

        Returns
        -------
        dict
            ``planes_z``, ``planes_y``, ``planes_x`` (S, …) labels; ``latents`` (2, C, …) for the critic's turn and
            the generator's; ``slices`` (3, S) where the made volume is cut; ``weights`` (3, S) of the penalty.
        """
        rng = np.random.default_rng(np.random.SeedSequence(self.crops.seed, spawn_key=(LATENT, index)))
        latents = rng.standard_normal((2, *self.latent_shape), dtype=np.float32)
        slices = [rng.integers(length, size=self.slices) for length in self.crops.size]
        weights = rng.random((3, self.slices), dtype=np.float32)
        first = index * self.slices
        planes = {
            f"planes_{name}": torch.from_numpy(np.stack([self.crops(axis, first + i) for i in range(self.slices)]))
            for axis, name in enumerate(AXES)
        }
        return planes | {
            "latents": torch.from_numpy(latents),
            "slices": torch.from_numpy(np.stack(slices)),
            "weights": torch.from_numpy(weights),
        }


class CriticLoss:
    """Wasserstein loss of the critics: E[c(made)] − E[c(real)] + λ E[(‖∇c‖ − 1)²], the mean over the directions.

    Without the penalty its negative estimates the distance between made and real slices.

    Parameters
    ----------
    n_phases : int
        Phases of the material.
    penalty : float
        λ.
    """

    def __init__(self, n_phases: int, penalty: float) -> None:
        self.n_phases, self.penalty = n_phases, penalty

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch of `PlanesAndLatents`."""
        game = cast(SliceGAN, model)
        with torch.no_grad():
            volumes = game.generator(batch["latents"][:, 0])
        losses = []
        for axis, name in enumerate(AXES):
            critic = game.critic_along(axis)
            real = one_hot(batch[f"planes_{name}"].flatten(0, 1), self.n_phases)
            made = _cut(volumes, batch["slices"][:, axis], axis=axis)
            slope = gradient_penalty(critic, real, made, weights=batch["weights"][:, axis].flatten())
            losses.append(critic(made).mean() - critic(real).mean() + self.penalty * slope)
        return torch.stack(losses).mean()


class GeneratorLoss:
    """Wasserstein loss of the generator: −E[c(made)], the mean over the directions."""

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch of `PlanesAndLatents`."""
        game = cast(SliceGAN, model)
        volumes = game.generator(batch["latents"][:, 1])
        told = [game.critic_along(axis)(_cut(volumes, batch["slices"][:, axis], axis=axis)).mean() for axis in range(3)]
        return -torch.stack(told).mean()


def gradient_penalty(critic: nn.Module, real: Tensor, made: Tensor, *, weights: Tensor) -> Tensor:
    """Return E[(‖∇c‖ − 1)²] at points between real and made samples.

    Parameters
    ----------
    critic : Module
        From ``(B, …)`` to ``(B,)``.
    real, made : Tensor
        ``(B, …)``.
    weights : Tensor
        ``(B,)`` in [0, 1]; the point is ``w real + (1 − w) made``.

    Returns
    -------
    Tensor
        A single number that can be differentiated again.
    """
    w = weights.view(-1, *[1] * (real.dim() - 1))
    between = (w * real + (1 - w) * made).detach().requires_grad_(True)
    # Slopes are small differences, and half precision has none to spare; and compiled code has no second derivative,
    # so the module's own forward is called.
    with torch.autocast(between.device.type, enabled=False):
        (slope,) = torch.autograd.grad(critic.forward(between).sum(), between, create_graph=True)
    # The square root of nought has no slope.
    norm = (slope.flatten(1).square().sum(dim=1) + 1e-12).sqrt()
    return (norm - 1).square().mean()


def slicegan_turns(
    n_phases: int, *, penalty: float, critic_steps: int, critic_rate: float | None, betas: tuple[float, float]
) -> tuple[Turn, Turn]:
    """Return the turns: the critics' in each step, the generator's in each `critic_steps`-th."""
    return (
        Turn(CriticLoss(n_phases, penalty), parameters="critic", learning_rate=critic_rate, betas=betas),
        Turn(GeneratorLoss(), parameters="generator", every=critic_steps, betas=betas),
    )


def _cut(volumes: Tensor, places: Tensor, *, axis: int) -> Tensor:
    """Return slices ``(B S, n, …)`` normal to an axis of volumes ``(B, n, Z, Y, X)``, at places ``(B, S)``."""
    slabs = volumes.movedim(2 + axis, 1)  # (B, L, n, …)
    rows = torch.arange(len(volumes), device=volumes.device)[:, None]
    return slabs[rows, places].flatten(0, 1)
