"""From scores of the phases to labels, freely or with prescribed volume fractions, whole or slab by slab."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["decode", "decode_slabs", "fraction_offsets", "phase_counts"]

SWEEPS = 20
# Enough to find offsets to a thousandth of the voxels; what is then still wrong is put right voxel by voxel.
SAMPLE = 2**20
# Scores held at once, so that a slab and what is computed from it take some tens of megabytes.
SLAB_VALUES = 2**21
# Radix of the search for order statistics: half a float32.
DIGIT = 16

ReadScores = Callable[[int, int], NDArray[np.floating]]
Scored = Callable[[], Iterator[NDArray[np.float32]]]


def decode(
    scores: NDArray[np.floating], *, fractions: Sequence[float] | None = None, offsets: ArrayLike | None = None
) -> NDArray[np.uint8]:
    """Give each voxel the phase of its largest score.

    With `fractions` a constant is added to each phase's scores so that the fractions come out as asked; the few
    voxels that no constant can split go where they lose least, and of voxels that lose the same the first.

    Parameters
    ----------
    scores : ndarray
        ``(n, Z, Y, X)``, finite; taken as float32. Scores that were clipped hold many equal ones, which fractions
        far from the scores' own then split in the order of the voxels: clip neither, or ask for less.
    fractions : sequence of float, optional
        Volume fraction of each phase, adding up to 1. Without it the largest score alone decides.
    offsets : array_like, optional
        ``(n,)``: constants that are added to the phases' scores first, such as a model's calibration.

    Returns
    -------
    ndarray of uint8
        ``(Z, Y, X)``. With `fractions`, each phase has its fraction to within one voxel.

    Raises
    ------
    ValueError
        If there is not one fraction in [0, 1] or finite offset for each phase, if fractions do not add up to 1, or
        if a score is not finite.
    """
    labels = np.empty(scores.shape[1:], dtype=np.uint8)
    done = 0
    for slab in decode_slabs(lambda a, b: scores[:, a:b], scores.shape, fractions=fractions, offsets=offsets):
        labels[done : done + len(slab)] = slab
        done += len(slab)
    return labels


def decode_slabs(
    read_scores: ReadScores,
    shape: Sequence[int],
    *,
    fractions: Sequence[float] | None = None,
    offsets: ArrayLike | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Decode scores that are too large for memory: the labels of `decode`, to the voxel, a slab at a time.

    Parameters
    ----------
    read_scores : callable
        ``read_scores(first, last)`` returns ``(n, planes, Y, X)``; with `fractions` it is asked for every plane up to
        ``3 n`` times.
    shape : four ints
        ``(n, Z, Y, X)``.
    fractions, offsets
        As in `decode`.

    Returns
    -------
    iterator of ndarray of uint8
        Slabs ``(planes, Y, X)`` from the first plane to the last. They hold as many planes as fit a bound on memory,
        at least one. What the scores are wrong in is told with the first slab.

    Raises
    ------
    ValueError
        As `decode`.
    """
    n, *volume = (int(length) for length in shape)
    if len(volume) != 3 or min(n, *volume) < 1:
        raise ValueError(f"scores have the shape {tuple(shape)}; give (n, Z, Y, X) with no length of 0")
    if n > 256:
        raise ValueError(f"scores are of {n} phases; labels hold at most 256")
    constants = _checked_offsets(offsets, n)
    scored = partial(_raised, read_scores, (n, *volume), constants)
    if fractions is None:
        return (slab.argmax(axis=0).astype(np.uint8) for slab in scored())
    counts = phase_counts(fractions, n_phases=n, voxels=int(np.prod(volume)))
    return _decode_to_counts(scored, counts)


def fraction_offsets(scores: NDArray[np.floating], fractions: Sequence[float]) -> NDArray[np.float64]:
    """Return the constants that, added to each phase's scores, give the phases these fractions by argmax.

    Found on every k-th voxel where there are many, to about a thousandth in the fractions.

    Parameters
    ----------
    scores : ndarray
        ``(n, Z, Y, X)``, finite.
    fractions : sequence of float
        Above 0, adding up to 1.

    Returns
    -------
    ndarray of float64
        ``(n,)``, of mean 0.

    Raises
    ------
    ValueError
        As in `decode`, or if a fraction is 0: no finite constant removes a phase for sure.
    """
    n = scores.shape[0]
    phase_counts(fractions, n_phases=n, voxels=1)
    if min(fractions) <= 0:
        raise ValueError(f"fractions are {list(fractions)}; an offset is known only of phases that are there")
    scored = partial(_raised, lambda a, b: scores[:, a:b], scores.shape, np.zeros(n, dtype=np.float32))
    flat, voxels = _sample(scored, scores[0].size)
    # As in `decode`: none of the phases may be left without a voxel, or with all of them.
    counts = np.clip(phase_counts(fractions, n_phases=n, voxels=voxels), 1, max(1, voxels - 1))
    found = _offsets(flat, counts)
    return found - found.mean()


def phase_counts(fractions: Sequence[float], *, n_phases: int, voxels: int) -> NDArray[np.int64]:
    """Turn fractions into whole numbers of voxels that add up to `voxels`, each rounded up or down.

    Raises
    ------
    ValueError
        As in `decode`.
    """
    try:
        wanted = np.asarray(fractions, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"fractions are {fractions!r}; give one number for each of the {n_phases} phases") from None
    if wanted.shape != (n_phases,):
        raise ValueError(f"fractions are {wanted.tolist()}; this model has {n_phases} phases and needs one for each")
    if not np.all((wanted >= 0) & (wanted <= 1)):
        raise ValueError(f"fractions are {wanted.tolist()}; each must be between 0 and 1")
    if abs(wanted.sum() - 1) > 1e-6:
        raise ValueError(f"fractions are {wanted.tolist()}; they add up to {wanted.sum():.6g} and must add up to 1")
    exact = wanted / wanted.sum() * voxels
    counts = np.floor(exact).astype(np.int64)
    # The largest remainders get the voxels that rounding down left over.
    counts[np.argsort(counts - exact, kind="stable")[: voxels - counts.sum()]] += 1
    return counts


def _checked_offsets(offsets: ArrayLike | None, n: int) -> NDArray[np.float32]:
    constants = np.zeros(n) if offsets is None else np.asarray(offsets, dtype=np.float64)
    if constants.shape != (n,) or not np.isfinite(constants).all():
        raise ValueError(f"offsets are {constants.tolist()}; give one finite number for each of the {n} phases")
    return constants.astype(np.float32)


def _raised(
    read_scores: ReadScores, shape: Sequence[int], constants: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Yield slabs ``(n, planes, Y, X)`` of scores with the constants added."""
    n, depth, *plane = shape
    planes = max(1, SLAB_VALUES // (n * plane[0] * plane[1]))
    for first in range(0, depth, planes):
        slab = np.array(read_scores(first, min(depth, first + planes)), dtype=np.float32)
        if not np.isfinite(slab).all():
            raise ValueError(f"scores of the planes from {first} on are not finite; the model that made them is broken")
        slab += constants[:, None, None, None]
        yield slab


@dataclass(frozen=True)
class _Move:
    """Voxels of one phase that go to another: those that lose less than `loss`, and the first `ties` that lose it."""

    giver: int
    taker: int
    loss: float
    ties: int


def _decode_to_counts(scored: Scored, counts: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    wanted = np.flatnonzero(counts)
    present = counts[wanted]
    shift = np.zeros(len(wanted), dtype=np.float32)
    if len(wanted) > 1:
        sample, voxels = _sample(scored, int(counts.sum()))
        share = present if voxels == counts.sum() else np.round(present * (voxels / counts.sum())).astype(np.int64)
        # A phase rarer than the sample is fine is found by the moves.
        shift = _offsets(sample[wanted], np.clip(share, 1, voxels - 1)).astype(np.float32)
    moves: list[_Move] = []

    def labelled() -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp]]]:
        ties = [move.ties for move in moves]
        for slab in scored():
            raised = slab[wanted]
            raised += shift[:, None, None, None]
            yield raised, _moved(raised, moves, ties)

    surplus = -present
    for _, labels in labelled():
        surplus = surplus + np.bincount(labels.ravel(), minlength=len(wanted))
    for giver in np.flatnonzero(surplus > 0):
        for taker in np.flatnonzero(surplus < 0):
            count = int(min(surplus[giver], -surplus[taker]))
            if count > 0:
                moves.append(_Move(int(giver), int(taker), *_smallest(labelled, int(giver), int(taker), count)))
                surplus[giver] -= count
                surplus[taker] += count
    for _, labels in labelled():
        yield wanted[labels].astype(np.uint8)


def _moved(raised: NDArray[np.float32], moves: Sequence[_Move], ties: list[int]) -> NDArray[np.intp]:
    """Return the labels of a slab after the moves; takes from `ties`, those still to go, what it uses."""
    labels = raised.argmax(axis=0)
    for number, move in enumerate(moves):
        own = np.flatnonzero(labels == move.giver)
        loss = _losses(raised, own, move.giver, move.taker)
        level = np.flatnonzero(loss == move.loss)[: ties[number]]
        ties[number] -= len(level)
        labels.flat[own[loss < move.loss]] = move.taker
        labels.flat[own[level]] = move.taker
    return labels


def _losses(raised: NDArray[np.float32], voxels: NDArray[np.intp], giver: int, taker: int) -> NDArray[np.float32]:
    """Return what each voxel loses, 0 or more since the giver's score is its largest."""
    loss: NDArray[np.float32] = raised[giver].ravel()[voxels] - raised[taker].ravel()[voxels]
    return loss


def _smallest(labelled: Callable[[], Iterator[Any]], giver: int, taker: int, count: int) -> tuple[float, int]:
    """Find the `count`-th smallest loss among the giver's voxels, and how many of that very loss are within `count`.

    A radix search: the bits of floats that are not negative order as they do, so a histogram of their upper halves
    tells in which of 2¹⁶ bins the value lies, and one of the lower halves in that bin which it is.
    """
    prefix, before = 0, 0
    for shift in (DIGIT, 0):
        histogram = np.zeros(1 << DIGIT, dtype=np.int64)
        for raised, labels in labelled():
            losses = _losses(raised, np.flatnonzero(labels == giver), giver, taker)
            # Adding 0 turns -0 into 0.
            bits = (losses + np.float32(0)).view(np.uint32)
            if shift == 0:
                bits = bits[bits >> DIGIT == prefix] & ((1 << DIGIT) - 1)
            histogram += np.bincount(bits >> shift, minlength=1 << DIGIT)
        reached = before + np.cumsum(histogram)
        digit = int(np.searchsorted(reached, count))
        before = int(reached[digit] - histogram[digit])
        prefix = (prefix << DIGIT) | digit
    return float(np.array(prefix, dtype=np.uint32).view(np.float32)), count - before


def _sample(scored: Scored, voxels: int) -> tuple[NDArray[np.float64], int]:
    """Return the scores of every k-th voxel, ``(n, about 2²⁰)`` at the most, and their number."""
    # Odd, so that it does not keep step with lengths that are powers of 2.
    every = 1 if voxels <= SAMPLE else -(-voxels // SAMPLE) | 1
    parts, seen = [], 0
    for slab in scored():
        flat = slab.reshape(len(slab), -1)
        parts.append(flat[:, -seen % every :: every].astype(np.float64))
        seen += flat.shape[1]
    taken = np.concatenate(parts, axis=1)
    return taken, taken.shape[1]


def _offsets(scores: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Raise one phase after the other until each just wins its share: coordinate ascent on the prices of an auction."""
    offsets = np.zeros(len(counts))
    for _ in range(SWEEPS):
        for phase, count in enumerate(counts):
            rivals = np.delete(scores + offsets[:, None], phase, axis=0).max(axis=0)
            # The raise that each voxel needs to turn to this phase; the count-th smallest and the next bracket it.
            needed = np.partition(rivals - scores[phase], [count - 1, count])
            offsets[phase] = (needed[count - 1] + needed[count]) / 2
        reached = np.bincount((scores + offsets[:, None]).argmax(axis=0), minlength=len(counts))
        if np.array_equal(reached, counts):
            break
    return offsets
