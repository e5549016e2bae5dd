"""Training samples cut out of a corpus, each a function of its index alone."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

__all__ = ["RandomCrops"]


class RandomCrops:
    """Random crops of labelled volumes, mirrored, turned and changed in brightness.

    Parameters
    ----------
    images : sequence of ndarray, each of shape (C, Z, Y, X)
        The network's input; the last channel is the normalised grey value.
    labels : sequence of ndarray of uint8, each of shape (Z, Y, X)
        The truth.
    crop : (int, int) or (int, int, int)
        Size of a sample: two numbers cut single slices, three cut blocks.
    seed : int
        With the sample's index it decides everything.

    Raises
    ------
    ValueError
        If a volume is smaller than the crop.
    """

    def __init__(
        self, images: Sequence[np.ndarray], labels: Sequence[np.ndarray], *, crop: Sequence[int], seed: int
    ) -> None:
        self.images, self.labels, self.seed = images, labels, seed
        self.flat = len(crop) == 2
        self.crop = (1, *crop) if self.flat else tuple(crop)
        if self.crop[1] != self.crop[2]:
            raise ValueError(f"crop is {tuple(crop)}; its y and x sides must be equal, because crops are turned")
        for volume in labels:
            if any(n < c for n, c in zip(volume.shape, self.crop, strict=True)):
                raise ValueError(f"crop {tuple(crop)} is larger than a volume of {volume.shape}; give a smaller crop")

    def __call__(self, index: int) -> Mapping[str, torch.Tensor]:
        """Return ``image`` (C, …) and ``labels`` (…) of one sample."""
        rng = np.random.default_rng((self.seed, index))
        which = int(rng.integers(len(self.labels)))
        labels, image = self.labels[which], self.images[which]
        corner = [int(rng.integers(n - c + 1)) for n, c in zip(labels.shape, self.crop, strict=True)]
        window = tuple(slice(a, a + c) for a, c in zip(corner, self.crop, strict=True))
        labels, image = labels[window], image[(slice(None), *window)]
        labels, image = _turn(labels, image, rng)
        image = np.array(image, np.float32)
        image[-1] = _rebrighten(image[-1], rng)
        if self.flat:
            labels, image = labels[0], image[:, 0]
        return {"image": torch.from_numpy(image), "labels": torch.from_numpy(labels.astype(np.int64))}


def _turn(labels: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mirror and transpose within the slice; never along z, where shine-through has a direction."""
    for axis in (1, 2):
        if rng.random() < 0.5:
            labels, image = np.flip(labels, axis), np.flip(image, axis + 1)
    if rng.random() < 0.5:
        labels, image = labels.swapaxes(1, 2), image.swapaxes(2, 3)
    return labels, image


def _rebrighten(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gain, offset = rng.uniform(0.85, 1.15), rng.uniform(-0.1, 0.1)
    gamma = np.exp(rng.uniform(-0.25, 0.25))
    return np.sign(grey) * np.abs(grey) ** gamma * gain + offset
