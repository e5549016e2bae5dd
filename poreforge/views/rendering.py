"""Still and turning pictures of a scene, drawn off screen."""

import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import as_whole_number
from poreforge.views.annotation import annotate, margins, strip_width
from poreforge.views.building import phase_scene, property_scene
from poreforge.views.camera import Camera, place_camera
from poreforge.views.pyvista_scene import open_plotter, take_picture
from poreforge.views.scene import Scene

__all__ = ["Look", "encoded_png", "render", "render_phases", "render_property", "rotating_gif"]

MOST_PIXELS = 4096
GIF_COLOURS = 96
MOST_GIF_BYTES = 3_000_000


@dataclasses.dataclass(frozen=True)
class Look:
    """How a scene is shown.

    Parameters
    ----------
    size_px : (int, int)
        Width and height of the picture, legend included.
    azimuth_deg, elevation_deg : float
        Where the eye is: azimuth 0 looks along +y with x to the right, larger angles move the eye towards +x; z is up.
    background : (int, int, int), optional
        Its colour; None for a picture with an opacity channel that is 0 there.
    ruler : bool
        The edges of the box, and arrows along it with its lengths.
    legend : bool
        Names of the phases or the colour bar, to the right.
    lit : bool
        Light and shade; without them every pixel has its surface's own colour.
    finer : int
        How many times finer it is drawn along each axis than it is shown, for smooth edges; 1 to 4.

    Raises
    ------
    ValueError
        A size below 64 or above 4096 pixels, angles that are not finite or beyond the zenith, colours beyond 0 to 255.
    """

    size_px: tuple[int, int] = (900, 620)
    azimuth_deg: float = 32.0
    elevation_deg: float = 27.0
    background: tuple[int, int, int] | None = (255, 255, 255)
    ruler: bool = True
    legend: bool = True
    lit: bool = True
    finer: int = 2

    def __post_init__(self) -> None:
        for side in self.size_px:
            as_whole_number(side, "size_px", low=64, high=MOST_PIXELS)
        as_whole_number(self.finer, "finer", low=1, high=4)
        if not math.isfinite(self.azimuth_deg) or not -90 <= self.elevation_deg <= 90:
            raise ValueError(
                f"the eye is at azimuth {self.azimuth_deg}, elevation {self.elevation_deg}; "
                "give a finite azimuth and an elevation from -90 to 90 degrees"
            )
        if self.background is not None:
            for part in self.background:
                as_whole_number(part, "background", low=0, high=255)


def render(scene: Scene, look: Look | None = None) -> np.ndarray:
    """Draw a scene.

    Parameters
    ----------
    scene : Scene
    look : Look, optional

    Returns
    -------
    ndarray of uint8, shape (H, W, 3), or (H, W, 4) if the background is None
        Rows downwards.

    Raises
    ------
    ValueError
        If PyVista is not installed.
    """
    look = look or Look()
    camera, letter_px = camera_of(scene, look)
    plotter = open_plotter(scene, _finer(camera, look), lit=look.lit, outline=look.ruler)
    try:
        return _finished(take_picture(plotter, camera), scene, look, camera, letter_px)
    finally:
        plotter.close()


def render_phases(labels: Any, *, look: Look | None = None, **of_scene: Any) -> np.ndarray:
    """Draw the phases of a labelled volume; the keywords are those of `phase_scene`, the result is that of `render`."""
    return render(phase_scene(labels, **of_scene), look)


def render_property(objects: Any, values: Any, *, look: Look | None = None, **of_scene: Any) -> np.ndarray:
    """Draw objects in the colours of a property; keywords as in `property_scene`, the result is that of `render`."""
    return render(property_scene(objects, values, **of_scene), look)


def rotating_gif(scene: Scene, look: Look | None = None, *, frames: int = 36, seconds: float = 4.0) -> bytes:
    """Draw a scene that turns once about z.

    Parameters
    ----------
    scene : Scene
    look : Look, optional
        By default 480 × 340 pixels. Its azimuth is that of the first picture. GIF knows no half transparency, so a
        background of None becomes white.
    frames : int
        Pictures of the turn, 2 to 360.
    seconds : float
        How long it takes.

    Returns
    -------
    bytes
        A GIF that repeats for ever. Above 3 MB it is drawn again with fewer pixels.

    Raises
    ------
    ValueError
        If PyVista is not installed, or `frames` or `seconds` is not a positive number.
    """
    look = look or Look(size_px=(480, 340))
    count = as_whole_number(frames, "frames", low=2, high=360)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds is {seconds!r}; the time of a turn must be positive")
    look = dataclasses.replace(look, background=look.background or (255, 255, 255))
    while True:
        data = _encoded(list(_turn(scene, look, count)), 1000 * seconds / count)
        width, height = look.size_px
        if len(data) <= MOST_GIF_BYTES or min(width, height) < 128:
            return data
        shrink = 0.95 * math.sqrt(MOST_GIF_BYTES / len(data))
        look = dataclasses.replace(look, size_px=(max(64, int(width * shrink)), max(64, int(height * shrink))))


def encoded_png(image: np.ndarray) -> bytes:
    """Return a picture as a PNG file's content; one without opacity in few colours, a third of the size."""
    from PIL import Image

    encoded = Image.fromarray(image)
    if image.shape[2] == 3:
        encoded = encoded.quantize(256, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    encoded.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def camera_of(scene: Scene, look: Look, *, all_around: bool = False) -> tuple[Camera, int]:
    """Return the camera of the view, which leaves room for the legend, and the height of the letters in pixels."""
    width, height = look.size_px
    letter_px = max(9, round(min(width, height) / 42))
    strip = strip_width(scene, letter_px) if look.legend else 0
    view = max(width - strip, width // 2)
    free = margins(scene, letter_px) if look.ruler else (letter_px // 2, letter_px // 2)
    camera = place_camera(
        scene.size, (view, height),
        azimuth_deg=look.azimuth_deg, elevation_deg=look.elevation_deg, margins_px=free, all_around=all_around,
    )  # fmt: skip
    return camera, letter_px


def _finer(camera: Camera, look: Look) -> tuple[int, int]:
    return camera.pixels[0] * look.finer, camera.pixels[1] * look.finer


def _finished(drawn: np.ndarray, scene: Scene, look: Look, camera: Camera, letter_px: int) -> np.ndarray:
    from PIL import Image

    small = _reduced(drawn, look.finer)
    canvas = np.zeros((look.size_px[1], look.size_px[0], 4), dtype=np.uint8)
    canvas[:, : camera.pixels[0]] = small
    if look.background is not None:
        ground = np.empty_like(canvas)
        ground[..., :3], ground[..., 3] = look.background, 255
        canvas = np.asarray(Image.alpha_composite(Image.fromarray(ground), Image.fromarray(canvas)))
    canvas = annotate(canvas, scene, camera, letter_px=letter_px, ruler=look.ruler, legend=look.legend)
    return canvas if look.background is None else np.ascontiguousarray(canvas[..., :3])


def _reduced(drawn: np.ndarray, finer: int) -> np.ndarray:
    """Means of blocks of pixels; the colours are freed of the opacity that they were multiplied by."""
    h, w = drawn.shape[0] // finer, drawn.shape[1] // finer
    means = drawn.reshape(h, finer, w, finer, 4).mean(axis=(1, 3), dtype=np.float32)
    opacity = means[..., 3:]
    colour = np.minimum(means[..., :3] / np.maximum(opacity / 255, 1e-3), 255)
    return np.round(np.concatenate([colour, opacity], axis=-1)).astype(np.uint8)


def _turn(scene: Scene, look: Look, count: int) -> Sequence[np.ndarray]:
    camera, letter_px = camera_of(scene, look, all_around=True)
    plotter = open_plotter(scene, _finer(camera, look), lit=look.lit, outline=look.ruler)
    pictures = []
    try:
        for k in range(count):
            # The block turns to the right, as if a hand pushed its front.
            step = dataclasses.replace(look, azimuth_deg=look.azimuth_deg - 360.0 * k / count)
            camera, _ = camera_of(scene, step, all_around=True)
            pictures.append(_finished(take_picture(plotter, camera), scene, step, camera, letter_px))
    finally:
        plotter.close()
    return pictures


def _encoded(pictures: list[np.ndarray], frame_ms: float) -> bytes:
    """One palette for all, so that what stands still costs nothing; no dithering, which flickers and costs most."""
    from PIL import Image

    sheet = Image.fromarray(np.concatenate(pictures[:: max(1, len(pictures) // 6)]))
    palette = sheet.quantize(GIF_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    _keep_background(palette, pictures[0][0, 0])
    images = [Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    images[0].save(
        buffer, format="gif", save_all=True, append_images=images[1:], duration=max(20, round(frame_ms)), loop=0,
        optimize=False,
    )  # fmt: skip
    return buffer.getvalue()


def _keep_background(palette: Any, colour: np.ndarray) -> None:
    """Put the very colour of the background in the place of its nearest in the palette."""
    table = np.array(palette.getpalette()).reshape(-1, 3)
    table[np.abs(table - colour.astype(int)).sum(axis=1).argmin()] = colour
    palette.putpalette(table.reshape(-1).tolist())
