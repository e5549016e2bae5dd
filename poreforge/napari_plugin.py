"""napari opens and saves volumes through these functions; ``napari.yaml`` names them, and none imports napari."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poreforge.outputs import bare_name
from volume import Volume, read, write

__all__ = ["get_reader", "read_layers", "write_layer"]

Layer = tuple[np.ndarray, dict[str, Any], str]
MOST_LABELS = 16


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """Return `read_layers` if there is something at `path`, or None.

    Parameters
    ----------
    path : str or list of str
        What napari was asked to open; a list is opened one by one.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return read_layers if paths and all(Path(entry).exists() for entry in paths) else None


def read_layers(path: str | Sequence[str]) -> list[Layer]:
    """Read volumes as napari's layers.

    Parameters
    ----------
    path : str or list of str
        Files or folders, of any kind that `volume.read` takes.

    Returns
    -------
    list of (ndarray, dict, str)
        Data (Z, Y, X), attributes and ``"labels"`` or ``"image"``. Whole numbers that have names, or up to 16 of them
        from 0 on, are labels. The scale is the voxel size in µm, or 1 if it is not known; the metadata keep both
        ``voxel_size_um`` and ``phases``.

    Raises
    ------
    ValueError
        A file that cannot be read.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return [_layer(read(entry), bare_name(entry)) for entry in paths]


def write_layer(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one layer of napari's.

    Parameters
    ----------
    path : str
        Its suffix chooses the format, as in `volume.write`; without one it becomes an OME-Zarr, napari's own choice.
    data : array_like, shape (Z, Y, X)
        Of a labels or an image layer. Wide integers that hold labels are stored in 8 bits.
    attributes : dict
        ``metadata`` of a volume that `read_layers` made keeps voxel size and phases; otherwise ``scale`` is the voxel
        size in µm, unless it is (1, 1, 1), which napari says of everything.

    Returns
    -------
    list of str
        What was written.

    Raises
    ------
    ValueError
        Not three axes, a type that the format cannot hold, a place that cannot be written to.
    """
    target = Path(path) if Path(path).suffix else Path(f"{path}.zarr")
    array = np.asarray(data)
    if (
        array.dtype.kind in "iu"
        and array.dtype.itemsize > 1
        and array.min() >= 0
        and array.max() <= np.iinfo(np.uint8).max
    ):
        array = array.astype(np.uint8)
    metadata = attributes.get("metadata") or {}
    size = metadata.get("voxel_size_um") or _scale(attributes.get("scale"))
    phases = metadata.get("phases")
    if phases is not None and (array.dtype.kind not in "biu" or array.max() >= len(phases)):
        phases = None  # labels were painted that have no name
    write(target, Volume(array, size, phases))
    return [str(target)]


def _layer(found: Volume, name: str) -> Layer:
    array = found.array
    is_labels = array.dtype.kind in "biu" and (
        found.phases is not None or (array.min() >= 0 and array.max() < MOST_LABELS)
    )
    attributes = {
        "name": name,
        "scale": found.voxel_size_um or (1.0, 1.0, 1.0),
        "metadata": {"voxel_size_um": found.voxel_size_um, "phases": found.phases},
    }
    return array, attributes, "labels" if is_labels else "image"


def _scale(scale: Any) -> tuple[float, float, float] | None:
    if scale is None:
        return None
    values = np.asarray(scale, dtype=float).reshape(-1)
    if len(values) != 3 or bool((values == 1).all()):
        return None
    return float(values[0]), float(values[1]), float(values[2])
