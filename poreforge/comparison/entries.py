"""From what was measured on cubes to the entries of the table: means, intervals, relative errors, distances."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from evaluate.likeness.curve_distances import CurveDistance, curve_distance
from evaluate.likeness.independent_draws import (
    Deviation,
    MeanOfDraws,
    deviation_of_means,
    independent_rows,
    mean_of_draws,
    neighbour_inflation,
    student,
)
from evaluate.likeness.subvolume_measures import Key, SubvolumeMeasures
from poreforge.comparison.inputs import REAL

__all__ = ["CURVES", "CurveEntry", "CurveMean", "Entry", "curve_entries", "entries", "inflation_of", "power_of"]

# Quantity: power of the length in its unit.
POWERS = {
    "volume_fraction": 0, "specific_surface": -1, "mean_curvature": -2, "euler_density": -3, "mean_diameter": 1,
    "tortuosity_z": 0, "tortuosity_y": 0, "tortuosity_x": 0, "effective_diffusivity": 0, "percolates": 0,
    "interface_area": -1, "triple_phase_boundary": -2,
}  # fmt: skip
# Curve: how its distance is measured.
CURVES = {"two_point": "rms", "lineal_path": "rms", "sizes": "area"}
Measured = Mapping[str, Sequence[SubvolumeMeasures]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of the table: one number of one phase, or of the phases that meet.

    Attributes
    ----------
    quantity : str
        As in `evaluate.likeness.SubvolumeMeasures`.
    phases : tuple of int
        Labels.
    real : MeanOfDraws or None
        Of cubes of the real volume; None if fewer than two define the number.
    whole : float or None
        Measured on the whole real volume, for the Minkowski functionals.
    generated : dict
        For each method its mean, or None likewise.
    deviations : dict
        For each method how far that is from the real one, or None where either is missing.
    best : str or None
        The method that is nearest, if there are two or more.
    """

    quantity: str
    phases: tuple[int, ...]
    real: MeanOfDraws | None
    whole: float | None
    generated: dict[str, MeanOfDraws | None]
    deviations: dict[str, Deviation | None]
    best: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class CurveMean:
    """A mean curve and its pointwise band, each of shape (m,)."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class CurveEntry:
    """A curve of one phase.

    Attributes
    ----------
    quantity : {"two_point", "lineal_path", "sizes"}
        What it is.
    phase : int
        Label.
    at : ndarray of float64, shape (m,)
        Distances, lengths or diameters.
    means : dict
        Of the real material (``"real"``) and of each method, where defined.
    distances : dict
        For each method its distance from the real curve: of S2 and the lineal path the root mean square difference over
        φ(1 - φ), of sizes the Wasserstein-1 distance as a length; None where either is missing.
    best : str or None
        The method that is nearest, if there are two or more.
    """

    quantity: str
    phase: int
    at: np.ndarray
    means: dict[str, CurveMean]
    distances: dict[str, CurveDistance | None]
    best: str | None


def power_of(quantity: str) -> int:
    """Return the power of the length in a quantity's unit."""
    return POWERS[quantity]


def inflation_of(measured: Sequence[SubvolumeMeasures]) -> float:
    """Return `neighbour_inflation` of the cubes of volumes, the largest of all phases and volumes."""
    found = 1.0
    for (quantity, _), curves in _pooled(measured, "two_point"):
        mean = curves.mean(axis=0)
        covariance = mean - mean[0] ** 2
        for one in measured:
            size = one.cube_size
            found = max(found, neighbour_inflation(one.at[quantity], covariance, cube_size=size, grid=one.grid))
    return found


def _pooled(measured: Sequence[SubvolumeMeasures], quantity: str) -> list[tuple[Key, np.ndarray]]:
    keys = [key for key in measured[0].curves if key[0] == quantity]
    return [(key, np.concatenate([one.curves[key] for one in measured])) for key in keys]


def entries(
    measured: Measured, *, whole: Mapping[Key, float], factors: Mapping[str, float], level: float
) -> tuple[Entry, ...]:
    """Compare every number of every method with that of the real material.

    Parameters
    ----------
    measured : mapping
        From ``"real"`` and the name of each method to what its volumes measure.
    whole : mapping
        What was measured on the whole real volume.
    factors : mapping
        What numbers of a quantity are multiplied by for print; by default 1.
    level : float
        Coverage of the intervals.

    Returns
    -------
    tuple of Entry
        In the order of quantities, then phases.
    """
    spread = {name: inflation_of(volumes) for name, volumes in measured.items()}
    keys = sorted(measured[REAL][0].values, key=lambda key: (list(POWERS).index(key[0]), key[1]))
    found = []
    for key in keys:
        factor = factors.get(key[0], 1.0)
        means = {
            name: _mean([factor * one.values[key] for one in volumes], level, spread[name])
            for name, volumes in measured.items()
        }
        real = means.pop(REAL)
        away = {
            name: deviation_of_means(mean, real, level=level) if mean and real else None for name, mean in means.items()
        }
        total = whole[key] * factor if key in whole else None
        sizes = {name: abs(found.difference) for name, found in away.items() if found}
        found.append(Entry(*key, real, total, means, away, _nearest(sizes)))
    return tuple(found)


def _mean(groups: list[np.ndarray], level: float, inflation: float) -> MeanOfDraws | None:
    known = [group[~np.isnan(group)] for group in groups]
    if independent_rows([group[:, None] for group in known]).rows.size < 2:
        return None
    return mean_of_draws(known, level=level, inflation=inflation)


def _nearest(sizes: Mapping[str, float]) -> str | None:
    """Return the name with the smallest size, if there is a choice and no tie."""
    first = [name for name, size in sizes.items() if size == min(sizes.values())]
    return first[0] if len(sizes) > 1 and len(first) == 1 else None


def curve_entries(measured: Measured, *, level: float, rng: int = 0) -> tuple[CurveEntry, ...]:
    """Compare the curves of every method with those of the real material.

    Parameters
    ----------
    measured, level
        As in `entries`.
    rng : int
        Seed of the noise's resamples.

    Returns
    -------
    tuple of CurveEntry
    """
    spread = {name: inflation_of(volumes) for name, volumes in measured.items()}
    keys = sorted(measured[REAL][0].curves, key=lambda key: (list(CURVES).index(key[0]), key[1]))
    return tuple(_curve_entry(measured, key, spread=spread, level=level, rng=rng) for key in keys)


def _curve_entry(measured: Measured, key: Key, *, spread: Mapping[str, float], level: float, rng: int) -> CurveEntry:
    quantity, (phase,) = key
    at = measured[REAL][0].at[quantity]
    groups = {name: [one.curves[key] for one in volumes] for name, volumes in measured.items()}
    rows = {name: independent_rows(curves) for name, curves in groups.items()}
    means = {
        name: _band(found.rows, 1.0 if found.of_volumes else spread[name], level)
        for name, found in rows.items()
        if len(found.rows) > 1
    }
    fractions = np.concatenate([one.values["volume_fraction", (phase,)] for one in measured[REAL]])
    share = float(fractions.mean())
    scale = share * (1 - share) if CURVES[quantity] == "rms" else 1.0
    distances: dict[str, CurveDistance | None] = {}
    for name in measured:
        if name == REAL:
            continue
        known = REAL in means and name in means and scale > 0
        distances[name] = (
            curve_distance(
                groups[name], groups[REAL], at=at, measure=CURVES[quantity], scale=scale,  # type: ignore[arg-type]
                inflation=(spread[name], spread[REAL]), level=level, rng=rng,
            )
            if known
            else None
        )  # fmt: skip
    nearest = _nearest({name: found.distance for name, found in distances.items() if found})
    return CurveEntry(quantity, phase, at, means, distances, nearest)


def _band(rows: np.ndarray, inflation: float, level: float) -> CurveMean:
    n = len(rows)
    factor = min(inflation, n / 2)
    error = np.std(rows, axis=0, ddof=1) * math.sqrt(factor / n * (n - 1) / (n - factor))
    half, mean = student(level, max(n / factor - 1, 1.0)) * error, rows.mean(axis=0)
    return CurveMean(mean, mean - half, mean + half)
