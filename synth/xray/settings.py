"""What a tomograph can be set to, group by group; each number may be a law to draw it from."""

import dataclasses
from numbers import Integral, Real
from typing import Any, Literal

from synth.laws import Choice, Law, Sometimes, check_range

__all__ = [
    "BeamSettings",
    "DetectorSettings",
    "GreySettings",
    "ReconstructionSettings",
    "ScanSettings",
    "XraySettings",
    "per_label",
]

FILTERS = ("ramp", "shepp-logan", "cosine", "hamming", "hann")
SURROUNDINGS = ("reflect", "air")
SCALES = ("nominal", "percentile")
DEPTHS = (8, 16, 32)
MOST_ANGLES, MOST_VOXELS = 20_000, 64


def _outcomes(value: Any) -> list[Any]:
    """Return what may be drawn: values, and those laws that cannot be listed."""
    if isinstance(value, Choice):
        inner = value.options
    elif isinstance(value, Sometimes):
        inner = (value.value, value.otherwise)
    else:
        return [value]
    return [outcome for option in inner for outcome in _outcomes(option)]


def _given(value: Any) -> Any:
    return value.to_plain() if isinstance(value, Law) else value


@dataclasses.dataclass(frozen=True)
class BeamSettings:
    """The source, and the way from the sample to the detector.

    Parameters
    ----------
    scan_photons : float or Law
        Photons that a detector pixel counts without a sample in the whole scan; each projection gets an equal share.
        The standard deviation of the reconstructed attenuation per pixel is about ``0.6 exp(p / 2) /
        sqrt(scan_photons)`` within a sample of optical thickness p, whatever the number of projections ([1]_, with
        the plain ramp and linear interpolation; less with blur).
    bandwidth : float or Law
        Standard deviation of the logarithm of the photon energy. 0 is monochromatic; more hardens the beam.
    source_blur_px : float or Law
        Standard deviation of the Gaussian penumbra of the source (partial coherence) on the detector.
    fresnel_px2 : float or Law
        Wavelength times propagation distance, in squared pixels: (the width of the first Fresnel fringe)². 0 is
        contact, no phase contrast.
    delta_beta : float or Law
        Ratio δ/β of refraction to absorption of a phase whose ``refraction`` equals its ``attenuation``. For fringes
        wider than a pixel the intensity at a thin edge is ``1 - p + L ∇²p`` with ``L = delta_beta fresnel_px2 /
        (4 pi)`` squared pixels. Fringes are linear in the phase: behind a fibre that turns it by 1 rad,
        ``delta_beta p / 2``, they are as strong as they should be within 6 %, by 5 rad up to 20 % too strong where
        `fresnel_px2` is 1.

    References
    ----------
    .. [1] A. C. Kak, M. Slaney, Principles of Computerized Tomographic Imaging, IEEE Press 1988, chapter 5.
    """

    scan_photons: float | Law = 2e8
    bandwidth: float | Law = 0.0
    source_blur_px: float | Law = 0.0
    fresnel_px2: float | Law = 0.0
    delta_beta: float | Law = 0.0

    def __post_init__(self) -> None:
        check_range("scan_photons", self.scan_photons, low=1.0, high=1e15)
        check_range("bandwidth", self.bandwidth, low=0.0, high=0.5)
        check_range("source_blur_px", self.source_blur_px, low=0.0, high=20.0)
        check_range("fresnel_px2", self.fresnel_px2, low=0.0, high=30.0)
        check_range("delta_beta", self.delta_beta, low=0.0, high=1e5)


@dataclasses.dataclass(frozen=True)
class ScanSettings:
    """How the sample is turned, and how it moves when it should not.

    Parameters
    ----------
    n_angles : int or Law, optional
        Number of projections. If not given, `angles_per_px` decides.
    angles_per_px : float or Law
        Projections per half turn and per pixel of the field of view (the diameter of the circle about the box), at
        least 8 projections. π/2 samples the rim as finely as the detector; below about 0.5 streaks are seen.
    range_deg : float or Law
        Angle of the scan, above 0 and up to 360. Directions that are met twice count half.
    centre_offset_px : float or Law
        How far the image of the rotation axis is off the place that the reconstruction takes for it. The sample
        stands so that its slices are not displaced by it, nor by `drift_px`.
    drift_px : float or Law
        Distance that the sample creeps during the scan, steadily, in a direction drawn at random in space.
    jitter_px : float or Law
        Standard deviation of the sample's position along z, y and x from projection to projection.
    angle_jitter_deg : float or Law
        Standard deviation of the true angle about the one that is recorded.
    """

    n_angles: int | Law | None = None
    angles_per_px: float | Law = 1.2
    range_deg: float | Law = 180.0
    centre_offset_px: float | Law = 0.0
    drift_px: float | Law = 0.0
    jitter_px: float | Law = 0.0
    angle_jitter_deg: float | Law = 0.0

    def __post_init__(self) -> None:
        if self.n_angles is not None:
            _check_whole("n_angles", self.n_angles, high=MOST_ANGLES)
        check_range("angles_per_px", self.angles_per_px, above=0.0, high=10.0)
        check_range("range_deg", self.range_deg, above=0.0, high=360.0)
        check_range("centre_offset_px", self.centre_offset_px, low=-50.0, high=50.0)
        for name in ("drift_px", "jitter_px"):
            check_range(name, getattr(self, name), low=0.0, high=20.0)
        check_range("angle_jitter_deg", self.angle_jitter_deg, low=0.0, high=10.0)


@dataclasses.dataclass(frozen=True)
class DetectorSettings:
    """The scintillator, the camera behind it, and what the flat fields do not take away.

    Parameters
    ----------
    blur_px : float or Law
        Standard deviation of the Gaussian blur by scintillator and optics. It acts on the photons counted and so
        makes their noise hang together, as in a real picture.
    read_noise : float or Law
        Standard deviation of the camera's own noise, in photons per projection.
    flats : float or Law
        Number of flat fields averaged; their noise becomes rings. 0 is a perfect flat field.
    ring : float or Law
        Standard deviation, over the detector's pixels, of the error that stays in the measured optical thickness at
        every angle.
    ring_width_px : float or Law
        Width of these faults: standard deviation of their Gaussian correlation; 0 is pixel by pixel.
    ring_drift : float or Law
        Part of a second set of faults, as strong as the first, that comes and goes during the scan, so that rings
        are stronger on one side; 0 is none.
    ring_nonlinear : float or Law
        Standard deviation of the pixels' response to optical thickness, relative to 1: rings that follow the sample.
    bad_pixels : float or Law
        Fraction of pixels, neither mended nor masked, that show one and the same value at every angle.
    """

    blur_px: float | Law = 0.5
    read_noise: float | Law = 0.0
    flats: float | Law = 0.0
    ring: float | Law = 0.0
    ring_width_px: float | Law = 0.0
    ring_drift: float | Law = 0.0
    ring_nonlinear: float | Law = 0.0
    bad_pixels: float | Law = 0.0

    def __post_init__(self) -> None:
        for name, high in (("blur_px", 20.0), ("read_noise", 1e9), ("flats", 1e6), ("ring", 10.0)):
            check_range(name, getattr(self, name), low=0.0, high=high)
        check_range("ring_width_px", self.ring_width_px, low=0.0, high=50.0)
        for name in ("ring_drift", "ring_nonlinear", "bad_pixels"):
            check_range(name, getattr(self, name), low=0.0, high=1.0)


@dataclasses.dataclass(frozen=True)
class ReconstructionSettings:
    """What the facility makes of the projections.

    Parameters
    ----------
    window : str or Law
        Window on the ramp filter: ``ramp`` (none), ``shepp-logan``, ``cosine``, ``hamming`` or ``hann``.
    cutoff : float or Law
        Frequency at which the window ends, relative to the detector's highest.
    retrieval_delta_beta : float or Law
        δ/β of Paganin's phase retrieval on the projections; 0 does without.
    """

    window: str | Law = "shepp-logan"
    cutoff: float | Law = 1.0
    retrieval_delta_beta: float | Law = 0.0

    def __post_init__(self) -> None:
        if any(not isinstance(window, str) or window not in FILTERS for window in _outcomes(self.window)):
            raise ValueError(
                f"window is {_given(self.window)!r}; give one of {', '.join(FILTERS)}, or a choice of them"
            )
        check_range("cutoff", self.cutoff, above=0.0, high=1.0)
        check_range("retrieval_delta_beta", self.retrieval_delta_beta, low=0.0, high=1e5)


@dataclasses.dataclass(frozen=True)
class GreySettings:
    """From attenuation to grey values.

    Parameters
    ----------
    scale : {"nominal", "percentile"}
        ``nominal`` spans the window from the attenuations in the settings, of which `below` and `above` say how much
        lies outside them, and so does not depend on what is in the volume. ``percentile`` takes the volume's own
        percentiles, as many viewers do.
    below, above : float or Law
        The window reaches that far beyond the smallest and the largest attenuation, in parts of their distance.
    percentiles : (float, float)
        Of the reconstructed values, which become 0 and 1.
    bits : int
        8, 16 or 32 bits a voxel in the file that the facility hands out; grey values are rounded to its steps (32 is
        not rounded).
    """

    scale: Literal["nominal", "percentile"] = "nominal"
    below: float | Law = 0.25
    above: float | Law = 0.15
    percentiles: tuple[float, float] = (0.2, 99.8)
    bits: int = 16

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"scale is {self.scale!r}; give one of {', '.join(SCALES)}")
        if self.bits not in DEPTHS:
            raise ValueError(f"bits is {self.bits!r}; give one of {', '.join(map(str, DEPTHS))}")
        for name in ("below", "above"):
            check_range(name, getattr(self, name), above=-0.5, high=100.0)
        given = self.percentiles
        pair = isinstance(given, tuple) and len(given) == 2 and all(isinstance(value, Real) for value in given)
        if not pair or not 0 <= given[0] < given[1] <= 100:
            raise ValueError(f"percentiles is {given!r}; give two numbers (low, high) from 0 to 100")


@dataclasses.dataclass(frozen=True)
class XraySettings:
    """One tomograph and one scan, or the laws from which they are drawn.

    Lengths are in pixels of the detector, of the size of an image voxel; attenuations are per image voxel.

    Parameters
    ----------
    attenuation : tuple of (float or Law)
        Linear attenuation μ of label 0, 1, 2, … per image voxel, in a thin sample. The last value serves all further
        labels.
    refraction : tuple of (float or Law), optional
        Refraction of each label as the attenuation that a phase of the same δ/β would have; without it the
        attenuations themselves, one δ/β for all (a "homogeneous" sample). The last value serves all further labels.
    scatter_share : tuple of (float or Law)
        Part of the attenuation of each label that does not depend on the photon energy (Compton scattering); the
        rest falls with its third power. The last value serves all further labels.
    mottle : float or Law
        Standard deviation of the density of the material from place to place, relative to 1: grain, cores of fibres,
        pores too fine to be seen. It multiplies attenuation and refraction of all labels.
    mottle_px : float or Law
        Size of these places: standard deviation of the Gaussian that the variations are blurred by; 0 is voxel by
        voxel.
    pixel_vox : int or Law
        Voxels of the structure along the side of an image voxel; what lies in it is averaged (partial volume).
    surroundings : {"reflect", "air"}
        ``reflect``: the box is a region in the middle of a round sample, in which the structure goes on by
        reflection. ``air``: the box stands free.
    beam, scan, detector, reconstruction, grey
        The groups of settings.
    """

    attenuation: tuple[float | Law, ...] = (0.0, 1.0e-3, 1.4e-3, 1.8e-3, 2.2e-3)
    refraction: tuple[float | Law, ...] | None = None
    scatter_share: tuple[float | Law, ...] = (0.3,)
    mottle: float | Law = 0.0
    mottle_px: float | Law = 2.0
    pixel_vox: int | Law = 1
    surroundings: Literal["reflect", "air"] = "reflect"
    beam: BeamSettings = BeamSettings()
    scan: ScanSettings = ScanSettings()
    detector: DetectorSettings = DetectorSettings()
    reconstruction: ReconstructionSettings = ReconstructionSettings()
    grey: GreySettings = GreySettings()

    def __post_init__(self) -> None:
        _check_tuple("attenuation", self.attenuation, high=10.0)
        if self.refraction is not None:
            _check_tuple("refraction", self.refraction, high=1e5)
        _check_tuple("scatter_share", self.scatter_share, high=1.0)
        if not any(isinstance(value, Law) for value in self.attenuation) and len(set(self.attenuation)) < 2:
            raise ValueError(f"attenuation is {self.attenuation!r}; give at least two labels that differ")
        check_range("mottle", self.mottle, low=0.0, high=1.0)
        check_range("mottle_px", self.mottle_px, low=0.0, high=20.0)
        _check_whole("pixel_vox", self.pixel_vox, high=MOST_VOXELS)
        if self.surroundings not in SURROUNDINGS:
            raise ValueError(f"surroundings is {self.surroundings!r}; give one of {', '.join(SURROUNDINGS)}")
        for name, group in GROUPS.items():
            if not isinstance(getattr(self, name), group):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give {group.__name__}(…)")


GROUPS: dict[str, type] = {
    "beam": BeamSettings,
    "scan": ScanSettings,
    "detector": DetectorSettings,
    "reconstruction": ReconstructionSettings,
    "grey": GreySettings,
}


def _check_whole(name: str, value: Any, *, high: float) -> None:
    check_range(name, value, low=1, high=high)
    if any(isinstance(outcome, bool) or not isinstance(outcome, Integral) for outcome in _outcomes(value)):
        raise ValueError(f"{name} is {_given(value)!r}; give a whole number, or a choice of whole numbers")


def _check_tuple(name: str, values: Any, *, high: float) -> None:
    if not isinstance(values, tuple) or not values:
        raise ValueError(f"{name} is {values!r}; give a tuple with a number for label 0, 1, …")
    for label, value in enumerate(values):
        check_range(f"{name}[{label}]", value, low=0.0, high=high)


def per_label(values: tuple[Any, ...], n_labels: int) -> list[float]:
    """Return a number for each label; the last one serves all further labels."""
    return [values[min(label, len(values) - 1)] for label in range(n_labels)]
