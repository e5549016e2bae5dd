import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from evaluate import minkowski
from synth.fibres import (
    Orientation,
    Segments,
    clip_segments,
    draw_fibres,
    fibre_path,
    fill_with_fibres,
    stamp_capsules,
)
from synth.materials.fibre_mat import CARBON_FELT, CARBON_PAPER, fibre_mat


def standard_error(values):
    return np.std(values, axis=0, ddof=1) / np.sqrt(len(values))


def in_capsule(shape, start, end, radius, *, copies=0):
    """Tell which voxel centres are near the axis, one by one: the oracle."""
    centres = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in shape], indexing="ij"), -1)
    way, inside = end - start, np.zeros(shape, bool)
    for move in itertools.product(range(-copies, copies + 1), repeat=3):
        p = centres + np.multiply(move, shape) - start
        s = np.clip(p @ way / (way @ way), 0, 1)[..., None] if way.any() else 0
        inside |= np.sqrt(((p - s * way) ** 2).sum(-1)) <= radius
    return inside


def expected_tensor(orientation):
    """Second moments of g / |g| for a Gaussian g with these standard deviations, by 1 / q = ∫ exp(-s q) ds."""
    a = np.array([1 / orientation.in_plane, 1 / orientation.alignment, 1.0])

    def moment(s, i):
        return a[i] ** 2 / (1 + 2 * a[i] ** 2 * s) / np.sqrt(np.prod(1 + 2 * a * a * s))

    return np.array([integrate.quad(moment, 0, np.inf, args=(i,))[0] for i in range(3)])


# Capsules


@settings(deadline=None, max_examples=50)
@given(
    shape=st.tuples(*[st.integers(7, 14)] * 3),
    # Halves meet voxel centres and faces.
    ends=st.tuples(
        *[st.one_of(st.integers(-8, 32).map(lambda n: n / 2), st.floats(-4, 16).map(lambda v: round(v, 6)))] * 6
    ),
    radius=st.one_of(st.sampled_from([0, 0.5, 1, 2.5]), st.floats(0, 5)),
    periodic=st.booleans(),
)
def test_capsule_holds_the_voxel_centres_near_its_axis(shape, ends, radius, periodic):
    start, end = np.array(ends[:3]), np.array(ends[3:])
    labels = np.zeros(shape, np.uint8)
    changed = stamp_capsules(labels, [start], [end], [radius], value=3, periodic=periodic)
    # The capsule lies between -9 and 21, that is within three boxes of 7 voxels to either side.
    copies = 3 if periodic else 0
    # Centres on the surface itself are for rounding to decide.
    assert np.all(labels[in_capsule(shape, start, end, radius - 1e-9, copies=copies)] == 3)
    assert not labels[~in_capsule(shape, start, end, radius + 1e-9, copies=copies)].any()
    assert changed == np.count_nonzero(labels) == np.count_nonzero(labels == 3)


def test_capsules_leave_what_is_not_pore():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:, :, :4] = 2
    assert stamp_capsules(labels, [(4, 4, -20)], [(4, 4, 30)], [2.0]) == 12 * 4
    assert np.all(labels[:, :, :4] == 2)


def test_capsule_without_length_is_a_ball():
    labels = np.zeros((9, 9, 9), np.uint8)
    assert stamp_capsules(labels, [(4.5,) * 3], [(4.5,) * 3], [1.0]) == 7


def test_capsule_far_away_costs_nothing():
    labels = np.zeros((8, 8, 8), np.uint8)
    assert stamp_capsules(labels, [(1e12, 0, 0), (-1e300, 4, 4)], [(1e12, 9, 9), (-1e300, 4, 4)], [3.0, 3.0]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([(0, 0)], [(0, 0)], [1.0]), "have shapes"),
        (([(0, 0, 0)], [(0, 0, 0)], [1.0, 2.0]), "have shapes"),
        (([(0, 0, 0)], [(0, 0, math.inf)], [1.0]), "not finite"),
        (([(0, 0, 0)], [(0, 0, 1)], [-1.0]), "negative"),
    ],
)
def test_bad_capsules_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        stamp_capsules(np.zeros((4, 4, 4), np.uint8), *arguments)


def test_label_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="value is 256"):
        stamp_capsules(np.zeros((4, 4, 4), np.uint8), [(0, 0, 0)], [(0, 0, 1)], [1.0], value=256)


# Lines


@pytest.mark.parametrize(("persistence", "step"), [(20.0, 2.0), (200.0, 5.0), (5.0, 4.0), (1e5, 10.0)])
def test_tangents_lose_their_memory_exponentially(persistence, step):
    rng = np.random.default_rng(1)
    lags = [1, 5, 20]
    cosines = []
    for _ in range(1500):
        path = fibre_path((0, 0, 0), length_vox=21 * step, persistence_vox=persistence, step_vox=step, rng=rng)
        tangents = np.diff(path, axis=0) / step
        assert np.allclose((tangents**2).sum(axis=1), 1)
        cosines.append([tangents[0] @ tangents[lag] for lag in lags])
    expected = np.exp(-step * np.array(lags) / persistence)
    assert np.all(np.abs(np.mean(cosines, axis=0) - expected) <= 4 * standard_error(cosines))


def test_path_is_as_long_as_asked_and_straight_without_end_of_persistence():
    path = fibre_path((1, 2, 3), length_vox=10.5, persistence_vox=8, step_vox=1, rng=0)
    assert np.array_equal(path[0], (1, 2, 3))
    assert np.linalg.norm(np.diff(path, axis=0), axis=1) == pytest.approx(10.5 / 11)
    assert len(path) == 12
    straight = fibre_path((1, 2, 3), length_vox=10.5, rng=0)
    assert np.linalg.norm(straight[-1] - straight[0]) == pytest.approx(10.5, rel=1e-12)


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0, 20.0])
def test_polar_angles_follow_the_density_of_schladitz(beta):
    t = Orientation(in_plane=beta).draw(4000, rng=2)

    # ∫ β sin θ / (2 (1 + (β² - 1) cos² θ)^1.5) dθ with c = cos θ.
    def below(c):
        return 0.5 * (1 + beta * c / np.sqrt(1 + (beta**2 - 1) * c * c))

    assert stats.kstest(t[:, 0], below).pvalue > 1e-4


@pytest.mark.parametrize("orientation", [Orientation(), Orientation(5.0), Orientation(4.0, 3.0)])
def test_directions_have_the_distribution_all_along_a_curved_fibre(orientation):
    rng = np.random.default_rng(3)
    paths = [
        fibre_path((0, 0, 0), length_vox=60, persistence_vox=20, step_vox=4, orientation=orientation, rng=rng)
        for _ in range(1500)
    ]
    tangents = np.diff(paths, axis=1) / 4
    expected = expected_tensor(orientation)
    assert expected.sum() == pytest.approx(1)
    for along in (0, 7, 14):
        squares = tangents[:, along] ** 2
        assert np.all(np.abs(squares.mean(axis=0) - expected) <= 4 * standard_error(squares))


def test_machine_direction_turns_from_x_towards_y():
    t = Orientation(1e6, 1e3, 30.0).draw(100, rng=0)
    assert np.median(np.abs(t @ (0, math.sin(math.radians(30)), math.cos(math.radians(30))))) > 0.9999


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": (0, 0), "length_vox": 5}, "three finite coordinates"),
        ({"start": (0, 0, math.nan), "length_vox": 5}, "three finite coordinates"),
        ({"start": (0, 0, 0), "length_vox": 0}, "lengths above 0"),
        ({"start": (0, 0, 0), "length_vox": math.inf}, "lengths above 0"),
        ({"start": (0, 0, 0), "length_vox": 1e12}, "ten million"),
        ({"start": (0, 0, 0), "length_vox": 5, "persistence_vox": 0}, "persistence_vox is 0"),
        ({"start": (0, 0, 0), "length_vox": 5, "persistence_vox": math.nan}, "persistence_vox is nan"),
    ],
)
def test_bad_paths_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fibre_path(arguments.pop("start"), **arguments, rng=0)


def test_clipping_keeps_what_is_inside():
    starts, ends = (
        np.array([[0.5, 0.5, -1], [2.0, 0.5, 0], [0.2, 0.2, 0.2]]),
        np.array([[0.5, 0.5, 3], [2, 0.5, 1], [0.4] * 3]),
    )
    clipped = clip_segments(Segments(starts, ends, np.arange(3)), (0, 0, 0), (1, 1, 1))
    assert clipped.fibre.tolist() == [0, 2]
    assert clipped.starts == pytest.approx(np.array([[0.5, 0.5, 0], [0.2] * 3]))
    assert clipped.ends == pytest.approx(np.array([[0.5, 0.5, 1], [0.4] * 3]))


LINES = {
    "straight": {},
    "short": {"length_vox": 8.0},
    "curved": {"persistence_vox": 15.0, "step_vox": 2.0},
    "short and curved": {"persistence_vox": 15.0, "step_vox": 2.0, "length_vox": 20.0},
}


@pytest.mark.parametrize("options", LINES.values(), ids=LINES)
def test_lines_are_as_long_and_as_steep_near_a_border_as_inside(options):
    """The lengths in 27 equal cells, at corners, edges, faces and inside, have one mean, and each its direction's."""
    orientation = Orientation(3.0, 2.0)
    fibres = draw_fibres((0, 0, 0), (12, 15, 18), orientation=orientation, rng=np.random.default_rng(4), **options)
    values = []
    for segments in itertools.islice(fibres, 400):
        values.append([])
        for corner in itertools.product(range(0, 12, 4), range(0, 15, 5), range(0, 18, 6)):
            cell = clip_segments(segments, corner, np.add(corner, (4, 5, 6)))
            ways = cell.ends - cell.starts
            size = np.sqrt((ways**2).sum(axis=1))
            values[-1].append([size.sum(), (ways[:, 0] ** 2 / size).sum(), (ways[:, 1] ** 2 / size).sum()])
    lengths, steep = np.array(values)[..., :1], np.array(values)[..., 1:]
    off = lengths - lengths.mean(axis=1, keepdims=True)
    assert np.all(np.abs(off.mean(axis=0)) <= 4.5 * standard_error(off))
    off = steep - expected_tensor(orientation)[:2] * lengths
    assert np.all(np.abs(off.mean(axis=0)) <= 4.5 * standard_error(off))


def test_border_cuts_a_curved_line_anywhere_between_its_vertices():
    options = {"persistence_vox": 1e4, "step_vox": 2.0}
    fibres = draw_fibres((0, 0, 0), (100,) * 3, orientation=Orientation(), rng=np.random.default_rng(4), **options)
    segments = Segments(*(np.concatenate(part) for part in zip(*itertools.islice(fibres, 10), strict=True)))
    begins = np.diff(segments.fibre, prepend=-1) != 0
    # A line that cuts off a corner is all first segment.
    first = np.linalg.norm((segments.ends - segments.starts)[begins & (np.roll(begins, -1) == 0)], axis=1)
    assert len(first) > 300
    assert stats.kstest(first, stats.uniform(0, 2).cdf).pvalue > 1e-4


def test_windows_without_size_are_refused():
    with pytest.raises(ValueError, match="sides above 0"):
        next(draw_fibres((0, 0, 0), (1, 0, 1), orientation=Orientation(), rng=np.random.default_rng(0)))


# Mats against theory


@pytest.mark.parametrize("in_plane", [1.0, 30.0])
def test_porosity_and_surface_are_those_of_poisson_cylinders(in_plane):
    """With porosity p = exp(-L π r²) the surface is 2 π r L p; both from the length that a mat of given p took."""
    radius, side, porosity, surfaces, losses = 4.0, 72, 0.7, [], []
    for seed in range(24):
        mat = fibre_mat((side,) * 3, porosity=porosity, fibre_diameter_vox=2 * radius, in_plane=in_plane, rng=seed)
        density = mat.truth["centre_line_length"] / side**3
        losses.append(density * math.pi * radius**2)
        if seed < 6:
            surfaces.append(minkowski(mat.labels == 0).specific_surface / (2 * math.pi * radius * density * porosity))
    # Stopping at a porosity adds half the relative variance of the length, far below this error.
    assert abs(np.mean(losses) + math.log(porosity)) <= 4 * standard_error(losses) + 0.5 * np.var(losses)
    # The length scatters among mats of one porosity, and the surface of voxels is good to about 2 %.
    assert abs(np.mean(surfaces) - 1) <= 4 * standard_error(surfaces) + 0.02


def test_poisson_number_of_fibres_leaves_the_porosity_of_theory():
    """The number is random here, so that nothing is conditioned on; its mean follows from the mean projected area."""
    radius, shape, density = 3.0, (20, 28, 36), 0.01
    sides = np.array(shape) + 2 * radius
    rng = np.random.default_rng(8)
    directions = np.abs(Orientation(4.0).draw(200_000, rng=rng))
    # Lines per length density that hit a box: its mean projection.
    rate = density * (directions @ (sides.prod() / sides)).mean()
    porosities = []
    source = draw_fibres(np.full(3, -radius), np.array(shape) + radius, orientation=Orientation(4.0), rng=rng)
    pool = Segments(*(np.concatenate(part) for part in zip(*itertools.islice(source, 400), strict=True)))
    pool_at = 0
    while True:
        count = rng.poisson(rate)
        if pool_at + count > len(pool.starts):
            break
        labels = np.zeros(shape, np.uint8)
        chosen = slice(pool_at, pool_at + count)
        stamp_capsules(labels, pool.starts[chosen], pool.ends[chosen], np.full(count, radius))
        porosities.append(np.mean(labels == 0))
        pool_at += count
    assert len(porosities) > 100
    assert abs(np.mean(porosities) - math.exp(-density * math.pi * radius**2)) <= 4 * standard_error(porosities)


@pytest.mark.parametrize("options", [{}, {"persistence_vox": 25.0}, {"fibre_length_vox": 20.0}])
def test_border_is_as_porous_as_the_inside(options):
    shape, rim, off = (24, 36, 48), 3, []
    inner = np.zeros(shape, bool)
    inner[rim:-rim, rim:-rim, rim:-rim] = True
    for seed in range(60):
        pores = fibre_mat(shape, fibre_diameter_vox=4, in_plane=3.0, rng=seed, **options).labels == 0
        off.append(pores[inner].mean() - pores[~inner].mean())
    assert abs(np.mean(off)) <= 4 * standard_error(off)


def test_isotropic_mats_have_no_preferred_axis_nor_sense():
    diagonal, off_diagonal, faces = [], [], []
    for seed in range(40):
        mat = fibre_mat((32, 32, 32), in_plane=1.0, fibre_diameter_vox=4, persistence_vox=40.0, rng=seed)
        tensor = np.array(mat.truth["orientation_tensor"])
        diagonal.append(np.diag(tensor))
        off_diagonal.append(tensor[np.triu_indices(3, 1)])
        solid = mat.labels > 0
        faces.append(
            [np.mean(solid[1:] ^ solid[:-1]) - np.mean(np.diff(solid.astype(int), axis=axis) != 0) for axis in (1, 2)]
        )
    assert np.all(np.abs(np.mean(diagonal, axis=0) - 1 / 3) <= 4 * standard_error(diagonal))
    assert np.all(np.abs(np.mean(off_diagonal, axis=0)) <= 4 * standard_error(off_diagonal))
    assert np.all(np.abs(np.mean(faces, axis=0)) <= 4 * standard_error(faces))


def test_tensor_of_the_drawn_lines_is_that_of_their_distribution():
    tensors = []
    for seed in range(40):
        mat = fibre_mat((32, 40, 48), in_plane=4.0, alignment=3.0, fibre_diameter_vox=3, rng=seed)
        tensor = np.array(mat.truth["orientation_tensor"])
        assert np.trace(tensor) == pytest.approx(1)
        tensors.append(np.diag(tensor))
    expected = expected_tensor(Orientation(4.0, 3.0))
    assert np.all(np.abs(np.mean(tensors, axis=0) - expected) <= 4 * standard_error(tensors))


def test_wrapped_mat_fits_to_itself():
    """The faces that the wrap puts side by side differ as often as neighbours inside do."""
    off = []
    for seed in range(30):
        solid = fibre_mat((24, 24, 24), in_plane=1.0, fibre_diameter_vox=4, periodic=True, rng=seed).labels > 0
        for axis in range(3):
            changes = np.mean(solid != np.roll(solid, 1, axis), axis=tuple({0, 1, 2} - {axis}))
            off.append(changes[0] - changes[1:].mean())
    assert abs(np.mean(off)) <= 4 * standard_error(off)


# Truth, fractions, recipes


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((48, 64, 80), {}),
        ((24, 32, 40), {"porosity": 0.5}),
        ((40, 40, 40), CARBON_PAPER),
        ((40, 40, 40), CARBON_FELT),
        ((8, 60, 33), {"porosity": 0.3, "binder_fraction": 0.3, "fibre_diameter_vox": 5}),
        ((32, 32, 32), {"porosity": 0.02, "fibre_diameter_vox": 6, "in_plane": 1.0}),
        ((32, 32, 32), {"porosity": 0.999, "fibre_diameter_vox": 8}),
        ((20, 30, 40), {"periodic": True, "persistence_vox": 20, "binder_fraction": 0.05}),
        ((20, 30, 40), {"fibre_length_vox": 15, "fibre_diameter_vox": 1}),
    ],
)
def test_fractions_are_exact_to_a_voxel(shape, arguments):
    mat = fibre_mat(shape, **arguments, rng=1)
    porosity, binder = arguments.get("porosity", 0.75), arguments.get("binder_fraction", 0.0)
    wanted = np.array([porosity, 1 - porosity - binder, binder])
    counts = np.bincount(mat.labels.ravel(), minlength=3)
    assert np.all(np.abs(counts - wanted * mat.labels.size) < 1)
    assert mat.phases == ("pore", "fibre", "binder")[: 3 if binder else 2]
    assert mat.truth["fractions"] == pytest.approx((counts / mat.labels.size)[: len(mat.phases)], abs=1e-12)
    assert mat.labels.dtype == np.uint8


def test_the_lines_of_the_truth_are_those_around_which_the_fibres_lie():
    rng = np.random.default_rng(5)
    labels = np.zeros((20, 30, 40), np.uint8)
    fibres = draw_fibres(
        np.full(3, -2.0),
        np.array(labels.shape) + 2.0,
        orientation=Orientation(2.0),
        persistence_vox=20,
        step_vox=1,
        rng=rng,
    )
    filled = fill_with_fibres(labels, fibres, radius=2.0, target=5000)
    assert filled.solid == np.count_nonzero(labels) == 5000
    again = np.zeros_like(labels)
    starts, ends, _ = filled.segments
    stamp_capsules(again, starts, ends, np.full(len(starts), 2.0))
    # The last quarter of a voxel of the last fibre covers what it needs of a cross-section of 13 voxels.
    assert np.all(again[labels > 0] == 1)
    assert np.count_nonzero(again) - 5000 < 13


def test_one_straight_fibre_is_counted_once_and_measured():
    mat = fibre_mat((40, 40, 40), porosity=0.995, fibre_diameter_vox=3, rng=0)
    truth = mat.truth
    # 320 voxels of a tube of 3 voxels: one or two fibres about 45 voxels long in all.
    assert 1 <= truth["n_fibres"] <= 3
    assert truth["centre_line_length"] * math.pi * 1.5**2 == pytest.approx(320, rel=0.25)
    assert truth["fibre_diameter"] == 3


def test_binder_lies_where_solid_is_dense():
    mat = fibre_mat((48, 48, 48), porosity=0.75, binder_fraction=0.05, fibre_diameter_vox=6, rng=0)
    labels = np.pad(mat.labels, 2, mode="reflect")

    def fibre_around(label):
        near = np.lib.stride_tricks.sliding_window_view(labels == 1, (5, 5, 5)).mean(axis=(3, 4, 5))
        return near[mat.labels == label].mean()

    assert fibre_around(2) > 2 * fibre_around(0)


def test_seed_decides_every_byte():
    def mat(rng, **options):
        arguments = {"fibre_diameter_vox": 4, "binder_fraction": 0.03, "persistence_vox": 30.0, **options}
        return fibre_mat((20, 31, 26), **arguments, rng=rng).labels.tobytes()

    assert mat(5) == mat(5) == mat(np.random.default_rng(5))
    assert len({mat(seed) for seed in range(6)}) == 6
    assert len({mat(5), mat(5, periodic=True), mat(5, in_plane=1.0), mat(5, persistence_vox=None)}) == 4


def test_threads_do_not_change_a_byte(monkeypatch):
    def mat():
        return fibre_mat((40, 40, 40), persistence_vox=40.0, rng=3).labels.tobytes()

    alone = mat()
    monkeypatch.setattr("synth.fibres.slabs", lambda shape: [(0, 7), (7, 30), (30, shape[0])])
    assert mat() == alone


@pytest.mark.parametrize(
    "arguments",
    [{}, dict(CARBON_PAPER), dict(CARBON_FELT), {"periodic": True, "alignment": 2.0, "fibre_length_vox": 30.0}],
)
def test_recipe_makes_the_same_bytes_again(arguments):
    mat = fibre_mat((24, 32, 40), **arguments, rng=7)
    recipe = json.loads(json.dumps(dict(mat.recipe)))
    assert recipe.pop("generator") == "fibre_mat"
    assert {key: recipe[key] for key in arguments} == arguments
    again = fibre_mat(**recipe, rng=7)
    assert np.array_equal(again.labels, mat.labels)
    assert json.dumps(dict(again.truth)) == json.dumps(dict(mat.truth))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (0, 8, 8)}, "three positive whole numbers"),
        ({"shape": (8, 8)}, "three positive whole numbers"),
        ({"shape": (4, 32, 32)}, "from 1 to 4"),
        ({"porosity": 0.0}, "porosity is 0.0"),
        ({"porosity": 1.0}, "porosity is 1.0"),
        ({"porosity": math.nan}, "porosity is nan"),
        ({"binder_fraction": 0.25}, "leaves 0.25"),
        ({"binder_fraction": -0.1}, "binder_fraction is -0.1"),
        ({"binder_fraction": math.nan}, "binder_fraction is nan"),
        ({"fibre_diameter_vox": 0.5}, "from 1 to 32"),
        ({"fibre_diameter_vox": 33}, "from 1 to 32"),
        ({"fibre_diameter_vox": math.inf}, "from 1 to 32"),
        ({"in_plane": 0}, "in_plane is 0"),
        ({"in_plane": math.inf}, "in_plane is inf"),
        ({"alignment": -1}, "alignment is -1"),
        ({"machine_direction_deg": math.nan}, "an angle"),
        ({"persistence_vox": 1.0}, "persistence_vox is 1.0"),
        ({"persistence_vox": 0}, "persistence_vox is 0"),
        ({"persistence_vox": math.nan}, "persistence_vox is nan"),
        ({"fibre_length_vox": 3}, "fibre_length_vox is 3"),
        ({"fibre_length_vox": 0}, "fibre_length_vox is 0"),
        ({"fibre_length_vox": 1e9, "periodic": True}, "in a periodic box, which such a fibre would fill; give at most"),
        ({"fibre_length_vox": math.inf}, "fibre_length_vox is inf"),
    ],
)
def test_bad_mats_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fibre_mat(**{"shape": (32, 32, 32), **arguments}, rng=0)


@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(*[st.integers(6, 36)] * 3),
    porosity=st.floats(0.1, 0.95),
    persistence=st.one_of(st.none(), st.floats(3, 200)),
    in_plane=st.floats(0.5, 100),
    length=st.one_of(st.none(), st.floats(6, 60)),
    periodic=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_any_mat_meets_its_porosity(shape, porosity, persistence, in_plane, length, periodic, seed):
    mat = fibre_mat(
        shape, porosity=porosity, persistence_vox=persistence, in_plane=in_plane, fibre_length_vox=length,
        fibre_diameter_vox=4, periodic=periodic, rng=seed,
    )  # fmt: skip
    assert mat.shape == shape
    assert abs(np.count_nonzero(mat.labels == 0) - porosity * mat.labels.size) < 1
    assert np.trace(mat.truth["orientation_tensor"]) == pytest.approx(1)
