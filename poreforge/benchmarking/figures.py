"""Figures of a benchmark: scores, errors, ranks and cost of methods, and slices of what they find."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from poreforge.benchmarking.ranking import Estimate, Standing
from poreforge.report import Figure, Picture
from poreforge.report.figures import LINE_COLOURS, error_map, label_image, picture

__all__ = ["cost_against_score", "dots", "ranks", "scatter", "slices"]

DPI = 130
WIDTH = 8.0
ROW = 0.34
# Numbers along an axis of ranks; more run into each other.
MOST_TICKS = 12
INK, SOFT = "#17202a", "#8a949e"
COLUMNS = 4
# Ratio of seconds below which names would meet.
CROWDED = 1.22


def dots(
    values: Mapping[str, Sequence[float]], *, means: Mapping[str, Estimate] | None, x_label: str, alt: str, zero: bool
) -> Picture:
    """Draw a row for each method: a dot for each volume, and over them the mean with its interval.

    Parameters
    ----------
    values : mapping
        From each method, the uppermost first, to its numbers, NaN where there is none.
    means : mapping, optional
        Their means; no bars unless given.
    x_label, alt : str
        For the axis and for readers who do not see it.
    zero : bool
        Whether to mark 0.
    """
    canvas, (axis,) = _canvas(1, height=0.75 + ROW * len(values))
    if zero:
        axis.axvline(0, color=SOFT, linewidth=0.9)
    for row, (name, own) in enumerate(values.items()):
        # Dots of neighbouring volumes lie apart, each at the same height for every method.
        heights = row + 0.22 * np.sin(2.4 * np.arange(len(own)))
        axis.plot(own, heights, "o", color=LINE_COLOURS[3], markersize=4.5, alpha=0.8, markeredgewidth=0)
        if means is not None:
            _bar(axis, row, means[name].mean, means[name].low, means[name].high)
    _name_rows(axis, list(values))
    axis.set_xlabel(x_label)
    if means is not None:
        # An interval from few volumes may reach far beyond all of them.
        known = np.array([value for own in values.values() for value in own if not math.isnan(value)])
        if known.size:
            span = max(float(np.ptp(known)), 1e-3)
            axis.set_xlim(known.min() - 0.25 * span, known.max() + 0.25 * span)
    return Picture(_encoded(canvas), alt)


def ranks(panels: Mapping[str, Sequence[Standing]]) -> Picture:
    """Draw the mean ranks with their intervals, a panel for each way of ranking, in the order of the first.

    Parameters
    ----------
    panels : mapping
        From the name of each way to its standings.
    """
    order = [standing.method for standing in next(iter(panels.values()))]
    canvas, axes = _canvas(len(panels), height=0.95 + ROW * len(order))
    for axis, (title, standings) in zip(axes, panels.items(), strict=True):
        for standing in standings:
            _bar(axis, order.index(standing.method), standing.rank, standing.low, standing.high)
        _name_rows(axis, order if axis is axes[0] else [""] * len(order))
        axis.set_title(title, fontsize=10)
        axis.set_xlim(0.6, len(order) + 0.4)
        axis.set_xticks(range(1, len(order) + 1, -(-len(order) // MOST_TICKS)))
        axis.set_xlabel("mean rank, 1 is best")
    return Picture(_encoded(canvas), f"Mean ranks of {', '.join(order)}.")


def scatter(found: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Picture:
    """Draw the porosity that each method finds over the true one, a panel a method.

    Parameters
    ----------
    found : mapping
        From each method to the true porosities of its volumes and those found.
    """
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import MaxNLocator

    columns = min(COLUMNS, len(found))
    rows = -(-len(found) // columns)
    canvas = Canvas(figsize=(2.3 * columns, 2.35 * rows + 0.2), layout="constrained")
    axes = canvas.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, (name, (true, own)) in zip(axes, found.items(), strict=False):
        axis.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9)
        axis.plot(true, own, "o", color=LINE_COLOURS[3], markersize=4.5, alpha=0.8, markeredgewidth=0)
        axis.set_title(_plain(name), fontsize=9)
        axis.set_aspect("equal")
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    for axis in axes[len(found) :]:
        axis.set_visible(False)
    numbers = [value for pair in found.values() for own in pair for value in own]
    low, high = (min(numbers), max(numbers)) if numbers else (0, 1)
    room = 0.08 * max(high - low, 0.05)
    axes[0].set(xlim=(low - room, high + room), ylim=(low - room, high + room))
    for own in (axes[0].xaxis, axes[0].yaxis):
        own.set_major_locator(MaxNLocator(4))
    canvas.supxlabel("true porosity", fontsize=9)
    canvas.supylabel("porosity found", fontsize=9)
    return Picture(_encoded(canvas), f"Porosity found over true porosity, of {', '.join(found)}.")


def cost_against_score(points: Mapping[str, tuple[float, float]], *, y_label: str) -> Picture:
    """Draw each method's score over its seconds.

    Parameters
    ----------
    points : mapping
        From each method to its seconds a million voxels and its score.
    y_label : str
        Of the score.
    """
    canvas, (axis,) = _canvas(1, height=3.6)
    by_seconds = sorted(points.items(), key=lambda item: item[1])
    for place, (name, (seconds, score)) in enumerate(by_seconds):
        axis.plot(seconds, score, "o", color=LINE_COLOURS[1], markersize=5)
        # On the left where the next method is near on the right.
        crowded = any(following[0] < CROWDED * seconds for _, following in by_seconds[place + 1 :])
        offset, side = ((-6, 0), "right") if crowded else ((6, 0), "left")
        style = {"fontsize": 8.5, "ha": side, "va": "center"}
        axis.annotate(_plain(name), (seconds, score), offset, textcoords="offset points", **style)
    axis.set(xscale="log", xlabel="seconds a million voxels", ylabel=y_label)
    axis.margins(x=0.18, y=0.12)
    return Picture(_encoded(canvas), f"{y_label} over seconds a million voxels, of {', '.join(points)}.")


def slices(grey: np.ndarray, truth: np.ndarray, found: Mapping[str, np.ndarray], caption: str) -> Figure:
    """Show a slice, its truth, and what each method finds beside where it is wrong.

    Parameters
    ----------
    grey, truth : ndarray, shape (Y, X)
        The slice and its labels.
    found : mapping
        From each method to its labels.
    caption : str
        Below it.
    """
    low, high = np.percentile(grey, [0.5, 99.5])
    shown = [picture(grey, "grey", limits=(float(low), float(high))), picture(label_image(truth), "truth")]
    for name, labels in found.items():
        shown += [picture(label_image(labels), name), picture(error_map(labels, truth), f"{name}: errors")]
    return Figure(shown, caption, COLUMNS)


def _canvas(panels: int, *, height: float) -> tuple[Any, Sequence[Any]]:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(WIDTH, height), layout="constrained")
    axes = canvas.subplots(1, panels, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=9)
    return canvas, list(axes)


def _bar(axis: Any, row: int, mean: float, low: float, high: float) -> None:
    if not math.isnan(low):
        axis.plot([low, high], [row, row], color=INK, linewidth=1.4)
    axis.plot(mean, row, "D", color=INK, markersize=4.5)


def _name_rows(axis: Any, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), [_plain(name) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="y", color="#eef1f4", linewidth=0.8)
    axis.set_axisbelow(True)


def _encoded(canvas: Any) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _plain(name: str) -> str:
    # matplotlib takes what stands between dollar signs for a formula.
    return name.replace("$", r"\$")
