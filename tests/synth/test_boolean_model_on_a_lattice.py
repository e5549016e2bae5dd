"""What voxels of a Boolean model must measure: its closed form, worked out for the lattice instead of for space.

Densities of curvature and topology that are estimated from 2 × 2 × 2 neighbourhoods do not tend to those of space where
balls cross each other, however fine the voxels [1]_. Their expectation is known all the same: each of the 256 patterns
has a probability that follows from volumes of unions of balls. So the tolerance here is the sampling error alone.

.. [1] J. Ohser, W. Nagel, K. Schladitz, "Miles formulae for Boolean models observed on lattices", Image Anal. Stereol.
   28 (2009) 77.
"""

import itertools

import numpy as np
import pytest

from evaluate import minkowski
from synth import boolean_model, stamp_spheres

CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))
DENSITIES = ("volume_fraction", "specific_surface", "mean_curvature", "euler_density")


def directions(order=14):
    """Unit vectors and weights that integrate over the sphere what has kinks on the planes u·d = 0, d in {-1, 0, 1}³.

    These planes cut x ≥ y ≥ z ≥ 0 into two triangles; all others are mirror images.
    """
    nodes, weights = np.polynomial.legendre.leggauss(order)
    s, t = np.meshgrid((nodes + 1) / 2, (nodes + 1) / 2, indexing="ij")
    w = np.outer(weights, weights) / 4 * s
    vectors, areas = [], []
    for triangle in ([(1, 0, 0), (1, 1, 0), (2, 1, 1)], [(1, 1, 0), (1, 1, 1), (2, 1, 1)]):
        a, b, c = np.array(triangle, float) / np.linalg.norm(triangle, axis=1, keepdims=True)
        points = a + s[..., None] * (b - a) + (s * t)[..., None] * (c - b)
        size = np.linalg.norm(points, axis=-1)
        vectors.append((points / size[..., None]).reshape(-1, 3))
        areas.append((w * abs(np.linalg.det([a, b, c])) / size**3).ravel())
    u, area = np.concatenate(vectors), np.concatenate(areas)
    mirrored = [
        u[:, order] * signs
        for order in map(list, itertools.permutations(range(3)))
        for signs in itertools.product((1, -1), repeat=3)
    ]
    return np.concatenate(mirrored), np.tile(area, 48)


def volumes_of_unions(radius):
    """Volume of the union of balls around each of the 256 sets of corners of a unit cube.

    Each ball holds the cube's centre, so their union is a star around it.
    """
    u, area = directions()
    along = u @ (CORNERS - 0.5).T
    reach = along + np.sqrt(radius**2 - 0.75 + along**2)
    volumes = np.zeros(256)
    for code in range(1, 256):
        chosen = [k for k in range(8) if code >> k & 1]
        volumes[code] = (area * reach[:, chosen].max(axis=1) ** 3).sum() / 3
    return volumes


def pattern_probabilities(intensity, radius):
    """Probability that exactly those corners are pore, for each of the 256 sets."""
    empty = np.exp(-intensity * volumes_of_unions(radius))
    sizes = np.array([bin(code).count("1") for code in range(256)])
    return np.array(
        [
            sum((-1) ** (sizes[b] - sizes[a]) * empty[b] for b in range(256) if b & a == a)
            for a in range(256)
        ]
    )  # fmt: skip


def pattern_contributions(connectivity):
    """What `minkowski` makes of each pattern: a window of one neighbourhood."""
    table = []
    for code in range(256):
        mask = np.array([code >> k & 1 for k in range(8)], bool).reshape(2, 2, 2)
        measured = minkowski(mask, boundary="interior", connectivity=connectivity)
        table.append([getattr(measured, name) for name in DENSITIES])
    return np.array(table)


def poisson_balls(side, intensity, radius, seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((side,) * 3, np.uint8)
    number = rng.poisson(intensity * side**3)
    stamp_spheres(labels, rng.random((number, 3)) * side, np.full(number, radius), periodic=True)
    return labels


def test_unions_of_balls_have_known_volumes():
    volumes, radius = volumes_of_unions(5.0), 5.0
    ball = 4 / 3 * np.pi * radius**3
    for code in (1, 2, 128):
        assert volumes[code] == pytest.approx(ball, rel=1e-11)
    for other, distance in ((0b10, 1.0), (0b1000, 2**0.5), (0b10000000, 3**0.5)):
        shared = np.pi / 12 * (4 * radius + distance) * (2 * radius - distance) ** 2
        assert volumes[1 | other] == pytest.approx(2 * ball - shared, rel=1e-11)
    assert pattern_probabilities(0.7 / ball, radius).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("connectivity", [6, 26])
@pytest.mark.parametrize(("porosity", "radius"), [(0.45, 6.0), (0.15, 4.0)])
def test_measured_densities_are_those_of_the_patterns_within_the_sampling_error(porosity, radius, connectivity):
    model, side, count = boolean_model(porosity, diameter_vox=2 * radius, sigma=0.0), 72, 60
    expected = pattern_probabilities(model.intensity, radius) @ pattern_contributions(connectivity)
    measured = []
    for seed in range(count):
        pores = poisson_balls(side, model.intensity, radius, seed) == 0
        found = minkowski(pores, boundary="periodic", connectivity=connectivity)
        measured.append([getattr(found, name) for name in DENSITIES])
    mean, error = np.mean(measured, axis=0), np.std(measured, axis=0, ddof=1) / count**0.5
    assert expected[0] == pytest.approx(porosity, rel=1e-9)
    # Known well enough that those of space would be refused where they differ.
    space = [model.pore.densities()[name] for name in DENSITIES]
    assert (abs(expected - space)[1:] > 8 * error[1:]).all()
    assert (abs(mean - expected) < 4 * error).all()


def test_surface_of_the_lattice_tends_to_that_of_space_and_the_euler_density_does_not():
    """By this much `evaluate.minkowski` must differ from Miles' formulas, however fine the voxels are."""
    table, ratios = pattern_contributions(6), []
    for radius in (5.0, 10.0, 20.0, 40.0):
        model = boolean_model(0.45, diameter_vox=2 * radius, sigma=0.0)
        found = pattern_probabilities(model.intensity, radius) @ table
        form = model.pore
        ratios.append(found[1:] / [form.specific_surface, form.mean_curvature, form.euler_density])
    surface, _, euler = np.array(ratios).T
    # A voxel of half the size halves what is wrong with the surface.
    assert (1 - surface)[1:] / (1 - surface)[:-1] == pytest.approx(0.5, abs=0.05)
    assert (1 - surface)[-1] < 0.02
    assert (np.diff(euler) > 0).all()
    assert euler[0] > 1.6
