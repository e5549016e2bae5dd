"""Meshes of a phase's surface, and the distances between them."""

from evaluate.surfaces.distances import chamfer, hausdorff
from evaluate.surfaces.mesh import Mesh, reconstruct

__all__ = ["Mesh", "chamfer", "hausdorff", "reconstruct"]
