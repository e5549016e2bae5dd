"""Preprocessing by network, at equal training: ``python benchmarks/preprocessing.py --corpus DIR --out DIR``.

Table 2 of the paper `pore_segnet` for every kind of preprocessing and every 2-D network: each pair is trained on the
same volumes for the same number of steps, or the same minutes on the same machine, alone (a few steps say how many
fit). It is then scored on the volumes set aside, as they were imaged and with grey levels as another instrument would
set them: the same voxels, so the same truth, at half the gain, paler, and with two other gammas. Standard errors are
those over volumes. Trainings, the scores of every volume and the table stay in the output folder; a second call goes on
where the first stopped.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from evaluate import agreement
from launch import replace_when_complete
from learn import LoopSettings, this_process
from segment import Segmenter
from segment.networks import NETWORKS
from segment.preprocessing import PreprocessingKind
from segment.training import LossSettings, NetworkSettings, SampleSettings, TrainingConfig, train_stage
from volume import Corpus

KINDS: tuple[PreprocessingKind, ...] = ("none", "stretch", "equalise", "percentile")
FLAT = tuple(name for name, entry in NETWORKS.items() if 2 in entry.dims)
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


def as_seen_by(instrument: str, grey: np.ndarray) -> np.ndarray:
    """Return grey values of the same type as another instrument sets them."""
    whole = grey.dtype.kind in "ui"
    top = np.iinfo(grey.dtype).max if whole else 1
    seen = top * np.clip(INSTRUMENTS[instrument](np.clip(grey / top, 0, 1)), 0, 1)
    return (np.rint(seen) if whole else seen).astype(grey.dtype)


def configure(options: argparse.Namespace, network: str, kind: PreprocessingKind, *, steps: int) -> TrainingConfig:
    """Return the training of a pair."""
    size = dict(NETWORKS[network].paper_size) if options.paper_size else {}
    return TrainingConfig(
        corpus=options.corpus,
        out=options.out / "runs" / f"{network}-{kind}",
        validation=options.validation,
        crop=(options.crop, options.crop),
        preprocessing=kind,
        seed=options.seed,
        network=NetworkSettings(network, size),
        loss=LossSettings("cross-entropy"),
        samples=SampleSettings(mirrored=0, augmentation=options.augmentation),
        loop=LoopSettings(
            steps=steps,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            ema_decay=0.99,
            log_every=10,
            checkpoint_every=100,
        ),
    )


def steps_that_fit(config: TrainingConfig, minutes: float) -> int:
    """Train a few steps and return how many take the minutes."""
    run = config.out.with_name(f"{config.out.name}-pilot")
    few = dataclasses.replace(config.loop, steps=PILOT_STEPS, log_every=1, checkpoint_every=PILOT_STEPS)
    train_stage(dataclasses.replace(config, out=run, loop=few, validation=0))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    seconds = (lines[-1]["seconds"] - lines[PILOT_WARM - 1]["seconds"]) / (PILOT_STEPS - PILOT_WARM)
    return max(1, round(60 * minutes / seconds))


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


def measure(options: argparse.Namespace, network: str, kind: PreprocessingKind) -> dict[str, Any]:
    """Train and score a pair, or read what an earlier call found."""
    done = options.out / "scores" / f"{network}-{kind}.json"
    if done.is_file():
        return dict(json.loads(done.read_text(encoding="utf-8")))
    # A run that was stopped keeps its number of steps, however fast the machine is now.
    plan = options.out / "runs" / f"{network}-{kind}.steps"
    if not plan.is_file():
        pilot = configure(options, network, kind, steps=PILOT_STEPS)
        steps = options.steps or steps_that_fit(pilot, options.minutes)
        plan.parent.mkdir(parents=True, exist_ok=True)
        plan.write_text(f"{steps}\n", encoding="utf-8")
    config = configure(options, network, kind, steps=int(plan.read_text(encoding="utf-8")))
    segmenter = train_stage(config)
    segmenter.first.to(this_process().device)
    lines = (config.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    corpus = Corpus(options.corpus)
    result = {
        "network": network,
        "preprocessing": kind,
        "parameters": sum(p.numel() for p in segmenter.first.parameters()),
        "steps": config.loop.steps,
        "seconds": json.loads(lines[-1])["seconds"],
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
    table: dict[str, Any] = {key: result[key] for key in ("network", "preprocessing", "parameters", "steps", "seconds")}
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
    print("| network | preprocessing | steps | " + " | ".join(heads) + " |")
    print("|---" * (3 + len(heads)) + "|")
    for row in rows:
        cells = []
        for name in shown:
            scale, digits = (1, 4) if name == "f1" else (100, 2)
            mean, error = (scale * value for value in row[name])
            cells.append(f"{mean:.{digits}f} ± {error:.{digits}f}")
        print(f"| {row['network']} | {row['preprocessing']} | {row['steps']} | {' | '.join(cells)} |")


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
    parser.add_argument("--networks", nargs="+", choices=FLAT, default=["unet", "segnet", "attention-unet"])
    parser.add_argument("--preprocessing", nargs="+", choices=get_args(PreprocessingKind), default=list(KINDS))
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="of every training")
    length.add_argument("--minutes", type=float, help="of every training")
    parser.add_argument("--validation", type=int, default=12, help="volumes at the corpus's end that are scored (12)")
    parser.add_argument("--crop", type=int, default=128, help="pixels along a side (128)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
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
