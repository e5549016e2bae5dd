"""Time and memory of `evaluate.tortuosity` beside TauFactor: ``python benchmarks/transport.py --out DIR``.

Both solve the same equations on the same volume, on as many threads. TauFactor stops at the flux imbalance named; ours
stops at the same one, and its answer at 1e-8 says how far both are from the solution. Each runs in a process of
its own, whose peak memory counts, imports included; ours runs once before at 24³ to load what was compiled.
The table goes to DIR/transport.json.
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

STRUCTURES = {
    "open, 0.6": {"fractions": (0.6, 0.4), "length_vox": 12},
    "tight, 0.3": {"fractions": (0.3, 0.7), "length_vox": 8},
}
EXACT = 1e-8
SWEEPS = 50_000


def pores(name: str, side: int) -> np.ndarray:
    """Return the pores of a Gaussian structure."""
    import synth

    return np.asarray(synth.gaussian_phases((side, side, side), rng=0, **STRUCTURES[name]).labels == 0)


def measure(name: str, side: int, solver: str, tolerance: float, threads: int) -> dict[str, Any]:
    """Return seconds, peak memory in GiB and what was found."""
    import numba

    from evaluate.transport import tortuosity

    numba.set_num_threads(threads)
    options: dict[str, Any] = {"axis": 0, "tolerance": tolerance}
    if solver == "taufactor":
        import taufactor  # noqa: F401 - so that its import is not timed
        import torch

        torch.set_num_threads(threads)
        options |= {"solver": "taufactor", "max_iterations": SWEEPS}
    mask = pores(name, side)
    tortuosity(np.ones((24, 24, 24), bool), **options)
    start, cpu = time.perf_counter(), time.process_time()
    found = tortuosity(mask, **options)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "tortuosity": found.tortuosity,
        "residual": found.residual,
        "iterations": found.iterations,
        "converged": found.converged,
    }


def run(*arguments: Any) -> dict[str, Any]:
    """Measure in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def compare(sides: list[int], tolerances: list[float], threads: int) -> list[dict[str, Any]]:
    """Print ours beside TauFactor's."""
    rows = []
    print(
        f"{'structure':12}{'side':>5}{'tolerance':>10}"
        + "".join(f" |{who:>12}{'cpu s':>8}{'it.':>7}{'GiB':>6}{'error of τ':>11}" for who in ("ours s", "TauFactor s"))
        + f" |{'times':>6}"
    )
    for name in STRUCTURES:
        for side in sides:
            true = run(name, side, "multigrid", EXACT, threads)["tortuosity"]
            for tolerance in tolerances:
                our, their = (run(name, side, solver, tolerance, threads) for solver in ("multigrid", "taufactor"))
                rows.append({"structure": name, "side": side, "tolerance": tolerance, "ours": our, "taufactor": their})
                columns = [
                    f" |{found['seconds']:12.2f}{found['cpu_seconds']:8.2f}{found['iterations']:7}{found['gib']:6.2f}"
                    f"{abs(found['tortuosity'] / true - 1):11.1e}"
                    for found in (our, their)
                ]
                print(
                    f"{name:12}{side:5}{tolerance:10.0e}{''.join(columns)} |{their['seconds'] / our['seconds']:6.1f}"
                    + ("" if their["converged"] else "   TauFactor did not converge"),
                    flush=True,
                )
    return rows


def main() -> None:
    """Compare, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-2, 1e-3])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    rows = compare(given.sides, given.tolerances, given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": given.threads,
    }
    (given.out / "transport.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
