"""Every number and picture that a labelled volume allows, so far as the project has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluate import minkowski, porosity_profile, two_point
from launch import describe_software, make_output_folder
from poreforge.outputs import software_facts, write_summary
from poreforge.report import Figure, Section, Table, number, write_report
from poreforge.report.figures import curves, label_image, picture
from volume import Volume, read

__all__ = ["characterise", "read_labels"]

MOST_LABELS = 16


def characterise(path: str | Path, out: str | Path, *, voxel_size_um: Sequence[float] | None = None) -> Path:
    """Measure a labelled volume and write ``report.html`` and ``summary.json``.

    Parameters
    ----------
    path : path-like
        Labels: 0 is pore. A mask of two values, such as 0 and 255, is taken as 0 and 1, and the report says so.
    out : path-like
        Folder for the results.
    voxel_size_um : (float, float, float), optional
        Size of a voxel along z, y, x; by default the file's. Without either, lengths are in voxels.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    ValueError
        If the file holds grey values, one label or one slice only, or cannot be read.
    """
    labels, notes = read_labels(path, voxel_size_um=voxel_size_um)
    if min(labels.shape) < 2:
        raise ValueError(
            f"'{path}' has the shape {labels.shape}; surfaces need two voxels along each axis: give a thicker volume"
        )
    out = make_output_folder(out)
    names = labels.phases or ()
    phases = [_measure_phase(labels, k, names[k]) for k in range(len(names))]
    summary = {
        "file": str(path),
        "shape": list(labels.shape),
        "voxel_size_um": labels.voxel_size_um,
        "notes": notes,
        "porosity": phases[0]["volume_fraction"],
        "phases": phases,
        "porosity_profile": {axis: porosity_profile(labels.array, axis=k).tolist() for k, axis in enumerate("zyx")},
        "software": describe_software(),
    }
    write_summary(out / "summary.json", summary)
    facts = {
        "File": Path(path).name,
        "Voxels": " × ".join(map(str, labels.shape)) + " (z, y, x)",
        "Voxel size": _size_text(labels.voxel_size_um),
        **{f"Note {i}": note for i, note in enumerate(notes, 1)},
        **software_facts(summary["software"]),
    }
    sections = [
        _overview(labels, summary),
        _morphology_section(summary),
        _profile_section(labels, summary),
        _correlation_section(labels, summary),
    ]
    return write_report(out / "report.html", f"Characterisation of {Path(path).name}", sections, facts=facts)


def read_labels(path: str | Path, *, voxel_size_um: Sequence[float] | None = None) -> tuple[Volume, list[str]]:
    """Read a labelled volume; return it with every phase named, and notes on what was changed.

    Raises
    ------
    ValueError
        If it holds grey values or one label only.
    """
    found = read(path, voxel_size_um=voxel_size_um)
    array, notes = np.asarray(found.array), []
    values = np.unique(array)
    if len(values) > MOST_LABELS or array.dtype.kind not in "biu":
        raise ValueError(
            f"'{path}' holds {len(values)} different {array.dtype} values, so these are grey values, not labels; "
            f"segment it first: poreforge segment {path}"
        )
    if len(values) == 1:
        raise ValueError(f"'{path}' holds the single label {values[0]}; there is nothing to characterise")
    if found.phases is None and len(values) == 2 and values[0] == 0 and values[1] > 1:
        notes.append(f"the mask's value {values[1]} was taken as label 1")
        array = array > 0
    elif values.min() < 0 or values.max() >= MOST_LABELS:
        raise ValueError(f"'{path}' holds the labels {values.tolist()}; give 0 (pore), 1, 2, … up to {MOST_LABELS - 1}")
    array = array.astype(np.uint8)
    names = found.phases or ("pore", *(f"phase {k}" for k in range(1, int(array.max()) + 1)))
    if array.min() > 0:
        notes.append("the file has no label 0, so it has no pores")
    return Volume(array, found.voxel_size_um, names), notes


def _measure_phase(labels: Volume, label: int, name: str) -> dict[str, Any]:
    mask = labels.array == label
    functionals = minkowski(mask, voxel_size_um=labels.voxel_size_um)
    correlation = two_point(mask)
    return {
        "label": label,
        "name": name,
        "volume_fraction": functionals.volume_fraction,
        "specific_surface": functionals.specific_surface,
        "mean_curvature": functionals.mean_curvature,
        "euler_density": functionals.euler_density,
        "unit": functionals.unit,
        "two_point": {"r_voxel": correlation.r.tolist(), "s2": correlation.s2.tolist()},
    }


def _overview(labels: Volume, summary: dict[str, Any]) -> Section:
    z, y, x = (n // 2 for n in labels.shape)
    array = labels.array
    pictures = [
        picture(label_image(array[z]), f"z = {z}"),
        picture(label_image(array[:, y]), f"y = {y}, z downwards"),
        picture(label_image(array[:, :, x]), f"x = {x}, z downwards"),
    ]
    key = ", ".join(f"label {p['label']}: {p['name']}" for p in summary["phases"])
    figure = Figure(pictures, f"The three middle planes; {key}. Label 0 is dark.", 3)
    fractions = ", ".join(f"{p['name']} {p['volume_fraction']:.2%}" for p in summary["phases"])
    return Section("Overview", [f"Volume fractions: {fractions}.", *summary["notes"]], [figure])


def _morphology_section(summary: dict[str, Any]) -> Section:
    unit = {"um": "µm", "voxel": "voxel"}[summary["phases"][0]["unit"]]
    columns = [
        "phase",
        "volume fraction",
        f"surface / {unit}⁻¹",
        f"mean curvature / {unit}⁻²",
        f"Euler density / {unit}⁻³",
    ]
    keys = ("volume_fraction", "specific_surface", "mean_curvature", "euler_density")
    rows = [[p["name"], *(number(p[key]) for key in keys)] for p in summary["phases"]]
    note = (
        "Densities per volume of the whole, not of the phase. The volume is taken as a cut-out of something larger: "
        "its border is not counted as surface."
    )
    return Section("Morphology", [note], tables=[Table("Minkowski functionals of each phase.", columns, rows)])


def _profile_section(labels: Volume, summary: dict[str, Any]) -> Section:
    size = labels.voxel_size_um or (1.0, 1.0, 1.0)
    lines = {
        axis: ((np.arange(len(profile)) + 0.5) * step, np.array(profile))
        for (axis, profile), step in zip(summary["porosity_profile"].items(), size, strict=True)
    }
    figure = curves(
        lines,
        x_label="position / " + _unit(labels),
        y_label="porosity of the slice",
        levels={"whole volume": summary["porosity"]},
        caption="Porosity slice by slice along each axis.",
        alt="Porosity profiles along z, y and x.",
    )
    return Section("Porosity profile", [], [figure])


def _correlation_section(labels: Volume, summary: dict[str, Any]) -> Section:
    size = labels.voxel_size_um
    # Radial lags are counted in voxels, which only cubic voxels turn into one length.
    cubic = size is not None and np.ptp(size) < 1e-9
    step = size[0] if size is not None and cubic else 1.0
    lines = {
        p["name"]: (np.array(p["two_point"]["r_voxel"]) * step, np.array(p["two_point"]["s2"]))
        for p in summary["phases"]
    }
    figure = curves(
        lines,
        x_label="distance r / " + ("µm" if cubic else "voxel"),
        y_label="two-point correlation S2",
        caption="Probability that two points at distance r lie in the phase: its fraction at 0, that squared far away.",
        alt="Two-point correlation of each phase.",
    )
    return Section("Two-point correlation", [], [figure])


def _unit(labels: Volume) -> str:
    return "µm" if labels.voxel_size_um is not None else "voxel"


def _size_text(size: tuple[float, float, float] | None) -> str:
    if size is None:
        return "not known: lengths are in voxels"
    return " × ".join(f"{value:g}" for value in size) + " µm (z, y, x)"
