"""Arguments as plain numbers: what was given for one, in a form that a recipe can hold."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = ["as_number", "as_numbers"]


def as_number(name: str, value: Any) -> float:
    """Return `value` as a plain number.

    Parameters
    ----------
    name : str
        Of the argument, for the error.
    value : number
        Of Python or numpy, or an array of no dimension.

    Returns
    -------
    int or float
        Of Python, so that it can be written as JSON; nan and infinity as they are.

    Raises
    ------
    ValueError
        If it is no real number; bools are none.
    """
    number = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(number, bool) or not isinstance(number, Real):
        raise ValueError(f"{name} is {value!r}; give a number")
    return int(number) if isinstance(number, Integral) else float(number)


def as_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return named arguments as plain numbers, those that are None left as they are.

    Parameters
    ----------
    values : mapping of str to number or None
        See `as_number`.

    Returns
    -------
    dict
        In the same order.

    Raises
    ------
    ValueError
        If one of them is no real number.
    """
    return {name: None if value is None else as_number(name, value) for name, value in values.items()}
