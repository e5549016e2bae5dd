"""What a training learns from, what it leaves out, and what it measures on that."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

import segment
from launch import ConfigError, load_config
from learn import LoopSettings
from segment.crops import PlainCrops
from segment.losses import CrossEntropy, build_loss
from segment.monitor import ValidationMonitor
from segment.samples import ORIENTATIONS, RandomCrops
from segment.training import NetworkSettings, SampleSettings, TrainingConfig, calibrate, train_stage
from segment.trust import image_statistics
from volume import Corpus, Volume

SMALL = NetworkSettings(size={"width": 4, "depth": 1})
LOOP = {"steps": 3, "batch_size": 2, "checkpoint_every": 2, "warmup_steps": 1}


@pytest.fixture
def make_corpus(tmp_path):
    """Write volumes whose grey values tell the labels and which volume it is."""

    def build(name, count, phases=("pore", "solid"), shape=(8, 16, 16)):
        made = Corpus.create(tmp_path / name, description={})
        for index in range(count):
            rng = np.random.default_rng((len(name), index))
            labels = rng.integers(len(phases), size=shape).astype(np.uint8)
            grey = (labels + index + 0.1 * rng.random(labels.shape)).astype(np.float32)
            made.append(grey, Volume(labels, phases=phases), seed=index, recipe={})
        return tmp_path / name

    return build


@pytest.fixture
def config(tmp_path):
    def build(corpus, **changes):
        loop = LoopSettings(**(LOOP | changes.pop("loop", {})))
        given = {"crop": (8, 8), "validation": 1, "network": SMALL, "loop": loop, "out": tmp_path / "run"}
        return TrainingConfig(corpus=corpus, **(given | changes))

    return build


@pytest.fixture
def seen(monkeypatch):
    """Record what crops are cut from and what the calibration is given, without training."""
    record = {"learnt": None, "held_out": None, "turned": None}

    def stand_in(images, labels, *, turned, **_settings):
        record["turned"] = turned
        record["learnt"] = [(image, label) for image, label in zip(images, labels, strict=True)]

    def calibrated(segmenter, samples):
        record["held_out"] = [(np.asarray(one.grey), np.asarray(one.labels)) for one in samples]
        return segmenter

    monkeypatch.setattr("segment.training.RandomCrops", stand_in)
    monkeypatch.setattr("segment.training.train", lambda *_a, **_k: 0)
    monkeypatch.setattr("segment.training.calibrate", calibrated)
    return record


def labels_of(*folders_and_indices):
    return [np.asarray(Corpus(folder)[i].labels).tobytes() for folder, i in folders_and_indices]


# Several corpora


def test_last_volumes_of_each_corpus_are_set_aside(make_corpus, config, seen):
    a, b = make_corpus("a", 3), make_corpus("bb", 4)
    train_stage(config((a, b), validation=2))
    assert [label.tobytes() for _, label in seen["learnt"]] == labels_of((a, 0), (b, 0), (b, 1))
    assert [label.tobytes() for _, label in seen["held_out"]] == labels_of((a, 1), (a, 2), (b, 2), (b, 3))


@pytest.mark.parametrize(("fold", "aside"), [((0, 2), [0, 1]), ((1, 2), [2, 3, 4]), ((2, 3), [3, 4])])
def test_folds_set_each_volume_aside_once(make_corpus, config, seen, fold, aside):
    folder = make_corpus("a", 5)
    settings = config(folder, fold=fold)
    train_stage(settings)
    assert [label.tobytes() for _, label in seen["held_out"]] == labels_of(*((folder, i) for i in aside))
    assert len(seen["learnt"]) == 5 - len(aside)
    parts = [i for k in range(fold[1]) for i in dataclasses.replace(settings, fold=(k, fold[1])).set_aside(5)]
    assert parts == list(range(5))


def test_corpora_that_name_phases_differently_learn_together_under_names_given(make_corpus, config, seen):
    a, b = make_corpus("a", 2), make_corpus("bb", 2, phases=("pore", "fibre", "MPL"))
    with pytest.raises(ValueError, match=r"must have the same phases, not .*; set phases to name them alike"):
        train_stage(config((a, b)))
    assert train_stage(config((a, b), phases=("void", "solid"))).phases == ("void", "solid")
    (_, _), (_, merged) = seen["learnt"]
    truth = np.asarray(Corpus(b)[0].labels)
    assert set(np.unique(truth)) == {0, 1, 2}
    np.testing.assert_array_equal(merged == 0, truth == 0)
    assert set(np.unique(merged)) == {0, 1}
    assert merged.dtype == np.uint8
    with pytest.raises(ValueError, match=r"has \['pore', 'solid'\] alone; name fewer"):
        train_stage(config((a, b), phases=("pore", "fibre", "MPL")))


def test_a_corpus_may_lack_the_last_phases(make_corpus, config, seen):
    bare, coated = make_corpus("a", 2, phases=("pore", "fibre")), make_corpus("bb", 2, phases=("pore", "fibre", "MPL"))
    assert train_stage(config((bare, coated), phases=("pore", "fibre", "MPL"))).phases == ("pore", "fibre", "MPL")
    for (_, found), folder in zip(seen["learnt"], (bare, coated), strict=True):
        np.testing.assert_array_equal(found, np.asarray(Corpus(folder)[0].labels))
    assert set(np.unique(seen["learnt"][0][1])) == {0, 1}
    with pytest.raises(ValueError, match="begin with these"):
        train_stage(config((bare, coated), phases=("fibre", "pore", "MPL")))


def test_volumes_set_aside_lie_in_any_of_their_six_orientations_and_crops_are_turned(make_corpus, config, seen):
    folder = make_corpus("a", 17)
    turned = dataclasses.replace(config(folder, validation=16), samples=SampleSettings(mirrored=0, turned=True))
    train_stage(turned)
    assert seen["turned"] is True
    np.testing.assert_array_equal(seen["learnt"][0][1], np.asarray(Corpus(folder)[0].labels))
    found = ways_of(seen["held_out"], folder, first=1)
    assert set(found) == {(axes, step) for axes in ORIENTATIONS for step in (1, -1)}
    train_stage(turned)
    assert ways_of(seen["held_out"], folder, first=1) == found


def test_volumes_of_a_refinement_are_turned_before_the_first_stage_sees_them(make_corpus, config, seen, tmp_path):
    folder = make_corpus("a", 17)
    train_stage(config(folder))
    samples = SampleSettings(mirrored=0, turned=True)
    after = {"stage": "refine", "first_stage": str(tmp_path / "run"), "crop": (8, 8, 8), "out": tmp_path / "refine"}
    train_stage(config(folder, samples=samples, **after))
    assert seen["turned"] is False
    learnt = [(image[-1], labels) for image, labels in seen["learnt"]]
    assert len(set(ways_of(learnt, folder))) == 6


def ways_of(volumes, folder, first=0):
    """Return how grey values and labels of a corpus's volumes lie; both must lie alike."""
    found = []
    for index, (grey, labels) in enumerate(volumes, first):
        truth, before = (np.asarray(getattr(Corpus(folder)[index], part)) for part in ("labels", "grey"))
        ways = [(axes, step) for axes in ORIENTATIONS for step in (1, -1)]
        (way,) = (way for way in ways if np.array_equal(truth.transpose(way[0])[:: way[1]], labels))
        # What a network sees rises with the grey value.
        order = np.argsort(before.transpose(way[0])[:: way[1]].ravel())
        assert (np.diff(grey.ravel()[order]) >= 0).all()
        found.append(way)
    return found


def test_pictures_of_turned_volumes_are_known_in_each_of_their_three_planes(make_corpus, config):
    folder = make_corpus("a", 20, shape=(24, 32, 40))
    settings = {"crop": (8, 8), "samples": SampleSettings(mirrored=0)}
    lying = train_stage(dataclasses.replace(config(folder), **settings)).domain
    settings["samples"] = SampleSettings(mirrored=0, turned=True)
    turned = train_stage(dataclasses.replace(config(folder), out=folder.parent / "turned", **settings)).domain
    assert (len(lying.images), len(turned.images)) == (20, 60)
    assert turned.images[::3] == lying.images
    upright = np.asarray(Corpus(folder)[7].grey).transpose(2, 1, 0)
    assert turned.images[3 * 7 + 2] == image_statistics(upright)


def test_segmenter_keeps_whether_all_its_stages_have_learnt_turned_volumes(make_corpus, config, seen, tmp_path):
    folder, samples = make_corpus("a", 2), {way: SampleSettings(mirrored=0, turned=way) for way in (False, True)}
    for first in samples:
        learnt = config(folder, samples=samples[first], out=tmp_path / f"first{first}")
        assert train_stage(learnt).turned is first
        for then in samples:
            after = {"stage": "refine", "first_stage": str(learnt.out), "crop": (8, 8, 8), "out": tmp_path / "refine"}
            train_stage(config(folder, samples=samples[then], **after))
            assert segment.load(tmp_path / "refine").turned is (first and then)
            shutil.rmtree(tmp_path / "refine")


def test_crop_must_fit_turned_volumes_in_every_way(make_corpus, config):
    folder = make_corpus("a", 2)
    small = config(folder, crop=(16, 16))
    with pytest.raises(ValueError, match=r"crop \(16, 16\) is larger than a volume of \(16, 8, 16\)"):
        train_stage(dataclasses.replace(small, samples=SampleSettings(turned=True)))


def test_crop_that_is_too_large_is_refused_before_the_first_stage_segments_anything(make_corpus, config, monkeypatch):
    folder = make_corpus("a", 2)
    first = train_stage(config(folder))
    first.save(folder.parent / "first")
    monkeypatch.setattr("segment.segmenter.Segmenter.predict_first", lambda *_a, **_k: pytest.fail("segmented"))
    refine = config(folder, stage="refine", first_stage=str(folder.parent / "first"), crop=(16, 8, 8))
    with pytest.raises(ValueError, match=r"crop \(16, 8, 8\) is larger than a volume of \(8, 16, 16\)"):
        train_stage(refine)


# The first stage's volumes


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ({"fold": (0, 2)}, {"fold": (0, 2)}, None),
        ({"validation": 2}, {"validation": 1}, None),
        ({"fold": (0, 2)}, {"fold": (1, 2)}, r"fold is \[1, 2\], but .* with fold \[0, 2\]"),
        ({"fold": (1, 2)}, {"validation": 1}, r"validation is 1, but .* with fold \[1, 2\]"),
        ({"validation": 2}, {"fold": (1, 2)}, r"fold is \[1, 2\], but .* with validation 2"),
        ({"validation": 1}, {"validation": 2}, "set only 1 volumes aside"),
    ],
)
def test_refinement_may_set_aside_what_the_first_stage_did(
    make_corpus, config, monkeypatch, tmp_path, before, now, reason
):
    monkeypatch.setattr("segment.training.train", lambda *_a, **_k: 0)
    monkeypatch.setattr("segment.training.calibrate", lambda segmenter, _samples: segmenter)
    folder = make_corpus("a", 4)
    train_stage(config(folder, **before))
    refine = config(
        folder, stage="refine", first_stage=str(tmp_path / "run"), out=tmp_path / "refine", crop=(8, 8, 8), **now
    )
    if reason is None:
        assert train_stage(refine).refine is not None
    else:
        with pytest.raises(ValueError, match=reason):
            train_stage(refine)


# The monitor


class Oracle(torch.nn.Module):
    """Say what a function makes of the grey values, as logits."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.weight = answer, torch.nn.Parameter(torch.zeros(1))

    def forward(self, grey):
        return torch.nn.functional.one_hot(self.answer(grey[:, 0]), 3).movedim(-1, 1) * 4.0


def test_monitor_gives_the_mean_loss_and_the_mean_iou_of_all_crops_together():
    labels = torch.from_numpy(np.random.default_rng(0).integers(3, size=(5, 8, 8)))
    labels[0, :4] = 255
    grey = labels.float()
    grey[grey == 255] = 1

    def crops(index):
        return {"image": grey[index][None], "labels": labels[index]}

    # 2 is taken for 1.
    model = Oracle(lambda seen: seen.clamp(max=1).long())
    found = ValidationMonitor(crops, count=5, loss=CrossEntropy(), n_phases=3, batch_size=2)(model, 10)
    n = [int((labels == k).sum()) for k in range(3)]
    assert found["validation_iou"] == pytest.approx((1 + n[1] / (n[1] + n[2]) + 0) / 3)
    one_by_one = [float(CrossEntropy()(model(grey[i][None, None]), labels[i][None])) for i in range(5)]
    single = ValidationMonitor(crops, count=5, loss=CrossEntropy(), n_phases=3, batch_size=1)(model, 10)
    assert single["validation_loss"] == pytest.approx(np.mean(one_by_one), rel=1e-6)
    assert single["validation_iou"] == found["validation_iou"]


def test_training_logs_the_monitor_and_its_plateau_lowers_the_learning_rate(make_corpus, config, tmp_path):
    loop = {
        "steps": 6, "schedule": "plateau", "plateau_on": "validation_loss", "plateau_patience": 1, "warmup_steps": 0,
        "monitor_every": 2, "learning_rate": 1e-9, "plateau_factor": 0.5,
    }  # fmt: skip
    settings = config(make_corpus("a", 3), loop=loop, validation_crops=3)
    train_stage(settings)
    lines = [json.loads(line) for line in (settings.out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert [line["step"] for line in lines if "validation_iou" in line] == [2, 4, 6]
    expected = [1e-9, 1e-9, 1e-9, 1e-9]
    expected += [1e-9 if losses[1] < losses[0] else 5e-10] * 2
    assert [line["learning_rate"] for line in lines] == pytest.approx(expected)
    resumed = dataclasses.replace(settings, out=tmp_path / "again")
    train_stage(resumed)
    assert [json.loads(line)["loss"] for line in (resumed.out / "metrics.jsonl").read_text().splitlines()] == [
        line["loss"] for line in lines
    ]


# Crops as they are


def stack(shape=(6, 12, 12)):
    labels = np.random.default_rng(3).integers(2, size=shape).astype(np.uint8)
    return (np.arange(labels.size, dtype=np.float32).reshape(1, *shape)), labels


@pytest.mark.parametrize("crop", [(8, 8), (4, 8, 8)])
def test_plain_crops_are_cut_out_and_nothing_else(crop):
    image, labels = stack()
    crops = PlainCrops([image], [labels], crop=crop, seed=1)
    for index in range(20):
        sample = crops(index)
        cut = sample["image"][0].numpy()
        z, y, x = np.unravel_index(int(cut.flat[0]), labels.shape)
        depth = crop[0] if len(crop) == 3 else 1
        window = np.s_[z : z + depth, y : y + 8, x : x + 8]
        np.testing.assert_array_equal(cut.reshape(depth, 8, 8), image[0][window])
        np.testing.assert_array_equal(sample["labels"].numpy().reshape(depth, 8, 8), labels[window])


@pytest.mark.parametrize(("crop", "ways"), [((8, 8), 4), ((4, 8, 8), 8)])
def test_flipped_crops_are_mirrored_along_each_of_their_axes_and_never_turned(crop, ways):
    image, labels = stack()
    crops = PlainCrops([image], [labels], crop=crop, seed=1, flips=True)
    steps = set()
    for index in range(60):
        sample = crops(index)
        cut = sample["image"][0].numpy()
        np.testing.assert_array_equal(labels.ravel()[cut.astype(int)], sample["labels"].numpy())
        steps.add(tuple(int(np.diff(cut, axis=axis).flat[0]) for axis in range(cut.ndim)))
    assert len(steps) == ways
    sizes = (144, 12, 1)[-len(crop) :]
    assert {tuple(map(abs, step)) for step in steps} == {sizes}


def test_every_setting_of_the_samples_reaches_the_crops(make_corpus, config, monkeypatch):
    given = {"aware": 0.25, "mirrored": 3, "zoom": 1.5, "stride": 2, "alone": 0.5, "strength": 0.75}
    # The volumes themselves are turned, before crops are cut.
    assert set(given) | {"augmentation", "turned"} == {field.name for field in dataclasses.fields(SampleSettings)}
    seen = {}

    def remember(images, labels, **settings):
        seen.update(settings)
        return RandomCrops(images, labels, **settings)

    monkeypatch.setattr("segment.training.RandomCrops", remember)
    train_stage(config(make_corpus("a", 3), neighbours=1, samples=SampleSettings(**given)))
    assert {name: seen[name] for name in given} == given


def test_augmentation_of_the_papers_leaves_the_grey_values_alone(make_corpus, config, monkeypatch):
    drawn = []
    monkeypatch.setattr("segment.training.train", lambda _m, crops, *_a, **_k: drawn.append(crops(0)["image"]))
    monkeypatch.setattr("segment.training.calibrate", lambda segmenter, _samples: segmenter)
    folder = make_corpus("a", 2)
    for augmentation in ("none", "flips", "full"):
        samples = SampleSettings(augmentation=augmentation)
        train_stage(config(folder, samples=samples, preprocessing="none"))
    values = np.asarray(Corpus(folder)[0].grey)
    assert [bool(np.isin(image.numpy(), values).all()) for image in drawn] == [True, True, False]


# Calibration


def test_temperature_of_many_volumes_is_found_from_some_of_their_planes(wild_segmenter, monkeypatch):
    rng = np.random.default_rng(0)
    samples = [
        type("Sample", (), {"grey": Volume(rng.random((8, 16, 16))), "labels": Volume(np.zeros((8, 16, 16), np.uint8))})
        for _ in range(2)
    ]
    monkeypatch.setattr("segment.training.MOST_VOXELS", 8 * 16 * 16)
    given = []
    monkeypatch.setattr(
        "segment.training.fit_temperature",
        lambda pairs: given.extend(pairs) or type("Found", (), {"temperature": 1.5}),
    )
    found = calibrate(wild_segmenter(), samples)
    assert [(logits.shape, truth.shape) for logits, truth in given] == [((2, 4, 16, 16), (4, 16, 16))] * 2
    assert found.temperature == 1.5
    # The porosity is that of all planes.
    whole = [wild_segmenter().predict(sample.grey).porosity - 1 for sample in samples]
    assert found.porosity_errors == pytest.approx(whole, abs=1e-6)


# What is refused


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["corpus=[]"], "corpus is an empty list"),
        (["corpus=3"], "'corpus' is 3; it must be a path"),
        (["fold=[2, 2]"], r"fold is \[2, 2\]; give \[k, n\] with k from 0 to n - 1"),
        (["fold=[-1, 2]"], r"fold is \[-1, 2\]"),
        (["fold=[0]"], "'fold' has 1 entries; it must have 2"),
        (["phases=[pore]"], r"phases are \['pore'\]; give two names or more"),
        (["phases=[pore, solid, solid]"], "all different"),
        (["validation_crops=0"], "validation_crops is 0"),
        (["loop.monitor_every=5", "validation=0"], "no volumes are set aside; set validation or fold"),
        (["loop.schedule=plateau", "loop.plateau_on=validation_iou"], "give 'loss' or 'validation_loss'"),
        (["samples.strength=0.5", "samples.augmentation=flips"], "leaves grey values alone; give strength 0"),
        (
            ["samples.zoom=2", "samples.augmentation=none"],
            "leaves grey values alone; give zoom 1, or augmentation 'full'",
        ),
        (["samples.stride=2", "samples.augmentation=none"], "leaves grey values alone; give stride 1"),
        (["samples.alone=0.2", "samples.augmentation=flips"], "leaves grey values alone; give alone 0"),
    ],
)
def test_data_that_cannot_be_used_are_refused_and_the_reason_said(overrides, reason):
    with pytest.raises(ConfigError, match=reason):
        load_config(TrainingConfig, None, ["corpus=c", "out=o", *overrides])


def test_corpus_of_fewer_volumes_than_folds_is_refused(make_corpus, config):
    with pytest.raises(ValueError, match="has 2 volumes, too few for 3 parts"):
        train_stage(config(make_corpus("a", 2), fold=(0, 3)))
    folder = make_corpus("b", 2)
    with pytest.raises(ValueError, match="has 2 volumes and fold sets 2 aside"):
        train_stage(config(folder, fold=(0, 1)))


def test_arithmetic_that_a_cpu_lacks_is_refused_before_the_run_folder_is_made(make_corpus, config, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    settings = config(make_corpus("a", 2), loop={"mixed_precision": "fp16"})
    with pytest.raises(ValueError, match="'fp16' and training runs on a CPU"):
        train_stage(settings)
    assert not settings.out.exists()


def test_lines_of_the_log_are_part_of_a_run_whose_learning_rate_falls_by_them(make_corpus, config):
    folder = make_corpus("a", 2)
    steady = config(folder, loop={"schedule": "constant"})
    assert "loop.log_every" in steady.free_keys
    assert "loop.log_every" not in config(folder, loop={"schedule": "plateau"}).free_keys


def test_loss_of_the_configuration_is_the_one_that_is_watched(make_corpus, config, monkeypatch):
    built = []
    monkeypatch.setattr("segment.training.build_loss", lambda *a, **k: built.append(build_loss(*a, **k)) or built[-1])
    given = {}
    monkeypatch.setattr("segment.training.train", lambda *_a, **keywords: given.update(keywords) or 0)
    settings = config(make_corpus("a", 2), loop={"monitor_every": 2}, validation_crops=4)
    train_stage(settings)
    assert given["monitor"].loss is built[-1]
    assert given["monitor"].count == 4
    assert segment.load(settings.out).set_aside == 1
