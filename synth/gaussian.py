"""Gaussian random fields of a chosen correlation."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import fft

from synth.structure import check_shape
from synth.threads import in_threads

__all__ = [
    "Shape",
    "Waves",
    "check_anisotropy",
    "check_correlation",
    "check_length",
    "correlation_function",
    "draw_waves",
    "gaussian_field",
    "gradient_moment",
]

Correlation = Callable[[np.ndarray], np.ndarray]
Shape = tuple[int, int, int]

# The spinodal kernel loses its phase over this many wavelengths.
COHERENCE = 1.5
# Each with its gradient moment, minus its second derivative at 0.
CORRELATIONS: dict[str, tuple[Correlation, float]] = {
    "gaussian": (lambda t: np.exp(-t * t), 2.0),
    "exponential": (lambda t: np.exp(-t), np.inf),
    "matern32": (lambda t: (1 + np.sqrt(3) * t) * np.exp(-np.sqrt(3) * t), 3.0),
    "matern52": (lambda t: (1 + np.sqrt(5) * t + 5 / 3 * t * t) * np.exp(-np.sqrt(5) * t), 5 / 3),
    "oscillating": (
        lambda t: np.sinc(2 * t) * np.exp(-((t / COHERENCE) ** 2)),
        4 / 3 * np.pi**2 + 2 / COHERENCE**2,
    ),
}
# Opposite faces of a box that is not periodic may know this much of each other.
WRAP_AROUND = 1e-3
# Frequencies are left out where all of them together hold less than this of the variance.
NEGLIGIBLE_VARIANCE = 1e-6
# By how much the correlation may be changed where none with a positive spectrum fits the box.
WORST_CHANGE = 0.02
# In sides of the box; a field of a longer correlation is a constant.
LONGEST = 8.0
# Shorter than this many voxels is white noise, to the last digit.
SHORTEST = 0.01
# Shorter ones have slopes that no number holds.
LEAST_LENGTH = 1e-6


def correlation_function(name: str) -> Correlation:
    """Return the correlation function of that name.

    Parameters
    ----------
    name : str
        With t = r / length: ``gaussian`` exp(-t²); ``exponential`` exp(-t), a rough surface (Debye's random
        medium); ``matern32`` (1 + √3 t) exp(-√3 t); ``matern52`` (1 + √5 t + 5t²/3) exp(-√5 t);
        ``oscillating`` sin(2πt) / (2πt) exp(-(t/1.5)²), a shell of wavelength `length`, as in spinodal structures.

    Returns
    -------
    callable
        Takes an array of r / length, 0 or more, and returns C, the same shape; C(0) = 1.

    Raises
    ------
    ValueError
        For an unknown name.

    Notes
    -----
    All have a positive spectrum in three dimensions; for ``oscillating`` it is that of a shell of radius
    2π / length, blurred by a Gaussian.
    """
    check_correlation(name)
    return CORRELATIONS[name][0]


def gradient_moment(name: str) -> float:
    """Return λ·length², where C(r) = 1 - λr²/2 + … near 0 for the correlation function of that name.

    Parameters
    ----------
    name : str
        See `correlation_function`.

    Returns
    -------
    float
        The variance of the field's slope along any direction, times length²; infinite for ``exponential``,
        whose level sets have no finite surface.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    check_correlation(name)
    return float(CORRELATIONS[name][1])


def gaussian_field(
    shape: Shape,
    *,
    length_vox: float,
    correlation: str | Correlation = "gaussian",
    anisotropy: Sequence[float] = (1.0, 1.0, 1.0),
    periodic: bool = False,
    rng: np.random.Generator | int,
) -> np.ndarray:
    """Draw a stationary Gaussian field.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along z, y, x. An axis of size 1 is welcome: (1, Y, X) is a map with the same correlation.
    length_vox : float
        Correlation length in voxels, times `anisotropy` at most eight sides of the box.
    correlation : str or callable
        A name that `correlation_function` knows, as a function of r / length_vox, or a function that takes an
        array of distances r in voxels and returns C(r), with C(0) = 1; `length_vox` is not used then.
    anisotropy : sequence of three float
        Stretches the field along z, y, x: r² = Σ (x_i / a_i)².
    periodic : bool
        Make opposite faces fit together; the correlation is then the sum over the box's periodic images, scaled
        to 1 at 0.
        Otherwise the field is a window of a larger periodic one, so that opposite faces know less than 1e-3 of
        each other.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Of expectation 0 and variance 1 at each voxel. The mean and the variance of one volume differ from these,
        the more so the fewer correlation lengths it holds.

    Raises
    ------
    ValueError
        For impossible arguments, and where C has no positive spectrum in a box of this shape and the nearest
        function that has one differs by more than 0.02. The named functions are safe up to a length of half the
        shortest side, a quarter if `periodic`; ``gaussian`` always is.

    Notes
    -----
    Spectral synthesis [1]_: the sampled, periodic correlation function is transformed (what a sampled field
    aliases is thereby counted), its square root multiplies independent complex normal numbers, and these are
    transformed back. Frequencies that hold less than 1e-6 of the variance are left out, the others are scaled so
    that the variance is exactly 1. The bytes do not depend on the number of threads: each plane of the transforms
    is worked out by itself, with a random stream of its own.

    References
    ----------
    .. [1] C. R. Dietrich, G. N. Newsam, "Fast and exact simulation of stationary Gaussian processes through
       circulant embedding of the covariance matrix", SIAM J. Sci. Comput. 18 (1997) 1088.
    """
    shape = check_shape(shape)
    stretch = check_anisotropy(anisotropy)
    if not callable(correlation):
        check_correlation(correlation)
        check_length(shape, length_vox, stretch, longest=LONGEST)
    waves = draw_waves(shape, length_vox, correlation, stretch, periodic=periodic, rng=np.random.default_rng(rng))
    field = np.empty(shape, np.float32)

    def fill(z: int) -> None:
        field[z] = waves.plane(z)

    in_threads(fill, range(shape[0]))
    return field


def check_correlation(name: object) -> None:
    """Refuse what is no name of a correlation function."""
    if not isinstance(name, str) or name not in CORRELATIONS:
        raise ValueError(f"correlation is {name!r}; known are {', '.join(CORRELATIONS)}")


def check_anisotropy(anisotropy: Any) -> tuple[float, float, float]:
    """Return three positive floats or refuse what was given for them."""
    values = np.asarray(anisotropy)
    if values.shape != (3,) or values.dtype.kind not in "iuf" or not ((values > 0) & np.isfinite(values)).all():
        raise ValueError(f"anisotropy is {anisotropy!r}; give three positive numbers, for z, y and x")
    z, y, x = values.astype(float).tolist()
    return z, y, x


def check_length(shape: Shape, length_vox: Any, stretch: Sequence[float], *, longest: float) -> None:
    """Refuse a length that is no positive number or is longer than `longest` sides of the box."""
    value = np.asarray(length_vox)
    if value.ndim != 0 or value.dtype.kind not in "iuf" or not LEAST_LENGTH <= value < np.inf:
        raise ValueError(f"length_vox is {length_vox!r}; give a number of voxels above 0, at least {LEAST_LENGTH:g}")
    most = min((longest * n / a for n, a in zip(shape, stretch, strict=True) if n > 1), default=np.inf)
    if value > most:
        raise ValueError(
            f"length_vox is {length_vox!r}, too long for a box of {'x'.join(map(str, shape))} voxels to show its "
            f"statistics; give at most {most:g}, or a larger box"
        )


@dataclass(frozen=True)
class Waves:
    """Coefficients of a field: transformed along z, not yet along y and x."""

    coefficients: np.ndarray  # complex64, (Z, rows, columns); only what matters of the frequencies along y and x
    rows: np.ndarray  # which frequencies along y
    sides: Shape  # of the periodic box
    shape: Shape  # of the window

    def plane(self, z: int) -> np.ndarray:
        """Return one plane of the field, float32, shape (Y, X)."""
        spread = np.zeros((self.sides[1], self.coefficients.shape[2]), np.complex64)
        spread[self.rows] = self.coefficients[z]
        columns = fft.ifft(spread, axis=0, norm="forward", overwrite_x=True)[: self.shape[1]]
        return fft.irfft(columns, self.sides[2], axis=1, norm="forward")[:, : self.shape[2]]


def draw_waves(
    shape: Shape,
    length_vox: float,
    correlation: str | Correlation,
    stretch: Sequence[float],
    *,
    periodic: bool,
    rng: np.random.Generator,
) -> Waves:
    """Draw the coefficients of a field whose correlation length is `length_vox` times `stretch` along each axis."""
    length = 1.0 if callable(correlation) else length_vox
    scales = [max(length * a, SHORTEST) for a in stretch]
    sides, amplitude = _find_amplitude(shape, correlation, scales, periodic=periodic)
    levels, rows = _signed(amplitude.shape[0], sides[0]), _signed(amplitude.shape[1], sides[1])
    at_level, at_row = np.minimum(levels, sides[0] - levels), np.minimum(rows, sides[1] - rows)
    coefficients = np.empty((shape[0], len(rows), amplitude.shape[2]), np.complex64)
    seeds = rng.integers(2**63, size=(len(rows), 2))

    def draw(i: int) -> None:
        drawn = np.random.default_rng(seeds[i]).standard_normal((len(levels), 2 * amplitude.shape[2]), np.float32)
        spread = np.zeros((sides[0], amplitude.shape[2]), np.complex64)
        spread[levels] = drawn.view(np.complex64) * amplitude[at_level, at_row[i]]
        coefficients[:, i] = fft.ifft(spread, axis=0, norm="forward", overwrite_x=True)[: shape[0]]

    in_threads(draw, range(len(rows)))
    return Waves(coefficients, rows, sides, shape)


def _signed(n_kept: int, side: int) -> np.ndarray:
    """Return where the lowest `n_kept` frequencies, and those of opposite sign, lie in a transform of size `side`."""
    low = np.arange(n_kept)
    return np.union1d(low, (side - low) % side)


def _multiplicity(side: int) -> np.ndarray:
    """Return how many frequencies of a transform of size `side` each one that is not negative stands for."""
    return np.bincount(_mirror(side))


def _mirror(side: int) -> np.ndarray:
    return np.minimum(np.arange(side), side - np.arange(side))


def _find_amplitude(
    shape: Shape, correlation: str | Correlation, scales: Sequence[float], *, periodic: bool
) -> tuple[Shape, np.ndarray]:
    """Return the sides of a periodic box and what normal numbers are to be multiplied by, for an octant."""
    sides, spectrum = _find_spectrum(shape, correlation, scales, periodic=periodic)
    # A real transform counts each column twice, but for those that are their own mirror image: these are complex
    # here, and half of their variance is lost with the imaginary part.
    spectrum /= _multiplicity(sides[2])[: spectrum.shape[2]]
    np.sqrt(spectrum, out=spectrum)
    return sides, spectrum.astype(np.float32)


def _find_spectrum(
    shape: Shape, correlation: str | Correlation, scales: Sequence[float], *, periodic: bool
) -> tuple[Shape, np.ndarray]:
    """Return the sides of a periodic box and the variance of each frequency that matters, of one octant.

    The box's side is the window's, if periodic; else longer by the distance over which the correlation reaches, but
    never much more than doubled if that will do: then every distance in the window has its own correlation.
    """
    function = correlation if callable(correlation) else correlation_function(correlation)
    largest = float(np.linalg.norm(np.array(shape) / scales)) if callable(correlation) else 20.0
    reach = _reach(function, largest)
    pads = [0 if periodic or n == 1 else reach * s for n, s in zip(shape, scales, strict=True)]
    if correlation == "gaussian":
        sides = _grow(shape, pads)
        factors = [_gaussian_spectrum(n, s) for n, s in zip(sides, scales, strict=True)]
        return sides, factors[0][:, None, None] * factors[1][:, None] * factors[2]
    change = 0.0
    for most in (1, 2):
        sides = _grow(shape, [min(pad, most * n) for pad, n in zip(pads, shape, strict=True)])
        spectrum, change = _sample_spectrum(shape, sides, function, scales, felt=2 * reach if periodic else 0.0)
        if change <= WORST_CHANGE:
            return sides, _crop(spectrum, sides)
    what = "this correlation" if callable(correlation) else f"correlation '{correlation}' of this length"
    raise ValueError(
        f"{what} has no positive spectrum in a box of {'x'.join(map(str, shape))} voxels: the nearest that has one "
        f"differs by {change:.2g}; give another function or a larger box, twice the length at least (four times if "
        "periodic)"
    )


def _grow(shape: Shape, pads: Sequence[float]) -> Shape:
    z, y, x = (fft.next_fast_len(n + int(np.ceil(p)), real=True) if p else n for n, p in zip(shape, pads, strict=True))
    return z, y, x


def _reach(function: Correlation, largest: float) -> float:
    """Return the distance beyond which the correlation no longer matters."""
    distance = np.linspace(0, largest, 4001)
    values = np.asarray(function(distance))
    if values.shape != distance.shape or not np.isfinite(values).all() or abs(values[0] - 1) > 1e-6:
        raise ValueError("correlation must take an array of distances and return as many finite values, 1 at 0")
    return float(distance[np.flatnonzero(abs(values) > WRAP_AROUND)[-1]])


def _gaussian_spectrum(side: int, scale: float) -> np.ndarray:
    """Return the spectrum along one axis; that of three is the product."""
    if side == 1:
        return np.ones(1)
    images = side * np.arange(-np.ceil(6 * scale / side) - 1, np.ceil(6 * scale / side) + 2)
    correlation = np.exp(-(((_mirror(side) + images[:, None]) / scale) ** 2)).sum(axis=0)
    return _normalise(_keep(np.maximum(fft.rfft(correlation).real, 0), _multiplicity(side)), side)


def _keep(spectrum: np.ndarray, multiplicity: np.ndarray) -> np.ndarray:
    """Leave out the highest frequencies, as long as they hold next to nothing."""
    power = spectrum * multiplicity
    beyond = np.cumsum(power[::-1])[::-1]
    return spectrum[: np.count_nonzero(beyond > NEGLIGIBLE_VARIANCE / 3 * power.sum())]


def _normalise(spectrum: np.ndarray, side: int) -> np.ndarray:
    return spectrum / (spectrum * _multiplicity(side)[: len(spectrum)]).sum()


def _sample_spectrum(
    shape: Shape, sides: Shape, function: Correlation, scales: Sequence[float], *, felt: float
) -> tuple[np.ndarray, float]:
    """Return an octant of the spectrum, nowhere negative, and by how much this changes the correlation."""
    spectrum = _sample_correlation(sides, function, scales, felt=felt)
    _transform_octant(spectrum, sides)
    clipped = -np.minimum(spectrum, 0).sum() / spectrum.sum()
    np.maximum(spectrum, 0, out=spectrum)
    if clipped < WORST_CHANGE / 16:
        return spectrum, 0.0
    reached = spectrum.copy()
    _transform_octant(reached, sides)
    wanted = _sample_correlation(sides, function, scales, felt=felt)
    differences = reached / reached[0, 0, 0] - wanted / wanted[0, 0, 0]
    # Longer distances than the window has are nobody's concern.
    return spectrum, float(abs(differences[tuple(slice(n) for n in shape)]).max())


def _sample_correlation(sides: Shape, function: Correlation, scales: Sequence[float], *, felt: float) -> np.ndarray:
    """Return the correlation over an octant of a periodic box, with the images that lie up to `felt` away."""
    half = [np.arange(n // 2 + 1) for n in sides]
    near = [(d / s) ** 2 for d, s in zip(half, scales, strict=True)]
    far = [((n - d) / s) ** 2 for n, d, s in zip(sides, half, scales, strict=True)]
    choices = [(a, b) if n > 1 else (a,) for n, a, b in zip(sides, near, far, strict=True)]
    # The first is the box itself, at distance 0.
    images = [image for image in itertools.product(*choices) if sum(axis.min() for axis in image) <= felt**2]
    values = np.zeros([len(d) for d in half])

    def fill(z: int) -> None:
        for along_z, along_y, along_x in images:
            values[z] += function(np.sqrt(along_z[z] + along_y[:, None] + along_x))

    in_threads(fill, range(len(values)))
    return values


def _transform_octant(values: np.ndarray, sides: Shape) -> None:
    """Fourier transform, in place, a function that is even along each axis, of which an octant is given."""
    for axis, side in enumerate(sides):
        if side == 1:
            continue
        slices = np.moveaxis(values, 1 if axis == 0 else 0, 0)
        along, mirror = max(axis - 1, 0), _mirror(side)

        def transform(i: int, slices: Any = slices, along: int = along, mirror: Any = mirror) -> None:
            slices[i] = fft.rfft(np.take(slices[i], mirror, axis=along), axis=along).real

        in_threads(transform, range(len(slices)))


def _crop(spectrum: np.ndarray, sides: Shape) -> np.ndarray:
    """Leave out the frequencies that hold next to nothing, and make the variance 1."""
    weights = [_multiplicity(n).astype(float) for n in sides]
    # einsum adds in one thread; matrix products would round differently with the number of threads.
    along_zy, along_yx = np.einsum("zyx,x->zy", spectrum, weights[2]), np.einsum("zyx,z->yx", spectrum, weights[0])
    totals = (
        np.einsum("zy,y->z", along_zy, weights[1]),
        np.einsum("yx,x->y", along_yx, weights[2]),
        np.einsum("yx,y->x", along_yx, weights[1]),
    )
    kept = tuple(slice(len(_keep(t, w))) for t, w in zip(totals, weights, strict=True))
    cropped = spectrum[kept]
    along_z, along_y, along_x = (w[k] for w, k in zip(weights, kept, strict=True))
    total = np.einsum("zy,z,y->", np.einsum("zyx,x->zy", cropped, along_x), along_z, along_y)
    cropped /= total
    return cropped
