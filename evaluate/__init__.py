"""Volume to numbers: morphology, correlation, meshes, distances and agreement with the truth."""

from evaluate.correlation import TwoPoint, two_point
from evaluate.label_agreement import Agreement, agreement
from evaluate.minkowski_functionals import Minkowski, minkowski
from evaluate.phase_fractions import porosity, porosity_error, porosity_profile
from evaluate.surface_distance import chamfer, hausdorff
from evaluate.surface_mesh import Mesh, reconstruct

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
