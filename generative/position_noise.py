"""Noise that belongs to a place: each value is a function of seed, step, channel and position alone."""

import itertools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "PositionNoise"]

# Smaller blocks cost more calls, larger ones more values that a cut throws away.
BLOCK = 16
LIMIT = 2**63 - BLOCK
Run = tuple[int, int, int]


class PositionNoise:
    """Standard normal noise that fills all of space, read region by region.

    Space is cut into blocks of 16³ voxels. A counter-based generator (Philox, keyed with seed and step, its counter
    set from channel and block) makes each on its own, so a value does not depend on the region that is asked for,
    nor on who else asked: windows of one volume see the same noise wherever they overlap, on every device, and a large
    volume contains the noise of a smaller one.

    Parameters
    ----------
    seed : int
        0 to 2⁶⁴ − 1.
    channels : int
        At least 1. The first channels are the same however many there are.

    Raises
    ------
    ValueError
        If one of them is out of its range.

    Notes
    -----
    The bits are the same wherever numpy runs; that numpy turns them into normal numbers in the same way in all
    versions is likely, but not promised by it.

    References
    ----------
    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox).
    """

    def __init__(self, seed: int, channels: int) -> None:
        self.seed = _whole(seed, "seed", low=0, high=2**64 - 1)
        self.channels = _whole(channels, "channels", low=1, high=2**31)

    def read(
        self, step: int, origin: Sequence[int], shape: Sequence[int], *, period: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """Return the noise of one step in a region.

        Parameters
        ----------
        step : int
            0 to 2⁶⁴ − 1; steps are independent of each other.
        origin, shape : three ints
            First voxel ``(z, y, x)``, which may be negative, and extent of the region.
        period : three ints, optional
            Positions are taken modulo these lengths, so that the noise repeats; without it nothing ever repeats.

        Returns
        -------
        ndarray of float32
            ``(channels, z, y, x)``.

        Raises
        ------
        ValueError
            If an argument is out of its range.
        """
        step = _whole(step, "step", low=0, high=2**64 - 1)
        start = _three(origin, "origin", low=-LIMIT, high=LIMIT)
        extent = _three(shape, "shape", low=0, high=LIMIT)
        lengths = (None,) * 3 if period is None else _three(period, "period", low=1, high=LIMIT)
        if period is not None and any(n > cell for n, cell in zip(extent, period, strict=True)):
            cells = [min(n, cell) for n, cell in zip(extent, period, strict=True)]
            once = self.read(step, start, cells, period=period)
            z, y, x = (np.arange(n) % cell for n, cell in zip(extent, period, strict=True))
            return once[:, z[:, None, None], y[:, None], x]
        out = np.empty((self.channels, *extent), dtype=np.float32)
        source = _Blocks(self.seed, step)
        runs = [list(_runs(*axis)) for axis in zip(start, extent, lengths, strict=True)]
        for block in itertools.product(*runs):
            target = tuple(slice(to, to + count) for to, _, count in block)
            corner = [position // BLOCK for _, position, _ in block]
            inside = tuple(slice(position % BLOCK, position % BLOCK + count) for _, position, count in block)
            for channel in range(self.channels):
                out[(channel, *target)] = source.read(channel, corner)[inside]
        return out


class _Blocks:
    """The blocks of one step, one at a time in the same memory."""

    def __init__(self, seed: int, step: int) -> None:
        self.bits = np.random.Philox(key=np.array([seed, step], dtype=np.uint64))
        self.generator = np.random.Generator(self.bits)
        # As it is before the first draw: nothing is left over from another block.
        self.fresh: dict[str, Any] = dict(self.bits.state)
        self.values = np.empty((BLOCK,) * 3, dtype=np.float32)

    def read(self, channel: int, corner: Sequence[int]) -> NDArray[np.float32]:
        """Return the values of the block of this index."""
        # A block draws far fewer than 2³² numbers: the channel above that bit keeps their counters apart.
        z, y, x = (index % 2**64 for index in corner)
        counter = np.array([channel << 32, z, y, x], dtype=np.uint64)
        self.fresh["state"] = {**self.fresh["state"], "counter": counter}
        self.bits.state = self.fresh  # type: ignore[assignment]
        self.generator.standard_normal(out=self.values, dtype=np.float32)
        return self.values


def _runs(start: int, extent: int, period: int | None) -> Iterator[Run]:
    """Cut an axis where blocks end and where it wraps; yield (offset in the region, position, length)."""
    done = 0
    while done < extent:
        position = start + done if period is None else (start + done) % period
        ends = [extent - done, BLOCK - position % BLOCK]
        if period is not None:
            ends.append(period - position)
        yield done, position, min(ends)
        done += min(ends)


def _three(values: Sequence[int], name: str, *, low: int, high: int) -> tuple[int, int, int]:
    if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != 3:
        raise ValueError(f"{name} is {values!r}; give three whole numbers (z, y, x)")
    z, y, x = (_whole(value, name, low=low, high=high) for value in values)
    return z, y, x


def _whole(value: Any, name: str, *, low: int, high: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}; give whole numbers") from None
    if isinstance(value, bool | np.bool_) or not low <= number <= high:
        raise ValueError(f"{name} is {value!r}; give whole numbers from {low} to {high}")
    return number
