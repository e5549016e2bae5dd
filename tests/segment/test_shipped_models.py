import dataclasses
from pathlib import Path

import numpy as np
import pytest

import segment
from evaluate import agreement
from launch import load_config
from segment.networks import count_parameters
from synth import fibsem, sphere_pack
from synth.production import CorpusConfig, produce_sample

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "segment"
SHIPPED_BYTES = 16 * 2**20


@pytest.fixture(scope="module")
def unseen():
    """An electrode and an instrument that no training corpus holds."""
    structure = sphere_pack((48, 128, 128), porosity=0.5, diameter_vox=20, rng=123)
    return structure, fibsem(structure, rng=123)


@pytest.fixture(scope="module")
def result(unseen):
    return segment.load("fibsem").predict(unseen[1])


def mean_iou(labels, structure):
    return np.mean(agreement(labels, structure, n_phases=2).iou)


def test_shipped_model_beats_the_thresholds_on_an_unseen_electrode(unseen, result):
    structure, grey = unseen
    found = mean_iou(result.labels, structure)
    assert found > 0.95
    assert found > mean_iou(segment.otsu(grey), structure)
    # This threshold is told the true porosity.
    assert found > mean_iou(segment.porosity_threshold(grey, structure.truth["porosity"]), structure)


def test_shipped_interval_holds_the_true_porosity(unseen, result):
    low, high = result.porosity_interval
    assert low < unseen[0].truth["porosity"] < high
    assert result.coverage >= 0.9
    assert high - low < 0.2


@pytest.mark.parametrize(
    ("recipe", "shape", "least"),
    [
        ("gdl-mpl/corpora/fine.yaml", [128, 96, 96], 0.95),
        ("ncm-particle/corpus.yaml", [60, 128, 128], 0.95),
        ("redox-cell/corpus.yaml", [96, 192, 128], 0.95),
    ],
)
def test_models_of_several_phases_label_an_unseen_volume_of_their_kind(recipe, shape, least):
    truth, grey, model = unseen_by_the_model_of(recipe, shape)
    right = np.mean(model.predict(grey).labels == truth.labels)
    assert right > least
    assert right > np.mean(segment.multi_otsu(grey, n_phases=len(model.phases)) == truth.labels) + 0.1


def test_thin_fibres_under_a_laboratory_tomograph_are_labelled():
    # Three volumes: in the first, fibres are hardly brighter than the pore.
    right, by_otsu = [], []
    for index in range(3):
        truth, grey, model = unseen_by_the_model_of("gdl-mpl/corpora/coarse.yaml", [96, 96, 96], index)
        right.append(np.mean(model.predict(grey).labels == truth.labels))
        by_otsu.append(np.mean(segment.multi_otsu(grey, n_phases=3) == truth.labels))
    assert np.mean(right) > 0.88
    assert np.mean(right) > np.mean(by_otsu) + 0.1


@pytest.mark.parametrize("name", ["paper", "felt"])
def test_a_mat_of_fibres_has_no_microporous_layer(name):
    truth, grey, model = unseen_by_the_model_of(f"gdl-mpl/corpora/{name}.yaml", [64, 96, 96])
    found = model.predict(grey).labels
    assert np.mean(found == 2) < 0.02
    assert np.mean(found == truth.labels) > 0.95


@pytest.mark.parametrize(("axes", "step"), [((0, 1, 2), -1), ((1, 0, 2), 1), ((2, 1, 0), -1)])
def test_a_microporous_layer_may_lie_on_any_side(axes, step):
    truth, grey, model = unseen_by_the_model_of("gdl-mpl/corpora/fine.yaml", [96, 96, 96])
    turned, labels = (np.ascontiguousarray(array.transpose(axes)[::step]) for array in (grey, truth.labels))
    assert min(agreement(model.predict(turned).labels, labels, n_phases=3).f1) > 0.9


@pytest.mark.parametrize("first", [(2, 1, 0), (1, 0, 2)])
def test_a_flow_cell_may_stand_upright(first):
    truth, grey, model = unseen_by_the_model_of("redox-cell/corpus.yaml", [112, 128, 128])
    upright, labels = (np.ascontiguousarray(array.transpose(first)) for array in (grey, truth.labels))
    found = model.predict(upright)
    assert min(agreement(found.labels, labels, n_phases=4).f1) > 0.8
    assert found.judgement.inside


def unseen_by_the_model_of(recipe, shape, index=0):
    """Return the truth and the grey values of a volume of a shipped model's corpus, and the model."""
    config = load_config(CorpusConfig, CONFIGS / recipe, [f"recipe.shape={shape}"])
    structure, image, _ = produce_sample(config.recipe, config.microscope, seed=987, index=index)
    model = segment.load(recipe.split("/")[0])
    assert structure.phases == model.phases[: len(structure.phases)]
    return dataclasses.replace(structure, labels=image.labels), image.grey, model


def test_pictures_are_known_to_the_models_that_have_learnt_from_their_kind(unseen):
    noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32)).astype(np.uint8)
    assert "fibsem" in segment.shipped_models_like(unseen[1])
    assert "fibsem" not in segment.shipped_models_like(noise)
    assert segment.shipped_models_like(np.zeros((2, 8, 8), np.uint8)) == []


def test_shipped_models_are_small_and_described():
    for name in segment.shipped_models():
        folder = segment.segmenter.WEIGHTS / name
        files = list(folder.rglob("*.safetensors"))
        assert files
        assert sum(path.stat().st_size for path in files) <= SHIPPED_BYTES
        card = (folder / "README.md").read_text(encoding="utf-8")
        for word in ("Data", "Seed", "Steps", "Hardware", "Scores"):
            assert word in card


def test_shipped_stages_fit_together():
    model = segment.load("fibsem")
    assert model.phases == ("pore", "solid")
    assert model.first.config["dims"] == 2
    assert model.refine is not None
    assert model.refine.config["dims"] == 3
    assert count_parameters(model.first) > count_parameters(model.refine)
