"""PoreSpy's images and OpenPNM's networks."""

from pathlib import Path
from typing import Any

import numpy as np

from launch import replace_when_complete
from poreforge.outputs import write_summary
from volume import Volume, check_labels

__all__ = ["write_openpnm", "write_porespy"]

M_PER_UM = 1e-6
UNEQUAL = 1e-3
# The defaults of porespy.networks.snow2.
SNOW_SIGMA, SNOW_R_MAX, BOUNDARY_VOX = 0.4, 4, 3
FACES = [["xmin", "xmax"], ["ymin", "ymax"], ["zmin", "zmax"]]


def write_porespy(folder: Path, volume: Volume, name: str) -> list[Path]:
    """Write the pores as PoreSpy takes them: ``NAME-pores.npy``, True in the pores, and a JSON file beside it.

    Parameters
    ----------
    folder : Path
    volume : Volume
        Labels, 0 being pore.
    name : str

    Returns
    -------
    list of Path
        The image, shape (Z, Y, X), and the JSON file with ``voxel_size_um``, ``axes`` and what True means.

    Raises
    ------
    ValueError
        Grey values.
    """
    pores = check_labels(volume.array) == 0
    image, note = folder / f"{name}-pores.npy", folder / f"{name}-pores.json"
    with replace_when_complete(image) as temporary:
        np.save(temporary, pores)
    write_summary(note, {"voxel_size_um": volume.voxel_size_um, "axes": "zyx", "true_means": "pore"})
    return [image, note]


def write_openpnm(folder: Path, volume: Volume, name: str) -> list[Path]:
    """Extract the pore network by SNOW2 and write it as ``NAME-network.csv``, which OpenPNM reads.

    Parameters
    ----------
    folder : Path
    volume : Volume
        Labels, 0 being pore; cubic voxels.
    name : str

    Returns
    -------
    list of Path
        One file, for ``openpnm.io.network_from_csv``.

    Raises
    ------
    ValueError
        No pores or none that touch, grey values, voxels that are not cubic, or PoreSpy missing.

    Notes
    -----
    Coordinates are (x, y, z) in metres, or in voxels if the voxel size is not known. Pores at a face carry the labels
    ``pore.xmin``, … with boundary pores outside them, PoreSpy's default [1]_.

    References
    ----------
    .. [1] J. T. Gostick, Versatile and efficient pore network extraction method using marker-based watershed
       segmentation, Physical Review E 96 (2017) 023307.
    """
    network = _extract(check_labels(volume.array) == 0, _edge_m(volume))
    path = folder / f"{name}-network.csv"
    with replace_when_complete(path) as temporary, temporary.open("w", encoding="ascii", newline="") as file:
        columns = _columns(network)
        file.write(",".join(columns) + "\n")
        for row in range(max(len(column) for column in columns.values())):
            file.write(",".join(column[row] if row < len(column) else "" for column in columns.values()) + "\n")
    return [path]


def _edge_m(volume: Volume) -> float:
    size = volume.voxel_size_um
    if size is None:
        return 1.0
    if max(size) > (1 + UNEQUAL) * min(size):
        raise ValueError(f"the voxel size is {size} µm (z, y, x); SNOW2 takes cubic voxels: resample the volume first")
    return size[0] * M_PER_UM


def _extract(pores: np.ndarray, edge: float) -> dict[str, np.ndarray]:
    if not pores.any():
        raise ValueError("the volume holds no pore (label 0), so there is no network")
    try:
        import porespy
    except ImportError:
        raise ValueError(
            "pore networks are extracted by PoreSpy, which is not installed; run: pip install 'poreforge[porespy]'"
        ) from None
    porespy.settings.tqdm["disable"] = True
    # The network's coordinates follow the axes of the image, and OpenPNM calls the first one x. These are the steps of
    # porespy.networks.snow2, which as a whole needs NumPy 2.1.
    image = np.ascontiguousarray(pores.T)
    regions = porespy.filters.snow_partitioning(image, sigma=SNOW_SIGMA, r_max=SNOW_R_MAX).regions
    regions = porespy.networks.add_boundary_regions(regions, pad_width=BOUNDARY_VOX)
    if not _touching(regions):
        raise ValueError("no pore touches another one or the border, so the network would have no throat")
    network = dict(porespy.networks.regions_to_network(regions, voxel_size=edge))
    network = porespy.networks.label_boundaries(network, labels=FACES)
    # Counted from the corner of the volume: without the boundary regions, to the centres of the voxels.
    for key in [key for key in network if np.shape(network[key])[1:] == (3,)]:
        network[key] = np.asarray(network[key]) + (0.5 - BOUNDARY_VOX) * edge
    return network


def _touching(regions: np.ndarray) -> bool:
    """Whether two regions are neighbours anywhere."""
    pairs = [(regions.take(range(n - 1), a), regions.take(range(1, n), a)) for a, n in enumerate(regions.shape)]
    return any(bool(np.any((low != high) & (low > 0) & (high > 0))) for low, high in pairs)


def _columns(network: dict[str, np.ndarray]) -> dict[str, list[str]]:
    """Columns of text: vectors component by component, names as OpenPNM's reader joins them again."""
    columns: dict[str, list[str]] = {}
    for key in sorted(network):
        values = np.asarray(network[key])
        if values.ndim == 1:
            columns[key] = [_cell(value) for value in values]
        else:
            columns |= {f"{key}[{k}]": [_cell(value) for value in values[:, k]] for k in range(values.shape[1])}
    return columns


def _cell(value: Any) -> str:
    return str(bool(value)) if isinstance(value, np.bool_) else repr(value.item())
