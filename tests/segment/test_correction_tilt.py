import math

import numpy as np
import pytest
from tilted_view import DEEPEST, blobs, camera_stack, look, walk

from segment.correction.sighting import sight, steady_motion
from segment.correction.tilt import estimate_tilt, undo_foreshortening


@pytest.fixture(scope="module")
def still():
    stack = camera_stack(52, seed=3)
    return stack, sight(stack, slice_px=1.0)


def test_tilt_of_a_still_stack_is_recovered_within_its_error(still):
    stack, sighting = still
    found = estimate_tilt(stack, sighting=sighting)
    assert found.found
    assert found.standard_error_deg < 2.5
    assert abs(found.tilt_deg - 52) < 3 * found.standard_error_deg
    assert abs(found.tilt_deg - 52) < 2


def test_parallax_in_the_picture_is_the_sine_of_the_tilt(still):
    _, sighting = still
    total, error = sighting.behind.trend
    # Two hundredths of a pixel a slice for what comes and goes at the edges of the few pores of so small a picture.
    assert abs(total[0] - math.sin(math.radians(52))) < 0.02 + 3 * error[0]
    assert abs(total[1]) < 0.02 + 3 * error[1]


def test_drift_widens_the_error_of_the_tilt_and_does_not_mislead_it():
    stack = camera_stack(52, seed=1, path=walk(32, seed=1))
    found = estimate_tilt(stack)
    assert found.found
    assert 1 < found.standard_error_deg < 15
    assert abs(found.tilt_deg - 52) < 3 * found.standard_error_deg


def test_stretched_stack_needs_nothing_though_it_has_parallax():
    slope = math.tan(math.radians(45))
    shape = (32, 100, 128)
    solid = blobs((shape[0] + DEEPEST, shape[1] + DEEPEST + 24, shape[2] + 24), seed=5)
    found = estimate_tilt(look(solid, shape, slope=slope, seed=5))
    assert not found.found
    assert found.tilt_deg == 0
    assert "nothing to do" in found.evidence["verdict"] or "too little" in found.evidence["verdict"]


def test_view_along_the_normal_needs_nothing():
    found = estimate_tilt(camera_stack(0, seed=2))
    assert not found.found
    assert found.tilt_deg == 0
    assert "nothing to do" in found.evidence["verdict"]


def test_filled_pores_leave_the_structure_itself_to_tell_the_tilt():
    found = estimate_tilt(camera_stack(60, seed=4, shine=0.0))
    assert "parallax" not in found.evidence
    assert found.found
    # Blur draws the ratio to 1 by at most as much as the error allows for.
    assert abs(found.tilt_deg - 60) < 2 * found.standard_error_deg


@pytest.mark.parametrize("tilt_deg", [30, 52, 65])
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_squeezing_of_a_structure_alike_in_all_directions_is_its_cosine(tilt_deg, noise):
    # Filled pores: nothing but the structure itself tells.
    stack = camera_stack(tilt_deg, shape=(24, 180, 180), seed=1, shine=0.0, noise=noise)
    found = sight(stack, slice_px=1.0).compression
    assert abs(found.ratio - math.cos(math.radians(tilt_deg))) < 3 * found.standard_error + found.systematic
    assert found.standard_error < 0.06


def test_known_isotropy_narrows_the_error_of_the_tilt_in_a_drifting_stack():
    stack = camera_stack(52, seed=1, path=walk(32, seed=1))
    sighting = sight(stack, slice_px=1.0)
    alone, together = (estimate_tilt(stack, sighting=sighting, anisotropy=value) for value in (None, 0.0))
    assert together.standard_error_deg < alone.standard_error_deg
    assert abs(together.tilt_deg - 52) < 3 * together.standard_error_deg


@pytest.mark.parametrize("anisotropy", [-0.1, 1, math.nan, "0", True])
def test_impossible_anisotropies_are_refused(still, anisotropy):
    stack, sighting = still
    with pytest.raises(ValueError, match="give a relative error from 0 to below 1"):
        estimate_tilt(stack, sighting=sighting, anisotropy=anisotropy)


def test_noise_claims_nothing():
    found = estimate_tilt(np.random.default_rng(0).random((12, 40, 40)))
    assert not found.found
    assert found.tilt_deg == 0


def test_parallax_without_squeezing_in_a_gaussian_picture_is_not_called_foreshortening(still):
    stack, sighting = still
    longer = estimate_tilt(stack, sighting=sighting, slice_px=0.7)
    # The same parallax at slices 0.7 pixels apart would be a sine above 1.
    assert not longer.found
    assert "contradict" in longer.evidence["verdict"]


def test_steady_drift_is_the_sum_less_a_known_parallax(still):
    _, sighting = still
    known = steady_motion(sighting.behind, sighting.faces, parallax_px=0.5)
    assert known.drift == pytest.approx(sighting.behind.trend[0][0] - 0.5)
    assert known.parallax == 0.5


@pytest.mark.parametrize("tilt_deg", [10.0, 38.0, 52.0, 70.0])
def test_stretching_a_picture_linear_in_y_is_exact(tilt_deg):
    rows, cosine = 60, math.cos(math.radians(tilt_deg))
    ramp = np.broadcast_to(0.01 * np.arange(rows)[:, None] + 0.1 * np.arange(3), (2, rows, 3)).astype(np.float64)
    stretched = undo_foreshortening(ramp, tilt_deg)
    n = round(rows / cosine)
    y = (np.arange(n) - (n - 1) / 2) * cosine + (rows - 1) / 2
    assert stretched.shape == (2, n, 3)
    np.testing.assert_allclose(
        stretched, np.broadcast_to(0.01 * y[:, None] + 0.1 * np.arange(3), (2, n, 3)), atol=1e-12
    )


def test_stretching_is_exact_for_a_parabola_inside():
    rows, cosine = 40, math.cos(math.radians(52))
    stretched = undo_foreshortening(np.broadcast_to((np.arange(rows) ** 2.0)[:, None], (1, rows, 1)), 52)[0, :, 0]
    y = (np.arange(len(stretched)) - (len(stretched) - 1) / 2) * cosine + (rows - 1) / 2
    inside = (y >= 1) & (y <= rows - 2)
    np.testing.assert_allclose(stretched[inside], y[inside] ** 2, rtol=1e-12)


def test_stretching_by_no_angle_is_the_stack_itself():
    stack = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert undo_foreshortening(stack, 0) is stack


def test_stretching_keeps_whole_numbers_within_their_range():
    stack = np.where(np.arange(30)[:, None] < 15, 0, 255).astype(np.uint8)[None].repeat(2, axis=0)
    stretched = undo_foreshortening(stack, 52)
    assert stretched.dtype == np.uint8
    # A cubic that overshot would wrap round: dark above the step, bright below it, and one row or two between.
    assert np.count_nonzero((stretched > 20) & (stretched < 235)) <= 2 * stack.shape[0] * 2
    assert stretched[0, 0, 0] == 0
    assert stretched[0, -1, 0] == 255


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"slice_px": 0}, "slice_px is 0; give a positive number"),
        ({"slice_px": math.nan}, "slice_px is nan; give a positive number"),
        ({"slice_px": True}, "slice_px is True; give a positive number"),
        ({"face_height_px": -3.0}, "face_height_px is -3.0; give a positive number"),
    ],
)
def test_bad_lengths_are_refused(still, arguments, sentence):
    stack, sighting = still
    with pytest.raises(ValueError, match=sentence):
        estimate_tilt(stack, sighting=sighting, **arguments)


@pytest.mark.parametrize("tilt_deg", [-1, 88, math.nan, "52", True])
def test_impossible_angles_are_refused(tilt_deg):
    with pytest.raises(ValueError, match="give an angle from 0 to 87 degrees"):
        undo_foreshortening(np.arange(24.0).reshape(2, 4, 3), tilt_deg)


def test_too_few_slices_are_refused():
    with pytest.raises(ValueError, match="at least 8 × 32 × 32"):
        estimate_tilt(np.random.default_rng(0).random((4, 40, 40)))
