"""Voxels whose phase is sure, from which the doubtful ones are decided."""

import math
from typing import Any

import numpy as np
from scipy import ndimage

from segment.thresholds import check_grey, multi_otsu_edges, smoothed_by_median

__all__ = ["UNKNOWN", "check_markers", "confident_markers", "phase_levels", "relief_of"]

UNKNOWN = 255


def confident_markers(grey: Any, *, n_phases: int = 2, median_size: int = 3) -> np.ndarray:
    """Mark the voxels whose grey value leaves no doubt about their phase.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values, floating or whole numbers.
    n_phases : int
        How many phases, from 2 to 255, ordered from dark to bright.
    median_size : int
        Side of the median filter that takes the noise out first, in voxels; 1 leaves it out.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        The phase, or 255 where it is in doubt.

    Raises
    ------
    ValueError
        If a phase would have no marker, the number of phases cannot be had, or the volume is constant, not
        three-dimensional or holds NaN.

    Notes
    -----
    The classes are those of `segment.thresholds.multi_otsu`. A voxel is sure of its class if its grey value is not past
    the middle between the class's mean and its threshold; the darkest and the brightest class are open outwards.
    Where two phases meet whose levels are not neighbours, blur gives voxels the grey value of a phase between: a marker
    of a middle phase must not be steeper than a sharp step to the farther of its two neighbouring levels, which after a
    Gaussian of σ = 1 voxel has the gradient *step* / (√(2π) σ). That finds blur of up to about 1.6 voxels out.
    """
    smooth = smoothed_by_median(check_grey(grey), median_size)
    edges, means = phase_levels(smooth, n_phases)
    lows = [-math.inf, *((edge + mean) / 2 for edge, mean in zip(edges, means[1:], strict=True))]
    highs = [*((edge + mean) / 2 for edge, mean in zip(edges, means[:-1], strict=True)), math.inf]
    markers = np.full(smooth.shape, UNKNOWN, np.uint8)
    span = smooth.max().item() - smooth.min().item()
    relief = relief_of(smooth) if n_phases > 2 else None
    for phase, (low, high) in enumerate(zip(lows, highs, strict=True)):
        # In double precision, as the thresholds are.
        sure = np.greater_equal(smooth, low, signature="dd->?") & np.less_equal(smooth, high, signature="dd->?")
        if relief is not None and 0 < phase < n_phases - 1:
            step = max(means[phase + 1] - means[phase], means[phase] - means[phase - 1]) / span
            sure &= relief <= step / math.sqrt(2 * math.pi)
        if not sure.any():
            raise ValueError(f"no voxel is surely of phase {phase}; give fewer phases, or markers of your own")
        markers[sure] = phase
    return markers


def check_markers(markers: Any, shape: tuple[int, ...], n_phases: int) -> np.ndarray:
    """Return `markers` as uint8 if they are labels of all phases, 255 elsewhere, else raise ``ValueError``."""
    array = np.asarray(markers)
    if array.shape != shape or array.dtype.kind not in "ui":
        raise ValueError(
            f"markers are {array.dtype} of shape {array.shape}; give whole numbers of the volume's shape, {shape}"
        )
    found = set(np.unique(array).tolist()) - {UNKNOWN}
    if found != set(range(n_phases)):
        raise ValueError(
            f"markers name the phases {sorted(found)}; name each from 0 to {n_phases - 1}, and {UNKNOWN} elsewhere"
        )
    return array.astype(np.uint8, copy=False)


def phase_levels(grey: np.ndarray, n_phases: int) -> tuple[list[float], list[float]]:
    """Return the thresholds between the phases, and the mean grey value of each phase."""
    edges = multi_otsu_edges(grey, n_phases)
    sums, counts = np.zeros(n_phases), np.zeros(n_phases, np.int64)
    for plane in grey:
        values = plane.astype(np.float64).ravel()
        phase = np.digitize(values, edges)
        sums += np.bincount(phase, values, n_phases)
        counts += np.bincount(phase, minlength=n_phases)
    return edges, (sums / counts).tolist()


def relief_of(grey: np.ndarray) -> np.ndarray:
    """Return the gradient magnitude at a scale of one voxel, in the grey values' span a voxel, as float32."""
    low = grey.min().item()
    unit = ((grey.astype(np.float64) - low) / (grey.max().item() - low)).astype(np.float32)
    return ndimage.gaussian_gradient_magnitude(unit, 1.0, mode="nearest")
