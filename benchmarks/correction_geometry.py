"""Tilt and drift found in stacks of known truth, beside peers: ``python benchmarks/correction_geometry.py --out DIR``.

Stacks of the project's own FIB-SEM, foreshortened and with a random walk, jitter and noise, of four structures. For
tilt the error in degrees, without and with drift; for drift the root mean square (over y and x) of the path's error,
both paths with mean 0: ours with the tilt unknown and known, scikit-image's phase correlation and StackReg, each slice
to the one before. CPU seconds are of one stack. The answers go to DIR/correction_geometry.json.
"""

import argparse
import itertools
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import synth
from segment.correction.drift import estimate_drift
from segment.correction.sighting import sight
from segment.correction.tilt import estimate_tilt
from synth.sem import SliceGeometry

STRUCTURES: dict[str, Callable[..., Any]] = {
    "spheres": lambda shape, rng: synth.sphere_pack(shape, porosity=0.45, diameter_vox=18, rng=rng),
    "Gaussian field": lambda shape, rng: synth.gaussian_phases(shape, fractions=(0.5, 0.5), length_vox=12, rng=rng),
    "fibres": lambda shape, rng: synth.fibre_mat(shape, porosity=0.75, fibre_diameter_vox=8, rng=rng),
    "catalyst layer": lambda shape, rng: synth.catalyst_layer(shape, rng=rng),
}
# Random walk and jitter in pixels, electrons a pixel at full scale, unevenness of the slices.
SESSIONS: dict[str, dict[str, float]] = {
    "still": {"drift": 0.0, "jitter": 0.0, "dose": 150, "uneven": 0.0},
    "drift 0.3": {"drift": 0.3, "jitter": 0.2, "dose": 150, "uneven": 0.0},
    "drift 1": {"drift": 1.0, "jitter": 0.3, "dose": 150, "uneven": 0.0},
    "drift 0.5, noisy": {"drift": 0.5, "jitter": 0.2, "dose": 25, "uneven": 0.0},
    "drift 0.5, uneven": {"drift": 0.5, "jitter": 0.2, "dose": 150, "uneven": 0.1},
}
SHAPE = (80, 160, 160)


def by_scikit_image(stack: np.ndarray) -> np.ndarray:
    """Return the path from phase correlations of neighbours, to a twentieth of a pixel."""
    from skimage.registration import phase_cross_correlation

    steps = [-phase_cross_correlation(a, b, upsample_factor=20)[0] for a, b in itertools.pairwise(stack)]
    return np.cumsum([np.zeros(2), *steps], axis=0)


def by_stackreg(stack: np.ndarray) -> np.ndarray:
    """Return the path of StackReg's translation, each slice to the one before."""
    from pystackreg import StackReg

    with warnings.catch_warnings():
        # It takes z for another axis where the structure changes little along y or x.
        warnings.simplefilter("ignore", UserWarning)
        moves = StackReg(StackReg.TRANSLATION).register_stack(stack.astype(np.float64), reference="previous")
    return moves[:, [1, 0], 2]


def path_error(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the root mean square over y and x of a path's error in pixels, means removed."""
    error = found - truth
    return float(np.sqrt(np.mean(np.sum((error - error.mean(axis=0)) ** 2, axis=1)) / 2))


def measure(structure: str, session: str, tilt_deg: float, seed: int) -> dict[str, Any]:
    """Make one stack and return the errors of all."""
    case = SESSIONS[session]
    geometry = SliceGeometry(
        foreshortened=True, drift_px=case["drift"], jitter_px=case["jitter"], uneven=case["uneven"]
    )
    settings = synth.FibsemSettings(tilt_deg=tilt_deg, dose=case["dose"], geometry=geometry)
    image = synth.fibsem_image(STRUCTURES[structure](SHAPE, rng=seed), settings, rng=seed)
    stack, truth = image.grey, np.asarray(image.truth["drift_px"])
    start = time.process_time()
    sighting = sight(stack, slice_px=1.0)
    seconds = time.process_time() - start
    tilt = estimate_tilt(stack, sighting=sighting)
    drift = estimate_drift(stack, sighting=sighting)
    known = estimate_drift(stack, sighting=sighting, parallax_px=math.sin(math.radians(tilt_deg)))
    return {
        "structure": structure, "session": session, "tilt_deg": tilt_deg, "seed": seed,
        "tilt_found": tilt.found, "tilt_error": abs(tilt.tilt_deg - tilt_deg) if tilt.found else None,
        "tilt_standard_error": tilt.standard_error_deg if tilt.found else None, "verdict": tilt.evidence["verdict"],
        "drift_found": drift.found, "ours": path_error(drift.path_px, truth),
        "tilt known": path_error(known.path_px, truth),
        "scikit-image": path_error(by_scikit_image(stack), truth), "StackReg": path_error(by_stackreg(stack), truth),
        "cpu_s": seconds,
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table, median / largest over tilts and seeds."""
    paths = ("ours", "tilt known", "scikit-image", "StackReg")
    titles = ["structure", "session", "tilt told", "tilt error °", "its error bar °", "drift found"]
    titles += [f"{name} px" for name in paths] + ["CPU s"]
    yield " | ".join(titles)
    yield " | ".join("---" for _ in titles)

    def both(values: list[float]) -> str:
        return f"{statistics.median(values):.2f} / {max(values):.2f}" if values else "-"

    for structure in STRUCTURES:
        for session in SESSIONS:
            some = [row for row in rows if (row["structure"], row["session"]) == (structure, session)]
            if some:
                told = [row for row in some if row["tilt_found"]]
                cells = [structure, session, f"{len(told)} of {len(some)}", both([row["tilt_error"] for row in told])]
                cells += [both([row["tilt_standard_error"] for row in told])]
                cells += [f"{sum(row['drift_found'] for row in some)} of {len(some)}"]
                cells += [both([row[name] for row in some]) for name in paths]
                yield " | ".join([*cells, f"{statistics.median(row['cpu_s'] for row in some):.1f}"])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tilts", type=float, nargs="+", default=[38.0, 45.0, 52.0])
    arguments = parser.parse_args()
    rows = [
        measure(structure, session, tilt_deg, seed)
        for structure in STRUCTURES
        for session in SESSIONS
        for tilt_deg in arguments.tilts
        for seed in range(arguments.seeds)
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "correction_geometry.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
