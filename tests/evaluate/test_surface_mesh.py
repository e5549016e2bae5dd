"""Meshes of bodies whose volume, area, place and topology are known."""

import numpy as np
import pytest

from evaluate import Mesh, reconstruct


def ball(radius, shape, centre):
    return sum((i - c) ** 2 for i, c in zip(np.indices(shape), centre, strict=True)) <= radius**2


def euler_number(mesh):
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    return len(np.unique(mesh.faces)) - len(np.unique(edges, axis=0)) + len(mesh.faces)


def test_ball_is_closed_outward_and_has_its_volume_and_too_much_area():
    mesh = reconstruct(ball(20, (46, 47, 48), (22, 23, 24)))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.01)
    # The staircase of a binary volume: always more area than the sphere, by some 9 %.
    assert 1.05 < mesh.area / (4 * np.pi * 20**2) < 1.12
    assert euler_number(mesh) == 2


def test_voxel_centres_are_at_whole_coordinates_in_z_y_x_order():
    mesh = reconstruct(ball(6, (20, 30, 40), (8, 15, 27)))
    np.testing.assert_allclose((mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2, (8, 15, 27), atol=1e-9)
    np.testing.assert_allclose(mesh.vertices.mean(axis=0), (8, 15, 27), atol=1e-6)


def test_surface_lies_halfway_between_inside_and_outside():
    mesh = reconstruct(ball(9, (24, 24, 24), (12, 12, 12)))
    distances = np.linalg.norm(mesh.vertices - 12, axis=1)
    assert 8.3 < distances.min() < distances.max() < 9.8  # a mesh at level 0 would reach 10
    assert np.all((mesh.vertices % 1 == 0.5).sum(axis=1) == 1)


def test_voxel_size_scales_each_axis():
    mask = ball(6, (16, 17, 18), (8, 8, 8))
    plain, scaled = reconstruct(mask), reconstruct(mask, voxel_size_um=(3, 1, 0.5))
    np.testing.assert_allclose(scaled.vertices, plain.vertices * (3, 1, 0.5))
    assert scaled.volume == pytest.approx(1.5 * plain.volume)


def test_torus_has_euler_number_zero():
    z, y, x = np.indices((20, 44, 44)) - np.reshape((9.5, 21.5, 21.5), (3, 1, 1, 1))
    mesh = reconstruct((np.hypot(y, x) - 13) ** 2 + z**2 <= 6**2)
    assert euler_number(mesh) == 0
    assert mesh.volume == pytest.approx(2 * np.pi**2 * 13 * 6**2, rel=0.02)


def test_object_filling_the_volume_is_a_closed_box():
    mesh = reconstruct(np.ones((10, 12, 14), bool))
    assert mesh.is_watertight
    np.testing.assert_array_equal(mesh.vertices.min(axis=0), [-0.5, -0.5, -0.5])
    np.testing.assert_array_equal(mesh.vertices.max(axis=0), [9.5, 11.5, 13.5])
    assert 0.95 * 1680 < mesh.volume < 1680  # edges and corners are cut off
    assert 0.9 * 856 < mesh.area < 856


def test_solid_is_the_default_and_any_phase_can_be_named():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[2:5], labels[7:9] = 1, 2
    solid, one, two = reconstruct(labels), reconstruct(labels, phase=1), reconstruct(labels, phase=2)
    assert solid.volume == pytest.approx(one.volume + two.volume)
    assert reconstruct(labels == 2).volume == pytest.approx(two.volume)
    assert reconstruct(labels, phase=0).volume == pytest.approx(reconstruct(labels == 0).volume)


def test_voxel_size_of_a_volume_is_used():
    class Holder:
        voxel_size_um = (2.0, 2.0, 2.0)

        def __array__(self, dtype=None, copy=None):
            return ball(4, (12, 12, 12), (6, 6, 6)).astype(np.uint8)

    assert reconstruct(Holder()).volume == pytest.approx(8 * reconstruct(np.asarray(Holder())).volume)


@pytest.mark.parametrize(
    ("volume", "arguments", "message"),
    [
        (
            np.ones((4, 4, 4), np.uint8),
            {"method": "poisson"},
            "available; choose from: adaptive_threshold",
        ),
        (np.zeros((4, 4, 4), np.uint8), {}, "nothing but pore"),
        (np.ones((4, 4, 4), np.uint8), {"phase": 3}, "no voxel of phase 3"),
        (np.full((4, 4, 4), 0.4, np.float32), {}, "segment"),
        (np.full((4, 4, 4), np.nan), {}, "NaN"),
        (np.zeros((4, 4), np.uint8), {}, "3-D"),
        (np.zeros((0, 4, 4), np.uint8), {}, "empty"),
        (np.ones((4, 4, 4), np.uint8), {"phase": -1}, "phase"),
        (np.ones((4, 4, 4), np.uint8), {"voxel_size_um": (1, -1, 1)}, "positive"),
    ],
)
def test_what_has_no_surface_is_refused(volume, arguments, message):
    with pytest.raises(ValueError, match=message):
        reconstruct(volume, **arguments)


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.zeros((3, 2)), [[0, 1, 2]], "vertices"),
        (np.full((3, 3), np.nan), [[0, 1, 2]], "NaN"),
        (np.zeros((3, 3)), [[0, 1, 3]], "0 to 3"),
        (np.zeros((3, 3)), [[0.0, 1.0, 2.0]], "integers"),
    ],
)
def test_mesh_that_makes_no_sense_is_refused(vertices, faces, message):
    with pytest.raises(ValueError, match=message):
        Mesh(vertices, faces)


def test_area_and_volume_are_those_of_the_body_wherever_it_lies_and_turn_with_its_faces():
    tetrahedron = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    for shift in (0, 1e6):
        mesh = Mesh(tetrahedron + shift, faces)
        assert mesh.volume == pytest.approx(1 / 6)
        assert mesh.area == pytest.approx(3 / 2 + np.sqrt(3) / 2)
        # A closed surface faces every way alike.
        np.testing.assert_allclose(mesh.area_vectors.sum(axis=0), 0, atol=1e-9)
        assert Mesh(mesh.vertices, faces[:, ::-1]).volume == pytest.approx(-1 / 6)
    assert (Mesh(tetrahedron, faces[:0]).volume, Mesh(tetrahedron, faces[:0]).area) == (0, 0)
