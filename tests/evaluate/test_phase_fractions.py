"""Porosity, its profile and its error."""

import numpy as np
import pytest

from evaluate import porosity, porosity_error, porosity_profile
from evaluate.phase_fractions import volume_fractions


def labels_with_a_known_count():
    labels = np.ones((4, 5, 6), np.uint8)
    labels[0] = 0
    labels[1, 0, :3] = 0
    labels[3] = 2
    return labels


def test_porosity_is_the_fraction_of_pore_voxels():
    assert porosity(labels_with_a_known_count()) == 33 / 120
    assert porosity(labels_with_a_known_count(), pore=2) == 30 / 120


def test_porosity_of_a_stamped_sphere_is_its_volume_fraction():
    grid = np.indices((41, 41, 41)) - 20.0
    labels = ((grid**2).sum(axis=0) > 15.0**2).astype(np.uint8)
    # Gauss's lattice-point count differs from the sphere's volume by less than half a per cent at this radius.
    assert porosity(labels) == pytest.approx(4 / 3 * np.pi * 15**3 / 41**3, rel=5e-3)


def test_false_is_pore_in_a_boolean_array():
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = True
    assert porosity(mask) == 7 / 8
    assert porosity(mask, pore=1) == 1 / 8


def test_porosity_of_a_label_that_does_not_occur_is_zero():
    assert porosity(np.ones((2, 2, 2), np.uint8)) == 0.0


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16, np.float32])
def test_porosity_does_not_depend_on_dtype_or_memory_order(dtype):
    labels = np.asfortranarray(labels_with_a_known_count().astype(dtype))[::-1, :, ::-1]
    labels.flags.writeable = False
    assert porosity(labels) == 33 / 120


def test_porosity_takes_whatever_numpy_can_read():
    class Holder:
        def __array__(self, dtype=None, copy=None):
            return np.array([[[0, 1]]], dtype=np.uint8)

    assert porosity(Holder()) == 0.5
    assert porosity([[[0, 1], [1, 1]]]) == 0.25
    assert porosity(np.zeros((3, 3), np.uint8)) == 1.0


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_mean_of_the_profile_is_the_porosity(axis):
    labels = labels_with_a_known_count()
    profile = porosity_profile(labels, axis=axis)
    assert profile.shape == (labels.shape[axis],)
    assert profile.mean() == pytest.approx(33 / 120, abs=1e-15)


def test_profile_runs_along_its_axis():
    np.testing.assert_array_equal(porosity_profile(labels_with_a_known_count()), [1.0, 3 / 30, 0.0, 0.0])


def test_error_is_positive_where_the_prediction_is_too_porous():
    truth = labels_with_a_known_count()
    prediction = truth.copy()
    prediction[2, 0, 0] = 0
    assert porosity_error(prediction, truth) == pytest.approx(1 / 120)
    assert porosity_error(truth, prediction) == pytest.approx(-1 / 120)


def test_fractions_of_all_phases_add_up_to_one():
    labels = labels_with_a_known_count()
    np.testing.assert_array_equal(volume_fractions(labels), np.array([33, 57, 30]) / 120)
    np.testing.assert_array_equal(volume_fractions(labels, n_phases=5), np.array([33, 57, 30, 0, 0]) / 120)
    assert [porosity(labels, pore=k) for k in range(3)] == volume_fractions(labels).tolist()
    assert volume_fractions(labels[0] == 0).tolist() == [0, 1]
    assert volume_fractions(labels.astype(np.uint64)).sum() == 1


def test_fractions_refuse_more_labels_than_phases():
    with pytest.raises(ValueError, match="from 0 to 1"):
        volume_fractions(labels_with_a_known_count(), n_phases=2)
    for n_phases in (0, 257, 1.5, "two"):
        with pytest.raises(ValueError, match="n_phases"):
            volume_fractions(labels_with_a_known_count(), n_phases=n_phases)


@pytest.mark.parametrize("shape", [(300, 5, 260), (270, 520)])
def test_arrays_on_disk_have_the_same_fractions_to_the_last_bit(shape):
    dask = pytest.importorskip("dask.array")
    labels = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    lazy = dask.from_array(labels, chunks=70)
    assert porosity(lazy, pore=2) == porosity(labels, pore=2)
    np.testing.assert_array_equal(volume_fractions(lazy), volume_fractions(labels))
    for axis in range(labels.ndim):
        others = tuple(i for i in range(labels.ndim) if i != axis)
        profile = porosity_profile(lazy, axis)
        np.testing.assert_array_equal(profile, porosity_profile(labels, axis))
        np.testing.assert_array_equal(profile, np.mean(labels == 0, axis=others))
    assert porosity_error(lazy, labels, pore=1) == 0
    with pytest.raises(ValueError, match="fractional"):
        porosity(lazy / 2)
    with pytest.raises(ValueError, match="shape"):
        porosity(dask.zeros(5))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((0, 3, 3), np.uint8), "empty"),
        (np.zeros(5, np.uint8), "shape"),
        (np.zeros((2, 2, 2, 2), np.uint8), "shape"),
        (np.full((2, 2, 2), np.nan), "NaN"),
        (np.full((2, 2, 2), np.inf), "NaN"),
        (np.full((2, 2, 2), 0.5, np.float32), "segment"),
        (np.full((2, 2, 2), -1), "0 to 255"),
        (np.full((2, 2, 2), 1000, np.uint16), "grey"),
        (np.full((2, 2, 2), "pore"), "dtype"),
        (np.zeros((2, 2, 2), complex), "dtype"),
    ],
)
def test_what_is_not_labels_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        porosity(labels)


@pytest.mark.parametrize("pore", [-1, 256, 0.5, "pore", None])
def test_impossible_pore_label_is_refused(pore):
    with pytest.raises(ValueError, match="pore"):
        porosity(np.zeros((2, 2, 2), np.uint8), pore=pore)


def test_axis_that_is_not_there_and_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="axis"):
        porosity_profile(np.zeros((2, 2, 2), np.uint8), axis=3)
    with pytest.raises(ValueError, match="equal"):
        porosity_error(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8))
