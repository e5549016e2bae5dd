"""A folder with one image per slice, in natural order: ``slice2`` comes before ``slice10``."""

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import replace_when_complete
from volume.errors import VolumeFileError, in_one_sentence
from volume.formats import picture, tiff
from volume.formats.npy import DTYPES
from volume.lazy import Pages
from volume.model import Volume
from volume.note import from_note, read_sidecar, to_note, write_sidecar

__all__ = ["DTYPES", "IS_FOLDER", "NAME", "SUFFIXES", "open_lazily", "owns", "read", "write"]

NAME = "folder of slices"
SUFFIXES = ()  # a name without a suffix
IS_FOLDER = True

SIDECAR = "volume.json"
KINDS = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"}
OWN_SLICE = re.compile(r"slice_\d{5,}\.tif")


def read(path: Path) -> Volume:
    """Stack the images of a folder; they must be of one kind, size and type, one slice each."""
    files = _slice_files(path)
    first = _read_slice(files[0])
    array = np.empty((len(files), *first.shape), dtype=first.dtype)
    for z, file in enumerate(files):
        image = first if z == 0 else _read_slice(file)
        _refuse_difference(files[0], first, file, image)
        array[z] = image
    return Volume(array, *from_note(read_sidecar(path / SIDECAR)))


@contextlib.contextmanager
def open_lazily(path: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Give the slices, of which only the first is read yet, the voxel size and the phases."""
    files = _slice_files(path)
    first = _read_slice(files[0])
    load = functools.partial(_read_like, files[0], first)
    yield Pages(files, load, shape=first.shape, dtype=first.dtype), *from_note(read_sidecar(path / SIDECAR))


def _read_like(first_file: Path, first: np.ndarray, file: Path) -> np.ndarray:
    image = _read_slice(file)
    _refuse_difference(first_file, first, file, image)
    return image


def write(path: Path, volume: Volume) -> None:
    """Write one uncompressed TIFF per slice and a note with voxel size and phases."""
    import tifffile

    with replace_when_complete(path) as temporary:
        temporary.mkdir()
        for z, image in enumerate(volume.array):
            tifffile.imwrite(temporary / f"slice_{z:05d}.tif", image, photometric="minisblack", metadata=None)
        write_sidecar(temporary / SIDECAR, {"file": "slice_*.tif", "shape": list(volume.shape), **to_note(volume)})


def owns(path: Path) -> bool:
    """Tell whether the folder holds nothing but what `write` puts there."""
    names = [entry.name for entry in path.iterdir()]
    return SIDECAR in names and all(name == SIDECAR or OWN_SLICE.fullmatch(name) for name in names)


def _slice_files(path: Path) -> list[Path]:
    entries = [entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    files = [entry for entry in entries if entry.suffix.lower() in KINDS]
    if not files:
        state = "holds no TIFF, PNG or JPEG slices" if any(path.iterdir()) else "is empty"
        raise VolumeFileError(f"the folder '{path}' {state}; give a folder with one image per slice")
    kinds = sorted({KINDS[file.suffix.lower()] for file in files})
    if len(kinds) > 1:
        raise VolumeFileError(
            f"the folder '{path}' mixes {' and '.join(kinds)} images; leave the slices of one kind alone"
        )
    return sorted(files, key=_natural)


def _natural(path: Path) -> tuple[Sequence[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], path.name


def _read_slice(path: Path) -> np.ndarray:
    with in_one_sentence(path, KINDS[path.suffix.lower()]):
        file_format = tiff if path.suffix.lower() in tiff.SUFFIXES else picture
        stack = file_format.read(path).array
    if len(stack) > 1:
        raise VolumeFileError(f"'{path}' holds {len(stack)} slices; in a folder of slices each file holds one")
    return stack[0]


def _refuse_difference(first_file: Path, first: np.ndarray, file: Path, image: np.ndarray) -> None:
    if image.shape != first.shape:
        sizes = [f"{height} × {width}" for height, width in (first.shape, image.shape)]
        raise VolumeFileError(
            f"slices of unequal size: '{first_file}' is {sizes[0]} and '{file.name}' is {sizes[1]} (rows × columns); "
            f"crop or pad them to one size"
        )
    if image.dtype != first.dtype:
        raise VolumeFileError(
            f"slices of unequal type: '{first_file}' is {first.dtype} and '{file.name}' is {image.dtype}; "
            f"save them with one type"
        )
