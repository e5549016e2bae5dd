"""From the sample to the photons that reach the detector: attenuation, beam hardening, in-line phase contrast."""

import dataclasses
import math
from typing import Any

import numba
import numpy as np
from scipy import fft, ndimage

from synth.xray.projector import in_parts
from synth.xray.sampling import TRUNCATE
from synth.xray.settings import per_label

__all__ = [
    "Mixture", "blur", "blur_reach", "mix_phases", "retrieval_reach", "retrieve", "shift_along_slices", "transmit",
]  # fmt: skip

N_ENERGIES = 5
# Kernel of the phase retrieval: kept to so many decay lengths, and to so many pixels at most.
DECAYS, FARTHEST = 4.0, 48
SAME = 1e-6
# Below this optical thickness, absorption is the thickness itself.
THIN = 1e-7


@dataclasses.dataclass(frozen=True)
class Mixture:
    """What must be projected of a sample so that everything else follows.

    Parameters
    ----------
    channels : ndarray of float64, shape (c, n_labels)
        Value of each label in each of the volumes to project: as few as are linearly independent.
    attenuation : ndarray of float64, shape (e, c)
        Optical thickness at each photon energy, from the channels.
    weights : ndarray of float64, shape (e,)
        Share of the photons that have each energy.
    refraction : ndarray of float64, shape (c,) or None
        The projected refraction, times δ/β, from the channels.
    """

    channels: np.ndarray
    attenuation: np.ndarray
    weights: np.ndarray
    refraction: np.ndarray | None


def mix_phases(settings: Any, n_labels: int) -> Mixture:
    """Return what to project of `n_labels` phases.

    Notes
    -----
    The spectrum is lognormal about the energy 1, taken at 5 Gauss–Hermite points. A phase's attenuation is
    ``μ (s + (1 - s) E**-3) / mean``, with its share s of scattering, so that it is μ in a thin sample [1]_.

    References
    ----------
    .. [1] R. E. Alvarez, A. Macovski, Energy-selective reconstructions in X-ray computerized tomography, Phys. Med.
       Biol. 21 (1976) 733.
    """
    attenuation = np.array(per_label(settings.attenuation, n_labels))
    share = np.array(per_label(settings.scatter_share, n_labels))
    nodes, weights = np.polynomial.hermite.hermgauss(N_ENERGIES if settings.beam.bandwidth > 0 else 1)
    energies = np.exp(math.sqrt(2) * settings.beam.bandwidth * nodes)
    weights = weights / weights.sum()
    relative = share + (1 - share) * energies[:, None] ** -3.0
    rows = attenuation * relative / (weights @ relative)
    phase = settings.beam.fresnel_px2 > 0
    if phase:
        bent = per_label(settings.refraction or settings.attenuation, n_labels)
        rows = np.vstack([rows, settings.beam.delta_beta * np.array(bent)])
    left, sizes, right = np.linalg.svd(rows, full_matrices=False)
    rank = max(1, int(np.count_nonzero(sizes > SAME * sizes[0])))
    left = left[:, :rank] * sizes[:rank]
    return Mixture(right[:rank], left[: len(weights)], weights, left[-1] if phase else None)


def transmit(thickness: np.ndarray, mixture: Mixture, settings: Any) -> np.ndarray:
    """Return the intensity on the detector, relative to the beam without a sample.

    Parameters
    ----------
    thickness : ndarray of float32, shape (c, A, W, Z)
        Projections of the channels; the slices along the last axis. It is overwritten.
    mixture : Mixture
        What the channels mean.
    settings : XraySettings
        Without laws.

    Returns
    -------
    ndarray of float32, shape (A, W, Z)

    Notes
    -----
    Without diffraction a pixel gets ``1 - c`` with ``c = 1 - exp(-p)``, averaged over the photon energies. On the way
    to the detector it becomes ``1 - F^-1[cos(χ) F(c) + (δ/β) sin(χ) F(d c / p)]``, with the projected refraction d
    and ``χ = π λR f²`` at the frequency f: the contrast transfer function [1]_. For wide fringes and one material it
    is the transport of intensity, and `retrieve` undoes it exactly. No photon is lost or won.

    References
    ----------
    .. [1] J. P. Guigay, Fourier transform analysis of Fresnel diffraction patterns and in-line holograms, Optik 49
       (1977) 121.
    """
    intensity = thickness[0]

    def work(part: slice) -> None:
        intensity[part] = _intensity(thickness[:, part], mixture, settings.beam.fresnel_px2)
        blur(intensity[part], settings.beam.source_blur_px)

    in_parts(work, intensity.shape[0])
    return intensity


def _intensity(thickness: np.ndarray, mixture: Mixture, fresnel: float) -> np.ndarray:
    contrast, bent = np.zeros((2, *thickness.shape[1:]), np.float32)
    for row, weight in zip(mixture.attenuation, mixture.weights, strict=True):
        optical = _combine(row, thickness)
        lost = -np.float32(weight) * np.expm1(-optical)
        contrast += lost
        if mixture.refraction is not None:
            bent += np.divide(lost, optical, out=np.full_like(lost, weight), where=optical > THIN)
    if mixture.refraction is None:
        return 1 - contrast
    bent *= _combine(mixture.refraction, thickness)
    sizes = [fft.next_fast_len(n, real=True) for n in contrast.shape[1:]]
    chi = math.pi * fresnel * squared_frequency(sizes)
    spectrum = np.cos(chi) * fft.rfft2(contrast, s=sizes, axes=(1, 2))
    spectrum += np.sin(chi) * fft.rfft2(bent, s=sizes, axes=(1, 2))
    return 1 - fft.irfft2(spectrum, s=sizes, axes=(1, 2))[:, : contrast.shape[1], : contrast.shape[2]]


def _combine(row: np.ndarray, channels: Any) -> np.ndarray:
    return sum(np.float32(factor) * channel for factor, channel in zip(row, channels, strict=True))


def retrieval_reach(settings: Any) -> int:
    """Return how many pixels the kernel of the phase retrieval reaches."""
    length = math.sqrt(settings.reconstruction.retrieval_delta_beta * settings.beam.fresnel_px2 / (4 * math.pi))
    return min(FARTHEST, math.ceil(DECAYS * length))


def retrieve(intensity: np.ndarray, settings: Any) -> np.ndarray:
    """Return the intensity of the same sample in contact, by Paganin's filter for one material.

    Parameters
    ----------
    intensity : ndarray of float32, shape (A, W, Z)
        1 beside the sample.
    settings : XraySettings
        Without laws.

    References
    ----------
    .. [1] D. Paganin et al., Simultaneous phase and amplitude extraction from a single defocused image of a
       homogeneous object, J. Microsc. 206 (2002) 33, equation 10.
    """
    sizes = [fft.next_fast_len(n, real=True) for n in intensity.shape[1:]]
    strength = math.pi * settings.reconstruction.retrieval_delta_beta * settings.beam.fresnel_px2
    gain = 1 / (1 + strength * squared_frequency(sizes))
    spectrum = gain * fft.rfft2(intensity - 1, s=sizes, axes=(1, 2))
    return 1 + fft.irfft2(spectrum, s=sizes, axes=(1, 2))[:, : intensity.shape[1], : intensity.shape[2]]


def squared_frequency(sizes: list[int]) -> np.ndarray:
    """Return f² (cycles per pixel) of the spectra that ``rfft2`` gives, as differences of the fourth order see it.

    Plain f² has a kink at the highest frequency, and so a kernel without an end: fringes would cross the whole
    picture, and depend on where it ends.
    """
    rows, columns = (1 - np.cos(2 * math.pi * f) for f in (fft.fftfreq(sizes[0]), fft.rfftfreq(sizes[1])))
    rows, columns = (c * (1 + c / 6) / (2 * math.pi**2) for c in (rows, columns))
    return (rows[:, None] + columns).astype(np.float32)


def blur(pictures: np.ndarray, sigma: float) -> None:
    """Blur pictures, shape (A, W, Z), by a Gaussian along their last two axes, in place."""
    if sigma > 0:
        for axis in (1, 2):
            ndimage.gaussian_filter1d(pictures, sigma, axis=axis, output=pictures, mode="nearest", truncate=TRUNCATE)


def blur_reach(sigma: float) -> int:
    """Return how many pixels `blur` reaches."""
    return int(TRUNCATE * sigma + 0.5)


@numba.njit(cache=True, nogil=True)
def shift_along_slices(pictures: Any, shifts: Any) -> None:
    """Move pictures, shape (A, W, Z), by `shifts` slices along the last axis: each pixel sees parts of two voxels."""
    n_angles, width, nz = pictures.shape
    line = np.empty(nz, np.float32)
    for a in range(n_angles):
        whole = int(np.floor(-shifts[a]))
        part = np.float32(-shifts[a] - whole)
        for w in range(width):
            line[:] = pictures[a, w]
            for k in range(nz):
                i = min(max(k + whole, 0), nz - 1)
                j = min(max(k + whole + 1, 0), nz - 1)
                pictures[a, w, k] = (np.float32(1.0) - part) * line[i] + part * line[j]
