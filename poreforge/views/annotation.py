"""What is written around a 3-D view: lengths of the box, the names of the phases, the colour bar."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from poreforge.views.camera import Camera
from poreforge.views.scene import ColourBar, Scene

__all__ = ["annotate", "margins", "strip_width", "tick_values"]

INK, SOFT = (23, 32, 42, 255), (90, 102, 115, 255)
# Row by row: the axis and the two corners (x, y, z) of each edge of the box.
EDGES = [
    (axis, tuple(np.insert(rest, axis, 0)), tuple(np.insert(rest, axis, 1)))
    for axis in range(3)
    for rest in ((0, 0), (0, 1), (1, 0), (1, 1))
]


@dataclasses.dataclass(frozen=True)
class _Pen:
    draw: Any
    scale: int
    font: Any

    def text(self, place: tuple[float, float], words: str, *, anchor: str, colour: tuple[int, ...] = INK) -> None:
        self.draw.text(place, words, font=self.font, fill=colour, anchor=anchor)

    def line(self, start: Any, end: Any, *, width: float = 1.2, colour: tuple[int, ...] = SOFT) -> None:
        self.draw.line([tuple(start), tuple(end)], fill=colour, width=max(1, round(width * self.scale)))


def strip_width(scene: Scene, letter_px: int) -> int:
    """Return the width in pixels of what stands to the right of the view; 0 if there is nothing to say."""
    words = [surface.name for surface in scene.surfaces if surface.opacity > 0]
    if scene.bar is not None:
        words += [scene.bar.title, "0.0000 × 10"]
    elif not words:
        return 0
    return round(max(_font(letter_px).getlength(word) for word in words) + 3.2 * letter_px)


def annotate(
    image: np.ndarray, scene: Scene, camera: Camera, *, letter_px: int, ruler: bool, legend: bool
) -> np.ndarray:
    """Return the picture with its lengths and its legend.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 4)
        The view at its left side; the rest is empty.
    scene : Scene
    camera : Camera
        Its `pixels` are the size of the view.
    letter_px : int
        Height of the letters.
    ruler, legend : bool
        Which of them.

    Returns
    -------
    ndarray of uint8, shape (H, W, 4)
    """
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(image)
    pen = _Pen(ImageDraw.Draw(canvas), max(1, round(letter_px / 13)), _font(letter_px))
    if ruler:
        _draw_lengths(pen, scene, camera, letter_px)
    if legend:
        left = camera.pixels[0] + letter_px * 0.5
        if scene.bar is not None:
            _draw_bar(canvas, pen, scene, left, letter_px)
        else:
            _draw_names(pen, scene, left, letter_px)
    return np.asarray(canvas)


def _font(letter_px: int) -> Any:
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), letter_px)


def _draw_lengths(pen: _Pen, scene: Scene, camera: Camera, letter_px: int) -> None:
    """Along one edge of the box for each axis, below or beside it: the axis, which way it runs, and the length."""
    size = np.array(scene.size)
    middle = camera.project(size[None] / 2)[0]
    for axis in range(3):
        start, end = _outer_edge(axis, size, camera, middle)
        if np.linalg.norm(end - start) < 2 * letter_px:
            continue  # seen from its end
        centre = (start + end) / 2
        across = _away(start, end, middle)
        gap = 0.8 * letter_px
        a, b = start + gap * across, end + gap * across
        pen.line(a, b)
        _arrow_head(pen, a, b, letter_px)
        pen.line(start + 0.4 * gap * across, start + 1.6 * gap * across)
        words = length_label(scene, axis)
        # So far out that no corner of the words reaches the arrow, however it slants.
        width, height = pen.font.getlength(words), letter_px
        clearance = (abs(across[0]) * width + abs(across[1]) * height) / 2 + 0.6 * letter_px
        place = centre + (gap + clearance) * across
        pen.text((float(place[0]), float(place[1])), words, anchor="mm")


def length_label(scene: Scene, axis: int) -> str:
    """Return what is written beside the arrow of an axis (0, 1, 2 for x, y, z)."""
    return f"{'xyz'[axis]}  {_length(scene.size[axis])} {scene.unit}"


def margins(scene: Scene, letter_px: int) -> tuple[int, int]:
    """Return how many pixels the lengths need beside and below the box."""
    font = _font(letter_px)
    width = max(font.getlength(length_label(scene, axis)) for axis in range(3))
    return round(width + 2.6 * letter_px), round(3.4 * letter_px)


def _outer_edge(axis: int, size: np.ndarray, camera: Camera, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end on the picture of the edge that lies lowest (and of two the right one); of z the leftmost one."""
    edges = [camera.project(np.array([first, last]) * size) for way, first, last in EDGES if way == axis]

    def outwardness(edge: np.ndarray) -> float:
        column, row = edge.mean(axis=0) - middle
        return float(-column + 0.05 * row if axis == 2 else row + 0.05 * column)

    start, end = max(edges, key=outwardness)
    return start, end


def _away(start: np.ndarray, end: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Return the unit vector across an edge, away from the middle of the box."""
    along = (end - start) / np.linalg.norm(end - start)
    across = np.array([-along[1], along[0]])
    return across if across @ ((start + end) / 2 - middle) > 0 else -across


def _arrow_head(pen: _Pen, start: np.ndarray, end: np.ndarray, letter_px: int) -> None:
    along = (end - start) / np.linalg.norm(end - start)
    across = np.array([-along[1], along[0]])
    foot = end - 0.7 * letter_px * along
    corners = [end, foot + 0.25 * letter_px * across, foot - 0.25 * letter_px * across]
    pen.draw.polygon([tuple(corner) for corner in corners], fill=SOFT)


def _draw_names(pen: _Pen, scene: Scene, left: float, letter_px: int) -> None:
    top = 1.2 * letter_px
    for surface in scene.surfaces:
        if surface.opacity <= 0:
            continue
        box = [left, top, left + letter_px, top + letter_px]
        colour = tuple(int(surface.colour[i : i + 2], 16) for i in (1, 3, 5))
        pen.draw.rectangle(box, fill=(*colour, 255), outline=SOFT)
        pen.text((left + 1.6 * letter_px, top + 0.5 * letter_px), surface.name, anchor="lm")
        top += 1.7 * letter_px


def _draw_bar(canvas: Any, pen: _Pen, scene: Scene, left: float, letter_px: int) -> None:
    from matplotlib import colormaps
    from PIL import Image

    bar = scene.bar
    if bar is None:
        return
    pen.text((left, 1.2 * letter_px), bar.title, anchor="lt")
    top, bottom = round(3.6 * letter_px), round(min(canvas.height - 2 * letter_px, 3.6 * letter_px + 16 * letter_px))
    width = round(1.1 * letter_px)
    ramp = colormaps[bar.colour_map](np.linspace(1, 0, bottom - top))[:, None, :3].repeat(width, axis=1)
    canvas.paste(Image.fromarray(np.round(255 * ramp).astype(np.uint8)), (round(left), top))
    for value, text in tick_values(bar):
        row = bottom - (value - bar.low) / (bar.high - bar.low) * (bottom - top)
        pen.line((left + width, row), (left + width + 0.35 * letter_px, row))
        pen.text((left + width + 0.6 * letter_px, row), text, anchor="lm")


def tick_values(bar: ColourBar) -> list[tuple[float, str]]:
    """Return round values within a colour bar, and how they are written."""
    from matplotlib.ticker import MaxNLocator

    edge = 1e-9 * (bar.high - bar.low)
    values = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(bar.low, bar.high)
    return [(float(v), _length(float(v))) for v in values if bar.low - edge <= v <= bar.high + edge]


def _length(value: float) -> str:
    from poreforge.report.page import number

    return number(value, 4)
