import base64
import json
import os
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from poreforge.report import Figure, Picture, Section, View, write_report
from poreforge.views import interactive_view, pack_scene, phase_scene, property_scene

PNG = b"\x89PNG\r\n\x1a\n"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def scene():
    labels = np.random.default_rng(0).integers(0, 3, (9, 8, 7)).astype(np.uint8)
    return phase_scene(labels, voxel_size_um=(0.5, 0.25, 0.2), phases=("pore", "a", "b"), cut="none", with_unseen=True)


class Scripts(HTMLParser):
    """What a browser takes for scripts and images, and where they come from."""

    def __init__(self):
        super().__init__()
        self.scripts, self.images, self.inside = [], [], None

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "script":
            self.inside = attributes
            self.scripts.append((attributes, []))
        if tag == "img":
            self.images.append(attributes)

    def handle_data(self, data):
        if self.inside is not None:
            self.scripts[-1][1].append(data)

    def handle_endtag(self, tag):
        if tag == "script":
            self.inside = None


def parts(path):
    page = Scripts()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def unpacked(text, dtype, rows):
    differences = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype).reshape(rows, -1)
    return np.cumsum(differences, axis=1, dtype=dtype).T


# Packing


def test_packed_meshes_come_back_exactly(scene):
    packed = json.loads(json.dumps(pack_scene(scene)))
    assert packed["size"] == pytest.approx([1.4, 2.0, 4.5])
    for surface, entry in zip(scene.surfaces, packed["surfaces"], strict=True):
        faces = unpacked(entry["faces"], "<u4", 3)
        np.testing.assert_array_equal(faces, surface.faces)
        positions = unpacked(entry["positions"], "<u2", 3) / 65535 * packed["size"]
        # Half a step of the 16 bits.
        np.testing.assert_allclose(positions, surface.points, atol=0.51 / 65535 * 4.5 + 1e-6)
        shade = np.frombuffer(zlib.decompress(base64.b64decode(entry["shade"])), np.uint8)
        np.testing.assert_allclose(shade / 255, surface.shade, atol=0.51 / 255)
        assert (entry["vertices"], entry["triangles"]) == (len(surface.points), len(surface.faces))
        assert (entry["name"], entry["colour"], entry["opacity"]) == (surface.name, surface.colour, surface.opacity)


def test_packed_property_keeps_values_and_colours_of_its_bar():
    objects = np.zeros((6, 6, 12), np.uint8)
    objects[1:5, 1:5, 1:5], objects[1:5, 1:5, 7:11] = 1, 2
    scene = property_scene(objects, [2.0, 12.0], name="size", unit="µm", cut="none")
    packed = pack_scene(scene)
    values = np.frombuffer(zlib.decompress(base64.b64decode(packed["surfaces"][0]["values"])), np.uint8)
    assert set(values) == {0, 255}
    ramp = np.frombuffer(zlib.decompress(base64.b64decode(packed["bar"]["ramp"])), np.uint8).reshape(-1, 3)
    assert (ramp[0].tolist(), ramp[-1].tolist()) == ([68, 1, 84], [253, 231, 37])
    assert packed["bar"]["title"] == "size / µm"
    assert [(round(place, 6), text) for place, text in packed["bar"]["ticks"]] == [
        ((value - 2) / 10, str(value)) for value in (2, 4, 6, 8, 10, 12)
    ]


# The page


def test_report_holds_its_views_and_needs_nothing_from_outside(tmp_path, scene):
    view = View(json.dumps(pack_scene(scene)), Picture(PNG, "two phases"), "Turn it.")
    path = write_report(tmp_path / "r.html", "t", [Section("s", views=[view]), Section("u", views=[view])], facts={})
    page, text = parts(path), path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\((?!data:)", text)
    assert all("src" not in attributes for attributes, _ in page.scripts)
    kinds = [attributes.get("type") for attributes, _ in page.scripts]
    assert kinds == ["application/json", "application/json", None]
    assert json.loads("".join(page.scripts[0][1])) == pack_scene(scene)
    assert [image["alt"] for image in page.images] == ["two phases"] * 2
    assert text.count("Turn it.") == 2


def test_report_without_views_has_no_script(tmp_path):
    path = write_report(tmp_path / "r.html", "t", [Section("s")], facts={})
    assert parts(path).scripts == []


def test_names_of_phases_cannot_end_the_element_that_holds_them(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>&<!--"
    scene = phase_scene(np.ones((3, 3, 3), np.uint8), phases=("pore", evil), cut="none")
    view = View(json.dumps(pack_scene(scene)), Picture(PNG, evil), evil)
    page = parts(write_report(tmp_path / "r.html", "t", [Section("s", views=[view])], facts={}))
    assert len(page.images) == 1
    assert json.loads("".join(page.scripts[0][1]))["surfaces"][0]["name"] == evil


def test_gif_is_embedded_as_a_gif(tmp_path):
    gif = Picture(b"GIF89a....", "turning")
    page = parts(write_report(tmp_path / "r.html", "t", [Section("s", figures=[Figure([gif], "c")])], facts={}))
    assert page.images[0]["src"].startswith("data:image/gif;base64,")


def test_view_has_a_still_picture_for_paper(scene):
    pytest.importorskip("pyvista")
    view = interactive_view(scene, "Both phases.")
    assert view.picture.png.startswith(PNG)
    assert view.picture.alt == "3-D view of a, b."
    assert len(view.scene) < 200_000


# In a browser


@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_browser_draws_every_triangle_and_the_cut(tmp_path):
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[:, :6], labels[:, 6:] = 1, 2
    scene = phase_scene(labels, colours=["#000000", "#fca311", "#2a9d8f"], cut="none")
    view = View(json.dumps(pack_scene(scene)), Picture(PNG, "two phases"), "Turn it.")
    path = write_report(tmp_path / "r.html", "t", [Section("s", views=[view])], facts={})
    # The middle of the picture: the first phase in front; with y cut at 0.75 the section of the second.
    probe = """<script>
      const wait = () => {
        const box = document.querySelector('.view3d');
        if (!box.dataset.triangles && !box.dataset.fault) { setTimeout(wait, 20); return; }
        const canvas = box.querySelector('canvas'), gl = canvas.getContext('webgl2'), pixel = new Uint8Array(4);
        const choice = box.querySelector('select');
        box.querySelector('[type=range]').value = 0.75;
        for (const [name, axis] of [['whole', -1], ['cut', 1]]) {
          choice.value = axis; choice.dispatchEvent(new Event('change'));
          gl.readPixels(canvas.width / 2, canvas.height / 2, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
          box.dataset[name] = Array.from(pixel).join(' ');
        }
      };
      wait();</script>"""
    # Drawing happens at once, so that the pixels are there to be read.
    at_once = "<script>window.requestAnimationFrame = (draw) => draw();</script>"
    text = path.read_text(encoding="utf-8").replace("</head>", at_once + "</head>")
    path.write_text(text.replace("</body>", probe + "</body>"), encoding="utf-8")
    flags = "--headless --no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader --no-first-run"
    done = subprocess.run(
        [BROWSER, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000",
         "--disable-background-networking", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=100, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    box = re.search(r'<div class="view3d[^>]*>', done.stdout)[0]
    assert "data-fault" not in box
    assert f'data-triangles="{sum(len(s.faces) for s in scene.surfaces)}"' in box
    whole, cut = (np.array(re.search(rf'data-{name}="([\d ]+)"', box)[1].split(), int)[:3] for name in ("whole", "cut"))
    assert whole[0] > whole[1] > whole[2]  # orange
    assert cut[1] > cut[2] > cut[0]  # teal, flat
    np.testing.assert_allclose(cut, 0.92 * np.array([0x2A, 0x9D, 0x8F]), atol=2)
