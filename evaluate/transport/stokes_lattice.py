"""Creeping flow through a voxel grid by the lattice Boltzmann method with two relaxation times."""

from typing import Any, NamedTuple

import numba
import numpy as np

from evaluate.transport.thread_shares import on_few_threads

__all__ = ["Flow", "solve_stokes"]

# Nineteen velocities, the rest first, then each followed by its opposite.
HALF = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1))
VELOCITY = np.array([(0, 0, 0), *(v for e in HALF for v in (e, tuple(-c for c in e)))])
WEIGHT = np.array([1 / 3] + [1 / 18] * 6 + [1 / 36] * 12)
OPPOSITE = np.array([0] + [q - 1 + 2 * (q % 2) for q in range(1, 19)])
MIRRORED = np.array(
    [[VELOCITY.tolist().index((e * (1 - 2 * (np.arange(3) == axis))).tolist()) for e in VELOCITY] for axis in range(3)]
)
# (1/ω+ - 1/2) (1/ω- - 1/2). 3/16 puts a flat wall halfway between voxels, but the mean over a slit of w voxels is then
# too large by 1/(2 w²), since the midpoint rule is that much off for a parabola; 1/8 makes the mean right for every w.
MAGIC = 1 / 8
EZ, EY, EX = VELOCITY.T.astype(float).copy()
FORCE = 1.0
CHUNK = 4096
CHECK_EVERY = 20


class Flow(NamedTuple):
    """Creeping flow along the first axis between two faces of equal pressure, driven by a uniform force.

    Attributes
    ----------
    permeability : float
        In voxels².
    imbalance : float
        (largest - smallest) / largest flux among the planes between voxels, both faces included.
    iterations : int
        Steps.
    converged : bool
        Whether the imbalance and the change that is still to come are within the tolerance.
    """

    permeability: float
    imbalance: float
    iterations: int
    converged: bool


@on_few_threads
def solve_stokes(open_to_flow: np.ndarray, *, periodic: bool, tolerance: float, max_iterations: int) -> Flow:
    """Step towards the steady flow through the voxels that are True, all connected to both ends of the first axis.

    Notes
    -----
    Linear collisions with two relaxation times around a resting fluid of density 1 (I. Ginzburg, F. Verhaeghe,
    D. d'Humières, Commun. Comput. Phys. 3 (2008) 427); at a given product of the two the steady state does not depend
    on the viscosity, which is chosen for speed alone. What meets a wall halfway to the next voxel goes back. At the two
    faces the flow goes on as its own mirror image with the sign changed, which is the same as a pressure that is fixed;
    at the sides as its mirror image, or around.
    """
    number = np.full(open_to_flow.shape, -1, np.int64)
    count = np.count_nonzero(open_to_flow)
    number[open_to_flow] = np.arange(count)
    source = np.empty((19, count), np.int32 if 19 * count < 2**31 else np.int64)
    _sources(number, count, periodic, source)
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(open_to_flow, axis=(1, 2)))])
    del number
    viscosity = _quick_viscosity(open_to_flow)
    area = open_to_flow[0].size
    f, streamed = np.zeros((2, 19, count))
    found: list[float] = [0.0]
    before = np.inf
    for done in range(1, max_iterations + 1):
        _step(f, streamed, source, 3 * viscosity + 0.5, FORCE)
        f, streamed = streamed, f
        if done % CHECK_EVERY and done != max_iterations:
            continue
        flux = _fluxes(f, source, starts) * viscosity / (FORCE * area)
        found.append(float(flux.mean()))
        change = abs(found[-1] - found[-2])
        # Changes fall geometrically in the end; the sum of those to come follows from the last two.
        to_come = change * change / (before - change) if change < before else np.inf
        before = change
        imbalance = float((flux.max() - flux.min()) / np.abs(flux).max())
        converged = bool(imbalance <= tolerance and max(to_come, change) <= tolerance * found[-1])
        if converged:
            break
    return Flow(found[-1], imbalance, done, converged)


def _quick_viscosity(inside: np.ndarray) -> float:
    """Balance the two that take time: friction across the pores, sound that friction damps along the volume."""
    walls = sum(np.count_nonzero(np.diff(inside.view(np.int8), axis=axis)) for axis in range(3))
    width = 4 * np.count_nonzero(inside) / max(walls, 1)
    return float(np.clip(0.07 * width**2 / len(inside), 0.05, 1.0))


@numba.njit(cache=True)
def _sources(number: Any, count: int, periodic: bool, source: Any) -> None:
    """Find where each population of each open voxel comes from: a flat index, or -1 - index if its sign changes."""
    nz, ny, nx = number.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                i = number[z, y, x]
                if i < 0:
                    continue
                for q in range(19):
                    c, b, a, population = _origin(number.shape, (z, y, x), q, periodic)
                    j = number[c, b, a]
                    if j < 0 or _pinched(number, (z, y, x), (c, b, a)):
                        source[q, i] = OPPOSITE[q] * count + i
                    elif 0 <= z - VELOCITY[q, 0] < nz:
                        source[q, i] = population * count + j
                    else:
                        source[q, i] = -1 - (population * count + j)


@numba.njit(cache=True)
def _origin(shape: Any, place: Any, q: int, periodic: bool) -> Any:
    """Voxel that a velocity comes from, and as which velocity it left there."""
    z, y, x = place[0] - VELOCITY[q, 0], place[1] - VELOCITY[q, 1], place[2] - VELOCITY[q, 2]
    if z < 0 or z >= shape[0]:
        z, q = place[0], MIRRORED[0, q]
    if periodic:
        return z, y % shape[1], x % shape[2], q
    if y < 0 or y >= shape[1]:
        y, q = place[1], MIRRORED[1, q]
    if x < 0 or x >= shape[2]:
        x, q = place[2], MIRRORED[2, q]
    return z, y, x, q


@numba.njit(cache=True)
def _pinched(number: Any, one: Any, other: Any) -> bool:
    """Whether two voxels across an edge have walls on both sides of it: nothing flows through an edge."""
    z, y, x = one
    c, b, a = other
    if z == c:
        return y != b and x != a and number[z, b, x] < 0 and number[z, y, a] < 0
    if y == b:
        return x != a and number[c, y, x] < 0 and number[z, y, a] < 0
    return number[c, y, x] < 0 and number[z, b, x] < 0


@numba.njit(cache=True, parallel=True, fastmath=True)
def _step(f: Any, out: Any, source: Any, time: float, force: float) -> None:
    """Stream and collide; `time` is the relaxation time of the even parts, which makes the viscosity."""
    even, odd = 1 / time, 1 / (0.5 + MAGIC / (time - 0.5))
    count, flat = f.shape[1], f.ravel()
    for chunk in numba.prange((count + CHUNK - 1) // CHUNK):
        arrived = np.empty(19)
        for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, count)):
            density, jz, jy, jx = 0.0, force / 2, 0.0, 0.0
            for q in range(19):
                s = source[q, i]
                arrived[q] = flat[s] if s >= 0 else -flat[-1 - s]
                density += arrived[q]
            for q in range(1, 19, 2):
                difference = arrived[q] - arrived[q + 1]
                jz += EZ[q] * difference
                jy += EY[q] * difference
                jx += EX[q] * difference
            out[0, i] = arrived[0] - even * (arrived[0] - WEIGHT[0] * density)
            for q in range(1, 19, 2):
                along = 3 * WEIGHT[q] * (EZ[q] * jz + EY[q] * jy + EX[q] * jx)
                plus, minus = (arrived[q] + arrived[q + 1]) / 2, (arrived[q] - arrived[q + 1]) / 2
                plus -= even * (plus - WEIGHT[q] * density)
                minus += (1 - odd / 2) * 3 * WEIGHT[q] * EZ[q] * force - odd * (minus - along)
                out[q, i], out[q + 1, i] = plus + minus, plus - minus


@numba.njit(cache=True, parallel=True)
def _fluxes(f: Any, source: Any, starts: Any) -> Any:
    """Flux through the planes between voxels, the two faces included."""
    count, nz = f.shape[1], starts.size - 1
    flat = f.ravel()
    up, down = np.zeros(nz + 1), np.zeros(nz + 1)
    for z in numba.prange(nz):
        for q in range(1, 19):
            total = 0.0
            for i in range(starts[z], starts[z + 1]):
                s = source[q, i]
                if s < 0:
                    # What leaves there is the same with the other sign and the other way.
                    total -= 2 * flat[-1 - s]
                elif s != OPPOSITE[q] * count + i:
                    total += flat[s]
            if VELOCITY[q, 0] > 0:
                up[z] += total
            elif VELOCITY[q, 0] < 0:
                down[z + 1] += total
    return up - down
