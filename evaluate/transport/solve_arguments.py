"""What the transport solvers accept, the flux axis put first, and the part of a phase that carries flux."""

import math
from typing import Any, NamedTuple

import numpy as np

from evaluate.accepted_input import as_voxel_size, as_whole_number

__all__ = ["NoPathError", "Setting", "accepted_setting", "conducting_part"]

LARGEST_RATIO = 100
SIDES = ("no-flux", "periodic")
# Multigrid needs 5 to 40; more are of no use.
MOST_ITERATIONS = 500
AXES = "zyx"


class NoPathError(ValueError):
    """The phase does not connect the two faces, so that nothing flows."""


class Setting(NamedTuple):
    """How a volume is solved.

    Attributes
    ----------
    axis : int
        The direction of the flux.
    spacing : tuple of float
        Edges of a voxel, that along the flux first, the others in their order.
    periodic : bool
        Whether opposite sides touch.
    tolerance : float
        Accepted relative difference of the flux.
    max_iterations : int
        When to give up.
    boundary : str
        The boundary conditions in words.
    """

    axis: int
    spacing: tuple[float, float, float]
    periodic: bool
    tolerance: float
    max_iterations: int
    boundary: str

    def along_flux(self, volume: np.ndarray) -> np.ndarray:
        """Return a contiguous copy with the flux along the first axis."""
        return np.ascontiguousarray(np.moveaxis(volume, self.axis, 0))


def accepted_setting(
    volume: Any,
    *,
    axis: Any,
    voxel_size_um: Any,
    sides: Any,
    tolerance: Any,
    max_iterations: Any,
) -> Setting:
    """Check the arguments that the solvers share.

    Raises
    ------
    ValueError
        One of them out of range.
    """
    axis = as_whole_number(axis, "axis", low=0, high=2)
    edges = as_voxel_size(voxel_size_um, volume) or (1.0, 1.0, 1.0)
    if max(edges) > LARGEST_RATIO * min(edges):
        raise ValueError(
            f"voxel_size_um is {edges}; edges more than {LARGEST_RATIO} : 1 apart say little about transport: "
            "resample the volume, or check the units"
        )
    if sides not in SIDES:
        raise ValueError(f"sides is {sides!r}; it must be one of {', '.join(map(repr, SIDES))}")
    try:
        accepted = math.isfinite(tolerance) and 0 < tolerance < 1
    except TypeError:
        accepted = False
    if not accepted:
        raise ValueError(f"tolerance is {tolerance!r}; it must be a number above 0 and below 1")
    first, *others = edges[axis], *(edge for i, edge in enumerate(edges) if i != axis)
    return Setting(
        axis=axis,
        spacing=(first, others[0], others[1]),
        periodic=sides == "periodic",
        tolerance=float(tolerance),
        max_iterations=as_whole_number(
            MOST_ITERATIONS if max_iterations is None else max_iterations, "max_iterations", low=1
        ),
        boundary=f"fixed at both faces, {sides} sides",
    )


def conducting_part(conducts: np.ndarray, setting: Setting, name: str) -> np.ndarray:
    """Return the voxels that are connected to both faces, given those that conduct; flux along the first axis.

    Raises
    ------
    NoPathError
        There are none.
    """
    from evaluate.transport.conduction import connected_through

    if not conducts.any():
        raise NoPathError(f"{name} has no voxel that conducts; there is nothing to measure: is it the right phase?")
    through, low, high = connected_through(conducts, periodic=setting.periodic)
    if not through.any():
        raise NoPathError(
            f"{name} does not connect the two faces across axis {setting.axis} ({AXES[setting.axis]}): "
            f"{low:.1%} of the phase is connected to the face at index 0 and {high:.1%} to the other, nothing to both; "
            "try another axis or phase, or a larger volume"
        )
    return through
