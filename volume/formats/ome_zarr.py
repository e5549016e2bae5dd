"""OME-Zarr (NGFF 0.5, and 0.4 for reading): the finest level, with its scale and units."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import replace_when_complete
from volume.axes import to_zyx
from volume.errors import VolumeFileError
from volume.formats.npy import DTYPES
from volume.lazy import as_zyx
from volume.model import Volume
from volume.note import from_note, to_note
from volume.voxel_size import from_header, micrometres_per

__all__ = ["DTYPES", "IS_FOLDER", "NAME", "SUFFIXES", "open_lazily", "owns", "read", "write", "write_slabs"]

NAME = "OME-Zarr"
SUFFIXES = (".zarr",)
IS_FOLDER = True

MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
CHUNK = 128  # voxels along an edge: 2 MB of labels, and a crop for training touches few chunks
NOTE_KEY = "poreforge"


def read(path: Path) -> Volume:
    """Read level 0 of the first multiscale image, or a bare array."""
    array, axes, size, phases = _find_array(path)
    return Volume(to_zyx(np.asarray(array[...]), axes, f"'{path}'"), size, phases)


@contextlib.contextmanager
def open_lazily(path: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Give the array, unread unless its axes are in another order, the voxel size and the phases."""
    array, axes, size, phases = _find_array(path)
    lazy = as_zyx(array, axes, f"'{path}'")
    yield to_zyx(np.asarray(array[...]), axes, f"'{path}'") if lazy is None else lazy, size, phases


def _find_array(path: Path) -> tuple[Any, str | None, Any, Any]:
    """Return the array on disk, one letter for each axis if they are named, the voxel size and the phases."""
    import zarr

    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        return node, None, *from_note(_attributes(node).get(NOTE_KEY))
    node, attributes, image = _find_image(node, path)
    level = image["datasets"][0]
    array: Any = node[level["path"]]
    axes, units = _axes(image, array.ndim)
    header = _scale(image, level, array.ndim) * units
    sizes = [dict(zip(axes, header, strict=True)).get(name) for name in "ZYX"]
    exact, phases = from_note(attributes.get(NOTE_KEY))
    return array, axes, from_header(sizes, exact), phases


def write(path: Path, volume: Volume) -> None:
    """Write one level in chunks of at most 128³ voxels."""
    with _new_level(path, volume.shape, volume.array.dtype, note=to_note(volume)) as array:
        array[...] = volume.array


def write_slabs(
    path: Path,
    slabs: Iterable[np.ndarray],
    *,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    note: Mapping[str, Any],
) -> None:
    """Write the same from slabs ``(planes, Y, X)`` of any thickness; no more than 128 planes are held."""
    with _new_level(path, shape, dtype, note=note) as array:
        done = 0
        # Whole chunks, each written once.
        for layer in _layers(slabs, CHUNK):
            array[done : done + len(layer)] = layer
            done += len(layer)


def owns(path: Path) -> bool:
    """Tell whether the folder is a zarr store."""
    return any((path / mark).is_file() for mark in MARKS)


@contextlib.contextmanager
def _new_level(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], *, note: Mapping[str, Any]) -> Iterator[Any]:
    """Give an array to fill; the store takes its name once it is filled."""
    import zarr

    size = note["voxel_size_um"]
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    if size is not None:
        axes = [{**axis, "unit": "micrometer"} for axis in axes]
    # NGFF demands a scale; without a unit beside it, it is a count of voxels.
    scale = {"type": "scale", "scale": size or [1.0, 1.0, 1.0]}
    image: Any = {"name": path.name, "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    with replace_when_complete(path) as temporary:
        group = zarr.create_group(temporary, zarr_format=3)
        group.attrs.update({"ome": {"version": "0.5", "multiscales": [image]}, NOTE_KEY: note})
        yield group.create_array(
            "0",
            shape=shape,
            dtype=dtype,
            chunks=tuple(min(CHUNK, length) for length in shape),
            dimension_names=("z", "y", "x"),
        )


def _layers(slabs: Iterable[np.ndarray], planes: int) -> Iterator[np.ndarray]:
    """Cut and join slabs into layers of so many planes, the last of what is left."""
    held: list[np.ndarray] = []
    missing = planes
    for slab in slabs:
        rest = slab
        while len(rest) >= missing:
            yield np.concatenate([*held, rest[:missing]])
            held, rest, missing = [], rest[missing:], planes
        if len(rest):
            held.append(rest)
            missing -= len(rest)
    if held:
        yield np.concatenate(held)


def _find_image(group: Any, path: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return the group that holds a multiscale image, its attributes and the image's description."""
    for node in (group, group.get("0")):
        attributes = _attributes(node)
        images = attributes.get("ome", attributes).get("multiscales")
        if images:
            return node, attributes, images[0]
    raise VolumeFileError(f"'{path}' is a zarr group without an OME multiscale image; write it as OME-Zarr 0.4 or 0.5")


def _attributes(node: Any) -> dict[str, Any]:
    return dict(getattr(node, "attrs", {}))


def _axes(image: Mapping[str, Any], ndim: int) -> tuple[str, np.ndarray]:
    """Return one letter per axis and its unit in micrometres, NaN where there is none."""
    axes = image.get("axes") or list("tczyx"[-ndim:])
    axes = [{"name": axis} if isinstance(axis, str) else axis for axis in axes]
    units = [micrometres_per(axis.get("unit")) for axis in axes]
    letters = "".join(str(axis["name"])[:1].upper() for axis in axes)
    return letters, np.array([np.nan if unit is None else unit for unit in units])


def _scale(image: Mapping[str, Any], level: Mapping[str, Any], ndim: int) -> np.ndarray:
    """Multiply the scales of the level and of the whole image; NaN if there is none."""
    transforms: Sequence[Mapping[str, Any]] = [
        *level.get("coordinateTransformations", ()),
        *image.get("coordinateTransformations", ()),
    ]
    scales = [np.asarray(t["scale"], dtype=float) for t in transforms if t.get("type") == "scale"]
    return np.prod(scales, axis=0) if scales else np.full(ndim, np.nan)
