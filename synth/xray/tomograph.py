"""An X-ray tomograph: projections of a labelled volume, everything that goes wrong with them, and the slices again."""

import itertools
import math
from typing import Any

import numpy as np

from synth.laws import draw
from synth.microscope_image import MicroscopeImage
from synth.xray.beam import Mixture, blur_reach, mix_phases, retrieval_reach, shift_along_slices, transmit
from synth.xray.detector import Faults, detect, draw_faults
from synth.xray.filtering import filter_projections
from synth.xray.projector import back_project, in_parts, project, reflected
from synth.xray.sampling import coarse_shape, majority_labels, mix_slices, mottle
from synth.xray.scan import Scan, plan_scan
from synth.xray.settings import XraySettings
from volume import check_labels

__all__ = ["xray_ct", "xray_image"]

# Bytes of projections that are held at a time, and the fewest slices that are worth a pass.
PROJECTION_BYTES = 2**28
FEWEST_SLICES = 8
# Fringes fall off over a few pixels more than the longest wave vector carries them.
FRINGE_TAIL = 4
# Streams of random numbers; noise and grain have theirs by slice.
MOTION, FAULTS = 3, 4


def xray_ct(labels: Any, settings: XraySettings | None = None, *, rng: np.random.Generator | int) -> np.ndarray:
    """Image a structure as X-ray computed tomography does.

    Parameters
    ----------
    labels : array-like of integers, shape (Z, Y, X)
        0 is usually pore; what a label absorbs is in the settings. The axis of rotation is z, through the middle of
        the box.
    settings : XraySettings, optional
        The tomograph, one of `XRAY_PRESETS` for instance; without it the default one. Laws in it are drawn.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    ndarray of float32, shape (Z', Y', X')
        Grey values in [0, 1], the brighter the more a voxel absorbs. The shape is that of `labels`, divided by
        ``pixel_vox`` and rounded up.

    See Also
    --------
    xray_image : the same with exact labels, what was drawn, and what a correction should find.

    Notes
    -----
    The order is that of nature: the exact integral of each voxel along the beam over the width of each detector pixel
    (parallel beam; the sample may creep and shake), attenuation at each photon energy, Fresnel diffraction on the way
    to the detector, the penumbra of the source, counting of photons, the scintillator's blur, the camera's noise,
    faulty pixels; then, as at the facility, the logarithm, phase retrieval if wanted, filtered back-projection, a
    window and rounding to the file's bits. Slices are independent of each other but for diffraction, blur and the
    sample's movement along z. Beyond the ends of the box along z the structure is continued by reflection.
    The result does not depend on the number of threads.
    """
    return xray_image(labels, settings, rng=rng).grey


def xray_image(labels: Any, settings: XraySettings | None = None, *, rng: np.random.Generator | int) -> MicroscopeImage:
    """Image a structure as `xray_ct` does, with everything that is known about the image.

    Parameters
    ----------
    labels : array-like of integers, shape (Z, Y, X)
        As `xray_ct` takes them.
    settings : XraySettings, optional
        As `xray_ct` takes them.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    MicroscopeImage
        ``labels`` is the label of most voxels in each image voxel, the lowest of several. ``truth`` has

        - ``porosity``: fraction of label 0 in the box, in the structure's own voxels;
        - ``attenuation``: of each label per image voxel; ``window``: what became grey 0 and 1;
        - ``angles_deg``, shape (A,), the true ones; ``path_px``, shape (A, 3), the sample's displacement along z, y, x
          from the middle of the box, such that on average the slices show what is where ``labels`` say;
        - ``centre_offset_px`` and ``axis_px``, where the axis is thought to fall on the detector (pixel index);
        - ``ring_profile``, shape (Z', W): the lasting error of each detector pixel's optical thickness, and
          ``ring_drift``, shape (Z', W): what is added to it from the start of the scan to its end; a ring has the
          radius ``|pixel - axis_px|``;
        - ``bad_pixels``: list of (slice, pixel).

    Raises
    ------
    ValueError
        If labels are none, or settings are out of range.
    """
    labels = check_labels(labels)
    if settings is not None and not isinstance(settings, XraySettings):
        raise ValueError(f"settings are {settings!r}; give XraySettings, one of XRAY_PRESETS for instance, or None")
    rng = np.random.default_rng(rng)
    drawn: Any = draw(settings or XraySettings(), rng)
    seed = int(rng.integers(2**63))
    side = int(drawn.pixel_vox)
    shape = coarse_shape(labels.shape, side)
    halo = _halo(drawn)
    scan = plan_scan(shape[1:], drawn, reach=halo, rng=np.random.default_rng((seed, MOTION)))
    halo += math.ceil(np.abs(scan.path[:, 0]).max()) if scan.path.any() else 0
    faults = _draw_faults(shape[0] + 2 * halo, scan, drawn, seed)
    density = _reconstruct(labels, drawn, scan, faults=faults, halo=halo, seed=seed)
    window = _window(density, drawn)
    truth = {
        "porosity": float(np.mean(labels == 0)),
        "attenuation": list(drawn.attenuation),
        "window": list(window),
        **_scan_truth(scan, faults, slice(halo, halo + shape[0])),
    }
    grey = _to_grey(density, window, drawn.grey.bits)
    return MicroscopeImage(grey, majority_labels(labels, side), (float(side),) * 3, truth, drawn)


def _halo(settings: Any) -> int:
    """Return over how many pixels neighbours count, the sample's movement aside."""
    fresnel = settings.beam.fresnel_px2
    fringes = math.ceil(fresnel) + FRINGE_TAIL if fresnel > 0 else 0
    blurs = blur_reach(settings.beam.source_blur_px) + blur_reach(settings.detector.blur_px)
    return fringes + blurs + retrieval_reach(settings)


def _draw_faults(n_rows: int, scan: Scan, settings: Any, seed: int) -> Faults:
    full = max(settings.attenuation) * scan.width
    photons = settings.beam.scan_photons / len(scan.angles)
    rng = np.random.default_rng((seed, FAULTS))
    return draw_faults((n_rows, scan.width), settings.detector, photons=photons, full=full, rng=rng)


def _scan_truth(scan: Scan, faults: Faults, rows: slice) -> dict[str, Any]:
    return {
        "angles_deg": np.degrees(scan.true_angles),
        "path_px": scan.path,
        "centre_offset_px": scan.offset,
        "axis_px": (scan.width - 1) / 2,
        "ring_profile": faults.error[rows],
        "ring_drift": faults.wandering[rows],
        "bad_pixels": np.argwhere(~np.isnan(faults.stuck[rows])).tolist(),
    }


def _reconstruct(labels: np.ndarray, settings: Any, scan: Scan, *, faults: Faults, halo: int, seed: int) -> np.ndarray:
    """Return the attenuation that the facility finds, shape (Z', Y', X')."""
    shape = coarse_shape(labels.shape, int(settings.pixel_vox))
    mixture = mix_phases(settings, int(labels.max()) + 1)
    density = np.empty(shape, np.float32)
    for first, last in _passes(shape[0], scan, len(mixture.channels), halo):
        rows = np.arange(first, last + 2 * halo)
        relative = _mottle(shape[1:], settings, rows=rows, seed=seed)
        slices = reflected(shape[0], halo)[rows]
        thickness = _thickness(labels, mixture, settings, scan=scan, slices=slices, relative=relative)
        part = Faults(*(array[rows] for array in vars(faults).values()))
        photons = settings.beam.scan_photons / len(scan.angles)
        found = detect(transmit(thickness, mixture, settings), part, settings, photons=photons, rows=rows, seed=seed)
        kept = np.ascontiguousarray(found[..., halo : len(rows) - halo])
        del thickness, found
        filter_projections(
            kept, scan.weights, window=settings.reconstruction.window, cutoff=settings.reconstruction.cutoff
        )
        density[first:last] = back_project(kept, scan.angles, shape=shape[1:]).transpose(2, 0, 1)
    return density


def _passes(n_slices: int, scan: Scan, n_channels: int, halo: int) -> list[tuple[int, int]]:
    """Divide the slices into ranges whose projections fit into memory."""
    bytes_each = 4 * len(scan.angles) * scan.width * (n_channels + 1)
    most = max(FEWEST_SLICES, PROJECTION_BYTES // bytes_each - 2 * halo, halo)
    edges = np.linspace(0, n_slices, math.ceil(n_slices / most) + 1).astype(int).tolist()
    return list(itertools.pairwise(edges))


def _mottle(plane: tuple[int, int], settings: Any, *, rows: np.ndarray, seed: int) -> np.ndarray | None:
    if settings.mottle == 0:
        return None
    return mottle(plane, rows, strength=settings.mottle, sigma=settings.mottle_px, seed=seed)


def _thickness(
    labels: np.ndarray,
    mixture: Mixture,
    settings: Any,
    *,
    scan: Scan,
    slices: np.ndarray,
    relative: np.ndarray | None,
) -> np.ndarray:
    """Return the projections of the channels of some slices, of this relative density, shape (c, A, W, n)."""
    thickness = np.empty((len(mixture.channels), len(scan.angles), scan.width, len(slices)), np.float32)
    for channel, values in enumerate(mixture.channels):
        image = mix_slices(labels, values, slices, pixel_vox=int(settings.pixel_vox))
        if relative is not None:
            image *= relative
        thickness[channel] = project(image, scan.sample, scan.true_angles, width=scan.width, shifts=scan.shifts)
    along_z = scan.path[:, 0]
    if along_z.any():
        for channel in thickness:
            in_parts(lambda part, c=channel: shift_along_slices(c[part], along_z[part]), len(along_z))  # type: ignore[misc]
    return thickness


def _window(density: np.ndarray, settings: Any) -> tuple[float, float]:
    grey = settings.grey
    if grey.scale == "percentile":
        low, high = np.percentile(density, grey.percentiles).tolist()
        # A volume of one value has no contrast to stretch.
        return (low, high) if high > low else (low - 0.5, low + 0.5)
    low, high = min(settings.attenuation), max(settings.attenuation)
    return low - grey.below * (high - low), high + grey.above * (high - low)


def _to_grey(density: np.ndarray, window: tuple[float, float], bits: int) -> np.ndarray:
    low, high = window
    density -= np.float32(low)
    density *= np.float32(1 / (high - low))
    np.clip(density, 0, 1, out=density)
    if bits < 32:
        steps = np.float32(2**bits - 1)
        np.rint(density * steps, out=density)
        density /= steps
    return density
