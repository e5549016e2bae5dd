import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from synth.blender import BlenderCrashError, BlenderSettings, BlenderUnavailableError, blender_stack, process

needs_blender = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="bpy is not installed")
needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")

ENDLESS = """
import sys, tempfile
import numpy as np
from synth.blender import BlenderSettings, blender_stack
tempfile.tempdir = sys.argv[1]
blender_stack(np.ones((16, 8, 8), int), samples=10**6, depth_vox=8, settings=BlenderSettings(threads=2))
"""


def workers_in(folder: Path) -> list[int]:
    """Ids of the living render processes whose work folder lies in `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if any("render_worker.py" in word for word in words) and any(str(folder) in word for word in words):
            found.append(int(entry.name))
    return found


def wait_until(condition, seconds: float = 60.0) -> bool:
    ends = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends:
        time.sleep(0.05)
    return condition()


@needs_blender
def test_a_slice_has_the_same_bytes_alone_and_in_a_stack_on_any_number_of_processes_and_threads():
    labels = (np.random.default_rng(2).random((30, 20, 16)) < 0.6).astype(np.uint8)
    calls = [(range(8), 2), ([1, 6], 1), ([6], 2)]
    stacks = [
        blender_stack(labels, slices=cuts, depth_vox=12, rng=7, settings=BlenderSettings(threads=threads))
        for cuts, threads in calls
    ]
    whole = stacks[0].grey
    assert len(np.unique(whole)) > 500
    for (cuts, _), stack in zip(calls, stacks, strict=True):
        assert stack.grey.tobytes() == whole[list(cuts)].tobytes()


@needs_blender
@needs_proc
def test_a_killed_worker_becomes_one_sentence_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(process.tempfile, "tempdir", str(tmp_path))

    def kill_one() -> None:
        if wait_until(lambda: len(workers_in(tmp_path)) == 2):
            os.kill(max(workers_in(tmp_path)), signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(BlenderCrashError, match=r"Blender stopped \(SIGKILL\)") as caught:
        blender_stack(np.ones((16, 8, 8), int), samples=10**6, settings=BlenderSettings(threads=2))
    killer.join()
    assert "\n" not in str(caught.value)
    assert not workers_in(tmp_path)
    assert not list(tmp_path.iterdir())


@needs_blender
@needs_proc
def test_a_killed_parent_leaves_neither_workers_nor_folders(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], cwd=Path(__file__).parents[2])
    try:
        assert wait_until(lambda: len(workers_in(tmp_path)) == 2)
        assert list(tmp_path.iterdir())
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert wait_until(lambda: not workers_in(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_becomes_one_sentence_that_names_the_folder(monkeypatch, tmp_path):
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(process, "require_module", lambda: None)
    monkeypatch.setattr(process.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(process.np, "save", full)
    with pytest.raises(BlenderCrashError, match=rf"{tmp_path} \(No space left on device\); make room"):
        blender_stack(np.ones((2, 8, 8), int))
    assert not list(tmp_path.iterdir())


@needs_blender
def test_no_graphics_card_is_one_clear_sentence():
    if Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists() or Path("/dev/dri").exists():
        pytest.skip("this machine may have a graphics card")
    with pytest.raises(BlenderUnavailableError, match=r"no graphics card to render with.*set device to 'cpu'"):
        blender_stack(np.ones((2, 8, 8), int), settings=BlenderSettings(device="gpu"))
