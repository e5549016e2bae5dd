"""Lengths of the lines where three phases meet, on bodies whose lengths are known."""

import itertools

import numpy as np
import pytest
from known_bodies import directions, mixture, positions, room

from evaluate.morphology.interfaces import triple_phase_boundary
from evaluate.morphology.minkowski_functionals import minkowski, minkowski_of_phases

PI = np.pi
SMALL = np.zeros((4, 4, 4), np.uint8)


def ball_on_a_boundary(radius, normal, voxel=(1, 1, 1), shift=(0, 0, 0)):
    """A ball, label 2, half in one of two half-spaces: the phases meet in a circle, at 180°, 90° and 90°."""
    where = positions(room(2 * radius + 8, voxel), voxel, shift)
    labels = (np.tensordot(normal, where, 1) > 0).astype(np.uint8)
    labels[(where**2).sum(axis=0) < radius**2] = 2
    return labels


def double_bubble(radius, normal, voxel=(1, 1, 1), shift=(0, 0, 0)):
    """Two balls whose centres are a radius apart, with a wall between: they meet the outside in a circle, at 120°."""
    where = positions(room(3 * radius + 8, voxel), voxel, shift)
    along, square = np.tensordot(normal, where, 1), (where**2).sum(axis=0)
    inside = square - np.abs(along) * radius + radius**2 / 4 < radius**2
    return np.where(inside, np.where(along > 0, 1, 2), 0)


def sectors(axis, size, voxel, angle, rng):
    """Sectors around an oblique line, the first of that angle, the others equal; and the line's length inside."""
    where = positions(room(size, voxel), voxel, (rng.random(3) - 0.5) * voxel)
    across = np.linalg.svd(axis[None])[2][1:]
    v, u = np.tensordot(across, where, 1)
    turned = np.degrees(np.arctan2(v, u) + 2 * PI * rng.random()) % 360
    corners = [end(where.reshape(3, -1), axis=1) for end in (np.min, np.max)]
    low, high = corners[0] - np.array(voxel) / 2, corners[1] + np.array(voxel) / 2
    leaves, enters = (np.where((axis > 0) == up, high, low) / axis for up in (True, False))
    return np.digitize(turned, (angle, angle + (360 - angle) / 2)), leaves.min() - enters.max()


def crossed_fields(length, voxels, seed):
    """Three sectors of the plane of two periodic Gaussian fields, and the length of the line where both are 0."""
    fine = 96
    waves = np.fft.fftfreq(fine) * fine
    square = waves[:, None, None] ** 2 + waves[:, None] ** 2 + waves**2
    rng = np.random.default_rng(seed)
    lobe = np.exp(-square / 2 * (PI * length / voxels) ** 2)
    spectra = [np.fft.fftn(rng.normal(size=(fine,) * 3)) * lobe for _ in range(2)]
    kept = np.concatenate([np.arange(voxels // 2), np.arange(1 - voxels // 2, 0)])
    coarse = []
    for spectrum in spectra:
        few = np.zeros((voxels,) * 3, complex)
        few[np.ix_(kept, kept, kept)] = spectrum[np.ix_(kept, kept, kept)]
        coarse.append(np.fft.ifftn(few).real)
    turned = np.degrees(np.arctan2(coarse[1], coarse[0])) % 360
    line = length_of_zeros(*(np.fft.ifftn(spectrum).real for spectrum in spectra))
    return np.digitize(turned, (120, 240)), line * voxels / fine


def length_of_zeros(first, second):
    """Length of the line where two periodic fields are 0, both linear in each of the six tetrahedra of a cell."""
    corners = np.array(list(itertools.product((0, 1), repeat=3)))
    values = np.array([[np.roll(field, -corner, (0, 1, 2)) for corner in corners] for field in (first, second)])
    values = values[:, :, ((values.min(axis=1) < 0) & (values.max(axis=1) > 0)).all(axis=0)]
    total = 0.0
    for order in itertools.permutations((1, 2, 4)):
        crossings = []
        for a, b, c in itertools.combinations(np.cumsum((0, *order)), 3):
            slopes = np.stack([values[:, b] - values[:, a], values[:, c] - values[:, a]], axis=-1)
            s, t = np.linalg.solve(slopes.transpose(1, 0, 2), -values[:, a].T[..., None])[..., 0].T
            place = corners[a] + s[:, None] * (corners[b] - corners[a]) + t[:, None] * (corners[c] - corners[a])
            crossings.append(np.where(((s >= 0) & (t >= 0) & (s + t <= 1))[:, None], place, np.nan))
        span = np.fmax.reduce(crossings) - np.fmin.reduce(crossings)
        total += np.linalg.norm(span[~np.isnan(span).any(axis=1)], axis=1).sum()
    return total


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_line_along_an_axis_is_exact_and_low_by_planes(axis):
    voxel = (2.0, 1.0, 0.5)
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[:, 6:] = 1
    labels[:, :6, 6:] = 2
    labels = np.moveaxis(labels, 0, axis)
    for method in ("lines", "edges"):
        found = triple_phase_boundary(labels, voxel_size_um=voxel, method=method)
        assert found.length == pytest.approx(12 * voxel[axis], rel=1e-12)
        assert found.density == pytest.approx(found.length / 12**3)
        assert found.unit == "um"
    # The 13 normals stand for all: along an axis their mean cosine is 7.3 % short of one half.
    planes = triple_phase_boundary(labels, method="planes").length
    assert planes == pytest.approx(0.9266 * 12, rel=1e-4)


# The bias that the docstring states, and the deviation between directions.
@pytest.mark.parametrize(
    ("angle", "bias", "spread"), [(120, 1.014, 0.005), (90, 1.01, 0.008), (60, 1.017, 0.009), (30, 1.033, 0.015)]
)
def test_oblique_lines_are_as_long_as_said(angle, bias, spread):
    rng = np.random.default_rng(angle)
    found = []
    for axis in directions(8, seed=3):
        labels, length = sectors(axis, 48, (1, 1, 1), angle, rng)
        found.append(triple_phase_boundary(labels).length / length)
    # The ends of shorter lines weigh more: half a voxel of each.
    assert np.mean(found) == pytest.approx(bias, abs=4 * spread / np.sqrt(8) + 0.5 * (1 / 48 - 1 / 64))


@pytest.mark.parametrize("voxel", [(1, 1, 1), (2, 1, 1), (1, 0.6, 0.8)])
@pytest.mark.parametrize(
    ("make", "radii", "radius", "bias"),
    [
        (ball_on_a_boundary, 2 * PI, 16, 1.019),
        (ball_on_a_boundary, 2 * PI, 8, 1.029),
        (double_bubble, PI * np.sqrt(3), 16, 1.009),
        (double_bubble, PI * np.sqrt(3), 8, 1.007),
    ],
)
def test_circles_are_as_long_as_said(make, radii, radius, bias, voxel):
    radius = radius * min(voxel)
    rng = np.random.default_rng(3)
    found = np.array(
        [
            triple_phase_boundary(
                make(radius, normal, voxel, (rng.random(3) - 0.5) * voxel), voxel_size_um=voxel
            ).length
            for normal in directions(8, seed=4)
        ]
    ) / (radii * radius)
    error = found.std() / np.sqrt(found.size)
    # Unequal voxels add up to 2 %.
    assert bias - 4 * error < found.mean() < bias + 4 * error + (0 if len(set(voxel)) == 1 else 0.02)
    assert error < 0.01


@pytest.mark.parametrize(("length", "bias"), [(12, 1.004), (6, 0.969)])
def test_lines_of_random_structures_are_as_long_as_said(length, bias):
    found = []
    for seed in range(2):
        labels, truth = crossed_fields(length, 8 * length, seed)
        found.append(triple_phase_boundary(labels, boundary="periodic").length / truth)
    # The deviation between structures is 1 %.
    assert np.mean(found) == pytest.approx(bias, abs=4 * 0.01 / np.sqrt(2))


def test_electrode_meets_its_closed_form():
    from synth import sofc_electrode

    found, planes = [], []
    for seed in range(4):
        made = sofc_electrode((80, 80, 80), preset="three-phase", length_vox=8, periodic=True, rng=seed)
        truth = 2 / PI * sum(phase["mean_curvature"] for phase in made.truth["expected"].values())
        found.append(triple_phase_boundary(made, boundary="periodic").density / truth)
        planes.append(triple_phase_boundary(made, boundary="periodic", method="planes").density / truth)
    # 2 % up; a box of 10 lengths deviates by about 7 % of its closed form.
    assert np.mean(found) == pytest.approx(1.02, abs=4 * 0.07 / np.sqrt(4))
    assert np.mean(planes) > np.mean(found) + 0.08


@pytest.mark.parametrize("boundary", ["interior", "periodic"])
def test_loop_of_a_single_voxel_is_nothing(boundary):
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[6:] = 1
    labels[5, 6, 6] = 2
    assert triple_phase_boundary(labels, boundary=boundary, method="edges").length == 4
    assert triple_phase_boundary(labels, boundary=boundary).length < 0.01


def test_lines_that_cross_are_as_long_as_apart():
    # Two towers of one phase, on a floor of another, that touch along an edge; and the same towers apart.
    labels = np.zeros((10, 40, 40), np.uint8)
    labels[:5] = 1
    apart = labels.copy()
    labels[5:8, 8:20, 8:20] = labels[5:8, 20:32, 20:32] = 2
    apart[5:8, 5:17, 5:17] = apart[5:8, 22:34, 22:34] = 2
    assert triple_phase_boundary(labels).length == pytest.approx(triple_phase_boundary(apart).length, rel=0.02)


def test_four_columns_share_their_line_among_four_triples():
    labels = np.zeros((10, 12, 12), np.uint8)
    labels[:, 6:] += 1
    labels[:, :, 6:] += 2
    lengths = [triple_phase_boundary(labels, three).length for three in itertools.combinations(range(4), 3)]
    assert lengths == pytest.approx([5.0] * 4)


def test_density_of_a_cut_out_is_that_of_the_periodic_whole():
    whole = mixture((48, 48, 48), seed=5)
    truth = triple_phase_boundary(whole, boundary="periodic").density
    tiles = [
        triple_phase_boundary(whole[z : z + 24, y : y + 24, x : x + 24]).density
        for z, y, x in itertools.product((0, 24), repeat=3)
    ]
    # The ends of the lines stay where they are.
    assert np.mean(tiles) == pytest.approx(truth, rel=0.04)


@pytest.mark.parametrize("method", ["lines", "planes", "edges"])
def test_windows_all_over_a_pattern_have_its_density(method):
    # Columns of phases: lines along z alone, of which nothing is smoothed.
    pattern = np.broadcast_to(np.random.default_rng(0).integers(0, 3, (1, 6, 7)), (4, 6, 7))
    truth = triple_phase_boundary(pattern, boundary="periodic", method=method).density
    windows = [np.roll(pattern, shift, (1, 2))[:, :5, :4] for shift in np.ndindex(6, 7)]
    densities = [triple_phase_boundary(window, method=method).density for window in windows]
    assert np.mean(densities) == pytest.approx(truth, rel=1e-12)


def test_shifting_a_periodic_volume_does_not_matter():
    labels = mixture()
    expected = triple_phase_boundary(labels, boundary="periodic").length
    shifted = np.roll(labels, (3, 5, 7), (0, 1, 2))
    assert triple_phase_boundary(shifted, boundary="periodic").length == pytest.approx(expected, rel=1e-12)
    tiled = np.tile(labels, (1, 2, 1))
    assert triple_phase_boundary(tiled, boundary="periodic").length == pytest.approx(2 * expected, rel=1e-12)


@pytest.mark.parametrize("voxel", [None, (2, 1, 1.5)])
def test_turning_and_mirroring_does_not_matter(voxel):
    labels = mixture()
    expected = triple_phase_boundary(labels, voxel_size_um=voxel).length
    turned = tuple(np.roll(voxel, 1)) if voxel else None
    assert triple_phase_boundary(labels[::-1, :, ::-1], voxel_size_um=voxel).length == pytest.approx(expected, rel=0.01)
    found = triple_phase_boundary(labels.transpose(2, 0, 1), voxel_size_um=turned).length
    assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("boundary", ["interior", "periodic"])
@pytest.mark.parametrize("method", ["lines", "planes"])
@pytest.mark.parametrize("shape", [(5, 258, 6), (257, 3, 260)])
def test_blocks_of_an_array_on_disk_measure_the_same_to_the_last_bit(shape, method, boundary):
    dask = pytest.importorskip("dask.array")
    labels = mixture(shape)
    lazy = dask.from_array(labels, chunks=(3, 100, 77))
    options = {"boundary": boundary, "method": method, "voxel_size_um": (2, 1, 1)}
    assert triple_phase_boundary(lazy, **options) == triple_phase_boundary(labels, **options)


@pytest.mark.parametrize("boundary", ["interior", "periodic"])
@pytest.mark.parametrize("voxel", [None, (2, 1, 1.5)])
def test_length_is_what_the_surfaces_of_the_phases_turn(boundary, voxel):
    labels = mixture(seed=2)
    options = {"voxel_size_um": voxel, "boundary": boundary}
    turned = sum(m.integral_mean_curvature for m in minkowski_of_phases(labels, **options))
    assert triple_phase_boundary(labels, method="planes", **options).length == pytest.approx(2 / PI * turned, rel=1e-10)


def test_lengths_of_four_phases_add_up_to_what_their_surfaces_turn():
    labels = mixture(n_phases=4, seed=3)
    lengths = {t: triple_phase_boundary(labels, t, method="planes").length for t in itertools.combinations(range(4), 3)}
    curved = [m.integral_mean_curvature for m in minkowski_of_phases(labels)]
    assert sum(lengths.values()) == pytest.approx(2 / PI * sum(curved), rel=1e-10)
    union = minkowski(labels < 2).integral_mean_curvature
    pair = lengths[0, 1, 2] + lengths[0, 1, 3]
    assert pair == pytest.approx(2 / PI * (curved[0] + curved[1] - union), rel=1e-10)


def test_phases_that_do_not_meet_have_no_line():
    assert triple_phase_boundary(np.where(mixture() == 1, 3, 0)).length == 0
    assert triple_phase_boundary(mixture(n_phases=2)).length == 0


def test_order_and_numbers_of_the_phases_do_not_matter():
    labels = mixture()
    expected = triple_phase_boundary(labels).length
    assert expected > 0
    assert triple_phase_boundary(labels, (2, 0, 1)).length == expected
    assert triple_phase_boundary(np.array([7, 255, 30])[labels], (7, 255, 30)).length == expected


def electrode():
    """Return a plate of ions below, gas above and metal posts between, of which some stand on nothing."""
    labels = np.zeros((12, 30, 12), np.uint8)
    labels[:5] = 1
    labels[5:, 2:5, 4:8] = 2  # reaches the far end
    labels[5:9, 10:13, 4:8] = 2  # ends in the gas
    labels[5:9, 18:21, :4] = 2  # ends in the gas, but leaves through a side
    return labels


def test_active_length_is_that_of_connected_clusters():
    labels = electrode()
    found = triple_phase_boundary(labels, active=("+z", "-z", "+z"))
    whole, ending, leaving = (triple_phase_boundary(part) for part in (labels[:, :8], labels[:, 6:16], labels[:, 15:]))
    assert found.length == pytest.approx(whole.length + ending.length + leaving.length, rel=1e-12)
    assert found.active_length == pytest.approx(whole.length, rel=1e-12)
    assert found.active_density == pytest.approx(whole.length / labels.size)
    assert found.undecided_length == pytest.approx(leaving.length, rel=1e-12)


def test_active_length_is_all_of_it_if_nothing_is_asked_of_the_phases():
    labels = mixture()
    found = triple_phase_boundary(labels, active=(None, None, None))
    assert found.active_length == found.length == triple_phase_boundary(labels).length
    assert found.undecided_length == 0
    assert triple_phase_boundary(labels).active_length is None


def test_active_length_is_zero_where_a_phase_does_not_reach_its_face():
    labels = electrode()
    assert triple_phase_boundary(labels, active=("-z", None, None)).active_length == 0  # the plate covers it
    assert triple_phase_boundary(labels, active=(None, "+z", None)).undecided_length > 0


@pytest.mark.parametrize("active", [("+z", "-z", "+y"), (None, None, "-x"), ("-y", "+x", None)])
def test_active_lines_in_an_array_on_disk_are_the_same(active):
    dask = pytest.importorskip("dask.array")
    labels = mixture((9, 260, 12), seed=7)
    lazy = dask.from_array(labels, chunks=(9, 100, 5))
    found = triple_phase_boundary(labels, active=active)
    assert 0 < found.active_length < found.length
    assert triple_phase_boundary(lazy, active=active) == found


def test_active_length_is_that_of_edges_whose_clusters_reach_their_faces():
    from scipy.ndimage import label

    labels = mixture((16, 18, 20), seed=8)
    held = np.full(labels.shape, 9)
    for phase, face in enumerate((labels[:, :, -1], labels[0], labels[-1])):
        numbers = label(labels == phase)[0]
        reached = np.unique((numbers[:, :, -1], numbers[0], numbers[-1])[phase][face == phase])
        held[np.isin(numbers, reached)] = phase
    found = triple_phase_boundary(labels, active=("+x", "-z", "+z"))
    # Lines end where a cluster ends that does not count; there they are pinned in what is held alone.
    assert found.active_length == pytest.approx(triple_phase_boundary(held).length, rel=0.02)
    assert found.active_length < 0.95 * found.length


@pytest.mark.parametrize(
    ("labels", "keywords", "message"),
    [
        (np.zeros((4, 4), np.uint8), {}, "3-D"),
        (np.zeros((0, 4, 4), np.uint8), {}, "empty"),
        (np.zeros((1, 1, 1), np.uint8), {}, "two voxels"),
        (np.full((4, 4, 4), 0.5), {}, "fractional"),
        (np.full((4, 4, 4), np.nan), {}, "NaN"),
        (SMALL, {"voxel_size_um": (1, 1, 1000)}, "resample"),
        (SMALL, {"boundary": "closed"}, "no phase"),
        (SMALL, {"method": "mesh"}, "method"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels, keywords, message):
    with pytest.raises(ValueError, match=message):
        triple_phase_boundary(labels, **keywords)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"phases": (0, 1)}, "three phases"),
        ({"phases": (0, 1, 1)}, "differ"),
        ({"phases": (0, 1, 256)}, "three phases"),
        ({"phases": 3}, "three phases"),
        ({"active": ("+z", "-z")}, "each of the three"),
        ({"active": "+z"}, "each of the three"),
        ({"active": ("up", None, None)}, "each of the three"),
        ({"active": (["+z"], None, None)}, "each of the three"),
        ({"active": ("+z", "+z", "-z"), "boundary": "periodic"}, "no faces"),
        ({"active": ("+z", "+z", "-z"), "method": "planes"}, "method='lines'"),
    ],
)
def test_impossible_lines_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        triple_phase_boundary(SMALL, **keywords)
