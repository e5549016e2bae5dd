"""Volumes imaged by Blender for corpora: settings that may be laws, presets, and labels in the picture's geometry."""

import dataclasses
import math
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from synth.blender.camera import SMALLEST
from synth.blender.settings import BlenderSettings
from synth.blender.stack import BlenderStack, blender_stack
from synth.laws import Choice, Law, LogUniform, Uniform, check_range, draw
from synth.microscope_image import MicroscopeImage
from synth.sem import FIBSEM_PRESETS, FibsemSettings, degrade

__all__ = ["BLENDER_PRESETS", "BlenderImaging", "blender_image"]

WHOLE = ("samples", "depth_vox", "slice_step_vox")


@dataclasses.dataclass(frozen=True)
class BlenderImaging:
    """How `blender_image` images a volume. Any number may be a law to draw it from.

    Parameters
    ----------
    tilt_deg : float
        Angle between the face's normal and the viewing direction, in [0, 90).
    geometry : str
        ``corrected``: the foreshortening undone, one pixel a voxel of the face. ``camera``: as the camera sees it,
        rows that do not show the face left out.
    pixels_per_voxel : float
        Pixels of the camera along x for each voxel, above 0. A picture has four columns at least.
    slice_step_vox : int
        Layers between one cut and the next, rounded to a whole number as are the next two.
    samples : int
        Light paths a pixel.
    depth_vox : int
        Layers that are visible behind a cut.
    surfaces : BlenderSettings
        Light and surfaces; its numbers may be laws too.
    session : FibsemSettings, optional
        What the session adds to the clean render by `synth.sem.degrade`: curtains, charging, blur, noise, bits. What
        it says of the view, the material and the geometry is not used.
    """

    tilt_deg: float | Law = 52.0
    geometry: Literal["corrected", "camera"] = "corrected"
    pixels_per_voxel: float | Law = 1.0
    slice_step_vox: int | Law = 1
    samples: int | Law = 4
    depth_vox: int | Law = 40
    surfaces: BlenderSettings = dataclasses.field(default_factory=BlenderSettings)
    session: FibsemSettings | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be imaged."""
        check_range("tilt_deg", self.tilt_deg, low=0.0, below=90.0)
        check_range("pixels_per_voxel", self.pixels_per_voxel, above=0.0, high=16.0)
        for name in WHOLE:
            check_range(name, getattr(self, name), low=1)
        if self.geometry not in ("corrected", "camera"):
            raise ValueError(f"geometry is {self.geometry!r}; it must be 'corrected' or 'camera'")
        if not isinstance(self.surfaces, BlenderSettings):
            raise ValueError(f"surfaces is {self.surfaces!r}; give BlenderSettings")
        if not isinstance(self.session, FibsemSettings | None):
            raise ValueError(f"session is {self.session!r}; give FibsemSettings, or None for the clean render")


def blender_image(
    labels: ArrayLike, settings: BlenderImaging | None = None, *, rng: np.random.Generator | int
) -> MicroscopeImage:
    """Image a structure with Blender, settings drawn from their laws.

    Parameters
    ----------
    labels : (Z, Y, X) array of integers or bool
        0 = pore; cut along z as by `blender_stack`.
    settings : BlenderImaging, optional
        Default: the 52° microscope of `blender_stack`, corrected geometry.
    rng : numpy.random.Generator or int
        Seeds what is drawn, the sampling noise and the texture.

    Returns
    -------
    MicroscopeImage
        `voxel_scale` is (step, 1, 1) in corrected geometry; in camera geometry a pixel spans X / width voxels along x
        and that over cos(tilt) along y. `truth` holds ``tilt_deg``, ``slices`` (the layers cut at) and
        ``first_row_vox`` (where on the face, along y in voxels from its border, the first row's centre lies).

    Raises
    ------
    BlenderUnavailableError, BlenderCrashError, ValueError
        As `blender_stack`.
    """
    rng = np.random.default_rng(rng)
    drawn: Any = draw(settings or BlenderImaging(), rng)
    drawn = dataclasses.replace(drawn, **{name: round(getattr(drawn, name)) for name in WHOLE})
    shape = np.shape(labels)
    columns = max(SMALLEST, round(drawn.pixels_per_voxel * shape[2])) if len(shape) == 3 else None
    stack = blender_stack(
        labels,
        slices=range(0, shape[0], drawn.slice_step_vox) if len(shape) == 3 else None,
        tilt_deg=drawn.tilt_deg,
        resolution=columns,
        samples=drawn.samples,
        depth_vox=drawn.depth_vox,
        rng=rng,
        settings=drawn.surfaces,
    )
    image = _corrected(stack, drawn) if drawn.geometry == "corrected" else _as_seen(stack, drawn)
    if drawn.session is None:
        return image
    return dataclasses.replace(image, grey=degrade(image.grey, image.labels, drawn.session, rng=rng))


def _corrected(stack: BlenderStack, drawn: Any) -> MicroscopeImage:
    return MicroscopeImage(
        grey=stack.corrected,
        labels=stack.corrected_labels,
        voxel_scale=(float(drawn.slice_step_vox), 1.0, 1.0),
        truth={"tilt_deg": stack.tilt_deg, "slices": stack.slices.tolist(), "first_row_vox": 0.5},
        settings=drawn,
    )


def _as_seen(stack: BlenderStack, drawn: Any) -> MicroscopeImage:
    rows = np.nonzero(stack.face.all(axis=1))[0]
    n_rows, n_columns = stack.face.shape
    _, n_y, n_x = stack.corrected_labels.shape
    along_x = n_x / n_columns
    along_y = along_x / math.cos(math.radians(stack.tilt_deg))
    return MicroscopeImage(
        grey=np.ascontiguousarray(stack.grey[:, rows]),
        labels=np.ascontiguousarray(stack.labels[:, rows]),
        voxel_scale=(float(drawn.slice_step_vox), along_y, along_x),
        truth={
            "tilt_deg": stack.tilt_deg,
            "slices": stack.slices.tolist(),
            "first_row_vox": float(n_y / 2 + (rows[0] + 0.5 - n_rows / 2) * along_y),
        },
        settings=drawn,
    )


# One of the two columns at 52° that a plasma FIB has, on a catalyst layer of carbon whose pores are a few to a few tens
# of voxels wide: how the light falls, how rough the cut and the walls are and how deep one sees differ by sample.
CATALYST_LAYER = BlenderImaging(
    tilt_deg=Uniform(51.0, 53.0),
    geometry="camera",
    pixels_per_voxel=Uniform(1.0, 1.4),
    surfaces=BlenderSettings(
        wall_brightness=Uniform(0.7, 0.95),
        rim=Uniform(0.3, 0.6),
        edge=Uniform(0.15, 0.45),
        grain=Uniform(0.08, 0.24),
        grain_vox=Uniform(1.5, 4.0),
        roughness=Uniform(0.3, 0.9),
        sun=Uniform(0.4, 0.7),
        sun_elevation_deg=Uniform(30.0, 55.0),
        sun_azimuth_deg=Uniform(60.0, 150.0),
        escape_depth_vox=LogUniform(15.0, 45.0),
        exposure=Uniform(0.7, 0.95),
        gamma=Uniform(0.9, 1.2),
    ),
    session=FIBSEM_PRESETS["pfib-catalyst-layer"],
)
RANDOM = BlenderImaging(
    tilt_deg=Uniform(30.0, 62.0),
    pixels_per_voxel=Uniform(0.8, 2.0),
    samples=Choice((4, 8)),
    depth_vox=Uniform(25.0, 60.0),
    surfaces=BlenderSettings(
        wall_brightness=Uniform(0.5, 1.0),
        rim=Uniform(0.0, 0.9),
        edge=Uniform(0.0, 0.7),
        grain=Uniform(0.0, 0.35),
        grain_vox=LogUniform(1.0, 8.0),
        roughness=Uniform(0.0, 1.0),
        smoothing_vox=Uniform(0.6, 1.4),
        sun=Uniform(0.1, 0.9),
        sun_elevation_deg=Uniform(20.0, 75.0),
        sun_azimuth_deg=Uniform(0.0, 360.0),
        escape_depth_vox=LogUniform(8.0, 80.0),
        exposure=Uniform(0.7, 1.3),
        gamma=Uniform(0.7, 1.5),
    ),
    session=FIBSEM_PRESETS["random"],
)
BLENDER_PRESETS = MappingProxyType(
    {"default": BlenderImaging(), "random": RANDOM, "pfib-catalyst-layer": CATALYST_LAYER}
)
