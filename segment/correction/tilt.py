"""The tilt of the view: found in a stack, and its foreshortening undone."""

import dataclasses
import math
from typing import Any

import numpy as np

from segment.correction.faces import check_stack
from segment.correction.isotropy import Compression
from segment.correction.region import find_region
from segment.correction.sighting import Sighting, Steady, check_length, sight, steady_motion

__all__ = ["TiltEstimate", "check_anisotropy", "estimate_tilt", "undo_foreshortening"]

SMALLEST_STACK = (8, 32, 32)
SIGNIFICANT = 3.0
# Shine-through at the edges changes the ratio of lengths by about this much.
RATIO_FLOOR = 0.03
LEAST_COSINE = 0.05


@dataclasses.dataclass(frozen=True)
class TiltEstimate:
    """The foreshortening of a stack.

    Parameters
    ----------
    tilt_deg : float
        Angle between the normal of the cut faces and the view whose foreshortening is still in the picture: heights
        are cos(tilt_deg) of what they should be. 0 where there is nothing to undo or too little to go by.
    standard_error_deg : float
        Its standard error; infinite where there is too little to go by.
    found : bool
        Whether there is a foreshortening to undo.
    evidence : dict
        Plain numbers: what each cue said, and ``verdict``, a sentence.
    """

    tilt_deg: float
    standard_error_deg: float
    found: bool
    evidence: dict[str, Any]


def estimate_tilt(
    stack: Any,
    *,
    slice_px: float = 1.0,
    face_height_px: float | None = None,
    anisotropy: float | None = None,
    sighting: Sighting | None = None,
) -> TiltEstimate:
    """Find the tilt by which the cut faces of a stack are foreshortened along y.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values, z the slicing direction; at least 8 slices of 32 × 32 pixels. Drift is no hindrance.
    slice_px : float
        Distance between slices, in pixels along x.
    face_height_px : float, optional
        True height of the milled face in pixels along x, where all of it is in the picture.
    anisotropy : float, optional
        Standard error of taking the structure to be as high as wide in the plane of the slices, relative: 0 for one
        that is isotropic for certain, as a pack of spheres. By default nobody knows, and it only bears witness.
    sighting : Sighting, optional
        What `segment.correction.sighting.sight` found on this stack, if that was done before.

    Returns
    -------
    TiltEstimate

    Raises
    ------
    ValueError
        If the stack is too small, constant or not finite, or a length is not a positive number.

    Notes
    -----
    *Parallax.* What is seen through the pores behind the faces moves against them by p = slice_px · sin(tilt) rows a
    slice in the camera's picture, by slice_px · tan(tilt) in one that was stretched already. A steady drift of the
    faces themselves is told from it as in `segment.correction.sighting.steady_motion`, which sets the standard error.

    *Isotropy.* The structure on the faces is squeezed by cos(tilt) along y. That tells a camera's picture from a
    stretched one and bears witness against a false parallax. A structure that is higher than wide would mislead it, so
    it has a say in the angle only if `anisotropy` is given, or if nothing is seen through pores. A steady drift
    cannot mislead it: in a stack that drifts it is the better measure, if the structure is isotropic.

    *Outline.* With `face_height_px`, the height of the bright face against its surroundings.

    Parallax, outline and a known isotropy are averaged with the inverse of their variances. Where cues contradict
    each other by more than three standard errors, nothing is claimed.
    """
    array = check_stack(stack, least=SMALLEST_STACK)
    check_length("slice_px", slice_px)
    check_anisotropy(anisotropy)
    seen = sighting or sight(array, slice_px=slice_px)
    cues: dict[str, Any] = {}
    if seen.compression is not None:
        ratio = seen.compression
        cues["isotropy"] = {
            "ratio": ratio.ratio,
            "standard_error": ratio.standard_error,
            "systematic": ratio.systematic,
        }
    outline = None if face_height_px is None else _tilt_of_outline(array, face_height_px)
    if outline is not None:
        cues["outline"] = {"tilt_deg": outline[0], "standard_error_deg": outline[1]}
    if seen.behind is None:
        return _without_parallax(seen.compression, outline, cues)
    steady = steady_motion(seen.behind, seen.faces)
    cues["parallax"] = {"px_a_slice": steady.parallax, "standard_error": steady.parallax_error}
    known = _tilt_of_squeezing(seen.compression, anisotropy)
    return _with_parallax(steady, seen.compression, [c for c in (outline, known) if c], cues, slice_px=slice_px)


def check_anisotropy(value: float | None) -> None:
    """Raise ``ValueError`` unless `value` is None or a relative error."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1):
        raise ValueError(f"anisotropy is {value!r}; give a relative error from 0 to below 1, or None if nobody knows")


def undo_foreshortening(stack: Any, tilt_deg: float) -> np.ndarray:
    """Stretch the rows of a stack by 1 / cos(tilt), so that heights on the cut face equal widths.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values of a tilted view.
    tilt_deg : float
        Angle between the normal of the cut faces and the view, from 0 to 87.

    Returns
    -------
    ndarray, shape (Z, round(Y / cos(tilt)), X)
        Of the same dtype, whole numbers rounded and kept within what they were. The middle of the picture stays in
        the middle. At tilt 0 the stack itself.

    Raises
    ------
    ValueError
        If the angle is out of range.

    Notes
    -----
    Cubic convolution [1]_ with a = -1/2 along y alone, the picture continued by a straight line: exact for pictures
    linear in y, everywhere, and for quadratic ones inside.

    References
    ----------
    .. [1] R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans. ASSP 29 (1981)
       1153-1160.
    """
    array = check_stack(stack, least=(1, 2, 1))
    if isinstance(tilt_deg, bool) or not isinstance(tilt_deg, int | float | np.number) or not 0 <= tilt_deg <= 87:
        raise ValueError(f"tilt_deg is {tilt_deg!r}; give an angle from 0 to 87 degrees")
    if tilt_deg == 0:
        return array
    cosine = math.cos(math.radians(tilt_deg))
    rows = array.shape[1]
    wanted = round(rows / cosine)
    at = (np.arange(wanted) + 0.5 - wanted / 2) * cosine + rows / 2 - 0.5
    stretched = np.empty((len(array), wanted, array.shape[2]), array.dtype)
    for image, out in zip(array, stretched, strict=True):
        out[:] = _like(_interpolate_rows(image.astype(np.float64), at), image)
    return stretched


def _interpolate_rows(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the rows of `image` at the positions `at` between -1 and its number of rows."""
    first, last = image[0], image[-1]
    slope, end_slope = image[1] - first, last - image[-2]
    padded = np.concatenate([[first - 2 * slope, first - slope], image, [last + end_slope, last + 2 * end_slope]])
    low = np.clip(np.floor(at).astype(int), -1, len(image) - 1)
    t = (at - low)[:, None]
    weights = (
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )
    return sum(w * padded[low + 1 + i] for i, w in enumerate(weights))


def _like(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return `values` as the dtype of `image`, within its smallest and largest value where that is a whole number."""
    if image.dtype.kind == "f":
        return values.astype(image.dtype)
    return np.clip(np.rint(values), image.min(), image.max()).astype(image.dtype)


def _tilt_of_outline(stack: np.ndarray, height_px: float) -> tuple[float, float] | None:
    """Return tilt and standard error from the height of the face, None where its top and bottom are not seen."""
    check_length("face_height_px", height_px)
    rows = find_region(stack).y
    height = rows.stop - rows.start
    if rows.start == 0 or rows.stop == stack.shape[1]:
        return None
    cosine = height / height_px
    if cosine > 1 + 2 / height_px:
        raise ValueError(
            f"face_height_px is {height_px!r}, less than the {height} rows of the face; give its true height in pixels"
        )
    tilt = math.acos(min(cosine, 1.0))
    return math.degrees(tilt), math.degrees(1.5 / height_px / max(math.sin(tilt), 0.1))


def _without_parallax(
    compression: Compression | None, outline: tuple[float, float] | None, cues: dict[str, Any]
) -> TiltEstimate:
    if outline is not None:
        found = outline[0] > SIGNIFICANT * outline[1]
        cues["verdict"] = "the height of the face tells the tilt; nothing is seen through pores"
        return TiltEstimate(outline[0] if found else 0.0, outline[1], found, cues)
    if compression is None:
        cues["verdict"] = "neither pores to look through nor edges to count: the tilt cannot be told"
        return TiltEstimate(0.0, math.inf, False, cues)
    cosine = min(1.0, max(compression.ratio, LEAST_COSINE))
    tilt = math.acos(cosine)
    if not _squeezed(compression):
        cues["verdict"] = "the structure is as high as wide: nothing to do"
        return TiltEstimate(0.0, math.degrees(math.acos(max(LEAST_COSINE, 1 - _ratio_error(compression)))), False, cues)
    cues["verdict"] = "the structure is squeezed along y; nothing is seen through pores to confirm that it is the tilt"
    return TiltEstimate(math.degrees(tilt), math.degrees(compression.error / math.sin(tilt)), True, cues)


def _ratio_error(compression: Compression) -> float:
    return math.hypot(compression.standard_error, RATIO_FLOOR)


def _squeezed(compression: Compression) -> bool:
    return 1 - compression.ratio > SIGNIFICANT * _ratio_error(compression)


def _with_parallax(
    steady: Steady, compression: Compression | None, others: list[tuple[float, float]], cues: dict[str, Any], *,
    slice_px: float,
) -> TiltEstimate:  # fmt: skip
    sine, error = abs(steady.parallax) / slice_px, steady.parallax_error / slice_px
    moves = sine > SIGNIFICANT * error
    squeezed = compression is not None and _squeezed(compression)
    if not moves and not squeezed:
        cues["verdict"] = "what lies behind the faces does not move against them: nothing to do"
        return TiltEstimate(0.0, math.degrees(math.asin(min(1.0, error))), False, cues)
    if compression is None:
        cues["verdict"] = "there is parallax, but no edges to tell whether the picture was stretched already"
        return TiltEstimate(0.0, math.inf, False, cues)
    fits = sine <= 1 + SIGNIFICANT * error and _may_be(compression, sine, error)
    if not squeezed and fits and moves:
        cues["view_deg"] = {"camera": math.degrees(math.asin(min(1, sine))), "stretched": math.degrees(math.atan(sine))}
        cues["verdict"] = (
            "there is parallax, but too little structure to tell whether the picture was stretched already"
        )
        return TiltEstimate(0.0, math.inf, False, cues)
    if not squeezed:
        cues["verdict"] = "there is parallax, but the structure is as high as wide: stretched already, nothing to do"
        cues["view_deg"] = math.degrees(math.atan(sine))
        return TiltEstimate(0.0, math.degrees(math.acos(max(LEAST_COSINE, 1 - _ratio_error(compression)))), False, cues)
    if not moves or not fits:
        cues["verdict"] = (
            "the parallax and the squeezing of the structure contradict each other: the tilt cannot be told"
        )
        return TiltEstimate(0.0, math.inf, False, cues)
    tilt = math.asin(min(sine, 0.999))
    means = [(math.degrees(tilt), math.degrees(error / math.cos(tilt))), *others]
    for value, its_error in others:
        if abs(means[0][0] - value) > SIGNIFICANT * math.hypot(means[0][1], its_error):
            cues["verdict"] = (
                "the parallax and the heights in the picture contradict each other: the tilt cannot be told"
            )
            return TiltEstimate(0.0, math.inf, False, cues)
    weights = [1 / e**2 for _, e in means]
    cues["verdict"] = "the parallax tells the tilt; the squeezing of the structure agrees"
    mean = sum(w * t for w, (t, _) in zip(weights, means, strict=True)) / sum(weights)
    return TiltEstimate(mean, sum(weights) ** -0.5, True, cues)


def _tilt_of_squeezing(compression: Compression | None, anisotropy: float | None) -> tuple[float, float] | None:
    """Return tilt and standard error from the structure's heights and widths, if those are known to be alike."""
    if compression is None or anisotropy is None or not _squeezed(compression):
        return None
    tilt = math.acos(max(compression.ratio, LEAST_COSINE))
    error = math.hypot(compression.standard_error, compression.systematic, compression.ratio * anisotropy)
    return math.degrees(tilt), math.degrees(error / math.sin(tilt))


def _may_be(compression: Compression, sine: float, error: float) -> bool:
    """Whether the structure is squeezed as much as the parallax asks: rather less, for blur and noise hide some."""
    expected = math.sqrt(max(0.0, 1 - sine**2))
    spread = error * sine / max(expected, LEAST_COSINE)
    slack = SIGNIFICANT * math.hypot(_ratio_error(compression), spread)
    hidden = SIGNIFICANT * compression.systematic
    return compression.ratio - hidden - slack <= expected <= compression.ratio + slack
