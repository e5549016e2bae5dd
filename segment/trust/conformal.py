"""Intervals whose coverage is proved for volumes like those of the calibration, and measured for others."""

import dataclasses
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from segment.trust.accepted_numbers import as_number, as_numbers
from segment.trust.slabs import probability_slabs

__all__ = [
    "ConformalInterval",
    "Coverage",
    "PorosityDoubt",
    "conformal_interval",
    "coverage_of",
    "porosity_doubt",
    "scaled_interval",
]


@dataclasses.dataclass(frozen=True)
class ConformalInterval:
    """Where a true value lies.

    Attributes
    ----------
    low, high : float
        In the unit of the value.
    coverage : float
        Probability that the interval holds the truth, at least, over volumes drawn like those of the calibration: for
        N errors less than 1 / (N + 1) above what was asked for, or, where N is too small for that, N / (N + 1).
    """

    low: float
    high: float
    coverage: float


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth.

    Attributes
    ----------
    wanted : float
        The coverage asked for.
    measured : float
        Fraction of the volumes whose interval held the truth.
    standard_error : float
        Of `measured`, as of independent volumes: √(wanted (1 − wanted) / count).
    mean_width : float
        Of the intervals, in the unit of the values: the narrower at equal coverage, the better.
    count : int
        Number of volumes.
    """

    wanted: float
    measured: float
    standard_error: float
    mean_width: float
    count: int


@dataclasses.dataclass(frozen=True)
class PorosityDoubt:
    """Porosity by counting labels and by adding probabilities, and how much of it is in doubt.

    Attributes
    ----------
    hard : float
        Fraction of voxels where the pore is the most probable phase.
    soft : float
        Mean probability of the pore: the expected porosity if the probabilities are calibrated.
    doubt : float
        Mean probability that a voxel's decision between pore and not-pore is wrong, from 0 to 0.5 for two phases.
        The soft and the hard porosity never differ by more, and unlike their difference it does not vanish where
        errors both ways balance: the better measure of a volume's difficulty.
    """

    hard: float
    soft: float
    doubt: float


def conformal_interval(
    value: float, errors: Sequence[float], *, coverage: float = 0.9, bounds: tuple[float, float] = (0.0, 1.0)
) -> ConformalInterval:
    """Return an interval for a true value by split conformal prediction.

    Parameters
    ----------
    value : float
        As predicted.
    errors : sequence of float
        Predicted minus true value on N volumes of the same kind, unseen in training.
    coverage : float
        Wanted, above 0 and below 1.
    bounds : (float, float)
        What is possible at all; the interval is clipped to it, which loses no coverage. Infinite for no bound.

    Returns
    -------
    ConformalInterval
        The k-th smallest absolute error to both sides, k = ⌈coverage (N + 1)⌉: it covers with a probability of at least
        k / (N + 1), exactly that where no two errors are equal. k is N at most. Without any error the interval is
        `bounds`, its coverage 1.

    Raises
    ------
    ValueError
        For numbers that are not finite and a coverage or bounds out of range.

    References
    ----------
    Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, "Distribution-free predictive inference for regression", JASA 113
    (2018) 1094.
    """
    known, low, high = as_numbers(errors, "errors"), *_check_bounds(bounds)
    centre, wanted = as_number(value, "value"), _check_coverage(coverage)
    reach, reached = _reach(np.abs(known), wanted)
    return _clipped(centre, reach, bounds=(low, high), coverage=reached)


def scaled_interval(
    value: float,
    errors: Sequence[float],
    difficulties: Sequence[float],
    *,
    difficulty: float,
    coverage: float = 0.9,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> ConformalInterval:
    """Return an interval that is wider for volumes that are harder: normalised conformal prediction.

    Parameters
    ----------
    value : float
        As predicted.
    errors : sequence of float
        Predicted minus true value on N volumes of the same kind, unseen in training.
    difficulties : sequence of float
        Of each of those volumes, at least 0: any number measured from the picture alone that grows with the error to
        be feared, such as `PorosityDoubt.doubt` or the mean of `Spread.pore_deviation`.
    difficulty : float
        Of the volume in question.
    coverage : float
        Wanted, above 0 and below 1.
    bounds : (float, float)
        What is possible at all; the interval is clipped to it.

    Returns
    -------
    ConformalInterval
        The k-th smallest absolute error / (difficulty + m), times the volume's own difficulty + m, to both sides; m is
        the median of all N + 1 difficulties.

    Raises
    ------
    ValueError
        For numbers that are not finite or negative difficulties, and numbers of errors and difficulties that differ.

    Notes
    -----
    m keeps a volume that seems easy from an interval of no width. As it treats the N + 1 volumes alike, their scores
    remain exchangeable and the coverage of `conformal_interval` holds unchanged, whatever the difficulty is worth; a
    good one makes the intervals narrower on average, one that is always 0 gives those of `conformal_interval`.

    References
    ----------
    Papadopoulos, Gammerman, Vovk, "Normalized nonconformity measures for regression conformal prediction", IASTED AIA
    2008 (with a constant in place of m).
    """
    known, hard = as_numbers(errors, "errors"), as_numbers(difficulties, "difficulties")
    own = as_number(difficulty, "difficulty")
    if len(known) != len(hard):
        raise ValueError(f"there are {len(known)} errors and {len(hard)} difficulties; give one for each volume")
    if own < 0 or (hard < 0).any():
        raise ValueError(f"the smallest difficulty is {min([own, *hard])}; give numbers of at least 0")
    centre, wanted, limits = as_number(value, "value"), _check_coverage(coverage), _check_bounds(bounds)
    middle = float(np.median([own, *hard]))
    # Where most difficulties are 0, so is m; then only ratios to the whole count, and equal ones must cancel.
    middle = middle or float(np.mean([own, *hard])) or 1.0
    score, reached = _reach(np.abs(known) / (hard + middle), wanted)
    return _clipped(centre, score * (own + middle), bounds=limits, coverage=reached)


def coverage_of(
    values: Sequence[float],
    truths: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    difficulties: Sequence[float] | None = None,
    coverage: float = 0.9,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Coverage:
    """Measure how often an interval holds the truth, each time resting on the errors of other volumes only.

    Parameters
    ----------
    values, truths : sequence of float
        Predicted and true values of N volumes unseen in training.
    groups : sequence of hashable, optional
        The material, microscope or recipe of each volume. Its interval then rests on the other groups' errors alone:
        leave one group out, the honest figure for a material that no calibration has seen.
    difficulties : sequence of float, optional
        If given, `scaled_interval` is measured, else `conformal_interval`.
    coverage, bounds
        As there.

    Returns
    -------
    Coverage

    Raises
    ------
    ValueError
        For sequences of different lengths, fewer than two volumes or groups, and numbers that are not finite.

    Notes
    -----
    Leaving out single volumes, the interval of constant width covers ⌈coverage N⌉ of N volumes whatever the
    errors (unless some are equal): only its width says anything then. Groups, or difficulties, make it a measurement.
    """
    predicted, true = as_numbers(values, "values"), as_numbers(truths, "truths")
    hard = None if difficulties is None else as_numbers(difficulties, "difficulties")
    names: list[Hashable] = list(range(len(predicted)) if groups is None else groups)
    for what, given in (("truths", true), ("groups", names), ("difficulties", hard)):
        if given is not None and len(given) != len(predicted):
            raise ValueError(f"there are {len(predicted)} values and {len(given)} {what}; give one for each volume")
    if len(set(names)) < 2:
        raise ValueError("all volumes are of one group; give at least two, so that each can be judged by the others")
    errors, held, width = predicted - true, 0, 0.0
    for i, name in enumerate(names):
        other = np.array([another != name for another in names])
        settings: dict[str, Any] = {"coverage": coverage, "bounds": bounds}
        if hard is None:
            found = conformal_interval(predicted[i], errors[other], **settings)
        else:
            found = scaled_interval(predicted[i], errors[other], hard[other], difficulty=hard[i], **settings)
        held += found.low <= true[i] <= found.high
        width += found.high - found.low
    count = len(predicted)
    return Coverage(coverage, held / count, math.sqrt(coverage * (1 - coverage) / count), width / count, count)


def porosity_doubt(probability: Any) -> PorosityDoubt:
    """Measure how much of a porosity is in doubt, from the probabilities alone.

    Parameters
    ----------
    probability : array-like of shape (n, Z, Y, X), or iterable of such slabs
        Probability of each of n ≥ 2 phases, phase 0 the pore. One pass is made; a slab is held.

    Returns
    -------
    PorosityDoubt
    """
    hard = soft = doubt = 0.0
    voxels = 0
    for p in probability_slabs(probability):
        pore = p.argmax(axis=0) == 0
        hard += float(np.count_nonzero(pore))
        soft += float(p[0].sum(dtype=np.float64))
        doubt += float(np.where(pore, 1 - p[0], p[0]).sum(dtype=np.float64))
        voxels += pore.size
    return PorosityDoubt(hard / voxels, soft / voxels, doubt / voxels)


def _reach(scores: np.ndarray, coverage: float) -> tuple[float, float]:
    """Return the k-th smallest score and the coverage k / (N + 1); no bound without any score."""
    count = len(scores)
    if count == 0:
        return math.inf, 1.0
    # Rounded so that 0.9 times 10 is 9 and not a little more.
    rank = min(count, math.ceil(round(coverage * (count + 1), 9)))
    return float(np.sort(scores)[rank - 1]), rank / (count + 1)


def _clipped(centre: float, reach: float, *, bounds: tuple[float, float], coverage: float) -> ConformalInterval:
    low, high = (float(np.clip(end, *bounds)) for end in (centre - reach, centre + reach))
    return ConformalInterval(low, high, coverage)


def _check_coverage(coverage: Any) -> float:
    if not isinstance(coverage, int | float | np.number) or not 0 < coverage < 1:
        raise ValueError(f"coverage is {coverage!r}; give a number above 0 and below 1")
    return float(coverage)


def _check_bounds(bounds: Any) -> tuple[float, float]:
    ends = np.asarray(bounds, dtype=float)
    if ends.shape != (2,) or not ends[0] < ends[1]:
        raise ValueError(f"bounds are {bounds!r}; give two numbers, the smaller first")
    return float(ends[0]), float(ends[1])
