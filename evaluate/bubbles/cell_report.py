"""All bubbles of a cell: one by one, by half-cell, on the membrane, and projected as density maps."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from evaluate.accepted_input import LARGEST_LABEL, as_labels, as_voxel_size, as_whole_number
from evaluate.bubbles.bubble_shapes import describe_moments, describe_orientation, solidity, sphericity
from evaluate.bubbles.cell_phases import CellPhases, resolve_phases
from evaluate.bubbles.half_cells import membrane_height
from evaluate.bubbles.touching_bubbles import number_bubbles
from evaluate.morphology.lattice import Spacing, check_spacing
from evaluate.morphology.minkowski_functionals import surface_of_codes

__all__ = ["BubbleReport", "BubbleSizes", "HalfCell", "bubble_report"]

WALLS = ("ends", "all", "none")
SIDES = ("lower", "upper")
Label = int | str | None


@dataclasses.dataclass(frozen=True)
class HalfCell:
    """An electrode, or both together.

    Attributes
    ----------
    n_bubbles : int
        Bubbles kept; one that reaches into both electrodes counts where most of it lies.
    gas_volume : float
        All gas voxels, in unit³, those of bubbles that were not kept included.
    kept_volume : float
        Volume of the bubbles kept, in unit³.
    electrode_volume : float
        Electrolyte, gas and fibres together, in unit³.
    gas_fraction : float
        `gas_volume` / `electrode_volume` (the papers' R_bv); 0 where there is no electrode.
    membrane_area : float
        Of the membrane's surface that faces the electrode, in unit², see the notes of `bubble_report`.
    blocked_area : float
        The part of it behind gas.
    blocked_fraction : float or None
        `blocked_area` / `membrane_area`; None if no membrane faces the electrode.
    membrane_faces, blocked_faces : int
        The same two areas as numbers of voxel faces.
    """

    n_bubbles: int
    gas_volume: float
    kept_volume: float
    electrode_volume: float
    gas_fraction: float
    membrane_area: float
    blocked_area: float
    blocked_fraction: float | None
    membrane_faces: int
    blocked_faces: int


@dataclasses.dataclass(frozen=True)
class BubbleSizes:
    """Distribution of the equivalent diameters of the bubbles kept, in `BubbleReport.unit`.

    Attributes
    ----------
    mean, standard_deviation, median : float
        Of the diameters, each bubble counting once; the standard deviation divides by their number.
    d10, d50, d90 : float
        Bubbles up to this diameter hold 10, 50 and 90 % of the gas.
    sauter : float
        Σ d³ / Σ d², the diameter with the volume per surface of all bubbles.
    """

    mean: float
    standard_deviation: float
    median: float
    d10: float
    d50: float
    d90: float
    sauter: float


@dataclasses.dataclass(frozen=True, eq=False)
class BubbleReport:
    """Bubbles of a cell; made by `bubble_report`. Lengths are in `unit`.

    Attributes
    ----------
    bubbles : dict of str to ndarray
        Columns of equal length, a row for each bubble, numbered as a scan along x, y, z meets them:

        - ``id``: 1, 2, …, the value in `ids`;
        - ``kept`` (bool) and ``reason`` (str; ``""`` if kept, else the filters that refused it, joined by ``"; "``);
        - ``voxels`` (int) and ``volume`` (unit³);
        - ``surface`` (unit²): Crofton's estimate, over the whole bubble, what lies on a wall, on the border of the
          volume or on a bubble that it was parted from included;
        - ``equivalent_diameter``: of the ball of its volume; ``sphericity``: π^(1/3) (6 V)^(2/3) / surface;
        - ``axis_1``, ``axis_2``, ``axis_3``: full axis lengths λ1 ≥ λ2 ≥ λ3; ``elongation`` λ1/λ2 and ``flatness``
          λ2/λ3;
        - ``direction_z``, ``direction_y``, ``direction_x``: unit vector of the longest axis. It is an axis, without a
          sign: the first component that is not 0 is positive. ``inclination_deg``: its angle with z, 0 to 90;
          ``azimuth_deg``: from x towards y, of the end that points to larger z;
        - ``centroid_z``, ``centroid_y``, ``centroid_x``: 0 is the outer face of the first voxel;
        - ``first_z``, ``first_y``, ``first_x``, ``stop_z``, ``stop_y``, ``stop_x`` (int, voxels): bounding box,
          held by ``ids[first_z:stop_z, first_y:stop_y, first_x:stop_x]``;
        - ``solidity``: voxels by open voxels in the convex hull; NaN for bubbles of fewer than `minimum_voxels`, of
          which it is not taken;
        - ``membrane_distance``: shortest distance from its surface to the membrane, infinite without a membrane;
          ``wall_distance``: to the nearest of membrane, gasket and walls, infinite if there is none;
        - ``contact_area`` (unit²) and ``contact_faces`` (int): with the membrane; ``touches_membrane`` (bool): there is
          such a face;
        - ``touches_border`` (bool): of the volume, which may have cut it;
        - ``body`` (int): bubbles parted from each other share it;
        - ``side`` (str): ``"lower"``, ``"upper"``, or ``""`` without a membrane.
    ids : ndarray of uint32, shape (Z, Y, X)
        The number of the bubble at each voxel, 0 elsewhere.
    whole : HalfCell
        Both electrodes together.
    lower, upper : HalfCell or None
        The electrodes at small and at large coordinates along the cell's axis; None without a membrane.
    undefined : str
        Why there are no half-cells and no blockage; ``""`` if there are.
    sizes : BubbleSizes or None
        None if no bubble was kept.
    density_xy, density_xz, density_zy : ndarray of float32, shapes (Y, X), (Z, X) and (Z, Y)
        Thickness of gas in each column along z, y and x. Divided by the volume's length along that axis, it is the
        gas fraction of the column. All gas voxels count.
    membrane_height : ndarray of float32 or None
        Where the middle of the membrane lies along the cell's axis; holes are interpolated. Axes are the other two.
    unit : str
        ``"um"``, or ``"voxel"`` if no voxel size was known.
    axis : int
        The axis through the cell.
    """

    bubbles: dict[str, np.ndarray]
    ids: np.ndarray
    whole: HalfCell
    lower: HalfCell | None
    upper: HalfCell | None
    undefined: str
    sizes: BubbleSizes | None
    density_xy: np.ndarray
    density_xz: np.ndarray
    density_zy: np.ndarray
    membrane_height: np.ndarray | None
    unit: str
    axis: int

    @property
    def n_bubbles(self) -> int:
        """How many bubbles were kept."""
        return self.whole.n_bubbles


def bubble_report(
    labels: Any,
    *,
    bubble: int | str = 1,
    membrane: Label = 2,
    electrolyte: int | str = 0,
    gasket: Label = 3,
    fibre: Label = 4,
    axis: int = 0,
    walls: Literal["ends", "all", "none"] = "ends",
    voxel_size_um: Sequence[float] | None = None,
    split_touching: bool = True,
    split_neck: float = 0.8,
    minimum_voxels: int = 8,
    minimum_slices: int = 2,
    minimum_solidity: float = 0.6,
) -> BubbleReport:
    r"""Measure every bubble of a flow-battery cell, its electrodes and its membrane.

    Parameters
    ----------
    labels : array_like, shape (Z, Y, X)
        Labels of the cell, a `volume.Volume` or a structure.
    bubble, membrane, electrolyte, gasket, fibre : int or str
        Label of each phase, or its name among the phases of `labels`. They need not occur; membrane, gasket and fibre
        may be None.
    axis : int
        The axis through the cell, from one electrode to the other; 0 is z.
    walls : {"ends", "all", "none"}
        Which faces of the volume are walls of the cell, for the wall distance: the two across `axis`, where the plates
        are, all six, or none.
    voxel_size_um : sequence of three floats, optional
        Edge lengths (z, y, x) of a voxel in µm. By default that of `labels`, if it is a `volume.Volume` that knows it;
        otherwise every result is in voxels.
    split_touching : bool
        Part touching bubbles at their necks.
    split_neck : float
        A body is parted where it is thinner than this share of the thinner part, above 0 and up to 1.
    minimum_voxels : int
        Bubbles of fewer voxels are not kept.
    minimum_slices : int
        Bubbles in fewer consecutive slices along z are not kept: 2 refuses what was predicted in one slice alone. It
        does not apply to a volume with fewer slices.
    minimum_solidity : float
        Bubbles that fill less of their convex hull are not kept, 0 to 1.

    Returns
    -------
    BubbleReport

    Raises
    ------
    ValueError
        `labels` is no 3-D array of labels or holds one that is no phase of the cell; two phases with one label; a name
        that is no phase of `labels`, or a label although they name another one so; voxel edges that are not positive,
        or more than 100 : 1 apart; an argument out of range.

    Notes
    -----
    All bubbles are measured in passes over the volume that do not depend on their number; only parting and hulls look
    into each one's bounding box. Bubbles that a filter refuses stay in the table, with the reason; their voxels count
    as gas, so that volumes add up.

    Axes: :math:`\lambda = 2 \sqrt{5 v}`, the ellipsoid with the bubble's second moments v; voxels count as solid
    cuboids. The λ of [1]_ are these lengths, not the moments.

    Surface: as in `minkowski`, closed at the border. On average over where its centre lies, a ball's is 0.4 % low at a
    radius of 8 voxels, 2 % at 3, 3 % at 2 and 11 % at 1.5, and its sphericity 1.004, 1.02, 1.05 and 1.09; of a single
    voxel it is 1.68.

    Touching bubbles are the basins of a watershed of the distance to the bubble's surface, in which a fibre counts as
    gas, as bubbles grow around fibres. Two basins are one bubble if the pass between them is at least
    `split_neck` times the lower peak, less half a voxel for the surface being digital.

    Solidity: voxels by voxels with their centre in the hull of the bubble's centres, those within membrane, gasket
    and fibres, where no gas could be, left out. It is 1 for digitised convex bodies of any size.

    Distances are exact, between the nearest points of voxels as cuboids: 0 if bubble and wall touch, even at a corner.

    Contact area: voxel faces between bubble and membrane, each times the component of the membrane's unit normal
    across the face, which is the mean over the faces within five voxels that look into the same electrode. A plane
    along the lattice is exact, whatever frames it; tilted by up to 55°, the area is right within 1 % with cubic voxels
    and 3 % with 2 : 1 : 1 (the bare faces: up to 56 % too large). Sharp rims, such as that of a hole, are rounded off:
    up to 1.5 voxels times their length are lacking. Gas counts as blocking where it touches, not where its centre is
    near.

    The electrodes part at the median height of the membrane in each column along `axis`, as in `electrode_sides`,
    whether or not the membrane leaks.

    References
    ----------
    .. [1] A. Colliard-Granero et al., "Advancing vanadium redox flow battery analysis: a deep learning approach for
       high-throughput 3D visualization and bubble quantification", Digital Discovery 4 (2025) 2724.
    """
    array = as_labels(labels, "labels", ndim=(3,))
    array = np.ascontiguousarray(array, np.uint8)
    given = {
        "electrolyte": electrolyte, "bubble": bubble, "membrane": membrane, "gasket": gasket, "fibre": fibre,
    }  # fmt: skip
    phases = resolve_phases(labels, array, given)
    voxel = as_voxel_size(voxel_size_um, labels)
    axis = as_whole_number(axis, "axis", low=0, high=2)
    filters = _Filters.check(minimum_voxels, minimum_slices, minimum_solidity)
    spacing = voxel or (1.0, 1.0, 1.0)
    check_spacing(spacing)
    if not isinstance(split_touching, bool | np.bool_):
        raise ValueError(f"split_touching is {split_touching!r}; give True or False")
    if walls not in WALLS:
        raise ValueError(f"walls is {walls!r}; it must be one of {', '.join(map(repr, WALLS))}")
    if _check_share(split_neck, "split_neck") == 0:
        raise ValueError("split_neck is 0; give a share above 0, or split_touching=False to part nothing")
    cell = _Cell.scan(array, phases, spacing=spacing, axis=axis, neck=split_neck if split_touching else None)
    faces, areas, contact = _contacts(cell)
    table = {**_tabulate(cell), "solidity": _solidities(cell, filters.voxels), **_distances(cell, walls), **contact}
    table |= _judge(table, filters, cell)
    lower, upper, whole = _half_cells(cell, table, faces, areas)
    maps = _gas_thickness(cell)
    known = cell.height is not None
    return BubbleReport(
        bubbles=table,
        ids=cell.ids,
        whole=whole,
        lower=lower if known else None,
        upper=upper if known else None,
        undefined="" if known else _why_undefined(phases),
        sizes=_sizes(table["equivalent_diameter"][table["kept"]]),
        density_xy=maps[0],
        density_xz=maps[1],
        density_zy=maps[2],
        membrane_height=cell.height * np.float32(spacing[axis]) if cell.height is not None else None,
        unit="um" if voxel else "voxel",
        axis=axis,
    )


def _why_undefined(phases: CellPhases) -> str:
    if phases.membrane is None:
        return "no membrane was named: half-cells and blockage are not defined"
    return f"the membrane, label {phases.membrane}, does not occur: half-cells and blockage are not defined"


@dataclasses.dataclass(frozen=True)
class _Filters:
    voxels: int
    slices: int
    solidity: float

    @classmethod
    def check(cls, voxels: Any, slices: Any, solidity: Any) -> "_Filters":
        return cls(
            as_whole_number(voxels, "minimum_voxels", low=1),
            as_whole_number(slices, "minimum_slices", low=1),
            _check_share(solidity, "minimum_solidity"),
        )


def _check_share(value: Any, name: str) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}; give a number from 0 to 1") from None
    if not 0 <= share <= 1:
        raise ValueError(f"{name} is {value!r}; give a number from 0 to 1")
    return share


@dataclasses.dataclass(frozen=True, eq=False)
class _Cell:
    """A cell with its bubbles numbered, and what one pass over it says about each of them."""

    labels: np.ndarray
    phases: CellPhases
    spacing: Spacing
    axis: int
    ids: np.ndarray
    bodies: np.ndarray
    height: np.ndarray | None
    counts: np.ndarray
    sums: np.ndarray
    boxes: np.ndarray
    surface: np.ndarray

    @classmethod
    def scan(
        cls, labels: np.ndarray, phases: CellPhases, *, spacing: Spacing, axis: int, neck: float | None
    ) -> "_Cell":
        from evaluate.bubbles.voxel_passes import count_sides, sum_bubbles

        height = None
        if phases.membrane is not None:
            height = membrane_height(np.moveaxis(labels == phases.membrane, axis, 0))
        ids, bodies = number_bubbles(labels, phases, spacing=spacing, neck=neck)
        border = _border(labels, height, axis)
        counts = count_sides(labels, border, axis)
        sums, boxes, first, surface = sum_bubbles(ids, border, axis, len(bodies) - 1, surface_of_codes(spacing))
        # Parted bubbles got the last numbers; now all are numbered as a scan meets them.
        order = np.concatenate([[0], 1 + np.argsort(first[1:], kind="stable")])
        if not np.array_equal(order, np.arange(len(order))):
            number = np.empty(len(order), np.uint32)
            number[order] = np.arange(len(order), dtype=np.uint32)
            for plane in ids:
                plane[...] = number[plane]
        rows = order[1:]
        return cls(
            labels, phases, spacing, axis, ids, bodies[rows], height, counts, sums[rows], boxes[rows], surface[rows]
        )  # fmt: skip

    def solid(self, *, fibre: bool) -> np.ndarray:
        """Return which labels no gas can take, shape (256,)."""
        found = np.zeros(LARGEST_LABEL + 1, bool)
        for label in (self.phases.membrane, self.phases.gasket, self.phases.fibre if fibre else None):
            if label is not None:
                found[label] = True
        return found


def _border(labels: np.ndarray, height: np.ndarray | None, axis: int) -> np.ndarray:
    """Return the height at which the half-cells part; without a membrane all is below it."""
    if height is not None:
        return height
    return np.full([n for i, n in enumerate(labels.shape) if i != axis], np.inf, np.float32)


def _tabulate(cell: _Cell) -> dict[str, np.ndarray]:
    """Return the columns that follow from the sums alone."""
    spacing = np.array(cell.spacing)
    volume = cell.sums[:, 0] * spacing.prod()
    centroids, axes, directions = describe_moments(cell.sums, spacing)
    inclination, azimuth = describe_orientation(directions)
    first, stop = cell.boxes[:, :3], cell.boxes[:, 3:] + 1
    columns = {
        "id": np.arange(1, len(cell.sums) + 1),
        "voxels": cell.sums[:, 0],
        "volume": volume,
        "surface": cell.surface,
        "equivalent_diameter": np.cbrt(6 * volume / np.pi),
        "sphericity": sphericity(volume, cell.surface),
        **{f"axis_{i + 1}": axes[:, i] for i in range(3)},
        "elongation": axes[:, 0] / axes[:, 1],
        "flatness": axes[:, 1] / axes[:, 2],
        **{f"direction_{name}": directions[:, i] for i, name in enumerate("zyx")},
        "inclination_deg": inclination,
        "azimuth_deg": azimuth,
        **{f"centroid_{name}": centroids[:, i] for i, name in enumerate("zyx")},
        **{f"first_{name}": first[:, i] for i, name in enumerate("zyx")},
        **{f"stop_{name}": stop[:, i] for i, name in enumerate("zyx")},
        "touches_border": ((first == 0) | (stop == cell.ids.shape)).any(axis=1),
        "body": cell.bodies,
    }
    upper = 2 * cell.sums[:, 10] >= cell.sums[:, 0]
    columns["side"] = np.where(upper, *SIDES[::-1]) if cell.height is not None else np.full(len(volume), "")
    return columns


def _distances(cell: _Cell, walls: str) -> dict[str, np.ndarray]:
    """Return the shortest distances of each bubble from membrane and walls."""
    membrane, gasket = (_distance_to(cell, label) for label in (cell.phases.membrane, cell.phases.gasket))
    wall = np.minimum(membrane, gasket)
    faces = {"ends": (cell.axis,), "all": (0, 1, 2), "none": ()}[walls]
    for i in faces:
        below, above = cell.boxes[:, i], cell.ids.shape[i] - 1 - cell.boxes[:, 3 + i]
        wall = np.minimum(wall, np.minimum(below, above) * cell.spacing[i])
    return {"membrane_distance": membrane, "wall_distance": wall}


def _distance_to(cell: _Cell, label: int | None) -> np.ndarray:
    """Return the distance of each bubble from a phase, between their voxels as cuboids."""
    import edt

    from evaluate.bubbles.voxel_passes import away_from, least_values

    count = len(cell.sums)
    if count == 0 or label is None or not cell.counts[:, label].any():
        return np.full(count, np.inf)
    # The phase grown by a voxel all round: what is left between centres is what lies between the cuboids.
    away = edt.edt(away_from(cell.labels, label), anisotropy=cell.spacing, black_border=False)
    return least_values(cell.ids, away, count)[1:]


def _solidities(cell: _Cell, minimum_voxels: int) -> np.ndarray:
    found = np.full(len(cell.sums), np.nan)
    solid = cell.solid(fibre=True)
    for row in np.flatnonzero(cell.sums[:, 0] >= minimum_voxels):
        low, high = cell.boxes[row, :3], cell.boxes[row, 3:] + 1
        crop = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        found[row] = solidity(cell.ids[crop] == row + 1, ~solid[cell.labels[crop]])
    return found


def _judge(table: dict[str, np.ndarray], filters: _Filters, cell: _Cell) -> dict[str, np.ndarray]:
    """Return which bubbles are kept, and why the others are not."""
    slices = table["stop_z"] - table["first_z"]
    enough = min(filters.slices, cell.ids.shape[0])
    refused = {
        f"fewer than {filters.voxels} voxels": table["voxels"] < filters.voxels,
        f"in fewer than {filters.slices} slices": slices < enough,
        # A solidity that was not taken refuses nothing.
        f"solidity below {filters.solidity:g}": table["solidity"] < filters.solidity,
    }
    kept = ~np.logical_or.reduce(list(refused.values()))
    reason = np.full(len(kept), "", object)
    for row in np.flatnonzero(~kept):
        reason[row] = "; ".join(text for text, column in refused.items() if column[row])
    return {"kept": kept, "reason": reason.astype(str)}


def _contacts(cell: _Cell) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return faces and areas of the membrane, shape (2, 2), and the contact of each bubble."""
    from evaluate.bubbles.voxel_passes import measure_faces

    count = len(cell.sums)
    if cell.height is None or cell.phases.membrane is None:
        none = np.zeros(count, np.int64)
        columns = {"contact_area": none.astype(float), "contact_faces": none, "touches_membrane": none > 0}
        return np.zeros((2, 2), np.int64), np.zeros((2, 2)), columns
    faces, areas, own_faces, own_areas = measure_faces(
        cell.labels, cell.ids, cell.height, cell.axis, cell.phases.membrane, cell.solid(fibre=False),
        np.array(cell.spacing), count,
    )  # fmt: skip
    columns = {
        "contact_area": own_areas[1:], "contact_faces": own_faces[1:], "touches_membrane": own_faces[1:] > 0,
    }  # fmt: skip
    return faces, areas, columns


def _half_cells(cell: _Cell, table: dict[str, np.ndarray], faces: np.ndarray, areas: np.ndarray) -> list[HalfCell]:
    """Return the lower half-cell, the upper one, and both together."""
    voxel = float(np.prod(cell.spacing))
    gas, electrode = cell.counts[:, cell.phases.bubble], cell.counts[:, ~cell.solid(fibre=False)].sum(axis=1)
    kept = table["kept"]
    upper = table["side"] == SIDES[1]
    # Half-cells share the volume of a bubble that reaches into both; its count goes to the larger part.
    above = cell.sums[kept, 10].sum()
    volumes = np.array([table["voxels"][kept].sum() - above, above])
    numbers = np.array([np.count_nonzero(kept & ~upper), np.count_nonzero(kept & upper)])
    parts = ([0], [1], [0, 1])
    return [
        _half_cell(numbers[p].sum(), [v[p].sum() * voxel for v in (gas, volumes, electrode)], faces[p], areas[p])
        for p in parts
    ]


def _half_cell(count: int, volumes: list[float], faces: np.ndarray, areas: np.ndarray) -> HalfCell:
    gas, kept, electrode = map(float, volumes)
    faces, areas = faces.sum(axis=0), areas.sum(axis=0)
    return HalfCell(
        n_bubbles=int(count),
        gas_volume=gas,
        kept_volume=kept,
        electrode_volume=electrode,
        gas_fraction=gas / electrode if electrode else 0.0,
        membrane_area=float(areas[0]),
        blocked_area=float(areas[1]),
        blocked_fraction=float(areas[1] / areas[0]) if faces[0] else None,
        membrane_faces=int(faces[0]),
        blocked_faces=int(faces[1]),
    )


def _sizes(diameters: np.ndarray) -> BubbleSizes | None:
    if not len(diameters):
        return None
    ordered = np.sort(diameters)
    held = np.cumsum(ordered**3)
    d10, d50, d90 = (float(ordered[min(np.searchsorted(held, p * held[-1]), len(held) - 1)]) for p in (0.1, 0.5, 0.9))
    return BubbleSizes(
        mean=float(ordered.mean()),
        standard_deviation=float(ordered.std()),
        median=float(np.median(ordered)),
        d10=d10,
        d50=d50,
        d90=d90,
        sauter=float(held[-1] / (ordered**2).sum()),
    )


def _gas_thickness(cell: _Cell) -> list[np.ndarray]:
    """Return the gas in each column along z, y and x."""
    maps = [np.zeros([n for i, n in enumerate(cell.ids.shape) if i != axis], np.float32) for axis in range(3)]
    for z, plane in enumerate(cell.labels):
        gas = plane == cell.phases.bubble
        maps[0] += gas
        maps[1][z] = gas.sum(axis=0)
        maps[2][z] = gas.sum(axis=1)
    return [found * np.float32(edge) for found, edge in zip(maps, cell.spacing, strict=True)]
