"""Pictures for the report, as PNG files in memory."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from poreforge.report.page import Figure

__all__ = ["curves", "error_map", "grid", "label_image"]

# Pore first: dark; then tones that stay apart in grey print and for colour-blind readers.
PHASE_COLOURS = ("#14213d", "#e5e5e5", "#fca311", "#2a9d8f", "#8d5a97", "#c1666b", "#4f86c6", "#b5a642")
RIGHT_PORE, RIGHT_SOLID, LOST_PORE, LOST_SOLID = "#14213d", "#e5e5e5", "#d1495b", "#3d9be9"
LINE_COLOURS = ("#17202a", "#d1495b", "#e09f3e", "#3d9be9", "#2a9d8f", "#8d5a97")
DPI = 130


def label_image(labels: np.ndarray) -> np.ndarray:
    """Return the colours ``(Y, X, 3)`` of a slice of labels."""
    palette = np.array([_rgb(colour) for colour in PHASE_COLOURS])
    return palette[np.asarray(labels) % len(palette)]


def error_map(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return colours ``(Y, X, 3)``: what is right in its own tone, lost pore in red, lost solid in blue."""
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    image = np.empty((*truth.shape, 3))
    image[(truth == 0)] = _rgb(RIGHT_PORE)
    image[(truth > 0)] = _rgb(RIGHT_SOLID)
    image[(truth == 0) & (prediction > 0)] = _rgb(LOST_PORE)
    image[(truth > 0) & (prediction != truth)] = _rgb(LOST_SOLID)
    return image


def grid(images: Sequence[Mapping[str, Any]], *, columns: int, caption: str, alt: str) -> Figure:
    """Draw pictures side by side.

    Parameters
    ----------
    images : sequence of mapping
        ``image`` is ``(Y, X)`` grey or ``(Y, X, 3)`` colours, ``title`` goes above it; ``limits`` fixes black and
        white, ``cmap`` the colours of a grey one.
    columns : int
        Pictures a row.
    caption, alt : str
        For the figure.

    Returns
    -------
    Figure
    """
    from matplotlib.figure import Figure as Canvas

    rows = -(-len(images) // columns)
    height, width = images[0]["image"].shape[:2]
    # Beams and plates stay within a page; inside their axes they keep their proportions.
    relative = min(3.0, max(0.2, height / width))
    figure = Canvas(figsize=(2.7 * columns, (2.7 * relative + 0.35) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, entry in zip(axes.flat, images, strict=False):
        low, high = entry.get("limits", (None, None))
        axis.imshow(entry["image"], cmap=entry.get("cmap", "gray"), vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(entry["title"], fontsize=9)
    return _finish(figure, caption, alt)


def curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    x_label: str,
    y_label: str,
    caption: str,
    alt: str,
    levels: Mapping[str, float] | None = None,
    reference: str | None = None,
) -> Figure:
    """Draw curves in one pair of axes.

    Parameters
    ----------
    lines : mapping
        From the name of each curve to its x and y.
    x_label, y_label : str
        With units.
    caption, alt : str
        For the figure.
    levels : mapping, optional
        Horizontal lines and their names.
    reference : str, optional
        The curve that the others are held against; it is drawn broad, beneath them.

    Returns
    -------
    Figure
    """
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(6.4, 3.8), layout="constrained")
    axis = figure.subplots()
    for number, (name, (x, y)) in enumerate(lines.items()):
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        width, depth = (3.4, 1.5) if name == reference else (1.6, 2.0)
        axis.plot(x, y, label=_plain_text(name), color=colour, linewidth=width, zorder=depth)
    for name, level in (levels or {}).items():
        axis.axhline(level, color="#5a6673", linewidth=0.9, linestyle="--", label=_plain_text(name))
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.spines[["top", "right"]].set_visible(False)
    if len(lines) + len(levels or {}) > 1:
        axis.legend(frameon=False, fontsize=8.5)
    return _finish(figure, caption, alt)


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _plain_text(name: str) -> str:
    # matplotlib takes what stands between dollar signs for a formula, and leaves names after "_" out of the legend.
    return name.replace("$", r"\$").lstrip("_") or name


def _finish(figure: Any, caption: str, alt: str) -> Figure:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return Figure(buffer.getvalue(), caption, alt)
