"""Compiled flooding that splits a phase at its necks."""

import math
from typing import Any

import numba
import numpy as np

__all__ = ["split_at_necks"]


@numba.njit(cache=True)
def split_at_necks(radius2: Any, order: Any, neck: float, step: float) -> Any:
    """Flood a phase from the middles of its pores outwards and give each voxel its pore, from 1; 0 is outside.

    `order` holds the flat indices of the phase in descending order of `radius2`. Two pores that meet stay apart if the
    radius where they do is below `neck` times the smaller one's, and by more than `step`.
    """
    values = radius2.ravel()
    labels = np.zeros(values.size, np.uint32)
    # Entry i: the pore that pore i went up in, and its largest radius.
    parent, peak = [0], [0.0]
    for i in order:
        best = _joined(labels, values, radius2.shape, i, (parent, peak), (neck, step))
        if best == 0:
            best = len(parent)
            parent.append(best)
            peak.append(math.sqrt(values[i]))
        labels[i] = best
    for i in order:
        labels[i] = _root(parent, labels[i])
    return labels.reshape(radius2.shape)


@numba.njit(cache=True)
def _joined(labels: Any, values: Any, shape: Any, i: int, pores: Any, limits: Any) -> int:
    """Join the pores that meet at a voxel, unless it is a neck, and return the one it belongs to; 0: none yet."""
    parent, peak = pores
    neck, step = limits
    here = math.sqrt(values[i])
    nz, ny, nx = shape
    z, y, x = i // (ny * nx), i // nx % ny, i % nx
    best, best_value = 0, 0.0
    for c in range(max(z - 1, 0), min(z + 2, nz)):
        for b in range(max(y - 1, 0), min(y + 2, ny)):
            for a in range(max(x - 1, 0), min(x + 2, nx)):
                j = (c * ny + b) * nx + a
                if labels[j] == 0:
                    continue
                other = _root(parent, labels[j])
                if best == 0:
                    best, best_value = other, values[j]
                elif other != best:
                    low, high = (other, best) if (peak[other], -other) < (peak[best], -best) else (best, other)
                    if here >= neck * peak[low] or peak[low] - here < step:
                        parent[low] = high
                        best, best_value = high, max(best_value, values[j])
                    elif values[j] > best_value:
                        best, best_value = other, values[j]
    return best


@numba.njit(cache=True)
def _root(parent: Any, label: int) -> int:
    root = label
    while parent[root] != root:
        root = parent[root]
    while parent[label] != root:
        parent[label], label = root, parent[label]
    return root
