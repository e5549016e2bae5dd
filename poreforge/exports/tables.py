"""Results as comma-separated values."""

import csv
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import replace_when_complete
from poreforge.report.page import Table

__all__ = ["write_csv"]

COMPONENTS = ("z", "y", "x")


def write_csv(path: str | Path, result: Any, *, fields: Sequence[str] | None = None) -> Path:
    """Write a result as a table with one head line.

    Parameters
    ----------
    path : path-like
    result : dataclass, mapping, sequence of either, or Table
        A dataclass or mapping with 1-D arrays of one length becomes their columns, a row each; what is a single value
        is repeated in each row, so that units stay with the numbers. Without arrays it is one row. Arrays of shape
        (n, 3) become columns ``_z``, ``_y``, ``_x``. Of a sequence each member is a row. Nested results take their
        names along: ``fit_median``.
    fields : sequence of str, optional
        Which columns, in this order; by default all.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        Arrays of unequal lengths or of more than two dimensions, rows of unlike columns, fields that the result does
        not have, or something else than a result.
    """
    head, rows = _table(result, fields)
    with replace_when_complete(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
    return Path(path)


def _table(result: Any, wanted: Sequence[str] | None) -> tuple[list[str], Iterable[Sequence[Any]]]:
    if isinstance(result, Table):
        return list(result.columns), result.rows
    if _is_record(result):
        return _columns_of(_chosen(_fields(result), wanted))
    if isinstance(result, list | tuple) and result and all(_is_record(entry) for entry in result):
        records = [_single_values(_chosen(_fields(entry), wanted)) for entry in result]
        head = list(records[0])
        if any(list(record) != head for record in records):
            raise ValueError("the rows have unlike columns; write each kind of result into a file of its own")
        return head, [list(record.values()) for record in records]
    raise ValueError(f"a {type(result).__name__} is no table; give a result, a mapping, or a sequence of them")


def _chosen(fields: dict[str, Any], wanted: Sequence[str] | None) -> dict[str, Any]:
    if wanted is None:
        return fields
    missing = [name for name in wanted if name not in fields]
    if missing:
        raise ValueError(f"the result has no column {missing[0]!r}; it has: {', '.join(fields)}")
    return {name: fields[name] for name in wanted}


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _fields(record: Any) -> dict[str, Any]:
    """Names and values, nested ones joined by underscores, vectors by components."""
    if isinstance(record, Mapping):
        pairs: dict[str, Any] = dict(record)
    else:
        pairs = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    flat: dict[str, Any] = {}
    for name, value in pairs.items():
        if _is_record(value):
            flat |= {f"{name}_{inner}": entry for inner, entry in _fields(value).items()}
        else:
            flat |= _parts(str(name), value)
    return flat


def _parts(name: str, value: Any) -> dict[str, Any]:
    array = np.asarray(value) if isinstance(value, np.ndarray | list | tuple) else None
    if array is None or array.ndim == 0:
        return {name: value}
    if array.ndim == 1:
        is_vector = isinstance(value, tuple) and len(value) == len(COMPONENTS)
        return {f"{name}_{c}": v for c, v in zip(COMPONENTS, value, strict=True)} if is_vector else {name: array}
    if array.ndim == 2:
        width = array.shape[1]
        ends = COMPONENTS if width == len(COMPONENTS) else [str(k) for k in range(width)]
        return {f"{name}_{end}": array[:, k] for k, end in enumerate(ends)}
    raise ValueError(f"{name} has {array.ndim} dimensions; a table holds columns: save volumes with volume.write")


def _single_values(fields: dict[str, Any]) -> dict[str, Any]:
    wide = [name for name, value in fields.items() if isinstance(value, np.ndarray)]
    if wide:
        raise ValueError(f"{wide[0]} holds several values, but each member of the sequence is one row")
    return {name: _plain(value) for name, value in fields.items()}


def _columns_of(fields: dict[str, Any]) -> tuple[list[str], Iterable[Sequence[Any]]]:
    lengths = {name: len(value) for name, value in fields.items() if isinstance(value, np.ndarray)}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"the columns have unequal lengths ({listed}); choose those of one length with 'fields'")
    count = next(iter(lengths.values()), 1)
    columns = [
        [_plain(entry) for entry in value] if isinstance(value, np.ndarray) else [_plain(value)] * count
        for value in fields.values()
    ]
    return list(fields), zip(*columns, strict=True)


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return "" if value is None else value
