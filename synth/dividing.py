"""A second solid in any structure: part of a phase, in rounded domains, made a phase of its own."""

import numpy as np

from synth.exact_counts import highest
from synth.gaussian import gaussian_field
from synth.structure import Structure, with_fractions

__all__ = ["divide"]


def divide(
    structure: Structure,
    *,
    phase: str,
    new: str,
    fraction: float,
    length_vox: float,
    rng: np.random.Generator | int,
) -> Structure:
    """Make part of a phase a new phase: inclusions, a second solid, a second fluid.

    Parameters
    ----------
    structure : Structure
        Of any generator.
    phase : str
        Name of the phase that is divided.
    new : str
        Name of the new phase, which gets the next free label.
    fraction : float
        Part of that phase's voxels that the new one gets, above 0 and below 1; met to one voxel.
    length_vox : float
        Correlation length, in voxels, of the Gaussian field whose highest values in the phase become the new one.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    Structure
        ``truth`` has the ``porosity`` and ``fractions``, counted, and ``expected`` of phases that were not divided;
        what else the generator knew is left out. ``recipe`` has the arguments as ``divide``.

    Raises
    ------
    ValueError
        If the phase is unknown, has no voxel, the new name is taken or a number is out of range.

    Notes
    -----
    Where the new phase is does not depend on how far the pore is: it touches the pore as often as the rest of the
    phase does.

    Examples
    --------
    >>> pack = synth.sphere_pack((64, 64, 64), porosity=0.3, diameter_vox=16, rng=0)
    >>> mixed = synth.divide(pack, phase="solid", new="binder", fraction=0.3, length_vox=10, rng=1)
    """
    if phase not in structure.phases:
        raise ValueError(f"divide names the phase {phase!r}; the structure has {', '.join(structure.phases)}")
    if not isinstance(new, str) or not new or new in structure.phases:
        raise ValueError(f"divide calls the new phase {new!r}; give a name other than {', '.join(structure.phases)}")
    if not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise ValueError(f"divide has the fraction {fraction!r}; give a number above 0 and below 1")
    among = structure.labels == structure.phases.index(phase)
    voxels = int(np.count_nonzero(among))
    if not voxels:
        raise ValueError(f"divide finds no voxel of '{phase}' in the structure; name a phase that it has")
    field = gaussian_field(structure.shape, length_vox=length_vox, rng=rng)
    taken = highest(field, round(fraction * voxels), among=among)
    known = structure.truth.get("expected", {})
    expected = {name: value for name, value in known.items() if name != phase}
    return with_fractions(
        np.where(taken, np.uint8(len(structure.phases)), structure.labels),
        (*structure.phases, new),
        recipe={
            **structure.recipe,
            "divide": {"phase": phase, "new": new, "fraction": fraction, "length_vox": length_vox},
        },
        truth={"expected": expected} if expected else None,
    )
