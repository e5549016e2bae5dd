"""Uneven background: a smooth gain over the slice, found without knowing phases or their fractions."""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.polynomial import legendre
from scipy import stats

from segment.correction.faces import black_level, check_stack, look
from segment.correction.sharpening import Crowd

__all__ = ["BackgroundEstimate", "estimate_background", "undo_background"]

REFERENCE_DEGREES = 3
LEAST_RMS = 0.02
SIGNIFICANCE = 1e-4
ROUNDS = 36
LEAST_GRIP = 0.03
FIRST_WIDTH, LAST_WIDTH, NARROWING = 0.12, 0.03, 0.93


@dataclasses.dataclass(frozen=True, eq=False)
class BackgroundEstimate:
    """An uneven background.

    Parameters
    ----------
    field : ndarray of float32, shape (Y, X)
        Gain of each pixel, the same in every slice; its mean is 1.
    rms : float
        Standard deviation of the field.
    standard_error : float
        Expected rms error of the field, from the unevenness that the next higher degrees find.
    p_value : float
        Probability of so much unevenness by chance if low degrees held no more than the next higher ones.
    found : bool
        Whether it is both significant and large enough to be worth a correction.
    """

    field: np.ndarray
    rms: float
    standard_error: float
    p_value: float
    found: bool


def estimate_background(stack: Any, *, degree: int = 3) -> BackgroundEstimate:
    """Find the smooth gain over the slices that makes the phases' grey values sharpest.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values of any scale; where some are negative, the smallest counts as black.
    degree : int
        Of the polynomial in y and x for the logarithm of the gain, 1 to 5.

    Returns
    -------
    BackgroundEstimate
        ``found`` where an F test against the next three degrees gives p < 1e-4 and the rms is above 2 %.

    Raises
    ------
    ValueError
        If the stack is no grey volume or smaller than 1 × 32 × 32, or for a degree out of range.

    Notes
    -----
    All slices share one field. Entropy of the histogram of log grey - field is brought down by Newton's method:
    each pixel is drawn uphill in the density of all pixels [1]_, and the polynomial follows the mean of these
    forces. A phase may lie anywhere and in any amount: only that it has one grey value counts. That is why a
    gradient of the porosity is no background here. What changes its brightness along with its place, such as a
    material's own gradient, cannot be told from one.

    References
    ----------
    .. [1] B. Likar, J. B. A. Maintz, M. A. Viergever, F. Pernus, "Retrospective shading correction based on
       entropy minimization", J. Microscopy 197 (2000) 285-295.
    """
    array = check_stack(stack, least=(1, 32, 32))
    if not isinstance(degree, int | np.integer) or not 1 <= degree <= 5:
        raise ValueError(f"degree is {degree!r}; give a whole number from 1 to 5")
    sight = look(array)
    terms, degrees = _polynomials(array.shape[1:], degree + REFERENCE_DEGREES)
    thin = terms[:, sight.rows[:, None], sight.columns].reshape(len(terms), -1)
    bright = np.percentile(sight.values, 90)
    logs = np.log(np.maximum(sight.values, 0.1 * bright)).reshape(len(array), -1)
    floor = math.log(max(sight.split, 0.1 * bright)) if sight.split else -math.inf
    weights = _sharpen(logs, thin, degrees <= degree, floor)
    low, high = weights[degrees <= degree], weights[degrees > degree]
    field = np.exp(np.tensordot(low, terms[degrees <= degree], 1))
    field /= field.mean()
    ratio = np.mean(low**2) / max(np.mean(high**2), np.finfo(float).tiny)
    p_value = float(stats.f.sf(ratio, len(low), len(high)))
    rms, error = float(field.std()), math.sqrt(len(low) * np.mean(high**2))
    return BackgroundEstimate(
        field.astype(np.float32), rms, error, p_value, bool(p_value < SIGNIFICANCE and rms > LEAST_RMS)
    )


def undo_background(stack: Any, field: Any) -> np.ndarray:
    """Divide by a field of gains.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values.
    field : array-like, shape (Y, X) or (Z, Y, X)
        Gain of each pixel, above 0.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Black, see `estimate_background`, stays where it is.
    """
    array, field = check_stack(stack), np.asarray(field, np.float32)
    if field.shape not in (array.shape, array.shape[1:]):
        raise ValueError(f"the field has shape {field.shape}; give that of a slice or of the stack, {array.shape}")
    if not (np.isfinite(field).all() and field.min() > 0):
        raise ValueError("the field holds gains that are not above 0; give finite positive numbers")
    black = np.float32(black_level(array))
    return (array.astype(np.float32) - black) / field + black


def _polynomials(shape: tuple[int, ...], degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Legendre products of mean square 1 ``(n, Y, X)`` without the constant, and the degree of each."""
    along_y, along_x = (legendre.legvander(np.linspace(-1, 1, n), degree) for n in shape)
    pairs = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i) if i + j]
    terms = [
        math.sqrt((2 * i + 1) * (2 * j + 1)) * np.outer(along_y[:, i], along_x[:, j]).astype(np.float32)
        for i, j in pairs
    ]
    return np.array(terms), np.array([i + j for i, j in pairs])


def _sharpen(logs: np.ndarray, terms: np.ndarray, first: np.ndarray, floor: float) -> np.ndarray:
    """Return the weights of the terms that sharpen the histogram; the later half of the rounds uses them all."""
    weights, width = np.zeros(len(terms)), FIRST_WIDTH
    crowd = Crowd(float(logs.min()) - 0.5, float(logs.max()) + 0.5)
    for turn in range(ROUNDS):
        used = first if turn < ROUNDS // 2 else np.ones_like(first)
        level = logs - (weights @ terms).astype(np.float32)
        pull, grip = crowd.draw(level, width)
        # What is seen through pores changes along the view; only faces are alike wherever they are.
        pull, grip = pull * (level > floor), grip * (level > floor)
        matrix = (terms[used] * grip.sum(axis=0)) @ terms[used].T
        # Where there are no faces to go by, the field stays even.
        weights[used] -= np.linalg.pinv(matrix, rcond=LEAST_GRIP, hermitian=True) @ (terms[used] @ pull.sum(axis=0))
        width = max(LAST_WIDTH, NARROWING * width)
    return weights
