import numpy as np
import pytest
from scipy import ndimage

import volume
from poreforge.cli import main
from segment.correction import CorrectionSettings, correct
from volume import Volume

SIZE = (0.02, 0.01, 0.01)


@pytest.fixture
def clean():
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.standard_normal((9, 80, 88)), 4, mode="wrap")
    grey = ndimage.gaussian_filter(np.where(field > 0, 0.7, 0.2), (0, 0.7, 0.7))
    return np.clip(220 * (grey + 0.05 * rng.standard_normal(grey.shape)), 0, 255).astype(np.uint8)


@pytest.fixture
def uneven(clean):
    return np.clip(clean * np.linspace(0.75, 1.25, 88), 0, 255).astype(np.uint8)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(["correct", *map(str, arguments)])


def test_stack_numbers_and_report_are_those_of_the_correction(
    run, tmp_path, uneven, strict_json, self_contained_page, capsys
):
    volume.write("raw.tif", Volume(uneven, SIZE))
    run("raw.tif", "--out", "out/even.tif", "--step", "drift=off", "--step", "foreshortening=off")
    expected = correct(Volume(uneven, SIZE), CorrectionSettings(drift="off", foreshortening="off"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "even-summary.json",
        "even.html",
        "even.tif",
    ]
    found = volume.read("out/even.tif")
    np.testing.assert_array_equal(found.array, expected.stack.array)
    assert found.voxel_size_um == pytest.approx(SIZE)
    summary = strict_json(tmp_path / "out" / "even-summary.json")
    assert not summary["untouched"]
    assert [step["name"] for step in summary["steps"] if step["applied"]] == ["background"]
    assert summary["settings"]["drift"] == "off"
    page = self_contained_page(tmp_path / "out" / "even.html")
    assert sum(tag == "img" for tag, _ in page.tags) == 9
    assert capsys.readouterr().out == "corrected background; stack in out/even.tif, report in out/even.html\n"


def test_a_stack_that_needs_nothing_comes_back_as_it_was(run, clean, tmp_path, strict_json, capsys):
    volume.write("raw.tif", clean)
    run("raw.tif")
    np.testing.assert_array_equal(volume.read("raw-corrected.tif").array, clean)
    assert volume.read("raw-corrected.tif").voxel_size_um is None
    assert strict_json(tmp_path / "raw-corrected-summary.json")["untouched"]
    assert "untouched, to the byte" in (tmp_path / "raw-corrected.html").read_text(encoding="utf-8")
    assert capsys.readouterr().out.startswith("nothing had to be corrected; ")


def test_steps_come_from_a_file_and_the_command_line_wins(run, uneven, tmp_path, strict_json):
    volume.write("raw.npy", uneven)
    (tmp_path / "steps.yaml").write_text("background: off\ndrift: off\ncontrast: stretch\n", encoding="utf-8")
    run("raw.npy", "--config", "steps.yaml", "--step", "contrast=off", "--out", "same.npy")
    np.testing.assert_array_equal(np.load("same.npy"), uneven)
    settings = strict_json(tmp_path / "same-summary.json")["settings"]
    assert (settings["background"], settings["drift"], settings["contrast"]) == ("off", "off", "off")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--step", "curtains=off"), "unknown configuration key 'curtains'"),
        (("--step", "gain=maybe"), "'gain' is 'maybe'; it must be one of 'auto', 'on', 'off'"),
        (("--step", "gain"), "'gain' is not of the form key=value"),
        (("--out", "raw.tif"), "would replace the stack 'raw.tif' itself; choose another name with --out"),
        (("--out", "raw.docx"), "docx"),
        (("--voxel-size", "0", "1", "1"), "three positive numbers"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    refused, clean, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    volume.write("raw.tif", clean)
    before = (tmp_path / "raw.tif").read_bytes()
    assert message in refused("correct", "raw.tif", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["raw.tif"]
    assert (tmp_path / "raw.tif").read_bytes() == before


def test_labels_and_tiny_stacks_are_refused_in_a_sentence(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    volume.write("tiny.tif", np.random.default_rng(0).integers(0, 255, (4, 20, 20)).astype(np.uint8))
    assert "at least 1 × 48 × 48" in refused("correct", "tiny.tif")
    assert not (tmp_path / "tiny-corrected.tif").exists()
