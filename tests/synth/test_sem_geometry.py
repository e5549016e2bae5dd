import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.registration import phase_cross_correlation

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


def quiet(**changes):
    """Nothing but geometry."""
    plain = {
        "tilt_deg": 40.0, "relief": 0.0, "edge": 0.0, "texture": 0.0, "blur_vox": 0.0, "shading": 0.0,
        "slice_gain": 0.0, "dose": 1e15, "read_noise": 0.0,
    }  # fmt: skip
    return FibsemSettings(**{**plain, **changes})


def bubbles(shape, seed=0):
    """Labels 0 to 2 in grains of some voxels."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3.0)
    return np.digitize(smooth, np.quantile(smooth, [0.4, 0.8])).astype(np.uint8)


@pytest.mark.parametrize("geometry", [{}, {"pixel_vox": 0.5}, {"bend_vox": 1.0, "uneven": 0.3}])
def test_picture_moves_by_the_drift_to_a_fraction_of_a_pixel(geometry):
    """As registration finds it in a structure that is the same in every slice; whole pixels would be off by 0.29."""
    labels = np.repeat(np.minimum(bubbles((1, 128, 128)), 1), 8, axis=0)
    settings = quiet(
        shine_through=0.0, blur_vox=1.0, edge=0.2, geometry=SliceGeometry(drift_px=0.6, jitter_px=0.6, **geometry)
    )
    image = fibsem_image(labels, settings, rng=1)
    fade = np.outer(np.hanning(image.shape[1]), np.hanning(image.shape[2]))
    pictures = [fade * (slice_ - slice_.mean()) for slice_ in image.grey]
    found = [
        phase_cross_correlation(picture, pictures[0], upsample_factor=100, normalization=None)[0]
        for picture in pictures
    ]
    drift = image.truth["drift_px"]
    assert np.ptp(drift) > 1
    np.testing.assert_allclose(found, drift - drift[0], atol=0.1)


def test_picture_between_voxels_is_linear():
    """Against scipy's own interpolation of the picture on the structure's grid, what lies in the pores included."""
    labels = bubbles((6, 40, 44))
    look = {"relief": 0.4, "rim": 0.2, "edge": 0.2, "edge_side": 0.5}
    still = fibsem_image(labels, quiet(**look), rng=0).grey
    geometry = SliceGeometry(pixel_vox=0.8, drift_px=1.0, jitter_px=0.7, foreshortened=True)
    image = fibsem_image(labels, quiet(geometry=geometry, **look), rng=0)
    _, height, width = image.voxel_scale
    for k in range(6):
        y = (np.arange(image.shape[1]) + 0.5 - image.truth["drift_px"][k, 0]) * height - 0.5
        x = (np.arange(image.shape[2]) + 0.5 - image.truth["drift_px"][k, 1]) * width - 0.5
        expected = ndimage.map_coordinates(still[k], np.meshgrid(y, x, indexing="ij"), order=1)
        inside = np.ix_((y > 8) & (y < 31), (x > 8) & (x < 35))
        np.testing.assert_allclose(image.grey[k][inside], expected[inside], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_face_has_the_grey_of_its_label_with_every_departure_at_once(seed):
    rng = np.random.default_rng(seed)
    geometry = SliceGeometry(
        slice_vox=rng.uniform(0.4, 2), pixel_vox=rng.uniform(0.4, 0.75), foreshortened=bool(seed % 2), uneven=0.4,
        bend_vox=3.0, bend_slices=8.0, drift_px=1.0, creep_y_px=rng.uniform(-1, 1), jitter_px=1.0,
    )  # fmt: skip
    image = fibsem_image(bubbles((30, 50, 50), seed), quiet(geometry=geometry, face_grey=(0.5, 0.9)), rng=seed)
    for phase, grey in ((1, 0.5), (2, 0.9)):
        # A pixel, here of 0.4 voxels or more, sees half a voxel to each side; a bent cut may be in another layer there.
        alone = ndimage.binary_erosion(image.labels == phase, np.ones((1, 7, 7)))
        assert alone.sum() > 300
        np.testing.assert_allclose(image.grey[alone], grey, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_what_has_been_milled_away_does_not_come_back(seed):
    slices = plan((200, 3, 3), seed=seed, uneven=0.8, bend_vox=20.0, bend_slices=5.0)
    v, u = np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0])
    bend = slices.bend_vox[:, :, None, None]
    depth = slices.z[:, None, None] + bend[:, 0] * v + bend[:, 1] * u + bend[:, 2] * (v**2 + u**2)
    assert (np.diff(depth, axis=0) > 0).all()
    assert np.ptp(slices.bend_vox) > 1


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
