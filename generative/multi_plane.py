"""A volume from one micrograph: an estimator of pictures made one of volumes, plane by plane along each axis."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

import volume
from generative.noise_schedule import NoiseSchedule
from generative.patches import Material, read_material
from generative.walking import Estimate

__all__ = ["multi_plane", "read_micrograph", "voxel_estimate"]

# Different contents of a voxel that are told apart; more are drawn from.
MOST_CONTENTS = 64


def multi_plane(
    estimate: Estimate,
    *,
    axes: Sequence[int] = (0, 1, 2),
    timesteps: Sequence[int] | None = None,
    alone: Estimate | None = None,
    evidence: float = 1.5,
    planes_at_once: int = 64,
) -> Estimate:
    r"""Make an estimator of volumes from one of pictures.

    The planes normal to each of `axes` are estimated as pictures: along all axes, whose estimates are averaged, or,
    given `timesteps`, along one axis at each step in turn [1]_, [2]_.

    A picture's estimate knows less than a volume's, and an average of them stays too close to the mean: of a Gaussian
    field of correlation exp(-(r/4)²) a quarter of the variance is left, and S2 falls too early. `alone` mends that.
    What the planes say beyond what a voxel by itself says is counted `evidence` times,
    :math:`\hat x_0 = v + e (\bar p - v)`: each of the three lattice directions lies in two of the three sets of
    planes, so that half the sum over the sets, e = 3/2, counts it once. For a deterministic sampler in small steps
    and a Gaussian field whose correlation is a product over z, y and x that is exact; with fewer axes, 1 to 3/2.

    Parameters
    ----------
    estimate : callable
        ``(x, timestep, corners)`` → x̂_0 that treats each z plane of x ``(B, C, Z, Y, X)`` on its own. For planes
        normal to y it gets x with the axes (y, z, x), to x with (x, z, y); corners are handed on as they are.
    axes : sequence of int
        Normals of the planes: 0, 1 or 2 for z, y, x, each once. Where the material looks different along
        an axis, leave out those whose planes the picture does not show.
    timesteps : sequence of int, optional
        Of the walk (`generative.walks.Walk`): go from axis to axis step by step, at a third of the cost. Otherwise
        average.
    alone : callable, optional
        What is estimated of a voxel from itself, of `voxel_estimate`.
    evidence : float
        e, at least 1; without `alone` it has no meaning. 1.5 for ``dpm++`` and ``ddim``, 4/3 for ``ddpm``. Do not go
        over the walk again (`generative.walks.with_resampling`) with e above 1: each time over adds to the variance.
    planes_at_once : int
        Most planes that the estimator gets at a time; memory.

    Returns
    -------
    callable
        An estimator of volumes of any shape whose lengths the picture's estimator takes.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] Lee, Yun, "Multi-plane denoising diffusion-based dimensionality expansion for 2D-to-3D reconstruction of
       microstructures with harmonized sampling", npj Comput. Mater. 10 (2024) 99.
    .. [2] Lee et al., "Improving 3D Imaging with Pre-Trained Perpendicular 2D Diffusion Models", ICCV 2023.
    """
    normals = tuple(axes)
    if not normals or len(set(normals)) < len(normals) or not set(normals) <= {0, 1, 2}:
        raise ValueError(f"axes is {axes!r}; give some of 0, 1 and 2 (z, y, x), each once")
    if not 1 <= evidence < np.inf:
        raise ValueError(f"evidence is {evidence}; give a number of at least 1")
    if not isinstance(planes_at_once, int | np.integer) or planes_at_once < 1:
        raise ValueError(f"planes_at_once is {planes_at_once!r}; give a whole number of at least 1")
    turns = None if timesteps is None else {time: i for i, time in enumerate(sorted({int(t) for t in timesteps})[::-1])}

    def of_volume(x: Tensor, timestep: int, corners: Sequence[Any]) -> Tensor:
        if turns is not None and timestep not in turns:
            raise ValueError(
                f"time {timestep} is not one of those in which the planes take turns; give the timesteps of the walk"
            )
        chosen = normals if turns is None else normals[turns[timestep] % len(normals) :][:1]
        planes = torch.zeros_like(x)
        for axis in chosen:
            planes += _of_planes(estimate, x, timestep, corners, axis=axis, at_once=planes_at_once).to(planes)
        planes /= len(chosen)
        if alone is None:
            return planes
        voxels = alone(x, timestep, corners).to(planes)
        return voxels + evidence * (planes - voxels)

    return of_volume


def _of_planes(
    estimate: Estimate, x: Tensor, timestep: int, corners: Sequence[Any], *, axis: int, at_once: int
) -> Tensor:
    """Estimate the planes normal to an axis, some at a time, none with those of another volume."""
    turned = x.movedim(2 + axis, 2)
    volumes = [
        torch.cat([estimate(part, timestep, [corner]) for part in one[None].split(at_once, dim=2)], dim=2)
        for one, corner in zip(turned, corners, strict=True)
    ]
    return torch.cat(volumes).movedim(2, 2 + axis)


def voxel_estimate(channels: ArrayLike, schedule: NoiseSchedule, *, rng: np.random.Generator | int) -> Estimate:
    r"""Make the estimator that knows what voxels of a material hold, but not how they hang together.

    The exact posterior mean of a voxel from its own noisy channels x alone: with K contents :math:`c_k` of frequencies
    :math:`f_k`, the mean of the contents by :math:`f_k \exp(-|x - \sqrt{ᾱ} c_k|^2 / 2 (1 - ᾱ))`.

    Parameters
    ----------
    channels : array_like
        ``(C, z, y, x)``: the coded material (`generative.coding.encode`).
    schedule : NoiseSchedule
        Of the model.
    rng : numpy.random.Generator or int
        Which contents stand for all, where there are more than 64 different ones.

    Returns
    -------
    callable
        An estimator ``(x, timestep, corners)`` → x̂_0.

    Raises
    ------
    ValueError
        If `channels` are not finite numbers of that shape.
    """
    coded = np.asarray(channels)
    if coded.ndim != 4 or coded.size == 0 or coded.dtype.kind not in "iuf" or not np.isfinite(coded).all():
        raise ValueError(f"channels have shape {coded.shape} and type {coded.dtype}; give finite numbers, (C, z, y, x)")
    contents, frequencies = _contents(coded.reshape(len(coded), -1).T.astype(np.float32), np.random.default_rng(rng))

    def of_voxels(x: Tensor, timestep: int, _corners: Sequence[Any]) -> Tensor:
        signal, noise = float(schedule.signal[timestep]), float(schedule.noise[timestep])
        held = torch.from_numpy(contents).to(x)
        # |x|² is the same for all contents; without it the exponent is linear in x.
        constant = torch.from_numpy(np.log(frequencies)).to(x) - (signal * held).square().sum(dim=1) / (2 * noise**2)
        exponent = torch.einsum("bczyx,kc->bkzyx", x, held) * (signal / noise**2)
        share = torch.softmax(exponent + constant.reshape(-1, 1, 1, 1), dim=1)
        return torch.einsum("bkzyx,kc->bczyx", share, held)

    return of_voxels


def _contents(voxels: NDArray[np.float32], rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    found, counts = np.unique(voxels, axis=0, return_counts=True)
    if len(found) <= MOST_CONTENTS:
        return found, counts / counts.sum()
    drawn = rng.choice(len(voxels), MOST_CONTENTS, replace=False)
    return voxels[drawn], np.full(MOST_CONTENTS, 1 / MOST_CONTENTS)


def read_micrograph(
    source: str | Path | ArrayLike,
    *,
    phases: Sequence[str] | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
) -> Material:
    """Read one labelled picture as a material of a single slice.

    Parameters
    ----------
    source : path-like, or array_like
        A file that `volume.read` knows (TIFF, PNG, ``.npy``, …), or ``(Y, X)`` or ``(1, Y, X)`` labels 0, 1, … with
        0 = pore.
    phases : sequence of str, optional
        As in `generative.patches.read_material`.
    voxel_size_um : tuple of three floats, optional
        ``(z, y, x)`` in µm; z is what the slices of the volume shall have.

    Returns
    -------
    Material
        Labels of shape ``(1, Y, X)``.

    Raises
    ------
    ValueError
        If it is not one slice, or as `read_material` does: a picture of grey values must be segmented first.
    """
    read = volume.read(source) if isinstance(source, str | Path) else source
    array = np.asarray(read)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or len(array) != 1:
        raise ValueError(f"a micrograph is one slice, (Y, X) or (1, Y, X); this one has the shape {array.shape}")
    return read_material(
        array,
        phases=phases if phases is not None else getattr(read, "phases", None),
        voxel_size_um=voxel_size_um if voxel_size_um is not None else getattr(read, "voxel_size_um", None),
    )
