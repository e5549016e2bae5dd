import math

import numpy as np
import pytest

from synth.laws import Uniform
from synth.sem import FibsemSettings, SliceGeometry, fibsem_image
from synth.sem.geometry import plan_slices, reflected


def plan(shape=(40, 30, 20), tilt_deg=52.0, seed=0, **geometry):
    return plan_slices(shape, SliceGeometry(**geometry), tilt_deg=tilt_deg, rng=np.random.default_rng(seed))


def labels_of(labels, tilt_deg=52.0, seed=0, **geometry):
    settings = FibsemSettings(tilt_deg=tilt_deg, geometry=SliceGeometry(**geometry))
    return fibsem_image(labels, settings, rng=seed)


def noise(shape=(24, 22, 20), seed=0):
    return np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)


def mirrored(labels, *points):
    """Labels at points of an endlessly mirrored volume."""
    index = []
    for point, n in zip(points, labels.shape, strict=True):
        i = np.floor(point).astype(int) % (2 * n)
        index.append(np.where(i < n, i, 2 * n - 1 - i))
    return labels[tuple(np.broadcast_arrays(*index))]


def test_without_departures_pixels_are_voxels():
    slices = plan_slices((4, 5, 6), None, tilt_deg=52.0, rng=np.random.default_rng(0))
    assert slices.shape == (4, 5, 6)
    assert slices.scale == (1.0, 1.0, 1.0)
    assert np.array_equal(slices.z, np.arange(4))
    assert not slices.drift_px.any()
    assert not slices.bend_vox.any()


@pytest.mark.parametrize("index", range(-15, 20))
def test_reflection_is_that_of_numpys_symmetric_padding(index):
    assert reflected(index, 4) == np.pad(np.arange(4), 20, mode="symmetric")[index + 20]
    assert reflected(index, 1) == 0


@pytest.mark.parametrize(
    ("geometry", "shape", "scale"),
    [
        ({"slice_vox": 3.0}, (13, 30, 20), (3.0, 1.0, 1.0)),
        ({"pixel_vox": 2.5}, (40, 12, 8), (1.0, 2.5, 2.5)),
        ({"pixel_vox": 0.5}, (40, 60, 40), (1.0, 0.5, 0.5)),
        ({"foreshortened": True}, (40, 18, 20), (1.0, 1 / math.cos(math.radians(52.0)), 1.0)),
        ({"slice_vox": 100.0, "pixel_vox": 100.0}, (1, 1, 1), (100.0, 100.0, 100.0)),
    ],
)
def test_as_many_slices_and_pixels_as_fit(geometry, shape, scale):
    slices = plan(**geometry)
    assert slices.shape == shape
    assert slices.scale == pytest.approx(scale)


def test_thick_slices_and_coarse_pixels_take_every_nth_voxel():
    labels = noise()
    assert np.array_equal(labels_of(labels, slice_vox=2.0).labels, labels[::2])
    # The centre of a pixel of 3 voxels is that of its middle one.
    assert np.array_equal(labels_of(labels, pixel_vox=3.0).labels, labels[:, 1:21:3, 1:18:3])


def test_foreshortened_rows_are_those_of_the_tilted_camera():
    labels = noise((6, 60, 10))
    # A row is three voxels high: its centre lies in the middle one.
    image = labels_of(labels, foreshortened=True, tilt_deg=math.degrees(math.acos(1 / 3)))
    assert np.array_equal(image.labels, labels[:, 1::3])
    assert image.truth["foreshortening"] == pytest.approx(1 / 3)
    assert image.voxel_scale == pytest.approx((1.0, 3.0, 1.0))


def test_creeping_sample_moves_by_its_drift_towards_larger_pixels():
    labels = noise((10, 40, 40))
    image = labels_of(labels, creep_y_px=2.0, creep_x_px=-1.0)
    assert np.array_equal(image.truth["drift_px"], np.outer(np.arange(10), [2.0, -1.0]))
    for k in range(10):
        # What was at (y, x) is now at (y + 2k, x - k).
        assert np.array_equal(image.labels[k, 2 * k :, : 40 - k], labels[k, : 40 - 2 * k, k:])


def test_drift_is_a_random_walk_from_0_and_jitter_is_not():
    n = 4000
    walk = plan((n, 3, 3), drift_px=0.3).drift_px
    assert not walk[0].any()
    assert np.diff(walk, axis=0).std() == pytest.approx(0.3, rel=4 / (4 * n) ** 0.5)
    jitter = plan((n, 3, 3), jitter_px=0.3).drift_px
    assert jitter.std() == pytest.approx(0.3, rel=4 / (4 * n) ** 0.5)
    assert abs((jitter[1:] * jitter[:-1]).mean()) < 4 * 0.3**2 / (2 * n) ** 0.5


def test_uneven_slices_keep_their_order_and_their_mean():
    n = 4000
    z = plan((2 * n, 3, 3), slice_vox=2.0, uneven=0.4).z
    thickness = np.diff(z)
    assert len(z) == n
    assert (thickness > 0).all()
    assert np.log(thickness).std() == pytest.approx(0.4, rel=4 / (2 * n) ** 0.5)
    # The last slice ends where the structure does.
    assert z[-1] < 2 * n
    assert z[-1] > 2 * n - 2 * math.exp(4 * 0.4)


def test_bend_has_its_deviation_at_the_corners_and_changes_slowly():
    n = 40_000
    bend = plan((n, 3, 3), bend_vox=2.0, bend_slices=20.0).bend_vox
    corner = bend @ [1, -1, 2]
    # A series that decays over 20 slices holds about one independent number in 20 sqrt(pi / 2) slices.
    independent = n / (20 * math.sqrt(math.pi / 2))
    assert corner.std() == pytest.approx(2.0, rel=4 / (2 * independent) ** 0.5)
    assert (corner[20:] * corner[:-20]).mean() / 4 == pytest.approx(math.exp(-1), abs=4 / independent**0.5)
    assert np.abs(np.diff(corner)).max() < 1
    still = plan((5, 3, 3), bend_vox=2.0, bend_slices=1e6).bend_vox
    assert np.ptp(still, axis=0).max() == 0
    assert still.any()


@pytest.mark.parametrize("seed", range(3))
def test_label_of_a_pixel_is_that_of_the_voxel_at_its_centre(seed):
    """From what the truth says, with every departure at once; beyond the volume it goes on as its mirror image."""
    labels = noise()
    departures = {"uneven": 0.3, "bend_vox": 2.0, "drift_px": 1.0, "creep_y_px": 0.7, "jitter_px": 0.5}
    image = labels_of(labels, seed=seed, slice_vox=1.3, pixel_vox=0.8, foreshortened=True, **departures)
    _, rows, columns = image.shape
    _, height, width = image.voxel_scale
    drift, bend = image.truth["drift_px"][:, :, None, None], image.truth["bend_vox"][:, :, None, None]
    i, j = np.arange(rows)[:, None] + 0.5, np.arange(columns) + 0.5
    v, u = 2 * i / rows - 1, 2 * j / columns - 1
    z = image.truth["slice_z"][:, None, None] + bend[:, 0] * v + bend[:, 1] * u + bend[:, 2] * (v**2 + u**2)
    expected = mirrored(labels, z, (i - drift[:, 0]) * height, (j - drift[:, 1]) * width)
    # A centre within rounding of a voxel's border may fall to either side.
    assert (expected != image.labels).mean() < 1e-4


@pytest.mark.parametrize(
    "wrong",
    [
        {"slice_vox": 0.0}, {"slice_vox": math.nan}, {"pixel_vox": -1.0}, {"pixel_vox": 1e9}, {"uneven": -0.1},
        {"uneven": 2.0}, {"bend_vox": -1.0}, {"bend_slices": 1.0}, {"drift_px": math.inf}, {"jitter_px": -0.1},
        {"creep_x_px": "fast"}, {"creep_y_px": Uniform(-1000.0, 0.0)}, {"foreshortened": 1},
    ],
)  # fmt: skip
def test_geometry_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*give"):
        SliceGeometry(**wrong)
