"""Thresholds that laboratories use: the rivals of the networks."""

from typing import Any

import numpy as np
from scipy import ndimage

__all__ = ["check_grey", "otsu", "porosity_threshold"]

MOST_BINS = 65536


def otsu(grey: Any, *, median_size: int = 3) -> np.ndarray:
    """Split a volume at Otsu's threshold: dark is pore, bright is solid.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values, floating or whole numbers.
    median_size : int
        Side of the median filter that takes the noise out first, in voxels; 1 leaves it out.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        0 (pore) up to the threshold, 1 above.

    Raises
    ------
    ValueError
        If the volume is constant (as it is or after the filter), not three-dimensional or holds NaN.

    Notes
    -----
    Each whole number has a bin of its own; floating-point values, and whole numbers that span more, share 65536. A
    bin belongs to one class as a whole, so that values stored as another type give the same labels.

    References
    ----------
    .. [1] N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9 (1979) 62-66.
    """
    smooth = _median(check_grey(grey), median_size)
    # Compared in double precision: rounded to the volume's own, the edge could fall onto a value below it.
    return np.greater_equal(smooth, _otsu_edge(smooth), signature="dd->?").astype(np.uint8)


def porosity_threshold(grey: Any, porosity: float, *, median_size: int = 3) -> np.ndarray:
    """Split a volume at the threshold that leaves a known porosity: dark is pore, bright is solid.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values, floating or whole numbers.
    porosity : float
        Pore fraction, e.g. from mercury intrusion, between 0 and 1.
    median_size : int
        Side of the median filter that takes the noise out first, in voxels; 1 leaves it out.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        0 (pore) for the darkest voxels, 1 for the rest. Where many voxels share the grey value at the
        threshold, the nearer of the two possible porosities is taken.

    Raises
    ------
    ValueError
        If the porosity is not between 0 and 1, or the volume is constant, not three-dimensional or holds NaN.
    """
    if not 0 < porosity < 1:
        raise ValueError(f"porosity is {porosity!r}; give a number above 0 and below 1")
    smooth = _median(check_grey(grey), median_size)
    wanted = round(porosity * smooth.size)
    rank = min(wanted, smooth.size - 1)
    level = np.partition(smooth, rank, axis=None)[rank]
    below, upto = np.count_nonzero(smooth < level), np.count_nonzero(smooth <= level)
    pore = smooth < level if wanted - below <= upto - wanted else smooth <= level
    return (~pore).astype(np.uint8)


def check_grey(grey: Any) -> np.ndarray:
    """Return `grey` as an array if it is a volume that can be segmented, else raise ``ValueError``."""
    array = np.asarray(grey)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"grey values have shape {array.shape}; give one volume (z, y, x)")
    if array.dtype.kind not in "uif":
        raise ValueError(f"grey values are {array.dtype}; give whole or floating-point numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = np.count_nonzero(~np.isfinite(array))
        raise ValueError(f"{bad} grey values are NaN or infinite; mend or crop the volume first")
    if array.min() == array.max():
        raise ValueError(f"every grey value is {array.flat[0]}; a constant volume cannot be segmented")
    return array


def _otsu_edge(grey: np.ndarray) -> float:
    """Return the grey value at and above which voxels are solid: the lower edge of the bright class."""
    low, high = grey.min().item(), grey.max().item()
    bins, top = MOST_BINS, high
    if grey.dtype.kind in "ui" and high - low < MOST_BINS:
        bins, top = high - low + 1, high + 1
    counts, edges = np.zeros(bins, np.int64), np.linspace(low, top, bins + 1)
    for plane in grey:
        counts += np.histogram(plane.astype(np.float64), bins, (low, top))[0]
    dark = np.cumsum(counts, dtype=np.float64)
    dark_sum = np.cumsum(counts * (edges[:-1] - low))
    n, total = dark[-1], dark_sum[-1]
    dark, dark_sum = dark[:-1], dark_sum[:-1]
    between = (total * dark - n * dark_sum) ** 2 / (dark * (n - dark))
    return float(edges[np.argmax(between) + 1])


def _median(grey: np.ndarray, size: int) -> np.ndarray:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"median_size is {size}; give an odd whole number, 1 for no filter")
    if size == 1:
        return grey
    # The filter knows neither half nor extended precision.
    known = grey if grey.dtype.itemsize <= 8 and grey.dtype != np.float16 else grey.astype(np.float64)
    smooth = ndimage.median_filter(known, size, mode="nearest")
    if smooth.min() == smooth.max():
        raise ValueError(
            f"after the median filter of size {size} every grey value is {smooth.flat[0]}; nothing is left to split: "
            "give a smaller median_size, 1 for no filter"
        )
    return smooth
