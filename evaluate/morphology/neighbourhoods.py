"""Sums over the 2 × 2 × 2 neighbourhoods of a volume, in memory or block by block, for each kind of border."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from evaluate.accepted_input import as_labels
from evaluate.blocks import Block, blocks, is_lazy, measure_blocks

__all__ = [
    "LARGEST_N_PHASES",
    "OUTSIDE",
    "Counts",
    "as_phases",
    "count_neighbourhoods",
    "number_of_phases",
    "open_labels",
    "seams",
]

LARGEST_N_PHASES = 16
# What lies beyond the border of a closed window: no phase at all.
OUTSIDE = 255
Weights = tuple[np.ndarray, np.ndarray, np.ndarray]
Count = Callable[[np.ndarray, Weights], np.ndarray]
Accept = Callable[[Any, str], np.ndarray]


class Counts(NamedTuple):
    """What a volume was found to hold.

    Attributes
    ----------
    neighbourhoods : ndarray of float64
        What was counted, with the weight of the neighbourhoods; whole eighths, so that sums are exact.
    voxels : ndarray of int64, shape (256,)
        How many voxels bear each label.
    shape : tuple of int
        Of the volume.
    """

    neighbourhoods: np.ndarray
    voxels: np.ndarray
    shape: tuple[int, ...]


def as_phases(values: Any, name: str, *, n_phases: int | None) -> np.ndarray:
    """Return `values` as 3-D labels of no more than `n_phases` phases.

    Raises
    ------
    ValueError
        As in `as_labels`; or a label that is `n_phases` or more, or 16 or more.
    """
    labels = as_labels(values, name, ndim=(3,))
    largest = 1 if labels.dtype == bool else int(labels.max())
    if n_phases is None and largest >= LARGEST_N_PHASES:
        raise ValueError(
            f"{name} holds values up to {largest}; at most {LARGEST_N_PHASES} phases are measured at once, "
            "labelled from 0: is it a grey volume, or a map of particles?"
        )
    if n_phases is not None and largest >= n_phases and (largest > 1 or labels.any()):
        raise ValueError(
            f"{name} holds values up to {largest}; with n_phases={n_phases} they go from 0 to {n_phases - 1}"
        )
    return labels


def number_of_phases(n_phases: int | None, voxels: np.ndarray) -> int:
    """Return `n_phases`, or as many as the largest label that occurs says."""
    return n_phases if n_phases is not None else int(np.flatnonzero(voxels)[-1]) + 1


def count_neighbourhoods(count: Count, values: Any, *, accept: Accept, name: str, boundary: str) -> Counts:
    """Count over all the 2 × 2 × 2 neighbourhoods of a volume.

    Parameters
    ----------
    count : callable
        Given the labels of a part as ``uint8`` and the weights of the neighbourhoods along each axis, returns an array
        of int64 whose shape is always the same. Picklable.
    values : array_like, shape (Z, Y, X)
        In memory, or an array of dask, Zarr or HDF5, read block by block.
    accept : callable
        Returns its first argument as an array of labels or raises ``ValueError``; the second is its name. Picklable.
    name : str
        What the error messages call `values`.
    boundary : {"interior", "closed", "periodic"}
        As in `minkowski`. Beyond the border of a closed window lies `OUTSIDE`.
    """
    volume, read = open_labels(values, accept=accept, name=name, boundary=boundary)
    shape = tuple(volume.shape)
    measure = functools.partial(_measure, count=count, read=read, shape=shape, interior=boundary == "interior")
    parts: Iterable[tuple[np.ndarray, np.ndarray]]
    if is_lazy(values):
        parts = measure_blocks(measure, volume, halo=1)
    else:
        parts = (measure(volume[block.read], block) for block in blocks(shape, edge=shape))
    neighbourhoods, voxels = functools.reduce(lambda a, b: (a[0] + b[0], a[1] + b[1]), parts)
    for part in seams(volume, read, boundary):
        neighbourhoods = neighbourhoods + count(part, _weights(part.shape))
    return Counts(neighbourhoods / 8.0, voxels, shape)


def open_labels(values: Any, *, accept: Accept, name: str, boundary: str) -> tuple[Any, Callable[[Any], np.ndarray]]:
    """Return labels in memory, checked, or the array that reads them; and what makes ``uint8`` of a part.

    Parameters
    ----------
    values, accept, name, boundary
        As in `count_neighbourhoods`. Of an array that is read block by block the shape alone is checked, and the rest
        when a part is read.

    Raises
    ------
    ValueError
        As `accept` does; fewer than two voxels along an axis of an ``"interior"`` window.
    """
    volume: Any = values
    read: Callable[[Any], np.ndarray] = functools.partial(_read, accept=accept, name=name)
    if is_lazy(values):
        # Booleans are not looked at: this checks the shape alone.
        accept(np.broadcast_to(np.False_, values.shape), name)
    else:
        volume, read = accept(values, name), _as_bytes
    if boundary == "interior" and min(volume.shape) < 2:
        raise ValueError(
            f"{name} has shape {tuple(volume.shape)}; the interior of a window needs two voxels along each axis: "
            "give a thicker volume, or another boundary"
        )
    return volume, read


def _measure(
    part: np.ndarray, block: Block, *, count: Count, read: Callable[[Any], np.ndarray], shape: tuple[int, ...],
    interior: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Count the neighbourhoods whose first corner is in the core of a block, in eighths, and its voxels."""
    from evaluate.morphology.neighbourhood_kernels import count_voxels

    part = read(part)
    mine = np.ascontiguousarray(part[tuple(slice(inside.start, None) for inside in block.inside)])
    weights = _weights(mine.shape)
    if interior:
        # The half voxel beyond the outermost neighbourhoods is given the content of its neighbour.
        for weight, core, n in zip(weights, block.core, shape, strict=True):
            first = np.arange(core.start, core.start + weight.size)
            weight += first == 0
            weight += first == n - 2
    return count(mine, weights), count_voxels(np.ascontiguousarray(part[block.inside]))


def _weights(shape: tuple[int, ...]) -> Weights:
    """Return two halves along each axis, so that a neighbourhood weighs eight eighths."""
    z, y, x = (np.full(max(n - 1, 0), 2, np.int64) for n in shape)
    return z, y, x


def seams(volume: Any, read: Callable[[Any], np.ndarray], boundary: str) -> Iterable[np.ndarray]:
    """Yield slabs, two voxels thick, whose neighbourhoods are those across the border of the window.

    Those across z and anything else first, then those across y but not z, then those across x alone: one slab each if
    periodic, two each if closed, none of an interior window.
    """
    if boundary == "interior":
        return
    for axis in range(3):
        first, last = (
            read(np.asarray(volume[(slice(None),) * axis + (at,)]))
            for at in (slice(0, 1), slice(volume.shape[axis] - 1, None))
        )
        beyond = [(0, 0)] * (axis + 1) + [(0, 1) if boundary == "periodic" else (1, 1)] * (2 - axis)
        if boundary == "periodic":
            yield np.pad(np.concatenate([last, first], axis), beyond, mode="wrap")
            continue
        outside = np.full_like(first, OUTSIDE)
        for slab in ([outside, first], [last, outside]):
            yield np.pad(np.concatenate(slab, axis), beyond, constant_values=OUTSIDE)


def _read(values: Any, *, accept: Accept, name: str) -> np.ndarray:
    return _as_bytes(accept(values, name))


def _as_bytes(labels: np.ndarray) -> np.ndarray:
    return labels.view(np.uint8) if labels.dtype == bool else labels.astype(np.uint8, copy=False)
