"""Phases grown from sure voxels: by flooding the gradient, or by random walks."""

from typing import Any

import numpy as np

from segment.classical.markers import UNKNOWN, check_markers, confident_markers, relief_of
from segment.thresholds import check_grey, smoothed_by_median

__all__ = ["random_walker", "watershed"]


def watershed(grey: Any, *, n_phases: int = 2, markers: Any = None, median_size: int = 3) -> np.ndarray:
    """Flood the gradient magnitude from voxels of sure phase; phases meet on its crests.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values, floating or whole numbers.
    n_phases : int
        How many phases, from 2 to 255, ordered from dark to bright.
    markers : array-like of int, shape (Z, Y, X), optional
        The phase where it is known, 255 elsewhere; every phase at least once. `confident_markers` finds them unless
        they are given.
    median_size : int
        Side of the median filter that takes the noise out first, in voxels; 1 leaves it out.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        0 (pore) to ``n_phases - 1``; markers keep their phase.

    Raises
    ------
    ValueError
        If the number of phases cannot be had, the markers do not fit, or the volume is constant, not three-dimensional
        or holds NaN.

    Notes
    -----
    The gradient is that of a Gaussian of one voxel; voxels are neighbours by their faces; the volume ends at its faces.
    The flood needs about 90 bytes a voxel.

    References
    ----------
    .. [1] S. Beucher, F. Meyer, "The morphological approach to segmentation: the watershed transformation", in
       Mathematical Morphology in Image Processing (1993) 433-481.
    """
    from skimage import segmentation

    smooth, known = _begin(grey, markers, n_phases=n_phases, median_size=median_size)
    seeds = np.where(known == UNKNOWN, 0, known.astype(np.int32) + 1)
    return (segmentation.watershed(relief_of(smooth), seeds) - 1).astype(np.uint8)


def random_walker(
    grey: Any, *, n_phases: int = 2, markers: Any = None, beta: float = 130.0, median_size: int = 3
) -> np.ndarray:
    """Give each doubtful voxel the phase that a random walk from it reaches first with the largest probability.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values, floating or whole numbers.
    n_phases : int
        How many phases, from 2 to 255, ordered from dark to bright.
    markers : array-like of int, shape (Z, Y, X), optional
        The phase where it is known, 255 elsewhere; every phase at least once. `confident_markers` finds them unless
        they are given.
    beta : float
        How much walks shun steps of grey value, above 0: between neighbours that differ by *d* they go with a weight
        of ``exp(-beta d² / (10 s))``, grey values being scaled to [0, 1] and *s* their standard deviation.
    median_size : int
        Side of the median filter that takes the noise out first, in voxels; 1 leaves it out.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        0 (pore) to ``n_phases - 1``; markers keep their phase.

    Raises
    ------
    ValueError
        If the number of phases or `beta` cannot be had, the markers do not fit, or the volume is constant, not
        three-dimensional or holds NaN.

    Notes
    -----
    scikit-image's solver, by conjugate gradients to a relative residual of 0.001, holds the graph of the whole volume:
    about 600 bytes a voxel, so 150³ take 2 GB. Cut larger volumes up, or take `watershed`.

    References
    ----------
    .. [1] L. Grady, "Random walks for image segmentation", IEEE Trans. PAMI 28 (2006) 1768-1783.
    """
    from skimage import segmentation

    if not 0 < beta < np.inf:
        raise ValueError(f"beta is {beta!r}; give a number above 0")
    smooth, known = _begin(grey, markers, n_phases=n_phases, median_size=median_size)
    if not (known == UNKNOWN).any():
        return known.copy()
    low = smooth.min().item()
    unit = (smooth.astype(np.float64) - low) / (smooth.max().item() - low)
    seeds = np.where(known == UNKNOWN, 0, known.astype(np.int32) + 1)
    # Only the order of the probabilities counts: that the residual takes one beyond 0 or 1 is no news.
    return (segmentation.random_walker(unit, seeds, beta=beta, mode="cg_j", prob_tol=np.inf) - 1).astype(np.uint8)


def _begin(grey: Any, markers: Any, *, n_phases: int, median_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the filtered volume and the voxels of known phase."""
    smooth = smoothed_by_median(check_grey(grey), median_size)
    if markers is None:
        return smooth, confident_markers(smooth, n_phases=n_phases, median_size=1)
    return smooth, check_markers(markers, smooth.shape, n_phases)
