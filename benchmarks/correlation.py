"""Time and memory of two-point correlation, chords and lineal path: ``python benchmarks/correlation.py --out DIR``.

Beside PoreSpy's where it has them, on a Gaussian level set of length 8 voxels. Each case runs in a process of its own:
once at 72³ to compile, then at the size in question, three times where that takes less than ten seconds, otherwise
once; the median counts. The memory is the largest that the process ever held, imports and the mask included.

What is compared is not the same everywhere. PoreSpy's `two_point_correlation`, the only one that it offers, is the
periodic one, in bins that it sums one after the other: by default bins of two voxels at 256³. It is timed so, and with
bins of one voxel, as ours are; ours is timed periodic and with free borders, which takes a larger transform. PoreSpy's
chords are drawn on every second line along the other axes, a quarter of those that ours counts. Its
`lineal_path_distribution` is the histogram of distances to the end of the run, along one axis.

Last, a volume in Zarr is measured where it lies, and the same volume in memory: times, memory, and whether the results
are equal. The answers go to DIR/correlation.json.
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

Measure = Callable[[Any], Any]
LONGEST_REPEATED = 10.0
REPEATS = 3
WARM_UP = 72
CHUNK = 128
# Of lags; the smallest volume measured must be larger.
REACH = 64
HEADING = "{:22}{:>6}{:>10}{:>9}{:>7}{:>12}{:>9}{:>7}{:>8}"


def ours(name: str, **arguments: Any) -> Measure:
    """Return a function of ours."""
    import evaluate.morphology.chords
    import evaluate.morphology.correlation

    room = evaluate.morphology.correlation if name == "two_point" else evaluate.morphology.chords
    return lambda mask: getattr(room, name)(mask, **arguments)


def theirs(name: str) -> Measure:
    """Return what PoreSpy does for the same number."""
    import porespy

    porespy.settings.tqdm["disable"] = True
    filters, metrics = porespy.filters, porespy.metrics
    return {
        "two_point": metrics.two_point_correlation,
        "two_point, bins of 1": lambda mask: metrics.two_point_correlation(
            mask, bins=np.arange(mask.shape[0] // 2 + 1)
        ),
        "chords": lambda mask: metrics.chord_length_distribution(
            filters.apply_chords(mask, axis=0, spacing=1, trim_edges=True, label=True), bins=None
        ),
        "lineal_path": lambda mask: metrics.lineal_path_distribution(
            filters.distance_transform_lin(mask, axis=0, mode="forward")
        ),
    }[name]


PAIRS: dict[str, tuple[Callable[[], Measure], Callable[[], Measure]]] = {
    "S2, periodic": (lambda: ours("two_point", periodic=True), lambda: theirs("two_point")),
    "S2, bins of 1": (lambda: ours("two_point", periodic=True), lambda: theirs("two_point, bins of 1")),
    "S2, free borders": (lambda: ours("two_point"), lambda: theirs("two_point, bins of 1")),
    "chords along z": (lambda: ours("chord_lengths", axis=0), lambda: theirs("chords")),
    "lineal path along z": (lambda: ours("lineal_path", axis=0), lambda: theirs("lineal_path")),
}
LARGE: dict[str, Callable[[], Measure]] = {
    f"S2 to {REACH} voxels": lambda: ours("two_point", r_max=REACH),
    "chords": lambda: ours("chord_lengths"),
    "lineal path": lambda: ours("lineal_path", r_max=REACH),
}


def make(side: int, folder: Path) -> None:
    """Write the mask as an .npy file, and in Zarr."""
    import zarr

    from synth import gaussian_phases

    tile = min(side, 256)
    labels = gaussian_phases((tile,) * 3, fractions=(0.5, 0.5), length_vox=8, periodic=True, rng=0).labels
    mask = np.tile(labels == 0, (-(-side // tile),) * 3)[:side, :side, :side]
    np.save(folder / f"mask_{side}.npy", mask)
    stored = zarr.create_array(
        folder / f"mask_{side}.zarr", shape=mask.shape, chunks=(min(CHUNK, side),) * 3, dtype=bool, overwrite=True
    )
    stored[:] = mask


def measure(maker: str, which: int, source: str) -> dict[str, Any]:
    """Return seconds (by the clock and of all cores), the process's peak memory in GiB, and the result's numbers."""
    function = LARGE[maker]() if which < 0 else PAIRS[maker][which]()
    function(np.random.default_rng(0).random((WARM_UP,) * 3) < 0.5)
    if source.endswith(".zarr"):
        import zarr

        mask: Any = zarr.open_array(source, mode="r")
    else:
        mask = np.load(source)
    clock: list[float] = []
    cores: list[float] = []
    while len(clock) < REPEATS and sum(clock) < LONGEST_REPEATED:
        start, used = time.perf_counter(), time.process_time()
        found = function(mask)
        clock.append(time.perf_counter() - start)
        cores.append(time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    curve = next((getattr(found, name) for name in ("s2", "density", "probability") if hasattr(found, name)), None)
    return {
        "seconds": statistics.median(clock),
        "core_seconds": statistics.median(cores),
        "gib": peak,
        "curve": np.asarray(curve, float).tolist(),
    }


def run(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def compare(sides: list[int], folder: Path) -> list[dict[str, Any]]:
    """Print ours beside PoreSpy's."""
    rows = []
    print(HEADING.format("case", "side", "ours s", "core s", "GiB", "PoreSpy s", "core s", "GiB", "times"))
    for side in sides:
        run(make, side, folder)
        for name in PAIRS:
            our, their = (run(measure, name, which, str(folder / f"mask_{side}.npy")) for which in (0, 1))
            rows.append({"case": name, "side": side, "ours": our, "porespy": their})
            print(
                f"{name:22}{side:6}{our['seconds']:10.3f}{our['core_seconds']:9.3f}{our['gib']:7.2f}"
                f"{their['seconds']:12.2f}{their['core_seconds']:9.2f}{their['gib']:7.2f}"
                f"{their['seconds'] / our['seconds']:8.0f}",
                flush=True,
            )
    return rows


def on_disk(side: int, folder: Path) -> list[dict[str, Any]]:
    """Print what a volume in Zarr takes beside the same volume in memory."""
    rows = []
    print()
    print(HEADING.format("case", "side", "Zarr s", "core s", "GiB", "memory s", "core s", "GiB", "equal"))
    run(make, side, folder)
    for name in LARGE:
        disk, memory = (run(measure, name, -1, str(folder / f"mask_{side}.{kind}")) for kind in ("zarr", "npy"))
        equal = disk["curve"] == memory["curve"]
        rows.append({"case": name, "side": side, "zarr": disk, "memory": memory, "equal": equal})
        print(
            f"{name:22}{side:6}{disk['seconds']:10.2f}{disk['core_seconds']:9.2f}{disk['gib']:7.2f}"
            f"{memory['seconds']:12.2f}{memory['core_seconds']:9.2f}{memory['gib']:7.2f}{equal!s:>8}",
            flush=True,
        )
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results and the volumes")
    parser.add_argument("--sides", type=int, nargs="*", default=[128, 256], help="sides for the comparison")
    parser.add_argument("--large", type=int, default=512, help="side of the volume on disk; 0 leaves it out")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    hardware = {"processor": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0))}
    answers = {"hardware": hardware, "pairs": compare(options.sides, options.out)}
    if options.large:
        answers["on_disk"] = on_disk(options.large, options.out)
    (options.out / "correlation.json").write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
