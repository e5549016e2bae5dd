"""The range of grey values: stretched, equalised over the stack or locally, or normalised as the networks want it."""

from typing import Any

import numpy as np

from segment.correction.faces import check_stack
from segment.preprocessing import normalise

__all__ = ["equalise", "equalise_locally", "normalise", "stretch", "white_level"]

FLOAT_BINS = 65536


def stretch(stack: Any, *, percentiles: tuple[float, float] = (0.1, 99.9)) -> np.ndarray:
    """Stretch grey values linearly over the whole range of their type.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values.
    percentiles : (float, float)
        Of the stack's grey values: the first becomes black, the second white; what lies beyond is cut off.
        ``(0, 100)`` is the formula of the paper [1]_, which one dead pixel can undo.

    Returns
    -------
    ndarray of the same type and shape
        From 0 to the largest value of an integer type, or to 1.

    Raises
    ------
    ValueError
        For percentiles out of order, and where both fall on one grey value.

    References
    ----------
    .. [1] The stretching of the pore_segnet paper: ``(f - f_min) / (f_max - f_min)`` times the largest value.
    """
    array = check_stack(stack, least=(1, 1, 1))
    low, high = _check_percentiles(percentiles)
    black, white = np.percentile(array, [low, high]).tolist()
    if not white > black:
        raise ValueError(
            f"percentiles {low:g} and {high:g} both are the grey value {black:g}; give percentiles further apart"
        )
    result = np.empty_like(array)
    for z, image in enumerate(array):
        share = np.clip((image.astype(np.float64) - black) / (white - black), 0, 1)
        result[z] = _to_type(share, array.dtype)
    return result


def equalise(stack: Any) -> np.ndarray:
    """Spread grey values so that each range of them holds equally many pixels of the stack.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values.

    Returns
    -------
    ndarray of the same type and shape
        ``round((cdf(v) - cdf_min) / (N - cdf_min) * white)`` with the stack's cumulative histogram; for
        floating-point values without rounding, with 65536 bins and white 1.
    """
    array = check_stack(stack, least=(1, 1, 1))
    low, high = array.min().item(), array.max().item()
    whole = array.dtype.kind in "ui" and high - low < FLOAT_BINS
    bins = high - low + 1 if whole else FLOAT_BINS

    def places(image: np.ndarray) -> np.ndarray:
        if whole:
            return image.astype(np.int64) - low
        return np.minimum((image.astype(np.float64) - low) / (high - low) * bins, bins - 1).astype(np.intp)

    counts = np.zeros(bins, np.int64)
    for image in array:
        counts += np.bincount(places(image).ravel(), minlength=bins)
    filled = np.cumsum(counts)
    first = filled[np.flatnonzero(counts)[0]]
    share = (filled - first) / (array.size - first)
    return np.stack([_to_type(share[places(image)], array.dtype) for image in array])


def equalise_locally(stack: Any, *, clip_limit: float = 0.01, tile_px: int | None = None) -> np.ndarray:
    """Equalise each slice in tiles, the contrast limited (CLAHE of scikit-image).

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values.
    clip_limit : float
        From 0, no change of contrast, to 1, no limit.
    tile_px : int, optional
        Side of a tile; an eighth of the slice without it.

    Returns
    -------
    ndarray of the same type and shape
        From 0 to the largest value of an integer type, or to 1.
    """
    from skimage.exposure import equalize_adapthist

    array = check_stack(stack, least=(1, 8, 8))
    if not 0 <= clip_limit <= 1:
        raise ValueError(f"clip_limit is {clip_limit!r}; give a number from 0 to 1")
    if tile_px is not None and (not isinstance(tile_px, int | np.integer) or not 2 <= tile_px <= min(array.shape[1:])):
        raise ValueError(f"tile_px is {tile_px!r}; give a whole number from 2 to the slice's shorter side")
    low, high = array.min().item(), array.max().item()
    result = np.empty_like(array)
    for z, image in enumerate(array):
        # One scale for all slices: otherwise every slice would be stretched by itself.
        share = (image.astype(np.float64) - low) / (high - low)
        bright = equalize_adapthist(share, kernel_size=tile_px, clip_limit=clip_limit) if np.ptp(share) else share
        result[z] = _to_type(bright, array.dtype)
    return result


def white_level(dtype: np.dtype) -> float:
    """Return the grey value that is white: the largest of an integer type, else 1."""
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


def _to_type(share: np.ndarray, dtype: np.dtype) -> np.ndarray:
    scaled = share * white_level(dtype)
    return np.round(scaled).astype(dtype) if dtype.kind in "ui" else scaled.astype(dtype)


def _check_percentiles(percentiles: Any) -> tuple[float, float]:
    values = np.atleast_1d(np.asarray(percentiles, float))
    if values.shape != (2,) or not 0 <= values[0] < values[1] <= 100:
        raise ValueError(f"percentiles are {percentiles!r}; give two numbers from 0 to 100, the smaller first")
    return float(values[0]), float(values[1])
