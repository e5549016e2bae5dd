"""What the tilted column sees of each cut: the face, and through its pores the walls behind it."""

import math
from typing import Any, NamedTuple

import numba
import numpy as np

from synth.sem.geometry import Slices, place, reflected
from synth.threads import in_threads, thread_count

__all__ = ["Sight", "see", "smooth_solid"]

# The smoothed solid is kept in bytes: a wall lies where it passes through the middle.
WALL = 127.5
# A thin strut would vanish in the mean of its neighbourhood: every voxel centre keeps its side of the wall.
PORE_SIDE, SOLID_SIDE = 107, 148
# The smoothed solid is at least 4 (of 4 * 1 * 1 * 4 * 4 / 4096 * 255) where a neighbour, even at a corner, is solid.
FAR = 4
NEAR = 32
CLOSE = 1.0  # of the 128 from wall to pore over about two voxels
# Sight ends where brightness has fallen to exp(-4) of what it was.
LONGEST_DEPTHS = 4.0
LONGEST_VOXELS = 1024.0  # along z or y, for those who see very deep or very flat
PIECE = 2**18  # pixels that a thread takes at a time
# The mouth of a pore is kept at resolutions of 1, 2, 4, … pixels.
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
    seen : ndarray of uint8, same shape
        Label of the point of the cut face at each pixel's centre.
    """
    if sight.filled < 0:
        field = smooth_solid(labels)
        leaps = _leaps(field, sight.slope)
    else:
        field = leaps = labels
    grey = np.empty(slices.shape, np.float32)
    seen = np.empty(slices.shape, np.uint8)

    def look(span: tuple[int, int]) -> None:
        _look(labels, field, leaps, slices, sight, face_grey, mottle, grey, seen, *span)

    in_threads(look, _spans(slices.shape))
    return grey, seen


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


def _leaps(field: np.ndarray, slope: float) -> np.ndarray:
    """Return how many voxels along z a ray may go on from each voxel with nothing but pore around it.

    Of slopes beyond 2 rays pass voxels that this does not look at: then it is 0.
    """
    leaps = np.zeros_like(field)
    if slope <= 2:
        n = field.shape[2]
        spans = [(n * i // thread_count(), n * (i + 1) // thread_count()) for i in range(thread_count())]
        in_threads(lambda span: _count_leaps(field, leaps, math.floor(slope), *span), spans)
    return leaps


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _count_leaps(field: Any, leaps: Any, shift: int, start: int, stop: int) -> None:
    nz, ny, _ = field.shape
    for z in range(nz - 2, -1, -1):
        for y in range(ny - shift - 1):
            for x in range(start, stop):
                if field[z, y, x] < FAR:
                    # From one row of a voxel a ray comes to either of two voxels.
                    least = min(leaps[z + 1, y + shift, x], leaps[z + 1, y + shift + 1, x])
                    leaps[z, y, x] = min(least, 254) + 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _look(
    labels: Any, field: Any, leaps: Any, slices: Any, sight: Any, face_grey: Any, mottle: Any, grey: Any, seen: Any,
    start: int, stop: int,
) -> None:  # fmt: skip
    nz, ny, nx = labels.shape
    mouths = _empty_mouths(slices.shape[1], slices.shape[2])
    reach = min(LONGEST_DEPTHS * sight.depth, LONGEST_VOXELS / max(1.0, sight.slope))
    for k in range(start, stop):
        grid = (slices.scale[1], slices.scale[2], slices.drift_px[k, 0], slices.drift_px[k, 1])
        for i in range(slices.shape[1]):
            for j in range(slices.shape[2]):
                z, y, x = place(slices, k, i, j)
                iz, iy, ix = (
                    reflected(math.floor(z), nz), reflected(math.floor(y), ny), reflected(math.floor(x), nx),
                )  # fmt: skip
                seen[k, i, j] = labels[iz, iy, ix]
        if sight.filled < 0 and sight.shadow > 0:
            _open_mouths(mouths, seen[k])
        for i in range(slices.shape[1]):
            for j in range(slices.shape[2]):
                z, y, x = place(slices, k, i, j)
                label = seen[k, i, j]
                if label > 0:
                    grey[k, i, j] = face_grey[label] * _mottled(mottle, sight, z, y, x)
                elif sight.filled >= 0:
                    grey[k, i, j] = sight.filled
                else:
                    down = _first_wall(field, leaps, z, y, x, sight.slope, reach)
                    grey[k, i, j] = _wall(
                        labels, field, sight, face_grey, mottle, mouths, grid, down, z + down,
                        y + down * sight.slope, x,
                    )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _wall(
    labels: Any, field: Any, sight: Any, face_grey: Any, mottle: Any, mouths: Any, grid: Any, down: float,
    z: float, y: float, x: float,
) -> float:  # fmt: skip
    """Return the grey of a wall at the point (z, y, x), seen from the cut `down` voxels before it."""
    if down < 0:
        return sight.floor
    bright = sight.shine * face_grey[_solid_near(labels, z, y, x)] * _mottled(mottle, sight, z, y, x)
    if sight.relief > 0 or sight.rim > 0 or sight.shadow > 0:
        nz, ny, nx = _outward(field, z, y, x)
        bright *= _sloped(sight, nz, ny, nx)
        if sight.shadow > 0:
            light = _light(field, sight, mouths, grid, down, z, y, x, nz, ny, nx)
            bright *= 1 - sight.shadow + sight.shadow * light
    return sight.floor + (bright - sight.floor) * math.exp(-down / sight.depth)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _first_wall(field: Any, leaps: Any, z: float, y: float, x: float, slope: float, reach: float) -> float:
    """Return how far below the cut the ray first meets a wall, or -1."""
    # For an even stack every other sample lies on the grid, where the field has its kinks.
    step = 1.0 / math.ceil(1.5 * max(1.0, slope))
    n_z, n_y, n_x = field.shape
    at_x = reflected(math.floor(x), n_x)
    before, below = 0.0, field[reflected(math.floor(z), n_z), reflected(math.floor(y), n_y), at_x] + 0.0
    down = 0.5
    while down < reach:
        at_z, at_y = z + down, y + down * slope
        iz, iy = math.floor(at_z), math.floor(at_y)
        if 0 <= iz < n_z and 0 <= iy < n_y:
            free = leaps[iz, iy, at_x]
            if free > 0:
                before, below = down + (free - 1), 0.0
                down = before + 2 * step
                continue
            level = _sampled(field, at_z, at_y, x)
        else:
            # Where the field is nearly 0, all voxels around are pore: no need to look closer.
            level = field[reflected(iz, n_z), reflected(iy, n_y), at_x] + 0.0
            if level >= FAR:
                level = _sampled(field, at_z, at_y, x)
        if level >= WALL:
            return _crossing(field, z, y, x, slope, before, down, below, level)
        before, below = down, level
        down += step if level >= NEAR else 2 * step
    return -1.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _crossing(
    field: Any, z: float, y: float, x: float, slope: float, before: float, down: float, below: float, level: float
) -> float:
    """Return where the field reaches the wall between the depths `before` and `down`."""
    for _ in range(2):
        middle = before + (down - before) * (WALL - below) / (level - below)
        value = _sampled(field, z + middle, y + middle * slope, x)
        if abs(value - WALL) < CLOSE:
            return middle
        if value >= WALL:
            down, level = middle, value
        else:
            before, below = middle, value
    return before + (down - before) * (WALL - below) / (level - below)


@numba.njit(cache=True, error_model="numpy")
def _corner(at: float, size: int) -> Any:
    """Return the two voxels whose centres lie around a coordinate, and the share of the second."""
    low = math.floor(at - 0.5)
    share = at - 0.5 - low
    return reflected(low, size), reflected(low + 1, size), share


@numba.njit(cache=True, error_model="numpy")
def _sampled(field: Any, z: float, y: float, x: float) -> float:
    """Return the field between voxel centres, linear along each axis."""
    nz, ny, nx = field.shape
    z0, y0, x0 = int(z + 0.5) - 1, int(y + 0.5) - 1, int(x + 0.5) - 1
    c, b, a = z - 0.5 - z0, y - 0.5 - y0, x - 0.5 - x0
    z1, y1, x1 = z0 + 1, y0 + 1, x0 + 1
    if min(z0, y0, x0) < 0 or z1 >= nz or y1 >= ny or x1 >= nx:
        z0, z1, c = _corner(z, nz)
        y0, y1, b = _corner(y, ny)
        x0, x1, a = _corner(x, nx)
    if a == 0:
        # Without drift the pixels lie in the middle of columns, and half of the work falls away.
        near = field[z0, y0, x0] * (1 - b) + field[z0, y1, x0] * b
        return near * (1 - c) + (field[z1, y0, x0] * (1 - b) + field[z1, y1, x0] * b) * c
    f000, f001, f010, f011 = field[z0, y0, x0], field[z0, y0, x1], field[z0, y1, x0], field[z0, y1, x1]
    f100, f101, f110, f111 = field[z1, y0, x0], field[z1, y0, x1], field[z1, y1, x0], field[z1, y1, x1]
    p = (f000 * (1 - a) + f001 * a) * (1 - b) + (f010 * (1 - a) + f011 * a) * b
    q = (f100 * (1 - a) + f101 * a) * (1 - b) + (f110 * (1 - a) + f111 * a) * b
    return p * (1 - c) + q * c


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _solid_near(labels: Any, z: float, y: float, x: float) -> int:
    """Return the label of the nearest solid voxel among the eight around a point of a wall."""
    nz, ny, nx = labels.shape
    z0, z1, c = _corner(z, nz)
    y0, y1, b = _corner(y, ny)
    x0, x1, a = _corner(x, nx)
    best, label = -1.0, 1
    for iz, wz in ((z0, 1 - c), (z1, c)):
        for iy, wy in ((y0, 1 - b), (y1, b)):
            for ix, wx in ((x0, 1 - a), (x1, a)):
                if labels[iz, iy, ix] > 0 and wz * wy * wx > best:
                    best, label = wz * wy * wx, labels[iz, iy, ix]
    return label


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _outward(field: Any, z: float, y: float, x: float) -> Any:
    """Return the unit normal of a wall, out of the solid."""
    nz = _sampled(field, z - 1, y, x) - _sampled(field, z + 1, y, x)
    ny = _sampled(field, z, y - 1, x) - _sampled(field, z, y + 1, x)
    nx = _sampled(field, z, y, x - 1) - _sampled(field, z, y, x + 1)
    length = math.sqrt(nz * nz + ny * ny + nx * nx) + 1e-9
    return nz / length, ny / length, nx / length


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sloped(sight: Any, nz: float, ny: float, nx: float) -> float:
    """Return the factor by which the slope of a wall makes it brighter."""
    secant = math.sqrt(1 + sight.slope * sight.slope)
    # Cosine between the outward normal and the way back to the column.
    facing = -(nz + ny * sight.slope) / secant
    # The detector sits a little to one side of it.
    relief = 1 + sight.relief * (facing - 0.3 * nx - 0.4)
    rim = 1 + sight.rim * (1 / min(1.0, max(0.2, facing)) - 1)
    return min(max(relief, 0.2), 1.6) * rim


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _light(
    field: Any, sight: Any, mouths: Any, grid: Any, down: float, z: float, y: float, x: float,
    nz: float, ny: float, nx: float,
) -> float:  # fmt: skip
    """Return the light on a wall, of what an open flat face gets."""
    reach = 0.5 * down
    height, width, drift_y, drift_x = grid
    row, column = (y + reach * ny) / height + drift_y, (x + reach * nx) / width + drift_x
    open_sky = _mouth(mouths, row, column, SPREAD * down / width)
    sky = open_sky * 0.5 * (1 - nz)
    lamp = max(0.0, nz * sight.lamp_z + ny * sight.lamp_y + nx * sight.lamp_x) / -sight.lamp_z
    if lamp > 0:
        lamp *= _lit(field, sight, z + nz, y + ny, x + nx, z - down)
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
    """Return the share of pore on the face around a pixel, over about `width` pixels."""
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
