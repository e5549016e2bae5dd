"""A volume in a file that is read slice by slice: no more of it is in memory than was asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volume.axes import to_zyx
from volume.errors import VolumeFileError, in_one_sentence
from volume.voxel_size import VoxelSize, check_voxel_size

__all__ = ["LazyVolume", "Pages", "as_zyx", "to_native"]


class LazyVolume:
    """What `volume.open_lazily` gives: it has the shape and type of an array and is sliced like one.

    Attributes
    ----------
    shape : (int, int, int)
        Voxels along (z, y, x).
    dtype : dtype
        Of what slicing returns: the file's own type in the machine's byte order; booleans become ``uint8``.
    voxel_size_um : (float, float, float) or None
        Size of a voxel along (z, y, x) in micrometres, if known.
    phases : tuple of str or None
        Name of each label, if known.
    chunks : tuple of int or None
        Voxels along each axis of the pieces in which the file holds it, if it does.

    Notes
    -----
    ``volume[k]``, ``volume[a:b]`` and ``volume[a:b, rows, columns]`` read the planes from the file and return an
    ndarray of its own; a `VolumeFileError` says that they are damaged or not finite.
    """

    def __init__(
        self, planes: Any, path: Path, *, kind: str, voxel_size_um: Any = None, phases: Sequence[str] | None = None
    ) -> None:
        self.planes, self.path, self.kind = planes, path, kind
        z, y, x = planes.shape
        self.shape: tuple[int, int, int] = (int(z), int(y), int(x))
        self.size = z * y * x
        self.dtype = np.dtype(np.uint8 if planes.dtype == bool else planes.dtype).newbyteorder("=")
        self.voxel_size_um: VoxelSize | None = check_voxel_size(voxel_size_um)
        self.phases = None if phases is None else tuple(phases)
        self.chunks = getattr(planes, "chunks", None)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, window: Any) -> np.ndarray:
        first, *rest = window if isinstance(window, tuple) else (window,)
        whole = isinstance(first, slice)
        place = range(len(self))[first]
        chosen = place if isinstance(place, range) else range(place, place + 1)
        low, high = (min(chosen), max(chosen) + 1) if len(chosen) else (0, 0)
        with in_one_sentence(self.path, self.kind):
            found = to_native(np.array(self.planes[low:high]))
        self._refuse_not_finite(found, low)
        found = found[:: chosen.step] if whole else found[0]
        return found[(slice(None), *rest)] if whole else found[tuple(rest)]

    def _refuse_not_finite(self, found: np.ndarray, low: int) -> None:
        if found.dtype.kind != "f":
            return
        wrong = [int(plane.size - np.count_nonzero(np.isfinite(plane))) for plane in found]
        if any(wrong):
            count, bad = sum(wrong), [low + k for k, number in enumerate(wrong) if number]
            raise VolumeFileError(
                f"'{self.path}' holds {count} value{'s' if count > 1 else ''} of {found.size} that "
                f"{'are' if count > 1 else 'is'} not finite (NaN or infinite) in the slices {bad[0]} to {bad[-1]}; "
                "crop or fill them first"
            )


class Pages:
    """Planes that are read one by one.

    Parameters
    ----------
    sources : sequence
        One for each plane.
    load : callable
        From a source to its plane ``(Y, X)``.
    shape : (int, int)
        Of a plane.
    dtype : dtype
        Of a plane.
    """

    def __init__(self, sources: Sequence[Any], load: Any, *, shape: Sequence[int], dtype: Any) -> None:
        self.sources, self.load = sources, load
        self.shape, self.dtype = (len(sources), *shape), np.dtype(dtype)

    def __getitem__(self, window: slice) -> np.ndarray:
        chosen = self.sources[window]
        found = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        for plane, source in zip(found, chosen, strict=True):
            plane[...] = np.asarray(self.load(source)).reshape(plane.shape)
        return found


class _Behind:
    """An array on disk ``(1, …, 1, Z, Y, X)`` seen as ``(Z, Y, X)``."""

    def __init__(self, array: Any, leading: int) -> None:
        self.array, self.leading = array, (0,) * leading
        self.shape, self.dtype = tuple(array.shape[leading:]), array.dtype
        chunks = getattr(array, "chunks", None)
        self.chunks = tuple(chunks[leading:]) if chunks else None

    def __getitem__(self, window: slice) -> np.ndarray:
        return np.asarray(self.array[(*self.leading, window)])


def as_zyx(array: Any, axes: str | None, where: str) -> Any:
    """Return an array on disk as (z, y, x), refused as `volume.axes.to_zyx` does; None if it must be read for that."""
    # Costs no memory, and is refused for the same reasons.
    shape = to_zyx(np.broadcast_to(np.zeros((), np.uint8), array.shape), axes, where).shape
    leading = len(array.shape) - 3
    in_order = axes is None or axes.upper()[leading:] in ("ZYX", "IYX", "QYX")
    if leading < 0 or not in_order or tuple(array.shape[leading:]) != shape:
        return None
    return _Behind(array, leading) if leading else array


def to_native(array: np.ndarray) -> np.ndarray:
    """Booleans as ``uint8``, the machine's byte order, C order: what every format and every kernel takes."""
    if array.dtype == bool:
        array = array.view(np.uint8) if array.flags.c_contiguous else array.astype(np.uint8)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
