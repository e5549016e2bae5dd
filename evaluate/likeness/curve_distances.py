"""How far two mean curves are apart, and how far chance alone would put them."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from evaluate.likeness.independent_draws import Draws, independent_rows, student

__all__ = ["CurveDistance", "curve_distance"]

MEASURES = ("rms", "area")
# Degrees of freedom with which Student's t is the normal law.
NORMAL = math.inf


@dataclasses.dataclass(frozen=True)
class CurveDistance:
    """Distance between two mean curves; made by `curve_distance`.

    Attributes
    ----------
    distance : float
        As the measure defines it, 0 or more.
    largest : float
        The largest difference of the two over all places, over the same scale.
    noise : float
        What the distance of two sets of draws of one and the same material stays below, in `level` of all cases.
    allows_equality : bool
        Whether the distance is not above that.
    """

    distance: float
    largest: float
    noise: float
    allows_equality: bool


def curve_distance(
    generated: Sequence[Any],
    real: Sequence[Any],
    *,
    at: Any,
    measure: Literal["rms", "area"] = "rms",
    scale: float = 1.0,
    inflation: tuple[float, float] = (1.0, 1.0),
    level: float = 0.95,
    resamples: int = 1000,
    rng: np.random.Generator | int,
) -> CurveDistance:
    r"""Measure how far the mean curves of two sets of draws are apart.

    Parameters
    ----------
    generated, real : sequence of array_like, shape (n, m)
        For each volume the curves of its cubes, all at the places `at`; rows with NaN are left out.
    at : array_like, shape (m,)
        Distances, lengths or diameters, ascending.
    measure : {"rms", "area"}
        ``"rms"``: root mean square of the difference along `at` (by trapezoids), over `scale`. For S2 with `scale`
        φ(1 - φ) of the real material it is the error in units of the covariance at 0. ``"area"``: integral of the
        absolute difference, over `scale`; of two cumulative distributions it is the Wasserstein-1 distance, in the
        unit of `at`.
    scale : float
        Above 0.
    inflation : (float, float)
        Of the variance of the mean of cubes, generated and real, as in `mean_of_draws`.
    level : float
        Coverage.
    resamples : int
        How often draws are drawn again for the noise.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    CurveDistance

    Raises
    ------
    ValueError
        Fewer than two curves on one side; curves of another length than `at`; an argument out of range.

    Notes
    -----
    A distance is never negative, so that its interval says nothing about equality: even two sets of draws of one
    material are some way apart. Hence the noise: both sets of curves, each moved to the mean 0, are drawn again with
    replacement, and their means' distance taken; that distribution's quantile is the noise. Deviations of n
    draws are stretched by :math:`\sqrt{n / (n - 1)}`, by Student's t over the normal quantile, and by the
    root of the inflation, so that few draws do not look better known than they are.
    """
    places = np.asarray(at, np.float64)
    if measure not in MEASURES:
        raise ValueError(f"measure is {measure!r}; it must be one of {', '.join(map(repr, MEASURES))}")
    if not scale > 0:
        raise ValueError(f"scale is {scale!r}; it must be above 0")
    rng = np.random.default_rng(rng)
    ours, theirs = (_rows(groups, places) for groups in (generated, real))
    gap = ours.rows.mean(axis=0) - theirs.rows.mean(axis=0)
    noises = [
        _noise(side.rows, 1.0 if side.of_volumes else factor, level=level, resamples=resamples, rng=rng)
        for side, factor in zip((ours, theirs), inflation, strict=True)
    ]
    limit = float(np.quantile(_norm(noises[0] + noises[1], places, measure), level)) / scale
    distance = float(_norm(gap[None], places, measure)[0]) / scale
    return CurveDistance(distance, float(np.abs(gap).max()) / scale, limit, distance <= limit + 1e-12)


def _rows(groups: Sequence[Any], places: np.ndarray) -> Draws:
    arrays = [np.atleast_2d(np.asarray(group, np.float64)) for group in groups]
    if wrong := [rows.shape for rows in arrays if rows.shape[1:] != places.shape]:
        raise ValueError(f"curves have the shape {wrong[0]}, but there are {places.size} places")
    found = independent_rows(arrays)
    if len(found.rows) < 2:
        raise ValueError(
            f"{len(found.rows)} curves cannot tell how much they vary; at least two cubes are needed: "
            "give more volumes, larger ones, or a smaller subvolume"
        )
    return found


def _noise(rows: np.ndarray, inflation: float, *, level: float, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return means of centred curves drawn again, shape (resamples, m)."""
    n = len(rows)
    factor = min(inflation, n / 2)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n
    heavier = student(level, max(n / factor - 1, 1.0)) / student(level, NORMAL)
    stretch = math.sqrt(factor * n / (n - factor)) * heavier
    return stretch * (weights @ (rows - rows.mean(axis=0)))


def _norm(gaps: np.ndarray, places: np.ndarray, measure: str) -> np.ndarray:
    """Return the size of each difference of curves, shape (n,)."""
    weights = np.gradient(places)
    weights[[0, -1]] /= 2
    if measure == "area":
        return np.abs(gaps) @ weights
    return np.sqrt(gaps**2 @ weights / weights.sum())
