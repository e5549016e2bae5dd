import json
import re
import sys

import numpy as np
import pytest
import tifffile
import trimesh

from poreforge.exports import FORMATS, export, export_file
from volume import Volume, read, write

SIZE = (0.5, 0.25, 0.2)


@pytest.fixture
def corner():
    """A pore of 3 × 4 × 5 voxels at small z, middle y, large x of a solid with a third phase."""
    labels = np.ones((10, 12, 14), np.uint8)
    labels[7:] = 2
    labels[1:4, 4:8, 8:13] = 0
    return Volume(labels, SIZE, ("pore", "active material", "binder 2"))


# ParaView


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "bool"])
def test_vti_comes_back_through_vtk_with_size_and_values(tmp_path, dtype):
    pyvista = pytest.importorskip("pyvista")
    array = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (5, 6, 7)).astype(dtype)
    (path,) = export(Volume(array, SIZE), tmp_path, formats=["vti"], name="v")
    found = pyvista.read(path)
    assert found.spacing == SIZE[::-1]
    assert found.bounds == pytest.approx((0, 7 * 0.2, 0, 6 * 0.25, 0, 5 * 0.5))
    (name,) = found.cell_data.keys()
    np.testing.assert_array_equal(found.cell_data[name].reshape(5, 6, 7), array)


@pytest.mark.parametrize("bytes_more", [0, 1])
def test_vti_of_more_than_one_block_is_complete(tmp_path, bytes_more):
    pyvista = pytest.importorskip("pyvista")
    array = np.random.default_rng(0).integers(0, 9, (2, 1024, 512 + bytes_more)).astype(np.uint8)
    (path,) = export(array, tmp_path, formats=["vti"])
    np.testing.assert_array_equal(pyvista.read(path).cell_data["labels"].reshape(array.shape), array)


# Meshes


@pytest.mark.parametrize("kind", ["stl", "ply"])
def test_mesh_of_a_block_has_its_place_and_volume_in_micrometres(tmp_path, kind):
    labels = np.zeros((10, 12, 14), np.uint8)
    labels[1:4, 4:8, 8:13] = 2
    (path,) = export(Volume(labels, SIZE, ("pore", "x", "Ni/YSZ (a)")), tmp_path, formats=kind, name="cell")
    assert path.name == f"cell-Ni-YSZ-a.{kind}"
    mesh = trimesh.load(path)
    np.testing.assert_allclose(mesh.bounds, [[8 * 0.2, 4 * 0.25, 0.5], [13 * 0.2, 2.0, 2.0]], rtol=1e-6)
    assert mesh.is_watertight
    # Positive only if the faces are outward; marching cubes rounds the edges.
    assert 0.85 * 1.5 < mesh.volume < 1.5


def test_every_solid_phase_has_a_mesh_and_the_pores_have_none(tmp_path, corner):
    names = [path.name for path in export(corner, tmp_path, formats=["stl"], name="v")]
    assert names == ["v-active-material.stl", "v-binder-2.stl"]


# Avizo


def test_amira_file_says_size_materials_and_voxels(tmp_path, corner):
    path, _ = export(corner, tmp_path, formats=["avizo"], name="v")
    head, data = path.read_bytes().split(b"\n@1\n")
    text = head.decode()
    assert text.startswith("# AmiraMesh BINARY-LITTLE-ENDIAN 2.1\n")
    assert "define Lattice 14 12 10\n" in text
    box = [float(v) for v in re.search(r"BoundingBox (.*),", text)[1].split()]
    # Through the centres of the outermost voxels.
    assert box == pytest.approx([0.1, 2.7, 0.125, 2.875, 0.25, 4.75])
    assert re.findall(r"^        (\w+) \{", text, re.MULTILINE) == ["pore", "active_material", "binder_2"]
    assert "Lattice { byte Labels } @1" in text
    np.testing.assert_array_equal(np.frombuffer(data[:-1], np.uint8).reshape(10, 12, 14), corner.array)


def test_amira_file_of_grey_values_has_no_materials(tmp_path):
    array = np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)
    path, _ = export(array, tmp_path, formats=["avizo"])
    head, data = path.read_bytes().split(b"\n@1\n")
    assert b"Materials" not in head
    assert b"Lattice { float Data } @1" in head
    np.testing.assert_array_equal(np.frombuffer(data[:-1], "<f4").reshape(3, 4, 5), array)


def test_tiff_for_avizo_has_8_bits_and_its_resolution_in_centimetres(tmp_path, corner):
    wide = Volume(corner.array.astype(np.int64), SIZE, corner.phases)
    _, path = export(wide, tmp_path, formats=["avizo"], name="v")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert (len(file.pages), page.dtype, page.compression.name) == (10, np.uint8, "NONE")
        assert page.tags["ResolutionUnit"].value.name == "CENTIMETER"
        assert [np.divide(*page.tags[tag].value) for tag in ("XResolution", "YResolution")] == pytest.approx(
            [5e4, 4e4], rel=1e-6
        )
    found = read(path)
    assert found.voxel_size_um == pytest.approx(SIZE, rel=1e-6)
    np.testing.assert_array_equal(found.array, corner.array)


# PoreSpy and OpenPNM


def test_porespy_image_is_true_in_the_pores(tmp_path, corner):
    image, note = export(corner, tmp_path, formats=["porespy"], name="v")
    pores = np.load(image)
    assert pores.dtype == bool
    np.testing.assert_array_equal(pores, corner.array == 0)
    assert json.loads(note.read_text()) == {"voxel_size_um": list(SIZE), "axes": "zyx", "true_means": "pore"}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Two touching balls along x and two lone ones, as columns of the CSV file."""
    pytest.importorskip("porespy")
    place = np.indices((40, 40, 40))
    labels = np.ones((40, 40, 40), np.uint8)
    for centre in ((10, 10, 10), (10, 10, 22), (30, 30, 30), (30, 8, 30)):
        labels[((place - np.array(centre)[:, None, None, None]) ** 2).sum(axis=0) < 49] = 0
    (path,) = export(Volume(labels, (2, 2, 2)), tmp_path_factory.mktemp("n"), formats=["openpnm"])
    head, *rows = path.read_text().splitlines()
    columns = zip(*(row.split(",") for row in rows), strict=True)
    return dict(zip(head.split(","), columns, strict=True))


def test_pores_of_the_network_lie_at_x_y_z_in_metres(network):
    found = np.array([[float(v) for v in network[f"pore.coords[{k}]"]] for k in range(3)]).T
    # The centre of voxel 10 of 2 µm is at 21 µm; the two that touch lose their common cap to each other.
    wanted = 1e-6 * np.array([[21, 21, 21], [45, 21, 21], [61, 17, 61], [61, 61, 61]])
    np.testing.assert_allclose(found[np.lexsort(found.T[::-1])], wanted, atol=1e-6)


def test_network_joins_the_two_balls_that_touch_and_no_others(network):
    pairs = [entry for entry in zip(network["throat.conns[0]"], network["throat.conns[1]"], strict=True) if entry[0]]
    assert len(pairs) == 1
    xs = [float(network["pore.coords[0]"][int(float(pore))]) for pore in pairs[0]]
    assert sorted(round(x * 1e6) for x in xs) == [21, 45]
    diameters = np.array([float(v) for v in network["pore.inscribed_diameter"]])
    # Digital balls of 14 voxels, inscribed to a voxel on each side.
    np.testing.assert_allclose(diameters, 28e-6, atol=4.1e-6)


def test_network_needs_cubic_voxels_and_pores_that_touch(tmp_path, corner):
    pytest.importorskip("porespy")
    with pytest.raises(ValueError, match="SNOW2 takes cubic voxels"):
        export(corner, tmp_path, formats=["openpnm"])
    with pytest.raises(ValueError, match="no pore"):
        export(np.ones((8, 8, 8), np.uint8), tmp_path, formats=["openpnm"])
    lone = np.ones((20, 20, 20), np.uint8)
    lone[6:14, 6:14, 6:14] = 0
    with pytest.raises(ValueError, match="no throat"):
        export(lone, tmp_path, formats=["openpnm"])
    assert list(tmp_path.iterdir()) == []


def test_without_porespy_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "porespy", None)
    with pytest.raises(ValueError, match=r"pip install 'poreforge\[porespy\]'"):
        export(np.zeros((4, 4, 4), np.uint8), tmp_path, formats=["openpnm"])


# The workflow


def test_file_is_exported_under_its_own_name_and_a_mask_of_255_as_labels(tmp_path):
    array = np.zeros((4, 5, 6), np.uint8)
    array[1:3, 1:3, 1:3] = 255
    write(tmp_path / "cell.1.ome.tif", Volume(array, SIZE))
    paths = export_file(tmp_path / "cell.1.ome.tif", tmp_path / "out", formats=["porespy", "stl"])
    assert [path.name for path in paths] == ["cell.1-pores.npy", "cell.1-pores.json", "cell.1-phase-1.stl"]
    np.testing.assert_array_equal(np.load(paths[0]), array == 0)


def test_every_format_is_named_with_what_it_is_for():
    assert list(FORMATS) == ["vti", "stl", "ply", "avizo", "porespy", "openpnm"]
    assert all(text for text, _ in FORMATS.values())


@pytest.mark.parametrize(
    ("array", "formats", "sentence"),
    [
        (np.zeros((3, 3, 3), np.uint8), ["obj"], "format 'obj' is not known; choose from: vti"),
        (np.zeros((3, 3, 3), np.uint8), [], "no format"),
        (np.zeros((3, 3, 3), np.uint8), ["stl"], "nothing but pore"),
        (np.zeros((3, 3), np.uint8), ["vti"], "three axes"),
        (np.zeros((3, 3, 3), np.float16), ["vti"], "cannot hold float16"),
        (np.full((3, 3, 3), 300, np.int64), ["avizo"], "cannot hold int64"),
        (np.zeros((3, 3, 3), np.float32), ["porespy"], "integers or booleans"),
        (np.zeros((3, 3, 3), np.float32), ["ply"], "integers or booleans"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path, array, formats, sentence):
    with pytest.raises(ValueError, match=sentence):
        export(array, tmp_path / "out", formats=formats)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
