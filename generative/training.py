"""Train a denoiser on the patches of one material: any number of processes, resumable to the bit."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import volume
from generative.coding import encode
from generative.configuration import DDPMConfig, MaterialConfig
from generative.denoiser import Denoiser
from generative.loading import ModelCard
from generative.monitor import MaterialMonitor
from generative.noise_schedule import NoiseSchedule, cosine_schedule
from generative.patches import LabelledPatches, Material, read_material
from generative.pipeline import StructurePipeline, WalkSettings
from generative.samples import finished_summary, write_samples, write_slices, write_summary
from launch import replace_when_complete
from learn import begin_run, this_process
from learn import train as run_loop

__all__ = ["DenoisingLoss", "NoisyPatches", "load_material", "train"]

NOISE = 2
GOLDEN = (5**0.5 - 1) / 2
# Seeds of volumes that are made for the run's own use are far from those that a user would ask for.
CALIBRATION_SEED = 2**31
# Patches from which the linear estimate is measured.
MEASURED = 256
# What a resumed run may change: how far it goes, the place where it lies, and what it leaves there.
FREE_KEYS = frozenset({"out", "training.steps", "training.checkpoint_every", "training.log_every"}) | {
    "training.loader_workers", "training.keep_checkpoints", "training.monitor_every", "sampling.watched",
    "denoiser.gradient_checkpointing",
}  # fmt: skip


class NoisyPatches:
    """The row of training examples: example `index` has its own patch, time and noise, whoever computes it.

    Parameters
    ----------
    patches : LabelledPatches
        Where the clean volumes come from.
    coded : ndarray
        ``(n, Z, Y, X)``, the coding of the labels of `patches`.
    timesteps : int
        Times are 0 to `timesteps` − 1, each as likely as any; those of consecutive examples are spread evenly over
        them, so that every batch sees weak and strong noise.
    told_fractions : float
        Share of the examples that tell their volume fractions; the rest holds not-a-numbers in their place.
    """

    def __init__(
        self,
        patches: LabelledPatches,
        coded: np.ndarray,
        *,
        timesteps: int,
        told_fractions: float = 0.0,
    ) -> None:
        self.patches, self.coded, self.timesteps, self.told = patches, coded, timesteps, told_fractions

    def clean(self, index: int) -> np.ndarray:
        """Return the coded patch of an example, ``(n, Z, Y, X)`` float32."""
        return self.patches.take(self.coded, index).astype(np.float32)

    def __call__(self, index: int) -> dict[str, Tensor]:
        """Return ``clean`` and ``noise`` (n, Z, Y, X), ``timestep`` () and, if any are told, ``fractions`` (n,)."""
        rng = np.random.default_rng(np.random.SeedSequence(self.patches.seed, spawn_key=(NOISE, index)))
        clean = self.clean(index)
        timestep = self._timestep(index)
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        example = {
            "clean": torch.from_numpy(clean),
            "noise": torch.from_numpy(noise),
            "timestep": torch.tensor(timestep),
        }
        if self.told:
            labels = self.patches[index]
            shares = np.bincount(labels.ravel(), minlength=len(clean)) / labels.size
            told = shares if rng.random() < self.told else np.full(len(clean), np.nan)
            example["fractions"] = torch.from_numpy(told.astype(np.float32))
        return example

    def _timestep(self, index: int) -> int:
        """Return the next of the multiples of the golden ratio, modulo 1, from a beginning that the seed decides."""
        start = np.random.default_rng(np.random.SeedSequence(self.patches.seed, spawn_key=(NOISE,))).random()
        return int((start + index * GOLDEN) % 1 * self.timesteps)


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

    The run folder gets ``run.json`` (configuration, seed, versions), ``metrics.jsonl`` (step, loss, seconds),
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
    material = load_material(config.material, seed=config.seed)
    patches = LabelledPatches(
        material.labels,
        size=config.patches.size,
        stride=config.patches.stride,
        symmetry=config.patches.symmetry,
        seed=config.seed,
    )
    begin_run(config.out, config, seed=config.seed, may_differ=FREE_KEYS)
    if summary := finished_summary(config.out, config.training.steps):
        return summary
    torch.manual_seed(config.seed)
    pipeline = _pipeline(config, material)
    examples = NoisyPatches(
        patches,
        encode(material.labels, len(material.phases), coding=config.coding),
        timesteps=config.diffusion.timesteps,
        told_fractions=config.denoiser.told_fractions,
    )
    if pipeline.denoiser.linear is not None:
        pipeline.denoiser.linear.measure(examples.clean, count=MEASURED, schedule=pipeline.schedule)
    began = time.perf_counter()
    done = run_loop(
        pipeline.denoiser,
        examples,
        DenoisingLoss(pipeline.schedule, min_snr=config.diffusion.min_snr),
        settings=config.training,
        folder=config.out,
        stop_at=stop_at,
        export=lambda averaged, folder: pipeline.with_denoiser(averaged).save_pretrained(folder / "model"),
        monitor=MaterialMonitor(pipeline, material, sampling=config.sampling, folder=config.out),
    )
    if done < config.training.steps or not this_process().is_main_process:
        return {"step": done}
    return _finish(config, pipeline, material, patches, training_seconds=time.perf_counter() - began)


class DenoisingLoss:
    """Mean squared error of what the network predicts, over all phases and voxels.

    Parameters
    ----------
    schedule : NoiseSchedule
        The forward process; its ``prediction`` says what is predicted.
    min_snr : float, optional
        See `NoiseSchedule.loss_weights`.

    References
    ----------
    .. [1] J. Ho, A. Jain, P. Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020, arXiv:2006.11239.
    """

    def __init__(self, schedule: NoiseSchedule, *, min_snr: float | None = None) -> None:
        self.schedule, self.min_snr = schedule, min_snr

    def __call__(self, denoiser: torch.nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch of `NoisyPatches`."""
        clean, noise, timesteps = batch["clean"], batch["noise"], batch["timestep"]
        noisy = self.schedule.add_noise(clean, noise, timesteps)
        target = self.schedule.target(clean, noise, timesteps)
        prediction = denoiser(noisy, timesteps, batch.get("fractions"))
        # Half precision is for the network; squares of small differences need the full one.
        errors = (prediction.float() - target).square().mean(dim=(1, 2, 3, 4))
        weights = self.schedule.loss_weights(timesteps, min_snr=self.min_snr)
        return (errors * weights).mean()


def _pipeline(config: DDPMConfig, material: Material) -> StructurePipeline:
    size, n_phases = config.denoiser, len(material.phases)
    denoiser = Denoiser(
        n_phases=n_phases,
        channels=size.channels,
        blocks_per_level=size.blocks_per_level,
        attention_levels=size.attention_levels,
        attention_heads=size.attention_heads,
        stem=size.stem,
        conditions=n_phases if size.told_fractions else 0,
        planar=size.planar,
        linear_window=config.patches.size if size.linear else None,
        timesteps=config.diffusion.timesteps,
    )
    if size.gradient_checkpointing:
        denoiser.gradient_checkpointing = True
    schedule = cosine_schedule(
        timesteps=config.diffusion.timesteps,
        noise_scale=config.diffusion.noise_scale,
        prediction=config.diffusion.prediction_type,
    )
    card = ModelCard(
        kind="diffusion",
        phases=material.phases,
        voxel_size_um=material.voxel_size_um,
        patch=config.patches.size,
        settings={
            "precision": config.training.mixed_precision,
            "fractions": list(material.fractions()),
            "coding": asdict(config.coding),
        },
    )
    return StructurePipeline(denoiser, schedule, card=card)


def _finish(
    config: DDPMConfig,
    pipeline: StructurePipeline,
    material: Material,
    patches: LabelledPatches,
    *,
    training_seconds: float,
) -> dict[str, Any]:
    """Write the model with averaged weights, samples of it, and the summary (last: it marks the run's end)."""
    run, wanted, began = Path(config.out), config.sampling, time.perf_counter()
    if wanted.calibrate:
        pipeline = pipeline.calibrated(
            material.fractions(), count=wanted.calibrate, steps=wanted.steps, seed=config.seed + CALIBRATION_SEED
        )
    with replace_when_complete(run / "model") as temporary:
        pipeline.save_pretrained(temporary)
    samples = pipeline(
        wanted.shape,
        count=wanted.count,
        steps=wanted.steps,
        seed=config.seed,
        settings=WalkSettings(sampler=wanted.sampler),
    )
    write_samples(run / "samples", samples, material)
    write_slices(run / "slices.png", samples, np.stack([patches[i] for i in range(min(4, wanted.count))]))
    return write_summary(
        run / "summary.json",
        samples,
        material,
        step=config.training.steps,
        parameters=sum(p.numel() for p in pipeline.denoiser.parameters()),
        training_seconds=round(training_seconds, 2),
        sampling_seconds=round(time.perf_counter() - began, 2),
    )
