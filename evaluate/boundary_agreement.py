"""How well the boundaries of predicted phases follow the true ones."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import LARGEST_LABEL, as_labels, as_voxel_size, as_whole_number

__all__ = ["BoundaryScore", "boundary_score"]

# Distances are in single precision; one that equals the tolerance shall count as within it.
ROUNDING = 1 + 1e-6


@dataclasses.dataclass(frozen=True)
class BoundaryScore:
    """Boundary F-score of each phase; made by `boundary_score`.

    A phase without a boundary in either volume has no score: its entries are NaN, ``present[k]`` is False and the mean
    leaves it out. A phase with a boundary in only one of the two scores 0 throughout and does count in the mean.

    Attributes
    ----------
    f_score : tuple of float
        Harmonic mean of precision and recall, phase by phase.
    precision : tuple of float
        Part of the predicted boundary that lies within the tolerance of the true one.
    recall : tuple of float
        Part of the true boundary that lies within the tolerance of the predicted one.
    present : tuple of bool
        Whether the phase has a boundary in the prediction or in the truth.
    tolerance : float
        In `unit`.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    """

    f_score: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    present: tuple[bool, ...]
    tolerance: float
    unit: str

    @property
    def mean_f_score(self) -> float:
        """Mean F-score of the phases present; 1 if there is no boundary at all."""
        kept = [score for score, present in zip(self.f_score, self.present, strict=True) if present]
        return math.fsum(kept) / len(kept) if kept else 1.0


def boundary_score(
    prediction: Any,
    truth: Any,
    *,
    n_phases: int,
    tolerance: float | None = None,
    voxel_size_um: Sequence[float] | None = None,
) -> BoundaryScore:
    """Compare the boundaries of the phases of two label volumes.

    Parameters
    ----------
    prediction, truth : array_like, shape (Z, Y, X) or (Y, X), equal
        Labels from 0 to ``n_phases - 1``; boolean arrays are the labels 0 and 1.
    n_phases : int
        Number of phases, 1 to 256; the length of each score.
    tolerance : float, optional
        In µm if a voxel size is known, otherwise in voxels; 0 asks for equal boundaries. By default the longest edge of
        a voxel.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; by default that of `truth`, if it knows it. Of slices the last two
        count.

    Returns
    -------
    BoundaryScore

    Raises
    ------
    ValueError
        Unequal shapes, a label of `n_phases` or more, labels that are fractional, NaN or negative, a tolerance that is
        negative or not finite.

    Notes
    -----
    The boundary of a phase is made of its voxels with a neighbour by a face in another phase; the border of the volume
    is no boundary. Distances are Euclidean, between voxel centres. A boundary that is shifted by no more than
    the tolerance scores 1, however thin the phase. The measure is that of Csurka et al. [1]_ for whole volumes, with an
    exact distance transform: its work grows with the number of voxels alone.

    References
    ----------
    .. [1] G. Csurka, D. Larlus and F. Perronnin, What is a good evaluation measure for semantic segmentation?,
       BMVC 2013.
    """
    n = as_whole_number(n_phases, "n_phases", low=1, high=LARGEST_LABEL + 1)
    predicted, true = as_labels(prediction, "prediction"), as_labels(truth, "truth")
    if predicted.shape != true.shape:
        raise ValueError(f"prediction has shape {predicted.shape} and truth {true.shape}; they must be equal")
    for name, array in (("prediction", predicted), ("truth", true)):
        if array.max() >= n:
            raise ValueError(f"{name} holds the label {int(array.max())}, but n_phases={n} allows 0 to {n - 1}")
    size = as_voxel_size(voxel_size_um, truth)
    spacing = (size or (1.0, 1.0, 1.0))[-predicted.ndim :]
    within = max(spacing) if tolerance is None else _checked_tolerance(tolerance)
    pairs = [_precision_and_recall(predicted == k, true == k, spacing, within) for k in range(n)]
    scores = [2 * p * r / (p + r) if p + r > 0 else p + r for p, r in pairs]
    return BoundaryScore(
        f_score=tuple(scores),
        precision=tuple(p for p, _ in pairs),
        recall=tuple(r for _, r in pairs),
        present=tuple(not math.isnan(p) for p, _ in pairs),
        tolerance=within,
        unit="um" if size else "voxel",
    )


def _checked_tolerance(tolerance: Any) -> float:
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float | np.number) or not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance is {tolerance!r}; it must be 0 or a positive finite length")
    return float(tolerance)


def _precision_and_recall(
    predicted: np.ndarray, true: np.ndarray, spacing: tuple[float, ...], tolerance: float
) -> tuple[float, float]:
    boundaries = _boundary(predicted), _boundary(true)
    found, wanted = (bool(boundary.any()) for boundary in boundaries)
    if not found and not wanted:
        return math.nan, math.nan
    if not found or not wanted:
        return 0.0, 0.0
    return _covered(*boundaries, spacing, tolerance), _covered(*boundaries[::-1], spacing, tolerance)


def _covered(boundary: np.ndarray, by: np.ndarray, spacing: tuple[float, ...], tolerance: float) -> float:
    """Return the part of `boundary` that lies within the tolerance of `by`."""
    import edt

    distance = edt.edt(np.ascontiguousarray(~by), anisotropy=spacing, parallel=1)
    return float(np.mean(distance[boundary] <= tolerance * ROUNDING))


def _boundary(phase: np.ndarray) -> np.ndarray:
    edge = np.zeros(phase.shape, bool)
    for axis in range(phase.ndim):
        along, mark = np.moveaxis(phase, axis, 0), np.moveaxis(edge, axis, 0)
        differs = along[1:] != along[:-1]
        mark[1:] |= differs
        mark[:-1] |= differs
    return edge & phase
