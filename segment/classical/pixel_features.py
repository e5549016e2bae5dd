"""What a voxel's surroundings look like at several scales: the columns that the pixel forest decides by."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
from scipy import ndimage

__all__ = ["FeatureSettings", "pixel_features"]

TRUNCATE = 3.0
CENTRAL_DIFFERENCE = (-0.5, 0.0, 0.5)


@dataclass(frozen=True)
class FeatureSettings:
    """Which surroundings are looked at.

    Parameters
    ----------
    scales_vox : tuple of float
        Standard deviations of the Gaussians, rising, from 0.3 to 16 voxels (pixels).
    dims : {3, 2}
        3 looks around in the volume, 2 within the slice alone, for stacks whose slices are far apart.
    """

    scales_vox: tuple[float, ...] = (1.0, 2.0, 4.0)
    dims: Literal[2, 3] = 3

    def __post_init__(self) -> None:
        scales = tuple(float(scale) for scale in self.scales_vox)
        object.__setattr__(self, "scales_vox", scales)
        if not scales or sorted(set(scales)) != list(scales) or not (scales[0] >= 0.3 and scales[-1] <= 16):
            raise ValueError(f"scales_vox is {scales}; give rising numbers from 0.3 to 16")
        if self.dims not in (2, 3):
            raise ValueError(f"dims is {self.dims!r}; give 3 or 2")

    @property
    def count(self) -> int:
        """Number of features."""
        return 1 + len(self.scales_vox) * (4 + 2 * self.dims)

    @property
    def halo(self) -> tuple[int, int, int]:
        """How far a voxel's features look along (z, y, x)."""
        largest = self.scales_vox[-1]
        reach = _radius(largest) + 1 + max(1, _radius(largest / 2))
        return (reach if self.dims == 3 else 0, reach, reach)


def pixel_features(grey: np.ndarray, settings: FeatureSettings, own: tuple[slice, ...]) -> np.ndarray:
    """Return the features of the voxels of a block.

    Parameters
    ----------
    grey : ndarray of float32, shape (z, y, x)
        The block with its halo; where it is cut off by the volume's faces it is continued by its outermost voxels.
    settings : FeatureSettings
        Scales and dimensions.
    own : tuple of slice
        The block without its halo.

    Returns
    -------
    ndarray of float32, shape (voxels of `own`, settings.count)
        The grey value; then for each scale *s* the Gaussian, the next finer Gaussian less this one, the gradient
        magnitude, the Laplacian, the eigenvalues of the Hessian, and those of the structure tensor (averaged by a
        Gaussian of *s* / 2), the largest first. Derivatives are central differences of the Gaussian, which ends at
        3 *s*.
    """
    axes = (0, 1, 2) if settings.dims == 3 else (1, 2)
    finer = grey.astype(np.float32, copy=False)
    inside = finer[own]
    rows = np.empty((inside.size, settings.count), np.float32)
    rows[:, 0] = inside.ravel()
    column = 1
    for scale in settings.scales_vox:
        smooth = _gaussian(grey, scale, axes)
        for feature in (smooth[own], (finer - smooth)[own], *_shape_features(smooth, scale, axes, own)):
            rows[:, column] = feature.ravel()
            column += 1
        finer = smooth
    return rows


def _shape_features(
    smooth: np.ndarray, scale: float, axes: tuple[int, ...], own: tuple[slice, ...]
) -> Iterator[np.ndarray]:
    slopes = [_slope(smooth, axis) for axis in axes]
    yield np.sqrt(sum(slope[own] ** 2 for slope in slopes))
    pairs = list(combinations_with_replacement(range(len(axes)), 2))
    hessian = [_slope(slopes[i], axes[j])[own] for i, j in pairs]
    yield np.sum([second for second, (i, j) in zip(hessian, pairs, strict=True) if i == j], axis=0)
    yield from _eigenvalues(hessian)
    yield from _eigenvalues([_gaussian(slopes[i] * slopes[j], scale / 2, axes)[own] for i, j in pairs])


def _eigenvalues(components: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Give the eigenvalues, the largest first, of matrices whose upper triangles are given row by row."""
    if len(components) == 3:
        xx, xy, yy = components
        mean, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        yield from (mean + half, mean - half)
    else:
        from segment.classical.compiled import symmetric_eigenvalues

        yield from symmetric_eigenvalues(np.stack([part.ravel() for part in components]))


def _gaussian(block: np.ndarray, scale: float, axes: tuple[int, ...]) -> np.ndarray:
    sigma = [scale if axis in axes else 0 for axis in range(3)]
    return ndimage.gaussian_filter(block, sigma, mode="nearest", truncate=TRUNCATE)


def _slope(block: np.ndarray, axis: int) -> np.ndarray:
    return ndimage.correlate1d(block, CENTRAL_DIFFERENCE, axis, mode="nearest")


def _radius(scale: float) -> int:
    """Return how far scipy's Gaussian reaches."""
    return int(TRUNCATE * scale + 0.5)
