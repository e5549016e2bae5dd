"""Train an adversarial pair on one material: any number of processes, resumable to the bit."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import volume
from generative.configuration import MaterialConfig
from generative.loading import ModelCard
from generative.patches import LabelledPatches, Material, read_material
from generative.rivals.adversarial import AdversarialPipeline
from generative.rivals.critics import Critic
from generative.rivals.dcgan import DCGAN, VolumesAndLatents, dcgan_generator, dcgan_turns
from generative.rivals.gan_configuration import GANConfig, MicrographConfig
from generative.rivals.slicegan import PlaneCrops, PlanesAndLatents, SliceGAN, slicegan_generator, slicegan_turns
from generative.samples import finished_summary, write_samples, write_slices, write_summary
from launch import replace_when_complete
from learn import Turn, begin_run, this_process
from learn import train as run_loop

__all__ = ["read_micrographs", "train"]

# Real images or volumes in the picture of the samples.
SHOWN = 4
# Of the volumes that are watched: the same latents each time, so that only the network changes.
WATCH_SEED = 2**31 + 1
# What a resumed run may change: how far it goes, the place where it lies, and what it leaves there.
FREE_KEYS = frozenset({"out", "training.steps", "training.checkpoint_every", "training.log_every"}) | {
    "training.loader_workers", "training.keep_checkpoints", "training.monitor_every", "sampling.watched",
}  # fmt: skip


def train(config: GANConfig, *, stop_at: int | None = None) -> dict[str, Any]:
    """Train until ``training.steps``, going on from the newest checkpoint in ``config.out``, and make samples.

    The run folder gets ``run.json`` (configuration, seed, versions), ``metrics.jsonl`` (step, the loss of each player,
    seconds), ``checkpoints/``, and at the end ``model/``, ``samples/``, ``slices.png`` and ``summary.json``.
    A run that was killed and started again ends, on a CPU, with the very weights of one that was not.

    Parameters
    ----------
    config : GANConfig
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
        If the material, the folder or the configuration cannot be used, a loss is no longer finite, or memory runs out.
    """
    material, planes = _source(config)
    game = _game(config, material, planes)
    begin_run(config.out, config, seed=config.seed, may_differ=FREE_KEYS)
    if summary := finished_summary(config.out, config.training.steps):
        return summary
    done = run_loop(
        game.model,
        game.sample,
        game.turns,
        settings=config.training,
        folder=config.out,
        stop_at=stop_at,
        export=lambda averaged, folder: game.pipeline(averaged).save_pretrained(folder / "model"),
        monitor=lambda averaged, step: _errors(config, game.pipeline(averaged), material),
    )
    if done < config.training.steps or not this_process().is_main_process:
        return {"step": done}
    return _finish(config, game, material)


def read_micrographs(config: MicrographConfig) -> tuple[Material, list[NDArray[np.uint8]]]:
    """Read labelled images.

    Returns
    -------
    Material
        All pixels of all images in a row, ``(1, 1, N)``, for their phases and fractions.
    list of three ndarrays of uint8
        The planes normal to z, y and x as ``(Z, Y, X)`` labels whose normal counts the pages.

    Raises
    ------
    ValueError
        If a file cannot be read, holds no labels from 0 without gaps, or another number of phases than the first.
    """
    found = [read_material(volume.read(path), phases=config.phases) for path in config.images]
    for path, one in zip(config.images, found, strict=True):
        if len(one.phases) != len(found[0].phases):
            raise ValueError(
                f"'{path}' holds {len(one.phases)} phases and '{config.images[0]}' {len(found[0].phases)}; "
                "every image must show all phases"
            )
    stacks = [one.labels for one in found]
    z, y, x = (stacks[min(axis, len(stacks) - 1)] for axis in range(3))
    row = np.concatenate([stack.ravel() for stack in stacks])[None, None]
    return Material(row, found[0].phases, config.voxel_size_um), [z, y.transpose(1, 0, 2), x.transpose(1, 2, 0)]


def _source(config: GANConfig) -> tuple[Material, list[NDArray[np.uint8]]]:
    """Return the material, and what the planes normal to each axis are cut from."""
    if config.micrographs is not None:
        return read_micrographs(config.micrographs)
    from generative.training import load_material

    # GANConfig sees to it that one of the two is given.
    material = load_material(cast(MaterialConfig, config.material), seed=config.seed)
    return material, [material.labels] * 3


@dataclass(frozen=True)
class _Game:
    """The players, what they see, their turns, and a few real images or volumes to show beside theirs."""

    model: DCGAN | SliceGAN
    sample: Callable[[int], dict[str, Tensor]]
    turns: Sequence[Turn]
    card: ModelCard
    shown: NDArray[np.uint8]

    def pipeline(self, model: Any) -> AdversarialPipeline:
        """Return what makes volumes with the generator of `model`, which stops learning thereby."""
        return AdversarialPipeline(model.generator, self.card)


def _game(config: GANConfig, material: Material, planes: Sequence[NDArray[np.uint8]]) -> _Game:
    """Build everything that learns, its first weights from the seed."""
    torch.manual_seed(config.seed)
    card = ModelCard(
        kind=config.method,
        phases=material.phases,
        voxel_size_um=material.voxel_size_um,
        patch=config.patches.size,
        settings={"steps": config.training.steps, "seed": config.seed},
    )
    build = _dcgan_game if config.method == "dcgan" else _slicegan_game
    return build(config, card, planes)


def _dcgan_game(config: GANConfig, card: ModelCard, planes: Sequence[NDArray[np.uint8]]) -> _Game:
    n, chosen, cut = len(card.phases), config.dcgan, config.patches
    patches = LabelledPatches(planes[0], size=cut.size, stride=cut.stride, symmetry=cut.symmetry, seed=config.seed)
    size = config.generator
    generator = dcgan_generator(n, latent_channels=size.latent_channels, widths=size.widths)
    return _Game(
        DCGAN(generator, Critic(n, chosen.widths, dims=3, normalised=True)),
        VolumesAndLatents(patches, generator),
        dcgan_turns(n, real_label=chosen.real_label, discriminator_rate=chosen.learning_rate, betas=chosen.betas),
        card,
        np.stack([patches[i] for i in range(SHOWN)]),
    )


def _slicegan_game(config: GANConfig, card: ModelCard, planes: Sequence[NDArray[np.uint8]]) -> _Game:
    n, chosen, cut = len(card.phases), config.slicegan, config.patches
    crops = PlaneCrops(planes, size=cut.size, stride=cut.stride, symmetry=cut.symmetry, seed=config.seed)
    size = config.generator
    generator = slicegan_generator(n, latent_channels=size.latent_channels, widths=size.widths)
    critics = [
        Critic(n, chosen.widths, dims=2, normalised=False) for _ in range(1 if chosen.critics == "shared" else 3)
    ]
    return _Game(
        SliceGAN(generator, critics),
        PlanesAndLatents(crops, generator, slices=chosen.slices),
        slicegan_turns(
            n,
            penalty=chosen.penalty,
            critic_steps=chosen.critic_steps,
            critic_rate=chosen.learning_rate,
            betas=chosen.betas,
        ),
        card,
        np.stack([crops(0, i) for i in range(SHOWN)])[:, None],
    )


def _errors(config: GANConfig, pipeline: AdversarialPipeline, material: Material) -> Mapping[str, float]:
    # Only here, so that a training run starts without what it measures with.
    from generative.monitor import material_errors

    samples = pipeline(config.sampling.shape, count=config.sampling.watched, seed=WATCH_SEED)
    return material_errors(samples, material)


def _finish(config: GANConfig, game: _Game, material: Material) -> dict[str, Any]:
    """Write the model with averaged weights, samples of it, and the summary (last: it marks the run's end)."""
    run, wanted = Path(config.out), config.sampling
    pipeline = game.pipeline(game.model)
    with replace_when_complete(run / "model") as temporary:
        pipeline.save_pretrained(temporary)
    began = time.perf_counter()
    samples = pipeline(wanted.shape, count=wanted.count, seed=config.seed)
    sampling_seconds = round(time.perf_counter() - began, 2)
    write_samples(run / "samples", samples, material)
    write_slices(run / "slices.png", samples, game.shown)
    return write_summary(
        run / "summary.json",
        samples,
        material,
        step=config.training.steps,
        method=config.method,
        parameters=sum(p.numel() for p in pipeline.generator.parameters()),
        sampling_seconds=sampling_seconds,
    )
