import dataclasses
import math

import numpy as np
import pytest

from synth.laws import Uniform
from synth.sem.optics import Optics, apply_optics

# A kernel ends at 4.5 standard deviations: what lies beyond holds less than 2e-4 of the variance.
TRUNCATION = 5e-4


def imaged(grey, rng=0, **settings):
    return apply_optics(grey, np.zeros(grey.shape, np.uint8), Optics(**settings), rng=rng).astype(float)


def imaged_point(**settings):
    point = np.zeros((1, 101, 101), np.float32)
    point[0, 50, 50] = 1
    return imaged(point, **settings)[0]


def moments(spot):
    """Return sum, mean (y, x) and covariance of a spot."""
    y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in spot.shape), indexing="ij")
    mean = (spot * y).sum(), (spot * x).sum()
    dy, dx = y - mean[0], x - mean[1]
    return spot.sum(), mean, np.array([[(spot * a * b).sum() for b in (dy, dx)] for a in (dy, dx)])


@pytest.mark.parametrize("defocus", [0.2, 0.7, 2.0, 5.0, -2.0])
@pytest.mark.parametrize(("ratio", "angle"), [(1.0, 30.0), (1.5, 0.0), (1.5, 45.0), (2.0, 110.0), (3.0, 20.0)])
def test_second_moments_of_an_imaged_point_are_those_of_the_spot(defocus, ratio, angle):
    total, mean, covariance = moments(imaged_point(defocus_px=defocus, astigmatism=ratio, astigmatism_deg=angle))
    turned = math.radians(angle + (90 if defocus < 0 else 0))
    long, short = np.array([math.sin(turned), math.cos(turned)]), np.array([math.cos(turned), -math.sin(turned)])
    expected = defocus**2 * (ratio * np.outer(long, long) + np.outer(short, short) / ratio)
    assert abs(total - 1) < 1e-5
    np.testing.assert_allclose(mean, 0, atol=1e-5)
    np.testing.assert_allclose(covariance, expected, atol=TRUNCATION * defocus**2 * ratio + 1e-5)


def test_spot_is_a_gaussian():
    spot = imaged_point(defocus_px=3.0, astigmatism=2.0, astigmatism_deg=25.0)
    turned = math.radians(25)
    y, x = np.meshgrid(np.arange(101) - 50, np.arange(101) - 50, indexing="ij")
    along, across = x * math.cos(turned) + y * math.sin(turned), y * math.cos(turned) - x * math.sin(turned)
    expected = np.exp(-(along**2) / (2 * 18) - across**2 / (2 * 4.5)) / (2 * math.pi * 9)
    # A discrete Gaussian's fourth moment is larger than a Gaussian's by its variance: 1 / (8 variance) of the peak.
    assert abs(spot - expected).max() < expected.max() / (8 * 4.5) * 1.5


def test_without_defocus_the_bytes_stay_and_one_number_is_drawn():
    grey = np.random.default_rng(0).random((3, 9, 8), np.float32)
    labels = np.zeros(grey.shape, np.uint8)
    rngs = [np.random.default_rng(3) for _ in range(2)]
    same = apply_optics(grey, labels, Optics(astigmatism=2.0), rng=rngs[0])
    apply_optics(grey, labels, Optics(drift_px=1.0), rng=rngs[1])
    assert same.tobytes() == grey.tobytes()
    assert same is not grey
    assert rngs[0].integers(2**60) == rngs[1].integers(2**60)


def test_seed_decides_every_byte_whatever_the_threads(monkeypatch):
    grey = np.random.default_rng(0).random((9, 20, 21), np.float32)
    images = []
    for n_threads in (1, 4):
        monkeypatch.setattr("synth.threads.thread_count", lambda n=n_threads: n)
        images.append(imaged(grey, rng=5, drift_px=0.5, field_px=1.0, astigmatism=1.7).tobytes())
    assert images[0] == images[1] != imaged(grey, rng=6, drift_px=0.5, field_px=1.0, astigmatism=1.7).tobytes()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 9), (2, 9, 1), (1, 4, 4)])
def test_even_image_stays_even_to_its_border(shape):
    grey = np.full(shape, 0.37, np.float32)
    out = imaged(grey, defocus_px=2.5, field_px=1.0, drift_px=0.5, astigmatism=2.5, astigmatism_deg=15.0)
    np.testing.assert_allclose(out, 0.37, rtol=1e-5)


def test_focus_is_best_in_the_middle_row_and_worse_by_its_law_towards_both_ends():
    line = np.zeros((1, 81, 81), np.float32)
    line[0, :, 40] = 1
    out = imaged(line, field_px=2.0)[0]
    x = np.arange(81) - 40
    variances = (out * x**2).sum(axis=1)
    # The rows around a row are blurred along x by themselves: a row gathers their mean, 2 d**2 of a second difference.
    expected = (2.0 * np.linspace(-1, 1, 81)) ** 2
    np.testing.assert_allclose(variances[10:-10], expected[10:-10], atol=0.02)
    assert np.array_equal(out[40], line[0, 40])
    np.testing.assert_allclose(variances, variances[::-1], atol=1e-4)


def test_defocus_drifts_with_its_standard_deviation_and_correlation():
    line = np.zeros((3000, 1, 31), np.float32)
    line[:, 0, 15] = 1
    x = np.arange(31) - 15
    white = (imaged(line, drift_px=0.8, drift_slices=0.0)[:, 0] * x**2).sum(axis=1)
    # The variance of a spot is the squared defocus, of mean 0.64 and standard deviation 0.64 sqrt(2).
    assert abs(white.mean() - 0.64) < 4 * 0.64 * math.sqrt(2 / 3000)
    slow = (imaged(line, drift_px=0.8, drift_slices=10.0)[:, 0] * x**2).sum(axis=1)
    # Squares of normal numbers of correlation r have correlation r**2; 3000 slices hold about 3000 / 10 of them.
    got = np.corrcoef(slow[:-5], slow[5:])[0, 1]
    assert abs(got - math.exp(-1)) < 4 * math.sqrt(1 / 300)


def test_defocus_beyond_sense_is_cut():
    out = imaged(np.eye(64, dtype=np.float32)[None], defocus_px=10.0, field_px=10.0)
    assert np.isfinite(out).all()
    assert out.min() >= 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"defocus_px": 11.0}, "defocus_px is 11.0; give a number of at least -10 and of at most 10"),
        ({"field_px": math.nan}, "field_px is nan"),
        ({"drift_px": -0.1}, "drift_px is -0.1"),
        ({"drift_px": Uniform(1.0, 9.0)}, r"drift_px is \{'uniform': \[1.0, 9.0\]\}"),
        ({"drift_slices": -1}, "drift_slices is -1"),
        ({"astigmatism": 0.5}, "astigmatism is 0.5; give a number of at least 1 and of at most 3"),
        ({"astigmatism_deg": math.inf}, "astigmatism_deg is inf; give a number that is finite"),
        ({"astigmatism_deg": "x"}, "astigmatism_deg is 'x'; give a number"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Optics(**changes)


def test_settings_must_have_been_drawn():
    grey = np.zeros((1, 2, 2), np.float32)
    lawful = dataclasses.replace(Optics(), drift_px=Uniform(0.0, 1.0))
    with pytest.raises(ValueError, match="these Optics hold laws"):
        apply_optics(grey, grey.astype(np.uint8), lawful, rng=0)
