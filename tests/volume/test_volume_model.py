"""What a volume and its labels are."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from volume import Volume, check_labels, from_one_hot, one_hot

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)


def test_volume_is_frozen_and_keeps_its_array_without_a_copy():
    array = np.zeros((2, 3, 4), np.uint8)
    volume = Volume(array)
    assert volume.array is array
    assert np.shares_memory(np.asarray(volume), array)
    assert volume.shape == (2, 3, 4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        volume.array = array + 1


def test_a_copy_of_a_volume_is_independent_of_it():
    volume = Volume(np.zeros((2, 3, 4), np.uint8))
    copy = np.array(volume)
    copy += 1
    assert not volume.array.any()
    assert np.asarray(volume, dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize("size", [[1, 2, 3], np.array([1.0, 2.0, 3.0], np.float32), (1, 2.0, np.float64(3))])
def test_voxel_size_becomes_a_tuple_of_float(size):
    kept = Volume(np.zeros((1, 1, 1)), voxel_size_um=size).voxel_size_um
    assert kept == (1.0, 2.0, 3.0)
    assert [type(value) for value in kept] == [float] * 3


@pytest.mark.parametrize(
    "size", [1.0, (1, 2), (1, 2, 0), (1, 2, -3), (1, 2, np.nan), (1, np.inf, 3), "abc", (1, 2, 3, 4)]
)
def test_voxel_size_must_be_three_positive_numbers(size):
    with pytest.raises(ValueError, match=r"voxel_size_um is .* three positive numbers"):
        Volume(np.zeros((1, 1, 1)), voxel_size_um=size)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 4)), "three axes"),
        (np.zeros((1, 2, 3, 4)), "three axes"),
        (np.zeros((0, 3, 4)), "at least one voxel"),
        (np.zeros((2, 3, 4), complex), "complex128"),
        (np.full((2, 3, 4), None), "object"),
    ],
)
def test_what_is_no_volume_is_refused(array, words):
    with pytest.raises(ValueError, match=words):
        Volume(array)


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ("pore", "sequence of names"),
        ([], "sequence of names"),
        (["pore", ""], "sequence of names"),
        (["pore", 1], "sequence of names"),
        (["pore", "pore", "solid"], "once only"),
        (["pore", "solid"], "holds 0 to 2"),
    ],
)
def test_phases_must_name_each_label_once(phases, words):
    with pytest.raises(ValueError, match=words):
        Volume(np.array([[[0, 1, 2]]], np.uint8), phases=phases)


def test_phases_do_not_go_with_grey_values():
    with pytest.raises(ValueError, match="float32"):
        Volume(np.zeros((1, 1, 2), np.float32), phases=["pore", "solid"])


def test_number_of_phases_counts_the_named_ones():
    assert Volume(np.zeros((1, 1, 1), np.uint8), phases=["pore", "solid", "binder"]).n_phases == 3
    assert Volume(np.zeros((1, 1, 1), np.uint8)).n_phases is None


@given(st.data())
def test_one_hot_and_back_is_the_identity(data):
    n_phases = data.draw(st.integers(1, 6))
    dtype = data.draw(st.sampled_from([np.uint8, np.int64, np.uint16]))
    labels = data.draw(hnp.arrays(dtype, SHAPES, elements=st.integers(0, n_phases - 1)))
    channels = one_hot(labels, n_phases)
    assert channels.dtype == np.float32
    assert channels.shape == (n_phases, *labels.shape)
    np.testing.assert_array_equal(channels, np.moveaxis(np.eye(n_phases)[labels], -1, 0))
    back = from_one_hot(channels)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, labels)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=4, max_dims=4, max_side=5), elements=st.integers(0, 3)))
def test_of_equal_channels_the_lowest_label_wins(p):
    largest = p.max(axis=0)
    expected = np.full(p.shape[1:], 255)
    for label in reversed(range(len(p))):
        expected[p[label] == largest] = label
    np.testing.assert_array_equal(from_one_hot(p), expected)


def test_one_hot_takes_masks_and_volumes():
    mask = np.array([[[True, False]]])
    np.testing.assert_array_equal(one_hot(Volume(mask), 2), [[[[0, 1]]], [[[1, 0]]]])


def test_all_256_labels_survive():
    labels = np.arange(256, dtype=np.int32).reshape(4, 8, 8)
    np.testing.assert_array_equal(from_one_hot(one_hot(labels, 256)), labels)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([[[0, 2]]]), "between 0 and 1; these lie between 0 and 2"),
        (np.array([[[-1, 0]]]), "-1"),
        (np.array([[[0.0, 1.0]]]), "float64"),
        (np.array([[0, 1]]), "shape"),
        (np.zeros((0, 1, 1), int), "non-empty"),
    ],
)
def test_what_is_no_label_is_refused(labels, words):
    with pytest.raises(ValueError, match=words):
        one_hot(labels, 2)


@pytest.mark.parametrize("n_phases", [0, 257, 2.5, "2"])
def test_number_of_phases_must_fit_uint8(n_phases):
    with pytest.raises(ValueError, match="n_phases is"):
        one_hot(np.zeros((1, 1, 1), int), n_phases)


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (np.zeros((2, 3, 4)), "axes"),
        (np.zeros((257, 1, 1, 1)), "257"),
        (np.full((2, 1, 1, 1), np.nan), "NaN in slice 0"),
        (np.zeros((2, 1, 1, 1), complex), "complex"),
    ],
)
def test_what_is_no_one_hot_array_is_refused(p, words):
    with pytest.raises(ValueError, match=words):
        from_one_hot(p)


def test_check_labels_does_not_copy_what_is_right_already():
    labels = np.zeros((2, 2, 2), np.uint8)
    assert check_labels(labels) is labels
