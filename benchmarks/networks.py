"""Networks and preprocessing, at equal training: ``python benchmarks/networks.py --corpus DIR --out DIR``.

Table 2 of the paper `pore_segnet` for every kind of preprocessing and every network, in 2-D, 2.5-D and 3-D: each pair
is trained on the same volumes for the same number of steps, or the same minutes on the same machine, alone (a few steps
say how many fit), with the one of the learning rates that a training of an eighth of the steps got furthest with, or
the next lower one, should the loss be lost. It is then scored on the volumes set aside, as they were imaged and with
grey levels as another instrument would set them: the same voxels, so the same truth, at half the gain, paler, and with
two other gammas. Standard errors are those over volumes. Trainings, the scores of every volume and the table stay in
the output folder; a second call goes on where the first stopped. ``poreforge benchmark --methods
NAME=OUT/runs/NAME-KIND`` scores the trainings by properties, too.
"""

import argparse
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from evaluate import agreement
from launch import replace_when_complete
from learn import LoopSettings, this_process
from segment import Segmenter
from segment.losses import LOSSES
from segment.networks import NETWORKS
from segment.preprocessing import PreprocessingKind
from segment.training import LossSettings, NetworkSettings, SampleSettings, TrainingConfig, train_stage
from volume import Corpus

KINDS: tuple[PreprocessingKind, ...] = ("none", "stretch", "equalise", "percentile")
ENDINGS = {2: "", 3: "-3d"}
# Slices that the 2.5-D U-Net sees on both sides.
NEIGHBOURS = 2
# How another instrument shows what was grey value g, from 0 to 1.
INSTRUMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as imaged": lambda g: g,
    "half gain": lambda g: 0.5 * g,
    "paler": lambda g: 0.4 + 0.5 * g,
    "gamma 0.5": lambda g: g**0.5,
    "gamma 2": lambda g: g**2,
}
SCORES = ("accuracy", "f1", "iou", "porosity_error")
PILOT_STEPS = 14
# The first steps pay for memory and kernels.
PILOT_WARM = 4
# Of the steps, in which learning rates are compared, and of these the last, over which losses are averaged.
TRIAL_SHARE, TRIAL_END = 8, 4


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network of the registry, and what it sees of a volume."""

    network: str
    dims: int
    neighbours: int = 0


ENTRIES = {
    f"{name}{ENDINGS[dims]}": Entry(name, dims) for dims in ENDINGS for name in NETWORKS if dims in NETWORKS[name].dims
} | {"unet-2.5d": Entry("unet", 2, NEIGHBOURS)}


def as_seen_by(instrument: str, grey: np.ndarray) -> np.ndarray:
    """Return grey values of the same type as another instrument sets them."""
    whole = grey.dtype.kind in "ui"
    top = np.iinfo(grey.dtype).max if whole else 1
    seen = top * np.clip(INSTRUMENTS[instrument](np.clip(grey / top, 0, 1)), 0, 1)
    return (np.rint(seen) if whole else seen).astype(grey.dtype)


def configure(options: argparse.Namespace, name: str, kind: PreprocessingKind) -> TrainingConfig:
    """Return the training of a pair, but for its steps and learning rate."""
    entry = ENTRIES[name]
    size = dict(NETWORKS[entry.network].paper_size) if options.paper_size else {}
    return TrainingConfig(
        corpus=options.corpus,
        out=options.out / "runs" / f"{name}-{kind}",
        stage="slices" if entry.dims == 2 else "blocks",
        validation=options.validation,
        crop=(options.crop if entry.dims == 2 else options.cube,) * entry.dims,
        neighbours=entry.neighbours,
        preprocessing=kind,
        seed=options.seed,
        network=NetworkSettings(entry.network, size),
        loss=LossSettings(options.loss),
        samples=SampleSettings(mirrored=0, augmentation=options.augmentation),
        loop=LoopSettings(
            batch_size=options.batch_size if entry.dims == 2 else options.cubes,
            ema_decay=0.99,
            log_every=10,
            checkpoint_every=100,
            mixed_precision=options.mixed_precision,
        ),
    )


def with_loop(config: TrainingConfig, **settings: Any) -> TrainingConfig:
    """Return a training with other settings of its loop."""
    return dataclasses.replace(config, loop=dataclasses.replace(config.loop, **settings))


def log_of(config: TrainingConfig) -> list[dict[str, Any]]:
    """Return the lines of a training's log."""
    return [json.loads(line) for line in (config.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def beside(config: TrainingConfig, ending: str) -> TrainingConfig:
    """Return a training in a folder of its own."""
    return dataclasses.replace(config, out=config.out.with_name(f"{config.out.name}-{ending}"))


def steps_that_fit(config: TrainingConfig, minutes: float) -> int:
    """Train a few steps and return how many take the minutes."""
    pilot = with_loop(beside(config, "pilot"), steps=PILOT_STEPS, log_every=1, checkpoint_every=PILOT_STEPS)
    train_stage(pilot)
    lines = log_of(pilot)
    seconds = (lines[-1]["seconds"] - lines[PILOT_WARM - 1]["seconds"]) / (PILOT_STEPS - PILOT_WARM)
    return max(1, round(60 * minutes / seconds))


def best_rate(config: TrainingConfig, steps: int, rates: Sequence[float]) -> float:
    """Return the learning rate with which a short training gets furthest."""
    if len(rates) == 1:
        return rates[0]
    losses = {}
    for rate in rates:
        trial = with_loop(
            beside(config, f"trial-{rate:g}"), steps=max(1, steps // TRIAL_SHARE), learning_rate=rate, log_every=1
        )
        train_stage(trial)
        lines = log_of(trial)
        losses[rate] = float(np.mean([line["loss"] for line in lines[-max(1, len(lines) // TRIAL_END) :]]))
    return min(losses, key=losses.__getitem__)


def plan_of(config: TrainingConfig) -> Path:
    """Return the file in which the steps and the learning rate of a training are kept."""
    return config.out.with_name(f"{config.out.name}.plan.json")


def planned(options: argparse.Namespace, name: str, kind: PreprocessingKind) -> TrainingConfig:
    """Return the training of a pair; one that was stopped keeps its plan, however fast the machine is now."""
    config = configure(options, name, kind)
    plan = plan_of(config)
    if not plan.is_file():
        steps = options.steps or steps_that_fit(config, options.minutes)
        write_json(plan, {"steps": steps, "learning_rate": best_rate(config, steps, options.learning_rates)})
    return with_loop(config, **json.loads(plan.read_text(encoding="utf-8")))


def trained(config: TrainingConfig, rates: Sequence[float]) -> tuple[Segmenter, TrainingConfig]:
    """Train, with the next lower of the learning rates where the loss is lost, and return with which settings."""
    try:
        return train_stage(config), config
    except ValueError as error:
        lower = [rate for rate in rates if rate < config.loop.learning_rate]
        if not str(error).startswith("the loss is") or not lower:
            raise
    shutil.rmtree(config.out)
    write_json(plan_of(config), {"steps": config.loop.steps, "learning_rate": max(lower)})
    return trained(with_loop(config, learning_rate=max(lower)), rates)


def scores(segmenter: Segmenter, corpus: Corpus, held_out: Iterable[int]) -> dict[str, list[dict[str, float]]]:
    """Return the scores of each volume, under each instrument."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in INSTRUMENTS}
    for index in held_out:
        sample = corpus[index]
        truth = np.asarray(sample.labels)
        for name in INSTRUMENTS:
            labels = segmenter.predict(as_seen_by(name, np.asarray(sample.grey))).labels
            match = agreement(labels, truth, n_phases=len(segmenter.phases))
            porosity_error = abs(float(np.mean(labels == 0)) - float(np.mean(truth == 0)))
            values = (match.accuracy, float(np.nanmean(match.f1)), match.mean_iou, porosity_error)
            found[name].append(dict(zip(SCORES, values, strict=True)))
    return found


def measure(options: argparse.Namespace, name: str, kind: PreprocessingKind) -> dict[str, Any]:
    """Train and score a pair, or read what an earlier call found."""
    done = options.out / "scores" / f"{name}-{kind}.json"
    if done.is_file():
        return dict(json.loads(done.read_text(encoding="utf-8")))
    segmenter, config = trained(planned(options, name, kind), options.learning_rates)
    segmenter.first.to(this_process().device)
    corpus = Corpus(options.corpus)
    result = {
        "network": name,
        "preprocessing": kind,
        "parameters": sum(p.numel() for p in segmenter.first.parameters()),
        "steps": config.loop.steps,
        "learning_rate": config.loop.learning_rate,
        "seconds": log_of(config)[-1]["seconds"],
        "scores": scores(segmenter, corpus, config.set_aside(len(corpus))),
    }
    write_json(done, result)
    return result


def write_json(path: Path, content: Any) -> None:
    """Write a file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Return a mean over volumes and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """Return the means over volumes of a pair; those of the other instruments over these too."""
    kept = ("network", "preprocessing", "parameters", "steps", "learning_rate", "seconds")
    table: dict[str, Any] = {key: result[key] for key in kept}
    own, *others = (result["scores"][name] for name in INSTRUMENTS)
    for score in SCORES:
        table[score] = mean_and_error([volume[score] for volume in own])
        # A volume's mean over instruments first: its scores under them are not independent.
        moved = [[volume[score] for volume in volumes] for volumes in zip(*others, strict=True)]
        table[f"{score}, other instruments"] = mean_and_error([float(np.mean(one)) for one in moved])
    for name, volumes in result["scores"].items():
        table[f"iou, {name}"] = mean_and_error([volume["iou"] for volume in volumes])
    return table


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print a row a pair; all but F1 in per cent or points."""
    shown = ("accuracy", "f1", "iou", "porosity_error", "iou, other instruments", "porosity_error, other instruments")
    heads = (
        "accuracy %",
        "F1",
        "IoU %",
        "Δporosity, points",
        "IoU %, other instruments",
        "Δporosity, other instruments",
    )
    own = ("network", "preprocessing", "parameters", "learning rate", "steps")
    print(f"| {' | '.join([*own, *heads])} |")
    print("|---" * (len(own) + len(heads)) + "|")
    for row in rows:
        cells = []
        for name in shown:
            scale, digits = (1, 4) if name == "f1" else (100, 2)
            mean, error = (scale * value for value in row[name])
            cells.append(f"{mean:.{digits}f} ± {error:.{digits}f}")
        settings = (row["network"], row["preprocessing"], row["parameters"], f"{row['learning_rate']:g}", row["steps"])
        print(f"| {' | '.join([*map(str, settings), *cells])} |")


def keep_settings(options: argparse.Namespace) -> None:
    """Refuse a folder that holds answers to another question."""
    answers_alike = ("out", "networks", "preprocessing")
    asked = {key: str(value) for key, value in vars(options).items() if key not in answers_alike}
    record = options.out / "settings.json"
    if not record.is_file():
        write_json(record, asked)
    elif json.loads(record.read_text(encoding="utf-8")) != asked:
        raise SystemExit(
            f"'{options.out}' holds a comparison with other settings (settings.json); choose another --out"
        )


def main() -> None:
    """Compare, print, and write the table to the output folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder of a corpus")
    parser.add_argument("--out", type=Path, required=True, help="folder for trainings, scores and table.json")
    parser.add_argument("--networks", nargs="+", choices=list(ENTRIES), default=list(ENTRIES))
    parser.add_argument("--preprocessing", nargs="+", choices=get_args(PreprocessingKind), default=list(KINDS))
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="of every training")
    length.add_argument("--minutes", type=float, help="of every training")
    parser.add_argument("--validation", type=int, default=12, help="volumes at the corpus's end that are scored (12)")
    parser.add_argument("--crop", type=int, default=128, help="pixels along a side, of slices (128)")
    parser.add_argument("--batch-size", type=int, default=8, help="crops of slices (8)")
    parser.add_argument("--cube", type=int, default=64, help="voxels along a side, in 3-D (64)")
    parser.add_argument("--cubes", type=int, default=1, help="crops of volumes (1)")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[2e-3], help="to choose from (2e-3)")
    parser.add_argument("--loss", choices=list(LOSSES), default="cross-entropy")
    parser.add_argument("--mixed-precision", choices=("no", "bf16"), default="no")
    parser.add_argument(
        "--augmentation", choices=("none", "flips", "full"), default="flips",
        help="full changes grey values too, and so teaches what preprocessing would do (flips)",
    )  # fmt: skip
    parser.add_argument("--paper-size", action="store_true", help="networks as large as the papers', for a GPU")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.validation < 2:
        parser.error("--validation must be 2 or more: standard errors are those over volumes")
    keep_settings(options)
    pairs = [(network, kind) for network in options.networks for kind in options.preprocessing]
    rows = [summary(measure(options, network, kind)) for network, kind in pairs]
    print_table(rows)
    write_json(options.out / "table.json", rows)


if __name__ == "__main__":
    main()
