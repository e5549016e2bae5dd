"""Loops over all voxels of a layered volume, column by column; axis 0 runs inwards from the MPL's free side."""

from typing import Any

import numba
import numpy as np

__all__ = ["count_between", "find_kept", "mark_substrate_pores", "scan_columns", "write_strays"]

FIBRE, MPL, STRAY = 1, 2, 3
SUBSTRATE_PORE = 4


@numba.njit(cache=True)
def scan_columns(classes: Any) -> tuple[Any, Any]:
    """Count classes in each slice, and find the ends of each column.

    Parameters
    ----------
    classes : ndarray of uint8, shape (Z, A, B)
        0 pore, 1 fibre, 2 MPL, 3 MPL that does not belong to the layer.

    Returns
    -------
    profile : ndarray of int64, shape (Z, 4)
        Voxels of each class in each slice.
    columns : ndarray of int32, shape (5, A, B)
        Number of MPL voxels, the first of them and one after the last, the first solid voxel and one after the last;
        the first is Z and the last 0 where there is none.
    """
    nz, na, nb = classes.shape
    profile = np.zeros((nz, 4), np.int64)
    columns = np.zeros((5, na, nb), np.int32)
    columns[1] = nz
    columns[3] = nz
    for z in range(nz):
        for a in range(na):
            for b in range(nb):
                here = classes[z, a, b]
                profile[z, here] += 1
                if here == 0:
                    continue
                columns[3, a, b] = min(columns[3, a, b], z)
                columns[4, a, b] = z + 1
                if here == MPL:
                    columns[0, a, b] += 1
                    columns[1, a, b] = min(columns[1, a, b], z)
                    columns[2, a, b] = z + 1
    return profile, columns


@numba.njit(cache=True)
def count_between(classes: Any, wanted: int, low: Any, high: Any) -> Any:
    """Count in each column the voxels of a class with their centre between two heights, shape (A, B)."""
    nz, na, nb = classes.shape
    counts = np.zeros((na, nb), np.int32)
    for z in range(max(int(low.min()) - 1, 0), min(int(high.max()) + 1, nz)):
        for a in range(na):
            for b in range(nb):
                if classes[z, a, b] == wanted and low[a, b] <= z + 0.5 < high[a, b]:
                    counts[a, b] += 1
    return counts


@numba.njit(cache=True)
def find_kept(pieces: Any, count: int, first: int, height: Any) -> Any:
    """Tell which pieces have a voxel with its centre above a height, that is at less than it; shape (count + 1,)."""
    nz, na, nb = pieces.shape
    kept = np.zeros(count + 1, np.bool_)
    for z in range(nz):
        for a in range(na):
            for b in range(nb):
                if pieces[z, a, b] > 0 and first + z + 0.5 < height[a, b]:
                    kept[pieces[z, a, b]] = True
    return kept


@numba.njit(cache=True)
def write_strays(classes: Any, pieces: Any, kept: Any) -> int:
    """Mark, in place, the voxels of pieces that are not kept; return how many there are."""
    nz, na, nb = pieces.shape
    found = 0
    for z in range(nz):
        for a in range(na):
            for b in range(nb):
                if pieces[z, a, b] > 0 and not kept[pieces[z, a, b]]:
                    classes[z, a, b] = STRAY
                    found += 1
    return found


@numba.njit(cache=True)
def mark_substrate_pores(classes: Any, height: Any) -> None:
    """Mark, in place, the pores whose centres lie at or beyond a height."""
    nz, na, nb = classes.shape
    for z in range(max(int(height.min()) - 1, 0), nz):
        for a in range(na):
            for b in range(nb):
                if classes[z, a, b] == 0 and z + 0.5 >= height[a, b]:
                    classes[z, a, b] = SUBSTRATE_PORE
