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
from poreforge.report.figures import curves, side_by_side
from volume import Volume

__all__ = ["sizes"]

PORE = 0
BINS = 16


def sizes(volume: Volume) -> Findings:
    """Measure how thick each phase is, and draw the pores in the colours of their diameter."""
    numbers, rows, reasons, measured = [], [], [], {}
    for label, name in enumerate(names_of(volume)):
        found, reason = attempt(pore_size_distribution, mask_of(volume, label), bins=BINS)
        numbers.append({"label": label, **({"reason": reason} if found is None else _plain(found))})
        if found is None:
            reasons.append(f"{name}: {reason}.")
            continue
        measured[name] = found
        fit = found.lognormal
        rows.append([name, *columns_of(found.mean, found.d10, found.d50, found.d90, fit.median, fit.sigma, fit.ks)])
    if not measured:
        return Findings({"sizes": numbers}, Section("Sizes", reasons))
    first = next(iter(measured))
    figures = [side_by_side(_histogram(first, measured[first], volume), _cumulative(measured, volume)), *_drawn(volume)]
    heads = ["phase", "mean", "d10", "d50", "d90", "log-normal median", "log-normal σ", "distance of the fit"]
    table = Table(f"Diameters in {unit_of(volume)}, weighted by volume; σ is that of the log diameter.", heads, rows)
    return Findings({"sizes": numbers}, Section("Sizes", reasons, figures, [table]))


def _histogram(name: str, found: PoreSizes, volume: Volume) -> Figure:
    """Return the histogram of one phase and the log-normal law fitted to it."""
    lines = {name: (np.repeat(found.edges, 2)[1:-1], np.repeat(found.density, 2))}
    fit = found.lognormal
    if fit.sigma > 0:
        at = np.linspace(found.edges[-1] / 400, found.edges[-1], 400)
        law = np.exp(-0.5 * (np.log(at / fit.median) / fit.sigma) ** 2) / (at * fit.sigma * np.sqrt(2 * np.pi))
        lines["log-normal law"] = (at, law)
    return curves(
        lines,
        x_label=f"diameter / {unit_of(volume)}",
        y_label=f"share of the volume / {unit_of(volume)}⁻¹",
        caption="Local thickness: the diameter of the largest ball that fits into the phase and covers the point.",
        alt=f"Distribution of the local thickness of {name} and its log-normal fit.",
        half=True,
    )


def _cumulative(measured: dict[str, PoreSizes], volume: Volume) -> Figure:
    return curves(
        {name: (found.edges, found.cumulative) for name, found in measured.items()},
        x_label=f"diameter / {unit_of(volume)}",
        y_label="share of the phase up to it",
        caption="Right: of all phases, added up.",
        alt="Cumulative distribution of the local thickness of each phase.",
        half=True,
    )


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
