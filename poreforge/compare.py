"""Generated volumes against a real one: every number with its interval, the curves, diversity and memorisation."""

import dataclasses
import numbers
import pickle
import shutil
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from evaluate import minkowski_of_phases
from evaluate.accepted_input import as_whole_number
from evaluate.likeness.printed_units import paper_factor
from evaluate.likeness.subvolume_measures import FUNCTIONALS, TOPICS, Key, SubvolumeMeasures, measure_subvolumes
from launch import describe_software, make_output_folder, replace_when_complete
from poreforge.comparison.audits import AUDITS, Audits, audit_method
from poreforge.comparison.entries import CurveEntry, Entry, curve_entries, entries
from poreforge.comparison.inputs import REAL, RELATIVE_SIZE_ERROR, Footing, digest_of, labels_of, name_methods, survey
from poreforge.comparison.paper_tables import PAPER_TABLES, PaperTable
from volume import Volume

__all__ = ["Comparison", "compare", "compare_files"]

PARTS = ".parts"
NORMALISATIONS = ("density", "paper")
SYMMETRIES = ("cubic", "transverse", "flips", "none")
VIEWS = "views"
LARGEST_EXAMPLE = 96
LEVEL = 0.95


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """How generated volumes compare with a real one; made by `compare`.

    Attributes
    ----------
    methods : tuple of str
        Names.
    phases : tuple of str
        Names of the labels.
    unit : str
        ``"um"`` or ``"voxel"``.
    normalisation : {"density", "paper"}
        Of the numbers in `entries`.
    edge : int
        Voxels along an edge of the cubes.
    level : float
        Coverage of the intervals.
    entries : tuple of Entry
        Number by number.
    curves : tuple of CurveEntry
        S2, lineal path and cumulative sizes, phase by phase.
    volumes : dict
        For ``"real"`` and each method its volumes' measurements, cube by cube; not multiplied for print.
    audits : dict
        For each method its diversity and memorisation.
    examples : dict
        For ``"real"`` and each method a cube from the middle of its first volume, all of one size.
    notes : tuple of str
        What was changed or taken for granted.
    """

    methods: tuple[str, ...]
    phases: tuple[str, ...]
    unit: str
    normalisation: str
    edge: int
    level: float
    entries: tuple[Entry, ...]
    curves: tuple[CurveEntry, ...]
    volumes: dict[str, tuple[SubvolumeMeasures, ...]]
    audits: dict[str, Audits]
    examples: dict[str, Volume]
    notes: tuple[str, ...]


def compare(
    real: Any,
    generated: Mapping[str, Sequence[Any]],
    *,
    subvolume: int = 64,
    most: int | None = 64,
    normalisation: Literal["density", "paper"] = "density",
    held_out: Any = None,
    patches: int = 16,
    symmetry: Literal["cubic", "transverse", "flips", "none"] = "cubic",
    without: Sequence[str] = (),
    level: float = LEVEL,
    voxel_size_um: Sequence[float] | None = None,
    parts: MutableMapping[str, Any] | None = None,
) -> Comparison:
    """Measure generated volumes and a real one alike and tell how far they are apart.

    Parameters
    ----------
    real : path, Volume, structure or array_like
        Labels of the real material, 0 being pore.
    generated : mapping
        From the name of each method to its volumes, each a path, a Volume, a structure or an array. One volume at a
        time is in memory if they are paths.
    subvolume : int
        Voxels along an edge of the cubes on which everything is measured, real and generated alike; 64 in the paper.
    most : int, optional
        Cubes of each volume at most; None for as many as fit.
    normalisation : {"density", "paper"}
        ``"density"``: per volume, as `evaluate.minkowski` defines it. ``"paper"``: volume fraction, surface, curvature
        and Euler density as the paper prints them (`evaluate.likeness.paper_factor`), all else in voxels; cubic voxels
        only.
    held_out : path, Volume, structure or array_like, optional
        Real material that no method was trained on, for the memorisation audit.
    patches : int
        How many patches of each method the memorisation audit looks for in the real volume.
    symmetry : {"cubic", "transverse", "flips", "none"}
        Which turned and mirrored copies it finds (`evaluate.likeness.memorisation_audit`).
    without : sequence of {"sizes", "transport", "interfaces", "memorisation", "diversity", "views"}
        What not to measure or draw.
    level : float
        Coverage of the intervals.
    voxel_size_um : (float, float, float), optional
        Of all volumes, in place of what they say.
    parts : mutable mapping, optional
        Where what is measured of each volume is kept under a key of its content, and looked for before it is measured.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        For volumes that cannot be read or compared: other voxel sizes, more phases or another order of them, smaller
        than a cube, fewer than two cubes in all, the real volume given as made or as held out; an argument out of
        range. All of it before anything is measured.

    Notes
    -----
    Every number is the mean over cubes that do not overlap. From four volumes of a method on each volume is
    one independent draw, represented by the mean of its cubes; of fewer volumes, such as the one real one, the cubes
    are taken for draws of a stationary medium, and the error is widened by what neighbours share
    (`evaluate.likeness.mean_of_draws`, `neighbour_inflation`). Cubes of one size on both sides bear the same bias of
    the window, which so drops out of the difference.
    """
    left_out = _check_options(without, normalisation, level, symmetry)
    patches = as_whole_number(patches, "patches", low=2)
    edge = as_whole_number(subvolume, "subvolume", low=8)
    most = None if most is None else as_whole_number(most, "most", low=1)
    if not generated:
        raise ValueError("generated holds no method; give at least one")
    footing = survey(real, generated, edge=edge, most=most, held_out=held_out, voxel_size_um=voxel_size_um)
    if normalisation == "paper":
        footing = _in_voxels(footing)
    topics = tuple(topic for topic in TOPICS if topic not in left_out)
    wanted = tuple(audit for audit in AUDITS if audit not in left_out)
    job = _Job(real, footing, edge, most, topics, {} if parts is None else parts, patches, symmetry)
    found = {name: job.measure(name, items) for name, items in {REAL: [real], **generated}.items()}
    volumes = {name: tuple(one.measured for one in own) for name, own in found.items()}
    factors = {name: paper_factor(name, edge) for name in FUNCTIONALS} if normalisation == "paper" else {}
    audits: dict[str, Audits] = {}
    for name in generated:
        audits[name] = job.audit([one.cube for one in found[name]], held_out=held_out, audits=wanted, before=audits)
    return Comparison(
        methods=tuple(generated),
        phases=footing.phases,
        unit=volumes[REAL][0].unit,
        normalisation=normalisation,
        edge=edge,
        level=float(level),
        entries=entries(volumes, whole=job.whole(), factors=factors, level=level),
        curves=curve_entries(volumes, level=level),
        volumes=volumes,
        audits=audits,
        examples=_of_one_size({name: own[0].example for name, own in found.items()}),
        notes=footing.notes,
    )


class _Found(NamedTuple):
    """What is kept of one volume: its measurements, one cube of it, and what is drawn of it."""

    measured: SubvolumeMeasures
    cube: np.ndarray
    example: Volume


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    """How every volume is measured."""

    real: Any
    footing: Footing
    edge: int
    most: int | None
    topics: tuple[str, ...]
    parts: MutableMapping[str, Any]
    patches: int
    symmetry: str

    def labels_of(self, item: Any) -> Volume:
        labels, _ = labels_of(item, voxel_size_um=self.footing.voxel_size_um, n_phases=len(self.footing.phases))
        return Volume(labels.array, self.footing.voxel_size_um, self.footing.phases)

    def measure(self, name: str, items: Sequence[Any]) -> tuple[_Found, ...]:
        from tqdm import tqdm

        bar = tqdm(items, desc=name, unit="volume", disable=None)
        return tuple(self._measure_one(self.labels_of(item)) for item in bar)

    def _measure_one(self, labels: Volume) -> _Found:
        key = digest_of(labels, labels.voxel_size_um, self.edge, self.most, self.topics, _software())
        if key not in self.parts:
            self.parts[key] = measure_subvolumes(
                labels, edge=self.edge, n_phases=len(self.footing.phases), most=self.most, topics=self.topics
            )
        measured = self.parts[key]
        middle = measured.origins[len(measured.origins) // 2]
        cube = labels.array[tuple(slice(o, o + self.edge) for o in middle)].copy()
        return _Found(measured, cube, _middle(labels, min(LARGEST_EXAMPLE, *labels.shape)))

    def audit(
        self, cubes: list[np.ndarray], *, held_out: Any, audits: Sequence[str], before: Mapping[str, Audits]
    ) -> Audits:
        unseen = None if held_out is None else labels_of(held_out, n_phases=len(self.footing.phases))[0]
        material = self.labels_of(self.real)
        settings = (self.edge, self.patches, self.symmetry, audits, _software())
        made = Volume(np.concatenate(cubes))
        key = digest_of(made, digest_of(material), None if unseen is None else digest_of(unseen), *settings)
        chance = next((one.memorisation.held_out for one in before.values() if one.memorisation), None)
        if key not in self.parts:
            self.parts[key] = audit_method(
                cubes, material.array, held_out=None if unseen is None else unseen.array, audits=audits,
                patches=self.patches, symmetry=self.symmetry, chance=chance,
            )  # fmt: skip
        return self.parts[key]

    def whole(self) -> dict[Key, float]:
        """Measure the Minkowski functionals of the whole real volume."""
        measured = minkowski_of_phases(self.labels_of(self.real), n_phases=len(self.footing.phases))
        return {
            (name, (phase,)): float(getattr(one, name)) for phase, one in enumerate(measured) for name in FUNCTIONALS
        }


def _software() -> tuple[Any, Any]:
    software = describe_software()
    return software["commit"], software["packages"]


def _check_options(without: Sequence[str], normalisation: str, level: Any, symmetry: str) -> frozenset[str]:
    known = (*TOPICS, *AUDITS, VIEWS)
    if isinstance(without, str) or (unknown := [name for name in without if name not in known]):
        wrong = without if isinstance(without, str) else unknown[0]
        raise ValueError(f"{wrong!r} cannot be left out; choose from: {', '.join(known)}")
    for name, value, accepted in (
        ("normalisation", normalisation, NORMALISATIONS),
        ("symmetry", symmetry, SYMMETRIES),
    ):
        if value not in accepted:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, accepted))}")
    if isinstance(level, bool) or not isinstance(level, numbers.Real) or not 0 < float(level) < 1:
        raise ValueError(f"level is {level!r}; it must be a number above 0 and below 1, such as 0.95")
    return frozenset(without)


def _in_voxels(footing: Footing) -> Footing:
    size = footing.voxel_size_um
    if size is None:
        return footing
    if not np.allclose(size, size[0], rtol=RELATIVE_SIZE_ERROR):
        raise ValueError(
            f"voxels are {size} µm; numbers as the paper prints them are those of cubic voxels: "
            "choose the normalisation 'density'"
        )
    note = f"numbers are per voxel, as in the paper, though voxels of {size[0]:g} µm are known"
    return dataclasses.replace(footing, voxel_size_um=None, notes=(*footing.notes, note))


def _middle(labels: Volume, side: int) -> Volume:
    """Cut a cube from the middle."""
    starts = [(n - side) // 2 for n in labels.shape]
    part = labels.array[tuple(slice(start, start + side) for start in starts)]
    return Volume(part.copy(), labels.voxel_size_um, labels.phases)


def _of_one_size(examples: Mapping[str, Volume]) -> dict[str, Volume]:
    side = min(min(example.shape) for example in examples.values())
    return {name: _middle(example, side) for name, example in examples.items()}


class _PartsFolder(MutableMapping[str, Any]):
    """Results by key, each in a file of a folder, complete or not there; the folder is made when first looked into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, key: str) -> Any:
        if not self.folder.exists():
            make_output_folder(self.folder)
        path = self._path(key)
        if not path.exists():
            raise KeyError(key)
        return pickle.loads(path.read_bytes())

    def __setitem__(self, key: str, value: Any) -> None:
        with replace_when_complete(self._path(key)) as temporary:
            temporary.write_bytes(pickle.dumps(value))

    def __delitem__(self, key: str) -> None:
        self._path(key).unlink()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self.folder.glob("*.pickle")))

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.pickle")))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.pickle"


def compare_files(
    real: str | Path,
    generated: Sequence[str],
    out: str | Path,
    *,
    paper: str | None = None,
    held_out: str | Path | None = None,
    without: Sequence[str] = (),
    **options: Any,
) -> Path:
    """Compare generated volumes with a real one; write ``report.html``, ``summary.json`` and tables.

    What is measured of each volume is kept in the folder until the end, so that the same call goes on after an
    interruption.

    Parameters
    ----------
    real : path-like
        The real volume.
    generated : sequence of str
        Each ``NAME=PATH`` or ``PATH`` of a volume, or of a folder of volumes.
    out : path-like
        Folder for the results: also ``table.csv``, ``curves.csv``, ``cubes.csv``, ``violins.png`` and ``s2.png``.
    paper : {"two-phase", "three-phase"}, optional
        Set the paper's printed table beside the own one.
    held_out, without, **options
        As in `compare`.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    ValueError
        As in `compare`, and for an unknown `paper` or one of another number of phases.
    """
    from poreforge.comparison.pages import write_comparison

    if paper is not None and paper not in PAPER_TABLES:
        raise ValueError(f"--paper is '{paper}'; it must be one of: {', '.join(PAPER_TABLES)}")
    methods, out = name_methods(generated), Path(out)
    table = None if paper is None else _table_for(real, paper)
    parts = _PartsFolder(out / PARTS)
    found = compare(real, methods, held_out=held_out, without=without, parts=parts, **options)
    report = write_comparison(found, out, real=Path(real), paper=table, views=VIEWS not in without)
    # Whole, for a run that was killed may have left half a file.
    shutil.rmtree(parts.folder)
    return report


def _table_for(real: str | Path, paper: str) -> PaperTable:
    """Return the printed table, if the real volume has its phases."""
    table, n = PAPER_TABLES[paper], int(labels_of(real)[0].array.max()) + 1
    if len(table.phases) != n:
        raise ValueError(f"--paper is '{paper}', a table of {len(table.phases)} phases, but the volumes have {n}")
    return table
