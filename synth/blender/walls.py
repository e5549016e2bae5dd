"""Rounded pore walls, in slabs that lie fixed in the material, so that they serve every cut before them."""

import functools
import math
from typing import Any

import numba
import numpy as np

from synth.blender.patch import Patch

__all__ = ["SIDE_MARGIN", "SLAB", "Walls", "mirrored", "reach"]

SLAB = 8
HALO = 4
SIDE_MARGIN = 8
LONGEST_REACH = 96


def reach(depth_vox: int, tilt_deg: float) -> int:
    """Return how far beyond the face, towards +y, the camera sees at the greatest depth, in voxels."""
    return min(math.ceil(depth_vox * math.tan(math.radians(tilt_deg))), LONGEST_REACH)


def mirrored(span: tuple[int, int], size: int) -> np.ndarray:
    """Return indices into an axis of `size` for positions from `span`, reflected at both ends."""
    index = np.arange(*span) % (2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)


class Walls:
    """The surface between solid and pore: rounded, but always between the centres of the two voxels it separates.

    Beyond its sides and its ends the volume continues as its own mirror image. Slab k is the surface between the
    centres of the layers ``k * SLAB`` and ``(k + 1) * SLAB``; it does not depend on any cut.

    Parameters
    ----------
    labels : (Z, Y, X) uint8
    brightness : (L,) float32
        Brightness of each label.
    reach_vox : int
        How far to continue towards +y, beyond the margin on every side.
    smoothing_vox : float
        As in `BlenderSettings`.
    """

    def __init__(
        self, labels: np.ndarray, brightness: np.ndarray, *, reach_vox: int = 0, smoothing_vox: float = 1.0
    ) -> None:
        self.labels, self.brightness, self.sigma = labels, brightness, smoothing_vox
        self.y = mirrored((-SIDE_MARGIN, labels.shape[1] + SIDE_MARGIN + reach_vox), labels.shape[1])
        self.x = mirrored((-SIDE_MARGIN, labels.shape[2] + SIDE_MARGIN), labels.shape[2])
        # Cuts follow each other: what the next one needs was made for one of the last.
        self._fields = functools.lru_cache(maxsize=4)(self._fields_of_slab)

    def behind(self, z: int, depth_vox: int) -> range:
        """Return the slabs that lie whole behind a cut at layer `z`, as far as layer ``z + depth_vox - 1``."""
        # The layer at the cut is not rounded, which the normals feel as far as the next layer's centre.
        first = -(-(z + 2) // SLAB)
        return range(first, max(first, -(-(z + depth_vox - 1) // SLAB)))

    def slab(self, k: int) -> Patch:
        """Return the surface in slab `k`."""
        first = k * SLAB - 1
        inside, layers = self._layers(first, first + SLAB + 3)
        # A layer more on either side, so that the normals at a border agree on both sides of it.
        return self._surface(inside, layers, np.arange(first, first + SLAB + 3) + 0.5, keep=(1, SLAB + 1))

    def top(self, z: int) -> Patch:
        """Return the surface between a cut at layer `z` and the first slab behind it."""
        last = self.behind(z, 1).start * SLAB
        inside, layers = self._layers(z, last + 2)
        # The first layer is taken voxel by voxel, so that the walls start from the outline of the cut face.
        first = np.where(layers[:1] > 0, np.float32(0.5), np.float32(-0.5))
        # The lid is not kept: the cut face covers it. Only the normals along the outline feel it.
        inside = np.concatenate([np.full_like(first, -0.5), first, inside[1:]])
        layers = np.concatenate([np.zeros_like(layers[:1]), layers])
        heights = np.concatenate([[z], np.arange(z, last + 2) + 0.5])
        return self._surface(inside, layers, heights, keep=(1, last - z + 1))

    def _layers(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the smooth field and the labels of some layers."""
        slabs = range(start // SLAB, (stop - 1) // SLAB + 1)
        cut = slice(start - slabs.start * SLAB, stop - slabs.start * SLAB)
        fields, labels = zip(*(self._fields(k) for k in slabs), strict=True)
        return np.concatenate(fields)[cut], np.concatenate(labels)[cut]

    def _fields_of_slab(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return, for layers ``k * SLAB`` to ``(k + 1) * SLAB - 1``, a field positive in the solid, and the labels."""
        from scipy import ndimage

        z = mirrored((k * SLAB - HALO, (k + 1) * SLAB + HALO), len(self.labels))
        labels = self.labels[np.ix_(z, self.y, self.x)]
        field = (labels > 0).astype(np.float32)
        if self.sigma > 0:
            field = ndimage.gaussian_filter(field, self.sigma, truncate=HALO / max(self.sigma, 1.0))
        field, labels = field[HALO:-HALO] - np.float32(0.5), labels[HALO:-HALO]
        # A thin strut would vanish in the mean of its neighbourhood: every voxel centre keeps its side of the wall.
        return np.where(labels > 0, np.maximum(field, 0.08), np.minimum(field, -0.08)), labels

    def _surface(self, inside: np.ndarray, layers: np.ndarray, heights: np.ndarray, *, keep: tuple[int, int]) -> Patch:
        """Return where `inside` is 0 between its rows ``keep[0]`` and ``keep[1]``; row i lies at ``heights[i]``."""
        from skimage.measure import marching_cubes

        if not (inside.min() < 0 < inside.max()):
            return Patch(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros(0, np.float32))
        rows, corners, _, _ = marching_cubes(inside, 0.0)
        points = rows + np.float32(0.5 - SIDE_MARGIN)
        points[:, 0] = np.interp(rows[:, 0], np.arange(len(heights)), heights)
        normals = _normals(points, corners)
        cell = np.floor(rows[corners, 0].mean(axis=1))
        corners = corners[(cell >= keep[0]) & (cell < keep[1])]
        used = np.zeros(len(points), dtype=bool)
        used[corners] = True
        # A point lies between two voxel centres, one of them in the solid: the larger label is that of the solid.
        low, high = (tuple(f(rows[used]).astype(int).T) for f in (np.floor, np.ceil))
        level = self.brightness[np.maximum(layers[low], layers[high])]
        number = np.cumsum(used, dtype=np.int32) - np.int32(1)
        return Patch(points[used], number[corners], level, normals[used])


@numba.njit(cache=True)
def _normals(points: Any, corners: Any) -> Any:
    """Return the unit normals of the points: the mean of their triangles', weighted with the angle there."""
    normals = np.zeros_like(points)
    for f in range(len(corners)):
        for i in range(3):
            here, left, right = corners[f, i], corners[f, (i + 1) % 3], corners[f, (i + 2) % 3]
            az, bz = points[left, 0] - points[here, 0], points[right, 0] - points[here, 0]
            ay, by = points[left, 1] - points[here, 1], points[right, 1] - points[here, 1]
            ax, bx = points[left, 2] - points[here, 2], points[right, 2] - points[here, 2]
            nz, ny, nx = ax * by - ay * bx, az * bx - ax * bz, ay * bz - az * by
            area = math.sqrt(nz * nz + ny * ny + nx * nx)
            if area > 0:
                weight = math.atan2(area, az * bz + ay * by + ax * bx) / area
                normals[here, 0] += weight * nz
                normals[here, 1] += weight * ny
                normals[here, 2] += weight * nx
    for v in range(len(normals)):
        length = math.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        if length > 0:
            for k in range(3):
                normals[v, k] /= length
    return normals
