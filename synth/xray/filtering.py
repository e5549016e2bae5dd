"""The ramp filter of filtered back-projection, and its windows."""

import math

import numpy as np
from scipy import fft

from synth.xray.projector import in_parts

__all__ = ["filter_projections", "ramp_response"]


def ramp_response(size: int, *, window: str, cutoff: float) -> np.ndarray:
    """Return the response of the ramp filter for signals of `size` samples, padding included.

    Parameters
    ----------
    size : int
        Even or odd; at least twice the width of the detector, so that its ends do not meet.
    window : str
        ``ramp``, ``shepp-logan``, ``cosine``, ``hamming`` or ``hann``.
    cutoff : float
        End of the window relative to the highest frequency.

    Returns
    -------
    ndarray of float64, shape (size // 2 + 1,)
        At the frequencies of ``rfft``. It is the transform of the ramp's samples in space [1]_, not the sampled ramp,
        which would take the mean away from the image.

    References
    ----------
    .. [1] A. C. Kak, M. Slaney, Principles of Computerized Tomographic Imaging, IEEE Press 1988, equation 61 of
       chapter 3.
    """
    n = np.minimum(np.arange(size), size - np.arange(size))
    kernel = np.zeros(size)
    kernel[0] = 0.25
    kernel[n % 2 == 1] = -1 / (math.pi * n[n % 2 == 1]) ** 2
    relative = 2 * fft.rfftfreq(size) / cutoff
    shape = {
        "ramp": np.ones_like(relative),
        "shepp-logan": np.sinc(relative / 2),
        "cosine": np.cos(math.pi * relative / 2),
        "hamming": 0.54 + 0.46 * np.cos(math.pi * relative),
        "hann": 0.5 + 0.5 * np.cos(math.pi * relative),
    }[window]
    return fft.rfft(kernel).real * np.where(relative <= 1, shape, 0)


def filter_projections(sinogram: np.ndarray, weights: np.ndarray, *, window: str, cutoff: float) -> None:
    """Filter projections along the detector and weigh them, in place.

    Parameters
    ----------
    sinogram : ndarray of float32, shape (A, W, Z)
        0 beyond its ends.
    weights : ndarray of float64, shape (A,)
        Factor of each projection.
    window, cutoff
        See `ramp_response`.
    """
    width = sinogram.shape[1]
    size = fft.next_fast_len(2 * width, real=True)
    response = ramp_response(size, window=window, cutoff=cutoff).astype(np.float32)[:, None]

    def work(part: slice) -> None:
        spectrum = fft.rfft(sinogram[part], n=size, axis=1) * response
        spectrum *= weights[part, None, None].astype(np.float32)
        sinogram[part] = fft.irfft(spectrum, n=size, axis=1)[:, :width]

    in_parts(work, len(sinogram))
