import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from generative import decoding
from generative.decoding import decode, decode_slabs, fraction_offsets, phase_counts


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


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_slabs_hold_the_labels_of_the_whole_whatever_their_thickness(n, depth, seed, tied, prescribed):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n, depth, 3, 4)).astype(np.float32)
    if tied:
        scores = np.clip(np.round(scores), -1, 1)
    arguments = {"fractions": rng.dirichlet(np.ones(n)) if prescribed else None, "offsets": rng.standard_normal(n)}
    with pytest.MonkeyPatch.context() as patch:
        # Of larger volumes every k-th voxel is looked at first: the same ones in whatever slabs.
        patch.setattr(decoding, "SAMPLE", 50)
        whole = decode(scores, **arguments)
        patch.setattr(decoding, "SLAB_VALUES", n * 12 * int(rng.integers(1, 6)))
        slabs = list(decode_slabs(lambda a, b: scores[:, a:b], scores.shape, **arguments))
    assert np.array_equal(np.concatenate(slabs), whole)
    assert len({len(slab) for slab in slabs[:-1]}) <= 1


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("tied", [False, True])
def test_fractions_are_exact_where_offsets_come_from_a_sample(n, tied, monkeypatch):
    monkeypatch.setattr(decoding, "SAMPLE", 200)
    monkeypatch.setattr(decoding, "SLAB_VALUES", 500)
    rng = np.random.default_rng(n)
    scores = rng.standard_normal((n, 12, 11, 10)).astype(np.float32)
    if tied:
        scores = np.clip(np.round(2 * scores), -1, 1)
    fractions = rng.dirichlet(np.ones(n))
    labels = decode(scores, fractions=fractions)
    assert np.array_equal(
        np.bincount(labels.ravel(), minlength=n), phase_counts(fractions, n_phases=n, voxels=labels.size)
    )
    if n == 2 and not tied:
        # Of two phases the labels are known: the voxels of the largest differences.
        order = np.argsort(scores[1] - scores[0], axis=None)
        expected = np.zeros(labels.size, dtype=np.uint8)
        expected[order[np.count_nonzero(labels == 0) :]] = 1
        assert np.array_equal(labels.ravel(), expected)


def test_a_phase_too_rare_for_the_sample_gets_its_voxels(monkeypatch):
    monkeypatch.setattr(decoding, "SAMPLE", 100)
    scores = np.random.default_rng(6).standard_normal((3, 20, 20, 20)).astype(np.float32)
    labels = decode(scores, fractions=(0.6, 0.3995, 0.0005))
    assert np.bincount(labels.ravel()).tolist() == [4800, 3196, 4]


def test_equal_scores_go_to_the_asked_phase_in_the_order_of_the_voxels():
    labels = decode(np.zeros((2, 1, 2, 4)), fractions=(0.625, 0.375))
    assert np.count_nonzero(labels) == 3
    assert set(np.flatnonzero(labels)) in ({0, 1, 2}, {5, 6, 7})


def test_offsets_are_added_before_the_largest_is_taken():
    scores = np.random.default_rng(4).standard_normal((3, 5, 6, 7)).astype(np.float32)
    raised = scores + np.array([0.5, 0, -1], dtype=np.float32)[:, None, None, None]
    assert np.array_equal(decode(scores, offsets=(0.5, 0, -1)), raised.argmax(axis=0))
    assert np.array_equal(
        decode(scores, offsets=(0.5, 0, -1), fractions=(0.2, 0.3, 0.5)), decode(raised, fractions=(0.2, 0.3, 0.5))
    )


def test_offsets_found_for_fractions_give_them_on_other_scores():
    rng = np.random.default_rng(5)
    offsets = fraction_offsets(rng.standard_normal((3, 30, 30, 30)), (0.2, 0.3, 0.5))
    assert offsets.mean() == pytest.approx(0, abs=1e-12)
    labels = decode(rng.standard_normal((3, 30, 30, 30)), offsets=offsets)
    # Both sets of 27000 independent voxels have their sampling error.
    assert np.bincount(labels.ravel()) / labels.size == pytest.approx([0.2, 0.3, 0.5], abs=4 * np.sqrt(0.5 / 27000))


def test_scores_are_read_a_few_times_and_by_slabs(monkeypatch):
    monkeypatch.setattr(decoding, "SLAB_VALUES", 2**14)
    monkeypatch.setattr(decoding, "SAMPLE", 2**10)
    scores = np.random.default_rng(7).standard_normal((3, 64, 32, 32)).astype(np.float32)
    asked = []

    def read(first, last):
        asked.append(last - first)
        return scores[:, first:last]

    labels = np.concatenate(list(decode_slabs(read, scores.shape, fractions=(0.3, 0.3, 0.4))))
    assert max(asked) * scores[:, 0].size <= decoding.SLAB_VALUES
    assert sum(asked) <= 3 * 3 * 64
    assert np.bincount(labels.ravel()).tolist() == phase_counts((0.3, 0.3, 0.4), n_phases=3, voxels=2**16).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.zeros((2, 3, 3))}, r"scores have the shape \(2, 3, 3\)"),
        ({"scores": np.zeros((2, 0, 3, 3))}, "no length of 0"),
        ({"scores": np.zeros((257, 1, 1, 1))}, "257 phases"),
        ({"scores": np.full((2, 1, 1, 2), np.nan)}, "not finite"),
        ({"scores": np.full((2, 1, 1, 2), -np.inf), "fractions": (0.5, 0.5)}, "not finite"),
        ({"offsets": (0, 1, 2)}, "each of the 2 phases"),
        ({"offsets": (0, np.nan)}, "one finite number"),
        ({"fractions": (0.5, 0.4)}, "add up to 0.9"),
    ],
)
def test_scores_that_cannot_be_decoded_are_refused(change, message):
    given = {"scores": np.zeros((2, 2, 2, 2))} | change
    with pytest.raises(ValueError, match=message):
        decode(given.pop("scores"), **given)


def test_offset_of_a_phase_that_shall_not_be_there_is_refused():
    with pytest.raises(ValueError, match="an offset is known only"):
        fraction_offsets(np.zeros((2, 2, 2, 2)), (0, 1))


def test_offsets_are_found_for_a_phase_too_rare_for_the_voxels_there_are():
    scores = np.random.default_rng(0).standard_normal((2, 4, 4, 4))
    offsets = fraction_offsets(scores, (0.999, 0.001))
    assert np.isfinite(offsets).all()
    assert (decode(scores, offsets=offsets) == 1).sum() == 1
