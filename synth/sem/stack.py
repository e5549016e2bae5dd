"""The FIB-SEM without Blender: from labels to a stack of pictures, artefact by artefact in the order of nature."""

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from scipy import ndimage

from synth.laws import draw
from synth.microscope_image import MicroscopeImage
from synth.sem.artefact import check_artefact, draw_seed, slice_stream
from synth.sem.charging import apply_charging
from synth.sem.detector import apply_electronics, count_noise, illumination
from synth.sem.geometry import Slices, plan_slices
from synth.sem.milling import apply_curtains, apply_redeposition
from synth.sem.optics import apply_optics
from synth.sem.settings import FibsemSettings, lamp_direction, without_topography
from synth.sem.view import Sight, see
from synth.threads import in_threads
from volume import check_labels

__all__ = ["degrade", "fibsem", "fibsem_image"]

OPEN = -1.0


def fibsem(labels: Any, settings: FibsemSettings | None = None, *, rng: np.random.Generator | int) -> np.ndarray:
    """Image a structure slice by slice as a FIB-SEM does.

    Parameters
    ----------
    labels : array-like of integers, shape (Z, Y, X)
        0 is pore. z is the slicing direction; the material at smaller z has been milled away.
    settings : FibsemSettings, optional
        The instrument; without it the default one. Laws in it are drawn first.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    ndarray of float32, shape (Z', Y', X')
        Grey values in [0, 1]. Without a `SliceGeometry` its shape is that of `labels`, and the exact label of the cut
        face at a pixel is ``labels`` at that index: the foreshortening by the tilt is taken as corrected. With one,
        `fibsem_image` returns the labels that belong to it.

    Raises
    ------
    ValueError
        For labels or settings that are none.

    Notes
    -----
    Through a pore each pixel shows the first wall along the view, at depth d and d tan(tilt) further along y, dimmed
    by exp(-d / depth_vox), brighter or darker by its slope and by the light that reaches it; from d = 4 depth_vox on
    (or 1024 voxels along z or y) it shows the floor. Walls are those of the solid smoothed by a voxel, at most half a
    voxel from the voxels' own. The light is a lamp's, which throws shadows, and the sky's: of that a wall at depth d
    gets what its pore's mouth lets in from a disc of about that width. Beyond the volume the structure is continued by
    reflection. This is worked out for the centres of voxels and is linear between them along y and x: where pixels do
    not lie on voxels, those at a border between phases show a mixture. What this leaves out of a rendered picture is
    measured by benchmarks/blender_calibration.py.

    Then follow, in the order of nature: edge brightening and grain, redeposition, curtains, charging, uneven
    detection, focus, the beam's blur, Poisson and Gaussian noise, and the electronics. The default instrument has
    neither redeposition, curtains, charging, changing focus nor electronics.
    """
    return fibsem_image(labels, settings, rng=rng).grey


def fibsem_image(
    labels: Any, settings: FibsemSettings | None = None, *, rng: np.random.Generator | int
) -> MicroscopeImage:
    """Image a structure as `fibsem` does, and return what is known about the picture.

    Parameters
    ----------
    labels, settings, rng
        As for `fibsem`.

    Returns
    -------
    MicroscopeImage
        Its ``labels`` are those of the points of the cut face at the pixels' centres. Its ``truth`` holds ``tilt_deg``;
        ``foreshortening``, the factor by which heights along y are shrunk in the picture (1 where corrected);
        ``slice_z`` (Z',), the depth of each cut in voxels; ``drift_px`` (Z', 2), how far along y and x what a slice
        shows lies from where a still sample would show it, in pixels; ``bend_vox`` (Z', 3), each cut's wedge along
        y and x and its bowl, see `Slices`; ``slice_gain`` (Z',) and ``shading`` (Y', X'), the gains of uneven
        detection.

    Raises
    ------
    ValueError
        As `fibsem`.
    """
    structure = np.ascontiguousarray(check_labels(labels))
    drawn, rng = _drawn(settings, rng)
    material, handling = rng.spawn(2)
    look: Any = without_topography(drawn) if drawn.detector == "BSE" else drawn
    planning, regions, grains = material.spawn(3)
    slices = plan_slices(structure.shape, drawn.geometry, tilt_deg=float(look.tilt_deg), rng=planning)
    mottle = _coarse_regions(structure.shape, float(look.mottle_vox), regions)
    grey, seen = see(structure, slices, _sight(look), face_grey=_grey_table(look), mottle=mottle)
    _add_grain(grey, seen, look, grains)
    grey, gains = _degrade(grey, seen, look, handling)
    return MicroscopeImage(grey, seen, slices.scale, {**_known(slices, look), **gains}, drawn)


def degrade(
    grey: np.ndarray, labels: np.ndarray, settings: FibsemSettings | None = None, *, rng: np.random.Generator | int
) -> np.ndarray:
    """Do to clean pictures, such as Blender's, what `fibsem` does to its own after the view.

    Parameters
    ----------
    grey : ndarray of float32, shape (Z, Y, X)
        Clean grey values.
    labels : ndarray of uint8, same shape
        Label of what each pixel shows at the cut face.
    settings : FibsemSettings, optional
        What concerns the material, the view and the geometry is not used. Laws in it are drawn first.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        With redeposition, curtains, charging, uneven detection, focus, blur, noise and electronics, in [0, 1].

    Raises
    ------
    ValueError
        For arguments that do not fit.
    """
    drawn, rng = _drawn(settings, rng)
    clean, seen = check_artefact(grey, labels, drawn, FibsemSettings)
    return _degrade(clean, seen, drawn, rng)[0]


def _drawn(settings: FibsemSettings | None, rng: Any) -> tuple[Any, np.random.Generator]:
    if not isinstance(settings, FibsemSettings | None):
        raise ValueError(f"settings are {settings!r}; give FibsemSettings(…), or None for the default instrument")
    rng = np.random.default_rng(rng)
    # Always drawn, so that the settings as drawn make the same picture again.
    return draw(settings or FibsemSettings(), rng), rng


def _degrade(grey: np.ndarray, labels: np.ndarray, settings: Any, rng: np.random.Generator) -> Any:
    """Return the pictures as written to a file, and the gains of uneven detection by name."""
    # Each artefact has a stream of its own, so that switching one on leaves the others as they are.
    filming, milling, charge, light, spot, counting, writing = rng.spawn(7)
    artefacts: list[tuple[Callable[..., np.ndarray], Any, np.random.Generator]] = [
        (apply_redeposition, settings.redeposition, filming),
        (apply_curtains, settings.curtains, milling),
        (apply_charging, settings.charging, charge),
    ]
    for apply, group, stream in artefacts:
        if group is not None:
            grey = apply(grey, labels, group, rng=stream)
    shading = illumination((grey.shape[1], grey.shape[2]), shading=settings.shading, rng=light)
    gain = np.clip(1 + settings.slice_gain * light.standard_normal(len(grey)), 0, None).astype(np.float32)
    grey = _lit(grey, gain, shading)
    if settings.optics is not None:
        grey = apply_optics(grey, labels, settings.optics, rng=spot)
    _blur(grey, settings)
    grey = count_noise(grey, dose=settings.dose, read_noise=settings.read_noise, rng=counting)
    if settings.electronics is not None:
        grey = apply_electronics(grey, labels, settings.electronics, rng=writing)
    return np.clip(grey, 0, 1, out=grey), {"slice_gain": gain, "shading": shading}


def _lit(grey: np.ndarray, gain: np.ndarray, shading: np.ndarray) -> np.ndarray:
    lit = np.empty_like(grey)

    def light(z: int) -> None:
        np.multiply(grey[z], gain[z] * shading, out=lit[z])

    in_threads(light, range(len(grey)))
    return lit


def _blur(grey: np.ndarray, settings: Any) -> None:
    """Blur every slice in place."""
    if settings.blur_vox == 0:
        return
    sigma = settings.blur_vox / (settings.geometry.pixel_vox if settings.geometry else 1.0)

    def blur(z: int) -> None:
        ndimage.gaussian_filter(grey[z], sigma, output=grey[z], mode="nearest")

    in_threads(blur, range(len(grey)))


def _sight(settings: Any) -> Sight:
    lamp = lamp_direction(settings.sun_elevation_deg, settings.sun_azimuth_deg)
    filled = OPEN if settings.filled_grey is None else settings.filled_grey
    numbers = (
        math.tan(math.radians(settings.tilt_deg)), settings.depth_vox, settings.shine_through, settings.floor_grey,
        filled, settings.relief, settings.rim, settings.shadow, settings.sun, settings.fill_light, *lamp,
        settings.mottle, settings.mottle_vox, settings.edge, settings.edge_side,
    )  # fmt: skip
    return Sight(*map(float, numbers))


def _grey_table(settings: Any) -> np.ndarray:
    """Return the grey value of the cut face of every label."""
    greys = np.array([settings.floor_grey, *settings.face_grey], np.float32)
    return greys[np.minimum(np.arange(256), len(greys) - 1)]


def _coarse_regions(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal([math.ceil(n / size) + 2 for n in shape], np.float32)


def _known(slices: Slices, settings: Any) -> dict[str, Any]:
    foreshortened = settings.geometry is not None and settings.geometry.foreshortened
    return {
        "tilt_deg": float(settings.tilt_deg),
        "foreshortening": math.cos(math.radians(settings.tilt_deg)) if foreshortened else 1.0,
        "slice_z": slices.z,
        "drift_px": slices.drift_px,
        "bend_vox": slices.bend_vox,
    }


def _add_grain(grey: np.ndarray, labels: np.ndarray, settings: Any, rng: np.random.Generator) -> None:
    """Add the fine grain of faces and of pore walls, in place."""
    seed = draw_seed(rng)
    texture, walls = float(settings.texture), float(settings.wall_texture)
    if settings.filled_grey is not None:
        walls = 0.0

    def finish(z: int) -> None:
        white = slice_stream(seed, z).standard_normal(grey[z].shape, np.float32)
        # A Gaussian filter of standard deviation s in 2-D leaves a variance of 1 / (4 pi s^2).
        grain = ndimage.gaussian_filter(white, 1.0, mode="wrap") * np.float32(math.sqrt(4 * math.pi))
        _grind(grey[z], labels[z], grain, texture, walls)

    if texture > 0 or walls > 0:
        in_threads(finish, range(len(grey)))


@numba.njit(cache=True, nogil=True)
def _grind(grey: Any, labels: Any, grain: Any, texture: float, walls: float) -> None:
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            if labels[y, x] > 0:
                grey[y, x] += texture * grain[y, x]
            else:
                grey[y, x] *= max(1 + walls * grain[y, x], 0.0)
