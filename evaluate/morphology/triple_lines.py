"""The lines where three phases meet: edges of voxels, strung together and smoothed along the line."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluate.accepted_input import as_labels
from evaluate.blocks import Block, blocks, is_lazy, measure_blocks, read_block
from evaluate.morphology.connected_parts import clusters
from evaluate.morphology.lattice import Spacing
from evaluate.morphology.neighbourhoods import open_labels, seams

__all__ = ["FACES", "TripleLines", "find_triple_lines", "kinds_of_edges", "lengths_of_edges", "reaching_edges"]

# Each step averages an edge with the two beside it, 1/4 : 1/2 : 1/4: so many make a standard deviation of √5 edges.
# Fewer leave the fringes of wedges in, more cut corners: see the bias in `triple_phase_boundary`.
STEPS = 10
# The numbers of the phases take a byte a voxel, of so many slices at a time.
SLAB = 64
Shape = tuple[int, int, int]
FACES = {sign + name: (axis, side) for axis, name in enumerate("zyx") for side, sign in enumerate("-+")}


class TripleLines(NamedTuple):
    """Edges of voxels around which three phases lie.

    Attributes
    ----------
    edges : ndarray of int64, shape (n,)
        Three times the first voxel of the four around the edge (its place in the volume), plus its axis. Ascending.
    forwards : ndarray of bool, shape (n,)
        Whether the phases follow each other in the order given around the edge's axis, in the sense z, y, x.
    halved : ndarray of bool, shape (n,)
        Whether a fourth phase takes part, so that the three meet on half of what the edge stands for.
    shape : tuple of int
        Of the volume.
    """

    edges: np.ndarray
    forwards: np.ndarray
    halved: np.ndarray
    shape: Shape


def find_triple_lines(labels: Any, phases: tuple[int, ...], *, boundary: str) -> TripleLines:
    """Find the edges of voxels around which three phases lie, in memory or block by block.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X)
        As in `triple_phase_boundary`.
    phases : tuple of int
        The three labels.
    boundary : {"interior", "periodic"}
        As in `triple_phase_boundary`.

    Returns
    -------
    TripleLines
    """
    volume, read = open_labels(labels, accept=functools.partial(as_labels, ndim=(3,)), name="labels", boundary=boundary)
    z, y, x = map(int, volume.shape)
    shape = (z, y, x)
    find = functools.partial(_find_in_block, read=read, phases=phases, shape=shape)
    parts = (
        measure_blocks(find, volume, halo=1)
        if is_lazy(volume)
        else (find(volume[block.read], block) for block in blocks(shape, halo=1, edge=(SLAB, *shape[1:])))
    )
    across = seams(volume, read, boundary)
    beyond = (_find(slab, _across(shape, axis), phases, shape) for axis, slab in enumerate(across))
    # A slab across the border holds edges along it too, which the blocks have found.
    found = np.unique(np.concatenate([*parts, *beyond]))
    return TripleLines(found >> 2, found & 1 == 1, found & 2 == 2, shape)


def lengths_of_edges(lines: TripleLines, spacing: Spacing, *, boundary: str) -> np.ndarray:
    """Return the length of line that each edge stands for, shape (n,).

    Parameters
    ----------
    lines : TripleLines
        With 0 edges or more.
    spacing : tuple of three floats
        Edge lengths (z, y, x) of a voxel.
    boundary : {"interior", "periodic"}
        As in `triple_phase_boundary`.

    Returns
    -------
    ndarray of float64
        In the unit of `spacing`.

    Notes
    -----
    With the sense in which the phases follow each other around it, an edge leads from one corner of the lattice to
    another, and at each corner as many edges come in as go out, unless it is on the border or at a fourth phase. Each
    that comes in is given one that goes out, so that lines cross without being tied to each other. To smooth the
    places of the corners is to smooth the vectors of the edges; the end of a line stays where it is if its last edge
    is beside itself.
    """
    from evaluate.morphology.neighbourhood_kernels import smooth_along

    axis = lines.edges % 3
    voxel = np.stack(np.unravel_index(lines.edges // 3, lines.shape), axis=1)
    before, after = _beside(voxel, axis, lines, periodic=boundary == "periodic")
    along = np.eye(3)[axis]
    vectors = np.where(lines.forwards, 1.0, -1.0)[:, None] * along * spacing
    smooth = smooth_along(vectors, before, after, STEPS)
    # What is smooth was shortened in bends; the same of the rest puts that back.
    smooth += smooth_along(vectors - smooth, before, after, STEPS)
    lengths = np.linalg.norm(smooth, axis=1) * np.where(lines.halved, 0.5, 1.0)
    if boundary == "interior":
        # The outermost edges stand for the half voxel beyond them too.
        corner, last = voxel + 1, np.array(lines.shape) - 1
        rims = 1.0 + 0.5 * (corner == 1) + 0.5 * (corner == last)
        lengths *= np.where(along > 0, 1.0, rims).prod(axis=1)
    return lengths


def reaching_edges(
    lines: TripleLines, labels: Any, phases: tuple[int, ...], faces: Sequence[str | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Tell which edges lie on clusters that all reach their faces of the window.

    Parameters
    ----------
    lines : TripleLines
        Of `labels`.
    labels, phases
        As in `find_triple_lines`.
    faces : sequence of three str
        The `active` of `triple_phase_boundary`.

    Returns
    -------
    sure, possible : ndarray of bool, shape (n,)
        Whether each phase reaches its face, and whether each reaches it or leaves the window elsewhere.
    """
    sure, possible = np.ones((2, lines.edges.size), bool)
    around = _voxels_around(lines)
    for phase, face in zip(phases, faces, strict=True):
        if face is None:
            continue
        numbers = _NumbersAt(around, lines.shape)
        inside = _PhaseOf(labels, phase) if is_lazy(labels) else as_labels(labels, "labels") == phase
        touches = clusters(inside, out=numbers).touches
        # Two voxels of a phase around an edge share a face, and are of one cluster; the others have the number 0.
        own = touches[numbers.numbers.max(axis=1) - np.uint32(1)]
        sure &= own[:, *FACES[face]]
        possible &= own.any(axis=(1, 2))
    return sure, possible


class _PhaseOf:
    """Where an array that is read block by block holds one label: another such array."""

    dtype = np.dtype(bool)

    def __init__(self, labels: Any, phase: int) -> None:
        self.labels, self.phase, self.shape, self.chunks = labels, phase, labels.shape, labels.chunks

    def __getitem__(self, place: tuple[slice, ...]) -> np.ndarray:
        return as_labels(read_block(self.labels, Block(place, place, place)), "labels") == self.phase


class _NumbersAt:
    """Takes the numbers of some voxels, given by their places, from a volume that is written block by block."""

    def __init__(self, voxels: np.ndarray, shape: Shape) -> None:
        self.places, self.shape = np.unravel_index(voxels, shape), shape
        self.numbers = np.zeros(voxels.shape, np.uint32)

    def __setitem__(self, block: Any, values: np.ndarray) -> None:
        start = [0, 0, 0] if block is Ellipsis else [own.start for own in block]
        places = [place - first for place, first in zip(self.places, start, strict=True)]
        here = np.all([(place >= 0) & (place < n) for place, n in zip(places, values.shape, strict=True)], axis=0)
        self.numbers[here] = values[tuple(place[here] for place in places)]


def _voxels_around(lines: TripleLines) -> np.ndarray:
    """Return the places of the four voxels around each edge, shape (n, 4)."""
    strides = np.array([lines.shape[1] * lines.shape[2], lines.shape[2], 1])
    others = strides[[(1, 2), (0, 2), (0, 1)]]
    steps = np.stack([0 * others[:, 0], *others.T, others.sum(axis=1)], axis=1)
    return (lines.edges // 3)[:, None] + steps[lines.edges % 3]


def _beside(
    voxel: np.ndarray, axis: np.ndarray, lines: TripleLines, *, periodic: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the edge before each and the edge after it; an edge without one is its own."""
    size = np.array(lines.shape)
    ends = []
    for side, corner in enumerate((voxel + 1 - np.eye(3, dtype=np.int64)[axis], voxel + 1)):
        place = corner % size if periodic else corner
        ends.append(8 * np.ravel_multi_index(tuple(place.T), tuple(size + 1)) + 2 * axis + side)
    low, high = ends
    tail, head = (_ranked(np.where(lines.forwards, *pair)) for pair in ((low, high), (high, low)))
    _, coming, going = np.intersect1d(head, tail, assume_unique=True, return_indices=True)
    before, after = np.arange(axis.size), np.arange(axis.size)
    after[coming], before[going] = going, coming
    return before, after


def _ranked(ends: np.ndarray) -> np.ndarray:
    """Return 8 × corner + 0, 1, 2 and so on for the ends at each corner, given as 8 × corner + place, in order."""
    order = np.argsort(ends)
    corners = ends[order] >> 3
    ranked = np.empty_like(ends)
    ranked[order] = 8 * corners + np.arange(ends.size) - np.searchsorted(corners, corners)
    return ranked


@functools.cache
def kinds_of_edges() -> np.ndarray:
    """Return what four voxels around an edge make of it, by their numbers a + 4 b + 16 c + 64 d, shape (256,).

    1 if the phases follow each other forwards, 0 if backwards, 2 more with a fourth one; -1 if they do not meet on a
    line: fewer than three, or one of them on both sides of the other two.
    """
    kinds = np.full(256, -1, np.int8)
    for code in range(256):
        around = [code >> shift & 3 for shift in (0, 2, 4, 6)]
        phases = [number for number in around if number]
        if len(set(phases)) < 3:
            continue
        steps = [(b - a) % 3 for a, b in zip(phases, phases[1:] + phases[:1], strict=True)]
        if steps.count(1) != steps.count(2):
            kinds[code] = (steps.count(1) > steps.count(2)) + 2 * (0 in around)
    return kinds


def _across(shape: Shape, axis: int) -> Block:
    """Return the layer of voxels before the border across an axis, as a block that goes on beyond it."""
    core = tuple(slice(n - 1 if own == axis else 0, n) for own, n in enumerate(shape))
    return Block(core, core, core)


def _find_in_block(
    part: np.ndarray,
    block: Block,
    *,
    read: Callable[[Any], np.ndarray],
    phases: tuple[int, ...],
    shape: Shape,
) -> np.ndarray:
    mine = part[tuple(slice(inside.start, None) for inside in block.inside)]
    return _find(read(mine), block, phases, shape)


def _find(labels: np.ndarray, block: Block, phases: tuple[int, ...], shape: Shape) -> np.ndarray:
    """Return the edges whose first voxel is in a block's core, given its labels and those of the layer after it."""
    from evaluate.morphology.neighbourhood_kernels import find_edges

    numbers = np.zeros([core.stop - core.start + 1 for core in block.core], np.uint8)
    number_of = np.zeros(256, np.uint8)
    number_of[list(phases)] = 1, 2, 3
    numbers[tuple(map(slice, labels.shape))] = number_of[labels]
    z, y, x = (core.start for core in block.core)
    return find_edges(numbers, (z, y, x), shape, kinds_of_edges())
