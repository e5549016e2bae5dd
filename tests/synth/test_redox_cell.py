import importlib
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from synth.materials.redox_cell import redox_cell
from synth.object_lists import label_objects, list_objects

ELECTROLYTE, BUBBLE, MEMBRANE, GASKET, FIBRE = range(5)
CORNERS = np.ones((3, 3, 3), bool)
SHAPE = (72, 88, 64)


@pytest.fixture(scope="module", params=[{}, {"fibre_fraction": 0.06, "membrane_waviness_vox": 4.0, "touching": 0.5}])
def cell(request):
    return redox_cell(SHAPE, rng=7, **request.param)


def rebuild(structure, rng):
    arguments = {key: value for key, value in structure.recipe.items() if key != "generator"}
    return redox_cell(**json.loads(json.dumps(arguments)), rng=rng)


def faces_between(first, second):
    """Count the voxel faces between two masks, each cut along every axis."""
    count = 0
    for axis in range(3):
        a, b = np.moveaxis(first, axis, 0), np.moveaxis(second, axis, 0)
        count += np.count_nonzero(a[1:] & b[:-1]) + np.count_nonzero(a[:-1] & b[1:])
    return count


# Bubbles


def test_bubbles_found_by_labelling_equal_the_list(cell):
    ids, count = ndimage.label(cell.labels == BUBBLE, CORNERS)
    bubbles = cell.truth["bubbles"]
    assert count == len(bubbles) == cell.truth["n_bubbles"]
    assert [bubble["id"] for bubble in bubbles] == list(range(1, count + 1))
    for bubble in bubbles:
        points = np.argwhere(ids == bubble["id"])
        assert bubble["volume"] == len(points) >= 8
        assert bubble["centroid"] == pytest.approx(points.mean(axis=0) + 0.5, abs=1e-9)
        # Each voxel is a cube, whose own variance is 1/12; a solid ellipsoid's is a fifth of its semi-axis squared.
        variances, vectors = np.linalg.eigh(np.cov(points.T, bias=True) + np.eye(3) / 12)
        assert bubble["axes"] == pytest.approx(np.sqrt(20 * variances[::-1]), rel=1e-6)
        assert abs(np.dot(bubble["direction"], vectors[:, 2])) == pytest.approx(1, abs=1e-6)
        assert bubble["elongation"] == pytest.approx(bubble["axes"][0] / bubble["axes"][1])
        assert bubble["flatness"] == pytest.approx(bubble["axes"][1] / bubble["axes"][2])


def test_every_bubble_is_one_piece_over_faces(cell):
    assert ndimage.label(cell.labels == BUBBLE)[1] == cell.truth["n_bubbles"]


def test_bubbles_keep_two_voxels_apart(cell):
    ids, _ = ndimage.label(cell.labels == BUBBLE, CORNERS)
    # No cube of 3 x 3 x 3 voxels, and so no gap of one voxel, has two bubbles.
    highest = ndimage.maximum_filter(ids, 3)
    lowest = ndimage.minimum_filter(np.where(ids > 0, ids, ids.max() + 1), 3)
    near = highest > 0
    assert np.array_equal(highest[near], lowest[near])


def test_touching_and_distance_equal_dilation_and_distance_transform(cell):
    membrane = cell.labels == MEMBRANE
    ids, count = ndimage.label(cell.labels == BUBBLE, CORNERS)
    touching = set(np.unique(ids[ndimage.binary_dilation(membrane)])) - {0}
    distances = ndimage.minimum(ndimage.distance_transform_edt(~membrane), ids, np.arange(1, count + 1))
    for bubble, distance in zip(cell.truth["bubbles"], distances, strict=True):
        assert bubble["touches_membrane"] == (bubble["id"] in touching) == (distance == 1)
        assert bubble["membrane_distance"] == pytest.approx(distance, abs=1e-9)
        assert bubble["touches_membrane"] or distance >= 3
    assert cell.truth["n_touching"] == len(touching) == round(cell.recipe["touching"] * count)


def test_sides_and_borders_are_those_of_the_voxels(cell):
    middle = cell.truth["membrane_height_map"]
    ids, _ = ndimage.label(cell.labels == BUBBLE, CORNERS)
    for bubble, box in zip(cell.truth["bubbles"], ndimage.find_objects(ids), strict=True):
        z, y, x = np.argwhere(ids == bubble["id"])[0]
        assert bubble["side"] == ("upper" if z > middle[y, x] else "lower")
        at_border = any(s.start == 0 or s.stop == n for s, n in zip(box, SHAPE, strict=True))
        assert bubble["touches_border"] == at_border


def test_blockage_counts_the_faces_behind_bubbles(cell):
    labels, truth = cell.labels, cell.truth
    electrode = np.isin(labels, (ELECTROLYTE, BUBBLE, FIBRE))
    area = faces_between(labels == MEMBRANE, electrode)
    blocked = faces_between(labels == MEMBRANE, labels == BUBBLE)
    sides = truth["half_cells"].values()
    assert sum(side["membrane_area"] for side in sides) == area
    assert sum(side["blocked_area"] for side in sides) == blocked > 0
    assert truth["membrane_blockage"] == pytest.approx(blocked / area, abs=1e-12)
    for name, side in truth["half_cells"].items():
        own = sum(bubble["contact_area"] for bubble in truth["bubbles"] if bubble["side"] == name)
        assert side["blocked_area"] == own


@pytest.mark.parametrize("fraction", [0.001, 0.008, 0.0745, 0.1])
def test_bubble_fraction_is_hit_to_one_voxel(fraction):
    made = redox_cell((64, 64, 64), bubble_fraction=fraction, bubble_diameter_vox=7, touching=0.1, rng=3)
    electrode = np.count_nonzero(np.isin(made.labels, (ELECTROLYTE, BUBBLE)))
    bubble = np.count_nonzero(made.labels == BUBBLE)
    assert abs(bubble - fraction * electrode) <= 0.5
    assert made.truth["bubble_fraction"] == pytest.approx(bubble / electrode, abs=1e-12)
    assert made.truth["bubble_volume"] == bubble == sum(b["volume"] for b in made.truth["bubbles"])


def test_number_of_bubbles_is_hit_and_equal_ones_differ_by_a_voxel():
    made = redox_cell((64, 64, 64), n_bubbles=37, sigma=0.0, bubble_fraction=0.03, rng=1)
    volumes = [bubble["volume"] for bubble in made.truth["bubbles"]]
    assert len(volumes) == 37
    assert max(volumes) - min(volumes) <= 1


def test_diameters_are_lognormal():
    made = redox_cell((160, 160, 160), bubble_diameter_vox=10, sigma=0.3, touching=0.0, rng=2)
    logs = np.log([(6 * bubble["volume"] / np.pi) ** (1 / 3) for bubble in made.truth["bubbles"]])
    # The common factor that makes volumes add up differs from 1 by half of a bubble in several hundred: by 0.001.
    assert np.mean(logs) == pytest.approx(np.log(10), abs=4 * 0.3 / np.sqrt(len(logs)) + 0.001)
    assert np.std(logs) == pytest.approx(0.3, abs=4 * 0.3 / np.sqrt(2 * len(logs)))


def test_free_smooth_bubbles_have_the_shape_asked_for():
    made = redox_cell(
        (112, 144, 144), elongation=(1.7, 1.7), flatness=(1.4, 1.4), roughness=0.0, sigma=0.0, bubble_diameter_vox=16,
        touching=0.0, rng=4,
    )  # fmt: skip
    # A bubble against a gasket or the border is pressed; those are left out.
    beside = ndimage.binary_dilation(made.labels == GASKET, CORNERS)
    ids, _ = label_objects(made.labels == BUBBLE)
    pressed = set(np.unique(ids[beside]))
    free = [b for b in made.truth["bubbles"] if not b["touches_border"] and b["id"] not in pressed]
    assert len(free) > 10
    # About 900 surface voxels are each off by a variance of 1/12 of a voxel: of 2100 voxels the second moments, with
    # the surface's weight, are off by 5 · 0.29 · sqrt(900) · 0.45 / 2100 = 0.9 %, a ratio of two axes by 0.65 %.
    assert np.array([b["elongation"] for b in free]) == pytest.approx(1.7, rel=0.03)
    assert np.array([b["flatness"] for b in free]) == pytest.approx(1.4, rel=0.03)


def test_directions_of_free_bubbles_are_isotropic():
    made = redox_cell((128, 128, 128), elongation=(2.0, 2.0), bubble_diameter_vox=9, touching=0.0, crowding=0.0, rng=5)
    squares = np.square([b["direction"] for b in made.truth["bubbles"] if not b["touches_border"]])
    # cos² of an isotropic direction has mean 1/3 and variance 4/45.
    assert squares.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=4 * np.sqrt(4 / 45 / len(squares)))


def test_crowding_and_lower_share_move_the_bubbles():
    def distances(**options):
        made = redox_cell((80, 160, 160), bubble_diameter_vox=6, touching=0.0, rng=6, **options)
        return made, np.array([b["membrane_distance"] for b in made.truth["bubbles"]])

    _, even = distances(crowding=0.0)
    one_sided, near = distances(crowding=1.0, lower_share=1.0)
    error = np.sqrt(even.var() / len(even) + near.var() / len(near))
    assert even.mean() - near.mean() > 4 * error
    assert {b["side"] for b in one_sided.truth["bubbles"]} == {"lower"}
    assert one_sided.truth["half_cells"]["upper"]["bubble_volume"] == 0


# Membrane, gaskets, fibres


def test_membrane_is_one_sheet_and_its_maps_are_its_columns(cell):
    membrane = cell.labels == MEMBRANE
    thickness, height = cell.truth["membrane_thickness_map"], cell.truth["membrane_height_map"]
    assert ndimage.label(membrane)[1] == 1
    assert np.array_equal(thickness, membrane.sum(axis=0))
    assert thickness.min() >= 2
    centres = np.arange(SHAPE[0])[:, None, None] + 0.5
    assert height == pytest.approx((membrane * centres).sum(axis=0) / membrane.sum(axis=0), abs=1e-4)
    assert cell.truth["membrane_mean_thickness"] == pytest.approx(membrane.sum(axis=0).mean())


@pytest.mark.parametrize("waviness", [0.0, 3.0, 8.0])
def test_no_path_leads_past_the_membrane_even_over_corners(waviness):
    made = redox_cell(
        (80, 48, 40), membrane_thickness_vox=2, membrane_waviness_vox=waviness, membrane_wavelength_vox=8, rng=8
    )
    pieces, _ = ndimage.label(made.labels != MEMBRANE, CORNERS)
    assert not set(np.unique(pieces[0])) & set(np.unique(pieces[-1]))


def test_membrane_has_the_thickness_and_waviness_asked_for():
    made = redox_cell(
        (96, 200, 200), membrane_thickness_vox=7, membrane_waviness_vox=5, membrane_wavelength_vox=10,
        gasket_width_vox=0, rng=9,
    )  # fmt: skip
    # Two rounded faces have an error of variance 1/12 each; whole steep columns are thickened by a voxel at the most.
    assert made.truth["membrane_mean_thickness"] == pytest.approx(7, abs=0.1)
    height = made.truth["membrane_height_map"]
    # 3 tanh(g/3) of a normal g has the standard deviation 0.887; a patch of π/2 · 10² counts as one independent
    # sample of the square, of which 40 000 / 157 = 255 are seen.
    assert height.std() == pytest.approx(0.887 * 5, rel=4 / np.sqrt(2 * 255))
    assert GASKET not in made.labels


def test_gaskets_clamp_the_membrane_at_both_ends_of_y_only(cell):
    gasket = cell.labels == GASKET
    occupied = gasket.any(axis=(0, 2))
    assert occupied[0]
    assert occupied[-1]
    assert not occupied[SHAPE[1] // 4 : -SHAPE[1] // 4].any()
    blocks = ndimage.label(gasket, CORNERS)[1]
    assert blocks == 4


def test_frame_as_high_as_the_half_cells_leaves_no_electrode_beside_it():
    made = redox_cell((48, 64, 32), gasket_height_vox=48, rng=2)
    assert set(np.unique(made.labels[:, 0])) == {MEMBRANE, GASKET}


def test_fibres_are_hit_to_one_voxel_and_bubbles_give_way():
    made = redox_cell((64, 64, 64), fibre_fraction=0.08, fibre_diameter_vox=3, rng=5)
    electrode = np.count_nonzero(np.isin(made.labels, (ELECTROLYTE, BUBBLE, FIBRE)))
    assert abs(np.count_nonzero(made.labels == FIBRE) - 0.08 * electrode) <= 0.5
    assert abs(np.count_nonzero(made.labels == BUBBLE) - 0.05 * electrode) <= 0.5
    assert made.truth["electrode_volume"] == electrode
    assert made.phases == ("electrolyte", "bubble", "membrane", "gasket", "fibre")


def test_phases_and_fractions_are_counted(cell):
    n = len(cell.phases)
    assert n == (5 if cell.recipe["fibre_fraction"] else 4)
    assert cell.truth["fractions"] == pytest.approx(np.bincount(cell.labels.ravel(), minlength=n) / cell.labels.size)
    assert cell.labels.max() == n - 1


# Seeds, recipes, shapes, bad input


def test_seed_decides_every_byte_and_the_recipe_makes_them_again(cell):
    assert rebuild(cell, 7).labels.tobytes() == cell.labels.tobytes()
    assert rebuild(cell, 8).labels.tobytes() != cell.labels.tobytes()


def test_truth_is_plain_but_for_the_maps(cell):
    plain = {key: value for key, value in cell.truth.items() if not key.endswith("_map")}
    assert json.loads(json.dumps(plain)) == plain


@settings(deadline=None, max_examples=12)
@given(shape=st.tuples(st.integers(24, 60), st.integers(24, 60), st.integers(16, 60)), seed=st.integers(0, 2**32))
def test_any_box_tells_the_truth(shape, seed):
    made = redox_cell(shape, bubble_fraction=0.02, touching=0.0, rng=seed)
    assert made.labels.dtype == np.uint8
    assert made.labels.shape == made.shape == shape
    found = list_objects(label_objects(made.labels == BUBBLE)[0])
    assert [b["volume"] for b in found] == [b["volume"] for b in made.truth["bubbles"]]


@pytest.mark.parametrize(
    "options",
    [
        {"bubble_fraction": 0.9},
        {"bubble_fraction": 0.9, "touching": 1.0},
        {"bubble_fraction": 0.5, "touching": 0.0, "fibre_fraction": 0.1},
        {"bubble_fraction": 0.05, "n_bubbles": 1200},
    ],
)
def test_reachable_fraction_that_is_named_is_reachable(options):
    with pytest.raises(ValueError, match="cannot be reached") as error:
        redox_cell((64, 64, 64), **options, rng=0)
    found = re.search(r"about ([\d.e-]+) can be reached(?: with (\d+) bubbles)?", str(error.value))
    number = {"n_bubbles": int(found[2])} if "n_bubbles" in options else {}
    made = redox_cell((64, 64, 64), **{**options, "bubble_fraction": float(found[1]), **number}, rng=0)
    assert made.truth["bubble_fraction"] == pytest.approx(float(found[1]), rel=0.01)


def test_bubble_that_fits_nowhere_is_refused_without_a_fraction_of_zero(monkeypatch):
    # The package may hold the function by the module's name.
    monkeypatch.setattr(importlib.import_module("synth.materials.redox_cell"), "PATIENCE", 0)
    with pytest.raises(ValueError, match=r"not one bubble of \d+ voxels fits (on|in) the (lower|upper) "):
        redox_cell((40, 40, 40), rng=0)


@pytest.mark.parametrize("shape", [(80, 400, 4), (40, 16, 300)])
def test_strips_that_are_narrow_against_the_waves_have_a_membrane(shape):
    made = redox_cell(shape, touching=0.0, gasket_width_vox=5, rng=0)
    height = made.truth["membrane_height_map"]
    narrow = int(np.argmin(shape[1:]))
    assert np.ptp(height, axis=narrow).mean() < np.ptp(height)


def test_too_many_bubbles_by_default_are_counted_in_the_error():
    with pytest.raises(ValueError, match=r"bubbles of 5 voxels would be about \d+ here"):
        redox_cell((24, 1100, 1100), bubble_fraction=0.8, rng=0)


def test_numbers_of_numpy_are_plain_in_the_recipe():
    options = {"sigma": np.float32(0.3), "n_bubbles": np.int64(9), "membrane_thickness_vox": np.array(4.0)}
    made = redox_cell((40, 48, 56), **options, elongation=np.array([1, 2], np.float32), rng=1)
    assert rebuild(made, 1).labels.tobytes() == made.labels.tobytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"shape": (0, 40, 40)}, "three positive whole numbers"),
        ({"shape": (12, 40, 40)}, "at least 24 x 16 x 4"),
        ({"bubble_fraction": 0.0}, "above 0 and below 1"),
        ({"bubble_fraction": float("nan")}, "above 0 and below 1"),
        ({"bubble_fraction": 1e-6}, "a bubble takes at least 8"),
        ({"n_bubbles": 0}, "whole number from 1"),
        ({"n_bubbles": 2, "bubble_diameter_vox": 5}, "only one of them"),
        ({"n_bubbles": 100_000}, "leaves each 8 to"),
        ({"n_bubbles": 1, "bubble_fraction": 0.9}, "leaves each 8 to"),
        ({"bubble_diameter_vox": 1.0}, "2.5 or more"),
        ({"bubble_diameter_vox": float("inf")}, "2.5 or more"),
        ({"sigma": 2.0}, "sigma is 2.0; give a number from 0 to 1"),
        ({"sigma": float("nan")}, "give a number from 0 to 1"),
        ({"elongation": (0.5, 2.0)}, "a range"),
        ({"elongation": 2.0}, "a range"),
        ({"elongation": (1.0, float("nan"))}, "a range"),
        ({"elongation": ("1", 2)}, "elongation is '1'; give a number"),
        ({"sigma": "wide"}, "sigma is 'wide'; give a number"),
        ({"touching": None}, "touching is None; give a number from 0 to 1"),
        ({"bubble_fraction": None}, "above 0 and below 1"),
        ({"fibre_diameter_vox": None}, "1 or more"),
        ({"membrane_waviness_vox": [1, 2]}, "give a number"),
        ({"gasket_width_vox": True}, "give a number"),
        ({"n_bubbles": 3.5}, "whole number from 1"),
        ({"flatness": (2.0, 1.0)}, "a range"),
        ({"roughness": -0.1}, "from 0 to 0.3"),
        ({"touching": 1.5}, "from 0 to 1"),
        ({"crowding": -1}, "from 0 to 1"),
        ({"lower_share": 2}, "from 0 to 1"),
        ({"fibre_fraction": 0.5}, "from 0 to 0.3"),
        ({"fibre_diameter_vox": 0}, "1 or more"),
        ({"membrane_thickness_vox": 1}, "membrane_thickness_vox is 1; give a number of 2 or more"),
        ({"membrane_thickness_vox": 40}, "leaves no half-cells"),
        ({"membrane_waviness_vox": 30.0}, "leaves no half-cells"),
        ({"membrane_waviness_vox": float("nan")}, "give a number of 0 or more"),
        ({"membrane_wavelength_vox": 0.5}, "give a number of 2 or more"),
        ({"gasket_width_vox": 30}, "0.4 of that side"),
        ({"gasket_height_vox": 0}, "1 or more"),
    ],
)
def test_impossible_arguments_are_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        redox_cell(**{"shape": (40, 40, 40), **arguments}, rng=0)


# Object lists


def test_box_of_voxels_has_the_moments_of_a_box():
    ids = np.zeros((20, 20, 20), np.int32)
    ids[2:12, 3:9, 5:7] = 3
    ids[15, 15, 15] = 5
    box, voxel = list_objects(ids)
    # A box of side L has the variance L²/12 along it.
    assert box["axes"] == pytest.approx([2 * np.sqrt(5 * side**2 / 12) for side in (10, 6, 2)])
    assert (box["id"], box["volume"], box["centroid"]) == (3, 120, [7.0, 6.0, 6.0])
    assert box["direction"] == pytest.approx([1, 0, 0])
    assert voxel["axes"] == pytest.approx([np.sqrt(20 / 12)] * 3)
    assert (voxel["elongation"], voxel["flatness"]) == pytest.approx((1, 1))
    assert list_objects(np.zeros((3, 3, 3), np.int32)) == []


def test_objects_are_numbered_in_the_order_of_a_scan():
    ids, count = label_objects(np.random.default_rng(0).random((30, 30, 30)) < 0.03)
    values, first = np.unique(ids, return_index=True)
    assert count == len(values) - 1
    assert (np.diff(first[1:]) > 0).all()


@pytest.mark.parametrize("ids", [np.zeros((3, 3), int), np.zeros((3, 3, 3), float), -np.ones((2, 2, 2), int)])
def test_id_maps_that_are_none_are_refused(ids):
    with pytest.raises(ValueError, match="give"):
        list_objects(ids)
