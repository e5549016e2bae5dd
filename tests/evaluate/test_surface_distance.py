"""Chamfer and Hausdorff distances of surfaces a known distance apart."""

import numpy as np
import pytest

from evaluate import Mesh, chamfer, hausdorff, reconstruct
from evaluate.surfaces.triangle_tree import TriangleTree

SQUARE = np.array([[0, 0, 0], [0, 10, 0], [0, 10, 10], [0, 0, 10]], float)


def plane_points(z, step=1.0):
    y, x = np.mgrid[0:10:step, 0:10:step]
    return np.stack([np.full(y.size, z), y.ravel(), x.ravel()], axis=1)


def plane_mesh(z):
    return Mesh(SQUARE + np.array([z, 0, 0]), [[0, 1, 2], [0, 2, 3]])


def sphere_points(radius, n=4000):
    vectors = np.random.default_rng(0).normal(size=(n, 3))
    return radius * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("distance", [0.0, 0.3, 7.5])
def test_parallel_planes_are_exactly_their_distance_apart(distance):
    pairs = [
        (plane_points(0), plane_points(distance)),
        (plane_mesh(0), plane_mesh(distance)),
        (plane_mesh(0), plane_points(distance, step=0.05)),
    ]
    for a, b in pairs[:2]:
        assert chamfer(a, b, n_points=500) == pytest.approx(distance, abs=1e-12)
        assert hausdorff(a, b, n_points=500) == pytest.approx(distance, abs=1e-12)
    # Points 0.05 apart stand in for the surface: no farther than half a cell's diagonal from any point of it.
    assert chamfer(*pairs[2], n_points=500) == pytest.approx(distance, abs=0.04)


def test_chamfer_is_the_mean_of_the_two_directed_means():
    a = np.array([[0.0, 0, 0]])
    b = np.array([[0.0, 0, 1], [0.0, 0, 5]])
    assert chamfer(a, b) == pytest.approx((1 + (1 + 5) / 2) / 2)
    assert hausdorff(a, b) == 5
    assert hausdorff(a, b, percentile=50) == pytest.approx(3)


def test_concentric_spheres_are_the_difference_of_their_radii_apart():
    inner = reconstruct((np.indices((41, 41, 41)) - 20.0).__pow__(2).sum(axis=0) <= 15**2)
    points = sphere_points(18) + 20
    assert chamfer(inner, points, n_points=3000) == pytest.approx(3, abs=0.2)
    assert hausdorff(inner, points, n_points=3000) == pytest.approx(3, abs=1.0)


def test_mesh_is_at_no_distance_from_itself_and_the_shift_bounds_every_distance():
    mesh = reconstruct((np.indices((21, 21, 21)) - 10.0).__pow__(2).sum(axis=0) <= 7**2)
    shifted = Mesh(mesh.vertices + np.array([0.5, 0, 0]), mesh.faces)
    assert chamfer(mesh, mesh, n_points=2000) == pytest.approx(0, abs=1e-12)
    assert 0.1 < chamfer(mesh, shifted, n_points=2000) < 0.5
    assert hausdorff(mesh, shifted, n_points=2000) == pytest.approx(0.5, abs=1e-9)


def test_distances_are_symmetric_repeatable_and_scale_with_the_units():
    a = reconstruct((np.indices((21, 21, 21)) - 10.0).__pow__(2).sum(axis=0) <= 6**2)
    b = reconstruct((np.indices((21, 21, 21)) - 10.0).__pow__(2).sum(axis=0) <= 8**2)
    for distance in (chamfer, hausdorff):
        first = distance(a, b, n_points=1000, rng=5)
        assert distance(b, a, n_points=1000, rng=5) == first
        assert distance(a, b, n_points=1000, rng=np.random.default_rng(5)) == first
        in_microns = (Mesh(m.vertices * 0.01, m.faces) for m in (a, b))
        assert distance(*in_microns, n_points=1000, rng=5) == pytest.approx(first * 0.01)
    assert chamfer(a, b, n_points=1000, rng=5) != chamfer(a, b, n_points=1000, rng=6)


def test_hausdorff_finds_the_one_far_corner():
    spike = Mesh(np.vstack([SQUARE, [[4.0, 5, 5]]]), [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    assert hausdorff(spike, plane_mesh(0), n_points=100) == pytest.approx(4)
    assert hausdorff(spike, plane_mesh(0), percentile=95, n_points=2000) < 3.6


def test_sampling_follows_the_area_not_the_number_of_faces():
    # The strip is cut into 200 faces, the square opposite is two: both have half of the area.
    fine = [[0, 10 * i / 100, x] for i in range(101) for x in (0.0, 10.0)]
    strip = [f for i in range(100) for f in ([2 * i, 2 * i + 1, 2 * i + 2], [2 * i + 1, 2 * i + 3, 2 * i + 2])]
    both = Mesh(np.vstack([fine, SQUARE + np.array([6.0, 0, 0])]), [*strip, [202, 203, 204], [202, 204, 205]])
    to_plane = 2 * chamfer(both, plane_mesh(0), n_points=4000)  # the way back is 0
    assert to_plane == pytest.approx(3, abs=0.2)


def dense_distance(point, corners):
    """Distance to a triangle, from below by no more than a search over 20 000 of its points allows."""
    s, t = np.mgrid[0:1:201j, 0:1:201j]
    s, t = s[s + t <= 1], t[s + t <= 1]
    a, b, c = corners
    return np.linalg.norm(a + s[:, None] * (b - a) + t[:, None] * (c - a) - point, axis=1).min()


def test_distance_to_a_triangle_equals_a_dense_search():
    rng = np.random.default_rng(0)
    triangles, points = rng.normal(size=(20, 3, 3)), 2 * rng.normal(size=(20, 3))
    for point, corners in zip(points, triangles, strict=True):
        assert TriangleTree.build(corners[None]).distances(point[None])[0] == pytest.approx(
            dense_distance(point, corners), abs=0.02
        )


@pytest.mark.parametrize("count", [1, 2, 4, 5, 257, 1000])
def test_tree_finds_the_nearest_of_any_number_of_triangles_of_any_size(count):
    """Sizes spread over four orders: the nearest centre is seldom that of the nearest triangle."""
    rng = np.random.default_rng(count)
    sizes = 10 ** rng.uniform(-3, 1, (count, 1, 1))
    triangles = 5 * rng.normal(size=(count, 1, 3)) + sizes * rng.normal(size=(count, 3, 3))
    points = 8 * rng.normal(size=(50, 3))
    one_by_one = np.min([TriangleTree.build(triangle[None]).distances(points) for triangle in triangles], axis=0)
    np.testing.assert_allclose(TriangleTree.build(triangles).distances(points), one_by_one, rtol=1e-12)


def test_point_sets_of_any_kind_are_compared_as_a_search_over_all_pairs_does():
    rng = np.random.default_rng(4)
    sets = [rng.normal(size=(300, 3)), np.ones((50, 3)), 10 ** rng.uniform(-9, 3, (200, 3)), np.array([[7.0, -2, 1]])]
    for a in sets:
        for b in sets:
            apart = np.linalg.norm(a[:, None] - b[None], axis=2)
            there, back = apart.min(axis=1), apart.min(axis=0)
            assert chamfer(a, b) == pytest.approx((there.mean() + back.mean()) / 2)
            assert hausdorff(a, b) == pytest.approx(max(there.max(), back.max()))


def test_distances_do_not_depend_on_the_number_of_threads():
    numba = pytest.importorskip("numba")
    rng = np.random.default_rng(3)
    triangles, points = rng.normal(size=(300, 3, 3)), rng.normal(size=(1000, 3))
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = TriangleTree.build(triangles).distances(points)
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(TriangleTree.build(triangles).distances(points), alone)


def test_triangles_shrunk_to_a_segment_or_a_point_are_still_there():
    segment, point = np.array([[0.0, 0, 0], [0, 0, 4], [0, 0, 2]]), np.ones((3, 3))
    assert TriangleTree.build(segment[None]).distances(np.array([[3.0, 0, 3]]))[0] == pytest.approx(3)
    assert TriangleTree.build(point[None]).distances(np.array([[1.0, 1, 6]]))[0] == pytest.approx(5)


def test_needle_thin_meshes_are_measured_in_bounded_work():
    needle = Mesh([[0, 0, 0], [0, 0, 1000], [0, 1e-9, 500]], [[0, 1, 2]])
    assert chamfer(needle, Mesh(needle.vertices + np.array([3, 0, 0]), needle.faces), n_points=200) == pytest.approx(3)


def test_degenerate_faces_do_not_disturb():
    mesh = Mesh(SQUARE, [[0, 1, 2], [0, 2, 3], [1, 1, 2]])
    assert chamfer(mesh, plane_mesh(2), n_points=300) == pytest.approx(2)


@pytest.mark.parametrize(
    ("a", "message"),
    [
        (np.zeros((0, 3)), "no points"),
        (np.zeros((4, 2)), "shape"),
        (np.zeros(3), "shape"),
        (np.full((4, 3), np.nan), "NaN"),
        (np.full((4, 3), np.inf), "NaN"),
        (Mesh(np.zeros((3, 3)), [[0, 1, 2]]), "no area"),
        (Mesh(np.zeros((3, 3)), np.zeros((0, 3), int)), "no area"),
        (Mesh(1e200 * SQUARE, [[0, 1, 2]]), "no area that can be computed"),
        ("a sphere", "points, real numbers, are accepted"),
        (np.ones((4, 3)) * 1j, "real numbers"),
        ([[0, 0, 0], [1, 1]], "real numbers"),
    ],
)
@pytest.mark.parametrize("distance", [chamfer, hausdorff])
def test_what_is_neither_mesh_nor_points_is_refused(distance, a, message):
    with pytest.raises(ValueError, match=message):
        distance(a, plane_points(0))
    with pytest.raises(ValueError, match=message):
        distance(plane_points(0), a)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percentile": 0}, "percentile is 0; it must be above 0 and at most 100"),
        ({"percentile": 101}, "percentile is 101"),
        ({"percentile": float("nan")}, "percentile is nan"),
        ({"percentile": "95"}, "percentile is '95'"),
        ({"n_points": 0}, "n_points is 0; it must be at least 1"),
        ({"rng": -1}, "rng is -1; give a numpy.random.Generator or a whole number"),
        ({"rng": "seed"}, "rng is 'seed'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        hausdorff(plane_mesh(0), plane_mesh(1), **settings)


def test_points_are_drawn_over_the_whole_surface_not_taken_in_the_order_of_its_vertices():
    """The published way compares the first vertices of each mesh, which all lie at one end."""
    body = np.zeros((60, 12, 12), np.uint8)
    body[5:55, 3:9, 3:9] = 1
    longer = body.copy()
    longer[55:58, 3:9, 3:9] = 1
    a, b = reconstruct(body, "voxel"), reconstruct(longer, "voxel")
    # Of the longer bar's surface, 3 · 24 of its sides lie 0 to 3 beyond the end (1.5 on average, or less to the rim),
    # and the 36 of its end face 3 beyond.
    assert hausdorff(a, b) == pytest.approx(3)
    there = (36 * 3 + 72 * 1.5) / (2 * 36 + 53 * 24)
    # The shorter bar's end face lies inside the longer bar: 0 to 3 from its sides, 1 on average (a pyramid).
    back = 36 * 1 / (2 * 36 + 50 * 24)
    assert chamfer(a, b, n_points=40_000) == pytest.approx((there + back) / 2, rel=0.05)
    first = [mesh.vertices[:100] for mesh in (a, b)]
    assert chamfer(*first) == 0
