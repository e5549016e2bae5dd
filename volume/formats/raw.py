"""Bare voxels in ``name.raw``, described by ``name.json``: shape, dtype, byte order, voxel size, phases."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from launch import replace_when_complete
from volume.errors import VolumeFileError
from volume.formats.npy import DTYPES
from volume.model import Volume
from volume.note import from_note, read_sidecar, sidecar_path, to_note, write_sidecar

__all__ = ["DTYPES", "IS_FOLDER", "NAME", "SUFFIXES", "open_lazily", "read", "write"]

NAME = "raw file"
SUFFIXES = (".raw",)
IS_FOLDER = False

BYTE_ORDERS: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}


def read(path: Path) -> Volume:
    """Read the voxels as the JSON file says; without it they mean nothing."""
    shape, dtype, size, phases = _description(path)
    return Volume(np.fromfile(path, dtype=dtype).reshape(shape), size, phases)


@contextlib.contextmanager
def open_lazily(path: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Map the voxels into memory; give them, the voxel size and the phases."""
    shape, dtype, size, phases = _description(path)
    yield np.memmap(path, dtype=dtype, mode="r", shape=shape), size, phases


def _description(path: Path) -> tuple[tuple[int, int, int], np.dtype, Any, Any]:
    sidecar = sidecar_path(path)
    note = read_sidecar(sidecar)
    if note is None:
        raise VolumeFileError(
            f"'{path}' needs '{sidecar}' beside it: JSON with shape [z, y, x], dtype (e.g. \"uint16\"), "
            f'byte_order ("little" or "big") and, if known, voxel_size_um [z, y, x]'
        )
    shape, dtype = _layout(note, sidecar)
    expected, found = int(np.prod(shape)) * dtype.itemsize, path.stat().st_size
    if expected != found:
        raise VolumeFileError(
            f"'{path}' has {found} bytes, but shape {shape} of {dtype.name} in '{sidecar.name}' takes {expected}; "
            f"the file is truncated or the description wrong"
        )
    return shape, dtype, *from_note(note)


def write(path: Path, volume: Volume) -> None:
    """Write voxels in C order (x runs fastest) and their description."""
    note = {
        "file": path.name,
        "shape": list(volume.shape),
        "dtype": volume.array.dtype.name,
        "byte_order": sys.byteorder,
        **to_note(volume),
    }
    with replace_when_complete(path) as temporary:
        volume.array.tofile(temporary)
        write_sidecar(sidecar_path(path), note)


def _layout(note: dict[str, Any], sidecar: Path) -> tuple[tuple[int, int, int], np.dtype]:
    shape, name, order = note.get("shape"), note.get("dtype"), note.get("byte_order", "little")
    if not isinstance(shape, list) or len(shape) != 3 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise VolumeFileError(f"'{sidecar}': shape is {shape!r}; it must be three positive whole numbers [z, y, x]")
    if name not in (*DTYPES, "bool"):
        raise VolumeFileError(f"'{sidecar}': dtype is {name!r}; it must be one of {', '.join(DTYPES)}")
    if order not in BYTE_ORDERS:
        raise VolumeFileError(f'\'{sidecar}\': byte_order is {order!r}; it must be "little" or "big"')
    return (shape[0], shape[1], shape[2]), np.dtype(str(name)).newbyteorder(BYTE_ORDERS[order])
