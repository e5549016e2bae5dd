import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, ndimage, stats

from synth import Structure, hard_spheres, necks, overlapping_spheres, sphere_pack, spheres, stamp_spheres, threads
from synth.radius_laws import DistributionRadii, LognormalRadii
from synth.stamping import count_pores_in_ball


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
    options = {"neck": 0.0, "agglomerate_vox": None, "agglomerate_fraction": 0.5}
    assert recipe == {"generator": "sphere_pack", "shape": [16, 20, 24], **arguments, **options}
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
    draw = overlapping_spheres.draw_balls
    monkeypatch.setattr(spheres, "draw_balls", lambda *a, periodic, rng: draw(*a, periodic=True, rng=rng))
    assert np.mean([border_minus_inside(seed, diameter) for seed in range(40)]) > 10 * error


def draw_many(shape, law, count, *, periodic, seed):
    batches = overlapping_spheres.draw_balls(shape, law, periodic=periodic, rng=np.random.default_rng(seed))
    drawn = [next(batches) for _ in range(-(-count // overlapping_spheres.BATCH))]
    return tuple(np.concatenate(part)[:count] for part in zip(*drawn, strict=True))


def test_periodic_diameters_have_the_wanted_median_and_log_deviation():
    _, radii = draw_many((40, 40, 40), LognormalRadii(5.0, 0.3), 20_000, periodic=True, seed=0)
    logs, n = np.log(2 * radii), 20_000
    assert np.median(logs) == pytest.approx(np.log(10.0), abs=4 * 1.2533 * 0.3 / n**0.5)
    assert np.std(logs) == pytest.approx(0.3, abs=4 * 0.3 / (2 * n) ** 0.5)


def distance_to_box(centres, sides):
    beyond = np.maximum(np.maximum(-centres, centres - sides), 0)
    return np.sqrt((beyond**2).sum(axis=1))


@pytest.mark.parametrize("as_distribution", [False, True])
def test_spheres_that_meet_the_box_follow_the_law_of_a_cut_from_a_larger_pack(as_distribution):
    sides, median, sigma = np.array([14.0, 20.0, 30.0]), 5.0, 0.4
    rng = np.random.default_rng(1)
    radii = median * np.exp(sigma * rng.standard_normal(600_000))
    margin = radii.max()
    centres = rng.random((len(radii), 3)) * (sides + 2 * margin) - margin
    meets = distance_to_box(centres, sides) <= radii
    centres, radii = centres[meets], radii[meets]
    law = LognormalRadii(median, sigma)
    if as_distribution:
        law = DistributionRadii(stats.lognorm(sigma, scale=2 * median))
    drawn_centres, drawn_radii = draw_many((14, 20, 30), law, 12_000, periodic=False, seed=2)
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
    counted = count_pores_in_ball(labels, np.array(centre), radius, limit=labels.size, periodic=True)
    stopped = count_pores_in_ball(labels, np.array(centre), radius, limit=limit, periodic=True)
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


def gaps(centres, radii, sides):
    """Distances between the surfaces of all pairs in a periodic box."""
    apart = np.abs(centres[:, None] - centres)
    distance = np.sqrt((np.minimum(apart, sides - apart) ** 2).sum(axis=-1))
    i, j = np.triu_indices(len(radii), 1)
    return distance[i, j] - radii[i] - radii[j]


@pytest.mark.parametrize("sides", [(40.0, 50.0, 60.0), (17.0, 64.0, 33.0)])
@pytest.mark.parametrize(("sigma", "solid"), [(0.0, 0.2), (0.0, 0.6), (0.4, 0.6), (0.8, 0.5)])
def test_hard_spheres_do_not_overlap(sides, sigma, solid):
    sides = np.array(sides)
    law = LognormalRadii(4.0, sigma)
    pack = hard_spheres.pack_hard_spheres(sides, law, solid=solid, rng=np.random.default_rng(4))
    assert gaps(pack.centres, pack.radii, sides).min() >= 0
    assert ((pack.centres >= 0) & (pack.centres <= sides)).all()
    assert pack.solid == pytest.approx(4 / 3 * np.pi * np.sum(pack.radii**3) / sides.prod(), rel=1e-12)
    # What a relaxed pack gives up are overlaps of up to 1e-4 of a radius.
    assert pack.solid == pytest.approx(solid, rel=3.1e-4)


def test_equal_hard_spheres_are_packed_to_three_fifths_and_stay_equal():
    pack = sphere_pack((90, 80, 100), porosity=0.4, diameter_vox=12, sigma=0, overlap=False, rng=0)
    assert porosity_of(pack) == pytest.approx(0.4, abs=1e-4)
    # The window holds 0.6 while the pack holds slightly more or less; the cube root of that is left in the diameter.
    assert pack.truth["median_diameter"] == pytest.approx(12, rel=0.01)
    denser = sphere_pack((64, 64, 64), porosity=0.375, diameter_vox=8, sigma=0, overlap=False, periodic=True, rng=1)
    assert porosity_of(denser) == pytest.approx(0.375, abs=1e-4)


def test_sparse_hard_spheres_are_a_random_sequential_addition():
    """At a solid share of 0.01 the pair correlation beyond contact is 1 but for terms of the order of the share."""
    sides, counts = np.full(3, 60.0), []
    law = LognormalRadii(2.0, 0.0)
    for seed in range(12):
        pack = hard_spheres.pack_hard_spheres(sides, law, solid=0.01, rng=np.random.default_rng(seed))
        near = gaps(pack.centres, pack.radii, sides) < 8.0
        n = len(pack.radii)
        pairs_if_independent = (
            n * (n - 1) / 2 * 4 / 3 * np.pi * (12.0**3 - 4.0**3) / (sides.prod() - 4 / 3 * np.pi * 4.0**3)
        )
        counts.append(near.sum() / pairs_if_independent)
    error = np.std(counts, ddof=1) / len(counts) ** 0.5
    assert error < 0.05
    assert np.mean(counts) == pytest.approx(1.0, abs=4 * error + 0.01)


def test_hard_spheres_are_as_large_as_asked_for_whatever_their_size():
    """Sizes are drawn first: packing does not favour small ones."""
    sides = np.full(3, 120.0)
    pack = hard_spheres.pack_hard_spheres(sides, LognormalRadii(4.0, 0.3), solid=0.55, rng=np.random.default_rng(3))
    logs, n = np.log(pack.radii), len(pack.radii)
    assert n > 2000
    assert np.median(logs) == pytest.approx(np.log(4), abs=4 * 1.2533 * 0.3 / n**0.5 + 0.01)
    assert np.std(logs) == pytest.approx(0.3, abs=4 * 0.3 / (2 * n) ** 0.5)


@pytest.mark.parametrize("periodic", [True, False])
def test_hard_pack_is_made_of_whole_balls_of_its_truth(periodic):
    options = {"porosity": 0.5, "diameter_vox": 20, "sigma": 0.0, "overlap": False, "periodic": periodic}
    pack = sphere_pack((90, 100, 110), **options, rng=2)
    diameter, expected = pack.truth["median_diameter"], pack.truth["expected"]["solid"]
    # Equal balls: the share is n V, the surface n S, the mean curvature n M, the Euler number n, in one n.
    density = expected["euler_density"]
    assert expected["specific_surface"] == pytest.approx(np.pi * diameter**2 * density, rel=1e-9)
    assert expected["mean_curvature"] == pytest.approx(2 * np.pi * diameter * density, rel=1e-9)
    assert expected["volume_fraction"] == pytest.approx(np.pi * diameter**3 / 6 * density, rel=1e-9)
    if periodic:
        n = pack.truth["n_spheres"]
        assert density == pytest.approx(n / pack.labels.size, rel=1e-12)
        assert n * np.pi * diameter**3 / 6 / pack.labels.size == pytest.approx(0.5, rel=2e-3)
        # Balls that do not touch are counted by labelling their cores.
        cores = np.pad(pack.labels, 12, mode="wrap")
        distance = ndimage.distance_transform_edt(cores)[12:-12, 12:-12, 12:-12]
        maxima = ndimage.label(distance > 0.8 * diameter / 2, np.ones((3, 3, 3)))[0]
        whole = {label for label in np.unique(maxima) if label}
        assert len(whole) >= n


def test_unreachable_porosity_names_the_reachable_one():
    with pytest.raises(ValueError, match="do not overlap") as caught:
        sphere_pack((48, 48, 48), porosity=0.2, diameter_vox=9, sigma=0, overlap=False, periodic=True, rng=0)
    reached = float(re.search(r"ended at ([\d.]+)", str(caught.value))[1])
    # Random close packing of equal spheres is 0.64; a small periodic box may hold a little more or less.
    assert 0.34 <= reached <= 0.38
    wanted = reached + 0.01
    again = sphere_pack((48, 48, 48), porosity=wanted, diameter_vox=9, sigma=0, overlap=False, periodic=True, rng=0)
    assert porosity_of(again) == pytest.approx(wanted, abs=1e-3)


def test_hard_window_has_no_border(monkeypatch):
    differences = []
    for seed in range(60):
        pores = sphere_pack((40, 40, 40), porosity=0.6, diameter_vox=9, sigma=0.2, overlap=False, rng=seed).labels == 0
        faces = [np.take(pores, i, axis).mean() for axis in range(3) for i in (0, -1)]
        differences.append(np.mean(faces) - pores[5:-5, 5:-5, 5:-5].mean())
    error = np.std(differences, ddof=1) / len(differences) ** 0.5
    assert error < 0.005
    assert abs(np.mean(differences)) < 4 * error


# Necks


def two_balls(gap, r1, r2, neck, size=(60, 44, 44)):
    """A pair along z, its neck alone, and where the first centre lies."""
    centres = np.array([[16.0, 22.0, 22.0], [16.0 + r1 + r2 + gap, 22.0, 22.0]])
    labels = np.zeros(size, np.uint8)
    changed = necks.stamp_necks(labels, centres, np.array([r1, r2]), np.array([[0, 1]]), neck=neck)
    assert changed == np.count_nonzero(labels)
    return labels, centres


@pytest.mark.parametrize(
    ("gap", "r1", "r2", "neck"), [(0, 12, 12, 0.5), (0, 12, 9, 0.6), (1, 12, 12, 0.4), (-1, 10, 13, 0.7)]
)
def test_neck_has_the_wanted_waist(gap, r1, r2, neck):
    labels, centres = two_balls(gap, r1, r2, neck)
    stamp_spheres(labels, centres, np.array([r1, r2]))
    between = labels[int(centres[0, 0]) : int(centres[1, 0])]
    waist = np.sqrt(between.sum(axis=(1, 2)).min() / np.pi)
    # The area of a digitised disc is right to a fraction of its rim; its waist is between two planes of voxels.
    assert waist == pytest.approx(neck * min(r1, r2), abs=0.35)


def test_neck_of_touching_equal_balls_has_the_volume_of_its_solid_of_revolution():
    radius, neck, rng, measured = 15.0, 0.5, np.random.default_rng(0), []
    for _ in range(30):
        direction = rng.standard_normal(3)
        step = radius * direction / np.linalg.norm(direction)
        centres, radii = 32 + rng.random(3) + [-step, step], np.array([radius, radius])
        labels = np.zeros((64, 64, 64), np.uint8)
        stamp_spheres(labels, centres, radii)
        measured.append(necks.stamp_necks(labels, centres, radii, np.array([[0, 1]]), neck=neck))
    waist = neck * radius
    arc = waist**2 / (2 * (radius - waist))
    # Between the two circles along which the arc touches the balls, the outline is the arc; balls are taken off.
    height = np.linspace(0, radius * arc / (radius + arc), 20_001)
    profile = (waist + arc - np.sqrt(arc**2 - height**2)) ** 2 - (radius**2 - (radius - height) ** 2)
    error = np.std(measured, ddof=1) / len(measured) ** 0.5
    assert error < 4
    assert np.mean(measured) == pytest.approx(2 * np.pi * integrate.trapezoid(profile, height), abs=4 * error)


@pytest.mark.parametrize(("gap", "neck"), [(-8, 0.3), (3, 0.0)])
def test_thick_overlaps_and_no_neck_leave_balls_alone(gap, neck):
    labels, centres = two_balls(gap, 12, 12, neck)
    stamped = np.zeros_like(labels)
    stamp_spheres(stamped, centres, np.array([12, 12]))
    assert not ((labels == 1) & (stamped == 0)).any()


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("overlap", [True, False])
def test_necks_keep_the_porosity_and_join_the_balls(overlap, periodic):
    options = {"porosity": 0.45, "diameter_vox": 14, "sigma": 0.1, "overlap": overlap, "periodic": periodic}
    joined = sphere_pack((64, 70, 60), neck=0.5, **options, rng=5)
    assert porosity_of(joined) == pytest.approx(0.45, abs=2e-3 if overlap else 2e-4)
    assert joined.truth["porosity"] == porosity_of(joined)
    if not overlap:
        alone = sphere_pack((64, 70, 60), **options, rng=5)
        parts = [ndimage.label(pack.labels)[1] for pack in (joined, alone)]
        assert parts[0] < parts[1]
    assert "expected" not in joined.truth


def test_balls_beyond_the_window_have_necks_too(monkeypatch):
    seen, pairs_of = [], spheres._pairs
    monkeypatch.setattr(spheres, "_pairs", lambda balls: seen.append(balls) or pairs_of(balls))
    sphere_pack((24, 26, 28), porosity=0.5, diameter_vox=8, sigma=0, neck=0.5, rng=0)
    sides = np.array([24, 26, 28])
    assert (distance_to_box(seen[0].centres, sides) > seen[0].radii).any()


# Agglomerates and distributions


def block_variance(structure, side):
    z, y, x = (n // side for n in structure.shape)
    blocks = structure.labels.reshape(z, side, y, side, x, side).mean(axis=(1, 3, 5))
    return blocks.var()


def test_agglomerates_have_two_scales():
    """Blocks wider than a sphere differ more when spheres come in agglomerates, at the same porosity."""
    plain, clustered = [], []
    for seed in range(8):
        arguments = {"porosity": 0.6, "diameter_vox": 5, "sigma": 0.1, "periodic": True, "rng": seed}
        plain.append(block_variance(sphere_pack((64, 64, 64), **arguments), 16))
        clustered.append(block_variance(sphere_pack((64, 64, 64), agglomerate_vox=30, **arguments), 16))
    assert stats.ttest_ind(np.log(clustered), np.log(plain), equal_var=False).statistic > 8


@pytest.mark.parametrize("periodic", [True, False])
def test_agglomerates_take_their_share_of_space(periodic):
    law, shares = LognormalRadii(6.0, 0.2), []
    points = np.stack(np.meshgrid(*[np.arange(32) + 0.5] * 3, indexing="ij"), -1).reshape(-1, 3)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        holds = overlapping_spheres.draw_agglomerates(
            (32, 32, 32), law, fraction=0.4, margin=5, periodic=periodic, rng=rng
        )
        shares.append(holds(points).mean())
    error = np.std(shares, ddof=1) / len(shares) ** 0.5
    assert error < 0.02
    assert np.mean(shares) == pytest.approx(0.4, abs=4 * error)


def test_agglomerates_that_cannot_hold_the_solid_are_refused_with_what_they_hold():
    with pytest.raises(
        ValueError, match=r"porosity 0.1 cannot be reached by spheres in agglomerates .* of space; .* ended at 0\.[3-7]"
    ):
        sphere_pack((40, 40, 40), porosity=0.1, diameter_vox=4, agglomerate_vox=16, agglomerate_fraction=0.3, rng=0)


def test_lognormal_by_name_is_the_same_law_as_by_numbers():
    by_numbers = LognormalRadii(4.0, 0.3)
    by_name = DistributionRadii(stats.lognorm(0.3, scale=8.0))
    for order in range(4):
        assert by_name.moment(order) == pytest.approx(by_numbers.moment(order), rel=1e-6)
    assert by_name.median == pytest.approx(4.0)


def test_normal_law_is_cut_off_at_zero():
    law = DistributionRadii(stats.norm(10, 4.2))
    drawn = law.draw(100_000, np.random.default_rng(0))
    assert drawn.min() > 0
    cut = stats.truncnorm(-10 / 4.2, np.inf, loc=10, scale=4.2)
    for order in (1, 2, 3):
        moment = cut.moment(order) / 2**order
        assert law.moment(order) == pytest.approx(moment, rel=1e-6)
        spread = np.sqrt((cut.moment(2 * order) / 4**order - moment**2) / len(drawn))
        assert np.mean(drawn**order) == pytest.approx(moment, abs=4 * spread)


@pytest.mark.parametrize("overlap", [True, False])
def test_any_distribution_of_scipy_makes_a_pack_and_its_recipe_makes_it_again(overlap):
    options = {"porosity": 0.6, "overlap": overlap, "rng": 3}
    pack = sphere_pack((40, 50, 45), diameter_vox=stats.gamma(9, scale=0.9), **options)
    assert pack.recipe["diameter_vox"] == {"name": "gamma", "a": 9.0, "loc": 0.0, "scale": 0.9}
    recipe = dict(pack.recipe)
    del recipe["generator"]
    assert np.array_equal(sphere_pack(**recipe, rng=3).labels, pack.labels)
    assert porosity_of(pack) == pytest.approx(0.6, abs=1e-3)


# Threads


@pytest.mark.parametrize(
    "options", [{}, {"periodic": True}, {"overlap": False}, {"neck": 0.4}, {"agglomerate_vox": 30}]
)
def test_bytes_do_not_depend_on_threads(monkeypatch, options):
    monkeypatch.setattr(threads, "SMALLEST_SLAB", 1000)
    packs = []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "thread_count", lambda n=count: n)
        packs.append(sphere_pack((61, 40, 52), porosity=0.5, diameter_vox=9, **options, rng=6))
    assert packs[0].labels.tobytes() == packs[1].labels.tobytes() == packs[2].labels.tobytes()
    assert packs[0].truth == packs[1].truth == packs[2].truth


def test_slabs_cover_each_plane_once(monkeypatch):
    monkeypatch.setattr(threads, "SMALLEST_SLAB", 1)
    for count, depth in [(1, 7), (2, 7), (4, 7), (16, 7), (3, 1)]:
        monkeypatch.setattr(threads, "thread_count", lambda n=count: n)
        planes = [z for begin, end in threads.slabs((depth, 5, 5)) for z in range(begin, end)]
        assert planes == list(range(depth))
        assert len(threads.slabs((depth, 5, 5))) == min(count, depth)


def test_sphere_larger_than_the_wanted_solid_is_shrunk_to_it():
    # One sphere of the wanted diameter would fill a sixteenth of this box.
    pack = sphere_pack((20, 20, 20), porosity=0.99, diameter_vox=10, sigma=0, periodic=True, rng=0)
    assert porosity_of(pack) == pytest.approx(0.99, abs=1e-4 + 1 / 8000)
    assert pack.truth["n_spheres"] == 1


def test_spheres_wider_than_a_periodic_box_end_in_bounded_time():
    pack = sphere_pack((24, 20, 28), porosity=0.4, diameter_vox=18, sigma=1.0, periodic=True, rng=8)
    assert porosity_of(pack) == pytest.approx(0.4, abs=1e-3)


@pytest.mark.parametrize("overlap", [True, False])
def test_numbers_of_numpy_make_a_plain_recipe(overlap):
    arguments = {"porosity": np.float32(0.6), "diameter_vox": np.float32(7.3), "sigma": np.float32(0.2)}
    pack = sphere_pack(tuple(np.array([24, 25, 26])), **arguments, overlap=np.bool_(overlap), rng=2)
    recipe = json.loads(json.dumps(pack.recipe))
    del recipe["generator"]
    assert np.array_equal(sphere_pack(**recipe, rng=2).labels, pack.labels)
    json.dumps(pack.truth)


def test_no_ball_within_reach_has_no_neck():
    for overlap in (True, False):
        pack = sphere_pack((1, 1, 1), porosity=0.999, diameter_vox=0.5, sigma=0, neck=0.5, overlap=overlap, rng=1)
        assert pack.truth["n_spheres"] == 0


@pytest.mark.parametrize("shape", [(1, 32, 32), (64, 64, 64)])
def test_hopeless_hard_pack_is_refused_by_a_small_box(monkeypatch, shape):
    sizes = []
    pack = hard_spheres.pack_hard_spheres
    monkeypatch.setattr(spheres, "pack_hard_spheres", lambda *a, **k: sizes.append(pack(*a, **k)) or sizes[-1])
    monkeypatch.setattr(spheres, "PILOT", 300)
    with pytest.raises(ValueError, match=r"cannot be reached by spheres that do not overlap; .* ended at 0\.[1-4]"):
        sphere_pack(shape, porosity=0.05, diameter_vox=min(shape) / 12 + 0.9, overlap=False, rng=0)
    assert len(sizes) == 1
    assert len(sizes[0].radii) < 2000


def test_equal_hard_spheres_of_half_the_box_are_drawn():
    for side in range(3, 24):
        pack = sphere_pack(
            (side,) * 3, porosity=0.8, diameter_vox=side / 2, sigma=0, overlap=False, periodic=True, rng=side
        )
        assert porosity_of(pack) == pytest.approx(0.8, abs=1.6 / side**3)


def test_boolean_model_of_spheres_below_a_voxel_is_reached():
    pack = sphere_pack((6, 6, 6), porosity=0.7, diameter_vox=0.3, sigma=0, rng=0)
    assert porosity_of(pack) == pytest.approx(0.7, abs=1.1 / 216)


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
        ({"diameter_vox": 6, "overlap": False, "periodic": True}, "at most 5, half the shortest side"),
        ({"diameter_vox": {"name": "norm", "loc": 3, "scale": 5}}, "'norm', 27% of it not above 0; give a law"),
        ({"diameter_vox": {"name": "pareto", "b": 2.5}}, "'pareto' with an infinite mean volume; give a law"),
        ({"diameter_vox": {"name": "uniform", "loc": 20, "scale": 4}}, "has a median of 22; give a distribution"),
        ({"diameter_vox": {"name": "gama"}}, "gama"),
        ({"porosity": "0.4"}, "porosity is '0.4'; give a number"),
        ({"diameter_vox": "wide"}, "diameter_vox is 'wide'; give a number"),
        ({"neck": 1.0}, "neck is 1.0; give a number from 0 to below 1"),
        ({"neck": float("nan")}, "neck is nan; give"),
        ({"agglomerate_vox": 11}, "agglomerate_vox is 11; give a number above 0 and at most 10"),
        ({"agglomerate_vox": 0.0}, "agglomerate_vox is 0.0; give"),
        ({"agglomerate_vox": 9, "overlap": False}, "for spheres that may overlap; leave it out"),
        ({"diameter_vox": 1e-4}, "spheres would be needed; at most 2.7e.08 are made: give a larger diameter_vox"),
        ({"diameter_vox": 0.01, "overlap": False}, "spheres would be needed; at most 4.2e.06 are made: give a larger"),
        ({"diameter_vox": stats.norm(4, 0.5), "agglomerate_vox": 8, "sigma": -1.0}, "sigma is -1.0; give"),
        ({"agglomerate_fraction": 1.0}, "agglomerate_fraction is 1.0; give"),
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
