import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from poreforge.outputs import write_summary
from poreforge.report import Figure, Picture, Section, Table, write_report
from poreforge.report.figures import curves, error_map, label_image, mosaic, picture
from poreforge.scores import SCORES, score_segmentation


@pytest.fixture
def halves():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:, 4:] = 1
    return labels


def _png_size(figure):
    return tuple(int.from_bytes(figure.png[start : start + 4], "big") for start in (16, 20))


# Pictures


def test_colours_of_labels_differ_and_repeat_never_within_eight_phases():
    colours = label_image(np.arange(8).reshape(2, 4))
    assert colours.shape == (2, 4, 3)
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 8


def test_error_map_has_four_colours_for_the_four_cases():
    truth, prediction = np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 0]])
    found = error_map(prediction, truth)
    assert len(np.unique(found.reshape(-1, 3), axis=0)) == 4
    right = error_map(truth, truth)
    np.testing.assert_array_equal(right[0, :2], found[0, [0, 0]])
    np.testing.assert_array_equal(right[0, 2:], found[0, [2, 2]])


def test_picture_is_a_png_of_the_grey_values_between_its_limits():
    shown = picture(np.array([[0.0, 0.5, 1.0, 2.0]]), "t", limits=(0, 1))
    assert base64.b64decode(shown.source.split(",")[1]) == shown.png
    pixels = np.asarray(Image.open(io.BytesIO(shown.png)))
    np.testing.assert_array_equal(pixels, [[0, 128, 255, 255]])


def test_picture_of_labels_has_one_colour_a_phase():
    labels = np.array([[0, 1, 2], [2, 1, 0]])
    pixels = np.asarray(Image.open(io.BytesIO(picture(label_image(labels), "t").png)))
    assert pixels.shape == (2, 3, 3)
    assert len({tuple(c) for c in pixels.reshape(-1, 3)}) == 3
    np.testing.assert_array_equal(pixels[0], pixels[1, ::-1])


def test_mosaic_holds_each_picture_in_its_place():
    shades = [picture(np.full((2, 3), value), "t", limits=(0, 1)) for value in (0.0, 0.2, 0.4, 0.6)]
    joined = np.asarray(Image.open(io.BytesIO(mosaic(shades, columns=2, scale=2, gap=1))))[..., 0]
    assert joined.shape == (2 * 4 + 1, 2 * 6 + 1)
    assert [joined[0, 0], joined[0, -1], joined[-1, 0], joined[-1, -1]] == [0, 51, 102, 153]
    assert (joined[4] == 255).all()
    assert (joined[:, 6] == 255).all()


def test_drawing_leaves_no_open_figure_behind():
    import matplotlib.pyplot as plt

    curves({"a": (np.arange(3), np.arange(3))}, x_label="x", y_label="y", caption="c", alt="a")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("shape", [(4000, 2), (2, 4000), (50, 50)])
def test_picture_of_any_proportion_stays_within_a_page(shape):
    size = _png_size(picture(np.zeros(shape), "t"))
    assert max(size) <= 768
    assert min(size) >= 1


# The page


def test_report_shows_all_that_it_is_given(tmp_path, self_contained_page):
    figure = curves(
        {"a": (np.arange(3), np.arange(3))}, x_label="x", y_label="y", caption="A curve.", alt="rising line"
    )
    table = Table("Numbers.", ["score", "one", "two"], [["IoU", "0.5", "0.9"]], [frozenset({2})])
    sections = [Section("First", ["A paragraph."], [figure]), Section("Second", tables=[table])]
    path = write_report(tmp_path / "new" / "report.html", "A title", sections, facts={"Seed": "3"})
    page = self_contained_page(path)
    text = "".join(page.text)
    for piece in ("A title", "First", "A paragraph.", "A curve.", "Second", "Numbers.", "IoU", "0.5", "Seed", "3"):
        assert piece in text
    assert ("img", {"src": figure.pictures[0].source, "alt": "rising line"}) in page.tags
    assert [attributes.get("class") for tag, attributes in page.tags if tag == "td"] == [None, "best"]
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["#section-1", "#section-2"]
    assert {link[1:] for link in links} <= targets


def test_text_of_a_report_is_never_markup(tmp_path, self_contained_page):
    evil = "<img src=x onerror=alert(1)>\"'&"
    section = Section(
        evil, [evil], [Figure([Picture(b"\x89PNG\r\n\x1a\n", evil, evil)], evil)], [Table(evil, [evil], [[evil, evil]])]
    )
    page = self_contained_page(write_report(tmp_path / "report.html", evil, [section], facts={evil: evil}))
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert "".join(page.text).count(evil) == 13


def test_failed_report_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_report(path, "title", [Section("s", [], [Figure([Picture(None, "a")], "c")])], facts={})
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


# Numbers


def test_summary_is_strict_json_with_null_for_what_is_not_a_number(tmp_path, strict_json):
    values = {"a": math.nan, "b": [1, math.inf, (2.5, -math.inf)], "c": {"d": None, "e": "NaN", "f": True}}
    write_summary(tmp_path / "summary.json", values)
    assert strict_json(tmp_path / "summary.json") == {
        "a": None,
        "b": [1, None, [2.5, None]],
        "c": {"d": None, "e": "NaN", "f": True},
    }


def test_perfect_segmentation_has_perfect_scores(halves):
    scores = score_segmentation(halves, halves)
    assert scores.keys() == SCORES.keys()
    for name, value in scores.items():
        expected = {"porosity": 0.5}.get(name, 1.0 if SCORES[name][2] > 0 else 0.0)
        # The Euler density of a half space is 0, so that a relative error is not defined.
        undefined = name.startswith("euler_density_error")
        assert math.isnan(value) if undefined else value == pytest.approx(expected, abs=1e-12)


def test_wall_moved_by_one_voxel_scores_as_computed_by_hand(halves):
    moved = np.zeros_like(halves)
    moved[:, 5:] = 1
    scores = score_segmentation(moved, halves)
    assert scores["iou_pore"] == pytest.approx(4 / 5)
    assert scores["iou_solid"] == pytest.approx(3 / 4)
    assert scores["mean_iou"] == pytest.approx((4 / 5 + 3 / 4) / 2)
    assert scores["accuracy"] == pytest.approx(7 / 8)
    assert scores["porosity_error"] == pytest.approx(1 / 8)
    assert scores["specific_surface_error"] == pytest.approx(0, abs=1e-9)
    assert scores["hausdorff95"] == pytest.approx(1, rel=0.05)
    # The faces that close the meshes at the border have not moved; counted in, they would bring this down to 0.3.
    assert scores["chamfer"] == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("lost", [0, 1])
def test_segmentation_that_lost_a_phase_has_no_distance_but_all_other_scores(halves, lost):
    scores = score_segmentation(np.full_like(halves, 1 - lost), halves)
    assert math.isnan(scores["chamfer"])
    assert math.isnan(scores["hausdorff95"])
    assert scores["accuracy"] == 0.5
    assert scores["specific_surface_error"] == pytest.approx(-100)
    assert scores["mean_iou"] == pytest.approx(0.25)
