"""Two-point correlation against pairs counted one by one and media whose S2 is known."""

import itertools

import numpy as np
import pytest

from evaluate import two_point


def counted_one_by_one(mask, periodic, r_max):
    """Share of the pairs with both voxels inside, and their mean distance, for each bin."""
    hits, pairs, distances = np.zeros((3, r_max + 1))
    voxels = list(np.ndindex(mask.shape))
    if periodic:
        lags = itertools.product(range(-r_max, r_max + 1), repeat=3)
        couples = ((p, tuple((a + b) % n for a, b, n in zip(p, lag, mask.shape, strict=True)), lag)
                   for lag in lags for p in voxels)  # fmt: skip
    else:
        couples = ((p, q, tuple(np.subtract(q, p))) for p in voxels for q in voxels)
    for p, q, lag in couples:
        distance = np.sqrt(sum(float(d) ** 2 for d in lag))
        k = int(np.floor(distance + 0.5))
        if k <= r_max:
            hits[k] += mask[p] and mask[q]
            pairs[k] += 1
            distances[k] += distance
    return distances / pairs, hits / pairs


@pytest.mark.parametrize(
    ("shape", "periodic", "r_max"),
    [((5, 6, 7), False, 4), ((5, 4, 6), True, 2), ((4, 4, 4), True, 2), ((1, 6, 8), False, 5)],
)
def test_equals_pairs_counted_one_by_one(shape, periodic, r_max):
    mask = np.random.default_rng(0).random(shape) < 0.4
    found = two_point(mask, periodic=periodic, r_max=r_max)
    r, s2 = counted_one_by_one(mask, periodic, r_max)
    np.testing.assert_allclose(found.r, r, rtol=1e-12)
    np.testing.assert_allclose(found.s2, s2, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("periodic", [False, True])
def test_s2_at_zero_is_exactly_the_volume_fraction(periodic):
    mask = np.random.default_rng(1).random((17, 19, 23)) < 0.37
    found = two_point(mask, periodic=periodic)
    assert found.s2[0] == mask.mean()
    assert found.r[0] == 0
    assert found.r.shape == found.s2.shape == (9,)


@pytest.mark.parametrize("periodic", [False, True])
def test_independent_voxels_are_correlated_at_zero_alone(periodic):
    fraction = 0.3
    mask = np.random.default_rng(2).random((48, 48, 48)) < fraction
    found = two_point(mask, periodic=periodic)
    np.testing.assert_allclose(found.s2[1:], fraction**2, atol=4e-3)


def test_boolean_model_follows_its_exact_correlation():
    """Overlapping spheres: S2(r) = 2φ - 1 + exp(-ρ V(r)), V the volume of two spheres' union."""
    rng, n, radius, density = np.random.default_rng(3), 96, 6, 6e-4
    z, y, x = np.indices((2 * radius + 1,) * 3) - radius
    stamp = np.argwhere(z**2 + y**2 + x**2 <= radius**2) - radius
    solid = np.zeros((n, n, n), bool)
    for centre in rng.integers(0, n, (rng.poisson(density * n**3), 3)):
        solid[tuple(((stamp + centre) % n).T)] = True
    found = two_point(solid, periodic=True, r_max=24)
    ball = len(stamp)
    shared = np.clip(1 - 0.75 * found.r / radius + (found.r / radius) ** 3 / 16, 0, 1) * (found.r < 2 * radius)
    fraction = 1 - np.exp(-density * ball)
    expected = 2 * fraction - 1 + np.exp(-density * ball * (2 - shared))
    np.testing.assert_allclose(found.s2, expected, atol=0.03)
    assert found.s2[16:].mean() == pytest.approx(solid.mean() ** 2, abs=0.015)


def test_constant_masks_give_exactly_one_or_zero():
    for periodic in (False, True):
        assert np.all(two_point(np.ones((6, 7, 8), bool), periodic=periodic).s2 == 1)
        assert np.all(two_point(np.zeros((6, 7, 8), bool), periodic=periodic).s2 == 0)


def test_checkerboard_alternates_along_the_axes():
    mask = np.indices((12, 12, 12)).sum(axis=0) % 2 == 0
    found = two_point(mask, periodic=True, r_max=1)
    # The bin of 1 holds 6 displacements of odd parity (never both inside) and 12 of even parity (half of the pairs).
    assert found.s2[1] == pytest.approx(12 * 0.5 / 18)
    assert found.r[1] == pytest.approx((6 + 12 * np.sqrt(2)) / 18)


def test_initial_slope_is_a_quarter_of_the_specific_surface():
    from evaluate import minkowski

    grid = np.indices((64, 64, 64)) - 31.5
    mask = (grid**2).sum(axis=0) <= 24**2
    found = two_point(mask, periodic=True)
    slope = (found.s2[4] - found.s2[0]) / found.r[4]
    assert -4 * slope == pytest.approx(minkowski(mask).specific_surface, rel=0.05)


def test_free_borders_do_not_wrap_around():
    mask = np.zeros((12, 12, 12), bool)
    mask[0] = mask[-1] = True
    apart, together = two_point(mask, r_max=2), two_point(mask, periodic=True, r_max=2)
    assert together.s2[1] > apart.s2[1]


@pytest.mark.parametrize(("periodic", "r_max"), [(False, 8), (True, 5), (False, -1), (False, 2.5), (False, "far")])
def test_r_max_out_of_range_is_refused(periodic, r_max):
    with pytest.raises(ValueError, match="r_max"):
        two_point(np.zeros((8, 9, 10), bool), periodic=periodic, r_max=r_max)


@pytest.mark.parametrize(
    "mask", [np.zeros((4, 4)), np.full((3, 3, 3), np.nan), np.full((3, 3, 3), 3), np.zeros((0, 1, 1))]
)
def test_what_is_not_a_mask_is_refused(mask):
    with pytest.raises(ValueError, match="mask"):
        two_point(mask)
