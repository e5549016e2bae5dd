"""What stripes do to the faces of a stack, apart from pores, edges, other phases and the local level."""

import copy
import math
from typing import Any

import numpy as np
from scipy import ndimage

from segment.correction.faces import black_level, robust_spread, split_level
from segment.correction.stripe_law import THIN, unthin

__all__ = ["LEAST_FIELD", "MOST_SLICES", "StripedFaces", "shear"]

LEVEL_PX = 48.0
CUT = 5.0
GAP_PX = 9
PORE_PX = 8.0
RIM_PX = 1.0
LEAST_SHARE_OF_FACES = 0.3
MOST_STRICT = 0.75
LEAST_FIELD = -0.8
BROAD_PX, FLATTEST = 1.7, 0.3
BLOB_PX, BLOB_SCORE, LEAST_BLOB = 3.0, 6.0, 0.08
MOST_SLICES, WINDOW_PX = 16, 384


class StripedFaces:
    """The faces of a stack: which pixels they are and how far each is from the local level of its phase."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.black = array, np.float32(black_level(array))
        self.reach = min(LEVEL_PX, min(array.shape[1:]) / 4)
        self.learn_levels(None)

    def learn_levels(self, stripes: np.ndarray | None) -> None:
        """Tell pores and the faces' phases apart by their grey values, seen behind stripes if some are known."""
        picked = np.unique(np.linspace(0, len(self.array) - 1, min(len(self.array), 8)).round().astype(int))
        smooth = np.stack([self._behind(z, 0.0 if stripes is None else stripes[z]) for z in picked])
        self.splits = _splits(smooth)
        phase = np.stack([self._phase(image) for image in smooth])
        self.levels = [float(np.median(smooth[phase == k])) for k in range(len(self.splits) + 1) if (phase == k).any()]
        if len(self.levels) != len(self.splits) + 1:
            self.splits, self.levels = [], [float(np.median(smooth))]
        self.surely_face = _surely_face(smooth, self.splits)

    def take_levels(self, other: "StripedFaces") -> None:
        """Take the grey values that were learnt on a part of the stack."""
        self.splits, self.levels, self.surely_face = other.splits, other.levels, other.surely_face

    @property
    def has_pores(self) -> bool:
        """Whether there is a grey value between pores and faces."""
        return bool(self.splits)

    def _behind(self, z: int, stripes: Any) -> np.ndarray:
        image = self._image(z) / np.maximum(1 + stripes, 1 + LEAST_FIELD)
        return ndimage.gaussian_filter(image, 1.0, mode="nearest")

    def _image(self, z: int) -> np.ndarray:
        return self.array[z].astype(np.float32) - self.black

    def _smooth(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        image = self._image(z)
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
        behind = self._behind(z, stripes)
        # A dark stripe across a face is narrow; a pore is dark whether or not a stripe is thought to cross it.
        near = ndimage.binary_closing(np.pad(smooth > self.splits[0], GAP_PX), np.ones((1, GAP_PX)))
        near = near[GAP_PX:-GAP_PX, GAP_PX:-GAP_PX]
        return image, np.where(near, behind, np.minimum(smooth, behind))

    def softly(self, z: int, field: np.ndarray) -> np.ndarray:
        """Return 1 on the faces of a slice and 0 in its pores, seen behind the stripes, with soft rims."""
        if not self.has_pores:
            return np.ones(self.array.shape[1:], np.float32)
        face = (self.without(z, field)[1] > self.splits[0]).astype(np.float32)
        return ndimage.gaussian_filter(face, RIM_PX, mode="nearest")

    def middle(self) -> "StripedFaces":
        """Return the middle of each slice, as large as the law of the stripes can use."""
        rows, columns = (
            slice((n - min(n, WINDOW_PX)) // 2, (n + min(n, WINDOW_PX)) // 2) for n in self.array.shape[1:]
        )
        part = copy.copy(self)
        part.array = self.array[:, rows, columns]
        return part

    def part(self, slices: range) -> "StripedFaces":
        """Return some of the slices, one after the other."""
        part = copy.copy(self)
        part.array = self.array[slices.start : slices.stop]
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
            known = self._interior(phase) * (ndimage.uniform_filter(smooth, 3, mode="nearest") > self.surely_face)
            known = _less_blobs(_less_local_level(plain, known, self.reach), known)
            rest[i] = _less_local_level(plain, known, self.reach) + stripes * known
            seen[i] = known
        if slope:
            rest, seen = shear(rest * seen, slope), shear(seen, slope)
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


def _surely_face(smooth: np.ndarray, splits: list[float]) -> float:
    """Return the grey value above which most pixels are faces, not pores that show bright things behind.

    The faces' grey values are taken to lie evenly about the most frequent one; what there is beyond that below it are
    pores, but for faces under dark stripes: the last quarter of the way up to the faces is always trusted.
    """
    if not splits:
        return -math.inf
    counts, edges = np.histogram(smooth, 256)
    counts = ndimage.gaussian_filter1d(counts.astype(float), 1.5)
    centres = (edges[1:] + edges[:-1]) / 2
    darkest_phase = (centres > splits[0]) & (centres < (splits[1] if len(splits) > 1 else math.inf))
    peak = centres[np.argmax(np.where(darkest_phase, counts, 0))]
    faces = np.interp(2 * peak - centres, centres, counts)
    doubtful = centres[
        (centres < splits[0] + MOST_STRICT * (peak - splits[0])) & (faces < LEAST_SHARE_OF_FACES * counts)
    ]
    return max(splits[0], float(doubtful.max(initial=-math.inf)))


def _less_blobs(rest: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return `seen` of a slice without patches as wide as high that differ from their column: another phase."""
    total = ndimage.gaussian_filter(rest * seen, BLOB_PX, mode="constant")
    smooth = total / np.maximum(ndimage.gaussian_filter(seen, BLOB_PX, mode="constant"), 0.1)
    thin = smooth[::THIN]
    size = min(2 * (len(thin) // 4) + 1, 33)
    column = unthin(ndimage.median_filter(thin, (size, 1), mode="nearest")[None], len(rest))[0]
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


def shear(stack: np.ndarray, slope: float) -> np.ndarray:
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
