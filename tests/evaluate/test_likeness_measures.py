import math

import numpy as np
import pytest

import evaluate
import synth
from evaluate.likeness.curve_distances import curve_distance
from evaluate.likeness.independent_draws import (
    deviation_of_means,
    mean_of_draws,
    neighbour_inflation,
)
from evaluate.likeness.printed_units import paper_factor
from evaluate.likeness.subvolume_measures import measure_subvolumes, place_cubes
from synth.materials.sofc_electrode import sofc_targets
from volume import Volume

NAN = math.nan


def covers(trials, level=0.95):
    """Number of successes that so many trials at `level` stay above in all but 1 of 30 000 cases."""
    return level * trials - 4 * math.sqrt(trials * level * (1 - level))


# Cubes


@pytest.mark.parametrize("shape", [(64, 64, 64), (65, 130, 200), (64, 300, 70)])
@pytest.mark.parametrize("most", [None, 5, 1])
def test_cubes_lie_inside_and_do_not_overlap(shape, most):
    origins, grid = place_cubes(shape, 64, most=most)
    assert len(origins) == math.prod(grid) <= (most or 10**6)
    covered = np.zeros(shape, int)
    for z, y, x in origins:
        assert covered[z : z + 64, y : y + 64, x : x + 64].shape == (64, 64, 64)
        covered[z : z + 64, y : y + 64, x : x + 64] += 1
    assert covered.max() == 1
    if most is None:
        assert grid == tuple(n // 64 for n in shape)


def test_every_number_is_what_evaluate_measures_on_the_cube():
    size = (0.2, 0.1, 0.1)
    labels = synth.gaussian_phases((24, 20, 40), fractions=(0.4, 0.35, 0.25), length_vox=5, rng=3).labels
    found = measure_subvolumes(Volume(labels, size), edge=20)
    assert found.grid == (1, 1, 2)
    assert found.unit == "um"
    assert found.cube_size == pytest.approx((4.0, 2.0, 2.0))
    for cube, (z, y, x) in enumerate(found.origins):
        part = labels[z : z + 20, y : y + 20, x : x + 20]
        areas = evaluate.interface_areas(part, voxel_size_um=size).specific_areas
        lines = evaluate.triple_phase_boundary(part, voxel_size_um=size)
        assert found.values["triple_phase_boundary", (0, 1, 2)][cube] == lines.density
        for phase in range(3):
            mask = part == phase
            functionals = evaluate.minkowski(mask, voxel_size_um=size)
            for key in ("volume_fraction", "specific_surface", "mean_curvature", "euler_density"):
                assert found.values[key, (phase,)][cube] == getattr(functionals, key)
            assert found.values["mean_diameter", (phase,)][cube] == pytest.approx(
                evaluate.pore_size_distribution(mask, voxel_size_um=size).mean
            )
            pairs = evaluate.two_point(mask, voxel_size_um=size, r_max=10)
            np.testing.assert_array_equal(found.curves["two_point", (phase,)][cube], pairs.s2)
            np.testing.assert_array_equal(found.at["two_point"], pairs.r)
            partners = sum(
                found.values["interface_area", tuple(sorted((phase, other)))][cube] for other in {0, 1, 2} - {phase}
            )
            assert partners == pytest.approx(areas[phase].sum())


def test_phase_without_a_way_has_no_tortuosity_and_no_diffusivity():
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[:, :, 8:] = 1
    found = measure_subvolumes(labels, edge=16)
    assert found.values["tortuosity_z", (1,)] == pytest.approx(1)
    assert np.isnan(found.values["tortuosity_x", (1,)]).all()
    assert found.values["percolates", (1,)] == pytest.approx(2 / 3)
    assert found.values["effective_diffusivity", (1,)] == pytest.approx((0.5 + 0.5 + 0) / 3)


def test_absent_phase_has_no_sizes_and_all_else_is_zero():
    labels = synth.gaussian_phases((16, 16, 16), fractions=(0.5, 0.5), length_vox=4, rng=0).labels
    found = measure_subvolumes(labels, edge=16, n_phases=3)
    for (quantity, phases), values in found.values.items():
        if 2 in phases:
            undefined = quantity == "mean_diameter" or quantity.startswith("tortuosity")
            assert np.isnan(values[0]) if undefined else values[0] == 0


def test_left_out_topics_are_not_measured():
    labels = synth.gaussian_phases((16, 16, 16), fractions=(0.4, 0.3, 0.3), length_vox=4, rng=0).labels
    found = measure_subvolumes(labels, edge=16, topics=())
    names = {quantity for quantity, _ in found.values}
    assert names == {"volume_fraction", "specific_surface", "mean_curvature", "euler_density"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"edge": 17}, "16 × 16 × 16 voxels holds no cube of 17"),
        ({"edge": 4}, "edge is 4; it must be at least 8"),
        ({"edge": 16, "most": 0}, "most is 0; it must be at least 1"),
        ({"edge": 16, "n_phases": 17}, "n_phases is 17; it must be from 2 to 16"),
        ({"edge": 16, "topics": ("size",)}, "'size' is no topic; choose from sizes, transport, interfaces"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        measure_subvolumes(np.zeros((16, 16, 16), np.uint8), **options)


# Means and their errors


def test_interval_of_normal_draws_has_its_coverage_from_two_volumes_on():
    rng = np.random.default_rng(0)
    for n in (2, 4, 16):
        found = [mean_of_draws([rng.normal(7, 2, (1,)) for _ in range(n)]) for _ in range(600)]
        hits = sum(one.low <= 7 <= one.high for one in found)
        assert covers(600) <= hits <= 600 - (600 - covers(600)) / 6


def test_volumes_that_differ_are_the_draws_and_not_their_cubes():
    rng = np.random.default_rng(1)
    hits_of_volumes = hits_of_cubes = 0
    for _ in range(400):
        groups = [rng.normal(0, 1) + rng.normal(0, 1, 8) for _ in range(6)]
        of_volumes, of_cubes = mean_of_draws(groups), mean_of_draws([np.concatenate(groups)])
        hits_of_volumes += of_volumes.low <= 0 <= of_volumes.high
        hits_of_cubes += of_cubes.low <= 0 <= of_cubes.high
    assert of_volumes.of_volumes
    assert (of_volumes.draws, of_volumes.cubes) == (6, 48)
    assert hits_of_volumes >= covers(400)
    assert hits_of_cubes < 0.7 * 400


def test_mean_and_error_are_those_of_the_textbook():
    found = mean_of_draws([[1.0, 2.0, NAN], [4.0]], level=0.9)
    assert (found.mean, found.draws, found.cubes) == (pytest.approx(7 / 3), 3, 3)
    assert found.standard_error == pytest.approx(np.std([1, 2, 4], ddof=1) / math.sqrt(3))
    assert found.high - found.mean == pytest.approx(2.919986 * found.standard_error, rel=1e-6)


def test_inflation_widens_the_interval():
    values = [np.random.default_rng(0).normal(size=20)]
    assert mean_of_draws(values, inflation=2).standard_error == pytest.approx(
        mean_of_draws(values).standard_error * math.sqrt(2 * 19 / 18)
    )


def test_inflation_is_that_of_the_summed_covariance():
    # Sum of the covariance of all pairs of voxels of a grid of 3 × 2 × 1 cubes, against that of one cube.
    edge, grid, length = 20, (3, 2, 1), 3.0

    def variance(sides):
        lags = [np.arange(-n + 1, n) for n in sides]
        pairs = [n - np.abs(lag) for n, lag in zip(sides, lags, strict=True)]
        factors = [
            pair @ np.exp(-((lag / length) ** 2)) / n**2 for pair, lag, n in zip(pairs, lags, sides, strict=True)
        ]
        return math.prod(factors)

    expected = variance([n * edge for n in grid]) / variance([edge] * 3) * 6
    r = np.arange(0, 11.0)
    found = neighbour_inflation(r, np.exp(-((r / length) ** 2)), cube_size=(edge,) * 3, grid=grid)
    assert found == pytest.approx(expected, rel=0.01)
    assert neighbour_inflation(r, np.exp(-((r / length) ** 2)), cube_size=(edge,) * 3, grid=(1, 1, 1)) == 1


def test_interval_of_neighbouring_cubes_has_its_coverage_with_the_inflation_only():
    # The positive part of a Gaussian field: a fraction of 1/2 and a covariance known in closed form.
    edge, n, length, trials = 8, 24, 2.0, 200
    r = np.arange(0, 9.0)
    covariance = np.arcsin(np.exp(-((r / length) ** 2))) / (2 * np.pi)
    inflation = neighbour_inflation(r, covariance, cube_size=(edge,) * 3, grid=(3, 3, 3))
    lags = np.fft.fftfreq(32)
    filtered = np.exp(-((np.pi * length) ** 2) * (lags[:, None, None] ** 2 + lags[:, None] ** 2 + lags[:17] ** 2) / 2)
    rng, hits, hits_without = np.random.default_rng(0), 0, 0
    for _ in range(trials):
        field = np.fft.irfftn(np.fft.rfftn(rng.standard_normal((32, 32, 32))) * filtered, (32, 32, 32))
        inside = field[:n, :n, :n] > 0
        fractions = inside.reshape(3, edge, 3, edge, 3, edge).mean(axis=(1, 3, 5)).ravel()
        with_it, without = mean_of_draws([fractions], inflation=inflation), mean_of_draws([fractions])
        hits += with_it.low <= 0.5 <= with_it.high
        hits_without += without.low <= 0.5 <= without.high
    assert hits >= covers(trials)
    assert hits_without < hits


@pytest.mark.parametrize("covariance", [[0, 0, 0], [1, 0, 0], [1, -1, 1]])
def test_without_correlation_nothing_is_inflated(covariance):
    assert neighbour_inflation([0, 1, 2], covariance, cube_size=(8, 8, 8), grid=(2, 2, 2)) == 1


def test_relative_error_covers_the_true_one_whatever_its_sign():
    rng = np.random.default_rng(2)
    for mean in (5.0, -5.0):
        hits = 0
        for _ in range(400):
            made, real = (mean_of_draws([rng.normal(m, 1, 8)]) for m in (1.3 * mean, mean))
            away = deviation_of_means(made, real)
            assert away.relative == pytest.approx(away.difference / abs(real.mean))
            assert away.relative_low <= away.relative <= away.relative_high
            hits += away.relative_low <= math.copysign(0.3, mean) <= away.relative_high
        assert hits >= covers(400)


def test_verdict_is_that_of_both_intervals():
    rng = np.random.default_rng(3)
    verdicts = []
    for shift in (0, 0, 0, 0, 0.5, 1, 1.5, 2):
        away = deviation_of_means(mean_of_draws([rng.normal(9 + shift, 1, 9)]), mean_of_draws([rng.normal(9, 1, 9)]))
        assert away.allows_equality == (away.low <= 0 <= away.high) == (away.relative_low <= 0 <= away.relative_high)
        verdicts.append(away.allows_equality)
    assert verdicts[0]
    assert not verdicts[-1]


def test_no_relative_error_where_the_real_mean_may_be_zero():
    real, made = mean_of_draws([[-1.0, 1.1, 0.3]]), mean_of_draws([[5.0, 6.0, 7.0]])
    away = deviation_of_means(made, real)
    assert math.isnan(away.relative_low)
    assert math.isnan(away.relative_high)
    assert not away.allows_equality


def test_numbers_that_are_exact_may_be_equal_and_may_not():
    exact, same, other = (mean_of_draws([[value] * 4]) for value in (0.3, 0.1 + 0.2, 0.31))
    assert deviation_of_means(same, exact).allows_equality
    assert not deviation_of_means(other, exact).allows_equality


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mean_of_draws([[1.0]]), "1 values cannot tell how much they vary"),
        (lambda: mean_of_draws([[1.0, NAN], [NAN]]), "1 values cannot tell"),
        (lambda: mean_of_draws([[1.0, 2.0]], level=1), "level is 1; it must be a number above 0 and below 1"),
        (lambda: mean_of_draws([[1.0, 2.0]], inflation=0.5), "inflation is 0.5; it must be a finite number of 1"),
        (
            lambda: neighbour_inflation([0, 1], [1], cube_size=(8, 8, 8), grid=(1, 1, 1)),
            "give two curves of one length",
        ),
        (lambda: neighbour_inflation([0], [1], cube_size=(8, 8, 0), grid=(1, 1, 1)), "both must be positive"),
        (lambda: curve_distance([np.ones((1, 3))], [np.ones((2, 3))], at=range(3), rng=0), "1 curves cannot tell"),
        (lambda: curve_distance([np.ones((2, 4))], [np.ones((2, 3))], at=range(3), rng=0), "but there are 3 places"),
        (
            lambda: curve_distance([np.ones((2, 3))], [np.ones((2, 3))], at=range(3), measure="max", rng=0),
            "measure is 'max'; it must be one of 'rms', 'area'",
        ),
        (
            lambda: curve_distance([np.ones((2, 3))], [np.ones((2, 3))], at=range(3), scale=0, rng=0),
            "scale is 0; it must be above 0",
        ),
        (lambda: paper_factor("volume", 64), "quantity is 'volume'; it must be one of 'volume_fraction'"),
        (lambda: paper_factor("volume_fraction", 1), "edge is 1; it must be at least 2"),
    ],
)
def test_what_has_no_mean_or_distance_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# Curves


def test_s2_distance_of_slabs_is_the_closed_form():
    # Slabs of half a period have along z the triangle S2 = 1/2 - |r| / period; of twice the period half its slope.
    r = np.arange(0, 17.0)
    near, far = 0.5 - r / 64, 0.5 - r / 128
    found = curve_distance([np.array([far, far])], [np.array([near, near])], at=r, scale=0.25, rng=0)
    # Root mean square of r / 128 over 0 to 16, by trapezoids of unit width.
    square = float(((r / 128) ** 2).sum() - (16 / 128) ** 2 / 2)
    assert found.distance == pytest.approx(math.sqrt(square / 16) / 0.25)
    assert found.largest == pytest.approx(16 / 128 / 0.25)
    assert not found.allows_equality


def test_area_between_cumulative_distributions_is_the_shift():
    at = np.linspace(0, 10, 401)
    early, late = (np.clip(at - start, 0, 1) for start in (2, 5.5))
    found = curve_distance([np.array([late] * 2)], [np.array([early] * 2)], at=at, measure="area", rng=0)
    assert found.distance == pytest.approx(3.5, rel=1e-9)


def test_distance_of_equal_materials_stays_below_the_noise_at_the_stated_rate():
    rng = np.random.default_rng(5)
    places = np.arange(12.0)
    root = np.linalg.cholesky(np.exp(-np.abs(places[:, None] - places) / 4) + 1e-9 * np.eye(12))

    def draws(n, count):
        return [(root @ rng.standard_normal((12, n))).T for _ in range(count)]

    for groups in ((12, 1), (1, 6)):
        found = [
            curve_distance(draws(*groups), draws(20, 1), at=places, resamples=200, rng=0).allows_equality
            for _ in range(150)
        ]
        assert sum(found) >= covers(150)
        moved = curve_distance([rows + 2 for rows in draws(*groups)], draws(20, 1), at=places, rng=0)
        assert not moved.allows_equality


def test_distance_depends_on_the_seed_alone():
    curves = [np.random.default_rng(0).random((5, 8))]
    first, again = (curve_distance(curves, curves, at=range(8), rng=4) for _ in range(2))
    assert first == again
    assert first.distance == 0


# The paper's units


@pytest.mark.parametrize("edge", [24, 48])
def test_paper_normalisation_is_quantimpy_over_the_cube(edge):
    functionals = pytest.importorskip("quantimpy.minkowski").functionals
    labels = synth.gaussian_phases((48, 48, 48), fractions=(0.5, 0.5), length_vox=6, rng=0).labels
    origins, _ = place_cubes(labels.shape, edge)
    masks = [np.ascontiguousarray(labels[z : z + edge, y : y + edge, x : x + edge] == 0) for z, y, x in origins]
    theirs = np.sum([functionals(mask) for mask in masks], axis=0) / edge**3
    ours = measure_subvolumes(labels, edge=edge, topics=()).values
    # Their integral of the mean curvature, the third, overflows for pores. They weigh the outermost voxels half, which
    # leaves chance between the two, and their Euler table has errors.
    for key, printed, tolerance in (
        ("volume_fraction", 0, 0.02),
        ("specific_surface", 1, 0.02),
        ("euler_density", 3, 0.1),
    ):
        assert ours[key, (0,)].sum() * paper_factor(key, edge) == pytest.approx(theirs[printed], rel=tolerance)


def test_paper_factors_undo_the_conversion_of_the_printed_targets():
    for preset, printed in (("two-phase", (0.497, 0.014, -3.48e-5)), ("three-phase", (0.437, 0.015, -4.21e-5))):
        target = sofc_targets(preset)["pore"]
        fraction, surface, euler = printed
        assert target["specific_surface"] * paper_factor("specific_surface", 64) == pytest.approx(surface)
        assert target["euler_density"] * paper_factor("euler_density", 64) == pytest.approx(euler)
        # Printed fractions are rounded to 0.001, and the target is over their sum.
        assert target["volume_fraction"] * paper_factor("volume_fraction", 64) == pytest.approx(fraction, abs=2e-3)
