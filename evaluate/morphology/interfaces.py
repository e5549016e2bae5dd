"""Where phases meet: the area between every two, and the length of the lines where three come together."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from evaluate.accepted_input import LARGEST_LABEL, as_labels, as_voxel_size, as_whole_number
from evaluate.morphology.lattice import (
    CORNERS,
    Spacing,
    check_spacing,
    directions,
    pairs_of_corners,
    planes,
    triples_of_corners,
)
from evaluate.morphology.neighbourhoods import (
    LARGEST_N_PHASES,
    as_phases,
    count_neighbourhoods,
    number_of_phases,
)
from evaluate.morphology.triple_lines import FACES, find_triple_lines, lengths_of_edges, reaching_edges

__all__ = ["InterfaceAreas", "TriplePhaseBoundary", "interface_areas", "triple_phase_boundary"]

BOUNDARIES = ("interior", "periodic")
AREA_METHODS = ("crofton", "faces")
LENGTH_METHODS = ("lines", "planes", "edges")
# In all, active, undecided.
Lengths = tuple[float, float | None, float | None]


@dataclasses.dataclass(frozen=True, eq=False)
class InterfaceAreas:
    """Areas of the interfaces between phases; made by `interface_areas`.

    Attributes
    ----------
    areas : ndarray of float64, shape (n, n)
        Entry (j, k) is the area where the phases j and k touch, in unit². Symmetric, 0 on the diagonal.
    specific_areas : ndarray of float64, shape (n, n)
        Area / window volume, in 1/unit (per volume of the whole, not of a phase).
    surfaces : ndarray of float64, shape (n,)
        Surface of each phase, the sum over its partners, in unit².
    window_volume : float
        In unit³.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    boundary : str
        How the border of the window was treated.
    method : str
        The estimator.
    """

    areas: np.ndarray
    specific_areas: np.ndarray
    surfaces: np.ndarray
    window_volume: float
    unit: str
    boundary: str
    method: str


def interface_areas(
    labels: Any,
    *,
    n_phases: int | None = None,
    voxel_size_um: Sequence[float] | None = None,
    boundary: Literal["interior", "periodic"] = "interior",
    method: Literal["crofton", "faces"] = "crofton",
) -> InterfaceAreas:
    r"""Measure the area of the interface between every two phases, in one pass over the volume.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X)
        Labels from 0. An array of dask, Zarr or HDF5 is read block by block, with the same result to the last bit; the
        memory does not grow with the volume.
    n_phases : int, optional
        How many phases there are, 1 to 16; by default as many as the largest label says. A phase that does not occur
        touches nothing: its areas are 0.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; they need not be equal. By default that of `labels`, if it is a
        `volume.Volume` that knows it; otherwise areas are in voxel faces.
    boundary : {"interior", "periodic"}
        ``"interior"``: the volume is a cut-out of something larger, so the border is no interface. ``"periodic"``:
        opposite faces touch.
    method : {"crofton", "faces"}
        ``"crofton"``: crossings along the 13 lattice directions, weighted as in `minkowski`. ``"faces"``: the area of
        the faces between voxels of different phases.

    Returns
    -------
    InterfaceAreas

    Raises
    ------
    ValueError
        `labels` is empty, not 3-D, holds fractional or negative values, or labels of `n_phases` and above; fewer than
        two voxels along an axis with ``"interior"``; an unknown `boundary` or `method`; voxel edges that are not
        positive, or more than 100 : 1 apart.

    Notes
    -----
    Crofton's formula [1]_ for the interface of j and k is :math:`A_{jk} = 2 V \langle P_{jk} \rangle` with the changes
    from j to k and back per length of test line. A change belongs to one pair of phases, so that the areas of a phase
    with all its partners add up to its surface, that of `minkowski`, and the areas of j with k equal
    :math:`(S_j + S_k - S_{j \cup k}) / 2`.

    Bias of ``"crofton"``: none on average over all orientations; a plane depends on how it lies: with cubic voxels it
    is 3.7 % low along their faces and at worst 7.3 % low or 3.1 % high (see `minkowski` for other voxels). A diagonal
    step from j to k counts as such even if a third phase touches it between.

    Bias of ``"faces"``: none for planes along the faces of the voxels; a factor :math:`|n_z| + |n_y| + |n_x|` for a
    plane of unit normal n, however fine the voxels are: up to √3, and 3/2 on average over all orientations. A
    triangulated surface lies between: marching cubes on a binary volume measures about 9 % too much.

    References
    ----------
    .. [1] J. Ohser and F. Mücklich, Statistical Analysis of Microstructures in Materials Science, Wiley 2000,
       chapter 5.
    """
    voxel = as_voxel_size(voxel_size_um, labels)
    n_phases = None if n_phases is None else as_whole_number(n_phases, "n_phases", low=1, high=LARGEST_N_PHASES)
    _check_options(voxel, boundary=boundary, method=method, methods=AREA_METHODS)
    accept = functools.partial(as_phases, n_phases=n_phases)
    counts = count_neighbourhoods(_count_pairs, labels, accept=accept, name="labels", boundary=boundary)
    n = number_of_phases(n_phases, counts.voxels)
    areas = np.tensordot(_area_of_crossings(voxel or (1.0, 1.0, 1.0), method), counts.neighbourhoods[:, :n, :n], 1)
    window = _window(counts.shape, voxel)
    return InterfaceAreas(
        areas=areas,
        specific_areas=areas / window,
        surfaces=areas.sum(axis=1),
        window_volume=window,
        unit="um" if voxel else "voxel",
        boundary=boundary,
        method=method,
    )


@dataclasses.dataclass(frozen=True)
class TriplePhaseBoundary:
    """Length of the lines where three phases meet; made by `triple_phase_boundary`.

    Attributes
    ----------
    length : float
        In `unit`.
    density : float
        Length / window volume, in 1/unit².
    active_length : float or None
        Length that only connected clusters share, in `unit`; None unless it was asked for.
    active_density : float or None
        Active length / window volume, in 1/unit².
    undecided_length : float or None
        Length that is not active, but would be if the clusters that leave the window elsewhere were connected beyond
        it, in `unit`.
    window_volume : float
        In unit³.
    phases : tuple of int
        The labels of the three phases.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    boundary : str
        How the border of the window was treated.
    method : str
        The estimator.
    """

    length: float
    density: float
    active_length: float | None
    active_density: float | None
    undecided_length: float | None
    window_volume: float
    phases: tuple[int, ...]
    unit: str
    boundary: str
    method: str


def triple_phase_boundary(
    labels: Any,
    phases: Sequence[int] = (0, 1, 2),
    *,
    voxel_size_um: Sequence[float] | None = None,
    boundary: Literal["interior", "periodic"] = "interior",
    method: Literal["lines", "planes", "edges"] = "lines",
    active: Sequence[str | None] | None = None,
) -> TriplePhaseBoundary:
    r"""Measure the length of the lines where three phases meet.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X)
        Labels from 0 to 255. An array of dask, Zarr or HDF5 is read block by block, with the same result to the last
        bit. With ``"lines"`` the memory grows with the lines alone, by some 250 bytes for each edge of a voxel on
        them.
    phases : sequence of three int
        Their labels. If one does not occur, the length is 0. Others may be present.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; they need not be equal. By default that of `labels`, if it is a
        `volume.Volume` that knows it; otherwise lengths are in voxels.
    boundary : {"interior", "periodic"}
        As in `interface_areas`.
    method : {"lines", "planes", "edges"}
        ``"lines"``: the edges of voxels around which the three phases lie, strung together and smoothed along
        the line. ``"planes"``: triple points on the 13 lattice planes. ``"edges"``: those edges as they are.
    active : sequence of three str, optional
        For each of the phases the face of the window that a cluster must reach to be connected: ``"-z"`` (the face at
        index 0), ``"+z"``, ``"-y"``, ``"+y"``, ``"-x"``, ``"+x"``, or None if all of that phase counts. For instance
        ``("+z", "-z", "+z")``: gas and electrons come from the far end, ions from the near one. Clusters are voxels
        joined by faces. For ``"lines"`` only.

    Returns
    -------
    TriplePhaseBoundary

    Raises
    ------
    ValueError
        As in `interface_areas`; `phases` that are not three different labels; an unknown face in `active`, or `active`
        in a periodic window, which has no faces, or with another method than ``"lines"``.

    Notes
    -----
    ``"lines"``: around the edges in question A, B and C follow each other in one sense or the other, and with a sense
    the edges form lines that close or end at the border or at a fourth phase. (An edge with A on two opposite sides,
    between B and C, is no such edge: two lines touch there.) The corners of each line are then moved to the average of
    themselves and their neighbours, 1/2 and 1/4 each, ten times, and what that took from the bends is given back once.
    So staircases become lines, and the loops of single voxels nothing; the ends of lines stay. Where a fourth phase
    lies around an edge too, half of it counts. The length is that of what results.

    Bias of ``"lines"``, the mean over directions, with cubic voxels: straight lines between equal angles +1.4 %, at a
    wedge of 90° +1 %, 60° +2 %, 30° +3 %, 20° +13 %; circles of a radius of 16 voxels +1 % at angles of 120° and
    +2 % at 90°, 90° and 180°, of 8 voxels +1 % and +3 %, of 4 voxels 0 and +4 %. Structures cut from Gaussian fields of
    correlation :math:`e^{-r^2/l^2}`, each against the lines of its fields: at l = 18 voxels +1 to +3 %, 12 voxels
    0 to +3 %, 8 voxels -3 to +2 %, 6 voxels -6 to 0 %, 5 voxels -8 to -3 %; there what is thinner than a voxel is lost.
    Voxels of 2 : 1 : 1 add 1 to 2 %, at a wedge of 30° 6 %.

    ``"planes"`` is stereology [1]_: :math:`L = 2 V \langle N_A \rangle`, with the number of triple points per area of
    the lattice planes, each normal weighted as in the mean curvature of `minkowski`. A lattice triangle whose corners
    are three phases holds one triple point; a square is cut into triangles both ways and the mean is taken. This is the
    same as 2/π times what the mean curvatures of the phases add up to: if there are no others, the lengths of
    all lines are 2/π times the sum of the mean curvatures of `minkowski`, to rounding.
    Its bias depends on the angles, because the thin end of a wedge is cut up by the voxels, however fine these are:
    +1.5 % for equal angles, +4.5 % for 180°, 90° and 90°, +44 % for a wedge of 30°; +5 to +15 % in the random
    structures above, each against its own lines. A single line depends on how it lies; along an axis it is 7.3 % low.

    ``"edges"`` has no bias for lines along an axis; a factor :math:`|t_z| + |t_y| + |t_x|` for a straight line of
    unit tangent t, 3/2 on average, and the wedges on top: 1.52 for equal angles, 1.57 for 180°, 90° and 90°, 1.7
    to 2 on cut Gaussian fields. Published lengths are therefore smoothed [2]_ or divided by a constant.

    References
    ----------
    .. [1] J. Ohser and F. Mücklich, Statistical Analysis of Microstructures in Materials Science, Wiley 2000.
    .. [2] H. Iwai et al., "Quantification of SOFC anode microstructure based on dual beam FIB-SEM technique", J. Power
       Sources 195 (2010) 955.
    """
    voxel = as_voxel_size(voxel_size_um, labels)
    three = _three_phases(phases)
    _check_options(voxel, boundary=boundary, method=method, methods=LENGTH_METHODS)
    if active is not None:
        _check_active(active, boundary=boundary, method=method)
    spacing = voxel or (1.0, 1.0, 1.0)
    if method == "lines":
        lengths, shape = _lengths_of_lines(labels, three, spacing=spacing, boundary=boundary, active=active)
    else:
        lengths, shape = _length_of_corners(labels, three, spacing=spacing, boundary=boundary, method=method)
    length, connected, undecided = lengths
    window = _window(shape, voxel)
    return TriplePhaseBoundary(
        length=length,
        density=length / window,
        active_length=connected,
        active_density=None if connected is None else connected / window,
        undecided_length=undecided,
        window_volume=window,
        phases=three,
        unit="um" if voxel else "voxel",
        boundary=boundary,
        method=method,
    )


def _window(shape: tuple[int, ...], voxel: Spacing | None) -> float:
    return math.prod(shape) * math.prod(voxel or (1.0,))


def _check_options(voxel: Spacing | None, *, boundary: str, method: str, methods: tuple[str, ...]) -> None:
    if voxel:
        check_spacing(voxel)
    if boundary not in BOUNDARIES:
        raise ValueError(
            f"boundary is {boundary!r}; it must be one of {', '.join(map(repr, BOUNDARIES))}: "
            "what lies beyond a closed window is no phase"
        )
    if method not in methods:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(map(repr, methods))}")


def _three_phases(phases: Any) -> tuple[int, int, int]:
    try:
        j, k, m = (as_whole_number(phase, "a phase", low=0, high=LARGEST_LABEL) for phase in phases)
    except TypeError:
        raise ValueError(f"phases is {phases!r}; give the labels of three phases") from None
    except ValueError as error:
        raise ValueError(f"phases is {phases!r}; give the labels of three phases ({error})") from None
    if len({j, k, m}) < 3:
        raise ValueError(f"phases is {phases!r}; the three labels must differ")
    return j, k, m


def _check_active(active: Any, *, boundary: str, method: str) -> None:
    faces = None if isinstance(active, str) else tuple(active) if isinstance(active, Sequence) else None
    if faces is None or len(faces) != 3 or any(face is not None and face not in tuple(FACES) for face in faces):
        raise ValueError(
            f"active is {active!r}; give a face for each of the three phases, of {', '.join(FACES)}, or None"
        )
    if boundary == "periodic":
        raise ValueError("active is given, but a periodic window has no faces to reach: use boundary='interior'")
    if method != "lines":
        raise ValueError(f"active is given, but method={method!r} does not tell lines apart: use method='lines'")


def _count_pairs(labels: np.ndarray, weights: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    from evaluate.morphology.neighbourhood_kernels import count_pairs

    return count_pairs(labels, weights, pairs_of_corners(), LARGEST_N_PHASES)


def _count_triples(
    labels: np.ndarray, weights: tuple[np.ndarray, np.ndarray, np.ndarray], *, phases: tuple[int, ...]
) -> np.ndarray:
    from evaluate.morphology.neighbourhood_kernels import count_triples

    return count_triples(labels, weights, triples_of_corners(), np.array(phases))


def _lengths_of_lines(
    labels: Any, phases: tuple[int, ...], *, spacing: Spacing, boundary: str, active: Sequence[str | None] | None
) -> tuple[Lengths, tuple[int, ...]]:
    """Return the length in all, that which is active and that which is undecided; and the shape of the volume."""
    lines = find_triple_lines(labels, phases, boundary=boundary)
    each = lengths_of_edges(lines, spacing, boundary=boundary)
    if active is None:
        return (float(each.sum()), None, None), lines.shape
    sure, possible = reaching_edges(lines, labels, phases, active)
    return (float(each.sum()), float(each[sure].sum()), float(each[possible & ~sure].sum())), lines.shape


def _length_of_corners(
    labels: Any, phases: tuple[int, ...], *, spacing: Spacing, boundary: str, method: str
) -> tuple[Lengths, tuple[int, ...]]:
    """Return the same, from the corners of neighbourhoods, three at a time."""
    count = functools.partial(_count_triples, phases=phases)
    accept = functools.partial(as_labels, ndim=(3,))
    counts = count_neighbourhoods(count, labels, accept=accept, name="labels", boundary=boundary)
    return (float(counts.neighbourhoods @ _length_of_triples(spacing, method)), None, None), counts.shape


def _area_of_crossings(spacing: Spacing, method: str) -> np.ndarray:
    """Area that a pair of different corners stands for, by direction, shape (13,)."""
    volume = math.prod(spacing)
    if method == "crofton":
        return np.array([2.0 * volume * d.weight / (len(d.pairs) * d.length) for d in directions(spacing)])
    # The four edges of a neighbourhood along an axis each cross a quarter of a face.
    along_axis = [np.abs(CORNERS[b] - CORNERS[a]).sum() == 1 for (a, b), *_ in (d.pairs for d in directions(spacing))]
    return np.array(
        [volume / (4 * d.length) if along else 0.0 for d, along in zip(directions(spacing), along_axis, strict=True)]
    )


def _length_of_triples(spacing: Spacing, method: str) -> np.ndarray:
    """Length that three corners of different phases stand for, by plane, shape (13,)."""
    volume = math.prod(spacing)
    lengths = []
    for polygons, area, weight in planes(spacing):
        # A square with a triple point in it has two such triples, or one if a fourth phase takes part.
        points = 0.5 if len(polygons[0]) == 4 else 1.0
        if method == "planes":
            lengths.append(2.0 * volume * weight * points / (len(polygons) * area))
        else:
            # Two opposite faces of a neighbourhood cut half an edge each; diagonal planes cut none.
            lengths.append(volume / area * points / 2 if points < 1 and len(polygons) == 2 else 0.0)
    return np.array(lengths)
