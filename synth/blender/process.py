"""Blender in processes of its own, so that neither a crash nor its chatter reaches the caller."""

import contextlib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["SYSTEM_LIBRARIES", "BlenderCrashError", "BlenderUnavailableError", "render_in_own_processes"]

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
NO_GRAPHICS_CARD = 4
# A process takes about two seconds to start, and half a GiB.
SLICES_PER_PROCESS = 4
MOST_PROCESSES = 16
POLL_S = 0.02


class BlenderUnavailableError(ValueError):
    """Blender's Python module, a system library that it needs, or the graphics card asked for is not there."""


class BlenderCrashError(ValueError):
    """Blender ended before the pictures were complete."""


def render_in_own_processes(
    labels: np.ndarray, job: Mapping[str, Any], *, slices: Sequence[int], threads: int, timeout_s: float
) -> np.ndarray:
    """Render slices in new Python processes, each its share of neighbouring slices.

    Parameters
    ----------
    labels : (Z, Y, X) uint8
    job : mapping
        Plain values for `synth.blender.scene.Scene`.
    slices : sequence of int
        Layers to cut at, in rising order.
    threads : int
        Threads that all processes together may use.
    timeout_s : float
        They are ended after so many seconds.

    Returns
    -------
    (n, H, W) float32
        Linear brightness. It depends neither on the number of processes nor on that of their threads.

    Raises
    ------
    BlenderUnavailableError, BlenderCrashError
    """
    require_module()
    # One graphics card is not faster for two.
    most = 1 if job["settings"]["device"] == "gpu" else min(threads, MOST_PROCESSES)
    n = max(1, min(most, len(slices) // SLICES_PER_PROCESS))
    parts = [[int(z) for z in part] for part in np.array_split(np.asarray(slices), n)]
    plan = dict(job) | {"parts": parts, "threads": max(1, threads // n)}
    with _work_folder() as folder:
        np.save(folder / "labels.npy", labels)
        (folder / "job.json").write_text(json.dumps(plan), encoding="utf-8")
        _run_workers(folder, n, timeout_s)
        return np.concatenate([np.load(folder / f"grey-{i}.npy") for i in range(n)])


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


@contextlib.contextmanager
def _work_folder() -> Iterator[Path]:
    """Give a temporary folder; that it cannot be written to becomes one sentence."""
    try:
        with tempfile.TemporaryDirectory(prefix="poreforge-blender-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        raise BlenderCrashError(
            f"Blender's pictures cannot be kept in the temporary folder {tempfile.gettempdir()} ({error.strerror}); "
            "make room there or set TMPDIR to another folder"
        ) from error


def _run_workers(folder: Path, count: int, timeout_s: float) -> None:
    """Run all workers to their end; the first that fails ends the others."""
    ends = time.monotonic() + timeout_s
    workers: list[subprocess.Popen[bytes]] = []
    try:
        workers += (_start_worker(folder, i) for i in range(count))
        while None in (states := [worker.poll() for worker in workers]) and not any(states):
            if time.monotonic() > ends:
                raise BlenderCrashError(
                    f"Blender was not done after {timeout_s:g} s and was stopped; ask for fewer slices or samples, or "
                    "raise timeout_s in the settings"
                )
            time.sleep(POLL_S)
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait()
            if worker.stdin:
                worker.stdin.close()
    for i, status in enumerate(states):
        if status:
            _refuse(status, _words(folder, i).read_text(encoding="utf-8", errors="replace"))


def _start_worker(folder: Path, number: int) -> "subprocess.Popen[bytes]":
    # Blender must neither read the user's preferences nor leave files of its own behind.
    environment = os.environ | {
        "BLENDER_USER_RESOURCES": str(folder),
        "TMPDIR": str(folder),
        # What is not Blender needs one thread here.
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    }
    # -P: a file of the working directory must not stand in for a module.
    command = [sys.executable, "-P", str(Path(__file__).with_name("render_worker.py")), str(folder), str(number)]
    with _words(folder, number).open("wb") as words:
        # The worker ends when this pipe does: nothing is ever written to it.
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=words, stderr=subprocess.STDOUT, bufsize=0
        )


def _words(folder: Path, number: int) -> Path:
    return folder / f"words-{number}.txt"


def _refuse(status: int, output: str) -> None:
    """Raise what a worker's exit status and last words mean."""
    if status == IMPORT_FAILED:
        raise BlenderUnavailableError(
            f"Blender's module bpy is installed but cannot be loaded ({_last_line(output)}); on Debian or Ubuntu "
            f"install the system libraries that it needs: {_apt_line()}"
        )
    if status == NO_GRAPHICS_CARD:
        raise BlenderUnavailableError(
            "device is 'gpu' but Blender finds no graphics card to render with (by OptiX, CUDA, HIP, Metal or oneAPI); "
            "install the card's driver or set device to 'cpu'"
        )
    raise BlenderCrashError(
        f"Blender stopped ({_how_it_ended(status)}) before the slices were rendered; its last words: "
        f"'{_last_line(output)}'; try fewer slices, a smaller resolution or a smaller depth_vox"
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
