"""The methods that take part: by name, by the folder of a training run, or by labels made elsewhere."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from poreforge.benchmarking.labelling import CLASSICAL, FOREST, ORACLE
from poreforge.benchmarking.seen_volumes import Learnt, learnt_from
from poreforge.outputs import bare_name
from segment import load, shipped_models
from segment.networks import count_parameters
from segment.segmenter import DESCRIPTION, WEIGHTS

__all__ = ["LABELS", "NETWORK", "Entrant", "built_in", "name_entrants"]

CLASSIC, NETWORK, LABELS = "classical", "network", "labels"
HASH_BLOCK = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class Entrant:
    """One method.

    Attributes
    ----------
    name : str
        As it is shown.
    kind : str
        ``classical``, ``network``, ``labels`` (made elsewhere), `FOREST` or `ORACLE`.
    fewest, most : int
        Phases that it can tell apart.
    source : Path or None
        Folder of the segmenter, or of the labels.
    parameters : int or None
        Of a network.
    digest : str
        Tells a network from another one of the same name.
    learnt : Learnt or None
        What a network has learnt from.
    phases : tuple of str
        Names of the phases that a network knows; empty for what knows none by name.
    """

    name: str
    kind: str
    fewest: int = 2
    most: int = 255
    source: Path | None = None
    parameters: int | None = None
    digest: str = ""
    learnt: Learnt | None = None
    phases: tuple[str, ...] = ()

    def refusal(self, phases: Sequence[str]) -> str:
        """Return why it cannot tell these phases apart, as what follows its name; empty if it can."""
        n_phases = len(phases)
        # It tells pore from all else, as a corpus of mats asks of a model that knows a layer, too.
        if n_phases == 2 and self.phases[:2] == tuple(phases):
            return ""
        if self.fewest <= n_phases <= self.most:
            # Of two phases one is the pore and the other is not, whatever they are called.
            if n_phases == 2 or not self.phases or self.phases == tuple(phases):
                return ""
            return f"knows {', '.join(self.phases)} and the corpus has {', '.join(phases)}"
        if self.kind == NETWORK:
            return f"knows {self.most} phases and the corpus has {n_phases}"
        if n_phases < self.fewest:
            return f"is the same as otsu with {n_phases} phases"
        return f"does {self.most} phases and the corpus has {n_phases}"


def built_in() -> list[str]:
    """Return the names of the methods that come with Poreforge."""
    return [*CLASSICAL, ORACLE, FOREST, *shipped_models()]


def name_entrants(given: Sequence[str]) -> list[Entrant]:
    """Turn names, ``NAME=FOLDER`` and ``FOLDER`` into methods.

    Parameters
    ----------
    given : sequence of str
        A name of `built_in`; or a folder, of a training run or a saved segmenter, or of label files.

    Returns
    -------
    list of Entrant
        In the order given.

    Raises
    ------
    ValueError
        For two of one name, an unknown name, a folder that is not there, a damaged model.
    """
    known = built_in()
    found: dict[str, Entrant] = {}
    for text in given:
        name, equals, folder = str(text).partition("=")
        if text in known:
            entrant = _by_name(text)
        elif Path(text).is_dir():
            entrant = _by_folder(bare_name(text), Path(text))
        elif not equals:
            raise ValueError(f"unknown method '{text}'; {_accepted(known)}")
        elif not name.strip() or not Path(folder).is_dir():
            raise ValueError(f"method '{text}': there is no folder '{folder}'; {_accepted(known)}")
        else:
            entrant = _by_folder(name.strip(), Path(folder))
        if entrant.name in found or (entrant.source is not None and entrant.name in known and text not in known):
            raise ValueError(f"two methods are called '{entrant.name}'; give each a name of its own: NAME=FOLDER")
        found[entrant.name] = entrant
    if not found:
        raise ValueError(f"no method is given; {_accepted(known)}")
    return list(found.values())


def _accepted(known: Sequence[str]) -> str:
    return f"give one of {', '.join(known)}, or NAME=FOLDER of a training run or of label files"


def _by_name(name: str) -> Entrant:
    if name in CLASSICAL:
        return Entrant(name, CLASSIC, CLASSICAL[name].fewest, CLASSICAL[name].most)
    if name == ORACLE:
        return Entrant(name, ORACLE, most=2)
    return Entrant(name, FOREST) if name == FOREST else _network(name, WEIGHTS / name)


def _by_folder(name: str, folder: Path) -> Entrant:
    for place in (folder, folder / "segmenter"):
        if (place / DESCRIPTION).is_file():
            return _network(name, place)
    return Entrant(name, LABELS, source=folder)


def _network(name: str, folder: Path) -> Entrant:
    # In full, for a relative one may have the name of a shipped model.
    model = load(folder.resolve())
    count, phases = sum(count_parameters(part) for part in (model.first, model.refine) if part), len(model.phases)
    learnt = learnt_from(folder, model)
    return Entrant(name, NETWORK, phases, phases, folder.resolve(), count, _digest(folder), learnt, model.phases)


def _digest(folder: Path) -> str:
    """Return a checksum of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(HASH_BLOCK):
                digest.update(block)
    return digest.hexdigest()
