import importlib.util
import math
import subprocess
import sys

import numpy as np
import pytest

from synth.blender import (
    SYSTEM_LIBRARIES,
    BlenderCrashError,
    BlenderSettings,
    BlenderUnavailableError,
    blender_stack,
    process,
)
from synth.blender.camera import FaceCamera
from synth.blender.face import cut_face
from synth.blender.patch import Patch
from synth.blender.walls import SLAB, Walls
from synth.laws import Uniform

needs_blender = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="bpy is not installed")

BARE = BlenderSettings(wall_brightness=0.05, rim=0.0, edge=0.0, grain=0.0, roughness=0.0, threads=1)
CELL = 8


@pytest.fixture(scope="module")
def checker():
    y, x = np.indices((40, 32)) // CELL
    labels = np.repeat(((y + x) % 2 == 0)[None], 12, axis=0)
    return labels, blender_stack(labels, slices=[3], resolution=64, settings=BARE)


@pytest.fixture(scope="module")
def wells():
    """A solid block of two phases with a shallow well and a hole through and through."""
    labels = np.ones((48, 32, 32), dtype=np.uint8)
    labels[:, :, 24:] = 2
    labels[:10, 6:26, 2:11] = 0
    labels[:, 6:26, 13:22] = 0
    return labels, blender_stack(labels, slices=[4, -44, 2], samples=4, rng=7, settings=BlenderSettings(threads=1))


def edges_along(profile: np.ndarray) -> np.ndarray:
    """Positions, in pixels from the first pixel's outer border, where a profile crosses half its height."""
    above = profile - (profile.max() + profile.min()) / 2
    before = np.nonzero((above[:-1] > 0) != (above[1:] > 0))[0]
    return before + above[before] / (above[before] - above[before + 1]) + 0.5


@needs_blender
def test_checker_edges_lie_within_half_a_pixel_along_x(checker):
    _, stack = checker
    expected = np.arange(CELL, 32, CELL) * 2.0
    middle_of_cells = (np.arange(5) + 0.5) * CELL
    rows = [np.argmin(abs(FaceCamera((40, 32), stack.shape[1:], 52.0).positions()[0] - y)) for y in middle_of_cells]
    for row in rows:
        np.testing.assert_allclose(edges_along(stack.grey[0, row]), expected, atol=0.5)


@needs_blender
def test_checker_edges_lie_within_half_a_pixel_along_the_foreshortened_y(checker):
    _, stack = checker
    scale = 2.0 * math.cos(math.radians(52.0))
    expected = stack.shape[1] / 2 + (np.arange(CELL, 40, CELL) - 20) * scale
    for column in range(CELL, 64, 2 * CELL):
        np.testing.assert_allclose(edges_along(stack.grey[0, :, column]), expected, atol=0.5)


@needs_blender
def test_a_threshold_finds_the_labels_wherever_a_pixel_is_not_cut_by_an_edge(checker):
    _, stack = checker
    bright = stack.grey[0] > 0.35
    wrong = bright != (stack.labels[0] > 0)
    same = np.ones_like(wrong)
    for axis in (0, 1):
        for step in (-1, 1):
            same &= np.roll(stack.labels[0], step, axis) == stack.labels[0]
    assert not wrong[same].any()
    assert wrong.mean() < 0.05


@needs_blender
@pytest.mark.parametrize("tilt", [0.0, 60.0])
def test_height_of_a_bar_shrinks_by_the_cosine_of_the_tilt(tilt):
    labels = np.zeros((4, 40, 16), dtype=np.uint8)
    labels[:, 6:26, 3:11] = 1
    grey = blender_stack(labels, slices=[0], tilt_deg=tilt, settings=BARE).grey[0]
    cosine = math.cos(math.radians(tilt))
    top, bottom = edges_along(grey[:, 7])
    assert bottom - top == pytest.approx(20 * cosine, abs=0.5)
    # Off-centre on purpose: neither y nor x may be turned round.
    assert top == pytest.approx(grey.shape[0] / 2 + (6 - 20) * cosine, abs=0.5)
    np.testing.assert_allclose(edges_along(grey[round((top + bottom) / 2)]), [3, 11], atol=0.5)


@needs_blender
def test_stack_is_grey_with_one_slice_a_cut(wells):
    labels, stack = wells
    assert stack.shape == (3, round(32 * math.cos(math.radians(52))), 32)
    assert stack.grey.dtype == np.float32
    assert 0 <= stack.grey.min() < stack.grey.max() <= 1
    np.testing.assert_array_equal(np.asarray(stack), stack.grey)
    np.testing.assert_array_equal(stack.slices, [4, 4, 2])
    np.testing.assert_array_equal(stack.corrected_labels, labels[[4, 4, 2]])
    assert stack.corrected.shape == (3, 32, 32)
    assert stack.corrected.dtype == np.float32
    assert stack.face.all()


@needs_blender
def test_face_is_brighter_than_pores_and_phases_differ(wells):
    _, stack = wells
    pore, first, second = (stack.grey[stack.labels == label].mean() for label in range(3))
    assert pore < first - 0.1 < second - 0.2


@needs_blender
def test_a_floor_shows_through_its_pore_and_a_through_hole_stays_dark(wells):
    _, stack = wells
    rows = slice(8, 13)  # lower down the tilted view meets the wall instead of the floor
    floor, hole = stack.grey[0, rows, 4:9].mean(), stack.grey[0, rows, 15:20].mean()
    assert floor > hole + 0.05


@needs_blender
def test_corrected_slice_agrees_with_the_labels_voxel_by_voxel(checker):
    _, stack = checker
    agree = (stack.corrected[0] > 0.35) == (stack.corrected_labels[0] > 0)
    inner = np.indices(agree.shape) % CELL
    assert agree[np.all((inner > 0) & (inner < CELL - 1), axis=0)].all()
    assert agree.mean() > 0.97


@needs_blender
def test_empty_volume_is_black_and_full_volume_is_bright():
    empty = blender_stack(np.zeros((4, 8, 8), dtype=int), slices=[0])
    full = blender_stack(np.ones((4, 8, 8), dtype=int), slices=[-1])
    assert empty.grey.max() == 0
    assert full.grey.min() > 0.4
    assert (full.labels == 1).all()


@needs_blender
def test_a_timeout_is_one_clear_sentence():
    with pytest.raises(BlenderCrashError, match=r"not done after 0\.01 s"):
        blender_stack(np.ones((2, 8, 8), dtype=int), settings=BlenderSettings(timeout_s=0.01))


def test_missing_module_names_the_extra_and_the_system_packages(monkeypatch):
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BlenderUnavailableError, match=r"poreforge\[blender\]") as caught:
        blender_stack(np.ones((2, 8, 8), dtype=int))
    assert all(name in str(caught.value) for name in SYSTEM_LIBRARIES)
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    with pytest.raises(BlenderUnavailableError, match=r"Python 3\.11 only"):
        blender_stack(np.ones((2, 8, 8), dtype=int))


@pytest.mark.parametrize(
    ("dies", "error", "sentence"),
    [
        ("print('libXi.so.6: cannot open'); exit(3)", BlenderUnavailableError, r"libXi\.so\.6.*apt-get install"),
        ("exit(4)", BlenderUnavailableError, r"no graphics card.*set device to 'cpu'"),
        (
            "print('Fra:1\\nWriting crash.txt\\n', flush=True); import os; os.kill(os.getpid(), 11)",
            BlenderCrashError,
            r"SIGSEGV.*'Writing crash\.txt'",
        ),
        ("exit(1)", BlenderCrashError, "exit status 1"),
    ],
)
def test_one_dead_blender_among_several_becomes_one_clear_sentence(monkeypatch, tmp_path, dies, error, sentence):
    workers = []

    def start(folder, number):
        code = dies if number == 1 else "import time; time.sleep(600)"
        with (folder / f"words-{number}.txt").open("wb") as words:
            workers.append(subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=words))
        return workers[-1]

    monkeypatch.setattr(process, "require_module", lambda: None)
    monkeypatch.setattr(process, "_start_worker", start)
    monkeypatch.setattr(process.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(error, match=sentence):
        blender_stack(np.ones((12, 8, 8), dtype=int), settings=BlenderSettings(threads=3))
    assert len(workers) == 3
    assert all(worker.poll() is not None for worker in workers)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels": np.ones((4, 8))}, r"shape is \(4, 8\)"),
        ({"labels": np.ones((0, 8, 8), int)}, "non-empty array"),
        ({"labels": np.ones((4, 8, 8))}, "float64"),
        ({"labels": np.full((4, 8, 8), -1)}, "-1 and -1"),
        ({"labels": np.full((4, 8, 8), 256)}, "256 and 256"),
        ({"slices": [4]}, "slice 4 does not exist"),
        ({"slices": [-5]}, "slice -5 does not exist"),
        ({"slices": []}, "empty"),
        ({"slices": [0.5]}, "whole-number"),
        ({"tilt_deg": 90.0}, r"\[0, 90\)"),
        ({"tilt_deg": -1.0}, r"\[0, 90\)"),
        ({"tilt_deg": math.nan}, r"\[0, 90\)"),
        ({"resolution": 0}, "at least 4"),
        ({"resolution": (4, 64)}, "4 rows"),
        ({"samples": 0}, "samples"),
        ({"depth_vox": 2.5}, "depth_vox"),
        ({"settings": BlenderSettings(rim=Uniform(0.0, 1.0))}, "hold laws"),
        ({"settings": BlenderSettings(phase_brightness=(0.5,)), "labels": np.full((4, 8, 8), 2)}, "go up to 2"),
    ],
)
def test_bad_input_is_refused_with_what_came(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        blender_stack(**({"labels": np.ones((4, 8, 8), int)} | changes))


@pytest.mark.parametrize(
    "setting",
    [
        {"sun": 1.5},
        {"gamma": 0.0},
        {"grain": math.nan},
        {"rim": Uniform(-0.1, 1.0)},
        {"phase_brightness": (0.0,)},
        {"timeout_s": 0.0},
        {"threads": 1.5},
        {"threads": -1},
        {"device": "cuda"},
        {"denoise": 1},
    ],
)
def test_settings_that_cannot_be_rendered_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        BlenderSettings(**setting)


def test_camera_projects_and_corrects_a_linear_ramp_exactly():
    camera = FaceCamera.framing((30, 20), tilt_deg=52.0, resolution=(70, 40))
    y, _ = camera.positions()
    ramp = np.broadcast_to(y[:, None], camera.shape)
    np.testing.assert_allclose(camera.correct(ramp), np.broadcast_to(np.arange(30)[:, None] + 0.5, (30, 20)), atol=1e-4)
    rows = np.broadcast_to(np.arange(30)[:, None], (30, 20))
    np.testing.assert_array_equal(camera.project(rows)[camera.face()], np.floor(ramp[camera.face()]))
    assert 0.5 < camera.face().mean() < 1


def test_walls_of_a_flat_layer_lie_where_the_voxels_change():
    labels = np.zeros((20, 8, 8), dtype=np.uint8)
    labels[9:] = 1
    walls = Walls(labels, np.array([0, 0.5], np.float32)).slab(1)
    np.testing.assert_allclose(walls.points[:, 0], 9.0, atol=0.02)
    np.testing.assert_allclose(walls.brightness, 0.5)
    np.testing.assert_allclose(walls.normals, np.broadcast_to([-1.0, 0, 0], walls.normals.shape), atol=1e-3)


def test_walls_of_a_ball_stay_within_half_a_voxel_of_it_and_face_outwards():
    z, y, x = np.indices((32, 32, 32)) - 15.5
    labels = (z**2 + y**2 + x**2 < 12**2).astype(np.uint8)
    walls = Walls(labels, np.array([0, 1], np.float32))
    for patch in (walls.slab(1), walls.slab(2), walls.top(11)):
        inside = np.all((patch.points > 0) & (patch.points < 32), axis=1)
        outwards = patch.points[inside] - 16.0
        radius = np.linalg.norm(outwards, axis=1)
        assert abs(radius - 12).max() < 0.5
        assert radius.std() < 0.2
        # A step of the voxels turns the normal by some degrees.
        assert ((outwards / radius[:, None] * patch.normals[inside]).sum(axis=1) > math.cos(math.radians(30))).all()


def noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) < 0.5).astype(np.uint8)


def test_band_and_walls_leave_no_gap_behind_the_cut_face():
    labels, brightness = noise((12, 10, 10), 3), np.array([0, 1], np.float32)
    rims = cut_face(labels, 2, brightness).rims
    lower = rims.points[rims.points[:, 0] > 2]
    wall = {tuple(p) for p in np.round(Walls(labels, brightness).top(2).points, 3)}
    assert {tuple(p) for p in np.round(lower, 3)} <= wall


def open_edges(patches: list[Patch]) -> np.ndarray:
    """Middles of the edges that belong to one triangle only."""
    points = np.concatenate([p.points[p.corners] for p in patches]).round(3)
    ends = np.concatenate([points[:, [i, (i + 1) % 3]] for i in range(3)])
    edges, count = np.unique(np.sort(ends.view("f4,f4,f4").squeeze(-1), axis=1), axis=0, return_counts=True)
    lonely = edges[count == 1].view("f4").reshape(-1, 2, 3)
    return lonely.mean(axis=1)


@pytest.mark.parametrize("z", [5, 6, 7, 8])
def test_slabs_and_the_part_above_them_join_without_a_gap(z):
    labels = noise((40, 9, 9), 5)
    walls = Walls(labels, np.array([0, 1], np.float32))
    behind = walls.behind(z, 20)
    middles = open_edges([walls.top(z), *(walls.slab(k) for k in behind)])
    first, last = z + 0.5, behind.stop * SLAB + 0.5
    inner = (middles[:, 0] > first + 0.01) & (middles[:, 0] < last - 0.01)
    inner &= np.all((middles[:, 1:] > -7) & (middles[:, 1:] < 9 + 7), axis=1)
    assert len(middles)
    assert not inner.any()


def test_normals_agree_on_both_sides_of_the_border_of_two_slabs():
    labels = noise((40, 9, 9), 6)
    walls = Walls(labels, np.array([0, 1], np.float32))
    sides = []
    for patch in (walls.slab(1), walls.slab(2), walls.top(10)):
        at_border = patch.points[:, 0] == 2 * SLAB + 0.5
        order = np.lexsort(patch.points[at_border].T)
        sides.append((patch.points[at_border][order], patch.normals[at_border][order]))
    assert len(sides[0][0]) > 100
    for points, normals in sides[1:]:
        np.testing.assert_array_equal(points, sides[0][0])
        np.testing.assert_allclose(normals, sides[0][1], atol=1e-4)


@pytest.mark.parametrize("z", range(18))
def test_slabs_behind_a_cut_reach_from_two_layers_on_to_the_depth_asked_for(z):
    behind = Walls(noise((30, 4, 4), 7), np.array([0, 1], np.float32)).behind(z, 12)
    assert z + 2 <= behind.start * SLAB < z + 2 + SLAB
    assert z + 12 - 1 <= behind.stop * SLAB < max(z + 12 - 1 + SLAB, behind.start * SLAB + 1)


def test_cut_face_has_one_square_for_every_solid_voxel():
    labels = noise((6, 12, 10), 4)
    face = cut_face(labels, 2, np.array([0, 1], np.float32)).face
    corner = face.points.reshape(-1, 4, 3).min(axis=1)
    assert (corner[:, 0] == 2).all()
    inside = np.all((corner[:, 1:] >= 0) & (corner[:, 1:] < (12, 10)), axis=1)
    seen = np.zeros((12, 10), dtype=np.uint8)
    seen[tuple(corner[inside, 1:].astype(int).T)] = 1
    np.testing.assert_array_equal(seen, labels[2])
