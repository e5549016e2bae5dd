"""The whole tomograph: what the image of a known volume must be, and what everything that goes wrong does to it."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from scipy import ndimage

from launch import convert, to_plain
from synth import fibre_mat, gdl_with_mpl, redox_cell
from synth.laws import Choice, Sometimes, Uniform, has_laws
from synth.xray import (
    XRAY_PRESETS,
    BeamSettings,
    DetectorSettings,
    GreySettings,
    ReconstructionSettings,
    ScanSettings,
    XraySettings,
    tomograph,
    xray_ct,
    xray_image,
)

# Nothing goes wrong: no noise that counts, no blur, no rounding, angles enough.
CLEAN = XraySettings(
    attenuation=(0.0, 0.02, 0.03, 0.05),
    beam=BeamSettings(scan_photons=1e15),
    scan=ScanSettings(angles_per_px=1.6),
    detector=DetectorSettings(blur_px=0.0),
    reconstruction=ReconstructionSettings(window="ramp"),
    grey=GreySettings(below=1.0, above=1.0, bits=32),
)


def clean(**changes):
    """Return CLEAN with fields, and fields of its groups, replaced."""
    values = {}
    for name, value in changes.items():
        values[name] = dataclasses.replace(getattr(CLEAN, name), **value) if isinstance(value, dict) else value
    return dataclasses.replace(CLEAN, **values)


def density(labels, settings, rng=0):
    """Return the attenuation that the tomograph finds."""
    image = xray_image(labels, settings, rng=rng)
    low, high = image.truth["window"]
    return low + (high - low) * image.grey.astype(float)


def blocks(shape=(24, 40, 36), n_labels=3, side=12, seed=0):
    coarse = np.random.default_rng(seed).integers(0, n_labels, [-(-n // side) for n in shape])
    return np.kron(coarse, np.ones((side,) * 3, int))[tuple(map(slice, shape))].astype(np.uint8)


def rod(n=41, radius=4.0, *, nz=2, centre=(0.0, 0.0)):
    y, x = np.meshgrid(np.arange(n) - n // 2 - centre[0], np.arange(n) - n // 2 - centre[1], indexing="ij")
    return np.repeat((np.hypot(y, x) <= radius).astype(np.uint8)[None], nz, axis=0)


def radii(n=41):
    return np.hypot(*np.meshgrid(np.arange(n) - n // 2, np.arange(n) - n // 2))


# Any volume, the same bytes


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 7), (9, 1, 7), (9, 7, 1), (2, 3, 31), (24, 32, 40)])
@pytest.mark.parametrize("n_labels", [1, 2, 5])
def test_image_of_any_volume_is_float32_from_0_to_1(shape, n_labels):
    labels = np.random.default_rng(0).integers(0, n_labels, shape).astype(np.uint8)
    before = labels.copy()
    for settings in (None, *XRAY_PRESETS.values()):
        grey = xray_ct(labels, settings, rng=0)
        assert grey.shape == shape
        assert grey.dtype == np.float32
        assert np.isfinite(grey).all()
        assert grey.min() >= 0
        assert grey.max() <= 1
    np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize("preset", XRAY_PRESETS)
def test_seed_decides_every_byte_whatever_the_threads(preset, monkeypatch):
    labels, settings = blocks((10, 18, 14), side=5), XRAY_PRESETS[preset]
    first = xray_ct(labels, settings, rng=7)
    assert xray_ct(labels, settings, rng=np.random.default_rng(7)).tobytes() == first.tobytes()
    assert not np.array_equal(xray_ct(labels, settings, rng=8), first)
    monkeypatch.setattr("synth.threads.thread_count", lambda: 3)
    assert xray_ct(labels, settings, rng=7).tobytes() == first.tobytes()


@pytest.mark.parametrize(("fresnel", "blur"), [(0.0, 0.7), (0.3, 0.7), (0.3, 0.0), (3.0, 0.0)])
def test_passes_of_few_slices_leave_no_seam(fresnel, blur, monkeypatch):
    settings = clean(
        # A count follows its expectation by leaps, so that noise would hide how little a cut kernel matters.
        beam={
            "scan_photons": 1e15 if fresnel else 1e6,
            "fresnel_px2": fresnel,
            "delta_beta": 15.0 / max(fresnel, 0.3),
            "source_blur_px": blur,
        },
        detector={"blur_px": blur, "ring": 0.002, "read_noise": 2.0},
        scan={"drift_px": 1.0, "n_angles": 40},
    )
    labels = blocks((40, 14, 16), side=7)
    whole = xray_ct(labels, settings, rng=0)
    monkeypatch.setattr(tomograph, "PROJECTION_BYTES", 1)
    np.testing.assert_allclose(xray_ct(labels, settings, rng=0), whole, atol=1e-3 if fresnel else 2e-6)


def test_structure_booleans_and_wide_integers_are_imaged_as_their_labels():
    mat = fibre_mat((8, 12, 12), porosity=0.7, fibre_diameter_vox=4, rng=0)
    grey = xray_ct(mat, rng=1)
    for same in (mat.labels, mat.labels.astype(bool), mat.labels.astype(np.int64), mat.labels.tolist()):
        np.testing.assert_array_equal(xray_ct(same, rng=1), grey)


def test_settings_as_drawn_make_the_same_image_again():
    labels = blocks((6, 14, 12), side=5)
    image = xray_image(labels, XRAY_PRESETS["random"], rng=3)
    assert has_laws(XRAY_PRESETS["random"])
    assert not has_laws(image.settings)
    np.testing.assert_array_equal(xray_ct(labels, image.settings, rng=3), image.grey)
    assert xray_image(labels, XRAY_PRESETS["random"], rng=4).settings != image.settings
    window = XraySettings(reconstruction=ReconstructionSettings(window=Choice(("hann", "ramp"))))
    assert {xray_image(labels, window, rng=r).settings.reconstruction.window for r in range(9)} == {"hann", "ramp"}


@pytest.mark.parametrize("preset", XRAY_PRESETS)
def test_presets_survive_plain_text(preset):
    plain = json.loads(json.dumps(to_plain(XRAY_PRESETS[preset])))
    assert convert(plain, XraySettings, "settings") == XRAY_PRESETS[preset]


def test_truth_is_what_can_be_written_down():
    image = xray_image(blocks((3, 9, 8), side=4), XRAY_PRESETS["random"], rng=0)
    for value in image.truth.values():
        assert isinstance(value, np.ndarray) or json.dumps(value)
    assert image.truth["porosity"] == np.mean(blocks((3, 9, 8), side=4) == 0)


# Grey values


@pytest.mark.parametrize("pixel_vox", [1, 3])
def test_mean_inside_each_phase_is_its_attenuation(pixel_vox):
    """Without noise; two per cent, well away from other phases."""
    labels = np.kron(blocks(), np.ones((pixel_vox,) * 3, np.uint8))
    image = xray_image(labels, clean(pixel_vox=pixel_vox), rng=0)
    assert image.voxel_scale == (pixel_vox,) * 3
    np.testing.assert_array_equal(image.labels, blocks())
    low, high = image.truth["window"]
    found = low + (high - low) * image.grey.astype(float)
    for phase, mu in enumerate((0.0, 0.02, 0.03)):
        inside = ndimage.binary_erosion(image.labels == phase, iterations=3, border_value=1)
        assert found[inside].mean() == pytest.approx(mu, rel=0.02, abs=0.02 * 0.03)


def test_default_image_keeps_five_phases_apart_in_the_order_of_their_labels():
    labels = blocks((30, 40, 40), n_labels=5, side=10)
    grey = xray_ct(labels, rng=0)
    inside = [ndimage.binary_erosion(labels == p, iterations=2, border_value=1) for p in range(5)]
    means, widths = np.array([[grey[i].mean(), grey[i].std()] for i in inside]).T
    assert (np.diff(means) > 2 * (widths[1:] + widths[:-1])).all()


def test_bubbles_of_a_redox_cell_are_darkest_and_its_gaskets_bright():
    cell = redox_cell((48, 48, 32), bubble_fraction=0.1, bubble_diameter_vox=12, fibre_fraction=0.05, rng=0)
    grey = xray_ct(cell, XRAY_PRESETS["bmit-redox-cell"], rng=0)
    electrolyte, bubble, membrane, gasket, fibre = (grey[cell.labels == p].mean() for p in range(5))
    assert bubble < electrolyte - 0.1
    assert electrolyte < min(membrane, fibre)
    assert gasket > max(electrolyte, fibre) + 0.05


@pytest.mark.parametrize("preset", ["procon-ct-mini-gdl", "random", "default"])
def test_fibres_and_mpl_are_brighter_than_the_pores_between_them(preset):
    layer = gdl_with_mpl((24, 40, 40), fibre_diameter_vox=4, rng=0)
    for seed in range(3):
        grey = xray_ct(layer, XRAY_PRESETS[preset], rng=seed)
        pore, fibre, mpl = (grey[layer.labels == p].mean() for p in range(3))
        assert pore < min(fibre, mpl) - 0.05


def test_felt_at_the_synchrotron_has_dark_rims_outside_and_bright_ones_inside():
    grey = xray_ct(rod(61, 8.0, nz=12), XRAY_PRESETS["synchrotron-felt"], rng=0)
    r = radii(61)
    far, rim, edge, middle = (
        grey[:, where].mean() for where in ((r > 16) & (r < 20), (r > 9) & (r < 11), (r > 5) & (r < 7), r < 3)
    )
    assert rim < far - 0.03 < middle < edge


def test_window_does_not_depend_on_what_the_volume_holds():
    full, empty = blocks(), np.zeros((24, 40, 36), np.uint8)
    windows = [xray_image(labels, rng=0).truth["window"] for labels in (full, empty)]
    assert windows[0] == windows[1] == pytest.approx([-0.25 * 0.0022, 0.0022 * 1.15])
    assert xray_ct(empty, clean(), rng=0).mean() == pytest.approx(1 / 3, abs=1e-4)


def test_percentiles_become_black_and_white():
    settings = clean(grey={"scale": "percentile", "percentiles": (5.0, 95.0)}, beam={"scan_photons": 1e6})
    grey = xray_ct(blocks(), settings, rng=0)
    assert (grey == 0).mean() == pytest.approx(0.05, abs=1e-3)
    assert (grey == 1).mean() == pytest.approx(0.05, abs=1e-3)
    assert xray_ct(np.zeros((1, 1, 1), np.uint8), settings, rng=0) == pytest.approx(0.5)


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_values_are_the_steps_of_the_file(bits):
    exact = xray_ct(blocks(), clean(), rng=0)
    steps = xray_ct(blocks(), clean(grey={"bits": bits}), rng=0).astype(float) * (2**bits - 1)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-2)
    np.testing.assert_allclose(steps / (2**bits - 1), exact, atol=0.51 / (2**bits - 1))


@pytest.mark.parametrize("preset", XRAY_PRESETS)
def test_window_of_a_preset_clips_few_voxels_of_any_phase(preset):
    """One in a hundred on average over the draws; single draws of noise, rings and fringes clip more."""
    if preset == "bmit-redox-cell":
        labels = redox_cell(
            (24, 32, 32), bubble_fraction=0.1, bubble_diameter_vox=12, fibre_fraction=0.05, rng=0
        ).labels
    elif preset == "synchrotron-felt":
        labels = fibre_mat((24, 40, 40), porosity=0.86, fibre_diameter_vox=11, rng=0).labels
    else:
        labels = blocks((16, 36, 36), n_labels=5)
    stacks = [xray_ct(labels, XRAY_PRESETS[preset], rng=seed) for seed in range(8)]
    for phase in np.unique(labels):
        assert np.mean([np.isin(grey[labels == phase], (0, 1)).mean() for grey in stacks]) < 0.01


# Where things are


def displacement(picture, reference):
    """Return by how much a picture is displaced along y and x, from its gradients, for less than a pixel."""
    picture, reference = (ndimage.gaussian_filter(p.astype(float), (0, 2, 2)) for p in (picture, reference))
    inner = (slice(None), slice(5, -5), slice(5, -5))
    slopes = [np.gradient(reference, axis=axis)[inner].ravel() for axis in (1, 2)]
    columns = np.column_stack([*slopes, reference[inner].ravel(), np.ones(slopes[0].size)])
    return -np.linalg.lstsq(columns, picture[inner].ravel(), rcond=None)[0][:2]


def grains(shape, size):
    """Return labels of another structure in each slice."""
    noise = np.random.default_rng(0).standard_normal(shape)
    return (ndimage.gaussian_filter(noise, (0, size, size)) > 0).astype(np.uint8)


@pytest.mark.parametrize("shape", [(40, 40), (41, 40), (40, 41), (33, 58)])
@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("surroundings", ["reflect", "air"])
def test_slices_lie_where_their_labels_do(shape, side, surroundings):
    """Also if the last image voxels reach beyond the box."""
    labels = grains([4 * side, *(n * side - (side > 1) for n in shape)], 3.0 * side)
    image = xray_image(labels, clean(pixel_vox=side, surroundings=surroundings), rng=0)
    ends = [(0, image.labels.shape[axis] * side - labels.shape[axis]) for axis in range(3)]
    parts = np.pad(labels, ends, mode="symmetric").reshape([n for m in image.shape for n in (m, side)])
    assert np.abs(displacement(image.grey, parts.mean(axis=(1, 3, 5)))).max() < 0.04


@pytest.mark.parametrize("turn", [120.0, 180.0, 270.0, 360.0])
@pytest.mark.parametrize("wrong", [{"centre_offset_px": 0.8}, {"drift_px": 2.0}, {"jitter_px": 0.3}])
def test_slices_lie_where_their_labels_do_though_axis_and_sample_do_not(turn, wrong):
    """Left alone, this offset moves the slices of half a turn by a whole pixel."""
    labels = grains((24, 56, 56), 3.0)
    plain, image = (xray_ct(labels, clean(scan={"range_deg": turn, **w}), rng=1) for w in ({}, wrong))
    assert np.abs(displacement(image, plain)).max() < 0.1


def test_scan_of_almost_no_turn_does_not_move_the_sample_out_of_the_beam():
    image = xray_image(rod(), clean(scan={"range_deg": 0.01, "centre_offset_px": 5.0}), rng=0)
    assert np.abs(image.truth["path_px"]).max() < 5.1


# Partial volume


def test_finer_structure_of_the_same_shape_makes_the_same_image():
    labels, settings = blocks((5, 12, 11), side=4), dataclasses.replace(XraySettings(), pixel_vox=1)
    fine = np.kron(labels, np.ones((3, 3, 3), np.uint8))
    image = xray_image(fine, dataclasses.replace(settings, pixel_vox=3), rng=2)
    np.testing.assert_array_equal(image.grey, xray_ct(labels, settings, rng=2))
    np.testing.assert_array_equal(image.labels, labels)


def test_half_filled_voxel_has_half_the_attenuation():
    labels = np.zeros((8, 42, 42), np.uint8)
    labels[:, :21] = 1
    # The tenth pixel of two voxels is cut in the middle.
    found = density(labels, clean(pixel_vox=2))
    assert found.shape == (4, 21, 21)
    assert found[:, 10].mean() == pytest.approx(0.01, rel=0.02)
    assert xray_image(labels, clean(pixel_vox=2), rng=0).labels[:, 10].max() == 0


def test_label_of_a_coarse_voxel_is_that_of_most_and_the_lowest_of_several():
    labels = np.zeros((2, 2, 6), np.uint8)
    labels[..., 0:2].flat[:5] = 2
    labels[0, :, 2:4] = 3
    labels[1, :, 2:4] = 1
    labels[..., 4:6].flat[:2] = 1
    np.testing.assert_array_equal(xray_image(labels, clean(pixel_vox=2), rng=0).labels, [[[2, 1, 0]]])


@pytest.mark.parametrize("shape", [(1, 9, 7), (3, 1, 1), (5, 8, 2)])
def test_coarse_voxels_cover_a_box_of_any_size(shape):
    image = xray_image(np.ones(shape, np.uint8), clean(pixel_vox=4), rng=0)
    assert image.shape == image.labels.shape == tuple(-(-n // 4) for n in shape)
    assert image.labels.min() == 1
    assert image.truth["porosity"] == 0


# Surroundings


def test_box_in_a_round_sample_has_no_corners_of_its_own():
    ones = np.ones((2, 30, 44), np.uint8)
    inside = density(ones, clean())
    assert np.abs(inside / 0.02 - 1).max() < 0.03
    free = density(ones, clean(surroundings="air"))
    assert free[:, 3:-3, 3:-3] == pytest.approx(0.02, rel=0.06)
    assert free[:, 0, 0].max() < 0.9 * 0.02


def test_structure_goes_on_by_reflection_along_the_axis():
    """A blur along z does not see the ends of a volume whose slices are all alike."""
    labels = np.repeat(blocks((1, 20, 20), side=6), 8, axis=0)
    found = density(labels, clean(detector={"blur_px": 1.5}))
    np.testing.assert_allclose(found, np.broadcast_to(found[:1], found.shape), atol=1e-6)


# The material


@pytest.mark.parametrize("size", [0.0, 2.0])
def test_mottle_has_its_deviation_in_the_material_and_leaves_gas_alone(size):
    labels = np.zeros((40, 50, 50), np.uint8)
    labels[:, 25:] = 2
    settings = clean(attenuation=(0.0, 0.1, 0.02), mottle=0.1, mottle_px=size)
    field = tomograph.mottle((50, 50), np.arange(40), strength=0.1, sigma=size, seed=3)
    # About (4 pi size²)^(3/2) voxels hang together.
    alike = max(1.0, (4 * math.pi * size**2) ** 1.5)
    assert field.mean() == pytest.approx(1, abs=4 * 0.1 * math.sqrt(2 * alike / field.size))
    assert field.std() == pytest.approx(0.1, rel=4 * math.sqrt(alike / field.size))
    found = density(labels, settings)
    assert np.abs(found[:, :20]).max() < 0.1 * 0.02
    if size > 0:
        assert found[:, 30:].std() == pytest.approx(0.1 * 0.02, rel=0.25)


@pytest.mark.parametrize(("plane", "size"), [((30, 30), 2.0), ((3, 5), 4.0)])
def test_mottle_is_as_strong_at_the_faces_as_inside(plane, size):
    fields = np.stack(
        [tomograph.mottle(plane, np.arange(6), strength=0.1, sigma=size, seed=s)[:2, :2, 0] for s in range(100)]
    )
    # The four corners of a field hang together.
    assert fields.std() == pytest.approx(0.1, rel=4 / math.sqrt(2 * 100))


def test_mottle_of_a_slice_does_not_depend_on_the_slices_around_it():
    all_slices, some = (
        tomograph.mottle((7, 9), rows, strength=0.2, sigma=1.5, seed=1) for rows in (np.arange(9), np.arange(3, 6))
    )
    np.testing.assert_allclose(some, all_slices[..., 3:6], rtol=1e-6)


# What goes wrong


def test_noise_of_an_empty_scan_is_that_of_its_photons_whatever_the_number_of_angles():
    f = np.linspace(0, 0.5, 20001)
    # Between two pixels, a share u: |1 - u + u exp(-2πif)|² = 1 - 2 u (1 - u) (1 - cos 2πf), and 2 u (1 - u) is 1/3.
    kept = np.mean(f**2 * (1 - (1 - np.cos(2 * math.pi * f)) / 3))
    for n_angles in (60, 240):
        settings = clean(beam={"scan_photons": 1e6}, scan={"n_angles": n_angles})
        found = density(np.zeros((60, 40, 40), np.uint8), settings)
        # Along the axes u is not spread evenly.
        assert found.var() == pytest.approx(math.pi**2 * kept / 1e6, rel=0.06)


def test_ring_error_makes_circles_about_the_axis_and_only_those():
    labels, settings = rod(), clean(scan={"range_deg": 360.0})
    plain = density(labels, settings)
    image = xray_image(labels, clean(scan={"range_deg": 360.0}, detector={"ring": 0.01}), rng=0)
    low, high = image.truth["window"]
    rings = low + (high - low) * image.grey.astype(float) - plain
    r = np.rint(radii()).astype(int)
    for z in range(2):
        means = ndimage.mean(rings[z], r, np.arange(21))
        inside = r <= 20
        left = rings[z][inside] - means[r[inside]]
        # Radii of one bin differ by up to half a pixel.
        assert left.std() < 0.5 * rings[z][inside].std()
        # Full circles stay where they are when the picture is turned, to the accuracy of 1.6 angles per pixel.
        assert np.abs(rings[z] - rings[z][::-1, ::-1])[inside].max() < 0.05 * np.abs(rings[z]).max()
    assert image.truth["ring_profile"].shape[0] == 2
    assert image.truth["ring_profile"].std() == pytest.approx(0.01, rel=0.3)


def test_pixel_that_is_stuck_makes_a_ring_at_its_distance_from_the_axis():
    labels = np.zeros((30, 41, 41), np.uint8)
    image = xray_image(labels, clean(scan={"range_deg": 360.0}, detector={"bad_pixels": 2e-3}), rng=1)
    r = np.rint(radii()).astype(int)
    bad = [(z, abs(w - image.truth["axis_px"])) for z, w in image.truth["bad_pixels"]]
    alone = [(z, d) for z, d in bad if 3 < d < 18 and sum(y == z for y, _ in bad) == 1]
    assert len(alone) >= 2
    for z, distance in alone:
        means = ndimage.mean(image.grey[z], r, np.arange(20))
        assert abs(int(means.argmax()) - distance) <= 0.5


@pytest.mark.parametrize("offset", [4.0, -3.0])
def test_axis_off_its_place_makes_a_ring_of_that_radius_of_a_point_in_a_full_turn(offset):
    """A point appears wherever lines at the distance of the offset meet: on a circle around it."""
    found = density(rod(41, 1.0), clean(scan={"range_deg": 360.0, "centre_offset_px": offset}, surroundings="air"))[0]
    profile = ndimage.mean(found, np.rint(radii()), np.arange(12))
    assert abs(int(np.argmax(profile)) - abs(offset)) <= 0.5
    assert profile[0] < 0.5 * profile.max()
    assert xray_image(rod(), clean(scan={"centre_offset_px": offset}), rng=0).truth["centre_offset_px"] == offset


def test_axis_off_its_place_makes_half_a_ring_in_half_a_turn():
    settings = clean(scan={"centre_offset_px": 4.0}, surroundings="air")
    found = density(rod(41, 1.0), settings)[0]
    # About where the point stands.
    _, dy, dx = xray_image(rod(41, 1.0), settings, rng=0).truth["path_px"][0]
    assert (dy, dx) == pytest.approx((-4 * 4 / math.pi, 0), abs=0.1)
    y, x = np.arange(41)[:, None] - 20 - dy, np.arange(41) - 20 - dx
    on_ring = np.abs(np.hypot(y, x) - 4) < 1
    assert found[on_ring & (y > 1)].mean() > 5 * abs(found[on_ring & (y < -1)].mean())


def test_few_angles_make_streaks():
    labels = rod(61, 4.0, centre=(6.0, -9.0))
    errors = [density(labels, clean(scan={"n_angles": n}))[labels == 0].std() for n in (15, 60, 240)]
    assert errors[0] > 2 * errors[1] > 2 * errors[2]


def test_missing_angles_lower_what_full_ones_give_and_double_ones_do_not_raise_it():
    means = [density(rod(radius=9.0), clean(scan={"range_deg": r}))[0][radii() < 6].mean() for r in (90, 180, 270, 360)]
    assert means[0] < 0.015
    np.testing.assert_allclose(means[1:], 0.02, rtol=0.02)


def test_creeping_sample_goes_its_distance_steadily():
    image = xray_image(rod(), clean(scan={"drift_px": 6.0, "n_angles": 100}), rng=5)
    path = image.truth["path_px"]
    assert path.shape == (100, 3)
    assert path[:, 0].mean() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(np.diff(path, axis=0), np.tile(path[1] - path[0], (99, 1)), atol=1e-12)
    assert np.linalg.norm(path[-1] - path[0]) == pytest.approx(6.0 * 99 / 100)
    assert not np.allclose(image.grey, xray_ct(rod(), clean(scan={"n_angles": 100}), rng=5), atol=0.01)


def test_jitter_has_its_deviation():
    truth = xray_image(rod(), clean(scan={"jitter_px": 0.3, "angle_jitter_deg": 0.5, "n_angles": 900}), rng=0).truth
    assert truth["path_px"].std() == pytest.approx(0.3, rel=4 / math.sqrt(2 * 2700))
    wrong = truth["angles_deg"] - 0.2 * np.arange(900)
    assert wrong.std() == pytest.approx(0.5, rel=4 / math.sqrt(2 * 900))


def test_hard_beam_cups_a_thick_sample_and_a_beam_of_one_energy_does_not():
    labels, r = rod(61, 24.0), radii(61)
    thick = {"attenuation": (0.0, 0.06), "surroundings": "air"}
    even = density(labels, clean(**thick))[0]
    cupped = density(labels, clean(**thick, beam={"bandwidth": 0.3}))[0]
    middle, rim = r < 6, (r > 17) & (r < 20)
    assert even[middle].mean() == pytest.approx(even[rim].mean(), rel=0.01)
    assert cupped[middle].mean() < 0.95 * cupped[rim].mean() < 0.95 * 0.06


def test_phase_contrast_outlines_a_rod_and_keeps_its_mass():
    labels, r = rod(61, 8.0), radii(61)
    plain, fringed = (
        density(labels, clean(beam={"fresnel_px2": f, "delta_beta": 40.0, "source_blur_px": 0.8}))[0] for f in (0, 0.3)
    )
    assert fringed[(r > 6) & (r < 7.5)].mean() > 1.1 * plain[(r > 6) & (r < 7.5)].mean()
    assert fringed[(r > 8.5) & (r < 10)].mean() < plain[(r > 8.5) & (r < 10)].mean() - 0.001
    assert fringed[r < 20].sum() == pytest.approx(plain[r < 20].sum(), rel=0.02)


# Bad input


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 4, 4)), "integers or booleans; their type is float64"),
        (np.full((2, 2, 2), -1), "between 0 and 255; these lie between -1"),
        (np.full((2, 2, 2), 256), "between 0 and 255; these lie between 256"),
        (np.zeros((4, 4), np.uint8), r"shape is \(4, 4\)"),
        (np.zeros((4, 0, 4), np.uint8), r"shape is \(4, 0, 4\)"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        xray_ct(labels, rng=0)


def test_settings_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="settings are 'random'; give XraySettings"):
        xray_ct(np.zeros((2, 2, 2), np.uint8), "random", rng=0)


WRONG = {
    BeamSettings: {
        "scan_photons": (0.0, math.nan, 1e16), "bandwidth": (-0.1, 0.6), "source_blur_px": (-1.0, 21.0, math.inf),
        "fresnel_px2": (-0.1, 31.0), "delta_beta": (-1.0, math.inf, "2"),
    },
    ScanSettings: {
        "n_angles": (0, 30_000, 7.5, True), "angles_per_px": (0.0, 11.0), "range_deg": (0.0, 361.0),
        "centre_offset_px": (51.0, math.nan), "drift_px": (-1.0, 21.0), "jitter_px": (-0.1,),
        "angle_jitter_deg": (-1.0, 11.0),
    },
    DetectorSettings: {
        "blur_px": (-0.1, 21.0), "read_noise": (-1.0,), "flats": (-1.0,), "ring": (-0.1, 11.0),
        "ring_width_px": (-1.0, 51.0), "ring_drift": (1.1,), "ring_nonlinear": (-0.1,), "bad_pixels": (1.1, -0.1),
    },
    ReconstructionSettings: {
        "window": ("box", None), "cutoff": (0.0, 1.1), "retrieval_delta_beta": (-1.0, math.nan),
    },
    GreySettings: {
        "scale": ("auto",), "below": (-0.5, math.nan), "above": (-0.6,), "bits": (12, 8.5),
        "percentiles": ((5, 1), (0, 101), 5, (1, 2, 3), (math.nan, 5)),
    },
    XraySettings: {
        "attenuation": ((), (0.0,), (0.1, 0.1), 0.1, (0.0, -0.1), (0.0, math.nan), (0.0, 11.0)),
        "refraction": ((), (0.0, -0.1), (0.0, math.inf)), "scatter_share": ((), (1.1,), 0.3),
        "mottle": (-0.1, 1.1), "mottle_px": (-1.0, 21.0),
        "pixel_vox": (0, 1.5, 65), "surroundings": ("water",), "beam": (None, ScanSettings()),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [(group, name, value) for group, names in WRONG.items() for name, values in names.items() for value in values],
)
def test_settings_out_of_range_are_refused_by_name(group, name, value):
    with pytest.raises(ValueError, match=rf"{name}(\[\d\])? is .*give"):
        group(**{name: value})


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, names in WRONG.items() for n in names])
def test_every_setting_is_in_the_table(group, name):
    assert name in {field.name for field in dataclasses.fields(group)}
    missing = {field.name for field in dataclasses.fields(group)} - set(WRONG[group])
    assert missing <= {"scan", "detector", "reconstruction", "grey"}


def test_law_that_may_leave_the_range_is_refused():
    with pytest.raises(ValueError, match=r"drift_px is .*give"):
        ScanSettings(drift_px=Uniform(-1.0, 1.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: XraySettings(pixel_vox=Uniform(1, 3)), r"pixel_vox is .*give a whole number"),
        (lambda: XraySettings(pixel_vox=Choice((1, 1.5))), r"pixel_vox is .*give a whole number"),
        (lambda: ScanSettings(n_angles=Sometimes(0.5, Uniform(20, 30), 50)), r"n_angles is .*give a whole number"),
        (lambda: ReconstructionSettings(window=Choice(("ramp", "box"))), r"window is .*'box'.*give one of ramp"),
        (lambda: ReconstructionSettings(window=Uniform(0, 1)), r"window is .*give one of ramp"),
        (lambda: GreySettings(percentiles=("1", 3)), r"percentiles is .*give two numbers"),
    ],
)
def test_law_that_can_draw_what_is_none_is_refused_before_it_does(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_attenuations_drawn_alike_are_refused():
    settings = XraySettings(attenuation=(0.1, Choice((0.1,))))
    with pytest.raises(ValueError, match=r"attenuation is \(0.1, 0.1\); give at least two labels that differ"):
        xray_ct(np.zeros((2, 2, 2), np.uint8), settings, rng=0)


def test_presets_have_names_that_say_what_they_are():
    assert list(itertools.islice(XRAY_PRESETS, 2)) == ["default", "random"]
    assert {"procon-ct-mini-gdl", "bmit-redox-cell", "synchrotron-felt"} < set(XRAY_PRESETS)
    assert XRAY_PRESETS["default"] == XraySettings()
