"""Which label of a cell is which phase."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluate.accepted_input import LARGEST_LABEL, as_whole_number

__all__ = ["CellPhases", "label_of", "resolve_phases"]


@dataclasses.dataclass(frozen=True)
class CellPhases:
    """Labels of a cell's phases; None for a phase that it does not have."""

    electrolyte: int
    bubble: int
    membrane: int | None
    gasket: int | None
    fibre: int | None


def resolve_phases(volume: Any, array: np.ndarray, given: Mapping[str, int | str | None]) -> CellPhases:
    """Return the labels of the phases, given as labels or as names of `volume`'s phases.

    Raises
    ------
    ValueError
        A name that `volume` does not have, a label out of range or given twice, an electrolyte or bubble of None, or
        voxels whose label is that of no phase.
    """
    found = {name: _optional_label(volume, name, value) for name, value in given.items()}
    named: dict[int, str] = {}
    for name, label in found.items():
        if label is None:
            continue
        if label in named:
            raise ValueError(f"{named[label]} and {name} are both label {label}; each phase has a label of its own")
        named[label] = name
    # Plane by plane: counting makes wide integers of what it counts.
    counts = sum(np.bincount(plane.ravel(), minlength=LARGEST_LABEL + 1) for plane in array)
    others = sorted(set(np.flatnonzero(counts).tolist()) - set(named))
    if others:
        meant = ", ".join(f"{name} {label}" for label, name in named.items())
        raise ValueError(f"labels holds {others[0]}, which is no phase of the cell ({meant}); say which label is which")
    return CellPhases(**found)  # type: ignore[arg-type]


def label_of(volume: Any, name: str, value: int | str) -> int:
    """Return a label that is given as such, or as the name of one of `volume`'s phases.

    Raises
    ------
    ValueError
        A name that `volume` does not have, a label out of range, or one although `volume` calls another one `name`.
    """
    phases = tuple(getattr(volume, "phases", None) or ())
    if isinstance(value, str):
        if value not in phases:
            known = ", ".join(map(repr, phases)) or "none"
            raise ValueError(f"{name} is {value!r}, but the phases named in labels are: {known}")
        return phases.index(value)
    label = as_whole_number(value, name, low=0, high=LARGEST_LABEL)
    if name in phases and phases.index(name) != label:
        raise ValueError(
            f"{name} is label {label}, but the phases named in labels call label {phases.index(name)} so; "
            f"give {name}={name!r}, or labels without names"
        )
    return label


def _optional_label(volume: Any, name: str, value: int | str | None) -> int | None:
    if value is not None:
        return label_of(volume, name, value)
    if name in ("electrolyte", "bubble"):
        raise ValueError(f"{name} is None; give its label")
    return None
