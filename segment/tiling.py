"""Prediction in overlapping tiles, blended so that no seam is left."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = [
    "blend_weights",
    "fitted_tile",
    "layers_of_tiles",
    "planes_read",
    "predict_slabs",
    "predict_tiled",
    "tile_starts",
]

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
    tile, or no multiple of `multiple`, is continued by reflection, at its end. They begin at multiples of it, so that
    a network that pools sees the grid that it would see without tiles, and away from borders answers the same. Along
    each axis the weights of the tiles over a voxel add up to one, and so do their products over all axes: a predictor
    that works voxel by voxel is reproduced to rounding.
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
    planes: tuple[int, int] | None = None,
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
    planes : (int, int), optional
        First plane that is wanted and the one after the last; all by default. Tiles lie where they lie in the whole
        image, so that a plane's numbers do not depend on which others are wanted, to the bit.

    Yields
    ------
    ndarray of float32, shape (K, planes, …)
        From the first plane to the last, to the bit what `predict_tiled` gives; cut where `layers_of_tiles` says.

    Raises
    ------
    ValueError
        As `predict_tiled`.
    """
    sides = _sides(size, tile, overlap, multiple)
    padded = [_round_up(n, multiple) for n in size]
    starts = [tile_starts(n, side, share, multiple) for n, side, share in zip(padded, sides, overlap, strict=True)]
    weights = [
        blend_weights(n, side, begin).astype(np.float32) for n, side, begin in zip(padded, sides, starts, strict=True)
    ]
    begin, end = planes or (0, size[0])
    total: np.ndarray | None = None
    for row, first in enumerate(starts[0]):
        after = starts[0][row + 1] if row + 1 < len(starts[0]) else size[0]
        if first + sides[0] <= begin or first >= end:
            continue
        held = read(first, min(first + sides[0], size[0]))
        short = [sides[0] - held.shape[1], *(p - n for p, n in zip(padded[1:], size[1:], strict=True))]
        layer = _reflect_end(held, short) if any(short) else held
        for corner, window in _windows(starts[1:], sides[1:]):
            answer = predictor(np.ascontiguousarray(layer[(slice(None), slice(None), *window)]))
            if total is None:
                total = np.zeros((answer.shape[0], *layer.shape[1:]), np.float32)
            total[(slice(None), slice(None), *window)] += _weighted(answer, weights, (row, *corner))
        assert total is not None
        kept = slice(max(0, begin - first), min(after, end) - first)
        if kept.start < kept.stop:
            yield total[(slice(None), kept, *(slice(n) for n in size[1:]))].copy()
        _move_up(total, after - first)


def _weighted(answer: np.ndarray, weights: Sequence[np.ndarray], corner: Sequence[int]) -> np.ndarray:
    """Return what the tile at `corner` adds to the sum."""
    share = weights[0][corner[0]]
    for axis, position in enumerate(corner[1:], start=1):
        share = np.multiply.outer(share, weights[axis][position])
    return np.multiply(answer, share, dtype=np.float32)


def _move_up(total: np.ndarray, planes: int) -> None:
    """Drop the first planes, in place, and append as many zeros; plane by plane, for a copy of all is too large."""
    for to in range(total.shape[1]):
        total[:, to] = total[:, to + planes] if to + planes < total.shape[1] else 0


def layers_of_tiles(tiles: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the first plane of each slab that `predict_slabs` yields, and the one after its last.

    Parameters
    ----------
    tiles : mapping
        Its keywords ``size``, ``tile``, ``overlap`` and ``multiple``.
    """
    starts, _ = _along_planes(tiles)
    return list(itertools.pairwise([*starts, tiles["size"][0]]))


def planes_read(tiles: Mapping[str, Any], planes: tuple[int, int]) -> tuple[int, int]:
    """Return which planes `predict_slabs` reads for `planes`: the first, and the one after the last.

    Parameters
    ----------
    tiles : mapping
        Its keywords ``size``, ``tile``, ``overlap`` and ``multiple``.
    planes : (int, int)
        First plane that is wanted and the one after the last.
    """
    starts, side = _along_planes(tiles)
    seen = [first for first in starts if first + side > planes[0] and first < planes[1]]
    return seen[0], min(seen[-1] + side, tiles["size"][0])


def _along_planes(tiles: Mapping[str, Any]) -> tuple[list[int], int]:
    """Return where tiles begin along the first axis, and their side."""
    size = tiles["size"][0]
    side = _sides(size=tiles["size"], **{key: tiles[key] for key in ("tile", "overlap", "multiple")})[0]
    multiple = tiles["multiple"]
    return tile_starts(_round_up(size, multiple), side, tiles["overlap"][0], multiple), side


def fitted_tile(size: int, most: int, overlap: int, multiple: int = 1) -> int:
    """Return the least side of tiles that cover an axis in as few of them as sides of `most` need.

    Tiles of side `most` would be pushed together until the last one ends with the axis, and what they share beyond
    `overlap` is predicted twice for nothing.
    """
    if size <= most:
        return size
    _check_overlap(overlap, most)
    n, shared = -(-size // multiple), -(-overlap // multiple)
    count = len(tile_starts(n * multiple, most, overlap, multiple))
    return multiple * min(most // multiple, -(-(n + (count - 1) * shared) // count))


def _sides(size: Sequence[int], tile: Sequence[int], overlap: Sequence[int], multiple: int) -> list[int]:
    """Return the sides of a tile, checked."""
    if not len(size) == len(tile) == len(overlap):
        raise ValueError(f"image has {len(size)} axes, tile {len(tile)} and overlap {len(overlap)}; give equally many")
    for wanted, side in zip(overlap, tile, strict=True):
        _check_overlap(wanted, side)
    return [min(_round_up(t, multiple), _round_up(n, multiple)) for t, n in zip(tile, size, strict=True)]


def tile_starts(size: int, tile: int, overlap: int, multiple: int = 1) -> list[int]:
    """Return where tiles begin along an axis, so that they cover it, evenly spread, and share `overlap`.

    With a `multiple`, of which `size` and `tile` must be multiples, they begin at multiples of it.
    """
    # A volume thinner than the overlap is one tile all the same.
    if size <= tile:
        return [0]
    _check_overlap(overlap, tile)
    n, side = size // multiple, tile // multiple
    # Of tiles that share all but a last few voxels, rounding must leave one step.
    shared = min(-(-overlap // multiple), side - 1)
    count = -(-(n - shared) // (side - shared))
    return [multiple * round(i * (n - side) / (count - 1)) for i in range(count)]


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
    for corner in itertools.product(*(range(len(begin)) for begin in starts)):
        yield (
            corner,
            tuple(slice(begin[i], begin[i] + side) for begin, i, side in zip(starts, corner, sides, strict=True)),
        )
