"""Wiener's filter against what it must be for fields whose law is known."""

import numpy as np
import pytest
import torch

from generative.linear_estimate import LinearEstimate
from generative.noise_schedule import cosine_schedule

SIDE = 16


def draw_fields(count, seed):
    """Draw periodic Gaussian fields of two channels, the second the first's opposite, of known power."""
    rng = np.random.default_rng(seed)
    f = np.fft.fftfreq(SIDE)
    radius = np.sqrt(f[:, None, None] ** 2 + f[:, None] ** 2 + f**2)
    amplitude = 2.0 * np.exp(-((radius / 0.15) ** 2))
    white = np.fft.fftn(rng.standard_normal((count, SIDE, SIDE, SIDE)), axes=(1, 2, 3))
    field = np.fft.ifftn(white * amplitude, axes=(1, 2, 3)).real
    return np.stack([0.3 + field, 0.1 - field], axis=1).astype(np.float32), amplitude**2


@pytest.fixture(scope="module")
def linear():
    estimate = LinearEstimate((SIDE, SIDE, SIDE), channels=2, timesteps=1000)
    fields = draw_fields(300, 0)[0]
    estimate.measure(fields.__getitem__, count=300, schedule=cosine_schedule(noise_scale=4))
    return estimate


def test_measured_mean_and_power_are_those_of_the_field(linear):
    _, power = draw_fields(1, 0)
    assert linear.mean.numpy() == pytest.approx([0.3, 0.1], abs=0.01)
    # Of the difference, twice that of each channel; a periodogram of 300 fields scatters by 1 / √300.
    measured = linear.power[1].numpy()
    expected = 2 * power[..., : SIDE // 2 + 1]
    assert measured == pytest.approx(expected, rel=6 / np.sqrt(300), abs=1e-5)


@pytest.mark.parametrize("timestep", [100, 500, 900])
def test_error_is_the_least_that_any_estimate_of_a_gaussian_field_can_have(linear, timestep):
    schedule = cosine_schedule(noise_scale=4)
    clean, power = draw_fields(40, 1)
    generator = torch.Generator().manual_seed(2)
    clean, times = torch.from_numpy(clean), torch.full((40,), timestep)
    noisy = schedule.add_noise(clean, torch.randn(clean.shape, generator=generator), times)
    error = (linear(noisy, times) - clean).square().mean()
    signal, noise = schedule.signal[timestep], schedule.noise[timestep]
    # Two channels hold the same field, which halves the noise.
    least = (power * noise**2 / (2 * signal**2 * power + noise**2)).mean()
    assert float(error) == pytest.approx(least, rel=0.08)


def test_without_noise_the_volume_comes_back_and_without_signal_the_mean(linear):
    clean = torch.from_numpy(draw_fields(2, 3)[0])
    loud = LinearEstimate((SIDE, SIDE, SIDE), channels=2, timesteps=2)
    ends = {"signal": torch.tensor([1.0, 0.0]), "noise": torch.tensor([1e-6, 1.0])}
    loud.load_state_dict({**linear.state_dict(), **ends})
    assert loud(clean, torch.tensor([0, 0])).numpy() == pytest.approx(clean.numpy(), abs=1e-3)
    nothing = loud(torch.randn(clean.shape), torch.tensor([1, 1])).numpy()
    assert nothing == pytest.approx(np.broadcast_to(linear.mean.numpy().reshape(1, 2, 1, 1, 1), nothing.shape))


def test_planar_estimate_takes_each_plane_on_its_own():
    planar = LinearEstimate((1, SIDE, SIDE), channels=2, timesteps=1000)
    fields = draw_fields(20, 4)[0]
    planar.measure(lambda i: fields[i, :, :1], count=20, schedule=cosine_schedule())
    noisy, times = torch.from_numpy(fields[:2, :, :3]), torch.tensor([300, 700])
    together = planar(noisy, times)
    for z in range(3):
        assert torch.allclose(together[:, :, z : z + 1], planar(noisy[:, :, z : z + 1], times), atol=1e-6)
