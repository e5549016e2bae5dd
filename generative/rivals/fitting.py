"""A run that fits a random field to a material and draws volumes from it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import volume
from generative.configuration import MaterialConfig
from generative.patches import Material
from launch import make_output_folder, replace_when_complete, write_record

__all__ = ["RandomFieldConfig", "fit_random_field"]


@dataclass(frozen=True)
class RandomFieldConfig:
    """Everything that the run depends on.

    Parameters
    ----------
    model : {"gaussian", "boolean"}
        Which random field; see `fit_gaussian` and `fit_boolean`.
    material : MaterialConfig
        What it is fitted to.
    out : Path
        The run folder.
    seed : int
        Of a material that is a recipe, and of the volumes.
    anisotropic : bool
        Fit each displacement instead of each distance; ``gaussian`` only.
    count : int
        Volumes to draw.
    shape : tuple of three ints, optional
        ``(z, y, x)`` of the volumes in voxels; the material's unless given.
    fractions : tuple of float, optional
        Volume fraction of each phase, if it shall be exact.
    periodic : bool
        Make opposite faces fit together.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    model: Literal["gaussian", "boolean"]
    material: MaterialConfig
    out: Path
    seed: int = 0
    anisotropic: bool = False
    count: int = 4
    shape: tuple[int, int, int] | None = None
    fractions: tuple[float, ...] | None = None
    periodic: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"'seed' is {self.seed}; it must not be negative")
        if self.count < 1:
            raise ValueError(f"'count' is {self.count}; it must be at least 1")
        if self.anisotropic and self.model == "boolean":
            raise ValueError("'anisotropic' is on; balls look the same from every side: set model to gaussian")


def fit_random_field(config: RandomFieldConfig) -> dict[str, Any]:
    """Fit, draw, and write ``run.json``, ``model/``, ``samples/sample-000.tif``, … and ``summary.json``.

    Parameters
    ----------
    config : RandomFieldConfig

    Returns
    -------
    dict
        The summary: ``model``, ``phases``, ``material_fractions``, ``sample_fractions`` of each volume, ``fit`` (the
        model's settings; ``s2_error`` is how far it is from the material), ``fit_seconds`` and
        ``seconds_per_volume``.

    Raises
    ------
    ValueError
        If the material, the folder or the configuration cannot be used.
    """
    # It brings the network's libraries along.
    from generative.training import load_material

    material = load_material(config.material, seed=config.seed)
    write_record(config.out, config, seed=config.seed)
    began = time.perf_counter()
    pipeline = _fit(config, material)
    fitted = time.perf_counter()
    with replace_when_complete(config.out / "model") as temporary:
        pipeline.save_pretrained(temporary)
    seconds, fractions = 0.0, []
    folder = make_output_folder(config.out / "samples")
    for i in range(config.count):
        started = time.perf_counter()
        labels = pipeline(
            config.shape, seed=config.seed, first=i, fractions=config.fractions, periodic=config.periodic
        )[0]
        seconds += time.perf_counter() - started
        drawn = Material(labels, material.phases, material.voxel_size_um)
        volume.write(folder / f"sample-{i:03d}.tif", volume.Volume(labels, drawn.voxel_size_um, drawn.phases))
        fractions.append(drawn.fractions())
    summary = {
        "model": config.model,
        "phases": list(material.phases),
        "material_fractions": list(material.fractions()),
        "sample_fractions": fractions,
        "fit": pipeline.card.settings,
        "fit_seconds": round(fitted - began, 2),
        "seconds_per_volume": round(seconds / config.count, 3),
    }
    with replace_when_complete(config.out / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _fit(config: RandomFieldConfig, material: Material) -> Any:
    names: dict[str, Any] = {"phases": material.phases, "voxel_size_um": material.voxel_size_um}
    if config.model == "boolean":
        from generative.rivals.boolean_model import fit_boolean

        return fit_boolean(material.labels, **names)
    from generative.rivals.gaussian_model import fit_gaussian

    return fit_gaussian(material.labels, anisotropic=config.anisotropic, **names)
