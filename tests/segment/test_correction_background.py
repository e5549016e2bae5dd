import numpy as np
import pytest
from scipy import ndimage
from scipy.special import ndtri

from segment.correction import estimate_background, undo_background


def porous(shape=(12, 128, 128), *, porosity=0.4, seed=0, noise=0.05, levels=(0.2, 0.7)):
    """Blobs of two grey values; `porosity` may change along y."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 4, mode="wrap")
    field /= field.std()
    limit = ndtri(np.broadcast_to(np.asarray(porosity, float), shape[1]))[:, None]
    grey = np.where(field > limit, levels[1], levels[0])
    return (ndimage.gaussian_filter(grey, (0, 0.7, 0.7)) + noise * rng.standard_normal(shape)).astype(np.float32)


def shading(shape, span=0.3, seed=0):
    turn = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    field = np.cos(turn) * y + np.sin(turn) * x + 0.3 * (x**2 + y**2) - 0.3 * x * y
    field = 1 + span * (field - field.mean()) / np.ptp(field)
    return (field / field.mean()).astype(np.float32)


def rms(a, b):
    return float(np.sqrt(np.mean((a / a.mean() - b / b.mean()) ** 2)))


@pytest.mark.parametrize("porosity", [0.1, 0.4, 0.7])
@pytest.mark.parametrize("seed", [0, 1])
def test_field_is_recovered_within_two_per_cent(porosity, seed):
    stack = porous(porosity=porosity, seed=seed)
    true = shading(stack.shape, seed=seed)
    estimate = estimate_background(stack * true)
    assert rms(np.ones_like(true), true) > 0.05
    assert rms(estimate.field, true) < 0.02
    assert estimate.found
    assert estimate.field.mean() == pytest.approx(1, abs=1e-5)


def test_a_gradient_of_the_porosity_is_no_background():
    stack = porous(porosity=np.linspace(0.15, 0.85, 128))
    means = ndimage.gaussian_filter(stack.mean(axis=0), 20)
    # What a flat field from the mean would take for one.
    assert means.std() / means.mean() > 0.1
    estimate = estimate_background(stack)
    assert rms(estimate.field, np.ones_like(estimate.field)) < 0.02
    assert not estimate.found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_an_even_stack_has_no_background(seed, noise):
    assert not estimate_background(porous(seed=seed, noise=noise)).found


@pytest.mark.parametrize("scale", [1, 255, 60000])
def test_the_field_does_not_depend_on_the_scale_of_the_grey_values(scale):
    stack = porous() * shading((1, 128, 128))
    plain, scaled = estimate_background(stack), estimate_background(scale * stack)
    np.testing.assert_allclose(scaled.field, plain.field, rtol=1e-3)


def test_undoing_a_field_gives_the_stack_back():
    stack = porous()
    stack -= stack.min()
    field = shading(stack.shape)
    np.testing.assert_allclose(undo_background(stack * field, field), stack, atol=1e-6)


def test_black_stays_where_it_is():
    stack = porous() - 1
    field = shading(stack.shape)
    darkest = np.unravel_index(np.argmin(stack), stack.shape)
    assert undo_background(stack, field)[darkest] == stack.min()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((3, 64, 64)),), "every grey value is 0"),
        ((np.random.default_rng(0).random((64, 64)),), r"shape \(64, 64\)"),
        ((np.random.default_rng(0).random((3, 16, 64)),), "at least 1 × 32 × 32"),
    ],
)
def test_stacks_that_cannot_be_used_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate_background(*arguments)


@pytest.mark.parametrize("degree", [0, 6, 2.5, "3"])
def test_a_degree_out_of_range_is_refused(degree):
    with pytest.raises(ValueError, match=r"degree is .*; give a whole number from 1 to 5"):
        estimate_background(porous((2, 40, 40)), degree=degree)


@pytest.mark.parametrize(
    ("field", "message"), [(np.ones((3, 3)), "give that of a slice"), (np.zeros((40, 40)), "not above 0")]
)
def test_a_field_that_does_not_fit_is_refused(field, message):
    with pytest.raises(ValueError, match=message):
        undo_background(porous((2, 40, 40)), field)
