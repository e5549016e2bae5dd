import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from learn import LoopSettings, begin_run, checkpoints, train
from learn.loop import WeightAverage, _learning_rate, _share_of_batch, sample_indices

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = LoopSettings(steps=12, batch_size=4, learning_rate=0.05, warmup_steps=2, checkpoint_every=5)


def network(seed=0, width=8):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, 1))


def sample(index):
    """Return a point and its value, both functions of the index alone."""
    x = torch.from_numpy(np.random.default_rng(index).normal(size=3).astype(np.float32))
    return {"x": x, "y": torch.sin(x.sum())[None]}


def squared(model, batch):
    return (model(batch["x"]) - batch["y"]).square().mean()


def weights(model):
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def metrics(folder):
    path = folder / "metrics.jsonl"
    lines = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def trained(folder, settings=SETTINGS, **arguments):
    model = network()
    train(model, sample, squared, settings=settings, folder=folder, **arguments)
    return model


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return weights(trained(folder)), metrics(folder)


class Stopped(Exception):  # noqa: N818
    """Whatever ends a process from inside."""


def stop_after(n, function):
    calls = iter(range(n))

    def wrapped(*arguments):
        if next(calls, None) is None:
            raise Stopped
        return function(*arguments)

    return wrapped


# Resuming


@pytest.mark.parametrize("where", ["loss", "sample"])
@pytest.mark.parametrize("steps_done", [0, 3, 5, 7, 11])
def test_run_that_died_goes_on_to_the_same_bits(tmp_path, uninterrupted, where, steps_done):
    functions = {"sample": sample, "loss": squared}
    per_step = {"sample": SETTINGS.batch_size, "loss": 1}[where]
    dying = functions | {where: stop_after(steps_done * per_step, functions[where])}
    with pytest.raises(Stopped):
        train(network(), **dying, settings=SETTINGS, folder=tmp_path)
    assert len(metrics(tmp_path)) == steps_done
    assert [p.name for p in checkpoints(tmp_path)] == [f"step-{n:08d}" for n in (5, 10) if n <= steps_done][-1:]
    # Neither the state of random generators nor first weights that differ may matter now.
    model = network(seed=0 if steps_done < 5 else 99)
    torch.manual_seed(12345)
    assert train(model, sample, squared, settings=SETTINGS, folder=tmp_path) == 12
    assert (weights(model), metrics(tmp_path)) == uninterrupted


def test_run_that_stopped_at_a_step_goes_on_to_the_same_bits(tmp_path, uninterrupted):
    assert train(network(), sample, squared, settings=SETTINGS, folder=tmp_path, stop_at=8) == 8
    assert (weights(trained(tmp_path)), metrics(tmp_path)) == uninterrupted


def test_finished_run_gives_its_weights_again_without_a_step(tmp_path, uninterrupted):
    trained(tmp_path)
    model = network(seed=5)
    train(model, stop_after(0, sample), squared, settings=SETTINGS, folder=tmp_path)
    assert (weights(model), metrics(tmp_path)) == uninterrupted


SLOW_PROGRAM = """
import sys, time
sys.path[:0] = [{root!r}, {here!r}]
from test_learn_loop import sample, trained
import test_learn_loop
from pathlib import Path

def slowly(index):
    time.sleep(0.02)
    return sample(index)

test_learn_loop.sample = slowly
trained(Path({folder!r}))
"""


@pytest.fixture
def one_thread():
    """As the processes have: the order of sums depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def test_killed_process_started_again_ends_in_the_same_bits(tmp_path, one_thread):
    whole, folder = weights(trained(tmp_path / "whole")), tmp_path / "killed"
    code = SLOW_PROGRAM.format(root=str(ROOT), here=str(ROOT / "tests/learn"), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    # A line beyond the first checkpoint: the kill falls between two of them.
    while (not checkpoints(folder) or len(metrics(folder)) < 6) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert metrics(folder) == metrics(tmp_path / "whole")[: len(metrics(folder))]
    assert (weights(trained(folder)), metrics(folder)) == (whole, metrics(tmp_path / "whole"))


def test_checkpoint_of_another_network_is_refused_by_name(tmp_path):
    train(network(), sample, squared, settings=SETTINGS, folder=tmp_path, stop_at=5)
    before = metrics(tmp_path)
    with pytest.raises(ValueError, match=r"'.*step-00000005' belongs to another network; choose another run folder"):
        train(network(width=9), sample, squared, settings=SETTINGS, folder=tmp_path)
    assert metrics(tmp_path) == before


def test_only_the_wanted_number_of_newest_checkpoints_stays(tmp_path):
    trained(tmp_path, dataclasses.replace(SETTINGS, checkpoint_every=2, keep_checkpoints=3))
    assert [p.name for p in checkpoints(tmp_path)] == ["step-00000008", "step-00000010", "step-00000012"]


def test_rests_of_killed_writing_are_cleared_away(tmp_path):
    half = tmp_path / "checkpoints" / ".0a1b2c3d-step-00000099"
    half.mkdir(parents=True)
    (half / "state.pt").write_bytes(b"half")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "lo')
    trained(tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000012"]
    assert [line["step"] for line in metrics(tmp_path)] == list(range(1, 13))


def test_export_gets_the_averaged_weights_and_leaves_training_alone(tmp_path, uninterrupted):
    exported = []

    def export(model, folder):
        assert not model.training
        exported.append(weights(model))
        (folder / "note").touch()
        nn.init.zeros_(model[0].weight)

    model = trained(tmp_path, export=export)
    assert len(exported) == 3  # steps 5, 10 and 12
    assert exported[-1] == weights(model) == uninterrupted[0]
    assert (checkpoints(tmp_path)[-1] / "note").exists()


# What is drawn


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
@pytest.mark.parametrize("first", [0, 3])
def test_batch_of_a_step_is_the_same_over_any_number_of_processes(processes, first):
    shares = [sample_indices(6, first=first, last=7, process=p, processes=processes) for p in range(processes)]
    steps = 7 - first
    by_step = [sorted(np.concatenate([np.reshape(s, (steps, -1))[k] for s in shares])) for k in range(steps)]
    assert by_step == [list(range(6 * k, 6 * k + 6)) for k in range(first, 7)]
    assert len({len(s) for s in shares}) == 1


@pytest.mark.parametrize("accumulate", [2, 4])
@pytest.mark.parametrize("workers", [0, 1])
def test_each_sample_is_drawn_once_in_order_however_the_batch_is_worked_off(tmp_path, accumulate, workers):
    seen = []

    def loss(model, batch):
        seen.append(batch["index"].tolist())
        return model(batch["x"]).square().mean()

    settings = dataclasses.replace(SETTINGS, steps=3, accumulate=accumulate, loader_workers=workers)
    numbered = lambda index: {"index": torch.tensor(index), "x": torch.ones(3)}  # noqa: E731
    train(nn.Linear(3, 1), numbered, loss, settings=settings, folder=tmp_path)
    assert seen == np.arange(12).reshape(3 * accumulate, -1).tolist()


def test_batch_in_parts_gives_the_gradient_of_the_whole_batch(tmp_path):
    settings = dataclasses.replace(SETTINGS, gradient_clip=1e6)
    results = []
    for accumulate in (1, 2, 4):
        model = nn.Linear(3, 1)
        nn.init.ones_(model.weight), nn.init.zeros_(model.bias)
        folder = tmp_path / str(accumulate)
        train(model, sample, squared, settings=dataclasses.replace(settings, accumulate=accumulate), folder=folder)
        results.append((model.weight.detach().numpy(), [line["loss"] for line in metrics(folder)]))
    for weight, losses in results[1:]:
        np.testing.assert_allclose(weight, results[0][0], rtol=1e-5)
        np.testing.assert_allclose(losses, results[0][1], rtol=1e-5)


@pytest.mark.parametrize(("batch", "processes", "accumulate"), [(5, 2, 1), (4, 1, 3), (6, 2, 2)])
def test_batch_that_does_not_divide_is_refused(batch, processes, accumulate):
    settings = LoopSettings(batch_size=batch, accumulate=accumulate)
    with pytest.raises(ValueError, match=f"batch_size {batch} does not divide.*multiple of {processes * accumulate}"):
        _share_of_batch(settings, processes)


TWO_PROCESSES = """
import sys, torch
sys.path[:0] = [{root!r}, {here!r}]
from accelerate import PartialState
from test_learn_loop import SETTINGS, plain_network, sample, squared
from learn import train

model = plain_network()
train(model, sample, squared, settings=SETTINGS, folder={folder!r})
assert PartialState().num_processes == 2
torch.save(model.state_dict(), {folder!r} + f"/final-{{PartialState().process_index}}.pt")
"""


def plain_network():
    """Return a network without batch normalisation, whose statistics are those of a process's own share."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


@pytest.mark.slow
def test_two_processes_train_the_network_that_one_trains(tmp_path):
    model, one, two = plain_network(), tmp_path / "one", tmp_path / "two"
    train(model, sample, squared, settings=SETTINGS, folder=one)
    script = tmp_path / "program.py"
    script.write_text(TWO_PROCESSES.format(root=str(ROOT), here=str(ROOT / "tests/learn"), folder=str(two)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    use_cpu = environment() | {"ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(launch, cwd=tmp_path, env=use_cpu, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    finals = [torch.load(two / f"final-{p}.pt", weights_only=True) for p in range(2)]
    for name, value in model.state_dict().items():
        assert torch.equal(finals[0][name], finals[1][name])
        torch.testing.assert_close(finals[0][name], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        [line["loss"] for line in metrics(two)], [line["loss"] for line in metrics(one)], rtol=1e-5
    )
    assert [line["step"] for line in metrics(two)] == list(range(1, 13))


# What is optimised


def test_training_finds_the_line_that_made_the_samples(tmp_path):
    def on_a_line(index):
        x = sample(index)["x"]
        return {"x": x, "y": (x @ torch.tensor([1.0, -2.0, 0.5]) + 0.25)[None]}

    model = nn.Linear(3, 1)
    settings = LoopSettings(
        steps=300, batch_size=8, learning_rate=0.05, weight_decay=0, ema_decay=0.9, log_every=50, checkpoint_every=300
    )
    train(model, on_a_line, squared, settings=settings, folder=tmp_path)
    assert model.weight.detach().numpy()[0] == pytest.approx([1, -2, 0.5], abs=1e-3)
    assert model.bias.item() == pytest.approx(0.25, abs=1e-3)
    assert [line["step"] for line in metrics(tmp_path)] == [50, 100, 150, 200, 250, 300]
    assert not model.training


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops_the_run(tmp_path, value):
    def loss(model, batch):
        return squared(model, batch) * (value if float(batch["index"].max()) >= 4 * 8 else 1)

    numbered = lambda index: sample(index) | {"index": torch.tensor(index)}  # noqa: E731
    with pytest.raises(ValueError, match=f"loss is {value} at step 9; lower learning_rate"):
        train(network(), numbered, loss, settings=SETTINGS, folder=tmp_path)
    assert [p.name for p in checkpoints(tmp_path)] == ["step-00000005"]


def test_gradient_that_is_not_finite_leaves_no_checkpoint_of_broken_weights(tmp_path):
    def loss(model, batch):
        # The square root of nought has the value 0 and the slope infinity, times 0.
        return squared(model, batch) + (0 * model[0].weight.sum()).sqrt()

    with pytest.raises(ValueError, match="lower learning_rate"):
        train(network(), sample, loss, settings=dataclasses.replace(SETTINGS, checkpoint_every=1), folder=tmp_path)
    assert checkpoints(tmp_path) == []


def test_learning_rate_rises_linearly_and_falls_as_a_half_cosine_to_a_hundredth():
    settings = LoopSettings(steps=1000, learning_rate=2.0, warmup_steps=20)
    rates = np.array([_learning_rate(step, settings, 2.0) for step in range(1000)])
    assert rates[0] == pytest.approx(2.0 / 20)
    assert rates[9] == pytest.approx(2.0 * 10 / 20, rel=1e-3)
    assert rates[19] == pytest.approx(2.0, rel=1e-2)
    assert rates[500] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.02)
    assert (np.diff(rates[:20]) > 0).all()
    assert (np.diff(rates[20:]) <= 0).all()


def test_constant_schedule_stays_at_the_peak_for_any_number_of_steps():
    for steps in (50, 500):
        settings = LoopSettings(steps=steps, learning_rate=2.0, warmup_steps=4, schedule="constant")
        assert [_learning_rate(s, settings, 2.0) for s in (0, 1, 3, 4, steps - 1)] == [0.5, 1.0, 2.0, 2.0, 2.0]


def test_average_of_constant_weights_is_those_weights():
    model = network()
    average = WeightAverage(model, 0.999)
    for step in range(50):
        average.update(model, step)
    assert {k: v.numpy().tobytes() for k, v in average.weights.items()} == weights(model)


def test_average_follows_its_recursion_and_copies_whole_numbers():
    model = network()
    average = WeightAverage(model, 0.5)
    expected = model[0].weight.detach().clone().double()
    for step in range(6):
        with torch.no_grad():
            model[0].weight += 1 + step
            model[1].num_batches_tracked += 1
        average.update(model, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].weight.detach().double()
    torch.testing.assert_close(average.weights["0.weight"].double(), expected, rtol=1e-6, atol=1e-6)
    assert average.weights["1.num_batches_tracked"] == 6


def test_gradient_is_clipped_to_its_largest_norm(tmp_path):
    norms = []

    class Watch(torch.optim.AdamW):
        def step(self, *arguments, **keywords):
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
            return super().step(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Watch)
        train(network(), sample, lambda m, b: 1e4 * squared(m, b), settings=SETTINGS, folder=tmp_path)
    assert len(norms) == 12
    assert norms == pytest.approx([SETTINGS.gradient_clip] * 12, rel=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0}, {"batch_size": -1}, {"accumulate": 0}, {"checkpoint_every": 0}, {"keep_checkpoints": 0},
        {"log_every": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"learning_rate": math.inf},
        {"gradient_clip": 0.0}, {"gradient_clip": -1.0}, {"weight_decay": -0.1}, {"weight_decay": math.nan},
        {"warmup_steps": -1}, {"loader_workers": -1}, {"ema_decay": 1.0}, {"ema_decay": -0.1},
        {"ema_decay": math.nan},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*give"):
        LoopSettings(**wrong)


# A folder belongs to one configuration


@dataclasses.dataclass(frozen=True)
class Run:
    seed: int = 3
    crop: tuple[int, ...] = (4, 4)
    loop: LoopSettings = SETTINGS


def test_folder_with_checkpoints_refuses_another_configuration_and_keeps_its_record(tmp_path):
    begin_run(tmp_path, Run(), seed=3)
    record = (tmp_path / "run.json").read_text()
    trained(tmp_path)
    changed = Run(crop=(8, 8))
    with pytest.raises(ValueError, match=r"crop = \[4, 4\], now crop = \[8, 8\]"):
        begin_run(tmp_path, changed, seed=3)
    begin_run(tmp_path, Run(), seed=3)
    assert (tmp_path / "run.json").read_text() == record


def test_key_that_may_differ_is_taken_and_recorded(tmp_path):
    begin_run(tmp_path, Run(), seed=3)
    trained(tmp_path)
    longer = Run(loop=dataclasses.replace(SETTINGS, steps=20))
    begin_run(tmp_path, longer, seed=3, may_differ=("loop.steps",))
    assert json.loads((tmp_path / "run.json").read_text())["config"]["loop"]["steps"] == 20


def test_folder_without_checkpoints_takes_any_configuration(tmp_path):
    begin_run(tmp_path, Run(), seed=3)
    begin_run(tmp_path, Run(crop=(8, 8)), seed=3)
    assert json.loads((tmp_path / "run.json").read_text())["config"]["crop"] == [8, 8]


# Half precision


@pytest.fixture
def fresh_accelerator():
    """The precision of a process is chosen once; forget it."""
    AcceleratorState._reset_state(reset_partial_state=False)
    yield
    AcceleratorState._reset_state(reset_partial_state=False)


def test_network_trained_in_half_precision_predicts_in_full_afterwards(tmp_path, fresh_accelerator):
    precisions = set()

    def loss(model, batch):
        handle = model[0].register_forward_hook(lambda _module, _inputs, output: precisions.add(output.dtype))
        value = squared(model, batch)
        handle.remove()
        return value

    model, fresh, settings = network(), network(), dataclasses.replace(SETTINGS, mixed_precision="bf16")
    train(model, sample, loss, settings=settings, folder=tmp_path)
    assert precisions == {torch.bfloat16}
    fresh.load_state_dict(model.state_dict())
    points = torch.linspace(-2, 2, 30).reshape(10, 3)
    assert torch.equal(model(points), fresh.eval()(points))
