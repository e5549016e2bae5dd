"""Layers of porous electrodes: roughness of surfaces, microporous layers, their cracks and how they intrude."""

from evaluate.layers.gdl_report import layer_report
from evaluate.layers.layer_results import Cracks, Intrusion, Layer, LayerReport, MplInterfaces, ThicknessMap
from evaluate.layers.roughness_parameters import SurfaceRoughness, roughness_of_heights, surface_roughness

__all__ = [
    "Cracks",
    "Intrusion",
    "Layer",
    "LayerReport",
    "MplInterfaces",
    "SurfaceRoughness",
    "ThicknessMap",
    "layer_report",
    "roughness_of_heights",
    "surface_roughness",
]
