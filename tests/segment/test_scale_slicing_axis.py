import numpy as np
import pytest

import synth
from segment.slicing_axis import slicing_axis
from synth.sem.presets import FIBSEM_PRESETS


@pytest.fixture(scope="module")
def labels():
    return synth.sphere_pack((56, 60, 64), porosity=0.5, diameter_vox=14, rng=3).labels


@pytest.mark.parametrize("preset", ["default", "pfib-catalyst-layer", "fibsem-catalyst-layer", "fibsem-sofc"])
def test_slicing_direction_of_a_fibsem_is_found_in_every_order_of_axes_despite_curtains(labels, preset):
    grey = np.asarray(synth.fibsem(labels, FIBSEM_PRESETS[preset], rng=0))
    assert [slicing_axis(np.moveaxis(grey, 0, axis)) for axis in range(3)] == [0, 1, 2]
    scaled = 1000 - 7 * grey
    assert slicing_axis(scaled) == 0


def test_tomogram_and_slices_that_were_evened_out_have_none(labels):
    assert slicing_axis(np.asarray(synth.xray_ct(labels, rng=0))) is None
    assert slicing_axis(np.asarray(synth.fibsem(labels, FIBSEM_PRESETS["blender"], rng=0))) is None


def test_stripes_and_noise_are_no_slices():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (40, 48, 56))
    assert slicing_axis(noise) is None
    # Each slice has its own stripes along y, over its upper half.
    stripes = np.where(np.arange(48)[:, None] < 24, rng.normal(0, 1, (40, 1, 56)), 0)
    assert slicing_axis(noise + stripes) is None
    assert slicing_axis(noise + rng.normal(0, 0.3, (1, 48, 1))) == 1


def test_jump_is_its_own_size_in_standard_deviations():
    """Just above and just below what counts."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (100, 100, 100))
    # Changes of changes: the weights 1, -2, 1 make a variance of six.
    gain = rng.normal(0, 1, (100, 1, 1)) / 6**0.5
    assert slicing_axis(noise + 0.06 * gain) == 0
    assert slicing_axis(noise + 0.015 * gain) is None


@pytest.mark.parametrize("shape", [(23, 64, 64), (64, 64, 1), (64, 64)])
def test_volume_that_is_too_small_to_tell_has_none(shape):
    assert slicing_axis(np.random.default_rng(0).random(shape) + np.arange(shape[-1])) is None


def test_constant_volume_has_none():
    assert slicing_axis(np.ones((30, 30, 30))) is None
