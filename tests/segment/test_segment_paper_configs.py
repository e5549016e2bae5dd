"""The papers' trainings: every configuration says what the paper says, and its network can be made at that size."""

import itertools
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights

from launch import load_config
from segment.networks import NETWORKS, count_parameters
from segment.training import TrainingConfig, fresh_network
from synth.production import CorpusConfig

ALONE = (
    "xray/slices.yaml", "fibsem/slices_scales.yaml", "fibsem/slices_mixed.yaml", "gdl-mpl/slices_scales.yaml",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
SEGMENT = ROOT / "configs" / "segment"
FILES = sorted(path.relative_to(SEGMENT).as_posix() for path in (SEGMENT / "papers").rglob("*.yaml"))
BLOCKS = [file for file in FILES if "/blocks_" in file]
REDOX = [file for file in FILES if "utile_redox" in file]
SEGNET = "papers/pore_segnet/slices.yaml"
# What the papers' learning rates have in common: they fall on a plateau, and nothing else is done to them.
PLAIN = {
    "schedule": "plateau", "plateau_on": "validation_loss", "warmup_steps": 0, "weight_decay": 0, "ema_decay": 0,
    "gradient_clip": 1e9,
}  # fmt: skip


def read(file):
    return load_config(TrainingConfig, SEGMENT / file)


def loop_of(config, names):
    return {name: getattr(config.loop, name) for name in names}


def test_each_network_of_each_paper_has_its_configuration():
    found = {(file.split("/")[1], read(file).network.name, read(file).stage) for file in FILES}
    expected = {
        (paper, name, stage)
        for name, entry in NETWORKS.items()
        for paper in entry.papers
        for stage in {"utile_pore": ("blocks",), "reproducible_3d_segmentation": ("slices", "refine")}.get(
            paper, ("slices",)
        )
    }
    assert found == expected
    assert len(FILES) == len(expected) + 3  # utile_pore has two models of each


@pytest.mark.parametrize("file", BLOCKS)
def test_training_of_utile_pore_is_that_of_the_paper(file):
    config = read(file)
    three = "three_phase" in file
    cubes = 847 if three else 3666
    epoch = -(-round(0.8 * cubes) // 4)
    expected = PLAIN | {
        "batch_size": 4, "learning_rate": 1e-4, "minimum_learning_rate": 1e-6, "mixed_precision": "fp16",
        "steps": 100 * epoch, "monitor_every": epoch,
    }  # fmt: skip
    assert loop_of(config, expected) == expected
    assert (config.crop, config.samples.mirrored, config.samples.augmentation) == ((96, 96, 96), 0, "flips")
    assert config.loss.name == "cross-entropy"
    # 80 : 20
    assert list(config.set_aside(100)) == list(range(80, 100))
    assert config.phases == (None if three else ("pore", "solid"))


@pytest.mark.parametrize("file", REDOX)
def test_training_of_utile_redox_is_that_of_the_paper(file):
    config = read(file)
    epoch = -(-1894 // 8)
    expected = PLAIN | {
        "batch_size": 8, "learning_rate": 1e-4, "minimum_learning_rate": 1e-6, "steps": 200 * epoch,
        "monitor_every": epoch,
    }  # fmt: skip
    assert loop_of(config, expected) == expected
    assert (config.crop, config.loss.name, config.samples.augmentation) == ((512, 512), "focal", "flips")


def test_training_of_segnet_is_that_of_the_paper():
    config = read(SEGNET)
    epoch = -(-100 // 32)
    expected = PLAIN | {
        "batch_size": 32, "minimum_learning_rate": 1e-5, "plateau_factor": 0.2, "plateau_patience": 10,
        "steps": 100 * epoch, "monitor_every": epoch,
    }  # fmt: skip
    assert loop_of(config, expected) == expected
    assert (config.crop, config.preprocessing, config.loss.name) == ((256, 256), "equalise", "cross-entropy")
    other = load_config(TrainingConfig, SEGMENT / SEGNET, ["fold=[1, 2]"])
    assert [list(one.set_aside(2)) for one in (config, other)] == [[0], [1]]
    # With the single output of the paper it has as many parameters as the paper tells.
    assert count_parameters(fresh_network(config, n_phases=2)) - (64 * 9 + 1) == 331_137


def test_training_of_the_two_stages_is_what_the_paper_tells_of_it():
    slices, refine = (read(f"papers/reproducible_3d_segmentation/{stage}.yaml") for stage in ("slices", "refine"))
    assert slices.loss.name == refine.loss.name == "cross-entropy+dice"
    assert slices.neighbours == 0
    assert Path(refine.first_stage) == slices.out
    assert refine.validation <= slices.validation
    corpus = load_config(CorpusConfig, ROOT / "configs" / "corpora" / "sphere_pack_blender.yaml")
    batches = (corpus.count - slices.validation) * 150 / slices.loop.batch_size
    assert slices.loop.steps == 180 * batches


@pytest.mark.parametrize("file", [*FILES, "best.yaml"])
def test_network_is_made_at_the_size_of_the_configuration(file):
    config = read(file)
    with init_empty_weights():
        network = fresh_network(config, n_phases=2)
    assert next(network.parameters()).device == torch.device("meta")
    assert all(side % network.factor == 0 for side in config.crop)
    entry = NETWORKS[config.network.name]
    # 512 is no multiple of 16 windows of 6 patches; nothing is told of the network that refines.
    if config.stage != "refine" and file != "best.yaml":
        expected = dict(entry.paper_size) | ({"window": 8} if file.endswith("slices_swin_unet.yaml") else {})
        assert config.network.size == expected


@pytest.mark.parametrize("file", [*FILES, "best.yaml"])
def test_header_names_the_command_and_the_corpora_that_the_training_reads(file):
    config, text = read(file), (SEGMENT / file).read_text(encoding="utf-8")
    assert f"segment/train.py --config configs/segment/{file}" in text
    commands = [line for line in text.splitlines() if "poreforge corpus --config" in line]
    if config.stage == "refine" or file == "best.yaml":
        return
    assert {line.split("--config ")[1].split()[0] for line in commands} <= {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "configs" / "corpora").glob("*.yaml")
    }
    header = "".join(line for line in text.splitlines() if line.startswith("#"))
    assert all(f"--out {folder}" in header for folder in config.corpora)


def test_corpora_of_the_best_training_are_those_that_its_header_makes():
    config = read("best.yaml")
    assert config.phases == ("pore", "solid")
    for folder in config.corpora:
        made = load_config(CorpusConfig, SEGMENT / "fibsem" / "corpora" / f"{folder.name}.yaml")
        assert made.count > config.validation


@pytest.mark.parametrize("name", ["fibsem", "gdl-mpl", "ncm-particle", "redox-cell"])
def test_both_stages_of_a_shipped_model_learn_from_corpora_that_have_recipes(name):
    slices, refine = (read(f"{name}/{stage}.yaml") for stage in ("slices", "refine"))
    assert (slices.stage, refine.stage) == ("slices", "refine")
    assert refine.first_stage == str(slices.out) == f"runs/{name}/slices"
    assert (refine.corpora, refine.phases, refine.validation) == (slices.corpora, slices.phases, slices.validation)
    check_recipes(slices)


@pytest.mark.parametrize("file", ALONE)
def test_a_stage_alone_learns_from_corpora_that_have_recipes(file):
    config = read(file)
    assert config.stage == "slices"
    check_recipes(config)


def test_the_model_of_layers_that_may_stand_is_trained_so():
    trainings = [read(f"gdl-mpl/{stage}.yaml") for stage in ("slices_scales", "slices", "refine")]
    assert all(one.samples.turned for one in trainings)
    assert trainings[1].multiplanar


@pytest.mark.parametrize(
    ("name", "stages"),
    [("fibsem", ["slices_scales", "slices_mixed", "slices"]), ("gdl-mpl", ["slices_scales", "slices"])],
)
def test_each_training_of_a_first_stage_goes_on_from_the_one_before(name, stages):
    trainings = [read(f"{name}/{stage}.yaml") for stage in stages]
    assert trainings[0].start is None
    for before, after in itertools.pairwise(trainings):
        assert after.start == str(before.out)
        assert set(before.corpora) <= set(after.corpora)
        assert (before.network, before.neighbours, before.phases, before.validation) == (
            after.network, after.neighbours, after.phases, after.validation,
        )  # fmt: skip


def check_recipes(config):
    for folder in config.corpora:
        several = SEGMENT / folder.parent.name / "corpora" / f"{folder.name}.yaml"
        recipe = several if several.is_file() else SEGMENT / folder.parent.name / f"{folder.name}.yaml"
        assert load_config(CorpusConfig, recipe).count > config.validation
        assert f"--out {folder}" in recipe.read_text(encoding="utf-8")
