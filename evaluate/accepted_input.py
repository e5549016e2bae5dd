"""What the measurements accept as labels, masks and voxel sizes, and the sentences that refuse the rest."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["as_labels", "as_mask", "as_voxel_size", "as_whole_number"]

LARGEST_LABEL = 255


def as_labels(values: Any, name: str, *, ndim: tuple[int, ...] = (2, 3)) -> np.ndarray:
    """Return `values` as an array of whole, non-negative labels.

    Parameters
    ----------
    values : array_like
        Anything that ``np.asarray`` takes. A boolean array holds the labels 0 (``False``) and 1 (``True``).
    name : str
        What the error messages call it.
    ndim : tuple of int
        The numbers of dimensions accepted.

    Returns
    -------
    ndarray of bool or integer
        Without a copy if `values` is such an array already; floats that hold whole numbers become ``uint8``.

    Raises
    ------
    ValueError
        Empty, of another dimension, NaN, fractional, negative, above 255, or not numbers.
    """
    array = _as_array(values, name, ndim)
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind == "f":
        # A NaN fails this comparison too; a sum or a cast would let it pass.
        if not bool(np.all(array == np.trunc(array))) or not bool(np.all(np.isfinite(array))):
            raise ValueError(
                f"{name} holds fractional or NaN values (dtype {array.dtype}); "
                "labels are whole numbers from 0 to 255: segment a grey volume first"
            )
    elif array.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {array.dtype}; labels are whole numbers from 0 to 255, or a boolean mask")
    low, high = array.min(), array.max()
    if low < 0 or high > LARGEST_LABEL:
        raise ValueError(
            f"{name} holds values from {low:g} to {high:g}; labels go from 0 to {LARGEST_LABEL}: is it a grey volume?"
        )
    return array.astype(np.uint8) if array.dtype.kind == "f" else array


def as_mask(values: Any, name: str = "mask") -> np.ndarray:
    """Return `values` as a boolean array of three dimensions, ``True`` inside the object.

    Parameters
    ----------
    values : array_like, shape (Z, Y, X)
        Booleans, or numbers that are all 0 or 1.
    name : str
        What the error messages call it.

    Returns
    -------
    ndarray of bool, shape (Z, Y, X)

    Raises
    ------
    ValueError
        Empty, not 3-D, NaN, or any value other than 0 and 1 (of labels, say which one: ``labels == 1``).
    """
    array = _as_array(values, name, (3,))
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} has dtype {array.dtype}; give a boolean array, True inside the object")
    inside = array == 1
    if not bool(np.all(inside | (array == 0))):
        raise ValueError(
            f"{name} holds values other than 0 and 1; say which phase is meant with a boolean array, e.g. labels == 1"
        )
    return inside


def as_voxel_size(voxel_size_um: Sequence[float] | None, volume: Any = None) -> tuple[float, float, float] | None:
    """Return the edge lengths ``(z, y, x)`` of a voxel in µm, or None if nobody knows them.

    Parameters
    ----------
    voxel_size_um : sequence of three floats, optional
        What the caller said; it wins.
    volume : optional
        What was measured; its ``voxel_size_um``, if it has one, is used otherwise.

    Raises
    ------
    ValueError
        Not three numbers, or one that is not positive and finite.
    """
    size = voxel_size_um if voxel_size_um is not None else getattr(volume, "voxel_size_um", None)
    if size is None:
        return None
    try:
        z, y, x = (float(edge) for edge in size)
    except (TypeError, ValueError):
        raise ValueError(f"voxel_size_um is {size!r}; give three numbers (z, y, x) in µm, or None") from None
    if not all(math.isfinite(edge) and edge > 0 for edge in (z, y, x)):
        raise ValueError(f"voxel_size_um is {size!r}; the three edge lengths must be positive and finite")
    return z, y, x


def as_whole_number(value: Any, name: str, *, low: int, high: int | None = None) -> int:
    """Return `value` as an int within ``[low, high]``.

    Raises
    ------
    ValueError
        Not a whole number, or outside the range.
    """
    try:
        number = int(value) if isinstance(value, float) and value.is_integer() else operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}; it must be a whole number") from None
    if number < low or (high is not None and number > high):
        accepted = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} is {number}; it must be {accepted}")
    return number


def _as_array(values: Any, name: str, ndim: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim not in ndim:
        accepted = " or ".join(f"{n}-D" for n in ndim)
        raise ValueError(f"{name} has shape {array.shape}; an array of {accepted} is accepted, axes (z, y, x)")
    if array.size == 0:
        raise ValueError(f"{name} is empty (shape {array.shape}); it must hold at least one voxel")
    return array
