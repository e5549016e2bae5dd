"""A diffusion model that is known in closed form: a Gaussian field, whose clean estimate is a linear filter."""

import numpy as np
import torch

from generative.noise_schedule import cosine_schedule


def squared_exponential(shape, lengths):
    """Return the correlation exp(-Σ (lag / length)²) at each displacement of a periodic grid."""
    sides = [np.minimum(np.arange(n), n - np.arange(n)) for n in shape]
    axes = [np.exp(-((side / length) ** 2)) for side, length in zip(sides, lengths, strict=True)]
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]


class GaussianModel:
    """Channels (-g, g) of a periodic Gaussian field g of this mean, standard deviation and correlation."""

    def __init__(self, shape, lengths, *, mean=0.0, deviation=0.5):
        self.shape, self.mean, self.schedule = tuple(shape), mean, cosine_schedule()
        self.correlation = squared_exponential(shape, lengths)
        self.power = torch.from_numpy(np.fft.rfftn(self.correlation).real.clip(0) * deviation**2)

    def draw(self, count, seed):
        """Return channels (count, 2, Z, Y, X) of volumes of the model."""
        white = torch.randn(count, 1, *self.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return channels(self._filter(white, self.power.sqrt()) + self.mean)

    def estimate(self, x, timestep, corners):
        """Return the posterior mean of the clean channels: Wiener's filter on two noisy views of g."""
        signal, noise = self.schedule.signal[timestep], self.schedule.noise[timestep]
        seen = field(x)[:, None].double() - signal * self.mean
        gain = signal * self.power / (signal**2 * self.power + noise**2 / 2)
        return channels(self._filter(seen, gain) + self.mean).to(x.dtype)

    def _filter(self, values, gain):
        return torch.fft.irfftn(torch.fft.rfftn(values, dim=(2, 3, 4)) * gain, s=self.shape, dim=(2, 3, 4))


def channels(g):
    """Return (-g, g) of fields (count, 1, Z, Y, X)."""
    return torch.cat([-g, g], dim=1)


def field(x):
    """Return g of channels (count, 2, Z, Y, X)."""
    return (x[:, 1] - x[:, 0]) / 2


def carry_out(walk, estimate, *, shape, known=None, seed=0):
    """Walk one volume in memory; return what it ends at, (1, 2, Z, Y, X). `known`: channels and mask."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 2, *shape, generator=generator)
    before = torch.zeros_like(x)
    for row, timestep in enumerate(walk.timesteps):
        clean = estimate(x, int(timestep), [(0, 0, 0)])
        if known is not None:
            clean = torch.where(known[1], known[0].to(clean), clean)
        x = float(walk.keep[row]) * x + float(walk.estimate[row]) * clean + float(walk.memory[row]) * before
        x = x + float(walk.noise[row]) * torch.randn(x.shape, generator=generator)
        before = clean
    return x
