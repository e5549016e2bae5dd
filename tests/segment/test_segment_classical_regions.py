import numpy as np
import pytest
from scipy import ndimage

from segment.classical import UNKNOWN, confident_markers, random_walker, watershed
from segment.thresholds import multi_otsu
from volume import Volume

LEVELS = (10, 60, 110)
METHODS = [watershed, random_walker]


def _ball(size=20, radius=6.0):
    centre = np.indices((size,) * 3) - (size - 1) / 2
    return (np.sum(centre**2, 0) > radius**2).astype(np.uint8)


def _layers(order=(0, 1, 2, 0)):
    """Layers 8 voxels thick along x; the last two meet without the phase between them."""
    return np.broadcast_to(np.repeat(np.array(order, np.uint8), 8), (6, 8, 8 * len(order)))


def _grey(labels, blur=0.0):
    sharp = np.array(LEVELS, np.float64)[labels]
    return ndimage.gaussian_filter(sharp, blur, mode="nearest") if blur else sharp


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("truth", "n_phases"), [(_ball(), 2), (_layers(), 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16])
def test_phantom_without_blur_is_recovered_exactly(method, truth, n_phases, dtype):
    found = method(_grey(truth).astype(dtype), n_phases=n_phases, median_size=1)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("method", METHODS)
def test_blurred_walls_are_put_where_they_were(method):
    truth = _layers((0, 1, 0, 1))
    markers = confident_markers(_grey(truth, 1.5))
    assert (markers == UNKNOWN).any()
    np.testing.assert_array_equal(method(_grey(truth, 1.5)), truth)


@pytest.mark.parametrize("method", METHODS)
def test_blur_between_dark_and_bright_makes_no_shell_of_the_phase_between(method):
    truth = _layers()
    grey = _grey(truth, 1.0)
    contact = (slice(None), slice(None), slice(20, 28))
    assert (multi_otsu(grey, n_phases=3, median_size=1)[contact] == 1).any()
    found = method(grey, n_phases=3, median_size=1)
    assert not (found[contact] == 1).any()
    np.testing.assert_array_equal(found, truth)


# A flood with a gradient of one voxel's scale rounds a ball's corners off; at a plane wall it does not.
@pytest.mark.parametrize(
    ("method", "truth", "inside"),
    [(watershed, _layers((1, 0)), (3, 4, 13)), (random_walker, _ball(12, 4.0), (6, 6, 6))],
)
def test_two_markers_claim_what_the_wall_between_them_encloses(method, truth, inside):
    markers = np.full(truth.shape, UNKNOWN, np.uint8)
    markers[inside], markers[0, 0, 0] = 0, 1
    np.testing.assert_array_equal(method(_grey(truth), markers=markers, median_size=1), truth)


@pytest.mark.parametrize("method", METHODS)
def test_markers_keep_their_phase_whatever_the_grey_value(method):
    truth = _ball(12, 4.0)
    markers = truth.copy()
    markers[0] = UNKNOWN
    markers[5, 5, 5] = 1
    assert method(Volume(_grey(truth)), markers=markers)[5, 5, 5] == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_single_slice_is_a_volume_too(method):
    truth = _ball()[10:11]
    np.testing.assert_array_equal(method(_grey(truth), median_size=1), truth)


def test_markers_are_never_wrong_on_a_blurred_phantom():
    truth = _layers()
    markers = confident_markers(_grey(truth, 1.0), n_phases=3)
    sure = markers != UNKNOWN
    assert 0.6 < sure.mean() < 1
    np.testing.assert_array_equal(markers[sure], truth[sure])


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"markers": np.zeros((2, 2, 2), np.uint8)}, r"the volume's shape, \(12, 12, 12\)"),
        ({"markers": np.zeros((12, 12, 12))}, "float64"),
        ({"markers": np.zeros((12, 12, 12), np.uint8)}, r"phases \[0\]; name each from 0 to 1"),
        ({"markers": np.full((12, 12, 12), -1)}, r"phases \[-1\]"),
        ({"n_phases": 3}, "2 different grey values for 3 phases"),
        ({"n_phases": 1}, "from 2 to 255"),
        ({"median_size": 2}, "odd"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_choices_that_do_not_fit_are_refused(method, choice, reason):
    with pytest.raises(ValueError, match=reason):
        method(_grey(_ball(12, 4.0)), **{"median_size": 1, **choice})


@pytest.mark.parametrize("beta", [0, -1, np.nan, np.inf])
def test_walks_that_steps_do_not_hinder_are_refused(beta):
    with pytest.raises(ValueError, match="above 0"):
        random_walker(_grey(_ball(12, 4.0)), beta=beta)


@pytest.mark.parametrize("method", [*METHODS, confident_markers])
@pytest.mark.parametrize(
    ("grey", "reason"),
    [(np.ones((3, 3, 3)), "constant"), (np.full((3, 3, 3), np.nan), "NaN"), (np.zeros((3, 3)), "shape")],
)
def test_what_is_no_grey_volume_is_refused(method, grey, reason):
    with pytest.raises(ValueError, match=reason):
        method(grey)
