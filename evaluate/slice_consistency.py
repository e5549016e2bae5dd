"""How smoothly a segmentation goes on from slice to slice."""

from typing import Any

import numpy as np

from evaluate.accepted_input import as_whole_number

__all__ = ["volumetric_smoothness"]


def volumetric_smoothness(phase: Any, *, axis: int = 0) -> float:
    r"""Smoothness of a phase along the slicing direction, from the Laplacian across its slices.

    Parameters
    ----------
    phase : array_like, shape (Z, Y, X)
        A boolean mask, or the probability of a phase from 0 to 1. Of labels, say which phase: ``labels == 1``.
    axis : int
        Along which the slices follow each other; 0, the slicing direction, by default.

    Returns
    -------
    float
        From 0, where every voxel differs from both neighbours, to 1, where the slices are alike or change linearly.

    Raises
    ------
    ValueError
        Values beyond 0 and 1 or NaN, an array that is not 3-D, fewer than three slices, an axis that is not there.

    Notes
    -----
    The paper [1]_ names "a Laplacian-based measure of slice-to-slice consistency" and gives no formula. Here it is the
    mean absolute second difference across slices, scaled by the largest that is possible:

    .. math:: 1 - \tfrac12 \overline{\left| p_{z-1} - 2 p_z + p_{z+1} \right|}

    over the slices that have two neighbours. Of a mask, a voxel adds 1/2 for each of its two neighbours along the axis
    that differs, so that the loss is the number of interfaces crossed along the axis per voxel. It is a property of the
    structure as well as of the segmentation: compare with that of the truth, not with 1. Independent noise of
    fraction f has 1 - 2 f (1 - f).

    References
    ----------
    .. [1] Reproducible 3-D segmentation of porous electrodes (the project's `reproducible_3d_segmentation`),
       section 3.7.
    """
    field = np.asarray(phase)
    if field.ndim != 3 or field.size == 0 or field.dtype.kind not in "biuf":
        raise ValueError(
            f"phase has shape {field.shape} and dtype {field.dtype}; a 3-D mask or probability is accepted, "
            "axes (z, y, x)"
        )
    # A NaN fails this comparison too.
    if not (field.min() >= 0 and field.max() <= 1):
        raise ValueError(
            f"phase holds values from {field.min():g} to {field.max():g}; a mask or a probability lies within 0 and 1: "
            "of labels, say which phase, e.g. labels == 1"
        )
    slices = np.moveaxis(field, as_whole_number(axis, "axis", low=0, high=2), 0)
    if len(slices) < 3:
        raise ValueError(f"phase has {len(slices)} slices along axis {axis}; a Laplacian needs three or more")
    total = 0.0
    for before, here, after in zip(slices[:-2], slices[1:-1], slices[2:], strict=True):
        neighbours = before.astype(np.float64) + after
        total += float(np.abs(neighbours - 2.0 * here).sum())
    return 1 - total / (2 * slices[1:-1].size)
