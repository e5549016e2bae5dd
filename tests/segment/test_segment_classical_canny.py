import numpy as np
import pytest
from scipy import ndimage

from segment.classical import canny


def _discs(size=48):
    """Two discs of the phases 1 and 2 on phase 0, well apart, one cut by the border; the same in three slices."""
    y, x = np.indices((size, size))
    truth = np.zeros((3, size, size), np.uint8)
    truth[:, (y - 12) ** 2 + (x - 12) ** 2 < 64] = 1
    truth[:, (y - 34) ** 2 + (x - size) ** 2 < 100] = 2
    return truth


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("n_phases", [2, 3])
def test_phantom_without_blur_is_recovered_exactly(n_phases, dtype):
    truth = np.minimum(_discs(), n_phases - 1)
    grey = np.array([20, 70, 120])[truth].astype(dtype)
    np.testing.assert_array_equal(canny(grey, n_phases=n_phases, median_size=1), truth)


def test_speckles_inside_an_outline_take_the_phase_of_its_region():
    truth = np.minimum(_discs(), 1)
    grey = 50.0 + 100 * truth
    # As bright as the threshold lets pass, but spread: smoothed, their edges are too weak to be one.
    grey[:, 40:46:3, 4:20:5] = 104
    grey[:, 12, 12] = 96
    found = canny(grey, median_size=1, sigma_px=2)
    np.testing.assert_array_equal(found[:, 38:, :24], truth[:, 38:, :24])
    assert (found[:, 12, 12] == 1).all()


def test_outlines_follow_noisy_discs_to_a_pixel():
    truth = np.minimum(_discs(), 1)
    rng = np.random.default_rng(0)
    grey = ndimage.gaussian_filter(100.0 * truth, (0, 1, 1)) + rng.normal(0, 10, truth.shape)
    wrong = canny(grey) != truth
    inner, outer = (change(truth, np.ones((1, 5, 5))) for change in (ndimage.binary_erosion, ndimage.binary_dilation))
    border = outer & ~inner
    assert not wrong[:, 3:-3, 3:-3][~border[:, 3:-3, 3:-3]].any()
    assert wrong[border].mean() < 0.25


@pytest.mark.parametrize("sigma_px", [0, -1, 21, np.nan])
def test_gaussian_of_no_width_is_refused(sigma_px):
    with pytest.raises(ValueError, match=r"from 0.1 to 20"):
        canny(_discs(), sigma_px=sigma_px)


@pytest.mark.parametrize(
    ("grey", "reason"),
    [(np.ones((3, 3, 3)), "constant"), (np.full((3, 3, 3), np.nan), "NaN"), (np.zeros((3, 3)), "shape")],
)
def test_what_is_no_grey_volume_is_refused(grey, reason):
    with pytest.raises(ValueError, match=reason):
        canny(grey)
