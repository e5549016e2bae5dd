"""Where the milled face is in the picture, and whether it is turned."""

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import ndimage

from segment.correction.faces import check_stack

__all__ = ["Region", "RotationEstimate", "estimate_rotation", "find_region", "undo_rotation"]

SMALLEST_STACK = (1, 16, 16)
# A surround has less than this share of the face's contrast.
# Of the way from faces to pores: a margin within it of the faces shows material without pores.
AS_BRIGHT = 0.25
FLAT_SHARE = 0.25
SMOOTHING_PX = 1.0
NARROWEST_PX = 2
LEAST_FACE = 0.15
SIGNIFICANT = 3.0


@dataclasses.dataclass(frozen=True)
class Region:
    """The part of a stack that shows the sample.

    Parameters
    ----------
    z, y, x : slice
        Slices, rows and columns; all of them where there is nothing to crop.
    found : bool
        Whether there is anything to crop.
    evidence : dict
        Pixels of surroundings on each side, and ``verdict``, a sentence.
    """

    z: slice
    y: slice
    x: slice
    found: bool
    evidence: dict[str, Any]

    def crop(self, stack: np.ndarray) -> np.ndarray:
        """Return the region's view of a stack (Z, Y, X): no value is changed."""
        return stack[self.z, self.y, self.x]


def find_region(stack: Any) -> Region:
    """Find the milled face against dark or flat surroundings.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values; at least 16 × 16 pixels.

    Returns
    -------
    Region
        To about a pixel.

    Raises
    ------
    ValueError
        If the stack is too small, constant or not finite.

    Notes
    -----
    The face has structure: over its rows and columns grey values spread. Rows at the border whose values spread less
    than a quarter as much as the middle's, two or more of them in all slices, are surroundings, unless they are as
    bright as the faces and so material without pores; so are columns, and empty slices at the beginning and end.
    """
    array = check_stack(stack, least=SMALLEST_STACK)
    spread = _spread(array)
    rows, columns = _extent(spread[0]), None
    # Measured over the rows of the face alone, lest dark rows hide the columns' structure, and the other way round.
    columns = _extent(_spread(array[:, rows])[1])
    rows = _extent(_spread(array[:, :, columns])[0])
    rows, columns = (_with_bright_margins(array, part, axis) for axis, part in ((1, rows), (2, columns)))
    inside = array[:, rows, columns].astype(np.float32)
    slices = (
        _extent(inside.reshape(len(array), -1).std(axis=1), narrowest=1) if len(array) > 2 else slice(0, len(array))
    )
    margins = {
        name: (part.start, n - part.stop)
        for name, part, n in zip("zyx", (slices, rows, columns), array.shape, strict=True)
    }
    found = any(any(pair) for pair in margins.values())
    verdict = "the face has empty surroundings" if found else "the face fills the picture: nothing to crop"
    return Region(slices, rows, columns, found, {"margins_px": margins, "verdict": verdict})


def _spread(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard deviation of the smoothed grey values of each row and each column over all slices."""
    sums = [np.zeros((2, n)) for n in stack.shape[1:]]
    thin = stack[:: max(1, len(stack) // 64)]
    for image in thin:
        smooth = ndimage.gaussian_filter(image.astype(np.float64), SMOOTHING_PX, mode="nearest")
        for axis in (0, 1):
            sums[axis] += (smooth.mean(axis=1 - axis), (smooth**2).mean(axis=1 - axis))
    rows, columns = (np.sqrt(np.maximum(square - mean**2, 0)) for mean, square in (s / len(thin) for s in sums))
    return rows, columns


def _extent(spread: np.ndarray, *, narrowest: int = NARROWEST_PX) -> slice:
    """Return where the spread is that of structure: between flat margins, if there are any."""
    n = len(spread)
    level = FLAT_SHARE * float(np.percentile(spread, 90))
    lively = np.flatnonzero(spread > level)
    start, stop = int(lively[0]), int(lively[-1]) + 1
    start, stop = start if start >= narrowest else 0, stop if n - stop >= narrowest else n
    return slice(start, stop) if stop - start >= LEAST_FACE * n else slice(0, n)


def _with_bright_margins(array: np.ndarray, part: slice, axis: int) -> slice:
    """Return `part` with those flat margins added that are as bright as the faces: dense material, not surroundings."""
    values = np.moveaxis(array[:: max(1, len(array) // 16)], axis, 0).astype(np.float32)
    dark, face = np.percentile(values[part], [5, 75])
    start, stop = part.start, part.stop
    if start > 0 and values[:start].mean() > face - AS_BRIGHT * (face - dark):
        start = 0
    if stop < len(values) and values[stop:].mean() > face - AS_BRIGHT * (face - dark):
        stop = len(values)
    return slice(start, stop)


@dataclasses.dataclass(frozen=True)
class RotationEstimate:
    """How the milled face is turned in the picture.

    Parameters
    ----------
    angle_deg : float
        Positive turns +x towards +y; 0 where no border tells.
    standard_error_deg : float
        Infinite where no border tells.
    found : bool
        Whether the face is turned by more than the noise.
    evidence : dict
        The angle of each border seen, and ``verdict``, a sentence.
    """

    angle_deg: float
    standard_error_deg: float
    found: bool
    evidence: dict[str, Any]


def estimate_rotation(stack: Any) -> RotationEstimate:
    """Find by how much the face is turned in the picture, from its straight borders.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values.

    Returns
    -------
    RotationEstimate

    Raises
    ------
    ValueError
        If the stack is too small, constant or not finite.

    Notes
    -----
    Along each side of the face that lies within the picture, the border's place is where the mean over the slices
    reaches half of the face's brightness above the surround's; a straight line is fitted to these places, robustly
    (median of the slopes between halves [1]_). At least two borders must agree.

    References
    ----------
    .. [1] P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968) 1379-1389.
    """
    array = check_stack(stack, least=SMALLEST_STACK)
    mean = ndimage.gaussian_filter(array[:: max(1, len(array) // 64)].astype(np.float64).mean(axis=0), SMOOTHING_PX)
    region = find_region(array)
    seen = {}
    for name, picture, across, along in (
        ("top", mean, region.y.start, region.x),
        ("bottom", mean[::-1], mean.shape[0] - region.y.stop, region.x),
        ("left", mean.T, region.x.start, region.y),
        ("right", mean.T[::-1], mean.shape[1] - region.x.stop, region.y),
    ):
        line = _border_slope(picture[:, along], across)
        if line is not None:
            turned = 1 if name in ("top", "right") else -1
            seen[name] = (turned * math.degrees(math.atan(line[0])), math.degrees(line[1]))
    return _combine_borders(seen)


def _combine_borders(seen: dict[str, tuple[float, float]]) -> RotationEstimate:
    evidence: dict[str, Any] = {"borders_deg": {name: angle for name, (angle, _) in seen.items()}}
    if len(seen) < 2:
        evidence["verdict"] = "fewer than two borders of the face are in the picture: a rotation cannot be told"
        return RotationEstimate(0.0, math.inf, False, evidence)
    angles, errors = np.array(list(seen.values())).T
    weights = 1 / errors**2
    angle = float(np.sum(weights * angles) / np.sum(weights))
    error = max(float(np.sum(weights) ** -0.5), float(np.std(angles, ddof=1)) / math.sqrt(len(angles)))
    found = abs(angle) > SIGNIFICANT * error
    evidence["verdict"] = "the borders of the face are turned" if found else "the face stands straight: nothing to do"
    return RotationEstimate(angle if found else 0.0, error, found, evidence)


def _border_slope(picture: np.ndarray, margin: int) -> tuple[float, float] | None:
    """Return the slope, and its standard error, of the first rise of each column of a picture whose top is surround."""
    n = picture.shape[1]
    if margin < NARROWEST_PX or n < 16:
        return None
    keep = slice(n // 10, n - n // 10)
    surround = float(np.median(picture[: max(1, margin - 1)]))
    face = float(np.median(picture[margin : margin + max(8, len(picture) // 3)]))
    above = (picture[:, keep] - surround) / (face - surround) if face != surround else picture[:, keep] * 0
    high = above > 0.5
    if not high.any(axis=0).all():
        return None
    row = np.argmax(high, axis=0)
    if row.min() < 1:
        return None
    at = np.arange(high.shape[1])
    low, top = above[row - 1, at], above[row, at]
    place = row - 1 + (0.5 - low) / (top - low)
    half = len(at) // 2
    slopes = (place[-half:] - place[:half]) / (at[-half:] - at[:half])
    slope = float(np.median(slopes))
    spread = 1.4826 * float(np.median(np.abs(place - slope * at - np.median(place - slope * at))))
    # Neighbouring places share a particle: some ten pixels make one independent place.
    return slope, max(spread, 0.1) * math.sqrt(12 / max(1, len(at) / 10)) / len(at)


def undo_rotation(stack: Any, angle_deg: float) -> np.ndarray:
    """Turn each slice back about its middle.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values.
    angle_deg : float
        Between -45 and 45; as `RotationEstimate.angle_deg`.

    Returns
    -------
    ndarray, shape (Z, Y, X)
        Of the same dtype, by cubic spline, whole numbers rounded and kept within what each slice held; the edges
        continued. At angle 0 the stack itself.

    Raises
    ------
    ValueError
        If the angle is out of range.
    """
    array = check_stack(stack)
    if isinstance(angle_deg, bool) or not isinstance(angle_deg, int | float | np.number) or not abs(angle_deg) <= 45:
        raise ValueError(f"angle_deg is {angle_deg!r}; give an angle from -45 to 45 degrees")
    if angle_deg == 0:
        return array
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    # From where in the picture, (y, x), each pixel of the result comes.
    turn = np.array([[cosine, sine], [-sine, cosine]])
    middle = (np.array(array.shape[1:]) - 1) / 2
    straight = np.empty_like(array)
    for image, out in zip(array, straight, strict=True):
        back = ndimage.affine_transform(image.astype(np.float64), turn, middle - turn @ middle, order=3, mode="nearest")
        out[:] = np.clip(back if array.dtype.kind == "f" else np.rint(back), image.min(), image.max())
    return straight
