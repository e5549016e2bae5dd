"""Curtains: stripes along the ion beam, found on the faces alone, and the filters that laboratories use."""

import copy
import dataclasses
import math
from typing import Any

import numpy as np
from scipy import ndimage, optimize

from segment.correction.faces import black_level, check_stack, robust_spread, split_level

__all__ = ["StripeEstimate", "estimate_stripes", "stripe_spectrum", "undo_stripes", "wedge_filter"]

MOST_ANGLE_DEG = 12.0
LEAST_RMS = 0.004
SCORE = 6.0
# Beyond this distance grain and noise of two pixels have nothing in common.
FAR_PX = 6
ACROSS_PX = 16
LEVEL_PX = 48.0
THIN, ROUNDS = 4, 30
CUT = 5.0
GAP_PX = 9
PORE_PX = 8.0
LEAST_FIELD = -0.8
BROAD_PX, FLATTEST = 1.7, 0.3
BLOB_PX, BLOB_SCORE, LEAST_BLOB = 3.0, 6.0, 0.08
CHUNK, MARGIN = 32, 4
MOST_SLICES, WINDOW_PX = 16, 384
FREQUENCIES = np.linspace(0.03, 0.3, 28)


@dataclasses.dataclass(frozen=True, eq=False)
class StripeEstimate:
    """The stripes of a stack.

    Parameters
    ----------
    field : ndarray of float32, shape (Z, Y, X)
        Relative change of brightness by the stripes; the stack is that without them times ``1 + field``.
    angle_deg : float
        Between the stripes and +y, positive towards +x.
    rms : float
        Of the stripes on the faces, relative to their brightness.
    length_px, width_px, persistence_slices : float
        Distances over which a stripe keeps its strength along y, x and z (to 1/e).
    in_pores : float
        Share of the stripes seen where there is no face, 0 to 1.
    score : float
        By how many robust standard deviations the spectrum across the stripes exceeds that in other directions.
    found : bool
        Whether they are both significant (score above 6) and stronger than 0.4 % rms.
    """

    field: np.ndarray
    angle_deg: float
    rms: float
    length_px: float
    width_px: float
    persistence_slices: float
    in_pores: float
    score: float
    found: bool


def estimate_stripes(stack: Any, *, force: bool = False) -> StripeEstimate:
    """Find the stripes that run along y, straight or up to 12° aslant.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values of any scale; where some are negative, the smallest counts as black.
    force : bool
        Estimate the field even where the stripes are not significant; otherwise it is 0 there.

    Returns
    -------
    StripeEstimate

    Raises
    ------
    ValueError
        If the stack is no grey volume or smaller than 1 × 48 × 48.

    Notes
    -----
    The faces' relative deviation from the local level of their phase is taken as stripes plus noise; pores and
    edges, where the picture itself has vertical features, count for nothing. The stripes are a Markov chain down
    the beam, which forgets at one rate along faces and at another across pores, below which a stripe may begin;
    another chain from slice to slice; and across, noise of the autocorrelation that was measured. All of this
    follows from covariances of pixels so far apart that they share no noise or grain. The most probable field then
    is the solution of one linear system, found by conjugate gradients. Whether there are stripes at all is told
    by the spectrum across them against the same in directions 20° to 70° away.
    """
    array = check_stack(stack, least=(1, 48, 48))
    view = _Faces(array)
    middle = view.middle()
    angle, score, noise = _best_angle(*_directions(middle))
    slope = _sharpest_slope(*middle.residual(middle.slices, 0.0), math.tan(math.radians(angle)))
    angle = math.degrees(math.atan(slope))
    nothing = StripeEstimate(np.zeros(array.shape, np.float32), angle, 0.0, 0.0, 0.0, 0.0, 0.0, score, False)
    law = _StripeLaw.of(*middle.residual(middle.slices, slope), noise)
    if law is None:
        return nothing
    found = bool(score > SCORE and law.rms > LEAST_RMS)
    if not (found or force):
        return dataclasses.replace(nothing, rms=law.rms)
    # Behind a first guess, faces and pores are told apart, the local level is right and no stripe is cut off.
    guess = _field(middle, middle.slices, slope, law)
    law = _StripeLaw.of(*middle.residual(middle.slices, slope, guess), noise) or law
    field, share = _whole_field(view, slope, law)
    return StripeEstimate(field, angle, law.rms, law.length, law.width, law.slices, share, score, found)


def _whole_field(view: "_Faces", slope: float, law: "_StripeLaw") -> tuple[np.ndarray, float]:
    """Return the stripes of the whole stack, and what share of them is seen in pores."""
    field = np.empty(view.array.shape, np.float32)
    for first in range(0, len(field), CHUNK):
        last = min(first + CHUNK, len(field))
        near = range(max(0, first - MARGIN), min(len(field), last + MARGIN))
        part = _field(view, near, slope, law, _field(view, near, slope, law))
        field[first:last] = part[first - near.start : last - near.start]
    share = view.share_in_pores(field)
    for z, stripes in enumerate(field):
        np.maximum(stripes, LEAST_FIELD, out=stripes)
        face = view.softly(z, stripes)
        # How bright a slice is on the whole is not for stripes to change.
        stripes -= float((stripes * face).sum()) / max(float(face.sum()), 1.0)
        stripes *= share + (1 - share) * face
    return field, share


def _field(
    view: "_Faces", slices: range, slope: float, law: "_StripeLaw", guess: np.ndarray | None = None
) -> np.ndarray:
    return _shear(_solve(*view.residual(slices, slope, guess), law), -slope)


def undo_stripes(stack: Any, field: Any) -> np.ndarray:
    """Divide a stack by ``1 + field``.

    Parameters
    ----------
    stack, field : array-like, shape (Z, Y, X)
        Grey values, and the relative change by the stripes, above -1.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
    """
    array, field = check_stack(stack, least=(1, 1, 1)), np.asarray(field, np.float32)
    if field.shape != array.shape or not (np.isfinite(field).all() and field.min() > -1):
        raise ValueError(
            f"the stripes have shape {field.shape} or values that are not above -1; give those of `estimate_stripes` "
            f"for this stack of shape {array.shape}"
        )
    black = np.float32(black_level(array))
    return (array.astype(np.float32) - black) / (1 + field) + black


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


def stripe_spectrum(stack: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the power of the faces' unevenness by direction.

    Parameters
    ----------
    stack : array-like, shape (Z, Y, X)
        Grey values.

    Returns
    -------
    angle_deg : ndarray, shape (180,)
        Direction of stripes against +y, from -89.5 to 89.5, positive towards +x.
    power : ndarray, shape (180,)
        Spectral density of the relative brightness in px², the mean over waves of 3 to 33 pixels across. Noise and
        isotropic grain give the same in every direction.
    """
    return _directions(_Faces(check_stack(stack, least=(1, 48, 48))).middle())


class _Faces:
    """The faces of a stack: which pixels they are and how far each is from the local level of its phase."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.black = array, np.float32(black_level(array))
        picked = np.linspace(0, len(array) - 1, min(len(array), 8)).round().astype(int)
        smooth = np.stack([self._smooth(z)[1] for z in np.unique(picked)])
        self.splits = _splits(smooth)
        phase = np.stack([self._phase(image) for image in smooth])
        self.levels = [float(np.median(smooth[phase == k])) for k in range(len(self.splits) + 1) if (phase == k).any()]
        if len(self.levels) != len(self.splits) + 1:
            self.splits, self.levels = [], [float(np.median(smooth))]
        self.has_pores = bool(self.splits)
        self.reach = min(LEVEL_PX, min(array.shape[1:]) / 4)

    def _smooth(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        image = self.array[z].astype(np.float32) - self.black
        return image, ndimage.gaussian_filter(image, 1.0, mode="nearest")

    def _phase(self, smooth: np.ndarray) -> np.ndarray:
        """Return which phase each pixel of a smoothed slice is, by number."""
        if len(self.splits) < 2:
            return np.digitize(smooth, self.splits)
        # Stripes are narrow; smoothed away, they do not make one bright phase look like another.
        face = smooth > self.splits[0]
        count = ndimage.gaussian_filter(face.astype(np.float32), BROAD_PX, mode="nearest")
        broad = ndimage.gaussian_filter(smooth * face, BROAD_PX, mode="nearest") / np.maximum(count, 1e-3)
        return np.where(face, 1 + np.digitize(broad, self.splits[1:]), 0)

    def without(self, z: int, stripes: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return a slice above black and the same smoothed, seen behind stripes; beyond their reach pores stay dark."""
        image, smooth = self._smooth(z)
        if np.ndim(stripes) == 0 or not self.has_pores:
            return image, smooth
        behind = ndimage.gaussian_filter(image / np.maximum(1 + stripes, 1 + LEAST_FIELD), 1.0, mode="nearest")
        # A dark stripe across a face is narrow; a pore is dark whether or not a stripe is thought to cross it.
        near = ndimage.binary_closing(np.pad(smooth > self.splits[0], GAP_PX), np.ones((1, GAP_PX)))
        near = near[GAP_PX:-GAP_PX, GAP_PX:-GAP_PX]
        return image, np.where(near, behind, np.minimum(smooth, behind))

    def softly(self, z: int, field: np.ndarray) -> np.ndarray:
        """Return 1 on the faces of a slice and 0 in its pores, seen behind the stripes, with soft rims."""
        if not self.has_pores:
            return np.ones(self.array.shape[1:], np.float32)
        face = (self.without(z, field)[1] > self.splits[0]).astype(np.float32)
        return ndimage.gaussian_filter(face, 0.5, mode="nearest")

    def middle(self) -> "_Faces":
        """Return the middle of the slices, as large as their law can use."""
        rows, columns = (
            slice((n - min(n, WINDOW_PX)) // 2, (n + min(n, WINDOW_PX)) // 2) for n in self.array.shape[1:]
        )
        part = copy.copy(self)
        part.array = self.array[:, rows, columns]
        return part

    def residual(
        self, slices: Any, slope: float = 0.0, guess: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the faces' relative deviation ``(n, Y, X)`` and which pixels it is known for, stripes upright.

        Pores, other phases and the local level are seen behind the stripes of a first guess, where there is one.
        """
        rest = np.empty((len(slices), *self.array.shape[1:]), np.float32)
        seen = np.empty_like(rest)
        for i, z in enumerate(slices):
            stripes: Any = np.float32(0) if guess is None else np.maximum(guess[i], LEAST_FIELD)
            image, smooth = self.without(z, stripes)
            phase = self._phase(smooth)
            plain = image / np.asarray(self.levels, np.float32)[phase] - 1 - stripes
            known = self._interior(phase)
            known = _less_blobs(_less_local_level(plain, known, self.reach), known)
            rest[i] = _less_local_level(plain, known, self.reach) + stripes * known
            seen[i] = known
        if slope:
            rest, seen = _shear(rest * seen, slope), _shear(seen, slope)
            rest = np.where(seen > 0.5, rest / np.maximum(seen, 0.5), 0)
            seen = (seen > 0.5).astype(np.float32)
        return rest, seen

    @property
    def slices(self) -> range:
        """Neighbouring slices in the middle of the stack, enough for the law."""
        count = min(len(self.array), MOST_SLICES)
        first = (len(self.array) - count) // 2
        return range(first, first + count)

    def _interior(self, phase: np.ndarray) -> np.ndarray:
        flat = ndimage.maximum_filter(phase, 3, mode="nearest") == ndimage.minimum_filter(phase, 3, mode="nearest")
        return (flat & (phase >= self.has_pores)).astype(np.float32)

    def share_in_pores(self, field: np.ndarray) -> float:
        """Return what share of the stripes is seen in the pores; 0 where that is not significant."""
        if not self.has_pores:
            return 1.0
        products, powers = [], []
        for z in range(0, len(field), max(1, len(field) // MOST_SLICES)):
            image, smooth = self._smooth(z)
            behind = smooth / np.maximum(1 + field[z], 1 + LEAST_FIELD)
            # Neither a pore that a stripe brightens nor a face that one darkens may be mistaken for the other.
            dark = np.maximum(smooth, behind) < self.splits[0]
            pore = ndimage.minimum_filter(dark.astype(np.float32), 3, mode="nearest")
            local = _broad_mean(image, pore, PORE_PX)
            seen = (image / np.maximum(local, 0.05 * self.levels[-1]) - 1) * pore
            sought = (field[z] - _broad_mean(field[z], pore, PORE_PX)) * pore
            products.append(float((seen * sought).sum()))
            powers.append(float((sought**2).sum()))
        if not sum(powers):
            return 0.0
        share = sum(products) / sum(powers)
        spread = math.sqrt(sum((a - share * b) ** 2 for a, b in zip(products, powers, strict=True))) / sum(powers)
        return float(np.clip(share, 0, 1)) if share > 4 * spread else 0.0


def _splits(smooth: np.ndarray) -> list[float]:
    """Return the grey values between pores and faces and between the faces' phases, at most three."""
    first = split_level(smooth)
    if first is None:
        return []
    splits = [first]
    broad = ndimage.gaussian_filter(smooth, (0, BROAD_PX, BROAD_PX), mode="nearest")
    steepness = np.hypot(*np.gradient(broad, axis=(1, 2)))
    bright = broad > first
    while len(splits) < 3 and np.count_nonzero(bright) > 1000:
        # Rims between faces and pores would blur the valley between two bright phases.
        split = split_level(broad[bright & (steepness <= np.quantile(steepness[bright], FLATTEST))])
        if split is None:
            break
        splits.append(split)
        bright &= broad > split
    return splits


def _less_blobs(rest: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return `seen` of a slice without patches as wide as high that differ from their column: another phase."""
    total = ndimage.gaussian_filter(rest * seen, BLOB_PX, mode="constant")
    smooth = total / np.maximum(ndimage.gaussian_filter(seen, BLOB_PX, mode="constant"), 0.1)
    thin = smooth[::THIN]
    size = min(2 * (len(thin) // 4) + 1, 33)
    column = _unthin(ndimage.median_filter(thin, (size, 1), mode="nearest")[None], len(rest))[0]
    apart = np.abs(smooth - column)
    if not seen.any():
        return seen
    limit = max(LEAST_BLOB, BLOB_SCORE * float(robust_spread(apart[seen > 0])))
    return seen * ~ndimage.maximum_filter(apart > limit, 5, mode="nearest")


def _less_local_level(values: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Return what `values` have beyond their mean nearby within the mask, cut at five standard deviations."""
    rest = (values - _broad_mean(values, mask, sigma)) * mask
    known = rest[mask > 0]
    if known.size == 0:
        return rest
    limit = CUT * float(robust_spread(known))
    return np.clip(rest, -limit, limit)


def _broad_mean(values: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Return the Gaussian mean of `values` within the mask, worked out on blocks a sixth of `sigma` wide."""
    step = max(1, int(sigma / 6))
    starts = [np.arange(0, n, step) for n in mask.shape]
    ends = [
        _interpolation(n, start + (np.minimum(step, n - start) - 1) / 2)
        for n, start in zip(mask.shape, starts, strict=True)
    ]
    parts = []
    for image in (values * mask, mask):
        blocks = np.add.reduceat(np.add.reduceat(image, starts[0], axis=0), starts[1], axis=1)
        parts.append(ndimage.gaussian_filter(blocks, sigma / step, mode="constant"))
    mean = parts[0] / np.maximum(parts[1], 1e-3 * step**2)
    return ends[0] @ mean @ ends[1].T


def _interpolation(size: int, at: np.ndarray) -> np.ndarray:
    """Return the matrix ``(size, len(at))`` that interpolates linearly between values at the places `at`."""
    identity = np.eye(len(at), dtype=np.float32)
    return np.stack([np.interp(np.arange(size), at, row) for row in identity], axis=1).astype(np.float32)


def _shear(stack: np.ndarray, slope: float) -> np.ndarray:
    """Return the stack with row y moved by -slope y, so that stripes of that slope stand upright."""
    if slope == 0:
        return stack
    result = np.empty_like(stack)
    columns = np.arange(stack.shape[2])
    middle = (stack.shape[1] - 1) / 2
    for y in range(stack.shape[1]):
        at = np.clip(columns + slope * (y - middle), 0, stack.shape[2] - 1)
        left = np.minimum(at.astype(int), stack.shape[2] - 2)
        share = (at - left).astype(np.float32)
        result[:, y] = (1 - share) * stack[:, y, left] + share * stack[:, y, left + 1]
    return result


def _directions(view: _Faces) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectral density of the faces' deviations along each direction across possible stripes."""
    count = min(len(view.array), MOST_SLICES)
    slices = np.unique(np.linspace(0, len(view.array) - 1, count).round().astype(int))
    ny, nx = view.array.shape[1:]
    window = np.outer(np.hanning(ny + 2)[1:-1], np.hanning(nx + 2)[1:-1]).astype(np.float32)
    shape, weight = (2 * ny, 2 * nx), 0.0
    power = np.zeros(shape)
    for z in slices:
        rest, seen = view.residual([z])
        power += np.abs(np.fft.fft2(rest[0] * window, shape)) ** 2
        weight += float((seen[0] * window**2).sum())
    angles = np.arange(-89.5, 90)
    radians = np.radians(angles)[:, None]
    ky, kx = -np.sin(radians) * FREQUENCIES * shape[0], np.cos(radians) * FREQUENCIES * shape[1]
    along = ndimage.map_coordinates(power, [ky.ravel(), kx.ravel()], order=1, mode="grid-wrap")
    return angles, along.reshape(ky.shape).mean(axis=1) / max(weight, 1.0)


def _best_angle(angles: np.ndarray, power: np.ndarray) -> tuple[float, float, float]:
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


def _sharpest_slope(rest: np.ndarray, seen: np.ndarray, slope: float) -> float:
    """Return the slope near `slope` along which distant rows agree best."""
    lags = [lag for lag in (24, 48, 72, 96) if lag < rest.shape[1] // 2]
    tried = slope + np.linspace(-0.03, 0.03, 25)
    total = np.zeros(len(tried))
    for lag in lags:
        shifts = np.arange(math.floor(tried[0] * lag) - 1, math.ceil(tried[-1] * lag) + 2)
        agree = [
            _covariance(rest[:, :, ::-1], seen[:, :, ::-1], (0, lag, -d))
            if d < 0
            else _covariance(rest, seen, (0, lag, d))
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


@dataclasses.dataclass(frozen=True, eq=False)
class _StripeLaw:
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
    def of(cls, rest: np.ndarray, seen: np.ndarray, noise: float) -> "_StripeLaw | None":
        """Fit the law to covariances at distances where noise is independent; None where there are no stripes."""
        base = _covariance(rest, seen, (0, FAR_PX, 0))
        if not base > 0:
            return None
        start, length, gap = _decay(rest, seen)
        across = np.array([_covariance(rest, seen, (0, FAR_PX, dx)) / base for dx in range(ACROSS_PX + 1)])
        keep = _covariance(rest, seen, (1, FAR_PX, 0)) / base if len(rest) > 1 else 0.0
        return cls(math.sqrt(start), noise, length, gap, _root_kernel(across), float(np.clip(keep, 0, 0.98)))

    @property
    def width(self) -> float:
        """Full width of the even stripe with the same autocorrelation at its centre and on the whole."""
        return float(self.across.sum() ** 2 / (self.across**2).sum())

    @property
    def slices(self) -> float:
        return -1 / math.log(self.keep) if self.keep > 0 else 0.0


def _root_kernel(correlation: np.ndarray) -> np.ndarray:
    """Return the symmetric kernel of square sum 1 whose autocorrelation is closest to a measured one."""
    n = len(correlation)
    tapered = correlation * (0.5 + 0.5 * np.cos(np.pi * np.arange(n) / n))
    whole = np.concatenate([tapered, tapered[:0:-1]])
    amplitude = np.sqrt(np.maximum(np.fft.fft(whole).real, 0))
    kernel = np.fft.fftshift(np.fft.ifft(amplitude).real)
    return kernel / math.sqrt((kernel**2).sum())


def _covariance(rest: np.ndarray, seen: np.ndarray, lag: tuple[int, int, int]) -> float:
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


def _solve(rest: np.ndarray, seen: np.ndarray, law: _StripeLaw, rounds: int = ROUNDS) -> np.ndarray:
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
    return _unthin(chain.along(steps), rest.shape[1])


class _Chain:
    """From independent unit steps to stripes of variance 1, and the transpose of that."""

    def __init__(self, weight: np.ndarray, law: _StripeLaw) -> None:
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


def _unthin(stack: np.ndarray, rows: int) -> np.ndarray:
    """Return the stack with its rows THIN times as dense, interpolated."""
    at = np.clip((np.arange(rows) + 0.5) / THIN - 0.5, 0, stack.shape[1] - 1)
    low = np.minimum(at.astype(int), max(stack.shape[1] - 2, 0))
    share = (at - low).astype(np.float32)[None, :, None]
    high = np.minimum(low + 1, stack.shape[1] - 1)
    return (1 - share) * stack[:, low] + share * stack[:, high]
