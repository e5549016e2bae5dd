"""How segmenters do on stacks that `synth` has nothing to do with: other structures, and another way to make an image.

    python benchmarks/carry_over.py --models fibsem runs/mine --out DIR

Twelve stacks of 44 × 192 × 192 voxels, made here in numpy and scipy: foams of Voronoi cells, flakes, level cuts of two
lengths and threads, each of one solid, of two, the second a flat mid-grey, and of a dark and a bright one with resin in
the pores. Empty pores are as dark as they are deep, their floors nearly as bright as the cut; edges glow; curtains, a
gradient, jitter of the slices and noise are added. Nothing here is meant to be right: it is meant to be unlike what the
segmenters have learnt from. ``stacks.png`` shows all.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from networks import mean_and_error
from scipy import ndimage
from scipy.spatial import cKDTree

import segment
from evaluate import agreement

SHAPE = (44, 192, 192)
SHOWN = 20


def field(width: float | tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a smooth Gaussian field of unit variance."""
    smooth = ndimage.gaussian_filter(rng.standard_normal(SHAPE), width, mode="wrap")
    return (smooth - smooth.mean()) / smooth.std()


def foam(rng: np.random.Generator, porosity: float) -> np.ndarray:
    """Return walls between the cells of random points, of uneven thickness."""
    points = rng.random((int(rng.integers(40, 200)), 3)) * SHAPE
    places = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1).reshape(-1, 3)
    distance, _ = cKDTree(points).query(places, k=2)
    wall = (distance[:, 1] - distance[:, 0]).reshape(SHAPE) + 0.8 * field(3, rng)
    return wall < np.quantile(wall, 1 - porosity)


def flakes(rng: np.random.Generator, porosity: float) -> np.ndarray:
    """Return discs in all directions."""
    solid, grid = np.zeros(SHAPE, bool), np.indices(SHAPE)
    while solid.mean() < 1 - porosity:
        centre, normal = rng.random(3) * SHAPE, rng.standard_normal(3)
        normal /= np.linalg.norm(normal)
        radius, half = rng.uniform(10, 30), rng.uniform(2, 7)
        low, high = np.maximum(0, (centre - radius).astype(int)), np.minimum(SHAPE, (centre + radius + 1).astype(int))
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        offset = [axis[window] - c for axis, c in zip(grid, centre, strict=True)]
        height = sum(d * n for d, n in zip(offset, normal, strict=True))
        across = sum(d**2 for d in offset) - height**2
        solid[window] |= (np.abs(height) < half) & (across < radius**2)
    return solid


def rough_cut(rng: np.random.Generator, porosity: float) -> np.ndarray:
    """Return a level cut of a coarse field with a fine one on it."""
    values = field(rng.uniform(4, 8), rng) + 0.35 * field(1.5, rng)
    return values > np.quantile(values, porosity)


def threads(rng: np.random.Generator, porosity: float) -> np.ndarray:
    """Return sheets that bend into threads."""
    values = np.minimum(np.abs(field((6, 3, 9), rng)), np.abs(field((3, 9, 6), rng)))
    return values < np.quantile(values, 1 - porosity)


KINDS = ("one solid", "two solids", "dark and bright solid")
MATERIALS: dict[str, Callable[[np.random.Generator, float], np.ndarray]] = {
    "foam": foam, "flakes": flakes, "rough level cut": rough_cut, "threads": threads,
}  # fmt: skip


def depth_of_pores(solid: np.ndarray) -> np.ndarray:
    """Return how many slices lie between a pore's voxel and the solid behind it; beyond the stack it begins at 12."""
    depth, behind = np.zeros(SHAPE, np.float32), np.full(SHAPE[1:], 12, np.float32)
    for z in range(SHAPE[0] - 1, -1, -1):
        behind = np.where(solid[z], 0, behind + 1)
        depth[z] = behind
    return depth


def picture(solid: np.ndarray, rng: np.random.Generator, *, kind: str) -> np.ndarray:
    """Return grey values, uint8."""
    fade, floor, dark = rng.uniform(4, 25), rng.uniform(0.6, 1.05), rng.uniform(0.05, 0.35)
    face = 1 + 0.06 * field(2.5, rng)
    if kind == "two solids":
        face = np.where(field(6, rng) > 0.6, 0.62 * face, face)
    if kind == "dark and bright solid":
        face = np.where(field(8, rng) > 0.2, face, rng.uniform(0.4, 0.6) * face)
        # Resin is darker than the darkest solid, and lets nothing shine through.
        pore = 0.6 * dark * (1 + 0.1 * field(2, rng))
    else:
        mouth = ndimage.gaussian_filter((~solid).astype(np.float32), (0, 6, 6))
        pore = dark + (floor - dark) * np.exp(-depth_of_pores(solid) / fade) * np.clip(0.35 + 1.2 * mouth, 0, 1)
    edge = ndimage.gaussian_filter(solid.astype(np.float32), (0, 1.2, 1.2))
    glow = rng.uniform(0.1, 0.4) * np.where(solid, 4 * edge * (1 - edge), 0)
    blur = rng.uniform(0.4, 1, 2)
    image = ndimage.gaussian_filter(np.where(solid, face, pore) + glow, (0, *blur))
    curtains = ndimage.gaussian_filter1d(rng.standard_normal((SHAPE[0], SHAPE[2])), 1.2, axis=1)
    image += rng.uniform(0.02, 0.08) * curtains[:, None]
    image += rng.uniform(-0.15, 0.15) * np.linspace(-1, 1, SHAPE[1])[:, None]
    image *= 1 + 0.03 * rng.standard_normal((SHAPE[0], 1, 1))
    image += rng.uniform(0.04, 0.1) * rng.standard_normal(SHAPE)
    low, high = np.quantile(image, [0.001, 0.999])
    return (255 * np.clip((image - low) / (high - low), 0, 1)).astype(np.uint8)


def stacks(seed: int = 100) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return by name the grey values and the truth, 1 where solid; the seed is that of the first stack."""
    made = {}
    for row, (name, material) in enumerate(MATERIALS.items()):
        for column, kind in enumerate(KINDS):
            # Filled pores came later, and left the others' seeds as they were.
            rng = np.random.default_rng(seed + (2 * row + column if column < 2 else 2 * len(MATERIALS) + row))
            solid = material(rng, rng.uniform(0.3, 0.65))
            made[f"{name}, {kind}"] = picture(solid, rng, kind=kind), solid.astype(np.uint8)
    return made


def methods(models: list[str]) -> dict[str, Any]:
    """Return functions from grey values and truth to labels."""
    loaded = {name: segment.load(name) for name in models}
    return {
        "Otsu": lambda grey, truth: segment.otsu(grey),
        "told the porosity": lambda grey, truth: segment.porosity_threshold(grey, float(np.mean(truth == 0))),
        **{name: lambda grey, truth, model=model: model.predict(grey).labels for name, model in loaded.items()},
    }


def scores(labels: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Return mean IoU, IoU of the pore and the error of the porosity."""
    match = agreement(labels, truth, n_phases=2)
    return float(match.mean_iou), float(match.iou[0]), float(np.mean(labels == 0) - np.mean(truth == 0))


def save_pictures(made: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Write a slice of each stack above its truth."""
    from PIL import Image

    columns = [np.vstack([grey[SHOWN], 255 * truth[SHOWN]]) for grey, truth in made.values()]
    n = len(KINDS)
    rows = [np.hstack(columns[k : k + n]) for k in range(0, len(columns), n)]
    Image.fromarray(np.vstack([np.hstack(rows[:2]), np.hstack(rows[2:])])).save(path)


def main() -> None:
    """Score all methods on all stacks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["fibsem"], help="shipped names or folders of trainings")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=100, help="of the first stack; the table of the manual has 100")
    parsed = parser.parse_args()
    parsed.out.mkdir(parents=True, exist_ok=True)
    made = stacks(parsed.seed)
    save_pictures(made, parsed.out / "stacks.png")
    found = {
        name: {stack: scores(method(grey, truth), truth) for stack, (grey, truth) in made.items()}
        for name, method in methods(parsed.models).items()
    }
    (parsed.out / "scores.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print("| stack | " + " | ".join(found) + " |\n|---|" + "---|" * len(found))
    for stack in made:
        print(f"| {stack} | " + " | ".join(cell(*found[name][stack]) for name in found) + " |")
    for kind in (*KINDS, ""):
        for index, score in enumerate(("mean IoU %", "IoU of pore %", "absolute error of porosity, points")):
            cells = (mean([one for stack, one in found[name].items() if stack.endswith(kind)], index) for name in found)
            print(f"| {kind or 'all'}: {score} | " + " | ".join(cells) + " |")


def cell(mean_iou: float, _: float, error: float) -> str:
    """Return the mean IoU and the error of porosity in points."""
    return f"{100 * mean_iou:.1f} ({100 * error:+.1f})"


def mean(of_stacks: list[tuple[float, float, float]], index: int) -> str:
    """Return the mean of one score in hundredths, with its standard error."""
    return "{:.1f} ± {:.1f}".format(*mean_and_error([100 * abs(one[index]) for one in of_stacks]))


if __name__ == "__main__":
    main()
