"""Compiled search of windows for the one that differs least from a patch: bounds from counts, then every bit."""

from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic

__all__ = ["search"]

Array = np.ndarray
Index = np.uint64
# Counts that are summed before a row of cells is given up.
GROUP = 16
# Cells of a row that are looked at together where one of them cannot be ruled out.
RUN = 16


def _count_ones(_: Any, word: Any) -> Any:  # pragma: no cover - compiled
    """Count the bits that are set."""

    def generate(__: Any, builder: Any, ___: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return word(word), generate


_ones: Any = intrinsic(_count_ones)


@numba.njit(cache=True)
def _bound_of_row(
    least: Array, most: Array, mine: Array, cubes: Array, at: tuple[int, int, int], limit: int, total: Array
) -> bool:  # pragma: no cover - compiled
    """Sum into `total` what the counts along a row differ at least; False if nothing stays below `limit`."""
    # Unsigned indices, here and below, spare the compiler the question whether they count from the end.
    n = Index(total.size)
    total[:] = 0
    for k in range(Index(mine.shape[0])):
        for block in range(Index(mine.shape[1])):
            z, y, x = Index(at[0] + cubes[block, 0]), Index(at[1] + cubes[block, 1]), Index(at[2] + cubes[block, 2])
            count = mine[k, block]
            for i in range(n):
                below, above = np.int32(least[k, z, y, x + i] - count), np.int32(count - most[k, z, y, x + i])
                total[i] = np.int32(total[i] + max(max(below, above), np.int32(0)))
            if block % GROUP == GROUP - 1:
                nearest = total[0]
                for i in range(n):
                    nearest = min(nearest, total[i])
                if nearest >= limit:
                    return False
    return True


@numba.njit(cache=True)
def _voxels_that_differ(
    words: Array, mine: Array, masks: Array, at: tuple[int, int, int], limit: int
) -> int:  # pragma: no cover - compiled
    """Count the voxels in which one window differs, no further than `limit`."""
    planes, bits, depth, height = mine.shape
    z, y = Index(at[0]), Index(at[1])
    total = 0
    for i in range(Index(depth)):
        found = np.uint32(0)
        for word in range(Index(bits)):
            x = Index(at[2] + 32 * word)
            if planes == 1:
                for j in range(Index(height)):
                    differ = words[0, z + i, x, y + j] ^ mine[0, word, i, j]
                    found = np.uint32(found + _ones(np.uint32(differ & masks[word])))
            else:
                for j in range(Index(height)):
                    # Two planes without a loop, for the compiler to take several words at once.
                    differ = words[0, z + i, x, y + j] ^ mine[0, word, i, j]
                    differ |= words[1, z + i, x, y + j] ^ mine[1, word, i, j]
                    for plane in range(2, planes):
                        differ |= words[plane, z + i, x, y + j] ^ mine[plane, word, i, j]
                    found = np.uint32(found + _ones(np.uint32(differ & masks[word])))
        total += found
        if total >= limit:
            return limit
    return total


@numba.njit(cache=True)
def _search_row(
    words: Array,
    mine: Array,
    masks: Array,
    at: tuple[int, int, int],
    barred: Array,
    total: Array,
    best: Array,
    copy: int,
) -> None:  # pragma: no cover - compiled
    """Count the voxels of the windows along a row that `total`, twice their least distance, does not rule out."""
    shut = barred[0, 0] <= at[0] < barred[0, 1] and barred[1, 0] <= at[1] < barred[1, 1]
    for x in range(at[2], at[2] + total.size):
        if total[x - at[2]] >= 2 * best[0] or (shut and barred[2, 0] <= x < barred[2, 1]):
            continue
        distance = _voxels_that_differ(words, mine, masks, (at[0], at[1], x), best[0])
        if distance < best[0]:
            best[0], best[1], best[2], best[3], best[4] = distance, at[0], at[1], x, copy


@numba.njit(cache=True, parallel=True)
def search(
    block: tuple[Array, Array, Array, Array], patches: tuple[Array, Array], masks: Array, barred: Array,
    extent: tuple[int, int, int], cubes: Array, best: Array,
) -> None:  # pragma: no cover - compiled  # fmt: skip
    """Look for windows nearer to each patch than its best so far.

    Parameters
    ----------
    block : tuple of ndarray
        ``low, high`` (K, cells…) int32: least and largest count of label k in the cubes that begin in a cell of
        2 × 2 × 2 voxels; ``counts`` (K, z, y, x) int32: that of the cube which begins at each voxel; ``words``
        (planes, z, x, y) uint32: bit i is the voxel at x + i.
    patches : tuple of ndarray
        Counts (n, copies, K, cubes) int32 and words (n, copies, planes, words, z, y) uint32 of every copy.
    masks : ndarray of uint32
        Which bits of each word belong to the patch.
    barred : ndarray, shape (n, 3, 2)
        Translations from, to (exclusive) along each axis that are not looked at.
    extent : tuple of int
        Number of translations along each axis.
    cubes : ndarray of int64, shape (cubes, 3)
        Where in a patch each cube begins, even numbers of voxels.
    best : ndarray of int64, shape (n, 5)
        Voxels that differ, z, y, x, copy; overwritten where something nearer is found.
    """
    low, high, counts, words = block
    cells = ((extent[0] + 1) // 2, (extent[1] + 1) // 2, (extent[2] + 1) // 2)
    # Twice the distance is at least the sum over all labels; of two labels one is counted, and its sum doubled.
    share = 1 if counts.shape[0] > 1 else 2
    in_cells = cubes // 2
    for patch in numba.prange(best.shape[0]):
        of_cells, of_voxels = np.empty(cells[2], np.int32), np.empty(2 * RUN, np.int32)
        mine = best[patch]
        for row in range(cells[0] * cells[1]):
            z, y = row // cells[1], row % cells[1]
            for copy in range(patches[0].shape[1]):
                known = patches[0][patch, copy]
                if not _bound_of_row(low, high, known, in_cells, (z, y, 0), -(-2 * mine[0] // share), of_cells):
                    continue
                x = 0
                while x < cells[2]:
                    if share * of_cells[x] >= 2 * mine[0]:
                        x += 1
                        continue
                    total = of_voxels[: min(2 * RUN, extent[2] - 2 * x)]
                    for corner in range(4):
                        at = (2 * z + corner // 2, 2 * y + corner % 2, 2 * x)
                        if at[0] >= extent[0] or at[1] >= extent[1]:
                            continue
                        if _bound_of_row(counts, counts, known, cubes, at, -(-2 * mine[0] // share), total):
                            total *= share
                            _search_row(words, patches[1][patch, copy], masks, at, barred[patch], total, mine, copy)
                    x += RUN
