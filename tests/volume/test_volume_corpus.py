"""The corpus survives what happens to long runs."""

import dataclasses
import json

import numpy as np
import pytest

from volume import Corpus, Volume
from volume.corpus import write_volumes

DESCRIPTION = {"recipe": {"name": "spheres", "porosity": 0.4, "shape": (4, 5, 6)}, "microscope": {"tilt": 52.0}}


def make(corpus, index):
    rng = np.random.default_rng(index)
    labels = Volume(rng.integers(0, 2, (4, 5, 6)).astype(np.uint8), (0.1, 0.2, 0.3), ["pore", "solid"])
    grey = rng.random((4, 5, 6)).astype(np.float32)
    truth = {"porosity": np.float64(0.25), "centres": np.arange(6).reshape(2, 3), "tortuosity": np.inf}
    recipe = {"n": np.int64(7), "overlap": np.bool_(True)}
    return corpus.write_sample(
        index, grey, labels, seed=1000 + index, recipe=recipe, truth=truth, microscope={"blur": np.float32(0.5)}
    )


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_sample_comes_back_as_it_went_in(tmp_path):
    corpus = Corpus.create(tmp_path / "c", description=DESCRIPTION)
    written = make(corpus, 0)
    (sample,) = Corpus(tmp_path / "c")
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(sample.labels.array, rng.integers(0, 2, (4, 5, 6)))
    np.testing.assert_array_equal(sample.grey.array, rng.random((4, 5, 6)).astype(np.float32))
    assert sample.grey.voxel_size_um == sample.labels.voxel_size_um == (0.1, 0.2, 0.3)
    assert sample.labels.phases == ("pore", "solid")
    assert sample.entry == written
    assert sample.entry | {"grey": None, "labels": None} == {
        "index": 0,
        "seed": 1000,
        "recipe": {"n": 7, "overlap": True},
        "microscope": {"blur": 0.5},
        "truth": {"porosity": 0.25, "centres": [[0, 1, 2], [3, 4, 5]], "tortuosity": None},
        "image": None,
        "voxel_size_um": [0.1, 0.2, 0.3],
        "phases": ["pore", "solid"],
        "shape": [4, 5, 6],
        "grey": None,
        "labels": None,
    }


def test_maps_of_the_truth_come_back_from_a_file_of_their_own(tmp_path):
    corpus = Corpus.create(tmp_path / "c", description=DESCRIPTION)
    labels, thickness = np.ones((4, 40, 50), np.uint8), np.arange(2000.0).reshape(40, 50)
    truth = {"porosity": 0.5, "thickness": thickness, "profile": np.arange(3)}
    entry = corpus.write_sample(0, labels, labels, seed=1, recipe={}, truth=truth)
    assert entry["truth"] == {"porosity": 0.5, "thickness": {"map_shape": [40, 50]}, "profile": [0, 1, 2]}
    (sample,) = Corpus(tmp_path / "c")
    assert list(sample.maps) == ["thickness"]
    np.testing.assert_array_equal(sample.maps["thickness"], thickness)
    assert corpus.verify() == []
    file = tmp_path / "c" / entry["maps"]["file"]
    file.write_bytes(file.read_bytes()[:-40])
    assert len(corpus.verify()) == 1
    with pytest.raises(ValueError, match="cannot be read"):
        corpus[0]
    file.unlink()
    assert "missing" in corpus.verify()[0]


def test_large_arrays_of_the_image_lie_beside_those_of_the_structure(tmp_path):
    corpus = Corpus.create(tmp_path / "c", description=DESCRIPTION)
    labels, map_, drift = np.ones((4, 40, 50), np.uint8), np.arange(2000.0), np.arange(4000.0).reshape(2000, 2)
    entry = corpus.write_sample(
        0, labels, labels, seed=1, recipe={}, truth={"map": map_}, image={"map": drift, "z": np.arange(4)}
    )
    assert entry["truth"] == {"map": {"map_shape": [2000]}}
    assert entry["image"] == {"map": {"map_shape": [2000, 2]}, "z": [0, 1, 2, 3]}
    maps = Corpus(tmp_path / "c")[0].maps
    assert sorted(maps) == ["image.map", "map"]
    np.testing.assert_array_equal(maps["image.map"], drift)
    np.testing.assert_array_equal(maps["map"], map_)


def test_a_sample_without_maps_has_no_file_for_them(tmp_path):
    corpus = Corpus.create(tmp_path / "c", description=DESCRIPTION)
    assert "maps" not in make(corpus, 0)
    assert corpus[0].maps == {}
    assert not (tmp_path / "c" / "maps").exists()


def test_samples_are_in_the_order_of_their_indices(tmp_path):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    for index in (3, 0, 5):
        make(corpus, index)
    for opened in (corpus, Corpus(tmp_path)):
        assert len(opened) == 3
        assert [sample.entry["index"] for sample in opened] == [0, 3, 5]
        assert opened[-1].entry["index"] == 5
        assert [sample.entry["index"] for sample in opened[1:]] == [3, 5]
        assert opened.missing(7) == [1, 2, 4, 6]
    with pytest.raises(IndexError):
        corpus[3]


def test_append_takes_the_lowest_free_index(tmp_path):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    make(corpus, 1)
    grey = labels = np.zeros((2, 2, 2), np.uint8)
    assert [corpus.append(grey, labels, seed=0, recipe={})["index"] for _ in range(2)] == [0, 2]


def test_a_resumed_run_gives_the_same_bytes_as_one_without_a_break(tmp_path):
    whole = Corpus.create(tmp_path / "whole", description=DESCRIPTION)
    for index in whole.missing(4):
        make(whole, index)

    broken = Corpus.create(tmp_path / "broken", description=DESCRIPTION)
    for index in (0, 1, 2):
        make(broken, index)
    # Killed while the line of sample 2 was written, with the first of the files of sample 3 half done.
    manifest = tmp_path / "broken" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-40])
    (tmp_path / "broken" / "grey" / "000003.tif").write_bytes(b"half")

    resumed = Corpus.create(tmp_path / "broken", description=DESCRIPTION)
    assert len(resumed) == 2
    assert resumed.missing(4) == [2, 3]
    for index in resumed.missing(4):
        make(resumed, index)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert Corpus(tmp_path / "broken").verify() == []


def test_manifest_is_put_in_order_and_then_left_alone(tmp_path):
    ordered, mixed = (Corpus.create(tmp_path / name, description=DESCRIPTION) for name in ("ordered", "mixed"))
    for index in range(4):
        make(ordered, index)
    for index in (2, 0, 3, 1):
        make(mixed, index)
    mixed.put_in_order()
    assert contents(tmp_path / "mixed") == contents(tmp_path / "ordered")
    before = (tmp_path / "mixed" / "manifest.jsonl").stat()
    Corpus(tmp_path / "mixed").put_in_order()
    assert (tmp_path / "mixed" / "manifest.jsonl").stat() == before


def test_files_of_other_processes_count_once_their_entry_is_added(tmp_path):
    corpus = Corpus.create(tmp_path / "c", description=DESCRIPTION)
    labels = np.ones((4, 5, 6), np.uint8)
    entry = write_volumes(tmp_path / "c", 3, grey=labels, labels=labels, seed=1, recipe={})
    assert len(Corpus(tmp_path / "c")) == 0
    corpus.add(entry)
    assert Corpus(tmp_path / "c").missing(4) == [0, 1, 2]
    with pytest.raises(ValueError, match="sample 3 cannot be written"):
        corpus.add(entry)


def test_entry_whose_files_lie_elsewhere_is_refused(tmp_path):
    corpus = Corpus.create(tmp_path / "c", description=DESCRIPTION)
    labels = np.ones((4, 5, 6), np.uint8)
    entry = write_volumes(tmp_path / "other", 0, grey=labels, labels=labels, seed=1, recipe={})
    with pytest.raises(ValueError, match="must see the same folder"):
        corpus.add(entry)
    assert len(Corpus(tmp_path / "c")) == 0


def test_one_process_at_a_time_adds_samples(tmp_path):
    first, second = (Corpus.create(tmp_path, description=DESCRIPTION) for _ in range(2))
    with first.writing():
        make(first, 0)
        with pytest.raises(ValueError, match="another process is writing"), second.writing():
            pass
    with second.writing():
        assert second.missing(2) == [1]


def test_what_killed_processes_left_half_written_is_cleared_away(tmp_path):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    make(corpus, 0)
    before = contents(tmp_path)
    for name in (".1a2b3c4d-manifest.jsonl", ".probe-1a2b3c4d", "grey/.1a2b3c4d-000001.tif", "labels/.probe-00ff00ff"):
        (tmp_path / name).touch()
    with corpus.writing():
        assert contents(tmp_path) == before
        # A worker of this very run may be killed too.
        (tmp_path / "grey" / ".1a2b3c4d-000002.tif").touch()
    assert contents(tmp_path) == before


def test_samples_whose_files_are_gone_are_made_again(tmp_path):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    for index in range(3):
        make(corpus, index)
    before = contents(tmp_path)
    (tmp_path / "labels" / "000001.tif").unlink()
    resumed = Corpus.create(tmp_path, description=DESCRIPTION)
    assert resumed.missing(3) == [1]
    assert not resumed.is_in_order()
    with resumed.writing():
        make(resumed, 1)
        resumed.put_in_order()
    assert contents(tmp_path) == before
    assert len(Corpus(tmp_path)) == 3


def test_of_two_processes_that_begin_at_once_the_first_decides(tmp_path, monkeypatch):
    """The second one looked before the first had written its description."""
    import volume.corpus

    put = volume.corpus._put_if_absent

    def beaten(path, text):
        with monkeypatch.context() as patch:
            patch.setattr(volume.corpus, "_put_if_absent", put)
            Corpus.create(tmp_path, description={"seed": 1})
        put(path, text)

    monkeypatch.setattr(volume.corpus, "_put_if_absent", beaten)
    with pytest.raises(ValueError, match="'seed' was 1 and is now 2"):
        Corpus.create(tmp_path, description={"seed": 2})
    assert sorted(contents(tmp_path)) == ["corpus.json"]
    assert Corpus(tmp_path).description == {"seed": 1}


def test_description_is_written_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", refuse)
    Corpus.create(tmp_path, description=DESCRIPTION)
    assert sorted(contents(tmp_path)) == ["corpus.json"]
    assert Corpus.create(tmp_path, description=DESCRIPTION).missing(1) == [0]


def test_lock_is_asked_for_on_a_file_that_is_open_for_writing(tmp_path, monkeypatch):
    """Over NFS no other can be locked."""
    import fcntl

    modes = []
    monkeypatch.setattr(fcntl, "flock", lambda file, _: modes.append(file.mode))
    with Corpus.create(tmp_path, description=DESCRIPTION).writing():
        assert modes == ["rb+"]


def test_corpus_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)

    def refuse(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "open", refuse)
    with pytest.raises(ValueError, match=r"cannot write to the corpus .*Permission denied"), corpus.writing():
        pass


def test_manifest_without_its_description_is_refused(tmp_path):
    make(Corpus.create(tmp_path, description=DESCRIPTION), 0)
    (tmp_path / "corpus.json").unlink()
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"'corpus\.json' is missing, so that nobody knows"):
        Corpus.create(tmp_path, description={"other": 1})
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kept", [1, 2, 20, -1])
def test_a_line_torn_anywhere_does_not_count(tmp_path, kept):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    make(corpus, 0)
    first = (tmp_path / "manifest.jsonl").read_bytes()
    make(corpus, 1)
    second = (tmp_path / "manifest.jsonl").read_bytes()[len(first) :]
    (tmp_path / "manifest.jsonl").write_bytes(first + second[:kept])
    opened = Corpus(tmp_path)
    assert opened.missing(2) == [1]
    make(opened, 1)
    assert (tmp_path / "manifest.jsonl").read_bytes() == first + second


def test_files_without_a_line_do_not_count(tmp_path):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    make(corpus, 0)
    (tmp_path / "manifest.jsonl").unlink()
    assert Corpus(tmp_path).missing(1) == [0]


def test_the_line_comes_after_the_files(tmp_path, monkeypatch):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    import volume.corpus

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(volume.corpus, "_append_line", killed)
    with pytest.raises(KeyboardInterrupt):
        make(corpus, 0)
    assert len(corpus) == 0
    assert (tmp_path / "grey" / "000000.tif").is_file()
    assert (tmp_path / "labels" / "000000.tif").is_file()


def test_verify_finds_the_flipped_bit_and_the_missing_file(tmp_path):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    for index in range(3):
        make(corpus, index)
    path = tmp_path / "labels" / "000001.tif"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (tmp_path / "grey" / "000002.tif").unlink()
    first, second = corpus.verify()
    assert "sample 1" in first
    assert "000001.tif' differs from its checksum" in first
    assert "sample 2" in second
    assert "missing" in second


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"recipe": {"name": "spheres", "porosity": 0.5, "shape": (4, 5, 6)}},
            "'recipe.porosity' was 0.4 and is now 0.5",
        ),
        ({"microscope": {"tilt": 52.0, "noise": 1}}, "'microscope.noise' is new"),
        ({"microscope": {}}, "'microscope.tilt' is no longer there"),
    ],
)
def test_another_description_is_refused_with_the_key_that_differs(tmp_path, change, words):
    Corpus.create(tmp_path, description=DESCRIPTION)
    with pytest.raises(ValueError, match=words):
        Corpus.create(tmp_path, description=DESCRIPTION | change)


def test_numpy_values_and_dataclasses_in_a_description_are_the_same_on_resuming(tmp_path):
    @dataclasses.dataclass
    class Settings:
        shape: tuple
        level: np.ndarray

    description = {"settings": Settings((1, 2), np.linspace(0, 1, 3)), "seed": np.uint32(4)}
    Corpus.create(tmp_path, description=description)
    again = Corpus.create(tmp_path, description=description)
    assert again.description == {"settings": {"shape": [1, 2], "level": [0.0, 0.5, 1.0]}, "seed": 4}


def test_an_index_is_written_once(tmp_path):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    make(corpus, 0)
    with pytest.raises(ValueError, match="sample 0"):
        make(corpus, 0)
    with pytest.raises(ValueError, match="sample -1"):
        corpus.write_sample(-1, np.zeros((1, 1, 1)), np.zeros((1, 1, 1), np.uint8), seed=0, recipe={})


def test_what_makes_no_pair_is_refused(tmp_path):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    labels = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="make no pair"):
        corpus.append(np.zeros((2, 2, 3)), labels, seed=0, recipe={})
    with pytest.raises(ValueError, match="make no pair"):
        corpus.append(Volume(labels, (1, 1, 1)), Volume(labels, (1, 1, 2)), seed=0, recipe={})
    with pytest.raises(ValueError, match="float64"):
        corpus.append(labels, labels.astype(float), seed=0, recipe={})
    assert not (tmp_path / "manifest.jsonl").exists()


def test_what_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no corpus"):
        Corpus(tmp_path)
    (tmp_path / "corpus.json").write_text("[]")
    with pytest.raises(ValueError, match=r"corpus\.json' is damaged"):
        Corpus(tmp_path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"index": 1, ', "Expecting property name"),
        (b'{"index": 1}', "'grey' is missing"),
        (b'{"index": 1, "grey": {"file": 3, "sha256": ""}}', "no text"),
        (b"3", "not subscriptable"),
        (b"\xff\xfe", "codec|Expecting value"),
        (b"", "Expecting value"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, reason):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    make(corpus, 0)
    with (tmp_path / "manifest.jsonl").open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(ValueError, match=rf"line 2 of .* is damaged \(.*({reason}).*\); delete that line"):
        Corpus(tmp_path)


def test_the_manifest_is_plain_json(tmp_path):
    corpus = Corpus.create(tmp_path, description=DESCRIPTION)
    make(corpus, 0)

    def refuse(name):
        raise AssertionError(name)

    (line,) = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=refuse)["index"] == 0
