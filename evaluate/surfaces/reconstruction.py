"""From voxels to the surface of a phase: seven methods, and two more as a paper has them."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import as_labels, as_voxel_size, as_whole_number
from evaluate.surfaces.mesh import Mesh

__all__ = ["METHODS", "reconstruct"]

HALFWAY = 0.5
# Voxels searched each way for the nearest one of the other kind: as far as contouring asks for, unless a voxel's edges
# are more than 4 : 1 apart.
LONGEST_SEARCH = 8
# Distances are known up to two voxels from the surface; a filter much wider than that would see nothing else.
WIDEST_OF_DISTANCES = 8.0
# Planes whose distances are found at a time, to bound the memory.
SLAB = 32
Spacing = tuple[float, float, float]


def reconstruct(
    volume: Any,
    method: str = "marching_cubes",
    *,
    phase: int | None = None,
    voxel_size_um: Sequence[float] | None = None,
    level: float | None = None,
    **options: Any,
) -> Mesh:
    r"""Make a mesh of the surface of a phase.

    Parameters
    ----------
    volume : array_like, shape (Z, Y, X)
        Labels, a boolean mask (the object is True), a `volume.Volume` or a structure. With `level`: a field of real
        numbers such as a probability.
    method : str
        One of `METHODS`, with their `options` and defaults:

        ``"marching_cubes"``
            The surface halfway between the centres of the voxels inside and outside (Lewiner's variant [1]_).
        ``"smoothed"`` (``sigma_vox=2.0``)
            The same after a Gaussian filter.
        ``"hole_filled"``
            The same after filling the cavities: pores that no path by faces joins to the border of the volume.
            Channels that reach the border stay open.
        ``"voxel"``
            The faces of the voxels themselves. Volume and porosity are those of the voxels, exactly; the area is that
            of the staircase, 3/2 times too large on average over all directions.
        ``"convex_hull"``
            Of the vertices of marching cubes; all of them, where the paper draws 5000 at random.
        ``"dual_contouring"`` (``sigma_vox=0.0``)
            A vertex for each patch of surface in a cell, where the tangent planes at the crossings of the cell's edges
            meet in the sense of least squares [2]_. Crossings and normals are those of the field; of labels, those
            of the distance to the nearest voxel face, smoothed by `sigma_vox`.
        ``"multiscale"`` (``sigmas_vox=(0.5, 2.0, 4.0)``, ``weights=(0.5, 0.3, 0.2)``)
            Marching cubes on a weighted mean of three Gaussian filters.
        ``"hole_filled_by_slice"`` (``closing_vox=1``)
            Hole filling as in the paper [3]_: slice by slice along z, then a morphological closing (of so many steps
            to the 6 neighbours; the paper does not say). It closes channels along z too: true pores are lost.
        ``"adaptive_threshold"`` (``sigma_vox=1.5``)
            What the paper calls its dual contouring variant: marching cubes at the median of the non-zero voxels
            of the smoothed mask. Where pores are small that is about half of the volume, whatever the porosity.
    phase : int, optional
        The label of the object. By default the object is the solid: all that is not 0 (pore).
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; by default those of `volume`, if it knows them. Without them
        the mesh is in voxels.
    level : float, optional
        `volume` is a field, and the object is where it is above this value (0.5 of a probability). Without it `volume`
        holds labels and fractions are refused.
    **options
        Of the method. A `sigma_vox` is in edges of the cube that has the volume of a voxel, so that anisotropic voxels
        are smoothed by the same length along each axis; it is at most the longest side of the volume, 8 for dual
        contouring of labels.

    Returns
    -------
    Mesh
        Closed, also where the object meets the border of the volume; faces outward. The centre of voxel
        ``(i, j, k)`` is the point ``(i, j, k)`` times the voxel size, so that the volume spans -1/2 to n - 1/2 voxels
        and the surface that closes the object lies there. Filters see the volume mirrored at its border.

    Raises
    ------
    ValueError
        An unknown method or option, a phase that does not occur, grey or NaN values without a `level`, a level that
        the field nowhere exceeds, an array that is empty or not 3-D; an object that smoothing removes.

    Notes
    -----
    A mesh that follows binary voxels is a staircase: of a large ball marching cubes gives the volume within 0.5 %, but
    about 9 % too much area, dual contouring 13 % or, with ``sigma_vox=0.5``, 3 %. For a surface area prefer
    `evaluate.minkowski`. Dual contouring keeps sharp edges: of a cube along the axes the corners are 0.17 voxels off
    the true ones, with marching cubes 0.71.

    ``"voxel"`` and ``"dual_contouring"`` give manifolds whatever the voxels: each edge has two faces and the faces
    round a vertex are one fan. Parts of the object that touch at an edge or a corner alone are apart, as they are to
    `evaluate.minkowski` with ``connectivity=6``; so are cavities that touch at a corner alone. Vertices of dual
    contouring stay in their cells, though triangles of neighbouring cells may cross in very thin parts.
    Marching cubes closes every surface as well, but noise leaves it a few edges with four faces.

    A Gaussian filter of width σ moves a surface of mean curvature H inward by σ² H: balls shrink, and what is thinner
    than about 1.3 σ vanishes.

    References
    ----------
    .. [1] T. Lewiner et al., Efficient implementation of marching cubes' cases with topological guarantees, Journal
       of Graphics Tools 8 (2003) 1.
    .. [2] T. Ju, F. Losasso, S. Schaefer and J. Warren, Dual contouring of Hermite data, SIGGRAPH 2002; several
       vertices a cell as in S. Schaefer, T. Ju and J. Warren, Manifold dual contouring, IEEE TVCG 13 (2007) 610.
    .. [3] Reproducible 3-D segmentation of porous electrodes (the project's `reproducible_3d_segmentation`),
       appendix on reconstruction.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(
            f"reconstruction method {method!r} is not available; choose from: {', '.join(sorted(METHODS))}"
        )
    _check_options(method, options)
    spacing = as_voxel_size(voxel_size_um, volume) or (1.0, 1.0, 1.0)
    if level is None:
        return METHODS[method](_labelled(volume, phase), HALFWAY, spacing, **options)
    if phase is not None:
        raise ValueError(f"phase is {phase!r} and level {level!r}; labels have a phase, a field has a level: give one")
    if method == "adaptive_threshold":
        raise ValueError(f"level is {level!r}, but 'adaptive_threshold' finds its own, of labels: leave it out")
    field, threshold = _as_field(volume, level)
    return METHODS[method](field, threshold, spacing, **options)


def _labelled(volume: Any, phase: int | None) -> np.ndarray:
    labels = as_labels(volume, "volume", ndim=(3,))
    if phase is None:
        inside, name = labels != 0, "nothing but pore (label 0)"
    else:
        inside, name = labels == as_whole_number(phase, "phase", low=0, high=255), f"no voxel of phase {phase}"
    if not inside.any():
        present = ", ".join(str(int(label)) for label in np.unique(labels))
        raise ValueError(f"volume holds {name}, so there is no surface; its labels are: {present}")
    return inside


def _as_field(volume: Any, level: Any) -> tuple[np.ndarray, float]:
    field = np.asarray(volume)
    if field.ndim != 3 or field.size == 0 or field.dtype.kind not in "biuf":
        raise ValueError(
            f"volume has shape {field.shape} and dtype {field.dtype}; with a level, a 3-D array of real numbers is "
            "accepted, axes (z, y, x)"
        )
    if not np.isfinite(field).all():
        raise ValueError("volume holds NaN or infinite values; a field must be finite everywhere")
    if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not math.isfinite(level):
        raise ValueError(f"level is {level!r}; it must be a finite number, such as 0.5 for a probability")
    field = field.astype(np.float32, copy=False)
    if not field.max() > level:
        raise ValueError(
            f"level is {level:g}, but the volume goes from {field.min():g} to {field.max():g}: nothing is above"
        )
    return field, float(level)


def _check_options(method: str, options: dict[str, Any]) -> None:
    parameters = inspect.signature(METHODS[method]).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise ValueError(f"{method!r} has no option {name!r}; it has: {', '.join(known) or 'none'}")


def _marching_cubes(body: np.ndarray, level: float, spacing: Spacing) -> Mesh:
    from skimage.measure import marching_cubes

    # The library means outward in (x, y, z); its "ascent" is outward in our order of components.
    vertices, faces, _, _ = marching_cubes(_closed(body, level), level=level, gradient_direction="ascent")
    return Mesh((vertices.astype(np.float64) - 1.0) * spacing, faces)


def _smoothed(body: np.ndarray, level: float, spacing: Spacing, *, sigma_vox: float = 2.0) -> Mesh:
    sigma = _checked_sigma(sigma_vox, "sigma_vox", body)
    field = _gaussian(body, sigma, spacing)
    return _marching_cubes(_something_of(field, level, f"sigma_vox={sigma:g}"), level, spacing)


def _multiscale(
    body: np.ndarray,
    level: float,
    spacing: Spacing,
    *,
    sigmas_vox: Sequence[float] = (0.5, 2.0, 4.0),
    weights: Sequence[float] = (0.5, 0.3, 0.2),
) -> Mesh:
    sigmas = [_checked_sigma(sigma, "sigmas_vox", body) for sigma in np.atleast_1d(sigmas_vox)]
    shares = [_checked_number(weight, "weights") for weight in np.atleast_1d(weights)]
    if len(sigmas) != len(shares) or not sum(shares) > 0:
        raise ValueError(f"sigmas_vox is {sigmas} and weights {shares}; one weight each is needed, not all of them 0")
    field = np.zeros(body.shape, np.float32)
    for sigma, share in zip(sigmas, shares, strict=True):
        field += np.float32(share / sum(shares)) * _gaussian(body, sigma, spacing)
    return _marching_cubes(_something_of(field, level, f"sigmas_vox={sigmas}"), level, spacing)


def _adaptive_threshold(body: np.ndarray, level: float, spacing: Spacing, *, sigma_vox: float = 1.5) -> Mesh:
    sigma = _checked_sigma(sigma_vox, "sigma_vox", body)
    field = _gaussian(body, sigma, spacing)
    median = float(np.median(field[field > 0]))
    return _marching_cubes(_something_of(field, median, f"the median {median:g} as threshold"), median, spacing)


def _hole_filled(body: np.ndarray, level: float, spacing: Spacing) -> Mesh:
    from scipy import ndimage

    # The border is open: what reaches it is no cavity, as the volume goes on beyond.
    outside, _ = ndimage.label(~_as_mask(body, level))
    faces = [np.unique(np.take(outside, end, axis)) for axis in range(3) for end in (0, -1)]
    is_open = np.zeros(int(outside.max()) + 1, bool)
    is_open[np.concatenate(faces)] = True
    is_open[0] = False
    return _marching_cubes(~is_open[outside], HALFWAY, spacing)


def _hole_filled_by_slice(body: np.ndarray, level: float, spacing: Spacing, *, closing_vox: int = 1) -> Mesh:
    from scipy import ndimage

    steps = as_whole_number(closing_vox, "closing_vox", low=0, high=max(body.shape))
    within_slice = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], bool)
    # A structure without depth leaves each slice to itself.
    filled = ndimage.binary_fill_holes(_as_mask(body, level), structure=within_slice)
    if steps:
        wide = np.pad(filled, steps, mode="edge")
        filled = ndimage.binary_closing(wide, iterations=steps)[tuple(slice(steps, n + steps) for n in body.shape)]
    return _marching_cubes(filled, HALFWAY, spacing)


def _voxel(body: np.ndarray, level: float, spacing: Spacing) -> Mesh:
    from evaluate.surfaces.dual_surfaces import voxel_faces

    return voxel_faces(_as_mask(body, level), spacing)


def _convex_hull(body: np.ndarray, level: float, spacing: Spacing) -> Mesh:
    from scipy.spatial import ConvexHull

    points = _marching_cubes(body, level, spacing).vertices
    hull = ConvexHull(points)
    corners = points[hull.simplices]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inward = np.einsum("fi,fi->f", normals, hull.equations[:, :3]) < 0
    faces = np.where(inward[:, None], hull.simplices[:, ::-1], hull.simplices)
    used, renumbered = np.unique(faces, return_inverse=True)
    return Mesh(points[used], renumbered.reshape(faces.shape))


def _dual_contouring(body: np.ndarray, level: float, spacing: Spacing, *, sigma_vox: float = 0.0) -> Mesh:
    from evaluate.surfaces.dual_surfaces import contour_dually

    sigma = _checked_number(sigma_vox, "sigma_vox", WIDEST_OF_DISTANCES if body.dtype == bool else max(body.shape))
    if body.dtype == bool:
        # Distances need room for the faces that close the object, and a filter for what it sees of them.
        margin = 2 + math.ceil(4 * max(_sigmas(sigma, spacing)))
        field, level = _signed_distance(np.pad(body, margin), spacing), 0.0
    else:
        margin, field = 0, body
    field = _something_of(_gaussian(field, sigma, spacing), level, f"sigma_vox={sigma:g}")
    mesh = contour_dually(_closed(field, level), level, spacing)
    return Mesh(mesh.vertices - (margin + 1) * np.array(spacing), mesh.faces)


METHODS: dict[str, Callable[..., Mesh]] = {
    "marching_cubes": _marching_cubes,
    "smoothed": _smoothed,
    "hole_filled": _hole_filled,
    "voxel": _voxel,
    "convex_hull": _convex_hull,
    "dual_contouring": _dual_contouring,
    "multiscale": _multiscale,
    "hole_filled_by_slice": _hole_filled_by_slice,
    "adaptive_threshold": _adaptive_threshold,
}


def _as_mask(body: np.ndarray, level: float) -> np.ndarray:
    return body if body.dtype == bool else body > level


def _closed(body: np.ndarray, level: float) -> np.ndarray:
    """Add a layer outside so that the surface closes halfway to it, at the border of the volume."""
    field = body.astype(np.float32)
    # A point at the level itself would make faces without area; it counts as outside.
    field[field == level] = np.nextafter(np.float32(level), np.float32(-np.inf))
    for axis in range(3):
        ends = [np.take(field, [end], axis) for end in (0, -1)]
        low, high = (np.float32(level) - np.abs(end - np.float32(level)) for end in ends)
        field = np.concatenate([low, field, high], axis)
    return field


def _gaussian(body: np.ndarray, sigma: float, spacing: Spacing) -> np.ndarray:
    from scipy import ndimage

    field = body.astype(np.float32, copy=False)
    return ndimage.gaussian_filter(field, _sigmas(sigma, spacing)) if sigma > 0 else field


def _sigmas(sigma: float, spacing: Spacing) -> list[float]:
    length = sigma * float(np.prod(spacing)) ** (1 / 3)
    return [length / edge for edge in spacing]


def _checked_number(value: Any, name: str, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}; it must be 0 or a positive finite number")
    if value > most:
        raise ValueError(f"{name} is {value!r}; at most {most:g} make sense here")
    return float(value)


def _checked_sigma(value: Any, name: str, body: np.ndarray) -> float:
    """Return the width of a filter, which is no wider than the volume."""
    return _checked_number(value, name, max(body.shape))


def _something_of(field: np.ndarray, level: float, why: str) -> np.ndarray:
    if not field.max() > level:
        raise ValueError(f"with {why} nothing of the object is left above the level; smooth less, or another method")
    return field


def _signed_distance(inside: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Distance to the surface, positive inside, up to two of a voxel's longest edges."""
    farthest = 2 * max(spacing)
    reach = [min(LONGEST_SEARCH, math.ceil(farthest / edge)) for edge in spacing]
    field = np.empty(inside.shape, np.float32)
    for start in range(0, len(inside), SLAB):
        low, high = max(start - reach[0], 0), start + SLAB + reach[0]
        part, own = inside[low:high], slice(start - low, start - low + SLAB)
        to_outside, to_inside = (_distance_to(target, spacing, reach)[own] for target in (~part, part))
        field[start : start + SLAB] = to_outside - to_inside
    return field


def _distance_to(target: np.ndarray, spacing: Spacing, reach: Sequence[int]) -> np.ndarray:
    """Distance of each voxel's centre to the surface of `target`, 0 within it.

    That to the nearest centre of a voxel of `target`, less half of a voxel's width in that direction.
    """
    unknown = np.float32((2 * max(spacing)) ** 2)
    squared, stretched = np.where(target, np.float32(0), unknown), np.zeros(target.shape, np.float32)
    for axis, edge in enumerate(spacing):
        along, width = np.moveaxis(squared, axis, 0), np.moveaxis(stretched, axis, 0)
        along_before, width_before = along.copy(), width.copy()
        for steps in range(1, min(reach[axis], len(along) - 1) + 1):
            apart, wider = np.float32((steps * edge) ** 2), np.float32((steps * edge * edge) ** 2)
            for to, come in ((slice(steps, None), slice(None, -steps)), (slice(None, -steps), slice(steps, None))):
                nearer = along_before[come] + apart < along[to]
                np.copyto(along[to], along_before[come] + apart, where=nearer)
                np.copyto(width[to], width_before[come] + wider, where=nearer)
    distance = np.sqrt(squared)
    half = np.sqrt(np.divide(stretched, squared, out=np.zeros_like(squared), where=squared > 0)) / 2
    return distance - half
