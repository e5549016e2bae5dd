"""The papers' corpora: every configuration builds its structure and fits its instrument."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from launch import load_config
from synth import build_structure, image_structure
from synth.production import CorpusConfig
from synth.recipes import microscope_settings

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "corpora"
FILES = sorted(FOLDER.glob("*.yaml"))
PAIRS = {
    ("catalyst_layer", "fibsem", "fibsem-catalyst-layer"),
    ("catalyst_layer", "fibsem", "pfib-catalyst-layer"),
    ("sphere_pack", "blender", "pfib-catalyst-layer"),
    ("sphere_pack", "fibsem", "pfib-catalyst-layer"),
    ("fibre_mat", "xray_ct", "procon-ct-mini-gdl"),
    ("gdl_with_mpl", "xray_ct", "procon-ct-mini-gdl"),
    ("redox_cell", "xray_ct", "bmit-redox-cell"),
    ("secondary_particle", "fibsem", "helios-5-hx-bse"),
    ("sofc_electrode", "fibsem", "fibsem-sofc"),
}


def read(file):
    return load_config(CorpusConfig, file)


def test_every_material_and_instrument_of_the_papers_has_its_corpus():
    configs = [read(file) for file in FILES]
    assert {(c.recipe["generator"], c.microscope["instrument"], c.microscope["preset"]) for c in configs} == PAIRS
    assert {c.recipe.get("preset") for c in configs} == {None, "two-phase", "three-phase"}
    assert len({c.seed for c in configs}) == len(configs) - 1  # the two packs are the same structures


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_header_holds_the_command(file):
    comments = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(line.startswith(f"# poreforge corpus --config configs/corpora/{file.name} --out ") for line in comments)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_structure_is_built_and_a_corner_of_it_imaged(file):
    config = read(file)
    microscope_settings(config.microscope)
    structure = build_structure(config.recipe, seed=config.seed)
    assert structure.shape == tuple(config.recipe["shape"])
    if config.microscope["instrument"] == "blender":
        return
    corner = np.ascontiguousarray(structure.labels[:12, :24, :24])
    image = image_structure(dataclasses.replace(structure, labels=corner), config.microscope, seed=0)
    assert 0 <= image.grey.min() < image.grey.max() <= 1


def test_packs_with_and_without_blender_are_the_same_structures():
    with_blender, without = (read(FOLDER / f"sphere_pack_{name}.yaml") for name in ("blender", "pfib"))
    assert (with_blender.recipe, with_blender.seed) == (without.recipe, without.seed)


@pytest.mark.parametrize(
    ("name", "size_um"),
    [
        ("catalyst_layer_fibsem", (0.01, 0.01, 0.01)),
        ("fibre_mat_ct", (5.0, 5.0, 5.0)),
        ("gdl_with_mpl_ct", (5.0, 5.0, 5.0)),
        ("redox_cell_ct", (13.0, 13.0, 13.0)),
        ("secondary_particle_bse", (0.015, 0.009, 0.009)),
    ],
)
def test_images_have_the_papers_voxel_size(name, size_um):
    config = read(FOLDER / f"{name}.yaml")
    _, settings = microscope_settings(config.microscope)
    if config.microscope["instrument"] == "xray_ct":
        scale = (settings.pixel_vox,) * 3
    else:
        scale = (settings.geometry.slice_vox, settings.geometry.pixel_vox, settings.geometry.pixel_vox)
    assert np.multiply(config.voxel_size_um, scale) == pytest.approx(size_um, rel=1e-12)
