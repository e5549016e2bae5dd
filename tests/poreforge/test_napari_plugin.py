import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import poreforge
from poreforge.napari_plugin import get_reader, read_layers, write_layer
from volume import Volume, accepted_suffixes, choose_for_writing, read, write

MANIFEST = yaml.safe_load((Path(poreforge.__file__).parent / "napari.yaml").read_text(encoding="utf-8"))
SIZE = (0.5, 0.25, 0.2)


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)


def test_manifest_names_functions_that_exist():
    contributions = MANIFEST["contributions"]
    commands = {entry["id"]: entry["python_name"] for entry in contributions["commands"]}
    used = {entry["command"] for kind in ("readers", "writers") for entry in contributions[kind]}
    assert used == set(commands)
    assert all(name.startswith(f"{MANIFEST['name']}.") for name in commands)
    for name in commands.values():
        module, _, function = name.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_manifest_offers_what_can_be_read_and_written():
    (reader,) = MANIFEST["contributions"]["readers"]
    # Pictures of one slice are left to napari itself.
    readable = {suffix for suffix in accepted_suffixes().split(", ") if suffix not in (".png", ".jpg", ".jpeg", ".bmp")}
    offered = {pattern[1:] for pattern in reader["filename_patterns"]}
    assert offered <= readable
    assert all(suffix.endswith(tuple(offered)) for suffix in readable)
    for writer in MANIFEST["contributions"]["writers"]:
        for suffix in writer["filename_extensions"]:
            assert "uint8" in choose_for_writing(Path(f"new{suffix}")).DTYPES


def test_labels_become_a_labels_layer_with_the_size_of_the_voxel(tmp_path, labels):
    write(tmp_path / "cell.tif", Volume(labels, SIZE, ("pore", "a", "b")))
    ((data, attributes, kind),) = get_reader(str(tmp_path / "cell.tif"))(str(tmp_path / "cell.tif"))
    np.testing.assert_array_equal(data, labels)
    assert kind == "labels"
    assert attributes["name"] == "cell"
    assert attributes["scale"] == pytest.approx(SIZE)
    assert attributes["metadata"]["phases"] == ("pore", "a", "b")


def test_grey_values_become_an_image_layer(tmp_path):
    write(tmp_path / "grey.tif", Volume(np.linspace(0, 255, 60).astype(np.uint8).reshape(3, 4, 5)))
    write(tmp_path / "float.npy", Volume(np.zeros((3, 4, 5), np.float32), SIZE))
    layers = read_layers([str(tmp_path / "grey.tif"), str(tmp_path / "float.npy")])
    assert [kind for _, _, kind in layers] == ["image", "image"]
    assert layers[0][1]["scale"] == (1.0, 1.0, 1.0)
    assert layers[0][1]["metadata"]["voxel_size_um"] is None


@pytest.mark.parametrize("name", ["new.tif", "new.zarr", "new.h5", "new.npy", "new.nrrd", "new"])
def test_what_was_read_is_written_as_it_was(tmp_path, labels, name):
    write(tmp_path / "old.tif", Volume(labels, SIZE, ("pore", "a", "b")))
    ((data, attributes, _),) = read_layers(str(tmp_path / "old.tif"))
    # napari hands labels over as wide integers once they have been painted on.
    (written,) = write_layer(str(tmp_path / name), data.astype(np.int64), attributes)
    found = read(written)
    np.testing.assert_array_equal(found.array, labels)
    assert found.array.dtype == np.uint8
    assert found.voxel_size_um == pytest.approx(SIZE)
    assert found.phases == ("pore", "a", "b")


@pytest.mark.parametrize(("scale", "size"), [((3.0, 2.0, 1.0), (3.0, 2.0, 1.0)), ((1.0, 1.0, 1.0), None), (None, None)])
def test_scale_of_a_new_layer_is_its_voxel_size_unless_it_says_nothing(tmp_path, labels, scale, size):
    (written,) = write_layer(str(tmp_path / "new.npy"), labels, {"scale": scale})
    assert read(written).voxel_size_um == size


def test_label_without_a_name_drops_the_names_not_the_label(tmp_path, labels):
    attributes = {"metadata": {"voxel_size_um": SIZE, "phases": ("pore", "a")}}
    (written,) = write_layer(str(tmp_path / "new.npy"), labels, attributes)
    assert read(written).phases is None
    np.testing.assert_array_equal(read(written).array, labels)


def test_nothing_is_no_volume():
    assert get_reader("nowhere.tif") is None
    assert get_reader([]) is None


def test_time_series_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="three axes"):
        write_layer(str(tmp_path / "new.tif"), np.zeros((2, 3, 4, 5), np.uint8), {})


def test_functions_need_neither_napari_nor_what_is_heavy():
    code = "import sys, poreforge.napari_plugin; print({'napari', 'torch', 'pyvista', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()"
