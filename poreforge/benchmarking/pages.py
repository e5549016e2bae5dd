"""The files of a benchmark: report, summary and tables."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from launch import describe_software
from poreforge.benchmarking import figures
from poreforge.benchmarking.labelling import ORACLE
from poreforge.benchmarking.ranking import Estimate, Standing, differences_to
from poreforge.benchmarking.tables import ALL, COSTS, RANKINGS, CourseTable, ranks_of, score_rows, tables_of
from poreforge.exports import write_csv
from poreforge.outputs import software_facts, write_summary
from poreforge.report import Figure, Section, Table, number, write_report
from volume import read

if TYPE_CHECKING:
    from poreforge.benchmark import Benchmark

__all__ = ["write_benchmark"]

BY_IOU, BY_PROPERTIES = RANKINGS
BIAS, WAYS = "bias of the porosity / points", "ways through made up, lost"
# Resampling so few volumes gives intervals that are too narrow.
FEW_VOLUMES = 10


def write_benchmark(found: "Benchmark", out: Path) -> Path:
    """Write everything that a benchmark tells into a folder.

    Parameters
    ----------
    found : Benchmark
        By `poreforge.benchmark.benchmark`.
    out : Path
        The folder.

    Returns
    -------
    Path
        The report.
    """
    tables, software = tables_of(found), describe_software()
    ranked = {table.course.name: table.standings for table in tables}
    if len(tables) > 1:
        ranked[ALL] = ranks_of(tables, level=found.level, seed=found.seed)
    write_csv(out / "scores.csv", list(score_rows(tables)))
    write_csv(out / "table.csv", [row for table in tables for row in _mean_rows(table)])
    write_csv(out / "rank.csv", [row for name, ways in ranked.items() for row in _rank_rows(name, ways)])
    write_summary(out / "summary.json", _summary(found, tables, ranked) | {"software": software})
    sections = [
        _verdict(found, tables, ranked),
        *(section for table in tables for section in _course_sections(found, table)),
        _cost(tables),
        *_failures(tables),
        _how(found, tables),
    ]
    facts = {
        **{f"Corpus {table.course.name}": _course_fact(table) for table in tables},
        "Seed": found.seed,
        **software_facts(software),
    }
    return write_report(out / "report.html", "Segmentation methods on known truth", sections, facts=facts)


def _course_fact(table: CourseTable) -> str:
    course = table.course
    shapes = {tuple(course.corpus.entries[position]["shape"]) for position in course.scored}
    shape = " × ".join(map(str, next(iter(shapes)))) if len(shapes) == 1 else "several sizes"
    return f"{len(course.scored)} of {len(course.corpus)} volumes scored, {shape}, phases {', '.join(course.phases)}"


# Which method to trust


def _verdict(found: "Benchmark", tables: Sequence[CourseTable], ranked: Mapping[str, Any]) -> Section:
    text = [sentence for table in tables for sentence in _winners(found, table)]
    if len(tables) > 1 and ranked[ALL]:
        first = ranked[ALL][BY_IOU][0]
        text.append(f"Over {ALL} {_shown(tables, first.method)} is first, with a mean rank of {_ranked(first)}.")
    text += _cautions(found, tables)
    shown = [
        Figure([figures.ranks(_named(tables, ways))], _rank_caption(found, name))
        for name, ways in ranked.items()
        if ways
    ]
    rows = [_rank_table(found, tables, name, ways) for name, ways in ranked.items() if ways]
    return Section("Which method to trust", text, shown, rows)


def _winners(found: "Benchmark", table: CourseTable) -> list[str]:
    """Say who is first on a corpus, among those that are told nothing, and how surely."""
    told = {entrant.name for entrant in table.course.entrants if entrant.kind == ORACLE}
    competing = [one for one in table.standings[BY_IOU] if one.method not in told]
    if not competing or math.isnan(table.means[competing[0].method, "mean_iou"].mean):
        return [f"On {table.course.name} no method has a score that a laboratory could have, too."]
    best, rest = competing[0], competing[1:]
    text = [
        f"On {table.course.name}, {best.method} is first by mean IoU: {_iou(table, best.method)}, porosity "
        f"{_points(table.means[best.method, 'abs_porosity_error'].mean)} points off on average."
    ]
    if rest:
        away = differences_to(
            table.values(best.method, "mean_iou"), table.values(rest[0].method, "mean_iou"), level=found.level
        )
        sure = "" if away.low > 0 else ", so that either may be the better one"
        text.append(f"The next one, {rest[0].method}, is {_difference(away)} behind it on the same volumes{sure}.")
    properties = [one for one in table.standings[BY_PROPERTIES] if one.method not in told]
    same = "the same method is first" if properties[0].method == best.method else f"{properties[0].method} is first"
    text.append(f"By the properties that follow from the labels {same}, with a mean rank of {_ranked(properties[0])}.")
    return [" ".join(text)]


def _cautions(found: "Benchmark", tables: Sequence[CourseTable]) -> list[str]:
    text = []
    if any(entrant.kind == ORACLE for table in tables for entrant in table.course.entrants):
        text.append(
            f"{ORACLE} (oracle) is told the true porosity, which no laboratory knows so well: it shows the best that a "
            "threshold can do, and its porosity error is zero by construction."
        )
    if min(len(table.course.scored) for table in tables) < FEW_VOLUMES:
        text.append(
            f"With fewer than {FEW_VOLUMES} volumes the intervals of ranks are too narrow; score more to be sure."
        )
    return text


def _rank_caption(found: "Benchmark", name: str) -> str:
    return (
        f"Mean ranks on {name}, with {found.level:.0%} intervals over volumes. By properties: a method's ranks by the "
        "size of each error (fractions, surface, Euler density, tortuosity) of a volume are averaged."
    )


def _rank_table(
    found: "Benchmark", tables: Sequence[CourseTable], name: str, ways: Mapping[str, list[Standing]]
) -> Table:
    table = next((table for table in tables if table.course.name == name), None)
    other = {one.method: one for one in ways[BY_PROPERTIES]}
    heads = ["method", f"rank {BY_IOU}", f"rank {BY_PROPERTIES}"]
    best = ways[BY_IOU][0].method
    rows = []
    for one in ways[BY_IOU]:
        row = [_shown(tables, one.method), _ranked(one), _ranked(other[one.method])]
        if table is not None:
            own = [table.values(method, "mean_iou") for method in (best, one.method)]
            away = differences_to(*own, level=found.level)
            row += [
                _with_interval(table.means[one.method, "mean_iou"]),
                "–" if one.method == best else _difference(away),
            ]
        rows.append(row)
    if table is not None:
        heads += ["mean IoU", f"behind {_shown(tables, best)}"]
    caption = f"Methods on {name}, the best first; equal ranks are shared. Differences are those on the same volumes."
    return Table(caption, heads, rows, [frozenset({1}) if k == 0 else frozenset() for k in range(len(rows))])


# Corpus by corpus


def _course_sections(found: "Benchmark", table: CourseTable) -> list[Section]:
    order = [one.method for one in table.standings[BY_IOU]]
    shown = {name: _shown([table], name) for name in order}
    iou = {shown[name]: table.values(name, "mean_iou") for name in order}
    means = {shown[name]: table.means[name, "mean_iou"] for name in order}
    drawn = figures.dots(iou, means=means, x_label="mean IoU", alt="Mean IoU of each method.", zero=False)
    caption = (
        f"Mean IoU: a dot for each volume; the mean with its {found.level:.0%} interval, drawn no further than a "
        "quarter beyond the dots."
    )
    labels = Section(
        f"Labels on {table.course.name}", table.course.notes, [Figure([drawn], caption), *_slices(table, shown)],
        _label_tables(table, order),
    )  # fmt: skip
    return [labels, _properties(found, table, shown)]


def _slices(table: CourseTable, shown: Mapping[str, str]) -> list[Figure]:
    """Show the middle slice of the hardest volume that any method has labels of."""
    scores = np.array([table.values(name, "mean_iou") for name in table.methods])
    # A method that failed counts as one that found nothing.
    for place in np.argsort(np.nan_to_num(scores).mean(axis=0), kind="stable").tolist():
        position = table.course.scored[place]
        planes = {shown[name]: table.results[name][place].plane for name in shown}
        planes = {name: plane for name, plane in planes.items() if plane.size}
        if planes:
            grey, truth = (read(table.course.file(position, part)).array for part in ("grey", "labels"))
            z = len(grey) // 2
            caption = (
                f"Slice {z} of volume {table.course.number(position)}, on which the methods' mean IoU is the lowest on "
                "average; pore is dark. Of each method its labels, then "
                "where it is wrong: red is pore that it lost, blue a solid that it took for something else."
            )
            return [figures.slices(grey[z], truth[z], planes, caption)]
    return []


def _label_tables(table: CourseTable, order: Sequence[str]) -> list[Table]:
    caption = "Means over volumes and their intervals. The best of each column is set off."
    overlap = _table(caption, table, order, [f"iou_{phase}" for phase in table.course.phases])
    return [overlap, _table("The same voxels by other scores.", table, order, ["mean_dice", "accuracy"])]


def _properties(found: "Benchmark", table: CourseTable, shown: Mapping[str, str]) -> Section:
    order = list(shown)
    errors = {shown[name]: [100 * value for value in table.values(name, "porosity_error")] for name in order}
    drawn = figures.dots(
        errors, means=None, x_label="porosity error / points", alt="Porosity error of each method.", zero=True
    )
    pairs = {shown[name]: _porosities(table, name) for name in order}
    shown_figures = [
        Figure([drawn], "Porosity found minus true porosity, a dot for each volume; right of 0 it is too porous."),
        Figure([figures.scatter(pairs)], "Porosity found over true porosity; on the line it is right."),
    ]
    text = [
        "Errors stand here by their size, so that they do not cancel from volume to volume; the bias of the porosity "
        "is their mean with its sign. A point is 0.01. Relative errors are left out where the true number is no "
        "measure of them: an Euler number nearer to 0 than 16, a tortuosity where no pore leads through the volume."
    ]
    sizes = [f"abs_{key}" for key in table.heads if f"abs_{key}" in {key for _, key in table.means}]
    groups = {
        "Fractions: mean size of the error over volumes, and its interval.": ("abs_porosity", "abs_fraction"),
        "Surface and topology: mean size of the error.": ("abs_specific", "abs_euler"),
        "Transport: mean size of the error.": ("abs_tortuosity",),
        "Two-point correlation, and the distance of the pore's surface.": ("s2", "chamfer", "hausdorff"),
    }
    tables = []
    for caption, starts in groups.items():
        keys = [key for key in (*sizes, *table.heads) if key.startswith(starts)]
        first = [BIAS] if "abs_porosity_error" in keys else [WAYS] if "abs_tortuosity_error" in keys else []
        # Where no method has a number there is no column.
        keys = [key for key in keys if any(table.means[name, key].count for name in order)]
        if first or keys:
            tables.append(_table(caption, table, order, [*first, *keys]))
    return Section(f"Properties on {table.course.name}", text, shown_figures, tables)


def _table(caption: str, table: CourseTable, order: Sequence[str], keys: Sequence[str]) -> Table:
    heads = ["method", *(_head(table, key) for key in keys)]
    rows = [[_shown([table], name), *(_cell(table, name, key) for key in keys)] for name in order]
    return Table(caption, heads, rows, _set_off(table, order, keys))


def _head(table: CourseTable, key: str) -> str:
    if key in (BIAS, WAYS):
        return key
    head = table.heads[key.removeprefix("abs_")].head
    return f"{head} / points" if _is_fraction(key) else head


def _cell(table: CourseTable, name: str, key: str) -> str:
    if key == BIAS:
        return _in_points(table.means[name, "porosity_error"], signed=True)
    if key == WAYS:
        wrong = table.values(name, "percolation_error")
        return f"{sum(value > 0 for value in wrong)}, {sum(value < 0 for value in wrong)}"
    mean = table.means[name, key]
    if _is_fraction(key):
        return _in_points(mean)
    return _with_interval(mean, digits=1 if key.startswith("abs_") else 3)


def _is_fraction(key: str) -> bool:
    return key.startswith(("abs_porosity_error", "abs_fraction_error"))


def _set_off(table: CourseTable, order: Sequence[str], keys: Sequence[str]) -> list[frozenset[int]]:
    """Return for each method the columns in which it is the best."""
    chosen: list[set[int]] = [set() for _ in order]
    for column, key in enumerate(keys, 1):
        if key in (BIAS, WAYS):
            continue
        sense = table.heads[key.removeprefix("abs_")].sense
        values = [sense * table.means[name, key].mean for name in order]
        best = max((value for value in values if not math.isnan(value)), default=math.nan)
        for own, value in zip(chosen, values, strict=True):
            if value == best:
                own.add(column)
    return [frozenset(own) for own in chosen]


def _porosities(table: CourseTable, name: str) -> tuple[list[float], list[float]]:
    found, error = table.values(name, "porosity"), table.values(name, "porosity_error")
    pairs = [(own - away, own) for own, away in zip(found, error, strict=True) if not math.isnan(own)]
    return [true for true, _ in pairs], [own for _, own in pairs]


# Cost, failures, method


def _cost(tables: Sequence[CourseTable]) -> Section:
    shown, written = [], []
    for table in tables:
        order = [one.method for one in table.standings[BY_IOU]]
        points = {
            _shown([table], name): (table.means[name, "seconds_per_mvoxel"].mean, table.means[name, "mean_iou"].mean)
            for name in order
            if table.means[name, "seconds_per_mvoxel"].count
        }
        if points:
            drawn = figures.cost_against_score(points, y_label="mean IoU")
            shown.append(Figure([drawn], f"Mean IoU on {table.course.name} over what it takes."))
        written.append(_cost_table(table, order))
    text = [
        "Each volume is labelled in a process of its own. Seconds are those of labelling alone: imports, reading and a "
        "run on a few voxels, which compiles what has to be compiled, are left out. Memory is the largest that the "
        "process ever held, nothing subtracted; how much it held before labelling began stands beside it. Of labels "
        "made elsewhere nothing is known."
    ]
    return Section("What it costs", text, shown, written)


def _cost_table(table: CourseTable, order: Sequence[str]) -> Table:
    heads = [
        "method", "seconds a Mvoxel", "CPU seconds a Mvoxel", "threads", "peak memory / MiB", "before it began / MiB",
        "parameters", "training / s",
    ]  # fmt: skip
    rows = []
    for name in order:
        cost = {key: table.means[name, key].mean for key in COSTS}
        highest = [value for value in table.values(name, "peak_mib") if not math.isnan(value)]
        rows.append([
            _shown([table], name), number(cost["seconds_per_mvoxel"], 3), number(cost["cpu_seconds_per_mvoxel"], 3),
            _whole(cost["threads"]), _whole(max(highest, default=math.nan)), _whole(cost["baseline_mib"]),
            _whole(cost["parameters"]), number(cost["training_seconds"], 3),
        ])  # fmt: skip
    return Table(f"On {table.course.name}: means over volumes, of the peak memory the largest.", heads, rows)


def _failures(tables: Sequence[CourseTable]) -> list[Section]:
    rows = [
        [method, table.course.name, str(volume), sentence]
        for table in tables
        for method in table.methods
        for volume, sentence in table.failures(method)
    ]
    if not rows:
        return []
    text = [
        "A method that fails on a volume shares the last rank there; its means are those of the other volumes. The "
        "same command tries it again."
    ]
    said = [f"{method}, volume {volume} of {course}: {sentence}." for method, course, volume, sentence in rows]
    return [Section("What failed", [*text, *said])]


def _how(found: "Benchmark", tables: Sequence[CourseTable]) -> Section:
    along = "" if found.axis is None else f" The tortuosity is the pore's, along {'zyx'[found.axis]}."
    return Section(
        "How it was done",
        [
            "All methods are scored on the same volumes of a corpus, and none on a volume that any of them has learnt "
            "from. Properties of the truth and of the labels are measured alike, on the interior of the volume."
            + along,
            f"Intervals ({found.level:.0%}) of means are Student's, with volumes as independent draws; those of ranks "
            "hold the middle of the mean ranks over volumes drawn anew, 10 000 times. Ranks are among the methods that "
            "took part: with another field they change, scores do not.",
            "scores.csv has a row for each corpus, volume and method; table.csv the means, rank.csv the ranks.",
        ],
    )


# Words and numbers


def _shown(tables: Sequence[CourseTable], name: str) -> str:
    """Return a method's name, with a mark if it is told what a laboratory does not know."""
    kinds = {entrant.name: entrant.kind for table in tables for entrant in table.course.entrants}
    return f"{name} (oracle)" if kinds[name] == ORACLE else name


def _named(tables: Sequence[CourseTable], ways: Mapping[str, list[Standing]]) -> dict[str, list[Standing]]:
    return {
        way: [dataclasses.replace(one, method=_shown(tables, one.method)) for one in own] for way, own in ways.items()
    }


def _ranked(one: Standing) -> str:
    if math.isnan(one.low):
        return f"{one.rank:.1f}"
    return f"{one.rank:.1f} ({one.low:.1f} to {one.high:.1f})"


def _iou(table: CourseTable, name: str) -> str:
    return _with_interval(table.means[name, "mean_iou"])


def _with_interval(mean: Estimate, *, digits: int = 3) -> str:
    if math.isnan(mean.mean):
        return "–"
    text = f"{mean.mean:.{digits}f}"
    return text if math.isnan(mean.low) else f"{text} ({mean.low:.{digits}f} to {mean.high:.{digits}f})"


def _in_points(mean: Estimate, *, signed: bool = False) -> str:
    if math.isnan(mean.mean):
        return "–"
    # No sign before what is 0 to the last digit shown.
    form = "{:+z.2f}" if signed else "{:.2f}"
    parts = [form.format(100 * value) for value in (mean.mean, mean.low, mean.high)]
    parts = [part if float(part) else part.lstrip("+") for part in parts]
    text = parts[0] if math.isnan(mean.low) else f"{parts[0]} ({parts[1]} to {parts[2]})"
    return text.replace("-", "−")


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _difference(away: Estimate) -> str:
    if math.isnan(away.mean):
        return "–"
    text = f"{away.mean:.3f}" if math.isnan(away.low) else f"{away.mean:.3f} ({away.low:.3f} to {away.high:.3f})"
    return text.replace("-", "−")


def _whole(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.0f}".replace(",", "\u202f")


# Files


def _mean_rows(table: CourseTable) -> list[dict[str, Any]]:
    return [
        {
            "corpus": table.course.name, "method": method, "quantity": key, "volumes": mean.count,
            **{key: _known(value) for key, value in dataclasses.asdict(mean).items() if key != "count"},
        }
        for (method, key), mean in table.means.items()
    ]  # fmt: skip


def _rank_rows(name: str, ways: Mapping[str, list[Standing]]) -> list[dict[str, Any]]:
    return [
        {"corpus": name, "ranking": way, **{key: _known(value) for key, value in plain.items()}}
        for way, own in ways.items()
        for plain in map(dataclasses.asdict, own)
    ]


def _known(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _summary(found: "Benchmark", tables: Sequence[CourseTable], ranked: Mapping[str, Any]) -> dict[str, Any]:
    corpora = {
        table.course.name: {
            "folder": str(table.course.corpus.folder),
            "phases": list(table.course.phases),
            "scored": [table.course.number(position) for position in table.course.scored],
            "learnt_from": [table.course.number(position) for position in table.course.learn],
            "notes": list(table.course.notes),
            "methods": {name: _method_summary(table, name) for name in table.methods},
        }
        for table in tables
    }
    rankings = {
        name: {way: [dataclasses.asdict(one) for one in own] for way, own in ways.items()}
        for name, ways in ranked.items()
    }
    settings = {"axis": found.axis, "distances": found.distances, "level": found.level, "seed": found.seed}
    return {"corpora": corpora, "rankings": rankings, **settings}


def _method_summary(table: CourseTable, name: str) -> dict[str, Any]:
    entrant = next(entrant for entrant in table.course.entrants if entrant.name == name)
    return {
        "kind": entrant.kind,
        "parameters": entrant.parameters,
        "means": {
            key: dataclasses.asdict(mean)
            for (method, key), mean in table.means.items()
            if method == name and mean.count
        },
        "failures": {str(volume): sentence for volume, sentence in table.failures(name)},
    }
