"""Train a denoiser on the patches of one material: any number of processes, resumable to the bit."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import PartialState
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import volume
from generative.configuration import DDPMConfig, MaterialConfig
from generative.denoiser import Denoiser
from generative.patches import LabelledPatches, Material, read_material, signed_one_hot
from generative.pipeline import StructurePipeline
from generative.samples import write_samples, write_slices, write_summary
from generative.scheduling import make_scheduler, training_target
from launch import replace_when_complete
from learn import begin_run
from learn import train as run_loop

__all__ = ["NoisyPatches", "load_material", "train"]

NOISE = 2
# What a resumed run may change: how far it goes, the place where it lies, and what it leaves there.
FREE_KEYS = frozenset({"out", "training.steps", "training.checkpoint_every", "training.log_every"}) | {
    "training.loader_workers", "training.keep_checkpoints",
}  # fmt: skip


class NoisyPatches:
    """The row of training examples: example `index` has its own patch, time and noise, whoever computes it.

    Parameters
    ----------
    patches : LabelledPatches
        Where the clean volumes come from.
    n_phases : int
        Channels of the one-hot volume.
    timesteps : int
        Times are drawn evenly from 0 to `timesteps` − 1.
    """

    def __init__(self, patches: LabelledPatches, *, n_phases: int, timesteps: int) -> None:
        self.patches, self.n_phases, self.timesteps = patches, n_phases, timesteps

    def __call__(self, index: int) -> dict[str, Tensor]:
        """Return ``clean`` and ``noise`` (n, Z, Y, X) and ``timestep`` ()."""
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
    if summary := _finished(config.out, config.training.steps):
        return summary
    torch.manual_seed(config.seed)
    pipeline = _pipeline(config, material)
    done = run_loop(
        pipeline.denoiser,
        NoisyPatches(patches, n_phases=len(material.phases), timesteps=config.diffusion.timesteps),
        DenoisingLoss(pipeline.scheduler),
        settings=config.training,
        folder=config.out,
        stop_at=stop_at,
        export=lambda averaged, folder: pipeline.with_denoiser(averaged).save_pretrained(folder / "model"),
    )
    if done < config.training.steps or not PartialState().is_main_process:
        return {"step": done}
    return _finish(config, pipeline, material, patches)


class DenoisingLoss:
    """Mean squared error of what the network predicts, over all phases and voxels.

    Parameters
    ----------
    scheduler : DDPMScheduler
        The forward process; its ``prediction_type`` says what is predicted.

    References
    ----------
    .. [1] J. Ho, A. Jain, P. Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020, arXiv:2006.11239.
    """

    def __init__(self, scheduler: DDPMScheduler) -> None:
        self.scheduler = scheduler

    def __call__(self, denoiser: torch.nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch of `NoisyPatches`."""
        clean, noise, timesteps = batch["clean"], batch["noise"], batch["timestep"]
        noisy = self.scheduler.add_noise(clean, noise, cast("torch.IntTensor", timesteps))
        target = training_target(self.scheduler, clean=clean, noise=noise, timesteps=timesteps)
        # Half precision is for the network; squares of small differences need the full one.
        return F.mse_loss(denoiser(noisy, timesteps).float(), target.float())


def _pipeline(config: DDPMConfig, material: Material) -> StructurePipeline:
    size = config.denoiser
    denoiser = Denoiser(
        n_phases=len(material.phases),
        channels=size.channels,
        blocks_per_level=size.blocks_per_level,
        attention_levels=size.attention_levels,
        attention_heads=size.attention_heads,
        stem=size.stem,
    )
    diffusion = config.diffusion
    return StructurePipeline(
        denoiser,
        make_scheduler(timesteps=diffusion.timesteps, prediction_type=diffusion.prediction_type),
        phases=material.phases,
        voxel_size_um=material.voxel_size_um,
        patch=config.patches.size,
    )


def _finish(
    config: DDPMConfig, pipeline: StructurePipeline, material: Material, patches: LabelledPatches
) -> dict[str, Any]:
    """Write the model with averaged weights, samples of it, and the summary (last: it marks the run's end)."""
    run, wanted, began = Path(config.out), config.sampling, time.perf_counter()
    with replace_when_complete(run / "model") as temporary:
        pipeline.save_pretrained(temporary)
    samples = pipeline(wanted.shape, count=wanted.count, steps=wanted.steps, seed=config.seed, sampler=wanted.sampler)
    write_samples(run / "samples", samples, material)
    write_slices(run / "slices.png", samples, np.stack([patches[i] for i in range(min(4, wanted.count))]))
    return write_summary(
        run / "summary.json",
        samples,
        material,
        step=config.training.steps,
        parameters=sum(p.numel() for p in pipeline.denoiser.parameters()),
        sampling_seconds=round(time.perf_counter() - began, 2),
    )


def _finished(run: Path, steps: int) -> dict[str, Any] | None:
    """Return the summary of a run that has already gone this far."""
    path = run / "summary.json"
    if not path.is_file() or not (run / "model").is_dir():
        return None
    summary = json.loads(path.read_text(encoding="utf-8"))
    return {**summary, "already_finished": True} if summary["step"] >= steps else None
