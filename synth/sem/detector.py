"""From electrons to numbers in a file: counts, gain, brightness, scan lines, saturation, bits."""

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from synth.laws import Law, check_range
from synth.sem.artefact import check_artefact, correlate_along_z, draw_seed, outcomes, slice_stream, slow_series
from synth.threads import in_threads

__all__ = ["Electronics", "apply_electronics", "count_noise", "illumination"]

# Mean count from which the normal number is bent into a count instead of looked up in the Poisson law.
BENT_FROM = 12.0


@dataclass(frozen=True)
class Electronics:
    """The amplifier behind the detector. By default it passes on what it gets, cut to [0, 1].

    Parameters
    ----------
    gain_drift : float or Law
        Standard deviation of the logarithm of the gain, which drifts slowly along z.
    contrast_drift : float or Law
        Standard deviation of the logarithm of the contrast about middle grey, which drifts slowly along z.
    drift_slices : float or Law
        Number of slices after which these drifts have fallen to 1/e of their correlation.
    jumps : float or Law
        Probability, from 0 to 1, that the brightness of a slice jumps.
    jump : float or Law
        Standard deviation of a jump, in full scale; the brightness stays there until the next jump.
    flicker : float or Law
        Standard deviation of the brightness of each slice by itself, in full scale.
    line_noise : float or Law
        Standard deviation of the offset of each row by itself, in full scale.
    line_drift : float or Law
        Standard deviation of the part of these offsets that changes slowly from row to row.
    line_rows : float or Law
        Number of rows after which that part has fallen to 1/e of its correlation.
    bleed : float or Law
        Share, from 0 to 0.5, of a pixel's signal that its two neighbours along the fast scan get, by the amplifier's
        limited bandwidth: the noise is correlated along x, and no edge moves.
    black, white : float or Law
        Grey values that are written as 0 and 1; what lies outside is cut off.
    bits : int, Law or None
        Bits of a pixel, from 1 to 16: grey values end on k / (2**bits - 1). None leaves them as they are.
    """

    gain_drift: float | Law = 0.0
    contrast_drift: float | Law = 0.0
    drift_slices: float | Law = 20.0
    jumps: float | Law = 0.0
    jump: float | Law = 0.05
    flicker: float | Law = 0.0
    line_noise: float | Law = 0.0
    line_drift: float | Law = 0.0
    line_rows: float | Law = 6.0
    bleed: float | Law = 0.0
    black: float | Law = 0.0
    white: float | Law = 1.0
    bits: int | Law | None = None

    def __post_init__(self) -> None:
        for name in ("gain_drift", "contrast_drift", "jumps", "jump", "flicker", "line_noise", "line_drift"):
            check_range(name, getattr(self, name), low=0, high=1)
        for name in ("drift_slices", "line_rows"):
            check_range(name, getattr(self, name), low=0)
        check_range("bleed", self.bleed, low=0, high=0.5)
        check_range("black", self.black, low=-1, high=0.5)
        check_range("white", self.white, above=0.5, high=10)
        _check_bits(self.bits)


def _check_bits(value: Any) -> None:
    """Refuse what is not None nor a whole number from 1 to 16, nor a law of these."""
    for bits in outcomes(value):
        if bits is not None and (not isinstance(bits, int) or isinstance(bits, bool) or not 1 <= bits <= 16):
            raise ValueError(f"bits is {bits!r}; give a whole number from 1 to 16, or None, or a choice of these")


def apply_electronics(
    grey: np.ndarray, labels: np.ndarray, settings: Electronics, *, rng: np.random.Generator | int
) -> np.ndarray:
    """Turn what a detector has counted into what is written to a file.

    Parameters
    ----------
    grey : ndarray of float32, shape (Z, Y, X)
        Linear grey values in full scale, with their counting noise.
    labels : ndarray of uint8, same shape
        Not used; they stay true.
    settings : Electronics
        Without laws.
    rng : Generator or int
        One number is drawn from it.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        From 0 to 1.

    Raises
    ------
    ValueError
        For arguments that do not fit.

    Notes
    -----
    Each row is convolved with (bleed / 2, 1 - bleed, bleed / 2), its last pixels repeated. Then slice z becomes
    ``((gain[z] grey - 1/2) contrast[z] + 1/2 + offset[z] + line[z, y] - black) / (white - black)``, cut to [0, 1]
    and rounded, halves upwards, to the levels of `bits`.
    """
    grey, _ = check_artefact(grey, labels, settings, Electronics)
    seed = draw_seed(rng)
    chain: Any = settings
    gain, contrast, offset = _draw_drifts(len(grey), chain, np.random.default_rng(seed))
    span = chain.white - chain.black
    levels = 0.0 if chain.bits is None else 2.0**chain.bits - 1
    out = np.empty_like(grey)

    def write(z: int) -> None:
        lines = _draw_lines(grey.shape[1], chain, slice_stream(seed, z))
        offsets = ((1 - contrast[z]) / 2 + offset[z] + lines - chain.black) / span
        _write_slice(grey[z], gain[z] * contrast[z] / span, offsets, chain.bleed / 2, levels, out[z])

    in_threads(write, range(len(grey)))
    return out


def _draw_drifts(n: int, chain: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return gain, contrast and offset of each slice."""
    gain = np.exp(chain.gain_drift * slow_series(n, chain.drift_slices, rng))
    contrast = np.exp(chain.contrast_drift * slow_series(n, chain.drift_slices, rng))
    jumping, heights, flicker = rng.random(n) < chain.jumps, rng.standard_normal(n), rng.standard_normal(n)
    return gain, contrast, np.cumsum(chain.jump * heights * jumping) + chain.flicker * flicker


def _draw_lines(n_rows: int, chain: Any, rng: np.random.Generator) -> np.ndarray:
    """Return the offset of each row of one slice."""
    white, slow = rng.standard_normal((2, n_rows))
    return chain.line_noise * white + chain.line_drift * correlate_along_z(slow, chain.line_rows)


@numba.njit(cache=True, nogil=True)
def _write_slice(grey: Any, factor: float, offsets: Any, bleed: float, levels: float, out: Any) -> None:
    ny, nx = grey.shape
    for y in range(ny):
        for x in range(nx):
            signal = float(grey[y, x])
            if bleed > 0:
                signal = (1 - 2 * bleed) * signal + bleed * (grey[y, max(x - 1, 0)] + grey[y, min(x + 1, nx - 1)])
            value = min(max(factor * signal + offsets[y], 0.0), 1.0)
            if levels > 0:
                value = math.floor(value * levels + 0.5) / levels
            out[y, x] = value


def count_noise(
    grey: np.ndarray, *, dose: float, read_noise: float = 0.0, rng: np.random.Generator | int
) -> np.ndarray:
    """Count electrons: Poisson noise of the dose, and the detector's own Gaussian noise.

    Parameters
    ----------
    grey : ndarray of float32, shape (Z, Y, X)
        Expected grey values in full scale; below 0 counts as 0.
    dose : float
        Electrons per pixel at grey 1, above 0.
    read_noise : float
        Standard deviation of the Gaussian noise, in full scale.
    rng : Generator or int
        One number is drawn from it; the slices' streams derive from it and their numbers.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Counts / dose plus noise; of expectation `grey` and variance ``grey / dose + read_noise**2``, not cut.

    Raises
    ------
    ValueError
        For arguments that do not fit.

    Notes
    -----
    Below a mean of 12 counts the Poisson law is inverted at Phi(u), u being a normal number. From there on its
    Cornish-Fisher expansion to the third cumulant's square [1]_ is rounded to a whole number, ``m + s u + (u**2 -
    1) / 6 + (u - u**3) / (72 s)`` with ``s**2 = m - 1/12``, for rounding adds 1/12. Summed over all counts the
    probabilities differ from Poisson's by 4e-4 (total variation) at a mean of 12, 6e-5 at 40, 2e-5 at 100; mean and
    variance by less than 2e-5 of theirs. A rounded normal number would be off by 4e-2, 2e-2 and 1e-2.

    References
    ----------
    .. [1] E. A. Cornish, R. A. Fisher, "Moments and cumulants in the specification of distributions", Rev. Int.
       Stat. Inst. 5 (1938) 307.
    """
    values = np.asarray(grey)
    if values.ndim != 3 or values.dtype != np.float32 or not np.isfinite(values).all():
        raise ValueError(f"grey is {values.dtype} of shape {values.shape}; give finite float32 of shape (Z, Y, X)")
    check_range("dose", dose, above=0)
    check_range("read_noise", read_noise, low=0)
    seed = draw_seed(rng)
    out = np.empty_like(values)

    def count(z: int) -> None:
        stream = slice_stream(seed, z)
        normal = stream.standard_normal(values.shape[1:], np.float32)
        _count_slice(np.ascontiguousarray(values[z]), normal, float(dose), out[z])
        if read_noise > 0:
            out[z] += np.float32(read_noise) * stream.standard_normal(values.shape[1:], np.float32)

    in_threads(count, range(len(values)))
    return out


@numba.njit(cache=True, nogil=True)
def _count_slice(grey: Any, normal: Any, dose: float, out: Any) -> None:
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            mean = max(grey[y, x], 0.0) * dose
            u = float(normal[y, x])
            if mean >= BENT_FROM:
                out[y, x] = max(_bent_count(mean, u), 0.0) / dose
            else:
                out[y, x] = _looked_up_count(mean, u) / dose


@numba.njit(cache=True, nogil=True)
def _bent_count(mean: float, u: float) -> float:
    spread = math.sqrt(mean - 1 / 12)
    return math.floor(mean + spread * u + (u * u - 1) / 6 + (u - u * u * u) / (72 * spread) + 0.5)


@numba.njit(cache=True, nogil=True)
def _looked_up_count(mean: float, u: float) -> float:
    target = 0.5 * math.erfc(-u / math.sqrt(2))
    term = math.exp(-mean)
    total, count = term, 0
    # The largest normal number that is ever drawn is about 6; the limit is for those that rounding takes to 1.
    while total < target and count < 200:
        count += 1
        term *= mean / count
        total += term
    return count


def illumination(shape: tuple[int, int], *, shading: float, rng: np.random.Generator | int) -> np.ndarray:
    """Return the gain over a slice by uneven detection: a tilted plane and a bowl.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    shading : float
        Difference between the largest and the smallest gain.
    rng : Generator or int
        Direction of the plane and depth of the bowl are drawn from it.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        Of mean 1.

    Raises
    ------
    ValueError
        If `shading` is not from 0 to 1.
    """
    check_range("shading", shading, low=0, high=1)
    rng = np.random.default_rng(rng)
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    direction, bowl = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
    field = np.cos(direction) * y + np.sin(direction) * x + bowl * (x**2 + y**2)
    span = field.max() - field.min()
    field = (field - field.mean()) / span if span > 0 else field * 0
    return (1 + shading * field).astype(np.float32)
