import inspect
import json
import sys

import numpy as np
import pytest
from scipy import ndimage, stats

porespy = pytest.importorskip("porespy", reason="PoreSpy is an optional extra")

from synth import porespy_adapter  # noqa: E402
from synth.porespy_adapter import porespy_parameters, porespy_structure  # noqa: E402

SHAPE = (32, 40, 48)
NORMAL = {"name": "norm", "loc": 4.0, "scale": 0.5}
# Every generator of 3-D volumes that needs no further package, with arguments for a small box.
RANDOM = {
    "blobs": {"porosity": 0.7, "blobiness": 2},
    "cylinders": {"r": 3, "ncylinders": 30},
    "overlapping_spheres": {"r": 4, "porosity": 0.8},
    "polydisperse_spheres": {"porosity": 0.8, "dist": NORMAL, "nbins": 3, "r_min": 3},
    "pseudo_electrostatic_packing": {"r": 3, "maxiter": 9},
    "pseudo_gravity_packing": {"r": 3, "phi": 0.1},
    "random_cantor_dust": {"n": 3},
    "random_spheres": {"r": 4, "phi": 0.15, "clearance": 1},
    "voronoi_edges": {"ncells": 15, "r": 1},
}
REGULAR = {
    "conical_capillary": {"r": [5, 5]},
    "cylindrical_plug": {"r": 9, "axis": 0},
    "lattice_spheres": {"r": 4, "spacing": 16, "offset": 8},
    "sierpinski_foam": {"n": 1},
}
ALL = RANDOM | REGULAR


def ball_volume(radius):
    """Count the voxels nearer than `radius` to a voxel."""
    n = np.arange(-radius, radius + 1)
    return np.count_nonzero(n[:, None, None] ** 2 + n[:, None] ** 2 + n**2 < radius**2)


def test_every_generator_that_porespy_has_is_taken_or_refused_for_a_reason():
    there = {
        key for key, value in vars(porespy.generators).items() if inspect.isfunction(value) and not key.startswith("_")
    }
    assert set(ALL) | {"fractal_noise"} | set(porespy_adapter.NO_MATERIAL) == there


@pytest.mark.parametrize("name", ALL)
def test_structure_tells_its_exact_porosity_and_how_to_make_it_again(name):
    structure = porespy_structure(name, SHAPE, rng=5, **ALL[name])
    assert structure.labels.dtype == np.uint8
    assert structure.labels.shape == SHAPE
    assert structure.phases == ("pore", "solid")
    assert structure.truth["porosity"] == np.mean(structure.labels == 0)
    assert 0 < structure.truth["porosity"] < 1
    recipe = json.loads(json.dumps(structure.recipe))
    assert recipe == {"generator": f"porespy.{name}", "shape": list(SHAPE), **ALL[name]}
    assert porespy_structure(**recipe, rng=5).labels.tobytes() == structure.labels.tobytes()


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_makes_another_volume(name):
    first, second = (porespy_structure(name, SHAPE, rng=seed, **RANDOM[name]).labels for seed in (1, 2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", RANDOM)
def test_global_random_state_neither_matters_nor_changes(name):
    np.random.seed(11)  # noqa: NPY002
    first = porespy_structure(name, SHAPE, rng=5, **RANDOM[name]).labels
    after = np.random.random()  # noqa: NPY002
    np.random.seed(11)  # noqa: NPY002
    assert after == np.random.random()  # noqa: NPY002
    assert np.array_equal(porespy_structure(name, SHAPE, rng=5, **RANDOM[name]).labels, first)


# What True means: at a porosity far from one half a mask read the wrong way round cannot pass.


@pytest.mark.parametrize(
    ("name", "tolerance"),
    # blobs cuts a field made uniform; overlapping_spheres stops within its own tol; the others aim by estimates.
    [("blobs", 0.01), ("overlapping_spheres", 0.01), ("polydisperse_spheres", 0.1), ("cylinders", 0.1)],
)
def test_porosity_asked_for_is_the_fraction_of_label_0(name, tolerance):
    arguments = {"r": 3, "porosity": 0.7} if name == "cylinders" else RANDOM[name]
    structure = porespy_structure(name, SHAPE, rng=5, **arguments)
    assert np.mean(structure.labels == 0) == pytest.approx(arguments["porosity"], abs=tolerance)


def test_lattice_spheres_are_solid_balls():
    labels = porespy_structure("lattice_spheres", SHAPE, rng=0, **REGULAR["lattice_spheres"]).labels
    _, count = ndimage.label(labels == 1)
    assert count == 2 * 2 * 3
    assert np.count_nonzero(labels == 1) == count * ball_volume(4)


def test_random_spheres_are_separate_solid_balls():
    labels = porespy_structure("random_spheres", SHAPE, rng=0, **RANDOM["random_spheres"]).labels
    found, count = ndimage.label(labels == 1)
    sizes = np.bincount(found.ravel())[1:]
    assert count > 3
    assert set(sizes) == {sizes[0]}
    # With smooth=True the radius is counted to the outermost voxel.
    assert sizes[0] == ball_volume(5)


def test_gravity_packing_is_solid_at_the_bottom():
    labels = porespy_structure("pseudo_gravity_packing", SHAPE, rng=0, **RANDOM["pseudo_gravity_packing"]).labels
    assert 0 < np.mean(labels == 1) < 0.2
    assert ndimage.center_of_mass(labels == 1)[0] < SHAPE[0] / 3


def test_electrostatic_packing_is_solid_around_the_middle():
    labels = porespy_structure("pseudo_electrostatic_packing", SHAPE, rng=0, r=3, maxiter=9).labels
    assert 0 < np.mean(labels == 1) < 0.2
    assert np.allclose(ndimage.center_of_mass(labels == 1), np.array(SHAPE) / 2, atol=4)


def test_voronoi_edges_are_thin_solid_lines():
    labels = porespy_structure("voronoi_edges", SHAPE, rng=0, ncells=15, r=0).labels
    assert 0 < np.mean(labels == 1) < 0.1
    # Hardly a voxel of a line one voxel wide has all its six neighbours in it.
    assert ndimage.binary_erosion(labels == 1).sum() < 0.01 * np.count_nonzero(labels == 1)


def test_cantor_dust_is_what_is_left_of_a_solid():
    assert porespy_structure("random_cantor_dust", SHAPE, rng=0, n=3, f=1.0).truth["porosity"] == 0
    # Two divisions that each keep one part in ten.
    assert porespy_structure("random_cantor_dust", SHAPE, rng=0, n=3, f=0.1).truth["porosity"] > 0.9


def test_sierpinski_foam_lacks_the_middle_of_each_cube():
    assert porespy_structure("sierpinski_foam", (9, 9, 9), rng=0, n=1).truth["porosity"] == pytest.approx(1 / 27)


@pytest.mark.parametrize(("name", "radius"), [("conical_capillary", 5), ("cylindrical_plug", 9)])
def test_capillary_is_a_round_pore(name, radius):
    labels = porespy_structure(name, SHAPE, rng=0, **REGULAR[name]).labels
    # The rim of a digital disk lies within a voxel of the circle.
    low, high = (np.pi * (radius + d) ** 2 for d in (-1, 1))
    assert all(low < area < high for area in (labels == 0).sum(axis=(1, 2)))


def test_value_of_a_packing_is_its_label():
    structure = porespy_structure("random_spheres", SHAPE, rng=0, r=4, phi=0.1, value=2)
    assert structure.phases == ("pore", "solid", "phase 2")
    assert set(np.unique(structure.labels)) == {0, 2}
    assert structure.truth["fractions"][1] == 0


# Arguments


def test_frozen_and_plain_distributions_make_the_same_spheres():
    arguments = {"porosity": 0.8, "nbins": 3, "r_min": 3}
    frozen = porespy_structure("polydisperse_spheres", SHAPE, rng=2, dist=stats.norm(4.0, 0.5), **arguments)
    plain = porespy_structure("polydisperse_spheres", SHAPE, rng=2, dist=NORMAL, **arguments)
    assert np.array_equal(frozen.labels, plain.labels)
    assert frozen.recipe == plain.recipe
    assert frozen.recipe["dist"] == NORMAL


def test_parameters_are_those_of_porespy_without_seed_and_arrays():
    parameters = porespy_parameters("porespy.pseudo_gravity_packing")
    assert next(iter(parameters)) == "shape"
    assert parameters["shape"].default is inspect.Parameter.empty
    assert parameters["r"].default == 5
    assert not {"seed", "im"} & set(parameters)
    assert porespy_parameters("polydisperse_spheres")["dist"].default is inspect.Parameter.empty
    assert "kwargs" not in porespy_parameters("voronoi_edges")


def test_nothing_is_printed_and_settings_are_put_back(capsys, monkeypatch):
    monkeypatch.setattr(porespy.settings, "tqdm", {**porespy.settings.tqdm, "disable": False})
    monkeypatch.setattr(porespy.settings, "loglevel", 10)
    porespy_structure("cylinders", SHAPE, rng=5, r=3, porosity=0.7)
    assert capsys.readouterr() == ("", "")
    assert porespy.settings.tqdm["disable"] is False
    assert porespy.settings.loglevel == 10


@pytest.mark.parametrize(
    ("generator", "arguments", "sentence"),
    [
        ("foam", {}, "no generator 'foam'; it has .*blobs"),
        ("porespy.__doc__", {}, "no generator"),
        (None, {}, "no generator None"),
        ("ramp", {}, "returns grey values; generators of volumes are .*blobs"),
        ("rectangular_pillars_array", {}, "makes 2-D pictures"),
        ("blobs", {"bloob": 2}, "no argument 'bloob' in a recipe; it has shape, porosity, blobiness, periodic"),
        ("blobs", {"seed": 2}, "no argument 'seed'"),
        ("voronoi_edges", {}, "needs 'ncells'"),
        ("blobs", {"porosity": 1.5}, "porosity is 1.5; give a number above 0 and below 1"),
        ("cylinders", {"r": 2, "porosity": 0}, "porosity is 0; give"),
        ("cylinders", {"r": 2, "porosity": float("nan")}, "porosity is nan; give"),
        ("blobs", {"porosity": "half"}, "porosity is 'half'; give"),
        ("blobs", {"porosity": None}, "returned float64 numbers from 0 to 1; give the arguments"),
        ("cylinders", {"r": 2}, "refuses its arguments"),
        ("lattice_spheres", {"lattice": "hcp"}, "refuses its arguments"),
        ("random_cantor_dust", {"n": 5, "p": 3}, r"returned the shape .* where \(32, 40, 48\) was asked for"),
        ("random_spheres", {"r": 4, "phi": 0.1, "value": 300}, "from 0 to 300"),
        ("random_spheres", {"r": 4, "phi": 0.1, "value": 0.5}, "returned float64 numbers"),
        ("polydisperse_spheres", {"porosity": 0.8, "dist": {"name": "gauss"}}, "named 'gauss'"),
        ("polydisperse_spheres", {"porosity": 0.8, "dist": 4}, "law of sizes is 4"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(generator, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        porespy_structure(generator, SHAPE, rng=0, **arguments)


def test_box_must_have_three_sides():
    with pytest.raises(ValueError, match="three positive whole numbers"):
        porespy_structure("blobs", (32, 32), rng=0)


def test_without_porespy_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "porespy", None)
    with pytest.raises(ValueError, match=r"need the package porespy.*pip install 'poreforge\[porespy\]'"):
        porespy_structure("blobs", SHAPE, rng=0)
