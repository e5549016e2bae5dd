"""A stack as the networks of a segmenter see it."""

from collections.abc import Sequence

import numpy as np

from segment.segmenter import Segmenter

__all__ = ["SeenStack"]

REACH = 8


class SeenStack:
    """Slices as the networks see them, made when they are first wanted.

    Attributes
    ----------
    reach : int
        Slices on both sides that a 3-D network is shown around a labelled one; none where they do not follow on one
        another.
    """

    def __init__(self, segmenter: Segmenter, grey: np.ndarray) -> None:
        self.single = segmenter.for_stack(grey).slices == "single"
        self.reach = 0 if self.single else REACH
        self.grey, self.preprocessing = grey, segmenter.preprocessing
        self.levels = segmenter.preprocessing.measure(grey)
        self.made: dict[int, np.ndarray] = {}

    def __call__(self, places: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return ``(len(places), Y, X)``; beyond the ends of the stack lie its outermost slices."""
        return np.stack([self._slice(min(max(0, int(z)), len(self.grey) - 1)) for z in places])

    def around(self, places: Sequence[int] | np.ndarray, reach: int) -> np.ndarray:
        """Return ``(2 reach + 1, len(places), Y, X)``: the neighbours, or what stands for them where there are none."""
        steps = [0] * (2 * reach + 1) if self.single else range(-reach, reach + 1)
        return np.stack([self([z + step for z in places]) for step in steps])

    def _slice(self, z: int) -> np.ndarray:
        if z not in self.made:
            self.made[z] = self.preprocessing.apply(self.grey[z : z + 1], self.levels)[0]
        return self.made[z]
