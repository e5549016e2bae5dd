"""What the rendered microscope can be set to: light, brightness, texture, threads."""

import dataclasses
from typing import Any

import numpy as np

from synth.laws import Law, check_range

__all__ = ["BlenderSettings"]

DEVICES = ("cpu", "gpu")


@dataclasses.dataclass(frozen=True)
class BlenderSettings:
    """Light and surfaces of `synth.blender_stack`.

    Brightness is linear; 1 is the grey value 1 of a flat white face, before `exposure`. Any number that shapes the
    picture may be a law, which `blender_image` draws from.

    Parameters
    ----------
    phase_brightness : tuple of float, optional
        Brightness of the cut face of phase 1, 2, …, each in (0, 1]. Default: 0.7 for one solid phase; evenly from
        0.5 to 0.85 for several.
    wall_brightness : float
        Brightness of the pore walls under full light, as a fraction of the cut face of their phase.
    rim : float
        How much a wall brightens as it turns edge-on to the beam, in the manner of the 1/cos law of the secondary
        electron yield (Reimer, *Scanning Electron Microscopy*, 1998, section 4.2). 0 turns it off.
    edge : float
        How much the cut face brightens at its edges. 0 turns it off.
    grain, grain_vox : float
        Relative strength and size (voxels) of the texture of the cut face.
    roughness : float
        Strength of the bumps on the pore walls. 0 leaves them smooth.
    smoothing_vox : float
        Standard deviation (voxels) of the Gaussian that rounds the pore walls. No wall moves by more than half a voxel.
    sun : float
        Share of the light that comes from one side (the detector) and throws shadows, in [0, 1]; the rest comes from
        the whole half-space before the face.
    sun_elevation_deg, sun_azimuth_deg : float
        Direction of that light: height above the cut face (0, 90] and angle in it, 0 along +x, 90 towards y = 0.
    escape_depth_vox : float
        Depth in voxels over which the signal from inside a pore falls by 1/e, on top of shadow.
    exposure, gamma : float
        Grey value = clip(exposure * brightness, 0, 1) ** (1 / gamma).
    denoise : bool
        Take the noise of the few light paths out of each picture with Intel's Open Image Denoise, which is shown
        brightness and slope of the surfaces, so that texture and edges stay.
    device : str
        ``cpu``, or ``gpu`` for the graphics card (OptiX, CUDA, HIP, Metal or oneAPI, whichever is found first). Each
        kind of device has its own last bits.
    threads : int
        Processor threads; 0 takes every one that NUMBA_NUM_THREADS allows. Slices are shared among several processes.
        The picture does not depend on it.
    timeout_s : float, optional
        Longest time for the whole stack; default 300 s plus 60 s a slice.
    """

    phase_brightness: tuple[float | Law, ...] | None = None
    wall_brightness: float | Law = 0.85
    rim: float | Law = 0.45
    edge: float | Law = 0.3
    grain: float | Law = 0.16
    grain_vox: float | Law = 2.5
    roughness: float | Law = 0.6
    smoothing_vox: float | Law = 1.0
    sun: float | Law = 0.55
    sun_elevation_deg: float | Law = 40.0
    sun_azimuth_deg: float | Law = 120.0
    escape_depth_vox: float | Law = 30.0
    exposure: float | Law = 1.0
    gamma: float | Law = 1.0
    denoise: bool = True
    device: str = "cpu"
    threads: int = 0
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered."""
        for name in ("grain_vox", "escape_depth_vox", "exposure", "gamma"):
            check_range(name, getattr(self, name), above=0.0)
        for name in ("wall_brightness", "rim", "edge", "grain", "roughness", "smoothing_vox"):
            check_range(name, getattr(self, name), low=0.0)
        check_range("sun", self.sun, low=0.0, high=1.0)
        check_range("sun_elevation_deg", self.sun_elevation_deg, above=0.0, high=90.0)
        check_range("sun_azimuth_deg", self.sun_azimuth_deg)
        for value in self.phase_brightness or ():
            check_range("phase_brightness", value, above=0.0, high=1.0)
        if self.timeout_s is not None:
            check_range("timeout_s", self.timeout_s, above=0.0)
        if self.device not in DEVICES:
            raise ValueError(f"device is {self.device!r}; it must be 'cpu' or 'gpu'")
        if not isinstance(self.denoise, bool):
            raise ValueError(f"denoise is {self.denoise!r}; it must be true or false")
        if isinstance(self.threads, bool) or not isinstance(self.threads, int | np.integer) or self.threads < 0:
            raise ValueError(f"threads is {self.threads!r}; it must be a whole number, 0 for every thread")

    def brightness_table(self, highest_label: int) -> np.ndarray:
        """Return the brightness of labels 0, 1, … `highest_label` as float32 (label 0, the pore, is 0)."""
        values: tuple[Any, ...] | None = self.phase_brightness
        if values is None:
            values = (0.7,) if highest_label <= 1 else tuple(np.linspace(0.5, 0.85, highest_label))
        if len(values) < highest_label:
            raise ValueError(
                f"phase_brightness names {len(values)} phases but the labels go up to {highest_label}; "
                "give one brightness for every solid phase"
            )
        return np.array([0.0, *values], dtype=np.float32)
