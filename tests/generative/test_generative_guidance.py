"""Guidance: soft measures against the hard ones of `evaluate`, and what it mends of a model that is wrong."""

import math

import numpy as np
import pytest
import torch
from gaussian_oracle import GaussianModel, carry_out

import evaluate
from generative.coding import encode
from generative.guidance import Guidance, measure_targets, soft_phases, soft_surface, soft_two_point
from generative.noise_schedule import cosine_schedule
from generative.walks import make_walk

SCHEDULE = cosine_schedule()


def blobs(shape, n_phases=3, seed=0):
    """Return labels whose regions are some voxels wide."""
    values = np.random.default_rng(seed).standard_normal(shape)
    for axis in range(3):
        values = values + np.roll(values, 1, axis)
    return np.digitize(values, np.quantile(values, np.arange(1, n_phases) / n_phases)).astype(np.uint8)


def hard(labels, n_phases):
    return torch.from_numpy((labels == np.arange(n_phases).reshape(-1, 1, 1, 1)).astype(float))


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("shape", [(9, 9, 9), (6, 11, 8), (1, 12, 9)])
def test_soft_two_point_of_hard_phases_is_that_of_evaluate(shape, periodic):
    labels = blobs(shape)
    r_max = min(n for n in shape if n > 1) // 2
    found = soft_two_point(hard(labels, 3), r_max=r_max, periodic=periodic)
    for k in range(3):
        expected = evaluate.two_point(labels == k, r_max=r_max, periodic=periodic).s2
        np.testing.assert_allclose(found[k], expected, atol=1e-13)


@pytest.mark.parametrize("boundary", ["interior", "periodic"])
@pytest.mark.parametrize("shape", [(9, 9, 9), (6, 11, 2), (3, 4, 5)])
def test_soft_surface_of_hard_phases_is_that_of_evaluate(shape, boundary):
    labels = blobs(shape)
    found = soft_surface(hard(labels, 3), periodic=boundary == "periodic")
    for k, phase in enumerate(evaluate.minkowski_of_phases(labels, n_phases=3, boundary=boundary)):
        assert float(found[k]) == pytest.approx(phase.specific_surface, abs=1e-13)


def test_soft_surface_of_a_resolved_ball_tends_to_its_area_as_it_hardens():
    z, y, x = np.ogrid[:32, :32, :32]
    distance = 10 - np.sqrt((z - 15.5) ** 2 + (y - 15.5) ** 2 + (x - 15.5) ** 2)
    clean = torch.from_numpy(np.stack([-distance, distance]))
    expected = 4 * math.pi * 10**2 / 32**3
    errors = [float(soft_surface(soft_phases(clean, temperature=t))[1]) / expected - 1 for t in (2.0, 0.5, 0.1, 0.001)]
    # 2.5 % is the digital bias that `evaluate.minkowski` states from radius 8 on.
    assert abs(errors[-1]) < 0.025
    assert errors[0] > errors[1] > errors[2] - 0.01


def test_soft_phases_of_coded_labels_are_the_labels():
    labels = blobs((5, 6, 7))
    found = soft_phases(torch.from_numpy(encode(labels, 3)), temperature=0.1)
    np.testing.assert_allclose(found, hard(labels, 3), atol=2 * math.exp(-2 / 0.1) + 1e-7)


def test_targets_of_several_volumes_are_their_mean_by_voxels():
    one, two = blobs((8, 9, 10), 2), blobs((10, 9, 16), 2, seed=1)
    both = measure_targets([one, two], 2, 4)
    each = [measure_targets(v, 2, 4) for v in (one, two)]
    for name in ("fractions", "surface", "s2"):
        mean = (getattr(each[0], name) + 2 * getattr(each[1], name)) / 3
        np.testing.assert_allclose(getattr(both, name), mean, rtol=1e-12)
    assert each[0].fractions.tolist() == [np.mean(one == k) for k in (0, 1)]


def test_a_picture_gives_targets_without_a_surface():
    targets = measure_targets(blobs((1, 20, 20), 2), 2, 5)
    assert targets.surface is None
    loss = Guidance(targets, SCHEDULE).loss(torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert 0 < float(loss) < math.inf


def test_nothing_moves_where_all_is_as_wanted():
    labels = blobs((10, 10, 10), 2)
    guidance = Guidance(measure_targets(labels, 2, 4), SCHEDULE, temperature=0.05)
    clean = torch.from_numpy(encode(labels, 2))[None]
    guided = guidance(lambda x, timestep, corners: x)(clean, 0, [(0, 0, 0)])
    assert float(guidance.loss(clean[0])) < 1e-10
    assert torch.allclose(guided, clean, atol=1e-4)


def test_moves_lower_the_loss_and_are_bounded():
    guidance = Guidance(measure_targets(blobs((12, 12, 12)), 3, 5), SCHEDULE, moves=1)
    clean = torch.randn(1, 3, 10, 10, 10, generator=torch.Generator().manual_seed(1)) / 2
    losses = [float(guidance.loss(clean[0]))]
    for _ in range(6):
        moved = guidance(lambda x, timestep, corners: x)(clean, 0, [(0, 0, 0)])
        assert float((moved - clean).square().mean().sqrt()) <= guidance.largest_move * (1 + 1e-5)
        clean = moved
        losses.append(float(guidance.loss(clean[0])))
    assert losses[-1] < 0.3 * losses[0]


def test_direction_through_the_network_is_the_gradient_with_respect_to_the_noisy_volume():
    targets = measure_targets(blobs((9, 9, 9), 2), 2, 3)
    guidance = Guidance(targets, SCHEDULE, moves=1, largest_move=1e-3, through_network=True)

    def estimate(x, timestep, corners):
        return torch.tanh(x + 0.5 * torch.roll(x, 1, dims=4))

    x = torch.randn(1, 2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    noisy = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(guidance.loss(estimate(noisy, 0, None)[0]), noisy)
    with torch.inference_mode():
        move = guidance(estimate)(x, 0, [(0, 0, 0)]) - estimate(x, 0, None)
    expected = -gradient / gradient.square().mean().sqrt() * 1e-3
    np.testing.assert_allclose(move.numpy(), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("through_network", [False, True])
def test_windows_are_guided_alike_alone_and_in_a_batch(through_network):
    guidance = Guidance(measure_targets(blobs((9, 9, 9), 2), 2, 3), SCHEDULE, through_network=through_network)
    guided = guidance(lambda x, timestep, corners: x.sin())
    x = torch.randn(3, 2, 8, 7, 6, generator=torch.Generator().manual_seed(2))
    together = guided(x, 0, [(0, 0, 0)] * 3)
    for i in range(3):
        assert torch.equal(together[i], guided(x[i : i + 1], 0, [(0, 0, 0)])[0])


def test_guidance_begins_where_there_is_signal_and_grows_with_it():
    guidance = Guidance(measure_targets(blobs((9, 9, 9), 2), 2, 3), SCHEDULE, weight=2.0, from_signal=0.6)
    weights = np.array([guidance.weight_at(t) for t in range(1000)])
    assert np.array_equal(weights > 0, SCHEDULE.signal >= 0.6)
    assert weights[0] == pytest.approx(2.0, rel=1e-3)
    assert np.all(np.diff(weights) <= 0)
    x = torch.randn(1, 2, 6, 6, 6)
    assert torch.equal(guidance(lambda x, timestep, corners: x)(x, 999, [(0, 0, 0)]), x)


@pytest.mark.parametrize("through_network", [False, True])
def test_guidance_mends_fraction_correlation_and_surface_of_a_wrong_model(through_network):
    shape = (24, 24, 24)
    right = GaussianModel(shape, (4.0, 4.0, 4.0), mean=0.1)
    wrong = GaussianModel(shape, (3.0, 3.0, 3.0), mean=-0.1)
    wanted = measure_targets([x.argmax(0).numpy() for x in right.draw(8, seed=1)], 2, 8)
    guidance = Guidance(wanted, SCHEDULE, through_network=through_network)
    walk, errors, densities = make_walk(SCHEDULE, steps=15), [], []
    for estimate in (wrong.estimate, guidance(wrong.estimate)):
        made = [carry_out(walk, estimate, shape=shape, seed=seed)[0].argmax(0).numpy() for seed in range(2)]
        found = measure_targets(made, 2, 8)
        pairs = [(found.fractions, wanted.fractions), (found.s2, wanted.s2), (found.surface, wanted.surface)]
        errors.append([np.abs(a - b).mean() for a, b in pairs])
        densities.append(np.mean([evaluate.minkowski(m == 1, connectivity=26).euler_density for m in made]))
    factors = np.array(errors[0]) / errors[1]
    assert np.all(factors > (10, 10, 3)), factors
    truth = np.mean(
        [evaluate.minkowski(x.argmax(0).numpy() == 1, connectivity=26).euler_density for x in right.draw(8, seed=1)]
    )
    # What is not guided comes nearer too.
    assert abs(densities[1] - truth) < abs(densities[0] - truth)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weight": 0}, "weight is 0; give a number above 0"),
        ({"weight": math.nan}, "weight is nan"),
        ({"temperature": -1.0}, "temperature is -1.0; give a number above 0"),
        ({"largest_move": math.inf}, "largest_move is inf"),
        ({"moves": 0}, "moves is 0; give a whole number of at least 1"),
        ({"moves": 1.5}, "moves is 1.5"),
        ({"from_signal": 1.0}, "from_signal is 1.0; give a number from 0 to below 1"),
    ],
)
def test_impossible_guidance_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        Guidance(measure_targets(blobs((6, 6, 6), 2), 2, 2), SCHEDULE, **change)


def test_what_does_not_fit_the_targets_is_refused():
    guidance = Guidance(measure_targets(blobs((9, 9, 9), 2), 2, 6), SCHEDULE)
    with pytest.raises(ValueError, match="3 channels and the targets are of 2 phases"):
        guidance.loss(torch.zeros(3, 8, 8, 8))
    with pytest.raises(ValueError, match=r"r_max is 6; in windows of \(8, 8, 6\) voxels it must be between 0 and 5"):
        guidance.loss(torch.zeros(2, 8, 8, 6))
    with pytest.raises(ValueError, match="at least two along each axis"):
        soft_surface(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="no labels are given"):
        measure_targets([], 2, 3)
    with pytest.raises(ValueError, match="n_phases is 1; give a whole number of at least 2"):
        measure_targets(np.zeros((4, 4, 4), np.uint8), 1, 2)
