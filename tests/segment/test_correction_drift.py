import math

import numpy as np
import pytest
from scipy import ndimage
from tilted_view import camera_stack, walk

from segment.correction.drift import common_area, estimate_drift, register
from segment.correction.sighting import sight
from synth import FibsemSettings, fibsem, sphere_pack


def rms(path):
    """Root mean square over slices of each component about its mean."""
    return np.sqrt(np.mean((path - path.mean(axis=0)) ** 2, axis=0))


@pytest.fixture(scope="module")
def drifting():
    path = walk(40, seed=7)
    stack = camera_stack(38, (40, 80, 128), seed=0, path=path)
    return stack, path, sight(stack, slice_px=1.0)


def test_drift_is_found_within_three_tenths_of_a_pixel_where_the_tilt_is_known(drifting):
    stack, path, sighting = drifting
    found = estimate_drift(stack, sighting=sighting, parallax_px=math.sin(math.radians(38)))
    assert found.found
    assert rms(path).min() > 0.6
    assert np.all(rms(found.path_px - path) < 0.3)
    np.testing.assert_allclose(found.path_px.mean(axis=0), 0, atol=1e-12)


def test_drift_along_y_with_an_unknown_tilt_is_within_its_error(drifting):
    stack, path, sighting = drifting
    found = estimate_drift(stack, sighting=sighting)
    assert rms(found.path_px - path)[1] < 0.3
    assert np.all(np.abs(found.path_px - path) < 4 * found.standard_error_px + 0.5)


def test_registering_undoes_the_wandering_of_the_picture(drifting):
    stack, _, sighting = drifting
    parallax = math.sin(math.radians(38))
    found = estimate_drift(stack, sighting=sighting, parallax_px=parallax)
    again = estimate_drift(register(stack, found.path_px), parallax_px=parallax)
    assert not again.found
    assert not again.path_px.any()


def test_still_stack_is_said_to_be_still():
    found = estimate_drift(camera_stack(52, seed=6))
    assert not found.found
    assert not found.path_px.any()
    assert "nothing to do" in found.evidence["verdict"]


def test_jitter_is_found_on_the_faces_where_nothing_is_seen_behind_them():
    rng = np.random.default_rng(2)
    path = rng.normal(0, 1.0, (32, 2))
    path -= path.mean(axis=0)
    found = estimate_drift(camera_stack(52, seed=8, shine=0.0, path=path))
    assert found.evidence["followed"] == "the faces"
    assert found.found
    # What the structure's lean adds is slow: the jitter is right from slice to slice.
    assert np.all(np.sqrt(np.mean(np.diff(found.path_px - path, axis=0) ** 2, axis=0)) < 0.3)


def test_empty_slice_among_the_others_is_named():
    stack = camera_stack(38, seed=9)
    stack[12] = 0.4 + 0.02 * np.random.default_rng(0).standard_normal(stack.shape[1:])
    assert 12 in estimate_drift(stack).outliers


def test_registering_moves_a_picture_by_the_path():
    field = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((64, 64)), 3)
    path = np.array([[0.0, 0.0], [1.25, -0.5], [-2.0, 3.75]])
    stack = np.stack([ndimage.shift(field, p, order=5, mode="nearest") for p in path])
    back = register(stack, path)
    rows, columns = common_area(stack.shape, path)
    assert (rows, columns) == (slice(2, 62), slice(1, 60))
    # The spline's own error on a field smooth over three pixels, some pixels in from where edges were continued.
    inside = (slice(None), slice(8, 56), slice(8, 56))
    assert np.abs(back - field)[inside].max() < 2e-3 * np.ptp(field)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_slices_without_drift_keep_their_bytes_and_all_their_type(dtype):
    stack = np.random.default_rng(0).integers(0, 200, (3, 20, 20)).astype(dtype)
    back = register(stack, [[0, 0], [0.5, 0.5], [0, 0]])
    assert back.dtype == dtype
    np.testing.assert_array_equal(back[[0, 2]], stack[[0, 2]])
    assert not np.array_equal(back[1], stack[1])
    assert back[1].min() >= stack[1].min()
    assert back[1].max() <= stack[1].max()


GREY = np.random.default_rng(0).random((3, 20, 20))


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (np.zeros((2, 2)), "path_px has 2 positions, the stack 3 slices"),
        (np.zeros(3), r"path_px has shape \(3,\); give a \(y, x\) position"),
        (np.full((3, 2), np.nan), "path_px holds NaN or infinite values"),
        (np.full((3, 2), 25.0), "path_px leads out of pictures of 20 × 20 pixels"),
    ],
)
def test_paths_that_do_not_fit_are_refused(path, sentence):
    with pytest.raises(ValueError, match=sentence):
        register(GREY, path)


@pytest.mark.parametrize("order", [0, 6, True, 2.5])
def test_unknown_spline_orders_are_refused(order):
    with pytest.raises(ValueError, match="give a spline order from 1 to 5"):
        register(GREY, np.zeros((3, 2)), order=order)


def test_slices_that_share_nothing_are_refused():
    with pytest.raises(ValueError, match="share no part of 20"):
        common_area((2, 20, 20), [[-12, 0], [12, 0]])


@pytest.mark.parametrize("parallax", [math.nan, math.inf, "1", True])
def test_impossible_parallax_is_refused(parallax):
    stack = np.random.default_rng(0).random((4, 40, 40))
    with pytest.raises(ValueError, match=r"parallax_px is .*; give a number of pixels a slice"):
        estimate_drift(stack, parallax_px=parallax)


def test_bytes_do_not_depend_on_the_run(drifting):
    stack, _, sighting = drifting
    again = sight(stack[:10], slice_px=1.0)
    assert np.array_equal(again.faces.path, sight(stack[:10], slice_px=1.0).faces.path)
    assert sighting.behind is not None


@pytest.mark.parametrize("dose", [150.0, 30.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_still_stack_with_few_pores_is_not_said_to_drift(seed, dose):
    """The faces' own changes and noise make a path of half a pixel, which the halves of the picture do not share."""
    labels = sphere_pack((24, 128, 128), porosity=0.1, diameter_vox=18, rng=seed).labels
    still = fibsem(labels, FibsemSettings(shading=0.0, slice_gain=0.0, dose=dose), rng=seed)
    estimate = estimate_drift(still)
    assert not estimate.found
    assert not estimate.path_px.any()
