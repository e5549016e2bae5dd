"""From scores of the phases to labels, freely or with prescribed volume fractions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode", "phase_counts"]

SWEEPS = 20


def decode(scores: NDArray[np.floating], *, fractions: Sequence[float] | None = None) -> NDArray[np.uint8]:
    """Give each voxel the phase of its largest score.

    With `fractions` a constant is added to each phase's scores so that the fractions come out as asked; the few
    voxels that no constant can split (ties) go where they lose least.

    Parameters
    ----------
    scores : ndarray
        ``(n, Z, Y, X)``.
    fractions : sequence of float, optional
        Volume fraction of each phase, adding up to 1. Without it the largest score alone decides.

    Returns
    -------
    ndarray of uint8
        ``(Z, Y, X)``. With `fractions`, each phase has its fraction to within one voxel.

    Raises
    ------
    ValueError
        If there is not one fraction in [0, 1] for each phase, or if they do not add up to 1.
    """
    if fractions is None:
        return scores.argmax(axis=0).astype(np.uint8)
    counts = phase_counts(fractions, n_phases=scores.shape[0], voxels=scores[0].size)
    flat = scores.reshape(scores.shape[0], -1).astype(np.float64)
    wanted = np.flatnonzero(counts)
    labels = wanted[_assign(flat[wanted], counts[wanted])]
    return labels.astype(np.uint8).reshape(scores.shape[1:])


def phase_counts(fractions: Sequence[float], *, n_phases: int, voxels: int) -> NDArray[np.int64]:
    """Turn fractions into whole numbers of voxels that add up to `voxels`, each rounded up or down.

    Raises
    ------
    ValueError
        As in `decode`.
    """
    wanted = np.asarray(fractions, dtype=np.float64)
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


def _assign(scores: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return labels with exactly these (positive) counts."""
    if len(counts) == 1:
        return np.zeros(scores.shape[1], dtype=np.intp)
    raised = scores + _offsets(scores, counts)[:, None]
    labels = raised.argmax(axis=0)
    surplus = np.bincount(labels, minlength=len(counts)) - counts
    for giver in np.flatnonzero(surplus > 0):
        for taker in np.flatnonzero(surplus < 0):
            moved = min(surplus[giver], -surplus[taker])
            if moved <= 0:
                continue
            own = np.flatnonzero(labels == giver)
            loss = raised[giver, own] - raised[taker, own]
            labels[own[np.argsort(loss, kind="stable")[:moved]]] = taker
            surplus[giver] -= moved
            surplus[taker] += moved
    return labels


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
