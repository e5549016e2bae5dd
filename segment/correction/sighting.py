"""What a stack shows of its geometry: how its faces move, what lies behind them, and whether they are squeezed."""

import dataclasses
import math

import numpy as np

from segment.correction.isotropy import Compression, measure_compression
from segment.correction.motion import Scene, Track, prepare_scene, relative_motion, rough_path, track

__all__ = ["Sighting", "Steady", "check_length", "sight", "steady_motion"]

# Largest parallax looked for, in units of the slice spacing: tan(60°) in a stack that has been stretched before.
MOST_PARALLAX = 1.75
LEAST_SEEN = 0.8
# Of the range from the darkest pores to the brightest faces.
LEAST_CONTRAST = 0.06
LEAST_STEP = 0.01
# The faces' edges look nearer than they are where a wall shines through just behind them: they seem to follow it.
# Measured on synthetic stacks of spheres, fibres, Gaussian fields and catalyst layers.
SHINE_THROUGH_PX = 0.06
# Neighbouring tiles share particles, shadows move with what throws them, and the fits' weights are held: by so much the
# true errors exceed the jackknife's, on stacks of this project's FIB-SEM and of Blender.
JACKKNIFE_FACTOR = 3.0
# Where pores end, what is behind them comes and goes: measured on the same stacks at tilts of 38 to 52 degrees.
OCCLUSION_PX = 0.006


@dataclasses.dataclass(frozen=True, eq=False)
class Sighting:
    """What was measured on a stack.

    Parameters
    ----------
    faces : Track
        How the cut faces move. Noisy: a structure that leans moves as well.
    behind : Track or None
        How what is seen behind the faces moves: the same material in every slice, so precisely, but with the parallax.
    compression : Compression or None
        How much the structure is squeezed along y.
    """

    faces: Track
    behind: Track | None
    compression: Compression | None


@dataclasses.dataclass(frozen=True)
class Steady:
    """The steady motions along y, in pixels a slice, and their standard errors.

    Parameters
    ----------
    parallax, parallax_error : float
        By how much what lies behind the faces moves against them.
    drift, drift_error : float
        How the faces move.
    step : float
        Root mean square of the drift from one slice to the next, the noise of measuring it taken off.
    """

    parallax: float
    parallax_error: float
    drift: float
    drift_error: float
    step: float


def check_length(name: str, value: float) -> None:
    """Raise ``ValueError`` unless `value` is a positive finite number."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; give a positive number of pixels")


def sight(stack: np.ndarray, *, slice_px: float) -> Sighting:
    """Measure what a checked stack (Z, Y, X) shows of its geometry; `slice_px` is the slice spacing in pixels."""
    scene = prepare_scene(stack)
    faces = track(scene.faces, None, start=rough_path(scene.grey))
    motion = relative_motion(scene, faces.path, most_px=MOST_PARALLAX * slice_px) if _shows_depth(scene) else None
    behind = None
    if motion is not None:
        z = np.arange(len(stack)) - (len(stack) - 1) / 2
        behind = track(scene.grey, scene.behind, start=faces.path + z[:, None] * (motion, 0.0))
        if behind.seen.mean() < LEAST_SEEN:
            behind = None
    return Sighting(faces, behind, measure_compression(scene))


def _shows_depth(scene: Scene) -> bool:
    """Whether there is anything to see in the pores: filled or bottomless ones are all of a grey."""
    inside = scene.grey[scene.behind]
    return inside.size > 0 and float(np.ptp(np.percentile(inside, [10, 90]))) > LEAST_CONTRAST


def steady_motion(behind: Track, faces: Track, *, parallax_px: float | None = None) -> Steady:
    """Split the steady motion of what lies behind the faces into parallax and drift.

    Parameters
    ----------
    behind, faces : Track
    parallax_px : float, optional
        The parallax, if it is known.

    Returns
    -------
    Steady

    Notes
    -----
    Of the two only the sum is measured well. Three things bear on the drift: the faces' own motion; that a random
    walk of Z steps of root mean square s has the slope 0 ± s √(6 / 5Z), so that a stack which does not wander along
    any axis has no steady drift either; and the parallax, where it is known.
    """
    (total, _), (total_error, _) = behind.trend
    (face, face_across), face_error = faces.trend
    steps = np.diff(behind.path, axis=0)
    noise = JACKKNIFE_FACTOR * behind.jackknife(np.diff(behind.without_tile, axis=1))
    step = math.sqrt(max(0.0, float(np.mean((steps - steps.mean(axis=0)) ** 2 - noise**2))))
    total_error = math.hypot(JACKKNIFE_FACTOR * float(total_error), OCCLUSION_PX)
    if parallax_px is not None:
        return Steady(parallax_px, 0.0, float(total - parallax_px), total_error, step)
    lean = float(face_across - behind.trend[0][1])
    face_variance = (JACKKNIFE_FACTOR**2 * float(np.max(face_error)) ** 2) + lean**2 + SHINE_THROUGH_PX**2
    walk_variance = max(step, LEAST_STEP) ** 2 * 1.2 / len(behind.path)
    drift = float(face) * walk_variance / (walk_variance + face_variance)
    error = math.sqrt(walk_variance * face_variance / (walk_variance + face_variance))
    return Steady(float(total - drift), math.hypot(total_error, error), drift, error, step)
