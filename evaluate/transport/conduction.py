"""Steady conduction through a voxel grid by conjugate gradients, preconditioned by multigrid."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from evaluate.transport import conduction_kernels as kernels
from evaluate.transport.thread_shares import on_few_threads

__all__ = ["Solution", "connected_through", "solve_conduction"]

Spacing = tuple[float, float, float]
# A grid with no more active voxels than this is solved directly.
FEW = 400
# Edges of a block that are this much longer than its shortest one are not doubled: a weak coupling is smoothed last.
LONG = 1.5


class Solution(NamedTuple):
    """Steady conduction along the first axis, between plates at potential 1 and 0.

    Attributes
    ----------
    conductivity : float
        Of the whole, in the unit of the conductivities given.
    imbalance : float
        (largest - smallest) / largest flux among the planes between voxels, the two plates included.
    iterations : int
        Of conjugate gradients.
    converged : bool
        Whether the imbalance is within the tolerance, and the excess of dissipation within its square.
    """

    conductivity: float
    imbalance: float
    iterations: int
    converged: bool


class _Grid(NamedTuple):
    """The finest grid, as the kernels take it."""

    labels: np.ndarray
    pair: np.ndarray
    weights: np.ndarray
    wrap: bool


@dataclasses.dataclass(frozen=True, eq=False)
class _Blocks:
    """A coarser grid of blocks of ``factors`` voxels of the next finer one.

    ``gz``, ``gy`` and ``gx`` are the conductances towards the next block along each axis, ``plates`` those to the two
    plates, ``inverse`` the inverse of their sum around a block (0 where nothing conducts).
    """

    factors: tuple[int, int, int]
    gz: np.ndarray
    gy: np.ndarray
    gx: np.ndarray
    plates: np.ndarray
    inverse: np.ndarray
    b: np.ndarray
    x: np.ndarray

    @property
    def operator(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.gz, self.gy, self.gx, self.inverse


def connected_through(conducts: np.ndarray, *, periodic: bool) -> tuple[np.ndarray, float, float]:
    """Find the voxels that are connected, face to face, to both ends of the first axis.

    Returns
    -------
    through : ndarray of bool
        Connected to both ends.
    from_low, from_high : float
        Fraction of the conducting voxels that are connected to the end at index 0, and to the other one.
    """
    reached = np.zeros(conducts.shape, np.uint8)
    for plane, bit in ((0, 1), (conducts.shape[0] - 1, 2)):
        kernels.flood(reached, conducts, plane, periodic, np.uint8(bit))
    many = max(np.count_nonzero(conducts), 1)
    low, high = (np.count_nonzero(reached & bit) / many for bit in (1, 2))
    return reached == 3, low, high


@on_few_threads
def solve_conduction(
    labels: np.ndarray,
    conductivities: np.ndarray,
    *,
    spacing: Spacing,
    periodic: bool,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    """Solve for the potential of a grid of conducting voxels.

    Parameters
    ----------
    labels : ndarray of uint8, C-contiguous
        0 does not conduct; the voxels of the other labels are all connected to both ends of the first axis.
    conductivities : ndarray, shape (n,)
        Of each label; 0 for label 0.
    spacing : tuple of float
        Edges of a voxel, in any unit.
    periodic : bool
        Whether the second and third axes wrap around; otherwise nothing flows through those sides.
    tolerance : float
        The imbalance that is small enough; see the notes.
    max_iterations : int
        When to give up.

    Notes
    -----
    The conductance between two voxels is the harmonic mean of theirs × area / distance, half a voxel's distance to the
    plates. Conjugate gradients run in double precision; the preconditioner, one W-cycle over blocks of 2 × 2 × 2 voxels
    with red-black Gauss-Seidel sweeps, in single precision. A block's conductances are the sums of those of its
    voxels, divided by the length that they bridge, so that seven neighbours remain seven.

    The conductivity is the dissipation of the field, whose error is of second order in that of the field, and never
    negative. Equal fluxes alone do not prove a solution: in a chain of voxels the linear start has them too. So the
    excess of dissipation, which the preconditioner estimates, must be within tolerance² as well.
    """
    grid = _Grid(labels, _pair_conductances(conductivities), (spacing[0] / np.array(spacing)) ** 2, periodic)
    levels = _coarsened(grid, spacing)
    direct = _DirectSolver(levels[-1])
    x, r, p, Ap = (np.zeros(labels.shape) for _ in range(4))
    z = np.zeros(labels.shape, np.float32)
    kernels.linear_start(*grid, x, r)
    plane_sums = r.sum(axis=(1, 2))
    alpha, zr, done, converged = 0.0, 0.0, 0, False
    while True:
        _precondition(grid, levels, direct, r, z)
        zr = kernels.search_direction(labels, z, r, Ap, p, alpha, zr)
        flux = _fluxes(grid, x, plane_sums)
        converged = bool(_spread(flux) <= tolerance and zr <= tolerance**2 * flux.max())
        if converged or done == max_iterations:
            break
        alpha = zr / kernels.apply_operator(*grid, p, Ap).sum()
        plane_sums = kernels.step(labels, alpha, p, Ap, x, r)
        done += 1
    through, dissipation = kernels.fluxes(*grid, x)
    n_planes, n_area = labels.shape[0], labels.shape[1] * labels.shape[2]
    return Solution(float(dissipation.sum()) * n_planes / n_area, _spread(through), done, converged)


def _pair_conductances(conductivities: np.ndarray) -> np.ndarray:
    """Harmonic means of the labels' conductivities, shape (n, n); 0 where one of the two does not conduct."""
    k = np.asarray(conductivities, dtype=float)
    total = k[:, None] + k
    return np.divide(2 * k[:, None] * k, total, out=np.zeros_like(total), where=total > 0)


def _fluxes(grid: _Grid, x: np.ndarray, plane_sums: np.ndarray) -> np.ndarray:
    """Flux through the planes between voxels; what a plane's residuals add up to is lost between its two faces."""
    entering = 2 * grid.weights[0] * np.sum(np.diag(grid.pair)[grid.labels[0]] * (1 - x[0]))
    return entering - np.concatenate(([0.0], np.cumsum(plane_sums)))


def _spread(flux: np.ndarray) -> float:
    return float((flux.max() - flux.min()) / np.abs(flux).max())


def _coarsened(grid: _Grid, spacing: Spacing) -> list[_Blocks]:
    """Return coarser and coarser grids, until one has few voxels left."""
    levels: list[_Blocks] = []
    shape, edges = grid.labels.shape, np.array(spacing)
    while not levels or (np.count_nonzero(levels[-1].inverse) > FEW and max(shape) > 1):
        shortest = min((edge for edge, n in zip(edges, shape, strict=True) if n > 1), default=1.0)
        doubled = [n > 1 and edge < LONG * shortest for n, edge in zip(shape, edges, strict=True)]
        factors = (1 + doubled[0], 1 + doubled[1], 1 + doubled[2])
        levels.append(_blocks_of(levels[-1] if levels else grid, shape, factors))
        shape, edges = levels[-1].x.shape, edges * factors
    return levels


def _blocks_of(finer: _Grid | _Blocks, shape: tuple[int, ...], factors: tuple[int, int, int]) -> _Blocks:
    blocks = tuple(-(-n // factor) for n, factor in zip(shape, factors, strict=True))
    gz, gy, gx, plates = (np.zeros(blocks, np.float32) for _ in range(4))
    if isinstance(finer, _Grid):
        kernels.block_labels(*finer, factors, gz, gy, gx, plates)
    else:
        kernels.block_faces(finer.gz, finer.gy, finer.gx, finer.plates, factors, gz, gy, gx, plates)
    for g, n in zip((gy, gx), blocks[1:], strict=True):
        if n == 1:
            # Around the end a block is its own neighbour.
            g[:] = 0
    total = kernels.face_sums(gz, gy, gx, plates)
    inverse = np.zeros(blocks, np.float32)
    np.divide(1, total, out=inverse, where=total > 0, casting="unsafe")
    return _Blocks(factors, gz, gy, gx, plates, inverse, np.zeros(blocks, np.float32), np.zeros(blocks, np.float32))


class _DirectSolver:
    """The coarsest grid, factorised."""

    def __init__(self, level: _Blocks) -> None:
        import scipy.linalg

        self.level = level
        self.active = np.flatnonzero(level.inverse)
        index = np.zeros(level.inverse.size, np.intp)
        index[self.active] = np.arange(self.active.size)
        index = index.reshape(level.inverse.shape)
        matrix = np.diag(1.0 / level.inverse.ravel()[self.active].astype(float))
        for axis, g in enumerate((level.gz, level.gy, level.gx)):
            # The last faces along z are 0: nothing wraps around there.
            i, j = index[g > 0], np.roll(index, -1, axis)[g > 0]
            np.add.at(matrix, (i, j), -g[g > 0])
            np.add.at(matrix, (j, i), -g[g > 0])
        self._factor: Any = scipy.linalg.cho_factor(matrix)

    def solve(self) -> None:
        """Fill the level's `x`."""
        import scipy.linalg

        right = self.level.b.ravel()[self.active].astype(float)
        self.level.x.ravel()[self.active] = scipy.linalg.cho_solve(self._factor, right)


def _precondition(grid: _Grid, levels: list[_Blocks], direct: _DirectSolver, b: np.ndarray, x: np.ndarray) -> None:
    """Overwrite `x` with nearly A⁻¹ b, the same symmetric operation each time."""
    x[:] = 0
    kernels.smooth_labels(*grid, b, x, 0)
    kernels.smooth_labels(*grid, b, x, 1)
    kernels.restrict_labels(*grid, b, x, levels[0].factors, levels[0].b)
    _cycle(levels, 0, direct)
    kernels.prolong_labels(grid.labels, levels[0].factors, levels[0].x, x)
    kernels.smooth_labels(*grid, b, x, 1)
    kernels.smooth_labels(*grid, b, x, 0)


def _cycle(levels: list[_Blocks], k: int, direct: _DirectSolver) -> None:
    """Fill the `x` of level `k` by a W-cycle: each level visits the next one twice."""
    if k == len(levels) - 1:
        direct.solve()
        return
    here, following = levels[k], levels[k + 1]
    here.x[:] = 0
    for _ in range(2):
        kernels.smooth_faces(*here.operator, here.b, here.x, 0)
        kernels.smooth_faces(*here.operator, here.b, here.x, 1)
        kernels.restrict_faces(*here.operator, here.b, here.x, following.factors, following.b)
        _cycle(levels, k + 1, direct)
        kernels.prolong_faces(here.inverse, following.factors, following.x, here.x)
        kernels.smooth_faces(*here.operator, here.b, here.x, 1)
        kernels.smooth_faces(*here.operator, here.b, here.x, 0)
