import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from synth.materials.gdl_with_mpl import gdl_with_mpl

SHAPE = (48, 64, 80)
EIGHT = np.ones((3, 3))
SETTINGS = {
    "default": (SHAPE, {}),
    "small": ((24, 32, 40), {}),
    "wide": ((30, 250, 200), {}),
    "many thin cracks": ((24, 120, 150), {"n_cracks": 25, "crack_width_vox": (2.0, 0.6)}),
    "few wide cracks": ((24, 120, 150), {"n_cracks": 3, "crack_width_vox": (9.0, 0.2), "crack_area_fraction": 0.15}),
    "much crack": ((24, 120, 150), {"crack_area_fraction": 0.4}),
    "one pixel each": ((16, 40, 40), {"crack_area_fraction": 20 / 1600, "n_cracks": 20}),
    "deep": ((40, 90, 90), {"mpl_thickness_vox": 4, "intrusion_depth_vox": 36, "intrusion_area_fraction": 0.6}),
    "rough and thin": ((30, 60, 60), {"mpl_thickness_vox": 2.0, "roughness_vox": 4.0}),
    "curved fibres": ((40, 60, 60), {"in_plane": 2.0, "persistence_vox": 40, "fibre_diameter_vox": 6}),
}


@pytest.fixture(scope="module", params=SETTINGS.values(), ids=SETTINGS)
def gdl(request):
    shape, arguments = request.param
    return gdl_with_mpl(shape, **arguments, rng=3)


# Cracks


@pytest.mark.parametrize("neighbours", [None, EIGHT], ids=["4", "8"])
def test_cracks_found_by_labelling_equal_the_list(gdl, neighbours):
    found, count = ndimage.label(gdl.labels[0] == 0, neighbours)
    cracks = gdl.truth["cracks"]
    assert count == gdl.truth["n_cracks"] == len(cracks) > 0
    assert [crack["id"] for crack in cracks] == list(range(1, count + 1))
    for crack in cracks:
        y, x = np.nonzero(found == crack["id"])
        assert crack["area"] == len(y)
        assert crack["centroid"] == pytest.approx([y.mean() + 0.5, x.mean() + 0.5])
        assert crack["mean_width"] == pytest.approx(crack["area"] / crack["length"])
    assert np.array_equal(gdl.truth["crack_map"], found)


def test_crack_area_is_exact_to_a_pixel(gdl):
    plan, wanted = gdl.labels[0], gdl.recipe["crack_area_fraction"]
    assert abs(np.count_nonzero(plan == 0) - wanted * plan.size) < 1
    assert gdl.truth["crack_area"] == np.count_nonzero(plan == 0) == sum(c["area"] for c in gdl.truth["cracks"])
    assert gdl.truth["crack_area_fraction"] == pytest.approx(np.mean(plan == 0), abs=1e-12)
    assert gdl.truth["crack_density"] == pytest.approx(len(gdl.truth["cracks"]) / plan.size)


def test_fibres_never_reach_the_surface_nor_the_layer_below_their_plane(gdl):
    plane = gdl.truth["substrate_plane"]
    assert not np.any(gdl.labels[:plane] == 1)
    assert np.any(gdl.labels[plane:] == 1)


def test_cracks_run_through_the_whole_layer(gdl):
    assert not np.any(gdl.labels[:, gdl.truth["crack_map"] > 0] == 2)


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_as_many_cracks_as_asked(count):
    gdl = gdl_with_mpl((16, 150, 150), crack_width_vox=(3.0, 0.3), n_cracks=count, rng=1)
    assert ndimage.label(gdl.labels[0] == 0)[1] == gdl.truth["n_cracks"] == count


def test_number_of_cracks_follows_the_published_density():
    gdl = gdl_with_mpl((16, 300, 300), crack_area_fraction=0.25, rng=0)
    assert gdl.truth["n_cracks"] == round(483e-6 * 300 * 300)


@pytest.mark.parametrize("arguments", [{"crack_area_fraction": 0.0}, {"crack_area_fraction": 0, "n_cracks": 0}])
def test_no_crack_asked_for_is_none(arguments):
    gdl = gdl_with_mpl(SHAPE, **arguments, rng=0)
    assert np.all(gdl.labels[0] == 2)
    assert gdl.truth["cracks"] == []
    assert gdl.truth["n_cracks"] == gdl.truth["crack_area"] == gdl.truth["crack_density"] == 0
    assert gdl.truth["crack_map"].shape == SHAPE[1:]
    assert not gdl.truth["crack_map"].any()


def test_fibres_in_the_layer_are_no_cracks():
    """Deep intrusion and no crack: fibres pierce the layer from above, and its surface stays whole."""
    gdl = gdl_with_mpl(
        (40, 60, 60), mpl_thickness_vox=1, intrusion_depth_vox=30, intrusion_area_fraction=1.0,
        crack_area_fraction=0.0, rng=0,
    )  # fmt: skip
    assert np.any(gdl.labels[5] == 1)
    assert np.any(gdl.labels[5] == 2)
    assert np.all(gdl.labels[0] == 2)
    assert gdl.truth["n_cracks"] == 0


@pytest.mark.parametrize("width", [3.0, 5.0, 8.0])
def test_cracks_are_as_wide_as_asked(width):
    gdl = gdl_with_mpl((12, 300, 300), crack_width_vox=(width, 0.0), crack_area_fraction=0.12, rng=2)
    long = [crack for crack in gdl.truth["cracks"] if crack["area"] > 4 * width**2]
    mean_width = sum(crack["area"] for crack in long) / sum(crack["length"] for crack in long)
    # From branches of the least width, 0.6, less what their roots share with the trunk, to lines of full width.
    assert 0.5 * width <= mean_width <= 1.1 * width


def test_cracks_narrower_than_a_line_are_drawn_as_lines():
    hair, line = (
        gdl_with_mpl((8, 60, 60), crack_width_vox=(width, 0.0), crack_area_fraction=0.5, n_cracks=4, rng=1)
        for width in (1e-9, 1.5)
    )
    assert hair.labels.tobytes() == line.labels.tobytes()


def test_border_of_the_plan_is_as_cracked_as_the_inside():
    differences = []
    for seed in range(60):
        cracks = gdl_with_mpl((12, 160, 160), crack_area_fraction=0.15, rng=seed).labels[0] == 0
        border = np.mean([cracks[:4].mean(), cracks[-4:].mean(), cracks[:, :4].mean(), cracks[:, -4:].mean()])
        differences.append(border - cracks[25:-25, 25:-25].mean())
    error = np.std(differences, ddof=1) / len(differences) ** 0.5
    # Cracks that begin and stay inside the plan would leave two thirds of the border's cracks away.
    assert error < 0.02
    assert abs(np.mean(differences)) < 4 * error


def test_published_crack_pattern_has_few_large_and_many_small_cracks():
    areas = [c["area"] for c in gdl_with_mpl((12, 500, 500), crack_area_fraction=0.25, rng=0).truth["cracks"]]
    assert np.median(areas) < 0.7 * np.mean(areas)
    assert max(areas) > 4 * np.mean(areas)


# Thickness, intrusion, interface


def test_thickness_map_is_the_count_of_each_column(gdl):
    count = np.count_nonzero(gdl.labels == 2, axis=0)
    assert np.array_equal(gdl.truth["thickness_map"], count)
    held, thickness = count[count > 0], gdl.truth["thickness"]
    assert thickness == pytest.approx({"mean": held.mean(), "std": held.std(), "max": held.max()})


def test_intrusion_map_is_the_reach_beyond_the_plane(gdl):
    plane, reach = gdl.truth["substrate_plane"], np.zeros(gdl.shape[1:], int)
    for y, x in np.ndindex(reach.shape):
        beyond = np.flatnonzero(gdl.labels[plane:, y, x] == 2)
        reach[y, x] = beyond[-1] + 1 if len(beyond) else 0
    assert np.array_equal(gdl.truth["intrusion_map"], reach)
    assert gdl.truth["intrusion"] == pytest.approx({"mean": reach.mean(), "max": reach.max()})


def test_interface_area_is_the_number_of_faces_between_layer_and_fibre(gdl):
    faces, padded = 0, np.pad(gdl.labels, 1)
    for axis in range(3):
        for step in (1, -1):
            faces += np.count_nonzero((padded == 2) & (np.roll(padded, step, axis) == 1))
    assert gdl.truth["interface_area"] == faces


def test_substrate_porosity_is_exact_to_a_voxel(gdl):
    substrate = gdl.labels[gdl.truth["substrate_plane"] :]
    wanted = gdl.recipe["porosity"] * substrate.size
    assert abs(np.count_nonzero(substrate != 1) - wanted) < 1
    assert gdl.truth["substrate_porosity"] == pytest.approx(np.mean(substrate != 1), abs=1e-12)


def test_smooth_layer_without_intrusion_is_flat():
    gdl = gdl_with_mpl(SHAPE, mpl_thickness_vox=7, roughness_vox=0.0, intrusion_depth_vox=0.0, rng=0)
    assert set(np.unique(gdl.truth["thickness_map"])) == {0, 7}
    assert gdl.truth["thickness"] == {"mean": 7.0, "std": 0.0, "max": 7}
    assert gdl.truth["intrusion"] == {"mean": 0.0, "max": 0}


def test_roughness_is_the_standard_deviation_of_the_top():
    spread = []
    for seed in range(20):
        gdl = gdl_with_mpl(
            (40, 60, 60), mpl_thickness_vox=20, roughness_vox=2.0, roughness_length_vox=6.0, intrusion_depth_vox=0,
            crack_area_fraction=0, porosity=0.99, rng=seed,
        )  # fmt: skip
        spread.append(np.mean((gdl.truth["thickness_map"] - 20.0) ** 2))
    # Rounding to whole voxels adds 1/12; the few fibres take less than 1 % off the columns.
    error = np.std(spread, ddof=1) / np.sqrt(len(spread))
    assert abs(np.mean(spread) - (4 + 1 / 12)) <= 4 * error + 0.1


def test_deepest_intrusion_is_as_deep_as_asked_and_covers_what_was_asked():
    gdl = gdl_with_mpl(
        (60, 120, 120), mpl_thickness_vox=10, roughness_vox=0, intrusion_depth_vox=20, intrusion_area_fraction=0.2,
        crack_area_fraction=0, porosity=0.98, rng=0,
    )  # fmt: skip
    assert 18 <= gdl.truth["intrusion"]["max"] <= 20
    # A column joins once the top is half a voxel deep.
    assert 0.1 < np.mean(gdl.truth["intrusion_map"] > 0) <= 0.2


def test_porosity_profile_has_the_three_published_regimes():
    profiles = [np.mean(gdl_with_mpl((60, 200, 200), rng=seed).labels == 0, axis=(1, 2)) for seed in range(3)]
    profile = np.mean(profiles, axis=0)
    assert np.all((profile[:7] > 0.2) & (profile[:7] < 0.25))
    assert np.all(np.diff(profile[7:12]) > 0)
    # Few thick fibres cross a slice of 200 voxels: slices scatter by some per cent, their mean does not.
    assert 0.8 < profile[25:].mean() < 0.85
    assert np.all((profile[25:] > 0.7) & (profile[25:] < 0.95))


# Recipes, seeds, refusals


def test_seed_decides_every_byte():
    def make(rng, **options):
        return gdl_with_mpl((20, 41, 36), **options, rng=rng).labels.tobytes()

    assert make(5) == make(5) == make(np.random.default_rng(5))
    assert len({make(seed) for seed in range(6)}) == 6
    assert len({make(5), make(5, n_cracks=4), make(5, roughness_vox=0.0), make(5, in_plane=1.0)}) == 4


def test_fibres_do_not_depend_on_cracks_and_top():
    one, other = (
        gdl_with_mpl(SHAPE, crack_area_fraction=part, roughness_vox=rough, rng=1)
        for part, rough in ((0.0, 0.0), (0.2, 2.0))
    )
    assert np.array_equal(one.labels == 1, other.labels == 1)


def test_recipe_makes_the_same_bytes_again(gdl):
    recipe = json.loads(json.dumps(dict(gdl.recipe)))
    assert recipe.pop("generator") == "gdl_with_mpl"
    again = gdl_with_mpl(**recipe, rng=3)
    assert np.array_equal(again.labels, gdl.labels)
    assert again.truth["cracks"] == gdl.truth["cracks"]


def test_truth_is_plain_but_for_its_maps(gdl):
    maps = {key for key, value in gdl.truth.items() if isinstance(value, np.ndarray)}
    assert maps == {"crack_map", "thickness_map", "intrusion_map"}
    json.dumps({key: value for key, value in gdl.truth.items() if key not in maps})
    assert gdl.phases == ("pore", "fibre", "MPL")
    counts = np.bincount(gdl.labels.ravel(), minlength=3)
    assert gdl.truth["fractions"] == pytest.approx(counts / gdl.labels.size, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (3, 32, 32)}, "at least 4"),
        ({"shape": (24, 32)}, "three positive whole numbers"),
        ({"porosity": 0.0}, "porosity is 0.0"),
        ({"porosity": math.nan}, "porosity is nan"),
        ({"fibre_diameter_vox": 0.0}, "from 1 to 18"),
        ({"fibre_diameter_vox": 19}, "from 1 to 18"),
        ({"in_plane": -1.0}, "in_plane is -1.0"),
        ({"persistence_vox": 1.0}, "persistence_vox is 1.0"),
        ({"mpl_thickness_vox": 0.5}, "mpl_thickness_vox is 0.5"),
        ({"mpl_thickness_vox": 23}, "at most 22"),
        ({"mpl_thickness_vox": math.nan}, "mpl_thickness_vox is nan"),
        ({"roughness_vox": -1.0}, "roughness_vox is -1.0"),
        ({"roughness_vox": math.inf}, "roughness_vox is inf"),
        ({"roughness_length_vox": 0.0}, "roughness_length_vox is 0.0"),
        ({"intrusion_length_vox": math.inf}, "intrusion_length_vox is inf"),
        ({"intrusion_depth_vox": 19.0}, "from 0 to 18"),
        ({"intrusion_area_fraction": 1.5}, "intrusion_area_fraction is 1.5"),
        ({"crack_area_fraction": 1.0}, "crack_area_fraction is 1.0"),
        ({"crack_area_fraction": math.nan}, "crack_area_fraction is nan"),
        ({"crack_width_vox": (0.0, 0.4)}, "median width above 0"),
        ({"crack_width_vox": (33.0, 0.4)}, "at most 32"),
        ({"crack_width_vox": (4.0, math.nan)}, "log-standard-deviation"),
        ({"crack_width_vox": (4.0,)}, "median width"),
        ({"n_cracks": -1}, "n_cracks is -1"),
        ({"n_cracks": 0}, "from 1 to"),
        ({"n_cracks": 2.5}, "whole number"),
        ({"n_cracks": 3, "crack_area_fraction": 0.0}, "from 0 to 0"),
        ({"n_cracks": 2000}, "n_cracks is 2000"),
    ],
)
def test_bad_layers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gdl_with_mpl(**{"shape": (24, 32, 40), **arguments}, rng=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crack_area_fraction": 0.95}, "they ended at 0"),
        ({"crack_area_fraction": 0.8, "n_cracks": 300}, "found room|they ended at"),
        ({"crack_area_fraction": 0.3, "n_cracks": 1500}, "only [0-9]+ cracks found room"),
    ],
)
def test_cracks_without_room_are_refused_soon(arguments, message):
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message):
        gdl_with_mpl((8, 80, 100), **arguments, rng=0)
    assert time.perf_counter() - start < 20


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(st.integers(8, 30), st.integers(12, 70), st.integers(12, 70)),
    part=st.floats(0, 0.25),
    width=st.floats(1, 6),
    sigma=st.floats(0, 0.8),
    seed=st.integers(0, 2**32),
)
def test_any_layer_tells_the_truth_about_its_cracks(shape, part, width, sigma, seed):
    gdl = gdl_with_mpl(shape, crack_area_fraction=part, crack_width_vox=(width, sigma), fibre_diameter_vox=3, rng=seed)
    found, _ = ndimage.label(gdl.labels[0] == 0)
    assert gdl.shape == shape
    assert np.array_equal(found, gdl.truth["crack_map"])
    assert ndimage.label(gdl.labels[0] == 0, EIGHT)[1] == gdl.truth["n_cracks"]
    assert abs(np.count_nonzero(gdl.labels[0] == 0) - part * gdl.labels[0].size) < 1
