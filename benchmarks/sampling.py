"""Few steps against many, and one large volume: ``python benchmarks/sampling.py --model M --material FILE --out DIR``.

First the same model makes volumes by each walk of ``--walks`` (a sampler and its steps), one at a time; seconds a
volume are the median, and ``poreforge compare`` sets the walks beside the material. Then one volume of ``--large``
voxels a side is made on disk, in a process of its own; its seconds, the largest memory of that process and the seams
between its windows are written to DIR/sampling.json. A second call goes on where the first was stopped.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


def draw(model: str, walk: str, out: Path, *, count: int, side: int) -> dict[str, Any]:
    """Make volumes by one walk and return its seconds a volume."""
    sampler, _, steps = walk.partition(":")
    subprocess.run(
        [sys.executable, "-m", "poreforge", "generate", "--model", model, "--count", str(count), "--shape",
         *[str(side)] * 3, "--sampler", sampler, "--steps", steps, "--seed", "1", "--out", str(out)],
        check=True, cwd=ROOT,
    )  # fmt: skip
    seconds = [row["seconds"] for row in json.loads((out / "summary.json").read_text())["volumes"]]
    return {"walk": walk, "volumes": count, "seconds_a_volume": round(float(np.median(seconds)), 2)}


def make_large(model: str, side: int, path: Path) -> dict[str, Any]:
    """Make one volume on disk, and return what that took beyond the interpreter."""
    from generative import load

    pipe, before = load(model), _peak_gib()
    began = time.perf_counter()
    pipe.write(path, (side,) * 3, seed=1)
    return {
        "side": side,
        "seconds": round(time.perf_counter() - began, 1),
        "gib": round(_peak_gib(), 2),
        "gib_before": round(before, 2),
    }


def measure_seams(model: str, side: int, path: Path) -> list[dict[str, Any]]:
    """Compare the volume across the borders of its windows, and across the middle of their overlaps, with the rest."""
    from evaluate import seam_errors
    from generative import load
    from generative.windows import lay_windows
    from volume import read

    labels = read(path).array
    size = load(model).card.patch
    starts = lay_windows((side,) * 3, size=size, overlap=[n // 4 for n in size]).starts
    places = {
        "where windows begin": [row[1:] for row in starts],
        "where windows end": [tuple(start + n for start in row[:-1]) for row, n in zip(starts, size, strict=True)],
        "middle of overlaps": [
            tuple((later + start + n) // 2 for start, later in itertools.pairwise(row))
            for row, n in zip(starts, size, strict=True)
        ],
    }
    rows = []
    for place, planes in places.items():
        found = seam_errors(np.asarray(labels), planes)
        worst = found.worst
        rows.append(
            {
                "place": place,
                "within_noise": found.within_noise,
                "numbers": len(found.errors),
                "smallest_p": min(error.p_adjusted for error in found.errors),
                "worst": f"{worst.quantity} {worst.distance}",
                "at_planes": worst.at_planes,
                "elsewhere": worst.elsewhere,
            }
        )
    return rows


def main() -> None:
    """Draw, compare, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="shipped name, or folder of a training run")
    parser.add_argument("--material", required=True, help="file with the labels that the model learnt")
    parser.add_argument("--walks", nargs="+", default=["dpm++:25", "dpm++:10", "ddim:25", "ddpm:1000"])
    parser.add_argument("--count", type=int, default=12, help="volumes of each walk")
    parser.add_argument("--side", type=int, default=64, help="of a volume, in voxels")
    parser.add_argument("--large", type=int, default=256, help="side of the large volume; 0 leaves it out")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {
        "model": given.model,
        "machine": platform.processor(),
        "cores": os.cpu_count(),
        "walks": [],
    }
    for walk in given.walks:
        folder = given.out / walk.replace(":", "-")
        facts["walks"].append(draw(given.model, walk, folder, count=given.count, side=given.side))
        print(facts["walks"][-1], flush=True)
    if given.large:
        path = given.out / f"large-{given.large}.zarr"
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            if not path.exists():
                record = process.submit(make_large, given.model, given.large, path).result()
                (given.out / "large.json").write_text(json.dumps(record) + "\n")
        facts["large"] = json.loads((given.out / "large.json").read_text())
        facts["seams"] = measure_seams(given.model, given.large, path)
        print(facts["large"], *facts["seams"], sep="\n", flush=True)
    (given.out / "sampling.json").write_text(json.dumps(facts, indent=1) + "\n")
    generated = [f"{walk}={given.out / walk.replace(':', '-')}" for walk in given.walks]
    subprocess.run(
        [sys.executable, "-m", "poreforge", "compare", "--real", given.material, "--generated", *generated,
         "--subvolume", str(given.side), "--out", str(given.out / "compare")],
        check=True, cwd=ROOT,
    )  # fmt: skip


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
