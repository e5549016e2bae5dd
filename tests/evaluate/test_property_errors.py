"""Errors of properties that follow from labels, against properties known or measured alone."""

import numpy as np
import pytest

from evaluate import minkowski
from evaluate.property_agreement import PropertyError, property_errors


def channels(width, shape=(10, 16, 16)):
    """Solid with two straight pores along z."""
    labels = np.ones(shape, np.uint8)
    labels[:, 3 : 3 + width, 2:14] = 0
    labels[:, 10:12, 2:14] = 0
    return labels


def test_truth_has_no_error():
    errors = property_errors(channels(3), channels(3))
    for error in (errors.volume_fraction, errors.specific_surface, errors.mean_curvature, errors.euler_density):
        assert (error.error, error.absolute, error.predicted) == (0, 0, error.true)
    assert errors.tortuosity is None
    assert errors.no_tortuosity == "not asked for"


@pytest.mark.parametrize("size", [None, (0.3, 0.1, 0.2)])
@pytest.mark.parametrize("phase", [0, 1, 2])
def test_errors_are_those_of_the_measurements(size, phase):
    rng = np.random.default_rng(0)
    prediction, truth = rng.integers(0, 3, (2, 8, 9, 10))
    errors = property_errors(prediction, truth, phase=phase, voxel_size_um=size)
    found, true = (minkowski(labels == phase, voxel_size_um=size) for labels in (prediction, truth))
    for name in ("volume_fraction", "specific_surface", "mean_curvature", "euler_density"):
        error = getattr(errors, name)
        assert (error.predicted, error.true) == (getattr(found, name), getattr(true, name))
    assert (errors.phase, errors.unit) == (phase, "voxel" if size is None else "um")


def test_porosity_error_is_the_pore_gained_and_knows_its_sign():
    wider, true = channels(4), channels(3)
    gained = 12 / 256
    forth, back = property_errors(wider, true).volume_fraction, property_errors(true, wider).volume_fraction
    assert forth.error == pytest.approx(gained)
    assert back.error == pytest.approx(-gained)
    assert forth.absolute == back.absolute == pytest.approx(gained)
    assert forth.relative == pytest.approx(gained / (60 / 256))


def test_relative_error_of_nothing_is_none():
    assert PropertyError(0.2, 0.0).relative is None
    assert PropertyError(-1.0, -2.0).relative == 0.5
    absent = property_errors(np.ones((4, 4, 4), int), np.ones((4, 4, 4), int), tortuosity_axis=0)
    assert (absent.volume_fraction.true, absent.volume_fraction.relative) == (0, None)
    assert absent.tortuosity is None
    assert absent.no_tortuosity


def test_tortuosity_of_straight_channels_is_one_and_of_blocked_ones_none():
    pytest.importorskip("evaluate.transport")
    straight = property_errors(channels(4), channels(3), tortuosity_axis=0)
    assert straight.tortuosity.true == pytest.approx(1, abs=1e-3)
    assert straight.tortuosity.absolute == pytest.approx(0, abs=2e-3)
    assert straight.no_tortuosity == ""
    blocked = channels(3)
    blocked[5] = 1
    for pair, culprit in (((blocked, channels(3)), "prediction"), ((channels(3), blocked), "truth")):
        errors = property_errors(*pair, tortuosity_axis=0)
        assert errors.tortuosity is None
        assert errors.no_tortuosity.startswith(f"of the {culprit}: ")


@pytest.mark.parametrize(
    ("prediction", "options", "message"),
    [
        (channels(3)[1:], {}, "must be equal"),
        (channels(3) * 0.5, {}, "fractional"),
        (channels(3), {"phase": -1}, "phase"),
        (channels(3), {"tortuosity_axis": 3}, "tortuosity_axis"),
        (channels(3), {"voxel_size_um": (0, 1, 1)}, "positive"),
        (channels(3)[0], {}, "3-D"),
    ],
)
def test_properties_that_cannot_be_compared_are_refused(prediction, options, message):
    with pytest.raises(ValueError, match=message):
        property_errors(prediction, channels(3), **options)
