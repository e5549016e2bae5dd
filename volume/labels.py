"""Between labels and one channel per phase."""

import operator
from typing import Any

import numpy as np

__all__ = ["check_labels", "from_one_hot", "one_hot"]

MOST_PHASES = 256  # what uint8 can tell apart


def check_labels(labels: Any, n_phases: int | None = None) -> np.ndarray:
    """Return `labels` as ``uint8``.

    Parameters
    ----------
    labels : array_like of shape (Z, Y, X)
        Integers from 0 to 255 or booleans; a `Volume` will do.
    n_phases : int, optional
        If given, labels must be smaller than it.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        Not a copy if `labels` was ``uint8`` already.

    Raises
    ------
    ValueError
        Other than three axes, no voxel, floats, labels out of range.
    """
    array = np.asarray(labels)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"labels must be a non-empty array with axes (z, y, x); its shape is {array.shape}")
    if array.dtype.kind not in "biu":
        raise ValueError(f"labels must be integers or booleans; their type is {array.dtype}: threshold or round first")
    bound = MOST_PHASES if n_phases is None else _check_n_phases(n_phases)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= bound:
        raise ValueError(f"labels must lie between 0 and {bound - 1}; these lie between {low} and {high}")
    return array.astype(np.uint8, copy=False)


def one_hot(labels: Any, n_phases: int) -> np.ndarray:
    """Give each phase a channel that is 1 where the phase is and 0 elsewhere.

    Parameters
    ----------
    labels : array_like of shape (Z, Y, X)
        Integers from 0 to ``n_phases - 1``, or booleans.
    n_phases : int
        Number of channels, from 1 to 256. Phases that do not occur get a channel of zeros.

    Returns
    -------
    ndarray of float32, shape (n_phases, Z, Y, X)
        Sums to 1 along the first axis.

    Raises
    ------
    ValueError
        See `check_labels`.
    """
    array = check_labels(labels, n_phases)
    channels = np.empty((_check_n_phases(n_phases), *array.shape), dtype=np.float32)
    for phase, channel in enumerate(channels):
        np.equal(array, phase, out=channel, casting="unsafe")
    return channels


def from_one_hot(p: Any) -> np.ndarray:
    """Return the label of the largest channel at each voxel; of equal ones, the lowest label.

    Parameters
    ----------
    p : array_like of shape (n, Z, Y, X)
        Probabilities, scores or one-hot channels, 1 to 256 of them.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)

    Raises
    ------
    ValueError
        Other than four axes, no voxel, more than 256 channels, not real numbers, NaN.
    """
    channels = np.asarray(p)
    if channels.ndim != 4 or channels.size == 0:
        raise ValueError(f"p must be a non-empty array with axes (phase, z, y, x); its shape is {channels.shape}")
    if channels.dtype.kind not in "biuf":
        raise ValueError(f"p must hold real numbers; its type is {channels.dtype}")
    _check_n_phases(len(channels))
    labels = np.empty(channels.shape[1:], dtype=np.uint8)
    # argmax makes 64-bit indices: one z slab at a time keeps that from being eight times the answer.
    for z, slab in enumerate(labels):
        plane = channels[:, z]
        if np.isnan(plane).any():
            raise ValueError(f"p holds NaN in slice {z}, so that its largest channel is not defined")
        slab[...] = plane.argmax(axis=0)
    return labels


def _check_n_phases(n_phases: Any) -> int:
    try:
        count = operator.index(n_phases)
    except TypeError:
        raise ValueError(f"n_phases is {n_phases!r}; it must be a whole number") from None
    if not 1 <= count <= MOST_PHASES:
        raise ValueError(f"n_phases is {count}; it must lie between 1 and {MOST_PHASES}")
    return count
