"""A measured porosity and a segmenter's probabilities in; labels of that porosity out, and what its interval means."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluate import NoPathError, minkowski, permeability, tortuosity
from launch import describe_software, make_output_folder
from poreforge.outputs import PROBABILITY, bare_name, read_summary, software_facts, write_labels, write_summary
from poreforge.report import Figure, Section, Table, write_report
from poreforge.report.figures import label_image, picture
from segment.trust import PorosityShift, carry_interval, find_shift, label_slabs
from volume import Volume, choose_for_writing, open_lazily

__all__ = ["MEASURES", "calibrate_file"]

PHASES = ("pore", "solid")
# A pore's least probability beyond which the measurement and the pictures contradict each other.
LEAST, MOST = 0.1, 0.9
# Planes that are read at once.
PLANES = 16

Measure = Callable[[Volume], float]


def _along(axis: int, solve: Callable[..., float], *, blocked: float) -> Measure:
    """Return a property of the pores along an axis, and what it is where no pore leads through."""

    def measure(labels: Volume) -> float:
        try:
            return solve(Volume(np.asarray(labels) == 0, labels.voxel_size_um), axis)
        except NoPathError:
            return blocked

    return measure


def _surface(labels: Volume) -> float:
    return float(minkowski(Volume(np.asarray(labels) == 0, labels.voxel_size_um)).specific_surface)


def _tortuosity(pores: Volume, axis: int) -> float:
    return float(tortuosity(pores, axis=axis).tortuosity)


def _permeability(pores: Volume, axis: int) -> float:
    return float(permeability(pores, axis=axis).permeability)


# Name, and its properties with their units, where L stands for the unit of length.
MEASURES: dict[str, dict[str, tuple[str, Measure]]] = {
    "surface": {"specific surface": ("1 / L", _surface)},
    "tortuosity": {
        f"tortuosity factor along {'zyx'[axis]}": ("", _along(axis, _tortuosity, blocked=math.inf)) for axis in range(3)
    },
    "permeability": {
        f"permeability along {'zyx'[axis]}": ("L²", _along(axis, _permeability, blocked=0.0)) for axis in range(3)
    },
}


def calibrate_file(
    path: str | Path,
    out: str | Path,
    *,
    porosity: float,
    interval: tuple[float, float] | None = None,
    measures: Sequence[str] = ("surface", "tortuosity"),
    voxel_size_um: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Label a segmented volume so that its porosity is a measured one.

    Parameters
    ----------
    path : path-like
        ``NAME-probability.tif`` of `segment_file`: probability of the pore, shape (Z, Y, X). It is read slab by slab.
    out : path-like
        File for the labels; its ending chooses the format. With an interval, ``NAME-low`` and ``NAME-high`` beside it
        are the labels of its ends. ``NAME-summary.json`` and ``NAME.html`` tell the numbers.
    porosity : float
        Measured, from 0 to 1: by helium pycnometry, say, or from mass and thickness.
    interval : (float, float), optional
        Where it lies, given the measurement's uncertainty.
    measures : sequence of str
        Which properties of the pores the interval is carried on to: names in `MEASURES`. For these the labels are held
        in memory, three times with an interval.
    voxel_size_um : (float, float, float), optional
        Size of a voxel along z, y, x; by default the file's.

    Returns
    -------
    dict
        What ``NAME-summary.json`` holds; its ``warnings`` are sentences for the user.

    Raises
    ------
    ValueError
        If the porosity or its interval are out of range, a measure has no such name, the file holds no probabilities or
        those of a model of other than two phases, or `out` cannot be written or would replace the file.
    """
    path, out = Path(path), Path(out)
    low, high = _check_porosity(porosity, interval)
    _check_measures(measures)
    phases = _phases_beside(path)
    with open_lazily(path, voxel_size_um=voxel_size_um) as probability:
        choose_for_writing(out)
        wanted = {"": porosity} if interval is None else {"-low": low, "": porosity, "-high": high}
        files = {end: _with_end(out, end) for end in wanted}
        if path.resolve() in {file.resolve() for file in files.values()}:
            raise ValueError(f"the result would replace '{path}' itself; choose another name with --out")
        if probability.dtype.kind != "f":
            raise ValueError(
                f"'{path}' holds {probability.dtype}, and probabilities are no whole numbers; give the file "
                f"NAME{PROBABILITY}.tif that poreforge segment writes"
            )
        slabs = _Slabs(probability)
        alone = sum(int((slab[0] > slab[1]).sum()) for slab in slabs) / math.prod(probability.shape)
        shifts = {end: find_shift(slabs, value) for end, value in wanted.items()}
        # What cannot be measured is refused before anything is written.
        carried = _carry(slabs, shifts, measures, probability.voxel_size_um)
        make_output_folder(out.parent)
        about: dict[str, Any] = {
            "shape": probability.shape,
            "voxel_size_um": probability.voxel_size_um,
            "phases": phases,
        }
        for end, shift in shifts.items():
            write_labels(files[end], label_slabs(slabs, shift), **about)
        summary = _summary(path, probability, alone, shifts, carried)
        pictures = _pictures(probability, shifts)
    write_summary(out.with_name(f"{bare_name(out)}-summary.json"), summary)
    _write_report(out.with_name(f"{bare_name(out)}.html"), summary, pictures)
    return summary


def _check_porosity(porosity: float, interval: tuple[float, float] | None) -> tuple[float, float]:
    low, high = (porosity, porosity) if interval is None else interval
    if not 0 <= low <= porosity <= high <= 1:
        between = "" if interval is None else f" and its interval {low} to {high}"
        raise ValueError(f"the porosity is {porosity}{between}; give fractions from 0 to 1, the interval around it")
    return low, high


def _check_measures(measures: Sequence[str]) -> None:
    unknown = [name for name in measures if name not in MEASURES]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no property that can be measured; choose from: {', '.join(MEASURES)}")


def _phases_beside(path: Path) -> tuple[str, ...]:
    """Return the model's phases as the summary beside the probabilities tells them."""
    summary = path.with_name(f"{bare_name(path).removesuffix(PROBABILITY)}-summary.json")
    phases = tuple(read_summary(summary).get("fractions", PHASES)) if summary.is_file() else PHASES
    if len(phases) != len(PHASES):
        raise ValueError(
            f"'{path}' holds the probability of '{phases[0]}' alone, and the model tells {len(phases)} phases apart; "
            "call segment.trust.match_porosity with all of them"
        )
    return phases


def _with_end(out: Path, end: str) -> Path:
    name = bare_name(out)
    return out.with_name(f"{name}{end}{out.name.removeprefix(name)}")


class _Slabs:
    """Probabilities of both phases, read from the file as often as wanted."""

    def __init__(self, pore: Any) -> None:
        self.pore = pore

    def __iter__(self) -> Iterator[np.ndarray]:
        for z in range(0, self.pore.shape[0], PLANES):
            pore = np.asarray(self.pore[z : z + PLANES], np.float32)
            yield np.stack([pore, 1 - pore])


def _carry(
    slabs: _Slabs, shifts: dict[str, PorosityShift], measures: Sequence[str], size: Any
) -> dict[str, dict[str, Any]]:
    """Return each property at the measured porosity and, with an interval, between its ends."""
    if not measures:
        return {}
    volumes = {end: np.concatenate(list(label_slabs(slabs, shift))) for end, shift in shifts.items()}
    unit = "voxel" if size is None else "µm"
    found = {}
    for name in measures:
        for heading, (of, measure) in MEASURES[name].items():
            found[heading] = {"unit": of.replace("L", unit), **_measured(volumes, measure, size)}
    return found


def _measured(volumes: dict[str, np.ndarray], measure: Measure, size: Any) -> dict[str, float]:
    if "-low" not in volumes:
        return {"value": measure(Volume(volumes[""], size))}
    carried = carry_interval(
        volumes["-low"], volumes[""], volumes["-high"], measure=lambda labels: measure(Volume(labels, size))
    )
    return {"value": carried.value, "low": carried.low, "high": carried.high}


def _summary(
    path: Path, probability: Any, alone: float, shifts: dict[str, PorosityShift], carried: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    least = {end: shift.ratio / (1 + shift.ratio) for end, shift in shifts.items()}
    warnings = []
    if not LEAST <= least[""] <= MOST:
        warnings.append(
            f"the measured porosity and the pictures contradict each other: a voxel had to be taken for pore where its "
            f"probability is above {least['']:.3f}; pores too small to be seen, or a part that is not like the whole"
        )
    return {
        "file": str(path),
        "shape": list(probability.shape),
        "voxel_size_um": probability.voxel_size_um,
        "porosity": shifts[""].porosity,
        "porosity_interval": [shifts["-low"].porosity, shifts["-high"].porosity] if "-low" in shifts else None,
        "porosity_without": alone,
        "least_probability": least[""],
        "log_shift": shifts[""].log_shift,
        "properties": carried,
        "warnings": warnings,
        "software": describe_software(),
    }


def _pictures(probability: Any, shifts: dict[str, PorosityShift]) -> Figure:
    """Show the middle slice; of voxels at the very threshold, which are few, none is pore here."""
    middle = np.asarray(probability[probability.shape[0] // 2])
    shown = [picture(middle, "probability of the pore", limits=(0, 1), colours="magma")]
    titles = {"-low": "labels, low", "": "labels", "-high": "labels, high"}
    for end, shift in shifts.items():
        pore = middle > shift.ratio / (1 + shift.ratio)
        shown.append(picture(label_image(~pore), f"{titles[end]}: {shift.porosity:.4f}"))
    return Figure(shown, "The slice in the middle; pore dark.", len(shown))


def _write_report(path: Path, summary: dict[str, Any], pictures: Figure) -> None:
    text = (
        f"Porosity {summary['porosity']:.4f}, as measured; by the pictures alone {summary['porosity_without']:.4f}. A "
        f"voxel is pore where its probability of being one is above {summary['least_probability']:.3f}."
    )
    rows = []
    for heading, found in summary["properties"].items():
        ends = f"{found['low']:.4g} to {found['high']:.4g}" if "low" in found else "not asked for"
        name = f"{heading}, {found['unit']}" if found["unit"] else heading
        rows.append([name, f"{found['value']:.4g}", ends])
    interval = summary["porosity_interval"]
    caption = "Properties of the pores at the measured porosity" + (
        "." if interval is None else f", and for porosities from {interval[0]:.4f} to {interval[1]:.4f}."
    )
    tables = [Table(caption, ["property", "value", "interval"], rows)] if rows else []
    lines = [text, *(f"Warning: {line}." for line in summary["warnings"])]
    facts = {
        "File": Path(summary["file"]).name,
        "Voxels": " × ".join(map(str, summary["shape"])) + " (z, y, x)",
        **software_facts(summary["software"]),
    }
    title = f"Labels of a measured porosity: {Path(summary['file']).name}"
    write_report(path, title, [Section("Result", lines, [pictures], tables=tables)], facts=facts)
