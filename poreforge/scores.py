"""Every score of a segmentation against the truth, of any number of phases, as plain numbers."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluate import (
    Mesh,
    Minkowski,
    NoPathError,
    agreement,
    chamfer,
    hausdorff,
    minkowski_of_phases,
    reconstruct,
    tortuosity,
    two_point,
)
from volume import Volume

__all__ = ["SCORES", "Measured", "Score", "measure_labels", "score_heads", "score_segmentation"]

TWO_PHASES = ("pore", "solid")
# A count scatters by its root: of 16, by a quarter of itself. Nearer to 0 an Euler number is no measure of an error.
LEAST_EULER_NUMBER = 16


class Score(NamedTuple):
    """What a score is called, how it is printed, and +1 where more is better, -1 where less is, 0 where neither."""

    head: str
    form: str
    sense: int


def score_heads(
    phases: Sequence[str] = TWO_PHASES, *, tortuosity: bool = False, distances: bool = True
) -> dict[str, Score]:
    """Return what `score_segmentation` gives, in order.

    Parameters
    ----------
    phases : sequence of str
        Names of the labels, at least two.
    tortuosity, distances : bool
        Whether an axis is given, and distances are wanted.

    Returns
    -------
    dict
        IoU and F1 have a phase's name at the end of their key (``iou_pore``); errors of properties without one are
        the first phase's, the pore's. Of two phases the second one's fraction and surface follow from the first's and
        are left out.
    """
    relative = {"specific_surface_error": "surface error", "euler_density_error": "Euler density error"}
    heads = {f"iou_{phase}": Score(f"IoU {phase}", "{:.4f}", +1) for phase in phases}
    heads["mean_iou"] = Score("mean IoU", "{:.4f}", +1)
    heads |= {f"f1_{phase}": Score(f"F1 {phase}", "{:.4f}", +1) for phase in phases}
    heads["mean_dice"] = Score("mean F1 (Dice)", "{:.4f}", +1)
    heads["accuracy"] = Score("accuracy", "{:.4f}", +1)
    heads["porosity"] = Score("porosity", "{:.4f}", 0)
    heads["porosity_error"] = Score("porosity error", "{:+.4f}", -1)
    more = tuple(phases[1:]) if len(phases) > 2 else ()
    heads |= {f"fraction_error_{phase}": Score(f"error of the fraction of {phase}", "{:+.4f}", -1) for phase in more}
    for key, head in relative.items():
        heads[key] = Score(f"{head}, {phases[0]} / %", "{:+.1f}", -1)
        others = more if key == "specific_surface_error" else phases[1:]
        heads |= {f"{key}_{phase}": Score(f"{head}, {phase} / %", "{:+.1f}", -1) for phase in others}
    if tortuosity:
        heads["tortuosity_error"] = Score("tortuosity error / %", "{:+.1f}", -1)
        heads["percolation_error"] = Score("way through: +1 made up, −1 lost", "{:+.0f}", -1)
    heads["s2_error"] = Score("rms error of S2", "{:.4f}", -1)
    if distances:
        heads["chamfer"] = Score("Chamfer / voxel", "{:.3f}", -1)
        heads["hausdorff95"] = Score("Hausdorff 95 % / voxel", "{:.2f}", -1)
    return heads


SCORES = score_heads()


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """Labels and what is measured of them; made by `measure_labels`.

    Attributes
    ----------
    labels : Volume
        With the names of the phases.
    functionals : tuple of Minkowski
        Of each phase.
    s2 : ndarray
        Two-point correlation of the pore.
    axis : int or None
        Along which the tortuosity was solved for.
    tortuosity : float
        Of the pore; NaN if it has no way through, or if there is no axis.
    interface : Mesh or None
        Between pore and the rest, in the shortest edge of a voxel; None if one of them is lost, or if not wanted.
    distances : bool
        Whether it was wanted.
    """

    labels: Volume
    functionals: tuple[Minkowski, ...]
    s2: np.ndarray
    axis: int | None
    tortuosity: float
    interface: Mesh | None
    distances: bool


def measure_labels(
    labels: Any, *, phases: Sequence[str] = TWO_PHASES, axis: int | None = None, distances: bool = True
) -> Measured:
    """Measure what scores compare, so that a truth is measured once for many predictions.

    Parameters
    ----------
    labels : array_like or Volume, shape (Z, Y, X)
        Labels from 0, the pore, to ``len(phases) - 1``. A Volume's voxel size is heeded.
    phases : sequence of str
        Names of the labels, 2 to 16.
    axis : int, optional
        Along which to solve for the pore's tortuosity, 0 for z; left out unless given, as it takes longest.
    distances : bool
        Whether to make the interface whose distances are measured.

    Returns
    -------
    Measured

    Raises
    ------
    ValueError
        What are no labels of so many phases, fewer than two voxels along an axis, an axis that is not there.
    """
    size = getattr(labels, "voxel_size_um", None)
    volume = Volume(np.asarray(labels), size, tuple(phases))
    pore = volume.array == 0
    return Measured(
        labels=volume,
        functionals=minkowski_of_phases(volume.array, n_phases=len(phases), voxel_size_um=size),
        s2=two_point(pore).s2,
        axis=axis,
        tortuosity=math.nan if axis is None else _tortuosity(pore, size, axis),
        interface=_interface(pore, size) if distances else None,
        distances=distances,
    )


def score_segmentation(
    prediction: Any,
    truth: Any,
    *,
    phases: Sequence[str] = TWO_PHASES,
    axis: int | None = None,
    distances: bool = True,
) -> dict[str, float]:
    """Score labels by voxel and by the properties that follow from them.

    Parameters
    ----------
    prediction : array_like or Volume, shape (Z, Y, X)
        Labels from 0, the pore, to ``len(phases) - 1``.
    truth : array_like, Volume or Measured
        The same, or what `measure_labels` made of it; then the other arguments are those it was measured with.
    phases, axis, distances
        As in `measure_labels`.

    Returns
    -------
    dict
        The keys of `score_heads`. Errors are found minus true: fractions as such, surface, Euler density and
        tortuosity in per cent of the true value. NaN is what is not defined: a phase that is in neither volume, an
        error relative to 0, or to an Euler number nearer to it than 16, the tortuosity where there is no way through,
        the distance of an interface that is lost. Chamfer and Hausdorff distance of the pore's surface are in the
        shortest edge of a voxel.

    Raises
    ------
    ValueError
        As `measure_labels`, or unequal shapes.
    """
    true = (
        truth if isinstance(truth, Measured) else measure_labels(truth, phases=phases, axis=axis, distances=distances)
    )
    names = true.labels.phases or ()
    match = agreement(prediction, true.labels, n_phases=len(names))
    own = Volume(np.asarray(prediction), true.labels.voxel_size_um)
    found = measure_labels(own, phases=names, axis=true.axis, distances=true.distances)
    scores = {f"iou_{name}": value for name, value in zip(names, match.iou, strict=True)}
    scores |= {f"f1_{name}": value for name, value in zip(names, match.f1, strict=True)}
    scores |= {"mean_iou": match.mean_iou, "mean_dice": match.mean_dice, "accuracy": match.accuracy}
    scores |= _property_errors(found, true)
    scores["s2_error"] = float(np.sqrt(np.mean((found.s2 - true.s2) ** 2)))
    meshes = found.interface, true.interface
    scores["chamfer"] = chamfer(*meshes) if all(meshes) else math.nan
    scores["hausdorff95"] = hausdorff(*meshes, percentile=95) if all(meshes) else math.nan
    return {key: scores[key] for key in score_heads(names, tortuosity=true.axis is not None, distances=true.distances)}


def _property_errors(found: Measured, true: Measured) -> dict[str, float]:
    errors = {"porosity": found.functionals[0].volume_fraction}
    for phase, name in enumerate(true.labels.phases or ()):
        ours, theirs = found.functionals[phase], true.functionals[phase]
        end = f"_{name}" if phase else ""
        errors[f"fraction_error{end}" if phase else "porosity_error"] = ours.volume_fraction - theirs.volume_fraction
        errors[f"specific_surface_error{end}"] = _percent(ours.specific_surface, theirs.specific_surface)
        euler = _percent(ours.euler_density, theirs.euler_density)
        errors[f"euler_density_error{end}"] = euler if abs(theirs.euler_number) >= LEAST_EULER_NUMBER else math.nan
    errors["tortuosity_error"] = _percent(found.tortuosity, true.tortuosity)
    errors["percolation_error"] = float(math.isnan(true.tortuosity)) - float(math.isnan(found.tortuosity))
    return errors


def _tortuosity(pore: np.ndarray, size: Sequence[float] | None, axis: int) -> float:
    try:
        return float(tortuosity(pore, axis=axis, voxel_size_um=size).tortuosity)
    except NoPathError:
        return math.nan


def _interface(pore: np.ndarray, size: Sequence[float] | None) -> Mesh | None:
    """Return the surface between pore and the rest, or None where one of them is lost.

    The faces that close the mesh at the volume's border are left out: they lie alike in any two volumes.
    """
    if pore.all() or not pore.any():
        return None
    mesh = reconstruct((~pore).view(np.uint8))
    # Voxel centres lie at whole numbers; only what closes the mesh lies beyond the outermost ones.
    inside = ((mesh.vertices >= 0) & (mesh.vertices <= np.array(pore.shape) - 1)).all(axis=1)
    faces = mesh.faces[inside[mesh.faces].all(axis=1)]
    edges = np.ones(3) if size is None else np.asarray(size) / min(size)
    return Mesh(mesh.vertices * edges, faces) if len(faces) else None


def _percent(value: float, true: float) -> float:
    return 100 * (value - true) / abs(true) if true else math.nan
