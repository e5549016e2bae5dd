"""Whether the slices of a stack follow on one another, or are pictures that stand alone."""

from typing import Any, Literal, get_args

import numpy as np
from scipy import ndimage

from segment.trust.image_statistics import LEAST_SIDE, places_of_pairs

__all__ = ["LEAST_LIKENESS", "SliceOrder", "check_slices", "slice_likeness", "slices_follow"]

SliceOrder = Literal["auto", "stack", "single"]
# Slices of a stack are alike by 0.6 and more, unless they are much thicker than a pore is wide; then they tell nothing
# of one another. Pictures of different places in one material reach 0.3 by what the instrument leaves in each.
LEAST_LIKENESS = 0.35
# Pixels; at each what is finer (noise) and what is four times coarser (shading) is taken out.
SCALES = (1.0, 2.0, 4.0)
COARSER = 4.0


def slice_likeness(grey: Any) -> float | None:
    """Return how much of a slice is seen again in the next.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values of any scale; what has ``shape`` and slices is not read as a whole.

    Returns
    -------
    float or None
        Correlation of neighbouring slices, -1 to 1: the median of up to six pairs spread evenly over the stack, at that
        of three scales where it is largest. None for a single slice, slices of less than 24 × 24 pixels, and where
        every pair has a constant slice.

    Notes
    -----
    Of each slice the middle 512 × 512 pixels are looked at, less noise and shading: the difference of two Gaussian
    blurs of s and 4 s pixels, with s of 1, 2 and 4.
    """
    if grey.shape[0] < 2 or min(grey.shape[1:]) < LEAST_SIDE:
        return None
    starts, window = places_of_pairs(grey.shape)
    found = [_correlations(np.asarray(grey[z : z + 2]).astype(np.float32)[(slice(None), *window)]) for z in starts]
    with_contrast = [one for one in found if np.isfinite(one).all()]
    return float(np.median(with_contrast, axis=0).max()) if with_contrast else None


def slices_follow(grey: Any) -> bool:
    """Return whether slices follow on one another, as far as can be told; see `slice_likeness`."""
    likeness = slice_likeness(grey)
    return likeness is None or likeness >= LEAST_LIKENESS


def check_slices(slices: SliceOrder) -> SliceOrder:
    """Return `slices` if there is such, else raise ``ValueError``."""
    if slices not in get_args(SliceOrder):
        raise ValueError(f"slices is {slices!r}; give one of {', '.join(get_args(SliceOrder))}")
    return slices


def _correlations(pair: np.ndarray) -> list[float]:
    return [_correlation(*(_band(plane, scale) for plane in pair)) for scale in SCALES]


def _band(plane: np.ndarray, scale: float) -> np.ndarray:
    band: np.ndarray = ndimage.gaussian_filter(plane, scale) - ndimage.gaussian_filter(plane, COARSER * scale)
    return band - band.mean()


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    spread = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(np.vdot(one, other)) / spread if spread > 0 else float("nan")
