"""Time and memory of the generators, beside PoreSpy's: ``python benchmarks/structures.py --out DIR``.

Each case runs in a process of its own: once at 96³ to compile, then at the size in question, three times where that
takes less than ten seconds, otherwise once; the median counts. The memory is the largest that the process ever held,
imports included. The answers go to DIR/structures.json, the curve of time over volume to DIR/structures.png.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

Maker = Callable[[tuple[int, int, int]], Any]
LONGEST_REPEATED = 10.0
REPEATS = 3
# PoreSpy's cylinders fail in smaller boxes, which their first ones may miss.
WARM_UP = 96


def ours(name: str, **arguments: Any) -> Maker:
    """Return a function that makes labels of ours; 0 is pore."""
    import synth

    return lambda shape: getattr(synth, name)(shape, **arguments, rng=0).labels


def theirs(name: str, **arguments: Any) -> Maker:
    """Return a function that makes PoreSpy's; True is pore unless it is said to be solid."""
    import porespy

    porespy.settings.tqdm["disable"] = True
    return lambda shape: getattr(porespy.generators, name)(list(shape), **arguments, seed=0)


def blobs(shape: tuple[int, int, int]) -> np.ndarray:
    """Make PoreSpy's blobs with a filter of 4 voxels, whatever the size of the box: correlation exp(-(r/8)²)."""
    return theirs("blobs", porosity=0.5, blobiness=[np.mean(shape) / 160] * 3)(shape)


def normal_radii() -> Any:
    """Return the law of radii that `polydisperse_spheres` is given."""
    from scipy import stats

    return stats.norm(10, 2)


PAIRS: dict[str, tuple[Callable[[], Maker], Callable[[], Maker]]] = {
    "polydisperse spheres": (
        lambda: ours("sphere_pack", porosity=0.5, diameter_vox={"name": "norm", "loc": 20, "scale": 4}),
        lambda: theirs("polydisperse_spheres", porosity=0.5, dist=normal_radii(), r_min=3),
    ),
    "overlapping spheres": (
        lambda: ours("sphere_pack", porosity=0.5, diameter_vox=20, sigma=0),
        lambda: theirs("overlapping_spheres", porosity=0.5, r=10),
    ),
    "spheres apart": (
        lambda: ours("sphere_pack", porosity=0.75, diameter_vox=20, sigma=0, overlap=False),
        lambda: lambda shape: ~theirs("random_spheres", r=9, phi=0.29, edges="extended")(shape),
    ),
    "blobs": (
        lambda: ours("gaussian_phases", fractions=(0.5, 0.5), length_vox=8, periodic=True),
        lambda: blobs,
    ),
    "cylinders": (
        lambda: ours("fibre_mat", porosity=0.75, fibre_diameter_vox=8),
        lambda: theirs("cylinders", porosity=0.75, r=4),
    ),
}
OWN: dict[str, Callable[[], Maker]] = {
    "sphere_pack, lognormal": lambda: ours("sphere_pack", porosity=0.45, diameter_vox=18),
    "sphere_pack, close packing": lambda: ours("sphere_pack", porosity=0.4, diameter_vox=18, sigma=0, overlap=False),
    "gaussian_phases": lambda: ours("gaussian_phases", fractions=(0.5, 0.5), length_vox=12),
    "catalyst_layer": lambda: ours("catalyst_layer"),
    "fibre_mat": lambda: ours("fibre_mat"),
    "gdl_with_mpl": lambda: ours("gdl_with_mpl"),
    "sofc_electrode, two phases": lambda: ours("sofc_electrode", preset="two-phase"),
    "sofc_electrode, three phases": lambda: ours("sofc_electrode", preset="three-phase"),
    "secondary_particle": lambda: ours("secondary_particle"),
    "redox_cell": lambda: ours("redox_cell"),
}
# Not made at the largest size: the first would take minutes, the others more than 6 GiB.
HEAVY = ("sphere_pack, close packing", "sofc_electrode, three phases", "secondary_particle")


def measure(key: str, which: int, side: int) -> dict[str, float]:
    """Return seconds, the process's peak memory in GiB, and the porosity that came out."""
    maker = (OWN[key] if which < 0 else PAIRS[key][which])()
    maker((WARM_UP,) * 3)
    seconds: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < LONGEST_REPEATED:
        start = time.perf_counter()
        made = maker((side, side, side))
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "seconds": statistics.median(seconds),
        "gib": peak,
        "porosity": float(np.mean(made if made.dtype == bool else made == 0)),
    }


def run(key: str, which: int, side: int) -> dict[str, float]:
    """Measure in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, key, which, side).result()


def compare(sides: list[int]) -> list[dict[str, Any]]:
    """Print ours beside PoreSpy's."""
    rows = []
    print(f"{'case':24}{'side':>6}{'ours s':>10}{'GiB':>7}{'PoreSpy s':>12}{'GiB':>7}{'times':>8}   porosities")
    for side in sides:
        for key in PAIRS:
            our, their = run(key, 0, side), run(key, 1, side)
            rows.append({"case": key, "side": side, "ours": our, "porespy": their})
            print(
                f"{key:24}{side:6}{our['seconds']:10.3f}{our['gib']:7.2f}{their['seconds']:12.2f}{their['gib']:7.2f}"
                f"{their['seconds'] / our['seconds']:8.0f}   {our['porosity']:.4f} {their['porosity']:.4f}",
                flush=True,
            )
    return rows


def scale(sides: list[int], largest: list[int]) -> list[dict[str, Any]]:
    """Print how time and memory grow with the volume; at the `largest` sides only what is not `HEAVY`."""
    rows = []
    print(f"\n{'case':32}{'side':>6}{'seconds':>10}{'ns/voxel':>10}{'GiB':>7}")
    for key in OWN:
        for side in sides + ([] if key in HEAVY else largest):
            found = run(key, -1, side)
            rows.append({"case": key, "side": side, **found})
            print(
                f"{key:32}{side:6}{found['seconds']:10.3f}{found['seconds'] / side**3 * 1e9:10.1f}{found['gib']:7.2f}",
                flush=True,
            )
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time over volume; a straight line of slope one is linear growth."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    for key in OWN:
        points = [row for row in rows if row["case"] == key]
        axes.loglog([row["side"] ** 3 for row in points], [row["seconds"] for row in points], "o-", ms=4, label=key)
    voxels = np.array([min(row["side"] for row in rows), max(row["side"] for row in rows)], float) ** 3
    axes.loglog(voxels, voxels * 3e-8, "k--", lw=1, label="30 ns a voxel")
    axes.set(xlabel="voxels", ylabel="seconds")
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--sides", type=int, nargs="*", default=[128, 256], help="sides for the comparison")
    parser.add_argument("--own-sides", type=int, nargs="*", default=[64, 128, 256, 512], help="sides for the curve")
    parser.add_argument("--largest", type=int, nargs="*", default=[1024], help="sides for what is lean enough")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    hardware = {"processor": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0))}
    rows = {"hardware": hardware, "pairs": compare(options.sides), "own": scale(options.own_sides, options.largest)}
    (options.out / "structures.json").write_text(json.dumps(rows, indent=1) + "\n")
    if rows["own"]:
        draw(rows["own"], options.out / "structures.png")


if __name__ == "__main__":
    main()
