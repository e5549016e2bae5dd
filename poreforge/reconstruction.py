"""Labels in; meshes, their scores against the truth, a table and a report out."""

import csv
import dataclasses
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluate import Mesh, reconstruct
from evaluate.surfaces import METHODS, MeshScores, MeshTruth, mesh_scores, mesh_truth
from launch import describe_software, make_output_folder, replace_when_complete
from poreforge.characterise import read_labels
from poreforge.mesh_pictures import LARGEST_SIDE, MOST_FACES, can_draw_meshes, draw_cut, draw_mesh
from poreforge.outputs import software_facts, write_summary
from poreforge.report import Figure, Picture, Section, Table, number, write_report
from volume import Volume

__all__ = ["COLUMNS", "reconstruct_file", "table_text", "write_mesh"]

EVERY = "all"
# Name in the table: (head in the report, format).
COLUMNS = {
    "chamfer": ("Chamfer", "{:.4g}"),
    "hausdorff": ("Hausdorff", "{:.4g}"),
    "hausdorff95": ("Hausdorff 95\u00a0%", "{:.4g}"),
    "volume_ratio": ("volume ratio", "{:.4f}"),
    "area_ratio": ("area ratio", "{:.3f}"),
    "porosity": ("porosity", "{:.4f}"),
    "porosity_error": ("porosity error", "{:+.4f}"),
    "watertight": ("watertight", "{}"),
    "faces": ("faces", "{}"),
    "seconds": ("seconds", "{:.2f}"),
}
# The columns of the report's first table, each with what a perfect mesh has; the rest describes the mesh itself.
PERFECT = {
    "chamfer": 0.0,
    "hausdorff": 0.0,
    "hausdorff95": 0.0,
    "volume_ratio": 1.0,
    "area_ratio": 1.0,
    "porosity": None,
    "porosity_error": 0.0,
}
# As in `COLUMNS`.
OF_THE_MESH = {
    "watertight": ("watertight", "{}"),
    "components": ("parts", "{}"),
    "genus": ("handles", "{}"),
    "non_manifold_edges": ("edges of > 2 faces", "{}"),
    "faces": ("faces", "{}"),
    "seconds": ("seconds", "{:.2f}"),
}


def reconstruct_file(
    path: str | Path,
    out: str | Path,
    *,
    method: str = EVERY,
    truth: str | Path | None = None,
    voxel_size_um: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Make meshes of the solid in a labelled volume and score them.

    Parameters
    ----------
    path : path-like
        Labels: 0 is pore, all else is solid. A mask of two values, such as 0 and 255, is taken as 0 and 1.
    out : path-like
        Folder for ``METHOD.stl`` and ``METHOD.ply`` (binary), ``scores.csv``, ``summary.json`` and ``report.html``.
    method : str
        One of `evaluate.surfaces.METHODS`, or ``"all"``.
    truth : path-like, optional
        Labels of the same shape to score against; by default those of `path` itself.
    voxel_size_um : (float, float, float), optional
        Size of a voxel along z, y, x; by default the file's. Without either, lengths are in voxels.

    Returns
    -------
    dict
        What ``summary.json`` holds. Under ``"methods"`` one entry a method: the scores, or under ``"failed"`` why
        there is no mesh.

    Raises
    ------
    ValueError
        If a volume cannot be used, the shapes or voxel sizes of the two differ, the method is unknown, or the only
        method asked for leaves no surface.

    Notes
    -----
    Meshes for other programs have their components in the order (x, y, z), faces outward by the right-hand rule, in µm
    if the voxel size is known, otherwise in voxels; the centre of the first voxel is the origin.
    """
    if method != EVERY and method not in METHODS:
        raise ValueError(f"--method is '{method}'; choose all or one of: {', '.join(METHODS)}")
    labels, notes = read_labels(path, voxel_size_um=voxel_size_um)
    true = labels if truth is None else _read_truth(truth, labels, voxel_size_um)
    for name, found in ((path, labels), (truth, true)):
        if not found.array.any():
            raise ValueError(f"'{name}' holds no solid (a label above 0), so there is no surface")
    out = make_output_folder(out)
    rows, cuts, views = _every_method(labels, true, METHODS if method == EVERY else (method,), out)
    if not cuts:
        raise ValueError(f"'{path}' has no mesh by '{method}': {rows[method]['failed']}")
    if truth is not None:
        cuts.insert(0, draw_cut(labels, "the volume itself"))
    summary = {
        "file": str(path),
        "truth": None if truth is None else str(truth),
        "shape": list(labels.shape),
        "voxel_size_um": labels.voxel_size_um,
        "unit": "voxel" if labels.voxel_size_um is None else "um",
        "notes": notes,
        "porosity": float(np.mean(labels.array == 0)),
        "true_porosity": float(np.mean(true.array == 0)),
        "methods": rows,
        "software": describe_software(),
    }
    _write_table(out / "scores.csv", rows)
    write_summary(out / "summary.json", summary)
    _write_report(out / "report.html", summary, cuts, views)
    return summary


def _every_method(
    labels: Volume, true: Volume, methods: Iterable[str], out: Path
) -> tuple[dict[str, dict[str, Any]], list[Picture], list[Picture]]:
    """Write the meshes; return a row of scores for each method, and for each mesh its cut and its view in 3-D."""
    rows: dict[str, dict[str, Any]] = {}
    cuts, views = [], []
    prepared, can_draw = mesh_truth(true), can_draw_meshes()
    for name in methods:
        rows[name], mesh = _one_method(labels, prepared, name)
        if mesh is None:
            continue
        for suffix in ("stl", "ply"):
            write_mesh(out / f"{name}.{suffix}", mesh)
        cuts.append(draw_cut(true, name, mesh))
        if can_draw:
            views.append(draw_mesh(mesh, labels, name))
    return rows, cuts, views


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh as binary STL or PLY, complete or not at all.

    Parameters
    ----------
    path : path-like
        Ending in ``.stl`` or ``.ply``.
    mesh : Mesh
        Components (z, y, x). They are written as (x, y, z), and the faces turned round, so that they stay outward.
    """
    import trimesh

    path = Path(path)
    outside = trimesh.Trimesh(mesh.vertices[:, ::-1], mesh.faces[:, ::-1], process=False, validate=False)
    with replace_when_complete(path) as temporary:
        outside.export(temporary, file_type=path.suffix[1:].lower())


def _read_truth(truth: str | Path, labels: Volume, voxel_size_um: Sequence[float] | None) -> Volume:
    true, _ = read_labels(truth, voxel_size_um=voxel_size_um)
    if true.shape != labels.shape:
        raise ValueError(
            f"the truth '{truth}' has the shape {true.shape}, the volume {labels.shape}; they must be equal"
        )
    own, other = labels.voxel_size_um, true.voxel_size_um
    if own is not None and other is not None and not np.allclose(own, other, rtol=1e-3):
        raise ValueError(f"the truth '{truth}' has voxels of {other} µm and the volume of {own}; set --voxel-size")
    return Volume(true.array, labels.voxel_size_um)


def _one_method(labels: Volume, true: MeshTruth, name: str) -> tuple[dict[str, Any], Mesh | None]:
    start = time.perf_counter()
    try:
        mesh = reconstruct(labels, name)
    except ValueError as refusal:
        return {"failed": str(refusal)}, None
    seconds = time.perf_counter() - start
    return _row(mesh_scores(mesh, true), mesh, seconds), mesh


def _row(scores: MeshScores, mesh: Mesh, seconds: float) -> dict[str, Any]:
    found = dataclasses.asdict(scores)
    topology = found.pop("topology")
    return {
        **{name: found[name] for name in COLUMNS if name in found},
        "watertight": topology["is_watertight"],
        "faces": len(mesh.faces),
        "seconds": seconds,
        "volume": found["volume"],
        "area": found["area"],
        **topology,
    }


def _write_table(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["method", *COLUMNS, "failed"])
    for name, row in rows.items():
        table.writerow([name, *("" if row.get(key) is None else row[key] for key in COLUMNS), row.get("failed", "")])
    with replace_when_complete(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def table_text(rows: dict[str, dict[str, Any]]) -> str:
    """Return the scores of all methods as a table of plain text, for a terminal."""
    lines = [["method", *(head for head, _ in COLUMNS.values())]]
    lines += [[name, *_cells(row)] for name, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def _cells(row: dict[str, Any], columns: Mapping[str, tuple[str, str]] = COLUMNS) -> list[str]:
    shown = []
    for key, (_, form) in columns.items():
        value = row.get(key)
        if isinstance(value, bool):
            value = "yes" if value else "no"
        shown.append("–" if value is None else form.format(value).replace("-", "−"))
    return shown


def _write_report(path: Path, summary: dict[str, Any], cuts: Sequence[Picture], views: Sequence[Picture]) -> None:
    size, unit = summary["voxel_size_um"], {"um": "µm", "voxel": "voxels"}[summary["unit"]]
    of_what = "volume" if summary["truth"] is None else "truth"
    caption = f"The middle plane along z of the {of_what}, the solid bright, and the lines in which each mesh cuts it."
    seen = "The meshes, every facet flat; z is up."
    if any(row.get("faces", 0) > MOST_FACES for row in summary["methods"].values()):
        seen += f" Of those with more than {MOST_FACES} faces the near corner, {LARGEST_SIDE} voxels a side, is shown."
    figures = [*([Figure(views, seen, 3)] if views else []), Figure(cuts, caption, 3)]
    without = [] if views else ["3-D pictures are drawn by PyVista, which is not installed: poreforge[pictures]."]
    facts = {
        "File": Path(summary["file"]).name,
        "Voxels": " × ".join(map(str, summary["shape"])) + " (z, y, x)",
        "Voxel size": "not known" if size is None else " × ".join(f"{edge:g}" for edge in size) + " µm",
        "Porosity of the voxels": number(summary["porosity"]),
        **software_facts(summary["software"]),
    }
    sections = [
        Section("Scores", _notes(summary), tables=_tables(summary["methods"], unit, summary["truth"] is None)),
        Section("Surfaces", without, figures),
    ]
    write_report(path, f"Reconstruction of {Path(summary['file']).name}", sections, facts=facts)


def _notes(summary: dict[str, Any]) -> list[str]:
    if summary["truth"] is None:
        truth = "the volume's own voxels: the method voxel is that truth, so that its zeros are no merit. With --truth "
        truth += "another volume is the truth"
    else:
        truth = Path(summary["truth"]).name
    failed = [f"No mesh by {name}: {row['failed']}." for name, row in summary["methods"].items() if "failed" in row]
    return [
        f"The truth, of porosity {summary['true_porosity']:.4f}, is {truth}.",
        "Its surface is that of the voxels' faces, its area is by Crofton's formula. A smooth surface through the "
        "voxels lies some 0.2 voxels off the staircase of their faces, so that smaller differences in the distances "
        "say nothing.",
        "Chamfer: mean distance of the two surfaces; Hausdorff: the largest, and its 95th percentile. Where the solid "
        "meets the border of the volume, the surface is closed there.",
        *summary["notes"],
        *failed,
    ]


def _tables(rows: dict[str, dict[str, Any]], unit: str, truth_is_own: bool) -> list[Table]:
    scores = {key: COLUMNS[key] for key in PERFECT}
    caption = f"Each method against the truth; lengths in {unit}. What comes nearest to it is set off."
    compared = {name: row for name, row in rows.items() if not (truth_is_own and name == "voxel")}
    best = _best(compared)
    return [
        Table(
            caption,
            ["method", *(head for head, _ in scores.values())],
            [[name, *_cells(row, scores)] for name, row in rows.items()],
            [best.get(name, frozenset()) for name in rows],
        ),
        Table(
            "The meshes themselves. A watertight mesh has two faces at each edge; handles are counted of those only.",
            ["method", *(head for head, _ in OF_THE_MESH.values())],
            [[name, *_cells(row, OF_THE_MESH)] for name, row in rows.items()],
        ),
    ]


def _best(rows: dict[str, dict[str, Any]]) -> dict[str, frozenset[int]]:
    """Return for each method the columns in which its error is the smallest, if there is a choice."""
    best: dict[str, set[int]] = {name: set() for name in rows}
    for column, (key, perfect) in enumerate(PERFECT.items(), 1):
        errors = {name: abs(row[key] - perfect) for name, row in rows.items() if None not in (row.get(key), perfect)}
        if len(errors) > 1:
            best[min(errors, key=lambda name: errors[name])].add(column)
    return {name: frozenset(columns) for name, columns in best.items()}
