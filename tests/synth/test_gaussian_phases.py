import itertools
import json
import math
import tracemalloc
import typing

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, ndimage

from launch import convert
from synth.exact_counts import check_fractions, whole_counts
from synth.gaussian import correlation_function, gaussian_field, gradient_moment
from synth.gaussian_cuts import gaussian_phases

CORRELATIONS = ("gaussian", "exponential", "matern32", "matern52", "oscillating")
BOX = (24, 28, 33)
SIGMAS = 4


def means_agree(samples, expected):
    """Whether independent samples have the expected mean, to within four of its standard errors."""
    samples = np.asarray(samples)
    return abs(samples.mean() - expected) < SIGMAS * samples.std(ddof=1) / np.sqrt(len(samples))


def product_at_lag(field, axis, lag):
    n = field.shape[axis]
    return (field.take(range(n - lag), axis) * field.take(range(lag, n), axis)).mean(dtype=float)


def touching(labels):
    """Pairs of labels that share a voxel face."""
    pairs = set()
    for axis in range(3):
        n = labels.shape[axis]
        a, b = labels.take(range(n - 1), axis).astype(int), labels.take(range(1, n), axis)
        codes = np.unique(np.minimum(a, b) * 256 + np.maximum(a, b))
        pairs |= {(int(c) // 256, int(c) % 256) for c in codes if c // 256 != c % 256}
    return pairs


# The closed forms


@pytest.mark.parametrize("name", CORRELATIONS)
def test_correlation_functions_begin_at_one_and_fade(name):
    function = correlation_function(name)
    distance = np.linspace(0, 30, 3001)
    assert function(np.zeros(1))[0] == 1
    assert (abs(function(distance)) <= 1).all()
    assert abs(function(distance[-1:]))[0] < 1e-9
    assert function(distance[:3000].reshape(3, 1000)).shape == (3, 1000)


@pytest.mark.parametrize("name", [name for name in CORRELATIONS if name != "exponential"])
def test_gradient_moment_is_the_curvature_at_the_origin(name):
    step = 1e-4
    curvature = 2 * (1 - correlation_function(name)(np.array([step]))[0]) / step**2
    # The next term of the series is of relative order step for matern32, step² for the others.
    assert gradient_moment(name) == pytest.approx(curvature, rel=20 * step)


def test_the_exponential_has_no_gradient():
    assert gradient_moment("exponential") == np.inf


@pytest.mark.parametrize("name", CORRELATIONS)
def test_correlation_functions_have_a_positive_spectrum_in_space(name):
    r = np.linspace(0, 40, 400_001)
    for k in (0.5, 2.0, 2 * np.pi, 9.0):
        # A transform in three dimensions: 4π ∫ C(r) r² sin(kr) / (kr) dr.
        assert integrate.trapezoid(correlation_function(name)(r) * r * np.sin(k * r), r) / k > 0


# The field


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("name", CORRELATIONS)
def test_covariance_is_the_closed_form_along_each_axis(name, periodic):
    length, stretch = 3.0, (0.8, 1.0, 1.25)
    fields = [
        gaussian_field(BOX, length_vox=length, correlation=name, anisotropy=stretch, periodic=periodic, rng=seed)
        for seed in range(40)
    ]
    for axis, lag in itertools.product(range(3), (0, 1, 3, 5)):
        expected = correlation_function(name)(np.array([lag / (length * stretch[axis])]))[0]
        assert means_agree([product_at_lag(field, axis, lag) for field in fields], expected)


def test_covariance_is_the_closed_form_along_a_diagonal():
    length, stretch = 4.0, (0.8, 1.0, 1.5)
    products = []
    for seed in range(40):
        field = gaussian_field(BOX, length_vox=length, correlation="matern52", anisotropy=stretch, rng=seed)
        products.append((field[:-1, :-2, :-3] * field[1:, 2:, 3:]).mean(dtype=float))
    distance = np.sqrt(sum((lag / a) ** 2 for lag, a in zip((1, 2, 3), stretch, strict=True)))
    assert means_agree(products, correlation_function("matern52")(np.array([distance / length]))[0])


@pytest.mark.parametrize("shape", [(1, 60, 61), (40, 1, 91), (40, 91, 1)])
@pytest.mark.parametrize("name", ["gaussian", "exponential"])
def test_a_map_has_the_same_correlation_as_a_volume(name, shape):
    fields = [gaussian_field(shape, length_vox=3.0, correlation=name, rng=seed) for seed in range(40)]
    for axis, lag in itertools.product([i for i in range(3) if shape[i] > 1], (0, 2, 4)):
        expected = correlation_function(name)(np.array([lag / 3.0]))[0]
        assert means_agree([product_at_lag(field, axis, lag) for field in fields], expected)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("shape", [(16, 15, 4), (15, 16, 5), (13, 2, 12), (2, 13, 11), (30, 31, 1), (60, 1, 1)])
@pytest.mark.parametrize("name", ["gaussian", "exponential"])
def test_variance_is_one_for_lengths_below_a_voxel(name, shape, periodic):
    # A narrow axis gives the plane of frequency 0, and that of the highest, a large share of the variance.
    fields = [
        gaussian_field(shape, length_vox=0.4, correlation=name, periodic=periodic, rng=seed) for seed in range(40)
    ]
    assert means_agree([np.mean(field.astype(float) ** 2) for field in fields], 1.0)
    assert means_agree([np.mean(field, dtype=float) for field in fields], 0.0)


def test_variance_is_the_same_at_every_voxel():
    squares = np.mean([gaussian_field((9, 10, 11), length_vox=2.0, rng=seed) ** 2 for seed in range(400)], axis=0)
    # A mean of 400 squares of normal numbers has standard error 0.07; 5.5 of them for the extreme of 990 voxels.
    assert abs(squares - 1).max() < 5.5 * np.sqrt(2 / 400)


def test_values_are_normal():
    field = gaussian_field((64, 64, 64), length_vox=1.0, correlation="exponential", rng=0).ravel()
    for level in (-1.5, -0.5, 0.5, 1.5):
        below = np.mean(field < level)
        expected = 0.5 * (1 + math.erf(level / math.sqrt(2)))
        # The integral of C over space, 8π length³, makes that many voxels count as one.
        assert abs(below - expected) < SIGMAS * 0.5 * np.sqrt(8 * np.pi / field.size)


@pytest.mark.parametrize("axis", range(3))
def test_the_seam_of_a_periodic_field_is_like_its_inside(axis):
    differences = []
    for seed in range(40):
        field = gaussian_field(BOX, length_vox=4.0, correlation="matern32", periodic=True, rng=seed)
        across = (field.take(0, axis) * field.take(-1, axis)).mean(dtype=float)
        differences.append(across - product_at_lag(field, axis, 1))
    assert means_agree(differences, 0.0)


@pytest.mark.parametrize("name", CORRELATIONS)
def test_opposite_faces_are_strangers_without_periodicity(name):
    products = []
    for seed in range(40):
        field = gaussian_field((40, 8, 9), length_vox=2.0, correlation=name, rng=seed)
        products.append((field[0] * field[-1]).mean(dtype=float))
    assert means_agree(products, 0.0)


def test_a_function_of_distance_is_as_good_as_a_name():
    def spherical(r):
        t = np.minimum(r / 8.0, 1.0)
        return 1 - 1.5 * t + 0.5 * t**3

    fields = [gaussian_field(BOX, length_vox=5.0, correlation=spherical, rng=seed) for seed in range(40)]
    for lag in (0, 1, 4, 9):
        assert means_agree([product_at_lag(field, 2, lag) for field in fields], spherical(np.array([lag]))[0])


@pytest.mark.parametrize("name", CORRELATIONS)
def test_lengths_of_half_a_side_are_reachable_and_a_quarter_if_periodic(name):
    for shape in (BOX, (1, 40, 50), (48, 48, 48)):
        side = min(n for n in shape if n > 1)
        for length, periodic in ((side / 2, False), (side / 4, True)):
            field = gaussian_field(shape, length_vox=length, correlation=name, periodic=periodic, rng=0)
            assert np.isfinite(field).all()


@pytest.mark.parametrize("name", ["gaussian", "exponential"])
@pytest.mark.parametrize("threads", [2, 5])
def test_bytes_do_not_depend_on_the_number_of_threads(name, threads, monkeypatch):
    def make():
        field = gaussian_field((20, 33, 27), length_vox=4.0, correlation=name, rng=3)
        structure = gaussian_phases(
            (20, 33, 27), fractions=(0.2, 0.3, 0.5), length_vox=4.0, rule="plurigaussian", correlation=name, rng=3
        )
        return field.tobytes(), structure.labels.tobytes()

    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)
    alone = make()
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
    assert make() == alone


def test_a_smooth_periodic_field_holds_whole_long_waves_only():
    field = gaussian_field((16, 18, 20), length_vox=5.0, periodic=True, rng=1)
    power = abs(np.fft.fftn(field.astype(float))) ** 2
    # exp(-(π f length / side)²) at the Nyquist frequency is below 1e-26; what is there is float32's rounding.
    for highest in (power[8], power[:, 9], power[:, :, 10]):
        assert highest.sum() < 1e-10 * power.sum()


# The phases


@pytest.mark.parametrize("rule", ["truncated", "plurigaussian"])
@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_fractions_are_exact(rule, n):
    fractions = np.arange(1, n + 1) / (n * (n + 1) / 2)
    structure = gaussian_phases((17, 19, 23), fractions=tuple(fractions), length_vox=5.0, rule=rule, rng=n)
    counts = np.bincount(structure.labels.ravel(), minlength=n)
    assert tuple(counts) == whole_counts(check_fractions(fractions), structure.labels.size)
    assert structure.truth["fractions"] == (counts / structure.labels.size).tolist()
    assert structure.truth["porosity"] == counts[0] / structure.labels.size
    assert structure.truth["n_phases"] == n == len(structure.phases)
    assert structure.labels.dtype == np.uint8


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3).filter(lambda s: s[0] * s[1] * s[2] >= 12),
    weights=st.lists(st.integers(1, 4), min_size=2, max_size=3),
    rule=st.sampled_from(["truncated", "plurigaussian"]),
    periodic=st.booleans(),
)
def test_fractions_are_exact_for_any_shape(shape, weights, rule, periodic):
    fractions = np.array(weights) / sum(weights)
    structure = gaussian_phases(shape, fractions=fractions, length_vox=1.0, rule=rule, periodic=periodic, rng=0)
    assert tuple(np.bincount(structure.labels.ravel())) == whole_counts(
        check_fractions(fractions), structure.labels.size
    )


def test_255_phases_are_exact():
    structure = gaussian_phases((20, 21, 22), fractions=(1 / 255,) * 255, length_vox=4.0, rng=0)
    counts = np.bincount(structure.labels.ravel())
    assert len(counts) == 255
    assert set(counts) == {36, 37}


def test_truncated_labels_are_the_field_cut_at_the_thresholds():
    arguments = {"length_vox": 6.0, "correlation": "matern52", "anisotropy": (1.0, 2.0, 1.0), "rng": 11}
    structure = gaussian_phases((21, 30, 25), fractions=(0.25, 0.35, 0.4), **arguments)
    field = gaussian_field((21, 30, 25), **arguments)
    thresholds = structure.truth["thresholds"]
    ranks = np.cumsum(whole_counts((0.25, 0.35, 0.4), field.size))[:-1]
    assert thresholds == np.sort(field.ravel())[ranks].tolist()
    np.testing.assert_array_equal(structure.labels, np.searchsorted(thresholds, field, side="right"))


def test_phases_that_are_not_neighbours_in_order_never_touch_in_a_smooth_truncated_field():
    # Between neighbouring voxels the field changes by about √2 / 24, the thresholds are more than 1 apart.
    structure = gaussian_phases((48, 50, 52), fractions=(0.3, 0.4, 0.3), length_vox=24.0, rng=0)
    assert touching(structure.labels) == {(0, 1), (1, 2)}


def test_every_phase_touches_every_other_in_a_plurigaussian():
    structure = gaussian_phases((48, 50, 52), fractions=(0.25,) * 4, length_vox=8.0, rule="plurigaussian", rng=0)
    assert touching(structure.labels) == set(itertools.combinations(range(4), 2))


def test_a_plurigaussian_may_have_a_length_for_each_field():
    structure = gaussian_phases(
        (40, 40, 40), fractions=(0.5, 0.25, 0.25), length_vox=(16.0, 3.0), rule="plurigaussian", rng=0
    )
    labels = structure.labels
    jumps_of_pore = sum(np.count_nonzero(np.diff((labels == 0).astype(int), axis=a)) for a in range(3))
    solid = labels > 0
    jumps_inside = sum(
        np.count_nonzero(np.diff(labels.astype(int), axis=a)[np.diff(solid.astype(int), axis=a) == 0]) for a in range(3)
    )
    # The second field is five times as rough, over half the volume.
    assert jumps_inside > 1.5 * jumps_of_pore


@pytest.mark.parametrize("name", ["gaussian", "exponential", "oscillating"])
def test_two_point_function_of_a_median_cut_is_the_arcsine_law(name):
    shape, length = (48, 50, 52), 3.0
    pores = [
        gaussian_phases(shape, fractions=(0.5, 0.5), length_vox=length, correlation=name, rng=seed).labels == 0
        for seed in range(20)
    ]
    r = np.linspace(0, 60, 60_001)
    covariance = np.arcsin(correlation_function(name)(r / length)) / (2 * np.pi)
    # Fixing the fraction in a finite volume takes its variance off the covariance at every distance.
    variance = integrate.trapezoid(4 * np.pi * r**2 * covariance, r) / np.prod(shape)
    for axis, lag in itertools.product(range(3), (1, 2, 4, 6)):
        law = 0.25 + np.arcsin(correlation_function(name)(np.array([lag / length]))[0]) / (2 * np.pi)
        assert means_agree([product_at_lag(pore, axis, lag) for pore in pores], law - variance)


def test_axes_and_directions_are_alike():
    turned, mirrored = [], []
    for seed in range(30):
        pore = gaussian_phases((32, 32, 32), fractions=(0.3, 0.7), length_vox=5.0, rng=seed).labels == 0
        along = [product_at_lag(pore, axis, 3) for axis in range(3)]
        turned.append((along[0] - along[1], along[1] - along[2]))
        for axis in range(3):
            p = np.moveaxis(pore, axis, 0)
            mirrored.append((p[:-5] & p[1:-4] & p[5:]).mean() - (p[:-5] & p[4:-1] & p[5:]).mean())
    assert means_agree([t[0] for t in turned], 0)
    assert means_agree([t[1] for t in turned], 0)
    assert means_agree(mirrored, 0)


def test_anisotropy_stretches_the_phases():
    labels = gaussian_phases((40, 40, 40), fractions=(0.5, 0.5), length_vox=5.0, anisotropy=(3, 1, 1), rng=0).labels
    changes = [np.count_nonzero(np.diff(labels, axis=axis)) for axis in range(3)]
    # Walls per length go with 1 / a. 0.25 is wide of the scatter of this one volume and far below the factor 3.
    assert changes[1] / changes[0] == pytest.approx(3, rel=0.25)
    assert changes[1] / changes[2] == pytest.approx(1, rel=0.25)


def test_a_periodic_structure_has_no_wall_at_its_seam():
    labels = gaussian_phases((30, 32, 34), fractions=(0.4, 0.6), length_vox=7.0, periodic=True, rng=5).labels
    changes = np.concatenate([np.count_nonzero(labels != np.roll(labels, 1, axis=0), axis=(1, 2))])
    assert changes[0] <= changes[1:].max()
    open_labels = gaussian_phases((30, 32, 34), fractions=(0.4, 0.6), length_vox=7.0, rng=5).labels
    changes = np.count_nonzero(open_labels != np.roll(open_labels, 1, axis=0), axis=(1, 2))
    assert changes[0] > changes[1:].max()


def test_same_seed_same_bytes_and_other_seeds_differ():
    make = lambda rng: gaussian_phases((16, 18, 20), fractions=(0.5, 0.5), length_vox=4.0, rng=rng).labels.tobytes()  # noqa: E731
    assert make(7) == make(7) == make(np.random.default_rng(7))
    assert make(7) != make(8)
    rng = np.random.default_rng(7)
    assert make(rng) != make(rng)


@pytest.mark.parametrize(
    "arguments",
    [
        {"fractions": (0.4, 0.6), "length_vox": 5},
        {"fractions": [0.2, 0.3, 0.5], "length_vox": np.array([6.0, 3]), "rule": "plurigaussian", "periodic": True},
        {
            "fractions": (0.2, 0.8), "length_vox": 4.5, "correlation": "oscillating", "anisotropy": [1, 1, 2],
            "phases": ["void", "nickel"],
        },
    ],
)  # fmt: skip
def test_the_recipe_makes_the_same_bytes_again(arguments):
    structure = gaussian_phases((24, 20, 22), **arguments, rng=2)
    recipe = json.loads(json.dumps(structure.recipe))
    assert recipe.pop("generator") == "gaussian_phases"
    again = gaussian_phases(**recipe, rng=2)
    assert again.labels.tobytes() == structure.labels.tobytes()
    assert again.recipe == structure.recipe
    assert again.phases == structure.phases
    json.dumps(structure.truth)


def test_the_arguments_can_be_read_from_text():
    recipe = {
        "shape": (16, 16, 16), "fractions": (0.2, 0.3, 0.5), "length_vox": (4, 3), "rule": "plurigaussian",
        "anisotropy": (1, 1, 2), "phases": ("pore", "a", "b"),
    }  # fmt: skip
    hints = typing.get_type_hints(gaussian_phases)
    read = {key: convert(value, hints[key], key) for key, value in recipe.items()}
    assert gaussian_phases(**read, rng=0).phases == ("pore", "a", "b")
    assert convert(4, hints["length_vox"], "length_vox") == 4.0


def test_default_names_begin_with_the_pore():
    two = gaussian_phases((8, 8, 8), fractions=(0.5, 0.5), length_vox=2.0, rng=0)
    three = gaussian_phases((8, 8, 8), fractions=(0.5, 0.25, 0.25), length_vox=2.0, rng=0)
    assert two.phases == ("pore", "solid")
    assert three.phases == ("pore", "phase 1", "phase 2")


def test_the_field_is_never_held():
    gaussian_phases((8, 8, 8), fractions=(0.5, 0.5), length_vox=2.0, rng=0)
    tracemalloc.start()
    structure = gaussian_phases((192, 192, 192), fractions=(0.5, 0.5), length_vox=12.0, rng=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The labels take one byte a voxel; a float field would add four.
    assert peak < 2.5 * structure.labels.size


def test_a_smooth_median_cut_is_one_network_of_pores():
    # Both phases of a symmetric field percolate in space: thresholds lie between 0.16 and 0.84.
    pore = gaussian_phases((64, 64, 64), fractions=(0.5, 0.5), length_vox=8.0, rng=0).labels == 0
    sizes = np.bincount(ndimage.label(pore)[0].ravel())[1:]
    assert sizes.max() > 0.9 * pore.sum()


GOOD = {"shape": (16, 16, 16), "fractions": (0.5, 0.5), "length_vox": 4.0}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"shape": (0, 4, 4)}, "three positive whole numbers"),
        ({"fractions": (0.5, 0.6)}, "add up to 1"),
        ({"fractions": (1.0,)}, "two or more numbers"),
        ({"fractions": (np.nan, 0.5)}, "above 0 and below 1"),
        ({"fractions": (0.9999, 0.0001)}, "phase 1 is less than a voxel"),
        ({"fractions": (1 / 256,) * 256}, "room for 255 phases"),
        ({"length_vox": 0}, "above 0"),
        ({"length_vox": -1.0}, "above 0"),
        ({"length_vox": 1e-300}, "at least 1e-06"),
        ({"rule": np.array([1.0, 2.0])}, "known are truncated"),
        ({"length_vox": np.nan}, "above 0"),
        ({"length_vox": np.inf}, "above 0"),
        ({"length_vox": "long"}, "above 0"),
        ({"length_vox": 17.0}, "too long for a box of 16x16x16 .* at most 16"),
        ({"length_vox": 9.0, "anisotropy": (1, 1, 2)}, "at most 8"),
        ({"length_vox": 16.0, "correlation": "matern52"}, "no positive spectrum .* larger box"),
        ({"length_vox": (4.0, 4.0)}, "takes a number or 1 of them"),
        ({"length_vox": (4.0, 4.0), "rule": "plurigaussian"}, "takes a number or 1 of them"),
        ({"anisotropy": (1, 1)}, "three positive numbers"),
        ({"anisotropy": (1, 1, 0)}, "three positive numbers"),
        ({"anisotropy": (1, 1, np.inf)}, "three positive numbers"),
        ({"correlation": "cubic"}, "known are gaussian, exponential, matern32, matern52, oscillating"),
        ({"correlation": np.exp}, "known are gaussian"),
        ({"rule": "threshold"}, "known are truncated, plurigaussian"),
        ({"phases": ("pore",)}, "give 2 names"),
        ({"phases": "ab"}, "give 2 names"),
        ({"phases": 2}, "give 2 names"),
    ],
)
def test_bad_arguments_get_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        gaussian_phases(**{**GOOD, **change}, rng=0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"length_vox": 200.0}, "at most 128"),
        ({"correlation": lambda r: (r < 5).astype(float)}, "this correlation has no positive spectrum"),
        ({"correlation": lambda r: 2 * np.exp(-r)}, "1 at 0"),
        ({"correlation": lambda r: 1.0}, "as many finite values"),
        ({"correlation": lambda r: np.full(r.shape, np.nan)}, "finite values"),
        ({"correlation": "white"}, "known are"),
    ],
)
def test_bad_fields_get_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        gaussian_field(**{"shape": (16, 16, 16), "length_vox": 4.0, **change}, rng=0)


@pytest.mark.parametrize("function", [correlation_function, gradient_moment])
@pytest.mark.parametrize("name", ["white", None, ["gaussian"]])
def test_unknown_names_are_refused(function, name):
    with pytest.raises(ValueError, match="known are gaussian"):
        function(name)
