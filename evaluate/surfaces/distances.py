"""How far apart two surfaces or point sets are: on average (Chamfer) and at worst (Hausdorff)."""

from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from evaluate.accepted_input import as_whole_number
from evaluate.surfaces.mesh import Mesh

__all__ = ["chamfer", "hausdorff"]

ANCHORS_PER_MESH = 100_000
CANDIDATES = 8
POINTS_PER_CHUNK = 20_000


def chamfer(a: Any, b: Any, *, n_points: int = 20_000, rng: np.random.Generator | int = 0) -> float:
    r"""Chamfer distance: how far a point of one surface is from the other, on average.

    Parameters
    ----------
    a, b : Mesh or array_like of shape (N, 3)
        Two surfaces, two point sets, or one of each. Points are used as they are; on a mesh `n_points` are drawn,
        evenly over its area. Both in the same axes, order of components and units.
    n_points : int
        Points drawn on each mesh.
    rng : numpy.random.Generator or int
        Where they are drawn from; the same seed gives the same distance, also with `a` and `b` swapped.

    Returns
    -------
    float
        In the units of the input.

    Raises
    ------
    ValueError
        No points or faces, another shape, NaN or infinite positions, a mesh without area.

    Notes
    -----
    The convention is the mean of the two directed means, of distances that are not squared:

    .. math:: \tfrac12 \left( \overline{d(p, B)}_{p \in A} + \overline{d(p, A)}_{p \in B} \right)

    so that two parallel planes at a distance d give d. Fan et al. [1]_ add squared distances instead.
    The distance to a mesh is the distance to its triangles (the nearest of several near candidates), to a point set
    that to its nearest point. The error of a mesh's mean is that of drawing points: about the spread of the
    distances / sqrt(n_points).

    References
    ----------
    .. [1] H. Fan, H. Su and L. Guibas, A point set generation network for 3D object reconstruction from a single
       image, CVPR 2017, equation 1.
    """
    to_b, to_a = _both_ways(_checked(a, "a"), _checked(b, "b"), n_points, rng, vertices=False)
    return float(to_b.mean() + to_a.mean()) / 2


def hausdorff(
    a: Any, b: Any, *, percentile: float = 100.0, n_points: int = 20_000, rng: np.random.Generator | int = 0
) -> float:
    """Hausdorff distance: how far a point of one surface is from the other, at worst.

    Parameters
    ----------
    a, b, n_points, rng
        As in `chamfer`.
    percentile : float
        Above 0 and up to 100. 100 is the maximum; 95, usual for segmentations, leaves out the farthest 5 %. Of the two
        directions the larger result counts.

    Returns
    -------
    float
        In the units of the input.

    Raises
    ------
    ValueError
        As in `chamfer`, or a percentile out of range.

    Notes
    -----
    For the maximum the vertices of a mesh are measured along with the points drawn, as corners are often
    farthest. On meshes it is a lower bound that rises with `n_points`.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile is {percentile!r}; it must be above 0 and at most 100")
    checked = _checked(a, "a"), _checked(b, "b")
    to_b, to_a = _both_ways(*checked, n_points, rng, vertices=percentile == 100)
    return float(max(np.percentile(to_b, percentile), np.percentile(to_a, percentile)))


Surface = Mesh | np.ndarray


def _checked(surface: Any, name: str) -> Surface:
    if hasattr(surface, "vertices") and hasattr(surface, "faces"):
        mesh = surface if isinstance(surface, Mesh) else Mesh(surface.vertices, surface.faces)
        if not len(mesh.faces) or not _areas(mesh).sum() > 0:
            raise ValueError(f"mesh {name} has no area ({len(mesh.faces)} faces); there is no surface to measure from")
        return mesh
    try:
        points = np.asarray(surface, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is a {type(surface).__name__}; a Mesh or (N, 3) points are accepted") from None
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"{name} has shape {points.shape}; a Mesh or (N, 3) points are accepted")
    if not len(points):
        raise ValueError(f"{name} holds no points; at least one is needed")
    if not np.isfinite(points).all():
        raise ValueError(f"{name} holds NaN or infinite positions; every position must be finite")
    return points


def _both_ways(
    a: Surface, b: Surface, n_points: int, rng: np.random.Generator | int, *, vertices: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the points of `a` to `b` and of those of `b` to `a`."""
    count = as_whole_number(n_points, "n_points", low=1)
    # One seed for both, so that neither depends on which comes first.
    seed = int(np.random.default_rng(rng).integers(2**63 - 1))
    on_a, on_b = (_points_on(s, count, seed, vertices=vertices) for s in (a, b))
    return _distances(on_a, b), _distances(on_b, a)


def _points_on(surface: Surface, count: int, seed: int, *, vertices: bool) -> np.ndarray:
    """Points of a point set, or `count` points spread evenly over a mesh, shape (N, 3)."""
    if isinstance(surface, np.ndarray):
        return surface
    rng = np.random.default_rng(seed)
    areas = _areas(surface)
    face = rng.choice(len(areas), size=count, p=areas / areas.sum())
    u, v = rng.random((2, count, 1))
    beyond = u + v > 1  # the other half of the parallelogram, folded back
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    first, second, third = np.moveaxis(surface.vertices[surface.faces[face]], 1, 0)
    points = first + u * (second - first) + v * (third - first)
    return np.concatenate([points, surface.vertices[np.unique(surface.faces)]]) if vertices else points


def _distances(points: np.ndarray, surface: Surface) -> np.ndarray:
    """Distance of each point to the nearest point of a set or of a mesh's triangles, shape (N,)."""
    if isinstance(surface, np.ndarray):
        return cKDTree(surface).query(points)[0]
    anchors, parents = _anchors(surface)
    tree = cKDTree(anchors)
    corners = surface.vertices[surface.faces]
    nearest = np.empty(len(points))
    for start in range(0, len(points), POINTS_PER_CHUNK):
        chunk = points[start : start + POINTS_PER_CHUNK]
        _, found = tree.query(chunk, k=min(CANDIDATES, len(anchors)))
        candidates = corners[parents[found.reshape(len(chunk), -1)]]  # (N, k, corner, component)
        to_triangles = _point_to_triangle(np.broadcast_to(chunk[:, None], (*candidates.shape[:2], 3)), candidates)
        nearest[start : start + POINTS_PER_CHUNK] = to_triangles.min(axis=1)
    return nearest


def _anchors(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the triangles, large ones cut up, and the face that each belongs to.

    The nearest centre finds the nearest triangle only if no triangle is much larger than the rest.
    """
    corners = mesh.vertices[mesh.faces]
    parents = np.arange(len(corners))
    wanted = max(ANCHORS_PER_MESH, len(corners))
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    # Lengths squared and not areas: needles without area would be cut without end.
    limit = np.sqrt((longest**2).sum() / wanted)
    anchors, owners = [], []
    while len(corners):
        edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
        large = edges.max(axis=1) > 2.0 * limit
        anchors.append(corners[~large].mean(axis=1))
        owners.append(parents[~large])
        corners, parents = _halved(corners[large], edges[large]), np.repeat(parents[large], 2)
    return np.concatenate(anchors), np.concatenate(owners)


def _halved(corners: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Cut each triangle in two across its longest edge, shape (N, 3, 3) to (2 N, 3, 3)."""
    rows = np.arange(len(corners))
    end = edges.argmax(axis=1)  # edge i runs from corner i - 1 to corner i
    p, q, apex = corners[rows, end - 1], corners[rows, end], corners[rows, (end + 1) % 3]
    middle = (p + q) / 2
    return np.stack([p, middle, apex, middle, q, apex], axis=1).reshape(-1, 3, 3)


def _point_to_triangle(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance from points (..., 3) to triangles (..., 3, 3): to the plane if above the inside, else to an edge."""
    a, b, c = (triangles[..., i, :] for i in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=-1)
    to_edges, above_inside = [], length > 0
    for start, end in ((a, b), (b, c), (c, a)):
        edge, offset = end - start, points - start
        squared = np.einsum("...i,...i", edge, edge)
        along = np.einsum("...i,...i", offset, edge) / np.where(squared > 0, squared, 1.0)
        to_edges.append(np.linalg.norm(offset - np.clip(along, 0.0, 1.0)[..., None] * edge, axis=-1))
        above_inside = above_inside & (np.einsum("...i,...i", np.cross(edge, offset), normal) >= 0)
    to_plane = np.abs(np.einsum("...i,...i", points - a, normal)) / np.where(length > 0, length, 1.0)
    return np.where(above_inside, to_plane, np.minimum.reduce(to_edges))


def _areas(mesh: Mesh) -> np.ndarray:
    first, second, third = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return np.linalg.norm(np.cross(second - first, third - first), axis=1) / 2
