"""The numbers of a benchmark: what each method scored on each volume, means with intervals, ranks."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from poreforge.benchmarking.courses import Course
from poreforge.benchmarking.ranking import Estimate, Standing, mean_over_volumes, property_losses, rank, standings
from poreforge.benchmarking.results import Result
from poreforge.scores import Score, score_heads

if TYPE_CHECKING:
    from poreforge.benchmark import Benchmark

__all__ = ["ALL", "COSTS", "RANKINGS", "CourseTable", "ranks_of", "score_rows", "tables_of"]

ALL = "all corpora"
BY_IOU, BY_PROPERTIES = "by mean IoU", "by properties"
RANKINGS = (BY_IOU, BY_PROPERTIES)
COSTS = (
    "seconds", "cpu_seconds", "seconds_per_mvoxel", "cpu_seconds_per_mvoxel", "peak_mib", "baseline_mib", "threads",
    "parameters", "training_seconds",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class CourseTable:
    """What came out on one corpus; made by `tables_of`.

    Attributes
    ----------
    course : Course
        The corpus.
    methods : tuple of str
        Those that took part.
    results : dict
        For each of them its results, one a scored volume, in order.
    heads : dict
        As `poreforge.scores.score_heads` returns them.
    means : dict
        By method and score its mean; that of the error's size under ``abs_`` and the key of the error, that of what it
        costs under a name of `COSTS`.
    standings : dict
        For each of `RANKINGS` the methods, best first.
    """

    course: Course
    methods: tuple[str, ...]
    results: dict[str, list[Result]]
    heads: dict[str, Score]
    means: dict[tuple[str, str], Estimate]
    standings: dict[str, list[Standing]]

    def values(self, method: str, key: str) -> list[float]:
        """Return a score or a cost of a method on each volume, NaN where there is none."""
        return [_value(result, key) for result in self.results[method]]

    def failures(self, method: str) -> list[tuple[int, str]]:
        """Return the index and the sentence of each volume on which a method failed."""
        pairs = zip(self.course.scored, self.results[method], strict=True)
        return [(self.course.number(position), result.failure) for position, result in pairs if result.failure]


def tables_of(found: "Benchmark") -> list[CourseTable]:
    """Return what came out, corpus by corpus."""
    return [_table_of(found, course) for course in found.courses]


def ranks_of(tables: Sequence[CourseTable], *, level: float, seed: int) -> dict[str, list[Standing]]:
    """Return the standings over all volumes of all corpora, of the methods that took part everywhere.

    Volumes count alike, whatever their corpus. Ranks are among these methods alone. Empty if there are none.
    """
    methods = [name for name in tables[0].methods if all(name in table.methods for table in tables)]
    if not methods:
        return {}
    strata = [number for number, table in enumerate(tables) for _ in table.course.scored]
    return {
        way: standings(
            np.concatenate([_ranks(table, methods)[way] for table in tables]),
            methods, strata=strata, level=level, seed=seed,
        )
        for way in RANKINGS
    }  # fmt: skip


def score_rows(tables: Sequence[CourseTable]) -> Iterator[dict[str, Any]]:
    """Yield a record for each corpus, volume and method; what is not known is empty."""
    columns = list(dict.fromkeys(key for table in tables for key in table.heads))
    for table in tables:
        kinds = {entrant.name: entrant.kind for entrant in table.course.entrants}
        for place, position in enumerate(table.course.scored):
            for method in table.methods:
                result = table.results[method][place]
                row = {
                    "corpus": table.course.name, "volume": table.course.number(position), "method": method,
                    "kind": kinds[method], "failure": result.failure,
                }  # fmt: skip
                values = {key: _value(result, key) for key in (*columns, *COSTS)}
                yield row | {key: "" if math.isnan(value) else value for key, value in values.items()}


def _table_of(found: "Benchmark", course: Course) -> CourseTable:
    methods = tuple(entrant.name for entrant in course.entrants)
    results = {name: [found.results[course.name, position, name] for position in course.scored] for name in methods}
    heads = score_heads(course.phases, tortuosity=found.axis is not None, distances=found.distances)
    table = CourseTable(course, methods, results, heads, {}, {})
    keys = [*heads, *(f"abs_{key}" for key in _errors(heads)), *COSTS]
    means = {
        (name, key): mean_over_volumes(table.values(name, key), level=found.level, within=_range_of(key, heads))
        for name in methods
        for key in keys
    }
    strata = [0] * len(course.scored)
    ranked = {
        way: standings(ranks, methods, strata=strata, level=found.level, seed=found.seed)
        for way, ranks in _ranks(table, methods).items()
    }
    return dataclasses.replace(table, means=means, standings=ranked)


def _range_of(key: str, heads: Mapping[str, Score]) -> tuple[float, float]:
    """Return what a score or a cost can be."""
    if key in _errors(heads):
        return -math.inf, math.inf
    return 0.0, 1.0 if key in heads and (heads[key].sense > 0 or key == "porosity") else math.inf


def _ranks(table: CourseTable, methods: Sequence[str]) -> dict[str, np.ndarray]:
    iou = np.array([[-value for value in table.values(name, "mean_iou")] for name in methods]).T
    keys = [key for key in _errors(table.heads) if key != "percolation_error"]
    losses = [[property_losses(result.scores, keys) for result in table.results[name]] for name in methods]
    return {BY_IOU: rank(iou), BY_PROPERTIES: rank(np.array(losses).swapaxes(0, 1))}


def _errors(heads: Mapping[str, Score]) -> list[str]:
    """Return the keys of the errors of properties: what is signed and best at 0."""
    return [key for key, score in heads.items() if score.sense < 0 and "+" in score.form]


def _value(result: Result, key: str) -> float:
    if key.endswith("_per_mvoxel"):
        return result.cost.get(key.removesuffix("_per_mvoxel"), math.nan) / result.cost.get("mvoxel", math.nan)
    if key.startswith("abs_"):
        return abs(_value(result, key.removeprefix("abs_")))
    value = result.scores.get(key, result.cost.get(key, math.nan))
    return float(value)
