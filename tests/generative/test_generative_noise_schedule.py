"""The forward process against the equations of Ho et al. (2020), Nichol and Dhariwal (2021), Salimans and Ho (2022)."""

import math

import numpy as np
import pytest
import torch

from generative.noise_schedule import cosine_schedule

T = 1000
KINDS = ["v_prediction", "epsilon", "sample"]


def cosine_betas():
    """Return β by the definition, each at most 0.999."""
    f = [math.cos((s / T + 0.008) / 1.008 * math.pi / 2) ** 2 for s in range(T + 1)]
    return np.minimum(1 - np.array(f[1:]) / np.array(f[:-1]), 0.999)


@pytest.mark.parametrize("t", [0, 1, 250, 700, 998, 999])
def test_forward_process_has_the_mean_and_variance_of_the_cosine_schedule(t):
    schedule, time = cosine_schedule(), torch.tensor([t])
    clean = torch.full((1, 1, 1, 1, 1), 0.7, dtype=torch.float64)
    signal = np.cumprod(1 - cosine_betas())[t]
    mean = schedule.add_noise(clean, torch.zeros_like(clean), time)
    deviation = schedule.add_noise(torch.zeros_like(clean), torch.ones_like(clean), time)
    assert float(mean) == pytest.approx(math.sqrt(signal) * 0.7, rel=1e-9)
    assert float(deviation) ** 2 == pytest.approx(1 - signal, rel=1e-9)


def test_forward_process_in_one_jump_equals_many_small_steps():
    schedule, generator, t = cosine_schedule(), torch.Generator().manual_seed(0), 40
    x = torch.full((200_000,), 0.5)
    for beta in cosine_betas()[: t + 1]:
        x = math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn(x.shape, generator=generator)
    assert float(x.mean()) == pytest.approx(schedule.signal[t] * 0.5, abs=4 * schedule.noise[t] / math.sqrt(x.numel()))
    assert float(x.var()) == pytest.approx(schedule.noise[t] ** 2, rel=4 * math.sqrt(2 / x.numel()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_right_prediction_gives_back_the_clean_volume(kind, scale):
    schedule = cosine_schedule(prediction=kind, noise_scale=scale)
    clean, noise = torch.rand(3, 2, 4, 4, 4) * 2 - 1, torch.randn(3, 2, 4, 4, 4)
    times = torch.tensor([0, 300, 700])
    target = schedule.target(clean, noise, times)
    estimate = schedule.clean_estimate(schedule.add_noise(clean, noise, times), target, times)
    torch.testing.assert_close(estimate, clean, rtol=0, atol=2e-5)


def test_velocity_is_the_noisy_volume_turned_by_a_quarter_of_the_circle():
    schedule, times = cosine_schedule(), torch.tensor([123, 789])
    clean, noise = torch.randn(2, 1, 2, 2, 2), torch.randn(2, 1, 2, 2, 2)
    angle = torch.acos(torch.tensor(schedule.signal[[123, 789]])).float().reshape(-1, 1, 1, 1, 1)
    torch.testing.assert_close(schedule.target(clean, noise, times), angle.cos() * noise - angle.sin() * clean)


def test_noise_scale_multiplies_the_noise_to_signal_ratio_of_every_step():
    plain, scaled = cosine_schedule(), cosine_schedule(noise_scale=8)
    assert scaled.noise / scaled.signal == pytest.approx(8 * plain.noise / plain.signal, rel=1e-9)
    assert scaled.noise**2 + scaled.signal**2 == pytest.approx(np.ones(T))


@pytest.mark.parametrize("kind", KINDS)
def test_min_snr_weighs_the_same_error_of_the_clean_volume_alike_whatever_is_predicted(kind):
    schedule, times = cosine_schedule(prediction=kind, noise_scale=2), torch.tensor([5, 400, 900])
    clean, noise = torch.randn(3, 1, 4, 4, 4, dtype=torch.float64), torch.randn(3, 1, 4, 4, 4, dtype=torch.float64)
    noisy = schedule.add_noise(clean, noise, times)
    wrong = clean + 0.1
    # The prediction that amounts to this wrong clean volume.
    signal, spread = (torch.tensor(a[[5, 400, 900]]).reshape(-1, 1, 1, 1, 1) for a in (schedule.signal, schedule.noise))
    implied = schedule.target(wrong, (noisy - signal * wrong) / spread, times)
    errors = (implied - schedule.target(clean, noise, times)).square().mean(dim=(1, 2, 3, 4))
    weighted = errors * schedule.loss_weights(times, min_snr=5.0)
    snr = 4 * (schedule.signal / schedule.noise)[[5, 400, 900]] ** 2
    assert weighted.numpy() == pytest.approx(0.01 * np.minimum(snr, 5.0), rel=1e-5)
    assert schedule.loss_weights(times, min_snr=None).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timesteps": 0}, "timesteps is 0; give a whole number above 0"),
        ({"noise_scale": 0.0}, "noise_scale is 0.0; give a number above 0"),
        ({"noise_scale": math.nan}, "noise_scale is nan"),
        ({"prediction": "score"}, "give 'v_prediction', 'epsilon' or 'sample'"),
    ],
)
def test_impossible_schedules_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        cosine_schedule(**arguments)
