"""Permeability of the pores by the flow through them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from evaluate.accepted_input import as_mask, as_voxel_size
from evaluate.transport.solve_arguments import accepted_setting, conducting_part

__all__ = ["Permeability", "permeability"]

MOST_STEPS = 50_000
EQUAL = 1e-6


@dataclasses.dataclass(frozen=True)
class Permeability:
    """Creeping flow through the pores; made by `permeability`.

    Attributes
    ----------
    permeability : float
        K in unit², the K of Darcy's law u = -K/μ ∇p with the velocity u averaged over the whole cross-section.
    porosity : float
        ε, the fraction of the whole volume that is the phase.
    connected : float
        Fraction of the phase that is connected to both faces; nothing flows in the rest.
    axis : int
        The direction of the mean flow.
    boundary : str
        ``"fixed at both faces, no-flux sides"`` or ``"fixed at both faces, periodic sides"``.
    residual : float
        (largest - smallest) / largest flux among the planes between voxels; 0 if what enters leaves.
    iterations : int
        Of the solver.
    converged : bool
        Whether `residual`, and the relative change of the permeability that is still to come, are within the tolerance.
    unit : str
        ``"um"`` or ``"voxel"``.
    """

    permeability: float
    porosity: float
    connected: float
    axis: int
    boundary: str
    residual: float
    iterations: int
    converged: bool
    unit: str


def permeability(
    mask: Any,
    *,
    axis: int,
    voxel_size_um: Sequence[float] | None = None,
    sides: Literal["no-flux", "periodic"] = "no-flux",
    tolerance: float = 1e-3,
    max_iterations: int | None = None,
) -> Permeability:
    """Measure the permeability of the pores along an axis by solving for the creeping flow through them.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the pores.
    axis : int
        0, 1 or 2: z, y or x.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm, all equal: the solver knows cubes only. By default those of `mask`, if
        it is a `volume.Volume` that knows them; otherwise the permeability is in voxels².
    sides : {"no-flux", "periodic"}
        What happens at the four sides along the axis: nothing passes and nothing holds the fluid back, as between
        mirror images; or opposite sides touch.
    tolerance : float
        Largest accepted relative difference of the flux through all the planes across the axis, and of the permeability
        from its estimated limit, above 0 and below 1.
    max_iterations : int, optional
        When to give up, with ``converged=False``; by default 50 000.

    Returns
    -------
    Permeability

    Raises
    ------
    NoPathError
        The phase does not connect the two faces; it is a ValueError.
    ValueError
        `mask` is empty, not 3-D or holds more than 0 and 1; it is all pore, so that nothing resists; voxels that are
        not cubes; other arguments out of range.

    Notes
    -----
    Stokes flow by the lattice Boltzmann method (19 velocities, two relaxation times, no slip halfway between the
    voxels), with the pressure fixed at both faces and no flow along them. Pores are connected through faces of voxels.

    Slits along the grid are exact at any width, w²/12; of square ducts K is 3 % too large at 3 voxels across and 0.3 %
    at 12, of a duct of one voxel 0.6 of the true one. Curved walls are rough: K of cubic lattices of balls
    comes out 2 to 3 % too small at 64 voxels a cell, the digitised balls' own error included.

    It takes 380 bytes for each voxel of the phase and hundreds to thousands of steps, the more the larger the volume:
    128³ voxels of which 60 % are open take 1020 steps, 45 s on one core and 0.45 GiB. `kozeny_carman_of` is a quick
    estimate.

    References
    ----------
    I. Ginzburg, F. Verhaeghe, D. d'Humières, "Two-relaxation-time lattice Boltzmann scheme", Commun. Comput. Phys. 3
    (2008) 427.

    Examples
    --------
    >>> import numpy as np
    >>> slit = np.zeros((4, 4, 6), bool)
    >>> slit[:, :, 1:4] = True
    >>> bool(abs(permeability(slit, axis=0).permeability - 0.5 * 3**2 / 12) < 1e-3)
    True
    """
    inside = as_mask(mask)
    setting = accepted_setting(
        mask,
        axis=axis,
        voxel_size_um=voxel_size_um,
        sides=sides,
        tolerance=tolerance,
        max_iterations=MOST_STEPS if max_iterations is None else max_iterations,
    )
    voxel = as_voxel_size(voxel_size_um, mask)
    if max(setting.spacing) > (1 + EQUAL) * min(setting.spacing):
        raise ValueError(f"voxel_size_um is {voxel}; the flow is solved on cubes only: resample the volume")
    if inside.all():
        raise ValueError("mask is True everywhere; without walls nothing resists the flow: is it the right phase?")
    through = conducting_part(setting.along_flux(inside), setting, "mask")
    from evaluate.transport.stokes_lattice import solve_stokes

    found = solve_stokes(
        through, periodic=setting.periodic, tolerance=setting.tolerance, max_iterations=setting.max_iterations
    )
    return Permeability(
        permeability=found.permeability * (voxel[0] if voxel else 1.0) ** 2,
        porosity=np.count_nonzero(inside) / inside.size,
        connected=np.count_nonzero(through) / np.count_nonzero(inside),
        axis=setting.axis,
        boundary=setting.boundary,
        residual=found.imbalance,
        iterations=found.iterations,
        converged=found.converged,
        unit="um" if voxel else "voxel",
    )
