"""Compiled count of the voxels of labelled parts."""

from typing import Any

import numba
import numpy as np

__all__ = ["renumber", "tally"]


@numba.njit(cache=True)
def tally(labels: Any, count: int) -> Any:
    """Return, for labels 0 to `count`, how many voxels each has and the flat index of its first one (-1: none)."""
    voxels, first = np.zeros(count + 1, np.int64), np.full(count + 1, -1, np.int64)
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                label = labels[z, y, x]
                if voxels[label] == 0:
                    first[label] = (z * ny + y) * nx + x
                voxels[label] += 1
    return voxels, first


@numba.njit(cache=True)
def renumber(labels: Any, number_of: Any, out: Any) -> None:
    """Write ``number_of[labels]`` into `out`."""
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                out[z, y, x] = number_of[labels[z, y, x]]
