"""Two-point correlation, lineal path and chords of the phases."""

from typing import Any

import numpy as np

from evaluate import chord_lengths, lineal_path, two_point
from poreforge.characterisation.findings import Findings, attempt, columns_of, mask_of, names_of, unit_of
from poreforge.report import Section, Table
from poreforge.report.figures import curves, side_by_side
from volume import Volume

__all__ = ["correlation"]

MOST_REACH = 128


def correlation(volume: Volume) -> Findings:
    """Measure S2 over all directions, lineal paths and the mean chords along each axis."""
    names, unit = names_of(volume), unit_of(volume)
    found = [_of_phase(volume, label) for label in range(len(names))]
    s2 = curves(
        {
            name: (np.array(one["two_point"]["r"]), np.array(one["two_point"]["s2"]))
            for name, one in _named(names, found)
        },
        x_label=f"distance r / {unit}",
        y_label="two-point correlation S2",
        caption="Probability that two points at distance r lie in the phase: its fraction at 0, that squared far away.",
        alt="Two-point correlation of each phase.",
        half=True,
    )
    paths = curves(
        {
            name: (np.array(one["lineal_path"]["r"]), np.array(one["lineal_path"]["probability"]))
            for name, one in _named(names, found)
        },
        x_label=f"length / {unit}",
        y_label="lineal path",
        caption="Probability that a whole segment of that length along an axis lies in the phase, mean of three axes.",
        alt="Lineal path of each phase.",
        half=True,
    )
    rows = [[name, *columns_of(*one["mean_chord"].values())] for name, one in _named(names, found)]
    table = Table("Mean chord, corrected for the border.", ["phase", *(f"along {a} / {unit}" for a in "zyx")], rows)
    return Findings({"correlation": found}, Section("Correlation", [], [side_by_side(s2, paths)], [table]))


def _reach(volume: Volume) -> int:
    """Return half of the smallest side, counted in the smallest edge of a voxel as `two_point` does."""
    edges = volume.voxel_size_um or (1.0, 1.0, 1.0)
    return int(min(n * edge for n, edge in zip(volume.shape, edges, strict=True)) / min(edges) / 2)


def _named(names: tuple[str, ...], found: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return list(zip(names, found, strict=True))


def _of_phase(volume: Volume, label: int) -> dict[str, Any]:
    mask = mask_of(volume, label)
    # A reach of half the side would cost gigabytes where volumes are large, and structures are correlated over less.
    pairs, path = two_point(mask, r_max=min(_reach(volume), MOST_REACH)), lineal_path(mask)
    chords, _ = attempt(chord_lengths, mask)
    return {
        "label": label,
        "two_point": {"r": pairs.r.tolist(), "s2": pairs.s2.tolist(), "unit": pairs.unit},
        "lineal_path": {"r": path.r.tolist(), "probability": path.probability.tolist(), "unit": path.unit},
        "mean_chord": {a: None if chords is None else chords.along[k].mean for k, a in enumerate("zyx")},
    }
