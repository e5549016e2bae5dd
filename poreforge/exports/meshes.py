"""Surfaces for CAD, printing and meshing programs."""

import re
from pathlib import Path
from typing import Literal

import numpy as np

from evaluate import reconstruct
from launch import replace_when_complete
from volume import Volume, check_labels

__all__ = ["write_meshes"]


def write_meshes(folder: Path, volume: Volume, name: str, *, kind: Literal["stl", "ply"]) -> list[Path]:
    """Write the closed surface of each solid phase, ``NAME-PHASE.stl``.

    Parameters
    ----------
    folder : Path
    volume : Volume
        Labels, of which 0 is left out.
    name : str
        The files' names begin with it.
    kind : {"stl", "ply"}
        Both binary.

    Returns
    -------
    list of Path

    Raises
    ------
    ValueError
        Grey values, or nothing but pores.

    Notes
    -----
    Marching cubes (`evaluate.reconstruct`); coordinates (x, y, z) in µm or voxels, the corner of the volume at the
    origin, faces outward.
    """
    import trimesh

    labels = check_labels(volume.array)
    present = [int(label) for label in np.unique(labels) if label]
    if not present:
        raise ValueError("the volume holds nothing but pore (label 0), so there is no surface to write")
    half = np.multiply(volume.voxel_size_um or (1.0, 1.0, 1.0), 0.5)
    paths = []
    for label in present:
        mesh = reconstruct(volume, phase=label, voxel_size_um=volume.voxel_size_um)
        # Reversing the components turns each face round, and reversing its corners turns it back.
        found = trimesh.Trimesh((mesh.vertices + half)[:, ::-1], mesh.faces[:, ::-1], process=False)
        phase = volume.phases[label] if volume.phases else f"phase {label}"
        path = folder / f"{name}-{re.sub(r'[^0-9A-Za-z]+', '-', phase).strip('-') or label}.{kind}"
        with replace_when_complete(path) as temporary:
            found.export(temporary, file_type=kind)
        paths.append(path)
    return paths
