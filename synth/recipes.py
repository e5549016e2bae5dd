"""Recipes: a structure and a microscope named in plain text, with numbers that may be drawn at random."""

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from launch import convert, to_plain
from synth.fibsem import FibsemSettings, draw_fibsem_settings, fibsem
from synth.gaussian_cuts import gaussian_phases
from synth.materials import catalyst_layer, fibre_mat, gdl_with_mpl, redox_cell, secondary_particle, sofc_electrode
from synth.porespy_adapter import PREFIX, porespy_structure
from synth.spheres import sphere_pack
from synth.structure import Structure

__all__ = ["GENERATORS", "MICROSCOPES", "build_structure", "draw_numbers", "image_structure"]

GENERATORS: dict[str, Callable[..., Structure]] = {
    function.__name__: function
    for function in (
        sphere_pack, gaussian_phases, catalyst_layer, fibre_mat, gdl_with_mpl, sofc_electrode, secondary_particle,
        redox_cell,
    )
}  # fmt: skip
MICROSCOPES = ("fibsem",)
LAWS = ("uniform", "log_uniform", "choice")


def build_structure(recipe: Mapping[str, Any], *, seed: int) -> Structure:
    """Make the structure that a recipe describes.

    Parameters
    ----------
    recipe : mapping
        ``generator`` names one of `GENERATORS`, or one of PoreSpy's as ``porespy.blobs``; the other keys are its
        arguments. A number may be given as ``{uniform: [low, high]}``, ``{log_uniform: [low, high]}`` or
        ``{choice: [a, b, …]}``; a distribution of sizes, where the generator takes one, by its ``name`` and
        parameters.
    seed : int
        Decides what is drawn and the structure itself.

    Returns
    -------
    Structure
        Its ``recipe`` holds the numbers as drawn; with the same seed it makes the same bytes.

    Raises
    ------
    ValueError
        For an unknown generator, argument or law, and for a value of the wrong type.
    """
    # Two streams, so that the numbers as drawn and the seed make the same structure again.
    drawing, rng = np.random.default_rng(seed).spawn(2)
    arguments = draw_numbers(to_plain(recipe), drawing)
    name = arguments.pop("generator", None)
    if isinstance(name, str) and name.startswith(PREFIX):
        if "shape" not in arguments:
            raise ValueError(f"generator '{name}' needs 'shape'; add it to the recipe")
        return porespy_structure(name, rng=rng, **arguments)
    if name not in GENERATORS:
        known = ", ".join(GENERATORS)
        raise ValueError(f"recipe names the generator {name!r}; known are {known}, and PoreSpy's as {PREFIX}blobs")
    generator = GENERATORS[name]
    parameters = {key: p for key, p in inspect.signature(generator).parameters.items() if key != "rng"}
    _refuse_unknown(arguments, parameters, f"generator '{name}' has no argument")
    missing = [key for key, p in parameters.items() if p.default is p.empty and key not in arguments]
    if missing:
        raise ValueError(f"generator '{name}' needs '{missing[0]}'; add it to the recipe")
    hints = typing.get_type_hints(generator)
    return generator(**{key: convert(value, hints[key], key) for key, value in arguments.items()}, rng=rng)


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
    _refuse_unknown(microscope, ("instrument", "settings"), "the microscope has no key")
    drawing, rng = np.random.default_rng(seed).spawn(2)
    name, wanted = microscope.get("instrument"), microscope.get("settings", "default")
    if name not in MICROSCOPES:
        raise ValueError(f"microscope names the instrument {name!r}; known are {', '.join(MICROSCOPES)}")
    if wanted == "random":
        settings = draw_fibsem_settings(drawing)
    elif wanted == "default":
        settings = FibsemSettings()
    elif isinstance(wanted, Mapping):
        settings = convert(draw_numbers(to_plain(wanted), drawing), FibsemSettings, "settings")
    else:
        raise ValueError(f"microscope settings are {wanted!r}; give 'default', 'random' or a mapping of settings")
    return fibsem(structure, settings, rng=rng), {"instrument": name, **dataclasses.asdict(settings)}


def draw_numbers(values: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return `values` with each ``{law: […]}`` replaced by a number drawn from it."""
    return {key: _draw(key, value, rng) for key, value in values.items()}


def _refuse_unknown(given: Iterable[Any], known: Collection[str], complaint: str) -> None:
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ValueError(f"{complaint} '{unknown[0]}'; it has {', '.join(known)}")


def _draw(key: str, value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, Mapping):
        return value
    if "name" in value:
        return {inner: _draw(f"{key}.{inner}", v, rng) for inner, v in value.items()}
    law = next(iter(value), None)
    options = value.get(law)
    if len(value) != 1 or law not in LAWS or not isinstance(options, list | tuple) or not options:
        raise ValueError(f"'{key}' is {dict(value)!r}; give a number or one law of {', '.join(LAWS)} with a list")
    if law == "choice":
        return options[int(rng.integers(len(options)))]
    low, high = convert(options, tuple[float, float], f"{key}.{law}")
    if not -math.inf < low <= high < math.inf:
        raise ValueError(f"'{key}': {law} takes [low, high], not {list(options)!r}")
    if law == "log_uniform":
        if low <= 0:
            raise ValueError(f"'{key}': log_uniform takes numbers above 0, not {list(options)!r}")
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return float(rng.uniform(low, high))
