"""How large a volume must be: what is measured on cubes of growing size, and the law of its variance."""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from evaluate.accepted_input import as_labels, as_whole_number

__all__ = ["RepresentativeVolume", "representative_volume"]

Measure = Callable[[np.ndarray], float]
# Shares of the smallest side.
SHARES = (2, 3, 4, 6, 8)
SMALLEST = 4
FEWEST = 4


@dataclasses.dataclass(frozen=True, eq=False)
class RepresentativeVolume:
    """A measure over cubes of growing size; made by `representative_volume`. Lengths are in voxels.

    Attributes
    ----------
    sizes : ndarray of int, shape (n,)
        Edges of the cubes, growing.
    mean, standard_deviation : ndarray of float64, shape (n,)
        Over the independent cubes of each size.
    relative_error : ndarray of float64, shape (n,)
        Standard deviation / mean: the error of a single cube.
    count : ndarray of int, shape (n,)
        How many cubes of each size were measured.
    values : tuple of ndarray
        What was measured on them, size by size.
    nested_sizes : ndarray of int, shape (m,)
        Edges of the growing cubes, the largest cube that fits in the volume last.
    nested : ndarray of float64, shape (anchors, m)
        What was measured on cubes that grow from each anchor: a drift that does not level off means that
        the volume is too small, or not stationary.
    exponent : float
        α of the law Var = prefactor / volume^α. 1 for a mean over a stationary medium without long-range order.
    prefactor : float
        In the measure's unit squared × voxels^(3α). For the fraction φ of a phase and α = 1 it is φ(1 - φ) A, with
        the integral range A.
    exponent_fitted : bool
        Whether the exponent was fitted or given.
    """

    sizes: np.ndarray
    mean: np.ndarray
    standard_deviation: np.ndarray
    relative_error: np.ndarray
    count: np.ndarray
    values: tuple[np.ndarray, ...]
    nested_sizes: np.ndarray
    nested: np.ndarray
    exponent: float
    prefactor: float
    exponent_fitted: bool

    def size_for(self, relative_error: float, *, count: int = 1) -> float:
        """Edge of the cube, in voxels, whose mean has a wanted standard error.

        Parameters
        ----------
        relative_error : float
            Standard error / mean of the largest cubes, above 0. For a 95 % interval of ± 2 % ask for 0.01.
        count : int
            How many such cubes are averaged.

        Returns
        -------
        float
            By the law of variance; beyond the largest size it is an extrapolation. 0 if nothing varies.

        Raises
        ------
        ValueError
            A number out of range, or a mean of 0.

        Notes
        -----
        T. Kanit et al., Int. J. Solids Struct. 40 (2003) 3647, equations 28 to 30, there with 2 standard deviations.
        """
        count = as_whole_number(count, "count", low=1)
        if not (isinstance(relative_error, numbers.Real) and 0 < relative_error < math.inf):
            raise ValueError(f"relative_error is {relative_error!r}; it must be a number above 0")
        if self.mean[-1] == 0:
            raise ValueError("the mean is 0; no size has a relative error of it")
        wanted = (relative_error * float(self.mean[-1])) ** 2 * count
        return (self.prefactor / wanted) ** (1 / (3 * self.exponent))


def representative_volume(
    volume: Any,
    measure: Measure,
    *,
    rng: np.random.Generator | int,
    sizes: Sequence[int] | None = None,
    most: int = 64,
    nested_from: Literal["centre", "corners"] = "centre",
    exponent: float | None = 1.0,
) -> RepresentativeVolume:
    r"""Measure cubes of growing size and find how fast their scatter falls.

    Parameters
    ----------
    volume : array_like, shape (Z, Y, X)
        Labels or a mask.
    measure : callable
        Turns a cube of it into one finite number, such as ``evaluate.porosity``. Where transport has no path
        (`NoPathError`), let it return the diffusivity 0: a tortuosity factor has no mean there.
    rng : Generator or int
        Where the grids of cubes begin, and which cubes are taken if there are more than `most`.
    sizes : sequence of int, optional
        Edges in voxels, at most half of the smallest side, so that there are at least 8. By default 1/8 to
        1/2 of that side.
    most : int
        Largest number of cubes of one size, at least 4.
    nested_from : {"centre", "corners"}
        Where the growing cubes are anchored: one series, or eight.
    exponent : float or None
        α of the law of variance; None fits it.

    Returns
    -------
    RepresentativeVolume

    Raises
    ------
    ValueError
        `volume` is not 3-D or does not hold labels; sizes, `most`, `nested_from` or `exponent` out of range; a measure
        that fails on a cube, or gives something other than one finite number.

    Notes
    -----
    The independent cubes of one size do not overlap. Neighbours are still correlated, so that the scatter of few and
    large cubes is underestimated; where the correlation length is far below the size this is nothing.

    The law is fitted to the logarithms of the variances, each weighted by its number of cubes less one. The
    exponent is 1 for means over the volume; for the tortuosity factor and others that depend on paths it comes out
    lower or higher at small sizes, and their means drift with the size too: look at `mean` before using the law.

    References
    ----------
    T. Kanit, S. Forest, I. Galliet, V. Mounoury, D. Jeulin, "Determination of the size of the representative volume
    element for random composites", Int. J. Solids Struct. 40 (2003) 3647.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).random((64, 64, 64)) < 0.5
    >>> found = representative_volume(noise, np.mean, rng=0)
    >>> bool(0.2 < found.prefactor < 0.3)
    True
    """
    array = as_labels(volume, "volume", ndim=(3,))
    edges = _accepted_sizes(sizes, min(array.shape))
    most = as_whole_number(most, "most", low=FEWEST)
    if exponent is not None and not (isinstance(exponent, numbers.Real) and 0 < exponent < math.inf):
        raise ValueError(f"exponent is {exponent!r}; it must be a number above 0, or None to fit it")
    if exponent is None and len(edges) < 2:
        raise ValueError(f"sizes is {edges}; fitting the exponent takes two sizes at least")
    if nested_from not in ("centre", "corners"):
        raise ValueError(f"nested_from is {nested_from!r}; it must be 'centre' or 'corners'")
    generator = np.random.default_rng(rng)
    values = tuple(
        np.array([_measured(measure, array[cube]) for cube in _apart(array.shape, edge, most, generator)])
        for edge in edges
    )
    mean = np.array([v.mean() for v in values])
    deviation = np.array([v.std(ddof=1) for v in values])
    count = np.array([v.size for v in values])
    law = _law(np.array(edges, float), deviation**2, count, exponent)
    nested_sizes = np.array([*edges, min(array.shape)])
    return RepresentativeVolume(
        sizes=np.array(edges),
        mean=mean,
        standard_deviation=deviation,
        relative_error=np.divide(deviation, np.abs(mean), out=np.full(mean.shape, np.inf), where=mean != 0),
        count=count,
        values=values,
        nested_sizes=nested_sizes,
        nested=_nested(array, measure, nested_sizes, nested_from),
        exponent=law[0],
        prefactor=law[1],
        exponent_fitted=exponent is None,
    )


def _accepted_sizes(sizes: Any, side: int) -> list[int]:
    if side < 2 * SMALLEST:
        raise ValueError(f"the smallest side of volume is {side}; at least {2 * SMALLEST} voxels are needed")
    if sizes is None:
        return sorted({side // share for share in SHARES if side // share >= SMALLEST})
    try:
        edges = [as_whole_number(size, "a size", low=1, high=side // 2) for size in sizes]
    except TypeError:
        raise ValueError(f"sizes is {sizes!r}; give edges in voxels, such as (16, 32)") from None
    if not edges:
        raise ValueError("sizes is empty; give edges in voxels, such as (16, 32), or None")
    return sorted(set(edges))


def _apart(shape: tuple[int, ...], edge: int, most: int, rng: np.random.Generator) -> list[tuple[slice, ...]]:
    """Cubes on a grid that begins at a random voxel, at most so many of them, in their order."""
    begin = [int(rng.integers(0, n % edge + 1)) for n in shape]
    starts = list(itertools.product(*(range(b, n - edge + 1, edge) for b, n in zip(begin, shape, strict=True))))
    chosen = np.sort(rng.permutation(len(starts))[:most])
    return [tuple(slice(a, a + edge) for a in starts[k]) for k in chosen]


def _nested(array: np.ndarray, measure: Measure, sizes: np.ndarray, nested_from: str) -> np.ndarray:
    ways = [(0.5,) * 3] if nested_from == "centre" else list(itertools.product((0.0, 1.0), repeat=3))
    return np.array(
        [[_measured(measure, array[_cube(array.shape, way, edge)]) for edge in sizes.tolist()] for way in ways]
    )


def _cube(shape: tuple[int, ...], way: Sequence[float], edge: int) -> tuple[slice, ...]:
    """Return the cube that lies a share `way` of the free length from the origin."""
    starts = [int(share * (n - edge)) for share, n in zip(way, shape, strict=True)]
    return tuple(slice(start, start + edge) for start in starts)


def _measured(measure: Measure, cube: np.ndarray) -> float:
    try:
        value = float(measure(cube))
    except (TypeError, ValueError) as error:
        raise ValueError(f"measure failed on a cube of {cube.shape[0]} voxels: {error}") from error
    if not math.isfinite(value):
        raise ValueError(
            f"measure gave {value} on a cube of {cube.shape[0]} voxels; give a measure that is finite there"
        )
    return value


def _law(edges: np.ndarray, variance: np.ndarray, count: np.ndarray, exponent: float | None) -> tuple[float, float]:
    """Return α and the prefactor of Var = prefactor / V^α by weighted least squares in logarithms."""
    varies = variance > 0
    if not varies.any():
        return 1.0 if exponent is None else float(exponent), 0.0
    x, y, weight = 3 * np.log(edges[varies]), np.log(variance[varies]), count[varies] - 1.0
    if exponent is None and varies.sum() < 2:
        raise ValueError("only one size varies at all; fitting the exponent takes two: give other sizes")
    middle = np.average(x, weights=weight), np.average(y, weights=weight)
    if exponent is None:
        dx = x - middle[0]
        exponent = -float(np.sum(weight * dx * (y - middle[1])) / np.sum(weight * dx**2))
        if exponent <= 0:
            raise ValueError("the scatter does not fall with the size; the volume is too small or not stationary")
    return float(exponent), math.exp(middle[1] + exponent * middle[0])
