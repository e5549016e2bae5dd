"""Every number and picture that a labelled volume allows."""

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import describe_software, make_output_folder, replace_when_complete
from poreforge.characterisation import TOPICS, Findings, Topic
from poreforge.exports import write_csv
from poreforge.outputs import software_facts, write_summary
from poreforge.report import Section, write_report
from volume import Volume, read

__all__ = ["characterise", "read_labels"]

MOST_LABELS = 16
PARTS = ".parts"


def characterise(
    path: str | Path,
    out: str | Path,
    *,
    voxel_size_um: Sequence[float] | None = None,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
) -> Path:
    """Measure a labelled volume and write ``report.html`` and ``summary.json``.

    What is complete is kept in the folder until the end, so that the same call goes on after an interruption.

    Parameters
    ----------
    path : path-like
        Labels: 0 is pore. A mask of two values, such as 0 and 255, is taken as 0 and 1, and the report says so.
    out : path-like
        Folder for the results.
    voxel_size_um : (float, float, float), optional
        Size of a voxel along z, y, x; by default the file's. Without either, lengths are in voxels.
    only, without : sequence of str
        Names of topics: these alone, or all but these.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    ValueError
        If the file holds grey values, one label or one slice only, or cannot be read; unknown topics.
    """
    topics = _chosen(only, without)
    labels, notes = read_labels(path, voxel_size_um=voxel_size_um)
    if min(labels.shape) < 2:
        raise ValueError(
            f"'{path}' has the shape {labels.shape}; surfaces need two voxels along each axis: give a thicker volume"
        )
    out = make_output_folder(out)
    found = _find_all(labels, {name: topic for name, topic in topics.items() if topic.applies(labels)}, out)
    summary: dict[str, Any] = {
        "file": str(path),
        "shape": list(labels.shape),
        "voxel_size_um": labels.voxel_size_um,
        "phase_names": list(labels.phases or ()),
        "notes": notes,
        "software": describe_software(),
    }
    for findings in found:
        summary |= findings.numbers
        for name, table in findings.tables.items():
            write_csv(out / name, table)
    write_summary(out / "summary.json", summary)
    facts = {
        "File": Path(path).name,
        "Voxels": " × ".join(map(str, labels.shape)) + " (z, y, x)",
        "Voxel size": _size_text(labels.voxel_size_um),
        **{f"Note {i}": note for i, note in enumerate(notes, 1)},
        **software_facts(summary["software"]),
    }
    sections = [findings.section for findings in found]
    report = write_report(out / "report.html", f"Characterisation of {Path(path).name}", sections, facts=facts)
    _forget_parts(out)
    return report


def _chosen(only: Sequence[str], without: Sequence[str]) -> dict[str, Topic]:
    unknown = [name for name in (*only, *without) if name not in TOPICS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no topic; choose from: {', '.join(TOPICS)}")
    if only and without:
        raise ValueError("give either the topics that are wanted or those that are not, not both")
    chosen = {name: topic for name, topic in TOPICS.items() if name in (only or TOPICS) and name not in without}
    if not chosen:
        raise ValueError("no topic is left; there is nothing to do")
    return chosen


def _find_all(labels: Volume, topics: dict[str, Topic], out: Path) -> list[Findings]:
    from tqdm import tqdm

    key = _key(labels)
    bar = tqdm(topics.items(), unit="topic", disable=None)
    found = []
    for name, topic in bar:
        bar.set_postfix_str(topic.title)
        found.append(_find(labels, topic, out / PARTS / f"{name}-{key}.pickle"))
    return found


def _find(labels: Volume, topic: Topic, part: Path) -> Findings:
    """Return what a topic tells; what was found before an interruption is read again."""
    if part.exists():
        return pickle.loads(part.read_bytes())
    try:
        findings = topic.find(labels)
    except ValueError as error:
        # One topic that this volume does not allow must not cost the others.
        findings = Findings({}, Section(topic.title, [f"Not to be had from this volume: {error}."]))
    part.parent.mkdir(exist_ok=True)
    with replace_when_complete(part) as temporary:
        temporary.write_bytes(pickle.dumps(findings))
    return findings


def _key(labels: Volume) -> str:
    """Return what tells one volume, measured by one version of the software, from another."""
    software = describe_software()
    about = [labels.voxel_size_um, labels.phases, labels.shape, software["commit"], software["packages"]]
    digest = hashlib.sha256(repr(about).encode())
    digest.update(np.ascontiguousarray(labels.array).data)
    return digest.hexdigest()[:16]


def _forget_parts(out: Path) -> None:
    folder = out / PARTS
    for part in folder.glob("*.pickle"):
        part.unlink()
    folder.rmdir()


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


def _size_text(size: tuple[float, float, float] | None) -> str:
    if size is None:
        return "not known: lengths are in voxels"
    return " × ".join(f"{value:g}" for value in size) + " µm (z, y, x)"
