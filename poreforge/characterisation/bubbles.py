"""Bubbles of a flow-battery cell."""

import dataclasses
from typing import Any

import numpy as np

from evaluate import BubbleReport, HalfCell, bubble_report
from poreforge.characterisation.findings import Findings, columns_of, names_of, unit_of
from poreforge.report import Figure, Picture, Section, Table
from poreforge.report.figures import curves, picture
from volume import Volume

__all__ = ["bubbles", "has_bubbles"]

SHOWN = ("volume", "equivalent_diameter", "sphericity", "elongation", "flatness", "membrane_distance", "contact_area")


def has_bubbles(volume: Volume) -> bool:
    """Whether a phase is called bubble."""
    return "bubble" in names_of(volume)


def bubbles(volume: Volume) -> Findings:
    """Measure every bubble, each electrode and the membrane."""
    names = names_of(volume)
    given = {role: role if role in names else None for role in ("membrane", "gasket", "fibre")}
    found = bubble_report(volume, bubble="bubble", electrolyte=0, **given)  # type: ignore[arg-type]
    kept = found.bubbles["kept"]
    columns = {name: np.asarray(values)[kept] for name, values in found.bubbles.items()}
    halves = {"both electrodes": found.whole, "lower": found.lower, "upper": found.upper}
    numbers = {
        "bubbles": {
            "number": found.n_bubbles, "unit": found.unit, "sizes": found.sizes and dataclasses.asdict(found.sizes),
            "electrodes": {name: half and dataclasses.asdict(half) for name, half in halves.items()},
            "undefined": found.undefined,
        }
    }  # fmt: skip
    figures = [_maps(found, volume), *_drawn(found, volume)]
    if len(columns["volume"]) > 1:
        figures.insert(1, _histogram(columns["equivalent_diameter"], unit_of(volume)))
    tables = [_table_of_halves(halves, unit_of(volume)), _largest(columns, unit_of(volume))]
    text = f"Bubbles kept: {found.n_bubbles}; refused by the filters: {int(np.count_nonzero(~kept))}."
    section = Section("Bubbles", [t for t in (text, found.undefined) if t], figures, tables)
    return Findings(numbers, section, {"bubbles.csv": {"unit": found.unit, **found.bubbles}})


def _table_of_halves(halves: dict[str, HalfCell | None], unit: str) -> Table:
    heads = ["electrode", "bubbles", f"gas / {unit}³", "gas fraction", f"membrane / {unit}²", "blocked fraction"]
    rows = [
        [
            name, str(half.n_bubbles),
            *columns_of(half.gas_volume, half.gas_fraction, half.membrane_area, half.blocked_fraction),
        ]
        for name, half in halves.items()
        if half
    ]  # fmt: skip
    return Table("Gas in each electrode and on the membrane.", heads, rows)


def _largest(columns: dict[str, np.ndarray], unit: str, most: int = 10) -> Table:
    powers = {"volume": f" / {unit}³", "contact_area": f" / {unit}²"}
    lengths = {"equivalent_diameter", "membrane_distance"}
    heads = [name.replace("_", " ") + powers.get(name, f" / {unit}" if name in lengths else "") for name in SHOWN]
    order = np.argsort(-columns["volume"], kind="stable")[:most]
    rows = [[str(columns["id"][i]), *columns_of(*(columns[name][i] for name in SHOWN))] for i in order]
    return Table(f"The largest {len(rows)} bubbles; all are in bubbles.csv.", ["bubble", *heads], rows)


def _maps(found: BubbleReport, volume: Volume) -> Figure:
    most = max(float(m.max()) for m in (found.density_xy, found.density_xz, found.density_zy))
    pictures = [
        picture(image, title, limits=(0, most or 1), colours="inferno")
        for image, title in (
            (found.density_xy, "seen along z"),
            (found.density_xz, "seen along y, z downwards"),
            (found.density_zy, "seen along x, z downwards"),
        )
    ]
    unit = unit_of(volume)
    return Figure(pictures, f"Thickness of gas in each column, from 0 (black) to {most:.3g} {unit} (light).", 3)


def _histogram(diameters: np.ndarray, unit: str) -> Figure:
    counts, edges = np.histogram(diameters, bins=min(25, max(5, len(diameters) // 4)))
    return curves(
        {"bubbles": (np.repeat(edges, 2)[1:-1], np.repeat(counts, 2))},
        x_label=f"equivalent diameter / {unit}", y_label="number of bubbles",
        caption="Diameters of balls of the bubbles' volumes.", alt="Histogram of bubble diameters.",
    )  # fmt: skip


def _drawn(found: BubbleReport, volume: Volume) -> list[Figure]:
    if not found.n_bubbles:
        return []
    try:
        from poreforge.views import encoded_png, render_property

        unit = unit_of(volume)
        context: Any = volume.array == names_of(volume).index("membrane") if "membrane" in names_of(volume) else None
        image = render_property(
            found.ids, found.bubbles["equivalent_diameter"], name="diameter", unit=unit, cut="none",
            voxel_size_um=volume.voxel_size_um, context=context,
        )  # fmt: skip
    except ValueError:
        return []
    drawn = Picture(encoded_png(image), f"Bubbles coloured by their diameter in {unit}.")
    return [Figure([drawn], "The bubbles, coloured by the diameter of a ball of their volume, and the membrane.")]
