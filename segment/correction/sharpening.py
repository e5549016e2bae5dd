"""The force that draws each pixel towards the nearest crowded grey value: it sharpens the histogram."""

import numpy as np
from scipy import ndimage

__all__ = ["Crowd"]

BINS = 800
TRACE = 1e-3


class Crowd:
    """Densities of grey values on a fixed range, and where they draw a pixel.

    Parameters
    ----------
    low, high : float
        Range of the grey values; what lies beyond is drawn like its ends.

    Notes
    -----
    The sum over all pixels of the logarithm of the density is, but for its sign, the entropy of the histogram.
    ``pull`` is its gradient with respect to a pixel's value, ``grip`` its downward curvature, so that
    ``pull / grip`` is a Newton step towards less entropy.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.bin_width = (high - low) / BINS

    def draw(self, values: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the pull on each of `values` and its grip, the density seen with a kernel of the given width."""
        counts = np.histogram(np.clip(values, self.low, self.high), BINS, (self.low, self.high))[0].astype(float)
        density = ndimage.gaussian_filter1d(counts, width / self.bin_width)
        force = np.gradient(np.log(density + TRACE * density.max()), self.bin_width)
        stiffness = np.maximum(-np.gradient(force, self.bin_width), 0)
        where = np.clip((values - self.low) / self.bin_width, 0, BINS - 1).astype(np.intp)
        return force[where], stiffness[where]
