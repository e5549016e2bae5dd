from pathlib import Path

import numpy as np
import pytest
import yaml

from synth import build_structure
from synth.recipes import GENERATORS

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs" / "materials").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_of_the_gallery_builds_what_its_picture_was_drawn_from(path):
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    structure = build_structure(recipe, seed=0)
    assert structure.shape == tuple(recipe["shape"])
    counts = np.bincount(structure.labels.ravel(), minlength=len(structure.phases))
    assert (counts > 0).all()
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert f"../configs/materials/{path.name}" in page
    assert f"images/gallery/{path.stem}.png" in page
    assert (ROOT / "docs" / "images" / "gallery" / f"{path.stem}.png").is_file()


def test_gallery_shows_every_generator():
    shown = {yaml.safe_load(path.read_text(encoding="utf-8"))["generator"] for path in RECIPES}
    assert shown == set(GENERATORS)
