"""Surfaces between the phases of a volume, all at once, smooth inside and flat at the border."""

import dataclasses
import itertools

import numba
import numpy as np

__all__ = ["OUTSIDE", "SurfaceNet", "surface_net"]

OUTSIDE = 255
# Taubin's pair: the second step undoes the shrinking of the first.
SMOOTHING_STEPS = (0.6, -0.62)
ROUNDS = 10
# A vertex may go as far as the middle of the voxels around it; a little less, so that no two can meet.
REACH = 0.49


@dataclasses.dataclass(frozen=True, eq=False)
class SurfaceNet:
    """The faces between voxels of unequal labels, with their vertices moved to where the surface is likely to be.

    Attributes
    ----------
    points : ndarray of float, shape (V, 3)
        Positions (z, y, x) in voxels; voxel i spans [i, i + 1).
    quads : ndarray of int, shape (Q, 4)
        The vertices of each face. Seen in a frame (x, y, z) they go round the axis from `below` to `above`
        counter-clockwise.
    below, above : ndarray of uint8, shape (Q,)
        The labels at the two sides, at smaller and at larger coordinate; `OUTSIDE` beyond the border.
    """

    points: np.ndarray
    quads: np.ndarray
    below: np.ndarray
    above: np.ndarray

    def faces_of(self, label: int) -> np.ndarray:
        """Return the triangles of the closed surface of a phase, outward in a frame (x, y, z), shape (F, 3)."""
        up, down = self.quads[self.below == label], self.quads[self.above == label]
        # Turned round about its first corner, so that both phases part the face along the same diagonal.
        quads = np.concatenate([up, down[:, [0, 3, 2, 1]]])
        first, second = quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]
        return np.stack([first, second], axis=1).reshape(-1, 3)


def surface_net(labels: np.ndarray) -> SurfaceNet:
    """Make the surfaces between all labels of a volume.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        `OUTSIDE` marks voxels that are taken away, such as a corner cut out; what they lay bare stays flat.

    Returns
    -------
    SurfaceNet

    Notes
    -----
    One vertex for each lattice corner whose eight voxels differ, and one face for each pair of neighbours that
    differ (surface nets [1]_): phases share their surfaces, without gap or overlap. The vertices are then smoothed
    [2]_, each within its own cell: those on a line where three phases meet along that line only, those at the border
    within the border.

    References
    ----------
    .. [1] S. F. F. Gibson, Constrained elastic surface nets, MICCAI 1998.
    .. [2] G. Taubin, A signal processing approach to fair surface design, SIGGRAPH 1995.
    """
    padded = np.pad(labels, 1, constant_values=OUTSIDE)
    corners, below, above = _faces(padded)
    shape = tuple(n - 1 for n in padded.shape)
    place, used = _numbered(corners, int(np.prod(shape)))
    start = np.stack(np.unravel_index(used, shape), axis=1)
    around = _labels_around(padded, start)
    neighbours = _neighbours(place, used, shape, around)
    points = _smooth(start.astype(np.float32), neighbours, _at_border(around))
    return SurfaceNet(points, place[corners], below, above)


def _faces(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners (Q, 4) of the faces between unequal neighbours, numbered over the lattice, and the labels beside them."""
    shape = np.array(padded.shape) - 1
    stride = np.array([shape[1] * shape[2], shape[2], 1])
    corners, below, above = [], [], []
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        low, high = padded.take(range(shape[axis]), axis), padded.take(range(1, shape[axis] + 1), axis)
        where = np.nonzero(low != high)
        # Corner i lies between voxels i and i + 1 of the padded volume.
        last = where[0] * stride[0] + where[1] * stride[1] + where[2] * stride[2]
        corners.append(np.stack([last - stride[b] - stride[c], last - stride[b], last, last - stride[c]], axis=1))
        below.append(low[where])
        above.append(high[where])
    return np.concatenate(corners), np.concatenate(below), np.concatenate(above)


def _numbered(corners: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertex of each corner of the lattice, -1 where there is none, and the corner of each vertex."""
    place = np.full(count, -1, dtype=np.int32)
    place[corners.reshape(-1)] = 0
    used = np.flatnonzero(place == 0)
    place[used] = np.arange(len(used), dtype=np.int32)
    return place, used


def _labels_around(padded: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Labels of the eight voxels at each corner, shape (V, 2, 2, 2)."""
    around = np.empty((len(start), 2, 2, 2), dtype=np.uint8)
    for dz, dy, dx in itertools.product((0, 1), repeat=3):
        around[:, dz, dy, dx] = padded[start[:, 0] + dz, start[:, 1] + dy, start[:, 2] + dx]
    return around


def _at_border(around: np.ndarray) -> np.ndarray:
    """Whether a vertex must keep its place along each axis, shape (V, 3)."""
    outside = around == OUTSIDE
    return np.stack([(outside.take(0, axis) != outside.take(1, axis)).any(axis=(1, 2)) for axis in (1, 2, 3)], axis=1)


def _neighbours(place: np.ndarray, used: np.ndarray, shape: tuple[int, ...], around: np.ndarray) -> np.ndarray:
    """Return the up to six vertices, one lattice step away, that each is drawn to; -1 for none, shape (V, 6).

    Those on a line where phases meet are drawn along it alone, as if they did not see the surfaces beside it.
    """
    ordered = np.sort(around.reshape(-1, 8), axis=1)
    meeting = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
    strides = (shape[1] * shape[2], shape[2], 1)
    table = np.empty((len(used), 6), dtype=np.int32)
    for axis, side in itertools.product(range(3), (0, 1)):
        beside_edge = around.take(side, axis + 1).reshape(-1, 4)
        joined = (beside_edge != beside_edge[:, :1]).any(axis=1)
        # Where the edge belongs to a face, its other end is a vertex; elsewhere the index may leave the lattice.
        other = place[np.where(joined, used + (2 * side - 1) * strides[axis], 0)]
        table[:, 2 * axis + side] = np.where(joined & (meeting[other] >= meeting), other, -1)
    return table


@numba.njit(cache=True)
def _smooth(start: np.ndarray, neighbours: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    points = start.copy()
    before = start.copy()
    for turn in range(len(SMOOTHING_STEPS) * ROUNDS):
        step = np.float32(SMOOTHING_STEPS[turn % len(SMOOTHING_STEPS)])
        before[:] = points
        for i in range(len(points)):
            for axis in range(3):
                if fixed[i, axis]:
                    continue
                total, count = np.float32(0), 0
                for k in range(6):
                    j = neighbours[i, k]
                    if j >= 0:
                        total += before[j, axis]
                        count += 1
                if count:
                    moved = before[i, axis] + step * (total / np.float32(count) - before[i, axis])
                    low, high = start[i, axis] - np.float32(REACH), start[i, axis] + np.float32(REACH)
                    points[i, axis] = min(max(moved, low), high)
    return points
