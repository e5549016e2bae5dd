"""Fine-tuning of a segmenter from strokes, and the report on what it brought."""

import copy
import dataclasses
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from segment.finetuning.crops import StrokeCrops
from segment.finetuning.descent import Pace, descend, with_new_output
from segment.finetuning.jury import Candidate, Jury, places_of
from segment.finetuning.seen_stack import SeenStack
from segment.losses import IGNORED
from segment.segmenter import Segmenter
from segment.strokes import hold_back, read_strokes
from segment.thresholds import check_grey

__all__ = ["FineTuned", "FineTuningReport", "Refinement", "fine_tune"]

# In so many places at most networks are tried, 2-D ones and 3-D ones.
MOST_PLACES, MOST_DEEP_PLACES = 24, 8
# So many squares of labelled slices give a porosity interval a coverage of 0.9.
FEWEST_SQUARES = 9

Refinement = Literal["none", "kept", "dropped"]
Basis = Literal["pretraining", "squares", "unknown"]


@dataclasses.dataclass(frozen=True)
class FineTuningReport:
    """What fine-tuning did, and what it brought.

    Attributes
    ----------
    steps : int
        Optimiser steps that were taken.
    kept_step : int
        The step after which the kept network was found; 0 if only its output layer has learnt, None if the segmenter
        as it came was not bettered.
    seconds : float
        Wall time of all.
    phases : tuple of str
        Name of each label.
    labelled : tuple of int
        Voxels of each phase in the user's strokes.
    held_back : tuple of int
        Of these, voxels from which nothing was learnt and on which `before` and `after` were measured.
    before : tuple of float or None
        Fraction of each phase's held-back voxels that the segmenter labelled rightly as it came; None where it did not
        know these phases.
    after : tuple of float
        The same of the segmenter that is returned.
    loss_before : float or None
        Mean negative log-likelihood of a held-back voxel by the segmenter as it came, at the temperature that suits it
        best; None where it did not know these phases.
    loss_after : float
        The same of the segmenter that is returned; never above `loss_before`.
    new_output : bool
        Whether the first network got a new output layer, because the phases are others.
    refinement : {"none", "kept", "dropped"}
        Of the second network: there was none; it is used on; or it is not, because it did not help or knows other
        phases.
    interval : {"squares", "unknown", "pretraining"}
        What the porosity interval of the new segmenter rests on: the porosity errors of nine or more held-back squares
        of 64² pixels of labelled slices, which scatter more than those of a volume; nothing, so that it is [0, 1]; or,
        where the segmenter came back as it was, what it rested on before.
    """

    steps: int
    kept_step: int | None
    seconds: float
    phases: tuple[str, ...]
    labelled: tuple[int, ...]
    held_back: tuple[int, ...]
    before: tuple[float, ...] | None
    after: tuple[float, ...]
    loss_before: float | None
    loss_after: float
    new_output: bool
    refinement: Refinement
    interval: Basis


@dataclasses.dataclass(frozen=True, eq=False)
class FineTuned:
    """A segmenter that has seen a user's strokes.

    Attributes
    ----------
    segmenter : Segmenter
        To be used and saved like any other. Its `domain` and `set_aside` are None; the very one that came if that was
        not bettered.
    report : FineTuningReport
        What was done and what it brought.
    """

    segmenter: Segmenter
    report: FineTuningReport


def fine_tune(
    segmenter: Segmenter,
    grey: Any,
    strokes: Any,
    *,
    phases: Sequence[str] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    rng: np.random.Generator | int = 0,
) -> FineTuned:
    """Fit a trained segmenter to one stack.

    Parameters
    ----------
    segmenter : Segmenter
        As `segment.load` gives it; it is not changed.
    grey : array-like or Volume, shape (Z, Y, X)
        The stack. Its contrast and its phases may differ from those that the segmenter was trained on.
    strokes : array-like of int, shape (Z, Y, X), or mapping of int to array-like of int, shape (Y, X)
        The phase, from 0, where it is labelled and 255 elsewhere; of the whole stack, or of some slices by their
        number. A few strokes in each phase, near its borders too, or a few whole slices.
    phases : sequence of str, optional
        Name of each label; the segmenter's own unless given. Others than its own get a new output layer, which learns
        from the strokes alone.
    minutes : float, optional
        Wall time to spend, 1 unless given; about as many steps are taken as fit into it.
    steps : int, optional
        Steps to take in place of `minutes`. The result then depends on nothing but the arguments.
    rng : Generator or int
        Chooses what is held back and draws the crops.

    Returns
    -------
    FineTuned

    Raises
    ------
    ValueError
        If strokes do not fit the volume or the phases, or leave a phase out, or are too few to hold some back; if both
        `minutes` and `steps` are given or are out of range; for volumes that `Segmenter.predict` refuses.

    Notes
    -----
    A fifth of the strokes is held back (`segment.strokes.hold_back`). A random forest learns from the others in a
    second; where it is sure of an unlabelled voxel, its answer counts as a label beside the strokes, which weigh as
    much in sum: strokes alone lie far from borders, and a network learns from them to draw blots. Batch norm keeps its
    statistics. Weights are averaged along the way and tried six times on what is held back, beside the network that
    came and one whose output layer alone has learnt. Kept is the last of those that make the held-back strokes as
    likely as the likeliest, but for one standard error of the difference from place to place, and not less likely than
    the network that came. The refinement stays if without it they would be less likely by more than that.

    The temperature is fitted to the held-back strokes, but never below 1: they lie where it is easy, so they can only
    show that a network is too sure.
    """
    began = time.monotonic()
    grey = check_grey(grey)
    marks = read_strokes(strokes, grey.shape)
    names = _check_phases(phases, segmenter, marks)
    pace = Pace(began, minutes, steps)
    rng = np.random.default_rng(rng)
    parts = hold_back(marks, names, rng=rng)
    seed = int(rng.integers(2**31))
    stack, known = SeenStack(segmenter, grey), names == segmenter.phases
    reach = stack.reach if segmenter.first.dims == 3 else 0
    jury = Jury(stack, places_of(parts.held, reach, most=MOST_PLACES, rng=rng), keep_first=known)
    final = Jury(stack, places_of(parts.held, stack.reach, most=MOST_DEEP_PLACES, rng=rng), keep_first=True)
    if known:
        jury.consider(segmenter.first, None, None)
    if known and segmenter.refine is not None:
        pace.reserve(final.consider(segmenter.first, segmenter.refine, None))
    # Whoever calls has random numbers of torch's to draw as if nothing had been drawn here.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = copy.deepcopy(segmenter.first) if known else with_new_output(segmenter.first, len(names))
        taken = descend(
            network, StrokeCrops(network, stack, parts.learnt, n_phases=len(names), seed=seed), jury, pace=pace
        )
    if final.candidates and jury.best is not jury.first:
        for refine in (segmenter.refine, None):
            final.consider(jury.best.first, refine, jury.best.step)
    verdict = final if final.candidates else jury
    report = FineTuningReport(
        taken,
        verdict.best.step,
        time.monotonic() - began,
        names,
        _counts(marks, len(names)),
        verdict.best.counts,
        verdict.first.accuracy if known else None,
        verdict.best.accuracy,
        verdict.first.loss if known else None,
        verdict.best.loss,
        not known,
        "none" if segmenter.refine is None else "dropped" if verdict.best.refine is None else "kept",
        _basis(verdict.best),
    )
    return FineTuned(_tuned(segmenter, verdict.best, names), report)


def _tuned(segmenter: Segmenter, best: Candidate, phases: tuple[str, ...]) -> Segmenter:
    """Return the chosen networks with what is known of them; the segmenter itself if it was not bettered."""
    if best.step is None:
        return segmenter
    return dataclasses.replace(
        segmenter,
        first=best.first,
        refine=best.refine,
        phases=phases,
        porosity_errors=best.square_errors if len(best.square_errors) >= FEWEST_SQUARES else (),
        undecided=(),
        set_aside=None,
        # What was judged looked along z.
        multiplanar=False,
        temperature=max(1.0, best.temperature),
        domain=None,
    )


def _basis(best: Candidate) -> Basis:
    if best.step is None:
        return "pretraining"
    return "squares" if len(best.square_errors) >= FEWEST_SQUARES else "unknown"


def _check_phases(phases: Sequence[str] | None, segmenter: Segmenter, marks: np.ndarray) -> tuple[str, ...]:
    """Return the names of the phases, of all of which there must be strokes."""
    names = segmenter.phases if phases is None else tuple(phases)
    listed = ", ".join(names)
    if (
        isinstance(phases, str)
        or not all(isinstance(name, str) and name for name in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(f"phases are {phases!r}; give a name for each label, each of them once")
    if not 2 <= len(names) <= IGNORED:
        raise ValueError(f"there are {len(names)} phases; give the names of 2 to {IGNORED}, as many as are labelled")
    counts = np.bincount(marks.ravel(), minlength=IGNORED + 1)[:IGNORED]
    found = np.flatnonzero(counts)
    if not found.size:
        raise ValueError(f"no voxel is labelled: all are {IGNORED}; draw strokes in each phase ({listed})")
    if found[-1] >= len(names):
        raise ValueError(
            f"a stroke is labelled {found[-1]}, but there are {len(names)} phases ({listed}), numbered from 0; "
            "give the names of all as phases, or label it anew"
        )
    if found.size < len(names):
        missing = next(name for number, name in enumerate(names) if not counts[number])
        raise ValueError(f"no stroke is labelled '{missing}'; draw strokes in each phase ({listed})")
    return names


def _counts(marks: np.ndarray, n_phases: int) -> tuple[int, ...]:
    return tuple(np.bincount(marks.ravel(), minlength=n_phases)[:n_phases].tolist())
