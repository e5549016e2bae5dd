"""The training loop: sample by index, step, average, checkpoint, resume.

Nothing random lives in the loop. Every sample is a function of its index alone, and the batch of step *s* holds
the samples s B … (s + 1) B - 1 whichever process draws them. A resumed run therefore needs no random state.
"""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from launch import make_output_folder, replace_when_complete

__all__ = ["LoopSettings", "train"]

Batch = Mapping[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """How to train.

    Parameters
    ----------
    steps : int
        Optimiser steps in all.
    batch_size : int
        Samples a step, over all processes together.
    learning_rate : float
        Its peak; it rises over `warmup_steps` and falls as a half cosine to a hundredth.
    warmup_steps : int
        Steps of the linear rise.
    weight_decay : float
        AdamW's.
    gradient_clip : float
        Largest norm of the gradient.
    ema_decay : float
        Memory of the running average of the weights, which is what is kept in the end.
    checkpoint_every : int
        Steps between checkpoints; a killed run loses at most these.
    mixed_precision : {"no", "bf16", "fp16"}
        As accelerate understands it.
    loader_workers : int
        Processes that prepare samples; 0 prepares them in the training process.
    """

    steps: int = 1000
    batch_size: int = 8
    learning_rate: float = 2e-3
    warmup_steps: int = 20
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    ema_decay: float = 0.99
    checkpoint_every: int = 200
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    loader_workers: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a whole number above 0")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; give a number above 0")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; give a number from 0 up to, not including, 1")


class IndexedSamples(Dataset[Batch]):
    """A map from sample index to sample, seen by torch as a data set."""

    def __init__(self, sample: Callable[[int], Batch], indices: list[int]) -> None:
        self.sample, self.indices = sample, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Batch:
        return self.sample(self.indices[position])


class WeightAverage:
    """Running average of a model's weights, with a short memory at first."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def move_to(self, device: torch.device) -> None:
        self.weights = {name: value.to(device) for name, value in self.weights.items()}

    @torch.no_grad()
    def update(self, model: torch.nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)


def train(
    model: torch.nn.Module,
    sample: Callable[[int], Batch],
    loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
    *,
    settings: LoopSettings,
    folder: str | Path,
    after_checkpoint: Callable[[int], None] | None = None,
) -> torch.nn.Module:
    """Train `model`, or go on where an earlier run in `folder` stopped.

    Parameters
    ----------
    model : Module
        Freshly initialised; it is trained in place.
    sample : callable
        From a sample's index (0, 1, 2, …) to a mapping of tensors, without a batch axis.
    loss : callable
        From the (wrapped) model and a batch to the mean loss.
    settings : LoopSettings
        How to train.
    folder : path-like
        Run folder: ``checkpoints/step-NNNNNNNN`` and ``metrics.jsonl`` are kept there.
    after_checkpoint : callable, optional
        Called with the number of steps done, after each checkpoint.

    Returns
    -------
    Module
        `model` with the averaged weights.
    """
    accelerator = Accelerator(mixed_precision=settings.mixed_precision)
    folder = Path(folder)
    if settings.batch_size % accelerator.num_processes:
        raise ValueError(
            f"batch_size {settings.batch_size} does not divide over {accelerator.num_processes} processes; "
            "give a multiple of their number"
        )
    average = WeightAverage(model, settings.ema_decay)
    state = _newest_state(folder, model, average)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    average.move_to(accelerator.device)
    first = 0
    if state is not None:
        # Only now do the weights lie where the optimiser's state must go.
        optimizer.load_state_dict(state["optimizer"])
        first = int(state["step"])
    log = _Log(folder, first) if accelerator.is_main_process else None
    for step, mean in _steps(accelerator, wrapped, optimizer, average, sample, loss, settings, first):
        done = step + 1
        if log is None:
            continue
        log.add(step=done, loss=mean, learning_rate=_learning_rate(step, settings))
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            _save(folder, done, accelerator.unwrap_model(wrapped), optimizer, average)
            if after_checkpoint is not None:
                after_checkpoint(done)
    accelerator.wait_for_everyone()
    model = accelerator.unwrap_model(wrapped)
    model.load_state_dict(average.weights)
    accelerator.free_memory()
    return model.eval()


def _steps(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: Any,
    average: WeightAverage,
    sample: Callable[[int], Batch],
    loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
    settings: LoopSettings,
    first: int,
) -> Iterator[tuple[int, float]]:
    """Take the optimiser steps from `first` on; yield each one's number and mean loss."""
    loader = _loader(sample, settings, first=first, accelerator=accelerator)
    # tqdm takes None as: only on a terminal.
    hidden = None if accelerator.is_local_main_process else True
    model.train()
    for step, batch in enumerate(
        tqdm(loader, initial=first, total=settings.steps, desc="training", disable=hidden), start=first
    ):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, settings)
        batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.items()}
        with accelerator.autocast():
            value = loss(model, batch)
        accelerator.backward(value)
        accelerator.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        average.update(accelerator.unwrap_model(model), step)
        mean = accelerator.gather(value.detach().reshape(1)).mean().item()
        if not math.isfinite(mean):
            raise ValueError(f"the loss became {mean} at step {step + 1}; lower learning_rate and start again")
        yield step, mean


def _loader(
    sample: Callable[[int], Batch], settings: LoopSettings, *, first: int, accelerator: Accelerator
) -> DataLoader[Batch]:
    share = settings.batch_size // accelerator.num_processes
    start = accelerator.process_index * share
    indices = [step * settings.batch_size + start + i for step in range(first, settings.steps) for i in range(share)]
    return DataLoader(
        IndexedSamples(sample, indices),
        batch_size=share,
        num_workers=settings.loader_workers,
        pin_memory=accelerator.device.type == "cuda",
        persistent_workers=False,
    )


def _learning_rate(step: int, settings: LoopSettings) -> float:
    rise = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.learning_rate * rise * max(0.01, fall)


class _Log:
    """One JSON line a step; lines beyond the checkpoint that a run resumes from are dropped."""

    def __init__(self, folder: Path, first: int) -> None:
        self.path = make_output_folder(folder) / "metrics.jsonl"
        self.start = time.perf_counter()
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()[:first]
            with replace_when_complete(self.path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def add(self, **values: float) -> None:
        values["seconds"] = round(time.perf_counter() - self.start, 3)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def checkpoints(folder: str | Path) -> list[Path]:
    """Return the complete checkpoints of a run folder, oldest first."""
    return sorted(Path(folder).glob("checkpoints/step-*"))


def _save(
    folder: Path, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage
) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.weights,
    }
    with replace_when_complete(folder / "checkpoints" / f"step-{step:08d}") as temporary:
        temporary.mkdir()
        torch.save(state, temporary / "state.pt")
    for old in checkpoints(folder)[:-1]:
        shutil.rmtree(old)


def _newest_state(folder: Path, model: torch.nn.Module, average: WeightAverage) -> dict[str, Any] | None:
    """Load the newest checkpoint's weights into `model` and `average` and return its whole state."""
    found = checkpoints(folder)
    if not found:
        return None
    state: dict[str, Any] = torch.load(found[-1] / "state.pt", map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise ValueError(
            f"the checkpoint '{found[-1]}' belongs to another network; choose another run folder"
        ) from error
    average.weights = state["average"]
    return state
