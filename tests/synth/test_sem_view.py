import dataclasses
import importlib.util
import math

import numpy as np
import pytest
from scipy import ndimage

from synth import blender_stack, sphere_pack
from synth.blender import BlenderSettings
from synth.sem import FIBSEM_PRESETS, FibsemSettings, SliceGeometry, fibsem
from synth.sem.view import _first_wall, _outward, free_room, smooth_solid

# Full light, no fading, no noise: grey is the light on a wall of brightness 1.
BARE = {
    "tilt_deg": 0.0, "face_grey": (1.0,), "floor_grey": 0.0, "shine_through": 1.0, "depth_vox": 1e4, "relief": 0.0,
    "edge": 0.0, "texture": 0.0, "blur_vox": 0.0, "shading": 0.0, "slice_gain": 0.0, "dose": 1e15, "read_noise": 0.0,
}  # fmt: skip
FADING = 21 / 1e4  # over the 20 voxels of the deepest pore here


def light(labels, **settings):
    return fibsem(labels, FibsemSettings(**{**BARE, **settings}), rng=0)


def ball(radius, size=41):
    z, y, x = np.indices((size,) * 3) + 0.5 - size / 2
    return (z * z + y * y + x * x < radius * radius).astype(np.uint8)


def seen_walls(solid, tilt_deg, z=0):
    """Depth of the wall that each pore pixel of a slice shows; nan where there is none."""
    field = smooth_solid(solid.astype(np.uint8))
    slope = math.tan(math.radians(tilt_deg))
    room = free_room(solid.astype(np.uint8), slope)
    depth = np.full(solid.shape[1:], np.nan)
    for y, x in np.argwhere(solid[z] == 0):
        down = _first_wall(field, room, float(z), y + 0.5, x, slope, 100.0)
        depth[y, x] = down if down >= 0 else np.nan
    return depth


# Walls


def test_smoothed_solid_is_a_binomial_filter_that_keeps_every_voxel_on_its_side():
    solid = (np.random.default_rng(0).random((9, 10, 11)) < 0.4).astype(np.uint8)
    smooth = solid.astype(float)
    for axis in range(3):
        smooth = ndimage.correlate1d(smooth, [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16], axis, mode="reflect")
    expected = np.where(solid, np.maximum(255 * smooth, 148), np.minimum(255 * smooth, 107))
    assert np.abs(smooth_solid(solid) - expected).max() <= 0.5 + 1e-9
    assert ((smooth_solid(solid) > 127.5) == (solid == 1)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (2, 1, 3)])
def test_smallest_volumes_are_smoothed(shape):
    assert (smooth_solid(np.ones(shape, np.uint8)) == 255).all()
    assert (smooth_solid(np.zeros(shape, np.uint8)) == 0).all()


@pytest.mark.parametrize("normal", [(2, 1, 0), (3, 1, 1), (4, 2, 1), (5, 1, 0)])
def test_oblique_wall_shows_no_staircase(normal):
    n = np.array(normal) / np.linalg.norm(normal)
    z, y, x = np.indices((40, 24, 24)) + 0.5
    solid = z * n[0] + y * n[1] + x * n[2] > 25
    depth = seen_walls(solid, 0.0)[6:18, 6:18]
    y, x = np.mgrid[6:18, 6:18] + 0.5
    error = depth - (25 - y * n[1] - x * n[2]) / n[0]
    # The plane may move by half of this before a voxel's centre changes its side.
    assert abs(error.mean()) <= 0.5 / np.linalg.norm(normal) / n[0]
    # Steps of a voxel would have a deviation of 1/sqrt(12).
    assert error.std() < 0.5 / math.sqrt(12)


@pytest.mark.parametrize("tilt", [0.0, 38.0, 52.0, 70.0])
def test_ball_is_seen_at_its_surface(tilt):
    solid = ball(14)
    depth = seen_walls(solid, tilt)
    y, x = np.indices(depth.shape) + 0.5 - 20.5
    slope = math.tan(math.radians(tilt))
    # A ray (-20.5 + d, y + d slope, x) meets the sphere where its squared distance is 14²; grazing ones may pass by.
    a, b, c = 1 + slope**2, -20.5 + y * slope, 20.5**2 + y**2 + x**2 - 14**2
    clear = b * b - a * c > 40
    assert clear.sum() > 40
    radius = np.sqrt((depth - 20.5) ** 2 + (y + depth * slope) ** 2 + x**2)[clear]
    # The voxels' own surface lies within half a voxel's diagonal.
    assert np.abs(radius - 14).max() < math.sqrt(3) / 2
    assert abs(radius.mean() - 14) < 0.25


def test_wall_of_a_ball_faces_away_from_its_centre():
    field = smooth_solid(ball(14))
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((200, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    # In the middle of columns.
    points = 20.5 + 14 * directions
    columns = np.floor(points[:, 2]).astype(int)
    found = np.array([_outward(field, z, y, column) for (z, y, _), column in zip(points, columns, strict=True)])
    true = np.column_stack([points[:, :2], columns + 0.5]) - 20.5
    true /= np.linalg.norm(true, axis=1)[:, None]
    angles = np.degrees(np.arccos(np.clip((found * true).sum(axis=1), -1, 1)))
    assert angles.mean() < 6
    assert angles.max() < 20


def tangle(seed=0, shape=(20, 24, 12), level=0.12):
    """A random solid with rooms of several voxels between, and single voxels strewn in."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), 2.0) / 0.05
    return ((smooth > level) | (rng.random(shape) < 0.002)).astype(np.uint8)


def densely_sampled_wall(solid, start, slope, reach, step=2e-3):
    """First of many samples, by scipy, at which the smoothed solid is reached; nothing above the cut counts."""
    z, y, column = start
    margin = [(0, 70), (8, int(70 * slope) + 8)]
    field = np.pad(smooth_solid(solid)[:, :, column], margin, mode="symmetric")[math.floor(z) :].astype(float)
    down = np.arange(0, reach, step)
    points = [z + down - math.floor(z) - 0.5, y + 8 + down * slope - 0.5]
    hit = ndimage.map_coordinates(field, points, order=1, mode="nearest") >= 127.5
    return down[hit.argmax()] if hit.any() else -1.0


@pytest.mark.parametrize("slope", [0.0, 0.7, 1.0, 1.28, 2.7])
@pytest.mark.parametrize("on_grid", [True, False])
def test_rays_end_where_a_dense_sampling_of_the_smoothed_solid_first_meets_it(slope, on_grid):
    solid = tangle()
    field, room, reach = smooth_solid(solid), free_room(solid, slope), 60.0
    rng = np.random.default_rng(1)
    compared = 0
    for _ in range(150):
        z, y, column = (int(n) for n in rng.integers(0, solid.shape))
        start = (float(z), y + 0.5, column) if on_grid else (*rng.uniform((0, -2), (20, 26)), column)
        expected = densely_sampled_wall(solid, start, slope, reach)
        found = _first_wall(field, room, *start, slope, reach)
        # A sampling may step over a graze that is shorter than its step.
        assert found <= expected + 1e-9 or expected < 0
        compared += abs(found - expected) <= 2e-3 + 1e-9
    assert compared >= 148


@pytest.mark.parametrize("slope", [0.0, 0.7, 1.28, 1.99, 3.5])
def test_rays_leap_over_nothing_but_pore(slope):
    solid = tangle(shape=(30, 40, 12))
    room = free_room(solid, slope)
    rng = np.random.default_rng(1)
    cells = np.argwhere(room > 1)
    assert len(cells) > 50
    for z, y, x in cells[:: max(1, len(cells) // 300)]:
        at_z, at_y = z + rng.random(), y + rng.random()
        for down in np.arange(0, room[z, y, x] - 1, 0.05):
            # Cell n lies between the centres of voxels n - 1 and n.
            a, b = int(at_z + down), int(at_y + down * slope)
            assert not solid[max(a - 1, 0) : a + 1, max(b - 1, 0) : b + 1, x].any()


def test_cells_without_room_are_those_that_touch_solid():
    solid = tangle(shape=(9, 10, 5))
    wide = np.pad(solid, [(1, 1), (1, 1), (0, 0)], mode="edge")
    touching = wide[1:, 1:] | wide[:-1, 1:] | wide[1:, :-1] | wide[:-1, :-1]
    assert np.array_equal(free_room(solid, 1.28) == 0, touching > 0)


def test_thin_strut_is_not_lost_between_two_samples():
    solid = np.zeros((30, 60, 5), np.uint8)
    solid[10] = 1
    assert np.nanmax(np.abs(seen_walls(solid, 52.0)[:30] - 10)) <= 0.5
    assert np.isfinite(seen_walls(solid, 52.0)[:30]).all()


# Light


@pytest.mark.parametrize("tilt", [0.0, 40.0, 55.0])
def test_rim_brightens_a_wall_by_one_over_its_cosine(tilt):
    labels = np.zeros((20, 30, 5), np.uint8)
    labels[10:] = 1
    shown = light(labels, tilt_deg=tilt, rim=0.4, face_grey=(0.5,))[0, :12]
    np.testing.assert_allclose(shown, 0.5 * (1 + 0.4 * (1 / math.cos(math.radians(tilt)) - 1)), rtol=2e-3)


@pytest.mark.parametrize("depth", [4, 8, 16])
def test_floor_of_a_round_pore_gets_the_light_that_its_mouth_lets_in(depth):
    """From a disc of radius R at depth d under an even sky: R² / (R² + d²)."""
    y, x = np.indices((81, 81)) - 40
    labels = np.ones((30, 81, 81), np.uint8)
    labels[:depth, y * y + x * x <= 8.5**2] = 0
    shown = light(labels, shadow=1.0, sun=0.0, fill_light=0.0)[0, 40, 40]
    assert shown == pytest.approx(8.5**2 / (8.5**2 + depth**2), abs=0.15)


def test_deeper_floors_are_darker_and_fill_light_helps():
    labels = np.ones((30, 41, 41), np.uint8)
    labels[:20, 14:27, 14:27] = 0
    settings = {"shadow": 1.0, "sun": 0.3}
    # From the last slices of the pore upwards its floor lies ever deeper.
    floor = light(labels, fill_light=0.0, **settings)[:19, 20, 20]
    assert (np.diff(floor) >= -1e-6).all()
    assert floor[0] < 0.3 * floor[-1]
    filled = light(labels, fill_light=0.5, **settings)[:19, 20, 20]
    np.testing.assert_allclose(filled, 0.5 + 0.5 * floor, atol=FADING)


@pytest.mark.parametrize(("azimuth", "axis", "towards"), [(0.0, 1, 1), (180.0, 1, -1), (90.0, 0, -1), (270.0, 0, 1)])
def test_lamp_throws_the_shadow_of_a_step_away_from_it(azimuth, axis, towards):
    """A trench 40 wide, 10 deep, lit at 45 degrees: 10 of its floor lie in shadow, on the lamp's side."""
    labels = np.ones((30, 60, 60), np.uint8)
    trench = (slice(None), slice(10, 50)) if axis else (slice(10, 50), slice(None))
    labels[(slice(0, 10), *trench)] = 0
    lamp = {"shadow": 1.0, "sun": 1.0, "fill_light": 0.0, "sun_elevation_deg": 45.0, "sun_azimuth_deg": azimuth}
    shown = light(labels, **lamp)[0]
    profile = (shown if axis else shown.T)[30, 10:50][::-towards]
    # Counted from the wall on the lamp's side.
    np.testing.assert_allclose(profile[2:8], 0, atol=0.05)
    np.testing.assert_allclose(profile[13:37], 1, atol=0.05)


def test_light_moves_with_a_drifting_sample_and_does_not_depend_on_the_pixel():
    labels = np.ones((30, 64, 64), np.uint8)
    labels[:10, 20:44, 20:44] = 0
    settings = {"shadow": 1.0, "sun": 0.3}
    still = light(labels, **settings)
    # 7 pixels at slice 1: what was at 30 is at 37.
    moved = light(labels, geometry=SliceGeometry(creep_y_px=7.0, creep_x_px=-5.0), **settings)
    np.testing.assert_allclose(moved[1, 32:46, 20:34], still[1, 25:39, 25:39], atol=0.06)
    finer = light(labels, geometry=SliceGeometry(pixel_vox=0.5), **settings)
    means = finer[0].reshape(64, 2, 64, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(means[24:40, 24:40], still[0, 24:40, 24:40], atol=0.06)


def test_without_shadow_the_light_is_the_same_everywhere():
    labels = np.ones((30, 41, 41), np.uint8)
    labels[:20, 14:27, 14:27] = 0
    np.testing.assert_allclose(light(labels, sun=0.9), 1, atol=FADING)


@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="bpy is not installed")
def test_preset_looks_like_blenders_own_render():
    """Of a structure that the preset was not fitted to; benchmarks/blender_calibration.py has the figures."""
    pack = sphere_pack((40, 56, 56), porosity=0.55, diameter_vox=13, sigma=0.5, rng=8).labels
    smooth = BlenderSettings(grain=0.0, roughness=0.0, threads=1)
    render = blender_stack(pack, slices=[3], resolution=112, samples=24, settings=smooth).corrected[0, 6:-6, 6:-6]
    still = dataclasses.replace(FIBSEM_PRESETS["blender"], texture=0.0, wall_texture=0.0)
    ours = fibsem(pack, still, rng=0)[3, 6:-6, 6:-6]
    pore = pack[3, 6:-6, 6:-6] == 0
    assert np.corrcoef(ours[pore], render[pore])[0, 1] > 0.92
    assert np.sqrt(((ours - render)[pore] ** 2).mean()) < 0.09
    assert np.sqrt(((ours - render)[~pore] ** 2).mean()) < 0.05
