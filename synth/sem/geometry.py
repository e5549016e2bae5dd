"""Where the cuts lie, and which point of the structure each pixel of a stack shows."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np

from synth.laws import Law, check_range

__all__ = ["SliceGeometry", "Slices", "depth_at", "place", "plan_slices", "reflected"]

# A step of the drift or a jitter beyond this many standard deviations is cut: the picture must stay near the sample.
CUT = 4.0
# The bend changes by at most this share of a slice's thickness: what has been milled away does not come back.
THINNEST = 0.9


@dataclass(frozen=True)
class SliceGeometry:
    """Departures of a stack from the grid of the structure. By default there are none.

    "px" are pixels of the image, "vox" voxels of the structure.

    Parameters
    ----------
    slice_vox : float or Law
        Mean thickness of a slice.
    pixel_vox : float or Law
        Side of a pixel on the cut face.
    foreshortened : bool
        Leave the picture as the tilted column takes it, with square pixels across its view: a row of pixels is then
        ``pixel_vox / cos(tilt_deg)`` high on the face. Otherwise the foreshortening is corrected.
    uneven : float or Law
        Standard deviation of the logarithm of the slices' thickness; no slice has none.
    bend_vox : float or Law
        Standard deviation, at the corners of the picture, of the height of the cut face over a plane: a wedge and a
        bowl of equal shares. A cut stays below the one before it: there the bend lags behind.
    bend_slices : float or Law
        Number of slices after which the bend has fallen to 1/e of its correlation; it changes smoothly.
    drift_px : float or Law
        Standard deviation, along y and along x, of the steps of a random walk of the sample from slice to slice.
    creep_y_px, creep_x_px : float or Law
        Steady drift, in pixels a slice.
    jitter_px : float or Law
        Standard deviation, along y and along x, of each slice's own displacement.
    """

    slice_vox: float | Law = 1.0
    pixel_vox: float | Law = 1.0
    foreshortened: bool = False
    uneven: float | Law = 0.0
    bend_vox: float | Law = 0.0
    bend_slices: float | Law = 20.0
    drift_px: float | Law = 0.0
    creep_y_px: float | Law = 0.0
    creep_x_px: float | Law = 0.0
    jitter_px: float | Law = 0.0

    def __post_init__(self) -> None:
        limits: dict[str, dict[str, float]] = {
            "slice_vox": {"low": 0.1, "high": 100},
            "pixel_vox": {"low": 0.1, "high": 100},
            "uneven": {"low": 0, "high": 1},
            "bend_vox": {"low": 0, "high": 100},
            "bend_slices": {"low": 5, "high": 1e6},
            "drift_px": {"low": 0, "high": 100},
            "creep_y_px": {"low": -100, "high": 100},
            "creep_x_px": {"low": -100, "high": 100},
            "jitter_px": {"low": 0, "high": 100},
        }
        for name, limit in limits.items():
            check_range(name, getattr(self, name), **limit)
        if not isinstance(self.foreshortened, bool):
            raise ValueError(f"foreshortened is {self.foreshortened!r}; give true or false")


class Slices(NamedTuple):
    """Where every pixel lies: one numba-friendly record for a whole stack.

    Attributes
    ----------
    scale : (float, float, float)
        Mean thickness of a slice, height and width of a pixel, in voxels.
    z : (Z',) float64
        Depth of each cut, in voxels from the front of the structure, in the middle of the picture if it is bent.
    drift_px : (Z', 2) float64
        How far, along y and x, what a slice shows lies from where a still sample would show it, in pixels.
    bend_vox : (Z', 3) float64
        Depth of the cut beyond its `z`: wedge along y and along x, reached at the picture's edge, and bowl, reached
        in the middle of an edge.
    shape : (int, int, int)
        Of the stack.
    """

    scale: Any
    z: np.ndarray
    drift_px: np.ndarray
    bend_vox: np.ndarray
    shape: Any


def plan_slices(
    shape: tuple[int, ...], geometry: SliceGeometry | None, *, tilt_deg: float, rng: np.random.Generator
) -> Slices:
    """Decide where each slice is cut and where the sample lies under each picture.

    Parameters
    ----------
    shape : (int, int, int)
        Of the structure.
    geometry : SliceGeometry or None
        Without laws; None is the structure's own grid.
    tilt_deg : float
        Angle between the face's normal and the view, for foreshortened pictures.
    rng : Generator

    Returns
    -------
    Slices
        As many slices and pixels as fit into the structure, at least one.
    """
    g: Any = geometry or SliceGeometry()
    foreshortening = math.cos(math.radians(tilt_deg)) if g.foreshortened else 1.0
    scale = (float(g.slice_vox), float(g.pixel_vox) / foreshortening, float(g.pixel_vox))
    n, rows, columns = (max(1, math.floor(size / step + 1e-9)) for size, step in zip(shape, scale, strict=True))
    thickness, walk, jitter, bend = rng.spawn(4)
    uneven = np.exp(g.uneven * np.clip(thickness.standard_normal(n), -CUT, CUT))
    # Their mean is the slice's thickness, so that an uneven stack ends where an even one does.
    z = np.concatenate([[0.0], np.cumsum(uneven * (n / uneven.sum()))[:-1]]) * g.slice_vox
    steps = g.drift_px * _normal(walk, (n, 2)) + np.array([g.creep_y_px, g.creep_x_px])
    steps[0] = 0
    drift = np.cumsum(steps, axis=0) + g.jitter_px * _normal(jitter, (n, 2))
    # A corner has all three: both wedges and twice the bowl.
    bends = g.bend_vox * _smooth_walk(n, 3, g.bend_slices, bend) * np.array([0.5, 0.5, 0.5**1.5])
    return Slices(scale, z, drift, _held_back(bends, np.diff(z)), (n, rows, columns))


def _held_back(bends: np.ndarray, thickness: np.ndarray) -> np.ndarray:
    """Return bends that follow these, but so slowly that no cut rises above the one before it at any corner."""
    corners = np.array([1.0, 1.0, 2.0])
    if (np.abs(np.diff(bends, axis=0)) @ corners <= THINNEST * thickness).all():
        return bends
    held = bends.copy()
    for k, gap in enumerate(THINNEST * thickness):
        step = bends[k + 1] - held[k]
        held[k + 1] = held[k] + step * min(1.0, gap / max(np.abs(step) @ corners, 1e-12))
    return held


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.clip(rng.standard_normal(shape), -CUT, CUT)


def _smooth_walk(n: int, count: int, correlation: float, rng: np.random.Generator) -> np.ndarray:
    """Return (n, count) stationary normal numbers that change smoothly; their correlation is a Gaussian's."""
    from scipy import ndimage

    # Noise filtered by exp(-t²/2s²) has the correlation exp(-t²/4s²), which is 1/e at t = 2s.
    sigma = correlation / 2
    margin = math.ceil(4 * sigma)
    if margin > 8 * n:
        # So slow that it does not change over the stack.
        return np.repeat(_normal(rng, (1, count)), n, axis=0)
    noise = rng.standard_normal((n + 2 * margin, count))
    smooth = ndimage.gaussian_filter1d(noise, sigma, axis=0, mode="constant")[margin : margin + n]
    return smooth * math.sqrt(2 * math.sqrt(math.pi) * sigma)


@numba.njit(cache=True, error_model="numpy")
def place(slices: Any, k: int, i: int, j: int) -> Any:
    """Return the point (z, y, x) of the structure, in voxels, that pixel (i, j) of slice k shows at its centre."""
    y = (i + 0.5 - slices.drift_px[k, 0]) * slices.scale[1]
    x = (j + 0.5 - slices.drift_px[k, 1]) * slices.scale[2]
    return depth_at(slices, k, i + 0.5, j + 0.5), y, x


@numba.njit(cache=True, error_model="numpy")
def depth_at(slices: Any, k: int, i: float, j: float) -> float:
    """Return the depth of cut k, in voxels, at a point of the picture; pixel (0, 0) spans 0 … 1 along i and j."""
    v = 2 * i / slices.shape[1] - 1
    u = 2 * j / slices.shape[2] - 1
    bend = slices.bend_vox[k, 0] * v + slices.bend_vox[k, 1] * u + slices.bend_vox[k, 2] * (v * v + u * u)
    return slices.z[k] + bend


@numba.njit(cache=True, error_model="numpy")
def reflected(index: int, size: int) -> int:
    """Return the index inside 0 … size - 1 at which a volume that goes on as its own mirror image holds `index`."""
    if index < 0:
        index = -1 - index
    if index >= 2 * size:
        index = index % (2 * size)
    return index if index < size else 2 * size - 1 - index
