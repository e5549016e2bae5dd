"""From a labelled volume to the patches that a network learns from, each a function of its index alone."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LabelledPatches", "Material", "read_material"]

Symmetry = Literal["none", "flips", "transverse", "cubic"]

# Streams of random numbers that must never meet: the order of the patches, and what happens to each.
ORDER, PATCH = 0, 1


@dataclass(frozen=True)
class Material:
    """A labelled volume to learn from.

    Parameters
    ----------
    labels : ndarray of uint8
        ``(Z, Y, X)``, every label from 0 (pore) to the number of phases less one present.
    phases : tuple of str
        Names indexed by label.
    voxel_size_um : tuple of three floats, optional
        ``(z, y, x)`` in µm.
    """

    labels: NDArray[np.uint8]
    phases: tuple[str, ...]
    voxel_size_um: tuple[float, float, float] | None = None

    def fractions(self) -> tuple[float, ...]:
        """Volume fraction of each phase."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.phases))
        return tuple(float(c) / self.labels.size for c in counts)


def read_material(
    source: ArrayLike,
    *,
    phases: Sequence[str] | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
) -> Material:
    """Check a labelled volume and name its phases.

    Parameters
    ----------
    source : Volume, Structure or array_like
        ``(Z, Y, X)`` labels 0, 1, … with 0 = pore.
    phases : sequence of str, optional
        Names indexed by label; otherwise the source's own, otherwise ``pore``, ``phase 1``, ….
    voxel_size_um : tuple of three floats, optional
        ``(z, y, x)`` in µm; otherwise the source's own.

    Returns
    -------
    Material

    Raises
    ------
    ValueError
        If the array is not 3-D or not whole labels from 0, if a named phase is absent, if a label has no name,
        or if there is a single phase.
    """
    array = np.asarray(source)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"a labelled volume is 3-D (Z, Y, X); this one has the shape {array.shape}")
    if array.dtype.kind not in "biu":
        raise ValueError(f"labels are whole numbers from 0 (pore); this volume holds {array.dtype}: segment it first")
    present = np.unique(array)
    if present[0] < 0 or present[-1] > 255:
        raise ValueError(f"labels run from 0 to at most 255; this volume holds {present[0]} to {present[-1]}")
    names = phases if phases is not None else getattr(source, "phases", None)
    if names is None:
        names = ("pore", *(f"phase {label}" for label in range(1, int(present[-1]) + 1)))
    _check_phases(present, tuple(names))
    size = voxel_size_um if voxel_size_um is not None else getattr(source, "voxel_size_um", None)
    return Material(np.ascontiguousarray(array, dtype=np.uint8), tuple(names), size)


class LabelledPatches:
    """An endless, shuffled row of patches; patch `index` is the same whoever asks, in whatever order.

    Patches lie on a lattice of spacing `stride`, whose last row touches the far face so that no voxel goes unseen.
    Every ``len(self)`` patches each place comes once, in a new order.

    Parameters
    ----------
    labels : ndarray of uint8
        ``(Z, Y, X)``.
    size : tuple of three ints
        Patch shape ``(z, y, x)``.
    stride : int
        Spacing of the patch corners, voxels.
    symmetry : {"none", "flips", "transverse", "cubic"}
        See `generative.configuration.PatchConfig`.
    seed : int
        Where order and orientation come from.

    Raises
    ------
    ValueError
        If the volume is smaller than the patch.
    """

    def __init__(
        self,
        labels: NDArray[np.uint8],
        *,
        size: tuple[int, int, int],
        stride: int,
        symmetry: Symmetry = "none",
        seed: int = 0,
    ) -> None:
        if any(patch > whole for patch, whole in zip(size, labels.shape, strict=True)):
            raise ValueError(
                f"the volume {labels.shape} is smaller than the patch {tuple(size)}; "
                "lower 'patches.size' or give a larger volume"
            )
        self.labels, self.size, self.seed = labels, tuple(size), seed
        self.corners = [_corners(whole, patch, stride) for whole, patch in zip(labels.shape, size, strict=True)]
        self.orientations = _orientations(symmetry, self.size)
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of places, orientations not counted."""
        return int(np.prod([len(c) for c in self.corners]))

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Return patch `index` (0, 1, … without end) as labels of shape `size`."""
        return self.take(self.labels, index)

    def take(self, array: NDArray[Any], index: int) -> NDArray[Any]:
        """Return patch `index` of an array that goes with the labels, e.g. their coding.

        Parameters
        ----------
        array : ndarray
            ``(…, Z, Y, X)``; whatever comes before the three axes of the labels is kept.
        index : int
            0, 1, … without end.
        """
        epoch, place = divmod(index, len(self))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._stream(ORDER, epoch).permutation(len(self))
        chosen = np.unravel_index(self._order[place], [len(c) for c in self.corners])
        corner = [int(c[i]) for c, i in zip(self.corners, chosen, strict=True)]
        z, y, x = (slice(c, c + n) for c, n in zip(corner, self.size, strict=True))
        cut = array[..., z, y, x]
        axes, flips = self.orientations[self._stream(PATCH, index).integers(len(self.orientations))]
        before = cut.ndim - 3
        turned = cut.transpose(*range(before), *(before + a for a in axes))
        return np.ascontiguousarray(np.flip(turned, axis=[before + a for a in range(3) if flips[a]]))

    def _stream(self, kind: int, index: int) -> np.random.Generator:
        # A spawn key, unlike a longer entropy, keeps (1,) and (1, 0) apart.
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(kind, index)))


def _check_phases(present: NDArray[np.integer], names: tuple[str, ...]) -> None:
    if int(present[-1]) >= len(names):
        raise ValueError(
            f"label {present[-1]} has no name: {len(names)} phases are named ({', '.join(names)}); "
            "labels must be 0, 1, … without gaps, one for each name"
        )
    absent = [name for label, name in enumerate(names) if label not in present]
    if absent:
        raise ValueError(
            f"phase '{absent[0]}' (label {names.index(absent[0])}) is absent from the volume, whose labels are "
            f"{', '.join(map(str, present))}; a model cannot learn it: relabel the volume or give another"
        )
    if len(names) < 2:
        raise ValueError("the volume holds a single phase; a generative model needs at least two")


def _corners(whole: int, patch: int, stride: int) -> NDArray[np.int64]:
    last = whole - patch
    return np.unique(np.append(np.arange(0, last + 1, stride), last))


def _orientations(symmetry: Symmetry, size: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """List (order of the axes, which are mirrored); the identity comes first."""
    if symmetry == "none":
        return [((0, 1, 2), (False, False, False))]
    orders = {"flips": [(0, 1, 2)], "transverse": [(0, 1, 2), (0, 2, 1)]}.get(
        symmetry, list(itertools.permutations(range(3)))
    )
    fitting = [axes for axes in orders if tuple(size[a] for a in axes) == tuple(size)]
    return [(axes, flips) for axes in fitting for flips in itertools.product((False, True), repeat=3)]
