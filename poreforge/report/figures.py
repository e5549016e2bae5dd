"""Pictures for the report, as PNG files in memory."""

import io
from collections.abc import Mapping, Sequence

import numpy as np

from poreforge.report.page import Figure, Picture

__all__ = ["curves", "error_map", "label_image", "mosaic", "picture", "side_by_side"]

# Pore first: dark; then tones that stay apart in grey print and for colour-blind readers.
PHASE_COLOURS = ("#14213d", "#e5e5e5", "#fca311", "#2a9d8f", "#8d5a97", "#c1666b", "#4f86c6", "#b5a642")
RIGHT_PORE, RIGHT_SOLID, LOST_PORE, LOST_SOLID = "#14213d", "#e5e5e5", "#d1495b", "#3d9be9"
LINE_COLOURS = ("#17202a", "#d1495b", "#e09f3e", "#3d9be9", "#2a9d8f", "#8d5a97")
DPI = 130
# Of the longer side; more would make reports heavy and show nothing more.
MOST_PIXELS = 768


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


def picture(
    image: np.ndarray, title: str, *, limits: tuple[float, float] | None = None, colours: str | None = None
) -> Picture:
    """Turn an array into a picture of one pixel a voxel, or less where it is large.

    Parameters
    ----------
    image : ndarray
        ``(Y, X)`` grey values or ``(Y, X, 3)`` colours from 0 to 1.
    title : str
        Above it.
    limits : (float, float), optional
        Grey values shown black and white; by default the smallest and the largest.
    colours : str, optional
        Name of matplotlib's colour map for grey values.

    Returns
    -------
    Picture
    """
    from PIL import Image

    image = np.asarray(image)
    if image.ndim == 2:
        low, high = limits if limits is not None else (image.min(), image.max())
        image = np.clip((image.astype(np.float64) - low) / (high - low if high > low else 1), 0, 1)
        if colours is not None:
            from matplotlib import colormaps

            image = colormaps[colours](image)[..., :3]
    encoded = Image.fromarray(np.round(255 * image).astype(np.uint8))
    factor = -(-max(encoded.size) // MOST_PIXELS)
    buffer = io.BytesIO()
    encoded.reduce(factor).save(buffer, format="png", optimize=True)
    return Picture(buffer.getvalue(), title, title, pixels=True)


def mosaic(pictures: Sequence[Picture], *, columns: int, scale: int = 1, gap: int = 6) -> bytes:
    """Join pictures of one size into one PNG, for where HTML is not at hand.

    Parameters
    ----------
    pictures : sequence of Picture
        From left to right, then downwards.
    columns : int
        Pictures a row.
    scale : int
        How many pixels, along each axis, one pixel becomes.
    gap : int
        White pixels between pictures.

    Returns
    -------
    bytes
        The file's content.
    """
    from PIL import Image

    tiles = [Image.open(io.BytesIO(entry.png)).convert("RGB") for entry in pictures]
    width, height = (side * scale for side in tiles[0].size)
    rows = -(-len(tiles) // columns)
    canvas = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        enlarged = tile.resize((width, height), Image.Resampling.NEAREST)
        canvas.paste(enlarged, (column * (width + gap), row * (height + gap)))
    buffer = io.BytesIO()
    canvas.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    x_label: str,
    y_label: str,
    caption: str,
    alt: str,
    levels: Mapping[str, float] | None = None,
    reference: str | None = None,
    half: bool = False,
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
    half : bool
        For half the width of the page, as `side_by_side` shows it.

    Returns
    -------
    Figure
    """
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(4.4, 3.2) if half else (6.4, 3.8), layout="constrained")
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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return Figure([Picture(buffer.getvalue(), alt)], caption)


def side_by_side(*figures: Figure) -> Figure:
    """Join figures in one row, their captions one after the other."""
    pictures = [entry for figure in figures for entry in figure.pictures]
    return Figure(pictures, " ".join(figure.caption for figure in figures), len(pictures))


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _plain_text(name: str) -> str:
    # matplotlib takes what stands between dollar signs for a formula, and leaves names after "_" out of the legend.
    return name.replace("$", r"\$").lstrip("_") or name
