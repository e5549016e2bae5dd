"""Curtains: stripes along the ion beam, found on the faces alone, and undone."""

import dataclasses
import math
from typing import Any

import numpy as np

from segment.correction.faces import black_level, check_stack
from segment.correction.stripe_directions import best_angle, directions, sharpest_slope
from segment.correction.stripe_faces import LEAST_FIELD, StripedFaces, shear
from segment.correction.stripe_law import StripeLaw, most_probable_stripes
from segment.correction.stripe_steps import stripes_from_steps

__all__ = ["StripeEstimate", "estimate_stripes", "stripe_spectrum", "undo_stripes"]

LEAST_RMS = 0.004
SCORE = 6.0
ROUNDS = 3
CHUNK, MARGIN = 32, 4


@dataclasses.dataclass(frozen=True, eq=False)
class StripeEstimate:
    """The stripes of a stack.

    Parameters
    ----------
    field : ndarray of float32, shape (Z, Y, X)
        Relative change of brightness by the stripes; the stack is that without them times ``1 + field``.
    angle_deg : float
        Between the stripes and +y, positive towards +x.
    rms : float
        Of the stripes on the faces, relative to their brightness.
    length_px, width_px, persistence_slices : float
        Distances over which a stripe keeps its strength along y, x and z (to 1/e).
    in_pores : float
        Share of the stripes seen where there is no face, 0 to 1.
    score : float
        By how many robust standard deviations the spectrum across the stripes exceeds that in other directions.
    found : bool
        Whether they are both significant (score above 6) and stronger than 0.4 % rms.
    """

    field: np.ndarray
    angle_deg: float
    rms: float
    length_px: float
    width_px: float
    persistence_slices: float
    in_pores: float
    score: float
    found: bool


def estimate_stripes(stack: Any, *, force: bool = False) -> StripeEstimate:
    """Find the stripes that run along y, straight or up to 12° aslant.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values of any scale; where some are negative, the smallest counts as black.
    force : bool
        Estimate the field even where the stripes are not significant; otherwise it is 0 there.

    Returns
    -------
    StripeEstimate

    Raises
    ------
    ValueError
        If the stack is no grey volume or smaller than 1 × 48 × 48.

    Notes
    -----
    The faces' relative deviation from the local level of their phase is taken as stripes plus noise; pores and
    edges, where the picture itself has vertical features, count for nothing. The stripes are a Markov chain down
    the beam, which forgets at one rate along faces and at another across pores, below which a stripe may begin;
    another chain from slice to slice; and across, noise of the autocorrelation that was measured. All of this
    follows from covariances of pixels so far apart that they share no noise or grain. The most probable field then
    is the solution of one linear system, found by conjugate gradients. Whether there are stripes at all is told
    by the spectrum across them against the same in directions 20° to 70° away.
    """
    array = check_stack(stack, least=(1, 48, 48))
    view = StripedFaces(array)
    # Strong stripes hide what is face and what is pore; steps across them show through.
    core = view.middle().part(view.slices)
    core.learn_levels(stripes_from_steps(core.array, 0.0))
    view.take_levels(core)
    middle = view.middle()
    angle, score, noise = best_angle(*directions(middle))
    slope = sharpest_slope(*middle.residual(middle.slices, 0.0), math.tan(math.radians(angle)))
    angle = math.degrees(math.atan(slope))
    nothing = StripeEstimate(np.zeros(array.shape, np.float32), angle, 0.0, 0.0, 0.0, 0.0, 0.0, score, False)
    law = StripeLaw.of(*middle.residual(middle.slices, slope), noise)
    if law is None:
        return nothing
    found = bool(score > SCORE and law.rms > LEAST_RMS)
    if not (found or force):
        return dataclasses.replace(nothing, rms=law.rms)
    law = _learn(view, slope, law)
    field, share = _whole_field(view, slope, law)
    return StripeEstimate(field, angle, law.rms, law.length, law.width, law.slices, share, score, found)


def _learn(view: StripedFaces, slope: float, law: StripeLaw) -> StripeLaw:
    """Give a stack the grey levels behind its stripes, and return their law: both from slices in its middle.

    Stripes hide what is face and what is pore, and that is needed to know the stripes. Round by round, either is
    found behind the last guess of the other.
    """
    core = view.middle().part(view.slices)
    slices = range(len(core.array))
    guess = stripes_from_steps(core.array, slope)
    for _ in range(ROUNDS):
        core.learn_levels(guess)
        noise = best_angle(*directions(core, guess))[2]
        law = StripeLaw.of(*core.residual(slices, slope, guess), noise) or law
        guess = _field(core, slices, slope, law, guess)
    view.take_levels(core)
    return law


def _whole_field(view: StripedFaces, slope: float, law: StripeLaw) -> tuple[np.ndarray, float]:
    """Return the stripes of the whole stack, and what share of them is seen in pores."""
    field = np.empty(view.array.shape, np.float32)
    for first in range(0, len(field), CHUNK):
        last = min(first + CHUNK, len(field))
        near = range(max(0, first - MARGIN), min(len(field), last + MARGIN))
        part = stripes_from_steps(view.array[near.start : near.stop], slope)
        for _ in range(ROUNDS):
            part = _field(view, near, slope, law, part)
        field[first:last] = part[first - near.start : last - near.start]
    share = view.share_in_pores(field)
    for z, stripes in enumerate(field):
        np.maximum(stripes, LEAST_FIELD, out=stripes)
        face = view.softly(z, stripes)
        # How bright a slice is on the whole is not for stripes to change.
        stripes -= float((stripes * face).sum()) / max(float(face.sum()), 1.0)
        stripes *= share + (1 - share) * face
    return field, share


def _field(view: StripedFaces, slices: range, slope: float, law: StripeLaw, guess: np.ndarray) -> np.ndarray:
    return shear(most_probable_stripes(*view.residual(slices, slope, guess), law), -slope)


def undo_stripes(stack: Any, field: Any) -> np.ndarray:
    """Divide a stack by ``1 + field``.

    Parameters
    ----------
    stack, field : array-like, shape (Z, Y, X)
        Grey values, and the relative change by the stripes, above -1.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
    """
    array, field = check_stack(stack, least=(1, 1, 1)), np.asarray(field, np.float32)
    if field.shape != array.shape or not (np.isfinite(field).all() and field.min() > -1):
        raise ValueError(
            f"the stripes have shape {field.shape} or values that are not above -1; give those of `estimate_stripes` "
            f"for this stack of shape {array.shape}"
        )
    black = np.float32(black_level(array))
    return (array.astype(np.float32) - black) / (1 + field) + black


def stripe_spectrum(stack: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the power of the faces' unevenness by direction.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values.

    Returns
    -------
    angle_deg : ndarray, shape (180,)
        Direction of stripes against +y, from -89.5 to 89.5, positive towards +x.
    power : ndarray, shape (180,)
        Spectral density of the relative brightness in px², the mean over waves of 3 to 33 pixels across. Noise and
        isotropic grain give the same in every direction.
    """
    return directions(StripedFaces(check_stack(stack, least=(1, 48, 48))).middle())
