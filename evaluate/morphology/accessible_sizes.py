"""Mercury's view of a phase: how large a ball gets to each voxel from the faces of the window."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import as_mask, as_voxel_size
from evaluate.blocks import is_lazy
from evaluate.morphology.thickness import Edges, check_walls, fitting_balls, highest_covering, relative_edges

__all__ = ["FACES", "intrusion_diameter"]

FACES = ("-z", "+z", "-y", "+y", "-x", "+x")


def intrusion_diameter(
    mask: Any, *, faces: str | Sequence[str] = FACES, voxel_size_um: Sequence[float] | None = None
) -> np.ndarray:
    r"""Measure, for each voxel of a phase, the diameter of the largest ball that gets there from given faces.

    A non-wetting fluid such as mercury fills the voxel when its pressure suffices for that diameter (Washburn's
    equation turns one into the other); what is wide behind a narrow neck counts as narrow.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the phase.
    faces : str or sequence of str
        Where the fluid comes from: ``"-z"`` is the face at z = 0, ``"+z"`` the one opposite, and so on. By default all
        six, as for a sample in a bath.
    voxel_size_um : sequence of three floats, optional
        As in `local_thickness`.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Diameters in µm, or in voxels if no voxel size is known; 0 outside the phase and where no ball gets.

    Raises
    ------
    ValueError
        As in `local_thickness`; an unknown face, or none; a lazy array.

    Notes
    -----
    Balls, their diameters d(p) and radii D(p), and the border are those of `local_thickness`. At a diameter d the fluid
    has reached the centres that are joined to a face, by steps to the 6 neighbours, through centres with d(p) ≥ d; it
    fills their balls. All diameters are done at once: the access a(p) is the widest bottleneck of all ways from a face
    to p, and the result is

    .. math:: i(x) = \max \{ a(p) : |x - p| < D(p) \} \le t(x),

    t being the local thickness. Nothing is trapped: what the fluid displaces leaves as if into a vacuum.
    """
    if is_lazy(mask):
        raise ValueError("mask is a lazy array; access from a face needs the whole volume: give numpy.asarray(mask)")
    inside = np.ascontiguousarray(as_mask(mask))
    edges, unit = relative_edges(as_voxel_size(voxel_size_um, mask))
    found = _intruded(inside, edges, _inlet(inside.shape, faces))
    found *= np.float32(unit)
    return found


def _intruded(inside: np.ndarray, edges: Edges, inlet: np.ndarray) -> np.ndarray:
    """Return the diameters at which a fluid from the voxels of `inlet` fills each voxel."""
    from evaluate.morphology.inscribed_balls import widest_access

    if not inside.any():
        return np.zeros(inside.shape, np.float32)
    check_walls(inside)
    radius2, diameter = fitting_balls(inside, edges)
    levels = np.unique(diameter)  # from 0, outside
    rank = np.searchsorted(levels, diameter).astype(np.int32)
    del diameter
    access = levels[widest_access(rank, inlet, len(levels))]
    del rank
    return highest_covering(inside, radius2, access, edges)


def _inlet(shape: tuple[int, ...], faces: str | Sequence[str]) -> np.ndarray:
    names = (faces,) if isinstance(faces, str) or not isinstance(faces, Iterable) else tuple(faces)
    if not names or any(name not in FACES for name in names):
        raise ValueError(f"faces is {faces!r}; give one or more of {', '.join(FACES)}")
    inlet = np.zeros(shape, bool)
    for name in names:
        axis = "zyx".index(name[1])
        inlet[(slice(None),) * axis + (0 if name[0] == "-" else -1,)] = True
    return inlet
