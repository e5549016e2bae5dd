"""The geometry of one scan: angles, the sample's path through it, the width of the detector."""

import dataclasses
import math
from typing import Any

import numpy as np

from synth.xray.projector import Sample

__all__ = ["Scan", "plan_scan"]

FEWEST_ANGLES = 8
# Pixels between the box and the rim of the sample, and between that and the end of the detector.
RIM = 4
# The reach of a kernel beyond this many pixels is not provided for around the box, where it would only cost time.
FARTHEST_RIM = 16
CLOSE = 1e-9
# A direction that the scan sees less of than this part of the other one is left as it is.
LEAST_SEEN = 0.3


@dataclasses.dataclass(frozen=True)
class Scan:
    """A scan as it is recorded and as it truly went.

    Parameters
    ----------
    angles, true_angles : ndarray of float64, shape (A,)
        As recorded, and as they were; radians.
    weights : ndarray of float64, shape (A,)
        Share of each projection in the integral over half a turn.
    path : ndarray of float64, shape (A, 3)
        Displacement of the sample from the middle of the box along z, y and x in pixels; see `plan_scan`.
    offset : float
        Of the axis on the detector, in pixels.
    width : int
        Pixels of the detector in a row.
    sample : Sample
        What stands in the beam.
    """

    angles: np.ndarray
    true_angles: np.ndarray
    weights: np.ndarray
    path: np.ndarray
    offset: float
    width: int
    sample: Sample

    @property
    def shifts(self) -> np.ndarray:
        """Displacement of the picture along the detector's rows, shape (A,)."""
        return self.offset + across(self.path, self.true_angles)


def across(path: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return how far a displaced sample, shape (A, 3), is off along the detector's rows at each angle, shape (A,)."""
    return path[:, 2] * np.cos(angles) + path[:, 1] * np.sin(angles)


def plan_scan(plane: tuple[int, int], settings: Any, *, reach: int, rng: np.random.Generator) -> Scan:
    """Return the scan of a box whose slices have this shape.

    Parameters
    ----------
    plane : (int, int)
        Rows and columns of the box, in image voxels.
    settings : XraySettings
        Without laws.
    reach : int
        How far (pixels) blur and fringes carry.
    rng : Generator
        For what moves at random.

    Notes
    -----
    An axis off its place displaces the slices of less than a full turn, a creeping sample those of any. The sample
    stands off the middle by just as much the other way, so that on average over the directions the slices show what
    the box holds where the box holds it.
    """
    ny, nx = plane
    scan = settings.scan
    diameter = math.hypot(ny, nx)
    turn = math.radians(scan.range_deg)
    n = scan.n_angles or max(FEWEST_ANGLES, math.ceil(scan.angles_per_px * diameter * scan.range_deg / 180))
    angles = turn * np.arange(int(n)) / int(n)
    # A little more than the angle, lest rounding put a half turn before itself.
    met = np.ceil((turn - (angles + CLOSE) % math.pi) / math.pi)
    true_angles = angles + math.radians(scan.angle_jitter_deg) * rng.standard_normal(len(angles))
    weights = turn / len(angles) / met
    path = _draw_path(len(angles), scan.drift_px, scan.jitter_px, rng)
    path[:, 1:] -= _displacement(angles, weights, scan.centre_offset_px + across(path, true_angles))
    rim = RIM + min(reach, FARTHEST_RIM)
    reflect = settings.surroundings == "reflect"
    sample = Sample.cylinder(ny, nx, radius=diameter / 2 + rim) if reflect else Sample.box(ny, nx)
    astray = math.ceil(abs(scan.centre_offset_px) + np.abs(path).sum(axis=1).max())
    # With as many pixels, odd or even, as the box has columns, the picture at 0° falls on whole pixels.
    width = 2 * (math.ceil((diameter - nx) / 2) + 2 * rim + astray) + nx
    return Scan(angles, true_angles, weights, path, float(scan.centre_offset_px), width, sample)


def _displacement(angles: np.ndarray, weights: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return the displacement of the slices, along y and x, that comes closest to the shifts on the detector."""
    root = np.sqrt(weights)
    seen = root[:, None] * np.column_stack([np.sin(angles), np.cos(angles)])
    return np.linalg.lstsq(seen, root * shifts, rcond=LEAST_SEEN)[0]


def _draw_path(n: int, drift: float, jitter: float, rng: np.random.Generator) -> np.ndarray:
    direction = rng.standard_normal(3)
    time = (np.arange(n) + 0.5) / n - 0.5
    steady = drift * time[:, None] * direction / np.linalg.norm(direction)
    return steady + jitter * rng.standard_normal((n, 3))
