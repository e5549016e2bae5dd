"""Looking at volumes: 3-D pictures, turning ones, and a view in the report that a reader can turn."""

from poreforge.views.building import phase_scene, property_scene
from poreforge.views.interactive import interactive_view, pack_scene
from poreforge.views.rendering import Look, encoded_png, render, render_phases, render_property, rotating_gif
from poreforge.views.scene import ColourBar, Scene, Surface

__all__ = [
    "ColourBar",
    "Look",
    "Scene",
    "Surface",
    "encoded_png",
    "interactive_view",
    "pack_scene",
    "phase_scene",
    "property_scene",
    "render",
    "render_phases",
    "render_property",
    "rotating_gif",
]
