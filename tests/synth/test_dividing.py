import numpy as np
import pytest

import synth
from evaluate import interface_areas

PACK = {"generator": "sphere_pack", "shape": [20, 24, 28], "porosity": 0.4, "diameter_vox": 8}
PARTS = {"phase": "solid", "new": "binder", "fraction": 0.3, "length_vox": 5.0}


def pack():
    return synth.build_structure(PACK, seed=3)


def test_part_of_a_phase_is_met_to_one_voxel_and_the_rest_stays():
    before, after = pack(), synth.divide(pack(), **PARTS, rng=0)
    assert after.phases == ("pore", "solid", "binder")
    solid = np.count_nonzero(before.labels == 1)
    assert np.count_nonzero(after.labels == 2) == round(0.3 * solid)
    np.testing.assert_array_equal(after.labels == 0, before.labels == 0)
    assert after.truth["porosity"] == before.truth["porosity"]
    np.testing.assert_allclose(after.truth["fractions"], np.bincount(after.labels.ravel()) / after.labels.size)
    # What is expected of the pore still holds, what is expected of the solid does not.
    assert set(after.truth["expected"]) == {"pore"}
    assert after.truth["expected"]["pore"] == before.truth["expected"]["pore"]


def test_pores_can_be_divided_too():
    after = synth.divide(pack(), **PARTS | {"phase": "pore", "new": "water"}, rng=0)
    np.testing.assert_array_equal(after.labels == 1, pack().labels == 1)
    assert after.phases[2] == "water"


def test_new_phase_touches_the_pore_in_proportion_to_its_share():
    recipe = PACK | {"shape": [96, 96, 96], "diameter_vox": 12}
    parts = PARTS | {"length_vox": 6.0}
    areas = interface_areas(synth.build_structure(recipe | {"divide": parts}, seed=1).labels).areas
    share = areas[0, 2] / (areas[0, 1] + areas[0, 2])
    assert share == pytest.approx(0.3, abs=0.04)


def test_recipe_as_drawn_makes_the_structure_again():
    laws = PARTS | {"fraction": {"uniform": [0.1, 0.5]}, "length_vox": {"log_uniform": [4, 6]}}
    built = synth.build_structure(PACK | {"divide": laws}, seed=9)
    assert 0.1 <= built.recipe["divide"]["fraction"] <= 0.5
    again = synth.build_structure(built.recipe, seed=9)
    assert again.recipe == built.recipe
    assert again.labels.tobytes() == built.labels.tobytes()
    np.testing.assert_array_equal(built.labels == 0, synth.build_structure(PACK, seed=9).labels == 0)


def test_phases_are_joined_before_they_are_divided():
    recipe = PACK | {"regroup": {"pore": ["solid"], "wall": ["pore"]}, "divide": PARTS | {"phase": "wall"}}
    built = synth.build_structure(recipe, seed=3)
    assert built.phases == ("pore", "wall", "binder")
    np.testing.assert_array_equal(built.labels == 0, pack().labels == 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phase": "carbon"}, "names the phase 'carbon'; the structure has pore, solid"),
        ({"new": "pore"}, "calls the new phase 'pore'; give a name other than pore, solid"),
        ({"new": 2}, "calls the new phase 2"),
        ({"fraction": 0}, "the fraction 0; give a number above 0 and below 1"),
        ({"fraction": "half"}, "the fraction 'half'"),
        ({"length_vox": -1}, "length_vox"),
        ({"seed": 1}, "divide is .*; give a mapping of phase, new, fraction, length_vox"),
    ],
)
def test_bad_parts_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        synth.build_structure(PACK | {"divide": PARTS | changes}, seed=0)


def test_a_phase_without_voxels_is_refused():
    empty = synth.Structure(np.zeros((4, 4, 4), np.uint8), ("pore", "solid"))
    with pytest.raises(ValueError, match="no voxel of 'solid'"):
        synth.divide(empty, **PARTS, rng=0)
