"""Which module reads and writes what: by suffix, or by what a folder holds."""

from pathlib import Path
from typing import Protocol, cast

from volume.errors import VolumeFileError
from volume.formats import hdf5, npy, ome_tiff, ome_zarr, picture, raw, simple_itk, slices, tiff
from volume.model import Volume

__all__ = ["FORMATS", "Format", "accepted_suffixes", "choose_for_reading", "choose_for_writing"]


class Format(Protocol):
    """What a module of a format offers."""

    NAME: str
    SUFFIXES: tuple[str, ...]
    DTYPES: tuple[str, ...]  # what it can write; none if it is for reading alone
    IS_FOLDER: bool

    def read(self, path: Path) -> Volume:
        """Read the volume at `path`, which exists; any exception means that it is damaged."""

    def write(self, path: Path, volume: Volume) -> None:
        """Write `volume`, whose type is one of `DTYPES` in native byte order, completely or not at all."""

    def owns(self, path: Path) -> bool:
        """Tell whether the folder `path` holds this format, so that it may be replaced (folder formats only)."""


FORMATS = cast(tuple[Format, ...], (ome_tiff, tiff, ome_zarr, hdf5, npy, simple_itk, raw, picture, slices))


def accepted_suffixes() -> str:
    """Return the suffixes that can be read, ready for a message."""
    return ", ".join(suffix for file_format in FORMATS for suffix in file_format.SUFFIXES)


def choose_for_reading(path: Path) -> Format:
    """Choose the format of something that exists: a folder by what it holds, a file by its suffix."""
    if path.is_dir():
        return next((f for f in FORMATS if f.IS_FOLDER and f.SUFFIXES and f.owns(path)), cast(Format, slices))
    file_format = _by_suffix(path)
    if file_format is None or file_format.IS_FOLDER:
        raise VolumeFileError(f"'{path}' is not a file that can be read; accepted are {_accepted()}")
    return file_format


def choose_for_writing(path: Path) -> Format:
    """Choose the format by suffix; a name without one, or a folder of slices, is a folder of slices.

    Raises
    ------
    VolumeFileError
        Unknown suffix, a format for reading alone, or something else in the way.
    """
    file_format = _by_suffix(path)
    if file_format is None and (not path.suffix or (path.is_dir() and slices.owns(path))):
        file_format = cast(Format, slices)
    if file_format is None:
        raise VolumeFileError(f"'{path}' has a suffix of no known format; accepted are {_accepted()}")
    if not file_format.DTYPES:
        raise VolumeFileError(
            f"'{path}': {file_format.NAME} is for reading alone; write a folder of slices (a name without a suffix) "
            f"or a .tif"
        )
    _refuse_to_destroy(path, file_format)
    return file_format


def _refuse_to_destroy(path: Path, file_format: Format) -> None:
    if path.is_dir() and not file_format.IS_FOLDER:
        raise VolumeFileError(f"'{path}' is a folder; {file_format.NAME} needs the name of a file")
    if path.is_file() and file_format.IS_FOLDER:
        raise VolumeFileError(f"'{path}' is a file; {file_format.NAME} needs the name of a folder")
    if path.is_dir() and any(path.iterdir()) and not file_format.owns(path):
        raise VolumeFileError(f"'{path}' is a folder with other things in it; choose a new name or an empty folder")


def _by_suffix(path: Path) -> Format | None:
    name = path.name.lower()
    return next((f for f in FORMATS for suffix in f.SUFFIXES if name.endswith(suffix) and name != suffix), None)


def _accepted() -> str:
    return f"{accepted_suffixes()}, or a folder of TIFF, PNG or JPEG slices"
