"""Ranks of methods on the same volumes, means over volumes, and how surely they are known."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from evaluate.likeness.independent_draws import student

__all__ = ["Estimate", "Standing", "differences_to", "mean_over_volumes", "property_losses", "rank", "standings"]

RESAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over volumes and its interval; `low` and `high` are NaN for fewer than two, all are for none."""

    mean: float
    low: float
    high: float
    count: int


@dataclasses.dataclass(frozen=True)
class Standing:
    """The mean rank of a method over volumes, 1 being best, and its interval, NaN for a single volume."""

    method: str
    rank: float
    low: float
    high: float
    volumes: int


def mean_over_volumes(
    values: Sequence[float], *, level: float = 0.95, within: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Average over volumes, those without a value left out.

    Parameters
    ----------
    values : sequence of float
        One a volume; NaN where there is none.
    level : float
        Coverage of the interval, which is Student's: volumes are independent draws.
    within : (float, float)
        What values can be; the interval ends there.

    Returns
    -------
    Estimate
    """
    known = np.array([value for value in values if not math.isnan(value)])
    if known.size < 2:
        return Estimate(float(known.mean()) if known.size else math.nan, math.nan, math.nan, known.size)
    half = student(level, known.size - 1) * float(known.std(ddof=1)) / math.sqrt(known.size)
    mean = float(known.mean())
    return Estimate(mean, max(mean - half, within[0]), min(mean + half, within[1]), known.size)


def rank(losses: np.ndarray) -> np.ndarray:
    """Rank methods on each volume.

    Parameters
    ----------
    losses : ndarray, shape (volumes, methods) or (volumes, methods, quantities)
        Smaller is better; NaN is worst. A quantity that no method has on a volume is left out there.

    Returns
    -------
    ndarray of float64, shape (volumes, methods)
        From 1, the best; equal losses share the mean of their ranks. Of several quantities the mean of the ranks in
        each, itself not ranked again.
    """
    from scipy.stats import rankdata

    losses = np.asarray(losses, np.float64)
    losses = losses[..., None] if losses.ndim == 2 else losses
    known = ~np.isnan(losses).all(axis=1)
    # Where no method has any number they share all ranks.
    known[~known.any(axis=1)] = True
    ranks = rankdata(np.where(np.isnan(losses), np.inf, losses), axis=1)
    return np.einsum("vmq,vq->vm", ranks, known) / known.sum(axis=1)[:, None]


def standings(
    ranks: np.ndarray, methods: Sequence[str], *, strata: Sequence[int], level: float = 0.95, seed: int = 0
) -> list[Standing]:
    """Average ranks over volumes.

    Parameters
    ----------
    ranks : ndarray, shape (volumes, methods)
        As `rank` returns them.
    methods : sequence of str
        Their names.
    strata : sequence of int
        For each volume, of which corpus it is.
    level : float
        Coverage of the interval.
    seed : int
        Of the resampling.

    Returns
    -------
    list of Standing
        The best first; of equal ones in the order given.

    Notes
    -----
    The interval holds the middle `level` of the mean ranks of 10 000 sets of volumes drawn from these with
    replacement, from each corpus as many as it has; the same sets for all methods.
    """
    mean, n = ranks.mean(axis=0), len(ranks)
    low = high = np.full(len(methods), np.nan)
    if n > 1:
        rng, totals = np.random.default_rng(seed), np.zeros((RESAMPLES, len(methods)))
        for corpus in sorted(set(strata)):
            own = ranks[np.asarray(strata) == corpus]
            # How often each volume is drawn is all that counts.
            totals += rng.multinomial(len(own), np.full(len(own), 1 / len(own)), RESAMPLES) @ own
        low, high = np.quantile(totals / n, [(1 - level) / 2, (1 + level) / 2], axis=0)
    order = np.argsort(mean, kind="stable")
    return [Standing(methods[k], float(mean[k]), float(low[k]), float(high[k]), n) for k in order]


def property_losses(scores: Mapping[str, float], keys: Sequence[str]) -> list[float]:
    """Return how wrong each property is: the size of its error.

    Parameters
    ----------
    scores : mapping
        Of `poreforge.scores.score_segmentation`; empty for a method that failed.
    keys : sequence of str
        Of the errors. A tortuosity that is there on one side alone, a way through that is made up or lost, is
        infinitely wrong; none on both sides is right.
    """
    losses = [abs(scores.get(key, math.nan)) for key in keys]
    if scores and "tortuosity_error" in keys:
        place = list(keys).index("tortuosity_error")
        wrong = scores["percolation_error"] != 0
        losses[place] = math.inf if wrong else 0.0 if math.isnan(losses[place]) else losses[place]
    return losses


def differences_to(best: Sequence[float], other: Sequence[float], *, level: float = 0.95) -> Estimate:
    """Return by how much one method is above another on the same volumes, where both have a value."""
    pairs = zip(best, other, strict=True)
    return mean_over_volumes([one - two for one, two in pairs], level=level)
