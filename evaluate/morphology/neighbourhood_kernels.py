"""Compiled counts over the 2 × 2 × 2 neighbourhoods of a volume: whole numbers, so that parts of it add up exactly."""

import numba
import numpy as np

__all__ = ["count_codes", "count_pairs", "count_triples", "count_voxels", "find_edges", "smooth_along"]

Array = np.ndarray


@numba.njit(cache=True, nogil=True)
def count_voxels(labels: Array) -> Array:  # pragma: no cover - compiled
    """Return how many voxels bear each label, shape (256,)."""
    counts = np.zeros((4, 256), np.int64)
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                # Four rows in turn: equal labels in a row would wait for each other's sum.
                counts[x & 3, labels[z, y, x]] += 1
    return counts.sum(axis=0)


@numba.njit(cache=True, nogil=True)
def count_codes(labels: Array, weights: tuple[Array, Array, Array], phases: Array) -> Array:  # pragma: no cover
    """Return the weight of each neighbourhood of each phase, shape (len(phases), 256).

    Corner (z, y, x) of a neighbourhood is bit 4 z + 2 y + x of its code. `phases` are at most 8 labels.
    """
    n = len(phases)
    # The codes of up to 8 phases lie side by side in one word, a byte each.
    place = np.zeros(256, np.uint64)
    for k in range(n):
        place[phases[k]] = np.uint64(1) << np.uint64(8 * k)
    keep, byte = np.uint64(0x5555555555555555), np.uint64(255)
    left, one = np.uint64(0), np.uint64(1)
    counts = np.zeros((n, 256), np.int64)
    for z in range(labels.shape[0] - 1):
        for y in range(labels.shape[1] - 1):
            a, b = labels[z, y], labels[z, y + 1]
            c, d = labels[z + 1, y], labels[z + 1, y + 1]
            weight = weights[0][z] * weights[1][y]
            for x in range(labels.shape[2]):
                right = (
                    place[a[x]] << np.uint64(1) | place[b[x]] << np.uint64(3)
                    | place[c[x]] << np.uint64(5) | place[d[x]] << np.uint64(7)
                )  # fmt: skip
                if x > 0:
                    state = left | right
                    w = weight * weights[2][x - 1]
                    for k in range(n):
                        counts[k, state >> np.uint64(8 * k) & byte] += w
                left = right >> one & keep
    return counts


@numba.njit(cache=True, nogil=True)
def count_pairs(
    labels: Array, weights: tuple[Array, Array, Array], pairs: Array, n_phases: int
) -> Array:  # pragma: no cover - compiled
    """Return the weight of the pairs of corners that differ, by direction and phases, shape (13, n, n).

    `pairs` holds (corner, other corner, direction); the result is symmetric.
    """
    counts = np.zeros((13, n_phases, n_phases), np.int64)
    bits = np.zeros(256, np.uint32)
    for k in range(n_phases):
        bits[k] = np.uint32(1) << np.uint32(k)
    cell = np.zeros(8, np.uint8)
    for z in range(labels.shape[0] - 1):
        for y in range(labels.shape[1] - 1):
            a, b = labels[z, y], labels[z, y + 1]
            c, d = labels[z + 1, y], labels[z + 1, y + 1]
            weight = weights[0][z] * weights[1][y]
            left = bits[a[0]] | bits[b[0]] | bits[c[0]] | bits[d[0]]
            for x in range(1, labels.shape[2]):
                right = bits[a[x]] | bits[b[x]] | bits[c[x]] | bits[d[x]]
                held = left | right
                left = right
                if held & (held - np.uint32(1)) == 0:
                    continue
                w = weight * weights[2][x - 1]
                cell[0], cell[2], cell[4], cell[6] = a[x - 1], b[x - 1], c[x - 1], d[x - 1]
                cell[1], cell[3], cell[5], cell[7] = a[x], b[x], c[x], d[x]
                for i in range(len(pairs)):
                    first, second = cell[pairs[i, 0]], cell[pairs[i, 1]]
                    if first != second:
                        counts[pairs[i, 2], first, second] += w
    return counts + counts.transpose(0, 2, 1)


@numba.njit(cache=True, nogil=True)
def count_triples(
    labels: Array, weights: tuple[Array, Array, Array], triples: Array, phases: Array
) -> Array:  # pragma: no cover - compiled
    """Return the weight of the triples of corners that hold all of three phases, by normal, shape (13,).

    `triples` holds (corner, corner, corner, normal).
    """
    bits = np.zeros(256, np.uint8)
    for k in range(3):
        bits[phases[k]] = 1 << k
    counts = np.zeros(13, np.int64)
    cell = np.zeros(8, np.uint8)
    for z in range(labels.shape[0] - 1):
        for y in range(labels.shape[1] - 1):
            a, b = labels[z, y], labels[z, y + 1]
            c, d = labels[z + 1, y], labels[z + 1, y + 1]
            weight = weights[0][z] * weights[1][y]
            left = bits[a[0]] | bits[b[0]] | bits[c[0]] | bits[d[0]]
            for x in range(1, labels.shape[2]):
                right = bits[a[x]] | bits[b[x]] | bits[c[x]] | bits[d[x]]
                held = left | right
                left = right
                if held != 7:
                    continue
                w = weight * weights[2][x - 1]
                cell[0], cell[2], cell[4], cell[6] = bits[a[x - 1]], bits[b[x - 1]], bits[c[x - 1]], bits[d[x - 1]]
                cell[1], cell[3], cell[5], cell[7] = bits[a[x]], bits[b[x]], bits[c[x]], bits[d[x]]
                for i in range(len(triples)):
                    if cell[triples[i, 0]] | cell[triples[i, 1]] | cell[triples[i, 2]] == 7:
                        counts[triples[i, 3]] += w
    return counts


@numba.njit(cache=True, nogil=True)
def find_edges(
    numbers: Array, start: tuple[int, int, int], shape: tuple[int, int, int], kinds: Array
) -> Array:  # pragma: no cover - compiled
    """Return the edges around which three phases lie, shape (n,), as in `TripleLines`: 4 × edge + kind.

    `numbers` holds 1, 2, 3 for the phases and 0 otherwise; an edge belongs to the first of its four voxels, which is
    not in the last layer along any axis. `start` is where it lies in a volume of `shape`, `kinds` is that of
    `kinds_of_edges`.
    """
    found = np.empty(1024, np.int64)
    n = 0
    for z in range(numbers.shape[0] - 1):
        for y in range(numbers.shape[1] - 1):
            a, b = numbers[z, y], numbers[z, y + 1]
            c, d = numbers[z + 1, y], numbers[z + 1, y + 1]
            left = 1 << a[0] | 1 << b[0] | 1 << c[0] | 1 << d[0]
            for x in range(1, numbers.shape[2]):
                right = 1 << a[x] | 1 << b[x] | 1 << c[x] | 1 << d[x]
                held = left | right
                left = right
                if held & 14 != 14:
                    continue
                voxel = ((z + start[0]) * shape[1] + y + start[1]) * shape[2] + x - 1 + start[2]
                first = a[x - 1]
                for axis in range(3):
                    if axis == 0:
                        around = first | b[x - 1] << 2 | b[x] << 4 | a[x] << 6
                    elif axis == 1:
                        around = first | a[x] << 2 | c[x] << 4 | c[x - 1] << 6
                    else:
                        around = first | c[x - 1] << 2 | d[x - 1] << 4 | b[x - 1] << 6
                    if kinds[around] >= 0:
                        if n == found.size:
                            longer = np.empty(2 * n, np.int64)
                            longer[:n] = found
                            found = longer
                        found[n] = 4 * (3 * voxel + axis) + kinds[around]
                        n += 1
    return found[:n].copy()


@numba.njit(cache=True, nogil=True)
def smooth_along(vectors: Array, before: Array, after: Array, steps: int) -> Array:  # pragma: no cover - compiled
    """Average each vector `steps` times with the two beside it, 1/4 : 1/2 : 1/4, shape (n, 3)."""
    now, then = vectors.copy(), np.empty_like(vectors)
    for _ in range(steps):
        for i in range(len(now)):
            for axis in range(3):
                beside = now[before[i], axis] + now[after[i], axis]
                then[i, axis] = 0.5 * now[i, axis] + 0.25 * beside
        now, then = then, now
    return now
