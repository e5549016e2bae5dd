"""Chords and lineal paths against runs counted one by one and media whose distributions are known."""

import functools
import itertools
import math

import numpy as np
import pytest

from evaluate import minkowski, two_point
from evaluate.blocks import measure_blocks
from evaluate.morphology import chords
from evaluate.morphology.chords import chord_lengths, lineal_path
from synth import gaussian_phases, sphere_pack
from synth.truth import boolean_model
from volume import Volume


def noise(shape=(9, 10, 11), seed=0, fraction=0.7):
    return np.random.default_rng(seed).random(shape) < fraction


def ball(radius, shape, edges=(1, 1, 1)):
    axes = [(i - (n - 1) / 2 + 0.3) * edge for i, n, edge in zip(np.indices(shape), shape, edges, strict=True)]
    return sum(axis**2 for axis in axes) <= radius**2


def lines(mask, axis):
    return np.moveaxis(mask, axis, -1).reshape(-1, mask.shape[axis])


def runs_one_by_one(line, periodic):
    """Lengths of the runs with two ends, and of the others."""
    if line.all():
        return [], [len(line)]
    if periodic:
        line = np.roll(line, -int(np.argmin(line)))
    runs = [(value, len(list(group))) for value, group in itertools.groupby(line)]
    last = len(runs) - 1
    cut = [n for i, (value, n) in enumerate(runs) if value and i in (0, last) and not periodic]
    whole = [n for i, (value, n) in enumerate(runs) if value and (periodic or 0 < i < last)]
    return whole, cut


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_chords_are_the_runs_counted_one_by_one(axis, periodic):
    mask = noise()
    mask[:, :2, :2], mask[:2, :, 2], mask[3, 3, :] = True, True, True
    (found,) = chord_lengths(mask, axis=axis, periodic=periodic).along
    whole, cut = (
        list(itertools.chain(*runs))
        for runs in zip(*(runs_one_by_one(x, periodic) for x in lines(mask, axis)), strict=True)
    )
    n = mask.shape[axis]
    np.testing.assert_array_equal(found.count, np.bincount(whole, minlength=n + 1))
    np.testing.assert_array_equal(found.cut_count, np.bincount(cut, minlength=n + 1))
    np.testing.assert_array_equal(found.length, np.arange(n + 1))
    np.testing.assert_allclose(found.density, found.count / found.count.sum(), rtol=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lineal_path_is_the_share_of_the_segments_counted_one_by_one(axis, periodic):
    mask = noise()
    mask[:, :2, :2], mask[:2, :, 2], mask[3, 3, :] = True, True, True
    n = mask.shape[axis]
    found = lineal_path(mask, axis=axis, periodic=periodic, r_max=n - 1)
    rows = lines(mask, axis)
    for k in range(n):
        extended = np.pad(rows, ((0, 0), (0, k)), mode="wrap") if periodic else rows
        segments = np.lib.stride_tricks.sliding_window_view(extended, k + 1, axis=1)
        assert found.probability[k] == pytest.approx(segments.all(axis=-1).mean(), rel=1e-14)
    np.testing.assert_array_equal(found.along[0], found.probability)
    np.testing.assert_array_equal(found.r, np.arange(n))


@pytest.mark.parametrize("periodic", [False, True])
def test_lineal_path_never_exceeds_the_two_point_probability_along_its_axis(periodic):
    mask = gaussian_phases((24, 26, 28), fractions=(0.6, 0.4), length_vox=6, rng=0).labels == 0
    paths, pairs = lineal_path(mask, periodic=periodic), two_point(mask, periodic=periodic)
    for path, pair in zip(paths.along, pairs.along, strict=True):
        np.testing.assert_allclose(path[:2], pair[:2], rtol=1e-12)
        assert (path <= pair + 1e-15).all()
    assert paths.probability[0] == pytest.approx(mask.mean(), rel=1e-14)
    if periodic:
        assert (np.diff(paths.probability) <= 0).all()


# Bodies


def test_slab_has_one_chord_length_across_and_no_end_along():
    mask = np.zeros((20, 6, 7), bool)
    mask[8:13] = True
    found = chord_lengths(mask, voxel_size_um=(0.1, 0.2, 0.4))
    z, y, x = found.along
    assert (np.flatnonzero(z.count), z.count[5], z.beyond) == ([5], 42, 0)
    assert z.mean == pytest.approx(0.5, rel=1e-14)
    assert (y.mean, x.mean, y.beyond, y.count.sum(), y.cut_count[6]) == (math.inf, math.inf, 1.0, 0, 35)
    assert found.mean == pytest.approx(1.5, rel=1e-14)
    assert (found.density * found.length[1]).sum() == pytest.approx(1, rel=1e-12)
    path = lineal_path(mask, axis=0, r_max=10).probability
    np.testing.assert_allclose(path, np.maximum(5 - np.arange(11), 0) / (20 - np.arange(11)), rtol=1e-14)
    assert lineal_path(mask, axis=1).probability == pytest.approx(5 / 20, rel=1e-14)


def test_checkerboard_has_chords_of_one_voxel():
    mask = np.indices((10, 10, 10)).sum(axis=0) % 2 == 0
    for border in ("exclude", "kaplan-meier"):
        found = chord_lengths(mask, border=border)
        assert found.mean == pytest.approx(1, rel=1e-14)
        np.testing.assert_allclose(found.density, np.arange(11) == 1, atol=1e-14)
    assert lineal_path(mask).probability[1:] == pytest.approx(0, abs=0)


@pytest.mark.parametrize("edges", [(1, 1, 1), (2, 1, 1), (0.5, 1, 2)])
def test_chords_of_a_ball_are_as_frequent_as_they_are_long(edges):
    radius = 24.0
    shape = [int(52 / edge) for edge in edges]
    found = chord_lengths(ball(radius, shape, edges), voxel_size_um=edges)
    for axis, along in enumerate(found.along):
        edge = edges[axis]
        across = math.prod(edges) / edge
        # Lines that meet a circle's rim are met or missed by chance: sqrt(rim) of pi R² / cell of them.
        error = 4 * (2 * math.pi * radius / across**0.5) ** 0.5 / (math.pi * radius**2 / across)
        up_to = np.cumsum(along.density) * edge
        # A chord of l covers l / edge voxels on average, one more or less: up to k voxels lie those below k + 1/2.
        expected = np.minimum((along.length + edge / 2) / (2 * radius), 1) ** 2
        np.testing.assert_allclose(up_to[1:], expected[1:], atol=error + (edge / (2 * radius)) ** 2)
        assert along.mean == pytest.approx(4 / 3 * radius, rel=error)
        assert along.cut_count.sum() == 0
        assert along.mean == pytest.approx((along.count @ along.length) / along.count.sum(), rel=1e-12)
    assert found.mean == pytest.approx(4 / 3 * radius, rel=0.01)
    assert (found.density * found.length[1]).sum() == pytest.approx(1, rel=1e-12)
    assert (found.density * found.length * found.length[1]).sum() == pytest.approx(4 / 3 * radius, rel=0.02)


def test_boxes_of_unequal_voxels_have_their_edges_as_chords_and_lineal_path():
    mask = np.zeros((12, 16, 20), bool)
    mask[2:5, 3:9, 1:13] = True
    edges = (0.4, 0.2, 0.1)
    found = chord_lengths(mask, voxel_size_um=edges)
    assert [along.mean for along in found.along] == pytest.approx([1.2, 1.2, 1.2], rel=1e-14)
    assert found.length[np.argmax(found.density)] == pytest.approx(1.2)
    path = lineal_path(mask, voxel_size_um=edges, r_max=15)
    sides = [n * edge for n, edge in zip(mask.shape, edges, strict=True)]
    filled = mask.mean() / 1.2
    expected = [filled * np.maximum(1.2 - path.r, 0) * side / (side - path.r) for side in sides]
    np.testing.assert_allclose(path.probability, np.mean(expected, axis=0), atol=1e-15)
    assert (path.unit, found.unit) == ("um", "um")
    for along, edge in zip(path.r_along, edges, strict=True):
        np.testing.assert_allclose(along, np.arange(len(along)) * edge, rtol=1e-14)


# Media


RADIUS = 7.5


@functools.cache
def boolean_pores():
    return [
        sphere_pack((96,) * 3, porosity=0.5, diameter_vox=2 * RADIUS, sigma=0, periodic=True, rng=seed).labels == 0
        for seed in range(6)
    ]


def pore_decay():
    """Chance that a pore segment of overlapping balls is free one voxel further, on voxel centres.

    Continuous: exp(-intensity pi R²). Of balls at whole distances the next one adds pi R² - pi/12.
    """
    intensity = boolean_model(0.5, diameter_vox=2 * RADIUS, sigma=0).intensity
    return math.exp(-intensity * (math.pi * RADIUS**2 - math.pi / 12))


def test_lineal_path_of_the_pores_between_overlapping_balls_is_exponential():
    found = np.array([lineal_path(mask, periodic=True, r_max=30).probability for mask in boolean_pores()])
    expected = 0.5 * pore_decay() ** np.arange(31)
    error = found.std(axis=0, ddof=1).max() / len(found) ** 0.5
    # The fraction is met exactly, which takes its variance away.
    conditioning = np.mean([0.25 * two_point(m, periodic=True).integral_range() / m.size for m in boolean_pores()])
    tolerance = 4 * error + conditioning
    np.testing.assert_allclose(found.mean(axis=0), expected, atol=tolerance)
    assert tolerance < 0.01


def test_kaplan_meier_is_right_in_small_windows_and_exclusion_too_short():
    side = 24
    windows = [
        mask[z : z + side, y : y + side, x : x + side]
        for mask in boolean_pores()
        for z, y, x in itertools.product(range(0, 96, side), repeat=3)
    ]
    survival, means, excluded = [], [], []
    for group in np.array_split(np.arange(len(windows)), 12):
        # Windows side by side along x hold the same lines along z.
        together = np.concatenate([windows[i] for i in group], axis=2)
        (corrected,) = chord_lengths(together, axis=0, border="kaplan-meier").along
        (counted,) = chord_lengths(together, axis=0).along
        survival.append(1 - np.cumsum(corrected.density))
        means.append(corrected.mean)
        excluded.append((counted.density * counted.length).sum())
    survival, means, excluded = (np.array(one) for one in (survival, means, excluded))
    decay = pore_decay()
    error = survival.std(axis=0, ddof=1) / len(survival) ** 0.5
    expected = decay ** np.arange(side + 1)
    # The largest error of all lengths is used, since 12 values tell each of them roughly.
    assert (np.abs(survival.mean(axis=0) - expected)[: side - 1] <= 4 * error.max()).all()
    assert error.max() < 0.02
    mean = 1 / (1 - decay)
    assert abs(means.mean() - mean) <= 4 * means.std(ddof=1) / len(means) ** 0.5
    assert excluded.mean() < 0.8 * mean


def test_mean_chord_of_an_isotropic_phase_is_four_volumes_over_surface():
    for seed in range(2):
        mask = gaussian_phases((80,) * 3, fractions=(0.4, 0.6), length_vox=10, periodic=True, rng=seed).labels == 0
        surface = minkowski(mask, boundary="periodic").specific_surface
        # Three directions and thirteen of the same surface: both are unbiased within the 2.5 % of minkowski.
        assert chord_lengths(mask, periodic=True).mean == pytest.approx(4 * mask.mean() / surface, rel=0.025)


def test_both_phases_have_as_many_chords_so_that_their_means_are_as_their_volumes():
    mask = gaussian_phases((40, 42, 44), fractions=(0.3, 0.7), length_vox=6, periodic=True, rng=3).labels == 0
    phase, rest = chord_lengths(mask, periodic=True), chord_lengths(~mask, periodic=True)
    for ours, theirs in zip(phase.along, rest.along, strict=True):
        assert ours.mean / theirs.mean == pytest.approx(mask.mean() / (1 - mask.mean()), rel=1e-12)


# Units, volumes on disk, what is refused


def test_voxel_size_comes_with_the_volume():
    mask = noise(fraction=0.4)
    bare, sized = chord_lengths(mask), chord_lengths(Volume(mask, (0.02, 0.02, 0.02)))
    assert sized.mean == pytest.approx(0.02 * bare.mean)
    np.testing.assert_allclose(sized.density, bare.density / 0.02)
    assert (bare.unit, sized.unit) == ("voxel", "um")
    paths = lineal_path(mask), lineal_path(Volume(mask, (0.02, 0.02, 0.02)))
    np.testing.assert_allclose(paths[1].r, 0.02 * paths[0].r)
    np.testing.assert_allclose(paths[1].probability, paths[0].probability, rtol=1e-12)


class OnDisk:
    chunks = (8, 8, 8)

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, place):
        part = self.array[place]
        assert part.size <= max(chords.BLOCK_VOXELS, max(self.shape))
        return part


@pytest.mark.parametrize("voxels", [1, 40, 1000])
def test_volume_on_disk_gives_the_same_bytes(monkeypatch, voxels):
    monkeypatch.setattr(chords, "BLOCK_VOXELS", voxels)
    mask = noise((12, 9, 14))
    ours, theirs = (chord_lengths(one, border="kaplan-meier") for one in (OnDisk(mask), mask))
    np.testing.assert_array_equal(ours.density, theirs.density)
    assert ours.mean == theirs.mean
    for periodic in (False, True):
        paths = [lineal_path(one, periodic=periodic).probability for one in (OnDisk(mask), mask)]
        np.testing.assert_array_equal(*paths)


def test_dask_array_is_read_in_parts():
    dask = pytest.importorskip("dask.array")
    mask = noise((12, 9, 14))
    assert chord_lengths(dask.from_array(mask, chunks=5)).mean == chord_lengths(mask).mean
    assert sum(measure_blocks(lambda part, block: part.sum(), mask, edge=5)) == mask.sum()


def test_one_voxel_has_a_defined_result():
    mask = np.ones((1, 1, 1), bool)
    found = chord_lengths(mask)
    assert (found.mean, found.density.sum(), found.along[0].beyond) == (math.inf, 0, 1)
    np.testing.assert_array_equal(lineal_path(mask).probability, [1])
    np.testing.assert_array_equal(lineal_path(~mask).probability, [0])


def test_single_slice_is_measured_along_its_two_axes():
    assert lineal_path(noise((1, 12, 13))).axes == (1, 2)
    assert [along.axis for along in chord_lengths(noise((12, 1, 13))).along] == [0, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chord_lengths(np.zeros((4, 4, 4), bool)), "no voxel of the phase"),
        (lambda: chord_lengths(noise(), axis=3), "axis is 3; it must be from 0 to 2"),
        (lambda: chord_lengths(noise(), axis="z"), "axis is 'z'"),
        (lambda: chord_lengths(noise(), border="mirror"), "border is 'mirror'; it must be one of 'exclude'"),
        (lambda: chord_lengths(noise(), voxel_size_um=(1, -1, 1)), "voxel_size_um"),
        (lambda: chord_lengths(np.full((3, 3, 3), np.nan)), "mask holds values other than 0 and 1"),
        (lambda: chord_lengths(OnDisk(noise()[0])), "mask has shape"),
        (lambda: chord_lengths(OnDisk(noise() * 2)), "mask holds values other than 0 and 1"),
        (lambda: lineal_path(np.zeros((4, 4))), "mask has shape"),
        (lambda: lineal_path(noise(), r_max=9), "r_max is 9; it must be from 0 to 8"),
        (lambda: lineal_path(noise(), axis=2, r_max=11), "r_max is 11; it must be from 0 to 10"),
        (lambda: lineal_path(noise(), r_max=2.5), "r_max is 2.5; it must be a whole number"),
        (lambda: lineal_path(noise(), axis=-1), "axis is -1"),
    ],
)
def test_what_has_no_chords_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
