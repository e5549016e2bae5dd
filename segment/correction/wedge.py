"""The usual filter against curtains: a wedge of each slice's Fourier transform."""

import math
from typing import Any

import numpy as np

from segment.correction.faces import check_stack

__all__ = ["wedge_filter"]


def wedge_filter(
    stack: Any, *, half_angle_deg: float = 3.0, keep_px: float = 80.0, angle_deg: float = 0.0
) -> np.ndarray:
    """Remove a wedge of each slice's Fourier transform, as is usual against curtains.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values.
    half_angle_deg : float
        Half the opening of the wedge about the axis across the stripes, above 0 and below 45; smooth at its rim.
    keep_px : float
        Waves longer than that stay: they are structure rather than stripes.
    angle_deg : float
        Between the stripes and +y, positive towards +x.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)

    Notes
    -----
    The slice is mirrored at its border first, so that its edges do not leak into the wedge. The wedge holds
    structure as well: faces lose contrast along their vertical edges, whether there are stripes or not.

    References
    ----------
    .. [1] T. L. Burnett et al., "Large volume serial section tomography by Xe plasma FIB dual beam microscopy",
       Ultramicroscopy 161 (2016) 119-129.
    """
    array = check_stack(stack, least=(1, 2, 2))
    if not 0 < half_angle_deg < 45:
        raise ValueError(f"half_angle_deg is {half_angle_deg!r}; give an angle above 0 and below 45")
    if not 0 < keep_px < math.inf:
        raise ValueError(f"keep_px is {keep_px!r}; give a length above 0")
    if not -45 < angle_deg < 45:
        raise ValueError(f"angle_deg is {angle_deg!r}; give an angle between -45 and 45")
    (pad_y, pad_x), (ny, nx) = (n // 2 for n in array.shape[1:]), array.shape[1:]
    ky = np.fft.fftfreq(ny + 2 * pad_y)[:, None]
    kx = np.fft.rfftfreq(nx + 2 * pad_x)[None]
    off = np.degrees(np.abs(np.arctan2(ky, np.maximum(kx, 1e-12)) + math.radians(angle_deg)))
    inside = np.exp(-0.5 * (off / half_angle_deg) ** 4) * (1 - np.exp(-0.5 * (np.hypot(kx, ky) * keep_px) ** 4))
    result = np.empty(array.shape, np.float32)
    for z, image in enumerate(array):
        padded = np.pad(image.astype(np.float32), ((pad_y, pad_y), (pad_x, pad_x)), mode="symmetric")
        clean = np.fft.irfft2(np.fft.rfft2(padded) * (1 - inside), padded.shape)
        result[z] = clean[pad_y : pad_y + ny, pad_x : pad_x + nx]
    return result
