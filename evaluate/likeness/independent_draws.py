"""Means over independent draws, with their errors, and how far two of them are apart."""

import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "ENOUGH_VOLUMES",
    "ROUNDING",
    "Deviation",
    "Draws",
    "MeanOfDraws",
    "deviation_of_means",
    "independent_rows",
    "mean_of_draws",
    "neighbour_inflation",
    "student",
]

# From so many volumes on each counts as one draw; of fewer, their cubes do.
ENOUGH_VOLUMES = 4
# Means that differ by less than this share are equal: what is exact by construction differs in its last digits.
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class MeanOfDraws:
    """A mean and how well it is known; made by `mean_of_draws`.

    Attributes
    ----------
    mean : float
        Of the draws.
    standard_error : float
        Of the mean.
    low, high : float
        Student's interval.
    degrees_of_freedom : float
        Of the standard error.
    draws : int
        Independent draws: volumes, or cubes.
    cubes : int
        Cubes that had a value.
    of_volumes : bool
        Whether each volume was one draw.
    spread : float
        Standard deviation from cube to cube.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    degrees_of_freedom: float
    draws: int
    cubes: int
    of_volumes: bool
    spread: float


@dataclasses.dataclass(frozen=True)
class Deviation:
    """How far a mean is from that of the real material; made by `deviation_of_means`.

    Attributes
    ----------
    difference : float
        Generated minus real.
    low, high : float
        Welch's interval of the difference.
    relative : float
        Difference over the absolute value of the real mean; NaN if that is 0.
    relative_low, relative_high : float
        Fieller's interval, with the real mean's error in it; NaN if the real mean itself may be 0, so that no relative
        error is bounded.
    allows_equality : bool
        Whether the interval of the difference holds 0.
    """

    difference: float
    low: float
    high: float
    relative: float
    relative_low: float
    relative_high: float
    allows_equality: bool


def mean_of_draws(values: Sequence[Any], *, level: float = 0.95, inflation: float = 1.0) -> MeanOfDraws:
    """Average a number over volumes and their cubes.

    Parameters
    ----------
    values : sequence of array_like, shape (n,)
        For each volume the values of its cubes; NaN is left out.
    level : float
        Coverage of the interval, above 0 and below 1.
    inflation : float
        How many times larger the variance of one volume's mean is than if its cubes were independent
        (`neighbour_inflation`), 1 or more. Used where cubes are the draws.

    Returns
    -------
    MeanOfDraws

    Raises
    ------
    ValueError
        Fewer than two values in all; a level or an inflation out of range.

    Notes
    -----
    Cubes of one volume share whatever is particular to it: a generator that makes one volume dense and the next one
    loose would seem well known from many cubes of each. So from 4 volumes on the draws are volumes, each by the mean of
    its cubes. Of fewer volumes the draws are cubes: that is the only way for the one real volume there is,
    and takes it, or the few generated ones, for samples of a stationary medium.

    The interval is Student's: a cube averages over many correlation lengths, so that its numbers are close to normal,
    and then it has its coverage with as few as two draws, where resampling falls short of it.

    With an inflation of f, n cubes have :math:`E s^2 = σ^2 (n - f) / (n - 1)`, and their mean the variance
    :math:`σ^2 f / n`; degrees of freedom are n / f - 1, at least 1.
    """
    _check_level(level)
    if not isinstance(inflation, numbers.Real) or not 1 <= float(inflation) < math.inf:
        raise ValueError(f"inflation is {inflation!r}; it must be a finite number of 1 or more")
    rows = independent_rows([np.asarray(group, np.float64)[:, None] for group in values])
    draws, of_volumes = rows.rows[:, 0], rows.of_volumes
    if draws.size < 2:
        raise ValueError(
            f"{draws.size} values cannot tell how much they vary; at least two cubes are needed: "
            "give more volumes, larger ones, or a smaller subvolume"
        )
    n = draws.size
    factor = 1.0 if of_volumes else min(float(inflation), n / 2)
    error = math.sqrt(float(np.var(draws, ddof=1)) * factor / n * (n - 1) / (n - factor))
    degrees = max(n / factor - 1, 1.0)
    mean, half = float(draws.mean()), student(level, degrees) * error
    cubes = np.concatenate([np.asarray(group, np.float64).ravel() for group in values])
    cubes = cubes[~np.isnan(cubes)]
    spread = float(np.std(cubes, ddof=1))
    return MeanOfDraws(mean, error, mean - half, mean + half, degrees, n, cubes.size, of_volumes, spread)


def deviation_of_means(generated: MeanOfDraws, real: MeanOfDraws, *, level: float = 0.95) -> Deviation:
    """Compare two means, the errors of both in mind.

    Parameters
    ----------
    generated, real : MeanOfDraws
        Of numbers measured alike.
    level : float
        Coverage of the intervals.

    Returns
    -------
    Deviation

    Raises
    ------
    ValueError
        If `level` is not above 0 and below 1.

    Notes
    -----
    The interval of the difference is Welch's, that of the relative error is all values e for which
    ``generated - (1 + e) real`` may be 0 by the same Student's t (Fieller), so that it holds 0 whenever the
    difference's does.
    """
    _check_level(level)
    ours, theirs = generated.standard_error**2, real.standard_error**2
    difference, error = generated.mean - real.mean, math.sqrt(ours + theirs)
    t = student(level, _welch(generated, real))
    slack = ROUNDING * max(abs(generated.mean), abs(real.mean))
    low, high = difference - t * error, difference + t * error
    sign = math.copysign(1.0, real.mean)
    relative = difference / abs(real.mean) if real.mean else math.nan
    # (g - q r)² = t² (s² + q² s'²) for q = 1 + e, or 1 - e where the real mean is negative.
    a = real.mean**2 - t**2 * theirs
    ends = (math.nan, math.nan)
    if a > 0:
        b, c = generated.mean * real.mean, generated.mean**2 - t**2 * ours
        root = math.sqrt(max(b * b - a * c, 0.0))
        first, last = sorted(sign * ((b + way * root) / a - 1) for way in (-1, 1))
        ends = (first, last)
    return Deviation(difference, low, high, relative, *ends, low - slack <= 0 <= high + slack)


def neighbour_inflation(r: Any, covariance: Any, *, cube_size: Sequence[float], grid: Sequence[int]) -> float:
    r"""Return how many times more the mean over neighbouring cubes varies than over as many independent ones.

    Parameters
    ----------
    r : array_like, shape (m,)
        Distances, ascending from 0; not longer than the shortest edge of a cube.
    covariance : array_like, shape (m,)
        Of the phase's indicator, :math:`S_2(r) - φ^2`. It is used up to where it first is not above 0.
    cube_size : (float, float, float)
        Edges of a cube, in the unit of `r`.
    grid : (int, int, int)
        Cubes along each axis, without gaps. (With gaps the answer is on the safe side.)

    Returns
    -------
    float
        1 for a single cube, otherwise from 1 to the number of cubes.

    Raises
    ------
    ValueError
        For curves of unequal length or sizes that are not positive.

    Notes
    -----
    The variance of the mean over a box is :math:`\int γ(h) C(h) dh` over the square of its volume, with
    the box's set covariance γ. Averaged over directions, γ of a box a × b × c is
    :math:`abc - (ab + bc + ca) r / 2 + 2 (a + b + c) r^2 / (3π) - r^3 / (4π)`. The inflation is the quotient of the
    variances for the whole grid and for one cube, times the number of cubes. It is that of the volume fraction; surface
    and Euler number are correlated over shorter distances, so that theirs is smaller.
    """
    r, covariance = np.asarray(r, np.float64), np.asarray(covariance, np.float64)
    if r.shape != covariance.shape or r.ndim != 1 or not np.isfinite(r).all() or not np.isfinite(covariance).all():
        raise ValueError(f"r has the shape {r.shape} and covariance {covariance.shape}; give two curves of one length")
    if min(cube_size) <= 0 or min(grid) < 1:
        raise ValueError(f"cubes of {tuple(cube_size)}, {tuple(grid)} along the axes; both must be positive")
    gone = np.flatnonzero(covariance <= 0)
    near = slice(0, gone[0] if gone.size else len(r))
    if len(r[near]) < 2:
        return 1.0
    weight = r[near] ** 2 * covariance[near] * np.gradient(r)[near]
    whole = [n * side for n, side in zip(grid, cube_size, strict=True)]
    of_one = float(weight @ _overlap(r[near], cube_size))
    found = float(weight @ _overlap(r[near], whole)) / of_one
    return min(max(found, 1.0), float(math.prod(grid)))


@dataclasses.dataclass(frozen=True, eq=False)
class Draws:
    """Rows that are independent draws.

    Attributes
    ----------
    rows : ndarray of float64, shape (n, m)
        One a draw.
    of_volumes : bool
        Whether each is a volume's mean.
    """

    rows: np.ndarray
    of_volumes: bool


def independent_rows(groups: Sequence[np.ndarray]) -> Draws:
    """Return the rows of all volumes, or from `ENOUGH_VOLUMES` volumes on the mean row of each.

    Parameters
    ----------
    groups : sequence of ndarray, shape (n, m)
        Of each volume a row for each cube; rows with NaN are left out.

    Returns
    -------
    Draws
    """
    kept = [rows[~np.isnan(rows).any(axis=1)] for rows in groups]
    kept = [rows for rows in kept if len(rows)]
    if not kept:
        return Draws(np.empty((0, groups[0].shape[1] if groups else 1)), False)
    if len(kept) >= ENOUGH_VOLUMES:
        return Draws(np.array([rows.mean(axis=0) for rows in kept]), True)
    return Draws(np.concatenate(kept), False)


def student(level: float, degrees_of_freedom: float) -> float:
    """Return half the width of the central `level` of Student's t, for a standard error of 1."""
    from scipy.special import ndtri, stdtrit

    if math.isinf(degrees_of_freedom):
        return float(ndtri((1 + level) / 2))
    return float(stdtrit(degrees_of_freedom, (1 + level) / 2))


def _welch(generated: MeanOfDraws, real: MeanOfDraws) -> float:
    parts = [(mean.standard_error**2, mean.degrees_of_freedom) for mean in (generated, real)]
    below = sum(square**2 / degrees for square, degrees in parts)
    return sum(square for square, _ in parts) ** 2 / below if below > 0 else math.inf


def _overlap(r: np.ndarray, sides: Sequence[float]) -> np.ndarray:
    """Set covariance of a box over its volume, mean over directions."""
    a, b, c = sides
    volume = a * b * c
    return 1 - ((a * b + b * c + c * a) * r / 2 - 2 * (a + b + c) * r**2 / (3 * np.pi) + r**3 / (4 * np.pi)) / volume


def _check_level(level: Any) -> None:
    if isinstance(level, bool) or not isinstance(level, numbers.Real) or not 0 < float(level) < 1:
        raise ValueError(f"level is {level!r}; it must be a number above 0 and below 1, such as 0.95")
