"""Volumes too large for memory: blocks of an array on disk, each with a halo of its neighbours."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

__all__ = ["Block", "blocks", "is_lazy", "measure_blocks", "read_block"]

EDGE = 256
Slices = tuple[slice, ...]
Result = TypeVar("Result")


class Block(NamedTuple):
    """A part of a volume.

    Attributes
    ----------
    core : tuple of slice
        The voxels that are the block's own; the cores tile the volume.
    read : tuple of slice
        The core and its halo, as far as the volume goes.
    inside : tuple of slice
        Where the core lies in what was read.
    """

    core: Slices
    read: Slices
    inside: Slices


def is_lazy(values: Any) -> bool:
    """Whether `values` is an array that is read piece by piece: of dask, Zarr or HDF5."""
    return not isinstance(values, np.ndarray) and all(hasattr(values, name) for name in ("shape", "dtype", "chunks"))


def blocks(shape: Sequence[int], *, halo: int | Sequence[int] = 0, edge: int | Sequence[int] = EDGE) -> Iterator[Block]:
    """Cut a volume into blocks, in the order of their first voxels.

    Parameters
    ----------
    shape : sequence of int
        Of the volume.
    halo : int or sequence of int
        Voxels beyond the core along each axis that a block reads, where the volume has them.
    edge : int or sequence of int
        Voxels along each axis of a core; the last ones may be shorter.

    Yields
    ------
    Block
    """
    halos, edges = (np.broadcast_to(value, len(shape)) for value in (halo, edge))
    for start in itertools.product(*(range(0, n, int(e)) for n, e in zip(shape, edges, strict=True))):
        stop = [min(a + int(e), n) for a, e, n in zip(start, edges, shape, strict=True)]
        low = [max(a - int(h), 0) for a, h in zip(start, halos, strict=True)]
        high = [min(b + int(h), n) for b, h, n in zip(stop, halos, shape, strict=True)]
        yield Block(
            core=tuple(map(slice, start, stop)),
            read=tuple(map(slice, low, high)),
            inside=tuple(slice(a - c, b - c) for a, b, c in zip(start, stop, low, strict=True)),
        )


def measure_blocks(
    measure: Callable[[np.ndarray, Block], Result],
    volume: Any,
    *,
    halo: int | Sequence[int] = 0,
    edge: int | Sequence[int] = EDGE,
) -> Iterator[Result]:
    """Measure a volume block by block.

    Parameters
    ----------
    measure : callable
        Given the voxels that were read and the block; its results should be small.
    volume : array_like
        An array in memory, or one of dask, Zarr or HDF5, whose blocks are read one at a time.
    halo, edge
        As in `blocks`.

    Yields
    ------
    object
        What `measure` returned, block after block in the order of `blocks`, whatever ran them. With a
        `distributed.Client` active its workers run them, as many at once as they have threads.
    """
    parts = list(blocks(volume.shape, halo=halo, edge=edge))
    client = _active_client()
    if client is None:
        for block in parts:
            yield measure(read_block(volume, block), block)
        return
    many = max(1, sum(client.nthreads().values()))
    for start in range(0, len(parts), many):
        jobs = [
            client.submit(_measure_one, measure, volume, block, pure=False) for block in parts[start : start + many]
        ]
        yield from client.gather(jobs)


def _measure_one(measure: Callable[[np.ndarray, Block], Result], volume: Any, block: Block) -> Result:
    return measure(read_block(volume, block), block)


def read_block(volume: Any, block: Block) -> np.ndarray:
    """Return the voxels that a block reads."""
    part = volume[block.read]
    # One thread: a job on a worker must not wait for others of its own kind.
    return np.asarray(part.compute(scheduler="synchronous") if hasattr(part, "compute") else part)


def _active_client() -> Any:
    """Return the active client of dask.distributed, if that package is loaded and there is one."""
    import sys

    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_client()
    except ValueError:
        return None
