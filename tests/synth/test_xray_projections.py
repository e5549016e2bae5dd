"""The projector and filtered back-projection against chords, sums and what is known on paper."""

import math

import numpy as np
import pytest

from synth.xray import ScanSettings, XraySettings
from synth.xray.filtering import filter_projections, ramp_response
from synth.xray.projector import Sample, back_project, project, reflected
from synth.xray.sampling import mix_slices
from synth.xray.scan import Scan, plan_scan

STILL = np.zeros(1000)
WINDOWS = ["ramp", "shepp-logan", "cosine", "hamming", "hann"]


def projected(image, angles, *, width=None, sample=None, shifts=STILL):
    ny, nx, _ = image.shape
    width = width or nx + 2 * math.ceil(math.hypot(ny, nx) / 2)
    sample = sample or Sample.box(ny, nx)
    return project(image, sample, np.asarray(angles, float), width=width, shifts=shifts[: len(angles)])


def disk(n, radius):
    """Return the voxels whose middles are inside a disk about the middle, shape (n, n, 1)."""
    y, x = np.meshgrid(np.arange(n) - (n - 1) / 2, np.arange(n) - (n - 1) / 2, indexing="ij")
    return (x**2 + y**2 <= radius**2).astype(np.float32)[..., None]


def chord_areas(t, radius):
    """Return the area of a disk in strips of width 1 about `t`."""

    def below(u):
        u = np.clip(u, -radius, radius)
        return u * np.sqrt(radius**2 - u**2) + radius**2 * np.arcsin(u / radius)

    return below(np.asarray(t) + 0.5) - below(np.asarray(t) - 0.5)


def test_projections_of_a_disk_are_its_chords():
    n, radius = 211, 96.4
    sums = projected(disk(n, radius), np.linspace(0, math.pi, 37))[..., 0]
    t = np.arange(sums.shape[1]) - (sums.shape[1] - 1) / 2
    exact = chord_areas(t, radius)
    # A voxel on the rim is wrong by at most half its area, evenly: a deviation of 1 / sqrt(12). A strip at the
    # distance t meets about 2 radius / sqrt(radius² - t²) of them, the outermost ones at most sqrt(8 radius).
    rim = np.minimum(2 * radius / np.sqrt(np.maximum(radius**2 - t**2, 1e-9)), math.sqrt(8 * radius))
    deviation = np.where(np.abs(t) < radius + 1, np.sqrt(rim / 12), 0)
    assert (np.abs(sums - exact) <= 5 * deviation).all()
    assert np.abs(sums - exact)[:, np.abs(t) < radius].mean() < deviation[np.abs(t) < radius].mean()


def test_sum_over_the_detector_is_the_sum_over_voxels_at_every_angle():
    image = np.random.default_rng(0).random((13, 18, 3), np.float32)
    sums = projected(image, np.linspace(-1, 7, 50), shifts=np.linspace(-2, 2, 50)).sum(axis=1)
    np.testing.assert_allclose(sums, np.broadcast_to(image.sum(axis=(0, 1)), sums.shape), rtol=2e-6)


def test_projections_along_the_axes_are_sums_of_columns_and_rows():
    image = np.random.default_rng(0).random((7, 11, 2), np.float32)
    along_y, along_x, back = projected(image, [0, math.pi / 2, math.pi], width=31)
    np.testing.assert_allclose(along_y[10:21], image.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(along_x[12:19], image.sum(axis=1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(back[10:21], image.sum(axis=0)[::-1], rtol=1e-5, atol=1e-5)


def test_voxel_seen_from_its_corner_is_a_triangle():
    image = np.ones((1, 1, 1), np.float32)
    side = (math.sqrt(2) / 2 - 0.5) ** 2
    np.testing.assert_allclose(projected(image, [math.pi / 4], width=5)[0, :, 0], [0, side, 1 - 2 * side, side, 0])


def test_shift_moves_the_picture_on_the_detector():
    image = np.random.default_rng(0).random((8, 9, 1), np.float32)
    still = projected(image, [0.3, 0.4])
    moved = projected(image, [0.3, 0.4], shifts=np.array([2.0, -1.0]))
    np.testing.assert_allclose(moved[0], np.roll(still[0], 2, axis=0), atol=1e-5)
    np.testing.assert_allclose(moved[1], np.roll(still[1], -1, axis=0), atol=1e-5)


def test_path_of_the_sample_moves_its_picture_as_moved_voxels_do():
    image = np.zeros((15, 18, 1), np.float32)
    image[5:9, 4:8] = np.random.default_rng(0).random((4, 4, 1))
    angles = np.linspace(0, 6, 25)
    path = np.tile([0.0, 3.0, -2.0], (25, 1))
    scan = Scan(angles, angles, np.ones(25), path, 0.0, 48, Sample.box(15, 18))
    moved = np.roll(image, (3, -2), axis=(0, 1))
    np.testing.assert_allclose(
        projected(image, angles, width=48, shifts=scan.shifts), projected(moved, angles, width=48), atol=1e-5
    )


@pytest.mark.parametrize("turn", [90.0, 180.0, 270.0, 360.0])
@pytest.mark.parametrize("n_angles", [7, 12, 1000, 1442])
def test_every_direction_of_a_scan_weighs_the_same(turn, n_angles):
    settings = XraySettings(scan=ScanSettings(n_angles=n_angles, range_deg=turn))
    scan = plan_scan((5, 6), settings, reach=0, rng=np.random.default_rng(0))
    once = math.radians(turn) / n_angles
    assert len(scan.angles) == n_angles
    twice = np.round(np.degrees(scan.angles), 9) % 180 < turn - 180
    np.testing.assert_allclose(scan.weights, np.where(twice, once / 2, once))
    assert scan.weights.sum() == pytest.approx(math.radians(min(turn, 180.0)), abs=once)


@pytest.mark.parametrize("shape", [(6, 9), (1, 5), (1, 1), (2, 30)])
def test_cylinder_is_the_box_continued_by_reflection_and_cut_round(shape):
    image = np.random.default_rng(0).random((*shape, 2), np.float32)
    radius = math.hypot(*shape) / 2 + 3
    beyond = [math.ceil(radius - n / 2) for n in shape]
    padded = np.pad(image, [(b, b) for b in beyond] + [(0, 0)], mode="symmetric")
    y, x = (np.arange(n) - (n - 1) / 2 for n in padded.shape[:2])
    padded[np.hypot(y[:, None], x) > radius] = 0
    width = padded.shape[1] + 40
    np.testing.assert_allclose(
        projected(image, [0.0, 0.7, 2.0], sample=Sample.cylinder(*shape, radius=radius), width=width),
        projected(padded, [0.0, 0.7, 2.0], width=width),
        rtol=1e-5, atol=1e-5,
    )  # fmt: skip


def test_reflection_repeats_the_voxel_at_the_face():
    for size, beyond in ((1, 3), (2, 5), (7, 4)):
        np.testing.assert_array_equal(reflected(size, beyond), np.pad(np.arange(size), beyond, mode="symmetric"))


def test_back_projection_interpolates_between_detector_pixels():
    sinogram = np.arange(21, dtype=np.float32)[None, :, None]
    angle = 0.6
    image = back_project(sinogram, np.array([angle]), shape=(5, 8))[..., 0]
    y, x = np.arange(5)[:, None] - 2, np.arange(8) - 3.5
    np.testing.assert_allclose(image, 10 + x * math.cos(angle) + y * math.sin(angle), rtol=1e-5)


@pytest.mark.parametrize("window", WINDOWS)
def test_reconstruction_of_a_disk_is_its_attenuation(window):
    """From exact projections, which the strips of the detector smooth; π/2 angles per pixel."""
    n, radius, mu = 65, 24.0, 0.37
    angles = np.arange(104) * math.pi / 104
    t = np.arange(2 * n + 1) - n
    sinogram = np.tile((mu * chord_areas(t, radius)).astype(np.float32)[None, :, None], (104, 1, 1))
    filter_projections(sinogram, np.full(104, math.pi / 104), window=window, cutoff=1.0)
    image = back_project(sinogram, angles, shape=(n, n))[..., 0]
    r = np.hypot(*np.meshgrid(np.arange(n) - n // 2, np.arange(n) - n // 2))
    assert image[r < radius - 4].mean() == pytest.approx(mu, rel=2e-3)
    assert np.abs(image[r < radius - 4] / mu - 1).max() < 0.03
    assert abs(image[(r > radius + 4) & (r < n // 2)]).max() < 0.03 * mu
    assert image[r < n // 2].sum() == pytest.approx(mu * math.pi * radius**2, rel=0.01)


def test_ramp_takes_half_the_highest_frequency_there_and_almost_nothing_at_zero():
    response = ramp_response(512, window="ramp", cutoff=1.0)
    np.testing.assert_allclose(response[8:], np.arange(257)[8:] / 512, rtol=5e-3)
    # What the kernel's samples beyond the padding would take away: 2 / (π² n) summed from n = 256 on in steps of 2.
    assert 0 < response[0] < 1.1 / (math.pi**2 * 256)
    assert ramp_response(512, window="hann", cutoff=0.5)[129:].max() == 0
    for window in WINDOWS[1:]:
        assert (ramp_response(512, window=window, cutoff=1.0) <= response + 1e-12).all()


def test_faulty_detector_pixel_makes_a_circle_about_the_axis_and_nothing_else():
    n, fault = 61, 17
    sinogram = np.zeros((400, 101, 1), np.float32)
    sinogram[:, 50 + fault] = 1
    angles = np.arange(400) * 2 * math.pi / 400
    filter_projections(sinogram, np.full(400, math.pi / 400), window="ramp", cutoff=1.0)
    image = back_project(sinogram, angles, shape=(n, n))[..., 0]
    r = np.hypot(*np.meshgrid(np.arange(n) - 30, np.arange(n) - 30))
    radii = np.arange(28)
    means = np.array([image[np.abs(r - radius) < 0.5].mean() for radius in radii])
    assert radii[means.argmax()] == fault
    # Turned by a quarter or mirrored the picture is the same.
    np.testing.assert_allclose(image, image[::-1], atol=1e-4 * image.max())
    np.testing.assert_allclose(image, image.T, atol=1e-4 * image.max())
    assert np.abs(means[np.abs(radii - fault) > 3]).max() < 0.2 * means.max()


def test_voxels_bigger_than_the_structures_hold_the_mean_of_their_parts():
    labels = np.random.default_rng(0).integers(0, 3, (4, 6, 9)).astype(np.uint8)
    values = np.array([0.1, 0.5, 2.0])
    mixed = mix_slices(labels, values, np.array([1, 0]), pixel_vox=2)
    padded = np.pad(values[labels], [(0, 0), (0, 0), (0, 1)], mode="symmetric")
    mean = padded.reshape(2, 2, 3, 2, 5, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(mixed, mean[[1, 0]].transpose(1, 2, 0), rtol=1e-6)
