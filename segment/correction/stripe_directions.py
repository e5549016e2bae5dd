"""In which direction the faces of a stack are striped."""

import math

import numpy as np
from scipy import ndimage

from segment.correction.faces import robust_spread
from segment.correction.stripe_faces import MOST_SLICES, StripedFaces
from segment.correction.stripe_law import covariance

__all__ = ["best_angle", "directions", "sharpest_slope"]

MOST_ANGLE_DEG = 12.0
FREQUENCIES = np.linspace(0.03, 0.3, 28)


def directions(view: StripedFaces, stripes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectral density of the faces' deviations along each direction across possible stripes.

    Stripes that are known already, of the whole view, are taken off.
    """
    count = min(len(view.array), MOST_SLICES)
    slices = np.unique(np.linspace(0, len(view.array) - 1, count).round().astype(int))
    ny, nx = view.array.shape[1:]
    window = np.outer(np.hanning(ny + 2)[1:-1], np.hanning(nx + 2)[1:-1]).astype(np.float32)
    shape, weight = (2 * ny, 2 * nx), 0.0
    power = np.zeros(shape)
    for z in slices:
        known = None if stripes is None else stripes[z : z + 1]
        rest, seen = view.residual([z], 0.0, known)
        if known is not None:
            rest = rest - known * seen
        power += np.abs(np.fft.fft2(rest[0] * window, shape)) ** 2
        weight += float((seen[0] * window**2).sum())
    angles = np.arange(-89.5, 90)
    radians = np.radians(angles)[:, None]
    ky, kx = -np.sin(radians) * FREQUENCIES * shape[0], np.cos(radians) * FREQUENCIES * shape[1]
    along = ndimage.map_coordinates(power, [ky.ravel(), kx.ravel()], order=1, mode="grid-wrap")
    return angles, along.reshape(ky.shape).mean(axis=1) / max(weight, 1.0)


def best_angle(angles: np.ndarray, power: np.ndarray) -> tuple[float, float, float]:
    """Return the angle of the strongest stripes, its score against other directions, and the noise's density."""
    # Directions near the rows are left out: there are scan lines.
    other = (np.abs(angles) > 20) & (np.abs(angles) < 70)
    middle = float(np.median(power[other]))
    if middle <= 0:
        return 0.0, 0.0, 0.0
    spread = max(float(robust_spread(np.log(power[other]))), 0.02)
    near = np.flatnonzero(np.abs(angles) < MOST_ANGLE_DEG)
    excess = np.maximum(power[near] - middle, 0)
    best = int(np.argmax(excess))
    around = slice(max(0, best - 3), best + 4)
    score = float(np.log(max(power[near[best]], 1e-30) / middle) / spread)
    if not excess[around].any():
        return 0.0, score, middle
    angle = float(np.sum(angles[near][around] * excess[around] ** 2) / np.sum(excess[around] ** 2))
    return angle, score, middle


def sharpest_slope(rest: np.ndarray, seen: np.ndarray, slope: float) -> float:
    """Return the slope near `slope` along which distant rows agree best."""
    lags = [lag for lag in (24, 48, 72, 96) if lag < rest.shape[1] // 2]
    tried = slope + np.linspace(-0.03, 0.03, 25)
    total = np.zeros(len(tried))
    for lag in lags:
        shifts = np.arange(math.floor(tried[0] * lag) - 1, math.ceil(tried[-1] * lag) + 2)
        agree = [
            covariance(rest[:, :, ::-1], seen[:, :, ::-1], (0, lag, -d))
            if d < 0
            else covariance(rest, seen, (0, lag, d))
            for d in shifts.tolist()
        ]
        total += np.interp(tried * lag, shifts, agree) * math.sqrt(lag)
    best = int(np.argmax(total))
    if not lags or total[best] <= 0:
        return slope
    around = slice(max(0, best - 4), best + 5)
    curve = np.polyfit(tried[around], total[around], 2)
    peak = -curve[1] / (2 * curve[0]) if curve[0] < 0 else tried[best]
    return float(np.clip(peak, tried[around][0], tried[around][-1]))
