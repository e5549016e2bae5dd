import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segment import otsu, porosity_threshold
from volume import Volume

volumes = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=4), elements=st.integers(0, 9)).filter(
    lambda array: array.min() < array.max()
)


def _between_class_variance(grey, labels):
    """Otsu's criterion in exact arithmetic: w0 w1 (m0 - m1)²."""
    dark, bright = ([int(v) for v in grey[labels == k]] for k in (0, 1))
    if not dark or not bright:
        return Fraction(0)
    share = Fraction(len(dark), grey.size)
    return share * (1 - share) * (Fraction(sum(dark), len(dark)) - Fraction(sum(bright), len(bright))) ** 2


@given(volumes)
@settings(deadline=None)
def test_otsu_reaches_the_largest_between_class_variance_of_all_thresholds(grey):
    found = otsu(grey, median_size=1)
    best = max(_between_class_variance(grey, (grey > level).astype(int)) for level in np.unique(grey)[:-1])
    assert _between_class_variance(grey, found) == best
    assert grey[found == 0].max() < grey[found == 1].min()


@given(volumes, st.sampled_from(["uint8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64"]))
@settings(deadline=None)
def test_otsu_gives_the_same_labels_for_every_type_of_the_same_numbers(grey, dtype):
    np.testing.assert_array_equal(otsu(grey.astype(dtype), median_size=1), otsu(grey, median_size=1))


def test_otsu_of_floats_splits_no_level_of_an_8_bit_image():
    # Three levels, the middle one in the upper half of its bin of a 256-bin histogram: the centre of that bin, taken
    # as the threshold, would call it bright.
    levels = np.array([130, 183, 255], np.uint8)
    grey = np.repeat(levels, [500, 1000, 1000]).reshape(25, 10, 10)
    expected = (grey > 183).astype(np.uint8)
    np.testing.assert_array_equal(otsu(grey, median_size=1), expected)
    np.testing.assert_array_equal(otsu(grey.astype(np.float32) / 255, median_size=1), expected)


def test_otsu_agrees_with_scikit_image_on_8_bit_noise():
    from skimage.filters import threshold_otsu

    rng = np.random.default_rng(0)
    grey = np.clip(rng.normal(np.where(rng.random((20, 20, 20)) < 0.4, 80, 150), 25), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(otsu(grey, median_size=1), grey > threshold_otsu(grey))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("split", [otsu, lambda grey: porosity_threshold(grey, 0.25)])
def test_two_noisy_levels_are_split_exactly(dtype, split):
    rng = np.random.default_rng(1)
    truth = np.ones((16, 16, 16), np.uint8)
    truth[:, :, :4] = 0
    # Noise of ±40 around levels 100 apart never crosses the middle, and the median keeps a flat wall in its place.
    grey = (50 + 100 * truth + rng.integers(-40, 41, truth.shape)).astype(dtype)
    np.testing.assert_array_equal(split(grey), truth)


def test_median_size_1_leaves_a_single_voxel_that_size_3_removes():
    grey = np.zeros((5, 5, 5), np.uint8)
    grey[:, :, 3:] = 100
    grey[2, 2, 1] = 100
    assert otsu(grey, median_size=1)[2, 2, 1] == 1
    assert otsu(grey, median_size=3)[2, 2, 1] == 0


def test_otsu_of_values_that_differ_by_less_than_a_millionth_of_their_size_is_exact():
    grey = np.full((4, 4, 4), 1.0e6)
    grey[2:] += 0.01
    np.testing.assert_array_equal(otsu(grey, median_size=1), (grey > 1e6).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64])
def test_otsu_of_wide_whole_numbers_needs_no_bin_for_each(dtype):
    grey = np.zeros((4, 4, 4), dtype)
    grey[1] = 10
    grey[2:] = 2_000_000_000
    np.testing.assert_array_equal(otsu(grey, median_size=1), (grey > 10).astype(np.uint8))


@given(st.integers(2, 200), st.floats(1e-6, 1 - 1e-6), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_porosity_threshold_is_exact_to_half_a_voxel_for_distinct_values(count, porosity, seed):
    grey = np.random.default_rng(seed).permutation(count).reshape(1, 1, count)
    found = porosity_threshold(grey, porosity, median_size=1)
    assert abs(np.count_nonzero(found == 0) - porosity * count) <= 0.5 + 1e-9
    if found.min() < found.max():
        assert grey[found == 0].max() < grey[found == 1].min()


@given(volumes, st.floats(0.001, 0.999))
@settings(deadline=None)
def test_porosity_threshold_takes_the_nearest_porosity_that_a_threshold_can_give(grey, porosity):
    found = np.mean(porosity_threshold(grey, porosity, median_size=1) == 0)
    possible = [0.0, *(np.mean(grey <= level) for level in np.unique(grey))]
    # The wish is rounded to whole voxels first.
    wanted = round(porosity * grey.size) / grey.size
    assert abs(found - wanted) == pytest.approx(min(abs(p - wanted) for p in possible), abs=1e-12)


@pytest.mark.parametrize(("porosity", "expected"), [(0.34, 0.2), (0.36, 0.5)])
def test_voxels_that_share_the_threshold_go_to_the_nearer_porosity(porosity, expected):
    # 20 % at 0, 30 % at 1, 50 % at 2: nothing between 0.2 and 0.5 can be had.
    grey = np.repeat([0, 1, 2], [20, 30, 50]).reshape(1, 10, 10)
    assert np.mean(porosity_threshold(grey, porosity, median_size=1) == 0) == expected


def test_more_porosity_never_turns_pore_into_solid():
    grey = np.random.default_rng(2).integers(0, 50, (6, 7, 8)).astype(np.uint8)
    stack = [porosity_threshold(grey, p) for p in np.linspace(0.02, 0.98, 25)]
    for less, more in itertools.pairwise(stack):
        assert (more <= less).all()
    assert stack[0].mean() > stack[-1].mean()


def test_porosity_of_nearly_one_in_a_small_volume_makes_all_of_it_pore():
    grey = np.arange(8).reshape(2, 2, 2)
    assert not porosity_threshold(grey, 0.999, median_size=1).any()
    assert porosity_threshold(grey, 0.001, median_size=1).all()


@pytest.mark.parametrize("split", [otsu, lambda grey: porosity_threshold(grey, 0.5)])
def test_volume_gives_the_labels_of_its_array(split):
    grey = np.random.default_rng(3).integers(0, 255, (5, 6, 7), np.uint8)
    found = split(Volume(grey, (0.1, 0.1, 0.1)))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, split(grey))


@pytest.mark.parametrize(
    ("grey", "reason"),
    [
        (np.full((3, 3, 3), 7, np.uint8), "every grey value is 7"),
        (np.array([[[0.0, np.nan]]]), "1 grey values are NaN"),
        (np.array([[[0.0, np.inf]]]), "1 grey values are NaN or infinite"),
        (np.zeros((4, 4)), r"shape \(4, 4\)"),
        (np.zeros((0, 4, 4)), r"shape \(0, 4, 4\)"),
        (np.array([[[0, 1j]]]), "complex128"),
        (np.array([[[True, False]]]), "bool"),
    ],
)
@pytest.mark.parametrize("split", [otsu, lambda grey: porosity_threshold(grey, 0.5)])
def test_what_is_no_grey_volume_is_refused(split, grey, reason):
    with pytest.raises(ValueError, match=reason):
        split(grey)


@pytest.mark.parametrize("porosity", [-0.1, 0, 1, 1.5, float("nan")])
def test_porosity_outside_0_to_1_is_refused(porosity):
    with pytest.raises(ValueError, match="above 0 and below 1"):
        porosity_threshold(np.arange(8).reshape(2, 2, 2), porosity)


@pytest.mark.parametrize("size", [0, 2, -1])
def test_median_of_even_or_no_size_is_refused(size):
    with pytest.raises(ValueError, match="odd"):
        otsu(np.arange(8).reshape(2, 2, 2), median_size=size)


def test_volume_that_the_median_makes_constant_is_refused():
    grey = np.zeros((5, 5, 5), np.uint8)
    grey[2, 2, 2] = 9
    with pytest.raises(ValueError, match="after the median filter of size 3"):
        otsu(grey)
