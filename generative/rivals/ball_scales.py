"""By what factor all balls must grow or shrink before they reach a voxel."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from synth.stamping import span
from synth.threads import in_threads, slabs

__all__ = ["lower_scales"]


def lower_scales(
    scales: NDArray[np.float32],
    centres: NDArray[np.float64],
    radii: NDArray[np.float64],
    *,
    most: float,
    periodic: bool,
) -> None:
    """Lower each voxel of `scales`, in place, to the least distance from a ball's centre in units of its radius.

    Parameters
    ----------
    scales : ndarray of float32, shape (Z, Y, X)
        What earlier balls have left; infinite to begin with.
    centres, radii : ndarray, shape (N, 3) and (N,)
        In voxels; voxel *i* spans [i, i + 1), and its distance is that of its middle.
    most : float
        Larger values are not looked for.
    periodic : bool
        Wrap around the box.
    """

    def lower(part: tuple[int, int]) -> None:
        _lower(scales, centres, radii, float(most), bool(periodic), part)

    in_threads(lower, slabs(scales.shape))


@numba.njit(cache=True, nogil=True)
def _lower(scales: Any, centres: Any, radii: Any, most: float, periodic: bool, part: Any) -> None:
    nz, ny, nx = scales.shape
    for i in range(radii.shape[0]):
        cz, cy, cx = centres[i, 0], centres[i, 1], centres[i, 2]
        reach, unit = radii[i] * most, 1 / radii[i]
        z0, z1 = span(cz, reach, nz, periodic)
        if not periodic:
            z0, z1 = max(z0, part[0]), min(z1, part[1] - 1)
        for z in range(z0, z1 + 1):
            if not part[0] <= z % nz < part[1]:
                continue
            left = reach * reach - (z + 0.5 - cz) ** 2
            y0, y1 = span(cy, np.sqrt(max(left, 0.0)), ny, periodic)
            for y in range(y0, y1 + 1):
                across = (z + 0.5 - cz) ** 2 + (y + 0.5 - cy) ** 2
                x0, x1 = span(cx, np.sqrt(max(reach * reach - across, 0.0)), nx, periodic)
                row = scales[z % nz, y % ny]
                for x in range(x0, x1 + 1):
                    scale = np.float32(np.sqrt(across + (x + 0.5 - cx) ** 2) * unit)
                    at = x % nx
                    row[at] = min(row[at], scale)
