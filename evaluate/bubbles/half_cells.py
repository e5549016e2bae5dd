"""The two electrodes of a cell, told apart along a membrane that may be bent or broken."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import LARGEST_LABEL, as_labels, as_whole_number
from evaluate.bubbles.cell_phases import label_of
from evaluate.morphology.connected_parts import number_parts

__all__ = ["electrode_sides", "membrane_height"]

# Pieces of membrane smaller than this share of all of it do not say where it runs.
STRAY = 0.01


def electrode_sides(
    labels: Any, *, membrane: int | str = 2, others: Sequence[int | str] = (3,), axis: int = 0
) -> np.ndarray:
    """Tell the two electrodes of a cell apart.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X)
        Labels of a cell, a `volume.Volume` or a structure.
    membrane : int or str
        The membrane's label, or its name among the phases of `labels`.
    others : sequence of int or str
        Labels that belong to neither electrode, such as the gasket's.
    axis : int
        The axis through the cell, from one electrode to the other; 0 is z.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        0 in the membrane and the `others`, 1 in the lower electrode (at small coordinates along `axis`), 2 in the
        upper one.

    Raises
    ------
    ValueError
        Labels or an axis that are not accepted, or no voxel of the membrane.

    Notes
    -----
    In each column along `axis` the sides part at the median of the membrane's voxels; pieces of membrane of less than
    1 % of all of it do not count. Across holes and beyond the membrane's ends that height is interpolated linearly
    between the nearest columns that have a membrane, and constant outside their hull. So a leak does not join the
    sides. A membrane that folds over itself is not followed within the fold.
    """
    array = as_labels(labels, "labels", ndim=(3,))
    axis = as_whole_number(axis, "axis", low=0, high=2)
    own = label_of(labels, "membrane", membrane)
    neither = [label_of(labels, "others", other) for other in others]
    turned = np.moveaxis(array, axis, 0)
    height = membrane_height(turned == own)
    if height is None:
        raise ValueError(f"labels holds no voxel of the membrane (label {own}); without it there is one electrode only")
    sides = np.empty(turned.shape, np.uint8)
    solid = np.zeros(LARGEST_LABEL + 1, bool)
    solid[[own, *neither]] = True
    for z, plane in enumerate(turned):
        sides[z] = np.where(solid[plane.astype(np.intp)], 0, 1 + (z + 0.5 >= height))
    return np.ascontiguousarray(np.moveaxis(sides, 0, axis))


def membrane_height(mask: np.ndarray) -> np.ndarray | None:
    """Return the middle of the membrane along axis 0, in voxels.

    Parameters
    ----------
    mask : ndarray of bool, shape (Z, Y, X)
        True in the membrane.

    Returns
    -------
    ndarray of float32, shape (Y, X), or None
        0 is the outer face of the first voxel. None if the mask is empty.
    """
    if not mask.any():
        return None
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    first = int(planes[0])
    band = np.ascontiguousarray(mask[first : int(planes[-1]) + 1])
    pieces, count = number_parts(band)
    if count > 1:
        sizes = np.bincount(pieces.ravel())[1:]
        band = np.concatenate([[False], sizes >= STRAY * sizes.sum()])[pieces]
    return _fill_columns(_median_height(band) + np.float32(first))


def _median_height(band: np.ndarray) -> np.ndarray:
    """Return the median height of each column's voxels, NaN where it has none; voxel centres lie at 0.5."""
    thickness = band.sum(axis=0)
    lower, upper = (np.full(thickness.shape, np.nan, np.float32) for _ in range(2))
    below = np.zeros_like(thickness)
    for z, plane in enumerate(band):
        below += plane
        lower[plane & (below == (thickness + 1) // 2)] = z + 0.5
        upper[plane & (below == thickness // 2 + 1)] = z + 0.5
    return (lower + upper) / 2


def _fill_columns(height: np.ndarray) -> np.ndarray:
    """Interpolate across columns that are NaN, from the columns around them."""
    from scipy import ndimage
    from scipy.interpolate import LinearNDInterpolator
    from scipy.spatial import QhullError

    missing = np.isnan(height)
    if not missing.any():
        return height
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    filled = height[tuple(nearest)]
    rim = ~missing & ndimage.binary_dilation(missing, np.ones((3, 3), bool))
    try:
        between = LinearNDInterpolator(np.argwhere(rim), height[rim])(np.argwhere(missing))
    except (QhullError, ValueError):
        # A rim of fewer than three columns, or all in a line, spans no triangle.
        return filled
    known = ~np.isnan(between)
    holes = tuple(index[known] for index in np.nonzero(missing))
    filled[holes] = between[known]
    return filled
