"""Methods of segmentation ranked on corpora whose truth is known, by labels, by properties and by what they cost."""

import dataclasses
import functools
import hashlib
import json
import numbers
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import evaluate
import segment
import volume
from evaluate.accepted_input import as_whole_number
from launch import describe_software, make_output_folder
from poreforge import scores
from poreforge.benchmarking import labelling
from poreforge.benchmarking.courses import (
    Course,
    file_digest,
    label_file,
    name_corpora,
    plan_course,
    read_labels_of,
)
from poreforge.benchmarking.entrants import LABELS, NETWORK, Entrant, built_in, name_entrants
from poreforge.benchmarking.labelling import FOREST, ORACLE, Server
from poreforge.benchmarking.results import Result, ResultFolder
from poreforge.outputs import write_summary
from poreforge.scores import Measured, measure_labels, score_segmentation
from volume import Volume

__all__ = ["Benchmark", "benchmark", "benchmark_files"]

TOPICS = ("tortuosity", "distances")
RESULTS, FORESTS = "results", "forests"
MVOXEL = 1e6


@dataclasses.dataclass(frozen=True, eq=False)
class Benchmark:
    """How methods do on corpora; made by `benchmark`.

    Attributes
    ----------
    courses : tuple of Course
        The corpora, with who took part and which volumes were scored.
    results : dict
        By name of the corpus, position of the volume in it and name of the method.
    axis : int or None
        Along which the tortuosity was solved for.
    distances : bool
        Whether distances of surfaces were measured.
    level : float
        Coverage of the intervals.
    seed : int
        Of the pixel forest and of the resampling.
    """

    courses: tuple[Course, ...]
    results: dict[tuple[str, int, str], Result]
    axis: int | None
    distances: bool
    level: float
    seed: int


def benchmark(
    corpora: Sequence[str],
    methods: Sequence[str] | None = None,
    *,
    volumes: int | None = None,
    learn_from: int = 2,
    learn_slices: int | None = None,
    axis: int = 0,
    without: Sequence[str] = (),
    level: float = 0.95,
    seed: int = 0,
    kept: str | Path,
) -> Benchmark:
    """Run every method on the same volumes of each corpus and score it against the truth.

    Parameters
    ----------
    corpora : sequence of str
        Each ``NAME=DIR`` or ``DIR``, the folder of a corpus whose labels name their phases.
    methods : sequence of str, optional
        Each a name (``otsu``, ``multi-otsu``, ``hysteresis``, ``watershed``, ``random-walker``, ``canny``,
        ``porosity-threshold``, ``pixel-forest``, a shipped model), or ``NAME=FOLDER`` of a training run, or of files
        with labels made elsewhere, named as the corpus names its own; of several corpora, in a folder
        ``FOLDER/CORPUS`` each. All names unless given. ``porosity-threshold`` is told the true porosity.
    volumes : int, optional
        How many volumes of a corpus to score at most.
    learn_from : int
        How many volumes at each corpus's beginning ``pixel-forest`` learns from. No method is scored on them.
    learn_slices : int, optional
        On how many slices of each it sees the labels; on all of them unless given.
    axis : {0, 1, 2}
        Along which the pore's tortuosity is solved for; 0 is z.
    without : sequence of {"tortuosity", "distances"}
        What not to measure.
    level : float
        Coverage of the intervals.
    seed : int
        Of the pixel forest and of the resampling.
    kept : path-like
        Folder in which each result stays under a key of what it was made from, and is looked for before it is made;
        trained pixel forests, too.

    Returns
    -------
    Benchmark

    Raises
    ------
    ValueError
        For what cannot be: an unknown method or folder, a corpus that is not there or names no phases, no volume left
        to score, labels made elsewhere that are missing or of another shape, a number out of range. All of it before
        anything is labelled.

    Notes
    -----
    A volume that a trained model has learnt from is scored by none (`poreforge.benchmarking.seen_volumes`), so that all
    methods of a corpus are scored on the same volumes, unseen by all. A method that cannot do a corpus's number of
    phases is left out there. A model that knows both phases of a corpus and more takes part: what it does not call
    pore counts as the other phase. One that fails on a volume has a sentence in place of scores; it is tried again the
    next time.

    Labels are made in a process of its own for each volume and method, which tells seconds and memory.
    """
    job = _Job(
        volumes=None if volumes is None else as_whole_number(volumes, "volumes", low=1),
        learn_from=as_whole_number(learn_from, "learn_from", low=1),
        learn_slices=None if learn_slices is None else as_whole_number(learn_slices, "learn_slices", low=1),
        axis=None if "tortuosity" in _checked_topics(without) else as_whole_number(axis, "axis", low=0, high=2),
        distances="distances" not in without,
        seed=as_whole_number(seed, "seed", low=0),
        results=ResultFolder(Path(kept)),
    )
    if isinstance(level, bool) or not isinstance(level, numbers.Real) or not 0 < float(level) < 1:
        raise ValueError(f"level is {level!r}; it must be a number above 0 and below 1, such as 0.95")
    entrants = name_entrants(built_in() if methods is None else methods)
    courses = job.courses(name_corpora(corpora), entrants)
    with Server() as server:
        found = {key: result for course in courses for key, result in job.run(course, server)}
    return Benchmark(courses, found, job.axis, job.distances, float(level), job.seed)


def benchmark_files(corpora: Sequence[str], methods: Sequence[str] | None, out: str | Path, **options: Any) -> Path:
    """Run a benchmark and write ``report.html``, ``summary.json`` and tables.

    Every result is kept in ``results``, in a file that is complete or not there: the same command goes on after it was
    stopped, and with one method more measures that one alone. What is kept is found again as long as volumes, models,
    settings and the code that labels and scores are the same; delete the folder to measure seconds and memory anew.

    Parameters
    ----------
    corpora, methods
        As in `benchmark`.
    out : path-like
        Folder for the results: also ``scores.csv`` with a row for each corpus, volume and method, ``table.csv`` with
        means and intervals, and ``rank.csv``.
    **options
        As in `benchmark`.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    ValueError
        As in `benchmark`, or a folder that cannot be written to.
    """
    from poreforge.benchmarking.pages import write_benchmark

    out = Path(out)
    found = benchmark(corpora, methods, kept=out / RESULTS, **options)
    return write_benchmark(found, make_output_folder(out))


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    """How every corpus is gone through."""

    volumes: int | None
    learn_from: int
    learn_slices: int | None
    axis: int | None
    distances: bool
    seed: int
    results: ResultFolder

    def courses(self, corpora: dict[str, Any], entrants: Sequence[Entrant]) -> tuple[Course, ...]:
        alone = len(corpora) == 1
        return tuple(
            plan_course(name, corpus, entrants, volumes=self.volumes, learn_from=self.learn_from, alone=alone)
            for name, corpus in corpora.items()
        )

    def run(self, course: Course, server: Server) -> Iterator[tuple[tuple[str, int, str], Result]]:
        from tqdm import tqdm

        for position in tqdm(course.scored, desc=course.name, unit="volume", disable=None):
            task = _Task(self, course, position, server)
            for entrant in course.entrants:
                yield (course.name, position, entrant.name), task.result(entrant)


@dataclasses.dataclass(frozen=True, eq=False)
class _Task:
    """One volume, and every method on it."""

    job: _Job
    course: Course
    position: int
    server: Server

    @functools.cached_property
    def truth(self) -> Measured:
        labels = volume.read(self.course.file(self.position, "labels"))
        return measure_labels(labels, phases=self.course.phases, axis=self.job.axis, distances=self.job.distances)

    def result(self, entrant: Entrant) -> Result:
        """Return the result that is kept, or make and keep it."""
        try:
            key = self._key(entrant)
            if key not in self.job.results:
                self.job.results[key] = self._make(entrant)
            return self.job.results[key]
        except MemoryError as error:
            return Result.failed(f"not enough memory to score it ({error})")
        except ValueError as error:
            return Result.failed(" ".join(str(error).split()))

    def _make(self, entrant: Entrant) -> Result:
        truth = self.truth
        cost: dict[str, Any] = {}
        if entrant.kind == LABELS:
            labels = read_labels_of(self.course, entrant, self.position)
        else:
            labels, cost = self.server.label(self._request(entrant, truth))
            cost["mvoxel"] = labels.size / MVOXEL
        if entrant.kind == FOREST and (record := self._forest().with_suffix(".json")).is_file():
            cost["training_seconds"] = json.loads(record.read_text(encoding="utf-8"))["seconds"]
        found = score_segmentation(Volume(labels), truth)
        return Result(found, cost, labels[len(labels) // 2].copy())

    def _request(self, entrant: Entrant, truth: Measured) -> dict[str, Any]:
        method = entrant.name if entrant.kind not in (NETWORK, FOREST, ORACLE) else entrant.kind
        source = self._forest() if entrant.kind == FOREST else entrant.source
        return {
            "method": method,
            "grey": str(self.course.file(self.position, "grey")),
            "n_phases": len(self.course.phases),
            "porosity": float(np.mean(truth.labels.array == 0)),
            "source": None if source is None else str(source),
        }

    def _forest(self) -> Path:
        """Return the file of this corpus's pixel forest, which is trained when it is first asked for."""
        path = self.job.results.folder / FORESTS / f"{_digest_of(self._forest_key())}.npz"
        if not path.is_file():
            make_output_folder(path.parent)
            files = {
                part: [str(self.course.file(position, name)) for position in self.course.learn]
                for part, name in (("grey", "grey"), ("truth", "labels"))
            }
            cost = self.server.fit_forest(
                {**files, "slices": self.job.learn_slices, "seed": self.job.seed, "out": str(path)}
            )
            write_summary(path.with_suffix(".json"), cost)
        return path

    def _forest_key(self) -> tuple[Any, ...]:
        learnt = [self.course.corpus.entries[position] for position in self.course.learn]
        sums = [entry[part]["sha256"] for entry in learnt for part in ("grey", "labels")]
        return (sums, self.job.learn_slices, self.job.seed, _code())

    def _key(self, entrant: Entrant) -> str:
        """Return what tells this result from any other one."""
        entry = self.course.corpus.entries[self.position]
        own: Any = entrant.digest or entrant.name
        if entrant.kind == LABELS:
            own = file_digest(label_file(self.course, entrant, self.position))
        elif entrant.kind == FOREST:
            own = self._forest_key()
        pair = entry["grey"]["sha256"], entry["labels"]["sha256"]
        return _digest_of((entrant.kind, own, pair, self.course.phases, self.job.axis, self.job.distances, _code()))


@functools.cache
def _code() -> tuple[str, str]:
    """Return what tells the code that labels and scores from that of another day."""
    digest = hashlib.sha256()
    folders = [Path(str(package.__file__)).parent for package in (segment, evaluate, volume)]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    for path in (*files, Path(str(scores.__file__)), Path(str(labelling.__file__))):
        digest.update(path.read_bytes())
    return digest.hexdigest(), repr(describe_software()["packages"])


def _digest_of(key: Any) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:24]


def _checked_topics(without: Sequence[str]) -> Sequence[str]:
    if isinstance(without, str) or (unknown := [name for name in without if name not in TOPICS]):
        wrong = without if isinstance(without, str) else unknown[0]
        raise ValueError(f"{wrong!r} cannot be left out; choose from: {', '.join(TOPICS)}")
    return without
