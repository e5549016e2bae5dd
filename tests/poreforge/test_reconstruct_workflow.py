"""Labels to meshes on disk, a table of scores and a report."""

import csv
import io
import struct
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import trimesh

import volume
from evaluate.surfaces import METHODS, mesh_scores, reconstruct
from poreforge import mesh_pictures
from poreforge.mesh_pictures import draw_mesh
from poreforge.reconstruction import COLUMNS, reconstruct_file, table_text, write_mesh
from volume import Volume

SIZE = (0.4, 0.1, 0.2)
LAYERS = np.eye(8, dtype=np.uint8)[None].repeat(8, 0)


@pytest.fixture
def labels():
    z, y, x = np.indices((24, 26, 28)) - np.reshape((10, 12, 13), (3, 1, 1, 1))
    return (z**2 + y**2 + x**2 <= 7.5**2).astype(np.uint8)


@pytest.fixture
def run(tmp_path):
    def workflow(array, *, size=None, truth=None, **options):
        volume.write(tmp_path / "labels.tif", Volume(array, size))
        if truth is not None:
            volume.write(tmp_path / "truth.tif", truth)
            options["truth"] = tmp_path / "truth.tif"
        return reconstruct_file(tmp_path / "labels.tif", tmp_path / "out", **options), tmp_path / "out"

    return workflow


@pytest.fixture
def without_pyvista(monkeypatch):
    """As if it were not installed; it also takes longest."""
    monkeypatch.setitem(sys.modules, "pyvista", None)


def test_every_method_is_written_scored_and_reported(run, labels, strict_json, self_contained_page):
    summary, out = run(labels)
    names = {f"{method}.{suffix}" for method in METHODS for suffix in ("stl", "ply")}
    assert {path.name for path in out.iterdir()} == names | {"scores.csv", "summary.json", "report.html"}
    assert list(summary["methods"]) == list(METHODS)
    assert strict_json(out / "summary.json")["methods"].keys() == METHODS.keys()
    with (out / "scores.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(METHODS)
    page = self_contained_page(out / "report.html")
    # A cut and a view in 3-D of each mesh.
    assert sum(tag == "img" for tag, _ in page.tags) == 2 * len(METHODS)
    for method in METHODS:
        expected = mesh_scores(reconstruct(labels, method), labels)
        assert float(rows[method]["chamfer"]) == summary["methods"][method]["chamfer"] == expected.chamfer
        assert float(rows[method]["porosity_error"]) == pytest.approx(expected.porosity_error)
        assert rows[method]["watertight"] == "True"
        assert method in "".join(page.text)


@pytest.mark.usefixtures("without_pyvista")
def test_voxels_are_nearest_to_themselves_and_the_hull_of_a_ball_is_not_far(run, labels):
    rows = run(labels)[0]["methods"]
    assert rows["voxel"]["chamfer"] == 0
    assert rows["voxel"]["volume_ratio"] == pytest.approx(1)
    assert min(rows, key=lambda name: abs(rows[name]["porosity_error"])) == "voxel"
    assert rows["convex_hull"]["chamfer"] < 1


def test_truth_of_its_own_is_what_is_scored_against(run, labels):
    larger = labels | np.roll(labels, 3, axis=0)
    summary, _ = run(labels, truth=larger, method="voxel")
    row = summary["methods"]["voxel"]
    assert row["porosity_error"] == pytest.approx((larger.sum() - labels.sum()) / labels.size)
    assert summary["true_porosity"] == pytest.approx(1 - larger.mean())
    assert row["hausdorff"] == pytest.approx(3)
    page = (run(labels, truth=larger, method="voxel")[1] / "report.html").read_text(encoding="utf-8")
    # The volume itself is shown beside the mesh in the truth and the mesh in 3-D.
    assert page.count("<img") == 3


@pytest.mark.usefixtures("without_pyvista")
def test_truth_is_prepared_once_for_all_methods(run, labels, monkeypatch):
    from evaluate.surfaces import triangle_tree

    built = []
    build = triangle_tree.TriangleTree.build

    def count(corners):
        built.append(len(corners))
        return build(corners)

    monkeypatch.setattr(triangle_tree.TriangleTree, "build", count)
    run(labels)
    # One for each mesh, and one for the truth.
    assert len(built) == len(METHODS) + 1


@pytest.mark.usefixtures("without_pyvista")
def test_report_without_pyvista_says_what_is_missing(run, labels):
    page = (run(labels, method="voxel")[1] / "report.html").read_text(encoding="utf-8")
    assert "PyVista, which is not installed" in page
    assert page.count("<img") == 1


@pytest.mark.parametrize("size", [None, (0.4, 0.1, 0.2)])
def test_pictures_show_the_mesh_where_it_is(labels, size):
    """A body at large z and large x is seen in the upper right of the picture, whatever the voxels."""
    corner = np.zeros((20, 20, 20), np.uint8)
    corner[12:, :8, 12:] = 1
    picture = draw_mesh(reconstruct(corner, "voxel", voxel_size_um=size), Volume(corner, size), "voxel")
    drawn = (plt.imread(io.BytesIO(picture.png))[..., :3].min(axis=2) < 0.97).nonzero()
    whole = draw_mesh(reconstruct(corner + 1, "voxel", voxel_size_um=size), Volume(corner + 1, size), "voxel")
    box = (plt.imread(io.BytesIO(whole.png))[..., :3].min(axis=2) < 0.97).nonzero()
    for pixels, all_pixels in zip(drawn, box, strict=True):
        assert all_pixels.min() - 2 <= pixels.min() <= pixels.max() <= all_pixels.max() + 2
    assert drawn[0].mean() < box[0].mean()
    assert drawn[1].mean() > box[1].mean()


def test_of_a_large_mesh_the_near_corner_is_drawn(monkeypatch):
    monkeypatch.setattr(mesh_pictures, "LARGEST_SIDE", 10)
    monkeypatch.setattr(mesh_pictures, "MOST_FACES", 1000)
    seen = []
    monkeypatch.setattr(
        mesh_pictures, "render", lambda scene, look: seen.append(scene) or np.zeros((4, 4, 3), np.uint8)
    )
    body = np.ones((12, 14, 8), np.uint8)
    draw_mesh(reconstruct(body, "voxel"), Volume(body), "voxel")
    points = seen[0].surfaces[0].points
    assert seen[0].size == (8, 10, 10)
    # (x, y, z): of z the upper ten, of y the lower ten, of x all.
    np.testing.assert_array_equal(points.min(axis=0), (0, 0, 0))
    np.testing.assert_array_equal(points.max(axis=0), (8, 10, 10))
    draw_mesh(reconstruct(body, "convex_hull"), Volume(body), "convex_hull")
    # A hull has few faces and is drawn whole.
    assert seen[1].size == (8, 14, 12)
    normals = seen[0].surfaces[0].normals
    top = points[:, 2] == 10
    np.testing.assert_array_equal(normals[top & (normals[:, 2] != 0)], np.array([[0, 0, 1]] * (2 * 3 * 80)))


@pytest.mark.usefixtures("without_pyvista")
def test_the_truth_s_own_voxels_are_not_set_off_as_the_best(run, labels):
    for truth, best in ((None, False), (labels, True)):
        page = (run(labels, truth=truth)[1] / "report.html").read_text(encoding="utf-8")
        row = page[page.index(">voxel<", page.index("<table")) :].split("</tr>")[0]
        assert ('class="best"' in row) is best


@pytest.mark.parametrize("suffix", ["stl", "ply"])
def test_files_are_binary_and_in_x_y_z_and_outward_and_in_microns(run, labels, suffix):
    _, out = run(labels, size=SIZE, method="voxel")
    path = out / f"voxel.{suffix}"
    head = path.read_bytes()[:200]
    if suffix == "stl":
        faces = struct.unpack("<I", head[80:84])[0]
        assert path.stat().st_size == 84 + 50 * faces
    else:
        assert b"format binary_little_endian" in head
    mesh = trimesh.load_mesh(path)
    assert mesh.volume == pytest.approx(labels.sum() * np.prod(SIZE), rel=1e-5)
    ours = reconstruct(labels, "voxel", voxel_size_um=SIZE)
    np.testing.assert_allclose(mesh.bounds, [ours.vertices.min(0)[::-1], ours.vertices.max(0)[::-1]], rtol=1e-5)
    assert mesh.is_watertight


@pytest.mark.usefixtures("without_pyvista")
def test_unit_is_named_and_voxel_size_of_the_command_wins(run, labels):
    assert run(labels, method="voxel")[0]["unit"] == "voxel"
    summary, out = run(labels, size=SIZE, method="marching_cubes", voxel_size_um=(1, 1, 1))
    assert (summary["unit"], summary["voxel_size_um"]) == ("um", (1, 1, 1))
    assert "lengths in µm" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("without_pyvista")
def test_method_that_leaves_nothing_is_named_with_its_reason_and_the_others_go_on(run):
    speck = np.zeros((16, 16, 16), np.uint8)
    speck[7:9, 7:9, 7:9] = 1
    summary, out = run(speck)
    assert "nothing of the object is left" in summary["methods"]["smoothed"]["failed"]
    assert not (out / "smoothed.stl").exists()
    assert (out / "voxel.stl").exists()
    text = table_text(summary["methods"]).splitlines()
    assert len(text) == 1 + len(METHODS)
    assert len({len(line) for line in text}) == 1
    assert all(head in text[0] for head, _ in COLUMNS.values())
    assert "No mesh by smoothed" in (out / "report.html").read_text(encoding="utf-8")


def test_mesh_is_written_whole_or_not_at_all(tmp_path, labels, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(trimesh.Trimesh, "export", fail)
    with pytest.raises(OSError, match="disk full"):
        write_mesh(tmp_path / "body.stl", reconstruct(labels))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (LAYERS, {"method": "poisson"}, "choose all or one of: marching_cubes"),
        (np.zeros((8, 8, 8), np.uint8), {}, "single label"),
        (np.arange(512).reshape(8, 8, 8).astype(np.float32), {}, "grey values"),
        (LAYERS, {"truth": np.eye(9, dtype=np.uint8)[None]}, "must be equal"),
        (
            LAYERS,
            {"truth": Volume(LAYERS, (1, 1, 2)), "size": (1, 1, 1)},
            "set --voxel-size",
        ),
        (np.pad(np.ones((1, 1, 1), np.uint8), 8), {"method": "smoothed"}, "no mesh by 'smoothed'"),
    ],
)
def test_what_cannot_be_reconstructed_is_refused_before_anything_is_written(run, tmp_path, array, options, message):
    with pytest.raises(ValueError, match=message):
        run(array, **options)
    out = tmp_path / "out"
    assert not out.exists() or list(out.iterdir()) == []
