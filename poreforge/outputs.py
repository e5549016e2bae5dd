"""What the workflows' outputs share: their names, and numbers as strict JSON."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import replace_when_complete
from volume import Volume, accepted_suffixes, choose_for_writing, write, write_slabs

__all__ = ["PROBABILITY", "bare_name", "read_summary", "software_facts", "write_labels", "write_summary"]

# What the name of the probabilities has more than that of the labels.
PROBABILITY = "-probability"


def bare_name(path: str | Path) -> str:
    """Return the name of a volume's file or folder without the ending of its format: ``a.1`` for ``a.1.ome.tif``."""
    name = Path(path).absolute().name
    suffix = Path(name).suffix
    if suffix.lower() not in accepted_suffixes().split(", "):
        return name
    stem = name.removesuffix(suffix)
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def software_facts(software: Mapping[str, Any]) -> dict[str, str]:
    """Return what `launch.describe_software` found, line by line for the foot of a report."""
    return {
        "Commit": software["commit"] or "not in a git checkout",
        "Machine": f"{software['machine']}, Python {software['python']}",
        "Packages": ", ".join(f"{name} {version}" for name, version in software["packages"].items()),
    }


def write_summary(path: str | Path, summary: Mapping[str, Any]) -> None:
    """Write `summary` as JSON, complete or not at all; numbers that are NaN or infinite become ``null``."""
    text = json.dumps(_strict(summary), indent=2, allow_nan=False)
    with replace_when_complete(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_summary(path: str | Path) -> dict[str, Any]:
    """Read what `write_summary` has written.

    Raises
    ------
    ValueError
        If it cannot be read.
    """
    try:
        return dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"'{path}' cannot be read as a summary ({error}); remove it, or make it anew") from error


def write_labels(
    path: Path, slabs: Iterable[np.ndarray], *, shape: Sequence[int], voxel_size_um: Any, phases: tuple[str, ...]
) -> None:
    """Write labels that come slab by slab; they are held as a whole only for formats other than TIFF and Zarr."""
    if hasattr(choose_for_writing(path), "write_slabs"):
        write_slabs(path, slabs, shape=shape, voxel_size_um=voxel_size_um, phases=phases)
    else:
        write(path, Volume(np.concatenate(list(slabs)), voxel_size_um, phases))


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
