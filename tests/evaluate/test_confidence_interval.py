"""Confidence intervals against the scatter of volumes drawn from a medium whose fractions are not forced."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from evaluate import minkowski, porosity, two_point
from evaluate.transport import tortuosity
from evaluate.uncertainty import confidence_interval
from evaluate.uncertainty.mean_of_a_field import error_of_mean

DRAWS = 32


def draw(seed, *, side, sigma, fraction):
    """Part of a Gaussian field, smoothed white noise of known variance, below the level of a fraction."""
    margin = 6 * sigma
    noise = np.random.default_rng(seed).standard_normal((side + margin,) * 3)
    kernel = np.exp(-(np.arange(-60, 61) ** 2) / (2 * sigma**2))
    scale = np.sqrt(np.sum((kernel / kernel.sum()) ** 2)) ** 3
    field = gaussian_filter(noise, sigma, mode="wrap", truncate=6)[:side, :side, :side]
    return field / scale < norm.ppf(fraction)


def least_coverage(draws, nominal=0.95):
    """Three standard deviations of the binomial below the nominal coverage."""
    return nominal - 3 * np.sqrt(nominal * (1 - nominal) / draws)


@pytest.mark.parametrize(("side", "sigma", "fraction"), [(32, 2, 0.5), (40, 3, 0.3)])
def test_porosity_is_covered_as_often_as_promised(side, sigma, fraction):
    found = [confidence_interval(draw(k, side=side, sigma=sigma, fraction=fraction)) for k in range(DRAWS)]
    covered = np.mean([interval.low < fraction < interval.high for interval in found])
    assert covered >= least_coverage(DRAWS)
    # The standard errors match the scatter: that of 32 draws is known to 13 %, and the estimate itself is rough.
    scatter = np.std([interval.value for interval in found], ddof=1)
    expected = np.sqrt(np.mean([interval.standard_error**2 for interval in found]))
    assert 0.7 < expected / scatter < 1.4


def test_surface_is_covered_as_often_as_promised():
    draws = 20
    found = [confidence_interval(draw(k, side=32, sigma=2, fraction=0.4), "specific_surface") for k in range(draws)]
    values = np.array([interval.value for interval in found])
    covered = np.mean([interval.low < values.mean() < interval.high for interval in found])
    assert covered >= least_coverage(draws)


def test_band_of_s2_covers_each_distance_as_often_as_promised():
    draws = 20
    found = [confidence_interval(draw(k, side=32, sigma=2, fraction=0.4), "two_point", r_max=6) for k in range(draws)]
    truth = np.mean([band.value for band in found], axis=0)
    covered = np.mean([(band.low < truth) & (truth < band.high) for band in found], axis=0)
    assert np.all(covered >= least_coverage(draws))


def test_tortuosity_is_covered_most_of_the_time():
    """Eight blocks that touch know less than eight volumes: a few per cent below the nominal coverage are allowed."""
    draws = 20
    found = [confidence_interval(draw(k, side=32, sigma=2, fraction=0.6), "tortuosity", axis=0) for k in range(draws)]
    truth = np.mean([interval.value for interval in found])
    covered = np.mean([interval.low < truth < interval.high for interval in found])
    assert covered >= least_coverage(draws, 0.9)


def test_independent_cells_have_the_plain_standard_error():
    """σ/√n, to within the 1/√(2 df) of its estimate."""
    field = np.random.default_rng(0).standard_normal((16, 16, 16))
    found = error_of_mean(field, (1.0, 1.0, 1.0))
    assert found.degrees_of_freedom > 50
    assert found.standard_error == pytest.approx(1 / 64, rel=4 / np.sqrt(2 * found.degrees_of_freedom))


def test_cells_that_repeat_each_other_count_once():
    """Cells in groups of 2 × 2 × 2 equal ones: an eighth as many are independent."""
    few = np.random.default_rng(1).standard_normal((12, 12, 12))
    many = few.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    found = error_of_mean(many, (1.0, 1.0, 1.0))
    assert found.standard_error == pytest.approx(12**-1.5, rel=4 / np.sqrt(2 * found.degrees_of_freedom))


def test_values_are_those_of_the_measures():
    mask = draw(0, side=32, sigma=2, fraction=0.6)
    assert confidence_interval(mask).value == porosity(~mask)
    assert confidence_interval(mask, "specific_surface").value == minkowski(mask).specific_surface
    assert confidence_interval(mask, "tortuosity", axis=1).value == tortuosity(mask, axis=1).tortuosity
    band = confidence_interval(mask, "two_point", r_max=5)
    np.testing.assert_array_equal(band.value, two_point(mask, r_max=5).s2)
    assert len(band.r) == 6


def test_interval_contains_the_value_and_grows_with_the_level():
    mask = draw(1, side=32, sigma=2, fraction=0.5)
    for quantity, options in (("porosity", {}), ("specific_surface", {}), ("tortuosity", {"axis": 2})):
        wide, narrow = (confidence_interval(mask, quantity, level=level, **options) for level in (0.99, 0.5))
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_numbers_of_numpy_are_numbers():
    mask = draw(1, side=32, sigma=2, fraction=0.5)
    one, other = confidence_interval(mask, level=np.float32(0.5)), confidence_interval(mask, level=0.5)
    assert (one.low, one.high) == (other.low, other.high)


def test_porosity_and_complement_are_equally_uncertain():
    mask = draw(2, side=32, sigma=2, fraction=0.3)
    one, other = confidence_interval(mask), confidence_interval(~mask)
    assert one.standard_error == pytest.approx(other.standard_error, rel=1e-9)
    assert one.low == pytest.approx(1 - other.high)


def test_surface_has_the_unit_of_the_voxels():
    mask = draw(3, side=24, sigma=2, fraction=0.5)
    voxels = confidence_interval(mask, "specific_surface")
    physical = confidence_interval(mask, "specific_surface", voxel_size_um=(0.1, 0.1, 0.1))
    assert (voxels.unit, physical.unit) == ("1/voxel", "1/um")
    assert physical.high == pytest.approx(10 * voxels.high, rel=1e-9)


def test_upper_end_is_infinite_where_no_path_cannot_be_excluded():
    """A single path, straight in two blocks of eight and none in the others, with a long way across between them."""
    mask = np.zeros((32, 32, 32), bool)
    mask[:16, 3, 3] = mask[16:, 28, 28] = True
    mask[15, 3:29, 3] = mask[15, 28, 3:29] = True
    found = confidence_interval(mask, "tortuosity", axis=0)
    assert found.high == np.inf
    assert 1 <= found.low < found.value


NOISE = np.random.default_rng(4).random((20, 20, 20)) < 0.7


@pytest.mark.parametrize(
    ("mask", "quantity", "options", "sentence"),
    [
        (NOISE, "euler", {}, "quantity is 'euler'"),
        (NOISE, "porosity", {"level": 95}, "level is 95"),
        (NOISE, "porosity", {"level": np.nan}, "level is nan"),
        (NOISE, "tortuosity", {}, "wants axis=0, 1 or 2"),
        (NOISE, "porosity", {"axis": 0}, "has no axis"),
        (NOISE, "tortuosity", {"axis": 5}, "axis is 5"),
        (NOISE, "porosity", {"r_max": 3}, "has no r_max"),
        (NOISE, "two_point", {"r_max": 20}, "r_max is 20"),
        (NOISE[:8], "porosity", {}, "at least 16 voxels along each axis"),
        (NOISE | True, "porosity", {}, "True everywhere"),
        (NOISE & False, "specific_surface", {}, "False everywhere"),
        (NOISE * 2, "porosity", {}, "other than 0 and 1"),
    ],
)
def test_bad_arguments_of_the_interval_are_refused(mask, quantity, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        confidence_interval(mask, quantity, **options)
