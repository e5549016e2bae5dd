"""What a few labels bring: ``python benchmarks/strokes.py --grey FILE --labels FILE --phases … --dabs 20 --out DIR``.

A user's labels are drawn from the true ones: dabs of a round brush in each phase, or whole slices. The shipped model
as it is (where it knows these phases), a random forest of pixels and the model fitted to the labels are scored on the
voxels that were not labelled. Several drawings, for one is an anecdote: means and standard errors over them. Every
number of a drawing is printed as it comes and kept in the folder.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import segment
import volume
from evaluate import agreement
from segment.classical import PixelForest
from segment.finetuning import fine_tune

UNKNOWN = 255
BRUSH = 3


def read_truth(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Return grey values and true labels; 255 outside the region of interest and where nobody labelled."""
    grey, labels = (np.asarray(volume.read(path).array) for path in (options.grey, options.labels))
    known = labels != UNKNOWN
    if options.roi:
        known &= np.asarray(volume.read(options.roi).array) > 0
    truth = np.where(known, np.minimum(labels, len(options.phases) - 1), UNKNOWN).astype(np.uint8)
    if options.crop:
        middle = tuple(slice(max(0, (n - options.crop) // 2), (n + options.crop) // 2) for n in grey.shape[1:])
        grey, truth = grey[(slice(None), *middle)], truth[(slice(None), *middle)]
    return np.ascontiguousarray(grey), np.ascontiguousarray(truth)


def draw(truth: np.ndarray, options: argparse.Namespace, rng: np.random.Generator) -> np.ndarray:
    """Return what a user labels: 255 where nothing is."""
    marks = np.full_like(truth, UNKNOWN)
    if options.slices:
        chosen = rng.choice(len(truth), options.slices, replace=False)
        marks[chosen] = truth[chosen]
        return marks
    for phase in range(len(options.phases)):
        where = np.flatnonzero(truth == phase)
        for at in rng.choice(where, options.dabs, replace=False):
            z, y, x = np.unravel_index(at, truth.shape)
            low = [max(0, int(c) - BRUSH) for c in (y, x)]
            window = (z, slice(low[0], y + BRUSH + 1), slice(low[1], x + BRUSH + 1))
            rows, columns = np.ogrid[window[1].start : window[1].stop, window[2].start : window[2].stop]
            inside = (rows - y) ** 2 + (columns - x) ** 2 <= BRUSH**2
            inside = inside[: truth.shape[1] - low[0], : truth.shape[2] - low[1]]
            marks[window][inside & (truth[window] == phase)] = phase
    return marks


def score(labels: np.ndarray, truth: np.ndarray, where: np.ndarray, n_phases: int) -> dict[str, float]:
    """Return the mean IoU and the error of the porosity over the voxels that count."""
    found, true = labels[where][None, None], truth[where][None, None]
    error = abs(float(np.mean(found == 0)) - float(np.mean(true == 0)))
    return {"mean_iou": float(agreement(found, true, n_phases=n_phases).mean_iou), "porosity_error": error}


def measure(grey: np.ndarray, truth: np.ndarray, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return the scores of every method for one drawing."""
    marks, names = draw(truth, options, np.random.default_rng(seed)), tuple(options.phases)
    where = (truth != UNKNOWN) & (marks == UNKNOWN)
    model = segment.load(options.model)
    found: dict[str, Any] = {"seed": seed, "labelled": int((marks != UNKNOWN).sum())}
    if len(names) == len(model.phases):
        found["as it is"] = score(model.predict(grey).labels, truth, where, len(names))
    forest = PixelForest.fit(grey, marks, rng=seed)
    found["random forest"] = score(forest.predict(grey), truth, where, len(names))
    began = time.perf_counter()
    how = {"minutes": options.minutes} if options.minutes else {"steps": options.steps}
    tuned = fine_tune(model, grey, marks, phases=names if names != model.phases else None, rng=seed, **how)
    found["steps"], found["seconds"] = tuned.report.steps, time.perf_counter() - began
    found["fine-tuned"] = score(tuned.segmenter.predict(grey).labels, truth, where, len(names))
    return found


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print means and standard errors over the drawings."""
    print("| method | mean IoU | error of porosity, points |\n|---|---|---|")
    for method in ("as it is", "random forest", "fine-tuned"):
        found = [row[method] for row in rows if method in row]
        if found:
            cells = []
            for key, scale, digits in (("mean_iou", 1, 3), ("porosity_error", 100, 1)):
                values = scale * np.array([one[key] for one in found])
                error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
                cells.append(f"{values.mean():.{digits}f} ± {error:.{digits}f}")
            print(f"| {method} | {' | '.join(cells)} |")


def main() -> None:
    """Draw, fit, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grey", required=True, metavar="FILE")
    parser.add_argument("--labels", required=True, metavar="FILE", help="true ones, 255 where they are not known")
    parser.add_argument("--roi", metavar="FILE", help="0 where nothing is scored")
    parser.add_argument("--phases", required=True, nargs="+", metavar="NAME", help="labels beyond join the last one")
    parser.add_argument("--crop", type=int, metavar="N", help="the middle N × N pixels alone")
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--dabs", type=int, metavar="N", help="of a brush seven pixels wide, in each phase")
    amount.add_argument("--slices", type=int, metavar="N", help="labelled wholly")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=75, help="of fine-tuning (75)")
    length.add_argument("--minutes", type=float)
    parser.add_argument("--model", default="fibsem")
    parser.add_argument("--repeats", type=int, default=3, help="drawings (3)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    grey, truth = read_truth(options)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(options.repeats):
        rows.append(measure(grey, truth, options, seed))
        print(json.dumps(rows[-1]), flush=True)
        (options.out / "strokes.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print_table(rows)


if __name__ == "__main__":
    main()
