from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from generative.position_noise import BLOCK, PositionNoise

SIDE = 64
N = SIDE**3
PINNED = [0.26160115, -0.36925218, 0.039047852, 0.9430306]


@pytest.fixture(scope="module")
def cube():
    return PositionNoise(7, 2).read(3, (-SIDE // 2,) * 3, (SIDE,) * 3)


def test_moments_are_those_of_the_standard_normal(cube):
    x = cube.ravel().astype(np.float64)
    # Standard errors of the mean of x, x², x³, x⁴ of a normal: √(1, 2, 15, 96) / √n.
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(x**power) - moment) < 4 * np.sqrt(variance / x.size)


def test_distribution_is_normal_in_each_channel(cube):
    for channel in cube:
        # The limit of Kolmogorov's distribution at a level of 1e-4.
        assert stats.kstest(channel.ravel(), "norm").statistic < 2.23 / np.sqrt(N)


def test_channels_steps_seeds_and_neighbouring_voxels_and_blocks_are_independent(cube):
    first = cube[0]
    region = ((-SIDE // 2,) * 3, (SIDE,) * 3)
    others = [
        cube[1],
        PositionNoise(7, 1).read(4, *region)[0],
        PositionNoise(8, 1).read(3, *region)[0],
        PositionNoise(3, 1).read(7, *region)[0],
        *(np.roll(first, lag, axis) for axis in range(3) for lag in (1, BLOCK, 2 * BLOCK)),
    ]
    for other in others:
        assert abs(np.mean(first * other)) < 4.5 / np.sqrt(N)
        assert abs(np.mean((first**2 - 1) * (other**2 - 1)) / 2) < 4.5 / np.sqrt(N)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(0, SIDE - 1)] * 3),
    st.tuples(*[st.integers(0, SIDE)] * 3),
)
def test_a_region_shows_the_same_noise_as_any_other_that_holds_it(cube, start, shape):
    end = [min(a + n, SIDE) for a, n in zip(start, shape, strict=True)]
    part = PositionNoise(7, 2).read(3, [a - SIDE // 2 for a in start], [b - a for a, b in zip(start, end, strict=True)])
    assert np.array_equal(part, cube[(slice(None), *(slice(a, b) for a, b in zip(start, end, strict=True)))])


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.integers(-90, 90)] * 3),
    st.tuples(*[st.integers(1, 50)] * 3),
)
def test_periodic_noise_repeats_the_cell_at_the_origin(period, origin, shape):
    noise = PositionNoise(1, 1)
    cell = noise.read(0, (0, 0, 0), period)[0]
    wrapped = [(a + np.arange(n)) % p for a, n, p in zip(origin, shape, period, strict=True)]
    assert np.array_equal(noise.read(0, origin, shape, period=period)[0], cell[np.ix_(*wrapped)])


def test_threads_and_number_of_channels_change_nothing():
    noise = PositionNoise(5, 3)
    regions = [((z, -3, 2), (20, 9, 11)) for z in range(0, 80, 10)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda region: noise.read(1, *region), regions))
    for region, found in zip(regions, together, strict=True):
        assert np.array_equal(found, noise.read(1, *region))
        assert np.array_equal(found[:2], PositionNoise(5, 2).read(1, *region))


def test_a_seed_means_the_same_noise_in_every_version():
    found = PositionNoise(2**64 - 1, 2).read(2, (-1, 100, 10**12), (1, 1, 2)).ravel()
    np.testing.assert_allclose(found, PINNED, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"channels": 0}, "channels is 0"),
        ({"channels": True}, "channels is True"),
        ({"step": -1}, "step is -1"),
        ({"step": float("nan")}, "step is nan"),
        ({"origin": (0, 0)}, "origin is .*three whole numbers"),
        ({"origin": "abc"}, "origin is 'abc'"),
        ({"shape": (1, -1, 1)}, "shape is -1"),
        ({"shape": (1, 1.5, 1)}, "shape is 1.5"),
        ({"period": (0, 4, 4)}, "period is 0"),
        ({"period": 4}, "period is 4"),
    ],
)
def test_noise_that_is_nowhere_is_refused(change, message):
    given = {"seed": 0, "channels": 1, "step": 0, "origin": (0, 0, 0), "shape": (1, 1, 1), "period": None} | change
    with pytest.raises(ValueError, match=message):
        PositionNoise(given["seed"], given["channels"]).read(
            given["step"], given["origin"], given["shape"], period=given["period"]
        )
