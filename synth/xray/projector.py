"""Parallel-beam projection and back-projection of slices, all slices of a slab at once."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from synth.threads import in_threads

__all__ = ["Sample", "back_project", "in_parts", "project", "reflected"]

# Rows of the image that are back-projected together: they fit into the processor's own memory.
ROWS = 8
# Parts of the angles that are worked on one by one, so that what they need on the way stays small.
PARTS = 32
# Terms of a weight's denominator below this are an edge of no width.
NARROW = 1e-9


@dataclasses.dataclass(frozen=True)
class Sample:
    """What stands in the beam: the box itself, or the round sample that it was cut from.

    Parameters
    ----------
    rows, columns : ndarray of int64
        Which row and column of the box is found at each row and column of the sample; beyond the box the structure
        is continued by reflection.
    first, last : ndarray of int64
        For each row of the sample, the range of columns that are inside it, ``first <= column < last``.
    middle : (float, float)
        Row and column of the rotation axis in the sample, an index (a voxel's centre is a whole number).
    """

    rows: np.ndarray
    columns: np.ndarray
    first: np.ndarray
    last: np.ndarray
    middle: tuple[float, float]

    @classmethod
    def box(cls, ny: int, nx: int) -> "Sample":
        """Return the free-standing box of `ny` by `nx` voxels."""
        first, last = np.zeros(ny, np.int64), np.full(ny, nx, np.int64)
        return cls(np.arange(ny), np.arange(nx), first, last, ((ny - 1) / 2, (nx - 1) / 2))

    @classmethod
    def cylinder(cls, ny: int, nx: int, *, radius: float) -> "Sample":
        """Return a cylinder of `radius` voxels about the middle of the box, filled by the box and its reflections."""
        below_y, below_x = (max(0, math.ceil(radius - n / 2)) for n in (ny, nx))
        y = np.arange(-below_y, ny + below_y) - (ny - 1) / 2
        half = np.sqrt(np.maximum(radius**2 - y**2, 0))
        centre = below_x + (nx - 1) / 2
        first = np.ceil(centre - half).astype(np.int64)
        last = np.floor(centre + half).astype(np.int64) + 1
        last[np.abs(y) > radius] = 0
        n_columns = nx + 2 * below_x
        middle = (below_y + (ny - 1) / 2, centre)
        rows, columns = reflected(ny, below_y), reflected(nx, below_x)
        return cls(rows, columns, np.maximum(first, 0), np.minimum(last, n_columns), middle)


def reflected(size: int, beyond: int) -> np.ndarray:
    """Return the indices of an axis continued on both sides by reflection at the box's faces."""
    index = np.arange(-beyond, size + beyond) % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def project(image: np.ndarray, sample: Sample, angles: np.ndarray, *, width: int, shifts: np.ndarray) -> np.ndarray:
    """Integrate slices along parallel rays, exactly, over strips one voxel wide.

    Parameters
    ----------
    image : ndarray of float32, shape (Y, X, Z)
        Attenuation per voxel, the slices along the last axis.
    sample : Sample
        What of it stands in the beam.
    angles : ndarray of float64, shape (A,)
        In radians. A voxel at (y, x) from the axis falls on ``x cos(angle) + y sin(angle)``.
    width : int
        Number of detector pixels, of the size of a voxel; the axis falls on the middle, ``(width - 1) / 2``.
    shifts : ndarray of float64, shape (A,)
        How far (pixels) the picture is displaced on the detector at each angle.

    Returns
    -------
    ndarray of float32, shape (A, width, Z)
        Integral over each pixel's strip. A voxel is a square: its footprint is a trapezoid [1]_, divided between
        three pixels, and the sum over pixels is the sum over voxels at every angle.

    References
    ----------
    .. [1] B. De Man, S. Basu, Distance-driven projection and backprojection in three dimensions, Phys. Med. Biol. 49
       (2004) 2463.
    """
    sinogram = np.zeros((len(angles), width, image.shape[2]), np.float32)
    table = (sample.rows, sample.columns, sample.first, sample.last, *sample.middle)

    def work(part: slice) -> None:
        _project(image, *table, np.cos(angles[part]), np.sin(angles[part]), shifts[part], sinogram[part])

    in_parts(work, len(angles))
    return sinogram


def back_project(sinogram: np.ndarray, angles: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    """Smear filtered projections back over the box, with linear interpolation on the detector.

    Parameters
    ----------
    sinogram : ndarray of float32, shape (A, width, Z)
        Filtered and weighted; the axis falls on the middle of the detector.
    angles : ndarray of float64, shape (A,)
        As in `project`.
    shape : (int, int)
        Rows and columns of the box; the axis goes through its middle. What falls beside the detector counts as its
        last pixel.

    Returns
    -------
    ndarray of float32, shape (Y, X, Z)
    """
    image = np.zeros((*shape, sinogram.shape[2]), np.float32)
    cosines, sines = np.cos(angles), np.sin(angles)

    def work(block: int) -> None:
        first = block * ROWS
        _back_project(sinogram, cosines, sines, image[first : first + ROWS], first - (shape[0] - 1) / 2)

    in_threads(work, range(-(-shape[0] // ROWS)))
    return image


def in_parts(work: Callable[[slice], None], size: int) -> None:
    """Call `work` in threads with ranges that divide `size` items; the ranges must not need each other."""
    edges = np.linspace(0, size, min(size, PARTS) + 1).astype(int)
    in_threads(work, [slice(a, b) for a, b in itertools.pairwise(edges.tolist())])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _below(u: float, inner: float, outer: float, peak: float, curve: float) -> float:
    """Return the part of a voxel's footprint, a trapezoid about 0, that lies below `u`."""
    if u <= -outer:
        return 0.0
    if u >= outer:
        return 1.0
    if u < -inner:
        return (u + outer) ** 2 * curve
    if u > inner:
        return 1.0 - (outer - u) ** 2 * curve
    return 0.5 + u * peak


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add(line: Any, weight: float, voxels: Any) -> None:
    w = np.float32(weight)
    for k in range(voxels.shape[0]):
        line[k] += w * voxels[k]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _project(
    image: Any, rows: Any, columns: Any, first: Any, last: Any, y0: float, x0: float,
    cosines: Any, sines: Any, shifts: Any, sinogram: Any,
) -> None:  # fmt: skip
    width = sinogram.shape[1]
    for a in range(sinogram.shape[0]):
        c, s = cosines[a], sines[a]
        long, short = max(abs(c), abs(s)), min(abs(c), abs(s))
        outer, inner, peak = (long + short) / 2, (long - short) / 2, 1 / long
        curve = 0.5 / (long * short) if short > NARROW else 0.0
        lines = sinogram[a]
        for row in range(rows.size):
            at = (row - y0) * s + shifts[a] + (width - 1) / 2
            line = image[rows[row]]
            for column in range(first[row], last[row]):
                t = at + (column - x0) * c
                j = math.floor(t + 0.5)
                if j < 1 or j > width - 2:
                    continue
                voxels = line[columns[column]]
                left = _below(j - 0.5 - t, inner, outer, peak, curve)
                right = _below(t - j - 0.5, inner, outer, peak, curve)
                if left > 0:
                    _add(lines[j - 1], left, voxels)
                if right > 0:
                    _add(lines[j + 1], right, voxels)
                _add(lines[j], 1 - left - right, voxels)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _back_project(sinogram: Any, cosines: Any, sines: Any, image: Any, y: float) -> None:
    n_angles, width, nz = sinogram.shape
    x0, middle = (image.shape[1] - 1) / 2, (width - 1) / 2
    for a in range(n_angles):
        for row in range(image.shape[0]):
            at = (y + row) * sines[a] + middle
            for column in range(image.shape[1]):
                t = min(max(at + (column - x0) * cosines[a], 0.0), width - 1.0)
                j = min(int(t), width - 2)
                upper = np.float32(t - j)
                lower = np.float32(1.0) - upper
                one, two, sums = sinogram[a, j], sinogram[a, j + 1], image[row, column]
                for k in range(nz):
                    sums[k] += lower * one[k] + upper * two[k]
