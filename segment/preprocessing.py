"""What a network sees of a grey volume: its values as they are, stretched, equalised or between percentiles."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

__all__ = ["GREY_RANGE", "Levels", "Preprocessing", "PreprocessingKind", "normalise"]

PreprocessingKind = Literal["none", "stretch", "equalise", "percentile"]

# Of values between percentiles: what lies beyond is clipped.
GREY_RANGE = (-0.5, 1.5)
PERCENTILES = (1, 99)
# As many voxels as decide percentiles, about; and as many as are read at a time.
SUBSET = 4e6
SLAB = 2**24
# Grey levels of what has no fixed number of them, and of more than 16 bits.
MOST_LEVELS = 65536


@dataclass(frozen=True)
class Levels:
    """The two grey values of a whole stack that its slabs are scaled by.

    Attributes
    ----------
    low, high : float
        Become 0 and 1, in the stack's own units; `low` lies below `high`.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Preprocessing:
    """A way to bring grey values of any number type to what networks are trained on, float32 about [0, 1].

    Parameters
    ----------
    kind : {"none", "stretch", "equalise", "percentile"}
        ``none``: whole numbers over the range of their type, lowest 0 and highest 1; floating-point values as they are.
        ``stretch``: each slice from its smallest value, 0, to its largest, 1.
        ``equalise``: each slice's values by their rank, so that every grey level is equally frequent.
        ``percentile``: the stack's 1st percentile is 0 and its 99th 1, and what lies beyond -0.5 … 1.5 is clipped to
        it: glaring grains and dead pixels would mislead a network far around them.

    Raises
    ------
    ValueError
        If there is no such kind.

    Notes
    -----
    Equations of [1]_, slice by slice: g(x, y) = (f(x, y) − f_min) / (f_max − f_min) · 2^bpp, here over 2^bpp; and
    h(v) = round((cdf(v) − cdf_min) / (M N − cdf_min) · (L − 1)), here over L − 1, where cdf(v) counts the slice's
    pixels up to v, cdf_min is that of its darkest, M N its size and L = 2^bits for types of up to 16 bits, else 65536.
    A constant slice, for which both are 0/0, becomes its stretched value between the extremes of the whole stack: a
    missing black one is 0 and a saturated white one 1. Whatever the kind, a slab of whole slices becomes what it
    becomes as part of the stack, to the bit.

    References
    ----------
    .. [1] H.-B. Lee et al., J. Anal. Sci. Technol. 14 (2023) 45, "Preprocessing of input images".
    """

    kind: PreprocessingKind = "percentile"

    def __post_init__(self) -> None:
        if self.kind not in get_args(PreprocessingKind):
            raise ValueError(f"kind is {self.kind!r}; give one of {', '.join(get_args(PreprocessingKind))}")

    def measure(self, volume: Any) -> Levels:
        """Return the levels of a stack, read once from end to end, a slab at a time.

        Parameters
        ----------
        volume : array-like, Volume or lazily read array, shape (Z, Y, X)
            Whole or floating-point numbers. What has ``shape``, ``dtype`` and slices is never read as a whole (Zarr,
            dask, HDF5, memory maps).

        Returns
        -------
        Levels
            ``none``: the range of the type, or 0 and 1 of floating-point values; ``stretch`` and ``equalise``: the
            extremes; ``percentile``: those of a regular subset of about 4 million voxels, or the extremes if they are
            equal.

        Raises
        ------
        ValueError
            If the volume is not three-dimensional, constant, holds NaN or spans more than its type can hold.
        """
        volume = _check_stack(volume)
        stride = max(1, math.ceil((math.prod(volume.shape) / SUBSET) ** (1 / 3)))
        low, high, subset = _survey(volume, stride if self.kind == "percentile" else 0)
        if low == high:
            raise ValueError(f"every grey value is {low}; a constant volume cannot be segmented")
        if self.kind == "none":
            return _range_of_type(volume.dtype, low, high)
        if subset is not None:
            low, high = _percentiles(subset, low, high)
        return _check_span(Levels(low, high), volume.dtype)

    def apply(self, slab: Any, levels: Levels) -> np.ndarray:
        """Return what a network sees of part of a stack.

        Parameters
        ----------
        slab : array-like, shape (n, Y, X)
            Whole slices of the stack, any number of them, in its own number type.
        levels : Levels
            Of the whole stack, from `measure`.

        Returns
        -------
        ndarray of float32, shape (n, Y, X)

        Raises
        ------
        ValueError
            If the slab is not three-dimensional or holds NaN.
        """
        slab = np.asarray(_check_stack(slab))
        seen = np.empty(slab.shape, np.float32)
        change = CHANGES[self.kind]
        for plane, result in zip(slab, seen, strict=True):
            _refuse_not_finite(plane)
            result[...] = change(plane, levels)
        return seen


def normalise(grey: Any) -> np.ndarray:
    """Return a volume as float32 with its 1st percentile at 0 and its 99th at 1, and nothing far beyond.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        Grey values of any number type.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        As `Preprocessing` makes it with ``percentile``.

    Raises
    ------
    ValueError
        As `Preprocessing.measure` does.
    """
    percentile = Preprocessing("percentile")
    return percentile.apply(grey, percentile.measure(grey))


def _check_stack(volume: Any) -> Any:
    """Return `volume`, as an array unless it is read lazily."""
    if not all(hasattr(volume, name) for name in ("shape", "dtype", "__getitem__")):
        volume = np.asarray(volume)
    if len(volume.shape) != 3 or 0 in volume.shape:
        raise ValueError(f"grey values have shape {tuple(volume.shape)}; give one volume (z, y, x)")
    if np.dtype(volume.dtype).kind not in "uif":
        raise ValueError(f"grey values are {volume.dtype}; give whole or floating-point numbers")
    return volume


def _refuse_not_finite(slab: np.ndarray) -> None:
    if slab.dtype.kind == "f" and not np.isfinite(slab).all():
        bad = np.count_nonzero(~np.isfinite(slab))
        where = "a slice" if slab.ndim == 2 else f"{len(slab)} slices"
        raise ValueError(f"{bad} grey values in {where} are NaN or infinite; mend or crop the volume first")


def _survey(volume: Any, stride: int) -> tuple[Any, Any, np.ndarray | None]:
    """Return the extremes, as Python's own numbers, and every stride-th voxel along each axis (0: none)."""
    lows, highs, subset = [], [], []
    for start, slab in _slabs(volume):
        _refuse_not_finite(slab)
        lows.append(slab.min().item())
        highs.append(slab.max().item())
        if stride:
            # Copied, for a view would keep the slab.
            subset.append(slab[-start % stride :: stride, ::stride, ::stride].copy())
    return min(lows), max(highs), np.concatenate(subset) if stride else None


def _percentiles(subset: np.ndarray, low: Any, high: Any) -> tuple[Any, Any]:
    """Return the percentiles, or the extremes in their place if they are equal."""
    # What overflows is refused afterwards.
    with np.errstate(over="ignore", invalid="ignore"):
        first, last = np.percentile(subset, PERCENTILES)
        return (low, high) if _wide(subset.dtype)(last - first) == 0 else (first, last)


def _check_span(levels: Levels, dtype: Any) -> Levels:
    low, high = levels.low, levels.high
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(_wide(dtype)(high - low)):
            raise ValueError(f"grey values span from {low} to {high}, more than {dtype} can hold; scale them down")
    return levels


def _slabs(volume: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Yield slabs of few voxels and where they begin; of chunked arrays whole chunks, where these are few voxels."""
    depth, *plane = volume.shape
    most = max(1, SLAB // math.prod(plane))
    chunks = getattr(volume, "chunks", None)
    chunk = int(np.max(chunks[0])) if chunks else 1
    step = most // chunk * chunk or most
    for start in range(0, depth, step):
        yield start, np.asarray(volume[start : start + step])


def _range_of_type(dtype: Any, low: Any, high: Any) -> Levels:
    if np.dtype(dtype).kind in "ui":
        bounds = np.iinfo(dtype)
        return Levels(int(bounds.min), int(bounds.max))
    if max(-low, high) > np.finfo(np.float32).max:
        raise ValueError(f"grey values reach from {low} to {high}, more than float32 can hold; scale them down")
    return Levels(0, 1)


def _wide(dtype: Any) -> Any:
    # Single precision would drown the contrast of wide numbers that sit on a large offset.
    return np.result_type(dtype, np.float32).type


def _scaled(plane: np.ndarray, levels: Levels) -> np.ndarray:
    wide = _wide(plane.dtype)
    # Their difference is taken first: as Python's numbers it does not overflow.
    return (plane.astype(wide, copy=False) - wide(levels.low)) / wide(levels.high - levels.low)


def _clipped(plane: np.ndarray, levels: Levels) -> np.ndarray:
    # A glaring voxel may go beyond what the type holds before it is clipped.
    with np.errstate(over="ignore"):
        return np.clip(_scaled(plane, levels), *GREY_RANGE)


def _stretched(plane: np.ndarray, levels: Levels) -> np.ndarray:
    low, high = plane.min().item(), plane.max().item()
    return _scaled(plane, levels if low == high else Levels(low, high))


def _equalised(plane: np.ndarray, levels: Levels) -> np.ndarray:
    narrow = plane.dtype.kind in "ui" and plane.dtype.itemsize <= 2
    grey_levels = 2 ** (8 * plane.dtype.itemsize) if narrow else MOST_LEVELS
    if narrow:
        rank = plane.astype(np.int64) - np.iinfo(plane.dtype).min
        counts = np.bincount(rank.ravel())
    else:
        _, rank, counts = np.unique(plane.ravel(), return_inverse=True, return_counts=True)
    cdf = np.cumsum(counts)
    lowest = cdf[np.flatnonzero(counts)[0]]
    if lowest == plane.size:
        return _scaled(plane, levels)
    # Levels darker than every pixel occur nowhere.
    h = np.rint(np.maximum(cdf - lowest, 0) / (plane.size - lowest) * (grey_levels - 1)) / (grey_levels - 1)
    return h.astype(np.float32)[rank].reshape(plane.shape)


CHANGES = {"none": _scaled, "stretch": _stretched, "equalise": _equalised, "percentile": _clipped}
