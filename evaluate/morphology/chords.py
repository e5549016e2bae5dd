"""How far a phase reaches along straight lines: chord lengths and the lineal path function."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from evaluate.accepted_input import as_mask, as_voxel_size, as_whole_number
from evaluate.blocks import Block, is_lazy, measure_blocks

__all__ = ["ChordLengths", "ChordsAlong", "LinealPath", "chord_lengths", "lineal_path"]

BORDERS = ("exclude", "kaplan-meier")
# Voxels of the lines that are read together, of an array on disk.
BLOCK_VOXELS = 2**24
# A quotient of lengths that should be whole may be off by this much.
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class LinealPath:
    """Lineal path function; made by `lineal_path`.

    Attributes
    ----------
    r : ndarray of float64, shape (r_max + 1,)
        Lengths of the segment in `unit`, a smallest edge of a voxel apart. ``r[0]`` is 0.
    probability : ndarray of float64, shape (r_max + 1,)
        Probability that the segment lies wholly in the phase, averaged over `axes`. ``probability[0]`` is the volume
        fraction.
    axes : tuple of int
        The axes measured.
    r_along : tuple of ndarrays of float64
        For each of `axes`, lengths of 0, 1, 2, … voxels, in `unit`.
    along : tuple of ndarrays of float64
        For each of `axes`, the probability at `r_along`.
    periodic : bool
        Whether the volume was taken to repeat itself beyond its faces.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    """

    r: np.ndarray
    probability: np.ndarray
    axes: tuple[int, ...]
    r_along: tuple[np.ndarray, ...]
    along: tuple[np.ndarray, ...]
    periodic: bool
    unit: str


@dataclasses.dataclass(frozen=True, eq=False)
class ChordsAlong:
    """Chords along one axis; part of `ChordLengths`.

    Attributes
    ----------
    axis : int
    length : ndarray of float64, shape (N + 1,)
        0, 1, …, N voxels along the axis, in the unit of the whole.
    count : ndarray of int64, shape (N + 1,)
        Chords of each length with both ends in the window.
    cut_count : ndarray of int64, shape (N + 1,)
        Chords that the border cuts at one end or both, by the length that is seen.
    density : ndarray of float64, shape (N + 1,)
        Probability density of the length, in 1/unit: ``density.sum() * length[1]`` is ``1 - beyond``.
    mean : float
        Mean chord in unit, from the phase's voxels and its crossings; infinite if no chord has an end in the window.
    beyond : float
        Share of the chords that are longer than `density` tells: 1 if none has both ends in the window, and 0 with
        ``border="exclude"`` otherwise.
    """

    axis: int
    length: np.ndarray
    count: np.ndarray
    cut_count: np.ndarray
    density: np.ndarray
    mean: float
    beyond: float


@dataclasses.dataclass(frozen=True, eq=False)
class ChordLengths:
    """Distribution of chord lengths; made by `chord_lengths`.

    Attributes
    ----------
    length : ndarray of float64, shape (L,)
        Lengths in `unit`, a largest edge of a voxel (of the axes measured) apart, from 0 on.
    density : ndarray of float64, shape (L,)
        Probability density of the length in 1/unit, averaged over the axes that have chords with both ends.
    mean : float
        Mean chord in `unit`: 1 / (mean over the axes of 1 / mean chord). For an isotropic phase of volume fraction φ
        and specific surface s it is 4 φ / s. Infinite if no chord has an end in the window.
    along : tuple of ChordsAlong
        Each axis by itself.
    border : str
        How chords were treated that the border cuts.
    periodic : bool
        Whether the volume was taken to repeat itself beyond its faces.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    """

    length: np.ndarray
    density: np.ndarray
    mean: float
    along: tuple[ChordsAlong, ...]
    border: str
    periodic: bool
    unit: str


def lineal_path(
    mask: Any,
    *,
    axis: int | None = None,
    periodic: bool = False,
    r_max: int | None = None,
    voxel_size_um: Sequence[float] | None = None,
) -> LinealPath:
    r"""Probability that a segment of length r along an axis lies wholly in a phase.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase. Also an array of dask, Zarr or HDF5, which is read block by block.
    axis : {0, 1, 2}, optional
        Along z, y or x; by default along each axis of more than one voxel, and the mean of them.
    periodic : bool
        Let the volume repeat itself beyond its faces. A line that is wholly in the phase then has no end.
    r_max : int, optional
        Largest length, in edges of a voxel (the smallest edge of the axes measured, if they differ); it must be less
        than the shortest side. By default half of that side.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm. By default that of `mask`, if it is a `volume.Volume` that knows
        it; otherwise lengths are in voxels, taken as cubes.

    Returns
    -------
    LinealPath
        L(r) ≤ S2(r) along the same axis, L(0) is the volume fraction, and L never rises if the volume is periodic.

    Raises
    ------
    ValueError
        `mask` is empty, not 3-D or holds more than 0 and 1; `axis` or `r_max` out of range; voxel edges that are
        not positive.

    Notes
    -----
    A segment of k voxels' length goes from centre to centre, through k + 1 voxels. With free borders the segments
    inside the volume are counted and divided by their number, so that L of a stationary medium is unbiased at each r
    (and, in a small window, may rise a little). A run of m voxels holds m - k such segments, so that the counts are
    exact, and those between whole numbers are linear in k: the mean over axes with unequal edges takes them there. An
    array that is read block by block gives the same bytes as in memory; it is read once for each axis.

    References
    ----------
    B. Lu and S. Torquato, "Lineal-path function for random heterogeneous materials", Phys. Rev. A 45 (1992) 922.
    """
    inside, axes, voxel = _accepted(mask, axis, voxel_size_um)
    edges = [(voxel or (1.0, 1.0, 1.0))[own] for own in axes]
    sides = [inside.shape[own] for own in axes]
    step = min(edges)
    last = math.floor(min((n - 1) * (edge / step) for n, edge in zip(sides, edges, strict=True)) + ROUNDING)
    half = math.floor(min(n * (edge / step) for n, edge in zip(sides, edges, strict=True)) / 2 + ROUNDING)
    reach = min(half, last) if r_max is None else as_whole_number(r_max, "r_max", low=0, high=last)
    r = np.arange(reach + 1) * step
    curves, means = [], []
    for own, edge, n in zip(axes, edges, sides, strict=True):
        runs = _runs(inside, own, periodic=bool(periodic))
        lines = math.prod(inside.shape) // n
        voxels = np.arange(min(math.floor(reach * step / edge + ROUNDING), n - 1) + 1)
        curves.append(_share_of_segments(runs, voxels, lines, periodic=bool(periodic)))
        means.append(_share_of_segments(runs, np.minimum(r / edge, n - 1), lines, periodic=bool(periodic)))
    return LinealPath(
        r=r,
        probability=np.mean(means, axis=0),
        axes=axes,
        r_along=tuple(np.arange(len(curve)) * edge for curve, edge in zip(curves, edges, strict=True)),
        along=tuple(curves),
        periodic=bool(periodic),
        unit="um" if voxel else "voxel",
    )


def chord_lengths(
    mask: Any,
    *,
    axis: int | None = None,
    border: Literal["exclude", "kaplan-meier"] = "exclude",
    periodic: bool = False,
    voxel_size_um: Sequence[float] | None = None,
) -> ChordLengths:
    r"""Lengths of the chords that a phase cuts out of the lines along the axes.

    Every line of voxels is looked at; a chord is a run of voxels of the phase, and is as long as its voxels.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase. Also an array of dask, Zarr or HDF5, which is read block by block.
    axis : {0, 1, 2}, optional
        Along z, y or x; by default along each axis of more than one voxel.
    border : {"exclude", "kaplan-meier"}
        What becomes of chords that the border of the window cuts. ``"exclude"``: they are left out of the density, and
        long chords, which are cut more often, are then too rare in it: of the chords of l voxels that begin in a window
        of N voxels, (l + 1) / N are left out. ``"kaplan-meier"``: a chord that is cut at one end is known to be
        longer than what is seen, and counts as such; the density is then that of a stationary medium up to the
        longest chord seen, and `beyond` is what is longer.
    periodic : bool
        Let the volume repeat itself beyond its faces: no chord is cut, and `border` makes no difference.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm. By default that of `mask`, if it is a `volume.Volume` that knows
        it; otherwise lengths are in voxels.

    Returns
    -------
    ChordLengths

    Raises
    ------
    ValueError
        `mask` is empty, not 3-D, holds more than 0 and 1 or nothing of the phase; `axis` out of range; an unknown
        `border`; voxel edges that are not positive.

    Notes
    -----
    `mean` does not depend on `border`: it is the number of the phase's voxels over half the number of its crossings,
    each voxel at the border of the window and each chord that is cut counting half. That is unbiased in a window of any
    size, and where no chord is cut it is the mean of those counted.

    Digital lengths are whole numbers of voxels. The number of chords of a smooth phase is right on average, but where a
    surface is grazed the shortest chords are missed or joined: the density of 1 and 2 voxels is unsure. The
    estimator is that of censored lifetimes [1]_: the chance that a chord of at least m voxels ends there is taken from
    those whose next voxel is seen, beginning at either end.

    An array that is read block by block gives the same bytes as in memory; it is read once for each axis.

    References
    ----------
    .. [1] E. L. Kaplan and P. Meier, "Nonparametric estimation from incomplete observations", J. Am. Stat. Assoc.
       53 (1958) 457; for chords in a window, M. B. Hansen, A. J. Baddeley and R. D. Gill, "Kaplan-Meier type
       estimators for linear contact distributions", Scand. J. Stat. 23 (1996) 129.
    """
    if border not in BORDERS:
        raise ValueError(f"border is {border!r}; it must be one of {', '.join(map(repr, BORDERS))}")
    inside, axes, voxel = _accepted(mask, axis, voxel_size_um)
    edges = voxel or (1.0, 1.0, 1.0)
    along = tuple(
        _chords_along(
            _runs(inside, own, periodic=bool(periodic)), own, edges[own], border=border, periodic=bool(periodic)
        )
        for own in axes
    )
    length, density = _averaged_density(along)
    return ChordLengths(
        length=length,
        density=density,
        mean=_reciprocal(float(np.mean([1.0 / chords.mean for chords in along]))),
        along=along,
        border=border,
        periodic=bool(periodic),
        unit="um" if voxel else "voxel",
    )


def _accepted(mask: Any, axis: int | None, voxel_size_um: Sequence[float] | None) -> tuple[Any, tuple[int, ...], Any]:
    """Return the mask, the axes to be measured, and the edges of a voxel if known."""
    inside = mask if is_lazy(mask) else as_mask(mask)
    if len(inside.shape) != 3 or 0 in inside.shape:
        raise ValueError(f"mask has shape {tuple(inside.shape)}; a 3-D array with voxels is accepted, axes (z, y, x)")
    if axis is None:
        axes = tuple(own for own in range(3) if inside.shape[own] > 1) or (0, 1, 2)
    else:
        axes = (as_whole_number(axis, "axis", low=0, high=2),)
    return inside, axes, as_voxel_size(voxel_size_um, mask)


def _runs(inside: Any, axis: int, *, periodic: bool) -> np.ndarray:
    """Count the runs along an axis, shape (3, N + 1); of an array on disk, from blocks that hold whole lines."""
    count = functools.partial(_runs_in_block, axis=axis, periodic=periodic)
    if not is_lazy(inside):
        return count(inside)
    n = int(inside.shape[axis])
    edge = [n if own == axis else max(1, math.isqrt(BLOCK_VOXELS // n)) for own in range(3)]
    return functools.reduce(np.add, measure_blocks(count, inside, edge=edge))


def _runs_in_block(part: np.ndarray, _: Block | None = None, *, axis: int, periodic: bool) -> np.ndarray:
    from evaluate.morphology.run_lengths import count_runs

    lines = np.ascontiguousarray(as_mask(part))
    before, after = math.prod(lines.shape[:axis]), math.prod(lines.shape[axis + 1 :])
    return count_runs(lines.reshape(before, lines.shape[axis], after), periodic)


def _share_of_segments(runs: np.ndarray, k: np.ndarray, lines: int, *, periodic: bool) -> np.ndarray:
    """Divide the segments of `k` voxels' length in the phase by all that there are."""
    n = runs.shape[1] - 1
    ended = runs[:2].sum(axis=0) if periodic else runs.sum(axis=0)
    m = np.arange(n + 1)
    # Of a run of m voxels, m - k segments: two sums of all from the longest run down.
    longer = np.cumsum(ended[::-1])[::-1] - ended
    whole = np.cumsum((m * ended)[::-1])[::-1] - m * ended - m * longer
    held = np.interp(k, m, whole)
    if periodic:
        return (held + n * runs[2, n]) / (lines * n)
    return held / (lines * (n - k))


def _chords_along(runs: np.ndarray, axis: int, edge: float, *, border: str, periodic: bool) -> ChordsAlong:
    complete, cut, spanning = runs
    m = np.arange(runs.shape[1])
    voxels = int(m @ runs.sum(axis=0))
    if voxels == 0:
        raise ValueError("mask holds no voxel of the phase; there are no chords to measure")
    # Between the centres of the outermost voxels, where the crossings are seen, a voxel at the border is half inside.
    seen = voxels if periodic else voxels - 0.5 * cut.sum() - spanning.sum()
    ends = complete.sum() + 0.5 * cut.sum()
    share, beyond = _shares(complete, cut if border == "kaplan-meier" else np.zeros_like(cut))
    return ChordsAlong(
        axis=axis,
        length=m * edge,
        count=complete,
        cut_count=cut + spanning,
        density=share / edge,
        mean=float(seen / ends * edge) if ends else math.inf,
        beyond=beyond,
    )


def _shares(complete: np.ndarray, cut: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the share of each length among all chords, and of those that are longer than can be told."""
    if not complete.any():
        return np.zeros(len(complete)), 1.0
    # A complete chord is seen from both its ends, one that is cut from one.
    ended = 2 * complete
    at_least = np.cumsum(ended[::-1])[::-1]
    longer_cut = np.cumsum(cut[::-1])[::-1] - cut
    at_risk = at_least + longer_cut
    hazard = np.divide(ended, at_risk, out=np.zeros(len(ended)), where=at_risk > 0)
    survival = np.cumprod(1.0 - hazard)
    shares = np.concatenate([[1.0], survival[:-1]]) * hazard
    return shares, float(survival[-1])


def _averaged_density(along: tuple[ChordsAlong, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Average the densities of the axes in cells as wide as the largest edge."""
    width = max(float(chords.length[1]) for chords in along)
    cells = math.ceil(max(chords.length[-1] for chords in along) / width - ROUNDING) + 1
    borders = (np.arange(cells + 1) - 0.5) * width
    densities = []
    for chords in along:
        edge = chords.length[1]
        up_to = np.concatenate([[0.0], np.cumsum(chords.density) * edge])
        own_borders = (np.arange(len(up_to)) - 0.5) * edge
        densities.append(np.diff(np.interp(borders, own_borders, up_to)) / width)
    told = [density for density, chords in zip(densities, along, strict=True) if chords.count.any()]
    return np.arange(cells) * width, np.mean(told, axis=0) if told else np.zeros(cells)


def _reciprocal(value: float) -> float:
    return 1.0 / value if value else math.inf
