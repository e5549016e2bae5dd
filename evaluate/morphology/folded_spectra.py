"""Power of spectra, averaged over the waves that mirror each other; compiled."""

import numba
import numpy as np

__all__ = ["folded_power"]


@numba.njit(cache=True, nogil=True)
def folded_power(first: np.ndarray, second: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return the real part of first × conjugate of second, the mean of each wave and its mirror images.

    Parameters
    ----------
    first, second : ndarray of complex128, shape (P, Y, X)
        Spectra over y and x, plane by plane; the same array for the power of one.

    Returns
    -------
    ndarray of float64, shape (P, Y // 2 + 1, X // 2 + 1)
    """
    planes, rows, columns = first.shape
    power = np.empty((planes, rows // 2 + 1, columns // 2 + 1))
    whole = np.empty((2, columns))
    for p in range(planes):
        for y in range(power.shape[1]):
            for side, row in enumerate((y, -y % rows)):
                for x in range(columns):
                    a, b = first[p, row, x], second[p, row, x]
                    whole[side, x] = a.real * b.real + a.imag * b.imag
            power[p, y, 0] = 0.5 * (whole[0, 0] + whole[1, 0])
            for x in range(1, power.shape[2]):
                both = whole[0, x] + whole[1, x]
                mirrored = whole[0, columns - x] + whole[1, columns - x]
                power[p, y, x] = 0.25 * (both + mirrored)
    return power
