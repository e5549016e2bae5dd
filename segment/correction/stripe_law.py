"""Stripes as a Markov chain down the beam, and the most probable ones behind noisy faces."""

import dataclasses
import math

import numpy as np
from scipy import ndimage, optimize

__all__ = ["StripeLaw", "covariance", "most_probable_stripes", "unthin"]

# Beyond this distance grain and noise of two pixels have nothing in common.
FAR_PX = 6
ACROSS_PX = 16
THIN, ROUNDS = 4, 30


@dataclasses.dataclass(frozen=True, eq=False)
class StripeLaw:
    """Stripes as a Markov chain down the beam: strength, noise, and how fast they change.

    Along y their correlation falls to 1/e over `length` pixels of face or `gap` pixels of pore, from slice to slice by
    the factor `keep`; across, white noise convolved with `across` is like them.
    """

    rms: float
    noise: float
    length: float
    gap: float
    across: np.ndarray
    keep: float

    @classmethod
    def of(cls, rest: np.ndarray, seen: np.ndarray, noise: float) -> "StripeLaw | None":
        """Fit the law to covariances at distances where noise is independent; None where there are no stripes."""
        base = covariance(rest, seen, (0, FAR_PX, 0))
        if not base > 0:
            return None
        start, length, gap = _decay(rest, seen)
        across = np.array([covariance(rest, seen, (0, FAR_PX, dx)) / base for dx in range(ACROSS_PX + 1)])
        keep = covariance(rest, seen, (1, FAR_PX, 0)) / base if len(rest) > 1 else 0.0
        return cls(math.sqrt(start), noise, length, gap, _root_kernel(across), float(np.clip(keep, 0, 0.98)))

    @property
    def width(self) -> float:
        """Full width of the even stripe with the same autocorrelation at its centre and on the whole."""
        return float(self.across.sum() ** 2 / (self.across**2).sum())

    @property
    def slices(self) -> float:
        """Number of slices over which a stripe keeps its strength, to 1/e."""
        return -1 / math.log(self.keep) if self.keep > 0 else 0.0


def _root_kernel(correlation: np.ndarray) -> np.ndarray:
    """Return the symmetric kernel of square sum 1 whose autocorrelation is closest to a measured one."""
    n = len(correlation)
    tapered = correlation * (0.5 + 0.5 * np.cos(np.pi * np.arange(n) / n))
    whole = np.concatenate([tapered, tapered[:0:-1]])
    amplitude = np.sqrt(np.maximum(np.fft.fft(whole).real, 0))
    kernel = np.fft.fftshift(np.fft.ifft(amplitude).real)
    return kernel / math.sqrt((kernel**2).sum())


def covariance(rest: np.ndarray, seen: np.ndarray, lag: tuple[int, int, int]) -> float:
    """Return the mean product of the deviations of pixels a lag (z, y, x) apart, both of them seen."""
    near = tuple(slice(0, n - d) for n, d in zip(rest.shape, lag, strict=True))
    far = tuple(slice(d, n) for n, d in zip(rest.shape, lag, strict=True))
    both = float(np.sum(seen[near] * seen[far], dtype=np.float64))
    return float(np.sum(rest[near] * rest[far], dtype=np.float64)) / max(both, 1.0)


def _decay(rest: np.ndarray, seen: np.ndarray) -> tuple[float, float, float]:
    """Return the variance of the stripes and the lengths over which they change along faces and across pores."""
    filled = np.cumsum(seen, axis=1, dtype=np.float32)
    rows, values, weights = [], [], []
    for lag in (FAR_PX, 2 * FAR_PX, 4 * FAR_PX, 8 * FAR_PX):
        if lag >= rest.shape[1] // 2:
            break
        gaps = lag - (filled[:, lag:] - filled[:, :-lag])
        both = seen[:, lag:] * seen[:, :-lag]
        product = rest[:, lag:] * rest[:, :-lag]
        for mask in (both * (gaps < 0.5), both * (gaps > 0.5)):
            count = float(mask.sum())
            covariance = float((product * mask).sum()) / max(count, 1.0)
            if count > 500 and covariance > 0:
                gap = float((gaps * mask).sum()) / count
                rows.append([1.0, -(lag - gap), -gap])
                values.append(math.log(covariance))
                weights.append(math.sqrt(count) * covariance)
    scale = np.array(weights)[:, None]
    fit = optimize.lsq_linear(
        np.array(rows) * scale, np.array(values) * scale[:, 0], ([-np.inf, 1e-3, 1e-3], [np.inf, 0.2, 1.0])
    ).x
    return math.exp(fit[0]), 1 / fit[1], 1 / fit[2]


def most_probable_stripes(rest: np.ndarray, seen: np.ndarray, law: StripeLaw, rounds: int = ROUNDS) -> np.ndarray:
    """Return the most probable stripes ``(Z, Y, X)``: conjugate gradients on the chain's independent steps."""
    pad = -rest.shape[1] % THIN
    weight = _thin(np.pad(seen, ((0, 0), (0, pad), (0, 0))))
    data = _thin(np.pad(rest * seen, ((0, 0), (0, pad), (0, 0))))
    chain = _Chain(weight, law)
    ratio = np.float32(law.rms**2 / law.noise)
    left = chain.back(data) * ratio
    steps, heading, product = np.zeros_like(left), left.copy(), float(np.vdot(left, left))
    first = product
    for _ in range(rounds):
        if product <= 1e-4 * first or product <= 0:
            break
        image = heading + ratio * chain.back(weight * chain.along(heading))
        step = np.float32(product / float(np.vdot(heading, image)))
        steps += step * heading
        left -= step * image
        before, product = product, float(np.vdot(left, left))
        heading = left + np.float32(product / before) * heading
    return unthin(chain.along(steps), rest.shape[1])


class _Chain:
    """From independent unit steps to stripes of variance 1, and the transpose of that."""

    def __init__(self, weight: np.ndarray, law: StripeLaw) -> None:
        keep = np.exp(-weight / law.length - (THIN - weight) / law.gap).astype(np.float32)
        # A block's own change belongs half to it and half to the block before.
        self.keep_y = np.sqrt(keep[:, 1:] * keep[:, :-1])
        self.renew_y = np.sqrt(1 - self.keep_y**2)
        self.keep_z, self.renew_z = np.float32(law.keep), np.float32(math.sqrt(1 - law.keep**2))
        self.kernel = law.across

    def along(self, steps: np.ndarray) -> np.ndarray:
        field = steps.copy()
        field[1:] *= self.renew_z
        for z in range(1, len(field)):
            field[z] += self.keep_z * field[z - 1]
        field[:, 1:] *= self.renew_y
        for y in range(1, field.shape[1]):
            field[:, y] += self.keep_y[:, y - 1] * field[:, y - 1]
        return ndimage.convolve1d(field, self.kernel, axis=2, mode="constant")

    def back(self, field: np.ndarray) -> np.ndarray:
        steps = ndimage.convolve1d(field, self.kernel, axis=2, mode="constant")
        for y in range(steps.shape[1] - 2, -1, -1):
            steps[:, y] += self.keep_y[:, y] * steps[:, y + 1]
        steps[:, 1:] *= self.renew_y
        for z in range(len(steps) - 2, -1, -1):
            steps[z] += self.keep_z * steps[z + 1]
        steps[1:] *= self.renew_z
        return steps


def _thin(stack: np.ndarray) -> np.ndarray:
    """Return sums over THIN rows; the number of rows is a multiple of it."""
    z, y, x = stack.shape
    return stack.reshape(z, y // THIN, THIN, x).sum(axis=2)


def unthin(stack: np.ndarray, rows: int) -> np.ndarray:
    """Return the stack with its rows THIN times as dense, interpolated."""
    at = np.clip((np.arange(rows) + 0.5) / THIN - 0.5, 0, stack.shape[1] - 1)
    low = np.minimum(at.astype(int), max(stack.shape[1] - 2, 0))
    share = (at - low).astype(np.float32)[None, :, None]
    high = np.minimum(low + 1, stack.shape[1] - 1)
    return (1 - share) * stack[:, low] + share * stack[:, high]
