"""Draw the pictures of the manual's page on measuring: ``python tools/draw_measures.py``."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

import evaluate
import synth
from poreforge.views import Look, encoded_png, render_phases, render_property
from volume import Volume

OUT = Path(__file__).resolve().parent.parent / "docs" / "images"
LOOK = Look(size_px=(620, 470))


def main() -> None:
    """Draw three volumes side by side."""
    electrode = synth.sofc_electrode((120, 120, 120), rng=2)
    layer = synth.gdl_with_mpl((120, 160, 160), rng=1)
    cell = synth.redox_cell((96, 160, 160), rng=1)
    bubbles = evaluate.bubble_report(Volume(cell.labels, (2.0, 2.0, 2.0), cell.phases))
    pores = Volume(layer.labels == 0, (1.0, 1.0, 1.0))
    panels = [
        render_phases(Volume(electrode.labels, (0.03, 0.03, 0.03), electrode.phases), look=LOOK),
        render_property(
            layer.labels == 0, evaluate.local_thickness(pores), name="pore diameter", unit="µm",
            voxel_size_um=(1.0, 1.0, 1.0), look=LOOK,
        ),
        render_property(
            bubbles.ids, bubbles.bubbles["equivalent_diameter"], name="bubble diameter", unit="µm", cut="none",
            voxel_size_um=(2.0, 2.0, 2.0), context=cell.labels == 2, look=LOOK,
        ),
    ]  # fmt: skip
    picture = Image.open(io.BytesIO(encoded_png(np.concatenate(panels, axis=1))))
    picture.convert("RGB").quantize(192).save(OUT / "measures.png", optimize=True)


if __name__ == "__main__":
    main()
