"""The corpora that methods are run on: which volumes are scored, which are learnt from, and who takes part."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from poreforge.benchmarking.entrants import LABELS, Entrant
from poreforge.benchmarking.labelling import FOREST
from poreforge.outputs import bare_name
from volume import Corpus, Volume, accepted_suffixes, read
from volume.labels import check_labels

__all__ = ["Course", "file_digest", "label_file", "name_corpora", "plan_course", "read_labels_of"]

MOST_PHASES = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Course:
    """One corpus and what is done on it.

    Attributes
    ----------
    name : str
        As it is shown.
    corpus : Corpus
        The volumes.
    phases : tuple of str
        Names of the labels.
    learn : tuple of int
        Positions of the volumes that the pixel forest learns from; empty if there is none.
    scored : tuple of int
        Positions of the volumes that all methods are scored on.
    entrants : tuple of Entrant
        Who takes part.
    notes : tuple of str
        Who is left out and why, and what was taken for granted, in sentences.
    """

    name: str
    corpus: Corpus
    phases: tuple[str, ...]
    learn: tuple[int, ...]
    scored: tuple[int, ...]
    entrants: tuple[Entrant, ...]
    notes: tuple[str, ...]

    def number(self, position: int) -> int:
        """Return the index of a volume in its corpus."""
        return int(self.corpus.entries[position]["index"])

    def file(self, position: int, part: str) -> Path:
        """Return the file of a volume's grey values or labels."""
        return self.corpus.folder / self.corpus.entries[position][part]["file"]


def name_corpora(given: Sequence[str]) -> dict[str, Corpus]:
    """Turn ``NAME=DIR`` or ``DIR`` into corpora by name.

    Raises
    ------
    ValueError
        For two of one name, a folder that holds no corpus or an empty one.
    """
    found: dict[str, Corpus] = {}
    for text in given:
        name, equals, folder = str(text).partition("=")
        if not equals or Path(text).exists():
            name, folder = bare_name(text), str(text)
        name = name.strip()
        if not name or not folder:
            raise ValueError(f"--corpora is '{text}'; give DIR, or NAME=DIR with a name for the corpus")
        if name in found:
            raise ValueError(f"two corpora are called '{name}'; give each a name of its own: --corpora NAME=DIR")
        found[name] = Corpus(folder)
        if not len(found[name]):
            raise ValueError(f"the corpus '{folder}' has no volume yet; make some first with 'poreforge corpus'")
    if not found:
        raise ValueError("no corpus is given; give at least one folder with --corpora")
    return found


def plan_course(
    name: str, corpus: Corpus, entrants: Sequence[Entrant], *, volumes: int | None, learn_from: int, alone: bool
) -> Course:
    """Settle who takes part on a corpus and which volumes are scored: the same ones for all.

    Parameters
    ----------
    name : str
        As it is shown.
    corpus : Corpus
        The volumes.
    entrants : sequence of Entrant
        Who wants to take part.
    volumes : int, optional
        How many are scored at most, from the first that may be; all of them unless given.
    learn_from : int
        How many of the first ones the pixel forest learns from.
    alone : bool
        Whether this is the only corpus, so that folders of labels hold its labels themselves.

    Returns
    -------
    Course

    Raises
    ------
    ValueError
        If the labels name no phases, or different ones; no volume is left; no method can take part; a file of labels
        is missing, damaged or has another shape.
    """
    phases = _phases_of(corpus)
    taking_part, notes = [], []
    for entrant in entrants:
        reason = entrant.refusal(phases) or _without_labels(entrant, name, alone)
        if reason:
            notes.append(f"{entrant.name} is left out on {name}: it {reason}.")
        else:
            taking_part.append(entrant)
    if not taking_part:
        raise ValueError(f"no method can take part on '{name}': {notes[0].rstrip('.')}; give others with --methods")
    learn = tuple(range(min(learn_from, len(corpus)))) if any(one.kind == FOREST for one in taking_part) else ()
    scored, seen = _unseen(corpus, taking_part, learn, volumes)
    notes += _seen_notes(name, learn, seen, taking_part)
    if not scored:
        raise ValueError(
            f"no volume of '{name}' is left to score, of {len(corpus)}: {_who_has_seen(learn, seen)}; make a larger "
            "corpus or leave a method out"
        )
    course = Course(name, corpus, phases, learn, scored, tuple(taking_part), tuple(notes))
    for entrant in taking_part:
        if entrant.kind == LABELS:
            for position in scored:
                read_labels_of(course, entrant, position)
    return course


def label_file(course: Course, entrant: Entrant, position: int) -> Path:
    """Return the file with the labels that were made elsewhere of a volume.

    Raises
    ------
    ValueError
        If there is none.
    """
    folder = _folder_of(entrant, course.name)
    wanted = course.file(position, "labels").name
    stem = bare_name(wanted)
    for path in (folder / wanted, *(folder / f"{stem}{suffix}" for suffix in accepted_suffixes().split(", "))):
        if path.exists():
            return path
    raise ValueError(
        f"method '{entrant.name}': '{folder}' has no labels '{wanted}' of volume {course.number(position)} of "
        f"'{course.name}'; name them as the corpus names its own"
    )


def read_labels_of(course: Course, entrant: Entrant, position: int) -> np.ndarray:
    """Read labels that were made elsewhere.

    Raises
    ------
    ValueError
        If they are missing, no labels of the corpus's phases, or of another shape.
    """
    path = label_file(course, entrant, position)
    shape = tuple(course.corpus.entries[position]["shape"])
    try:
        labels = check_labels(read(path), len(course.phases))
    except ValueError as error:
        raise ValueError(f"method '{entrant.name}', '{path}': {error}") from None
    if labels.shape != shape:
        raise ValueError(f"method '{entrant.name}': '{path}' has the shape {labels.shape}, the volume {shape}")
    return labels


def file_digest(path: Path) -> str:
    """Return a checksum of a volume, wherever it lies and however it is stored."""
    found: Volume = read(path)
    return hashlib.sha256(repr(found.shape).encode() + np.ascontiguousarray(found.array).tobytes()).hexdigest()


def _folder_of(entrant: Entrant, course: str) -> Path:
    source = entrant.source or Path()
    return source / course if (source / course).is_dir() else source


def _without_labels(entrant: Entrant, name: str, alone: bool) -> str:
    if entrant.kind != LABELS or alone or (_folder_of(entrant, name) != entrant.source):
        return ""
    return f"has no folder '{name}' in '{entrant.source}'"


def _phases_of(corpus: Corpus) -> tuple[str, ...]:
    found = {tuple(entry["phases"] or ()) for entry in corpus.entries}
    if len(found) > 1:
        listed = " and ".join(str(list(names)) for names in sorted(found))
        raise ValueError(f"the volumes of '{corpus.folder}' must have the same phases, not {listed}")
    (phases,) = found
    if not phases:
        raise ValueError(f"the labels in '{corpus.folder}' name no phases; write them as Volume(labels, phases=…)")
    if not 2 <= len(phases) <= MOST_PHASES:
        raise ValueError(f"'{corpus.folder}' has {len(phases)} phases; 2 to {MOST_PHASES} can be scored")
    return phases


def _unseen(
    corpus: Corpus, entrants: Sequence[Entrant], learn: Sequence[int], volumes: int | None
) -> tuple[tuple[int, ...], dict[str, int]]:
    """Return the volumes to score, and how many of those looked at each model has learnt from."""
    scored: list[int] = []
    seen: dict[str, int] = {}
    models = [(entrant.name, entrant.learnt.of(corpus)) for entrant in entrants if entrant.learnt is not None]
    for position in range(len(corpus)):
        if len(scored) == volumes:
            break
        if position in learn:
            continue
        who = [name for name, has_seen in models if has_seen(position)]
        for name in who:
            seen[name] = seen.get(name, 0) + 1
        if not who:
            scored.append(position)
    return tuple(scored), seen


def _who_has_seen(learn: Sequence[int], seen: dict[str, int]) -> str:
    parts = [f"{len(learn)} are for {FOREST} to learn from"] if learn else []
    parts += [f"{name} has learnt from {count}" for name, count in seen.items()]
    return " and ".join(parts) or "it is empty"


def _seen_notes(name: str, learn: Sequence[int], seen: dict[str, int], entrants: Sequence[Entrant]) -> list[str]:
    notes = [
        f"{model} has learnt from volumes of {name}: only volumes that it set aside are scored, by every method."
        for model in seen
    ]
    if learn:
        notes.append(f"{FOREST} learnt from the first {_volumes(len(learn))} of {name}, which no method is scored on.")
    for entrant in entrants:
        if entrant.learnt is None:
            continue
        if not entrant.learnt.is_known:
            notes.append(
                f"Whether {entrant.name} has learnt from volumes of {name} is not known: it has no record of its "
                "training."
            )
        elif entrant.learnt.lost and not seen.get(entrant.name):
            notes.append(
                f"Whether {entrant.name} has learnt from volumes of {name} is not sure: the corpus "
                f"'{entrant.learnt.lost[0]}' of its training is no longer there."
            )
    return notes


def _volumes(count: int) -> str:
    return "volume" if count == 1 else f"{count} volumes"
