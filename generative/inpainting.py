"""Filling in around a region that is given: what a walk must hold, and where."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from generative.coding import LabelCoding, encode
from generative.decoding import ReadScores, phase_counts

__all__ = ["Known", "Placed", "known_region"]

# Beyond any score of a network and any offset, but not so far that float32 has no places left for those.
CERTAIN = np.float32(1000)


@dataclass(frozen=True, eq=False)
class Placed:
    """An array in its place in a larger one, of which it holds no more than itself.

    Attributes
    ----------
    box : ndarray, shape (…, z, y, x)
        What is there; elsewhere is 0.
    corner : tuple of three ints
        Its first voxel.
    shape : tuple of int
        Of the larger array, (…, Z, Y, X).
    """

    box: NDArray[Any]
    corner: tuple[int, int, int]
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the entries."""
        return self.box.dtype

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[Any]:
        """Return a cut of the larger array; slices of step 1 only."""
        keys = key if isinstance(key, tuple) else (key,)
        spans = [
            one.indices(n)[:2] for one, n in zip((*keys, *[slice(None)] * 5), self.shape, strict=False)
        ]  # fmt: skip
        cut = np.zeros([max(0, stop - start) for start, stop in spans], self.dtype)
        corner = (0,) * (self.box.ndim - 3) + self.corner
        there, here = [], []
        for (start, stop), first, count in zip(spans, corner, self.box.shape, strict=True):
            low, high = max(start, first), max(start, first, min(stop, first + count))
            there.append(slice(low - start, high - start))
            here.append(slice(low - first, high - first))
        cut[tuple(there)] = self.box[tuple(here)]
        return cut


@dataclass(frozen=True, eq=False)
class Known:
    r"""A region of a volume whose content is given; made by `known_region`.

    ``(known.clean, known.mask)`` is what `generative.walking.walk_windows` takes: at each step the known voxels of
    x̂_0 are replaced by what they are. More is not needed: given a clean voxel x_0, the rows of a walk draw
    :math:`x_s \sim N(\sqrt{ᾱ_s} x_0, 1 - ᾱ_s)` at every time s (be the steps draws from q(x_s | x_t, x_0) as in DDPM,
    or those of DDIM or DPM-Solver++), exact but for what the first time holds of signal, and end at x_0. It is
    RePaint's replacement [1]_ of x by noisy known voxels, with noise that belongs to a path rather than to each step.
    What is around sees the region through that noise only, so that the two fit badly at the border until
    `generative.walks.with_resampling` goes back over the walk.

    Attributes
    ----------
    clean : Placed
        ``(n, Z, Y, X)``: channels as the model codes them, without meaning where `mask` is False.
    mask : Placed
        ``(Z, Y, X)`` of bool: True where the labels are known.
    labels : Placed
        ``(Z, Y, X)`` of uint8.

    References
    ----------
    .. [1] Lugmayr et al., "RePaint: Inpainting using Denoising Diffusion Probabilistic Models", CVPR 2022.
    """

    clean: Placed
    mask: Placed
    labels: Placed

    def hold(self, read_scores: ReadScores) -> ReadScores:
        """Make the known labels certain, so that decoding leaves them as they are, whatever fractions are asked for.

        Parameters
        ----------
        read_scores : callable
            As `generative.decoding.decode_slabs` takes it.
        """

        def held(first: int, last: int) -> NDArray[np.float32]:
            scores = np.array(read_scores(first, last), dtype=np.float32)
            inside = self.mask[first:last]
            labels = self.labels[first:last][inside]
            for phase, channel in enumerate(scores):
                channel[inside] = np.where(labels == phase, CERTAIN, -CERTAIN)
            return scores

        return held

    def check_room(self, fractions: Sequence[float]) -> None:
        """Refuse fractions of the volume that the known region alone exceeds.

        Raises
        ------
        ValueError
            Naming the phase.
        """
        n, *volume = self.clean.shape
        counts = phase_counts(fractions, n_phases=n, voxels=int(np.prod(volume)))
        there = np.bincount(self.labels.box[self.mask.box], minlength=n)
        for phase in np.flatnonzero(there > counts):
            raise ValueError(
                f"fractions ask for {counts[phase]} voxels of phase {phase}, but the known region alone holds "
                f"{there[phase]}; ask for more of it, or mark less as known"
            )

    def paste(self, decoded: NDArray[np.uint8], *, first: int = 0) -> NDArray[np.uint8]:
        """Return decoded labels with exactly the known ones in their place.

        After a walk they are those already, unless smooth channels or prescribed fractions moved a few.

        Parameters
        ----------
        decoded : ndarray of uint8
            ``(z, Y, X)``, the volume or a slab of it.
        first : int
            First plane of the slab in the volume.
        """
        planes = slice(first, first + len(decoded))
        return np.where(self.mask[planes], self.labels[planes], decoded)


def known_region(
    labels: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    n_phases: int,
    coding: LabelCoding | None = None,
    shape: Sequence[int] | None = None,
    corner: Sequence[int] = (0, 0, 0),
) -> Known:
    """Say what is known of a volume.

    Parameters
    ----------
    labels : array_like of whole numbers
        ``(z, y, x)``: the volume, or a piece of it. Labels where `mask` is False are not looked at.
    mask : array_like of bool, optional
        ``(z, y, x)``, True where the labels are known; everywhere unless given.
    n_phases : int
        Phases of the model.
    coding : LabelCoding, optional
        How the model codes labels; one-hot unless given. For smooth codes the phase of an unknown voxel is taken to
        be that of the nearest known one: within the width of the code, channels at the rim of the region are a guess.
    shape : three ints, optional
        Of the volume, ``(Z, Y, X)``; that of `labels` unless given.
    corner : three ints
        First voxel of `labels` in the volume.

    Returns
    -------
    Known
        It holds no more than the box around what is known.

    Raises
    ------
    ValueError
        If shapes or labels do not fit, or if nothing is known.
    """
    piece = np.asarray(labels)
    known = np.ones(piece.shape, bool) if mask is None else np.asarray(mask)
    _check(piece, known, n_phases)
    place, whole = _check_place(piece.shape, corner, piece.shape if shape is None else shape)
    box = tuple(_extent(known.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    inside = known[box].astype(bool)
    cut = _filled(np.where(inside, piece[box], 0).astype(np.uint8), inside)
    z, y, x = (first + own.start for first, own in zip(place, box, strict=True))
    clean = encode(cut, n_phases, coding=coding)
    return Known(
        Placed(clean, (z, y, x), (n_phases, *whole)), Placed(inside, (z, y, x), whole), Placed(cut, (z, y, x), whole)
    )


def _filled(labels: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Give unknown voxels the label of the nearest known one."""
    if inside.all():
        return labels
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return labels[tuple(nearest)]


def _extent(found: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(found)
    return slice(int(places[0]), int(places[-1]) + 1)


def _check(labels: NDArray[Any], mask: NDArray[Any], n_phases: int) -> None:
    if labels.ndim != 3 or labels.size == 0 or labels.dtype.kind not in "biu":
        raise ValueError(
            f"the known labels have shape {labels.shape} and type {labels.dtype}; give whole numbers (z, y, x)"
        )
    if mask.shape != labels.shape or mask.dtype.kind not in "biu" or not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"the mask has shape {mask.shape} and type {mask.dtype}; give True or False for each of the known labels, "
            f"shape {labels.shape}"
        )
    if not mask.any():
        raise ValueError("the mask is False everywhere; mark what is known, or generate without a known region")
    told = labels[mask.astype(bool)]
    if told.min() < 0 or told.max() >= n_phases:
        raise ValueError(
            f"the known labels go from {told.min()} to {told.max()}; this model has {n_phases} phases, "
            f"labels 0 to {n_phases - 1}"
        )


def _check_place(
    piece: Sequence[int], corner: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    place, whole = tuple(corner), tuple(shape)
    if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in (*place, *whole)):
        raise ValueError(f"corner is {corner!r} and shape {shape!r}; give three whole numbers (z, y, x) for each")
    fits = len(place) == len(whole) == 3 and all(
        0 <= first <= n - count for first, count, n in zip(place, piece, whole, strict=True)
    )
    if not fits:
        raise ValueError(
            f"known labels of shape {tuple(piece)} at corner {place} do not fit into a volume of shape {whole}; "
            "give three numbers (z, y, x) for each, and a volume that holds them"
        )
    return tuple(map(int, place)), tuple(map(int, whole))
