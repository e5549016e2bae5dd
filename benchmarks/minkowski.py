"""Time and memory of what is counted over neighbourhoods, beside others': ``python benchmarks/minkowski.py --out DIR``.

Each case runs in a process of its own: once on a small volume to compile, then at the size in question, three times
where that takes less than ten seconds, otherwise once; the median counts. The memory is the largest that the process
ever held, imports and the making of the volume included, unless it lies on the disk. The volume is a three-phase
electrode, repeated where it is larger than 256 voxels. The answers go to DIR/minkowski.json.
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

LONGEST_REPEATED = 10.0
REPEATS = 3
WARM_UP = 40
TILE = 256


def electrode(side: int) -> np.ndarray:
    """Return labels of three phases that all touch each other."""
    from synth import sofc_electrode

    edge = min(side, TILE)
    tile = sofc_electrode((edge,) * 3, preset="three-phase", length_vox=12, periodic=True, rng=0).labels
    return tile if edge == side else np.tile(tile, (-(-side // edge),) * 3)[:side, :side, :side]


def one_mask(labels: Any) -> float:
    """Measure the pores."""
    from evaluate.morphology.minkowski_functionals import minkowski

    return minkowski(labels).surface


def one_mask_quantimpy(mask: np.ndarray) -> float:
    """Measure the pores with QuantImPy."""
    from quantimpy.minkowski import functionals

    return 8 * functionals(mask, np.ones(3))[1]


def all_phases(labels: Any) -> float:
    """Measure the phases in one pass."""
    from evaluate.morphology.minkowski_functionals import minkowski_of_phases

    return sum(m.surface for m in minkowski_of_phases(labels, n_phases=3))


def phase_by_phase(labels: np.ndarray) -> float:
    """Measure one phase after the other."""
    from evaluate.morphology.minkowski_functionals import minkowski

    return sum(minkowski(labels == k).surface for k in range(3))


def interfaces(labels: Any) -> float:
    """Measure the areas of all interfaces."""
    from evaluate.morphology.interfaces import interface_areas

    return float(interface_areas(labels, n_phases=3).areas.sum())


def interfaces_porespy(labels: np.ndarray) -> float:
    """Measure them with PoreSpy, which meshes each phase and each union."""
    import porespy

    porespy.settings.tqdm["disable"] = True
    regions = labels.astype(int) + 1
    areas = porespy.metrics.region_surface_areas(regions)
    return 2 * float(np.sum(porespy.metrics.region_interface_areas(regions, areas).area))


def triple_lines(labels: Any) -> float:
    """Measure the lines where the three phases meet."""
    from evaluate.morphology.interfaces import triple_phase_boundary

    return triple_phase_boundary(labels).length


def pore_fraction(labels: Any) -> float:
    """Measure the porosity."""
    from evaluate.phase_fractions import porosity

    return porosity(labels)


CASES: dict[str, Callable[[Any], float]] = {
    "minkowski, one mask": one_mask,
    "minkowski, one mask: QuantImPy": one_mask_quantimpy,
    "minkowski, three phases in one pass": all_phases,
    "minkowski, three phases one by one": phase_by_phase,
    "interface areas": interfaces,
    "interface areas: PoreSpy": interfaces_porespy,
    "triple-phase boundary": triple_lines,
    "porosity": pore_fraction,
}
OF_MASKS = ("minkowski, one mask", "minkowski, one mask: QuantImPy")
# PoreSpy takes minutes beyond this.
LARGEST_MESHED = 128
ON_DISK = ("minkowski, three phases in one pass", "interface areas", "triple-phase boundary", "porosity")


def write_store(folder: Path, side: int) -> Path:
    """Write an electrode to a Zarr store, a tile at a time; does nothing if it is there."""
    import zarr

    path = folder / f"electrode_{side}.zarr"
    if path.exists():
        return path
    tile = electrode(min(side, TILE))
    store = zarr.create_array(store=str(path), shape=(side,) * 3, chunks=(128,) * 3, dtype=np.uint8)
    for corner in np.ndindex(*(-(-side // TILE),) * 3):
        place = tuple(slice(TILE * i, min(TILE * (i + 1), side)) for i in corner)
        store[place] = tile[tuple(slice(0, part.stop - part.start) for part in place)]
    return path


def measure(key: str, side: int, path: Path | None) -> dict[str, float]:
    """Return seconds by the wall and of the processor, the peak memory in GiB, and the answer."""
    small: np.ndarray = electrode(WARM_UP)
    CASES[key](small == 0 if key in OF_MASKS else small)
    if path is None:
        volume: Any = electrode(side)
        volume = volume == 0 if key in OF_MASKS else volume
    else:
        import zarr

        volume = zarr.open_array(store=str(path), mode="r")
    wall: list[float] = []
    processor: list[float] = []
    answer = 0.0
    while len(wall) < REPEATS and sum(wall) < LONGEST_REPEATED:
        start, started = time.perf_counter(), time.process_time()
        answer = CASES[key](volume)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"wall": statistics.median(wall), "cpu": statistics.median(processor), "gib": peak, "answer": answer}


def run(key: str, side: int, path: Path | None = None) -> dict[str, Any]:
    """Measure in a process of its own, and print."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        found = process.submit(measure, key, side, path).result()
    place = "memory" if path is None else "Zarr"
    print(
        f"{key:38}{place:>8}{side:6}{found['wall']:10.3f}{found['cpu']:10.3f}{found['gib']:8.2f}{found['answer']:16.6g}",
        flush=True,
    )
    return {"case": key, "place": place, "side": side, **found}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--sides", type=int, nargs="*", default=[128, 256], help="sides in memory")
    parser.add_argument("--lazy-sides", type=int, nargs="*", default=[512], help="sides on the disk (1024: 1 GiB)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{'case':38}{'place':>8}{'side':>6}{'wall s':>10}{'CPU s':>10}{'GiB':>8}{'answer':>16}")
    rows = [
        run(key, side)
        for side in options.sides
        for key in CASES
        if side <= LARGEST_MESHED or key != "interface areas: PoreSpy"
    ]
    for side in options.lazy_sides:
        path = write_store(options.out, side)
        rows += [run(key, side, path) for key in ON_DISK]
    hardware = {"processor": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0))}
    (options.out / "minkowski.json").write_text(json.dumps({"hardware": hardware, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
