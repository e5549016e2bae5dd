"""What is compared: the volumes of each method, found, read and held to the same footing as the real one."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.accepted_input import as_labels
from evaluate.likeness.subvolume_measures import place_cubes
from poreforge.characterise import read_labels
from poreforge.outputs import bare_name
from volume import Volume, accepted_suffixes, read
from volume.formats.registry import choose_for_reading
from volume.formats.slices import KINDS

__all__ = ["REAL", "Footing", "digest_of", "labels_of", "list_volumes", "name_methods", "survey"]

REAL = "real"
RELATIVE_SIZE_ERROR = 1e-3
# Voxels of these lie in a file of another suffix beside them.
HEADERS = (".mhd", ".nhdr")


@dataclasses.dataclass(frozen=True)
class Footing:
    """What all volumes of a comparison share.

    Attributes
    ----------
    phases : tuple of str
        Names of the labels.
    voxel_size_um : tuple of float or None
        Of every volume.
    notes : tuple of str
        What was changed or taken for granted.
    """

    phases: tuple[str, ...]
    voxel_size_um: tuple[float, float, float] | None
    notes: tuple[str, ...]


def name_methods(given: Sequence[str]) -> dict[str, list[Path]]:
    """Turn ``NAME=PATH`` or ``PATH`` into the volumes of each method, by name.

    Parameters
    ----------
    given : sequence of str
        Each a file, or a folder as `list_volumes` takes it. Without a name the file's or folder's own is taken.

    Raises
    ------
    ValueError
        For two methods of one name, one without a name, or a path that holds no volume.
    """
    found: dict[str, list[Path]] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            name, path = bare_name(text), text
        name = name.strip()
        if not name or not path:
            raise ValueError(f"--generated is '{text}'; give DIR, or NAME=DIR with a name for the method")
        if name in found or name == REAL:
            taken = "two methods are" if name in found else "a method is"
            raise ValueError(f"{taken} called '{name}'; give each a name of its own: --generated NAME=DIR")
        found[name] = list_volumes(path)
    if not found:
        raise ValueError("nothing to compare with; give at least one --generated DIR")
    return found


def list_volumes(path: str | Path) -> list[Path]:
    """Return the volumes at a path: itself, or those that the folder holds, by name.

    A folder of slices and an OME-Zarr are one volume each. Of a folder with volumes and pictures (PNG, JPEG) the
    volumes are taken; hidden files and those of other kinds (records, logs) are passed over.

    Raises
    ------
    ValueError
        A folder without volumes.
    """
    path = Path(path)
    # What does not exist is refused in one sentence where it is read.
    if not path.is_dir() or choose_for_reading(path).NAME != "folder of slices":
        return [path]
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    pictures = [entry for entry in entries if entry.suffix.lower() in KINDS]
    suffixes = tuple(suffix for suffix in accepted_suffixes().split(", ") if KINDS.get(suffix, "TIFF") == "TIFF")
    headed = {entry.with_suffix(".raw") for entry in entries if entry.suffix.lower() in HEADERS}
    kept = [entry for entry in entries if entry.name.lower().endswith(suffixes) and entry not in headed]
    volumes = sorted(kept, key=_natural)
    if volumes and (volumes[0].suffix.lower() not in KINDS or len(read(volumes[0]).array) > 1):
        return volumes
    if pictures:
        return [path]
    raise ValueError(f"the folder '{path}' holds no volumes; accepted are {accepted_suffixes()}")


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def labels_of(
    item: Any, *, voxel_size_um: Sequence[float] | None = None, n_phases: int | None = None
) -> tuple[Volume, list[str]]:
    """Return a path, a volume, a structure or an array as labels, and notes on what was changed.

    Parameters
    ----------
    item : path, Volume, structure or array_like
        What was given.
    voxel_size_um : (float, float, float), optional
        In place of what it says.
    n_phases : int, optional
        How many phases the material has. A file whose values are all below is taken as it is: 0 and 2 are labels, and
        not a mask, if there are three; and one phase may be all there is.

    Raises
    ------
    ValueError
        If it cannot be read or holds no labels.
    """
    if isinstance(item, str | Path):
        if n_phases is not None:
            found = read(item, voxel_size_um=voxel_size_um)
            array = np.asarray(found.array)
            if array.dtype.kind in "biu" and array.size and array.min() >= 0 and array.max() < n_phases:
                return Volume(array.astype(np.uint8), found.voxel_size_um, found.phases), []
        return read_labels(item, voxel_size_um=voxel_size_um)
    array = as_labels(item, "a volume", ndim=(3,)).astype(np.uint8, copy=False)
    names = getattr(item, "phases", None)
    size = voxel_size_um if voxel_size_um is not None else getattr(item, "voxel_size_um", None)
    return Volume(array, size, tuple(names) if names else None), []  # type: ignore[arg-type]


def survey(
    real: Any,
    generated: Mapping[str, Sequence[Any]],
    *,
    edge: int,
    most: int | None = None,
    held_out: Any = None,
    voxel_size_um: Sequence[float] | None = None,
) -> Footing:
    """Read every volume once and refuse what cannot be compared.

    Parameters
    ----------
    real : path, volume or array_like
        The real material.
    generated : mapping
        From the name of each method to its volumes.
    edge : int
        Voxels along an edge of the cubes that are measured.
    most : int, optional
        Cubes of a volume at most.
    held_out : path, volume or array_like, optional
        Real material that no method was trained on.
    voxel_size_um : (float, float, float), optional
        Of all volumes, in place of what they say.

    Returns
    -------
    Footing

    Raises
    ------
    ValueError
        Different voxel sizes, more phases than the real material has or the same in another order, a volume smaller
        than a cube, one cube in all, a method without volumes, the real volume among those of a method, held-out
        material that is the real one.
    """
    known, notes = labels_of(real, voxel_size_um=voxel_size_um)
    n = int(known.array.max()) + 1
    if known.array.min() == known.array.max():
        raise ValueError(f"the real volume holds the single label {n - 1}; there is nothing to compare")
    names = (known.phases or ("pore", *(f"phase {k}" for k in range(1, n))))[:n]
    found = _Survey(names, edge, most, digest_of(known), known.voxel_size_um, [f"real: {note}" for note in notes])
    found.count_cubes(REAL, [known.shape], [_called(real, REAL)])
    for method, items in generated.items():
        if method == REAL or not len(items):
            wrong = "has no volumes; give at least one" if method != REAL else "has the name of the real volume's rows"
            raise ValueError(f"the method '{method}' {wrong}")
        found.visit(method, items, voxel_size_um)
    if held_out is not None:
        found.visit_held_out(held_out)
    if found.size is not None and known.voxel_size_um is None:
        found.said.append("the real volume does not tell its voxel size; that of the generated ones was taken")
    return Footing(names, found.size, tuple(found.said))


@dataclasses.dataclass
class _Survey:
    """What is known of the volumes read so far."""

    names: tuple[str, ...]
    edge: int
    most: int | None
    real: str
    size: tuple[float, float, float] | None
    said: list[str]

    def visit(self, method: str, items: Sequence[Any], voxel_size_um: Sequence[float] | None) -> None:
        """Read the volumes of a method."""
        n, labels, shapes, named = len(self.names), set(), [], set()
        for item in items:
            found, notes = labels_of(item, voxel_size_um=voxel_size_um, n_phases=n)
            called = _called(item, method)
            self.size = _agreed(self.size, found.voxel_size_um, called)
            labels.update(np.unique(found.array).tolist())
            shapes.append(found.shape)
            named.add(found.phases)
            self.said += [f"{called}: {note}" for note in notes]
            if digest_of(found) == self.real:
                raise ValueError(
                    f"{called}, given as made by '{method}', is the real volume, voxel by voxel; give what the method "
                    "made"
                )
        self.count_cubes(method, shapes, [_called(item, method) for item in items])
        if max(labels) >= n:
            raise ValueError(
                f"the volumes of '{method}' hold labels up to {max(labels)}, the real one up to {n - 1}; "
                f"give volumes of the same {n} phases"
            )
        self.said += [f"{name} (label {k}) does not occur in the volumes of {method}" for k, name in
                      enumerate(self.names) if k not in labels]  # fmt: skip
        for other in named:
            self._check_names(method, other)

    def _check_names(self, method: str, other: tuple[str, ...] | None) -> None:
        # Names that files do not tell are given by number.
        if other is None or other == self.names or any(name.startswith("phase ") for name in (*other, *self.names)):
            return
        theirs, ours = ", ".join(other), ", ".join(self.names)
        if sorted(other) == sorted(self.names):
            raise ValueError(
                f"the phases of '{method}' are {theirs} in the order of their labels, those of the real volume {ours}; "
                "bring them to one order"
            )
        self.said.append(f"the phases of {method} are called {theirs}; they are compared label by label with {ours}")

    def visit_held_out(self, item: Any) -> None:
        """Read the held-out material."""
        n = len(self.names)
        found, _ = labels_of(item, n_phases=n)
        if int(found.array.max()) >= n:
            raise ValueError(
                f"the held-out volume holds labels up to {int(found.array.max())}, the real one up to {n - 1}; "
                f"give one of the same {n} phases"
            )
        if digest_of(found) == self.real:
            raise ValueError(
                "the held-out volume is the real one, voxel by voxel; give material that no method was trained on, or "
                "leave it out"
            )

    def count_cubes(self, name: str, shapes: Sequence[tuple[int, ...]], called: Sequence[str]) -> None:
        """Refuse volumes smaller than a cube, and a single cube in all."""
        for shape, one in zip(shapes, called, strict=True):
            if min(shape) < self.edge:
                raise ValueError(
                    f"{one} has the shape {shape}, less than the cubes of {self.edge} voxels that are measured; "
                    "give larger volumes or a smaller --subvolume"
                )
        if sum(len(place_cubes(shape, self.edge, most=self.most)[0]) for shape in shapes) < 2:
            raise ValueError(
                f"the volumes of '{name}' hold one cube of {self.edge} voxels in all, which cannot tell how much they "
                "vary; give more volumes, larger ones, a smaller --subvolume or a larger --most"
            )


def _called(item: Any, name: str) -> str:
    return f"'{item}'" if isinstance(item, str | Path) else f"a volume of '{name}'"


def _agreed(size: Any, other: Any, called: str) -> Any:
    if size is None or other is None:
        return size if other is None else other
    if not np.allclose(size, other, rtol=RELATIVE_SIZE_ERROR):
        raise ValueError(
            f"{called} has voxels of {tuple(other)} µm, the volumes before of {tuple(size)}; bring them to one "
            "voxel size, or state it with --voxel-size"
        )
    return size


def digest_of(labels: Volume, *settings: Any) -> str:
    """Return what tells one volume, measured in one way, from another."""
    digest = hashlib.sha256(repr((labels.shape, *settings)).encode())
    digest.update(np.ascontiguousarray(labels.array).data)
    return digest.hexdigest()[:16]
