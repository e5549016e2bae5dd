from fractions import Fraction

import numpy as np
import pytest

from segment.preprocessing import Levels, Preprocessing, normalise
from volume import Volume

KINDS = ("none", "stretch", "equalise", "percentile")
TYPES = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64, np.float16, np.float32, np.float64)

# The well-known 8 × 8 example of equalisation, and its result for L = 256.
EXAMPLE = np.array(
    [
        [52, 55, 61, 59, 79, 61, 76, 61],
        [62, 59, 55, 104, 94, 85, 59, 71],
        [63, 65, 66, 113, 144, 104, 63, 72],
        [64, 70, 70, 126, 154, 109, 71, 69],
        [67, 73, 68, 106, 122, 88, 68, 68],
        [68, 79, 60, 70, 77, 66, 58, 75],
        [69, 85, 64, 58, 55, 61, 65, 83],
        [70, 87, 69, 68, 65, 73, 78, 90],
    ],
    np.uint8,
)
EQUALISED = np.array(
    [
        [0, 12, 53, 32, 190, 53, 174, 53],
        [57, 32, 12, 227, 219, 202, 32, 154],
        [65, 85, 93, 239, 251, 227, 65, 158],
        [73, 146, 146, 247, 255, 235, 154, 130],
        [97, 166, 117, 231, 243, 210, 117, 117],
        [117, 190, 36, 146, 178, 93, 20, 170],
        [130, 202, 73, 20, 12, 53, 85, 194],
        [146, 206, 130, 117, 85, 166, 182, 215],
    ]
)


def seen(kind, volume):
    preprocessing = Preprocessing(kind)
    return preprocessing.apply(volume, preprocessing.measure(volume))


def stack(dtype, shape=(7, 12, 9)):
    """Values all over the narrow types; of floats, also negative ones and many decimals."""
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.normal(3, 20, shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return rng.integers(max(bounds.min, -30000), min(bounds.max, 60000), shape, dtype, endpoint=True)


class Lazy:
    """An array that can only be read slab by slab, and remembers the largest."""

    def __init__(self, array, chunks=None):
        self.array, self.shape, self.dtype, self.largest, self.ends = array, array.shape, array.dtype, 0, set()
        if chunks:
            self.chunks = chunks

    def __getitem__(self, where):
        part = self.array[where]
        self.largest = max(self.largest, part.size)
        self.ends.add(where.start)
        return part

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("read as a whole")


# The equations


def test_equalised_example_equals_its_published_result():
    volume = np.stack([EXAMPLE, EXAMPLE.T])
    found = seen("equalise", volume)
    np.testing.assert_array_equal(found, np.stack([EQUALISED, EQUALISED.T]).astype(np.float64).astype(np.float32) / 255)


@pytest.mark.parametrize("dtype", TYPES)
def test_equalised_slice_equals_the_equation_value_by_value(dtype):
    volume = stack(dtype)
    L = {1: 256, 2: 65536}.get(np.dtype(dtype).itemsize, 65536) if np.dtype(dtype).kind in "ui" else 65536
    for plane, found in zip(volume, seen("equalise", volume), strict=True):
        cdf_min = np.count_nonzero(plane == plane.min())
        for value, h in zip(plane.ravel(), found.ravel(), strict=True):
            cdf = np.count_nonzero(plane <= value)
            expected = round(Fraction(cdf - cdf_min, plane.size - cdf_min) * (L - 1))
            assert abs(h - expected / (L - 1)) <= 1e-6


@pytest.mark.parametrize("dtype", TYPES)
def test_stretched_slice_equals_the_equation_in_fractions(dtype):
    volume = stack(dtype)
    for plane, found in zip(volume, seen("stretch", volume), strict=True):
        low, high = Fraction(plane.min().item()), Fraction(plane.max().item())
        expected = [float((Fraction(value.item()) - low) / (high - low)) for value in plane.ravel()]
        np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=2e-7)
        assert found.min() == 0
        assert found.max() == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_none_takes_whole_numbers_over_the_range_of_their_type(dtype):
    bounds = np.iinfo(dtype)
    volume = np.array([bounds.min, bounds.max, (bounds.min + bounds.max) // 2], dtype).reshape(1, 1, 3)
    np.testing.assert_allclose(seen("none", volume).ravel(), [0, 1, 0.5], atol=0.002)
    assert Preprocessing("none").measure(volume) == Levels(bounds.min, bounds.max)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_none_leaves_floating_point_values_as_they_are(dtype):
    volume = stack(dtype)
    np.testing.assert_array_equal(seen("none", volume), volume.astype(np.float32))


def percentiles_written_out(grey):
    """Scale between percentiles as the shipped segmenter was trained with, kept here as a frozen copy."""
    stride = max(1, int(np.ceil((grey.size / 4e6) ** (1 / 3))))
    low, high = np.percentile(grey[::stride, ::stride, ::stride], [1, 99])
    if low == high:
        low, high = grey.min().item(), grey.max().item()
    wide = np.result_type(grey.dtype, np.float32).type
    scaled = (grey.astype(wide, copy=False) - wide(low)) / wide(high - low)
    return np.clip(scaled, -0.5, 1.5).astype(np.float32, copy=False)


@pytest.mark.parametrize("dtype", [*TYPES, np.longdouble])
def test_percentiles_equal_those_of_the_shipped_model_to_the_bit(dtype):
    for volume in (stack(np.float64).astype(dtype), stack(dtype) if dtype in TYPES else stack(np.float64)):
        for same in (volume, np.asfortranarray(volume), volume[::-1]):
            np.testing.assert_array_equal(normalise(same), percentiles_written_out(same))


def test_percentiles_of_a_subset_equal_those_of_the_shipped_model_however_it_is_read(monkeypatch):
    volume = stack(np.uint16, (41, 50, 37))
    # 76 thousand voxels: stride 3.
    monkeypatch.setattr("segment.preprocessing.SUBSET", 4e3)
    low, high = np.percentile(volume[::3, ::3, ::3], [1, 99])
    for planes in (1, 2, 5, 40, 41, 100):
        monkeypatch.setattr("segment.preprocessing.SLAB", planes * 50 * 37)
        assert Preprocessing("percentile").measure(volume) == Levels(low, high)


@pytest.mark.parametrize("kind", ["stretch", "percentile"])
@pytest.mark.parametrize(("gain", "offset"), [(257, 0), (1, 1000), (64, 17), (2.0**-8, 0.5), (1e9, 1e12)])
def test_scale_does_not_depend_on_gain_and_offset(kind, gain, offset):
    volume = stack(np.uint8)
    whole = isinstance(gain, int)
    changed = (volume.astype(np.uint16 if whole else np.float64) * gain + offset).astype(np.uint16 if whole else float)
    np.testing.assert_allclose(seen(kind, changed), seen(kind, volume), rtol=0, atol=1e-6)


def test_equalised_values_depend_on_their_order_alone():
    volume = stack(np.float64)
    np.testing.assert_array_equal(seen("equalise", np.exp(volume / 10)), seen("equalise", volume))


def test_equalised_ranks_are_spread_evenly():
    volume = np.random.default_rng(1).gamma(2, 3, (2, 100, 100))
    # All different: the sorted values are k / (MN − 1), rounded to one of 65536 levels.
    for plane in seen("equalise", volume):
        np.testing.assert_allclose(np.sort(plane.ravel()), np.arange(10000) / 9999, rtol=0, atol=0.5 / 65535 + 1e-7)


# Slabs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TYPES)
def test_slabs_give_what_the_whole_gives_to_the_bit(kind, dtype):
    volume = stack(dtype)
    preprocessing = Preprocessing(kind)
    levels = preprocessing.measure(volume)
    whole = preprocessing.apply(volume, levels)
    assert whole.dtype == np.float32
    for cuts in ((1, 2, 3, 4, 5, 6), (3,), (2, 6)):
        parts = [preprocessing.apply(slab, levels) for slab in np.split(volume, cuts)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_lazily_read_stack_has_the_same_levels_and_is_never_read_as_a_whole(monkeypatch, kind):
    volume = stack(np.uint16, (23, 12, 9))
    expected = Preprocessing(kind).measure(volume)
    for planes, chunks, starts in (
        (4, None, range(0, 23, 4)),
        (8, (3, 12, 9), range(0, 23, 6)),
        (8, ((3,) * 7 + (2,), (12,), (9,)), range(0, 23, 6)),
        (2, (3, 12, 9), range(0, 23, 2)),
    ):
        monkeypatch.setattr("segment.preprocessing.SLAB", planes * 12 * 9)
        lazy = Lazy(volume, chunks)
        assert Preprocessing(kind).measure(lazy) == expected
        assert lazy.largest <= planes * 12 * 9
        # Where a slab holds whole chunks, none is read twice.
        assert lazy.ends == set(starts)


@pytest.mark.parametrize("kind", KINDS)
def test_zarr_and_dask_are_measured_and_applied_as_arrays_are(tmp_path, kind):
    zarr, dask = pytest.importorskip("zarr"), pytest.importorskip("dask.array")
    volume = stack(np.uint8, (10, 12, 9))
    stored = zarr.create_array(tmp_path / "a.zarr", shape=volume.shape, chunks=(4, 6, 9), dtype=volume.dtype)
    stored[...] = volume
    expected = seen(kind, volume)
    for lazy in (stored, dask.from_array(volume, chunks=(3, 5, 9))):
        preprocessing = Preprocessing(kind)
        levels = preprocessing.measure(lazy)
        np.testing.assert_array_equal(preprocessing.apply(lazy[2:7], levels), expected[2:7])


@pytest.mark.parametrize("kind", KINDS)
def test_volume_list_and_array_are_seen_alike_and_not_changed(kind):
    volume = stack(np.float64)
    before = volume.copy()
    volume.flags.writeable = False
    expected = seen(kind, volume)
    np.testing.assert_array_equal(volume, before)
    for same in (Volume(volume, (0.1, 0.2, 0.3)), volume.tolist()):
        np.testing.assert_array_equal(seen(kind, same), expected)


# Slices and stacks that are hard to scale


@pytest.mark.parametrize("kind", ["stretch", "equalise"])
def test_constant_slice_is_stretched_by_the_whole_stack(kind):
    volume = stack(np.uint8)
    volume[1], volume[2], volume[3] = 0, 255, 51
    volume[0, 0, :2] = 0, 255
    found = seen(kind, volume)
    for z, expected in ((1, 0.0), (2, 1.0), (3, 0.2)):
        np.testing.assert_array_equal(found[z], np.float32(expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_saturated_slices_stay_finite_and_in_order(kind, dtype):
    top = 255 if np.dtype(dtype).kind == "u" else 20000
    volume = np.full((3, 20, 20), top, dtype)
    volume[0, 0, 0], volume[1, :10], volume[2, 3, 3] = 0, 0, top - 1
    found = seen(kind, volume)
    assert np.isfinite(found).all()
    for plane, values in zip(volume, found, strict=True):
        order = np.argsort(plane, axis=None, kind="stable")
        assert (np.diff(values.ravel()[order]) >= 0).all()
        assert values.max() > values.min() or kind in ("none", "percentile")


@pytest.mark.parametrize(("dtype", "glare"), [(np.float64, 1e300), (np.float32, 3e38), (np.float16, 65504)])
def test_glaring_and_dead_voxels_are_clipped_and_do_not_move_the_percentiles(dtype, glare):
    volume = np.random.default_rng(3).normal(0, 0.001, (10, 20, 20)).astype(dtype)
    volume[4, 5, 6], volume[4, 5, 7] = glare, -glare / 2
    found = normalise(volume)
    assert found[4, 5, 6] == 1.5
    assert found[4, 5, 7] == -0.5
    np.testing.assert_allclose(np.percentile(found, [1, 99]), [0, 1], atol=2e-3)


@pytest.mark.parametrize("kind", ["stretch", "equalise", "percentile"])
def test_contrast_on_a_large_offset_is_kept_by_wide_types(kind):
    volume = stack(np.uint8)
    for dtype in (np.int32, np.uint32, np.int64, np.float64):
        # The 8-bit levels of equalisation are 1/255 apart.
        atol = 0.5 / 255 + 1e-6 if kind == "equalise" else 1e-6
        np.testing.assert_allclose(seen(kind, volume.astype(dtype) + 10**9), seen(kind, volume), rtol=0, atol=atol)


@pytest.mark.parametrize("kind", ["stretch", "equalise", "percentile"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_span_of_the_whole_type_does_not_overflow(kind, dtype):
    volume = np.zeros((10, 10, 10), dtype)
    volume[0, 0, 0], volume[0, 0, 1] = np.iinfo(dtype).min, np.iinfo(dtype).max
    found = seen(kind, volume)
    assert found[0, 0, 0] == 0
    assert found[0, 0, 1] == 1
    assert 0 < found[0, 5, 5] < 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        (np.full((4, 4, 4), 7), "every grey value is 7; a constant volume"),
        (np.where(np.arange(64).reshape(4, 4, 4) < 4, np.nan, 1.0), "4 grey values in 4 slices are NaN or infinite"),
        (np.where(np.arange(64).reshape(4, 4, 4) < 1, -np.inf, 1.0), "1 grey values in 4 slices are NaN or infinite"),
        (np.zeros((8, 8)), r"shape \(8, 8\); give one volume \(z, y, x\)"),
        (np.zeros((8, 8, 8, 3)), r"shape \(8, 8, 8, 3\)"),
        (np.zeros((0, 8, 8)), r"shape \(0, 8, 8\)"),
        (np.eye(8, dtype=bool)[None], "grey values are bool; give whole or floating-point numbers"),
        (np.eye(8, dtype=complex)[None], "grey values are complex128"),
        (np.array([-1.5e308, 1.5e308]).reshape(1, 1, 2), "can hold; scale them down"),
    ],
)
def test_what_cannot_be_used_is_refused(kind, volume, reason):
    with pytest.raises(ValueError, match=reason):
        Preprocessing(kind).measure(volume)


def test_values_that_float32_cannot_hold_are_refused_where_they_would_stay_as_they_are():
    volume = np.array([0, 1e300]).reshape(1, 1, 2)
    with pytest.raises(ValueError, match="more than float32 can hold; scale them down"):
        Preprocessing("none").measure(volume)
    assert seen("stretch", volume).tolist() == [[[0, 1]]]


@pytest.mark.parametrize("kind", KINDS)
def test_slab_with_nan_is_refused(kind):
    with pytest.raises(ValueError, match="2 grey values in a slice are NaN or infinite"):
        Preprocessing(kind).apply(np.array([[[1, 2, 3]], [[np.nan, 1, np.nan]]]), Levels(0, 1))


@pytest.mark.parametrize("kind", ["equalize", "", None])
def test_unknown_kind_is_refused(kind):
    with pytest.raises(ValueError, match=r"kind is .*; give one of none, stretch, equalise, percentile"):
        Preprocessing(kind)
