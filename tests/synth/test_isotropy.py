"""Axes exchanged or mirrored leave the statistics of an isotropic model as they are."""

import itertools

import numpy as np
import pytest

import synth

SIDE, SEEDS = 36, 40
MODELS = {
    "boolean": lambda rng: synth.sphere_pack((SIDE,) * 3, porosity=0.5, diameter_vox=9, rng=rng),
    "boolean, periodic": lambda rng: synth.sphere_pack(
        (SIDE,) * 3, porosity=0.5, diameter_vox=9, periodic=True, rng=rng
    ),
    "hard": lambda rng: synth.sphere_pack((SIDE,) * 3, porosity=0.5, diameter_vox=9, overlap=False, rng=rng),
    "necks": lambda rng: synth.sphere_pack((SIDE,) * 3, porosity=0.4, diameter_vox=9, neck=0.5, rng=rng),
    "agglomerates": lambda rng: synth.sphere_pack(
        (SIDE,) * 3, porosity=0.6, diameter_vox=5, agglomerate_vox=18, rng=rng
    ),
    "gaussian": lambda rng: synth.gaussian_phases((SIDE,) * 3, fractions=(0.4, 0.6), length_vox=6, rng=rng),
    "plurigaussian": lambda rng: synth.gaussian_phases(
        (SIDE,) * 3, fractions=(0.4, 0.3, 0.3), length_vox=6, rule="plurigaussian", rng=rng
    ),
    "solid oxide": lambda rng: synth.sofc_electrode((SIDE,) * 3, preset="three-phase", scale=0.5, rng=rng),
    "felt": lambda rng: synth.fibre_mat((SIDE,) * 3, in_plane=1.0, fibre_diameter_vox=5, persistence_vox=60, rng=rng),
}
# Three points in a skew position: no turn of the lattice brings them onto their mirror image.
POINTS = np.array([(0, 0, 0), (1, 4, 2), (5, 1, 3)])
TURNS = list(itertools.permutations(range(3)))
MIRRORS = list(itertools.product((1, -1), repeat=3))


def probability(pores, points):
    """Probability that all points, moved together through the box, are pore."""
    points = points - points.min(axis=0)
    z, y, x = np.array(pores.shape) - points.max(axis=0)
    return np.mean(
        np.logical_and.reduce([pores[a : a + z, b : b + y, c : c + x] for a, b, c in points.tolist()])
    )  # fmt: skip


def images():
    """Probabilities of the 48 images of the triangle, as rows: even and odd ones are mirror images of each other."""
    for turn, signs in itertools.product(TURNS, MIRRORS):
        yield POINTS[:, list(turn)] * signs


@pytest.mark.parametrize("name", list(MODELS))
def test_axes_exchanged_or_mirrored_leave_the_statistics(name):
    measured = []
    for seed in range(SEEDS):
        pores = MODELS[name](seed).labels == 0
        measured.append([probability(pores, image) for image in images()])
    measured = np.array(measured)  # (seed, image)
    differences = measured - measured.mean(axis=1, keepdims=True)
    error = differences.std(axis=0, ddof=1) / SEEDS**0.5
    # 48 normal numbers stay below 4.5 but for one case in three thousand.
    assert (abs(differences.mean(axis=0)) < 4.5 * error).all()
    assert error.max() < 0.03 * measured.mean()


def test_fibres_in_the_plane_are_refused_by_the_same_measure():
    measured = []
    for seed in range(SEEDS):
        pores = synth.fibre_mat((SIDE,) * 3, in_plane=8.0, fibre_diameter_vox=5, rng=seed).labels == 0
        measured.append([probability(pores, image) for image in images()])
    differences = np.array(measured) - np.mean(measured, axis=1, keepdims=True)
    error = differences.std(axis=0, ddof=1) / SEEDS**0.5
    assert (abs(differences.mean(axis=0)) > 8 * error).any()
