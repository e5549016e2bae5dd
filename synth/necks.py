"""Sintering necks: the waist that a ring of surface tension leaves between two balls."""

from typing import Any

import numba
import numpy as np

from synth.stamping import span

__all__ = ["stamp_necks"]


def stamp_necks(labels: np.ndarray, centres: np.ndarray, radii: np.ndarray, pairs: np.ndarray, *, neck: float) -> int:
    """Fill the waist between pairs of balls that have been stamped, in place, wherever `labels` is 0.

    The neck's outline is an arc that touches both balls, so that its surface goes over into theirs without an edge:
    a point is in the neck if it lies in the triangle of the two centres and the arc's, and outside the arc's circle.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        Changed in place.
    centres : ndarray, shape (N, 3)
        In voxels. Where a pair meets across a periodic border, both balls must be given on the same side of it; what
        then lies outside the box is left out.
    radii : ndarray, shape (N,)
    pairs : ndarray of int, shape (P, 2)
        Which balls are joined.
    neck : float
        Radius of the waist in units of the smaller ball's radius, from 0 to below 1. Pairs that overlap so far that
        they are as thick as that already stay as they are.

    Returns
    -------
    int
        How many voxels changed.
    """
    return int(_stamp_necks(labels, centres, radii, pairs, neck))


@numba.njit(cache=True, nogil=True)
def _arc(r1: float, r2: float, distance: float, waist: float) -> tuple[float, float, float]:
    """Return the arc's radius and its centre (along the axis, away from it) for a waist of that radius.

    The arc's centre is (r1 + rho, r2 + rho) from the two balls' and (waist + rho) from the axis; a radius of 0 says
    that there is no such arc.
    """
    along = 0.5 * distance + (r1 - r2) * (r1 + r2) / (2 * distance)
    slope = (r1 - r2) / distance
    # slope² rho² + 2 half rho + rest = 0
    half = waist + along * slope - r1
    rest = waist * waist + along * along - r1 * r1
    if rest <= 0 or half >= 0 or half * half < slope * slope * rest:
        return 0.0, 0.0, 0.0
    rho = rest / (-half + np.sqrt(half * half - slope * slope * rest))
    along += slope * rho
    if not 0 < along < distance:
        return 0.0, 0.0, 0.0
    return rho, along, waist + rho


@numba.njit(cache=True, nogil=True)
def _in_neck(along: float, away: float, distance: float, arc: Any) -> bool:
    rho, centre_along, centre_away = arc
    if not 0 < along < distance:
        return False
    if along < centre_along:
        edge = centre_away * along / centre_along
    else:
        edge = centre_away * (distance - along) / (distance - centre_along)
    return away <= edge and (along - centre_along) ** 2 + (away - centre_away) ** 2 >= rho * rho


@numba.njit(cache=True, nogil=True)
def _stamp_necks(labels: Any, centres: Any, radii: Any, pairs: Any, neck: float) -> int:
    changed = 0
    for k in range(pairs.shape[0]):
        i, j = pairs[k]
        axis = centres[j] - centres[i]
        distance = np.sqrt(np.sum(axis * axis))
        arc = _arc(radii[i], radii[j], distance, neck * min(radii[i], radii[j]))
        if arc[0] > 0:
            changed += _stamp_neck(
                labels, centres[i], axis / distance, distance, arc, _reach(radii[i], radii[j], distance, arc)
            )
    return changed


@numba.njit(cache=True, nogil=True)
def _reach(r1: float, r2: float, distance: float, arc: Any) -> float:
    """Return how far the neck goes, outside the balls, from the foot of its arc's centre on the axis."""
    rho, along, away = arc
    # Three circles bound it from outside, so that its corners are farthest: where they touch, and on the axis.
    first, second = r1 / (r1 + rho), r2 / (r2 + rho)
    touching = max(
        np.hypot((1 - first) * along, first * away), np.hypot((1 - second) * (distance - along), second * away)
    )
    return max(touching, abs(along - r1), abs(distance - along - r2))


@numba.njit(cache=True, nogil=True)
def _stamp_neck(labels: Any, start: Any, direction: Any, distance: float, arc: Any, reach: float) -> int:
    middle = start + arc[1] * direction
    z0, z1 = span(middle[0], reach, labels.shape[0], False)
    y0, y1 = span(middle[1], reach, labels.shape[1], False)
    x0, x1 = span(middle[2], reach, labels.shape[2], False)
    changed = 0
    for z in range(z0, z1 + 1):
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                if labels[z, y, x] != 0:
                    continue
                dz, dy, dx = z + 0.5 - start[0], y + 0.5 - start[1], x + 0.5 - start[2]
                along = dz * direction[0] + dy * direction[1] + dx * direction[2]
                away = np.sqrt(max(dz * dz + dy * dy + dx * dx - along * along, 0.0))
                if _in_neck(along, away, distance, arc):
                    labels[z, y, x] = 1
                    changed += 1
    return changed
