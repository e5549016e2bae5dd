"""Train a denoiser on the patches of one material: any number of processes, resumable to the bit."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from diffusers.optimization import get_constant_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

import volume
from generative.checkpoints import check_same_run, load_checkpoint, save_checkpoint
from generative.configuration import DDPMConfig, MaterialConfig
from generative.denoiser import Denoiser
from generative.patches import LabelledPatches, Material, read_material, signed_one_hot
from generative.pipeline import StructurePipeline, newest_checkpoint
from generative.samples import write_samples, write_slices, write_summary
from generative.scheduling import make_scheduler, training_target
from launch import replace_when_complete, write_record

__all__ = ["NoisyPatches", "load_material", "train"]

NOISE = 2


class NoisyPatches(Dataset[dict[str, Tensor]]):
    """The row of training examples: item `index` has its own patch, time and noise, whoever computes it.

    Parameters
    ----------
    patches : LabelledPatches
        Where the clean volumes come from.
    n_phases : int
        Channels of the one-hot volume.
    timesteps : int
        Times are drawn evenly from 0 to `timesteps` − 1.
    start, stop : int
        The part of the endless row that is still to be learnt from.
    """

    def __init__(self, patches: LabelledPatches, *, n_phases: int, timesteps: int, start: int, stop: int) -> None:
        self.patches, self.n_phases, self.timesteps = patches, n_phases, timesteps
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        """Return the number of examples left."""
        return self.stop - self.start

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """Return ``clean`` and ``noise`` (n, Z, Y, X) and ``timestep`` ()."""
        index = self.start + position
        rng = np.random.default_rng(np.random.SeedSequence(self.patches.seed, spawn_key=(NOISE, index)))
        clean = signed_one_hot(self.patches[index], self.n_phases)
        timestep = rng.integers(self.timesteps)
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        return {
            "clean": torch.from_numpy(clean),
            "noise": torch.from_numpy(noise),
            "timestep": torch.tensor(int(timestep)),
        }


def load_material(config: MaterialConfig, *, seed: int) -> Material:
    """Read the labelled file, or make the structure of the recipe from `seed`.

    Raises
    ------
    ValueError
        If the volume cannot be read or is not one that a model can learn; see `read_material`.
    """
    source: Any
    if config.volume is not None:
        source = volume.read(config.volume, voxel_size_um=config.voxel_size_um)
    else:
        from synth.recipes import build_structure

        source = build_structure(dict(config.recipe or {}), seed=seed)
    return read_material(source, phases=config.phases, voxel_size_um=config.voxel_size_um)


def train(config: DDPMConfig, *, stop_at: int | None = None) -> dict[str, Any]:
    """Train until ``training.steps``, going on from the newest checkpoint in ``config.out``, and make samples.

    The run folder gets ``run.json`` (configuration, seed, versions), ``log.jsonl`` (step, loss, seconds),
    ``checkpoints/``, and at the end ``model/``, ``samples/``, ``slices.png`` and ``summary.json``.
    A run that was killed and started again ends, on a CPU, with the very weights of one that was not.

    Parameters
    ----------
    config : DDPMConfig
        The whole run.
    stop_at : int, optional
        Leave after this step as if killed: nothing more is written.

    Returns
    -------
    dict
        The summary; ``{"step": stop_at}`` after an early stop. A finished run returns its summary at once, with
        ``"already_finished": True``.

    Raises
    ------
    ValueError
        If the material, the folder or the configuration cannot be used, or the loss is no longer finite.
    """
    run = Path(config.out)
    check_same_run(run, config)
    if summary := _finished(run, config.training.steps):
        return summary
    material = load_material(config.material, seed=config.seed)
    patches = LabelledPatches(
        material.labels,
        size=config.patches.size,
        stride=config.patches.stride,
        symmetry=config.patches.symmetry,
        seed=config.seed,
    )
    trainer = _Trainer(config, patches, material)
    if trainer.accelerator.is_main_process:
        write_record(run, config, seed=config.seed)
    trainer.resume()
    trainer.fit(stop_at)
    if trainer.step < config.training.steps:
        return {"step": trainer.step}
    return trainer.finish() if trainer.accelerator.is_main_process else {"step": trainer.step}


class _Trainer:
    """What a training run holds while it runs."""

    def __init__(self, config: DDPMConfig, patches: LabelledPatches, material: Material) -> None:
        self.config, self.patches, self.material = config, patches, material
        self.run, self.step, self.seconds = Path(config.out), 0, 0.0
        settings = config.training
        self.accelerator = Accelerator(
            mixed_precision=settings.mixed_precision,
            gradient_accumulation_steps=settings.accumulate,
            # The configured batch is the whole one, so that more processes mean less time and nothing else.
            dataloader_config=DataLoaderConfiguration(split_batches=True),
        )
        if settings.batch_size % self.accelerator.num_processes:
            raise ValueError(
                f"'training.batch_size' is {settings.batch_size}; it must be a multiple of the "
                f"{self.accelerator.num_processes} processes that share it"
            )
        set_seed(config.seed)
        diffusion = config.diffusion
        self.scheduler = make_scheduler(timesteps=diffusion.timesteps, prediction_type=diffusion.prediction_type)
        denoiser, self.averaged = self._denoiser(), self._pipeline(self._denoiser())
        self.parameters = sum(p.numel() for p in denoiser.parameters())
        optimiser = torch.optim.AdamW(
            denoiser.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        warmup = get_constant_schedule_with_warmup(optimiser, settings.warmup_steps)
        if settings.compile:
            denoiser.compile()
        self.denoiser, self.optimiser, self.warmup = self.accelerator.prepare(denoiser, optimiser, warmup)
        self.ema = EMAModel(self._bare().parameters(), decay=settings.ema_decay)

    def resume(self) -> None:
        """Go back to the newest checkpoint, and take from the log what came after it."""
        if checkpoint := newest_checkpoint(self.run):
            self.step = load_checkpoint(checkpoint, self.accelerator, ema=self.ema, phases=self.material.phases)
        if self.accelerator.is_main_process:
            self.seconds = _cut_log(self.run / "log.jsonl", self.step)
        self.accelerator.wait_for_everyone()

    def fit(self, stop_at: int | None) -> None:
        """Take the steps that are left."""
        settings, began = self.config.training, time.perf_counter() - self.seconds
        last = min(settings.steps, stop_at or settings.steps)
        batches = iter(self._batches())
        show = None if self.accelerator.is_local_main_process else True
        for step in tqdm(range(self.step + 1, last + 1), initial=self.step, total=last, desc="training", disable=show):
            loss = self._descend(batches)
            self.step = step
            if step % settings.log_every == 0 or step == settings.steps:
                self._log(loss, time.perf_counter() - began)
            if step % settings.checkpoint_every == 0 or step == settings.steps:
                self._checkpoint(loss)

    def finish(self) -> dict[str, Any]:
        """Write the model with averaged weights, samples of it, and the summary (last: it marks the run's end)."""
        wanted, began = self.config.sampling, time.perf_counter()
        self.ema.copy_to(self.averaged.denoiser.parameters())
        with replace_when_complete(self.run / "model") as temporary:
            self.averaged.save_pretrained(temporary)
        self.averaged.to(self.accelerator.device)
        samples = self.averaged(
            wanted.shape, count=wanted.count, steps=wanted.steps, seed=self.config.seed, sampler=wanted.sampler
        )
        write_samples(self.run / "samples", samples, self.material)
        shown = np.stack([self.patches[i] for i in range(min(4, wanted.count))])
        write_slices(self.run / "slices.png", samples, shown)
        return write_summary(
            self.run / "summary.json",
            samples,
            self.material,
            step=self.step,
            parameters=self.parameters,
            sampling_seconds=round(time.perf_counter() - began, 2),
        )

    def _descend(self, batches: Iterator[dict[str, Tensor]]) -> Tensor:
        """Take one optimiser step over `accumulate` batches; return the mean loss of this process."""
        losses = []
        for _ in range(self.config.training.accumulate):
            batch = next(batches)
            with self.accelerator.accumulate(self.denoiser):
                loss = self._loss(batch)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.denoiser.parameters(), self.config.training.clip_norm)
                self.optimiser.step()
                self.warmup.step()
                self.optimiser.zero_grad()
            losses.append(loss.detach())
        self.ema.step(self._bare().parameters())
        return torch.stack(losses).mean()

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        clean, noise, timesteps = batch["clean"], batch["noise"], batch["timestep"]
        noisy = self.scheduler.add_noise(clean, noise, cast("torch.IntTensor", timesteps))
        target = training_target(self.scheduler, clean=clean, noise=noise, timesteps=timesteps)
        # Half precision is for the network; squares of small differences need the full one.
        return F.mse_loss(self.denoiser(noisy, timesteps).float(), target.float())

    def _log(self, loss: Tensor, seconds: float) -> None:
        mean = float(self.accelerator.reduce(loss, reduction="mean"))
        if not math.isfinite(mean):
            raise ValueError(f"the loss is {mean} at step {self.step}; lower 'training.learning_rate' and start again")
        if self.accelerator.is_main_process:
            line = {"step": self.step, "loss": mean, "seconds": round(seconds, 3)}
            with (self.run / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")

    def _checkpoint(self, loss: Tensor) -> None:
        if not bool(torch.isfinite(loss)):
            raise ValueError(f"the loss is not finite at step {self.step}; lower 'training.learning_rate'")
        keep = self.config.training.keep_checkpoints
        save_checkpoint(self.run, self.step, self.accelerator, ema=self.ema, averaged=self.averaged, keep=keep)

    def _batches(self) -> DataLoader[dict[str, Tensor]]:
        settings = self.config.training
        per_step = settings.batch_size * settings.accumulate
        examples = NoisyPatches(
            self.patches,
            n_phases=len(self.material.phases),
            timesteps=self.config.diffusion.timesteps,
            start=self.step * per_step,
            stop=max(settings.steps, self.step) * per_step,
        )
        pinned = self.accelerator.device.type == "cuda"
        loader = DataLoader(examples, batch_size=settings.batch_size, num_workers=settings.workers, pin_memory=pinned)
        return self.accelerator.prepare_data_loader(loader)

    def _denoiser(self) -> Denoiser:
        size = self.config.denoiser
        return Denoiser(
            n_phases=len(self.material.phases),
            channels=size.channels,
            blocks_per_level=size.blocks_per_level,
            attention_levels=size.attention_levels,
            attention_heads=size.attention_heads,
            stem=size.stem,
        )

    def _pipeline(self, denoiser: Denoiser) -> StructurePipeline:
        return StructurePipeline(
            denoiser,
            self.scheduler,
            phases=self.material.phases,
            voxel_size_um=self.material.voxel_size_um,
            patch=self.config.patches.size,
        )

    def _bare(self) -> torch.nn.Module:
        return self.accelerator.unwrap_model(self.denoiser)


def _finished(run: Path, steps: int) -> dict[str, Any] | None:
    """Return the summary of a run that has already gone this far."""
    path = run / "summary.json"
    if not path.is_file() or not (run / "model").is_dir():
        return None
    summary = json.loads(path.read_text(encoding="utf-8"))
    return {**summary, "already_finished": True} if summary["step"] >= steps else None


def _cut_log(path: Path, step: int) -> float:
    """Keep the lines up to `step` (a killed run may have logged more, or half a line); return their last seconds."""
    if not path.is_file():
        return 0.0
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    with replace_when_complete(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")
    return float(json.loads(kept[-1])["seconds"]) if kept else 0.0
