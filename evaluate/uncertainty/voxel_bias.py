"""What a measure tends to as the voxels become small: the volume coarsened, and the values extrapolated."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import as_mask, as_whole_number

__all__ = ["VoxelSizeLimit", "coarsened", "extrapolate_voxel_size", "measure_coarsened"]


@dataclasses.dataclass(frozen=True, eq=False)
class VoxelSizeLimit:
    """A value extrapolated to voxels of size zero; made by `extrapolate_voxel_size` or `measure_coarsened`.

    Attributes
    ----------
    value : float
        At voxel size zero.
    uncertainty : float
        How far the extrapolation moved when the coarsest value was taken in: no standard error, but a sign of
        whether the law holds.
    slope : float
        Change of the value per voxel size^order.
    order : float
        Of the law value + slope h^order.
    values, voxel_sizes : ndarray of float64
        What was extrapolated, from the smallest voxels to the largest.
    """

    value: float
    uncertainty: float
    slope: float
    order: float
    values: np.ndarray
    voxel_sizes: np.ndarray


def extrapolate_voxel_size(
    values: Sequence[float], voxel_sizes: Sequence[float], *, order: float = 1.0
) -> VoxelSizeLimit:
    """Extrapolate a measure to voxels of size zero.

    Parameters
    ----------
    values : sequence of float, shape (n,)
        The measure of one structure at two or more voxel sizes.
    voxel_sizes : sequence of float, shape (n,)
        In any one unit, positive and all different.
    order : float
        p of the law value + slope h^p, above 0; see the notes.

    Returns
    -------
    VoxelSizeLimit

    Raises
    ------
    ValueError
        Fewer than two values, unequal numbers, sizes that are equal or not positive, or anything not finite.

    Notes
    -----
    Richardson's extrapolation from the two smallest voxel sizes. The uncertainty is the distance to the same from the
    second and the third; with two values only, the distance to the finer value itself.

    What theory says of the order:

    - porosity: none, voxels whose label is that of their middle are unbiased; what changes is chance, and
      the extrapolated value is noise. Do not extrapolate it.
    - surface by Crofton's formula: 1 where surfaces meet at edges (overlapping balls, grains), as crevices thinner
      than a voxel are missed; smooth surfaces converge faster, at order 2, until features are as small as voxels.
      Surface by counting voxel faces does not converge at all (3/2 of the true one for a ball).
    - effective diffusivity, tortuosity factor: 1, as walls of voxels are rough over about one voxel.
    - Euler number: none where surfaces cross at edges; exact for smooth ones once resolved.

    Voxels must be smaller than about a fifth of the smallest feature, the coarsest ones too.

    References
    ----------
    L. F. Richardson, Phil. Trans. R. Soc. A 210 (1911) 307.

    Examples
    --------
    >>> extrapolate_voxel_size([1.1, 1.2, 1.4], [1, 2, 4]).value
    1.0
    """
    pairs = _accepted(values, voxel_sizes)
    if not (isinstance(order, numbers.Real) and 0 < order < math.inf):
        raise ValueError(f"order is {order!r}; it must be a number above 0")
    sizes, found = pairs
    limit, slope = _line(sizes[:2] ** order, found[:2])
    coarser = _line(sizes[1:3] ** order, found[1:3])[0] if sizes.size > 2 else found[0]
    return VoxelSizeLimit(
        value=limit,
        uncertainty=abs(limit - float(coarser)),
        slope=slope,
        order=float(order),
        values=found,
        voxel_sizes=sizes,
    )


def measure_coarsened(
    mask: Any,
    measure: Callable[[np.ndarray, int], float],
    *,
    factors: Sequence[int] = (1, 2, 4),
    order: float = 1.0,
) -> VoxelSizeLimit:
    """Measure a volume at several voxel sizes and extrapolate to size zero.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase.
    measure : callable
        Given the coarsened mask and its factor, returns the number: for a surface in voxels of the original,
        ``lambda m, f: minkowski(m).specific_surface / f``.
    factors : sequence of int
        Edges, in voxels, of the blocks that become one voxel.
    order : float
        As in `extrapolate_voxel_size`, whose notes say what may be extrapolated.

    Returns
    -------
    VoxelSizeLimit
        Voxel sizes are in voxels of `mask`.

    Raises
    ------
    ValueError
        As in `coarsened` and `extrapolate_voxel_size`.
    """
    inside = as_mask(mask)
    values = [float(measure(coarsened(inside, factor), factor)) for factor in factors]
    return extrapolate_voxel_size(values, [float(factor) for factor in factors], order=order)


def coarsened(mask: Any, factor: int) -> np.ndarray:
    """Merge blocks of voxels into one, by majority.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase.
    factor : int
        Edge of the blocks in voxels. Voxels beyond the last whole block are left out.

    Returns
    -------
    ndarray of bool, shape (Z // factor, Y // factor, X // factor)
        Blocks that are half and half are True in every other place, like the colours of a chessboard, so
        that neither phase grows.

    Raises
    ------
    ValueError
        `mask` is not a mask; `factor` below 1 or above the smallest side.
    """
    inside = as_mask(mask)
    factor = as_whole_number(factor, "factor", low=1, high=min(inside.shape))
    if factor == 1:
        return inside
    counts: np.ndarray = inside
    for axis, n in enumerate(inside.shape):
        whole = counts.take(range(n // factor * factor), axis=axis)
        counts = np.add.reduceat(whole, np.arange(0, n // factor * factor, factor), axis=axis, dtype=np.int64)
    ties = np.indices(counts.shape, sparse=True)
    return 2 * counts + sum(ties) % 2 > factor**3


def _accepted(values: Any, voxel_sizes: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        found, sizes = np.asarray(values, dtype=float), np.asarray(voxel_sizes, dtype=float)
    except (TypeError, ValueError):
        raise ValueError("values and voxel_sizes must be sequences of numbers") from None
    if found.ndim != 1 or found.shape != sizes.shape or found.size < 2:
        raise ValueError(
            f"values has shape {found.shape} and voxel_sizes {sizes.shape}; give two or more values, each with its size"
        )
    if not (np.all(np.isfinite(found)) and np.all(np.isfinite(sizes)) and np.all(sizes > 0)):
        raise ValueError("values and voxel_sizes must be finite, and the sizes positive")
    order = np.argsort(sizes)
    if np.any(np.diff(sizes[order]) == 0):
        raise ValueError(f"voxel_sizes is {voxel_sizes!r}; each size may occur once only")
    return sizes[order], found[order]


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Intercept and slope through two points."""
    slope = float((y[1] - y[0]) / (x[1] - x[0]))
    return float(y[0] - slope * x[0]), slope
