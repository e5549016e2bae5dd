"""Exact distances from points to many triangles, by a tree of boxes; compiled."""

import dataclasses

import numba
import numpy as np

__all__ = ["TriangleTree", "order_along_curve"]

PER_LEAF = 4
# Bits of a Morton code along each axis; three of them fit into 63.
BITS = 21
# Nodes waiting in a search: two a level at most, and trees of 2⁶² leaves do not occur.
DEEPEST = 128
# Points that a thread takes at a time, neighbours along the curve.
PER_PART = 256
TINY = 1e-300


@dataclasses.dataclass(frozen=True, eq=False)
class TriangleTree:
    """Triangles sorted along a Morton curve through their first corners, and a tree of boxes over that order [1]_.

    Attributes
    ----------
    corners : ndarray of float, shape (F, 3, 3)
        Triangle, corner, component; at least one. Those without area count as the segments or points they are.
    boxes : ndarray of float, shape (N, 6)
        Lowest and highest corner of each node of a full binary tree, root first.

    References
    ----------
    .. [1] T. Karras, Maximizing parallelism in the construction of BVHs, octrees, and k-d trees, High-Performance
       Graphics 2012.
    """

    corners: np.ndarray
    boxes: np.ndarray

    @classmethod
    def build(cls, corners: np.ndarray) -> "TriangleTree":
        """Return the tree of triangles in any order, shape (F, 3, 3)."""
        starts = corners[:, 0]
        corners = corners[order_along_curve(starts, starts)]
        boxes = np.empty((2 * _n_leaves(len(corners)) - 1, 6))
        _fill_boxes(corners, boxes)
        return cls(corners, boxes)

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Return the distance of each point to the nearest triangle.

        Parameters
        ----------
        points : ndarray of float, shape (N, 3)

        Returns
        -------
        ndarray of float, shape (N,)
            Exact up to rounding; the order of the triangles and the number of threads do not matter.

        Notes
        -----
        The tree is searched nearest box first, for the points along the same curve.
        """
        order = order_along_curve(points, self.corners[:, 0])
        distances = np.empty(len(points))
        distances[order] = _nearest(points[order], self.corners, self.boxes)
        return distances


def order_along_curve(points: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Return an order in which points that follow each other are near, on the scale of the points `around`."""
    low = around.min(axis=0)
    width = float((around.max(axis=0) - low).max())
    return np.argsort(_morton_codes(points, low, 2**BITS / max(width, TINY)))


def _n_leaves(n_triangles: int) -> int:
    """Leaves of a full binary tree, a power of two."""
    return 1 << max(-(-n_triangles // PER_LEAF) - 1, 0).bit_length()


@numba.njit(cache=True)
def _morton_codes(places, low, grid):
    """Where each place comes along a curve that fills space; what lies beyond the grid counts as at its border."""
    codes = np.empty(len(places), np.uint64)
    for i in range(len(places)):
        code = np.uint64(0)
        for axis in range(3):
            spread = np.uint64(min(max((places[i, axis] - low[axis]) * grid, 0.0), 2.0**BITS - 1))
            # Two zeros between neighbouring bits, by spreading halves of halves.
            spread = (spread | spread << np.uint64(32)) & np.uint64(0x1F00000000FFFF)
            spread = (spread | spread << np.uint64(16)) & np.uint64(0x1F0000FF0000FF)
            spread = (spread | spread << np.uint64(8)) & np.uint64(0x100F00F00F00F00F)
            spread = (spread | spread << np.uint64(4)) & np.uint64(0x10C30C30C30C30C3)
            spread = (spread | spread << np.uint64(2)) & np.uint64(0x1249249249249249)
            code |= spread << np.uint64(axis)
        codes[i] = code
    return codes


@numba.njit(cache=True)
def _fill_boxes(corners, boxes):
    """Write the bounding boxes (lowest, highest corner) of a full binary tree, root first."""
    first_leaf = len(boxes) // 2
    # Leaves without triangles are empty boxes, infinitely far away.
    boxes[first_leaf:, :3] = np.inf
    boxes[first_leaf:, 3:] = -np.inf
    for t in range(len(corners)):
        box = boxes[first_leaf + t // PER_LEAF]
        for corner in range(3):
            for axis in range(3):
                box[axis] = min(box[axis], corners[t, corner, axis])
                box[3 + axis] = max(box[3 + axis], corners[t, corner, axis])
    for node in range(first_leaf - 1, -1, -1):
        for axis in range(3):
            boxes[node, axis] = min(boxes[2 * node + 1, axis], boxes[2 * node + 2, axis])
            boxes[node, 3 + axis] = max(boxes[2 * node + 1, 3 + axis], boxes[2 * node + 2, 3 + axis])


@numba.njit(cache=True, parallel=True)
def _nearest(points, corners, boxes):
    distances = np.empty(len(points))
    for part in numba.prange(-(-len(points) // PER_PART)):
        nodes, bounds = np.empty(DEEPEST, np.int64), np.empty(DEEPEST)
        found = 0
        for i in range(part * PER_PART, min((part + 1) * PER_PART, len(points))):
            # The last point's nearest triangle is not far from this one either.
            squared, found = _search(points[i, 0], points[i, 1], points[i, 2], found, corners, boxes, nodes, bounds)
            distances[i] = np.sqrt(squared)
    return distances


@numba.njit(cache=True)
def _search(z, y, x, found, corners, boxes, nodes, bounds):
    """Return the squared distance to the nearest triangle and which one that is; begin with `found`."""
    first_leaf = len(boxes) // 2
    best = _to_triangle(z, y, x, corners[found])
    nodes[0], bounds[0] = 0, _to_box(z, y, x, boxes[0])
    waiting = 1
    while waiting:
        waiting -= 1
        node = nodes[waiting]
        if bounds[waiting] >= best:
            continue
        if node >= first_leaf:
            start = (node - first_leaf) * PER_LEAF
            for t in range(start, min(start + PER_LEAF, len(corners))):
                squared = _to_triangle(z, y, x, corners[t])
                if squared < best:
                    best, found = squared, t
            continue
        near, far = 2 * node + 1, 2 * node + 2
        to_near, to_far = _to_box(z, y, x, boxes[near]), _to_box(z, y, x, boxes[far])
        if to_far < to_near:
            near, far, to_near, to_far = far, near, to_far, to_near
        if to_far < best:
            nodes[waiting], bounds[waiting] = far, to_far
            waiting += 1
        if to_near < best:
            nodes[waiting], bounds[waiting] = near, to_near
            waiting += 1
    return best, found


@numba.njit(cache=True)
def _to_box(z, y, x, box):
    dz = max(box[0] - z, 0.0, z - box[3])
    dy = max(box[1] - y, 0.0, y - box[4])
    dx = max(box[2] - x, 0.0, x - box[5])
    return dz * dz + dy * dy + dx * dx


@numba.njit(cache=True)
def _to_triangle(z, y, x, corners):
    """Squared distance: to the plane if the point is above the inside, else to the nearest edge."""
    uz, uy, ux = corners[1, 0] - corners[0, 0], corners[1, 1] - corners[0, 1], corners[1, 2] - corners[0, 2]
    vz, vy, vx = corners[2, 0] - corners[0, 0], corners[2, 1] - corners[0, 1], corners[2, 2] - corners[0, 2]
    nz, ny, nx = uy * vx - ux * vy, ux * vz - uz * vx, uz * vy - uy * vz
    squared = nz * nz + ny * ny + nx * nx
    above, best = squared > 0, np.inf
    for i in range(3):
        a, b = corners[i], corners[(i + 1) % 3]
        ez, ey, ex = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        pz, py, px = z - a[0], y - a[1], x - a[2]
        if nz * (ey * px - ex * py) + ny * (ex * pz - ez * px) + nx * (ez * py - ey * pz) < 0:
            above = False
        length = ez * ez + ey * ey + ex * ex
        t = (ez * pz + ey * py + ex * px) / length if length > 0 else 0.0
        t = min(max(t, 0.0), 1.0)
        best = min(best, (pz - t * ez) ** 2 + (py - t * ey) ** 2 + (px - t * ex) ** 2)
    if above:
        offset = (z - corners[0, 0]) * nz + (y - corners[0, 1]) * ny + (x - corners[0, 2]) * nx
        return offset * offset / squared
    return best
