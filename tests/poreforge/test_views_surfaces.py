import numpy as np
import pytest
import trimesh

from poreforge.views import phase_scene, property_scene
from poreforge.views.coarsening import block_edges, coarse_shape, coarsen_field, coarsen_labels
from poreforge.views.nets import OUTSIDE, surface_net


def ball(n=40, radius=13.0, centre=None):
    z, y, x = np.indices((n, n, n)) + 0.5
    c = centre or (n / 2,) * 3
    return ((z - c[0]) ** 2 + (y - c[1]) ** 2 + (x - c[2]) ** 2 < radius**2).astype(np.uint8)


def solid(surface):
    """The surface without the doubled vertices of its creases."""
    return trimesh.Trimesh(surface.points, surface.faces, process=True)


# Fewer voxels


def test_blocks_take_the_label_that_most_voxels_have_and_never_a_new_one():
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 3, 7], np.uint8), size=(17, 12, 9))
    shape = (5, 4, 3)
    found = coarsen_labels(labels, shape)
    edges = [block_edges(n, m) for n, m in zip(labels.shape, shape, strict=True)]
    for index in np.ndindex(*shape):
        block = labels[tuple(slice(e[i], e[i + 1]) for e, i in zip(edges, index, strict=True))]
        values, counts = np.unique(block, return_counts=True)
        assert counts[list(values).index(found[index])] == counts.max()


def test_blocks_of_equal_shares_favour_no_phase():
    labels = np.random.default_rng(3).integers(0, 2, (80, 80, 80)).astype(np.uint8)
    share = coarsen_labels(labels, (40, 40, 40)).mean()
    # 64 000 independent blocks: four standard errors.
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(64_000)


def test_mean_of_a_block_counts_the_voxels_of_the_mask_alone():
    field = np.arange(64, dtype=float).reshape(4, 4, 4)
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    found = coarsen_field(field, mask, (2, 2, 2))
    assert found[0, 0, 0] == (0 + 21) / 2
    assert np.isnan(found[1, 1, 1])


@pytest.mark.parametrize(("shape", "proportions"), [((400, 400, 400), (1, 1, 1)), ((50, 900, 900), (8, 1, 1))])
def test_coarse_volume_keeps_within_its_bound_with_nearly_cubic_blocks(shape, proportions):
    most = 100_000
    found = coarse_shape(shape, most_voxels=most, proportions=proportions)
    assert 0.7 * most < np.prod(found) <= most
    edges = [n * p / m for n, p, m in zip(shape, proportions, found, strict=True)]
    assert max(edges) < 1.1 * min(edges) or found[0] == shape[0]


def test_small_volume_is_drawn_voxel_by_voxel():
    assert coarse_shape((3, 4, 5), most_voxels=60) == (3, 4, 5)


# Surfaces


def test_surface_of_a_ball_has_its_volume_and_area():
    mask = ball(radius=15.0)
    net = surface_net(mask)
    mesh = trimesh.Trimesh(net.points[:, ::-1], net.faces_of(1), process=False)
    assert mesh.is_watertight
    # The smoothing keeps what was counted; the digital ball itself is within a per cent of the true one.
    assert mesh.volume == pytest.approx(mask.sum(), rel=0.005)
    assert mesh.area == pytest.approx(4 * np.pi * 15**2, rel=0.03)


def test_surfaces_of_all_phases_fill_the_box_and_share_their_borders():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (8, 7, 6)).astype(np.uint8)
    net = surface_net(labels)
    volumes = [trimesh.Trimesh(net.points[:, ::-1], net.faces_of(k), process=False).volume for k in range(3)]
    assert min(volumes) > 0
    assert sum(volumes) == pytest.approx(labels.size, rel=1e-5)


def test_border_and_cut_stay_flat():
    labels = ball(24, 16.0)
    labels[12:, :12, 12:] = OUTSIDE
    net = surface_net(labels)
    at_cut = (net.below == 1) & (net.above == OUTSIDE)
    corners = net.points[net.quads[at_cut]]
    assert at_cut.sum() > 100
    assert np.ptp(corners, axis=1).min(axis=1).max() == 0


def test_vertices_stay_within_half_a_voxel_of_where_the_labels_change():
    labels = np.random.default_rng(2).integers(0, 2, (6, 6, 6)).astype(np.uint8)
    net = surface_net(labels)
    assert np.abs(net.points - np.round(net.points)).max() < 0.5


def test_anisotropic_voxels_stretch_the_scene_to_its_true_size():
    scene = phase_scene(ball(30, 10.0), voxel_size_um=(0.4, 0.2, 0.1), cut="none")
    assert scene.size == pytest.approx((3.0, 6.0, 12.0))
    assert scene.unit == "µm"
    mesh = solid(scene.surfaces[0])
    assert mesh.extents == pytest.approx((2.0, 4.0, 8.0), rel=0.02)
    assert mesh.volume == pytest.approx(ball(30, 10.0).sum() * 0.008, rel=0.01)


def test_normals_point_out_and_are_exact_on_flat_sides():
    labels = np.zeros((10, 12, 14), np.uint8)
    labels[2:8, 3:9, 4:10] = 1
    surface = phase_scene(np.ones((6, 7, 8), np.uint8), cut="none", opacity={1: 1.0}).surfaces[0]
    across = np.abs(surface.normals).max(axis=1)
    np.testing.assert_allclose(across, 1, atol=1e-6)
    outward = np.einsum("ij,ij->i", surface.normals, surface.points - np.array([4, 3.5, 3]))
    assert outward.min() > 0


def test_drawing_coarsely_keeps_the_box_and_says_so():
    scene = phase_scene(ball(40), voxel_size_um=(1, 1, 1), most_voxels=20**3, cut="none")
    assert scene.voxels_merged
    assert scene.size == pytest.approx((40, 40, 40))
    assert solid(scene.surfaces[0]).volume == pytest.approx(ball(40).sum(), rel=0.03)


def test_corner_next_to_the_eye_is_taken_out():
    scene = phase_scene(np.ones((10, 10, 10), np.uint8), opacity={1: 1.0})
    assert solid(scene.surfaces[0]).volume == pytest.approx(875, rel=1e-4)
    x, y, z = scene.surfaces[0].points.T
    assert not np.any((x > 5.01) & (y < 4.99) & (z > 5.01))


def test_simplified_scene_keeps_to_its_triangles_and_nearly_its_volume():
    pytest.importorskip("pyvista")
    scene = phase_scene(ball(40), cut="none", most_triangles=6000)
    assert not scene.voxels_merged
    assert sum(len(surface.faces) for surface in scene.surfaces) <= 6000
    assert solid(scene.surfaces[0]).volume == pytest.approx(ball(40).sum(), rel=0.005)


def test_scene_of_few_triangles_is_made_from_fewer_voxels():
    pytest.importorskip("pyvista")
    scene = phase_scene(ball(40), cut="none", most_triangles=1000)
    assert scene.voxels_merged
    assert sum(len(surface.faces) for surface in scene.surfaces) <= 1000
    # The border of the ball is known to a tenth of a block: 0.13 of 13 voxels in the radius.
    assert solid(scene.surfaces[0]).volume == pytest.approx(ball(40).sum(), rel=0.03)


def test_narrow_places_are_darker_than_open_ones():
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[:12] = 1
    labels[12:, 10:14] = labels[12:, 16:20] = 1
    surface = phase_scene(labels, cut="none").surfaces[0]
    x, y, z = surface.points.T
    # Away from the border, where the block ends and with it what could stand in the light.
    floor = (np.abs(z - 12) < 0.6) & (np.abs(x - 15) < 3)
    gap, open_floor = surface.shade[floor & (np.abs(y - 15) < 0.6)], surface.shade[floor & (np.abs(y - 25) < 1)]
    assert gap.max() < 0.8 * open_floor.min()


# Properties


def test_objects_take_the_colours_of_their_own_values():
    objects = np.zeros((12, 12, 30), np.int32)
    objects[3:9, 3:9, 3:9], objects[3:9, 3:9, 12:18], objects[3:9, 3:9, 21:27] = 7, 2, 5
    values = np.array([0, 10.0, 0, 0, 15.0, 0, 30.0])
    scene = property_scene(objects, values, name="volume", unit="µm³", cut="none")
    surface = scene.surfaces[0]
    assert (scene.bar.low, scene.bar.high, scene.bar.title) == (10, 30, "volume / µm³")
    for low, high, level in ((3, 9, 1.0), (12, 18, 0.0), (21, 27, 0.25)):
        here = (surface.points[:, 0] > low - 1) & (surface.points[:, 0] < high + 1)
        np.testing.assert_allclose(surface.values[here], level, atol=1e-6)


def test_field_is_shown_where_it_is_on_the_section():
    mask = np.ones((16, 16, 16), bool)
    field = np.broadcast_to(np.arange(16.0), mask.shape)
    surface = property_scene(mask, field, name="d", cut="corner", limits=(0, 15)).surfaces[0]
    section = (np.abs(surface.points[:, 2] - 8) < 1e-6) & (surface.points[:, 1] < 7) & (surface.points[:, 0] > 9)
    assert section.sum() > 10
    np.testing.assert_allclose(surface.values[section] * 15, surface.points[section, 0], atol=1.01)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"labels": np.full((3, 3, 3), 99)}, "labels go up to 99"),
        ({"labels": np.random.default_rng(0).random((3, 3, 3))}, "fractional"),
        ({"labels": np.ones((3, 3))}, "3-D"),
        ({"labels": np.ones((3, 3, 3)), "phases": ("pore",)}, "phases names 1 labels"),
        ({"labels": np.ones((3, 3, 3)), "colours": ("#fff", "#000000")}, "#rrggbb"),
        ({"labels": np.ones((3, 3, 3)), "colours": ("#ffffff",)}, "1 colours"),
        ({"labels": np.ones((3, 3, 3)), "opacity": {1: 2.0}}, "opacities from 0 to 1"),
        ({"labels": np.ones((3, 3, 3)), "opacity": {4: 1.0}}, "labels 0 to 1"),
        ({"labels": np.ones((3, 3, 3)), "cut": "half"}, "cut is 'half'"),
        ({"labels": np.ones((3, 3, 3)), "most_voxels": 0}, "most_voxels"),
        ({"labels": np.ones((3, 3, 3)), "voxel_size_um": (1, 0, 1)}, "positive"),
    ],
)
def test_bad_scene_is_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        phase_scene(arguments.pop("labels"), **arguments)


@pytest.mark.parametrize(
    ("objects", "values", "more", "sentence"),
    [
        (np.zeros((3, 3, 3), int), [1.0], {}, "no object"),
        (np.zeros((3, 3, 3)), [1.0], {}, "whole numbers"),
        (-np.ones((3, 3, 3), int), [1.0], {}, "go down to -1"),
        (np.full((3, 3, 3), 2), [1.0], {}, "each of the 2 objects"),
        (np.ones((3, 3, 3), bool), [np.nan], {}, "NaN"),
        (np.ones((3, 3, 3), bool), np.ones((3, 3, 4)), {}, "of one volume"),
        (np.ones((3, 3, 3), bool), [1.0], {"limits": (2, 1)}, "smaller one first"),
        (np.ones((3, 3, 3), bool), [1.0], {"context": np.ones((2, 3, 3))}, "of one volume"),
    ],
)
def test_bad_property_is_refused_in_one_sentence(objects, values, more, sentence):
    with pytest.raises(ValueError, match=sentence):
        property_scene(objects, values, name="n", **more)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 9), (2, 2, 2), (3, 3, 300)])
@pytest.mark.parametrize("cut", ["corner", "none"])
def test_volume_of_any_proportion_has_a_scene_with_something_to_see(shape, cut):
    scene = phase_scene(np.ones(shape, np.uint8), cut=cut, most_triangles=1000)
    assert scene.size == pytest.approx(shape[::-1])
    volume = np.prod(shape)
    taken = np.prod([n // 2 for n in shape]) if cut == "corner" else 0
    assert solid(scene.surfaces[0]).volume == pytest.approx(volume - taken, rel=1e-3)


def test_scene_of_pores_alone_is_empty():
    assert phase_scene(np.zeros((4, 4, 4), np.uint8)).surfaces == ()
