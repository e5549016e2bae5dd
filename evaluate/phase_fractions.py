"""How much of a volume is pore: overall, along an axis, and against the truth."""

from typing import Any

import numpy as np

from evaluate.accepted_input import LARGEST_LABEL, as_labels, as_whole_number

__all__ = ["porosity", "porosity_error", "porosity_profile"]


def porosity(labels: Any, *, pore: int = 0) -> float:
    """Fraction of the voxels that are pore.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X) or (Y, X)
        Labels, a `volume.Volume` or a structure. A boolean array is read as labels too, ``False`` = 0 and
        ``True`` = 1, so that by default ``False`` is pore; of a mask that is ``True`` in the pores,
        ask for ``pore=1``.
    pore : int
        The label of the pores, 0 to 255 (0 or 1 if `labels` is boolean). A label that does not occur has the
        fraction 0.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        Empty or neither 2-D nor 3-D, labels that are fractional, NaN, negative or above 255, or `pore`
        out of range.

    Examples
    --------
    >>> porosity([[[0, 1], [1, 1]]])
    0.25
    """
    array = as_labels(labels, "labels")
    return float(np.count_nonzero(array == _pore_label(array, pore)) / array.size)


def porosity_profile(labels: Any, axis: int = 0, *, pore: int = 0) -> np.ndarray:
    """Porosity of each slice across an axis.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X) or (Y, X)
        As in `porosity`.
    axis : int
        The axis that the profile runs along; 0 is z.
    pore : int
        The label of the pores.

    Returns
    -------
    ndarray of float64, shape (labels.shape[axis],)
        Its mean is ``porosity(labels)``.

    Raises
    ------
    ValueError
        As in `porosity`, or an axis that `labels` does not have.
    """
    array = as_labels(labels, "labels")
    axis = as_whole_number(axis, "axis", low=-array.ndim, high=array.ndim - 1) % array.ndim
    others = tuple(i for i in range(array.ndim) if i != axis)
    return np.mean(array == _pore_label(array, pore), axis=others, dtype=np.float64)


def porosity_error(prediction: Any, truth: Any, *, pore: int = 0) -> float:
    """Porosity of a prediction minus that of the truth.

    Parameters
    ----------
    prediction, truth : array_like, of equal shape
        As in `porosity`.
    pore : int
        The label of the pores in both.

    Returns
    -------
    float
        A signed fraction (0.01 is one percentage point), positive if the prediction is too porous.

    Raises
    ------
    ValueError
        As in `porosity`, or unequal shapes.
    """
    predicted, true = as_labels(prediction, "prediction"), as_labels(truth, "truth")
    if predicted.shape != true.shape:
        raise ValueError(f"prediction has shape {predicted.shape} and truth {true.shape}; they must be equal")
    return porosity(predicted, pore=pore) - porosity(true, pore=pore)


def _pore_label(array: np.ndarray, pore: int) -> int:
    return as_whole_number(pore, "pore", low=0, high=1 if array.dtype.kind == "b" else LARGEST_LABEL)
