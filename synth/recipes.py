"""Recipes: a structure and a microscope named in plain text, with numbers that may be drawn at random."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from synth.fibsem import FibsemSettings, draw_fibsem_settings, fibsem
from synth.spheres import sphere_pack
from synth.structure import Structure

__all__ = ["GENERATORS", "MICROSCOPES", "build_structure", "draw_numbers", "image_structure"]

GENERATORS: dict[str, Callable[..., Structure]] = {"sphere_pack": sphere_pack}
MICROSCOPES = ("fibsem",)
LAWS = ("uniform", "log_uniform", "choice")


def build_structure(recipe: Mapping[str, Any], *, seed: int) -> Structure:
    """Make the structure that a recipe describes.

    Parameters
    ----------
    recipe : mapping
        ``generator`` names one of `GENERATORS`; the other keys are its arguments. A number may be given as
        ``{uniform: [low, high]}``, ``{log_uniform: [low, high]}`` or ``{choice: [a, b, …]}``.
    seed : int
        Decides what is drawn and the structure itself.

    Returns
    -------
    Structure
        Its ``recipe`` holds the numbers as drawn.

    Raises
    ------
    ValueError
        For an unknown generator, argument or law.
    """
    rng = np.random.default_rng(seed)
    arguments = draw_numbers(recipe, rng)
    name = arguments.pop("generator", None)
    if name not in GENERATORS:
        raise ValueError(f"recipe names the generator {name!r}; known are {', '.join(GENERATORS)}")
    generator = GENERATORS[name]
    known = [p for p in inspect.signature(generator).parameters if p != "rng"]
    unknown = [key for key in arguments if key not in known]
    if unknown:
        raise ValueError(f"generator '{name}' has no argument '{unknown[0]}'; it has {', '.join(known)}")
    try:
        return generator(**arguments, rng=rng)
    except TypeError as error:
        raise ValueError(f"generator '{name}' cannot be called so: {error}") from error


def image_structure(structure: Structure, microscope: Mapping[str, Any], *, seed: int) -> tuple[np.ndarray, dict]:
    """Image a structure.

    Parameters
    ----------
    structure : Structure
        What lies under the microscope.
    microscope : mapping
        ``instrument`` names one of `MICROSCOPES`; ``settings`` is ``default``, ``random`` or a mapping of
        `FibsemSettings` fields, whose numbers may be drawn as in a recipe.
    seed : int
        Decides what is drawn and the noise.

    Returns
    -------
    grey : ndarray of float32, shape (Z, Y, X)
    drawn : dict
        The instrument and its settings as drawn.
    """
    import dataclasses

    rng = np.random.default_rng(seed)
    name, wanted = microscope.get("instrument"), microscope.get("settings", "default")
    if name not in MICROSCOPES:
        raise ValueError(f"microscope names the instrument {name!r}; known are {', '.join(MICROSCOPES)}")
    if wanted == "random":
        settings = draw_fibsem_settings(rng)
    elif wanted == "default":
        settings = FibsemSettings()
    elif isinstance(wanted, Mapping):
        known = [f.name for f in dataclasses.fields(FibsemSettings)]
        unknown = [key for key in wanted if key not in known]
        if unknown:
            raise ValueError(f"instrument '{name}' has no setting '{unknown[0]}'; it has {', '.join(known)}")
        settings = FibsemSettings(**draw_numbers(wanted, rng))
    else:
        raise ValueError(f"microscope settings are {wanted!r}; give 'default', 'random' or a mapping of settings")
    return fibsem(structure, settings, rng=rng), {"instrument": name, **dataclasses.asdict(settings)}


def draw_numbers(values: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return `values` with each ``{law: […]}`` replaced by a number drawn from it."""
    return {key: _draw(key, value, rng) for key, value in values.items()}


def _draw(key: str, value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, Mapping):
        return value
    law, *others = value
    options = value[law]
    if others or law not in LAWS or not isinstance(options, list | tuple) or not options:
        raise ValueError(f"'{key}' is {dict(value)!r}; give a number or one law of {', '.join(LAWS)} with a list")
    if law == "choice":
        return options[int(rng.integers(len(options)))]
    if len(options) != 2 or not all(isinstance(n, int | float) for n in options) or options[0] > options[1]:
        raise ValueError(f"'{key}': {law} takes [low, high], not {list(options)!r}")
    low, high = options
    if law == "log_uniform":
        if low <= 0:
            raise ValueError(f"'{key}': log_uniform takes numbers above 0, not {list(options)!r}")
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return float(rng.uniform(low, high))
