"""Local thickness, access and pore size distributions of bodies whose sizes are known."""

import math

import numba
import numpy as np
import pytest
from scipy import ndimage

from evaluate.morphology import thickness
from evaluate.morphology.accessible_sizes import intrusion_diameter
from evaluate.morphology.pore_bodies import split_pores
from evaluate.morphology.pore_sizes import pore_size_distribution
from evaluate.morphology.thickness import fitting_balls, highest_covering, local_thickness

CUBE = (1.0, 1.0, 1.0)
UNEQUAL = (2.0, 1.0, 0.5)


def grid(shape, centre, spacing=CUBE):
    return [(i - c) * s for i, c, s in zip(np.indices(shape), centre, spacing, strict=True)]


def ball(radius, shape, centre, spacing=CUBE):
    return sum(axis**2 for axis in grid(shape, centre, spacing)) <= radius**2


def blobs(shape, seed=0, level=0.5, width=1.8):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), width)
    return noise < np.quantile(noise, level)


def covered(mask, radius2, value, spacing):
    """Paint every ball, one after the other."""
    places = np.indices(mask.shape)
    best = np.zeros(mask.shape, np.float32)
    for centre in np.argwhere(mask):
        distance2 = sum(((places[a] - centre[a]) * spacing[a]) ** 2 for a in range(3))
        inside = mask & (distance2 < radius2[tuple(centre)] * (1 - 1e-6))
        best[inside] = np.maximum(best[inside], value[tuple(centre)])
    return best


def chords(mask, axis, spacing):
    """Length of the chord through each voxel, infinite if it ends at the border."""
    found = np.zeros(mask.shape)
    for line in np.ndindex(tuple(np.delete(mask.shape, axis))):
        where = (*line[:axis], slice(None), *line[axis:])
        labels, number = ndimage.label(mask[where])
        for run in range(1, number + 1):
            inside = np.flatnonzero(labels == run)
            cut = inside[0] == 0 or inside[-1] == mask.shape[axis] - 1
            found[where][inside] = math.inf if cut else len(inside) * spacing[axis]
    return found


def oracle_balls(mask, spacing):
    radius = ndimage.distance_transform_edt(mask, sampling=spacing)
    return radius**2, np.min([2 * radius, *(chords(mask, axis, spacing) for axis in range(3))], axis=0)


@pytest.mark.parametrize("spacing", [None, UNEQUAL])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_slab_of_n_voxels_is_n_thick(n, axis, spacing):
    mask = np.zeros((14, 14, 14), bool)
    mask[4 : 4 + n] = True
    mask = np.moveaxis(mask, 0, axis)
    found = local_thickness(mask, voxel_size_um=spacing)
    assert found[mask] == pytest.approx(n * (spacing or CUBE)[axis])
    assert found.dtype == np.float32
    assert not found[~mask].any()


@pytest.mark.parametrize("n", range(1, 8))
def test_square_channel_and_cube_are_as_wide_as_they_are(n):
    channel, cube = np.zeros((2, 14, 14, 14), bool)
    channel[:, 3 : 3 + n, 4 : 4 + n] = True
    cube[3 : 3 + n, 4 : 4 + n, 5 : 5 + n] = True
    assert local_thickness(channel).max() == n
    assert local_thickness(cube).max() == n


@pytest.mark.parametrize("spacing", [CUBE, (2.0, 1.0, 1.0)])
@pytest.mark.parametrize("radius", [6.0, 9.7, 12.4])
def test_ball_is_as_wide_as_it_is_but_for_the_lattice(radius, spacing):
    shape = tuple(int(2 * radius / edge) + 6 for edge in spacing)
    mask = ball(radius, shape, [n / 2 - 0.3 for n in shape], spacing)
    found = local_thickness(mask, voxel_size_um=spacing)[mask]
    # The best centre is within half a diagonal of a voxel; no chord has more voxels than length + 1.
    assert 2 * radius - np.linalg.norm(spacing) < found.max() <= 2 * radius + min(spacing)
    assert np.median(found) == found.max()


def test_cylinder_is_as_wide_as_it_is_but_for_the_lattice():
    z, y, x = grid((4, 30, 30), (0, 14.3, 14.6))
    for radius in (4.0, 7.5, 11.2):
        mask = (y**2 + x**2 <= radius**2) & (z < 9)
        found = local_thickness(mask)
        assert 2 * radius - math.sqrt(2) < np.median(found[mask]) <= 2 * radius + 1
        assert np.array_equal(found[0], found[-1])


def test_shell_is_as_thick_as_its_wall():
    mask = ball(15, (36, 36, 36), (17.4, 17.5, 17.6)) & ~ball(8, (36, 36, 36), (17.4, 17.5, 17.6))
    found = local_thickness(mask)[mask]
    assert 7 - math.sqrt(3) < np.median(found)
    assert found.max() <= 7 + math.sqrt(3)


def test_touching_pores_keep_their_own_diameters():
    shape = (20, 20, 44)
    mask = ball(8, shape, (9.5, 9.5, 10)) | ball(4, shape, (9.5, 9.5, 30))
    found = local_thickness(mask)
    big, small = (np.median(found[10, 10, at]) for at in (slice(6, 14), slice(28, 33)))
    assert 16 - math.sqrt(3) < big <= 17
    assert 8 - math.sqrt(3) < small <= 9


@pytest.mark.parametrize(("seed", "spacing"), [(0, CUBE), (1, UNEQUAL), (0, (1.3, 1.0, 1.7))])
def test_thickness_is_that_of_painting_every_ball(seed, spacing):
    mask = blobs((9, 10, 70), seed, width=1.2 + seed)
    expected = covered(mask, *oracle_balls(mask, spacing), spacing)
    assert local_thickness(mask, voxel_size_um=spacing) == pytest.approx(expected, rel=1e-5)


def test_porespy_with_all_sizes_agrees_but_for_the_chords():
    porespy = pytest.importorskip("porespy")
    if tuple(map(int, porespy.__version__.split(".")[:2])) > (3, 0):
        pytest.skip("later versions take whole radii alone")
    porespy.settings.tqdm["disable"] = True
    mask = blobs((20, 21, 22), 5, level=0.6)
    radius2 = fitting_balls(mask, CUBE).radius2
    found = highest_covering(mask, radius2, np.sqrt(radius2), CUBE)
    # Its own list of all sizes ascends and gives every voxel the smallest one; a list that is given is put in order.
    theirs = porespy.filters.local_thickness(mask, sizes=np.unique(np.sqrt(radius2[mask])))
    assert found == pytest.approx(theirs, rel=1e-5)
    flat = local_thickness(mask)
    assert (flat <= 2 * theirs * (1 + 1e-6)).all()
    assert (flat >= 2 * theirs - 1).all()


def test_every_voxel_is_in_a_ball_at_least_as_large_as_its_own():
    mask = blobs((24, 25, 26))
    found = local_thickness(mask)
    own = fitting_balls(mask, CUBE).diameter
    assert (found[mask] >= own[mask]).all()
    assert (found[mask] >= 1).all()
    assert not found[~mask].any()


def test_opened_phase_is_open():
    mask = blobs((24, 25, 26), 3)
    found = local_thickness(mask)
    diameter = float(np.median(found[mask]))
    opened = found >= diameter
    # The balls are all there, but chords end where the balls do: less than a voxel is lost.
    assert (local_thickness(opened)[opened] > diameter - 1).all()


def test_border_is_no_wall():
    mask = np.zeros((12, 12, 30), bool)
    mask[..., :10] = True
    assert local_thickness(mask)[mask] == pytest.approx(20)  # the wall is 10 voxels from the outermost centre
    left = local_thickness(np.pad(mask, ((0, 0), (0, 0), (1, 0))))
    assert left.max() == 10


def test_thickness_scales_with_the_voxel_and_turns_with_the_volume():
    mask = blobs((18, 19, 20))
    found = local_thickness(mask)
    assert local_thickness(mask, voxel_size_um=(0.02,) * 3) == pytest.approx(found * 0.02, rel=1e-6)
    turned = local_thickness(mask.transpose(2, 0, 1)[::-1])
    assert np.array_equal(turned, found.transpose(2, 0, 1)[::-1])
    assert np.array_equal(local_thickness(np.asfortranarray(mask.astype(np.uint8))), found)


def test_read_only_memory_is_measured():
    mask = blobs((12, 13, 14))
    expected = local_thickness(mask)
    mask.flags.writeable = False
    assert np.array_equal(local_thickness(mask), expected)
    assert split_pores(mask).any()


def test_threads_do_not_matter():
    mask = blobs((40, 20, 20))
    before = numba.get_num_threads()
    results = []
    for threads in {1, min(2, numba.config.NUMBA_NUM_THREADS)}:
        numba.set_num_threads(threads)
        results.append(local_thickness(mask).tobytes())
    numba.set_num_threads(before)
    assert len(set(results)) == 1


@pytest.mark.parametrize("spacing", [None, UNEQUAL])
def test_blocks_of_a_lazy_array_give_the_thickness_of_the_whole(spacing, monkeypatch):
    dask_array = pytest.importorskip("dask.array")
    monkeypatch.setattr(thickness, "BLOCK_EDGE", 16)
    monkeypatch.setattr(thickness, "FIRST_REACH", 3)
    mask = blobs((14, 20, 34), 2, width=1.8)
    lazy = dask_array.from_array(mask, chunks=16)
    expected = local_thickness(mask, voxel_size_um=spacing)
    assert np.array_equal(local_thickness(lazy, voxel_size_um=spacing), expected)
    whole, parts = (pore_size_distribution(m, voxel_size_um=spacing) for m in (mask, lazy))
    assert np.array_equal(whole.fraction, parts.fraction)
    assert (whole.mean, whole.d50, whole.lognormal) == (parts.mean, parts.d50, parts.lognormal)


def test_thickness_is_written_into_a_zarr_array(monkeypatch, tmp_path):
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr(thickness, "BLOCK_EDGE", 16)
    mask = blobs((20, 24, 28))
    source = zarr.create_array(tmp_path / "mask", shape=mask.shape, chunks=(10, 10, 10), dtype="uint8")
    source[...] = mask
    out = zarr.create_array(tmp_path / "out", shape=mask.shape, chunks=(10, 10, 10), dtype="float32")
    assert local_thickness(source, out=out) is out
    assert np.array_equal(out[...], local_thickness(mask))


# Access from a face.


def ink_bottle():
    """A channel of 3 x 3 from z = 0 to a cavity of 9 x 9 x 9, a closed pore beside it."""
    mask = np.zeros((24, 24, 24), bool)
    mask[:10, 8:11, 8:11] = True
    mask[10:19, 5:14, 5:14] = True
    mask[10:13, 18:21, 18:21] = True
    return mask


def test_cavity_behind_a_neck_counts_as_the_neck():
    mask = ink_bottle()
    found = intrusion_diameter(mask, faces="-z")
    assert local_thickness(mask)[14, 9, 9] == 9
    assert found[14, 9, 9] == found[4, 9, 9] == 3
    assert not found[10:13, 18:21, 18:21].any()
    assert not intrusion_diameter(mask, faces=("+z", "+y")).any()


@pytest.mark.parametrize("spacing", [CUBE, (1.3, 1.0, 1.7)])
@pytest.mark.parametrize("faces", ["-z", ("+x", "-y")])
def test_access_is_that_of_flooding_size_after_size(faces, spacing):
    mask = blobs((12, 13, 16), 4, width=1.3)
    radius2, diameter = oracle_balls(mask, spacing)
    inlet = np.zeros(mask.shape, bool)
    if faces == "-z":
        inlet[0] = True
    else:
        inlet[..., -1] = inlet[:, 0] = True
    access = np.zeros(mask.shape)
    for size in np.unique(diameter[mask]):
        labels, _ = ndimage.label(diameter >= size * (1 - 1e-6))
        reached = np.isin(labels, np.unique(labels[inlet & (labels > 0)])) & (labels > 0)
        access[reached] = size
    expected = covered(mask & (access > 0), radius2, access, spacing)
    lost = mask & (access == 0)
    expected[lost] = covered(mask, radius2, access, spacing)[lost]
    assert intrusion_diameter(mask, faces=faces, voxel_size_um=spacing) == pytest.approx(expected, rel=1e-5)


def test_access_is_never_wider_than_the_pore_and_equal_where_pores_are_straight():
    mask = blobs((24, 25, 26))
    assert (intrusion_diameter(mask) <= local_thickness(mask)).all()
    channel = np.zeros((8, 16, 16), bool)
    channel[:, 3:9, 3:9] = True
    assert np.array_equal(intrusion_diameter(channel, faces="+z"), local_thickness(channel))


def test_intrusion_curve_is_the_share_filled_at_each_diameter():
    mask = ink_bottle()
    found = pore_size_distribution(mask, method="intrusion", faces="-z", bins=[0, 2.9, 3, 9])
    assert found.accessible == pytest.approx(1 - 27 / mask.sum())
    assert found.saturation[2:] == pytest.approx([0, 0])
    assert found.saturation[0] == pytest.approx(found.accessible)
    assert found.d90 == 3


# Pores one by one.


def test_two_pores_joined_by_a_neck_are_two_and_a_channel_is_one():
    shape = (24, 24, 40)
    mask = ball(8, shape, (11.5, 11.5, 12)) | ball(8, shape, (11.5, 11.5, 26))
    labels = split_pores(mask)
    assert labels.max() == 2
    assert np.bincount(labels.ravel())[1:] == pytest.approx([mask.sum() / 2] * 2, rel=0.02)
    assert len({labels[11, 11, 6], labels[11, 11, 32]}) == 2
    assert split_pores(mask, neck=0.4).max() == 1  # the neck is sqrt(8² - 7²) = 3.9 wide, 0.48 of the pores
    channel = np.zeros((24, 24, 24), bool)
    channel[:, 6:13, 5:13] = True
    assert split_pores(channel).max() == 1


def lattice_of_balls(sigma, per_axis=(3, 6, 6), cell=20, median=9.0):
    """Balls with log-normal diameters, apart, at random places of their cells."""
    rng = np.random.default_rng(8)
    diameters = np.minimum(median * np.exp(sigma * rng.normal(size=per_axis)), cell - 3)
    mask = np.zeros([n * cell for n in per_axis], bool)
    for place in np.ndindex(per_axis):
        centre = [cell / 2 - 0.5 + offset for offset in rng.uniform(-0.5, 0.5, 3)]
        own = tuple(slice(i * cell, (i + 1) * cell) for i in place)
        mask[own] = ball(diameters[place] / 2, (cell,) * 3, centre)
    return mask, diameters.ravel()


def test_bodies_give_the_log_normal_law_that_diameters_were_drawn_from():
    mask, diameters = lattice_of_balls(0.25)
    found = pore_size_distribution(mask, method="bodies", voxel_size_um=(0.1, 0.1, 0.1))
    logs = np.log(diameters / 10)
    # The volume of a digitised ball of diameter 9 has a spread of about 2 %, its diameter a third of that.
    assert found.lognormal.median == pytest.approx(math.exp(logs.mean()), rel=4 * 0.007 / math.sqrt(len(logs)))
    assert found.lognormal.sigma == pytest.approx(logs.std(), rel=0.02)
    assert found.lognormal.median == pytest.approx(0.9, rel=4 * 0.25 / math.sqrt(len(logs)))
    assert found.lognormal.ks < 1.63 / math.sqrt(len(logs))  # the 1 % point of Kolmogorov's law
    assert (found.weight, found.count, found.unit, found.accessible) == ("number", len(logs), "um", 1.0)


def test_volume_weighted_sizes_are_those_of_the_balls():
    mask, diameters = lattice_of_balls(0.25)
    found = pore_size_distribution(mask)
    order = np.argsort(diameters)
    volume = np.cumsum(diameters[order] ** 3)
    for quantile, measured in ((0.1, found.d10), (0.5, found.d50), (0.9, found.d90)):
        exact = diameters[order][np.searchsorted(volume, quantile * volume[-1])]
        assert exact - math.sqrt(3) < measured < exact + 0.5
    mean = (diameters**4).sum() / (diameters**3).sum()
    assert mean - math.sqrt(3) < found.mean < mean


def test_bodies_cut_by_the_border_do_not_count():
    shape = (20, 20, 30)
    mask = ball(5, shape, (10, 10, 8)) | ball(5, shape, (10, 10, 29))
    found = pore_size_distribution(mask, method="bodies")
    whole = ball(5, shape, (10, 10, 8)).sum()
    assert found.mean == pytest.approx((6 * whole / math.pi) ** (1 / 3))
    assert found.accessible == pytest.approx(whole / mask.sum())


# The distribution.


@pytest.mark.parametrize("method", ["local_thickness", "intrusion", "bodies"])
def test_shares_add_up_and_quantiles_ascend(method):
    mask = blobs((36, 36, 36), 1, level=0.3)
    found = pore_size_distribution(mask, method=method, bins=12)
    assert found.fraction.sum() == pytest.approx(1)
    assert found.cumulative[[0, -1]].tolist() == [0, 1]
    assert np.diff(found.cumulative) == pytest.approx(found.fraction, abs=1e-12)
    assert found.density @ np.diff(found.edges) == pytest.approx(1)
    assert found.d10 <= found.d50 <= found.d90 <= found.edges[-1]
    assert len(found.edges) == 13
    assert found.saturation[0] == pytest.approx(found.accessible)


def test_distribution_counts_the_voxels_of_the_thickness_map():
    mask = blobs((24, 25, 26))
    sizes = local_thickness(mask)[mask].astype(float)
    found = pore_size_distribution(mask, bins=[0.5, 3, 6, 100])
    counted = [((sizes > low) & (sizes <= high)).mean() for low, high in ((0.5, 3), (3, 6), (6, 100))]
    assert found.fraction == pytest.approx(counted)
    assert (found.weight, found.count) == ("volume", mask.sum())
    assert found.mean == pytest.approx(sizes.mean(), rel=1e-6)
    assert found.d50 == np.quantile(sizes, 0.5, method="inverted_cdf")
    assert found.lognormal.median == pytest.approx(math.exp(np.log(sizes).mean()), rel=1e-6)
    assert found.lognormal.sigma == pytest.approx(np.log(sizes).std(), rel=1e-6)


def test_kolmogorov_distance_is_that_of_scipy():
    from scipy import stats

    mask = blobs((24, 25, 26))
    sizes = np.log(local_thickness(mask)[mask].astype(float))
    found = pore_size_distribution(mask)
    assert found.lognormal.ks == pytest.approx(stats.kstest(sizes, "norm", (sizes.mean(), sizes.std())).statistic)


def test_one_size_is_a_law_without_width():
    mask = np.zeros((12, 12, 12), bool)
    mask[3:8] = True
    found = pore_size_distribution(mask, voxel_size_um=(0.5, 1, 1))
    assert (found.mean, found.d10, found.d90) == (2.5, 2.5, 2.5)
    assert (found.lognormal.median, found.lognormal.sigma, found.lognormal.ks) == (2.5, 0, 0)
    assert found.fraction[-1] == 1


def test_voxel_size_of_a_volume_is_used():
    class Holder:
        voxel_size_um = (0.5, 0.5, 0.5)

        def __array__(self, dtype=None, copy=None):
            return blobs((12, 12, 12))

    assert pore_size_distribution(Holder()).unit == "um"
    assert np.array_equal(local_thickness(Holder()), local_thickness(blobs((12, 12, 12))) / 2)


def test_phase_that_is_missing_has_no_thickness_anywhere():
    assert not local_thickness(np.zeros((4, 5, 6), bool)).any()
    assert not intrusion_diameter(np.zeros((4, 5, 6), bool)).any()
    assert not split_pores(np.zeros((4, 5, 6), bool)).any()


EMPTY, FULL = np.zeros((6, 6, 6), bool), np.ones((6, 6, 6), bool)
SOME = np.pad(np.ones((4, 4, 4), bool), 1)
CUT = np.pad(np.ones((4, 4, 4), bool), ((0, 2), (1, 1), (1, 1)))


@pytest.mark.parametrize(
    ("mask", "keywords", "message"),
    [
        (np.zeros((4, 4), bool), {}, "3-D"),
        (np.full((4, 4, 4), 2), {}, "labels == 1"),
        (EMPTY, {}, "no voxel of the phase"),
        (EMPTY, {"method": "intrusion"}, "no voxel of the phase"),
        (EMPTY, {"method": "bodies"}, "no voxel of the phase"),
        (FULL, {}, "True everywhere"),
        (FULL, {"method": "intrusion"}, "True everywhere"),
        (SOME, {"method": "intrusion"}, "accessible"),
        (CUT, {"method": "bodies"}, "cuts every body"),
        (SOME, {"method": "chord"}, "method"),
        (CUT, {"method": "intrusion", "faces": "z"}, "faces"),
        (CUT, {"method": "intrusion", "faces": ()}, "faces"),
        (CUT, {"method": "intrusion", "faces": None}, "faces is None"),
        (SOME, {"bins": [[1], [1, 2]]}, "ascending"),
        (SOME, {"bins": 0}, "at least|from 1"),
        (SOME, {"bins": 2.5}, "whole number"),
        (SOME, {"bins": [0, 1, 1]}, "ascending"),
        (SOME, {"bins": [0, np.nan]}, "ascending"),
        (SOME, {"bins": [0, 3]}, "begin below the smallest"),
        (SOME, {"bins": [5, 9]}, "begin below the smallest"),
        (SOME, {"voxel_size_um": (1, 0, 1)}, "positive"),
        (SOME, {"voxel_size_um": (1, 1000, 1)}, "resample"),
    ],
)
def test_what_has_no_distribution_is_refused(mask, keywords, message):
    with pytest.raises(ValueError, match=message):
        pore_size_distribution(mask, **keywords)


def test_lazy_arrays_are_refused_where_the_whole_is_needed():
    dask_array = pytest.importorskip("dask.array")
    lazy = dask_array.from_array(SOME)
    for refuse in (intrusion_diameter, split_pores):
        with pytest.raises(ValueError, match=r"numpy\.asarray"):
            refuse(lazy)
    with pytest.raises(ValueError, match="True everywhere"):
        local_thickness(dask_array.from_array(FULL))
    with pytest.raises(ValueError, match="3-D"):
        local_thickness(dask_array.from_array(FULL[0]))


@pytest.mark.parametrize("neck", [0, 1.5, math.nan, "wide"])
def test_necks_out_of_range_are_refused(neck):
    with pytest.raises(ValueError, match="neck"):
        split_pores(SOME, neck=neck)


def test_output_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="must be the same"):
        local_thickness(SOME, out=np.zeros((2, 2, 2)))
