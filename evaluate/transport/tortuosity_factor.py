"""Tortuosity factor of a phase by steady diffusion between two opposite faces."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from evaluate.accepted_input import as_mask
from evaluate.transport.solve_arguments import Setting, accepted_setting, conducting_part

__all__ = ["Tortuosity", "tortuosity"]

SOLVERS = ("multigrid", "taufactor")
# TauFactor 1.2.1 takes a voxel whose conductances add up to more than this for a solid one.
TAUFACTOR_LIMIT = 8
MOST_SWEEPS = 20_000


@dataclasses.dataclass(frozen=True)
class Tortuosity:
    """Diffusion through a phase; made by `tortuosity`. All numbers are without unit.

    Attributes
    ----------
    tortuosity : float
        The tortuosity *factor* τ = ε D0 / Deff ≥ 1. What others call the (geometric) tortuosity, a length over a
        length, is its square root: τ = τ_geometric².
    effective_diffusivity : float
        Deff / D0: flux density through the whole cross-section over that of the open space, at the same gradient.
    formation_factor : float
        D0 / Deff = τ / ε.
    porosity : float
        ε, the fraction of the whole volume that is the phase, its dead ends and isolated parts included.
    connected : float
        Fraction of the phase that is connected to both faces; the rest carries no flux.
    axis : int
        The direction of the flux.
    boundary : str
        ``"fixed at both faces, no-flux sides"`` or ``"fixed at both faces, periodic sides"``.
    solver : str
        ``"multigrid"`` or ``"taufactor"``.
    residual : float
        (largest - smallest) / largest flux among the planes between voxels; 0 if what enters leaves.
    iterations : int
        Of the solver.
    converged : bool
        Whether `residual` is within the tolerance and the field no longer changes: for multigrid, its dissipation is
        within tolerance² of the least possible one as far as the preconditioner can tell; for TauFactor, τ has
        changed by less than 0.002 in the last 100 sweeps.
    """

    tortuosity: float
    effective_diffusivity: float
    formation_factor: float
    porosity: float
    connected: float
    axis: int
    boundary: str
    solver: str
    residual: float
    iterations: int
    converged: bool


def tortuosity(
    mask: Any,
    *,
    axis: int,
    voxel_size_um: Sequence[float] | None = None,
    sides: Literal["no-flux", "periodic"] = "no-flux",
    tolerance: float = 1e-4,
    max_iterations: int | None = None,
    solver: Literal["multigrid", "taufactor"] = "multigrid",
    device: str = "cpu",
) -> Tortuosity:
    r"""Measure the tortuosity factor of a phase along an axis.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase that conducts, such as ``labels == 0`` for the pores.
    axis : int
        0, 1 or 2: z, y or x.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel; only their ratios matter. By default that of `mask`, if it is a
        `volume.Volume` that knows it; otherwise voxels are cubes.
    sides : {"no-flux", "periodic"}
        What happens at the four sides along the axis: nothing passes, or opposite sides touch.
    tolerance : float
        Largest accepted relative difference of the flux through all the planes across the axis, above 0 and below 1.
    max_iterations : int, optional
        When to give up, with ``converged=False``. By default 500 for multigrid, 20 000 sweeps for TauFactor.
    solver : {"multigrid", "taufactor"}
        ``"multigrid"``: conjugate gradients of our own, in double precision. ``"taufactor"``: the same equations by
        TauFactor's over-relaxation in single precision, as a second opinion; it must be installed.
    device : str
        Where TauFactor runs: ``"cpu"``, ``"cuda"``. The other solver runs on the processor.

    Returns
    -------
    Tortuosity

    Raises
    ------
    NoPathError
        The phase does not connect the two faces; it is a ValueError.
    ValueError
        `mask` is empty, not 3-D or holds more than 0 and 1; `axis`, `sides`,
        `tolerance`, `max_iterations` or `solver` out of range; voxel edges more than 100 : 1 apart; anisotropic
        voxels that TauFactor gets wrong, or anisotropic and periodic ones, which it does not have.

    Notes
    -----
    Solves :math:`\nabla \cdot (D_0 \nabla c) = 0` in the phase by finite volumes, one per voxel, with c = 1 and 0 on
    the outer faces of the first and the last layer (half a voxel from their middles) and no flux into the other
    phases, as TauFactor does [1]_. Two voxels of the phase are connected through faces only.

    Voxel walls are rough: τ of a slit at 45° to the grid, 2, comes out as 2.2 at 8 voxels across and 2.08 at 16. The
    error is of first order in the voxel size; `measure_coarsened` extrapolates it.

    Multigrid takes 4 to 30 iterations at any size, TauFactor's sweeps grow with the length; at equal imbalance of the
    flux multigrid is faster on a processor and its τ nearer to the solution, as ``benchmarks/transport.py`` shows.
    TauFactor 1.2.1 itself takes pore voxels for solid ones if voxels are long along the flux (slices twice as thick as
    the pixels: no flux at all, or a τ of 47 instead of 2.1); that is refused here.

    References
    ----------
    .. [1] S. J. Cooper et al., "TauFactor: An open-source application for calculating tortuosity factors from
       tomographic data", SoftwareX 5 (2016) 203.

    Examples
    --------
    >>> import numpy as np
    >>> straight = np.zeros((8, 5, 5), bool)
    >>> straight[:, 2, 1:4] = True
    >>> round(tortuosity(straight, axis=0).effective_diffusivity, 9)
    0.12
    """
    inside = as_mask(mask)
    if solver not in SOLVERS:
        raise ValueError(f"solver is {solver!r}; it must be one of {', '.join(map(repr, SOLVERS))}")
    if max_iterations is None and solver == "taufactor":
        max_iterations = MOST_SWEEPS
    setting = accepted_setting(
        mask,
        axis=axis,
        voxel_size_um=voxel_size_um,
        sides=sides,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    through = conducting_part(setting.along_flux(inside), setting, "mask")
    found = _by_multigrid(through, setting) if solver == "multigrid" else _by_taufactor(through, setting, device)
    fraction = np.count_nonzero(inside) / inside.size
    return Tortuosity(
        tortuosity=fraction / found.diffusivity,
        effective_diffusivity=found.diffusivity,
        formation_factor=1 / found.diffusivity,
        porosity=fraction,
        connected=np.count_nonzero(through) / np.count_nonzero(inside),
        axis=setting.axis,
        boundary=setting.boundary,
        solver=solver,
        residual=found.residual,
        iterations=found.iterations,
        converged=found.converged,
    )


class _Found(NamedTuple):
    diffusivity: float
    residual: float
    iterations: int
    converged: bool


def _by_multigrid(through: np.ndarray, setting: Setting) -> _Found:
    from evaluate.transport.conduction import solve_conduction

    return _Found(
        *solve_conduction(
            through.view(np.uint8),
            np.array([0.0, 1.0]),
            spacing=setting.spacing,
            periodic=setting.periodic,
            tolerance=setting.tolerance,
            max_iterations=setting.max_iterations,
        )
    )


def _by_taufactor(through: np.ndarray, setting: Setting, device: str) -> _Found:
    cubic = len(set(setting.spacing)) == 1
    if setting.periodic and not cubic:
        raise ValueError("TauFactor has no periodic sides for anisotropic voxels; use solver='multigrid'")
    if not cubic:
        _check_taufactor_spacing(setting.spacing)
    try:
        import taufactor
    except ImportError:
        raise ValueError("solver is 'taufactor', which is not installed; use solver='multigrid'") from None
    volume = through.view(np.uint8)
    if setting.periodic:
        solver = taufactor.PeriodicSolver(volume, device=device)
    elif cubic:
        solver = taufactor.Solver(volume, device=device)
    else:
        solver = taufactor.AnisotropicSolver(volume, setting.spacing, device=device)
    with contextlib.redirect_stdout(io.StringIO()):
        solver.solve(iter_limit=setting.max_iterations, verbose=False, conv_crit=setting.tolerance)
    flux = solver.flux_1d[0]
    return _Found(
        diffusivity=float(solver.D_rel[0]),
        residual=float((flux.max() - flux.min()) / abs(flux).max()),
        iterations=int(solver.iter),
        converged=bool(solver.converged),
    )


def _check_taufactor_spacing(spacing: tuple[float, float, float]) -> None:
    around = sum(2 * (spacing[0] / edge) ** 2 for edge in spacing)
    if around > TAUFACTOR_LIMIT:
        raise ValueError(
            f"voxels of {spacing} (along the flux first) are too long along the flux for TauFactor, which then takes "
            "pore voxels for solid ones; use solver='multigrid'"
        )
