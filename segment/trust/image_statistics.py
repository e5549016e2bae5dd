"""A picture in a dozen numbers that a microscopist knows: noise, blur, contrast, stripes, jitter."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from segment.preprocessing import normalise
from segment.thresholds import check_grey, otsu
from segment.trust.accepted_numbers import as_number
from segment.trust.slabs import as_sliceable

__all__ = ["FEATURES", "LEAST_SIDE", "ImageStatistics", "image_statistics", "places_of_pairs"]

MOST_PAIRS, MOST_SIDE, LEAST_SIDE = 6, 512, 24
# A median of absolute normal deviates, as a standard deviation.
NORMAL_MAD = 0.6745
SMOOTH_PX, STRIPE_PX, BLOCK_PX = 1.0, 3.0, 24
STEEP_PERCENT = 0.5
LAGS_PX = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


@dataclasses.dataclass(frozen=True)
class Feature:
    """How a number is compared and spoken of.

    Attributes
    ----------
    words : str
        Its name in a sentence.
    least : float or None
        What is added before the logarithm is taken, so that all that is invisible counts as equal; None compares the
        number itself.
    """

    words: str
    least: float | None


FEATURES = {
    "noise": Feature("noise", 0.002),
    "blur_px": Feature("blur", 0.1),
    "dark_level": Feature("dark grey level", None),
    "bright_level": Feature("bright grey level", None),
    "dark_fraction": Feature("dark fraction", None),
    "separation": Feature("separation of dark and bright", 0.1),
    "correlation_px": Feature("correlation length", 0.1),
    "slice_step_px": Feature("change from slice to slice", 0.1),
    "stripes_y": Feature("strength of stripes along y", 0.01),
    "stripes_x": Feature("strength of stripes along x", 0.01),
    "jitter": Feature("brightness jitter between slices", 0.005),
    "saturation": Feature("saturated fraction", 0.01),
}


@dataclasses.dataclass(frozen=True)
class ImageStatistics:
    """What a grey volume looks like. Grey levels are those of the normalised volume: percentiles 1 and 99 at 0 and 1.

    Attributes
    ----------
    noise : float
        Standard deviation of what differs from pixel to pixel.
    blur_px : float
        Standard deviation of the Gaussian that would make the steepest edges (0.5 % of the pixels) of a step from
        black to white, in pixels.
    dark_level, bright_level : float
        Median of the pixels below and above Otsu's threshold.
    dark_fraction : float
        Fraction of the pixels below it.
    separation : float
        Difference of the two levels over the standard deviation of the pixels within the two classes: contrast to
        noise, where noise is all that is not the contrast.
    correlation_px : float
        Distance in the slices at which the correlation of the picture has fallen to 1/e, mean of y and x, in pixels;
        64, or half the slice's shorter side, at most.
    slice_step_px : float
        Shift within a slice, in pixels, that changes the picture as much as going to the next slice: about the slice
        distance in pixels for an isotropic material and steady slices; with an end as `correlation_px`. 1 where there
        is a single slice.
    stripes_y, stripes_x : float
        Standard deviation of the grey value of stripes that run along y (curtains) or along x (scan lines).
    jitter : float
        Standard deviation of the brightness of a slice; 0 where there is a single one.
    saturation : float
        Fraction of pixels at the darkest or brightest value found, where more than one pixel has it.
    """

    noise: float
    blur_px: float
    dark_level: float
    bright_level: float
    dark_fraction: float
    separation: float
    correlation_px: float
    slice_step_px: float
    stripes_y: float
    stripes_x: float
    jitter: float
    saturation: float

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            number = as_number(value, name)
            least = FEATURES[name].least
            if least is not None and number < 0:
                raise ValueError(f"{name} is {value!r}; give a number of at least 0")

    def vector(self) -> np.ndarray:
        """Return the numbers as compared, (12,) float64: ln(least + value), or the value itself; see `FEATURES`."""
        return np.array(
            [
                getattr(self, name) if feature.least is None else math.log(feature.least + getattr(self, name))
                for name, feature in FEATURES.items()
            ]
        )

    def as_dict(self) -> dict[str, float]:
        """Return the numbers by name, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> "ImageStatistics":
        """Return the statistics that `as_dict` gave; ``ValueError`` where a number is missing or unknown."""
        if set(values) != set(FEATURES):
            wrong = ", ".join(sorted(set(values) ^ set(FEATURES)))
            raise ValueError(f"these image statistics are missing or unknown: {wrong}; measure the images again")
        return cls(**values)


def image_statistics(grey: Any) -> ImageStatistics:
    """Measure what a grey volume looks like.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values of any scale; slices of at least 24 × 24 pixels.

    Returns
    -------
    ImageStatistics
        From up to six pairs of neighbouring slices, spread evenly over the volume, and of each the middle 512 × 512
        pixels at most: time and memory do not grow with the volume. A linear change of the grey values, of positive
        slope, changes nothing.

    Raises
    ------
    ValueError
        For a constant volume or one that is constant where it is looked at, smaller slices, NaN.

    Notes
    -----
    *Noise*: the second difference along y of the second difference along x leaves noise and little else; the median of
    its absolute value is not moved by the edges. *Stripes*: columns are averaged over blocks of rows, less their
    neighbourhood; what two blocks with a third between them have in common runs through all three. *Jitter*: the
    middle half of the differences of two slices' pixels hardly feels that the structure changes.

    References
    ----------
    Immerkær, "Fast noise variance estimation", Computer Vision and Image Understanding 64 (1996) 300.
    """
    pairs, saturation = _looked_at(grey)
    images = pairs.reshape(-1, *pairs.shape[2:])
    smooth = ndimage.gaussian_filter(images, (0, SMOOTH_PX, SMOOTH_PX))
    noise, levels = _noise(images), _levels(images, smooth)
    lags = _Lags.of(smooth, noise)
    shifts = _shifts(pairs)
    return ImageStatistics(
        noise=noise,
        blur_px=_blur(smooth),
        **levels,
        correlation_px=lags.where((1 - math.exp(-1)) * lags.far),
        slice_step_px=_slice_step(smooth.reshape(pairs.shape), shifts, lags),
        stripes_y=_stripes(images),
        stripes_x=_stripes(images.swapaxes(1, 2)),
        jitter=math.sqrt(float(np.mean(shifts**2)) / 2) if shifts.size else 0.0,
        saturation=saturation,
    )


def _looked_at(grey: Any) -> tuple[np.ndarray, float]:
    """Return normalised slices (pairs, 2, y, x), or (1, 1, y, x) of a single slice, and how much is saturated."""
    shape = np.shape(grey)
    if len(shape) != 3 or min(shape[1:]) < LEAST_SIDE or shape[0] < 1:
        raise ValueError(
            f"grey values have shape {shape}; give (z, y, x), slices of at least {LEAST_SIDE} pixels a side"
        )
    deep = min(2, shape[0])
    starts, window = places_of_pairs(shape)
    volume = as_sliceable(grey)
    chosen = check_grey(np.concatenate([np.asarray(volume[z : z + deep])[(slice(None), *window)] for z in starts]))
    ends = np.count_nonzero(chosen == chosen.min()) + np.count_nonzero(chosen == chosen.max())
    return normalise(chosen).reshape(len(starts), deep, *chosen.shape[1:]), (ends - 2) / chosen.size


def places_of_pairs(shape: Sequence[int]) -> tuple[list[int], tuple[slice, slice]]:
    """Return the first slices of up to six pairs, spread evenly over a stack, and the middle of a slice, (y, x)."""
    count = max(1, min(MOST_PAIRS, shape[0] // 2))
    starts = np.unique(np.linspace(0, shape[0] - min(2, shape[0]), count).round().astype(int)).tolist()
    y, x = (slice((n - min(n, MOST_SIDE)) // 2, (n + min(n, MOST_SIDE)) // 2) for n in shape[1:])
    return starts, (y, x)


def _noise(images: np.ndarray) -> float:
    cross = np.diff(np.diff(images, n=2, axis=1), n=2, axis=2)
    # The weights 1, -2, 1 in both directions have a square sum of 36.
    return float(np.median(np.abs(cross))) / NORMAL_MAD / 6


def _levels(images: np.ndarray, smooth: np.ndarray) -> dict[str, float]:
    bright = otsu(smooth, median_size=1) == 1
    parts = [images[~bright], images[bright]]
    dark_level, bright_level = (float(np.median(part)) for part in parts)
    within = sum(float(part.var(dtype=np.float64)) * part.size for part in parts) / images.size
    return {
        "dark_level": dark_level,
        "bright_level": bright_level,
        "dark_fraction": parts[0].size / images.size,
        "separation": max(0.0, bright_level - dark_level) / math.sqrt(max(within, 1e-12)),
    }


def _blur(smooth: np.ndarray) -> float:
    steep = np.hypot(np.gradient(smooth, axis=1), np.gradient(smooth, axis=2))
    slope = float(np.percentile(steep, 100 - STEEP_PERCENT))
    dark, bright = np.percentile(smooth, [1, 99])
    width = float(bright - dark) / max(math.sqrt(2 * math.pi) * slope, 1e-6)
    # A difference over two pixels has itself the variance 1/3 of a box of that width.
    return math.sqrt(max(width**2 - SMOOTH_PX**2 - 1 / 3, 0.0))


@dataclasses.dataclass(frozen=True, eq=False)
class _Lags:
    """Mean squared difference of pixels a distance apart in the slices, without the noise's share."""

    distance: np.ndarray
    difference: np.ndarray
    far: float
    noise: float

    @classmethod
    def of(cls, smooth: np.ndarray, noise: float) -> "_Lags":
        distance = np.array([lag for lag in LAGS_PX if lag <= min(smooth.shape[1:]) // 2])
        # White noise behind the Gaussian filter, twice as two pixels differ by both of theirs.
        both = 2 * noise**2 / (4 * math.pi * SMOOTH_PX**2)
        found = [
            (
                float(np.mean((smooth[:, d:] - smooth[:, :-d]) ** 2))
                + float(np.mean((smooth[..., d:] - smooth[..., :-d]) ** 2))
            )
            / 2
            for d in distance
        ]
        own = both * (1 - np.exp(-(distance**2) / (4 * SMOOTH_PX**2)))
        return cls(distance, np.maximum(found - own, 0), max(0.0, 2 * float(smooth.var(dtype=np.float64)) - both), both)

    def where(self, level: float) -> float:
        """Return the distance at which the difference first reaches a level; the longest one if it never does."""
        reached = np.flatnonzero(self.difference >= level)
        if len(reached) == 0:
            return float(self.distance[-1])
        last = int(reached[0])
        near, low = (self.distance[last - 1], self.difference[last - 1]) if last else (0, 0.0)
        share = (level - low) / max(self.difference[last] - low, 1e-12)
        return float(near + np.clip(share, 0, 1) * (self.distance[last] - near))


def _shifts(pairs: np.ndarray) -> np.ndarray:
    """Return by how much the second slice of each pair is brighter: the mean of the middle half of all pixels."""
    if pairs.shape[1] < 2:
        return np.zeros(0)
    steps = np.sort((pairs[:, 1] - pairs[:, 0]).reshape(len(pairs), -1), axis=1)
    quarter = steps.shape[1] // 4
    return steps[:, quarter : steps.shape[1] - quarter].mean(axis=1, dtype=np.float64)


def _slice_step(pairs: np.ndarray, shifts: np.ndarray, lags: _Lags) -> float:
    if pairs.shape[1] < 2:
        return 1.0
    change = pairs[:, 1] - pairs[:, 0] - shifts[:, None, None]
    return lags.where(max(0.0, float(np.mean(change**2)) - lags.noise))


def _stripes(images: np.ndarray) -> float:
    """Return the standard deviation of what far rows of a slice have in common along axis 2."""
    rows = min(BLOCK_PX, images.shape[1] // 3)
    rest = images - ndimage.gaussian_filter1d(images, STRIPE_PX, axis=2)
    blocks = rest[:, : images.shape[1] // rows * rows].reshape(len(images), -1, rows, images.shape[2]).mean(axis=2)
    common = float(np.mean(blocks[:, 2:] * blocks[:, :-2], dtype=np.float64))
    return math.sqrt(max(common, 0.0))
