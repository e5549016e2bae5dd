"""Fibre mats: carbon paper and felt, with binder where fibres meet."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import ndimage

from synth.exact_counts import highest, whole_counts
from synth.fibres import FilledFibres, Orientation, clip_segments, draw_fibres, fill_with_fibres
from synth.structure import Structure, check_shape, with_fractions

__all__ = ["CARBON_FELT", "CARBON_PAPER", "fibre_mat"]

CARBON_PAPER: Mapping[str, Any] = MappingProxyType(
    {"porosity": 0.75, "fibre_diameter_vox": 8.0, "in_plane": 30.0, "persistence_vox": None, "binder_fraction": 0.07}
)
CARBON_FELT: Mapping[str, Any] = MappingProxyType(
    {"porosity": 0.9, "fibre_diameter_vox": 8.0, "in_plane": 2.5, "persistence_vox": 300.0, "binder_fraction": 0.0}
)
# Of fibres in a periodic box, in units of its longest side, where no length is given.
PERIODIC_LENGTH = 4.0
# The longest that may be asked for there.
LONGEST_PERIODIC = 100.0
# Vertices of a curved centre line: at most a radius apart, and near enough for turns of about 15 degrees at most.
STEPS_PER_PERSISTENCE = 30
# Standard deviation of the smoothing that finds where solid is dense, in fibre radii: through the plane, and in it.
BINDER_REACH = (0.6, 1.2, 1.2)
GAUSSIAN_CUT = 2.5


def fibre_mat(
    shape: tuple[int, int, int],
    *,
    porosity: float = 0.75,
    fibre_diameter_vox: float = 8.0,
    in_plane: float = 30.0,
    alignment: float = 1.0,
    machine_direction_deg: float = 0.0,
    persistence_vox: float | None = None,
    fibre_length_vox: float | None = None,
    binder_fraction: float = 0.0,
    periodic: bool = False,
    rng: np.random.Generator | int,
) -> Structure:
    """Make a mat of overlapping round fibres: the substrate of a gas diffusion layer, or a felt electrode.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along z (through the plane), y, x.
    porosity : float
        Pore fraction that fibres and binder leave, between 0 and 1. It is met to one voxel.
    fibre_diameter_vox : float
        In voxels, from 1 (below 2 fibres have gaps) to the box's shortest side.
    in_plane : float
        Schladitz' β: 1 is isotropic, 2 to 3 a felt, 30 and more a paper whose fibres lie in the (y, x) plane.
    alignment : float
        1 has no preferred direction in the plane; the larger, the nearer are fibres to the machine direction.
    machine_direction_deg : float
        Angle of that direction from x towards y.
    persistence_vox : float, optional
        Persistence length of curved fibres, in voxels, at least half their diameter; see `synth.fibres.fibre_path`.
        ``None`` (or infinity) is straight.
    fibre_length_vox : float, optional
        Length of a fibre, in voxels, at least its diameter. ``None`` is without end; in a periodic box, which a
        fibre without end would fill, four times its longest side; there at most a hundred times.
    binder_fraction : float
        Part of the whole volume that is binder, met to one voxel. It lies where the solid is dense around, that is at
        crossings and in wedges. The fibres get the rest of the solid.
    periodic : bool
        Let fibres leave on one side and enter on the other. Otherwise they enter the box as they would a window of a
        larger sample: its border is no different from its inside.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    Structure
        Labels 0 pore, 1 fibre and, if there is any, 2 binder. ``truth`` holds the exact

        - ``porosity`` and ``fractions`` of the labels;
        - ``n_fibres``, whose centre lines run through the box;
        - ``centre_line_length``, of these lines within the box, in voxels (all their length if periodic);
        - ``orientation_tensor``, the mean of t tᵀ over that length, 3 x 3 in the order (z, y, x), of trace 1;
        - ``fibre_diameter``, in voxels.

    Raises
    ------
    ValueError
        For arguments out of range, and where fibres cannot leave so little pore.

    Notes
    -----
    Straight fibres are the Boolean model of long cylinders of radius r: with the length L per volume the expected
    porosity is exp(-L π r²) and the expected specific surface 2 π r L times that [1]_. The last fibre ends early, so
    that the porosity is exact.

    Two recipes: ``fibre_mat(shape, **CARBON_PAPER, rng=0)``, straight fibres in the plane with webs of carbonised
    binder, as papers of Toray or SGL; ``fibre_mat(shape, **CARBON_FELT, rng=0)``, curved and nearly isotropic fibres
    without binder, as in flow batteries. Both are made for voxels of about 1 µm.

    References
    ----------
    .. [1] S. N. Chiu, D. Stoyan, W. S. Kendall, J. Mecke, "Stochastic Geometry and its Applications", ch. 8.
    .. [2] K. Schladitz and others, Comput. Mater. Sci. 38 (2006) 56.
    """
    shape = check_shape(shape)
    recipe = {
        "generator": "fibre_mat", "shape": list(shape), "porosity": porosity,
        "fibre_diameter_vox": fibre_diameter_vox, "in_plane": in_plane, "alignment": alignment,
        "machine_direction_deg": machine_direction_deg, "persistence_vox": persistence_vox,
        "fibre_length_vox": fibre_length_vox, "binder_fraction": binder_fraction, "periodic": periodic,
    }  # fmt: skip
    _check_arguments(shape, recipe)
    orientation = Orientation(in_plane, alignment, machine_direction_deg)
    fractions = (porosity, 1 - porosity - binder_fraction, binder_fraction)
    _, n_fibre, n_binder = whole_counts(fractions, math.prod(shape))
    length = fibre_length_vox or (PERIODIC_LENGTH * max(shape) if periodic else math.inf)
    radius, labels = fibre_diameter_vox / 2, np.zeros(shape, np.uint8)
    persistence = persistence_vox or math.inf
    # A centre line further from the box than a radius covers none of its voxels.
    margin = 0 if periodic else radius
    fibres = draw_fibres(
        np.full(3, -margin), np.array(shape) + margin, orientation=orientation, persistence_vox=persistence,
        length_vox=length, step_vox=min(radius, persistence / STEPS_PER_PERSISTENCE), periodic=periodic,
        rng=np.random.default_rng(rng),
    )  # fmt: skip
    filled = fill_with_fibres(labels, fibres, radius=radius, target=n_fibre, periodic=periodic)
    if filled.solid < n_fibre:
        raise ValueError(
            f"porosity {porosity:g} cannot be reached by fibres of diameter {fibre_diameter_vox:g}; this mat ended at "
            f"{1 - filled.solid / labels.size:.4f}: ask for more"
        )
    _add_binder(labels, n_binder, radius, periodic)
    phases = ("pore", "fibre", "binder") if binder_fraction > 0 else ("pore", "fibre")
    truth = {**_line_truth(filled, shape, periodic), "fibre_diameter": float(fibre_diameter_vox)}
    return with_fractions(labels, phases, recipe=recipe, truth=truth)


def _check_arguments(shape: tuple[int, int, int], given: Mapping[str, Any]) -> None:
    porosity, binder, diameter = given["porosity"], given["binder_fraction"], given["fibre_diameter_vox"]
    if not 0 < porosity < 1:
        raise ValueError(f"porosity is {porosity!r}; give a number above 0 and below 1")
    if not 0 <= binder < 1 - porosity:
        raise ValueError(
            f"binder_fraction is {binder!r} where the porosity {porosity:g} leaves {1 - porosity:g} to all solid; "
            "give 0 or more, and less than that"
        )
    if not 1 <= diameter <= min(shape):
        raise ValueError(
            f"fibre_diameter_vox is {diameter!r}; give a number from 1 to {min(shape)}, the box's shortest side"
        )
    persistence, length = given["persistence_vox"], given["fibre_length_vox"]
    if persistence is not None and not persistence >= diameter / 2:
        raise ValueError(
            f"persistence_vox is {persistence!r}; give at least {diameter / 2:g}, half the fibre's diameter, or None"
        )
    if length is not None and not diameter <= length < math.inf:
        raise ValueError(f"fibre_length_vox is {length!r}; give at least {diameter:g}, the fibre's diameter, or None")
    longest = LONGEST_PERIODIC * max(shape)
    if length is not None and given["periodic"] and length > longest:
        raise ValueError(
            f"fibre_length_vox is {length!r} in a periodic box, which such a fibre would fill; give at most {longest:g}"
        )


def _add_binder(labels: np.ndarray, count: int, radius: float, periodic: bool) -> None:
    """Give the pore voxels around which the solid is densest to the binder."""
    if not count:
        return
    density = (labels > 0).astype(np.float32)
    sigma = [radius * part for part in BINDER_REACH]
    mode = "wrap" if periodic else "reflect"
    ndimage.gaussian_filter(density, sigma, output=density, mode=mode, truncate=GAUSSIAN_CUT)
    labels[highest(density, count, among=labels == 0)] = 2


def _line_truth(filled: FilledFibres, shape: tuple[int, int, int], periodic: bool) -> dict[str, Any]:
    lines = filled.segments if periodic else clip_segments(filled.segments, (0, 0, 0), shape)
    ways = lines.ends - lines.starts
    lengths = np.sqrt((ways**2).sum(axis=1))
    total = float(lengths.sum())
    tensor = (ways.T / np.where(lengths > 0, lengths, 1)) @ ways / max(total, np.finfo(float).tiny)
    return {
        "n_fibres": len(np.unique(lines.fibre)),
        "centre_line_length": total,
        "orientation_tensor": tensor.tolist(),
    }
