"""Laws of sizes named in plain text: any continuous distribution of scipy.stats."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats
from scipy.stats.distributions import rv_frozen

__all__ = ["distribution_mapping", "frozen_distribution"]

# Every continuous distribution has these beside its own shape parameters.
LOC_AND_SCALE = {"loc": 0.0, "scale": 1.0}


def frozen_distribution(law: Mapping[str, Any] | rv_frozen) -> rv_frozen:
    """Return a law of sizes as a frozen distribution.

    Parameters
    ----------
    law : mapping or frozen distribution
        ``name`` is the name of a continuous distribution of ``scipy.stats``; the other keys are its parameters
        by scipy's names: its own shapes, all of them, and ``loc`` (0 if not given) and ``scale`` (1 if not
        given). ``{"name": "lognorm", "s": 0.3, "scale": 8.0}`` is lognormal with a median of 8. A distribution
        of scipy that is frozen already, its parameters single numbers, is returned as it is.

    Returns
    -------
    frozen distribution
        With ``rvs``, ``ppf``, ``mean``, ``support`` and so on. Whether it may be negative, or lacks a finite third
        moment, is for the caller to check.

    Raises
    ------
    ValueError
        For a name or a parameter that scipy does not have, a missing one, and values that the distribution
        does not allow; the message says which are known.
    """
    if isinstance(law, Mapping):
        return _freeze(dict(law))
    if not isinstance(law, rv_frozen) or not isinstance(law.dist, stats.rv_continuous):
        raise ValueError(
            f"the law of sizes is {law!r}; give a mapping such as {{name: lognorm, s: 0.3, scale: 8}} "
            "or a frozen continuous distribution of scipy.stats"
        )
    if any(np.ndim(value) != 0 for value in (*law.args, *law.kwds.values())):
        raise ValueError(f"the law of sizes '{law.dist.name}' has arrays as parameters; give single numbers")
    _check_support(law, dict(law.kwds) | {f"parameter {i + 1}": value for i, value in enumerate(law.args)})
    return law


def distribution_mapping(law: Mapping[str, Any] | rv_frozen) -> dict[str, Any]:
    """Return a law of sizes in plain text: the mapping from which `frozen_distribution` makes the same one.

    Parameters
    ----------
    law : mapping or frozen distribution
        As `frozen_distribution` takes it.

    Returns
    -------
    dict
        ``name``, then every parameter by name as a float, ``loc`` and ``scale`` included.

    Raises
    ------
    ValueError
        As `frozen_distribution`, and for a distribution that scipy.stats does not know by its name.
    """
    frozen = frozen_distribution(law)
    name = frozen.dist.name
    known = getattr(stats, name, None) if isinstance(name, str) else None
    if type(known) is not type(frozen.dist):
        raise ValueError(f"the law of sizes {name!r} is none of scipy.stats and has no plain text; give one that is")
    names = (*_shapes(frozen.dist), *LOC_AND_SCALE)
    given = LOC_AND_SCALE | dict(zip(names, frozen.args, strict=False)) | frozen.kwds
    return {"name": name} | {key: float(given[key]) for key in names}


def _freeze(values: dict[str, Any]) -> rv_frozen:
    name = values.pop("name", None)
    law = getattr(stats, name, None) if isinstance(name, str) else None
    if not isinstance(law, stats.rv_continuous):
        raise ValueError(f"the law of sizes is named {name!r}; known are {', '.join(_known_names())}")
    parameters = (*_shapes(law), *LOC_AND_SCALE)
    unknown = [key for key in values if key not in parameters]
    if unknown:
        raise ValueError(f"the law of sizes '{name}' has no parameter '{unknown[0]}'; it has {', '.join(parameters)}")
    missing = [key for key in _shapes(law) if key not in values]
    if missing:
        raise ValueError(f"the law of sizes '{name}' needs '{missing[0]}'; it has {', '.join(parameters)}")
    numbers = {key: _number(name, key, value) for key, value in values.items()}
    frozen = law(**numbers)
    _check_support(frozen, numbers)
    return frozen


def _shapes(law: Any) -> tuple[str, ...]:
    return tuple(law.shapes.replace(" ", "").split(",")) if law.shapes else ()


def _number(name: str, key: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(f"'{key}' of the law of sizes '{name}' is {value!r}; give a finite number")
    return number


def _check_support(frozen: rv_frozen, numbers: Mapping[str, Any]) -> None:
    # scipy answers parameters outside their domain with nan.
    if np.isnan(frozen.support()).any():
        text = ", ".join(f"{key}={value:g}" for key, value in numbers.items())
        raise ValueError(
            f"the law of sizes '{frozen.dist.name}' does not allow {text}; scale is above 0, "
            "and scipy.stats says which shapes are allowed"
        )


def _known_names() -> list[str]:
    return sorted(key for key in dir(stats) if isinstance(getattr(stats, key), stats.rv_continuous))
