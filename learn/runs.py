"""A run folder belongs to one configuration."""

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from launch import ConfigError, to_plain, write_record
from learn.loop import checkpoints
from learn.processes import this_process

__all__ = ["begin_run"]


def begin_run(folder: str | Path, config: Any, *, seed: int, may_differ: Collection[str] = ()) -> None:
    """Write the record of a run, unless its folder holds checkpoints of another configuration.

    A setting that the old record does not know, because it is younger than the record, had its default.

    Parameters
    ----------
    folder : path-like
        The run folder.
    config : dataclass
        The resolved configuration.
    seed : int
        That everything random in the run derives from.
    may_differ : collection of str
        Keys such as ``"loop.steps"`` that a resumed run may change.

    Raises
    ------
    ConfigError
        Naming the first key that differs, and both values.
    """
    folder = Path(folder)
    if checkpoints(folder) and not _changed_settings(folder, config, may_differ):
        return
    # The other processes must have read the old record before there is a new one.
    this_process().wait_for_everyone()
    if this_process().is_main_process:
        write_record(folder, config, seed=seed)


def _changed_settings(folder: Path, config: Any, may_differ: Collection[str]) -> set[str]:
    """Return the keys that have another value than in the record; refuse those that may not."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))["config"]
        before = _flat(_with_defaults(record, config))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"'{folder}' has checkpoints but no readable run.json; choose another run folder") from error
    now = _flat(_json(config))
    changed = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    for key in sorted(changed - set(may_differ)):
        raise ConfigError(
            f"run folder '{folder}' was trained with {key} = {before.get(key)!r}, now {key} = {now.get(key)!r}; "
            "set it back or choose another run folder"
        )
    return changed


def _with_defaults(record: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Return an old record with the defaults of those settings of `config` that it does not have."""
    values = dict(record)
    if not dataclasses.is_dataclass(config) or hasattr(config, "to_plain"):
        return values
    for field in dataclasses.fields(config):
        if field.name not in values:
            if field.default is not dataclasses.MISSING:
                values[field.name] = _json(field.default)
            elif field.default_factory is not dataclasses.MISSING:
                values[field.name] = _json(field.default_factory())
        elif isinstance(values[field.name], Mapping):
            values[field.name] = _with_defaults(values[field.name], getattr(config, field.name))
    return values


def _json(value: Any) -> Any:
    """Return a value as it looks after it was written to a record and read again."""
    return json.loads(json.dumps(to_plain(value)))


def _flat(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Turn nested mappings into ``{"outer.inner": value}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{where}{key}.") if isinstance(value, Mapping) else {f"{where}{key}": value}
    return flat
