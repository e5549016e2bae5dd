import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from synth.materials.secondary_particle import _Ball, primary_grains, secondary_particle
from synth.object_lists import list_objects

PORE, MATERIAL, OUTSIDE = range(3)
CORNERS = np.ones((3, 3, 3), bool)


@pytest.fixture(scope="module")
def particle():
    return secondary_particle((88, 80, 96), porosity=0.06, grain_size_vox=8, rng=3)


@pytest.fixture(scope="module")
def grains():
    return primary_grains((120, 120, 120), grain_size_vox=12, elongation=2.5, rng=4)


def rebuild(structure, rng):
    arguments = {key: value for key, value in structure.recipe.items() if key != "generator"}
    return secondary_particle(**json.loads(json.dumps(arguments)), rng=rng)


# Pores


@pytest.mark.parametrize("porosity", [0.001, 0.01, 0.05, 0.1234, 0.15, 0.3, 0.5])
@pytest.mark.parametrize("options", [{}, {"diameter_vox": 300.0, "grain_size_vox": 16.0}])
def test_internal_porosity_is_hit_to_one_voxel(porosity, options):
    made = secondary_particle((48, 56, 64), porosity=porosity, rng=1, **options)
    pores, volume = np.count_nonzero(made.labels == PORE), np.count_nonzero(made.labels != OUTSIDE)
    assert abs(pores - porosity * volume) <= 0.5
    assert made.truth["internal_porosity"] == pytest.approx(pores / volume, abs=1e-12)
    assert (made.truth["pore_volume"], made.truth["particle_volume"]) == (pores, volume)


@pytest.mark.parametrize("porosity", [0.06, 0.5])
def test_no_pore_touches_the_outside_not_even_over_corners(porosity):
    labels = secondary_particle((64, 64, 64), porosity=porosity, rng=2).labels
    assert not (ndimage.binary_dilation(labels == OUTSIDE, CORNERS) & (labels == PORE)).any()


def test_pores_found_by_labelling_equal_the_list(particle):
    ids, count = ndimage.label(particle.labels == PORE, CORNERS)
    pores = particle.truth["pores"]
    assert count == len(pores) == particle.truth["n_pores"] > 20
    volumes = np.bincount(ids.ravel())[1:]
    centroids = np.array(ndimage.center_of_mass(ids > 0, ids, np.arange(1, count + 1))) + 0.5
    assert [pore["volume"] for pore in pores] == volumes.tolist()
    assert np.array([pore["centroid"] for pore in pores]) == pytest.approx(centroids, abs=1e-6)


def share_of_rich_neighbourhoods(grains, at, least):
    """Return how often, among voxels marked in `at`, 5 x 5 x 5 voxels around hold `least` or more grains."""
    places = np.argwhere(at)
    places = places[((places >= 2) & (places < np.array(grains.shape) - 2)).all(axis=1)]
    around = [len(np.unique(grains[tuple(slice(c - 2, c + 3) for c in place)])) for place in places]
    return np.mean(np.array(around) >= least), len(places)


def test_pores_sit_where_three_grains_meet():
    options = {"grain_size_vox": 14.0, "rng": 5}
    made = secondary_particle((96, 96, 96), porosity=0.01, slit=0.0, unevenness=0.0, **options)
    cells = primary_grains((96, 96, 96), **options)
    everywhere = np.zeros(made.shape, bool)
    everywhere.ravel()[np.flatnonzero(cells)[::200]] = True
    at_pores, _ = share_of_rich_neighbourhoods(cells, made.labels == PORE, 3)
    at_random, n = share_of_rich_neighbourhoods(cells, everywhere, 3)
    assert at_pores > 0.9
    assert at_pores > at_random + 4 * np.sqrt(0.25 / n)


def test_slits_put_pores_on_faces_between_two_grains():
    def at_three(slit):
        made = secondary_particle((96, 96, 96), porosity=0.02, slit=slit, grain_size_vox=14, rng=6)
        return share_of_rich_neighbourhoods(cells, made.labels == PORE, 3)[0]

    cells = primary_grains((96, 96, 96), grain_size_vox=14, rng=6)
    assert at_three(1.0) < at_three(0.0) - 0.1


def test_centre_bias_moves_pores_inwards():
    def mean_radius(bias):
        made = secondary_particle((80, 80, 80), centre_bias=bias, unevenness=0.0, grain_size_vox=6, rng=7)
        return np.linalg.norm(np.argwhere(made.labels == PORE) + 0.5 - 40, axis=1).mean()

    assert mean_radius(1.0) < mean_radius(0.0) - 1
    assert mean_radius(-1.0) > mean_radius(0.0) + 1


# Outline


@pytest.mark.parametrize("diameter", [30.0, 47.3, 64.0])
def test_volume_is_that_of_the_sphere(diameter):
    made = secondary_particle((80, 81, 82), diameter_vox=diameter, grain_size_vox=6, rng=8)
    # The voxels of a sphere are as many as its volume to about 0.5 sqrt(surface): one voxel in a row, at random.
    volume = np.pi / 6 * diameter**3
    assert made.truth["particle_volume"] == pytest.approx(volume, abs=4 * 0.5 * np.sqrt(np.pi * diameter**2))
    assert made.truth["equivalent_diameter"] == pytest.approx(diameter, abs=0.05)
    assert made.truth["centre"] == [40, 40.5, 41]


def test_outline_bulges_over_the_grains_within_bounds(particle):
    solid = particle.labels != OUTSIDE
    radii = np.linalg.norm(np.argwhere(solid) + 0.5 - np.array(particle.truth["centre"]), axis=1)
    inner = np.linalg.norm(np.argwhere(~solid) + 0.5 - np.array(particle.truth["centre"]), axis=1)
    assert 36 + 0.5 < radii.max() < 36 + 0.2 * 8 + 1
    assert 36 - 0.2 * 8 - 1 < inner.min() < 36 - 0.5


def test_particle_is_one_piece(particle):
    assert ndimage.label(particle.labels != OUTSIDE)[1] == 1


def test_crop_from_inside_has_no_outside_and_keeps_the_phase():
    shape = (40, 50, 60)
    diagonal = np.linalg.norm(shape)
    for seed in range(3):
        crop = secondary_particle(shape, diameter_vox=1.3 * diagonal, grain_size_vox=10, rng=seed)
        assert OUTSIDE not in crop.labels
        assert crop.phases == ("pore", "active material", "outside")
        assert crop.truth["fractions"][OUTSIDE] == 0
        assert crop.truth["particle_volume"] == crop.labels.size
        assert crop.truth["equivalent_diameter"] is None


def test_box_that_cuts_the_particle_shows_the_sphere_in_it():
    made = secondary_particle((40, 40, 40), diameter_vox=52, grain_size_vox=7, rng=1)
    z, y, x = (np.indices((40, 40, 40)) + 0.5 - 20) ** 2
    assert made.truth["particle_volume"] == np.count_nonzero(z + y + x <= 26**2)
    assert made.truth["equivalent_diameter"] is None


# Grains


def test_grains_of_the_particle_are_the_grain_map(particle):
    options = {key: particle.recipe[key] for key in ("diameter_vox", "grain_size_vox", "elongation")}
    cells = primary_grains(particle.shape, **options, rng=3)
    assert np.array_equal(cells > 0, particle.labels != OUTSIDE)
    n_grains = len(np.unique(cells[particle.labels == MATERIAL]))
    assert particle.truth["n_grains"] == n_grains
    assert particle.truth["mean_grain_volume"] == pytest.approx(np.count_nonzero(cells) / n_grains)


@pytest.mark.parametrize("elongation", [1.0, 2.0, 4.0])
def test_there_are_as_many_grains_as_fill_the_particle(elongation):
    made = secondary_particle((96, 96, 96), grain_size_vox=9, elongation=elongation, rng=9)
    expected = made.truth["particle_volume"] / 9**3
    # The seeds' number is fixed; the sphere they lie in is measured on a grid of 48³ points, to 0.2 %.
    assert made.truth["n_grains"] == pytest.approx(expected, rel=0.01)


def test_grains_are_elongated_along_the_radius(grains):
    # In the outer half the stretch has its full value; the outermost grains are cut by the outline.
    centre, radius = np.full(3, 60.0), 54.0
    cosines, ratios = [], []
    for grain in list_objects(grains):
        offset = np.array(grain["centroid"]) - centre
        if 0.5 * radius < np.linalg.norm(offset) < 0.75 * radius:
            cosines.append(abs(np.dot(grain["direction"], offset / np.linalg.norm(offset))))
            ratios.append(grain["axes"][0] / np.sqrt(grain["axes"][1] * grain["axes"][2]))
    # A random axis has |cos| = 0.5 on average, with a variance of 1/12.
    assert np.mean(cosines) > 0.5 + 4 * np.sqrt(1 / 12 / len(cosines))
    assert np.mean(cosines) > 0.85
    assert 1.7 < np.mean(ratios) < 3.2


def test_without_elongation_grains_have_no_preferred_direction():
    cells = primary_grains((96, 96, 96), diameter_vox=400, grain_size_vox=10, elongation=1.0, rng=5)
    whole = [
        grain
        for grain, box in zip(list_objects(cells), (b for b in ndimage.find_objects(cells) if b), strict=True)
        if all(s.start > 0 and s.stop < 96 for s in box)
    ]
    squares = np.square([grain["direction"] for grain in whole])
    # cos² of an isotropic direction has mean 1/3 and variance 4/45.
    assert squares.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=4 * np.sqrt(4 / 45 / len(squares)))


def test_every_voxel_belongs_to_its_nearest_grain():
    options = {"diameter_vox": 36.0, "grain_size_vox": 8.0, "elongation": 2.0}
    ball = _Ball((40, 40, 40), options, np.random.default_rng(2))
    cells = primary_grains((40, 40, 40), **options, rng=2)
    seeds = ball.seeds[np.argsort(ball.seeds[:, 0], kind="stable")]
    spokes = seeds - ball.centre
    lengths = np.linalg.norm(spokes, axis=1)
    stretch = 1 + np.minimum(1, 2 * lengths / 18)
    places = np.argwhere(cells)
    offset = places[:, None] + 0.5 - seeds
    radial = np.einsum("nsi,si->ns", offset, spokes / lengths[:, None]) ** 2
    squared = ((offset**2).sum(axis=2) - radial) * stretch ** (2 / 3) + radial * stretch ** (-4 / 3)
    own = squared[np.arange(len(places)), cells[cells > 0] - 1]
    # Distances are compared in float32.
    assert own == pytest.approx(squared.min(axis=1), rel=1e-4, abs=1e-4)


# Seeds, recipes, shapes, bad input


def test_seed_decides_every_byte_and_the_recipe_makes_them_again(particle):
    assert rebuild(particle, 3).labels.tobytes() == particle.labels.tobytes()
    assert rebuild(particle, 4).labels.tobytes() != particle.labels.tobytes()


def test_numbers_of_numpy_are_plain_in_the_recipe():
    options = {"slit": np.float32(0.3), "diameter_vox": np.int64(30), "grain_size_vox": np.array(6.0)}
    made = secondary_particle((32, 33, 34), **options, rng=1)
    assert rebuild(made, 1).labels.tobytes() == made.labels.tobytes()


def test_truth_is_plain_and_counted(particle):
    assert json.loads(json.dumps(particle.truth)) == particle.truth
    counts = np.bincount(particle.labels.ravel(), minlength=3)
    assert particle.truth["fractions"] == pytest.approx(counts / particle.labels.size, abs=1e-12)


@settings(deadline=None, max_examples=15)
@given(shape=st.tuples(*[st.integers(12, 40)] * 3), porosity=st.floats(0.01, 0.2), seed=st.integers(0, 2**32))
def test_any_box_tells_the_truth(shape, porosity, seed):
    made = secondary_particle(shape, porosity=porosity, rng=seed)
    counts = np.bincount(made.labels.ravel(), minlength=3)
    assert made.labels.dtype == np.uint8
    assert made.labels.shape == made.shape == shape
    assert abs(counts[PORE] - porosity * (counts[PORE] + counts[MATERIAL])) <= 0.5
    assert sum(pore["volume"] for pore in made.truth["pores"]) == counts[PORE]


def test_reachable_porosity_that_is_named_is_reachable():
    with pytest.raises(ValueError, match="cannot be reached") as error:
        secondary_particle((12, 12, 12), diameter_vox=10, porosity=0.5, grain_size_vox=4, rng=0)
    reachable = float(re.search(r"at most ([\d.]+)", str(error.value))[1])
    made = secondary_particle((12, 12, 12), diameter_vox=10, porosity=reachable, grain_size_vox=4, rng=0)
    assert made.truth["internal_porosity"] == pytest.approx(reachable, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"shape": (40, 0, 40)}, "three positive whole numbers"),
        ({"porosity": 0.0}, "above 0 and at most 0.5"),
        ({"porosity": 0.51}, "above 0 and at most 0.5"),
        ({"porosity": float("nan")}, "above 0 and at most 0.5"),
        ({"diameter_vox": 3}, "from 8 to 1e5"),
        ({"diameter_vox": float("inf")}, "from 8 to 1e5"),
        ({"shape": (4, 40, 40)}, "a diameter of its own"),
        ({"grain_size_vox": 1}, "half the particle's diameter"),
        ({"grain_size_vox": 30}, "half the particle's diameter"),
        ({"grain_size_vox": float("nan")}, "half the particle's diameter"),
        ({"shape": (400, 400, 400), "grain_size_vox": 2}, "grains; give a larger one"),
        ({"elongation": 0.5}, "from 1 to 5"),
        ({"elongation": 9}, "from 1 to 5"),
        ({"slit": 1.5}, "slit is 1.5; give a number from 0 to 1"),
        ({"unevenness": -1}, "unevenness is -1; give a number from 0 to 2"),
        ({"centre_bias": float("nan")}, "from -2 to 2"),
        ({"porosity": "low"}, "porosity is 'low'; give a number"),
        ({"slit": None}, "slit is None; give a number"),
        ({"elongation": None}, "elongation is None; give a number"),
        ({"diameter_vox": [30]}, "diameter_vox is [30]; give a number"),
    ],
)
def test_impossible_arguments_are_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        secondary_particle(**{"shape": (40, 40, 40), **arguments}, rng=0)
