"""Distances between meshes, beside Open3D's and trimesh's: ``python benchmarks/meshes.py --out DIR``.

Two surfaces of a porous solid (dual contouring and marching cubes of the same labels), and the distances from points
on the one to the triangles of the other: what Chamfer and Hausdorff distances are made of. Each side builds its search
tree from the bare arrays every time, as a caller would. Point sets are compared too. Every side runs in a process of
its own after a small call that compiles or loads what is needed; the best of three counts where that takes less than
ten seconds. The memory is the largest that the process ever held, imports and meshes included. Peers that are not
installed are left out. The answers go to DIR/meshes.json.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

LONGEST_REPEATED = 10.0
REPEATS = 3
# Trimesh's own search takes milliseconds a point; its time is that of these few, times the number asked for.
TRIMESH_POINTS = 2000
Distances = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def two_surfaces(side: int) -> tuple[Any, Any]:
    """Return two meshes of one solid with smooth pores, about 12 voxels wide."""
    from scipy.ndimage import gaussian_filter

    from evaluate import reconstruct

    noise = gaussian_filter(np.random.default_rng(0).standard_normal((side, side, side), np.float32), 4, mode="wrap")
    labels = noise > 0
    return reconstruct(labels, "dual_contouring"), reconstruct(labels)


def points_on(mesh: Any, count: int) -> np.ndarray:
    """Return points drawn evenly over a mesh."""
    from evaluate.surfaces.distances import SearchedMesh, _points_on

    return _points_on(SearchedMesh(mesh), count, 1, vertices=False)


def ours(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Measure with the project's tree of boxes."""
    from evaluate.surfaces.triangle_tree import TriangleTree

    return TriangleTree.build(vertices[faces]).distances(points)


def open3d(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Measure with Open3D's scene (Embree), which has single precision only."""
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene(nthreads=int(os.environ.get("NUMBA_NUM_THREADS", "0")))
    scene.add_triangles(o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(faces.astype(np.uint32)))
    return scene.compute_distance(o3d.core.Tensor(points.astype(np.float32))).numpy()


def trimesh(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Measure with trimesh's search over an R-tree."""
    import trimesh

    mesh = trimesh.Trimesh(vertices, faces, process=False, validate=False)
    return trimesh.proximity.closest_point(mesh, points)[1]


def our_points(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Measure to the vertices alone, with the project's k-d tree (SciPy's)."""
    from evaluate.surfaces.distances import _distances

    return _distances(points, vertices)


def open3d_points(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Measure to the vertices alone, with Open3D's search."""
    import open3d as o3d

    clouds = [o3d.geometry.PointCloud(o3d.utility.Vector3dVector(p)) for p in (points, vertices)]
    return np.asarray(clouds[0].compute_point_cloud_distance(clouds[1]))


SIDES: dict[str, tuple[Distances, str | None, str]] = {
    "ours": (ours, None, "triangles"),
    "Open3D": (open3d, "open3d", "triangles"),
    "trimesh": (trimesh, "rtree", "triangles"),
    "ours, points": (our_points, None, "points"),
    "Open3D, points": (open3d_points, "open3d", "points"),
}


def measure(name: str, folder: str, n_points: int) -> dict[str, Any]:
    """Return seconds, CPU seconds and peak memory in GiB; write the distances into `folder`."""
    function = SIDES[name][0]
    data = np.load(Path(folder) / "meshes.npz")
    points, vertices, faces = data["points"][:n_points], data["vertices"], data["faces"]
    scale = 1.0
    if name == "trimesh" and n_points > TRIMESH_POINTS:
        scale, points = n_points / TRIMESH_POINTS, points[:TRIMESH_POINTS]
    function(points[:10], vertices[faces[:100]].reshape(-1, 3), np.arange(300).reshape(-1, 3))
    seconds: list[float] = []
    cpu: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < LONGEST_REPEATED:
        start, start_cpu = time.perf_counter(), time.process_time()
        found = function(points, vertices, faces)
        seconds.append((time.perf_counter() - start) * scale)
        cpu.append((time.process_time() - start_cpu) * scale)
    np.save(Path(folder) / f"{name}.npy", found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": min(seconds), "cpu_seconds": min(cpu), "gib": peak, "mean": float(found.mean())}


def prepare(side: int, folder: str, n_points: int) -> tuple[int, int]:
    """Write meshes and points into `folder`; return the numbers of faces."""
    first, second = two_surfaces(side)
    np.savez(
        Path(folder) / "meshes.npz",
        points=points_on(first, n_points), vertices=second.vertices, faces=second.faces,
    )  # fmt: skip
    return len(first.faces), len(second.faces)


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def compare(side: int, counts: list[int], names: list[str], folder: str) -> list[dict[str, Any]]:
    """Print a line for each side and number of points."""
    rows = []
    _, n_faces = apart(prepare, side, folder, max(counts))
    for count in counts:
        answers: dict[str, np.ndarray] = {}
        for name in names:
            _, needs, kind = SIDES[name]
            if needs is not None and importlib.util.find_spec(needs) is None:
                continue
            row = {"side": side, "faces": n_faces, "points": count, "name": name, **apart(measure, name, folder, count)}
            answers[name] = found = np.load(Path(folder) / f"{name}.npy")
            first = answers["ours" if kind == "triangles" else "ours, points"][: len(found)]
            row["largest_difference"] = float(np.abs(found - first).max())
            rows.append(row)
            print(
                f"{n_faces:10}{count:10}  {name:16}{row['seconds']:10.3f}{row['cpu_seconds']:10.3f}{row['gib']:7.2f}"
                f"{row['mean']:12.6f}{row['largest_difference']:12.1e}",
                flush=True,
            )
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--sides", type=int, nargs="*", default=[80, 176], help="voxels along the volume's edge")
    parser.add_argument("--points", type=int, nargs="*", default=[20_000, 500_000], help="points measured")
    parser.add_argument("--only", nargs="*", choices=SIDES, default=list(SIDES), help="ours, and whom to compare with")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    hardware = {"processor": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0))}
    print(f"{'faces':>10}{'points':>10}  {'':16}{'seconds':>10}{'CPU s':>10}{'GiB':>7}{'mean':>12}{'difference':>12}")
    rows = [row for side in options.sides for row in compare(side, options.points, options.only, str(options.out))]
    (options.out / "meshes.json").write_text(json.dumps({"hardware": hardware, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
