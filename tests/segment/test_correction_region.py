import math

import numpy as np
import pytest
from scipy import ndimage

from segment.correction.region import estimate_rotation, find_region, undo_rotation
from segment.correction.tilt import estimate_tilt


def grain(shape, seed=0):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    return (0.6 + 0.25 * np.sign(field) + 0.02 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def framed(shape, rows, columns, *, surround=0.05, noise=0.01):
    stack = surround + noise * np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    stack[:, rows, columns] = grain((shape[0], rows.stop - rows.start, columns.stop - columns.start))
    return stack


@pytest.mark.parametrize("surround", [0.0, 0.05, 0.6])
def test_face_is_found_to_a_pixel_in_dark_and_in_flat_surroundings(surround):
    rows, columns = slice(14, 70), slice(9, 101)
    found = find_region(framed((5, 90, 110), rows, columns, surround=surround))
    assert found.found
    for part, true in ((found.y, rows), (found.x, columns)):
        assert abs(part.start - true.start) <= 1
        assert abs(part.stop - true.stop) <= 1
    assert found.z == slice(0, 5)


def test_margin_on_one_side_alone_is_cropped_there_alone():
    found = find_region(framed((4, 60, 60), slice(0, 60), slice(0, 48)))
    assert found.y == slice(0, 60)
    assert found.x.start == 0
    assert abs(found.x.stop - 48) <= 1


def test_material_without_pores_at_the_border_is_no_surroundings():
    stack = framed((4, 60, 60), slice(0, 60), slice(0, 45), surround=0.85)
    assert not find_region(stack).found


def test_face_that_fills_the_picture_is_left_whole():
    stack = grain((4, 50, 70))
    found = find_region(stack)
    assert not found.found
    assert found.crop(stack).shape == stack.shape
    assert "nothing to crop" in found.evidence["verdict"]


def test_cropping_changes_no_value():
    stack = framed((4, 60, 80), slice(10, 50), slice(20, 70))
    found = find_region(stack)
    assert np.shares_memory(found.crop(stack), stack)
    np.testing.assert_array_equal(found.crop(stack), stack[found.z, found.y, found.x])


def test_empty_slices_at_the_end_are_left_out():
    stack = grain((8, 40, 40))
    stack[6:] = 0.3
    assert find_region(stack).z == slice(0, 6)


def turned(angle_deg, shape=(6, 140, 180)):
    """Return a stack whose face, 80 × 120, is turned by an angle from +x towards +y."""
    y, x = np.indices(shape[1:]) - (np.array(shape[1:]) - 1)[:, None, None] / 2
    a = math.radians(angle_deg)
    along, down = math.cos(a) * x + math.sin(a) * y, -math.sin(a) * x + math.cos(a) * y
    inside = np.clip(60.5 - np.abs(along), 0, 1) * np.clip(40.5 - np.abs(down), 0, 1)
    return (0.05 + inside * (grain(shape, seed=3) - 0.05)).astype(np.float32)


@pytest.mark.parametrize("angle_deg", [-6.0, -2.0, 3.0])
def test_rotation_is_found_and_undone(angle_deg):
    stack = turned(angle_deg)
    found = estimate_rotation(stack)
    assert found.found
    assert abs(found.angle_deg - angle_deg) < max(0.3, 3 * found.standard_error_deg)
    assert found.standard_error_deg < 1
    straight = estimate_rotation(undo_rotation(stack, found.angle_deg))
    assert abs(straight.angle_deg) < 0.5


def test_straight_face_and_face_without_borders_need_no_turn():
    assert not estimate_rotation(turned(0.0)).found
    without = estimate_rotation(grain((3, 60, 60)))
    assert not without.found
    assert math.isinf(without.standard_error_deg)


def test_turning_by_no_angle_is_the_stack_itself():
    stack = grain((2, 20, 20))
    assert undo_rotation(stack, 0) is stack


def test_turning_by_90_degrees_in_parts_moves_a_corner_to_where_it_belongs():
    stack = np.zeros((1, 21, 21), np.float32)
    stack[0, 10, 18] = 1
    # Undoing +45° twice takes what lay along +x to -y.
    back = undo_rotation(undo_rotation(ndimage.gaussian_filter(stack, (0, 1, 1)), 45), 45)
    assert np.unravel_index(back[0].argmax(), back[0].shape) == (2, 10)


def test_outline_of_known_height_tells_the_tilt_of_a_face_without_pores():
    stack = framed((8, 90, 110), slice(20, 70), slice(10, 100))
    found = estimate_tilt(stack, face_height_px=50 / math.cos(math.radians(52)))
    assert found.evidence["outline"]["tilt_deg"] == pytest.approx(52, abs=3)


@pytest.mark.parametrize("angle", [46, math.nan, "1", True])
def test_impossible_angles_are_refused(angle):
    with pytest.raises(ValueError, match="give an angle from -45 to 45 degrees"):
        undo_rotation(grain((1, 20, 20)), angle)


@pytest.mark.parametrize("find", [find_region, estimate_rotation])
def test_pictures_too_small_are_refused(find):
    with pytest.raises(ValueError, match="at least 1 × 16 × 16"):
        find(np.random.default_rng(0).random((3, 8, 40)))
