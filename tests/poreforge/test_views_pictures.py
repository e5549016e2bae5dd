import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from poreforge.views import Look, phase_scene, render, render_phases, render_property, rotating_gif
from poreforge.views.rendering import camera_of

pytest.importorskip("pyvista")

PLAIN = {"ruler": False, "legend": False, "lit": False}


def ball(n, radius, centre):
    offsets = np.indices((n, n, n)) + 0.5 - np.array(centre)[:, None, None, None]
    return ((offsets**2).sum(axis=0) < radius**2).astype(np.uint8)


def is_colour(image, colour, tolerance=6):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.abs(image[..., :3].astype(int) - wanted).max(axis=-1) <= tolerance


def test_ball_is_a_disc_of_its_own_area_in_the_middle():
    look = Look(size_px=(300, 260), azimuth_deg=25, elevation_deg=35, **PLAIN)
    scene = phase_scene(ball(40, 14, (20, 20, 20)), colours=["#000000", "#d1495b"], cut="none")
    image = render(scene, look)
    scale = camera_of(scene, look)[0].pixels_per_length
    disc = is_colour(image, "#d1495b")
    # The digital ball's section is within a per cent of π r², the rim of half-covered pixels within two.
    assert disc.sum() == pytest.approx(np.pi * (14 * scale) ** 2, rel=0.03)
    rows, columns = np.nonzero(disc)
    assert (columns.mean(), rows.mean()) == pytest.approx((149.5, 129.5), abs=1)
    assert (image[0] == 255).all()


@pytest.mark.parametrize(
    ("azimuth", "elevation", "axis_right", "sign_right", "axis_up", "sign_up"),
    [(0, 0, 2, 1, 0, 1), (90, 0, 1, 1, 0, 1), (180, 0, 2, -1, 0, 1), (0, 90, 2, 1, 1, 1), (0, -90, 2, 1, 1, -1)],
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_object_at_the_far_end_of_an_axis_is_seen_where_that_axis_points(
    azimuth, elevation, axis_right, sign_right, axis_up, sign_up, axis
):
    labels = np.zeros((16, 16, 16), np.uint8)
    place = [slice(6, 10)] * 3
    place[axis] = slice(12, 16)
    labels[tuple(place)] = 1
    look = Look(size_px=(100, 100), azimuth_deg=azimuth, elevation_deg=elevation, finer=1, **PLAIN)
    image = render_phases(labels, cut="none", colours=["#ffffff", "#000000"], look=look)
    rows, columns = np.nonzero(is_colour(image, "#000000"))
    right, up = columns.mean() - 49.5, 49.5 - rows.mean()
    assert np.sign(round(right / 5)) == (sign_right if axis == axis_right else 0)
    assert np.sign(round(up / 5)) == (sign_up if axis == axis_up else 0)


def test_arrows_of_the_ruler_run_along_the_axes_of_the_picture():
    scene = phase_scene(np.ones((10, 20, 40), np.uint8), opacity={1: 1.0})
    camera, _ = camera_of(scene, Look())
    start, x, y, z = camera.project(np.array([[0, 0, 0], [40, 0, 0], [0, 20, 0], [0, 0, 10]]))
    assert x[0] > start[0]
    assert y[0] > start[0]
    assert z[1] < start[1]
    assert z[0] == pytest.approx(start[0])


def test_planes_of_three_phases_cover_the_picture_in_their_shares():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[:10], labels[10:15], labels[15:] = 1, 2, 3
    colours = ["#000000", "#fca311", "#2a9d8f", "#8d5a97"]
    look = Look(size_px=(200, 200), azimuth_deg=0, elevation_deg=0, **PLAIN)
    image = render_phases(labels, colours=colours, cut="none", look=look)
    shares = np.array([is_colour(image, colour).sum() for colour in colours[1:]])
    np.testing.assert_allclose(shares / shares.sum(), [0.5, 0.25, 0.25], atol=0.01)


def test_light_and_shade_change_brightness_not_the_phase():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[:, :, :10], labels[:, :, 10:] = 1, 2
    image = render_phases(labels, colours=["#000000", "#fca311", "#2a9d8f"], look=Look(size_px=(480, 400))).astype(int)
    red, green, blue = np.moveaxis(image, -1, 0)
    orange, teal = (red > green + 20) & (green > blue + 20), (green > red + 20) & (blue > red + 20)
    assert 0.1 < orange.mean() < 0.5
    assert 0.1 < teal.mean() < 0.5
    assert image[orange].std(axis=0).max() > 5


def test_phase_of_no_opacity_is_not_drawn_and_not_in_the_legend():
    labels = np.ones((8, 8, 8), np.uint8)
    labels[4:] = 2
    names = ("pore", "solid", "outside")
    assert [s.name for s in phase_scene(labels, phases=names).surfaces] == ["solid"]
    assert [s.name for s in phase_scene(labels, phases=names, with_unseen=True).surfaces] == ["solid", "outside"]


def test_half_transparent_phase_lets_the_one_behind_shine_through():
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[6:10, 6:10, 6:10] = 1
    labels[:, :3, :] = 2
    colours = ["#ffffff", "#ff0000", "#0000ff"]
    look = Look(size_px=(100, 100), azimuth_deg=0, elevation_deg=0, **PLAIN)
    middle = [
        render_phases(labels, colours=colours, cut="none", opacity={2: value}, look=look)[50, 50].astype(int)
        for value in (1.0, 0.4)
    ]
    assert middle[0].tolist() == [0, 0, 255]
    np.testing.assert_allclose(middle[1], [0.6 * 255, 0, 0.4 * 255], atol=3)


def test_half_transparent_phase_keeps_its_colour_on_a_transparent_background():
    look = Look(size_px=(100, 100), azimuth_deg=0, elevation_deg=0, background=None, **PLAIN)
    labels = np.ones((8, 8, 8), np.uint8)
    image = render_phases(labels, colours=["#000000", "#2040c0"], cut="none", opacity={1: 0.5}, look=look)
    np.testing.assert_allclose(image[50, 50], [0x20, 0x40, 0xC0, 128], atol=3)


def test_transparent_background_is_empty_and_the_object_opaque():
    look = Look(size_px=(120, 100), background=None, **PLAIN)
    image = render_phases(ball(16, 6, (8, 8, 8)), cut="none", look=look)
    assert image.shape == (100, 120, 4)
    assert image[0, 0, 3] == 0
    assert image[50, 60, 3] == 255


def test_legend_and_ruler_leave_the_margin_of_the_picture_blank():
    image = render_phases(np.ones((8, 20, 20), np.uint8), voxel_size_um=(0.125, 0.5, 0.5), opacity={1: 1.0})
    assert (image < 200).any()
    edge = np.concatenate([image[:2].reshape(-1, 3), image[-2:].reshape(-1, 3), image[:, :2].reshape(-1, 3)])
    assert (edge == 255).all()
    assert (image[:, -2:] == 255).all()


def test_property_picture_shows_the_colours_of_its_bar():
    objects = np.zeros((10, 10, 24), np.uint8)
    objects[2:8, 2:8, 2:8], objects[2:8, 2:8, 16:22] = 1, 2
    look = Look(size_px=(240, 100), azimuth_deg=0, elevation_deg=0, **PLAIN)
    image = render_property(objects, [1.0, 2.0], name="size", cut="none", look=look)
    left, right = is_colour(image[:, :120], "#440154"), is_colour(image[:, 120:], "#fde725")
    assert left.sum() == pytest.approx(right.sum(), rel=0.05)
    assert left.sum() > 100


def test_gif_turns_once_and_loops():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[4:8, 4:8, 9:12] = 1
    scene = phase_scene(labels, colours=["#ffffff", "#000000"], cut="none")
    look = Look(size_px=(96, 80), azimuth_deg=0, elevation_deg=0, finer=1, **PLAIN)
    data = rotating_gif(scene, look, frames=4, seconds=2)
    turning = Image.open(io.BytesIO(data))
    assert (turning.n_frames, turning.info["loop"], turning.info["duration"]) == (4, 0, 500)
    columns = []
    for k in range(4):
        turning.seek(k)
        frame = np.asarray(turning.convert("RGB"))
        assert (frame[0] == 255).all()
        columns.append(np.nonzero(is_colour(frame, "#000000"))[1].mean() - 47.5)
    # At the right, then towards the back or the front, at the left, and back.
    assert columns[0] > 15
    assert columns[2] < -15
    np.testing.assert_allclose([columns[1], columns[3]], 0, atol=1)


def test_same_scene_gives_the_same_picture():
    labels = ball(16, 6, (8, 8, 8))
    look = Look(size_px=(96, 80))
    np.testing.assert_array_equal(render_phases(labels, look=look), render_phases(labels, look=look))


def test_without_pyvista_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(ValueError, match=r"pip install 'poreforge\[pictures\]'"):
        render_phases(np.ones((4, 4, 4), np.uint8))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size_px": (10, 100)}, "size_px is 10"),
        ({"elevation_deg": 100}, "from -90 to 90"),
        ({"azimuth_deg": np.nan}, "finite azimuth"),
        ({"finer": 9}, "finer"),
        ({"background": (0, 0, 300)}, "background"),
    ],
)
def test_bad_look_is_refused_in_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Look(**settings)


@pytest.mark.parametrize("arguments", [{"frames": 1}, {"seconds": 0}, {"seconds": np.nan}])
def test_bad_turn_is_refused_in_one_sentence(arguments):
    with pytest.raises(ValueError, match=r"frames|seconds"):
        rotating_gif(phase_scene(np.ones((4, 4, 4), np.uint8)), **arguments)


def test_drawing_says_nothing_on_a_machine_without_a_display():
    code = "import numpy as np; from poreforge.views import render_phases; render_phases(np.ones((4, 4, 4), np.uint8))"
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
