"""Permeability against the flow through slits, ducts and lattices of balls, resistors in series, and symmetry."""

import itertools

import numba
import numpy as np
import pytest

from evaluate.transport import permeability, thread_shares


def random_mask(shape=(9, 7, 8), fraction=0.7, seed=0):
    return np.random.default_rng(seed).random(shape) < fraction


@pytest.mark.parametrize("sides", ["no-flux", "periodic"])
@pytest.mark.parametrize(("width", "axis"), [(1, 0), (2, 1), (3, 2), (8, 0)])
def test_slit_is_exact_at_any_width(width, axis, sides):
    """K = ε w²/12."""
    mask = np.zeros((4, 3, width + 2), bool)
    mask[:, :, 1:-1] = True
    mask = np.moveaxis(mask, 0, axis)
    found = permeability(mask, axis=axis, sides=sides, tolerance=1e-7)
    assert found.permeability == pytest.approx(mask.mean() * width**2 / 12, rel=1e-6)
    assert found.converged


def test_stack_of_slits_at_the_sides_is_that_of_their_mirror_images():
    """Half a slit beside the border is a whole one with its image."""
    mask = np.zeros((3, 4, 9), bool)
    mask[:, :, :5] = True
    found = permeability(mask, axis=0, tolerance=1e-7)
    assert found.permeability == pytest.approx(5 / 9 * 10**2 / 12, rel=1e-6)


def square_duct(width):
    """Mean velocity for a unit pressure gradient and viscosity; Boussinesq's series."""
    k = np.arange(1, 200, 2)
    return width**2 / 12 * (1 - 192 / np.pi**5 * np.sum(np.tanh(k * np.pi / 2) / k**5))


def test_square_duct_tends_to_the_series_at_second_order():
    error = []
    for width in (4, 8):
        mask = np.pad(np.ones((2, width, width), bool), ((0, 0), (1, 1), (1, 1)))
        error.append(permeability(mask, axis=0, tolerance=1e-6).permeability / mask.mean() / square_duct(width) - 1)
    assert 0 < error[1] < error[0] < 0.022
    assert error[0] / error[1] > 3


def sangani_acrivos(phi):
    """Drag on a ball of a cubic lattice over Stokes's; Int. J. Multiphase Flow 8 (1982) 343."""
    c = phi ** (1 / 3)
    return 1 / (1 - 1.7601 * c + phi - 1.5593 * phi**2 + 3.9799 * c**8 - 3.0734 * c**10)


@pytest.mark.parametrize("phi", [0.064, 0.216])
def test_lattice_of_balls_has_the_drag_of_sangani_and_acrivos(phi):
    """K = 2 r² / (9 φ drag), with the φ of the voxels, which the eighth of a cell at its mirror planes has."""
    n = 16
    c = (np.arange(n) + 0.5) / (2 * n)
    mask = c[:, None, None] ** 2 + c[:, None] ** 2 + c**2 > (0.75 * phi / np.pi) ** (2 / 3)
    solid = 1 - mask.mean()
    radius = (0.75 * solid / np.pi) ** (1 / 3) * 2 * n
    # The wall lies within a voxel's thickness about the ball's: a shift of δ moves K by about 2 δ/r to 4 δ/r.
    expected = 2 * radius**2 / (9 * solid * sangani_acrivos(solid))
    assert permeability(mask, axis=1).permeability == pytest.approx(expected, rel=0.05)


def test_long_slits_in_series_add_their_resistances():
    """L / K = Σ L_i / K_i in the end; the step between them resists a little more."""
    lengths, widths, height = (60, 60), (8, 4), 10
    mask = np.zeros((sum(lengths), 1, height), bool)
    mask[: lengths[0], :, 1:9] = mask[lengths[0] :, :, 3:7] = True
    series = sum(lengths) / sum(n * 12 * height / w**3 for n, w in zip(lengths, widths, strict=True))
    found = permeability(mask, axis=0)
    assert series * 0.97 < found.permeability < series
    assert found.converged
    assert found.residual <= 1e-3


def test_flips_and_turns_do_not_matter():
    mask = random_mask()
    true = permeability(mask, axis=0, tolerance=1e-8).permeability
    for flips in itertools.product((1, -1), repeat=3):
        flipped = mask[:: flips[0], :: flips[1], :: flips[2]]
        assert permeability(flipped, axis=0, tolerance=1e-8).permeability == pytest.approx(true, rel=1e-6)
    turned = permeability(mask.transpose(2, 0, 1), axis=1, tolerance=1e-8)
    assert turned.permeability == pytest.approx(true, rel=1e-6)


@pytest.mark.parametrize("side", [0, 1, 2])
def test_volume_and_its_mirror_image_are_as_permeable_as_the_volume(side):
    mask = random_mask(seed=1)
    doubled = np.concatenate([mask, np.flip(mask, side)], axis=side)
    true = permeability(mask, axis=0, tolerance=1e-8).permeability
    assert permeability(doubled, axis=0, tolerance=1e-8).permeability == pytest.approx(true, rel=1e-6)


def test_periodic_volume_may_be_rolled():
    mask = random_mask(seed=2)
    true, rolled = (
        permeability(m, axis=0, sides="periodic", tolerance=1e-8).permeability
        for m in (mask, np.roll(mask, (3, 4), axis=(1, 2)))
    )
    assert rolled == pytest.approx(true, rel=1e-6)


def test_nothing_flows_through_edges():
    """Two ducts that touch along an edge are two ducts."""
    mask = np.zeros((3, 8, 8), bool)
    mask[:, 1:4, 1:4] = True
    alone = permeability(mask, axis=0, tolerance=1e-8).permeability
    mask[:, 4:7, 4:7] = True
    assert permeability(mask, axis=0, tolerance=1e-8).permeability == pytest.approx(2 * alone, rel=1e-6)


def test_dead_ends_and_islands_count_in_the_porosity_alone():
    mask = np.zeros((8, 4, 10), bool)
    mask[:, :, 1:4] = True
    bare = permeability(mask, axis=0, tolerance=1e-8)
    mask[3:5, 1:3, 6:8] = True
    found = permeability(mask, axis=0, tolerance=1e-8)
    assert found.permeability == bare.permeability
    assert found.porosity == mask.mean()
    assert found.connected == pytest.approx(1 - 8 / mask.sum())


def test_permeability_is_in_the_square_of_the_unit():
    mask = random_mask()
    in_voxels, in_um = permeability(mask, axis=2), permeability(mask, axis=2, voxel_size_um=(0.01, 0.01, 0.01))
    assert (in_voxels.unit, in_um.unit) == ("voxel", "um")
    assert in_um.permeability == pytest.approx(1e-4 * in_voxels.permeability, rel=1e-12)


def test_layout_and_type_do_not_matter():
    mask = random_mask()
    locked = mask.copy()
    locked.flags.writeable = False
    expected = permeability(mask, axis=1)
    for same in (np.asfortranarray(mask), mask.astype(np.uint8), mask.astype(float), mask.tolist(), locked):
        assert permeability(same, axis=1) == expected


def test_single_open_voxel_conducts():
    found = permeability(np.array([[[True, False]]]), axis=0, tolerance=1e-7)
    assert found.permeability == pytest.approx(0.5 * 2**2 / 12, rel=1e-6)


def test_unfinished_flow_says_so():
    mask = np.pad(np.ones((4, 3, 20), bool), ((0, 0), (0, 0), (1, 1)))
    found = permeability(mask, axis=0, max_iterations=25)
    assert (found.converged, found.iterations) == (False, 25)
    # It starts from rest.
    assert 0 < found.permeability < permeability(mask, axis=0).permeability


def test_threads_do_not_change_a_bit_of_the_flow(monkeypatch):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this process was started with one thread")
    monkeypatch.setattr(thread_shares, "SHARE", 1)
    mask, before = random_mask((33, 20, 21)), numba.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            found.append(permeability(mask, axis=0))
    finally:
        numba.set_num_threads(before)
    assert found[0] == found[1]


OPEN = np.ones((4, 4, 4), bool)
SLIT = np.broadcast_to((np.arange(4) != 2), (4, 4, 4))


@pytest.mark.parametrize(
    ("mask", "arguments", "sentence"),
    [
        (OPEN, {"axis": 0}, "without walls nothing resists"),
        (~OPEN, {"axis": 0}, "no voxel that conducts"),
        (SLIT, {"axis": 2}, r"does not connect the two faces across axis 2 \(x\)"),
        (SLIT * 2, {"axis": 0}, "other than 0 and 1"),
        (SLIT[0], {"axis": 0}, "3-D is accepted"),
        (SLIT, {"axis": 3}, "axis is 3"),
        (SLIT, {"axis": 0, "sides": "open"}, "sides is 'open'"),
        (SLIT, {"axis": 0, "tolerance": 1}, "tolerance is 1"),
        (SLIT, {"axis": 0, "max_iterations": 0}, "max_iterations is 0"),
        (SLIT, {"axis": 0, "voxel_size_um": (2, 1, 1)}, "cubes only"),
    ],
)
def test_flow_that_is_not_there_is_refused_with_a_sentence(mask, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        permeability(mask, **arguments)
