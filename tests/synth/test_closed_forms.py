import functools
import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import trapezoid
from scipy.spatial import Delaunay, KDTree
from scipy.special import ndtr, ndtri

from evaluate import minkowski, two_point
from synth.gaussian import correlation_function, gaussian_field, gradient_moment
from synth.spheres import sphere_pack
from synth.truth import boolean_model, gaussian_bands, gaussian_level_set, gaussian_polygons, intersection

SIDE, SEEDS, LENGTH = 120, range(14), 8.5
NAMES = ("volume_fraction", "specific_surface", "mean_curvature", "euler_density")
LEVEL = float(ndtri(0.7))
# A convex polygon whose phase is an infinite wedge in the plane of two fields.
WEDGE = ([(0.4, 0.3)], [(-0.2, 1.0), (1.0, -0.5)])


def fields(seed, count, **options):
    rng = np.random.default_rng(seed)
    options = {"length_vox": LENGTH, "periodic": True, **options}
    return [gaussian_field((SIDE,) * 3, **options, rng=rng) for _ in range(count)]


def boolean(seed):
    return sphere_pack((SIDE,) * 3, porosity=0.45, diameter_vox=18, sigma=0.3, periodic=True, rng=seed).labels == 0


def level_set(seed):
    return fields(seed, 1)[0] >= LEVEL


def middle_band(seed):
    (field,) = fields(seed, 1, length_vox=12.0)
    return (field >= ndtri(0.25)) & (field < ndtri(0.8))


def plurigaussian(seed):
    first, second = fields(seed, 2)
    return (first >= ndtri(0.4)) & (second < ndtri(0.5))


def wedge(seed):
    first, second = fields(seed, 2)
    x, y = first - 0.4, second - 0.3
    return (x + 0.2 * y > 0) & (y + 0.5 * x > 0)


def plurigaussian_form():
    return intersection(gaussian_level_set(0.6, length_vox=LENGTH), gaussian_level_set(0.5, length_vox=LENGTH))


MEDIA = {
    "boolean": (boolean, lambda: boolean_model(0.45, diameter_vox=18, sigma=0.3).pore),
    "level set": (level_set, lambda: gaussian_level_set(0.3, length_vox=LENGTH)),
    "band": (
        middle_band,
        lambda: gaussian_bands((0.25, 0.55, 0.2), length_vox=12.0)[1],
    ),
    "plurigaussian": (plurigaussian, plurigaussian_form),
    "wedge": (wedge, lambda: gaussian_polygons(WEDGE, length_vox=LENGTH)),
}


@functools.cache
def volumes(medium):
    return [MEDIA[medium][0](seed) for seed in SEEDS]


def densities(mask, *, step=1, boundary="periodic"):
    """Measure the four densities on every step-th voxel, in units of the finest voxels."""
    found = minkowski(mask[::step, ::step, ::step], boundary=boundary)
    return [getattr(found, name) / step**i for i, name in enumerate(NAMES)]


def standard_error(masks):
    """Estimate from the octants, which are many, large against the features, and so nearly independent."""
    half = SIDE // 2
    corners = [(z, y, x) for z in (0, half) for y in (0, half) for x in (0, half)]
    octants = [mask[z : z + half, y : y + half, x : x + half] for mask in masks for z, y, x in corners]
    return np.std([densities(o, boundary="interior") for o in octants], axis=0, ddof=1) / len(octants) ** 0.5


# Volumes against closed forms

# Where two surfaces cross, crevices narrower than a voxel are left at every resolution, and curvature and Euler number
# of the voxels do not converge to the truth (Ohser, Nagel, Schladitz 2003, 2009): below are tests without a lattice.
SMOOTH = ("level set", "band")


@pytest.mark.parametrize("medium", MEDIA)
def test_measured_densities_agree_with_the_closed_form(medium):
    masks = volumes(medium)
    fine, coarse = (np.mean([densities(mask, step=step) for mask in masks], axis=0) for step in (1, 2))
    # An estimator whose error grows with the voxel at least linearly is now as far off as it moved from step 2 to 1.
    tolerance = 4 * standard_error(masks) + np.abs(coarse - fine)
    expected = np.array([getattr(MEDIA[medium][1](), name) for name in NAMES])
    known = 4 if medium in SMOOTH else 2
    assert (np.abs(fine - expected) <= tolerance)[:known].all()
    # The test can tell: it would see a surface that is wrong by a tenth, and an Euler density by a half.
    assert tolerance[1] < 0.1 * expected[1]
    assert known == 2 or tolerance[3] < 0.5 * abs(expected[3])


@functools.cache
def lattice_distances(reach):
    """Return the distances between voxel centres, the bins of `two_point` they fall into, and how often each occurs."""
    axis = np.arange(-reach, reach + 1)
    z, y, x = np.meshgrid(axis, axis, axis, sparse=True)
    squares, counts = np.unique(z * z + y * y + x * x, return_counts=True)
    distances = np.sqrt(squares)
    return distances, np.floor(distances + 0.5).astype(int), counts


@pytest.mark.parametrize("medium", MEDIA)
def test_measured_two_point_probability_agrees_with_the_closed_form(medium):
    form, reach = MEDIA[medium][1](), 30
    distances, bins, counts = lattice_distances(reach + 1)
    kept = bins <= reach
    grid = np.linspace(0, reach + 1, 311)
    at_lags = np.interp(distances[kept], grid, form.two_point(grid))
    expected = np.bincount(bins[kept], counts[kept] * at_lags) / np.bincount(bins[kept], counts[kept])
    found = np.array([two_point(mask, periodic=True, r_max=reach).s2 for mask in volumes(medium)])
    # Of fourteen volumes each bin's error is a guess; the largest is safe.
    error = (found.std(axis=0, ddof=1) / len(found) ** 0.5).max()
    # A cut at the exact fraction instead of at a level takes the variance of the fraction from S2, at most.
    far = np.linspace(0, 80, 400)
    spread = 4 * np.pi * far**2 * (form.two_point(far) - form.volume_fraction**2)
    conditioning = trapezoid(spread, far) / SIDE**3
    interpolation = np.abs(np.diff(form.two_point(grid), 2)).max() / 8
    tolerance = 4 * error + conditioning + interpolation
    assert (np.abs(found.mean(axis=0) - expected) <= tolerance).all()
    assert tolerance < 0.1 * (form.volume_fraction - form.volume_fraction**2)


# Overlapping balls without a lattice


def periodic_balls(seed, *, side, intensity, median, sigma):
    """Return centres and radii of the balls of a periodic box with all copies that reach into it, and the originals."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(intensity * side**3)
    centres, radii = rng.random((count, 3)) * side, median * np.exp(sigma * rng.standard_normal(count))
    shifts = side * np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    copies = (centres + shifts[:, None]).reshape(-1, 3)
    inside = ((copies >= 0) & (copies < side)).all(axis=1)
    return copies, np.tile(radii, 27), inside


def surface_and_curvature(seed, form, *, side, median, sigma):
    """Estimate both per volume from points on the balls and on the circles where two of them cross."""
    rng = np.random.default_rng(seed)
    centres, radii, inside = periodic_balls(seed, side=side, intensity=form.intensity, median=median, sigma=sigma)
    near = (np.abs(centres - side / 2) < side / 2 + 2 * radii.max()).all(axis=1)
    centres, radii, inside = centres[near], radii[near], inside[near]
    tree = KDTree(centres)

    def exposed(points, owners):
        neighbours = tree.query_ball_point(points, radii.max())
        at = np.repeat(np.arange(len(points)), [len(found) for found in neighbours])
        ball = np.concatenate(neighbours).astype(int)
        covers = ((points[at] - centres[ball]) ** 2).sum(axis=1) <= radii[ball] ** 2
        covers &= (owners[at] != ball[:, None]).all(axis=1)
        return np.bincount(at[covers], minlength=len(points)) == 0

    balls = np.repeat(np.flatnonzero(inside), 4)
    points = centres[balls] + radii[balls, None] * unit_vectors(rng, len(balls))
    free = exposed(points, balls[:, None]) / 4
    surface = (4 * np.pi * radii[balls] ** 2 * free).sum()
    curvature = (4 * np.pi * radii[balls] * free).sum()
    pairs = tree.query_pairs(2 * radii.max(), output_type="ndarray")
    i, j = pairs[inside[pairs].any(axis=1)].T
    distance = np.linalg.norm(centres[j] - centres[i], axis=1)
    crossing = (distance < radii[i] + radii[j]) & (distance > np.abs(radii[i] - radii[j]))
    i, j, distance = i[crossing], j[crossing], distance[crossing]
    axis = (centres[j] - centres[i]) / distance[:, None]
    along = (distance**2 + radii[i] ** 2 - radii[j] ** 2) / (2 * distance)
    ring = np.sqrt(radii[i] ** 2 - along**2)
    across = np.cross(axis, unit_vectors(rng, len(i)))
    points = centres[i] + along[:, None] * axis + ring[:, None] * across / np.linalg.norm(across, axis=1, keepdims=True)
    angle = np.arccos((radii[i] ** 2 + radii[j] ** 2 - distance**2) / (2 * radii[i] * radii[j]))
    # A pair with one centre outside is found once more, at the opposite face. A crevice bends inwards.
    share = inside[i].astype(float) / 2 + inside[j] / 2
    free = exposed(points, np.stack([i, j], axis=1))
    curvature -= (share * free * 2 * np.pi * ring * angle / 2).sum()
    return surface / side**3, curvature / side**3


def unit_vectors(rng, count):
    vectors = rng.standard_normal((count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_points_on_balls_find_the_surface_and_curvature_of_the_boolean_model():
    form = boolean_model(0.4, diameter_vox=2.0, sigma=0.25)
    found = [surface_and_curvature(seed, form, side=16.0, median=1.0, sigma=0.25) for seed in range(12)]
    error = np.std(found, axis=0, ddof=1) / len(found) ** 0.5
    expected = [form.solid.specific_surface, form.solid.mean_curvature]
    # 4 standard errors of many samples are as rare as 6 of twelve.
    assert (np.abs(np.mean(found, axis=0) - expected) < 6 * error).all()
    single_balls = 0.4 * form.intensity * 4 * np.pi * form.mean_radius
    assert (6 * error < [0.06 * expected[0], 0.15 * single_balls]).all()


def euler_of_equal_balls(centres, radius, inside):
    """Euler number of a union of equal balls in a periodic box: that of its alpha complex, by the nerve theorem."""
    tetrahedra = np.sort(Delaunay(centres).simplices, axis=1)
    tetrahedra = tetrahedra[inside[tetrahedra].any(axis=1)]
    simplices, values = tetrahedra, circumradius(centres[tetrahedra])[0]
    euler = 0.0
    for corners in (4, 3, 2, 1):
        born = values <= radius
        euler += (-1.0) ** (corners - 1) * (inside[simplices].sum(axis=1)[born] / corners).sum()
        if corners == 1:
            break
        # A face is born with its own circumsphere, unless a neighbour's corner lies in that: then with the neighbour.
        faces = np.concatenate([np.delete(simplices, k, axis=1) for k in range(corners)])
        apexes, owners = np.concatenate(simplices.T), np.tile(values, corners)
        size, middle = circumradius(centres[faces])
        blocked = np.linalg.norm(centres[apexes] - middle, axis=1) < size
        simplices, which = np.unique(faces, axis=0, return_inverse=True)
        which = which.ravel()
        values, own, hindered = (
            np.full(len(simplices), np.inf),
            np.zeros(len(simplices)),
            np.zeros(len(simplices), bool),
        )
        np.minimum.at(values, which, owners)
        own[which] = size
        np.logical_or.at(hindered, which, blocked)
        values = np.where(hindered, values, own)
    return euler


def circumradius(points):
    """Radius and centre of the smallest sphere through the points, shape (n, corners, 3)."""
    edges = points[:, 1:] - points[:, :1]
    if edges.shape[1] == 0:
        return np.zeros(len(points)), points[:, 0]
    gram = np.einsum("nia,nja->nij", edges, edges)
    weights = np.linalg.solve(gram, 0.5 * np.einsum("nii->ni", gram)[..., None])[..., 0]
    towards = np.einsum("ni,nia->na", weights, edges)
    return np.linalg.norm(towards, axis=1), points[:, 0] + towards


@pytest.mark.parametrize("porosity", [0.75, 0.45, 0.15])
def test_nerve_of_equal_balls_finds_the_euler_density_of_the_boolean_model(porosity):
    form = boolean_model(porosity, diameter_vox=2.0, sigma=0)
    found = []
    for seed in range(8):
        centres, _, inside = periodic_balls(seed, side=14.0, intensity=form.intensity, median=1.0, sigma=0)
        # A simplex of the complex has a circumsphere of radius 1 at most: what is 2 from its corners does not count.
        near = (np.abs(centres - 7) < 7 + 2.5).all(axis=1)
        found.append(euler_of_equal_balls(centres[near], 1.0, inside[near]) / 14.0**3)
    error = np.std(found, ddof=1) / len(found) ** 0.5
    # 4 standard errors of many samples are as rare as 8 of eight.
    assert abs(np.mean(found) - form.solid.euler_density) < 8 * error
    assert 8 * error < 0.2 * form.intensity


def test_crossing_surfaces_bend_by_half_the_angle_between_their_normals():
    first = gaussian_level_set(0.3, length_vox=6)
    second = gaussian_level_set(0.6, length_vox=9)
    both = intersection(first, second).mean_curvature
    smooth = first.mean_curvature * second.volume_fraction + first.volume_fraction * second.mean_curvature
    normals = [unit_vectors(np.random.default_rng(seed), 200_000) for seed in (1, 2)]
    cosine = (normals[0] * normals[1]).sum(axis=1)
    # Length of the crossing per volume and pair of normals, times half the angle.
    bend = first.specific_surface * second.specific_surface * np.sqrt(1 - cosine**2) * np.arccos(cosine) / 2
    assert both - smooth == pytest.approx(bend.mean(), abs=4 * bend.std() / len(bend) ** 0.5)


def test_polygon_densities_are_the_derivatives_of_the_probability_of_its_seam():
    corners = np.array([(-0.7, -0.4), (1.1, -0.6), (0.2, 1.3)])
    steps = np.roll(corners, -1, axis=0) - corners
    angles = np.arctan2(-steps[:, 0], steps[:, 1])
    seams = 0.25 * (1 - np.cos(np.linspace(0, np.pi, 12)))
    chances = []
    for width in seams:
        # Corners become arcs, here of 100 chords that lie half outside and half inside.
        points = []
        for k, corner in enumerate(corners):
            turn = (angles[k] - angles[k - 1]) % (2 * np.pi)
            chord = turn / 100
            reach = width * (1 + chord**2 / 12)
            points += [
                corner + reach * np.array([np.cos(t), np.sin(t)]) for t in angles[k - 1] + turn * np.linspace(0, 1, 101)
            ]
        polygon = points if width > 0 else corners
        chances.append(gaussian_polygons((polygon, None), length_vox=1).volume_fraction)
    series = np.polynomial.Polynomial.fit(seams, chances, 11).convert().coef
    form, slope = gaussian_polygons((corners, None), length_vox=1), gradient_moment("gaussian")
    assert form.specific_surface / (4 * np.sqrt(slope / (2 * np.pi))) == pytest.approx(series[1], rel=2e-4)
    assert form.mean_curvature / slope == pytest.approx(2 * series[2], rel=2e-3)
    assert form.euler_density / (slope / (2 * np.pi)) ** 1.5 == pytest.approx(6 * series[3], rel=1e-2)


# Limits and identities


def all_forms():
    boolean_solid = boolean_model(0.3, diameter_vox=stats.gamma(6, scale=3)).solid
    stretched = gaussian_level_set(0.4, length_vox=6, anisotropy=(2.0, 1.0, 0.5))
    rough = gaussian_level_set(0.35, length_vox=9, correlation="matern32")
    waves = gaussian_level_set(0.6, length_vox=14, correlation="oscillating")
    return [MEDIA[name][1]() for name in MEDIA] + [boolean_solid, stretched, rough, waves]


@pytest.mark.parametrize("form", all_forms())
def test_two_point_probability_begins_at_the_fraction_falls_with_the_surface_and_ends_at_its_square(form):
    assert form.two_point(0.0) == pytest.approx(form.volume_fraction, rel=1e-6)
    assert form.two_point(500.0) == pytest.approx(form.volume_fraction**2, abs=1e-6)
    # S2 = φ - S r / 4 + a r² (rough fields) or a r³: extrapolated slopes agree to the next order.
    step = 1e-2
    near, far = ((form.volume_fraction - form.two_point(h)) / h for h in (step, 2 * step))
    assert 2 * near - far == pytest.approx(form.specific_surface / 4, rel=2e-3)


@pytest.mark.parametrize("form", all_forms())
def test_complement_has_the_opposite_curvature_and_the_same_topology(form):
    other = form.complement()
    assert other.specific_surface == form.specific_surface
    assert other.mean_curvature == -form.mean_curvature
    assert other.euler_density == form.euler_density
    r = np.array([0.0, 3.0, 40.0])
    # Exactly one of two points in the set: counted from either side.
    assert form.volume_fraction - form.two_point(r) == pytest.approx(other.volume_fraction - other.two_point(r))


def test_dilute_balls_are_single_balls():
    intensity, radius = 1e-9, 7.0
    solid = boolean_model(intensity=intensity, diameter_vox=2 * radius, sigma=0).solid
    single = [4 / 3 * np.pi * radius**3, 4 * np.pi * radius**2, 4 * np.pi * radius, 1.0]
    assert [getattr(solid, name) / intensity for name in NAMES] == pytest.approx(single, rel=1e-4)


def test_lognormal_moments_are_those_of_the_distribution():
    exact = boolean_model(0.4, diameter_vox=20, sigma=0.35)
    integrated = boolean_model(0.4, diameter_vox=stats.lognorm(0.35, scale=20))
    named = boolean_model(0.4, diameter_vox={"name": "lognorm", "s": 0.35, "scale": 20})
    r = np.linspace(0, 90, 31)
    for other in (integrated, named):
        assert other.intensity == pytest.approx(exact.intensity, rel=1e-9)
        assert other.pore.densities() == pytest.approx(exact.pore.densities(), rel=1e-9)
        assert other.pore.two_point(r) == pytest.approx(exact.pore.two_point(r), abs=1e-10)


def test_boolean_model_is_the_intersection_of_the_pores_of_two_thinner_ones():
    whole = boolean_model(intensity=3e-4, diameter_vox=14, sigma=0.4).pore
    parts = [boolean_model(intensity=rate, diameter_vox=14, sigma=0.4).pore for rate in (1e-4, 2e-4)]
    both = intersection(*parts)
    assert both.densities() == pytest.approx(whole.densities(), rel=1e-9)
    assert both.two_point([0, 5, 20]) == pytest.approx(whole.two_point([0, 5, 20]), rel=1e-9)


def test_boolean_surface_is_the_derivative_of_the_solid_by_the_radius():
    def solid(radius):
        return boolean_model(intensity=2e-4, diameter_vox=2 * radius, sigma=0).solid

    slope = (solid(8.001).volume_fraction - solid(7.999).volume_fraction) / 0.002
    assert solid(8.0).specific_surface == pytest.approx(slope, rel=1e-6)


def test_rectangle_is_the_intersection_of_two_bands():
    first = gaussian_bands((0.1, 0.6, 0.3), length_vox=8)[1]
    second = gaussian_bands((0.35, 0.5, 0.15), length_vox=8)[1]
    (a, b), (c, d) = ndtri([0.1, 0.7]), ndtri([0.35, 0.85])
    rectangle = gaussian_polygons(([(a, c), (b, c), (b, d), (a, d)], None), length_vox=8)
    both = intersection(first, second)
    assert rectangle.densities() == pytest.approx(both.densities(), rel=1e-9)
    r = [0.0, 0.5, 2.0, 6.0, 20.0]
    assert rectangle.two_point(r) == pytest.approx(both.two_point(r), abs=1e-6)


def test_half_plane_is_a_level_set_however_it_lies():
    expected = gaussian_level_set(0.3, length_vox=8)
    for turn in (0.0, 1.0, 2.5, 4.0):
        along = np.array([np.cos(turn), np.sin(turn)])
        # Two corners on a straight line change nothing.
        corners = [LEVEL * np.array([along[1], -along[0]]) * -1 + s * along for s in (-0.5, 1.5)]
        half = gaussian_polygons((corners, [-along, along]), length_vox=8)
        assert half.densities() == pytest.approx(expected.densities(), rel=1e-6)
        assert half.two_point([1.0, 7.0]) == pytest.approx(expected.two_point([1.0, 7.0]), abs=1e-6)


def test_two_phases_in_one_field_are_a_level_set_and_its_complement():
    low, high = gaussian_bands((0.3, 0.7), length_vox=5)
    assert low.densities() == pytest.approx(gaussian_level_set(0.3, length_vox=5).densities())
    assert high.densities() == pytest.approx(low.complement().densities())


def test_polygons_apart_add_up_and_their_pairs_are_counted_across():
    tails = gaussian_polygons(
        ([(1.0, 0.0)], [(0.0, -1.0), (0.0, 1.0)][::-1]), ([(-1.5, 0.0)], [(0.0, 1.0), (0.0, -1.0)][::-1]), length_vox=6
    )
    band = gaussian_bands((ndtr(-1.5), ndtr(1.0) - ndtr(-1.5), ndtr(-1.0)), length_vox=6)[1].complement()
    assert tails.densities() == pytest.approx(band.densities(), rel=1e-9)
    assert tails.two_point([1.0, 4.0, 9.0]) == pytest.approx(band.two_point([1.0, 4.0, 9.0]), abs=1e-6)


def test_stretched_field_has_the_mean_slope_and_the_mean_shadow():
    stretch = np.array([2.0, 1.0, 0.5])
    form = gaussian_level_set(0.3, length_vox=6, anisotropy=stretch)
    slopes = gradient_moment("gaussian") / (6 * stretch) ** 2
    draws = np.random.default_rng(0).standard_normal((400_000, 3))
    norms = np.linalg.norm(draws * np.sqrt(slopes), axis=1)
    density = stats.norm.pdf(LEVEL)
    error = norms.std() / len(norms) ** 0.5
    assert form.specific_surface / density == pytest.approx(norms.mean(), abs=4 * error)
    directions = draws / np.linalg.norm(draws, axis=1, keepdims=True)
    shadows = np.linalg.norm(directions * np.sqrt(slopes.prod() / slopes), axis=1)
    error = shadows.std() / len(shadows) ** 0.5
    assert form.mean_curvature / (LEVEL * density) == pytest.approx(shadows.mean(), abs=4 * error)
    # A linear map leaves the topology and divides by its determinant.
    even = gaussian_level_set(0.3, length_vox=6)
    assert form.euler_density == pytest.approx(even.euler_density / stretch.prod(), rel=1e-9)


def test_rough_field_has_an_infinite_surface_and_still_a_two_point_probability():
    form = gaussian_level_set(0.5, length_vox=6, correlation="exponential")
    assert form.specific_surface == np.inf
    assert np.isnan([form.mean_curvature, form.euler_density]).all()
    # At the median: S2 = 1/4 + arcsin(C) / 2π.
    r = np.array([0.5, 3.0, 12.0])
    covariance = np.arcsin(correlation_function("exponential")(r / 6)) / (2 * np.pi)
    assert form.two_point(r) == pytest.approx(0.25 + covariance, rel=1e-9)


@pytest.mark.parametrize("level", [-1.3, 0.2, 0.9])
def test_bivariate_normal_probability_is_that_of_scipy(level):
    form = gaussian_level_set(float(ndtr(-level)), length_vox=10)
    for r in (1.0, 6.0, 15.0):
        c = float(correlation_function("gaussian")(np.array(r / 10)))
        exact = stats.multivariate_normal([0, 0], [[1, c], [c, 1]]).cdf([-level, -level])
        assert form.two_point(r) == pytest.approx(exact, abs=1e-6)


# Bad input


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: boolean_model(diameter_vox=8), "porosity is None and intensity is None"),
        (lambda: boolean_model(0.5, intensity=1e-3, diameter_vox=8), "give one of the two"),
        (lambda: boolean_model(1.0, diameter_vox=8), "porosity is 1.0"),
        (lambda: boolean_model(float("nan"), diameter_vox=8), "porosity is nan"),
        (lambda: boolean_model(intensity=-1, diameter_vox=8), "intensity is -1"),
        (lambda: boolean_model(0.5, diameter_vox=0), "diameter_vox is 0"),
        (lambda: boolean_model(0.5, diameter_vox=float("inf")), "diameter_vox is inf"),
        (lambda: boolean_model(0.5, diameter_vox=8, sigma=-0.1), "sigma is -0.1"),
        (lambda: boolean_model(0.5, diameter_vox=stats.norm(2, 3)), "not above 0"),
        (lambda: boolean_model(0.5, diameter_vox=stats.pareto(2.5)), "mean volume is infinite"),
        (lambda: boolean_model(0.5, diameter_vox={"name": "no law"}), "no law"),
        (lambda: gaussian_level_set(0, length_vox=5), "fraction is 0"),
        (lambda: gaussian_level_set(0.5, length_vox=-5), "length_vox is -5"),
        (lambda: gaussian_level_set(0.5, length_vox="long"), "length_vox is 'long'"),
        (lambda: gaussian_level_set(0.5, length_vox=5, correlation="cubic"), "cubic"),
        (lambda: gaussian_level_set(0.5, length_vox=5, anisotropy=(1, 1)), "anisotropy is"),
        (lambda: gaussian_level_set(0.5, length_vox=5).two_point([1, -1]), "distance r"),
        (lambda: gaussian_bands((0.5, 0.6), length_vox=5), "add up to 1.1"),
        (lambda: gaussian_polygons(length_vox=5), "no polygon"),
        (lambda: gaussian_polygons(([(0, 0), (1, 1)], None), length_vox=5), "3 or more"),
        (lambda: gaussian_polygons(([(0, 0), (0, 1), (1, 0)], None), length_vox=5), "no convex polygon"),
        (lambda: gaussian_polygons(([(0, 0)], [(0, 0), (1, 0)]), length_vox=5), "no convex polygon"),
        (lambda: gaussian_polygons(([(0, 0)], [(1, 0)]), length_vox=5), "two directions"),
        (
            lambda: intersection(*[gaussian_level_set(0.5, length_vox=5, anisotropy=(1, 1, 2))] * 2),
            "both sets are anisotropic",
        ),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
