"""Fibres: their directions, their centre lines, and tubes around them written into a volume."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
from scipy import optimize

from synth.threads import in_threads, slabs

__all__ = [
    "FilledFibres",
    "Orientation",
    "Segments",
    "clip_segments",
    "draw_fibres",
    "fibre_path",
    "fill_with_fibres",
    "stamp_capsules",
]

BATCH = 64
# Fibres in a row that may find no pore voxel before a volume counts as full.
PATIENCE = 2_000
# A voxel whose centre lies in a tube of radius r lies, as a cube, in one of radius r plus half its diagonal.
HALF_DIAGONAL = 0.867
# In voxels; the fibre that would cover too much grows in such pieces.
PIECE = 0.25
# Widens what is worked out in closed form, before the exact test, by more than the rounding of the former.
SLACK = 1e-9


@dataclass(frozen=True)
class Orientation:
    """Distribution of the directions of fibres, from isotropic to in-plane, with or without a machine direction.

    A direction is an isotropic one whose z is divided by `in_plane` and whose cross-machine part is divided by
    `alignment`, made a unit vector again (the angular central Gaussian distribution [2]_). Without alignment the
    angle θ to z has the density β sin θ / (2 (1 + (β² - 1) cos² θ)^(3/2)) with β = `in_plane` [1]_.

    Parameters
    ----------
    in_plane : float
        β: 1 is isotropic, far above 1 all fibres lie in the (y, x) plane, below 1 they stand along z.
    alignment : float
        1 has no preferred direction in the plane; the larger, the nearer are fibres to the machine direction.
    machine_direction_deg : float
        Angle of that direction from x towards y.

    Raises
    ------
    ValueError
        If a number is not finite, or a ratio not above 0.

    References
    ----------
    .. [1] K. Schladitz, S. Peters, D. Reinel-Bitzer, A. Wiegmann, J. Ohser, "Design of acoustic trim based on
       geometric modeling and flow simulation for non-woven", Comput. Mater. Sci. 38 (2006) 56.
    .. [2] D. E. Tyler, "Statistical analysis for the angular central Gaussian distribution on the sphere",
       Biometrika 74 (1987) 579.
    """

    in_plane: float = 1.0
    alignment: float = 1.0
    machine_direction_deg: float = 0.0

    def __post_init__(self) -> None:
        for name in ("in_plane", "alignment"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a number above 0, 1 for no preference")
        if not math.isfinite(self.machine_direction_deg):
            raise ValueError(f"machine_direction_deg is {self.machine_direction_deg!r}; give an angle in degrees")

    @property
    def matrix(self) -> np.ndarray:
        """The 3 x 3 map, on (z, y, x), that makes an isotropic vector one of this distribution, up to its length."""
        angle = math.radians(self.machine_direction_deg)
        turn = np.array([[1, 0, 0], [0, math.cos(angle), math.sin(angle)], [0, -math.sin(angle), math.cos(angle)]])
        return turn @ np.diag([1 / self.in_plane, 1 / self.alignment, 1.0])

    def draw(self, count: int, *, rng: np.random.Generator | int) -> np.ndarray:
        """Draw `count` unit vectors, shape (count, 3), components along z, y and x."""
        return _units(_units(np.random.default_rng(rng).standard_normal((count, 3))) @ self.matrix.T)


class Segments(NamedTuple):
    """Pieces of centre lines, fibre after fibre.

    ``starts`` and ``ends`` have shape (N, 3); ``fibre`` has shape (N,) and numbers the fibres from 0 upwards.
    """

    starts: np.ndarray
    ends: np.ndarray
    fibre: np.ndarray


class FilledFibres(NamedTuple):
    """What `fill_with_fibres` has done: voxels covered, and the centre lines around which they lie."""

    solid: int
    segments: Segments


def fibre_path(
    start: Sequence[float],
    *,
    length_vox: float,
    persistence_vox: float = math.inf,
    step_vox: float = 1.0,
    orientation: Orientation | None = None,
    rng: np.random.Generator | int,
) -> np.ndarray:
    """Draw the centre line of one fibre: a worm-like chain, its first direction drawn from a distribution.

    Parameters
    ----------
    start : sequence of float, length 3
        First point (z, y, x), in voxels.
    length_vox : float
        Length along the line.
    persistence_vox : float
        Persistence length P of the underlying isotropic chain: its tangents are correlated as
        ⟨t(0)·t(s)⟩ = exp(-s / P), exactly so at the vertices. ``inf`` is straight.
    step_vox : float
        Distance of the vertices; it is made a little smaller so that a whole number fits.
    orientation : Orientation, optional
        Isotropic if not given. Otherwise each tangent of the isotropic chain goes through ``orientation.matrix``, so
        that the directions have that distribution all along the fibre, however long it is.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    ndarray of float, shape (N, 3)
        The vertices. No boundary bounds them.

    Raises
    ------
    ValueError
        For a start that is no point, or lengths that are not above 0 or would make more than ten million vertices.
    """
    point = np.asarray(start, float)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise ValueError(f"start is {start!r}; give three finite coordinates (z, y, x)")
    if not 0 < length_vox < math.inf or not 0 < step_vox < math.inf or length_vox / step_vox > 1e7:
        raise ValueError(
            f"length_vox is {length_vox!r} and step_vox {step_vox!r}; give lengths above 0, ten million steps at most"
        )
    rng, orientation = np.random.default_rng(rng), orientation or Orientation()
    step = length_vox / math.ceil(length_vox / step_vox)
    isotropic = _units(rng.standard_normal((1, 3)))
    vertices, _ = _grow(
        point[None], isotropic, np.array([length_vox]), np.array([step]), orientation.matrix,
        _concentration(step, persistence_vox), step, point, point, False, rng,
    )  # fmt: skip
    return vertices


def draw_fibres(
    low: Sequence[float] | np.ndarray,
    high: Sequence[float] | np.ndarray,
    *,
    orientation: Orientation,
    persistence_vox: float = math.inf,
    length_vox: float = math.inf,
    step_vox: float = 1.0,
    periodic: bool = False,
    rng: np.random.Generator,
) -> Iterator[Segments]:
    """Yield, a batch at a time and without end, the fibres of a stationary process as a window sees them.

    Parameters
    ----------
    low, high : sequence of float, length 3
        Corners of the window.
    orientation : Orientation
        Distribution of the directions, per length of fibre.
    persistence_vox, step_vox : float
        As in `fibre_path`.
    length_vox : float
        Length of a fibre; ``inf`` has no ends. Must be finite if `periodic`.
    periodic : bool
        The window is a torus: fibres begin anywhere in it and run on beyond it, to be wrapped by the user.
    rng : Generator

    Yields
    ------
    Segments
        Cut off at the window (not if `periodic`).

    Raises
    ------
    ValueError
        If the window is empty, or a periodic one is asked for fibres without end.

    Notes
    -----
    Let fibres of length ℓ lie in space with the length L per volume, each walked in one of its two senses at random.
    Through a face of area A and normal n of the window W enter L A E[(t·n)₊] of them, at points uniform on the face,
    with tangents of density ∝ p(t) (t·n)₊ and a remaining length uniform in (0, ℓ); L |W| / ℓ begin inside, uniformly.
    Followed until they leave W these make the length L and the directions p at every point of W: its border is no
    different from its inside. A curved fibre that leaves and would come back comes back as another.
    """
    corner, sides = np.asarray(low, float), np.asarray(high, float) - np.asarray(low, float)
    if not (sides > 0).all() or (periodic and length_vox == math.inf):
        raise ValueError(
            f"the window has sides {sides.tolist()} and fibres the length {length_vox}; give sides above 0"
        )
    kappa = _concentration(step_vox, persistence_vox)
    step = step_vox if kappa < math.inf else math.inf
    while True:
        points, isotropic, left, first = _enter(corner, sides, orientation, length_vox, step, periodic, rng)
        vertices, counts = _grow(
            points, isotropic, left, first, orientation.matrix, kappa, step, corner, corner + sides, not periodic, rng
        )
        inner = np.ones(len(vertices), bool)
        inner[np.cumsum(counts) - 1] = False
        starts = np.flatnonzero(inner)
        yield Segments(vertices[starts], vertices[starts + 1], np.repeat(np.arange(len(counts)), counts - 1))


def fill_with_fibres(
    labels: np.ndarray, batches: Iterator[Segments], *, radius: float, target: int, periodic: bool = False
) -> FilledFibres:
    """Stamp fibres as label 1, in the order in which they come, until exactly `target` voxels are solid.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        All 0; changed in place.
    batches : iterator of Segments
        From `draw_fibres`.
    radius : float
        Of all fibres, in voxels.
    target : int
        Voxels to cover. The fibre that would cover too much ends early, to a quarter of a voxel; the voxels of that
        last quarter are taken in the order of the array. To draw it again until it fits would favour fibres that lie
        half outside, and so leave the border denser than the inside.
    periodic : bool
        Wrap around the box.

    Returns
    -------
    FilledFibres
        Its ``solid`` is less than `target` only where `PATIENCE` fibres in a row found no voxel to cover.
    """
    solid, failures, n_fibres, kept = 0, 0, 0, []
    while solid < target and failures < PATIENCE:
        batch, first = next(batches), 0
        begins = np.append(np.flatnonzero(np.diff(batch.fibre, prepend=-1)), len(batch.fibre))
        bounds = _voxel_bounds(batch, begins, radius)
        failures += not len(bounds)
        while first < len(bounds) and solid < target and failures < PATIENCE:
            # As many at once as cannot overshoot; their order does not matter then.
            count = int(np.searchsorted(np.cumsum(bounds[first:]), target - solid, side="right"))
            chosen = slice(begins[first], begins[first + max(1, count)])
            part = Segments(*(array[chosen] for array in batch))
            if count:
                radii = np.full(len(part.starts), float(radius))
                covered = _stamp_in_threads(labels, part.starts, part.ends, radii, 1, periodic)
            else:
                covered, part = _stamp_up_to(labels, part, radius, target - solid, periodic)
            kept.append(Segments(part.starts, part.ends, part.fibre - part.fibre[0] + n_fibres))
            solid, first, n_fibres = solid + covered, first + max(1, count), n_fibres + max(1, count)
            failures = 0 if covered else failures + max(1, count)
    if not kept:
        return FilledFibres(0, Segments(np.empty((0, 3)), np.empty((0, 3)), np.empty(0, int)))
    return FilledFibres(solid, Segments(*(np.concatenate(part) for part in zip(*kept, strict=True))))


def clip_segments(segments: Segments, low: Sequence[float], high: Sequence[float]) -> Segments:
    """Cut segments off at a box and drop those that miss it.

    Parameters
    ----------
    segments : Segments
    low, high : sequence of float, length 3
        Corners of the box.

    Returns
    -------
    Segments
        None of length 0; the fibres keep their numbers.
    """
    starts, ways = segments.starts, segments.ends - segments.starts
    enter, leave = np.zeros(len(starts)), np.ones(len(starts))
    for axis in range(3):
        way, start = ways[:, axis], starts[:, axis]
        level = way == 0
        slope = np.where(level, 1.0, way)
        at_low, at_high = (low[axis] - start) / slope, (high[axis] - start) / slope
        # A segment that keeps its coordinate is inside for all of its length or for none of it.
        inside = (start >= low[axis]) & (start <= high[axis])
        enter = np.maximum(enter, np.where(level, np.where(inside, 0.0, 2.0), np.minimum(at_low, at_high)))
        leave = np.minimum(leave, np.where(level, 1.0, np.maximum(at_low, at_high)))
    hit = enter < leave
    begins, ends = (starts[hit] + part[hit, None] * ways[hit] for part in (enter, leave))
    return Segments(begins, ends, segments.fibre[hit])


def stamp_capsules(
    labels: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    radii: np.ndarray,
    *,
    value: int = 1,
    periodic: bool = False,
) -> int:
    """Write capsules, straight tubes with round ends, into `labels`, in place, wherever it is 0.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        Changed in place. A voxel is changed if its centre is at most a radius away from the capsule's axis; voxel *i*
        spans [i, i + 1).
    starts, ends : ndarray, shape (N, 3)
        Ends (z, y, x) of the axes, in voxels, inside the box or not.
    radii : ndarray, shape (N,)
        Radii in voxels. With equal ends a capsule is a ball.
    value : int
        Label to write, 1 to 255.
    periodic : bool
        Wrap around the box.

    Returns
    -------
    int
        How many voxels changed.

    Raises
    ------
    ValueError
        If the shapes do not fit together, a number is not finite, or `value` is no label.

    Notes
    -----
    Per plane and row the run of voxels is found in closed form, so a capsule costs about the voxels that it holds,
    whatever its direction.
    """
    starts, ends, radii = (np.ascontiguousarray(a, float) for a in (starts, ends, radii))
    if labels.ndim != 3 or radii.ndim != 1 or not starts.shape == ends.shape == (len(radii), 3):
        raise ValueError(
            f"labels, starts, ends and radii have shapes {labels.shape}, {starts.shape}, {ends.shape} and "
            f"{radii.shape}; give (Z, Y, X), (N, 3), (N, 3) and (N,)"
        )
    if not all(np.isfinite(a).all() for a in (starts, ends, radii)) or not (radii >= 0).all():
        raise ValueError("an end or radius is negative or not finite; give finite ends and radii of 0 or more")
    if not 1 <= value <= 255:
        raise ValueError(f"value is {value!r}; give a label from 1 to 255")
    return _stamp_in_threads(labels, starts, ends, radii, value, periodic)


def _units(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt((vectors**2).sum(axis=-1, keepdims=True))


def _concentration(step: float, persistence: float) -> float:
    """Return κ of the von Mises-Fisher turns whose mean cosine, coth κ - 1/κ, is exp(-step / persistence)."""
    if not persistence > 0 or not step > 0:
        raise ValueError(f"persistence_vox is {persistence!r} and the step {step!r}; give lengths above 0, or inf")
    # Below this loss a turn is smaller than the rounding of the equation to solve.
    loss = -math.expm1(-step / persistence)
    if loss < 1e-12:
        return math.inf
    if loss < 1e-3:
        # coth κ is 1 to all digits.
        return 1 / loss
    return float(optimize.brentq(lambda k: 1 / math.tanh(k) - 1 / k - 1 + loss, 1e-4, 2 / loss + 10))


def _enter(
    corner: np.ndarray,
    sides: np.ndarray,
    orientation: Orientation,
    length: float,
    step: float,
    periodic: bool,
    rng: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw where fibres come into view: points, isotropic directions, lengths left and lengths of the first steps."""
    isotropic = _units(rng.standard_normal((BATCH, 3)))
    t = _units(isotropic @ orientation.matrix.T)
    points = rng.random((BATCH, 3)) * sides
    spent, axis_at, accept = rng.random((3, BATCH))
    if periodic:
        return points + corner, isotropic, np.full(BATCH, float(length)), np.full(BATCH, float(step))
    areas = sides.prod() / sides
    flux = np.abs(t) * areas
    # Of two rates, per length in a volume: of beginning inside, and the most of entering.
    begin, enter = sides.prod() / length, np.sqrt((areas**2).sum())
    inside = rng.random(BATCH) * (begin + enter) < begin
    keep = inside | (accept * enter < flux.sum(axis=1))
    axis = (np.cumsum(flux, axis=1) < (axis_at * flux.sum(axis=1))[:, None]).sum(axis=1)
    rows = np.flatnonzero(~inside)
    axis = np.minimum(axis, 2)[rows]
    points[rows, axis] = np.where(t[rows, axis] > 0, 0.0, sides[axis])
    left, first = np.full(BATCH, float(length)), np.full(BATCH, float(step))
    if length < math.inf:
        left[rows] *= 1 - spent[rows]
    if step < math.inf:
        # A window that a polyline enters is as likely to be met by any point of a step as by any other.
        first[rows] *= 1 - rng.random(len(rows))
    return points[keep] + corner, isotropic[keep], left[keep], first[keep]


@numba.njit(cache=True)
def _grow(
    points: Any, isotropic: Any, left: Any, first: Any, matrix: Any, kappa: float, step: float,
    low: Any, high: Any, bounded: bool, rng: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Walk from each point until its length is used up or, if `bounded`, the window is left."""
    vertices, size = np.empty((1024, 3)), 0
    counts = np.zeros(len(points), np.int64)
    for i in range(len(points)):
        begin, p, v, rest, stride = size, points[i].copy(), isotropic[i].copy(), left[i], first[i]
        going = True
        while True:
            if size == len(vertices):
                longer = np.empty((2 * size, 3))
                longer[:size] = vertices
                vertices = longer
            vertices[size] = p
            size += 1
            # What rounding has left of a length is no step.
            if not going or rest <= SLACK:
                break
            t = _direction(matrix, v)
            stride = min(stride, rest)
            if bounded:
                way_out = _distance_out(p, t, low, high)
                going = way_out > stride
                stride = min(stride, way_out)
            for a in range(3):
                p[a] += stride * t[a]
            rest -= stride
            stride = step
            if kappa < np.inf:
                _turn(v, kappa, rng)
        counts[i] = size - begin
    return vertices[:size].copy(), counts


@numba.njit(cache=True)
def _direction(matrix: Any, v: Any) -> Any:
    t = np.empty(3)
    for a in range(3):
        t[a] = matrix[a, 0] * v[0] + matrix[a, 1] * v[1] + matrix[a, 2] * v[2]
    return t / np.sqrt(t[0] ** 2 + t[1] ** 2 + t[2] ** 2)


@numba.njit(cache=True)
def _distance_out(p: Any, t: Any, low: Any, high: Any) -> float:
    distance = np.inf
    for a in range(3):
        if t[a] > 0:
            distance = min(distance, (high[a] - p[a]) / t[a])
        elif t[a] < 0:
            distance = min(distance, (low[a] - p[a]) / t[a])
    return max(distance, 0.0)


@numba.njit(cache=True)
def _turn(v: Any, kappa: float, rng: Any) -> None:
    """Turn a unit vector, in place, by a von Mises-Fisher step."""
    u = rng.random()
    cosine = max(-1.0, 1 + np.log(u + (1 - u) * np.exp(-2 * kappa)) / kappa)
    sine, azimuth = np.sqrt(max(0.0, 1 - cosine * cosine)), 2 * np.pi * rng.random()
    # Two vectors square to v and to each other, without a division by zero (Duff and others, 2017).
    sign = 1.0 if v[2] >= 0 else -1.0
    a = -1 / (sign + v[2])
    b = v[0] * v[1] * a
    c, s = sine * np.cos(azimuth), sine * np.sin(azimuth)
    z = cosine * v[0] + c * (1 + sign * v[0] * v[0] * a) + s * b
    y = cosine * v[1] + c * sign * b + s * (sign + v[1] * v[1] * a)
    x = cosine * v[2] - c * sign * v[0] - s * v[1]
    norm = np.sqrt(z * z + y * y + x * x)
    v[0], v[1], v[2] = z / norm, y / norm, x / norm


def _voxel_bounds(batch: Segments, begins: np.ndarray, radius: float) -> np.ndarray:
    """Return, for each fibre of a batch, a number of voxels that it cannot exceed."""
    reach = radius + HALF_DIAGONAL
    lengths = np.sqrt(((batch.ends - batch.starts) ** 2).sum(axis=1))
    if not len(lengths):
        return np.empty(0)
    return np.pi * reach**2 * np.add.reduceat(lengths, begins[:-1]) + 4 / 3 * np.pi * reach**3


def _stamp_up_to(labels: np.ndarray, part: Segments, radius: float, most: int, periodic: bool) -> tuple[int, Segments]:
    """Stamp one fibre from its beginning until `most` voxels are covered; also return what of it was needed."""
    covered, last, share = _stamp_slowly(labels, part.starts, part.ends, radius, periodic, most)
    ends = part.ends[: last + 1].copy()
    ends[last] = part.starts[last] + share * (part.ends[last] - part.starts[last])
    return covered, Segments(part.starts[: last + 1], ends, part.fibre[: last + 1])


def _stamp_in_threads(
    labels: np.ndarray, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray, value: int, periodic: bool
) -> int:
    """Stamp capsules; slabs of the volume are independent, so the threads that share them never meet."""

    def stamp(z_range: tuple[int, int]) -> int:
        return int(_stamp(labels, starts, ends, radii, value, periodic, z_range))

    return sum(in_threads(stamp, slabs(labels.shape)))


@numba.njit(cache=True, nogil=True)
def _stamp(labels: Any, starts: Any, ends: Any, radii: Any, value: int, periodic: bool, z_range: Any) -> int:
    changed = 0
    for i in range(len(radii)):
        changed += _stamp_one(labels, starts[i], ends[i], radii[i], value, periodic, z_range, labels.size)
    return changed


@numba.njit(cache=True, nogil=True)
def _stamp_slowly(
    labels: Any, starts: Any, ends: Any, radius: float, periodic: bool, most: int
) -> tuple[int, int, float]:
    changed, z_range = 0, (0, labels.shape[0])
    for i in range(len(starts)):
        way = ends[i] - starts[i]
        pieces = max(1, int(np.ceil(np.sqrt((way**2).sum()) / PIECE)))
        for k in range(pieces):
            start, end = starts[i] + way * (k / pieces), starts[i] + way * ((k + 1) / pieces)
            changed += _stamp_one(labels, start, end, radius, 1, periodic, z_range, most - changed)
            if changed >= most:
                return changed, i, (k + 1) / pieces
    return changed, len(starts) - 1, 1.0


@numba.njit(cache=True, nogil=True)
def _rows(centre_low: float, centre_high: float, reach: float, size: int, periodic: bool) -> tuple[int, int]:
    """Return the first and the last index whose voxel centres lie within `reach` of an interval."""
    # Voxel i has its centre at i + 0.5.
    first, last = np.ceil(centre_low - reach - 0.5), np.floor(centre_high + reach - 0.5)
    if periodic:
        return int(first), int(last)
    return int(max(first, 0.0)), int(min(last, size - 1.0))


@numba.njit(cache=True, nogil=True)
def _stamp_one(labels: Any, a: Any, b: Any, radius: float, value: int, periodic: bool, z_range: Any, most: int) -> int:
    nz, ny, nx = labels.shape
    changed, reach = 0, radius + SLACK
    dz, dy, dx = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    z0, z1 = _rows(min(a[0], b[0]), max(a[0], b[0]), reach, nz, periodic)
    if not periodic:
        z0, z1 = max(z0, z_range[0]), min(z1, z_range[1] - 1)
    for z in range(z0, z1 + 1):
        if not z_range[0] <= z % nz < z_range[1]:
            continue
        # Only this stretch of the axis is near enough to the plane.
        s0, s1 = _stretch(z + 0.5 - a[0], dz, reach)
        y_at_s0, y_at_s1 = a[1] + s0 * dy, a[1] + s1 * dy
        y0, y1 = _rows(min(y_at_s0, y_at_s1), max(y_at_s0, y_at_s1), reach, ny, periodic)
        for y in range(y0, y1 + 1):
            qz, qy = z + 0.5 - a[0], y + 0.5 - a[1]
            low, high = _run(qz, qy, dz, dy, dx, reach)
            if low > high:
                continue
            x0, x1 = _rows(a[2] + low, a[2] + high, 1.0, nx, periodic)
            while x0 <= x1 and not _holds(qz, qy, x0 + 0.5 - a[2], dz, dy, dx, radius):
                x0 += 1
            while x0 <= x1 and not _holds(qz, qy, x1 + 0.5 - a[2], dz, dy, dx, radius):
                x1 -= 1
            row = labels[z % nz, y % ny]
            for x in range(x0, min(x1, x0 + nx - 1) + 1):
                at = x % nx if periodic else x
                if row[at] == 0:
                    if changed == most:
                        return changed
                    row[at] = value
                    changed += 1
    return changed


@numba.njit(cache=True, nogil=True)
def _stretch(q: float, d: float, reach: float) -> tuple[float, float]:
    """Return the shares of an axis of extent `d` between which it is within `reach` of a plane at `q`."""
    if abs(d) < 1e-12:
        return 0.0, 1.0
    s0, s1 = (q - reach) / d, (q + reach) / d
    return min(max(min(s0, s1), 0.0), 1.0), min(max(max(s0, s1), 0.0), 1.0)


@numba.njit(cache=True, nogil=True)
def _run(qz: float, qy: float, dz: float, dy: float, dx: float, reach: float) -> tuple[float, float]:
    """Return where, along x from the capsule's start, a row at (qz, qy) from it runs through the capsule."""
    low, high = np.inf, -np.inf
    rest = reach * reach - qz * qz - qy * qy
    if rest >= 0:
        low, high = -np.sqrt(rest), np.sqrt(rest)
    rest = reach * reach - (qz - dz) ** 2 - (qy - dy) ** 2
    if rest >= 0:
        low, high = min(low, dx - np.sqrt(rest)), max(high, dx + np.sqrt(rest))
    length = np.sqrt(dz * dz + dy * dy + dx * dx)
    if length < SLACK:
        return low, high
    uz, uy, ux = dz / length, dy / length, dx / length
    along = qz * uz + qy * uy
    across = uz * uz + uy * uy
    # The row is nearer to the infinite axis than the reach where a x² - 2 b x + c <= 0.
    c = qz * qz + qy * qy - along * along - reach * reach
    t0, t1 = -np.inf, np.inf
    if across > 1e-12:
        root = (along * ux) ** 2 - across * c
        if root < 0:
            return low, high
        t0, t1 = (along * ux - np.sqrt(root)) / across, (along * ux + np.sqrt(root)) / across
    elif c > 0:
        return low, high
    # Between the two flat ends of the tube.
    if abs(ux) > 1e-12:
        e0, e1 = -along / ux, (length - along) / ux
        t0, t1 = max(t0, min(e0, e1)), min(t1, max(e0, e1))
    elif not -SLACK <= along <= length + SLACK:
        return low, high
    if t0 <= t1:
        low, high = min(low, t0), max(high, t1)
    return low, high


@numba.njit(cache=True, nogil=True)
def _holds(qz: float, qy: float, qx: float, dz: float, dy: float, dx: float, radius: float) -> bool:
    """Tell whether a point, seen from a capsule's start, is at most a radius away from its axis."""
    square = dz * dz + dy * dy + dx * dx
    s = 0.0
    if square > 0:
        s = min(max((qz * dz + qy * dy + qx * dx) / square, 0.0), 1.0)
    return (qz - s * dz) ** 2 + (qy - s * dy) ** 2 + (qx - s * dx) ** 2 <= radius * radius
