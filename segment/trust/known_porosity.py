"""Labels that have a measured porosity to the voxel, and the measurement's interval carried on."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from segment.trust.slabs import LEAST_PROBABILITY, probability_slabs

__all__ = ["CarriedInterval", "PorosityShift", "carry_interval", "find_shift", "label_slabs", "match_porosity"]

HALF_BITS = 16
HALF = 1 << HALF_BITS


@dataclasses.dataclass(frozen=True)
class PorosityShift:
    """What turns a segmenter's probabilities into labels of one porosity.

    Attributes
    ----------
    ratio : float
        A voxel is pore where the pore's probability over the largest of the other phases' is above this number.
    ties : int
        So many voxels at exactly that ratio are pore too: the first ones in the order of the array (z, then y, x).
    voxels : int
        Of the whole volume.
    porosity : float
        Of the labels: within half a voxel of what was wanted.
    """

    ratio: float
    ties: int
    voxels: int
    porosity: float

    @property
    def log_shift(self) -> float:
        """What is added to the pore's log-probability or logit before the largest is taken: −ln of the ratio."""
        return -math.log(self.ratio)


@dataclasses.dataclass(frozen=True)
class CarriedInterval:
    """A property at the measured porosity, and at the ends of the measurement's interval.

    Attributes
    ----------
    value : float
        Of the middle labels.
    low, high : float
        Smallest and largest of the three values. Most properties rise or fall with the porosity all along, and then
        lie between; infinite where labels have none that is finite (the tortuosity of pores that do not percolate).
    porosities : (float, float, float)
        Of the three label volumes, in the order in which they came.
    """

    value: float
    low: float
    high: float
    porosities: tuple[float, float, float]


def match_porosity(probability: Any, porosity: float) -> np.ndarray:
    """Label a volume so that its porosity is a measured one.

    Parameters
    ----------
    probability : array-like of shape (n, Z, Y, X)
        Probability of each of n ≥ 2 phases, phase 0 the pore, in memory or on disk.
    porosity : float
        From 0 to 1, of a measurement such as helium pycnometry.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        round(porosity · voxels) voxels are 0: those where the pore's probability is largest in proportion to the
        largest of the others, of equal ones the first. Elsewhere the label is the most probable other phase. A larger
        porosity only adds pore voxels.

    Raises
    ------
    ValueError
        For a porosity out of range and what are no probabilities.

    Notes
    -----
    For slabs of a volume too large for memory: `find_shift`, then `label_slabs`; the labels are the same.
    """
    shape = np.shape(probability)
    if not hasattr(probability, "shape") or len(shape) < 2:
        raise ValueError("give one array (phase, z, y, x); for slabs call find_shift and label_slabs")
    labels = np.empty(shape[1:], np.uint8)
    z = 0
    for slab in label_slabs(probability, find_shift(probability, porosity)):
        labels[z : z + len(slab)] = slab
        z += len(slab)
    return labels


def find_shift(probability: Any, porosity: float) -> PorosityShift:
    """Find the constant on the pore's log-probability that gives a porosity, to the voxel.

    Parameters
    ----------
    probability : array-like of shape (n, Z, Y, X), or iterable of slabs
        See `match_porosity`; an iterator, which can be passed over once only, is refused.
    porosity : float
        From 0 to 1.

    Returns
    -------
    PorosityShift

    Raises
    ------
    ValueError
        As `match_porosity`.

    Notes
    -----
    Two passes, each of which holds one slab and 65536 counts: ratios are single-precision numbers above 0, whose bits,
    read as whole numbers, are in their order. The first pass counts their upper halves, the second the lower halves
    of those that share the upper half of the ratio looked for. So the answer is exact, without sorting.
    """
    if not isinstance(porosity, int | float | np.number) or not 0 <= porosity <= 1:
        raise ValueError(f"porosity is {porosity!r}; give a number from 0 to 1")
    upper = np.zeros(HALF, np.int64)
    for p in probability_slabs(probability, again=True):
        upper += np.bincount((_ratios(p).view(np.uint32) >> HALF_BITS).ravel(), minlength=HALF)
    voxels = int(upper.sum())
    wanted = round(float(porosity) * voxels)
    # Without any pore, too, a ratio is needed that no voxel is above: the largest one.
    above, top = _descend(upper, max(wanted, 1))
    lower = np.zeros(HALF, np.int64)
    for p in probability_slabs(probability, again=True):
        bits = _ratios(p).view(np.uint32)
        inside = bits[bits >> HALF_BITS == top] & np.uint32(HALF - 1)
        lower += np.bincount(inside, minlength=HALF)
    more, bottom = _descend(lower, max(wanted, 1) - above)
    ratio = np.uint32(top << HALF_BITS | bottom).reshape(1).view(np.float32)[0]
    return PorosityShift(float(ratio), max(0, wanted - above - more), voxels, wanted / voxels)


def label_slabs(probability: Any, shift: PorosityShift) -> Iterator[np.ndarray]:
    """Yield the labels of slabs one after the other.

    Parameters
    ----------
    probability : array-like of shape (n, Z, Y, X), or iterable of slabs
        The whole volume that `shift` was found of, in the same order.
    shift : PorosityShift
        Of `find_shift`.

    Yields
    ------
    ndarray of uint8, shape (z, Y, X)
    """
    left, ratio = shift.ties, np.float32(shift.ratio)
    for p in probability_slabs(probability):
        ratios = _ratios(p)
        pore = ratios > ratio
        equal = np.flatnonzero(ratios == ratio)[:left]
        pore.flat[equal] = True
        left -= len(equal)
        yield np.where(pore, 0, p[1:].argmax(axis=0) + 1).astype(np.uint8)


def carry_interval(
    labels_low: Any, labels_mid: Any, labels_high: Any, *, measure: Callable[[np.ndarray], float]
) -> CarriedInterval:
    """Carry a porosity's interval on to another property.

    Parameters
    ----------
    labels_low, labels_mid, labels_high : array-like of whole numbers, shape (Z, Y, X)
        Labels at the lower end, the middle and the upper end of the measured porosity, of `match_porosity`.
    measure : callable
        From labels to a number, for instance ``lambda labels: evaluate.tortuosity(labels == 0, axis=0).tortuosity``.

    Returns
    -------
    CarriedInterval

    Raises
    ------
    ValueError
        If `measure` gives NaN or no number, or the porosities do not rise from the first labels to the last.
    """
    three = [np.asarray(labels) for labels in (labels_low, labels_mid, labels_high)]
    for labels in three:
        if labels.size == 0 or labels.dtype.kind not in "biu":
            raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}; give whole numbers (z, y, x)")
    low, mid, high = (float(np.mean(labels == 0)) for labels in three)
    if not low <= mid <= high:
        raise ValueError(f"the labels' porosities are {low:.4g}, {mid:.4g}, {high:.4g}; give them from low to high")
    values = [_measured(measure, labels) for labels in three]
    return CarriedInterval(values[1], min(values), max(values), (low, mid, high))


def _measured(measure: Callable[[np.ndarray], float], labels: np.ndarray) -> float:
    found = measure(labels)
    if not isinstance(found, int | float | np.number) or math.isnan(found):
        raise ValueError(f"measure gave {found!r} at porosity {np.mean(labels == 0):.4g}; it must return a number")
    return float(found)


def _ratios(p: np.ndarray) -> np.ndarray:
    """Return the pore's probability over the largest of the others, as positive normal float32.

    A quotient is rounded the same way on every machine; a difference of logarithms is not.
    """
    least = np.float32(LEAST_PROBABILITY)
    single = np.clip(p, least, 1, dtype=np.float32, casting="same_kind")
    return single[0] / single[1:].max(axis=0)


def _descend(counts: np.ndarray, wanted: int) -> tuple[int, int]:
    """Return how many lie above the bin that holds the `wanted`-th largest, and that bin."""
    reached = np.cumsum(counts[::-1])
    place = int(np.searchsorted(reached, wanted))
    before = int(reached[place - 1]) if place else 0
    return before, len(counts) - 1 - place
