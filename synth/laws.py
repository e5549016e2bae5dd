"""Laws that a setting's value is drawn from, so that one settings class serves as an instrument and as a domain."""

import abc
import dataclasses
import math
import zlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from launch import ConfigError, to_plain
from synth.arguments import as_number

__all__ = ["LAWS", "Choice", "Law", "LogUniform", "Sometimes", "Uniform", "check_range", "draw", "has_laws"]

Settings = TypeVar("Settings")


class Law(abc.ABC):
    """Base of the laws; in plain text each is a mapping of its name to a list, e.g. ``{uniform: [0.1, 0.5]}``."""

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator) -> Any:
        """Return one value."""

    @abc.abstractmethod
    def support(self) -> tuple[float, float]:
        """Return the smallest and the largest number that may be drawn."""

    @abc.abstractmethod
    def to_plain(self) -> dict[str, Any]:
        """Return the law as plain text."""

    @classmethod
    def from_plain(cls, value: Any, where: str) -> "Law":
        """Return the law that plain text names.

        Raises
        ------
        ValueError
            If `value` names no law, or its numbers do not fit it; `where` is what the message calls it.
        """
        if isinstance(value, Law):
            return value
        name = next(iter(value), None) if isinstance(value, Mapping) else None
        options = value[name] if name is not None else None
        if name not in LAWS or len(value) != 1 or not isinstance(options, list | tuple) or not options:
            given = dict(value) if isinstance(value, Mapping) else value
            raise ConfigError(f"'{where}' is {given!r}; give a number or one law of {', '.join(LAWS)} with a list")
        return LAWS[name](options, where)


@dataclasses.dataclass(frozen=True)
class Uniform(Law):
    """Any number from `low` to `high` with equal chance."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_interval("uniform", self.low, self.high)

    def draw(self, rng: np.random.Generator) -> float:
        """Return one number."""
        return float(rng.uniform(self.low, self.high))

    def support(self) -> tuple[float, float]:
        """Return `low` and `high`."""
        return self.low, self.high

    def to_plain(self) -> dict[str, Any]:
        """Return ``{uniform: [low, high]}``."""
        return {"uniform": [self.low, self.high]}


@dataclasses.dataclass(frozen=True)
class LogUniform(Law):
    """Any number from `low` to `high`, both above 0, each factor with equal chance."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_interval("log_uniform", self.low, self.high)
        if self.low <= 0:
            raise ValueError(f"log_uniform takes numbers above 0, not {[self.low, self.high]}")

    def draw(self, rng: np.random.Generator) -> float:
        """Return one number."""
        return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))

    def support(self) -> tuple[float, float]:
        """Return `low` and `high`."""
        return self.low, self.high

    def to_plain(self) -> dict[str, Any]:
        """Return ``{log_uniform: [low, high]}``."""
        return {"log_uniform": [self.low, self.high]}


@dataclasses.dataclass(frozen=True)
class Choice(Law):
    """One of several values, each with equal chance."""

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError("choice has no options; give at least one")

    def draw(self, rng: np.random.Generator) -> Any:
        """Return one of the options."""
        return self.options[int(rng.integers(len(self.options)))]

    def support(self) -> tuple[float, float]:
        """Return the range of the options, None aside; nan if one is no number."""
        return _hull(self.options)

    def to_plain(self) -> dict[str, Any]:
        """Return ``{choice: [a, b, …]}``."""
        return {"choice": [to_plain(option) for option in self.options]}


@dataclasses.dataclass(frozen=True)
class Sometimes(Law):
    """`value`, itself a law if wanted, with a certain probability; otherwise something else, usually nothing."""

    probability: float
    value: Any
    otherwise: Any = 0.0

    def __post_init__(self) -> None:
        if not 0 <= as_number("probability", self.probability) <= 1:
            raise ValueError(f"the probability is {self.probability!r}; give a number from 0 to 1")

    def draw(self, rng: np.random.Generator) -> Any:
        """Return `value`, drawn if it is a law, or `otherwise`."""
        drawn = self.value if rng.random() < self.probability else self.otherwise
        return drawn.draw(rng) if isinstance(drawn, Law) else drawn

    def support(self) -> tuple[float, float]:
        """Return the range of both outcomes, None aside; nan if one is no number."""
        return _hull((self.value, self.otherwise))

    def to_plain(self) -> dict[str, Any]:
        """Return ``{sometimes: [probability, value, otherwise]}``."""
        return {"sometimes": [self.probability, to_plain(self.value), to_plain(self.otherwise)]}


def draw(settings: Settings, rng: np.random.Generator) -> Settings:
    """Replace each law in settings by what is drawn from it.

    Parameters
    ----------
    settings : frozen dataclass, tuple or single value
        Laws may stand at any depth.
    rng : Generator
        A child is spawned from it and its own numbers stay as they are, so that an image made with the settings as
        drawn and the same `rng` is the same.

    Returns
    -------
    The same, without laws. What is drawn for a field depends on the field's name and not on the others.
    """
    return _drawn(settings, int(rng.spawn(1)[0].integers(2**63)), "")


def has_laws(settings: Any) -> bool:
    """Tell whether there is a law in settings, at any depth."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, Law):
        settings = tuple(getattr(settings, field.name) for field in dataclasses.fields(settings))
    return any(map(has_laws, settings)) if isinstance(settings, tuple) else isinstance(settings, Law)


def check_range(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Refuse a number, or a law that may give one, outside ``low <= value <= high`` and ``above < value < below``.

    Parameters
    ----------
    name : str
        Of the setting, for the error.
    value : number or Law
        Infinite ones and nan are refused.
    low, high, above, below : float
        The limits.

    Raises
    ------
    ValueError
        If the number is outside, or is none.
    """
    smallest, largest = value.support() if isinstance(value, Law) else (as_number(name, value),) * 2
    finite = math.isfinite(smallest) and math.isfinite(largest)
    if finite and low <= smallest and above < smallest and largest <= high and largest < below:
        return
    given = value.to_plain() if isinstance(value, Law) else value
    raise ValueError(f"{name} is {given!r}; give a number{_limits(low, high, above, below)}")


def _limits(low: float, high: float, above: float, below: float) -> str:
    limits = [
        f"{word} {limit:g}"
        for word, limit in (("of at least", low), ("above", above), ("of at most", high), ("below", below))
        if math.isfinite(limit)
    ]
    return " " + " and ".join(limits) if limits else " that is finite"


def _drawn(value: Any, key: int, path: str) -> Any:
    if isinstance(value, Law):
        return _drawn(value.draw(np.random.default_rng((key, zlib.crc32(path.encode())))), key, f"{path}'")
    if isinstance(value, tuple):
        return tuple(_drawn(inner, key, f"{path}[{i}]") for i, inner in enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **{k: _drawn(v, key, f"{path}.{k}") for k, v in fields.items()})
    return value


def _hull(values: tuple[Any, ...]) -> tuple[float, float]:
    """Return the range of numbers and laws, None aside; if there is anything else, what is outside every limit."""
    ends = [value.support() if isinstance(value, Law) else (value, value) for value in values if value is not None]
    plain = all(isinstance(end, int | float) and not isinstance(end, bool) for pair in ends for end in pair)
    numbers = [end for pair in ends for end in pair] if plain else [math.nan]
    return (math.nan, math.nan) if not numbers or any(map(math.isnan, numbers)) else (min(numbers), max(numbers))


def _check_interval(law: str, low: Any, high: Any) -> None:
    if not -math.inf < as_number(law, low) <= as_number(law, high) < math.inf:
        raise ValueError(f"{law} takes [low, high], not {[low, high]!r}")


def _interval(law: Any) -> Any:
    def read(options: Any, where: str) -> Law:
        numbers = [_as_float(option) for option in options]
        try:
            if len(numbers) != 2:
                raise ValueError(f"{law.__name__} takes two numbers")
            return law(*numbers)
        except ValueError:
            name = next(key for key, reader in LAWS.items() if reader is read)
            positive = " above 0" if law is LogUniform else ""
            raise ConfigError(
                f"'{where}': {name} takes [low, high], two numbers{positive}, not {list(options)!r}"
            ) from None

    return read


def _choice(options: Any, where: str) -> Law:
    return Choice(tuple(options))


def _sometimes(options: Any, where: str) -> Law:
    if len(options) not in (2, 3):
        raise ConfigError(f"'{where}': sometimes takes [probability, value] or [probability, value, otherwise]")
    values = [Law.from_plain(v, where) if isinstance(v, Mapping) else v for v in options[1:]]
    try:
        return Sometimes(_as_float(options[0]), *values)
    except ValueError as error:
        raise ConfigError(f"'{where}': {error}") from None


def _as_float(value: Any) -> Any:
    """Return text such as 1e-4, which YAML does not take for a number, as one."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


LAWS = {
    "uniform": _interval(Uniform),
    "log_uniform": _interval(LogUniform),
    "choice": _choice,
    "sometimes": _sometimes,
}
