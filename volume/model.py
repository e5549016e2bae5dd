"""What a volume is: an array in (z, y, x), the size of its voxels, and the names of its phases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from volume.voxel_size import VoxelSize, check_voxel_size

__all__ = ["Volume"]


@dataclass(frozen=True, eq=False)
class Volume:
    """A three-dimensional image, either grey values or labels.

    Parameters
    ----------
    array : array_like of shape (Z, Y, X)
        Integers, booleans or floats. It is kept as it is, without a copy. Labels are ``0 = pore, 1, 2, …``.
    voxel_size_um : sequence of three numbers, optional
        Size of a voxel along (z, y, x) in micrometres. ``None``: not known, so that results are in voxels.
    phases : sequence of str, optional
        Name of each label, ``phases[0]`` being that of label 0. Only for arrays of labels.

    Raises
    ------
    ValueError
        If the array is not three-dimensional, is empty or holds no real numbers; if the voxel size is not three
        positive finite numbers; if `phases` names fewer labels than the array holds or names one twice.
    """

    array: np.ndarray
    voxel_size_um: VoxelSize | None = None
    phases: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        array = _check_array(self.array)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "voxel_size_um", check_voxel_size(self.voxel_size_um))
        object.__setattr__(self, "phases", _check_phases(self.phases, array))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        z, y, x = self.array.shape
        return z, y, x

    @property
    def n_phases(self) -> int | None:
        """How many phases are named, or ``None`` for grey values."""
        return None if self.phases is None else len(self.phases)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy:
            return np.array(self.array, dtype=dtype)
        converted = self.array if dtype is None else self.array.astype(dtype, copy=False)
        if copy is False and converted is not self.array:
            raise ValueError(f"a volume of {self.array.dtype} cannot be seen as {np.dtype(dtype)} without a copy")
        return converted


def _check_array(array: Any) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 3:
        raise ValueError(f"a volume has three axes (z, y, x); the array has shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"a volume needs at least one voxel; the array has shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"a volume holds integers, booleans or floats; the array's type is {array.dtype}")
    return array


def _check_phases(phases: Sequence[str] | None, array: np.ndarray) -> tuple[str, ...] | None:
    if phases is None:
        return None
    names = () if isinstance(phases, str) else tuple(phases)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"phases is {phases!r}; it must be a sequence of names, one for each label from 0 on")
    if len(set(names)) < len(names):
        raise ValueError(f"phases is {names!r}; each name may occur once only")
    if array.dtype.kind == "f":
        raise ValueError(f"phases name labels, which are integers, but the array holds {array.dtype}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= len(names):
        raise ValueError(
            f"phases names the {len(names)} labels 0 to {len(names) - 1}, but the array holds {low} to {high}"
        )
    return tuple(str(name) for name in names)
