"""Draw the pictures of docs/gallery.md: ``python tools/draw_gallery.py [NAME …]``; wants the extra ``pictures``.

Each recipe in configs/materials is built and rendered as a block of which one corner is taken out, phases in their
colours, pores empty; beside it the plane through the middle of the volume.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
RECIPES, PICTURES = ROOT / "configs" / "materials", ROOT / "docs" / "images" / "gallery"
SIDE = 720
SHOWN = (
    "catalyst_layer", "gdl_with_mpl", "carbon_paper", "carbon_felt",
    "sofc_three_phase", "secondary_particle", "redox_cell", "sphere_pack",
)  # fmt: skip
COLOURS = {
    "pore": "#10151c", "electrolyte": "#1d3557", "outside": "#e9ecef",
    "solid": "#c9a46a", "second solid": "#7d8a99",
    "carbon": "#5f6670", "ionomer": "#4fa3d1", "fibre": "#6b7280", "binder": "#c58b3a",
    "MPL": "#d08c60", "nickel": "#b8b8a8", "YSZ": "#d9a05b",
    "LSCF": "#d8c27a", "GDC": "#5b8e7d", "active material": "#8f7bb5",
    "bubble": "#8ecae6", "membrane": "#e76f51", "gasket": "#adb5bd",
}  # fmt: skip
FAINT = {"outside": 0.0, "electrolyte": 0.0, "pore": 0.0, "membrane": 0.9, "gasket": 0.25}


def main() -> None:
    """Draw the gallery, or the pictures that are named."""
    from synth import build_structure

    PICTURES.mkdir(parents=True, exist_ok=True)
    for path in sorted(RECIPES.glob("*.yaml")):
        if sys.argv[1:] and path.stem not in sys.argv[1:]:
            continue
        structure = build_structure(yaml.safe_load(path.read_text(encoding="utf-8")), seed=0)
        picture = np.hstack([render(structure), slice_picture(structure)])
        save(picture, PICTURES / f"{path.stem}.png")
        print(path.stem, structure.phases, np.round(structure.truth["fractions"], 4), flush=True)
    montage()


def montage() -> None:
    """Write the 3-D views of some materials side by side, for the README."""
    from PIL import Image

    tile = 300
    sheet = Image.new("RGB", (tile * 4, tile * 2), "white")
    for i, name in enumerate(SHOWN):
        with Image.open(PICTURES / f"{name}.png") as picture:
            view = picture.convert("RGB").crop((0, 0, SIDE, SIDE)).resize((tile, tile), Image.Resampling.LANCZOS)
        sheet.paste(view, (i % 4 * tile, i // 4 * tile))
    save(np.asarray(sheet), PICTURES.parent / "materials.png")


def render(structure: Any) -> np.ndarray:
    """Return the 3-D view as (Y, X, 3) bytes."""
    import pyvista as pv

    plotter = pv.Plotter(off_screen=True, window_size=(SIDE, SIDE), lighting="light_kit")
    plotter.set_background("white")
    labels = without_corner(structure)
    for label, phase in enumerate(structure.phases):
        opacity = FAINT.get(phase, 1.0)
        surface = surface_of(labels == label) if opacity > 0 else None
        if surface is not None:
            plotter.add_mesh(surface, color=COLOURS[phase], opacity=opacity, smooth_shading=True, specular=0.25)
    plotter.enable_anti_aliasing("ssaa")
    plotter.enable_ssao(radius=min(labels.shape) / 12)
    plotter.view_vector((1.0, 1.25, 0.85), viewup=(0, 0, 1))
    plotter.camera.zoom(1.0)
    return np.asarray(plotter.screenshot(return_img=True))


def without_corner(structure: Any) -> np.ndarray:
    """Return the labels with the corner that is next to the eye emptied."""
    # A microporous layer is looked at from its own side, where the cracks are.
    labels = structure.labels[::-1].copy() if "MPL" in structure.phases else structure.labels.copy()
    if "membrane" in structure.phases:
        # A cell is open enough, and its membrane would lose a piece of no meaning.
        return labels
    z, y, x = (n // 2 for n in labels.shape)
    labels[z:, y:, x:] = 0
    return labels


def surface_of(mask: np.ndarray) -> Any:
    """Return a phase's surface, closed at the border and a little smoothed, or None if there is none."""
    import pyvista as pv
    from skimage.measure import marching_cubes

    if not mask.any():
        return None
    vertices, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5)
    cells = np.column_stack([np.full(len(faces), 3), faces])
    return pv.PolyData(vertices[:, ::-1] - 0.5, cells.ravel()).smooth_taubin(n_iter=12, pass_band=0.15)


def slice_picture(structure: Any) -> np.ndarray:
    """Return the plane through the middle, perpendicular to x, z upwards, as (Y, X, 3) bytes."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    table = np.array([to_rgb(COLOURS[phase]) for phase in structure.phases])
    plane = structure.labels[::-1, :, structure.shape[2] // 2]
    image = Image.fromarray((table[plane] * 255).astype(np.uint8))
    scale = (SIDE - 40) / max(plane.shape)
    size = (round(plane.shape[1] * scale), round(plane.shape[0] * scale))
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    canvas.paste(image.resize(size, Image.Resampling.NEAREST), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(canvas)


def save(picture: np.ndarray, path: Path) -> None:
    """Write a small PNG: a picture of few colours needs no more."""
    from PIL import Image

    Image.fromarray(picture).quantize(200).save(path, optimize=True)


if __name__ == "__main__":
    main()
