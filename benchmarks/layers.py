"""A report on a gas diffusion layer, beside scikit-image and SciPy: ``python benchmarks/layers.py --out DIR``.

Both sides get the same labels of a synthetic gas diffusion layer with an MPL and measure thickness and height maps,
the cracks' number, areas, widths, lengths and directions, the roughness of the interface by patches, and the area of
MPL towards fibres and pores. The rival does so with whole arrays at a time: reductions along the axis, `regionprops`
and `skeletonize` on the plan, and marching cubes for the areas. It is told the MPL's plane, which ours finds; it makes
no profile, looks for no strays, counts pixels of the skeleton as length and does not part the MPL's area by what it
touches. Each side runs in a process of its own, once on a small volume first; the memory is the largest that the
process ever held, imports included. ``--pore-sizes`` adds a third row, ours with the pore sizes of each layer. The
answers go to DIR/layers.json.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 48
PORE, FIBRE, MPL = range(3)
PATCHES = 8


def make(side: int) -> Any:
    """Return a gas diffusion layer and its truth."""
    import synth

    return synth.gdl_with_mpl((side,) * 3, rng=0)


def ours(labels: np.ndarray, _: int, *, pore_sizes: bool = False) -> dict[str, float]:
    """Measure with `layer_report`."""
    from evaluate.layers import layer_report

    found = layer_report(labels, pore_sizes=pore_sizes)
    return {
        "cracks": found.cracks.n_cracks,
        "crack_area": found.cracks.area,
        "crack_length": float(found.cracks.table["length"].sum()),
        "thickness": found.mpl_thickness.mean,
        "deepest": found.intrusion.largest,
        "c_ra": found.intrusion.c_ra,
        "mpl_surface": found.interfaces.mpl_fibre + found.interfaces.mpl_pore,
    }


def with_pore_sizes(labels: np.ndarray, plane: int) -> dict[str, float]:
    """Measure with `layer_report`, pore sizes too."""
    return ours(labels, plane, pore_sizes=True)


def whole_arrays(labels: np.ndarray, plane: int) -> dict[str, float]:
    """Measure with scikit-image and SciPy, an array at a time."""
    from scipy import ndimage
    from skimage.measure import label, marching_cubes, mesh_surface_area, regionprops
    from skimage.morphology import skeletonize

    mpl = labels == MPL
    thickness = mpl.sum(axis=0)
    height = len(labels) - mpl[::-1].argmax(axis=0)
    cracked = (labels[:plane] == PORE).mean(axis=0) >= 0.75
    ids = label(cracked, connectivity=2)
    wide = 2 * ndimage.distance_transform_edt(cracked)
    lines = skeletonize(cracked)
    rows = [
        (
            region.area,
            region.orientation,
            lines[region.slice][region.image].sum(),
            wide[region.slice][region.image].max(),
        )
        for region in regionprops(ids)
    ]
    vertices, faces, *_ = marching_cubes(mpl.astype(np.float32), 0.5)
    held = thickness > 0
    local, whole = _patches(np.where(held & ~cracked, height, np.nan))
    return {
        "cracks": len(rows),
        "crack_area": float(sum(row[0] for row in rows)),
        "crack_length": float(sum(row[2] for row in rows)),
        "thickness": float(thickness[held].mean()),
        "deepest": float((height[held] - plane).max()),
        "c_ra": float(np.nanstd(local) / whole),
        "mpl_surface": float(mesh_surface_area(vertices, faces)),
    }


def _patches(height: np.ndarray) -> tuple[np.ndarray, float]:
    """Return Ra of the patches and of the whole, a plane taken off."""
    a, b = np.nonzero(np.isfinite(height))
    design = np.column_stack([np.ones(len(a)), a, b])
    level = height.copy()
    level[a, b] -= design @ np.linalg.lstsq(design, height[a, b], rcond=None)[0]
    edge = level.shape[0] // PATCHES
    tiles = level[: edge * PATCHES, : edge * PATCHES].reshape(PATCHES, edge, PATCHES, edge).swapaxes(1, 2)
    local = np.nanmean(np.abs(tiles - np.nanmean(tiles, axis=(2, 3), keepdims=True)), axis=(2, 3))
    return local, float(np.nanmean(np.abs(level)))


SIDES = {"poreforge": ours, "scikit-image, SciPy": whole_arrays, "poreforge + pore sizes": with_pore_sizes}


def measure(name: str, file: Path, plane: int) -> dict[str, Any]:
    """Return what one side finds, its seconds, and the process's peak memory in GiB."""
    small = make(WARM_UP)
    SIDES[name](small.labels, small.truth["substrate_plane"])
    labels = np.load(file)
    start = np.array([time.perf_counter(), time.process_time()])
    found = SIDES[name](labels, plane)
    wall, cpu = (np.array([time.perf_counter(), time.process_time()]) - start).tolist()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": wall, "cpu_seconds": cpu, "gib": peak, "labels_gib": labels.nbytes / 2**30, **found}


def save(side: int, file: Path) -> dict[str, Any]:
    """Write the labels and return what is known of them."""
    made = make(side)
    np.save(file, made.labels)
    truth = made.truth
    return {
        "plane": truth["substrate_plane"],
        "cracks": truth["n_cracks"],
        "crack_area": truth["crack_area"],
        "crack_length": sum(crack["length"] for crack in truth["cracks"]),
        "thickness": truth["thickness"]["mean"],
        "deepest": truth["intrusion"]["max"],
    }


def in_process(function: Any, *arguments: Any) -> Any:
    """Call in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def compare(side: int, folder: Path, names: list[str]) -> dict[str, Any]:
    """Run all sides on one volume and print them."""
    file = folder / f"gdl_{side}.npy"
    truth = in_process(save, side, file)
    rows = {name: in_process(measure, name, file, truth["plane"]) for name in names}
    file.unlink()
    for name, row in {"truth": truth, **rows}.items():
        used = (
            f"{row['seconds']:8.2f} s {row['cpu_seconds']:8.2f} s CPU {row['gib']:6.2f} GiB"
            if "gib" in row
            else " " * 37
        )
        print(
            f"{side:5d}³ {name:24s}{used}  {row['cracks']:4d} cracks, {row['crack_area']:7.0f} in area, "
            f"{row['crack_length']:7.0f} long, thickness {row['thickness']:.3f}, deepest {row['deepest']:.2f}"
        )
    return {"side": side, "truth": truth, **rows}


def main() -> None:
    """Compare at 256³ and 512³ and write the answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--pore-sizes", action="store_true", help="add a row with the pore sizes of each layer")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    names = list(SIDES)[: 3 if given.pore_sizes else 2]
    rows = [compare(side, given.out, names) for side in given.sides]
    answer = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "rows": rows}
    (given.out / "layers.json").write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
