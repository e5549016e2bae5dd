"""OME-TIFF: sizes and units in its XML, the names of phases in a map annotation of it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from launch import replace_when_complete
from volume.formats.ome_xml import to_ome_metadata
from volume.formats.tiff import open_lazily, read, refuse_rest, unwritten
from volume.model import Volume

__all__ = ["DTYPES", "IS_FOLDER", "NAME", "SUFFIXES", "open_lazily", "read", "write", "write_slabs"]

NAME = "OME-TIFF"
SUFFIXES = (".ome.tif", ".ome.tiff")
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
IS_FOLDER = False


def write(path: Path, volume: Volume) -> None:
    """Write uncompressed pages with OME-XML in the first."""
    import tifffile

    with replace_when_complete(path) as temporary:
        tifffile.imwrite(temporary, volume.array, ome=True, photometric="minisblack", metadata=to_ome_metadata(volume))


def write_slabs(
    path: Path,
    slabs: Iterable[np.ndarray],
    *,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    note: Mapping[str, Any],
) -> None:
    """Write the same from slabs ``(planes, Y, X)`` of any thickness, one at a time."""
    import tifffile

    metadata, planes = to_ome_metadata(unwritten(shape, dtype, note)), (plane for slab in slabs for plane in slab)
    with replace_when_complete(path) as temporary:
        tifffile.imwrite(
            temporary, planes, shape=shape, dtype=dtype, ome=True, photometric="minisblack", metadata=metadata
        )
        refuse_rest(planes)
