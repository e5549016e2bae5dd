"""How far the properties that follow from a segmentation are from the true ones."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import as_labels, as_voxel_size, as_whole_number
from evaluate.morphology import minkowski

__all__ = ["PropertyError", "PropertyErrors", "property_errors"]


@dataclasses.dataclass(frozen=True)
class PropertyError:
    """A property of the prediction beside that of the truth.

    Attributes
    ----------
    predicted, true : float
    """

    predicted: float
    true: float

    @property
    def error(self) -> float:
        """Predicted - true."""
        return self.predicted - self.true

    @property
    def absolute(self) -> float:
        """Positive deviation, the papers' Δ."""
        return abs(self.error)

    @property
    def relative(self) -> float | None:
        """Error / size of the true value; None if that is 0."""
        return self.error / abs(self.true) if self.true else None


@dataclasses.dataclass(frozen=True)
class PropertyErrors:
    """Errors of the properties of a phase; made by `property_errors`.

    Attributes
    ----------
    volume_fraction : PropertyError
        Of the phase; the porosity if the phase is the pore.
    specific_surface : PropertyError
        Per volume of the whole, in 1/unit.
    mean_curvature : PropertyError
        Integral mean curvature per volume of the whole, in 1/unit².
    euler_density : PropertyError
        Euler number per volume of the whole, in 1/unit³.
    tortuosity : PropertyError or None
        None if not asked for, or if the phase does not percolate in one of the two.
    no_tortuosity : str
        Why `tortuosity` is None; empty if it is not.
    phase : int
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    """

    volume_fraction: PropertyError
    specific_surface: PropertyError
    mean_curvature: PropertyError
    euler_density: PropertyError
    tortuosity: PropertyError | None
    no_tortuosity: str
    phase: int
    unit: str


def property_errors(
    prediction: Any,
    truth: Any,
    *,
    phase: int = 0,
    voxel_size_um: Sequence[float] | None = None,
    tortuosity_axis: int | None = None,
) -> PropertyErrors:
    """Compare the properties of a phase in two label volumes.

    Parameters
    ----------
    prediction, truth : array_like, shape (Z, Y, X), equal
        Labels.
    phase : int
        The label of the phase; 0, the pore, by default.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; by default that of `truth`, if it knows it.
    tortuosity_axis : int, optional
        Along which to solve for the tortuosity, 0 for z; by default it is left out, as it takes longest.

    Returns
    -------
    PropertyErrors

    Raises
    ------
    ValueError
        Unequal shapes, what are no labels, an axis that is not there, fewer than two voxels along an axis. A phase
        that is absent has the densities 0 and no tortuosity.

    Notes
    -----
    Δp, Δτ and ΔSSA of the paper [1]_ are ``volume_fraction.absolute``, ``tortuosity.absolute`` and
    ``specific_surface.absolute``. Both sides are measured alike, by `evaluate.minkowski` on the interior
    of the window and by `evaluate.tortuosity`, so that the biases of the estimators largely cancel.

    References
    ----------
    .. [1] The project's `utile_pore`, equations 6a to 6c and table I.
    """
    labels = as_labels(prediction, "prediction", ndim=(3,)), as_labels(truth, "truth", ndim=(3,))
    if labels[0].shape != labels[1].shape:
        raise ValueError(f"prediction has shape {labels[0].shape} and truth {labels[1].shape}; they must be equal")
    label = as_whole_number(phase, "phase", low=0, high=255)
    axis = None if tortuosity_axis is None else as_whole_number(tortuosity_axis, "tortuosity_axis", low=0, high=2)
    size = as_voxel_size(voxel_size_um, truth)
    found, wanted = (array == label for array in labels)
    measured, true = (minkowski(mask, voxel_size_um=size) for mask in (found, wanted))
    tortuosity, reason = (None, "not asked for") if axis is None else _tortuosities(found, wanted, size, axis)
    errors = {
        name: PropertyError(getattr(measured, name), getattr(true, name))
        for name in ("volume_fraction", "specific_surface", "mean_curvature", "euler_density")
    }
    return PropertyErrors(
        **errors, tortuosity=tortuosity, no_tortuosity=reason, phase=label, unit="um" if size else "voxel"
    )


def _tortuosities(
    found: np.ndarray, wanted: np.ndarray, size: tuple[float, float, float] | None, axis: int
) -> tuple[PropertyError | None, str]:
    from evaluate.transport import tortuosity

    values = []
    for name, mask in (("prediction", found), ("truth", wanted)):
        try:
            values.append(float(tortuosity(mask, axis=axis, voxel_size_um=size).tortuosity))
        except ValueError as refusal:
            return None, f"of the {name}: {refusal}"
    return PropertyError(*values), ""
