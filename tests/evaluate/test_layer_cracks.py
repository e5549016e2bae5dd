"""Cracks of known number, area, width, length and direction, and fibres that are none."""

import numpy as np
import pytest

import synth
from evaluate.layers import layer_report

PORE, FIBRE, MPL = range(3)
THICKNESS = 8


def slab(plan=(60, 70), depth=24, thickness=THICKNESS):
    """An MPL without a crack, a few fibres beyond it."""
    labels = np.zeros((depth, *plan), np.uint8)
    labels[:thickness] = MPL
    labels[thickness + 2 : depth : 5, :, 5::12] = FIBRE
    return labels


def ribbon(plan, *, centre, length, width, degrees, pixel=(1, 1)):
    """Plan of a straight crack; the angle is from the second axis towards the first."""
    first, second = ((i + 0.5) * p - c for i, p, c in zip(np.indices(plan), pixel, centre, strict=True))
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    along, across = second * cosine + first * sine, first * cosine - second * sine
    return (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)


def cut(labels, plan, stop=THICKNESS, start=0):
    """Take the MPL out of these columns."""
    part = labels[start:stop]
    part[np.broadcast_to(plan, part.shape) & (part == MPL)] = PORE
    return labels


def cracks_of(labels, **given):
    return layer_report(labels, pore_sizes=False, **given).cracks


def only(cracks):
    assert cracks.n_cracks == 1
    return {name: column[0] for name, column in cracks.table.items()}


def test_layer_without_cracks_has_none():
    found = cracks_of(slab())
    assert found.n_cracks == 0
    assert (found.area, found.area_fraction, found.open_fraction, found.density) == (0, 0, 0, 0)
    assert all(len(column) == 0 for column in found.table.values())


@pytest.mark.parametrize("voxel", [None, (3.0, 0.5, 2.0)])
def test_rectangles_have_their_areas_widths_and_lengths(voxel):
    labels = slab()
    labels[:THICKNESS, 10:14, 8:38] = PORE
    labels[:THICKNESS, 20:50, 50:56] = PORE
    found = cracks_of(labels, voxel_size_um=voxel)
    _, dy, dx = voxel or (1, 1, 1)
    np.testing.assert_array_equal(found.table["pixels"], [4 * 30, 30 * 6])
    np.testing.assert_allclose(found.table["area"], np.array([120, 180]) * dy * dx)
    # Balls do not get into the corners of the second one where its voxels make it nearly a square.
    np.testing.assert_allclose(found.table["mean_width"], [4 * dy, 6 * dx], rtol=0 if voxel is None else 0.05)
    np.testing.assert_allclose(found.table["max_width"], [4 * dy, 6 * dx])
    # Along the lattice the centre line of a rectangle is a row of pixels; with an even width it ends off the middle.
    if voxel is None:
        np.testing.assert_allclose(found.table["length"], [30, 30], atol=1)
    np.testing.assert_allclose(found.table["orientation_deg"], [0, 90])
    np.testing.assert_allclose(found.table["centroid_y"], np.array([12, 35]) * dy)
    np.testing.assert_allclose(found.table["centroid_x"], np.array([23, 53]) * dx)
    assert found.area_fraction == pytest.approx(300 / 4200)
    assert found.open_fraction == pytest.approx(300 / 4200)
    assert found.density == pytest.approx(2 / (4200 * dy * dx))


@pytest.mark.parametrize("degrees", [0, 20, 45, 73, 90, 120, 155])
@pytest.mark.parametrize("width", [3, 6])
def test_diagonal_crack_has_its_length_width_and_direction(degrees, width):
    plan = (90, 90)
    shape = ribbon(plan, centre=(45.2, 44.7), length=60, width=width, degrees=degrees)
    found = only(cracks_of(cut(slab(plan), shape)))
    # 4 % of the length, and tips that lie within a pixel.
    assert found["length"] == pytest.approx(60, abs=0.04 * 60 + 1)
    assert found["area"] == shape.sum()
    assert found["mean_width"] == pytest.approx(width, abs=1)
    assert found["max_width"] == pytest.approx(width, abs=1.5)
    assert abs((found["orientation_deg"] - degrees + 90) % 180 - 90) < 1
    assert found["open"]
    assert not found["touches_border"]


@pytest.mark.parametrize("degrees", [0, 30, 90, 140])
def test_lengths_and_directions_are_physical(degrees):
    pixel = (1.0, 1.6)
    plan = (100, 60)
    shape = ribbon(plan, centre=(50, 48), length=70, width=6, degrees=degrees, pixel=pixel)
    found = only(cracks_of(cut(slab(plan), shape), voxel_size_um=(2.0, *pixel)))
    assert found["length"] == pytest.approx(70, rel=0.12)
    # The sides of a crack along the lattice lie on the faces of pixels.
    assert found["area"] == pytest.approx(70 * 6, rel=max(pixel) / 2 / 6)
    assert found["mean_width"] == pytest.approx(6, abs=max(pixel))
    assert abs((found["orientation_deg"] - degrees + 90) % 180 - 90) < 1


def test_branches_count_in_the_length():
    plan = (120, 120)
    arms = [ribbon(plan, centre=(60.5, 60.5), length=100, width=5, degrees=angle) for angle in (0, 90)]
    found = only(cracks_of(cut(slab(plan), arms[0] | arms[1])))
    assert found["length"] == pytest.approx(200, rel=0.04)
    assert found["elongation"] == pytest.approx(1, abs=0.01)


def test_ring_has_the_length_of_its_circle():
    first, second = np.indices((100, 100)) - 49.6
    found = only(cracks_of(cut(slab((100, 100)), np.abs(np.hypot(first, second) - 35) <= 2)))
    assert found["length"] == pytest.approx(2 * np.pi * 35, rel=0.02)


def test_fibre_across_a_crack_is_neither_a_gap_nor_a_crack():
    labels = slab()
    labels[:THICKNESS, 20:26, 10:60] = PORE
    whole = cracks_of(labels)
    thin, thick = labels.copy(), labels.copy()
    thin[3:6, 15:31, 30:33] = FIBRE
    # This one fills the crack's whole thickness; the crack goes on behind it.
    thick[:THICKNESS, 15:31, 30:33] = FIBRE
    for crossed in (thin, thick):
        found = cracks_of(crossed)
        np.testing.assert_array_equal(found.ids, whole.ids)
        assert only(found)["length"] == only(whole)["length"]
    # In one slice, what is not MPL falls apart, and the fibre in the MPL beside counts as crack.
    in_slice = np.count_nonzero(thick[0] != MPL)
    assert in_slice > whole.area


def test_fibres_in_the_mpl_are_no_cracks():
    labels = slab()
    labels[2:5, :, 20:23] = FIBRE
    labels[:THICKNESS, 30:33, :] = FIBRE
    labels[: THICKNESS - 1, 40:43, :] = FIBRE
    assert cracks_of(labels).n_cracks == 0


def test_column_that_fibres_leave_little_room_in_is_judged_by_that_room():
    labels = slab()
    labels[:4, 20:24, 20:40] = FIBRE
    labels[4:THICKNESS, 20:24, 20:40] = PORE
    assert only(cracks_of(labels))["pixels"] == 80


def test_pits_are_no_cracks_and_blind_cracks_are_not_open():
    labels = slab()
    labels[:2, 10:14, 10:40] = PORE
    labels[:7, 30:34, 10:40] = PORE
    labels[:THICKNESS, 50:54, 10:40] = PORE
    found = cracks_of(labels)
    np.testing.assert_array_equal(found.table["open"], [False, True])
    np.testing.assert_allclose(found.table["open_area"], [0, 120])
    assert found.area_fraction == pytest.approx(240 / 4200)
    assert found.open_fraction == pytest.approx(120 / 4200)
    assert cracks_of(labels, crack_openness=1.0).n_cracks == 1
    assert cracks_of(labels, crack_openness=0.2).n_cracks == 3


def test_crack_that_does_not_reach_the_free_side_is_found():
    # One slice of the free side shows nothing of it.
    labels = slab()
    labels[1:THICKNESS, 20:24, 10:40] = PORE
    assert (labels[0] == MPL).all()
    assert only(cracks_of(labels))["pixels"] == 120


def test_small_cracks_are_dropped_if_asked():
    labels = slab()
    labels[:THICKNESS, 10:14, 10:40] = PORE
    labels[:THICKNESS, 30, 30] = PORE
    labels[:THICKNESS, 40:42, 30] = PORE
    np.testing.assert_array_equal(cracks_of(labels).table["pixels"], [120, 1, 2])
    found = cracks_of(labels, minimum_crack_pixels=3)
    assert only(found)["pixels"] == 120
    assert found.dropped_pixels == 3
    assert set(np.unique(found.ids)) == {0, 1}


def test_single_pixel_has_the_measures_of_a_pixel():
    labels = slab()
    labels[:THICKNESS, 30, 30] = PORE
    found = only(cracks_of(labels, voxel_size_um=(1, 0.5, 0.5)))
    assert found["area"] == 0.25
    assert found["length"] == pytest.approx(0.5, abs=0.25)
    assert found["mean_width"] == found["max_width"] == 0.5
    assert found["elongation"] == pytest.approx(1)


def test_crack_along_the_border_is_as_wide_as_what_is_seen_of_it():
    labels = slab()
    labels[:THICKNESS, :3, 10:50] = PORE
    found = only(cracks_of(labels))
    assert found["touches_border"]
    assert found["mean_width"] == found["max_width"] == 3


def test_cracks_that_touch_at_a_corner_are_one():
    labels = slab()
    labels[:THICKNESS, 10:14, 10:20] = PORE
    labels[:THICKNESS, 14:18, 20:30] = PORE
    assert cracks_of(labels).n_cracks == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_cracks_of_a_synthetic_layer_are_those_that_were_made(seed):
    made = synth.gdl_with_mpl((32, 160, 180), rng=seed)
    found = cracks_of(made)
    np.testing.assert_array_equal(found.ids, made.truth["crack_map"])
    assert found.n_cracks == made.truth["n_cracks"]
    np.testing.assert_array_equal(found.table["area"], [crack["area"] for crack in made.truth["cracks"]])
    assert found.area_fraction == pytest.approx(made.truth["crack_area_fraction"])
    centroids = np.column_stack([found.table["centroid_y"], found.table["centroid_x"]])
    np.testing.assert_allclose(centroids, [crack["centroid"] for crack in made.truth["cracks"]], atol=1e-4)
    assert found.table["open"].all()


def test_lengths_of_thin_synthetic_cracks_add_up():
    made = synth.gdl_with_mpl((12, 300, 300), rng=3, crack_area_fraction=0.06, crack_width_vox=(3.0, 0.1))
    table = cracks_of(made).table
    true = np.array([crack["length"] for crack in made.truth["cracks"]])
    assert table["length"].sum() == pytest.approx(true.sum(), rel=0.08)
