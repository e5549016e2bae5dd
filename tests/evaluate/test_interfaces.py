"""Areas between phases and lengths where three meet, on bodies whose areas and lengths are known."""

import itertools

import numpy as np
import pytest

from evaluate.morphology.interfaces import interface_areas, triple_phase_boundary
from evaluate.morphology.minkowski_functionals import minkowski, minkowski_of_phases

PI = np.pi
BIASED = {"crofton": 1.0, "faces": 1.5}


def positions(shape, voxel=(1, 1, 1), shift=(0, 0, 0)):
    """Places of the voxels' centres, in the unit of `voxel`, from the middle of the window."""
    return np.array(
        [(i - (n - 1) / 2) * edge + s for i, n, edge, s in zip(np.indices(shape), shape, voxel, shift, strict=True)]
    )


def room(size, voxel):
    return tuple(int(np.ceil(size / edge)) for edge in voxel)


def directions(count, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def mixture(shape=(20, 21, 22), n_phases=3, seed=0):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.normal(size=shape), 1.5, mode="wrap") for _ in range(n_phases)]
    return np.argmax(fields, axis=0).astype(np.uint8)


def ball_on_a_boundary(radius, normal, voxel=(1, 1, 1), shift=(0, 0, 0)):
    """A ball, label 2, half in one of two half-spaces: the phases meet in a circle, at 180°, 90° and 90°."""
    where = positions(room(2 * radius + 8, voxel), voxel, shift)
    labels = (np.tensordot(normal, where, 1) > 0).astype(np.uint8)
    labels[(where**2).sum(axis=0) < radius**2] = 2
    return labels


def double_bubble(radius, normal, voxel=(1, 1, 1), shift=(0, 0, 0)):
    """Two balls whose centres are a radius apart, with a wall between: they meet the outside in a circle, at 120°."""
    where = positions(room(3 * radius + 8, voxel), voxel, shift)
    along, square = np.tensordot(normal, where, 1), (where**2).sum(axis=0)
    inside = square - np.abs(along) * radius + radius**2 / 4 < radius**2
    return np.where(inside, np.where(along > 0, 1, 2), 0)


@pytest.mark.parametrize("boundary", ["interior", "periodic"])
@pytest.mark.parametrize("voxel", [None, (2, 1, 0.5)])
def test_areas_of_a_phase_add_up_to_its_surface(boundary, voxel):
    labels = mixture(n_phases=4)
    found = interface_areas(labels, voxel_size_um=voxel, boundary=boundary)
    surfaces = [m.surface for m in minkowski_of_phases(labels, voxel_size_um=voxel, boundary=boundary)]
    assert found.surfaces == pytest.approx(surfaces, rel=1e-12)
    assert found.areas.sum(axis=0) == pytest.approx(surfaces, rel=1e-12)
    np.testing.assert_array_equal(found.areas, found.areas.T)
    assert not np.diag(found.areas).any()
    assert found.unit == ("um" if voxel else "voxel")
    assert found.window_volume == labels.size
    assert found.specific_areas == pytest.approx(found.areas / labels.size)


def test_area_of_two_phases_is_the_surface_of_one():
    mask = mixture() == 1
    assert interface_areas(mask).areas[0, 1] == pytest.approx(minkowski(mask).surface, rel=1e-12)


def test_area_of_a_pair_is_what_its_union_hides():
    labels = mixture(n_phases=4, seed=1)
    found = interface_areas(labels)
    for j, k in itertools.combinations(range(4), 2):
        apart = minkowski(labels == j).surface + minkowski(labels == k).surface
        hidden = apart - minkowski((labels == j) | (labels == k)).surface
        assert found.areas[j, k] == pytest.approx(hidden / 2, rel=1e-10)


@pytest.mark.parametrize("method", ["crofton", "faces"])
@pytest.mark.parametrize("voxel", [(1, 1, 1), (2, 1, 1), (0.5, 1, 0.75)])
def test_core_and_shell_touch_on_spheres_of_known_area(method, voxel):
    inner, outer = 14.0, 22.0
    radius = np.sqrt((positions(room(2 * outer + 8, voxel), voxel, (0.2, -0.3, 0.1)) ** 2).sum(axis=0))
    labels = np.where(radius < inner, 2, np.where(radius < outer, 1, 0))
    found = interface_areas(labels, voxel_size_um=voxel, method=method).areas / BIASED[method]
    # Faces are exact but for the lattice: the shadow of a ball along each axis. Balls are unbiased for Crofton.
    assert found[1, 2] == pytest.approx(4 * PI * inner**2, rel=0.025)
    assert found[0, 1] == pytest.approx(4 * PI * outer**2, rel=0.02)
    assert found[0, 2] == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_faces_of_a_slab_along_the_voxels_are_exact_and_crofton_is_low(axis):
    voxel = np.array((2.0, 1.0, 0.5))
    shape = np.array((12, 14, 16))
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(4, 9) if i == axis else slice(None) for i in range(3))] = 1
    area = 2 * np.prod(np.delete(shape * voxel, axis))
    assert interface_areas(labels, voxel_size_um=voxel, method="faces").areas[0, 1] == pytest.approx(area, rel=1e-12)
    cubic = interface_areas(labels).areas[0, 1] / (2 * np.prod(np.delete(shape, axis)))
    assert cubic == pytest.approx(0.9627, rel=1e-3)


def test_oblique_planes_gain_faces_by_the_sum_of_their_cosines_and_keep_their_crofton_area():
    ratios = []
    for normal in directions(12):
        labels = np.tensordot(normal, positions((40, 40, 40)), 1) > 0
        faces, crofton = (interface_areas(labels, method=method).areas[0, 1] for method in ("faces", "crofton"))
        # The largest cosine is the share of a column of voxels that the plane cuts.
        ratios.append(faces / crofton / np.abs(normal).sum())
    # Crofton is 7.3 % low at worst and 3.1 % high, faces have no error but the sampling of the plane, about 1 / 40.
    assert min(ratios) > 1 / 1.031 / 1.025
    assert max(ratios) < 1.025 / 0.927
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)


def test_every_face_of_a_checkerboard_is_an_interface():
    labels = np.indices((6, 8, 4)).sum(axis=0) % 2
    found = interface_areas(labels, voxel_size_um=(1, 2, 3), boundary="periodic", method="faces")
    assert found.areas[0, 1] == pytest.approx(labels.size * (2 * 3 + 1 * 3 + 1 * 2))


def test_new_numbers_for_the_phases_permute_the_areas():
    labels = mixture()
    turn = np.array([2, 0, 1], np.uint8)
    found, turned = interface_areas(labels).areas, interface_areas(turn[labels]).areas
    np.testing.assert_allclose(turned[np.ix_(turn, turn)], found, rtol=1e-12)


def test_phase_that_does_not_occur_touches_nothing():
    labels = np.where(mixture() == 1, 3, 0)
    found = interface_areas(labels, n_phases=6)
    assert found.areas.shape == (6, 6)
    assert not found.areas[[1, 2, 4, 5]].any()
    assert found.areas[0, 3] == pytest.approx(minkowski(labels == 0).surface, rel=1e-12)
    alone = interface_areas(np.zeros((3, 4, 5), np.uint8))
    assert alone.areas.tolist() == [[0.0]]
    assert triple_phase_boundary(labels).length == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_line_along_an_axis_is_exact_by_edges_and_low_by_planes(axis):
    voxel = (2.0, 1.0, 0.5)
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[:, 6:] = 1
    labels[:, :6, 6:] = 2
    labels = np.moveaxis(labels, 0, axis)
    found = triple_phase_boundary(labels, voxel_size_um=voxel, method="edges")
    assert found.length == pytest.approx(12 * voxel[axis], rel=1e-12)
    assert found.density == pytest.approx(found.length / 12**3)
    assert found.unit == "um"
    # The 13 normals stand for all: along an axis their mean cosine is 7.3 % short of one half.
    assert triple_phase_boundary(labels).length == pytest.approx(0.9266 * 12, rel=1e-4)


@pytest.mark.parametrize("voxel", [(1, 1, 1), (2, 1, 1), (1, 0.6, 0.8)])
@pytest.mark.parametrize(
    ("make", "radii", "bias"),
    [(ball_on_a_boundary, 2 * PI, 1.045), (double_bubble, PI * np.sqrt(3), 1.015)],
    ids=["ball_on_a_boundary", "double_bubble"],
)
def test_circles_where_three_phases_meet_are_as_long_as_the_angles_say(make, radii, bias, voxel):
    radius = 16 * min(voxel)
    rng = np.random.default_rng(3)
    found = np.array(
        [
            triple_phase_boundary(
                make(radius, normal, voxel, (rng.random(3) - 0.5) * voxel), voxel_size_um=voxel
            ).length
            for normal in directions(16, seed=4)
        ]
    ) / (radii * radius)
    error = found.std() / np.sqrt(found.size)
    # Unequal voxels add up to 1.5 % on average.
    assert bias - 4 * error < found.mean() < bias + 4 * error + (0 if len(set(voxel)) == 1 else 0.015)
    assert error < 0.012


def test_edges_overestimate_oblique_lines_by_half():
    labels = [double_bubble(16, normal) for normal in directions(16, seed=5)]
    edges = [triple_phase_boundary(volume, method="edges").length / (PI * np.sqrt(3) * 16) for volume in labels]
    assert np.mean(edges) == pytest.approx(1.52, abs=4 * np.std(edges) / 4)


@pytest.mark.parametrize("voxel", [(1, 1, 1), (0.5, 1, 1), (1, 2, 1)])
def test_cylinder_that_pierces_a_plane_has_a_rim(voxel):
    radius = 12 * max(voxel)
    z, y, x = positions(room(3 * radius, voxel), voxel, (0.1, 0.2, 0.3))
    labels = np.where(np.hypot(y, x) < radius, 2, z > 0)
    found = triple_phase_boundary(labels, voxel_size_um=voxel).length / (2 * PI * radius)
    # 1.045 for the angles of 90°; the worst direction of the plane is 7 % (16 % of 2 : 1 : 1) short.
    assert 1.045 * (0.92 if len(set(voxel)) == 1 else 0.84) < found < 1.045 * 1.08


@pytest.mark.parametrize("boundary", ["interior", "periodic"])
@pytest.mark.parametrize("voxel", [None, (2, 1, 1.5)])
def test_length_is_what_the_surfaces_of_the_phases_turn(boundary, voxel):
    labels = mixture(seed=2)
    options = {"voxel_size_um": voxel, "boundary": boundary}
    turned = sum(m.integral_mean_curvature for m in minkowski_of_phases(labels, **options))
    assert triple_phase_boundary(labels, **options).length == pytest.approx(2 / PI * turned, rel=1e-10)


def test_lengths_of_four_phases_add_up_to_what_their_surfaces_turn():
    labels = mixture(n_phases=4, seed=3)
    lengths = {t: triple_phase_boundary(labels, t).length for t in itertools.combinations(range(4), 3)}
    curved = [m.integral_mean_curvature for m in minkowski_of_phases(labels)]
    assert sum(lengths.values()) == pytest.approx(2 / PI * sum(curved), rel=1e-10)
    union = minkowski(labels < 2).integral_mean_curvature
    pair = lengths[0, 1, 2] + lengths[0, 1, 3]
    assert pair == pytest.approx(2 / PI * (curved[0] + curved[1] - union), rel=1e-10)


def test_order_and_numbers_of_the_phases_do_not_matter():
    labels = mixture()
    expected = triple_phase_boundary(labels).length
    assert expected > 0
    assert triple_phase_boundary(labels, (2, 0, 1)).length == expected
    assert triple_phase_boundary(np.array([7, 255, 30])[labels], (7, 255, 30)).length == expected


def test_smoothing_blunts_wedges_and_keeps_lines():
    where = positions((40, 40, 40))
    rng = np.random.default_rng(6)
    raw, smooth, blunt = [], [], []
    for axis in directions(6, seed=7):
        across = np.linalg.svd(axis[None])[2][1:]
        v, u = np.tensordot(across, where + rng.random((3, 1, 1, 1)), 1)
        angle = np.degrees(np.arctan2(v, u)) % 360
        inner = (np.abs(where) < 14).all(axis=0)
        wedge, equal = (np.where(inner, np.digitize(angle, cuts), 3) for cuts in ((180, 330), (120, 240)))
        raw.append(triple_phase_boundary(wedge).length)
        smooth.append(triple_phase_boundary(wedge, smoothing_vox=1).length)
        blunt.append(triple_phase_boundary(equal, smoothing_vox=1).length / triple_phase_boundary(equal).length)
    # 1.44 and 1.10 times the length on average.
    assert np.mean(smooth) < 0.85 * np.mean(raw)
    assert np.mean(blunt) == pytest.approx(1, abs=0.04)


def test_random_structure_is_too_long_by_no_more_than_said():
    from synth import sofc_electrode

    found, smoothed = [], []
    for seed in range(3):
        made = sofc_electrode((80, 80, 80), preset="three-phase", length_vox=8, periodic=True, rng=seed)
        curvatures = [phase["mean_curvature"] for phase in made.truth["expected"].values()]
        truth = 2 / PI * sum(curvatures)
        found.append(triple_phase_boundary(made, boundary="periodic").density / truth)
        smoothed.append(triple_phase_boundary(made, boundary="periodic", smoothing_vox=1).density / truth)
    # 17 % up, with a standard deviation of about 7 % of a box of 10 lengths.
    assert np.mean(found) == pytest.approx(1.17, abs=4 * 0.07 / np.sqrt(3))
    assert np.mean(smoothed) < np.mean(found)


def electrode():
    """Return a plate of ions below, gas above and metal posts between, of which some stand on nothing."""
    labels = np.zeros((12, 30, 12), np.uint8)
    labels[:5] = 1
    labels[5:, 2:5, 4:8] = 2  # reaches the far end
    labels[5:9, 10:13, 4:8] = 2  # ends in the gas
    labels[5:9, 18:21, :4] = 2  # ends in the gas, but leaves through a side
    return labels


def test_active_length_is_that_of_connected_clusters():
    labels = electrode()
    found = triple_phase_boundary(labels, active=("+z", "-z", "+z"))
    whole, ending, leaving = (triple_phase_boundary(part) for part in (labels[:, :8], labels[:, 6:16], labels[:, 15:]))
    assert found.length == pytest.approx(whole.length + ending.length + leaving.length, rel=1e-12)
    assert found.active_length == pytest.approx(whole.length, rel=1e-12)
    assert found.active_density == pytest.approx(whole.length / labels.size)
    assert found.undecided_length == pytest.approx(leaving.length, rel=1e-12)


def test_active_length_is_all_of_it_if_nothing_is_asked_of_the_phases():
    labels = mixture()
    found = triple_phase_boundary(labels, active=(None, None, None))
    assert found.active_length == found.length == triple_phase_boundary(labels).length
    assert found.undecided_length == 0
    assert triple_phase_boundary(labels).active_length is None


def test_active_length_is_zero_where_a_phase_does_not_reach_its_face():
    labels = electrode()
    assert triple_phase_boundary(labels, active=("-z", None, None)).active_length == 0  # the plate covers it
    assert triple_phase_boundary(labels, active=(None, "+z", None)).undecided_length > 0


@pytest.mark.parametrize("boundary", ["interior", "periodic"])
@pytest.mark.parametrize("shape", [(5, 258, 6), (257, 3, 260)])
def test_blocks_of_an_array_on_disk_measure_the_same_to_the_last_bit(shape, boundary):
    dask = pytest.importorskip("dask.array")
    labels = mixture(shape)
    lazy = dask.from_array(labels, chunks=100)
    for method in ("crofton", "faces"):
        options = {"voxel_size_um": (2, 1, 1), "boundary": boundary, "method": method}
        np.testing.assert_array_equal(interface_areas(lazy, **options).areas, interface_areas(labels, **options).areas)
    assert triple_phase_boundary(lazy, boundary=boundary) == triple_phase_boundary(labels, boundary=boundary)


SMALL = np.zeros((4, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("labels", "keywords", "message"),
    [
        (np.zeros((4, 4), np.uint8), {}, "3-D"),
        (np.zeros((0, 4, 4), np.uint8), {}, "empty"),
        (np.zeros((1, 1, 1), np.uint8), {}, "two voxels"),
        (np.full((4, 4, 4), 0.5), {}, "fractional"),
        (np.full((4, 4, 4), np.nan), {}, "NaN"),
        (np.full((4, 4, 4), -1), {}, "0 to 255"),
        (SMALL, {"voxel_size_um": (1, 1)}, "three numbers"),
        (SMALL, {"voxel_size_um": (1, -1, 1)}, "positive"),
        (SMALL, {"voxel_size_um": (1, 1, 1000)}, "resample"),
        (SMALL, {"boundary": "closed"}, "no phase"),
        (SMALL, {"method": "mesh"}, "method"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels, keywords, message):
    for measure in (interface_areas, triple_phase_boundary):
        with pytest.raises(ValueError, match=message):
            measure(labels, **keywords)


@pytest.mark.parametrize(
    ("labels", "n_phases", "message"),
    [
        (SMALL + 3, 3, "from 0 to 2"),
        (SMALL + 1, 1, "from 0 to 0"),
        (SMALL + 16, None, "16 phases"),
        (SMALL, 0, "n_phases"),
        (SMALL, 17, "n_phases"),
        (SMALL, 2.5, "n_phases"),
    ],
)
def test_wrong_number_of_phases_is_refused(labels, n_phases, message):
    with pytest.raises(ValueError, match=message):
        interface_areas(labels, n_phases=n_phases)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"phases": (0, 1)}, "three phases"),
        ({"phases": (0, 1, 1)}, "differ"),
        ({"phases": (0, 1, 256)}, "three phases"),
        ({"phases": 3}, "three phases"),
        ({"smoothing_vox": -1}, "smoothing_vox"),
        ({"smoothing_vox": np.nan}, "smoothing_vox"),
        ({"smoothing_vox": "1"}, "smoothing_vox"),
        ({"smoothing_vox": 100}, "smoothing_vox"),
        ({"active": ("+z", "-z")}, "each of the three"),
        ({"active": "+z"}, "each of the three"),
        ({"active": ("up", None, None)}, "each of the three"),
        ({"active": ("+z", "+z", "-z"), "boundary": "periodic"}, "no faces"),
    ],
)
def test_impossible_lines_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        triple_phase_boundary(SMALL, **keywords)


@pytest.mark.parametrize("keywords", [{"smoothing_vox": 1}, {"active": ("+z", "+z", "-z")}])
def test_what_needs_the_volume_in_memory_says_so(keywords):
    dask = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match="load it first"):
        triple_phase_boundary(dask.from_array(SMALL), **keywords)
