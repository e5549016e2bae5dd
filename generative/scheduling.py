"""The cosine noise schedule and the two samplers that walk it backwards."""

from typing import Literal, cast

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

__all__ = ["Sampler", "clean_estimate", "make_sampler", "make_scheduler", "training_target"]

Sampler = Literal["ddim", "ddpm"]


def make_scheduler(*, timesteps: int = 1000, prediction_type: str = "v_prediction") -> DDPMScheduler:
    """Make the forward process, x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε.

    The cosine schedule ends almost without signal (ᾱ ≈ 2·10⁻⁹ at the last of 1000 steps), where an error in a
    predicted ε is multiplied by √(1/ᾱ): hence velocity by default, estimates clipped to the data's [−1, 1], and a
    time grid that starts at the last step, however few steps are taken.

    Parameters
    ----------
    timesteps : int
        T.
    prediction_type : {"v_prediction", "epsilon", "sample"}
        What the network predicts: v = √ᾱ ε − √(1 − ᾱ) x_0, ε, or x_0.

    Returns
    -------
    diffusers.DDPMScheduler

    References
    ----------
    Nichol, Dhariwal, ICML 2021 (schedule); Salimans, Ho, ICLR 2022 (velocity);
    Lin et al., WACV 2024 (time grid).
    """
    return DDPMScheduler(
        num_train_timesteps=timesteps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction_type,
        variance_type="fixed_small",
        clip_sample=True,
        clip_sample_range=1.0,
        timestep_spacing="trailing",
    )


def make_sampler(scheduler: DDPMScheduler, sampler: Sampler) -> DDPMScheduler | DDIMScheduler:
    """Make a reverse process of the same schedule.

    Parameters
    ----------
    scheduler : DDPMScheduler
        As made by `make_scheduler`.
    sampler : {"ddim", "ddpm"}
        Deterministic after the first noise and good in tens of steps, or ancestral (the paper's Algorithm 2).

    Raises
    ------
    ValueError
        If `sampler` is neither.
    """
    if sampler == "ddim":
        return DDIMScheduler.from_config(scheduler.config)
    if sampler == "ddpm":
        return DDPMScheduler.from_config(scheduler.config)
    raise ValueError(f"sampler '{sampler}' is not known; use 'ddim' or 'ddpm'")


def training_target(scheduler: DDPMScheduler, *, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Return what the network should predict for these volumes, noises and times.

    Parameters
    ----------
    scheduler : DDPMScheduler
        Its ``prediction_type`` decides.
    clean, noise : Tensor
        ``(B, n, Z, Y, X)``.
    timesteps : Tensor
        ``(B,)``.
    """
    kind = scheduler.config["prediction_type"]
    if kind == "v_prediction":
        return scheduler.get_velocity(clean, noise, cast("torch.IntTensor", timesteps))
    return noise if kind == "epsilon" else clean


def clean_estimate(scheduler: DDPMScheduler, *, noisy: Tensor, prediction: Tensor, timestep: Tensor) -> Tensor:
    """Return the network's x_0, not clipped, from its prediction at one time.

    Parameters
    ----------
    scheduler : DDPMScheduler
        Its ``prediction_type`` says what `prediction` is.
    noisy, prediction : Tensor
        ``(B, n, Z, Y, X)``.
    timestep : Tensor
        A single whole number.
    """
    kind = scheduler.config["prediction_type"]
    if kind == "sample":
        return prediction
    signal = scheduler.alphas_cumprod[int(timestep)].to(noisy.device, torch.float32)
    if kind == "epsilon":
        return (noisy - (1 - signal).sqrt() * prediction) / signal.sqrt()
    return signal.sqrt() * noisy - (1 - signal).sqrt() * prediction
