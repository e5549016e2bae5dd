import dataclasses
import math

import numpy as np
import pytest

from synth import sphere_pack
from synth.laws import Uniform
from synth.sem.milling import Curtains, Redeposition, apply_curtains, apply_redeposition

# Spots alone, each edge counting fully, each column of each slice by itself.
SPOTS = Curtains(
    strength=0.1, width_px=0.5, width_spread=0.0, fade_px=1e9, full_height=0.0, persistence_slices=0.0, pore_px=0.0
)
FILM = Redeposition(pores=0.5, grey=1.0, patches=0.0, blur_px=0.0, grain=0.0, floors=0.0, corners=0.0, reach_px=20.0)


def block(shape=(2, 80, 60), rows=(30, 40), columns=(20, 40), *, phase=0, around=1):
    """Solid with a block of another phase in it."""
    labels = np.full(shape, around, np.uint8)
    labels[:, rows[0] : rows[1], columns[0] : columns[1]] = phase
    return labels


def flat(labels, grey=0.5):
    return np.full(labels.shape, grey, np.float32)


def curtains_alone(labels, rng=0, **changes):
    """Return what curtains add to an even grey of 0.5, as amplitude."""
    settings = dataclasses.replace(SPOTS, in_pores=1.0, **changes)
    out = apply_curtains(flat(labels), labels, settings, rng=rng)
    return (out.astype(float) - 0.5) / (0.5 * settings.strength + settings.offset)


# What both share


@pytest.mark.parametrize(
    ("apply", "settings"),
    [
        (apply_curtains, Curtains(strength=0.1, offset=0.02, angle_deg=3.0)),
        (apply_redeposition, Redeposition(pores=0.7, face=0.3)),
    ],
)
class TestEveryMillingArtefact:
    labels = sphere_pack((20, 40, 44), porosity=0.5, diameter_vox=12, rng=1).labels
    grey = np.random.default_rng(0).random((20, 40, 44), np.float32)

    def test_seed_decides_every_byte_whatever_the_threads(self, apply, settings, monkeypatch):
        before = self.grey.copy(), self.labels.copy()
        images = []
        for n_threads in (1, 4):
            monkeypatch.setattr("synth.threads.thread_count", lambda n=n_threads: n)
            images.append(apply(self.grey, self.labels, settings, rng=5).tobytes())
        assert images[0] == images[1] != apply(self.grey, self.labels, settings, rng=6).tobytes()
        assert np.array_equal(self.grey, before[0])
        assert np.array_equal(self.labels, before[1])

    def test_without_strength_the_bytes_stay_and_one_number_is_drawn(self, apply, settings):
        rngs = [np.random.default_rng(3) for _ in range(2)]
        none = apply(self.grey, self.labels, type(settings)(), rng=rngs[0])
        apply(self.grey, self.labels, settings, rng=rngs[1])
        assert none.tobytes() == self.grey.tobytes()
        assert none is not self.grey
        assert rngs[0].integers(2**60) == rngs[1].integers(2**60)

    @pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (3, 9, 1), (2, 5, 7)])
    def test_any_shape_is_worked_on(self, apply, settings, shape):
        labels = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
        out = apply(flat(labels), labels, settings, rng=0)
        assert out.shape == shape
        assert out.dtype == np.float32
        assert np.isfinite(out).all()

    def test_bad_arguments_are_refused(self, apply, settings):
        labels, grey = self.labels, self.grey
        lawful = dataclasses.replace(
            settings, **{"strength" if apply is apply_curtains else "pores": Uniform(0.1, 0.2)}
        )
        for arguments, sentence in [
            ((grey.astype(float), labels, settings), r"grey is float64 .* give float32 of shape \(Z, Y, X\)"),
            ((grey[0], labels[0], settings), r"grey is float32 of shape \(40, 44\)"),
            ((grey[:0], labels[:0], settings), r"grey is float32 of shape \(0, 40, 44\)"),
            ((grey * np.float32(np.nan), labels, settings), "grey holds nan or infinity"),
            ((grey, labels[:1], settings), r"labels are uint8 of shape \(1, 40, 44\); give uint8 of the shape of grey"),
            ((grey, labels.astype(int), settings), "labels are int64"),
            ((grey, labels, None), "settings are None; give an instance of"),
            ((grey, labels, lawful), "hold laws; give settings that have been drawn"),
        ]:
            with pytest.raises(ValueError, match=sentence):
                apply(*arguments, rng=0)


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        (Curtains, {"strength": -0.1}, "strength is -0.1; give a number of at least 0 and of at most 1"),
        (Curtains, {"offset": math.nan}, "offset is nan"),
        (Curtains, {"width_px": 0.1}, "width_px is 0.1; give a number of at least 0.5"),
        (Curtains, {"width_spread": 2}, "width_spread is 2"),
        (Curtains, {"fade_px": 0.0}, "fade_px is 0.0; give a number of at least 1"),
        (Curtains, {"angle_deg": 45.0}, "angle_deg is 45.0; give a number of at least -30 and of at most 30"),
        (Curtains, {"pore_px": -1}, "pore_px is -1"),
        (Curtains, {"persistence_slices": math.inf}, "persistence_slices is inf"),
        (Curtains, {"full_height": Uniform(0.5, 1.5)}, r"full_height is \{'uniform': \[0.5, 1.5\]\}"),
        (Curtains, {"in_pores": "all"}, "in_pores is 'all'; give a number"),
        (Curtains, {"hardness": ()}, r"hardness is \(\); give a tuple of numbers"),
        (Curtains, {"hardness": 1.0}, "hardness is 1.0; give a tuple"),
        (Curtains, {"hardness": (1.0, 1.5)}, "hardness of phase 2 is 1.5"),
        (Redeposition, {"pores": 1.1}, "pores is 1.1"),
        (Redeposition, {"face": 0.6}, "face is 0.6; give a number of at least 0 and of at most 0.5"),
        (Redeposition, {"grey": True}, "grey is True; give a number"),
        (Redeposition, {"reach_px": 0}, "reach_px is 0"),
        (Redeposition, {"patch_px": 0.5}, "patch_px is 0.5"),
        (Redeposition, {"blur_px": 1e6}, "blur_px is 1000000.0"),
        (Redeposition, {"corners": -0.5}, "corners is -0.5"),
        (Redeposition, {"persistence_slices": -1}, "persistence_slices is -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        kind(**changes)


# Where curtains are


def test_curtains_start_below_the_hard_spot_and_nowhere_else():
    changed = curtains_alone(block()) != 0
    assert not changed[:, :40].any()
    assert not changed[:, :, :20].any()
    assert not changed[:, :, 40:].any()
    # A heavy-tailed number is exactly 0 next to never.
    assert changed[:, 40:, 20:40].mean() > 0.99


@pytest.mark.parametrize("angle", [-20.0, 5.0, 20.0])
def test_curtains_follow_the_beam(angle):
    changed = curtains_alone(block(), angle_deg=angle) != 0
    slope = math.tan(math.radians(angle))
    for y in range(40, 80):
        # Between two beams the stripe is interpolated: a pixel more on each side.
        at = np.flatnonzero(changed[:, y].any(axis=0))
        low, high = 20 + min(slope * (y - 40), slope * (y - 30)), 39 + max(slope * (y - 40), slope * (y - 30))
        assert at.min() >= max(low - 1.5, 0)
        assert at.max() <= min(high + 1.5, 59)
        assert at.min() <= max(low + 1.5, 0)
        assert at.max() >= min(high - 1.5, 59)
    # A slanted beam leaves the pore by its side, too.
    assert not changed[:, :31].any()


def test_solid_without_pores_has_no_curtains_but_those_from_above():
    labels = np.ones((3, 30, 40), np.uint8)
    assert not curtains_alone(labels).any()
    whole = curtains_alone(labels, full_height=1.0)
    assert (whole != 0).mean() > 0.99
    assert np.array_equal(whole, np.broadcast_to(whole[:, :1], whole.shape))


def test_leaving_hard_material_starts_nothing():
    labels = block(rows=(30, 80))
    assert not curtains_alone(labels).any()


def test_open_pores_keep_their_bytes():
    labels = sphere_pack((6, 60, 60), porosity=0.5, diameter_vox=6, rng=0).labels
    grey = np.random.default_rng(1).random(labels.shape, np.float32)
    out = apply_curtains(grey, labels, Curtains(strength=0.2, offset=0.05, full_height=0.5), rng=0)
    assert np.array_equal(out[labels == 0], grey[labels == 0])
    assert (out != grey)[labels > 0].mean() > 0.9


# How strong curtains are


def test_curtains_fade_exponentially_along_the_beam():
    stripes = curtains_alone(block(), fade_px=25.0)[:, 40:, 20:40]
    largest = abs(stripes[:, 0]) > 0.5
    ratio = (stripes[:, 30] / stripes[:, 0])[largest]
    # Grey in float32 is known to 6e-8, the amplitude thus to about 1e-6.
    np.testing.assert_allclose(ratio, math.exp(-30 / 25), atol=2e-5)


def test_gain_below_a_spot_has_the_strength_as_its_standard_deviation():
    stripes = curtains_alone(block((40, 6, 400), rows=(2, 4), columns=(0, 400)), strength=0.02)[:, 4]
    # A sum of three terms x|x|/sqrt(3), of weights 1/6, 2/3 and 1/6: the square's variance is 2 + 26/3 * sum(w**2).
    error = math.sqrt((2 + 26 / 3 * 0.5) / stripes.size)
    assert abs((stripes**2).mean() - 1) < 4 * error
    assert abs(stripes.mean()) < 4 / math.sqrt(stripes.size)


def test_larger_pores_start_stronger_stripes():
    small, large = (curtains_alone(block(rows=(40 - run, 40)), pore_px=8.0)[:, 40, 20:40] for run in (2, 30))
    expected = (1 - math.exp(-2 / 8)) / (1 - math.exp(-30 / 8))
    np.testing.assert_allclose(small, expected * large, atol=2e-5)


def test_step_of_hardness_is_the_strength_of_the_stripe():
    from_pore, from_soft = (
        curtains_alone(block(phase=phase, around=2), hardness=(0.4, 1.0))[:, 40, 20:40] for phase in (0, 1)
    )
    np.testing.assert_allclose(from_soft, 0.6 * from_pore, atol=2e-5)


def test_additive_stripes_do_not_depend_on_grey():
    labels = block()
    stripes = Curtains(offset=0.1, full_height=0.5)
    dark, bright = (apply_curtains(flat(labels, g), labels, stripes, rng=0).astype(float) - g for g in (0.1, 0.8))
    np.testing.assert_allclose(dark, bright, atol=1e-6)


@pytest.mark.parametrize("slices", [2.0, 6.0])
def test_stripes_persist_over_slices(slices):
    labels = np.ones((300, 1, 300), np.uint8)
    stripes = curtains_alone(labels, full_height=1.0, persistence_slices=slices)[:, 0]
    got = (stripes[:-2] * stripes[2:]).mean() / (stripes**2).mean()
    # Hermite series of x|x|: shares 0.849, 0.141 and about 0.01 of the variance in the orders 1, 3 and 5.
    rho = math.exp(-2 / slices)
    expected = 0.849 * rho + 0.141 * rho**3 + 0.01 * rho**5
    # 300 columns by themselves, each of about 300 / (2 slices) independent values, of heavy tails.
    assert abs(got - expected) < 4 * math.sqrt(6.3 / (300 * 300 / (2 * slices)))


# The stripes' spectrum


def spectrum_of_change(labels, settings):
    grey = np.random.default_rng(2).random(labels.shape, np.float32)
    change = apply_curtains(grey, labels, settings, rng=0).astype(float) - grey
    power = (abs(np.fft.fft2(change)) ** 2).mean(axis=0)
    ky, kx = np.meshgrid(*(np.fft.fftfreq(n) * n for n in labels.shape[1:]), indexing="ij")
    return power, ky, kx


def test_stripes_of_full_height_change_nothing_off_the_axis_of_their_wedge():
    labels = np.ones((4, 64, 64), np.uint8)
    power, ky, _ = spectrum_of_change(labels, Curtains(offset=0.1, full_height=1.0))
    # The rest is rounding to float32: (6e-8)**2 * 64**2 per frequency, stripes hold 0.1**2 * 64**4 in all.
    assert power[ky != 0].max() < 1e-9 * power.sum()


@pytest.mark.parametrize("angle", [0.0, 8.0])
def test_stripes_from_spots_lie_in_the_wedge_of_the_beam(angle):
    labels = sphere_pack((16, 128, 128), porosity=0.4, diameter_vox=14, rng=2).labels
    power, ky, kx = spectrum_of_change(labels, Curtains(offset=0.1, in_pores=1.0, angle_deg=angle))
    across = ky + kx * math.tan(math.radians(angle))
    # Half a height of a spot limits how sharply its stripe ends; a flat spectrum has 0.2 of its power here.
    inside = abs(across) <= 0.1 * abs(kx) + 6
    assert power[inside].sum() > 0.9 * power.sum()
    assert inside.mean() < 0.25


# Redeposition


def test_film_in_a_pore_falls_from_the_floor_as_documented():
    labels = np.zeros((2, 60, 11), np.uint8)
    film = dataclasses.replace(FILM, floors=0.6, floor_px=5.0)
    out = apply_redeposition(flat(labels, 0.0), labels, film, rng=0)
    height = np.arange(60)[::-1]
    expected = 0.5 * np.exp(-height / 20) * (0.4 + 0.6 * np.exp(-height / 5))
    np.testing.assert_allclose(out, np.broadcast_to(expected[:, None], out.shape), atol=1e-6)


def test_film_reaches_higher_in_the_corners():
    labels = np.zeros((1, 60, 11), np.uint8)
    out = apply_redeposition(flat(labels, 0.0), labels, dataclasses.replace(FILM, corners=1.0), rng=0)[0]
    height = np.arange(60)[::-1]
    np.testing.assert_allclose(out[:, 5], 0.5 * np.exp(-height / 20), atol=1e-6)
    np.testing.assert_allclose(out[:, [0, -1]], np.tile(0.5 * np.exp(-height / 40)[:, None], 2), atol=1e-6)


def test_film_starts_anew_above_each_solid():
    labels = block((1, 60, 9), rows=(10, 30), columns=(0, 9))
    out = apply_redeposition(
        flat(labels, 0.0), labels, dataclasses.replace(FILM, floors=1.0, floor_px=4.0, reach_px=1e9), rng=0
    )[0, :, 4]
    np.testing.assert_allclose(out[10:30], 0.5 * np.exp(-np.arange(20)[::-1] / 4), atol=1e-6)
    assert not out[:10].any()
    assert not out[30:].any()


def test_film_in_pores_alone_leaves_every_byte_of_the_face():
    labels = sphere_pack((6, 60, 60), porosity=0.5, diameter_vox=6, rng=0).labels
    grey = np.random.default_rng(1).random(labels.shape, np.float32)
    out = apply_redeposition(grey, labels, Redeposition(pores=1.0), rng=0)
    assert np.array_equal(out[labels > 0], grey[labels > 0])
    assert (out != grey)[labels == 0].mean() > 0.9


def test_half_of_the_contrast_of_the_face_remains():
    labels = np.ones((1, 40, 40), np.uint8)
    labels[:, :, ::2] = 2
    grey = np.where(labels == 2, np.float32(0.9), np.float32(0.4))
    out = apply_redeposition(grey, labels, dataclasses.replace(FILM, face=0.5), rng=0)
    contrast = out[:, :, ::2] - out[:, :, 1::2]
    assert contrast.min() >= 0.25 - 1e-6
    # Without patches and corners the last row lies below the full film.
    np.testing.assert_allclose(contrast[:, -1], 0.25, atol=1e-6)


def test_patches_are_bare_and_covered():
    labels = np.zeros((20, 64, 64), np.uint8)
    film = dataclasses.replace(FILM, patches=1.0, reach_px=1e9, patch_px=6.0)
    cover = apply_redeposition(flat(labels, 0.0), labels, film, rng=0) / 0.5
    assert cover.min() < 0.01
    assert cover.max() > 0.99
    # Half of a symmetric field; patches of 6 pixels, of effective area 4 pi (6 / 2.355)**2, three slices deep.
    n_patches = 20 * 64 * 64 / (4 * math.pi * (6 / 2.355) ** 2 * 6)
    assert abs(cover.mean() - 0.5) < 4 * 0.5 / math.sqrt(n_patches)


def test_film_blurs_what_lies_below():
    labels = np.zeros((1, 41, 41), np.uint8)
    grey = flat(labels, 0.0)
    grey[0, 20, 20] = 1
    film = dataclasses.replace(FILM, pores=0.5, grey=0.0, blur_px=2.0, reach_px=1e9)
    out = apply_redeposition(grey, labels, film, rng=0)[0]
    # A Gaussian of standard deviation 2 is 1 / (8 pi) high; half of it shines through half a film.
    assert abs(out[20, 20] - 0.5 / (8 * math.pi)) < 1e-3
    assert abs(out.sum() - 0.5) < 1e-3
