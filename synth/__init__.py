"""Structures with known truth, and the microscopes that image them."""

from synth.blender import blender_stack
from synth.fibsem import FibsemSettings, draw_fibsem_settings, fibsem
from synth.recipes import build_structure, image_structure
from synth.spheres import sphere_pack
from synth.stamping import stamp_spheres
from synth.structure import Structure

__all__ = [
    "FibsemSettings",
    "Structure",
    "blender_stack",
    "build_structure",
    "draw_fibsem_settings",
    "fibsem",
    "image_structure",
    "sphere_pack",
    "stamp_spheres",
]
