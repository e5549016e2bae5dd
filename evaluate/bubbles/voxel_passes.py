"""Loops over all voxels of a cell, each of them run once, whatever the number of bubbles."""

from typing import Any

import numba
import numpy as np

__all__ = ["away_from", "count_hull", "count_sides", "flood_basins", "least_values", "measure_faces", "sum_bubbles"]

# Columns of the sums of `sum_bubbles`.
N_SUMS = 11
# A normal is taken from the membrane's faces this far around a voxel, with Gaussian weights of this spread.
REACH, SPREAD = 5, 2.5
# To the neighbour behind each face of a voxel.
STEPS = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]])


@numba.njit(cache=True, inline="always")
def _side(height: Any, axis: int, z: int, y: int, x: int) -> int:
    """Return 1 in the upper half-cell, 0 in the lower one."""
    if axis == 0:
        return int(z + 0.5 >= height[y, x])
    return int(y + 0.5 >= height[z, x]) if axis == 1 else int(x + 0.5 >= height[z, y])


@numba.njit(cache=True)
def sum_bubbles(ids: Any, height: Any, axis: int, count: int, area_of_code: Any) -> tuple[Any, Any, Any, Any]:
    """Add up moments, boxes, first voxels and surfaces of all bubbles in one pass.

    Parameters
    ----------
    ids : ndarray of uint32, shape (Z, Y, X)
        0 is background; 1 to `count` are the bubbles.
    height : ndarray of float32
        A voxel belongs to the upper half-cell if its centre lies at or above this along `axis`; of shape (Y, X) for
        axis 0.
    axis, count : int
        The axis through the cell; the number of bubbles.
    area_of_code : ndarray of float64, shape (256,)
        Surface that a 2 × 2 × 2 neighbourhood stands for; what lies beyond the border is background.

    Returns
    -------
    sums : ndarray of int64, shape (count + 1, 11)
        n, z, y, x, zz, yy, xx, zy, zx, yx, and the voxels in the upper half-cell.
    boxes : ndarray of int64, shape (count + 1, 6)
        First z, y, x and last z, y, x.
    first : ndarray of int64, shape (count + 1,)
        Flat index of the first voxel.
    surface : ndarray of float64, shape (count + 1,)
    """
    nz, ny, nx = ids.shape
    sums = np.zeros((count + 1, N_SUMS), np.int64)
    boxes = np.zeros((count + 1, 6), np.int64)
    boxes[:, :3] = max(nz, ny, nx)
    boxes[:, 3:] = -1
    first = np.full(count + 1, -1, np.int64)
    surface = np.zeros(count + 1)
    outside = np.zeros(nx, ids.dtype)
    corner = np.zeros(8, ids.dtype)
    for z in range(-1, nz):
        for y in range(-1, ny):
            low_low = ids[z, y] if z >= 0 and y >= 0 else outside
            low_high = ids[z, y + 1] if z >= 0 and y < ny - 1 else outside
            high_low = ids[z + 1, y] if z < nz - 1 and y >= 0 else outside
            high_high = ids[z + 1, y + 1] if z < nz - 1 and y < ny - 1 else outside
            corner[:] = 0
            for x in range(nx + 1):
                corner[0], corner[2], corner[4], corner[6] = corner[1], corner[3], corner[5], corner[7]
                if x < nx:
                    corner[1], corner[3], corner[5], corner[7] = low_low[x], low_high[x], high_low[x], high_high[x]
                else:
                    corner[1] = corner[3] = corner[5] = corner[7] = 0
                if not (corner[0] | corner[1] | corner[2] | corner[3] | corner[4] | corner[5] | corner[6] | corner[7]):
                    continue
                _add_surface(corner, surface, area_of_code)
                if corner[1]:
                    _add_voxel(corner[1], z, y, x, sums, boxes)
                    sums[corner[1], 10] += _side(height, axis, z, y, x)
                    if first[corner[1]] < 0:
                        first[corner[1]] = (z * ny + y) * nx + x
    return sums, boxes, first, surface


@numba.njit(cache=True, inline="always")
def _add_surface(corner: Any, surface: Any, area_of_code: Any) -> None:
    same = True
    for c in range(1, 8):
        same = same and corner[c] == corner[0]
    if same:
        return
    for c in range(8):
        own = corner[c]
        if own == 0:
            continue
        code, earlier = 0, False
        for k in range(8):
            if corner[k] == own:
                code |= 1 << k
                earlier = earlier or k < c
        if not earlier:
            surface[own] += area_of_code[code]


@numba.njit(cache=True, inline="always")
def _add_voxel(own: int, z: int, y: int, x: int, sums: Any, boxes: Any) -> None:
    row, box = sums[own], boxes[own]
    row[0] += 1
    row[1] += z
    row[2] += y
    row[3] += x
    row[4] += z * z
    row[5] += y * y
    row[6] += x * x
    row[7] += z * y
    row[8] += z * x
    row[9] += y * x
    box[0], box[1], box[2] = min(box[0], z), min(box[1], y), min(box[2], x)
    box[3], box[4], box[5] = max(box[3], z), max(box[4], y), max(box[5], x)


@numba.njit(cache=True)
def away_from(labels: Any, label: int) -> Any:
    """Return 0 at each voxel of a label and the 26 around it, 1 elsewhere, as uint8."""
    nz, ny, nx = labels.shape
    away = np.ones(labels.shape, np.uint8)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if labels[z, y, x] == label:
                    for i in range(max(z - 1, 0), min(z + 2, nz)):
                        for j in range(max(y - 1, 0), min(y + 2, ny)):
                            for k in range(max(x - 1, 0), min(x + 2, nx)):
                                away[i, j, k] = 0
    return away


@numba.njit(cache=True)
def least_values(ids: Any, values: Any, count: int) -> Any:
    """Return the least value of each bubble's voxels, shape (count + 1,), infinite for a number without voxels."""
    least = np.full(count + 1, np.inf)
    flat_ids, flat_values = ids.ravel(), values.ravel()
    for i in range(flat_ids.size):
        if flat_ids[i]:
            least[flat_ids[i]] = min(least[flat_ids[i]], flat_values[i])
    return least


@numba.njit(cache=True)
def count_sides(labels: Any, height: Any, axis: int) -> Any:
    """Count the voxels of each label below and above the membrane's middle, shape (2, 256)."""
    counts = np.zeros((2, 256), np.int64)
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                counts[_side(height, axis, z, y, x), labels[z, y, x]] += 1
    return counts


@numba.njit(cache=True)
def measure_faces(
    labels: Any, ids: Any, height: Any, axis: int, membrane: int, closed: Any, spacing: Any, count: int
) -> tuple[Any, Any, Any, Any]:
    """Measure the membrane's faces that look into an electrode.

    Parameters
    ----------
    labels, ids : ndarray, shape (Z, Y, X)
    height, axis
        As in `sum_bubbles`.
    membrane : int
        Its label.
    closed : ndarray of bool, shape (256,)
        Labels behind which a face of the membrane is no electrode.
    spacing : ndarray of float64, shape (3,)
    count : int
        Number of bubbles.

    Returns
    -------
    faces, areas : ndarray of int64 and float64, shape (2, 2)
        Below and above; all, and those behind a bubble.
    contact_faces, contact_areas : ndarray of int64 and float64, shape (count + 1,)
        Of each bubble.

    Notes
    -----
    A plane of area A and unit normal n shows A |n_k| in faces across axis k. Each face weighs as |n_k|, so that the
    sum is A (n_z² + n_y² + n_x²) = A however the plane lies.
    """
    exposed, window = _exposed_faces(labels, membrane, closed), _window()
    nz, ny, nx = labels.shape
    faces, areas = np.zeros((2, 2), np.int64), np.zeros((2, 2))
    contact_faces, contact_areas = np.zeros(count + 1, np.int64), np.zeros(count + 1)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if not exposed[z, y, x]:
                    continue
                for n in range(6):
                    if not exposed[z, y, x] >> n & 1:
                        continue
                    i, j, k = z + STEPS[n, 0], y + STEPS[n, 1], x + STEPS[n, 2]
                    side, own = _side(height, axis, i, j, k), ids[i, j, k]
                    area = spacing[0] * spacing[1] * spacing[2] / spacing[n // 2]
                    area *= _share_of_face(exposed, height, axis, (z, y, x), n // 2, side, window, spacing)
                    faces[side, 0] += 1
                    areas[side, 0] += area
                    if own:
                        faces[side, 1] += 1
                        areas[side, 1] += area
                        contact_faces[own] += 1
                        contact_areas[own] += area
    return faces, areas, contact_faces, contact_areas


@numba.njit(cache=True)
def _exposed_faces(labels: Any, membrane: int, closed: Any) -> Any:
    """Return for each voxel of the membrane which of its faces look into an electrode, bit n for ``STEPS[n]``."""
    nz, ny, nx = labels.shape
    exposed = np.zeros(labels.shape, np.uint8)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if labels[z, y, x] != membrane:
                    continue
                for n in range(6):
                    i, j, k = z + STEPS[n, 0], y + STEPS[n, 1], x + STEPS[n, 2]
                    if 0 <= i < nz and 0 <= j < ny and 0 <= k < nx and not closed[labels[i, j, k]]:
                        exposed[z, y, x] |= 1 << n
    return exposed


@numba.njit(cache=True)
def _window() -> tuple[Any, Any]:
    """Return the steps to the voxels near one, and their weights."""
    steps, weights = np.empty(((2 * REACH + 1) ** 3, 3), np.int64), np.empty((2 * REACH + 1) ** 3)
    size = 0
    for i in range(-REACH, REACH + 1):
        for j in range(-REACH, REACH + 1):
            for k in range(-REACH, REACH + 1):
                squared = i * i + j * j + k * k
                if squared <= REACH * REACH:
                    steps[size, 0], steps[size, 1], steps[size, 2] = i, j, k
                    weights[size] = np.exp(-squared / (2 * SPREAD * SPREAD))
                    size += 1
    return steps[:size], weights[:size]


@numba.njit(cache=True)
def _share_of_face(
    exposed: Any, height: Any, axis: int, at: Any, across: int, side: int, window: Any, spacing: Any
) -> float:  # fmt: skip
    """Return |n_across| of the membrane's unit normal at a voxel: of the faces around it that look to the same side.

    The border is extended by its outermost voxels.
    """
    nz, ny, nx = exposed.shape
    steps, weights = window
    normal = np.zeros(3)
    for s in range(len(steps)):
        z = min(max(at[0] + steps[s, 0], 0), nz - 1)
        y = min(max(at[1] + steps[s, 1], 0), ny - 1)
        x = min(max(at[2] + steps[s, 2], 0), nx - 1)
        if not exposed[z, y, x]:
            continue
        for n in range(6):
            if not exposed[z, y, x] >> n & 1:
                continue
            if _side(height, axis, z + STEPS[n, 0], y + STEPS[n, 1], x + STEPS[n, 2]) == side:
                normal[n // 2] += weights[s] if n % 2 else -weights[s]
    # Found in voxels, as if they were cubes: a normal scales with 1 / edge.
    normal /= spacing
    length = np.sqrt((normal**2).sum())
    return abs(normal[across]) / length if length > 1e-9 else 1.0


@numba.njit(cache=True)
def flood_basins(depth: Any, inside: Any, order: Any, neck: float, noise: float) -> tuple[Any, int]:
    """Cut a body at its necks: watershed of the depth, basins joined where the pass is hardly lower than the peak.

    Parameters
    ----------
    depth : ndarray of float32, shape (Z, Y, X)
        Distance to the body's surface.
    inside : ndarray of bool, shape (Z, Y, X)
    order : ndarray of int64, shape (n,)
        Flat indices of the voxels inside, deepest first.
    neck, noise : float
        Two basins stay apart if their highest pass is below ``neck × (lower peak) - noise``.

    Returns
    -------
    basins : ndarray of int32, shape (Z, Y, X)
        1, 2, … in the order of their peaks, 0 outside.
    count : int
    """
    nz, ny, nx = depth.shape
    basins = np.zeros(depth.shape, np.int32)
    flat, flat_depth = basins.ravel(), depth.ravel()
    parent, peak = [0], [np.float32(0)]
    for at in order:
        z, y, x = at // (ny * nx), at // nx % ny, at % nx
        here, best, steepest = flat_depth[at], 0, np.float32(-1)
        for i in range(max(z - 1, 0), min(z + 2, nz)):
            for j in range(max(y - 1, 0), min(y + 2, ny)):
                for k in range(max(x - 1, 0), min(x + 2, nx)):
                    if basins[i, j, k] == 0:
                        continue
                    root = _root(parent, basins[i, j, k])
                    if best:
                        best = _root(parent, best)
                        if root != best:
                            low, high = max(root, best), min(root, best)
                            # Peaks come deepest first: the larger number is the shallower one.
                            if here >= neck * peak[low] - noise:
                                parent[low] = high
                                root = best = high
                    if depth[i, j, k] > steepest:
                        steepest, best = depth[i, j, k], root
        if best == 0:
            parent.append(len(parent))
            peak.append(here)
            best = len(parent) - 1
        flat[at] = best
    return basins, _number(basins, parent)


@numba.njit(cache=True)
def _root(parent: Any, basin: int) -> int:
    while parent[basin] != basin:
        parent[basin] = parent[parent[basin]]
        basin = parent[basin]
    return basin


@numba.njit(cache=True)
def _number(basins: Any, parent: Any) -> int:
    """Replace each basin by the number of its root among the roots; return how many there are."""
    number = np.zeros(len(parent), np.int32)
    count = 0
    for b in range(1, len(parent)):
        if parent[b] == b:
            count += 1
            number[b] = count
    flat = basins.ravel()
    for i in range(flat.size):
        if flat[i]:
            flat[i] = number[_root(parent, flat[i])]
    return count


@numba.njit(cache=True)
def count_hull(planes: Any, open_to_gas: Any, slack: float) -> int:
    """Count the open voxels whose centres, at whole numbers, lie in a convex hull.

    Parameters
    ----------
    planes : ndarray of float64, shape (F, 4)
        A point p is inside if ``planes[:, :3] @ p + planes[:, 3] <= slack``.
    open_to_gas : ndarray of bool, shape (Z, Y, X)
        Voxels that count.
    slack : float
    """
    total = 0
    shape = open_to_gas.shape
    for z in range(shape[0]):
        for y in range(shape[1]):
            low, high = 0.0, shape[2] - 1.0
            for f in range(len(planes)):
                rest, slope = slack - planes[f, 3] - planes[f, 0] * z - planes[f, 1] * y, planes[f, 2]
                if slope > 1e-12:
                    high = min(high, rest / slope)
                elif slope < -1e-12:
                    low = max(low, rest / slope)
                elif rest < 0:
                    high = -1.0
            for x in range(int(np.ceil(low - 1e-9)), int(np.floor(high + 1e-9)) + 1):
                total += open_to_gas[z, y, x]
    return total
