"""Avizo and Amira: AmiraMesh, which knows voxel size and materials, and TIFF, which knows the size of a pixel."""

import re
from pathlib import Path

import numpy as np

from launch import replace_when_complete
from poreforge.report.figures import PHASE_COLOURS
from volume import Volume

__all__ = ["write_amira", "write_avizo_tiff"]

TYPES = {"uint8": "byte", "uint16": "ushort", "int16": "short", "int32": "int", "float32": "float", "float64": "double"}
TIFF_TYPES = ("uint8", "uint16", "float32")
UM_PER_CM = 1e4


def write_amira(path: str | Path, volume: Volume) -> Path:
    """Write a volume as AmiraMesh (``.am``), binary, uniform coordinates.

    Parameters
    ----------
    path : path-like
    volume : Volume
        With `phases` it becomes a label field, each phase a material of its name and the report's colour.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        A type that the format does not know.

    Notes
    -----
    The bounding box goes through the centres of the outermost voxels, as the format wants it; the corner of the volume
    is the origin. In µm, or in voxels if the voxel size is not known.
    """
    array = _accepted(volume.array, TYPES, "AmiraMesh")
    is_labels = volume.phases is not None
    name, kind = "Labels" if is_labels else "Data", TYPES[array.dtype.name]
    size = volume.voxel_size_um or (1.0, 1.0, 1.0)
    ends = [(0.5 * edge, (n - 0.5) * edge) for n, edge in zip(volume.shape, size, strict=True)][::-1]
    z, y, x = volume.shape
    units = '    Units {\n        Coordinates "µm"\n    }\n' if volume.voxel_size_um else ""
    head = (
        f"# AmiraMesh BINARY-LITTLE-ENDIAN 2.1\n\n\ndefine Lattice {x} {y} {z}\n\nParameters {{\n"
        f"{_materials(volume.phases or ())}{units}"
        f'    Content "{x}x{y}x{z} {kind}, uniform coordinates",\n'
        f"    BoundingBox {' '.join(repr(float(end)) for pair in ends for end in pair)},\n"
        '    CoordType "uniform"\n}\n\n'
        f"Lattice {{ {kind} {name} }} @1\n\n# Data section follows\n@1\n"
    )
    with replace_when_complete(path) as temporary, temporary.open("wb") as file:
        file.write(head.encode("utf-8"))
        for plane in array:
            file.write(np.ascontiguousarray(plane, plane.dtype.newbyteorder("<")).tobytes())
        file.write(b"\n")
    return Path(path)


def write_avizo_tiff(path: str | Path, volume: Volume) -> Path:
    """Write a volume as one uncompressed multi-page TIFF; labels in 8 bits.

    Parameters
    ----------
    path : path-like
    volume : Volume

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        A type other than 8 or 16 bits or 32-bit floats.

    Notes
    -----
    The resolution tags are in pixels per centimetre, which every reader of TIFF understands. TIFF has no tag for the
    distance of the slices: ImageJ's note carries it, in centimetres too, but Avizo asks for it; `write_amira`
    is complete.
    """
    import tifffile

    array = _accepted(volume.array, TIFF_TYPES, "the TIFF")
    # tifffile takes pages of one row or column for something else in ImageJ's dialect.
    options: dict[str, object] = {"imagej": min(array.shape[1:]) > 1 and array.nbytes < 2**32 - 2**25}
    if volume.voxel_size_um is not None:
        z, y, x = (edge / UM_PER_CM for edge in volume.voxel_size_um)
        options |= {"resolution": (1 / x, 1 / y), "resolutionunit": "CENTIMETER"}
        if options["imagej"]:
            options["metadata"] = {"axes": "ZYX", "spacing": z, "unit": "cm"}
    with replace_when_complete(path) as temporary:
        tifffile.imwrite(temporary, array, photometric="minisblack", **options)  # type: ignore[arg-type]
    return Path(path)


def _accepted(array: np.ndarray, types: object, name: str) -> np.ndarray:
    array = array.view(np.uint8) if array.dtype == bool else array
    if array.dtype.kind in "iu" and array.dtype.itemsize > 1 and array.min() >= 0 and array.max() <= 255:
        array = array.astype(np.uint8)
    if array.dtype.name not in types:  # type: ignore[operator]
        raise ValueError(f"{name} cannot hold {array.dtype}; convert the volume to one of {', '.join(types)}")  # type: ignore[arg-type]
    return array


def _materials(phases: tuple[str, ...]) -> str:
    """Return the block of materials, in the order of the labels; names of letters, digits and underscores."""
    if not phases:
        return ""
    lines = []
    for k, phase in enumerate(phases):
        red, green, blue = (int(PHASE_COLOURS[k % len(PHASE_COLOURS)][i : i + 2], 16) / 255 for i in (1, 3, 5))
        name = re.sub(r"\W+", "_", phase, flags=re.ASCII).strip("_") or f"phase_{k}"
        name = f"m_{name}" if name[0].isdigit() else name
        lines.append(f"        {name} {{\n            Color {red:.4f} {green:.4f} {blue:.4f}\n        }}\n")
    return f"    Materials {{\n{''.join(lines)}    }}\n"
