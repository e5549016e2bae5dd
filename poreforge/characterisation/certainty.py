"""How well the numbers are known from a volume of this size."""

from typing import Any

import numpy as np

from evaluate import confidence_interval, porosity, representative_volume
from poreforge.characterisation.findings import Findings, attempt, columns_of, mask_of, names_of, unit_of
from poreforge.report import Section, Table
from poreforge.report.figures import curves
from volume import Volume

__all__ = ["certainty"]

QUANTITIES = {"porosity": "volume fraction", "specific_surface": "surface"}
WANTED = 0.01


def certainty(volume: Volume) -> Findings:
    """Give intervals for the fraction and the surface of each phase, and the size at which the porosity is known."""
    unit, numbers, rows, reasons = unit_of(volume), [], [], []
    for label, name in enumerate(names_of(volume)):
        for quantity, title in QUANTITIES.items():
            found, reason = attempt(confidence_interval, mask_of(volume, label), quantity)
            if found is None:
                reasons.append(f"{title} of {name}: {reason}.")
                continue
            interval = {"value": found.value, "low": found.low, "high": found.high, "level": found.level}
            numbers.append({"label": label, "quantity": quantity, **interval})
            shown = title if quantity == "porosity" else f"{title} / {unit}⁻¹"
            rows.append([name, shown, *columns_of(found.value, found.low, found.high)])
    text = (
        "Intervals of 95 % for the material from which this volume was taken at random, if it is the same everywhere. "
        "They hold neither the error of the segmentation nor that of the voxel size."
    )
    tables = [Table("What the volume tells of its material.", ["phase", "quantity", "value", "low", "high"], rows)]
    figures, sizes = _representative(volume)
    return Findings(
        {"intervals": numbers, "representative_volume": sizes},
        Section("How certain this is", [text, *reasons], figures, tables if rows else ()),
    )


def _representative(volume: Volume) -> tuple[list[Any], dict[str, Any] | None]:
    found, _ = attempt(representative_volume, volume.array, porosity, rng=0)
    if found is None or not found.mean[-1]:
        return [], None
    edge = found.size_for(WANTED)
    figure = curves(
        {
            "mean + standard deviation": (found.sizes, found.mean + found.standard_deviation),
            "mean": (found.sizes, found.mean),
            "mean − standard deviation": (found.sizes, found.mean - found.standard_deviation),
            "one cube growing from the centre": (found.nested_sizes, np.asarray(found.nested)[0]),
        },
        x_label="edge of the cube / voxel",
        y_label="porosity",
        caption="Porosity of cubes of growing size; by the law of their scatter a cube of "
        f"{edge:.0f} voxels has a relative error of {WANTED:.0%}.",
        alt="Porosity against the size of the cubes it is measured on.",
    )
    sizes = {
        "sizes": found.sizes.tolist(), "mean": found.mean.tolist(),
        "standard_deviation": found.standard_deviation.tolist(), "edge_for_one_per_cent_voxel": edge,
    }  # fmt: skip
    return [figure], sizes
