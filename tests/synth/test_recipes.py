import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch import ConfigError
from synth import FibsemSettings, build_structure, fibsem, image_structure, sphere_pack
from synth.laws import Law, Uniform, has_laws
from synth.recipes import MICROSCOPES, draw_numbers, with_changes

PACK = {"generator": "sphere_pack", "shape": [10, 12, 14], "porosity": 0.5, "diameter_vox": 4}


def structure():
    return build_structure(PACK, seed=0)


# Drawing


ends = st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)).map(sorted)


@given(low_high=ends, law=st.sampled_from(["uniform", "log_uniform"]), seed=st.integers(0, 2**32))
def test_drawn_number_lies_between_its_ends(low_high, law, seed):
    low, high = low_high
    drawn = draw_numbers({"a": {law: low_high}}, np.random.default_rng(seed))["a"]
    assert type(drawn) is float
    assert low * (1 - 1e-12) <= drawn <= high * (1 + 1e-12)


def test_uniform_is_even_and_log_uniform_is_even_in_the_logarithm():
    rng = np.random.default_rng(0)
    drawn = [draw_numbers({"a": {"uniform": [2, 6]}, "b": {"log_uniform": [0.01, 100]}}, rng) for _ in range(3000)]
    # The mean of n even numbers between 0 and 1 has the deviation 1 / sqrt(12 n).
    error = 4 / (12 * 3000) ** 0.5
    assert np.mean([d["a"] for d in drawn]) == pytest.approx(4, abs=4 * error)
    assert np.mean([np.log10(d["b"]) for d in drawn]) == pytest.approx(0, abs=4 * error)
    assert np.quantile([np.log10(d["b"]) for d in drawn], 0.75) == pytest.approx(1, abs=0.15)


def test_choice_takes_each_of_its_values():
    rng = np.random.default_rng(0)
    drawn = {draw_numbers({"a": {"choice": [1, "two", None]}}, rng)["a"] for _ in range(60)}
    assert drawn == {1, "two", None}


def test_plain_values_stay_and_cost_no_random_number():
    rng = np.random.default_rng(0)
    assert draw_numbers({"a": 3, "b": "x", "c": [1, 2], "d": None}, rng) == {"a": 3, "b": "x", "c": (1, 2), "d": None}
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize(
    "law",
    [
        {"normal": [0, 1]}, {}, {"uniform": [1, 2], "choice": [1]}, {"uniform": []}, {"uniform": 3}, {"choice": []},
        {"uniform": [2, 1]}, {"uniform": [1, 2, 3]}, {"uniform": [1]}, {"uniform": ["a", "b"]},
        {"uniform": [0, float("inf")]}, {"uniform": [float("nan"), 1]}, {"uniform": [True, 2]},
        {"log_uniform": [0, 1]}, {"log_uniform": [-1, 1]},
    ],
)  # fmt: skip
def test_impossible_law_is_refused_by_the_name_of_its_argument(law):
    with pytest.raises(ValueError, match="'porosity") as caught:
        build_structure(PACK | {"porosity": law}, seed=0)
    assert "\n" not in str(caught.value)


# Structures


def maker(seed):
    """Return the stream that is left for the structure or the image once the numbers have one of their own."""
    return np.random.default_rng(seed).spawn(2)[1]


def test_recipe_of_plain_numbers_is_a_call_of_the_generator():
    built = build_structure(PACK | {"sigma": 0.1, "periodic": True}, seed=4)
    called = sphere_pack((10, 12, 14), porosity=0.5, diameter_vox=4, sigma=0.1, periodic=True, rng=maker(4))
    assert np.array_equal(built.labels, called.labels)
    assert (built.truth, built.recipe) == (called.truth, called.recipe)


def test_drawn_numbers_are_those_of_the_structure():
    recipe = PACK | {
        "shape": {"choice": [[10, 12, 14], [14, 10, 12]]},
        "porosity": {"uniform": [0.3, 0.7]},
        "diameter_vox": {"log_uniform": [2, 6]},
    }
    before = repr(recipe)
    built = [build_structure(recipe, seed=seed) for seed in range(12)]
    assert repr(recipe) == before
    for s in built:
        assert s.recipe["generator"] == "sphere_pack"
        assert 0.3 <= s.recipe["porosity"] <= 0.7
        assert 2 <= s.recipe["diameter_vox"] <= 6
        assert tuple(s.recipe["shape"]) == s.shape
        assert s.truth["porosity"] == pytest.approx(s.recipe["porosity"], abs=1e-3)
    assert {s.shape for s in built} == {(10, 12, 14), (14, 10, 12)}
    assert len({s.recipe["porosity"] for s in built}) == 12


def test_recipe_as_drawn_and_the_seed_make_the_structure_again():
    built = build_structure(PACK | {"porosity": {"uniform": [0.3, 0.7]}}, seed=9)
    again = build_structure(built.recipe, seed=9)
    assert again.recipe == built.recipe
    assert np.array_equal(again.labels, built.labels)


def test_seed_decides_every_byte_of_a_structure():
    recipe = PACK | {"porosity": {"uniform": [0.3, 0.7]}}
    assert build_structure(recipe, seed=1).labels.tobytes() == build_structure(recipe, seed=1).labels.tobytes()
    assert len({build_structure(recipe, seed=seed).labels.tobytes() for seed in range(5)}) == 5


def test_numpy_numbers_and_text_of_numbers_are_taken():
    built = build_structure(
        PACK | {"porosity": np.float64(0.5), "diameter_vox": "4e0", "shape": np.array([10, 12, 14])}, seed=0
    )
    assert np.array_equal(built.labels, structure().labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator": "spheres"}, "generator 'spheres'; known are sphere_pack"),
        ({"generator": None}, "generator None; known are sphere_pack"),
        ({"diametre_vox": 3}, "'sphere_pack' has no argument 'diametre_vox'; it has shape, porosity, diameter_vox"),
        ({"rng": 3}, "'sphere_pack' has no argument 'rng'"),
        ({"porosity": "many"}, "'porosity' is 'many'; it must be a number"),
        ({"porosity": [0.3, 0.4]}, r"'porosity' is \(0.3, 0.4\); it must be a number"),
        ({"porosity": None}, "'porosity' is None; it must be a number"),
        ({"porosity": -0.2}, "porosity is -0.2; give a number above 0 and below 1"),
        ({"porosity": {"choice": [[0.3]]}}, r"'porosity' is \[0.3\]; it must be a number"),
        ({"shape": 10}, "'shape' is 10; it must be a list"),
        ({"shape": [10, 12]}, "'shape' has 2 entries; it must have 3"),
        ({"shape": [10, 12, 14.5]}, r"'shape\[2\]' is 14.5; it must be a whole number"),
        ({"shape": [10, 12, {"uniform": [3, 4]}]}, "it must be a whole number"),
        ({"shape": {"uniform": [3, 4]}}, "it must be a list"),
        ({"overlap": "many"}, "'overlap' is 'many'; it must be true or false"),
        ({"periodic": 1}, "'periodic' is 1; it must be true or false"),
    ],
)
def test_impossible_recipe_is_refused_in_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        build_structure(PACK | change, seed=0)
    assert "\n" not in str(caught.value)


def test_generator_of_porespy_is_named_like_ours():
    pytest.importorskip("porespy")
    recipe = {"generator": "porespy.blobs", "shape": [24, 30, 28], "porosity": {"uniform": [0.3, 0.5]}}
    built = build_structure(recipe, seed=1)
    assert built.shape == (24, 30, 28)
    assert 0.3 <= built.recipe["porosity"] <= 0.5
    # Blobs are cut from a smoothed noise made uniform, so that the fraction below the porosity is the porosity.
    assert built.truth["porosity"] == pytest.approx(built.recipe["porosity"], abs=0.02)
    assert np.array_equal(build_structure(built.recipe, seed=1).labels, built.labels)
    for change, message in [
        ({"generator": "porespy.blob"}, "PoreSpy has no generator"),
        ({"blobbiness": 2}, "no argument 'blobbiness'"),
        ({"porosity": 2}, "porosity is 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            build_structure(recipe | change, seed=1)
    with pytest.raises(ValueError, match="needs 'shape'"):
        build_structure({"generator": "porespy.blobs"}, seed=1)


def test_parameters_of_a_distribution_may_be_drawn():
    law = {"name": "gamma", "a": 9, "scale": {"uniform": [0.5, 1.0]}}
    built = build_structure(PACK | {"shape": [24, 24, 24], "diameter_vox": law}, seed=2)
    assert built.recipe["diameter_vox"].keys() == {"name", "a", "loc", "scale"}
    assert 0.5 <= built.recipe["diameter_vox"]["scale"] <= 1.0
    assert np.array_equal(build_structure(built.recipe, seed=2).labels, built.labels)


def test_missing_argument_is_named():
    with pytest.raises(ValueError, match="'sphere_pack' needs 'porosity'"):
        build_structure({k: v for k, v in PACK.items() if k != "porosity"}, seed=0)


def test_fault_inside_a_generator_is_not_taken_for_a_bad_recipe(monkeypatch):
    from synth import recipes

    def broken(shape: tuple[int, int, int], *, rng):
        return shape + 1

    monkeypatch.setitem(recipes.GENERATORS, "broken", broken)
    with pytest.raises(TypeError):
        build_structure({"generator": "broken", "shape": [1, 2, 3]}, seed=0)


# Microscopes


@pytest.mark.parametrize("microscope", [{}, {"preset": "default"}, {"settings": {}}])
def test_default_microscope_is_the_default_instrument(microscope):
    image = image_structure(structure(), {"instrument": "fibsem", **microscope}, seed=3)
    assert np.array_equal(image.grey, fibsem(structure(), FibsemSettings(), rng=maker(3)))
    assert image.settings == FibsemSettings()


@pytest.mark.parametrize(("instrument", "preset"), [("fibsem", "random"), ("xray_ct", "random")])
def test_settings_as_drawn_and_the_same_seed_make_the_image_again(instrument, preset):
    for seed in range(3):
        image = image_structure(structure(), {"instrument": instrument, "preset": preset}, seed=seed)
        assert not has_laws(image.settings)
        again = MICROSCOPES[instrument].image(structure().labels, image.settings, rng=maker(seed))
        assert np.array_equal(image.grey, again.grey)
        assert np.array_equal(image.labels, again.labels)


@pytest.mark.parametrize("instrument", MICROSCOPES)
def test_every_instrument_has_a_default_and_a_random_preset(instrument):
    presets = MICROSCOPES[instrument].presets
    assert {"default", "random"} <= set(presets)
    assert has_laws(presets["random"])


def test_settings_of_a_microscope_may_be_drawn():
    wanted = {"dose": {"log_uniform": [10, 100]}, "face_grey": [0.5, 1], "tilt_deg": 45, "read_noise": "1e-2"}
    image = image_structure(structure(), {"instrument": "fibsem", "settings": wanted}, seed=3)
    drawn = image.settings
    assert 10 <= drawn.dose <= 100
    assert (drawn.face_grey, drawn.tilt_deg, drawn.read_noise) == ((0.5, 1.0), 45.0, 0.01)
    assert drawn.depth_vox == FibsemSettings().depth_vox
    assert image.shape == structure().shape


def test_change_within_a_group_leaves_the_rest_of_the_group_alone():
    @dataclasses.dataclass(frozen=True)
    class Group:
        low: float | Law = 1.0
        high: float | Law = 2.0

    @dataclasses.dataclass(frozen=True)
    class Whole:
        first: Group = Group(low=5.0)
        second: Group | None = None
        other: float = 0.5

    changed = with_changes(Whole(), {"first": {"high": 3}, "second": {"low": {"uniform": [0, 1]}}}, "settings")
    assert changed == Whole(Group(5.0, 3.0), Group(Uniform(0, 1), 2.0), 0.5)
    with pytest.raises(ConfigError, match=r"'settings\.first\.hihg'; did you mean 'settings\.first\.high'"):
        with_changes(Whole(), {"first": {"hihg": 3}}, "settings")


@pytest.mark.parametrize(
    ("microscope", "message"),
    [
        ({}, "instrument None; known are fibsem, xray_ct, blender"),
        ({"instrument": "tem"}, "instrument 'tem'; known are fibsem"),
        ({"instrument": ["fibsem"]}, r"instrument \['fibsem'\]; known are"),
        ({"instrument": "fibsem", "setting": {}}, "has no key 'setting'; it has instrument, preset, settings"),
        ({"instrument": "fibsem", "preset": "some"}, "fibsem has no preset 'some'; known are default, "),
        ({"instrument": "fibsem", "settings": "random"}, "settings are 'random'; give a mapping of settings, and"),
        ({"instrument": "fibsem", "settings": None}, "settings are None; give"),
        ({"instrument": "fibsem", "settings": {"doze": 3}}, "'settings.doze'; did you mean 'settings.dose'"),
        ({"instrument": "fibsem", "settings": {"dose": "many"}}, "'settings.dose' is 'many'; it must be a number"),
        ({"instrument": "fibsem", "settings": {"dose": -3}}, "dose is -3.0; give a number above 0"),
        ({"instrument": "fibsem", "settings": {"face_grey": 0.5}}, "'settings.face_grey' is 0.5; it must be a list"),
        ({"instrument": "fibsem", "settings": {"face_grey": ["a"]}}, "it must be a number"),
        ({"instrument": "fibsem", "settings": {"dose": {"gauss": [1, 2]}}}, "'settings.dose' is .*one law of uniform"),
    ],
)
def test_impossible_microscope_is_refused_in_one_sentence(microscope, message):
    with pytest.raises(ValueError, match=message) as caught:
        image_structure(structure(), microscope, seed=0)
    assert "\n" not in str(caught.value)
