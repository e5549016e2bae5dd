"""Scores of meshes whose distance from the truth is known, and how their faces hang together."""

import numpy as np
import pytest

from evaluate import Mesh, chamfer, hausdorff, minkowski, reconstruct
from evaluate.surfaces import mesh_scores, mesh_topology, mesh_truth

TETRAHEDRON = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def body(shape=(20, 22, 24)):
    labels = np.zeros(shape, np.uint8)
    labels[4:14, 5:17, 6:18] = 1
    return labels


def test_voxels_score_themselves_without_error():
    scores = mesh_scores(reconstruct(body(), "voxel"), body())
    assert (scores.chamfer, scores.hausdorff, scores.hausdorff95) == (0, 0, 0)
    assert scores.volume_ratio == pytest.approx(1)
    assert scores.porosity == pytest.approx(1 - 1440 / 10560)
    assert scores.porosity_error == pytest.approx(0)
    assert scores.topology.is_watertight
    assert scores.unit == "voxel"


@pytest.mark.parametrize("size", [None, (0.3, 0.1, 0.2)])
def test_shifted_body_is_as_far_off_as_it_was_shifted_in_the_unit_of_the_volume(size):
    scale = np.array(size or (1, 1, 1))
    mesh = reconstruct(body(), "voxel", voxel_size_um=size)
    shift = np.array([2.0, 0, 0]) * scale
    scores = mesh_scores(Mesh(mesh.vertices + shift, mesh.faces), body(), voxel_size_um=size)
    assert scores.hausdorff == pytest.approx(2 * scale[0])
    assert 0 < scores.chamfer < scores.hausdorff95 <= scores.hausdorff
    assert scores.volume_ratio == pytest.approx(1)
    assert scores.unit == ("voxel" if size is None else "um")


def test_lost_volume_is_porosity_gained():
    smaller = body()
    smaller[13] = 0
    scores = mesh_scores(reconstruct(smaller, "voxel"), body())
    assert scores.volume_ratio == pytest.approx(0.9)
    assert scores.porosity_error == pytest.approx(144 / 10560)


def test_mesh_of_the_pore_scores_the_same_porosity_as_that_of_the_solid():
    solid = mesh_scores(reconstruct(body(), "smoothed"), body())
    pore = mesh_scores(reconstruct(body(), "smoothed", phase=0), body(), phase=0)
    assert pore.porosity == pytest.approx(solid.porosity, abs=0.03)
    assert np.sign(pore.porosity_error) == np.sign(solid.porosity_error) == 1


def test_true_area_is_without_the_staircase():
    z, y, x = np.indices((50, 50, 50)) - 24.5
    labels = (z**2 + y**2 + x**2 <= 20**2).astype(np.uint8)
    assert mesh_scores(reconstruct(labels, "voxel"), labels).area_ratio == pytest.approx(1.5, abs=0.02)
    assert mesh_scores(reconstruct(labels), labels).area_ratio == pytest.approx(1.09, abs=0.02)
    true = minkowski(labels == 1, boundary="closed").surface
    assert mesh_scores(reconstruct(labels), labels).area_ratio == pytest.approx(reconstruct(labels).area / true)


def test_one_search_gives_the_distances_of_three():
    mesh, truth = reconstruct(body(), "smoothed"), reconstruct(body(), "voxel")
    scores = mesh_scores(mesh, truth, n_points=500, rng=3)
    assert scores.chamfer == chamfer(mesh, truth, n_points=500, rng=3)
    assert scores.hausdorff == hausdorff(mesh, truth, n_points=500, rng=3)
    assert scores.hausdorff95 == hausdorff(mesh, truth, percentile=95, n_points=500, rng=3)
    assert scores.volume_ratio == pytest.approx(mesh.volume / truth.volume)
    assert scores.area_ratio == pytest.approx(mesh.area / truth.area)
    assert scores.porosity is None
    assert scores.porosity_error is None


def test_open_mesh_has_no_volume_but_distances():
    mesh = reconstruct(body(), "voxel")
    scores = mesh_scores(Mesh(mesh.vertices, mesh.faces[1:]), body())
    assert (scores.volume, scores.volume_ratio, scores.porosity, scores.porosity_error) == (None,) * 4
    assert scores.topology.boundary_edges == 3
    assert scores.chamfer < 0.01


def test_topology_of_a_tetrahedron_whole_open_and_doubled():
    whole = mesh_topology(Mesh(TETRAHEDRON, FACES))
    assert whole == mesh_topology(Mesh(TETRAHEDRON, FACES[:, ::-1]))
    assert (whole.is_watertight, whole.is_closed, whole.components, whole.euler_number, whole.genus) == (
        True, True, 1, 2, 0,
    )  # fmt: skip
    cut = mesh_topology(Mesh(TETRAHEDRON, FACES[1:]))
    assert (cut.is_watertight, cut.is_closed, cut.boundary_edges, cut.euler_number, cut.genus) == (
        False, False, 3, 1, None,
    )  # fmt: skip
    # Two tetrahedra on either side of an edge: closed, but four faces there.
    points = np.vstack([TETRAHEDRON, [[0, -1.0, -1], [0, -1, 0]]])
    both = mesh_topology(Mesh(points, np.vstack([FACES, [[0, 1, 4], [0, 4, 5], [0, 5, 1], [1, 5, 4]]])))
    assert (both.is_watertight, both.is_closed, both.non_manifold_edges, both.genus) == (False, True, 1, None)


def test_faces_that_disagree_about_outward_enclose_nothing():
    turned = FACES.copy()
    turned[0] = turned[0, ::-1]
    topology = mesh_topology(Mesh(TETRAHEDRON, turned))
    assert topology.is_watertight
    assert not topology.is_closed


def test_parts_and_handles_are_counted_and_stray_vertices_are_not():
    z, y, x = np.indices((14, 30, 60)) - np.reshape((6.5, 14.5, 14.5), (3, 1, 1, 1))
    rings = ((np.hypot(y, x) - 9) ** 2 + z**2 <= 16) | ((np.hypot(y, x - 30) - 9) ** 2 + z**2 <= 16)
    mesh = reconstruct(rings)
    for stray in (mesh, Mesh(np.vstack([mesh.vertices, [[0, 0, 0]]]), mesh.faces)):
        topology = mesh_topology(stray)
        assert (topology.components, topology.genus, topology.euler_number) == (2, 2, 0)


@pytest.mark.parametrize("phase", [None, 0, 1])
def test_prepared_truth_gives_the_same_scores(phase):
    mesh, size = reconstruct(body(), phase=phase, voxel_size_um=(0.3, 0.1, 0.2)), (0.3, 0.1, 0.2)
    prepared = mesh_truth(body(), phase=phase, voxel_size_um=size)
    expected = mesh_scores(mesh, body(), phase=phase, voxel_size_um=size, n_points=300)
    # Searched twice: what is kept of the first search does not disturb the second.
    for _ in range(2):
        assert mesh_scores(mesh, prepared, n_points=300) == expected
    with pytest.raises(ValueError, match="has been prepared with its phase and voxel size; leave them out"):
        mesh_scores(mesh, prepared, phase=1)


@pytest.mark.parametrize(
    ("mesh", "truth", "options", "message"),
    [
        (Mesh(TETRAHEDRON, FACES), np.zeros((4, 4, 4), np.uint8), {}, "nothing but pore"),
        (Mesh(TETRAHEDRON, FACES), np.ones((4, 4, 4), np.uint8), {"phase": 2}, "no voxel of phase 2"),
        (Mesh(TETRAHEDRON, FACES), Mesh(TETRAHEDRON, FACES), {"phase": 1}, "neither phase nor voxel size"),
        (Mesh(TETRAHEDRON, FACES), Mesh(TETRAHEDRON, FACES[1:]), {}, "encloses no volume"),
        (Mesh(TETRAHEDRON, FACES), Mesh(TETRAHEDRON, FACES[:, ::-1]), {}, "inward"),
        (Mesh(TETRAHEDRON, np.zeros((0, 3), int)), np.ones((4, 4, 4), np.uint8), {}, "no faces"),
        (Mesh(TETRAHEDRON, FACES), np.ones((4, 4, 4), np.uint8), {"n_points": 0}, "n_points"),
    ],
)
def test_what_cannot_be_scored_is_refused(mesh, truth, options, message):
    with pytest.raises(ValueError, match=message):
        mesh_scores(mesh, truth, **options)
