"""One FIB-SEM and one session at it: the look of the material, the light in its pores, and what goes wrong."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from synth.laws import Law, check_range
from synth.sem.artefact import outcomes
from synth.sem.charging import Charging
from synth.sem.detector import Electronics
from synth.sem.geometry import SliceGeometry
from synth.sem.milling import Curtains, Redeposition
from synth.sem.optics import Optics

__all__ = ["FibsemSettings", "backscatter_grey"]

RANGES: dict[str, dict[str, float]] = {
    "tilt_deg": {"low": 0, "below": 90},
    "floor_grey": {"low": 0, "high": 10},
    "shine_through": {"low": 0, "high": 10},
    "depth_vox": {"above": 0, "high": 1e4},
    "relief": {"low": 0, "high": 10},
    "rim": {"low": 0, "high": 10},
    "shadow": {"low": 0, "high": 1},
    "fill_light": {"low": 0, "high": 1},
    "sun": {"low": 0, "high": 1},
    "sun_elevation_deg": {"low": 5, "high": 90},
    "sun_azimuth_deg": {"low": -360, "high": 360},
    "edge": {"low": 0, "high": 10},
    "edge_side": {"low": 0, "high": 1},
    "texture": {"low": 0, "high": 10},
    "wall_texture": {"low": 0, "high": 10},
    "mottle": {"low": 0, "high": 10},
    "mottle_vox": {"low": 1, "high": 1e4},
    "blur_vox": {"low": 0, "high": 100},
    "shading": {"low": 0, "high": 1},
    "slice_gain": {"low": 0, "high": 1},
    "dose": {"above": 0, "high": 1e18},
    "read_noise": {"low": 0, "high": 10},
}
GROUPS = {
    "geometry": SliceGeometry, "redeposition": Redeposition, "curtains": Curtains, "charging": Charging,
    "optics": Optics, "electronics": Electronics,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FibsemSettings:
    """One instrument and one session at it, or, with laws for numbers, a whole family of them.

    Lengths are in voxels of the structure, grey values are fractions of full scale.

    Parameters
    ----------
    tilt_deg : float or Law
        Angle between the normal of the cut face and the view; rays into a pore run towards +y.
    detector : {"SE", "BSE"} or Law
        What is counted. Secondary electrons show topography. Back-scattered ones show the material: `relief`, `rim`,
        `edge` and `shadow` have no effect, and of `shine_through` only 0.4 is left, for they travel straight and
        most of those from inside a pore end in its walls. `backscatter_grey` gives the `face_grey` that goes with it.
    face_grey : tuple of (float or Law)
        Grey value of the cut face of phases 1, 2, …; a last value serves for all further phases.
    floor_grey : float or Law
        Grey value where a ray meets nothing: a deep pore.
    filled_grey : float, Law or None
        Grey value of pores that are filled with resin or ionomer, through which nothing is seen; None leaves them open.
    shine_through : float or Law
        Brightness of material just behind the cut face, relative to the face of the same phase.
    depth_vox : float or Law
        Depth at which shine-through has fallen to 1/e.
    relief : float or Law
        How much brighter a pore wall is that faces the detector, which is near the column; 0 turns it off.
    rim : float or Law
        How much a wall brightens as it turns edge-on to the beam, as 1/cos [1]_; 0 turns it off.
    shadow : float or Law
        How strongly walls darken where little light reaches them, from 0, not at all, to 1, fully. "Light" stands for
        the share of the electrons that find their way out to the detector.
    fill_light : float or Law
        Share of the missing light that reaches a wall by way of other walls.
    sun : float or Law
        Share of the light that comes from one side and throws shadows; the rest comes from the whole half-space.
    sun_elevation_deg, sun_azimuth_deg : float or Law
        Direction of that light: height above the cut face, and angle in it, 0 along +x, 90 towards y = 0.
    edge : float or Law
        Extra brightness along the edges of the cut face, over about a voxel.
    edge_side : float or Law
        How one-sided the glow of edges is, for a detector that stands at `sun_azimuth_deg`: edges that face it glow by
        ``1 + edge_side``, those that face away by ``1 - edge_side``; 0 is even.
    texture : float or Law
        Standard deviation of the fine grain of the cut face.
    wall_texture : float or Law
        Relative standard deviation of the fine grain of pore walls.
    mottle : float or Law
        How much brighter or darker whole regions of the material are: crystal orientation, a second solid.
    mottle_vox : float or Law
        Size of these regions.
    blur_vox : float or Law
        Standard deviation of the beam's Gaussian spot.
    shading : float or Law
        Peak-to-peak change of brightness over a slice by uneven detection, the same in every slice.
    slice_gain : float or Law
        Standard deviation of the brightness from slice to slice.
    dose : float or Law
        Electrons per pixel at full scale; sets the Poisson noise.
    read_noise : float or Law
        Standard deviation of the detector's Gaussian noise.
    geometry : SliceGeometry or None
        Where the slices and the pixels lie; None is the structure's own grid.
    redeposition, curtains, charging, optics, electronics : settings or None
        The artefacts; None is without.

    References
    ----------
    .. [1] L. Reimer, *Scanning Electron Microscopy*, Springer (1998), section 4.2.
    """

    tilt_deg: float | Law = 52.0
    detector: Literal["SE", "BSE"] | Law = "SE"
    face_grey: tuple[float | Law, ...] = (0.68, 0.85, 0.5)
    floor_grey: float | Law = 0.12
    filled_grey: float | Law | None = None
    shine_through: float | Law = 0.62
    depth_vox: float | Law = 12.0
    relief: float | Law = 0.35
    rim: float | Law = 0.0
    shadow: float | Law = 0.0
    fill_light: float | Law = 0.25
    sun: float | Law = 0.55
    sun_elevation_deg: float | Law = 40.0
    sun_azimuth_deg: float | Law = 120.0
    edge: float | Law = 0.12
    edge_side: float | Law = 0.0
    texture: float | Law = 0.03
    wall_texture: float | Law = 0.0
    mottle: float | Law = 0.0
    mottle_vox: float | Law = 20.0
    blur_vox: float | Law = 0.7
    shading: float | Law = 0.2
    slice_gain: float | Law = 0.02
    dose: float | Law = 150.0
    read_noise: float | Law = 0.02
    geometry: SliceGeometry | None = None
    redeposition: Redeposition | None = None
    curtains: Curtains | None = None
    charging: Charging | None = None
    optics: Optics | None = None
    electronics: Electronics | None = None

    def __post_init__(self) -> None:
        for name, limits in RANGES.items():
            check_range(name, getattr(self, name), **limits)
        if not isinstance(self.face_grey, tuple) or not self.face_grey:
            raise ValueError(f"face_grey is {self.face_grey!r}; give a tuple of numbers, one for each solid phase")
        for grey in self.face_grey:
            check_range("face_grey", grey, low=0, high=10)
        if self.filled_grey is not None:
            check_range("filled_grey", self.filled_grey, low=0, high=10)
        for detector in outcomes(self.detector):
            if detector not in ("SE", "BSE"):
                raise ValueError(f"detector is {detector!r}; give 'SE' or 'BSE', or a choice of these")
        for name, kind in GROUPS.items():
            if not isinstance(getattr(self, name), kind | None):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give {kind.__name__}(…) or None")


def backscatter_grey(atomic_numbers: Sequence[float], *, brightest: float = 0.85) -> tuple[float, ...]:
    """Return the grey values of phases as back-scattered electrons show them.

    Parameters
    ----------
    atomic_numbers : sequence of float
        Mean atomic number of phases 1, 2, …, from 1 to 92. For a compound take the mean by weight.
    brightest : float
        Grey value of the heaviest phase.

    Returns
    -------
    tuple of float
        For `FibsemSettings.face_grey`; proportional to the back-scatter coefficient
        ``-0.0254 + 0.016 Z - 1.86e-4 Z**2 + 8.3e-7 Z**3`` [1]_.

    Raises
    ------
    ValueError
        For no number, or one outside this range.

    Notes
    -----
    The fit holds for a beam of about 20 kV at normal incidence. At 2 kV light elements scatter back more and heavy
    ones less: the true contrast is smaller there. Below Z = 2 the fit is negative and 0 is given.

    References
    ----------
    .. [1] W. Reuter, "The ionization function and its application to the electron probe analysis of thin films",
       Proc. 6th Int. Conf. X-ray Optics and Microanalysis (1972) 121.
    """
    numbers = tuple(np.ravel(np.asarray(atomic_numbers)).tolist())
    if not numbers:
        raise ValueError("atomic_numbers is empty; give the mean atomic number of each solid phase")
    for number in numbers:
        check_range("atomic_numbers", number, low=1, high=92)
    check_range("brightest", brightest, above=0, high=1)
    yields = [max(0.0, -0.0254 + 0.016 * z - 1.86e-4 * z**2 + 8.3e-7 * z**3) for z in numbers]
    most = max(yields)
    return tuple(brightest * value / most if most > 0 else 0.0 for value in yields)


def without_topography(settings: FibsemSettings) -> FibsemSettings:
    """Return what is left of drawn settings when back-scattered electrons are counted."""
    plain: Any = settings
    return dataclasses.replace(
        plain, shine_through=0.4 * plain.shine_through, relief=0.0, rim=0.0, shadow=0.0, edge=0.0
    )


def lamp_direction(elevation_deg: float, azimuth_deg: float) -> tuple[float, float, float]:
    """Return the unit vector (z, y, x) from the sample to the light."""
    height, turn = math.radians(elevation_deg), math.radians(azimuth_deg)
    return -math.sin(height), -math.cos(height) * math.sin(turn), math.cos(height) * math.cos(turn)
