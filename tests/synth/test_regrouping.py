import numpy as np
import pytest

import synth
from evaluate import minkowski

INSIDE_OUT = {"pore": ["solid"], "solid": ["pore"]}
PACK = {"generator": "sphere_pack", "shape": [20, 24, 28], "porosity": {"uniform": [0.3, 0.7]}, "diameter_vox": 8}
LEVELS = {
    "generator": "gaussian_phases", "shape": [24, 24, 24], "fractions": [0.3, 0.25, 0.45], "length_vox": 5.0,
}  # fmt: skip


def pack():
    return synth.build_structure(PACK, seed=3)


def test_pack_turned_inside_out_has_the_spheres_as_pores():
    before, after = pack(), synth.regroup(pack(), INSIDE_OUT)
    assert np.array_equal(after.labels, 1 - before.labels)
    assert after.phases == ("pore", "solid")
    assert after.truth["porosity"] == pytest.approx(1 - before.truth["porosity"])
    assert after.truth["fractions"] == [after.truth["porosity"], 1 - after.truth["porosity"]]
    # What is expected of spheres goes with them under their new name.
    assert after.truth["expected"]["pore"] == before.truth["expected"]["solid"]
    assert after.truth["expected"]["solid"] == before.truth["expected"]["pore"]


def test_twice_inside_out_is_the_structure():
    twice = synth.regroup(synth.regroup(pack(), INSIDE_OUT), INSIDE_OUT)
    assert np.array_equal(twice.labels, pack().labels)
    assert twice.truth["porosity"] == pack().truth["porosity"]


def test_walls_between_two_levels_have_exactly_their_fraction():
    wanted = {"pore": ["pore", "phase 2"], "solid": ["phase 1"]}
    levels = synth.build_structure(LEVELS, seed=5)
    walls = synth.build_structure(LEVELS | {"regroup": wanted}, seed=5)
    assert np.array_equal(walls.labels == 1, levels.labels == 1)
    assert walls.truth["porosity"] == pytest.approx(0.75, abs=1 / walls.labels.size)
    assert set(walls.truth["expected"]) == {"solid"}
    assert walls.truth["expected"]["solid"] == levels.truth["expected"]["phase 1"]
    assert "thresholds" not in walls.truth


def test_walls_have_the_surface_that_is_expected_of_a_band():
    recipe = LEVELS | {"shape": [96, 96, 96], "length_vox": 12.0, "fractions": [0.3, 0.3, 0.4]}
    walls = synth.build_structure(recipe | {"regroup": {"pore": ["pore", "phase 2"], "solid": ["phase 1"]}}, seed=1)
    found = minkowski(walls.labels == 1).specific_surface
    assert found == pytest.approx(walls.truth["expected"]["solid"]["specific_surface"], rel=0.1)


def test_phases_are_joined_in_the_order_in_which_they_are_named():
    levels = synth.build_structure(LEVELS, seed=5)
    groups = {"void": ["phase 2"], "rest": ["phase 1", "pore"]}
    joined = synth.regroup(levels, groups)
    assert joined.phases == ("void", "rest")
    assert np.array_equal(joined.labels, (levels.labels != 2).astype(np.uint8))


def test_recipe_with_groups_as_drawn_makes_the_structure_again():
    built = synth.build_structure(PACK | {"regroup": INSIDE_OUT}, seed=9)
    assert built.recipe["regroup"] == INSIDE_OUT
    again = synth.build_structure(built.recipe, seed=9)
    assert again.recipe == built.recipe
    assert again.labels.tobytes() == built.labels.tobytes()


def test_numbers_are_drawn_as_without_groups():
    plain, grouped = pack(), synth.build_structure(PACK | {"regroup": INSIDE_OUT}, seed=3)
    assert np.array_equal(grouped.labels, 1 - plain.labels)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["pore"], "give two new phases or more"),
        ({"all": ["pore", "solid"]}, "give two new phases or more"),
        ({"pore": "solid", "solid": ["pore"]}, "makes 'pore' of 'solid'; give a name and a list"),
        ({"pore": [], "solid": ["pore", "solid"]}, "makes 'pore' of"),
        ({"pore": ["grain"], "solid": ["pore"]}, "names the phase 'grain'; the generator makes pore, solid"),
        ({"pore": ["solid"], "solid": ["solid"]}, "names the phase 'solid' twice"),
        ({"pore": ["pore", "pore"], "solid": ["solid"]}, "names the phase 'pore' twice"),
        ({"pore": ["uniform"], "solid": ["pore"]}, "names the phase 'uniform'"),
    ],
)
def test_impossible_groups_are_refused_in_one_sentence(groups, message):
    with pytest.raises(ValueError, match=message) as caught:
        synth.build_structure(PACK | {"regroup": groups}, seed=0)
    assert "\n" not in str(caught.value)


def test_phase_without_a_place_is_named():
    with pytest.raises(ValueError, match="leaves out the phase 'phase 2'"):
        synth.build_structure(LEVELS | {"regroup": {"pore": ["pore"], "solid": ["phase 1"]}}, seed=0)
