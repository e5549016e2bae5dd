import numpy as np
import pytest

import evaluate
import volume
from poreforge.cli import main
from segment.trust import match_porosity
from volume import Volume


@pytest.fixture
def pore(tmp_path, monkeypatch):
    """Smooth probabilities of the pore, in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(0).standard_normal((34, 24, 26)), 3, mode="wrap")
    values = (1 / (1 + np.exp(-4 * field / field.std()))).astype(np.float32)
    volume.write("stack-labels-probability.tif", Volume(values, (0.01, 0.01, 0.01)))
    return values


def calibrate(*arguments):
    main(["calibrate", "stack-labels-probability.tif", *map(str, arguments)])


def test_labels_are_those_of_the_measured_porosity_to_the_voxel(
    pore, tmp_path, strict_json, self_contained_page, capsys
):
    calibrate("--porosity", 0.55, "--interval", 0.5, 0.58, "--measure", "surface")
    both = np.stack([pore, 1 - pore])
    for end, porosity in (("-low", 0.5), ("", 0.55), ("-high", 0.58)):
        found = volume.read(f"stack-labels-calibrated{end}.tif")
        np.testing.assert_array_equal(found.array, match_porosity(both, porosity))
        assert np.sum(found.array == 0) == round(porosity * pore.size)
        assert found.phases == ("pore", "solid")
        assert found.voxel_size_um == pytest.approx((0.01, 0.01, 0.01))
    summary = strict_json(tmp_path / "stack-labels-calibrated-summary.json")
    assert summary["porosity"] == pytest.approx(0.55, abs=1 / pore.size)
    assert summary["porosity_interval"] == pytest.approx([0.5, 0.58], abs=1 / pore.size)
    assert summary["porosity_without"] == np.mean(pore > 0.5)
    assert np.mean(pore > summary["least_probability"]) == pytest.approx(0.55, abs=1e-3)
    assert summary["warnings"] == []
    page = self_contained_page(tmp_path / "stack-labels-calibrated.html")
    assert sum(tag == "img" for tag, _ in page.tags) == 4
    assert capsys.readouterr().out.startswith("porosity 0.5500 where the pore's probability is above ")


def test_interval_is_carried_on_to_the_properties_of_the_labels(pore, tmp_path, strict_json):
    calibrate("--porosity", 0.55, "--interval", 0.5, 0.58, "--measure", "surface", "tortuosity", "permeability")
    found = strict_json(tmp_path / "stack-labels-calibrated-summary.json")["properties"]
    masks = [np.asarray(volume.read(f"stack-labels-calibrated{end}.tif")) == 0 for end in ("-low", "", "-high")]
    assert len(found) == 7
    surfaces = [evaluate.minkowski(Volume(mask, (0.01,) * 3)).specific_surface for mask in masks]
    assert found["specific surface"] == {
        "unit": "1 / µm", "value": surfaces[1], "low": min(surfaces), "high": max(surfaces)
    }  # fmt: skip
    for axis, letter in enumerate("zyx"):
        for name, unit in (("tortuosity", ""), ("permeability", "µm²")):
            heading = f"{name} factor along {letter}" if name == "tortuosity" else f"{name} along {letter}"
            solve = getattr(evaluate, name)
            values = [getattr(solve(Volume(mask, (0.01,) * 3), axis=axis), name) for mask in masks]
            assert found[heading]["unit"] == unit
            ends = [found[heading][key] for key in ("low", "value", "high")]
            assert ends == pytest.approx([min(values), values[1], max(values)])
            # More pore conducts better.
            assert values[0] > values[2] if name == "tortuosity" else values[0] < values[2]


def test_without_an_interval_there_is_one_volume_and_one_value(pore, tmp_path, strict_json):
    calibrate("--porosity", 0.4, "--measure", "surface", "--out", "out/mine.npy", "--voxel-size", 1, 1, 2)
    # numpy's format keeps voxel size and names in a file of its own.
    written = ["mine-summary.json", "mine.html", "mine.json", "mine.npy"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == written
    labels = np.load("out/mine.npy")
    summary = strict_json(tmp_path / "out" / "mine-summary.json")
    assert summary["porosity_interval"] is None
    surface = evaluate.minkowski(Volume(labels == 0, (1, 1, 2))).specific_surface
    assert summary["properties"] == {"specific surface": {"unit": "1 / µm", "value": surface}}


def test_pores_that_lead_nowhere_have_no_finite_tortuosity(pore, tmp_path, strict_json):
    calibrate("--porosity", 0.02, "--measure", "tortuosity", "permeability")
    summary = strict_json(tmp_path / "stack-labels-calibrated-summary.json")
    assert summary["properties"]["tortuosity factor along z"]["value"] is None
    assert summary["properties"]["permeability along z"]["value"] == 0


def test_a_measurement_that_the_pictures_contradict_is_warned_of(pore, capsys):
    calibrate("--porosity", 0.97, "--measure")
    assert "warning: the measured porosity and the pictures contradict each other" in capsys.readouterr().err
    calibrate("--porosity", 0.5, "--measure")
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--porosity", 1.2], "the porosity is 1.2; give fractions from 0 to 1"),
        (["--porosity", "nan"], "the porosity is nan; give"),
        (["--porosity", 0.6, "--interval", 0.3, 0.5], "its interval 0.3 to 0.5; give fractions from 0 to 1"),
        (["--porosity", 0.6, "--measure", "surfaces"], "'surfaces' is no property that can be measured; choose from"),
        (["--porosity", 0.6, "--measure", "permeability", "--voxel-size", 1, 1, 2], "cube"),
        (["--porosity", 0.6, "--out", "stack-labels-probability.tif"], "would replace 'stack-labels-probability.tif'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_nothing_written(pore, tmp_path, capsys, arguments, reason):
    with pytest.raises(SystemExit) as stopped:
        calibrate(*arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["stack-labels-probability.tif"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((4, 5, 6), np.uint8), "holds uint8, and probabilities are no whole numbers; give the file NAME-prob"),
        (np.full((4, 5, 6), 3, np.float32), "give numbers from 0 to 1"),
    ],
)
def test_files_without_probabilities_are_refused(pore, capsys, values, reason):
    volume.write("stack-labels-probability.tif", Volume(values))
    with pytest.raises(SystemExit):
        calibrate("--porosity", 0.5)
    assert reason in capsys.readouterr().err


def test_probabilities_of_more_than_two_phases_are_refused(pore, tmp_path, capsys):
    (tmp_path / "stack-labels-summary.json").write_text('{"fractions": {"pore": 0.5, "fibre": 0.3, "MPL": 0.2}}')
    with pytest.raises(SystemExit):
        calibrate("--porosity", 0.5)
    assert "the model tells 3 phases apart; call segment.trust.match_porosity" in capsys.readouterr().err


def test_phases_have_the_names_of_the_model(pore, tmp_path):
    (tmp_path / "stack-labels-summary.json").write_text('{"fractions": {"electrolyte": 0.5, "carbon": 0.5}}')
    calibrate("--porosity", 0.5, "--measure")
    assert volume.read("stack-labels-calibrated.tif").phases == ("electrolyte", "carbon")
