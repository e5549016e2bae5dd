import csv
import html

import numpy as np
import pytest

import evaluate
import poreforge.characterisation
import synth
import volume
from poreforge.characterisation import TOPICS
from poreforge.characterise import characterise as characterise_file
from poreforge.characterise import read_labels
from poreforge.cli import main
from volume import Volume

CHEAP = ("overview", "morphology", "profiles", "correlation")


@pytest.fixture
def characterise(tmp_path, strict_json, capsys):
    """Run the command on labels; return the summary and the path of the report."""

    def run(labels, *options, name="labels.tif", only=CHEAP):
        volume.write(tmp_path / name, labels)
        arguments = ["characterise", str(tmp_path / name), "--out", str(tmp_path / "out"), *options]
        main([*arguments, "--only", *only] if only else arguments)
        report = tmp_path / "out" / "report.html"
        assert capsys.readouterr().out == f"open {report}\n"
        return strict_json(tmp_path / "out" / "summary.json"), report

    return run


@pytest.mark.parametrize("n_phases", [2, 3])
@pytest.mark.parametrize("size", [None, (0.02, 0.005, 0.01)])
def test_summary_holds_what_evaluate_measures(characterise, blobs, n_phases, size):
    labels = blobs(n_phases)
    summary, _ = characterise(Volume(labels, size))
    assert summary["shape"] == list(labels.shape)
    assert summary["voxel_size_um"] == (None if size is None else list(size))
    assert summary["porosity"] == evaluate.porosity(labels)
    for axis, name in enumerate("zyx"):
        np.testing.assert_array_equal(summary["porosity_profile"][name], evaluate.porosity_profile(labels, axis=axis))
    assert [phase["label"] for phase in summary["phases"]] == list(range(n_phases))
    for label, phase in enumerate(summary["phases"]):
        expected = evaluate.minkowski(labels == label, voxel_size_um=size)
        for key in ("volume_fraction", "specific_surface", "mean_curvature", "euler_density"):
            assert phase[key] == pytest.approx(getattr(expected, key), rel=1e-12)
        assert phase["unit"] == ("voxel" if size is None else "um")
    for label, found in enumerate(summary["correlation"]):
        expected = evaluate.two_point(labels == label, voxel_size_um=size)
        np.testing.assert_array_equal(found["two_point"]["s2"], expected.s2)
        np.testing.assert_array_equal(found["two_point"]["r"], expected.r)
        assert found["two_point"]["unit"] == expected.unit


def test_summary_holds_sizes_connectivity_transport_and_intervals(characterise):
    labels = synth.gaussian_phases((24, 24, 24), fractions=(0.5, 0.5), length_vox=5, rng=0).labels
    size = (0.2, 0.1, 0.1)
    summary, _ = characterise(Volume(labels, size), only=("sizes", "connectivity", "transport", "certainty"))
    pore = labels == 0
    sizes = evaluate.pore_size_distribution(pore, voxel_size_um=size, bins=16)
    assert summary["sizes"][0]["d50"] == sizes.d50
    assert summary["sizes"][0]["fraction"] == sizes.fraction.tolist()
    clusters = evaluate.clusters(pore)
    assert summary["connectivity"][0]["clusters"] == clusters.number
    along = {entry["axis"]: entry for entry in summary["transport"] if entry["label"] == 0}
    for axis, letter in enumerate("zyx"):
        assert along[letter]["tortuosity"] == evaluate.tortuosity(pore, axis=axis, voxel_size_um=size).tortuosity
    interval = next(entry for entry in summary["intervals"] if entry["label"] == 0 and entry["quantity"] == "porosity")
    assert interval["low"] < evaluate.porosity(labels) == interval["value"] < interval["high"]


def test_phase_without_a_path_is_told_as_such(characterise):
    labels = np.zeros((6, 8, 8), np.uint8)
    labels[3] = 1
    summary, report = characterise(labels, only=("transport",))
    reason = next(e["reason"] for e in summary["transport"] if e["label"] == 0 and e["axis"] == "z")
    assert "does not connect the two faces" in reason
    assert "no path" in report.read_text(encoding="utf-8")
    straight = next(e for e in summary["transport"] if e["label"] == 0 and e["axis"] == "y")
    assert straight["tortuosity"] == pytest.approx(1)


def test_bubbles_of_a_cell_are_counted_and_listed_in_a_spreadsheet(characterise):
    cell = synth.redox_cell((32, 48, 48), rng=1)
    summary, report = characterise(Volume(cell.labels, (2.0, 2.0, 2.0), cell.phases), only=("bubbles",))
    expected = evaluate.bubble_report(Volume(cell.labels, (2.0, 2.0, 2.0), cell.phases))
    assert summary["bubbles"]["number"] == expected.n_bubbles > 0
    assert summary["bubbles"]["electrodes"]["lower"]["gas_fraction"] == expected.lower.gas_fraction
    with (report.parent / "bubbles.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["volume"]) for row in rows] == expected.bubbles["volume"].tolist()
    assert {row["unit"] for row in rows} == {"um"}


def test_layers_and_cracks_of_a_gas_diffusion_layer_are_told(characterise):
    gdl = synth.gdl_with_mpl((40, 64, 64), rng=1)
    labels = Volume(gdl.labels, (2.0, 2.0, 2.0), gdl.phases)
    summary, report = characterise(labels, only=("layers",))
    expected = evaluate.layer_report(labels, pore_sizes=False)
    assert summary["layers"]["cracks"]["n_cracks"] == expected.cracks.n_cracks
    assert summary["layers"]["mpl"]["thickness"] == expected.mpl.thickness
    assert summary["layers"]["intrusion"]["c_ra"] == expected.intrusion.c_ra
    with (report.parent / "cracks.csv").open(encoding="utf-8", newline="") as file:
        assert [float(row["area"]) for row in csv.DictReader(file)] == expected.cracks.table["area"].tolist()


def test_every_topic_ends_in_a_section_or_says_why_not(characterise, self_contained_page):
    labels = synth.gaussian_phases((20, 24, 28), fractions=(0.4, 0.3, 0.3), length_vox=6, rng=0).labels
    _, report = characterise(Volume(labels, (0.2, 0.1, 0.1)), only=())
    text = "".join(self_contained_page(report).text)
    for name, topic in TOPICS.items():
        assert (topic.title in text) is (name not in ("layers", "bubbles"))
    assert "Not to be had" not in text


def test_run_that_was_killed_goes_on_where_it_was(tmp_path, blobs, monkeypatch):
    path, out, asked = tmp_path / "labels.tif", tmp_path / "out", []

    def watched(name, stop):
        def find(labels):
            asked.append(name)
            if name == stop:
                raise KeyboardInterrupt
            return TOPICS_BEFORE[name].find(labels)

        return find

    TOPICS_BEFORE = dict(TOPICS)
    volume.write(path, blobs())
    for stop in ("profiles", None):
        for name in CHEAP:
            monkeypatch.setitem(
                poreforge.characterisation.TOPICS, name, TOPICS_BEFORE[name]._replace(find=watched(name, stop))
            )
        if stop:
            with pytest.raises(KeyboardInterrupt):
                characterise_file(path, out, only=CHEAP)
        else:
            characterise_file(path, out, only=CHEAP)
    assert asked == ["overview", "morphology", "profiles", "profiles", "correlation"]
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "summary.json"]


def test_parts_of_another_volume_are_not_taken(tmp_path, blobs, strict_json):
    path, out = tmp_path / "labels.tif", tmp_path / "out"
    volume.write(path, blobs())
    characterise_file(path, out, only=["overview"])
    volume.write(path, 1 - blobs())
    characterise_file(path, out, only=["overview"])
    assert strict_json(out / "summary.json")["porosity"] == evaluate.porosity(1 - blobs())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--only", "colour"], "'colour' is no topic; choose from: overview"),
        (["--without", "colour"], "'colour' is no topic"),
        (["--only", "views", "--without", "sizes"], "not both"),
        (["--without", *TOPICS], "nothing to do"),
    ],
)
def test_topics_that_make_no_sense_are_refused(tmp_path, blobs, refused, options, sentence):
    volume.write(tmp_path / "labels.tif", blobs())
    assert sentence in refused("characterise", tmp_path / "labels.tif", "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_fractions_of_the_phases_add_up_to_one_and_the_surfaces_of_two_are_one(characterise, blobs):
    pore, solid = characterise(blobs())[0]["phases"]
    assert pore["volume_fraction"] + solid["volume_fraction"] == pytest.approx(1)
    assert pore["specific_surface"] == pytest.approx(solid["specific_surface"])


def test_layers_of_known_thickness_are_measured_exactly(characterise):
    labels = np.zeros((8, 10, 12), np.uint8)
    labels[:, :5], labels[:, 8:] = 1, 2
    summary, _ = characterise(Volume(labels, (1, 1, 1), ("pore", "carbon", "ionomer")))
    assert {phase["name"]: phase["volume_fraction"] for phase in summary["phases"]} == pytest.approx(
        {"pore": 0.3, "carbon": 0.5, "ionomer": 0.2}
    )
    assert summary["porosity_profile"]["y"] == [0] * 5 + [1] * 3 + [0] * 2


def test_voxel_size_of_the_command_wins_over_the_files(characterise, blobs):
    summary, _ = characterise(Volume(blobs(), (1, 1, 1)), "--voxel-size", "0.5", "0.5", "0.5")
    assert summary["voxel_size_um"] == [0.5, 0.5, 0.5]
    expected = evaluate.minkowski(blobs() == 0, voxel_size_um=(0.5, 0.5, 0.5)).specific_surface
    assert summary["phases"][0]["specific_surface"] == pytest.approx(expected)


def test_mask_of_0_and_255_gives_the_numbers_of_0_and_1_and_says_so(characterise, blobs):
    plain, _ = characterise(blobs())
    mask, report = characterise(255 * blobs())
    assert mask["phases"] == plain["phases"]
    assert mask["correlation"] == plain["correlation"]
    assert plain["notes"] == []
    assert mask["notes"] == ["the mask's value 255 was taken as label 1"]
    assert mask["notes"][0] in html.unescape(report.read_text())


def test_named_phase_that_is_absent_does_not_rename_the_others(characterise, blobs):
    summary, _ = characterise(Volume(2 * blobs(), None, ("pore", "carbon", "ionomer")))
    names = {phase["name"]: phase["volume_fraction"] for phase in summary["phases"]}
    assert names["carbon"] == 0
    assert names["ionomer"] == np.mean(blobs() == 1)
    assert summary["notes"] == []


def test_volume_without_pores_says_so(characterise, blobs):
    summary, _ = characterise(blobs() + np.uint8(1))
    assert summary["porosity"] == 0
    assert summary["notes"] == ["the file has no label 0, so it has no pores"]


def test_phases_without_names_are_numbered(tmp_path, blobs):
    np.save(tmp_path / "labels.npy", blobs(3).astype(np.int32))
    labels, _ = read_labels(tmp_path / "labels.npy")
    assert labels.phases == ("pore", "phase 1", "phase 2")
    assert labels.array.dtype == np.uint8


# The report


@pytest.mark.parametrize("n_phases", [2, 3])
@pytest.mark.parametrize("size", [None, (0.02, 0.005, 0.01)])
def test_report_needs_no_other_file_and_describes_its_images(characterise, blobs, self_contained_page, n_phases, size):
    _, report = characterise(Volume(blobs(n_phases), size))
    page = self_contained_page(report)
    assert sum(tag == "img" for tag, _ in page.tags) == 6
    text = "".join(page.text)
    assert ("µm⁻¹" in text) is (size is not None)
    assert ("lengths are in voxels" in text) is (size is None)


def test_report_is_the_only_output_beside_the_summary(characterise, blobs):
    _, report = characterise(blobs())
    assert sorted(path.name for path in report.parent.iterdir()) == ["report.html", "summary.json"]


def test_names_from_outside_cannot_become_markup(characterise, blobs, self_contained_page):
    phases = ("<script>alert(1)</script>", "a\" onload='x'")
    _, report = characterise(Volume(blobs(), None, phases), name="<b>x&y.tif")
    page = self_contained_page(report)
    assert not any(tag in ("b", "script") for tag, _ in page.tags)
    assert not any("onload" in attributes for _, attributes in page.tags)
    text = "".join(page.text)
    assert "Characterisation of <b>x&y.tif" in text
    assert phases[0] in text
    assert phases[1] in text


@pytest.mark.parametrize("name", [r"$\frac$", "_hidden", "100 % $"])
def test_names_that_a_plotting_library_would_interpret_are_drawn_as_they_are(characterise, blobs, name, monkeypatch):
    from matplotlib.axes import Axes

    shown, legend = [], Axes.legend

    def watched(axes, *arguments, **options):
        made = legend(axes, *arguments, **options)
        shown.append([text.get_text() for text in made.get_texts()])
        return made

    monkeypatch.setattr(Axes, "legend", watched)
    characterise(Volume(blobs(), None, ("pore", name)))
    # An escaped dollar is drawn as a dollar; a name that begins with "_" would be missing but for its first letters.
    assert any(name.lstrip("_").replace("$", r"\$") in texts for texts in shown)


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 1500, 2), (300, 3, 3), (3, 3, 300)])
def test_beams_and_plates_of_any_proportion_end_in_a_report(characterise, shape, self_contained_page):
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(n // 2, None) for n in shape)] = 1
    page = self_contained_page(characterise(labels)[1])
    assert sum(tag == "img" for tag, _ in page.tags) == 6
