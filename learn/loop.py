"""The training loop: sample by index, step, average, checkpoint, resume.

Nothing random lives in the loop. Every sample is a function of its index alone, and the batch of step *s* holds
the samples s B … (s + 1) B - 1 whichever process draws them. A resumed run therefore needs no random state.
"""

import copy
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

__all__ = ["LoopSettings", "checkpoints", "sample_indices", "train"]

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
    accumulate : int
        Parts in which the batch of a step is worked off, where it does not fit into memory at once.
    learning_rate : float
        Its peak, after a linear rise over `warmup_steps`.
    warmup_steps : int
        Steps of the rise.
    schedule : {"cosine", "constant"}
        What the learning rate does then: fall as a half cosine to a hundredth at `steps`, or stay. Only with the
        second can a finished run be given more steps and end as if it had been asked for them at once.
    weight_decay : float
        AdamW's.
    gradient_clip : float
        Largest norm of the gradient.
    ema_decay : float
        Memory of the running average of the weights, which is what is kept in the end.
    checkpoint_every : int
        Steps between checkpoints; a killed run loses at most these.
    keep_checkpoints : int
        How many of the newest stay.
    log_every : int
        Steps between lines of the log.
    mixed_precision : {"no", "bf16", "fp16"}
        As accelerate understands it.
    compile : bool
        Let torch compile the network first: slower to start, faster to run on a GPU.
    loader_workers : int
        Processes that prepare samples; 0 prepares them in the training process.
    """

    steps: int = 1000
    batch_size: int = 8
    accumulate: int = 1
    learning_rate: float = 2e-3
    warmup_steps: int = 20
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    ema_decay: float = 0.99
    checkpoint_every: int = 200
    keep_checkpoints: int = 1
    log_every: int = 1
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    compile: bool = False
    loader_workers: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "checkpoint_every", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a whole number above 0")
        for name in ("learning_rate", "gradient_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number above 0")
        for name in ("warmup_steps", "weight_decay", "loader_workers"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more")
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
    stop_at: int | None = None,
    export: Callable[[torch.nn.Module, Path], None] | None = None,
) -> int:
    """Train `model` in place, or go on where an earlier run in `folder` stopped.

    Parameters
    ----------
    model : Module
        Freshly initialised. In the end, if all steps are done, it holds the averaged weights.
    sample : callable
        From a sample's index (0, 1, 2, …) to a mapping of tensors, without a batch axis.
    loss : callable
        From the (wrapped) model and a batch to the mean loss.
    settings : LoopSettings
        How to train.
    folder : path-like
        Run folder: ``checkpoints/step-NNNNNNNN`` and ``metrics.jsonl`` are kept there.
    stop_at : int, optional
        Leave after this step as if killed.
    export : callable, optional
        Gets a copy of the model with averaged weights and the folder of a checkpoint about to be completed, to
        leave there what a user of the model needs.

    Returns
    -------
    int
        Steps done.

    Raises
    ------
    ValueError
        If the batch does not divide over processes and parts, the newest checkpoint belongs to another network, or
        the loss is no longer finite.
    """
    run = _Run(model, settings, Path(folder))
    last = min(settings.steps, stop_at or settings.steps)
    for step in run.steps(sample, loss, last=last):
        done = step + 1
        if done % settings.log_every == 0 or done == settings.steps:
            run.write_log(step)
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            run.write_checkpoint(export)
    run.accelerator.wait_for_everyone()
    if run.done >= settings.steps:
        model.load_state_dict(run.average.weights)
        model.eval()
    # Whoever trained in half precision still predicts in full.
    run.accelerator.unwrap_model(run.model, keep_fp32_wrapper=False)
    run.accelerator.free_memory()
    return run.done


class _Run:
    """What a training run holds while it runs."""

    def __init__(self, model: torch.nn.Module, settings: LoopSettings, folder: Path) -> None:
        self.settings, self.folder, self.done = settings, folder, 0
        self.loss = torch.zeros(())
        self.accelerator = Accelerator(
            mixed_precision=settings.mixed_precision, gradient_accumulation_steps=settings.accumulate
        )
        self.share = _share_of_batch(settings, self.accelerator.num_processes)
        self.average = WeightAverage(model, settings.ema_decay)
        state = _newest_state(folder, model, self.average)
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        if settings.compile:
            model.compile()
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.average.move_to(self.accelerator.device)
        if state is not None:
            # Only now do the weights lie where the optimiser's state must go.
            self.optimizer.load_state_dict(state["optimizer"])
            if self.accelerator.scaler is not None and state["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.done = int(state["step"])
        self.log = None
        if self.accelerator.is_main_process:
            self.log = _Log(folder, self.done)
            # Half-written checkpoints of runs that were killed.
            for left in folder.glob("checkpoints/.*-step-*"):
                shutil.rmtree(left)

    @property
    def bare(self) -> torch.nn.Module:
        """The model without what accelerate wraps around it."""
        return self.accelerator.unwrap_model(self.model)

    def steps(
        self,
        sample: Callable[[int], Batch],
        loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
        *,
        last: int,
    ) -> Iterator[int]:
        """Take the optimiser steps that are left up to `last`; yield each one's number."""
        first, settings = self.done, self.settings
        batches = iter(self._loader(sample, first=first, last=last))
        # tqdm takes None as: only on a terminal.
        hidden = None if self.accelerator.is_local_main_process else True
        self.model.train()
        for step in tqdm(range(first, last), initial=first, total=last, desc="training", disable=hidden):
            for group in self.optimizer.param_groups:
                group["lr"] = _learning_rate(step, settings)
            parts = []
            for _ in range(settings.accumulate):
                with self.accelerator.accumulate(self.model):
                    parts.append(self._descend(next(batches), loss))
            self.average.update(self.bare, step)
            self.loss, self.done = torch.stack(parts).mean(), step + 1
            yield step

    def _descend(self, batch: Batch, loss: Callable[[torch.nn.Module, Batch], torch.Tensor]) -> torch.Tensor:
        batch = {name: value.to(self.accelerator.device, non_blocking=True) for name, value in batch.items()}
        with self.accelerator.autocast():
            value = loss(self.model, batch)
        self.accelerator.backward(value)
        if self.accelerator.sync_gradients:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return value.detach()

    def _loader(self, sample: Callable[[int], Batch], *, first: int, last: int) -> DataLoader[Batch]:
        indices = sample_indices(
            self.settings.batch_size,
            first=first,
            last=last,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        return DataLoader(
            IndexedSamples(sample, indices),
            batch_size=self.share,
            num_workers=self.settings.loader_workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )

    def write_log(self, step: int) -> None:
        """Add a line with the mean loss of all processes."""
        mean = float(self.accelerator.reduce(self.loss, reduction="mean"))
        if not math.isfinite(mean):
            raise ValueError(f"the loss is {mean} at step {step + 1}; lower learning_rate and start in another folder")
        if self.log is not None:
            self.log.add(step=step + 1, loss=mean, learning_rate=_learning_rate(step, self.settings))

    def write_checkpoint(self, export: Callable[[torch.nn.Module, Path], None] | None) -> None:
        """Write the whole state, completely or not at all, and drop the oldest checkpoints."""
        # A finite loss may have had a gradient that is not; such a checkpoint would fail at every resume.
        if not all(bool(torch.isfinite(value).all()) for value in self.bare.parameters()):
            raise ValueError(
                f"weights are not finite at step {self.done}; lower learning_rate and start in another folder"
            )
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        state = {
            "step": self.done,
            "model": self.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "average": self.average.weights,
        }
        with replace_when_complete(self.folder / "checkpoints" / f"step-{self.done:08d}") as temporary:
            temporary.mkdir()
            torch.save(state, temporary / "state.pt")
            if export is not None:
                averaged = copy.deepcopy(self.bare)
                averaged.load_state_dict(self.average.weights)
                export(averaged.eval(), temporary)
        for old in checkpoints(self.folder)[: -self.settings.keep_checkpoints]:
            shutil.rmtree(old)


def sample_indices(batch_size: int, *, first: int, last: int, process: int, processes: int) -> list[int]:
    """Return the samples that one process draws for the steps from `first` up to, not including, `last`."""
    share = batch_size // processes
    start = process * share
    return [step * batch_size + start + i for step in range(first, last) for i in range(share)]


def _share_of_batch(settings: LoopSettings, processes: int) -> int:
    """Return how many samples a process works off at once."""
    parts = processes * settings.accumulate
    if settings.batch_size % parts:
        raise ValueError(
            f"batch_size {settings.batch_size} does not divide over {processes} processes and {settings.accumulate} "
            f"parts each; give a multiple of {parts}"
        )
    return settings.batch_size // parts


def _learning_rate(step: int, settings: LoopSettings) -> float:
    rise = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    if settings.schedule == "constant":
        return settings.learning_rate * rise
    fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.learning_rate * rise * max(0.01, fall)


class _Log:
    """JSON lines; those beyond the checkpoint that a run resumes from are dropped, the seconds go on."""

    def __init__(self, folder: Path, done: int) -> None:
        self.path = make_output_folder(folder) / "metrics.jsonl"
        kept: list[dict[str, float]] = []
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            # A killed run may have left half a line.
            kept = [entry for line in lines if line.endswith("\n") and (entry := json.loads(line))["step"] <= done]
            with replace_when_complete(self.path) as temporary:
                temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
        self.start = time.perf_counter() - (kept[-1]["seconds"] if kept else 0.0)

    def add(self, **values: float) -> None:
        values["seconds"] = round(time.perf_counter() - self.start, 3)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def checkpoints(folder: str | Path) -> list[Path]:
    """Return the complete checkpoints of a run folder, oldest first."""
    return sorted(Path(folder).glob("checkpoints/step-*"))


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
