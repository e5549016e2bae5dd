"""Corpora: many structures from one recipe, each imaged, with a seed of its own."""

import contextlib
import errno
import functools
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from launch import in_words, to_plain
from synth.microscope_image import MicroscopeImage
from synth.recipes import build_structure, image_structure
from synth.structure import Structure
from synth.workers import check_workers, connect, local_client, spread
from volume import Corpus, Volume
from volume.corpus import DESCRIPTION_FILE, write_volumes

__all__ = ["CorpusConfig", "produce_corpus", "produce_sample"]

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CUT_SHORT = re.compile(r"\d+ requested and \d+ written")
# Beside the values a file holds its pages' headers.
FILE_OVERHEAD = 1.02
# So many samples tell how large one is.
MOST_WEIGHED = 32
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {pace}]"


@dataclass(frozen=True)
class CorpusConfig:
    """A corpus in plain text.

    Parameters
    ----------
    recipe : mapping
        The structure, as `build_structure` takes it.
    microscope : mapping
        The instrument, as `image_structure` takes it.
    count : int
        Number of volumes.
    seed : int
        The volumes' own seeds derive from it and from their number.
    voxel_size_um : (float, float, float) or None
        Size of a structure's voxel along z, y, x, in micrometres. That of its image follows from it: a microscope may
        have coarser pixels or thicker slices.
    """

    recipe: dict[str, Any]
    microscope: dict[str, Any]
    count: int = 10
    seed: int = 0
    voxel_size_um: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}; give the number of volumes, at least 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; give a whole number, 0 or more")


class DiskFullError(ValueError):
    """No more room, or no more allowed, where a file was written."""


def produce_corpus(
    config: CorpusConfig, folder: str | Path, *, workers: int | None = None, scheduler: str | None = None
) -> Corpus:
    """Make a corpus, or what is missing of one that was begun.

    Parameters
    ----------
    config : CorpusConfig
        What to make. The bytes of a volume depend on it and on the volume's number alone, those of the manifest on it
        and on the count; neither on who made them, nor on how often the work was broken off.
    folder : path-like
        Where; it is made if it is not there.
    workers : int, optional
        Processes on this machine that share the work; by default this one does it. With more than one, a script must
        keep its call under ``if __name__ == "__main__":``, as each process imports it.
    scheduler : str, optional
        Address of a dask scheduler, ``tcp://host:port``, whose workers share the work instead. They must see `folder`
        under the same name.

    Returns
    -------
    Corpus

    Raises
    ------
    ValueError
        If `folder` holds a corpus of another recipe, is being written to by another process, cannot be written to or
        has too little room; if a volume cannot be made; if the scheduler or its workers fail. Complete volumes stay,
        and the same call goes on.
    """
    check_workers(workers, scheduler)
    folder = Path(folder).absolute()
    description = {
        "recipe": config.recipe,
        "microscope": config.microscope,
        "seed": config.seed,
        "voxel_size_um": config.voxel_size_um,
    }
    begun = Corpus.create(folder, description=description) if (folder / DESCRIPTION_FILE).is_file() else None
    if begun is not None and not begun.missing(config.count) and begun.is_in_order():
        return begun
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connect(scheduler)) if scheduler is not None else None
        # Settings that cannot be used must not leave a corpus behind that then refuses the mended ones.
        first = {} if begun is not None and len(begun) else _produce_first(config)
        _refuse_short_disk(folder, config.count, begun=begun, first=first)
        corpus = begun or Corpus.create(folder, description=description)
        stack.enter_context(corpus.writing())
        missing = corpus.missing(config.count)
        shares = min(workers or 1, len(missing))
        if shares > 1:
            client = stack.enter_context(local_client(shares))
        _fill(corpus, config, missing, first=first, client=client)
    return corpus


def _produce_first(config: CorpusConfig) -> dict[int, dict[str, Any]]:
    with _naming(0):
        return {0: _produce_volumes(config, 0)}


def _fill(
    corpus: Corpus, config: CorpusConfig, missing: list[int], *, first: dict[int, dict[str, Any]], client: Any
) -> None:
    """Make the missing samples and add their lines."""
    with _progress(config.count, len(missing)) as bar, _counting_on_full_disk(corpus, config.count):
        rest = [index for index in missing if index not in first]
        for index in set(first).intersection(missing):
            # Taken out, for a large volume should not lie in memory until the end.
            corpus.add(_write(corpus.folder, index, first.pop(index)))
            bar.update()
        make = functools.partial(_make_sample, config, str(corpus.folder))
        for entry in map(make, rest) if client is None else spread(client, make, rest):
            corpus.add(entry)
            bar.update()
        corpus.put_in_order()


def _make_sample(config: CorpusConfig, folder: str, index: int) -> dict[str, Any]:
    """Make a sample's files, in this process or in a worker, and return its entry."""
    if not (Path(folder) / DESCRIPTION_FILE).is_file():
        raise ValueError(
            f"the worker on '{platform.node()}' does not see the corpus folder '{folder}'; choose a folder on a file "
            "system that all workers share"
        )
    with _naming(index):
        return _write(Path(folder), index, _produce_volumes(config, index))


def _write(folder: Path, index: int, volumes: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return write_volumes(folder, index, **volumes)
    except (OSError, ValueError) as error:
        if _is_disk_full(error):
            # The cause would not survive the way from a worker.
            raise DiskFullError(str(error)) from error
        raise


@contextlib.contextmanager
def _naming(index: int) -> Iterator[None]:
    """Say which volume it was that could not be made."""
    try:
        yield
    except DiskFullError:
        raise
    except ValueError as error:
        raise ValueError(f"volume {index}: {error}") from error
    except MemoryError as error:
        raise MemoryError(f"volume {index}: {error}") from error


def _produce_volumes(config: CorpusConfig, index: int) -> dict[str, Any]:
    """Return what `write_volumes` takes."""
    structure, image, entry = produce_sample(config.recipe, config.microscope, seed=config.seed, index=index)
    size = config.voxel_size_um
    if size is not None:
        z, y, x = (float(edge * scale) for edge, scale in zip(size, image.voxel_scale, strict=True))
        size = (z, y, x)
    return {
        "grey": Volume(_as_stored(image.grey), size),
        "labels": Volume(image.labels, size, structure.phases),
        **entry,
    }


def produce_sample(
    recipe: Mapping[str, Any], microscope: Mapping[str, Any], *, seed: int, index: int
) -> tuple[Structure, MicroscopeImage, dict[str, Any]]:
    """Make and image volume number `index` of a corpus.

    Returns
    -------
    structure : Structure
    image : MicroscopeImage
    entry : dict
        For the manifest: ``seed``, ``recipe`` and ``microscope`` (both as drawn), ``truth`` of the structure, and
        ``image``: ``porosity`` and ``fractions`` counted in the image's labels, its ``voxel_scale``, and what else
        the microscope knows.
    """
    structure_seed, image_seed = (int(s) for s in np.random.SeedSequence((seed, index)).generate_state(2, np.uint64))
    structure = build_structure(recipe, seed=structure_seed)
    image = image_structure(structure, microscope, seed=image_seed)
    fractions = np.bincount(image.labels.reshape(-1), minlength=len(structure.phases)) / image.labels.size
    entry = {
        "seed": {"structure": structure_seed, "image": image_seed},
        "recipe": dict(structure.recipe),
        "microscope": {
            "instrument": microscope["instrument"],
            "preset": microscope.get("preset", "default"),
            "settings": to_plain(image.settings),
        },
        "truth": dict(structure.truth),
        "image": {
            **image.truth,
            "porosity": float(fractions[0]),
            "fractions": fractions.tolist(),
            "voxel_scale": [float(scale) for scale in image.voxel_scale],
        },
    }
    return structure, image, entry


def _as_stored(grey: np.ndarray) -> np.ndarray:
    """Return grey values that a microscope gave 8 or 16 bits as those whole numbers, all others as they are."""
    for dtype in (np.uint8, np.uint16):
        white = np.float32(np.iinfo(dtype).max)
        whole = np.clip(np.rint(grey * white), 0, white)
        if np.array_equal(whole / white, grey):
            return whole.astype(dtype)
    return grey


def _refuse_short_disk(
    folder: Path, count: int, *, begun: Corpus | None, first: Mapping[int, Mapping[str, Any]]
) -> None:
    """Refuse a corpus for which the disk has no room, before anything is written."""
    done = 0 if begun is None else len(begun)
    missing = count if begun is None else len(begun.missing(count))
    each = _bytes_in_memory(first[0]) if begun is None or not done else _bytes_on_disk(begun)
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if each * missing > free:
        fitting = done + int(free // each)
        fewer = f", or take fewer volumes (--set count={fitting})" if fitting else ""
        raise ValueError(
            f"{missing} volumes need about {in_words(each * missing)} and the disk of '{folder}' has {in_words(free)} "
            f"free; make room or choose a folder on another disk{fewer}"
        )


def _bytes_in_memory(volumes: Mapping[str, Any]) -> float:
    maps = [v for key in ("truth", "image") for v in volumes[key].values() if isinstance(v, np.ndarray)]
    return FILE_OVERHEAD * sum(array.nbytes for array in (volumes["grey"].array, volumes["labels"].array, *maps))


def _bytes_on_disk(corpus: Corpus) -> float:
    entries = corpus.entries[:MOST_WEIGHED]
    files = [entry[part]["file"] for entry in entries for part in ("grey", "labels", "maps") if part in entry]
    return sum((corpus.folder / file).stat().st_size for file in files) / len(entries)


@contextlib.contextmanager
def _counting_on_full_disk(corpus: Corpus, count: int) -> Iterator[None]:
    """Say how far the corpus came when the disk filled up."""
    try:
        yield
    except (OSError, ValueError) as error:
        if not _is_disk_full(error):
            raise
        raise ValueError(
            f"the disk of '{corpus.folder}' is full, or a limit on files is reached: {len(corpus)} of {count} volumes "
            "are complete and stay; make room, then give the same command again"
        ) from error


def _is_disk_full(error: BaseException | None) -> bool:
    """Look for the reason down the chain of causes."""
    while error is not None:
        if isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in DISK_FULL):
            return True
        # NumPy gives no number for what it could write only in part.
        if type(error) is OSError and CUT_SHORT.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Bar(tqdm):
    """A bar that tells how many volumes a minute brings."""

    @property
    def format_dict(self) -> dict[str, Any]:
        known = super().format_dict
        pace = known["rate"] or (known["n"] - known["initial"]) / (known["elapsed"] or 1)
        return {**known, "pace": f"{60 * pace:.3g} volumes/min"}


def _progress(count: int, missing: int) -> "_Bar":
    return _Bar(total=count, initial=count - missing, desc="volumes", bar_format=BAR, disable=None)
