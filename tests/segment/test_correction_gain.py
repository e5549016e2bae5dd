import numpy as np
import pytest
from scipy import ndimage
from scipy.special import ndtri

from segment.correction import estimate_gain, undo_gain


def porous(n=20, *, porosity=0.4, seed=0, noise=0.05):
    """Blobs of two grey values; `porosity` may change along z."""
    rng = np.random.default_rng(seed)
    shape = (n, 112, 112)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 4, mode="wrap")
    limit = ndtri(np.broadcast_to(np.asarray(porosity, float), n))[:, None, None]
    grey = np.where(field / field.std() > limit, 0.7, 0.2)
    return (ndimage.gaussian_filter(grey, (0, 0.7, 0.7)) + noise * rng.standard_normal(shape)).astype(np.float32)


def worst(out, clean):
    """Return the rms over the slices of the mean error at the brightest and at the darkest tenth of the pixels."""
    errors = []
    for low, high in ((0, 10), (90, 100)):
        limits = np.percentile(clean, [low, high])
        inside = (clean >= limits[0]) & (clean <= limits[1])
        error = np.array([(o - c)[i].mean() for o, c, i in zip(out, clean, inside, strict=True)])
        errors.append(float(error.std()))
    return max(errors)


@pytest.mark.parametrize(("gain", "offset"), [(0.04, 0), (0, 0.03), (0.03, 0.02)])
def test_gain_and_offset_of_every_slice_are_recovered(gain, offset):
    clean = porous()
    rng = np.random.default_rng(1)
    gains, offsets = np.exp(gain * rng.standard_normal(20)), offset * rng.standard_normal(20)
    stack = (gains[:, None, None] * clean + offsets[:, None, None]).astype(np.float32)
    estimate = estimate_gain(stack)
    assert estimate.found
    out = undo_gain(stack, estimate.gain, estimate.offset)
    assert worst(stack, clean) > 0.015
    assert worst(out, clean) < 0.005


def test_a_change_of_porosity_along_z_is_not_washed_out():
    clean = porous(porosity=np.linspace(0.15, 0.8, 20))
    # Matching the means would change the contrast by half.
    assert np.ptp(clean.mean(axis=(1, 2))) / clean.mean() > 0.4
    estimate = estimate_gain(clean)
    assert not estimate.found
    assert np.abs(estimate.gain - 1).max() < 0.02


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_a_steady_stack_needs_no_gain(seed, noise):
    assert not estimate_gain(porous(seed=seed, noise=noise)).found


def test_slices_without_pores_follow_their_faces():
    rng = np.random.default_rng(0)
    grain = ndimage.gaussian_filter(rng.standard_normal((10, 64, 64)), (0, 1, 1))
    clean = (0.7 + 0.1 * grain + 0.03 * rng.standard_normal(grain.shape)).astype(np.float32)
    gains = np.exp(0.05 * rng.standard_normal(10))
    estimate = estimate_gain(gains[:, None, None] * clean)
    np.testing.assert_allclose(estimate.gain / estimate.gain.mean(), gains / gains.mean(), rtol=0.005)
    np.testing.assert_allclose(estimate.offset, 0, atol=1e-6)


def test_undoing_gain_and_offset_inverts_them():
    clean = porous(4)
    gain, offset = np.array([1, 1.1, 0.9, 1]), np.array([0, 0.1, -0.1, 0])
    stack = gain[:, None, None] * clean + offset[:, None, None]
    np.testing.assert_allclose(undo_gain(stack, gain, offset), clean, atol=1e-6)


@pytest.mark.parametrize(
    ("gain", "offset", "message"),
    [
        ([1, 2, 3], 0, r"gain has shape \(3,\); give one number for each of the 4 slices"),
        (1, [1, 2], "offset has shape"),
        ([1, 1, 0, 1], 0, "not above 0"),
        (1, [0, 0, np.nan, 0], "not finite"),
    ],
)
def test_gains_that_do_not_fit_are_refused(gain, offset, message):
    with pytest.raises(ValueError, match=message):
        undo_gain(porous(4), gain, offset)


def test_one_slice_has_no_gain_to_be_compared():
    with pytest.raises(ValueError, match="at least 2 × 32 × 32"):
        estimate_gain(porous(1))
