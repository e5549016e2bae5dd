"""A network on slices that looks along all three axes of a block; the mean of its answers counts."""

from collections.abc import Callable

import numpy as np

__all__ = ["LEAST_SIDE", "across_planes", "along_slices"]

Answer = Callable[[np.ndarray], np.ndarray]
# Voxels: a slice across a thinner stack shows too little of it.
LEAST_SIDE = 48


def across_planes(answer: Answer, reach: int) -> Answer:
    """Return the mean of a network's answers for the slices along z, y and x, as a function of a block.

    Parameters
    ----------
    answer : callable
        From a slice among its neighbours ``(2 reach + 1, N, M)`` to probabilities ``(n, N, M)``.
    reach : int
        Neighbours on both sides.

    Returns
    -------
    callable
        From ``(1, Z, Y, X)`` to ``(n, Z, Y, X)``, float32. What exchanges the axes of the block, exchanges those of the
        answer. Voxels are taken for cubes.
    """

    def mean_answer(block: np.ndarray) -> np.ndarray:
        answers = [np.moveaxis(along_slices(answer, np.moveaxis(block[0], k, 0), reach), 1, k + 1) for k in range(3)]
        mean: np.ndarray = np.mean(answers, axis=0, dtype=np.float32)
        return mean

    return mean_answer


def along_slices(answer: Answer, stack: np.ndarray, reach: int) -> np.ndarray:
    """Return the answers ``(n, Z, Y, X)`` for the slices ``(Z, Y, X)``, the outermost repeated beyond the ends."""
    seen = np.pad(stack, [(reach, reach), (0, 0), (0, 0)], mode="edge")
    slices = [answer(np.ascontiguousarray(seen[z : z + 2 * reach + 1])) for z in range(len(stack))]
    return np.stack(slices, axis=1)
