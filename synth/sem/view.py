"""What the tilted column sees of each cut: the face, and through its pores the walls behind it."""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from scipy import ndimage

from synth.sem.geometry import Slices, depth_at, place, reflected
from synth.threads import in_threads, thread_count

__all__ = ["Sight", "see", "smooth_solid"]

# The smoothed solid is kept in bytes: a wall lies where it passes through the middle.
WALL = 127.5
# A thin strut would vanish in the mean of its neighbourhood: every voxel centre keeps its side of the wall.
PORE_SIDE, SOLID_SIDE = 107, 148
# Sight ends where brightness has fallen to exp(-4) of what it was.
LONGEST_DEPTHS = 4.0
LONGEST_VOXELS = 1024.0  # along z or y, for those who see very deep or very flat
PIECE = 2**18  # voxels that a thread smooths at a time
# The mouth of a pore is kept at resolutions of 1, 2, 4, … voxels.
LEVELS = 6
# At resolution w it is blurred by 0.65 w. Half the light of an even sky comes from within a disc as wide as the wall is
# deep, as of a Gaussian of standard deviation 0.85.
SPREAD = 1.3


class Sight(NamedTuple):
    """What decides how bright a point of a wall looks; fields as in `FibsemSettings`, for compiled code."""

    slope: float
    depth: float
    shine: float
    floor: float
    filled: float
    relief: float
    rim: float
    shadow: float
    sun: float
    bounce: float
    lamp_z: float
    lamp_y: float
    lamp_x: float
    mottle: float
    mottle_vox: float
    edge: float
    edge_side: float


def see(
    labels: np.ndarray, slices: Slices, sight: Sight, *, face_grey: np.ndarray, mottle: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Trace the view of every pixel of a stack.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        Beyond its sides the structure goes on as its mirror image.
    slices : Slices
        Where the pixels lie.
    sight : Sight
        How walls look; ``filled`` below 0 means open pores.
    face_grey : ndarray of float32, shape (256,)
        Grey value of the cut face of each label.
    mottle : ndarray of float32, 3-D
        Normal numbers on a grid of ``sight.mottle_vox``, at least two along each axis.

    Returns
    -------
    grey : ndarray of float32, shape (Z', Y', X')
        What is seen at the centres of the structure's voxels, and between them what is linear along y and x: pixels
        of a voxel's size are the mean over what they cover, so that the picture moves by fractions of a pixel.
    seen : ndarray of uint8, same shape
        Label of the point of the cut face at each pixel's centre.
    """
    open_pores = sight.filled < 0
    field = smooth_solid(labels) if open_pores else labels
    room = free_room(labels, sight.slope) if open_pores else labels
    grey = np.empty(slices.shape, np.float32)
    seen = np.empty(slices.shape, np.uint8)

    def look(k: int) -> None:
        _cut_pixels(labels, slices, k, seen[k])
        window = _window(slices, k)
        on_grid = slices.scale[1:] == (1.0, 1.0) and not slices.drift_px[k].any()
        shape = (len(window.rows), len(window.columns))
        view, face = (grey[k], seen[k]) if on_grid else (np.zeros(shape, np.float32), np.empty(shape, np.uint8))
        _look(labels, field, room, slices, sight, face_grey, mottle, window, k, face, view)
        if sight.edge > 0:
            _add_edges(view, face, sight)
        if not on_grid:
            _resample(view, slices, window, k, grey[k])

    in_threads(look, range(slices.shape[0]))
    return grey, seen


class _Window(NamedTuple):
    """The voxels of the structure that a picture shows: where they begin, and which rows and columns pixels need."""

    y: int
    x: int
    rows: np.ndarray
    columns: np.ndarray


def _window(slices: Slices, k: int) -> _Window:
    parts = []
    for axis in (1, 2):
        centres = (np.arange(slices.shape[axis]) + 0.5 - slices.drift_px[k, axis - 1]) * slices.scale[axis] - 0.5
        below = np.floor(centres).astype(np.int64)
        above = below + (centres > below)
        needed = np.zeros(above[-1] - below[0] + 1, np.bool_)
        needed[below - below[0]] = needed[above - below[0]] = True
        parts.append((int(below[0]), needed))
    (y, rows), (x, columns) = parts
    return _Window(y, x, rows, columns)


def _add_edges(view: np.ndarray, face: np.ndarray, sight: Sight) -> None:
    """Let the edges of the face glow, in place."""
    solid = (face > 0).astype(np.float32)
    around = ndimage.gaussian_filter(solid, 1.0, mode="nearest")
    _glow(view, solid, around, sight.edge, sight.edge_side, sight.lamp_y, sight.lamp_x)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _glow(view: Any, solid: Any, around: Any, edge: float, side: float, lamp_y: float, lamp_x: float) -> None:
    ny, nx = solid.shape
    height = math.hypot(lamp_y, lamp_x) + 1e-9
    for y in range(ny):
        for x in range(nx):
            if solid[y, x] > 0 and around[y, x] < 1:
                glow = edge * min(max(2 * (1 - around[y, x]), 0.0), 1.0)
                if side > 0:
                    # Out of the solid.
                    out_y = around[max(y - 1, 0), x] - around[min(y + 1, ny - 1), x]
                    out_x = around[y, max(x - 1, 0)] - around[y, min(x + 1, nx - 1)]
                    facing = (out_y * lamp_y + out_x * lamp_x) / (math.hypot(out_y, out_x) + 1e-9) / height
                    glow *= 1 + side * facing
                view[y, x] += glow


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _resample(view: Any, slices: Any, window: Any, k: int, grey: Any) -> None:
    """Read a picture of the structure's voxels at the centres of a slice's pixels, linearly between voxels."""
    for i in range(grey.shape[0]):
        for j in range(grey.shape[1]):
            _, y, x = place(slices, k, i, j)
            y, x = y - 0.5 - window.y, x - 0.5 - window.x
            i0, j0 = math.floor(y), math.floor(x)
            i1, j1 = min(i0 + 1, view.shape[0] - 1), min(j0 + 1, view.shape[1] - 1)
            b, a = y - i0, x - j0
            upper = view[i0, j0] * (1 - a) + view[i0, j1] * a
            grey[i, j] = upper * (1 - b) + (view[i1, j0] * (1 - a) + view[i1, j1] * a) * b


def smooth_solid(labels: np.ndarray) -> np.ndarray:
    """Return the solid smoothed by a voxel, as bytes: 0 deep in a pore, 255 deep in the solid, walls at 127.5.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        0 is pore; mirrored beyond its sides.

    Returns
    -------
    ndarray of uint8, same shape
        Above the middle in every solid voxel and below it in every pore voxel, so that between two of them a wall
        lies within half a voxel of their border.
    """
    field = np.empty(labels.shape, np.uint8)
    in_threads(lambda span: _smooth(labels, field, *span), _spans(labels.shape))
    return field


def _spans(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Divide a stack into ranges of slices, small enough that no thread waits long for the others."""
    count = max(1, PIECE // (shape[1] * shape[2]))
    return [(start, min(start + count, shape[0])) for start in range(0, shape[0], count)]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _smooth(labels: Any, field: Any, start: int, stop: int) -> None:
    # 1 4 6 4 1 has the variance 1; its sum along three axes is 4096.
    nz, ny, nx = labels.shape
    plane = np.empty((ny, nx), np.int32)
    lines = np.empty((ny, nx), np.int32)
    for z in range(start, stop):
        a, b, c, d = reflected(z - 2, nz), reflected(z - 1, nz), reflected(z + 1, nz), reflected(z + 2, nz)
        for y in range(ny):
            for x in range(nx):
                outer = (labels[a, y, x] > 0) + (labels[d, y, x] > 0)
                inner = (labels[b, y, x] > 0) + (labels[c, y, x] > 0)
                plane[y, x] = outer + 4 * inner + 6 * (labels[z, y, x] > 0)
        for y in range(ny):
            e, f, g, h = reflected(y - 2, ny), reflected(y - 1, ny), reflected(y + 1, ny), reflected(y + 2, ny)
            for x in range(nx):
                lines[y, x] = plane[e, x] + plane[h, x] + 4 * (plane[f, x] + plane[g, x]) + 6 * plane[y, x]
        for y in range(ny):
            for x in range(nx):
                outer = lines[y, reflected(x - 2, nx)] + lines[y, reflected(x + 2, nx)]
                inner = lines[y, reflected(x - 1, nx)] + lines[y, reflected(x + 1, nx)]
                level = (255 * (outer + 4 * inner + 6 * lines[y, x]) + 2048) // 4096
                field[z, y, x] = max(level, SOLID_SIDE) if labels[z, y, x] > 0 else min(level, PORE_SIDE)


def free_room(labels: np.ndarray, slope: float) -> np.ndarray:
    """Return how far a ray may go from each cell, between the centres of neighbouring voxels, and meet no wall.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        0 is pore.
    slope : float
        Voxels along y that a ray goes for one along z.

    Returns
    -------
    ndarray of uint8, shape (Z + 1, Y + 1, X)
        Element (z, y, x) belongs to the cell between voxels z - 1 and z, y - 1 and y, of column x: 0 if one of them is
        solid, so that there may be a wall in it, or else 1 more than the voxels along z that a ray may go on.
    """
    room = np.empty((labels.shape[0] + 1, labels.shape[1] + 1, labels.shape[2]), np.uint8)
    n, pieces = labels.shape[2], min(thread_count(), labels.shape[2])
    spans = [(n * i // pieces, n * (i + 1) // pieces) for i in range(pieces)]
    in_threads(lambda span: _count_room(labels, room, math.floor(slope), *span), spans)
    return room


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _count_room(labels: Any, room: Any, shift: int, start: int, stop: int) -> None:
    nz, ny, _ = labels.shape
    # How many cells in a row along +y are free, and the same of the layer behind.
    run, behind = np.zeros((ny + 2, stop - start), np.int32), np.zeros((ny + 2, stop - start), np.int32)
    for z in range(nz, -1, -1):
        run, behind = behind, run
        a, b = max(z - 1, 0), min(z, nz - 1)
        for y in range(ny, -1, -1):
            c, d = max(y - 1, 0), min(y, ny - 1)
            for x in range(start, stop):
                i = x - start
                solid = labels[a, c, x] | labels[a, d, x] | labels[b, c, x] | labels[b, d, x]
                run[y, i] = 0 if solid > 0 else run[y + 1, i] + 1
                # While it goes on by a voxel along z, a ray passes at most these cells, and comes to one of two.
                if z < nz and min(run[y, i], behind[y, i]) >= shift + 2:
                    room[z, y, x] = min(room[z + 1, y + shift, x], room[z + 1, y + shift + 1, x], 254) + 1
                else:
                    room[z, y, x] = solid == 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _look(
    labels: Any, field: Any, room: Any, slices: Any, sight: Any, face_grey: Any, mottle: Any, window: Any, k: int,
    face: Any, view: Any,
) -> None:  # fmt: skip
    """Write down the labels of the voxels of slice k in the window, and how bright those look that are needed."""
    rows, columns = face.shape
    depths = np.empty((rows, columns))
    _cut_voxels(labels, slices, window, k, face, depths)
    mouths = _empty_mouths(rows, columns)
    if sight.filled < 0 and sight.shadow > 0:
        _open_mouths(mouths, face)
    reach = min(LONGEST_DEPTHS * sight.depth, LONGEST_VOXELS / max(1.0, sight.slope))
    for i in range(rows):
        for j in range(columns):
            if not (window.rows[i] and window.columns[j]):
                continue
            z, y, ix = depths[i, j], window.y + i + 0.5, reflected(window.x + j, labels.shape[2])
            if face[i, j] > 0:
                view[i, j] = face_grey[face[i, j]] * _mottled(mottle, sight, z, y, ix + 0.5)
            elif sight.filled >= 0:
                view[i, j] = sight.filled
            else:
                down = _first_wall(field, room, z, y, ix, sight.slope, reach)
                at = (down, z + down, y + down * sight.slope, ix, window.y, j)
                view[i, j] = _wall(labels, field, sight, face_grey, mottle, mouths, at)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cut_voxels(labels: Any, slices: Any, window: Any, k: int, face: Any, depths: Any) -> None:
    """Write down the labels of the voxels of slice k in the window, and the depth of the cut in their middle."""
    nz, ny, nx = labels.shape
    for i in range(face.shape[0]):
        row = (window.y + i + 0.5) / slices.scale[1] + slices.drift_px[k, 0]
        for j in range(face.shape[1]):
            z = depth_at(slices, k, row, (window.x + j + 0.5) / slices.scale[2] + slices.drift_px[k, 1])
            depths[i, j] = z
            face[i, j] = labels[
                reflected(math.floor(z), nz), reflected(window.y + i, ny), reflected(window.x + j, nx)
            ]  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cut_pixels(labels: Any, slices: Any, k: int, seen: Any) -> None:
    """Write down the labels of slice k at the centres of the pixels."""
    nz, ny, nx = labels.shape
    for i in range(seen.shape[0]):
        for j in range(seen.shape[1]):
            z, y, x = place(slices, k, i, j)
            seen[i, j] = labels[
                reflected(math.floor(z), nz), reflected(math.floor(y), ny), reflected(math.floor(x), nx)
            ]  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _wall(
    labels: Any, field: Any, sight: Any, face_grey: Any, mottle: Any, mouths: Any, at: Any
) -> float:  # fmt: skip
    """Return the grey of a wall in the middle of a column of voxels."""
    down, z, y, column, _, _ = at
    if down < 0:
        return sight.floor
    bright = sight.shine * face_grey[_solid_near(labels, z, y, column)] * _mottled(mottle, sight, z, y, column + 0.5)
    if sight.relief > 0 or sight.rim > 0 or sight.shadow > 0:
        normal = _outward(field, z, y, column)
        bright *= _sloped(sight, normal)
        if sight.shadow > 0:
            bright *= 1 - sight.shadow + sight.shadow * _light(field, sight, mouths, at, normal)
    return sight.floor + (bright - sight.floor) * math.exp(-down / sight.depth)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _first_wall(field: Any, room: Any, z: float, y: float, column: int, slope: float, reach: float) -> float:
    """Return how far below the cut a ray in the middle of a column of voxels first meets a wall, or -1."""
    n_z, n_y, _ = field.shape
    # Cells lie between the centres of voxels.
    from_z, from_y = z - 0.5, y - 0.5
    cell_z, cell_y = math.floor(from_z), math.floor(from_y)
    flat = 1 / slope if slope > 0 else math.inf
    # Where the ray goes on to the next cell along z and along y.
    end_z, end_y = cell_z + 1 - from_z, (cell_y + 1 - from_y) * flat
    down = 0.0
    while down < reach:
        if -1 <= cell_z < n_z and -1 <= cell_y < n_y:
            free = room[cell_z + 1, cell_y + 1, column]
            if free > 1:
                down += free - 1
                cell_z, cell_y = math.floor(from_z + down), math.floor(from_y + down * slope)
                end_z, end_y = cell_z + 1 - from_z, (cell_y + 1 - from_y) * flat
                continue
        else:
            # In the mirror image rays run another way: there they go from cell to cell.
            free = room[_mirrored_cell(cell_z, n_z), _mirrored_cell(cell_y, n_y), column]
        if free == 0:
            # What lies above the voxel that is cut has been milled away.
            cell = (max(cell_z, math.floor(z)), cell_z + 1, cell_y, column)
            way = (from_z + down - cell_z, from_y + down * slope - cell_y, slope, min(end_z, end_y) - down)
            wall = _wall_in_cell(field, cell, way)
            if wall >= 0:
                return down + wall if down + wall < reach else -1.0
        if end_z < end_y:
            down = end_z
            end_z += 1
            cell_z += 1
        else:
            down = end_y
            end_y += flat
            cell_y += 1
    return -1.0


@numba.njit(cache=True, error_model="numpy")
def _mirrored_cell(cell: int, size: int) -> int:
    """Return the number, from 0 to `size`, of the cell after voxel `cell` of an endlessly mirrored volume."""
    number = (cell + 1) % (2 * size)
    return number if number <= size else 2 * size - number


@numba.njit(cache=True, error_model="numpy")
def _wall_in_cell(field: Any, cell: Any, way: Any) -> float:
    """Return after which part of its way through a cell, in voxels along z, a ray meets a wall, or -1.

    Between the centres of voxels the field is linear along z and along y: on the ray it is a parabola.
    """
    z0, z1, y0, column = cell
    u, v, slope, length = way
    n_z, n_y, _ = field.shape
    z0, z1, y0, y1 = reflected(z0, n_z), reflected(z1, n_z), reflected(y0, n_y), reflected(y0 + 1, n_y)
    f00, f01 = field[z0, y0, column] + 0.0, field[z0, y1, column] + 0.0
    f10, f11 = field[z1, y0, column] + 0.0, field[z1, y1, column] + 0.0
    twist = f11 - f10 - f01 + f00
    level = f00 + (f10 - f00) * u + (f01 - f00) * v + twist * u * v - WALL
    if level >= 0:
        return 0.0
    rise = f10 - f00 + (f01 - f00) * slope + twist * (u * slope + v)
    bend = twist * slope
    below = level + length * (rise + length * bend) < 0
    # The top of the parabola may still lie above the wall.
    if below and (bend >= 0 or rise <= 0 or rise >= -2 * bend * length or rise * rise < 4 * bend * level):
        return -1.0
    return -2 * level / (rise + math.sqrt(max(rise * rise - 4 * bend * level, 0.0)))


@numba.njit(cache=True, error_model="numpy")
def _corner(at: float, size: int) -> Any:
    """Return the two voxels whose centres lie around a coordinate, and the share of the second."""
    low = math.floor(at - 0.5)
    share = at - 0.5 - low
    return reflected(low, size), reflected(low + 1, size), share


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _solid_near(labels: Any, z: float, y: float, column: int) -> int:
    """Return the label of the nearest solid voxel of a column among the four around a point of a wall."""
    nz, ny, _ = labels.shape
    nearest = labels[reflected(math.floor(z), nz), reflected(math.floor(y), ny), column]
    if nearest > 0:
        return nearest
    z0, z1, c = _corner(z, nz)
    y0, y1, b = _corner(y, ny)
    best, label = -1.0, 1
    for iz, wz in ((z0, 1 - c), (z1, c)):
        for iy, wy in ((y0, 1 - b), (y1, b)):
            if labels[iz, iy, column] > 0 and wz * wy > best:
                best, label = wz * wy, labels[iz, iy, column]
    return label


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _outward(field: Any, z: float, y: float, column: int) -> Any:
    """Return the unit normal of a wall, out of the solid: the way on which the field falls over a voxel each way."""
    n_z, n_y, n_x = field.shape
    z1, y1 = math.floor(z - 0.5), math.floor(y - 0.5)
    c, b = z - 0.5 - z1, y - 0.5 - y1
    z0, z2, z3 = reflected(z1 - 1, n_z), reflected(z1 + 1, n_z), reflected(z1 + 2, n_z)
    y0, y2, y3 = reflected(y1 - 1, n_y), reflected(y1 + 1, n_y), reflected(y1 + 2, n_y)
    z1, y1 = reflected(z1, n_z), reflected(y1, n_y)
    left, right = reflected(column - 1, n_x), reflected(column + 1, n_x)
    fall_z = fall_y = fall_x = 0.0
    for above, here, below, wz in ((z0, z1, z2, 1 - c), (z1, z2, z3, c)):
        for before, row, after, wy in ((y0, y1, y2, 1 - b), (y1, y2, y3, b)):
            fall_z += wz * wy * (float(field[above, row, column]) - field[below, row, column])
            fall_y += wz * wy * (float(field[here, before, column]) - field[here, after, column])
            fall_x += wz * wy * (float(field[here, row, left]) - field[here, row, right])
    length = math.sqrt(fall_z * fall_z + fall_y * fall_y + fall_x * fall_x) + 1e-9
    return fall_z / length, fall_y / length, fall_x / length


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sloped(sight: Any, normal: Any) -> float:
    """Return the factor by which the slope of a wall makes it brighter."""
    nz, ny, nx = normal
    secant = math.sqrt(1 + sight.slope * sight.slope)
    # Cosine between the outward normal and the way back to the column.
    facing = -(nz + ny * sight.slope) / secant
    # The detector sits a little to one side of it.
    relief = 1 + sight.relief * (facing - 0.3 * nx - 0.4)
    rim = 1 + sight.rim * (1 / min(1.0, max(0.2, facing)) - 1)
    return min(max(relief, 0.2), 1.6) * rim


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _light(field: Any, sight: Any, mouths: Any, at: Any, normal: Any) -> float:
    """Return the light on a wall, of what an open flat face gets."""
    down, z, y, column, first_row, at_column = at
    nz, ny, nx = normal
    # Seen from half way up, towards which the wall looks.
    row = y + 0.5 * down * ny - first_row
    open_sky = _mouth(mouths, row, at_column + 0.5 + 0.5 * down * nx, SPREAD * down)
    sky = open_sky * 0.5 * (1 - nz)
    lamp = max(0.0, nz * sight.lamp_z + ny * sight.lamp_y + nx * sight.lamp_x) / -sight.lamp_z
    if lamp > 0:
        lamp *= _lit(field, sight, z + nz, y + ny, column + 0.5 + nx, z - down)
    direct = (1 - sight.sun) * sky + sight.sun * lamp
    return direct + sight.bounce * (1 - direct)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _lit(field: Any, sight: Any, z: float, y: float, x: float, cut: float) -> float:
    """Return how much of the lamp reaches a point: the narrowest passage on the way out of the pore decides."""
    nz, ny, nx = field.shape
    least = 1.0
    step = 1.0
    while z > cut and least > 0:
        level = field[
            reflected(math.floor(z), nz), reflected(math.floor(y), ny), reflected(math.floor(x), nx)
        ]  # fmt: skip
        least = min(least, (SOLID_SIDE - level) / 60.0)
        z, y, x = z + step * sight.lamp_z, y + step * sight.lamp_y, x + step * sight.lamp_x
        step = 1.1 * step
    return max(least, 0.0)


@numba.njit(cache=True)
def _empty_mouths(rows: int, columns: int) -> Any:
    """Return room for the openings of a slice: each level half as fine as the one before."""
    return [
        np.empty((max(1, (rows + (1 << n) - 1) >> n), max(1, (columns + (1 << n) - 1) >> n)), np.float32)
        for n in range(LEVELS)
    ]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _open_mouths(mouths: Any, seen: Any) -> None:
    """Fill every level with the share of pore on the face."""
    for i in range(seen.shape[0]):
        for j in range(seen.shape[1]):
            mouths[0][i, j] = seen[i, j] == 0
    for n in range(1, len(mouths)):
        _halve(mouths[n - 1], mouths[n])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _halve(fine: Any, coarse: Any) -> None:
    """Make a picture half as fine; 1 3 3 1 keeps what is seen between its pixels from depending on where they lie."""
    last = fine.shape[0] - 1
    for i in range(coarse.shape[0]):
        a, b, c, d = max(2 * i - 1, 0), min(2 * i, last), min(2 * i + 1, last), min(2 * i + 2, last)
        for j in range(coarse.shape[1]):
            outer = _across(fine[a], j) + _across(fine[d], j)
            coarse[i, j] = (outer + 3 * (_across(fine[b], j) + _across(fine[c], j))) / 64


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _across(row: Any, j: int) -> float:
    last = len(row) - 1
    outer = row[max(2 * j - 1, 0)] + row[min(2 * j + 2, last)]
    return outer + 3 * (row[min(2 * j, last)] + row[min(2 * j + 1, last)])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mouth(mouths: Any, i: float, j: float, width: float) -> float:
    """Return the share of pore on the face around a point, over about `width` voxels."""
    level = min(max(math.log2(max(width, 1.0)), 0.0), len(mouths) - 1.0)
    low = int(level)
    share = level - low
    value = _mouth_at(mouths[low], i / (1 << low), j / (1 << low))
    if share > 0:
        value += share * (_mouth_at(mouths[low + 1], i / (2 << low), j / (2 << low)) - value)
    return value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mouth_at(mouth: Any, i: float, j: float) -> float:
    i = min(max(i - 0.5, 0.0), mouth.shape[0] - 1.0)
    j = min(max(j - 0.5, 0.0), mouth.shape[1] - 1.0)
    i0, j0 = int(i), int(j)
    i1, j1 = min(i0 + 1, mouth.shape[0] - 1), min(j0 + 1, mouth.shape[1] - 1)
    b, a = i - i0, j - j0
    upper = mouth[i0, j0] * (1 - a) + mouth[i0, j1] * a
    return upper * (1 - b) + (mouth[i1, j0] * (1 - a) + mouth[i1, j1] * a) * b


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mottled(mottle: Any, sight: Any, z: float, y: float, x: float) -> float:
    """Return the gain of the region that a point lies in."""
    if sight.mottle == 0:
        return 1.0
    level = 0.0
    z0, z1, c = _corner(z / sight.mottle_vox + 0.5, mottle.shape[0])
    y0, y1, b = _corner(y / sight.mottle_vox + 0.5, mottle.shape[1])
    x0, x1, a = _corner(x / sight.mottle_vox + 0.5, mottle.shape[2])
    for iz, wz in ((z0, 1 - c), (z1, c)):
        for iy, wy in ((y0, 1 - b), (y1, b)):
            level += wz * wy * (mottle[iz, iy, x0] * (1 - a) + mottle[iz, iy, x1] * a)
    # Squeezed so that regions are flat and their borders narrow.
    return 1 + sight.mottle * math.tanh(4 * level)
