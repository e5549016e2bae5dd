"""One volume into the files that other programs read."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from launch import make_output_folder
from poreforge.exports.avizo import write_amira, write_avizo_tiff
from poreforge.exports.meshes import write_meshes
from poreforge.exports.paraview import write_vti
from poreforge.exports.pore_networks import write_openpnm, write_porespy
from poreforge.outputs import bare_name
from volume import Volume, read

__all__ = ["FORMATS", "export", "export_file"]


def _avizo(volume: Volume, folder: Path, name: str) -> list[Path]:
    return [write_amira(folder / f"{name}.am", volume), write_avizo_tiff(folder / f"{name}-avizo.tif", volume)]


FORMATS: dict[str, tuple[str, Callable[[Volume, Path, str], list[Path]]]] = {
    "vti": ("ParaView and VTK", lambda volume, folder, name: [write_vti(folder / f"{name}.vti", volume)]),
    "stl": ("a mesh for each solid phase", lambda volume, folder, name: write_meshes(folder, volume, name, kind="stl")),
    "ply": ("the same as PLY", lambda volume, folder, name: write_meshes(folder, volume, name, kind="ply")),
    "avizo": ("AmiraMesh and TIFF with its resolution", _avizo),
    "porespy": ("NumPy, True in the pores", lambda volume, folder, name: write_porespy(folder, volume, name)),
    "openpnm": ("pore network by SNOW2", lambda volume, folder, name: write_openpnm(folder, volume, name)),
}


def export(volume: Any, out: str | Path, *, formats: Sequence[str], name: str = "volume") -> list[Path]:
    """Write a volume for other programs.

    Parameters
    ----------
    volume : Volume or array_like, shape (Z, Y, X)
        Labels, 0 being pore; ``"vti"`` and ``"avizo"`` take grey values too. Attributes ``voxel_size_um`` and
        ``phases`` are used if it has them.
    out : path-like
        Folder for the files.
    formats : sequence of str
        Any of the keys of `FORMATS`: ``"vti"``, ``"stl"``, ``"ply"``, ``"avizo"``, ``"porespy"``, ``"openpnm"``.
    name : str
        The files' names begin with it.

    Returns
    -------
    list of Path
        The files, in the order of `formats`.

    Raises
    ------
    ValueError
        An unknown format, a volume that the format cannot hold, a library that is missing, a place that cannot be
        written to. Files written before stay.

    Notes
    -----
    In every file the corner of the volume, not the centre of its first voxel, is the origin, so that meshes lie
    where the voxels are; coordinates are in the order x, y, z and in µm (in voxels if no voxel size is known). Only
    OpenPNM's are in metres, as it expects.
    """
    wanted = [formats] if isinstance(formats, str) else list(formats)
    unknown = [str(kind) for kind in wanted if kind not in FORMATS]
    if unknown or not wanted:
        asked = f"format {unknown[0]!r} is not known" if unknown else "no format was asked for"
        raise ValueError(f"{asked}; choose from: {', '.join(FORMATS)}")
    if not isinstance(volume, Volume):
        volume = Volume(volume, getattr(volume, "voxel_size_um", None), getattr(volume, "phases", None))
    folder = make_output_folder(out)
    return [path for kind in dict.fromkeys(wanted) for path in FORMATS[kind][1](volume, folder, name)]


def export_file(
    path: str | Path, out: str | Path, *, formats: Sequence[str], voxel_size_um: Sequence[float] | None = None
) -> list[Path]:
    """Read a volume and `export` it under its own name; a mask of 0 and another value becomes 0 and 1.

    Raises
    ------
    ValueError
        As in `export`, or a file that cannot be read.
    """
    found = read(path, voxel_size_um=voxel_size_um)
    return export(_without_mask_value(found), out, formats=formats, name=bare_name(path))


def _without_mask_value(volume: Volume) -> Volume:
    array, high = volume.array, volume.array.max()
    if volume.phases is not None or array.dtype.kind not in "biu" or high <= 1:
        return volume
    if bool(((array == 0) | (array == high)).all()):
        return Volume((array > 0).astype("uint8"), volume.voxel_size_um)
    return volume
