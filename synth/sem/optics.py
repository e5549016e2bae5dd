"""The electron column's changing spot: defocus that drifts and grows along a tilted face, and astigmatism."""

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from scipy import special

from synth.laws import Law, check_range
from synth.sem.artefact import check_artefact, draw_seed, slow_series
from synth.threads import in_threads

__all__ = ["Optics", "apply_optics"]

LARGEST = 12.0  # defocus in pixels; beyond, an image shows nothing


@dataclass(frozen=True)
class Optics:
    """How the spot departs from focus, on top of the spot that an image has in focus.

    Defocus is signed and measured as the standard deviation of the spot that it makes. That of a pixel is the sum
    of `defocus_px`, the slice's drift, and what its row adds.

    Parameters
    ----------
    defocus_px : float or Law
        Mean defocus; its sign says on which side of focus.
    drift_px : float or Law
        Standard deviation of the defocus from slice to slice, around the mean.
    drift_slices : float or Law
        Number of slices after which the drift has fallen to 1/e of its correlation.
    field_px : float or Law
        Defocus of the last row of a tilted face; that of the first row is its opposite, the middle row has none.
    astigmatism : float or Law
        Ratio, from 1 to 3, of the long to the short axis of the defocused spot.
    astigmatism_deg : float or Law
        Direction of the long axis where the defocus is positive, from +x towards +y; it is perpendicular to that
        where the defocus is negative.
    """

    defocus_px: float | Law = 0.0
    drift_px: float | Law = 0.0
    drift_slices: float | Law = 15.0
    field_px: float | Law = 0.0
    astigmatism: float | Law = 1.0
    astigmatism_deg: float | Law = 45.0

    def __post_init__(self) -> None:
        for name in ("defocus_px", "field_px"):
            check_range(name, getattr(self, name), low=-10, high=10)
        check_range("drift_px", self.drift_px, low=0, high=3)
        check_range("drift_slices", self.drift_slices, low=0)
        check_range("astigmatism", self.astigmatism, low=1, high=3)
        check_range("astigmatism_deg", self.astigmatism_deg)


def apply_optics(
    grey: np.ndarray, labels: np.ndarray, settings: Optics, *, rng: np.random.Generator | int
) -> np.ndarray:
    """Blur a stack by a spot that changes from slice to slice and from row to row.

    Parameters
    ----------
    grey : ndarray of float32, shape (Z, Y, X)
        Linear grey values in full scale; beyond its border a slice continues with its last pixels.
    labels : ndarray of uint8, same shape
        Not used; the labels stay true, for the spot's centre stays.
    settings : Optics
        Without laws.
    rng : Generator or int
        One number is drawn from it.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)

    Raises
    ------
    ValueError
        For arguments that do not fit.

    Notes
    -----
    A pixel of defocus d gathers what lies around it with a spot of covariance ``d**2 R diag(a, 1/a) R.T``, a being
    the astigmatism and R the rotation to its direction, by a quarter turn more where d < 0: the area of the spot
    does not depend on a. By Selling's reduction [1]_ this is a sum of variances along three integer directions; the
    spot is the convolution of three discrete Gaussians [2]_ along them, whose variances are exact for any d.
    |d| is cut at 12 pixels.

    References
    ----------
    .. [1] E. Selling, "Über die binären und ternären quadratischen Formen", J. reine angew. Math. 77 (1874) 143.
    .. [2] T. Lindeberg, "Scale-space for discrete signals", IEEE Trans. PAMI 12 (1990) 234.
    """
    grey, _ = check_artefact(grey, labels, settings, Optics)
    seed = draw_seed(rng)
    column: Any = settings
    if column.defocus_px == 0 and column.drift_px == 0 and column.field_px == 0:
        return grey.copy()
    drift = column.drift_px * slow_series(len(grey), column.drift_slices, np.random.default_rng(seed))
    along_y = column.field_px * (np.linspace(-1, 1, grey.shape[1]) if grey.shape[1] > 1 else np.zeros(1))
    shares = _direction_shares(column.astigmatism, math.radians(column.astigmatism_deg))
    out = np.empty_like(grey)

    def blur(z: int) -> None:
        defocus = np.clip(column.defocus_px + drift[z] + along_y, -LARGEST, LARGEST)
        image = grey[z]
        for (step_y, step_x), (over, under) in shares.items():
            variances = defocus**2 * np.where(defocus > 0, over, under)
            if variances.any():
                image = _blur_along(image, step_y, step_x, _kernels(variances))
        out[z] = image

    in_threads(blur, range(len(grey)))
    return out


def _direction_shares(ratio: float, angle: float) -> dict[tuple[int, int], tuple[float, float]]:
    """Return steps (y, x) and the spot's variance along each per squared defocus, over and under focus."""
    shares: dict[tuple[int, int], tuple[float, float]] = {}
    for side, turned in enumerate((angle, angle + math.pi / 2)):
        long = np.array([math.sin(turned), math.cos(turned)])
        covariance = np.eye(2) / ratio + (ratio - 1 / ratio) * np.outer(long, long)
        for step, share in _reduce(covariance):
            pair = list(shares.get(step, (0.0, 0.0)))
            pair[side] += share
            shares[step] = (pair[0], pair[1])
    return shares


def _reduce(covariance: np.ndarray) -> list[tuple[tuple[int, int], float]]:
    """Write a covariance as a sum of positive variances along integer steps (Selling)."""
    base = [np.array(v) for v in ((1, 0), (0, 1), (-1, -1))]
    # Each round shortens the base; a ratio of the axes of 3 takes at most a few.
    for _ in range(64):
        products = {(i, j): float(base[i] @ covariance @ base[j]) for i, j in ((0, 1), (0, 2), (1, 2))}
        (i, j), largest = max(products.items(), key=lambda item: item[1])
        if largest <= 1e-9:
            break
        base = [-base[i], base[j], base[i] - base[j]]
    steps = []
    for (i, j), product in products.items():
        across = base[3 - i - j]
        y, x = int(-across[1]), int(across[0])
        sign = -1 if (y, x) < (0, 0) else 1
        if product < -1e-9:
            steps.append(((sign * y, sign * x), -product))
    return steps


def _kernels(variances: np.ndarray) -> np.ndarray:
    """Return one half of a discrete Gaussian for each row, its middle first, float32, shape (Y, taps)."""
    n_taps = math.ceil(4.5 * math.sqrt(variances.max())) + 3
    kernels = special.ive(np.arange(n_taps), variances[:, None])
    kernels /= kernels[:, :1] + 2 * kernels[:, 1:].sum(axis=1, keepdims=True)
    return kernels.astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _blur_along(image: Any, step_y: int, step_x: int, kernels: Any) -> Any:
    ny, nx = image.shape
    n_taps = kernels.shape[1]
    pad = (n_taps - 1) * abs(step_x)
    wide = np.empty((ny, nx + 2 * pad), np.float32)
    for y in range(ny):
        wide[y, :pad] = image[y, 0]
        wide[y, pad : pad + nx] = image[y]
        wide[y, pad + nx :] = image[y, nx - 1]
    blurred = np.empty((ny, nx), np.float32)
    for y in range(ny):
        row = blurred[y]
        row[:] = kernels[y, 0] * image[y]
        for k in range(1, n_taps):
            weight = kernels[y, k]
            if weight < 1e-7:
                break
            after = wide[min(max(y + k * step_y, 0), ny - 1), pad + k * step_x :]
            before = wide[min(max(y - k * step_y, 0), ny - 1), pad - k * step_x :]
            for x in range(nx):
                row[x] += weight * (after[x] + before[x])
    return blurred
