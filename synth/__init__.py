"""Structures with known truth, and the microscopes that image them."""

from synth.blender import BLENDER_PRESETS, BlenderImaging, blender_image, blender_stack
from synth.dividing import divide
from synth.gaussian import correlation_function, gaussian_field
from synth.gaussian_cuts import gaussian_phases
from synth.materials import catalyst_layer, fibre_mat, gdl_with_mpl, redox_cell, secondary_particle, sofc_electrode
from synth.microscope_image import MicroscopeImage
from synth.porespy_adapter import porespy_structure
from synth.recipes import build_structure, image_structure
from synth.regrouping import regroup
from synth.sem import FIBSEM_PRESETS, FibsemSettings, fibsem, fibsem_image
from synth.size_laws import frozen_distribution
from synth.spheres import sphere_pack
from synth.stamping import stamp_spheres
from synth.structure import Structure
from synth.truth import boolean_model, gaussian_bands, gaussian_level_set, gaussian_polygons, intersection
from synth.xray import XRAY_PRESETS, XraySettings, xray_ct, xray_image

__all__ = [
    "BLENDER_PRESETS",
    "FIBSEM_PRESETS",
    "XRAY_PRESETS",
    "BlenderImaging",
    "FibsemSettings",
    "MicroscopeImage",
    "Structure",
    "XraySettings",
    "blender_image",
    "blender_stack",
    "boolean_model",
    "build_structure",
    "catalyst_layer",
    "correlation_function",
    "divide",
    "fibre_mat",
    "fibsem",
    "fibsem_image",
    "frozen_distribution",
    "gaussian_bands",
    "gaussian_field",
    "gaussian_level_set",
    "gaussian_phases",
    "gaussian_polygons",
    "gdl_with_mpl",
    "image_structure",
    "intersection",
    "porespy_structure",
    "redox_cell",
    "regroup",
    "secondary_particle",
    "sofc_electrode",
    "sphere_pack",
    "stamp_spheres",
    "xray_ct",
    "xray_image",
]
