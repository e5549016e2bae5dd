import itertools
import math

import numpy as np
import pytest

from segment.trust import carry_interval, find_shift, label_slabs, match_porosity
from volume import from_one_hot


def _probability(n=2, shape=(4, 6, 7), seed=0, digits=None):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(n, 0.3), shape)
    if digits is not None:
        # Few values: many voxels share a ratio.
        p = rng.multinomial(10**digits, p) / 10**digits
    return np.moveaxis(p, -1, 0).astype(np.float32)


def _by_sorting(p, count):
    """Labels by a stable sort of the margins in double precision."""
    tiny = np.finfo(np.float32).tiny
    safe = np.maximum(p, tiny)
    ratio = (safe[0] / safe[1:].max(axis=0)).ravel()
    labels = p[1:].argmax(axis=0).ravel() + 1
    labels[np.argsort(-ratio, kind="stable")[:count]] = 0
    return labels.reshape(p.shape[1:])


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("digits", [None, 1])
def test_every_porosity_is_met_to_the_voxel_by_the_most_likely_pores(n, digits):
    p = _probability(n, digits=digits)
    size = p[0].size
    for count in (*range(0, size, 7), size - 1, size):
        labels = match_porosity(p, count / size)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, _by_sorting(p, count))


def test_a_porosity_between_two_voxels_is_rounded():
    p = _probability()
    assert find_shift(p, 10.4 / 168).porosity == 10 / 168
    assert np.count_nonzero(match_porosity(p, 10.6 / 168) == 0) == 11


@pytest.mark.parametrize("n", [2, 4])
def test_the_shift_added_to_the_logits_of_the_pore_gives_the_labels(n):
    p = _probability(n, (3, 20, 20), seed=1).astype(np.float64)
    found = find_shift(p, 0.37)
    logits = np.log(np.maximum(p, np.finfo(np.float32).tiny))
    # The voxel at the threshold itself is equal to rounding: a hair more makes it pore.
    logits[0] += found.log_shift + 1e-6
    np.testing.assert_array_equal(from_one_hot(logits), match_porosity(p, 0.37))


def test_the_porosity_that_a_segmentation_has_already_changes_nothing():
    p = _probability(3, (3, 20, 20), seed=2)
    labels = from_one_hot(p)
    np.testing.assert_array_equal(match_porosity(p, np.mean(labels == 0)), labels)


@pytest.mark.parametrize("cuts", [[1], [1, 2, 3], [3]])
def test_slabs_give_the_labels_of_the_whole_whatever_their_depth(cuts):
    p = _probability(3, digits=1)
    slabs = np.split(p, cuts, axis=1)
    for porosity in (0.0, 0.2, 0.5, 1.0):
        shift = find_shift(slabs, porosity)
        assert shift == find_shift(p, porosity)
        np.testing.assert_array_equal(np.concatenate(list(label_slabs(slabs, shift))), match_porosity(p, porosity))


def test_of_equal_voxels_the_first_are_pore():
    p = np.full((2, 2, 2, 3), 0.5, np.float32)
    np.testing.assert_array_equal(match_porosity(p, 0.4).ravel(), [0] * 5 + [1] * 7)


def test_a_larger_porosity_only_adds_pore():
    p = _probability(3, digits=2, seed=4)
    volumes = [match_porosity(p, porosity) for porosity in np.linspace(0, 1, 23)]
    for less, more in itertools.pairwise(volumes):
        assert np.all(more[less == 0] == 0)
        assert np.all(more[more > 0] == less[more > 0])


def test_certain_probabilities_are_ranked_too():
    p = np.array([[1, 0, 1, 0], [0, 1, 0, 1]], np.float32).reshape(2, 1, 1, 4)
    np.testing.assert_array_equal(match_porosity(p, 0.75).ravel(), [0, 0, 0, 1])
    assert math.isfinite(find_shift(p, 0.75).log_shift)


def test_an_interval_is_carried_on_by_measuring_three_times():
    p = _probability(seed=5)
    three = [match_porosity(p, porosity) for porosity in (0.25, 0.5, 0.75)]
    found = carry_interval(*three, measure=lambda labels: 1 / np.mean(labels == 0))
    assert found.porosities == (0.25, 0.5, 0.75)
    assert (found.low, found.value, found.high) == pytest.approx((4 / 3, 2, 4))


def test_a_property_that_is_infinite_at_one_end_has_an_infinite_interval():
    p = _probability(seed=6)
    three = [match_porosity(p, porosity) for porosity in (0.0, 0.5, 0.75)]
    found = carry_interval(*three, measure=lambda labels: 1 / np.mean(labels == 0) if (labels == 0).any() else math.inf)
    assert (found.value, found.high) == (2, math.inf)


P, LABELS = _probability(), np.ones((2, 2, 2), np.uint8)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: match_porosity(P, -0.1), "porosity is -0.1"),
        (lambda: match_porosity(P, 30), "porosity is 30"),
        (lambda: match_porosity(P, np.nan), "porosity is nan"),
        (lambda: match_porosity(P[:1], 0.3), "at least two phases"),
        (lambda: match_porosity(P * 3, 0.3), "are they logits"),
        (lambda: match_porosity([P], 0.3), "for slabs call find_shift"),
        (lambda: find_shift(iter([P]), 0.3), "used up after one pass"),
        (lambda: find_shift([], 0.3), "there is no slab"),
        (lambda: carry_interval(LABELS * 0, LABELS, LABELS, measure=np.mean), "from low to high"),
        (lambda: carry_interval(LABELS * 0.5, LABELS, LABELS, measure=np.mean), "labels are float64"),
        (lambda: carry_interval(LABELS, LABELS, LABELS, measure=lambda labels: math.nan), "measure gave nan"),
        (lambda: carry_interval(LABELS, LABELS, LABELS, measure=lambda labels: None), "measure gave None"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
