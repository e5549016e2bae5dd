"""Training of one stage of the segmenter from a corpus, and its calibration on volumes set aside."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from launch import ConfigError
from learn import LoopSettings, begin_run, this_process, train
from segment.losses import build_loss
from segment.networks import Network, build_network
from segment.preprocessing import Preprocessing, PreprocessingKind
from segment.samples import RandomCrops
from segment.segmenter import Segmenter, load, predict_first, stack_channels
from segment.trust import Domain, fit_temperature, image_statistics
from volume import Corpus

__all__ = ["LossSettings", "NetworkSettings", "SampleSettings", "TrainingConfig", "train_stage"]

# Pictures that are needed to know others from them, and no more of them than can be compared in seconds; pixels that a
# slice must have along each side to be measured.
FEWEST_PICTURES, MOST_PICTURES, SMALLEST_SLICE = 19, 1000, 24
LEAST_PROBABILITY = 1e-30
# What a resumed run may change without becoming another run.
FREE_KEYS = frozenset({"out", "loop.checkpoint_every", "loop.log_every", "loop.loader_workers"})


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """Which network, and how large.

    Parameters
    ----------
    name : str
        One of `segment.networks.NETWORKS`; the refinement takes ``unet`` alone.
    size : dict
        Keywords of that network, such as ``width`` and ``depth``.
    """

    name: str = "unet"
    size: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """Which loss; see `segment.losses.build_loss`.

    Parameters
    ----------
    name : str
        One of `segment.losses.LOSSES`.
    settings : dict
        Keywords of that loss, such as ``gamma``.
    """

    name: str = "cross-entropy+dice"
    settings: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SampleSettings:
    """How crops are drawn and changed; see `segment.samples.RandomCrops`.

    Parameters
    ----------
    aware : float
        Share of the crops, 0 to 1, that are centred so that thin parts are seen as often as wide ones.
    mirrored : int or None
        Voxels that a crop may reach beyond the volume, mirrored; 0 only fills up volumes that are too small.
    strength : float
        0 to 1: how much is done to the grey values, so that the network does not rely on one instrument.
    """

    aware: float = 0.0
    mirrored: int | None = None
    strength: float = 0.0


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a training run.

    Parameters
    ----------
    corpus : Path
        Folder of the corpus.
    out : Path
        Run folder: record, log, checkpoints and, in the end, ``segmenter``.
    stage : {"slices", "blocks", "refine"}
        ``slices`` trains a 2-D network on single slices, ``blocks`` a 3-D network on grey values; ``refine`` the 3-D
        network that refines what either says.
    first_stage : str or None
        For ``refine``: the trained first stage, as `segment.load` takes it.
    validation : int
        How many volumes at the corpus's end training leaves out; the porosity interval is calibrated on them.
    crop : tuple of int
        Size of a training sample: (y, x) for ``slices``, (z, y, x) for the others.
    neighbours : int
        For ``slices``: how many slices on both sides the network sees too (2.5-D).
    preprocessing : {"percentile", "none", "stretch", "equalise"}
        Of the grey values; the refinement takes over the first stage's.
    seed : int
        Of the first weights and of the samples.
    network : NetworkSettings
        Which, and its size.
    loss : LossSettings
        What is minimised.
    samples : SampleSettings
        How crops are drawn.
    loop : LoopSettings
        Steps, batch, learning rate and so on.
    """

    corpus: Path
    out: Path
    stage: Literal["slices", "blocks", "refine"] = "slices"
    first_stage: str | None = None
    validation: int = 2
    crop: tuple[int, ...] = (96, 96)
    neighbours: int = 0
    preprocessing: PreprocessingKind = "percentile"
    seed: int = 0
    network: NetworkSettings = NetworkSettings()
    loss: LossSettings = LossSettings()
    samples: SampleSettings = SampleSettings()
    loop: LoopSettings = LoopSettings()

    def __post_init__(self) -> None:
        wanted = 2 if self.stage == "slices" else 3
        if len(self.crop) != wanted:
            raise ConfigError(f"crop is {list(self.crop)}; stage '{self.stage}' takes {wanted} numbers")
        if (self.stage == "refine") == (self.first_stage is None):
            raise ConfigError(
                f"stage is '{self.stage}' and first_stage {self.first_stage!r}; 'refine' needs first_stage, the folder "
                "of a trained first stage, and the others have none"
            )
        if self.stage == "refine" and self.network.name != "unet":
            raise ConfigError(f"network.name is '{self.network.name}'; stage 'refine' takes 'unet'")
        if self.neighbours < 0 or (self.neighbours and self.stage != "slices"):
            raise ConfigError(f"neighbours is {self.neighbours}; give 0, or more with stage 'slices'")
        if self.validation < 0:
            raise ConfigError(f"validation is {self.validation}; give 0 or more volumes to set aside")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; give a whole number, 0 or more")
        # Refused here, before anything is read or written.
        factor = fresh_network(self, n_phases=2).factor
        if any(side < 1 or side % factor for side in self.crop):
            raise ConfigError(f"crop is {list(self.crop)}; its sides must be multiples of {factor} for this network")
        build_loss(self.loss.name, **self.loss.settings)


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
    preprocessing = Preprocessing(config.preprocessing) if first is None else first.preprocessing
    images, labels = [], []
    for index in range(n_train):
        sample = corpus[index]
        images.append(_network_input(np.asarray(sample.grey), first, preprocessing))
        labels.append(np.asarray(sample.labels))
    crops = RandomCrops(
        images,
        labels,
        crop=config.crop,
        seed=config.seed,
        neighbours=config.neighbours,
        **dataclasses.asdict(config.samples),
    )
    begin_run(config.out, config, seed=config.seed, may_differ=FREE_KEYS)
    model = fresh_network(config, n_phases=len(phases))
    criterion = build_loss(config.loss.name, **config.loss.settings)
    train(
        model,
        crops,
        lambda network, batch: criterion(network(batch["image"]), batch["labels"]),
        settings=config.loop,
        folder=config.out,
    )
    model.cpu()
    segmenter = Segmenter(
        model if first is None else first.first,
        None if first is None else model,
        phases,
        set_aside=config.validation,
        preprocessing=preprocessing,
    )
    if this_process().is_main_process:
        held_out = [corpus[index] for index in range(n_train, len(corpus))]
        segmenter = dataclasses.replace(
            calibrate(segmenter, held_out),
            domain=domain_of(np.asarray(corpus[index].grey) for index in range(len(corpus))),
        )
        segmenter.save(config.out / "segmenter")
    return segmenter


def calibrate(segmenter: Segmenter, samples: Sequence[Any]) -> Segmenter:
    """Return `segmenter` with its porosity errors and its temperature on volumes that training never saw."""
    if not samples:
        return segmenter
    raw = dataclasses.replace(segmenter, temperature=1.0, domain=None)
    found = [raw.predict(sample.grey) for sample in samples]
    truths = [np.asarray(sample.labels) for sample in samples]
    errors = [one.porosity - float(np.mean(truth == 0)) for one, truth in zip(found, truths, strict=True)]
    logits = [np.log(np.maximum(one.probability, LEAST_PROBABILITY)) for one in found]
    temperature = fit_temperature(list(zip(logits, truths, strict=True))).temperature
    return dataclasses.replace(segmenter, porosity_errors=tuple(errors), temperature=temperature)


def domain_of(greys: Iterable[Any]) -> Domain | None:
    """Return what pictures look like, if there are enough of them, and large ones, to know others from them."""
    measured = [image_statistics(grey) for grey in greys if min(grey.shape[1:]) >= SMALLEST_SLICE]
    return Domain.fit(measured[:MOST_PICTURES]) if len(measured) >= FEWEST_PICTURES else None


def _first_stage(config: TrainingConfig) -> Segmenter | None:
    if config.first_stage is None:
        return None
    first = load(config.first_stage)
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


def _network_input(grey: np.ndarray, first: Segmenter | None, preprocessing: Preprocessing) -> np.ndarray:
    """Return ``(C, Z, Y, X)``: grey values as the network sees them, after the first stage's answer if there is one."""
    seen = preprocessing.apply(grey, preprocessing.measure(grey))[None]
    if first is None:
        return seen
    slabs = predict_first(first.first, iter([seen]), shape=grey.shape)
    return stack_channels(np.concatenate(list(slabs), axis=1), seen)


def fresh_network(config: TrainingConfig, *, n_phases: int) -> Network:
    """Return the untrained network of a run."""
    torch.manual_seed(config.seed)
    refines = {"refines": True} if config.stage == "refine" else {}
    channels = n_phases + 1 if refines else 2 * config.neighbours + 1
    return build_network(
        config.network.name,
        dims=2 if config.stage == "slices" else 3,
        in_channels=channels,
        n_phases=n_phases,
        **config.network.size,
        **refines,
    )
