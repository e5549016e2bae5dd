"""Along which axis a stack was cut: each slice has its own brightness, and its neighbours in the other axes do not."""

import itertools
from typing import Any

import numpy as np

__all__ = ["slicing_axis"]

# Voxels along each axis that are looked at, and the fewest that tell anything.
MOST, LEAST = 128, 24
SLAB = 16
# In standard deviations of the volume: what counts as a jump, and how far it must stand out of the other axes'.
JUMP, TIMES = 0.03, 3.0


def slicing_axis(grey: Any) -> int | None:
    """Return the axis along which brightness jumps from plane to plane, as it does from slice to slice of a FIB-SEM.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values of any scale; what has ``shape``, ``dtype`` and slices is not read as a whole.

    Returns
    -------
    0, 1, 2 or None
        None where no axis stands out: in tomograms, where slices were evened out, and where a side is below 24 voxels.

    Notes
    -----
    Of the middle 128³ voxels, cut into quarters along an axis, each quarter tells the change of brightness from plane
    to plane: the median over its pixels, which hardly feels the structure, less that of the plane before. A change of
    the whole slice is common to all quarters, that of a stripe or a grain is not: the jump is the root of the least
    covariance of two quarters.
    """
    shape = tuple(grey.shape)
    if len(shape) != 3 or min(shape) < LEAST:
        return None
    window = [slice((n - min(n, MOST)) // 2, (n + min(n, MOST)) // 2) for n in shape]
    planes = range(window[0].start, window[0].stop)
    slabs = [slice(first, min(first + SLAB, planes.stop)) for first in planes[::SLAB]]
    block = np.concatenate([np.asarray(grey[slab])[:, window[1], window[2]].astype(np.float32) for slab in slabs])
    spread = float(block.std(dtype=np.float64))
    if spread == 0:
        return None
    jumps = [_jump(np.moveaxis(block, axis, 0)) / spread for axis in range(3)]
    first, *others = np.argsort(jumps)[::-1].tolist()
    return first if jumps[first] > max(JUMP, TIMES * jumps[others[0]]) else None


def _jump(planes: np.ndarray) -> float:
    steps = np.diff(planes, axis=0)
    rows, columns = (n // 2 for n in planes.shape[1:])
    quarters = [
        np.diff(np.median(steps[:, y, x].reshape(len(steps), -1), axis=1))
        for y in (slice(rows), slice(rows, None))
        for x in (slice(columns), slice(columns, None))
    ]
    return float(np.sqrt(max(0.0, min(float(np.mean(a * b)) for a, b in itertools.combinations(quarters, 2)))))
