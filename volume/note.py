"""The note that keeps voxel size and phases exactly, wherever a format has room for a line of text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch import replace_when_complete
from volume.errors import VolumeFileError
from volume.model import Volume
from volume.voxel_size import VoxelSize, check_voxel_size

__all__ = [
    "Note",
    "from_note",
    "from_note_text",
    "note_text",
    "read_sidecar",
    "sidecar_path",
    "to_note",
    "write_sidecar",
]

KEYS = ("voxel_size_um", "phases", "shape")

Note = tuple[VoxelSize | None, tuple[str, ...] | None]


def to_note(volume: Volume) -> dict[str, Any]:
    """Return ``{"voxel_size_um": [z, y, x] or None, "phases": [...] or None}``."""
    return {
        "voxel_size_um": None if volume.voxel_size_um is None else list(volume.voxel_size_um),
        "phases": None if volume.phases is None else list(volume.phases),
    }


def from_note(note: Mapping[str, Any] | None) -> Note:
    """Return voxel size and phases of a note; what is not there is ``None``."""
    if not note:
        return None, None
    phases = note.get("phases")
    return check_voxel_size(note.get("voxel_size_um")), None if phases is None else tuple(phases)


def note_text(volume: Volume) -> str:
    """Return the note as one line of ASCII."""
    return json.dumps(to_note(volume))


def from_note_text(text: Any) -> Note:
    """Read `note_text`; text of another origin is no note."""
    try:
        note = json.loads(text)
    except (TypeError, ValueError):
        return None, None
    return from_note(note if isinstance(note, dict) else None)


def sidecar_path(path: Path) -> Path:
    """Return the JSON file for a data file: ``name.npy`` → ``name.json``, or ``name.npy.json`` if that is taken."""
    short, long = path.with_suffix(".json"), path.with_name(f"{path.name}.json")
    if long.is_file():
        return long
    return short if not short.is_file() or _is_about(read_sidecar(short), path) else long


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """Return the note in the JSON file `path`, or ``None`` if there is no such file or it is no note.

    Raises
    ------
    VolumeFileError
        If the file is not JSON.
    """
    if not path.is_file():
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise VolumeFileError(f"'{path}' beside the data is not valid JSON ({error}); mend or remove it") from error
    return note if isinstance(note, dict) and any(key in note for key in KEYS) else None


def write_sidecar(path: Path, note: Mapping[str, Any]) -> None:
    """Write a note as the JSON file `path`, completely or not at all."""
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def _is_about(note: Mapping[str, Any] | None, path: Path) -> bool:
    """Tell whether a note is about the data file `path`, and not about another one that is still beside it."""
    if note is None:
        return False
    # A handwritten note may not name its file; only bare voxels need their type told.
    name = note.get("file") or (path.with_suffix(".raw").name if "dtype" in note else path.name)
    return name == path.name or not (path.parent / str(name)).is_file()
