"""What OME-XML says about voxel size and phases."""

import json
from xml.etree import ElementTree

from volume.model import Volume
from volume.note import Note, from_note_text
from volume.voxel_size import from_header, micrometres_per

__all__ = ["from_ome_xml", "to_ome_metadata"]

NAMESPACE = "poreforge"


def from_ome_xml(xml: str) -> Note:
    """Return voxel size in micrometres and phases of the first image; the schema's default unit is µm.

    The size is ``None`` unless all of ``PhysicalSizeX``, ``Y`` and ``Z`` are there in a unit of length.
    """
    root = ElementTree.fromstring(xml)
    pixels = root.find(".//{*}Pixels")
    phases = None
    for annotation in root.iterfind(".//{*}MapAnnotation"):
        if annotation.get("Namespace") == NAMESPACE:
            entries = {entry.get("K"): entry.text for entry in annotation.iterfind(".//{*}M")}
            _, phases = from_note_text(entries.get("note"))
    size = None if pixels is None else [_length(pixels, name) for name in "ZYX"]
    return from_header(size, None), phases


def to_ome_metadata(volume: Volume) -> dict[str, object]:
    """Return what tifffile's OME writer needs to state voxel size and phases."""
    metadata: dict[str, object] = {"axes": "ZYX"}
    for name, size in zip("ZYX", volume.voxel_size_um or (), strict=False):
        metadata |= {f"PhysicalSize{name}": size, f"PhysicalSize{name}Unit": "µm"}
    if volume.phases is not None:
        metadata["MapAnnotation"] = {"Namespace": NAMESPACE, "note": json.dumps({"phases": volume.phases})}
    return metadata


def _length(pixels: ElementTree.Element, name: str) -> float | None:
    size = pixels.get(f"PhysicalSize{name}")
    unit = micrometres_per(pixels.get(f"PhysicalSize{name}Unit", "µm"))
    return None if size is None or unit is None else float(size) * unit
