"""Two-point correlation of one phase or of two, over all directions and along each axis, at any size."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluate.accepted_input import as_mask, as_voxel_size, as_whole_number
from evaluate.blocks import Block, is_lazy, measure_blocks, read_block
from evaluate.morphology.pair_hits import axis_images, padded_sizes, pair_hits, pair_members

__all__ = ["TwoPoint", "two_point"]

# Default reach in an array that is read block by block: each block is read with a halo as thick as this.
LAZY_REACH = 64
# The covariance is summed over displacements of at most this many integral ranges, and over less of the window.
LARGEST_REACH = 64
LARGEST_SHARE = 0.5
# A quotient of lengths that should be whole may be off by this much.
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class TwoPoint:
    """Two-point correlation function; made by `two_point`.

    Lengths are in `unit`.

    Attributes
    ----------
    r : ndarray of float64, shape (r_max + 1,)
        Mean distance of the pairs of voxels in each bin. ``r[0]`` is 0.
    s2 : ndarray of float64, shape (r_max + 1,)
        Probability that both voxels of a pair lie in the phase (of two phases: one voxel in each). ``s2[0]`` is the
        volume fraction (of two phases: that of their intersection).
    r_along : tuple of three ndarrays of float64
        Distances 0, 1, 2, … voxels along z, y and x.
    along : tuple of three ndarrays of float64
        S2 of the displacements along z, y and x alone, at `r_along`; of two phases the mean of both senses.
    limit : ndarray of float64, shape (r_max + 1,)
        What S2 would be if the voxels of a pair were independent: the square of the volume fraction (or the product of
        the two) among the voxels that the pairs of the bin have. φ² at ``r[0]``, and everywhere if periodic. With free
        borders the pairs of large r weigh the middle of the window more, and ``s2 - limit``, the covariance, does
        not vary with what is there by chance.
    shell_volume : ndarray of float64, shape (r_max + 1,)
        Volume of the displacements in each bin: their number times the volume of a voxel, in unit³.
    window_volume : float
        Volume of all the voxels, in unit³.
    periodic : bool
        Whether the volume was taken to repeat itself beyond its faces.
    of_two : bool
        Whether two phases were correlated with each other.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    """

    r: np.ndarray
    s2: np.ndarray
    r_along: tuple[np.ndarray, ...]
    along: tuple[np.ndarray, ...]
    limit: np.ndarray
    shell_volume: np.ndarray
    window_volume: float
    periodic: bool
    of_two: bool
    unit: str

    def integral_range(self, *, cut: float | None = None) -> float:
        r"""Return the volume within which a phase is as good as known from one point: its integral range.

        Parameters
        ----------
        cut : float, optional
            Distance, in `unit`, up to which the covariance is summed. By default it ends before the first bin where the
            covariance is not above zero, or where the displacements fill more than 64 times the sum so far (a ball
            of four times the radius): from there on noise would be added up.

        Returns
        -------
        float
            :math:`A = \int (S_2 - φ^2) / (φ - φ^2) \, dV`, in unit³. The volume fraction of a window of volume
            V much larger than A has the standard error :math:`\sqrt{φ (1 - φ) A / V}` [1]_, and V / A is the
            number of independent parts of the window.

        Raises
        ------
        ValueError
            Of two phases, or of one that fills all or nothing; a cut that is not positive; a covariance that is still
            above zero at the end of `r`, or a cut that is not small against the window.

        Notes
        -----
        Summed over all displacements of a periodic volume the covariance is exactly zero, whatever the medium,
        because φ is the window's own; hence the cut. Within it, each value is too low by the variance of φ,
        φ (1 - φ) A / V, which is put back: A = sum / (1 - volume within the cut / V). Of media whose
        covariance swings below zero (spheres apart, fibres in order) the part up to the first zero is above the true
        integral range, and the standard error from it too large.

        References
        ----------
        .. [1] C. Lantuéjoul, "Ergodicity and integral range", J. Microsc. 161 (1991) 387.
        """
        if self.of_two:
            raise ValueError("the integral range is that of one phase; this is the correlation of two")
        variance = float(self.s2[0] * (1 - self.s2[0]))
        if variance == 0:
            raise ValueError(f"the phase fills {self.s2[0]:.0%} of the volume; its integral range is not defined")
        covariance = (self.s2 - self.limit) / variance
        within = self._before_the_noise(covariance) if cut is None else self.r <= _positive(cut, self.unit)
        share = float(self.shell_volume[within].sum()) / self.window_volume
        if share >= LARGEST_SHARE:
            raise ValueError(
                f"up to the cut the displacements fill {share:.0%} of the window; an integral range needs a window "
                "that is large against the structure: measure a larger volume, or give a smaller cut"
            )
        return float(covariance[within] @ self.shell_volume[within]) / (1 - share)

    def _before_the_noise(self, covariance: np.ndarray) -> np.ndarray:
        sums = np.cumsum(covariance * self.shell_volume)
        over = (covariance <= 0) | (np.cumsum(self.shell_volume) > LARGEST_REACH * sums)
        if not over.any():
            raise ValueError(
                f"the covariance is still above zero at r = {self.r[-1]:g} {self.unit}; an integral range needs "
                "all of it: give a larger r_max, measure a larger volume, or name the cut"
            )
        return np.cumsum(over) == 0


def two_point(
    mask: Any,
    *,
    other: Any = None,
    periodic: bool = False,
    r_max: int | None = None,
    voxel_size_um: Sequence[float] | None = None,
) -> TwoPoint:
    """Probability that two voxels at a distance r both lie in a phase, or one of them in each of two phases.

    Every pair of voxels is counted once, by fast Fourier transform. Bin ``k`` holds the pairs whose distance lies
    within ``[k - 1/2, k + 1/2)`` voxels, and ``s2[k]`` is the share of them with both voxels in the phase. With
    free borders only the pairs inside the volume count, so that S2 of a stationary medium is unbiased at each r.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase. Also an array of dask, Zarr or HDF5, which is read block by block.
    other : array_like, shape (Z, Y, X), optional
        A second phase: pairs then count if one voxel lies in `mask` and one in `other`, each sense half.
    periodic : bool
        Let the volume repeat itself beyond its faces; every displacement then has as many pairs as there are voxels.
        Not for arrays that are read block by block.
    r_max : int, optional
        Largest distance, in edges of a voxel (the smallest edge, if they differ): below the smallest side, or at most
        half of it if periodic. By default half of the smallest side, and of an array that is read block by block at
        most 64; at larger distances few and dependent pairs are left. Sides of one voxel do not count as the
        smallest, so that a single slice can be measured.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; they need not be equal. By default that of `mask`, if it is a
        `volume.Volume` that knows it; otherwise every result is in voxels, taken as cubes. Distances are those between
        the centres of the voxels, and a bin is as wide as the smallest edge.

    Returns
    -------
    TwoPoint
        For a medium without long-range order, S2 falls from the volume fraction φ to φ².

    Raises
    ------
    ValueError
        `mask` or `other` is empty, not 3-D or holds more than 0 and 1; their shapes differ; `r_max` out of range; voxel
        edges that are not positive; a periodic volume that is read block by block.

    Notes
    -----
    Pair counts are whole numbers and are rounded back to them, so constant masks give exactly 0 or 1, and an
    array that is read block by block gives, at the same `r_max`, the same bytes as in memory: each block's voxels
    are paired with their surroundings up to `r_max`, and the counts are added up. The largest memory of the process,
    mask and imports included, is 0.35 GiB at 256³, 0.75 GiB at 512³ with an `r_max` of 64, and by blocks 0.8 GiB at
    that `r_max`, whatever the volume.

    The correlations of n phases that fill the volume add up to 1 over both phases. Over `other` alone they add up to
    the volume fraction φ of `mask`, if periodic; then that of two phases with each other is φ - S2 of one.

    The slope at r = 0 is minus a quarter of the specific surface (Debye). On voxels the first bins mix the axes and
    diagonals of the lattice, and the slope is not that of `r`: `minkowski` measures the surface.

    References
    ----------
    S. Torquato, Random Heterogeneous Materials, Springer 2002, section 2.2.
    """
    lazy = is_lazy(mask) or is_lazy(other)
    first = _accepted(mask, "mask")
    second = None if other is None else _accepted(other, "other")
    if second is not None and second.shape != first.shape:
        raise ValueError(f"mask has shape {first.shape} and other {second.shape}; they must be equal")
    if lazy and periodic:
        raise ValueError(
            "a periodic volume cannot be read block by block; load it into memory with numpy.asarray, "
            "or take its borders as free (periodic=False)"
        )
    voxel = as_voxel_size(voxel_size_um, mask)
    lattice = _lattice(first.shape, voxel or (1.0, 1.0, 1.0), periodic=bool(periodic))
    reach = _reach(lattice, r_max, lazy=lazy)
    lags = _largest_lags(lattice, reach)
    tally = _tally_blocks(first, second, lags) if lazy else _tally(first, second, lags, periodic=bool(periodic))
    return _correlation(tally, lattice, reach, unit="um" if voxel else "voxel", of_two=second is not None)


class _Lattice(NamedTuple):
    """Voxels along (z, y, x), the edges of a voxel, and the width of a bin."""

    shape: tuple[int, ...]
    edges: tuple[float, float, float]
    step: float
    periodic: bool


class _Tally(NamedTuple):
    """For each displacement (all its signs together) the pairs inside, and those with a voxel in one of the sets."""

    hits: np.ndarray
    first: np.ndarray
    second: np.ndarray


def _positive(cut: Any, unit: str) -> float:
    if not (isinstance(cut, (int, float, np.number)) and math.isfinite(cut) and cut > 0):
        raise ValueError(f"cut is {cut!r}; it must be a positive distance in {unit}, or None")
    return float(cut)


def _accepted(values: Any, name: str) -> Any:
    if not is_lazy(values):
        return as_mask(values, name)
    if len(values.shape) != 3 or 0 in values.shape:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; a 3-D array with voxels is accepted, axes (z, y, x)")
    return values


def _lattice(shape: tuple[int, ...], edges: tuple[float, float, float], *, periodic: bool) -> _Lattice:
    step = min((edge for edge, n in zip(edges, shape, strict=True) if n > 1), default=min(edges))
    return _Lattice(tuple(map(int, shape)), edges, step, periodic)


def _reach(lattice: _Lattice, r_max: int | None, *, lazy: bool) -> int:
    """Return the last bin: that of `r_max`, or the default."""
    sides = [(n, edge / lattice.step) for n, edge in zip(lattice.shape, lattice.edges, strict=True) if n > 1]
    half = math.floor(min((n * edge for n, edge in sides), default=1) / 2 + ROUNDING)
    if r_max is None:
        return min(half, LAZY_REACH) if lazy else half
    last = half if lattice.periodic else math.floor(min(((n - 1) * edge for n, edge in sides), default=0) + ROUNDING)
    return as_whole_number(r_max, "r_max", low=0, high=last)


def _largest_lags(lattice: _Lattice, reach: int) -> tuple[int, ...]:
    """Return the largest displacement along each axis that the last bin may hold."""
    end = (reach + 0.5) * lattice.step
    return tuple(
        min(math.ceil(end / edge - ROUNDING) - 1, n - 1) for n, edge in zip(lattice.shape, lattice.edges, strict=True)
    )


def _tally(first: np.ndarray, second: np.ndarray | None, lags: tuple[int, ...], *, periodic: bool) -> _Tally:
    if periodic:
        hits = pair_hits(first, second, lags=lags, sizes=first.shape)
        images = functools.reduce(np.multiply.outer, axis_images(lags))
        return _Tally(hits, *(np.count_nonzero(one) * images for one in (first, first if second is None else second)))
    hits = pair_hits(first, second, lags=lags, sizes=padded_sizes(first.shape, lags))
    members = pair_members(first, lags=lags, shape=first.shape)
    return _Tally(hits, members, members if second is None else pair_members(second, lags=lags, shape=first.shape))


def _tally_blocks(first: Any, second: Any, lags: tuple[int, ...]) -> _Tally:
    count = functools.partial(_tally_block, second=second, lags=lags, shape=first.shape)
    parts = measure_blocks(count, first, halo=lags)
    return functools.reduce(lambda a, b: _Tally(*map(np.add, a, b)), parts)


def _tally_block(
    part: np.ndarray, block: Block, *, second: Any, lags: tuple[int, ...], shape: tuple[int, ...]
) -> _Tally:
    """Count the pairs with the first voxel in the block's core and the second in all that was read."""
    around = as_mask(part)
    core = around
    if block.core != block.read:
        core = np.zeros_like(around)
        core[block.inside] = around[block.inside]
    start = [own.start for own in block.core]
    members = pair_members(around[block.inside], lags=lags, shape=shape, start=start)
    others = members
    if second is not None:
        around = as_mask(read_block(second, block), "other")
        others = pair_members(around[block.inside], lags=lags, shape=shape, start=start)
    halos = [min(own.start, n - own.stop) for own, n in zip(block.inside, part.shape, strict=True)]
    return _Tally(pair_hits(core, around, lags=lags, sizes=padded_sizes(part.shape, lags, halos)), members, others)


def _correlation(tally: _Tally, lattice: _Lattice, reach: int, *, unit: str, of_two: bool) -> TwoPoint:
    """Divide the hits by the pairs, in bins and along the axes."""
    lags = [n - 1 for n in tally.hits.shape]
    positions = [
        np.full(lag + 1, float(n)) if lattice.periodic else n - np.arange(lag + 1.0)
        for lag, n in zip(lags, lattice.shape, strict=True)
    ]
    images = axis_images(lags)
    sums = _binned_by_distance(tally, positions, images, lattice, reach)
    lines = [tally.hits[:, 0, 0], tally.hits[0, :, 0], tally.hits[0, 0, :]]
    size, voxel = math.prod(lattice.shape), math.prod(lattice.edges)
    across = [size // n for n in lattice.shape]
    return TwoPoint(
        r=sums[2] / sums[1] * lattice.step,
        s2=sums[0] / sums[1],
        r_along=tuple(np.arange(lag + 1) * edge for lag, edge in zip(lags, lattice.edges, strict=True)),
        along=tuple(
            line / (image * position * other)
            for line, image, position, other in zip(lines, images, positions, across, strict=True)
        ),
        limit=sums[3] / sums[1] * (sums[4] / sums[1]),
        shell_volume=sums[5] * voxel,
        window_volume=size * voxel,
        periodic=lattice.periodic,
        of_two=of_two,
        unit=unit,
    )


def _binned_by_distance(
    tally: _Tally, positions: list[np.ndarray], images: list[np.ndarray], lattice: _Lattice, reach: int
) -> np.ndarray:
    """Sum hits, pairs, the pairs' distances, the voxels of both sets and displacements in bins 0, 1, ..., `reach`."""
    squares = [
        (np.arange(n) * (edge / lattice.step)) ** 2 for n, edge in zip(tally.hits.shape, lattice.edges, strict=True)
    ]
    flat = np.add.outer(squares[1], squares[2])
    signs = np.multiply.outer(images[1], images[2])
    pairs = np.multiply.outer(positions[1], positions[2]) * signs
    totals = np.zeros((6, reach + 1))
    for z, square in enumerate(squares[0]):
        distance = np.sqrt(square + flat)
        bins = np.floor(distance + 0.5 + ROUNDING).astype(np.intp).ravel()
        count = pairs * (positions[0][z] * images[0][z])
        hits, first, second = (one[z] for one in tally)
        for row, weight in enumerate((hits, count, count * distance, first, second, images[0][z] * signs)):
            totals[row] += np.bincount(bins, weight.ravel(), reach + 1)[: reach + 1]
    return totals
