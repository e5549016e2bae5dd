"""The noise schedule against the equations of Ho et al. (2020), Nichol and Dhariwal (2021), Salimans and Ho (2022)."""

import math

import numpy as np
import pytest
import torch

from generative.scheduling import clean_estimate, make_sampler, make_scheduler, training_target

T = 1000


def cosine_signal(t):
    """Return ᾱ after t + 1 steps by the definition, with each β at most 0.999."""
    f = [math.cos((s / T + 0.008) / 1.008 * math.pi / 2) ** 2 for s in range(T + 1)]
    betas = np.minimum(1 - np.array(f[1:]) / np.array(f[:-1]), 0.999)
    return np.cumprod(1 - betas)[t]


@pytest.mark.parametrize("t", [0, 1, 250, 700, 998, 999])
def test_forward_process_has_the_mean_and_variance_of_the_cosine_schedule(t):
    scheduler = make_scheduler()
    clean = torch.tensor([0.7])
    signal = cosine_signal(t)
    mean = scheduler.add_noise(clean, torch.zeros(1), torch.tensor([t]))
    deviation = scheduler.add_noise(torch.zeros(1), torch.ones(1), torch.tensor([t]))
    assert float(mean) == pytest.approx(math.sqrt(signal) * 0.7, rel=2e-3, abs=1e-7)
    assert float(deviation) ** 2 == pytest.approx(1 - signal, rel=1e-3)  # of single precision


def test_forward_process_in_one_jump_equals_many_small_steps():
    scheduler, generator, t = make_scheduler(), torch.Generator().manual_seed(0), 40
    x = torch.full((200_000,), 0.5)
    for beta in scheduler.betas[: t + 1]:
        x = (1 - beta).sqrt() * x + beta.sqrt() * torch.randn(x.shape, generator=generator)
    signal = cosine_signal(t)
    error = math.sqrt((1 - signal) / x.numel())
    assert float(x.mean()) == pytest.approx(math.sqrt(signal) * 0.5, abs=4 * error)
    assert float(x.var()) == pytest.approx(1 - signal, rel=4 * math.sqrt(2 / x.numel()))


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon", "sample"])
def test_right_prediction_gives_back_the_clean_volume(kind):
    scheduler = make_scheduler(prediction_type=kind)
    clean, noise = torch.rand(3, 2, 4, 4, 4) * 2 - 1, torch.randn(3, 2, 4, 4, 4)
    for t in (0, 300, 900):
        times = torch.full((3,), t)
        noisy = scheduler.add_noise(clean, noise, times)
        target = training_target(scheduler, clean=clean, noise=noise, timesteps=times)
        estimate = clean_estimate(scheduler, noisy=noisy, prediction=target, timestep=torch.tensor(t))
        torch.testing.assert_close(estimate, clean, rtol=0, atol=2e-5)


def test_velocity_is_the_noisy_volume_turned_by_a_quarter_of_the_circle():
    scheduler, times = make_scheduler(), torch.tensor([123, 789])
    clean, noise = torch.randn(2, 1, 2, 2, 2), torch.randn(2, 1, 2, 2, 2)
    angle = torch.acos(scheduler.alphas_cumprod[times].sqrt()).reshape(-1, 1, 1, 1, 1)
    velocity = training_target(scheduler, clean=clean, noise=noise, timesteps=times)
    torch.testing.assert_close(velocity, angle.cos() * noise - angle.sin() * clean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("t", [5, 400, 900])
def test_posterior_of_one_ancestral_step_equals_a_brute_force_gaussian(t):
    scheduler = make_scheduler(prediction_type="sample")
    clean, noisy = 0.6, -0.4
    signal = scheduler.alphas_cumprod.double()
    beta = 1 - signal[t] / signal[t - 1]
    grid = torch.linspace(-8, 8, 400_001, dtype=torch.float64)
    log_density = -((grid - signal[t - 1].sqrt() * clean) ** 2) / (2 * (1 - signal[t - 1])) - (
        noisy - (1 - beta).sqrt() * grid
    ) ** 2 / (2 * beta)
    weight = torch.softmax(log_density, 0)
    mean = float((weight * grid).sum())
    deviation = float((weight * (grid - mean) ** 2).sum().sqrt())

    sampler = make_sampler(scheduler, "ddpm")
    sampler.set_timesteps(T)
    model_says, x = torch.full((1, 50_000), clean), torch.full((1, 50_000), noisy)
    stepped = sampler.step(model_says, t, x, generator=torch.Generator().manual_seed(1)).prev_sample
    assert float(stepped.mean()) == pytest.approx(mean, abs=4 * deviation / math.sqrt(50_000))
    assert float(stepped.std()) == pytest.approx(deviation, rel=4 / math.sqrt(100_000))


def test_unknown_sampler_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'ddim' or 'ddpm'"):
        make_sampler(make_scheduler(), "euler")
