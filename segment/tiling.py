"""Prediction in overlapping tiles, blended so that no seam is left."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np

__all__ = ["blend_weights", "predict_slabs", "predict_tiled", "tile_starts"]

Predictor = Callable[[np.ndarray], np.ndarray]
# A tile's number along each axis, and where it lies.
Window = tuple[tuple[int, ...], tuple[slice, ...]]


def predict_tiled(
    predictor: Predictor,
    image: np.ndarray,
    *,
    tile: Sequence[int],
    overlap: Sequence[int],
    multiple: int = 1,
) -> np.ndarray:
    """Apply a predictor tile by tile and blend the results with Gaussian weights.

    Parameters
    ----------
    predictor : callable
        From ``(C, *tile)`` to ``(K, *tile)``.
    image : ndarray, shape (C, *size)
        Any number of spatial axes, of any size.
    tile : sequence of int
        Tile sides, rounded up to `multiple`. An axis shorter than its tile is one tile.
    overlap : sequence of int
        How far neighbouring tiles share voxels, at least.
    multiple : int
        Number of which each side that the predictor sees must be a multiple.

    Returns
    -------
    ndarray of float32, shape (K, *size)

    Raises
    ------
    ValueError
        If the numbers of axes differ, or an overlap is not below its tile's side.

    Notes
    -----
    Tiles lie wholly inside the image, so each sees its true neighbours; only an axis that is shorter than one
    tile, or no multiple of `multiple`, is continued by reflection, at its end. Along each axis the weights of
    the tiles over a voxel add up to one, and so do their products over all axes: a predictor that works voxel
    by voxel is reproduced to rounding.
    """
    slabs = predict_slabs(
        predictor,
        lambda first, last: image[:, first:last],
        size=image.shape[1:],
        tile=tile,
        overlap=overlap,
        multiple=multiple,
    )
    return np.concatenate(list(slabs), axis=1)


def predict_slabs(
    predictor: Predictor,
    read: Callable[[int, int], np.ndarray],
    *,
    size: Sequence[int],
    tile: Sequence[int],
    overlap: Sequence[int],
    multiple: int = 1,
) -> Iterator[np.ndarray]:
    """Do what `predict_tiled` does, slab by slab along the first axis: no more than one layer of tiles is held.

    Parameters
    ----------
    predictor, tile, overlap, multiple
        As in `predict_tiled`.
    read : callable
        From ``first`` and ``last`` to the planes ``(C, last - first, …)`` of the image. Neither ever falls.
    size : sequence of int
        Of the whole image, without channels.

    Yields
    ------
    ndarray of float32, shape (K, planes, …)
        From the first plane to the last, to the bit what `predict_tiled` gives.

    Raises
    ------
    ValueError
        As `predict_tiled`.
    """
    sides = _sides(size, tile, overlap, multiple)
    padded = [max(side, n) for side, n in zip(sides, size, strict=True)]
    starts = [tile_starts(n, side, share) for n, side, share in zip(padded, sides, overlap, strict=True)]
    weights = [blend_weights(n, side, begin) for n, side, begin in zip(padded, sides, starts, strict=True)]
    total: np.ndarray | None = None
    for row, first in enumerate(starts[0]):
        planes = read(first, min(first + sides[0], size[0]))
        short = [sides[0] - planes.shape[1], *(p - n for p, n in zip(padded[1:], size[1:], strict=True))]
        layer = _reflect_end(planes, short) if any(short) else planes
        for corner, window in _windows(starts[1:], sides[1:]):
            answer = predictor(np.ascontiguousarray(layer[(slice(None), slice(None), *window)]))
            if total is None:
                total = np.zeros((answer.shape[0], *layer.shape[1:]), np.float64)
            share = weights[0][row]
            for axis, position in enumerate(corner, start=1):
                share = np.multiply.outer(share, weights[axis][position])
            total[(slice(None), slice(None), *window)] += answer * share
        assert total is not None
        done = (starts[0][row + 1] if row + 1 < len(starts[0]) else size[0]) - first
        yield total[(slice(None), slice(done), *(slice(n) for n in size[1:]))].astype(np.float32)
        total = np.concatenate([total[:, done:], np.zeros_like(total[:, :done])], axis=1)


def _sides(size: Sequence[int], tile: Sequence[int], overlap: Sequence[int], multiple: int) -> list[int]:
    """Return the sides of a tile, checked."""
    if not len(size) == len(tile) == len(overlap):
        raise ValueError(f"image has {len(size)} axes, tile {len(tile)} and overlap {len(overlap)}; give equally many")
    for wanted, side in zip(overlap, tile, strict=True):
        _check_overlap(wanted, side)
    return [min(_round_up(t, multiple), _round_up(n, multiple)) for t, n in zip(tile, size, strict=True)]


def tile_starts(size: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles begin along an axis, so that they cover it, evenly spread, and share `overlap`."""
    # A volume thinner than the overlap is one tile all the same.
    if size <= tile:
        return [0]
    _check_overlap(overlap, tile)
    count = -(-(size - overlap) // (tile - overlap))
    return [round(i * (size - tile) / (count - 1)) for i in range(count)]


def blend_weights(size: int, tile: int, starts: Sequence[int]) -> np.ndarray:
    """Return ``(len(starts), tile)`` Gaussian weights that add up to one at each of `size` positions."""
    bell = np.exp(-0.5 * ((np.arange(tile) - (tile - 1) / 2) / (tile / 8)) ** 2)
    total = np.zeros(size)
    for start in starts:
        total[start : start + tile] += bell
    return np.stack([bell / total[start : start + tile] for start in starts])


def _check_overlap(overlap: int, tile: int) -> None:
    if not 0 <= overlap < tile:
        raise ValueError(f"overlap is {overlap}; give 0 or more and less than the tile's side, {tile}")


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _reflect_end(image: np.ndarray, amounts: Sequence[int]) -> np.ndarray:
    return np.pad(image, [(0, 0), *((0, amount) for amount in amounts)], mode="symmetric")


def _windows(starts: Sequence[Sequence[int]], sides: Sequence[int]) -> Iterator[Window]:
    for corner in product(*(range(len(begin)) for begin in starts)):
        yield (
            corner,
            tuple(slice(begin[i], begin[i] + side) for begin, i, side in zip(starts, corner, sides, strict=True)),
        )
