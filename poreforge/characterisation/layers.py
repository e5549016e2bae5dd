"""Layers of a gas diffusion medium with a microporous layer (MPL)."""

import dataclasses
from typing import Any

import numpy as np

from evaluate import LayerReport, ThicknessMap, layer_report
from poreforge.characterisation.findings import Findings, columns_of, names_of, unit_of
from poreforge.report import Figure, Section, Table
from poreforge.report.figures import curves, picture
from volume import Volume

__all__ = ["has_layers", "layers"]

CRACK_COLUMNS = ("area", "length", "mean_width", "max_width", "orientation_deg", "open_area")


def has_layers(volume: Volume) -> bool:
    """Whether the phases are called fibre and MPL."""
    return {"fibre", "MPL"} <= set(names_of(volume))


def layers(volume: Volume) -> Findings:
    """Measure the MPL, its cracks, how it reaches into the fibres, and both layers' thickness."""
    found = layer_report(volume, pore=0, fibre="fibre", mpl="MPL", pore_sizes=False)
    unit = unit_of(volume)
    tables = [_table_of_layers(found, unit), _table_of_maps(found, unit)]
    csv: dict[str, dict[str, Any]] = {}
    if found.cracks is not None:
        csv["cracks.csv"] = {"unit": found.unit, **found.cracks.table}
        tables += [_table_of_cracks(found, unit)]
    paragraphs = [f"{name.replace('_', ' ').capitalize()}: {reason}." for name, reason in found.undefined.items()]
    figures = [*_maps(found, unit), _profile(found, unit)]
    section = Section("Layers", [*_sentences(found, unit), *paragraphs], figures, tables)
    return Findings({"layers": _plain(found)}, section, csv)


def _sentences(found: LayerReport, unit: str) -> list[str]:
    sentences = []
    if found.cracks is not None:
        sentences.append(
            f"Cracks of the MPL: {found.cracks.n_cracks}, which take {found.cracks.area_fraction:.2%} of its plan; "
            f"{found.cracks.open_fraction:.2%} is open through the whole MPL. Fibres that cross a crack are no cracks."
        )
    if found.intrusion is not None:
        text = (
            f"The MPL reaches {found.intrusion.largest:.3g} {unit} into the fibres at most, with "
            f"{found.intrusion.share_of_mpl:.1%} of its volume."
        )
        if found.intrusion.c_ra is not None:
            text += f" The roughness of its face varies from place to place by c_Ra = {found.intrusion.c_ra:.3g}."
        sentences.append(text)
    return sentences


def _plain(found: LayerReport) -> dict[str, Any]:
    parts = {name: getattr(found, name) for name in ("mpl", "gdl", "mpl_thickness", "total_thickness", "interfaces")}
    numbers: dict[str, Any] = {name: part and _numbers_of(part) for name, part in parts.items()}
    for name in ("cracks", "intrusion", "free_surface"):
        part = getattr(found, name)
        numbers[name] = part and _numbers_of(part)
    if found.intrusion is not None:
        numbers["intrusion"] |= {"c_ra": found.intrusion.c_ra, "ra": found.intrusion.roughness.sa}
    profile = {name: np.asarray(values).tolist() for name, values in found.profile.items()}
    return {**numbers, "profile": profile, "undefined": found.undefined, "axis": found.axis, "unit": found.unit}


def _numbers_of(part: Any) -> dict[str, Any]:
    """Return the single numbers of a result."""
    values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    return {name: value for name, value in values.items() if isinstance(value, bool | int | float | str)}


def _table_of_layers(found: LayerReport, unit: str) -> Table:
    heads = ["layer", f"from / {unit}", f"to / {unit}", f"thickness / {unit}", "porosity", "fibre", "MPL"]
    rows = [
        [
            name, *columns_of(layer.start, layer.stop, layer.thickness),
            *columns_of(layer.porosity, layer.fibre_fraction, layer.mpl_fraction),
        ]
        for name, layer in (("MPL", found.mpl), ("substrate", found.gdl))
        if layer is not None
    ]  # fmt: skip
    return Table("The layers and what they hold.", heads, rows)


def _table_of_maps(found: LayerReport, unit: str) -> Table:
    maps: dict[str, ThicknessMap | None] = {"MPL": found.mpl_thickness, "all": found.total_thickness}
    rows = [
        [name, *columns_of(m.mean, m.standard_deviation, m.smallest, m.median, m.largest, m.coverage)]
        for name, m in maps.items()
        if m is not None
    ]
    heads = ["", "mean", "standard deviation", "smallest", "median", "largest", "share of the plan"]
    return Table(f"Thickness in {unit}, column by column.", heads, rows)


def _table_of_cracks(found: LayerReport, unit: str, most: int = 10) -> Table:
    table = found.cracks.table if found.cracks else {}
    units = {"area": f" / {unit}²", "open_area": f" / {unit}²", "orientation_deg": ""}
    heads = [name.replace("_deg", " / °").replace("_", " ") + units.get(name, f" / {unit}") for name in CRACK_COLUMNS]
    order = np.argsort(-table["area"], kind="stable")[:most]
    rows = [[str(table["id"][i]), *columns_of(*(table[name][i] for name in CRACK_COLUMNS))] for i in order]
    return Table(f"The largest {len(rows)} cracks; all are in cracks.csv.", ["crack", *heads], rows)


def _maps(found: LayerReport, unit: str) -> list[Figure]:
    if found.mpl_thickness is None:
        return []
    pictures, said = [], []
    shown = {"thickness of the MPL": found.mpl_thickness.map}
    if found.intrusion is not None:
        shown["depth of the intrusion"] = found.intrusion.depth
        shown["local roughness Ra"] = found.intrusion.roughness.local_ra
    for title, values in shown.items():
        if values is None or not np.size(values):
            continue
        most = float(np.max(values))
        pictures.append(picture(np.asarray(values), title, limits=(0, most or 1), colours="viridis"))
        said.append(f"{title} from 0 (dark) to {most:.3g} {unit} (light)")
    if found.cracks is not None:
        pictures.append(picture((found.cracks.ids > 0).astype(float), "cracks", limits=(0, 1)))
        said.append("cracks in white")
    caption = "; ".join(said)
    return [Figure(pictures, caption[0].upper() + caption[1:] + ".", min(len(pictures), 4))]


def _profile(found: LayerReport, unit: str) -> Figure:
    return curves(
        {
            name: (found.profile["position"], found.profile[key])
            for name, key in (("pore", "pore"), ("fibre", "fibre"), ("MPL", "mpl"))
        },
        x_label=f"position along {'zyx'[found.axis]} / {unit}", y_label="share of the slice",
        caption="What each slice across the layers holds.", alt="Profile of pore, fibre and MPL.",
    )  # fmt: skip
