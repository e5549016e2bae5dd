"""A stationary Gaussian field whose level cut has a given two-point correlation, as a kernel of white noise."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import ndtri

from synth.gaussian import Waves
from synth.threads import in_threads

__all__ = ["FittedKernel", "cut_covariance", "draw_kernel_waves", "fit_kernel", "invert_covariance"]

# Of the table that turns correlations into angles and covariances; the error is then below 1e-6.
TABLE = 8193
# A correlation that is 1 - a is wanted to within a few times (a + this), so that near neighbours count most.
NEAR = 0.005
SWEEPS = 300
# Frequencies are left out at the far end of each axis where they hold less than this of the variance.
NEGLIGIBLE_VARIANCE = 3e-7

Array = NDArray[np.float64]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class FittedKernel:
    """A kernel that turns white noise into a Gaussian field; made by `fit_kernel`.

    Attributes
    ----------
    kernel : ndarray of float32, shape (L + 1, L + 1, L + 1)
        Weight of the noise at the displacements (z, y, x) = 0 to L; the same for either sign.
    correlation : ndarray, shape (L + 1, L + 1, L + 1)
        Of the field that comes out.
    clipped : float
        Share of the variance that the wanted correlation has at frequencies where its spectrum is negative, which
        no field can have.
    error : float
        Root mean square of `correlation` less the wanted one.
    """

    kernel: NDArray[np.float32]
    correlation: Array
    clipped: float
    error: float


def cut_covariance(correlation: Array, fraction: float) -> Array:
    r"""Return the covariance of the part of a Gaussian field below the level that cuts off `fraction`.

    .. math:: S_2 - φ^2 = \frac{1}{2π} \int_0^{\arcsin ρ} \exp\left(-\frac{t^2}{1 + \sin θ}\right) dθ

    with the level t = Φ⁻¹(φ) [1]_.

    References
    ----------
    .. [1] N. F. Berk, "Scattering properties of the leveled-wave model of random morphologies", Phys. Rev. A 44
       (1991) 5069.
    """
    angles, values = _orthant_table(float(fraction))
    return np.interp(np.arcsin(np.clip(correlation, -1, 1)), angles, values)


def invert_covariance(covariance: Array, fraction: float) -> Array:
    """Return the correlation of the field whose cut has this covariance; the nearest possible one where none has.

    The relation of `cut_covariance` rises with the correlation, so there is one answer. It is looked up as an angle,
    in which it is smooth up to its ends.
    """
    angles, values = _orthant_table(float(fraction))
    return np.sin(np.interp(covariance, values, angles))


@lru_cache(maxsize=64)
def _orthant_table(fraction: float) -> tuple[Array, Array]:
    angles = np.linspace(-np.pi / 2, np.pi / 2, TABLE)
    density = np.exp(-(ndtri(fraction) ** 2) / np.maximum(1 + np.sin(angles), 1e-300)) / (2 * np.pi)
    steps = (density[1:] + density[:-1]) / 2 * np.diff(angles)
    # From both ends to the middle, where the covariance is 0; at the upper end it is the indicator's variance.
    half = TABLE // 2
    upper = np.concatenate([[0], np.cumsum(steps[half:])])
    lower = -np.cumsum(steps[:half][::-1])[::-1]
    upper *= fraction * (1 - fraction) / upper[-1]
    return angles, np.concatenate([lower, upper])


def fit_kernel(wanted: Array, distance: Array, *, reach: int) -> FittedKernel:
    """Find the field whose correlation is nearest to the wanted one.

    Parameters
    ----------
    wanted : ndarray, shape (N + 1, N + 1, N + 1)
        Correlation at the displacements (z, y, x) = 0 to N; 1 at the displacement 0.
    distance : ndarray, same shape
        Their lengths in voxels.
    reach : int
        Where the wanted correlation has died away; from there on it is faded out, up to twice this or N.

    Returns
    -------
    FittedKernel

    Notes
    -----
    A measured correlation is not positive definite. Clipping its spectrum at zero would be the least change over all
    displacements alike, but puts into the nearest ones, on which the surface depends, many times the 0.01 or 0.02
    that they are below 1. So the squared change is weighted by 1 / (1 - ρ + 0.005)², and the spectrum that is
    nowhere negative and changes least is found by projected gradients with momentum [1]_, which start from the
    clipped spectrum. The kernel is the transform of its square root; applied in a box of any size it gives a spectrum
    that is nowhere negative.

    References
    ----------
    .. [1] A. Beck, M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", SIAM
       J. Imaging Sci. 2 (2009) 183.
    """
    lag = min(max(2 * reach, 4), len(wanted) - 1)
    near = (slice(lag + 1),) * 3
    start = min(reach, 0.75 * lag)
    fading = np.clip((distance[near] - start) / (lag - start), 0, 1)
    target = wanted[near] * (0.5 + 0.5 * np.cos(np.pi * fading))
    images = np.minimum(np.arange(lag + 1), 1) + 1
    images[lag] = 1
    number = images[:, None, None] * images[:, None] * images
    raw = _spectrum(target)
    spectrum = _nearest_spectrum(target, weights=(1 - target + NEAR) ** -2.0)
    kernel = _unfold(np.sqrt(spectrum / (spectrum * number).sum()))
    correlation = _autocorrelation(kernel)
    kernel /= np.sqrt(_autocorrelation_at_zero(kernel))
    within = distance[near] <= lag
    return FittedKernel(
        kernel=kernel.astype(np.float32),
        correlation=correlation,
        clipped=float(-(np.minimum(raw, 0) * number).sum()),
        error=float(np.sqrt(np.mean((correlation - target)[within] ** 2))),
    )


def _spectrum(values: Array) -> Array:
    """Transform an octant of an even function of period 2 L along each axis; the sum over all frequencies is f(0)."""
    return fft.dctn(values, type=1) / (2 * (len(values) - 1)) ** 3


def _unfold(spectrum: Array) -> Array:
    """Do the opposite of `_spectrum`."""
    return fft.dctn(spectrum, type=1)


def _nearest_spectrum(target: Array, *, weights: Array) -> Array:
    """Return the spectrum of no negative value whose function differs least, in weighted squares, from `target`."""
    spectrum = np.maximum(_spectrum(target), 0)
    ahead, momentum, step = spectrum, 1.0, 1 / weights.max()
    for _ in range(SWEEPS):
        slope = _spectrum(weights * (_unfold(ahead) - target))
        moved = np.maximum(ahead - step * slope, 0)
        gained = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / gained * (moved - spectrum)
        spectrum, momentum = moved, gained
    return spectrum


def _autocorrelation(kernel: Array) -> Array:
    """Return the correlation of a field with this kernel in unlimited space, at its own displacements."""
    lag = len(kernel) - 1
    wide = np.zeros((2 * lag + 2,) * 3)
    wide[: lag + 1, : lag + 1, : lag + 1] = kernel
    product = _unfold(_unfold(wide) ** 2)
    return product[: lag + 1, : lag + 1, : lag + 1] / product[0, 0, 0]


def _autocorrelation_at_zero(kernel: Array) -> float:
    images = np.minimum(np.arange(len(kernel)), 1) + 1
    return float((kernel**2 * (images[:, None, None] * images[:, None] * images)).sum())


def draw_kernel_waves(shape: Shape, kernel: NDArray[np.float32], *, periodic: bool, rng: np.random.Generator) -> Waves:
    """Draw a field of expectation 0 and variance 1: white noise under a kernel.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along z, y, x.
    kernel : ndarray of float32, shape (L + 1, L + 1, L + 1)
        See `FittedKernel`.
    periodic : bool
        Make opposite faces fit together: the kernel is wound around the box, and scaled to a variance of 1. Otherwise
        the field is a window of a periodic one that is longer by L along each axis.
    rng : Generator
        Source of randomness.

    Returns
    -------
    synth.gaussian.Waves
        Its ``plane(z)`` is a plane of the field.

    Notes
    -----
    Noise and kernel are multiplied frequency by frequency, each row of frequencies with a random stream of its own:
    the bytes do not depend on the number of threads, and what lies beyond the kernel's own frequencies (3e-7 of the
    variance at the end of each axis) is never made.
    """
    lag = len(kernel) - 1
    z, y, x = (n if periodic else fft.next_fast_len(n + lag, real=True) for n in shape)
    wound = kernel[np.ix_(*[abs(np.arange(-lag, lag + 1))] * 3)]
    for axis, side in enumerate((z, y, x)):
        wound = _wind(wound, side, axis)
    levels, rows = _kept(wound, z, 0), _kept(wound, y, 1)
    columns = len(_kept(wound, x, 2, one_sided=True))
    across = fft.rfft(wound, n=x, axis=2)[..., :columns]
    across = fft.fft(across, n=y, axis=1)[:, rows]
    # Each column but those that are their own mirror image stands for two.
    images = np.minimum(np.bincount(np.minimum(np.arange(x), x - np.arange(x)))[:columns], 2)
    coefficients = np.empty((shape[0], len(rows), columns), np.complex64)
    seeds = rng.integers(2**63, size=len(rows))

    def draw(i: int) -> float:
        amplitude = abs(fft.fft(across[:, i], n=z, axis=0)[levels])
        noise = np.random.default_rng(seeds[i]).standard_normal((len(levels), 2 * columns), np.float32)
        spread = np.zeros((z, columns), np.complex64)
        spread[levels] = noise.view(np.complex64) * (amplitude / np.sqrt(images).astype(np.float32))
        coefficients[:, i] = fft.ifft(spread, axis=0, norm="forward", overwrite_x=True)[: shape[0]]
        return float((amplitude.astype(np.float64) ** 2 * images).sum())

    coefficients /= np.float32(np.sqrt(sum(in_threads(draw, range(len(rows))))))
    return Waves(coefficients, rows, (z, y, x), shape)


def _wind(kernel: NDArray[np.float32], side: int, axis: int) -> NDArray[np.float32]:
    """Wind one axis around a box, if it is longer than the box."""
    turns = -(-kernel.shape[axis] // side)
    if turns == 1:
        return kernel
    padding = [(0, turns * side - n if i == axis else 0) for i, n in enumerate(kernel.shape)]
    moved = np.moveaxis(np.pad(kernel, padding), axis, 0)
    return np.moveaxis(moved.reshape(turns, side, *moved.shape[1:]).sum(axis=0), 0, axis)


def _kept(kernel: NDArray[np.float32], side: int, axis: int, *, one_sided: bool = False) -> NDArray[np.intp]:
    """Return which frequencies along an axis matter; without those of negative sign if `one_sided`."""
    others = tuple(i for i in range(3) if i != axis)
    power = (abs(fft.rfft(kernel.astype(np.float64), n=side, axis=axis)) ** 2).sum(axis=others)
    beyond = np.cumsum(power[::-1])[::-1]
    low = np.arange(max(np.count_nonzero(beyond > NEGLIGIBLE_VARIANCE * power.sum()), 1))
    return low if one_sided else np.union1d(low, (side - low) % side)
