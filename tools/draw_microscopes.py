"""Draw the pictures of docs/microscopes.md: ``python tools/draw_microscopes.py [PRESET …]``.

A structure of the kind that each preset was made for is imaged with seed 0; its middle slice stands beside its
labels. Tomograms are shown along the plane in which the phases are seen best.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
RECIPES, PICTURES = ROOT / "configs" / "materials", ROOT / "docs" / "images" / "microscopes"
SIDE = 320
GREYS = np.array([0, 255, 120, 190, 70], np.uint8)
# Preset, the material it looks at, the axis across the plane that is shown.
CASES = {
    "fibsem": {
        "default": ("catalyst_layer", 0),
        "random": ("catalyst_layer", 0),
        "blender": ("sphere_pack", 0),
        "helios-5-hx-bse": ("secondary_particle", 0),
        "pfib-catalyst-layer": ("catalyst_layer", 0),
        "fibsem-catalyst-layer": ("catalyst_layer", 0),
        "fibsem-sofc": ("sofc_three_phase", 0),
    },
    "xray_ct": {
        "default": ("carbon_paper", 0),
        "random": ("carbon_paper", 0),
        "procon-ct-mini-gdl": ("gdl_with_mpl", 1),
        "bmit-redox-cell": ("redox_cell", 1),
        "synchrotron-felt": ("carbon_felt", 0),
    },
    "blender": {"default": ("sphere_pack", 0), "pfib-catalyst-layer": ("sphere_pack", 0)},
}


def main() -> None:
    """Draw them all, or those that are named."""
    from PIL import Image

    PICTURES.mkdir(parents=True, exist_ok=True)
    for instrument, presets in CASES.items():
        for preset, (material, axis) in presets.items():
            if sys.argv[1:] and preset not in sys.argv[1:]:
                continue
            picture = pair(image(instrument, preset, material), axis)
            path = PICTURES / f"{instrument}-{preset}.png"
            Image.fromarray(picture).save(path, optimize=True)
            print(path.name, flush=True)


def image(instrument: str, preset: str, material: str) -> Any:
    """Return a `MicroscopeImage` of a material of the gallery; Blender renders but a few cuts."""
    from synth import build_structure, image_structure

    recipe = yaml.safe_load((RECIPES / f"{material}.yaml").read_text(encoding="utf-8"))
    changes = {"slice_step_vox": recipe["shape"][0] // 3} if instrument == "blender" else {}
    microscope = {"instrument": instrument, "preset": preset, "settings": changes}
    return image_structure(build_structure(recipe, seed=0), microscope, seed=0)


def pair(image: Any, axis: int) -> np.ndarray:
    """Return the middle plane and its labels side by side, each within SIDE², pixels repeated to fill it."""
    grey, labels = (np.take(volume, volume.shape[axis] // 2, axis) for volume in (image.grey, image.labels))
    grey = np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8)
    both = [np.kron(part, np.ones((enlargement(part),) * 2, np.uint8)) for part in (grey, GREYS[labels % len(GREYS)])]
    gap = np.full((len(both[0]), 8), 255, np.uint8)
    return np.hstack([both[0], gap, both[1]])


def enlargement(part: np.ndarray) -> int:
    """Return the whole factor that brings a plane nearest to SIDE."""
    return max(1, SIDE // max(part.shape))


if __name__ == "__main__":
    main()
