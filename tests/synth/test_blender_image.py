import dataclasses
import importlib.util
import math

import numpy as np
import pytest

from launch import convert, to_plain
from synth import FibsemSettings
from synth.blender import BLENDER_PRESETS, BlenderImaging, BlenderSettings, blender_image
from synth.laws import Choice, Uniform, draw, has_laws

needs_blender = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="bpy is not installed")

CELL = 8
BARE = BlenderSettings(wall_brightness=0.05, rim=0.0, edge=0.0, grain=0.0, roughness=0.0, threads=1)
CHECKER = np.repeat(((np.indices((40, 32)) // CELL).sum(axis=0) % 2 == 0)[None], 9, axis=0)


@pytest.fixture(scope="module")
def as_seen():
    settings = BlenderImaging(
        tilt_deg=Uniform(40.0, 60.0),
        geometry="camera",
        pixels_per_voxel=2.0,
        slice_step_vox=Choice((4,)),
        depth_vox=8,
        surfaces=BARE,
    )
    return blender_image(CHECKER, settings, rng=5)


@needs_blender
def test_pixels_of_the_camera_picture_lie_where_its_scale_and_first_row_say(as_seen):
    dz, dy, dx = as_seen.voxel_scale
    tilt = math.radians(as_seen.truth["tilt_deg"])
    assert (dz, dx) == (4.0, 0.5)
    assert dy == pytest.approx(0.5 / math.cos(tilt))
    z, y, x = (np.arange(n) for n in as_seen.shape)
    rows = np.floor(as_seen.truth["first_row_vox"] + y * dy).astype(int)
    layers = as_seen.truth["slices"]
    np.testing.assert_array_equal(layers, z * 4)
    expected = CHECKER[np.ix_(layers, rows, np.floor((x + 0.5) * dx).astype(int))]
    np.testing.assert_array_equal(as_seen.labels, expected)


@needs_blender
def test_grey_of_the_camera_picture_fits_its_labels(as_seen):
    assert as_seen.grey.dtype == np.float32
    assert as_seen.grey.shape == as_seen.labels.shape
    # A pixel that an edge cuts may fall on either side.
    inner = np.ones(as_seen.shape, dtype=bool)
    for axis in (1, 2):
        for step in (-1, 1):
            inner &= np.roll(as_seen.labels, step, axis) == as_seen.labels
    assert ((as_seen.grey > 0.35) == (as_seen.labels > 0))[inner].all()


@needs_blender
def test_settings_as_drawn_make_the_same_picture_in_corrected_geometry(as_seen):
    drawn = dataclasses.replace(as_seen.settings, geometry="corrected", slice_step_vox=8)
    assert not has_laws(drawn)
    image = blender_image(CHECKER, drawn, rng=5)
    assert image.voxel_scale == (8.0, 1.0, 1.0)
    assert image.truth["tilt_deg"] == as_seen.truth["tilt_deg"]
    np.testing.assert_array_equal(image.labels, CHECKER[[0, 8]])
    inner = np.all((np.indices((40, 32)) % CELL > 0) & (np.indices((40, 32)) % CELL < CELL - 1), axis=0)
    assert ((image.grey > 0.35) == image.labels)[:, inner].all()
    again = blender_image(CHECKER, drawn, rng=5)
    assert again.grey.tobytes() == image.grey.tobytes()


@pytest.mark.parametrize("name", BLENDER_PRESETS)
@pytest.mark.parametrize("seed", range(5))
def test_whatever_a_preset_draws_can_be_rendered_and_written_as_plain_text(name, seed):
    preset = BLENDER_PRESETS[name]
    drawn = draw(preset, np.random.default_rng(seed))
    assert not has_laws(drawn)
    assert has_laws(preset) == (name != "default")
    assert convert(to_plain(preset), BlenderImaging, "settings") == preset


def test_presets_hold_the_microscopes_of_the_paper():
    assert BLENDER_PRESETS["default"] == BlenderImaging()
    assert BLENDER_PRESETS["default"].tilt_deg == 52.0
    paper = BLENDER_PRESETS["pfib-catalyst-layer"]
    assert paper.geometry == "camera"
    assert sum(paper.tilt_deg.support()) / 2 == 52.0


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"tilt_deg": 90.0}, "tilt_deg is 90"),
        ({"tilt_deg": Uniform(-1.0, 5.0)}, "tilt_deg is"),
        ({"pixels_per_voxel": 0.0}, "pixels_per_voxel is 0"),
        ({"pixels_per_voxel": math.nan}, "pixels_per_voxel is nan"),
        ({"slice_step_vox": 0}, "slice_step_vox is 0"),
        ({"samples": math.inf}, "samples is inf"),
        ({"depth_vox": Choice((0, 3))}, "depth_vox is"),
        ({"geometry": "tilted"}, "geometry is 'tilted'.*'corrected' or 'camera'"),
        ({"surfaces": None}, "give BlenderSettings"),
    ],
)
def test_settings_that_cannot_be_imaged_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        BlenderImaging(**setting)


def test_labels_that_are_no_volume_are_refused():
    with pytest.raises(ValueError, match=r"shape is \(4, 4\)"):
        blender_image(np.ones((4, 4), int), rng=0)


@needs_blender
def test_session_is_what_degrade_adds_to_the_clean_render():
    session = FibsemSettings(blur_vox=0.0, shading=0.0, slice_gain=0.0, read_noise=0.0, dose=400.0)
    clean = BlenderImaging(slice_step_vox=8, samples=1, depth_vox=4, surfaces=BARE)
    plain, noisy = (blender_image(CHECKER, s, rng=3) for s in (clean, dataclasses.replace(clean, session=session)))
    assert np.array_equal(plain.labels, noisy.labels)
    face = (plain.labels > 0) & (plain.grey > 0.6)
    # Counting: the variance is the mean over the dose.
    error = (noisy.grey - plain.grey)[face]
    assert error.var() == pytest.approx(plain.grey[face].mean() / 400, rel=5 * np.sqrt(2 / error.size))
    again = blender_image(CHECKER, dataclasses.replace(clean, session=session), rng=3)
    assert again.grey.tobytes() == noisy.grey.tobytes()


def test_session_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="session is 'noisy'"):
        BlenderImaging(session="noisy")
