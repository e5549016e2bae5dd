"""How large the pores are: distribution of diameters, its quantiles and its log-normal fit."""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from evaluate.accepted_input import as_mask, as_voxel_size, as_whole_number
from evaluate.morphology.accessible_sizes import FACES, intrusion_diameter
from evaluate.morphology.pore_bodies import split_pores
from evaluate.morphology.thickness import relative_edges, summarise_thickness

__all__ = ["LogNormal", "PoreSizes", "pore_size_distribution"]

METHODS = ("local_thickness", "intrusion", "bodies")
MOST_BINS = 10_000


@dataclasses.dataclass(frozen=True)
class LogNormal:
    """Log-normal law fitted to diameters by maximum likelihood.

    Attributes
    ----------
    median : float
        exp of the mean log diameter, in the unit of the diameters.
    sigma : float
        Standard deviation of the log diameter; 0 if all diameters are the same.
    ks : float
        Kolmogorov-Smirnov distance between the measured and the fitted cumulative distribution, 0 (same) to 1.
    """

    median: float
    sigma: float
    ks: float


@dataclasses.dataclass(frozen=True, eq=False)
class PoreSizes:
    """Distribution of pore diameters; made by `pore_size_distribution`.

    Attributes
    ----------
    edges : ndarray of float64, shape (n + 1,)
        Diameters between the bins, in `unit`.
    fraction : ndarray of float64, shape (n,)
        Share of each bin; they add up to 1. Diameters on an edge belong to the bin below it.
    cumulative : ndarray of float64, shape (n + 1,)
        Share of the diameters up to each edge, from 0 to 1.
    mean : float
        Mean diameter, in `unit`; like the quantiles it does not depend on the bins.
    d10, d50, d90 : float
        The smallest diameters with at least 10, 50 and 90 % of the shares up to them, in `unit`.
    lognormal : LogNormal
        The fit.
    weight : str
        What a share is a share of: ``"volume"`` or ``"number"``.
    count : int
        Voxels, or bodies, that were counted.
    accessible : float
        Share of the phase's volume that the distribution covers: less than 1 where a fluid does not get, or where
        bodies cut by the border are left out.
    method : str
        How diameters were measured.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    """

    edges: np.ndarray
    fraction: np.ndarray
    cumulative: np.ndarray
    mean: float
    d10: float
    d50: float
    d90: float
    lognormal: LogNormal
    weight: str
    count: int
    accessible: float
    method: str
    unit: str

    @property
    def density(self) -> np.ndarray:
        """Share per length of diameter, in 1/unit, shape (n,); its integral is 1."""
        return self.fraction / np.diff(self.edges)

    @property
    def saturation(self) -> np.ndarray:
        """Share of the whole phase with diameters above each edge, shape (n + 1,).

        With ``method="intrusion"`` what a mercury porosimeter draws: the share that is filled at each diameter.
        """
        return self.accessible * (1 - self.cumulative)


def pore_size_distribution(
    mask: Any,
    *,
    voxel_size_um: Sequence[float] | None = None,
    method: Literal["local_thickness", "intrusion", "bodies"] = "local_thickness",
    bins: int | Sequence[float] = 25,
    faces: str | Sequence[str] = FACES,
) -> PoreSizes:
    """Measure how the diameters of the pores, or of any phase, are distributed.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase that is measured: of labels with 0 for the pores, ``labels == 0``. With
        ``method="local_thickness"`` an array of dask, Zarr or HDF5 is read block by block.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; they need not be equal. By default that of `mask`, if it is a
        `volume.Volume` that knows it; otherwise diameters are in voxels.
    method : {"local_thickness", "intrusion", "bodies"}
        ``"local_thickness"``: each voxel counts with the largest ball that covers it (`local_thickness`).
        ``"intrusion"``: with the largest ball that gets there from `faces`, as in mercury intrusion
        (`intrusion_diameter`); what no ball reaches does not count. ``"bodies"``: the phase is split at its necks
        (`split_pores`), and each body counts once, with the diameter of a ball of its volume; bodies cut by the border
        do not count.
    bins : int or sequence of floats
        How many bins of equal width, from 0 to the largest diameter; or their edges, ascending, from the first, which
        lies below every diameter, to the last, which none exceeds.
    faces : str or sequence of str
        Where the fluid of ``"intrusion"`` comes from, as in `intrusion_diameter`.

    Returns
    -------
    PoreSizes

    Raises
    ------
    ValueError
        As in `local_thickness`; no voxel of the phase; no diameter to count, as nothing is accessible or every body is
        cut by the border; unknown `method` or `faces`; bins that are not ascending or miss diameters.

    Notes
    -----
    The log-normal law is fitted by maximum likelihood: its parameters are the mean and the standard deviation of the
    log diameters, each weighing as much as its share. Fitted by number (``"bodies"``) it is the law that published
    histograms of pore diameters are drawn with; weighted by volume the median is larger.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(map(repr, METHODS))}")
    voxel = as_voxel_size(voxel_size_um, mask)
    edges, unit = relative_edges(voxel)
    if method == "local_thickness":
        diameters, counts = _thickness_counts(mask, edges)
        covered = 1.0
    elif method == "intrusion":
        diameters, counts, covered = _intrusion_counts(mask, edges, faces)
    else:
        diameters, counts, covered = _body_counts(mask, edges)
    diameters = diameters * unit
    share = counts / counts.sum()
    limits = _edges(bins, diameters)
    fraction = np.bincount(np.searchsorted(limits, diameters) - 1, share, len(limits) - 1)
    quantiles = diameters[np.searchsorted(np.cumsum(counts), np.array([0.1, 0.5, 0.9]) * counts.sum() * (1 - 1e-12))]
    return PoreSizes(
        edges=limits,
        fraction=fraction,
        cumulative=np.concatenate([[0.0], np.minimum(np.cumsum(fraction[:-1]), 1.0), [1.0]]),
        mean=float(diameters @ share),
        d10=float(quantiles[0]),
        d50=float(quantiles[1]),
        d90=float(quantiles[2]),
        lognormal=_fit(diameters, share),
        weight="number" if method == "bodies" else "volume",
        count=int(counts.sum()),
        accessible=covered,
        method=method,
        unit="um" if voxel else "voxel",
    )


def _thickness_counts(mask: Any, edges: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the diameters that occur and how many voxels have each."""
    totals: collections.Counter[float] = collections.Counter()
    for _, (values, counts) in summarise_thickness(mask, edges, _count_positive):
        totals.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    if not totals:
        raise ValueError("mask has no voxel of the phase; there is no pore to measure")
    diameters = np.array(sorted(totals))
    return diameters, np.array([totals[d] for d in diameters.tolist()])


def _count_positive(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.unique(values[values > 0], return_counts=True)


def _intrusion_counts(
    mask: Any, edges: tuple[float, float, float], faces: str | Sequence[str]
) -> tuple[np.ndarray, np.ndarray, float]:
    diameters, counts = _count_positive(intrusion_diameter(mask, faces=faces, voxel_size_um=edges))
    phase = np.count_nonzero(as_mask(mask))
    if not phase:
        raise ValueError("mask has no voxel of the phase; there is no pore to measure")
    if not len(diameters):
        raise ValueError(f"no voxel of the phase is accessible from faces {faces!r}; choose others, or local_thickness")
    return diameters.astype(np.float64), counts, float(counts.sum() / phase)


def _body_counts(mask: Any, edges: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray, float]:
    labels = split_pores(mask, voxel_size_um=edges)
    voxels = np.bincount(labels.ravel())
    voxels[0] = 0
    phase = int(voxels.sum())
    if not phase:
        raise ValueError("mask has no voxel of the phase; there is no pore to measure")
    for axis in range(3):
        for end in (0, -1):
            voxels[np.unique(labels.take(end, axis))] = 0
    if not voxels.any():
        raise ValueError("the border cuts every body; give a larger volume, or use local_thickness")
    sizes, counts = np.unique(voxels[voxels > 0], return_counts=True)
    diameters = (6 / math.pi * sizes * math.prod(edges)) ** (1 / 3)
    return diameters, counts, float(voxels.sum() / phase)


def _edges(bins: int | Sequence[float], diameters: np.ndarray) -> np.ndarray:
    try:
        limits = np.asarray(bins, dtype=np.float64)
    except (TypeError, ValueError):
        limits = np.empty(0)
    if limits.ndim == 0:
        count = as_whole_number(bins, "bins", low=1, high=MOST_BINS)
        return np.linspace(0, diameters[-1], count + 1)
    if limits.ndim != 1 or len(limits) < 2 or not np.isfinite(limits).all() or (np.diff(limits) <= 0).any():
        raise ValueError(f"bins is {bins!r}; give a whole number, or two or more edges in ascending order")
    if limits[0] >= diameters[0] or limits[-1] < diameters[-1]:
        raise ValueError(
            f"bins go from {limits[0]:g} to {limits[-1]:g} and diameters from {diameters[0]:g} to {diameters[-1]:g}; "
            "begin below the smallest and end at the largest or above"
        )
    return limits


def _fit(diameters: np.ndarray, share: np.ndarray) -> LogNormal:
    """Fit by maximum likelihood; `diameters` ascend."""
    from scipy.special import ndtr

    logs = np.log(diameters)
    mean = float(logs @ share)
    sigma = math.sqrt(float((logs - mean) ** 2 @ share)) if len(diameters) > 1 else 0.0
    if sigma == 0:
        return LogNormal(float(diameters[0]), 0.0, 0.0)
    law = ndtr((logs - mean) / sigma)
    up_to = np.cumsum(share)
    # The measured distribution steps at each diameter: both ends of the step count.
    gap = max(np.abs(up_to - law).max(), np.abs(up_to - share - law).max())
    return LogNormal(math.exp(mean), sigma, float(gap))
