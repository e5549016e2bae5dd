"""Clusters of a phase: what is connected, what spans the volume, what is reached from its faces, what is isolated."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from evaluate.accepted_input import as_mask, as_voxel_size, as_whole_number
from evaluate.blocks import EDGE, Block, blocks, is_lazy, measure_blocks

__all__ = ["Clusters", "clusters", "number_parts", "percolating_part"]

BLOCK_EDGE = EDGE
Connectivity = Literal[6, 18, 26]


@dataclasses.dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of a phase; made by `clusters`.

    Clusters are numbered from 1, the largest first, of equal ones the one whose first voxel (in the order of z, y, x)
    comes first. Entry i of `voxels` and `touches` belongs to cluster i + 1. Fractions are of the phase's volume, 0 if
    there is no voxel of it.

    Attributes
    ----------
    labels : array of uint32, shape (Z, Y, X), or None
        The number of each voxel's cluster, 0 outside the phase. None for a lazy array unless `out` was given.
    voxels : ndarray of int64, shape (n,)
        Voxels of each cluster, in descending order.
    volume : ndarray of float64, shape (n,)
        Volume of each cluster, in unit³.
    touches : ndarray of bool, shape (n, 3, 2)
        Whether the cluster touches the faces of the window: axis z, y, x; face at its beginning, at its end.
    percolates : tuple of three bools
        Whether any cluster touches both faces across z, y, x.
    percolating_fraction : tuple of three floats
        Fraction of the phase in clusters that touch both faces across z, y, x.
    accessible_fraction : ndarray of float64, shape (3, 2)
        Fraction of the phase in clusters that touch each face; axes as in `touches`.
    isolated_fraction : float
        Fraction of the phase in clusters that touch no face: closed pores, floating solid.
    largest_fraction : float
        Fraction of the phase in the largest cluster.
    volume_fraction : float
        Fraction of the window that is phase.
    connectivity : int
        6, 18 or 26 neighbours.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    """

    labels: Any
    voxels: np.ndarray
    volume: np.ndarray
    touches: np.ndarray
    percolates: tuple[bool, bool, bool]
    percolating_fraction: tuple[float, float, float]
    accessible_fraction: np.ndarray
    isolated_fraction: float
    largest_fraction: float
    volume_fraction: float
    connectivity: int
    unit: str

    @property
    def number(self) -> int:
        """How many clusters there are."""
        return len(self.voxels)


def clusters(
    mask: Any,
    *,
    connectivity: Connectivity = 6,
    voxel_size_um: Sequence[float] | None = None,
    out: Any = None,
) -> Clusters:
    """Find the connected clusters of a phase and what they reach.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase. An array of dask, Zarr or HDF5 is read block by block.
    connectivity : {6, 18, 26}
        Neighbours of a voxel: those that share a face, or an edge too, or a corner too. If the phase has 6, its
        complement has 26, and the other way round.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm. By default that of `mask`, if it is a `volume.Volume` that knows it;
        otherwise volumes are in voxels.
    out : array of uint32, shape (Z, Y, X), optional
        Where to write the labels, block by block: of NumPy, Zarr or HDF5.

    Returns
    -------
    Clusters

    Raises
    ------
    ValueError
        `mask` is empty, not 3-D or holds more than 0 and 1; an unknown `connectivity`; voxel edges that are not
        positive; `out` has another shape.

    Notes
    -----
    The border of the window cuts: what is connected outside alone counts as apart.

    The blocks of a lazy array are labelled one by one, each with the voxels before it along each axis, in which it
    finds the numbers that its neighbours gave; memory holds a block, one layer of block faces and the list of clusters.
    With `out` a second pass writes the numbers. The result is that of the array in memory.
    """
    voxel = as_voxel_size(voxel_size_um, mask)
    if connectivity not in (6, 18, 26):
        raise ValueError(f"connectivity is {connectivity!r}; it must be 6, 18 or 26")
    volume = mask if is_lazy(mask) else as_mask(mask)
    if len(volume.shape) != 3 or 0 in volume.shape:
        raise ValueError(f"mask has shape {tuple(mask.shape)}; it must be 3-D, axes (z, y, x), with at least one voxel")
    if out is not None and tuple(np.shape(out)) != tuple(volume.shape):
        raise ValueError(f"out has shape {np.shape(out)} and mask {tuple(volume.shape)}; they must be the same")
    measure = _clusters_of_blocks if is_lazy(mask) else _clusters_of_array
    parts, labels = measure(volume, connectivity, out)
    return _summary(parts, labels, shape=volume.shape, connectivity=connectivity, voxel=voxel)


def percolating_part(mask: Any, *, axis: int, connectivity: Connectivity = 6) -> np.ndarray:
    """Return the part of a phase that connects both faces across an axis.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase.
    axis : int
        0, 1 or 2: z, y or x.
    connectivity : {6, 18, 26}
        As in `clusters`.

    Returns
    -------
    ndarray of bool, shape (Z, Y, X)
        All False if the phase does not percolate.

    Raises
    ------
    ValueError
        As in `clusters`; an axis that is not there.
    """
    axis = as_whole_number(axis, "axis", low=0, high=2)
    found = clusters(np.asarray(mask), connectivity=connectivity)
    spanning = np.concatenate([[False], found.touches[:, axis].all(axis=1)])
    return spanning[found.labels]


class _Parts(NamedTuple):
    """Tables of connected parts, one row each."""

    voxels: np.ndarray
    first: np.ndarray  # flat index in the volume of the first voxel
    touches: np.ndarray


class _LabelledBlock(NamedTuple):
    parts: _Parts  # row i: number i + 1
    before: tuple[np.ndarray, ...]  # numbers in the layers before the core, across z, y and x
    last: tuple[np.ndarray, ...]  # numbers in the core's last layers


def _clusters_of_array(inside: np.ndarray, connectivity: Connectivity, out: Any) -> tuple[_Parts, Any]:
    from evaluate.morphology.part_tally import renumber

    numbers, count = number_parts(inside, connectivity)
    parts = _tabulate(numbers, count, (0, 0, 0), inside.shape)
    order = _descending(parts)
    renumber(numbers, _places(order), numbers)
    if out is None:
        out = numbers
    else:
        out[...] = numbers
    return _Parts(*(table[order] for table in parts)), out


def _clusters_of_blocks(volume: Any, connectivity: Connectivity, out: Any) -> tuple[_Parts, Any]:
    parts, group, counts = _joined_parts(volume, connectivity)
    order = _descending(parts)
    if out is not None:
        number = _places(order)[1:][group]
        write = functools.partial(_number_core, connectivity=connectivity)
        start = 0
        for block, count, numbers in zip(_cut(volume), counts, _measured(write, volume), strict=True):
            out[block.core] = np.concatenate([[np.uint32(0)], number[start : start + count]])[numbers]
            start += count
    return _Parts(*(table[order] for table in parts)), out


def _joined_parts(volume: Any, connectivity: Connectivity) -> tuple[_Parts, np.ndarray, list[int]]:
    """Label block after block and join what meets: the clusters, the cluster of each part, the parts of each block."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    measure = functools.partial(_label_block, shape=tuple(volume.shape), connectivity=connectivity)
    layers = _Layers(tuple(volume.shape))
    tables, meetings = [], []
    counts: list[int] = []
    for block, labelled in zip(_cut(volume), _measured(measure, volume), strict=True):
        meetings.append(layers.meet(block, labelled, sum(counts)))
        tables.append(labelled.parts)
        counts.append(len(labelled.parts.voxels))
    each = _Parts(*(np.concatenate(columns) for columns in zip(*tables, strict=True)))
    pairs = np.concatenate(meetings, axis=1)
    graph = coo_array((np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), shape=(sum(counts),) * 2)
    number, group = connected_components(graph, directed=False)
    merged = _Parts(
        np.zeros(number, np.int64), np.full(number, math.prod(volume.shape)), np.zeros((number, 3, 2), bool)
    )
    np.add.at(merged.voxels, group, each.voxels)
    np.minimum.at(merged.first, group, each.first)
    np.logical_or.at(merged.touches, group, each.touches)
    return merged, group, counts


class _Layers:
    """The last layers of the blocks before, by which the parts of one block are known to the next."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.z, self.next_z = np.zeros((2, *shape[1:]), np.int64)
        self.y, self.next_y = np.zeros((2, BLOCK_EDGE, shape[2]), np.int64)
        self.x = np.zeros((0, 0), np.int64)
        self.at = (0, 0)

    def meet(self, block: Block, labelled: _LabelledBlock, start: int) -> np.ndarray:
        """Return the pairs of parts that are one, shape (2, n), and keep the layers for the blocks to come."""
        z, y, x = block.core
        if z.start != self.at[0]:
            self.z, self.next_z = self.next_z, self.z
        if (z.start, y.start) != self.at:
            self.y, self.next_y = self.next_y, self.y
        self.at = (z.start, y.start)
        thick = z.stop - z.start
        y_before, x_before = (slice(max(own.start - 1, 0), own.stop) for own in (y, x))
        known = (self.z[y_before, x_before], self.y[:thick, x_before], self.x)
        pairs = [np.zeros((2, 0), np.int64)]
        for own, theirs, ours in zip(block.core, known, labelled.before, strict=True):
            if own.start > 0:
                same = np.stack([theirs[ours > 0], ours[ours > 0] + np.int64(start)]) - 1
                pairs.append(np.unique(same, axis=1))
        last = [np.where(layer > 0, layer + np.int64(start), 0) for layer in labelled.last]
        self.next_z[y, x], self.next_y[:thick, x], self.x = last
        return np.concatenate(pairs, axis=1)


def _label_block(
    values: np.ndarray, block: Block, *, shape: tuple[int, ...], connectivity: Connectivity
) -> _LabelledBlock:
    numbers, count = number_parts(as_mask(values)[_with_layer_before(block)], connectivity)
    z, y, x = (min(own.start, 1) for own in block.core)
    core = numbers[z:, y:, x:]
    return _LabelledBlock(
        _tabulate(core, count, tuple(own.start for own in block.core), shape),
        before=(numbers[0], numbers[z:, 0], numbers[z:, y:, 0]),
        last=(core[-1].copy(), core[:, -1].copy(), core[:, :, -1].copy()),
    )


def _number_core(values: np.ndarray, block: Block, *, connectivity: Connectivity) -> np.ndarray:
    numbers, _ = number_parts(as_mask(values)[_with_layer_before(block)], connectivity)
    z, y, x = (min(own.start, 1) for own in block.core)
    return numbers[z:, y:, x:]


def number_parts(inside: np.ndarray, connectivity: Connectivity = 26) -> tuple[np.ndarray, int]:
    """Return the number of each voxel's connected part, uint32, 0 outside, and how many parts there are."""
    import cc3d

    # In a single row of voxels faces are all there is, and with more cc3d 4.1.1 reserves too few numbers for it.
    along_faces: Connectivity = 6 if sorted(inside.shape)[1] == 1 else connectivity
    labels, count = cc3d.connected_components(
        np.ascontiguousarray(inside), connectivity=along_faces, return_N=True, out_dtype=np.uint32, binary_image=True
    )
    return labels, int(count)


def _with_layer_before(block: Block) -> tuple[slice, ...]:
    """Where the core and the layers before it lie in what was read."""
    return tuple(slice(max(own.start - 1, 0), own.stop) for own in block.inside)


def _cut(volume: Any) -> Iterator[Block]:
    return blocks(volume.shape, halo=1, edge=BLOCK_EDGE)


def _measured(measure: Callable[[np.ndarray, Block], Any], volume: Any) -> Iterator[Any]:
    return measure_blocks(measure, volume, halo=1, edge=BLOCK_EDGE)


def _tabulate(numbers: np.ndarray, count: int, origin: tuple[int, ...], shape: tuple[int, ...]) -> _Parts:
    """Describe the parts 1 to `count` of a block at `origin` in a volume of that shape."""
    from evaluate.morphology.part_tally import tally

    voxels, first = tally(numbers, count)
    place = np.unravel_index(np.maximum(first, 0), numbers.shape)
    index = np.ravel_multi_index(tuple(i + o for i, o in zip(place, origin, strict=True)), shape)
    touches = np.zeros((count + 1, 3, 2), bool)
    for axis in range(3):
        if origin[axis] == 0:
            touches[np.unique(numbers.take(0, axis)), axis, 0] = True
        if origin[axis] + numbers.shape[axis] == shape[axis]:
            touches[np.unique(numbers.take(-1, axis)), axis, 1] = True
    # Parts of the layers before the core alone have no voxel here, and come first nowhere.
    index = np.where(first >= 0, index, math.prod(shape))
    return _Parts(voxels[1:], index[1:], touches[1:])


def _descending(parts: _Parts) -> np.ndarray:
    return np.lexsort((parts.first, -parts.voxels))


def _places(order: np.ndarray) -> np.ndarray:
    """Return the new number of each old one: 0 stays, ``order[i] + 1`` becomes i + 1."""
    number = np.zeros(len(order) + 1, np.uint32)
    number[order + 1] = np.arange(1, len(order) + 1)
    return number


def _summary(parts: _Parts, labels: Any, *, shape: tuple[int, ...], connectivity: int, voxel: Any) -> Clusters:
    phase = int(parts.voxels.sum())
    spans = parts.touches.all(axis=2)

    def share(chosen: np.ndarray) -> float:
        return float(parts.voxels[chosen].sum() / phase) if phase else 0.0

    return Clusters(
        labels=labels,
        voxels=parts.voxels,
        volume=parts.voxels * math.prod(voxel or (1.0,)),
        touches=parts.touches,
        percolates=(bool(spans[:, 0].any()), bool(spans[:, 1].any()), bool(spans[:, 2].any())),
        percolating_fraction=(share(spans[:, 0]), share(spans[:, 1]), share(spans[:, 2])),
        accessible_fraction=np.array([[share(parts.touches[:, axis, end]) for end in (0, 1)] for axis in range(3)]),
        isolated_fraction=share(~parts.touches.any(axis=(1, 2))),
        largest_fraction=share(np.arange(len(parts.voxels)) == 0),
        volume_fraction=phase / math.prod(shape),
        connectivity=connectivity,
        unit="um" if voxel else "voxel",
    )
