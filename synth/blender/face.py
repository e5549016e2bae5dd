"""The cut face, voxel by voxel, and the band that joins its outline to the rounded pore walls behind it."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from synth.blender.patch import Patch
from synth.blender.walls import SIDE_MARGIN, mirrored

__all__ = ["CutFace", "cut_face"]


@dataclasses.dataclass(frozen=True)
class CutFace:
    """What is made anew at every cut: `face` (flat) and `rims` (from its outline half a voxel down)."""

    face: Patch
    rims: Patch


def cut_face(labels: np.ndarray, z: int, brightness: np.ndarray, *, reach_vox: int = 0, edge: float = 0.0) -> CutFace:
    """Build the flat face that a cut at layer `z` leaves; its outline is that of the voxels, exactly.

    Beyond its sides the face continues as its own mirror image.

    Parameters
    ----------
    labels : (Z, Y, X) uint8
    z : int
        First layer that is left.
    brightness : (L,) float32
        Brightness of each label's cut face.
    reach_vox : int
        How far to continue towards +y, beyond the margin on every side.
    edge : float
        As in `BlenderSettings`.

    Returns
    -------
    CutFace
        Points in coordinates of `labels`; the cut lies at z.
    """
    n_y, n_x = labels.shape[1:]
    y = mirrored((-SIDE_MARGIN, n_y + SIDE_MARGIN + reach_vox), n_y)
    x = mirrored((-SIDE_MARGIN, n_x + SIDE_MARGIN), n_x)
    layer = labels[z][np.ix_(y, x)]
    origin = np.array([z, -SIDE_MARGIN, -SIDE_MARGIN], dtype=np.float32)
    return CutFace(face=_face(layer, brightness, edge, origin), rims=_rims(layer, brightness, origin))


def _face(layer: np.ndarray, brightness: np.ndarray, edge: float, origin: np.ndarray) -> Patch:
    from scipy import ndimage

    y, x = np.nonzero(layer)
    pore_nearby = ndimage.gaussian_filter((layer == 0).astype(np.float32), 1.2)
    at_corner = np.pad(pore_nearby, 1, mode="edge")
    at_corner = (at_corner[1:, 1:] + at_corner[1:, :-1] + at_corner[:-1, 1:] + at_corner[:-1, :-1]) / 4
    y, x = (a[:, None] + np.array(step) for a, step in ((y, [0, 0, 1, 1]), (x, [0, 1, 1, 0])))
    points = np.stack([np.zeros(y.shape), y, x], axis=-1).reshape(-1, 3).astype(np.float32) + origin
    level = brightness[layer[layer > 0]][:, None] * (1 + 2 * edge * at_corner[y, x])
    return Patch(points, np.arange(y.size, dtype=np.int32).reshape(-1, 4), level.ravel().astype(np.float32))


def _rims(layer: np.ndarray, brightness: np.ndarray, origin: np.ndarray) -> Patch:
    """Return the band that joins the voxel outline at the cut to the outline of `_walls` half a voxel deeper.

    The deeper outline runs through the middle of every voxel edge between solid and pore. Each such edge gives a
    triangle down to its middle, each corner of the outline one between its point and the middles of its two edges.
    """
    top, deep = 0.0, 0.5
    triangles, level = [], []
    for axis in (0, 1):
        edges, solid = _outline(layer, axis)
        y, x = np.nonzero(edges)
        start = np.stack([y + 1 - axis, x + axis], axis=-1).astype(np.float32)
        along = np.array([axis, 1 - axis], dtype=np.float32)
        triangles.append(_triangles((start, top), (start + along, top), (start + along / 2, deep)))
        level.append(brightness[solid[edges]])
    for first, second, where, solid in _outline_corners(layer):
        corner = np.argwhere(where) + np.float32(1)
        triangles.append(_triangles((corner, top), (corner + first, deep), (corner + second, deep)))
        level.append(brightness[solid[where]])
    points = np.concatenate(triangles).reshape(-1, 3) + origin
    return Patch(points, np.arange(len(points), dtype=np.int32).reshape(-1, 3), np.repeat(np.concatenate(level), 3))


def _outline(layer: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which neighbours along `axis` are solid beside pore, and the label of the solid one."""
    low, high = (layer[:-1], layer[1:]) if axis == 0 else (layer[:, :-1], layer[:, 1:])
    return (low > 0) != (high > 0), np.maximum(low, high)


def _outline_corners(layer: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the steps from an outline corner to the middles of two of its edges, where that is so, and the solid."""
    across, beside = _outline(layer, 0)[0], _outline(layer, 1)[0]
    arms = [
        (np.array([-0.5, 0], np.float32), beside[:-1]),
        (np.array([0.5, 0], np.float32), beside[1:]),
        (np.array([0, -0.5], np.float32), across[:, :-1]),
        (np.array([0, 0.5], np.float32), across[:, 1:]),
    ]
    crossing = np.logical_and.reduce([there for _, there in arms])
    solid = np.maximum(np.maximum(layer[:-1, :-1], layer[:-1, 1:]), np.maximum(layer[1:, :-1], layer[1:, 1:]))
    for i, j in itertools.combinations(range(4), 2):
        # Where four edges meet, they pair up around two opposite voxels.
        where = arms[i][1] & arms[j][1] & (~crossing | ((i, j) in ((0, 2), (1, 3))))
        yield arms[i][0], arms[j][0], where, solid


def _triangles(*corners: tuple[np.ndarray, float]) -> np.ndarray:
    """Return (N, 3, 3) corner points (z, y, x) from three (N, 2) arrays (y, x) and their depths."""
    points = [np.insert(place, 0, depth, axis=1) for place, depth in corners]
    return np.stack(points, axis=1).astype(np.float32)
