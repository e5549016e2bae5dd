"""From a YAML file and ``key=value`` overrides, or values already read, to typed values, strictly.

Only the standard library and PyYAML (which accelerate brings along) are needed, so that a training run
starts on a machine that has nothing but torch, diffusers, accelerate, einops and numpy.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

__all__ = ["ConfigError", "convert", "load_config", "to_plain"]

Config = TypeVar("Config")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key and what is accepted."""


def load_config(cls: type[Config], path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Read one configuration.

    Parameters
    ----------
    cls : type
        A frozen dataclass. Its fields, and those of the dataclasses inside it, are the known keys.
    path : path-like, optional
        YAML file with a mapping at its top. Without it every field keeps its default.
    overrides : iterable of str
        ``"key=value"`` or ``"outer.inner=value"``; the value is YAML and wins over the file.

    Returns
    -------
    An instance of `cls`.

    Raises
    ------
    ConfigError
        Unknown key (the nearest known one is named), wrong type, missing key, unreadable file.
    """
    values = _read_mapping(Path(path)) if path is not None else {}
    for override in overrides:
        values = _with_override(values, override)
    return _build(cls, values, "")


def convert(value: Any, hint: Any, where: str) -> Any:
    """Check a value that came as plain text against a type and return it as that type.

    Parameters
    ----------
    value : object
        What YAML gave.
    hint : type
        A type hint made of numbers, text, paths, ``Literal``, unions, tuples, lists, mappings and dataclasses; a class
        with a class method ``from_plain(value, where)`` reads its values itself.
    where : str
        What the messages call the value, e.g. ``loop.steps``.

    Returns
    -------
    object
        Whole numbers and text like ``1e-4`` become floats, lists tuples and mappings dataclasses where `hint`
        says so.

    Raises
    ------
    ConfigError
        The value does not fit.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, inner, where)
    if origin is Literal:
        return _convert_literal(value, inner, where)
    if hasattr(hint, "from_plain"):
        return hint.from_plain(value, where)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return _build(typing.cast(type, hint), value, f"{where}.")
        raise _wrong_type(value, "a mapping of keys", where)
    if origin in (dict, Mapping) or hint is dict:
        if isinstance(value, Mapping):
            return dict(value)
        raise _wrong_type(value, "a mapping of keys", where)
    if origin in (tuple, list, Sequence):
        return _convert_sequence(value, hint, where)
    if origin is Callable:
        raise _wrong_type(value, "given in Python, not in plain text", where)
    return _convert_scalar(value, hint, where)


def to_plain(config: Any) -> Any:
    """Turn a configuration into dicts, lists, numbers and strings, ready for YAML or JSON.

    A class with a method ``to_plain()`` writes itself.
    """
    if hasattr(config, "to_plain") and not isinstance(config, type):
        return config.to_plain()
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_plain(value) for value in config]
    if isinstance(config, Path):
        return str(config)
    return config.tolist() if hasattr(config, "tolist") else config


def _read_mapping(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise ConfigError(f"configuration '{path}' does not exist or is no file; give the path of a YAML file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    # An impossible date in YAML is a plain ValueError.
    except (yaml.YAMLError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"configuration '{path}' cannot be read as YAML: {reason}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"configuration '{path}' holds a {type(values).__name__}; it must hold 'key: value' lines")
    return values


def _with_override(values: Mapping[str, Any], override: str) -> dict[str, Any]:
    """Return `values` with one of them replaced; mappings that an alias shares stay as they are."""
    import yaml

    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override '{override}' is not of the form key=value")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"override '{override}': the value cannot be read as YAML: {reason}") from error
    *outer, last = key.split(".")
    changed = inner = dict(values)
    for name in outer:
        child = inner.get(name, {})
        if not isinstance(child, Mapping):
            raise ConfigError(f"override '{override}': '{name}' is a single value and has no keys inside")
        inner[name] = dict(child)
        inner = inner[name]
    inner[last] = value
    return changed


def _build(cls: type[Config], values: Mapping[str, Any], where: str) -> Config:
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(_unknown_key(where, str(key), fields))
    arguments = {key: convert(value, hints[key], f"{where}{key}") for key, value in values.items()}
    required = [
        f"{where}{name}"
        for name, f in fields.items()
        if name not in arguments and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if required:
        raise ConfigError(f"configuration key '{required[0]}' is missing and has no default")
    try:
        return cls(**arguments)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"configuration{' ' + where.rstrip('.') if where else ''}: {error}") from error


def _unknown_key(where: str, key: str, fields: Iterable[str]) -> str:
    known = sorted(fields)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean '{where}{near[0]}'?" if near else f"known keys: {', '.join(known)}"
    return f"unknown configuration key '{where}{key}'; {hint}"


def _convert_union(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    errors = []
    # A mapping is more likely meant for a class than for a number, and its error tells more.
    for choice in sorted(choices, key=_is_class, reverse=isinstance(value, Mapping)):
        if choice is type(None):
            continue
        try:
            return convert(value, choice, where)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def _is_class(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) or hasattr(hint, "from_plain")


def _convert_literal(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    if value is False and "no" in choices:
        # YAML reads a bare no as false.
        return "no"
    if any(value == choice and type(value) is type(choice) for choice in choices):
        return value
    raise ConfigError(f"'{where}' is {value!r}; it must be one of {', '.join(map(repr, choices))}")


def _convert_sequence(value: Any, hint: Any, where: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if not isinstance(value, list | tuple):
        raise _wrong_type(value, "a list", where)
    if origin is tuple and Ellipsis not in inner:
        if len(value) != len(inner):
            raise ConfigError(f"'{where}' has {len(value)} entries; it must have {len(inner)}")
        return tuple(convert(v, h, f"{where}[{i}]") for i, (v, h) in enumerate(zip(value, inner, strict=True)))
    kind = list if origin is list else tuple
    return kind(convert(v, inner[0], f"{where}[{i}]") for i, v in enumerate(value))


def _convert_scalar(value: Any, hint: type, where: str) -> Any:
    if hint is float and isinstance(value, str):
        # YAML reads 1e-4 as text, because it wants 1.0e-4.
        try:
            return float(value)
        except ValueError:
            raise _wrong_type(value, "a number", where) from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    raise _wrong_type(value, names.get(hint, hint.__name__), where)


def _wrong_type(value: Any, wanted: str, where: str) -> ConfigError:
    return ConfigError(f"'{where}' is {value!r}; it must be {wanted}")
