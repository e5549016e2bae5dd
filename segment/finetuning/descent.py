"""The descent itself: the output layer, then all, for as long as there is time."""

import copy
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from learn.loop import WeightAverage
from segment.finetuning.crops import StrokeCrops
from segment.finetuning.jury import Jury
from segment.losses import build_loss
from segment.networks import Network

__all__ = ["Pace", "descend", "with_new_output"]

# Crops a step, of 2-D networks and of 3-D ones.
BATCH = {2: 4, 3: 1}
# Peak of the learning rate and steps of its rise.
LEARNING_RATE, WARMUP = 3e-3, 5
# The output layer first learns alone.
OUTPUT_LEARNING_RATE, OUTPUT_BATCHES, OUTPUT_STEPS = 3e-2, 4, 80
WEIGHT_DECAY, GRADIENT_CLIP, EMA_DECAY = 1e-4, 1.0, 0.95
# How often on the way the network is tried, and how many steps tell how long one takes.
TRIALS, PACE_STEPS = 6, 3
MOST_MINUTES, MOST_STEPS = 1440, 1_000_000


class Pace:
    """How many steps there are to take."""

    def __init__(self, began: float, minutes: float | None, steps: int | None) -> None:
        if minutes is not None and steps is not None:
            raise ValueError(f"minutes is {minutes} and steps is {steps}; give one of them")
        if minutes is not None and not (_is_number(minutes) and 0 < minutes <= MOST_MINUTES):
            raise ValueError(f"minutes is {minutes!r}; give a number above 0, up to {MOST_MINUTES}")
        if steps is not None and not (_is_whole(steps) and 1 <= steps <= MOST_STEPS):
            raise ValueError(f"steps is {steps!r}; give a whole number from 1 to {MOST_STEPS}")
        self.steps = steps
        self.deadline = math.inf if steps is not None else began + 60 * (1.0 if minutes is None else minutes)

    def reserve(self, seconds: float) -> None:
        """Keep the time for two more trials in three dimensions."""
        self.deadline -= 2 * seconds

    def settle(self, seconds_a_step: float, seconds_a_trial: float) -> int:
        """Return the number of steps, by how long one takes where there is a deadline."""
        if self.steps is None:
            left = self.deadline - time.monotonic() - (TRIALS + 1) * seconds_a_trial
            self.steps = min(MOST_STEPS, max(1, int(left / seconds_a_step)))
        return self.steps


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def descend(network: Network, crops: StrokeCrops, jury: Jury, *, pace: Pace) -> int:
    """Train the output layer, then all; show the jury the averaged network now and then; return the steps taken."""
    loss = _Loss()
    _fit_output(network, crops, loss)
    seconds_a_trial = jury.consider(network, None, 0)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    average = WeightAverage(network, EMA_DECAY)
    steps = pace.settle(_seconds_a_step(network, crops, loss) if pace.steps is None else 0.0, seconds_a_trial)
    # As many steps lie between trials, the last of which comes at the end.
    trials = {math.ceil(steps * (number + 1) / TRIALS) for number in range(TRIALS)}
    _train_mode(network)
    for step in tqdm(range(steps), desc="fine-tuning", disable=None):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, steps)
        loss(network, _batch(crops, step)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_CLIP)
        optimizer.step()
        optimizer.zero_grad()
        average.update(network, step)
        late = time.monotonic() > pace.deadline
        if step + 1 in trials or late:
            averaged = copy.deepcopy(network)
            averaged.load_state_dict(average.weights)
            jury.consider(averaged, None, step + 1)
        if late:
            break
    return step + 1


class _Loss:
    """Of the strokes, and as much again of the strokes with what the forest adds to them."""

    def __init__(self) -> None:
        self.of_strokes, self.of_both = build_loss("cross-entropy"), build_loss("cross-entropy+dice")

    def __call__(self, network: torch.nn.Module, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        image, strokes, both = batch
        logits = network(image)
        return self.of_strokes(logits, strokes) + self.of_both(logits, both)


def _learning_rate(step: int, steps: int) -> float:
    rise = min(1.0, (step + 1) / WARMUP)
    return LEARNING_RATE * rise * max(0.01, 0.5 * (1 + math.cos(math.pi * step / steps)))


def _batch(crops: StrokeCrops, step: int) -> list[torch.Tensor]:
    size = BATCH[2 if crops.flat else 3]
    parts = zip(*(crops(step * size + i) for i in range(size)), strict=True)
    return [torch.stack(part).to(crops.device) for part in parts]


def _train_mode(network: Network) -> None:
    """Let a network learn, with the statistics of its batch norms as they are: a few crops would give poor ones."""
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def _seconds_a_step(network: Network, crops: StrokeCrops, loss: _Loss) -> float:
    """Take the gradient a few times, without a step; the first time is not counted."""
    _train_mode(network)
    times = []
    for step in range(PACE_STEPS):
        began = time.monotonic()
        loss(network, _batch(crops, step)).backward()
        times.append(time.monotonic() - began)
    network.zero_grad()
    return sum(times[1:]) / (PACE_STEPS - 1)


def with_new_output(network: Network, n_phases: int) -> Network:
    """Return a network with the same features and, for another number of phases, a new output layer."""
    fresh = _rebuilt(network, n_phases)
    shapes = {name: value.shape for name, value in fresh.state_dict().items()}
    kept = {name: value for name, value in network.state_dict().items() if value.shape == shapes[name]}
    fresh.load_state_dict(kept, strict=False)
    device: Any = next(network.parameters()).device
    return fresh.to(device)


def _rebuilt(network: Network, n_phases: int) -> Network:
    """Return an untrained network of the same kind and size for another number of phases."""
    sizes = {name: value for name, value in network.config.items() if not name.startswith("_")}
    fresh: Network = type(network)(**{**sizes, "n_phases": n_phases})
    return fresh


def _output_layers(network: Network) -> set[str]:
    """Return the names of the layers whose size follows from the number of phases."""
    other = _rebuilt(network, int(network.config["n_phases"]) + 1)
    shapes = {name: value.shape for name, value in other.named_parameters()}
    return {name.rpartition(".")[0] for name, value in network.named_parameters() if value.shape != shapes[name]}


def _fit_output(network: Network, crops: StrokeCrops, loss: _Loss) -> None:
    """Train the output layer alone on features that are computed once: cheap, and a good place to start from."""
    batches = [_batch(crops, step) for step in range(OUTPUT_BATCHES)]
    found = [_features(network, image) for image, *_ in batches]
    head, seen = found[0][0], [features for _, features in found]
    if head is None:
        return
    optimizer = torch.optim.AdamW(head.parameters(), lr=OUTPUT_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for step in range(OUTPUT_STEPS):
        number = step % OUTPUT_BATCHES
        loss(head, [seen[number], *batches[number][1:]]).backward()
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def _features(network: Network, image: torch.Tensor) -> tuple[torch.nn.Module | None, torch.Tensor]:
    """Return the layer that gives the network's answer, None if it ends in something else, and that layer's input."""
    calls: list[tuple[torch.nn.Module, torch.Tensor, torch.Tensor]] = []
    names, modules = _output_layers(network), dict(network.named_modules())
    hooks = [
        modules[name].register_forward_hook(lambda module, inputs, output: calls.append((module, inputs[0], output)))
        for name in sorted(names)
    ]
    answer = network.eval()(image)
    for hook in hooks:
        hook.remove()
    for module, features, output in calls:
        if output.shape == answer.shape and torch.equal(output, answer):
            return module, features
    return None, image
