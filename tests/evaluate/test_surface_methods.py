"""Each reconstruction method on bodies whose volume, area, place and topology are known."""

import numpy as np
import pytest

from evaluate import minkowski, reconstruct
from evaluate.surfaces import METHODS, mesh_topology

EXACT = ("marching_cubes", "hole_filled", "voxel", "dual_contouring", "hole_filled_by_slice")
SPACINGS = [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (0.3, 0.1, 0.2)]


def offsets(shape, spacing=(1.0, 1.0, 1.0)):
    """Positions of the voxels' centres from a point near the middle, shape (3, Z, Y, X)."""
    middle = (np.reshape(shape, (3, 1, 1, 1)) - 1) / 2
    return (np.indices(shape) - middle) * np.reshape(spacing, (3, 1, 1, 1))


def ball(radius, spacing=(1.0, 1.0, 1.0)):
    shape = [2 * int(radius / edge) + 9 for edge in spacing]
    return (offsets(shape, spacing) ** 2).sum(axis=0) <= radius**2


def torus(axis=0):
    z, y, x = offsets((20, 44, 44))
    return np.moveaxis((np.hypot(y, x) - 13) ** 2 + z**2 <= 6**2, 0, axis)


def cube(edge=20):
    return np.pad(np.ones((edge,) * 3, bool), 5)


def volume_after_smoothing(radius, sigma):
    """Volume of a ball whose surface a Gaussian filter has moved inward by σ² × 1/R, to first order."""
    return 4 / 3 * np.pi * (radius - sigma**2 / radius) ** 3


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("method", METHODS)
def test_ball_is_closed_outward_in_its_place_and_of_one_piece(method, spacing):
    radius = 16 * max(spacing)
    mask = ball(radius, spacing)
    mesh = reconstruct(mask, method, voxel_size_um=spacing)
    topology = mesh_topology(mesh)
    assert topology.is_watertight
    assert (topology.components, topology.genus) == (1, 0)
    assert mesh.volume > 0
    middle = (np.array(mask.shape) - 1) / 2 * spacing
    np.testing.assert_allclose((mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2, middle, atol=1e-3 * radius)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("method", EXACT)
def test_methods_that_follow_the_voxels_keep_the_volume_of_a_ball(method, spacing):
    radius = 16 * max(spacing)
    mask = ball(radius, spacing)
    mesh = reconstruct(mask, method, voxel_size_um=spacing)
    # Corners cut off and corners filled: less than a hundredth at sixteen voxels.
    assert mesh.volume == pytest.approx(mask.sum() * np.prod(spacing), rel=0.01)
    # A staircase never has less area than the ball; that of faces has 3/2 of it, averaged over all directions.
    ratio = mesh.area / (4 * np.pi * radius**2)
    assert ratio == pytest.approx(1.5, abs=0.03) if method == "voxel" else 1 < ratio < 1.2


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_smoothing_shrinks_a_ball_as_theory_says_along_each_axis(sigma, spacing):
    edge = np.prod(spacing) ** (1 / 3)
    radius = 18 * max(spacing)
    mesh = reconstruct(ball(radius, spacing), "smoothed", voxel_size_um=spacing, sigma_vox=sigma)
    assert mesh.volume == pytest.approx(volume_after_smoothing(radius, sigma * edge), rel=0.02)
    # Equal in all directions, to a part of the longest edge: the filter has one length and not one number of voxels.
    assert np.ptp(mesh.vertices, axis=0) / 2 == pytest.approx(
        radius - (sigma * edge) ** 2 / radius, abs=max(spacing) / 2
    )


def test_paper_s_parameters_are_the_defaults():
    mask = ball(14.0)
    pairs = [
        ("smoothed", {"sigma_vox": 2.0}),
        ("multiscale", {"sigmas_vox": (0.5, 2.0, 4.0), "weights": (0.5, 0.3, 0.2)}),
        ("adaptive_threshold", {"sigma_vox": 1.5}),
    ]
    for method, options in pairs:
        np.testing.assert_array_equal(reconstruct(mask, method).vertices, reconstruct(mask, method, **options).vertices)
        changed = {name: np.multiply(value, 0.8) for name, value in options.items() if name != "weights"}
        assert reconstruct(mask, method, **changed).volume != reconstruct(mask, method).volume


def test_multiscale_lies_between_its_finest_and_its_coarsest_filter():
    mask = ball(16.0)
    fine, coarse = (reconstruct(mask, "smoothed", sigma_vox=sigma).volume for sigma in (0.5, 4.0))
    mixed = reconstruct(mask, "multiscale").volume
    assert coarse < mixed < fine
    assert mixed == pytest.approx(4 / 3 * np.pi * 16**3, rel=0.03)
    assert reconstruct(mask, "multiscale", sigmas_vox=[2.0], weights=[7.0]).volume == pytest.approx(
        reconstruct(mask, "smoothed").volume, rel=1e-6
    )


@pytest.mark.parametrize("method", [m for m in EXACT if m != "hole_filled_by_slice"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_torus_keeps_its_hole_whichever_way_it_lies(method, axis):
    mesh = reconstruct(torus(axis), method)
    assert mesh_topology(mesh).genus == 1
    assert mesh.volume == pytest.approx(2 * np.pi**2 * 13 * 6**2, rel=0.02)


def test_by_slice_the_hole_of_a_torus_is_lost_along_z_alone():
    """The paper's hole filling takes a true pore for a hole in the data where each slice encloses it."""
    assert mesh_topology(reconstruct(torus(0), "hole_filled_by_slice")).genus == 0
    assert mesh_topology(reconstruct(torus(2), "hole_filled_by_slice")).genus == 1


def test_cavities_are_filled_and_channels_stay_open():
    solid = np.pad(np.ones((20, 20, 20), bool), 3)
    hollow, bored = solid.copy(), solid.copy()
    hollow[8:13, 8:13, 8:13] = False
    bored[:, 10:14, 10:14] = False
    whole = reconstruct(solid)
    assert reconstruct(hollow).volume < reconstruct(hollow, "hole_filled").volume == whole.volume
    assert reconstruct(bored, "hole_filled").volume == reconstruct(bored).volume < whole.volume
    assert mesh_topology(reconstruct(bored, "hole_filled")).genus == 1
    assert reconstruct(bored, "hole_filled_by_slice", closing_vox=0).volume == pytest.approx(whole.volume)


def test_pore_at_the_border_is_no_cavity():
    """What the window cuts open may go on beyond it."""
    labels = np.ones((12, 12, 12), np.uint8)
    labels[:3, 4:8, 4:8] = 0
    assert reconstruct(labels, "hole_filled").volume == reconstruct(labels).volume


def test_closing_joins_what_is_a_gap_apart_and_does_not_eat_at_the_border():
    slabs = np.ones((10, 10, 12), np.uint8)
    slabs[:, :, 5:7] = 0
    assert reconstruct(slabs, "hole_filled_by_slice").volume == pytest.approx(reconstruct(np.ones((10, 10, 12))).volume)
    assert mesh_topology(reconstruct(slabs, "hole_filled_by_slice", closing_vox=0)).components == 2


@pytest.mark.parametrize("spacing", SPACINGS)
def test_voxel_faces_have_the_volume_of_the_voxels_and_the_area_of_their_faces(spacing):
    mask = np.random.default_rng(0).random((7, 8, 9)) < 0.4
    mesh = reconstruct(mask, "voxel", voxel_size_um=spacing)
    padded = np.pad(mask, 1)
    faces = [np.prod(spacing) / spacing[a] * (np.diff(padded.astype(int), axis=a) != 0).sum() for a in range(3)]
    assert mesh.volume == pytest.approx(mask.sum() * np.prod(spacing))
    assert mesh.area == pytest.approx(sum(faces))


def touching_at_a_corner(mask):
    """Count the corners of voxels at which two voxels outside touch, all others there being inside."""
    outside = np.lib.stride_tricks.sliding_window_view(~np.pad(mask, 1), (2, 2, 2))
    two = outside.sum(axis=(3, 4, 5)) == 2
    diagonal = sum(outside[..., 0, i, j] & outside[..., 1, 1 - i, 1 - j] for i in (0, 1) for j in (0, 1))
    return int((two & (diagonal > 0)).sum())


@pytest.mark.parametrize("method", ["voxel", "dual_contouring"])
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_noise_gives_a_manifold_with_twice_the_euler_number_of_the_voxels(method, fraction):
    """The border of a body has twice its Euler number; the count over neighbourhoods knows nothing of meshes.

    That count joins two voxels outside that touch at a corner, by a passage of Euler number -1; the meshes do not.
    """
    mask = np.random.default_rng(1).random((14, 15, 16)) < fraction
    topology = mesh_topology(reconstruct(mask, method))
    assert topology.is_watertight
    assert topology.is_closed
    body = minkowski(mask, boundary="closed", connectivity=6).euler_number
    assert topology.euler_number == 2 * (body + touching_at_a_corner(mask))


def test_faces_round_a_vertex_are_one_fan():
    """Watertight is not enough: two cones that meet at their tips have no edge in common."""
    mask = np.random.default_rng(2).random((8, 8, 8)) < 0.5
    faces = reconstruct(mask, "voxel").faces
    around = {}
    for a, b, c in faces:
        for vertex, start, end in ((a, b, c), (b, c, a), (c, a, b)):
            around.setdefault(vertex, {})[start] = end
    for following in around.values():
        start = vertex = next(iter(following))
        steps = 0
        while True:
            vertex, steps = following[vertex], steps + 1
            if vertex == start:
                break
        assert steps == len(following)


def corner_gap(mesh, corners):
    """Mean distance from the true corners to the nearest vertex."""
    return np.linalg.norm(corners[:, None] - mesh.vertices[None], axis=2).min(axis=1).mean()


def test_dual_contouring_keeps_the_edges_of_a_cube_that_marching_cubes_cuts_off():
    corners = np.array(np.meshgrid(*[[4.5, 24.5]] * 3)).reshape(3, -1).T
    dual, marching = (reconstruct(cube(), method) for method in ("dual_contouring", "marching_cubes"))
    # The nearest vertices of marching cubes are half a voxel off along two axes.
    assert corner_gap(marching, corners) == pytest.approx(np.sqrt(0.5), abs=1e-6)
    assert corner_gap(dual, corners) < 0.2
    # A chamfer of half a voxel along each of the 12 edges of 20 voxels.
    assert marching.volume == pytest.approx(20**3 - 12 * 20 / 8, rel=0.001)
    assert dual.volume == pytest.approx(20**3, rel=5e-4)
    assert 0.98 * 2400 < dual.area < 2400


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 7), (1, 7, 7), (2, 2, 2)])
def test_dual_contouring_of_bodies_a_voxel_thick_is_them_and_has_no_preferred_side(shape):
    body = np.pad(np.ones(shape, bool), 3)
    mesh = reconstruct(body, "dual_contouring")
    middle = (np.array(body.shape) - 1) / 2
    # The vertex nearest to each one's image on the other side is that image.
    for axis in range(3):
        mirrored = mesh.vertices.copy()
        mirrored[:, axis] = 2 * middle[axis] - mirrored[:, axis]
        apart = np.linalg.norm(mirrored[:, None] - mesh.vertices[None], axis=2).min(axis=1)
        assert apart.max() < 1e-5
    # The pull to the middle of a patch rounds corners by 2 to 3 hundredths of an edge, here all of them corners.
    assert mesh.volume == pytest.approx(np.prod(shape), rel=0.12)
    assert np.abs(mesh.vertices - middle).max(axis=0) == pytest.approx(np.array(shape) / 2, abs=0.11)


def test_dual_contouring_of_an_exact_distance_field_keeps_slanted_edges():
    """Of a cube that is turned: less of its corners is lost, and less of its volume."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("zyx", [20, 35, 10], degrees=True).as_matrix()
    half, middle = 10.3, np.array([19.5] * 3)
    local = np.abs(np.einsum("ij,jzyx->izyx", turn, offsets((40, 40, 40)))) - half
    field = -(np.linalg.norm(np.maximum(local, 0), axis=0) + np.minimum(local.max(axis=0), 0))
    corners = half * np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T @ turn + middle
    dual = reconstruct(field, "dual_contouring", level=0)
    marching = reconstruct(field, level=0)
    assert corner_gap(dual, corners) < 0.75 * corner_gap(marching, corners)
    assert (2 * half) ** 3 - dual.volume < 0.7 * ((2 * half) ** 3 - marching.volume)
    # No vertex leaves its cell: none is farther from the surface than half of the cell's diagonal.
    local = np.abs((dual.vertices - middle) @ turn.T) - half
    assert np.abs(local.max(axis=1)).max() < np.sqrt(3) / 2


def test_dual_contouring_of_a_smooth_field_is_as_good_as_marching_cubes():
    field = 12.3 - np.linalg.norm(offsets((32, 32, 32)), axis=0)
    mesh = reconstruct(field, "dual_contouring", level=0)
    assert np.abs(np.linalg.norm(mesh.vertices - 15.5, axis=1) - 12.3).max() < 0.03
    assert mesh.area == pytest.approx(4 * np.pi * 12.3**2, rel=0.01)


def test_smoothing_the_distances_makes_dual_contouring_of_labels_round():
    mask = ball(20.0)
    true = 4 * np.pi * 20**2
    rough, smooth = (reconstruct(mask, "dual_contouring", sigma_vox=sigma).area / true for sigma in (0.0, 0.5))
    assert 1.1 < rough < 1.16
    assert smooth == pytest.approx(1.02, abs=0.02)


def test_hull_of_a_ball_holds_every_voxel_centre_and_is_convex():
    mask = ball(15.0)
    mesh = reconstruct(mask, "convex_hull")
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    heights = (
        np.einsum("fi,pi->fp", normals, np.argwhere(mask)) - np.einsum("fi,fi->f", normals, corners[:, 0])[:, None]
    )
    assert heights.max() < 0
    heights = np.einsum("fi,pi->fp", normals, mesh.vertices) - np.einsum("fi,fi->f", normals, corners[:, 0])[:, None]
    assert heights.max() < 1e-9
    # Its vertices lie between half a voxel inside and half a voxel outside of the outermost centres.
    assert 14.5**3 < mesh.volume / (4 / 3 * np.pi) < 15.5**3


def test_hull_fills_the_hole_of_a_torus():
    mesh = reconstruct(torus(), "convex_hull")
    assert mesh_topology(mesh).genus == 0
    assert mesh.volume > reconstruct(torus()).volume * 1.2


def test_adaptive_threshold_is_the_median_of_what_the_filter_left():
    """Its porosity has little to do with that of the volume: the paper's worst method."""
    rng = np.random.default_rng(0)
    solid = rng.random((30, 30, 30)) < 0.9
    assert reconstruct(solid, "adaptive_threshold").volume == pytest.approx(0.5 * solid.size, rel=0.1)
    assert reconstruct(solid, "voxel").volume == solid.sum()


def test_probabilities_put_the_surface_between_the_voxels():
    """Partial volumes know where the surface is to a small part of a voxel; the mask does not."""
    # From 9.8 voxels off the middle on the probability is below one half: a slab of 19.6 voxels.
    field = np.clip((9.8 - np.abs(np.arange(30) - 14.5)[:, None, None]) / 4 + 0.5 + np.zeros((30, 8, 8)), 0, 1)
    for method in ("marching_cubes", "dual_contouring"):
        vertices = reconstruct(field, method, level=0.5).vertices
        # Away from where the border of the volume closes the slab.
        within = ((vertices[:, 1:] > 1) & (vertices[:, 1:] < 6)).all(axis=1)
        assert np.ptp(vertices[within, 0]) == pytest.approx(19.6, abs=1e-3)
    assert np.ptp(reconstruct(field > 0.5).vertices[:, 0]) == 20


@pytest.mark.parametrize("method", METHODS)
def test_field_of_zeros_and_ones_at_one_half_is_the_mask(method):
    mask = ball(9.0)
    if method in ("adaptive_threshold", "dual_contouring"):
        pytest.skip("one has no level, the other finds distances for a mask alone")
    of_field, of_mask = reconstruct(mask.astype(np.float32), method, level=0.5), reconstruct(mask, method)
    np.testing.assert_array_equal(of_field.vertices, of_mask.vertices)


@pytest.mark.parametrize("method", METHODS)
def test_mask_opened_at_level_0_is_not_what_anyone_gets(method):
    """At level 0 the surface of a binary mask would lie at the centres of the voxels outside."""
    if method == "adaptive_threshold":
        pytest.skip("its level is the paper's")
    mask = np.zeros((24, 24, 24), bool)
    mask[6:18, 6:18, 6:18] = True
    assert reconstruct(mask, method).vertices.min() > 5.4


@pytest.mark.parametrize("method", ["marching_cubes", "dual_contouring", "voxel", "smoothed", "multiscale"])
def test_value_at_the_level_itself_counts_as_outside(method):
    field = np.zeros((9, 9, 9), np.float32)
    field[2:7, 2:7, 2:7] = 0.5
    field[3:6, 3:6, 3:6] = 1
    options = {"smoothed": {"sigma_vox": 0}, "multiscale": {"sigmas_vox": [0], "weights": [1]}}.get(method, {})
    mesh = reconstruct(field, method, level=0.5, **options)
    assert mesh_topology(mesh).is_watertight
    # 27 voxels are above it. The crossing towards the others is where they reach the level, at their centres.
    assert 27 <= mesh.volume < 4**3


@pytest.mark.parametrize("method", [m for m in METHODS if m != "adaptive_threshold"])
def test_solid_that_fills_the_volume_is_closed_at_its_border(method):
    mesh = reconstruct(np.ones((10, 12, 14), bool), method)
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.vertices.min(axis=0), [-0.5] * 3, atol=0.06)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), [9.5, 11.5, 13.5], atol=0.06)


@pytest.mark.parametrize("method", ["marching_cubes", "hole_filled", "voxel", "convex_hull", "dual_contouring"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 7), (2, 1, 9)])
def test_volumes_of_one_voxel_s_thickness_have_a_surface(method, shape):
    mesh = reconstruct(np.ones(shape, bool), method)
    assert mesh.is_watertight
    assert 0 < mesh.volume <= 1.01 * np.prod(shape)


@pytest.mark.parametrize(
    ("volume", "method", "options", "message"),
    [
        (np.ones((4, 4, 4)), "smoothed", {"sigma": 2}, "no option 'sigma'; it has: sigma_vox"),
        (np.ones((4, 4, 4)), "voxel", {"sigma_vox": 2}, "no option 'sigma_vox'; it has: none"),
        (np.ones((4, 4, 4)), "smoothed", {"sigma_vox": -1}, "sigma_vox is -1"),
        (np.ones((4, 4, 4)), "smoothed", {"sigma_vox": float("nan")}, "sigma_vox is nan"),
        (np.ones((4, 4, 4)), "dual_contouring", {"sigma_vox": "much"}, "sigma_vox is 'much'"),
        (np.ones((4, 4, 4)), "smoothed", {"sigma_vox": 1e9}, "sigma_vox is 1000000000.0; at most 4 make sense"),
        (np.ones((40, 4, 4)), "dual_contouring", {"sigma_vox": 9}, "sigma_vox is 9; at most 8 make sense"),
        (np.ones((4, 4, 4)), ["voxel"], {}, r"reconstruction method \['voxel'\] is not available"),
        (np.ones((4, 4, 4)), "multiscale", {"weights": (1, 2)}, "one weight each"),
        (np.ones((4, 4, 4)), "multiscale", {"weights": (0, 0, 0)}, "not all of them 0"),
        (np.ones((4, 4, 4)), "hole_filled_by_slice", {"closing_vox": 1.5}, "closing_vox"),
        (np.ones((4, 4, 4)), "adaptive_threshold", {}, "nothing of the object is left"),
        (np.pad(np.ones((1, 1, 1)), 9), "smoothed", {}, "sigma_vox=2 nothing of the object is left"),
        (np.pad(np.ones((1, 1, 1)), 9), "dual_contouring", {"sigma_vox": 3}, "nothing of the object is left"),
        (np.full((4, 4, 4), 0.4), "marching_cubes", {"level": 0.5}, "nothing is above"),
        (np.full((4, 4, 4), 0.4), "marching_cubes", {"level": 0.3, "phase": 1}, "give one"),
        (np.full((4, 4, 4), 0.4), "adaptive_threshold", {"level": 0.3}, "finds its own"),
        (np.full((4, 4, 4), np.nan), "marching_cubes", {"level": 0.3}, "NaN"),
        (np.full((4, 4, 4), 0.4), "marching_cubes", {"level": np.inf}, "finite number"),
        (np.full((4, 4), 0.4), "marching_cubes", {"level": 0.3}, "3-D"),
        (np.full((4, 4, 4), 1j), "marching_cubes", {"level": 0.3}, "real numbers"),
    ],
)
def test_what_a_method_cannot_do_is_refused_in_a_sentence(volume, method, options, message):
    with pytest.raises(ValueError, match=message):
        reconstruct(volume, method, **options)
