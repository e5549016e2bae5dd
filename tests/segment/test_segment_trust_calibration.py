import numpy as np
import pytest

from segment.trust import porosity_doubt, reliability
from segment.trust.slabs import LabelledSlabs, Slabs
from volume import Volume


def _softmax(logits):
    p = np.exp(logits - logits.max(axis=0))
    return p / p.sum(axis=0)


def _draw(p, rng):
    """Labels that have exactly the probabilities p."""
    return (rng.random(p.shape[1:]) > np.cumsum(p, axis=0)[:-1]).sum(axis=0).astype(np.uint8)


def _case(n=3, shape=(12, 40, 40), seed=0):
    rng = np.random.default_rng(seed)
    p = _softmax(2 * rng.standard_normal((n, *shape)))
    return p, _draw(p, rng)


def test_four_voxels_worked_out_by_hand():
    p = np.array([[0.9, 0.8, 0.3, 0.1], [0.1, 0.2, 0.7, 0.9]]).reshape(2, 1, 1, 4)
    labels = np.array([0, 1, 1, 1], np.uint8).reshape(1, 1, 4)
    found = reliability(p, labels, bins=4)
    # Bins of width 1/4: 0.7 stands alone, 0.8, 0.9 and 0.9 share the last, of which two are right.
    np.testing.assert_array_equal(found.top.count, [1, 3])
    np.testing.assert_allclose(found.top.confidence, [0.7, 2.6 / 3])
    np.testing.assert_allclose(found.top.accuracy, [1, 2 / 3])
    assert found.top.expected_calibration_error == pytest.approx((0.3 + 0.6) / 4)
    assert found.phases[0].brier == pytest.approx((0.01 + 0.64 + 0.09 + 0.01) / 4)
    assert found.brier == pytest.approx(2 * found.phases[0].brier)
    assert found.negative_log_likelihood == pytest.approx(-np.log([0.9, 0.2, 0.7, 0.9]).mean())


@pytest.mark.parametrize("n", [2, 3, 5])
def test_labels_drawn_from_the_probabilities_lie_on_the_diagonal(n):
    p, labels = _case(n)
    found = reliability(p, labels, bins=10)
    for curve in (found.top, *found.phases):
        error = np.sqrt(curve.confidence * (1 - curve.confidence) / curve.count)
        assert np.all(np.abs(curve.accuracy - curve.confidence) <= 4 * error + 4 / curve.count)
    expected = -(p * np.log(p)).sum(axis=0)
    spread = np.sqrt(((p * np.log(p) ** 2).sum(axis=0) - expected**2).sum()) / labels.size
    assert abs(found.negative_log_likelihood - expected.mean()) < 4 * spread


def test_a_segmenter_surer_than_it_is_right_has_its_excess_as_calibration_error():
    rng = np.random.default_rng(3)
    right = rng.random((20, 50, 50)) < 0.7
    p = np.stack([np.full(right.shape, 0.95), np.full(right.shape, 0.05)])
    found = reliability(p, np.where(right, 0, 1))
    assert abs(found.top.expected_calibration_error - 0.25) < 4 * np.sqrt(0.7 * 0.3 / right.size)


def test_scores_are_those_of_their_formulae():
    p, labels = _case()
    found = reliability(p, labels)
    truth = np.arange(3)[:, None, None, None] == labels
    assert found.brier == pytest.approx(((p - truth) ** 2).sum(axis=0).mean())
    assert found.negative_log_likelihood == pytest.approx(-np.log(p[truth.nonzero()]).mean())
    assert found.voxels == labels.size
    assert all(curve.count.sum() == labels.size for curve in (found.top, *found.phases))


@pytest.mark.parametrize("cuts", [[5], [1, 2, 11]])
def test_slabs_give_what_the_whole_gives(cuts):
    p, labels = _case()
    slabs = zip(np.split(p, cuts, axis=1), np.split(labels, cuts), strict=True)
    whole, pieces = reliability(p, labels), reliability(slabs)
    np.testing.assert_array_equal(pieces.top.count, whole.top.count)
    np.testing.assert_allclose(pieces.top.confidence, whole.top.confidence, rtol=1e-12)
    assert pieces.brier == pytest.approx(whole.brier, rel=1e-12)
    assert pieces.negative_log_likelihood == pytest.approx(whole.negative_log_likelihood, rel=1e-12)


def test_volumes_of_different_sizes_and_masked_voxels_are_slabs_too():
    p, labels = _case()
    inside = np.random.default_rng(1).random(labels.shape) < 0.5
    found = reliability([(p[:, inside], labels[inside]), (p[:, ~inside], labels[~inside])])
    assert found.brier == pytest.approx(reliability(p, labels).brier, rel=1e-12)


def test_labels_may_be_a_volume():
    p, labels = _case()
    assert reliability(p, Volume(labels)).brier == reliability(p, labels).brier


def test_certainty_has_finite_scores():
    p = np.zeros((2, 1, 1, 2), np.float32)
    p[0] = 1
    found = reliability(p, np.array([[[0, 1]]]))
    assert found.brier == 1
    assert found.negative_log_likelihood == pytest.approx(-np.log(np.finfo(np.float32).tiny) / 2, rel=1e-6)
    assert reliability(p, np.zeros((1, 1, 2), int)).negative_log_likelihood == 0


def test_an_array_is_read_in_slabs_of_bounded_size():
    class Disk:
        """An array that tells how much of it was ever asked for at once."""

        shape, most = (2, 40, 256, 256), 0

        def __getitem__(self, window):
            depth = window[1].stop - window[1].start
            self.most = max(self.most, depth)
            return np.full((2, depth, 256, 256), 0.5, np.float32)

    disk = Disk()
    assert sum(slab[0].size for slab in Slabs(disk)) == 40 * 256 * 256
    assert disk.most == 16


def test_doubt_is_never_below_the_difference_of_soft_and_hard_porosity():
    for seed in range(5):
        p, _ = _case(2 + seed % 3, (3, 5, 7), seed)
        found = porosity_doubt(p)
        assert found.hard == np.mean(p.argmax(axis=0) == 0)
        assert found.soft == pytest.approx(p[0].mean())
        assert abs(found.soft - found.hard) <= found.doubt + 1e-12
    certain = np.eye(2)[:, np.random.default_rng(0).integers(0, 2, (3, 4, 5))]
    assert porosity_doubt(certain).doubt == 0


GOOD = np.full((2, 2, 3, 4), 0.5)
ZEROS = np.zeros((2, 3, 4), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((GOOD, None), "labels are missing"),
        ((GOOD, ZEROS[:1]), r"values have shape \(2, 2, 3, 4\) and labels \(1, 3, 4\)"),
        ((GOOD[:1], ZEROS), "at least two phases"),
        ((GOOD * 1.2, ZEROS), "miss a sum of 1 by 0.2"),
        ((GOOD * 9, ZEROS), "are they logits"),
        ((GOOD * np.nan, ZEROS), "between nan and nan"),
        ((GOOD, ZEROS + 2), "labels lie between 2 and 2; with 2 phases"),
        ((GOOD, ZEROS * 0.5), "labels are float64"),
        (([GOOD], None), "a slab is no pair"),
        (([], None), "there is no slab"),
        (([(GOOD, ZEROS), (np.full((3, *ZEROS.shape), 1 / 3), ZEROS)], None), "slabs have 2 and 3 phases"),
        (([(GOOD[:, :0], ZEROS[:0])], None), "hold no voxel"),
        ((3, None), "probabilities are a int"),
        (([[0.5, 0.5]], [0]), "two arrays"),
        ((GOOD.astype(complex), ZEROS), "give real numbers"),
    ],
)
def test_bad_probabilities_and_labels_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        reliability(*arguments)


@pytest.mark.parametrize("bins", [0, -1, 2.5, True, 10**6])
def test_bad_bins_are_refused(bins):
    with pytest.raises(ValueError, match="bins is"):
        reliability(GOOD, ZEROS, bins=bins)


def test_an_iterator_is_refused_where_two_passes_are_needed():
    with pytest.raises(ValueError, match="used up after one pass"):
        LabelledSlabs(iter([(GOOD, ZEROS)]), again=True)
