"""Two-point correlation against pairs counted one by one and media whose S2 is known."""

import functools
import itertools

import numpy as np
import pytest
from scipy.integrate import trapezoid

from evaluate import minkowski, two_point
from evaluate.blocks import blocks, measure_blocks
from evaluate.morphology import correlation
from evaluate.morphology.pair_hits import pair_hits
from synth import gaussian_phases
from synth.truth import gaussian_level_set
from volume import Volume


def counted_one_by_one(mask, periodic, r_max, *, other=None, edges=(1, 1, 1)):
    """Share of the pairs with both voxels inside, and their mean distance, for each bin of the smallest edge."""
    hits, pairs, distances = np.zeros((3, r_max + 1))
    other = mask if other is None else other
    step = min(edges)
    voxels = list(np.ndindex(mask.shape))
    if periodic:
        lags = itertools.product(*(range(-(n // 2), n // 2 + 1) for n in mask.shape))
        couples = ((p, tuple((a + b) % n for a, b, n in zip(p, lag, mask.shape, strict=True)), lag)
                   for lag in lags for p in voxels)  # fmt: skip
    else:
        couples = ((p, q, tuple(np.subtract(q, p))) for p in voxels for q in voxels)
    for p, q, lag in couples:
        distance = np.sqrt(sum((d * edge / step) ** 2 for d, edge in zip(lag, edges, strict=True)))
        k = int(np.floor(distance + 0.5))
        if k <= r_max:
            hits[k] += mask[p] and other[q]
            pairs[k] += 1
            distances[k] += distance * step
    return distances / pairs, hits / pairs


CASES = [((5, 6, 7), False, 4), ((5, 4, 6), True, 2), ((4, 4, 4), True, 2), ((1, 6, 8), False, 5)]


@pytest.mark.parametrize(("shape", "periodic", "r_max"), CASES)
@pytest.mark.parametrize("phases", [1, 2])
def test_equals_pairs_counted_one_by_one(shape, periodic, r_max, phases):
    labels = np.random.default_rng(0).integers(0, 3, shape)
    mask, other = labels == 0, None if phases == 1 else labels == 2
    found = two_point(mask, other=other, periodic=periodic, r_max=r_max)
    r, s2 = counted_one_by_one(mask, periodic, r_max, other=other)
    np.testing.assert_allclose(found.r, r, rtol=1e-12)
    np.testing.assert_allclose(found.s2, s2, rtol=1e-12, atol=1e-15)
    assert (found.unit, found.of_two) == ("voxel", phases == 2)


@pytest.mark.parametrize(
    ("shape", "edges", "periodic", "r_max"),
    [
        ((3, 6, 7), (0.2, 0.1, 0.1), False, 4),
        ((4, 6, 5), (0.3, 0.2, 0.3), True, 3),
        # 1.5 edges are exactly between two bins, but not in binary.
        ((6, 5, 1), (0.3, 0.2, 0.01), False, 4),
    ],
)
def test_unequal_edges_are_binned_by_their_true_distances(shape, edges, periodic, r_max):
    mask = np.random.default_rng(5).random(shape) < 0.5
    found = two_point(mask, periodic=periodic, r_max=r_max, voxel_size_um=edges)
    exact = np.array(edges) if shape[2] > 1 else np.array((0.3, 0.2, 0.2))
    r, s2 = counted_one_by_one(mask, periodic, r_max, edges=np.round(exact * 10))
    np.testing.assert_allclose(found.r, r / 10, rtol=1e-12)
    np.testing.assert_allclose(found.s2, s2, rtol=1e-12, atol=1e-15)
    assert found.unit == "um"


@pytest.mark.parametrize("periodic", [False, True])
def test_directional_curves_are_shares_of_the_pairs_along_each_axis(periodic):
    labels = np.random.default_rng(6).integers(0, 3, (9, 10, 8))
    edges = (0.02, 0.01, 0.04)
    for first, second in ((0, 0), (0, 1)):
        a, b = labels == first, labels == second
        found = two_point(a, other=b, periodic=periodic, voxel_size_um=edges)
        for axis, (r, curve) in enumerate(zip(found.r_along, found.along, strict=True)):
            assert len(curve) > 2 or axis == 2
            np.testing.assert_allclose(r, np.arange(len(r)) * edges[axis])
            for lag, share in enumerate(curve):
                ahead = np.moveaxis(a & np.roll(b, -lag, axis), axis, 0)
                back = np.moveaxis(np.roll(a, -lag, axis) & b, axis, 0)
                inside = slice(None, len(ahead) - (0 if periodic else lag))
                assert share == pytest.approx((ahead[inside].mean() + back[inside].mean()) / 2, rel=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
def test_s2_at_zero_is_exactly_the_volume_fraction(periodic):
    mask = np.random.default_rng(1).random((17, 19, 23)) < 0.37
    found = two_point(mask, periodic=periodic)
    assert found.s2[0] == mask.mean()
    assert found.r[0] == 0
    assert found.r.shape == found.s2.shape == (9,)


@pytest.mark.parametrize("periodic", [False, True])
def test_independent_voxels_are_correlated_at_zero_alone(periodic):
    fraction = 0.3
    mask = np.random.default_rng(2).random((48, 48, 48)) < fraction
    found = two_point(mask, periodic=periodic)
    np.testing.assert_allclose(found.s2[1:], fraction**2, atol=4e-3)


def test_boolean_model_follows_its_exact_correlation():
    """Overlapping spheres: S2(r) = 2φ - 1 + exp(-ρ V(r)), V the volume of two spheres' union."""
    rng, n, radius, density = np.random.default_rng(3), 96, 6, 6e-4
    z, y, x = np.indices((2 * radius + 1,) * 3) - radius
    stamp = np.argwhere(z**2 + y**2 + x**2 <= radius**2) - radius
    solid = np.zeros((n, n, n), bool)
    for centre in rng.integers(0, n, (rng.poisson(density * n**3), 3)):
        solid[tuple(((stamp + centre) % n).T)] = True
    found = two_point(solid, periodic=True, r_max=24)
    ball = len(stamp)
    shared = np.clip(1 - 0.75 * found.r / radius + (found.r / radius) ** 3 / 16, 0, 1) * (found.r < 2 * radius)
    fraction = 1 - np.exp(-density * ball)
    expected = 2 * fraction - 1 + np.exp(-density * ball * (2 - shared))
    np.testing.assert_allclose(found.s2, expected, atol=0.03)
    assert found.s2[16:].mean() == pytest.approx(solid.mean() ** 2, abs=0.015)


def test_constant_masks_give_exactly_one_or_zero():
    for periodic in (False, True):
        assert np.all(two_point(np.ones((6, 7, 8), bool), periodic=periodic).s2 == 1)
        assert np.all(two_point(np.zeros((6, 7, 8), bool), periodic=periodic).s2 == 0)


def test_checkerboard_alternates_along_the_axes():
    mask = np.indices((12, 12, 12)).sum(axis=0) % 2 == 0
    found = two_point(mask, periodic=True, r_max=1)
    # The bin of 1 holds 6 displacements of odd parity (never both inside) and 12 of even parity (half of the pairs).
    assert found.s2[1] == pytest.approx(12 * 0.5 / 18)
    assert found.r[1] == pytest.approx((6 + 12 * np.sqrt(2)) / 18)


def test_initial_slope_is_a_quarter_of_the_specific_surface():
    grid = np.indices((64, 64, 64)) - 31.5
    mask = (grid**2).sum(axis=0) <= 24**2
    found = two_point(mask, periodic=True)
    slope = (found.s2[4] - found.s2[0]) / found.r[4]
    assert -4 * slope == pytest.approx(minkowski(mask).specific_surface, rel=0.05)


def test_free_borders_do_not_wrap_around():
    mask = np.zeros((12, 12, 12), bool)
    mask[0] = mask[-1] = True
    apart, together = two_point(mask, r_max=2), two_point(mask, periodic=True, r_max=2)
    assert together.s2[1] > apart.s2[1]


# Sum rules


def test_all_pairs_of_a_periodic_volume_are_the_square_of_its_voxels():
    mask = np.random.default_rng(7).random((9, 11, 13)) < 0.4
    hits = pair_hits(mask, lags=(4, 5, 6), sizes=mask.shape)
    assert hits.sum() == np.count_nonzero(mask) ** 2


@pytest.mark.parametrize("periodic", [False, True])
def test_correlations_of_all_phases_add_up(periodic):
    labels = gaussian_phases((24, 20, 22), fractions=(0.5, 0.2, 0.3), length_vox=5, rng=0).labels
    matrix = np.array(
        [[two_point(labels == i, other=labels == j, periodic=periodic).s2 for j in range(3)] for i in range(3)]
    )
    np.testing.assert_allclose(matrix.sum(axis=(0, 1)), 1, rtol=1e-12)
    np.testing.assert_allclose(matrix, matrix.swapaxes(0, 1), rtol=1e-12)
    if periodic:
        for i in range(3):
            np.testing.assert_allclose(matrix[i].sum(axis=0), (labels == i).mean(), rtol=1e-12)
    for i in range(3):
        np.testing.assert_array_equal(matrix[i, i], two_point(labels == i, periodic=periodic).s2)


def test_two_phases_of_a_periodic_volume_tell_the_same():
    mask = gaussian_phases((24, 20, 22), fractions=(0.4, 0.6), length_vox=5, rng=0).labels == 0
    phase, rest, both = (two_point(a, other=b, periodic=True) for a, b in ((mask, None), (~mask, None), (mask, ~mask)))
    np.testing.assert_allclose(both.s2, mask.mean() - phase.s2, atol=1e-14)
    np.testing.assert_allclose(rest.s2, 1 - 2 * mask.mean() + phase.s2, atol=1e-14)
    assert both.s2[0] == 0
    np.testing.assert_allclose(both.limit, mask.mean() * (1 - mask.mean()), rtol=1e-14)


def test_layers_shift_the_cross_correlation_to_their_distance():
    labels = np.zeros((24, 6, 6), np.uint8)
    labels[2:5], labels[12:15] = 1, 2
    found = two_point(labels == 1, other=labels == 2, r_max=5)
    assert np.all(found.s2 == 0)
    along_z = two_point(labels[:, :, :1] == 1, other=labels[:, :, :1] == 2, voxel_size_um=(0.1, 0.2, 9)).along[0]
    # Ten voxels apart, so that the lags 8 to 12 overlap by 1, 2, 3, 2, 1; from layer 1 upwards only, hence the half.
    np.testing.assert_allclose(along_z[6:], 0.5 * np.array([0, 0, 1, 2, 3, 2, 1][: len(along_z) - 6])
                               / (24 - np.arange(6, len(along_z))), atol=1e-15)  # fmt: skip


# Media whose correlation is known


@functools.cache
def level_sets():
    return [
        gaussian_phases((96,) * 3, fractions=(0.5, 0.5), length_vox=8, periodic=True, rng=seed).labels == 0
        for seed in range(8)
    ]


def test_level_set_follows_its_closed_form_along_each_axis():
    form = gaussian_level_set(0.5, length_vox=8)
    found = np.array([two_point(mask, periodic=True, r_max=24).along for mask in level_sets()])
    error = (found.std(axis=0, ddof=1) / len(found) ** 0.5).max()
    # The fraction is exact, which takes its variance from S2.
    far = np.linspace(0, 60, 400)
    conditioning = trapezoid(4 * np.pi * far**2 * (form.two_point(far) - 0.25), far) / 96**3
    expected = form.two_point(np.arange(25.0))
    tolerance = 4 * error + conditioning
    assert (np.abs(found.mean(axis=0) - expected) <= tolerance).all()
    assert tolerance < 0.02


def test_integral_range_of_a_level_set_is_that_of_its_closed_form():
    form = gaussian_level_set(0.5, length_vox=8)
    far = np.linspace(0, 80, 2000)
    expected = trapezoid(4 * np.pi * far**2 * (form.two_point(far) - 0.25), far) / 0.25
    found = np.array([two_point(mask, periodic=True).integral_range() for mask in level_sets()])
    assert abs(found.mean() - expected) <= 4 * found.std(ddof=1) / len(found) ** 0.5
    assert found.std(ddof=1) / len(found) ** 0.5 < 0.1 * expected


@pytest.mark.parametrize("edges", [None, (0.2, 0.1, 0.1)])
def test_integral_range_of_independent_cubes_is_their_volume(edges):
    cells = np.random.default_rng(8).random((24, 24, 24)) < 0.4
    mask = np.kron(cells, np.ones((2, 4, 4), bool))
    found = two_point(mask, periodic=True, voxel_size_um=edges).integral_range(cut=None if edges is None else 0.75)
    volume = 32 * (1 if edges is None else 0.2 * 0.1 * 0.1)
    # Of 24³ cells: the covariance between neighbours is known to 1 / 24^1.5, and some tens of them are summed.
    assert found == pytest.approx(volume, rel=4 * 100**0.5 / 24**1.5)


def test_standard_error_from_the_integral_range_is_that_of_independent_windows():
    rng = np.random.default_rng(9)
    cells = rng.random((60, 12, 12, 12)) < 0.3
    windows = [np.kron(one, np.ones((4, 4, 4), bool)) for one in cells]
    fractions = [one.mean() for one in windows]
    expected = [np.sqrt(one.mean() * (1 - one.mean()) * two_point(one).integral_range() / one.size) for one in windows]
    # A standard deviation of 60 values is known to 1 / sqrt(2 × 59).
    assert np.mean(expected) == pytest.approx(np.std(fractions, ddof=1), rel=4 / 118**0.5)


@pytest.mark.parametrize("edges", [(1, 1, 1), (2, 1, 1), (1, 2, 3)])
def test_single_ball_of_unequal_voxels_is_the_volume_of_two_balls_overlap(edges):
    radius, side = 12.0, 60
    shape = [side // edge for edge in edges]
    z, y, x = ((i - (n - 1) / 2 + 0.2) * edge for i, n, edge in zip(np.indices(shape), shape, edges, strict=True))
    mask = z**2 + y**2 + x**2 <= radius**2
    found = two_point(mask, voxel_size_um=edges, periodic=True)
    ratio = np.minimum(found.r / radius, 2)
    volume, surface = 4 / 3 * np.pi * radius**3, 4 * np.pi * radius**2
    expected = volume * (1 - 0.75 * ratio + ratio**3 / 16) / side**3
    # Each voxel of the surface is off by half of itself at most, evenly, and on its own.
    voxels = surface / np.prod(edges) ** (2 / 3)
    np.testing.assert_allclose(found.s2, expected, atol=4 * np.prod(edges) * (voxels / 12) ** 0.5 / side**3)
    assert found.s2[0] == mask.mean()


# Units


def test_voxel_size_comes_with_the_volume_and_scales_the_distances():
    labels = gaussian_phases((20, 22, 24), fractions=(0.4, 0.6), length_vox=4, rng=1).labels
    bare = two_point(labels == 0)
    volume = two_point(Volume(labels == 0, (0.02, 0.02, 0.02)))
    np.testing.assert_array_equal(volume.s2, bare.s2)
    np.testing.assert_allclose(volume.r, 0.02 * bare.r, rtol=1e-14)
    assert (bare.unit, volume.unit) == ("voxel", "um")
    assert volume.window_volume == pytest.approx(0.02**3 * labels.size)
    assert volume.shell_volume[1] == pytest.approx(0.02**3 * 18)
    assert two_point(labels == 0, voxel_size_um=(0.01,) * 3).r[1] == pytest.approx(0.01 * bare.r[1])


# Volumes on disk


class OnDisk:
    """An array that is read piece by piece, and remembers the largest piece."""

    chunks = (8, 8, 8)

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.largest = np.zeros(3, int)

    def __getitem__(self, place):
        part = self.array[place]
        self.largest = np.maximum(self.largest, part.shape)
        return part


@pytest.mark.parametrize("edge", [8, (7, 9, 30)])
@pytest.mark.parametrize("phases", [1, 2])
def test_volume_on_disk_gives_the_same_bytes(monkeypatch, edge, phases):
    monkeypatch.setattr(correlation, "measure_blocks", functools.partial(measure_blocks, edge=edge))
    labels = gaussian_phases((19, 26, 30), fractions=(0.4, 0.3, 0.3), length_vox=6, rng=2).labels
    mask, other = labels == 0, None if phases == 1 else labels == 1
    on_disk = OnDisk(mask)
    for options in ({"r_max": 5}, {"r_max": 9, "voxel_size_um": (0.5, 0.2, 0.3)}):
        expected = two_point(mask, other=other, **options)
        found = two_point(on_disk, other=None if other is None else OnDisk(other), **options)
        for name in ("r", "s2", "limit", "shell_volume"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        for ours, theirs in zip(found.along, expected.along, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    reads = [part.read for part in blocks(mask.shape, edge=edge, halo=9)]
    assert (on_disk.largest <= np.max([[s.stop - s.start for s in read] for read in reads], axis=0)).all()


def test_array_of_zarr_is_read_block_by_block(tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr(correlation, "measure_blocks", functools.partial(measure_blocks, edge=16))
    mask = np.random.default_rng(3).random((30, 31, 32)) < 0.4
    stored = zarr.create_array(tmp_path / "mask.zarr", shape=mask.shape, chunks=(16, 16, 16), dtype=bool)
    stored[:] = mask
    np.testing.assert_array_equal(two_point(stored).s2, two_point(mask).s2)


def test_default_reach_of_a_long_volume_on_disk_is_bounded():
    mask = np.random.default_rng(4).random((150, 1, 1)) < 0.4
    assert len(two_point(OnDisk(mask)).r) == 65
    assert len(two_point(mask).r) == 76


# What is refused


@pytest.mark.parametrize(("periodic", "r_max"), [(False, 8), (True, 5), (False, -1), (False, 2.5), (False, "far")])
def test_r_max_out_of_range_is_refused(periodic, r_max):
    with pytest.raises(ValueError, match="r_max"):
        two_point(np.zeros((8, 9, 10), bool), periodic=periodic, r_max=r_max)


@pytest.mark.parametrize(
    "mask", [np.zeros((4, 4)), np.full((3, 3, 3), np.nan), np.full((3, 3, 3), 3), np.zeros((0, 1, 1))]
)
def test_what_is_not_a_mask_is_refused(mask):
    with pytest.raises(ValueError, match="mask"):
        two_point(mask)


BLOB = np.random.default_rng(10).random((8, 8, 8)) < 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_point(BLOB, other=BLOB[1:]), r"mask has shape \(8, 8, 8\) and other \(7, 8, 8\)"),
        (lambda: two_point(BLOB, other=np.full((8, 8, 8), 2)), "other holds values other than 0 and 1"),
        (lambda: two_point(OnDisk(BLOB), periodic=True), "periodic volume cannot be read block by block"),
        (lambda: two_point(OnDisk(BLOB[0])), "mask has shape"),
        (lambda: two_point(OnDisk(BLOB * 3)), "mask holds values other than 0 and 1"),
        (lambda: two_point(BLOB, voxel_size_um=(1, 1, 0)), "voxel_size_um"),
        (lambda: two_point(BLOB, voxel_size_um=(2, 1, 1), r_max=8), "r_max is 8; it must be from 0 to 7"),
        (lambda: two_point(BLOB, other=~BLOB).integral_range(), "correlation of two"),
        (lambda: two_point(np.ones((8, 8, 8), bool)).integral_range(), "fills 100%"),
        (lambda: two_point(BLOB).integral_range(cut=0), "cut is 0"),
        (lambda: two_point(BLOB).integral_range(cut=np.nan), "cut is nan"),
        (lambda: two_point(np.indices((8, 8, 8))[0] < 4, r_max=2).integral_range(), "still above zero at r = 2"),
        (lambda: two_point(BLOB).integral_range(cut=4.5), "measure a larger volume"),
    ],
)
def test_what_cannot_be_correlated_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
