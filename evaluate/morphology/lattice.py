"""The 13 directions and the 13 planes of a lattice of voxels, and how much each stands for."""

import functools
import itertools
from typing import NamedTuple

import numpy as np

__all__ = [
    "CORNERS",
    "LARGEST_RATIO",
    "Direction",
    "Plane",
    "Spacing",
    "check_spacing",
    "directions",
    "pairs_of_corners",
    "planes",
    "triples_of_corners",
]

LARGEST_RATIO = 100
Spacing = tuple[float, float, float]

# The corners of a 2 × 2 × 2 neighbourhood as (z, y, x); a corner's place in the list is its bit in the code.
CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))


class Direction(NamedTuple):
    """A lattice direction.

    Attributes
    ----------
    pairs : list of (int, int)
        The corners of a neighbourhood that are one step of it apart.
    length : float
        Of the step, in the unit of the spacing.
    weight : float
        Its share; the 13 add up to 1.
    """

    pairs: list[tuple[int, int]]
    length: float
    weight: float


class Plane(NamedTuple):
    """A set of parallel lattice planes.

    Attributes
    ----------
    polygons : list of tuple of int
        The corners of the squares (in the order first, neighbour, other neighbour, opposite) or triangles that a
        neighbourhood holds of them.
    area : float
        Of one polygon, in the square of the unit of the spacing.
    weight : float
        Its normal's share; the 13 add up to 1.
    """

    polygons: list[tuple[int, ...]]
    area: float
    weight: float


def check_spacing(spacing: Spacing) -> None:
    """Raise ``ValueError`` if voxels are too long for directions to be averaged."""
    if max(spacing) > LARGEST_RATIO * min(spacing):
        raise ValueError(
            f"voxel_size_um is {spacing}; edges more than {LARGEST_RATIO} : 1 apart leave no surface to estimate: "
            "resample the volume, or check the units"
        )


@functools.lru_cache(maxsize=32)
def directions(spacing: Spacing) -> tuple[Direction, ...]:
    """Return the 13 directions of a lattice with these edge lengths (z, y, x)."""
    pairs = _pairs()
    steps = np.array(list(pairs))
    vectors = steps * spacing
    # Longer steps weigh more: it halves the error of planes along the lattice, and balls stay unbiased.
    weights = _shares_of_sphere(vectors) * np.linalg.norm(steps, axis=1)
    lengths = np.linalg.norm(vectors, axis=1)
    return tuple(map(Direction, pairs.values(), lengths.tolist(), (weights / weights.sum()).tolist()))


@functools.lru_cache(maxsize=32)
def planes(spacing: Spacing) -> tuple[Plane, ...]:
    """Return the 13 planes of a lattice with these edge lengths (z, y, x)."""
    polygons = list(_polygons().values())
    edges = [(CORNERS[p[0][1]] - CORNERS[p[0][0]], CORNERS[p[0][2]] - CORNERS[p[0][0]]) for p in polygons]
    normals = np.array([np.cross(a * spacing, b * spacing) for a, b in edges])
    areas = np.linalg.norm(normals, axis=1) / [1 if len(p[0]) == 4 else 2 for p in polygons]
    return tuple(map(Plane, polygons, areas.tolist(), _shares_of_sphere(normals).tolist()))


def pairs_of_corners() -> np.ndarray:
    """Return every two corners and the place of their direction in `directions`, shape (28, 3)."""
    rows = [(*pair, k) for k, pairs in enumerate(_pairs().values()) for pair in pairs]
    return np.array(rows, np.int8)


def triples_of_corners() -> np.ndarray:
    """Return every three corners and the place of their plane in `planes`, shape (56, 4).

    Three corners lie in one polygon only: each triangle is a triple, each square holds four.
    """
    rows = [
        (*triple, k)
        for k, polygons in enumerate(_polygons().values())
        for polygon in polygons
        for triple in itertools.combinations(polygon, 3)
    ]
    return np.array(rows, np.int8)


def _pairs() -> dict[tuple[int, ...], list[tuple[int, int]]]:
    pairs: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for a, b in itertools.combinations(range(8), 2):
        pairs.setdefault(_up_to_sign(CORNERS[b] - CORNERS[a]), []).append((a, b))
    return pairs


def _polygons() -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    polygons: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for polygon in _squares() + _triangles():
        first, second, third = CORNERS[list(polygon[:3])]
        polygons.setdefault(_up_to_sign(np.cross(second - first, third - first)), []).append(polygon)
    return polygons


def _squares() -> list[tuple[int, ...]]:
    """Corners (first, neighbour, other neighbour, opposite) of the 6 faces and 6 diagonal rectangles of a cube."""
    found = []
    for a, b, c in itertools.combinations(range(8), 3):
        for first, second, third in ((a, b, c), (b, a, c), (c, a, b)):
            u, v = CORNERS[second] - CORNERS[first], CORNERS[third] - CORNERS[first]
            fourth = CORNERS[first] + u + v
            if u @ v == 0 and first < min(second, third) and fourth.min() >= 0 and fourth.max() <= 1:
                found.append((first, second, third, int(fourth @ (4, 2, 1))))
    return [square for square in found if square[0] == min(square)]


def _triangles() -> list[tuple[int, ...]]:
    """Corners of the 8 equilateral triangles of a cube, two for each space diagonal."""
    return [
        t for t in itertools.combinations(range(8), 3) if all(_steps(*p) == 2 for p in itertools.combinations(t, 2))
    ]


def _steps(a: int, b: int) -> int:
    return int(np.abs(CORNERS[a] - CORNERS[b]).sum())


def _up_to_sign(vector: np.ndarray) -> tuple[int, ...]:
    entries = tuple(int(entry) for entry in vector)
    return max(entries, tuple(-entry for entry in entries))


def _shares_of_sphere(vectors: np.ndarray) -> np.ndarray:
    """Share of all directions that lie nearest to each axis, shape (n,); they add up to 1."""
    from scipy.spatial import SphericalVoronoi

    axes = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    regions = SphericalVoronoi(np.concatenate([axes, -axes]))
    regions.sort_vertices_of_regions()
    areas = regions.calculate_areas().reshape(2, -1).sum(axis=0)
    return areas / areas.sum()
