"""Labels made and measured in a process of their own: ``python -m poreforge.benchmarking.labelling`` serves requests.

The server has loaded what all methods need, and forks a child for each request, so that a child's memory and time are
those of one method on one volume, whatever ran before it. A request is a line of JSON, and so is the answer.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np

import segment
from segment.classical import UNKNOWN, PixelForest, canny, random_walker, watershed
from segment.networks import count_parameters
from volume import read

__all__ = ["CLASSICAL", "FOREST", "ORACLE", "Classical", "Server", "forest_marks", "labels_by", "serve"]

Labeller = Callable[[np.ndarray], np.ndarray]
FOREST, ORACLE = "pixel-forest", "porosity-threshold"
MIB = 2**20
# ru_maxrss counts kilobytes, on macOS bytes.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
WARM_UP = (24, 32, 32)


class Classical(NamedTuple):
    """A method that learns nothing: what it does with a volume and a number of phases, and which numbers it can do."""

    label: Callable[[np.ndarray, int], np.ndarray]
    fewest: int = 2
    most: int = 255


CLASSICAL = {
    "otsu": Classical(lambda grey, n: segment.otsu(grey), most=2),
    "multi-otsu": Classical(lambda grey, n: segment.multi_otsu(grey, n_phases=n), fewest=3),
    "hysteresis": Classical(lambda grey, n: segment.hysteresis(grey, *segment.hysteresis_levels(grey)), most=2),
    "watershed": Classical(lambda grey, n: watershed(grey, n_phases=n)),
    "random-walker": Classical(lambda grey, n: random_walker(grey, n_phases=n)),
    "canny": Classical(lambda grey, n: canny(grey, n_phases=n)),
}


def labels_by(request: dict[str, Any]) -> tuple[Labeller, dict[str, int]]:
    """Return the function that labels a volume, all that it needs read, and what is known of its size.

    Parameters
    ----------
    request : dict
        ``method``: a name of `CLASSICAL`, `ORACLE`, `FOREST` or ``network``; ``n_phases``; for the oracle the
        ``porosity``, for the others the ``source``, a forest's file or what `segment.load` takes.

    Returns
    -------
    labeller, facts
        ``parameters`` of a network and the ``threads`` that it may use.
    """
    name, n_phases = request["method"], request["n_phases"]
    if name == "network":
        import torch

        model = segment.load(request["source"])
        networks = [network for network in (model.first, model.refine) if network is not None]
        facts = {"parameters": sum(map(count_parameters, networks)), "threads": torch.get_num_threads()}
        # A model of more phases than the corpus tells pore from all else.
        return lambda grey: np.minimum(model.predict(grey).labels, n_phases - 1), facts
    if name == FOREST:
        import numba

        return PixelForest.load(request["source"]).predict, {"threads": numba.get_num_threads()}
    if name == ORACLE:
        return lambda grey: segment.porosity_threshold(grey, request["porosity"]), {"threads": 1}
    return lambda grey: CLASSICAL[name].label(grey, n_phases), {"threads": 1}


def forest_marks(labels: np.ndarray, slices: int | None) -> np.ndarray:
    """Return the labels on so many evenly spread slices, 255 (unknown) on the others; all of them for None."""
    if slices is None:
        return labels
    # Each stands in the middle of its share of the stack.
    shown = np.unique(((np.arange(slices) + 0.5) * len(labels) / slices).astype(int))
    marks = np.full_like(labels, UNKNOWN)
    marks[shown] = labels[shown]
    return marks


class Server:
    """The parent's end: started with the first request, ended with the block."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Server":
        self.folder = tempfile.TemporaryDirectory(prefix="poreforge-benchmark-")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            # The child that is at work goes, too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
        self.folder.cleanup()

    def label(self, request: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the labels and what they cost.

        Parameters
        ----------
        request : dict
            As `labels_by` takes it, and ``grey``, the file of the volume.

        Returns
        -------
        labels, cost
            ``seconds`` on the clock and ``cpu_seconds`` of all threads, without imports, reading and a run on a few
            voxels that compiles and loads; the largest memory that the process ever held, ``peak_mib``, and what that
            was before it began, ``baseline_mib``: imports, the small run, the volume itself. Also ``parameters`` and
            ``threads`` as in `labels_by`.

        Raises
        ------
        ValueError
            With the method's own sentence, or one of what became of the process.
        """
        path = Path(self.folder.name) / "labels.npy"
        facts = self._ask({**request, "task": "label", "labels": str(path)})
        labels = np.load(path)
        path.unlink()
        return labels, facts

    def fit_forest(self, request: dict[str, Any]) -> dict[str, Any]:
        """Train a forest and write it to a file.

        Parameters
        ----------
        request : dict
            ``grey`` and ``truth``, lists of files; ``slices`` of each volume or None; ``seed``; ``out``.

        Returns
        -------
        dict
            What it cost, as `label` tells it.

        Raises
        ------
        ValueError
            As `label`.
        """
        return self._ask({**request, "task": "fit"})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = Path(self.folder.name) / "answer.json"
        answer.unlink(missing_ok=True)
        requests, answers = self._pipes()
        requests.write(json.dumps({**request, "answer": str(answer)}) + "\n")
        requests.flush()
        status = answers.readline().strip()
        if status != "0" or not answer.is_file():
            raise ValueError(_what_became(status))
        facts: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        if "error" in facts:
            raise ValueError(facts["error"])
        return facts

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-m", "poreforge.benchmarking.labelling"]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                start_new_session=True,
            )  # fmt: skip
        return cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)


def _what_became(status: str) -> str:
    if status == "-9":
        return "its process was killed, most likely for want of memory; give smaller volumes or use a larger machine"
    return f"its process ended without an answer (status {status or 'unknown'})"


def serve() -> None:
    """Answer requests from the standard input, each by a child's exit status, until it is closed."""
    answers = os.dup(1)
    # What libraries print must not be taken for an answer.
    os.dup2(2, 1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _work(json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(answers, f"{status}\n".encode())


def _work(request: dict[str, Any]) -> None:
    """Write the answer to a request and end this process."""
    Path(request["answer"]).write_text(json.dumps(_answer(request)), encoding="utf-8")
    os._exit(0)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked; return what it cost, or the sentence with which it failed."""
    try:
        return _fit(request) if request["task"] == "fit" else _label(request)
    except MemoryError as error:
        return {"error": f"not enough memory ({error}); give smaller volumes or use a larger machine"}
    except Exception as error:
        sentence = " ".join(str(error).split())
        return {"error": sentence if isinstance(error, ValueError) else f"{type(error).__name__}: {sentence}"}


def _label(request: dict[str, Any]) -> dict[str, Any]:
    grey = read(request["grey"]).array
    labeller, facts = labels_by(request)
    _warm_up(labeller, grey.dtype, request["n_phases"])
    with _Measured() as cost:
        labels = labeller(grey)
    np.save(request["labels"], labels)
    return {**facts, **cost.facts}


def _fit(request: dict[str, Any]) -> dict[str, Any]:
    # Loaded here, for time is measured without imports.
    import sklearn.ensemble  # noqa: F401

    grey = [read(path).array for path in request["grey"]]
    marks = [forest_marks(read(path).array, request["slices"]) for path in request["truth"]]
    with _Measured() as cost:
        forest = PixelForest.fit(grey, marks, rng=request["seed"])
    forest.save(request["out"])
    return cost.facts


class _Measured:
    """Time and memory of a block."""

    def __enter__(self) -> "_Measured":
        self.baseline, self.cpu, self.wall = _peak_mib(), time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.facts = {
            "seconds": time.perf_counter() - self.wall,
            "cpu_seconds": time.process_time() - self.cpu,
            "peak_mib": _peak_mib(),
            "baseline_mib": self.baseline,
        }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT / MIB


def _warm_up(labeller: Labeller, dtype: np.dtype, n_phases: int) -> None:
    """Label a few voxels of the same type, so that what is compiled and loaded at the first call does not count."""
    level = np.indices(WARM_UP)[2] * n_phases // WARM_UP[2] + 0.2 * np.random.default_rng(0).random(WARM_UP)
    level *= (1 if dtype.kind == "f" else 120) / n_phases
    try:
        labeller(level.astype(dtype))
    except ValueError:
        # So small a volume may be refused; the real one decides.
        return


if __name__ == "__main__":
    serve()
