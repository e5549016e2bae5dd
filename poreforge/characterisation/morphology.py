"""Minkowski functionals, interfaces and triple lines of the phases."""

import itertools
from typing import Any

from evaluate import InterfaceAreas, Minkowski, interface_areas, minkowski_of_phases, triple_phase_boundary
from poreforge.characterisation.findings import Findings, attempt, columns_of, names_of, unit_of
from poreforge.report import Section, Table
from volume import Volume

__all__ = ["morphology"]

KEYS = ("volume_fraction", "specific_surface", "mean_curvature", "euler_density")


def morphology(volume: Volume) -> Findings:
    """Measure each phase's functionals, the areas between phases and the lines where three meet."""
    names, unit = names_of(volume), unit_of(volume)
    functionals = minkowski_of_phases(volume, n_phases=len(names))
    phases = [_plain(label, name, found) for label, (name, found) in enumerate(zip(names, functionals, strict=True))]
    columns = ["phase", "volume fraction"]
    columns += [f"{name} / {unit}{power}" for name, power in (("surface", "⁻¹"), ("mean curvature", "⁻²"))]
    rows = [[phase["name"], *columns_of(*(phase[key] for key in KEYS))] for phase in phases]
    tables = [Table("Minkowski functionals of each phase.", [*columns, f"Euler density / {unit}⁻³"], rows)]
    paragraphs = [
        "Densities per volume of the whole, not of the phase. The volume is taken as a cut-out of something larger: "
        "its border is not counted as surface. Surfaces are Crofton's; the Euler number joins voxels at faces."
    ]
    numbers: dict[str, Any] = {"phases": phases}
    if len(names) > 2:
        numbers |= _between(volume, names, tables)
        paragraphs.append(
            "Lines where three phases meet are those of the voxels' edges, smoothed: some five per cent off, more "
            "where phases meet at less than 30 degrees."
        )
    return Findings(numbers, Section("Morphology", paragraphs, tables=tables))


def _plain(label: int, name: str, found: Minkowski) -> dict[str, Any]:
    return {"label": label, "name": name, **{key: getattr(found, key) for key in KEYS}, "unit": found.unit}


def _between(volume: Volume, names: tuple[str, ...], tables: list[Table]) -> dict[str, Any]:
    unit = unit_of(volume)
    areas: InterfaceAreas = interface_areas(volume, n_phases=len(names))
    pairs = list(itertools.combinations(range(len(names)), 2))
    rows = [[f"{names[a]} – {names[b]}", *columns_of(areas.specific_areas[a, b])] for a, b in pairs]
    tables.append(Table("Area between two phases per volume of the whole.", ["phases", f"area / {unit}⁻¹"], rows))
    lines, rows = [], []
    for triple in itertools.combinations(range(len(names)), 3):
        found, reason = attempt(triple_phase_boundary, volume, triple)
        density = None if found is None else found.density
        lines.append({"phases": list(triple), "density": density, "reason": reason})
        rows.append([" – ".join(names[k] for k in triple), *columns_of(density)])
    tables.append(
        Table("Length of the lines where three phases meet, per volume.", ["phases", f"length / {unit}⁻²"], rows)
    )
    return {
        "interfaces": [{"phases": [a, b], "specific_area": float(areas.specific_areas[a, b])} for a, b in pairs],
        "triple_phase_boundaries": lines,
    }
