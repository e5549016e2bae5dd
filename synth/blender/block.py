"""The geometry of what a cut leaves standing: a flat face, voxel by voxel, and rounded pore walls behind it."""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np

__all__ = ["CutBlock", "Patch", "cut_block"]

HALO = 4
SIDE_MARGIN = 8
LONGEST_REACH = 96


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
    """

    points: np.ndarray
    corners: np.ndarray
    brightness: np.ndarray


@dataclasses.dataclass(frozen=True)
class CutBlock:
    """The block behind a cut: `face` (flat), `rims` (from its outline half a voxel down) and `walls` (rounded)."""

    face: Patch
    rims: Patch
    walls: Patch


def cut_block(
    labels: np.ndarray,
    z: int,
    brightness: np.ndarray,
    *,
    depth_vox: int,
    tilt_deg: float,
    smoothing_vox: float = 1.0,
    edge: float = 0.0,
) -> CutBlock:
    """Build the surfaces that remain when everything before layer `z` is cut away.

    The outline of the cut face is that of the voxels, exactly; the walls behind it are rounded, but stay between the
    centres of the solid and the pore voxel that they separate. Beyond its sides and its back the volume continues as
    its own mirror image, as far as the camera can see.

    Parameters
    ----------
    labels : (Z, Y, X) uint8
    z : int
        First layer that is left.
    brightness : (L,) float32
        Brightness of each label's cut face.
    depth_vox : int
        Layers to keep.
    tilt_deg : float
        Viewing angle, which sets how far to continue the volume towards +y.
    smoothing_vox, edge : float
        As in `BlenderSettings`.

    Returns
    -------
    CutBlock
        Points in coordinates of `labels`; the cut lies at z.
    """
    reach = min(math.ceil(depth_vox * math.tan(math.radians(tilt_deg))), LONGEST_REACH) + SIDE_MARGIN
    n_y, n_x = labels.shape[1:]
    spans = ((z - HALO, z + depth_vox + HALO), (-SIDE_MARGIN, n_y + reach), (-SIDE_MARGIN, n_x + SIDE_MARGIN))
    block = labels[np.ix_(*(_mirrored(span, n) for span, n in zip(spans, labels.shape, strict=True)))]
    origin = np.array([z, -SIDE_MARGIN, -SIDE_MARGIN], dtype=np.float32)
    inside = _smooth_field(block > 0, smoothing_vox)[HALO : HALO + depth_vox]
    block = block[HALO : HALO + depth_vox]
    return CutBlock(
        face=_face(block[0], brightness, edge, origin),
        rims=_rims(block[0], brightness, origin),
        walls=_walls(inside, block, brightness, origin),
    )


def _mirrored(span: tuple[int, int], size: int) -> np.ndarray:
    """Return indices into an axis of `size` for positions from `span`, reflected at both ends."""
    index = np.arange(*span) % (2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)


def _smooth_field(solid: np.ndarray, sigma: float) -> np.ndarray:
    """Return a smooth float32 field, positive in every solid voxel and negative in every pore voxel."""
    from scipy import ndimage

    field = solid.astype(np.float32)
    if sigma > 0:
        field = ndimage.gaussian_filter(field, sigma, truncate=HALO / max(sigma, 1.0))
    field -= 0.5
    # A thin strut would vanish in the mean of its neighbourhood: every voxel centre keeps its side of the wall.
    return np.where(solid, np.maximum(field, 0.08), np.minimum(field, -0.08))


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


def _walls(inside: np.ndarray, block: np.ndarray, brightness: np.ndarray, origin: np.ndarray) -> Patch:
    from skimage.measure import marching_cubes

    # Row 0 lies on the cut and closes the solid just below its face; row i > 0 is the centre of layer i - 1. The first
    # layer is taken as it is, so that the walls start from the face's own outline.
    first = np.where(block[:1] > 0, np.float32(0.5), np.float32(-0.5))
    field = np.concatenate([np.full_like(first, -0.5), first, inside[1:]])
    if not (field > 0).any():
        return Patch(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros(0, np.float32))
    rows, corners, _, _ = marching_cubes(field, 0.0)
    labelled = np.concatenate([np.zeros_like(block[:1]), block])
    # A point lies between two rows, one of them in the solid: the larger label is that of the solid.
    low, high = (tuple(f(rows).astype(int).T) for f in (np.floor, np.ceil))
    level = brightness[np.maximum(labelled[low], labelled[high])]
    points = rows + np.float32(0.5)
    points[:, 0] = np.where(rows[:, 0] < 1, rows[:, 0] / 2, rows[:, 0] - 0.5)
    return Patch((points + origin).astype(np.float32), corners.astype(np.int32), level)
