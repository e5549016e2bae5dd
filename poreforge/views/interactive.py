"""A scene packed into text, for the view in the report that a reader can turn and cut."""

import base64
import json
import zlib
from typing import Any

import numpy as np

from poreforge.report.page import Picture, View
from poreforge.views.annotation import tick_values
from poreforge.views.rendering import Look, encoded_png, render
from poreforge.views.scene import Scene, Surface

__all__ = ["interactive_view", "pack_scene"]

STEPS = 65535
LADDER = 256


def interactive_view(scene: Scene, caption: str, *, alt: str = "", look: Look | None = None) -> View:
    """Return a view for `Section.views` of a report: it works from a file, without a network.

    Parameters
    ----------
    scene : Scene
        Up to some 150 000 triangles (``most_triangles``): 1.8 MB of report. Made ``with_unseen=True`` the reader can
        switch on the pores as well; ``cut="none"`` suits it, since the reader can cut where they like.
    caption : str
        Below it.
    alt : str
        What the picture shows, for readers who do not see it; by default the names of the surfaces.
    look : Look, optional
        Of the still picture that stands there on paper, or where the browser has no WebGL.

    Returns
    -------
    View

    Raises
    ------
    ValueError
        If PyVista is not installed.
    """
    still = render(scene, look or Look())
    names = ", ".join(surface.name for surface in scene.surfaces if surface.opacity > 0)
    return View(json.dumps(pack_scene(scene)), Picture(encoded_png(still), alt or f"3-D view of {names}."), caption)


def pack_scene(scene: Scene) -> dict[str, Any]:
    """Return the scene as plain text and numbers.

    Returns
    -------
    dict
        ``size`` along (x, y, z), ``unit``, ``bar`` and ``surfaces``. Of a surface: ``positions`` are ``(3, V)``
        16-bit steps of the size / 65535, ``faces`` ``(3, F)`` 32-bit numbers of vertices, ``shade`` and ``values``
        ``(V,)`` bytes of 1/255; the first two as differences along their last axis (modulo 2¹⁶ and 2³²); all
        little-endian, deflated (zlib) and in base 64.
    """
    return {
        "size": list(scene.size),
        "unit": scene.unit,
        "bar": _packed_bar(scene),
        "surfaces": [_packed_surface(surface, scene.size) for surface in scene.surfaces],
    }


def _packed_surface(surface: Surface, size: tuple[float, float, float]) -> dict[str, Any]:
    steps = np.round(surface.points / np.array(size) * STEPS).clip(0, STEPS).astype("<u2")
    return {
        "name": surface.name,
        "colour": surface.colour,
        "opacity": surface.opacity,
        "vertices": len(surface.points),
        "triangles": len(surface.faces),
        "positions": _packed(_differences(steps.T)),
        "faces": _packed(_differences(surface.faces.T.astype("<u4"))),
        "shade": _packed(_bytes(surface.shade)),
        "values": None if surface.values is None else _packed(_bytes(surface.values)),
    }


def _packed_bar(scene: Scene) -> dict[str, Any] | None:
    from matplotlib import colormaps

    if scene.bar is None:
        return None
    ramp = colormaps[scene.bar.colour_map](np.linspace(0, 1, LADDER))[:, :3]
    ticks = [
        ((value - scene.bar.low) / (scene.bar.high - scene.bar.low), text) for value, text in tick_values(scene.bar)
    ]
    return {"title": scene.bar.title, "ticks": ticks, "ramp": _packed(_bytes(ramp)), "solid": scene.bar.per_object}


def _differences(rows: np.ndarray) -> np.ndarray:
    # Neighbours in the file are neighbours in space, so the differences are small and deflate well.
    return np.concatenate([rows[:, :1], rows[:, 1:] - rows[:, :-1]], axis=1)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode("ascii")
