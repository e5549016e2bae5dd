import numpy as np
import pytest

from segment.correction import equalise, equalise_locally, normalise, stretch
from segment.preprocessing import normalise as as_the_networks_want_it


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(60, 190, (3, 40, 50)).astype(np.uint8)


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.int16, 32767), (np.float32, 1)])
def test_stretching_fills_the_range_of_the_type(grey, dtype, white):
    out = stretch(grey.astype(dtype), percentiles=(0, 100))
    assert out.dtype == dtype
    assert (out.min(), out.max()) == (0, white)
    expected = (grey.astype(float) - 60) / (grey.max() - 60) * white
    np.testing.assert_allclose(out, expected, atol=0.51 if white > 1 else 1e-6)


def test_one_dead_pixel_does_not_undo_the_stretching(grey):
    dead = grey.copy()
    dead[0, 0, 0] = 255
    assert np.abs(stretch(dead).astype(int) - stretch(grey)).mean() < 1
    assert np.abs(stretch(dead, percentiles=(0, 100)).astype(int) - stretch(grey)).mean() > 10


def test_equalising_follows_the_formula_by_hand():
    stack = np.array([[[10, 10, 20, 20], [20, 30, 30, 40]]], np.uint8)
    # Cumulative counts 2, 5, 7, 8: (c - 2) / (8 - 2) of 255.
    expected = [[[0, 0, 128, 128], [128, 212, 212, 255]]]
    np.testing.assert_array_equal(equalise(stack), np.round(np.array(expected)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
def test_equalised_values_are_evenly_spread_and_keep_their_order(dtype):
    values = np.random.default_rng(0).gamma(2, 20, (4, 64, 64))
    stack = np.minimum(values, 255).astype(dtype)
    out = equalise(stack)
    assert out.dtype == dtype
    white = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1
    # Half of the values lie below the middle, up to the share of the most common one.
    common = np.unique(stack, return_counts=True)[1].max() / stack.size
    assert np.mean(out < white / 2) == pytest.approx(0.5, abs=common + 1 / 255)
    order = np.argsort(stack, axis=None, kind="stable")
    assert np.all(np.diff(out.ravel()[order].astype(float)) >= 0)


def test_local_equalisation_raises_the_contrast_of_a_dim_corner(grey):
    dim = np.tile(np.linspace(0.2, 1, 50), (3, 40, 1)) * grey
    out = equalise_locally(dim.astype(np.uint8), clip_limit=0.05)
    assert out.dtype == np.uint8
    assert np.std(out[:, :, :12]) > 1.5 * np.std(dim[:, :, :12])


def test_normalising_is_that_of_the_networks():
    assert normalise is as_the_networks_want_it


@pytest.mark.parametrize("percentiles", [(5, 5), (50, 10), (-1, 99), (0, 101), (1,), (np.nan, 3)])
def test_percentiles_out_of_order_are_refused(grey, percentiles):
    with pytest.raises(ValueError, match="give two numbers from 0 to 100, the smaller first"):
        stretch(grey, percentiles=percentiles)


def test_percentiles_on_one_grey_value_are_refused():
    stack = np.zeros((1, 20, 20))
    stack[0, 0, 0] = 1
    with pytest.raises(ValueError, match="both are the grey value 0; give percentiles further apart"):
        stretch(stack, percentiles=(1, 99))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"clip_limit": 2}, "clip_limit is 2"), ({"tile_px": 1}, "tile_px is 1"), ({"tile_px": 2.5}, "tile_px is 2.5")],
)
def test_local_equalisation_refuses_what_makes_no_sense(grey, arguments, message):
    with pytest.raises(ValueError, match=message):
        equalise_locally(grey, **arguments)
