"""What every microscope returns: the picture, the exact labels in its geometry, and what a correction should find."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["MicroscopeImage"]


@dataclasses.dataclass(frozen=True, eq=False)
class MicroscopeImage:
    """A picture of a structure whose truth is known; ``np.asarray(image)`` is `grey`.

    Parameters
    ----------
    grey : ndarray of float32, shape (Z', Y', X')
        Grey values in [0, 1].
    labels : ndarray of uint8, same shape
        Label of what each pixel of `grey` shows at its centre: with drift, uneven slices or coarser pixels these are
        not the structure's own voxels.
    voxel_scale : (float, float, float)
        Size of an image voxel along z, y, x, in voxels of the structure.
    truth : mapping
        What else is known of the imaging, by name: numbers, lists, or arrays such as the path of the drift.
    settings : frozen dataclass
        The microscope's settings as drawn.
    """

    grey: np.ndarray
    labels: np.ndarray
    voxel_scale: tuple[float, float, float]
    truth: Mapping[str, Any]
    settings: Any

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        grey = self.grey if dtype is None else self.grey.astype(dtype, copy=False)
        return grey.copy() if copy else grey

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of `grey`, (Z', Y', X')."""
        z, y, x = self.grey.shape
        return z, y, x
