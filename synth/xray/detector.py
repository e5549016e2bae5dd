"""From photons to the optical thickness that the facility works with: counting, blur, noise, faulty pixels."""

import dataclasses
from typing import Any

import numpy as np
from scipy import ndimage

from synth.threads import in_threads
from synth.xray.beam import blur, blur_reach, retrieve
from synth.xray.projector import in_parts
from synth.xray.sampling import TRUNCATE, blur_gain

__all__ = ["Faults", "detect", "draw_faults"]

# Photons that a pixel is taken to have counted at the least: the logarithm of 0 has no meaning.
FEWEST = 0.5
COUNTING, READING = 1, 2


@dataclasses.dataclass(frozen=True)
class Faults:
    """What is wrong with the detector's pixels; each array has the shape (rows, W).

    Parameters
    ----------
    error : ndarray of float32
        Added to the optical thickness at every angle.
    wandering : ndarray of float32
        Added on top times (time - 1/2), the time running from 0 to 1 over the scan.
    response : ndarray of float32
        Factor of the optical thickness.
    stuck : ndarray of float32
        What a bad pixel always shows; nan for all others.
    """

    error: np.ndarray
    wandering: np.ndarray
    response: np.ndarray
    stuck: np.ndarray


def draw_faults(
    shape: tuple[int, int], settings: Any, *, photons: float, full: float, rng: np.random.Generator
) -> Faults:
    """Draw the faults of a detector.

    Parameters
    ----------
    shape : (int, int)
        Rows (slices) and pixels in a row.
    settings : DetectorSettings
        Without laws.
    photons : float
        Photons per pixel and projection in the flat field.
    full : float
        Optical thickness up to which bad pixels show values.
    rng : Generator
        Source of randomness.
    """
    static, wandering, response = (_fluctuation(shape, settings.ring_width_px, rng) for _ in range(3))
    error = settings.ring * static
    flat = rng.standard_normal(shape, dtype=np.float32)
    if settings.flats > 0:
        error = error + flat / np.sqrt(settings.flats * photons, dtype=np.float32)
    chance, value = rng.random(shape), rng.uniform(0, full, shape)
    stuck = np.where(chance < settings.bad_pixels, value, np.nan)
    return Faults(
        error.astype(np.float32),
        np.float32(settings.ring * settings.ring_drift) * wandering,
        1 + np.float32(settings.ring_nonlinear) * response,
        stuck.astype(np.float32),
    )


def _fluctuation(shape: tuple[int, int], width: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise of the mean 0 and the deviation 1, blurred to `width`, in any row as in any other."""
    reach = blur_reach(width)
    noise = rng.standard_normal([n + 2 * reach for n in shape], dtype=np.float32)
    if width == 0:
        return noise
    noise = ndimage.gaussian_filter(noise, width, truncate=TRUNCATE) * blur_gain(width)
    return noise[tuple(slice(reach, n - reach) for n in noise.shape)]


def detect(
    intensity: np.ndarray, faults: Faults, settings: Any, *, photons: float, rows: np.ndarray, seed: int
) -> np.ndarray:
    """Return the optical thickness that the detector reports and phase retrieval makes of it.

    Parameters
    ----------
    intensity : ndarray of float32, shape (A, W, n)
        Relative to the beam without a sample; it is overwritten.
    faults : Faults
        Of these rows.
    settings : XraySettings
        Without laws.
    photons : float
        Photons per pixel and projection at the intensity 1.
    rows : ndarray of int, shape (n,)
        Numbers of the detector's rows, 0 or more; the noise in a row depends on `seed` and its number alone.
    seed : int
        Decides the noise.

    Returns
    -------
    ndarray of float32, shape (A, W, n)
    """

    def count(k: int) -> None:
        rng = np.random.default_rng((seed, COUNTING, int(rows[k])))
        intensity[..., k] = rng.poisson(photons * np.maximum(intensity[..., k], 0, dtype=np.float64)) / photons

    def read(k: int) -> None:
        rng = np.random.default_rng((seed, READING, int(rows[k])))
        noise = rng.standard_normal(intensity.shape[:2], dtype=np.float32)
        intensity[..., k] += np.float32(settings.detector.read_noise / photons) * noise

    def convert(part: slice) -> None:
        time = (np.arange(part.start, part.stop, dtype=np.float32) + 0.5) / len(intensity) - 0.5
        intensity[part] = _thickness(intensity[part], faults, settings, time=time, darkest=FEWEST / photons)

    in_threads(count, range(len(rows)))
    in_parts(lambda part: blur(intensity[part], settings.detector.blur_px), len(intensity))
    if settings.detector.read_noise > 0:
        in_threads(read, range(len(rows)))
    in_parts(convert, len(intensity))
    return intensity


def _thickness(intensity: np.ndarray, faults: Faults, settings: Any, *, time: np.ndarray, darkest: float) -> np.ndarray:
    thickness = -np.log(np.maximum(intensity, np.float32(darkest)))
    thickness *= faults.response.T
    thickness += faults.error.T + time[:, None, None] * faults.wandering.T
    np.copyto(thickness, faults.stuck.T, where=~np.isnan(faults.stuck.T))
    if settings.reconstruction.retrieval_delta_beta * settings.beam.fresnel_px2 > 0:
        thickness = -np.log(np.maximum(retrieve(np.exp(-thickness), settings), np.float32(darkest)))
    return thickness
