"""Clusters of a phase: what is connected, what spans, what is reached, in memory and block by block."""

import numpy as np
import pytest
from scipy import ndimage

from evaluate.morphology import connected_parts
from evaluate.morphology.connected_parts import clusters, percolating_part

STEPS = {6: 1, 18: 2, 26: 3}


def noise(shape=(25, 22, 31), seed=0, level=0.4, width=0.0):
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), width)
    return values < np.quantile(values, level)


def staircase(n=8):
    """Voxels (i, i, i): neighbours across corners only."""
    mask = np.zeros((n, n, n), bool)
    mask[np.arange(n), np.arange(n), np.arange(n)] = True
    return mask


def same_in(first, second):
    names = ("voxels", "volume", "touches", "accessible_fraction")
    alone = ("percolates", "percolating_fraction", "isolated_fraction", "largest_fraction", "volume_fraction")
    return all(np.array_equal(getattr(first, n), getattr(second, n)) for n in names) and all(
        getattr(first, n) == getattr(second, n) for n in alone
    )


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize(("level", "width"), [(0.1, 0), (0.3, 0), (0.5, 1.2)])
def test_clusters_are_those_of_scipy(level, width, connectivity):
    mask = noise(level=level, width=width)
    found = clusters(mask, connectivity=connectivity)
    expected, number = ndimage.label(mask, ndimage.generate_binary_structure(3, STEPS[connectivity]))
    assert found.number == number == found.labels.max()
    assert found.labels.dtype == np.uint32
    # One number there goes with one number here, and the other way round.
    assert len(np.unique(np.stack([expected[mask], found.labels[mask]]), axis=1).T) == number
    assert not found.labels[~mask].any()
    assert np.array_equal(np.bincount(found.labels[mask])[1:], found.voxels)


def test_numbers_go_from_the_largest_to_the_smallest_and_equal_ones_in_order():
    mask = np.zeros((6, 6, 12), bool)
    mask[4, 1, 1] = mask[1, 1, 7] = True
    mask[3, 3, 3:6] = True
    found = clusters(mask)
    assert found.voxels.tolist() == [3, 1, 1]
    assert (found.labels[3, 3, 4], found.labels[1, 1, 7], found.labels[4, 1, 1]) == (1, 2, 3)


@pytest.mark.parametrize(("connectivity", "number"), [(6, 8), (18, 8), (26, 1)])
def test_staircase_across_corners_percolates_with_26_neighbours_only(connectivity, number):
    found = clusters(staircase(), connectivity=connectivity)
    assert found.number == number
    assert found.percolates == (number == 1,) * 3
    assert found.percolating_fraction == (float(number == 1),) * 3


def test_staircase_across_edges_needs_18_neighbours():
    mask = np.zeros((5, 5, 5), bool)
    mask[np.arange(5), np.arange(5), 2] = True
    assert [clusters(mask, connectivity=c).number for c in (6, 18, 26)] == [5, 1, 1]
    assert clusters(mask, connectivity=18).percolates == (True, True, False)


def test_staircase_across_faces_percolates_with_6():
    mask = staircase()
    mask[np.arange(7), np.arange(7), np.arange(1, 8)] = True
    mask[np.arange(7), np.arange(1, 8), np.arange(1, 8)] = True
    assert clusters(mask).percolates == (True, True, True)


def test_checkerboard_is_all_apart_with_6_and_all_together_with_26():
    mask = np.indices((4, 5, 6)).sum(axis=0) % 2 == 0
    assert clusters(mask).voxels.tolist() == [1] * 60
    assert clusters(mask, connectivity=18).voxels.tolist() == [60]
    assert clusters(mask, connectivity=26).percolates == (True, True, True)


def test_lattice_of_cubes_is_isolated():
    mask = np.zeros((24, 24, 24), bool)
    for corner in np.ndindex(3, 3, 3):
        mask[tuple(slice(8 * i + 2, 8 * i + 6) for i in corner)] = True
    found = clusters(mask, voxel_size_um=(0.5, 1, 2))
    assert found.voxels.tolist() == [64] * 27
    assert found.volume == pytest.approx(64.0)
    assert (found.isolated_fraction, found.largest_fraction) == (1, pytest.approx(1 / 27))
    assert found.volume_fraction == pytest.approx(27 * 64 / 24**3)
    assert (found.unit, clusters(mask).unit) == ("um", "voxel")
    around = clusters(~mask)
    assert around.number == 1
    assert around.percolates == (True, True, True)


def test_channel_dead_end_and_closed_pore_are_told_apart():
    mask = np.zeros((10, 12, 14), bool)
    mask[:, 2, 2] = True  # through z: 10
    mask[:6, 6, 6] = True  # dead end from z = 0: 6
    mask[3:5, 9, 9:11] = True  # closed: 4
    found = clusters(mask)
    assert found.percolates == (True, False, False)
    assert found.percolating_fraction == (0.5, 0, 0)
    assert found.accessible_fraction == pytest.approx(np.array([[0.8, 0.5], [0, 0], [0, 0]]))
    assert found.isolated_fraction == pytest.approx(0.2)
    assert found.touches[:, 0].tolist() == [[True, True], [True, False], [False, False]]
    through = percolating_part(mask, axis=0)
    assert through.sum() == 10
    assert through[:, 2, 2].all()
    assert not percolating_part(mask, axis=2).any()


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize(("level", "width"), [(0.15, 0), (0.4, 0), (0.5, 1.2)])
def test_blocks_give_the_clusters_of_the_whole(level, width, connectivity, monkeypatch):
    dask_array = pytest.importorskip("dask.array")
    monkeypatch.setattr(connected_parts, "BLOCK_EDGE", 9)
    mask = noise((17, 20, 23), seed=1, level=level, width=width)
    whole = clusters(mask, connectivity=connectivity)
    out = np.zeros(mask.shape, np.uint32)
    parts = clusters(dask_array.from_array(mask, chunks=8), connectivity=connectivity, out=out)
    assert parts.labels is out
    assert np.array_equal(out, whole.labels)
    assert same_in(parts, whole)


@pytest.mark.parametrize("edge", [3, 5])
def test_serpentine_through_many_blocks_is_one_cluster(edge, monkeypatch):
    dask_array = pytest.importorskip("dask.array")
    monkeypatch.setattr(connected_parts, "BLOCK_EDGE", edge)
    mask = np.zeros((7, 9, 9), bool)
    for z in range(0, 7, 2):
        mask[z, ::2] = True
        mask[z, 1::4, -1] = mask[z, 3::4, 0] = True
    mask[1, -1, -1] = mask[3, 0, 0] = mask[5, -1, -1] = True
    found = clusters(dask_array.from_array(mask))
    assert found.labels is None
    assert found.voxels.tolist() == [mask.sum()]
    assert found.percolates == (True, True, True)
    assert clusters(dask_array.from_array(staircase(7)), connectivity=26).number == 1


def test_labels_are_written_into_a_zarr_array(monkeypatch, tmp_path):
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr(connected_parts, "BLOCK_EDGE", 16)
    mask = noise()
    source = zarr.create_array(tmp_path / "mask", shape=mask.shape, chunks=(10, 10, 10), dtype="uint8")
    source[...] = mask
    out = zarr.create_array(tmp_path / "out", shape=mask.shape, chunks=(10, 10, 10), dtype="uint32")
    found = clusters(source, out=out)
    assert np.array_equal(out[...], clusters(mask).labels)
    assert same_in(found, clusters(mask))


def test_array_given_for_the_labels_is_filled_in_memory_too():
    mask = noise()
    out = np.zeros(mask.shape, np.uint32)
    assert clusters(mask, out=out).labels is out
    assert np.array_equal(out, clusters(mask).labels)


def test_layout_does_not_matter():
    mask = noise()
    expected = clusters(mask)
    for same in (np.asfortranarray(mask), mask.astype(np.uint8), np.repeat(mask, 2, axis=1)[:, ::2]):
        assert np.array_equal(clusters(same).labels, expected.labels)


def test_missing_phase_has_no_clusters_and_a_full_window_one():
    nothing = clusters(np.zeros((4, 5, 6), bool))
    assert (nothing.number, nothing.percolates) == (0, (False,) * 3)
    assert (nothing.isolated_fraction, nothing.largest_fraction, nothing.volume_fraction) == (0, 0, 0)
    assert not nothing.accessible_fraction.any()
    everything = clusters(np.ones((4, 5, 6), bool))
    assert everything.voxels.tolist() == [120]
    assert everything.percolating_fraction == (1, 1, 1)
    assert clusters(np.ones((1, 1, 1), bool)).touches.all()


def test_missing_phase_of_a_lazy_array_has_no_clusters():
    dask_array = pytest.importorskip("dask.array")
    assert same_in(clusters(dask_array.zeros((4, 5, 6), dtype=bool)), clusters(np.zeros((4, 5, 6), bool)))


@pytest.mark.parametrize(
    ("mask", "keywords", "message"),
    [
        (np.zeros((4, 4), bool), {}, "3-D"),
        (np.zeros((0, 4, 4), bool), {}, "empty"),
        (np.full((4, 4, 4), 2), {}, "labels == 1"),
        (np.zeros((4, 4, 4), bool), {"connectivity": 4}, "connectivity"),
        (np.zeros((4, 4, 4), bool), {"voxel_size_um": (1, 1)}, "three numbers"),
        (np.zeros((4, 4, 4), bool), {"out": np.zeros((4, 4, 5))}, "must be the same"),
    ],
)
def test_what_has_no_clusters_is_refused(mask, keywords, message):
    with pytest.raises(ValueError, match=message):
        clusters(mask, **keywords)


def test_lazy_arrays_are_refused_alike():
    dask_array = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match="3-D"):
        clusters(dask_array.zeros((4, 4)))
    with pytest.raises(ValueError, match="labels == 1"):
        clusters(dask_array.full((4, 4, 4), 2))


@pytest.mark.parametrize("axis", [3, -1, 0.5, "z"])
def test_axes_that_are_not_there_are_refused(axis):
    with pytest.raises(ValueError, match="axis"):
        percolating_part(np.ones((3, 3, 3), bool), axis=axis)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 1, 1), (1, 3, 1)])
def test_voxels_apart_in_a_single_row_are_two_clusters(shape, connectivity):
    row = np.array([1, 0, 1], bool).reshape(shape)
    assert clusters(row, connectivity=connectivity).number == 2
