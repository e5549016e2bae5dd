"""What a topic of the report found: numbers for the summary and a section for the page."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from poreforge.report import Section, number
from volume import Volume

__all__ = ["Findings", "attempt", "columns_of", "mask_of", "name_of_unit", "names_of", "unit_of"]

Result = TypeVar("Result")
UNITS = {"um": "µm", "voxel": "voxel", "": ""}


@dataclasses.dataclass(frozen=True)
class Findings:
    """The outcome of one topic.

    Parameters
    ----------
    numbers : dict
        For ``summary.json``, merged into it.
    section : Section
        For the report.
    tables : dict
        Columns of equal length for a spreadsheet, by the name of the file.
    """

    numbers: dict[str, Any]
    section: Section
    tables: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)


def attempt(measure: Callable[..., Result], *arguments: Any, **options: Any) -> tuple[Result | None, str]:
    """Return what `measure` returns and ``""``, or None and the reason where the volume does not allow it."""
    try:
        return measure(*arguments, **options), ""
    except ValueError as error:
        return None, str(error)


def names_of(volume: Volume) -> tuple[str, ...]:
    """Return the name of each phase."""
    return volume.phases or ()


def mask_of(volume: Volume, label: int) -> Volume:
    """Return one phase as a mask that knows its voxel size."""
    return Volume(volume.array == label, volume.voxel_size_um)


def unit_of(volume: Volume) -> str:
    """Return the unit of lengths, for print."""
    return UNITS["um" if volume.voxel_size_um is not None else "voxel"]


def name_of_unit(unit: str) -> str:
    """Return a unit of `evaluate` for print."""
    return UNITS[unit]


def columns_of(*values: float | None) -> list[str]:
    """Return cells for a table, a dash for what is not known."""
    return ["–" if value is None else number(float(value)) for value in values]
