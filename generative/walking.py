"""Carrying a walk out: a volume of any size, its windows denoised together, in memory or on disk."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from generative.position_noise import BLOCK, PositionNoise
from generative.slab_store import FolderStore, MemoryStore, SlabStore, StoredScores
from generative.walks import Walk
from generative.windows import Corner, Windows, lay_windows

__all__ = ["Estimate", "walk_windows"]

Estimate = Callable[[Tensor, int, Sequence[Corner]], Tensor]
"""From windows x (B, n, z, y, x), the time step and the windows' corners to the clean estimates, of the same shape.

The windows are float32 on the CPU; what comes back may lie anywhere. It is called without gradients (a guidance that
needs them says ``torch.enable_grad()`` itself), with several estimators from a thread each, so that settings of the
calling thread such as autocast do not reach it.
"""

Item = TypeVar("Item")
Slab = NDArray[np.float32]
Blended = tuple[int, int, Slab]


@overload
def walk_windows(
    estimate: Estimate | Sequence[Estimate],
    walk: Walk,
    *,
    shape: Sequence[int],
    channels: int,
    noise: PositionNoise,
    window: Sequence[int],
    overlap: int | Sequence[int],
    periodic: bool = ...,
    known: tuple[Any, Any] | None = ...,
    batch: int = ...,
    store: None = ...,
    identity: str | None = ...,
    progress: str | None = ...,
) -> NDArray[np.float32]: ...


@overload
def walk_windows(
    estimate: Estimate | Sequence[Estimate],
    walk: Walk,
    *,
    shape: Sequence[int],
    channels: int,
    noise: PositionNoise,
    window: Sequence[int],
    overlap: int | Sequence[int],
    periodic: bool = ...,
    known: tuple[Any, Any] | None = ...,
    batch: int = ...,
    store: str | Path,
    identity: str | None = ...,
    progress: str | None = ...,
) -> StoredScores: ...


def walk_windows(
    estimate: Estimate | Sequence[Estimate],
    walk: Walk,
    *,
    shape: Sequence[int],
    channels: int,
    noise: PositionNoise,
    window: Sequence[int],
    overlap: int | Sequence[int],
    periodic: bool = False,
    known: tuple[Any, Any] | None = None,
    batch: int = 1,
    store: str | Path | None = None,
    identity: str | None = None,
    progress: str | None = None,
) -> NDArray[np.float32] | StoredScores:
    """Walk a volume from noise to its last estimate, window by window but all windows at each step.

    At each step every window's clean estimate is taken from the same x, the estimates are blended into one of the
    volume, and x takes its step. Windows therefore agree where they overlap, and there are no seams to hide. What is
    added to a voxel comes in the order of the windows' corners, whoever computed it and when; so the result depends on
    the noise's seed and the layout of the windows alone. It does not depend on `batch` or on the number of estimators
    as far as the numbers that an estimator gives for a window do not depend on its place in a batch.

    Parameters
    ----------
    estimate : Estimate, or sequence of them
        See `Estimate`. Several, such as one a device, get batches in turn and must give the same numbers.
    walk : Walk
        The steps.
    shape : three ints
        The volume, ``(Z, Y, X)`` in voxels. Where it is shorter than a window (and not periodic), a longer one is
        made and cut.
    channels : int
        n, of the volume and of `noise`.
    noise : PositionNoise
        Its step 0 starts the walk, its step i + 1 belongs to step i.
    window : three ints
        Shape of what an estimator gets.
    overlap : int, or three ints
        Voxels that neighbouring windows share at least.
    periodic : bool
        Whether windows go on at the opposite face.
    known : (clean, mask), optional
        What the volume must hold somewhere, ``(n, Z, Y, X)``, and a boolean ``(Z, Y, X)``, True there. At each
        step the blended estimate is replaced by it. Anything that can be cut like an array will do.
    batch : int
        Windows that an estimator gets at once; the last batch of a step is filled up with copies of its last window.
    store : path-like, optional
        A folder that keeps the state, so that memory holds two or three rows of windows however deep the volume is,
        and a walk that was killed goes on after its last finished step when called again with the same arguments.
        The disk holds twice ``4 n Z Y X`` bytes, four times for samplers with a memory.
    identity : str, optional
        What tells the estimator and what is known from others, such as a `generative.fingerprint.fingerprint`:
        a stored walk is taken up again only with the same. Nothing else is known of them.
    progress : str, optional
        Title of a bar on the terminal.

    Returns
    -------
    ndarray of float32 ``(n, Z, Y, X)``, or StoredScores
        The last estimate, not decoded; with `store` its reader, which needs the folder to stay.

    Raises
    ------
    ValueError
        If an argument is out of its range, an estimate is not finite or has another shape, or `store` belongs to
        another walk.
    """
    crew = _checked_crew(estimate)
    windows = lay_windows(shape, size=window, overlap=overlap, periodic=periodic)
    whole = tuple(int(length) for length in shape)
    if channels != noise.channels:
        raise ValueError(f"channels is {channels!r}, but the noise has {noise.channels}; the two must agree")
    if isinstance(batch, bool) or not isinstance(batch, int | np.integer) or batch < 1:
        raise ValueError(f"batch is {batch!r}; give a whole number of windows of at least 1")
    task = _Task(walk, windows, noise, _checked_known(known, (channels, *whole)), int(batch))
    if store is None:
        memory = MemoryStore(channels, windows.shape)
        _carry_out(task, memory, crew, progress)
        return np.ascontiguousarray(memory.state[:, : whole[0], : whole[1], : whole[2]])
    settings = _settings(task, whole) | {"weights or request": identity}
    remembers = bool(np.any(walk.memory != 0))
    files = FolderStore(store, channels, windows.shape, settings=settings, remembers=remembers)
    with contextlib.closing(files):
        _carry_out(task, files, crew, progress)
    return StoredScores(files, whole)


@dataclass(frozen=True, eq=False)
class _Task:
    walk: Walk
    windows: Windows
    noise: PositionNoise
    known: tuple[Any, Any] | None
    batch: int


def _carry_out(task: _Task, store: SlabStore, crew: Sequence[Estimate], progress: str | None) -> None:
    windows, steps = task.windows, len(task.walk)
    if store.done == 0:
        for first, last in _blocks(0, windows.shape[0]):
            store.write(first, last, _noise(task, 0, first, last), None)
        store.finish()
    bar = tqdm(
        total=steps * len(windows),
        initial=(store.done - 1) * len(windows),
        desc=progress,
        unit="window",
        leave=False,
        # tqdm takes None as: only on a terminal.
        disable=None if progress is not None else True,
    )
    with bar, contextlib.ExitStack() as threads:
        calls = [_caller(estimator, threads, len(crew) > 1) for estimator in crew]
        for step in range(store.done - 1, steps):
            blend = _Blend(windows, task.noise.channels)
            for corner, found in _estimates(task, store, step, calls):
                for first, last, blended in blend.add(corner, found):
                    _advance(task, store, step, (first, last, blended))
                bar.update()
            for slab in blend.rest():
                _advance(task, store, step, slab)
            store.finish()


def _advance(task: _Task, store: SlabStore, step: int, slab: Blended) -> None:
    """Take the step of a slab whose blended estimate is complete."""
    first, last, estimate = slab
    _put_known(task, estimate, first)
    walk = task.walk
    if step == len(walk) - 1:
        # By definition of a walk; a coefficient of 0 would still let overflows of x through.
        store.write(first, last, estimate, None)
        return
    state = np.float32(walk.keep[step]) * store.read(first, last)
    state += np.float32(walk.estimate[step]) * estimate
    if walk.memory[step] != 0:
        state += np.float32(walk.memory[step]) * store.read_estimate(first, last)
    if walk.noise[step] != 0:
        state += np.float32(walk.noise[step]) * _noise(task, step + 1, first, last)
    store.write(first, last, state, estimate if walk.memory[step + 1] != 0 else None)


def _noise(task: _Task, step: int, first: int, last: int) -> Slab:
    return task.noise.read(step, (first, 0, 0), (last - first, *task.windows.shape[1:]))


def _put_known(task: _Task, estimate: Slab, first: int) -> None:
    if task.known is None:
        return
    clean, mask = task.known
    depth, height, width = mask.shape
    last = min(first + estimate.shape[1], depth)
    inside = np.asarray(mask[first:last])
    values = np.asarray(clean[:, first:last], dtype=np.float32)
    if not np.isfinite(values[:, inside]).all():
        raise ValueError("the known values are not finite everywhere in their mask; clear the mask there")
    np.copyto(estimate[:, : max(0, last - first), :height, :width], values, where=inside)


def _estimates(
    task: _Task, store: SlabStore, step: int, calls: Sequence[Callable[..., Callable[[], Tensor]]]
) -> Iterator[tuple[Corner, Slab]]:
    """Yield each window's corner and estimate, ordered by corner, while estimators work ahead."""
    time = int(task.walk.timesteps[step])
    pending: deque[tuple[list[Corner], Callable[[], Tensor], torch.Size]] = deque()
    for number, (corners, x) in enumerate(_batches(task, store)):
        filled = corners + corners[-1:] * (task.batch - len(corners))
        pending.append((corners, calls[number % len(calls)](x, time, filled), x.shape))
        if len(pending) > len(calls):
            yield from _unpack(*pending.popleft(), time)
    while pending:
        yield from _unpack(*pending.popleft(), time)


def _batches(task: _Task, store: SlabStore) -> Iterator[tuple[list[Corner], Tensor]]:
    """Yield corners of up to `batch` windows and their x, always of `batch` windows.

    Reading ahead of the blending is safe even where the store is overwritten in place: planes are written only once no
    window to come begins above them, and those that windows reach by wrapping round are written last.
    """
    corners: list[Corner] = []
    x = np.empty((task.batch, task.noise.channels, *task.windows.size), dtype=np.float32)
    for corner, window in _cut(task.windows, store):
        x[len(corners)] = window
        corners.append(corner)
        if len(corners) == task.batch:
            yield corners, torch.from_numpy(x)
            corners, x = [], np.empty_like(x)
    if corners:
        x[len(corners) :] = x[len(corners) - 1]
        yield corners, torch.from_numpy(x)


def _cut(windows: Windows, store: SlabStore) -> Iterator[tuple[Corner, Slab]]:
    """Yield each window's corner and x, row after row along z."""
    for row, start in enumerate(windows.starts[0]):
        parts = [store.read(here.start, here.stop) for _, here in windows.pieces(start, 0)]
        slab = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        del parts
        for corner in windows.corners(row):
            y, x = (_cyclic(corner[axis], windows, axis) for axis in (1, 2))
            yield corner, slab[:, :, y][..., x]
        del slab


def _cyclic(start: int, windows: Windows, axis: int) -> slice | NDArray[np.intp]:
    """Return what cuts a window out along an axis, as a view where it does not wrap."""
    stop = start + windows.size[axis]
    if stop <= windows.shape[axis]:
        return slice(start, stop)
    return np.arange(start, stop) % windows.shape[axis]


def _unpack(
    corners: list[Corner], result: Callable[[], Tensor], shape: torch.Size, time: int
) -> Iterator[tuple[Corner, Slab]]:
    found = result()
    if found.shape != shape:
        raise ValueError(f"the estimator made {tuple(found.shape)} of windows {tuple(shape)}; the shapes must agree")
    values = found.detach().to(device="cpu", dtype=torch.float32).numpy()
    if not np.isfinite(values).all():
        raise ValueError(
            f"the estimate at time {time} is not finite in a window at {corners}; predict in full precision, or "
            "train with a lower learning rate"
        )
    yield from zip(corners, values, strict=False)


def _caller(estimator: Estimate, threads: contextlib.ExitStack, threaded: bool) -> Callable[..., Callable[[], Tensor]]:
    """Return what starts an estimate and returns what waits for it."""

    def call(x: Tensor, time: int, corners: Sequence[Corner]) -> Tensor:
        with torch.no_grad():
            return estimator(x, time, corners)

    def start_here(*arguments: Any) -> Callable[[], Tensor]:
        # An accelerator goes on computing after this returns.
        return partial(_same, call(*arguments))

    if not threaded:
        return start_here
    # One thread each: an estimator never meets itself.
    pool = threads.enter_context(ThreadPoolExecutor(1))
    return lambda *arguments: pool.submit(call, *arguments).result


def _same(item: Item) -> Item:
    return item


class _Blend:
    """The weighted sum of estimates, held for as many planes as windows still to come may touch.

    Planes that wrapping windows reach at the near face are held to the end; the others lie in a ring.
    """

    def __init__(self, windows: Windows, channels: int) -> None:
        self.windows = windows
        depth, size = windows.shape[0], windows.size[0]
        self.held = min(depth, max(0, windows.starts[0][-1] + size - depth))
        self.ring = min(size + BLOCK, depth - self.held)
        self.head: Slab = np.zeros((channels, self.held, *windows.shape[1:]), dtype=np.float32)
        self.tail: Slab = np.zeros((channels, self.ring, *windows.shape[1:]), dtype=np.float32)
        self.complete = self.held  # the ring begins with this plane

    def add(self, corner: Corner, estimate: Slab) -> Iterator[Blended]:
        """Add a window; yield the slabs that are complete because none that begins above it is to come."""
        yield from self._release(corner[0] // BLOCK * BLOCK)
        weighted = estimate * self.windows.weight(corner)
        for z_there, z_here in self.windows.pieces(corner[0], 0):
            for y_there, y_here in self.windows.pieces(corner[1], 1):
                for x_there, x_here in self.windows.pieces(corner[2], 2):
                    for planes, where in self._planes(z_here):
                        part = weighted[:, z_there][:, planes, y_there, x_there]
                        where[..., y_here, x_here] += part

    def rest(self) -> Iterator[Blended]:
        """Yield all slabs that have not been yielded, when every window has been added."""
        yield from self._release(self.windows.shape[0])
        for first, last in _blocks(0, self.held):
            yield first, last, self.head[:, first:last]

    def _planes(self, z: slice) -> Iterator[tuple[slice, Slab]]:
        """Yield (planes counted from the first of `z`, where they are kept)."""
        inside = min(z.stop, max(z.start, self.held))
        if inside > z.start:
            yield slice(0, inside - z.start), self.head[:, z.start : inside]
        while inside < z.stop:
            place = inside % self.ring
            count = min(z.stop - inside, self.ring - place)
            yield slice(inside - z.start, inside - z.start + count), self.tail[:, place : place + count]
            inside += count

    def _release(self, end: int) -> Iterator[Blended]:
        for first, last in _blocks(self.complete, end):
            slab = np.empty((len(self.tail), last - first, *self.windows.shape[1:]), dtype=np.float32)
            for planes, where in self._planes(slice(first, last)):
                slab[:, planes] = where
                where[...] = 0
            yield first, last, slab
        self.complete = max(self.complete, end)


def _blocks(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut planes where the blocks of the noise end, so that none is made twice."""
    while first < end:
        last = min(end, (first // BLOCK + 1) * BLOCK)
        yield first, last
        first = last


def _checked_crew(estimate: Estimate | Sequence[Estimate]) -> list[Estimate]:
    crew = list(estimate) if isinstance(estimate, Sequence) else [estimate]
    if not crew or not all(callable(estimator) for estimator in crew):
        raise ValueError(f"estimate is {estimate!r}; give a callable or a list of them, one for each device")
    return crew


def _checked_known(known: tuple[Any, Any] | None, shape: tuple[int, ...]) -> tuple[Any, Any] | None:
    if known is None:
        return None
    clean, mask = known
    if tuple(clean.shape) != shape or tuple(mask.shape) != shape[1:] or mask.dtype != np.bool_:
        raise ValueError(
            f"known has values of shape {tuple(clean.shape)} and a mask of shape {tuple(mask.shape)} ({mask.dtype}); "
            f"this walk needs {shape} and a boolean {shape[1:]}"
        )
    return clean, mask


def _settings(task: _Task, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return all that the bytes of the result depend on, the estimator and what is known apart."""
    walk, windows = task.walk, task.windows
    coefficients = {name: getattr(walk, name).tolist() for name in ("timesteps", "keep", "estimate", "memory", "noise")}
    layout = {"shape": shape, "window": windows.size, "starts": windows.starts, "periodic": windows.periodic}
    return {"seed": task.noise.seed, "channels": task.noise.channels, **layout, **coefficients}
