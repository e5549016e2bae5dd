from pathlib import Path

import numpy as np
import pytest

import generative
from evaluate import minkowski_of_phases
from generative.loading import SHIPPED, shipped_models
from synth import sofc_electrode

NAMES = {"sofc-two-phase": "two-phase", "sofc-three-phase": "three-phase"}


def test_shipped_models_are_those_of_the_public_face():
    assert set(NAMES) <= set(shipped_models())


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_at_most_16_mb_and_say_where_they_come_from(name):
    folder = Path(SHIPPED) / name
    assert next(folder.glob("*.safetensors")).stat().st_size <= 16e6
    card = (folder / "README.md").read_text(encoding="utf-8")
    for heading in ("| Data |", "| Seed |", "| Steps |", "| Hardware |", "| Repeat |", "## Scores", "## Limits"):
        assert heading in card


@pytest.mark.parametrize("name", NAMES)
def test_shipped_model_makes_its_material(name):
    pipe = generative.load(name, device="cpu")
    volumes = pipe(count=2, steps=10, seed=0)
    recipe = sofc_electrode((128, 128, 128), preset=NAMES[name], rng=5)
    assert pipe.phases == recipe.phases
    wanted = minkowski_of_phases(recipe.labels)
    found = [minkowski_of_phases(volume, n_phases=len(wanted)) for volume in volumes]
    for phase, known in enumerate(wanted):
        fraction = np.mean([each[phase].volume_fraction for each in found])
        surface = np.mean([each[phase].specific_surface for each in found])
        # Two windows of 64³ voxels scatter by some hundredths; an untrained network makes five times the surface.
        assert fraction == pytest.approx(known.volume_fraction, abs=0.08)
        assert surface == pytest.approx(known.specific_surface, rel=0.25)
