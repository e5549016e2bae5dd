"""All ways to make volumes of a material, at equal training time: ``python benchmarks/generators.py --out DIR``.

Every method gets the same labelled volume and the same wall-clock minutes of training on the same machine, alone: a
pilot of a few steps says how many fit (a random field needs seconds and takes what it needs). Each then makes the same
number of volumes and ``poreforge compare`` sets them beside the material, and beside a part of it that no method saw.
Training, volumes and the table stay in DIR; a second call goes on where the first was stopped.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from volume import Volume, read, write

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {
    "diffusion": ("train_ddpm.py", "best.yaml"),
    "diffusion-paper": ("train_ddpm.py", "paper.yaml"),
    "dcgan": ("train_gan.py", "dcgan.yaml"),
    "slicegan": ("train_gan.py", "slicegan.yaml"),
    "gaussian": ("fit_random_field.py", "gaussian.yaml"),
    "boolean": ("fit_random_field.py", "boolean.yaml"),
}
FITTED = ("gaussian", "boolean")
PILOT_STEPS = 14
# The first steps pay for memory and kernels.
PILOT_WARM = 4
RECIPES: dict[str, Literal["two-phase", "three-phase"]] = {
    "sofc-two-phase": "two-phase",
    "sofc-three-phase": "three-phase",
}


def prepare_material(name: str, out: Path, *, side: int, volume_side: int) -> tuple[Path, Path]:
    """Write the volume to learn from and one that is held out."""
    learnt, held_out = out / "material.tif", out / "held-out.tif"
    asked, record = {"material": name, "side": side}, out / "material.json"
    if learnt.exists() and held_out.exists():
        if json.loads(record.read_text()) != asked:
            raise SystemExit(f"'{out}' holds another material; choose another folder")
        return learnt, held_out
    record.write_text(json.dumps(asked) + "\n")
    if name in RECIPES:
        from synth import sofc_electrode

        for path, seed in ((learnt, 1), (held_out, 2)):
            structure = sofc_electrode((side, side, side), preset=RECIPES[name], rng=seed)
            write(path, Volume(structure.labels, phases=structure.phases))
        return learnt, held_out
    whole = read(name)
    # The last quarter of the planes is for the comparison alone, and at least one volume thick.
    cut = whole.shape[0] - max(whole.shape[0] // 4, volume_side)
    for path, planes in ((learnt, slice(0, cut)), (held_out, slice(cut, None))):
        write(path, Volume(whole.array[planes], whole.voxel_size_um, whole.phases))
    return learnt, held_out


def command(method: str, material: Path, run: Path, settings: list[str]) -> list[str]:
    """Return what trains a method."""
    script, config = SCRIPTS[method]
    fixed = ["material.recipe=null", f"material.volume={material}", *settings]
    pairs = [part for setting in fixed for part in ("--set", setting)]
    return [
        sys.executable, str(ROOT / "generative" / script), "--config", str(ROOT / "configs" / "generative" / config),
        *pairs, "--out", str(run),
    ]  # fmt: skip


def seconds_a_step(method: str, material: Path, run: Path, settings: list[str]) -> float:
    """Train a few steps and return how long one takes."""
    pilot = run.with_name(f"{run.name}-pilot")
    few = [f"training.steps={PILOT_STEPS}", "training.log_every=1", "training.checkpoint_every=1000000"]
    few += ["training.monitor_every=0", "sampling.count=1"]
    if SCRIPTS[method][0] == "train_ddpm.py":
        few += ["sampling.calibrate=0", "sampling.steps=1"]
    subprocess.run(command(method, material, pilot, [*settings, *few]), check=True, cwd=ROOT)
    log = [json.loads(line) for line in (pilot / "metrics.jsonl").read_text().splitlines()]
    times = {line["step"]: line["seconds"] for line in log}
    return (times[PILOT_STEPS] - times[PILOT_WARM]) / (PILOT_STEPS - PILOT_WARM)


def train(method: str, material: Path, out: Path, *, minutes: float, settings: list[str]) -> dict[str, Any]:
    """Train a method for so many minutes, and return what it took."""
    run, record = out / method, out / f"{method}.json"
    if record.exists():
        return dict(json.loads(record.read_text()))
    facts: dict[str, Any] = {}
    if method not in FITTED:
        pace = seconds_a_step(method, material, run, settings)
        facts = {"seconds_a_step": round(pace, 4), "steps": max(1, int(minutes * 60 / pace))}
        settings = [*settings, f"training.steps={facts['steps']}"]
    began = time.perf_counter()
    subprocess.run(command(method, material, run, settings), check=True, cwd=ROOT)
    facts["seconds"] = round(time.perf_counter() - began, 1)
    record.write_text(json.dumps(facts) + "\n")
    return facts


def draw(method: str, out: Path, *, count: int, side: int) -> float:
    """Make the volumes that are compared; return the seconds of one."""
    folder = out / method / "volumes"
    record = folder / "summary.json"
    # Of volumes that are there already a second call would say that they took no time.
    if not (record.exists() and len(json.loads(record.read_text())["volumes"]) == count):
        subprocess.run(
            [sys.executable, "-m", "poreforge", "generate", "--model", str(out / method), "--count", str(count),
             "--shape", *[str(side)] * 3, "--seed", "1", "--out", str(folder)],
            check=True, cwd=ROOT,
        )  # fmt: skip
    summary = json.loads(record.read_text())
    return float(np.median([row["seconds"] for row in summary["volumes"]]))


def add_options(parser: argparse.ArgumentParser, *, material: str, minutes: float, count: int) -> None:
    """Add what every comparison of generators asks for, with its defaults."""
    parser.add_argument("--material", default=material, help=f"{', '.join(RECIPES)}, or a file with labels")
    parser.add_argument("--minutes", type=float, default=minutes, help="of training, for each")
    parser.add_argument("--count", type=int, default=count, help="volumes of each")
    parser.add_argument("--side", type=int, default=64, help="of a volume, in voxels")
    parser.add_argument("--material-side", type=int, default=256, help="of a material made from a recipe, in voxels")
    parser.add_argument("--out", type=Path, required=True)


def main() -> None:
    """Train, draw, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, material="sofc-two-phase", minutes=15, count=32)
    parser.add_argument("--methods", nargs="+", default=list(SCRIPTS), choices=list(SCRIPTS))
    parser.add_argument("--set", action="append", default=[], metavar="METHOD:KEY=VALUE", help="setting of one method")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    material, held_out = prepare_material(given.material, given.out, side=given.material_side, volume_side=given.side)
    # The Boolean model has two phases.
    methods = [m for m in given.methods if m != "boolean" or int(np.max(read(material).array)) < 2]
    rows = {}
    for method in methods:
        settings = [text.partition(":")[2] for text in given.set if text.partition(":")[0] == method]
        rows[method] = train(method, material, given.out, minutes=given.minutes, settings=settings)
        rows[method]["seconds_a_volume"] = draw(method, given.out, count=given.count, side=given.side)
        print(method, rows[method], flush=True)
    facts = {"material": given.material, "minutes": given.minutes, "machine": platform.processor(), "methods": rows}
    (given.out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    generated = [f"{method}={given.out / method / 'volumes'}" for method in methods]
    paper = ["--paper", RECIPES[given.material]] if given.material in RECIPES else []
    subprocess.run(
        [sys.executable, "-m", "poreforge", "compare", "--real", str(material), "--held-out", str(held_out),
         "--generated", *generated, "--subvolume", str(given.side), *paper, "--out", str(given.out / "compare")],
        check=True, cwd=ROOT,
    )  # fmt: skip


if __name__ == "__main__":
    main()
