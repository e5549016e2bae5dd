import itertools

import numpy as np
import pytest

import volume
from generative.patches import LabelledPatches, read_material


def numbered(shape):
    """Every voxel has its own number, so that a patch tells where it comes from."""
    return np.arange(np.prod(shape), dtype=np.int64).reshape(shape)


def test_an_epoch_without_symmetry_holds_every_place_once():
    labels = numbered((6, 7, 5))
    patches = LabelledPatches(labels, size=(2, 3, 4), stride=2, seed=1)
    corners = {int(patches[i][0, 0, 0]) for i in range(len(patches))}
    expected = {int(labels[z, y, x]) for z, y, x in itertools.product((0, 2, 4), (0, 2, 4), (0, 1))}
    assert corners == expected
    assert len(patches) == len(expected)


def test_patches_reach_every_voxel_for_any_stride_up_to_the_patch():
    labels = numbered((9, 8, 11))
    patches = LabelledPatches(labels, size=(4, 4, 4), stride=4, symmetry="cubic")
    seen = np.unique(np.concatenate([patches[i].ravel() for i in range(len(patches))]))
    assert np.array_equal(seen, labels.ravel())


def test_patch_depends_on_its_index_alone():
    labels = numbered((8, 8, 8))
    one, other = (LabelledPatches(labels, size=(4, 4, 4), stride=1, symmetry="cubic", seed=2) for _ in range(2))
    forwards = [one[i] for i in range(260)]
    backwards = [other[i] for i in reversed(range(260))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    third = LabelledPatches(labels, size=(4, 4, 4), stride=1, symmetry="cubic", seed=3)
    assert any(not np.array_equal(a, third[i]) for i, a in enumerate(forwards))


@pytest.mark.parametrize(
    ("symmetry", "size", "orientations"),
    [
        ("none", (2, 2, 2), 1),
        ("flips", (2, 2, 2), 8),
        ("transverse", (2, 2, 2), 16),
        ("cubic", (2, 2, 2), 48),
        ("cubic", (2, 2, 4), 16),
        ("cubic", (4, 2, 2), 16),
        ("transverse", (2, 2, 4), 8),
    ],
)
def test_symmetry_gives_each_of_its_orientations_and_no_other(symmetry, size, orientations):
    patches = LabelledPatches(numbered(size), size=size, stride=1, symmetry=symmetry, seed=0)
    seen = {patches[i].tobytes() for i in range(600)}
    assert len(seen) == orientations
    assert all(patches[i].shape == size for i in range(20))


def test_transverse_symmetry_never_turns_the_z_axis():
    layers = np.broadcast_to(np.arange(4)[:, None, None], (4, 4, 4)).copy()
    patches = LabelledPatches(layers, size=(4, 4, 4), stride=1, symmetry="transverse")
    assert all(np.ptp(patches[i], axis=(1, 2)).max() == 0 for i in range(60))


def test_volume_smaller_than_the_patch_is_refused():
    with pytest.raises(ValueError, match=r"smaller than the patch \(8, 8, 8\)"):
        LabelledPatches(np.zeros((8, 7, 8), np.uint8), size=(8, 8, 8), stride=1)


def test_what_goes_with_the_labels_is_cut_and_turned_like_them():
    labels = numbered((6, 7, 8))
    patches = LabelledPatches(labels, size=(4, 4, 4), stride=1, symmetry="cubic", seed=5)
    both = np.stack([labels, -labels])
    for i in range(60):
        assert np.array_equal(patches.take(both, i), np.stack([patches[i], -patches[i]]))


def test_material_keeps_names_and_voxel_size_of_a_volume():
    labels = np.array([[[0, 1, 1, 1]]], dtype=np.uint8)
    material = read_material(volume.Volume(labels, (1.0, 2.0, 3.0), ("pore", "LSCF")))
    assert (material.phases, material.voxel_size_um) == (("pore", "LSCF"), (1.0, 2.0, 3.0))
    assert material.fractions() == (0.25, 0.75)
    assert read_material(labels).phases == ("pore", "phase 1")


@pytest.mark.parametrize(
    ("labels", "phases", "message"),
    [
        (np.full((2, 2, 2), 1), ("pore", "solid"), "phase 'pore' .label 0. is absent"),
        (np.array([[[0, 2]]]), None, "'phase 1' .label 1. is absent"),
        (np.array([[[0, 127, 255]]], dtype=np.uint8), ("pore", "GDC", "LSCF"), "label 255 has no name"),
        (np.zeros((2, 2, 2), int), None, "single phase"),
        (np.array([[[-1, 0]]]), None, "from 0 to at most 255"),
        (np.array([[[0, 300]]]), None, "from 0 to at most 255"),
        (np.zeros((2, 2, 2), np.float32), None, "segment it first"),
        (np.zeros((4, 4), int), None, r"3-D"),
        (np.zeros((0, 4, 4), int), None, r"3-D"),
    ],
)
def test_material_that_cannot_be_learnt_is_refused(labels, phases, message):
    with pytest.raises(ValueError, match=message):
        read_material(labels, phases=phases)
