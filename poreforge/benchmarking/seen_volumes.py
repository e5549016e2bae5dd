"""Which volumes a trained model has learnt from, told by the record of its run or by its pictures."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from segment import Segmenter
from segment.trust import ImageStatistics, image_statistics
from volume import Corpus, read

__all__ = ["Learnt", "learnt_from"]

RECORD = "run.json"
PARTS = ("grey", "labels")
# The same picture measures the same up to how libraries of another version round.
ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Learnt:
    """What a model has learnt from; made by `learnt_from`.

    Attributes
    ----------
    files : frozenset of str
        Checksums of the grey values and labels of the corpora that its runs name, but for the volumes set aside.
    pictures : tuple of ImageStatistics
        Of the volumes of its corpora, set aside or not.
    aside : int, (int, int) or None
        How many volumes at the end of each corpus were set aside, or as which fold (k, n).
    lost : tuple of str
        Corpora that its runs name and that are no longer there.
    """

    files: frozenset[str]
    pictures: tuple[ImageStatistics, ...]
    aside: Any
    lost: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        """Whether anything of this is known."""
        return bool(self.files or self.pictures)

    def of(self, corpus: Corpus) -> Callable[[int], bool]:
        """Return the function that tells whether the volume at a position of `corpus` was learnt from."""
        entries = corpus.entries
        if self.files:
            return lambda place: bool({entries[place][part]["sha256"] for part in PARTS} & self.files)
        first, last = self._place(corpus, 0), len(corpus) - 1
        if first is not None and (first + last >= len(self.pictures) or self._is(corpus, last, first + last)):
            aside = _set_aside(len(corpus), self.aside)
            return lambda place: place not in aside
        # Of a corpus that was taken apart nobody knows which volumes had been set aside.
        return lambda place: self._place(corpus, place) is not None

    def _place(self, corpus: Corpus, position: int) -> int | None:
        """Return the first picture that is a volume's."""
        found = _statistics(corpus, position) if self.pictures else None
        return next((k for k, known in enumerate(self.pictures) if found and _same(found, known)), None)

    def _is(self, corpus: Corpus, position: int, picture: int) -> bool:
        found = _statistics(corpus, position)
        return found is not None and _same(found, self.pictures[picture])


def learnt_from(folder: Path, model: Segmenter) -> Learnt:
    """Find out what a model has learnt from.

    Parameters
    ----------
    folder : Path
        Of the segmenter; the record of its run lies in it or beside it.
    model : Segmenter
        The model.

    Returns
    -------
    Learnt

    Notes
    -----
    A run records the folders of its corpora and which volumes it set aside, and a refinement its first stage, whose run
    counts too. Volumes are compared by checksum, so that a copy of a corpus is known, and one with the same truth under
    another microscope. A model without a record, such as a shipped one, holds the statistics of the pictures of its
    corpora, one corpus after the other: equal statistics are the same picture.
    """
    files: set[str] = set()
    lost: list[str] = []
    for settings, run in _records(folder):
        named = settings["corpus"]
        for name in [named] if isinstance(named, str) else named:
            corpus = _corpus_of(name, run)
            if corpus is None:
                lost.append(name)
                continue
            aside = _set_aside(len(corpus), settings.get("fold") or settings["validation"])
            learnt = [entry for place, entry in enumerate(corpus.entries) if place not in aside]
            files |= {entry[part]["sha256"] for entry in learnt for part in PARTS}
    return Learnt(frozenset(files), model.domain.images if model.domain else (), model.set_aside, tuple(lost))


def _set_aside(count: int, aside: Any) -> range:
    """Return which of `count` volumes were left out: the last ones, or the k-th of n parts."""
    if aside is None or isinstance(aside, int):
        return range(max(count - (aside or 0), 0), count)
    k, n = aside
    return range(k * count // n, (k + 1) * count // n)


def _statistics(corpus: Corpus, position: int) -> ImageStatistics | None:
    try:
        return image_statistics(read(corpus.folder / corpus.entries[position]["grey"]["file"]))
    except ValueError:
        # Too small to be measured, as it would have been in training; or damaged, which is told where it is scored.
        return None


def _records(folder: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Yield the settings of a run and of its first stages, with the folder of each."""
    seen: set[Path] = set()
    waiting = [folder]
    while waiting:
        run = next((place for place in (waiting[-1], waiting[-1].parent) if (place / RECORD).is_file()), None)
        waiting.pop()
        if run is None or run.resolve() in seen:
            continue
        seen.add(run.resolve())
        try:
            settings = dict(json.loads((run / RECORD).read_text(encoding="utf-8"))["config"])
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if not {"corpus", "validation"} <= settings.keys():
            continue
        yield settings, run
        # Its name in records of earlier versions comes second.
        earlier = settings.get("first_stage") or settings.get("slices_model")
        waiting += [place for place in [_found(Path(str(earlier)), run)] if earlier and place]


def _corpus_of(name: str, run: Path) -> Corpus | None:
    folder = _found(Path(name), run)
    try:
        return None if folder is None else Corpus(folder)
    except ValueError:
        return None


def _found(path: Path, run: Path) -> Path | None:
    """Return the folder that a run knows by a path relative to where it was started, which is here or above the run."""
    return next((base / path for base in (Path(), *run.resolve().parents) if (base / path).is_dir()), None)


def _same(found: ImageStatistics, known: ImageStatistics) -> bool:
    pairs = zip(dataclasses.astuple(found), dataclasses.astuple(known), strict=True)
    return all(abs(one - other) <= ROUNDING * max(abs(one), abs(other), 1e-3) for one, other in pairs)
