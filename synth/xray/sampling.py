"""From the structure's voxels to the image's: averages of what they hold, and the label that prevails."""

from typing import Any

import numba
import numpy as np
from scipy import ndimage

from synth.threads import in_threads
from synth.xray.projector import reflected

__all__ = ["blur_gain", "coarse_shape", "majority_labels", "mix_slices", "mottle"]

# A Gaussian is cut off at so many standard deviations.
TRUNCATE = 4.0
# What the noise is for.
GRAIN = 5


def coarse_shape(shape: tuple[int, ...], pixel_vox: int) -> tuple[int, int, int]:
    """Return the number of image voxels that cover a box; the last ones may reach beyond it."""
    z, y, x = (-(-n // pixel_vox) for n in shape)
    return z, y, x


def majority_labels(labels: np.ndarray, pixel_vox: int) -> np.ndarray:
    """Return the label that most voxels of each image voxel have; of several, the lowest.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        What an image voxel has beyond the box is found by reflection.
    pixel_vox : int
        Voxels along the side of an image voxel.

    Returns
    -------
    ndarray of uint8, shape (Z', Y', X')
    """
    if pixel_vox == 1:
        return labels.copy()
    coarse = np.empty(coarse_shape(labels.shape, pixel_vox), np.uint8)
    tables = _tables(labels.shape, pixel_vox)
    n_labels = int(labels.max()) + 1

    def work(z: int) -> None:
        _majority(labels, *tables, pixel_vox, z, n_labels, coarse[z])

    in_threads(work, range(len(coarse)))
    return coarse


def mix_slices(labels: np.ndarray, values: np.ndarray, slices: np.ndarray, *, pixel_vox: int) -> np.ndarray:
    """Return the mean of a phase's value over each image voxel of some slices.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
    values : ndarray of float, shape (n_labels,)
        Of each label.
    slices : ndarray of int, shape (n,)
        Which slices of the image.
    pixel_vox : int
        Voxels along the side of an image voxel.

    Returns
    -------
    ndarray of float32, shape (Y', X', n)
        The slices along the last axis, as `synth.xray.projector.project` wants them.
    """
    _, ny, nx = coarse_shape(labels.shape, pixel_vox)
    mixed = np.empty((ny, nx, len(slices)), np.float32)
    tables = _tables(labels.shape, pixel_vox)
    table = np.zeros(256, np.float64)
    table[: len(values)] = values

    def work(y: int) -> None:
        _mix(labels, *tables, pixel_vox, slices, y, table, mixed[y])

    in_threads(work, range(ny))
    return mixed


def mottle(plane: tuple[int, int], rows: np.ndarray, *, strength: float, sigma: float, seed: int) -> np.ndarray:
    """Return the density of the material relative to its mean, in some slices.

    Parameters
    ----------
    plane : (int, int)
        Rows and columns.
    rows : ndarray of int, shape (n,)
        Numbers of the slices, from 0 or more, rising by 1; a slice depends on `seed` and its number alone.
    strength : float
        Standard deviation.
    sigma : float
        Of the Gaussian (in voxels) that white noise is blurred by.
    seed : int
        Decides the noise.

    Returns
    -------
    ndarray of float32, shape (Y, X, n)
        0 or more.
    """
    reach = int(TRUNCATE * sigma + 0.5)
    # Noise beyond the faces, too: reflected there, it would vary more at them than inside.
    wide = (plane[0] + 2 * reach, plane[1] + 2 * reach)
    field = np.empty((*wide, len(rows) + 2 * reach), np.float32)

    def fill(k: int) -> None:
        rng = np.random.default_rng((seed, GRAIN, int(rows[0]) + k))
        field[..., k] = rng.standard_normal(wide, dtype=np.float32)

    in_threads(fill, range(field.shape[2]))
    if sigma > 0:
        ndimage.gaussian_filter(field, sigma, output=field, mode="reflect", truncate=TRUNCATE)
    field = field[tuple(slice(reach, n - reach) for n in field.shape)]
    return np.maximum(1 + np.float32(strength * blur_gain(sigma) ** 1.5) * field, 0, dtype=np.float32)


def blur_gain(sigma: float) -> float:
    """Return how much a Gaussian blur along two axes lowers the deviation of white noise, as a factor above 1."""
    probe = np.zeros(2 * int(TRUNCATE * sigma + 0.5) + 1)
    probe[len(probe) // 2] = 1
    if sigma > 0:
        probe = ndimage.gaussian_filter1d(probe, sigma, mode="constant", truncate=TRUNCATE)
    return float(1 / np.square(probe).sum())


def _tables(shape: tuple[int, ...], pixel_vox: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each axis where the box's voxels are found, continued by reflection up to whole image voxels."""
    z, y, x = (reflected(n, pixel_vox)[pixel_vox:] for n in shape)
    return z, y, x


@numba.njit(cache=True, nogil=True)
def _mix(
    labels: Any, zs: Any, ys: Any, xs: Any, side: int, slices: Any, y: int, values: Any, mixed: Any
) -> None:  # fmt: skip
    for x in range(mixed.shape[0]):
        for k in range(slices.size):
            total = 0.0
            for dz in range(side):
                for dy in range(side):
                    for dx in range(side):
                        label = labels[zs[slices[k] * side + dz], ys[y * side + dy], xs[x * side + dx]]
                        total += values[label]
            mixed[x, k] = total / side**3


@numba.njit(cache=True, nogil=True)
def _majority(labels: Any, zs: Any, ys: Any, xs: Any, side: int, z: int, n_labels: int, coarse: Any) -> None:
    counts = np.zeros(n_labels, np.int64)
    for y in range(coarse.shape[0]):
        for x in range(coarse.shape[1]):
            best = n_labels - 1
            counts[:] = 0
            for dz in range(side):
                for dy in range(side):
                    for dx in range(side):
                        counts[labels[zs[z * side + dz], ys[y * side + dy], xs[x * side + dx]]] += 1
            for label in range(n_labels - 2, -1, -1):
                if counts[label] >= counts[best]:
                    best = label
            coarse[y, x] = best
