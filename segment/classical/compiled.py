"""The loops of the pixel forest that numba compiles; imported where they run."""

import math

import numba
import numpy as np

__all__ = ["symmetric_eigenvalues", "tree_votes"]

CHUNK = 512


@numba.njit(cache=True, parallel=True)
def symmetric_eigenvalues(components: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of symmetric 3 × 3 matrices, the largest first.

    Parameters
    ----------
    components : ndarray of float32, shape (6, N)
        The upper triangles row by row: 11, 12, 13, 22, 23, 33.

    Returns
    -------
    ndarray of float32, shape (3, N)
        By the trigonometric solution of the characteristic cubic, in double precision.
    """
    result = np.empty((3, components.shape[1]), np.float32)
    for i in numba.prange(components.shape[1]):
        a, b, c = float(components[0, i]), float(components[3, i]), float(components[5, i])
        d, e, f = float(components[1, i]), float(components[2, i]), float(components[4, i])
        mean = (a + b + c) / 3
        a, b, c = a - mean, b - mean, c - mean
        size = math.sqrt((a * a + b * b + c * c + 2 * (d * d + e * e + f * f)) / 6)
        if size == 0:
            result[:, i] = mean
            continue
        determinant = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)
        half = determinant / (2 * size * size * size)
        angle = math.acos(min(1.0, max(-1.0, half))) / 3
        first = mean + 2 * size * math.cos(angle)
        last = mean + 2 * size * math.cos(angle + 2 * math.pi / 3)
        result[0, i] = first
        result[1, i] = 3 * mean - first - last
        result[2, i] = last
    return result


@numba.njit(cache=True, parallel=True)
def tree_votes(
    rows: np.ndarray,
    roots: np.ndarray,
    children: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    share: np.ndarray,
) -> np.ndarray:
    """Return the mean over the trees of the phases' shares in the leaf that each row falls into.

    Parameters
    ----------
    rows : ndarray of float32, shape (N, F)
        Features.
    roots : ndarray of int64, shape (T,)
        Number of each tree's first node.
    children : ndarray of int32, shape (M, 2)
        Nodes to go to where the feature is up to the threshold, and above it; -1 twice in a leaf.
    feature, threshold : ndarray of int32 and float64, shape (M,)
        What a node asks.
    share : ndarray of float32, shape (M, n)
        Share of each phase among a node's training samples.

    Returns
    -------
    ndarray of float64, shape (N, n)
        Summed tree by tree, so that the bytes do not depend on the number of threads.
    """
    count, n = rows.shape[0], share.shape[1]
    votes = np.zeros((count, n))
    # A tree stays in the cache while a chunk of rows goes through it.
    for chunk in numba.prange((count + CHUNK - 1) // CHUNK):
        begin, end = chunk * CHUNK, min(count, (chunk + 1) * CHUNK)
        for root in roots:
            for i in range(begin, end):
                node = root
                while children[node, 0] >= 0:
                    node = children[node, 0 if rows[i, feature[node]] <= threshold[node] else 1]
                for k in range(n):
                    votes[i, k] += share[node, k]
    return votes / roots.size
