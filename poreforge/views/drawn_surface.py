"""From a mesh in voxels to a surface ready to be drawn: simplified, creased, with normals, shade and values."""

import math

import numpy as np

from evaluate.accepted_input import as_whole_number
from poreforge.views.scene import ColourBar, Surface

__all__ = ["Shade", "drawn_surface", "values_at", "within_budget"]

# Sections stand out from the surfaces behind them.
BEHIND_SECTIONS = 0.86
# How deep the shade of narrow places looks around itself, in voxels drawn, and how fast it darkens.
SHADE_REACH = (2.0, 8.0)
SHADE_DEPTH = (0.9, 3.8)
DARKEST = 0.22
# What a flat surface sees of itself at one standard deviation above it.
SHADE_OF_PLANE = 0.159
# Voxels; vertices that do not belong to a plane of the border stay half a voxel away from it.
IN_PLANE = 0.1


class Shade:
    """How much of the sky each place sees, from how much stands around it.

    Parameters
    ----------
    seen : ndarray of bool, shape (Z, Y, X)
        The voxels that stand in the light.
    """

    def __init__(self, seen: np.ndarray) -> None:
        from scipy.ndimage import gaussian_filter

        self.margin = math.ceil(SHADE_REACH[-1])
        padded = np.pad(seen, self.margin).astype(np.float32)
        self.around = [gaussian_filter(padded, reach, mode="constant", truncate=2.5) for reach in SHADE_REACH]

    def __call__(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Return the shade at `points` (z, y, x) in voxels, shape (V,)."""
        from scipy.ndimage import map_coordinates

        light = np.ones(len(points), np.float32)
        for reach, depth, around in zip(SHADE_REACH, SHADE_DEPTH, self.around, strict=True):
            places = points + reach * normals + self.margin - 0.5
            filled = map_coordinates(around, places.T, order=1, mode="nearest")
            light *= np.exp(-depth * np.maximum(filled - SHADE_OF_PLANE, 0))
        return DARKEST + (1 - DARKEST) * light


def within_budget(meshes: list[tuple[np.ndarray, np.ndarray]], most: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each mesh without the vertices that it does not use, and with no more than its part of the triangles."""
    total = sum(len(faces) for _, faces in meshes)
    most = total if most is None else as_whole_number(most, "most_triangles", low=100)
    result = []
    for points, faces in meshes:
        used, renamed = np.unique(faces, return_inverse=True)
        compact = points[used], renamed.reshape(-1, 3).astype(np.int32)
        result.append(_simplified(*compact, most / total) if total > most else compact)
    return result


def _simplified(points: np.ndarray, faces: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    from poreforge.views.pyvista_scene import polydata

    mesh = polydata(points[:, ::-1], faces).decimate(1 - share)
    return np.asarray(mesh.points, np.float32)[:, ::-1], np.asarray(mesh.faces).reshape(-1, 4)[:, 1:].astype(np.int32)


def drawn_surface(
    mesh: tuple[np.ndarray, np.ndarray],
    shape: tuple[int, ...],
    step: tuple[float, float, float],
    shade: Shade,
    *,
    name: str,
    colour: str,
    opacity: float,
    cut: bool,
) -> Surface:
    """Return the surface of a mesh whose vertices are (z, y, x) in voxels of a volume of that shape."""
    points, faces, flat = _with_creases(*mesh, _flat_planes(shape, cut))
    normals = _normals(points * np.array(step, np.float32), faces)
    light = shade(points, normals) * np.where(flat, 1, np.float32(BEHIND_SECTIONS))
    return Surface(
        name=name,
        points=np.ascontiguousarray((points * np.array(step, np.float32))[:, ::-1]),
        faces=faces,
        normals=np.ascontiguousarray(normals[:, ::-1]),
        colour=colour,
        shade=light,
        opacity=opacity,
    )


def _flat_planes(shape: tuple[int, ...], cut: bool) -> list[tuple[int, float]]:
    """Axis and position (in voxels) of the planes that the border and the cut lie in."""
    planes = [(axis, float(end)) for axis, n in enumerate(shape) for end in (0, n)]
    if cut:
        z, y, x = ((n + 1) // 2 for n in shape)
        planes += [(0, float(z)), (1, float(shape[1] - y)), (2, float(x))]
    return planes


def _with_creases(
    points: np.ndarray, faces: np.ndarray, planes: list[tuple[int, float]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the faces in each plane vertices of their own, for true normals; tell which vertices lie in a plane."""
    points = points.copy()
    group = np.zeros(len(faces), dtype=np.int64)
    for number, (axis, position) in enumerate(planes, 1):
        in_plane = (np.abs(points[:, axis] - position) < IN_PLANE)[faces].all(axis=1)
        group[in_plane] = number
        # Simplifying moves vertices a little, which would show on a plane.
        points[faces[in_plane], axis] = position
    keys = faces.astype(np.int64) * (len(planes) + 1) + group[:, None]
    used, renamed = np.unique(keys, return_inverse=True)
    vertex, plane = np.divmod(used, len(planes) + 1)
    return points[vertex], renamed.reshape(-1, 3).astype(np.int32), plane > 0


def _normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Means of the faces' normals, weighted by area, in the components' order (z, y, x), shape (V, 3)."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    # Outward in a frame (x, y, z) is inward in (z, y, x).
    across = -np.cross(b - a, c - a)
    normals = np.stack(
        [sum(np.bincount(faces[:, i], across[:, k], len(points)) for i in range(3)) for k in range(3)], axis=1
    )
    return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)).astype(np.float32)


def values_at(surface: Surface, field: np.ndarray, step: tuple[float, float, float], bar: ColourBar) -> np.ndarray:
    """Where the field just below the surface stands between the ends of the colour bar, shape (V,)."""
    from scipy.ndimage import distance_transform_edt

    # Beyond the objects the nearest value goes on, so that every vertex finds one.
    nearest = distance_transform_edt(np.isnan(field), return_distances=False, return_indices=True)
    filled = field[tuple(nearest)]
    centres = surface.points[:, ::-1] / np.array(step, np.float32) - 0.5 * surface.normals[:, ::-1]
    index = tuple(np.clip(np.floor(centres).astype(np.int64), 0, np.array(field.shape) - 1).T)
    return np.clip((filled[index] - bar.low) / (bar.high - bar.low), 0, 1).astype(np.float32)
