"""What holds for each generator that a recipe can name."""

import inspect
import json
import typing

import numpy as np
import pytest
import yaml

import synth
from launch import convert
from synth import threads
from synth.recipes import GENERATORS

SHAPE = (40, 48, 56)
NEEDED = {
    "sphere_pack": {"porosity": 0.5, "diameter_vox": 9.0},
    "gaussian_phases": {"fractions": (0.3, 0.3, 0.4), "length_vox": (8.0, 6.0), "rule": "plurigaussian"},
}
names = pytest.mark.parametrize("name", list(GENERATORS))


def make(name, rng=3, **change):
    return GENERATORS[name](change.pop("shape", SHAPE), **NEEDED.get(name, {}), **change, rng=rng)


def same(a, b):
    """Equality of what truth is made of."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return np.array_equal(np.asarray(a, object), np.asarray(b, object)) if isinstance(a, list | tuple) else (
        np.array_equal(a, b)
    )  # fmt: skip


@names
def test_labels_are_those_of_the_phases_and_counted_in_the_truth(name):
    structure = make(name)
    assert isinstance(structure, synth.Structure)
    assert structure.labels.dtype == np.uint8
    assert structure.shape == SHAPE
    assert structure.labels.flags.c_contiguous
    counts = np.bincount(structure.labels.ravel(), minlength=len(structure.phases))
    assert len(counts) == len(structure.phases) == len(set(structure.phases))
    assert structure.truth["fractions"] == pytest.approx(counts / structure.labels.size, abs=1e-12)
    assert structure.truth["porosity"] == structure.truth["fractions"][0]


@names
def test_seed_decides_labels_and_truth(name):
    first, again, other = make(name), make(name, np.random.default_rng(3)), make(name, 4)
    assert first.labels.tobytes() == again.labels.tobytes()
    assert same(first.truth, again.truth)
    assert first.labels.tobytes() != other.labels.tobytes()


@names
def test_bytes_do_not_depend_on_threads(name, monkeypatch):
    monkeypatch.setattr(threads, "SMALLEST_SLAB", 2000)
    made = []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "thread_count", lambda n=count: n)
        assert len(threads.slabs(SHAPE)) == count
        made.append(make(name))
    assert made[0].labels.tobytes() == made[1].labels.tobytes() == made[2].labels.tobytes()
    assert same(made[0].truth, made[1].truth)
    assert same(made[0].truth, made[2].truth)


@names
def test_recipe_in_plain_text_makes_the_structure_again(name):
    structure = make(name)
    recipe = yaml.safe_load(yaml.safe_dump(json.loads(json.dumps(structure.recipe))))
    assert recipe.pop("generator") == name
    generator = GENERATORS[name]
    hints = typing.get_type_hints(generator)
    arguments = {key: convert(value, hints[key], key) for key, value in recipe.items()}
    assert arguments.keys() == inspect.signature(generator).parameters.keys() - {"rng"}
    again = generator(**arguments, rng=3)
    assert again.labels.tobytes() == structure.labels.tobytes()
    assert again.recipe == structure.recipe


@names
def test_recipe_builds_through_the_recipe_layer(name):
    recipe = {"generator": name, "shape": list(SHAPE)} | {
        key: list(value) if isinstance(value, tuple) else value for key, value in NEEDED.get(name, {}).items()
    }
    structure = synth.build_structure(recipe, seed=5)
    assert synth.build_structure(structure.recipe, seed=5).labels.tobytes() == structure.labels.tobytes()


@names
def test_truth_is_plain_but_for_maps(name):
    truth = make(name).truth
    maps = {key: value for key, value in truth.items() if isinstance(value, np.ndarray)}
    assert all(value.ndim == 2 for value in maps.values())
    plain = {key: value for key, value in truth.items() if key not in maps}
    assert json.loads(json.dumps(plain, allow_nan=False)).keys() == plain.keys()


@names
@pytest.mark.parametrize("shape", [(0, 40, 40), (40, 40), (40.0, 40, 40), (40, -1, 40), "large", None])
def test_impossible_shape_is_refused(name, shape):
    with pytest.raises(ValueError, match="give three positive whole numbers"):
        make(name, shape=shape)


@names
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 1), (1, 60, 60), (3, 4, 200)])
def test_tiny_and_flat_boxes_work_or_are_refused_in_a_sentence(name, shape):
    refusal = ""
    try:
        structure = make(name, shape=shape)
    except ValueError as error:
        refusal = str(error)
    assert len(refusal) > 30 if refusal else structure.shape == shape
    assert "\n" not in refusal


@names
def test_every_argument_is_documented(name):
    documentation = inspect.getdoc(GENERATORS[name])
    for argument in inspect.signature(GENERATORS[name]).parameters:
        assert (
            f"\n{argument} : " in documentation
            or f"\n{argument}, " in documentation
            or f", {argument}" in documentation
        )
    for part in ("Parameters", "Returns", "Raises"):
        assert f"{part}\n---" in documentation
