"""The demo's last step: new volumes of an electrode from a shipped diffusion model, beside the electrode it learnt."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate import minkowski_of_phases
from launch import ConfigError
from poreforge.report import Figure, Section, Table
from poreforge.report.figures import label_image, picture
from synth import sofc_electrode

__all__ = ["Generated", "GenerationSettings", "generate_electrode", "generation_section", "measure_generated"]

MODEL = "sofc-three-phase"
SHOWN = 3
FORMS = {"fraction": "{:.3f}", "surface": "{:.4f}", "euler": "{:.0f}"}
HEADS = ("volume fraction", "specific surface / voxel⁻¹", "Euler density")


@dataclasses.dataclass(frozen=True)
class GenerationSettings:
    """What the demo generates.

    Parameters
    ----------
    count : int
        Volumes; 0 leaves the step out.
    shape : (int, int, int)
        Of each, voxels.
    steps : int
        From noise to volume.
    """

    count: int = 4
    shape: tuple[int, int, int] = (64, 64, 64)
    steps: int = 25

    def __post_init__(self) -> None:
        if self.count < 0 or self.steps < 1 or min(self.shape) < 8:
            raise ConfigError(
                f"generated is {self.count} volumes of {list(self.shape)} voxels in {self.steps} steps; give 0 volumes "
                "or more, at least 8 voxels along each axis, and 1 step or more"
            )


@dataclasses.dataclass(frozen=True)
class Generated:
    """Volumes of the model and as many of the recipe that it learnt from.

    Parameters
    ----------
    volumes, recipe : ndarray of uint8, shape (count, Z, Y, X)
        Labels.
    phases : tuple of str
        Names by label.
    """

    volumes: NDArray[np.uint8]
    recipe: NDArray[np.uint8]
    phases: tuple[str, ...]


def generate_electrode(settings: GenerationSettings, *, seed: int) -> Generated:
    """Make volumes by the shipped model, and unseen ones by the recipe of its material."""
    from generative import load

    model = load(MODEL, device="cpu")
    volumes = model(settings.shape, count=settings.count, steps=settings.steps, seed=seed)
    # Cut from something larger, as the recipe meets its fractions in each volume that it makes.
    z, y, x = settings.shape
    whole = (max(z, 128), max(y, 128), max(x, 128))
    recipe = [
        sofc_electrode(whole, preset="three-phase", rng=seed + 1 + number).labels[:z, :y, :x]
        for number in range(settings.count)
    ]
    return Generated(volumes, np.stack(recipe).astype(np.uint8), model.phases)


def measure_generated(generated: Generated) -> dict[str, Any]:
    """Return the mean of three densities over the volumes, of each phase, for the model and the recipe."""
    pairs = (("model", generated.volumes), ("recipe", generated.recipe))
    return {
        name: dict(zip(generated.phases, _means(volumes, len(generated.phases)), strict=True))
        for name, volumes in pairs
    }


def generation_section(generated: Generated, settings: GenerationSettings) -> Section:
    """Return slices and densities of both."""
    means = measure_generated(generated)
    rows = [
        [phase, *(form.format(means[name][phase][key]) for key, form in FORMS.items() for name in ("model", "recipe"))]
        for phase in generated.phases
    ]
    columns = ["phase", *(f"{head}, {name}" for head in HEADS for name in ("model", "recipe"))]
    pictures = [
        picture(label_image(volume[len(volume) // 2]), f"{name} {number + 1}")
        for name, volumes in (("model", generated.volumes), ("recipe", generated.recipe))
        for number, volume in enumerate(volumes[:SHOWN])
    ]
    count = len(generated.volumes)
    return Section(
        "New volumes of an electrode",
        [
            f"A diffusion model that comes with Poreforge ('{MODEL}') made {count} volumes in {settings.steps} steps "
            "each. It has learnt one volume of a solid-oxide electrode with two solids, which a recipe made."
        ],
        [Figure(pictures, "Middle slices: above what the model made, below what the recipe makes.", min(SHOWN, count))],
        [Table(f"Mean of {count} volumes; surface per volume and Euler number per million voxels.", columns, rows)],
    )


def _means(volumes: NDArray[np.uint8], n_phases: int) -> list[dict[str, float]]:
    each = [minkowski_of_phases(volume, n_phases=n_phases) for volume in volumes]
    return [
        {
            "fraction": float(np.mean([found.volume_fraction for found in phase])),
            "surface": float(np.mean([found.specific_surface for found in phase])),
            "euler": float(np.mean([found.euler_density for found in phase])) * 1e6,
        }
        for phase in zip(*each, strict=True)
    ]
