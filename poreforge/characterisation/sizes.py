"""Pore sizes, and the thickness of every other phase."""

from typing import Any

import numpy as np

from evaluate import PoreSizes, local_thickness, pore_size_distribution
from poreforge.characterisation.findings import (
    Findings,
    attempt,
    columns_of,
    mask_of,
    name_of_unit,
    names_of,
    unit_of,
)
from poreforge.report import Figure, Picture, Section, Table
from poreforge.report.figures import curves
from volume import Volume

__all__ = ["sizes"]

PORE = 0


def sizes(volume: Volume) -> Findings:
    """Measure how thick each phase is, and draw the pores in the colours of their diameter."""
    names, unit = names_of(volume), unit_of(volume)
    numbers, lines, rows, reasons = [], {}, [], []
    for label, name in enumerate(names):
        found, reason = attempt(pore_size_distribution, mask_of(volume, label))
        numbers.append({"label": label, **({"reason": reason} if found is None else _plain(found))})
        if found is None:
            reasons.append(f"{name}: {reason}.")
            continue
        lines[name] = (np.repeat(found.edges, 2)[1:-1], np.repeat(found.density, 2))
        fit = found.lognormal
        rows.append([name, *columns_of(found.mean, found.d10, found.d50, found.d90, fit.median, fit.sigma, fit.ks)])
    if not lines:
        return Findings({"sizes": numbers}, Section("Sizes", reasons))
    figure = curves(
        lines,
        x_label=f"diameter / {unit}",
        y_label=f"share of the phase's volume / {unit}⁻¹",
        caption="Local thickness: the diameter of the largest ball that fits into the phase and covers the point.",
        alt="Distribution of the local thickness of each phase.",
    )
    heads = ["phase", "mean", "d10", "d50", "d90", "log-normal median", "log-normal σ", "distance of the fit"]
    table = Table(f"Diameters in {unit}, weighted by volume; σ is that of the log diameter.", heads, rows)
    return Findings({"sizes": numbers}, Section("Sizes", reasons, [figure, *_drawn(volume)], [table]))


def _plain(found: PoreSizes) -> dict[str, Any]:
    return {
        "edges": found.edges.tolist(), "fraction": found.fraction.tolist(), "unit": found.unit, "mean": found.mean,
        "d10": found.d10, "d50": found.d50, "d90": found.d90,
        "lognormal": {"median": found.lognormal.median, "sigma": found.lognormal.sigma, "ks": found.lognormal.ks},
    }  # fmt: skip


def _drawn(volume: Volume) -> list[Figure]:
    """Return a picture of the pores by diameter, or nothing where there is none to be had."""
    if not (volume.array == PORE).any() or (volume.array == PORE).all():
        return []
    try:
        from poreforge.views import encoded_png, render_property

        field = local_thickness(mask_of(volume, PORE))
        unit = name_of_unit("um" if volume.voxel_size_um else "voxel")
        image = render_property(
            volume.array == PORE, field, name="diameter", unit=unit, voxel_size_um=volume.voxel_size_um
        )
    except ValueError:
        return []
    drawn = Picture(encoded_png(image), f"Pores coloured by their diameter in {unit}.")
    return [Figure([drawn], "The pores, coloured by the diameter of the largest ball that fits.")]
