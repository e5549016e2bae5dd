"""The parts of a report on layers, each measured on a turned volume."""

import math
from typing import NamedTuple

import numpy as np

from evaluate.layers.layer_geometry import FIBRE, MPL, PORE, STRAY, SUBSTRATE_PORE, MplForm, Turned
from evaluate.layers.layer_results import Cracks, Intrusion, Layer, MplInterfaces, ThicknessMap
from evaluate.layers.plan_cracks import describe_cracks, number_cracks
from evaluate.layers.roughness_parameters import SurfaceRoughness, roughness_of_heights
from evaluate.morphology.interfaces import interface_areas
from evaluate.morphology.lattice import Spacing
from evaluate.morphology.pore_sizes import PoreSizes, pore_size_distribution

__all__ = [
    "Scale",
    "measure_cracks",
    "measure_face",
    "measure_interfaces",
    "measure_intrusion",
    "measure_layer",
    "measure_profile",
    "measure_thickness",
]


class Scale(NamedTuple):
    """Edges of the voxels of a turned volume: of a step along its axis 0, and of a column.

    Attributes
    ----------
    step : float
    pixel : (float, float)
    names : (str, str)
        Of the plan's axes.
    known : bool
        Whether lengths are in µm.
    """

    step: float
    pixel: tuple[float, float]
    names: tuple[str, str]
    known: bool

    @classmethod
    def of(cls, voxel: Spacing | None, axis: int) -> "Scale":
        """Return the scale of a volume whose `axis` became axis 0."""
        edges = voxel or (1.0, 1.0, 1.0)
        first, second = (i for i in range(3) if i != axis)
        return cls(edges[axis], (edges[first], edges[second]), ("zyx"[first], "zyx"[second]), voxel is not None)

    @property
    def edges(self) -> Spacing:
        """Of a voxel, in the order of the turned axes."""
        return (self.step, *self.pixel)

    @property
    def area(self) -> float:
        """Of a column's end."""
        return math.prod(self.pixel)


def measure_profile(turned: Turned, scale: Scale) -> dict[str, np.ndarray]:
    """Return the shares of each slice, in the order of the volume's own axis."""
    ordered = turned.profile[::-1] if turned.flipped else turned.profile
    shares = ordered / math.prod(turned.classes.shape[1:])
    return {
        "position": (np.arange(len(shares)) + 0.5) * scale.step,
        "pore": shares[:, PORE],
        "fibre": shares[:, FIBRE],
        "mpl": shares[:, MPL] + shares[:, STRAY],
    }


def measure_layer(turned: Turned, start: float, stop: float, *, scale: Scale, sizes: bool) -> Layer:
    """Measure the slices between two depths, in voxels."""
    first = min(max(round(start), 0), len(turned.classes) - 1)
    last = min(max(round(stop), first + 1), len(turned.classes))
    counts = turned.profile[first:last].sum(axis=0)
    shares = counts / counts.sum()
    ends = sorted((turned.position(start), turned.position(stop)))
    slices = sorted((int(turned.position(first)), int(turned.position(last))))
    return Layer(
        start=ends[0] * scale.step,
        stop=ends[1] * scale.step,
        thickness=(ends[1] - ends[0]) * scale.step,
        first_slice=slices[0],
        stop_slice=slices[1],
        porosity=float(shares[PORE]),
        fibre_fraction=float(shares[FIBRE]),
        mpl_fraction=float(shares[MPL] + shares[STRAY]),
        pore_sizes=_pore_sizes(turned.classes[first:last], scale) if sizes and 0 < shares[PORE] < 1 else None,
    )


def _pore_sizes(classes: np.ndarray, scale: Scale) -> PoreSizes:
    return pore_size_distribution(classes == PORE, voxel_size_um=scale.edges if scale.known else None)


def measure_thickness(values: np.ndarray, scale: Scale) -> ThicknessMap | None:
    """Describe a thickness in voxels of each column, or return None if there is none."""
    thickness = values.astype(np.float32) * np.float32(scale.step)
    held = values[values > 0].astype(np.float64) * scale.step
    if not len(held):
        return None
    return ThicknessMap(
        map=thickness,
        mean=float(held.mean()),
        standard_deviation=float(held.std()),
        median=float(np.median(held)),
        smallest=float(held.min()),
        largest=float(held.max()),
        coverage=len(held) / values.size,
    )


def measure_cracks(turned: Turned, form: MplForm, *, scale: Scale, openness: float, least: int) -> Cracks:
    """Find and measure the cracks of the MPL."""
    from evaluate.layers.column_passes import count_between

    fibres = count_between(turned.classes, FIBRE, form.free, form.inner)
    number = turned.columns[0]
    ids = number_cracks(
        number, form.thickness - fibres, form.thickness, openness=openness, pixel=scale.pixel
    )  # fmt: skip
    sizes = np.bincount(ids.ravel())
    sizes[0] = 0
    kept = sizes >= least
    kept[0] = False
    ids = np.where(kept, np.cumsum(kept), 0).astype(np.int32)[ids]
    table = describe_cracks(ids, number == 0, pixel=scale.pixel, names=scale.names)
    area, plan = float(table["area"].sum()), ids.size * scale.area
    return Cracks(
        table=table,
        ids=ids,
        n_cracks=len(table["id"]),
        area=area,
        area_fraction=area / plan,
        open_fraction=float(table["open_area"].sum()) / plan,
        density=len(table["id"]) / plan,
        dropped_pixels=int(sizes[~kept].sum()),
    )


def measure_face(
    depth: np.ndarray, valid: np.ndarray, *, outward: int, scale: Scale, degree: int, patch: float | None
) -> SurfaceRoughness | None:
    """Measure the roughness of a face of the MPL, `depth` in voxels; `outward` is 1 or −1 along axis 0."""
    if not valid.any():
        return None
    return roughness_of_heights(
        outward * depth * scale.step,
        pixel=scale.pixel if scale.known else None,
        valid=valid,
        levelling_degree=degree,
        patch=patch,
    )


def measure_intrusion(
    turned: Turned, form: MplForm, cracked: np.ndarray, *, scale: Scale, degree: int, patch: float | None
) -> Intrusion | None:
    """Measure how the MPL reaches into the substrate; None if cracks leave no column of it."""
    from evaluate.layers.column_passes import count_between

    number, _, last = turned.columns[:3]
    valid = (number > 0) & ~cracked
    roughness = measure_face(last, valid, outward=1, scale=scale, degree=degree, patch=patch)
    if roughness is None:
        return None
    beyond = np.where(valid, np.maximum(last - form.inner, 0), 0)
    far = np.full(form.inner.shape, float(len(turned.classes)))
    intruding = int(count_between(turned.classes, MPL, form.inner, far).sum())
    substrate = float((far - np.clip(form.inner, 0, far)).sum())
    sign, origin = (-1, len(turned.classes)) if turned.flipped else (1, 0)
    return Intrusion(
        height=np.where(valid, (origin + sign * last) * scale.step, 0).astype(np.float32),
        valid=valid,
        reference=((origin + sign * form.inner) * scale.step).astype(np.float32),
        depth=(beyond * scale.step).astype(np.float32),
        mean=float(beyond.mean()) * scale.step,
        largest=float(beyond.max()) * scale.step,
        area_fraction=float(np.mean(beyond >= 1)),
        volume=intruding * math.prod(scale.edges),
        share_of_mpl=intruding / int(turned.profile[:, MPL].sum()),
        share_of_substrate=intruding / substrate if substrate else 0.0,
        roughness=roughness,
    )


def measure_interfaces(turned: Turned, form: MplForm, cracked: np.ndarray, *, scale: Scale) -> MplInterfaces:
    """Measure the areas between the phases; marks the pores of the substrate in `turned`, in place."""
    from evaluate.layers.column_passes import mark_substrate_pores

    number, _, last = turned.columns[:3]
    mark_substrate_pores(turned.classes, np.where((number > 0) & ~cracked, last, form.inner))
    areas = interface_areas(turned.classes, n_phases=SUBSTRATE_PORE + 1, voxel_size_um=scale.edges).areas
    fibre, beyond, before = (float(areas[MPL, other]) for other in (FIBRE, SUBSTRATE_PORE, PORE))
    return MplInterfaces(
        mpl_fibre=fibre,
        mpl_pore=beyond + before,
        fibre_pore=float(areas[FIBRE, PORE] + areas[FIBRE, SUBSTRATE_PORE]),
        mpl_substrate=fibre + beyond,
        mpl_open=before,
    )
