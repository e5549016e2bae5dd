"""NumPy's ``.npy``; voxel size and phases, for which it has no room, go into ``name.json`` beside it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from launch import replace_when_complete
from volume.axes import to_zyx
from volume.errors import VolumeFileError
from volume.model import Volume
from volume.note import from_note, read_sidecar, sidecar_path, to_note, write_sidecar

__all__ = ["DTYPES", "IS_FOLDER", "NAME", "SUFFIXES", "open_lazily", "read", "write"]

NAME = "NumPy file"
SUFFIXES = (".npy",)
DTYPES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
)  # fmt: skip
IS_FOLDER = False


def read(path: Path) -> Volume:
    """Read the array, and the note beside it if there is one."""
    array, size, phases = _load(path, None)
    return Volume(array, size, phases)


@contextlib.contextmanager
def open_lazily(path: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Map the array into memory; give it, the voxel size and the phases."""
    yield _load(path, "r")


def _load(path: Path, mode: Literal["r"] | None) -> tuple[Any, Any, Any]:
    array = to_zyx(np.load(path, allow_pickle=False, mmap_mode=mode), None, f"'{path}'")
    sidecar = sidecar_path(path)
    note = read_sidecar(sidecar) or {}
    if tuple(note.get("shape") or array.shape) != array.shape:
        raise VolumeFileError(
            f"'{sidecar}' describes a volume of shape {tuple(note['shape'])}, but '{path}' has shape "
            f"{array.shape}; remove or mend it"
        )
    return array, *from_note(note)


def write(path: Path, volume: Volume) -> None:
    """Write the array, and the note if there is anything to say."""
    note = {"file": path.name, "shape": list(volume.shape), **to_note(volume)}
    worth_saying = volume.voxel_size_um is not None or volume.phases is not None
    with replace_when_complete(path) as temporary:
        with temporary.open("wb") as file:
            np.save(file, volume.array, allow_pickle=False)
        # An older note must not stay behind to describe the new array.
        if worth_saying or sidecar_path(path).is_file():
            write_sidecar(sidecar_path(path), note)
