"""Photons: absorption, hardening, fringes and their retrieval, counting, the camera and its faults."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import ndimage

from synth.xray import BeamSettings, DetectorSettings, ReconstructionSettings, XraySettings
from synth.xray.beam import blur, mix_phases, retrieve, shift_along_slices, transmit
from synth.xray.detector import detect, draw_faults

RNG = np.random.default_rng


def transmitted(thickness, n_labels=2, **settings):
    """Return -log of the intensity behind channels given as thicknesses of label 1, shape (A, W, Z)."""
    settings = XraySettings(attenuation=(0.0, 1.0), **settings)
    mixture = mix_phases(settings, n_labels)
    channels = mixture.channels[:, 1][:, None, None, None] * thickness
    return -np.log(transmit(channels.astype(np.float32), mixture, settings))


def bump(width=160, slices=6, sigma=5.0, height=0.05):
    """Return a smooth ridge, the same in all slices, shape (1, width, slices)."""
    x = np.arange(width) - width // 2
    return np.repeat(height * np.exp(-(x[:, None] ** 2) / (2 * sigma**2)), slices, axis=1)[None]


def edge(width=200, height=0.1):
    """Return a wide bar, the same in 4 slices."""
    line = np.zeros((1, width, 4))
    line[:, width // 4 : 3 * width // 4] = height
    return line


# Absorption


def test_beam_of_one_energy_is_absorbed_by_beer_and_lambert():
    p = np.linspace(0, 5, 24).reshape(1, 12, 2)
    np.testing.assert_allclose(transmitted(p), p, rtol=1e-5, atol=1e-6)


def test_wide_spectrum_hardens_and_a_thin_sample_does_not():
    p = np.linspace(1e-3, 5, 50).reshape(1, 50, 1)
    hard = transmitted(p, beam=BeamSettings(bandwidth=0.3))
    assert hard[0, 0, 0] / p[0, 0, 0] == pytest.approx(1, abs=2e-3)
    ratio = (hard / p).ravel()
    assert (np.diff(ratio) < 0).all()
    assert ratio[-1] < 0.8
    # What does not depend on energy cannot harden the beam.
    grey = transmitted(p, beam=BeamSettings(bandwidth=0.3), scatter_share=(1.0,))
    np.testing.assert_allclose(grey, p, rtol=1e-5, atol=1e-6)


def test_hardened_intensity_is_the_mean_over_the_spectrum():
    """The lognormal spectrum integrated finely; five points are good to a thousandth."""
    b, share, p = 0.2, 0.4, 1.3
    log_energy = np.linspace(-8, 8, 4001) * b
    density = np.exp(-((log_energy / b) ** 2) / 2)
    density /= density.sum()
    relative = share + (1 - share) * np.exp(-3 * log_energy)
    exact = (density * np.exp(-p * relative / (density * relative).sum())).sum()
    found = transmitted(np.full((1, 1, 1), p), beam=BeamSettings(bandwidth=b), scatter_share=(share,))
    assert math.exp(-found[0, 0, 0]) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "channels"),
    [
        ({}, 1),
        ({"beam": BeamSettings(bandwidth=0.2)}, 1),
        ({"beam": BeamSettings(bandwidth=0.2), "scatter_share": (0.1, 0.3, 0.9)}, 2),
        ({"beam": BeamSettings(fresnel_px2=1.0, delta_beta=10.0)}, 1),
        ({"beam": BeamSettings(fresnel_px2=1.0, delta_beta=10.0), "refraction": (0.0, 0.1, 0.05)}, 2),
    ],
)
def test_no_more_is_projected_than_is_independent(settings, channels):
    settings = XraySettings(attenuation=(0.0, 0.1, 0.3), **settings)
    mixture = mix_phases(settings, 3)
    assert len(mixture.channels) == channels
    mean = mixture.weights @ (mixture.attenuation @ mixture.channels)
    np.testing.assert_allclose(mean, [0.0, 0.1, 0.3], atol=1e-12)
    if mixture.refraction is not None:
        bent = mixture.refraction @ mixture.channels
        np.testing.assert_allclose(bent, 10 * np.array(settings.refraction or (0, 0.1, 0.3)), atol=1e-9)


def test_last_value_serves_all_further_labels():
    mixture = mix_phases(XraySettings(attenuation=(0.0, 0.2)), 4)
    np.testing.assert_allclose((mixture.attenuation @ mixture.channels)[0], [0, 0.2, 0.2, 0.2], atol=1e-12)


# Fringes


def test_fringe_is_the_laplacian_of_the_thickness():
    """Of a smooth thin ridge, for which the sine is its argument: L = δ/β λR / (4 π)."""
    p, fresnel, ratio = bump(height=1e-3), 0.2, 50.0
    found = 1 - np.exp(-transmitted(p, beam=BeamSettings(fresnel_px2=fresnel, delta_beta=ratio)))
    x, sigma = np.arange(160) - 80, 5.0
    laplacian = (x**2 / sigma**4 - 1 / sigma**2) * p[0, :, 0]
    expected = p[0, :, 0] - ratio * fresnel / (4 * math.pi) * laplacian
    np.testing.assert_allclose(found[0, :, 2], expected, atol=2e-3 * expected.max())


@pytest.mark.parametrize(
    ("fresnel", "ratio", "blur"), [(0.1, 100.0, 0.7), (0.5, 100.0, 0.7), (0.6, 450.0, 0.87), (5.0, 20.0, 1.0)]
)
def test_fringes_of_a_fibre_are_those_of_the_propagated_wave(fresnel, ratio, blur):
    """A fine wave behind a thin cylinder, moved on by the angular spectrum; six per cent of the highest fringe.

    That is what the pixels lose that the thickness is averaged over before the wave is, not after.
    """
    n, fine, mu, radius = 128, 64, 1e-4, 6.3
    x = (np.arange(n * fine) + 0.5) / fine - n / 2
    thickness = mu * 2 * np.sqrt(np.maximum(radius**2 - x**2, 0))
    wave = np.exp(-(1 + 1j * ratio) * thickness / 2)
    moved = np.fft.ifft(np.fft.fft(wave) * np.exp(-1j * math.pi * fresnel * (np.fft.fftfreq(x.size) * fine) ** 2))
    exact, contact = (
        ndimage.gaussian_filter1d(np.abs(field) ** 2, blur * fine, mode="wrap").reshape(n, fine).mean(axis=1)
        for field in (moved, wave)
    )
    pixels = np.repeat(thickness.reshape(1, n, fine).mean(axis=2)[..., None], 16, axis=2)
    beam = BeamSettings(fresnel_px2=fresnel, delta_beta=ratio, source_blur_px=blur)
    found = np.exp(-transmitted(pixels, beam=beam))[0, :, 8]
    assert np.abs(found - exact).max() < 0.06 * np.abs(exact - contact).max()


def test_fringe_at_an_edge_sums_to_nothing_and_grows_with_the_distance():
    p = edge()
    plain = 1 - np.exp(-transmitted(p))
    extra = [
        1 - np.exp(-transmitted(p, beam=BeamSettings(fresnel_px2=f, delta_beta=100.0, source_blur_px=2.0)))
        - (1 - np.exp(-transmitted(p, beam=BeamSettings(source_blur_px=2.0))))
        for f in (0.02, 0.04, 0.08)
    ]  # fmt: skip
    for fringe in extra:
        # Single precision, 800 pixels.
        assert abs(fringe.sum()) < 800 * 6e-8 < 1e-3 * np.abs(fringe).sum()
    tops = [fringe.max() for fringe in extra]
    assert tops[0] > 0.005 * plain.max()
    assert tops[1] / tops[0] == pytest.approx(2, rel=0.02)
    assert tops[2] / tops[0] == pytest.approx(4, rel=0.02)
    # Brighter outside than in the open beam, darker inside than without fringes.
    outside, inside = extra[0][0, 45:50, 1], extra[0][0, 50:55, 1]
    assert outside.min() < 0 < inside.max()


def test_photons_are_neither_lost_nor_won_by_diffraction():
    intensity = [
        np.exp(-transmitted(bump(height=0.8), beam=BeamSettings(fresnel_px2=f, delta_beta=5.0, bandwidth=0.2))).mean()
        for f in (0.0, 1.0)
    ]
    assert intensity[1] == pytest.approx(intensity[0], rel=1e-5)


def test_retrieval_undoes_the_fringes_of_one_material():
    p, beam = bump(height=0.3), BeamSettings(fresnel_px2=0.3, delta_beta=300.0)
    fringed = np.exp(-transmitted(p, beam=beam)).astype(np.float32)
    settings = XraySettings(beam=beam, reconstruction=ReconstructionSettings(retrieval_delta_beta=300.0))
    back = -np.log(retrieve(fringed, settings))
    assert np.abs(fringed - np.exp(-p)).max() > 0.05
    np.testing.assert_allclose(back, p, atol=2e-3)


def test_source_blurs_the_intensity():
    point = np.zeros((1, 41, 41))
    point[0, 20, 20] = 1e-3
    found = transmitted(point, beam=BeamSettings(source_blur_px=1.5)).astype(float)[0]
    x = np.arange(41) - 20
    assert found.sum() == pytest.approx(1e-3, rel=1e-2)
    for axis in (0, 1):
        assert (found.sum(axis=axis) * x**2).sum() / found.sum() == pytest.approx(1.5**2, rel=0.02)


def test_sample_moved_along_the_axis_is_seen_in_parts_of_two_slices():
    pictures = np.zeros((3, 2, 9), np.float32)
    pictures[:, :, 4] = 1
    shift_along_slices(pictures, np.array([0.0, 2.0, -0.25]))
    expected = np.zeros((3, 9))
    expected[0, 4] = expected[1, 6] = 1
    expected[2, 3], expected[2, 4] = 0.25, 0.75
    np.testing.assert_allclose(pictures[:, 0], expected, atol=1e-6)


# The detector


def detected(intensity, *, photons, **settings):
    settings = XraySettings(detector=DetectorSettings(**{"blur_px": 0.0, **settings}))
    n = intensity.shape[2]
    faults = draw_faults((n, intensity.shape[1]), settings.detector, photons=photons, full=3.0, rng=RNG(1))
    found = detect(intensity.astype(np.float32), faults, settings, photons=photons, rows=np.arange(n), seed=5)
    return found, faults


def test_noise_has_the_variance_of_counting():
    photons, p = 4000.0, 0.7
    found, _ = detected(np.full((60, 40, 30), math.exp(-p)), photons=photons)
    variance, n = math.exp(p) / photons, found.size
    # The logarithm's curvature shifts the mean by half the variance.
    assert found.mean() == pytest.approx(p + variance / 2, abs=4 * math.sqrt(variance / n))
    assert found.var() == pytest.approx(variance, rel=4 * math.sqrt(2 / n) + 2 * variance)
    counts = photons * np.exp(-found.astype(float))
    np.testing.assert_allclose(counts, np.round(counts), atol=2e-3)


def test_camera_adds_its_own_variance():
    photons, noise = 1e4, 200.0
    found, _ = detected(np.ones((60, 40, 30)), photons=photons, read_noise=noise)
    assert found.var() == pytest.approx(1 / photons + (noise / photons) ** 2, rel=4 * math.sqrt(2 / found.size) + 2e-3)


def test_scintillator_spreads_the_noise_over_its_neighbours():
    sigma = 1.2
    found, _ = detected(np.ones((40, 60, 60)), photons=1e4, blur_px=sigma)
    inner = found[:, 6:-6, 6:-6]
    assert inner.var() == pytest.approx(1e-4 / (4 * math.pi * sigma**2), rel=0.03)
    for along in (inner[:, 1:] * inner[:, :-1], inner[..., 1:] * inner[..., :-1]):
        assert along.mean() / inner.var() == pytest.approx(math.exp(-1 / (4 * sigma**2)), abs=0.03)


def test_pixels_in_total_shadow_count_half_a_photon():
    found, _ = detected(np.zeros((2, 3, 4)), photons=100.0)
    np.testing.assert_allclose(found, math.log(200))


def test_faults_are_the_same_at_every_angle_but_for_their_drift():
    still, faults = detected(np.full((50, 30, 20), 0.5), photons=1e14, ring=0.02)
    np.testing.assert_allclose(still, math.log(2) + np.tile(faults.error.T, (50, 1, 1)), atol=1e-5)
    assert faults.error.std() == pytest.approx(0.02, rel=4 / math.sqrt(2 * 600))
    wandering, faults = detected(np.full((50, 30, 20), 0.5), photons=1e14, ring=0.02, ring_drift=0.5)
    np.testing.assert_allclose((wandering[-1] - wandering[0]).T, faults.wandering * 49 / 50, atol=1e-5)
    assert faults.wandering.std() == pytest.approx(0.01, rel=4 / math.sqrt(2 * 600))


def test_response_scales_the_thickness_and_bad_pixels_show_one_value():
    found, faults = detected(np.full((5, 60, 50), 0.5), photons=1e14, ring_nonlinear=0.05, bad_pixels=0.1)
    bad = ~np.isnan(faults.stuck)
    assert bad.mean() == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / bad.size))
    assert np.nanmin(faults.stuck) >= 0
    assert np.nanmax(faults.stuck) <= 3
    expected = np.where(bad, faults.stuck, math.log(2) * faults.response)
    np.testing.assert_allclose(found, np.broadcast_to(expected.T, found.shape), atol=1e-5)


def test_flat_fields_leave_their_own_noise():
    _, faults = detected(np.ones((2, 100, 90)), photons=500.0, flats=20.0)
    assert faults.error.std() == pytest.approx(1 / math.sqrt(1e4), rel=4 / math.sqrt(2 * 9000))


def test_wide_faults_are_as_strong_as_narrow_ones():
    faults = draw_faults((200, 300), DetectorSettings(ring=0.1, ring_width_px=2.0), photons=1.0, full=1.0, rng=RNG(0))
    # About 4 pi 2² pixels hang together.
    assert faults.error.std() == pytest.approx(0.1, rel=4 * math.sqrt(4 * math.pi * 4 / 2 / 60000))
    correlation = (faults.error[:, 2:] * faults.error[:, :-2]).mean() / faults.error.var()
    assert correlation == pytest.approx(math.exp(-4 / 16), abs=0.05)


@pytest.mark.parametrize("rows", [1, 4])
def test_wide_faults_of_a_thin_volume_are_no_stronger(rows):
    settings = DetectorSettings(ring=0.1, ring_width_px=2.5)
    found = [draw_faults((rows, 400), settings, photons=1.0, full=1.0, rng=RNG(s)).error for s in range(30)]
    # About 2 sqrt(pi) 2.5 pixels of a row hang together.
    assert np.std(found) == pytest.approx(0.1, rel=4 * math.sqrt(2 * math.sqrt(math.pi) * 2.5 / 2 / 12000))


def test_noise_of_a_row_does_not_depend_on_the_rows_around_it():
    settings = dataclasses.replace(XraySettings(), detector=DetectorSettings(blur_px=0.0, read_noise=3.0))
    faults = draw_faults((6, 20), settings.detector, photons=100.0, full=1.0, rng=RNG(0))

    def noise(rows):
        beam = np.ones((4, 20, len(rows)), np.float32)
        return detect(beam, faults_of(faults, rows), settings, photons=100.0, rows=rows, seed=1)

    all_rows, some = noise(np.arange(6)), noise(np.array([3, 4]))
    np.testing.assert_array_equal(all_rows[..., 3:5], some)


def faults_of(faults, rows):
    return type(faults)(*(array[rows] for array in vars(faults).values()))


def test_blur_keeps_the_sum_and_has_its_width():
    picture = np.zeros((1, 41, 31), np.float32)
    picture[0, 20, 15] = 1
    blur(picture, 2.0)
    assert picture.sum() == pytest.approx(1, rel=1e-5)
    assert (picture[0].sum(axis=1) * (np.arange(41) - 20) ** 2).sum() == pytest.approx(4, rel=0.02)
