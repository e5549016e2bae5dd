"""Local thickness: how large a ball fits into a phase around each of its voxels."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from evaluate.accepted_input import as_mask, as_voxel_size
from evaluate.blocks import EDGE, Block, blocks, is_lazy, measure_blocks

__all__ = ["Balls", "fitting_balls", "highest_covering", "local_thickness", "relative_edges", "summarise_thickness"]

BLOCK_EDGE = EDGE
FIRST_REACH = 32
LARGEST_RATIO = 100
Edges = tuple[float, float, float]
Result = TypeVar("Result")


class Balls(NamedTuple):
    """The ball that fits around each voxel of a phase, in units of the shortest edge of a voxel.

    Attributes
    ----------
    radius2 : ndarray of float32, shape (Z, Y, X)
        Squared distance to the nearest voxel centre outside; 0 outside, infinite without any wall.
    diameter : ndarray of float32, shape (Z, Y, X)
        Twice its root, or the shortest chord through the voxel along an axis if that is less.
    """

    radius2: np.ndarray
    diameter: np.ndarray


def local_thickness(mask: Any, *, voxel_size_um: Sequence[float] | None = None, out: Any = None) -> Any:
    r"""Measure, for each voxel of a phase, the diameter of the largest ball that fits into the phase and covers it.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase. An array of dask, Zarr or HDF5 is read block by block.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; they need not be equal. By default that of `mask`, if it is a
        `volume.Volume` that knows it; otherwise diameters are in voxels.
    out : array of floats, shape (Z, Y, X), optional
        Where to write the result, block by block: of NumPy, Zarr or HDF5. By default an array in memory is made.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Diameters in µm, or in voxels if no voxel size is known; 0 outside the phase. `out`, if that was given.

    Raises
    ------
    ValueError
        `mask` is empty, not 3-D or holds more than 0 and 1; it is all phase, so that no wall limits the balls; voxel
        edges that are not positive, or more than 100 : 1 apart; `out` has another shape.

    Notes
    -----
    The local thickness of Hildebrand and Rüegsegger [1]_, for every size at once. A ball may be centred on any
    voxel p of the phase; its radius D(p) is the distance to the nearest voxel centre outside, and it covers the
    voxels whose centres are nearer than that:

    .. math:: t(x) = \max \{ d(p) : |x - p| < D(p) \}

    Its diameter d(p) is 2 D(p), but no more than the chords of the phase through p along the three axes, whose lengths
    are whole voxels. That makes a slab of n voxels across an axis n thick, for odd and even n and whatever
    the voxel's proportions, and so a square channel and a cube; 2 D(p) alone gives n + 1 for odd n.

    The border of the window is not a wall: the volume is a cut-out of something larger. Balls that reach beyond it, and
    chords that end at it, are limited by the walls inside alone, so thickness near the border is rather too large.

    Bias: the best centre of a ball lies up to half a voxel's diagonal off the lattice. Balls at random places, of
    radius 3 to 20 voxels, come out 0.8 ± 0.3 voxels too thin (mean ± spread), cylinders along an axis 0.4 ± 0.3, slabs
    across an axis right; it does not grow with the size.

    PoreSpy 3.0.3 returns D(p), a radius. ``2 * porespy.filters.local_thickness(mask, sizes=radii)``, with every radius
    that occurs, is this result without the limit by chords; the tests hold the two together.

    Blocks of 256³ voxels of a lazy array are read with a halo of twice the radius of the largest ball, which a first
    pass finds; memory is bounded by that block, and the result is that of the array in memory.

    References
    ----------
    .. [1] T. Hildebrand and P. Rüegsegger, "A new method for the model-independent assessment of thickness in
       three-dimensional images", J. Microsc. 185 (1997) 67.
    """
    edges, unit = relative_edges(as_voxel_size(voxel_size_um, mask))
    if out is not None and tuple(np.shape(out)) != tuple(np.shape(mask)):
        raise ValueError(f"out has shape {np.shape(out)} and mask {np.shape(mask)}; they must be the same")
    thickness = out
    for block, part in summarise_thickness(mask, edges, functools.partial(np.multiply, np.float32(unit))):
        if thickness is None:
            if not is_lazy(mask):
                return part
            thickness = np.empty(mask.shape, np.float32)
        thickness[block.core] = part
    return thickness


def relative_edges(voxel: Edges | None) -> tuple[Edges, float]:
    """Return the voxel's edges in units of the shortest one, and that one; 1 if no size is known."""
    z, y, x = voxel or (1.0, 1.0, 1.0)
    shortest = min(z, y, x)
    if max(z, y, x) > LARGEST_RATIO * shortest:
        raise ValueError(
            f"voxel_size_um is {voxel}; balls need edges no more than {LARGEST_RATIO} : 1 apart: "
            "resample the volume, or check the units"
        )
    return (z / shortest, y / shortest, x / shortest), shortest


def summarise_thickness(
    mask: Any, edges: Edges, summary: Callable[[np.ndarray], Result]
) -> Iterator[tuple[Block, Result]]:
    """Yield each block and the summary of its local thickness, in units of the shortest edge.

    An array in memory is one block. `summary` must be picklable if `mask` is lazy.
    """
    if not is_lazy(mask):
        inside = np.ascontiguousarray(as_mask(mask))
        whole = next(blocks(inside.shape, edge=inside.shape))
        yield whole, _block_thickness(inside, whole, edges=edges, largest=math.inf, summary=summary)
        return
    if len(mask.shape) != 3 or 0 in mask.shape:
        raise ValueError(f"mask has shape {tuple(mask.shape)}; it must be 3-D, axes (z, y, x), with at least one voxel")
    largest = _largest_radius(mask, edges)
    # Balls that cover the core are centred within one radius of it; what limits them lies within another.
    halo = [math.ceil(2 * largest / edge) + 2 for edge in edges]
    measure = functools.partial(_block_thickness, edges=edges, largest=largest, summary=summary)
    parts = measure_blocks(measure, mask, halo=halo, edge=BLOCK_EDGE)
    yield from zip(blocks(mask.shape, halo=halo, edge=BLOCK_EDGE), parts, strict=True)


def fitting_balls(inside: np.ndarray, edges: Edges) -> Balls:
    """Return the balls that fit into a phase, one around each voxel."""
    from evaluate.morphology.inscribed_balls import limit_by_chords

    radius2 = _squared_distance(inside, edges)
    diameter = np.empty_like(radius2)
    limit_by_chords(radius2, diameter, np.array(edges))
    return Balls(radius2, diameter)


def highest_covering(inside: np.ndarray, radius2: np.ndarray, value: np.ndarray, edges: Edges) -> np.ndarray:
    """Return for each voxel the highest value among the balls that cover it; balls of value 0 do not count."""
    from evaluate.morphology.inscribed_balls import cover_table, fill, needed_balls

    spacing = np.array(edges)
    table = cover_table(float(radius2.max()), np.array(inside.shape), spacing)
    balls = np.flatnonzero(needed_balls(radius2, value, table))
    values = value.ravel()[balls]
    order = np.argsort(-values, kind="stable")
    balls = balls[order]
    return fill(inside, balls, radius2.ravel()[balls], values[order], spacing)


def check_walls(inside: np.ndarray) -> None:
    """Refuse a mask without walls."""
    if inside.all():
        raise ValueError("mask is True everywhere; without a voxel outside the phase no ball has a size")


def _squared_distance(inside: np.ndarray, edges: Edges) -> np.ndarray:
    import edt
    import numba

    threads = numba.get_num_threads()
    # edt refuses read-only memory, such as a mapped file's, though it writes nothing.
    inside = np.require(inside, requirements=["C", "W"])
    return edt.edtsq(inside, anisotropy=edges, black_border=False, parallel=threads)


def _block_thickness(
    values: np.ndarray, block: Block, *, edges: Edges, largest: float, summary: Callable[[np.ndarray], Result]
) -> Result:
    inside = np.ascontiguousarray(as_mask(values))
    if not inside[block.inside].any():
        return summary(np.zeros(inside[block.inside].shape, np.float32))
    check_walls(inside)
    radius2, diameter = fitting_balls(inside, edges)
    # Far out in the halo some walls are out of sight; what grew too large there does not reach the core.
    radius2[radius2 > largest**2] = 0
    return summary(highest_covering(inside, radius2, diameter, edges)[block.inside])


def _largest_radius(mask: Any, edges: Edges) -> float:
    """Largest distance to a wall: found with a halo that grows until no wall beyond it could matter."""
    reach = float(FIRST_REACH)
    while True:
        halo = [math.ceil(reach / edge) for edge in edges]
        measure = functools.partial(_block_radius, edges=edges)
        largest = max(measure_blocks(measure, mask, halo=halo, edge=BLOCK_EDGE))
        if largest <= reach:
            return largest
        if all(h >= n for h, n in zip(halo, mask.shape, strict=True)):
            if math.isinf(largest):
                raise ValueError("mask is True everywhere; without a voxel outside the phase no ball has a size")
            return largest
        reach *= 2


def _block_radius(values: np.ndarray, block: Block, *, edges: Edges) -> float:
    inside = np.ascontiguousarray(as_mask(values))
    if not inside[block.inside].any():
        return 0.0
    return math.sqrt(_squared_distance(inside, edges)[block.inside].max())
