"""Inpainting on a Gaussian field, whose conditional distribution is known, and resampled walks."""

import numpy as np
import pytest
import torch
from gaussian_oracle import GaussianModel, carry_out, field

from generative.coding import LabelCoding, encode
from generative.inpainting import known_region
from generative.noise_schedule import cosine_schedule
from generative.position_noise import PositionNoise
from generative.walking import walk_windows
from generative.walks import make_walk, with_resampling

SCHEDULE = cosine_schedule()


def blobs(shape=(7, 8, 9), n_phases=3):
    return np.random.default_rng(0).integers(n_phases, size=shape).astype(np.uint8)


# ---- walks that go back ----


def spread_along(walk, signal, noise):
    """Return mean and variance of x after each row for a voxel whose clean value is known to be 1."""
    mean, variance, found = signal, noise**2, []
    for keep, estimate, memory, fresh in zip(walk.keep, walk.estimate, walk.memory, walk.noise, strict=True):
        mean, variance = keep * mean + estimate + memory, keep**2 * variance + fresh**2
        found.append((mean, variance))
    return np.array(found)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++"])
@pytest.mark.parametrize(("jump", "repeats"), [(1, 3), (2, 2), (5, 4), (11, 2)])
def test_a_known_voxel_has_the_forward_distribution_at_every_row_of_a_resampled_walk(sampler, jump, repeats):
    walk = with_resampling(make_walk(SCHEDULE, sampler=sampler, steps=12), SCHEDULE, jump=jump, repeats=repeats)
    first = walk.timesteps[0]
    reached = spread_along(walk, SCHEDULE.signal[first], SCHEDULE.noise[first])
    expected = np.stack([SCHEDULE.signal, SCHEDULE.noise**2], axis=1)[walk.timesteps[1:]]
    np.testing.assert_allclose(reached, [*expected, (1.0, 0.0)], atol=1e-9)


def test_resampled_walk_goes_over_its_parts_as_often_as_asked():
    walk = make_walk(SCHEDULE, steps=7)
    again = with_resampling(walk, SCHEDULE, jump=3, repeats=2)
    order = [0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]
    assert np.array_equal(again.timesteps, walk.timesteps[order])
    assert len(with_resampling(walk, SCHEDULE, jump=2, repeats=3)) == 7 + 3 * 2 * 2


def test_resampling_once_is_the_walk_itself():
    walk = make_walk(SCHEDULE, steps=9)
    once = with_resampling(walk, SCHEDULE, jump=4, repeats=1)
    for name in ("timesteps", "keep", "estimate", "memory", "noise"):
        assert np.array_equal(getattr(once, name), getattr(walk, name))


def test_estimates_of_a_later_time_are_never_extrapolated_from():
    again = with_resampling(make_walk(SCHEDULE, steps=12), SCHEDULE, jump=4, repeats=3)
    back = np.flatnonzero(np.diff(again.timesteps) > 0) + 1
    assert len(back) > 0
    assert np.all(again.memory[back] == 0)
    assert np.count_nonzero(again.memory[back + 1]) == len(back)


@pytest.mark.parametrize(
    ("jump", "repeats", "sentence"),
    [(0, 2, "jump is 0; it must be between 1 and 5"), (6, 2, "jump is 6"), (2, 0, "repeats is 0; give a whole number")],
)
def test_impossible_resampling_is_refused(jump, repeats, sentence):
    with pytest.raises(ValueError, match=sentence):
        with_resampling(make_walk(SCHEDULE, steps=6), SCHEDULE, jump=jump, repeats=repeats)


def test_a_walk_that_goes_back_is_not_resampled_again():
    again = with_resampling(make_walk(SCHEDULE, steps=6), SCHEDULE, jump=2, repeats=2)
    with pytest.raises(ValueError, match="goes back already"):
        with_resampling(again, SCHEDULE, jump=2, repeats=2)


# ---- the border of what is known ----


@pytest.fixture(scope="module")
def lines():
    """1024 independent periodic lines of 32 voxels, the first 12 of each known; their exact conditional means."""
    model = GaussianModel((32, 32, 32), (1e-3, 1e-3, 3.0))
    clean = model.draw(1, seed=1)
    covariance = np.array([np.roll(model.correlation[0, 0], i) for i in range(32)])
    weights = covariance[12:, :12] @ np.linalg.pinv(covariance[:12, :12], rcond=1e-6)
    return model, clean, field(clean)[0, :, :, :12].numpy() @ weights.T


def border(lines, walk):
    """Return the variogram across the border in parts of the true one, and the slope on the conditional mean there."""
    model, clean, expected = lines
    mask = (torch.arange(32) < 12).expand(32, 32, 32)
    g = field(carry_out(walk, model.estimate, shape=model.shape, known=(clean, mask)))[0].double().numpy()
    assert np.allclose(g[..., :12], field(clean)[0, :, :, :12], atol=1e-6)
    across = np.mean((g[..., 12] - g[..., 11]) ** 2) / (2 * 0.25 * (1 - model.correlation[0, 0, 1]))
    seen = expected[..., :3]
    return across, float((g[..., 12:15] * seen).sum() / (seen**2).sum())


def test_resampling_joins_what_is_filled_in_to_what_is_known(lines):
    walk = make_walk(SCHEDULE, sampler="ddpm", steps=30)
    across, slope = border(lines, walk)
    joined, followed = border(lines, with_resampling(walk, SCHEDULE, jump=5, repeats=6))
    # Exact: 1 and 1. The variogram of 1024 lines has a relative standard error of sqrt(2 / 1024), 0.044.
    assert across > 1.4
    assert abs(joined - 1) < 0.5 * abs(across - 1)
    # Seen: 0.34 and 0.52. The rest of the way would take many more turns.
    assert 1 - followed < 0.8 * (1 - slope)


# ---- what is known ----


def test_known_region_ends_as_it_is_and_the_rest_is_made_up():
    labels = blobs((8, 8, 8), 2)
    mask = np.zeros(labels.shape, bool)
    mask[1:5, 2:, :3] = True
    known = known_region(labels, mask, n_phases=2)
    model = GaussianModel((8, 8, 8), (2.0, 2.0, 2.0))
    scores = walk_windows(
        model.estimate,
        with_resampling(make_walk(SCHEDULE, steps=6), SCHEDULE, jump=2, repeats=2),
        shape=(8, 8, 8),
        channels=2,
        noise=PositionNoise(0, 2),
        window=(8, 8, 8),
        overlap=0,
        known=(known.clean, known.mask),
    )
    made = scores.argmax(axis=0)
    assert np.array_equal(made[mask], labels[mask])
    assert np.count_nonzero(made != labels) > 0


@pytest.mark.parametrize("kind", ["one_hot", "distance"])
def test_cuts_of_a_known_region_are_those_of_the_whole_volume(kind):
    labels, coding = blobs(), LabelCoding(kind)
    known = known_region(labels, n_phases=3, coding=coding, shape=(12, 11, 10), corner=(4, 1, 0))
    whole = np.zeros((3, 12, 11, 10))
    whole[:, 4:11, 1:9, :9] = encode(labels, 3, coding=coding)
    assert known.clean.shape == whole.shape
    for first, last in [(0, 12), (0, 3), (3, 6), (5, 7), (10, 12), (11, 12)]:
        assert np.array_equal(known.clean[:, first:last], whole[:, first:last])
        assert known.mask[first:last].sum() == max(0, min(last, 11) - max(first, 4)) * 8 * 9


def test_known_region_holds_only_the_box_round_what_is_known():
    mask = np.zeros((7, 8, 9), bool)
    mask[2, 3, 4] = mask[4, 4, 4] = True
    known = known_region(blobs(), mask, n_phases=3)
    assert known.clean.box.shape == (3, 3, 2, 1)
    assert np.array_equal(known.mask[:], mask)


def test_unknown_labels_are_not_looked_at():
    labels, mask = blobs(), np.random.default_rng(1).random((7, 8, 9)) < 0.3
    other = np.where(mask, labels, 200)
    one, two = (known_region(v, mask, n_phases=3, coding=LabelCoding("smoothed")) for v in (labels, other))
    assert np.array_equal(one.clean[:], two.clean[:])


def test_paste_puts_exactly_the_known_labels_back():
    labels, mask = blobs(), np.random.default_rng(1).random((7, 8, 9)) < 0.3
    known = known_region(labels, mask, n_phases=3)
    made = np.full(labels.shape, 2, np.uint8)
    assert np.array_equal(known.paste(made), np.where(mask, labels, 2))
    assert np.array_equal(known.paste(made[3:5], first=3), np.where(mask, labels, 2)[3:5])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": np.zeros((4, 4), int)}, r"the known labels have shape \(4, 4\) and type int64"),
        ({"labels": np.zeros((4, 4, 4))}, "type float64; give whole numbers"),
        ({"mask": np.ones((4, 4, 5), bool)}, r"the mask has shape \(4, 4, 5\) and type bool"),
        ({"mask": np.full((4, 4, 4), 2)}, "give True or False for each"),
        ({"mask": np.zeros((4, 4, 4), bool)}, "the mask is False everywhere"),
        ({"labels": np.full((4, 4, 4), 2)}, "the known labels go from 2 to 2; this model has 2 phases, labels 0 to 1"),
        ({"corner": (1, 0, 0)}, r"at corner \(1, 0, 0\) do not fit into a volume of shape \(4, 4, 4\)"),
        ({"corner": (0, 0, -1)}, "do not fit"),
        ({"shape": (4, 4)}, "give three numbers"),
        ({"shape": (4, 4, 4.5)}, "give three whole numbers"),
    ],
)
def test_a_known_region_that_does_not_fit_is_refused(change, sentence):
    settings = {"labels": np.zeros((4, 4, 4), np.uint8), "mask": None} | change
    with pytest.raises(ValueError, match=sentence):
        known_region(settings.pop("labels"), settings.pop("mask"), n_phases=2, **settings)
