"""What a run leaves beside its results, so that it can be repeated: settings, seed, commit, versions."""

import datetime
import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from launch.config import to_plain
from launch.files import make_output_folder, replace_when_complete

__all__ = ["describe_software", "write_record"]

PACKAGES = (
    "accelerate", "bpy", "diffusers", "numpy", "poreforge", "quantimpy", "safetensors", "scikit-image", "scipy",
    "tifffile", "torch", "zarr",
)  # fmt: skip


def describe_software() -> dict[str, Any]:
    """Return the Python version, the machine, the git commit (if any) and the versions of the packages."""
    return {
        "python": sys.version.split()[0],
        "machine": f"{platform.system()} {platform.machine()}",
        "commit": _git_commit(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def write_record(folder: str | Path, config: Any, *, seed: int | None) -> Path:
    """Write ``run.json`` into `folder`: the resolved configuration, the seed and the software.

    Parameters
    ----------
    folder : path-like
        The run folder; made if it is not there.
    config : dataclass
        The resolved configuration.
    seed : int or None
        The seed that everything random in the run derives from.

    Returns
    -------
    Path
        The file written.
    """
    record = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "seed": seed,
        "config": to_plain(config),
        "software": describe_software(),
    }
    path = make_output_folder(folder) / "run.json"
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        # Installed: git would look further up and find whatever repository holds the environment.
        return None
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
