"""Volumes a minute: ``python benchmarks/corpora.py --out DIR [--workers 2] [CONFIG …]``.

By default all of configs/corpora. Each corpus is made in a process of its own: one volume to compile and warm up, then
others for about twenty seconds; structure, image, files and checksums all count. `sphere_pack_blender` and
`sphere_pack_pfib` image the same structures with Blender and without. Then one corpus of 96³ voxels is made by one
process and by several, which counts their start. The answers go to DIR/corpora.json.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import platform
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from launch import load_config
from synth.production import CorpusConfig, produce_corpus

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SECONDS = 20.0
SHARED_COUNT = 120


def measure(file: Path) -> dict[str, Any]:
    """Return volumes a minute, and what one is like."""
    config = load_config(CorpusConfig, file)
    with tempfile.TemporaryDirectory() as folder:
        corpus = produce_corpus(dataclasses.replace(config, count=1), folder)
        begun, count = time.perf_counter(), 1
        while (seconds := time.perf_counter() - begun) < SECONDS:
            count += 1
            corpus = produce_corpus(dataclasses.replace(config, count=count), folder)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        shape = corpus.entries[0]["shape"]
    return {
        "config": file.stem,
        "instrument": config.microscope["instrument"],
        "preset": config.microscope.get("preset", "default"),
        "shape": shape,
        "volumes_per_minute": 60 * (count - 1) / seconds,
        "slices_per_second": shape[0] * (count - 1) / seconds,
        "megabytes": size / count / 1e6,
    }


def share(workers: int) -> dict[str, Any]:
    """Return volumes a minute of `workers` processes."""
    config = dataclasses.replace(load_config(CorpusConfig, CONFIGS / "corpus.yaml"), count=SHARED_COUNT)
    with tempfile.TemporaryDirectory() as folder:
        produce_corpus(dataclasses.replace(config, count=1), folder)
        begun = time.perf_counter()
        produce_corpus(config, folder, workers=workers)
        seconds = time.perf_counter() - begun
    return {"workers": workers, "volumes_per_minute": 60 * (SHARED_COUNT - 1) / seconds}


def main() -> None:
    """Print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="*", type=Path, metavar="CONFIG")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parsed = parser.parse_args()
    rows, shared = [], []
    print(f"{'corpus':28}{'preset':24}{'image':>16}{'volumes/min':>13}{'slices/s':>10}{'MB':>8}")
    for file in parsed.configs or sorted((CONFIGS / "corpora").glob("*.yaml")):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            row = process.submit(measure, file).result()
        rows.append(row)
        print(
            f"{row['config']:28}{row['preset']:24}{'×'.join(map(str, row['shape'])):>16}"
            f"{row['volumes_per_minute']:13.1f}{row['slices_per_second']:10.1f}{row['megabytes']:8.2f}",
            flush=True,
        )
    for workers in sorted({1, parsed.workers}):
        shared.append(share(workers))
        print(f"{workers} workers, 96³: {shared[-1]['volumes_per_minute']:.1f} volumes/min", flush=True)
    parsed.out.mkdir(parents=True, exist_ok=True)
    machine = {"processor": platform.processor() or platform.machine(), "threads": len(os.sched_getaffinity(0))}
    content = {"machine": machine, "corpora": rows, "shared": shared}
    (parsed.out / "corpora.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
