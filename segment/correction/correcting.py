"""The one call that finds what a microscope did to a stack, undoes what is certain, and says what it did."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from segment.correction.background import estimate_background, undo_background
from segment.correction.drift import common_area, estimate_drift, register
from segment.correction.faces import check_stack
from segment.correction.gain import estimate_gain, undo_gain
from segment.correction.intensity import equalise, equalise_locally, normalise, stretch
from segment.correction.region import find_region
from segment.correction.sighting import sight
from segment.correction.stripes import estimate_stripes, stripe_spectrum, undo_stripes
from segment.correction.tilt import TiltEstimate, check_anisotropy, estimate_tilt, undo_foreshortening
from volume import Volume
from volume.voxel_size import VoxelSize

__all__ = ["STEPS", "Corrected", "CorrectionReport", "CorrectionSettings", "StepReport", "correct"]

Switch = Literal["auto", "on", "off"]
STEPS = ("region", "gain", "background", "stripes", "drift", "foreshortening")
CONTRASTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "stretch": stretch,
    "equalise": equalise,
    "equalise_locally": equalise_locally,
    "normalise": normalise,
}
LEAST_SLICES, LEAST_MARGIN_PX = 8, 4
SMALLEST_PX = 48
# Stretching at a few degrees would blur every row for a change of height within the voxel size's own error.
LEAST_TILT_DEG = 5.0
STRIPE_ANGLE_DEG, OTHER_ANGLES_DEG = 2.0, (20.0, 70.0)
SAME_SIZE = 0.02


@dataclasses.dataclass(frozen=True)
class CorrectionSettings:
    """Which steps may act. ``auto`` acts where the finding is significant, ``on`` always, ``off`` never.

    True and False are taken for ``on`` and ``off``, as YAML reads them.

    Parameters
    ----------
    region : {"auto", "on", "off"}
        Crop empty surroundings of the milled face, and after registration what not every slice shows.
    gain : {"auto", "on", "off"}
        Brightness and contrast from slice to slice.
    background : {"auto", "on", "off"}
        Uneven brightness over the slices.
    stripes : {"auto", "on", "off"}
        Curtains.
    drift : {"auto", "on", "off"}
        Shift of the slices against each other.
    foreshortening : {"auto", "on", "off"}
        Heights squeezed by a tilted view.
    contrast : {"off", "stretch", "equalise", "equalise_locally", "normalise"}
        What to do with the range of grey values at the end. Networks of this project normalise by themselves.
    background_degree : int
        Of the background's polynomial, 1 to 5.
    tilt_deg : float, optional
        The angle between the face's normal and the view, where it is known; it is used as it is.
    anisotropy : float, optional
        How far the structure may differ along y and x, relative, as one standard error: 0 for one that is alike in all
        directions. Then its squeezing helps to tell the tilt from drift, as in `estimate_tilt`.
    """

    region: Switch | bool = "auto"
    gain: Switch | bool = "auto"
    background: Switch | bool = "auto"
    stripes: Switch | bool = "auto"
    drift: Switch | bool = "auto"
    foreshortening: Switch | bool = "auto"
    contrast: Literal["off", "stretch", "equalise", "equalise_locally", "normalise"] | bool = "off"
    background_degree: int = 3
    tilt_deg: float | None = None
    anisotropy: float | None = None

    def __post_init__(self) -> None:
        for name in (*STEPS, "contrast"):
            # YAML reads a bare on or off as true or false.
            if isinstance(getattr(self, name), bool):
                object.__setattr__(self, name, "on" if getattr(self, name) else "off")
        for name in STEPS:
            if getattr(self, name) not in ("auto", "on", "off"):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give 'auto', 'on' or 'off'")
        if self.contrast not in ("off", *CONTRASTS):
            raise ValueError(f"contrast is {self.contrast!r}; give 'off' or one of {', '.join(CONTRASTS)}")
        if not isinstance(self.background_degree, int) or not 1 <= self.background_degree <= 5:
            raise ValueError(f"background_degree is {self.background_degree!r}; give a whole number from 1 to 5")
        tilt = self.tilt_deg
        if tilt is not None and not (isinstance(tilt, int | float) and 0 <= tilt <= 87):
            raise ValueError(f"tilt_deg is {tilt!r}; give an angle from 0 to 87 degrees, or None to have it estimated")
        check_anisotropy(self.anisotropy)


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What one step found and did.

    Parameters
    ----------
    name, setting : str
        The step and how it was set.
    applied : bool
        Whether the stack was changed.
    reason : str
        Why, in a sentence.
    found : dict
        What was measured, with uncertainties; numbers, lists and text.
    measure : str
        What `before` and `after` are.
    before, after : float or None
        That measure of the stack before and after the step; None where the step did not act or cannot be measured.
    """

    name: str
    setting: str
    applied: bool
    reason: str
    found: dict[str, Any] = dataclasses.field(default_factory=dict)
    measure: str = ""
    before: float | None = None
    after: float | None = None


@dataclasses.dataclass(frozen=True)
class CorrectionReport:
    """What `correct` found and did.

    Parameters
    ----------
    steps : tuple of StepReport
        In order.
    shape_before, shape_after : (int, int, int)
        Of the stack (z, y, x).
    voxel_size_um : (float, float, float) or None
        Of the corrected stack.
    slice_px : float
        Distance between slices, in pixels along x, that was used.
    """

    steps: tuple[StepReport, ...]
    shape_before: tuple[int, int, int]
    shape_after: tuple[int, int, int]
    voxel_size_um: tuple[float, float, float] | None
    slice_px: float

    @property
    def untouched(self) -> bool:
        """Whether no step changed the stack."""
        return not any(step.applied for step in self.steps)

    def __getitem__(self, name: str) -> StepReport:
        return next(step for step in self.steps if step.name == name)


@dataclasses.dataclass(frozen=True, eq=False)
class Corrected:
    """A corrected stack and what was done to it.

    Parameters
    ----------
    stack : ndarray or Volume
        As the stack came, of the same dtype; where no step acted, that very object. ``contrast="normalise"`` gives
        float32.
    report : CorrectionReport
    """

    stack: Any
    report: CorrectionReport

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = np.asarray(self.stack)
        array = array if dtype is None else array.astype(dtype, copy=False)
        return array.copy() if copy else array


def correct(stack: Any, settings: CorrectionSettings | None = None, *, slice_px: float | None = None) -> Corrected:
    """Find and undo what a FIB-SEM did to a stack: surroundings, gain, background, stripes, drift, foreshortening.

    Parameters
    ----------
    stack : array-like or Volume, shape (Z, Y, X)
        Grey values, whole or floating-point numbers; z is the slicing direction, the ion beam runs along +y.
    settings : CorrectionSettings, optional
        By default every step acts where its finding is significant.
    slice_px : float, optional
        Distance between slices, in pixels along x; by default what a Volume's voxel size says, else 1.

    Returns
    -------
    Corrected

    Raises
    ------
    ValueError
        If the stack is no grey volume or smaller than 1 × 48 × 48, or a number is out of range.

    Notes
    -----
    The order is: region, gain, background, stripes, drift, foreshortening, the region that all slices show, contrast.
    Grey values are carried in single precision between the steps and rounded once, at the end, to the type that
    came. Steps that need more slices than there are do not act and say so.

    A Volume's voxel size is kept as long as its pixels are square: a camera's picture states the same size for both
    sides, and the stretched one makes that true. A y size that already differs from x is divided like the rows.
    """
    settings = settings or CorrectionSettings()
    array = check_stack(stack.array if isinstance(stack, Volume) else stack, least=(1, SMALLEST_PX, SMALLEST_PX))
    size = stack.voxel_size_um if isinstance(stack, Volume) else None
    if slice_px is None:
        slice_px = size[0] / size[2] if size else 1.0
    elif isinstance(slice_px, bool) or not isinstance(slice_px, int | float | np.number) or not 0 < slice_px < math.inf:
        raise ValueError(f"slice_px is {slice_px!r}; give a positive number of pixels between slices")
    work = _Work(array, settings, float(slice_px))
    for name in STEPS:
        off = getattr(settings, name) == "off"
        work.steps.append(StepReport(name, "off", False, "turned off") if off else RUN[name](work))
    work.steps.append(_contrast(str(settings.contrast)))
    result = _as_type(work.array, array.dtype)
    if settings.contrast != "off":
        result = CONTRASTS[str(settings.contrast)](result)
    size = _size_after(size, work.heightened)
    report = CorrectionReport(tuple(work.steps), _shape(array), _shape(result), size, float(slice_px))
    if report.untouched:
        return Corrected(stack if isinstance(stack, Volume | np.ndarray) else array, report)
    return Corrected(Volume(result, size) if isinstance(stack, Volume) else result, report)


class _Work:
    """The stack between the steps."""

    def __init__(self, array: np.ndarray, settings: CorrectionSettings, slice_px: float) -> None:
        self.array, self.settings, self.slice_px = array, settings, slice_px
        self.steps: list[StepReport] = []
        self.heightened = 1.0
        self.tilt: TiltEstimate | None = None

    def act(self, name: str, found: bool) -> bool:
        setting = getattr(self.settings, name)
        return setting == "on" or (setting == "auto" and found)


def _region(work: _Work) -> StepReport:
    region = find_region(work.array)
    inner = region.crop(work.array)
    margins = {axis: list(pair) for axis, pair in region.evidence["margins_px"].items()}
    # A row or two of plain material at the border look like surroundings.
    found = region.found and max(map(max, margins.values())) >= LEAST_MARGIN_PX
    applied = work.act("region", found) and min(inner.shape[1:]) >= SMALLEST_PX and inner.size < work.array.size
    share = inner.size / work.array.size
    reason = region.evidence["verdict"]
    if region.found:
        reason += "; cropped" if applied else f"; fewer than {LEAST_MARGIN_PX} pixels, left alone"
    if applied:
        work.array = inner
    return StepReport(
        "region", str(work.settings.region), applied, reason, {"margins_px": margins},
        "share of the picture that shows the sample", share, 1.0 if applied else None,
    )  # fmt: skip


def _gain(work: _Work) -> StepReport:
    setting, measure = str(work.settings.gain), "rms shift of the faces' brightness"
    if len(work.array) < 2:
        return StepReport("gain", setting, False, "one slice has no neighbour to be compared with")
    # Levels are sharper where the background is even; it is not yet to be changed.
    uneven = work.settings.background != "off" and estimate_background(work.array)
    estimate = estimate_gain(undo_background(work.array, uneven.field) if uneven and uneven.found else work.array)
    found = {
        "rms": estimate.rms, "standard_error": estimate.standard_error, "p_value": estimate.p_value,
        "gain": estimate.gain.tolist(), "offset": estimate.offset.tolist(),
    }  # fmt: skip
    after = None
    if applied := work.act("gain", estimate.found):
        work.array = undo_gain(work.array, estimate.gain, estimate.offset)
        after = estimate_gain(work.array).rms
    reason = _reason(applied, estimate.found, "the slices' brightness differs", f"{estimate.rms:.2%} rms")
    return StepReport("gain", setting, applied, reason, found, measure, estimate.rms, after)


def _background(work: _Work) -> StepReport:
    setting, measure = str(work.settings.background), "rms unevenness of the brightness"
    estimate = estimate_background(work.array, degree=work.settings.background_degree)
    found = {
        "rms": estimate.rms, "standard_error": estimate.standard_error, "p_value": estimate.p_value,
        "lowest": float(estimate.field.min()), "highest": float(estimate.field.max()),
    }  # fmt: skip
    after = None
    if applied := work.act("background", estimate.found):
        work.array = undo_background(work.array, estimate.field)
        after = estimate_background(work.array, degree=work.settings.background_degree).rms
    reason = _reason(applied, estimate.found, "the slices are unevenly bright", f"{estimate.rms:.2%} rms")
    return StepReport("background", setting, applied, reason, found, measure, estimate.rms, after)


def _stripes(work: _Work) -> StepReport:
    setting, measure = str(work.settings.stripes), "power across the stripes over that in other directions / dB"
    estimate = estimate_stripes(work.array, force=setting == "on")
    names = ("rms", "angle_deg", "length_px", "width_px", "persistence_slices", "in_pores", "score")
    found = {name: getattr(estimate, name) for name in names}
    before, after = _stripe_excess_db(work.array, estimate.angle_deg), None
    if applied := work.act("stripes", estimate.found) and bool(estimate.field.any()):
        work.array = undo_stripes(work.array, estimate.field)
        after = _stripe_excess_db(work.array, estimate.angle_deg)
    extent = f"{estimate.rms:.2%} rms, {estimate.angle_deg:+.1f}° from +y" if estimate.rms else "none"
    reason = _reason(applied, estimate.found, "there are stripes along the beam", extent)
    return StepReport("stripes", setting, applied, reason, found, measure, before, after)


def _stripe_excess_db(array: np.ndarray, angle_deg: float) -> float:
    angles, power = stripe_spectrum(array)
    other = power[(np.abs(angles) > OTHER_ANGLES_DEG[0]) & (np.abs(angles) < OTHER_ANGLES_DEG[1])]
    near = power[np.abs(angles - angle_deg) <= STRIPE_ANGLE_DEG]
    return float(10 * np.log10(max(float(near.max()), 1e-30) / max(float(np.median(other)), 1e-30)))


def _drift(work: _Work) -> StepReport:
    setting, measure = str(work.settings.drift), "rms shift / px"
    if len(work.array) < LEAST_SLICES:
        return StepReport("drift", setting, False, f"drift needs {LEAST_SLICES} slices or more")
    # Both are measured on one stack: registration takes away what the parallax tells of the tilt.
    seen = sight(work.array, slice_px=work.slice_px)
    likeness = work.settings.anisotropy
    work.tilt = estimate_tilt(work.array, slice_px=work.slice_px, anisotropy=likeness, sighting=seen)
    tilt = work.settings.tilt_deg
    if tilt is None and likeness is not None and work.tilt.found:
        tilt = work.tilt.tilt_deg
    parallax = None if tilt is None else work.slice_px * math.sin(math.radians(tilt))
    estimate = estimate_drift(work.array, slice_px=work.slice_px, parallax_px=parallax, sighting=seen)
    error = float(np.sqrt(np.mean(estimate.standard_error_px**2)))
    rms = float(np.sqrt(np.mean(estimate.path_px**2)))
    found = {
        "rms_px": rms, "standard_error_px": error, "steady_px": estimate.steady_px,
        "steady_error_px": estimate.steady_error_px, "path_px": estimate.path_px.tolist(),
        "outliers": estimate.outliers.tolist(),
    }  # fmt: skip
    reason = estimate.evidence["verdict"]
    rows, columns = common_area(work.array.shape, estimate.path_px)
    small = min(rows.stop - rows.start, columns.stop - columns.start) < SMALLEST_PX
    applied = work.act("drift", estimate.found) and rms > 0 and not small
    if applied:
        work.array = register(work.array, estimate.path_px)
        if work.settings.region != "off":
            work.array = work.array[:, rows, columns]
            reason += "; cropped to what all slices show"
    elif small:
        reason += f"; left alone, for all slices share less than {SMALLEST_PX} pixels"
    return StepReport("drift", setting, applied, reason, found, measure, rms, error if applied else None)


def _foreshortening(work: _Work) -> StepReport:
    setting, known = str(work.settings.foreshortening), work.settings.tilt_deg
    if known is None and work.tilt is None and len(work.array) < LEAST_SLICES:
        return StepReport("foreshortening", setting, False, f"the tilt needs {LEAST_SLICES} slices or more")
    if known is None:
        estimate = work.tilt or estimate_tilt(work.array, slice_px=work.slice_px, anisotropy=work.settings.anisotropy)
        tilt, error, is_found, reason = (
            estimate.tilt_deg, estimate.standard_error_deg, estimate.found, estimate.evidence["verdict"],
        )  # fmt: skip
    else:
        tilt, error, is_found, reason = float(known), 0.0, known > 0, "the tilt was given"
    found = {"tilt_deg": tilt, "standard_error_deg": error if math.isfinite(error) else None}
    applied = work.act("foreshortening", is_found and (known is not None or tilt >= LEAST_TILT_DEG)) and tilt > 0
    before = math.cos(math.radians(tilt))
    if applied:
        rows = work.array.shape[1]
        work.array = undo_foreshortening(work.array, tilt)
        work.heightened = work.array.shape[1] / rows
    measure = "height of a square in its width"
    return StepReport("foreshortening", setting, applied, reason, found, measure, before, 1.0 if applied else None)


def _reason(applied: bool, found: bool, what: str, extent: str) -> str:
    if applied:
        return f"{what}: {extent}" if found else f"asked for, though not significant ({extent})"
    return f"left alone as asked, though {what}: {extent}" if found else f"nothing significant ({extent})"


def _contrast(name: str) -> StepReport:
    reason = "not asked for" if name == "off" else f"asked for: {name}"
    return StepReport("contrast", name, name != "off", reason)


def _shape(array: np.ndarray) -> tuple[int, int, int]:
    z, y, x = array.shape
    return z, y, x


def _as_type(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return `array` as the type that came; whole numbers are rounded and kept within what the type holds."""
    if dtype.kind == "f" or array.dtype == dtype:
        return array.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    result = np.empty(array.shape, dtype)
    for out, image in zip(result, array, strict=True):
        # The largest single-precision number of a wide type lies beyond it.
        wide = np.clip(np.rint(image.astype(np.float64)), limits.min, limits.max)
        out[:] = wide.astype(dtype)
    return result


def _size_after(size: VoxelSize | None, heightened: float) -> VoxelSize | None:
    if size is None or abs(size[1] / size[2] - 1) <= SAME_SIZE:
        return size
    return size[0], size[1] / heightened, size[2]


RUN: dict[str, Callable[[_Work], StepReport]] = {
    "region": _region,
    "gain": _gain,
    "background": _background,
    "stripes": _stripes,
    "drift": _drift,
    "foreshortening": _foreshortening,
}
