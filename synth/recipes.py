"""Recipes: a structure and a microscope named in plain text, with numbers that may be drawn at random."""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from launch import convert, to_plain
from synth.blender import BLENDER_PRESETS, blender_image
from synth.dividing import divide
from synth.gaussian_cuts import gaussian_phases
from synth.laws import LAWS, Law, draw
from synth.materials import catalyst_layer, fibre_mat, gdl_with_mpl, redox_cell, secondary_particle, sofc_electrode
from synth.microscope_image import MicroscopeImage
from synth.porespy_adapter import PREFIX, porespy_structure
from synth.regrouping import regroup
from synth.sem import FIBSEM_PRESETS, fibsem_image
from synth.spheres import sphere_pack
from synth.structure import Structure
from synth.xray import XRAY_PRESETS, xray_image

__all__ = [
    "GENERATORS", "MICROSCOPES", "Microscope", "build_structure", "draw_numbers", "image_structure",
    "microscope_settings", "with_changes",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Microscope:
    """An instrument that recipes can name.

    Parameters
    ----------
    presets : mapping of str to settings
        Frozen dataclasses, whose fields may be laws; one is called ``default``.
    image : callable
        ``image(labels, settings, rng=…)`` returns a `MicroscopeImage`.
    """

    presets: Mapping[str, Any]
    image: Callable[..., MicroscopeImage]


GENERATORS: dict[str, Callable[..., Structure]] = {
    function.__name__: function
    for function in (
        sphere_pack, gaussian_phases, catalyst_layer, fibre_mat, gdl_with_mpl, sofc_electrode, secondary_particle,
        redox_cell,
    )
}  # fmt: skip
MICROSCOPES = {
    "fibsem": Microscope(FIBSEM_PRESETS, fibsem_image),
    "xray_ct": Microscope(XRAY_PRESETS, xray_image),
    "blender": Microscope(BLENDER_PRESETS, blender_image),
}


def build_structure(recipe: Mapping[str, Any], *, seed: int) -> Structure:
    """Make the structure that a recipe describes.

    Parameters
    ----------
    recipe : mapping
        ``generator`` names one of `GENERATORS`, or one of PoreSpy's as ``porespy.blobs``; the other keys are its
        arguments. A number may be given as ``{uniform: [low, high]}``, ``{log_uniform: [low, high]}`` or
        ``{choice: [a, b, …]}``; a distribution of sizes, where the generator takes one, by its ``name`` and
        parameters. ``regroup`` makes new phases of the generator's, see `synth.regroup`; ``divide`` makes part of a
        phase a new one, after that, see `synth.divide`.
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
    # Streams of their own, so that the numbers as drawn and the seed make the same structure again.
    drawing, rng, drawing_parts, parts_rng = np.random.default_rng(seed).spawn(4)
    plain = to_plain(recipe)
    groups, parts = plain.pop("regroup", None), plain.pop("divide", None)
    structure = _generate(draw_numbers(plain, drawing), rng)
    if groups is not None:
        structure = regroup(structure, groups)
    if parts is not None:
        structure = _divide(structure, parts, drawing_parts, parts_rng)
    return structure


def _divide(structure: Structure, parts: Any, drawing: np.random.Generator, rng: np.random.Generator) -> Structure:
    names = [name for name in inspect.signature(divide).parameters if name not in ("structure", "rng")]
    if not isinstance(parts, Mapping) or set(parts) != set(names):
        raise ValueError(f"divide is {parts!r}; give a mapping of {', '.join(names)}")
    return divide(structure, **draw_numbers(parts, drawing), rng=rng)


def _generate(arguments: dict[str, Any], rng: np.random.Generator) -> Structure:
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


def image_structure(structure: Structure, microscope: Mapping[str, Any], *, seed: int) -> MicroscopeImage:
    """Image a structure.

    Parameters
    ----------
    structure : Structure
        What lies under the microscope.
    microscope : mapping
        ``instrument`` names one of `MICROSCOPES`, ``preset`` one of its presets (``default`` if not given), and
        ``settings`` holds fields of its settings that are to differ from the preset's: values, or laws to draw
        them from, as in a recipe.
    seed : int
        Decides what is drawn and the noise.

    Returns
    -------
    MicroscopeImage
        Its ``settings`` are those as drawn.

    Raises
    ------
    ValueError
        For an unknown instrument, preset or setting, and for a value of the wrong type or size.
    """
    instrument, settings = microscope_settings(microscope)
    drawing, rng = np.random.default_rng(seed).spawn(2)
    return instrument.image(structure.labels, draw(settings, drawing), rng=rng)


def microscope_settings(microscope: Mapping[str, Any]) -> tuple[Microscope, Any]:
    """Return the instrument that a mapping names, and its settings, laws not yet drawn; see `image_structure`."""
    _refuse_unknown(microscope, ("instrument", "preset", "settings"), "the microscope has no key")
    name, preset, changes = (
        microscope.get(k, v) for k, v in (("instrument", None), ("preset", "default"), ("settings", {}))
    )
    if not isinstance(name, str) or name not in MICROSCOPES:
        raise ValueError(f"microscope names the instrument {name!r}; known are {', '.join(MICROSCOPES)}")
    instrument = MICROSCOPES[name]
    if not isinstance(preset, str) or preset not in instrument.presets:
        raise ValueError(f"{name} has no preset {preset!r}; known are {', '.join(instrument.presets)}")
    if not isinstance(changes, Mapping):
        raise ValueError(
            f"microscope settings are {changes!r}; give a mapping of settings, and a whole set as the preset"
        )
    return instrument, with_changes(instrument.presets[preset], to_plain(changes), "settings")


def with_changes(settings: Any, changes: Mapping[str, Any], where: str) -> Any:
    """Return settings with some fields changed by plain text, within groups of settings too.

    Parameters
    ----------
    settings : frozen dataclass
    changes : mapping
        Plain values by field; a mapping for a group changes only the fields that it names. A group that is off is
        switched on with its defaults.
    where : str
        What the messages call the settings.

    Returns
    -------
    Same type as `settings`.

    Raises
    ------
    ConfigError
        For an unknown field or a value that does not fit.
    """
    hints = typing.get_type_hints(type(settings))
    whole, grouped = {}, {}
    for key, value in changes.items():
        group = _group_type(hints.get(key))
        if group is not None and isinstance(value, Mapping) and not _names_a_law(value):
            now = getattr(settings, key)
            grouped[key] = with_changes(now if isinstance(now, group) else group(), value, f"{where}.{key}")
        else:
            whole[key] = value
    known = {key: value for key, value in whole.items() if key in hints}
    unknown = {key: value for key, value in whole.items() if key not in hints}
    if unknown:
        # Only to have the unknown key refused in the words of every other configuration.
        convert(unknown, type(settings), where)
    typed = {key: convert(value, hints[key], f"{where}.{key}") for key, value in known.items()}
    return dataclasses.replace(settings, **typed, **grouped)


def draw_numbers(values: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return `values` with each ``{law: […]}`` replaced by what is drawn from it."""
    return {key: _draw(key, value, rng) for key, value in values.items()}


def _refuse_unknown(given: Iterable[Any], known: Collection[str], complaint: str) -> None:
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ValueError(f"{complaint} '{unknown[0]}'; it has {', '.join(known)}")


def _names_a_law(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in LAWS


def _group_type(hint: Any) -> Any:
    """Return the class of settings among the types that a field may have, if there is one."""
    kinds = typing.get_args(hint) or (hint,)
    return next((k for k in kinds if dataclasses.is_dataclass(k) and not issubclass(typing.cast(type, k), Law)), None)


def _draw(key: str, value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, Mapping):
        return value
    if "name" in value:
        return {inner: _draw(f"{key}.{inner}", v, rng) for inner, v in value.items()}
    return Law.from_plain(value, key).draw(rng)
