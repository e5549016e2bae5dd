"""Balls written into a volume, voxel centre by voxel centre."""

from typing import Any

import numba
import numpy as np

from synth.threads import in_threads, slabs

__all__ = ["count_pores_in_ball", "largest_radius", "stamp_all", "stamp_spheres"]

# Of a radius; they settle it to far below the distance between two voxel centres.
BISECTIONS = 40


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
    return stamp_all(labels, centres, radii, value=value, periodic=periodic)[0]


def stamp_all(
    labels: np.ndarray, centres: np.ndarray, radii: np.ndarray, *, value: int = 1, periodic: bool = False
) -> tuple[int, np.ndarray]:
    """Do what `stamp_spheres` does, unchecked, and also tell which spheres changed a voxel.

    Slabs of the volume are independent of each other, so the threads that share them never meet.
    """
    spans = slabs(labels.shape)
    useful = np.zeros((len(spans), len(radii)), np.bool_)

    def stamp(i: int) -> int:
        return int(_stamp(labels, centres, radii, value, periodic, spans[i], useful[i]))

    changed = in_threads(stamp, range(len(spans)))
    return sum(changed), useful.any(axis=0)


def count_pores_in_ball(labels: np.ndarray, centre: np.ndarray, radius: float, *, limit: int, periodic: bool) -> int:
    """Count the voxels of label 0 in a ball, or stop at the first beyond `limit`."""
    return int(_count(labels, centre, radius, limit, periodic))


def largest_radius(labels: np.ndarray, centre: np.ndarray, radius: float, *, most: int, periodic: bool) -> float:
    """Return the radius, up to `radius`, at which a ball covers as much as it can without exceeding `most`."""
    low, high = 0.0, radius
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if _count(labels, centre, middle, most, periodic) > most:
            high = middle
        else:
            low = middle
    return low


@numba.njit(cache=True, nogil=True)
def span(centre: float, reach: float, size: int, periodic: bool) -> tuple[int, int]:
    """Return the first and the last index whose voxel centres lie within `reach` of `centre`."""
    # Voxel i has its centre at i + 0.5.
    first, last = int(np.ceil(centre - reach - 0.5)), int(np.floor(centre + reach - 0.5))
    if not periodic:
        return max(first, 0), min(last, size - 1)
    # Of a voxel's periodic copies only the nearest counts: a sphere may be wider than the box.
    nearest = int(np.ceil(centre - 0.5 * size - 0.5))
    return max(first, nearest), min(last, nearest + size - 1)


@numba.njit(cache=True, nogil=True)
def _stamp(labels: Any, centres: Any, radii: Any, value: int, periodic: bool, z_range: Any, useful: Any) -> int:
    nz, ny, nx = labels.shape
    begin, end = z_range
    changed = 0
    for i in range(radii.shape[0]):
        found = 0
        cz, cy, cx, radius = centres[i, 0], centres[i, 1], centres[i, 2], radii[i]
        if periodic:
            cx %= nx
        z0, z1 = span(cz, radius, nz, periodic)
        if not periodic:
            z0, z1 = max(z0, begin), min(z1, end - 1)
        for z in range(z0, z1 + 1):
            if not begin <= z % nz < end:
                continue
            rest_z = radius * radius - (z + 0.5 - cz) ** 2
            y0, y1 = span(cy, np.sqrt(max(rest_z, 0.0)), ny, periodic)
            for y in range(y0, y1 + 1):
                x0, x1 = span(cx, np.sqrt(max(rest_z - (y + 0.5 - cy) ** 2, 0.0)), nx, periodic)
                row = labels[z % nz, y % ny]
                # A wrapped run is two runs: up to the row's end, and from its beginning.
                found += _fill_run(row, max(x0, 0), min(x1, nx - 1), value)
                if periodic:
                    found += _fill_run(row, x0 + nx, min(x1, -1) + nx, value)
                    found += _fill_run(row, max(x0 - nx, 0), x1 - nx, value)
        useful[i] = found > 0
        changed += found
    return changed


@numba.njit(cache=True, nogil=True)
def _fill_run(row: Any, first: int, last: int, value: int) -> int:
    found = 0
    # Without a branch, so that it runs on many voxels at once.
    for x in range(first, last + 1):
        before = row[x]
        found += before == 0
        row[x] = value if before == 0 else before
    return found


@numba.njit(cache=True, nogil=True)
def _count(labels: Any, centre: Any, radius: float, limit: int, periodic: bool) -> int:
    nz, ny, nx = labels.shape
    found = 0
    z0, z1 = span(centre[0], radius, nz, periodic)
    for z in range(z0, z1 + 1):
        rest_z = radius * radius - (z + 0.5 - centre[0]) ** 2
        y0, y1 = span(centre[1], np.sqrt(max(rest_z, 0.0)), ny, periodic)
        for y in range(y0, y1 + 1):
            rest = rest_z - (y + 0.5 - centre[1]) ** 2
            x0, x1 = span(centre[2], np.sqrt(max(rest, 0.0)), nx, periodic)
            for x in range(x0, x1 + 1):
                found += labels[z % nz, y % ny, x % nx] == 0
            if found > limit:
                return limit + 1
    return found
