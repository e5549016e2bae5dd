"""The training loop: sample by index, step, average, checkpoint, resume.

Nothing random lives in the loop. Every sample is a function of its index alone, and the batch of step *s* holds
the samples s B … (s + 1) B - 1 whichever process draws them. A resumed run therefore needs no random state.
Networks that play against each other learn in turns; all turns of a step see the batch of that step.
"""

import contextlib
import copy
import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from launch import replace_when_complete
from learn.log import Log
from learn.processes import on_cpu

__all__ = ["LoopSettings", "Turn", "checkpoints", "sample_indices", "train"]

Batch = Mapping[str, torch.Tensor]
Loss = Callable[[torch.nn.Module, Batch], torch.Tensor]
Monitor = Callable[[torch.nn.Module, int], Mapping[str, float]]
# Settings that are whole numbers above 0.
COUNTS = (
    "steps", "batch_size", "accumulate", "checkpoint_every", "keep_checkpoints", "log_every", "plateau_patience",
)  # fmt: skip
# The name under which a module knows itself, as if it were its own part.
WHOLE = ""
# What torch and its parts say, besides torch.OutOfMemoryError and MemoryError.
MEMORY_RAN_OUT = ("out of memory", "can't allocate memory", "cannot allocate memory")


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
    schedule : {"cosine", "constant", "plateau"}
        What the learning rate does then: fall as a half cosine to a hundredth at `steps`; stay; or be multiplied by
        `plateau_factor` each time that a number of the log has not gone below its lowest for `plateau_patience`
        measurements, which are then counted anew. Only with the second can a finished run be given more steps and end
        as if it had been asked for them at once.
    plateau_factor : float
        Above 0 and below 1.
    plateau_patience : int
        Measurements, 1 or more.
    plateau_on : str
        Which number: ``loss`` (of turns ``loss_<name>``), whose measurements are the lines of the log, or one that the
        monitor gives, every `monitor_every` steps.
    minimum_learning_rate : float
        Below which a plateau does not bring it.
    weight_decay : float
        AdamW's; with 0 it is Adam.
    gradient_clip : float
        Largest norm of the gradient.
    ema_decay : float
        Memory of the running average of the weights, which is what is kept in the end.
    checkpoint_every : int
        Steps between checkpoints; a killed run loses at most these.
    keep_checkpoints : int
        How many of the newest stay.
    log_every : int
        Steps between lines of the log, each with the mean loss of the steps since the last.
    monitor_every : int
        Steps between measurements of the averaged model, where `train` gets a monitor; 0: never.
    mixed_precision : {"no", "bf16", "fp16"}
        As accelerate understands it; the last on a GPU alone.
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
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    plateau_factor: float = 0.1
    plateau_patience: int = 10
    plateau_on: str = "loss"
    minimum_learning_rate: float = 0.0
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    ema_decay: float = 0.99
    checkpoint_every: int = 200
    keep_checkpoints: int = 1
    log_every: int = 1
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    compile: bool = False
    loader_workers: int = 0
    monitor_every: int = 0

    def __post_init__(self) -> None:
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a whole number above 0")
        for name in ("learning_rate", "gradient_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number above 0")
        for name in ("warmup_steps", "weight_decay", "loader_workers", "monitor_every", "minimum_learning_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; give a number from 0 up to, not including, 1")
        if not 0 < self.plateau_factor < 1:
            raise ValueError(f"plateau_factor is {self.plateau_factor}; give a number above 0 and below 1")

    def check_machine(self) -> None:
        """Refuse what this machine cannot do, where training is about to start: settings may be read elsewhere.

        Raises
        ------
        ValueError
            If `mixed_precision` is ``fp16`` and training runs on a CPU.
        """
        if self.mixed_precision == "fp16" and on_cpu():
            raise ValueError(
                "mixed_precision is 'fp16' and training runs on a CPU, which lacks such arithmetic; give 'no' or 'bf16'"
            )


@dataclasses.dataclass(frozen=True)
class Turn:
    """One player's move, where networks learn against each other.

    During a turn only its own parameters learn; everything else of the model is held.

    Parameters
    ----------
    loss : callable
        From the whole model and the batch of the step to the mean loss of this turn. What it needs at random it
        takes from the batch.
    parameters : str
        Name of the submodule that learns, e.g. ``"critic"``; it also names the turn in the log.
    every : int
        The turn is taken in each step of which this is a divisor, counted from 1.
    learning_rate : float, optional
        Its peak; that of `LoopSettings` unless given.
    betas : tuple of two floats
        AdamW's memories of the gradient and of its square.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    loss: Loss
    parameters: str
    every: int = 1
    learning_rate: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}; give a whole number above 0")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; give a number above 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}; give two numbers from 0 up to, not including, 1")


class IndexedSamples(Dataset[Batch]):
    """A map from sample index to sample, seen by torch as a data set."""

    def __init__(self, sample: Callable[[int], Batch], indices: list[int]) -> None:
        self.sample, self.indices = sample, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Batch:
        return self.sample(self.indices[position])


@dataclasses.dataclass
class Plateau:
    """How often the learning rate has fallen, and how long a number has not.

    Attributes
    ----------
    lowest : float
        Of the number so far; NaN never counts.
    waited : int
        Measurements since then, or since the learning rate fell.
    falls : int
        How often it did.
    """

    lowest: float = math.inf
    waited: int = 0
    falls: int = 0

    def see(self, value: float, *, patience: int) -> None:
        """Take in a measurement."""
        if value < self.lowest:
            self.lowest, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= patience:
            self.waited, self.falls = 0, self.falls + 1


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
    loss: Loss | Sequence[Turn],
    *,
    settings: LoopSettings,
    folder: str | Path,
    stop_at: int | None = None,
    export: Callable[[torch.nn.Module, Path], None] | None = None,
    monitor: Monitor | None = None,
) -> int:
    """Train `model` in place, or go on where an earlier run in `folder` stopped.

    Parameters
    ----------
    model : Module
        Freshly initialised. In the end, if all steps are done, it holds the averaged weights.
    sample : callable
        From a sample's index (0, 1, 2, …) to a mapping of tensors, without a batch axis.
    loss : callable or sequence of Turn
        From the (wrapped) model and a batch to the mean loss; or the turns of a step, taken in this order, each
        with an optimiser of its own. Losses of turns may differentiate twice.
    settings : LoopSettings
        How to train.
    folder : path-like
        Run folder: ``checkpoints/step-NNNNNNNN`` and ``metrics.jsonl`` are kept there, and ``tensorboard`` where
        the package of that name is installed.
    stop_at : int, optional
        Leave after this step as if killed.
    export : callable, optional
        Gets a copy of the model with averaged weights and the folder of a checkpoint about to be completed, to
        leave there what a user of the model needs.
    monitor : callable, optional
        Every ``settings.monitor_every`` steps it gets a copy of the model with averaged weights and the number of
        steps done; the numbers that it returns go into the log by their names. Only the main process calls it.

    Returns
    -------
    int
        Steps done.

    Raises
    ------
    ValueError
        If the batch does not divide over processes and parts, the newest checkpoint belongs to another network,
        a turn names no submodule, nothing measures ``settings.plateau_on``, the loss is no longer finite, memory runs
        out in a step, or the machine cannot do what is asked for.
    """
    settings.check_machine()
    turns = (Turn(loss, WHOLE),) if callable(loss) else tuple(loss)
    run = _Run(model, turns, settings=settings, folder=Path(folder))
    monitored = settings.monitor_every if monitor is not None else 0
    watched = run.measured_every(monitored)
    last = min(settings.steps, stop_at or settings.steps)
    for step in run.steps(sample, last=last):
        done = step + 1
        numbers: dict[str, float] = {}
        if done % settings.log_every == 0 or done == settings.steps:
            numbers |= run.losses(step)
        if monitor is not None and monitored and done % monitored == 0:
            numbers |= run.measure(monitor)
        run.write_log(numbers)
        if watched and done % watched == 0:
            run.watch(numbers)
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            run.write_checkpoint(export)
    run.close()
    if run.done >= settings.steps:
        model.load_state_dict(run.average.weights)
        model.eval()
    return run.done


class _Player:
    """A turn, the parameters that learn in it, and their optimiser."""

    def __init__(self, turn: Turn, model: torch.nn.Module, settings: LoopSettings) -> None:
        self.turn = turn
        try:
            self.module = model.get_submodule(turn.parameters)
        except AttributeError as error:
            parts = ", ".join(name for name, _ in model.named_children())
            raise ValueError(f"turn '{turn.parameters}' names no part of the model; its parts are {parts}") from error
        self.learning = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        self.peak = turn.learning_rate or settings.learning_rate
        # Whoever is alone learns with every parameter, as AdamW's own record expects.
        parameters = self.module.parameters() if turn.parameters == WHOLE else self.learning
        self.optimizer: Any = torch.optim.AdamW(
            parameters,
            lr=self.peak,
            betas=(float(turn.betas[0]), float(turn.betas[1])),
            weight_decay=settings.weight_decay,
        )

    def key(self, name: str) -> str:
        """Return what the log calls a number of this turn."""
        return name if self.turn.parameters == WHOLE else f"{name}_{self.turn.parameters}"


class _Run:
    """What a training run holds while it runs."""

    def __init__(self, model: torch.nn.Module, turns: Sequence[Turn], *, settings: LoopSettings, folder: Path) -> None:
        self.settings, self.folder, self.done = settings, folder, 0
        # Of the steps since the last line of the log.
        self.since: dict[str, list[torch.Tensor]] = {}
        self.plateau = Plateau()
        self.accelerator = Accelerator(
            cpu=on_cpu(), mixed_precision=settings.mixed_precision, gradient_accumulation_steps=settings.accumulate
        )
        self.share = _share_of_batch(settings, self.accelerator.num_processes)
        self.average = WeightAverage(model, settings.ema_decay)
        self.players = _players(turns, model, settings)
        state = _newest_state(folder, model, self.average, turns=turns)
        self.model = self._prepared(model)
        self.average.move_to(self.accelerator.device)
        if state is not None:
            self._restore(state)
        self.log = None
        if self.accelerator.is_main_process:
            self.log = Log(folder, self.done)
            # Half-written checkpoints of runs that were killed.
            for left in folder.glob("checkpoints/.*-step-*"):
                shutil.rmtree(left)

    @property
    def alone(self) -> bool:
        """Whether there is one loss for the whole model."""
        return self.players[0].turn.parameters == WHOLE

    @property
    def own_losses(self) -> list[str]:
        """What the log calls the losses of the turns."""
        return [player.key("loss") for player in self.players]

    @property
    def bare(self) -> torch.nn.Module:
        """The model without what accelerate wraps around it."""
        return self.accelerator.unwrap_model(self.model)

    def _prepared(self, model: torch.nn.Module) -> torch.nn.Module:
        """Bring the model to its device, and the optimisers under accelerate."""
        if self.settings.compile:
            for player in self.players:
                player.module.compile()
        if self.alone:
            (player,) = self.players
            model, player.optimizer = self.accelerator.prepare(model, player.optimizer)
            return model
        # The wrapper of several processes knows neither turns nor second derivatives; see `_average_gradients`.
        model = model.to(self.accelerator.device)
        for value in model.state_dict().values():
            broadcast(value)
        for player in self.players:
            player.optimizer = self.accelerator.prepare(player.optimizer)
        return model

    def _restore(self, state: Mapping[str, Any]) -> None:
        # Only now do the weights lie where the optimiser's state must go.
        if self.alone:
            self.players[0].optimizer.load_state_dict(state["optimizer"])
        else:
            for player in self.players:
                player.optimizer.load_state_dict(state["optimizer"][player.turn.parameters])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.done = int(state["step"])
        # Checkpoints from before these were kept have neither.
        self.since = {name: list(own.to(self.accelerator.device)) for name, own in state.get("since", {}).items()}
        self.plateau = Plateau(**state.get("plateau", {}))

    def steps(self, sample: Callable[[int], Batch], *, last: int) -> Iterator[int]:
        """Take the steps that are left up to `last`; yield each one's number."""
        first = self.done
        batches = iter(self._loader(sample, first=first, last=last))
        # tqdm takes None as: only on a terminal.
        hidden = None if self.accelerator.is_local_main_process else True
        self.model.train()
        for step in tqdm(range(first, last), initial=first, total=last, desc="training", disable=hidden):
            with _say_what_to_lower(step):
                self._step(step, batches)
            self.average.update(self.bare, step)
            self.done = step + 1
            yield step

    def _step(self, step: int, batches: Iterator[Batch]) -> None:
        """Take the turns that are due."""
        batch = [self._moved(next(batches)) for _ in range(self.settings.accumulate)]
        for player in self.players:
            if (step + 1) % player.turn.every:
                continue
            for group in player.optimizer.param_groups:
                group["lr"] = self._learning_rate(step, player)
            with self._only(player):
                self.since.setdefault(player.turn.parameters, []).extend(self._descend(player, part) for part in batch)

    def _learning_rate(self, step: int, player: _Player) -> float:
        return _learning_rate(step, self.settings, player.peak, falls=self.plateau.falls)

    def _moved(self, batch: Batch) -> Batch:
        return {name: value.to(self.accelerator.device, non_blocking=True) for name, value in batch.items()}

    @contextlib.contextmanager
    def _only(self, player: _Player) -> Iterator[None]:
        """Hold the parameters of the others, which saves their gradients."""
        held = [p for other in self.players if other is not player for p in other.learning]
        for parameter in held:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in held:
                parameter.requires_grad_(True)

    def _descend(self, player: _Player, batch: Batch) -> torch.Tensor:
        with self.accelerator.accumulate(self.model):
            with self.accelerator.autocast():
                value = player.turn.loss(self.model, batch)
            self.accelerator.backward(value)
            if self.accelerator.sync_gradients:
                if not self.alone:
                    self._average_gradients(player)
                parameters = self.model.parameters() if self.alone else player.learning
                self.accelerator.clip_grad_norm_(parameters, self.settings.gradient_clip)
            player.optimizer.step()
            player.optimizer.zero_grad()
        return value.detach()

    def _average_gradients(self, player: _Player) -> None:
        """Give every process the mean gradient of all."""
        if self.accelerator.num_processes == 1:
            return
        gradients = [parameter.grad for parameter in player.learning if parameter.grad is not None]
        mean = self.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="mean")
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

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

    def losses(self, step: int) -> dict[str, float]:
        """Return the mean losses of all processes, and the learning rates, of the turns since the last line."""
        numbers: dict[str, float] = {}
        for player in self.players:
            if player.turn.parameters not in self.since:
                continue
            own = torch.stack(self.since[player.turn.parameters]).mean()
            mean = float(self.accelerator.reduce(own, reduction="mean"))
            key = player.key("loss")
            if not math.isfinite(mean):
                raise ValueError(
                    f"the {key} is {mean} at step {step + 1}; lower learning_rate and start in another folder"
                )
            numbers |= {
                key: mean,
                player.key("learning_rate"): self._learning_rate(step, player),
            }
        self.since = {}
        return numbers

    def measure(self, monitor: Monitor) -> dict[str, float]:
        """Return what the monitor says of the averaged model; nothing on other processes than the main one."""
        if not self.accelerator.is_main_process:
            return {}
        return {name: float(value) for name, value in monitor(self._averaged(), self.done).items()}

    def measured_every(self, monitored: int) -> int:
        """Return every how many steps the learning rate may fall, 0 where that is never."""
        if self.settings.schedule != "plateau":
            return 0
        if self.settings.plateau_on in self.own_losses:
            return self.settings.log_every
        if not monitored:
            raise ValueError(
                f"plateau_on is '{self.settings.plateau_on}', but nothing measures that; give "
                f"{' or '.join(self.own_losses)}, or set monitor_every where there is a monitor"
            )
        return monitored

    def watch(self, numbers: Mapping[str, float]) -> None:
        """Let the learning rate fall on all processes alike, if it is time."""
        name = self.settings.plateau_on
        if self.accelerator.is_main_process:
            if name in numbers:
                self.plateau.see(numbers[name], patience=self.settings.plateau_patience)
            # A turn that is taken seldom may be in none of the steps of a line.
            elif name not in self.own_losses:
                raise ValueError(f"plateau_on is '{name}', which is not measured; give one of {', '.join(numbers)}")
        # The others have not seen what the monitor says.
        falls = broadcast(torch.tensor([self.plateau.falls], device=self.accelerator.device))
        self.plateau.falls = int(falls)

    def write_log(self, numbers: Mapping[str, float]) -> None:
        """Add a line, if there is anything to say."""
        if self.log is not None and numbers:
            self.log.add(self.done, numbers)

    def write_checkpoint(self, export: Callable[[torch.nn.Module, Path], None] | None) -> None:
        """Write the whole state, completely or not at all, and drop the oldest checkpoints."""
        # A finite loss may have had a gradient that is not; such a checkpoint would fail at every resume.
        if not all(bool(torch.isfinite(value).all()) for value in self.bare.parameters()):
            raise ValueError(
                f"weights are not finite at step {self.done}; lower learning_rate and start in another folder"
            )
        # Only one process writes, so from here on all hold the mean.
        self.since = {
            name: list(self.accelerator.reduce(torch.stack(own), reduction="mean")) for name, own in self.since.items()
        }
        if not self.accelerator.is_main_process:
            return
        with replace_when_complete(self.folder / "checkpoints" / f"step-{self.done:08d}") as temporary:
            temporary.mkdir()
            torch.save(self._state(), temporary / "state.pt")
            if export is not None:
                export(self._averaged(), temporary)
        for old in checkpoints(self.folder)[: -self.settings.keep_checkpoints]:
            shutil.rmtree(old)

    def _state(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        optimizers = {player.turn.parameters: player.optimizer.state_dict() for player in self.players}
        return {
            "step": self.done,
            "model": self.bare.state_dict(),
            "optimizer": optimizers[WHOLE] if self.alone else optimizers,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "average": self.average.weights,
            "since": {name: torch.stack(own) for name, own in self.since.items()},
            "plateau": dataclasses.asdict(self.plateau),
        }

    def _averaged(self) -> torch.nn.Module:
        averaged = copy.deepcopy(self.bare)
        averaged.load_state_dict(self.average.weights)
        return averaged.eval()

    def close(self) -> None:
        """Wait for the other processes and leave the model as it came."""
        self.accelerator.wait_for_everyone()
        if self.log is not None:
            self.log.close()
        # Whoever trained in half precision still predicts in full.
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.accelerator.free_memory()


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


def _learning_rate(step: int, settings: LoopSettings, peak: float, *, falls: int = 0) -> float:
    rise = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    if settings.schedule == "cosine":
        return peak * rise * max(0.01, 0.5 * (1 + math.cos(math.pi * step / settings.steps)))
    # Constant is a plateau that never was.
    lowest = min(peak, settings.minimum_learning_rate)
    return rise * max(lowest, peak * settings.plateau_factor**falls)


def _players(turns: Sequence[Turn], model: torch.nn.Module, settings: LoopSettings) -> list[_Player]:
    names = [turn.parameters for turn in turns]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"turns are {names}; give at least one, each for another part of the model")
    return [_Player(turn, model, settings) for turn in turns]


@contextlib.contextmanager
def _say_what_to_lower(step: int) -> Iterator[None]:
    """Turn the many ways in which memory runs out into one sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in str(error).lower() for words in MEMORY_RAN_OUT):
            raise
        raise ValueError(
            f"memory ran out in step {step + 1}; lower batch_size or the size of a sample (patches.size, crop), or "
            "raise accumulate, which works the batch off in so many parts"
        ) from error


def checkpoints(folder: str | Path) -> list[Path]:
    """Return the complete checkpoints of a run folder, oldest first."""
    return sorted(Path(folder).glob("checkpoints/step-*"))


def _newest_state(
    folder: Path, model: torch.nn.Module, average: WeightAverage, *, turns: Sequence[Turn]
) -> dict[str, Any] | None:
    """Load the newest checkpoint's weights into `model` and `average` and return its whole state."""
    found = checkpoints(folder)
    if not found:
        return None
    state: dict[str, Any] = torch.load(found[-1] / "state.pt", map_location="cpu", weights_only=True)
    names = {turn.parameters for turn in turns}
    try:
        if state["optimizer"].keys() != ({"state", "param_groups"} if names == {WHOLE} else names):
            raise RuntimeError("its optimisers are others")
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise ValueError(
            f"the checkpoint '{found[-1]}' belongs to another network; choose another run folder"
        ) from error
    average.weights = state["average"]
    return state
