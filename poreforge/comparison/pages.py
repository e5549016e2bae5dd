"""The files of a comparison: report, summary, tables and figures."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.likeness.independent_draws import ENOUGH_VOLUMES, ROUNDING, Deviation, MeanOfDraws
from evaluate.likeness.printed_units import paper_factor
from evaluate.likeness.subvolume_measures import FUNCTIONALS
from launch import describe_software, replace_when_complete
from poreforge.comparison import figures
from poreforge.comparison.audits import Audits
from poreforge.comparison.entries import CURVES, CurveEntry, Entry, power_of
from poreforge.comparison.inputs import REAL
from poreforge.comparison.paper_tables import PaperTable
from poreforge.exports import write_csv
from poreforge.mesh_pictures import can_draw_meshes
from poreforge.outputs import software_facts, write_summary
from poreforge.report import Figure, Picture, Section, Table, View, number, write_report
from poreforge.views import interactive_view, phase_scene

if TYPE_CHECKING:
    from poreforge.compare import Comparison

__all__ = ["write_comparison"]

TITLES = {
    "volume_fraction": "volume fraction",
    "specific_surface": "specific surface",
    "mean_curvature": "mean curvature",
    "euler_density": "Euler density",
    "mean_diameter": "mean diameter",
    "tortuosity_z": "tortuosity factor along z",
    "tortuosity_y": "tortuosity factor along y",
    "tortuosity_x": "tortuosity factor along x",
    "effective_diffusivity": "Deff / D0",
    "percolates": "share of ways through",
    "interface_area": "interface area",
    "triple_phase_boundary": "triple-phase boundary",
}
GROUPS = {
    "Minkowski functionals": FUNCTIONALS,
    "Sizes": ("mean_diameter",),
    "Transport": ("tortuosity_z", "tortuosity_y", "tortuosity_x", "effective_diffusivity", "percolates"),
    "Interfaces": ("interface_area", "triple_phase_boundary"),
}
CURVE_TITLES = {
    "two_point": "two-point correlation S2", "lineal_path": "lineal path", "sizes": "cumulative distribution of sizes",
}  # fmt: skip
PRINTED = ("volume_fraction", "specific_surface", "euler_density")
# Largest relative error of any phase with which a method is good enough.
AIMS = {"volume_fraction": 0.02, "specific_surface": 0.03, "euler_density": 0.1}
# Errors relative to a real number are told if its own interval reaches no further than this share of it: about 0 they
# would say nothing, and yet be the largest.
KNOWN_TO = 0.25
POWERS_OF_UNIT = {0: "", 1: "", -1: "⁻¹", -2: "⁻²", -3: "⁻³"}
DIFFERS = "\u00a0≠"
PERCENT = "\u00a0%"
MOST_TRIANGLES = 60_000
MOST_DIGITS = 6
# Verdicts of the audits that are no warning.
UNSUSPECTED, DIVERSE = "no sign of memorisation", "as diverse as the material"


def write_comparison(found: "Comparison", out: Path, *, real: Path, paper: PaperTable | None, views: bool) -> Path:
    """Write everything that a comparison tells into a folder.

    Parameters
    ----------
    found : Comparison
        By `poreforge.compare.compare`.
    out : Path
        The folder.
    real : Path
        The real volume's, for the page's title.
    paper : PaperTable, optional
        To set beside the own table.
    views : bool
        Whether to draw in 3-D.

    Returns
    -------
    Path
        The report.
    """
    software = describe_software()
    violins, s2 = _violins(found), _bands(found, "two_point")
    for name, drawn in (("violins.png", violins), ("s2.png", s2)):
        with replace_when_complete(out / name) as temporary:
            temporary.write_bytes(drawn.png)
    write_csv(out / "table.csv", [record for entry in found.entries for record in _records(found, entry)])
    write_csv(out / "curves.csv", _curve_table(found))
    write_csv(out / "cubes.csv", _cube_table(found))
    write_summary(out / "summary.json", _summary(found, real, paper) | {"software": software})
    sections = [
        *_verdict(found), _pictures(found, views), *_numbers(found, violins), _curves(found, s2), *_audits(found),
        *([] if paper is None else [_paper(found, paper)]), *_turning(found, views),
    ]  # fmt: skip
    facts = {
        "Real": real.name,
        **{f"Volumes, cubes of {name}": _counted(found, name) for name in found.methods},
        "Cubes": f"{found.edge}³ voxels",
        **{f"Note {i}": note for i, note in enumerate(found.notes, 1)},
        **software_facts(software),
    }
    return write_report(out / "report.html", f"Generated volumes against {real.name}", sections, facts=facts)


# What is said in words


def _verdict(found: "Comparison") -> list[Section]:
    scores = sorted((_score(found, name) for name in found.methods), key=lambda score: score.worst)
    return [
        Section(
            "Which is nearest, and is it near enough?",
            [_winner(scores), *_about_errors(found), *_warnings(found)],
            tables=[_aims_table(scores)],
        ),
        Section(
            "What differs by more than chance",
            [_about_equality(found), _about_draws(found)],
            tables=[_equality_table(found, scores)],
        ),
    ]


def _winner(scores: Sequence["_Score"]) -> str:
    first = scores[0]
    if math.isinf(first.worst):
        return "No number of the real volume is known well enough to tell a relative error; give a larger one."
    errors = [
        f"{_percent(abs(error.relative))} in {TITLES[key]}" for key, error in first.errors.items() if error is not None
    ]
    said = f"{first.name} is nearest: its" if len(scores) > 1 else f"{first.name}: the"
    text = f"{said} largest errors are {_listed(errors)}. It {first.verdict}."
    if len(scores) == 1:
        return text
    others = [score.name for score in scores[1:] if score.worst <= 1]
    if others:
        return f"{text} Within the aim, too: {_listed(others)}."
    return f"{text} No other method does." if first.worst <= 1 else f"{text} No method meets it."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _aims_table(scores: Sequence["_Score"]) -> Table:
    heads = ["method", *(f"{TITLES[key]} (≤ {100 * aim:g}{PERCENT})" for key, aim in AIMS.items())]
    rows = [
        [score.name, *(_error_cell(score, key) for key in AIMS), _times(score.worst), score.short] for score in scores
    ]
    caption = (
        "Largest relative error over the phases, and of which phase; ✓ is within the aim, ✗ beyond it, ? where the "
        "intervals leave a doubt. The method whose worst error is the smallest multiple of its aim stands first."
    )
    return Table(caption, [*heads, "worst / aim", "verdict"], rows, [_won(scores, score) for score in scores])


def _times(ratio: float) -> str:
    return f"{number(ratio, 2)} ×" if math.isfinite(ratio) else "–"


def _error_cell(score: "_Score", key: str) -> str:
    error = score.errors[key]
    if error is None:
        return "–"
    mark = "✓" if abs(error.relative) <= AIMS[key] else "✗"
    doubt = "?" if key in score.doubtful else ""
    return f"{mark}{doubt} {_percent(error.relative, signed=True)}, {score.phases[key]}"


def _won(scores: Sequence["_Score"], own: "_Score") -> frozenset[int]:
    if len(scores) < 2:
        return frozenset()
    sizes = {
        column: [
            math.inf if error is None else abs(error.relative) for error in (s.errors[key] for s in (own, *scores))
        ]
        for column, key in enumerate(AIMS, 1)
    }
    return frozenset(column for column, (mine, *rest) in sizes.items() if mine == min(rest) < math.inf)


def _equality_table(found: "Comparison", scores: Sequence["_Score"]) -> Table:
    heads = [
        "method", "volumes, cubes", "numbers that may be equal", "curves that may be equal", "largest S2 distance",
    ]  # fmt: skip
    rows = [
        [
            score.name, _counted(found, score.name), f"{score.allowed} of {score.compared}",
            f"{score.curves_allowed} of {score.curves_compared}", _percent(score.s2),
        ]
        for score in scores
    ]  # fmt: skip
    return Table("How many numbers and curves differ from the real ones by more than chance.", heads, rows)


def _about_errors(found: "Comparison") -> list[str]:
    """Say which numbers no relative error is told of."""
    left_out = [_name_of(found, entry) for entry in found.entries if entry.quantity in PRINTED and not _is_known(entry)]
    if not left_out:
        return []
    return [
        f"Not judged by a relative error, for the real number is not known to {KNOWN_TO:.0%} of itself: "
        f"{', '.join(left_out)}. Its differences are in the tables below."
    ]


def _about_equality(found: "Comparison") -> str:
    count = sum(1 for entry in found.entries if any(entry.deviations.values()))
    return (
        f"Real and generated volumes are measured alike, on cubes of {found.edge}³ voxels. A number may be equal "
        f"to the real one if the {found.level:.0%} interval of the difference, with the errors of both, holds 0. Of "
        f"{count} numbers some {(1 - found.level) * count:.0f} of a perfect method would fail by chance. That a number "
        "may be equal does not say that it is: with few volumes intervals are wide."
    )


def _warnings(found: "Comparison") -> list[str]:
    """Say which methods are near because they repeat what they were given, or each other, and what they lack."""
    said = [f"{note[:1].upper()}{note[1:]}." for note in found.notes if "does not occur" in note]
    for name, audit in found.audits.items():
        if audit.memorisation is not None and audit.memorisation.verdict != UNSUSPECTED:
            said.append(
                f"{name}: the memorisation audit says “{audit.memorisation.verdict}”; to be near is no merit then."
            )
        if audit.diversity is not None and audit.diversity.verdict != DIVERSE:
            said.append(f"{name}: the diversity audit says “{audit.diversity.verdict}”.")
    return said


def _about_draws(found: "Comparison") -> str:
    of_volumes = [name for name in found.methods if len(found.volumes[name]) >= ENOUGH_VOLUMES]
    others = [name for name in found.methods if name not in of_volumes]
    said = []
    if of_volumes:
        said.append(f"Each volume is one independent draw of {', '.join(of_volumes)}.")
    said.append(
        f"The cubes of {', '.join(['the real volume', *others])} are taken for draws of one stationary material, with "
        "the error widened by what neighbours share."
    )
    return " ".join(said)


@dataclasses.dataclass(frozen=True)
class _Score:
    """How near one method is; its largest error of each quantity in `AIMS`, and of which phase."""

    name: str
    errors: dict[str, Deviation | None]
    phases: dict[str, str]
    doubtful: frozenset[str]
    sure: bool
    allowed: int
    compared: int
    curves_allowed: int
    curves_compared: int
    s2: float

    @property
    def worst(self) -> float:
        """The largest error over its aim."""
        ratios = [abs(error.relative) / AIMS[key] for key, error in self.errors.items() if error is not None]
        return max(ratios, default=math.inf)

    @property
    def verdict(self) -> str:
        """Whether the aim is met, and whether the intervals leave a doubt."""
        beyond = [TITLES[key] for key, e in self.errors.items() if e is not None and abs(e.relative) > AIMS[key]]
        unknown = [TITLES[key] for key, error in self.errors.items() if error is None]
        text = f"misses the aim in {_listed(beyond)}" if beyond else "meets the aim"
        if not self.sure:
            text += ", within the intervals not surely"
        return f"{text}; {_listed(unknown)} cannot be judged" if unknown else text

    @property
    def short(self) -> str:
        """The verdict in a word or two."""
        if math.isinf(self.worst):
            return "–"
        return ("meets the aim" if self.worst <= 1 else "misses the aim") + ("" if self.sure else ", not surely")


def _score(found: "Comparison", name: str) -> _Score:
    known = [entry.deviations[name] for entry in found.entries]
    away = [deviation for deviation in known if deviation]
    distances = [(curve.quantity, curve.distances[name]) for curve in found.curves]
    curves = [(quantity, distance) for quantity, distance in distances if distance]
    errors = {key: _relative_errors(found, name, key) for key in AIMS}
    largest = {key: max(own, key=lambda one: abs(one[1].relative), default=None) for key, own in errors.items()}
    return _Score(
        name,
        {key: one[1] if one else None for key, one in largest.items()},
        {key: one[0] if one else "" for key, one in largest.items()},
        frozenset(key for key, own in errors.items() if not _is_sure({key: own})),
        _is_sure(errors),
        sum(deviation.allows_equality for deviation in away), len(away),
        sum(distance.allows_equality for _, distance in curves), len(curves),
        max((distance.distance for quantity, distance in curves if quantity == "two_point"), default=math.nan),
    )  # fmt: skip


def _is_sure(errors: Mapping[str, Sequence[tuple[str, Deviation]]]) -> bool:
    """Tell whether the intervals leave no doubt that every error is within its aim, or that one is not."""
    ends = [(AIMS[key], one.relative_low, one.relative_high) for key, own in errors.items() for _, one in own]
    return all(-aim <= low and high <= aim for aim, low, high in ends) or any(
        low > aim or high < -aim for aim, low, high in ends
    )


def _relative_errors(found: "Comparison", name: str, quantity: str) -> list[tuple[str, Deviation]]:
    """Return phase and error wherever the real number allows it, the same phases for all methods."""
    own = [entry for entry in found.entries if entry.quantity == quantity and _is_known(entry)]
    return [(found.phases[entry.phases[0]], away) for entry in own if (away := entry.deviations[name])]


def _is_known(entry: Entry) -> bool:
    """Tell whether the real number is far enough from 0 to be the measure of an error."""
    return entry.real is not None and entry.real.high - entry.real.mean <= KNOWN_TO * abs(entry.real.mean)


def _counted(found: "Comparison", name: str) -> str:
    volumes, cubes = _counts(found, name)
    return f"{volumes}, {cubes}"


# Tables of numbers


def _numbers(found: "Comparison", violins: Picture) -> list[Section]:
    sections = []
    for title, quantities in GROUPS.items():
        chosen = [entry for entry in found.entries if entry.quantity in quantities]
        if not chosen:
            continue
        drawn = []
        if quantities is FUNCTIONALS:
            caption = "Over the cubes; the line is the mean. What a method lacks in width it lacks in variety."
            drawn.append(Figure([violins], caption))
        sections.append(Section(title, _explained(found, title), drawn, _tables(found, chosen)))
    return sections


def _explained(found: "Comparison", title: str) -> list[str]:
    if title == "Transport":
        return [
            "τ = ε D0 / Deff of the cubes that the phase leads through; cubes without a way count as 0 in "
            "Deff / D0, which is the mean over the three axes, and in the share of ways."
        ]
    if title == "Minkowski functionals" and found.normalisation == "paper":
        return [
            f"As the paper prints them: V, S/8, H/(2π²) and 3χ/(4π) per voxel, times ((n - 1)/n)³ for cubes of "
            f"n = {found.edge}."
        ]
    return []


def _tables(found: "Comparison", chosen: Sequence[Entry]) -> list[Table]:
    names = [_name_of(found, entry) for entry in chosen]
    whole = any(entry.whole is not None for entry in chosen)
    heads = ["phase, number", *(["real, whole"] if whole else []), "real", *found.methods]
    rows = [
        [name, *([_value(entry.whole)] if whole else []), _mean(entry.real), *map(_mean, entry.generated.values())]
        for name, entry in zip(names, chosen, strict=True)
    ]
    unit = "µm" if found.unit == "um" else "voxels"
    values = Table(
        f"Means over cubes ± standard error; lengths in {unit}.", heads, rows, _best(found, chosen, before=2 + whole)
    )
    caption = (
        f"Errors of the means, relative, with their {found.level:.0%} intervals. ≠: equality is excluded. Where the "
        "real number may itself be 0 the difference stands in place of the relative error."
    )
    if len(found.methods) > 1:
        caption += " The nearest method is set off."
    errors = [[name, *map(_error, entry.deviations.values())] for name, entry in zip(names, chosen, strict=True)]
    return [values, Table(caption, ["phase, number", *found.methods], errors, _best(found, chosen, before=1))]


def _best(found: "Comparison", chosen: Sequence[Entry], *, before: int) -> list[frozenset[int]]:
    """Return the column of the nearest method for each entry, `before` columns standing before the methods."""
    places = {name: frozenset({before + k}) for k, name in enumerate(found.methods)}
    return [frozenset() if entry.best is None else places[entry.best] for entry in chosen]


def _name_of(found: "Comparison", entry: Entry) -> str:
    return f"{'–'.join(found.phases[k] for k in entry.phases)}: {TITLES[entry.quantity]}"


def _unit(found: "Comparison", quantity: str) -> str:
    power = power_of(quantity)
    if power == 0 or (found.normalisation == "paper" and quantity in FUNCTIONALS):
        return ""
    return f" / {'µm' if found.unit == 'um' else 'voxel'}{POWERS_OF_UNIT[power]}"


def _value(value: float | None) -> str:
    return "–" if value is None else number(value, 3)


def _mean(mean: MeanOfDraws | None) -> str:
    """Return mean ± standard error with a common power of ten, down to the error's second digit."""
    if mean is None:
        return "–"
    if mean.standard_error <= ROUNDING * abs(mean.mean):
        return f"{number(mean.mean)} ± 0"
    power, scale = figures.power_of_ten(max(abs(mean.mean), mean.standard_error))
    value, error = mean.mean / scale, mean.standard_error / scale
    digits = min(max(1 - math.floor(math.log10(error)), 0), MOST_DIGITS)
    text = f"{value:.{digits}f} ± {error:.{digits}f}".replace("-", "−")
    return f"({text}) × {power}" if power else text


def _error(away: Deviation | None) -> str:
    if away is None:
        return "–"
    mark = "" if away.allows_equality else DIFFERS
    if math.isnan(away.relative_low):
        return f"{_signed(away.difference)} ({_signed(away.low)} to {_signed(away.high)}){mark}"
    return f"{_relative(away)}{mark}"


def _relative(away: Deviation) -> str:
    if math.isnan(away.relative_low):
        return f"{_percent(away.relative, signed=True)} (unbounded)"
    low, high = (
        _percent(value, signed=True).removesuffix(PERCENT) for value in (away.relative_low, away.relative_high)
    )
    return f"{_percent(away.relative, signed=True)} ({low} to {high})"


def _signed(value: float) -> str:
    text = number(value, 2)
    return text if text.startswith("−") else f"+{text}"


def _percent(value: float, *, signed: bool = False) -> str:
    if math.isnan(value):
        return "–"
    digits = 1 if abs(value) < 0.0995 else 0
    text = f"{100 * value:{'+' if signed else ''}.{digits}f}"
    # No sign before what is 0 to the last digit shown.
    text = text if float(text) else text.lstrip("+-")
    return text.replace("-", "−") + PERCENT


# Curves


def _curves(found: "Comparison", s2: Picture) -> Section:
    rows, best = [], []
    for curve in found.curves:
        name = f"{found.phases[curve.phase]}: {CURVE_TITLES[curve.quantity]}"
        rows.append([name, *(_distance_cell(found, curve, method) for method in found.methods)])
        best.append(frozenset() if curve.best is None else frozenset({1 + found.methods.index(curve.best)}))
    text = [
        "Distance of S2 and of the lineal path: root mean square of the difference over distances from 0 to half a "
        "cube, over φ(1 − φ) of the real volume. Of sizes: the Wasserstein-1 distance of the distributions of the "
        "local thickness, a length.",
        "A distance is never 0, even between two sets of volumes of one material. By chance it stays below the "
        f"number in brackets in {found.level:.0%} of all cases; above it the curves differ (≠).",
    ]
    unit = "µm" if found.unit == "um" else "voxels"
    figures_of = [Figure([s2], f"S2 with the {found.level:.0%} band of each mean, point by point.")]
    others = [
        Figure([_bands(found, quantity)], caption)
        for quantity, caption in (
            ("lineal_path", "Probability that a whole segment along an axis lies in the phase."),
            ("sizes", f"Share of the phase's volume with a local thickness up to the diameter, in {unit}."),
        )
        if any(curve.quantity == quantity and curve.means for curve in found.curves)
    ]
    table = Table("Distances from the real curves.", ["phase, curve", *found.methods], rows, best)
    return Section("Curves", text, [*figures_of, *others], [table])


def _distance_cell(found: "Comparison", curve: CurveEntry, name: str) -> str:
    distance = curve.distances[name]
    if distance is None:
        return "–"
    mark = "" if distance.allows_equality else DIFFERS
    if CURVES[curve.quantity] == "rms":
        return f"{_percent(distance.distance)} (< {_percent(distance.noise)}){mark}"
    unit = "µm" if found.unit == "um" else "voxel"
    return f"{number(distance.distance, 3)} {unit} (< {number(distance.noise, 2)}){mark}"


def _violins(found: "Comparison") -> Picture:
    factors = _factors(found)
    quantities = {key: (TITLES[key], _unit(found, key)) for key in PRINTED}
    return figures.violins(found.volumes, quantities=quantities, factors=factors, phases=found.phases)


def _factors(found: "Comparison") -> dict[str, float]:
    if found.normalisation != "paper":
        return {}
    return {key: paper_factor(key, found.edge) for key in FUNCTIONALS}


def _bands(found: "Comparison", quantity: str) -> Picture:
    unit = "µm" if found.unit == "um" else "voxel"
    chosen = [curve for curve in found.curves if curve.quantity == quantity]
    x_label = f"{'diameter' if quantity == 'sizes' else 'distance'} / {unit}"
    y_label = {"two_point": "S2", "lineal_path": "lineal path", "sizes": "share up to it"}[quantity]
    return figures.bands(chosen, phases=found.phases, x_label=x_label, y_label=y_label)


# Pictures, audits, the paper


def _pictures(found: "Comparison", views: bool) -> Section:
    shown, text = [figures.slices(found.examples)], []
    if views:
        try:
            shown.append(figures.pictures_in_3d(found.examples))
        except ValueError as error:
            text.append(f"No pictures in 3-D: {error}.")
    return Section("Side by side", text, shown)


def _turning(found: "Comparison", views: bool) -> list[Section]:
    if not views or not can_draw_meshes():
        return []
    return [Section("In three dimensions", views=[_view(found, name) for name in found.examples])]


def _view(found: "Comparison", name: str) -> View:
    scene = phase_scene(found.examples[name], cut="none", with_unseen=True, most_triangles=MOST_TRIANGLES)
    return interactive_view(scene, f"{name}, to be turned and cut.", alt=f"3-D view of {name}.")


def _audits(found: "Comparison") -> list[Section]:
    audits = {name: audit.memorisation for name, audit in found.audits.items() if audit.memorisation}
    reasons = [f"{name}: {reason}." for name, audit in found.audits.items() for reason in audit.reasons]
    diverse = {name: audit.diversity for name, audit in found.audits.items() if audit.diversity}
    if not audits and not diverse and not reasons:
        return []
    text, tables, shown = [], [], []
    if audits:
        one = next(iter(audits.values()))
        text.append(
            f"Memorisation: of each method {len(one.generated.distance)} patches of {one.size}³ voxels are looked for "
            "in the real volume, under every translation and symmetry. As many patches of "
            f"{one.reference} tell how near chance brings an original."
        )
        tables.append(_memorisation_table(audits))
        shown.append(figures.nearest_pairs({name: found.audits[name].nearest for name in audits}))
    if diverse:
        text.append(
            "Diversity: do volumes of a method vary as much as equal parts of the real volume do? Patches that "
            "recur in other volumes of the method are duplicates. A ratio of variances is 1 for a method that varies "
            "as the material does; below 1 its volumes are too alike. The smallest and the largest of the phases stand "
            "there."
        )
        tables.append(_diversity_table(diverse))
    return [Section("Diversity and memorisation", [*text, *reasons], shown, tables)]


def _memorisation_table(audits: Mapping[str, Any]) -> Table:
    heads = [
        "method", "differing voxels, median", "of held-out patches", "chance of being nearer", "p value",
        "copies", "copies by chance", "verdict",
    ]  # fmt: skip
    rows = [
        [
            name, _percent(float(np.median(audit.generated.distance))),
            _percent(float(np.median(audit.held_out.distance))), number(audit.probability_nearer, 2),
            number(audit.p_value, 2), _percent(audit.share_of_copies), _percent(audit.share_of_held_out), audit.verdict,
        ]
        for name, audit in audits.items()
    ]  # fmt: skip
    return Table("Each method's patches and the real volume's nearest windows.", heads, rows)


def _diversity_table(diverse: Mapping[str, Any]) -> Table:
    heads = ["method", "distinct volumes", "duplicates", "in the real volume"]
    heads += [*(f"variance of {TITLES[key]}, ratio" for key in PRINTED), "verdict"]
    rows = []
    for name, found in diverse.items():
        row = [name, f"{found.n_distinct} of {found.n_volumes}"]
        row += [_percent(found.share_of_duplicates), _percent(found.share_of_real)]
        for key in PRINTED:
            ratios = [one.ratio for one in found.coverage if one.quantity == key]
            low, high = number(min(ratios), 2), number(max(ratios), 2)
            row.append(low if low == high else f"{low} to {high}")
        rows.append([*row, found.verdict])
    return Table("Each method's volumes against each other.", heads, rows)


def _paper(found: "Comparison", paper: PaperTable) -> Section:
    ours = {(entry.phases, entry.quantity): entry for entry in found.entries}
    rows, best = [], []
    for phase, name in enumerate(paper.phases):
        for column, quantity in enumerate(PRINTED):
            entry = ours[(phase,), quantity]
            errors = [paper.relative_error(method, phase, column) for method in paper.methods]
            errors += [_own_error(entry.deviations[method]) for method in found.methods]
            printed = [
                f"{number(paper.methods[method][phase][column], 3)} ({_percent(error, signed=True)})"
                for method, error in zip(paper.methods, errors, strict=False)
            ]
            own = [_percent(error, signed=True) for error in errors[len(printed) :]]
            rows.append([f"{name}: {TITLES[quantity]}", number(paper.real[phase][column], 3), *printed, *own])
            sizes = [math.inf if math.isnan(error) else abs(error) for error in errors]
            best.append(frozenset(2 + k for k, size in enumerate(sizes) if size == min(sizes) < math.inf))
    heads = ["phase, number", "real, printed", *(f"{m}, printed" for m in paper.methods)]
    heads += [f"{name}, here" for name in found.methods]
    text = [
        "What the paper prints, with the relative errors that follow from it, beside the relative errors found "
        "here; the smallest error of each row is set off. The materials are not the same, so that errors may be "
        "compared, values may not. Printed to 0.001, a surface of 0.014 is known to 3.6 %."
    ]
    table = Table("The paper's table and the methods here.", heads, rows, best)
    return Section("Beside the paper", text, tables=[table])


def _own_error(away: Deviation | None) -> float:
    return math.nan if away is None else away.relative


# Files


def _records(found: "Comparison", entry: Entry) -> list[dict[str, Any]]:
    shared = {
        "quantity": entry.quantity,
        "phases": "-".join(found.phases[k] for k in entry.phases),
        "unit": _unit(found, entry.quantity).removeprefix(" / "),
    }
    rows = [{**shared, "source": REAL, **_plain_mean(entry.real), **_plain_deviation(None)}]
    if entry.whole is not None:
        blank = dict.fromkeys(_plain_mean(None), "")
        rows.insert(0, {**shared, "source": "real, whole", **blank, "mean": entry.whole, **_plain_deviation(None)})
    for name in found.methods:
        deviation = _plain_deviation(entry.deviations[name])
        rows.append({**shared, "source": name, **_plain_mean(entry.generated[name]), **deviation})
    return rows


def _plain_mean(mean: MeanOfDraws | None) -> dict[str, Any]:
    fields = [field.name for field in dataclasses.fields(MeanOfDraws)]
    return dict.fromkeys(fields, "") if mean is None else dataclasses.asdict(mean)


def _plain_deviation(away: Deviation | None) -> dict[str, Any]:
    fields = [field.name for field in dataclasses.fields(Deviation)]
    if away is None:
        return {_of_difference(field): "" for field in fields}
    found = dataclasses.asdict(away)
    return {_of_difference(field): _finite(found[field]) for field in fields}


def _of_difference(field: str) -> str:
    return f"difference_{field}" if field in ("low", "high") else field


def _finite(value: Any) -> Any:
    return "" if isinstance(value, float) and not math.isfinite(value) else value


def _curve_table(found: "Comparison") -> dict[str, np.ndarray]:
    columns: dict[str, list[Any]] = {key: [] for key in ("quantity", "phase", "source", "at", "mean", "low", "high")}
    for curve in found.curves:
        for name, band in curve.means.items():
            n = len(curve.at)
            columns["quantity"] += [curve.quantity] * n
            columns["phase"] += [found.phases[curve.phase]] * n
            columns["source"] += [name] * n
            for key, values in (("at", curve.at), ("mean", band.mean), ("low", band.low), ("high", band.high)):
                columns[key] += values.tolist()
    return {key: np.array(values) for key, values in columns.items()}


def _cube_table(found: "Comparison") -> list[dict[str, Any]]:
    rows = []
    for name, volumes in found.volumes.items():
        for place, one in enumerate(volumes):
            for cube, origin in enumerate(one.origins.tolist()):
                row = {"source": name, "volume": place, "z": origin[0], "y": origin[1], "x": origin[2]}
                for (quantity, phases), values in one.values.items():
                    row[f"{quantity}_{'_'.join(map(str, phases))}"] = _finite(float(values[cube]))
                rows.append(row)
    return rows


def _summary(found: "Comparison", real: Path, paper: PaperTable | None) -> dict[str, Any]:
    return {
        "real": str(real),
        "methods": {name: dict(zip(("volumes", "cubes"), _counts(found, name), strict=True)) for name in found.methods},
        "phase_names": list(found.phases),
        "unit": found.unit,
        "normalisation": found.normalisation,
        "subvolume": found.edge,
        "level": found.level,
        "notes": list(found.notes),
        "aims": AIMS,
        "verdicts": {name: _plain_score(_score(found, name)) for name in found.methods},
        "numbers": [_known(dataclasses.asdict(entry)) for entry in found.entries],
        "curves": [
            {
                "quantity": curve.quantity, "phase": curve.phase, "best": curve.best,
                "distances": {
                    name: None if one is None else dataclasses.asdict(one) for name, one in curve.distances.items()
                },
            }
            for curve in found.curves
        ],
        "audits": {name: _audit_numbers(audit) for name, audit in found.audits.items()},
        "paper": None if paper is None else dataclasses.asdict(paper),
    }  # fmt: skip


def _plain_score(score: _Score) -> dict[str, Any]:
    errors = {key: None if error is None else error.relative for key, error in score.errors.items()}
    phases = {key: phase or None for key, phase in score.phases.items()}
    plain = {"largest_errors": errors, "phases": phases, "worst_over_aim": score.worst, "verdict": score.verdict}
    # Of what cannot be judged nothing is said.
    meets = None if math.isinf(score.worst) else score.worst <= 1
    known: dict[str, Any] = _known({**plain, "meets_aim": meets, "sure": score.sure})
    return known


def _audit_numbers(audit: Audits) -> dict[str, Any]:
    """Return the single numbers of both audits; of patches the median distances."""
    numbers: dict[str, Any] = {"reasons": list(audit.reasons)}
    for name, found in (("memorisation", audit.memorisation), ("diversity", audit.diversity)):
        if found is None:
            continue
        plain = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
        numbers[name] = {key: value for key, value in plain.items() if isinstance(value, str | int | float)}
    if audit.memorisation is not None:
        numbers["memorisation"] |= {
            "median_distance": float(np.median(audit.memorisation.generated.distance)),
            "median_distance_of_held_out": float(np.median(audit.memorisation.held_out.distance)),
        }
    if audit.diversity is not None:
        numbers["diversity"]["coverage"] = [dataclasses.asdict(one) for one in audit.diversity.coverage]
    return _known(numbers)


def _known(record: Any) -> Any:
    """Leave out what is not known or not finite, so that every number that stands there is one."""
    if isinstance(record, Mapping):
        kept = {key: _known(value) for key, value in record.items()}
        return {key: value for key, value in kept.items() if value is not None}
    if isinstance(record, list | tuple):
        return [_known(value) for value in record]
    return None if isinstance(record, float) and not math.isfinite(record) else record


def _counts(found: "Comparison", name: str) -> tuple[int, int]:
    volumes = found.volumes[name]
    return len(volumes), sum(len(one.origins) for one in volumes)
