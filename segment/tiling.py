"""Prediction in overlapping tiles, blended so that no seam is left."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np

__all__ = ["blend_weights", "predict_tiled", "tile_starts"]

# A tile's number along each axis, and where it lies.
Window = tuple[tuple[int, ...], tuple[slice, ...]]


def predict_tiled(
    predictor: Callable[[np.ndarray], np.ndarray],
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
    size = image.shape[1:]
    if not len(size) == len(tile) == len(overlap):
        raise ValueError(f"image has {len(size)} axes, tile {len(tile)} and overlap {len(overlap)}; give equally many")
    for wanted, side in zip(overlap, tile, strict=True):
        _check_overlap(wanted, side)
    sides = [min(_round_up(t, multiple), _round_up(n, multiple)) for t, n in zip(tile, size, strict=True)]
    short = [max(0, side - n) for side, n in zip(sides, size, strict=True)]
    padded = _reflect_end(image, short) if any(short) else image
    starts = [tile_starts(n, side, share) for n, side, share in zip(padded.shape[1:], sides, overlap, strict=True)]
    weights = [blend_weights(n, side, begin) for n, side, begin in zip(padded.shape[1:], sides, starts, strict=True)]
    result: np.ndarray | None = None
    for corner, window in _windows(starts, sides):
        answer = predictor(np.ascontiguousarray(padded[(slice(None), *window)]))
        if result is None:
            result = np.zeros((answer.shape[0], *padded.shape[1:]), np.float64)
        share = np.ones(())
        for axis, position in enumerate(corner):
            share = np.multiply.outer(share, weights[axis][position])
        result[(slice(None), *window)] += answer * share
    assembled = result if result is not None else np.empty((0, *padded.shape[1:]))
    return assembled[(slice(None), *(slice(0, n) for n in size))].astype(np.float32)


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
