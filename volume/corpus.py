"""The corpus on disk: pairs of grey values and labels, and one line of a manifest for each.

A corpus is a folder::

    corpus.json           the description that every sample was made from
    manifest.jsonl        one JSON line for each complete sample
    grey/000000.tif       uncompressed, so that training can read or map them quickly
    labels/000000.tif
    maps/000000.npz       arrays among what is known of the structure and its image, where there are any

A sample exists once its line does. The files are put in place first, each completely or not at all, and the line
comes last; a line that a killed run left unfinished is passed over, and cut off by the next write. Several processes
may write the files of samples, a single one the lines. They come in the order in which samples are finished;
`Corpus.put_in_order` sorts them by index, so that the bytes do not tell how the work was shared.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import operator
import os
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from launch import make_output_folder, replace_when_complete
from volume.errors import MissingVolumeError, VolumeFileError
from volume.files import read, write
from volume.labels import check_labels
from volume.model import Volume

__all__ = ["Corpus", "Sample", "write_volumes"]

DESCRIPTION_FILE = "corpus.json"
MANIFEST_FILE = "manifest.jsonl"
PARTS = ("grey", "labels")
FOLDERS = (*PARTS, "maps")
# An array of the truth with more numbers than this is not written into the manifest's line.
LONGEST_IN_LINE = 1024
HASH_BLOCK = 2**20
# What a killed process leaves of a file or of a test whether it may write.
LEFTOVERS = (".????????-*", ".probe-????????")


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One pair of a corpus.

    Parameters
    ----------
    grey : Volume
        What the microscope sees, shape (Z, Y, X).
    labels : Volume
        The truth, ``uint8``, same shape.
    entry : dict
        The sample's line of the manifest: ``index``, ``seed``, ``recipe``, ``microscope``, ``truth``, ``image``,
        ``voxel_size_um``, ``phases``, ``shape``, and for ``grey`` and ``labels`` the ``file`` and its ``sha256``.
    maps : dict of ndarray
        Arrays that are too large for the manifest by name, e.g. ``thickness_map``; those of the image begin with
        ``image.``. In their place in the entry is the array's shape, and for ``maps`` a ``file`` and its ``sha256``.
    """

    grey: Volume
    labels: Volume
    entry: dict[str, Any]
    maps: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


class Corpus(Sequence[Sample]):
    """Samples on disk, in the order of their indices.

    Parameters
    ----------
    folder : path-like
        A folder made by `Corpus.create`. One process at a time may write to it; any number may read.

    Attributes
    ----------
    folder : Path
    description : dict
        What the samples were made from.

    Raises
    ------
    VolumeFileError
        A ``ValueError``: no corpus there, or a damaged description or manifest.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / DESCRIPTION_FILE
        if not path.is_file():
            raise MissingVolumeError(
                f"'{self.folder}' holds no corpus ('{DESCRIPTION_FILE}' is missing); make one first"
            )
        try:
            self.description: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8"))["description"])
        except (KeyError, TypeError, ValueError) as error:
            raise VolumeFileError(f"'{path}' is damaged ({error}); make the corpus anew") from error
        self._entries = _read_manifest(self.folder / MANIFEST_FILE)

    @classmethod
    def create(cls, folder: str | Path, *, description: Mapping[str, Any]) -> "Corpus":
        """Make an empty corpus, or open the one that is there so that a run goes on where it ended.

        Samples whose files are gone do not count any more. Of several processes that begin at once the first decides.

        Parameters
        ----------
        folder : path-like
            Made if it is not there.
        description : mapping
            What samples are made from: recipe, microscope, shape, seed of the whole. It may hold NumPy values.

        Raises
        ------
        VolumeFileError
            If the corpus that is there was made from another description, the first differing key is named; and if
            the folder cannot be written to.
        """
        folder = Path(folder)
        wanted = _plain(dict(description))
        if (folder / DESCRIPTION_FILE).is_file():
            corpus = cls(folder)
            difference = _first_difference(corpus.description, wanted, "")
            if difference is not None:
                raise VolumeFileError(
                    f"the corpus '{folder}' was made from another description: {difference}; "
                    f"choose another folder or the same settings"
                )
            corpus._forget_lost()
            return corpus
        if (folder / MANIFEST_FILE).is_file():
            raise VolumeFileError(
                f"'{folder}' holds a corpus of which '{DESCRIPTION_FILE}' is missing, so that nobody knows how to go "
                "on with it; put that file back or choose another folder"
            )
        make_output_folder(folder)
        _put_if_absent(folder / DESCRIPTION_FILE, json.dumps({"description": wanted}, indent=1) + "\n")
        return cls.create(folder, description=description)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[k] for k in range(*position.indices(len(self)))]
        entry = self.entries[operator.index(position)]
        grey, labels = (read(self.folder / entry[part]["file"]) for part in PARTS)
        return Sample(grey, labels, entry, _read_maps(self.folder / entry["maps"]["file"]) if "maps" in entry else {})

    @property
    def entries(self) -> tuple[dict[str, Any], ...]:
        """Lines of the manifest, in the order of their indices."""
        return tuple(self._entries[index] for index in sorted(self._entries))

    def missing(self, count: int) -> list[int]:
        """Return the indices below `count` that have no sample yet, ascending."""
        return [index for index in range(count) if index not in self._entries]

    def append(self, grey: Any, labels: Any, *, seed: Any, recipe: Mapping[str, Any], **facts: Any) -> dict[str, Any]:
        """Write a sample under the lowest free index; see `write_sample`."""
        index = self.missing(len(self) + 1)[0]
        return self.write_sample(index, grey, labels, seed=seed, recipe=recipe, **facts)

    def write_sample(self, index: int, grey: Any, labels: Any, **facts: Any) -> dict[str, Any]:
        """Write the two volumes, then the line that makes them count.

        Parameters
        ----------
        index : int
            Number of the sample, from 0; not one that is there already.
        grey, labels, **facts
            As `write_volumes` takes them.

        Returns
        -------
        dict
            The line of the manifest.

        Raises
        ------
        VolumeFileError
            The index is taken, shapes or voxel sizes differ, or the folder cannot be written to.
        """
        self._refuse_taken(operator.index(index))
        entry = write_volumes(self.folder, index, grey=grey, labels=labels, **facts)
        self.add(entry)
        return entry

    def add(self, entry: dict[str, Any]) -> None:
        """Write the line of a sample whose files are in place.

        Parameters
        ----------
        entry : dict
            What `write_volumes` returned, here or in another process.

        Raises
        ------
        VolumeFileError
            The index is taken, or a file is not in this folder.
        OSError
            If the line cannot be written.
        """
        self._refuse_taken(entry["index"])
        for part in _parts(entry):
            path = self.folder / entry[part]["file"]
            if not path.is_file():
                raise VolumeFileError(
                    f"sample {entry['index']} is said to be complete, but '{path}' is not there; whoever writes "
                    "samples must see the same folder"
                )
        _append_line(self.folder / MANIFEST_FILE, _line(entry))
        self._entries[entry["index"]] = entry

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes from adding samples, and clear away what killed ones left half written.

        The lock goes with the process, however it ends. Where a file system knows no locks there is none. The manifest
        is read anew; samples whose files are gone do not count.

        Raises
        ------
        VolumeFileError
            If another process is adding samples, or the corpus may not be written to.
        """
        import fcntl  # not everywhere that corpora are read

        # Over NFS only a file that is open for writing can be locked.
        with _opened_for_writing(self.folder / DESCRIPTION_FILE) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise VolumeFileError(
                    f"another process is writing to the corpus '{self.folder}'; wait for it or choose another folder"
                ) from None
            except OSError:
                pass
            self._entries = _read_manifest(self.folder / MANIFEST_FILE)
            self._forget_lost()
            self._clear_away()
            try:
                yield
            finally:
                # One of this run's workers may have been killed.
                self._clear_away()

    def is_in_order(self) -> bool:
        """Tell whether the manifest has one line for each sample that counts, sorted by index."""
        path = self.folder / MANIFEST_FILE
        return (path.read_bytes() if path.is_file() else b"") == self._content()

    def put_in_order(self) -> None:
        """Sort the manifest by index, within `writing`; a manifest that is in order is left alone."""
        if not self.is_in_order():
            with replace_when_complete(self.folder / MANIFEST_FILE) as temporary:
                temporary.write_bytes(self._content())

    def verify(self) -> list[str]:
        """Compare every file with its checksum.

        Returns
        -------
        list of str
            One sentence for each file that is missing or differs; empty if the corpus is sound.
        """
        problems = []
        for entry in self.entries:
            for part in _parts(entry):
                path = self.folder / entry[part]["file"]
                if not path.is_file():
                    problems.append(f"sample {entry['index']}: '{path}' is missing")
                elif _sha256(path) != entry[part]["sha256"]:
                    problems.append(f"sample {entry['index']}: '{path}' differs from its checksum")
        return problems

    def _content(self) -> bytes:
        return b"".join(_line(entry) for entry in self.entries)

    def _forget_lost(self) -> None:
        for index, entry in list(self._entries.items()):
            if not all((self.folder / entry[part]["file"]).is_file() for part in _parts(entry)):
                del self._entries[index]

    def _clear_away(self) -> None:
        for folder in (self.folder, *(self.folder / name for name in FOLDERS)):
            for pattern in LEFTOVERS:
                for path in folder.glob(pattern):
                    path.unlink(missing_ok=True)

    def _refuse_taken(self, index: int) -> None:
        if index < 0 or index in self._entries:
            raise VolumeFileError(
                f"sample {index} cannot be written to '{self.folder}': the index is taken or negative"
            )


def write_volumes(
    folder: str | Path,
    index: int,
    *,
    grey: Any,
    labels: Any,
    seed: Any,
    recipe: Mapping[str, Any],
    truth: Mapping[str, Any] | None = None,
    microscope: Mapping[str, Any] | None = None,
    image: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the files of a sample, which does not count before `Corpus.add` has got its entry.

    Any number of processes may do so at a time. Files of that index are replaced.

    Parameters
    ----------
    folder : path-like
        Of the corpus.
    index : int
        Number of the sample, from 0.
    grey : Volume or array_like of shape (Z, Y, X)
        What the microscope sees.
    labels : Volume or array_like of shape (Z, Y, X)
        The truth, 0 to 255. Voxel size and phases are taken from its attributes if it has them.
    seed : int or anything that JSON can hold
        What the sample's randomness derives from.
    recipe, truth, microscope, image : mapping
        How the structure was made, what is known of it exactly, the settings drawn for the microscope, and what is
        known of the image.
        NumPy values are welcome; numbers that are not finite become ``null``.

    Returns
    -------
    dict
        The line of the manifest.

    Raises
    ------
    VolumeFileError
        Shapes or voxel sizes differ, or the folder cannot be written to.
    """
    folder, index = Path(folder), operator.index(index)
    volumes = _pair(grey, labels)
    known, maps = _set_apart_maps(truth, "")
    seen, more = _set_apart_maps(image, "image.")
    maps |= more
    facts = {"index": index, "seed": seed, "recipe": recipe, "microscope": microscope, "truth": known, "image": seen}
    facts |= {key: getattr(volumes["labels"], key) for key in ("voxel_size_um", "phases", "shape")}
    entry = _plain(facts)
    for part, volume in volumes.items():
        file = f"{part}/{index:06d}.tif"
        write(folder / file, volume)
        entry[part] = {"file": file, "sha256": _sha256(folder / file)}
    if maps:
        file = f"maps/{index:06d}.npz"
        _write_maps(folder / file, maps)
        entry["maps"] = {"file": file, "sha256": _sha256(folder / file)}
    return entry


def _parts(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(part for part in FOLDERS if part in entry)


def _pair(grey: Any, labels: Any) -> dict[str, Volume]:
    """Return both as volumes of one shape and one voxel size."""
    sizes = [size for item in (labels, grey) if (size := getattr(item, "voxel_size_um", None)) is not None]
    size = sizes[0] if sizes else None
    volumes = {
        "grey": Volume(np.asarray(grey), size),
        "labels": Volume(check_labels(labels), size, getattr(labels, "phases", None)),
    }
    if volumes["grey"].shape != volumes["labels"].shape:
        raise VolumeFileError(
            f"grey values of shape {volumes['grey'].shape} and labels of shape {volumes['labels'].shape} make no pair"
        )
    if len(sizes) == 2 and not np.array_equal(sizes[0], sizes[1]):
        raise VolumeFileError(f"grey values with voxels of {sizes[1]} µm and labels of {sizes[0]} µm make no pair")
    return volumes


def _set_apart_maps(
    truth: Mapping[str, Any] | None, prefix: str
) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
    """Return the truth with the shapes of its large arrays in their place, and those arrays."""
    if truth is None:
        return None, {}
    large = {key: v for key, v in truth.items() if isinstance(v, np.ndarray) and v.size > LONGEST_IN_LINE}
    known = {key: {"map_shape": large[key].shape} if key in large else value for key, value in truth.items()}
    return known, {f"{prefix}{key}": array for key, array in large.items()}


def _write_maps(path: Path, maps: Mapping[str, np.ndarray]) -> None:
    make_output_folder(path.parent)
    with replace_when_complete(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **maps)


def _read_maps(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as maps:
            return {key: maps[key] for key in maps.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise VolumeFileError(f"'{path}' cannot be read ({error}); make the sample again") from error


def _read_manifest(path: Path) -> dict[int, dict[str, Any]]:
    if not path.is_file():
        return {}
    *lines, _unfinished = path.read_bytes().split(b"\n")
    entries = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            if not all(isinstance(entry[part][key], str) for part in PARTS for key in ("file", "sha256")):
                raise ValueError("a file or checksum is no text")
            entries[operator.index(entry["index"])] = entry
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise VolumeFileError(
                f"line {number} of '{path}' is damaged ({reason}); delete that line and the sample is made again"
            ) from error
    return entries


def _put_if_absent(path: Path, text: str) -> None:
    """Write a file as a whole, or leave the one that another process was quicker to put there."""
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        temporary.write_text(text, encoding="utf-8")
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:
            # Not every file system has links.
            temporary.replace(path)
    except OSError as error:
        raise VolumeFileError(f"cannot write '{path}' ({error.strerror or error}); choose another folder") from error
    finally:
        temporary.unlink(missing_ok=True)


def _opened_for_writing(path: Path) -> BinaryIO:
    try:
        return path.open("r+b")
    except OSError as error:
        raise VolumeFileError(
            f"cannot write to the corpus '{path.parent}' ({error.strerror or error}); choose another folder"
        ) from error


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, allow_nan=False).encode("utf-8") + b"\n"


def _append_line(path: Path, line: bytes) -> None:
    with path.open("a+b") as file:
        if file.tell() and not _ends_line(file):
            # What follows the last newline is a line that a killed run did not finish.
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line)


def _ends_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Turn NumPy values, dataclasses, tuples and paths into what JSON holds; not finite → ``None``."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str | None) else str(value)


def _first_difference(found: Any, wanted: Any, where: str) -> str | None:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            inner = f"{where}.{key}" if where else key
            if key not in found or key not in wanted:
                return f"'{inner}' is {'new' if key in wanted else 'no longer there'}"
            difference = _first_difference(found[key], wanted[key], inner)
            if difference is not None:
                return difference
        return None
    return None if found == wanted else f"'{where}' was {found!r} and is now {wanted!r}"
