"""Crops around a user's strokes, and what a random forest adds to the strokes."""

from collections.abc import Sequence

import numpy as np
import torch

from segment.finetuning.seen_stack import SeenStack
from segment.losses import IGNORED
from segment.networks import Network

__all__ = ["StrokeCrops"]

# Voxels of a crop, of 2-D networks and of 3-D ones.
CROPS = {2: (1, 96, 96), 3: (32, 48, 48)}
# The forest teaches where this share of its votes goes to one phase.
SURE = 0.6
# Voxels that it labels, and places of each phase that crops may be centred at, at most.
MOST_TAUGHT, MOST_CENTRES = 2e6, 20_000


class StrokeCrops:
    """Crops around labelled voxels, each phase as often as another; each crop a function of its number."""

    def __init__(self, network: Network, stack: SeenStack, learnt: np.ndarray, *, n_phases: int, seed: int) -> None:
        labelled = np.flatnonzero((learnt != IGNORED).any(axis=(1, 2)))
        self.n_phases, self.seed, self.flat = n_phases, seed, network.dims == 2
        self.device = next(network.parameters()).device
        self.crop = [-(-side // network.factor) * network.factor for side in CROPS[network.dims]]
        if self.flat:
            self.crop[0] = 1
            self.image = stack.around(labelled, network.config["in_channels"] // 2)
            planes = labelled
        else:
            reach = stack.reach
            planes = np.arange(max(0, labelled[0] - reach), min(len(learnt), labelled[-1] + reach + 1))
            self.image = stack(planes)[None]
        strokes = learnt[planes]
        taught = _taught(stack.grey[planes], strokes, flat=self.flat, rng=np.random.default_rng((seed, 0)))
        self._fill_up(strokes, np.where(strokes == IGNORED, taught, strokes))
        self.centres = [self._centres(layer, number) for number, layer in enumerate(self.layers)]

    def __call__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the image (C, …), the strokes (…) and the strokes with what the forest adds to them (…)."""
        rng = np.random.default_rng((self.seed, 2, number))
        centres = [where for where in self.centres[number % 2] if len(where)] or self.centres[0]
        where = centres[int(rng.integers(len(centres)))]
        centre = np.unravel_index(int(where[int(rng.integers(len(where)))]), self.layers[0].shape)
        corner = [
            min(max(0, int(at) - side // 2), size - side)
            for at, side, size in zip(centre, self.crop, self.layers[0].shape, strict=True)
        ]
        window = tuple(slice(start, start + side) for start, side in zip(corner, self.crop, strict=True))
        arrays = [self.image[(slice(None), *window)], *(layer[window][None] for layer in self.layers)]
        image, *labels = (np.ascontiguousarray(array) for array in _turned(arrays, rng))
        if self.flat:
            image, labels = image[:, 0], [layer[:, 0] for layer in labels]
        strokes, both = (torch.from_numpy(layer[0].astype(np.int64)) for layer in labels)
        return torch.from_numpy(image), strokes, both

    def _fill_up(self, *layers: np.ndarray) -> None:
        """Continue a stack smaller than a crop by its mirror image, unlabelled."""
        short = [(0, max(0, side - size)) for side, size in zip(self.crop, layers[0].shape, strict=True)]
        self.image = np.pad(self.image, [(0, 0), *short], mode="symmetric")
        self.layers = [np.pad(layer, short, constant_values=IGNORED) for layer in layers]

    def _centres(self, layer: np.ndarray, number: int) -> list[np.ndarray]:
        """Return where each phase lies, some of the places where there are many."""
        rng = np.random.default_rng((self.seed, 1, number))
        every = [np.flatnonzero(layer == phase) for phase in range(self.n_phases)]
        return [
            rng.choice(where, MOST_CENTRES, replace=False) if len(where) > MOST_CENTRES else where for where in every
        ]


def _turned(arrays: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Mirror and transpose ``(C, Z, Y, X)`` within the slice, all alike."""
    turned = list(arrays)
    for axis in (2, 3):
        if rng.random() < 0.5:
            turned = [np.flip(array, axis) for array in turned]
    return [array.swapaxes(2, 3) for array in turned] if rng.random() < 0.5 else turned


def _taught(grey: np.ndarray, strokes: np.ndarray, *, flat: bool, rng: np.random.Generator) -> np.ndarray:
    """Return what a random forest is sure of after a look at the strokes; 255 elsewhere."""
    # It brings scikit-learn and numba, which nothing else here needs.
    from segment.classical import FeatureSettings, PixelForest

    taught = np.full(strokes.shape, IGNORED, np.uint8)
    planes = _few_planes(strokes, rng) if flat else np.arange(len(strokes))
    if not flat and grey.size > MOST_TAUGHT:
        return taught
    threads = torch.get_num_threads()
    # One stack, for the forest scales grey values by the stack that it is given.
    forest = PixelForest.fit(grey[planes], strokes[planes], settings=FeatureSettings(dims=2 if flat else 3), rng=rng)
    share = forest.probability(grey[planes])
    # Numba sets torch's threads too, and their number decides the last bit of what is learnt.
    torch.set_num_threads(threads)
    taught[planes] = np.where(share.max(axis=0) > SURE, share.argmax(axis=0), IGNORED)
    return taught


def _few_planes(strokes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return slices that hold strokes of each phase between them, and others until there are enough voxels."""
    order = rng.permutation(len(strokes))
    found: set[int] = set()
    needed: list[int] = []
    others: list[int] = []
    for z in order.tolist():
        phases = set(np.unique(strokes[z]).tolist()) - {IGNORED}
        (others if phases <= found else needed).append(z)
        found |= phases
    room = max(0, int(MOST_TAUGHT / strokes[0].size) - len(needed))
    return np.sort(np.array(needed + others[:room]))
