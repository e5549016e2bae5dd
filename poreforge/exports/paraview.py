"""VTK's image file: one value a voxel, with its true size."""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from launch import replace_when_complete
from volume import Volume

__all__ = ["write_vti"]

TYPES = {
    "uint8": "UInt8", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "uint64": "UInt64", "int64": "Int64", "float32": "Float32", "float64": "Float64",
}  # fmt: skip
BLOCK_BYTES = 1 << 20


def write_vti(path: str | Path, volume: Volume) -> Path:
    """Write a volume as VTK image data (``.vti``), which ParaView opens.

    Parameters
    ----------
    path : path-like
    volume : Volume
        Its values become the cell data ``labels`` if it has phases or whole numbers of one byte, else ``grey``.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        A type that VTK does not know, such as half floats.

    Notes
    -----
    Values belong to cells, not to points, since a voxel fills its volume; spacing in µm, or 1 if the voxel size is not
    known. The values are deflated block by block.
    """
    array = volume.array.view(np.uint8) if volume.array.dtype == bool else volume.array
    kind = TYPES.get(array.dtype.name)
    if kind is None:
        raise ValueError(f"VTK's images cannot hold {array.dtype}; convert the volume to one of {', '.join(TYPES)}")
    name = "labels" if volume.phases or array.dtype == np.uint8 else "grey"
    z, y, x = volume.shape
    extent = f"0 {x} 0 {y} 0 {z}"
    spacing = " ".join(repr(float(edge)) for edge in reversed(volume.voxel_size_um or (1.0, 1.0, 1.0)))
    head = (
        '<?xml version="1.0"?>\n'
        '<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" header_type="UInt64"'
        ' compressor="vtkZLibDataCompressor">\n'
        f'<ImageData WholeExtent="{extent}" Origin="0 0 0" Spacing="{spacing}">\n'
        f'<Piece Extent="{extent}">\n<CellData Scalars="{name}">\n'
        f'<DataArray type="{kind}" Name="{name}" format="appended" offset="0"/>\n'
        '</CellData>\n</Piece>\n</ImageData>\n<AppendedData encoding="raw">\n_'
    )
    with replace_when_complete(path) as temporary, temporary.open("wb") as file:
        file.write(head.encode("ascii"))
        _write_blocks(file, np.ascontiguousarray(array, array.dtype.newbyteorder("<")))
        file.write(b"\n</AppendedData>\n</VTKFile>\n")
    return Path(path)


def _write_blocks(file: BinaryIO, array: np.ndarray) -> None:
    """Write the number of blocks, their length, that of the last if shorter, the deflated lengths, then the blocks."""
    data = array.reshape(-1).view(np.uint8)
    count = -(-len(data) // BLOCK_BYTES)
    start = file.tell()
    lengths = np.zeros(count, "<u8")
    file.write(struct.pack("<QQQ", count, BLOCK_BYTES, len(data) % BLOCK_BYTES))
    file.write(lengths.tobytes())
    for k in range(count):
        lengths[k] = file.write(zlib.compress(data[k * BLOCK_BYTES : (k + 1) * BLOCK_BYTES].data, 5))
    end = file.tell()
    file.seek(start + 24)
    file.write(lengths.tobytes())
    file.seek(end)
