"""The forward process: how much signal and how much noise a volume holds at each time step."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

__all__ = ["NoiseSchedule", "Prediction", "cosine_schedule"]

Prediction = Literal["v_prediction", "epsilon", "sample"]

# Nichol and Dhariwal's offset, and their cap of β, which keeps a trace of signal at the last step.
OFFSET = 0.008
LARGEST_BETA = 0.999


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε at the times t = 0, 1, …, T − 1.

    Attributes
    ----------
    signal : ndarray of float64, shape (T,)
        √ᾱ_t, falling.
    noise : ndarray of float64, shape (T,)
        √(1 − ᾱ_t), rising.
    prediction : {"v_prediction", "epsilon", "sample"}
        What the network predicts: v = √ᾱ ε − √(1 − ᾱ) x_0, ε, or x_0.
    noise_scale : float
        What the noise-to-signal ratio of the published schedule was multiplied by.

    References
    ----------
    Bentamou, Chrétien, Gavet, Comput. Mater. Sci. 248 (2025) 113596, equations 3 and 7; Salimans, Ho, ICLR 2022
    (velocity).
    """

    signal: np.ndarray
    noise: np.ndarray
    prediction: Prediction
    noise_scale: float = 1.0

    def __len__(self) -> int:
        """Return T."""
        return len(self.signal)

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return x_t of clean volumes and noises (B, n, Z, Y, X) at times (B,): equation 3."""
        signal, spread = self._at(timesteps, clean)
        return signal * clean + spread * noise

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return what the network should predict for these volumes, noises and times."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return clean
        signal, spread = self._at(timesteps, clean)
        return signal * noise - spread * clean

    def clean_estimate(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """Return the network's x_0, not clipped, from its predictions at times (B,): equation 7 where it predicts ε."""
        if self.prediction == "sample":
            return prediction
        signal, spread = self._at(timesteps, noisy)
        if self.prediction == "epsilon":
            return (noisy - spread * prediction) / signal
        return signal * noisy - spread * prediction

    def loss_weights(self, timesteps: Tensor, *, min_snr: float | None) -> Tensor:
        """Weights (B,) of the squared error of the prediction at times (B,).

        Parameters
        ----------
        timesteps : Tensor
            ``(B,)``.
        min_snr : float or None
            γ: the squared error of x_0 is weighted with min(SNR, γ), SNR = noise_scale² ᾱ / (1 − ᾱ), that of the
            features for which the schedule was scaled; None weighs every prediction alike (equation 10 where ε is
            predicted).

        References
        ----------
        Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", ICCV 2023.
        """
        if min_snr is None:
            return torch.ones(timesteps.shape, device=timesteps.device)
        signal, spread = self._tables(timesteps)
        ratio = (signal / spread) ** 2
        # An error e of x_0 is an error e √ratio of ε and e / √(1 − ᾱ) of v.
        of_clean = {"sample": torch.ones_like(ratio), "epsilon": 1 / ratio, "v_prediction": spread**2}[self.prediction]
        return ((self.noise_scale**2 * ratio).clamp(max=min_snr) * of_clean).float()

    def _at(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        signal, spread = (table.to(like.dtype).reshape(-1, 1, 1, 1, 1) for table in self._tables(timesteps))
        return signal, spread

    def _tables(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        where = timesteps.reshape(-1).cpu().numpy()
        return torch.from_numpy(self.signal[where]).to(timesteps.device), torch.from_numpy(self.noise[where]).to(
            timesteps.device
        )


def cosine_schedule(
    *, timesteps: int = 1000, noise_scale: float = 1.0, prediction: Prediction = "v_prediction"
) -> NoiseSchedule:
    """Make the cosine schedule, or one that destroys large features more slowly.

    A feature of many voxels is seen through noise that would hide each of them: averaging over N voxels raises the
    signal-to-noise ratio N times. In 3-D the cosine schedule therefore leaves large features, and the volume
    fractions, to its very last steps. `noise_scale` multiplies the noise-to-signal ratio √(1 − ᾱ) / √ᾱ of every step.

    Parameters
    ----------
    timesteps : int
        T.
    noise_scale : float
        1 for the published schedule (the paper's); of the order of √N to let all of T work on features of N voxels.
    prediction : {"v_prediction", "epsilon", "sample"}
        What the network predicts.

    Returns
    -------
    NoiseSchedule

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Nichol, Dhariwal, ICML 2021 (cosine); Hoogeboom, Heek, Salimans, "simple diffusion", ICML 2023 (shift of the
    signal-to-noise ratio with the resolution).
    """
    if timesteps < 1:
        raise ValueError(f"timesteps is {timesteps}; give a whole number above 0")
    if not 0 < noise_scale < math.inf:
        raise ValueError(f"noise_scale is {noise_scale}; give a number above 0")
    if prediction not in ("v_prediction", "epsilon", "sample"):
        raise ValueError(f"prediction is {prediction!r}; give 'v_prediction', 'epsilon' or 'sample'")
    angles = (np.arange(timesteps + 1) / timesteps + OFFSET) / (1 + OFFSET) * np.pi / 2
    betas = np.minimum(1 - np.cos(angles[1:]) ** 2 / np.cos(angles[:-1]) ** 2, LARGEST_BETA)
    alpha_bar = np.cumprod(1 - betas)
    ratio = noise_scale * np.sqrt((1 - alpha_bar) / alpha_bar)
    return NoiseSchedule(1 / np.hypot(1, ratio), ratio / np.hypot(1, ratio), prediction, noise_scale)
