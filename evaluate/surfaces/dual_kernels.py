"""Compiled loops over cells: which patches of surface a cell holds, where their vertices go, how they are joined."""

import numba
import numpy as np

__all__ = ["cell_codes", "crossing_quads", "hermite_vertices"]

# Of a vertex towards the mean of its crossings: without it flat patches have no unique best point.
PULL = 0.02
# One-sided slopes that differ by more than this much of the slope across the surface are no noise of a staircase.
KINK = 0.6


@numba.njit(cache=True)
def cell_codes(inside, n_patches):
    """Return the code of each cell (bit i: corner i is inside) and the number of the first vertex in it."""
    nz, ny, nx = inside.shape
    codes = np.zeros((nz - 1, ny - 1, nx - 1), np.uint8)
    first = np.zeros((nz - 1, ny - 1, nx - 1), np.int32)
    count = 0
    for z in range(nz - 1):
        for y in range(ny - 1):
            # The four corners shared with the last cell are not read again.
            left = inside[z, y, 0] | inside[z, y + 1, 0] << 2 | inside[z + 1, y, 0] << 4 | inside[z + 1, y + 1, 0] << 6
            for x in range(nx - 1):
                right = (
                    inside[z, y, x + 1]
                    | inside[z, y + 1, x + 1] << 2
                    | inside[z + 1, y, x + 1] << 4
                    | inside[z + 1, y + 1, x + 1] << 6
                )
                code = left | right << 1
                left = right
                if code != 0 and code != 255:
                    codes[z, y, x] = code
                    first[z, y, x] = count
                    count += n_patches[code]
    return codes, first, count


@numba.njit(cache=True)
def crossing_quads(inside, codes, first, patches, pinched):
    """Join the vertices of the four cells round every crossing.

    Returns the vertices of each quad, shape (Q, 4), outward, and for each of its sides (from that vertex to the next)
    the number of the pinch that it runs through, or -1.
    """
    n_quads = 0
    for axis in range(3):
        n_quads += _count_crossings(inside, axis)
    quads = np.empty((n_quads, 4), np.int64)
    sides = np.full((n_quads, 4), -1, np.int64)
    step, low, cell, ahead = np.zeros((4, 3), np.int64)
    q = 0
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        step[:] = 0
        step[axis] = 1
        for z in range(inside.shape[0] - step[0]):
            for y in range(inside.shape[1] - step[1]):
                for x in range(inside.shape[2] - step[2]):
                    lower = inside[z, y, x]
                    if lower == inside[z + step[0], y + step[1], x + step[2]]:
                        continue
                    low[0], low[1], low[2] = z, y, x
                    _one_quad(low, (axis, b, c), lower, codes, first, patches, pinched, cell, ahead, quads[q], sides[q])
                    q += 1
    return quads, sides


@numba.njit(cache=True)
def _count_crossings(inside, axis):
    nz, ny, nx = inside.shape
    dz, dy, dx = int(axis == 0), int(axis == 1), int(axis == 2)
    count = 0
    for z in range(nz - dz):
        for y in range(ny - dy):
            for x in range(nx - dx):
                count += inside[z, y, x] != inside[z + dz, y + dy, x + dx]
    return count


@numba.njit(cache=True)
def _one_quad(low, axes, lower_inside, codes, first, patches, pinched, cell, ahead, quad, side):
    """Fill one quad round the lattice edge that leaves the point `low` along the first of `axes`."""
    axis, b, c = axes
    for k in range(4):
        # Counter-clockwise seen against the axis if the lower end is inside, else the other way round.
        _cell_beside(low, b, c, k if lower_inside else 3 - k, cell)
        code = codes[cell[0], cell[1], cell[2]]
        # The edge's place in this cell: 4 edges an axis, by where it lies along the other two.
        place = 4 * axis + 2 * (low[b] - cell[b]) + (low[c] - cell[c])
        quad[k] = first[cell[0], cell[1], cell[2]] + patches[code, place]
        # To the next cell leads the face at right angles to the axis along which the two differ.
        _cell_beside(low, b, c, (k + 1) % 4 if lower_inside else (2 - k) % 4, ahead)
        normal = b if ahead[b] != cell[b] else c
        upper = 1 if ahead[normal] > cell[normal] else 0
        if not pinched[code, 2 * normal + upper]:
            continue
        if not pinched[codes[ahead[0], ahead[1], ahead[2]], 2 * normal + 1 - upper]:
            continue
        cell[normal] = max(cell[normal], ahead[normal])
        face = 3 * ((cell[0] * (codes.shape[1] + 1) + cell[1]) * (codes.shape[2] + 1) + cell[2]) + normal
        # Two sheets run through the face, each round one of its two corners inside; this edge ends at one of them.
        within = (normal + 1) % 3
        end = low[within] + (1 if within == axis and not lower_inside else 0)
        side[k] = 2 * face + end - cell[within]


@numba.njit(cache=True)
def _cell_beside(low, b, c, turn, cell):
    """Write to `cell` that one of the four round a lattice edge which comes at `turn`."""
    cell[:] = low
    cell[b] -= 1 if turn == 0 or turn == 3 else 0
    cell[c] -= 1 if turn == 0 or turn == 1 else 0


@numba.njit(cache=True)
def _gradient(field, point, spacing, kink, gradient):
    """Slope at a point of the lattice: the central difference, or at a kink that of the flatter side.

    There an edge of the surface is near, beyond which the field belongs to another face. On a ridge, with slopes of
    opposite sign, the slope is 0: neither side comes first.
    """
    here = field[point[0], point[1], point[2]]
    for axis in range(3):
        at = point[axis]
        # Beyond the border the field goes on level.
        point[axis] = max(at - 1, 0)
        back = (here - field[point[0], point[1], point[2]]) / spacing[axis]
        point[axis] = min(at + 1, field.shape[axis] - 1)
        forth = (field[point[0], point[1], point[2]] - here) / spacing[axis]
        point[axis] = at
        if abs(back - forth) > kink:
            flatter = back if abs(back) < abs(forth) else forth
            gradient[axis] = flatter if back * forth > 0 else 0.0
        else:
            gradient[axis] = (back + forth) / 2


@numba.njit(cache=True)
def hermite_vertices(field, level, spacing, codes, first, patches, n_vertices):
    """Return for each patch the point of its cell that fits the tangent planes at its crossings best, shape (V, 3)."""
    vertices = np.empty((n_vertices, 3))
    fits, m, inverse, right = np.zeros((4, 16)), np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    point, gradient, other = np.zeros(3, np.int64), np.zeros(3), np.zeros(3)
    for z in range(codes.shape[0]):
        for y in range(codes.shape[1]):
            for x in range(codes.shape[2]):
                code = codes[z, y, x]
                if code == 0 or code == 255:
                    continue
                fits[:] = 0.0
                for place in range(12):
                    patch = patches[code, place]
                    if patch < 0:
                        continue
                    axis = place // 4
                    point[0], point[1], point[2] = z, y, x
                    point[(axis + 1) % 3] += place // 2 % 2
                    point[(axis + 2) % 3] += place % 2
                    _add_crossing(field, level, spacing, axis, point, gradient, other, fits[patch])
                low = (z * spacing[0], y * spacing[1], x * spacing[2])
                n = first[z, y, x]
                for patch in range(4):
                    if fits[patch, 15] > 0:
                        _best_point(fits[patch], low, spacing, m, inverse, right, vertices[n + patch])
    return vertices


@numba.njit(cache=True)
def _add_crossing(field, level, spacing, axis, point, gradient, other, fit):
    """Add the tangent plane at a crossing: Σ n nᵀ (9), Σ n (n·p) (3), Σ p (3) and their number."""
    a = field[point[0], point[1], point[2]] - level
    point[axis] += 1
    b = field[point[0], point[1], point[2]] - level
    across = (b - a) / spacing[axis]
    _gradient(field, point, spacing, KINK * abs(across), other)
    point[axis] -= 1
    _gradient(field, point, spacing, KINK * abs(across), gradient)
    t = a / (a - b)
    length = 0.0
    for i in range(3):
        gradient[i] = (1 - t) * gradient[i] + t * other[i]
    gradient[axis] = across
    for i in range(3):
        length += gradient[i] ** 2
    length = np.sqrt(length)
    offset = 0.0
    for i in range(3):
        gradient[i] /= length
        position = (point[i] + (t if i == axis else 0.0)) * spacing[i]
        offset += gradient[i] * position
        fit[12 + i] += position
    for i in range(3):
        fit[9 + i] += gradient[i] * offset
        for j in range(3):
            fit[3 * i + j] += gradient[i] * gradient[j]
    fit[15] += 1


@numba.njit(cache=True)
def _best_point(fit, low, spacing, m, inverse, right, vertex):
    """Minimise the distances to the planes, drawn a little to the mean of the crossings, within the cell."""
    for i in range(3):
        right[i] = fit[9 + i]
        for j in range(3):
            m[i, j] = fit[3 * i + j]
            right[i] -= m[i, j] * fit[12 + j] / fit[15]
    for i in range(3):
        m[i, i] += PULL * fit[15]
    for i in range(3):
        p, q = (i + 1) % 3, (i + 2) % 3
        for j in range(3):
            r, s = (j + 1) % 3, (j + 2) % 3
            inverse[j, i] = m[p, r] * m[q, s] - m[p, s] * m[q, r]
    determinant = m[0, 0] * inverse[0, 0] + m[0, 1] * inverse[1, 0] + m[0, 2] * inverse[2, 0]
    for i in range(3):
        shift = 0.0
        for j in range(3):
            shift += inverse[i, j] * right[j] / determinant
        vertex[i] = min(max(fit[12 + i] / fit[15] + shift, low[i]), low[i] + spacing[i])
