"""Thresholds that laboratories use: the rivals of the networks."""

from typing import Any, Literal

import numpy as np
from scipy import ndimage

__all__ = [
    "check_grey",
    "hysteresis",
    "hysteresis_levels",
    "multi_otsu",
    "multi_otsu_edges",
    "otsu",
    "porosity_threshold",
    "smoothed_by_median",
]

MOST_BINS = 65536
MOST_PHASES = 255
GRADIENT_BINS = 256
GRADIENT_SLAB = 32


def otsu(grey: Any, *, median_size: int = 3) -> np.ndarray:
    """Split a volume at Otsu's threshold: dark is pore, bright is solid.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values, floating or whole numbers.
    median_size : int
        Side of the median filter that takes the noise out first, in voxels; 1 leaves it out.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        0 (pore) up to the threshold, 1 above.

    Raises
    ------
    ValueError
        If the volume is constant (as it is or after the filter), not three-dimensional or holds NaN.

    Notes
    -----
    Each whole number has a bin of its own; floating-point values, and whole numbers that span more, share 65536. A
    bin belongs to one class as a whole, so that values stored as another type give the same labels.

    References
    ----------
    .. [1] N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9 (1979) 62-66.
    """
    smooth = smoothed_by_median(check_grey(grey), median_size)
    return _split(smooth, [_otsu_edge(smooth)])


def multi_otsu(grey: Any, *, n_phases: int, median_size: int = 3) -> np.ndarray:
    """Split a volume at the thresholds that leave the least variance of grey values within its phases.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values, floating or whole numbers.
    n_phases : int
        How many phases, from 2 to 255. For two phases this is `otsu`.
    median_size : int
        Side of the median filter that takes the noise out first, in voxels; 1 leaves it out.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        0 (pore) for the darkest class to ``n_phases - 1`` for the brightest.

    Raises
    ------
    ValueError
        If the number of phases cannot be had, or the volume is constant, not three-dimensional or holds NaN.

    Notes
    -----
    The thresholds are the best of all, to rounding, whatever their number: the least variance of the first *i*
    levels in *k* classes follows from that in *k* − 1, and since the best last threshold never falls as *i* grows, each
    class costs *O(B log B)* for *B* levels [1]_ [2]_. Bins are those of `otsu`.

    References
    ----------
    .. [1] P.-S. Liao, T.-S. Chen, P.-C. Chung, "A fast algorithm for multilevel thresholding", J. Inf. Sci. Eng. 17
       (2001) 713-727.
    .. [2] X. Wu, "Optimal quantization by matrix searching", J. Algorithms 12 (1991) 663-673.
    """
    smooth = smoothed_by_median(check_grey(grey), median_size)
    return _split(smooth, multi_otsu_edges(smooth, n_phases))


def multi_otsu_edges(grey: np.ndarray, n_phases: int) -> list[float]:
    """Return the ``n_phases - 1`` grey values, rising, at and above which voxels are of the next brighter class."""
    if isinstance(n_phases, bool) or not isinstance(n_phases, int | np.integer) or not 2 <= n_phases <= MOST_PHASES:
        raise ValueError(f"n_phases is {n_phases!r}; give a whole number from 2 to {MOST_PHASES}")
    if n_phases == 2:
        return [_otsu_edge(grey)]
    counts, edges = _histogram(grey)
    filled = np.flatnonzero(counts)
    if filled.size < n_phases:
        raise ValueError(
            f"there are {filled.size} different grey values for {n_phases} phases; give fewer phases, or a smaller "
            "median_size"
        )
    starts = _least_variance_classes(counts[filled].astype(np.float64), edges[filled] - edges[0], n_phases)
    return [float(edges[filled[start]]) for start in starts]


def porosity_threshold(
    grey: Any, porosity: float, *, median_size: int = 3, aside: np.ndarray | None = None
) -> np.ndarray:
    """Split a volume at the threshold that leaves a known porosity: dark is pore, bright is solid.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values, floating or whole numbers.
    porosity : float
        Pore fraction, e.g. from mercury intrusion, between 0 and 1.
    median_size : int
        Side of the median filter that takes the noise out first, in voxels; 1 leaves it out.
    aside : ndarray of bool, shape (Z, Y, X), optional
        Voxels of a layer whose pores are too small to be seen, such as the microporous layer of a gas diffusion
        layer. They are taken out after the filter and before the threshold is sought, and come back as solid.
        `porosity` then is that of the other voxels alone. Where a porosity of the whole was measured, with the layer
        taken as solid, give it divided by ``1 - aside.mean()``.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        0 (pore) for the darkest voxels, 1 for the rest and for those set aside; ``labels[aside] = 2`` makes them a
        phase of their own. Where many voxels share the grey value at the threshold, the nearer of the two possible
        porosities is taken.

    Raises
    ------
    ValueError
        If the porosity is not between 0 and 1, `aside` is no mask of the volume or leaves nothing to split, or the
        volume is constant, not three-dimensional or holds NaN.

    Notes
    -----
    The utile_pore paper calibrates this way: a pixel classifier marks the microporous layer (here
    `segment.classical.PixelForest`), its voxels are removed, fibres and pores are split at the measured porosity, and
    the removed voxels are put back.
    """
    if not 0 < porosity < 1:
        raise ValueError(f"porosity is {porosity!r}; give a number above 0 and below 1")
    smooth = smoothed_by_median(check_grey(grey), median_size)
    others = smooth if aside is None else smooth[~_check_aside(aside, smooth.shape)]
    if others.size == 0 or others.min() == others.max():
        raise ValueError("the voxels that are not set aside have no two grey values; set fewer aside")
    wanted = round(porosity * others.size)
    rank = min(wanted, others.size - 1)
    level = np.partition(others, rank, axis=None)[rank]
    below, upto = np.count_nonzero(others < level), np.count_nonzero(others <= level)
    solid = smooth >= level if wanted - below <= upto - wanted else smooth > level
    if aside is not None:
        solid |= aside
    return solid.astype(np.uint8)


def hysteresis(grey: Any, low: float, high: float, *, median_size: int = 1) -> np.ndarray:
    """Call solid what is surely bright, and what is fairly bright and hangs together with it.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values, floating or whole numbers.
    low, high : float
        Grey values, `low` not above `high`; `hysteresis_levels` finds them.
    median_size : int
        Side of a median filter that takes the noise out first, in voxels; 1 leaves it out. A filter of 3 removes
        sheets that are one voxel thin and threads thinner than three, which hysteresis is there to keep.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        1 (solid) above `high`, and above `low` wherever a chain of voxels above `low` leads to one above `high`; each
        voxel of the chain is one of the next one's 26 neighbours (8 in a single slice). 0 (pore) elsewhere, so all
        of it where nothing is above `high`. With equal levels this is a plain threshold.

    Raises
    ------
    ValueError
        If the levels are not finite or out of order, or the volume is constant, not three-dimensional or holds NaN.

    Notes
    -----
    Four bytes a voxel are needed beside the filtered volume, for the parts' numbers.

    References
    ----------
    .. [1] A. Condurache, T. Aach, "Vessel segmentation in angiograms using hysteresis thresholding", MVA (2005)
       269-272; used by the pore_segnet paper.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"low is {low!r} and high {high!r}; give two finite numbers, low not above high")
    smooth = smoothed_by_median(check_grey(grey), median_size)
    part_of, count = ndimage.label(np.greater(smooth, low, signature="dd->?"), np.ones((3, 3, 3)))
    sure = np.zeros(count + 1, bool)
    for parts, plane in zip(part_of, smooth, strict=True):
        sure[parts[np.greater(plane, high, signature="dd->?")]] = True
    return np.stack([sure[parts] for parts in part_of]).view(np.uint8)


def hysteresis_levels(
    grey: Any, *, scale_vox: float = 1.0, low_at: Literal["boundary", "pore"] = "boundary"
) -> tuple[float, float]:
    """Find the two levels of `hysteresis` at the volume's steepest boundary, from the gradient magnitude.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values, floating or whole numbers, with plateaus wider than a few times `scale_vox`.
    scale_vox : float
        Standard deviation of the Gaussian whose derivative measures gradients, in voxels, from 0.5 to 20; larger where
        there is more noise.
    low_at : {"boundary", "pore"}
        ``pore``: the levels are those of the pore's and of the solid's side of the boundary, as in [1]_. The solid then
        grows to the foot of each blurred edge. ``boundary``: the lower level is halfway between these two, where the
        edge is steepest, and the solid ends there.

    Returns
    -------
    low, high : float
        In the units of `grey`, `low` below `high`.

    Raises
    ------
    ValueError
        If an argument is none of the above, no boundary stands out of the noise, or the volume is constant, not
        three-dimensional or holds NaN.

    Notes
    -----
    Let *G(g)* be the root mean square gradient magnitude of the voxels of smoothed grey value *g*, less (in squares)
    that of the most frequent grey value: a plateau, so noise alone. The boundary is at the level that holds the largest
    sum of squared gradients above the noise, which must be above the noise's own; its two sides are the levels where
    *G* has fallen to half on the way to darker and to brighter values. Across a plane boundary between plateaus *p*
    and *s* that any Gaussian has blurred, *G* is a Gaussian of the distance, so that they are ::

        p + 0.1195 (s - p)  and  p + 0.8805 (s - p),  as Φ(-√(2 ln 2)) = 0.1195

    however wide the blur. Beyond its faces the volume is continued by its outermost voxels.

    References
    ----------
    .. [1] The pore_segnet paper, Fig. 1f: the thresholds of grains and pores across a boundary are told from the
       gradient magnitude. It gives no formula; this one is ours.
    """
    if low_at not in ("boundary", "pore"):
        raise ValueError(f"low_at is {low_at!r}; give 'boundary' or 'pore'")
    if not 0.5 <= scale_vox <= 20:
        raise ValueError(f"scale_vox is {scale_vox!r}; give a number of voxels from 0.5 to 20")
    array = check_grey(grey)
    levels, counts, squares = _gradients_by_level(array, scale_vox)
    # Enough smoothing to steady the sums of a level, and little beside the 12 % that are sought.
    counts, squares = (ndimage.gaussian_filter1d(sums, 2.0, mode="constant") for sums in (counts, squares))
    filled = np.flatnonzero(counts > 1e-6 * counts.max())
    counts, mean_square = counts[filled], squares[filled] / counts[filled]
    noise = mean_square[np.argmax(counts)]
    excess = np.maximum(mean_square - noise, 0)
    peak = int(np.argmax(counts * excess))
    if not excess[peak] > noise:
        raise ValueError("no boundary stands out of the noise; give a larger scale_vox, or the two levels yourself")
    steep = np.sqrt(excess / excess[peak])
    dark = _where_it_falls(steep[peak::-1], levels[filled[peak::-1]])
    bright = _where_it_falls(steep[peak:], levels[filled[peak:]])
    return (dark if low_at == "pore" else (dark + bright) / 2), bright


def check_grey(grey: Any) -> np.ndarray:
    """Return `grey` as an array if it is a volume that can be segmented, else raise ``ValueError``."""
    array = np.asarray(grey)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"grey values have shape {array.shape}; give one volume (z, y, x)")
    if array.dtype.kind not in "uif":
        raise ValueError(f"grey values are {array.dtype}; give whole or floating-point numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = np.count_nonzero(~np.isfinite(array))
        raise ValueError(f"{bad} grey values are NaN or infinite; mend or crop the volume first")
    if array.min() == array.max():
        raise ValueError(f"every grey value is {array.flat[0]}; a constant volume cannot be segmented")
    return array


def smoothed_by_median(grey: np.ndarray, size: int) -> np.ndarray:
    """Return `grey` after a median filter, its outermost voxels repeated; refuse what the filter makes constant."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"median_size is {size}; give an odd whole number, 1 for no filter")
    if size == 1:
        return grey
    # The filter knows neither half nor extended precision.
    known = grey if grey.dtype.itemsize <= 8 and grey.dtype != np.float16 else grey.astype(np.float64)
    smooth = ndimage.median_filter(known, size, mode="nearest")
    if smooth.min() == smooth.max():
        raise ValueError(
            f"after the median filter of size {size} every grey value is {smooth.flat[0]}; nothing is left to split: "
            "give a smaller median_size, 1 for no filter"
        )
    return smooth


def _split(grey: np.ndarray, edges: list[float]) -> np.ndarray:
    labels = np.zeros(grey.shape, np.uint8)
    for edge in edges:
        # Compared in double precision: rounded to the volume's own, the edge could fall onto a value below it.
        labels += np.greater_equal(grey, edge, signature="dd->?")
    return labels


def _histogram(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the counts of the bins and the bins' edges, one more."""
    low, high = grey.min().item(), grey.max().item()
    bins, top = MOST_BINS, high
    if grey.dtype.kind in "ui" and high - low < MOST_BINS:
        bins, top = high - low + 1, high + 1
    counts, edges = np.zeros(bins, np.int64), np.linspace(low, top, bins + 1)
    for plane in grey:
        counts += np.histogram(plane.astype(np.float64), bins, (low, top))[0]
    return counts, edges


def _otsu_edge(grey: np.ndarray) -> float:
    """Return the grey value at and above which voxels are solid: the lower edge of the bright class."""
    counts, edges = _histogram(grey)
    dark = np.cumsum(counts, dtype=np.float64)
    dark_sum = np.cumsum(counts * (edges[:-1] - edges[0]))
    n, total = dark[-1], dark_sum[-1]
    dark, dark_sum = dark[:-1], dark_sum[:-1]
    between = (total * dark - n * dark_sum) ** 2 / (dark * (n - dark))
    return float(edges[np.argmax(between) + 1])


def _least_variance_classes(counts: np.ndarray, levels: np.ndarray, n_classes: int) -> list[int]:
    """Return the index of the first level of each class but the darkest.

    The largest variance between classes is sought, which is the same: ``best[i]`` is that of the first *i* levels in
    the classes so far, each class adding its count times the square of its mean above the mean of all.
    """
    count = np.concatenate([[0.0], np.cumsum(counts)])
    total = np.concatenate([[0.0], np.cumsum(counts * (levels - np.average(levels, weights=counts)))])
    n = counts.size
    best = np.concatenate([[-np.inf], total[1:] ** 2 / count[1:]])
    last_starts = []
    for classes in range(2, n_classes + 1):
        best, start = _add_a_class(best, count, total, classes)
        last_starts.append(start)
    found, end = [], n
    for start in reversed(last_starts):
        end = int(start[end])
        found.append(end)
    return found[::-1]


def _add_a_class(best: np.ndarray, count: np.ndarray, total: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return, for the first *i* levels in one class more, the largest variance between and where the last class starts.

    The best start never falls as *i* grows: those of the middle of each stretch of *i* narrow the search in its halves,
    so that one generation of stretches together looks at each start about once.
    """
    n = count.size - 1
    value, start = np.full(n + 1, -np.inf), np.zeros(n + 1, np.int64)
    stretches = np.array([[classes, n, classes - 1, n - 1]])
    while stretches.size:
        first, last, least, most = stretches.T
        middle = (first + last) // 2
        most_here = np.minimum(most, middle - 1)
        widths = most_here - least + 1
        begins = np.cumsum(widths) - widths
        end = np.repeat(middle, widths)
        s = np.arange(widths.sum()) - np.repeat(begins - least, widths)
        gain = best[s] + (total[end] - total[s]) ** 2 / (count[end] - count[s])
        value[middle] = np.maximum.reduceat(gain, begins)
        winners = np.flatnonzero(gain == np.repeat(value[middle], widths))
        # Written from the last to the first, so that the lowest of equal starts stays.
        start[end[winners[::-1]]] = s[winners[::-1]]
        halves = (
            np.stack([first, middle - 1, least, start[middle]], 1),
            np.stack([middle + 1, last, start[middle], most], 1),
        )
        stretches = np.concatenate(halves)
        stretches = stretches[stretches[:, 0] <= stretches[:, 1]]
    return value, start


def _check_aside(aside: Any, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.asarray(aside)
    if mask.dtype != bool or mask.shape != shape:
        raise ValueError(f"aside is {mask.dtype} of shape {mask.shape}; give booleans of the volume's shape, {shape}")
    return mask


def _gradients_by_level(grey: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return levels of smoothed grey, and how many voxels and what sum of squared gradients each holds."""
    low, high = np.percentile(grey, [0.1, 99.9])
    if low == high:
        low, high = grey.min().item(), grey.max().item()
    counts, squares = np.zeros(GRADIENT_BINS), np.zeros(GRADIENT_BINS)
    halo = int(4 * scale + 0.5)
    for start in range(0, len(grey), GRADIENT_SLAB):
        before = max(0, start - halo)
        slab = (grey[before : start + GRADIENT_SLAB + halo].astype(np.float64) - low) / (high - low)
        own = slice(start - before, start - before + min(GRADIENT_SLAB, len(grey) - start))
        smooth = ndimage.gaussian_filter(slab, scale, mode="nearest")[own]
        square = np.zeros_like(smooth)
        for axis in range(3):
            order = [int(other == axis) for other in range(3)]
            square += ndimage.gaussian_filter(slab, scale, order, mode="nearest")[own] ** 2
        place = np.floor(smooth * GRADIENT_BINS).astype(np.int64).ravel()
        inside = (place >= 0) & (place < GRADIENT_BINS)
        counts += np.bincount(place[inside], minlength=GRADIENT_BINS)
        squares += np.bincount(place[inside], square.ravel()[inside], GRADIENT_BINS)
    levels = low + (np.arange(GRADIENT_BINS) + 0.5) * (high - low) / GRADIENT_BINS
    return levels, counts, squares


def _where_it_falls(steep: np.ndarray, levels: np.ndarray) -> float:
    """Return the level at which `steep`, which starts at 1, first falls to a half; the last one where it never does."""
    below = np.flatnonzero(steep <= 0.5)
    if below.size == 0:
        return float(levels[-1])
    i = int(below[0])
    share = (steep[i - 1] - 0.5) / (steep[i - 1] - steep[i])
    return float(levels[i - 1] + share * (levels[i] - levels[i - 1]))
