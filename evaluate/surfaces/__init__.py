"""Meshes of a phase's surface, the distances between them, and their scores against the truth."""

from evaluate.surfaces.distances import chamfer, hausdorff
from evaluate.surfaces.mesh import Mesh
from evaluate.surfaces.mesh_comparison import MeshScores, MeshTruth, mesh_scores, mesh_truth
from evaluate.surfaces.reconstruction import METHODS, reconstruct
from evaluate.surfaces.topology import MeshTopology, mesh_topology

__all__ = [
    "METHODS",
    "Mesh",
    "MeshScores",
    "MeshTopology",
    "MeshTruth",
    "chamfer",
    "hausdorff",
    "mesh_scores",
    "mesh_topology",
    "mesh_truth",
    "reconstruct",
]
