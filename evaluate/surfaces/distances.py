"""How far apart two surfaces or point sets are: on average (Chamfer) and at worst (Hausdorff)."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from evaluate.accepted_input import as_whole_number
from evaluate.surfaces.mesh import Mesh

if TYPE_CHECKING:
    from evaluate.surfaces.triangle_tree import TriangleTree

__all__ = ["SearchedMesh", "chamfer", "hausdorff", "three_distances"]


@dataclasses.dataclass(frozen=True, eq=False)
class SearchedMesh:
    """A mesh and what searches on it need, found once however many there are.

    Parameters
    ----------
    mesh : Mesh
    """

    mesh: Mesh

    @functools.cached_property
    def areas(self) -> np.ndarray:
        """Area of each face, shape (F,)."""
        # Too large for floating point is infinite, and refused as such.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(np.linalg.norm(self.mesh.area_vectors, axis=1))

    @functools.cached_property
    def tree(self) -> "TriangleTree":
        """The faces, sorted for searches."""
        from evaluate.surfaces.triangle_tree import TriangleTree

        return TriangleTree.build(self.mesh.vertices[self.mesh.faces])


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
    The distance to a mesh is exactly that to its nearest triangle, to a point set that to its nearest point. The error
    of a mesh's mean is that of drawing points: about the spread of the distances / sqrt(n_points).

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
    if not isinstance(percentile, int | float | np.number) or not 0 < percentile <= 100:
        raise ValueError(f"percentile is {percentile!r}; it must be above 0 and at most 100")
    checked = _checked(a, "a"), _checked(b, "b")
    to_b, to_a = _both_ways(*checked, n_points, rng, vertices=percentile == 100)
    return float(max(np.percentile(to_b, percentile), np.percentile(to_a, percentile)))


def three_distances(
    a: Any, b: Any, *, n_points: int = 20_000, rng: np.random.Generator | int = 0
) -> tuple[float, float, float]:
    """Return the Chamfer, the Hausdorff and the 95 % Hausdorff distance from one search; arguments as in `chamfer`.

    A mesh that is compared with many may be a `SearchedMesh`.
    """
    first, second = _checked(a, "a"), _checked(b, "b")
    measured = _both_ways(first, second, n_points, rng, vertices=True)
    # The points drawn come first, the vertices of a mesh after them.
    drawn = [
        distances[: n_points if isinstance(surface, SearchedMesh) else None]
        for distances, surface in zip(measured, (first, second), strict=True)
    ]
    on_average = float(drawn[0].mean() + drawn[1].mean()) / 2
    at_worst = float(max(distances.max() for distances in measured))
    return on_average, at_worst, float(max(np.percentile(distances, 95) for distances in drawn))


Surface = SearchedMesh | np.ndarray


def _checked(surface: Any, name: str) -> Surface:
    if isinstance(surface, SearchedMesh):
        return surface
    if hasattr(surface, "vertices") and hasattr(surface, "faces"):
        searched = SearchedMesh(surface if isinstance(surface, Mesh) else Mesh(surface.vertices, surface.faces))
        if not 0 < searched.areas.sum() < np.inf:
            n_faces = len(searched.mesh.faces)
            raise ValueError(f"mesh {name} has no area that can be computed ({n_faces} faces); there is no surface")
        return searched
    points = _as_numbers(surface, name)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"{name} has shape {points.shape}; a Mesh or (N, 3) points are accepted")
    if not len(points):
        raise ValueError(f"{name} holds no points; at least one is needed")
    if not np.isfinite(points).all():
        raise ValueError(f"{name} holds NaN or infinite positions; every position must be finite")
    return points


def _as_numbers(values: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype.kind in "iuf":
            return array.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{name} is a {type(values).__name__}; a Mesh or (N, 3) points, real numbers, are accepted")


def _both_ways(
    a: Surface, b: Surface, n_points: int, rng: np.random.Generator | int, *, vertices: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the points of `a` to `b` and of those of `b` to `a`."""
    count = as_whole_number(n_points, "n_points", low=1)
    try:
        # One seed for both, so that neither depends on which comes first.
        seed = int(np.random.default_rng(rng).integers(2**63 - 1))
    except (TypeError, ValueError):
        raise ValueError(f"rng is {rng!r}; give a numpy.random.Generator or a whole number from 0 on") from None
    on_a, on_b = (_points_on(s, count, seed, vertices=vertices) for s in (a, b))
    return _distances(on_a, b), _distances(on_b, a)


def _points_on(surface: Surface, count: int, seed: int, *, vertices: bool) -> np.ndarray:
    """Points of a point set, or `count` points spread evenly over a mesh, shape (N, 3)."""
    if isinstance(surface, np.ndarray):
        return surface
    mesh, areas = surface.mesh, surface.areas
    rng = np.random.default_rng(seed)
    face = rng.choice(len(areas), size=count, p=areas / areas.sum())
    u, v = rng.random((2, count, 1))
    beyond = u + v > 1  # the other half of the parallelogram, folded back
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    first, second, third = np.moveaxis(mesh.vertices[mesh.faces[face]], 1, 0)
    points = first + u * (second - first) + v * (third - first)
    if not vertices:
        return points
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    return np.concatenate([points, mesh.vertices[used]])


def _distances(points: np.ndarray, surface: Surface) -> np.ndarray:
    """Distance of each point to the nearest point of a set or of a mesh's triangles, shape (N,)."""
    if isinstance(surface, SearchedMesh):
        return surface.tree.distances(points)
    from evaluate.surfaces.triangle_tree import order_along_curve

    # One after the other along a curve, searches find what they need in the processor's cache.
    order = order_along_curve(points, surface)
    distances = np.empty(len(points))
    distances[order] = cKDTree(surface, balanced_tree=False).query(points[order])[0]
    return distances
