"""How high the surface of a solid stands in each column, seen from one side."""

from typing import NamedTuple

import numpy as np

__all__ = ["HeightMap", "first_solid"]


class HeightMap(NamedTuple):
    """Heights of a surface, outwards.

    Attributes
    ----------
    heights : ndarray of float32, shape (A, B)
        Where `valid`, 0 elsewhere.
    valid : ndarray of bool, shape (A, B)
        Columns that have a surface.
    """

    heights: np.ndarray
    valid: np.ndarray


def first_solid(mask: np.ndarray, *, axis: int, side: str) -> HeightMap:
    """Return how high the outer face of the first solid voxel stands above the far end of the volume, in voxels.

    Parameters
    ----------
    mask : ndarray of bool, shape (Z, Y, X)
        True in the solid.
    axis : int
        The axis along which columns run.
    side : {"low", "high"}
        The end of the axis from which one looks.
    """
    turned = np.moveaxis(mask, axis, 0)
    if side == "high":
        turned = turned[::-1]
    heights = np.zeros(turned.shape[1:], np.float32)
    valid = np.zeros(turned.shape[1:], bool)
    for depth, plane in enumerate(turned):
        new = plane & ~valid
        heights[new] = len(turned) - depth
        valid |= new
        if valid.all():
            break
    return HeightMap(heights, valid)
