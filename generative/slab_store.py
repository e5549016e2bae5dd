"""Where the state of a walk is kept while it goes on: in memory, or in files that a killed walk resumes from."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from launch import make_output_folder, replace_when_complete

__all__ = ["FolderStore", "MemoryStore", "SlabStore", "StoredScores"]

VALUE = np.dtype("<f4")
SETTINGS = "walk.json"

Slab = NDArray[np.float32]


class SlabStore(Protocol):
    """The volume x (n, Z, Y, X) of one walk, and its last estimate where the walk remembers it.

    Slabs are planes `first` up to, not including, `last`; each is ``(n, planes, Y, X)``.
    """

    done: int  # states that are finished: 0 before the first noise, 1 + steps at the end

    def read(self, first: int, last: int) -> Slab:
        """Return a slab of x as it was when the last state was finished (memory: or as it was written since)."""
        ...

    def read_estimate(self, first: int, last: int) -> Slab:
        """Return a slab of the estimate that was written with that state."""
        ...

    def write(self, first: int, last: int, state: Slab, estimate: Slab | None) -> None:
        """Write a slab of the next state, and of the estimate if it is to be remembered."""
        ...

    def finish(self) -> None:
        """Declare the next state written."""
        ...


class MemoryStore:
    """A store in two arrays, or one where no estimate is remembered; slabs are views.

    Parameters
    ----------
    channels : int
        n.
    shape : three ints
        ``(Z, Y, X)``.
    """

    def __init__(self, channels: int, shape: Sequence[int]) -> None:
        self.done = 0
        self.state: Slab = np.empty((channels, *shape), dtype=np.float32)
        self.estimate: Slab | None = None

    def read(self, first: int, last: int) -> Slab:
        """Return a view; windows still to be worked off see the old state if only planes above them were written."""
        return self.state[:, first:last]

    def read_estimate(self, first: int, last: int) -> Slab:
        """Return a view."""
        if self.estimate is None:
            raise ValueError("no estimate was written to this store yet")
        return self.estimate[:, first:last]

    def write(self, first: int, last: int, state: Slab, estimate: Slab | None) -> None:
        """Overwrite in place."""
        self.state[:, first:last] = state
        if estimate is not None:
            if self.estimate is None:
                self.estimate = np.empty_like(self.state)
            self.estimate[:, first:last] = estimate

    def finish(self) -> None:
        """Count the state."""
        self.done += 1


class FolderStore:
    """A store in a folder: one file a state, written beside the one before and named when it is complete.

    Files are plain little-endian float32 in the order (Z, n, Y, X), so that a slab is one piece. Reading and writing
    go through buffers, not memory maps, whose pages would count as memory used. At most two states lie on disk.

    Parameters
    ----------
    folder : path-like
        Made if it is not there. A walk with the same settings that was killed there is taken up again.
    channels : int
        n.
    shape : three ints
        ``(Z, Y, X)``.
    settings : dict
        All that the result depends on; plain numbers, text and lists.
    remembers : bool
        Whether estimates will be written too, which doubles what the disk must hold.

    Raises
    ------
    ValueError
        If the folder holds a walk of other settings, damaged files, or cannot be written to, or if the disk is too
        small.
    """

    def __init__(
        self,
        folder: str | Path,
        channels: int,
        shape: Sequence[int],
        *,
        settings: dict[str, Any],
        remembers: bool = False,
    ) -> None:
        self.channels, self.shape = channels, tuple(shape)
        _check_space(Path(folder), self._plane * self.shape[0] * (4 if remembers else 2))
        self.folder = make_output_folder(folder)
        _claim(self.folder / SETTINGS, settings)
        for left in self.folder.glob("*.partial"):
            left.unlink()
        states = sorted(self.folder.glob("state-*.f32"))
        self.done = 1 + int(states[-1].stem.partition("-")[2]) if states else 0
        self._drop_older()
        self._check_sizes()
        self._open: dict[str, BinaryIO] = {}

    def read(self, first: int, last: int) -> Slab:
        """Read from the last finished state."""
        return self._read("state", first, last)

    def read_estimate(self, first: int, last: int) -> Slab:
        """Read from the estimate that belongs to it."""
        return self._read("estimate", first, last)

    def write(self, first: int, last: int, state: Slab, estimate: Slab | None) -> None:
        """Write into the unfinished files."""
        for kind, slab in (("state", state), ("estimate", estimate)):
            if slab is not None:
                file = self._unfinished(kind)
                file.seek(first * self._plane)
                file.write(np.ascontiguousarray(slab.transpose(1, 0, 2, 3), dtype=VALUE).data)

    def finish(self) -> None:
        """Name the files and drop those of the state before."""
        self.close()
        # The state comes last: where it is, its estimate is.
        for kind in ("estimate", "state"):
            partial = self._path(kind, self.done).with_suffix(".partial")
            if partial.exists():
                partial.replace(self._path(kind, self.done))
        self.done += 1
        self._drop_older()

    def remove(self) -> None:
        """Remove the folder; stopped half-way, it leaves what reads as a walk that has not begun."""
        self.close()
        for state in self.folder.glob("*-*.f32"):
            state.unlink()
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Close files that are being written."""
        while self._open:
            self._open.popitem()[1].close()

    @property
    def _plane(self) -> int:
        return self.channels * self.shape[1] * self.shape[2] * VALUE.itemsize

    def _path(self, kind: str, state: int) -> Path:
        return self.folder / f"{kind}-{state:05d}.f32"

    def _read(self, kind: str, first: int, last: int) -> Slab:
        return _read_planes(self._path(kind, self.done - 1), self.channels, self.shape, first, last)

    def _unfinished(self, kind: str) -> BinaryIO:
        if kind not in self._open:
            file = self._path(kind, self.done).with_suffix(".partial").open("wb")
            file.truncate(self._plane * self.shape[0])
            self._open[kind] = file
        return self._open[kind]

    def _drop_older(self) -> None:
        for old in self.folder.glob("*-*.f32"):
            if old.stem.partition("-")[2] != f"{self.done - 1:05d}":
                old.unlink()

    def _check_sizes(self) -> None:
        for file in self.folder.glob("*-*.f32"):
            found, wanted = file.stat().st_size, self._plane * self.shape[0]
            if found != wanted:
                raise ValueError(f"'{file}' has {found} bytes instead of {wanted}; remove the folder and start again")


class StoredScores:
    """The scores that a walk left in a folder, read by region; ``np.asarray`` reads them all.

    Attributes
    ----------
    shape : tuple of four ints
        ``(n, Z, Y, X)``.
    """

    def __init__(self, store: FolderStore, shape: Sequence[int]) -> None:
        self._store = store
        self.shape = (store.channels, *shape)

    def read(self, first: int, last: int) -> Slab:
        """Return planes `first` up to, not including, `last`: ``(n, planes, Y, X)`` float32."""
        return self._store.read(first, min(last, self.shape[1]))[..., : self.shape[2], : self.shape[3]]

    def remove(self) -> None:
        """Remove the folder, when the scores are no longer needed."""
        self._store.remove()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = np.ascontiguousarray(self.read(0, self.shape[1]))
        return whole if dtype is None else whole.astype(dtype, copy=False)


def _read_planes(path: Path, channels: int, shape: Sequence[int], first: int, last: int) -> Slab:
    plane = channels * shape[1] * shape[2]
    values = np.fromfile(path, dtype=VALUE, count=(last - first) * plane, offset=first * plane * VALUE.itemsize)
    return values.reshape(last - first, channels, *shape[1:]).transpose(1, 0, 2, 3).astype(np.float32, copy=False)


def _check_space(folder: Path, needed: int) -> None:
    """Refuse what the disk cannot hold besides what the folder holds already."""
    nearest = next((place for place in (folder, *folder.absolute().parents) if place.is_dir()), None)
    if nearest is None:
        return
    there = sum(file.stat().st_size for file in folder.glob("*-*.*")) if nearest == folder else 0
    free = shutil.disk_usage(nearest).free + there
    if needed > free:
        raise ValueError(
            f"the walk takes {needed / 1e9:.1f} GB of disk and '{nearest}' has {free / 1e9:.1f} GB free; lower the "
            "shape, use the sampler ddim, which takes half of dpm++, or choose a folder on a larger disk"
        )


def _claim(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a new walk, or compare with those of the one that is there."""
    wanted = json.loads(json.dumps(settings))
    if not path.exists():
        if any(path.parent.glob("state-*.f32")):
            raise ValueError(f"'{path.parent}' holds a walk without its settings; choose another folder")
        with replace_when_complete(path) as temporary:
            temporary.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
        return
    found: Any = None
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
    if found != wanted:
        differing = _first_difference(found if isinstance(found, dict) else {}, wanted)
        raise ValueError(
            f"'{path.parent}' holds a walk of other settings ({differing}); choose another folder or remove that one"
        )


def _first_difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    keys: Iterator[str] = (key for key in {**wanted, **found} if found.get(key) != wanted.get(key))
    return next(keys, "unreadable")
