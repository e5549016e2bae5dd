"""All bubbles of a cell in one pass, beside one mask for each bubble: ``python benchmarks/bubbles.py --out DIR``.

Both sides get the same labels of a synthetic flow-battery cell and measure the same of each bubble: volume, centroid,
axes, surface, distance from the membrane and contact with it; ours also parts touching bubbles, takes convex hulls, the
distance from the gasket, half-cells and density maps. The rival labels the gas and maps the distance once (cc3d,
edt), then makes for each bubble a mask of the whole volume and gives that to scikit-image and NumPy, which is
how it is usually written. Where that would take too long, it is timed on a few bubbles, drawn evenly, and extrapolated
to all; the table says so. Each side runs in a process of its own, once on a small cell first; the memory is the
largest that the process ever held, imports included. The answers go to DIR/bubbles.json.
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
BUBBLE, MEMBRANE = 1, 2


def make(side: int, diameter: float) -> Any:
    """Return a cell and its truth."""
    import synth

    return synth.redox_cell((side,) * 3, rng=0, bubble_diameter_vox=diameter)


class Clock:
    """Seconds on the wall and of the processor since it was made."""

    def __init__(self) -> None:
        self.start = np.array([time.perf_counter(), time.process_time()])

    def read(self) -> np.ndarray:
        """Return both, shape (2,)."""
        return np.array([time.perf_counter(), time.process_time()]) - self.start


def ours(labels: np.ndarray, _: int | None) -> dict[str, Any]:
    """Measure all bubbles in one pass."""
    from evaluate.bubbles import bubble_report

    clock = Clock()
    table = bubble_report(labels).bubbles
    return as_row(clock.read(), len(table["id"]), len(table["id"]), table["voxels"].tolist())


def one_by_one(labels: np.ndarray, subset: int | None) -> dict[str, Any]:
    """Measure bubbles by a mask of the whole volume for each."""
    import cc3d
    import edt

    clock = Clock()
    ids, count = cc3d.connected_components(labels == BUBBLE, connectivity=26, return_N=True)
    membrane = labels == MEMBRANE
    distance = edt.edt(~membrane)
    shared = clock.read()
    chosen = list(range(1, count + 1))
    if subset is not None and subset < count:
        chosen = np.unique(np.linspace(1, count, subset).round().astype(int)).tolist()
    clock = Clock()
    found = [measure_mask(ids == number, membrane, distance) for number in chosen]
    total = shared + clock.read() / len(found) * count
    return as_row(total, len(found), count, [int(row["volume"]) for row in found] if len(found) == count else [])


def as_row(seconds: np.ndarray, measured: int, count: int, volumes: list[int]) -> dict[str, Any]:
    """Return what one side reports."""
    wall, cpu = seconds.tolist()
    return {"seconds": wall, "cpu_seconds": cpu, "measured": measured, "n": count, "volume": volumes}


def measure_mask(mask: np.ndarray, membrane: np.ndarray, distance: np.ndarray) -> dict[str, float]:
    """Measure a bubble that is a mask of the whole volume."""
    from skimage.measure import marching_cubes, mesh_surface_area, regionprops

    properties = regionprops(mask.view(np.uint8))[0]
    box = tuple(slice(max(a - 1, 0), b + 1) for a, b in zip(properties.bbox[:3], properties.bbox[3:], strict=True))
    # Only the crop is meshed, or this would take a hundred times as long.
    vertices, faces, *_ = marching_cubes(np.pad(mask[box], 1).astype(np.float32), 0.5)
    contact = sum(
        np.count_nonzero(mask[a] & membrane[b]) + np.count_nonzero(mask[b] & membrane[a])
        for a, b in (_shifted(axis) for axis in range(3))
    )
    return {
        "volume": float(properties.area),
        "axis": float(properties.inertia_tensor_eigvals[0]),
        "centroid": float(properties.centroid[0]),
        "surface": float(mesh_surface_area(vertices, faces)),
        "distance": float(distance[mask].min()),
        "contact": float(contact),
    }


def _shifted(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    every = [slice(None)] * 3
    return (
        tuple(slice(None, -1) if i == axis else s for i, s in enumerate(every)),
        tuple(slice(1, None) if i == axis else s for i, s in enumerate(every)),
    )


SIDES = {"poreforge": ours, "one mask per bubble": one_by_one}


def measure(name: str, side: int, diameter: float, subset: int | None) -> dict[str, Any]:
    """Return seconds, how many bubbles, and the process's peak memory in GiB."""
    SIDES[name](make(WARM_UP, 5.0).labels, 1)
    labels = np.load(_cell_file(side, diameter))
    found = SIDES[name](labels, subset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**found, "gib": peak}


def _cell_file(side: int, diameter: float) -> Path:
    return Path(os.environ["BUBBLES_CELLS"]) / f"cell_{side}_{diameter:g}.npy"


def _save_cell(side: int, diameter: float) -> int:
    structure = make(side, diameter)
    np.save(_cell_file(side, diameter), structure.labels)
    return int(structure.truth["n_bubbles"])


def in_process(function: Any, *arguments: Any) -> Any:
    """Call in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def compare(side: int, diameter: float, subset: int | None) -> dict[str, Any]:
    """Run both sides on a cell and print them."""
    truth = in_process(_save_cell, side, diameter)
    rows = {name: in_process(measure, name, side, diameter, subset) for name in SIDES}
    volumes = [sorted(row.pop("volume")) for row in rows.values()]
    # Of a few bubbles only, there is nothing to compare.
    same = volumes[0] == volumes[1] if volumes[1] else None
    ratio = rows["one mask per bubble"]["cpu_seconds"] / rows["poreforge"]["cpu_seconds"]
    for name, row in rows.items():
        kind = "" if row["measured"] == row["n"] else f"  extrapolated from {row['measured']} bubbles"
        seconds = f"{row['seconds']:9.2f} s {row['cpu_seconds']:9.2f} s CPU"
        print(f"{side:5d}³ {row['n']:6d} bubbles  {name:20s} {seconds} {row['gib']:6.2f} GiB{kind}")
    print(f"{'':7s}{truth} made; {ratio:.0f} times as fast (CPU); volumes equal: {same}")
    return {"side": side, "diameter": diameter, "made": truth, "times_as_fast": ratio, "volumes_equal": same, **rows}


def main() -> None:
    """Compare at 256³ and 512³ and write the answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--diameter", type=float, default=12.0, help="median diameter of the bubbles, voxels")
    parser.add_argument("--whole-up-to", type=int, default=256, help="the rival measures all bubbles up to this side")
    parser.add_argument("--subset", type=int, default=12, help="bubbles that the rival measures of larger cells")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    os.environ["BUBBLES_CELLS"] = str(given.out)
    rows = [compare(side, given.diameter, None if side <= given.whole_up_to else given.subset) for side in given.sides]
    for side in given.sides:
        _cell_file(side, given.diameter).unlink()
    answer = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "rows": rows}
    (given.out / "bubbles.json").write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
