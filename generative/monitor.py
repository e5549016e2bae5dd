"""How far the volumes of a model in training are from its material, now and then."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from generative.configuration import SamplingConfig
from generative.patches import Material
from generative.pipeline import StructurePipeline
from generative.samples import write_slices

__all__ = ["MaterialMonitor", "material_errors"]

# Of the volumes that are watched: the same noises each time, so that only the network changes.
WATCH_SEED = 2**31 + 1
REACH = 16


class MaterialMonitor:
    """Make a few volumes with the averaged weights, draw them, and compare them with the material.

    Parameters
    ----------
    pipeline : StructurePipeline
        Of the network in training.
    material : Material
        What it learns.
    sampling : SamplingConfig
        Number of volumes, steps and shape.
    folder : path-like
        Run folder; each call leaves ``progress/step-NNNNNNNN.png``.
    """

    def __init__(
        self, pipeline: StructurePipeline, material: Material, *, sampling: SamplingConfig, folder: str | Path
    ) -> None:
        self.pipeline, self.material, self.sampling, self.folder = pipeline, material, sampling, Path(folder)

    def __call__(self, averaged: torch.nn.Module, step: int) -> Mapping[str, float]:
        """Return the errors by name; see `material_errors`."""
        wanted = self.sampling
        samples = self.pipeline.with_denoiser(averaged)(
            wanted.shape, count=wanted.watched, steps=wanted.steps, seed=WATCH_SEED
        )
        picture = self.folder / "progress" / f"step-{step:08d}.png"
        write_slices(picture, samples, self.material.labels[None])
        return material_errors(samples, self.material)


def material_errors(samples: NDArray[np.uint8], material: Material) -> dict[str, float]:
    """Compare volumes with the material they should look like.

    Parameters
    ----------
    samples : ndarray of uint8
        ``(count, Z, Y, X)`` labels.
    material : Material
        The material.

    Returns
    -------
    dict
        For each phase ``error/<phase>/fraction``, ``surface`` and ``euler``: the mean over the volumes over the
        material's, less 1; and ``s2``: the largest difference of S2 up to 16 voxels over φ (1 − φ). Of planar patches
        (one voxel deep) the fractions alone.
    """
    errors = {}
    for label, phase in enumerate(material.phases):
        real, made = _measured(material.labels == label), [_measured(volume == label) for volume in samples]
        for name, value in real.items():
            mean = np.mean([volume[name] for volume in made], axis=0)
            if name == "s2":
                reach = min(len(mean), len(value))
                scale = real["fraction"] * (1 - real["fraction"])
                errors[f"error/{phase}/{name}"] = float(np.abs(mean[:reach] - value[:reach]).max() / scale)
            elif value:
                errors[f"error/{phase}/{name}"] = float((mean - value) / abs(value))
    return errors


def _measured(inside: NDArray[np.bool_]) -> dict[str, Any]:
    # Only here, so that a training run starts without them.
    from evaluate import minkowski, two_point

    if min(inside.shape) < 2:
        return {"fraction": float(inside.mean())}
    densities = minkowski(inside)
    return {
        "fraction": densities.volume_fraction,
        "surface": densities.specific_surface,
        "euler": densities.euler_density,
        "s2": two_point(inside, r_max=min(REACH, min(inside.shape) // 2)).s2,
    }
