"""A FIB-SEM without Blender: what the electron beam sees of each cut face and of what lies behind it."""

import dataclasses
import math
from typing import Any

import numba
import numpy as np
from scipy import ndimage

from volume import check_labels

__all__ = ["FibsemSettings", "draw_fibsem_settings", "fibsem"]

NOT_NEGATIVE = (
    "blur_vox", "edge", "floor_grey", "mottle", "read_noise", "relief", "shading", "shine_through", "slice_gain",
    "texture",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FibsemSettings:
    """One instrument and one session at it. Lengths are in voxels, grey values are fractions of full scale.

    Parameters
    ----------
    tilt_deg : float
        Angle between the normal of the cut face and the view; rays into a pore run towards +y.
    face_grey : tuple of float
        Grey value of the cut face of phases 1, 2, …; a last value serves for all further phases.
    floor_grey : float
        Grey value where a ray meets nothing: a deep pore.
    shine_through : float
        Brightness of material just behind the cut face, relative to the face of the same phase.
    depth_vox : float
        Depth at which shine-through has fallen to 1/e.
    relief : float
        How strongly the slope of a pore wall changes its brightness.
    edge : float
        Extra brightness along the edges of the cut face.
    texture : float
        Standard deviation of the material's own fine grain.
    mottle : float
        How much brighter or darker whole regions of the material are: crystal orientation, a second solid.
    mottle_vox : float
        Size of these regions.
    blur_vox : float
        Standard deviation of the beam's Gaussian spot.
    shading : float
        Peak-to-peak change of brightness over a slice by uneven detection.
    slice_gain : float
        Standard deviation of the brightness from slice to slice.
    dose : float
        Electrons per pixel at full scale; sets the Poisson noise.
    read_noise : float
        Standard deviation of the detector's Gaussian noise.
    """

    tilt_deg: float = 52.0
    face_grey: tuple[float, ...] = (0.68, 0.85, 0.5)
    floor_grey: float = 0.12
    shine_through: float = 0.62
    depth_vox: float = 12.0
    relief: float = 0.35
    edge: float = 0.12
    texture: float = 0.03
    mottle: float = 0.0
    mottle_vox: float = 20.0
    blur_vox: float = 0.7
    shading: float = 0.2
    slice_gain: float = 0.02
    dose: float = 150.0
    read_noise: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.tilt_deg < 90:
            raise ValueError(f"tilt_deg is {self.tilt_deg!r}; give an angle from 0 up to, not including, 90")
        if not self.face_grey or not all(0 <= grey < math.inf for grey in self.face_grey):
            raise ValueError(f"face_grey is {self.face_grey!r}; give a number, 0 or more, for each solid phase")
        if not 1 <= self.mottle_vox < math.inf:
            raise ValueError(f"mottle_vox is {self.mottle_vox!r}; give a size of 1 or more")
        for name in ("depth_vox", "dose"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a number above 0")
        for name in NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give 0 or more")


def draw_fibsem_settings(rng: np.random.Generator | int) -> FibsemSettings:
    """Draw an instrument at random, wide enough that a network cannot rely on one look.

    Parameters
    ----------
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    FibsemSettings
    """
    rng = np.random.default_rng(rng)

    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 4)

    face = between(0.5, 0.85)
    return FibsemSettings(
        tilt_deg=between(36.0, 56.0),
        face_grey=(face, between(0.8, 1.2) * face, between(0.6, 0.9) * face),
        floor_grey=between(0.04, 0.3),
        shine_through=between(0.3, 0.95),
        depth_vox=between(5.0, 25.0),
        relief=between(0.1, 0.6),
        edge=between(0.0, 0.3),
        texture=between(0.0, 0.06),
        mottle=max(0.0, between(-0.15, 0.3)),
        mottle_vox=between(8.0, 40.0),
        blur_vox=between(0.3, 1.3),
        shading=between(0.0, 0.4),
        slice_gain=between(0.0, 0.05),
        dose=float(np.round(np.exp(rng.uniform(np.log(12.0), np.log(600.0))), 2)),
        read_noise=between(0.0, 0.05),
    )


def fibsem(labels: Any, settings: FibsemSettings | None = None, *, rng: np.random.Generator | int) -> np.ndarray:
    """Image a structure slice by slice as a FIB-SEM does, in the geometry of the labels.

    Parameters
    ----------
    labels : array-like of integers, shape (Z, Y, X)
        0 is pore. z is the slicing direction; the material at smaller z has been milled away.
    settings : FibsemSettings, optional
        The instrument; without it the default one.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Grey values in [0, 1]. The exact label of the cut face at a pixel is ``labels`` at that index: the
        foreshortening by the tilt is taken as corrected.

    Notes
    -----
    Through a pore each pixel shows the first solid voxel along the view, at depth d and d tan(tilt) further
    along y, dimmed by exp(-d / depth_vox) and shaded by the slope of the wall there; from d = 4 depth_vox on it
    shows the floor. Beyond the volume the structure is continued by reflection. Then follow, in the order of
    nature: edge brightening, grain, uneven detection, beam blur, Poisson and Gaussian noise.
    """
    labels = check_labels(labels)
    settings = settings or FibsemSettings()
    rng = np.random.default_rng(rng)
    face = _face_grey(labels, settings, rng)
    grain = _grain(labels, settings, rng)
    relief = _wall_relief(labels, settings)
    grey = np.empty(labels.shape, np.float32)
    _trace(
        labels, face, relief, grey,
        np.tan(np.deg2rad(settings.tilt_deg)), settings.depth_vox, settings.shine_through, settings.floor_grey,
    )  # fmt: skip
    for z in range(len(grey)):
        grey[z] += settings.edge * _edge_glow(labels[z]) + grain[z]
        grey[z] *= _illumination(labels.shape[1:], settings, rng)
        grey[z] = ndimage.gaussian_filter(grey[z], settings.blur_vox, mode="nearest")
        grey[z] = _detect(grey[z], settings, rng)
    return grey


def _face_grey(labels: np.ndarray, settings: FibsemSettings, rng: np.random.Generator) -> np.ndarray:
    """Return the grey value of each voxel were it on the cut face."""
    greys = np.array([settings.floor_grey, *settings.face_grey], np.float32)
    face = greys[np.minimum(np.arange(256), len(greys) - 1)][labels]
    if settings.mottle == 0:
        return face
    coarse = [max(2, int(np.ceil(n / settings.mottle_vox)) + 1) for n in labels.shape]
    regions = ndimage.zoom(
        rng.standard_normal(coarse), [n / c for n, c in zip(labels.shape, coarse, strict=True)], order=1
    )
    # Squeezed so that regions are flat and their borders narrow.
    return face * (1 + settings.mottle * np.tanh(4 * regions)).astype(np.float32)


def _grain(labels: np.ndarray, settings: FibsemSettings, rng: np.random.Generator) -> np.ndarray:
    """Return the fine grain of the material, to be added."""
    if settings.texture == 0:
        return np.zeros(labels.shape, np.float32)
    grain = ndimage.gaussian_filter(rng.standard_normal(labels.shape, np.float32), (0, 1, 1), mode="wrap")
    # A Gaussian filter of standard deviation s in 2-D leaves a variance of 1 / (4 pi s^2).
    return grain * np.float32(settings.texture * np.sqrt(4 * np.pi)) * (labels > 0)


def _wall_relief(labels: np.ndarray, settings: FibsemSettings) -> np.ndarray:
    """Return the factor by which a wall seen through a pore is brighter or darker by its slope."""
    if settings.relief == 0:
        return np.ones(labels.shape, np.float32)
    solid = ndimage.gaussian_filter((labels > 0).astype(np.float32), 1.5, mode="nearest")
    slope_z, slope_y, slope_x = np.gradient(solid) if min(labels.shape) > 1 else (solid * 0,) * 3
    steepness = np.sqrt(slope_z**2 + slope_y**2 + slope_x**2) + 1e-6
    tilt = np.deg2rad(settings.tilt_deg)
    # Cosine between the outward normal and the way back to the detector, which sits a little to one side.
    facing = (slope_z * np.cos(tilt) + slope_y * np.sin(tilt) + 0.3 * slope_x) / steepness
    return np.clip(1 + settings.relief * (facing - 0.4), 0.2, 1.6).astype(np.float32)


@numba.njit(cache=True)
def _reflect(index: int, size: int) -> int:
    if size == 1:
        return 0
    index = abs(index) % (2 * size)
    return index if index < size else 2 * size - 1 - index


@numba.njit(cache=True, parallel=True)
def _trace(
    labels: Any, face: Any, relief: Any, grey: Any, slope: float, depth: float, shine: float, floor: float
) -> None:
    nz, ny, nx = labels.shape
    step = 1.0 / max(1.0, slope)
    reach = int(4 * depth / step)
    for z in numba.prange(nz):
        for y in range(ny):
            for x in range(nx):
                if labels[z, y, x] > 0:
                    grey[z, y, x] = face[z, y, x]
                    continue
                value = floor
                for i in range(1, reach):
                    down = i * step
                    at_z = _reflect(z + int(down + 0.5), nz)
                    at_y = _reflect(y + int(down * slope + 0.5), ny)
                    if labels[at_z, at_y, x] > 0:
                        bright = shine * face[at_z, at_y, x] * relief[at_z, at_y, x]
                        value = floor + (bright - floor) * np.exp(-down / depth)
                        break
                grey[z, y, x] = value


def _edge_glow(labels: np.ndarray) -> np.ndarray:
    """Return 1 on the rim of the solid, falling off inwards over about a pixel."""
    solid = (labels > 0).astype(np.float32)
    return solid * np.clip(2 * (1 - ndimage.gaussian_filter(solid, 1.0, mode="nearest")), 0, 1)


def _illumination(shape: tuple[int, ...], settings: FibsemSettings, rng: np.random.Generator) -> np.ndarray:
    """Return the gain over one slice: a tilted plane, a bowl and the slice's own gain."""
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    direction, bowl = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
    field = np.cos(direction) * y + np.sin(direction) * x + bowl * (x**2 + y**2)
    span = field.max() - field.min()
    field = (field - field.mean()) / span if span > 0 else field * 0
    return (1 + settings.shading * field + settings.slice_gain * rng.standard_normal()).astype(np.float32)


def _detect(grey: np.ndarray, settings: FibsemSettings, rng: np.random.Generator) -> np.ndarray:
    counts = rng.poisson(np.clip(grey, 0, None) * settings.dose) / settings.dose
    noisy = counts + settings.read_noise * rng.standard_normal(grey.shape)
    return np.clip(noisy, 0, 1).astype(np.float32)
