"""How well a predicted label volume agrees with the true one, voxel by voxel."""

import dataclasses
import math
from typing import Any

import numpy as np

from evaluate.accepted_input import LARGEST_LABEL, as_labels, as_whole_number

__all__ = ["Agreement", "agreement"]

VOXELS_PER_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Scores of a prediction against the truth; made by `agreement`.

    Of phase ``k``, TP counts the voxels labelled ``k`` in both, FP those in the prediction alone and FN those in
    the truth alone.

    A phase that occurs in neither has no score: its entries are NaN, ``present[k]`` is False and the means leave
    it out. A phase that occurs in only one of the two scores 0 throughout and does count in the means.

    Attributes
    ----------
    accuracy : float
        Fraction of the voxels whose label is right.
    iou : tuple of float
        TP / (TP + FP + FN) of each phase.
    dice : tuple of float
        2 TP / (2 TP + FP + FN) of each phase.
    precision : tuple of float
        TP / (TP + FP) of each phase.
    recall : tuple of float
        TP / (TP + FN) of each phase.
    f1 : tuple of float
        Harmonic mean of precision and recall; the same number as `dice`, under its other name.
    present : tuple of bool
        Whether the phase occurs in the prediction or in the truth.
    confusion : tuple of tuples of int
        Row: true phase, column: predicted phase, entry: number of voxels.
    """

    accuracy: float
    iou: tuple[float, ...]
    dice: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    present: tuple[bool, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the phases present."""
        return self._mean(self.iou)

    @property
    def mean_dice(self) -> float:
        """Mean Dice score of the phases present."""
        return self._mean(self.dice)

    @property
    def mean_precision(self) -> float:
        """Mean precision of the phases present."""
        return self._mean(self.precision)

    @property
    def mean_recall(self) -> float:
        """Mean recall of the phases present."""
        return self._mean(self.recall)

    @property
    def mean_f1(self) -> float:
        """Mean F1 score of the phases present."""
        return self._mean(self.f1)

    def _mean(self, scores: tuple[float, ...]) -> float:
        kept = [score for score, present in zip(scores, self.present, strict=True) if present]
        return math.fsum(kept) / len(kept)


def agreement(prediction: Any, truth: Any, *, n_phases: int) -> Agreement:
    """Compare two label volumes.

    Parameters
    ----------
    prediction, truth : array_like, shape (Z, Y, X) or (Y, X), equal
        Labels from 0 to ``n_phases - 1``; boolean arrays are the labels 0 and 1.
    n_phases : int
        Number of phases, 1 to 256; the length of each score.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        Unequal shapes, a label of `n_phases` or more, or labels that are fractional, NaN or negative.

    Examples
    --------
    >>> scores = agreement([[0, 0, 1, 1]], [[0, 1, 1, 1]], n_phases=2)
    >>> scores.accuracy, scores.iou
    (0.75, (0.5, 0.6666666666666666))
    """
    n = as_whole_number(n_phases, "n_phases", low=1, high=LARGEST_LABEL + 1)
    predicted, true = as_labels(prediction, "prediction"), as_labels(truth, "truth")
    if predicted.shape != true.shape:
        raise ValueError(f"prediction has shape {predicted.shape} and truth {true.shape}; they must be equal")
    for name, array in (("prediction", predicted), ("truth", true)):
        if array.max() >= n:
            raise ValueError(f"{name} holds the label {int(array.max())}, but n_phases={n} allows 0 to {n - 1}")
    confusion = _confusion(predicted, true, n)
    hit = np.diagonal(confusion)
    in_truth, in_prediction = confusion.sum(axis=1), confusion.sum(axis=0)
    present = (in_truth + in_prediction) > 0
    dice = _ratio(2 * hit, in_truth + in_prediction, present)
    return Agreement(
        accuracy=float(hit.sum() / confusion.sum()),
        iou=_ratio(hit, in_truth + in_prediction - hit, present),
        dice=dice,
        precision=_ratio(hit, in_prediction, present),
        recall=_ratio(hit, in_truth, present),
        f1=dice,
        present=tuple(bool(p) for p in present),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def _confusion(predicted: np.ndarray, true: np.ndarray, n: int) -> np.ndarray:
    """Count the pairs of labels plane by plane, so that the memory does not grow with the depth."""
    counts = np.zeros(n * n, dtype=np.int64)
    step = max(1, VOXELS_PER_CHUNK // max(1, math.prod(predicted.shape[1:])))
    for start in range(0, len(predicted), step):
        pairs = true[start : start + step].astype(np.int32) * n
        pairs += predicted[start : start + step].astype(np.int32, copy=False)
        counts += np.bincount(pairs.ravel(), minlength=n * n)
    return counts.reshape(n, n)


def _ratio(part: np.ndarray, whole: np.ndarray, present: np.ndarray) -> tuple[float, ...]:
    """Divide; 0 where a phase that is present has nothing to divide by, NaN where it is absent."""
    ratio = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return tuple(float(r) for r in np.where(present, ratio, np.nan))
