"""Probabilities made honest: one temperature, and a bias for each phase if wanted."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from segment.trust.slabs import LEAST_PROBABILITY, LabelledSlabs, check_probability

__all__ = ["Temperature", "apply_temperature", "fit_temperature"]

COLDEST, HOTTEST = 0.05, 20.0
MOST_BIAS = 10.0
ROUNDS, HALVINGS = 60, 20
# Of the mean negative log-likelihood that a further step could still gain.
ENOUGH = 1e-12


@dataclasses.dataclass(frozen=True)
class Temperature:
    """What makes a segmenter's probabilities most likely on labelled volumes.

    Attributes
    ----------
    temperature : float
        T, from 0.05 to 20; the logits are divided by it. Above 1 the segmenter was too sure.
    bias : tuple of float
        What is added to each phase's logit after the division, 0 for phase 0, from −10 to 10; all 0 if not asked for.
    standard_error : float
        Of T, if voxels were independent of each other; infinite where T is at an end of its range, or where the
        volumes say nothing of it. They are not independent: leave some out, or compare volumes.
    before, after : float
        Mean negative log-likelihood a voxel at T = 1 and at the solution; `after` is never above `before`.
    """

    temperature: float
    bias: tuple[float, ...]
    standard_error: float
    before: float
    after: float


def fit_temperature(logits: Any, labels: Any = None, *, bias: bool = False) -> Temperature:
    """Find the temperature at which labels are most likely.

    Parameters
    ----------
    logits : array-like of shape (n, Z, Y, X), or iterable of (logits, labels)
        The network's logits of n ≥ 2 phases, or logarithms of its probabilities, which do as well; −∞ counts as
        ln 1.2e-38 = −87.3. In memory or on disk, or slabs ``(n, z, Y, X)`` with their labels; about ten passes are
        made, each of which holds one slab.
    labels : array-like of shape (Z, Y, X), optional
        The true phases; left out where slabs are given.
    bias : bool
        Whether to fit a bias for each phase too (a scaling between temperature and vector scaling). It may change
        the most probable phase and so the porosity, which the temperature alone leaves.

    Returns
    -------
    Temperature
        To be used with `apply_temperature`.

    Raises
    ------
    ValueError
        For NaN, +∞, labels that do not fit, and an iterator, which can be passed over once only.

    Notes
    -----
    The negative log-likelihood is convex in 1/T and the biases. Newton's steps, at most a factor of 4 each, are
    halved until it falls; the ranges of T and of the biases bound what has no solution, such as a network that is
    always right, or a phase that never occurs.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017 (arXiv:1706.04599), section 4.2.
    """
    slabs = LabelledSlabs(logits, labels, again=True)
    n = _phases_of(slabs)
    at, now, before = _minimise(slabs, n, free=np.array([True] + [bool(bias)] * (n - 1)))
    temperature = 1 / float(at[0])
    return Temperature(
        temperature, (0.0, *at[1:].tolist()), _standard_error(at, now, biased=bool(bias)), before.loss, now.loss
    )


def apply_temperature(probability: Any, temperature: float, *, bias: Sequence[float] | None = None) -> np.ndarray:
    """Soften or sharpen probabilities.

    Parameters
    ----------
    probability : array-like of shape (n, …)
        Probability of each phase.
    temperature : float
        T above 0; 1 changes nothing, above it softens.
    bias : sequence of float, length n, optional
        Added to each phase's logit after the division by T.

    Returns
    -------
    ndarray of float32, shape (n, …)
        p^(1/T) e^bias, divided by its sum over the phases: the softmax of logits / T + bias, of which only the
        probabilities need be known. Without a bias the order of the phases at a voxel stays as it was.

    Raises
    ------
    ValueError
        For what are no probabilities, and a temperature or biases that are not finite.
    """
    array = check_probability(probability)
    if not isinstance(temperature, int | float | np.number) or not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature!r}; give a number above 0")
    shift = np.zeros(len(array)) if bias is None else np.asarray(bias, float)
    if shift.shape != (len(array),) or not np.isfinite(shift).all():
        raise ValueError(f"bias is {bias!r}; give one finite number for each of the {len(array)} phases")
    result = np.log(np.maximum(array, LEAST_PROBABILITY))
    result /= array.dtype.type(temperature)
    result += shift.astype(array.dtype).reshape(-1, *(1,) * (array.ndim - 1))
    result -= result.max(axis=0)
    np.exp(result, out=result)
    result /= result.sum(axis=0)
    return result.astype(np.float32, copy=False)


@dataclasses.dataclass(frozen=True, eq=False)
class _Likelihood:
    """Mean negative log-likelihood, its slope and curvature in (1/T, bias of phase 1, 2, …)."""

    loss: float
    slope: np.ndarray
    curvature: np.ndarray
    voxels: int


def _minimise(slabs: LabelledSlabs, n: int, *, free: np.ndarray) -> tuple[np.ndarray, _Likelihood, _Likelihood]:
    """Return the parameters of the smallest loss, what was found there and what at the start."""
    at = np.zeros(n)
    at[0] = 1.0
    now = before = _likelihood(slabs, at)
    for _ in range(ROUNDS):
        step = _newton_step(at, now, free)
        if -float(now.slope @ step) <= ENOUGH:
            break
        for halving in range(HALVINGS):
            trial = _within_reach(at, at + step * 0.5**halving)
            then = _likelihood(slabs, trial)
            if then.loss < now.loss:
                break
        else:
            break
        at, now = trial, then
    return at, now, before


def _newton_step(at: np.ndarray, now: _Likelihood, free: np.ndarray) -> np.ndarray:
    low, high = _range(len(at))
    # What rests at the end of its range and is drawn further out cannot move.
    stuck = ((at <= low) & (now.slope > 0)) | ((at >= high) & (now.slope < 0))
    moving = free & ~stuck
    step = np.zeros(len(at))
    if moving.any():
        curvature = now.curvature[np.ix_(moving, moving)]
        ridge = 1e-10 * np.trace(curvature) + LEAST_PROBABILITY
        step[moving] = -np.linalg.solve(curvature + ridge * np.eye(len(curvature)), now.slope[moving])
    return step


def _within_reach(at: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    low, high = _range(len(at))
    low[0], high[0] = max(low[0], at[0] / 4), min(high[0], at[0] * 4)
    return np.clip(wanted, low, high)


def _range(n: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.full(n, -MOST_BIAS), np.full(n, MOST_BIAS)
    low[0], high[0] = 1 / HOTTEST, 1 / COLDEST
    return low, high


def _standard_error(at: np.ndarray, now: _Likelihood, *, biased: bool) -> float:
    low, high = _range(len(at))
    known = now.curvature if biased else now.curvature[:1, :1]
    if not low[0] < at[0] < high[0] or np.linalg.matrix_rank(known, hermitian=True) < len(known):
        return math.inf
    variance = float(np.linalg.inv(known)[0, 0]) / now.voxels
    return math.sqrt(variance) / float(at[0]) ** 2


def _likelihood(slabs: LabelledSlabs, at: np.ndarray) -> _Likelihood:
    n = len(at)
    loss, slope, curvature, voxels = 0.0, np.zeros(n), np.zeros((n, n)), 0
    for values, truth in slabs:
        # The likelihood does not change with a constant over the phases; off the largest, nothing overflows.
        z = _finite(values)
        z -= z.max(axis=0)
        a = at[0] * z
        a[1:] += at[1:, None]
        a -= a.max(axis=0)
        p = np.exp(a)
        total = p.sum(axis=0)
        p /= total
        loss += float((np.log(total) - np.take_along_axis(a, truth[None], axis=0)[0]).sum())
        mean = (p * z).sum(axis=0)
        slope[0] += float((mean - np.take_along_axis(z, truth[None], axis=0)[0]).sum())
        slope[1:] += p[1:].sum(axis=1) - np.bincount(truth, minlength=n)[1:]
        spread = p * (z - mean)
        curvature[0, 0] += float((spread * z).sum())
        curvature[0, 1:] += spread[1:].sum(axis=1)
        curvature[1:, 1:] += np.diag(p[1:].sum(axis=1)) - p[1:] @ p[1:].T
        voxels += len(truth)
    curvature[1:, 0] = curvature[0, 1:]
    return _Likelihood(loss / voxels, slope / voxels, curvature / voxels, voxels)


def _finite(values: np.ndarray) -> np.ndarray:
    """Return logits in double precision, −∞ raised to the least that single precision could mean."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"logits are {values.dtype}; give real numbers")
    z = values.astype(np.float64)
    if np.isnan(z).any() or (z == np.inf).any():
        raise ValueError("logits hold NaN or +infinity; give finite logits or logarithms of probabilities")
    return np.maximum(z, math.log(LEAST_PROBABILITY), where=z == -np.inf, out=z)


def _phases_of(slabs: LabelledSlabs) -> int:
    for values, _ in slabs:
        return len(values)
    raise ValueError("the slabs hold no voxel; give at least one")
