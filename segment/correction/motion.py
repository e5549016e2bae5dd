"""How cut faces, and what is seen behind them through the pores, move from slice to slice."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import fft, linalg, ndimage

from segment.correction.faces import split_level

__all__ = ["Scene", "Track", "prepare_scene", "relative_motion", "rough_path", "track"]

BASELINES = (1, 2, 3, 5, 8)
SMOOTHING_PX = 1.0
# Down an edge blurred by a pixel and smoothed by another, from half its height and from its upper end: no light of the
# faces reaches what is taken as seen behind them.
CLEARANCE_PX, CLEARANCE_OF_FOOT_PX = 3, 4
BORDER_PX = 3
WIDEST_WINDOW = 512
WINDOW_SLICES = 24
TILES = 4
FEWEST_PIXELS = 60
MOST_PIXELS = 8_000
LEAST_SLOPE = 0.05
LEAST_CORRELATION = 0.4
ROUNDS = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A stack smoothed and split into cut faces and what lies behind them.

    Parameters
    ----------
    grey : ndarray of float32, shape (Z, y, x)
        The middle of each slice, smoothed, about 0 in the darkest pores and 1 on the faces.
    level : float or None
        Otsu's grey value between pore and face; None where there is no valley between two classes.
    faces : ndarray of float32, shape (Z, y, x)
        `grey` with everything behind the cut face made equally dark.
    behind : ndarray of bool, shape (Z, y, x)
        Pixels well inside pores, which show what lies behind the cut face.
    """

    grey: np.ndarray
    level: float | None
    faces: np.ndarray
    behind: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Track:
    """How something moved through a stack.

    Parameters
    ----------
    path : ndarray, shape (Z, 2)
        Position (y, x) in each slice in pixels, its mean 0.
    without_tile : ndarray, shape (tiles, Z, 2)
        The same with one tile of the picture left out: their spread tells the standard error.
    seen : ndarray of bool, shape (Z,)
        Slices that were compared with a neighbour successfully.
    misfit : ndarray, shape (Z,)
        Median disagreement of a slice's comparisons with the path, in pixels; NaN where there are none.
    """

    path: np.ndarray
    without_tile: np.ndarray
    seen: np.ndarray
    misfit: np.ndarray

    def jackknife(self, values: np.ndarray) -> np.ndarray:
        """Return the standard error of a quantity from its values with each tile left out, (tiles, …)."""
        n = len(values)
        return np.sqrt((n - 1) / n * np.sum((values - values.mean(axis=0)) ** 2, axis=0))

    @property
    def standard_error(self) -> np.ndarray:
        """Standard error of `path`, shape (Z, 2)."""
        return self.jackknife(self.without_tile)

    @property
    def trend(self) -> tuple[np.ndarray, np.ndarray]:
        """Steady motion (y, x) in pixels a slice, and its standard error."""
        return _slope(self.path), self.jackknife(_slope(self.without_tile))


def _slope(path: np.ndarray) -> np.ndarray:
    """Return the slope of the straight line through a path (…, Z, 2) or several."""
    z = np.arange(path.shape[-2]) - (path.shape[-2] - 1) / 2
    return np.einsum("z,...za->...a", z, path) / np.sum(z**2)


def prepare_scene(stack: np.ndarray) -> Scene:
    """Smooth a stack (Z, Y, X) and split it; of wide slices only the middle is kept."""
    window = [slice((n - min(n, WIDEST_WINDOW)) // 2, (n + min(n, WIDEST_WINDOW)) // 2) for n in stack.shape[1:]]
    grey = stack[:, window[0], window[1]].astype(np.float32)
    for image in grey:
        ndimage.gaussian_filter(image, SMOOTHING_PX, output=image, mode="nearest")
    low, high = np.percentile(grey[:: max(1, len(grey) // 32)], [1, 99])
    grey = (grey - np.float32(low)) / np.float32(high - low if high > low else 1)
    level = split_level(grey)
    if level is None:
        return Scene(grey, None, grey, np.zeros(grey.shape, bool))
    top = float(np.median(grey[grey > level]))
    # Half way up from the valley to the faces, what shines through from just behind the cut is dark as well.
    floor = level + 0.5 * (top - level)
    foot = _foot_of_faces(grey, level)
    pore, clearance = grey < foot, CLEARANCE_PX if foot == level else CLEARANCE_OF_FOOT_PX
    behind = np.stack([ndimage.binary_erosion(image, np.ones((3, 3)), clearance) for image in pore])
    return Scene(grey, level, np.clip((grey - floor) / (top - floor), 0, 1.5).astype(np.float32), behind)


def _foot_of_faces(grey: np.ndarray, level: float) -> float:
    """Return the grey value below which pixels show what lies behind the faces.

    This is `level`, unless the histogram has no valley there: where walls are nearly as bright as faces, it is where
    the faces' own peak begins.
    """
    thin = grey[:: max(1, len(grey) // 32)]
    darker, there = (
        np.count_nonzero((thin > level + low) & (thin < level + high)) / (high - low)
        for low, high in ((-0.2, -0.1), (-0.03, 0.03))
    )
    if darker > there:
        return level
    counts, edges = np.histogram(grey[grey > level], 200)
    counts = ndimage.gaussian_filter1d(counts.astype(float), 2)
    peak = int(np.argmax(counts))
    low = np.flatnonzero(counts[:peak] < 0.25 * counts[peak])
    if len(low) == 0 or counts[: low[-1]].max(initial=0) > 0.5 * counts[peak]:
        return level
    # A normal law has a quarter of its peak at 1.7 standard deviations; half as far again leaves few of the faces out.
    return float(max(level, edges[peak] - 1.5 * (edges[peak] - edges[low[-1]])))


def relative_motion(scene: Scene, path: np.ndarray, *, most_px: float) -> float | None:
    """Return by how much more than `path` what lies behind the faces moves along y a slice.

    Parameters
    ----------
    scene : Scene
    path : ndarray, shape (Z, 2)
        Where the faces are.
    most_px : float
        Largest motion to look for, either way.

    Returns
    -------
    float or None
        To half a pixel or so: where neighbours correlate best over the pixels that both show behind their faces.
        None where they do not correlate.
    """
    reach = max(2, int(np.ceil(most_px)))
    sums = np.zeros((2 * reach + 1, 3))
    looks = zip(_along(scene.grey, path), _along(scene.behind, path), strict=True)
    for (first, seen), (second, also_seen) in itertools.pairwise(looks):
        for row, dy in zip(sums, range(-reach, reach + 1), strict=True):
            here, there = slice(max(0, -dy), min(0, -dy) or None), slice(max(0, dy), min(0, dy) or None)
            both = (seen[here] > 0.99) & (also_seen[there] > 0.99)
            if np.count_nonzero(both) >= FEWEST_PIXELS:
                a, b = first[here][both], second[there][both]
                a, b = a - a.mean(), b - b.mean()
                row += (a @ b, a @ a, b @ b)
    with np.errstate(invalid="ignore"):
        correlation = np.nan_to_num(sums[:, 0] / np.sqrt(sums[:, 1] * sums[:, 2]))
    best = int(np.argmax(correlation))
    if correlation[best] < LEAST_CORRELATION:
        return None
    if 0 < best < 2 * reach:
        left, middle, right = correlation[best - 1 : best + 2]
        return best - reach + 0.5 * (left - right) / (left - 2 * middle + right)
    return float(best - reach)


def _along(images: np.ndarray, path: np.ndarray) -> Iterator[np.ndarray]:
    for image, (y, x) in zip(images, path, strict=True):
        yield ndimage.shift(image.astype(np.float32), (-y, -x), order=1, mode="constant")


def track(images: np.ndarray, mask: np.ndarray | None, *, start: np.ndarray) -> Track:
    """Follow the picture, or what of it a mask shows, through the stack.

    Parameters
    ----------
    images : ndarray of float32, shape (Z, Y, X)
        Smooth pictures of contrast about 1.
    mask : ndarray of bool, shape (Z, Y, X), or None
        Pixels that count; None for all.
    start : ndarray, shape (Z, 2)
        The path, to a pixel or so from slice to slice.

    Returns
    -------
    Track

    Notes
    -----
    Slices 1, 2, 3, 5 and 8 apart are compared, each brought to where the path so far says, by a weighted
    least-squares fit of a small shift, a gain and an offset to their difference [1]_. The weights are those of a
    Student law of 3 degrees of freedom: the displacements in the plane of isotropically oriented surface elements
    follow it, and what appears or disappears counts little. The path is the least-squares solution of all shifts
    together, with the same law.

    References
    ----------
    .. [1] B. D. Lucas, T. Kanade, "An iterative image registration technique", Proc. IJCAI (1981) 674-679.
    """
    path = start.astype(float)
    coefficients = np.stack([ndimage.spline_filter(image, 3, output=np.float32) for image in images])
    tiles = _tile_numbers(images.shape[1:])
    for turn in range(ROUNDS):
        baselines = [k for k in (BASELINES[:2] if turn == 0 else BASELINES) if k < len(images)]
        pairs = list(_compare_all(coefficients, mask, path, baselines, tiles))
        found = _solve_path(len(images), pairs)
        path = path + found[0][0]
        if np.abs(found[0][0]).max() < 0.03 and turn > 0:
            break
    paths, seen, misfit = found
    return Track(path - path.mean(axis=0), path + paths[1:] - paths[0], seen, misfit)


def rough_path(images: np.ndarray) -> np.ndarray:
    """Return the path (Z, 2) from the peaks of the neighbours' cross-correlations: whole pixels."""
    window = np.hanning(images.shape[1] + 2)[1:-1, None] * np.hanning(images.shape[2] + 2)[1:-1]
    spectra = (fft.rfft2((image - image.mean()) * window) for image in images)
    steps = [np.zeros(2)]
    for first, second in itertools.pairwise(spectra):
        correlation = fft.irfft2(np.conj(first) * second, images.shape[1:])
        peak = np.unravel_index(np.argmax(correlation), correlation.shape)
        steps.append(np.array([_wrap(p, n) for p, n in zip(peak, correlation.shape, strict=True)]))
    return np.cumsum(steps, axis=0)


def _wrap(index: int | np.integer, size: int) -> float:
    return float(index - size if index > size // 2 else index)


def _tile_numbers(shape: Sequence[int]) -> np.ndarray:
    rows, columns = (np.arange(n) * TILES // n for n in shape)
    return rows[:, None] * TILES + columns


@dataclasses.dataclass(frozen=True, eq=False)
class _Pair:
    """Displacement from slice `first` to slice `second`, (1 + tiles, 2), and the weight (2,) of each component."""

    first: int
    second: int
    shift: np.ndarray
    weight: np.ndarray


def _compare_all(
    coefficients: np.ndarray, mask: np.ndarray | None, path: np.ndarray, baselines: Sequence[int], tiles: np.ndarray
) -> Iterator[_Pair]:
    """Compare slices at all baselines, window by window: within one, they overlap whatever the drift of the stack."""
    n = len(coefficients)
    for start in range(0, n - 1, WINDOW_SLICES):
        stop = min(n, start + WINDOW_SLICES + max(baselines))
        middle = np.round(path[start:stop].mean(axis=0))
        moved, valid = [], []
        for z in range(start, stop):
            back = middle - path[z]
            moved.append(ndimage.shift(coefficients[z], back, order=3, prefilter=False, mode="nearest"))
            counts = np.ones(tiles.shape, np.float32) if mask is None else mask[z].astype(np.float32)
            counts[:BORDER_PX] = counts[-BORDER_PX:] = 0
            counts[:, :BORDER_PX] = counts[:, -BORDER_PX:] = 0
            valid.append(ndimage.shift(counts, back, order=1, mode="constant") > 0.99)
        slopes = [np.gradient(image) for image in moved]
        # Of faces only the edges count: among flat pixels, each edge that moved would pass for an exception.
        steep = [np.hypot(*slope) > (LEAST_SLOPE if mask is None else 0) for slope in slopes]
        for i, k in itertools.product(range(min(WINDOW_SLICES, stop - start)), baselines):
            if i + k < stop - start:
                both = np.flatnonzero(valid[i] & valid[i + k] & (steep[i] | steep[i + k]))
                both = both[:: 1 + len(both) // MOST_PIXELS]
                fit = _fit_shift(moved[i], moved[i + k], slopes[i], slopes[i + k], both, tiles)
                if fit is not None:
                    yield _Pair(start + i, start + i + k, *fit)


def _fit_shift(
    first: np.ndarray, second: np.ndarray, slope: list[np.ndarray], next_slope: list[np.ndarray], at: np.ndarray,
    tiles: np.ndarray,
) -> tuple[np.ndarray, np.ndarray] | None:  # fmt: skip
    """Fit ``second - first = -shift · slope + offset + gain * grey``; None where there is nothing to go by."""
    if len(at) < FEWEST_PIXELS:
        return None
    a, b = first.ravel()[at].astype(np.float64), second.ravel()[at].astype(np.float64)
    design = np.stack(
        [(slope[i].ravel()[at] + next_slope[i].ravel()[at]) / 2 for i in (0, 1)] + [np.ones(len(at)), (a + b) / 2],
        axis=1,
    )
    if np.corrcoef(a, b)[0, 1] < LEAST_CORRELATION if a.std() > 0 < b.std() else True:
        return None
    weight, small = np.ones(len(at)), 1e-9 * np.eye(4) * len(at)
    for _ in range(6):
        normal = design.T @ (design * weight[:, None]) + small
        answer = np.linalg.solve(normal, design.T @ (weight * (a - b)))
        residual = b - a + design @ answer
        variance = np.mean(weight * residual**2) + 1e-12
        weight = 4 / (3 + residual**2 / variance)
    share = _normal_equations_by_tile(design, weight, a - b, tiles.ravel()[at])
    left = normal - share[0], design.T @ (weight * (a - b)) - share[1]
    without = np.linalg.solve(left[0] + small, left[1][..., None])[:, :2, 0]
    spread = np.linalg.inv(normal)[[0, 1], [0, 1]] * variance
    return np.concatenate([answer[None, :2], without]), 1 / spread


def _normal_equations_by_tile(
    design: np.ndarray, weight: np.ndarray, target: np.ndarray, tile: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each tile's part of the normal equations, (tiles, 4, 4) and (tiles, 4)."""
    n = TILES * TILES
    both = np.concatenate([design, target[:, None]], axis=1)
    parts = np.empty((n, 4, 5))
    for i in range(4):
        for j in range(i, 5):
            parts[:, i, j] = np.bincount(tile, weight * both[:, i] * both[:, j], n)
            if j < 4:
                parts[:, j, i] = parts[:, i, j]
    return parts[:, :, :4], parts[:, :, 4]


def _solve_path(n: int, pairs: list[_Pair]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the paths (1 + tiles, n, 2) that agree best with all shifts, the slices seen, and their misfit."""
    paths = np.zeros((1 + TILES * TILES, n, 2))
    seen, misfit = np.zeros(n, bool), np.full(n, np.nan)
    if not pairs:
        return paths, seen, misfit
    ends = np.array([(pair.first, pair.second) for pair in pairs])
    shifts = np.stack([pair.shift for pair in pairs])
    weights = np.stack([pair.weight for pair in pairs])
    seen[ends] = True
    error = np.zeros((len(pairs), 2))
    for axis in (0, 1):
        paths[..., axis], error[:, axis] = _solve_axis(n, ends, shifts[..., axis], weights[:, axis])
    size = np.hypot(*error.T)
    for z in np.flatnonzero(seen):
        misfit[z] = np.median(size[(ends == z).any(axis=1)])
    return paths, seen, misfit


def _solve_axis(n: int, ends: np.ndarray, shifts: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = ends.T
    robust = np.ones(len(ends))
    for _ in range(5):
        w = weights * robust
        normal = np.zeros((n, n))
        for rows, columns, sign in ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1)):
            np.add.at(normal, (rows, columns), sign * w)
        # Slices that nothing was seen of stay where their neighbours are.
        loose = 1e-6 * np.median(w)
        normal[np.arange(n - 1), np.arange(n - 1)] += loose
        normal[np.arange(1, n), np.arange(1, n)] += loose
        normal[np.arange(n - 1), np.arange(1, n)] -= loose
        normal[np.arange(1, n), np.arange(n - 1)] -= loose
        right = np.zeros((n, shifts.shape[1]))
        np.add.at(right, second, w[:, None] * shifts)
        np.add.at(right, first, -w[:, None] * shifts)
        normal[0, 0] += np.median(w)
        path = linalg.solve(normal, right, assume_a="pos")
        residual = shifts[:, 0] - path[second, 0] + path[first, 0]
        scaled = weights * residual**2
        robust = 4 / (3 + scaled / (np.mean(robust * scaled) + 1e-12))
    path -= path.mean(axis=0)
    return path.T, residual
