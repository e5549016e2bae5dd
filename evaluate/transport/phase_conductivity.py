"""Effective conductivity of a volume in which each phase has its own."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from evaluate.accepted_input import as_labels
from evaluate.transport.solve_arguments import Setting, accepted_setting, conducting_part

__all__ = ["EffectiveConductivity", "effective_conductivity"]

LARGEST_CONTRAST = 1e9


@dataclasses.dataclass(frozen=True)
class EffectiveConductivity:
    """Conduction through several phases; made by `effective_conductivity`.

    Attributes
    ----------
    conductivity : float
        Of the whole, in the unit of the conductivities given. The same mathematics holds for diffusivity, thermal
        conductivity and permittivity.
    parallel_bound : float
        Arithmetic mean of the voxels' conductivities, reached by layers along the flux; none can be larger.
    series_bound : float
        Harmonic mean, reached by layers across the flux; none can be smaller. 0 if a phase does not conduct.
    axis : int
        The direction of the flux.
    boundary : str
        ``"fixed at both faces, no-flux sides"`` or ``"fixed at both faces, periodic sides"``.
    residual : float
        (largest - smallest) / largest flux among the planes between voxels; 0 if what enters leaves.
    iterations : int
        Of the solver.
    converged : bool
        Whether `residual` is within the tolerance and the dissipation of the field within its square, as far as the
        preconditioner can tell.
    """

    conductivity: float
    parallel_bound: float
    series_bound: float
    axis: int
    boundary: str
    residual: float
    iterations: int
    converged: bool


def effective_conductivity(
    labels: Any,
    *,
    conductivities: Sequence[float],
    axis: int,
    voxel_size_um: Sequence[float] | None = None,
    sides: Literal["no-flux", "periodic"] = "no-flux",
    tolerance: float = 1e-4,
    max_iterations: int | None = None,
) -> EffectiveConductivity:
    """Measure the effective conductivity of a volume of several phases.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X)
        Labels; phase ``p`` has conductivity ``conductivities[p]``.
    conductivities : sequence of float
        One for each phase, not negative, in any one unit. 0 is an insulator.
    axis : int
        0, 1 or 2: z, y or x.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel; only their ratios matter. By default that of `labels`, if it is a
        `volume.Volume` that knows it; otherwise voxels are cubes.
    sides : {"no-flux", "periodic"}
        What happens at the four sides along the axis.
    tolerance : float
        Largest accepted relative difference of the flux through all the planes across the axis.
    max_iterations : int, optional
        When to give up, with ``converged=False``; by default 500.

    Returns
    -------
    EffectiveConductivity

    Raises
    ------
    NoPathError
        The phase does not connect the two faces; it is a ValueError.
    ValueError
        `labels` is not 3-D or does not hold labels, or a label without a conductivity; a conductivity that is negative
        or not finite; other arguments as in `tortuosity`.

    Notes
    -----
    Finite volumes as in `tortuosity`, with the harmonic mean of two neighbours' conductivities between them, which is
    exact for layers across or along the flux. For other interfaces the error is of first order in the voxel size
    and grows with the contrast.

    With one conducting phase of conductivity 1 this is the effective diffusivity of `tortuosity`.

    Examples
    --------
    >>> import numpy as np
    >>> layers = np.arange(4).reshape(4, 1, 1) % 2 * np.ones((4, 3, 3), int)
    >>> round(effective_conductivity(layers, conductivities=(1, 3), axis=0).conductivity, 9)
    1.5
    """
    array = as_labels(labels, "labels", ndim=(3,))
    shares = np.bincount(array.ravel()) / array.size
    values = _accepted_conductivities(conductivities, shares.size)[: shares.size]
    setting = accepted_setting(
        labels,
        axis=axis,
        voxel_size_um=voxel_size_um,
        sides=sides,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    found = _solved(setting.along_flux(array.astype(np.uint8, copy=False)), values, setting)
    present = values[shares > 0]
    return EffectiveConductivity(
        conductivity=found.conductivity,
        parallel_bound=float(shares @ values),
        series_bound=float(1 / np.sum(shares[shares > 0] / present)) if present.min() > 0 else 0.0,
        axis=setting.axis,
        boundary=setting.boundary,
        residual=found.imbalance,
        iterations=found.iterations,
        converged=found.converged,
    )


def _solved(along: np.ndarray, values: np.ndarray, setting: Setting) -> Any:
    """Solve with the largest conductivity as the unit; phases of equal conductivity are one."""
    from evaluate.transport.conduction import solve_conduction

    through = conducting_part((values > 0)[along], setting, "labels")
    kinds = np.unique(np.append(values, 0.0))
    kind_of = np.searchsorted(kinds, values).astype(np.min_scalar_type(kinds.size))
    found = solve_conduction(
        np.where(through, kind_of[along], kind_of.dtype.type(0)),
        kinds / kinds[-1],
        spacing=setting.spacing,
        periodic=setting.periodic,
        tolerance=setting.tolerance,
        max_iterations=setting.max_iterations,
    )
    return found._replace(conductivity=found.conductivity * float(kinds[-1]))


def _accepted_conductivities(conductivities: Any, n_phases: int) -> np.ndarray:
    try:
        values = np.asarray(conductivities, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"conductivities is {conductivities!r}; give one number for each phase") from None
    if values.ndim != 1 or values.size < n_phases:
        raise ValueError(
            f"conductivities has shape {values.shape} and labels holds {n_phases} phases (0 to {n_phases - 1}); "
            "give one number for each phase"
        )
    if not (np.all(np.isfinite(values)) and np.all(values >= 0)):
        raise ValueError(f"conductivities is {conductivities!r}; each must be finite and not negative")
    conducting = values[values > 0]
    if conducting.size and conducting.max() > LARGEST_CONTRAST * conducting.min():
        raise ValueError(
            f"conductivities go from {conducting.min():g} to {conducting.max():g}; more than {LARGEST_CONTRAST:g} : 1 "
            "cannot be solved: give the smaller ones as 0"
        )
    return values
