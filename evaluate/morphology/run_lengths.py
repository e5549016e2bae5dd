"""Runs of voxels along an axis, counted by their lengths; compiled."""

import numba
import numpy as np

__all__ = ["COMPLETE", "CUT", "SPANNING", "count_runs"]

# Rows of the counts: runs with both ends in the window, with one, with none.
COMPLETE, CUT, SPANNING = 0, 1, 2


@numba.njit(cache=True, nogil=True)
def count_runs(lines, periodic):
    """Count the runs of True along the middle axis by length.

    Parameters
    ----------
    lines : ndarray of bool, shape (A, N, B)
    periodic : bool
        Let a line go on at its beginning.

    Returns
    -------
    ndarray of int64, shape (3, N + 1)
        Runs of each length: `COMPLETE`, `CUT` at one border, `SPANNING` the whole line.
    """
    many, n, wide = lines.shape
    counts = np.zeros((3, n + 1), np.int64)
    length = np.zeros(wide, np.int32)
    head = np.zeros(wide, np.int32)
    for a in range(many):
        length[:] = 0
        head[:] = 0
        for i in range(n):
            for b in range(wide):
                if lines[a, i, b]:
                    length[b] += 1
                elif length[b] > 0:
                    if length[b] == i:
                        head[b] = i
                    else:
                        counts[COMPLETE, length[b]] += 1
                    length[b] = 0
        for b in range(wide):
            if length[b] == n:
                counts[SPANNING, n] += 1
            elif periodic:
                counts[COMPLETE, head[b] + length[b]] += 1
            else:
                counts[CUT, head[b]] += 1
                counts[CUT, length[b]] += 1
    counts[:, 0] = 0
    return counts
