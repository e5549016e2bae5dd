"""Bubbles of known shape, place and contact, and cells whose truth is known bubble by bubble."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import synth
import volume
from evaluate import minkowski
from evaluate.bubbles import bubble_report, electrode_sides

PI = np.pi
ELECTROLYTE, BUBBLE, MEMBRANE, GASKET, FIBRE = range(5)


def points(shape, spacing=(1, 1, 1)):
    """Centres of the voxels; the first voxel begins at 0."""
    return [(i + 0.5) * s for i, s in zip(np.indices(shape, sparse=True), spacing, strict=True)]


def ball(shape, centre, radius, spacing=(1, 1, 1)):
    return sum((p - c) ** 2 for p, c in zip(points(shape, spacing), centre, strict=True)) <= radius**2


def ellipsoid(shape, centre, rows, spacing=(1, 1, 1)):
    """Of the semi-axes that are the rows of a matrix."""
    offsets = [p - c for p, c in zip(points(shape, spacing), centre, strict=True)]
    return sum((sum(r * o for r, o in zip(row, offsets, strict=True)) / (row @ row)) ** 2 for row in rows) <= 1


def rotation(seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]


def cell(shape=(40, 40, 40), low=18, high=21):
    """Electrolyte on both sides of a flat membrane."""
    labels = np.zeros(shape, np.uint8)
    labels[low:high] = MEMBRANE
    return labels


def only(report):
    assert len(report.bubbles["id"]) == 1
    return {name: column[0] for name, column in report.bubbles.items()}


def row_of_truth(report, truth):
    """Return the row in which each bubble of a list lies."""
    table = report.bubbles
    centroids = np.column_stack([table[f"centroid_{name}"] for name in "zyx"])
    true = np.array([bubble["centroid"] for bubble in truth])
    return np.abs(true[:, None] - centroids[None]).sum(axis=2).argmin(axis=1)


@pytest.fixture(scope="module")
def redox():
    return synth.redox_cell((64, 72, 80), rng=3, bubble_diameter_vox=8, membrane_waviness_vox=3, fibre_fraction=0.04)


@pytest.fixture(scope="module")
def redox_report(redox):
    return bubble_report(redox)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 1), (0.5, 0.8, 1.1)])
def test_ball_has_the_measures_of_a_ball(spacing):
    shape = tuple(int(26 / s) for s in spacing)
    found = only(bubble_report(ball(shape, (13.2, 12.9, 13.1), 9, spacing), voxel_size_um=spacing))
    assert found["volume"] == pytest.approx(4 / 3 * PI * 9**3, rel=0.02)
    assert found["volume"] == pytest.approx(found["voxels"] * np.prod(spacing))
    assert found["surface"] == pytest.approx(4 * PI * 9**2, rel=0.02)
    assert found["equivalent_diameter"] == pytest.approx(18, rel=0.01)
    assert found["sphericity"] == pytest.approx(1, abs=0.02)
    # A cuboid of edge 2 adds 1 % to the longest axis.
    assert [found[f"axis_{i}"] for i in (1, 2, 3)] == pytest.approx([18, 18, 18], rel=0.025)
    assert found["elongation"] == pytest.approx(1, abs=0.025)
    assert found["flatness"] == pytest.approx(1, abs=0.025)
    assert [found[f"centroid_{n}"] for n in "zyx"] == pytest.approx([13.2, 12.9, 13.1], abs=0.1)
    assert found["solidity"] == 1


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 1), (1, 0.7, 1.5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_ellipsoid_has_its_axes_and_direction(spacing, seed):
    turned = rotation(seed)
    rows = turned * np.array([[15], [9], [6]])
    found = only(
        bubble_report(ellipsoid([int(34 / s) for s in spacing], (17, 17.2, 16.8), rows, spacing), voxel_size_um=spacing)
    )
    assert [found[f"axis_{i}"] for i in (1, 2, 3)] == pytest.approx([30, 18, 12], rel=0.02)
    # Ratios of lengths, not of second moments, which would be their squares.
    assert found["elongation"] == pytest.approx(30 / 18, rel=0.03)
    assert found["flatness"] == pytest.approx(18 / 12, rel=0.03)
    direction = np.array([found[f"direction_{n}"] for n in "zyx"])
    assert abs(direction @ turned[0]) > np.cos(np.radians(1))
    assert np.linalg.norm(direction) == pytest.approx(1)
    assert found["sphericity"] < 0.93
    # An elongated bubble is one bubble.
    assert found["solidity"] == 1


def test_orientation_has_no_sign():
    rows = np.linalg.qr(np.array([[1.0, 0.5, 0.2], [0.4, 1, 0], [0, 0.3, 1]]).T)[0].T * np.array([[12], [5], [5]])
    mask = ellipsoid((30, 30, 30), (15, 15, 15), rows)
    here, turned = only(bubble_report(mask)), only(bubble_report(mask[::-1, ::-1, ::-1]))
    for name in ("direction_z", "direction_y", "direction_x", "inclination_deg", "azimuth_deg"):
        assert turned[name] == pytest.approx(here[name], abs=1e-6)


@pytest.mark.parametrize(
    ("steps", "inclination", "azimuth"),
    [((1, 0, 0), 0, None), ((0, 1, 0), 90, 90), ((0, 0, 1), 90, 0), ((0, 1, -1), 90, 135), ((1, 0, -1), 45, 180)],
)
def test_angles_are_from_z_and_from_x_towards_y(steps, inclination, azimuth):
    mask = np.zeros((24, 24, 24), np.uint8)
    for k in range(-9, 10):
        z, y, x = (12 + k * s for s in steps)
        mask[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 1
    found = only(bubble_report(mask))
    assert found["inclination_deg"] == pytest.approx(inclination, abs=1e-6)
    if azimuth is not None:
        # 0 and 180 are the same axis in the plane across z.
        assert (found["azimuth_deg"] - azimuth + 90) % 180 - 90 == pytest.approx(0, abs=1e-6)


def test_sheet_of_one_voxel_is_as_thick_as_its_voxels_moments():
    mask = np.zeros((9, 20, 20), np.uint8)
    mask[4, 3:17, 3:17] = 1
    found = only(bubble_report(mask, voxel_size_um=(2, 1, 1)))
    assert found["axis_3"] == pytest.approx(2 * np.sqrt(5 * 2**2 / 12))
    assert found["axis_1"] == pytest.approx(2 * np.sqrt(5 * 14**2 / 12))
    assert (found["kept"], found["reason"]) == (False, "in fewer than 2 slices")


def test_surface_of_each_bubble_is_that_of_its_mask_alone(redox_report):
    table = redox_report.bubbles
    for row in range(0, len(table["id"]), 9):
        alone = minkowski(redox_report.ids == table["id"][row], boundary="closed")
        assert table["surface"][row] == pytest.approx(alone.surface)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.5, 0.5)])
@pytest.mark.parametrize("depth", [0.0, 5.0])
def test_ball_pressed_on_the_membrane_blocks_the_circle_of_its_cap(spacing, depth):
    shape = tuple(round(n / s) for n, s in zip((44, 40, 40), spacing, strict=True))
    labels = np.zeros(shape, np.uint8)
    z = points(shape, spacing)[0]
    labels[ball(shape, (28 + depth, 20, 20), 10, spacing) & (z > 28)] = BUBBLE
    labels[np.broadcast_to((z > 24) & (z < 28), shape)] = MEMBRANE
    report = bubble_report(labels, voxel_size_um=spacing)
    # The gas on the membrane is known where the centres of its voxels are, half a voxel above it.
    found, circle = only(report), PI * (10**2 - (depth - spacing[0] / 2) ** 2)
    assert found["contact_area"] == pytest.approx(circle, rel=0.03)
    assert found["contact_area"] == pytest.approx(found["contact_faces"] * spacing[1] * spacing[2])
    assert report.upper.membrane_area == pytest.approx(40 * 40)
    assert report.upper.blocked_fraction == pytest.approx(circle / 1600, rel=0.03)
    assert report.lower.blocked_fraction == 0
    assert report.whole.blocked_fraction == pytest.approx(circle / 3200, rel=0.03)
    assert found["membrane_distance"] == found["wall_distance"] == 0
    assert (found["side"], found["touches_membrane"]) == ("upper", True)


def test_gas_blocks_where_it_touches_not_where_its_centre_is_near():
    labels = cell((60, 40, 60))
    # Large and resting on the membrane, with its centre 14 away; small and free, with its centre 5 away.
    labels[ball(labels.shape, (35, 20, 20), 14.5) & (labels == 0) & (np.indices(labels.shape)[0] > 20)] = BUBBLE
    labels[ball(labels.shape, (26, 20, 50), 3)] = BUBBLE
    table = bubble_report(labels).bubbles
    large, small = np.argmax(table["voxels"]), np.argmin(table["voxels"])
    assert table["contact_area"][large] == pytest.approx(PI * (14.5**2 - 13.5**2), rel=0.05)
    assert table["membrane_distance"][large] == 0
    assert table["contact_area"][small] == 0
    assert table["membrane_distance"][small] == pytest.approx(2, abs=1e-6)


@pytest.mark.parametrize("degrees", [7, 15, 25])
def test_area_of_a_tilted_membrane_is_not_that_of_its_steps(degrees):
    shape, slope = (60, 40, 60), np.tan(np.radians(degrees))
    z, _, x = points(shape)
    off = np.broadcast_to(z - 30 - slope * (x - 30), shape)
    labels = np.where(np.abs(off) < 3, MEMBRANE, 0).astype(np.uint8)
    labels[(off >= 3) & (off < 9) & (np.abs(x - 30) < 12)] = BUBBLE
    report = bubble_report(labels)
    area = 40 * 60 / np.cos(np.radians(degrees))
    assert report.upper.membrane_area == pytest.approx(area, rel=0.025)
    assert report.upper.membrane_faces > 1.08 * area
    assert report.upper.blocked_fraction == pytest.approx(0.4, abs=0.02)
    assert only(report)["contact_area"] == pytest.approx(0.4 * area, rel=0.05)


@pytest.mark.parametrize("thickness", [1, 3])
@pytest.mark.parametrize("height", [1, 24])
def test_gasket_round_a_flat_membrane_does_not_change_its_area(thickness, height):
    labels = np.zeros((24, 40, 40), np.uint8)
    labels[10 : 10 + height, :8] = labels[10 : 10 + height, -8:] = GASKET
    labels[10 : 10 + thickness, 8:-8] = MEMBRANE
    labels[10 : 10 + thickness, :8] = labels[10 : 10 + thickness, -8:] = GASKET
    labels[10 + thickness : 16, 8:20, 5:15] = BUBBLE
    report = bubble_report(labels)
    assert report.upper.membrane_area == pytest.approx(24 * 40, rel=1e-12)
    assert report.upper.blocked_fraction == pytest.approx(120 / 960, rel=1e-12)
    assert report.lower.blocked_fraction == 0


@pytest.mark.parametrize("thickness", [1, 2, 3, 6])
def test_hole_in_a_flat_membrane_is_rounded_off_at_its_rim_alone(thickness):
    labels = np.zeros((40, 60, 60), np.uint8)
    membrane = labels[18 : 18 + thickness]
    membrane[:] = MEMBRANE
    membrane[:, 26:34, 26:34] = ELECTROLYTE
    labels[18 + thickness : 24 + thickness, 15:45, 15:45] = BUBBLE
    report = bubble_report(labels)
    # The rim is 32 long; of the walls of the hole the upper half belongs to the upper electrode.
    assert 60 * 60 - 64 - 1.5 * 32 <= report.upper.membrane_area <= report.upper.membrane_faces
    assert report.upper.membrane_faces == 60 * 60 - 64 + 32 * -(-thickness // 2)
    assert report.upper.blocked_area == pytest.approx(30 * 30 - 64, abs=32 * 0.5)


def test_bubble_through_a_hole_is_one_and_blocks_both_sides():
    labels = cell((20, 20, 20), 9, 12)
    labels[5:17, 8:12, 8:12] = BUBBLE
    report = bubble_report(labels)
    found = only(report)
    assert (found["voxels"], found["body"], found["side"]) == (12 * 16, 1, "upper")
    # Four walls, 4 by 3: below the middle 1, above it 2 of the 3 layers.
    assert found["contact_faces"] == 48
    assert (report.lower.blocked_faces, report.upper.blocked_faces) == (16, 32)
    assert (report.lower.n_bubbles, report.upper.n_bubbles, report.whole.n_bubbles) == (0, 1, 1)
    # The gas itself is shared between the electrodes at the membrane's middle.
    assert (report.lower.gas_volume, report.upper.gas_volume) == (5 * 16, 7 * 16)
    assert report.whole.kept_volume == 12 * 16


@pytest.mark.parametrize(("corner", "distance"), [((12, 20), 0), ((12, 21), 1), ((13, 21), np.sqrt(2))])
def test_gas_that_meets_the_membrane_at_an_edge_alone_is_near_but_blocks_nothing(corner, distance):
    labels = np.zeros((24, 40, 20), np.uint8)
    labels[9:12, :20] = MEMBRANE
    z, y = corner
    labels[z : z + 4, y : y + 4, 5:9] = BUBBLE
    report = bubble_report(labels)
    found = only(report)
    assert (found["contact_faces"], found["contact_area"], found["touches_membrane"]) == (0, 0, False)
    assert found["membrane_distance"] == pytest.approx(distance)
    assert report.upper.blocked_fraction == 0


@pytest.mark.parametrize(("first", "side"), [(0, "upper"), (17, "lower")])
def test_membrane_on_the_border_leaves_one_electrode(first, side):
    labels = cell((20, 20, 20), first, first + 3)
    labels[(3 if first == 0 else 11) : (9 if first == 0 else 17), 5:10, 5:10] = BUBBLE
    report = bubble_report(labels)
    own, other = (report.upper, report.lower) if side == "upper" else (report.lower, report.upper)
    assert only(report)["side"] == side
    assert (own.n_bubbles, own.blocked_fraction, own.gas_fraction) == (1, 25 / 400, 150 / 6800)
    # There is no membrane's surface on the other side, so that a share of it is not defined.
    assert (other.electrode_volume, other.gas_fraction, other.blocked_fraction) == (0, 0, None)


def test_labels_of_any_kind_and_memory_give_the_same_report(redox, redox_report):
    turned = np.asfortranarray(redox.labels[::-1])[::-1]
    for labels in (turned, redox.labels.astype(np.uint64), redox.labels.astype(np.float64)):
        report = bubble_report(labels, bubble=np.uint8(1), membrane=np.int64(2), axis=np.int32(0))
        assert report.whole == redox_report.whole
        np.testing.assert_array_equal(report.bubbles["contact_area"], redox_report.bubbles["contact_area"])


def test_a_thousand_bubbles_are_counted_one_by_one():
    labels = cell((56, 60, 60), 26, 28)
    lattice = np.arange(60) % 5 < 3
    for first in (*range(1, 22, 5), *range(29, 50, 5)):
        labels[first : first + 3][:, lattice[:, None] & lattice] = BUBBLE
    report = bubble_report(labels)
    assert report.n_bubbles == len(report.bubbles["id"]) == 10 * 144
    assert (report.lower.n_bubbles, report.upper.n_bubbles) == (5 * 144, 5 * 144)
    assert np.all(report.bubbles["voxels"] == 27)


def test_each_bubble_of_a_cell_is_found_as_it_was_made(redox, redox_report):
    truth, table = redox.truth["bubbles"], redox_report.bubbles
    assert redox_report.n_bubbles == len(table["id"]) == len(truth)
    rows = row_of_truth(redox_report, truth)
    for key, column in (("volume", "voxels"), ("contact_area", "contact_faces"), ("touches_border",) * 2):
        np.testing.assert_array_equal(table[column][rows], [bubble[key] for bubble in truth])
    for key in ("elongation", "flatness"):
        np.testing.assert_allclose(table[key][rows], [bubble[key] for bubble in truth])
    axes = np.column_stack([table[f"axis_{i}"] for i in (1, 2, 3)])
    np.testing.assert_allclose(axes[rows], [bubble["axes"] for bubble in truth])
    directions = np.column_stack([table[f"direction_{n}"] for n in "zyx"])
    np.testing.assert_allclose(directions[rows], [bubble["direction"] for bubble in truth], atol=1e-6)
    np.testing.assert_array_equal(table["side"][rows], [bubble["side"] for bubble in truth])
    np.testing.assert_array_equal(table["touches_membrane"][rows], [bubble["touches_membrane"] for bubble in truth])
    # The truth counts from centre to centre, whatever the way; cuboids are nearer by 1 to √3.
    true = np.array([bubble["membrane_distance"] for bubble in truth])
    assert np.all(table["membrane_distance"][rows] <= true - 1 + 1e-6)
    assert np.all(table["membrane_distance"][rows] >= true - np.sqrt(3) - 1e-6)
    # Numbered as a scan meets them, as the truth is.
    np.testing.assert_array_equal(rows, np.arange(len(truth)))


def test_half_cells_are_those_that_were_made(redox, redox_report):
    for side in ("lower", "upper"):
        truth, found = redox.truth["half_cells"][side], getattr(redox_report, side)
        assert found.n_bubbles == truth["n_bubbles"]
        assert found.gas_volume == found.kept_volume == truth["bubble_volume"]
        assert found.electrode_volume == truth["electrode_volume"]
        assert found.gas_fraction == pytest.approx(truth["bubble_fraction"])
        assert (found.membrane_faces, found.blocked_faces) == (truth["membrane_area"], truth["blocked_area"])
        assert found.blocked_fraction == pytest.approx(truth["membrane_blockage"], rel=0.1)
    whole, lower, upper = redox_report.whole, redox_report.lower, redox_report.upper
    assert whole.gas_fraction == pytest.approx(redox.truth["bubble_fraction"])
    for name in ("n_bubbles", "gas_volume", "kept_volume", "electrode_volume", "membrane_area", "blocked_area"):
        assert getattr(whole, name) == pytest.approx(getattr(lower, name) + getattr(upper, name))


def test_volumes_and_contacts_add_up_whatever_the_filters_refuse(redox):
    noisy = redox.labels.copy()
    rng = np.random.default_rng(0)
    free = np.flatnonzero(noisy == ELECTROLYTE)
    noisy.ravel()[rng.choice(free, 300, replace=False)] = BUBBLE
    report = bubble_report(noisy, minimum_voxels=20, voxel_size_um=(0.5, 2, 3))
    table = report.bubbles
    assert table["voxels"].sum() == np.count_nonzero(noisy == BUBBLE) == np.count_nonzero(report.ids)
    assert table["volume"].sum() == pytest.approx(report.whole.gas_volume)
    assert table["volume"][table["kept"]].sum() == pytest.approx(report.whole.kept_volume)
    assert report.whole.kept_volume < report.whole.gas_volume
    assert table["contact_area"].sum() == pytest.approx(report.whole.blocked_area)
    assert table["contact_faces"].sum() == report.whole.blocked_faces
    assert np.count_nonzero(table["kept"]) == report.n_bubbles
    assert set(np.unique(report.ids)) == {0, *table["id"]}


def test_density_maps_are_the_gas_in_each_column(redox):
    spacing = (0.5, 2.0, 3.0)
    report = bubble_report(redox, voxel_size_um=spacing)
    gas = np.asarray(redox) == BUBBLE
    for axis, density in enumerate((report.density_xy, report.density_xz, report.density_zy)):
        np.testing.assert_allclose(density, gas.sum(axis=axis) * spacing[axis], rtol=1e-6)
        face = np.prod(spacing) / spacing[axis]
        assert density.sum() * face == pytest.approx(report.whole.gas_volume, rel=1e-5)


def test_two_balls_that_overlap_are_parted_into_their_halves():
    distance, radius = 16, 10
    mask = ball((28, 28, 48), (14, 14, 14), radius) | ball((28, 28, 48), (14, 14, 14 + distance), radius)
    table = bubble_report(mask).bubbles
    cap = PI * (radius - distance / 2) ** 2 * (3 * radius - (radius - distance / 2)) / 3
    assert len(table["id"]) == 2
    # They meet between two layers of voxels. A digital ball of this radius is within 1 % of a ball.
    assert list(table["voxels"]) == [np.count_nonzero(mask[:, :, :22]), np.count_nonzero(mask[:, :, 22:])]
    assert table["volume"] == pytest.approx([4 / 3 * PI * radius**3 - cap] * 2, rel=0.01)
    assert list(table["body"]) == [1, 1]
    assert len(bubble_report(mask, split_touching=False).bubbles["id"]) == 1


def test_small_ball_beside_a_large_one_is_parted_from_it():
    shape = (40, 40, 56)
    mask = ball(shape, (20, 20, 20), 15) | ball(shape, (20, 20, 40), 7)
    table = bubble_report(mask).bubbles
    # The plane of the circle in which they meet; the cut may lie a voxel off, after rounding.
    plane = 20 + (15**2 - 7**2 + 20**2) / (2 * 20)
    beyond = np.count_nonzero(mask & (points(shape)[2] > plane))
    neck = PI * (15**2 - (plane - 20) ** 2)
    assert table["volume"] == pytest.approx([np.count_nonzero(mask) - beyond, beyond], abs=1.5 * neck)
    assert table["equivalent_diameter"] == pytest.approx([30, 14], rel=0.03)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (3, 1, 1)])
@pytest.mark.parametrize("semi_axes", [(24, 6, 6), (20, 20, 5), (24, 12, 6), (5, 2, 2)])
def test_elongated_and_flat_ellipsoids_stay_whole(semi_axes, spacing):
    for seed in range(3):
        rows = rotation(seed) * np.array(semi_axes)[:, None]
        mask = ellipsoid([int(50 / s) for s in spacing], (25.3, 24.8, 25.1), rows, spacing)
        assert len(bubble_report(mask, voxel_size_um=spacing).bubbles["id"]) == 1


def test_fibre_through_a_bubble_does_not_part_it():
    labels = ball((30, 30, 30), (15, 15, 15), 11).astype(np.uint8)
    fibre = sum((p - 15) ** 2 for p in points((30, 30, 30))[:2]) < 9
    labels[np.broadcast_to(fibre, labels.shape)] = FIBRE
    found = only(bubble_report(labels))
    # Nor is it less solid: no gas could be within the fibre.
    assert found["solidity"] == 1
    assert len(bubble_report(np.where(labels == FIBRE, 0, labels), split_touching=False).bubbles["id"]) == 1


def test_hollow_shapes_are_refused_by_their_solidity():
    shape = (32, 32, 32)
    z = points(shape)[0]
    bowl = ball(shape, (16, 16, 16), 13) & ~ball(shape, (14, 16, 16), 12) & (z > 14)
    report = bubble_report(bowl, split_touching=False)
    found = only(report)
    assert found["solidity"] < 0.5
    assert (found["kept"], found["reason"]) == (False, "solidity below 0.6")
    assert (report.n_bubbles, report.sizes, report.whole.kept_volume) == (0, None, 0)
    # It is still gas.
    assert report.whole.gas_volume == np.count_nonzero(bowl)
    assert bubble_report(bowl, split_touching=False, minimum_solidity=0).n_bubbles == 1


def test_solidity_of_an_angle_is_its_share_of_the_triangle():
    mask = np.zeros((5, 12, 12), np.uint8)
    mask[2:4, 1:11, 1] = mask[2:4, 1, 1:11] = 1
    # 19 voxels of the 55 lattice points within the triangle of legs 9.
    assert only(bubble_report(mask))["solidity"] == pytest.approx(19 / 55)


def test_filters_say_all_reasons():
    labels = np.zeros((6, 9, 9), np.uint8)
    labels[1, 1, 1:4] = 1
    labels[3:5, 4:8, 4:8] = 1
    table = bubble_report(labels).bubbles
    assert list(table["reason"]) == ["fewer than 8 voxels; in fewer than 2 slices", ""]
    assert list(table["kept"]) == [False, True]
    assert np.isnan(table["solidity"][0])
    assert table["solidity"][1] == 1


def test_bubbles_at_the_border_are_marked_as_cut():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[ball(labels.shape, (10, 10, 0), 5)] = BUBBLE
    labels[ball(labels.shape, (10, 10, 13), 5)] = BUBBLE
    assert list(bubble_report(labels).bubbles["touches_border"]) == [True, False]


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 0.7, 1.3)])
def test_wall_distance_is_that_of_the_nearest_corners(spacing):
    labels = np.zeros((14, 13, 12), np.uint8)
    labels[3, 2:4, 2] = labels[9:11, 7, 6] = BUBBLE
    labels[12, 11, 3] = MEMBRANE
    labels[0, 12, 11] = GASKET
    size = np.array(spacing)

    def gap(rows, label):
        steps = np.abs(np.argwhere(rows)[:, None] - np.argwhere(labels == label)[None])
        return np.sqrt(((np.maximum(steps - 1, 0) * size) ** 2).sum(axis=2)).min()

    for walls in ("none", "ends", "all"):
        report = bubble_report(labels, voxel_size_um=spacing, walls=walls)
        for row, number in enumerate(report.bubbles["id"]):
            own = report.ids == number
            membrane, where = gap(own, MEMBRANE), np.argwhere(own)
            ends = np.minimum(where, np.array(labels.shape) - 1 - where).min(axis=0) * size
            faces = {"none": [], "ends": [ends[0]], "all": list(ends)}[walls]
            assert report.bubbles["membrane_distance"][row] == pytest.approx(membrane, rel=1e-6)
            nearest = min(membrane, gap(own, GASKET), *faces)
            assert report.bubbles["wall_distance"][row] == pytest.approx(nearest, rel=1e-6)


def test_sides_follow_a_bent_membrane(redox):
    sides = electrode_sides(redox)
    labels = redox.labels
    z = np.arange(labels.shape[0])[:, None, None]
    expected = np.where(z + 0.5 < redox.truth["membrane_height_map"], 1, 2)
    expected[(labels == MEMBRANE) | (labels == GASKET)] = 0
    np.testing.assert_array_equal(sides, expected)
    # A cut at the middle of the box would be wrong.
    assert np.ptp(redox.truth["membrane_height_map"]) > 6


def test_hole_in_the_membrane_does_not_join_the_sides(redox):
    labels = redox.labels.copy()
    height = redox.truth["membrane_height_map"]
    y, x = np.indices(height.shape)
    hole = ((y - 36) ** 2 + (x - 40) ** 2 < 9**2) | ((y - 20) ** 2 + x**2 < 5**2)
    labels[(labels == MEMBRANE) & hole] = ELECTROLYTE
    sides = electrode_sides(labels)
    z = np.arange(labels.shape[0])[:, None, None] + 0.5
    # Within the hole the membrane is guessed; it is never off by more than it bends there.
    unsure = hole & (np.abs(z - height) < 4)
    expected = np.where(z < height, 1, 2)
    expected[(labels == MEMBRANE) | (labels == GASKET)] = 0
    np.testing.assert_array_equal(sides[~unsure], expected[~unsure])
    report = bubble_report(labels)
    for side in ("lower", "upper"):
        assert getattr(report, side).n_bubbles == redox.truth["half_cells"][side]["n_bubbles"]


def test_membrane_across_a_hole_lies_on_the_line_between_its_rims():
    shape = (40, 20, 60)
    z, _, x = points(shape)
    labels = np.where(np.abs(z - 8 - 0.4 * x) < 2, MEMBRANE, 0).astype(np.uint8) + np.zeros(shape, np.uint8)
    labels[:, :, 20:40] = ELECTROLYTE
    report = bubble_report(labels)
    np.testing.assert_allclose(report.membrane_height, np.broadcast_to(8 + 0.4 * x[0], (20, 60)), atol=0.55)


def test_specks_of_membrane_do_not_move_the_sides():
    labels = cell()
    labels[3, 5, 5] = labels[35, 20, 20] = MEMBRANE
    labels[18:21, 4:7, 4:7] = ELECTROLYTE
    sides = electrode_sides(labels)
    assert set(np.unique(sides[:18])) <= {0, 1}
    assert set(np.unique(sides[21:])) <= {0, 2}


@pytest.mark.parametrize("axis", [1, 2])
def test_cell_may_lie_along_any_axis(redox, redox_report, axis):
    turned = bubble_report(np.moveaxis(redox.labels, 0, axis), axis=axis)
    for side in ("lower", "upper", "whole"):
        there, here = getattr(turned, side), getattr(redox_report, side)
        assert there.n_bubbles == here.n_bubbles
        assert there.gas_fraction == here.gas_fraction
        assert there.blocked_faces == here.blocked_faces
        assert there.blocked_area == pytest.approx(here.blocked_area)
    np.testing.assert_array_equal(turned.membrane_height, redox_report.membrane_height)
    for name in ("volume", "surface", "elongation", "wall_distance", "solidity"):
        np.testing.assert_allclose(np.sort(turned.bubbles[name]), np.sort(redox_report.bubbles[name]))
    sides = electrode_sides(np.moveaxis(redox.labels, 0, axis), axis=axis)
    np.testing.assert_array_equal(np.moveaxis(sides, axis, 0), electrode_sides(redox))


def test_lengths_scale_with_the_voxel(redox, redox_report):
    known = bubble_report(volume.Volume(redox.labels, voxel_size_um=(3, 3, 3), phases=redox.phases))
    assert (known.unit, redox_report.unit) == ("um", "voxel")
    powers = {"volume": 3, "surface": 2, "contact_area": 2, "equivalent_diameter": 1, "axis_3": 1, "centroid_y": 1}
    powers |= {"membrane_distance": 1, "wall_distance": 1, "sphericity": 0, "elongation": 0, "inclination_deg": 0}
    for name, power in powers.items():
        np.testing.assert_allclose(known.bubbles[name], 3.0**power * redox_report.bubbles[name], rtol=1e-6)
    assert known.upper.membrane_area == pytest.approx(9 * redox_report.upper.membrane_area)
    assert known.sizes.sauter == pytest.approx(3 * redox_report.sizes.sauter)
    assert known.upper.blocked_fraction == pytest.approx(redox_report.upper.blocked_fraction)


def test_phases_may_be_named_and_labels_be_others(redox, redox_report):
    names = {name: name for name in ("bubble", "membrane", "electrolyte", "gasket", "fibre")}
    shifted = volume.Volume(np.array([4, 3, 2, 1, 0], np.uint8)[redox.labels], phases=redox.phases[::-1])
    for report in (bubble_report(redox, **names), bubble_report(shifted, **names)):
        np.testing.assert_array_equal(report.ids, redox_report.ids)
        assert report.whole == redox_report.whole
    np.testing.assert_array_equal(
        electrode_sides(shifted, membrane="membrane", others=("gasket",)), electrode_sides(redox)
    )


def test_sizes_of_known_balls():
    labels = np.zeros((26, 26, 90), np.uint8)
    radii = (5, 8, 11)
    for radius, x in zip(radii, (10, 30, 60), strict=True):
        labels[ball(labels.shape, (13, 13, x), radius)] = BUBBLE
    sizes = bubble_report(labels).sizes
    diameters = 2 * np.array(radii)
    assert sizes.mean == pytest.approx(diameters.mean(), rel=0.01)
    assert sizes.median == pytest.approx(16, rel=0.01)
    assert sizes.standard_deviation == pytest.approx(diameters.std(), rel=0.02)
    assert sizes.sauter == pytest.approx((diameters**3).sum() / (diameters**2).sum(), rel=0.01)
    # Shares of the gas: 0.065, 0.267 and 0.668.
    assert (sizes.d10, sizes.d50, sizes.d90) == pytest.approx((16, 22, 22), rel=0.01)


def test_without_a_membrane_blockage_is_undefined_and_says_why():
    labels = ball((20, 20, 20), (10, 10, 10), 5).astype(np.uint8)
    for membrane, reason in ((None, "no membrane was named"), (2, "the membrane, label 2, does not occur")):
        report = bubble_report(labels, membrane=membrane)
        assert report.undefined.startswith(reason)
        assert report.lower is report.upper is report.membrane_height is report.whole.blocked_fraction is None
        assert report.whole.gas_fraction == pytest.approx(labels.mean())
        found = only(report)
        assert (found["side"], found["contact_area"], found["touches_membrane"]) == ("", 0, False)
        assert (found["membrane_distance"], found["wall_distance"]) == (np.inf, 5)
    assert only(bubble_report(labels, membrane=None, walls="none"))["wall_distance"] == np.inf


def test_without_bubbles_the_table_is_empty_and_fractions_are_zero():
    report = bubble_report(cell())
    assert {len(column) for column in report.bubbles.values()} == {0}
    assert set(report.bubbles) == set(bubble_report(ball((9, 9, 9), (4, 4, 4), 3)).bubbles)
    assert (report.n_bubbles, report.sizes, report.undefined) == (0, None, "")
    for part in (report.lower, report.upper, report.whole):
        assert (part.gas_fraction, part.blocked_fraction, part.gas_volume) == (0, 0, 0)
    assert report.density_xy.sum() == report.density_xz.sum() == report.density_zy.sum() == 0
    assert report.lower.electrode_volume == 18 * 1600


def test_membrane_alone_has_no_electrode():
    report = bubble_report(np.full((4, 5, 6), MEMBRANE, np.uint8))
    assert (report.whole.gas_fraction, report.whole.blocked_fraction) == (0, None)


def test_volume_of_one_slice_or_one_voxel_is_measured():
    labels = np.zeros((1, 40, 40), np.uint8)
    labels[0, 18:21] = MEMBRANE
    labels[0, 21:29, 10:20] = BUBBLE
    report = bubble_report(labels, axis=1)
    found = only(report)
    # The filter for single slices would leave nothing of a volume that has no more.
    assert found["kept"]
    assert (found["contact_faces"], report.upper.blocked_fraction) == (10, 0.25)
    assert only(bubble_report(np.ones((1, 1, 1), np.uint8)))["voxels"] == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cell_of_a_single_row_of_voxels_is_measured(axis):
    """Such rows crash cc3d 4.1.1 with 26 neighbours."""
    row = np.array([BUBBLE, ELECTROLYTE, MEMBRANE, ELECTROLYTE, MEMBRANE, BUBBLE, ELECTROLYTE, BUBBLE], np.uint8)
    report = bubble_report(np.moveaxis(row[:, None, None], 0, axis), axis=axis)
    assert list(report.bubbles["voxels"]) == [1, 1, 1]
    assert list(report.bubbles["contact_faces"]) == [0, 1, 0]
    assert list(report.bubbles["side"]) == ["lower", "upper", "upper"]


def test_all_gas_is_one_bubble():
    found = only(bubble_report(np.ones((6, 7, 8), np.uint8)))
    assert (found["voxels"], found["solidity"], found["touches_border"]) == (6 * 7 * 8, 1, True)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
    shape=st.tuples(*[st.integers(1, 7)] * 3), seed=st.integers(0, 2**32 - 1), axis=st.integers(0, 2),
    spacing=st.tuples(*[st.floats(0.3, 3)] * 3),
)  # fmt: skip
def test_whatever_the_labels_volumes_add_up_and_nothing_is_nan(shape, seed, axis, spacing):
    rng = np.random.default_rng(seed)
    labels = rng.choice(5, shape, p=rng.dirichlet(np.ones(5))).astype(np.uint8)
    report = bubble_report(labels, axis=axis, voxel_size_um=spacing, minimum_voxels=1)
    table = report.bubbles
    np.testing.assert_array_equal(report.ids > 0, labels == BUBBLE)
    np.testing.assert_array_equal(np.bincount(report.ids.ravel(), minlength=len(table["id"]) + 1)[1:], table["voxels"])
    assert table["contact_area"].sum() == pytest.approx(report.whole.blocked_area)
    assert report.whole.membrane_area >= report.whole.blocked_area
    assert {len(column) for column in table.values()} == {len(table["id"])}
    for column in table.values():
        assert column.dtype.kind in "bU" or not np.isnan(column).any()
    assert np.all((table["solidity"] > 0) & (table["solidity"] <= 1))
    assert np.all((table["elongation"] >= 1) & (table["flatness"] >= 1) & (table["surface"] > 0))
    np.testing.assert_array_equal(table["kept"], table["reason"] == "")


LABELS = cell((6, 6, 6), 2, 4)


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        (np.zeros((4, 4)), {}, "labels has shape"),
        (np.zeros((0, 4, 4), np.uint8), {}, "labels is empty"),
        (np.full((3, 3, 3), 0.5), {}, "labels holds fractional or NaN values"),
        (
            np.full((3, 3, 3), 7, np.uint8),
            {},
            r"labels holds 7, which is no phase of the cell \(electrolyte 0, bubble 1",
        ),
        (LABELS, {"membrane": None}, "labels holds 2, which is no phase"),
        (LABELS, {"membrane": 1}, "bubble and membrane are both label 1"),
        (LABELS, {"bubble": None}, "bubble is None; give its label"),
        (LABELS, {"bubble": 1.5}, "bubble is 1.5; it must be a whole number"),
        (LABELS, {"gasket": 256}, "gasket is 256; it must be from 0 to 255"),
        (LABELS, {"membrane": "nafion"}, "membrane is 'nafion', but the phases named in labels are: none"),
        (LABELS, {"axis": 3}, "axis is 3; it must be from 0 to 2"),
        (LABELS, {"walls": "some"}, "walls is 'some'; it must be one of 'ends', 'all', 'none'"),
        (LABELS, {"voxel_size_um": (1, 1, 0)}, "the three edge lengths must be positive and finite"),
        (LABELS, {"voxel_size_um": (1, 1, 1000)}, "edges more than 100 : 1 apart"),
        (LABELS, {"walls": ["ends"]}, r"walls is \['ends'\]"),
        (LABELS, {"split_touching": "no"}, "split_touching is 'no'; give True or False"),
        (LABELS, {"split_neck": 0}, "split_neck is 0; give a share above 0"),
        (LABELS, {"split_neck": float("nan")}, "split_neck is nan; give a number from 0 to 1"),
        (LABELS, {"minimum_solidity": 1.2}, "minimum_solidity is 1.2; give a number from 0 to 1"),
        (LABELS, {"minimum_solidity": "high"}, "minimum_solidity is 'high'; give a number from 0 to 1"),
        (LABELS, {"minimum_voxels": 0}, "minimum_voxels is 0; it must be at least 1"),
        (LABELS, {"minimum_slices": 1.5}, "minimum_slices is 1.5; it must be a whole number"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(labels, arguments, message):
    with pytest.raises(ValueError, match=message):
        bubble_report(labels, **arguments)


def test_label_that_the_volume_gives_another_phase_is_refused():
    named = volume.Volume(LABELS, phases=("electrolyte", "gasket", "membrane", "bubble"))
    with pytest.raises(ValueError, match="bubble is label 1, but the phases named in labels call label 3 so"):
        bubble_report(named)
    with pytest.raises(ValueError, match="membrane is label 1, but the phases named in labels call label 2 so"):
        electrode_sides(named, membrane=1)


def test_sides_without_a_membrane_are_refused():
    with pytest.raises(ValueError, match=r"labels holds no voxel of the membrane \(label 2\)"):
        electrode_sides(np.zeros((3, 3, 3), np.uint8))
