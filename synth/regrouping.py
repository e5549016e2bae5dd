"""Phases of a structure joined, exchanged or renamed: walls from two level cuts, foams from packs turned inside out."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from synth.structure import Structure, with_fractions

__all__ = ["regroup"]


def regroup(structure: Structure, groups: Mapping[str, Any]) -> Structure:
    """Make new phases of the phases of a structure.

    Parameters
    ----------
    structure : Structure
        Of any generator.
    groups : mapping of str to sequence of str
        By the name of each new phase, the names of the old ones that it is made of; the first becomes label 0, the
        pore. Each old phase has its place in exactly one of them.

    Returns
    -------
    Structure
        ``truth`` has the ``porosity`` and ``fractions`` of the new phases, counted, and ``expected`` of those that
        are an old phase under another name. What else the generator knew speaks of the old phases and is left out.
        ``recipe`` has `groups` as ``regroup``.

    Raises
    ------
    ValueError
        If an old phase is missing, unknown or named twice, or there are fewer than two new ones.

    Examples
    --------
    Spherical pores, with what lies between them as the solid:

    >>> pack = synth.sphere_pack((64, 64, 64), porosity=0.3, diameter_vox=16, rng=0)
    >>> foam = synth.regroup(pack, {"pore": ["solid"], "solid": ["pore"]})
    """
    parts = _check_groups(structure.phases, groups)
    table = np.zeros(256, np.uint8)
    for label, old in enumerate(structure.phases):
        table[label] = next(new for new, names in enumerate(parts.values()) if old in names)
    known = structure.truth.get("expected", {})
    expected = {new: known[old[0]] for new, old in parts.items() if len(old) == 1 and old[0] in known}
    return with_fractions(
        table[structure.labels],
        tuple(parts),
        recipe={**structure.recipe, "regroup": {new: list(old) for new, old in parts.items()}},
        truth={"expected": expected} if expected else None,
    )


def _check_groups(phases: tuple[str, ...], groups: Any) -> dict[str, tuple[str, ...]]:
    example = '{"pore": ["solid"], "solid": ["pore"]}'
    if not isinstance(groups, Mapping) or len(groups) < 2:
        raise ValueError(f"regroup is {groups!r}; give two new phases or more, each with old ones, as {example}")
    for new, old in groups.items():
        if not isinstance(new, str) or not isinstance(old, list | tuple) or not old:
            raise ValueError(f"regroup makes {new!r} of {old!r}; give a name and a list of old phases, as {example}")
    named = [name for old in groups.values() for name in old]
    known = ", ".join(phases)
    for name in named:
        if name not in phases:
            raise ValueError(f"regroup names the phase {name!r}; the generator makes {known}")
        if named.count(name) > 1:
            raise ValueError(f"regroup names the phase '{name}' twice; give each old phase one place")
    missing = [name for name in phases if name not in named]
    if missing:
        raise ValueError(f"regroup leaves out the phase '{missing[0]}'; give each of {known} a place")
    return {new: tuple(old) for new, old in groups.items()}
