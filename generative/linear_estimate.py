"""The best linear estimate of a clean volume from its noisy one, which S2 alone decides."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from generative.noise_schedule import NoiseSchedule

__all__ = ["LinearEstimate"]

# The channels of a volume almost add up to a constant: without a floor their sum would be taken for noiseless.
LEAST_POWER = 1e-6


class LinearEstimate(nn.Module):
    r"""Wiener's filter of every time step.

    With mean μ and, at each frequency, power P of a principal component of the channels, the linear estimate of least
    squared error of x_0 from x = s x_0 + ν ε is :math:`\mu + s P / (s^2 P + ν^2) \; (x - s μ)`. It is exact for a
    Gaussian field, so also for any material once the noise is so strong that only its covariance matters. There a
    network learns slowest, and there volume fractions and large features are settled, with the spread that they have.

    Windows are taken to go on at the opposite face, which they do not; near the faces, about a correlation length
    deep, the estimate is less than the best.

    Parameters
    ----------
    window : three ints
        Shape ``(z, y, x)`` of a volume. With a z of 1, volumes of any depth are taken plane by plane.
    channels : int
        n.
    timesteps : int
        T.

    References
    ----------
    N. Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series", MIT Press, 1949.
    """

    mean: Tensor
    basis: Tensor
    power: Tensor
    signal: Tensor
    noise: Tensor

    def __init__(self, window: tuple[int, int, int], *, channels: int, timesteps: int) -> None:
        super().__init__()
        self.dims = (-2, -1) if window[0] == 1 else (-3, -2, -1)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("basis", torch.eye(channels))
        self.register_buffer("power", torch.ones(channels, *window[:2], window[2] // 2 + 1))
        self.register_buffer("signal", torch.ones(timesteps))
        self.register_buffer("noise", torch.ones(timesteps))

    @torch.no_grad()
    def measure(self, volume: Callable[[int], NDArray[np.floating]], *, count: int, schedule: NoiseSchedule) -> None:
        """Find mean, components and powers.

        Parameters
        ----------
        volume : callable
            From 0, …, `count` − 1 to ``(n, Z, Y, X)`` of the shape of the window: patches of the coded material. Each
            is asked for three times.
        count : int
            How many; some hundreds, of all orientations that the material allows.
        schedule : NoiseSchedule
            Signal and noise of every step.
        """
        volumes = [lambda i=i: torch.from_numpy(np.asarray(volume(i), dtype=np.float32)) for i in range(count)]
        mean = torch.stack([one().mean(dim=(1, 2, 3)) for one in volumes]).mean(dim=0)
        covariance = torch.zeros(len(mean), len(mean))
        power = torch.zeros_like(self.power, device="cpu")
        for one in volumes:
            deviation = one() - mean.reshape(-1, 1, 1, 1)
            covariance += torch.einsum("czyx,dzyx->cd", deviation, deviation) / deviation[0].numel() / count
        basis = torch.linalg.eigh(covariance).eigenvectors
        for one in volumes:
            components = torch.einsum("czyx,cd->dzyx", one() - mean.reshape(-1, 1, 1, 1), basis)
            power += torch.fft.rfftn(components, dim=self.dims).abs().square() / count
        # Per voxel, so that white noise of variance 1 has the power 1.
        power /= math.prod(components.shape[dim] for dim in self.dims)
        self.mean.copy_(mean)
        self.basis.copy_(basis)
        self.power.copy_(power.clamp(min=LEAST_POWER))
        self.signal.copy_(torch.from_numpy(schedule.signal))
        self.noise.copy_(torch.from_numpy(schedule.noise))

    def forward(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Return the estimates of ``(B, n, Z, Y, X)`` at times ``(B,)``, in single precision."""
        with torch.autocast(noisy.device.type, enabled=False):
            signal, noise = (table.float()[timesteps].reshape(-1, 1, 1, 1, 1) for table in (self.signal, self.noise))
            mean, basis, power = self.mean.float().reshape(-1, 1, 1, 1), self.basis.float(), self.power.float()
            components = torch.einsum("bczyx,cd->bdzyx", noisy.float() - signal * mean, basis)
            waves = torch.fft.rfftn(components, dim=self.dims)
            waves = waves * (signal * power / (signal**2 * power + noise**2))
            estimate = torch.fft.irfftn(waves, s=[noisy.shape[dim] for dim in self.dims], dim=self.dims)
            return torch.einsum("bdzyx,cd->bczyx", estimate, basis) + mean
