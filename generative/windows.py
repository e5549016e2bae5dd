"""Windows that cover a volume together, and the weights that blend what is found in them."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Corner", "Windows", "lay_windows"]

Corner = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows on a lattice; made by `lay_windows`.

    Attributes
    ----------
    size : tuple of three ints
        Shape ``(z, y, x)`` of each window, voxels.
    shape : tuple of three ints
        What they cover: the volume, or a window where that is longer and nothing is periodic.
    periodic : bool
        Whether windows that reach past the far face go on at the near one.
    starts : tuple of three tuples of int
        First voxels along each axis, rising. The windows are all combinations.
    weights : tuple of three arrays of float32
        Along each axis, ``(windows, size)``: positive, and the weights of all windows at a voxel add up to 1. The
        weight of a voxel in a window is the product over the axes; where a window is alone it is exactly 1.
    """

    size: tuple[int, int, int]
    shape: tuple[int, int, int]
    periodic: bool
    starts: tuple[tuple[int, ...], ...]
    weights: tuple[NDArray[np.float32], ...]

    def __len__(self) -> int:
        """Return the number of windows."""
        return int(np.prod([len(starts) for starts in self.starts]))

    def corners(self, row: int) -> list[Corner]:
        """Return the corners of the windows that begin at ``starts[0][row]``, y before x."""
        return [(self.starts[0][row], y, x) for y, x in itertools.product(*self.starts[1:])]

    def weight(self, corner: Corner) -> NDArray[np.float32]:
        """Return the weights ``(z, y, x)`` of one window."""
        z, y, x = (
            weights[starts.index(start)]
            for weights, starts, start in zip(self.weights, self.starts, corner, strict=True)
        )
        plane: NDArray[np.float32] = y[:, None] * x
        return z[:, None, None] * plane

    def pieces(self, start: int, axis: int) -> list[tuple[slice, slice]]:
        """Return (in the window, in the volume) slices of a window along an axis: one, or more where it wraps."""
        return list(_pieces(start, self.size[axis], self.shape[axis]))


def lay_windows(
    shape: Sequence[int], *, size: Sequence[int], overlap: int | Sequence[int], periodic: bool = False
) -> Windows:
    """Cover a volume with the fewest windows of one size that overlap by at least `overlap`, evenly spaced.

    The first and the last windows are flush with the faces; where the volume is shorter than a window, one window
    reaches beyond it, for cutting off. In a periodic volume the lattice closes on itself and windows wrap round, more
    than once where the volume is shorter; only a window of the volume's length and no overlap meets itself nowhere.

    Parameters
    ----------
    shape : three ints
        The volume, ``(z, y, x)`` in voxels.
    size : three ints
        The windows.
    overlap : int, or three ints
        Voxels that neighbours share at least, 0 up to one less than the window; where neighbours are blended, the
        weight rises as a sine squared over what they do share.
    periodic : bool
        Whether opposite faces touch.

    Returns
    -------
    Windows

    Raises
    ------
    ValueError
        If an argument is not whole numbers in these ranges.
    """
    whole, window = _three(shape, "shape", low=1), _three(size, "window", low=1)
    shared = _three([overlap] * 3 if np.ndim(overlap) == 0 else overlap, "overlap", low=0)
    if any(lap >= length for lap, length in zip(shared, window, strict=True)):
        raise ValueError(f"overlap is {shared} of windows of {window} voxels; it must be smaller than the window")
    if not periodic:
        whole = (max(whole[0], window[0]), max(whole[1], window[1]), max(whole[2], window[2]))
    axes = [_lattice(*lengths, periodic) for lengths in zip(whole, window, shared, strict=True)]
    weights = [_axis_weights(*axis, periodic) for axis in zip(axes, window, whole, strict=True)]
    return Windows(window, whole, bool(periodic), tuple(axes), tuple(weights))


def _lattice(whole: int, window: int, overlap: int, periodic: bool) -> tuple[int, ...]:
    if periodic:
        count = -(-whole // (window - overlap))
        return tuple(i * whole // count for i in range(count))
    gaps = -(-(whole - window) // (window - overlap))
    return tuple(i * (whole - window) // max(1, gaps) for i in range(gaps + 1))


def _axis_weights(starts: tuple[int, ...], window: int, whole: int, periodic: bool) -> NDArray[np.float32]:
    """Return normalised weights ``(windows, window)`` along one axis."""
    spacings = np.diff([*starts, whole] if periodic else starts)
    shared = window - max(spacings, default=window)
    inwards = np.minimum(np.arange(window), np.arange(window)[::-1]) + 0.5
    # Sines squared of neighbours add up to 1 already; only at faces and where windows meet in threes they do not.
    rise = np.sin(np.pi / 2 * np.minimum(1, inwards / max(shared, 0.5))) ** 2
    total = np.zeros(whole)
    for start in starts:
        for there, here in _pieces(start, window, whole):
            total[here] += rise[there]
    return np.stack([rise / total[(start + np.arange(window)) % whole] for start in starts]).astype(np.float32)


def _pieces(start: int, window: int, whole: int) -> Iterator[tuple[slice, slice]]:
    done = 0
    while done < window:
        position = (start + done) % whole
        count = min(window - done, whole - position)
        yield slice(done, done + count), slice(position, position + count)
        done += count


def _three(values: Any, name: str, *, low: int) -> tuple[int, int, int]:
    accepted = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str)
    numbers = list(values) if accepted else []
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= low for n in numbers)
    if len(numbers) != 3 or not whole:
        raise ValueError(f"{name} is {values!r}; give three whole numbers (z, y, x) of at least {low}")
    return int(numbers[0]), int(numbers[1]), int(numbers[2])
