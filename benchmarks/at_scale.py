"""A volume larger than memory allows, measured block by block: ``python benchmarks/at_scale.py --out DIR --side 1024``.

Writes a Gaussian structure of three phases as a Zarr array and measures porosity, Minkowski functionals, S2 and
clusters from it, each in a process of its own; with ``--check`` also in memory, and compares. Prints seconds and the
peak memory of each process; the answers go to DIR/at_scale.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import evaluate

REACH = 64


def porosity(labels: Any) -> Any:
    """Return the porosity."""
    return evaluate.porosity(labels)


def minkowski(labels: Any) -> Any:
    """Return surface, curvature and Euler density of every phase."""
    found = evaluate.minkowski_of_phases(labels, n_phases=3)
    return [[one.specific_surface, one.mean_curvature, one.euler_density] for one in found]


def two_point(labels: Any) -> Any:
    """Return S2 of the pores up to 64 voxels."""
    return evaluate.two_point(labels == 0, r_max=REACH).s2.tolist()


def clusters(labels: Any) -> Any:
    """Return number, largest and percolating shares of the pores' clusters."""
    found = evaluate.clusters(labels == 0)
    return [found.number, found.largest_fraction, list(found.percolating_fraction)]


MEASURES: dict[str, Callable[[Any], Any]] = {f.__name__: f for f in (porosity, minkowski, two_point, clusters)}


def make(path: Path, side: int) -> None:
    """Write the structure, unless it is there."""
    import zarr

    import synth

    if path.exists():
        return
    labels = synth.gaussian_phases((side,) * 3, fractions=(0.4, 0.3, 0.3), length_vox=20, rng=0).labels
    zarr.create_array(path, data=labels, chunks=(128,) * 3)


def measure_here(path: Path, name: str, *, in_memory: bool) -> None:
    """Measure in this process and print one line of JSON."""
    import dask.array
    import zarr

    labels: Any = zarr.open_array(path, mode="r")
    labels = np.asarray(labels[:]) if in_memory else dask.array.from_zarr(labels)
    start = time.perf_counter()
    found = MEASURES[name](labels)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"found": found, "seconds": time.perf_counter() - start, "peak_gib": peak}))


def measure(path: Path, name: str, *, in_memory: bool) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--worker", name, "--out", str(path)] + ["--in-memory"] * in_memory
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--check", action="store_true", help="measure in memory as well")
    parser.add_argument("--worker", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--in-memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        measure_here(arguments.out, arguments.worker, in_memory=arguments.in_memory)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"structure-{arguments.side}.zarr"
    make(path, arguments.side)
    rows = []
    print(f"{'':12}{'seconds':>10}{'peak GiB':>10}{'in memory: s':>14}{'GiB':>8}{'equal':>8}")
    for name in MEASURES:
        row = {"name": name, "blocks": measure(path, name, in_memory=False)}
        line = f"{name:12}{row['blocks']['seconds']:10.1f}{row['blocks']['peak_gib']:10.2f}"
        if arguments.check:
            row["memory"] = measure(path, name, in_memory=True)
            equal = row["memory"]["found"] == row["blocks"]["found"]
            line += f"{row['memory']['seconds']:14.1f}{row['memory']['peak_gib']:8.2f}{equal!s:>8}"
        rows.append(row)
        print(line, flush=True)
    (arguments.out / "at_scale.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
