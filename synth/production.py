"""Corpora: many structures from one recipe, each imaged, with a seed of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from synth.recipes import build_structure, image_structure
from synth.structure import Structure
from volume import Corpus, Volume
from volume.corpus import DESCRIPTION_FILE

__all__ = ["CorpusConfig", "produce_corpus", "produce_sample"]


@dataclass(frozen=True)
class CorpusConfig:
    """A corpus in plain text.

    Parameters
    ----------
    recipe : mapping
        The structure, as `build_structure` takes it.
    microscope : mapping
        The instrument, as `image_structure` takes it.
    count : int
        Number of volumes.
    seed : int
        The volumes' own seeds derive from it and from their number.
    voxel_size_um : (float, float, float) or None
        Size of a voxel along z, y, x, in micrometres.
    """

    recipe: dict[str, Any]
    microscope: dict[str, Any]
    count: int = 10
    seed: int = 0
    voxel_size_um: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}; give the number of volumes, at least 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; give a whole number, 0 or more")


def produce_corpus(config: CorpusConfig, folder: str | Path) -> Corpus:
    """Make a corpus, or what is missing of one that was begun.

    Parameters
    ----------
    config : CorpusConfig
        What to make. The bytes of a volume depend on it and on the volume's number alone.
    folder : path-like
        Where; it is made if it is not there.

    Returns
    -------
    Corpus

    Raises
    ------
    ValueError
        If `folder` holds a corpus of another recipe, or cannot be written to.
    """
    description = {
        "recipe": config.recipe,
        "microscope": config.microscope,
        "seed": config.seed,
        "voxel_size_um": config.voxel_size_um,
    }
    # Settings that cannot be used must not leave a corpus behind that then refuses the mended ones.
    ready = {} if (Path(folder) / DESCRIPTION_FILE).is_file() else {0: _produce_volumes(config, 0)}
    corpus = Corpus.create(folder, description=description)
    for index in tqdm(corpus.missing(config.count), desc="volumes", disable=None):
        corpus.write_sample(index, **(ready.pop(index, None) or _produce_volumes(config, index)))
    return corpus


def _produce_volumes(config: CorpusConfig, index: int) -> dict[str, Any]:
    """Return what `Corpus.write_sample` takes."""
    structure, grey, entry = produce_sample(config.recipe, config.microscope, seed=config.seed, index=index)
    return {
        "grey": Volume(grey, config.voxel_size_um),
        "labels": Volume(structure.labels, config.voxel_size_um, structure.phases),
        **entry,
    }


def produce_sample(
    recipe: Mapping[str, Any], microscope: Mapping[str, Any], *, seed: int, index: int
) -> tuple[Structure, np.ndarray, dict[str, Any]]:
    """Make and image volume number `index` of a corpus.

    Returns
    -------
    structure : Structure
    grey : ndarray of float32, shape (Z, Y, X)
    entry : dict
        ``seed``, ``recipe``, ``microscope`` (both as drawn) and ``truth``, for the manifest.
    """
    structure_seed, image_seed = (int(s) for s in np.random.SeedSequence((seed, index)).generate_state(2, np.uint64))
    structure = build_structure(recipe, seed=structure_seed)
    grey, drawn = image_structure(structure, microscope, seed=image_seed)
    entry = {
        "seed": {"structure": structure_seed, "image": image_seed},
        "recipe": dict(structure.recipe),
        "microscope": drawn,
        "truth": dict(structure.truth),
    }
    return structure, grey, entry
