"""A long prediction, slab by slab on disk: what is finished stays when the work is broken off."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import replace_when_complete
from segment.preprocessing import Levels
from segment.segmenter import Segmenter, is_undecided
from volume import from_one_hot

__all__ = ["Gathered", "Parts", "predict_parts", "shares_of"]

KEY = "parts.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Gathered:
    """What is known of a prediction without holding it.

    Attributes
    ----------
    counts : ndarray of int64, shape (Z, n_phases)
        Voxels of each label in each slice.
    undecided : int
        Voxels of which no phase has a probability of 0.8.
    pore : float
        Sum of the probability of the pore.
    shown : dict
        From the number of a slice to its labels and the probability of these, both (Y, X).
    """

    counts: np.ndarray
    undecided: int
    pore: float
    shown: dict[int, tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Parts:
    """A folder with one file for each slab that is finished.

    Parameters
    ----------
    folder : Path
        Used by this prediction alone.
    layers : sequence of (int, int)
        Of the whole, from `Segmenter.layers`.
    """

    folder: Path
    layers: Sequence[tuple[int, int]]

    def begin(self, key: Mapping[str, Any]) -> None:
        """Make the folder, or keep it if it was begun for the same `key`, all that decides the numbers, as JSON."""
        text = json.dumps(key, sort_keys=True)
        if (self.folder / KEY).is_file() and (self.folder / KEY).read_text(encoding="utf-8") == text:
            return
        self.remove()
        self.folder.mkdir(parents=True)
        (self.folder / KEY).write_text(text, encoding="utf-8")

    def missing(self) -> list[tuple[int, int]]:
        """Return the layers that are not there yet."""
        return [layer for layer in self.layers if not self._file(layer).is_file()]

    def add(self, layer: tuple[int, int], probability: np.ndarray, *, shown: Sequence[int]) -> None:
        """Write a slab ``(n_phases, planes, Y, X)``, all or nothing; of the slices `shown` the confidence too."""
        labels, sure = from_one_hot(probability), probability.max(axis=0)
        n = len(probability)
        counts = np.array([np.bincount(plane.reshape(-1), minlength=n) for plane in labels])
        chosen = [z for z in shown if layer[0] <= z < layer[1]]
        confidence = {f"confidence-{z}": sure[z - layer[0]] for z in chosen}
        with replace_when_complete(self._file(layer)) as temporary:
            np.savez(
                temporary,
                labels=labels,
                pore=probability[0],
                counts=counts,
                undecided=np.count_nonzero(is_undecided(probability)),
                pore_sum=probability[0].sum(dtype=np.float64),
                **confidence,
            )

    def read(self, name: str) -> Iterator[np.ndarray]:
        """Yield ``labels`` or ``pore``, slab by slab."""
        for layer in self.layers:
            with np.load(self._file(layer)) as part:
                yield part[name]

    def gather(self) -> Gathered:
        """Return the numbers of all slabs."""
        counts, undecided, pore, shown = [], 0, 0.0, {}
        for layer in self.layers:
            with np.load(self._file(layer)) as part:
                counts.append(part["counts"])
                undecided += int(part["undecided"])
                pore += float(part["pore_sum"])
                for name in part.files:
                    if name.startswith("confidence-"):
                        z = int(name.partition("-")[2])
                        shown[z] = part["labels"][z - layer[0]], part[name]
        return Gathered(np.concatenate(counts), undecided, pore, shown)

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _file(self, layer: tuple[int, int]) -> Path:
        return self.folder / f"part-{layer[0]:06d}.npz"


def predict_parts(
    segmenter: Segmenter, grey: Any, parts: Parts, *, levels: Levels, layers: Sequence[tuple[int, int]]
) -> None:
    """Predict some layers that follow on one another, and write each as soon as it is finished.

    Parameters
    ----------
    segmenter : Segmenter
        Already on its device.
    grey : array-like, shape (Z, Y, X)
        As for `Segmenter.slabs`.
    parts : Parts
        Where to.
    levels : Levels
        Of the whole volume.
    layers : sequence of (int, int)
        Some of ``parts.layers``, without gaps.
    """
    slabs = segmenter.slabs(grey, planes=(layers[0][0], layers[-1][1]), levels=levels)
    depth = grey.shape[0]
    shown = (depth // 6, depth // 2, 5 * depth // 6)
    for layer, probability in zip(layers, slabs, strict=True):
        parts.add(layer, probability, shown=shown)


def shares_of(layers: Sequence[tuple[int, int]], count: int) -> list[list[tuple[int, int]]]:
    """Cut layers into about `count` shares of neighbours; for each further cut a layer of tiles is predicted twice."""
    most = -(-len(layers) // max(1, count))
    shares: list[list[tuple[int, int]]] = []
    for layer in layers:
        follows = bool(shares) and shares[-1][-1][1] == layer[0] and len(shares[-1]) < most
        if follows:
            shares[-1].append(layer)
        else:
            shares.append([layer])
    return shares
