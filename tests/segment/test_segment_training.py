import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import segment
from evaluate import agreement
from launch import ConfigError, load_config, to_plain
from learn import LoopSettings
from segment.training import NetworkSettings, TrainingConfig, calibrate, domain_of, train_stage
from segment.trust import apply_temperature
from volume import Corpus, Volume

ROOT = Path(segment.__file__).resolve().parent.parent


@pytest.fixture
def tiny(corpus, tmp_path):
    """Configure a run of a few fast steps."""

    def build(**changes):
        loop = {"steps": 4, "batch_size": 2, "checkpoint_every": 2, "warmup_steps": 1} | changes.pop("loop", {})
        settings = {
            "corpus": corpus, "out": tmp_path / "run", "crop": (16, 16), "validation": 2, "seed": 7,
            "network": NetworkSettings(size={"width": 4, "depth": 1}), "loop": LoopSettings(**loop),
        } | changes  # fmt: skip
        return TrainingConfig(**settings)

    return build


def _losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def _column(folder, name):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def _weights(folder):
    loaded = segment.load(folder)
    return (loaded.refine or loaded.first).state_dict()


def _assert_equal_to_the_bit(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_one_volume_is_learned_by_heart(corpus, tmp_path):
    one = Corpus.create(tmp_path / "one", description={})
    sample = Corpus(corpus)[0]
    one.append(sample.grey, sample.labels, seed=0, recipe={})
    config = TrainingConfig(
        corpus=tmp_path / "one",
        out=tmp_path / "run",
        validation=0,
        crop=(32, 32),
        network=NetworkSettings(size={"width": 8, "depth": 2}),
        loop=LoopSettings(steps=100, batch_size=4, learning_rate=5e-3, ema_decay=0.9),
    )
    segmenter = train_stage(config)
    match = agreement(segmenter.predict(sample.grey).labels, np.asarray(sample.labels), n_phases=2)
    assert min(match.iou) > 0.95
    losses = _losses(config.out)
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:3])
    assert segmenter.porosity_errors == ()


def test_both_stages_end_in_a_segmenter_that_knows_its_porosity_errors(tiny, corpus, tmp_path):
    first = train_stage(tiny())
    config = tiny(stage="refine", first_stage=str(tmp_path / "run"), out=tmp_path / "refine", crop=(16, 16, 16))
    train_stage(config)
    loaded = segment.load(tmp_path / "refine")
    _assert_equal_to_the_bit(loaded.first.state_dict(), first.first.state_dict())
    assert loaded.refine is not None
    assert loaded.phases == ("pore", "solid")
    # Calibrated on the corpus's last two volumes, with both stages.
    expected = []
    for sample in Corpus(corpus)[2:]:
        truth = sample.entry["truth"]["porosity"]
        expected.append(loaded.predict(sample.grey).porosity - truth)
    assert loaded.porosity_errors == pytest.approx(expected, abs=1e-9)
    doubts = [np.mean(loaded.predict(sample.grey).probability.max(axis=0) < 0.8) for sample in Corpus(corpus)[2:]]
    assert loaded.undecided == pytest.approx(doubts, abs=1e-3)


def test_refinement_starts_from_the_first_stage_and_one_tiny_step_hardly_changes_it(tiny, corpus, tmp_path):
    first = train_stage(tiny())
    loop = {"steps": 1, "learning_rate": 1e-9}
    config = tiny(
        stage="refine", first_stage=str(tmp_path / "run"), out=tmp_path / "refine", crop=(16, 16, 16), loop=loop
    )
    grey = Corpus(corpus)[3].grey
    np.testing.assert_allclose(
        train_stage(config).predict(grey).probability, first.predict(grey).probability, atol=3e-4
    )


def test_calibration_errors_are_predicted_minus_true_porosity(wild_segmenter):
    class Sample:
        grey = Volume(np.random.default_rng(0).random((4, 8, 8)))

    segmenter = wild_segmenter()
    predicted = segmenter.predict(Sample.grey).porosity
    for solid in (0, 100, 256):
        Sample.labels = Volume((np.arange(256) < solid).astype(np.uint8).reshape(4, 8, 8))
        found = calibrate(segmenter, [Sample]).porosity_errors
        assert found == pytest.approx([predicted - (256 - solid) / 256])


def test_calibrated_temperature_makes_the_truth_more_likely_and_keeps_the_labels(wild_segmenter):
    class Sample:
        grey = Volume(np.random.default_rng(0).random((6, 16, 16)))

    segmenter = wild_segmenter()
    before = segmenter.predict(Sample.grey)
    # The truth is drawn from what the network would say at a temperature of 0.3.
    chance = apply_temperature(before.probability, 0.3)[1]
    Sample.labels = Volume((np.random.default_rng(1).random(chance.shape) < chance).astype(np.uint8))
    after = calibrate(segmenter, [Sample])
    found = after.predict(Sample.grey)
    np.testing.assert_array_equal(found.labels, before.labels)

    def unlikelihood(probability):
        return -np.log(np.take_along_axis(probability, Sample.labels.array[None].astype(int), axis=0)).mean()

    assert after.temperature != 1
    assert unlikelihood(found.probability) < unlikelihood(before.probability)
    for other in (0.9, 1.1):
        changed = dataclasses.replace(after, temperature=other * after.temperature)
        assert unlikelihood(changed.predict(Sample.grey).probability) > unlikelihood(found.probability)


def test_domain_is_known_from_nineteen_pictures_on():
    pictures = [np.random.default_rng(i).random((2, 24, 24)) for i in range(19)]
    assert domain_of(pictures[:18]) is None
    assert domain_of([*pictures[:18], np.zeros((2, 23, 24))]) is None
    assert len(domain_of(pictures).images) == 19


# Repeating and resuming


def test_same_configuration_gives_the_same_weights_and_another_seed_does_not(tiny, tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        train_stage(tiny(out=tmp_path / name, seed=seed))
    _assert_equal_to_the_bit(_weights(tmp_path / "a"), _weights(tmp_path / "b"))
    assert _losses(tmp_path / "a") == _losses(tmp_path / "b")
    assert _losses(tmp_path / "a") != _losses(tmp_path / "c")


def test_finished_run_is_not_trained_again(tiny):
    config = tiny()
    train_stage(config)
    losses, weights = _losses(config.out), _weights(config.out)
    train_stage(config)
    assert _losses(config.out) == losses
    _assert_equal_to_the_bit(_weights(config.out), weights)


def _command(config):
    path = config.out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(to_plain(config)))
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
    ]
    return [*launch, "--mixed_precision", "no", "--dynamo_backend", "no", "segment/train.py", "--config", str(path)]


def _start(config, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    # A session of its own, so that the launcher and the training that it started can be killed together.
    return subprocess.Popen(
        _command(config), cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def _kill_at_step(process, metrics, step, deadline=120):
    end = time.monotonic() + deadline
    while time.monotonic() < end and process.poll() is None:
        if metrics.exists() and metrics.read_text().count("\n") >= step:
            break
        time.sleep(0.002)
    still_running = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return still_running


def test_killed_training_resumes_to_the_same_losses_and_weights(tiny, tmp_path):
    loop = {
        "steps": 300, "checkpoint_every": 20, "schedule": "plateau", "plateau_on": "validation_loss",
        "plateau_patience": 1, "plateau_factor": 0.5, "monitor_every": 7,
    }  # fmt: skip
    whole, killed = (tiny(out=tmp_path / name, loop=loop, validation_crops=4) for name in ("whole", "killed"))
    assert _kill_at_step(_start(killed), killed.out / "metrics.jsonl", 30)
    done = (killed.out / "metrics.jsonl").read_text().count("\n")
    assert 30 <= done < 300
    assert not (killed.out / "segmenter").exists()
    second = _start(killed)
    out, error = second.communicate(timeout=200)
    assert second.returncode == 0, error
    assert "saved" in out
    train_stage(whole)
    assert _losses(killed.out) == _losses(whole.out)
    measured = [_column(out, "validation_loss") + _column(out, "learning_rate") for out in (killed.out, whole.out)]
    assert measured[0] == measured[1]
    assert min(_column(whole.out, "learning_rate")) <= 2e-3 / 4
    _assert_equal_to_the_bit(_weights(killed.out), _weights(whole.out))
    assert segment.load(killed.out).porosity_errors == segment.load(whole.out).porosity_errors


# What is refused


def test_missing_corpus_is_refused_by_name(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"'.*nowhere' holds no corpus"):
        train_stage(tiny(corpus=tmp_path / "nowhere"))


def test_corpus_with_nothing_left_to_train_on_is_refused(tiny):
    with pytest.raises(ValueError, match="has 4 volumes and validation sets 4 aside"):
        train_stage(tiny(validation=4))


def test_crop_larger_than_the_volumes_is_refused(tiny):
    with pytest.raises(ValueError, match=r"crop \(64, 64\) is larger than a volume of \(32, 32, 32\)"):
        train_stage(tiny(crop=(64, 64)))


def test_corpus_without_names_of_phases_is_refused(tiny, corpus, tmp_path):
    nameless = Corpus.create(tmp_path / "nameless", description={})
    sample = Corpus(corpus)[0]
    nameless.append(np.asarray(sample.grey), np.asarray(sample.labels), seed=0, recipe={})
    with pytest.raises(ValueError, match="name no phases"):
        train_stage(tiny(corpus=tmp_path / "nameless", validation=0))


def test_interval_may_not_rest_on_volumes_that_the_first_stage_learnt_from(tiny, tmp_path):
    train_stage(tiny(validation=1))
    refine = tiny(stage="refine", first_stage=str(tmp_path / "run"), out=tmp_path / "refine", crop=(16, 16, 16))
    with pytest.raises(ValueError, match="set only 1 volumes aside"):
        train_stage(refine)


def test_training_begins_with_the_weights_that_it_is_given(tiny, tmp_path):
    settings = {"loop": {"steps": 1, "learning_rate": 1e-9, "ema_decay": 0.0}}
    before = train_stage(tiny(out=tmp_path / "before"))
    again = train_stage(tiny(out=tmp_path / "again", start=str(tmp_path / "before"), seed=5, **settings))
    learnt = dict(before.first.named_parameters())
    for name, weights in again.first.named_parameters():
        torch.testing.assert_close(weights, learnt[name], atol=1e-6, rtol=0)
    other = train_stage(tiny(out=tmp_path / "other", seed=5, **settings))
    apart = [float((weights - learnt[name]).detach().abs().max()) for name, weights in other.first.named_parameters()]
    assert max(apart) > 0.1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"network": NetworkSettings("unet", {"width": 8, "depth": 1})}, "set network, neighbours and phases alike"),
        ({"neighbours": 1}, "set network, neighbours and phases alike"),
        ({"network": NetworkSettings("segnet", {"width": 4})}, "set network, neighbours and phases alike"),
        ({"stage": "refine", "crop": (16, 16, 16)}, "whose network for stage 'refine' is missing"),
    ],
)
def test_start_of_another_kind_is_refused_and_nothing_is_begun(tiny, tmp_path, changes, reason):
    train_stage(tiny(out=tmp_path / "before"))
    first = {"first_stage": str(tmp_path / "before")} if changes.get("stage") == "refine" else {}
    with pytest.raises(ValueError, match=reason):
        train_stage(tiny(out=tmp_path / "again", start=str(tmp_path / "before"), **changes, **first))
    assert not (tmp_path / "again").exists()


def test_first_stage_with_other_phases_than_the_corpus_is_refused(tiny, wild_segmenter, tmp_path):
    wild_segmenter(phases=("pore", "solid", "binder")).save(tmp_path / "three")
    with pytest.raises(ValueError, match="must have the same phases"):
        train_stage(tiny(stage="refine", first_stage=str(tmp_path / "three"), crop=(16, 16, 16)))


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["crop=[20, 20]"], r"crop is \[20, 20\]; its sides must be multiples of 8"),
        (["crop=[0, 0]"], "multiples of 8"),
        (["crop=[16, 16, 16]"], "stage 'slices' takes 2 numbers"),
        (["stage=refine"], "stage 'refine' takes 3 numbers"),
        (["stage=refine", "crop=[16, 16, 16]"], "first_stage None; 'refine' needs first_stage"),
        (["first_stage=elsewhere"], "first_stage 'elsewhere'; .* the others have none"),
        (["stage=both"], "'stage' is 'both'; it must be one of 'slices', 'blocks', 'refine'"),
        (["validation=-1"], "validation is -1"),
        (["seed=-1"], "seed is -1"),
        (["loss.settings.dice_weight=-0.5"], "dice_weight is -0.5"),
        (["network.size.width=0"], "width is 0"),
        (["network.name=alexnet"], "no network 'alexnet'; give one of unet"),
        (["network.size.deep=3"], "'unet' has no size 'deep'"),
        (["loss.name=hinge"], "hinge"),
        (["preprocessing=sharpen"], "'preprocessing' is 'sharpen'"),
        (["stage=blocks", "crop=[16, 16, 16]", "neighbours=1"], "neighbours is 1; give 0, or more with stage 'slices'"),
        (
            ["stage=blocks", "crop=[16, 16, 16]", "multiplanar=true"],
            "multiplanar is set with stage 'blocks'",
        ),
        (
            ["loop.learning_rat=0.1"],
            r"unknown configuration key 'loop.learning_rat'; did you mean 'loop.learning_rate'",
        ),
        (["sed=3"], "unknown configuration key 'sed'; did you mean 'seed'"),
        (["loop.steps=many"], "'loop.steps' is 'many'; it must be a whole number"),
    ],
)
def test_configuration_that_cannot_be_used_is_refused_and_says_why(overrides, reason):
    with pytest.raises(ConfigError, match=reason):
        load_config(TrainingConfig, None, ["corpus=c", "out=o", *overrides])


def test_finished_first_stage_may_look_along_three_axes_without_training_and_hands_it_on(tiny, tmp_path):
    plain = train_stage(tiny())
    across = train_stage(tiny(multiplanar=True))
    assert (plain.multiplanar, across.multiplanar) == (False, True)
    _assert_equal_to_the_bit(across.first.state_dict(), plain.first.state_dict())
    refine = {"stage": "refine", "first_stage": str(tmp_path / "run"), "out": tmp_path / "refine"}
    assert train_stage(tiny(**refine, crop=(16, 16, 16))).multiplanar


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 8}, "trained with seed = 7, now seed = 8"),
        ({"loop": {"learning_rate": 1e-4}}, "trained with loop.learning_rate = 0.002, now loop.learning_rate = 0.0001"),
        (
            {"network": NetworkSettings(size={"width": 8, "depth": 1})},
            "trained with network.size.width = 4, now network.size.width = 8",
        ),
        ({"validation": 1}, "trained with validation = 2, now validation = 1"),
    ],
)
def test_run_folder_with_checkpoints_of_other_settings_is_refused_and_left_alone(tiny, change, sentence):
    config = tiny()
    train_stage(config)
    before = {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=f"{sentence}; set it back or choose another run folder"):
        train_stage(tiny(**change))
    assert {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()} == before


def test_refused_run_leaves_no_run_folder(tiny):
    config = tiny(crop=(64, 64))
    with pytest.raises(ValueError, match="larger"):
        train_stage(config)
    assert not config.out.exists()
