"""Packs of polydisperse spheres: the Boolean model and random sequential addition."""

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np

from synth.structure import Structure, check_shape

__all__ = ["sphere_pack", "stamp_spheres"]

BATCH = 1024
POROSITY_TOLERANCE = 1e-4
# Candidates in a row that may fail before a pack counts as full.
PATIENCE = 20_000
# Of a radius; they settle it to far below the distance between two voxel centres.
BISECTIONS = 40


def sphere_pack(
    shape: tuple[int, int, int],
    *,
    porosity: float,
    diameter_vox: float,
    sigma: float = 0.3,
    overlap: bool = True,
    periodic: bool = False,
    rng: np.random.Generator | int,
) -> Structure:
    """Fill a box with solid spheres until the wanted porosity is left.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along z, y, x.
    porosity : float
        Wanted pore fraction, between 0 and 1. It is met to 1e-4 or one voxel, whichever is larger.
    diameter_vox : float
        Median of the lognormal diameters, in voxels.
    sigma : float
        Standard deviation of the logarithm of the diameters; 0 makes all spheres equal.
    overlap : bool
        True is the Boolean model: spheres are placed independently. False is random sequential addition: a
        sphere that would touch an earlier one is drawn again. Small spheres are then accepted more often, so
        the diameters that end up in the pack are smaller than those asked for.
    periodic : bool
        Let spheres leave on one side and enter on the other. Otherwise centres also lie outside the box, as
        many as a larger sample would have there, so that the border is no different from the inside.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    Structure
        Labels 0 (pore) and 1 (solid). ``truth`` has the exact ``porosity`` and ``fractions`` of the labels and
        ``n_spheres``, the number of spheres that made a voxel solid.

    Raises
    ------
    ValueError
        For impossible arguments, and where spheres that may not overlap leave no room: the message says which
        porosity was reached.

    Notes
    -----
    A voxel is solid if its centre lies in a sphere; voxel *i* spans [i, i + 1). The last
    sphere, which would cover too much, is made as small as the porosity asks for. To draw it again until it fits
    would favour spheres that lie half outside, and so leave the border denser than the inside.

    References
    ----------
    .. [1] S. N. Chiu, D. Stoyan, W. S. Kendall, J. Mecke, "Stochastic Geometry and its Applications", ch. 3.
    """
    shape = check_shape(shape)
    _check_arguments(shape, porosity=porosity, diameter_vox=diameter_vox, sigma=sigma)
    rng = np.random.default_rng(rng)
    labels = np.zeros(shape, np.uint8)
    target = round((1.0 - porosity) * labels.size)
    tolerance = max(1, int(POROSITY_TOLERANCE * labels.size))
    candidates = _draw_spheres(shape, diameter_vox / 2, sigma, periodic=periodic, rng=rng)
    placed = None if overlap else _Neighbours(shape, periodic)
    solid, n_spheres = _fill(labels, candidates, placed, target=target, tolerance=tolerance, periodic=periodic)
    reached = 1.0 - solid / labels.size
    if abs(solid - target) > tolerance:
        raise ValueError(
            f"porosity {porosity:g} cannot be reached by spheres of median diameter {diameter_vox:g} that do not "
            f"overlap; this pack ended at {reached:.4f}: ask for more, or allow overlap"
        )
    recipe = {
        "generator": "sphere_pack", "shape": list(shape), "porosity": porosity, "diameter_vox": diameter_vox,
        "sigma": sigma, "overlap": overlap, "periodic": periodic,
    }  # fmt: skip
    truth = {"porosity": reached, "fractions": [reached, 1.0 - reached], "n_spheres": n_spheres}
    return Structure(labels, ("pore", "solid"), truth, recipe)


def stamp_spheres(
    labels: np.ndarray, centres: np.ndarray, radii: np.ndarray, *, value: int = 1, periodic: bool = False
) -> int:
    """Write spheres into `labels`, in place, wherever it is 0.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        Changed in place.
    centres : ndarray, shape (N, 3)
        Positions (z, y, x) in voxels; voxel *i* spans [i, i + 1).
    radii : ndarray, shape (N,)
        Radii in voxels.
    value : int
        Label to write.
    periodic : bool
        Wrap around the box.

    Returns
    -------
    int
        How many voxels changed.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or a number is not finite.
    """
    centres, radii = np.asarray(centres, float), np.asarray(radii, float)
    if labels.ndim != 3 or radii.ndim != 1 or centres.shape != (len(radii), 3):
        raise ValueError(
            f"labels, centres and radii have shapes {labels.shape}, {centres.shape} and {radii.shape}; "
            "give (Z, Y, X), (N, 3) and (N,)"
        )
    if not (np.isfinite(centres).all() and np.isfinite(radii).all() and (radii >= 0).all()):
        raise ValueError("a centre or radius is negative or not finite; give finite centres and radii of 0 or more")
    changed = 0
    for centre, radius in zip(centres, radii, strict=True):
        changed += _visit(labels, centre, radius, value, labels.size, periodic)
    return changed


def _check_arguments(shape: tuple[int, int, int], *, porosity: float, diameter_vox: float, sigma: float) -> None:
    if not 0 < porosity < 1:
        raise ValueError(f"porosity is {porosity!r}; give a number above 0 and below 1")
    if not 0 < diameter_vox <= min(shape):
        raise ValueError(
            f"diameter_vox is {diameter_vox!r}; give a number above 0 and at most {min(shape)}, the box's shortest side"
        )
    if not 0 <= sigma <= 1:
        raise ValueError(f"sigma is {sigma!r}; give the standard deviation of the log diameters, 0 to 1")


def _draw_spheres(
    shape: tuple[int, int, int], median_radius: float, sigma: float, *, periodic: bool, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield (centre, radius) of spheres of the Boolean model that may reach into the box."""
    sides = np.asarray(shape, float)
    while True:
        radii = _draw_radii(sides, median_radius, sigma, periodic=periodic, rng=rng)
        margin = np.zeros(BATCH) if periodic else radii
        positions = rng.random((BATCH, 3)) * (sides + 2 * margin[:, None]) - margin[:, None]
        yield from zip(positions, radii.tolist(), strict=True)


def _draw_radii(
    sides: np.ndarray, median_radius: float, sigma: float, *, periodic: bool, rng: np.random.Generator
) -> np.ndarray:
    """Draw radii of the spheres that meet the box.

    A sphere of radius r meets the box (up to its rounded corners) if its centre lies in the box grown by r,
    so large ones meet it more often: f(r) is weighted by (Lz + 2r)(Ly + 2r)(Lx + 2r). A lognormal times r^k
    is a lognormal with mu + k sigma^2, hence the weighted law is a mixture of four lognormals.
    """
    mu = np.log(median_radius)
    power = np.zeros(BATCH, int)
    if not periodic:
        orders = np.arange(4)
        moments = np.exp(orders * mu + 0.5 * (orders * sigma) ** 2)
        weights = np.abs(np.poly(-sides))[::-1] * 2.0**orders * moments
        power = rng.choice(4, size=BATCH, p=weights / weights.sum())
    return np.exp(mu + power * sigma**2 + sigma * rng.standard_normal(BATCH))


def _fill(
    labels: np.ndarray,
    candidates: Iterator[tuple[np.ndarray, float]],
    placed: "_Neighbours | None",
    *,
    target: int,
    tolerance: int,
    periodic: bool,
) -> tuple[int, int]:
    """Stamp spheres until `target` voxels are solid; with `placed`, only where there is room for them."""
    solid, n_spheres, failures = 0, 0, 0
    while target - solid > tolerance and failures < PATIENCE:
        centre, radius = next(candidates)
        if placed is not None and not placed.has_room(centre, radius):
            failures += 1
            continue
        gap = target - solid
        # Counting first is needed only where the sphere could overshoot.
        if 4.19 * (radius + 1) ** 3 > gap and _visit(labels, centre, radius, 0, gap, periodic) > gap:
            radius = _largest_radius(labels, centre, radius, most=gap, periodic=periodic)
        covered = _visit(labels, centre, radius, 1, labels.size, periodic)
        if placed is not None:
            placed.add(centre, radius)
        solid += covered
        n_spheres += covered > 0
        failures = 0 if covered else failures + 1
    return solid, n_spheres


def _largest_radius(labels: np.ndarray, centre: np.ndarray, radius: float, *, most: int, periodic: bool) -> float:
    """Return the radius, up to `radius`, at which a sphere covers as much as it can without exceeding `most`."""
    low, high = 0.0, radius
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if _visit(labels, centre, middle, 0, most, periodic) > most:
            high = middle
        else:
            low = middle
    return low


class _Neighbours:
    """Spheres placed so far, searched by distance."""

    def __init__(self, shape: tuple[int, ...], periodic: bool) -> None:
        self.sides = np.asarray(shape, float)
        self.periodic = periodic
        self.count = 0
        self.spheres = np.empty((256, 4))

    def has_room(self, centre: np.ndarray, radius: float) -> bool:
        return bool(_has_room(self.spheres[: self.count], centre, radius, self.sides, self.periodic))

    def add(self, centre: np.ndarray, radius: float) -> None:
        if self.count == len(self.spheres):
            self.spheres = np.concatenate([self.spheres, np.empty_like(self.spheres)])
        self.spheres[self.count] = *centre, radius
        self.count += 1


@numba.njit(cache=True)
def _has_room(spheres: Any, centre: Any, radius: float, sides: Any, periodic: bool) -> bool:
    for i in range(spheres.shape[0]):
        squared = 0.0
        for axis in range(3):
            distance = abs(spheres[i, axis] - centre[axis])
            if periodic:
                distance = min(distance, sides[axis] - distance)
            squared += distance * distance
        if squared < (spheres[i, 3] + radius) ** 2:
            return False
    return True


@numba.njit(cache=True)
def _span(centre: float, reach: float, size: int, periodic: bool) -> tuple[int, int]:
    """Return the first and the last index whose voxel centres lie within `reach` of `centre`."""
    # Voxel i has its centre at i + 0.5.
    first, last = int(np.ceil(centre - reach - 0.5)), int(np.floor(centre + reach - 0.5))
    if not periodic:
        return max(first, 0), min(last, size - 1)
    # Of a voxel's periodic copies only the nearest counts: a sphere may be wider than the box.
    nearest = int(np.ceil(centre - 0.5 * size - 0.5))
    return max(first, nearest), min(last, nearest + size - 1)


@numba.njit(cache=True)
def _visit(labels: Any, centre: Any, radius: float, value: int, limit: int, periodic: bool) -> int:
    """Count the pore voxels in a sphere, or those up to the first beyond `limit`; write `value` there if not 0."""
    nz, ny, nx = labels.shape
    found = 0
    z0, z1 = _span(centre[0], radius, nz, periodic)
    for z in range(z0, z1 + 1):
        rest_z = radius * radius - (z + 0.5 - centre[0]) ** 2
        y0, y1 = _span(centre[1], np.sqrt(max(rest_z, 0.0)), ny, periodic)
        for y in range(y0, y1 + 1):
            rest = rest_z - (y + 0.5 - centre[1]) ** 2
            x0, x1 = _span(centre[2], np.sqrt(max(rest, 0.0)), nx, periodic)
            for x in range(x0, x1 + 1):
                if labels[z % nz, y % ny, x % nx] == 0:
                    found += 1
                    if value != 0:
                        labels[z % nz, y % ny, x % nx] = value
                    if found > limit:
                        return found
    return found
