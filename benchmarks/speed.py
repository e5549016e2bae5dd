"""Time and memory of the parts of the chain: ``python benchmarks/speed.py [SIDE]``.

Each case runs in a process of its own, once to compile and warm up and then three times; the median counts. The
memory is the largest that the process ever held, imports and the test volume included.
"""

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

Case = Callable[[int], Callable[[], Any]]


def pack(side: int) -> np.ndarray:
    """Return the volume that the cases work on."""
    from synth import sphere_pack

    return sphere_pack((side,) * 3, porosity=0.45, diameter_vox=18, rng=0).labels


def case_sphere_pack(side: int) -> Callable[[], Any]:
    """Make a pack of overlapping spheres."""
    return lambda: pack(side)


def case_fibsem(side: int) -> Callable[[], Any]:
    """Image it."""
    from synth import fibsem

    labels = pack(side)
    return lambda: fibsem(labels, rng=0)


def case_minkowski(side: int) -> Callable[[], Any]:
    """Measure its Minkowski functionals."""
    from evaluate import minkowski

    mask = pack(side) == 0
    return lambda: minkowski(mask)


def case_minkowski_quantimpy(side: int) -> Callable[[], Any]:
    """Measure them with QuantImPy."""
    from quantimpy.minkowski import functionals

    mask = pack(side) == 0
    return lambda: functionals(mask)


def case_two_point(side: int) -> Callable[[], Any]:
    """Measure its two-point correlation."""
    from evaluate import two_point

    mask = pack(side) == 0
    return lambda: two_point(mask)


def case_otsu(side: int) -> Callable[[], Any]:
    """Threshold its image."""
    from segment import otsu
    from synth import fibsem

    grey = fibsem(pack(side), rng=0)
    return lambda: otsu(grey)


def case_two_stage_segmenter(side: int) -> Callable[[], Any]:
    """Segment its image with the shipped networks."""
    from segment import load
    from synth import fibsem

    grey, segmenter = fibsem(pack(side), rng=0), load("fibsem")
    return lambda: segmenter.predict(grey)


def measure(case: Case, side: int) -> tuple[float, float]:
    """Return the median of three runs in seconds and the process's peak memory in GiB."""
    run, seconds = case(side), []
    run()
    for _ in range(3):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Print a table."""
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    cases = {name[5:].replace("_", " "): case for name, case in globals().items() if name.startswith("case_")}
    print(f"{side}³ voxels\n{'case':28}{'seconds':>10}{'GiB':>8}")
    for name, case in cases.items():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            seconds, memory = process.submit(measure, case, side).result()
        print(f"{name:28}{seconds:10.3f}{memory:8.2f}", flush=True)


if __name__ == "__main__":
    main()
