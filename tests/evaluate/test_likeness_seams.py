"""Seams that are there are seen, those that are not are not; numbers equal those measured elsewhere."""

import math

import numpy as np
import pytest

from evaluate import minkowski_of_phases
from evaluate.likeness.seams import seam_errors
from synth import gaussian_phases

PLANES = ((24, 48), (24, 48), (24, 48))


def medium(seed, shape=(72, 72, 72), fractions=(0.4, 0.6), length=4):
    return gaussian_phases(shape, fractions=fractions, length_vox=length, rng=seed).labels


def stitched(seeds, side=24):
    """Independent blocks side by side."""
    rows = [np.concatenate([medium([*seeds, i, j, k], (side,) * 3, length=3) for k in range(3)], 2)
            for i in range(3) for j in range(3)]  # fmt: skip
    return np.concatenate([np.concatenate(rows[3 * i : 3 * i + 3], 1) for i in range(3)], 0)


def test_volume_of_independent_blocks_is_flagged_by_pairs_and_surface_on_every_axis():
    found = seam_errors(stitched([1]), PLANES)
    assert not found.within_noise
    assert found.worst.p_adjusted < 1e-6
    for axis in range(3):
        rows = {(e.quantity, e.distance): e for e in found.errors if e.axis == axis and e.phase == 1}
        assert rows["specific_surface", 0].z > 5
        assert rows["two_point", 1].z < -4
        assert rows["volume_fraction", 0].p_adjusted > 0.05


def test_pairs_across_a_seam_of_independent_blocks_meet_as_often_as_the_fractions_say():
    found = seam_errors(stitched([2]), PLANES)
    for error in found.errors:
        if error.quantity == "two_point":
            share = (0.4, 0.6)[error.phase]
            assert error.at_planes == pytest.approx(share**2, abs=4 * error.standard_error + 0.02)


def test_homogeneous_media_raise_false_alarms_at_the_nominal_rate():
    """20 media of 42 correlated numbers each: family-wise at most 5 %, of each alone 5 %."""
    found = [seam_errors(medium([7, seed], (64,) * 3), ((32,), (32,), (32,))) for seed in range(20)]
    alarms = sum(not seams.within_noise for seams in found)
    # Binomial(20, 0.05) is above 4 with a probability of 0.003.
    assert alarms <= 4
    alone = np.mean([[error.p_value < 0.05 for error in seams.errors] for seams in found], axis=1)
    assert alone.mean() == pytest.approx(0.05, abs=4 * alone.std(ddof=1) / math.sqrt(len(alone)))


def test_a_blurred_slab_is_seen_where_it_is_and_nowhere_else():
    labels = medium(3, (64, 96, 96))
    labels[30:34] = labels[30]
    at_it = seam_errors(labels, ((32,), (), ()))
    beside = seam_errors(labels, ((16,), (), ()), reach=2)
    # Within the slab nothing changes along z: no pair of it differs, and surfaces are fewer.
    pairs = {e.distance: e for e in at_it.errors if e.quantity == "two_point" and e.phase == 1}
    assert not at_it.within_noise
    assert pairs[1].at_planes == pytest.approx(np.mean(labels[31] == 1), abs=1e-12)
    assert beside.within_noise


def test_numbers_are_those_of_the_slab_measured_alone():
    labels = medium(4, (48, 64, 50), (0.3, 0.3, 0.4))
    found = seam_errors(labels, ((), (20, 44), ()), thickness=6, reach=3, tile=12)
    slabs = [np.ascontiguousarray(labels[:, p - 3 : p + 3]) for p in (20, 44)]
    for error in found.errors:
        if error.quantity == "two_point":
            d = error.distance
            pairs = [(labels[:, q] == error.phase) & (labels[:, q + d] == error.phase)
                     for p in (20, 44) for q in range(p - d, p)]  # fmt: skip
            assert error.at_planes == pytest.approx(np.mean(pairs), abs=0.02)
        elif error.quantity == "volume_fraction":
            assert error.at_planes == pytest.approx(np.mean([slab == error.phase for slab in slabs]), abs=0.02)
    assert [(e.axis, e.phase) for e in found.errors] == [(1, phase) for phase in range(3) for _ in range(6)]


def test_densities_equal_the_minkowski_functionals():
    """Columns that repeat every other voxel: all neighbourhoods of two layers are mirror images of one."""
    columns = np.random.default_rng(0).integers(0, 3, (40, 2, 2)).astype(np.uint8)
    at = next(z for z in range(8, 32) if len(np.unique(columns[z - 1 : z + 1])) == 3)
    found = seam_errors(np.tile(columns, (1, 16, 16)), ((at,), (), ()), thickness=2, reach=1, tile=8)
    for phase, truth in enumerate(minkowski_of_phases(columns[at - 1 : at + 1], boundary="periodic")):
        rows = {e.quantity: e.at_planes for e in found.errors if e.phase == phase}
        for quantity in ("volume_fraction", "specific_surface", "euler_density"):
            assert rows[quantity] == pytest.approx(getattr(truth, quantity), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("kind", ["dask", "zarr"])
def test_volumes_on_disk_give_the_same(kind, tmp_path, monkeypatch):
    labels = medium(5, (48, 70, 64), (0.3, 0.3, 0.4))
    planes = ((20,), (16, 35, 54), ())
    if kind == "dask":
        stored = pytest.importorskip("dask.array").from_array(labels, chunks=32)
    else:
        zarr = pytest.importorskip("zarr")
        stored = zarr.create_array(tmp_path / "labels.zarr", shape=labels.shape, chunks=(32,) * 3, dtype=np.uint8)
        stored[:] = labels
    there = seam_errors(stored, planes, n_phases=3)
    monkeypatch.setattr("evaluate.likeness.seams.STRIP", 32)
    assert seam_errors(labels, planes) == there
    with pytest.raises(ValueError, match="say how many phases there are with n_phases"):
        seam_errors(stored, planes)


def test_constant_volume_has_no_seams_and_no_nan():
    found = seam_errors(np.zeros((48, 48, 48), np.uint8), ((24,), (), ()))
    assert found.within_noise
    assert all(e.z == 0 and e.p_value == 1 and e.standard_error == 0 for e in found.errors)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"planes": ((), (), ())}, "give three sequences of positions"),
        ({"planes": (24, 24, 24)}, "give three sequences of positions"),
        ({"planes": ((24,), (24,))}, "give three sequences of positions"),
        ({"planes": ((24.5,), (), ())}, "a plane is 24.5; it must be a whole number"),
        ({"planes": ((2,), (), ())}, "they must lie from 4 to 44"),
        ({"planes": ((20, 28), (), ())}, "too near to each other"),
        ({"thickness": 3}, "thickness is 3; it must be even"),
        ({"reach": 0}, "reach is 0; it must be from 1 to 64"),
        ({"tile": 20}, "holds 4 tiles of 20 voxels"),
        ({"level": 1}, "level is 1; it must be a number above 0"),
        ({"n_phases": 1}, "n_phases is 1; it must be from 2"),
        ({"labels": np.full((48, 48, 48), 0.5)}, "labels holds fractional or NaN"),
        ({"labels": np.zeros((48, 48), int)}, "labels has shape"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(change, sentence):
    arguments = {"labels": np.zeros((48, 48, 48), np.uint8), "planes": ((24,), (), ())} | change
    with pytest.raises(ValueError, match=sentence):
        seam_errors(arguments.pop("labels"), arguments.pop("planes"), **arguments)
