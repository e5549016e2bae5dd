"""Balls that do not overlap: random sequential addition, then relaxation of those that found no room."""

from typing import Any, NamedTuple

import numba
import numpy as np

from synth.radius_laws import RadiusLaw

__all__ = ["HardSpheres", "find_pairs", "mean_volume", "pack_hard_spheres"]

# Places that a ball tries before it is put anywhere and left to the relaxation.
TRIES = 200
# Pairs are listed up to this much beyond contact, in units of the mean radius, so that the list stays good while
# balls move a little.
SKIN = 0.3
# An overlap, in units of the sum of the radii, that is taken off the radii at the end.
CONTACT = 1e-4
# Balls drawn to learn their mean volume.
SAMPLE = 4096
# A pack is jammed if its energy falls by less than this share in so many steps.
PLATEAU, PLATEAU_STEPS, MOST_STEPS = 0.2, 500, 8000
# Each step goes this far along the forces (springs of stiffness 1) and keeps this share of the step before.
STRIDE, MOMENTUM = 0.05, 0.98


class HardSpheres(NamedTuple):
    """Balls in a periodic box, none overlapping another, which take the share `solid` of it."""

    centres: np.ndarray
    radii: np.ndarray
    sides: np.ndarray
    solid: float


def pack_hard_spheres(
    sides: np.ndarray, law: RadiusLaw, *, solid: float, excess: float = 0.0, rng: np.random.Generator
) -> HardSpheres:
    """Fill a periodic box with balls of a law until they take the share `solid` of it, or as much as they can.

    The sizes are drawn first, so that none is favoured, and placed from the largest to the smallest. Balls that find
    no room are put anywhere; then all move until none overlaps, as soft balls that push each other away [1]_.

    Parameters
    ----------
    sides : ndarray of float, shape (3,)
        The box. Balls wider than half its shortest side are drawn again.
    law : RadiusLaw
        Its radii are all multiplied by one factor near 1, so that the share is right.
    solid : float
        Wanted share, above 0 and below 1.
    excess : float
        Make the balls larger than the law says, so that they take (1 + excess) times `solid`.
    rng : Generator

    Returns
    -------
    HardSpheres
        From the largest ball to the smallest. Where the pack jams, ``solid`` is less than what was asked for.

    References
    ----------
    .. [1] C. S. O'Hern, L. E. Silbert, A. J. Liu, S. R. Nagel, Phys. Rev. E 68 (2003) 011306.
    """
    volume = float(np.prod(sides))
    radii = _draw_radii(law, solid * volume, _largest(sides), rng) * (1 + excess) ** (1 / 3)
    grid = _grid(radii, sides, SKIN * float(radii.mean()))
    centres, relaxed = _add_sequentially(radii, sides, *grid, rng)
    while not relaxed:
        overlap = _relax(centres, radii, sides, *grid)
        relaxed = overlap <= CONTACT
        # A jammed pack is beyond jamming by about 1.4 to 2 times its mean overlap.
        radii = radii * (1 - (CONTACT if relaxed else max(0.001, overlap)))
    return HardSpheres(centres % sides, radii, sides, float(4 / 3 * np.pi * (radii**3).sum()) / volume)


def mean_volume(sides: np.ndarray, law: RadiusLaw, rng: np.random.Generator) -> float:
    """Estimate the mean volume of the balls of a law that `pack_hard_spheres` takes."""
    radii = law.draw(SAMPLE, rng)
    return float(4 / 3 * np.pi * np.mean(radii[radii <= _largest(sides)] ** 3))


def find_pairs(centres: np.ndarray, radii: np.ndarray, sides: np.ndarray, *, reach: float) -> np.ndarray:
    """List the pairs (i, j) of balls in a periodic box that are nearer than (1 + reach)(ri + rj).

    The radii must fall from first to last.
    """
    pairs = _list_pairs(centres, radii, sides, *_grid(radii, sides, 2 * reach * float(radii[0])))
    apart = np.abs(centres[pairs[:, 0]] - centres[pairs[:, 1]])
    apart = np.minimum(apart, sides - apart)
    near = np.sqrt((apart**2).sum(axis=1)) < (1 + reach) * radii[pairs].sum(axis=1)
    return pairs[near]


def _largest(sides: np.ndarray) -> float:
    # Rounding must not refuse a law of equal radii of just that size.
    return float(np.min(sides)) / 4 * (1 + 1e-9)


def _draw_radii(law: RadiusLaw, volume: float, largest: float, rng: np.random.Generator) -> np.ndarray:
    """Draw balls of that volume in total, the largest first."""
    radii = np.empty(0)
    while 4 / 3 * np.pi * (radii**3).sum() < volume:
        short = volume - 4 / 3 * np.pi * (radii**3).sum()
        # The mean volume may lie in a tail that is cut off.
        drawn = law.draw(max(int(short / (4 / 3 * np.pi * law.moment(3))) + 16, len(radii) // 2), rng)
        radii = np.concatenate([radii, drawn[drawn <= largest]])
    volumes = 4 / 3 * np.pi * np.cumsum(radii**3)
    # One ball more or less, whichever needs the smaller change of all radii; at least one.
    count = 1 + int(np.searchsorted(volumes, volume))
    if count > 1 and volume - volumes[count - 2] < volumes[count - 1] - volume:
        count -= 1
    radii = radii[:count] * (volume / volumes[count - 1]) ** (1 / 3)
    return np.sort(radii)[::-1].copy()


def _grid(radii: np.ndarray, sides: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Lay out cells to search balls in: one grid for each class of sizes, within which sizes are at most 2 : 1.

    A cell of a class is wider than `margin` beyond contact of any pair whose larger ball is of that class.

    Returns
    -------
    classes : ndarray of int, shape (N,)
        Class of each ball, 0 for the largest ones.
    counts : ndarray of int, shape (classes, 3)
        Cells along each axis.
    offsets : ndarray of int, shape (classes + 1,)
        Where a class's cells begin among all cells.
    margin : float
    """
    classes = np.floor(np.log2(radii[0] / radii) + 1e-9).astype(np.int64)
    widths = 2 * radii[0] / 2.0 ** np.arange(classes.max() + 1) + margin
    counts = np.maximum(1, np.floor(sides / widths[:, None])).astype(np.int64)
    return classes, counts, np.concatenate([[0], np.cumsum(counts.prod(axis=1))]), margin


@numba.njit(cache=True, nogil=True)
def _cell(centre: Any, sides: Any, counts: Any) -> tuple[int, int, int]:
    return (
        min(int(centre[0] / sides[0] * counts[0]), counts[0] - 1),
        min(int(centre[1] / sides[1] * counts[1]), counts[1] - 1),
        min(int(centre[2] / sides[2] * counts[2]), counts[2] - 1),
    )


@numba.njit(cache=True, nogil=True)
def _insert(
    i: int, centres: Any, sides: Any, classes: Any, counts: Any, offsets: Any, heads: Any, following: Any
) -> None:
    level = classes[i]
    n = counts[level]
    z, y, x = _cell(centres[i], sides, n)
    cell = offsets[level] + (z * n[1] + y) * n[2] + x
    following[i] = heads[cell]
    heads[cell] = i


@numba.njit(cache=True, nogil=True)
def _first_step(count: int) -> int:
    # With fewer than three cells along an axis, all of them are neighbours, each once.
    return -1 if count >= 3 else 0


@numba.njit(cache=True, nogil=True)
def _squared_distance(a: Any, b: Any, sides: Any) -> float:
    total = 0.0
    for axis in range(3):
        apart = abs(a[axis] - b[axis])
        apart = min(apart, sides[axis] - apart)
        total += apart * apart
    return total


@numba.njit(cache=True, nogil=True)
def _near(
    i: int,
    margin: float,
    centres: Any,
    radii: Any,
    sides: Any,
    classes: Any,
    counts: Any,
    offsets: Any,
    heads: Any,
    following: Any,
    found: Any,
) -> int:
    """Write into `found` the listed balls that come within `margin` of ball i; return how many.

    Only balls of its own class or of larger ones are looked at. `found` may be too short: then the count goes on.
    """
    number = 0
    for level in range(classes[i] + 1):
        n = counts[level]
        z, y, x = _cell(centres[i], sides, n)
        sz, sy, sx = _first_step(n[0]), _first_step(n[1]), _first_step(n[2])
        for dz in range(sz, sz + min(n[0], 3)):
            for dy in range(sy, sy + min(n[1], 3)):
                for dx in range(sx, sx + min(n[2], 3)):
                    cell = ((z + dz) % n[0] * n[1] + (y + dy) % n[1]) * n[2] + (x + dx) % n[2]
                    j = heads[offsets[level] + cell]
                    while j >= 0:
                        limit = radii[i] + radii[j] + margin
                        if j != i and _squared_distance(centres[i], centres[j], sides) < limit * limit:
                            if number < found.shape[0]:
                                found[number] = j
                            number += 1
                        j = following[j]
    return number


@numba.njit(cache=True, nogil=True)
def _add_sequentially(
    radii: Any, sides: Any, classes: Any, counts: Any, offsets: Any, margin: float, rng: Any
) -> tuple[Any, bool]:
    """Place balls where they touch none placed before; tell whether all of them found room."""
    centres = np.empty((radii.shape[0], 3))
    heads, following = np.full(offsets[-1], -1, np.int64), np.empty(radii.shape[0], np.int64)
    found, complete = np.empty(0, np.int64), True
    for i in range(radii.shape[0]):
        placed = False
        for _ in range(TRIES):
            for axis in range(3):
                centres[i, axis] = rng.random() * sides[axis]
            if _near(i, 0.0, centres, radii, sides, classes, counts, offsets, heads, following, found) == 0:
                placed = True
                break
        if placed:
            _insert(i, centres, sides, classes, counts, offsets, heads, following)
        complete &= placed
    return centres, complete


@numba.njit(cache=True, nogil=True)
def _list_pairs(centres: Any, radii: Any, sides: Any, classes: Any, counts: Any, offsets: Any, margin: float) -> Any:
    """List the pairs (i, j), j < i, between which there is less than `margin`."""
    n = radii.shape[0]
    heads, following = np.full(offsets[-1], -1, np.int64), np.empty(n, np.int64)
    found, pairs, number = np.empty(256, np.int64), np.empty((16 * n, 2), np.int64), 0
    # Balls come in the order of their classes, so that those before it are all that a ball has to look at.
    for i in range(n):
        count = _near(i, margin, centres, radii, sides, classes, counts, offsets, heads, following, found)
        if count > found.shape[0]:
            found = np.empty(2 * count, np.int64)
            _near(i, margin, centres, radii, sides, classes, counts, offsets, heads, following, found)
        while number + count > pairs.shape[0]:
            pairs = np.concatenate((pairs, np.empty_like(pairs)))
        for k in range(count):
            pairs[number, 0], pairs[number, 1] = i, found[k]
            number += 1
        _insert(i, centres, sides, classes, counts, offsets, heads, following)
    return pairs[:number].copy()


@numba.njit(cache=True, nogil=True)
def _push(centres: Any, radii: Any, sides: Any, pairs: Any, forces: Any) -> tuple[float, float, float]:
    """Write the forces of overlapping balls; return the energy, the largest and the mean relative overlap."""
    forces[:] = 0.0
    energy, largest, total, touching = 0.0, 0.0, 0.0, 0
    apart = np.empty(3)
    for k in range(pairs.shape[0]):
        i, j = pairs[k]
        squared = 0.0
        for axis in range(3):
            difference = centres[i, axis] - centres[j, axis]
            apart[axis] = difference - sides[axis] * np.round(difference / sides[axis])
            squared += apart[axis] * apart[axis]
        contact = radii[i] + radii[j]
        if squared >= contact * contact:
            continue
        distance = max(np.sqrt(squared), 1e-12)
        overlap = contact - distance
        energy += 0.5 * overlap * overlap
        largest = max(largest, overlap / contact)
        total, touching = total + overlap / contact, touching + 1
        for axis in range(3):
            push = overlap * apart[axis] / distance
            forces[i, axis] += push
            forces[j, axis] -= push
    return energy, largest, total / max(touching, 1)


@numba.njit(cache=True, nogil=True)
def _relax(centres: Any, radii: Any, sides: Any, classes: Any, counts: Any, offsets: Any, margin: float) -> float:
    """Move soft balls down their energy, in place, until none overlaps or the energy has come to rest.

    Returns the largest relative overlap if it is below CONTACT, otherwise the mean one.
    """
    steps, forces = np.zeros_like(centres), np.zeros_like(centres)
    origin, pairs = centres.copy(), _list_pairs(centres, radii, sides, classes, counts, offsets, margin)
    # Two balls that have come so far may meet although they are not listed.
    allowed = (0.5 * margin) ** 2
    before, mean = np.inf, 1.0
    for number in range(MOST_STEPS):
        energy, largest, mean = _push(centres, radii, sides, pairs, forces)
        if largest <= CONTACT:
            return largest
        if number % PLATEAU_STEPS == PLATEAU_STEPS - 1:
            if energy > (1 - PLATEAU) * before:
                break
            before = energy
        steps *= MOMENTUM
        steps += STRIDE * forces
        centres += steps
        farthest = 0.0
        for i in range(centres.shape[0]):
            farthest = max(farthest, np.sum((centres[i] - origin[i]) ** 2))
        if farthest > allowed:
            centres %= sides
            origin, pairs = centres.copy(), _list_pairs(centres, radii, sides, classes, counts, offsets, margin)
    return max(mean, 2 * CONTACT)
