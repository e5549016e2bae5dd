import csv
import dataclasses
import json
import math
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

import segment
from evaluate import agreement, minkowski, porosity_error, tortuosity
from poreforge import benchmark as benchmark_module
from poreforge.benchmark import benchmark, benchmark_files
from poreforge.benchmarking import labelling
from poreforge.benchmarking.courses import name_corpora, plan_course
from poreforge.benchmarking.entrants import built_in, name_entrants
from poreforge.benchmarking.ranking import differences_to, mean_over_volumes, property_losses, rank, standings
from poreforge.benchmarking.seen_volumes import learnt_from
from poreforge.scores import measure_labels, score_heads, score_segmentation
from segment.classical import UNKNOWN, PixelForest
from segment.trust import Domain, image_statistics
from volume import Corpus, Volume, read, write

SHAPE = (20, 32, 32)
TWO, THREE = ("pore", "solid"), ("pore", "binder", "grain")


def balls(seed, n_phases=2):
    """Labels of balls of the later phases, drawn one over the other."""
    rng, labels, places = np.random.default_rng(seed), np.zeros(SHAPE, np.uint8), np.indices(SHAPE)
    for number in range(26):
        centre, radius = rng.uniform(0, SHAPE), rng.uniform(3, 6)
        inside = sum((axis - c) ** 2 for axis, c in zip(places, centre, strict=True)) < radius**2
        labels[inside] = 1 + number % (n_phases - 1)
    return labels


def pictured(labels, seed, noise=0.18):
    level = labels / labels.max() + noise * np.random.default_rng(seed).standard_normal(labels.shape)
    return level.astype(np.float32)


def make_corpus(folder, count, *, phases=TWO, first=0, noise=0.18):
    corpus = Corpus.create(folder, description={"first": first, "phases": list(phases), "noise": noise})
    for number in range(count):
        labels = balls(first + number, len(phases))
        grey = pictured(labels, first + number, noise)
        corpus.append(grey, Volume(labels, phases=phases), seed=number, recipe={"generator": "balls"})
    return folder


def write_labels(folder, corpus, change=lambda labels: labels):
    """Write labels as another program would: one file a volume, named as the corpus names its own."""
    for entry in Corpus(corpus).entries:
        labels = read(corpus / entry["labels"]["file"]).array
        write(folder / Path(entry["labels"]["file"]).name, Volume(change(labels)))
    return folder


def table_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def two_phases(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpora") / "balls", 4)


@pytest.fixture(scope="module")
def ran(two_phases, tiny_model, tmp_path_factory):
    """Run a benchmark of six methods on two of four volumes, through all that it writes."""
    folder = tmp_path_factory.mktemp("ran")
    truth = write_labels(folder / "known", two_phases)
    inverse = write_labels(folder / "inverse", two_phases, lambda labels: 1 - labels)
    methods = ["otsu", "porosity-threshold", "pixel-forest", f"net={tiny_model}"]
    methods += [f"inverse={inverse}", f"known={truth}"]
    options = {"learn_from": 2, "learn_slices": 5, "seed": 3}
    report = benchmark_files([str(two_phases)], methods, folder / "out", **options)
    return report.parent, methods, options


# What is scored


def test_scores_are_those_of_direct_calls(ran, two_phases):
    rows = {(row["volume"], row["method"]): row for row in table_of(ran[0] / "scores.csv")}
    for index in (2, 3):
        sample = Corpus(two_phases)[index]
        found, truth = segment.otsu(sample.grey), sample.labels.array
        match, row = agreement(found, truth, n_phases=2), rows[str(index), "otsu"]
        assert float(row["iou_pore"]) == match.iou[0]
        assert float(row["f1_solid"]) == match.f1[1]
        assert float(row["mean_iou"]) == match.mean_iou
        assert float(row["accuracy"]) == match.accuracy
        assert float(row["porosity_error"]) == pytest.approx(porosity_error(found, truth), abs=1e-12)
        surface = [minkowski(labels == 0).specific_surface for labels in (found, truth)]
        assert float(row["specific_surface_error"]) == pytest.approx(100 * (surface[0] / surface[1] - 1))
        ways = [tortuosity(labels == 0, axis=0).tortuosity for labels in (found, truth)]
        assert float(row["tortuosity_error"]) == pytest.approx(100 * (ways[0] / ways[1] - 1))
        assert row["percolation_error"] == "0.0"


def test_volumes_to_learn_from_are_scored_by_no_method(ran):
    rows = table_of(ran[0] / "scores.csv")
    assert {(row["volume"], row["method"]) for row in rows} == {
        (index, name.split("=")[0]) for index in "23" for name in ran[1]
    }


def test_pixel_forest_is_that_of_the_marked_slices_of_the_first_volumes(ran, two_phases):
    learnt = Corpus(two_phases)[:2]
    marks = [labelling.forest_marks(sample.labels.array, 5) for sample in learnt]
    shown = [np.flatnonzero((mark != UNKNOWN).any(axis=(1, 2))).tolist() for mark in marks]
    assert shown == [[2, 6, 10, 14, 18]] * 2
    forest = PixelForest.fit([sample.grey.array for sample in learnt], marks, rng=3)
    sample = Corpus(two_phases)[2]
    expected = agreement(forest.predict(sample.grey), sample.labels, n_phases=2).mean_iou
    row = next(r for r in table_of(ran[0] / "scores.csv") if (r["volume"], r["method"]) == ("2", "pixel-forest"))
    assert float(row["mean_iou"]) == expected
    assert float(row["training_seconds"]) > 0


def test_labels_that_are_the_truth_are_first_and_inverted_ones_last(ran, strict_json):
    ranks = [row for row in table_of(ran[0] / "rank.csv") if row["ranking"] == "by mean IoU"]
    assert (ranks[0]["method"], float(ranks[0]["rank"])) == ("known", 1.0)
    assert (ranks[-1]["method"], float(ranks[-1]["rank"])) == ("inverse", 6.0)
    means = strict_json(ran[0] / "summary.json")["corpora"]["balls"]["methods"]["known"]["means"]
    assert means["mean_iou"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "count": 2}
    assert means["abs_porosity_error"]["mean"] == 0.0


def test_cost_is_known_of_methods_that_ran_here_and_of_no_others(ran):
    for row in table_of(ran[0] / "scores.csv"):
        if row["kind"] == "labels":
            assert row["seconds"] == row["peak_mib"] == ""
            continue
        # Imports take seconds, these few voxels a fraction of one; the interpreter alone holds more than 30 MiB.
        assert float(row["seconds"]) > 0
        assert float(row["seconds_per_mvoxel"]) == pytest.approx(float(row["seconds"]) / (math.prod(SHAPE) / 1e6))
        assert 30 < float(row["baseline_mib"]) <= float(row["peak_mib"])


def test_threshold_that_is_told_the_porosity_is_marked(ran, self_contained_page):
    rows = [row for row in table_of(ran[0] / "scores.csv") if row["method"] == "porosity-threshold"]
    assert all(row["kind"] == "porosity-threshold" and abs(float(row["porosity_error"])) < 1e-3 for row in rows)
    assert "porosity-threshold (oracle)" in "".join(self_contained_page(ran[0] / "report.html").text)


def test_report_shows_figures_and_tables(ran, self_contained_page):
    page = self_contained_page(ran[0] / "report.html")
    # Ranks, IoU, porosity errors, porosities and cost; grey and truth; labels and errors of six methods.
    assert sum(tag == "img" for tag, _ in page.tags) == 5 + 2 + 2 * 6
    text = "".join(page.text)
    for piece in ("Which method to trust", "known is first by mean IoU", "Labels on balls", "What it costs"):
        assert piece in text
    assert "nan" not in text.lower().split()


# Going on


@pytest.fixture
def counted(monkeypatch):
    """Count what is labelled and scored."""
    counts = {"label": 0, "score": 0}
    label, score = labelling.Server.label, benchmark_module.score_segmentation

    def counting_label(self, request):
        counts["label"] += 1
        return label(self, request)

    def counting_score(*arguments):
        counts["score"] += 1
        return score(*arguments)

    monkeypatch.setattr(labelling.Server, "label", counting_label)
    monkeypatch.setattr(benchmark_module, "score_segmentation", counting_score)
    return counts


def test_same_command_again_measures_nothing_and_writes_the_same(ran, two_phases, counted):
    out, methods, options = ran
    names = ("scores.csv", "table.csv", "rank.csv")
    before = {name: (out / name).read_bytes() for name in names}
    benchmark_files([str(two_phases)], methods, out, **options)
    assert counted == {"label": 0, "score": 0}
    assert {name: (out / name).read_bytes() for name in names} == before


def test_run_that_was_killed_goes_on_and_ends_with_the_same_scores(ran, two_phases, tmp_path, monkeypatch, counted):
    made = benchmark_module._Task._make

    def killed(task, entrant):
        if entrant.name == "inverse" and task.position == 2:
            raise KeyboardInterrupt
        return made(task, entrant)

    arguments = ([str(two_phases)], ran[1][-2:])
    monkeypatch.setattr(benchmark_module._Task, "_make", killed)
    with pytest.raises(KeyboardInterrupt):
        benchmark(*arguments, volumes=3, kept=tmp_path / "kept")
    assert counted["score"] == 4
    # What a kill leaves of a file that it was writing.
    (tmp_path / "kept" / ".12345678-half.npz").write_bytes(b"half")
    monkeypatch.setattr(benchmark_module._Task, "_make", made)
    resumed = benchmark(*arguments, volumes=3, kept=tmp_path / "kept")
    assert counted["score"] == 6
    anew = benchmark(*arguments, volumes=3, kept=tmp_path / "anew")
    assert resumed.results.keys() == anew.results.keys()
    assert len(anew.results) == 6
    for key, result in anew.results.items():
        assert resumed.results[key].scores == pytest.approx(result.scores, rel=0, abs=0, nan_ok=True)
        assert np.array_equal(resumed.results[key].plane, result.plane)


def test_method_more_measures_that_one_alone(ran, two_phases, tmp_path, counted):
    out, methods, options = ran
    other = write_labels(tmp_path / "eroded", two_phases, lambda labels: np.minimum(labels, np.roll(labels, 1, 2)))
    benchmark([str(two_phases)], [*methods, str(other)], kept=out / "results", **options)
    assert counted == {"label": 0, "score": 2}


def test_method_that_fails_is_told_and_the_others_go_on(two_phases, tmp_path, monkeypatch):
    labels = write_labels(tmp_path / "known", two_phases)

    def refuse(self, request):
        raise ValueError("no boundary stands out of the noise; give a larger scale_vox")

    monkeypatch.setattr(labelling.Server, "label", refuse)
    methods = ["hysteresis", f"known={labels}"]
    out = benchmark_files([str(two_phases)], methods, tmp_path / "out", volumes=2, without=["distances"]).parent
    rows = table_of(out / "scores.csv")
    assert [row["failure"][:24] for row in rows] == ["no boundary stands out o", ""] * 2
    ranks = {row["method"]: float(row["rank"]) for row in table_of(out / "rank.csv") if row["ranking"] == "by mean IoU"}
    assert ranks == {"known": 1.0, "hysteresis": 2.0}
    assert "hysteresis, volume 1 of balls: no boundary stands out" in (out / "report.html").read_text(encoding="utf-8")


# Fairness


def test_volumes_that_a_run_has_learnt_from_are_not_scored(tiny_model, two_phases, tmp_path):
    run = tmp_path / "run"
    (run / "segmenter").parent.mkdir()
    (run / "segmenter").symlink_to(tiny_model)
    config = {"corpus": str(two_phases), "validation": 1, "first_stage": None}
    (run / "run.json").write_text(json.dumps({"config": config}))
    (entrant,) = name_entrants([f"mine={run}"])
    course = plan_course("balls", Corpus(two_phases), [entrant], volumes=None, learn_from=2, alone=True)
    assert course.scored == (3,)
    assert course.notes == (
        "mine has learnt from volumes of balls: only volumes that it set aside are scored, by every method.",
    )
    # Another corpus with the same volumes under other numbers, and one with none of them.
    copied = Corpus.create(tmp_path / "copy", description={})
    for sample in [*Corpus(two_phases)[2:], *Corpus(make_corpus(tmp_path / "new", 1, first=50))]:
        copied.append(sample.grey, sample.labels, seed=0, recipe={})
    course = plan_course("copy", copied, [entrant], volumes=None, learn_from=2, alone=True)
    assert course.scored == (1, 2)


@pytest.mark.parametrize(
    ("change", "scored"),
    [({"validation": 2}, (2, 3)), ({"fold": [0, 4]}, (0,)), ({"fold": [1, 2], "validation": 1}, (2, 3))],
)
def test_first_stage_and_folds_count(tiny_model, two_phases, tmp_path, change, scored):
    for name in ("slices", "refine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "segmenter").symlink_to(tiny_model)
    slices = {"corpus": [str(two_phases)], "validation": 1, **change}
    elsewhere = str(make_corpus(tmp_path / "elsewhere", 1, first=90))
    refine = {"corpus": elsewhere, "validation": 0, "slices_model": str(tmp_path / "slices")}
    (tmp_path / "slices" / "run.json").write_text(json.dumps({"config": slices}))
    (tmp_path / "refine" / "run.json").write_text(json.dumps({"config": refine}))
    (entrant,) = name_entrants([str(tmp_path / "refine")])
    course = plan_course("balls", Corpus(two_phases), [entrant], volumes=None, learn_from=2, alone=True)
    assert course.scored == scored


def test_model_without_a_record_knows_its_volumes_by_their_pictures(tiny_model, tmp_path):
    corpus = Corpus(make_corpus(tmp_path / "many", 20))
    pictures = Domain(tuple(image_statistics(sample.grey) for sample in corpus))
    model = dataclasses.replace(segment.load(tiny_model), domain=pictures, set_aside=3)
    learnt = learnt_from(tmp_path, model)
    seen = learnt.of(corpus)
    assert [place for place in range(20) if not seen(place)] == [17, 18, 19]
    other = learnt.of(Corpus(make_corpus(tmp_path / "other", 2, first=60)))
    assert not other(0)
    assert not other(1)


def test_all_volumes_learnt_from_leave_none_to_score(tiny_model, two_phases, tmp_path):
    (tmp_path / "segmenter").symlink_to(tiny_model)
    (tmp_path / "run.json").write_text(json.dumps({"config": {"corpus": str(two_phases), "validation": 0}}))
    with pytest.raises(ValueError, match=r"no volume of 'balls' is left to score, of 4: mine has learnt from 4; make"):
        benchmark([str(two_phases)], [f"mine={tmp_path}"], kept=tmp_path / "kept")


def test_methods_that_cannot_do_three_phases_are_left_out_with_a_sentence(tiny_model, tmp_path):
    corpus = Corpus(make_corpus(tmp_path / "three", 1, phases=THREE))
    names = ["otsu", "multi-otsu", "porosity-threshold", "watershed", f"net={tiny_model}"]
    course = plan_course("three", corpus, name_entrants(names), volumes=None, learn_from=2, alone=True)
    assert [entrant.name for entrant in course.entrants] == ["multi-otsu", "watershed"]
    assert course.notes == (
        "otsu is left out on three: it does 2 phases and the corpus has 3.",
        "porosity-threshold is left out on three: it does 2 phases and the corpus has 3.",
        "net is left out on three: it knows 2 phases and the corpus has 3.",
    )


def test_model_of_other_phases_is_left_out_even_if_there_are_as_many(tmp_path):
    corpus = Corpus(make_corpus(tmp_path / "three", 1, phases=THREE))
    course = plan_course(
        "three", corpus, name_entrants(["multi-otsu", "gdl-mpl"]), volumes=None, learn_from=2, alone=True
    )
    assert [entrant.name for entrant in course.entrants] == ["multi-otsu"]
    assert course.notes == (
        f"gdl-mpl is left out on three: it knows pore, fibre, MPL and the corpus has {', '.join(THREE)}.",
    )


def test_model_that_knows_a_phase_more_tells_pore_from_all_else(tmp_path):
    corpus = Corpus(make_corpus(tmp_path / "mats", 1, phases=("pore", "fibre")))
    entrants = name_entrants(["gdl-mpl", "redox-cell"])
    course = plan_course("mats", corpus, entrants, volumes=None, learn_from=2, alone=True)
    assert [entrant.name for entrant in course.entrants] == ["gdl-mpl"]
    labeller, _ = labelling.labels_by({"method": "network", "source": "gdl-mpl", "n_phases": 2})
    grey = np.full((16, 48, 48), 20, np.uint8)
    grey[8:] = 120
    found = segment.load("gdl-mpl").predict(grey).labels
    assert set(np.unique(found)) >= {0, 2}
    assert np.array_equal(labeller(grey), found > 0)


def test_corpora_of_two_and_three_phases_stand_in_one_report(two_phases, tmp_path, self_contained_page, strict_json):
    three = make_corpus(tmp_path / "three", 2, phases=THREE)
    for name, corpus in (("balls", two_phases), ("3", three)):
        write_labels(tmp_path / "theirs" / name, corpus)
        write_labels(tmp_path / "shifted" / name, corpus, lambda labels: np.roll(labels, 1, 1))
    methods = [str(tmp_path / "theirs"), str(tmp_path / "shifted")]
    out = benchmark_files([str(two_phases), f"3={three}"], methods, tmp_path / "out", volumes=2, without=["tortuosity"])
    rows = table_of(out.parent / "scores.csv")
    assert [row["iou_grain"] != "" for row in rows] == [False] * 4 + [True] * 4
    ranks = strict_json(out.parent / "summary.json")["rankings"]["all corpora"]["by mean IoU"]
    assert [(one["method"], one["rank"], one["volumes"]) for one in ranks] == [("theirs", 1.0, 4), ("shifted", 2.0, 4)]
    assert "Over all corpora theirs is first" in "".join(self_contained_page(out).text)


# Labels in a process of their own


def test_network_labels_in_its_own_process_as_here(ran, two_phases, tiny_model):
    model = segment.load(tiny_model)
    sample = Corpus(two_phases)[2]
    row = next(r for r in table_of(ran[0] / "scores.csv") if (r["volume"], r["method"]) == ("2", "net"))
    expected = agreement(model.predict(sample.grey).labels, sample.labels, n_phases=2)
    assert float(row["mean_iou"]) == pytest.approx(expected.mean_iou, abs=1e-3)
    assert float(row["parameters"]) == sum(p.numel() for part in (model.first, model.refine) for p in part.parameters())


@pytest.mark.parametrize(
    ("method", "source", "sentence"),
    [
        ("otsu", None, "every grey value is 7; a constant volume cannot be segmented"),
        ("network", "nowhere", "there is no segmenter 'nowhere'; give a shipped name"),
        ("unheard-of", None, "KeyError: 'unheard-of'"),
    ],
)
def test_what_cannot_be_labelled_is_answered_with_a_sentence(tmp_path, method, source, sentence):
    write(tmp_path / "flat.tif", Volume(np.full(SHAPE, 7, np.uint8)))
    request = {"task": "label", "grey": str(tmp_path / "flat.tif"), "labels": str(tmp_path / "labels.npy")}
    answer = labelling._answer({**request, "method": method, "source": source, "n_phases": 2})
    assert answer["error"].startswith(sentence)
    assert not (tmp_path / "labels.npy").exists()


def test_server_that_has_died_is_started_anew_and_ends_with_its_block():
    with labelling.Server() as server:
        server.process = subprocess.Popen(["true"])
        server.process.wait()
        server._pipes()
        assert server.process.poll() is None
        # Once more: the same one serves.
        process = server.process
        server._pipes()
        assert server.process is process
    assert process.poll() == -signal.SIGKILL


def test_killed_process_is_told_from_one_that_went_wrong():
    assert "for want of memory" in labelling._what_became("-9")
    assert "(status 1)" in labelling._what_became("1")


# Ranks by hand


def test_ranks_of_a_table_made_by_hand():
    losses = np.array([[0.1, 0.2, 0.3], [0.2, 0.2, 0.1], [0.1, math.nan, 0.5]])
    assert rank(losses).tolist() == [[1, 2, 3], [2.5, 2.5, 1], [1, 3, 2]]
    found = standings(rank(losses), ["a", "b", "c"], strata=[0, 0, 0])
    assert [one.method for one in found] == ["a", "c", "b"]
    assert [one.rank for one in found] == pytest.approx([4.5 / 3, 6 / 3, 7.5 / 3])
    for one in found:
        assert one.low <= one.rank <= one.high


def test_ranks_by_several_quantities_are_averaged_and_what_none_has_is_left_out():
    # Volume 0: a is first, second; b second, first. Volume 1: the second quantity is known of neither.
    losses = np.array([[[1, 9], [2, 8]], [[1, math.nan], [2, math.nan]]])
    assert rank(losses).tolist() == [[1.5, 1.5], [1, 2]]
    assert rank(np.full((1, 3), math.nan)).tolist() == [[2, 2, 2]]


def test_interval_of_ranks_covers_the_true_mean_at_the_stated_rate():
    rng, hits, trials = np.random.default_rng(0), 0, 40
    for trial in range(trials):
        # Of two methods the first wins with a probability of 0.7: its mean rank is 1.3.
        first = np.where(rng.random(30) < 0.7, 1.0, 2.0)
        (own,) = [
            one
            for one in standings(np.stack([first, 3 - first], 1), "ab", strata=[0] * 30, seed=trial)
            if one.method == "a"
        ]
        hits += own.low <= 1.3 <= own.high
    # The percentile interval of 30 draws of two values falls short by a few per cent.
    assert hits / trials >= 0.92 - 4 * math.sqrt(0.92 * 0.08 / trials)


def test_resampling_keeps_to_each_corpus():
    # All volumes of a corpus alike: drawn within it the mean cannot vary.
    ranks = np.array([[1.0, 2.0]] * 3 + [[2.0, 1.0]] * 5)
    found = {one.method: one for one in standings(ranks, "ab", strata=[0] * 3 + [1] * 5)}
    assert (found["a"].low, found["a"].high) == pytest.approx((13 / 8, 13 / 8))
    assert standings(ranks, "ab", strata=[0] * 8)[0].low < 11 / 8 - 0.1


def test_means_and_paired_differences_by_hand():
    mean = mean_over_volumes([1.0, 2.0, math.nan, 3.0])
    # Student's t of 2 degrees of freedom at 95 %: 4.3027; standard error 1/√3.
    assert (mean.mean, mean.count) == (2.0, 3)
    assert mean.high - mean.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert math.isnan(mean_over_volumes([0.5]).low)
    away = differences_to([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])
    assert (away.mean, away.low) == pytest.approx((0.1, 0.1))


def test_lost_way_through_is_worst_and_none_on_both_sides_is_right():
    keys = ["porosity_error", "tortuosity_error"]
    right = {"porosity_error": -0.1, "tortuosity_error": 20.0, "percolation_error": 0.0}
    assert property_losses(right, keys) == [0.1, 20.0]
    assert property_losses({**right, "tortuosity_error": math.nan, "percolation_error": -1.0}, keys) == [0.1, math.inf]
    assert property_losses({**right, "tortuosity_error": math.nan}, keys) == [0.1, 0.0]
    assert np.isnan(property_losses({}, keys)).all()


# Scores of any number of phases


def test_scores_of_three_phases_and_of_a_truth_that_was_measured_before():
    truth = balls(1, 3)
    found = truth.copy()
    found[:, :, :3] = 2
    scores = score_segmentation(found, truth, phases=THREE, axis=2)
    assert list(scores) == list(score_heads(THREE, tortuosity=True))
    assert scores == pytest.approx(score_segmentation(found, measure_labels(truth, phases=THREE, axis=2)), nan_ok=True)
    fractions = [np.mean(found == k) - np.mean(truth == k) for k in range(3)]
    names = ["porosity_error", "fraction_error_binder", "fraction_error_grain"]
    assert [scores[name] for name in names] == pytest.approx(fractions)
    # A wall of grains across x closes every way along it.
    assert scores["percolation_error"] == -1.0
    assert math.isnan(scores["tortuosity_error"])


def test_surface_distance_heeds_voxels_that_are_no_cubes():
    halves = np.zeros((16, 6, 6), np.uint8)
    halves[8:] = 1
    moved = np.zeros_like(halves)
    moved[9:] = 1
    # Planes are two edges of a pixel apart.
    scores = score_segmentation(moved, Volume(halves, (0.2, 0.1, 0.1)))
    assert scores["chamfer"] == pytest.approx(2, rel=1e-6)


def test_euler_number_near_zero_is_no_measure_of_an_error():
    hollow = np.ones((24, 24, 24), np.uint8)
    hollow[2:22:5, 2:22:5, 2:12:5] = 0
    assert minkowski(hollow == 0).euler_number == 32
    fewer = hollow.copy()
    fewer[2:22:5, 2:22:5, 2] = 1
    assert score_segmentation(fewer, hollow)["euler_density_error"] == pytest.approx(-50)
    fewer[2:7:5] = 1
    assert minkowski(fewer == 0).euler_number == 12
    assert math.isnan(score_segmentation(hollow, fewer)["euler_density_error"])


# Bad input


def bad_inputs(folder, corpus):
    nameless = Corpus.create(folder / "nameless", description={})
    nameless.append(pictured(balls(0), 0), balls(0), seed=0, recipe={})
    empty = Corpus.create(folder / "empty", description={}).folder
    good, labels = str(corpus), write_labels(folder / "labels", corpus)
    (write_labels(folder / "fewer", corpus) / "000001.tif").unlink()
    write_labels(folder / "cut", corpus, lambda labels: labels[1:])
    write_labels(folder / "more", corpus, lambda labels: labels + 1)
    known = ", ".join(built_in())
    return {
        r"holds no corpus": ([str(folder)], ["otsu"], {}),
        r"the corpus '.*empty' has no volume yet": ([str(empty)], ["otsu"], {}),
        r"the labels in '.*nameless' name no phases": ([str(nameless.folder)], ["otsu"], {}),
        r"two corpora are called 'balls'": ([good, good], ["otsu"], {}),
        r"--corpora is '=.*'; give DIR, or NAME=DIR": ([f"={good}"], ["otsu"], {}),
        r"no corpus is given": ([], ["otsu"], {}),
        rf"unknown method 'otsuu'; give one of {known}, or NAME=": ([good], ["otsuu"], {}),
        r"method 'mine=nowhere': there is no folder 'nowhere'": ([good], ["mine=nowhere"], {}),
        r"two methods are called 'otsu'": ([good], ["otsu", f"otsu={labels}"], {}),
        r"no method is given": ([good], [], {}),
        r"no method can take part on 'balls': multi-otsu is left out .* with 2 phases": ([good], ["multi-otsu"], {}),
        r"no volume of 'balls' is left to score, of 4: 4 are for": ([good], ["pixel-forest"], {"learn_from": 9}),
        r"'.*fewer' has no labels '000001.tif' of volume 1 of 'balls'": ([good], [str(folder / "fewer")], {}),
        r"'.*000000.tif' has the shape \(19, 32, 32\), the volume \(20": ([good], [str(folder / "cut")], {}),
        r"'.*000000.tif': labels must lie between 0 and 1; these lie": ([good], [str(folder / "more")], {}),
        r"volumes.* 0": ([good], ["otsu"], {"volumes": 0}),
        r"learn_slices": ([good], ["otsu"], {"learn_slices": 1.5}),
        r"axis": ([good], ["otsu"], {"axis": 3}),
        r"'iou' cannot be left out; choose from: tortuosity, distances": ([good], ["otsu"], {"without": ["iou"]}),
        r"level is 1; it must be a number above 0 and below 1": ([good], ["otsu"], {"level": 1}),
    }


def test_bad_input_is_refused_in_a_sentence_before_anything_is_labelled(two_phases, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("labelled")

    monkeypatch.setattr(labelling.Server, "_ask", never)
    for sentence, (corpora, methods, options) in bad_inputs(tmp_path, two_phases).items():
        with pytest.raises(ValueError, match=sentence) as refusal:
            benchmark_files(corpora, methods, tmp_path / "out", **options)
        assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_corpus_of_several_phase_lists_is_refused(two_phases, tmp_path):
    mixed = Corpus.create(tmp_path / "mixed", description={})
    for phases in (TWO, ("void", "solid")):
        mixed.append(pictured(balls(0), 0), Volume(balls(0), phases=phases), seed=0, recipe={})
    with pytest.raises(ValueError, match=r"must have the same phases, not \['pore', 'solid'\] and \['void', 'solid'\]"):
        plan_course("mixed", mixed, name_entrants(["otsu"]), volumes=None, learn_from=1, alone=True)
    assert list(name_corpora([f"a={two_phases}"])) == ["a"]
