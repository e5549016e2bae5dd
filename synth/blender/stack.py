"""Grey slices of a tilted, serially cut block, with the exact label of every pixel of each cut face."""

import dataclasses
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from synth.blender.camera import FaceCamera
from synth.blender.process import render_in_own_processes
from synth.blender.settings import BlenderSettings
from synth.laws import has_laws
from synth.threads import thread_count
from volume import check_labels

__all__ = ["BlenderStack", "blender_stack"]

DEPTH_VOX = 40
FAINTEST = 1e-5


@dataclasses.dataclass(frozen=True)
class BlenderStack:
    """Rendered slices and their truth; ``np.asarray(stack)`` is `grey`.

    Attributes
    ----------
    grey : (n, H, W) float32
        What the tilted camera sees, in [0, 1], one picture a cut.
    labels : (n, H, W) uint8
        Label of the voxel of the cut face under each pixel's centre; 0 off the face.
    face : (H, W) bool
        Pixels whose centre lies on the cut face.
    corrected : (n, Y, X) float32
        `grey` resampled onto the voxels of the face.
    corrected_labels : (n, Y, X) uint8
        The labels of those voxels: ``labels[slices]`` of the volume.
    slices : (n,) int64
        Layer at which each cut was made.
    tilt_deg : float
        Angle between the face's normal and the viewing direction.
    """

    grey: np.ndarray
    labels: np.ndarray
    face: np.ndarray
    corrected: np.ndarray
    corrected_labels: np.ndarray
    slices: np.ndarray
    tilt_deg: float

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return `grey`."""
        return np.array(self.grey, dtype=dtype) if copy else np.asarray(self.grey, dtype=dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `grey`, (n, H, W)."""
        return self.grey.shape


def blender_stack(
    labels: ArrayLike,
    *,
    slices: Iterable[int] | None = None,
    tilt_deg: float = 52.0,
    resolution: int | tuple[int, int] | None = None,
    samples: int = 4,
    depth_vox: int | None = None,
    rng: np.random.Generator | int = 0,
    settings: BlenderSettings | None = None,
) -> BlenderStack:
    """Render the cuts of a FIB-SEM session with Blender: tilted view, light, shadow and the pores' depth.

    Parameters
    ----------
    labels : (Z, Y, X) array of integers or bool
        0 = pore. Cuts run along z: at cut k all material before layer k is gone and the camera sees the front of
        layer k and, through its pores, what lies deeper.
    slices : iterable of int, optional
        Layers to cut at; negative ones count from the end. Default: every layer.
    tilt_deg : float
        Angle between the normal of the cut face and the viewing direction, about x, in [0, 90). Heights in the
        picture are cos(tilt) of those in the volume. (A column at 52° to the ion beam sees the face at 38°.)
    resolution : int or (int, int), optional
        Pixels along x, or (rows, columns); pixels are square and the columns span the face. Rows beyond the face show
        a dark surround. Default: one pixel a voxel along x, and as many rows as the face needs (each at least 4).
    samples : int
        Light paths a pixel; the noise falls with their square root. With the denoiser, four look like eight
        without.
    depth_vox : int, optional
        How many layers behind the cut are built; deeper is black. Default 40.
    rng : numpy.random.Generator or int
        Seeds the sampling noise and the texture. A slice does not depend on which others are rendered with it.
    settings : BlenderSettings, optional
        Light and surfaces.

    Returns
    -------
    BlenderStack

    Raises
    ------
    BlenderUnavailableError
        bpy, or a system library that it needs, is missing.
    BlenderCrashError
        Blender crashed or took longer than its settings allow.
    ValueError
        Anything else that cannot be rendered.

    Notes
    -----
    The cut face is one flat quadrilateral a voxel, so `labels` and `grey` agree to a fraction of a pixel. Pixels are
    the mean over their area (box filter). The volume continues as its mirror image beyond its sides and its back.
    """
    volume = np.ascontiguousarray(check_labels(labels))
    look: Any = settings or BlenderSettings()
    layers = _check_slices(slices, len(volume))
    camera = FaceCamera.framing((volume.shape[1], volume.shape[2]), tilt_deg=tilt_deg, resolution=resolution)
    if has_laws(look):
        raise ValueError("the settings hold laws; give numbers, or draw from the laws with synth.laws.draw")
    seed = int(np.random.default_rng(rng).integers(2**31 - 1))
    job = {
        "tilt_deg": camera.tilt_deg,
        "shape": camera.shape,
        "samples": _check_count("samples", samples),
        "depth_vox": _check_count("depth_vox", DEPTH_VOX if depth_vox is None else depth_vox),
        "seed": seed,
        "brightness": look.brightness_table(int(volume.max())).tolist(),
        "settings": dataclasses.asdict(look),
    }
    cuts, order = np.unique(layers, return_inverse=True)
    light = render_in_own_processes(
        volume,
        job,
        slices=cuts.tolist(),
        threads=look.threads or thread_count(),
        timeout_s=look.timeout_s or 300.0 + 60.0 * len(layers),
    )[order]
    # The denoiser leaves millionths where nothing is.
    light[light < FAINTEST] = 0
    grey = (np.clip(look.exposure * light, 0, 1) ** (1 / look.gamma)).astype(np.float32)
    truth = volume[layers]
    return BlenderStack(
        grey=grey,
        labels=camera.project(truth),
        face=camera.face(),
        corrected=camera.correct(grey),
        corrected_labels=truth,
        slices=layers,
        tilt_deg=camera.tilt_deg,
    )


def _check_slices(slices: Iterable[int] | None, n_layers: int) -> np.ndarray:
    try:
        layers = np.array([operator.index(k) for k in (range(n_layers) if slices is None else slices)], dtype=np.int64)
    except TypeError:
        raise ValueError(
            f"slices is {slices!r}; give the whole-number layers to cut at, e.g. range(0, 50, 5)"
        ) from None
    if len(layers) == 0:
        raise ValueError("slices is empty; name at least one layer to cut at")
    outside = layers[(layers < -n_layers) | (layers >= n_layers)]
    if len(outside):
        raise ValueError(f"slice {outside[0]} does not exist; the volume has the layers 0 to {n_layers - 1}")
    return layers % n_layers


def _check_count(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return int(value)
