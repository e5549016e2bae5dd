"""Where each voxel of a cut face falls in the picture, and back."""

import dataclasses
import math
from typing import Any

import numpy as np

__all__ = ["FaceCamera"]

# Blender renders no picture of fewer rows or columns.
SMALLEST = 4


@dataclasses.dataclass(frozen=True)
class FaceCamera:
    """An orthographic camera that looks at a cut face, inclined about the x axis.

    The beam comes from the side of y = 0 (the sample's surface, at the top of the picture) and goes towards +y and
    +z, `tilt_deg` away from the normal of the face. Widths along x keep their length; heights along y shrink by
    cos(tilt). The centre of the face is the centre of the picture; pixels are square.

    Parameters
    ----------
    face_shape : (int, int)
        Voxels of the face, (Y, X).
    shape : (int, int)
        Pixels of the picture, (H, W). The W pixels of a row cover the X voxels exactly.
    tilt_deg : float
        Angle between the face's normal and the viewing direction, in [0, 90).
    """

    face_shape: tuple[int, int]
    shape: tuple[int, int]
    tilt_deg: float

    @classmethod
    def framing(
        cls, face_shape: tuple[int, int], *, tilt_deg: float, resolution: int | tuple[int, int] | None = None
    ) -> "FaceCamera":
        """Choose the picture's size: `resolution` as in `synth.blender_stack`, default one pixel a voxel along x."""
        if not (math.isfinite(tilt_deg) and 0 <= tilt_deg < 90):
            raise ValueError(f"tilt_deg is {tilt_deg}; it must lie in [0, 90) degrees (0 looks straight at the face)")
        height, width = _rows_and_columns(resolution)
        width = max(face_shape[1], SMALLEST) if width is None else width
        rows = face_shape[0] * math.cos(math.radians(tilt_deg)) * width / face_shape[1]
        needed = max(SMALLEST, round(rows))
        height = needed if height is None else height
        if height < needed:
            raise ValueError(f"resolution has {height} rows; at {width} columns the cut face needs {needed}")
        return cls(face_shape, (height, width), float(tilt_deg))

    @property
    def voxels_per_pixel(self) -> tuple[float, float]:
        """Voxels of the face along (y, x) that one pixel covers."""
        along_x = self.face_shape[1] / self.shape[1]
        return along_x / math.cos(math.radians(self.tilt_deg)), along_x

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where on the face, in voxels from its corner, each row's and each column's pixel centre lies."""
        y, x = (
            (np.arange(pixels) + 0.5 - pixels / 2) * step + voxels / 2
            for pixels, voxels, step in zip(self.shape, self.face_shape, self.voxels_per_pixel, strict=True)
        )
        return y, x

    def face(self) -> np.ndarray:
        """Return the bool (H, W) mask of the pixels whose centre lies on the face."""
        on = [(p >= 0) & (p < n) for p, n in zip(self.positions(), self.face_shape, strict=True)]
        return on[0][:, None] & on[1][None, :]

    def project(self, face: np.ndarray) -> np.ndarray:
        """Return the value of the voxel under each pixel's centre.

        Parameters
        ----------
        face : (..., Y, X) array
            One value a voxel.

        Returns
        -------
        (..., H, W) array
            Of the same dtype; 0 off the face.
        """
        y, x = (
            np.clip(np.floor(p).astype(int), 0, n - 1) for p, n in zip(self.positions(), self.face_shape, strict=True)
        )
        seen = face[..., y[:, None], x[None, :]]
        return np.where(self.face(), seen, np.zeros((), seen.dtype))

    def correct(self, picture: np.ndarray) -> np.ndarray:
        """Resample a picture onto the face's voxels, undoing the foreshortening.

        Linear between pixels; where pixels are finer than voxels, the mean over the voxel.

        Parameters
        ----------
        picture : (..., H, W) array

        Returns
        -------
        (..., Y, X) float32 array
        """
        down, across = (
            _resampling_weights(pixels, voxels, step)
            for pixels, voxels, step in zip(self.shape, self.face_shape, self.voxels_per_pixel, strict=True)
        )
        return (down @ np.asarray(picture, np.float32) @ across.T).astype(np.float32)


def _rows_and_columns(resolution: Any) -> tuple[int | None, int | None]:
    """Return the rows and columns that `resolution` asks for, None where it leaves them open."""
    sizes = (None, resolution) if np.ndim(resolution) == 0 else tuple(resolution)
    given = [n for n in sizes if n is not None]
    if len(sizes) != 2 or any(
        isinstance(n, bool) or not isinstance(n, int | np.integer) or n < SMALLEST for n in given
    ):
        raise ValueError(
            f"resolution is {resolution!r}; it must be a number of pixels along x, or (rows, columns), "
            f"each at least {SMALLEST}"
        )
    rows, columns = (None if n is None else int(n) for n in sizes)
    return rows, columns


def _resampling_weights(pixels: int, voxels: int, step: float) -> np.ndarray:
    """Return the (voxels, pixels) matrix from pixel values to voxel means."""
    samples = max(1, math.ceil(1 / step))
    at = (np.arange(voxels * samples) + 0.5) / samples
    index = np.clip((at - voxels / 2) / step + pixels / 2 - 0.5, 0, pixels - 1)
    low = np.minimum(index.astype(int), max(pixels - 2, 0))
    share = index - low
    weights = np.zeros((voxels, pixels), dtype=np.float32)
    rows = np.arange(voxels * samples) // samples
    np.add.at(weights, (rows, low), (1 - share) / samples)
    np.add.at(weights, (rows, np.minimum(low + 1, pixels - 1)), share / samples)
    return weights
