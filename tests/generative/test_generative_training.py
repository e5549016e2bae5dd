import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import generative
import volume
from generative.coding import encode
from generative.configuration import DDPMConfig, MaterialConfig, PatchConfig
from generative.patches import LabelledPatches
from generative.training import NoisyPatches, load_material, train
from launch import ConfigError, load_config
from learn import checkpoints

ROOT = Path(__file__).resolve().parents[2]


def weights(run, where="model"):
    return load_file(next((run / where).glob("*.safetensors")))


def last_weights(checkpoint):
    """Weights after the last step, not averaged."""
    return torch.load(checkpoint / "state.pt", weights_only=True)["model"]


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def losses(run):
    return {line["step"]: line["loss"] for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())}


def test_run_leaves_model_samples_log_and_summary(tiny_config, two_phases):
    config = tiny_config()
    summary = train(config)
    run = config.out
    assert summary["step"] == 6
    assert list(losses(run)) == [1, 2, 3, 4, 5, 6]
    made = [volume.read(p) for p in sorted((run / "samples").glob("*.tif"))]
    assert [m.shape for m in made] == [(8, 8, 8)] * 2
    assert summary["material_fractions"] == pytest.approx([1 - two_phases.mean(), two_phases.mean()])
    assert summary["sample_fractions"][0] == pytest.approx([np.mean(np.asarray(made[0]) == k) for k in (0, 1)])
    assert json.loads((run / "summary.json").read_text()) == summary
    assert json.loads((run / "run.json").read_text())["seed"] == 5
    assert np.array_equal(
        generative.load(run, device="cpu")(count=2, steps=3, seed=5), np.stack(list(map(np.asarray, made)))
    )


def test_killed_and_resumed_run_equals_the_uninterrupted_one_to_the_bit(tiny_config):
    whole, broken = tiny_config(out="whole", accumulate=2), tiny_config(out="broken", accumulate=2)
    train(whole)
    assert train(broken, stop_at=3) == {"step": 3}  # one step past the checkpoint: it is lost and done again
    torch.manual_seed(999)
    assert not (broken.out / "model").exists()
    train(broken)
    assert_same_weights(weights(whole.out), weights(broken.out))
    assert losses(whole.out) == losses(broken.out)
    assert_same_weights(*(last_weights(checkpoints(run.out)[-1]) for run in (whole, broken)))


def test_more_steps_continue_a_finished_run_as_if_asked_for_at_once(tiny_config):
    train(tiny_config(out="whole"))
    train(tiny_config(out="twice", steps=4))
    again = train(tiny_config(out="twice", steps=6))
    assert again["step"] == 6
    run = tiny_config(out="twice").out
    assert_same_weights(weights(run), weights(run.with_name("whole")))


def test_finished_run_says_so_and_changes_nothing(tiny_config):
    config = tiny_config(steps=2)
    train(config)
    before = {p: p.stat().st_mtime_ns for p in config.out.rglob("*")}
    assert train(config)["already_finished"]
    assert {p: p.stat().st_mtime_ns for p in config.out.rglob("*")} == before


def test_checkpoint_holds_averaged_weights_that_load_and_differ_from_the_last(tiny_config):
    config = tiny_config(keep_checkpoints=1)
    train(config, stop_at=4)
    checkpoint = checkpoints(config.out)[-1]
    assert [p.name for p in checkpoint.parent.iterdir()] == ["step-00000004"]
    averaged, last = weights(checkpoint), last_weights(checkpoint)
    assert any(not torch.equal(averaged[name], last[name]) for name in last)
    assert generative.load(config.out, device="cpu")(steps=2).shape == (1, 8, 8, 8)


def test_moving_average_is_that_of_the_weights_after_each_step(tiny_config):
    config = tiny_config(checkpoint_every=1, keep_checkpoints=9, steps=3, ema_decay=0.2)
    train(config)
    steps = sorted((config.out / "checkpoints").iterdir())
    for n, (before, folder) in enumerate(pairwise(steps), start=1):
        earlier, now, averaged = weights(before), last_weights(folder), weights(folder)
        decay = min(0.2, (1 + n) / (10 + n))
        assert all(torch.allclose(averaged[k], decay * earlier[k] + (1 - decay) * now[k], atol=1e-6) for k in now)


def test_example_depends_on_its_index_alone(two_phases):
    patches = [LabelledPatches(two_phases, size=(4, 4, 4), stride=2, symmetry="cubic", seed=7) for _ in range(2)]
    coded = encode(two_phases, 2)
    onward, alone = (NoisyPatches(p, coded, timesteps=1000, told_fractions=0.5) for p in patches)
    examples = [onward(i) for i in range(40)]
    for i in (39, 0, 17):
        example = alone(i)
        assert all(torch.equal(example[k].nan_to_num(-1.0), examples[i][k].nan_to_num(-1.0)) for k in example)


def test_examples_tell_their_fractions_as_often_as_asked(two_phases):
    patches = LabelledPatches(two_phases, size=(4, 4, 4), stride=2, symmetry="cubic", seed=7)
    noisy = NoisyPatches(patches, encode(two_phases, 2), timesteps=1000, told_fractions=0.75)
    examples = [noisy(i) for i in range(400)]
    told = np.array([bool(e["fractions"].isfinite().all()) for e in examples])
    assert told.mean() == pytest.approx(0.75, abs=4 * np.sqrt(0.75 * 0.25 / 400))
    for i in np.flatnonzero(told)[:20]:
        share = (patches[int(i)] == 1).mean()
        assert examples[i]["fractions"].tolist() == pytest.approx([1 - share, share])
    assert "fractions" not in NoisyPatches(patches, encode(two_phases, 2), timesteps=10)(0)


def test_noise_and_times_of_the_examples_are_gaussian_and_even(two_phases):
    patches = LabelledPatches(two_phases, size=(8, 8, 8), stride=2, seed=7)
    noisy = NoisyPatches(patches, encode(two_phases, 2), timesteps=10)
    examples = [noisy(i) for i in range(300)]
    noise = torch.stack([e["noise"] for e in examples])
    assert float(noise.mean()) == pytest.approx(0, abs=4 / noise.numel() ** 0.5)
    assert float(noise.var()) == pytest.approx(1, abs=4 * (2 / noise.numel()) ** 0.5)
    times = np.array([int(e["timestep"]) for e in examples])
    # Multiples of the golden ratio: the number in any interval is its share to within a few.
    assert np.abs(np.bincount(times, minlength=10) - 30).max() <= 3
    # Eight in a row leave no gap of more than 0.15 of the schedule.
    gaps = [np.diff(np.sort(times[i : i + 8]), prepend=-1, append=10).max() for i in range(290)]
    assert max(gaps) <= 3


def test_planar_network_learns_a_picture_and_makes_volumes(tiny_config, two_phases):
    config = tiny_config(two_phases[:1], steps=2)
    config = dataclasses.replace(
        config,
        patches=PatchConfig(size=(1, 8, 8), stride=2, symmetry="cubic"),
        denoiser=dataclasses.replace(config.denoiser, planar=True),
    )
    train(config)
    pipe = generative.load(config.out, device="cpu")
    assert pipe(count=2, steps=2).shape == (2, 1, 8, 8)
    assert pipe((6, 8, 10), steps=2).shape == (1, 6, 8, 10)
    smooth = dataclasses.replace(config.coding, kind="distance")
    with pytest.raises(ValueError, match="a planar network learns 'one_hot'"):
        dataclasses.replace(config, coding=smooth)


def test_model_that_is_told_fractions_is_told_those_asked_for(tiny_config):
    config = tiny_config(steps=2)
    config = dataclasses.replace(config, denoiser=dataclasses.replace(config.denoiser, told_fractions=0.5))
    train(config)
    pipe = generative.load(config.out, device="cpu")
    assert pipe.denoiser.config["conditions"] == 2
    assert pipe(steps=2, fractions=(0.25, 0.75)).mean() == 0.75


def test_network_that_corrects_the_linear_estimate_is_trained_saved_and_resumed(tiny_config):
    runs = []
    for name, stop_at in (("whole", None), ("broken", 3)):
        config = tiny_config(out=name)
        config = dataclasses.replace(
            config,
            denoiser=dataclasses.replace(config.denoiser, linear=True),
            diffusion=dataclasses.replace(config.diffusion, prediction_type="sample"),
        )
        train(config, stop_at=stop_at)
        runs.append(config)
    train(runs[1])
    assert_same_weights(weights(runs[0].out), weights(runs[1].out))
    pipe = generative.load(runs[0].out, device="cpu")
    assert float(pipe.denoiser.linear.power.std()) > 0
    assert np.array_equal(pipe(count=2, steps=3, seed=5), generative.load(runs[1].out)(count=2, steps=3, seed=5))
    noise = dataclasses.replace(runs[0].diffusion, prediction_type="epsilon")
    with pytest.raises(ValueError, match=r"with 'denoiser\.linear' it must be 'sample'"):
        dataclasses.replace(runs[0], diffusion=noise)


@pytest.mark.parametrize("n_phases", [2, 3])
def test_training_takes_non_cubic_patches_of_n_phases(tiny_config, n_phases):
    labels = np.random.default_rng(0).integers(n_phases, size=(6, 8, 12)).astype(np.uint8)
    config = tiny_config(labels, patches=PatchConfig(size=(4, 6, 8), stride=2, symmetry="flips"), steps=2)
    summary = train(config)
    assert len(summary["sample_fractions_mean"]) == n_phases
    assert volume.read(config.out / "samples" / "sample-000.tif").shape == (4, 6, 8)


def test_overfitted_patch_is_reproduced(tiny_config, two_phases):
    patch = two_phases[:8, :8, :8]
    config = tiny_config(
        patch, patches=PatchConfig(size=(8, 8, 8)), steps=100, batch_size=8, learning_rate=5e-3, ema_decay=0.9,
        checkpoint_every=100,
    )  # fmt: skip
    config = dataclasses.replace(config, diffusion=dataclasses.replace(config.diffusion, prediction_type="sample"))
    train(config)
    log = losses(config.out)
    assert np.mean([log[i] for i in range(91, 101)]) < 0.1 * log[1]
    made = generative.load(config.out, device="cpu")(count=4, steps=25, seed=1)
    assert np.mean(made == patch) > 0.99


def changed(config, **values):
    return dataclasses.replace(config, **values)


def test_another_configuration_in_the_same_folder_is_refused_by_its_key(tiny_config):
    config = tiny_config(steps=2)
    train(config, stop_at=2)
    with pytest.raises(ConfigError, match=r"training\.learning_rate = 0\.0002, now .* = 0\.1"):
        train(tiny_config(steps=2, learning_rate=0.1))
    with pytest.raises(ConfigError, match=r"seed = 5, now seed = 6"):
        train(tiny_config(steps=2, seed=6))


def test_material_that_gained_a_phase_is_refused_at_resume(tiny_config, two_phases):
    train(tiny_config(), stop_at=2)
    three = two_phases.copy()
    three[0] = 2
    with pytest.raises(ValueError, match="belongs to another network"):
        train(tiny_config(three))


def test_half_a_checkpoint_is_not_taken(tiny_config):
    config = tiny_config()
    train(config, stop_at=2)
    half = config.out / "checkpoints" / ".0a1b2c3d-step-00000004"
    half.mkdir()
    (half / "state.pt").write_bytes(b"half")
    with (config.out / "metrics.jsonl").open("a") as log:
        log.write('{"step": 3, "lo')
    assert train(config)["step"] == 6
    assert not half.exists()
    assert list(losses(config.out)) == [1, 2, 3, 4, 5, 6]


def test_bad_material_leaves_no_run_folder(tiny_config):
    config = tiny_config(np.zeros((12, 12, 12), np.uint8))
    with pytest.raises(ValueError, match="single phase"):
        train(config)
    small = tiny_config(np.arange(2, dtype=np.uint8).repeat(32).reshape(4, 4, 4))
    with pytest.raises(ValueError, match="smaller than the patch"):
        train(small)
    assert not config.out.exists()


def test_loss_that_is_not_finite_stops_the_run(tiny_config):
    with pytest.raises(ValueError, match="lower learning_rate"):
        train(tiny_config(learning_rate=1e30, warmup_steps=0, gradient_clip=1e30))


def test_recipe_is_built_with_the_seed(monkeypatch):
    from synth import recipes

    seen = {}

    def build(recipe, *, seed):
        seen.update(recipe=recipe, seed=seed)
        return np.array([[[0, 1]]], dtype=np.uint8)

    monkeypatch.setattr(recipes, "build_structure", build)
    config = MaterialConfig(recipe={"generator": "sphere_pack"}, phases=("pore", "solid"), voxel_size_um=(1, 1, 1))
    material = load_material(config, seed=3)
    assert seen == {"recipe": {"generator": "sphere_pack"}, "seed": 3}
    assert (material.phases, material.voxel_size_um) == (("pore", "solid"), (1, 1, 1))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.learning_rat=1", "did you mean 'training.learning_rate'"),
        ("patches.size=[10, 12, 12]", "multiple of 4"),
        ("patches.symmetry=mirror", "must be one of"),
        ("training.batch_size=0", "batch_size is 0"),
        ("sampling.steps=2000", "more than 'diffusion.timesteps'"),
        ("material.volume=a.tif", "exactly one of"),
        ("seed=-1", "must not be negative"),
        ("seed=9223372036854775808", "nor above 9223372036854775807"),
        ("diffusion.noise_scale=.inf", "it must be positive and finite"),
        ("diffusion.timesteps=1000000000", "give at most 1000000"),
        ("denoiser.channels=[2, 4]", "the first must be 4 or more"),
        ("denoiser.attention_levels=3", "give 0 to 2, the number of levels"),
        ("denoiser.attention_heads=3", "does not divide the 64 channels"),
        ("training.ema_decay=1.0", "not including, 1"),
        ("denoiser.told_fractions=1.0", "not including, 1"),
        ("diffusion.noise_scale=0", "'noise_scale' is 0.0; it must be positive"),
        ("diffusion.min_snr=-1", "'min_snr' is -1.0; it must be positive"),
        ("sampling.calibrate=-1", "'calibrate' is -1; give 0 or more volumes"),
        ("coding.kind=sharp", "must be one of"),
        ("denoiser.planar=true", "a planar network learns squares"),
    ],
)
def test_configuration_errors_name_the_key(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(DDPMConfig, ROOT / "configs" / "generative" / "smoke.yaml", [override])


# --- the script -----------------------------------------------------------------------------------------------------


def command(config, *more):
    """Start the script as a file, as `accelerate launch` does, from elsewhere and without the project installed."""
    keys = {
        "material.recipe": "null",
        "material.volume": config.material.volume,
        "patches.size": "[8, 8, 8]",
        "denoiser.channels": "[8, 16]",
        "denoiser.attention_heads": 2,
        "training.batch_size": 2,
        "training.log_every": 1,
        "sampling.count": 1,
        "sampling.steps": 2,
    }
    settings = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    script = [sys.executable, str(ROOT / "generative" / "train_ddpm.py")]
    return [
        *script,
        "--config",
        str(ROOT / "configs/generative/smoke.yaml"),
        "--out",
        str(config.out),
        *settings,
        *more,
    ]


def clean_environment():
    drop = {"PYTHONPATH"}
    return {k: v for k, v in os.environ.items() if k not in drop} | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def start(arguments, cwd):
    return subprocess.run(arguments, cwd=cwd, env=clean_environment(), capture_output=True, text=True, timeout=200)


def test_process_killed_by_the_system_goes_on_where_it_was(tiny_config, tmp_path):
    whole, broken = tiny_config(out="whole"), tiny_config(out="broken")
    steps = ["--set", "training.steps=12", "--set", "training.checkpoint_every=3"]
    process = subprocess.Popen(
        command(broken, *steps),
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 120
    while not checkpoints(broken.out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert checkpoints(broken.out)
    again = start(command(broken, *steps), tmp_path)
    assert again.returncode == 0, again.stderr
    assert "finished at step 12" in again.stdout
    # The uninterrupted run is made in this process: same threads, same arithmetic.
    config = load_config(
        DDPMConfig,
        ROOT / "configs/generative/smoke.yaml",
        [a for a in [*command(whole, *steps), f"out={whole.out}"] if "=" in a],
    )
    train(config)
    assert losses(whole.out) == losses(broken.out)
    assert_same_weights(weights(whole.out), weights(broken.out))


def test_bad_configuration_is_one_line_and_status_two(tiny_config, tmp_path):
    done = start(command(tiny_config(), "--set", "trainin.steps=3"), tmp_path)
    assert done.returncode == 2
    assert done.stderr == "train_ddpm: error: unknown configuration key 'trainin'; did you mean 'training'?\n"


def test_training_starts_without_the_heavy_packages():
    code = (
        "import sys, generative, generative.train_ddpm; "
        "print([m for m in ('skimage', 'matplotlib', 'bpy', 'tifffile', 'zarr', 'h5py', 'SimpleITK', 'trimesh', "
        "'quantimpy', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "[]", done.stderr


def test_two_processes_train_the_model_that_one_trains(tiny_config, tmp_path):
    one, two = tiny_config(out="one"), tiny_config(out="two")
    more = ["--set", "training.steps=4", "--set", "training.checkpoint_every=4"]
    python, *script = command(two, *more)
    launch = [python, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = start([*launch, *script], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished at step 4") == 1
    train(load_config(DDPMConfig, ROOT / "configs/generative/smoke.yaml", [a for a in command(one, *more) if "=" in a]
                      + [f"out={one.out}"]))  # fmt: skip
    assert list(losses(two.out)) == list(losses(one.out))
    assert list(losses(two.out).values()) == pytest.approx(list(losses(one.out).values()), rel=1e-5)
    ours, theirs = weights(one.out), weights(two.out)
    # The first steps of Adam move a weight by its learning rate whatever the gradient's size: rounding shows.
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-3, atol=1e-5)
