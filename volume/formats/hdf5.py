"""HDF5: one dataset, with ``element_size_um`` (z, y, x) as an attribute, as other image programs write it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from launch import replace_when_complete
from volume.axes import to_zyx
from volume.errors import VolumeFileError
from volume.formats.npy import DTYPES
from volume.lazy import as_zyx
from volume.model import Volume
from volume.note import Note, from_note_text
from volume.voxel_size import check_voxel_size

__all__ = ["DTYPES", "IS_FOLDER", "NAME", "SUFFIXES", "open_lazily", "read", "write"]

NAME = "HDF5"
SUFFIXES = (".h5", ".hdf5")
IS_FOLDER = False

DATASET = "volume"
NOTE_KEY = "poreforge"
SIZE_ATTRIBUTES = ("element_size_um", "voxel_size_um")


def read(path: Path) -> Volume:
    """Read the dataset ``volume``, or else the only one that can be a volume."""
    import h5py

    with h5py.File(path, "r") as file:
        dataset = _choose(file, path)
        return Volume(_whole(dataset, path), *_note(dataset))


@contextlib.contextmanager
def open_lazily(path: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Give the dataset, unread unless its axes are in another order, the voxel size and the phases."""
    import h5py

    with h5py.File(path, "r") as file:
        dataset = _choose(file, path)
        lazy = as_zyx(dataset, _axes(dataset), f"'{path}' (dataset '{dataset.name}')")
        yield _whole(dataset, path) if lazy is None else lazy, *_note(dataset)


def _whole(dataset: Any, path: Path) -> np.ndarray:
    return to_zyx(np.asarray(dataset[...]), _axes(dataset), f"'{path}' (dataset '{dataset.name}')")


def _note(dataset: Any) -> Note:
    size = next((dataset.attrs[key] for key in SIZE_ATTRIBUTES if key in dataset.attrs), None)
    return check_voxel_size(size), from_note_text(dataset.attrs.get(NOTE_KEY))[1]


def write(path: Path, volume: Volume) -> None:
    """Write the dataset ``volume`` in chunks, losslessly compressed."""
    import h5py

    with replace_when_complete(path) as temporary, h5py.File(temporary, "w") as file:
        dataset = file.create_dataset(
            DATASET, data=volume.array, chunks=True, compression="gzip", compression_opts=1, shuffle=True
        )
        if volume.voxel_size_um is not None:
            dataset.attrs["element_size_um"] = np.asarray(volume.voxel_size_um, dtype=np.float64)
        if volume.phases is not None:
            dataset.attrs[NOTE_KEY] = json.dumps({"phases": volume.phases})


def _choose(file: Any, path: Path) -> Any:
    import h5py

    if isinstance(file.get(DATASET), h5py.Dataset):
        return file[DATASET]
    found: list[Any] = []

    def collect(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim >= 3 and item.dtype.kind in "biuf":
            found.append(item)

    file.visititems(collect)
    if not found:
        raise VolumeFileError(
            f"'{path}' holds no dataset with three axes; a volume is expected under the name '{DATASET}'"
        )
    if len(found) > 1:
        names = ", ".join(f"'{item.name}'" for item in found)
        raise VolumeFileError(
            f"'{path}' holds {len(found)} datasets that could be the volume ({names}); give the one meant the name "
            f"'{DATASET}', or put it into a file of its own"
        )
    return found[0]


def _axes(dataset: Any) -> str | None:
    """Return the axes that some programs note as JSON in ``axistags``, one letter each."""
    tags = dataset.attrs.get("axistags")
    if tags is None:
        return None
    try:
        keys = [str(axis["key"]) for axis in json.loads(tags)["axes"]]
    except (KeyError, TypeError, ValueError):
        return None
    return "".join(keys) if len(keys) == dataset.ndim and all(len(key) == 1 for key in keys) else None
