import dataclasses
import math

import numpy as np
import pytest

from synth import sphere_pack
from synth.laws import Uniform
from synth.sem.charging import Charging, apply_charging

EVEN = Charging(patches=0.0, isolated=0.0)
EVERYTHING = Charging(glow=0.2, halo=-0.1, streak=0.1, drift=0.05, jumps=2.0)


def added(labels, settings=EVEN, rng=0, **changes):
    """Return what charging adds to an even grey of 0.5."""
    grey = np.full(labels.shape, 0.5, np.float32)
    return apply_charging(grey, labels, dataclasses.replace(settings, **changes), rng=rng).astype(float) - 0.5


def charged_left(shape=(1, 4, 300), width=30):
    labels = np.zeros(shape, np.uint8)
    labels[:, :, :width] = 1
    return labels


def test_seed_decides_every_byte_whatever_the_threads(monkeypatch):
    labels = sphere_pack((20, 40, 44), porosity=0.5, diameter_vox=12, rng=1).labels
    grey = np.random.default_rng(0).random(labels.shape, np.float32)
    before = grey.copy(), labels.copy()
    images = []
    for n_threads in (1, 4):
        monkeypatch.setattr("synth.threads.thread_count", lambda n=n_threads: n)
        images.append(apply_charging(grey, labels, EVERYTHING, rng=5).tobytes())
    assert images[0] == images[1] != apply_charging(grey, labels, EVERYTHING, rng=6).tobytes()
    assert np.array_equal(grey, before[0])
    assert np.array_equal(labels, before[1])


def test_without_strength_the_bytes_stay_and_one_number_is_drawn():
    labels = charged_left()
    grey = np.random.default_rng(0).random(labels.shape, np.float32)
    rngs = [np.random.default_rng(3) for _ in range(2)]
    none = apply_charging(grey, labels, Charging(), rng=rngs[0])
    apply_charging(grey, labels, EVERYTHING, rng=rngs[1])
    assert none.tobytes() == grey.tobytes()
    assert none is not grey
    assert rngs[0].integers(2**60) == rngs[1].integers(2**60)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 9), (2, 9, 1), (1, 5, 7)])
def test_any_shape_is_worked_on(shape):
    out = added(np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8), EVERYTHING)
    assert out.shape == shape
    assert np.isfinite(out).all()


# Glow


def test_charged_phases_glow_evenly_without_patches():
    labels = np.random.default_rng(0).integers(0, 4, (3, 20, 20)).astype(np.uint8)
    out = added(labels, glow=0.25, phases=(1, 3))
    np.testing.assert_allclose(out, 0.25 * np.isin(labels, (1, 3)), atol=1e-7)


def test_regions_cut_off_from_the_rest_charge():
    labels = np.zeros((1, 20, 20), np.uint8)
    labels[0, 5:9, 5:9] = 2
    labels[0, 9:12, 9:12] = 2  # touches the first by a corner only, and nothing else
    labels[0, 12:, 15:] = 2  # reaches the border
    out = added(labels, glow=0.2, phases=(), isolated=0.5)[0]
    expected = np.zeros((20, 20))
    expected[5:9, 5:9] = expected[9:12, 9:12] = 0.1
    np.testing.assert_allclose(out, expected, atol=1e-7)


def test_patches_leave_parts_of_a_phase_without_charge():
    labels = np.ones((10, 64, 64), np.uint8)
    level = added(labels, glow=0.2, patches=1.0, patch_px=8.0) / 0.2
    assert level.min() < 0.01
    assert level.max() > 0.99
    half = added(labels, glow=0.2, patches=0.5, patch_px=8.0) / 0.2
    np.testing.assert_allclose(half, 0.5 + 0.5 * level, atol=1e-6)


# Halo


@pytest.mark.parametrize("length", [3.0, 10.0, 20.0])
def test_halo_decays_with_its_length(length):
    out = added(charged_left((1, 4, 600), width=300), halo=-0.2, halo_px=length)
    outside = out[0, :, 300:]
    distance = np.arange(300) + 0.5
    # What the borders reflect is exp(-540 / 20) of it at the most near the rim.
    near = distance < 3 * length
    expected = -0.2 * np.exp(-distance / length) / math.cosh(0.5 / length)
    np.testing.assert_allclose(outside[:, near], np.tile(expected[near], (4, 1)), atol=2e-6)
    np.testing.assert_allclose(out[0, :, :300], 0, atol=1e-7)


def test_halo_surrounds_a_charged_point_alike_in_all_directions():
    labels = np.zeros((1, 61, 61), np.uint8)
    labels[0, 30, 30] = 1
    out = added(labels, halo=1.0, halo_px=8.0)[0]
    np.testing.assert_allclose(out, out.T, atol=1e-7)
    np.testing.assert_allclose(out, out[::-1, ::-1], atol=1e-7)
    # The discrete Laplacian is isotropic to the fourth order: 1 % at five pixels' distance.
    assert abs(out[30 + 12, 30 + 5] / out[30 + 13, 30] - 1) < 0.01


# Streaks


def test_streak_trails_from_the_charge_along_the_fast_scan_and_decays_with_its_length():
    labels = np.zeros((1, 50, 200), np.uint8)
    labels[:, 10:40, 60:80] = 1
    out = added(labels, streak=0.3, streak_px=25.0)[0]
    assert not out[:, :80].any()
    assert not out[:10].any()
    assert not out[40:].any()
    first = out[10:40, 80]
    assert (first >= 0).all()
    tail = np.exp(-np.arange(120) / 25)
    np.testing.assert_allclose(out[10:40, 80:], first[:, None] * tail, atol=1e-6)


def test_mean_streak_is_as_bright_as_the_charge_that_falls():
    labels = charged_left((40, 400, 5), width=2)
    first = added(labels, streak=-0.01)[:, :, 2] / -0.01
    # |n|**3 / sqrt(8 / pi) has variance 15 pi / 8 - 1; two rows share half of a number: at the most twice that.
    assert abs(first.mean() - 1) < 4 * math.sqrt(2 * (15 * math.pi / 8 - 1) / first.size)
    assert first.max() > 10


# Rows


def test_drift_decays_down_the_slice_and_varies_between_slices():
    labels = np.zeros((2000, 30, 1), np.uint8)
    out = added(labels, drift=0.05, drift_rows=12.0)[:, :, 0]
    assert abs(out[:, 0].std() / 0.05 - 1) < 4 / math.sqrt(2 * 2000)
    np.testing.assert_allclose(out, out[:, :1] * np.exp(-np.arange(30) / 12), atol=2e-7)


def test_jumps_shift_whole_rows_as_often_as_asked():
    labels = np.zeros((400, 200, 3), np.uint8)
    out = added(labels, jumps=3.0, jump=0.05, drift_rows=1e6)
    assert np.array_equal(out[:, :, 0], out[:, :, 2])
    steps = np.diff(out[:, :, 0], axis=1, prepend=0.0)
    jumped = abs(steps) > 1e-5
    # A jump in a row that jumps already, or smaller than 1e-5, is not seen: 1 % at the most.
    assert abs(jumped.sum(axis=1).mean() - 3) < 4 * math.sqrt(3 / 400) + 0.03
    assert abs(steps[jumped].std() / 0.05 - 1) < 4 / math.sqrt(2 * jumped.sum()) + 0.01


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"glow": 1.5}, "glow is 1.5; give a number of at least -1 and of at most 1"),
        ({"halo": math.nan}, "halo is nan"),
        ({"halo_px": 0.0}, "halo_px is 0.0; give a number of at least 1"),
        ({"halo_px": 1e9}, "halo_px is 1000000000.0; give a number of at least 1 and of at most 1e\\+06"),
        ({"streak": "long"}, "streak is 'long'; give a number"),
        ({"streak_px": math.inf}, "streak_px is inf"),
        ({"isolated": -0.1}, "isolated is -0.1"),
        ({"patches": Uniform(0.5, 1.5)}, r"patches is \{'uniform': \[0.5, 1.5\]\}"),
        ({"patch_px": 0}, "patch_px is 0"),
        ({"drift": -1}, "drift is -1"),
        ({"drift_rows": 0}, "drift_rows is 0"),
        ({"jumps": 1e9}, "jumps is 1000000000.0; give a number of at least 0 and of at most 1000"),
        ({"jump": 2}, "jump is 2"),
        ({"persistence_slices": -1}, "persistence_slices is -1"),
        ({"phases": 1}, "phases are 1; give a tuple of labels from 0 to 255"),
        ({"phases": (1, 300)}, r"phases are \(1, 300\)"),
        ({"phases": (True,)}, r"phases are \(True,\)"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Charging(**changes)


def test_settings_must_have_been_drawn():
    with pytest.raises(ValueError, match="these Charging hold laws"):
        added(charged_left(), glow=Uniform(0.0, 0.2))
