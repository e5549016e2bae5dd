import dataclasses

import numpy as np
import pytest
import torch

import segment
import volume
from poreforge.cli import main
from poreforge.outputs import bare_name
from segment.networks import UNet
from volume import Volume


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 4096, (7, 18, 15)).astype(np.uint16)


@pytest.fixture
def run(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(["segment", *map(str, arguments), "--model", str(tiny_model)])


def test_labels_probability_numbers_and_report_are_those_of_the_model(
    run, tmp_path, grey, tiny_model, strict_json, self_contained_page, capsys
):
    size = (0.02, 0.005, 0.01)
    volume.write("stack.tif", Volume(grey, size))
    run("stack.tif", "--out", "out/labels.ome.tif")
    expected = segment.load(tiny_model).predict(grey)
    assert 0 < expected.porosity < 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "labels-probability.tif",
        "labels-summary.json",
        "labels.html",
        "labels.ome.tif",
    ]
    labels = volume.read("out/labels.ome.tif")
    np.testing.assert_array_equal(labels.array, expected.labels)
    assert labels.phases == ("pore", "solid")
    probability = volume.read("out/labels-probability.tif")
    np.testing.assert_array_equal(probability.array, expected.probability[0])
    assert labels.voxel_size_um == pytest.approx(size)
    assert probability.voxel_size_um == pytest.approx(size)
    summary = strict_json(tmp_path / "out" / "labels-summary.json")
    assert summary["porosity"] == expected.porosity
    assert summary["expected_porosity"] == pytest.approx(expected.probability[0].mean(dtype=np.float64), rel=1e-12)
    assert expected.expected_porosity == pytest.approx(summary["expected_porosity"], rel=1e-12)
    assert tuple(summary["porosity_interval"]) == expected.porosity_interval
    assert summary["interval_coverage"] == 3 / 4
    assert summary["fractions"] == pytest.approx({"pore": expected.porosity, "solid": 1 - expected.porosity})
    assert summary["undecided"] == pytest.approx(np.mean(expected.probability.max(axis=0) < 0.8))
    assert summary["voxel_size_um"] == pytest.approx(size)
    page = self_contained_page(tmp_path / "out" / "labels.html")
    assert sum(tag == "img" for tag, _ in page.tags) == 10
    printed = capsys.readouterr().out
    assert printed.startswith(f"porosity {expected.porosity:.4f} (")
    assert printed.endswith("labels in out/labels.ome.tif, report in out/labels.html\n")


def test_fraction_of_what_is_no_pore_is_not_called_porosity(run, tmp_path, grey, tiny_model, capsys):
    named = dataclasses.replace(segment.load(tiny_model), phases=("electrolyte", "bubble"))
    named.save(tmp_path / "cell")
    volume.write("stack.tif", Volume(grey))
    main(["segment", "stack.tif", "--model", "cell"])
    assert capsys.readouterr().out.startswith("volume fraction of electrolyte 0.")
    page = (tmp_path / "stack-labels.html").read_text(encoding="utf-8")
    assert "Volume fraction of electrolyte " in page
    assert "orosity" not in page
    assert "pore" not in page.replace("poreforge", "").replace("Poreforge", "")


def test_images_unlike_those_of_the_training_are_warned_of(tmp_path, monkeypatch, strict_json, capsys):
    monkeypatch.chdir(tmp_path)
    volume.write("noise.tif", Volume(np.random.default_rng(0).integers(0, 256, (4, 32, 32)).astype(np.uint8)))
    main(["segment", "noise.tif", "--model", "fibsem", "--slices", "stack", "--out", "labels.tif"])
    domain = strict_json(tmp_path / "labels-summary.json")["domain"]
    assert not domain["inside"]
    assert domain["furthest"]
    assert capsys.readouterr().err.startswith("warning: the images are unlike those of the training (")
    assert "unlike those of the training" in (tmp_path / "labels.html").read_text(encoding="utf-8")


def test_pictures_that_do_not_follow_on_one_another_are_segmented_one_by_one(
    tmp_path, tiny_model, strict_json, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = UNet(in_channels=3, width=4, depth=1).eval()
    torch.nn.init.normal_(network.exit.weight, std=2)
    dataclasses.replace(segment.load(tiny_model), first=network).save("neighbours")
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 32)).astype(np.uint8)
    volume.write("noise.tif", Volume(noise))
    complaints = {}
    for name, options in {
        "auto": [], "single": ["--slices", "single"], "stack": ["--slices", "stack"], "shared": ["--workers", "2"],
    }.items():  # fmt: skip
        main(["segment", "noise.tif", "--model", "neighbours", "--out", f"{name}.tif", *options])
        complaints[name] = capsys.readouterr().err
    assert complaints["auto"].startswith("warning: the slices do not follow on one another (their likeness is ")
    assert "Warning: the slices do not follow" in (tmp_path / "auto.html").read_text(encoding="utf-8")
    assert "slices" not in complaints["single"] + complaints["stack"]
    how = {name: strict_json(tmp_path / f"{name}-summary.json")["slices"] for name in complaints}
    assert how == {"auto": "single", "single": "single", "stack": "stack", "shared": "single"}
    found = {name: volume.read(f"{name}-probability.tif").array for name in complaints}
    np.testing.assert_array_equal(found["auto"], found["single"])
    np.testing.assert_array_equal(found["auto"], found["shared"])
    assert np.abs(found["auto"] - found["stack"]).max() > 1e-3


@pytest.mark.parametrize(
    "name", ["labels.tif", "labels.nrrd", "labels.npy", "labels.h5", "labels.raw", "labels.zarr", "labels"]
)
def test_labels_are_readable_in_every_format_that_the_name_asks_for(run, tmp_path, grey, tiny_model, name):
    volume.write("grey.npy", Volume(grey, (1, 2, 3)))
    run("grey.npy", "--out", name)
    found = volume.read(name)
    np.testing.assert_array_equal(found.array, segment.load(tiny_model).predict(grey).labels)
    assert found.voxel_size_um == pytest.approx((1, 2, 3))
    assert (tmp_path / "labels-summary.json").is_file()


def test_without_out_the_results_are_named_after_the_volume(run, tmp_path, grey):
    for name in ("sample.1.tif", "sample.2.ome.tif"):
        volume.write(tmp_path / "elsewhere" / name, grey)
        run(f"elsewhere/{name}")
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    for name in ("sample.1", "sample.2"):
        endings = ("labels.tif", "labels-probability.tif", "labels-summary.json", "labels.html")
        assert {f"{name}-{ending}" for ending in endings} <= names
    assert len(names) == 8


def test_folder_of_slices_is_segmented_like_the_file(run, tmp_path, grey):
    volume.write("slices", Volume(grey, (1, 1, 1)))
    volume.write("file.tif", Volume(grey, (1, 1, 1)))
    run("slices/")
    run("file.tif")
    np.testing.assert_array_equal(volume.read("slices-labels.tif").array, volume.read("file-labels.tif").array)


def test_unknown_voxel_size_stays_unknown_and_a_given_one_wins(run, grey, tmp_path):
    volume.write("grey.tif", grey)
    run("grey.tif", "--out", "plain.tif")
    assert volume.read("plain.tif").voxel_size_um is None
    run("grey.tif", "--out", "sized.tif", "--voxel-size", "0.3", "0.2", "0.1")
    assert volume.read("sized.tif").voxel_size_um == pytest.approx((0.3, 0.2, 0.1))


def test_same_command_again_replaces_its_results_and_nothing_else(run, tmp_path, grey):
    volume.write("grey.tif", grey)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for _ in range(2):
        run("grey.tif", "--out", "out/labels.tif")
    assert len(list((tmp_path / "out").iterdir())) == 5
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b/stack.tif", "stack"),
        ("stack.OME.TIF", "stack"),
        ("stack.ome.zarr", "stack"),
        ("sample.1.tif", "sample.1"),
        ("slices/", "slices"),
        ("run.2026", "run.2026"),
        (".tif", ".tif"),
    ],
)
def test_bare_name_drops_the_ending_of_a_format_and_no_more(path, name):
    assert bare_name(path) == name
