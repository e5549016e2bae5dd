"""How the faces of a mesh hang together."""

import dataclasses

import numpy as np

from evaluate.surfaces.mesh import Mesh

__all__ = ["MeshTopology", "mesh_topology"]


@dataclasses.dataclass(frozen=True)
class MeshTopology:
    """How the faces of a mesh hang together; made by `mesh_topology`.

    Attributes
    ----------
    is_watertight : bool
        Every edge belongs to exactly two faces.
    is_closed : bool
        Every edge is run through as often one way as the other, so that the mesh encloses a volume; a watertight mesh
        of faces that agree on what is outward is closed, and so are two bodies that share an edge of four faces.
    boundary_edges : int
        Edges of one face: where the surface is open.
    non_manifold_edges : int
        Edges of three or more faces.
    components : int
        Parts that share no vertex.
    euler_number : int
        Vertices in use - edges + faces: 2 for each sphere, 0 for each torus.
    genus : int or None
        Handles of all components together, of a watertight mesh; None of others.
    """

    is_watertight: bool
    is_closed: bool
    boundary_edges: int
    non_manifold_edges: int
    components: int
    euler_number: int
    genus: int | None


def mesh_topology(mesh: Mesh) -> MeshTopology:
    """Count edges, components and handles of a mesh.

    Parameters
    ----------
    mesh : Mesh
        With one face or more. Vertices are the same if their indices are, whatever their positions.

    Returns
    -------
    MeshTopology

    Raises
    ------
    ValueError
        If the mesh has no faces.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(mesh.faces):
        raise ValueError("the mesh has no faces; there is no surface to describe")
    starts, ends = mesh.faces.ravel(), np.roll(mesh.faces, -1, axis=1).ravel()
    n = len(mesh.vertices)
    _, edge, counts = np.unique(
        np.minimum(starts, ends) * n + np.maximum(starts, ends), return_inverse=True, return_counts=True
    )
    balance = np.bincount(edge, np.where(starts < ends, 1, -1))
    used = np.bincount(starts, minlength=n) > 0
    _, parts = connected_components(coo_array((np.ones(len(starts), bool), (starts, ends)), shape=(n, n)), False)
    components = len(np.unique(parts[used]))
    euler = int(used.sum()) - len(counts) + len(mesh.faces)
    is_watertight = bool((counts == 2).all())
    return MeshTopology(
        is_watertight=is_watertight,
        is_closed=bool((balance == 0).all()),
        boundary_edges=int((counts == 1).sum()),
        non_manifold_edges=int((counts > 2).sum()),
        components=components,
        euler_number=euler,
        genus=components - euler // 2 if is_watertight else None,
    )
