"""From labels, objects and fields to scenes."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from evaluate.accepted_input import as_voxel_size, as_whole_number
from poreforge.views.coarsening import coarse_shape, coarsen_field, coarsen_labels
from poreforge.views.drawn_surface import Shade, drawn_surface, values_at, within_budget
from poreforge.views.nets import OUTSIDE, surface_net
from poreforge.views.scene import ColourBar, Scene
from poreforge.views.scene_input import (
    accepted_labels,
    accepted_limits,
    accepted_objects,
    accepted_opacities,
    accepted_palette,
    accepted_values,
    of_shape,
)

__all__ = ["phase_scene", "property_scene"]

MOST_VOXELS = 160**3
COLOUR_MAP = "viridis"
OBJECT_COLOUR, CONTEXT_COLOUR = "#35b779", "#c9ced3"
# Simplifying costs time: a volume is first made so coarse that it has at most so many times the triangles wanted.
MOST_TO_SIMPLIFY = 3

Cut = Literal["corner", "none"]


def phase_scene(
    labels: Any,
    *,
    voxel_size_um: Sequence[float] | None = None,
    phases: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    opacity: dict[int, float] | None = None,
    cut: Cut = "corner",
    with_unseen: bool = False,
    most_voxels: int = MOST_VOXELS,
    most_triangles: int | None = None,
) -> Scene:
    """Make the scene of a labelled volume, one surface a phase.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X)
        Labels from 0 to 15, a `volume.Volume` or a structure.
    voxel_size_um : sequence of three floats, optional
        Edges (z, y, x) of a voxel in µm; by default those of `labels`, otherwise lengths are in voxels.
    phases : sequence of str, optional
        Name of each label; by default those of `labels`, otherwise "pore", "phase 1", ….
    colours : sequence of str, optional
        ``#rrggbb`` of each label; by default the report's.
    opacity : dict, optional
        From label to opacity (0 to 1). By default pores, electrolyte and what is outside are not seen, the rest is
        opaque.
    cut : {"corner", "none"}
        Whether to take out the corner at small y, large x and large z, an eighth, so that the inside is seen.
    with_unseen : bool
        Make the surfaces of phases of opacity 0 too, which an interactive view can switch on.
    most_voxels : int
        A larger volume is drawn from blocks of voxels, each with the label that most of them have: what is thinner
        than a block gets lost.
    most_triangles : int, optional
        Of all surfaces together; without it nothing is simplified. A volume with far more is made coarser first.

    Returns
    -------
    Scene
        With a surface for each label that occurs and is seen.

    Raises
    ------
    ValueError
        Grey values, more than 16 labels, too few names or colours, an opacity or a cut that is not one.
    """
    array, size, names = accepted_labels(labels, voxel_size_um, phases)
    palette = accepted_palette(colours, len(names))
    seen = accepted_opacities(names, opacity)
    coarse, step = _coarse(array, size, most_voxels, most_triangles)
    whole = tuple(float(n * edge) for n, edge in zip(coarse.shape, step, strict=True))
    drawn = _taken_out(coarse, cut)
    net = surface_net(drawn)
    # What light shines through casts no shade.
    shade = Shade(np.isin(drawn, [label for label, value in seen.items() if value > 0.5]))
    wanted = [k for k in range(len(names)) if seen[k] > 0 or with_unseen]
    present = [k for k in wanted if np.any(net.below == k) or np.any(net.above == k)]
    meshes = within_budget([(net.points, net.faces_of(k)) for k in present], most_triangles)
    surfaces = [
        # What is not seen now will be switched on to be seen alone.
        drawn_surface(
            mesh, drawn.shape, step, shade if seen[k] else Shade(drawn == k),
            name=names[k], colour=palette[k], opacity=seen[k], cut=cut == "corner",
        )
        for k, mesh in zip(present, meshes, strict=True)
    ]  # fmt: skip
    z, y, x = whole
    unit = "voxel" if size is None else "µm"
    return Scene(tuple(surfaces), (x, y, z), unit, voxels_merged=coarse.shape != array.shape, cut=cut == "corner")


def property_scene(
    objects: Any,
    values: Any,
    *,
    name: str,
    unit: str = "",
    voxel_size_um: Sequence[float] | None = None,
    limits: tuple[float, float] | None = None,
    colour_map: str = COLOUR_MAP,
    context: Any = None,
    cut: Cut = "corner",
    most_voxels: int = MOST_VOXELS,
    most_triangles: int | None = None,
) -> Scene:
    """Make the scene of objects or of a phase, coloured by a property.

    Parameters
    ----------
    objects : array_like, shape (Z, Y, X)
        A boolean mask, or whole numbers: 0 nothing, 1, 2, … the objects (bubbles, pores).
    values : array_like
        One value for each object, ``values[0]`` that of object 1 (its volume, its diameter); or a field of the
        volume's shape, such as the local thickness, of which the values inside the mask are shown.
    name, unit : str
        What is shown, for the colour bar.
    voxel_size_um : sequence of three floats, optional
        Edges (z, y, x) of a voxel in µm; by default those of `objects`, otherwise lengths are in voxels.
    limits : (float, float), optional
        Values at the ends of the colour bar; by default the smallest and largest that are shown.
    colour_map : str
        matplotlib's name.
    context : array_like of bool, shape (Z, Y, X), optional
        What is shown beside the objects in pale grey: the solid around the pores, a membrane.
    cut, most_voxels, most_triangles
        As in `phase_scene`.

    Returns
    -------
    Scene

    Raises
    ------
    ValueError
        No objects, too few values, values that are not finite, unequal shapes, limits that are not in order.
    """
    numbers = accepted_objects(objects)
    size = as_voxel_size(voxel_size_um, objects)
    mask = numbers > 0
    field = accepted_values(values, numbers)
    both = mask.astype(np.uint8)
    if context is not None:
        both[~mask & of_shape(context, mask.shape)] = 2
    coarse, step = _coarse(both, size, most_voxels, most_triangles)
    blocks = coarse.shape[0], coarse.shape[1], coarse.shape[2]
    coloured = coarsen_field(field, mask, blocks) if blocks != both.shape else np.where(mask, field, np.nan)
    drawn = _taken_out(coarse, cut)
    shown = coloured[drawn == 1]
    if not shown.size:
        raise ValueError("none of the objects can be seen: all lie in the corner that is cut out; give cut='none'")
    per_object = np.ndim(values) == 1
    bar = ColourBar(name, unit, *accepted_limits(limits, shown), colour_map, per_object)
    net = surface_net(drawn)
    shade = Shade((drawn == 1) | (drawn == 2))
    kinds = [(1, name, OBJECT_COLOUR), (2, "context", CONTEXT_COLOUR)][: 1 + int(bool(np.any(drawn == 2)))]
    meshes = within_budget([(net.points, net.faces_of(k)) for k, _, _ in kinds], most_triangles)
    surfaces = []
    for (kind, title, colour), mesh in zip(kinds, meshes, strict=True):
        surface = drawn_surface(
            mesh, drawn.shape, step, shade, name=title, colour=colour, opacity=1.0, cut=cut == "corner"
        )
        if kind == 1:
            surface = dataclasses.replace(surface, values=values_at(surface, coloured, step, bar))
        surfaces.append(surface)
    z, y, x = (float(n * edge) for n, edge in zip(coarse.shape, step, strict=True))
    shape_unit = "voxel" if size is None else "µm"
    return Scene(tuple(surfaces), (x, y, z), shape_unit, bar, coarse.shape != both.shape, cut == "corner")


def _coarse(
    array: np.ndarray, size: tuple[float, float, float] | None, most_voxels: int, most_triangles: int | None
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Fewer voxels, and their edges (z, y, x); the box keeps its size."""
    edges = size or (1.0, 1.0, 1.0)
    most = as_whole_number(most_voxels, "most_voxels", low=8)
    coarse = coarsen_labels(array, coarse_shape(array.shape, most_voxels=most, proportions=edges))
    if most_triangles is not None:
        wanted = MOST_TO_SIMPLIFY * as_whole_number(most_triangles, "most_triangles", low=100)
        # Four triangles a face: both phases have theirs.
        found = 4 * sum(int(np.count_nonzero(np.diff(coarse, axis=axis))) for axis in range(3))
        if found > wanted:
            # Surface goes with the square of the edge, voxels with its cube.
            most = max(8, int(coarse.size * (wanted / found) ** 1.5))
            coarse = coarsen_labels(array, coarse_shape(array.shape, most_voxels=most, proportions=edges))
    z, y, x = (n * edge / m for n, edge, m in zip(array.shape, edges, coarse.shape, strict=True))
    return coarse, (z, y, x)


def _taken_out(labels: np.ndarray, cut: Cut) -> np.ndarray:
    if cut not in ("corner", "none"):
        raise ValueError(f"cut is {cut!r}; it must be 'corner' or 'none'")
    if cut == "none":
        return labels
    z, y, x = ((n + 1) // 2 for n in labels.shape)
    labels = labels.copy()
    labels[z:, : labels.shape[1] - y, x:] = OUTSIDE
    return labels
