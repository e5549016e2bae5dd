"""Brightness and contrast from slice to slice: matched at the levels of face and pore, whatever their fractions."""

import dataclasses
from typing import Any

import numpy as np
from scipy import stats

from segment.correction.faces import Glance, black_level, check_stack, look, split_level
from segment.correction.sharpening import Crowd

__all__ = ["GainEstimate", "estimate_gain", "undo_gain"]

BLOCKS = 6
LEAST_SHIFT = 0.008
SIGNIFICANCE = 1e-4
ROUNDS, FACE_ROUNDS = 40, 14
FIRST_WIDTH, LAST_WIDTH, NARROWING = 0.12, 0.03, 0.92
# Share of a slice's pixels that must speak against it before pores do anything else than follow the faces.
PRIOR_SHARE = 0.01
LARGEST_SHIFT = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class GainEstimate:
    """Gain and offset of each slice: slice = gain × true + offset.

    Parameters
    ----------
    gain, offset : ndarray of float64, shape (Z,)
        The offset is in grey values. The mean levels of face and pore over the stack are kept.
    face_shift : ndarray of float64, shape (Z,)
        How much brighter the faces of each slice are than those of the mean slice, as a share of their level.
    standard_error : float
        Of `face_shift` in a slice, by the scatter between parts of the slice; the median over the slices.
    rms : float
        Root mean square of `face_shift`.
    p_value : float
        Probability of such shifts by chance.
    found : bool
        Whether the shifts are both significant and large enough to be worth a correction.
    """

    gain: np.ndarray
    offset: np.ndarray
    face_shift: np.ndarray
    standard_error: float
    rms: float
    p_value: float
    found: bool


def estimate_gain(stack: Any) -> GainEstimate:
    """Find brightness and contrast of each slice.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values of any scale, dark pores and brighter solids.

    Returns
    -------
    GainEstimate
        ``found`` where p < 1e-4 and the rms shift of the faces is above 0.8 %, or above 2.5 standard errors where
        these are large.

    Raises
    ------
    ValueError
        If the stack is no grey volume or smaller than 2 × 32 × 32.

    Notes
    -----
    Each slice's grey values are shifted at two anchors, the level of the faces and that of the pores, until the
    histogram of the whole stack is sharpest. Every slice may hold any fraction of any phase: only where the
    phases' grey values lie counts, so that neither a change of porosity nor a layer of another solid is taken for
    gain. Where few pores speak for themselves, they follow the faces as under a pure gain. What changes the grey
    value of a phase itself along z, such as a gradient of its composition, cannot be told from gain.
    """
    array = check_stack(stack, least=(2, 32, 32))
    sight = _with_pores(look(array))
    level = _levels(sight)
    face, pore, error = _match(sight, level)
    gain = 1 + (face - pore) / (level[1] - level[0])
    # Levels are counted from black; the map from true to seen passes through both of them.
    offset = level[1] + face - gain * level[1] + black_level(array) * (1 - gain)
    shift, error = face / level[1], error / level[1]
    rms, typical = float(np.sqrt(np.mean(shift**2))), float(np.median(error))
    chi2 = float(np.sum((shift / np.maximum(error, 1e-9)) ** 2))
    p_value = float(stats.chi2.sf(chi2, len(shift) - 1))
    found = bool(p_value < SIGNIFICANCE and rms > max(LEAST_SHIFT, 2.5 * typical))
    return GainEstimate(gain, offset, shift, typical, rms, p_value, found)


def undo_gain(stack: Any, gain: Any, offset: Any = 0.0) -> np.ndarray:
    """Return ``(slice - offset) / gain`` for every slice.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values.
    gain, offset : array-like, shape (Z,)
        Of each slice; the offset in grey values.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)

    Raises
    ------
    ValueError
        If there is not one positive gain and one finite offset a slice.
    """
    array = check_stack(stack, least=(1, 1, 1))
    gains, offsets = (np.asarray(v, float) for v in (gain, offset))
    for name, values in (("gain", gains), ("offset", offsets)):
        if values.shape not in ((), (len(array),)):
            raise ValueError(f"{name} has shape {values.shape}; give one number for each of the {len(array)} slices")
    if not (np.isfinite(gains).all() and gains.min() > 0 and np.isfinite(offsets).all()):
        raise ValueError("a gain is not above 0 or an offset is not finite; mend them first")
    result = array.astype(np.float32)
    result -= np.broadcast_to(offsets, len(array)).astype(np.float32)[:, None, None]
    result /= np.broadcast_to(gains, len(array)).astype(np.float32)[:, None, None]
    return result


def _with_pores(sight: Glance) -> Glance:
    """Return what is seen, its two classes kept only if they are not merely bright and dark slices."""
    bright = np.percentile(sight.values, 90, axis=(1, 2), keepdims=True)
    even = sight.values / np.maximum(bright, np.finfo(np.float32).tiny)
    return sight if split_level(even) is not None else dataclasses.replace(sight, split=None)


def _levels(sight: Glance) -> tuple[float, float]:
    """Return the levels of pore and face above black; without pores, black itself stands for them."""
    if sight.split is None:
        return 0.0, float(np.median(sight.values))
    is_face = sight.values > sight.split
    return float(np.median(sight.values[~is_face])), float(np.median(sight.values[is_face]))


def _match(sight: Glance, level: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how much brighter faces and pores of each slice are than in the mean slice, and the faces' error."""
    values = sight.values.reshape(len(sight.values), -1)
    low, high = np.percentile(values, [0.01, 99.99])
    crowd = Crowd(low - 0.3 * (high - low), high + 0.3 * (high - low))
    dark, bright = level
    face, extra = np.zeros(len(values)), np.zeros(len(values))
    width = FIRST_WIDTH
    for turn in range(ROUNDS):
        pore = face * dark / bright + extra
        gain = (1 + (face - pore) / (bright - dark))[:, None]
        true = (values - (bright + face)[:, None]) / gain + bright
        pull, grip = crowd.draw(true, width * bright)
        follow = true / bright
        step = -(pull * follow).sum(axis=1) / np.maximum((grip * follow**2).sum(axis=1), 1e-12)
        if turn >= FACE_ROUNDS and sight.split is not None:
            step, other = _two_steps(pull, grip, follow, (true - dark) / (bright - dark), extra, width * bright)
            extra = np.clip(extra + other, -LARGEST_SHIFT * bright, LARGEST_SHIFT * bright)
            extra -= extra.mean()
        face = np.clip(face + step, -LARGEST_SHIFT * bright, LARGEST_SHIFT * bright)
        face -= face.mean()
        width = max(LAST_WIDTH, NARROWING * width)
    error = _block_error((pull * follow).reshape(sight.values.shape)) / np.maximum(
        (grip * follow**2).sum(axis=1), 1e-12
    )
    return face, face * dark / bright + extra, error


def _two_steps(
    pull: np.ndarray, grip: np.ndarray, follow: np.ndarray, place: np.ndarray, extra: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return Newton steps of the faces' shift and of what the pores do beyond following them."""
    away = np.clip(1 - place, -0.5, 1.5)
    prior = PRIOR_SHARE * pull.shape[1] / width**2
    matrix = np.empty((len(pull), 2, 2))
    matrix[:, 0, 0] = (grip * follow**2).sum(axis=1)
    matrix[:, 0, 1] = matrix[:, 1, 0] = (grip * follow * away).sum(axis=1)
    matrix[:, 1, 1] = (grip * away**2).sum(axis=1) + prior
    matrix += 1e-6 * prior * np.eye(2)
    right = np.stack([(pull * follow).sum(axis=1), (pull * away).sum(axis=1) + prior * extra], axis=1)
    steps = -np.linalg.solve(matrix, right[..., None])[..., 0]
    return steps[:, 0], steps[:, 1]


def _block_error(pull: np.ndarray) -> np.ndarray:
    """Return the standard error of each slice's sum of `pull` by the scatter between blocks of the slice."""
    rows, columns = (np.linspace(0, n, BLOCKS + 1).astype(int)[:-1] for n in pull.shape[1:])
    blocks = np.add.reduceat(np.add.reduceat(pull, rows, axis=1), columns, axis=2)
    # An uneven background pulls a block alike in every slice; that is no scatter between slices.
    blocks = blocks - blocks.mean(axis=0)
    return np.sqrt((blocks**2).sum(axis=(1, 2)))
