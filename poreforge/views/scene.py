"""What is to be seen: surfaces with their colours and shade, the box around them, and what the colours mean."""

import dataclasses

import numpy as np

__all__ = ["ColourBar", "Scene", "Surface"]


@dataclasses.dataclass(frozen=True, eq=False)
class ColourBar:
    """What the colours of a property mean.

    Attributes
    ----------
    name, unit : str
        For its title; the unit may be empty.
    low, high : float
        Values at its ends; values beyond are drawn in the colours of the ends.
    colour_map : str
        matplotlib's name.
    per_object : bool
        Whether each object has one value throughout, rather than one that varies within it.
    """

    name: str
    unit: str
    low: float
    high: float
    colour_map: str = "viridis"
    per_object: bool = False

    @property
    def title(self) -> str:
        """Name and unit."""
        return f"{self.name} / {self.unit}" if self.unit else self.name


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """The closed surface of one phase or of all objects.

    Attributes
    ----------
    name : str
        In the legend.
    points : ndarray of float32, shape (V, 3)
        Positions (x, y, z) in the scene's unit.
    faces : ndarray of int32, shape (F, 3)
        Outward, counter-clockwise seen from outside. Creases have their vertices twice, one for each side.
    normals : ndarray of float32, shape (V, 3)
        Outward, of length 1.
    colour : str
        As ``#rrggbb``.
    shade : ndarray of float32, shape (V,)
        1 in the open, smaller in narrow places.
    values : ndarray of float32, shape (V,), optional
        The property by which it is coloured, from 0 (low end of the colour bar) to 1.
    opacity : float
        From 0 (not seen, but can be switched on in an interactive view) to 1.
    """

    name: str
    points: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    colour: str
    shade: np.ndarray
    values: np.ndarray | None = None
    opacity: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """Surfaces in a box.

    Attributes
    ----------
    surfaces : tuple of Surface
    size : (float, float, float)
        Of the box along (x, y, z); its first corner is the origin.
    unit : str
        ``"µm"`` or ``"voxel"``.
    bar : ColourBar, optional
        If a property is shown.
    voxels_merged : bool
        Whether the volume was drawn from fewer voxels than it has.
    cut : bool
        Whether the corner at small y, large x and large z was taken out.
    """

    surfaces: tuple[Surface, ...]
    size: tuple[float, float, float]
    unit: str
    bar: ColourBar | None = None
    voxels_merged: bool = False
    cut: bool = False
