"""A user's labels of part of a stack: strokes or whole slices, and which of them are held back from learning."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from segment.losses import IGNORED

__all__ = ["HeldBack", "hold_back", "read_strokes"]

# Strokes are held back whole, or cut by a grid of so many pixels where there are too few of them.
GRIDS = (2**30, 64, 32, 16, 8)
MOST_LABELLED = 2**24
FEWEST_GROUPS, HELD_SHARE, MOST_HELD = 4, 0.2, 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class HeldBack:
    """Labels to learn from, and labels to judge by.

    Attributes
    ----------
    learnt, held : ndarray of uint8, shape (Z, Y, X)
        No voxel is labelled in both; 255 where it is not.
    """

    learnt: np.ndarray
    held: np.ndarray


def read_strokes(strokes: Any, shape: Sequence[int]) -> np.ndarray:
    """Return a user's labels as one array.

    Parameters
    ----------
    strokes : array-like of int, shape (Z, Y, X), or mapping of int to array-like of int, shape (Y, X)
        The phase, from 0, where it is labelled and 255 elsewhere; of the whole stack, or of some slices by number.
    shape : sequence of int
        ``(Z, Y, X)`` of the grey volume.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)

    Raises
    ------
    ValueError
        If shapes differ, a slice does not exist, or labels are no whole numbers from 0 to 255.
    """
    depth, *plane = shape
    if not isinstance(strokes, Mapping):
        return _as_labels("strokes", strokes, shape)
    marks = np.full(tuple(shape), IGNORED, np.uint8)
    for z, labels in strokes.items():
        if isinstance(z, bool) or not isinstance(z, int | np.integer) or not 0 <= z < depth:
            raise ValueError(f"strokes name slice {z!r}; the volume has slices 0 to {depth - 1}")
        marks[z] = _as_labels(f"strokes of slice {z}", labels, plane)
    return marks


def hold_back(marks: np.ndarray, phases: Sequence[str], *, rng: np.random.Generator) -> HeldBack:
    """Set part of the labels aside, whole strokes where there are enough of them.

    Parameters
    ----------
    marks : ndarray of uint8, shape (Z, Y, X)
        Labels below the number of phases, or 255.
    phases : sequence of str
        Name of each label.
    rng : Generator
        Draws them.

    Returns
    -------
    HeldBack
        Of each phase at least a fifth of the labelled voxels is held back where that leaves at least half.

    Raises
    ------
    ValueError
        If a phase has too few labels to hold any back, or all have more than 2²⁴.

    Notes
    -----
    A stroke is what touches within a slice, corners included, whatever its phases: a labelled slice is one. If a phase
    lies in fewer than four of them, all are cut by a grid of 64 pixels, or 32, 16, 8.
    """
    labelled = np.count_nonzero(marks != IGNORED)
    if labelled > MOST_LABELLED:
        raise ValueError(
            f"{labelled} voxels are labelled; give at most {MOST_LABELLED}, some of the slices, or train on a corpus"
        )
    where = np.nonzero(marks != IGNORED)
    phase = marks[where]
    group, table = _groups(marks, where, n_phases=len(phases))
    held = _drawn(table, rng)
    missing = np.flatnonzero(table[held].sum(axis=0) == 0)
    if missing.size:
        count = int(table[:, missing[0]].sum())
        raise ValueError(
            f"phase '{phases[missing[0]]}' has {count} labelled voxels too close together to hold any back; "
            "draw more strokes of it, or longer ones"
        )
    parts = []
    for chosen in (~held[group], held[group]):
        part = np.full_like(marks, IGNORED)
        part[tuple(axis[chosen] for axis in where)] = phase[chosen]
        parts.append(part)
    return HeldBack(*parts)


def _as_labels(name: str, labels: Any, shape: Sequence[int]) -> np.ndarray:
    array = np.asarray(labels)
    if array.dtype.kind not in "ui":
        raise ValueError(f"{name} are {array.dtype}; give whole numbers: phases from 0, and {IGNORED} for not labelled")
    if array.shape != tuple(shape):
        raise ValueError(f"{name} have shape {array.shape}; give the grey volume's, {tuple(shape)}")
    if array.min() < 0 or array.max() > IGNORED:
        wrong = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"{name} hold a label {wrong}; give phases from 0, and {IGNORED} for not labelled")
    return array.astype(np.uint8)


def _groups(marks: np.ndarray, where: Sequence[np.ndarray], *, n_phases: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each labelled voxel, and the voxels of each phase in each group."""
    z, y, x = where
    stroke, plane = _stroke_numbers(marks, z, y, x), marks.shape[1:]
    count = int(stroke.max()) + 1
    for grid in GRIDS:
        cell = np.ravel_multi_index((stroke, y // grid, x // grid), (count, *(-(-side // grid) for side in plane)))
        group = np.unique(cell, return_inverse=True)[1]
        cells = np.bincount(group * n_phases + marks[z, y, x], minlength=(group.max() + 1) * n_phases)
        table = cells.reshape(-1, n_phases)
        if ((table > 0).sum(axis=0) >= FEWEST_GROUPS).all():
            break
    return group, table


def _stroke_numbers(marks: np.ndarray, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    numbers, count = np.empty(len(z), np.intp), 0
    for plane in np.unique(z):
        here = z == plane
        numbered, found = ndimage.label(marks[plane] != IGNORED, np.ones((3, 3)))
        numbers[here] = numbered[y[here], x[here]] + count
        count += found
    return numbers


def _drawn(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return which groups are held back, by the voxels of each phase in each group."""
    held, taken, total = np.zeros(len(table), bool), np.zeros(table.shape[1], np.int64), table.sum(axis=0)
    # The phase in the fewest groups has the least choice.
    for phase in np.argsort((table > 0).sum(axis=0), kind="stable"):
        for number in rng.permutation(np.flatnonzero(table[:, phase])):
            if taken[phase] >= HELD_SHARE * total[phase]:
                break
            if not held[number] and (taken + table[number] <= MOST_HELD * total).all():
                held[number] = True
                taken += table[number]
    return held
