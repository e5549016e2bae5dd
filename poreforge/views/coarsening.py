"""Fewer voxels for drawing: labels by majority, fields by the mean, never a label made up between two others."""

import math
from collections.abc import Iterator

import numpy as np

__all__ = ["block_edges", "coarse_shape", "coarsen_field", "coarsen_labels"]


def coarse_shape(
    shape: tuple[int, ...], *, most_voxels: int, proportions: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> tuple[int, int, int]:
    """Return how many voxels along each axis are drawn.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along (z, y, x).
    most_voxels : int
        Of the result; a smaller volume stays as it is.
    proportions : (float, float, float)
        Edge lengths of a voxel; short edges are merged first, so that the blocks become cubes.

    Returns
    -------
    (int, int, int)
        From 1 to `shape` along each axis.
    """
    if math.prod(shape) <= most_voxels:
        return shape[0], shape[1], shape[2]
    lengths = [n * edge for n, edge in zip(shape, proportions, strict=True)]

    def drawn(edge: float) -> list[int]:
        return [min(n, max(1, round(length / edge))) for n, length in zip(shape, lengths, strict=True)]

    fine, rough = min(proportions), max(lengths)
    for _ in range(60):
        middle = math.sqrt(fine * rough)
        fine, rough = (fine, middle) if math.prod(drawn(middle)) <= most_voxels else (middle, rough)
    z, y, x = drawn(rough)
    return z, y, x


def block_edges(n: int, count: int) -> np.ndarray:
    """Return where `count` nearly equal blocks of `n` voxels begin and end, shape (count + 1,)."""
    return np.arange(count + 1) * n // count


def coarsen_labels(labels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Give each block of voxels the label that most of them have.

    Of equally many, that of the voxel in the middle, so that no phase grows at the cost of another; else the lowest.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
    shape : (int, int, int)
        Blocks along each axis, at most as many as voxels.

    Returns
    -------
    ndarray of uint8
        Of that shape.
    """
    if shape == labels.shape:
        return labels
    present = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=1))
    middles = [(edges[:-1] + edges[1:]) // 2 for edges in map(block_edges, labels.shape[1:], shape[1:])]
    result = np.empty(shape, dtype=np.uint8)
    for k, slab in _slabs(labels, shape):
        middle = slab[len(slab) // 2][np.ix_(*middles)]
        counts = np.stack([_block_sums(slab == label, shape) + 0.5 * (middle == label) for label in present])
        result[k] = present[counts.argmax(axis=0)]
    return result


def coarsen_field(field: np.ndarray, mask: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the mean over the voxels of `mask` in each block.

    Parameters
    ----------
    field : ndarray of float, shape (Z, Y, X)
    mask : ndarray of bool, shape (Z, Y, X)
    shape : (int, int, int)

    Returns
    -------
    ndarray of float32
        NaN where a block has no voxel of the mask.
    """
    result = np.empty(shape, dtype=np.float32)
    for (k, slab), (_, inside) in zip(_slabs(field, shape), _slabs(mask, shape), strict=True):
        counts = _block_sums(inside, shape)
        sums = _block_sums(np.where(inside, slab, 0.0), shape)
        result[k] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return result


def _slabs(array: np.ndarray, shape: tuple[int, int, int]) -> Iterator[tuple[int, np.ndarray]]:
    edges = block_edges(array.shape[0], shape[0])
    for k in range(shape[0]):
        yield k, array[edges[k] : edges[k + 1]]


def _block_sums(slab: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the sums over the blocks of a slab, shape (Y, X) of the result."""
    plane = slab.sum(axis=0, dtype=np.float64 if slab.dtype.kind == "f" else np.int64)
    plane = np.add.reduceat(plane, block_edges(slab.shape[1], shape[1])[:-1], axis=0)
    return np.add.reduceat(plane, block_edges(slab.shape[2], shape[2])[:-1], axis=1)
