import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from scipy.special import ndtr

from segment import otsu, porosity_threshold, thresholds
from segment.thresholds import hysteresis, hysteresis_levels, multi_otsu
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
@pytest.mark.parametrize(
    "split",
    [
        otsu,
        lambda grey: porosity_threshold(grey, 0.5),
        lambda grey: multi_otsu(grey, n_phases=3),
        lambda grey: hysteresis(grey, 1, 2),
        hysteresis_levels,
    ],
)
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


def _variance_between(grey, labels, n_phases):
    """Multi-Otsu's criterion in exact arithmetic, but for what all splits share: the sum of w m² over the classes."""
    classes = [[int(v) for v in grey[labels == k]] for k in range(n_phases)]
    return sum(Fraction(sum(c) ** 2, len(c)) for c in classes)


@given(volumes)
@settings(deadline=None, max_examples=30)
def test_multi_otsu_of_two_phases_is_otsu(grey):
    np.testing.assert_array_equal(multi_otsu(grey, n_phases=2, median_size=1), otsu(grey, median_size=1))


@given(volumes, st.integers(3, 5))
@settings(deadline=None, max_examples=60)
def test_multi_otsu_reaches_the_largest_variance_between_classes_of_all_thresholds(grey, n_phases):
    levels = np.unique(grey)
    if levels.size < n_phases:
        with pytest.raises(ValueError, match=f"{levels.size} different grey values for {n_phases} phases"):
            multi_otsu(grey, n_phases=n_phases, median_size=1)
        return
    found = multi_otsu(grey, n_phases=n_phases, median_size=1)
    best = max(
        _variance_between(grey, np.digitize(grey, cuts), n_phases)
        for cuts in itertools.combinations(levels[1:], n_phases - 1)
    )
    assert _variance_between(grey, found, n_phases) == best
    for k in range(n_phases - 1):
        assert grey[found == k].max() < grey[found == k + 1].min()


@pytest.mark.parametrize("n_phases", [3, 4])
def test_multi_otsu_agrees_with_scikit_image_on_8_bit_noise(n_phases):
    from skimage.filters import threshold_multiotsu

    rng = np.random.default_rng(0)
    grey = np.clip(rng.normal(rng.choice([50, 110, 190], (12, 12, 12)), 22), 0, 255).astype(np.uint8)
    expected = np.digitize(grey, threshold_multiotsu(grey, n_phases), right=True)
    np.testing.assert_array_equal(multi_otsu(grey, n_phases=n_phases, median_size=1), expected)


def test_multi_otsu_of_thousands_of_levels_is_no_worse_than_any_small_shift_of_a_threshold():
    grey = np.random.default_rng(1).gamma(2.0, 1000, (20, 20, 20)).astype(np.uint16)
    found = multi_otsu(grey, n_phases=4, median_size=1)
    cuts = np.array([grey[found == k].min() for k in (1, 2, 3)])
    best = _variance_between(grey, found, 4)
    for axis, shift in itertools.product(range(3), (-40, -1, 1, 40)):
        moved = cuts + shift * (np.arange(3) == axis)
        assert _variance_between(grey, np.digitize(grey, moved), 4) <= best


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float64"])
def test_multi_otsu_finds_four_levels_of_any_type(dtype):
    truth = np.random.default_rng(2).permutation(np.repeat([0, 1, 2, 3], [10, 400, 50, 52])).reshape(8, 8, 8)
    grey = np.array([3, 20, 60, 90])[truth].astype(dtype)
    np.testing.assert_array_equal(multi_otsu(grey, n_phases=4, median_size=1), truth)


@pytest.mark.parametrize("n_phases", [1, 0, -2, 256, 2.0, True, None])
def test_number_of_phases_that_labels_cannot_hold_is_refused(n_phases):
    with pytest.raises(ValueError, match="whole number from 2 to 255"):
        multi_otsu(np.arange(8).reshape(2, 2, 2), n_phases=n_phases)


def test_porosity_beside_a_layer_set_aside_is_that_of_the_other_voxels():
    rng = np.random.default_rng(4)
    grey = rng.permutation(1000).reshape(10, 10, 10)
    aside = rng.random(grey.shape) < 0.3
    found = porosity_threshold(grey, 0.4, median_size=1, aside=aside)
    assert (found[aside] == 1).all()
    others = found[~aside]
    assert np.count_nonzero(others == 0) == round(0.4 * others.size)
    assert grey[~aside][others == 0].max() < grey[~aside][others == 1].min()
    elsewhere = np.where(aside, rng.integers(0, 1000, grey.shape), grey)
    np.testing.assert_array_equal(porosity_threshold(elsewhere, 0.4, median_size=1, aside=aside), found)


def test_setting_nothing_aside_changes_nothing():
    grey = np.random.default_rng(5).integers(0, 50, (6, 7, 8))
    expected = porosity_threshold(grey, 0.3)
    np.testing.assert_array_equal(porosity_threshold(grey, 0.3, aside=np.zeros(grey.shape, bool)), expected)


@pytest.mark.parametrize(
    ("aside", "reason"),
    [
        (np.zeros((2, 2, 3), bool), r"shape \(2, 2, 3\)"),
        (np.zeros((2, 2, 2), np.uint8), "uint8"),
        (np.ones((2, 2, 2), bool), "set fewer aside"),
        (np.arange(8).reshape(2, 2, 2) > 0, "set fewer aside"),
    ],
)
def test_layer_to_set_aside_that_does_not_fit_is_refused(aside, reason):
    with pytest.raises(ValueError, match=reason):
        porosity_threshold(np.arange(8).reshape(2, 2, 2), 0.5, median_size=1, aside=aside)


@given(volumes, st.integers(0, 9), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_hysteresis_is_the_propagation_of_what_is_bright_through_what_is_fairly_bright(grey, one, other):
    low, high = sorted((one, other))
    expected = ndimage.binary_propagation(grey > high, np.ones((3, 3, 3)), mask=grey > low)
    found = hysteresis(grey, low, high, median_size=1)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_hysteresis_follows_a_chain_by_its_corners_and_stops_at_a_gap():
    grey = np.zeros((9, 9, 9))
    chain = np.arange(9)
    grey[chain, chain, chain] = 0.5
    grey[0, 0, 0] = 1.0
    assert hysteresis(grey, 0.3, 0.8, median_size=1)[chain, chain, chain].all()
    grey[4, 4, 4] = 0.2
    found = hysteresis(grey, 0.3, 0.8, median_size=1)
    assert found[chain, chain, chain].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_hysteresis_with_nothing_above_the_high_level_is_all_pore():
    assert not hysteresis(np.arange(27).reshape(3, 3, 3), 5, 26, median_size=1).any()


@pytest.mark.parametrize(("low", "high"), [(3, 2), (np.nan, 2), (1, np.nan), (-np.inf, 2), (1, np.inf)])
def test_hysteresis_levels_out_of_order_are_refused(low, high):
    with pytest.raises(ValueError, match="low not above high"):
        hysteresis(np.arange(8).reshape(2, 2, 2), low, high)


def _blurred_step(blur, noise=0.0, slant=(0.0, 0.0)):
    z, y, x = np.indices((32, 20, 40)) - np.array([15.5, 9.5, 19.5])[:, None, None, None]
    distance = (x + slant[0] * y + slant[1] * z) / np.sqrt(1 + slant[0] ** 2 + slant[1] ** 2)
    return 100 + 50 * ndtr(distance / blur) + 50 * noise * np.random.default_rng(0).normal(size=distance.shape)


# The plane is slanted, so that voxels sample all of its levels. Of the step, the smoothing over levels is 0.008 wide,
# and noise of 0.1 is 0.015 after the Gaussian: together with the grid's own 0.01 less than 0.04.
@pytest.mark.parametrize(("blur", "noise"), [(1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (1.0, 0.1), (2.0, 0.1)])
def test_levels_of_a_blurred_step_are_where_its_gradient_is_half(blur, noise):
    grey = _blurred_step(blur, noise, (0.37, 0.21))
    expected = 100 + 50 * ndtr(np.sqrt(2 * np.log(2)) * np.array([-1, 1]))
    np.testing.assert_allclose(hysteresis_levels(grey, low_at="pore"), expected, atol=0.04 * 50)
    low, high = hysteresis_levels(grey)
    assert low == pytest.approx(125, abs=0.04 * 50)
    assert high == hysteresis_levels(grey, low_at="pore")[1]


def test_levels_found_split_a_blurred_step_at_its_middle():
    grey = _blurred_step(2.0)
    low, high = hysteresis_levels(grey)
    np.testing.assert_array_equal(hysteresis(grey, low, high), grey > 125)


def test_levels_follow_gain_and_offset():
    grey = _blurred_step(1.5, 0.05)
    np.testing.assert_allclose(
        hysteresis_levels(3 * grey - 1000), 3 * np.array(hysteresis_levels(grey)) - 1000, rtol=1e-9
    )


def test_levels_found_slab_by_slab_are_those_of_the_whole(monkeypatch):
    grey = np.random.default_rng(3).normal(np.indices((40, 12, 12))[0] > 17, 0.1)
    slabs = hysteresis_levels(grey)
    monkeypatch.setattr(thresholds, "GRADIENT_SLAB", 1000)
    assert slabs == pytest.approx(hysteresis_levels(grey), rel=1e-12)


def test_noise_alone_has_no_boundary():
    with pytest.raises(ValueError, match="no boundary stands out"):
        hysteresis_levels(np.random.default_rng(0).normal(size=(30, 30, 30)))


@pytest.mark.parametrize(
    ("choice", "reason"),
    [({"scale_vox": 0}, "0.5 to 20"), ({"scale_vox": np.nan}, "0.5 to 20"), ({"low_at": "solid"}, "'boundary' or")],
)
def test_hysteresis_levels_refuses_what_it_does_not_know(choice, reason):
    with pytest.raises(ValueError, match=reason):
        hysteresis_levels(np.arange(27).reshape(3, 3, 3), **choice)
