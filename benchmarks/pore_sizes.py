"""Pore sizes, access, clusters beside PoreSpy, SciPy and scikit-image: ``python benchmarks/pore_sizes.py --out DIR``.

Each case runs in a process of its own: once at 48³ to compile, then at the size in question, three times where that
takes less than ten seconds, otherwise once; the median counts, of the clock and of the processor. The memory is by how
much the largest that the process ever held rose, imports, compiling and the mask left out. Ours measure every size that
occurs, PoreSpy 25, its default, or all of them where that is said. The answers go to DIR/pore_sizes.json.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

# Given a mask, measure; the number by which the answers are compared.
Measure = Callable[[np.ndarray], float]
LONGEST_REPEATED = 10.0
REPEATS = 3
WARM_UP = 48
LARGEST_SLOW = 128


def porous(name: str, side: int) -> np.ndarray:
    """Return a mask of pores, True inside them."""
    import synth

    shape = (side,) * 3
    makers: dict[str, Callable[[], Any]] = {
        "sphere pack": lambda: synth.sphere_pack(shape, porosity=0.5, diameter_vox=18, rng=0),
        "gaussian": lambda: synth.gaussian_phases(shape, fractions=(0.5, 0.5), length_vox=12, rng=0),
        "fibre mat": lambda: synth.fibre_mat(shape, rng=0),
    }
    return makers[name]().labels == 0


def our_sizes(method: str) -> Measure:
    """Return our pore size distribution: its mean diameter."""
    from evaluate.morphology.pore_sizes import pore_size_distribution

    return lambda mask: pore_size_distribution(mask, method=method).mean  # type: ignore[arg-type]


def porespy_sizes(function: str, method: str, every_size: bool) -> Measure:
    """Return PoreSpy's map of radii and its distribution: the mean diameter."""
    import edt
    import porespy

    porespy.settings.tqdm["disable"] = True

    def measure(mask: np.ndarray) -> float:
        sizes = np.unique(edt.edt(mask)[mask]) if every_size else 25
        radius = getattr(porespy.filters, function)(mask, method=method, sizes=sizes)
        reached = radius[np.isfinite(radius) & (radius > 0)]
        porespy.metrics.pore_size_distribution(radius, bins=25, log=False)
        return float(2 * reached.mean())

    return measure


def our_clusters() -> Measure:
    """Return our clusters: the fraction that spans z."""
    from evaluate.morphology.connected_parts import clusters

    return lambda mask: clusters(mask).percolating_fraction[0]


def labelled_by(label: Callable[[np.ndarray], np.ndarray]) -> Measure:
    """Return the fraction that spans z from another library's labels."""

    def measure(mask: np.ndarray) -> float:
        labels = label(mask)
        voxels = np.bincount(labels.ravel())
        spanning = np.intersect1d(labels[0], labels[-1])
        return float(voxels[spanning[spanning > 0]].sum() / mask.sum())

    return measure


def scipy_clusters() -> Measure:
    """Return SciPy's."""
    from scipy import ndimage

    return labelled_by(lambda mask: ndimage.label(mask)[0])


def skimage_clusters() -> Measure:
    """Return scikit-image's."""
    from skimage import measure

    return labelled_by(lambda mask: measure.label(mask, connectivity=1))


# Beside its maker: whether it is left out above 128³, where it would take many minutes.
CASES: dict[str, dict[str, tuple[Callable[[], Measure], bool]]] = {
    "pore sizes": {
        "ours, all sizes": (lambda: our_sizes("local_thickness"), False),
        "PoreSpy dt": (lambda: porespy_sizes("local_thickness", "dt", False), False),
        "PoreSpy conv": (lambda: porespy_sizes("local_thickness", "conv", False), True),
        "PoreSpy imj": (lambda: porespy_sizes("local_thickness", "imj", False), True),
        "PoreSpy dt, all sizes": (lambda: porespy_sizes("local_thickness", "dt", True), True),
    },
    "access from all faces": {
        "ours, all sizes": (lambda: our_sizes("intrusion"), False),
        "PoreSpy dt": (lambda: porespy_sizes("porosimetry", "dt", False), False),
    },
    "clusters": {
        "ours": (our_clusters, False),
        "SciPy": (scipy_clusters, False),
        "scikit-image": (skimage_clusters, False),
    },
}


def measure(group: str, key: str, masks: Path) -> dict[str, float]:
    """Return seconds of the clock and of the processor, the memory that was added in GiB, and the answer."""
    case = CASES[group][key][0]()
    case(np.load(masks / "small.npy"))
    mask = np.load(masks / "large.npy")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds: list[float] = []
    busy: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < LONGEST_REPEATED:
        clock, processor = time.perf_counter(), time.process_time()
        answer = case(mask)
        seconds.append(time.perf_counter() - clock)
        busy.append(time.process_time() - processor)
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "seconds": statistics.median(seconds),
        "processor": statistics.median(busy),
        "gib": added / 2**20,
        "answer": answer,
    }


def run(group: str, key: str, masks: Path) -> dict[str, float]:
    """Measure in a process of its own, which has never held more than the masks."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, group, key, masks).result()


def write_masks(folder: Path, structure: str, side: int) -> Path:
    """Make the mask to measure and the one to warm up with."""
    folder.mkdir()
    np.save(folder / "small.npy", porous(structure, WARM_UP))
    np.save(folder / "large.npy", porous(structure, side))
    return folder


def compare(groups: list[str], structures: list[str], sides: list[int]) -> list[dict[str, Any]]:
    """Print ours beside the others'."""
    rows: list[dict[str, Any]] = []
    print(
        f"{'measure':24}{'structure':13}{'side':>4}  {'by':22}{'seconds':>9}{'cpu s':>8}{'GiB':>6}{'times':>7}  answer"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for structure, side in itertools.product(structures, sides):
            masks = write_masks(Path(scratch) / f"{structure} {side}", structure, side)
            for group in groups:
                own = 0.0
                for key, (_, slow) in CASES[group].items():
                    if slow and side > LARGEST_SLOW:
                        continue
                    found = run(group, key, masks)
                    own = own or found["seconds"]
                    rows.append({"measure": group, "structure": structure, "side": side, "by": key, **found})
                    print(
                        f"{group:24}{structure:13}{side:4}  {key:22}{found['seconds']:9.3f}{found['processor']:8.2f}"
                        f"{found['gib']:6.2f}{found['seconds'] / own:7.1f}  {found['answer']:.4f}",
                        flush=True,
                    )
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--measures", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--structures", nargs="*", default=["sphere pack", "gaussian", "fibre mat"])
    parser.add_argument("--sides", type=int, nargs="*", default=[128, 256])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    hardware = {"processor": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0))}
    rows = compare(options.measures, options.structures, options.sides)
    (options.out / "pore_sizes.json").write_text(json.dumps({"hardware": hardware, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
