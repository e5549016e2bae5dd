import dataclasses
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import volume.corpus
from launch import ConfigError, load_config, to_plain
from synth import FibsemSettings, build_structure, image_structure, production, recipes
from synth.microscope_image import MicroscopeImage
from synth.production import CorpusConfig, produce_corpus, produce_sample
from volume import Corpus

ROOT = Path(__file__).resolve().parents[2]
CONFIG = CorpusConfig(
    recipe={"generator": "sphere_pack", "shape": [8, 10, 12], "porosity": {"uniform": [0.3, 0.7]}, "diameter_vox": 4},
    microscope={"instrument": "fibsem", "settings": {"dose": {"uniform": [50, 400]}}},
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
        structure, image, entry = produce_sample(CONFIG.recipe, CONFIG.microscope, seed=11, index=index)
        assert np.array_equal(sample.labels, image.labels)
        assert np.array_equal(sample.grey, image.grey)
        assert sample.labels.phases == ("pore", "solid")
        assert sample.labels.voxel_size_um == sample.grey.voxel_size_um == CONFIG.voxel_size_um
        assert sample.entry["truth"]["porosity"] == pytest.approx(np.mean(structure.labels == 0), abs=1e-12)
        assert sample.entry["recipe"]["porosity"] == entry["recipe"]["porosity"]
        assert 50 <= sample.entry["microscope"]["settings"]["dose"] == entry["microscope"]["settings"]["dose"] <= 400


def test_line_of_the_manifest_is_enough_to_make_its_volume_again(whole):
    corpus = Corpus(whole)
    for sample in corpus:
        structure = build_structure(corpus.description["recipe"], seed=sample.entry["seed"]["structure"])
        image = image_structure(structure, corpus.description["microscope"], seed=sample.entry["seed"]["image"])
        assert np.array_equal(sample.labels, image.labels)
        assert np.array_equal(sample.grey, image.grey)


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
        "make, waits = t.produce_sample, iter((0, 0.2, 0.2, 600))\n"
        "t.production.produce_sample = lambda *a, **k: (time.sleep(next(waits)), make(*a, **k))[1]\n"
        f"t.produce_corpus(t.CONFIG, {corpus!r})\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE
    )
    manifest, deadline = tmp_path / "corpus" / "manifest.jsonl", time.monotonic() + 60
    # The file is there a moment before its first line is.
    while not (manifest.exists() and b"\n" in manifest.read_bytes()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert 1 <= len(Corpus(tmp_path / "corpus")) < 4
    produce_corpus(CONFIG, tmp_path / "corpus")
    assert contents(tmp_path / "corpus") == contents(whole)


# What a microscope changes


BINNED = np.float32([[[0, 51 / 255]], [[1, 204 / 255]]])
FAR = np.arange(2000.0)


@pytest.fixture
def binning(monkeypatch):
    """Install a microscope whose pixels are 4 x 5 x 6 voxels, with 8 bits, and which shows nothing but solid."""

    def image(labels, settings, *, rng):
        truth = {"drift_px": np.zeros((2, 2)), "path": FAR}
        return MicroscopeImage(BINNED, np.ones(BINNED.shape, np.uint8), (4, 5.0, np.float64(6)), truth, settings)

    microscope = recipes.Microscope({"default": FibsemSettings()}, image)
    monkeypatch.setitem(recipes.MICROSCOPES, "binning", microscope)
    return {"instrument": "binning"}


def test_sample_has_the_geometry_and_the_labels_of_its_image(tmp_path, binning):
    (sample,) = produce_corpus(config(count=1, microscope=binning), tmp_path)
    assert sample.labels.shape == sample.grey.shape == tuple(sample.entry["shape"]) == (2, 1, 2)
    assert sample.labels.voxel_size_um == sample.grey.voxel_size_um == pytest.approx((0.08, 0.05, 0.06), rel=1e-12)
    assert sample.labels.phases == ("pore", "solid")
    assert 0.2 < sample.entry["truth"]["porosity"] < 0.8
    assert sample.entry["image"] == {
        "porosity": 0.0,
        "fractions": [0.0, 1.0],
        "voxel_scale": [4.0, 5.0, 6.0],
        "drift_px": [[0.0, 0.0], [0.0, 0.0]],
        "path": {"map_shape": [2000]},
    }
    assert np.array_equal(sample.maps["image.path"], FAR)
    assert sample.entry["microscope"] == {
        "instrument": "binning", "preset": "default", "settings": to_plain(FibsemSettings()),
    }  # fmt: skip


def test_eight_bits_are_stored_as_eight_bits(tmp_path, binning):
    (sample,) = produce_corpus(config(count=1, microscope=binning), tmp_path)
    assert sample.grey.array.dtype == np.uint8
    assert sample.grey.array.ravel().tolist() == [0, 51, 255, 204]


@pytest.mark.parametrize(("dtype", "highest"), [(np.uint8, 255), (np.uint16, 65535)])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_every_level_of_a_quantised_image_is_stored_exactly(dtype, highest, precision):
    levels = np.arange(highest + 1, dtype=dtype).reshape(1, 2, -1)
    grey = (levels / precision(highest)).astype(np.float32)
    stored = production._as_stored(grey)
    assert stored.dtype == dtype
    assert np.array_equal(stored, levels)


@pytest.mark.parametrize("grey", [[0.5, 0.25], [0.0, 256 / 255], [0.0, -1 / 255], [0.0, 1.0 - 2**-24]])
def test_other_grey_values_stay_as_they_are(grey):
    grey = np.float32(grey).reshape(1, 1, 2)
    assert production._as_stored(grey) is grey


def test_network_sees_the_same_whether_the_bits_are_stored_or_the_fractions():
    from segment.preprocessing import normalise  # torch is slow to load

    levels = np.random.default_rng(0).integers(0, 256, (4, 16, 16)).astype(np.uint8)
    grey = (levels / 255).astype(np.float32)
    # A few roundings of numbers near 1 in single precision.
    np.testing.assert_allclose(normalise(production._as_stored(grey)), normalise(grey), atol=8 * 2**-24)


# The disk


@pytest.mark.parametrize(
    ("share", "advice"), [(0.9, r"take fewer volumes \(--set count=3\)$"), (0.2, "choose a folder on another disk$")]
)
def test_disk_too_small_for_all_volumes_is_refused_before_the_first(tmp_path, monkeypatch, share, advice):
    needed = 4 * production._bytes_in_memory(production._produce_volumes(CONFIG, 0))
    assert needed >= 4 * 960 * (4 + 1)  # grey values and labels
    monkeypatch.setattr(production.shutil, "disk_usage", lambda _: SimpleNamespace(free=share * needed))
    with pytest.raises(ValueError, match=rf"4 volumes need about {needed / 1e3:.3g} kB and the disk of .*{advice}"):
        produce_corpus(CONFIG, tmp_path / "new" / "corpus")
    assert list(tmp_path.iterdir()) == []


def test_room_is_estimated_as_files_turn_out(tmp_path):
    recipe = CONFIG.recipe | {"shape": [48, 64, 64]}
    corpus = produce_corpus(config(recipe=recipe, count=1), tmp_path)
    estimate = production._bytes_in_memory(production._produce_volumes(config(recipe=recipe), 0))
    assert estimate == pytest.approx(production._bytes_on_disk(corpus), rel=0.05)


def test_room_is_needed_for_the_missing_volumes_only(tmp_path, monkeypatch):
    produce_corpus(config(count=3), tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.glob("*/*.*")) / 3
    monkeypatch.setattr(production.shutil, "disk_usage", lambda _: SimpleNamespace(free=1.01 * size))
    with pytest.raises(ValueError, match=r"2 volumes need .*--set count=4"):
        produce_corpus(config(count=5), tmp_path)
    assert len(produce_corpus(config(count=4), tmp_path)) == 4


def test_disk_that_fills_up_keeps_what_is_complete_and_the_run_goes_on(whole, tmp_path):
    """The manifest meets a limit on the size of files, which tears a line; then a volume's file does, at two places."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    line = len((whole / "manifest.jsonl").read_bytes()) // 4
    volume_size = (whole / "grey" / "000000.tif").stat().st_size
    assert volume_size < 3.5 * line
    try:
        for limit in (int(3.5 * line), 100, volume_size // 2):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            with pytest.raises(
                ValueError, match=r"is full.* 3 of 4 volumes are complete and stay; make room"
            ) as refusal:
                produce_corpus(CONFIG, tmp_path)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert "\n" not in str(refusal.value)
            assert len(Corpus(tmp_path)) == 3
            assert Corpus(tmp_path).verify() == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    produce_corpus(CONFIG, tmp_path)
    assert contents(tmp_path) == contents(whole)


# The bar


def test_bar_tells_volumes_a_minute_and_the_time_left():
    text = production._Bar.format_meter(
        10, 20, 30.0, rate=0.25, prefix="volumes", ncols=80, bar_format=production.BAR, pace="15 volumes/min"
    )
    assert text.startswith("volumes:  50%|")
    assert text.endswith("| 10/20 [00:30<00:40, 15 volumes/min]")


def test_bar_works_out_its_pace_and_is_silent_in_a_pipe(monkeypatch):
    assert production._progress(4, 4).disable
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with production._progress(4, 2) as bar:
        assert not bar.disable
        bar.update(2)
        known = bar.format_dict
    assert float(known["pace"].split()[0]) > 0
    assert known["initial"] == 2


# Refusals


def test_corpus_that_another_process_is_writing_is_refused(tmp_path):
    corpus = produce_corpus(config(count=1), tmp_path)
    with corpus.writing(), pytest.raises(ValueError, match="another process is writing to the corpus"):
        produce_corpus(CONFIG, tmp_path)


def test_volume_that_was_deleted_is_made_again(whole, tmp_path):
    produce_corpus(CONFIG, tmp_path)
    (tmp_path / "grey" / "000001.tif").unlink()
    produce_corpus(CONFIG, tmp_path)
    assert contents(tmp_path) == contents(whole)


def test_manifest_in_another_order_is_sorted_under_the_lock(whole, tmp_path):
    corpus = produce_corpus(CONFIG, tmp_path)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[::-1]))
    with corpus.writing(), pytest.raises(ValueError, match="another process is writing to the corpus"):
        produce_corpus(CONFIG, tmp_path)
    produce_corpus(CONFIG, tmp_path)
    assert contents(tmp_path) == contents(whole)


def test_volume_that_cannot_be_made_is_named_and_the_others_stay(tmp_path):
    recipe = CONFIG.recipe | {"diameter_vox": {"choice": [4, 4, 4, -1]}}
    with pytest.raises(ValueError, match=r"^volume \d+: ") as refusal:
        produce_corpus(config(recipe=recipe, count=40, seed=5), tmp_path)
    done = int(str(refusal.value).split(":")[0].removeprefix("volume "))
    assert 0 < done == len(Corpus(tmp_path))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": 12}, "'seed' was 11 and is now 12"),
        ({"recipe": CONFIG.recipe | {"diameter_vox": 5}}, r"'recipe\.diameter_vox' was 4 and is now 5"),
        ({"microscope": {"instrument": "fibsem"}}, r"'microscope\.settings' is no longer there"),
        ({"microscope": CONFIG.microscope | {"preset": "default"}}, r"'microscope\.preset' is new"),
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
