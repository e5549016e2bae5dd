"""What the workflows' outputs share: their names, and numbers as strict JSON."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch import replace_when_complete
from volume import accepted_suffixes

__all__ = ["bare_name", "software_facts", "write_summary"]


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


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
