"""A grey volume in; labels, probabilities, porosity with its interval and a report out, whatever the depth."""

import contextlib
import dataclasses
import functools
import platform
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import describe_software, in_words, make_output_folder
from poreforge.outputs import PROBABILITY, bare_name, software_facts, write_labels, write_summary
from poreforge.report import Figure, Section, Table, write_report
from poreforge.report.figures import curves, label_image, picture
from segment import load
from segment.inference import Precision, check_precision, choose_device
from segment.memory import available_bytes
from segment.parts import Gathered, Parts, predict_parts, shares_of
from segment.preprocessing import Levels
from segment.segmenter import Segmenter, shipped_models_like
from segment.slice_order import LEAST_LIKENESS, SliceOrder, slice_likeness
from segment.slicing_axis import slicing_axis
from segment.trust import Judgement
from synth.workers import check_workers, connect, local_client, spread
from volume import choose_for_writing, open_lazily, write_slabs

__all__ = ["Computing", "name_of_porosity", "segment_file"]

# Labels and probabilities of a voxel, once in parts and once in the results.
DISK_BYTES = 2 * (1 + 4)


@dataclasses.dataclass(frozen=True)
class Computing:
    """Where and how a volume is segmented; none of it changes the labels beyond rounding.

    Parameters
    ----------
    device : str
        ``auto`` (the first accelerator if there is one, else the CPU), ``cpu``, ``cuda``, ``cuda:1`` and so on.
    precision : {"float32", "bfloat16"}
        The second is faster on processors that have it, and moves probabilities by some thousandths.
    workers : int, optional
        Processes on this machine that share the work; by default this one does it.
    scheduler : str, optional
        Address of a dask scheduler, ``tcp://host:port``, whose workers share the work instead. They must see the
        volume, the folder of the result and, unless it is a shipped one, the model under the same names.
    """

    device: str = "auto"
    precision: Precision = "float32"
    workers: int | None = None
    scheduler: str | None = None

    def check(self) -> None:
        """Raise ``ValueError`` for what cannot be had here."""
        check_precision(self.precision)
        check_workers(self.workers, self.scheduler)
        if self.scheduler is None:
            choose_device(self.device)


@dataclasses.dataclass(frozen=True)
class _Task:
    """All that a process needs to take its share."""

    volume: Path
    model: str
    computing: Computing
    parts: Parts
    # Of the segmenter, what the stack decides.
    seen: dict[str, Any]
    levels: Levels
    shares: list[list[tuple[int, int]]]


@dataclasses.dataclass(frozen=True, eq=False)
class _Result:
    """What the summary and the report tell."""

    gathered: Gathered
    porosity: float
    porosity_interval: tuple[float, float]
    coverage: float
    phases: tuple[str, ...]
    judgement: Judgement | None
    slices: SliceOrder
    warnings: list[str]
    # Shipped models that know such pictures, where this one does not.
    better_known_to: list[str]


def segment_file(
    path: str | Path,
    out: str | Path,
    *,
    model: str,
    voxel_size_um: Sequence[float] | None = None,
    slices: SliceOrder = "auto",
    computing: Computing | None = None,
) -> dict[str, Any]:
    """Segment the volume in a file.

    Parameters
    ----------
    path : path-like
        Grey values; they are read slab by slab, see `volume.open_lazily`.
    out : path-like
        File for the labels; its ending chooses the format. Beside it go ``NAME-probability.tif`` (that of the
        pore), ``NAME-summary.json`` and ``NAME.html``. Labels are held as a whole only for formats other than TIFF
        and Zarr.
    model : str
        As `segment.load` takes it.
    voxel_size_um : (float, float, float), optional
        Size of a voxel along z, y, x; by default the file's.
    slices : {"auto", "stack", "single"}
        Whether neighbouring slices tell of one another, see `segment.Segmenter`.
    computing : Computing, optional
        Device, precision and who shares the work.

    Returns
    -------
    dict
        What ``NAME-summary.json`` holds; its ``warnings`` are sentences for the user.

    Raises
    ------
    ValueError
        If the volume or the model cannot be used, `out` cannot be written or would replace the volume, memory or disk
        are too small, or workers fail. What is finished by then stays in the hidden folder ``.OUT-parts``, and the same
        call goes on.
    """
    path, out, computing = Path(path), Path(out), computing or Computing()
    # All that can be refused is refused before the long work begins and the first file is written.
    computing.check()
    segmenter = load(model)
    segmenter = dataclasses.replace(segmenter, precision=computing.precision, slices=slices)
    with open_lazily(path, voxel_size_um=voxel_size_um) as grey:
        choose_for_writing(out)
        if path.resolve() in (out.resolve(), _probability_of(out).resolve()):
            raise ValueError(f"the result would replace the volume '{path}' itself; choose another name with --out")
        segmenter = segmenter.for_voxels(grey.voxel_size_um)
        _refuse_short_memory(segmenter, grey.shape, processes=computing.workers or 1)
        levels = segmenter.preprocessing.measure(grey)
        segmenter = segmenter.for_stack(grey)
        make_output_folder(out.parent)
        _refuse_short_disk(out, grey.size)
        parts = Parts(out.absolute().with_name(f".{out.name}-parts"), segmenter.layers(grey.shape))
        seen = {"slices": segmenter.slices, "multiplanar": segmenter.multiplanar}
        with _kept_if_begun(parts):
            parts.begin(_identity(path, grey, segmenter, levels))
            _predict(_Task(path.absolute(), model, computing, parts, seen, levels, []), segmenter, grey)
            result = _gather(parts, segmenter, grey, asked=slices)
            summary = _summary(result, grey, file=path, model=model)
            _write_all(out, parts, grey, result, summary)
        parts.remove()
    return summary


def _probability_of(out: Path) -> Path:
    return out.with_name(f"{bare_name(out)}{PROBABILITY}.tif")


@contextlib.contextmanager
def _kept_if_begun(parts: Parts) -> Iterator[None]:
    """Remove the folder of parts on an error if there is none to go on from."""
    try:
        yield
    except BaseException:
        if len(parts.missing()) == len(parts.layers):
            parts.remove()
        raise


def _identity(path: Path, grey: Any, segmenter: Segmenter, levels: Levels) -> dict[str, Any]:
    """Return what decides every number, so that parts of another prediction are not taken for parts of this one."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return {
        "volume": [str(path.absolute()), len(files), sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)],
        "shape": list(grey.shape),
        "levels": [float(levels.low), float(levels.high)],
        "segmenter": segmenter.fingerprint(),
    }


def _predict(task: _Task, segmenter: Segmenter, grey: Any) -> None:
    """Make the parts that are missing, here or in workers."""
    missing, computing = task.parts.missing(), task.computing
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connect(computing.scheduler)) if computing.scheduler else None
        width = sum(client.nthreads().values()) if client else computing.workers or 1
        task = dataclasses.replace(task, shares=shares_of(missing, width))
        if client is None and min(width, len(task.shares)) > 1:
            client = stack.enter_context(local_client(min(width, len(task.shares))))
        if client is not None:
            for _ in spread(client, functools.partial(_predict_share, task), range(len(task.shares))):
                pass
            return
        there = segmenter.on(computing.device)
        for share in task.shares:
            predict_parts(there, grey, task.parts, levels=task.levels, layers=share)


def _predict_share(task: _Task, index: int) -> None:
    """Make some parts in a worker."""
    if not task.parts.folder.is_dir() or not task.volume.exists():
        raise ValueError(
            f"the worker on '{platform.node()}' does not see '{task.volume}' and the folder of the result; choose a "
            "file system that all workers share"
        )
    segmenter = load(task.model).on(task.computing.device, precision=task.computing.precision)
    segmenter = dataclasses.replace(segmenter, **task.seen)
    with open_lazily(task.volume) as grey:
        # A share that is given out again, for its worker was lost, is not begun anew.
        for layers in shares_of([layer for layer in task.shares[index] if layer in task.parts.missing()], 1):
            predict_parts(segmenter, grey, task.parts, levels=task.levels, layers=layers)


def _refuse_short_memory(segmenter: Segmenter, shape: Sequence[int], *, processes: int) -> None:
    needed, free = processes * segmenter.memory_bytes(shape), available_bytes()
    if free is not None and needed > free:
        fewer = ", or take fewer --workers" if processes > 1 else ""
        raise ValueError(
            f"segmenting slices of {shape[1]} × {shape[2]} pixels needs about {in_words(needed)} of memory, whatever "
            f"their number, and {in_words(free)} are free; crop the slices{fewer}, or use a larger machine"
        )


def _refuse_short_disk(out: Path, voxels: int) -> None:
    needed, free = DISK_BYTES * voxels, shutil.disk_usage(out.parent).free
    if needed > free:
        raise ValueError(
            f"the results of {voxels} voxels need about {in_words(needed)} and the disk of '{out.parent}' has "
            f"{in_words(free)} free; make room or choose another disk with --out"
        )


def _gather(parts: Parts, segmenter: Segmenter, grey: Any, *, asked: SliceOrder) -> _Result:
    gathered = parts.gather()
    porosity = int(gathered.counts[:, 0].sum()) / grey.size
    found = segmenter.porosity_interval(porosity, gathered.undecided / grey.size)
    interval = found.low, found.high
    judgement = segmenter.judge(grey)
    others = shipped_models_like(grey) if judgement is not None and not judgement.inside else []
    warnings = [*_axis_warnings(grey, segmenter), *(_single_warnings(grey, segmenter) if asked == "auto" else [])]
    return _Result(
        gathered, porosity, interval, found.coverage, segmenter.phases, judgement, segmenter.slices, warnings, others
    )


def _summary(result: _Result, grey: Any, *, file: Path, model: str) -> dict[str, Any]:
    fractions = result.gathered.counts.sum(axis=0) / grey.size
    return {
        "file": str(file),
        "model": model,
        "shape": list(grey.shape),
        "voxel_size_um": grey.voxel_size_um,
        "porosity": result.porosity,
        "expected_porosity": result.gathered.pore / grey.size,
        "porosity_interval": list(result.porosity_interval),
        "interval_coverage": result.coverage,
        "fractions": dict(zip(result.phases, fractions.tolist(), strict=True)),
        "undecided": result.gathered.undecided / grey.size,
        "domain": _domain_facts(result),
        "slices": result.slices,
        "warnings": result.warnings,
        "software": describe_software(),
    }


def _write_all(out: Path, parts: Parts, grey: Any, result: _Result, summary: dict[str, Any]) -> None:
    about: dict[str, Any] = {"shape": grey.shape, "voxel_size_um": grey.voxel_size_um}
    write_labels(out, parts.read("labels"), phases=result.phases, **about)
    write_slabs(_probability_of(out), parts.read("pore"), dtype=np.float32, **about)
    # A name of its own: NAME.json belongs to NAME.raw.
    write_summary(out.with_name(f"{bare_name(out)}-summary.json"), summary)
    _write_report(out.with_name(f"{bare_name(out)}.html"), grey, result, summary)


def _axis_warnings(grey: Any, segmenter: Segmenter) -> list[str]:
    axis = None if segmenter.turned else slicing_axis(grey)
    if not axis:
        return []
    return [
        f"the brightness jumps from plane to plane along {'zyx'[axis]} and not along z, the slicing direction: if the "
        "axes of the file are in another order than (z, y, x), swap them and segment it again"
    ]


def _single_warnings(grey: Any, segmenter: Segmenter) -> list[str]:
    if segmenter.slices == "stack":
        return []
    likeness = slice_likeness(grey) or 0.0
    return [
        f"the slices do not follow on one another (their likeness is {likeness:.2f}, that of a stack {LEAST_LIKENESS} "
        "or more), so each was segmented by itself: if they are a stack all the same, align them, or segment them "
        "again with --slices stack"
    ]


def _domain_facts(result: _Result) -> dict[str, Any] | None:
    judgement = result.judgement
    if judgement is None:
        return None
    return {
        "inside": judgement.inside,
        "p_value": judgement.p_value,
        "furthest": list(judgement.furthest),
        "better_known_to": result.better_known_to,
    }


def _domain_sentence(result: _Result) -> str:
    judgement = result.judgement
    if judgement is None:
        return "Whether the images are like those of the training is not known."
    if judgement.inside:
        return "In noise, sharpness, contrast and stripes the images are like those of the training."
    return (
        f"The images are unlike those of the training (p = {judgement.p_value:.2f}): {'; '.join(judgement.furthest)}. "
        f"Neither the interval nor the probabilities can be trusted.{_better_models(result.better_known_to)}"
    )


def _better_models(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f" Shipped models that have learnt from such images: {', '.join(names)}."


def _write_report(path: Path, grey: Any, result: _Result, summary: dict[str, Any]) -> None:
    low, high = result.porosity_interval
    name = name_of_porosity(result.phases)
    text = (
        f"{name[0].upper()}{name[1:]} {result.porosity:.2%}; interval {low:.2%} to {high:.2%}. The interval covers the "
        f"truth in {result.coverage:.0%} or more of volumes like the synthetic ones on which the model was calibrated, "
        "and says nothing about a material or an instrument that is unlike all of them: look at the pictures."
    )
    unsure = (
        f"{summary['undecided']:.1%} of the voxels have no phase with a probability of 0.8. The mean probability of "
        f"{result.phases[0]}, which does not lean to the likelier phase as labels do, is "
        f"{summary['expected_porosity']:.2%}."
    )
    rows = [[name, f"{fraction:.2%}"] for name, fraction in summary["fractions"].items()]
    sections = [
        Section(
            "Result",
            [text, _domain_sentence(result), unsure, *(f"Warning: {line}." for line in summary["warnings"])],
            tables=[Table("Volume fractions.", ["phase", "fraction"], rows)],
        ),
        Section("Slices", [], [_slices(grey, result)]),
        Section("Slice by slice", [], [_profile(result)]),
    ]
    facts = {
        "File": Path(summary["file"]).name,
        "Model": summary["model"],
        "Voxels": " × ".join(map(str, grey.shape)) + " (z, y, x)",
        **software_facts(summary["software"]),
    }
    write_report(path, f"Segmentation of {Path(summary['file']).name}", sections, facts=facts)


def _slices(grey: Any, result: _Result) -> Figure:
    shown = {z: grey[z] for z in sorted(result.gathered.shown)}
    low, high = np.percentile(np.stack(list(shown.values())), [0.5, 99.5])
    pictures = []
    for z, seen in shown.items():
        chosen, confidence = result.gathered.shown[z]
        pictures += [
            picture(seen, f"slice {z}", limits=(low, high)),
            picture(label_image(chosen), "labels"),
            picture(confidence, "confidence", limits=(1 / len(result.phases), 1), colours="magma"),
        ]
    labels = f"labels, {result.phases[0]} dark"
    caption = f"Grey values; {labels}; probability of the chosen label: where it is dark, do not trust it."
    return Figure(pictures, caption, 3)


def _profile(result: _Result) -> Figure:
    counts, name = result.gathered.counts, name_of_porosity(result.phases)
    porosity = counts[:, 0] / counts.sum(axis=1)
    return curves(
        {name: (np.arange(len(porosity)), porosity)},
        x_label="slice",
        y_label=f"{name} of the slice",
        levels={"whole volume": result.porosity},
        caption="A single slice that stands out is more often a bad image than a change of the material.",
        alt=f"{name[0].upper()}{name[1:]} of each slice.",
    )


def name_of_porosity(phases: Sequence[str]) -> str:
    """Return what the fraction of label 0 is called: the porosity, unless that label is no pore."""
    return "porosity" if phases[0] == "pore" else f"volume fraction of {phases[0]}"
