import numpy as np
import pytest
from scipy import ndimage

from segment.trust import flip_spread, spread_of

ALL = ("", "x", "y", "xy", "t", "xt", "yt", "xyt")


def _grey(shape=(3, 6, 9), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def _two(pore):
    return np.stack([pore, 1 - pore])


def _equivariant(grey):
    """A predictor that knows no direction: whole numbers, so that sums do not depend on their order."""
    near = ndimage.uniform_filter(np.round(grey * 64).astype(np.float64) * 27, (1, 3, 3), mode="reflect")
    return _two((np.round(near) / (64 * 27)).astype(np.float32))


def _ramp(grey):
    """A predictor that takes the right side of any picture for pore."""
    return _two(np.broadcast_to(np.linspace(0, 1, grey.shape[2], dtype=np.float32), grey.shape))


@pytest.mark.parametrize("flips", [("", "x"), ALL, ("y",)])
def test_an_equivariant_predictor_has_no_spread_and_its_own_answer_as_mean(flips):
    grey = _grey()
    found = flip_spread(_equivariant, grey, flips=flips)
    np.testing.assert_array_equal(found.pore_deviation, 0)
    np.testing.assert_allclose(found.probability, _equivariant(grey), atol=1e-7 * len(flips))
    np.testing.assert_allclose(found.mutual_information, 0, atol=1e-6)


def test_the_predictor_sees_each_image_once_and_the_answers_are_turned_back():
    grey, seen = _grey((2, 4, 4)), []

    def predict(picture):
        seen.append(picture.copy())
        assert picture.flags.c_contiguous
        return _two(picture)

    found = flip_spread(predict, grey, flips=ALL)
    np.testing.assert_allclose(found.probability[0], grey, atol=1e-6)
    images = {image[0].tobytes() for image in seen}
    expected = {np.rot90(side, k).tobytes() for side in (grey[0], grey[0].T) for k in range(4)}
    assert images == expected
    # z stays: the first slice of each image is an image of the first slice.
    assert all(sorted(image[0].ravel()) == sorted(grey[0].ravel()) for image in seen)


def test_a_predictor_that_prefers_a_side_is_found_out():
    found = flip_spread(_ramp, _grey((2, 3, 5)))
    np.testing.assert_allclose(found.probability[0], 0.5)
    ramp = np.linspace(0, 1, 5)
    np.testing.assert_allclose(found.pore_deviation, np.broadcast_to(np.abs(2 * ramp - 1) / 2, (2, 3, 5)), atol=1e-6)
    np.testing.assert_allclose(found.entropy, np.log(2), rtol=1e-6)
    # At the ends each answer is certain and they contradict each other; in the middle they agree on doubt.
    np.testing.assert_allclose(
        found.mutual_information[..., [0, 2, 4]], [[[np.log(2), 0, np.log(2)]] * 3] * 2, atol=1e-6
    )


def test_the_default_flips_are_the_picture_and_its_mirror_image_in_x():
    grey = _grey()
    found = flip_spread(_ramp, grey)
    expected = spread_of([_ramp(grey), _ramp(grey[..., ::-1])[..., ::-1]])
    np.testing.assert_array_equal(found.probability, expected.probability)


@pytest.mark.parametrize("n", [2, 4])
def test_an_ensemble_is_summed_up_by_the_formulae(n):
    rng = np.random.default_rng(n)
    members = rng.dirichlet(np.ones(n), (5, 2, 3, 4)).transpose(0, 4, 1, 2, 3)
    found = spread_of(iter(members))
    mean = members.mean(axis=0)
    np.testing.assert_allclose(found.probability, mean, atol=1e-6)
    np.testing.assert_allclose(found.pore_deviation, members[:, 0].std(axis=0), atol=1e-6)
    entropy = -(mean * np.log(mean)).sum(axis=0)
    own = -(members * np.log(members)).sum(axis=1).mean(axis=0)
    np.testing.assert_allclose(found.entropy, entropy, atol=1e-5)
    np.testing.assert_allclose(found.mutual_information, entropy - own, atol=1e-5)


def test_slabs_of_a_slice_by_slice_predictor_give_the_slabs_of_the_whole():
    grey = _grey((6, 5, 7))
    whole = flip_spread(_equivariant, grey, flips=ALL)
    part = flip_spread(_equivariant, grey[2:4], flips=ALL)
    np.testing.assert_array_equal(part.probability, whole.probability[:, 2:4])


def test_a_constant_slab_is_allowed():
    found = flip_spread(_equivariant, np.zeros((1, 4, 4), np.uint8))
    np.testing.assert_array_equal(found.entropy, 0)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: flip_spread(_ramp, _grey(), flips=("z",)), "flip 'z' is not known"),
        (lambda: flip_spread(_ramp, _grey(), flips=("xx",)), "flip 'xx' is not known"),
        (lambda: flip_spread(_ramp, _grey(), flips=("xy", "yx")), "name an image twice"),
        (lambda: flip_spread(_ramp, _grey(), flips=()), "flips is empty"),
        (lambda: flip_spread(_ramp, _grey()[0]), r"shape \(6, 9\)"),
        (lambda: flip_spread(_ramp, _grey() * np.nan), "NaN or infinite"),
        (lambda: flip_spread(lambda grey: _two(grey[1:]), _grey()), r"predict made \(2, 2, 6, 9\)"),
        (lambda: flip_spread(lambda grey: grey * 50, _grey()), "are they logits"),
        (lambda: spread_of([]), "there is no prediction"),
        (lambda: spread_of([_ramp(_grey()), _ramp(_grey((2, 6, 9)))]), "predictions have shapes"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
