"""Work on slabs of a volume in threads; compiled code and transforms let go of the interpreter's lock."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numba

__all__ = ["in_threads", "slabs", "thread_count"]

Item = TypeVar("Item")
Result = TypeVar("Result")
# Below this many voxels a slab is done before a thread has started.
SMALLEST_SLAB = 2**21


def thread_count() -> int:
    """Return how many threads may be used: the processor's, or what ``NUMBA_NUM_THREADS`` says."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return ``[function(item) for item in items]``, worked out in threads."""
    items = list(items)
    threads = min(thread_count(), len(items))
    if threads <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def slabs(shape: Sequence[int]) -> list[tuple[int, int]]:
    """Divide the z axis of a volume into ranges, one for each thread that is worth its start."""
    n_voxels = shape[0] * shape[1] * shape[2]
    n = max(1, min(thread_count(), n_voxels // SMALLEST_SLAB, shape[0]))
    edges = [round(shape[0] * i / n) for i in range(n + 1)]
    return list(itertools.pairwise(edges))
