import importlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from synth import sphere_pack
from synth.materials.catalyst_layer import _squared_distance, catalyst_layer

SHAPE = (48, 64, 80)
FILM = {"porosity": 0.6, "ionomer_fraction": 0.12}


def standard_error(values):
    return np.std(values, axis=0, ddof=1) / np.sqrt(len(values))


# Fractions


@pytest.mark.parametrize(
    ("arguments", "fractions"),
    [
        # In 48 slices the porosity rises all the way from 0.50 to 0.65.
        ({}, [0.575, 0.425]),
        ({"porosity": 0.65}, [0.65, 0.35]),
        ({"porosity": (0.5, 0.65), "gradient_vox": 0}, [0.65, 0.35]),
        # Half of the slices rise, with a mean of 0.6, and half are at 0.7.
        ({"porosity": (0.5, 0.7), "gradient_vox": 24}, [0.65, 0.35]),
        ({"porosity": 0.05}, [0.05, 0.95]),
        ({"porosity": 0.99}, [0.99, 0.01]),
        (FILM, [0.6, 0.28, 0.12]),
        ({"porosity": (0.5, 0.65), "ionomer_fraction": 0.2}, [0.575, 0.225, 0.2]),
        ({"porosity": 0.4, "ionomer_fraction": 0.55}, [0.4, 0.05, 0.55]),
        ({"porosity": 0.6, "ionomer_fraction": 1e-5}, [0.6, 0.4 - 1e-5, 1e-5]),
        ({"porosity": 0.5, "particle_diameter_vox": 20, "agglomerate_diameter_vox": 60}, [0.5, 0.5]),
        ({"porosity": 0.5, "particle_sigma": 0, "agglomerate_sigma": 0, "agglomerate_porosity": 0.2}, [0.5, 0.5]),
    ],
)
def test_fractions_are_met_to_one_voxel(arguments, fractions):
    layer = catalyst_layer(SHAPE, **arguments, rng=3)
    counts = np.bincount(layer.labels.ravel(), minlength=len(fractions))
    assert np.abs(counts - np.array(fractions) * layer.labels.size).max() <= 1
    assert layer.truth["fractions"] == pytest.approx(counts / layer.labels.size, abs=1e-12)
    assert layer.phases == ("pore", "carbon", "ionomer")[: len(fractions)]


@settings(deadline=None, max_examples=20)
@given(
    shape=st.tuples(*[st.integers(6, 40)] * 3),
    ends=st.tuples(*[st.floats(0.2, 0.9)] * 2),
    ionomer=st.sampled_from([0.0, 0.02, 0.09]),
    particle=st.floats(1.0, 8.0),
    seed=st.integers(0, 2**32),
)
def test_any_box_meets_its_fractions_and_tells_the_truth(shape, ends, ionomer, particle, seed):
    try:
        layer = catalyst_layer(
            shape, porosity=ends, ionomer_fraction=ionomer, particle_diameter_vox=particle, gradient_vox=9, rng=seed
        )
    except ValueError as refusal:
        # Where few particles fit, the last voxels may lie where none can; that is said, and nothing made.
        if min(shape) >= 2 * particle or "voxels are still to be filled" not in str(refusal):
            raise
        return
    assert layer.labels.dtype == np.uint8
    assert layer.labels.shape == shape
    wanted = np.array([np.mean(layer.truth["target_profile"]), ionomer])
    reached = np.array([np.mean(layer.labels == 0), np.mean(layer.labels == 2)])
    assert np.abs(wanted - reached).max() <= 1 / layer.labels.size + 1e-12
    assert layer.truth["porosity_profile"] == pytest.approx(np.mean(layer.labels == 0, axis=(1, 2)), abs=1e-12)


# Reproducing


@pytest.mark.parametrize("arguments", [{}, FILM])
def test_recipe_and_seed_make_the_same_bytes_again(arguments):
    layer = catalyst_layer((24, 32, 40), **arguments, rng=7)
    recipe = json.loads(json.dumps(layer.recipe))
    json.dumps(layer.truth)
    assert recipe.pop("generator") == "catalyst_layer"
    assert catalyst_layer(**recipe, rng=7).labels.tobytes() == layer.labels.tobytes()
    rng = np.random.default_rng(7)
    assert catalyst_layer(**recipe, rng=rng).labels.tobytes() == layer.labels.tobytes()
    assert catalyst_layer(**recipe, rng=8).labels.tobytes() != layer.labels.tobytes()
    assert catalyst_layer(**recipe, rng=rng).labels.tobytes() != layer.labels.tobytes()


# The profile through the thickness


@pytest.mark.parametrize("ionomer", [0.0, 0.12])
def test_profile_follows_the_line_and_the_plateau_asked_for(ionomer):
    layers = [
        catalyst_layer((64, 64, 64), porosity=(0.4, 0.7), gradient_vox=32, ionomer_fraction=ionomer, rng=seed)
        for seed in range(12)
    ]
    target = np.array(layers[0].truth["target_profile"])
    assert target == pytest.approx(np.r_[0.4 + 0.3 * (np.arange(32) + 0.5) / 32, np.full(32, 0.7)])
    groups = np.array([layer.truth["porosity_profile"] for layer in layers]).reshape(12, 8, 8).mean(axis=2)
    error = groups - target.reshape(8, 8).mean(axis=1)
    # 4.5 standard errors of Student's t with 11 degrees of freedom fail once in a thousand. A particle is left out by
    # the mean of the 9 slices around it, which rounds off the corner of line and plateau by 9 / 4 of a slice's step of
    # 0.3 / 32 at most, and the neighbours make up for it: 0.02.
    assert (np.abs(error.mean(axis=0)) < 4.5 * standard_error(error) + 0.02).all()


def test_gradient_is_as_thick_as_a_thinner_box():
    target = catalyst_layer((20, 32, 32), porosity=(0.5, 0.7), gradient_vox=100, rng=0).truth["target_profile"]
    assert target[0] == pytest.approx(0.505)
    assert target[-1] == pytest.approx(0.695)


@pytest.mark.parametrize("axis", [1, 2])
def test_sides_are_as_porous_as_the_inside(axis):
    labels = [catalyst_layer((40, 40, 40), porosity=0.6, rng=seed).labels for seed in range(40)]
    solid = np.mean(labels, axis=tuple({1, 2, 3} - {axis + 1}))
    sides = solid[:, [0, 1, 2, -3, -2, -1]].mean(axis=1) - solid[:, 10:-10].mean(axis=1)
    assert abs(sides.mean()) < 4 * standard_error(sides)


def test_mean_chords_along_the_two_directions_in_the_plane_agree():
    layers = [catalyst_layer((40, 40, 40), porosity=0.6, rng=seed).labels > 0 for seed in range(20)]
    # By Cauchy-Crofton crossings per length are the inverse of the mean chord.
    crossings = np.array([[np.mean(np.diff(solid, axis=axis)) for axis in (0, 1, 2)] for solid in layers])
    for other in (0, 2):
        difference = crossings[:, 1] - crossings[:, other]
        assert abs(difference.mean()) < 4 * standard_error(difference)


# Two scales


def test_agglomerates_make_blocks_differ_more_than_single_particles_do():
    def block_variance(labels):
        return np.var((labels == 0).reshape(6, 8, 6, 8, 6, 8).mean(axis=(1, 3, 5)))

    shape, seeds = (48, 48, 48), range(8)
    layers = [block_variance(catalyst_layer(shape, porosity=0.6, rng=seed).labels) for seed in seeds]
    packs = [
        block_variance(sphere_pack(shape, porosity=0.6, diameter_vox=4, sigma=0.2, rng=seed).labels) for seed in seeds
    ]
    difference = np.mean(layers) - np.mean(packs)
    assert difference > 4 * np.hypot(standard_error(layers), standard_error(packs))
    assert np.mean(layers) > 3 * np.mean(packs)


def test_pores_within_agglomerates_are_smaller_than_between_them():
    labels = catalyst_layer((64, 64, 64), porosity=0.6, rng=2).labels
    # Closing by a ball fills the pores that are narrower: those within agglomerates, and not those between.
    ball = ndimage.distance_transform_edt(np.pad([[[0]]], 3, constant_values=1)) <= 2.5
    closed = ndimage.binary_closing(np.pad(labels > 0, 8, mode="symmetric"), ball)[8:-8, 8:-8, 8:-8]
    pores_within = np.mean(closed) - 0.4
    assert 0.01 < pores_within < 0.3


def test_larger_agglomerates_leave_wider_pores():
    def width(diameter):
        labels = catalyst_layer((64, 64, 64), porosity=0.65, agglomerate_diameter_vox=diameter, rng=1).labels
        return ndimage.distance_transform_edt(labels == 0).max()

    assert width(8) < width(24) < width(60)


def test_carbon_hangs_together():
    labels = catalyst_layer((96, 96, 96), rng=0).labels
    _, count = ndimage.label(labels == 1, np.ones((3, 3, 3)))
    found, _ = ndimage.label(labels == 1)
    assert np.bincount(found.ravel())[1:].max() > 0.9 * np.count_nonzero(labels == 1)
    # A pack of as many single particles at that solid fraction would be thousands of pieces.
    assert count < 200


# The ionomer


@pytest.mark.parametrize("fraction", [0.001, 0.02, 0.12, 0.3])
def test_all_of_the_film_sits_on_carbon(fraction):
    labels = catalyst_layer(SHAPE, porosity=0.6, ionomer_fraction=fraction, rng=4).labels
    film, count = ndimage.label(labels == 2)
    next_to_carbon = ndimage.binary_dilation(labels == 1)
    assert count > 0
    assert len(np.unique(film[next_to_carbon & (labels == 2)])) == count


def test_carbon_is_where_it_is_without_film_at_the_same_carbon_fraction():
    bare = catalyst_layer(SHAPE, porosity=0.72, rng=4).labels
    coated = catalyst_layer(SHAPE, **FILM, rng=4).labels
    assert np.array_equal(bare == 1, coated == 1)


def test_film_coverage_is_the_brute_force_count_of_faces():
    layer = catalyst_layer((24, 20, 28), **FILM, rng=1)
    labels, faces, covered = layer.labels.astype(int), 0, 0
    for z, y, x in np.argwhere(labels == 1):
        for step in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
            neighbour = np.array((z, y, x)) + step
            if (neighbour >= 0).all() and (neighbour < labels.shape).all():
                faces += labels[tuple(neighbour)] != 1
                covered += labels[tuple(neighbour)] == 2
    assert layer.truth["carbon_faces"] == faces
    assert layer.truth["film_coverage"] == covered / faces
    assert layer.truth["film_thickness_vox"] == np.count_nonzero(labels == 2) / covered


def test_more_ionomer_covers_more_and_lies_thicker():
    thin, thick = (
        catalyst_layer(SHAPE, porosity=0.5, ionomer_fraction=f, film_unevenness=1.5, rng=2).truth for f in (0.02, 0.3)
    )
    assert 0 < thin["film_coverage"] < thick["film_coverage"] < 1
    assert thin["film_thickness_vox"] < thick["film_thickness_vox"]


def test_uneven_film_leaves_more_carbon_bare():
    even, uneven = (catalyst_layer(SHAPE, **FILM, film_unevenness=u, rng=2).truth["film_coverage"] for u in (0, 4))
    assert uneven < even


def test_film_fills_wedges_first():
    labels = catalyst_layer(SHAPE, porosity=0.65, ionomer_fraction=0.03, film_unevenness=0, rng=2).labels
    beside = ndimage.binary_dilation(labels == 1) & (labels != 1)
    carbon_around = ndimage.uniform_filter((labels == 1).astype(float), 5)
    assert carbon_around[labels == 2].mean() > 1.2 * carbon_around[beside].mean()


@pytest.mark.parametrize("reach", [3, 6, 20])
def test_capped_distance_is_the_euclidean_one(reach):
    labels = (np.random.default_rng(0).random((20, 24, 28)) < 0.003).astype(np.uint8)
    truth = np.rint(ndimage.distance_transform_edt(labels == 0) ** 2).astype(int)
    assert np.array_equal(_squared_distance(labels, reach), np.where(truth <= reach**2, truth, 0))


def test_faces_in_the_plane_are_as_porous_as_the_inside_at_one_porosity():
    differences = []
    for seed in range(120):
        pores = catalyst_layer((40, 60, 60), porosity=0.6, rng=seed).labels == 0
        faces = [np.take(pores, i, axis).mean() for axis in (1, 2) for i in (0, -1)]
        differences.append(np.mean(faces) - pores[:, 12:-12, 12:-12].mean())
    error = np.std(differences, ddof=1) / len(differences) ** 0.5
    # Agglomerates that do not give way to others beyond the box leave 0.05 too much at its faces.
    assert error < 0.013
    assert abs(np.mean(differences)) < 3.5 * error


# Bad input


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"shape": (0, 4, 4)}, "three positive whole numbers"),
        (
            {"agglomerate_diameter_vox": 65.0},
            "agglomerate_diameter_vox is 65.0; give a number from that of a particle, 4, to 64: half the longest side",
        ),
        ({"porosity": 0}, "porosity is 0; give a number above 0 and below 1, or two"),
        ({"porosity": (0.5, 1.0)}, "porosity is"),
        ({"porosity": (0.5, 0.6, 0.7)}, "porosity is"),
        ({"porosity": np.nan}, "porosity is nan"),
        ({"gradient_vox": -1}, "gradient_vox is -1; give a thickness of 0 or more"),
        ({"gradient_vox": np.inf}, "gradient_vox is inf"),
        ({"particle_diameter_vox": 0.5}, "particle_diameter_vox is 0.5; give a number from 1 to 64"),
        ({"particle_diameter_vox": np.nan}, "particle_diameter_vox is nan"),
        ({"agglomerate_diameter_vox": 3}, "agglomerate_diameter_vox is 3; give a number from that of a particle"),
        ({"agglomerate_diameter_vox": 1e9}, "agglomerate_diameter_vox is 1000000000.0; give"),
        ({"particle_sigma": -0.1}, "particle_sigma is -0.1"),
        ({"agglomerate_sigma": 2}, "agglomerate_sigma is 2"),
        ({"agglomerate_porosity": 0}, "agglomerate_porosity is 0; give a number from 0.01 to 0.99"),
        ({"ionomer_fraction": -0.1}, "ionomer_fraction is -0.1; give 0 or more and less than 0.4"),
        ({"ionomer_fraction": 0.4}, "ionomer_fraction is 0.4; give 0 or more and less than 0.4"),
        ({"film_unevenness": np.inf}, "film_unevenness is inf"),
        ({"film_length_vox": 0}, "film_length_vox is 0; give a number from 1 to 160"),
        (
            {"porosity": 0.6, "ionomer_fraction": 0.4 - 1e-9},
            "voxels of ionomer have no place within 192 voxels of the 0",
        ),
    ],
)
def test_bad_input_is_refused_with_a_sentence(arguments, sentence):
    given_all = {"shape": (24, 32, 40), "porosity": 0.6, **arguments}
    with pytest.raises(ValueError, match=sentence):
        catalyst_layer(**given_all, rng=0)


def test_unreachable_porosity_ends_with_what_was_reached(monkeypatch):
    # The function hides the module of its name as an attribute of the package.
    monkeypatch.setattr(importlib.import_module("synth.materials.catalyst_layer"), "PATIENCE", 0.1)
    with pytest.raises(ValueError, match=r"the porosity is 0\.\d+, .* still to be filled: ask for a higher porosity"):
        catalyst_layer((64, 64, 64), porosity=0.02, rng=0)
