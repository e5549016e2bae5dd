"""Bad input: one clear line, exit status 2, nothing left behind."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import poreforge.cli
import volume

ROOT = Path(poreforge.__file__).resolve().parent.parent


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 255, (4, 8, 8), np.uint8)


def _missing(folder, grey):
    return folder / "nothing.tif", "'.*nothing.tif' does not exist"


def _truncated(folder, grey):
    path = folder / "cut.tif"
    tifffile.imwrite(path, grey, photometric="minisblack")
    path.write_bytes(path.read_bytes()[:-60])
    return path, "truncated"


def _no_tiff(folder, grey):
    path = folder / "text.tif"
    path.write_text("this is no image")
    return path, "is not a TIFF"


def _colour(folder, grey):
    path = folder / "colour.tif"
    tifffile.imwrite(path, np.zeros((4, 8, 8, 3), np.uint8), photometric="rgb")
    return path, "RGB"


def _colour_slices(folder, grey):
    path = folder / "colour"
    path.mkdir()
    for z in range(3):
        tifffile.imwrite(path / f"{z}.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    return path, "RGB"


def _unequal_slices(folder, grey):
    path = folder / "unequal"
    path.mkdir()
    for z in range(3):
        tifffile.imwrite(path / f"{z}.tif", grey[0, : 8 - z // 2])
    return path, "slices of unequal size.*8 × 8.*7 × 8"


def _empty_folder(folder, grey):
    path = folder / "empty"
    path.mkdir()
    return path, "is empty"


def _empty_file(folder, grey):
    path = folder / "empty.tif"
    path.touch()
    return path, "is empty"


def _nan(folder, grey):
    path = folder / "nan.npy"
    values = grey.astype(np.float32)
    values[1, 2, 3] = np.nan
    np.save(path, values)
    return path, "1 value of 256 that is not finite"


def _unknown_kind(folder, grey):
    path = folder / "volume.docx"
    path.write_bytes(b"PK")
    return path, "accepted are .*\\.tif"


UNREADABLE = [
    _missing, _truncated, _no_tiff, _colour, _colour_slices, _unequal_slices, _empty_folder, _empty_file, _nan,
    _unknown_kind,
]  # fmt: skip


@pytest.mark.parametrize("spoil", UNREADABLE)
@pytest.mark.parametrize("command", ["segment", "characterise"])
def test_unreadable_volume_is_refused(command, spoil, tmp_path, grey, refused, tiny_model):
    path, reason = spoil(tmp_path, grey)
    out = tmp_path / "out"
    options = ["--model", tiny_model, "--out", out / "labels.tif"] if command == "segment" else ["--out", out]
    assert re.search(reason, refused(command, path, *options))
    assert not out.exists()


def test_order_of_slices_that_there_is_not_is_refused(tmp_path, grey, refused, tiny_model):
    volume.write(tmp_path / "grey.tif", grey)
    out = tmp_path / "out" / "labels.tif"
    line = refused("segment", tmp_path / "grey.tif", "--model", tiny_model, "--slices", "alone", "--out", out)
    assert "slices is 'alone'; give one of auto, stack, single" in line
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((4, 8, 8), 9, np.uint8), "every grey value is 9"),
        (np.zeros((4, 8, 8), np.float32), "every grey value is 0.0"),
    ],
)
def test_constant_volume_is_not_segmented(values, reason, tmp_path, refused, tiny_model):
    volume.write(tmp_path / "constant.tif", values)
    line = refused("segment", tmp_path / "constant.tif", "--model", tiny_model, "--out", tmp_path / "out" / "l.tif")
    assert reason in line
    assert not (tmp_path / "out").exists()


def _characterise(array, tmp_path, refused):
    np.save(tmp_path / "labels.npy", array)
    line = refused("characterise", tmp_path / "labels.npy", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    return line


def test_single_label_is_not_characterised(tmp_path, refused):
    assert "single label 1" in _characterise(np.ones((4, 5, 6), np.uint8), tmp_path, refused)


def test_grey_values_are_not_characterised_but_sent_to_segment(tmp_path, grey, refused):
    line = _characterise(grey, tmp_path, refused)
    assert "these are grey values, not labels" in line
    assert "poreforge segment" in line


def test_floating_point_values_are_not_taken_for_labels(tmp_path, refused):
    line = _characterise(np.random.default_rng(0).random((4, 5, 6)), tmp_path, refused)
    assert "grey values, not labels" in line


@pytest.mark.parametrize("labels", [[0, 1, 77], [-1, 0, 1], [3, 200]])
def test_labels_out_of_range_are_refused_and_listed(labels, tmp_path, refused):
    array = np.resize(np.array(labels, np.int16), (4, 5, 6))
    assert f"holds the labels {labels}" in _characterise(array, tmp_path, refused)


def test_single_slice_is_not_characterised(tmp_path, refused):
    assert "two voxels along each axis" in _characterise(np.eye(8, dtype=np.uint8)[None], tmp_path, refused)


# Models


def test_unknown_model_is_refused_with_the_shipped_ones(tmp_path, grey, refused):
    volume.write(tmp_path / "grey.tif", grey)
    line = refused("segment", tmp_path / "grey.tif", "--model", "fibsen", "--out", tmp_path / "out" / "labels.tif")
    assert "there is no segmenter 'fibsen'; give a shipped name (" in line
    assert not (tmp_path / "out").exists()


def test_damaged_model_is_refused(tmp_path, grey, refused, tiny_model):
    volume.write(tmp_path / "grey.tif", grey)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "segmenter.json").write_bytes((tiny_model / "segmenter.json").read_bytes())
    line = refused("segment", tmp_path / "grey.tif", "--model", tmp_path / "model", "--out", tmp_path / "out" / "l.tif")
    assert "damaged or incomplete" in line
    assert not (tmp_path / "out").exists()


# Configurations

CORPUS = """
recipe: {generator: sphere_pack, shape: [16, 16, 16], porosity: 0.4, diameter_vox: 8}
microscope: {instrument: fibsem}
count: 1
"""


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("porosity=-0.2", "porosity is -0.2; give a number above 0 and below 1"),
        ("porosity=1", "porosity is 1.0"),
        ("porosity=.nan", "porosity is nan"),
        ("porositi=0.4", "unknown configuration key 'porositi'; did you mean 'porosity'"),
        ("training.cuont=3", "unknown configuration key 'training.cuont'; did you mean 'training.count'"),
        ("training.slices.stepps=3", "did you mean 'training.slices.steps'"),
        ("porosity=much", "'porosity' is 'much'; it must be a number"),
        ("diameter_vox=0", "diameter_vox 0.0"),
        ("shape=[64, 64]", "'shape' has 2 entries; it must have 3"),
        ("shape=[8, 64, 64]", "at most the shortest side"),
        ("voxel_size_um=[0.01, 0, 0.01]", "give three sizes above 0"),
        ("training.shape=[16, 32, 32]", "give at least 24 along each axis"),
        ("training.validation=30", "set aside 0 or more, but not all"),
        ("training.slices.steps=0", "steps is 0"),
        ("porosity", "not of the form key=value"),
    ],
)
def test_demo_with_an_impossible_configuration_is_refused_before_anything_is_written(
    override, reason, tmp_path, refused
):
    assert reason in refused("demo", "--out", tmp_path / "out", "--set", override)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("recipe.porosity=-0.2", "porosity is -0.2; give a number above 0 and below 1"),
        ("recipe.porositi=0.3", "has no argument 'porositi'"),
        ("recipe.generator=spheres", "names the generator 'spheres'; known are sphere_pack"),
        ("cuont=3", "unknown configuration key 'cuont'; did you mean 'count'"),
        ("count=0", "count is 0"),
    ],
)
def test_corpus_with_an_impossible_recipe_is_refused(override, reason, tmp_path, refused):
    (tmp_path / "corpus.yaml").write_text(CORPUS)
    line = refused("corpus", "--config", tmp_path / "corpus.yaml", "--out", tmp_path / "out", "--set", override)
    assert reason in line
    assert not list((tmp_path / "out").rglob("*.tif"))


def test_refused_recipe_does_not_claim_the_folder(tmp_path, refused, capsys):
    (tmp_path / "corpus.yaml").write_text(CORPUS)
    arguments = ["corpus", "--config", tmp_path / "corpus.yaml", "--out", tmp_path / "out"]
    refused(*arguments, "--set", "recipe.porosity=-0.2")
    poreforge.cli.main([str(argument) for argument in arguments])
    assert capsys.readouterr().out.startswith("1 volumes in")


def test_configuration_that_is_missing_or_no_yaml_is_refused(tmp_path, refused):
    assert "does not exist" in refused("corpus", "--config", tmp_path / "none.yaml", "--out", tmp_path / "out")
    (tmp_path / "bad.yaml").write_text("recipe: [unclosed")
    assert "YAML" in refused("corpus", "--config", tmp_path / "bad.yaml", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Places that cannot be written


@pytest.fixture
def beneath_a_file(tmp_path):
    """Name a folder below a regular file: not even root can make it."""
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "out"


def test_segment_refuses_a_folder_that_cannot_be_made(beneath_a_file, tmp_path, grey, refused, tiny_model):
    volume.write(tmp_path / "grey.tif", grey)
    line = refused("segment", tmp_path / "grey.tif", "--model", tiny_model, "--out", beneath_a_file / "labels.tif")
    assert "cannot write to the output folder" in line


def test_characterise_refuses_a_folder_that_cannot_be_made(beneath_a_file, tmp_path, blobs, refused):
    np.save(tmp_path / "labels.npy", blobs())
    assert "cannot write to" in refused("characterise", tmp_path / "labels.npy", "--out", beneath_a_file)


def test_demo_refuses_a_folder_that_cannot_be_made(beneath_a_file, refused):
    assert "cannot write to the output folder" in refused("demo", "--out", beneath_a_file)


def test_corpus_refuses_a_folder_that_cannot_be_made(beneath_a_file, tmp_path, refused):
    (tmp_path / "corpus.yaml").write_text(CORPUS)
    line = refused("corpus", "--config", tmp_path / "corpus.yaml", "--out", beneath_a_file)
    assert "cannot write to the output folder" in line


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("labels.xyz", "suffix of no known format"),
        ("labels.png", "reading alone"),
        ("grey.tif", "would replace the volume"),
        ("folder.tif", "is a folder"),
    ],
)
def test_segment_refuses_an_output_before_it_begins(out, reason, tmp_path, grey, refused, tiny_model, monkeypatch):
    monkeypatch.setattr("segment.Segmenter.predict", lambda *_: pytest.fail("segmented before the output was checked"))
    volume.write(tmp_path / "grey.tif", grey)
    (tmp_path / "folder.tif").mkdir()
    before = sorted(tmp_path.iterdir())
    assert reason in refused("segment", tmp_path / "grey.tif", "--model", tiny_model, "--out", tmp_path / out)
    assert sorted(tmp_path.iterdir()) == before
    np.testing.assert_array_equal(volume.read(tmp_path / "grey.tif").array, grey)


@pytest.mark.parametrize("size", [("0", "1", "1"), ("-1", "1", "1"), ("nan", "1", "1")])
@pytest.mark.parametrize("command", ["segment", "characterise"])
def test_voxel_size_that_is_not_positive_is_refused(command, size, tmp_path, blobs, refused, tiny_model):
    volume.write(tmp_path / "v.tif", blobs())
    options = ["--model", tiny_model] if command == "segment" else []
    assert "voxel_size_um" in refused(command, tmp_path / "v.tif", "--voxel-size", *size, *options)


# The process itself


def test_process_ends_with_status_2_and_one_line(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "poreforge",
            "characterise",
            str(tmp_path / "nothing.tif"),
            "--out",
            str(tmp_path / "out"),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "POREFORGE_TRACEBACK"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"poreforge characterise: error: '{tmp_path / 'nothing.tif'}' does not exist; "
        "give the path of a volume's file or folder"
    ]
    assert not (tmp_path / "out").exists()
