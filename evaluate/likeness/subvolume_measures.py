"""What is measured on cubes of one size, cut from a labelled volume without overlap."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import as_labels, as_voxel_size, as_whole_number
from evaluate.morphology import (
    interface_areas,
    lineal_path,
    minkowski_of_phases,
    pore_size_distribution,
    triple_phase_boundary,
    two_point,
)
from evaluate.transport import NoPathError, tortuosity

__all__ = ["FUNCTIONALS", "TOPICS", "Key", "SubvolumeMeasures", "measure_subvolumes", "place_cubes"]

FUNCTIONALS = ("volume_fraction", "specific_surface", "mean_curvature", "euler_density")
TOPICS = ("sizes", "transport", "interfaces")
SMALLEST_EDGE = 8
LARGEST_N_PHASES = 16
# Diameters of the common grid are so many to an edge of a voxel; no ball is wider than twice the cube's diagonal.
DIAMETERS_PER_VOXEL = 4
# Of so many phases every three meet in ten kinds of lines; of more there would be hundreds.
MOST_PHASES_FOR_LINES = 5

Key = tuple[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, eq=False)
class SubvolumeMeasures:
    """Numbers and curves of the cubes of one volume; made by `measure_subvolumes`.

    A key is the name of a quantity and the labels of the phases it is about: ``("euler_density", (1,))``,
    ``("interface_area", (0, 2))``.

    Attributes
    ----------
    values : dict of ndarray of float64, shape (n,)
        For each key one number a cube; NaN where the cube does not define it: the tortuosity factor along an axis
        without a path, the mean diameter of a phase that is absent or fills the cube.
    curves : dict of ndarray of float64, shape (n, m)
        ``"two_point"``, ``"lineal_path"`` and ``"sizes"`` (share of the phase's volume with diameters up to each) of
        each phase, a row for each cube; rows of NaN where sizes are not defined.
    at : dict of ndarray of float64, shape (m,)
        Distances, lengths and diameters of the curves by their name, in `unit`.
    origins : ndarray of int64, shape (n, 3)
        First voxel of each cube.
    grid : tuple of int
        Cubes along z, y, x.
    edge : int
        Voxels along an edge of a cube.
    cube_size : tuple of float
        Edges (z, y, x) of a cube in `unit`.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    """

    values: dict[Key, np.ndarray]
    curves: dict[Key, np.ndarray]
    at: dict[str, np.ndarray]
    origins: np.ndarray
    grid: tuple[int, int, int]
    edge: int
    cube_size: tuple[float, float, float]
    unit: str


def place_cubes(shape: Sequence[int], edge: int, *, most: int | None = None) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Place cubes that do not overlap evenly in a volume.

    Parameters
    ----------
    shape : (int, int, int)
        Of the volume.
    edge : int
        Voxels along an edge of a cube.
    most : int, optional
        As many cubes at most; what is left out is spread over the volume.

    Returns
    -------
    origins : ndarray of int64, shape (n, 3)
        First voxel of each cube. The outermost cubes touch the faces of the volume; what is over lies between.
    grid : (int, int, int)
        Cubes along each axis.

    Raises
    ------
    ValueError
        A side is shorter than a cube.
    """
    if min(shape) < edge:
        raise ValueError(
            f"a volume of {' × '.join(map(str, shape))} voxels holds no cube of {edge}; "
            "give a larger volume or a smaller subvolume"
        )
    counts = [n // edge for n in shape]
    while most is not None and math.prod(counts) > most and max(counts) > 1:
        counts[int(np.argmax(counts))] -= 1
    starts = [
        np.round(np.linspace(0, n - edge, count)).astype(int) if count > 1 else np.array([(n - edge) // 2])
        for n, count in zip(shape, counts, strict=True)
    ]
    z, y, x = counts
    return np.array(list(itertools.product(*starts)), np.int64), (z, y, x)


def measure_subvolumes(
    labels: Any,
    *,
    edge: int = 64,
    n_phases: int | None = None,
    voxel_size_um: Sequence[float] | None = None,
    most: int | None = 64,
    topics: Sequence[str] = TOPICS,
) -> SubvolumeMeasures:
    """Measure every phase on cubes that do not overlap, all of one size and by one method.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X)
        Labels from 0.
    edge : int
        Voxels along an edge of a cube, 8 or more; 64 in the paper [1]_.
    n_phases : int, optional
        How many phases there are, 2 to 16; by default as many as the largest label says.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm; by default those of `labels` if it knows them, otherwise all is in
        voxels.
    most : int, optional
        As many cubes at most; None for as many as fit.
    topics : sequence of {"sizes", "transport", "interfaces"}
        What to measure beside the Minkowski functionals, S2 and the lineal path: local thickness; tortuosity factors,
        which take most of the time; the areas between two phases and the lines between three.

    Returns
    -------
    SubvolumeMeasures
        Of each phase ``volume_fraction``, ``specific_surface``, ``mean_curvature``, ``euler_density`` (`minkowski`,
        interior of the window); ``mean_diameter``; ``tortuosity_z``, ``_y``, ``_x``, ``effective_diffusivity`` (mean
        over the axes, 0 for one without a path) and ``percolates`` (share of the axes with a path). With three phases
        or more ``interface_area`` of every two, per volume, and, up to five phases, ``triple_phase_boundary`` of every
        three, length per volume.

    Raises
    ------
    ValueError
        For labels that are none, a volume smaller than a cube, an argument out of range.

    Notes
    -----
    The window biases whatever is not a density: ways through a small cube are easier to find, balls are cut by its
    faces. So numbers of cubes are for comparison with numbers of cubes of the same size.

    References
    ----------
    .. [1] A. Bentamou, S. Chrétien, Y. Gavet, "3D Denoising Diffusion Probabilistic Models for 3D microstructure image
       generation of fuel cell electrodes", Computational Materials Science 248 (2025) 113596.
    """
    array = as_labels(labels, "labels", ndim=(3,))
    voxel = as_voxel_size(voxel_size_um, labels)
    edge = as_whole_number(edge, "edge", low=SMALLEST_EDGE)
    most = None if most is None else as_whole_number(most, "most", low=1)
    n = as_whole_number(
        max(int(array.max()) + 1, 2) if n_phases is None else n_phases, "n_phases", low=2, high=LARGEST_N_PHASES
    )
    if unknown := [topic for topic in topics if topic not in TOPICS]:
        raise ValueError(f"{unknown[0]!r} is no topic; choose from {', '.join(TOPICS)}")
    origins, grid = place_cubes(array.shape, edge, most=most)
    cubes = [_Cube(array[tuple(slice(o, o + edge) for o in origin)], n, voxel, topics) for origin in origins]
    found = [cube.measure() for cube in cubes]
    z, y, x = (edge * side for side in voxel or (1.0, 1.0, 1.0))
    return SubvolumeMeasures(
        values={key: np.array([one[key] for one, _, _ in found]) for key in found[0][0]},
        curves={key: np.array([one[key] for _, one, _ in found]) for key in found[0][1]},
        at=found[0][2],
        origins=origins,
        grid=grid,
        edge=edge,
        cube_size=(float(z), float(y), float(x)),
        unit="um" if voxel else "voxel",
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Cube:
    """One cube; `measure` returns its values, its curves and the places of these."""

    labels: np.ndarray
    n_phases: int
    voxel: tuple[float, float, float] | None
    topics: Sequence[str]

    def measure(self) -> tuple[dict[Key, float], dict[Key, np.ndarray], dict[str, np.ndarray]]:
        values: dict[Key, float] = {}
        curves: dict[Key, np.ndarray] = {}
        at: dict[str, np.ndarray] = {}
        functionals = minkowski_of_phases(self.labels, n_phases=self.n_phases, voxel_size_um=self.voxel)
        for phase, measured in enumerate(functionals):
            values |= {(name, (phase,)): float(getattr(measured, name)) for name in FUNCTIONALS}
        for phase in range(self.n_phases):
            inside = self.labels == phase
            self._correlate(phase, inside, curves, at)
            if "sizes" in self.topics:
                self._size(phase, inside, values, curves, at)
            if "transport" in self.topics:
                values |= self._transport(phase, inside)
        if "interfaces" in self.topics and self.n_phases > 2:
            values |= self._interfaces()
        return values, curves, at

    def _correlate(self, phase: int, inside: np.ndarray, curves: dict[Key, Any], at: dict[str, Any]) -> None:
        # Counted in the smallest edge of a voxel: half of the shortest side, whatever the voxel's proportions.
        reach = len(inside) // 2
        pairs = two_point(inside, r_max=reach, voxel_size_um=self.voxel)
        path = lineal_path(inside, r_max=reach, voxel_size_um=self.voxel)
        curves["two_point", (phase,)], at["two_point"] = pairs.s2, pairs.r
        curves["lineal_path", (phase,)], at["lineal_path"] = path.probability, path.r

    def _size(
        self, phase: int, inside: np.ndarray, values: dict[Key, float], curves: dict[Key, Any], at: dict[str, Any]
    ) -> None:
        size = self.voxel or (1.0, 1.0, 1.0)
        step = min(size) / DIAMETERS_PER_VOXEL
        longest = 2 * math.hypot(*(len(inside) * side for side in size))
        at["sizes"] = np.arange(math.ceil(longest / step) + 1) * step
        values["mean_diameter", (phase,)] = math.nan
        curves["sizes", (phase,)] = np.full(at["sizes"].size, math.nan)
        if inside.any() and not inside.all():
            sizes = pore_size_distribution(inside, bins=at["sizes"].tolist(), voxel_size_um=self.voxel)
            values["mean_diameter", (phase,)] = sizes.mean
            curves["sizes", (phase,)] = sizes.cumulative

    def _transport(self, phase: int, inside: np.ndarray) -> dict[Key, float]:
        factors, diffusivities = [], []
        for axis in range(3):
            try:
                solved = tortuosity(inside, axis=axis, voxel_size_um=self.voxel)
            except NoPathError:
                factors.append(math.nan)
                diffusivities.append(0.0)
                continue
            factors.append(solved.tortuosity)
            diffusivities.append(solved.effective_diffusivity)
        return {
            **{(f"tortuosity_{name}", (phase,)): factor for name, factor in zip("zyx", factors, strict=True)},
            ("effective_diffusivity", (phase,)): sum(diffusivities) / 3,
            ("percolates", (phase,)): sum(not math.isnan(factor) for factor in factors) / 3,
        }

    def _interfaces(self) -> dict[Key, float]:
        areas = interface_areas(self.labels, n_phases=self.n_phases, voxel_size_um=self.voxel).specific_areas
        phases = range(self.n_phases)
        values: dict[Key, float] = {
            ("interface_area", (j, k)): float(areas[j, k]) for j, k in itertools.combinations(phases, 2)
        }
        if self.n_phases <= MOST_PHASES_FOR_LINES:
            for three in itertools.combinations(phases, 3):
                lines = triple_phase_boundary(self.labels, three, voxel_size_um=self.voxel)
                values["triple_phase_boundary", three] = lines.density
        return values
