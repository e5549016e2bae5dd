"""All about the layers of a gas diffusion medium, in one report."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from evaluate.accepted_input import as_labels, as_voxel_size, as_whole_number
from evaluate.layers.layer_arguments import as_degree, as_length, as_share, as_side, resolve_phases
from evaluate.layers.layer_geometry import MPL, STRAY, MplForm, Turned, fit_mpl, substrate_slices, turn
from evaluate.layers.layer_measures import (
    Scale,
    measure_cracks,
    measure_face,
    measure_interfaces,
    measure_intrusion,
    measure_layer,
    measure_profile,
    measure_thickness,
)
from evaluate.layers.layer_results import Layer, LayerReport
from evaluate.morphology.lattice import check_spacing

__all__ = ["layer_report"]

Label = int | str
MPL_PARTS = ("mpl_thickness", "cracks", "intrusion", "free_surface", "interfaces")


def layer_report(
    labels: Any,
    *,
    pore: Label = 0,
    fibre: Label | Sequence[Label] | None = 1,
    mpl: Label | None = 2,
    axis: int = 0,
    side: Literal["low", "high"] | None = None,
    voxel_size_um: Sequence[float] | None = None,
    crack_openness: float = 0.75,
    minimum_crack_pixels: int = 1,
    levelling_degree: int = 1,
    patch: float | None = None,
    pore_sizes: bool = True,
) -> LayerReport:
    r"""Measure the layers of a gas diffusion medium: a fibre substrate (GDL) with or without a microporous layer (MPL).

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X)
        Labels, a `volume.Volume` or a structure.
    pore, fibre, mpl : int or str
        Label of each phase, or its name among the phases of `labels`. `fibre` may be several, all the solids that are
        no MPL: of a catalyst layer with ionomer ``fibre=(1, 2), mpl=None``. `fibre` and `mpl` may be None or not occur;
        what then has no meaning is None, with the reason in `LayerReport.undefined`.
    axis : int
        The axis across the layers; 0 is z.
    side : {"low", "high"}, optional
        The end of that axis at which the free side of the MPL lies. By default found: the one that lies before the
        fibres.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; they need not be equal. By default that of `labels`, if it is a
        `volume.Volume` that knows it; otherwise lengths are in voxels.
    crack_openness : float
        A column is cracked if at least this share of the MPL's thickness there, fibres taken off, holds no MPL; above
        0 and up to 1.
    minimum_crack_pixels : int
        Cracks of fewer columns are dropped.
    levelling_degree : int
        Total degree, 0 to 6, of the polynomials of the plan's coordinates that say where the MPL's faces lie in
        general: 0 level, 1 tilted, 2 also bent.
    patch : float, optional
        Edge of the square patches of the local roughness, see `surface_roughness`.
    pore_sizes : bool
        Whether to measure the pore sizes of each layer, which takes longer than all the rest.

    Returns
    -------
    LayerReport

    Raises
    ------
    ValueError
        `labels` is no 3-D array of labels with at least two voxels along each axis, or holds a label of no phase; two
        phases with one label; a name that is no phase of `labels`, or an MPL's number to which they give the name of
        something else; voxel edges that are not positive, or more than 100 : 1 apart; an argument out of range.

    Notes
    -----
    Where the MPL lies: its faces are polynomials fitted to its first and last voxel in each column so that the sum of
    the absolute deviations is least, which for a level layer is the median. So what intrudes over less than half
    of the plan does not move them; the layer goes from the mean of one to the mean of the other. Pieces of MPL
    wholly beyond it are strays and count as nothing. The GDL goes on from there to the last slice with at least half as
    much fibre as the median slice.

    Cracks are columns, not pores of one slice: a fibre that crosses a crack does not interrupt it, one embedded in the
    MPL is none, and a column that fibres fill to more than three quarters goes with the nearest one that they do not
    fill. Pits that leave MPL enough are no cracks. A crack that runs through the layer at a slant, so that no
    column lacks enough, is not seen. The crack area is that of columns; columns that touch at a corner belong together.

    Length of a crack: of its skeleton in the lattice of pixels, links counted along the line's local direction, side
    branches that stay within the crack's own width taken off, tips prolonged to the edge. Straight cracks of 3 to 12
    pixels width and 100 length come out within 4 %, whatever their direction (within 12 % if pixels are 2 : 1), those
    of `synth.gdl_with_mpl`, whose lines cross and overlap, in sum 4 % short; of cracks not much longer than wide it is
    short by up to their width. Widths are local thickness (`local_thickness`): within 1.5 pixels, 0.2 too large on
    average.

    Thicknesses are along the axis; across a layer that is tilted by θ they are smaller by cos θ.

    Intrusion: depths from the inner face as fitted, so neither a tilt nor (with degree 2) a bend of the whole sample
    counts as such. c_Ra is eq. 5 of [1]_ with patches that are regions of the plan, see `surface_roughness`.

    References
    ----------
    .. [1] A. Colliard-Granero et al., "UTILE-Pore: Deep Learning-Enabled 3D Analysis of Porous Materials in Polymer
       Electrolyte Membrane-Based Energy Devices", J. Electrochem. Soc. 172 (2025) 074515.
    """
    array = as_labels(labels, "labels", ndim=(3,))
    if min(array.shape) < 2:
        raise ValueError(f"labels has shape {array.shape}; layers need at least two voxels along each axis")
    phases = resolve_phases(labels, {"pore": pore, "fibre": fibre, "mpl": mpl})
    voxel = as_voxel_size(voxel_size_um, labels)
    check_spacing(voxel or (1.0, 1.0, 1.0))
    axis = as_whole_number(axis, "axis", low=0, high=2)
    options = _Options(
        openness=as_share(crack_openness, "crack_openness"),
        least=as_whole_number(minimum_crack_pixels, "minimum_crack_pixels", low=1),
        degree=as_degree(levelling_degree),
        patch=None if patch is None else as_length(patch, "patch"),
        sizes=bool(pore_sizes),
    )
    turned = turn(array, phases, axis=axis, side=None if side is None else as_side(side))
    form = fit_mpl(turned, options.degree) if turned.profile[:, MPL].any() else None
    return _report(turned, form, Scale.of(voxel, axis), options=options, mpl_labels=phases.mpl)


class _Options(NamedTuple):
    openness: float
    least: int
    degree: int
    patch: float | None
    sizes: bool


def _report(
    turned: Turned, form: MplForm | None, scale: Scale, *, options: _Options, mpl_labels: tuple[int, ...]
) -> LayerReport:
    layers = _layers(turned, form, scale, sizes=options.sizes)
    solid = turned.columns[4] - np.minimum(turned.columns[3], turned.columns[4])
    parts: dict[str, Any] = dict.fromkeys(MPL_PARTS)
    if form is not None:
        parts |= _measure_mpl(turned, form, scale, options=options)
    parts |= layers | {"total_thickness": measure_thickness(solid, scale)}
    side = "high" if turned.flipped else "low"
    return LayerReport(
        **parts,
        profile=measure_profile(turned, scale),
        stray_volume=int(turned.profile[:, STRAY].sum()) * math.prod(scale.edges),
        undefined={name: _reason(name, form, mpl_labels) for name, part in parts.items() if part is None},
        axis=turned.axis,
        side=None if form is None else side,
        unit="um" if scale.known else "voxel",
    )


def _layers(turned: Turned, form: MplForm | None, scale: Scale, *, sizes: bool) -> dict[str, Layer | None]:
    """Return the two layers, None for what is not there."""
    mpl, start = None, 0.0
    if form is not None:
        free, start = (min(max(float(face.mean()), 0.0), len(turned.classes)) for face in (form.free, form.inner))
        mpl = measure_layer(turned, free, max(start, free + 1), scale=scale, sizes=sizes)
    found = substrate_slices(turned, min(round(start), len(turned.classes)))
    if found is None:
        return {"mpl": mpl, "gdl": None}
    first = start if form is not None else found[0]
    return {"mpl": mpl, "gdl": measure_layer(turned, first, found[1], scale=scale, sizes=sizes)}


def _measure_mpl(turned: Turned, form: MplForm, scale: Scale, *, options: _Options) -> dict[str, Any]:
    """Return what there is only with an MPL; the pores of the substrate are marked at the end."""
    number, first = turned.columns[:2]
    cracks = measure_cracks(turned, form, scale=scale, openness=options.openness, least=options.least)
    cracked = cracks.ids > 0
    levelled: dict[str, Any] = {"scale": scale, "degree": options.degree, "patch": options.patch}
    return {
        "mpl_thickness": measure_thickness(number, scale),
        "cracks": cracks,
        "intrusion": measure_intrusion(turned, form, cracked, **levelled),
        "free_surface": measure_face(first, (number > 0) & ~cracked, outward=-1, **levelled),
        "interfaces": measure_interfaces(turned, form, cracked, scale=scale),
    }


def _reason(name: str, form: MplForm | None, mpl_labels: tuple[int, ...]) -> str:
    """Say why an attribute is None."""
    if name == "gdl":
        return "no fibre lies beyond the microporous layer" if form is not None else "no fibre occurs"
    if name == "total_thickness":
        return "nothing solid occurs"
    if form is not None:
        return "cracks leave no column of the microporous layer"
    if not mpl_labels:
        return "no microporous layer was named"
    return f"the microporous layer, label {mpl_labels[0]}, does not occur"
