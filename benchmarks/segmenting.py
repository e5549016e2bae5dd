"""A segmenter at work on ever deeper stacks, and its seams: ``python benchmarks/segmenting.py --out DIR``.

Three tables, printed and written to DIR/segmenting.json:

- *depth*: seconds and peak memory of ``poreforge segment`` from a Zarr store to a Zarr store, 256 × 256 pixels in the
  slice, each depth in a process of its own; with ``--large`` also 700 slices of 1000 × 1000;
- *cube*: seconds of wall clock and of all processors for 150³ in memory, by threads and by precision, and how many
  labels differ from single precision;
- *seams*: how labels and probabilities differ between small tiles and the whole volume as one tile, by the distance
  from the nearest border of a tile.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

DEPTHS = (64, 128, 256, 512, 1024)
SIDE, CUBE = 256, 150
LARGE = (700, 1000, 1000)
# Voxels from a border of a tile: up to these, each from the one before.
DISTANCES = (1, 2, 4, 8, 16, 32)
SEAM_SHAPE, SEAM_TILE = (96, 192, 192), 64


def make(path: Path, shape: tuple[int, int, int]) -> None:
    """Write smooth blobs with noise, slab by slab, unless they are there."""
    from scipy import ndimage

    import volume

    if path.exists():
        return
    rng = np.random.default_rng(0)
    side = 128
    field = ndimage.gaussian_filter(rng.standard_normal((side,) * 3), 4, mode="wrap")
    block = np.where(field > 0, 170.0, 70.0)
    tiles = (1, *(-(-n // side) for n in shape[1:]))

    def slabs() -> Any:
        for first in range(0, shape[0], 16):
            planes = np.take(block, np.arange(first, min(first + 16, shape[0])), axis=0, mode="wrap")
            plane = np.tile(planes, tiles)[:, : shape[1], : shape[2]]
            yield np.clip(plane + rng.normal(0, 20, plane.shape), 0, 255).astype(np.uint8)

    volume.write_slabs(path, slabs(), shape=shape)


def segment_here(path: Path, model: str, precision: str) -> dict[str, Any]:
    """Segment a file in this process."""
    from poreforge.segmentation import Computing, segment_file

    start, before = time.perf_counter(), time.process_time()
    # Its type is a choice of two names.
    computing = Computing(device="cpu", precision=precision)  # type: ignore[arg-type]
    summary = segment_file(path, path.with_name(f"{path.stem}-labels.zarr"), model=model, computing=computing)
    return {
        "shape": summary["shape"],
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - before,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def cube_here(path: Path, model: str, precision: str) -> dict[str, Any]:
    """Segment a file's volume in memory; the second time counts, when libraries and kernels are loaded."""
    import torch

    import segment
    import volume

    grey = volume.read(path).array
    segmenter = segment.load(model).on("cpu", precision=precision)  # type: ignore[arg-type]
    segmenter.predict(grey[:32])
    start, before = time.perf_counter(), time.process_time()
    labels = segmenter.predict(grey).labels
    found = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - before}
    if precision == "float32":
        np.save(path.with_suffix(".npy"), labels)
    differ = float(np.mean(labels != np.load(path.with_suffix(".npy"))))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"threads": torch.get_num_threads(), "precision": precision, **found, "differ": differ, "peak_gib": peak}


def in_a_process(kind: str, path: Path, model: str, *, precision: str, threads: int) -> dict[str, Any]:
    """Call one of the above in a process of its own."""
    command = [sys.executable, __file__, "--worker", kind, "--out", str(path), "--model", model]
    done = subprocess.run(
        [*command, "--precision", precision],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    return json.loads(done.stdout.splitlines()[-1])


def seams(path: Path, model: str) -> list[dict[str, Any]]:
    """Compare small tiles with a single one."""
    import segment
    import volume
    from segment import segmenter as module

    grey = volume.read(path).array
    segmenter = segment.load(model)
    usual = module.SLICE_TILE, module.BLOCK_TILE
    try:
        module.SLICE_TILE, module.BLOCK_TILE = max(grey.shape), (max(grey.shape),) * 3
        whole = segmenter.predict(grey)
        module.SLICE_TILE, module.BLOCK_TILE = 2 * SEAM_TILE, (SEAM_TILE,) * 3
        tiles = module.block_tiles(segmenter.refine or segmenter.first, grey.shape)["tile"]
        tiled = segmenter.predict(grey)
    finally:
        module.SLICE_TILE, module.BLOCK_TILE = usual
    distance = distance_to_borders(
        grey.shape, tiles, module.BLOCK_OVERLAP, (segmenter.refine or segmenter.first).factor
    )
    differ = whole.labels != tiled.labels
    change = np.abs(whole.probability[0] - tiled.probability[0])
    rows, least = [], 0
    for most in (*DISTANCES, max(grey.shape)):
        chosen = (distance >= least) & (distance < most)
        if chosen.any():
            rows.append(
                {
                    "from": least,
                    "to": most,
                    "labels_differ": float(differ[chosen].mean()),
                    "mean_change": float(change[chosen].mean()),
                    "largest_change": float(change[chosen].max()),
                }
            )
        least = most
    return rows


def distance_to_borders(shape: tuple[int, ...], tiles: tuple[int, ...], overlap: int, multiple: int) -> np.ndarray:
    """Return how far each voxel is from the middle of the nearest overlap of two blocks, where seams would be."""
    from segment.tiling import tile_starts

    nearest = np.full(shape, max(shape), np.float32)
    for axis, (size, side) in enumerate(zip(shape, tiles, strict=True)):
        starts = tile_starts(-(-size // multiple) * multiple, side, overlap, multiple)
        for start, before in zip(starts[1:], starts, strict=False):
            away = np.abs(np.arange(size) + 0.5 - (start + before + side) / 2)
            nearest = np.minimum(nearest, away.reshape([-1 if k == axis else 1 for k in range(3)]))
    return nearest


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--model", default="fibsem")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--precision", default="float32", help="of the table of depths")
    parser.add_argument("--depths", type=int, nargs="*", default=list(DEPTHS))
    parser.add_argument("--side", type=int, default=SIDE, help="of the slices")
    parser.add_argument("--large", action="store_true", help="also 700 slices of 1000 × 1000")
    parser.add_argument("--without", nargs="*", default=[], choices=("cube", "seams"))
    parser.add_argument("--worker", choices=("segment", "cube"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        here = segment_here if arguments.worker == "segment" else cube_here
        print(json.dumps(here(arguments.out, arguments.model, arguments.precision)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    print_tables(arguments)


def print_tables(arguments: argparse.Namespace) -> None:
    """Measure, print as it goes and write the JSON."""
    found: dict[str, Any] = {"depth": [], "cube": [], "seams": []}
    shapes = [(depth, arguments.side, arguments.side) for depth in arguments.depths] + [LARGE] * arguments.large
    print(f"{'shape':>18}{'seconds':>10}{'of cores':>10}{'Mvoxel/s':>10}{'peak GiB':>10}")
    for shape in shapes:
        path = arguments.out / f"grey-{'x'.join(map(str, shape))}.zarr"
        make(path, shape)
        row = in_a_process(
            "segment", path, arguments.model, precision=arguments.precision, threads=max(arguments.threads)
        )
        found["depth"].append(row)
        pace = np.prod(shape) / 1e6 / row["seconds"]
        size = " × ".join(map(str, shape))
        print(
            f"{size:>18}{row['seconds']:10.1f}{row['cpu_seconds']:10.1f}{pace:10.2f}{row['peak_gib']:10.2f}", flush=True
        )
    if "cube" not in arguments.without:
        path = arguments.out / "cube.tif"
        make(path, (CUBE,) * 3)
        print(f"\n{'150³: threads':>14}{'precision':>12}{'seconds':>10}{'of cores':>10}{'labels that differ':>20}")
        for threads in arguments.threads:
            for precision in ("float32", "bfloat16"):
                row = in_a_process("cube", path, arguments.model, precision=precision, threads=threads)
                found["cube"].append(row)
                print(
                    f"{threads:>14}{precision:>12}{row['seconds']:10.2f}{row['cpu_seconds']:10.2f}{row['differ']:20.2e}",
                    flush=True,
                )
    if "seams" not in arguments.without:
        path = arguments.out / "seams.tif"
        make(path, SEAM_SHAPE)
        found["seams"] = seams(path, arguments.model)
        print(f"\n{'voxels from seam':>18}{'labels that differ':>20}{'mean change of p':>18}{'largest':>10}")
        for row in found["seams"]:
            place = f"{row['from']} to {row['to']}"
            print(f"{place:>18}{row['labels_differ']:20.2e}{row['mean_change']:18.2e}{row['largest_change']:10.3f}")
    (arguments.out / "segmenting.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
