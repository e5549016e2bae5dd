"""Blender in a process of its own, so that neither a crash nor its chatter reaches the caller."""

import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["SYSTEM_LIBRARIES", "BlenderCrashError", "BlenderUnavailableError", "render_in_own_process"]

# Debian and Ubuntu packages with the shared libraries that bpy 4.5 is linked to and that a bare system lacks.
SYSTEM_LIBRARIES = (
    "libgl1",
    "libice6",
    "libsm6",
    "libx11-6",
    "libxext6",
    "libxfixes3",
    "libxi6",
    "libxkbcommon0",
    "libxrender1",
)

IMPORT_FAILED = 3


class BlenderUnavailableError(ValueError):
    """Blender's Python module, or a system library that it needs, is not installed."""


class BlenderCrashError(ValueError):
    """Blender ended before the pictures were complete."""


def render_in_own_process(labels: np.ndarray, job: Mapping[str, Any], *, timeout_s: float) -> np.ndarray:
    """Render the slices of `job` in a new Python process.

    Parameters
    ----------
    labels : (Z, Y, X) uint8
    job : mapping
        Plain values for `synth.blender.render_worker`.
    timeout_s : float
        The process is ended after so many seconds.

    Returns
    -------
    (n, H, W) float32
        Linear brightness.

    Raises
    ------
    BlenderUnavailableError, BlenderCrashError
    """
    require_module()
    with tempfile.TemporaryDirectory(prefix="poreforge-blender-") as folder:
        np.save(Path(folder, "labels.npy"), labels)
        Path(folder, "job.json").write_text(json.dumps(dict(job)), encoding="utf-8")
        status, output = _run_worker(Path(folder), timeout_s)
        if status == IMPORT_FAILED:
            raise BlenderUnavailableError(_cannot_load(_last_line(output)))
        if status != 0:
            raise BlenderCrashError(
                f"Blender stopped ({_how_it_ended(status)}) before the slices were rendered; its last words: "
                f"'{_last_line(output)}'; try fewer slices, a smaller resolution or a smaller depth_vox"
            )
        return np.load(Path(folder, "grey.npy"))


def require_module() -> None:
    """Raise `BlenderUnavailableError` unless the module bpy is installed."""
    if importlib.util.find_spec("bpy") is not None:
        return
    running = platform.python_version()
    remedy = (
        "install it with: pip install 'poreforge[blender]'"
        if sys.version_info[:2] == (3, 11)
        else f"it exists for Python 3.11 only and this is {running}: make an environment with Python 3.11 and "
        "pip install 'poreforge[blender]' there"
    )
    raise BlenderUnavailableError(
        f"blender_stack needs Blender's module bpy, which is not installed; {remedy} (on Debian or Ubuntu also: "
        f"{_apt_line()}); synth.fibsem images the same structure without Blender"
    )


def _run_worker(folder: Path, timeout_s: float) -> tuple[int, str]:
    root = Path(__file__).resolve().parents[2]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Blender must neither read the user's preferences nor leave files of its own behind.
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "BLENDER_USER_RESOURCES": str(folder),
        "TMPDIR": str(folder),
    }
    # -P: a file of the working directory must not stand in for a module.
    command = [sys.executable, "-P", "-m", "synth.blender.render_worker", str(folder)]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise BlenderCrashError(
            f"Blender was not done after {timeout_s:g} s and was stopped; ask for fewer slices or samples, or raise "
            "timeout_s in the settings"
        ) from None
    return done.returncode, done.stdout


def _cannot_load(reason: str) -> str:
    return (
        f"Blender's module bpy is installed but cannot be loaded ({reason}); on Debian or Ubuntu install the system "
        f"libraries that it needs: {_apt_line()}"
    )


def _apt_line() -> str:
    return "apt-get install --yes " + " ".join(SYSTEM_LIBRARIES)


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "none"


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
