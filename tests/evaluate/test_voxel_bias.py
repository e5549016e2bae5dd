"""Extrapolation to voxels of size zero against laws that are exact and structures whose answer is known."""

import numpy as np
import pytest

from evaluate import minkowski
from evaluate.transport import tortuosity
from evaluate.uncertainty import coarsened, extrapolate_voxel_size, measure_coarsened


@pytest.mark.parametrize("order", [1, 1.5, 2])
def test_exact_law_is_extrapolated_exactly(order):
    sizes = np.array([4.0, 1.0, 2.0])
    found = extrapolate_voxel_size(3.0 - 0.2 * sizes**order, sizes, order=order)
    assert found.value == pytest.approx(3.0, abs=1e-12)
    assert found.slope == pytest.approx(-0.2)
    assert found.uncertainty == pytest.approx(0, abs=1e-12)
    np.testing.assert_array_equal(found.voxel_sizes, [1, 2, 4])


def test_uncertainty_shows_a_law_that_does_not_hold():
    sizes = np.array([1.0, 2.0, 4.0])
    found = extrapolate_voxel_size(5.0 + sizes**2, sizes, order=1)
    assert found.value == pytest.approx(3.0)
    assert found.uncertainty == pytest.approx(6.0)
    assert abs(found.value - 5.0) < found.uncertainty


def test_two_values_are_as_uncertain_as_the_step_to_zero():
    found = extrapolate_voxel_size([1.1, 1.2], [1, 2])
    assert found.value == pytest.approx(1.0)
    assert found.uncertainty == pytest.approx(0.1)


def test_diffusivity_around_balls_comes_ten_times_closer_to_the_truth():
    """An eighth of a cell of a cubic lattice; 0.72705 by Rayleigh's series, the fraction of balls being 0.2."""
    c = (np.arange(48) + 0.5) / 96
    pores = c[:, None, None] ** 2 + c[:, None] ** 2 + c**2 > (0.75 * 0.2 / np.pi) ** (2 / 3)
    found = measure_coarsened(pores, lambda mask, factor: tortuosity(mask, axis=0).effective_diffusivity)
    truth = 0.72705
    assert np.all(np.diff(found.values) < 0)
    assert np.all(found.values < truth)
    assert abs(found.value - truth) < 0.2 * abs(found.values[0] - truth)
    assert abs(found.value - truth) < found.uncertainty


def test_surface_of_a_ball_stays_within_its_uncertainty():
    """Crofton's formula is nearly unbiased for smooth bodies; there is little left to extrapolate."""
    ball = np.sum((np.indices((84, 84, 84)) - 41.3) ** 2, axis=0) < 40**2
    found = measure_coarsened(
        ball, lambda mask, factor: minkowski(mask, boundary="closed").surface * factor**2, order=2
    )
    truth = 4 * np.pi * 40**2
    assert found.value == pytest.approx(truth, rel=0.01)
    assert abs(found.value - truth) < found.uncertainty


def test_majority_decides_and_ties_take_turns():
    block = np.zeros((2, 2, 2), bool)
    block.flat[:4] = True
    tied = np.tile(block, (4, 4, 4))
    assert coarsened(tied, 2).mean() == 0.5
    assert np.array_equal(coarsened(~tied, 2), coarsened(tied, 2))
    block.flat[4] = True
    assert coarsened(np.tile(block, (3, 3, 3)), 2).all()
    assert not coarsened(~np.tile(block, (3, 3, 3)), 2).any()


def test_coarsening_keeps_whole_blocks_only_and_large_shapes():
    mask = np.zeros((13, 9, 10), bool)
    mask[:6] = True
    found = coarsened(mask, 3)
    assert found.shape == (4, 3, 3)
    assert found[:2].all()
    assert not found[2:].any()
    assert np.array_equal(coarsened(mask, 1), mask)


@pytest.mark.parametrize(
    ("values", "sizes", "options", "sentence"),
    [
        ([1.0], [1.0], {}, "two or more values"),
        ([1.0, 2.0], [1.0], {}, "two or more values"),
        ([1.0, np.nan], [1.0, 2.0], {}, "finite"),
        ([1.0, 2.0], [1.0, -2.0], {}, "positive"),
        ([1.0, 2.0], [2.0, 2.0], {}, "once only"),
        ([1.0, "a"], [1.0, 2.0], {}, "sequences of numbers"),
        ([1.0, 2.0], [1.0, 2.0], {"order": 0}, "order is 0"),
    ],
)
def test_bad_values_are_refused(values, sizes, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        extrapolate_voxel_size(values, sizes, **options)


@pytest.mark.parametrize("factor", [0, 5, 1.5])
def test_bad_factor_is_refused(factor):
    with pytest.raises(ValueError, match="factor is"):
        coarsened(np.ones((4, 4, 4), bool), factor)
