import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segment.tiling import blend_weights, predict_slabs, predict_tiled, tile_starts


@st.composite
def tilings(draw):
    axes = draw(st.integers(1, 3))
    longest = {1: 200, 2: 40, 3: 17}[axes]
    size = draw(st.lists(st.integers(1, longest), min_size=axes, max_size=axes))
    tile = draw(st.lists(st.integers(4, 24), min_size=axes, max_size=axes))
    overlap = [draw(st.integers(0, side // 2)) for side in tile]
    return size, tile, overlap, draw(st.sampled_from([1, 2, 4, 8]))


@given(tilings(), st.integers(0, 2**32 - 1))
@settings(max_examples=120, deadline=None)
def test_predictor_x_plus_1_is_reproduced_for_every_size_tile_overlap_and_multiple(tiling, seed):
    size, tile, overlap, multiple = tiling
    image = np.random.default_rng(seed).uniform(-1, 1, (2, *size)).astype(np.float32)
    found = predict_tiled(lambda x: x + 1, image, tile=tile, overlap=overlap, multiple=multiple)
    assert found.shape == image.shape
    assert found.dtype == np.float32
    # Half an eps for each rounding of positive terms: 3 weights, their 2 products and that with the answer, and 26
    # sums where three tiles meet along each axis.
    np.testing.assert_allclose(found, image + 1, rtol=16 * np.finfo(np.float32).eps, atol=0)


@given(tilings())
@settings(max_examples=60, deadline=None)
def test_predictor_sees_sides_that_are_multiples_and_no_larger_than_the_rounded_tile(tiling):
    size, tile, overlap, multiple = tiling
    seen = []

    def predictor(x):
        seen.append(x.shape[1:])
        return x

    predict_tiled(predictor, np.zeros((1, *size), np.float32), tile=tile, overlap=overlap, multiple=multiple)
    for shape in seen:
        for side, wanted in zip(shape, tile, strict=True):
            assert side % multiple == 0
            assert side < wanted + multiple


lines = st.integers(1, 300).flatmap(
    lambda size: st.integers(1, 64).flatmap(
        lambda tile: st.tuples(st.just(size), st.just(tile), st.integers(0, tile - 1))
    )
)


@given(lines)
def test_tiles_cover_an_axis_stay_inside_it_and_share_at_least_the_overlap(line):
    size, tile, overlap = line
    starts = tile_starts(size, tile, overlap)
    assert starts[0] == 0
    if size <= tile:
        assert starts == [0]
        return
    assert starts[-1] == size - tile
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (tile - steps >= overlap).all()


@given(lines)
def test_no_tiling_with_fewer_tiles_shares_the_overlap(line):
    size, tile, overlap = line
    count = len(tile_starts(size, tile, overlap))
    # n tiles that share `overlap` reach no further than tile + (n - 1)(tile - overlap).
    assert count == 1 or tile + (count - 2) * (tile - overlap) < size


@given(lines)
def test_weights_of_the_tiles_add_up_to_one_at_each_position(line):
    size, tile, overlap = line
    size = max(size, tile)
    starts = tile_starts(size, tile, overlap)
    weights = blend_weights(size, tile, starts)
    total = np.zeros(size)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    assert weights.min() > 0
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-12)


def _border_positions(shape, tile, overlap):
    """Mark positions beside a cut: where a 3 × 3 window leaves a tile without leaving the image."""
    marks = np.zeros(shape, bool)
    for axis, (size, side, share) in enumerate(zip(shape, tile, overlap, strict=True)):
        for start in tile_starts(size, side, share):
            for edge in {start, start + side - 1} - {0, size - 1}:
                np.moveaxis(marks, axis, 0)[edge] = True
    return marks


def test_local_predictor_equals_the_untiled_one_off_the_tile_borders_and_nearly_on_them():
    image = np.random.default_rng(0).uniform(0, 1, (1, 61, 83)).astype(np.float32)

    def mean(x):
        return ndimage.uniform_filter(x, (1, 3, 3), mode="nearest")

    tile, overlap = (24, 32), (12, 16)
    found = predict_tiled(mean, image, tile=tile, overlap=overlap)[0]
    difference = np.abs(found - mean(image)[0])
    border = _border_positions(image.shape[1:], tile, overlap)
    assert border.any()
    assert difference[~border].max() < 1e-6
    # With half the tile shared, the border of one tile lies in the middle of the next: it weighs at most
    # exp(-8) against about 1, and two such axes may meet. The 3 x 3 mean itself is wrong by at most 1.
    assert 0 < difference[border].max() < 3 * np.exp(-8)


def test_slabs_read_forward_and_never_more_than_a_layer_of_tiles():
    image = np.random.default_rng(0).uniform(0, 1, (1, 50, 21)).astype(np.float32)
    asked = []

    def read(first, last):
        asked.append((first, last))
        return image[:, first:last]

    slabs = list(predict_slabs(lambda x: x + 1, read, size=(50, 21), tile=(12, 8), overlap=(4, 2), multiple=4))
    starts = tile_starts(52, 12, 4, 4)
    assert asked == [(start, min(start + 12, 50)) for start in starts]
    assert [slab.shape[1] for slab in slabs] == [*np.diff(starts), 10]
    np.testing.assert_allclose(np.concatenate(slabs, axis=1), image + 1, rtol=1e-6)


def test_tiles_begin_at_multiples_and_stay_inside_an_image_up_to_its_end():
    image = np.arange(30, dtype=np.float32).reshape(1, 30)
    seen = []
    predict_tiled(lambda x: seen.append(x.copy()) or x, image, tile=(8,), overlap=(2,), multiple=4)
    assert all(tile[0, 0] % 4 == 0 for tile in seen)
    # A reflection repeats a number.
    assert all((np.diff(tile[0]) == 1).all() for tile in seen[:-1])
    np.testing.assert_array_equal(seen[-1][0], [24, 25, 26, 27, 28, 29, 29, 28])


def test_image_thinner_than_the_overlap_is_one_tile():
    image = np.arange(3 * 40, dtype=np.float32).reshape(1, 3, 40)
    found = predict_tiled(lambda x: 2 * x, image, tile=(64, 32), overlap=(16, 16), multiple=4)
    np.testing.assert_allclose(found, 2 * image, rtol=1e-6)


def test_short_axis_is_continued_by_reflection_at_its_end():
    seen = []
    image = np.array([[1, 2, 3, 4, 5]], np.float32)
    predict_tiled(lambda x: seen.append(x.copy()) or x, image, tile=(8,), overlap=(0,), multiple=8)
    np.testing.assert_array_equal(seen[0], [[1, 2, 3, 4, 5, 5, 4, 3]])


def test_number_of_output_channels_is_the_predictors():
    image = np.ones((1, 9, 9), np.float32)
    found = predict_tiled(lambda x: np.repeat(x, 3, axis=0), image, tile=(4, 4), overlap=(2, 2))
    assert found.shape == (3, 9, 9)


@pytest.mark.parametrize("overlap", [-1, 8, 9])
@pytest.mark.parametrize("size", [5, 20])
def test_overlap_that_is_not_below_the_tile_is_refused_for_every_size(overlap, size):
    with pytest.raises(ValueError, match=f"overlap is {overlap}.*tile's side, 8"):
        predict_tiled(lambda x: x, np.zeros((1, size), np.float32), tile=(8,), overlap=(overlap,))


def test_tile_with_another_number_of_axes_than_the_image_is_refused():
    with pytest.raises(ValueError, match="2 axes, tile 3 and overlap 2"):
        predict_tiled(lambda x: x, np.zeros((1, 8, 8), np.float32), tile=(4, 4, 4), overlap=(2, 2))
