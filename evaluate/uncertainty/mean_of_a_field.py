"""Standard error of the mean of a correlated field, from the one volume that there is: its integral range."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.fft

__all__ = ["MeanError", "cell_edges", "cell_means", "error_of_mean"]

# Correlation below this counts as gone; the covariance is summed to twice the lag where it first is.
GONE = 0.1
REACH = 2.0


class MeanError(NamedTuple):
    """How well the mean over a volume is known.

    Attributes
    ----------
    standard_error : float
        Of the mean.
    degrees_of_freedom : float
        Of the standard error: volume / volume within the largest lag, at least 1.
    independent : float
        How many independent cells would have the same error.
    """

    standard_error: float
    degrees_of_freedom: float
    independent: float


def cell_edges(shape: tuple[int, ...], *, most: int, smallest: int) -> list[np.ndarray]:
    """Cut each axis into at most `most` nearly equal cells, none shorter than `smallest` if there is more than one."""
    return [np.linspace(0, n, min(most, max(n // smallest, 1)) + 1).astype(np.intp) for n in shape]


def cell_means(values: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Mean of each cell, shape (cells along z, y, x); cells that `values` does not reach any more are left out."""
    total: np.ndarray = values
    count = np.ones((1,) * values.ndim)
    for axis, cuts in enumerate(edges):
        starts = cuts[:-1][cuts[:-1] < values.shape[axis]]
        total = np.add.reduceat(total, starts, axis=axis, dtype=np.float64 if values.dtype.kind == "f" else np.int64)
        sizes = np.diff(np.append(starts, min(values.shape[axis], cuts[-1])))
        count = count * sizes.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    return total / count


def error_of_mean(field: np.ndarray, steps: tuple[float, ...]) -> MeanError:
    r"""Estimate the standard error of the mean of a stationary field.

    Parameters
    ----------
    field : ndarray of float, shape (Z, Y, X)
        Means of the cells of one volume.
    steps : tuple of float
        Distance between neighbouring cells along each axis, all in one unit.

    Returns
    -------
    MeanError

    Notes
    -----
    The variance of the mean is :math:`\sum_h N(h) C(h) / n^2` over all lags h, with N(h) pairs of cells each and
    covariance C, which for a large volume V is C(0) A / V with the integral range A [1]_. Two things
    keep the plain sum from working. Far lags carry nothing but noise, so it ends at twice the distance where
    the correlation first falls below 0.1, or at half of the smallest side. And deviations from the volume's own mean
    add up to zero: each covariance comes out too small by the very variance that is sought. With that added back,

    .. math:: \mathrm{Var} = \frac{\sum_{|h| \le R} N(h) \hat C(h) / n^2}{1 - \sum_{|h| \le R} N(h) / n^2}.

    As a lag window's, its degrees of freedom are the volume over the window's [2]_.

    References
    ----------
    .. [1] C. Lantuéjoul, "Ergodicity and integral range", J. Microsc. 161 (1991) 387; T. Kanit et al., Int. J. Solids
       Struct. 40 (2003) 3647.
    .. [2] M. B. Priestley, Spectral Analysis and Time Series, Academic Press 1981, section 6.2.
    """
    deviation = field - field.mean()
    n = field.size
    products, pairs, distance = _lags(deviation, steps)
    spread = float(np.mean(deviation**2))
    if n == 1 or spread == 0:
        return MeanError(0.0 if n > 1 else np.inf, float(max(n - 1, 1)), float(n))
    reach = _reach(
        products, pairs, distance, min(step * k for step, k in zip(steps, field.shape, strict=True) if k > 1)
    )
    near = distance <= reach
    share = float(pairs[near].sum()) / n**2
    variance = float(products[near].sum()) / n**2 / (1 - share)
    if variance <= 0:
        # Noise outweighs what correlation there is: cells as good as independent.
        variance = spread / (n - 1)
    return MeanError(variance**0.5, max(1 / share - 1, 1.0), spread / variance)


def _lags(deviation: np.ndarray, steps: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum of products, number of pairs and distance for each lag."""
    shape = [2 * k - 1 for k in deviation.shape]
    power = np.abs(scipy.fft.rfftn(deviation, shape)) ** 2
    products = scipy.fft.irfftn(power, shape)
    lags = [np.arange(k) - k * (np.arange(k) >= (k + 1) // 2) for k in shape]
    pairs = _outer([k - np.abs(lag) for k, lag in zip(deviation.shape, lags, strict=True)], np.multiply)
    squares = _outer([(step * lag) ** 2 for step, lag in zip(steps, lags, strict=True)], np.add)
    return products, pairs, np.sqrt(squares)


def _outer(axes: list[np.ndarray], combine: Callable[..., np.ndarray]) -> np.ndarray:
    first = combine.outer(axes[0], axes[1])  # type: ignore[attr-defined]
    return combine.outer(first, axes[2])  # type: ignore[attr-defined]


def _reach(products: np.ndarray, pairs: np.ndarray, distance: np.ndarray, side: float) -> float:
    """Return the distance up to which covariances are summed."""
    step = float(np.min(distance[distance > 0]))
    bins = np.rint(distance / step).astype(np.intp)
    radial = np.bincount(bins.ravel(), products.ravel()) / np.maximum(np.bincount(bins.ravel(), pairs.ravel()), 1)
    gone = np.flatnonzero(radial < GONE * radial[0])
    first = gone[0] if gone.size else len(radial)
    return min(REACH * first * step, side / 2)
