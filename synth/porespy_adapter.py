"""Any generator of PoreSpy under the name that it has there, its volume read as labels."""

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from synth.size_laws import distribution_mapping, frozen_distribution
from synth.structure import Structure, check_shape, with_fractions

__all__ = ["PREFIX", "porespy_parameters", "porespy_structure"]

PREFIX = "porespy."
# PoreSpy's True is the pore space, as its documentation has it generator by generator. In these, spheres are added
# to an empty image, a set is what is left of a full one, or False is cut out of a foam: here True is the solid.
TRUE_IS_SOLID = (
    "pseudo_electrostatic_packing", "pseudo_gravity_packing", "random_cantor_dust", "random_spheres",
    "sierpinski_foam",
)  # fmt: skip
NO_MATERIAL = {
    "borders": "marks voxels of a box",
    "cylindrical_pillars_array": "makes 2-D pictures",
    "cylindrical_pillars_mesh": "makes 2-D pictures",
    "elevation": "returns heights",
    "faces": "marks voxels of a box",
    "insert_shape": "changes an image",
    "line_segment": "returns coordinates",
    "ramp": "returns grey values",
    "rectangular_pillars_array": "makes 2-D pictures",
    "spheres_from_coords": "takes a table of spheres and no shape",
}
# Arrays cannot stand in a recipe, the seed comes from the random state, and chunks or cores are no part of a structure.
NOT_IN_RECIPES = ("cores", "im", "parallel_kw", "seed", "sites")


def porespy_parameters(generator: str) -> dict[str, inspect.Parameter]:
    """Return the arguments that a generator of PoreSpy takes in a recipe.

    Parameters
    ----------
    generator : str
        Its name in ``porespy.generators``, with or without ``porespy.`` before it.

    Returns
    -------
    dict of str to inspect.Parameter
        By name, ``shape`` first. A parameter without default must be given. Left out are ``seed``, which
        `porespy_structure` draws, arrays, and settings that only decide how the work is divided. The annotations are
        PoreSpy's and not to be relied on.

    Raises
    ------
    ValueError
        If PoreSpy is not installed, or has no such generator of 3-D volumes; the message lists those that it has.
    """
    parameters = {
        key: p
        for key, p in inspect.signature(_find(generator)).parameters.items()
        if key not in NOT_IN_RECIPES and p.kind is not p.VAR_KEYWORD
    }
    shape = parameters.pop("shape")
    return {"shape": shape.replace(default=shape.empty), **parameters}


def porespy_structure(
    generator: str, shape: tuple[int, int, int], *, rng: np.random.Generator | int, **arguments: Any
) -> Structure:
    """Make a volume with a generator of PoreSpy.

    Parameters
    ----------
    generator : str
        Its name in ``porespy.generators``, with or without ``porespy.`` before it.
    shape : (int, int, int)
        Voxels along z, y, x. PoreSpy calls these axes x, y, z; its ``axis=0`` is z here.
    rng : Generator or int
        Source of randomness, or the seed of one. PoreSpy's seed is drawn from it.
    **arguments
        Arguments by PoreSpy's names. ``dist`` may be a law in plain text, as `frozen_distribution` takes it.

    Returns
    -------
    Structure
        Labels 0 (pore) and 1 (solid). PoreSpy's True is the pore space, but in ``random_spheres`` and the two pseudo
        packings it is the spheres, in ``random_cantor_dust`` the dust and in ``sierpinski_foam`` the foam, and
        there it is the solid. With ``value=n`` a packing's spheres keep the label n. ``truth`` has the
        ``porosity`` and ``fractions`` counted from the labels, which PoreSpy meets only roughly.

    Raises
    ------
    ValueError
        If PoreSpy is not installed, has no such generator or argument, refuses what it is given, or returns
        something else than a 3-D volume of that shape in labels 0 to 255.

    Notes
    -----
    NumPy's global random state is left as it was. Numba's own, which PoreSpy seeds for packings, is not.

    References
    ----------
    .. [1] J. T. Gostick et al., "PoreSpy: A Python Toolkit for Quantitative Analysis of Porous Media Images",
       J. Open Source Softw. 4, 1296 (2019).
    """
    shape = check_shape(shape)
    function = _find(generator)
    name = function.__name__
    plain = _check_arguments(name, arguments, porespy_parameters(name))
    given = {key: frozen_distribution(value) if key == "dist" else value for key, value in plain.items()}
    seed = int(np.random.default_rng(rng).integers(2**31))
    if "seed" in inspect.signature(function).parameters:
        given["seed"] = seed
    with _undisturbed(seed):
        try:
            image = np.asarray(function(shape=list(shape), **given))
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError(f"PoreSpy's '{name}' refuses its arguments ({error}); see its documentation") from error
    labels = _read(name, image, shape)
    phases = ("pore", "solid", *(f"phase {n}" for n in range(2, int(labels.max()) + 1)))
    return with_fractions(labels, phases, recipe={"generator": PREFIX + name, "shape": list(shape), **plain})


def _find(generator: str) -> Any:
    generators = _porespy().generators
    known = [
        key
        for key, value in vars(generators).items()
        if inspect.isfunction(value) and not key.startswith("_") and key not in NO_MATERIAL
    ]
    name = str(generator).removeprefix(PREFIX)
    if name in NO_MATERIAL:
        raise ValueError(f"PoreSpy's '{name}' {NO_MATERIAL[name]}; generators of volumes are {', '.join(known)}")
    if name not in known:
        raise ValueError(f"PoreSpy has no generator {generator!r}; it has {', '.join(known)}")
    return getattr(generators, name)


def _porespy() -> ModuleType:
    try:
        import porespy
    except ImportError as error:
        raise ValueError(
            f"generators named '{PREFIX}…' need the package porespy, which cannot be imported ({error}); "
            "install it with: pip install 'poreforge[porespy]'"
        ) from error
    return porespy


def _check_arguments(name: str, arguments: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in plain text."""
    unknown = [key for key in arguments if key not in known]
    if unknown:
        raise ValueError(f"PoreSpy's '{name}' has no argument '{unknown[0]}' in a recipe; it has {', '.join(known)}")
    missing = [key for key, p in known.items() if p.default is p.empty and key not in (*arguments, "shape")]
    if missing:
        raise ValueError(f"PoreSpy's '{name}' needs '{missing[0]}'; add it to the recipe")
    porosity = arguments.get("porosity")
    # Cylinders that are to fill all or nothing never end.
    if porosity is not None and not (isinstance(porosity, int | float) and 0 < porosity < 1):
        raise ValueError(f"porosity is {porosity!r}; give a number above 0 and below 1")
    plain = {key: distribution_mapping(value) if key == "dist" else value for key, value in arguments.items()}
    return {
        key: value.tolist() if isinstance(value, np.generic | np.ndarray) else value for key, value in plain.items()
    }


@contextlib.contextmanager
def _undisturbed(seed: int) -> Iterator[None]:
    """Seed NumPy's global random state and silence PoreSpy; afterwards put both back."""
    settings = _porespy().settings
    state, bars, level = np.random.get_state(), settings.tqdm, settings.loglevel  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    settings.tqdm, settings.loglevel = {**bars, "disable": True}, 60
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        settings.tqdm, settings.loglevel = bars, level


def _read(name: str, image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the labels that an image of PoreSpy means."""
    if image.shape != shape:
        raise ValueError(
            f"PoreSpy's '{name}' returned the shape {image.shape} where {shape} was asked for; ask for a shape that "
            "it can make, or change its arguments"
        )
    if image.dtype == bool:
        return np.ascontiguousarray(image == (name in TRUE_IS_SOLID)).astype(np.uint8)
    if image.dtype.kind not in "iu" or image.min() < 0 or image.max() > 255:
        raise ValueError(
            f"PoreSpy's '{name}' returned {image.dtype} numbers from {image.min():g} to {image.max():g}; "
            "give the arguments with which it returns phases, e.g. a porosity"
        )
    if name not in TRUE_IS_SOLID and image.max() <= 1:
        return np.ascontiguousarray(image == 0).astype(np.uint8)
    return np.ascontiguousarray(image.astype(np.uint8))
