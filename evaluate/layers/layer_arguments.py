"""What the measurements of layers accept: phases by label or name, lengths, shares, axis and side."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import LARGEST_LABEL, as_whole_number

__all__ = ["LARGEST_DEGREE", "PhaseTable", "as_degree", "as_length", "as_share", "as_side", "resolve_phases"]

LARGEST_DEGREE = 6
SIDES = ("low", "high")
MPL_NAMES = ("mpl", "microporous layer", "micro-porous layer", "microporous_layer")
Label = int | str


@dataclasses.dataclass(frozen=True)
class PhaseTable:
    """Which labels are pore, fibre and MPL; empty for a phase that the material does not have."""

    pore: tuple[int, ...]
    fibre: tuple[int, ...]
    mpl: tuple[int, ...]

    def lookup(self, *, unknown: int) -> np.ndarray:
        """Return 0, 1 or 2 for the labels of pore, fibre and MPL and `unknown` for others, shape (256,)."""
        table = np.full(LARGEST_LABEL + 1, unknown, np.uint8)
        for value, labels in enumerate((self.pore, self.fibre, self.mpl)):
            table[list(labels)] = value
        return table


def resolve_phases(volume: Any, given: Mapping[str, Label | Sequence[Label] | None]) -> PhaseTable:
    """Return the labels of pore, fibre and MPL, given as labels or as names of `volume`'s phases.

    Raises
    ------
    ValueError
        A name that `volume` does not have, a label out of range or of two phases, no label for the pores, or a label
        for the MPL to which `volume` gives the name of something else.
    """
    found = {name: _labels_of(volume, name, value) for name, value in given.items()}
    if not found["pore"]:
        raise ValueError("pore is None; give the label of the pores")
    owner: dict[int, str] = {}
    for name, labels in found.items():
        for label in labels:
            if label in owner:
                raise ValueError(f"{owner[label]} and {name} are both label {label}; each phase has a label of its own")
            owner[label] = name
    _check_mpl_name(volume, given["mpl"], found["mpl"])
    return PhaseTable(**found)


def _labels_of(volume: Any, name: str, value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    many = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    phases = tuple(getattr(volume, "phases", None) or ())
    labels = []
    for one in many:
        if isinstance(one, str):
            if one not in phases:
                known = ", ".join(map(repr, phases)) or "none"
                raise ValueError(f"{name} is {one!r}, but the phases named in labels are: {known}")
            labels.append(phases.index(one))
        else:
            labels.append(as_whole_number(one, name, low=0, high=LARGEST_LABEL))
    return tuple(dict.fromkeys(labels))


def _check_mpl_name(volume: Any, given: Any, labels: tuple[int, ...]) -> None:
    """Refuse an MPL that was given by number where the phases call that number otherwise."""
    phases = tuple(getattr(volume, "phases", None) or ())
    if isinstance(given, str):
        return
    for label in labels:
        if label < len(phases) and phases[label].lower() not in MPL_NAMES:
            raise ValueError(
                f"mpl is label {label}, which labels call {phases[label]!r}; give mpl={phases[label]!r} if it is the "
                f"microporous layer, or mpl=None and that label among fibre, e.g. fibre=(1, {label})"
            )


def as_length(value: Any, name: str) -> float:
    """Return a length that is positive and finite."""
    try:
        length = float(value)
    except (TypeError, ValueError):
        length = math.nan
    if not 0 < length < math.inf:
        raise ValueError(f"{name} is {value!r}; give a length above 0, in the unit of the result")
    return length


def as_share(value: Any, name: str) -> float:
    """Return a number above 0 and up to 1."""
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"{name} is {value!r}; give a number above 0, up to 1")
    return share


def as_side(value: Any, name: str = "side") -> str:
    """Return ``"low"`` or ``"high"``."""
    if value not in SIDES:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, SIDES))}")
    return str(value)


def as_degree(value: Any, name: str = "levelling_degree") -> int:
    """Return the degree of a polynomial."""
    return as_whole_number(value, name, low=0, high=LARGEST_DEGREE)
