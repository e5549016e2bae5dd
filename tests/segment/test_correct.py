import json

import numpy as np
import pytest
from scipy import ndimage

from launch import to_plain
from segment.correction import CorrectionSettings, correct, equalise, equalise_locally, normalise, stretch
from volume import Volume

SHAPE = (10, 96, 96)
OFF = {"drift": "off", "foreshortening": "off"}


def porous(seed=0, *, noise=0.05, shape=SHAPE):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 4, mode="wrap")
    grey = np.where(field / field.std() > -0.5, 0.7, 0.2)
    return (ndimage.gaussian_filter(grey, (0, 0.7, 0.7)) + noise * rng.standard_normal(shape)).astype(np.float32)


def spoilt(clean):
    """Return a stack with an uneven background and a gain of each slice."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in clean.shape[1:]), indexing="ij")
    gain = np.exp(0.04 * np.random.default_rng(3).standard_normal(len(clean)))
    return (clean * (1 + 0.15 * y - 0.1 * x) * gain[:, None, None]).astype(np.float32)


def as_type(stack, dtype):
    white = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1
    return np.clip(stack * white, -white if np.dtype(dtype).kind != "u" else 0, white).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_an_untouched_stack_is_the_very_object_that_came(dtype):
    stack = as_type(porous(), dtype)
    before = stack.copy()
    corrected = correct(stack)
    assert corrected.stack is stack
    assert corrected.report.untouched
    np.testing.assert_array_equal(stack, before)
    wrapped = Volume(stack, (0.01, 0.01, 0.01))
    assert correct(wrapped).stack is wrapped


@pytest.mark.parametrize(("seed", "noise"), [(0, 0.02), (1, 0.1)])
def test_stacks_that_need_nothing_are_left_alone(seed, noise):
    report = correct(porous(seed, noise=noise)).report
    assert [step.name for step in report.steps if step.applied] == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_gain_and_background_are_undone_in_the_type_that_came(dtype):
    clean = porous()
    stack = as_type(spoilt(clean), dtype)
    before = stack.copy()
    corrected = correct(stack, CorrectionSettings(**OFF))
    assert [step.name for step in corrected.report.steps if step.applied] == ["gain", "background"]
    assert corrected.stack.dtype == dtype
    np.testing.assert_array_equal(stack, before)
    white = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1
    face = clean > 0.6
    ratio = corrected.stack[face] / white / clean[face]
    # A hundredth of the mean: 2 % of the background, 0.5 % of the gain, and the rounding to 8 bits, in quadrature.
    assert np.std(spoilt(clean)[face] / clean[face]) > 0.07
    assert np.std(ratio) / np.mean(ratio) < 0.02


def test_every_step_reports_in_order_what_it_found_and_the_report_is_plain():
    report = correct(spoilt(porous()), CorrectionSettings(contrast="stretch", **OFF)).report
    names = [step.name for step in report.steps]
    assert names == ["region", "gain", "background", "stripes", "drift", "foreshortening", "contrast"]
    plain = json.loads(json.dumps(to_plain(report), allow_nan=False))
    assert plain["steps"][2]["found"]["rms"] == pytest.approx(report["background"].before)
    assert report["background"].before > 0.05 > 0.01 > report["background"].after
    assert report["gain"].before > 0.03 > 0.008 > report["gain"].after
    assert len(report["gain"].found["gain"]) == SHAPE[0]
    assert report["drift"].reason == "turned off"
    assert all(step.reason for step in report.steps)


def test_a_step_that_is_off_does_nothing_and_one_that_is_on_always_acts():
    settings = CorrectionSettings(gain="off", background="off", stripes="off", region="off", **OFF)
    stack = spoilt(porous())
    assert correct(stack, settings).stack is stack
    forced = correct(porous(), CorrectionSettings(gain="on", **OFF)).report["gain"]
    assert forced.applied
    assert forced.reason.startswith("asked for, though not significant")


def test_doing_it_again_changes_nothing():
    once = correct(spoilt(porous()), CorrectionSettings(**OFF)).stack
    assert correct(once, CorrectionSettings(**OFF)).report.untouched


def test_a_known_tilt_stretches_the_rows_and_keeps_square_pixels_square():
    stack = porous(shape=(3, 96, 96))
    settings = CorrectionSettings(tilt_deg=60.0, drift="off")
    square = correct(Volume(stack, (0.02, 0.01, 0.01)), settings)
    assert square.stack.shape == (3, 192, 96)
    assert square.stack.voxel_size_um == (0.02, 0.01, 0.01)
    assert square.report.slice_px == 2
    # Here the file already said that a row is higher than a column is wide.
    stated = correct(Volume(stack, (0.02, 0.02, 0.01)), settings)
    assert stated.stack.voxel_size_um == pytest.approx((0.02, 0.01, 0.01))


def test_empty_surroundings_are_cropped():
    stack = np.zeros((10, 120, 130), np.float32)
    stack[:, 12:108, 20:116] = porous()
    corrected = correct(stack, CorrectionSettings(**OFF))
    assert corrected.report["region"].applied
    np.testing.assert_allclose(corrected.stack.shape, SHAPE, atol=2)


def test_one_slice_is_corrected_as_far_as_one_slice_goes():
    report = correct(porous(shape=(1, 96, 96))).report
    assert report["gain"].reason == "one slice has no neighbour to be compared with"
    assert report["drift"].reason == "drift needs 8 slices or more"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gain": "yes"}, "gain is 'yes'; give 'auto', 'on' or 'off'"),
        ({"contrast": "more"}, "contrast is 'more'; give 'off' or one of stretch"),
        ({"background_degree": 9}, "background_degree is 9"),
        ({"tilt_deg": 90.0}, "tilt_deg is 90.0; give an angle from 0 to 87"),
        ({"tilt_deg": np.nan}, "tilt_deg is nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CorrectionSettings(**settings)


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        (np.zeros((4, 64, 64)), "every grey value is 0"),
        (np.full((4, 64, 64), np.nan), "NaN or infinite"),
        (np.random.default_rng(0).random((4, 20, 64)), "at least 1 × 48 × 48"),
        (np.random.default_rng(0).random((64, 64)), "give one volume"),
    ],
)
def test_stacks_that_cannot_be_corrected_are_refused(stack, message):
    with pytest.raises(ValueError, match=message):
        correct(stack)


@pytest.mark.parametrize("slice_px", [0, -1, np.inf, np.nan, True, "1"])
def test_a_slice_distance_that_is_no_length_is_refused(slice_px):
    with pytest.raises(ValueError, match="give a positive number of pixels between slices"):
        correct(porous(), slice_px=slice_px)


def test_contrast_is_the_last_step():
    stack = as_type(porous(), np.uint8)
    nothing = dict.fromkeys(("region", "gain", "background", "stripes", "drift", "foreshortening"), "off")
    functions = {
        "stretch": stretch,
        "equalise": equalise,
        "equalise_locally": equalise_locally,
        "normalise": normalise,
    }
    for name, function in functions.items():
        corrected = correct(stack, CorrectionSettings(contrast=name, **nothing))
        np.testing.assert_array_equal(corrected.stack, function(stack))
        assert corrected.report["contrast"].applied
    assert correct(stack, CorrectionSettings(contrast="normalise", **nothing)).stack.dtype == np.float32


def test_bare_on_and_off_of_a_configuration_file_are_understood():
    settings = CorrectionSettings(gain=False, stripes=True, contrast=False)
    assert (settings.gain, settings.stripes, settings.contrast) == ("off", "on", "off")
