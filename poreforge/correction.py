"""A raw stack in; the corrected stack, what was found and a report with the pictures before and after out."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import describe_software, make_output_folder, to_plain
from poreforge.outputs import bare_name, software_facts, write_summary
from poreforge.report import Figure, Section, Table, number, write_report
from poreforge.report.figures import curves, picture
from segment.correction import Corrected, CorrectionSettings, StepReport, correct, stripe_spectrum
from volume import Volume, choose_for_writing, read, write

__all__ = ["correct_file"]

SPECTRUM_PX = 48


def correct_file(
    path: str | Path,
    out: str | Path,
    *,
    settings: CorrectionSettings | None = None,
    voxel_size_um: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Correct the stack in a file.

    Parameters
    ----------
    path : path-like
        Grey values.
    out : path-like
        File for the corrected stack; its ending chooses the format. Beside it go ``NAME-summary.json`` and
        ``NAME.html``.
    settings : CorrectionSettings, optional
        Which steps may act.
    voxel_size_um : (float, float, float), optional
        Size of a voxel along z, y, x; by default the file's.

    Returns
    -------
    dict
        What ``NAME-summary.json`` holds.

    Raises
    ------
    ValueError
        If the stack cannot be used, or `out` cannot be written or would replace the stack.
    """
    out, settings = Path(out), settings or CorrectionSettings()
    stack = read(path, voxel_size_um=voxel_size_um)
    choose_for_writing(out)
    if Path(path).resolve() == out.resolve():
        raise ValueError(f"the result would replace the stack '{path}' itself; choose another name with --out")
    make_output_folder(out.parent)
    corrected = correct(stack, settings)
    report = corrected.report
    summary = {
        "file": str(path),
        "untouched": report.untouched,
        "shape_before": list(report.shape_before),
        "shape": list(report.shape_after),
        "voxel_size_um": report.voxel_size_um,
        "slice_px": report.slice_px,
        "settings": to_plain(settings),
        "steps": [dataclasses.asdict(step) for step in report.steps],
        "software": describe_software(),
    }
    write(out, corrected.stack)
    write_summary(out.with_name(f"{bare_name(out)}-summary.json"), summary)
    _write_report(out.with_name(f"{bare_name(out)}.html"), stack, corrected, summary)
    return summary


def _write_report(path: Path, stack: Volume, corrected: Corrected, summary: dict[str, Any]) -> None:
    report = corrected.report
    done = [step.name for step in report.steps if step.applied]
    text = (
        f"Corrected: {', '.join(done)}."
        if done
        else "Nothing was found that had to be corrected: the stack is untouched, to the byte."
    )
    rows = [_row(step) for step in report.steps]
    table = Table(
        "Each step, in order, and what it found.", ["step", "set to", "done", "before", "after", "of what"], rows
    )
    reasons = [f"{step.name.capitalize()}: {step.reason}." for step in report.steps]
    result = np.asarray(corrected)
    sections = [
        Section("Result", [text, *reasons], tables=[table]),
        Section("Slices before and after", [], [_slices(stack.array, result)]),
        *_geometry(report["drift"]),
        *_levels(report["gain"]),
        *_directions(stack.array, result, report["stripes"]),
    ]
    facts = {
        "File": Path(summary["file"]).name,
        "Voxels before": " × ".join(map(str, report.shape_before)) + " (z, y, x)",
        "Voxels after": " × ".join(map(str, report.shape_after)) + " (z, y, x)",
        "Distance of slices": f"{number(report.slice_px)} pixels"
        + ("" if stack.voxel_size_um else " (not known: taken as 1)"),
        **software_facts(summary["software"]),
    }
    write_report(path, f"Correction of {Path(summary['file']).name}", sections, facts=facts)


def _row(step: StepReport) -> list[str]:
    before, after = ("–" if value is None else number(value, 3) for value in (step.before, step.after))
    return [step.name, step.setting, "yes" if step.applied else "no", before, after, step.measure or "–"]


def _slices(before: np.ndarray, after: np.ndarray) -> Figure:
    pictures = []
    for share in (1 / 6, 1 / 2, 5 / 6):
        for name, stack in (("before", before), ("after", after)):
            z = min(int(share * len(stack)), len(stack) - 1)
            # Each has its own range of grey values; within a row they are shown alike.
            limits = tuple(np.percentile(stack, [0.5, 99.5]).tolist())
            pictures.append(picture(stack[z], f"slice {z} {name}", limits=(limits[0], limits[1])))
    middle = [np.take(stack, stack.shape[2] // 2, axis=2) for stack in (before, after)]
    pictures += [
        picture(image, f"side view {name}", limits=tuple(np.percentile(image, [0.5, 99.5]).tolist()))
        for name, image in zip(("before", "after"), middle, strict=True)
    ]
    caption = "Three slices, and a cut along z (downwards) and y: drift shows there as jagged edges."
    return Figure(pictures, caption, 2)


def _geometry(step: StepReport) -> list[Section]:
    path = np.array(step.found.get("path_px", []))
    if not step.applied or len(path) < 2:
        return []
    z = np.arange(len(path))
    figure = curves(
        {"y": (z, path[:, 0]), "x": (z, path[:, 1])},
        x_label="slice",
        y_label="shift / px",
        caption="Where each slice lies in the raw stack; it was moved back by this.",
        alt="Drift of the slices along y and x.",
    )
    return [Section("Drift", [], [figure])]


def _levels(step: StepReport) -> list[Section]:
    gain = np.array(step.found.get("gain", []))
    if not step.applied or len(gain) < 2:
        return []
    figure = curves(
        {"gain": (np.arange(len(gain)), gain)},
        x_label="slice",
        y_label="gain of the slice",
        levels={"no change": 1.0},
        caption="Contrast of each slice against the mean one; its offset is in the summary.",
        alt="Gain of each slice.",
    )
    return [Section("Gain", [], [figure])]


def _directions(before: np.ndarray, after: np.ndarray, step: StepReport) -> list[Section]:
    if step.setting == "off" or min(*before.shape[1:], *after.shape[1:]) < SPECTRUM_PX:
        return []
    lines = {name: stripe_spectrum(stack) for name, stack in (("before", before), ("after", after))}
    figure = curves(
        lines,
        x_label="direction against +y / degree",
        y_label="power of the faces' unevenness / px²",
        caption="Stripes along the ion beam show as a peak near 0; noise and grain are alike in every direction.",
        alt="Power of the unevenness by direction, before and after.",
    )
    return [Section("Stripes", [], [figure])]
