"""Volumes that are passed over in slabs: arrays in memory or on disk, or the caller's own chunks."""

from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["LEAST_PROBABILITY", "LabelledSlabs", "Slabs", "as_sliceable", "check_probability", "probability_slabs"]

# The smallest normal number of single precision: networks cannot say less, and its logarithm is finite.
LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
SLAB_VOXELS = 2**20
ROUNDING = 0.01  # what half precision may miss of a sum of one


class Slabs:
    """One value a phase and voxel, slab after slab, as often as wanted.

    Parameters
    ----------
    values : array-like of shape (n, …), or iterable of such arrays
        An array of any kind that can be sliced (in memory, memory-mapped, on disk), cut along its second axis into
        slabs of about 2²⁰ voxels; or ready-made slabs of one or more volumes. ``size`` may have any number of axes.
    again : bool
        Whether more than one pass is needed: then an iterator, which is used up after one, is refused.

    Notes
    -----
    Iterating gives ndarrays (n, *slab) and holds one at a time.
    """

    def __init__(self, values: Any, *, again: bool = False) -> None:
        if again and isinstance(values, Iterator):
            raise ValueError(
                "the slabs are an iterator, which is used up after one pass, and several are needed; "
                "give a list, an array, or an object whose __iter__ starts over"
            )
        if not hasattr(values, "__iter__") and not hasattr(values, "shape"):
            raise ValueError(f"probabilities are a {type(values).__name__}; give an array (phase, z, y, x) or slabs")
        self.values = as_sliceable(values) if hasattr(values, "shape") else values

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield slabs in order."""
        if not hasattr(self.values, "shape"):
            for slab in self.values:
                yield np.asarray(slab)
            return
        for window in _windows(self.values.shape):
            yield np.asarray(self.values[:, window])


class LabelledSlabs:
    """Values and the true labels beside them, slab after slab, flat.

    Parameters
    ----------
    values : array-like of shape (n, …), or iterable of (values, labels)
        See `Slabs`.
    labels : array-like of shape (*size), optional
        Whole numbers below n; left out where `values` holds pairs.
    again : bool
        Whether more than one pass is needed.

    Notes
    -----
    Iterating gives (n, N) and (N,) arrays; numbers of phases that differ and labels out of range are refused then.
    """

    def __init__(self, values: Any, labels: Any = None, *, again: bool = False) -> None:
        if labels is None and hasattr(values, "shape"):
            raise ValueError("labels are missing; give them beside the array, or give slabs as pairs (values, labels)")
        if labels is not None and (not hasattr(values, "shape") or not hasattr(labels, "shape")):
            raise ValueError("give values and labels as two arrays, or leave labels out and give slabs as pairs")
        if labels is not None and tuple(values.shape[1:]) != tuple(labels.shape):
            raise ValueError(
                f"values have shape {tuple(values.shape)} and labels {tuple(labels.shape)}; "
                "give one label for each voxel of (phase, z, y, x)"
            )
        self.slabs, self.labels = Slabs(values, again=again), None if labels is None else as_sliceable(labels)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield pairs in order."""
        phases = None
        for values, labels in self._pairs():
            n = values.shape[0] if values.ndim else 0
            if values.ndim < 2 or n < 2 or values.shape[1:] != labels.shape:
                raise ValueError(
                    f"a slab has values of shape {values.shape} and labels of shape {labels.shape}; "
                    "give (phase, z, y, x) of at least two phases and (z, y, x)"
                )
            if phases not in (None, n):
                raise ValueError(f"slabs have {phases} and {n} phases; give one number of phases throughout")
            phases = n
            if labels.size:
                yield values.reshape(n, -1), _check_labels(labels, n).ravel()
        if phases is None:
            raise ValueError("there is no slab; give at least one")

    def _pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self.labels is None:
            for pair in self.slabs.values:
                if not isinstance(pair, tuple | list) or len(pair) != 2:
                    raise ValueError("a slab is no pair; give (values, labels) for each")
                yield np.asarray(pair[0]), np.asarray(pair[1])
            return
        windows = _windows(self.slabs.values.shape)
        for values, window in zip(self.slabs, windows, strict=True):
            yield values, np.asarray(self.labels[window])


def probability_slabs(probability: Any, *, again: bool = False) -> Iterator[np.ndarray]:
    """Yield checked probabilities slab by slab.

    Parameters
    ----------
    probability : array-like of shape (n, …), or iterable of such arrays
        See `Slabs`.
    again : bool
        Whether more than one pass is needed.

    Yields
    ------
    ndarray of shape (n, *slab)

    Raises
    ------
    ValueError
        See `check_probability`; also for numbers of phases that differ, and where there is no slab.
    """
    phases = None
    for slab in Slabs(probability, again=again):
        checked = check_probability(slab)
        if phases not in (None, len(checked)):
            raise ValueError(f"slabs have {phases} and {len(checked)} phases; give one number of phases throughout")
        phases = len(checked)
        yield checked
    if phases is None:
        raise ValueError("there is no slab; give at least one")


def check_probability(probability: Any) -> np.ndarray:
    """Return probabilities as a floating-point array if they are such.

    Parameters
    ----------
    probability : array-like of shape (n, …)
        Probability of each of at least two phases.

    Returns
    -------
    ndarray of float32 or float64

    Raises
    ------
    ValueError
        One phase, no voxel, no real numbers, NaN, values beyond [0, 1] or sums that differ from 1 by more than 0.01.
    """
    array = np.asarray(probability)
    if array.ndim < 2 or len(array) < 2 or array.size == 0:
        raise ValueError(
            f"probabilities have shape {array.shape}; give (phase, z, y, x) of at least two phases and one voxel"
        )
    if array.dtype.kind not in "biuf":
        raise ValueError(f"probabilities are {array.dtype}; give real numbers")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    low, high = float(array.min()), float(array.max())
    # A NaN fails every comparison.
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise ValueError(f"probabilities lie between {low:g} and {high:g}; give numbers from 0 to 1: are they logits?")
    off = float(np.abs(array.sum(axis=0) - 1).max())
    if off > ROUNDING:
        raise ValueError(
            f"the phases' probabilities at a voxel miss a sum of 1 by {off:.3g}; give all phases, or divide"
        )
    return array


def as_sliceable(values: Any) -> Any:
    """Return arrays in memory or on disk as they are, and what can only be made an array (a `Volume`, lists) as one."""
    return values if hasattr(values, "shape") and hasattr(values, "__getitem__") else np.asarray(values)


def _windows(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut the second axis of a shape into pieces of bounded size."""
    if len(shape) < 2:
        raise ValueError(f"values have shape {tuple(shape)}; give (phase, z, y, x)")
    depth = max(1, SLAB_VOXELS // max(1, int(np.prod(shape[2:]))))
    for start in range(0, shape[1], depth):
        yield slice(start, min(start + depth, shape[1]))


def _check_labels(labels: np.ndarray, n: int) -> np.ndarray:
    if labels.dtype.kind not in "biu":
        raise ValueError(f"labels are {labels.dtype}; give whole numbers")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n:
        raise ValueError(f"labels lie between {low} and {high}; with {n} phases give whole numbers from 0 to {n - 1}")
    return labels.astype(np.intp)
