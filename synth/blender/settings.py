"""What the rendered microscope can be set to: light, brightness, texture, threads."""

import dataclasses
import math

import numpy as np

__all__ = ["BlenderSettings"]


@dataclasses.dataclass(frozen=True)
class BlenderSettings:
    """Light and surfaces of `synth.blender_stack`.

    Brightness is linear; 1 is the grey value 1 of a flat white face, before `exposure`.

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
    threads : int
        Render threads; 0 takes every core. The picture does not depend on it.
    timeout_s : float, optional
        Longest time for the whole stack; default 300 s plus 60 s a slice.
    """

    phase_brightness: tuple[float, ...] | None = None
    wall_brightness: float = 0.85
    rim: float = 0.45
    edge: float = 0.3
    grain: float = 0.16
    grain_vox: float = 2.5
    roughness: float = 0.6
    smoothing_vox: float = 1.0
    sun: float = 0.55
    sun_elevation_deg: float = 40.0
    sun_azimuth_deg: float = 120.0
    escape_depth_vox: float = 30.0
    exposure: float = 1.0
    gamma: float = 1.0
    threads: int = 0
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered."""
        for name in ("grain_vox", "escape_depth_vox", "exposure", "gamma"):
            _require(name, getattr(self, name), above=0.0)
        for name in ("wall_brightness", "rim", "edge", "grain", "roughness", "smoothing_vox", "threads"):
            _require(name, getattr(self, name), at_least=0.0)
        if not 0 <= self.sun <= 1:
            raise ValueError(f"sun is {self.sun}; it is a share of the light and must lie in [0, 1]")
        if not 0 < self.sun_elevation_deg <= 90:
            raise ValueError(f"sun_elevation_deg is {self.sun_elevation_deg}; it must lie in (0, 90]")
        if not math.isfinite(self.sun_azimuth_deg):
            raise ValueError(f"sun_azimuth_deg is {self.sun_azimuth_deg}; it must be finite")
        if self.timeout_s is not None:
            _require("timeout_s", self.timeout_s, above=0.0)
        for value in self.phase_brightness or ():
            if not 0 < value <= 1:
                raise ValueError(f"phase_brightness holds {value}; every brightness must lie in (0, 1]")

    def brightness_table(self, highest_label: int) -> np.ndarray:
        """Return the brightness of labels 0, 1, … `highest_label` as float32 (label 0, the pore, is 0)."""
        values = self.phase_brightness
        if values is None:
            values = (0.7,) if highest_label <= 1 else tuple(np.linspace(0.5, 0.85, highest_label))
        if len(values) < highest_label:
            raise ValueError(
                f"phase_brightness names {len(values)} phases but the labels go up to {highest_label}; "
                "give one brightness for every solid phase"
            )
        return np.array([0.0, *values], dtype=np.float32)


def _require(name: str, value: float, *, above: float = -math.inf, at_least: float = -math.inf) -> None:
    if not (math.isfinite(value) and value > above and value >= at_least):
        bound = f"above {above:g}" if above > -math.inf else f"at least {at_least:g}"
        raise ValueError(f"{name} is {value}; it must be finite and {bound}")
