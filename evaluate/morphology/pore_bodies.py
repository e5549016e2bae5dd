"""Pores one by one: a phase split at its necks."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import as_mask, as_voxel_size
from evaluate.blocks import is_lazy
from evaluate.morphology.thickness import check_walls, fitting_balls, relative_edges

__all__ = ["split_pores"]


def split_pores(mask: Any, *, neck: float = 0.9, voxel_size_um: Sequence[float] | None = None) -> np.ndarray:
    """Split a phase into bodies at its necks.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase.
    neck : float
        Above 0 and up to 1: two bodies that meet stay apart if the neck between them is narrower than this share of the
        smaller one's largest ball. 1 splits at each constriction, smaller values at tight ones only.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x); only their proportions matter here. By default those of `mask`, if it is a
        `volume.Volume` that knows them; otherwise voxels are cubes.

    Returns
    -------
    ndarray of uint32, shape (Z, Y, X)
        Bodies from 1 on, in descending order of their largest ball; 0 outside the phase.

    Raises
    ------
    ValueError
        As in `local_thickness`; `neck` out of range; a lazy array.

    Notes
    -----
    A watershed of the distance to the wall whose markers are chosen by persistence: the phase is flooded from its
    widest places down; where two floods meet, the one with the lower peak goes up in the other unless the neck is
    narrower than `neck` times its peak and by more than one voxel (a difference below that is the lattice's). Voxels
    meet with their 26 neighbours. The border is not a wall, so a body cut by it may have its middle there.
    """
    from evaluate.morphology.basins import split_at_necks

    if is_lazy(mask):
        raise ValueError("mask is a lazy array; splitting pores needs the whole volume: give numpy.asarray(mask)")
    inside = np.ascontiguousarray(as_mask(mask))
    edges, _ = relative_edges(as_voxel_size(voxel_size_um, mask))
    if not (isinstance(neck, numbers.Real) and math.isfinite(neck) and 0 < neck <= 1):
        raise ValueError(f"neck is {neck!r}; it must be above 0 and at most 1")
    if not inside.any():
        return np.zeros(inside.shape, np.uint32)
    check_walls(inside)
    radius2 = fitting_balls(inside, edges).radius2
    phase = np.flatnonzero(inside)
    order = phase[np.argsort(-radius2.ravel()[phase], kind="stable")]
    labels = split_at_necks(radius2, order, float(neck), 1.0)
    kept = np.unique(labels)
    renumber = np.zeros(int(kept[-1]) + 1, np.uint32)
    renumber[kept] = np.arange(len(kept)) + (kept[0] > 0)
    return renumber[labels]
