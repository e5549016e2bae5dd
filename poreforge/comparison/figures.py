"""Figures of a comparison: violins of the Minkowski functionals, curves with bands, slices and 3-D pictures."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluate.likeness.subvolume_measures import SubvolumeMeasures
from poreforge.comparison.entries import CurveEntry
from poreforge.comparison.inputs import REAL
from poreforge.report import Figure, Picture
from poreforge.report.figures import LINE_COLOURS, label_image, picture
from volume import Volume

__all__ = ["bands", "colour_of", "nearest_pairs", "pictures_in_3d", "power_of_ten", "slices", "violins"]

DPI = 130
# Of one panel, in inches.
WIDTH, HEIGHT = 3.1, 2.5
REAL_COLOUR = "#17202a"
COLUMNS = 3
# More letters do not fit side by side below a panel.
LETTERS = 28


def colour_of(number: int) -> str:
    """Return the colour of a method by its place, 0 for the first; the real material is black."""
    return LINE_COLOURS[1 + number % (len(LINE_COLOURS) - 1)]


def violins(
    volumes: Mapping[str, Sequence[SubvolumeMeasures]],
    *,
    quantities: Mapping[str, tuple[str, str]],
    factors: Mapping[str, float],
    phases: Sequence[str],
) -> Picture:
    """Draw how numbers are distributed over cubes: a row a phase, a column a quantity, a violin a method.

    Parameters
    ----------
    volumes : mapping
        As in `poreforge.compare.Comparison`.
    quantities : mapping
        From each quantity to its name and its unit, the latter with its slash.
    factors : mapping
        What its numbers are multiplied by; by default 1.
    phases : sequence of str
        Names.

    Returns
    -------
    Picture
    """
    from matplotlib.figure import Figure as Canvas

    rows, columns = len(phases), len(quantities)
    canvas = Canvas(figsize=(WIDTH * columns, HEIGHT * rows), layout="constrained")
    axes = canvas.subplots(rows, columns, squeeze=False)
    colours = [REAL_COLOUR, *(colour_of(k) for k in range(len(volumes) - 1))]
    for phase, name in enumerate(phases):
        for axis, (quantity, (title, unit)) in zip(axes[phase], quantities.items(), strict=True):
            factor = factors.get(quantity, 1.0)
            values = [
                factor * np.concatenate([one.values[quantity, (phase,)] for one in own]) for own in volumes.values()
            ]
            power, scale = power_of_ten(max(float(np.abs(own).max()) for own in values))
            for place, (own, colour) in enumerate(zip(values, colours, strict=True)):
                _violin(axis, place, own / scale, colour)
            _name_ticks(axis, list(volumes))
            axis.tick_params(axis="y", labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_title(f"{_plain(name)}: {title}", fontsize=9)
            shown = unit.removeprefix(" / ")
            axis.set_ylabel(" ".join(part for part in (power, shown) if part), fontsize=8)
    heads = ", ".join(title for title, _ in quantities.values())
    return Picture(_encoded(canvas), f"Violins of {heads} of each phase over the cubes.")


def _name_ticks(axis: Any, names: Sequence[str]) -> None:
    slanted = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if sum(map(len, names)) > LETTERS else {}
    axis.set_xticks(range(len(names)), [_plain(name) for name in names], fontsize=8, **slanted)


def power_of_ten(size: float) -> tuple[str, float]:
    """Return the power of ten to set apart of numbers of this size, as text and as a number; ``("", 1)`` for none."""
    power = math.floor(math.log10(size)) if size > 0 else 0
    if -3 <= power <= 4:
        return "", 1.0
    return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")), 10.0**power


def _violin(axis: Any, place: int, values: np.ndarray, colour: str) -> None:
    spread = float(np.ptp(values))
    # A density needs values that differ by more than rounding.
    if len(values) > 2 and spread > 1e-9 * float(np.abs(values).max()):
        drawn = axis.violinplot(values, positions=[place], widths=0.8, showextrema=False)
        for body in drawn["bodies"]:
            body.set(facecolor=colour, edgecolor=colour, alpha=0.35)
    jitter = 0.16 * (np.random.default_rng(place).random(len(values)) - 0.5)
    axis.plot(place + jitter, values, ".", color=colour, markersize=2.5, alpha=0.7)
    axis.plot([place - 0.3, place + 0.3], [values.mean()] * 2, color=colour, linewidth=1.8)


def bands(curves: Sequence[CurveEntry], *, phases: Sequence[str], x_label: str, y_label: str) -> Picture:
    """Draw one curve of every phase, a panel a phase, with the band within which each mean is known.

    Returns
    -------
    Picture
    """
    from matplotlib.figure import Figure as Canvas

    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    canvas = Canvas(figsize=(WIDTH * columns + 0.4, (HEIGHT + 0.3) * rows), layout="constrained")
    axes = canvas.subplots(rows, columns, squeeze=False).ravel()
    for axis, curve in zip(axes, curves, strict=False):
        names = [REAL, *curve.distances]
        for number, name in enumerate(names):
            if name not in curve.means:
                continue
            found, shown = curve.means[name], _shown(curve)
            colour = REAL_COLOUR if name == REAL else colour_of(number - 1)
            wide = 2.6 if name == REAL else 1.4
            axis.plot(curve.at[shown], found.mean[shown], color=colour, linewidth=wide, label=_plain(name))
            axis.fill_between(
                curve.at[shown], found.low[shown], found.high[shown], color=colour, alpha=0.18, linewidth=0
            )
        axis.set_title(_plain(phases[curve.phase]), fontsize=9)
        axis.set_xlabel(x_label, fontsize=8.5)
        axis.set_ylabel(y_label, fontsize=8.5)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    return Picture(_encoded(canvas), f"{y_label} of each phase, real and generated, with bands.")


def _shown(curve: CurveEntry) -> slice:
    """Return the part that is drawn: distributions up to where all have come to their end."""
    if curve.quantity != "sizes":
        return slice(None)
    short = [int(np.flatnonzero(found.mean < 1 - 1e-9)[-1]) for found in curve.means.values()]
    return slice(0, max(short, default=0) + 3)


def slices(examples: Mapping[str, Volume]) -> Figure:
    """Show the middle plane along z of an example of each method beside the real one."""
    pictures = [picture(label_image(found.array[len(found.array) // 2]), name) for name, found in examples.items()]
    side = next(iter(examples.values())).shape[0]
    caption = f"The middle plane along z of the middle {side}³ voxels of the first volume of each; label 0 is dark."
    return Figure(pictures, caption, min(4, len(pictures)))


def nearest_pairs(pairs: Mapping[str, Any]) -> Figure:
    """Show the middle plane of each method's patch that is nearest to the real material, beside what it is nearest to.

    Parameters
    ----------
    pairs : mapping
        For each method the patch and the window, alike turned.
    """
    shown = []
    for name, (patch, window) in pairs.items():
        middle = len(patch) // 2
        shown += [
            picture(label_image(patch[middle]), f"{name}: nearest patch"),
            picture(label_image(window[middle]), "its window in the real volume"),
        ]
    caption = "Of each method the patch that is nearest to the real volume, and where it is nearest to: middle planes."
    return Figure(shown, caption, 4)


def pictures_in_3d(examples: Mapping[str, Volume]) -> Figure:
    """Draw the examples in 3-D, side by side.

    Raises
    ------
    ValueError
        If PyVista is not installed.
    """
    from poreforge.views import Look, encoded_png, phase_scene, render

    look = Look(size_px=(440, 400), ruler=False, legend=False)
    drawn = [
        Picture(encoded_png(render(phase_scene(found, cut="corner"), look)), f"3-D view of {name}.", name)
        for name, found in examples.items()
    ]
    side = next(iter(examples.values())).shape[0]
    return Figure(
        drawn, f"The same {side}³ voxels, all phases but the first, one corner taken out.", min(4, len(drawn))
    )


def _encoded(canvas: Any) -> bytes:
    buffer = io.BytesIO()
    # The first layout does not know yet how wide the numbers at the axes are.
    canvas.draw_without_rendering()
    canvas.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _plain(name: str) -> str:
    # matplotlib takes what stands between dollar signs for a formula, and leaves names after "_" out of the legend.
    return name.replace("$", r"\$").lstrip("_") or name
