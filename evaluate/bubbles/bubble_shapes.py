"""Shape of each bubble from its sums: lengths of the axes, direction, sphericity, convexity."""

from typing import Any

import numpy as np

__all__ = ["describe_moments", "describe_orientation", "solidity", "sphericity"]

# Pairs of axes of the six different second moments: zz, yy, xx, zy, zx, yx.
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
# Hulls are taken of whole numbers, so that a point on a plane is no further from it than rounding.
SLACK = 1e-7


def describe_moments(sums: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centroids, axis lengths and directions.

    Parameters
    ----------
    sums : ndarray of int64, shape (B, 10 or more)
        n, z, y, x, zz, yy, xx, zy, zx, yx over each bubble's voxels, none of which is empty.
    spacing : ndarray of float64, shape (3,)

    Returns
    -------
    centroids : ndarray, shape (B, 3)
        In units of `spacing`; 0 is the outer face of the first voxel.
    axes : ndarray, shape (B, 3)
        Full lengths of the ellipsoid with the same second moments, longest first: 2 sqrt(5 variance).
        A voxel is a cuboid and adds a twelfth of its squared edge to the variance.
    directions : ndarray, shape (B, 3)
        Unit vectors of the longest axes; the first component that is not 0 is positive.
    """
    count = sums[:, 0].astype(float)
    mean = sums[:, 1:4] / count[:, None]
    covariance = np.empty((len(sums), 3, 3))
    for column, (i, j) in enumerate(PAIRS, start=4):
        central = sums[:, column] / count - mean[:, i] * mean[:, j] + (i == j) / 12
        covariance[:, i, j] = covariance[:, j, i] = central * spacing[i] * spacing[j]
    variances, vectors = np.linalg.eigh(covariance)
    directions = vectors[:, :, 2]
    first = (np.abs(directions) > 1e-9).argmax(axis=1)[:, None]
    directions = directions * np.sign(np.take_along_axis(directions, first, axis=1))
    return (mean + 0.5) * spacing, 2 * np.sqrt(5 * variances[:, ::-1]), directions


def describe_orientation(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return inclination from z and azimuth from x towards y, in degrees, of axes up to their sign.

    Parameters
    ----------
    directions : ndarray, shape (B, 3)
        Unit vectors (z, y, x).

    Returns
    -------
    inclination : ndarray, shape (B,)
        0 (along z) to 90.
    azimuth : ndarray, shape (B,)
        0 to 360 of the end that points to larger z; 0 to 180 where the axis lies in the plane across z.
    """
    z, y, x = (directions * np.where(directions[:, :1] < 0, -1, 1)).T
    inclination = np.degrees(np.arctan2(np.hypot(y, x), z))
    azimuth = np.degrees(np.arctan2(y, x)) % 360
    return inclination, np.where(z < 1e-9, azimuth % 180, azimuth)


def sphericity(volume: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return π^(1/3) (6 V)^(2/3) / A: 1 for a ball, less for anything else."""
    return np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area


def solidity(inside: np.ndarray, open_to_gas: np.ndarray) -> float:
    """Return the share of its convex hull that a bubble fills.

    Parameters
    ----------
    inside : ndarray of bool, shape (Z, Y, X)
        The bubble, cut out along its bounding box.
    open_to_gas : ndarray of bool, of that shape
        Where gas could be; voxels of the hull elsewhere do not count.

    Returns
    -------
    float
        Voxels of the bubble by voxels whose centres lie in the hull of its voxels' centres. It is exactly 1 for any
        digitised convex body, however small it is.
    """
    from evaluate.bubbles.voxel_passes import count_hull

    allowed = inside | open_to_gas
    held = count_hull(_hull(_row_ends(inside)), allowed, SLACK)
    return float(np.count_nonzero(inside) / held)


def _row_ends(inside: np.ndarray) -> np.ndarray:
    """Return the first and last voxel of each row along x: the hull's corners are among them."""
    z, y = np.nonzero(inside.any(axis=2))
    rows = inside[z, y]
    first, last = rows.argmax(axis=1), rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
    return np.concatenate([np.column_stack([z, y, first]), np.column_stack([z, y, last])]).astype(float)


def _hull(points: np.ndarray) -> np.ndarray:
    """Return the planes of the convex hull, shape (F, 4), also of points in a plane or a line."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        planes: Any = ConvexHull(points).equations
    except (QhullError, ValueError):
        # Thicker by far less than any voxel could fall into, so that there is a hull.
        steps = SLACK * np.concatenate([np.eye(3), -np.eye(3)])
        planes = ConvexHull((points[:, None] + steps).reshape(-1, 3)).equations
    return np.unique(planes.round(12), axis=0)
