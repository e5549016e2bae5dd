"""The bridge to PyVista: its meshes, and pictures of a scene in parallel projection."""

from typing import Any

import numpy as np

from poreforge.views.camera import Camera
from poreforge.views.scene import Scene, Surface

__all__ = ["import_pyvista", "open_plotter", "polydata", "take_picture"]

GLOSS = {"specular": 0.1, "specular_power": 20.0, "diffuse": 0.8, "ambient": 0.28}
# Places in the camera's frame (right, up, towards the eye) and strengths: the key from the right above, fill, rim.
LIGHTS = (((0.3, 0.5, 1.0), 0.8), ((-0.9, 0.2, 0.8), 0.38), ((0.2, -1.0, 0.3), 0.06))
OUTLINE_COLOUR = "#b4bcc4"


def import_pyvista() -> Any:
    """Return the module.

    Raises
    ------
    ValueError
        If it is not installed.
    """
    try:
        import pyvista
    except ImportError:
        raise ValueError(
            "3-D pictures are drawn by PyVista, which is not installed; run: pip install 'poreforge[pictures]'"
        ) from None
    return pyvista


def polydata(points: np.ndarray, faces: np.ndarray) -> Any:
    """Return PyVista's mesh of points (V, 3) in (x, y, z) and triangles (F, 3)."""
    cells = np.column_stack([np.full(len(faces), 3, faces.dtype), faces])
    return import_pyvista().PolyData(np.ascontiguousarray(points), cells.reshape(-1))


def open_plotter(scene: Scene, size: tuple[int, int], *, lit: bool, outline: bool = False) -> Any:
    """Return a plotter that holds the scene; close it after use.

    Parameters
    ----------
    scene : Scene
    size : (int, int)
        Width and height in pixels.
    lit : bool
        Whether light and shade are drawn; otherwise every pixel has its surface's own colour.
    outline : bool
        Whether the edges of the box are drawn.
    """
    pv = import_pyvista()
    # VTK would say on stderr that there is no display before it draws without one.
    with pv.vtk_verbosity("off"):
        plotter = pv.Plotter(off_screen=True, window_size=size, lighting="none")
        plotter.set_background("black")
        if lit:
            for place, strength in LIGHTS:
                plotter.add_light(pv.Light(light_type="camera light", position=place, intensity=strength))
        if outline:
            x, y, z = scene.size
            edges = pv.Box((0, x, 0, y, 0, z)).extract_all_edges()
            plotter.add_mesh(edges, color=OUTLINE_COLOUR, line_width=max(size) / 900, lighting=False)
        # The opaque first, so that the others are laid over them.
        for surface in sorted(scene.surfaces, key=lambda surface: -surface.opacity):
            if surface.opacity > 0 and len(surface.faces):
                _add(plotter, surface, scene, lit)
        return plotter


def take_picture(plotter: Any, camera: Camera) -> np.ndarray:
    """Return what the camera sees, shape (H, W, 4), bytes: colours already multiplied by the opacity, the opacity."""
    plotter.camera.parallel_projection = True
    plotter.camera.focal_point = camera.centre
    plotter.camera.position = tuple(np.add(camera.centre, np.multiply(camera.reach, camera.towards_eye)))
    plotter.camera.up = camera.up
    plotter.camera.parallel_scale = camera.half_height
    plotter.camera.clipping_range = (0.001 * camera.reach, 2 * camera.reach)
    with import_pyvista().vtk_verbosity("off"):
        # A screenshot alone would show the view before.
        plotter.render_window.Render()
        return np.asarray(plotter.screenshot(return_img=True, transparent_background=True))


def _add(plotter: Any, surface: Surface, scene: Scene, lit: bool) -> None:
    mesh = polydata(surface.points, surface.faces)
    mesh.point_data["Normals"] = surface.normals
    mesh.point_data.active_normals_name = "Normals"
    colours = vertex_colours(surface, scene)
    if lit:
        colours = colours * surface.shade[:, None]
    mesh.point_data["rgb"] = np.round(255 * colours).astype(np.uint8)
    options = GLOSS if lit else {"lighting": False}
    # Of what shines through only the near side is drawn: depth peeling fails where there is no graphics card.
    culling = "back" if surface.opacity < 1 else False
    plotter.add_mesh(
        mesh, scalars="rgb", rgb=True, smooth_shading=lit, opacity=surface.opacity, culling=culling, **options
    )


def vertex_colours(surface: Surface, scene: Scene) -> np.ndarray:
    """Return the colour of each vertex without light or shade, shape (V, 3), from 0 to 1."""
    if surface.values is not None and scene.bar is not None:
        from matplotlib import colormaps

        return colormaps[scene.bar.colour_map](surface.values)[:, :3]
    colour = [int(surface.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.broadcast_to(colour, (len(surface.points), 3))
