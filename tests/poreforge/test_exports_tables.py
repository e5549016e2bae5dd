import csv
import dataclasses

import numpy as np
import pytest

from evaluate import minkowski, two_point
from poreforge.exports import write_csv
from poreforge.report import Table


@dataclasses.dataclass(frozen=True)
class Fit:
    median: float
    sigma: float | None


@dataclasses.dataclass(frozen=True)
class Bubbles:
    volume: np.ndarray
    centre: np.ndarray
    fit: Fit
    unit: str


@dataclasses.dataclass(frozen=True)
class Bubble:
    volume: float
    centre: tuple[float, float, float]


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_arrays_become_columns_vectors_z_y_x_and_single_values_stand_in_each_row(tmp_path):
    result = Bubbles(np.array([1.5, 2.5]), np.array([[1, 2, 3], [4, 5, 6]]), Fit(0.1, None), "µm, cubed")
    assert rows(write_csv(tmp_path / "b.csv", result)) == [
        ["volume", "centre_z", "centre_y", "centre_x", "fit_median", "fit_sigma", "unit"],
        ["1.5", "1", "2", "3", "0.1", "", "µm, cubed"],
        ["2.5", "4", "5", "6", "0.1", "", "µm, cubed"],
    ]


def test_members_of_a_sequence_become_rows(tmp_path):
    found = rows(write_csv(tmp_path / "b.csv", [Bubble(1.0, (1, 2, 3)), Bubble(2.0, (4, 5, 6))]))
    assert found == [["volume", "centre_z", "centre_y", "centre_x"], ["1.0", "1", "2", "3"], ["2.0", "4", "5", "6"]]


def test_numbers_come_back_to_the_last_digit(tmp_path):
    values = np.random.default_rng(0).random(20) * 1e-7
    found = rows(write_csv(tmp_path / "v.csv", {"value": values}))
    np.testing.assert_array_equal([float(row[0]) for row in found[1:]], values)


def test_results_of_the_measurements_are_tables(tmp_path):
    mask = np.random.default_rng(0).random((8, 8, 8)) > 0.5
    functionals = minkowski(mask, voxel_size_um=(1, 2, 3))
    head, row = rows(write_csv(tmp_path / "m.csv", functionals))
    assert dict(zip(head, row, strict=True))["unit"] == "um"
    assert float(dict(zip(head, row, strict=True))["specific_surface"]) == functionals.specific_surface
    correlation = two_point(mask)
    head, *values = rows(write_csv(tmp_path / "s.csv", correlation, fields=("r", "s2")))
    assert head == ["r", "s2"]
    assert [float(row[0]) for row in values] == correlation.r.tolist()
    assert [float(row[1]) for row in values] == correlation.s2.tolist()


def test_table_of_a_report_is_written_as_it_is_printed(tmp_path):
    table = Table("c", ["phase", "share"], [["pore", "0.5"], ["solid", "0.5"]])
    assert rows(write_csv(tmp_path / "t.csv", table)) == [["phase", "share"], ["pore", "0.5"], ["solid", "0.5"]]


def test_column_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no column 'area'; it has: volume"):
        write_csv(tmp_path / "t.csv", [Bubble(1.0, (1, 2, 3))], fields=["area"])


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ({"a": np.zeros(2), "b": np.zeros(3)}, r"unequal lengths \(a 2, b 3\)"),
        ({"a": np.zeros((2, 2, 2))}, "3 dimensions"),
        ([{"a": 1}, {"b": 1}], "unlike columns"),
        ([{"a": np.zeros(2)}], "several values"),
        (3.0, "a float is no table"),
        ([], "a list is no table"),
        (Fit, "a type is no table"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, result, sentence):
    with pytest.raises(ValueError, match=sentence):
        write_csv(tmp_path / "t.csv", result)
    assert list(tmp_path.iterdir()) == []
