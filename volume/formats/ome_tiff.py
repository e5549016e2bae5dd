"""OME-TIFF: sizes and units in its XML, the names of phases in a map annotation of it."""

from pathlib import Path

from launch import replace_when_complete
from volume.formats.ome_xml import to_ome_metadata
from volume.formats.tiff import read
from volume.model import Volume

__all__ = ["DTYPES", "IS_FOLDER", "NAME", "SUFFIXES", "read", "write"]

NAME = "OME-TIFF"
SUFFIXES = (".ome.tif", ".ome.tiff")
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
IS_FOLDER = False


def write(path: Path, volume: Volume) -> None:
    """Write uncompressed pages with OME-XML in the first."""
    import tifffile

    with replace_when_complete(path) as temporary:
        tifffile.imwrite(temporary, volume.array, ome=True, photometric="minisblack", metadata=to_ome_metadata(volume))
