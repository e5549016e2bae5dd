"""Whether probabilities are frequencies: reliability diagrams and the scores that sum them up."""

import dataclasses
from typing import Any

import numpy as np

from segment.trust.slabs import LEAST_PROBABILITY, LabelledSlabs, check_probability

__all__ = ["Reliability", "ReliabilityCurve", "reliability"]

MOST_BINS = 10_000


@dataclasses.dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """How often something said with a confidence is true.

    Attributes
    ----------
    confidence : ndarray of float64, shape (m,)
        Mean confidence in each bin that holds any voxel, rising; m is at most the number of bins.
    accuracy : ndarray of float64, shape (m,)
        Fraction of the bin's voxels where what was said is true.
    count : ndarray of int64, shape (m,)
        Voxels in the bin.
    expected_calibration_error : float
        Mean distance between confidence and accuracy over all voxels.
    brier : float
        Mean of (confidence − 1 where true, − 0 elsewhere)².
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    expected_calibration_error: float
    brier: float


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """Calibration of a segmenter's probabilities.

    Attributes
    ----------
    top : ReliabilityCurve
        Of the most probable phase: its probability against its being right. `top.expected_calibration_error` is
        what most papers call ECE.
    phases : tuple of ReliabilityCurve
        Of each phase: its probability against its being there.
    brier : float
        Mean over voxels of the squared distance between the probabilities and the one-hot truth, from 0 to 2: the
        sum of the phases' `brier`.
    negative_log_likelihood : float
        Mean over voxels of −ln of the true phase's probability. Probabilities below 1.2e-38 count as that.
    voxels : int
        How many were seen. Neighbouring voxels depend on each other, so fewer count towards a standard error.
    """

    top: ReliabilityCurve
    phases: tuple[ReliabilityCurve, ...]
    brier: float
    negative_log_likelihood: float
    voxels: int


def reliability(probability: Any, labels: Any = None, *, bins: int = 15) -> Reliability:
    """Compare probabilities with the truth.

    Parameters
    ----------
    probability : array-like of shape (n, Z, Y, X), or iterable of (probability, labels)
        Probability of each of n ≥ 2 phases, in memory or on disk, or slabs ``(n, z, Y, X)`` with their labels, of one
        or more volumes. One pass is made; a slab is held.
    labels : array-like of shape (Z, Y, X), optional
        The true phases; left out where slabs are given.
    bins : int
        Of equal width between 0 and 1; a bin holds its lower edge, the last one also 1.

    Returns
    -------
    Reliability

    Raises
    ------
    ValueError
        For what are no probabilities or no labels of theirs, and for `bins` that is not from 1 to 10000.

    Notes
    -----
    Bins without voxels are left out of the curves. The calibration error of few voxels in many bins is too large:
    each bin's accuracy scatters by √(a (1 − a) / count).

    References
    ----------
    Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, section 2; Brier, Monthly
    Weather Review 78 (1950) 1.
    """
    if not isinstance(bins, int | np.integer) or isinstance(bins, bool) or not 1 <= bins <= MOST_BINS:
        raise ValueError(f"bins is {bins!r}; give a whole number from 1 to {MOST_BINS}")
    tallies: list[_Tally] = []
    log_loss = 0.0
    for slab, truth in LabelledSlabs(probability, labels):
        p = check_probability(slab)
        tallies = tallies or [_Tally(int(bins)) for _ in range(len(p) + 1)]
        for phase, channel in enumerate(p):
            tallies[phase].add(channel, truth == phase)
        best = p.argmax(axis=0)
        tallies[-1].add(p.max(axis=0), best == truth)
        of_truth = np.take_along_axis(p, truth[None], axis=0)[0]
        log_loss -= float(np.log(np.maximum(of_truth, LEAST_PROBABILITY), dtype=np.float64).sum())
    if not tallies:
        raise ValueError("the slabs hold no voxel; give at least one")
    *phases, top = [tally.curve() for tally in tallies]
    voxels = int(top.count.sum())
    # Rounding may lift the sum of certain, right probabilities above ln 1.
    loss = max(0.0, log_loss / voxels)
    return Reliability(top, tuple(phases), sum(phase.brier for phase in phases), loss, voxels)


class _Tally:
    """Sums over the voxels of each bin."""

    def __init__(self, bins: int) -> None:
        self.count = np.zeros(bins, np.int64)
        self.confidence, self.hits = np.zeros(bins), np.zeros(bins)
        self.squares = 0.0

    def add(self, confidence: np.ndarray, true: np.ndarray) -> None:
        bins = len(self.count)
        confidence = np.clip(confidence, 0, 1).astype(np.float64)
        where = np.minimum((confidence * bins).astype(np.intp), bins - 1)
        self.count += np.bincount(where, minlength=bins)
        self.confidence += np.bincount(where, weights=confidence, minlength=bins)
        self.hits += np.bincount(where, weights=true, minlength=bins)
        self.squares += float(((confidence - true) ** 2).sum())

    def curve(self) -> ReliabilityCurve:
        held = self.count > 0
        count = self.count[held]
        confidence, accuracy = self.confidence[held] / count, self.hits[held] / count
        error = float(np.abs(self.confidence - self.hits).sum() / count.sum())
        return ReliabilityCurve(confidence, accuracy, count, error, self.squares / float(count.sum()))
