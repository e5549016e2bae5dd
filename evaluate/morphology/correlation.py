"""Two-point correlation of a phase, averaged over all directions."""

import dataclasses
from typing import Any

import numpy as np
import scipy.fft

from evaluate.accepted_input import as_mask, as_whole_number

__all__ = ["TwoPoint", "two_point"]


@dataclasses.dataclass(frozen=True, eq=False)
class TwoPoint:
    """Two-point correlation function; made by `two_point`.

    Attributes
    ----------
    r : ndarray of float64, shape (r_max + 1,)
        Mean distance of the pairs of voxels in each bin, in voxels. ``r[0]`` is 0.
    s2 : ndarray of float64, shape (r_max + 1,)
        Probability that both voxels of a pair lie in the phase. ``s2[0]`` is the volume fraction.
    periodic : bool
        Whether the volume was taken to repeat itself beyond its faces.
    unit : str
        The unit of `r`: ``"voxel"``.
    """

    r: np.ndarray
    s2: np.ndarray
    periodic: bool
    unit: str = "voxel"


def two_point(mask: Any, *, periodic: bool = False, r_max: int | None = None) -> TwoPoint:
    """Probability that two voxels at a distance r both lie in a phase.

    Every pair of voxels is counted once, by fast Fourier transform. Bin ``k`` holds the pairs whose distance lies
    within ``[k - 1/2, k + 1/2)`` voxels, and ``s2[k]`` is the share of them with both voxels in the phase. With
    free borders only the pairs inside the volume count, so that S2 of a stationary medium is unbiased at each r.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase. Voxels are taken as cubes: distances are in voxels along each axis.
    periodic : bool
        Let the volume repeat itself beyond its faces; every displacement then has as many pairs as there are voxels.
    r_max : int, optional
        Largest distance in voxels: below the smallest side, or at most half of it if periodic. By default half of the
        smallest side; at larger distances few and dependent pairs are left. Sides of one voxel do not count
        as the smallest, so that a single slice can be measured.

    Returns
    -------
    TwoPoint
        For a medium without long-range order, S2 falls from the volume fraction φ to φ².

    Raises
    ------
    ValueError
        `mask` is empty, not 3-D or holds more than 0 and 1; `r_max` out of range.

    Notes
    -----
    The transform is padded by `r_max` only, which is enough to keep the opposite faces apart: at 256³ and the default
    `r_max` the peak is about 1 GB. Pair counts are whole numbers and are rounded back to them, so constant masks
    give exactly 0 or 1.

    References
    ----------
    S. Torquato, Random Heterogeneous Materials, Springer 2002, section 2.2.
    """
    inside = as_mask(mask)
    reach = _reach(inside.shape, periodic, r_max)
    lags = [np.arange(-min(reach, n - 1), min(reach, n - 1) + 1) for n in inside.shape]
    lags[2] = lags[2][lags[2] >= 0]  # S2 is even, so half of the displacements tell all
    hits = np.rint(_pair_hits(inside, lags, periodic))
    pairs = [
        np.full(lag.size, float(n)) if periodic else n - np.abs(lag).astype(float)
        for lag, n in zip(lags, inside.shape, strict=True)
    ]
    for both_ways in (hits, pairs[2]):
        both_ways[..., lags[2] > 0] *= 2.0
    hit_sum, pair_sum, distance_sum = _binned_by_distance(hits, pairs, lags, reach)
    return TwoPoint(r=distance_sum / pair_sum, s2=hit_sum / pair_sum, periodic=bool(periodic))


def _reach(shape: tuple[int, ...], periodic: bool, r_max: int | None) -> int:
    smallest = min((n for n in shape if n > 1), default=1)
    if r_max is None:
        return smallest // 2
    return as_whole_number(r_max, "r_max", low=0, high=smallest // 2 if periodic else smallest - 1)


def _binned_by_distance(
    hits: np.ndarray, pairs: list[np.ndarray], lags: list[np.ndarray], reach: int
) -> tuple[np.ndarray, ...]:
    """Sum the hits, the pairs and the pairs' distances in bins around 0, 1, ..., `reach`."""
    totals = np.zeros((3, reach + 1))
    for z, lag_z in enumerate(lags[0]):
        distance = np.sqrt(lag_z**2 + (lags[1] ** 2)[:, None] + lags[2] ** 2)
        bins = np.floor(distance + 0.5).astype(np.intp).ravel()
        count = pairs[0][z] * np.multiply.outer(pairs[1], pairs[2])
        for row, weight in enumerate((hits[z], count, count * distance)):
            totals[row] += np.bincount(bins, weight.ravel(), reach + 1)[: reach + 1]
    return tuple(totals)


def _pair_hits(inside: np.ndarray, lags: list[np.ndarray], periodic: bool) -> np.ndarray:
    """Count, for each displacement (Lz, Ly, Lx), the pairs with both voxels inside.

    One axis at a time, longest arrays last on the way out and cut first on the way back, which keeps the peak low.
    """
    if periodic:
        size = list(inside.shape)
    else:
        size = [
            scipy.fft.next_fast_len(n + int(lag.max()), real=axis == 2)
            for axis, (n, lag) in enumerate(zip(inside.shape, lags, strict=True))
        ]
    spectrum = scipy.fft.rfft(inside.astype(np.float64), n=size[2], axis=2, workers=-1)
    for axis in (1, 0):
        spectrum = scipy.fft.fft(spectrum, n=size[axis], axis=axis, workers=-1, overwrite_x=True)
    power = spectrum.real**2
    power += spectrum.imag**2
    spectrum = power.astype(np.complex128)
    del power
    for axis in (0, 1):
        spectrum = scipy.fft.ifft(spectrum, axis=axis, workers=-1, overwrite_x=True)
        spectrum = np.take(spectrum, lags[axis] % size[axis], axis=axis)
    return scipy.fft.irfft(spectrum, n=size[2], axis=2, workers=-1)[..., lags[2]]
