"""Smoothness across slices of stacks whose Laplacian is known."""

import numpy as np
import pytest

from evaluate.slice_consistency import volumetric_smoothness


def test_slices_alike_score_one_and_alternating_ones_zero():
    alike = np.repeat(np.random.default_rng(0).random((1, 8, 9)) < 0.5, 7, axis=0)
    assert volumetric_smoothness(alike) == 1
    alternating = np.arange(8)[:, None, None] % 2 * np.ones((1, 5, 6))
    assert volumetric_smoothness(alternating) == 0
    assert volumetric_smoothness(alternating, axis=1) == 1


def test_probability_that_changes_linearly_is_smooth():
    ramp = np.linspace(0, 1, 9)[:, None, None] * np.ones((1, 4, 5))
    assert volumetric_smoothness(ramp) == pytest.approx(1)
    assert volumetric_smoothness((ramp > 0.5).astype(float)) == pytest.approx(1 - 2 / (2 * 7))


def test_loss_is_the_interfaces_crossed_along_the_axis_per_voxel():
    rng = np.random.default_rng(1)
    mask = rng.random((12, 10, 11)) < 0.3
    differs = np.diff(mask.astype(int), axis=0) != 0
    # Each interface is seen by the voxels on both sides, but for those of the first and the last slice.
    seen = differs[:-1].sum() + differs[1:].sum()
    assert 1 - volumetric_smoothness(mask) == pytest.approx(seen / 2 / mask[1:-1].size)


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_noise_has_the_smoothness_of_independent_slices(fraction):
    mask = np.random.default_rng(2).random((40, 60, 60)) < fraction
    expected = 1 - 2 * fraction * (1 - fraction)
    # Four standard errors; neighbouring voxels share a slice, so at most three times the variance of one.
    error = np.sqrt(3 * expected * (1 - expected) / mask.size)
    assert volumetric_smoothness(mask) == pytest.approx(expected, abs=4 * error)
    assert volumetric_smoothness(~mask) == pytest.approx(volumetric_smoothness(mask))


@pytest.mark.parametrize(
    ("phase", "axis", "message"),
    [
        (np.full((4, 4, 4), 2), 0, "of labels, say which phase"),
        (np.full((4, 4, 4), np.nan), 0, "within 0 and 1"),
        (np.full((4, 4, 4), -0.1), 0, "within 0 and 1"),
        (np.zeros((4, 4)), 0, "3-D"),
        (np.zeros((0, 4, 4)), 0, "3-D"),
        (np.zeros((2, 4, 4)), 0, "three or more"),
        (np.zeros((4, 4, 4)), 3, "axis"),
        (np.zeros((4, 4, 4), "U1"), 0, "dtype"),
    ],
)
def test_what_has_no_laplacian_is_refused(phase, axis, message):
    with pytest.raises(ValueError, match=message):
        volumetric_smoothness(phase, axis=axis)
