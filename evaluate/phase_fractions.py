"""How much of a volume is pore, or each phase: overall, along an axis, and against the truth."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from evaluate.accepted_input import LARGEST_LABEL, as_labels, as_whole_number
from evaluate.blocks import Block, blocks, is_lazy, measure_blocks

__all__ = ["porosity", "porosity_error", "porosity_profile", "volume_fractions"]

N_LABELS = LARGEST_LABEL + 1
# Counting makes copies of 1 to 8 bytes a voxel, of so many slices at a time.
SLAB = 16


def porosity(labels: Any, *, pore: int = 0) -> float:
    """Fraction of the voxels that are pore.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X) or (Y, X)
        Labels, a `volume.Volume` or a structure. A boolean array is read as labels too, ``False`` = 0 and
        ``True`` = 1, so that by default ``False`` is pore; of a mask that is ``True`` in the pores,
        ask for ``pore=1``. An array of dask, Zarr or HDF5 is read block by block, with the same result to the last
        bit; the memory does not grow with the volume.
    pore : int
        The label of the pores, 0 to 255 (0 or 1 if `labels` is boolean). A label that does not occur has the
        fraction 0.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        Empty or neither 2-D nor 3-D, labels that are fractional, NaN, negative or above 255, or `pore`
        out of range.

    Examples
    --------
    >>> porosity([[[0, 1], [1, 1]]])
    0.25
    """
    array = _opened(labels, "labels")
    return float(_profile_counts(array, "labels", 0, pore=_pore_label(array, pore)).sum() / math.prod(array.shape))


def porosity_profile(labels: Any, axis: int = 0, *, pore: int = 0) -> np.ndarray:
    """Porosity of each slice across an axis.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X) or (Y, X)
        As in `porosity`.
    axis : int
        The axis that the profile runs along; 0 is z.
    pore : int
        The label of the pores.

    Returns
    -------
    ndarray of float64, shape (labels.shape[axis],)
        Its mean is ``porosity(labels)``.

    Raises
    ------
    ValueError
        As in `porosity`, or an axis that `labels` does not have.
    """
    array = _opened(labels, "labels")
    axis = as_whole_number(axis, "axis", low=-len(array.shape), high=len(array.shape) - 1) % len(array.shape)
    counts = _profile_counts(array, "labels", axis, pore=_pore_label(array, pore))
    return counts / (math.prod(array.shape) // array.shape[axis])


def porosity_error(prediction: Any, truth: Any, *, pore: int = 0) -> float:
    """Porosity of a prediction minus that of the truth.

    Parameters
    ----------
    prediction, truth : array_like, of equal shape
        As in `porosity`.
    pore : int
        The label of the pores in both.

    Returns
    -------
    float
        A signed fraction (0.01 is one percentage point), positive if the prediction is too porous.

    Raises
    ------
    ValueError
        As in `porosity`, or unequal shapes.
    """
    predicted, true = _opened(prediction, "prediction"), _opened(truth, "truth")
    if tuple(predicted.shape) != tuple(true.shape):
        raise ValueError(f"prediction has shape {predicted.shape} and truth {true.shape}; they must be equal")
    return porosity(predicted, pore=pore) - porosity(true, pore=pore)


def volume_fractions(labels: Any, *, n_phases: int | None = None) -> np.ndarray:
    """Fraction of the voxels that each phase takes.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X) or (Y, X)
        As in `porosity`.
    n_phases : int, optional
        How many phases there are, 1 to 256; by default as many as the largest label says (2 if `labels` is boolean).

    Returns
    -------
    ndarray of float64, shape (n_phases,)
        They add up to 1; 0 for a phase that does not occur.

    Raises
    ------
    ValueError
        As in `porosity`, or a label that is `n_phases` or more.

    Examples
    --------
    >>> volume_fractions([[[0, 1], [2, 2]]])
    array([0.25, 0.25, 0.5 ])
    """
    array = _opened(labels, "labels")
    n_phases = None if n_phases is None else as_whole_number(n_phases, "n_phases", low=1, high=N_LABELS)
    counts: np.ndarray = sum(_measured(functools.partial(_histogram, name="labels"), array))
    n_found = max(int(np.flatnonzero(counts)[-1]) + 1, 2 if array.dtype.kind == "b" else 1)
    if n_phases is not None and np.any(counts[n_phases:]):
        raise ValueError(
            f"labels holds values up to {n_found - 1}; with n_phases={n_phases} they go from 0 to {n_phases - 1}"
        )
    return counts[: n_phases or n_found] / math.prod(array.shape)


def _opened(values: Any, name: str) -> Any:
    """Return labels in memory, checked, or the array that reads them, of which the shape alone is checked."""
    if not is_lazy(values):
        return as_labels(values, name)
    # Booleans are not looked at.
    as_labels(np.broadcast_to(np.False_, values.shape), name)
    return values


def _measured(measure: Callable[[np.ndarray, Block], Any], array: Any) -> Iterable[Any]:
    """Return what `measure` makes of each block, of slabs in memory."""
    if is_lazy(array):
        return measure_blocks(measure, array)
    slabs = blocks(array.shape, edge=(SLAB, *array.shape[1:]))
    return (measure(array[block.core], block) for block in slabs)


def _profile_counts(array: Any, name: str, axis: int, *, pore: int) -> np.ndarray:
    """Return the voxels of the label `pore` in each slice across an axis."""
    counts = np.zeros(array.shape[axis], np.int64)
    for place, found in _measured(functools.partial(_count_slices, name=name, axis=axis, pore=pore), array):
        counts[place] += found
    return counts


def _count_slices(part: np.ndarray, block: Block, *, name: str, axis: int, pore: int) -> tuple[slice, np.ndarray]:
    others = tuple(i for i in range(part.ndim) if i != axis)
    return block.core[axis], np.count_nonzero(as_labels(part, name) == pore, axis=others)


def _histogram(part: np.ndarray, block: Block, *, name: str) -> np.ndarray:
    return np.bincount(as_labels(part, name).ravel().astype(np.uint8, copy=False), minlength=N_LABELS)


def _pore_label(array: Any, pore: int) -> int:
    return as_whole_number(pore, "pore", low=0, high=1 if array.dtype.kind == "b" else LARGEST_LABEL)
