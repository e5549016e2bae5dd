"""A user's strokes in; a segmenter that has learnt from them out."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import make_output_folder
from segment import load
from segment.classical import UNKNOWN
from segment.finetuning import FineTuningReport, fine_tune
from segment.slice_order import SliceOrder
from volume import read

__all__ = ["FINE_TUNING", "fine_tune_file", "report_sentence"]

FINE_TUNING = "fine-tuning.json"


def fine_tune_file(
    path: str | Path,
    strokes: str | Path,
    out: str | Path,
    *,
    model: str,
    phases: Sequence[str] | None = None,
    unlabelled: int = UNKNOWN,
    slices: SliceOrder = "auto",
    minutes: float | None = None,
) -> FineTuningReport:
    """Fit a trained segmenter to the strokes that a user has drawn on a volume, and save it.

    Parameters
    ----------
    path : path-like
        Grey values; they are held in memory.
    strokes : path-like
        Labels of the same shape: the number of the phase where it is labelled, `unlabelled` elsewhere.
    out : path-like
        Folder for the new segmenter, which `segment_file` takes as its model; ``fine-tuning.json`` in it tells what
        was done.
    model : str
        As `segment.load` takes it.
    phases : sequence of str, optional
        Name of each label; the model's own unless given.
    unlabelled : {255, 0}
        Of the strokes. With 255 phases count from 0. With 0, as painting programs have it, phase 0 is drawn as 1.
    slices : {"auto", "stack", "single"}
        Whether neighbouring slices tell of one another, see `segment.Segmenter`.
    minutes : float, optional
        To spend; 1 unless given.

    Returns
    -------
    FineTuningReport

    Raises
    ------
    ValueError
        As `segment.finetuning.fine_tune`, and for files that cannot be read or a folder that cannot be written.
    """
    if unlabelled not in (UNKNOWN, 0):
        raise ValueError(f"unlabelled is {unlabelled}; give {UNKNOWN} (phases count from 0) or 0 (phases count from 1)")
    segmenter, grey = dataclasses.replace(load(model), slices=slices), read(path)
    marks: Any = np.asarray(read(strokes))
    if unlabelled == 0 and np.issubdtype(marks.dtype, np.integer):
        marks = np.where(marks == 0, UNKNOWN, marks.astype(np.int64) - 1)
    make_output_folder(Path(out).parent)
    tuned = fine_tune(segmenter, grey, marks, phases=phases, minutes=minutes)
    tuned.segmenter.save(out)
    facts = json.dumps({"model": model, **dataclasses.asdict(tuned.report)}, indent=2)
    (Path(out) / FINE_TUNING).write_text(facts + "\n", encoding="utf-8")
    return tuned.report


def report_sentence(report: FineTuningReport) -> str:
    """Say in a sentence what the strokes have brought."""
    after = _percentages(report.phases, report.after)
    if report.kept_step is None:
        return f"the strokes taught it nothing new: of those held back it labels rightly {after}"
    before = "" if report.before is None else f" (before: {_percentages(report.phases, report.before)})"
    return f"fine-tuned in {report.seconds:.0f} s; of strokes held back it labels rightly {after}{before}"


def _percentages(phases: Sequence[str], shares: Sequence[float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in zip(phases, shares, strict=True))
