import numpy as np
import pytest

import volume
from generative.coding import LabelCoding, encode


@pytest.fixture
def three_phases():
    return np.random.default_rng(0).integers(3, size=(5, 6, 7)).astype(np.uint8)


def test_one_hot_is_plus_one_in_its_channel_and_minus_one_elsewhere(three_phases):
    labels = np.array([[[0, 1, 2]]], dtype=np.uint8)
    assert encode(labels, 3)[:, 0, 0].tolist() == [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    assert np.array_equal(encode(three_phases, 3), 2 * volume.one_hot(three_phases, 3) - 1)


@pytest.mark.parametrize("kind", ["one_hot", "distance"])
@pytest.mark.parametrize("n_phases", [2, 3, 4])
def test_largest_channel_is_the_phase_again(kind, n_phases):
    labels = np.random.default_rng(1).integers(n_phases, size=(9, 8, 7)).astype(np.uint8)
    coded = encode(labels, n_phases, coding=LabelCoding(kind, 3.0))
    assert coded.shape == (n_phases, 9, 8, 7)
    assert np.abs(coded).max() <= 1
    assert np.array_equal(volume.from_one_hot(coded), labels)


def test_distance_of_a_slab_is_that_of_its_borders():
    labels = np.zeros((3, 4, 20), np.uint8)
    labels[..., 8:14] = 1
    coded = encode(labels, 2, coding=LabelCoding("distance", 2.5))
    x = np.arange(20) + 0.5
    expected = np.tanh((3 - np.abs(x - 11)) / 2.5)
    assert coded[1, 1, 2] == pytest.approx(expected, abs=1e-3)
    assert coded[0] == pytest.approx(-coded[1], abs=1e-6)


def test_smoothed_step_is_the_error_function():
    from scipy.special import erf

    labels = np.zeros((1, 1, 40), np.uint8)
    labels[..., 20:] = 1
    coded = encode(labels, 2, coding=LabelCoding("smoothed", 3.0))
    # Voxels are blurred one by one: the step lies between them.
    assert coded[1, 0, 0] == pytest.approx(erf((np.arange(40) - 19.5) / 3 / np.sqrt(2)), abs=5e-3)
    assert np.array_equal(volume.from_one_hot(coded), labels)


def test_smooth_channels_hold_less_detail_than_sharp_ones():
    """Share of the variance above half the highest frequency: what a space-to-depth stem finds hard."""
    rng = np.random.default_rng(2)
    field = np.fft.ifftn(np.fft.fftn(rng.standard_normal((32, 32, 32))) * np.exp(-150 * _radius(32) ** 2)).real
    labels = (field > 0).astype(np.uint8)

    def detail(coded):
        power = np.abs(np.fft.fftn(coded[1].astype(float) - coded[1].mean())) ** 2
        return power[_radius(32) > 0.25].sum() / power.sum()

    sharp, distance = detail(encode(labels, 2)), detail(encode(labels, 2, coding=LabelCoding("distance", 3.0)))
    assert distance < 0.25 * sharp


def _radius(n):
    f = np.fft.fftfreq(n)
    return np.sqrt(f[:, None, None] ** 2 + f[:, None] ** 2 + f**2)


@pytest.mark.parametrize("kind", ["one_hot", "smoothed", "distance"])
def test_phase_that_fills_the_volume_is_coded_without_a_border(kind):
    coded = encode(np.ones((4, 4, 4), np.uint8), 2, coding=LabelCoding(kind, 2.0))
    assert (coded[1] == 1).all()
    assert (coded[0] == -1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("sharp",), "give 'one_hot', 'smoothed' or 'distance'"), (("distance", 0.0), "width_vox is 0.0; give a number")],
)
def test_unknown_codings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LabelCoding(*arguments)
