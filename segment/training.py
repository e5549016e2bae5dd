"""Training of one stage of the segmenter from a corpus, and its calibration on volumes set aside."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from launch import ConfigError
from learn import LoopSettings, begin_run, this_process, train
from segment.losses import CrossEntropyDice
from segment.networks import UNet
from segment.samples import RandomCrops
from segment.segmenter import Segmenter, load, normalise, predict_slices, stack_channels
from volume import Corpus

__all__ = ["NetworkSettings", "TrainingConfig", "train_stage"]

# What a resumed run may change without becoming another run.
FREE_KEYS = frozenset({"out", "loop.checkpoint_every", "loop.log_every", "loop.loader_workers"})


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """Size of a U-Net: channels of its first level and how often the resolution is halved."""

    width: int = 16
    depth: int = 3

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1:
            raise ValueError(f"width is {self.width} and depth {self.depth}; give whole numbers above 0")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a training run.

    Parameters
    ----------
    corpus : Path
        Folder of the corpus.
    out : Path
        Run folder: record, log, checkpoints and, in the end, ``segmenter``.
    stage : {"slices", "refine"}
        ``slices`` trains the 2-D network on single slices; ``refine`` the 3-D network on their stack.
    slices_model : str or None
        For ``refine``: the trained first stage, as `segment.load` takes it.
    validation : int
        How many volumes at the corpus's end training leaves out; the porosity interval is calibrated on them.
    crop : tuple of int
        Size of a training sample: (y, x) for ``slices``, (z, y, x) for ``refine``.
    dice_weight : float
        Weight of the Dice loss beside cross-entropy.
    seed : int
        Of the first weights and of the samples.
    network : NetworkSettings
        Size of the network.
    loop : LoopSettings
        Steps, batch, learning rate and so on.
    """

    corpus: Path
    out: Path
    stage: Literal["slices", "refine"] = "slices"
    slices_model: str | None = None
    validation: int = 2
    crop: tuple[int, ...] = (96, 96)
    dice_weight: float = 1.0
    seed: int = 0
    network: NetworkSettings = NetworkSettings()
    loop: LoopSettings = LoopSettings()

    def __post_init__(self) -> None:
        wanted = 2 if self.stage == "slices" else 3
        if len(self.crop) != wanted:
            raise ConfigError(f"crop is {list(self.crop)}; stage '{self.stage}' takes {wanted} numbers")
        if any(side < 1 or side % 2**self.network.depth for side in self.crop):
            raise ConfigError(
                f"crop is {list(self.crop)}; with network.depth {self.network.depth} its sides must be multiples of "
                f"{2**self.network.depth}"
            )
        if (self.stage == "refine") == (self.slices_model is None):
            raise ConfigError(
                "stage 'refine' needs slices_model, the folder of a trained first stage; 'slices' has none"
            )
        if self.validation < 0:
            raise ConfigError(f"validation is {self.validation}; give 0 or more volumes to set aside")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; give a whole number, 0 or more")
        if not self.dice_weight >= 0:
            raise ConfigError(f"dice_weight is {self.dice_weight}; give 0 or more")


def train_stage(config: TrainingConfig) -> Segmenter:
    """Train one stage, or go on where a run in the same folder stopped.

    Parameters
    ----------
    config : TrainingConfig
        What to train, on what, for how long.

    Returns
    -------
    Segmenter
        With the stages trained so far; it is also written to ``<out>/segmenter``.

    Raises
    ------
    ValueError
        If the corpus is missing or too small, names no phases or others than the first stage, or a volume is
        smaller than the crop.
    """
    corpus = Corpus(config.corpus)
    n_train = len(corpus) - config.validation
    if n_train < 1:
        raise ValueError(
            f"the corpus '{config.corpus}' has {len(corpus)} volumes and validation sets {config.validation} aside; "
            "make a larger corpus or set fewer aside"
        )
    first = _first_stage(config)
    phases = _phases(corpus, first)
    images, labels = [], []
    for index in range(n_train):
        sample = corpus[index]
        images.append(_network_input(normalise(np.asarray(sample.grey)), first))
        labels.append(np.asarray(sample.labels))
    crops = RandomCrops(images, labels, crop=config.crop, seed=config.seed)
    begin_run(config.out, config, seed=config.seed, may_differ=FREE_KEYS)
    model = _fresh_network(config, n_phases=len(phases))
    criterion = CrossEntropyDice(config.dice_weight)
    train(
        model,
        crops,
        lambda network, batch: criterion(network(batch["image"]), batch["labels"]),
        settings=config.loop,
        folder=config.out,
    )
    model.cpu()
    slices, refine = (model, None) if first is None else (first.slices, model)
    segmenter = Segmenter(slices, refine, phases, set_aside=config.validation)
    if this_process().is_main_process:
        held_out = [corpus[index] for index in range(n_train, len(corpus))]
        segmenter = calibrate(segmenter, held_out)
        segmenter.save(config.out / "segmenter")
    return segmenter


def calibrate(segmenter: Segmenter, samples: list[Any]) -> Segmenter:
    """Return `segmenter` with its porosity errors on volumes that training never saw."""
    errors = []
    for sample in samples:
        truth = float(np.mean(np.asarray(sample.labels) == 0))
        errors.append(segmenter.predict(sample.grey).porosity - truth)
    return dataclasses.replace(segmenter, porosity_errors=tuple(errors))


def _first_stage(config: TrainingConfig) -> Segmenter | None:
    if config.slices_model is None:
        return None
    first = load(config.slices_model)
    if first.set_aside is not None and first.set_aside < config.validation:
        raise ValueError(
            f"validation is {config.validation}, but the first stage set only {first.set_aside} volumes aside and has "
            f"learnt from the others; give validation at most {first.set_aside}, or train the first stage anew"
        )
    return first


def _phases(corpus: Corpus, first: Segmenter | None) -> tuple[str, ...]:
    """Return the names of the phases, the same in every volume and in the first stage."""
    found = {tuple(entry["phases"] or ()) for entry in corpus.entries}
    if first is not None:
        found.add(first.phases)
    if len(found) > 1:
        listed = " and ".join(str(list(names)) for names in sorted(found))
        raise ValueError(
            f"the volumes of '{corpus.folder}' and the first stage must have the same phases, not {listed}"
        )
    (phases,) = found
    if not phases:
        raise ValueError(f"the labels in '{corpus.folder}' name no phases; write them as Volume(labels, phases=…)")
    return phases


def _network_input(grey: np.ndarray, first: Segmenter | None) -> np.ndarray:
    if first is None:
        return grey[None]
    return stack_channels(predict_slices(first.slices, grey), grey)


def _fresh_network(config: TrainingConfig, *, n_phases: int) -> UNet:
    torch.manual_seed(config.seed)
    flat = config.stage == "slices"
    return UNet(
        dims=2 if flat else 3,
        in_channels=1 if flat else n_phases + 1,
        n_phases=n_phases,
        width=config.network.width,
        depth=config.network.depth,
        refines=not flat,
    )
