"""Scores of a prediction against the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluate import agreement

SCORES = ("iou", "dice", "precision", "recall", "f1")


def test_scores_of_a_small_case_worked_by_hand():
    truth = np.array([[[0, 0, 0, 1, 1, 2]]], np.uint8)
    prediction = np.array([[[0, 0, 1, 1, 2, 2]]], np.uint8)
    scores = agreement(prediction, truth, n_phases=3)
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.iou == pytest.approx((2 / 3, 1 / 3, 1 / 2))
    assert scores.dice == pytest.approx((4 / 5, 2 / 4, 2 / 3))
    assert scores.precision == pytest.approx((1, 1 / 2, 1 / 2))
    assert scores.recall == pytest.approx((2 / 3, 1 / 2, 1))
    assert scores.confusion == ((2, 1, 0), (0, 1, 1), (0, 0, 1))
    assert scores.mean_iou == pytest.approx((2 / 3 + 1 / 3 + 1 / 2) / 3)
    assert scores.mean_precision == pytest.approx(2 / 3)
    assert scores.mean_recall == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_scores_equal_those_counted_set_by_set(data):
    volumes = hnp.arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 3))
    prediction, truth = data.draw(volumes), data.draw(volumes)
    scores = agreement(prediction, truth, n_phases=4)
    assert scores.accuracy == pytest.approx(np.mean(prediction == truth))
    for k in range(4):
        p, t = prediction == k, truth == k
        if not (p | t).any():
            assert not scores.present[k]
            continue
        assert scores.iou[k] == pytest.approx((p & t).sum() / (p | t).sum())
        assert scores.f1[k] == pytest.approx(2 * (p & t).sum() / (p.sum() + t.sum()))
        assert scores.dice[k] == pytest.approx(2 * scores.iou[k] / (1 + scores.iou[k]))


def test_perfect_prediction_scores_one_everywhere():
    truth = np.random.default_rng(0).integers(0, 3, (8, 8, 8))
    scores = agreement(truth, truth, n_phases=3)
    assert scores.accuracy == 1.0
    assert all(getattr(scores, name) == (1.0, 1.0, 1.0) for name in SCORES)
    assert scores.mean_f1 == scores.mean_dice == 1.0


def test_phase_absent_from_both_has_no_score_and_leaves_the_means_alone():
    truth = np.array([[[0, 0, 2, 2]]], np.uint8)
    scores = agreement(truth, truth, n_phases=4)
    assert scores.present == (True, False, True, False)
    assert all(np.isnan(getattr(scores, name)[1]) for name in SCORES)
    assert scores.mean_iou == scores.mean_recall == 1.0


def test_phase_absent_from_one_alone_scores_zero_and_counts():
    truth, prediction = np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8)
    truth[0, 0, 0] = 1
    for scores in (agreement(prediction, truth, n_phases=2), agreement(truth, prediction, n_phases=2)):
        assert all(getattr(scores, name)[1] == 0.0 for name in SCORES)
        assert scores.mean_iou == pytest.approx((7 / 8) / 2)


def test_swapping_prediction_and_truth_swaps_precision_and_recall():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 3, (2, 6, 6, 6))
    forth, back = agreement(a, b, n_phases=3), agreement(b, a, n_phases=3)
    assert forth.precision == back.recall
    assert forth.iou == back.iou


def test_chunks_do_not_change_the_counts(monkeypatch):
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 3, (2, 7, 6, 5)).astype(np.uint8)
    whole = agreement(a, b, n_phases=3)
    monkeypatch.setattr("evaluate.label_agreement.VOXELS_PER_CHUNK", 60)
    assert agreement(a, b, n_phases=3) == whole
    assert sum(map(sum, whole.confusion)) == a.size


def test_highest_uint8_label_does_not_overflow():
    labels = np.array([[[255, 0, 255]]], np.uint8)
    scores = agreement(labels, labels, n_phases=256)
    assert scores.iou[255] == 1.0
    assert scores.confusion[255][255] == 2


@pytest.mark.parametrize("kind", [np.uint64, np.int64, np.uint8, np.float32, np.float64])
def test_scores_do_not_depend_on_the_kind_of_numbers_nor_on_the_memory(kind):
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 3, (2, 4, 5, 6))
    turned = np.asfortranarray(prediction.astype(kind)[::-1])[::-1]
    assert agreement(turned, truth.astype(kind), n_phases=3) == agreement(prediction, truth, n_phases=3)


def test_mask_inverted_scores_nothing_and_inverted_twice_everything():
    """Published tools invert the mask of the pore twice, or once in one of two places."""
    pore = np.random.default_rng(0).random((4, 5, 6)) < 0.3
    assert agreement(~pore, pore, n_phases=2).iou == (0, 0)
    assert agreement(~~pore, pore, n_phases=2).iou == (1, 1)


@pytest.mark.parametrize(
    ("prediction", "truth", "n_phases", "message"),
    [
        (np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), 2, "equal"),
        (np.full((2, 2, 2), 2), np.zeros((2, 2, 2), int), 2, "prediction holds the label 2"),
        (np.zeros((2, 2, 2), int), np.full((2, 2, 2), 3), 2, "truth holds the label 3"),
        (np.full((2, 2, 2), 0.3), np.zeros((2, 2, 2), int), 2, "fractional"),
        (np.full((2, 2, 2), np.nan), np.zeros((2, 2, 2), int), 2, "NaN"),
        (np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), 0, "n_phases"),
        (np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), 2.5, "n_phases"),
        (np.zeros((0, 2, 2), int), np.zeros((0, 2, 2), int), 2, "empty"),
    ],
)
def test_what_cannot_be_compared_is_refused(prediction, truth, n_phases, message):
    with pytest.raises(ValueError, match=message):
        agreement(prediction, truth, n_phases=n_phases)
