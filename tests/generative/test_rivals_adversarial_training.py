import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import volume
from generative import train_gan
from generative.configuration import MaterialConfig, PatchConfig
from generative.loading import load
from generative.rivals.gan_configuration import (
    DCGANConfig,
    GANConfig,
    GeneratorConfig,
    MicrographConfig,
    SliceGANConfig,
    VolumesConfig,
)
from generative.rivals.gan_training import read_micrographs, train
from launch import ConfigError, load_config
from learn import LoopSettings, checkpoints

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "generative").glob("*gan*.yaml"))
METHODS = pytest.mark.parametrize("method", ["dcgan", "slicegan"])


@pytest.fixture
def configure(tmp_path, two_phases):
    """Configure a run of six steps on 8³ (DCGAN) or 12³ (SliceGAN)."""

    def build(method, labels=two_phases, out="run", source="material", **changes):
        path = tmp_path / f"{source}.npy"
        np.save(path, labels)
        length = 8 if method == "dcgan" else 12
        given = {
            "patches": PatchConfig(size=(length,) * 3, stride=2, symmetry="cubic"),
            "generator": GeneratorConfig(latent_channels=4, widths=(8,)),
            "dcgan": DCGANConfig(widths=(8,)),
            "slicegan": SliceGANConfig(widths=(8,), slices=2, critic_steps=2),
            "sampling": VolumesConfig(count=2, watched=2),
        }
        training = {
            "steps": 6, "batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 0, "schedule": "constant",
            "weight_decay": 0.0, "gradient_clip": 100.0, "ema_decay": 0.9, "checkpoint_every": 4, "log_every": 1,
        }  # fmt: skip
        known = {f.name for f in dataclasses.fields(LoopSettings)}
        training |= {name: changes.pop(name) for name in list(changes) if name in known}
        material = MaterialConfig(volume=path) if source == "material" else None
        return GANConfig(
            method, tmp_path / out, material=material, training=LoopSettings(**training), **(given | changes)
        )

    return build


def weights(run):
    return load_file(next((run / "model").glob("*.safetensors")))


def metrics(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@METHODS
def test_run_leaves_model_samples_log_and_summary(configure, method, two_phases):
    config = configure(method, monitor_every=3)
    summary = train(config)
    run = config.out
    assert (summary["step"], summary["method"]) == (6, method)
    assert summary["material_fractions"] == pytest.approx([1 - two_phases.mean(), two_phases.mean()])
    made = [np.asarray(volume.read(path)) for path in sorted((run / "samples").glob("*.tif"))]
    assert np.array_equal(np.stack(made), load(run, device="cpu")(count=2, seed=0))
    assert json.loads((run / "summary.json").read_text()) == summary
    lines = metrics(run)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "error/pore/fraction" in line] == [3, 6]
    players = {"loss_discriminator", "loss_generator"} if method == "dcgan" else {"loss_critic", "loss_generator"}
    assert players <= lines[-1].keys()
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert train(config)["already_finished"]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@METHODS
def test_killed_and_resumed_run_equals_the_uninterrupted_one_to_the_bit(configure, method):
    whole, broken = configure(method, out="whole", accumulate=2), configure(method, out="broken", accumulate=2)
    train(whole)
    # One step past the checkpoint: it is lost and done again.
    assert train(broken, stop_at=5) == {"step": 5}
    assert load(broken.out, device="cpu")().shape == (1, *whole.patches.size)
    torch.manual_seed(999)
    train(broken)
    assert_same_weights(weights(whole.out), weights(broken.out))
    assert metrics(whole.out) == metrics(broken.out)
    states = [torch.load(checkpoints(c.out)[-1] / "state.pt", weights_only=True)["model"] for c in (whole, broken)]
    assert_same_weights(*states)


@METHODS
@pytest.mark.parametrize(
    ("n_phases", "sizes"),
    [(4, {"dcgan": (8, 8, 8), "slicegan": (12, 12, 12)}), (3, {"dcgan": (8, 10, 12), "slicegan": (12, 16, 20)})],
    ids=["four, cubic", "three, not cubic"],
)
def test_training_takes_n_phases_and_patches_of_three_lengths(configure, method, n_phases, sizes):
    labels = np.random.default_rng(0).integers(n_phases, size=(20, 20, 20)).astype(np.uint8)
    config = configure(method, labels, steps=2, patches=PatchConfig(size=sizes[method], stride=2))
    summary = train(config)
    assert len(summary["sample_fractions_mean"]) == n_phases
    assert load(config.out, device="cpu")().shape == (1, *sizes[method])


def sparse(length=24, share=0.2):
    """Blobs that fill a fifth of the volume."""
    field = np.random.default_rng(3).standard_normal((length,) * 3)
    for axis in range(3):
        field = field + np.roll(field, 1, axis) + np.roll(field, 2, axis)
    return (field > np.quantile(field, 1 - share)).astype(np.uint8)


@pytest.mark.parametrize(
    ("method", "steps", "learning_rate"), [("dcgan", 240, 2e-3), ("slicegan", 120, 1e-2)], ids=["dcgan", "slicegan"]
)
def test_a_short_run_brings_the_phase_fraction_to_that_of_the_material(configure, method, steps, learning_rate):
    volumes = {}
    settings = {"steps": steps, "learning_rate": learning_rate, "ema_decay": 0.8, "log_every": steps}
    for name, until in (("start", 1), ("end", steps)):
        config = configure(
            method,
            sparse(),
            batch_size=8 if method == "dcgan" else 4,
            slicegan=SliceGANConfig(widths=(16,), slices=2, critic_steps=2),
            **settings | {"checkpoint_every": until},
        )
        train(config, stop_at=until)
        volumes[name] = load(config.out, device="cpu")(count=8)
    errors = {name: abs(float(made.mean()) - 0.2) for name, made in volumes.items()}
    assert errors["start"] > 0.15
    assert errors["end"] < 0.06


@pytest.fixture
def fresh_accelerator():
    """The precision of a process is chosen once; forget it."""
    AcceleratorState._reset_state(reset_partial_state=False)
    yield
    AcceleratorState._reset_state(reset_partial_state=False)


@METHODS
def test_half_precision_on_a_cpu_stays_near_full_precision(configure, method, fresh_accelerator):
    runs = []
    for precision in ("no", "bf16"):
        AcceleratorState._reset_state(reset_partial_state=False)
        config = configure(method, out=precision, steps=2, mixed_precision=precision)
        train(config)
        runs.append(metrics(config.out))
    full, half = ([value for line in run for key, value in line.items() if "loss" in key] for run in runs)
    assert half == pytest.approx(full, rel=0.1, abs=0.1)
    assert half != full


# From images


def test_slicegan_learns_from_a_single_image(configure, two_phases, tmp_path):
    np.save(tmp_path / "image.npy", two_phases[3])
    config = configure("slicegan", source="no", steps=2, micrographs=MicrographConfig((tmp_path / "image.npy",)))
    summary = train(config)
    assert summary["material_fractions"] == pytest.approx([1 - two_phases[3].mean(), two_phases[3].mean()])
    assert load(config.out, device="cpu")((13, 14, 15)).shape == (1, 13, 14, 15)


def test_planes_of_each_image_lie_normal_to_its_axis(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(2, size=size).astype(np.uint8) for size in ((5, 6), (4, 6), (4, 5))]
    paths = tuple(tmp_path / f"{name}.npy" for name in "zyx")
    for path, image in zip(paths, images, strict=True):
        np.save(path, image)
    material, planes = read_micrographs(MicrographConfig(paths))
    assert [p.shape for p in planes] == [(1, 5, 6), (4, 1, 6), (4, 5, 1)]
    assert all(np.array_equal(p.squeeze(axis), i) for axis, (p, i) in enumerate(zip(planes, images, strict=True)))
    assert material.fractions()[1] == pytest.approx(sum(int(i.sum()) for i in images) / sum(i.size for i in images))
    _, two = read_micrographs(MicrographConfig(paths[:2]))
    assert np.array_equal(two[2].squeeze(2), images[1])


def test_each_direction_learns_from_its_own_image(configure, tmp_path):
    paths = tuple(tmp_path / f"{name}.npy" for name in "zyx")
    for path, image in zip(paths, sparse()[:3], strict=True):
        np.save(path, image)
    critics = SliceGANConfig(widths=(8,), slices=2, critics="per direction")
    config = configure("slicegan", source="no", steps=2, micrographs=MicrographConfig(paths), slicegan=critics)
    train(config)
    state = torch.load(checkpoints(config.out)[-1] / "state.pt", weights_only=True)["model"]
    assert {name.split(".")[1] for name in state if name.startswith("critic.")} == {"0", "1", "2"}


def test_images_with_other_phases_are_refused(tmp_path):
    paths = (tmp_path / "two.npy", tmp_path / "three.npy")
    np.save(paths[0], np.arange(16, dtype=np.uint8).reshape(4, 4) % 2)
    np.save(paths[1], np.arange(16, dtype=np.uint8).reshape(4, 4) % 3)
    with pytest.raises(ValueError, match=r"three.npy' holds 3 phases and '.*two.npy' 2; every image must show all"):
        read_micrographs(MicrographConfig(paths))


# Bad input


@pytest.mark.parametrize("method", ["dcgan", "slicegan"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.indices((6, 6, 6)).sum(axis=0) % 2, "smaller than the patch|fewer than the crop of 12 × 12"),
        (np.indices((13, 13, 13)).sum(axis=0) % 2 * 2, r"phase 'phase 1' \(label 1\) is absent"),
        (np.zeros((13, 13, 13)), "a single phase"),
    ],
)
def test_material_that_cannot_be_learnt_leaves_no_run_folder(configure, method, labels, message):
    config = configure(method, labels.astype(np.uint8))
    with pytest.raises(ValueError, match=message):
        train(config)
    assert not config.out.exists()


def test_image_that_cannot_be_learnt_leaves_no_run_folder(configure, tmp_path):
    np.save(tmp_path / "small.npy", np.arange(100, dtype=np.uint8).reshape(10, 10) % 3 % 2)
    images = MicrographConfig((tmp_path / "small.npy",))
    config = configure("slicegan", source="no", micrographs=images)
    with pytest.raises(ValueError, match="normal to z have 10 × 10 pixels, fewer than the crop of 12 × 12"):
        train(config)
    named = dataclasses.replace(images, phases=("pore", "solid", "binder"))
    with pytest.raises(ValueError, match=r"'binder' \(label 2\) is absent"):
        train(dataclasses.replace(config, micrographs=named))
    assert not config.out.exists()


def test_material_that_gained_a_phase_is_refused_at_resume(configure, two_phases):
    train(configure("dcgan", steps=2))
    three = two_phases.copy()
    three[0] = 2
    with pytest.raises(ValueError, match="belongs to another network"):
        train(configure("dcgan", three, steps=4))


def test_another_configuration_in_the_same_folder_is_refused_by_its_key(configure):
    config = configure("dcgan", steps=2)
    train(config)
    with pytest.raises(ConfigError, match=r"seed = 0, now seed = 1"):
        train(dataclasses.replace(config, seed=1))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid_and_named_after_their_method(path):
    config = load_config(GANConfig, path)
    assert path.stem.startswith(config.method)
    assert config.training.weight_decay == 0
    assert config.training.schedule == "constant"


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("dcgan", "patches.size=[64, 64, 60]", r"with 4 entries in 'generator.widths' a dcgan makes lengths of 64, 80"),
        ("slicegan", "patches.size=[32, 32, 32]", r"a slicegan makes lengths of 64, 96, 128"),
        (
            "dcgan",
            "dcgan.widths=[8, 8, 8, 8, 8]",
            r"with 5 entries in 'dcgan.widths' every length must be at least 128",
        ),
        ("dcgan", "dcgan.real_label=0.2", "'real_label' is 0.2; give a number above 0.5"),
        ("dcgan", "generator.widths=[]", "'widths' is 0; it must be positive"),
        ("slicegan", "slicegan.slices=0", "'slices' is 0; it must be positive"),
        ("slicegan", "slicegan.critics=one", "must be one of 'shared', 'per direction'"),
        ("slicegan", "material=null", "exactly one of 'material'"),
        ("slicegan", "micrographs={images: [a.png]}", "exactly one of 'material'"),
        ("slicegan", "micrographs={images: []}", "'images' has 0 entries"),
        ("slicegan", "seed=-1", "must not be negative"),
        ("slicegan", "training.batch_siz=1", "did you mean 'training.batch_size'"),
    ],
)
def test_configuration_errors_name_the_key(name, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(GANConfig, ROOT / "configs" / "generative" / f"{name}.yaml", [override])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("method=dcgan", "a DCGAN learns from volumes, not from 'micrographs'; set method to slicegan"),
        ("micrographs={images: [a.png, b.png]}", "differ by direction, but 'slicegan.critics' is shared"),
    ],
)
def test_images_that_the_method_cannot_use_are_refused(change, message):
    overrides = ["material=null", "micrographs={images: [a.png]}", change]
    with pytest.raises(ConfigError, match=message):
        load_config(GANConfig, ROOT / "configs" / "generative" / "slicegan.yaml", overrides)


# The script


def test_script_trains_and_says_where_the_results_are(configure, capsys):
    material = configure("dcgan").material.volume
    run = material.with_name("script")
    keys = {
        "material.recipe": "null", "material.volume": material, "patches.size": "[8, 8, 8]", "generator.widths": "[4]",
        "dcgan.widths": "[4]", "training.steps": 2, "training.batch_size": 2, "training.mixed_precision": "no",
    }  # fmt: skip
    settings = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    arguments = ["--config", str(ROOT / "configs/generative/dcgan.yaml"), "--out", str(run), *settings]
    train_gan.main(arguments)
    assert capsys.readouterr().out == f"{run}: finished at step 2\n"
    train_gan.main(arguments)
    assert capsys.readouterr().out == f"{run}: was already finished at step 2\n"


def test_bad_configuration_is_one_line_and_status_two_where_the_script_is_started_as_a_file(tmp_path):
    script, config = ROOT / "generative" / "train_gan.py", ROOT / "configs" / "generative" / "slicegan.yaml"
    command = [sys.executable, str(script), "--config", str(config), "--set", "trainin.steps=3"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert done.stderr == "train_gan: error: unknown configuration key 'trainin'; did you mean 'training'?\n"
