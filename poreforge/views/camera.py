"""Where the eye is, and where a point of the scene falls on the picture, in parallel projection."""

import dataclasses
import math

import numpy as np

__all__ = ["Camera", "place_camera"]


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera far away, so that lengths do not depend on depth.

    Attributes
    ----------
    centre : (float, float, float)
        The point (x, y, z) in the middle of the picture.
    towards_eye, right, up : (float, float, float)
        Unit vectors: from the scene to the eye, and those of the picture.
    half_height : float
        Length in the scene from the middle of the picture to its upper edge.
    reach : float
        Distance of the eye from the centre.
    pixels : (int, int)
        Width and height of the picture.
    """

    centre: tuple[float, ...]
    towards_eye: tuple[float, ...]
    right: tuple[float, ...]
    up: tuple[float, ...]
    half_height: float
    reach: float
    pixels: tuple[int, int]

    @property
    def pixels_per_length(self) -> float:
        """Pixels of a unit of length that lies across the view."""
        return self.pixels[1] / (2 * self.half_height)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the pixels (column, row) of points (N, 3), counted from the upper left corner of the picture."""
        offset = np.asarray(points, dtype=np.float64) - self.centre
        across = np.stack([offset @ np.array(self.right), -(offset @ np.array(self.up))], axis=1)
        return across * self.pixels_per_length + np.array(self.pixels) / 2


def place_camera(
    size: tuple[float, float, float],
    pixels: tuple[int, int],
    *,
    azimuth_deg: float,
    elevation_deg: float,
    margins_px: tuple[int, int],
    all_around: bool = False,
) -> Camera:
    """Place a camera that sees the whole box.

    Parameters
    ----------
    size : (float, float, float)
        Of the box along (x, y, z).
    pixels : (int, int)
        Width and height of the picture.
    azimuth_deg : float
        0 looks along +y with x to the right; larger angles move the eye towards +x. z points up.
    elevation_deg : float
        Of the eye above the plane of x and y, from -90 to 90.
    margins_px : (int, int)
        What stays free at the left and the right, and at the top and the bottom.
    all_around : bool
        Keep the scale the same for every azimuth.

    Returns
    -------
    Camera
    """
    axes = _frame(azimuth_deg, elevation_deg)
    towards, right, up = axes
    half = np.array(size) / 2
    if all_around:
        flat = math.hypot(half[0], half[1])
        wide, high = flat, flat * abs(towards[2]) + half[2] * abs(up[2])
    else:
        wide, high = float(np.abs(right) @ half), float(np.abs(up) @ half)
    free = [max(n - 2 * margin, n / 4) for n, margin in zip(pixels, margins_px, strict=True)]
    half_height = max(high / free[1], wide / free[0]) * pixels[1]
    reach = 4 * float(np.linalg.norm(half))
    centre, eye, across, upwards = (tuple(float(v) for v in vector) for vector in (half, *axes))
    return Camera(centre, eye, across, upwards, half_height, reach, pixels)


def _frame(azimuth_deg: float, elevation_deg: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    flat = np.array([math.sin(azimuth), -math.cos(azimuth), 0.0])
    towards = math.cos(elevation) * flat + np.array([0, 0, math.sin(elevation)])
    right = np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
    return towards, right, np.cross(towards, right)
