"""What this package accepts as numbers, and the sentences that refuse the rest."""

import math
from typing import Any

import numpy as np

__all__ = ["as_number", "as_numbers"]


def as_number(value: Any, name: str) -> float:
    """Return `value` as a finite float, or raise ``ValueError``; `name` is what the sentence calls it."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}; give a finite number")
    return float(value)


def as_numbers(values: Any, name: str) -> np.ndarray:
    """Return `values` as a one-dimensional array of finite float64, or raise ``ValueError``."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} are {values!r}; give a list of numbers") from None
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{name} have shape {array.shape} or are not all finite; give a list of finite numbers")
    return array
