"""Canny's edges, closed to outlines, and the regions between them."""

import math
from typing import Any

import numpy as np
from scipy import ndimage

from segment.classical.markers import phase_levels
from segment.thresholds import check_grey, smoothed_by_median

__all__ = ["canny"]

# scipy's Sobel filter is eight times the gradient.
SOBEL_GAIN = 8
# Room for the rim where there are no edges and for the closing, so that outlines run on to the slice's border.
RIM = 3


def canny(grey: Any, *, n_phases: int = 2, sigma_px: float = 1.0, median_size: int = 3) -> np.ndarray:
    """Outline regions by Canny's edges, slice by slice, and label each region by its mean grey value.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values, floating or whole numbers.
    n_phases : int
        How many phases, from 2 to 255, ordered from dark to bright.
    sigma_px : float
        Standard deviation of the Gaussian whose gradient the edges are sought in, in pixels.
    median_size : int
        Side of the median filter that takes the noise out first, in voxels; 1 leaves it out.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        0 (pore) to ``n_phases - 1``.

    Raises
    ------
    ValueError
        If `sigma_px` is not from 0.1 to 20, the number of phases cannot be had, or the volume is constant, not
        three-dimensional or holds NaN.

    Notes
    -----
    The classes of `segment.thresholds.multi_otsu` give the levels. An edge must somewhere be half as steep as a sharp
    step between the two nearest levels is after the Gaussian, and a quarter all along. Gaps of up to two pixels are
    closed. Pixels that hang together by their sides without crossing an edge are a region; its mean, and on an outline
    the pixel's own grey value, is compared with the thresholds. Where an outline stays open, a region leaks into the
    next: that is the method's known weakness. The slice is continued by its outermost pixels.

    References
    ----------
    .. [1] J. Canny, "A computational approach to edge detection", IEEE Trans. PAMI 8 (1986) 679-698.
    """
    if not 0.1 <= sigma_px <= 20:
        raise ValueError(f"sigma_px is {sigma_px!r}; give a number of pixels from 0.1 to 20")
    smooth = smoothed_by_median(check_grey(grey), median_size)
    edges, means = phase_levels(smooth, n_phases)
    step = float(np.diff(means).min())
    labels = np.empty(smooth.shape, np.uint8)
    for z, plane in enumerate(smooth):
        values = plane.astype(np.float64)
        outline = _outlines((values - means[0]) / step, sigma_px)
        region, count = ndimage.label(~outline)
        own = np.digitize(values, edges)
        sums = np.bincount(region.ravel(), values.ravel(), count + 1)
        mean = sums / np.maximum(np.bincount(region.ravel(), minlength=count + 1), 1)
        labels[z] = np.where(outline, own, np.digitize(mean, edges)[region])
    return labels


def _outlines(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Return where the closed edges of a slice run whose smallest step between phases is 1."""
    from skimage import feature

    steepest = SOBEL_GAIN / (math.sqrt(2 * math.pi) * sigma)
    wide = np.pad(plane, RIM, mode="edge")
    edges = feature.canny(wide, sigma, low_threshold=0.25 * steepest, high_threshold=0.5 * steepest, mode="nearest")
    closed = ndimage.binary_closing(edges, np.ones((3, 3)))
    return closed[RIM:-RIM, RIM:-RIM]
