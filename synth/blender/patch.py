"""Polygons with one brightness a corner point: what Blender is given to render."""

import dataclasses

import numpy as np

__all__ = ["Patch"]


@dataclasses.dataclass(frozen=True)
class Patch:
    """Polygons with one brightness a corner point.

    Attributes
    ----------
    points : (V, 3) float32
        Corner points (z, y, x) in voxels of the whole volume; voxel (0, 0, 0) spans 0 to 1.
    corners : (F, 3) or (F, 4) int32
        Point indices of each triangle or quadrilateral.
    brightness : (V,) float32
    normals : (V, 3) float32, optional
        Unit normals (z, y, x) for shading, out of the solid. Default: those of the polygons.
    """

    points: np.ndarray
    corners: np.ndarray
    brightness: np.ndarray
    normals: np.ndarray | None = None
