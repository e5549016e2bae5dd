"""The learning rate that falls when a number does not, and the log's means between two lines."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from learn import LoopSettings, train
from learn.loop import Plateau, _learning_rate

ROOT = Path(__file__).resolve().parents[2]
# Lines and checkpoints fall on different steps, so that a checkpoint lies between two lines.
SETTINGS = LoopSettings(
    steps=12, batch_size=2, learning_rate=0.1, warmup_steps=0, schedule="plateau", plateau_factor=0.5,
    plateau_patience=1, minimum_learning_rate=0.02, log_every=3, checkpoint_every=4,
)  # fmt: skip


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def sample(index):
    return {"x": torch.from_numpy(np.random.default_rng(index).normal(size=3).astype(np.float32))}


def loss(model, batch):
    return (model(batch["x"]) - batch["x"].sum(1, keepdim=True)).square().mean()


def metrics(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def trained(folder, settings=SETTINGS, **arguments):
    model = network()
    train(model, sample, loss, settings=settings, folder=folder, **arguments)
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}, metrics(folder)


def given_values(values):
    """Return a monitor that says these values, one a measurement at every step."""
    return lambda _model, step: {"watched": values[step - 1]}


# When it falls


@pytest.mark.parametrize(
    ("values", "falls"),
    [
        ([5, 4, 3, 2, 1], [0, 0, 0, 0, 0]),
        ([5, 5, 5, 5, 5], [0, 0, 1, 1, 2]),
        # The lowest so far counts, not the one before.
        ([5, 1, 4, 3, 2], [0, 0, 0, 1, 1]),
        ([5, 6, 4, 6, 6], [0, 0, 0, 0, 1]),
        ([math.nan, 5, math.nan, math.nan, 4], [0, 0, 0, 1, 1]),
    ],
)
def test_plateau_of_patience_two_falls_when_two_measurements_in_a_row_bring_no_new_low(values, falls):
    plateau, found = Plateau(), []
    for value in values:
        plateau.see(value, patience=2)
        found.append(plateau.falls)
    assert found == falls


def test_learning_rate_is_multiplied_at_each_fall_down_to_its_minimum():
    settings = LoopSettings(
        learning_rate=1e-4, warmup_steps=4, schedule="plateau", plateau_factor=0.2, minimum_learning_rate=1e-6
    )
    rates = [_learning_rate(100, settings, 1e-4, falls=n) for n in range(5)]
    assert rates == pytest.approx([1e-4, 2e-5, 4e-6, 1e-6, 1e-6], rel=1e-12)
    assert _learning_rate(1, settings, 1e-4, falls=1) == pytest.approx(2e-5 / 2, rel=1e-12)
    # A turn that learns more slowly than the minimum stays where it is.
    assert _learning_rate(100, settings, 1e-7, falls=3) == 1e-7


def test_learning_rate_falls_by_what_the_monitor_says_from_the_next_step_on(tmp_path):
    settings = dataclasses.replace(SETTINGS, log_every=1, monitor_every=1, plateau_on="watched", steps=6)
    _, lines = trained(tmp_path, settings, monitor=given_values([3, 3, 2, 2, 2, 1]))
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.02])


def test_learning_rate_falls_by_the_mean_loss_between_two_lines(tmp_path):
    """A network that cannot learn: each line's mean is as good as drawn, and the lowest so far is known."""
    settings = dataclasses.replace(SETTINGS, learning_rate=1e-9, minimum_learning_rate=0.0, steps=30)
    _, lines = trained(tmp_path, settings)
    falls, lowest = [0], math.inf
    for line in lines:
        falls.append(falls[-1] + (line["loss"] >= lowest))
        lowest = min(lowest, line["loss"])
    assert falls[-1] > 3
    assert [line["learning_rate"] for line in lines] == pytest.approx([1e-9 * 0.5**n for n in falls[:-1]])


# The log


def test_line_holds_the_mean_loss_of_the_steps_since_the_last(tmp_path):
    every = dataclasses.replace(SETTINGS, schedule="constant", log_every=1, steps=11)
    _, single = trained(tmp_path / "single", every)
    _, thirds = trained(tmp_path / "thirds", dataclasses.replace(every, log_every=3))
    losses = [line["loss"] for line in single]
    assert [line["step"] for line in thirds] == [3, 6, 9, 11]
    expected = [np.mean(losses[a:b]) for a, b in ((0, 3), (3, 6), (6, 9), (9, 11))]
    assert [line["loss"] for line in thirds] == pytest.approx(expected, rel=1e-6)


# Resuming


@pytest.mark.parametrize("plateau_on", ["loss", "watched"])
def test_stopped_run_goes_on_to_the_same_bits_and_lines(tmp_path, plateau_on):
    settings = dataclasses.replace(SETTINGS, plateau_on=plateau_on, monitor_every=2, learning_rate=0.5)
    monitor = given_values([3, 3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1])
    whole = trained(tmp_path / "whole", settings, monitor=monitor)
    rates = [line["learning_rate"] for line in whole[1] if "learning_rate" in line]
    assert rates[-1] < rates[0]
    for stop in (4, 5, 7, 8, 11):
        folder = tmp_path / str(stop)
        train(network(), sample, loss, settings=settings, folder=folder, monitor=monitor, stop_at=stop)
        assert trained(folder, settings, monitor=monitor) == whole


def test_checkpoint_from_before_the_plateau_was_kept_is_gone_on_from(tmp_path):
    settings = dataclasses.replace(SETTINGS, schedule="constant", log_every=1)
    whole = trained(tmp_path / "whole", settings)
    train(network(), sample, loss, settings=settings, folder=tmp_path / "old", stop_at=4)
    (path,) = (tmp_path / "old").glob("checkpoints/*/state.pt")
    state = torch.load(path, weights_only=True)
    del state["since"], state["plateau"]
    torch.save(state, path)
    assert trained(tmp_path / "old", settings) == whole


TWO_PROCESSES = """
import sys, dataclasses
sys.path[:0] = [{root!r}, {here!r}]
from test_learn_plateau import SETTINGS, given_values, loss, network, sample
from learn import train

settings = dataclasses.replace(SETTINGS, plateau_on="watched", monitor_every=1)
monitor = given_values([3, 3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1])
for stop in (6, None):
    train(network(), sample, loss, settings=settings, folder={folder!r}, monitor=monitor, stop_at=stop)
"""


@pytest.mark.slow
def test_two_processes_take_the_learning_rates_that_one_takes(tmp_path):
    settings = dataclasses.replace(SETTINGS, plateau_on="watched", monitor_every=1)
    _, lines = trained(tmp_path / "one", settings, monitor=given_values([3, 3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1]))
    script = tmp_path / "program.py"
    here, folder = str(ROOT / "tests/learn"), str(tmp_path / "two")
    script.write_text(TWO_PROCESSES.format(root=str(ROOT), here=here, folder=folder))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    use_cpu = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(launch, cwd=tmp_path, env=use_cpu, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = metrics(tmp_path / "two")
    assert [line["step"] for line in found] == [line["step"] for line in lines]
    for one, two in zip(lines, found, strict=True):
        assert two == pytest.approx(one, rel=1e-5)


# What is refused


def test_number_that_nothing_measures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'watched', but nothing measures that; give loss, or set monitor_every"):
        trained(tmp_path / "a", dataclasses.replace(SETTINGS, plateau_on="watched"))
    settings = dataclasses.replace(SETTINGS, plateau_on="watch", monitor_every=2, log_every=2)
    with pytest.raises(ValueError, match="'watch', which is not measured; give one of loss, learning_rate, watched"):
        trained(tmp_path / "b", settings, monitor=given_values([1] * 12))


def test_arithmetic_that_a_cpu_does_not_have_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(ValueError, match=r"'fp16' and training runs on a CPU.*; give 'no' or 'bf16'"):
        trained(tmp_path / "run", dataclasses.replace(SETTINGS, mixed_precision="fp16"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"plateau_factor": 0.0}, {"plateau_factor": 1.0}, {"plateau_factor": math.nan}, {"plateau_patience": 0},
        {"minimum_learning_rate": -1e-6}, {"minimum_learning_rate": math.nan}, {"minimum_learning_rate": math.inf},
    ],
)  # fmt: skip
def test_plateau_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*give"):
        LoopSettings(**wrong)
