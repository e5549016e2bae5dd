import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import volume.corpus
from launch import ConfigError, load_config
from synth import build_structure, image_structure, production
from synth.production import CorpusConfig, produce_corpus, produce_sample
from volume import Corpus

ROOT = Path(__file__).resolve().parents[2]
CONFIG = CorpusConfig(
    recipe={"generator": "sphere_pack", "shape": [8, 10, 12], "porosity": {"uniform": [0.3, 0.7]}, "diameter_vox": 4},
    microscope={"instrument": "fibsem", "settings": "random"},
    count=4,
    seed=11,
    voxel_size_um=(0.02, 0.01, 0.01),
)


def config(**changes):
    return dataclasses.replace(CONFIG, **changes)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "whole"
    produce_corpus(CONFIG, folder)
    return folder


def test_corpus_holds_what_recipe_and_microscope_make(whole):
    corpus = Corpus(whole)
    assert len(corpus) == 4
    for index, sample in enumerate(corpus):
        structure, grey, entry = produce_sample(CONFIG.recipe, CONFIG.microscope, seed=11, index=index)
        assert np.array_equal(sample.labels, structure.labels)
        assert np.array_equal(sample.grey, grey)
        assert sample.labels.phases == ("pore", "solid")
        assert sample.labels.voxel_size_um == sample.grey.voxel_size_um == CONFIG.voxel_size_um
        assert sample.entry["truth"]["porosity"] == pytest.approx(np.mean(structure.labels == 0), abs=1e-12)
        assert sample.entry["recipe"]["porosity"] == entry["recipe"]["porosity"]
        assert sample.entry["microscope"]["dose"] == entry["microscope"]["dose"]


def test_line_of_the_manifest_is_enough_to_make_its_volume_again(whole):
    corpus = Corpus(whole)
    for sample in corpus:
        structure = build_structure(corpus.description["recipe"], seed=sample.entry["seed"]["structure"])
        grey, _ = image_structure(structure, corpus.description["microscope"], seed=sample.entry["seed"]["image"])
        assert np.array_equal(sample.labels, structure.labels)
        assert np.array_equal(sample.grey, grey)


def test_volumes_differ_from_each_other_and_from_those_of_another_seed(whole, tmp_path):
    produce_corpus(config(seed=12), tmp_path)
    labels = [sample.labels.array.tobytes() for folder in (whole, tmp_path) for sample in Corpus(folder)]
    assert len(set(labels)) == 8


def test_checksums_verify_and_notice_a_changed_byte(tmp_path):
    corpus = produce_corpus(config(count=2), tmp_path)
    assert corpus.verify() == []
    path = tmp_path / corpus.entries[1]["labels"]["file"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert len(corpus.verify()) == 1


@pytest.mark.parametrize("first", [1, 3])
def test_bytes_do_not_depend_on_how_many_volumes_were_asked_for_at_first(whole, tmp_path, first):
    produce_corpus(config(count=first), tmp_path)
    assert len(Corpus(tmp_path)) == first
    produce_corpus(CONFIG, tmp_path)
    assert contents(tmp_path) == contents(whole)


def test_finished_corpus_is_left_alone(whole):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*")}
    produce_corpus(CONFIG, whole)
    produce_corpus(config(count=2), whole)
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*")} == before


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("module", "function"), [(production, "produce_sample"), (volume.corpus, "_append_line")])
@pytest.mark.parametrize("done", [1, 2])
def test_interrupted_corpus_ends_in_the_same_bytes(whole, tmp_path, monkeypatch, module, function, done):
    """The run ends while it makes a volume, or between the volume's files and its line."""
    original, calls = getattr(module, function), iter(range(done))

    def dying(*arguments, **keywords):
        if next(calls, None) is None:
            raise Killed
        return original(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(module, function, dying)
        with pytest.raises(Killed):
            produce_corpus(CONFIG, tmp_path)
    assert len(Corpus(tmp_path)) == done
    produce_corpus(CONFIG, tmp_path)
    assert contents(tmp_path) == contents(whole)


def test_killed_process_leaves_a_corpus_that_goes_on_to_the_same_bytes(whole, tmp_path):
    paths, corpus = [str(ROOT), str(ROOT / "tests" / "synth")], str(tmp_path / "corpus")
    code = (
        f"import sys, time; sys.path[:0] = {paths!r}\n"
        "import test_production as t\n"
        "make = t.produce_sample\n"
        "t.production.produce_sample = lambda *a, **k: (time.sleep(0.2), make(*a, **k))[1]\n"
        f"t.produce_corpus(t.CONFIG, {corpus!r})\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE
    )
    manifest, deadline = tmp_path / "corpus" / "manifest.jsonl", time.monotonic() + 60
    while not manifest.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert 1 <= len(Corpus(tmp_path / "corpus")) < 4
    produce_corpus(CONFIG, tmp_path / "corpus")
    made = {
        name: content for name, content in contents(tmp_path / "corpus").items() if not Path(name).name.startswith(".")
    }
    assert made == contents(whole)


# Refusals


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": 12}, "'seed' was 11 and is now 12"),
        ({"recipe": CONFIG.recipe | {"diameter_vox": 5}}, r"'recipe\.diameter_vox' was 4 and is now 5"),
        ({"microscope": {"instrument": "fibsem"}}, r"'microscope\.settings' is no longer there"),
        ({"voxel_size_um": None}, "'voxel_size_um' was"),
    ],
)
def test_another_recipe_in_the_same_folder_is_refused_and_changes_nothing(whole, change, key):
    before = contents(whole)
    with pytest.raises(ValueError, match=key):
        produce_corpus(config(**change), whole)
    assert contents(whole) == before


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": CONFIG.recipe | {"porosity": -0.2}},
        {"recipe": CONFIG.recipe | {"porosity": "many"}},
        {"microscope": {"instrument": "tem"}},
        {"microscope": {"instrument": "fibsem", "settings": {"dose": "many"}}},
        {"voxel_size_um": (0.01, -0.01, 0.01)},
    ],
)
def test_refused_settings_leave_nothing_so_that_the_mended_ones_may_follow(tmp_path, change):
    folder = tmp_path / "corpus"
    with pytest.raises(ValueError):  # noqa: PT011 - which one is told elsewhere
        produce_corpus(config(**change), folder)
    assert not folder.exists()
    assert len(produce_corpus(config(count=1), folder)) == 1


def test_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot write to the output folder"):
        produce_corpus(CONFIG, tmp_path / "file" / "corpus")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("count=0", "count is 0; give the number of volumes"),
        ("seed=-1", "seed is -1; give a whole number"),
        ("voxel_size_um=[1, 2]", "'voxel_size_um' has 2 entries; it must have 3"),
        ("microscop.settings=default", "did you mean 'microscope'"),
    ],
)
def test_configuration_errors_name_the_key(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(CorpusConfig, ROOT / "configs" / "corpus.yaml", [override])
