"""A stack as the networks of a segmenter see it."""

from collections.abc import Sequence

import numpy as np

from segment.segmenter import Segmenter

__all__ = ["REACH", "SeenStack"]

# Slices on both sides that a 3-D network is shown around a labelled one.
REACH = 8


class SeenStack:
    """Slices as the networks see them, made when they are first wanted."""

    def __init__(self, segmenter: Segmenter, grey: np.ndarray) -> None:
        self.grey, self.preprocessing = grey, segmenter.preprocessing
        self.levels = segmenter.preprocessing.measure(grey)
        self.made: dict[int, np.ndarray] = {}

    def __call__(self, places: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return ``(len(places), Y, X)``; beyond the ends of the stack lie its outermost slices."""
        return np.stack([self._slice(min(max(0, int(z)), len(self.grey) - 1)) for z in places])

    def _slice(self, z: int) -> np.ndarray:
        if z not in self.made:
            self.made[z] = self.preprocessing.apply(self.grey[z : z + 1], self.levels)[0]
        return self.made[z]
