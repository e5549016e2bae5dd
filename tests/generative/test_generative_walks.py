"""Every sampler against what it is derived from and against diffusers' own."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from generative.noise_schedule import cosine_schedule
from generative.walks import make_walk

SAMPLERS = ["dpm++", "ddim", "ddpm"]
COMMON = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "sample",
    "timestep_spacing": "trailing",
}
PEERS = {
    "ddim": lambda: DDIMScheduler(**COMMON, clip_sample=False),
    "dpm++": lambda: DPMSolverMultistepScheduler(**COMMON, final_sigmas_type="zero"),
    "ddpm": lambda: DDPMScheduler(**COMMON, clip_sample=False),
}


def carry_out(walk, x, estimate, rng=None):
    before = np.zeros_like(x)
    for i, timestep in enumerate(walk.timesteps):
        clean = estimate(x, timestep)
        x = walk.keep[i] * x + walk.estimate[i] * clean + walk.memory[i] * before
        if walk.noise[i]:
            x = x + walk.noise[i] * rng.standard_normal(x.shape)
        before = clean
    return x


@pytest.mark.parametrize("sampler", ["dpm++", "ddim"])
@pytest.mark.parametrize("steps", [1, 2, 10, 25, 200])
def test_deterministic_walks_are_those_of_diffusers(sampler, steps):
    peer = PEERS[sampler]()
    walk = make_walk(cosine_schedule(), sampler=sampler, steps=steps)
    if sampler == "ddim":
        peer.set_timesteps(steps)
        assert walk.timesteps.tolist() == peer.timesteps.tolist()
    else:
        peer.set_timesteps(timesteps=walk.timesteps)
    start = np.random.default_rng(0).standard_normal(50)
    theirs = torch.from_numpy(start)
    for t in peer.timesteps:
        theirs = peer.step(torch.tanh(3 * theirs), t, theirs).prev_sample
    # Their schedule is in single precision.
    assert carry_out(walk, start, lambda x, _: np.tanh(3 * x)) == pytest.approx(theirs.numpy(), abs=2e-5)


@pytest.mark.parametrize("steps", [1000, 50])
@pytest.mark.parametrize("row", [3, 20, 48])
def test_ancestral_row_is_the_mean_and_spread_of_diffusers(steps, row):
    peer = PEERS["ddpm"]()
    peer.set_timesteps(steps)
    walk = make_walk(cosine_schedule(), sampler="ddpm", steps=steps)
    x, clean = torch.full((1, 40_000), -0.4), torch.full((1, 40_000), 0.6)
    made = peer.step(clean, int(walk.timesteps[row]), x, generator=torch.Generator().manual_seed(1)).prev_sample
    mean = walk.keep[row] * -0.4 + walk.estimate[row] * 0.6
    assert float(made.mean()) == pytest.approx(mean, abs=4 * walk.noise[row] / math.sqrt(40_000))
    assert float(made.std()) == pytest.approx(walk.noise[row], rel=4 / math.sqrt(80_000))


@pytest.mark.parametrize("t", [5, 400, 900])
def test_posterior_of_one_ancestral_step_equals_a_brute_force_gaussian(t):
    schedule = cosine_schedule()
    clean, noisy = 0.6, -0.4
    signal, spread = schedule.signal, schedule.noise
    alpha = (signal[t] / signal[t - 1]) ** 2
    grid = np.linspace(-8, 8, 400_001)
    log_density = -((grid - signal[t - 1] * clean) ** 2) / (2 * spread[t - 1] ** 2)
    log_density -= (noisy - math.sqrt(alpha) * grid) ** 2 / (2 * (1 - alpha))
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    mean = (weight * grid).sum()
    walk = make_walk(schedule, sampler="ddpm", steps=1000)
    row = 999 - t
    assert walk.timesteps[row] == t
    assert walk.keep[row] * noisy + walk.estimate[row] * clean == pytest.approx(mean, abs=1e-6)
    assert walk.noise[row] == pytest.approx(math.sqrt((weight * (grid - mean) ** 2).sum()), rel=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_rows_are_finite_and_end_clean_from_1_to_1000_steps(sampler, scale):
    schedule = cosine_schedule(noise_scale=scale)
    for steps in (*range(1, 61), 97, 250, 500, 999, 1000):
        walk = make_walk(schedule, sampler=sampler, steps=steps)
        assert len(walk) == steps
        assert walk.timesteps[0] == 999
        assert (np.diff(walk.timesteps) < 0).all()
        rows = np.stack([walk.keep, walk.estimate, walk.memory, walk.noise])
        assert np.isfinite(rows).all()
        assert rows[:, -1] == pytest.approx([0, 1, 0, 0], abs=1e-9)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_volume_that_is_known_stays_on_its_path(sampler):
    """With the right estimate, x after each row is √ᾱ x0 plus noise of variance 1 − ᾱ."""
    schedule, rng = cosine_schedule(noise_scale=4), np.random.default_rng(2)
    walk = make_walk(schedule, sampler=sampler, steps=20)
    clean = 0.8
    x, before = rng.standard_normal(100_000) * schedule.noise[999] + schedule.signal[999] * clean, clean
    for i, later in enumerate(walk.timesteps[1:]):
        x = walk.keep[i] * x + (walk.estimate[i] + walk.memory[i]) * before
        x = x + walk.noise[i] * rng.standard_normal(x.shape)
        assert x.mean() == pytest.approx(schedule.signal[later] * clean, abs=5 * schedule.noise[later] / math.sqrt(1e5))
        assert x.std() == pytest.approx(schedule.noise[later], rel=5 / math.sqrt(2e5))


@pytest.mark.parametrize(
    ("sampler", "steps", "spread", "tolerance"),
    [
        ("ddim", 200, 0.2, 0.03),
        ("dpm++", 25, 0.1, 0.016),
        ("dpm++", 25, 1.0, 0.016),
        ("dpm++", 25, 50.0, 0.016),
        ("dpm++", 50, 0.2, 0.005),
        ("ddpm", 1000, 0.2, 0.03),
    ],
)
def test_best_estimate_of_gaussian_data_gives_data_of_the_right_spread(sampler, steps, spread, tolerance):
    """For x0 ~ N(0, s²) the best estimate of x0 is linear, and what sampling must give is known."""
    schedule, rng = cosine_schedule(), np.random.default_rng(0)

    def best(x, t):
        signal, noise = schedule.signal[t], schedule.noise[t]
        return signal * spread**2 / (signal**2 * spread**2 + noise**2) * x

    made = carry_out(make_walk(schedule, sampler=sampler, steps=steps), rng.standard_normal(20_000), best, rng)
    assert made.std() == pytest.approx(spread, rel=tolerance + 4 / math.sqrt(40_000))
    assert made.mean() == pytest.approx(0, abs=4 * spread / math.sqrt(20_000))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "heun"}, "sampler 'heun' is not known; use 'dpm\\+\\+', 'ddim' or 'ddpm'"),
        ({"steps": 0}, "steps is 0; it must be between 1 and 1000"),
        ({"steps": 1001}, "between 1 and 1000"),
    ],
)
def test_unknown_sampler_and_impossible_steps_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_walk(cosine_schedule(), **arguments)
