"""Roughness of a surface: the areal parameters of ISO 25178-2, and how they vary from place to place."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from evaluate.accepted_input import as_mask, as_voxel_size, as_whole_number
from evaluate.layers.height_maps import first_solid
from evaluate.layers.layer_arguments import as_degree, as_length, as_side
from evaluate.layers.levelling import fit_form

__all__ = ["SurfaceRoughness", "roughness_of_heights", "surface_roughness"]

# Patches along the plan's shorter side, where their size is not given.
PATCHES = 8
# A patch counts if at least this share of its columns has a surface.
LEAST_COVER = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class SurfaceRoughness:
    """Roughness of a surface; made by `surface_roughness` and `roughness_of_heights`. Lengths are in `unit`.

    Attributes
    ----------
    sa, sq : float
        Arithmetical mean and root mean square of the levelled heights (ISO 25178-2); called Ra and Rq in [1]_, as
        they are for profiles, see `ra` and `rq`.
    sp, sv, sz : float
        Highest peak, deepest pit (positive) and their sum, also `rz`: of the whole plan, not the mean of five profiles.
    ssk, sku : float or None
        Skewness (negative if pits prevail) and kurtosis (3 for normal heights); None if all heights are equal.
    sdr : float or None
        Developed area by projected area, less 1: of the two ways to cut each square of four neighbouring columns
        into triangles, the mean. None if no such square has all its heights.
    coverage : float
        Share of the columns that have a surface.
    heights : ndarray of float32, shape (A, B)
        Levelled heights, outwards positive, their mean 0; 0 where there is no surface. Axes are the two of the plan.
    form : ndarray of float32, shape (A, B)
        The polynomial that was taken off, in the frame of the heights that were given, or above the far end of the
        volume.
    valid : ndarray of bool, shape (A, B)
        Columns that have a surface.
    local_ra : ndarray of float32, shape (P, Q)
        Of each patch, a rectangle of neighbouring columns: mean distance of the levelled heights from their mean in
        that patch; 0 where the patch does not count.
    local_valid : ndarray of bool, shape (P, Q)
        Patches that count: at least half of their columns have a surface.
    patch : (float, float)
        Mean edges of the patches along the two axes of the plan.
    sigma_ra : float or None
        Standard deviation of `local_ra` over the patches that count (divided by their number); None for fewer than two.
    c_ra : float or None
        `sigma_ra` / `sa`, the coefficient of variation of [1]_, eq. 5; None if either is not there, or `sa` is 0.
    levelling_degree : int
        Degree of the polynomial that was taken off: 0 the mean, 1 a plane.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.

    References
    ----------
    .. [1] A. Colliard-Granero et al., "UTILE-Pore: Deep Learning-Enabled 3D Analysis of Porous Materials in Polymer
       Electrolyte Membrane-Based Energy Devices", J. Electrochem. Soc. 172 (2025) 074515.
    """

    sa: float
    sq: float
    sp: float
    sv: float
    sz: float
    ssk: float | None
    sku: float | None
    sdr: float | None
    coverage: float
    heights: np.ndarray
    form: np.ndarray
    valid: np.ndarray
    local_ra: np.ndarray
    local_valid: np.ndarray
    patch: tuple[float, float]
    sigma_ra: float | None
    c_ra: float | None
    levelling_degree: int
    unit: str

    @property
    def ra(self) -> float:
        """`sa`, by its name for profiles."""
        return self.sa

    @property
    def rq(self) -> float:
        """`sq`, by its name for profiles."""
        return self.sq

    @property
    def rz(self) -> float:
        """`sz`, by its name for profiles."""
        return self.sz


def surface_roughness(
    mask: Any,
    *,
    axis: int = 0,
    side: Literal["low", "high"] = "low",
    voxel_size_um: Sequence[float] | None = None,
    levelling_degree: int = 1,
    patch: float | None = None,
    deepest: float | None = None,
) -> SurfaceRoughness:
    r"""Measure the roughness of a solid's surface, seen from one side of the volume.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the solid: of labels with 0 for the pores, ``labels != 0``.
    axis : int
        The axis across the surface; 0 is z.
    side : {"low", "high"}
        The end of that axis from which one looks: ``"low"`` at coordinate 0.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; they need not be equal. By default that of `mask`, if it is a
        `volume.Volume` that knows it; otherwise lengths are in voxels.
    levelling_degree : int
        Total degree, 0 to 6, of the polynomial of the plan's coordinates that is fitted by least squares and taken
        off: 0 leaves a slope in, 1 takes off a plane, 2 also a bend.
    patch : float, optional
        Edge of the square patches of the local roughness, in the unit of the result; by default an eighth of the
        plan's shorter side. The plan is cut into as many equal parts as come nearest to it.
    deepest : float, optional
        Columns whose first solid voxel lies deeper than this below the highest one, in the unit of the result,
        look into a pore and have no surface. By default all that hold solid count.

    Returns
    -------
    SurfaceRoughness

    Raises
    ------
    ValueError
        `mask` is no 3-D mask or has no solid voxel; a voxel size that is not positive; an argument out of range.

    Notes
    -----
    The surface is the outer face of the first solid voxel of each column: what one sees from `side`, without what
    lies under an overhang. A stray voxel before the surface is taken for it; remove such first. Heights are whole
    voxels: that adds a twelfth of a squared voxel to the square of `sq`, and steps to slopes: the `sdr` of a gentle
    slope is far too large (that of a slope of 1 in 10 by a factor of 8), while from slopes of 1 on it is within a few
    percent if voxels are cubes.

    Patches are regions of the plan. The published analysis takes vertices of a mesh in the order of their
    numbers instead, which are no neighbours, and a mesh has vertices on its walls too.
    """
    solid = as_mask(mask)
    voxel = as_voxel_size(voxel_size_um, mask)
    axis = as_whole_number(axis, "axis", low=0, high=2)
    spacing = voxel or (1.0, 1.0, 1.0)
    seen = first_solid(solid, axis=axis, side=as_side(side))
    if not seen.valid.any():
        raise ValueError("mask has no True voxel; there is no surface to measure")
    heights, valid = seen.heights * np.float32(spacing[axis]), seen.valid
    if deepest is not None:
        valid = valid & (heights >= heights[valid].max() - as_length(deepest, "deepest"))
    pixel = [edge for i, edge in enumerate(spacing) if i != axis]
    found = roughness_of_heights(heights, pixel=pixel, valid=valid, levelling_degree=levelling_degree, patch=patch)
    return dataclasses.replace(found, unit="um" if voxel else "voxel")


def roughness_of_heights(
    heights: Any,
    *,
    pixel: Sequence[float] | None = None,
    valid: Any = None,
    levelling_degree: int = 1,
    patch: float | None = None,
) -> SurfaceRoughness:
    """Measure the roughness of a map of heights, such as that of a profilometer.

    Parameters
    ----------
    heights : array_like, shape (A, B)
        Finite where `valid`, outwards positive; in µm, or in voxels without `pixel`.
    pixel : sequence of two floats, optional
        Distances between columns along the two axes, in µm; by default everything is in voxels.
    valid : array_like of bool, shape (A, B), optional
        Columns that have a surface; by default all.
    levelling_degree, patch
        As in `surface_roughness`.

    Returns
    -------
    SurfaceRoughness

    Raises
    ------
    ValueError
        Heights that are not 2-D or not finite, no valid column, or an argument out of range.
    """
    values, valid = _as_heights(heights, valid)
    degree = as_degree(levelling_degree)
    edges = _as_pixel(pixel)
    form = fit_form(values, valid, degree)
    levelled = np.where(valid, values - form, 0.0)
    local, counted, sizes = _local_roughness(levelled, valid, edges=edges, patch=patch)
    held = levelled[valid]
    sa, sq = float(np.abs(held).mean()), float(np.sqrt(np.mean(held**2)))
    # What is left of equal heights is rounding.
    flat = sq <= 1e-6 * max(float(np.abs(values[valid]).max()), min(edges))
    sigma = float(local[counted].std()) if np.count_nonzero(counted) > 1 else None
    return SurfaceRoughness(
        sa=sa,
        sq=sq,
        sp=max(float(held.max()), 0.0),
        sv=max(-float(held.min()), 0.0),
        sz=float(held.max() - held.min()),
        ssk=None if flat else float(np.mean(held**3)) / sq**3,
        sku=None if flat else float(np.mean(held**4)) / sq**4,
        sdr=_developed_ratio(levelled, valid, edges),
        coverage=float(valid.mean()),
        heights=levelled.astype(np.float32),
        form=form.astype(np.float32),
        valid=valid,
        local_ra=local.astype(np.float32),
        local_valid=counted,
        patch=sizes,
        sigma_ra=sigma,
        c_ra=None if flat or sigma is None else sigma / sa,
        levelling_degree=degree,
        unit="voxel" if pixel is None else "um",
    )


def _as_heights(heights: Any, valid: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        values = np.asarray(heights, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("heights are not numbers; give a 2-D array of heights") from None
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"heights have shape {values.shape}; give a 2-D array that is not empty")
    held = np.ones(values.shape, bool) if valid is None else np.asarray(valid)
    if held.shape != values.shape or held.dtype != bool:
        raise ValueError(f"valid has shape {held.shape} and dtype {held.dtype}; give booleans of shape {values.shape}")
    if not held.any():
        raise ValueError("no column is valid; there is no surface to measure")
    if not np.isfinite(values[held]).all():
        raise ValueError("heights are NaN or infinite in places; say with valid where they are known")
    return np.where(held, values, 0.0), held


def _as_pixel(pixel: Sequence[float] | None) -> tuple[float, float]:
    if pixel is None:
        return 1.0, 1.0
    try:
        first, second = (as_length(edge, "pixel") for edge in pixel)
    except (TypeError, ValueError):
        raise ValueError(f"pixel is {pixel!r}; give two positive, finite distances in µm, or None") from None
    return first, second


def _local_roughness(
    levelled: np.ndarray, valid: np.ndarray, *, edges: tuple[float, float], patch: float | None
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Return Ra of each patch, which patches count, and their mean edges."""
    sides = [n * edge for n, edge in zip(levelled.shape, edges, strict=True)]
    size = min(sides) / PATCHES if patch is None else as_length(patch, "patch")
    if size > max(sides):
        raise ValueError(f"patch is {size:g}, larger than the plan of {sides[0]:g} by {sides[1]:g}; give a smaller one")
    numbers = [min(max(1, round(side / size)), n) for side, n in zip(sides, levelled.shape, strict=True)]
    starts = [np.arange(k) * n // k for k, n in zip(numbers, levelled.shape, strict=True)]
    spans = [np.diff(s, append=n) for s, n in zip(starts, levelled.shape, strict=True)]

    def total(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)

    counts = total(valid.astype(np.int64))
    means = total(levelled) / np.maximum(counts, 1)
    spread = np.abs(levelled - np.repeat(np.repeat(means, spans[0], axis=0), spans[1], axis=1))
    counted = counts >= LEAST_COVER * np.outer(*spans)
    local = np.where(counted, total(np.where(valid, spread, 0.0)) / np.maximum(counts, 1), 0.0)
    first, second = (side / k for side, k in zip(sides, numbers, strict=True))
    return local, counted, (first, second)


def _developed_ratio(levelled: np.ndarray, valid: np.ndarray, edges: tuple[float, float]) -> float | None:
    whole = valid[:-1, :-1] & valid[1:, :-1] & valid[:-1, 1:] & valid[1:, 1:]
    if not whole.any():
        return None
    down = (np.diff(levelled, axis=0) / edges[0]) ** 2
    along = (np.diff(levelled, axis=1) / edges[1]) ** 2
    # The four triangles that two ways of cutting make: each has one side along either axis.
    areas = [np.sqrt(1 + d + a)[whole].mean() for d in (down[:, :-1], down[:, 1:]) for a in (along[:-1], along[1:])]
    return float(np.mean(areas)) - 1
