import dataclasses

import numpy as np
import pytest
from scipy import ndimage

import synth
from segment import Segmenter
from segment.finetuning.seen_stack import SeenStack
from segment.segmenter import SLAB
from segment.slice_order import LEAST_LIKENESS, slice_likeness, slices_follow
from synth.sem.presets import FIBSEM_PRESETS


def field(shape, width, seed=0):
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, (0, width, width))
    return smooth / smooth.std()


def unrelated(depth=8, side=64):
    return field((depth, side, side), 3.0)


@pytest.fixture(scope="module")
def stack():
    labels = synth.sphere_pack((24, 64, 64), porosity=0.5, diameter_vox=14, rng=3).labels
    return np.asarray(synth.fibsem(labels, FIBSEM_PRESETS["fibsem-catalyst-layer"], rng=0))


# Likeness


def test_slices_of_a_microscope_follow_and_pictures_of_other_places_do_not(stack):
    assert slice_likeness(stack) > 0.8
    assert slices_follow(stack)
    assert slice_likeness(stack[::8]) < slice_likeness(stack[::2]) < slice_likeness(stack)
    labels = synth.sphere_pack((96, 64, 64), porosity=0.5, diameter_vox=14, rng=4).labels
    elsewhere = np.asarray(synth.fibsem(labels, FIBSEM_PRESETS["fibsem-catalyst-layer"], rng=0))[::24]
    assert abs(slice_likeness(elsewhere)) < LEAST_LIKENESS
    assert not slices_follow(elsewhere)
    assert not slices_follow(unrelated())


def test_likeness_of_known_correlation_is_found():
    # Each slice is r times the last plus what is new: neighbours correlate by r at every scale.
    new, r = unrelated(400, 48), 0.6
    slices = [new[0]]
    for plane in new[1:]:
        slices.append(r * slices[-1] + np.sqrt(1 - r**2) * plane)
    found = [slice_likeness(np.array(slices[k : k + 40])) for k in range(0, 400, 40)]
    assert np.mean(found) == pytest.approx(r, abs=0.06)
    assert slice_likeness(np.repeat(new[:1], 5, axis=0)) == pytest.approx(1)
    assert slice_likeness(np.stack([new[0], -new[0]])) == pytest.approx(-1, abs=1e-6)


def test_likeness_is_that_of_any_linear_change_of_the_grey_values(stack):
    assert slice_likeness(1000.0 - 7.0 * stack) == pytest.approx(slice_likeness(stack), abs=1e-4)


def test_shading_common_to_all_pictures_makes_no_stack_of_them():
    rows, columns = np.mgrid[:256, :256] / 256
    shading = 8 * np.sin(np.pi * rows) * np.sin(np.pi * columns)
    assert not slices_follow(field((6, 256, 256), 3.0) + shading)


def test_noise_does_not_hide_that_slices_follow(stack):
    noisy = stack + 1.5 * stack.std() * np.random.default_rng(0).standard_normal(stack.shape)
    assert slices_follow(noisy)


def test_where_nothing_can_be_told_there_is_no_likeness(stack):
    assert slice_likeness(stack[:1]) is None
    assert slice_likeness(stack[:, :23]) is None
    assert slice_likeness(np.zeros((5, 40, 40), np.uint8)) is None
    assert slices_follow(stack[:1])
    assert slices_follow(np.zeros((5, 40, 40), np.uint8))


def test_blank_slice_does_not_break_a_stack(stack):
    holed = stack.copy()
    holed[7] = holed[7].min()
    assert slice_likeness(holed) > 0.8


def test_only_a_few_slices_of_a_large_stack_are_read():
    asked = []

    class Stack:
        shape = (1000, 600, 700)

        def __getitem__(self, window):
            asked.append(window)
            return np.repeat(field((1, 600, 700), 3.0, seed=window.start), 2, axis=0)

    assert slice_likeness(Stack()) == pytest.approx(1)
    assert [(w.start, w.stop) for w in asked] == [(0, 2), (200, 202), (399, 401), (599, 601), (798, 800), (998, 1000)]


# The segmenter


@pytest.fixture(params=["slices with neighbours", "two stages", "blocks"])
def segmenter(request, wild_network):
    if request.param == "blocks":
        return Segmenter(wild_network(dims=3), None, ("pore", "solid"))
    refine = wild_network(dims=3, in_channels=3, refines=True) if request.param == "two stages" else None
    return Segmenter(wild_network(in_channels=5), refine, ("pore", "solid"), temperature=1.3)


def probability(segmenter, grey, **options):
    return np.concatenate(list(segmenter.slabs(grey, **options)), axis=1)


def test_pictures_by_themselves_are_segmented_as_if_each_were_the_only_one(segmenter):
    grey = unrelated(SLAB + 3, 40)
    levels = segmenter.preprocessing.measure(grey)
    found = probability(segmenter, grey)
    single = dataclasses.replace(segmenter, slices="single")
    np.testing.assert_array_equal(found, probability(single, grey))
    for z in (0, 5, SLAB, len(grey) - 1):
        alone = probability(segmenter, grey[z : z + 1], levels=levels)
        np.testing.assert_array_equal(found[:, z : z + 1], alone)
    as_stack = probability(dataclasses.replace(segmenter, slices="stack"), grey)
    assert np.abs(as_stack - found).max() > 1e-4
    result = segmenter.predict(grey)
    np.testing.assert_array_equal(result.probability, found)


def test_stack_is_seen_as_a_stack(segmenter, stack):
    grey = stack[:, :32, :32]
    as_stack = probability(dataclasses.replace(segmenter, slices="stack"), grey)
    np.testing.assert_array_equal(probability(segmenter, grey), as_stack)


def test_range_of_layers_of_single_pictures_is_that_of_the_whole(segmenter):
    grey = unrelated(40, 32)
    layers = segmenter.layers(grey.shape)
    planes = layers[-1]
    levels = segmenter.preprocessing.measure(grey)
    part = probability(segmenter, grey, planes=planes, levels=levels)
    np.testing.assert_array_equal(part, probability(segmenter, grey)[:, planes[0] : planes[1]])


def test_decision_is_part_of_what_identifies_a_prediction(segmenter, stack):
    assert segmenter.for_stack(stack).slices == "stack"
    assert segmenter.for_stack(unrelated()).slices == "single"
    decided = dataclasses.replace(segmenter, slices="stack")
    assert decided.for_stack(unrelated()) is decided
    assert len({dataclasses.replace(segmenter, slices=how).fingerprint() for how in ("stack", "single")}) == 2


def test_order_that_there_is_not_is_refused(segmenter):
    with pytest.raises(ValueError, match="slices is 'alone'; give one of auto, stack, single"):
        dataclasses.replace(segmenter, slices="alone")


# Fine-tuning


def test_fine_tuning_shows_a_lone_slice_in_place_of_its_neighbours(segmenter, stack):
    for grey, follows in ((stack, True), (unrelated(), False)):
        seen = SeenStack(segmenter, grey.astype(np.float32))
        around = seen.around([0, 4], 2)
        assert around.shape == (5, 2, *grey.shape[1:])
        np.testing.assert_array_equal(around[2], seen([0, 4]))
        np.testing.assert_array_equal(around[0], seen([0, 2 if follows else 4]))
        np.testing.assert_array_equal(around[4], seen([2 if follows else 0, 6 if follows else 4]))
        assert (seen.reach > 0) == follows
