"""Where a stack shows cut faces and where it shows pores, whatever their grey values and their share."""

import dataclasses
import warnings
from typing import Any

import numpy as np
from scipy import ndimage

from segment.thresholds import check_grey

__all__ = ["Glance", "black_level", "check_stack", "look", "robust_spread", "split_level"]

# Otsu's share of the variance between the classes is 2/π for a normal law and 3/4 for an even one: no valley there.
LEAST_SEPARATION = 0.76
MOST_SAMPLES = 400_000


@dataclasses.dataclass(frozen=True, eq=False)
class Glance:
    """A stack seen coarsely: enough to find what changes slowly over a slice or from slice to slice.

    Parameters
    ----------
    values : ndarray of float32, shape (Z, y, x)
        Grey values above black, smoothed within the slice and thinned.
    rows, columns : ndarray of int
        Which pixels they are.
    split : float or None
        Value between pore and face; None where there is no valley between two classes.
    """

    values: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    split: float | None


def check_stack(stack: Any, *, least: tuple[int, int, int] = (1, 16, 16)) -> np.ndarray:
    """Return `stack` as an array if it is a grey stack large enough to be corrected, else raise ``ValueError``."""
    array = check_grey(stack)
    if any(n < m for n, m in zip(array.shape, least, strict=True)):
        wanted = " × ".join(map(str, least))
        raise ValueError(f"the stack has shape {array.shape}; this step needs at least {wanted} (z, y, x)")
    return array


def black_level(stack: np.ndarray) -> float:
    """Return the grey value that counts as no signal: 0, or the smallest value where some are negative."""
    return min(0.0, float(stack.min()))


def look(stack: np.ndarray, *, sigma_px: float = 1.5) -> Glance:
    """Smooth and thin a stack.

    Parameters
    ----------
    stack : ndarray, shape (Z, Y, X)
        Grey values.
    sigma_px : float
        Standard deviation of the Gaussian within the slice; edges are continued.

    Returns
    -------
    Glance
    """
    step = max(2, round(2 * sigma_px))
    # Every slice is looked at, but no more pixels of a large one than the fit can use.
    while stack[0, ::step, ::step].size > 40_000:
        step += 1
    rows, columns = (np.arange(step // 2, n, step) for n in stack.shape[1:])
    black = black_level(stack)
    values = np.empty((len(stack), len(rows), len(columns)), np.float32)
    for z, image in enumerate(stack):
        smooth = ndimage.gaussian_filter(image.astype(np.float32) - np.float32(black), sigma_px, mode="nearest")
        values[z] = smooth[np.ix_(rows, columns)]
    return Glance(values, rows, columns, split_level(values))


def split_level(values: np.ndarray) -> float | None:
    """Return Otsu's threshold of `values`, or None where the two classes are but halves of one."""
    thin = values.ravel()[:: max(1, values.size // MOST_SAMPLES)].astype(np.float64)
    low, high = np.percentile(thin, [0.1, 99.9])
    if not high > low:
        return None
    counts, edges = np.histogram(np.clip(thin, low, high), 512)
    centres = (edges[1:] + edges[:-1]) / 2
    n, total = counts.cumsum()[:-1], (counts * centres).cumsum()
    size, mean = counts.sum(), total[-1] / counts.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (mean * n - total[:-1]) ** 2 / (n * (size - n))
    best = int(np.nanargmax(between))
    variance = float((counts * (centres - mean) ** 2).sum() / size)
    return float(edges[best + 1]) if between[best] > LEAST_SEPARATION * variance else None


def robust_spread(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Return the standard deviation of a normal law with the same median absolute deviation; NaN is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        middle = np.nanmedian(values, axis=axis, keepdims=True)
        return 1.4826 * np.nanmedian(np.abs(values - middle), axis=axis)
