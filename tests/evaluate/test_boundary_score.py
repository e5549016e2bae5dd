"""Boundary F-score of boundaries a known distance apart."""

import numpy as np
import pytest

from evaluate.boundary_agreement import boundary_score


def slab(stop, shape=(12, 8, 9)):
    labels = np.zeros(shape, np.uint8)
    labels[:stop] = 1
    return labels


def test_equal_labels_score_one_at_any_tolerance():
    labels = np.random.default_rng(0).integers(0, 3, (8, 9, 10))
    for tolerance in (0, 0.5, 3):
        scores = boundary_score(labels, labels, n_phases=3, tolerance=tolerance)
        assert scores.f_score == scores.precision == scores.recall == (1, 1, 1)
        assert scores.mean_f_score == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [None, (0.4, 0.1, 0.2)])
def test_shift_counts_up_to_the_tolerance_in_the_volume_s_unit(axis, size):
    edge = 1.0 if size is None else size[axis]
    truth, shifted = (np.moveaxis(slab(stop, (12, 12, 12)), 0, axis) for stop in (5, 7))
    for tolerance, score in ((1.99 * edge, 0), (2 * edge, 1)):
        found = boundary_score(shifted, truth, n_phases=2, tolerance=tolerance, voxel_size_um=size)
        assert found.f_score == (score, score)
        assert found.unit == ("voxel" if size is None else "um")


def test_default_tolerance_is_the_longest_edge_of_a_voxel():
    assert boundary_score(slab(5), slab(6), n_phases=2).tolerance == 1
    found = boundary_score(slab(5), slab(6), n_phases=2, voxel_size_um=(0.1, 0.3, 0.2))
    assert (found.tolerance, found.unit) == (0.3, "um")


def test_needless_island_costs_precision_and_a_lost_one_recall():
    """Boundary of the slab: 72 voxels on either side. The island has one voxel and six neighbours."""
    truth = slab(5)
    island = truth.copy()
    island[9, 4, 4] = 1
    forth, back = (
        boundary_score(*pair, n_phases=2, tolerance=0) for pair in ((island, truth), (truth, island))
    )  # fmt: skip
    assert forth.precision == pytest.approx((72 / 78, 72 / 73))
    assert forth.recall == (1, 1)
    assert back.recall == forth.precision
    assert back.precision == forth.recall
    assert forth.f_score == pytest.approx((2 * 72 / 78 / (1 + 72 / 78), 2 * 72 / 73 / (1 + 72 / 73)))


def test_score_equals_a_search_over_all_pairs():
    rng = np.random.default_rng(1)
    prediction, truth = rng.integers(0, 2, (2, 6, 7, 8))
    spacing, tolerance = np.array([2.0, 1.0, 0.5]), 1.2

    def boundary(mask):
        points = []
        for place in np.argwhere(mask):
            for axis in range(3):
                for step in (-1, 1):
                    neighbour = place.copy()
                    neighbour[axis] += step
                    inside = 0 <= neighbour[axis] < mask.shape[axis]
                    if inside and not mask[tuple(neighbour)]:
                        points.append(tuple(place))
        return np.array(sorted(set(points))) * spacing

    scores = boundary_score(prediction, truth, n_phases=2, tolerance=tolerance, voxel_size_um=spacing)
    for phase in (0, 1):
        a, b = boundary(prediction == phase), boundary(truth == phase)
        apart = np.linalg.norm(a[:, None] - b[None], axis=2)
        assert scores.precision[phase] == pytest.approx(np.mean(apart.min(axis=1) <= tolerance))
        assert scores.recall[phase] == pytest.approx(np.mean(apart.min(axis=0) <= tolerance))


def test_border_of_the_volume_is_no_boundary():
    full, empty = np.ones((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    alike = boundary_score(full, full, n_phases=2)
    assert alike.present == (False, False)
    assert np.isnan(alike.f_score).all()
    assert alike.mean_f_score == 1
    assert boundary_score(full, empty, n_phases=2).present == (False, False)


def test_boundary_in_one_of_the_two_alone_scores_zero():
    scores = boundary_score(slab(12), slab(5), n_phases=3)
    assert scores.f_score[:2] == (0, 0)
    assert scores.present == (True, True, False)
    assert scores.mean_f_score == 0


def test_slices_are_compared_too():
    truth, shifted = np.zeros((2, 9, 9), np.uint8)
    truth[:, :4], shifted[:, :5] = 1, 1
    assert boundary_score(shifted, truth, n_phases=2, voxel_size_um=(9, 1, 2)).tolerance == 2
    assert boundary_score(shifted, truth, n_phases=2, tolerance=1).f_score == (1, 1)
    assert boundary_score(shifted, truth, n_phases=2, tolerance=0.5).f_score == (0, 0)


@pytest.mark.parametrize(
    ("prediction", "truth", "options", "message"),
    [
        (slab(3), slab(3)[1:], {}, "must be equal"),
        (slab(3), 2 * slab(3), {}, "truth holds the label 2, but n_phases=2"),
        (slab(3) * 0.5, slab(3), {}, "fractional"),
        (slab(3), slab(3), {"tolerance": -1}, "tolerance is -1"),
        (slab(3), slab(3), {"tolerance": np.nan}, "tolerance is nan"),
        (slab(3), slab(3), {"tolerance": "a voxel"}, "positive finite length"),
        (slab(3), slab(3), {"n_phases": 0}, "n_phases"),
        (slab(3), slab(3), {"voxel_size_um": (1, 1)}, "three numbers"),
    ],
)
def test_boundaries_that_cannot_be_compared_are_refused(prediction, truth, options, message):
    with pytest.raises(ValueError, match=message):
        boundary_score(prediction, truth, **{"n_phases": 2, **options})
