"""How a segmenter does on materials or instruments that it has never seen.

    python benchmarks/leave_one_out.py --config configs/segment/best.yaml --corpora runs/fibsem/* --out DIR

One training on all the corpora, and one more without each of them. All are scored on the same volumes of a corpus, its
last ones, which no training learns from; thresholds beside them, of which one is told the true porosity. With corpora
of several materials under one family of instruments that is leave-one-material-out, with one material under several
instruments leave-one-instrument-out. Trainings and scores stay in DIR; a second call goes on where the first stopped.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from networks import mean_and_error, write_json

import segment
from evaluate import agreement
from launch import load_config
from segment import Segmenter
from segment.training import TrainingConfig, train_stage
from volume import Corpus

SCORES = ("mean_iou", "iou_pore", "accuracy", "porosity_error")
HEADS = ("mean IoU %", "IoU of pore %", "accuracy %", "error of porosity, points")


def trainings(names: list[str], left_out: list[str], alone: list[str]) -> dict[str, list[str]]:
    """Return which corpora each training learns from."""
    runs = {"all": names} | {f"without-{name}": [other for other in names if other != name] for name in left_out}
    return runs | {f"only-{name}": [name] for name in alone}


def score(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return the scores of pore and solid."""
    match = agreement(labels, truth, n_phases=2)
    error = abs(float(np.mean(labels == 0)) - float(np.mean(truth == 0)))
    return dict(zip(SCORES, (match.mean_iou, match.iou[0], match.accuracy, error), strict=True))


def score_all(methods: dict[str, Any], corpus: Corpus, validation: int) -> dict[str, list[dict[str, float]]]:
    """Return the scores of every method on each volume set aside."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for index in range(len(corpus) - validation, len(corpus)):
        sample = corpus[index]
        truth = (np.asarray(sample.labels) > 0).astype(np.uint8)
        for name, method in methods.items():
            found[name].append(score(method(np.asarray(sample.grey), truth), truth))
    return found


def labels_by(segmenter: Segmenter) -> Any:
    """Return a method that labels as `segmenter`."""
    return lambda grey, truth: segmenter.predict(grey).labels


def thresholds() -> dict[str, Any]:
    """Return the methods that need no training."""
    return {
        "Otsu": lambda grey, truth: segment.otsu(grey),
        "told the porosity": lambda grey, truth: segment.porosity_threshold(grey, float(np.mean(truth == 0))),
    }


def print_table(results: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    """Print a row a corpus and method, with standard errors over volumes."""
    print("| unseen | method | " + " | ".join(HEADS) + " |")
    print("|---" * (2 + len(HEADS)) + "|")
    for corpus, methods in results.items():
        for method, volumes in methods.items():
            pairs = [mean_and_error([100 * volume[key] for volume in volumes]) for key in SCORES]
            cells = [f"{mean:.1f} ± {error:.1f}" for mean, error in pairs]
            print(f"| {corpus} | {method} | {' | '.join(cells)} |")


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of the training; its corpora are replaced")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override in it")
    parser.add_argument("--corpora", nargs="+", type=Path, required=True, metavar="DIR")
    parser.add_argument("--leave", nargs="+", metavar="NAME", help="which are left out in turn (all)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="corpora to train on alone, too")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    folders = {folder.name: folder for folder in given.corpora}
    left_out = given.leave or list(folders)
    base = load_config(TrainingConfig, given.config, [*given.set, f"corpus={given.corpora[0]}", f"out={given.out}"])
    segmenters = {}
    for run, names in trainings(list(folders), left_out, given.only).items():
        corpus = tuple(folders[name] for name in names)
        segmenters[run] = train_stage(dataclasses.replace(base, corpus=corpus, out=given.out / run))
        print(run, "trained", flush=True)
    results = {}
    for name in left_out:
        runs = [f"without-{name}", *[f"only-{other}" for other in given.only], "all"]
        done = given.out / f"scores-{name}.json"
        if not done.is_file():
            methods = thresholds() | {run: labels_by(segmenters[run]) for run in runs}
            write_json(done, score_all(methods, Corpus(folders[name]), base.validation))
        results[name] = json.loads(done.read_text(encoding="utf-8"))
    print_table(results)


if __name__ == "__main__":
    main()
