import dataclasses
import math

import numpy as np
import pytest

from synth import sphere_pack
from synth.laws import Choice, Sometimes, Uniform, draw
from synth.sem import (
    FIBSEM_PRESETS,
    Charging,
    Curtains,
    Electronics,
    FibsemSettings,
    Optics,
    Redeposition,
    SliceGeometry,
    backscatter_grey,
    degrade,
    fibsem,
    fibsem_image,
)

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


EVERYTHING = FibsemSettings(
    mottle=0.1, shadow=0.8, rim=0.3, wall_texture=0.1,
    geometry=SliceGeometry(uneven=0.2, bend_vox=1.0, drift_px=0.3, jitter_px=0.3),
    redeposition=Redeposition(pores=0.4, face=0.2), curtains=Curtains(strength=0.2),
    charging=Charging(glow=0.1, halo=-0.05, streak=0.05, drift=0.05),
    optics=Optics(defocus_px=0.7, drift_px=0.3, field_px=0.5, astigmatism=1.4),
    electronics=Electronics(gain_drift=0.05, contrast_drift=0.05, line_noise=0.01, bits=8),
)  # fmt: skip


@pytest.mark.parametrize("settings", [None, FIBSEM_PRESETS["random"], EVERYTHING])
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
    law = FIBSEM_PRESETS["random"]
    assert draw(law, np.random.default_rng(7)) == draw(law, np.random.default_rng(7))
    drawn = [draw(law, np.random.default_rng(seed)) for seed in range(50)]
    assert len(set(drawn)) == 50
    tilts = [d.tilt_deg for d in drawn]
    assert 34 <= min(tilts) < 40 < 50 < max(tilts) <= 56
    for on in ("mottle", "filled_grey", "shadow"):
        assert {bool(getattr(d, on)) for d in drawn} == {True, False}
    assert {d.detector for d in drawn} == {"SE", "BSE"}
    assert {d.curtains.strength > 0 for d in drawn} == {True, False}


@pytest.mark.parametrize("threads", [2, 3])
def test_number_of_threads_decides_no_byte(monkeypatch, threads):
    labels = blocks((9, 40, 41))
    monkeypatch.setattr("synth.sem.view.PIECE", 2000)
    images = []
    for count in (1, threads):
        monkeypatch.setattr("synth.threads.thread_count", lambda n=count: n)
        monkeypatch.setattr("synth.sem.view.thread_count", lambda n=count: n)
        images.append(fibsem(labels, EVERYTHING, rng=1))
    assert np.array_equal(*images)


def test_settings_as_drawn_make_the_same_picture_again():
    image = fibsem_image(blocks(), FIBSEM_PRESETS["random"], rng=5)
    assert image.settings != FIBSEM_PRESETS["random"]
    assert np.array_equal(fibsem(blocks(), image.settings, rng=5), image.grey)


@pytest.mark.parametrize("name", FIBSEM_PRESETS)
def test_every_preset_images_three_phases_with_contrast(name):
    labels = blocks((12, 40, 40))
    image = fibsem_image(labels, FIBSEM_PRESETS[name], rng=0)
    assert image.grey.shape == image.labels.shape == (12, 40, 40)
    assert image.grey[image.labels > 0].mean() > image.grey[image.labels == 0].mean() + 0.05


def test_without_departures_from_the_grid_the_labels_are_the_structure():
    labels = blocks()
    image = fibsem_image(labels, CLEAN, rng=0)
    assert image.labels.tobytes() == labels.tobytes()
    assert image.voxel_scale == (1.0, 1.0, 1.0)
    assert np.array_equal(np.asarray(image), fibsem(labels, CLEAN, rng=0))
    assert np.array_equal(image.truth["slice_z"], np.arange(30))
    assert not image.truth["drift_px"].any()


@pytest.mark.parametrize("changes", [{"tilt_deg": 89.99}, {"depth_vox": 1e4}, {"shadow": 1.0, "depth_vox": 1e4}])
def test_sight_ends_even_where_there_is_nothing_to_see(changes):
    labels = np.zeros((2, 12, 12), np.uint8)
    labels[1, 3, 3] = 1
    assert np.isfinite(fibsem(labels, clean(**changes), rng=0)).all()


def test_an_artefact_switched_on_leaves_the_noise_of_the_others_as_it_is():
    labels = np.ones((3, 20, 20), np.uint8)
    plain, driven = (
        fibsem(labels, clean(face_grey=(0.5,), read_noise=0.02, redeposition=group), rng=0)
        for group in (None, Redeposition(pores=0.5))
    )
    # Redeposition in pores does not touch a solid face.
    np.testing.assert_allclose(driven, plain, atol=EXACT)


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


@pytest.mark.parametrize("tilt", [0.0, 20.0, 40.0, 52.0, 60.0, 70.0])
def test_edge_of_a_step_appears_shifted_by_depth_times_the_tangent_along_y(tilt):
    """Solid below z = 12 and from y = 40 on: a ray meets its top, or its side further down, or nothing."""
    labels = np.zeros((40, 80, 3), np.uint8)
    labels[12:, 40:] = 1
    settings = clean(tilt_deg=tilt, depth_vox=9.0)
    image = fibsem(labels, settings, rng=0)[:12, :, 1]
    slope = math.tan(math.radians(tilt))
    z, y = np.mgrid[:12, :80]
    top, side = 12.0 - z, (40 - (y + 0.5)) / max(slope, 1e-9)
    # The smoothed edge is round over two voxels.
    clear = np.abs(y + 0.5 + top * slope - 40) > 2
    on_top = clear & (y + 0.5 + top * slope > 40)
    np.testing.assert_allclose(image[on_top], seen_at(top[on_top], settings=settings), atol=1e-3)
    on_side = clear & ~on_top & (side < 26 - z)
    np.testing.assert_allclose(image[on_side], seen_at(side[on_side], settings=settings), atol=3e-3)
    for k in range(12):
        first = next(j for j in range(80) if abs(image[k, j] - seen_at(12 - k, settings=settings)) < 3e-3)
        assert abs(40 - first - (12 - k) * slope) <= 2


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
    # From z > 4 down to 9, then up again: 10 is 9, …, 15 is 4. A layer of one voxel may lie half a voxel deeper.
    for z in range(5, 10):
        assert (image[z] <= seen_at(15 - z)).all()
        assert (image[z] >= seen_at(15.5 - z)).all()


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
    # The ray goes down by a voxel to the floor, and until it has gone half a voxel along y to the wall.
    depth = 1.0 if pixel[0] == 19 else 0.5 / math.tan(math.radians(40.0))
    assert plain == pytest.approx(seen_at(depth), abs=3e-3)
    assert relief == pytest.approx(plain + 0.5 * (facing - 0.4) * 0.7 * 0.6 * math.exp(-depth / 8), abs=3e-3)


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


@pytest.mark.parametrize(("azimuth", "bright", "dark"), [(90.0, 20, 39), (270.0, 39, 20)])
def test_one_sided_glow_is_that_of_the_edges_that_face_the_detector(azimuth, bright, dark):
    labels = np.zeros((1, 60, 60), np.uint8)
    labels[:, 20:40, 20:40] = 1
    shown = {"edge": 0.2, "tilt_deg": 0.0, "sun_azimuth_deg": azimuth}
    plain, even, sided = (
        fibsem(labels, clean(**{**shown, **change}), rng=0)[0, :, 30]
        for change in ({"edge": 0.0}, {}, {"edge_side": 0.75})
    )
    glow, glow_even = sided - plain, even - plain
    assert glow[bright] == pytest.approx(1.75 * glow_even[bright], rel=1e-4)
    assert glow[dark] == pytest.approx(0.25 * glow_even[dark], rel=1e-4)
    assert glow[[bright, dark]].sum() == pytest.approx(glow_even[[bright, dark]].sum(), rel=1e-4)


def test_blur_is_a_gaussian_that_keeps_the_sum():
    labels = np.zeros((1, 41, 41), np.uint8)
    labels[0, 20, 20] = 1
    image = fibsem(labels, clean(blur_vox=2.0, floor_grey=0.0, shine_through=0.0), rng=0)[0].astype(float)
    y = np.arange(41) - 20
    assert image.sum() == pytest.approx(0.7, rel=1e-4)
    assert (image.sum(axis=1) * y**2).sum() / image.sum() == pytest.approx(4.0, rel=0.01)
    assert image[20, 20] == pytest.approx(0.7 / (2 * np.pi * 4.0), rel=0.01)


def test_filled_pores_show_what_fills_them_and_nothing_behind():
    labels = blocks()
    image = fibsem(labels, clean(filled_grey=0.2), rng=0)
    np.testing.assert_allclose(image[labels == 0], 0.2, atol=EXACT)
    np.testing.assert_allclose(image[labels == 2], 0.8, atol=EXACT)


def test_back_scattered_electrons_show_no_topography_and_little_of_what_lies_behind():
    labels = blocks()
    rough = {"relief": 0.5, "rim": 0.4, "shadow": 0.9, "edge": 0.3}
    shown = fibsem(labels, clean(detector="BSE", **rough), rng=0)
    np.testing.assert_allclose(shown, fibsem(labels, clean(shine_through=0.4 * 0.6), rng=0), atol=EXACT)


def test_back_scatter_coefficients_are_those_of_measured_elements():
    # Of carbon, aluminium, iron and gold at 20 kV, measured: 0.06, 0.15, 0.28, 0.50 (Heinrich 1966, rounded).
    greys = np.array(backscatter_grey((6, 13, 26, 79), brightest=0.5))
    np.testing.assert_allclose(greys, [0.06, 0.15, 0.28, 0.50], atol=0.02)
    assert backscatter_grey((30,), brightest=0.9) == pytest.approx((0.9,))


def test_degrading_a_clean_picture_is_what_imaging_does_after_the_view():
    labels = np.random.default_rng(0).integers(0, 2, (4, 30, 30)).astype(np.uint8)
    flat = np.full(labels.shape, 0.5, np.float32)
    noisy = degrade(flat, labels, clean(read_noise=0.05), rng=0)
    assert noisy.std() == pytest.approx(0.05, rel=4 / (2 * noisy.size) ** 0.5)
    assert (flat == 0.5).all()
    np.testing.assert_allclose(degrade(flat, labels, CLEAN, rng=0), flat, atol=EXACT)
    steps = degrade(flat, labels, clean(electronics=Electronics(bits=2)), rng=0) * 3
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    assert len(np.unique(np.round(degrade(flat, labels, EVERYTHING, rng=0) * 255, 3))) > 20


def test_laws_are_drawn_before_the_picture_is_made():
    image = fibsem_image(SOLID[:2], clean(face_grey=(Uniform(0.2, 0.8),)), rng=3)
    (grey,) = image.settings.face_grey
    assert 0.2 < grey < 0.8
    np.testing.assert_allclose(image.grey, grey, atol=EXACT)


def test_uneven_detection_and_gains_are_known():
    settings = clean(face_grey=(0.5,), shading=0.3, slice_gain=0.05)
    image = fibsem_image(SOLID, settings, rng=0)
    gains = image.truth["slice_gain"][:, None, None] * image.truth["shading"]
    np.testing.assert_allclose(image.grey, 0.5 * gains, rtol=1e-5)


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
        {"slice_gain": -0.1}, {"texture": -0.1}, {"shine_through": -0.1}, {"mottle": -0.1}, {"rim": -1.0},
        {"shadow": 1.1}, {"sun": -0.1}, {"fill_light": 2.0}, {"sun_elevation_deg": 0.0}, {"sun_azimuth_deg": math.inf},
        {"wall_texture": -1.0}, {"filled_grey": -0.1}, {"filled_grey": "resin"}, {"detector": "TLD"}, {"dose": "many"},
        {"dose": Uniform(0.0, 3.0)}, {"face_grey": 0.5}, {"face_grey": (Uniform(-1.0, 1.0),)}, {"curtains": 0.3},
        {"geometry": Curtains()}, {"tilt_deg": True}, {"edge_side": 1.5},
        {"filled_grey": Sometimes(0.5, Uniform(-1.0, 0.2), None)}, {"detector": Choice(("SE", "TLD"))},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*give"):
        FibsemSettings(**wrong)


@pytest.mark.parametrize("wrong", ["random", 3, Curtains()])
def test_what_are_no_settings_is_refused(wrong):
    with pytest.raises(ValueError, match=r"settings are .*; give FibsemSettings"):
        fibsem(SOLID, wrong, rng=0)


@pytest.mark.parametrize(
    ("grey", "labels", "message"),
    [
        (SOLID.astype(np.float64), SOLID, "grey is float64"),
        (np.full(SOLID.shape, np.nan, np.float32), SOLID, "nan or infinity"),
        (SOLID.astype(np.float32), SOLID[1:], "labels are uint8 of shape"),
    ],
)
def test_pictures_that_cannot_be_degraded_are_refused(grey, labels, message):
    with pytest.raises(ValueError, match=message):
        degrade(grey, labels, rng=0)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [((), "empty"), ((0,), "of at least 1 and of at most 92"), ((6, 93), "93; give"), (("C",), "give a number")],
)
def test_atomic_numbers_that_are_none_are_refused(numbers, message):
    with pytest.raises(ValueError, match=f"atomic_numbers is .*{message}"):
        backscatter_grey(numbers)
