"""Training of one stage of the segmenter from a corpus, and its calibration on volumes set aside."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import init_empty_weights

from launch import ConfigError
from learn import LoopSettings, begin_run, this_process, train
from segment.crops import PlainCrops
from segment.losses import IGNORED, Loss, build_loss
from segment.monitor import VALIDATION_LOSS, ValidationMonitor
from segment.networks import Network, build_network
from segment.preprocessing import Preprocessing, PreprocessingKind
from segment.samples import ORIENTATIONS, RandomCrops, check_crop_fits
from segment.segmenter import Segmenter, is_undecided, load, stack_channels
from segment.trust import Domain, apply_temperature, fit_temperature, image_statistics
from volume import Corpus, Sample, Volume

__all__ = ["LossSettings", "NetworkSettings", "SampleSettings", "TrainingConfig", "train_stage"]

# Pictures that are needed to know others from them, and no more of them than can be compared in seconds; pixels that a
# slice must have along each side to be measured.
FEWEST_PICTURES, MOST_PICTURES, SMALLEST_SLICE = 19, 1000, 24
LEAST_PROBABILITY = 1e-30
# Voxels that the temperature is found from, about.
MOST_VOXELS = 2e7
# Of the crops that are watched.
WATCH_SEED = 2**31 + 1
# What a resumed run may change without becoming another run, unless the learning rate falls by the lines of the log.
FREE_KEYS = frozenset({"out", "multiplanar", "loop.checkpoint_every", "loop.log_every", "loop.loader_workers"})


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
    zoom : float
        Up to how many times a slice is enlarged, so that the network meets pores larger than those of its corpus; at 1
        none is. For ``slices`` with augmentation ``full``.
    stride : int
        Up to which step neighbours, or the slices of a block, are taken, for stacks of thick slices; 1 takes each. With
        augmentation ``full``.
    alone : float
        Share of the crops whose neighbouring slices are copies of the slice itself, for pictures that do not follow on
        one another. With augmentation ``full``.
    turned : bool
        Whether each crop is cut in one of its volume's six orientations: either end of any axis first. Volumes set
        aside, and those of a refinement, whose first stage sees them along z, lie in one each, drawn from the seed.
        For tomograms of what may lie in any way; the z of a FIB-SEM is like no other axis.
    strength : float
        0 to 1: how much is done to the grey values, so that the network does not rely on one instrument.
    augmentation : {"full", "flips", "none"}
        ``full`` mirrors and turns crops within the slice and changes their grey values; ``flips`` mirrors them along
        each axis, z of blocks among them, and ``none`` leaves them as they are.
    """

    aware: float = 0.0
    mirrored: int | None = None
    zoom: float = 1.0
    stride: int = 1
    alone: float = 0.0
    turned: bool = False
    strength: float = 0.0
    augmentation: Literal["full", "flips", "none"] = "full"

    def __post_init__(self) -> None:
        if self.augmentation == "full":
            return
        for name, nothing in (("strength", 0), ("zoom", 1), ("stride", 1), ("alone", 0)):
            if getattr(self, name) != nothing:
                raise ConfigError(
                    f"samples.{name} is {getattr(self, name)} and samples.augmentation '{self.augmentation}', which "
                    f"leaves grey values alone; give {name} {nothing}, or augmentation 'full'"
                )


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a training run.

    Parameters
    ----------
    corpus : Path or tuple of Path
        Folder of the corpus, or of several: other materials, other instruments. Each volume is as likely to be drawn.
    out : Path
        Run folder: record, log, checkpoints and, in the end, ``segmenter``.
    stage : {"slices", "blocks", "refine"}
        ``slices`` trains a 2-D network on single slices, ``blocks`` a 3-D network on grey values; ``refine`` the 3-D
        network that refines what either says.
    first_stage : str or None
        For ``refine``: the trained first stage, as `segment.load` takes it.
    start : str or None
        A segmenter, as `segment.load` takes it, whose network of this stage training begins with, instead of random
        weights: the same kind and size, of as many phases. On the same corpora keep `validation`: what it has learnt
        from tells nothing when it is set aside.
    validation : int
        How many volumes at the end of each corpus training leaves out; the porosity interval is calibrated on them.
    fold : (int, int) or None
        (k, n), k from 0: it leaves out the k-th of n equal parts of each corpus instead, for cross-validation.
    validation_crops : int
        On how many crops of the volumes left out the monitor measures loss and mean IoU, where ``loop.monitor_every``
        is set; as ``validation_loss`` that may be ``loop.plateau_on``.
    phases : tuple of str or None
        Names to give to the phases, where corpora name them differently or tell more apart: every label beyond the
        last name becomes the last phase. A corpus may lack the last of them, if it names the others as here. With None
        all corpora must have the same names, and these are taken.
    multiplanar : bool
        For ``slices``: whether the trained network looks along all three axes of a volume, and the mean of its answers
        counts. Only calibration and what comes after it change, not the training.
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

    corpus: Path | tuple[Path, ...]
    out: Path
    stage: Literal["slices", "blocks", "refine"] = "slices"
    first_stage: str | None = None
    start: str | None = None
    validation: int = 2
    fold: tuple[int, int] | None = None
    validation_crops: int = 32
    phases: tuple[str, ...] | None = None
    crop: tuple[int, ...] = (96, 96)
    neighbours: int = 0
    multiplanar: bool = False
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
        if self.multiplanar and self.stage != "slices":
            raise ConfigError(f"multiplanar is set with stage '{self.stage}'; it is for 'slices', leave it out")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; give a whole number, 0 or more")
        self._check_data()
        # Refused here, before anything is read or written.
        with init_empty_weights():
            factor = fresh_network(self, n_phases=2).factor
        if any(side < 1 or side % factor for side in self.crop):
            raise ConfigError(f"crop is {list(self.crop)}; its sides must be multiples of {factor} for this network")
        build_loss(self.loss.name, **self.loss.settings)

    def _check_data(self) -> None:
        if not self.corpora:
            raise ConfigError("corpus is an empty list; give at least one folder")
        if self.validation < 0:
            raise ConfigError(f"validation is {self.validation}; give 0 or more volumes to set aside")
        if self.fold is not None and not 0 <= self.fold[0] < self.fold[1]:
            raise ConfigError(f"fold is {list(self.fold)}; give [k, n] with k from 0 to n - 1")
        if self.phases is not None and (len(set(self.phases)) < 2 or len(set(self.phases)) < len(self.phases)):
            raise ConfigError(f"phases are {list(self.phases)}; give two names or more, all different")
        if self.validation_crops < 1:
            raise ConfigError(f"validation_crops is {self.validation_crops}; give 1 or more")
        if self.loop.monitor_every and not (self.validation or self.fold):
            raise ConfigError("loop.monitor_every is set, but no volumes are set aside; set validation or fold")
        if self.loop.schedule == "plateau" and self.loop.plateau_on not in ("loss", VALIDATION_LOSS):
            raise ConfigError(f"loop.plateau_on is '{self.loop.plateau_on}'; give 'loss' or '{VALIDATION_LOSS}'")

    @property
    def corpora(self) -> tuple[Path, ...]:
        """Folders of the corpora."""
        return (self.corpus,) if isinstance(self.corpus, Path) else self.corpus

    @property
    def free_keys(self) -> frozenset[str]:
        """Settings that a resumed run may change without becoming another run."""
        counts_lines = self.loop.schedule == "plateau" and self.loop.plateau_on == "loss"
        return FREE_KEYS - {"loop.log_every"} if counts_lines else FREE_KEYS

    @property
    def aside(self) -> Any:
        """What is set aside: a number of volumes at each corpus's end, or a fold."""
        return self.validation if self.fold is None else self.fold

    def set_aside(self, count: int) -> range:
        """Return which volumes of a corpus of `count` training leaves out."""
        if self.fold is None:
            return range(count - self.validation, count)
        k, n = self.fold
        return range(k * count // n, (k + 1) * count // n)


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
        If a corpus is missing or too small, names no phases or others than the first stage, the first stage has learnt
        from what is to be set aside, a volume is smaller than the crop, or the machine cannot do what is asked for.
    """
    config.loop.check_machine()
    first = _first_stage(config)
    corpora = [Corpus(folder) for folder in config.corpora]
    phases = _phases(corpora, config, first)
    learnt, held_out = _volumes(corpora, config, phases)
    if config.samples.mirrored is None:
        # Before a first stage segments all of them.
        for corpus, index in learnt.places:
            for axes in ORIENTATIONS if config.samples.turned else ORIENTATIONS[:1]:
                check_crop_fits(config.crop, [corpus.entries[index]["shape"][axis] for axis in axes])
    preprocessing = Preprocessing(config.preprocessing) if first is None else first.preprocessing
    crops = _crops(config, *_inputs(learnt, first, preprocessing))
    criterion = build_loss(config.loss.name, **config.loss.settings)
    monitor = None
    if config.loop.monitor_every:
        inputs = _inputs(held_out, first, preprocessing)
        monitor = _monitor(config, inputs, criterion=criterion, n_phases=len(phases))
    model = first_weights(config, n_phases=len(phases))
    begin_run(config.out, config, seed=config.seed, may_differ=config.free_keys)
    train(
        model,
        crops,
        lambda network, batch: criterion(network(batch["image"]), batch["labels"]),
        settings=config.loop,
        folder=config.out,
        monitor=monitor,
    )
    segmenter = Segmenter(
        model if first is None else first.first,
        None if first is None else model,
        phases,
        set_aside=config.aside,
        preprocessing=preprocessing,
        turned=config.samples.turned and (first is None or first.turned),
        multiplanar=config.multiplanar if first is None else first.multiplanar,
    )
    return _finished(segmenter, held_out, corpora=corpora, config=config)


def _finished(
    segmenter: Segmenter, held_out: Sequence[Sample], *, corpora: Sequence[Corpus], config: TrainingConfig
) -> Segmenter:
    """Return the segmenter on the CPU; in the main process calibrated, where it was trained, and saved."""
    is_main = this_process().is_main_process
    if is_main:
        segmenter = calibrate(segmenter, held_out)
    segmenter.first.cpu()
    if segmenter.refine is not None:
        segmenter.refine.cpu()
    if is_main:
        segmenter = dataclasses.replace(segmenter, domain=domain_of(_pictures(corpora, turned=config.samples.turned)))
        segmenter.save(config.out / "segmenter")
    return segmenter


def _pictures(corpora: Sequence[Corpus], *, turned: bool) -> Iterator[np.ndarray]:
    """Yield the grey values of every volume, in each way in which the training has it lie."""
    for corpus in corpora:
        for sample in corpus:
            for axes in ORIENTATIONS if turned else ORIENTATIONS[:1]:
                yield np.ascontiguousarray(np.asarray(sample.grey).transpose(axes))


def calibrate(segmenter: Segmenter, samples: Sequence[Any]) -> Segmenter:
    """Return `segmenter` with its porosity errors and its temperature on volumes that training never saw."""
    if not len(samples):
        return segmenter
    raw = dataclasses.replace(segmenter, temperature=1.0, domain=None)
    errors, seen = [], []
    for sample in samples:
        found, truth = raw.predict(sample.grey), np.asarray(sample.labels)
        errors.append(found.porosity - float(np.mean(truth == 0)))
        # Planes enough; all of many large volumes would not fit into memory.
        thin = slice(None, None, math.ceil(truth.size * len(samples) / MOST_VOXELS))
        seen.append((np.log(np.maximum(found.probability[:, thin], LEAST_PROBABILITY)), truth[thin]))
    temperature = fit_temperature(seen).temperature
    undecided = (is_undecided(apply_temperature(np.exp(logits), temperature)).mean() for logits, _ in seen)
    return dataclasses.replace(
        segmenter,
        porosity_errors=tuple(errors),
        undecided=tuple(float(share) for share in undecided),
        temperature=temperature,
    )


def domain_of(greys: Iterable[Any]) -> Domain | None:
    """Return what pictures look like, if there are enough of them, and large ones, to know others from them."""
    measured = [image_statistics(grey) for grey in greys if min(grey.shape[1:]) >= SMALLEST_SLICE]
    return Domain.fit(measured[:MOST_PICTURES]) if len(measured) >= FEWEST_PICTURES else None


def _first_stage(config: TrainingConfig) -> Segmenter | None:
    if config.first_stage is None:
        return None
    first = load(config.first_stage)
    if first.set_aside is not None:
        _check_set_aside(first.set_aside, config)
    first.first.to(this_process().device)
    return dataclasses.replace(first, precision="bfloat16" if config.loop.mixed_precision == "bf16" else "float32")


def _check_set_aside(before: Any, config: TrainingConfig) -> None:
    """Refuse to set volumes aside that the first stage, which set a number or a fold aside, has learnt from."""
    if isinstance(before, int) and config.fold is None:
        if before < config.validation:
            raise ValueError(
                f"validation is {config.validation}, but the first stage set only {before} volumes aside and has "
                f"learnt from the others; give validation at most {before}, or train the first stage anew"
            )
    # A file knows no tuples.
    elif isinstance(before, int) or config.fold is None or list(before) != list(config.fold):
        now = f"validation is {config.validation}" if config.fold is None else f"fold is {list(config.fold)}"
        known = f"validation {before}" if isinstance(before, int) else f"fold {list(before)}"
        raise ValueError(
            f"{now}, but the first stage was trained with {known} and has learnt from the other volumes; give the "
            "same, or train the first stage anew"
        )


def _phases(corpora: Sequence[Corpus], config: TrainingConfig, first: Segmenter | None) -> tuple[str, ...]:
    """Return the names of the phases: those asked for, or those of every volume; the first stage must have them too."""
    where = " and ".join(f"'{corpus.folder}'" for corpus in corpora)
    found = {tuple(entry["phases"] or ()) for corpus in corpora for entry in corpus.entries}
    if config.phases is not None:
        for names in found:
            if 0 < len(names) < len(config.phases) and names != config.phases[: len(names)]:
                raise ValueError(
                    f"phases are {list(config.phases)}, but a volume of {where} has {list(names)} alone; name fewer, "
                    "or begin with these, where it lacks the others"
                )
        found = {config.phases}
    if first is not None:
        found.add(first.phases)
    if len(found) > 1:
        listed = " and ".join(str(list(names)) for names in sorted(found))
        raise ValueError(
            f"the volumes of {where} and the first stage must have the same phases, not {listed}; set phases to name "
            "them alike"
        )
    phases = found.pop() if found else ()
    if not phases:
        raise ValueError(f"the labels in {where} name no phases; write them as Volume(labels, phases=…), or set phases")
    return phases


def _volumes(corpora: Sequence[Corpus], config: TrainingConfig, phases: tuple[str, ...]) -> "tuple[_Volumes, _Volumes]":
    """Return what training learns from and what it leaves out, neither read yet."""
    learnt: list[tuple[Corpus, int]] = []
    held_out: list[tuple[Corpus, int]] = []
    for corpus in corpora:
        count = len(corpus)
        aside = config.set_aside(count)
        if config.fold is not None and count < config.fold[1]:
            raise ValueError(
                f"the corpus '{corpus.folder}' has {count} volumes, too few for {config.fold[1]} parts; make a larger "
                "corpus or fewer folds"
            )
        if len(aside) >= count:
            raise ValueError(
                f"the corpus '{corpus.folder}' has {count} volumes and "
                f"{'validation' if config.fold is None else 'fold'} sets {len(aside)} aside; make a larger corpus or "
                "set fewer aside"
            )
        for index in range(count):
            (held_out if index in aside else learnt).append((corpus, index))
    turned = config.samples.turned
    return (
        _Volumes(learnt, phases, config, turned=turned and config.stage == "refine"),
        _Volumes(held_out, phases, config, turned=turned),
    )


class _Volumes(Sequence[Sample]):
    """Volumes of corpora, read when they are asked for, with the phases that training tells apart."""

    def __init__(
        self,
        places: Sequence[tuple[Corpus, int]],
        phases: tuple[str, ...],
        config: TrainingConfig,
        *,
        turned: bool,
    ) -> None:
        self.places, self.phases, self.turned = places, phases, turned
        self.merge, self.seed = config.phases is not None, config.seed

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, position: Any) -> Any:
        corpus, index = self.places[position]
        sample = corpus[index]
        if self.merge:
            labels = np.asarray(sample.labels)
            merged = np.where(labels == IGNORED, labels, np.minimum(labels, len(self.phases) - 1))
            sample = dataclasses.replace(sample, labels=Volume(merged, sample.labels.voxel_size_um, self.phases))
        return _turn(sample, np.random.default_rng((self.seed, position))) if self.turned else sample


def _turn(sample: Sample, rng: np.random.Generator) -> Sample:
    """Return a sample of which either end of any axis comes first."""
    axes, step = ORIENTATIONS[rng.integers(len(ORIENTATIONS))], int(rng.choice((1, -1)))

    def turn(volume: Volume) -> Volume:
        # Crops know no voxel size.
        return Volume(np.ascontiguousarray(np.asarray(volume).transpose(axes)[::step]), phases=volume.phases)

    return dataclasses.replace(sample, grey=turn(sample.grey), labels=turn(sample.labels))


def _inputs(
    volumes: Sequence[Sample], first: Segmenter | None, preprocessing: Preprocessing
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return what the network sees of each volume and what it should say, all in memory."""
    images, labels = [], []
    for sample in volumes:
        images.append(_network_input(np.asarray(sample.grey), first, preprocessing))
        labels.append(np.asarray(sample.labels))
    return images, labels


def _crops(config: TrainingConfig, images: list[np.ndarray], labels: list[np.ndarray]) -> RandomCrops:
    samples = config.samples
    which: dict[str, Any] = {"crop": config.crop, "seed": config.seed, "neighbours": config.neighbours}
    which |= {"aware": samples.aware, "mirrored": samples.mirrored}
    # The volumes of a refinement are turned as a whole, before the first stage sees them.
    which |= {"turned": samples.turned and config.stage != "refine"}
    if samples.augmentation == "full":
        which |= {"zoom": samples.zoom, "stride": samples.stride, "alone": samples.alone, "strength": samples.strength}
        return RandomCrops(images, labels, **which)
    return PlainCrops(images, labels, flips=samples.augmentation == "flips", **which)


def _monitor(
    config: TrainingConfig, inputs: tuple[list[np.ndarray], list[np.ndarray]], *, criterion: Loss, n_phases: int
) -> ValidationMonitor:
    crops = PlainCrops(
        *inputs,
        crop=config.crop,
        seed=WATCH_SEED,
        neighbours=config.neighbours,
        mirrored=None if config.samples.mirrored is None else 0,
    )
    return ValidationMonitor(
        crops,
        count=config.validation_crops,
        loss=criterion,
        n_phases=n_phases,
        batch_size=max(1, config.loop.batch_size // config.loop.accumulate),
    )


def _network_input(grey: np.ndarray, first: Segmenter | None, preprocessing: Preprocessing) -> np.ndarray:
    """Return ``(C, Z, Y, X)``: grey values as the network sees them, after the first stage's answer if there is one."""
    seen = preprocessing.apply(grey, preprocessing.measure(grey))[None]
    if first is None:
        return seen
    slabs = first.predict_first(iter([seen]), shape=grey.shape)
    return stack_channels(np.concatenate(list(slabs), axis=1), seen)


def first_weights(config: TrainingConfig, *, n_phases: int) -> Network:
    """Return the network that training begins with: untrained, or that of ``config.start``."""
    fresh = fresh_network(config, n_phases=n_phases)
    if config.start is None:
        return fresh
    before = load(config.start)
    known = before.refine if config.stage == "refine" else before.first
    found, wanted = ({} if one is None else network_settings(one) for one in (known, fresh))
    if known is None or found != wanted:
        raise ValueError(
            f"start is '{config.start}', whose network for stage '{config.stage}' is {found or 'missing'}, and that of "
            f"this training {wanted}; set network, neighbours and phases alike, or leave start out"
        )
    fresh.load_state_dict(known.state_dict())
    return fresh


def network_settings(network: Network) -> dict[str, Any]:
    """Return what a network was built with."""
    return {name: value for name, value in dict(network.config).items() if not name.startswith("_")}


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
