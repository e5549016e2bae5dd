import math
import re
import time
from pathlib import Path

import numba
import numpy as np
import pytest
import torch

import poreforge
import volume
from evaluate import agreement, porosity
from launch import load_config
from poreforge.cli import main
from poreforge.demo import DemoConfig, _crop, _score_section
from poreforge.demo_generation import (
    GenerationSettings,
    generate_electrode,
    generation_section,
    measure_generated,
)
from poreforge.scores import SCORES
from segment.training import TrainingConfig
from synth.production import CorpusConfig

CONFIGS = Path(poreforge.__file__).resolve().parent.parent / "configs"
TINY = """
seed: 3
shape: [32, 32, 32]
diameter_vox: 10
blender_slices: 0
generated: {count: 1, shape: [16, 16, 16], steps: 1}
training:
  count: 3
  validation: 1
  shape: [32, 32, 32]
  slices: {steps: 4, batch_size: 2, checkpoint_every: 2}
  refine: {steps: 2, batch_size: 2, checkpoint_every: 2}
"""
METHODS = ["Otsu", "porosity threshold", "2-D U-Net", "two-stage U-Net"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run a tiny demo once; its scores mean nothing, but all of the chain is there."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "demo.yaml").write_text(TINY)
    arguments = ["demo", "--config", str(folder / "demo.yaml"), "--out", str(folder / "out")]
    # numba's first parallel call would set torch's threads back, and small steps in two threads wait for each other.
    before = numba.get_num_threads(), torch.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    main(arguments)
    numba.set_num_threads(before[0])
    torch.set_num_threads(before[1])
    return folder / "out", arguments


def test_summary_has_every_score_of_every_method(demo, strict_json):
    summary = strict_json(demo[0] / "summary.json")
    assert list(summary["methods"]) == METHODS
    for scores in summary["methods"].values():
        assert scores.keys() == SCORES.keys()
    truth = summary["truth"]["porosity"]
    assert truth == pytest.approx(0.45, abs=0.001)
    # Told the porosity, that threshold meets it to a voxel where no two voxels share the value.
    assert abs(summary["methods"]["porosity threshold"]["porosity_error"]) < 0.001
    low, high = summary["porosity_interval"]
    assert 0 <= low <= summary["methods"]["two-stage U-Net"]["porosity"] <= high <= 1
    assert summary["interval_coverage"] == 1 / 2
    assert summary["training"] == {"volumes": 3, "set_aside": 1}
    assert summary["config"]["seed"] == 3
    assert all(seconds >= 0 for seconds in summary["seconds"].values())


def test_scores_are_those_of_the_volumes_that_are_written(demo, strict_json):
    out, _ = demo
    summary = strict_json(out / "summary.json")
    truth, found, grey = (volume.read(out / "volumes" / f"{name}.tif") for name in ("truth", "two-stage", "grey"))
    assert porosity(truth) == summary["truth"]["porosity"]
    assert grey.shape == truth.shape == found.shape == (32, 32, 32)
    assert grey.voxel_size_um == truth.voxel_size_um == pytest.approx((0.01, 0.01, 0.01))
    assert truth.phases == ("pore", "solid")
    match = agreement(found, truth, n_phases=2)
    assert summary["methods"]["two-stage U-Net"]["iou_pore"] == match.iou[0]
    assert summary["methods"]["two-stage U-Net"]["accuracy"] == match.accuracy


def test_unseen_volume_is_none_of_the_training_corpus(demo):
    out, _ = demo
    truth = volume.read(out / "volumes" / "truth.tif").array
    for sample in volume.Corpus(out / "corpus"):
        assert not np.array_equal(sample.labels.array, truth)


def test_report_shows_slices_scores_and_curves(demo, self_contained_page):
    page = self_contained_page(demo[0] / "report.html")
    # One volume of the generative model and one of its recipe are shown beside the ten others.
    assert sum(tag == "img" for tag, _ in page.tags) == 12
    text = "".join(page.text)
    titles = ("Two-point correlation", "New volumes of an electrode")
    for piece in (*METHODS, *(head for head, _, _ in SCORES.values()), *titles):
        assert piece in text
    assert "in Blender" not in text
    assert "nan" not in text.lower().split()


def test_same_command_again_goes_on_where_it_was_and_scores_the_same(demo, strict_json, capsys):
    out, arguments = demo
    before = strict_json(out / "summary.json")
    weights = {path: path.read_bytes() for path in (out / "refine" / "segmenter").rglob("*") if path.is_file()}
    start = time.perf_counter()
    main(arguments)
    assert time.perf_counter() - start < 60
    after = strict_json(out / "summary.json")
    for key in ("methods", "generated", "truth", "porosity_interval", "config"):
        assert after[key] == before[key]
    assert {path: path.read_bytes() for path in weights} == weights
    assert capsys.readouterr().out.endswith(f"open {out / 'report.html'}\n")


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("training.slices.learning_rate=0.1", "trained with loop.learning_rate = 0.002, now loop.learning_rate = 0.1"),
        ("seed=4", "the corpus .* was made from another description"),
        ("training.shape=[40, 32, 32]", "the corpus .* was made from another description"),
    ],
)
def test_folder_of_another_demo_is_refused_and_its_results_stay(demo, override, reason, refused_demo):
    out, arguments = demo
    before = {name: (out / name).read_bytes() for name in ("report.html", "summary.json")}
    assert refused_demo(reason, *arguments, "--set", override)
    assert {name: (out / name).read_bytes() for name in before} == before


@pytest.fixture
def refused_demo(capsys):
    def run(reason, *arguments):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        return re.search(reason, capsys.readouterr().err)

    return run


def test_crops_are_the_demos_own_and_shrink_with_small_volumes():
    assert _crop((96, 96, 96), flat=True) == (96, 96)
    assert _crop((96, 96, 96), flat=False) == (32, 32, 32)
    assert _crop((24, 200, 31), flat=True) == (24, 24)
    assert _crop((24, 200, 31), flat=False) == (24, 24, 24)
    assert _crop((100, 100, 100), flat=True) == (96, 96)


def test_score_without_a_number_is_a_dash_and_never_the_best():
    scores = {method: dict.fromkeys(SCORES, 0.5) for method in METHODS}
    scores["Otsu"]["chamfer"] = math.nan
    scores["2-D U-Net"]["chamfer"] = 0.25
    for method in METHODS:
        scores[method]["hausdorff95"] = math.nan
    (table,) = _score_section(scores).tables
    keys = list(SCORES)
    chamfer, hausdorff = keys.index("chamfer"), keys.index("hausdorff95")
    assert table.rows[chamfer][1:] == ["–", "0.500", "0.250", "0.500"]
    assert table.best[chamfer] == {3}
    assert table.rows[hausdorff][1:] == ["–"] * 4
    assert table.best[hausdorff] == frozenset()
    # Porosity itself is neither good nor bad; of equal scores all are the best.
    assert table.best[keys.index("porosity")] == frozenset()
    assert table.best[keys.index("accuracy")] == {1, 2, 3, 4}


def test_error_nearest_to_zero_is_the_best_whatever_its_sign():
    scores = {method: dict.fromkeys(SCORES, value) for method, value in zip(METHODS, (-3, 2, -1, 4), strict=True)}
    (table,) = _score_section(scores).tables
    assert table.best[list(SCORES).index("specific_surface_error")] == {3}


# The configurations that come with the project


def test_demo_configuration_file_holds_the_defaults():
    assert load_config(DemoConfig, CONFIGS / "demo.yaml") == DemoConfig()


FILES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml"))


def describes_a_corpus(file):
    return file.endswith("corpus.yaml") or (file.startswith("segment/") and "/corpora/" in file)


@pytest.mark.parametrize("file", [file for file in FILES if describes_a_corpus(file)])
def test_corpus_configuration_file_loads(file):
    assert load_config(CorpusConfig, CONFIGS / file).count > 1


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.startswith("segment/") and not describes_a_corpus(file)]
)
def test_training_configuration_file_loads(file):
    config = load_config(TrainingConfig, CONFIGS / file)
    assert config.stage in file or (file, config.stage) == ("segment/best.yaml", "slices")


def test_no_configuration_file_of_corpora_and_segmenters_is_left_untested():
    assert {"corpus.yaml", "demo.yaml", "segment/slices.yaml", "segment/refine.yaml"} <= set(FILES)
    # Recipes of materials are built in tests/synth/test_gallery.py, the papers' corpora in test_production_configs.py.
    rest = {file for file in FILES if not file.startswith(("generative/", "segment/", "materials/", "corpora/"))}
    assert rest == {"corpus.yaml", "demo.yaml"}


def test_generated_section_sets_the_model_beside_the_recipe():
    settings = GenerationSettings(count=2, shape=(16, 16, 16), steps=1)
    generated = generate_electrode(settings, seed=0)
    assert generated.volumes.shape == generated.recipe.shape == (2, 16, 16, 16)
    means = measure_generated(generated)
    for name, volumes in (("model", generated.volumes), ("recipe", generated.recipe)):
        for label, phase in enumerate(generated.phases):
            assert means[name][phase]["fraction"] == pytest.approx((volumes == label).mean())
    section = generation_section(generated, settings)
    assert [row[0] for row in section.tables[0].rows] == ["pore", "GDC", "LSCF"]
    assert section.tables[0].rows[0][1] == f"{means['model']['pore']['fraction']:.3f}"
    assert len(section.figures[0].pictures) == 4
