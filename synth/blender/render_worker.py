"""The process that Blender runs in: ``python render_worker.py FOLDER NUMBER`` renders some of a job's slices."""

import json
import os
import shutil
import signal
import sys
import threading
import types
from pathlib import Path

import numpy as np

__all__ = ["main"]


def main(folder: str, number: str) -> int:
    """Render part `number` of the job in `folder` into its ``grey-NUMBER.npy``; return the exit status."""
    # Ctrl-C reaches this process too; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    _leave_out_the_rest_of_synth()
    from synth.blender.process import IMPORT_FAILED, NO_GRAPHICS_CARD

    job = json.loads(Path(folder, "job.json").read_text(encoding="utf-8"))
    try:
        _import_blender(job["threads"])
    except ImportError as error:
        print(error, flush=True)
        return IMPORT_FAILED
    from synth.blender.scene import NoGraphicsCardError, Scene

    labels = np.load(Path(folder, "labels.npy"), mmap_mode="r")
    try:
        scene = Scene(labels, job, Path(folder, f"slice-{number}.exr"))
    except NoGraphicsCardError:
        return NO_GRAPHICS_CARD
    slices = job["parts"][int(number)]
    np.save(Path(folder, f"grey-{number}.npy"), np.stack([scene.render(z) for z in slices]))
    return 0


def _leave_out_the_rest_of_synth() -> None:
    """Let modules of this folder be imported without their packages, which take as long to load as Blender."""
    here = Path(__file__).resolve().parent
    for name, folder in (("synth", here.parent), ("synth.blender", here)):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package


def _end_with_parent(folder: str) -> None:
    """Wait until the pipe from the parent closes, which it does even if the parent is killed; leave nothing."""
    # Nothing is ever sent. Not through sys.stdin, whose lock would stop this process from ending.
    os.read(0, 1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _import_blender(threads: int) -> None:
    """Import bpy as if the machine had no more cores than that, or idle threads of its pool would spin on them."""
    if not hasattr(os, "sched_setaffinity"):
        import bpy

        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:threads])
    try:
        import bpy  # noqa: F401
    finally:
        os.sched_setaffinity(0, cores)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
