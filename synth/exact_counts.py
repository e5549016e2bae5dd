"""Fractions made exact: how many voxels each phase gets, and which voxels they are."""

from collections.abc import Sequence

import numpy as np

__all__ = ["check_fractions", "highest", "whole_counts"]


def check_fractions(fractions: Sequence[float], *, name: str = "fractions") -> tuple[float, ...]:
    """Return `fractions` as floats that add up to 1, or raise ``ValueError``."""
    try:
        values = np.atleast_1d(np.asarray(fractions, float))
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all() or not ((values > 0) & (values < 1)).all():
        raise ValueError(f"{name} is {fractions!r}; give two or more numbers, each above 0 and below 1")
    if abs(values.sum() - 1) > 1e-6:
        raise ValueError(f"{name} add up to {values.sum():g}; give numbers that add up to 1")
    return tuple((values / values.sum()).tolist())


def whole_counts(fractions: Sequence[float], total: int) -> tuple[int, ...]:
    """Divide `total` voxels by `fractions`: whole numbers that add up to it, each less than one voxel off.

    Parameters
    ----------
    fractions : sequence of float
        Adding up to 1.
    total : int

    Returns
    -------
    tuple of int
        The largest remainders are rounded up.
    """
    wanted = np.asarray(fractions, float) * total
    counts = np.floor(wanted).astype(int)
    short = total - int(counts.sum())
    counts[np.argsort(counts - wanted, kind="stable")[:short]] += 1
    return tuple(counts.tolist())


def highest(score: np.ndarray, count: int, *, among: np.ndarray | None = None) -> np.ndarray:
    """Mark the `count` voxels of highest score.

    Parameters
    ----------
    score : ndarray of float
    count : int
        From 0 to the number of candidates.
    among : ndarray of bool, same shape, optional
        The candidates; all voxels if not given.

    Returns
    -------
    ndarray of bool, shape of `score`
        Exactly `count` are true; of equal scores the earlier voxels win, so that the answer is always the same.

    Raises
    ------
    ValueError
        If there are fewer candidates than `count`.
    """
    candidates = score.ravel() if among is None else score[among]
    if not 0 <= count <= candidates.size:
        raise ValueError(f"{count} voxels were asked for where there are {candidates.size}; ask for fewer")
    chosen = _highest_of(candidates, count)
    if among is None:
        return chosen.reshape(score.shape)
    marked = np.zeros(score.shape, bool)
    marked[among] = chosen
    return marked


def _highest_of(values: np.ndarray, count: int) -> np.ndarray:
    if count == 0:
        return np.zeros(values.size, bool)
    level = np.partition(values, values.size - count)[values.size - count]
    chosen = values > level
    equal = np.flatnonzero(values == level)
    chosen[equal[: count - int(chosen.sum())]] = True
    return chosen
