"""Crops that show the grey values as they were imaged: for what is measured, and for the papers' trainings."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from segment.samples import RandomCrops

__all__ = ["PlainCrops"]


class PlainCrops(RandomCrops):
    """Random crops of labelled volumes, mirrored at most.

    Parameters
    ----------
    images, labels, crop, seed, aware, neighbours, mirrored, turned
        Those of `RandomCrops`.
    flips : bool
        Whether a crop is mirrored along each of its axes, z of blocks among them, half of the time.

    Raises
    ------
    ValueError
        As `RandomCrops` does.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        *,
        crop: Sequence[int],
        seed: int,
        flips: bool = False,
        aware: float = 0.0,
        neighbours: int = 0,
        mirrored: int | None = None,
        turned: bool = False,
    ) -> None:
        super().__init__(
            images, labels, crop=crop, seed=seed, aware=aware, neighbours=neighbours, mirrored=mirrored, turned=turned
        )
        self.flips = flips

    def __call__(self, index: int) -> Mapping[str, torch.Tensor]:
        """Return ``image`` (C, …) and ``labels`` (…) of one sample; of neighbours the image is (2 k + 1, Y, X)."""
        rng = np.random.default_rng((self.seed, index))
        which = int(rng.integers(len(self.labels)))
        way = self._way(rng)
        labels, image = self._cut(which, way, self._corner(which, way, self.crop, rng), self.crop)
        for axis in (1, 2) if self.flat else (0, 1, 2):
            if self.flips and rng.random() < 0.5:
                labels, image = np.flip(labels, axis), np.flip(image, axis + 1)
        if self.flat:
            labels, image = labels[0], image[0] if self.neighbours else image[:, 0]
        return {
            "image": torch.from_numpy(np.array(image, np.float32)),
            "labels": torch.from_numpy(labels.astype(np.int64)),
        }
