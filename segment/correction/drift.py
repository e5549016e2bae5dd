"""The drift of a stack from slice to slice: found to a fraction of a pixel, and undone."""

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import ndimage

from segment.correction.faces import check_stack
from segment.correction.motion import Track
from segment.correction.sighting import JACKKNIFE_FACTOR, Sighting, check_length, sight, steady_motion

__all__ = ["DriftEstimate", "common_area", "estimate_drift", "register"]

SMALLEST_STACK = (3, 32, 32)
SIGNIFICANT = 2.0
# Less is near the accuracy of the estimate, and not worth the blur of resampling.
LEAST_RMS_PX = 0.3
# A structure that leans moves steadily: only what comes and goes from slice to slice is surely drift.
LEAST_JERK_PX = 0.15
# Of the steps that both halves of the picture find: where less is common to both, shifting adds more than it removes.
LEAST_AGREEMENT = 0.3
# Times the scatter 1 / sqrt(n) of the correlation of n steps that have nothing in common.
SIGNIFICANT_AGREEMENT = 4.0


@dataclasses.dataclass(frozen=True, eq=False)
class DriftEstimate:
    """The drift of a stack.

    Parameters
    ----------
    path_px : ndarray, shape (Z, 2)
        Where each slice's picture lies, (y, x) in pixels, the mean over the slices 0: what is at (y, x) of the sample
        appears at (y, x) + path. All 0 where nothing was found.
    standard_error_px : ndarray, shape (Z, 2)
        Its standard error, the steady part's included.
    steady_px, steady_error_px : float
        The steady part of the drift along y, in pixels a slice, which is in `path_px`, and its standard error.
    outliers : ndarray of int
        Slices that match none of their neighbours well: look at these.
    found : bool
        Whether the stack drifts more than the noise of the estimate and than is worth resampling.
    evidence : dict
        Plain numbers, and ``verdict``, a sentence.
    """

    path_px: np.ndarray
    standard_error_px: np.ndarray
    steady_px: float
    steady_error_px: float
    outliers: np.ndarray
    found: bool
    evidence: dict[str, Any]


def estimate_drift(
    stack: Any, *, slice_px: float = 1.0, parallax_px: float | None = None, sighting: Sighting | None = None
) -> DriftEstimate:
    """Find how the picture drifts from slice to slice.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values, z the slicing direction; at least 3 slices of 32 × 32 pixels.
    slice_px : float
        Distance between slices, in pixels along x: how far to look for parallax.
    parallax_px : float, optional
        Rows by which what lies behind the cut faces moves against them a slice, where the tilt is known:
        slice_px · sin(tilt) in the camera's picture, slice_px · tan(tilt) in one stretched to undo the foreshortening.
    sighting : Sighting, optional
        What `segment.correction.sighting.sight` found on this stack, if that was done before.

    Returns
    -------
    DriftEstimate

    Raises
    ------
    ValueError
        If the stack is too small, constant or not finite, or a number is out of range.

    Notes
    -----
    Cut faces change because the structure leans, and correlating them adds up these changes: over a hundred slices,
    pixels. What is seen *behind* the faces is the same material in each slice and moves rigidly, by the drift and by
    the same parallax every slice. So this is followed where there are pores to look through, and the faces elsewhere.

    A steady drift along y looks like parallax. With `parallax_px` it is exact; without, it is estimated from the faces
    and from how much the stack wanders at all, and its standard error says how well. Along x there is no such doubt.
    """
    array = check_stack(stack, least=SMALLEST_STACK)
    check_length("slice_px", slice_px)
    if parallax_px is not None and not (
        isinstance(parallax_px, int | float | np.number)
        and not isinstance(parallax_px, bool)
        and abs(parallax_px) < math.inf
    ):
        raise ValueError(f"parallax_px is {parallax_px!r}; give a number of pixels a slice")
    seen = sighting or sight(array, slice_px=slice_px)
    if seen.behind is None:
        return _confirmed(_drift_of_faces(seen.faces), array, slice_px)
    z = np.arange(len(array)) - (len(array) - 1) / 2
    steady = steady_motion(seen.behind, seen.faces, parallax_px=parallax_px)
    path = seen.behind.path - np.outer(z * steady.parallax, (1, 0))
    error = JACKKNIFE_FACTOR * seen.behind.jackknife(_without_trend(seen.behind.without_tile, axes=(0,)))
    error[:, 0] = np.hypot(error[:, 0], z * steady.drift_error)
    wander = _rms(_without_trend(path[None], axes=(0, 1))[0])
    noise = JACKKNIFE_FACTOR * _rms(seen.behind.jackknife(_without_trend(seen.behind.without_tile, axes=(0, 1))))
    across, across_error = (float(value[1]) for value in seen.behind.trend)
    found = (
        wander > max(LEAST_RMS_PX, noise)
        or _matters(across, JACKKNIFE_FACTOR * across_error, z)
        or _matters(steady.drift, steady.drift_error, z)
    )
    evidence = {"followed": "what lies behind the faces", "wander_px": wander, "noise_px": noise}
    drift = _report(path, error, (steady.drift, steady.drift_error), seen.behind, found=found, evidence=evidence)
    return _confirmed(drift, array, slice_px)


def _confirmed(drift: DriftEstimate, stack: np.ndarray, slice_px: float) -> DriftEstimate:
    """Return the drift as it is if both halves of the picture find it by themselves, and none otherwise.

    Noise and the structure's own changes differ between the halves, a drift does not.
    """
    if not drift.found:
        return drift
    agreement = _agreement_of_halves(stack, slice_px)
    evidence = {**drift.evidence, "agreement": agreement}
    if agreement > max(LEAST_AGREEMENT, SIGNIFICANT_AGREEMENT / math.sqrt(2 * max(len(stack) - 1, 1))):
        return dataclasses.replace(drift, evidence=evidence)
    evidence["verdict"] = "the two halves of the picture do not find the same drift: nothing to do"
    return dataclasses.replace(
        drift, path_px=np.zeros_like(drift.path_px), steady_px=0.0, found=False, evidence=evidence
    )


def _agreement_of_halves(stack: np.ndarray, slice_px: float) -> float:
    """Return the correlation of the steps from slice to slice in the left and the right half; 0 if there are none."""
    middle = stack.shape[2] // 2
    if middle < SMALLEST_STACK[2]:
        return 0.0
    steps = []
    for half in (stack[:, :, :middle], stack[:, :, middle:]):
        if np.ptp(half) == 0:
            return 0.0
        seen = sight(half, slice_px=slice_px)
        step = np.diff((seen.behind or seen.faces).path, axis=0)
        steps.append((step - step.mean(axis=0)).ravel())
    norm = np.linalg.norm(steps[0]) * np.linalg.norm(steps[1])
    return float(steps[0] @ steps[1] / norm) if norm > 0 else 0.0


def _matters(slope: float, error: float, z: np.ndarray) -> bool:
    return abs(slope) > SIGNIFICANT * error and abs(slope) * _rms(z) > LEAST_RMS_PX


def _drift_of_faces(faces: Track) -> DriftEstimate:
    """Return the drift where nothing is seen behind the faces; their steady lean is left alone."""
    path = _without_trend(faces.path[None], axes=(0, 1))[0]
    error = JACKKNIFE_FACTOR * faces.jackknife(faces.without_tile)
    jerk = float(np.sqrt(np.mean(np.diff(faces.path, 2, axis=0) ** 2))) if len(path) > 2 else 0.0
    noise = JACKKNIFE_FACTOR * _rms(faces.jackknife(np.diff(faces.without_tile, 2, axis=1)))
    evidence = {"followed": "the faces", "jerk_px": jerk, "noise_px": noise}
    found = jerk > max(LEAST_JERK_PX, noise)
    slope_error = JACKKNIFE_FACTOR * float(faces.trend[1][0])
    return _report(path, error, (0.0, slope_error), faces, found=found, evidence=evidence)


def _report(
    path: np.ndarray, error: np.ndarray, steady: tuple[float, float], followed: Track, *, found: bool,
    evidence: dict[str, Any],
) -> DriftEstimate:  # fmt: skip
    misfit = followed.misfit
    usual = float(np.nanmedian(misfit)) if followed.seen.any() else 0.0
    outliers = np.flatnonzero(~followed.seen | (misfit > max(0.5, 6 * usual)))
    if not found:
        verdict = "no drift beyond the noise of finding it: nothing to do"
        path, steady = np.zeros_like(path), (0.0, steady[1])
    else:
        verdict = f"the stack drifts; {evidence['followed']} was followed"
    evidence = {**evidence, "misfit_px": usual, "verdict": verdict}
    return DriftEstimate(path, error, *steady, outliers, bool(found), evidence)


def _without_trend(paths: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    """Return paths (…, Z, 2) less their mean, and less their straight line along the named axes."""
    z = np.arange(paths.shape[1]) - (paths.shape[1] - 1) / 2
    left = paths - paths.mean(axis=1, keepdims=True)
    for axis in axes:
        slope = left[..., axis] @ z / np.sum(z**2)
        left[..., axis] -= slope[:, None] * z
    return left


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def register(stack: Any, path_px: Any, *, order: int = 3) -> np.ndarray:
    """Shift each slice back by its drift.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values.
    path_px : array-like, shape (Z, 2)
        Where each slice's picture lies, (y, x) in pixels, as `DriftEstimate.path_px`.
    order : int
        Of the spline: 1 (linear) to 5; 3 keeps the sharpness.

    Returns
    -------
    ndarray, shape (Z, Y, X)
        Of the same dtype, whole numbers rounded and kept within what each slice held. The picture's edges are
        continued where it does not reach; `common_area` tells where every slice does. Slices with path 0 keep their
        bytes.

    Raises
    ------
    ValueError
        If the path does not fit the stack, is not finite or leads out of the picture.
    """
    array, path = check_stack(stack), _check_path(path_px)
    if len(path) != len(array):
        raise ValueError(f"path_px has {len(path)} positions, the stack {len(array)} slices; give one for each")
    if np.any(np.abs(path) >= array.shape[1:]):
        raise ValueError(f"path_px leads out of pictures of {array.shape[1]} × {array.shape[2]} pixels; check its unit")
    if isinstance(order, bool) or order not in (1, 2, 3, 4, 5):
        raise ValueError(f"order is {order!r}; give a spline order from 1 to 5")
    registered = array.copy()
    for image, (y, x) in zip(registered, path, strict=True):
        if y or x:
            low, high = image.min(), image.max()
            back = ndimage.shift(image.astype(np.float64), (-y, -x), order=order, mode="nearest")
            image[:] = np.clip(back if array.dtype.kind == "f" else np.rint(back), low, high)
    return registered


def common_area(shape: tuple[int, ...], path_px: Any) -> tuple[slice, slice]:
    """Return the rows and columns that every slice of a registered stack reaches.

    Parameters
    ----------
    shape : tuple of int
        Of the stack (Z, Y, X).
    path_px : array-like, shape (Z, 2)
        As given to `register`.

    Returns
    -------
    rows, columns : slice

    Raises
    ------
    ValueError
        If no pixel is in all slices.
    """
    path = _check_path(path_px)
    area = []
    for size, shift in zip(shape[1:], path.T, strict=True):
        start, stop = math.ceil(max(0.0, -shift.min())), math.floor(size - max(0.0, shift.max()))
        if stop <= start:
            raise ValueError(f"the slices drift by up to {np.ptp(shift):.0f} pixels and share no part of {size}")
        area.append(slice(start, stop))
    return area[0], area[1]


def _check_path(path_px: Any) -> np.ndarray:
    path = np.asarray(path_px)
    if path.ndim != 2 or path.shape[1] != 2 or len(path) == 0 or path.dtype.kind not in "uif":
        raise ValueError(f"path_px has shape {path.shape}; give a (y, x) position in pixels for each slice: (Z, 2)")
    if not np.isfinite(path).all():
        raise ValueError("path_px holds NaN or infinite values; give a position for each slice, 0 where none is known")
    return path.astype(float)
