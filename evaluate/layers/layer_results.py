"""What a report on layers holds."""

import dataclasses

import numpy as np

from evaluate.layers.roughness_parameters import SurfaceRoughness
from evaluate.morphology.pore_sizes import PoreSizes

__all__ = ["Cracks", "Intrusion", "Layer", "LayerReport", "MplInterfaces", "ThicknessMap"]


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """A layer across the axis. Lengths are in `LayerReport.unit`.

    Attributes
    ----------
    start, stop : float
        Where it lies along the axis; 0 is the outer face of the volume's first voxel.
    thickness : float
        `stop` − `start`.
    first_slice, stop_slice : int
        The slices that fractions and pore sizes are of.
    porosity, fibre_fraction, mpl_fraction : float
        Shares of its voxels; 1 − `fibre_fraction` is the porosity of the substrate without MPL, which a pycnometer
        measures.
    pore_sizes : PoreSizes or None
        Distribution of the local thickness of its pores, the layer taken as a cut-out; None if there is no pore, if
        all is pore, or if it was not asked for.
    """

    start: float
    stop: float
    thickness: float
    first_slice: int
    stop_slice: int
    porosity: float
    fibre_fraction: float
    mpl_fraction: float
    pore_sizes: PoreSizes | None


@dataclasses.dataclass(frozen=True, eq=False)
class ThicknessMap:
    """Thickness in each column along the axis, in `LayerReport.unit`.

    Attributes
    ----------
    map : ndarray of float32, shape (A, B)
        0 where there is none.
    mean, standard_deviation, median, smallest, largest : float
        Over the columns that have any.
    coverage : float
        Share of the columns that have any.
    """

    map: np.ndarray
    mean: float
    standard_deviation: float
    median: float
    smallest: float
    largest: float
    coverage: float


@dataclasses.dataclass(frozen=True, eq=False)
class Cracks:
    """Cracks of the MPL, in its plan. Lengths are in `LayerReport.unit`.

    Attributes
    ----------
    table : dict of str to ndarray
        Columns of equal length, a row for each crack, numbered as a scan of the plan meets them:

        - ``id``: 1, 2, …, the value in `ids`; ``pixels`` (int) and ``area`` (unit²);
        - ``length``: of its centre lines with all branches, from tip to tip, see the notes of `layer_report`;
        - ``mean_width``, ``max_width``: of the local thickness in the plan, the border of the plan being a wall;
        - ``orientation_deg``: of its long axis, 0 to 180 from the plan's second axis towards its first (with
          ``axis=0`` from x towards y); ``elongation``: ratio of its principal axes;
        - ``centroid_…``: along each of the plan's axes; 0 is the outer face of the first voxel;
        - ``open_area`` (unit²): columns that hold no MPL at all; ``open`` (bool): there are such, so that a straight
          way leads through the whole MPL;
        - ``touches_border`` (bool): of the plan, which may have cut it.
    ids : ndarray of int32, shape (A, B)
        The number of the crack in each column, 0 where there is none.
    n_cracks : int
        How many there are.
    area : float
        Of all cracks, in unit².
    area_fraction : float
        `area` / area of the plan.
    open_fraction : float
        Open area / area of the plan.
    density : float
        Cracks per area of the plan, in 1/unit².
    dropped_pixels : int
        Columns of cracks that were too small to be kept; they count nowhere else.
    """

    table: dict[str, np.ndarray]
    ids: np.ndarray
    n_cracks: int
    area: float
    area_fraction: float
    open_fraction: float
    density: float
    dropped_pixels: int


@dataclasses.dataclass(frozen=True, eq=False)
class Intrusion:
    """How the MPL reaches into the substrate. Lengths are in `LayerReport.unit`.

    Attributes
    ----------
    height : ndarray of float32, shape (A, B)
        Where the MPL ends in each column, as a coordinate along the axis; 0 where not `valid`.
    valid : ndarray of bool, shape (A, B)
        Columns with MPL that are not cracked.
    reference : ndarray of float32, shape (A, B)
        Coordinate of the interface in general, from which depths are taken.
    depth : ndarray of float32, shape (A, B)
        How far the MPL reaches beyond `reference`; 0 where it does not.
    mean, largest : float
        Of `depth`, the mean over the whole plan.
    area_fraction : float
        Share of the plan where `depth` is at least a voxel.
    volume : float
        MPL beyond `reference`, in unit³.
    share_of_mpl, share_of_substrate : float
        `volume` by that of all MPL, and by that of the substrate, 0 if there is none.
    roughness : SurfaceRoughness
        Of the MPL's face towards the substrate, `height` where `valid`.
    """

    height: np.ndarray
    valid: np.ndarray
    reference: np.ndarray
    depth: np.ndarray
    mean: float
    largest: float
    area_fraction: float
    volume: float
    share_of_mpl: float
    share_of_substrate: float
    roughness: SurfaceRoughness

    @property
    def c_ra(self) -> float | None:
        """Coefficient of variation of the local roughness, that of `roughness`."""
        return self.roughness.c_ra


@dataclasses.dataclass(frozen=True)
class MplInterfaces:
    """Areas by Crofton's formula (`interface_areas`), in unit².

    Attributes
    ----------
    mpl_fibre, mpl_pore, fibre_pore : float
        Where two phases touch, anywhere; the border of the volume is no interface.
    mpl_substrate : float
        The MPL's face towards the substrate: `mpl_fibre`, and its area with pores beyond it.
    mpl_open : float
        The rest of `mpl_pore`: walls of cracks, and the free side if there are pores before it.
    """

    mpl_fibre: float
    mpl_pore: float
    fibre_pore: float
    mpl_substrate: float
    mpl_open: float


@dataclasses.dataclass(frozen=True, eq=False)
class LayerReport:
    """Layers of a gas diffusion medium; made by `layer_report`. Lengths are in `unit`.

    Attributes
    ----------
    mpl, gdl : Layer or None
        The microporous layer, and the fibre substrate beyond it.
    profile : dict of str to ndarray
        Shares ``pore``, ``fibre`` and ``mpl`` of each slice along the axis, and ``position`` of its middle.
    mpl_thickness : ThicknessMap or None
        MPL in each column; fibres in it do not count.
    total_thickness : ThicknessMap or None
        From the first solid voxel of each column to the last.
    cracks : Cracks or None
        Of the MPL.
    intrusion : Intrusion or None
        Of the MPL into the substrate.
    free_surface : SurfaceRoughness or None
        Of the MPL's other side, cracks left out.
    interfaces : MplInterfaces or None
        Areas between the phases.
    stray_volume : float
        MPL in pieces of its own beyond the layer, in unit³: it counts in profiles and fractions, and nowhere else.
    undefined : dict of str to str
        Why an attribute is None, by its name.
    axis : int
        The axis across the layers.
    side : str or None
        The end of the axis at which the MPL's free side lies, ``"low"`` or ``"high"``; None without MPL.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    """

    mpl: Layer | None
    gdl: Layer | None
    profile: dict[str, np.ndarray]
    mpl_thickness: ThicknessMap | None
    total_thickness: ThicknessMap | None
    cracks: Cracks | None
    intrusion: Intrusion | None
    free_surface: SurfaceRoughness | None
    interfaces: MplInterfaces | None
    stray_volume: float
    undefined: dict[str, str]
    axis: int
    side: str | None
    unit: str
