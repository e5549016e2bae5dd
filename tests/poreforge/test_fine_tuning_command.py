"""`poreforge segment --strokes`: strokes in, a model of one's own out, and labels by it."""

import json

import numpy as np
import pytest

import poreforge.fine_tuning
import segment
from poreforge.cli import main
from poreforge.fine_tuning import fine_tune_file
from volume import Volume, read, write


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """A stack of a dark and a bright half, and a few labelled rows of both in two slices."""
    folder = tmp_path_factory.mktemp("painted")
    rng = np.random.default_rng(0)
    truth = np.zeros((6, 48, 48), np.uint8)
    truth[:, :, 24:] = 1
    grey = np.clip(0.3 + 0.4 * truth + 0.05 * rng.standard_normal(truth.shape), 0, 1)
    strokes = np.full(truth.shape, 255, np.uint8)
    for z in (1, 4):
        for row in range(4, 44, 8):
            strokes[z, row] = truth[z, row]
    write(folder / "grey.tif", Volume(grey.astype(np.float32)))
    write(folder / "strokes.tif", Volume(strokes))
    write(folder / "painted.tif", Volume(np.where(strokes == 255, 0, strokes + 1).astype(np.uint8)))
    return folder


def test_strokes_make_a_model_that_segments(painted, tmp_path, capsys):
    out, kept = tmp_path / "labels.tif", tmp_path / "mine"
    main(
        ["segment", str(painted / "grey.tif"), "--strokes", str(painted / "strokes.tif"), "--minutes", "0.02",
         "--phases", "left", "right", "--keep-model", str(kept), "--out", str(out)]
    )  # fmt: skip
    assert "of strokes held back it labels rightly left" in capsys.readouterr().out
    assert segment.load(kept).phases == ("left", "right")
    assert json.loads((kept / "fine-tuning.json").read_text())["model"] == "fibsem"
    assert read(out).phases == ("left", "right")
    # The same labels come from the model that was kept, with no strokes.
    again = tmp_path / "again.tif"
    main(["segment", str(painted / "grey.tif"), "--model", str(kept), "--out", str(again)])
    assert np.array_equal(read(again).array, read(out).array)


def test_paint_that_counts_from_one_means_the_same(painted, tmp_path, monkeypatch):
    seen = []

    class StopError(Exception):
        pass

    def note(segmenter, grey, marks, **options):
        seen.append(marks)
        raise StopError

    monkeypatch.setattr(poreforge.fine_tuning, "fine_tune", note)
    for file, unlabelled in (("strokes.tif", 255), ("painted.tif", 0)):
        with pytest.raises(StopError):
            fine_tune_file(
                painted / "grey.tif", painted / file, tmp_path / "model", model="fibsem", unlabelled=unlabelled
            )
    assert np.array_equal(*seen)
    assert set(np.unique(seen[0])) == {0, 1, 255}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--minutes", "1"], "--minutes is for --strokes"),
        (["--strokes", "{}/strokes.tif", "--unlabelled", "7"], "unlabelled is 7"),
        (["--strokes", "{}/painted.tif", "--phases", "a"], "phases"),
        (["--strokes", "{}/grey.tif"], "strokes"),
        (["--strokes", "{}/none.tif"], "none.tif"),
    ],
)
def test_what_is_refused_leaves_nothing(painted, tmp_path, capsys, arguments, reason):
    out = tmp_path / "labels.tif"
    arguments = [text.format(painted) for text in arguments]
    kept = ["--keep-model", str(tmp_path / "mine")] if "--strokes" in arguments else []
    with pytest.raises(SystemExit) as stop:
        main(["segment", str(painted / "grey.tif"), "--out", str(out), *arguments, *kept])
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert reason in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
