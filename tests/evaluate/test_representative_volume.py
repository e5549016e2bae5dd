"""Representative volumes against media whose integral range is known."""

import numpy as np
import pytest

from evaluate import porosity
from evaluate.transport import NoPathError, tortuosity
from evaluate.uncertainty import representative_volume


def grains(seed, *, edge, side, fraction=0.4):
    """Cubes of `edge` voxels, each in the phase or not on its own: the integral range is edge³."""
    cells = np.random.default_rng(seed).random((side // edge,) * 3) < fraction
    return cells.repeat(edge, axis=0).repeat(edge, axis=1).repeat(edge, axis=2)


def test_variance_of_independent_voxels_is_that_of_a_mean():
    """Var = φ(1 - φ) / V; the variance of 64 cubes is known to 1/√32."""
    mask = np.random.default_rng(0).random((64, 64, 64)) < 0.3
    found = representative_volume(mask, np.mean, rng=0, sizes=(8, 12, 16), exponent=None)
    assert found.exponent == pytest.approx(1, abs=0.2)
    np.testing.assert_allclose(found.standard_deviation**2 * found.sizes**3, 0.21, rtol=4 / np.sqrt(32))
    fixed = representative_volume(mask, np.mean, rng=0, sizes=(8, 12, 16))
    assert fixed.exponent == 1
    assert fixed.prefactor == pytest.approx(0.21, rel=4 / np.sqrt(96))


def test_prefactor_holds_the_integral_range():
    """φ(1 - φ) A, with A = 4³; cubes that cut through grains lose a little of the correlation."""
    found = representative_volume(grains(1, edge=4, side=96), np.mean, rng=0, sizes=(16, 24, 32), most=200)
    assert found.prefactor == pytest.approx(0.24 * 64, rel=0.25)


def test_size_follows_from_the_wanted_error():
    found = representative_volume(grains(2, edge=4, side=96), np.mean, rng=0)
    size = found.size_for(0.02)
    assert found.prefactor / size**3 == pytest.approx((0.02 * found.mean[-1]) ** 2)
    assert found.size_for(0.01) == pytest.approx(size * 4 ** (1 / 3))
    assert found.size_for(0.02, count=8) == pytest.approx(size / 2)


def test_nested_cubes_end_with_the_whole_and_anchors_differ():
    mask = grains(3, edge=2, side=40)
    centre = representative_volume(mask, np.mean, rng=0)
    corners = representative_volume(mask, np.mean, rng=0, nested_from="corners")
    assert centre.nested.shape == (1, len(centre.nested_sizes))
    assert corners.nested.shape == (8, len(corners.nested_sizes))
    np.testing.assert_allclose(corners.nested[:, -1], mask.mean())
    side = centre.nested_sizes[0]
    start = (40 - side) // 2
    assert centre.nested[0, 0] == mask[start : start + side, start : start + side, start : start + side].mean()
    assert corners.nested[0, 0] == mask[:side, :side, :side].mean()
    assert corners.nested[7, 0] == mask[-side:, -side:, -side:].mean()


def test_independent_cubes_do_not_overlap_and_stay_inside():
    """Each voxel's own number, summed over the cubes, can only come once."""
    seen = []
    labels = np.zeros((30, 34, 38), np.uint8)
    labels.flat[::7] = 1
    representative_volume(labels, lambda cube: seen.append(cube) or 0.5, rng=3, sizes=(9,))
    starts = [np.subtract(c.__array_interface__["data"][0], labels.__array_interface__["data"][0]) for c in seen]
    corners = np.array(np.unravel_index(starts[: len(seen) - 2], labels.shape)).T
    assert len(corners) == 3 * 3 * 4
    assert np.all(corners + 9 <= labels.shape)
    apart = np.abs(corners[:, None] - corners).max(axis=2)
    assert np.all(apart[~np.eye(len(corners), dtype=bool)] >= 9)


def test_same_seed_gives_the_same_cubes():
    mask = grains(4, edge=2, side=50)
    one, two, other = (representative_volume(mask, np.mean, rng=seed, most=8) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(one.values, two.values, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one.values, other.values, strict=True))


def test_measure_may_be_of_labels_and_of_transport():
    labels = np.where(grains(5, edge=3, side=48, fraction=0.7), 0, 2).astype(np.uint8)

    def diffusivity(cube):
        try:
            return tortuosity(cube == 0, axis=0).effective_diffusivity
        except NoPathError:
            return 0.0

    assert representative_volume(labels, porosity, rng=0).mean[-1] == pytest.approx(0.7, abs=0.05)
    found = representative_volume(labels, diffusivity, rng=0, sizes=(12, 16))
    assert np.all(found.mean < 0.7)
    assert found.relative_error[0] > found.relative_error[1] > 0


def test_constant_volume_needs_no_size():
    found = representative_volume(np.ones((16, 16, 16), bool), np.mean, rng=0)
    assert found.prefactor == 0
    assert found.size_for(0.01) == 0


MASK = grains(6, edge=2, side=16)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sizes": (9,)}, "a size is 9; it must be from 1 to 8"),
        ({"sizes": ()}, "sizes is empty"),
        ({"sizes": 4}, "sizes is 4"),
        ({"most": 2}, "most is 2"),
        ({"nested_from": "edge"}, "nested_from is 'edge'"),
        ({"exponent": 0}, "exponent is 0"),
        ({"exponent": None, "sizes": (4,)}, "two sizes"),
        ({"measure": lambda cube: np.nan}, "measure gave nan"),
        ({"measure": lambda cube: [1, 2]}, "measure failed on a cube of"),
        ({"volume": MASK[:4]}, "smallest side of volume is 4"),
        ({"volume": MASK * 0.5}, "fractional"),
    ],
)
def test_bad_arguments_of_the_representative_volume_are_refused(options, sentence):
    arguments = {"volume": MASK, "measure": np.mean} | options
    with pytest.raises(ValueError, match=sentence):
        representative_volume(arguments.pop("volume"), arguments.pop("measure"), rng=0, **arguments)


@pytest.mark.parametrize(("error", "sentence"), [(0, "relative_error is 0"), (np.nan, "nan"), ("a", "'a'")])
def test_bad_wanted_error_is_refused(error, sentence):
    with pytest.raises(ValueError, match=sentence):
        representative_volume(MASK, np.mean, rng=0).size_for(error)
