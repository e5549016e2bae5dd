"""Surfaces whose roughness is known in closed form, and where published tools get it wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import volume
from evaluate.layers import roughness_of_heights, surface_roughness

PI = np.pi


def solid_below(heights, n, step=1.0):
    """Solid from the far end of axis 0 up to a height above it; seen from coordinate 0."""
    above_far_end = (n - np.arange(n) - 0.5) * step
    return above_far_end[:, None, None] <= np.asarray(heights)[None]


def cosine(shape, amplitude, wavelength):
    """Along the last axis; whole waves, even about the middle, so that no slope is in it."""
    x = (np.arange(shape[1]) + 0.5) * 2 * PI / wavelength
    return np.broadcast_to(amplitude * np.cos(x), shape)


def test_sinusoid_has_its_ra_rq_and_peaks():
    found = roughness_of_heights(cosine((40, 1000), 3.0, 100))
    assert found.ra == found.sa == pytest.approx(2 * 3 / PI, rel=1e-3)
    assert found.rq == found.sq == pytest.approx(3 / np.sqrt(2), rel=1e-6)
    assert found.sp == pytest.approx(3, rel=1e-3)
    assert found.sv == pytest.approx(3, rel=1e-3)
    assert found.rz == found.sz == pytest.approx(6, rel=1e-3)
    assert found.ssk == pytest.approx(0, abs=1e-6)
    assert found.sku == pytest.approx(1.5, rel=1e-3)


def test_developed_area_of_a_sinusoid_is_its_arc_length():
    found = roughness_of_heights(cosine((4, 4000), 3.0, 40))
    t = (np.arange(100_000) + 0.5) / 100_000 * 2 * PI
    arc = np.sqrt(1 + (3 * 2 * PI / 40 * np.sin(t)) ** 2).mean()
    # Chords are shorter than the arc.
    assert arc - 1 > found.sdr > 0.99 * (arc - 1)


def test_developed_area_of_a_tilted_plane_is_exact():
    a, b = np.indices((20, 30))
    found = roughness_of_heights(0.3 * a * 2 - 0.7 * b * 0.5, pixel=(2, 0.5), levelling_degree=0)
    assert found.sdr == pytest.approx(np.sqrt(1 + 0.3**2 + 0.7**2) - 1, rel=1e-9)


@pytest.mark.parametrize("step", [1.0, 0.5])
def test_sinusoid_in_voxels_has_its_ra_in_micrometres(step):
    # Whole voxels add a twelfth of their square to that of Rq; the wave is 24 voxels high or more.
    mask = solid_below(30 * step + cosine((8, 320), 12.0 * step, 80), 60, step)
    found = surface_roughness(mask, voxel_size_um=(step, 1, 1))
    assert found.unit == "um"
    # A wave of 80 has 20 heights that differ in size; each is rounded by 12^-1/2 voxels.
    error = 4 * 12**-0.5 / np.sqrt(20) * step
    assert found.sa == pytest.approx(2 * 12 * step / PI, abs=error)
    assert found.sq == pytest.approx(np.hypot(12 / np.sqrt(2), 12**-0.5) * step, abs=error)
    assert found.sz == pytest.approx(24 * step, abs=step)


def test_white_noise_has_the_ra_of_normal_heights():
    n = 300
    found = roughness_of_heights(np.random.default_rng(0).normal(0, 2.5, (n, n)))
    # Standard errors of the mean of |h| and of the root mean square.
    error = 4 * 2.5 / n
    assert found.sa == pytest.approx(2.5 * np.sqrt(2 / PI), abs=error * np.sqrt(1 - 2 / PI))
    assert found.sq == pytest.approx(2.5, abs=error / np.sqrt(2))
    assert found.ssk == pytest.approx(0, abs=4 * np.sqrt(6) / n)
    assert found.sku == pytest.approx(3, abs=4 * np.sqrt(24) / n)


def test_tilted_plane_is_smooth_once_levelled():
    a, b = np.indices((50, 70))
    tilted = 0.3 * a - 0.8 * b + 5
    assert roughness_of_heights(tilted).sq < 1e-9
    assert roughness_of_heights(tilted, levelling_degree=0).sq == pytest.approx(tilted.std())
    bent = tilted + 0.01 * (a - 20) ** 2 + 0.02 * a * b
    assert roughness_of_heights(bent).sq > 1
    assert roughness_of_heights(bent, levelling_degree=2).sq < 1e-9


def test_levelling_takes_the_plane_off_that_least_squares_give():
    rng = np.random.default_rng(1)
    heights, valid = rng.normal(size=(23, 17)), rng.random((23, 17)) < 0.7
    a, b = np.nonzero(valid)
    design = np.column_stack([np.ones(len(a)), a, b])
    left = heights[valid] - design @ np.linalg.lstsq(design, heights[valid], rcond=None)[0]
    np.testing.assert_allclose(roughness_of_heights(heights, valid=valid).heights[valid], left, atol=1e-6)


def test_flat_surface_has_no_roughness_and_no_shape():
    found = surface_roughness(np.ones((5, 9, 8), bool))
    assert (found.sa, found.sq, found.sz, found.sdr) == (0, 0, 0, 0)
    assert found.ssk is None
    assert found.sku is None
    assert found.c_ra is None
    assert found.sigma_ra == 0


def test_side_and_axis_say_from_where_one_looks():
    rng = np.random.default_rng(2)
    low, high = rng.integers(10, 20, (16, 18)), rng.integers(1, 7, (16, 18))
    z = np.arange(30)[:, None, None]
    mask = (z >= high) & (z < 10 + low)
    seen = {side: surface_roughness(mask, side=side, levelling_degree=0) for side in ("low", "high")}
    np.testing.assert_allclose(seen["low"].heights, high.mean() - high, atol=1e-5)
    np.testing.assert_allclose(seen["high"].heights, low - low.mean(), atol=1e-5)
    for axis in (1, 2):
        turned = surface_roughness(np.moveaxis(mask, 0, axis), axis=axis, levelling_degree=0)
        np.testing.assert_array_equal(turned.heights, seen["low"].heights)


def test_a_peak_is_positive_from_either_side():
    mask = np.zeros((20, 15, 15), bool)
    mask[6:14] = True
    mask[3:17, 7, 7] = True
    for side in ("low", "high"):
        found = surface_roughness(mask, side=side)
        assert found.ssk > 3
        assert found.sp > 2.9 > 0.5 > found.sv


def test_columns_without_a_surface_do_not_count():
    heights = np.zeros((20, 20))
    heights[:, :10] = 2.0
    valid = np.ones((20, 20), bool)
    valid[5:9, 3:17] = False
    heights[~valid] = np.nan
    found = roughness_of_heights(heights, valid=valid, levelling_degree=0)
    assert found.sa == found.sq == pytest.approx(1)
    assert found.coverage == pytest.approx(1 - 56 / 400)
    assert np.isfinite(found.heights).all()
    assert (found.heights[~valid] == 0).all()


def test_deep_pores_are_no_surface_if_asked():
    mask = solid_below(np.full((20, 20), 30.0), 40)
    mask[:30, 4:7, 4:7] = False
    assert surface_roughness(mask).sv > 15
    cropped = surface_roughness(mask, deepest=5)
    assert cropped.sq < 1e-6
    assert cropped.coverage == pytest.approx(1 - 9 / 400)
    assert surface_roughness(mask, deepest=11, voxel_size_um=(0.5, 1, 1)).coverage == 1


def test_patches_are_regions_of_the_plan():
    # Half the plan is smooth, half is rough: a patch that is a region has one roughness or the other. Ten vertices in
    # the order of their numbers run along a row, across both halves.
    a, b = np.indices((64, 64))
    heights = np.where(b < 32, 0.0, np.where((a + b) % 2, 3.0, -3.0))
    found = roughness_of_heights(heights, patch=8, levelling_degree=0)
    assert found.local_ra.shape == (8, 8)
    assert found.patch == (8, 8)
    np.testing.assert_allclose(found.local_ra[:, :4], 0)
    np.testing.assert_allclose(found.local_ra[:, 4:], 3)
    assert found.sigma_ra == pytest.approx(1.5)
    assert found.sa == pytest.approx(1.5)
    assert found.c_ra == pytest.approx(1)


def test_patches_are_square_in_micrometres():
    heights = np.random.default_rng(3).normal(size=(60, 120))
    found = roughness_of_heights(heights, pixel=(2.0, 0.5), patch=10.0)
    assert found.local_ra.shape == (12, 6)
    assert found.patch == (10, 10)
    # Each is the mean distance from the mean within its own window.
    window = found.heights[5:10, 20:40].astype(float)
    assert found.local_ra[1, 1] == pytest.approx(np.abs(window - window.mean()).mean(), rel=1e-5)


def test_a_patch_that_is_mostly_hole_does_not_count():
    heights = np.random.default_rng(4).normal(size=(32, 32))
    valid = np.ones((32, 32), bool)
    valid[:8, :5] = False
    found = roughness_of_heights(heights, valid=valid, patch=8)
    assert not found.local_valid[0, 0]
    assert found.local_ra[0, 0] == 0
    assert found.local_valid.sum() == 15
    assert found.sigma_ra == pytest.approx(found.local_ra[found.local_valid].std(), rel=1e-5)


def test_one_patch_has_no_variation():
    found = roughness_of_heights(np.random.default_rng(5).normal(size=(9, 9)), patch=9)
    assert found.local_ra.shape == (1, 1)
    assert found.sigma_ra is None
    assert found.c_ra is None


def test_a_row_of_columns_has_no_developed_area():
    assert roughness_of_heights([[0.0, 1.0, 0.0, 1.0]]).sdr is None


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 1000),
    st.floats(0.1, 10),
    st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
    st.tuples(st.integers(2, 20), st.integers(2, 20)),
)
def test_roughness_scales_with_heights_and_ignores_planes(seed, factor, slopes, shape):
    rng = np.random.default_rng(seed)
    heights = rng.normal(size=shape)
    a, b = np.indices(shape)
    one = roughness_of_heights(heights)
    other = roughness_of_heights(factor * heights + slopes[0] * a + slopes[1] * b)
    assert other.sa == pytest.approx(factor * one.sa, rel=1e-6, abs=1e-9)
    assert other.sz == pytest.approx(factor * one.sz, rel=1e-6, abs=1e-9)
    assert one.sa <= one.sq * (1 + 1e-9)


def test_voxel_size_of_a_volume_is_used():
    mask = solid_below(10 + cosine((8, 80), 6.0, 40), 20)
    named = volume.Volume(mask.astype(np.uint8), voxel_size_um=(0.5, 1.0, 1.0))
    assert surface_roughness(named).sa == pytest.approx(0.5 * surface_roughness(mask).sa)
    assert surface_roughness(named).unit == "um"
    assert surface_roughness(mask).unit == "voxel"


@pytest.mark.parametrize(
    ("mask", "given_as", "message"),
    [
        (np.zeros((4, 5, 6), bool), {}, "mask has no True voxel; there is no surface to measure"),
        (np.ones((5, 6), bool), {}, "mask has shape .5, 6.; an array of 3-D is accepted"),
        (np.full((4, 5, 6), 2), {}, "mask holds values other than 0 and 1"),
        (np.full((4, 5, 6), np.nan), {}, "mask holds values other than 0 and 1"),
        (np.ones((4, 5, 6)), {"axis": 3}, "axis is 3; it must be from 0 to 2"),
        (np.ones((4, 5, 6)), {"side": "top"}, "side is 'top'; it must be one of 'low', 'high'"),
        (np.ones((4, 5, 6)), {"levelling_degree": -1}, "levelling_degree is -1; it must be from 0 to 6"),
        (np.ones((4, 5, 6)), {"levelling_degree": 1.5}, "levelling_degree is 1.5; it must be a whole number"),
        (np.ones((4, 5, 6)), {"patch": 0}, "patch is 0; give a length above 0"),
        (np.ones((4, 5, 6)), {"patch": np.nan}, "patch is nan; give a length above 0"),
        (np.ones((4, 5, 6)), {"patch": 7}, "patch is 7, larger than the plan of 5 by 6; give a smaller one"),
        (np.ones((4, 5, 6)), {"deepest": "all"}, "deepest is 'all'; give a length above 0"),
        (np.ones((4, 5, 6)), {"voxel_size_um": (1, 1, 0)}, "must be positive and finite"),
    ],
)
def test_bad_masks_and_arguments_are_refused(mask, given_as, message):
    with pytest.raises(ValueError, match=message):
        surface_roughness(mask, **given_as)


@pytest.mark.parametrize(
    ("heights", "given_as", "message"),
    [
        (np.zeros((2, 3, 4)), {}, "heights have shape .2, 3, 4.; give a 2-D array"),
        (np.zeros((0, 4)), {}, "give a 2-D array that is not empty"),
        ([["a", "b"]], {}, "heights are not numbers"),
        ([[0.0, np.nan]], {}, "heights are NaN or infinite in places; say with valid"),
        ([[0.0, np.inf]], {}, "heights are NaN or infinite in places; say with valid"),
        (np.zeros((2, 3)), {"valid": np.zeros((2, 3), bool)}, "no column is valid"),
        (np.zeros((2, 3)), {"valid": np.ones((3, 2), bool)}, "valid has shape .3, 2."),
        (np.zeros((2, 3)), {"valid": np.ones((2, 3))}, "dtype float64; give booleans of shape"),
        (np.zeros((2, 3)), {"pixel": (1, -1)}, "pixel is .1, -1.; give two positive, finite distances"),
        (np.zeros((2, 3)), {"pixel": 1.0}, "pixel is 1.0; give two positive, finite distances"),
    ],
)
def test_bad_heights_are_refused(heights, given_as, message):
    with pytest.raises(ValueError, match=message):
        roughness_of_heights(heights, **given_as)
