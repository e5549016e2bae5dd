"""A first guess of stripes that need not know faces from pores: from the steps of brightness across them."""

import numpy as np
from scipy import ndimage

from segment.correction.faces import black_level
from segment.correction.stripe_faces import shear

__all__ = ["stripes_from_steps"]

ROWS = 64
SLICES = 5
LONGEST_PX = 40.0
SMOOTH_PX = (1.0, 0.7)
DARKEST = 0.05


def stripes_from_steps(stack: np.ndarray, slope: float) -> np.ndarray:
    """Guess the stripes of a stack, of whatever strength.

    Parameters
    ----------
    stack : ndarray, shape (Z, Y, X)
        Grey values.
    slope : float
        Columns by which the stripes move from row to row.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Relative change of brightness.

    Notes
    -----
    A stripe changes the logarithm of the brightness by the same step in every row, whatever lies below it; edges of
    the structure do so in few rows, and the median over 64 rows and 5 slices leaves them out. The steps are added up
    across the stripes, waves beyond 40 pixels being damped: they are no stripes.
    """
    upright = shear(np.asarray(stack, np.float32) - np.float32(black_level(stack)), slope)
    darkest = max(DARKEST * float(np.median(upright)), float(np.finfo(np.float32).tiny))
    smooth: np.ndarray = np.maximum(ndimage.gaussian_filter(upright, (0, *SMOOTH_PX)), np.float32(darkest))
    steps = np.diff(np.log(smooth), axis=2)
    rows = upright.shape[1]
    starts = np.arange(0, max(rows - ROWS // 2, 1), ROWS // 2)
    medians = np.stack([np.median(steps[:, a : a + ROWS], axis=1) for a in starts], axis=1)
    medians = ndimage.uniform_filter1d(medians, SLICES, axis=0, mode="nearest")
    middles = np.minimum(starts + ROWS, rows) / 2 + starts / 2 - 0.5
    stripes = np.expm1(_between(_add_up(medians), middles, rows))
    return shear(stripes.astype(np.float32), -slope)


def _add_up(steps: np.ndarray) -> np.ndarray:
    """Return the values ``(..., n + 1)`` whose steps are closest to those given, long waves damped."""
    count = steps.shape[-1]
    # The line and its mirror image: no step where it begins again.
    odd = np.concatenate([steps, -steps[..., ::-1]], axis=-1)
    rise = np.exp(2j * np.pi * np.fft.rfftfreq(2 * count)) - 1
    wave = np.fft.rfft(odd, axis=-1) * np.conj(rise) / (np.abs(rise) ** 2 + (2 * np.pi / LONGEST_PX) ** 2)
    return np.fft.irfft(wave, 2 * count, axis=-1)[..., : count + 1]


def _between(values: np.ndarray, middles: np.ndarray, rows: int) -> np.ndarray:
    """Return values ``(Z, windows, X)`` interpolated to all rows, ``(Z, rows, X)``."""
    at = np.interp(np.arange(rows), middles, np.arange(len(middles)))
    low = np.minimum(at.astype(int), max(len(middles) - 2, 0))
    share = (at - low)[None, :, None]
    return (1 - share) * values[:, low] + share * values[:, np.minimum(low + 1, len(middles) - 1)]
