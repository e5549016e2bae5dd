import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from synth.laws import Choice, LogUniform, Sometimes, Uniform
from synth.sem.detector import Electronics, apply_electronics, count_noise, illumination

EVERYTHING = Electronics(
    gain_drift=0.05, contrast_drift=0.05, jumps=0.2, flicker=0.01, line_noise=0.01, line_drift=0.01, bits=8
)


def written(grey, rng=0, **settings):
    grey = np.asarray(grey, np.float32)
    return apply_electronics(grey, np.zeros(grey.shape, np.uint8), Electronics(**settings), rng=rng)


# Counting


@pytest.mark.parametrize("mean", [0.5, 3.0, 11.9, 12.0, 40.0, 300.0])
@pytest.mark.parametrize("read_noise", [0.0, 0.05])
def test_counts_have_the_mean_and_the_variance_of_their_law(mean, read_noise):
    dose = 400.0
    grey = np.full((10, 300, 300), mean / dose, np.float32)
    noisy = count_noise(grey, dose=dose, read_noise=read_noise, rng=0).astype(float)
    variance = mean / dose**2 + read_noise**2
    # The fourth central moment of a Poisson law is mean + 3 mean**2; Gaussian noise only dilutes the excess.
    of_variance = variance * math.sqrt((2 + 1 / mean) / grey.size)
    assert abs(noisy.mean() - mean / dose) < 4 * math.sqrt(variance / grey.size) + 2e-5 * mean / dose
    assert abs(noisy.var() - variance) < 4 * of_variance + 2e-5 * variance


@pytest.mark.parametrize("mean", [1.0, 11.9, 12.0, 25.0, 80.0])
def test_counts_follow_the_poisson_law(mean):
    dose = 100.0
    counts = count_noise(np.full((4, 500, 500), mean / dose, np.float32), dose=dose, rng=1).astype(float) * dose
    whole = np.rint(counts)
    np.testing.assert_allclose(counts, whole, atol=1e-4)
    likely = np.arange(*stats.poisson.interval(1 - 1e-4, mean)).astype(int)
    seen = np.array([(whole == k).sum() for k in likely])
    expected = stats.poisson.pmf(likely, mean) * whole.size
    # Chi-squared of as many cells has that mean and twice that variance; the approximation's 4e-4 adds at most 2.
    assert ((seen - expected) ** 2 / expected).sum() < len(likely) + 4 * math.sqrt(2 * len(likely)) + 2


def test_dark_counts_nothing_and_very_many_electrons_make_no_noise():
    grey = np.linspace(-0.2, 1.5, 60, dtype=np.float32).reshape(3, 4, 5)
    assert not count_noise(np.minimum(grey, 0), dose=10.0, rng=0).any()
    np.testing.assert_allclose(count_noise(grey, dose=1e15, rng=0), np.maximum(grey, 0), atol=1e-6)


def test_a_slice_has_noise_of_its_own_that_other_slices_and_threads_do_not_change(monkeypatch):
    grey = np.random.default_rng(0).random((9, 30, 31), np.float32)
    whole = count_noise(grey, dose=50.0, read_noise=0.02, rng=4)
    monkeypatch.setattr("synth.threads.thread_count", lambda: 4)
    assert np.array_equal(count_noise(grey, dose=50.0, read_noise=0.02, rng=4), whole)
    assert np.array_equal(count_noise(grey[:3], dose=50.0, read_noise=0.02, rng=4), whole[:3])
    same = np.full((2, 30, 31), 0.5, np.float32)
    first, second = count_noise(same, dose=50.0, rng=4)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dose": 0.0}, "dose is 0.0; give a number above 0"),
        ({"dose": math.inf}, "dose is inf"),
        ({"read_noise": -1.0}, "read_noise is -1.0; give a number of at least 0"),
        ({"grey": np.zeros((2, 2), np.float32)}, r"grey is float32 of shape \(2, 2\)"),
        ({"grey": np.zeros((2, 2, 2))}, "grey is float64"),
        ({"grey": np.full((1, 1, 1), np.nan, np.float32)}, "give finite float32"),
    ],
)
def test_counts_of_nonsense_are_refused(changes, sentence):
    arguments = {"grey": np.zeros((1, 2, 2), np.float32), "dose": 10.0} | changes
    with pytest.raises(ValueError, match=sentence):
        count_noise(arguments.pop("grey"), **arguments, rng=0)


# Numbers in a file


@pytest.mark.parametrize("bits", [1, 8, 12, 16])
def test_grey_ends_on_the_levels_of_its_bits(bits):
    grey = np.random.default_rng(0).random((3, 50, 50), np.float32)
    out = written(grey, bits=bits)
    steps = 2**bits - 1
    levels = np.rint(out.astype(float) * steps)
    assert np.array_equal(out, (levels / steps).astype(np.float32))
    assert abs(out - grey).max() <= 0.5 / steps + 6e-8
    assert {0, 1} == {int(out.min()), math.ceil(out.max())}


def test_passing_on_keeps_the_bytes_and_draws_one_number():
    grey = np.random.default_rng(0).random((3, 50, 50), np.float32)
    rngs = [np.random.default_rng(3) for _ in range(2)]
    out = apply_electronics(grey, np.zeros(grey.shape, np.uint8), Electronics(), rng=rngs[0])
    apply_electronics(grey, np.zeros(grey.shape, np.uint8), EVERYTHING, rng=rngs[1])
    assert out.tobytes() == grey.tobytes()
    assert out is not grey
    assert rngs[0].integers(2**60) == rngs[1].integers(2**60)


def test_seed_decides_every_byte_whatever_the_threads(monkeypatch):
    grey = np.random.default_rng(0).random((9, 20, 21), np.float32)
    images = []
    for n_threads in (1, 4):
        monkeypatch.setattr("synth.threads.thread_count", lambda n=n_threads: n)
        images.append(written(grey, rng=5, **dataclasses.asdict(EVERYTHING)).tobytes())
    assert images[0] == images[1] != written(grey, rng=6, **dataclasses.asdict(EVERYTHING)).tobytes()


def test_what_lies_outside_black_and_white_is_cut():
    out = written([[[-0.5, 0.0, 0.1, 0.3, 0.5, 0.9, 7.0]]], black=0.1, white=0.5 + 1e-9)
    np.testing.assert_allclose(out[0, 0], [0, 0, 0, 0.5, 1, 1, 1], atol=1e-6)


# Drifts


def test_gain_drifts_with_its_standard_deviation_and_correlation():
    gain = np.log(written(np.full((4000, 1, 2), 0.5), gain_drift=0.05, drift_slices=0.0)[:, 0, 0] / 0.5)
    assert abs(gain.std() / 0.05 - 1) < 4 / math.sqrt(2 * 4000)
    slow = np.log(written(np.full((4000, 1, 2), 0.5), gain_drift=0.05, drift_slices=10.0)[:, 0, 0] / 0.5)
    assert abs(np.corrcoef(slow[:-10], slow[10:])[0, 1] - math.exp(-1)) < 4 * math.sqrt(10 / 4000)


def test_contrast_drifts_about_middle_grey():
    out = written(np.tile(np.array([0.3, 0.5, 0.6]), (2000, 1, 1)), contrast_drift=0.1, drift_slices=0.0)[:, 0]
    np.testing.assert_allclose(out[:, 1], 0.5, atol=1e-6)
    np.testing.assert_allclose((out[:, 0] - 0.5) / (out[:, 2] - 0.5), -2, rtol=1e-4)
    contrast = np.log((out[:, 2] - 0.5) / 0.1)
    assert abs(contrast.std() / 0.1 - 1) < 4 / math.sqrt(2 * 2000)


def test_brightness_jumps_as_often_as_asked_and_stays():
    level = written(np.full((2000, 1, 1), 0.5), jumps=0.1, jump=0.001)[:, 0, 0].astype(float)
    steps = np.diff(level)
    jumped = abs(steps) > 1e-6
    assert abs(jumped.mean() - 0.1) < 4 * math.sqrt(0.09 / 2000)
    assert abs(steps[jumped].std() / 0.001 - 1) < 4 / math.sqrt(2 * jumped.sum())


def test_flicker_is_of_each_slice_alone():
    level = written(np.full((3000, 1, 1), 0.5), flicker=0.02)[:, 0, 0].astype(float) - 0.5
    assert abs(level.std() / 0.02 - 1) < 4 / math.sqrt(2 * 3000)
    assert abs(np.corrcoef(level[1:], level[:-1])[0, 1]) < 4 / math.sqrt(3000)


def test_line_noise_shifts_whole_rows():
    white = written(np.full((20, 200, 3), 0.5), line_noise=0.02).astype(float) - 0.5
    assert np.array_equal(white[:, :, 0], white[:, :, 2])
    assert abs(white[:, :, 0].std() / 0.02 - 1) < 4 / math.sqrt(2 * 20 * 200)
    slow = written(np.full((20, 500, 1), 0.5), line_drift=0.02, line_rows=5.0)[:, :, 0].astype(float) - 0.5
    got = (slow[:, 5:] * slow[:, :-5]).mean() / 0.02**2
    assert abs(got - math.exp(-1)) < 4 * math.sqrt(2 * 5 / (20 * 500))


def test_bleeding_correlates_noise_along_the_fast_scan_and_moves_no_edge():
    grey = 0.5 + 0.05 * np.random.default_rng(0).standard_normal((4, 300, 300))
    noise = written(grey, bleed=0.3)[:, :, 1:-1].astype(float) - 0.5
    noise -= noise.mean()
    kernel = np.array([0.15, 0.7, 0.15])
    expected = np.correlate(kernel, kernel, "full")[2:] * 0.05**2
    error = 0.05**2 / math.sqrt(noise.size)
    for lag, covariance in enumerate(expected):
        assert abs((noise[:, :, : 298 - lag] * noise[:, :, lag:]).mean() - covariance) < 4 * math.sqrt(2) * error
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 4 * error
    edge = np.tile(np.repeat([0.2, 0.8], 6), (1, 2, 1))
    np.testing.assert_allclose(written(edge, bleed=0.3) + written(edge, bleed=0.3)[:, :, ::-1], 1, atol=1e-6)
    assert np.array_equal(written(edge, bleed=0.3)[0, 0, [0, -1]], np.float32([0.2, 0.8]))


# Uneven detection


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_illumination_has_its_span_and_the_mean_1(seed):
    field = illumination((40, 60), shading=0.3, rng=seed)
    assert abs(np.ptp(field) - 0.3) < 1e-6
    assert abs(field.mean() - 1) < 1e-6
    assert not np.array_equal(field, illumination((40, 60), shading=0.3, rng=seed + 1))
    assert np.array_equal(illumination((1, 1), shading=0.3, rng=seed), [[1]])


def test_illumination_is_a_plane_and_a_bowl():
    field = illumination((41, 61), shading=0.3, rng=5).astype(float)
    y, x = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 61), indexing="ij")
    basis = np.stack([y * 0 + 1, y, x, y**2 + x**2], axis=-1).reshape(-1, 4)
    rest = np.linalg.lstsq(basis, field.ravel(), rcond=None)[1]
    assert math.sqrt(rest[0] / field.size) < 1e-7


# What is refused


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gain_drift": -0.1}, "gain_drift is -0.1; give a number of at least 0 and of at most 1"),
        ({"contrast_drift": math.nan}, "contrast_drift is nan"),
        ({"jumps": 2}, "jumps is 2"),
        ({"flicker": Uniform(0.5, 1.5)}, r"flicker is \{'uniform': \[0.5, 1.5\]\}"),
        ({"line_noise": "much"}, "line_noise is 'much'; give a number"),
        ({"line_rows": -1}, "line_rows is -1"),
        ({"drift_slices": math.inf}, "drift_slices is inf"),
        ({"bleed": 0.6}, "bleed is 0.6"),
        ({"black": 0.6}, "black is 0.6"),
        ({"white": 0.5}, "white is 0.5; give a number above 0.5"),
        ({"bits": 0}, "bits is 0; give a whole number from 1 to 16, or None, or a choice of these"),
        ({"bits": 8.0}, "bits is 8.0"),
        ({"bits": True}, "bits is True"),
        ({"bits": Uniform(8, 16)}, r"bits is Uniform\(low=8, high=16\)"),
        ({"bits": Choice((8, 32))}, "bits is 32"),
        ({"bits": Sometimes(0.5, 8, 0)}, "bits is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Electronics(**changes)


def test_bits_may_be_a_choice_and_other_settings_laws():
    lawful = Electronics(bits=Choice((8, 16, None)), gain_drift=Sometimes(0.5, LogUniform(0.01, 0.1)))
    with pytest.raises(ValueError, match="these Electronics hold laws"):
        written(np.zeros((1, 2, 2)), **{f.name: getattr(lawful, f.name) for f in dataclasses.fields(lawful)})


@pytest.mark.parametrize("shading", [-0.1, 1.5, math.nan])
def test_impossible_shading_is_refused(shading):
    with pytest.raises(ValueError, match="shading is"):
        illumination((4, 4), shading=shading, rng=0)
