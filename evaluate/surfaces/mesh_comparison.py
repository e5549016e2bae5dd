"""Scores of a reconstructed mesh against the truth."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import as_voxel_size
from evaluate.morphology import minkowski
from evaluate.surfaces.distances import SearchedMesh, three_distances
from evaluate.surfaces.mesh import Mesh
from evaluate.surfaces.reconstruction import reconstruct
from evaluate.surfaces.topology import MeshTopology, mesh_topology

__all__ = ["MeshScores", "MeshTruth", "mesh_scores", "mesh_truth"]


@dataclasses.dataclass(frozen=True)
class MeshScores:
    """How near a mesh comes to the truth; made by `mesh_scores`.

    Lengths are in `unit`.

    Attributes
    ----------
    chamfer, hausdorff, hausdorff95 : float
        Distances of the two surfaces: on average, at worst, and the 95th percentile.
    volume : float or None
        That the mesh encloses, in unit³; None if the mesh is open, with all that follows from it.
    volume_ratio : float or None
        Volume / true volume.
    area : float
        Of the mesh, in unit².
    area_ratio : float
        Area / true area.
    porosity : float or None
        What the mesh leaves of the window, or, if it is the mesh of the pore (`phase` 0), its own part of it. None if
        the truth is a mesh, as there is no window.
    porosity_error : float or None
        Porosity - true porosity.
    topology : MeshTopology
        Watertightness, edges, components, handles.
    unit : str
        ``"um"`` or ``"voxel"``; ``"that of the meshes"`` if the truth is a mesh.
    """

    chamfer: float
    hausdorff: float
    hausdorff95: float
    volume: float | None
    volume_ratio: float | None
    area: float
    area_ratio: float
    porosity: float | None
    porosity_error: float | None
    topology: MeshTopology
    unit: str


@dataclasses.dataclass(frozen=True, eq=False)
class MeshTruth:
    """What meshes are scored against; made by `mesh_truth`. Lengths are in `unit`.

    Attributes
    ----------
    surface : SearchedMesh
        The true surface, for the distances.
    volume, area : float
        That it encloses, and that it has.
    window_volume : float or None
        Of the labels' window; None if the truth is a mesh.
    of_pore : bool
        Whether it is the surface of the pore.
    unit : str
        ``"um"`` or ``"voxel"``; ``"that of the meshes"`` if the truth is a mesh.
    """

    surface: SearchedMesh
    volume: float
    area: float
    window_volume: float | None
    of_pore: bool
    unit: str


def mesh_truth(truth: Any, *, phase: int | None = None, voxel_size_um: Sequence[float] | None = None) -> MeshTruth:
    """Prepare a truth once for the scores of many meshes; arguments, errors and conventions as in `mesh_scores`."""
    if isinstance(truth, Mesh):
        if phase is not None or voxel_size_um is not None:
            raise ValueError("truth is a mesh, which has neither phase nor voxel size; leave them out")
        volume = _enclosed(truth, mesh_topology(truth))
        if volume is None or not volume > 0:
            raise ValueError("the true mesh is open or its faces point inward, so that it encloses no volume; mend it")
        return MeshTruth(SearchedMesh(truth), volume, truth.area, None, False, "that of the meshes")
    surface = reconstruct(truth, "voxel", phase=phase, voxel_size_um=voxel_size_um)
    labels, spacing = np.asarray(truth), as_voxel_size(voxel_size_um, truth)
    inside = labels != 0 if phase is None else labels == phase
    found = minkowski(inside, voxel_size_um=spacing, boundary="closed")
    return MeshTruth(
        SearchedMesh(surface), found.volume, found.surface, found.window_volume, phase == 0, found.unit
    )  # fmt: skip


def mesh_scores(
    mesh: Mesh,
    truth: Any,
    *,
    phase: int | None = None,
    voxel_size_um: Sequence[float] | None = None,
    n_points: int = 20_000,
    rng: np.random.Generator | int = 0,
) -> MeshScores:
    """Score a mesh against the true volume, or against the true mesh.

    Parameters
    ----------
    mesh : Mesh
        In the coordinates of `reconstruct`.
    truth : array_like of shape (Z, Y, X), Mesh or MeshTruth
        Labels (a mask, a `volume.Volume`, a structure) that span the window, a closed mesh, or either of them prepared
        by `mesh_truth`.
    phase : int, optional
        The label whose surface is meant; by default the solid, all that is not 0. Only with labels.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel of `truth` in µm; by default those it knows. The mesh must be in the same
        unit.
    n_points, rng
        As in `chamfer`.

    Returns
    -------
    MeshScores

    Raises
    ------
    ValueError
        Labels without the phase, a mesh without area, a true mesh that encloses no volume, or what `reconstruct` and
        `chamfer` refuse.

    Notes
    -----
    Of labels the true surface, for the distances, is that of the voxels' faces (the method ``"voxel"``); the true
    volume is that of the voxels. A smooth surface through it lies some 0.2 voxels off on average: differences well
    below half a voxel say nothing about the object. The true area is that of `evaluate.minkowski` with
    ``boundary="closed"`` (Crofton's formula, without the bias of the staircase), so that the method ``"voxel"`` has
    a ratio near 3/2 and marching cubes near 1.09 on round objects.
    Where the object meets the border of the window, the surface that closes it counts in both.
    """
    if isinstance(truth, MeshTruth) and (phase is not None or voxel_size_um is not None):
        raise ValueError("truth has been prepared with its phase and voxel size; leave them out")
    true = truth if isinstance(truth, MeshTruth) else mesh_truth(truth, phase=phase, voxel_size_um=voxel_size_um)
    topology = mesh_topology(mesh)
    own, window = _enclosed(mesh, topology), true.window_volume
    porosity = error = None
    if own is not None and window is not None:
        # A mesh of the solid leaves the pore.
        porosity = own / window if true.of_pore else 1 - own / window
        error = (own - true.volume) / window * (1 if true.of_pore else -1)
    on_average, at_worst, for_most = three_distances(mesh, true.surface, n_points=n_points, rng=rng)
    return MeshScores(
        chamfer=on_average,
        hausdorff=at_worst,
        hausdorff95=for_most,
        volume=own,
        volume_ratio=None if own is None else own / true.volume,
        area=mesh.area,
        area_ratio=mesh.area / true.area,
        porosity=porosity,
        porosity_error=error,
        topology=topology,
        unit=true.unit,
    )


def _enclosed(mesh: Mesh, topology: MeshTopology) -> float | None:
    return mesh.volume if topology.is_closed else None
