"""Objects one by one: volume, centroid and axes of each bubble, pore or crack, counted from its voxels."""

from typing import Any

import numpy as np
from scipy import ndimage

__all__ = ["label_objects", "list_objects", "list_voxels"]

# Rows of the six different second moments: zz, yy, xx, zy, zx, yx.
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def list_objects(ids: np.ndarray) -> list[dict[str, Any]]:
    """Describe every object of an id map.

    Parameters
    ----------
    ids : ndarray of int, shape (Z, Y, X)
        0 is background; 1, 2, … are the objects. Numbers without a voxel are left out of the list.

    Returns
    -------
    list of dict
        One for each object, sorted by id; see `list_voxels` for the keys.

    Raises
    ------
    ValueError
        If `ids` is not a 3-D array of whole numbers, 0 or more.
    """
    if ids.ndim != 3 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids is a {ids.ndim}-D array of {ids.dtype}; give a 3-D array of whole numbers")
    positions = np.flatnonzero(ids)
    return list_voxels(positions, ids.ravel()[positions], shape=ids.shape)


def list_voxels(positions: np.ndarray, ids: np.ndarray, *, shape: tuple[int, ...]) -> list[dict[str, Any]]:
    """Describe objects given as lists of voxels.

    Parameters
    ----------
    positions : ndarray of int, shape (N,)
        Flat indices (C order) of the voxels of all objects.
    ids : ndarray of int, shape (N,)
        The object, 1 or more, to which each voxel belongs.
    shape : (int, int, int)
        Of the volume, voxels along z, y, x.

    Returns
    -------
    list of dict
        Sorted by ``id``; each has ``volume`` (voxels), ``centroid`` ([z, y, x] in voxels, the first voxel's centre
        at 0.5), ``axes`` (the three full axis lengths, longest first, of the solid ellipsoid with the object's
        second moments), ``direction`` (unit vector [z, y, x] of the longest axis, its first component that is
        not 0 positive), ``elongation`` (longest axis / middle axis) and ``flatness`` (middle axis / shortest axis).

    Raises
    ------
    ValueError
        If there are not as many ids as positions, or an id is below 1.

    Notes
    -----
    A solid ellipsoid of semi-axis a has the variance a²/5 along it, so that the full length is 2 sqrt(5 variance).
    Voxels count as cubes, not as points: each adds its own variance of 1/12, and a sheet one voxel thick has a
    shortest axis of 2 sqrt(5/12) = 1.29 voxels rather than 0. Moments are summed in whole numbers, so they are exact.

    References
    ----------
    .. [1] A. Colliard-Granero et al., Digital Discovery 4 (2025) 2724: elongation and flatness of bubbles.
    """
    if positions.shape != ids.shape or (len(ids) and ids.min() < 1):
        raise ValueError(f"{len(ids)} ids came for {len(positions)} positions; give one id, 1 or more, for each")
    volumes = np.bincount(ids)
    present = np.flatnonzero(volumes)
    coordinates = np.unravel_index(positions, shape)
    count = volumes[present].astype(float)
    # Sums stay below 2^53, so that floats hold them exactly.
    sums = np.stack([np.bincount(ids, c)[present] for c in coordinates], axis=-1)
    squares = np.stack([np.bincount(ids, coordinates[i] * coordinates[j])[present] for i, j in PAIRS], axis=-1)
    mean = sums / count[:, None]
    covariance = np.empty((len(present), 3, 3))
    for k, (i, j) in enumerate(PAIRS):
        covariance[:, i, j] = covariance[:, j, i] = squares[:, k] / count - mean[:, i] * mean[:, j] + (i == j) / 12
    return _describe(present, volumes[present], mean + 0.5, covariance)


def label_objects(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the 26-connected objects of a mask, numbered in the order in which a scan along x, y, z meets them.

    Parameters
    ----------
    mask : ndarray of bool, shape (Z, Y, X)

    Returns
    -------
    ids : ndarray of int32, shape (Z, Y, X)
        0 is background.
    count : int
        How many objects there are.
    """
    return ndimage.label(mask, np.ones((3, 3, 3), bool))


def _describe(
    ids: np.ndarray, volumes: np.ndarray, centroids: np.ndarray, covariance: np.ndarray
) -> list[dict[str, Any]]:
    variances, vectors = np.linalg.eigh(covariance)
    axes = 2 * np.sqrt(5 * variances[:, ::-1])
    directions = vectors[:, :, 2]
    if len(ids):
        first = (np.abs(directions) > 1e-9).argmax(axis=1)
        directions = directions * np.sign(directions[np.arange(len(ids)), first])[:, None]
    return [
        {
            "id": int(ids[k]),
            "volume": int(volumes[k]),
            "centroid": centroids[k].tolist(),
            "axes": axes[k].tolist(),
            "direction": directions[k].tolist(),
            "elongation": float(axes[k, 0] / axes[k, 1]),
            "flatness": float(axes[k, 1] / axes[k, 2]),
        }
        for k in range(len(ids))
    ]
