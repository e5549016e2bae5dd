"""Guidance by measured structure: the clean estimate is moved until its fractions, surface and S2 are those wanted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generative.noise_schedule import NoiseSchedule
from generative.walking import Estimate

__all__ = ["Guidance", "StructureTargets", "measure_targets", "soft_phases", "soft_surface", "soft_two_point"]

# Added to variances that are divided by, so that a phase of next to nothing does not rule.
LEAST_VARIANCE = 1e-3


@dataclass(frozen=True, eq=False)
class StructureTargets:
    """What the structure of each phase should be, per volume; made by `measure_targets`.

    Attributes
    ----------
    fractions : ndarray of float64, shape (n,)
        Volume fractions.
    surface : ndarray of float64, shape (n,), optional
        Specific surface in 1/voxel; of one slice (a micrograph) None.
    s2 : ndarray of float64, shape (n, r_max + 1)
        Two-point correlation in bins of distance 0, 1, …, r_max voxels.
    """

    fractions: NDArray[np.float64]
    surface: NDArray[np.float64] | None
    s2: NDArray[np.float64]


def measure_targets(labels: Any, n_phases: int, r_max: int) -> StructureTargets:
    """Measure what generated volumes should be like.

    Parameters
    ----------
    labels : array_like, or a list of them
        ``(Z, Y, X)`` labels 0, …, n - 1. One slice ``(1, Y, X)`` stands for an isotropic material: its S2 is that of
        space. Of several volumes the mean, weighted by their voxels.
    n_phases : int
        n.
    r_max : int
        Largest distance of S2, in voxels; below the smallest side that is not 1. It must also be below the sides of
        the windows that are guided.

    Returns
    -------
    StructureTargets
        Of the true, hard labels, with free borders: `evaluate.two_point` and `evaluate.minkowski_of_phases`.

    Raises
    ------
    ValueError
        As these two do; or if there are no labels or fewer than two phases.
    """
    import evaluate

    volumes = list(labels) if isinstance(labels, list | tuple) else [labels]
    if not volumes:
        raise ValueError("no labels are given; give a labelled volume, or several")
    if not isinstance(n_phases, int | np.integer) or n_phases < 2:
        raise ValueError(f"n_phases is {n_phases!r}; give a whole number of at least 2")
    arrays = [np.asarray(volume) for volume in volumes]
    weights = np.array([array.size for array in arrays], dtype=float)
    s2 = [[evaluate.two_point(array == k, r_max=r_max).s2 for k in range(n_phases)] for array in arrays]
    mean = np.tensordot(weights / weights.sum(), np.array(s2), axes=1)
    surface = None
    if all(min(array.shape) > 1 for array in arrays):
        each = [
            [phase.specific_surface for phase in evaluate.minkowski_of_phases(a, n_phases=n_phases)] for a in arrays
        ]
        surface = np.tensordot(weights / weights.sum(), np.array(each), axes=1)
    return StructureTargets(mean[:, 0].copy(), surface, mean)


def soft_phases(clean: Tensor, *, temperature: float) -> Tensor:
    """Return how much of each phase is at each voxel, adding up to 1: a softmax over the channels.

    Parameters
    ----------
    clean : Tensor
        ``(C, z, y, x)``, larger = more of that phase.
    temperature : float
        In units of the channels. Towards 0 all is given to the largest channel, as labels are decoded.
    """
    return torch.softmax(clean / temperature, dim=0)


def soft_two_point(phases: Tensor, *, r_max: int, periodic: bool = False) -> Tensor:
    """Two-point correlation of each soft phase.

    Parameters
    ----------
    phases : Tensor
        ``(C, z, y, x)``.
    r_max : int
        Largest distance, in voxels: below the smallest side that is not 1, or at most half of it if periodic.
    periodic : bool
        Whether opposite faces touch.

    Returns
    -------
    Tensor
        ``(C, r_max + 1)``, the mean product of two voxels in bins of their distance. Of hard phases it is that of
        `evaluate.two_point`, to rounding.

    Raises
    ------
    ValueError
        If `r_max` is out of its range.
    """
    shape = tuple(phases.shape[1:])
    sides = [n for n in shape if n > 1]
    last = min((n // 2 if periodic else n - 1 for n in sides), default=0)
    if not 0 <= r_max <= last:
        raise ValueError(f"r_max is {r_max}; in windows of {shape} voxels it must be between 0 and {last}")
    lags = [min(r_max, n - 1) for n in shape]
    sizes = shape if periodic else tuple(n + lag for n, lag in zip(shape, lags, strict=True))
    spectrum = torch.fft.rfftn(phases, s=sizes, dim=(1, 2, 3))
    hits = torch.fft.irfftn(spectrum.abs().square(), s=sizes, dim=(1, 2, 3))
    where, average = _bins(shape, tuple(lags), r_max, periodic)
    picked = hits[:, *(torch.from_numpy(w % n) for w, n in zip(where, sizes, strict=True))]
    # One matrix product: sums that are scattered into bins differ from run to run on an accelerator.
    return picked @ torch.from_numpy(average).to(picked)


def _bins(
    shape: tuple[int, ...], lags: tuple[int, ...], r_max: int, periodic: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the displacements (3, L) of one half-space, and the weights (L, r_max + 1) that average each bin."""
    axes = [np.arange(lags[0] + 1), *(np.arange(-lag, lag + 1) for lag in lags[1:])]
    where = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    bins = np.floor(np.sqrt((where**2).sum(axis=0)) + 0.5).astype(int)
    where, bins = where[:, bins <= r_max], bins[bins <= r_max]
    pairs = np.ones(where.shape[1]) * math.prod(shape)
    if not periodic:
        pairs = math.prod(n - abs(w) for n, w in zip(shape, where, strict=True)).astype(float)
    # Displacements of z = 0 come with their opposites.
    share = np.where(where[0] > 0, 2.0, 1.0)
    average = np.zeros((len(bins), r_max + 1))
    average[np.arange(len(bins)), bins] = share
    return where, average / (pairs * share @ (average > 0))


def soft_surface(phases: Tensor, *, periodic: bool = False) -> Tensor:
    """Specific surface of each soft phase, in 1/voxel.

    Crofton's formula over the 13 directions of the lattice, in which a step from a voxel of content p to one of q
    crosses the surface with the probability p (1 - q) + q (1 - p).

    Parameters
    ----------
    phases : Tensor
        ``(C, z, y, x)``, at least two voxels along each axis.
    periodic : bool
        Whether opposite faces touch; otherwise the window is the interior of something larger.

    Returns
    -------
    Tensor
        ``(C,)``. Of hard phases it is the ``specific_surface`` of `evaluate.minkowski`, to rounding. Voxels that are
        undecided count even among their like: two of content p by 2 p (1 - p).

    Raises
    ------
    ValueError
        If an axis has one voxel only.
    """
    shape = tuple(phases.shape[1:])
    if min(shape) < 2:
        raise ValueError(f"the window has {shape} voxels; a surface needs at least two along each axis")
    surface = phases.new_zeros(phases.shape[0])
    for step, weight in _steps():
        if periodic:
            here, there = phases, torch.roll(phases, [-s for s in step], dims=(1, 2, 3))
            share = [torch.ones(n).to(phases) for n in shape]
        else:
            near = [slice(max(0, -s), n - max(0, s)) for s, n in zip(step, shape, strict=True)]
            far = [slice(max(0, s), n - max(0, -s)) for s, n in zip(step, shape, strict=True)]
            here, there = phases[:, *near], phases[:, *far]
            share = [_pair_shares(n, moving=s != 0).to(phases) for s, n in zip(step, shape, strict=True)]
        crossing = here + there - 2 * here * there
        surface = surface + weight * torch.einsum("czyx,z,y,x->c", crossing, *share)
    return 2 * surface / math.prod(shape)


def _steps() -> list[tuple[tuple[int, int, int], float]]:
    """Return the 13 directions as steps, each with its weight over its length."""
    from evaluate.morphology.lattice import CORNERS, directions

    found = []
    for direction in directions((1.0, 1.0, 1.0)):
        first, second = direction.pairs[0]
        z, y, x = (int(s) for s in CORNERS[second] - CORNERS[first])
        found.append(((z, y, x), direction.weight / direction.length))
    return found


def _pair_shares(voxels: int, *, moving: bool) -> Tensor:
    """Return how much pairs of voxels count along an axis on which they are one step apart, or none.

    The outermost neighbourhoods stand for the half voxel beyond them too, as in `evaluate.minkowski`.
    """
    neighbourhoods = torch.ones(voxels - 1, dtype=torch.float64)
    neighbourhoods[0] += 0.5
    neighbourhoods[-1] += 0.5
    if moving:
        return neighbourhoods
    halves = torch.zeros(voxels, dtype=torch.float64)
    halves[:-1] += neighbourhoods / 2
    halves[1:] += neighbourhoods / 2
    return halves


@dataclass(frozen=True, eq=False)
class Guidance:
    r"""Moves clean estimates towards the targets, window by window.

    The loss L of x̂_0 is the mean square of three kinds of error, each in parts of its target: fractions and S2 over
    the variance φ (1 - φ), surfaces over the surface. x̂_0 is moved against the gradient by Polyak's step
    :math:`w L d / (g \cdot d)`, with g the gradient and d the direction, so that no learning rate depends on the
    size of the window, and never by more than `largest_move`.

    Every window is led to the same, intensive targets. In windows that are not large against the structure that takes
    away the scatter between windows which the material has: keep `weight` small, or the windows large.

    Parameters
    ----------
    targets : StructureTargets
        Of `measure_targets`.
    schedule : NoiseSchedule
        Of the model.
    weight : float
        w at the end of the walk, above 0; 2 solves a loss of one term at once, 1 halves its error with each move.
    moves : int
        Per step of the walk.
    from_signal : float
        In [0, 1): the guidance starts where √ᾱ is this. Before, x̂_0 is a blurred mean of what may come, whose
        structure means nothing; from there on w grows in proportion to ᾱ.
    temperature : float
        Of `soft_phases`. Voxels whose channels are much further apart than this cannot be moved; the larger it is, the
        more surface is seen in what is undecided, and the less the labels get.
    largest_move : float
        Root mean square of a move, in units of the channels.
    through_network : bool
        False: d = g, the gradient with respect to x̂_0, which costs no pass through the network [1]_. True: d = Jᵀ g
        with J = ∂x̂_0/∂x, the gradient with respect to the noisy volume [2]_ (of an exact posterior mean, J is its
        covariance in other units), which moves what the network believes can move, at the cost of `moves` passes
        backwards more and the memory of a training step.
    periodic : bool
        Whether opposite faces of a window touch (a single window that is the whole of a periodic volume).

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    .. [1] He et al., "Manifold Preserving Guided Diffusion", arXiv:2311.16424.
    .. [2] Chung et al., "Diffusion Posterior Sampling for General Noisy Inverse Problems", ICLR 2023.
    """

    targets: StructureTargets
    schedule: NoiseSchedule
    weight: float = 1.0
    moves: int = 2
    from_signal: float = 0.7
    temperature: float = 0.1
    largest_move: float = 0.1
    through_network: bool = False
    periodic: bool = False

    def __post_init__(self) -> None:
        for name in ("weight", "temperature", "largest_move"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number above 0")
        if not isinstance(self.moves, int) or self.moves < 1:
            raise ValueError(f"moves is {self.moves!r}; give a whole number of at least 1")
        if not 0 <= self.from_signal < 1:
            raise ValueError(f"from_signal is {self.from_signal}; give a number from 0 to below 1")

    def weight_at(self, timestep: int) -> float:
        """Return w at a time step: 0 where the noise is too strong."""
        signal = float(self.schedule.signal[timestep])
        return self.weight * signal**2 if signal >= self.from_signal else 0.0

    def loss(self, clean: Tensor) -> Tensor:
        """Return the loss of one clean estimate ``(C, z, y, x)``: 0 where it is as wanted, of the order of 1 at worst.

        Raises
        ------
        ValueError
            If the channels are not the phases of the targets, or the window is smaller than their reach.
        """
        phases = soft_phases(clean, temperature=self.temperature)
        wanted = [torch.from_numpy(t).to(phases) for t in (self.targets.fractions, self.targets.s2)]
        if len(phases) != len(wanted[0]):
            raise ValueError(f"the estimate has {len(phases)} channels and the targets are of {len(wanted[0])} phases")
        s2 = soft_two_point(phases, r_max=wanted[1].shape[1] - 1, periodic=self.periodic)
        variance = wanted[0] * (1 - wanted[0]) + LEAST_VARIANCE
        loss = ((phases.mean(dim=(1, 2, 3)) - wanted[0]) / variance).square().mean()
        loss = loss + ((s2 - wanted[1]) / variance[:, None])[:, 1:].square().mean()
        if self.targets.surface is not None:
            surface = torch.from_numpy(self.targets.surface).to(phases)
            found = soft_surface(phases, periodic=self.periodic)
            loss = loss + ((found - surface) / (surface + LEAST_VARIANCE)).square().mean()
        return loss

    def __call__(self, estimate: Estimate) -> Estimate:
        """Return an estimator ``(x, timestep, corners)`` → x̂_0 whose estimates are guided.

        Windows of a batch are guided one by one, so that none depends on its neighbours.
        """

        def guided(x: Tensor, timestep: int, corners: Sequence[Any]) -> Tensor:
            weight = self.weight_at(timestep)
            if weight == 0:
                return estimate(x, timestep, corners)
            if not self.through_network:
                return torch.stack([self._move(one, weight) for one in estimate(x, timestep, corners)])
            each = [
                self._move_through(estimate, x[i : i + 1], timestep, corners[i : i + 1], weight) for i in range(len(x))
            ]
            return torch.cat(each)

        return guided

    def _move(self, clean: Tensor, weight: float) -> Tensor:
        moved = clean.float()
        for _ in range(self.moves):
            loss, gradient = self._gradient(moved)
            moved = moved - self._step(loss, gradient, gradient, weight)
        return moved.to(clean)

    def _move_through(
        self, estimate: Estimate, x: Tensor, timestep: int, corners: Sequence[Any], weight: float
    ) -> Tensor:
        # Whoever walks may do so without gradients, which a tensor of inference mode could never have.
        with torch.inference_mode(False), torch.enable_grad():
            noisy = x.detach().clone().requires_grad_(True)
            clean = estimate(noisy, timestep, corners)
            moved = clean.detach()[0].float()
            for _ in range(self.moves):
                loss, gradient = self._gradient(moved)
                (direction,) = torch.autograd.grad(clean, noisy, gradient[None].to(clean), retain_graph=True)
                # The noisy windows lie on the CPU, and so does what comes back to them.
                moved = moved - self._step(loss, gradient, direction[0].to(gradient), weight)
        return moved[None].to(x)

    def _gradient(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            variable = clean.detach().clone().requires_grad_(True)
            loss = self.loss(variable)
            (gradient,) = torch.autograd.grad(loss, variable)
        return loss.detach(), gradient

    def _step(self, loss: Tensor, gradient: Tensor, direction: Tensor, weight: float) -> Tensor:
        """Return what is taken off: nothing where the direction does not lower the loss."""
        slope = (gradient * direction).sum()
        size = direction.square().mean().sqrt()
        tiny = torch.finfo(direction.dtype).tiny
        length = torch.minimum(weight * loss / slope.clamp(min=tiny), self.largest_move / size.clamp(min=tiny))
        return torch.where(slope > 0, length, torch.zeros_like(length)) * direction
