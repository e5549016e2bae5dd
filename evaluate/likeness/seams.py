"""Whether a volume made from windows shows where they met: planes between windows against places beside them."""

import dataclasses
import functools
import itertools
import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluate.accepted_input import as_whole_number
from evaluate.blocks import Block, is_lazy, read_block
from evaluate.morphology.minkowski_functionals import surface_of_codes
from evaluate.morphology.neighbourhoods import LARGEST_N_PHASES, as_phases, open_labels

__all__ = ["SeamError", "SeamErrors", "seam_errors"]

DENSITIES = ("volume_fraction", "specific_surface", "euler_density")
FEWEST_TILES = 9
# Voxels along y (or x) that are read at once.
STRIP = 128
LARGEST_REACH = 64


@dataclasses.dataclass(frozen=True)
class SeamError:
    """One number at the planes and beside them; made by `seam_errors`.

    Attributes
    ----------
    axis : int
        That the planes are normal to.
    phase : int
        Label.
    quantity : {"volume_fraction", "specific_surface", "euler_density", "two_point"}
        The surface per volume in 1/voxel, the Euler number per volume in 1/voxel³ (6-connected).
    distance : int
        Of ``"two_point"``: voxels along the axis between the two ends of a pair, one on either side of the plane;
        otherwise 0.
    at_planes, elsewhere : float
        The number around the planes and around the places beside them.
    difference : float
        `at_planes` - `elsewhere`.
    standard_error : float
        Of the difference.
    degrees_of_freedom : float
        Of the standard error.
    z : float
        Difference / standard error; infinite where nothing varies but the difference, 0 where that is 0 too.
    p_value : float
        Two-sided, of Student's t, of this number alone.
    p_adjusted : float
        By Holm's method for all the numbers tested.
    """

    axis: int
    phase: int
    quantity: str
    distance: int
    at_planes: float
    elsewhere: float
    difference: float
    standard_error: float
    degrees_of_freedom: float
    z: float
    p_value: float
    p_adjusted: float


@dataclasses.dataclass(frozen=True)
class SeamErrors:
    """What `seam_errors` found.

    Attributes
    ----------
    errors : tuple of SeamError
        For each axis with planes and each phase: the three densities, then S2 at 1, 2, … voxels.
    worst : SeamError
        The one of the smallest p value.
    within_noise : bool
        Whether no adjusted p value is below `level`.
    level : float
        Chance of a false alarm, of all the numbers together.
    thickness, reach, tile : int
        As given, voxels.
    """

    errors: tuple[SeamError, ...]
    worst: SeamError
    within_noise: bool
    level: float
    thickness: int
    reach: int
    tile: int


class _Plan(NamedTuple):
    """How slabs are measured: `thickness`, `reach`, half the voxels read along the axis, and the edge of tiles."""

    thickness: int
    reach: int
    half: int
    tile: int
    n_phases: int


def seam_errors(
    labels: Any,
    planes: Sequence[Sequence[int]],
    *,
    n_phases: int | None = None,
    thickness: int = 4,
    reach: int = 4,
    tile: int = 16,
    level: float = 0.05,
) -> SeamErrors:
    """Compare a volume across the planes where windows met with the same volume elsewhere.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X)
        Labels 0, 1, …. An array of dask, Zarr or HDF5 is read strip by strip around the planes, with the same result;
        the memory does not grow with the volume.
    planes : three sequences of int
        For z, y and x the positions of the planes; p lies between voxels p - 1 and p. An axis may have none.
    n_phases : int, optional
        Needed for an array on disk; otherwise the largest label tells.
    thickness : int
        Voxels of a slab around a plane, even, at least 2.
    reach : int
        Largest distance of pairs in voxels, 1 to 64.
    tile : int
        Edge in voxels of the squares that planes are cut into, at least 4; 9 squares at least must fit. About
        twice the correlation length or more.
    level : float
        Chance of a false alarm, above 0 and below 1.

    Returns
    -------
    SeamErrors

    Raises
    ------
    ValueError
        Not labels; planes that are outside, too near to the border or to each other (4 times half the
        thickness or the reach, whichever is larger), or none at all; an argument out of range.

    Notes
    -----
    Each plane is compared with the two planes halfway to where its neighbours would be, at half the
    smallest spacing on either side (one, where the other is outside): slabs of the same thickness for the densities,
    and the pairs of voxels that a plane separates for S2. In each tile the differences are averaged over the
    planes of an axis. In a stationary medium their mean is 0; its standard error is that of the tiles, with the
    covariance of adjoining tiles where that is positive. The comparison with what is near takes out a gradient, and
    most of the variation from place to place.

    It sees what differs at the planes on average. Windows that differ from each other, but pass smoothly from one to
    the next, have no seams; see `diversity` for that.

    False alarms at ``level=0.05``, of 120 Gaussian media each, 96³ voxels, planes at 32 and 64 along every axis: none
    with a correlation length of 3 voxels, 3 % with 6 and 7 % with 10, for which tiles of 16 are small; 3 % with three
    phases and a length of 5 (``benchmarks/memorisation.py``).

    Examples
    --------
    >>> import numpy as np
    >>> left, right = np.random.default_rng(0).integers(0, 2, (2, 16, 48, 48)).repeat(2, 1).repeat(2, 2).repeat(2, 3)
    >>> stitched = np.concatenate([left[:31], right[:31]])
    >>> seam_errors(stitched, [(31,), (), ()]).within_noise
    False
    """
    plan = _plan(n_phases, thickness, reach=reach, tile=tile, level=level)
    accept = functools.partial(as_phases, n_phases=n_phases)
    volume, read = open_labels(labels, accept=accept, name="labels", boundary="interior")
    if n_phases is None:
        if is_lazy(labels):
            raise ValueError("labels are read piece by piece; say how many phases there are with n_phases")
        plan = plan._replace(n_phases=max(2, int(volume.max()) + 1))
    places = _places(planes, volume.shape, plan)
    found: list[SeamError] = []
    for axis, (at, beside) in places.items():
        centres = sorted({*at, *itertools.chain(*beside)})
        known = {centre: _measure(volume, read, axis=axis, centre=centre, plan=plan) for centre in centres}
        here = np.mean([known[p] for p in at], axis=0)
        there = np.mean([np.mean([known[q] for q in around], axis=0) for around in beside], axis=0)
        found += _compare(here, there, axis=axis)
    return _corrected(found, level=float(level), plan=plan)


def _plan(n_phases: Any, thickness: Any, *, reach: Any, tile: Any, level: Any) -> _Plan:
    if isinstance(level, bool) or not isinstance(level, numbers.Real) or not 0 < float(level) < 1:
        raise ValueError(f"level is {level!r}; it must be a number above 0 and below 1, such as 0.05")
    thick = as_whole_number(thickness, "thickness", low=2, high=2 * LARGEST_REACH)
    if thick % 2:
        raise ValueError(f"thickness is {thick}; it must be even, as many voxels on either side of a plane")
    far = as_whole_number(reach, "reach", low=1, high=LARGEST_REACH)
    phases = 2 if n_phases is None else as_whole_number(n_phases, "n_phases", low=2, high=LARGEST_N_PHASES)
    return _Plan(thick, far, max(thick // 2, far), as_whole_number(tile, "tile", low=4), phases)


def _places(planes: Any, shape: Sequence[int], plan: _Plan) -> dict[int, tuple[list[int], list[list[int]]]]:
    """Return the planes of each axis that has any, and those beside each of them that it is compared with."""
    try:
        rows = [[as_whole_number(p, "a plane", low=0) for p in row] for row in planes]
    except TypeError:
        raise ValueError(f"planes is {planes!r}; give three sequences of positions, for z, y and x") from None
    if len(rows) != 3 or not any(rows):
        raise ValueError(f"planes is {planes!r}; give three sequences of positions, for z, y and x, one not empty")
    found = {}
    for axis, row in enumerate(rows):
        at = sorted(set(row))
        if at:
            found[axis] = at, _beside(at, shape[axis], axis=axis, half=plan.half)
            tiles = math.prod(max(n // plan.tile, 1) for a, n in enumerate(shape) if a != axis)
            if tiles < FEWEST_TILES:
                raise ValueError(
                    f"a plane across axis {axis} of a volume {tuple(shape)} holds {tiles} tiles of {plan.tile} voxels, "
                    f"too few to tell the noise; at least {FEWEST_TILES} are needed: give a larger volume or lower tile"
                )
    return found


def _beside(at: list[int], n: int, *, axis: int, half: int) -> list[list[int]]:
    if at[0] < half or at[-1] > n - half:
        raise ValueError(
            f"planes along axis {axis} go from {at[0]} to {at[-1]}; with this thickness and reach they must lie "
            f"from {half} to {n - half}"
        )
    gaps = np.diff(at) if len(at) > 1 else np.array([2 * (max(at[0], n - at[0]) - half)])
    step = int(gaps.min()) // 2
    # A single plane has no neighbours: what is compared should be near, but not touch it.
    step = min(step, 4 * half) if len(at) == 1 else step
    around = [[q for q in (p - step, p + step) if half <= q <= n - half] for p in at]
    if step < 2 * half or not all(around):
        raise ValueError(
            f"planes along axis {axis} are too near to each other or to the border to compare them with what lies "
            f"between; at least {4 * half} voxels are needed from one to the next: lower thickness and reach"
        )
    return around


def _measure(volume: Any, read: Any, *, axis: int, centre: int, plan: _Plan) -> np.ndarray:
    """Measure the slab around one plane, shape (phases, quantities, tiles, tiles)."""
    others = [a for a in range(3) if a != axis]
    cuts = [_cuts(volume.shape[a], plan.tile) for a in others]
    rows = max(1, STRIP // plan.tile)
    strips = []
    for first in range(0, len(cuts[0]) - 1, rows):
        edges = cuts[0][first : first + rows + 1]
        window = [slice(None)] * 3
        window[axis] = slice(centre - plan.half, centre + plan.half)
        # One voxel more for the neighbourhoods that reach into the next strip.
        window[others[0]] = slice(int(edges[0]), int(edges[-1]) + 1)
        part = read_block(volume, Block((), tuple(window), ()))
        slab = np.moveaxis(read(part), axis, 0)
        strips.append(_measure_strip(slab, [edges - edges[0], cuts[1]], plan))
    return np.concatenate(strips, axis=2)


def _cuts(n: int, tile: int) -> np.ndarray:
    return np.linspace(0, n, max(n // tile, 1) + 1).astype(np.intp)


def _measure_strip(slab: np.ndarray, cuts: list[np.ndarray], plan: _Plan) -> np.ndarray:
    """Measure tiles of one strip of a slab, its normal first, shape (phases, quantities, tiles, tiles)."""
    middle, thin = plan.half, plan.thickness // 2
    found = []
    for phase in range(plan.n_phases):
        inside = slab == phase
        near = inside[middle - thin : middle + thin]
        codes = _codes(near)
        fields = [near.mean(axis=0)]
        fields += [table[codes].mean(axis=0) for table in (surface_of_codes((1.0, 1.0, 1.0)), _euler_of_codes())]
        for r in range(1, plan.reach + 1):
            first, second = inside[middle - r : middle], inside[middle : middle + r]
            fields.append((first & second).mean(axis=0))
        found.append(np.stack([_of_tiles(field, cuts) for field in fields]))
    return np.stack(found)


def _codes(inside: np.ndarray) -> np.ndarray:
    """Return the code of each 2 × 2 × 2 neighbourhood: corner (z, y, x) is bit 4 z + 2 y + x."""
    bits = inside.view(np.uint8)
    for axis in range(3):
        ahead, back = ((slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1)))
        bits = bits[back] | bits[ahead] << np.uint8(4 >> axis)
    return bits


@functools.cache
def _euler_of_codes() -> np.ndarray:
    """Return the Euler number that each neighbourhood stands for: vertices - edges + squares - cubes, 6-connected."""
    held = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool).reshape(-1, 2, 2, 2)
    total = held.sum(axis=(1, 2, 3)) / 8 - held.all(axis=(1, 2, 3))
    for axis in (1, 2, 3):
        others = tuple(a for a in (1, 2, 3) if a != axis)
        # An edge belongs to four neighbourhoods, a square to two.
        total = total - held.all(axis=axis).sum(axis=(1, 2)) / 4 + held.all(axis=others).sum(axis=1) / 2
    return total


def _of_tiles(field: np.ndarray, cuts: list[np.ndarray]) -> np.ndarray:
    """Return the mean of each tile; `field` may end before the last cut or go on after it by a voxel."""
    total = field[: cuts[0][-1], : cuts[1][-1]]
    for axis in (0, 1):
        size = np.diff(np.minimum(cuts[axis], total.shape[axis]))
        total = np.add.reduceat(total, cuts[axis][:-1], axis=axis) / np.expand_dims(size, 1 - axis)
    return total


def _compare(here: np.ndarray, there: np.ndarray, *, axis: int) -> list[SeamError]:
    from scipy.special import stdtr

    found = []
    for phase, row in np.ndindex(here.shape[:2]):
        at, elsewhere = here[phase, row], there[phase, row]
        error, degrees = _error_of_mean(at - elsewhere)
        difference = float(np.mean(at - elsewhere))
        z = difference / error if error > 0 else (0.0 if difference == 0 else math.copysign(math.inf, difference))
        found.append(
            SeamError(
                axis=axis,
                phase=phase,
                quantity=DENSITIES[row] if row < len(DENSITIES) else "two_point",
                distance=max(row - len(DENSITIES) + 1, 0),
                at_planes=float(at.mean()),
                elsewhere=float(elsewhere.mean()),
                difference=difference,
                standard_error=error,
                degrees_of_freedom=degrees,
                z=z,
                p_value=float(2 * stdtr(degrees, -abs(z))) if math.isfinite(z) else 0.0,
                p_adjusted=1.0,
            )
        )
    return found


def _error_of_mean(tiles: np.ndarray) -> tuple[float, float]:
    """Return the standard error of the mean of tiles whose neighbours may be alike, and its degrees of freedom."""
    deviation, n = tiles - tiles.mean(), tiles.size
    alone = float(np.sum(deviation**2))
    # Differences of equal numbers leave their last digits.
    if alone <= n * (1e-12 * max(1.0, float(np.abs(tiles).max()))) ** 2:
        return 0.0, float(n - 1)
    steps = ((0, 1), (1, 0), (1, 1), (1, -1))
    together = 2 * sum(_neighbours(deviation, *step) for step in steps)
    inflation = max(1.0, 1.0 + together / alone)
    return math.sqrt(alone * inflation / (n * (n - 1))), max(n / inflation - 1, 1.0)


def _neighbours(deviation: np.ndarray, down: int, right: int) -> float:
    """Sum of the products of tiles that are so many apart."""
    mirrored = deviation[:, ::-1] if right < 0 else deviation
    height, width = mirrored.shape
    right = abs(right)
    return float(np.sum(mirrored[: height - down, : width - right] * mirrored[down:, right:]))


def _corrected(found: list[SeamError], *, level: float, plan: _Plan) -> SeamErrors:
    order = np.argsort([error.p_value for error in found], kind="stable")
    adjusted, largest = np.empty(len(found)), 0.0
    for rank, which in enumerate(order):
        largest = max(largest, min(1.0, (len(found) - rank) * found[which].p_value))
        adjusted[which] = largest
    errors = tuple(dataclasses.replace(e, p_adjusted=float(p)) for e, p in zip(found, adjusted, strict=True))
    worst = errors[int(order[0])]
    return SeamErrors(
        errors=errors,
        worst=worst,
        within_noise=worst.p_adjusted >= level,
        level=level,
        thickness=plan.thickness,
        reach=plan.reach,
        tile=plan.tile,
    )
