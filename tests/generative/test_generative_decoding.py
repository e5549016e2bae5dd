import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from generative.decoding import decode, phase_counts


def test_free_decoding_is_argmax():
    scores = np.random.default_rng(0).standard_normal((3, 4, 5, 6))
    assert np.array_equal(decode(scores), scores.argmax(axis=0))
    assert decode(scores).dtype == np.uint8


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 5),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_fractions_are_hit_to_within_one_voxel_ties_or_not(n, shape, seed, tied):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n, *shape))
    if tied:
        scores = np.clip(np.round(scores), -1, 1)
    fractions = rng.dirichlet(np.full(n, 0.5))
    counts = np.bincount(decode(scores, fractions=fractions).ravel(), minlength=n)
    voxels = int(np.prod(shape))
    assert counts.sum() == voxels
    assert np.all(np.abs(counts - fractions * voxels) < 1)


def test_fractions_that_the_scores_have_already_change_nothing():
    scores = np.random.default_rng(1).standard_normal((3, 8, 8, 8))
    free = decode(scores)
    own = np.bincount(free.ravel(), minlength=3) / free.size
    assert np.array_equal(decode(scores, fractions=own), free)


@pytest.mark.parametrize(("n", "slack"), [(2, 1e-9), (3, 0.02)])
def test_prescribed_fractions_cost_no_more_score_than_the_best_assignment(n, slack):
    scores = np.random.default_rng(2).standard_normal((n, 6, 6, 6))
    fractions = (0.7, 0.3) if n == 2 else (0.5, 0.4, 0.1)
    labels = decode(scores, fractions=fractions).ravel()
    flat = scores.reshape(n, -1)
    slots = np.repeat(np.arange(n), phase_counts(fractions, n_phases=n, voxels=labels.size))
    rows, columns = linear_sum_assignment(-flat.T[:, slots])
    best = flat[slots[columns], rows].sum()
    reached = flat[labels, np.arange(labels.size)].sum()
    assert best * (1 - slack) <= reached <= best + 1e-9


def test_phase_of_no_fraction_is_not_there():
    scores = np.random.default_rng(3).standard_normal((3, 5, 5, 5))
    assert set(np.unique(decode(scores, fractions=(0.4, 0.0, 0.6)))) == {0, 2}
    assert set(np.unique(decode(scores, fractions=(0, 1, 0)))) == {1}


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((0.5, 0.4), "add up to 0.9"),
        ((0.5, 0.3, 0.2), "2 phases"),
        ((1.2, -0.2), "between 0 and 1"),
        ((float("nan"), 1.0), "between 0 and 1"),
    ],
)
def test_fractions_that_make_no_sense_are_refused(fractions, message):
    with pytest.raises(ValueError, match=message):
        phase_counts(fractions, n_phases=2, voxels=8)
