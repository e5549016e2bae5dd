"""Volume to numbers: morphology, correlation, meshes, distances and agreement with the truth."""

from evaluate.label_agreement import Agreement, agreement
from evaluate.morphology import Minkowski, TwoPoint, minkowski, two_point
from evaluate.phase_fractions import porosity, porosity_error, porosity_profile
from evaluate.surfaces import Mesh, chamfer, hausdorff, reconstruct

__all__ = [
    "Agreement",
    "Mesh",
    "Minkowski",
    "TwoPoint",
    "agreement",
    "chamfer",
    "hausdorff",
    "minkowski",
    "porosity",
    "porosity_error",
    "porosity_profile",
    "reconstruct",
    "two_point",
]
