import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist

from synth import Structure, sphere_pack, spheres, stamp_spheres


def porosity_of(structure):
    return np.mean(structure.labels == 0)


# Porosity and truth


@pytest.mark.parametrize(
    ("porosity", "diameter", "options"),
    [
        (0.05, 12, {}),
        (0.25, 8, {"sigma": 0.0}),
        (0.36, 20, {"periodic": True}),
        (0.5, 40, {"sigma": 0.5}),
        (0.65, 12.5, {"sigma": 1.0}),
        (0.75, 16, {"overlap": False}),
        (0.8, 30, {"overlap": False, "periodic": True}),
        (0.95, 25, {"sigma": 0.0, "periodic": True}),
    ],
)
def test_porosity_is_met_to_a_thousandth(porosity, diameter, options):
    pack = sphere_pack((150, 150, 150), porosity=porosity, diameter_vox=diameter, rng=1, **options)
    assert porosity_of(pack) == pytest.approx(porosity, abs=1e-3)
    assert pack.truth["porosity"] == pytest.approx(porosity_of(pack), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(8, 40)] * 3),
    porosity=st.floats(0.1, 0.9),
    part=st.floats(0.05, 0.4),
    periodic=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_any_box_meets_its_porosity_and_tells_the_truth(shape, porosity, part, periodic, seed):
    pack = sphere_pack(shape, porosity=porosity, diameter_vox=part * min(shape), periodic=periodic, rng=seed)
    n = pack.labels.size
    assert pack.labels.dtype == np.uint8
    assert pack.labels.shape == pack.shape == shape
    assert pack.phases == ("pore", "solid")
    assert set(np.unique(pack.labels)) <= {0, 1}
    assert abs(porosity_of(pack) - porosity) <= max(1e-3, 1.5 / n)
    assert pack.truth["fractions"] == pytest.approx(np.bincount(pack.labels.ravel(), minlength=2) / n, abs=1e-12)


def test_seed_decides_every_byte():
    def pack(rng, **options):
        return sphere_pack((20, 31, 26), porosity=0.4, diameter_vox=6, rng=rng, **options).labels.tobytes()

    assert pack(5) == pack(5) == pack(np.random.default_rng(5))
    assert len({pack(seed) for seed in range(6)}) == 6
    assert len({pack(5), pack(5, periodic=True), pack(5, sigma=0.1)}) == 3


def test_recipe_and_generator_state_make_the_same_bytes_again():
    arguments = {"porosity": 0.45, "diameter_vox": 7.5, "sigma": 0.2, "overlap": True, "periodic": True}
    pack = sphere_pack((16, 20, 24), **arguments, rng=3)
    recipe = dict(pack.recipe)
    assert recipe == {"generator": "sphere_pack", "shape": [16, 20, 24], **arguments}
    assert recipe.pop("generator") == "sphere_pack"
    assert np.array_equal(sphere_pack(**recipe, rng=3).labels, pack.labels)


def test_structure_goes_wherever_labels_go():
    pack = sphere_pack((8, 9, 10), porosity=0.5, diameter_vox=4, rng=0)
    assert isinstance(pack, Structure)
    assert np.asarray(pack) is pack.labels
    assert np.asarray(pack, float).dtype == float
    copy = np.array(pack)
    copy[:] = 7
    assert pack.labels.max() == 1


# The law of the Boolean model


def border_minus_inside(seed, diameter):
    pores = sphere_pack((48, 48, 48), porosity=0.5, diameter_vox=diameter, rng=seed).labels == 0
    faces = [np.take(pores, i, axis).mean() for axis in range(3) for i in (0, -1)]
    return np.mean(faces) - pores[6:-6, 6:-6, 6:-6].mean()


# Large spheres show whether the last ones, which must fit the porosity, favour the border.
@pytest.mark.parametrize(("diameter", "packs", "largest_error"), [(4, 120, 0.003), (20, 600, 0.007)])
def test_border_is_as_porous_as_the_inside(monkeypatch, diameter, packs, largest_error):
    differences = [border_minus_inside(seed, diameter) for seed in range(packs)]
    error = np.std(differences, ddof=1) / len(differences) ** 0.5
    assert error < largest_error
    assert abs(np.mean(differences)) < 4 * error
    # The test can tell: with centres inside the box alone the border is more porous by far.
    draw = spheres._draw_spheres
    monkeypatch.setattr(spheres, "_draw_spheres", lambda *a, periodic, rng: draw(*a, periodic=True, rng=rng))
    assert np.mean([border_minus_inside(seed, diameter) for seed in range(40)]) > 10 * error


def test_periodic_diameters_have_the_wanted_median_and_log_deviation():
    draw = spheres._draw_spheres((40, 40, 40), 5.0, 0.3, periodic=True, rng=np.random.default_rng(0))
    logs = np.log([2 * next(draw)[1] for _ in range(20_000)])
    n = len(logs)
    assert np.median(logs) == pytest.approx(np.log(10.0), abs=4 * 1.2533 * 0.3 / n**0.5)
    assert np.std(logs) == pytest.approx(0.3, abs=4 * 0.3 / (2 * n) ** 0.5)


def distance_to_box(centres, sides):
    beyond = np.maximum(np.maximum(-centres, centres - sides), 0)
    return np.sqrt((beyond**2).sum(axis=1))


def test_spheres_that_meet_the_box_follow_the_law_of_a_cut_from_a_larger_pack():
    sides, median, sigma = np.array([14.0, 20.0, 30.0]), 5.0, 0.4
    rng = np.random.default_rng(1)
    radii = median * np.exp(sigma * rng.standard_normal(600_000))
    margin = radii.max()
    centres = rng.random((len(radii), 3)) * (sides + 2 * margin) - margin
    meets = distance_to_box(centres, sides) <= radii
    centres, radii = centres[meets], radii[meets]
    draw = spheres._draw_spheres((14, 20, 30), median, sigma, periodic=False, rng=np.random.default_rng(2))
    drawn = [next(draw) for _ in range(12_000)]
    drawn_centres, drawn_radii = np.array([c for c, _ in drawn]), np.array([r for _, r in drawn])
    meets = distance_to_box(drawn_centres, sides) <= drawn_radii
    drawn_centres, drawn_radii = drawn_centres[meets], drawn_radii[meets]
    assert min(len(radii), len(drawn_radii)) > 5000
    assert stats.ks_2samp(radii, drawn_radii).pvalue > 1e-3
    for axis in range(3):
        assert stats.ks_2samp(centres[:, axis], drawn_centres[:, axis]).pvalue > 1e-3
    # The test can tell: the law of the diameters as such is refused.
    unweighted = median * np.exp(sigma * rng.standard_normal(5000))
    assert stats.ks_2samp(unweighted, drawn_radii).pvalue < 1e-30


@pytest.mark.parametrize("periodic", [True, False])
def test_covariance_of_equal_spheres_is_that_of_the_boolean_model(periodic):
    porosity, radius, side = 0.45, 5.0, 80
    lags = np.arange(0, 16)
    measured = []
    for seed in range(10):
        pack = sphere_pack(
            (side,) * 3, porosity=porosity, diameter_vox=2 * radius, sigma=0, periodic=periodic, rng=seed
        )
        pores = pack.labels == 0
        measured.append([np.mean([overlap(pores, r, axis) for axis in range(3)]) for r in lags])
    ratio = np.minimum(lags / (2 * radius), 1.0)
    # A point pair at r is pore if no centre lies in the union of two balls: exp(-lambda |B u (B + r)|).
    union = 1 + 1.5 * ratio - 0.5 * ratio**3
    mean, error = np.mean(measured, axis=0), np.std(measured, axis=0, ddof=1) / 10**0.5
    # Fixing the porosity takes its variance out of S2, of the order of one sphere's share of the box.
    share = 4 / 3 * np.pi * radius**3 / side**3
    assert error.max() < 0.002
    assert (np.abs(mean - porosity**union) < 4.5 * error + share + 1e-4).all()


def overlap(pores, lag, axis):
    near, far = (
        np.take(pores, range(pores.shape[axis] - lag), axis),
        np.take(pores, range(lag, pores.shape[axis]), axis),
    )
    return np.mean(near & far)


# Stamping


def brute_force(shape, centres, radii, *, periodic):
    grid = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij"), axis=-1)
    solid = np.zeros(shape, bool)
    for centre, radius in zip(centres, radii, strict=True):
        apart = np.abs(grid - centre)
        if periodic:
            apart %= shape
            apart = np.minimum(apart, np.array(shape) - apart)
        solid |= (apart**2).sum(axis=-1) <= radius**2
    return solid


# Eighths of a voxel: squares and sums are exact, so that the oracle is right on the surface too.
eighths = st.integers(-80, 160).map(lambda n: n / 8)


@settings(deadline=None, max_examples=150)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    balls=st.lists(st.tuples(eighths, eighths, eighths, st.integers(0, 72).map(lambda n: n / 8)), max_size=3),
    periodic=st.booleans(),
)
def test_stamped_spheres_are_all_voxels_whose_centres_are_near(shape, balls, periodic):
    spheres = np.array(balls, float).reshape(-1, 4)
    labels = np.zeros(shape, np.uint8)
    changed = stamp_spheres(labels, spheres[:, :3], spheres[:, 3], value=3, periodic=periodic)
    expected = brute_force(shape, spheres[:, :3], spheres[:, 3], periodic=periodic)
    assert np.array_equal(labels, 3 * expected)
    assert changed == expected.sum()


@settings(deadline=None, max_examples=60)
@given(
    centre=st.tuples(eighths, eighths, eighths),
    radius=st.integers(0, 100).map(lambda n: n / 8),
    limit=st.integers(0, 300),
)
def test_counting_finds_what_stamping_changes_up_to_the_limit(centre, radius, limit):
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[2:4] = 1
    before = labels.copy()
    counted = spheres._visit(labels, np.array(centre), radius, 0, labels.size, True)
    stopped = spheres._visit(labels, np.array(centre), radius, 0, limit, True)
    assert np.array_equal(labels, before)
    assert counted == stamp_spheres(labels, [centre], [radius], periodic=True)
    assert stopped == min(counted, limit + 1)


def test_stamping_keeps_what_is_there():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[4] = 2
    assert stamp_spheres(labels, [[4.5, 4.5, 4.5]], [2.0]) == np.sum(labels == 1) > 0
    assert (labels[4] == 2).all()


def test_sphere_crossing_a_face_comes_in_on_the_other_side():
    labels = np.zeros((10, 12, 14), np.uint8)
    stamp_spheres(labels, [[0.0, 6.0, 0.0]], [3.0], periodic=True)
    moved = np.zeros_like(labels)
    stamp_spheres(moved, [[5.0, 6.0, 7.0]], [3.0])
    assert np.array_equal(np.roll(labels, (5, 7), (0, 2)), moved)


@pytest.mark.parametrize("roll", [(7, 0, 0), (0, 16, 3)])
def test_periodic_pack_has_no_seam(roll):
    """Shifted round the box, the new middle differs from its neighbours no more than elsewhere."""
    jumps = []
    for seed in range(20):
        labels = sphere_pack((32, 32, 32), porosity=0.5, diameter_vox=10, periodic=True, rng=seed).labels
        labels = np.roll(labels, roll, (0, 1, 2))
        jumps.append([np.mean(labels != np.roll(labels, 1, axis), axis=tuple({0, 1, 2} - {axis})) for axis in range(3)])
    jumps = np.array(jumps)  # (seed, axis, slice)
    seam, others = jumps[..., roll[0] if roll[0] else 0], jumps.mean(axis=2)
    difference = (seam - others).mean(axis=0)
    assert (np.abs(difference) < 4.5 * (seam - others).std(axis=0, ddof=1) / 20**0.5).all()
    assert (others.mean(axis=0) < 0.25).all()


@pytest.mark.parametrize(
    ("centres", "radii", "message"),
    [
        ([[1, 2]], [1], r"shapes .*\(1, 2\)"),
        ([[1, 2, 3]], [1, 2], r"shapes .*\(2,\)"),
        ([[1, 2, np.nan]], [1], "not finite"),
        ([[1, 2, 3]], [np.inf], "not finite"),
        ([[1, 2, 3]], [-1], "negative"),
    ],
)
def test_impossible_spheres_are_refused(centres, radii, message):
    labels = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(ValueError, match=message):
        stamp_spheres(labels, np.array(centres, float), np.array(radii, float))
    assert not labels.any()


# Spheres that may not overlap


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("sigma", [0.0, 0.4])
def test_spheres_that_may_not_overlap_do_not(monkeypatch, periodic, sigma):
    kept = []

    class Watched(spheres._Neighbours):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            kept.append(self)

    monkeypatch.setattr(spheres, "_Neighbours", Watched)
    shape = (40, 50, 60)
    pack = sphere_pack(shape, porosity=0.74, diameter_vox=8, sigma=sigma, overlap=False, periodic=periodic, rng=4)
    placed = kept[0].spheres[: kept[0].count]
    assert len(placed) > 50
    images = [(0, 0, 0)]
    if periodic:
        images = [(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
    apart = np.min([cdist(placed[:, :3], placed[:, :3] + np.multiply(image, shape)) for image in images], axis=0)
    pairs = np.triu_indices(len(placed), 1)
    assert (apart[pairs] >= (placed[:, 3:] + placed[:, 3])[pairs]).all()
    assert np.array_equal(pack.labels, brute_force(shape, placed[:, :3], placed[:, 3], periodic=periodic))
    # Without overlap the volumes add up.
    volume = sum(stamp_spheres(np.zeros(shape, np.uint8), [s[:3]], [s[3]], periodic=periodic) for s in placed)
    assert volume == pack.labels.sum()


def test_unreachable_porosity_names_the_reachable_one():
    with pytest.raises(ValueError, match="do not overlap") as caught:
        sphere_pack((48, 48, 48), porosity=0.2, diameter_vox=9, sigma=0, overlap=False, periodic=True, rng=0)
    reached = float(re.search(r"ended at ([\d.]+)", str(caught.value))[1])
    # Random sequential addition of equal spheres jams at a solid fraction of 0.384.
    assert 0.616 <= reached <= 0.68
    again = sphere_pack(
        (48, 48, 48), porosity=reached + 0.02, diameter_vox=9, sigma=0, overlap=False, periodic=True, rng=0
    )
    assert porosity_of(again) == pytest.approx(reached + 0.02, abs=1e-3)


def test_sphere_larger_than_the_wanted_solid_is_shrunk_to_it():
    # One sphere of the wanted diameter would fill a sixteenth of this box.
    pack = sphere_pack((20, 20, 20), porosity=0.99, diameter_vox=10, sigma=0, periodic=True, rng=0)
    assert porosity_of(pack) == pytest.approx(0.99, abs=1e-4 + 1 / 8000)
    assert pack.truth["n_spheres"] == 1


def test_spheres_wider_than_a_periodic_box_end_in_bounded_time():
    pack = sphere_pack((24, 20, 28), porosity=0.4, diameter_vox=18, sigma=1.0, periodic=True, rng=8)
    assert porosity_of(pack) == pytest.approx(0.4, abs=1e-3)


# Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"porosity": 0}, "porosity is 0; give a number above 0 and below 1"),
        ({"porosity": -0.2}, "porosity is -0.2; give a number above 0 and below 1"),
        ({"porosity": 1.0}, "porosity is 1.0; give"),
        ({"porosity": float("nan")}, "porosity is nan; give"),
        ({"diameter_vox": -3}, "diameter_vox is -3; give a number above 0 and at most 10"),
        ({"diameter_vox": 0}, "diameter_vox is 0; give"),
        ({"diameter_vox": 11}, "diameter_vox is 11; give a number above 0 and at most 10, the box's shortest side"),
        ({"diameter_vox": float("inf")}, "diameter_vox is inf; give"),
        ({"sigma": -0.1}, "sigma is -0.1; give"),
        ({"sigma": float("nan")}, "sigma is nan; give"),
        ({"sigma": 1.5}, "sigma is 1.5; give"),
        ({"shape": (10, 0, 10)}, r"shape is \(10, 0, 10\); give three positive whole numbers"),
        ({"shape": (10, 10)}, "give three positive whole numbers"),
        ({"shape": (10.0, 10, 10)}, "give three positive whole numbers"),
        ({"shape": (10, 10, -1)}, "give three positive whole numbers"),
        ({"shape": "large"}, "shape is 'large'; give three positive whole numbers"),
        ({"shape": None}, "shape is None; give three positive whole numbers"),
    ],
)
def test_impossible_argument_is_refused_with_what_is_accepted(change, message):
    arguments = {"shape": (10, 12, 14), "porosity": 0.5, "diameter_vox": 4} | change
    with pytest.raises(ValueError, match=message):
        sphere_pack(arguments.pop("shape"), **arguments, rng=0)
