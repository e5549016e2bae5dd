import dataclasses
import time

import numpy as np
import pytest
import torch
from scipy import ndimage

from evaluate import agreement
from segment import Segmenter, load
from segment.finetuning import crops, descent, fine_tune, jury
from segment.finetuning.seen_stack import SeenStack
from segment.networks import UNet
from segment.strokes import hold_back, read_strokes

SHAPE = (6, 64, 64)
UNKNOWN = 255


def blobs(seed, *, cuts=(0.0,)):
    """Return smooth random phases."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), (1, 4, 4), mode="wrap")
    return np.digitize(field / field.std(), cuts).astype(np.uint8)


def picture(labels, levels, *, seed=0):
    """Return grey values with noise, a sixth of the contrast."""
    noise = 0.15 * np.random.default_rng(seed).standard_normal(labels.shape)
    return (np.asarray(levels)[labels] + noise).astype(np.float32)


def draw(labels, *, planes=(1, 4), each=5, seed=0):
    """Return horizontal strokes of nine pixels, each within one phase."""
    rng, marks = np.random.default_rng(seed), np.full(labels.shape, UNKNOWN, np.uint8)
    for z in planes:
        for phase in range(int(labels.max()) + 1):
            middles = np.argwhere(ndimage.binary_erosion(labels[z] == phase, np.ones((1, 9))))
            for y, x in rng.permutation(middles)[:each]:
                marks[z, y, x - 4 : x + 5] = phase
    return marks


@pytest.fixture(scope="module", autouse=True)
def _small_crops():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crops, "CROPS", {2: (1, 32, 32), 3: (8, 16, 16)})
        patch.setattr(descent, "TRIALS", 3)
        yield


@pytest.fixture(scope="module")
def trained():
    """A small network that knows dark pores in bright solid."""
    torch.manual_seed(0)
    network = UNet(dims=2, width=8, depth=2).train()
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    rng = np.random.default_rng(0)
    for step in range(60):
        labels = blobs(int(rng.integers(1e6)))
        image = picture(labels, (0.2, 0.8), seed=step)
        logits = network(torch.from_numpy((image[:, None] - 0.05) / 0.9))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels.astype(np.int64))).backward()
        optimizer.step()
        optimizer.zero_grad()
    refine = UNet(dims=3, in_channels=3, n_phases=2, width=4, depth=1, refines=True).eval()
    return Segmenter(network.eval(), refine, ("pore", "solid"), (0.01, -0.02), 2, temperature=1.5)


@pytest.fixture(scope="module")
def inverted():
    """The same material with bright pores, and strokes on two of its slices."""
    labels = blobs(7)
    return picture(labels, (0.8, 0.2)), labels, draw(labels)


def mean_iou(segmenter, grey, labels):
    n = int(labels.max()) + 1
    return float(np.mean(agreement(segmenter.predict(grey).labels, labels, n_phases=n).iou))


def weights(tuned):
    return tuned.segmenter.first.state_dict()


# What it is for


@pytest.fixture(scope="module")
def tuned(trained, inverted):
    grey, _, strokes = inverted
    return fine_tune(trained, grey, strokes, steps=12, rng=3)


def test_strokes_teach_an_inverted_contrast(trained, inverted, tuned):
    grey, labels, _ = inverted
    assert mean_iou(trained, grey, labels) < 0.1
    assert mean_iou(tuned.segmenter, grey, labels) > 0.75
    assert np.mean(tuned.report.before) < 0.2
    assert np.mean(tuned.report.after) > 0.9


def test_segmenter_that_came_is_left_as_it_was(trained, inverted):
    grey, _, strokes = inverted
    before = {name: value.clone() for name, value in trained.first.state_dict().items()}
    fine_tune(trained, grey, strokes, steps=2, rng=0)
    assert all(torch.equal(value, before[name]) for name, value in trained.first.state_dict().items())


def test_what_the_pretraining_measured_no_longer_stands(tuned, trained):
    assert trained.porosity_errors
    assert tuned.segmenter.porosity_errors == ()
    assert tuned.report.interval == "unknown"
    assert tuned.segmenter.domain is None
    assert tuned.segmenter.set_aside is None
    assert tuned.segmenter.temperature >= 1


def test_statistics_of_the_batch_norms_stay(tuned, trained):
    own, came = tuned.segmenter.first.state_dict(), trained.first.state_dict()
    running = [name for name in came if "running" in name]
    assert running
    assert all(torch.equal(own[name], came[name]) for name in running)
    assert any(not torch.equal(own[name], came[name]) for name in came)


def test_third_phase_gets_an_output_of_its_own_and_the_refinement_goes(trained):
    labels = blobs(3, cuts=(-0.4, 0.4))
    grey = picture(labels, (0.1, 0.5, 0.9))
    tuned = fine_tune(trained, grey, draw(labels), phases=("pore", "ionomer", "solid"), steps=25, rng=0)
    assert tuned.segmenter.phases == ("pore", "ionomer", "solid")
    assert tuned.report.new_output
    assert tuned.report.before is None
    assert tuned.report.refinement == "dropped"
    assert mean_iou(tuned.segmenter, grey, labels) > 0.6


def test_other_names_get_a_new_output_too(trained, inverted):
    grey, _, strokes = inverted
    report = fine_tune(trained, grey, strokes, phases=("void", "rock"), steps=1).report
    assert report.new_output
    assert report.phases == ("void", "rock")


# Never worse


@pytest.mark.parametrize("seed", range(2))
def test_held_back_strokes_never_fare_worse(trained, monkeypatch, seed):
    labels = blobs(seed)
    grey = picture(labels, (0.2, 0.8), seed=seed)
    # Steps so long that they ruin the network.
    monkeypatch.setattr("segment.finetuning.descent.LEARNING_RATE", 10.0)
    monkeypatch.setattr("segment.finetuning.descent.OUTPUT_LEARNING_RATE", 100.0)
    report = fine_tune(trained, grey, draw(labels, seed=seed), steps=6, rng=seed).report
    assert report.loss_after <= report.loss_before


def test_network_that_is_not_bettered_comes_back_as_it_came(trained, monkeypatch):
    labels = blobs(5)
    grey = picture(labels, (0.2, 0.8))

    def forget(network, crops, loss):
        torch.nn.init.zeros_(network.exit.weight)

    monkeypatch.setattr(descent, "_fit_output", forget)
    monkeypatch.setattr(descent, "LEARNING_RATE", 1e-12)
    tuned = fine_tune(trained, grey, draw(labels), steps=1, rng=0)
    assert tuned.report.kept_step is None
    assert tuned.report.refinement == "kept"
    assert tuned.report.interval == "pretraining"
    assert tuned.segmenter is trained


# Repeating


def test_same_seed_gives_the_same_weights_and_another_does_not(trained, inverted, tuned):
    grey, _, strokes = inverted
    again = weights(fine_tune(trained, grey, strokes, steps=12, rng=3))
    assert all(torch.equal(value, again[name]) for name, value in weights(tuned).items())
    other = weights(fine_tune(trained, grey, strokes, steps=12, rng=4))
    assert any(not torch.equal(value, other[name]) for name, value in weights(tuned).items())


def test_array_mapping_and_other_integers_say_the_same(inverted):
    strokes = inverted[2]
    labelled = np.flatnonzero((strokes != UNKNOWN).any(axis=(1, 2))).tolist()
    for other in ({z: strokes[z].astype(int) for z in labelled}, strokes.astype(np.int32).tolist()):
        np.testing.assert_array_equal(read_strokes(other, SHAPE), strokes)


def test_tuned_segmenter_is_saved_and_loaded_as_it_is(tuned, inverted, tmp_path):
    tuned.segmenter.save(tmp_path / "mine")
    grey = inverted[0]
    np.testing.assert_array_equal(
        load(tmp_path / "mine").predict(grey).probability, tuned.segmenter.predict(grey).probability
    )


def test_as_many_steps_are_taken_as_fit_into_the_time():
    pace = descent.Pace(time.monotonic(), 1.0, None)
    pace.reserve(4.0)
    # 60 s less 8 s reserved, 3 trials of 1 s and one more for safety; the lines above take less than 10 s.
    assert 380 < pace.settle(seconds_a_step=0.1, seconds_a_trial=1.0) <= 480
    late = descent.Pace(time.monotonic() - 100, 1.0, None)
    assert late.settle(seconds_a_step=0.1, seconds_a_trial=1.0) == 1


def test_a_run_of_limited_time_ends(trained, inverted):
    grey, _, strokes = inverted
    report = fine_tune(trained, grey, strokes, minutes=1e-3).report
    assert report.steps == 1
    assert report.seconds > 0.06


# Labels in part


def test_strokes_are_split_without_overlap_and_every_phase_is_on_both_sides():
    labels = blobs(2, cuts=(-0.4, 0.4))
    marks = draw(labels)
    parts = hold_back(marks, ("a", "b", "c"), rng=np.random.default_rng(0))
    assert not ((parts.learnt != UNKNOWN) & (parts.held != UNKNOWN)).any()
    np.testing.assert_array_equal(np.minimum(parts.learnt, parts.held), marks)
    for phase in range(3):
        share = np.count_nonzero(parts.held == phase) / np.count_nonzero(marks == phase)
        assert 0.2 <= share <= 0.5


def test_a_stroke_is_held_back_whole_or_not_at_all():
    marks = np.full((1, 100, 100), UNKNOWN, np.uint8)
    for number in range(10):
        marks[0, 10 * number, 5:95] = number % 2
    parts = hold_back(marks, ("a", "b"), rng=np.random.default_rng(0))
    rows = [set(parts.held[0, 10 * number, 5:95].tolist()) for number in range(10)]
    assert all(len(row) == 1 for row in rows)


def test_labelled_slice_is_held_back_in_squares():
    marks = blobs(1)[:1].repeat(3, axis=1).repeat(3, axis=2)
    held = hold_back(marks, ("a", "b"), rng=np.random.default_rng(0)).held != UNKNOWN
    for row in range(3):
        for column in range(3):
            square = held[0, 64 * row : 64 * row + 64, 64 * column : 64 * column + 64]
            assert square.all() or not square.any()
    assert 0.2 <= held.mean() <= 0.5


@pytest.mark.parametrize(("slices", "basis"), [(1, "unknown"), (3, "squares")])
def test_nine_labelled_squares_give_the_porosity_an_interval(trained, monkeypatch, slices, basis):
    # A fifth of 4 or 12 squares of the grid of 64 pixels is held back, each of which holds four of these.
    monkeypatch.setattr(jury, "CELL", 32)
    labels = blobs(4)[1:4].repeat(2, axis=1).repeat(2, axis=2)
    grey = picture(labels, (0.3, 0.7))
    alone = dataclasses.replace(trained, refine=None)
    tuned = fine_tune(alone, grey, {z: labels[z] for z in range(slices)}, steps=1, rng=0)
    assert tuned.report.interval == basis
    errors = tuned.segmenter.porosity_errors
    assert (len(errors) >= 9) if basis == "squares" else errors == ()
    found = tuned.segmenter.predict(grey)
    low, high = found.porosity_interval
    assert low <= np.mean(labels == 0) <= high
    assert (high - low < 0.3 and found.coverage >= 0.9) if errors else (low, high) == (0, 1)


def test_held_back_labels_teach_nothing(trained, inverted, monkeypatch):
    grey, _, strokes = inverted
    monkeypatch.setattr(jury.Jury, "best", property(lambda jury: jury.candidates[-1]))
    found = []
    for flip in (False, True):

        def split(marks, phases, *, rng, flip=flip):
            parts = hold_back(marks, phases, rng=rng)
            other = np.where(parts.held == UNKNOWN, UNKNOWN, 1 - parts.held).astype(np.uint8)
            return dataclasses.replace(parts, held=other) if flip else parts

        monkeypatch.setattr("segment.finetuning.fitting.hold_back", split)
        alone = dataclasses.replace(trained, refine=None)
        found.append(fine_tune(alone, grey, strokes, steps=2, rng=0))
    assert found[0].report.after != found[1].report.after
    assert all(torch.equal(value, weights(found[1])[name]) for name, value in weights(found[0]).items())


def crops_of(trained, grey, parts):
    drawn = crops.StrokeCrops(trained.first, SeenStack(trained, grey), parts.learnt, n_phases=2, seed=0)
    return [drawn(number) for number in range(8)]


def test_every_crop_holds_a_stroke_or_what_the_forest_says(trained, inverted):
    grey, _, strokes = inverted
    parts = hold_back(strokes, trained.phases, rng=np.random.default_rng(0))
    for number, (_, drawn, both) in enumerate(crops_of(trained, grey, parts)):
        assert ((drawn if number % 2 == 0 else both) != UNKNOWN).any()
        # What the user drew always goes before what the forest says.
        assert torch.equal(both[drawn != UNKNOWN], drawn[drawn != UNKNOWN])


# Networks of other kinds


@pytest.mark.parametrize(("dims", "channels"), [(2, 3), (3, 1)])
def test_networks_with_neighbours_and_on_blocks_learn_too(dims, channels, inverted):
    grey, _, strokes = inverted
    torch.manual_seed(0)
    network = UNet(dims=dims, in_channels=channels, width=4, depth=1).eval()
    report = fine_tune(Segmenter(network, None, ("pore", "solid")), grey, strokes, steps=3, rng=0).report
    assert report.refinement == "none"
    assert report.loss_after <= report.loss_before
    assert report.kept_step is not None


# What is refused


def one_phase():
    marks = np.full(SHAPE, UNKNOWN, np.uint8)
    marks[0, 4:8] = 0
    return marks


def two_dots():
    marks = np.full(SHAPE, UNKNOWN, np.uint8)
    marks[0, 4, 4], marks[0, 20, 20] = 0, 1
    return marks


@pytest.mark.parametrize(
    ("strokes", "options", "sentence"),
    [
        (
            np.zeros((6, 64, 63), np.uint8),
            {},
            r"strokes have shape \(6, 64, 63\); give the grey volume's, \(6, 64, 64\)",
        ),
        (np.zeros(SHAPE), {}, "strokes are float64; give whole numbers: phases from 0, and 255 for not labelled"),
        (np.full(SHAPE, 300), {}, "strokes hold a label 300; give phases from 0"),
        (np.full(SHAPE, -1), {}, "strokes hold a label -1; give phases from 0"),
        (np.full(SHAPE, 255), {}, "no voxel is labelled: all are 255; draw strokes in each phase"),
        (np.full(SHAPE, 2), {}, r"a stroke is labelled 2, but there are 2 phases \(pore, solid\)"),
        (one_phase(), {}, "no stroke is labelled 'solid'; draw strokes in each phase"),
        (two_dots(), {}, "phase 'pore' has 1 labelled voxels too close together to hold any back; draw more strokes"),
        ({9: np.zeros((64, 64), int)}, {}, "strokes name slice 9; the volume has slices 0 to 5"),
        ({"1": np.zeros((64, 64), int)}, {}, "strokes name slice '1'; the volume has slices 0 to 5"),
        ({0: np.zeros((64, 60), int)}, {}, r"strokes of slice 0 have shape \(64, 60\); give the grey volume's"),
        ({}, {}, "no voxel is labelled"),
        (one_phase(), {"phases": ("pore", "binder", "solid")}, "no stroke is labelled 'binder'; draw strokes in each"),
        (one_phase(), {"phases": ("pore",)}, "there are 1 phases; give the names of 2 to 255"),
        (one_phase(), {"phases": "ab"}, "phases are 'ab'; give a name for each label"),
        (one_phase(), {"phases": ("pore", "pore")}, "give a name for each label, each of them once"),
        (None, {"steps": 0}, "steps is 0; give a whole number from 1"),
        (None, {"steps": 2.5}, "steps is 2.5; give a whole number from 1"),
        (None, {"minutes": -1}, "minutes is -1; give a number above 0, up to 1440"),
        (None, {"minutes": float("nan")}, "minutes is nan; give a number above 0, up to 1440"),
        (None, {"minutes": 1, "steps": 5}, "minutes is 1 and steps is 5; give one of them"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(trained, inverted, strokes, options, sentence):
    grey, _, drawn = inverted
    with pytest.raises(ValueError, match=sentence):
        fine_tune(trained, grey, drawn if strokes is None else strokes, **options)


def test_strokes_are_read_without_change_of_the_callers_array():
    marks = one_phase()
    assert read_strokes(marks, SHAPE) is not marks
