import dataclasses
import json

import numpy as np
import pytest
from scipy import ndimage

import synth
from segment.trust import Domain, ImageStatistics, image_statistics
from segment.trust.domain import _shrunk
from synth.sem import Curtains
from volume import Volume

COUNT = 24


def _picture(seed, **settings):
    rng = np.random.default_rng(seed)
    labels = synth.gaussian_phases((8, 72, 72), fractions=(0.4, 0.6), length_vox=8, rng=int(rng.integers(10**9)))
    return synth.fibsem(labels, synth.FibsemSettings(**settings), rng=int(rng.integers(10**9)))


@pytest.fixture(scope="module")
def known():
    """Statistics of pictures of one kind: material, microscope and its settings."""
    return [image_statistics(_picture(seed)) for seed in range(COUNT)]


def _noise(shape=(4, 200, 200), seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def _blobs(sigma, shape=(4, 300, 300), seed=0):
    field = ndimage.gaussian_filter(_noise(shape, seed), (0, sigma, sigma), mode="wrap")
    return field / field.std()


def _span(grey):
    return np.subtract(*np.percentile(grey, [99, 1]))


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_noise_is_the_standard_deviation_of_what_was_added(sigma):
    # Edges every 25 pixels touch a fifth of the differences and so raise their median.
    grey = np.where(np.arange(200) // 25 % 2, 1.0, 0.0) + sigma * _noise()
    found = image_statistics(grey).noise * _span(grey)
    assert found == pytest.approx(sigma, rel=0.25)
    flat = sigma * _noise()
    # A median of n independent absolute values is known to 1.17 / √n; nine neighbours each hold the same noise.
    assert image_statistics(flat).noise * _span(flat) == pytest.approx(sigma, rel=4 * 1.17 * 3 / np.sqrt(flat.size))


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_blur_is_the_width_of_the_edges(sigma):
    steps = np.where(np.arange(240) // 40 % 2, 1.0, 0.0)
    grey = np.broadcast_to(ndimage.gaussian_filter1d(steps, sigma, mode="wrap"), (4, 240, 240))
    assert image_statistics(grey).blur_px == pytest.approx(sigma, abs=0.1)


@pytest.mark.parametrize("sigma", [2.0, 4.0])
def test_correlation_length_of_a_smoothed_field_is_known(sigma):
    found = image_statistics(_blobs(sigma)).correlation_px
    # Smoothed once more, by 1, its correlation exp(-r² / 4 s²) is 1 / e at 2 s; lags between are interpolated, and
    # a field of 4 · 300² / (4 π s²) blobs has a length known to a few per cent.
    assert found == pytest.approx(2 * np.hypot(sigma, 1), rel=0.12)


@pytest.mark.parametrize("step", [2, 4])
def test_slice_step_is_the_shift_between_slices(step):
    image = _blobs(3.0)[0]
    grey = np.stack([np.roll(image, step * z, axis=1) for z in range(6)])
    assert image_statistics(grey).slice_step_px == pytest.approx(step, rel=0.1)


def test_stripes_are_told_from_each_other_by_their_direction():
    rng, strength = np.random.default_rng(1), 0.3
    stripes = strength * rng.standard_normal((4, 1, 200))
    for axis, name, other in ((1, "stripes_y", "stripes_x"), (2, "stripes_x", "stripes_y")):
        grey = np.moveaxis(np.broadcast_to(stripes, (4, 200, 200)), 1, axis) + _noise()
        found = image_statistics(grey)
        # A Gaussian of 3 pixels takes a share of white stripes away: that of its centre twice, less its square sum.
        kept = np.sqrt(1 - 2 / (np.sqrt(2 * np.pi) * 3) + 1 / (2 * np.sqrt(np.pi) * 3))
        assert getattr(found, name) * _span(grey) == pytest.approx(strength * kept, rel=0.1)
        assert getattr(found, other) < 0.15 * getattr(found, name)


def test_jitter_is_the_spread_of_the_slices_brightness():
    offsets = np.array([0.0, 0.3, 0.1, 0.1, 0.5, 0.1])
    grey = np.concatenate([_blobs(3.0)[:1]] * 6) + offsets[:, None, None]
    steps = np.array([0.3, 0.0, -0.4])
    found = image_statistics(grey).jitter * _span(grey)
    # Clipping to half a span beyond the percentiles touches less than a thousandth of the pixels.
    assert found == pytest.approx(np.sqrt(np.mean(steps**2) / 2), rel=0.01)


def test_levels_and_fraction_are_those_of_two_flat_phases():
    dark = np.zeros((4, 200, 200), bool)
    dark[:, :, :50] = True
    grey = np.where(dark, 100, 180) + np.where(np.arange(200)[:, None] % 2, 1, -1)
    found = image_statistics(grey)
    assert found.dark_fraction == pytest.approx(0.25, abs=0.01)
    assert (found.dark_level, found.bright_level) == pytest.approx((1 / 82, 81 / 82), abs=1 / 82 + 1e-6)
    assert found.separation == pytest.approx(80, rel=0.03)


def test_saturation_is_the_fraction_of_black_and_white_pixels():
    grey = np.clip(_noise(), -2, 2)
    found = image_statistics(grey).saturation
    assert found == pytest.approx(0.0455, abs=4 * np.sqrt(0.0455 / grey.size))
    assert image_statistics(_noise()).saturation == 0


def test_the_scale_of_the_grey_values_does_not_matter():
    grey = np.round(_picture(1) * 200).astype(np.uint8)
    expected, found = image_statistics(grey), image_statistics(grey.astype(np.float64) * 37.5 - 1000)
    np.testing.assert_allclose(found.vector(), expected.vector(), atol=1e-3)


def test_time_and_memory_do_not_grow_with_the_volume():
    class Disk:
        """A deep stack that tells which of its slices were asked for."""

        shape, asked = (10_000, 100, 100), set()

        def __getitem__(self, window):
            self.asked.update(range(*window.indices(10_000)))
            return _noise((window.stop - window.start, 100, 100), window.start)

    disk = Disk()
    image_statistics(disk)
    assert len(disk.asked) == 12
    assert {0, 1, 9998, 9999} <= disk.asked


def test_a_volume_is_measured_like_its_array():
    assert image_statistics(Volume(_picture(0))) == image_statistics(_picture(0))


def test_a_single_slice_has_no_jitter():
    found = image_statistics(_picture(0)[:1])
    assert (found.jitter, found.slice_step_px) == (0, 1)


def test_p_values_of_pictures_of_one_kind_are_uniform(known):
    """Each of a bag is judged by the others: by exchangeability the p-values are 1/N, 2/N, … 1 in some order."""
    found = [Domain.fit(known[:i] + known[i + 1 :]).judge(known[i]).p_value for i in range(COUNT)]
    np.testing.assert_allclose(sorted(found), np.arange(1, COUNT + 1) / COUNT)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dose": 15.0, "read_noise": 0.2}, "noise"),
        ({"curtains": Curtains(strength=0.4, full_height=1.0)}, "stripes along y"),
        ({"blur_vox": 3.0}, "blur"),
        ({"slice_gain": 0.3}, "jitter"),
        ({"floor_grey": 0.65}, "separation of dark and bright"),
    ],
)
def test_pictures_of_another_kind_are_flagged_and_the_reason_is_named(known, settings, words):
    domain = Domain.fit(known)
    found = domain.judge(image_statistics(_picture(1000, **settings)))
    assert not found.inside
    assert found.p_value == 1 / (COUNT + 1)
    assert any(words in sentence for sentence in found.furthest), found.furthest


def test_pictures_of_the_same_kind_are_mostly_not_flagged(known):
    domain = Domain.fit(known)
    inside = [domain.judge(image_statistics(_picture(seed))).inside for seed in range(2000, 2010)]
    # At most 5 of 100 are flagged on average, over domains; four standard errors of ten draws above that.
    assert np.mean(inside) >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / 10)


def test_the_sentence_says_how_many_times(known):
    typical = np.median([image.noise for image in known])
    noisy = dataclasses.replace(known[0], noise=4.0 * typical)
    first = Domain.fit(known).judge(noisy).furthest[0]
    assert first.startswith(("noise 3.9 times that of the training images", "noise 4 times that of the training"))


def test_an_unusual_combination_of_usual_numbers_is_flagged():
    rng, images = np.random.default_rng(0), []
    for common in rng.standard_normal(100):
        images.append(_made(noise=0.05 * np.exp(0.3 * common), blur_px=np.exp(0.3 * common), rng=rng))
    odd = _made(noise=0.05 * np.exp(-0.75), blur_px=np.exp(0.75), rng=rng)
    found = Domain.fit(images).judge(odd)
    assert not found.inside
    assert "unusual combination, above all of" in found.furthest[0]
    assert "noise" in found.furthest[0]
    assert "blur" in found.furthest[0]


def _made(*, noise, blur_px, rng):
    """Statistics whose other numbers vary on their own."""
    rest = {field.name: float(rng.uniform(0.4, 0.6)) for field in dataclasses.fields(ImageStatistics)}
    return ImageStatistics(**(rest | {"noise": float(noise), "blur_px": float(blur_px)}))


def test_a_spoilt_picture_in_the_domain_hides_no_other(known):
    spoilt = image_statistics(_picture(5, dose=1.0, read_noise=0.4))
    found = Domain.fit([*known, spoilt]).judge(image_statistics(_picture(6, blur_vox=4.0)))
    # At most the spoilt picture itself is further away.
    assert found.p_value <= 2 / (COUNT + 2)


def test_domains_survive_json(known):
    domain = Domain.fit(known)
    back = Domain.from_dict(json.loads(json.dumps(domain.as_dict())))
    assert back == domain
    assert back.judge(known[3]) == domain.judge(known[3])


def test_shrinkage_is_that_of_ledoit_and_wolf():
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((30, 6)) @ rng.standard_normal((6, 6))
    each = rows[:, :, None] * rows[:, None, :]
    moments = each.mean(axis=0)
    target = np.trace(moments) / 6 * np.eye(6)
    # Their b² and d², of their lemmas 3.3 and 3.4.
    share = ((each - moments) ** 2).sum() / 30**2 / ((moments - target) ** 2).sum()
    assert 0.01 < share < 1
    np.testing.assert_allclose(_shrunk(rows), share * target + (1 - share) * moments, rtol=1e-10)


GREY = _noise((4, 32, 32))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda known: image_statistics(GREY[0]), r"shape \(32, 32\)"),
        (lambda known: image_statistics(GREY[:, :8]), "at least 24 pixels a side"),
        (lambda known: image_statistics(GREY * 0), "constant volume"),
        (lambda known: image_statistics(GREY * np.nan), "NaN or infinite"),
        (lambda known: Domain.fit(known[:5]), "there are 5 images; give 19 to 1000"),
        (lambda known: Domain.fit([1.0] * 20), "images hold a float"),
        (lambda known: Domain.fit(known).judge(known[0], level=0.01), "level is 0.01; with 24 images give 0.04"),
        (lambda known: Domain.fit(known).judge(known[0], level=1.0), "level is 1.0"),
        (lambda known: Domain.from_dict({"pictures": []}), "this is no domain"),
        (lambda known: Domain.from_dict({"images": [{"noise": 1}] * 20}), "missing or unknown: blur_px"),
        (lambda known: dataclasses.replace(known[0], noise=np.nan), "noise is nan"),
        (lambda known: dataclasses.replace(known[0], noise=-1.0), "noise is -1.0; give a number of at least 0"),
    ],
)
def test_bad_input_is_refused(known, call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(known)
