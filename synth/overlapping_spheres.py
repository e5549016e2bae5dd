"""The Boolean model: balls placed independently of each other, until a porosity is left."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from synth.radius_laws import RadiusLaw, reach_moments
from synth.stamping import count_pores_in_ball, largest_radius, stamp_all

__all__ = ["Filled", "draw_agglomerates", "draw_balls", "fill_with_balls"]

BATCH = 1024
# A box counts as full if balls of so many times its volume have covered less than this share of what was missing.
ROUND, LEAST_GAIN = 20, 0.001

Shape = tuple[int, int, int]
Batches = Iterator[tuple[np.ndarray, np.ndarray]]
Holds = Callable[[np.ndarray], np.ndarray]


class Filled(NamedTuple):
    """What `fill_with_balls` has done: voxels covered, how many balls covered one or more, and the balls kept."""

    solid: int
    number: int
    centres: np.ndarray
    radii: np.ndarray


def draw_balls(shape: Shape, law: RadiusLaw, *, periodic: bool, rng: np.random.Generator) -> Batches:
    """Yield (centres, radii), a batch at a time, of balls of the Boolean model that may reach into the box."""
    sides = np.asarray(shape, float)
    while True:
        radii = law.draw(BATCH, rng) if periodic else law.draw_near_box(BATCH, sides, rng)
        margin = np.zeros(BATCH) if periodic else radii
        yield rng.random((BATCH, 3)) * (sides + 2 * margin[:, None]) - margin[:, None], radii


def draw_agglomerates(
    shape: Shape, law: RadiusLaw, *, fraction: float, margin: int, periodic: bool, rng: np.random.Generator
) -> Holds:
    """Draw large balls that take `fraction` of space, and return a function that tells which points they hold.

    They are a Boolean model themselves, of random number. Points may lie up to `margin` voxels outside the box.
    """
    margin = 0 if periodic else margin
    z, y, x = (n + 2 * margin for n in shape)
    inside = np.zeros((z, y, x), np.uint8)
    intensity = -np.log1p(-fraction) / (4 / 3 * np.pi * law.moment(3))
    reach = inside.size if periodic else reach_moments(law, np.array([z, y, x], float)).sum()
    number, batches = rng.poisson(intensity * reach), draw_balls((z, y, x), law, periodic=periodic, rng=rng)
    while number > 0:
        centres, radii = next(batches)
        stamp_all(inside, centres[:number], radii[:number], periodic=periodic)
        number -= len(radii)
    last = np.array(inside.shape) - 1
    return lambda points: inside[tuple(np.clip(np.floor(points + margin).astype(int), 0, last).T)] > 0


def fill_with_balls(
    labels: np.ndarray, batches: Batches, *, target: int, tolerance: int, periodic: bool,
    holds: Holds | None = None, keep: bool = False,
) -> Filled:  # fmt: skip
    """Stamp balls, in the order in which they come, until `target` voxels of `labels` are solid.

    Balls whose centres `holds` refuses are left out. With `keep` all others are returned, in their order.

    The ball that would cover too much is made as small as the target asks for. To draw it again until it fits would
    favour balls that lie half outside, and so leave the border denser than the inside.
    """
    solid, number, kept = 0, 0, [(np.empty((0, 3)), np.empty(0))]
    spent, before = 0.0, 0
    while target - solid > tolerance:
        centres, radii = next(batches)
        # Refused balls count too: they are as many as the others allow.
        spent += float(np.minimum(4.19 * radii**3, labels.size).sum())
        if holds is not None:
            held = holds(centres)
            centres, radii = centres[held], radii[held]
        first = 0
        while first < len(radii) and target - solid > tolerance:
            # As many at once as cannot overshoot; their order does not matter then.
            bounds = np.cumsum(4.19 * (radii[first:] + 1) ** 3)
            count = max(1, int(np.searchsorted(bounds, target - solid, side="right")))
            chosen = slice(first, first + count)
            if bounds[0] > target - solid:
                radii[first] = _fitting_radius(labels, centres[first], radii[first], target - solid, periodic)
            covered, useful = stamp_all(labels, centres[chosen], radii[chosen], periodic=periodic)
            if keep:
                kept.append((centres[chosen].copy(), radii[chosen].copy()))
            solid, number, first = solid + covered, number + int(np.count_nonzero(useful)), first + count
        if spent > ROUND * labels.size:
            if solid - before < LEAST_GAIN * (target - solid):
                break
            spent, before = 0.0, solid
    return Filled(solid, number, *(np.concatenate(part) for part in zip(*kept, strict=True)))


def _fitting_radius(labels: np.ndarray, centre: np.ndarray, radius: float, gap: int, periodic: bool) -> float:
    if count_pores_in_ball(labels, centre, radius, limit=gap, periodic=periodic) <= gap:
        return radius
    return largest_radius(labels, centre, radius, most=gap, periodic=periodic)
