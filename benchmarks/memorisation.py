"""Time and verdicts of the memorisation audit, false alarms of the seam measure: ``… memorisation.py --out DIR``.

The audit runs on volumes given with ``--volumes`` and on `synth.sofc_electrode`, in a process of its own each (largest
memory, imports and volume included): (a) the whole volume as training material and a mirrored, turned part of it with
5 % of the voxels wrong as what was generated, which must be found; (b) one half as training material and the other as
generated, which must not; (c) noise against noise, where no bound helps: the worst case, at a quarter of the side.

Beside it the same distances by Fourier transform, every label of every copy correlated with the whole volume, for one
copy of a few patches; the seconds for all copies are those times their number. Both must agree.

Then the seam measure on Gaussian media without seams: the share of media that it flags, and of single numbers whose own
p value is below the level; and on media of independent blocks. The answers go to DIR/memorisation.json.
"""

import argparse
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

SIZE = 32
SIDE = 192
LEVEL = 0.05


def load(source: str) -> np.ndarray:
    """Return labels of a file, or of a material of ours."""
    if source in ("two-phase", "three-phase"):
        import synth

        return np.asarray(synth.sofc_electrode((SIDE,) * 3, preset=source, rng=0)).astype(np.uint8)
    import volume

    return np.asarray(volume.read(source)).astype(np.uint8)


def materials(case: str, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what was generated and what was trained on."""
    labels = load(source)
    rng = np.random.default_rng(0)
    if case == "copies":
        part = labels[:, :128, :128][:128]
        wrong = rng.random(part.shape) < 0.05
        noisy = np.where(wrong, rng.permutation(part.ravel()).reshape(part.shape), part)
        return noisy[::-1].transpose(1, 2, 0), labels
    if case == "halves":
        middle = len(labels) // 2
        return labels[middle:], labels[:middle]
    side, n_phases = max(max(labels.shape) // 4, 3 * SIZE), int(labels.max()) + 1
    generated, training = rng.integers(0, n_phases, (2, side, side, side)).astype(np.uint8)
    return generated, training


def audit(case: str, source: str, count: int) -> dict[str, Any]:
    """Return the verdict, its figures, seconds by the clock and of all cores, and peak memory in GiB."""
    from evaluate.likeness.memorisation import memorisation_audit

    small = np.random.default_rng(0).integers(0, 2, (48, 48, 48))
    memorisation_audit(small, small, size=8, count=2, symmetry="none", rng=0)
    generated, training = materials(case, source)
    start, used = time.perf_counter(), time.process_time()
    found = memorisation_audit(generated, training, size=SIZE, count=count, rng=0)
    return {
        "case": case,
        "shape": training.shape,
        "count": count,
        "seconds": time.perf_counter() - start,
        "core_seconds": time.process_time() - used,
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "verdict": found.verdict,
        "generated": [float(found.generated.distance.min()), float(np.median(found.generated.distance))],
        "held_out": [float(found.held_out.distance.min()), float(np.median(found.held_out.distance))],
        "relative": [float(np.median(s.relative)) for s in (found.generated, found.held_out)],
        "expected": found.expected_distance,
        "share_of_copies": found.share_of_copies,
        "share_of_held_out": found.share_of_held_out,
        "p_value": found.p_value,
    }


def by_transform(source: str, count: int) -> dict[str, Any]:
    """Compare with distances by Fourier transform, one copy of a patch at a time."""
    import scipy.fft

    from evaluate.likeness.nearest_patches import cut, draw_places, nearest_windows

    labels = load(source)
    half, rest = labels[: len(labels) // 2], labels[len(labels) // 2 :]
    places = draw_places([rest], count, SIZE, rng=np.random.default_rng(1))
    patches = [cut([rest], place, SIZE) for place in places]
    nearest_windows(patches[:1], [half[:40, :40, :40]], symmetry="none")
    start = time.process_time()
    ours = nearest_windows(patches, [half], symmetry="none").differing
    middle = time.process_time()
    shape = [scipy.fft.next_fast_len(n, real=True) for n in half.shape]
    present = range(int(labels.max()) + 1)
    spectra = [scipy.fft.rfftn((half == label).astype(np.float32), shape) for label in present]
    ready = time.process_time()
    theirs = []
    for patch in patches:
        product = sum(
            spectrum * np.conj(scipy.fft.rfftn((patch == label).astype(np.float32), shape))
            for label, spectrum in zip(present, spectra, strict=True)
        )
        equal = scipy.fft.irfftn(product, shape)[tuple(slice(0, n - SIZE + 1) for n in half.shape)]
        theirs.append(int(SIZE**3 - np.rint(equal.max())))
    return {
        "ours_core_seconds": (middle - start) / count,
        "transform_core_seconds": (time.process_time() - ready) / count,
        "equal": ours.tolist() == theirs,
    }


def seams(draws: int, length: float, shape: tuple[int, int, int], fractions: tuple[float, ...]) -> dict[str, Any]:
    """Count false alarms and, of independent blocks, alarms."""
    import synth
    from evaluate.likeness.seams import seam_errors

    planes = [range(32, n, 32) for n in shape]
    wrong, alone, right, used = 0, [], 0, 0.0
    for seed in range(draws):
        medium = synth.gaussian_phases(shape, fractions=fractions, length_vox=length, rng=seed).labels
        start = time.process_time()
        found = seam_errors(medium, planes, level=LEVEL)
        used += time.process_time() - start
        wrong += not found.within_noise
        alone += [error.p_value < LEVEL for error in found.errors]
        # Rolled by unequal shifts, neighbouring blocks no longer belong together.
        blocks = medium.copy()
        for z in range(0, shape[0], 32):
            blocks[z : z + 32] = np.roll(medium, (0, z // 2 + 7, z // 3), (0, 1, 2))[z : z + 32]
        right += not seam_errors(blocks, (planes[0], (), ()), level=LEVEL).within_noise
    return {
        "draws": draws,
        "length_vox": length,
        "shape": shape,
        "phases": len(fractions),
        "false_alarms": wrong / draws,
        "single": float(np.mean(alone)),
        "found": right / draws,
        "core_seconds": used / draws,
    }


def run(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--volumes", nargs="*", default=[], help="files of labelled volumes")
    parser.add_argument("--count", type=int, default=16, help="patches of each kind")
    parser.add_argument("--draws", type=int, default=120, help="media without seams, of each kind; 0 leaves them out")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    answers: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "processor": platform.processor(), "audits": []}
    for source in ["two-phase", "three-phase", *options.volumes]:
        for case in ("copies", "halves", "noise"):
            row = {"source": Path(source).name, **run(audit, case, source, options.count)}
            answers["audits"].append(row)
            print({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}, flush=True)
        row = {"source": Path(source).name, **run(by_transform, source, 3)}
        answers["audits"].append(row)
        print(row, flush=True)
    kinds = [(3, 96, (0.4, 0.6)), (6, 96, (0.4, 0.6)), (10, 96, (0.4, 0.6)), (5, 96, (0.3, 0.3, 0.4))]
    answers["seams"] = []
    for length, side, fractions in kinds if options.draws else []:
        answers["seams"].append(run(seams, options.draws, length, (side,) * 3, fractions))
        print(answers["seams"][-1], flush=True)
    (options.out / "memorisation.json").write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
