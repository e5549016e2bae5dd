"""Compiled sweeps over a voxel grid for the conduction equation: the finest grid by labels, coarser ones by faces."""

import numba
import numpy as np

__all__ = [
    "apply_operator",
    "block_faces",
    "block_labels",
    "face_sums",
    "flood",
    "fluxes",
    "linear_start",
    "prolong_faces",
    "prolong_labels",
    "restrict_faces",
    "restrict_labels",
    "search_direction",
    "smooth_faces",
    "smooth_labels",
    "step",
]

# On the finest grid the conductance between two voxels is looked up by their labels (`pair`, 0 where one of them does
# not conduct), so that a voxel costs one byte; on the coarser grids it is stored for the face towards z+1, y+1, x+1.
# Results do not depend on the number of threads: sums are kept plane by plane, and no plane writes into another that is
# being read (voxels of one colour have neighbours of the other only, along the parallel axis z at least).


@numba.njit(cache=True, inline="always")
def _around_label(labels, pair, weights, x, z, y, i, wrap):
    """Sum of conductance × neighbour, and sum of conductances, of one voxel of the finest grid."""
    nz, ny, nx = labels.shape
    own = labels[z, y, i]
    flow = 0.0
    total = 0.0
    if z > 0:
        g = weights[0] * pair[own, labels[z - 1, y, i]]
        flow += g * x[z - 1, y, i]
        total += g
    else:
        total += 2.0 * weights[0] * pair[own, own]
    if z < nz - 1:
        g = weights[0] * pair[own, labels[z + 1, y, i]]
        flow += g * x[z + 1, y, i]
        total += g
    else:
        total += 2.0 * weights[0] * pair[own, own]
    if y > 0 or wrap:
        other = y - 1 if y > 0 else ny - 1
        g = weights[1] * pair[own, labels[z, other, i]]
        flow += g * x[z, other, i]
        total += g
    if y < ny - 1 or wrap:
        other = y + 1 if y < ny - 1 else 0
        g = weights[1] * pair[own, labels[z, other, i]]
        flow += g * x[z, other, i]
        total += g
    if i > 0 or wrap:
        other = i - 1 if i > 0 else nx - 1
        g = weights[2] * pair[own, labels[z, y, other]]
        flow += g * x[z, y, other]
        total += g
    if i < nx - 1 or wrap:
        other = i + 1 if i < nx - 1 else 0
        g = weights[2] * pair[own, labels[z, y, other]]
        flow += g * x[z, y, other]
        total += g
    return flow, total


@numba.njit(cache=True, inline="always")
def _around_face(gz, gy, gx, x, z, y, i):
    """Sum of conductance × neighbour of one voxel of a coarser grid; the last faces of y and x wrap around."""
    nz, ny, nx = x.shape
    flow = gy[z, y, i] * x[z, y + 1 if y < ny - 1 else 0, i]
    before = y - 1 if y > 0 else ny - 1
    flow += gy[z, before, i] * x[z, before, i]
    flow += gx[z, y, i] * x[z, y, i + 1 if i < nx - 1 else 0]
    before = i - 1 if i > 0 else nx - 1
    flow += gx[z, y, before] * x[z, y, before]
    if z < nz - 1:
        flow += gz[z, y, i] * x[z + 1, y, i]
    if z > 0:
        flow += gz[z - 1, y, i] * x[z - 1, y, i]
    return flow


@numba.njit(cache=True, parallel=True)
def apply_operator(labels, pair, weights, wrap, x, out):
    """Write A x into `out`; return the sum of x · A x over each plane."""
    nz, ny, nx = labels.shape
    dots = np.zeros(nz)
    for z in numba.prange(nz):
        dot = 0.0
        for y in range(ny):
            for i in range(nx):
                if labels[z, y, i] != 0:
                    flow, total = _around_label(labels, pair, weights, x, z, y, i, wrap)
                    own = total * x[z, y, i] - flow
                    out[z, y, i] = own
                    dot += own * x[z, y, i]
        dots[z] = dot
    return dots


@numba.njit(cache=True, parallel=True)
def smooth_labels(labels, pair, weights, wrap, b, x, colour):
    """Gauss-Seidel over the voxels of one colour of the finest grid."""
    nz, ny, nx = labels.shape
    for z in numba.prange(nz):
        for y in range(ny):
            for i in range((z + y + colour) % 2, nx, 2):
                if labels[z, y, i] != 0:
                    flow, total = _around_label(labels, pair, weights, x, z, y, i, wrap)
                    x[z, y, i] = (b[z, y, i] + flow) / total


@numba.njit(cache=True, parallel=True)
def smooth_faces(gz, gy, gx, inverse, b, x, colour):
    """Gauss-Seidel over the voxels of one colour of a coarser grid."""
    nz, ny, nx = x.shape
    for z in numba.prange(nz):
        for y in range(ny):
            for i in range((z + y + colour) % 2, nx, 2):
                if inverse[z, y, i] != 0:
                    x[z, y, i] = (b[z, y, i] + _around_face(gz, gy, gx, x, z, y, i)) * inverse[z, y, i]


@numba.njit(cache=True, parallel=True)
def restrict_labels(labels, pair, weights, wrap, b, x, factors, out):
    """Sum the residual b - A x of the finest grid over blocks."""
    nz, ny, nx = labels.shape
    for block in numba.prange(out.shape[0]):
        out[block] = 0
        for z in range(block * factors[0], min((block + 1) * factors[0], nz)):
            for y in range(ny):
                for i in range(nx):
                    if labels[z, y, i] != 0:
                        flow, total = _around_label(labels, pair, weights, x, z, y, i, wrap)
                        out[block, y // factors[1], i // factors[2]] += b[z, y, i] + flow - total * x[z, y, i]


@numba.njit(cache=True, parallel=True)
def restrict_faces(gz, gy, gx, inverse, b, x, factors, out):
    """Sum the residual b - A x of a coarser grid over blocks."""
    nz, ny, nx = x.shape
    for block in numba.prange(out.shape[0]):
        out[block] = 0
        for z in range(block * factors[0], min((block + 1) * factors[0], nz)):
            for y in range(ny):
                for i in range(nx):
                    if inverse[z, y, i] != 0:
                        left = b[z, y, i] + _around_face(gz, gy, gx, x, z, y, i) - x[z, y, i] / inverse[z, y, i]
                        out[block, y // factors[1], i // factors[2]] += left


@numba.njit(cache=True, parallel=True)
def prolong_labels(labels, factors, coarse, x):
    """Add to each voxel of the finest grid the correction of its block."""
    nz, ny, nx = x.shape
    for z in numba.prange(nz):
        for y in range(ny):
            for i in range(nx):
                if labels[z, y, i] != 0:
                    x[z, y, i] += coarse[z // factors[0], y // factors[1], i // factors[2]]


@numba.njit(cache=True, parallel=True)
def prolong_faces(inverse, factors, coarse, x):
    """Add to each voxel of a coarser grid the correction of its block."""
    nz, ny, nx = x.shape
    for z in numba.prange(nz):
        for y in range(ny):
            for i in range(nx):
                if inverse[z, y, i] != 0:
                    x[z, y, i] += coarse[z // factors[0], y // factors[1], i // factors[2]]


@numba.njit(cache=True, inline="always")
def _distance(index, factor, n):
    """Return the steps of the finer grid from the middle of block `index` to that of the next, or around the end."""
    blocks = (n + factor - 1) // factor
    following = index + 1 if index + 1 < blocks else 0
    return (min(factor, n - index * factor) + min(factor, n - following * factor)) / 2.0


@numba.njit(cache=True, parallel=True)
def block_labels(labels, pair, weights, wrap, factors, gz, gy, gx, plates):
    """Conductances of the faces between blocks of the finest grid, and of their contact with the two plates."""
    nz, ny, nx = labels.shape
    fz, fy, fx = factors
    for block in numba.prange(gz.shape[0]):
        for z in range(block * fz, min((block + 1) * fz, nz)):
            for y in range(ny):
                for i in range(nx):
                    own = labels[z, y, i]
                    if own == 0:
                        continue
                    v, u = y // fy, i // fx
                    if (z + 1) % fz == 0 and z + 1 < nz:
                        gz[block, v, u] += weights[0] * pair[own, labels[z + 1, y, i]] / _distance(block, fz, nz)
                    if ((y + 1) % fy == 0 and y + 1 < ny) or (y + 1 == ny and wrap):
                        other = labels[z, y + 1 if y + 1 < ny else 0, i]
                        gy[block, v, u] += weights[1] * pair[own, other] / _distance(v, fy, ny)
                    if ((i + 1) % fx == 0 and i + 1 < nx) or (i + 1 == nx and wrap):
                        other = labels[z, y, i + 1 if i + 1 < nx else 0]
                        gx[block, v, u] += weights[2] * pair[own, other] / _distance(u, fx, nx)
                    if z == 0 or z == nz - 1:
                        thickness = min(fz, nz - block * fz)
                        sides = 2 if nz == 1 else 1
                        plates[block, v, u] += sides * 2.0 * weights[0] * pair[own, own] / thickness


@numba.njit(cache=True, parallel=True)
def block_faces(fine_gz, fine_gy, fine_gx, fine_plates, factors, gz, gy, gx, plates):
    """Conductances of the faces between blocks of a coarser grid, and of their contact with the two plates."""
    nz, ny, nx = fine_gz.shape
    fz, fy, fx = factors
    for block in numba.prange(gz.shape[0]):
        for z in range(block * fz, min((block + 1) * fz, nz)):
            for y in range(ny):
                for i in range(nx):
                    v, u = y // fy, i // fx
                    if (z + 1) % fz == 0 and z + 1 < nz:
                        gz[block, v, u] += fine_gz[z, y, i] / _distance(block, fz, nz)
                    if (y + 1) % fy == 0 or y + 1 == ny:
                        gy[block, v, u] += fine_gy[z, y, i] / _distance(v, fy, ny)
                    if (i + 1) % fx == 0 or i + 1 == nx:
                        gx[block, v, u] += fine_gx[z, y, i] / _distance(u, fx, nx)
                    plates[block, v, u] += fine_plates[z, y, i] / min(fz, nz - block * fz)


@numba.njit(cache=True)
def face_sums(gz, gy, gx, plates):
    """Sum of the conductances around each voxel of a coarser grid; a face of a voxel with itself does not count."""
    nz, ny, nx = gz.shape
    total = plates.astype(np.float64)
    for z in range(nz):
        for y in range(ny):
            for i in range(nx):
                if z < nz - 1:
                    total[z, y, i] += gz[z, y, i]
                    total[z + 1, y, i] += gz[z, y, i]
                total[z, y, i] += gy[z, y, i]
                total[z, y + 1 if y < ny - 1 else 0, i] += gy[z, y, i]
                total[z, y, i] += gx[z, y, i]
                total[z, y, i + 1 if i < nx - 1 else 0] += gx[z, y, i]
    return total


@numba.njit(cache=True)
def _total(values):
    """Sum in the order of the values; in a parallel kernel their own `sum` would follow the threads."""
    total = 0.0
    for value in values:
        total += value
    return total


@numba.njit(cache=True, parallel=True)
def search_direction(labels, z_new, r, Ap, p, alpha, zr_old):
    """Turn `p` into the next direction of flexible conjugate gradients; return z · r."""
    nz, ny, nx = labels.shape
    dots = np.zeros((2, nz))
    for z in numba.prange(nz):
        with_r, with_Ap = 0.0, 0.0
        for y in range(ny):
            for i in range(nx):
                if labels[z, y, i] != 0:
                    with_r += z_new[z, y, i] * r[z, y, i]
                    with_Ap += z_new[z, y, i] * Ap[z, y, i]
        dots[0, z], dots[1, z] = with_r, with_Ap
    zr, za = _total(dots[0]), _total(dots[1])
    # z · (r - r_old) / (z_old · r_old), since r_old = r + α A p: it forgives a preconditioner that is not quite linear.
    beta = -alpha * za / zr_old if zr_old > 0 else 0.0
    for z in numba.prange(nz):
        for y in range(ny):
            for i in range(nx):
                if labels[z, y, i] != 0:
                    p[z, y, i] = z_new[z, y, i] + beta * p[z, y, i]
    return zr


@numba.njit(cache=True, parallel=True)
def step(labels, alpha, p, Ap, x, r):
    """Do x += α p and r -= α A p; return the sum of r over each plane."""
    nz, ny, nx = labels.shape
    sums = np.zeros(nz)
    for z in numba.prange(nz):
        total = 0.0
        for y in range(ny):
            for i in range(nx):
                if labels[z, y, i] != 0:
                    x[z, y, i] += alpha * p[z, y, i]
                    left = r[z, y, i] - alpha * Ap[z, y, i]
                    r[z, y, i] = left
                    total += left
        sums[z] = total
    return sums


@numba.njit(cache=True, parallel=True)
def linear_start(labels, pair, weights, wrap, x, r):
    """Fill `x` with the linear profile from 1 to 0 and `r` with its residual."""
    nz, ny, nx = labels.shape
    for z in numba.prange(nz):
        for y in range(ny):
            for i in range(nx):
                x[z, y, i] = 1.0 - (z + 0.5) / nz if labels[z, y, i] != 0 else 0.0
    for z in numba.prange(nz):
        for y in range(ny):
            for i in range(nx):
                own = labels[z, y, i]
                if own != 0:
                    flow, total = _around_label(labels, pair, weights, x, z, y, i, wrap)
                    plate = 2.0 * weights[0] * pair[own, own] if z == 0 else 0.0
                    r[z, y, i] = plate + flow - total * x[z, y, i]


@numba.njit(cache=True, parallel=True)
def fluxes(labels, pair, weights, wrap, x):
    """Flux through the nz + 1 planes between voxels, plates included, and the dissipation plane by plane."""
    nz, ny, nx = labels.shape
    through = np.zeros(nz + 1)
    lost = np.zeros(nz + 1)
    for z in numba.prange(nz + 1):
        flux, heat = 0.0, 0.0
        for y in range(ny):
            for i in range(nx):
                if z == nz or labels[z, y, i] == 0:
                    if z == nz and labels[z - 1, y, i] != 0:
                        own = labels[z - 1, y, i]
                        g = 2.0 * weights[0] * pair[own, own]
                        flux += g * x[z - 1, y, i]
                        heat += g * x[z - 1, y, i] ** 2
                    continue
                own = labels[z, y, i]
                if z == 0:
                    g, drop = 2.0 * weights[0] * pair[own, own], 1.0 - x[z, y, i]
                else:
                    g, drop = weights[0] * pair[own, labels[z - 1, y, i]], x[z - 1, y, i] - x[z, y, i]
                flux += g * drop
                heat += g * drop**2
                if y < ny - 1 or wrap:
                    other = y + 1 if y < ny - 1 else 0
                    heat += weights[1] * pair[own, labels[z, other, i]] * (x[z, other, i] - x[z, y, i]) ** 2
                if i < nx - 1 or wrap:
                    other = i + 1 if i < nx - 1 else 0
                    heat += weights[2] * pair[own, labels[z, y, other]] * (x[z, y, other] - x[z, y, i]) ** 2
        through[z], lost[z] = flux, heat
    return through, lost


@numba.njit(cache=True)
def flood(reached, conducts, plane, wrap, bit):
    """Mark with `bit` every conducting voxel that is connected, face to face, to one of slice `plane`."""
    ny, nx = conducts.shape[1:]
    stack = np.empty(1024, np.int64)
    for start in range(ny * nx):
        stack[0] = plane * ny * nx + start
        size = 1 if conducts[plane, start // nx, start % nx] else 0
        while size:
            size -= 1
            z, y, i = stack[size] // (ny * nx), stack[size] // nx % ny, stack[size] % nx
            if reached[z, y, i] & bit:
                continue
            low, high = i, i
            while low > 0 and conducts[z, y, low - 1]:
                low -= 1
            while high < nx - 1 and conducts[z, y, high + 1]:
                high += 1
            reached[z, y, low : high + 1] |= bit
            if size + 2 * nx + 4 > stack.size:
                stack = np.concatenate((stack, np.empty(stack.size + 4 * nx, np.int64)))
            size = _push_next_runs(stack, size, reached, conducts, z, y, low, high, wrap, bit)


@numba.njit(cache=True)
def _push_next_runs(stack, size, reached, conducts, z, y, low, high, wrap, bit):
    """Put one voxel of each unmarked run beside the run from `low` to `high` on the stack; return its new size."""
    nz, ny, nx = conducts.shape
    for way in range(4):
        w = z + (1 if way == 0 else -1 if way == 1 else 0)
        v = y + (1 if way == 2 else -1 if way == 3 else 0)
        if wrap:
            v %= ny
        if w < 0 or w >= nz or v < 0 or v >= ny:
            continue
        before = False
        for u in range(low, high + 1):
            fresh = conducts[w, v, u] and not reached[w, v, u] & bit
            if fresh and not before:
                stack[size] = (w * ny + v) * nx + u
                size += 1
            before = fresh
    for end, other in ((low, nx - 1), (high, 0)):
        if wrap and end == nx - 1 - other and conducts[z, y, other] and not reached[z, y, other] & bit:
            stack[size] = (z * ny + y) * nx + other
            size += 1
    return size
