"""What is compared: the volumes of each method, found, read and held to the same footing as the real one."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.accepted_input import as_labels
from poreforge.characterise import read_labels
from poreforge.outputs import bare_name
from volume import Volume, accepted_suffixes, read
from volume.formats.registry import choose_for_reading
from volume.formats.slices import KINDS

__all__ = ["REAL", "Footing", "digest_of", "labels_of", "list_volumes", "name_methods", "survey"]

REAL = "real"
RELATIVE_SIZE_ERROR = 1e-3


@dataclasses.dataclass(frozen=True)
class Footing:
    """What all volumes of a comparison share.

    Attributes
    ----------
    phases : tuple of str
        Names of the labels.
    voxel_size_um : tuple of float or None
        Of every volume.
    notes : tuple of str
        What was changed or taken for granted.
    """

    phases: tuple[str, ...]
    voxel_size_um: tuple[float, float, float] | None
    notes: tuple[str, ...]


def name_methods(given: Sequence[str]) -> dict[str, list[Path]]:
    """Turn ``NAME=PATH`` or ``PATH`` into the volumes of each method, by name.

    Parameters
    ----------
    given : sequence of str
        Each a file, or a folder as `list_volumes` takes it. Without a name the file's or folder's own is taken.

    Raises
    ------
    ValueError
        For two methods of one name, one without a name, or a path that holds no volume.
    """
    found: dict[str, list[Path]] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            name, path = bare_name(text), text
        if not name or not path:
            raise ValueError(f"--generated is '{text}'; give DIR, or NAME=DIR with a name for the method")
        if name in found or name == REAL:
            taken = "two methods are" if name in found else "a method is"
            raise ValueError(f"{taken} called '{name}'; give each a name of its own: --generated NAME=DIR")
        found[name] = list_volumes(path)
    if not found:
        raise ValueError("nothing to compare with; give at least one --generated DIR")
    return found


def list_volumes(path: str | Path) -> list[Path]:
    """Return the volumes at a path: itself, or those that the folder holds, by name.

    A folder of slices and an OME-Zarr are one volume each. Of a folder with volumes and pictures (PNG, JPEG) the
    volumes are taken.

    Raises
    ------
    ValueError
        A folder without volumes.
    """
    path = Path(path)
    # What does not exist is refused in one sentence where it is read.
    if not path.is_dir() or choose_for_reading(path).NAME != "folder of slices":
        return [path]
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    pictures = [entry for entry in entries if entry.suffix.lower() in KINDS]
    suffixes = tuple(suffix for suffix in accepted_suffixes().split(", ") if KINDS.get(suffix, "TIFF") == "TIFF")
    volumes = sorted((entry for entry in entries if entry.name.lower().endswith(suffixes)), key=_natural)
    if volumes and (volumes[0].suffix.lower() not in KINDS or len(read(volumes[0]).array) > 1):
        return volumes
    if pictures:
        return [path]
    raise ValueError(f"the folder '{path}' holds no volumes; accepted are {accepted_suffixes()}")


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def labels_of(item: Any, *, voxel_size_um: Sequence[float] | None = None) -> tuple[Volume, list[str]]:
    """Return a path, a volume, a structure or an array as labels, and notes on what was changed.

    Raises
    ------
    ValueError
        If it cannot be read or holds no labels.
    """
    if isinstance(item, str | Path):
        return read_labels(item, voxel_size_um=voxel_size_um)
    array = as_labels(item, "a volume", ndim=(3,)).astype(np.uint8, copy=False)
    names = getattr(item, "phases", None)
    size = voxel_size_um if voxel_size_um is not None else getattr(item, "voxel_size_um", None)
    return Volume(array, size, tuple(names) if names else None), []  # type: ignore[arg-type]


def survey(
    real: Any, generated: Mapping[str, Sequence[Any]], *, edge: int, voxel_size_um: Sequence[float] | None = None
) -> Footing:
    """Read every volume once and refuse what cannot be compared.

    Parameters
    ----------
    real : path, volume or array_like
        The real material.
    generated : mapping
        From the name of each method to its volumes.
    edge : int
        Voxels along an edge of the cubes that are measured.
    voxel_size_um : (float, float, float), optional
        Of all volumes, in place of what they say.

    Returns
    -------
    Footing

    Raises
    ------
    ValueError
        Different voxel sizes or numbers of phases, a volume smaller than a cube, a method without volumes.
    """
    known, notes = labels_of(real, voxel_size_um=voxel_size_um)
    _check_size(known, _called(real, REAL), edge)
    n = int(known.array.max()) + 1
    names = known.phases or ("pore", *(f"phase {k}" for k in range(1, n)))
    size, said = known.voxel_size_um, [f"real: {note}" for note in notes]
    for method, items in generated.items():
        if not len(items):
            raise ValueError(f"the method '{method}' has no volumes; give at least one")
        highest = 0
        for item in items:
            found, notes = labels_of(item, voxel_size_um=voxel_size_um)
            called = _called(item, method)
            _check_size(found, called, edge)
            size = _agreed(size, found.voxel_size_um, called)
            highest = max(highest, int(found.array.max()))
            said += [f"{called}: {note}" for note in notes]
        if highest + 1 != n:
            raise ValueError(
                f"the volumes of '{method}' hold labels up to {highest}, the real one up to {n - 1}; "
                f"give volumes of the same {n} phases"
            )
    if size is not None and known.voxel_size_um is None:
        said.append("the real volume does not tell its voxel size; that of the generated ones was taken")
    return Footing(names[:n], size, tuple(said))


def _called(item: Any, name: str) -> str:
    return f"'{item}'" if isinstance(item, str | Path) else f"a volume of '{name}'"


def _check_size(found: Volume, called: str, edge: int) -> None:
    if min(found.shape) < edge:
        raise ValueError(
            f"{called} has the shape {found.shape}, less than the cubes of {edge} voxels that are measured; "
            "give larger volumes or a smaller --subvolume"
        )


def _agreed(size: Any, other: Any, called: str) -> Any:
    if size is None or other is None:
        return size if other is None else other
    if not np.allclose(size, other, rtol=RELATIVE_SIZE_ERROR):
        raise ValueError(
            f"{called} has voxels of {tuple(other)} µm, the volumes before of {tuple(size)}; bring them to one "
            "voxel size, or state it with --voxel-size"
        )
    return size


def digest_of(labels: Volume, *settings: Any) -> str:
    """Return what tells one volume, measured in one way, from another."""
    digest = hashlib.sha256(repr((labels.shape, *settings)).encode())
    digest.update(np.ascontiguousarray(labels.array).data)
    return digest.hexdigest()[:16]
