"""Volume, surface, integral mean curvature and Euler number of a phase, in total and per unit volume."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from evaluate.accepted_input import as_mask, as_voxel_size

__all__ = ["Minkowski", "minkowski"]

LARGEST_RATIO = 100
BOUNDARIES = ("interior", "closed", "periodic")
Spacing = tuple[float, float, float]

# The corners of a 2 × 2 × 2 neighbourhood as (z, y, x); a corner's place in the list is its bit in the code.
CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))
CODES = np.arange(256)
# Row: code, column: corner.
OCCUPIED = (CODES[:, None] >> np.arange(8)) & 1 == 1


@dataclasses.dataclass(frozen=True)
class Minkowski:
    """Minkowski functionals of a phase; made by `minkowski`.

    Lengths are in `unit`; the window is all the voxels of the mask, of volume `window_volume`.

    Attributes
    ----------
    volume_fraction : float
        Volume / window volume.
    specific_surface : float
        Surface / window volume, in 1/unit (per volume of the whole, not of the phase).
    mean_curvature : float
        Integral mean curvature / window volume, in 1/unit².
    euler_density : float
        Euler number / window volume, in 1/unit³.
    volume : float
        V, in unit³.
    surface : float
        S, in unit².
    integral_mean_curvature : float
        H = ∫ ½ (1/R1 + 1/R2) dS, in unit; 4πR of a ball, positive where the phase is convex.
    euler_number : float
        χ: components minus tunnels plus enclosed cavities. A whole number unless the phase meets the border of
        an ``"interior"`` window.
    window_volume : float
        In unit³.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    boundary : str
        How the border of the window was treated.
    connectivity : int
        6 or 26: the neighbours that a voxel of the phase is connected to, as far as the Euler number goes. The
        complement has the other one.
    """

    volume_fraction: float
    specific_surface: float
    mean_curvature: float
    euler_density: float
    volume: float
    surface: float
    integral_mean_curvature: float
    euler_number: float
    window_volume: float
    unit: str
    boundary: str
    connectivity: int


def minkowski(
    mask: Any,
    *,
    voxel_size_um: Sequence[float] | None = None,
    boundary: Literal["interior", "closed", "periodic"] = "interior",
    connectivity: Literal[6, 26] = 6,
) -> Minkowski:
    r"""Measure the four Minkowski functionals of a phase.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; they need not be equal. By default that of `mask`, if it is a
        `volume.Volume` that knows it; otherwise every result is in voxels.
    boundary : {"interior", "closed", "periodic"}
        ``"interior"``: the volume is a cut-out of something larger, so the border of the window is not a surface of
        the phase; the densities are unbiased for a stationary medium. ``"closed"``: the phase ends at the border, which
        counts as its surface. ``"periodic"``: opposite faces touch. The three agree for whatever stays
        two voxels away from the border.
    connectivity : {6, 26}
        Neighbours of a voxel of the phase, for the Euler number: two voxels that touch at an edge or a corner alone are
        apart with 6 and together with 26.

    Returns
    -------
    Minkowski

    Raises
    ------
    ValueError
        `mask` is empty, not 3-D or holds more than 0 and 1; fewer than two voxels along an axis with ``"interior"``;
        an unknown `boundary` or `connectivity`; voxel edges that are not positive, or more than 100 : 1 apart.

    Notes
    -----
    The functionals are sums over the 2 × 2 × 2 neighbourhoods of voxels [1]_. The volume is the number of voxels.

    Surface: Crofton's formula, :math:`S = 2 V \langle P_L \rangle`, with the crossings per length along the
    13 lattice directions. Mean curvature: :math:`H = 2 \pi V \langle \chi_A \rangle`, with the Euler number
    per area of the 13 lattice planes. A direction or normal weighs as much as the solid angle that is nearest to it for
    the voxel's true proportions; a direction also by 1, √2 or √3, as it takes one, two or three steps.
    Euler number: corners - edges + faces - cubes of the lattice complex.

    In an ``"interior"`` window the half voxel beyond the outermost neighbourhoods is given the content of its
    neighbour, so that the neighbourhoods weigh as much as the window and none of them sees the border.

    Digital bias: averaged over all orientations it is zero; the surface and the mean curvature of a ball are within
    2.5 % from radius 8 on and within 0.5 % from radius 20 on. A flat surface depends on how it lies: with cubic voxels
    3.7 % low along a lattice plane, at worst 7.3 % low or 3.1 % high (rms 2.1 %). With voxels of 2 : 1 : 1 it is
    0.5 % high across the long edge, 10.9 % low across a short one, at worst 17 % low or 14 % high (rms 8.5 %);
    the more unequal the edges, the worse.

    Where surfaces cross at an edge, crevices thinner than a voxel remain however fine the voxels are, so that curvature
    and Euler number do not tend to those of space [2]_. For overlapping balls of equal size at a porosity of 0.45, the
    specific surface is 0.978 of the true one at a radius of 20 voxels and 0.995 at 80, but the pores' mean curvature
    stays near 0.5 and their Euler density near 1.8 of the true ones. Compare such structures with each other, measured
    alike, not with formulas for space. Smooth surfaces are not affected.

    QuantImPy 0.2.6 measures the same quantities as M1 = S/8, M2 = H/(2π²) and M3 = 3χ/(4π). For cubic voxels the
    surface here is the same estimator, and the tests hold the two together. It is not called here because it refuses
    voxels below 1, its mean curvature overflows to about 10¹⁹ where a phase is mostly concave (as pores are), its
    surface of slabs of 2 : 1 : 1 voxels is 17 % off both ways, and 28 entries of its Euler table are wrong,
    so that a complement can have an Euler number of 1.25.

    References
    ----------
    .. [1] J. Ohser and F. Mücklich, Statistical Analysis of Microstructures in Materials Science, Wiley 2000,
       chapters 4 and 5.
    .. [2] J. Ohser, W. Nagel, K. Schladitz, "Miles formulae for Boolean models observed on lattices", Image Anal.
       Stereol. 28 (2009) 77.
    """
    inside = as_mask(mask)
    voxel = as_voxel_size(voxel_size_um, mask)
    spacing = voxel or (1.0, 1.0, 1.0)
    if max(spacing) > LARGEST_RATIO * min(spacing):
        raise ValueError(
            f"voxel_size_um is {spacing}; edges more than {LARGEST_RATIO} : 1 apart leave no surface to estimate: "
            "resample the volume, or check the units"
        )
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary is {boundary!r}; it must be one of {', '.join(map(repr, BOUNDARIES))}")
    if connectivity not in (6, 26):
        raise ValueError(f"connectivity is {connectivity!r}; it must be 6 or 26")
    if boundary == "interior" and min(inside.shape) < 2:
        raise ValueError(
            f"mask has shape {inside.shape}; the interior of a window needs two voxels along each axis: "
            "give a thicker volume, or boundary='closed'"
        )
    counts = _neighbourhood_counts(inside, boundary)
    window = inside.size * float(np.prod(spacing))
    volume = np.count_nonzero(inside) / inside.size * window
    surface = float(counts @ _surface_of_codes(spacing))
    curvature = float(counts @ _curvature_of_codes(spacing))
    euler = float(counts @ _euler_of_codes(connectivity))
    return Minkowski(
        volume_fraction=np.count_nonzero(inside) / inside.size,
        specific_surface=surface / window,
        mean_curvature=curvature / window,
        euler_density=euler / window,
        volume=volume,
        surface=surface,
        integral_mean_curvature=curvature,
        euler_number=euler,
        window_volume=window,
        unit="um" if voxel else "voxel",
        boundary=boundary,
        connectivity=connectivity,
    )


def _neighbourhood_counts(inside: np.ndarray, boundary: str) -> np.ndarray:
    """Return how often each of the 256 neighbourhoods occurs, shape (256,)."""
    if boundary == "closed":
        inside = np.pad(inside, 1)
    elif boundary == "periodic":
        inside = np.pad(inside, (0, 1), mode="wrap")
    weights = [np.ones(n - 1) for n in inside.shape]
    if boundary == "interior":
        for weight in weights:
            weight[0] += 0.5
            weight[-1] += 0.5
    weight_yx = np.multiply.outer(weights[1], weights[2]).ravel()
    counts = np.zeros(256)
    lower = _square_codes(inside[0])
    for weight_z, plane in zip(weights[0], inside[1:], strict=True):
        upper = _square_codes(plane)
        counts += weight_z * np.bincount((lower | upper << 4).ravel(), weight_yx, 256)
        lower = upper
    return counts


def _square_codes(plane: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(plane).view(np.uint8)
    return bits[:-1, :-1] | bits[:-1, 1:] << 1 | bits[1:, :-1] << 2 | bits[1:, 1:] << 3


@functools.lru_cache(maxsize=32)
def _surface_of_codes(spacing: Spacing) -> np.ndarray:
    """Surface that each neighbourhood stands for, shape (256,)."""
    pairs: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for a, b in itertools.combinations(range(8), 2):
        pairs.setdefault(_up_to_sign(CORNERS[b] - CORNERS[a]), []).append((a, b))
    steps = np.array(list(pairs))
    directions = steps * spacing
    lengths = np.linalg.norm(directions, axis=1)
    # Longer steps weigh more: it halves the error of planes along the lattice, and balls stay unbiased.
    weights = _shares_of_sphere(directions) * np.linalg.norm(steps, axis=1)
    surface = np.zeros(256)
    for weight, length, ends in zip(weights / weights.sum(), lengths, pairs.values(), strict=True):
        crossings = sum((OCCUPIED[:, a] != OCCUPIED[:, b]).astype(float) for a, b in ends)
        surface += weight * crossings / (len(ends) * length)
    return 2.0 * float(np.prod(spacing)) * surface


@functools.lru_cache(maxsize=32)
def _curvature_of_codes(spacing: Spacing) -> np.ndarray:
    """Integral mean curvature that each neighbourhood stands for, shape (256,)."""
    planes: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for polygon in _squares() + _triangles():
        first, second, third = CORNERS[list(polygon[:3])]
        planes.setdefault(_up_to_sign(np.cross(second - first, third - first)), []).append(polygon)
    polygons = list(planes.values())
    edges = [(CORNERS[p[0][1]] - CORNERS[p[0][0]], CORNERS[p[0][2]] - CORNERS[p[0][0]]) for p in polygons]
    normals = np.array([np.cross(a * spacing, b * spacing) for a, b in edges])
    areas = np.linalg.norm(normals, axis=1)
    curvature = np.zeros(256)
    for weight, area, group in zip(_shares_of_sphere(normals), areas, polygons, strict=True):
        corners = len(group[0])
        held = [OCCUPIED[:, list(polygon)].sum(axis=1) for polygon in group]
        # One corner alone opens a component, all but one close it again; the other cases cancel. A square corner is
        # shared by 4 squares of its plane, a corner of a triangle by 6 triangles.
        euler = sum((h == 1).astype(float) - (h == corners - 1) for h in held) / (4 if corners == 4 else 6)
        polygon_area = area if corners == 4 else area / 2
        curvature += weight * euler / (len(group) * polygon_area)
    return 2.0 * np.pi * float(np.prod(spacing)) * curvature


@functools.lru_cache(maxsize=32)
def _euler_of_codes(connectivity: int) -> np.ndarray:
    """Euler number that each neighbourhood stands for, shape (256,)."""
    if connectivity == 26:
        # Inside a window a set and its complement have the same Euler number, if one has 6 and the other 26.
        return _euler_of_codes(6)[::-1]
    lattice_edges = [pair for pair in itertools.combinations(range(8), 2) if _steps(*pair) == 1]
    faces = [square for square in _squares() if _steps(square[0], square[1]) + _steps(square[0], square[2]) == 2]
    held = [OCCUPIED[:, list(cell)].all(axis=1).astype(float) for cell in lattice_edges]
    filled = [OCCUPIED[:, list(cell)].all(axis=1).astype(float) for cell in faces]
    return OCCUPIED.sum(axis=1) / 8 - sum(held) / 4 + sum(filled) / 2 - OCCUPIED.all(axis=1)


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
