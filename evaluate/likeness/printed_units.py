"""The units in which published tables of Minkowski functionals are printed."""

import math

from evaluate.accepted_input import as_whole_number

__all__ = ["paper_factor"]

# QuantImPy's functionals are V, S/8, H/(2π²) and 3χ/(4π).
UNITS = {
    "volume_fraction": 1.0,
    "specific_surface": 1 / 8,
    "mean_curvature": 1 / (2 * math.pi**2),
    "euler_density": 3 / (4 * math.pi),
}


def paper_factor(quantity: str, edge: int) -> float:
    """Return what a density is multiplied by to have it as Tables 1 and 2 of the paper [1]_ print it.

    Parameters
    ----------
    quantity : {"volume_fraction", "specific_surface", "mean_curvature", "euler_density"}
        Per voxel, per voxel² and per voxel³, in the conventions of `minkowski`.
    edge : int
        Voxels along an edge of the cubes, 2 or more; 64 in the paper.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For another quantity, or an edge that is not a whole number of 2 or more.

    Notes
    -----
    QuantImPy 0.2.6 visits the (n - 1)³ neighbourhoods of a cube of n³ voxels, and the paper divides its sums by n³:
    its printed fractions add up to (63/64)³ = 0.954. The functionals themselves are in QuantImPy's units, V, S/8,
    H/(2π²), 3χ/(4π). Relative errors are the same in either normalisation.

    References
    ----------
    .. [1] A. Bentamou, S. Chrétien, Y. Gavet, "3D Denoising Diffusion Probabilistic Models for 3D microstructure image
       generation of fuel cell electrodes", Computational Materials Science 248 (2025) 113596.
    """
    if quantity not in UNITS:
        raise ValueError(f"quantity is {quantity!r}; it must be one of {', '.join(map(repr, UNITS))}")
    edge = as_whole_number(edge, "edge", low=2)
    return UNITS[quantity] * ((edge - 1) / edge) ** 3
