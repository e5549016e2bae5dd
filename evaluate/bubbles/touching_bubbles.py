"""Bubbles as bodies with a number each; those that touch are parted at their necks."""

import numpy as np

from evaluate.bubbles.cell_phases import CellPhases
from evaluate.morphology.connected_parts import number_parts

__all__ = ["number_bubbles"]

# A pass may be lower than the peaks beside it by so many voxels because the surface is digital.
NOISE = 0.5
# No body of fewer voxels has a neck that a voxel could show.
SMALLEST_SPLIT = 32


def number_bubbles(
    labels: np.ndarray, phases: CellPhases, *, spacing: tuple[float, float, float], neck: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Give each bubble a number.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
    phases : CellPhases
    spacing : (float, float, float)
        Edges of a voxel.
    neck : float or None
        Touching bodies are parted where the neck is thinner than this share of the thinner one; None parts none.

    Returns
    -------
    ids : ndarray of uint32, shape (Z, Y, X)
        0 is not gas; 1, 2, … are the bubbles.
    bodies : ndarray of int64, shape (count + 1,)
        For each bubble the number of the connected body that it was part of.
    """
    import cc3d

    ids, count = number_parts(labels == phases.bubble)
    bodies = list(range(count + 1))
    if neck is None or count == 0:
        return ids, np.array(bodies)
    described = cc3d.statistics(ids, no_slice_conversion=True)
    boxes, sizes = described["bounding_boxes"], described["voxel_counts"]
    for body in np.flatnonzero(sizes[1:] >= SMALLEST_SPLIT) + 1:
        z0, z1, y0, y1, x0, x1 = (int(edge) for edge in boxes[body])
        crop = tuple(
            slice(max(low - 1, 0), min(high + 2, n))
            for low, high, n in zip((z0, y0, x0), (z1, y1, x1), ids.shape, strict=True)
        )
        basins, found = _part(ids[crop] == body, labels[crop], phases, spacing=spacing, neck=neck)
        for basin in range(2, found + 1):
            bodies.append(int(body))
            ids[crop][basins == basin] = len(bodies) - 1
    return ids, np.array(bodies)


def _part(
    inside: np.ndarray, labels: np.ndarray, phases: CellPhases, *, spacing: tuple[float, float, float], neck: float
) -> tuple[np.ndarray, int]:
    """Return the parts of a body, 1, 2, …, and how many there are."""
    import edt

    from evaluate.bubbles.voxel_passes import flood_basins

    filled = inside
    if phases.fibre is not None:
        # A fibre through a bubble is no neck: the gas grows around it.
        inner = np.zeros_like(inside)
        inner[1:-1, 1:-1, 1:-1] = labels[1:-1, 1:-1, 1:-1] == phases.fibre
        filled = inside | inner
    depth = edt.edt(np.ascontiguousarray(filled), anisotropy=spacing, black_border=False)
    positions = np.flatnonzero(inside)
    order = positions[np.argsort(-depth.ravel()[positions], kind="stable")]
    return flood_basins(depth, inside, order, neck, NOISE * min(spacing))
