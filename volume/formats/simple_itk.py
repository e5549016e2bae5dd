"""NRRD and MetaImage through SimpleITK, which counts (x, y, z) in millimetres."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch import make_output_folder
from volume.axes import to_zyx
from volume.errors import VolumeFileError
from volume.model import Volume
from volume.note import from_note_text, note_text
from volume.voxel_size import from_header, micrometres_per

__all__ = ["DTYPES", "IS_FOLDER", "NAME", "SUFFIXES", "read", "write"]

NAME = "NRRD or MetaImage"
SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
IS_FOLDER = False

NOTE_KEY = "poreforge"
UM_PER_MM = 1e3
HEADER_BYTES = 65536


def read(path: Path) -> Volume:
    """Read an image; a spacing of exactly (1, 1, 1) is what these formats say when they know nothing."""
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise VolumeFileError(f"'{path}' holds colour (RGB) or vector images; convert them to grey first")
    exact, phases = None, None
    if image.HasMetaDataKey(NOTE_KEY):
        exact, phases = from_note_text(image.GetMetaData(NOTE_KEY))
    array = to_zyx(SimpleITK.GetArrayFromImage(image), None, f"'{path}'")
    return Volume(array, from_header(_header_size(image, path), exact), phases)


def write(path: Path, volume: Volume) -> None:
    """Write an image; of ``.mhd`` and ``.nhdr`` the file with the voxels is put in place first, then the header."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(volume.array)
    if volume.voxel_size_um is not None:
        z, y, x = volume.voxel_size_um
        image.SetSpacing((x / UM_PER_MM, y / UM_PER_MM, z / UM_PER_MM))
    image.SetMetaData(NOTE_KEY, note_text(volume))
    folder = make_output_folder(path.parent)
    # The header of .mhd and .nhdr names the file of the voxels: v.mhd.raw, since v.raw may be a volume of its own.
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{path.name}-") as temporary:
        header = Path(temporary) / f"{path.name}{path.suffix}"
        try:
            SimpleITK.WriteImage(image, str(header))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise VolumeFileError(f"cannot write '{path}' ({reason}); choose another place") from error
        for part in Path(temporary).iterdir():
            if part != header:
                part.replace(folder / part.name)
        header.replace(path)


def _header_size(image: Any, path: Path) -> Sequence[float] | None:
    spacing = image.GetSpacing()
    if image.GetDimension() < 3 or all(size == 1.0 for size in spacing):
        return None
    x, y, z = (size * _unit_um(image, path, axis) for axis, size in enumerate(spacing[:3]))
    return z, y, x


def _unit_um(image: Any, path: Path, axis: int) -> float:
    """Return micrometres per unit of an axis: millimetres unless a NRRD header says otherwise."""
    key = f"NRRD_units[{axis}]"
    if image.HasMetaDataKey(key):
        return micrometres_per(image.GetMetaData(key)) or UM_PER_MM
    if path.suffix.lower() not in (".nrrd", ".nhdr"):
        return UM_PER_MM
    # ITK keeps "units" but drops "space units".
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES).partition(b"\n\n")[0].decode("utf-8", "replace")
    line = re.search(r"^space units:(.*)$", header, re.MULTILINE)
    units = re.findall(r'"([^"]*)"', line.group(1)) if line else []
    return (micrometres_per(units[axis]) if axis < len(units) else None) or UM_PER_MM
