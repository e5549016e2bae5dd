import dataclasses
import math

import numpy as np
import pytest

from synth import FibsemSettings, draw_fibsem_settings, fibsem, sphere_pack

# Nothing but geometry: no noise that counts, no blur, no texture, no unevenness, no slopes.
CLEAN = FibsemSettings(
    tilt_deg=40.0, face_grey=(0.7, 0.8, 0.5), floor_grey=0.1, shine_through=0.6, depth_vox=8.0, relief=0.0, edge=0.0,
    texture=0.0, mottle=0.0, blur_vox=0.0, shading=0.0, slice_gain=0.0, dose=1e15, read_noise=0.0,
)  # fmt: skip
EXACT = 1e-6


def clean(**changes):
    return dataclasses.replace(CLEAN, **changes)


def blocks(shape=(30, 24, 20), seed=0):
    """Random labels 0 to 3 in blocks of five voxels."""
    coarse = np.random.default_rng(seed).integers(0, 4, [-(-n // 5) for n in shape])
    return np.kron(coarse, np.ones((5, 5, 5), int))[: shape[0], : shape[1], : shape[2]].astype(np.uint8)


# Same in, same out


@pytest.mark.parametrize("settings", [None, draw_fibsem_settings(3), FibsemSettings(mottle=0.1)])
def test_seed_decides_every_byte_and_labels_stay(settings):
    labels = blocks()
    before = labels.copy()
    images = [fibsem(labels, settings, rng=rng).tobytes() for rng in (1, np.random.default_rng(1), 2)]
    assert images[0] == images[1] != images[2]
    assert np.array_equal(labels, before)


def test_structure_booleans_and_wide_integers_are_imaged_as_their_labels():
    pack = sphere_pack((12, 14, 16), porosity=0.5, diameter_vox=6, rng=0)
    image = fibsem(pack.labels, rng=1)
    for same in (pack, pack.labels.astype(bool), pack.labels.astype(np.int64), pack.labels.tolist()):
        assert np.array_equal(fibsem(same, rng=1), image)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 7), (7, 1, 9), (9, 7, 1), (1, 1, 5), (3, 11, 13), (2, 2, 2)])
@pytest.mark.parametrize("settings", [None, FibsemSettings(mottle=0.2, tilt_deg=80.0), FibsemSettings(tilt_deg=0.0)])
def test_image_of_any_shape_is_float32_from_0_to_1(shape, settings):
    labels = np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8)
    image = fibsem(labels, settings, rng=0)
    assert image.shape == shape
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert image.max() <= 1


def test_random_instruments_follow_their_seed_and_differ():
    assert draw_fibsem_settings(7) == draw_fibsem_settings(np.random.default_rng(7))
    drawn = [draw_fibsem_settings(seed) for seed in range(50)]
    assert len(set(drawn)) == 50
    tilts = [d.tilt_deg for d in drawn]
    assert 36 <= min(tilts) < 40 < 52 < max(tilts) <= 56
    assert any(d.mottle == 0 for d in drawn)
    assert any(d.mottle > 0 for d in drawn)


# The cut face


@pytest.mark.parametrize("tilt", [0.0, 40.0, 52.0, 75.0])
def test_cut_face_has_the_grey_of_its_phase_at_every_depth(tilt):
    labels = blocks()
    image = fibsem(labels, clean(tilt_deg=tilt), rng=0)
    for phase, grey in zip((1, 2, 3), CLEAN.face_grey, strict=True):
        np.testing.assert_allclose(image[labels == phase], grey, atol=EXACT)


def test_last_grey_serves_all_further_phases():
    image = fibsem(np.arange(1, 6, dtype=np.uint8).reshape(1, 1, 5), clean(face_grey=(0.3, 0.9)), rng=0)
    np.testing.assert_allclose(image[0, 0], [0.3, 0.9, 0.9, 0.9, 0.9], atol=EXACT)


def test_volume_of_pore_alone_shows_the_floor():
    np.testing.assert_allclose(fibsem(np.zeros((6, 7, 8), np.uint8), CLEAN, rng=0), CLEAN.floor_grey, atol=EXACT)


# Through a pore


def seen_at(depth, *, face=0.7, settings=CLEAN):
    """Return the documented brightness of a wall at this depth."""
    floor = settings.floor_grey
    return floor + (settings.shine_through * face - floor) * np.exp(-np.asarray(depth, float) / settings.depth_vox)


@pytest.mark.parametrize("tilt", [0.0, 30.0, 44.9])
def test_flat_floor_of_a_pore_is_dimmed_by_its_depth(tilt):
    labels = np.zeros((25, 9, 7), np.uint8)
    labels[20:] = 2
    image = fibsem(labels, clean(tilt_deg=tilt), rng=0)
    depth = 20 - np.arange(20)
    expected = np.broadcast_to(seen_at(depth, face=0.8)[:, None, None], (20, 9, 7))
    np.testing.assert_allclose(image[:20], expected, atol=EXACT)


@pytest.mark.parametrize("tilt", [50.0, 60.0])
def test_flat_floor_under_a_steep_view_is_dimmed_by_its_depth_to_half_a_voxel(tilt):
    labels = np.zeros((25, 9, 7), np.uint8)
    labels[20:] = 1
    image = fibsem(labels, clean(tilt_deg=tilt), rng=0)
    for z in range(20):
        assert (image[z] >= seen_at(20 - z + 0.5) - EXACT).all()
        assert (image[z] <= seen_at(20 - z - 0.5) + EXACT).all()


@pytest.mark.parametrize("tilt", [0.0, 20.0, 40.0])
def test_edge_of_a_step_appears_shifted_by_depth_times_the_tangent_along_y(tilt):
    """Solid below z = 12 and from y = 20 on; each ray is followed on paper."""
    labels = np.zeros((40, 30, 3), np.uint8)
    labels[12:, 20:] = 1
    settings = clean(tilt_deg=tilt, depth_vox=15.0)
    image = fibsem(labels, settings, rng=0)
    slope = math.tan(math.radians(tilt))
    for z in range(12):
        for y in range(30):
            # A ray meets the top of the step, or its side further down.
            depth = next((d for d in range(12 - z, 40 - z) if y + math.floor(d * slope + 0.5) >= 20), None)
            if depth is not None:
                np.testing.assert_allclose(image[z, y], seen_at(depth, settings=settings), atol=EXACT)
        first = next(y for y in range(30) if abs(image[z, y, 0] - seen_at(12 - z, settings=settings)) < EXACT)
        assert abs(20 - first - (12 - z) * slope) <= 0.5


@pytest.mark.parametrize("tilt", [50.0, 60.0])
def test_edge_of_a_step_under_a_steep_view_is_shifted_to_a_voxel(tilt):
    labels = np.zeros((40, 60, 3), np.uint8)
    labels[12:, 40:] = 1
    image = fibsem(labels, clean(tilt_deg=tilt), rng=0)
    for z in range(12):
        top = image[z, 45, 0]
        first = next(y for y in range(60) if abs(image[z, y, 0] - top) < EXACT)
        assert abs(40 - first - (12 - z) * math.tan(math.radians(tilt))) <= 1.5


def test_rays_stay_in_their_column_along_x_and_never_look_back():
    labels = np.zeros((20, 20, 9), np.uint8)
    labels[:, :, 4] = 1
    image = fibsem(labels, CLEAN, rng=0)
    np.testing.assert_allclose(np.delete(image, 4, axis=2), CLEAN.floor_grey, atol=EXACT)
    milled = np.zeros((40, 20, 3), np.uint8)
    milled[0] = 1
    # The milled slice is met again only by reflection, 40 slices further down; 32 is where sight ends.
    np.testing.assert_allclose(fibsem(milled, CLEAN, rng=0)[1:7], CLEAN.floor_grey, atol=EXACT)


def test_structure_goes_on_by_reflection_beyond_the_last_slice():
    labels = np.zeros((10, 5, 3), np.uint8)
    labels[4] = 1
    image = fibsem(labels, clean(tilt_deg=0.0), rng=0)
    # From z > 4 down to 9, then up again: 10 is 9, …, 15 is 4.
    for z in range(5, 10):
        np.testing.assert_allclose(image[z], seen_at(15 - z), atol=EXACT)


@pytest.mark.parametrize(
    ("wall", "pixel", "facing"),
    [
        # A floor's normal makes the angle of the tilt with the view, a wall across y its complement.
        ((slice(20, None), slice(None)), (19, 10), math.cos(math.radians(40.0))),
        ((slice(None), slice(20, None)), (20, 19), math.sin(math.radians(40.0))),
    ],
)
def test_wall_is_shaded_by_its_slope(wall, pixel, facing):
    labels = np.zeros((40, 40, 20), np.uint8)
    labels[wall] = 1
    plain, relief = (fibsem(labels, clean(relief=r), rng=0)[(*pixel, 10)] for r in (0.0, 0.5))
    # In front of either wall the ray goes down by one voxel.
    assert plain == pytest.approx(seen_at(1), abs=EXACT)
    assert relief == pytest.approx(seen_at(1, face=0.7 * (1 + 0.5 * (facing - 0.4))), abs=1e-4)


# What the instrument adds


SOLID = np.ones((8, 120, 130), np.uint8)


def test_noise_of_the_electrons_has_the_variance_of_counting():
    grey, dose = 0.3, 90.0
    image = fibsem(SOLID, clean(face_grey=(grey,), dose=dose), rng=0)
    n = image.size
    assert image.mean() == pytest.approx(grey, abs=5 * (grey / dose / n) ** 0.5)
    assert image.var() == pytest.approx(grey / dose, rel=5 * (2 / n) ** 0.5)
    # Counts are whole.
    np.testing.assert_allclose(image * dose, np.round(image * dose), atol=1e-4)


def test_noise_of_the_detector_has_its_deviation_and_adds_to_the_counting():
    image = fibsem(SOLID, clean(face_grey=(0.5,), read_noise=0.04), rng=0)
    n = image.size
    assert image.std() == pytest.approx(0.04, rel=5 / (2 * n) ** 0.5)
    both = fibsem(SOLID, clean(face_grey=(0.5,), read_noise=0.04, dose=400), rng=0)
    assert both.var() == pytest.approx(0.04**2 + 0.5 / 400, rel=5 * (2 / n) ** 0.5)


def test_grain_has_its_deviation_and_leaves_pores_alone():
    labels = SOLID.copy()
    labels[:, :, :40] = 0
    image = fibsem(labels, clean(texture=0.05, tilt_deg=0.0), rng=0)
    # A correlation of about 4 pi pixels leaves that much less to average.
    n = image[:, :, 40:].size / (4 * np.pi)
    assert image[:, :, 40:].std() == pytest.approx(0.05, rel=5 / (2 * n) ** 0.5)
    np.testing.assert_allclose(image[:, :, :40], CLEAN.floor_grey, atol=EXACT)


def test_shading_spans_its_part_of_the_brightness_over_each_slice():
    image = fibsem(SOLID, clean(face_grey=(0.5,), shading=0.3), rng=0)
    np.testing.assert_allclose(np.ptp(image, axis=(1, 2)), 0.5 * 0.3, rtol=1e-4)
    np.testing.assert_allclose(image.mean(axis=(1, 2)), 0.5, rtol=1e-4)


def test_slices_differ_by_their_gain():
    image = fibsem(np.ones((900, 1, 2), np.uint8), clean(face_grey=(0.5,), slice_gain=0.05), rng=0)
    gains = image[:, 0, 0] / 0.5
    np.testing.assert_allclose(image[:, 0, 0], image[:, 0, 1], atol=EXACT)
    assert gains.mean() == pytest.approx(1, abs=5 * 0.05 / 30)
    assert gains.std() == pytest.approx(0.05, rel=5 / 1800**0.5)


def test_regions_are_brighter_or_darker_by_the_mottle_at_the_most():
    image = fibsem(np.ones((40, 60, 60), np.uint8), clean(face_grey=(0.5,), mottle=0.2, mottle_vox=10.0), rng=0)
    assert np.abs(image / 0.5 - 1).max() <= 0.2 + EXACT
    assert (image > 0.5 * 1.15).mean() > 0.2
    assert (image < 0.5 * 0.85).mean() > 0.2


def test_edges_of_the_face_are_brighter_and_only_there():
    labels = np.zeros((3, 20, 20), np.uint8)
    labels[:, :10] = 1
    image, plain = (fibsem(labels, clean(edge=e, tilt_deg=0.0), rng=0) for e in (0.2, 0.0))
    extra = image - plain
    assert (extra[:, 9] > 0.1).all()
    assert (np.diff(extra[:, :10, 5], axis=1) >= -EXACT).all()
    np.testing.assert_allclose(extra[:, 10:], 0, atol=EXACT)
    np.testing.assert_allclose(extra[:, :4], 0, atol=1e-3)


def test_blur_is_a_gaussian_that_keeps_the_sum():
    labels = np.zeros((1, 41, 41), np.uint8)
    labels[0, 20, 20] = 1
    image = fibsem(labels, clean(blur_vox=2.0, floor_grey=0.0, shine_through=0.0), rng=0)[0].astype(float)
    y = np.arange(41) - 20
    assert image.sum() == pytest.approx(0.7, rel=1e-4)
    assert (image.sum(axis=1) * y**2).sum() / image.sum() == pytest.approx(4.0, rel=0.01)
    assert image[20, 20] == pytest.approx(0.7 / (2 * np.pi * 4.0), rel=0.01)


# Bad input


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 4, 4)), "integers or booleans; their type is float64"),
        (np.full((2, 2, 2), np.nan, np.float32), "integers or booleans; their type is float32"),
        (np.full((2, 2, 2), -1), "between 0 and 255; these lie between -1"),
        (np.full((2, 2, 2), 256), "between 0 and 255; these lie between 256"),
        (np.zeros((4, 4), np.uint8), r"shape is \(4, 4\)"),
        (np.zeros((4, 0, 4), np.uint8), r"shape is \(4, 0, 4\)"),
        (np.array([[["a"]]]), "integers or booleans"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        fibsem(labels, rng=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tilt_deg": 90.0}, {"tilt_deg": -1.0}, {"tilt_deg": math.nan}, {"face_grey": ()}, {"face_grey": (0.5, -0.1)},
        {"face_grey": (math.nan,)}, {"floor_grey": -0.1}, {"floor_grey": math.nan}, {"depth_vox": 0.0},
        {"depth_vox": math.inf}, {"dose": 0.0}, {"dose": math.nan}, {"mottle_vox": 0.0}, {"blur_vox": -1.0},
        {"blur_vox": math.inf}, {"edge": -0.1}, {"relief": math.nan}, {"read_noise": -0.01}, {"shading": -0.1},
        {"slice_gain": -0.1}, {"texture": -0.1}, {"shine_through": -0.1}, {"mottle": -0.1},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*give"):
        FibsemSettings(**wrong)
