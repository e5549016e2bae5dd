import dataclasses
import importlib.machinery
import importlib.util
import json
import math
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from launch import exit_on_bad_input
from learn import LoopSettings, Turn, begin_run, checkpoints, train

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = LoopSettings(steps=12, batch_size=4, learning_rate=0.05, warmup_steps=2, checkpoint_every=5)


class Game(nn.Module):
    """A player that wants to be far from nought, and a rival that pulls it back."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.player = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.rival = nn.Sequential(nn.Linear(1, 4), nn.Softplus(), nn.Linear(4, 1))


def sample(index):
    return {"x": torch.from_numpy(np.random.default_rng(index).normal(size=3).astype(np.float32))}


def rival_loss(game, batch):
    point = game.player(batch["x"]).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(game.rival(point).sum(), point, create_graph=True)
    return game.rival(point).mean() + (slope.norm(dim=1) - 1).square().mean()


def player_loss(game, batch):
    return -game.rival(game.player(batch["x"])).mean()


TURNS = (Turn(rival_loss, "rival"), Turn(player_loss, "player", every=3, learning_rate=0.01, betas=(0.5, 0.9)))


def played(folder, settings=SETTINGS, turns=TURNS, seed=0, **arguments):
    game = Game(seed)
    train(game, sample, turns, settings=settings, folder=folder, **arguments)
    return game


def weights(model):
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def metrics(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def last_state(folder):
    return torch.load(checkpoints(folder)[-1] / "state.pt", weights_only=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return weights(played(folder)), metrics(folder)


# Turns


@pytest.mark.parametrize("stop", [4, 5, 7, 11])
def test_game_that_stopped_goes_on_to_the_same_bits(tmp_path, uninterrupted, stop):
    played(tmp_path, stop_at=stop)
    torch.manual_seed(12345)
    assert (weights(played(tmp_path, seed=0 if stop < 5 else 99)), metrics(tmp_path)) == uninterrupted


def test_one_turn_of_a_part_is_the_training_of_that_part_to_the_bit(tmp_path):
    class Box(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.idle = Game().player, nn.Linear(1, 1)

    def loss(model, batch):
        return model(batch["x"]).square().mean()

    alone, box = Game().player, Box()
    idle = weights(box.idle)
    train(alone, sample, loss, settings=SETTINGS, folder=tmp_path / "alone")
    turn = Turn(lambda model, batch: loss(model.inside, batch), "inside")
    train(box, sample, [turn], settings=SETTINGS, folder=tmp_path / "box")
    assert weights(box.inside) == weights(alone)
    assert weights(box.idle) == idle
    assert [line["loss_inside"] for line in metrics(tmp_path / "box")] == [
        line["loss"] for line in metrics(tmp_path / "alone")
    ]


def test_turn_moves_its_own_parameters_in_its_own_steps(tmp_path):
    played(tmp_path, dataclasses.replace(SETTINGS, steps=7, checkpoint_every=1, keep_checkpoints=9))
    models = [torch.load(path / "state.pt", weights_only=True)["model"] for path in checkpoints(tmp_path)]
    learnt = [name for name, _ in Game().named_parameters()]
    for before, after, steps in zip(models, models[1:], range(2, 8), strict=False):
        moved = {name.split(".")[0] for name in learnt if not torch.equal(before[name], after[name])}
        assert moved == ({"rival", "player"} if steps % 3 == 0 else {"rival"})


def test_losses_and_rates_are_logged_by_name_in_the_steps_that_had_them(uninterrupted):
    _, lines = uninterrupted
    assert [line["step"] for line in lines if "loss_player" in line] == [3, 6, 9, 12]
    assert all({"step", "loss_rival", "learning_rate_rival"} <= line.keys() for line in lines)
    for line in lines[2::3]:
        assert line["learning_rate_player"] == pytest.approx(line["learning_rate_rival"] / 5)


def test_each_turn_has_an_optimiser_with_its_own_memories(tmp_path):
    played(tmp_path)
    groups = {name: state["param_groups"][0] for name, state in last_state(tmp_path)["optimizer"].items()}
    assert {name: tuple(group["betas"]) for name, group in groups.items()} == {
        "rival": (0.9, 0.999),
        "player": (0.5, 0.9),
    }
    assert {name: len(group["params"]) for name, group in groups.items()} == {"rival": 4, "player": 6}


def test_loss_may_differentiate_twice_and_drives_the_slope_to_its_aim(tmp_path):
    game = Game()
    settings = LoopSettings(steps=100, batch_size=8, learning_rate=0.04, weight_decay=0, ema_decay=0.5, log_every=50)
    penalty = Turn(
        lambda model, batch: rival_loss(model, batch) - model.rival(model.player(batch["x"])).mean(), "rival"
    )
    train(game, sample, [penalty], settings=settings, folder=tmp_path)
    x = torch.linspace(-1, 1, 9)[:, None].requires_grad_(True)
    (slope,) = torch.autograd.grad(game.rival(x).sum(), x)
    assert slope.abs().mean().item() == pytest.approx(1, abs=0.1)


def test_batch_in_parts_gives_each_turn_the_gradient_of_the_whole_batch(tmp_path):
    def pull(game, batch):
        return (game.rival[0](batch["x"][:, :1]) - 1).square().mean()

    settings = dataclasses.replace(SETTINGS, gradient_clip=1e6)
    games = [
        played(tmp_path / str(n), dataclasses.replace(settings, accumulate=n), [Turn(pull, "rival")]) for n in (1, 2, 4)
    ]
    for game in games[1:]:
        torch.testing.assert_close(game.rival[0].weight, games[0].rival[0].weight, rtol=1e-5, atol=1e-6)


def test_all_turns_of_a_step_see_its_batch_and_everything_learns_again_afterwards(tmp_path):
    seen = {"rival": [], "player": []}

    def watching(name, loss):
        def wrapped(game, batch):
            seen[name].append(batch["index"].tolist())
            return loss(game, batch)

        return wrapped

    turns = [Turn(watching("rival", rival_loss), "rival"), Turn(watching("player", player_loss), "player", every=2)]
    game = Game()
    numbered = lambda index: sample(index) | {"index": torch.tensor(index)}  # noqa: E731
    train(game, numbered, turns, settings=dataclasses.replace(SETTINGS, steps=4, accumulate=2), folder=tmp_path)
    assert seen["rival"] == np.arange(16).reshape(8, 2).tolist()
    assert seen["player"] == np.arange(16).reshape(8, 2)[[2, 3, 6, 7]].tolist()
    assert all(parameter.requires_grad for parameter in game.parameters())


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([Turn(rival_loss, "rivals")], r"turn 'rivals' names no part of the model; its parts are player, rival"),
        ([Turn(rival_loss, "rival")] * 2, "each for another part"),
        ([], "give at least one"),
    ],
)
def test_turns_that_fit_no_model_are_refused(tmp_path, turns, message):
    with pytest.raises(ValueError, match=message):
        played(tmp_path, turns=turns)


@pytest.mark.parametrize(
    "wrong",
    [
        {"every": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"betas": (1.0, 0.9)},
        {"betas": (0, math.nan)},
    ],
)  # fmt: skip
def test_turn_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} (is|are) .*give"):
        Turn(rival_loss, "rival", **wrong)


def test_checkpoint_of_other_turns_is_refused(tmp_path):
    played(tmp_path, stop_at=5)
    for other in (TURNS[:1], player_loss):
        with pytest.raises(ValueError, match="belongs to another network"):
            played(tmp_path, turns=other)


TWO_PROCESSES = """
import sys, torch
sys.path[:0] = [{root!r}, {here!r}]
from accelerate import PartialState
from test_learn_turns import Game, TURNS, SETTINGS, sample, without_statistics
from learn import train

game = without_statistics(Game())
train(game, sample, TURNS, settings=SETTINGS, folder={folder!r})
assert PartialState().num_processes == 2
torch.save(game.state_dict(), {folder!r} + f"/final-{{PartialState().process_index}}.pt")
"""


def without_statistics(game):
    """Batch normalisation would see only a process's own share."""
    game.player[1] = nn.Identity()
    return game


@pytest.mark.slow
def test_two_processes_play_the_game_that_one_plays(tmp_path):
    game, one, two = without_statistics(Game()), tmp_path / "one", tmp_path / "two"
    train(game, sample, TURNS, settings=SETTINGS, folder=one)
    script = tmp_path / "program.py"
    script.write_text(TWO_PROCESSES.format(root=str(ROOT), here=str(ROOT / "tests/learn"), folder=str(two)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    alone = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(launch, cwd=tmp_path, env=os.environ | alone, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    finals = [torch.load(two / f"final-{p}.pt", weights_only=True) for p in range(2)]
    for name, value in game.state_dict().items():
        assert torch.equal(finals[0][name], finals[1][name])
        torch.testing.assert_close(finals[0][name], value, rtol=1e-4, atol=1e-5)


# Memory


MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    MemoryError("Unable to allocate 7.45 GiB for an array"),
]


@pytest.mark.parametrize("error", MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["loss", "sample"])
def test_lack_of_memory_is_one_sentence_with_the_settings_to_lower(tmp_path, capsys, error, where):
    def fail(*_):
        raise error

    parts = {"sample": sample, "loss": player_loss} | {where: fail}
    with pytest.raises(SystemExit) as left, exit_on_bad_input("train_gan"):
        train(Game(), **parts, settings=SETTINGS, folder=tmp_path)
    assert left.value.code == 2
    assert capsys.readouterr().err == (
        "train_gan: error: memory ran out in step 1; lower batch_size or the size of a sample (patches.size, crop), or "
        "raise accumulate, which works the batch off in so many parts\n"
    )


def test_other_errors_of_the_loss_stay_what_they_are(tmp_path):
    def fail(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(Game(), sample, fail, settings=SETTINGS, folder=tmp_path)


# Monitor


def test_monitor_sees_averaged_weights_and_its_numbers_are_logged(tmp_path, uninterrupted):
    seen = {}

    def monitor(model, step):
        assert not model.training
        seen[step] = weights(model)
        nn.init.zeros_(model.player[0].weight)
        return {"error/pore": step / 2, "lost": math.nan}

    settings = dataclasses.replace(SETTINGS, monitor_every=4)
    game = played(tmp_path, settings, monitor=monitor)
    assert list(seen) == [4, 8, 12]
    assert seen[12] == weights(game) == uninterrupted[0]
    lines = metrics(tmp_path)
    assert {line["step"]: line["error/pore"] for line in lines if "error/pore" in line} == {4: 2.0, 8: 4.0, 12: 6.0}
    assert all(line["lost"] is None for line in lines if "lost" in line)
    assert len(lines) == 12


def test_monitor_keeps_its_own_step_between_lines_of_the_log(tmp_path):
    settings = dataclasses.replace(SETTINGS, log_every=5, monitor_every=4)
    played(tmp_path, settings, monitor=lambda model, step: {"number": step})
    assert [(line["step"], "number" in line, "loss_rival" in line) for line in metrics(tmp_path)] == [
        (4, True, False), (5, False, True), (8, True, False), (10, False, True), (12, True, True),
    ]  # fmt: skip


def test_monitor_of_every_nought_steps_is_never_called(tmp_path, uninterrupted):
    def monitor(model, step):
        raise AssertionError

    assert weights(played(tmp_path, monitor=monitor)) == uninterrupted[0]


def test_negative_spacing_of_the_monitor_is_refused():
    with pytest.raises(ValueError, match="monitor_every is -1; give 0 or more"):
        LoopSettings(monitor_every=-1)


# TensorBoard


@pytest.fixture
def fake_board(monkeypatch):
    """Stand in for the optional package: each scalar is a line of a file."""

    class Writer:
        def __init__(self, folder):
            Path(folder).mkdir()
            self.file = (Path(folder) / "events").open("w")

        def add_scalar(self, name, value, step, walltime):
            self.file.write(json.dumps([name, value, step]) + "\n")

        def close(self):
            self.file.close()

    package, module = types.ModuleType("tensorboard"), types.ModuleType("torch.utils.tensorboard")
    package.__spec__ = importlib.machinery.ModuleSpec("tensorboard", None)
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "tensorboard", package)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)


def test_resumed_run_shows_each_step_once_in_tensorboard(tmp_path, fake_board, uninterrupted):
    played(tmp_path, stop_at=8)
    assert weights(played(tmp_path)) == uninterrupted[0]
    shown = [json.loads(line) for line in (tmp_path / "tensorboard" / "events").read_text().splitlines()]
    logged = [[n, v, line["step"]] for line in metrics(tmp_path) for n, v in line.items() if n != "step"]
    assert shown == logged
    assert {name for name, _, _ in shown} >= {"loss_rival", "loss_player"}


def test_real_tensorboard_reads_each_step_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    played(tmp_path, stop_at=8)
    played(tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss_rival")] == [
        (line["step"], pytest.approx(line["loss_rival"])) for line in metrics(tmp_path)
    ]


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="it is installed")
def test_nothing_is_left_for_tensorboard_where_it_is_absent(tmp_path):
    played(tmp_path, stop_at=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "metrics.jsonl"]


# Records that are older than a setting


@dataclasses.dataclass(frozen=True)
class Inner:
    old: int = 1
    young: int = 7


@dataclasses.dataclass(frozen=True)
class Younger:
    seed: int = 3
    loop: LoopSettings = dataclasses.field(default_factory=lambda: LoopSettings(monitor_every=9))
    inner: Inner = Inner()
    section: Inner = dataclasses.field(default_factory=Inner)


def with_old_record(folder):
    """Leave a run whose record knows neither ``loop.monitor_every`` nor ``inner.young`` nor ``section``."""
    begin_run(folder, Younger(), seed=3)
    path = folder / "run.json"
    record = json.loads(path.read_text())
    del record["config"]["loop"]["monitor_every"], record["config"]["inner"]["young"], record["config"]["section"]
    path.write_text(json.dumps(record))
    played(folder, stop_at=5)
    return path.read_text()


def test_record_older_than_a_setting_had_its_default(tmp_path):
    record = with_old_record(tmp_path)
    begin_run(tmp_path, Younger(loop=LoopSettings()), seed=3)
    assert (tmp_path / "run.json").read_text() == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, r"loop\.monitor_every = 0, now loop\.monitor_every = 9"),
        ({"loop": LoopSettings(), "inner": Inner(young=8)}, r"inner\.young = 7, now inner\.young = 8"),
        ({"loop": LoopSettings(), "section": Inner(old=2)}, r"section\.old = 1, now section\.old = 2"),
    ],
)
def test_young_setting_with_another_value_than_its_default_is_refused(tmp_path, change, message):
    with_old_record(tmp_path)
    with pytest.raises(ValueError, match=message):
        begin_run(tmp_path, Younger(**change), seed=3)
