"""A layered volume turned so that its MPL comes first: classes, ends of each column, and where the layers lie."""

import dataclasses

import numpy as np

from evaluate.layers.layer_arguments import PhaseTable
from evaluate.layers.levelling import fit_median_form
from evaluate.morphology.connected_parts import number_parts

__all__ = [
    "FIBRE", "MPL", "PORE", "STRAY", "SUBSTRATE_PORE", "MplForm", "Turned", "fit_mpl", "substrate_slices", "turn",
]  # fmt: skip

PORE, FIBRE, MPL, STRAY, SUBSTRATE_PORE = range(5)
UNKNOWN = 255
# Of the median: slices with less fibre are not substrate, columns with less MPL do not say where it lies.
HALF = 0.5


@dataclasses.dataclass(eq=False)
class Turned:
    """A volume whose axis 0 runs from the MPL's free side into the substrate.

    Attributes
    ----------
    classes : ndarray of uint8, shape (N, A, B)
        0 pore, 1 fibre, 2 MPL, 3 MPL beyond the layer that does not hang together with it.
    profile : ndarray of int64, shape (N, 4)
        Voxels of each class in each slice.
    columns : ndarray of int32, shape (5, A, B)
        As of `scan_columns`: number, first and last of the MPL, first and last of the solid.
    axis : int
        Of the volume that axis 0 is.
    flipped : bool
        Axis 0 runs against it.
    """

    classes: np.ndarray
    profile: np.ndarray
    columns: np.ndarray
    axis: int
    flipped: bool

    def position(self, depth: float) -> float:
        """Return the coordinate along the volume's own axis, in voxels, of a depth."""
        return len(self.classes) - depth if self.flipped else depth


@dataclasses.dataclass(frozen=True, eq=False)
class MplForm:
    """The two faces of the MPL in general, in voxels along axis 0, shape (A, B): polynomials of the plan."""

    free: np.ndarray
    inner: np.ndarray

    @property
    def thickness(self) -> np.ndarray:
        """Of the layer at each column, at least a voxel."""
        return np.maximum(self.inner - self.free, 1.0)


def turn(labels: np.ndarray, phases: PhaseTable, *, axis: int, side: str | None) -> Turned:
    """Return the classes of a volume, its MPL first.

    Raises
    ------
    ValueError
        A label that belongs to no phase.
    """
    from evaluate.layers.column_passes import scan_columns

    classes = _classes(labels, phases, axis=axis, flip=side == "high")
    profile, columns = scan_columns(classes)
    flipped = side == "high"
    if side is None and _lies_high(profile):
        # Not a view: compiled loops read it in order.
        classes, flipped = np.ascontiguousarray(classes[::-1]), True
        profile, columns = scan_columns(classes)
    return Turned(classes, profile, columns, axis, flipped)


def _classes(labels: np.ndarray, phases: PhaseTable, *, axis: int, flip: bool) -> np.ndarray:
    table = phases.lookup(unknown=UNKNOWN)
    shape = np.moveaxis(labels, axis, 0).shape
    classes = np.empty(shape, np.uint8)
    # In the order of the labels, slice by slice: what is turned then fits into the cache.
    place = np.moveaxis(classes[::-1] if flip else classes, 0, axis)
    for z, plane in enumerate(labels):
        place[z] = table[plane.view(np.uint8) if plane.dtype == bool else plane]
    if classes.max() == UNKNOWN:
        other = min(int(found[0]) for plane in labels if len(found := np.setdiff1d(plane, np.flatnonzero(table < 3))))
        named = {name: getattr(phases, name) for name in ("pore", "fibre", "mpl")}
        meant = ", ".join(f"{name} {' and '.join(map(str, own)) or 'none'}" for name, own in named.items())
        raise ValueError(
            f"labels holds {other}, which is no phase of the layers ({meant}); fibre takes the labels of all solids "
            "that are no MPL, e.g. fibre=(1, 3)"
        )
    return classes


def _lies_high(profile: np.ndarray) -> bool:
    """Tell whether the MPL lies behind the fibres; without either, in the farther half of the volume."""
    places = np.arange(len(profile)) + 0.5
    mpl, fibre = profile[:, MPL], profile[:, FIBRE]
    if not mpl.any():
        return False
    other = places @ fibre / fibre.sum() if fibre.any() else len(profile) / 2
    return bool(places @ mpl / mpl.sum() > other)


def fit_mpl(turned: Turned, degree: int) -> MplForm:
    """Find the faces of the MPL; what lies beyond it in pieces of its own is taken out of `turned`, in place."""
    from evaluate.layers.column_passes import scan_columns

    number, first, last = turned.columns[:3]
    held = number >= HALF * np.median(number[number > 0])
    # As thick as there is MPL: pieces far beyond cannot move it, as they would the last voxel.
    inner = fit_median_form(first + number, held, degree)
    if _drop_strays(turned.classes, last, inner):
        turned.profile, turned.columns = scan_columns(turned.classes)
        number, first, last = turned.columns[:3]
        held = number >= HALF * np.median(number[number > 0])
    free = fit_median_form(first, held, degree)
    return MplForm(free=free, inner=fit_median_form(last, held, degree))


def _drop_strays(classes: np.ndarray, last: np.ndarray, inner: np.ndarray) -> int:
    """Mark pieces of MPL that lie wholly beyond its inner face; return their voxels."""
    from evaluate.layers.column_passes import find_kept, write_strays

    if not (last > inner).any():
        return 0
    start, stop = max(int(inner.min()) - 1, 0), int(last.max())
    band = classes[start:stop]
    pieces, count = number_parts(band == MPL)
    kept = find_kept(pieces, count, start, inner)
    return int(write_strays(band, pieces, kept))


def substrate_slices(turned: Turned, start: int) -> tuple[int, int] | None:
    """Return the first slice of the substrate from `start` on and one after the last, or None without fibres.

    The outermost slices that hold at least half as much fibre as the median of those that hold any.
    """
    fibre = turned.profile[start:, FIBRE]
    if not fibre.any():
        return None
    enough = np.flatnonzero(fibre >= HALF * np.median(fibre[fibre > 0]))
    return start + int(enough[0]), start + int(enough[-1]) + 1
