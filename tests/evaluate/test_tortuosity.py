"""Tortuosity against chains of resistors, laminates, inclined slits, lattices of balls, bounds and TauFactor."""

import itertools

import numba
import numpy as np
import pytest

import synth
from evaluate.transport import effective_conductivity, thread_shares, tortuosity


def random_mask(shape=(24, 20, 22), fraction=0.6, seed=0):
    return np.random.default_rng(seed).random(shape) < fraction


def meander(turns, width):
    """A pore one voxel wide that runs to and fro across a plate of one voxel; (mask, voxels in the path)."""
    mask = np.zeros((2 * turns + 1, 1, width), bool)
    mask[::2] = True
    for k in range(turns):
        mask[2 * k + 1, 0, -1 if k % 2 == 0 else 0] = True
    mask[0, 0, : width - 1] = False
    mask[-1] = False
    mask[-1, 0, -1 if (turns - 1) % 2 == 0 else 0] = True
    return mask, int(mask.sum())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_straight_pores_have_tortuosity_one(axis):
    mask = np.moveaxis(np.broadcast_to(random_mask((11, 13), 0.4), (17, 11, 13)), 0, axis)
    found = tortuosity(mask, axis=axis, voxel_size_um=(0.1, 0.2, 0.3))
    assert found.tortuosity == pytest.approx(1, abs=1e-12)
    assert found.effective_diffusivity == pytest.approx(mask.mean(), abs=1e-12)
    assert found.formation_factor == pytest.approx(1 / mask.mean(), rel=1e-12)
    assert found.porosity == mask.mean()
    assert found.connected == 1
    assert found.converged


def test_factor_of_a_bent_chain_is_the_square_of_its_length_ratio():
    """A chain of n voxels is n resistors: Deff = nz / (n area), so that τ = (n / nz)² = τ_geometric²."""
    mask, n = meander(6, 9)
    found = tortuosity(mask, axis=0, tolerance=1e-10)
    assert found.tortuosity == pytest.approx((n / len(mask)) ** 2, rel=1e-9)


def test_chain_of_anisotropic_voxels_is_a_sum_of_their_resistances():
    mask, n = meander(4, 7)
    hz, hy, hx = voxel = (0.5, 0.3, 2.0)
    steps_z = len(mask) - 1
    steps_x = n - 1 - steps_z
    resistance = (steps_z + 1) * hz / (hy * hx) + steps_x * hx / (hy * hz)
    length, area = len(mask) * hz, hy * mask.shape[2] * hx
    found = tortuosity(mask, axis=0, voxel_size_um=voxel, tolerance=1e-10)
    assert found.effective_diffusivity == pytest.approx(length / area / resistance, rel=1e-9)


@pytest.mark.parametrize(("run", "factor"), [(1, 2.0), (2, 1.25)])
def test_inclined_slit_tends_to_one_over_cos_squared_from_above(run, factor):
    """A slit at an angle θ has τ = 1/cos²θ; steps only hinder, by an amount of first order in 1/width."""
    error = []
    for width in (8, 16, 32):
        z, x = np.indices((8 * width, 8 * width // run + width))
        mask = ((x - z // run >= 0) & (x - z // run < width))[:, None, :]
        error.append(tortuosity(mask, axis=0).tortuosity / factor - 1)
    assert error[0] > error[1] > error[2] > 0 or error[2] == pytest.approx(0, abs=0.02)
    assert abs(2 * error[2] - error[1]) < 0.06


def rayleigh(phi):
    """Insulating balls on a cubic lattice; J. W. Strutt, Phil. Mag. 34 (1892) 481, with Runge's lattice sum 0.523."""
    return 1 - 3 * phi / (2 + phi - 0.75 * 0.523 * phi ** (10 / 3))


def ball_octant(n, phi):
    """An eighth of the cell of a cubic lattice of balls of volume fraction phi: mirror planes on all sides."""
    c = (np.arange(n) + 0.5) / (2 * n)
    return c[:, None, None] ** 2 + c[:, None] ** 2 + c**2 > (0.75 * phi / np.pi) ** (2 / 3)


@pytest.mark.parametrize("phi", [0.05, 0.1, 0.2, 0.3])
def test_lattice_of_balls_follows_rayleigh(phi):
    """Rough walls hinder: the error is negative and of first order, which extrapolation removes."""
    exact = rayleigh(phi)
    coarse, fine = (tortuosity(ball_octant(n, phi), axis=0).effective_diffusivity for n in (24, 48))
    assert coarse < fine < exact
    assert fine > exact * 0.985
    assert 2 * fine - coarse == pytest.approx(exact, rel=0.006)


@pytest.mark.parametrize("sides", ["no-flux", "periodic"])
def test_diffusivity_keeps_the_bounds_of_wiener_and_hashin_shtrikman(sides):
    mask = synth.gaussian_phases((40, 40, 40), fractions=(0.6, 0.4), length_vox=6, periodic=True, rng=3).labels == 0
    mean = np.mean([tortuosity(mask, axis=axis, sides=sides).effective_diffusivity for axis in range(3)])
    assert mean < 2 * 0.6 / (3 - 0.6) < 0.6


def test_flips_and_permuted_axes_do_not_matter():
    mask = random_mask((14, 12, 13))
    voxel = np.array([1.0, 1.4, 0.6])
    true = tortuosity(mask, axis=0, voxel_size_um=voxel, tolerance=1e-9).tortuosity
    for flips in itertools.product((1, -1), repeat=3):
        flipped = mask[:: flips[0], :: flips[1], :: flips[2]]
        assert tortuosity(flipped, axis=0, voxel_size_um=voxel, tolerance=1e-9).tortuosity == pytest.approx(
            true, rel=1e-9
        )
    for order in itertools.permutations(range(3)):
        turned = tortuosity(
            mask.transpose(order), axis=order.index(0), voxel_size_um=voxel[list(order)], tolerance=1e-9
        )
        assert turned.tortuosity == pytest.approx(true, rel=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_long_voxels_agree_with_the_cubes_they_are_made_of(axis):
    """Only the numerics differ; the structure varies slowly along the long edge."""
    labels = synth.gaussian_phases((20, 48, 48), fractions=(0.6, 0.4), length_vox=12, rng=1).labels == 0
    cubes = np.repeat(labels, 2, axis=0)
    long = tortuosity(labels, axis=axis, voxel_size_um=(2, 1, 1)).tortuosity
    assert long == pytest.approx(tortuosity(cubes, axis=axis).tortuosity, rel=0.02)


def test_unit_of_the_voxel_size_does_not_matter():
    mask = random_mask()
    one, other = (tortuosity(mask, axis=1, voxel_size_um=np.array((2, 1, 3)) * k).tortuosity for k in (1, 1e-3))
    assert one == pytest.approx(other, rel=1e-12)


def test_dead_ends_and_islands_count_in_the_porosity_alone():
    mask = np.zeros((12, 6, 12), bool)
    mask[:, :, 2:5] = True
    mask[5:7, 2:4, 5:9] = True
    mask[3:5, 1:3, 10] = True
    bare = np.zeros_like(mask)
    bare[:, :, 2:5] = True
    found, plain = tortuosity(mask, axis=0), tortuosity(bare, axis=0)
    island = mask[3:5, 1:3, 10].sum()
    assert found.porosity == mask.mean()
    assert found.connected == pytest.approx(1 - island / mask.sum())
    assert plain.effective_diffusivity < found.effective_diffusivity < plain.effective_diffusivity * 1.1
    without = mask.copy()
    without[3:5, 1:3, 10] = False
    assert tortuosity(without, axis=0).effective_diffusivity == found.effective_diffusivity


def test_periodic_sides_join_what_a_wall_would_cut():
    """A staircase that leaves through one side and comes back through the other."""
    z, x = np.indices((24, 12))
    mask = ((x - z) % 12 < 6)[:, None, :]
    wrapped = tortuosity(np.repeat(mask, 3, axis=1), axis=0, sides="periodic")
    assert wrapped.connected == 1
    assert wrapped.boundary == "fixed at both faces, periodic sides"
    with pytest.raises(ValueError, match="does not connect"):
        tortuosity(np.repeat(mask, 3, axis=1), axis=0)


def test_periodic_volume_may_be_rolled():
    mask = synth.gaussian_phases((24, 25, 27), fractions=(0.5, 0.5), length_vox=5, periodic=True, rng=2).labels == 0
    true = tortuosity(mask, axis=0, sides="periodic", tolerance=1e-9).tortuosity
    rolled = np.roll(mask, (7, 11), axis=(1, 2))
    assert tortuosity(rolled, axis=0, sides="periodic", tolerance=1e-9).tortuosity == pytest.approx(true, rel=1e-9)


def dense_solution(conductivity, spacing):
    """Effective conductivity by a dense solve, conductances written down one by one."""
    shape = conductivity.shape
    weight = [np.prod(spacing) / edge**2 for edge in spacing]
    index = np.arange(conductivity.size).reshape(shape)
    matrix, right = np.zeros((index.size, index.size)), np.zeros(index.size)
    for voxel in np.ndindex(shape):
        i = index[voxel]
        for axis in range(3):
            other = tuple(n + (a == axis) for a, n in enumerate(voxel))
            if other[axis] < shape[axis]:
                j = index[other]
                g = weight[axis] * 2 / (1 / conductivity[voxel] + 1 / conductivity[other])
                matrix[i, i] += g
                matrix[j, j] += g
                matrix[i, j] -= g
                matrix[j, i] -= g
        plates = (voxel[0] == 0) + (voxel[0] == shape[0] - 1)
        matrix[i, i] += plates * 2 * weight[0] * conductivity[voxel]
        right[i] = 2 * weight[0] * conductivity[voxel] if voxel[0] == 0 else 0
    field = np.linalg.solve(matrix, right).reshape(shape)
    flux = np.sum(2 * weight[0] * conductivity[0] * (1 - field[0]))
    return flux * shape[0] * spacing[0] / (shape[1] * spacing[1] * shape[2] * spacing[2])


def test_equals_a_dense_solve():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, (7, 6, 5))
    values, spacing = np.array([0.02, 1.0, 30.0]), (1.0, 0.5, 3.0)
    found = effective_conductivity(labels, conductivities=values, axis=0, voxel_size_um=spacing, tolerance=1e-11)
    assert found.conductivity == pytest.approx(dense_solution(values[labels], spacing), rel=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_conducting_phase_is_the_diffusivity(axis):
    labels = np.random.default_rng(5).integers(0, 3, (20, 22, 24))
    labels[labels == 2] = 0
    found = effective_conductivity(labels, conductivities=(1.0, 0.0), axis=axis, tolerance=1e-9)
    pores = tortuosity(labels == 0, axis=axis, tolerance=1e-9)
    assert found.conductivity == pytest.approx(pores.effective_diffusivity, rel=1e-9)
    assert found.series_bound == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_layers_in_series_and_in_parallel_reach_their_bounds(axis):
    labels = np.broadcast_to((np.arange(18) % 3).reshape(18, 1, 1), (18, 6, 7))
    labels = np.moveaxis(labels, 0, axis)
    values = (0.5, 3.0, 40.0)
    across = effective_conductivity(labels, conductivities=values, axis=axis, tolerance=1e-9)
    along = effective_conductivity(labels, conductivities=values, axis=(axis + 1) % 3, tolerance=1e-9)
    assert across.conductivity == pytest.approx(3 / sum(1 / v for v in values), rel=1e-8)
    assert across.conductivity == pytest.approx(across.series_bound, rel=1e-8)
    assert along.conductivity == pytest.approx(sum(values) / 3, rel=1e-12)
    assert along.conductivity == pytest.approx(along.parallel_bound, rel=1e-12)


def test_conductivity_of_a_mixture_scales_and_keeps_its_bounds():
    labels = np.random.default_rng(6).integers(0, 3, (20, 20, 20))
    values = np.array([0.1, 1.0, 10.0])
    found = effective_conductivity(labels, conductivities=values, axis=0)
    scaled = effective_conductivity(labels, conductivities=values * 1e-20, axis=0)
    assert found.series_bound < found.conductivity < found.parallel_bound
    assert scaled.conductivity == pytest.approx(found.conductivity * 1e-20, rel=1e-9)


def test_isotropic_plane_checkerboard_has_the_geometric_mean():
    """Keller's theorem: the geometric mean of the two, from corners that the grid resolves slowly."""
    tile = 16
    z, x = np.indices((2 * tile, 2 * tile)) // tile
    # A half tile's shift puts mirror planes on all sides.
    labels = np.roll((z + x) % 2, (tile // 2, tile // 2), axis=(0, 1))[:, None, :]
    found = effective_conductivity(labels, conductivities=(1.0, 4.0), axis=0).conductivity
    assert found == pytest.approx(2.0, rel=0.015)


@pytest.mark.parametrize("sides", ["no-flux", "periodic"])
def test_agrees_with_taufactor(sides):
    pytest.importorskip("taufactor")
    mask = synth.gaussian_phases((32, 32, 32), fractions=(0.5, 0.5), length_vox=5, periodic=True, rng=7).labels == 0
    ours = tortuosity(mask, axis=1, sides=sides)
    theirs = tortuosity(mask, axis=1, sides=sides, solver="taufactor", tolerance=2e-3)
    assert theirs.converged
    # It stops at a flux imbalance of 0.2 %.
    assert theirs.tortuosity == pytest.approx(ours.tortuosity, rel=2e-3)


def test_agrees_with_taufactor_on_flat_voxels():
    pytest.importorskip("taufactor")
    mask = synth.gaussian_phases((40, 40, 40), fractions=(0.5, 0.5), length_vox=5, rng=8).labels == 0
    ours, theirs = (
        tortuosity(mask, axis=0, voxel_size_um=(1, 1.5, 1.25), solver=solver, tolerance=2e-3)
        for solver in ("multigrid", "taufactor")
    )
    assert theirs.tortuosity == pytest.approx(ours.tortuosity, rel=2e-3)


def test_residual_and_iterations_tell_when_it_stopped():
    mask = random_mask((32, 32, 32), 0.5)
    early = tortuosity(mask, axis=0, max_iterations=1)
    late = tortuosity(mask, axis=0)
    assert not early.converged
    assert early.iterations == 1
    assert early.residual > 1e-4 >= late.residual
    # Any field dissipates more than the true one: an unfinished solve cannot hinder too much.
    assert early.effective_diffusivity > late.effective_diffusivity


def test_threads_do_not_change_a_bit(monkeypatch):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this process was started with one thread")
    mask, before = random_mask((33, 31, 29)), numba.get_num_threads()
    # So small a volume would not be given a second thread.
    monkeypatch.setattr(thread_shares, "SHARE", 1)
    found = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            found.append(tortuosity(mask, axis=0, sides="periodic"))
    finally:
        numba.set_num_threads(before)
    assert found[0] == found[1]


def test_single_voxel_and_open_space_have_tortuosity_one():
    assert tortuosity(np.ones((1, 1, 1), bool), axis=2).tortuosity == pytest.approx(1, abs=1e-12)
    assert tortuosity(np.ones((6, 5, 4), bool), axis=1, sides="periodic").tortuosity == pytest.approx(1, abs=1e-12)


OPEN = np.ones((4, 4, 4), bool)
WALL = np.broadcast_to((np.arange(4) != 2).reshape(4, 1, 1), (4, 4, 4))


@pytest.mark.parametrize(
    ("mask", "arguments", "sentence"),
    [
        (WALL, {"axis": 0}, r"does not connect the two faces across axis 0 \(z\): 66.7% .* 33.3%"),
        (~OPEN, {"axis": 0}, "no voxel that conducts"),
        (OPEN * 2, {"axis": 0}, "other than 0 and 1"),
        (np.full((4, 4, 4), np.nan), {"axis": 0}, "other than 0 and 1"),
        (OPEN[0], {"axis": 0}, "3-D is accepted"),
        (np.ones((0, 4, 4), bool), {"axis": 0}, "empty"),
        (OPEN, {"axis": 3}, "axis is 3; it must be from 0 to 2"),
        (OPEN, {"axis": -1}, "axis is -1"),
        (OPEN, {"axis": "z"}, "axis is 'z'"),
        (OPEN, {"axis": 0, "sides": "open"}, "sides is 'open'"),
        (OPEN, {"axis": 0, "solver": "gauss"}, "solver is 'gauss'"),
        (OPEN, {"axis": 0, "tolerance": 0}, "tolerance is 0"),
        (OPEN, {"axis": 0, "tolerance": np.nan}, "tolerance is nan"),
        (OPEN, {"axis": 0, "tolerance": None}, "tolerance is None"),
        (OPEN, {"axis": 0, "max_iterations": 0}, "max_iterations is 0"),
        (OPEN, {"axis": 0, "voxel_size_um": (1, 1)}, "three numbers"),
        (OPEN, {"axis": 0, "voxel_size_um": (1, 1, 1000)}, "100 : 1 apart"),
        (OPEN, {"axis": 0, "voxel_size_um": (3, 1, 1), "solver": "taufactor"}, "too long along the flux for TauFactor"),
        (
            OPEN,
            {"axis": 0, "voxel_size_um": (1, 2, 1), "sides": "periodic", "solver": "taufactor"},
            "no periodic sides for anisotropic",
        ),
    ],
)
def test_bad_input_is_refused_with_a_sentence(mask, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        tortuosity(mask, **arguments)


@pytest.mark.parametrize(
    ("labels", "values", "sentence"),
    [
        (OPEN * 2, (1.0, 1.0), r"shape \(2,\) and labels holds 3 phases"),
        (OPEN * 1, (1.0, -1.0), "finite and not negative"),
        (OPEN * 1, (1.0, np.inf), "finite and not negative"),
        (OPEN * 1, (1.0, "a"), "one number for each phase"),
        (OPEN * 1, (1.0, 0.0), "no voxel that conducts"),
        (OPEN * 1, (1e-12, 1.0), "more than 1e.09 : 1"),
        (WALL * 1, (0.0, 2.0), "does not connect"),
        (OPEN * 0.5, (1.0, 1.0), "fractional"),
    ],
)
def test_bad_conductivities_are_refused_with_a_sentence(labels, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        effective_conductivity(labels, conductivities=values, axis=0)
