import dataclasses
import itertools

import numpy as np
import pytest

import segment
from segment import Segmenter
from segment.multiplanar import LEAST_SIDE, across_planes, along_slices
from volume import Volume

SIDE = LEAST_SIDE


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def gradient(image):
    """Answer with two numbers, of which neither forgets where the slice's rows and columns run."""
    middle = image[len(image) // 2]
    found = np.stack([np.diff(middle, axis=0, append=0), 2 * np.diff(middle, axis=1, append=0)])
    return (found + image.mean(axis=0)).astype(np.float32)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_answer_turns_with_the_block_if_the_network_minds_no_transposed_slice(axes):
    def symmetric(image):
        return gradient(image) + gradient(image.swapaxes(1, 2)).swapaxes(1, 2)

    block = noise(6, 7, 5)
    answer = across_planes(symmetric, 1)
    expected = answer(block[None]).transpose(0, *(axis + 1 for axis in axes))
    np.testing.assert_allclose(answer(block.transpose(axes)[None]), expected, atol=1e-6)


def test_answer_is_the_mean_of_the_three_stacks_of_slices():
    block = noise(4, 6, 5)
    found = across_planes(gradient, 2)(block[None])
    assert found.shape == (2, 4, 6, 5)
    padded = [np.pad(block, [(2, 2) if axis == k else (0, 0) for axis in range(3)], mode="edge") for k in range(3)]
    for z, y, x in [(0, 0, 0), (2, 3, 1), (3, 5, 4)]:
        expected = [
            gradient(padded[0][z : z + 5])[:, y, x],
            gradient(padded[1][:, y : y + 5].transpose(1, 0, 2))[:, z, x],
            gradient(padded[2][:, :, x : x + 5].transpose(2, 0, 1))[:, z, y],
        ]
        np.testing.assert_allclose(found[:, z, y, x], np.mean(expected, axis=0), atol=1e-6)


def test_what_minds_no_neighbour_is_the_same_along_every_axis():
    block = noise(3, 4, 5)
    found = across_planes(lambda image: np.stack([image[1], 1 - image[1]]), 1)(block[None])
    np.testing.assert_allclose(found, [block, 1 - block], atol=1e-6)


def test_segmenter_looks_along_three_axes_within_a_tile(wild_network):
    segmenter = Segmenter(wild_network(in_channels=3), None, ("pore", "solid"), slices="stack", multiplanar=True)
    grey = noise(SIDE, 56, 50)
    plain, seen = dataclasses.replace(segmenter, multiplanar=False), np.empty((3, 2, *grey.shape))
    for axis in range(3):
        along = plain.predict(np.ascontiguousarray(np.moveaxis(grey, axis, 0))).probability
        seen[axis] = np.moveaxis(along, 1, axis + 1)
    assert np.abs(seen[0] - seen[1]).max() > 0.01
    np.testing.assert_allclose(segmenter.predict(grey).probability, seen.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("refined", [False, True])
def test_range_of_layers_is_segmented_to_the_bit_as_within_the_whole(wild_network, wild_segmenter, refined):
    segmenter = dataclasses.replace(
        wild_segmenter(), first=wild_network(in_channels=3), slices="stack", multiplanar=True
    )
    segmenter = segmenter if refined else dataclasses.replace(segmenter, refine=None)
    grey = noise(230, SIDE, SIDE)
    whole = segmenter.predict(grey)
    layers, levels = segmenter.layers(grey.shape), segmenter.preprocessing.measure(grey)
    assert len(layers) >= 3
    for a, b in ((0, 0), (1, 2), (len(layers) - 1, len(layers) - 1)):
        planes = layers[a][0], layers[b][1]
        slabs = list(segmenter.slabs(grey, planes=planes, levels=levels))
        np.testing.assert_array_equal(np.concatenate(slabs, axis=1), whole.probability[:, planes[0] : planes[1]])


@pytest.mark.parametrize("shape", [(SIDE - 1, SIDE, SIDE), (SIDE, SIDE, SIDE - 1), (1, 60, 60)])
def test_thin_stacks_are_seen_along_z_alone(wild_network, shape):
    plain = Segmenter(wild_network(), None, ("pore", "solid"), slices="stack")
    found = dataclasses.replace(plain, multiplanar=True).predict(noise(*shape))
    np.testing.assert_array_equal(found.probability, plain.predict(noise(*shape)).probability)


def test_pictures_that_stand_alone_are_seen_along_z_alone(wild_segmenter):
    plain, grey = dataclasses.replace(wild_segmenter(), slices="single"), noise(SIDE, SIDE, SIDE)
    found = dataclasses.replace(plain, multiplanar=True).predict(grey)
    np.testing.assert_array_equal(found.probability, plain.predict(grey).probability)


@pytest.mark.parametrize(("size", "across"), [(None, True), ((2, 2, 2), True), ((5, 2, 2), False)])
def test_voxels_that_are_no_cubes_are_seen_along_z_alone(wild_network, size, across):
    plain = Segmenter(wild_network(), None, ("pore", "solid"), slices="stack")
    grey = noise(SIDE, SIDE, SIDE)
    found = dataclasses.replace(plain, multiplanar=True).predict(Volume(grey, size))
    differ = np.abs(found.probability - plain.predict(grey).probability).max()
    assert bool(differ > 0.001) is across


def test_segmenter_keeps_it(wild_segmenter, tmp_path):
    plain = wild_segmenter()
    across = dataclasses.replace(plain, multiplanar=True)
    for segmenter in (plain, across):
        segmenter.save(tmp_path / "model")
        assert segment.load(tmp_path / "model").multiplanar is segmenter.multiplanar


def test_network_on_blocks_is_refused(wild_network):
    with pytest.raises(ValueError, match="multiplanar is set, but the first network is 3-D"):
        Segmenter(wild_network(dims=3), None, ("pore", "solid"), multiplanar=True)


def test_along_slices_repeats_the_outermost():
    found = along_slices(lambda image: image[[0, -1]], noise(3, 2, 2), 1)
    np.testing.assert_array_equal(found[:, 0], noise(3, 2, 2)[[0, 1]])
    np.testing.assert_array_equal(found[:, 2], noise(3, 2, 2)[[1, 2]])
