"""Compiled loops over the balls that fit into a phase: chords, redundant balls, filling, access from a face.

Lengths are in the unit of `spacing`; ``distance2`` is the squared distance from a voxel's centre to the nearest centre
outside the phase, 0 outside. A ball holds the centres that are nearer to its own than that.
"""

import math
from typing import Any

import numba
import numpy as np

__all__ = ["cover_table", "fill", "limit_by_chords", "needed_balls", "widest_access"]

# Squares of unequal edges are rounded; a centre on the sphere itself is outside whatever the last bit says.
OPEN = 1.0 - 1e-6
WORD = 64
# Bit k times this has k in its upper six bits, by way of the table.
DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
PLACE = np.zeros(WORD, np.int64)
for bit in range(WORD):
    PLACE[(int(DE_BRUIJN) << bit & (2**64 - 1)) >> 58] = bit
SLAB = 16
TILE = 4


@numba.njit(cache=True, parallel=True)
def limit_by_chords(distance2: Any, diameter: Any, spacing: Any) -> None:
    """Set `diameter` to twice the distance, or the shortest chord through the voxel along an axis if that is less."""
    nz, ny, nx = distance2.shape
    for z in numba.prange(nz):
        for y in range(ny):
            for x in range(nx):
                diameter[z, y, x] = 2.0 * math.sqrt(distance2[z, y, x])
            _limit_line(distance2[z, y], diameter[z, y], spacing[2])
        for x in range(nx):
            _limit_line(distance2[z, :, x], diameter[z, :, x], spacing[1])
    for y in numba.prange(ny):
        for x in range(nx):
            _limit_line(distance2[:, y, x], diameter[:, y, x], spacing[0])


@numba.njit(cache=True)
def _limit_line(distance2: Any, diameter: Any, step: float) -> None:
    n = distance2.size
    start = 0
    while start < n:
        if distance2[start] == 0:
            start += 1
            continue
        stop = start
        while stop < n and distance2[stop] > 0:
            stop += 1
        # Of a chord that ends at the border nobody knows the length.
        if start > 0 and stop < n:
            for i in range(start, stop):
                diameter[i] = min(diameter[i], (stop - start) * step)
        start = stop


@numba.njit(cache=True)
def cover_table(largest2: float, shape: Any, spacing: Any) -> Any:
    """Squared distance, from a centre moved by a step, to the farthest centre of a ball.

    Row: the step, bits 4, 2, 1 for z, y, x. Column: the ball's squared radius, rounded up, less one.
    """
    wz, wy, wx = spacing[0] ** 2, spacing[1] ** 2, spacing[2] ** 2
    table = np.zeros((8, math.ceil(largest2) + 1), np.float32)
    for z in range(min(shape[0], int(math.sqrt(largest2 / wz)) + 1)):
        for y in range(min(shape[1], int(math.sqrt(largest2 / wy)) + 1)):
            for x in range(min(shape[2], int(math.sqrt(largest2 / wx)) + 1)):
                inner = z * z * wz + y * y * wy + x * x * wx
                if inner >= largest2:
                    break
                column = int(inner)
                for step in range(1, 8):
                    farther = inner
                    if step & 4:
                        farther += (2 * z + 1) * wz
                    if step & 2:
                        farther += (2 * y + 1) * wy
                    if step & 1:
                        farther += (2 * x + 1) * wx
                    table[step, column] = max(table[step, column], farther)
    for step in range(1, 8):
        for column in range(1, table.shape[1]):
            table[step, column] = max(table[step, column], table[step, column - 1])
    return table


@numba.njit(cache=True, parallel=True)
def needed_balls(distance2: Any, value: Any, table: Any) -> Any:
    """Mark the voxels whose ball is not held by that of a neighbour with the same or a higher value."""
    nz, ny, nx = distance2.shape
    needed = np.zeros(distance2.shape, np.bool_)
    for z in numba.prange(nz):
        for y in range(ny):
            for x in range(nx):
                if distance2[z, y, x] > 0 and value[z, y, x] > 0:
                    needed[z, y, x] = not _held(distance2, value, table, (z, y, x))
    return needed


@numba.njit(cache=True)
def _held(distance2: Any, value: Any, table: Any, centre: Any) -> bool:
    z, y, x = centre
    nz, ny, nx = distance2.shape
    own = distance2[z, y, x]
    column = math.ceil(own * OPEN) - 1
    for c in range(max(z - 1, 0), min(z + 2, nz)):
        for b in range(max(y - 1, 0), min(y + 2, ny)):
            for a in range(max(x - 1, 0), min(x + 2, nx)):
                other = distance2[c, b, a]
                if other > own and value[c, b, a] >= value[z, y, x]:
                    step = 4 * (c != z) + 2 * (b != y) + (a != x)
                    if table[step, column] < other * OPEN:
                        return True
    return False


@numba.njit(cache=True, parallel=True)
def fill(phase: Any, balls: Any, radius2: Any, value: Any, spacing: Any) -> Any:
    """Give each voxel of the phase the value of the first ball that covers it, 0 if none does.

    `balls` are flat indices in descending order of `value`; `radius2` and `value` go with them.
    """
    nz, ny, nx = phase.shape
    filled = np.zeros(phase.shape, np.float32)
    for slab in numba.prange((nz + SLAB - 1) // SLAB):
        low, high = slab * SLAB, min((slab + 1) * SLAB, nz)
        empty, tiles = _empty_bits(phase[low:high])
        for k in range(balls.size):
            z, rest = divmod(balls[k], ny * nx)
            reach2 = radius2[k] * OPEN
            # Distance of the slab, 0 within it.
            away = max(low - z, z - high + 1, 0) * spacing[0]
            if away * away < reach2:
                y, x = divmod(rest, nx)
                _fill_ball(filled[low:high], (empty, tiles), (z - low, y, x), reach2, value[k], spacing)
    return filled


@numba.njit(cache=True)
def _empty_bits(phase: Any) -> Any:
    """Return a bit for each voxel still to be filled, and what tiles of rows have in common: bits of any row."""
    nz, ny, nx = phase.shape
    words = (nx + WORD - 1) // WORD
    empty = np.zeros((nz, ny, words), np.uint64)
    tiles = np.zeros(((nz + TILE - 1) // TILE, (ny + TILE - 1) // TILE, words), np.uint64)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if phase[z, y, x]:
                    empty[z, y, x // WORD] |= np.uint64(1) << np.uint64(x % WORD)
            for word in range(words):
                tiles[z // TILE, y // TILE, word] |= empty[z, y, word]
    return empty, tiles


@numba.njit(cache=True)
def _fill_ball(filled: Any, bits: Any, centre: Any, reach2: float, value: float, spacing: Any) -> None:
    z, y, x = centre
    nz, ny, nx = filled.shape
    empty, tiles = bits
    wz, wy, wx = spacing[0], spacing[1], spacing[2]
    reach = int(math.sqrt(reach2) / wz)
    reach_y = int(math.sqrt(reach2) / wy)
    for tile_z in range(max(z - reach, 0) // TILE, min(z + reach, nz - 1) // TILE + 1):
        first_z, last_z = tile_z * TILE, min((tile_z + 1) * TILE, nz)
        in_plane = reach2 - (max(first_z - z, z - last_z + 1, 0) * wz) ** 2
        if in_plane <= 0:
            continue
        for tile_y in range(max(y - reach_y, 0) // TILE, min(y + reach_y, ny - 1) // TILE + 1):
            first_y, last_y = tile_y * TILE, min((tile_y + 1) * TILE, ny)
            half = _half_run(in_plane - (max(first_y - y, y - last_y + 1, 0) * wy) ** 2, wx)
            first, last = max(x - half, 0), min(x + half, nx - 1)
            if half < 0 or not _any_bit(tiles[tile_z, tile_y], first, last):
                continue
            rows = (first_z, last_z, first_y, last_y)
            if _fill_tile(filled, empty, rows, centre, reach2, value, spacing):
                for word in range(first // WORD, last // WORD + 1):
                    tiles[tile_z, tile_y, word] = _bits_of_rows(empty, rows, word)


@numba.njit(cache=True)
def _fill_tile(filled: Any, empty: Any, rows: Any, centre: Any, reach2: float, value: float, spacing: Any) -> bool:
    z, y, x = centre
    last = filled.shape[2] - 1
    changed = False
    for c in range(rows[0], rows[1]):
        in_c = reach2 - ((c - z) * spacing[0]) ** 2
        for b in range(rows[2], rows[3]):
            half = _half_run(in_c - ((b - y) * spacing[1]) ** 2, spacing[2])
            if half >= 0:
                changed |= _fill_run(filled[c, b], empty[c, b], max(x - half, 0), min(x + half, last), value)
    return changed


@numba.njit(cache=True)
def _bits_of_rows(empty: Any, rows: Any, word: int) -> Any:
    left = np.uint64(0)
    for c in range(rows[0], rows[1]):
        for b in range(rows[2], rows[3]):
            left |= empty[c, b, word]
    return left


@numba.njit(cache=True)
def _half_run(in_row: float, wx: float) -> int:
    """How many voxels on either side of the middle lie in a row; -1 if not even that."""
    if in_row <= 0:
        return -1
    half = int(math.sqrt(in_row) / wx)
    return half - 1 if (half * wx) ** 2 >= in_row else half


@numba.njit(cache=True)
def _bits_between(word: int, first: int, last: int) -> Any:
    bits = np.uint64(0xFFFFFFFFFFFFFFFF)
    if word == first // WORD:
        bits &= bits << np.uint64(first % WORD)
    if word == last // WORD:
        bits &= np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(WORD - 1 - last % WORD)
    return bits


@numba.njit(cache=True)
def _any_bit(words: Any, first: int, last: int) -> bool:
    found = False
    for word in range(first // WORD, last // WORD + 1):
        found |= (words[word] & _bits_between(word, first, last)) != 0
    return found


@numba.njit(cache=True)
def _fill_run(filled: Any, empty: Any, first: int, last: int, value: float) -> bool:
    changed = False
    for word in range(first // WORD, last // WORD + 1):
        bits = empty[word] & _bits_between(word, first, last)
        if bits == 0:
            continue
        changed = True
        empty[word] &= ~bits
        while bits:
            lowest = bits & (~bits + np.uint64(1))
            filled[word * WORD + PLACE[(lowest * DE_BRUIJN) >> np.uint64(58)]] = value
            bits ^= lowest
    return changed


@numba.njit(cache=True)
def widest_access(rank: Any, inlet: Any, levels: int) -> Any:
    """Give each voxel the lowest rank on the way to it from the inlet, along the way where that is highest.

    Ranks go from 0 (no way) to ``levels - 1``; steps go to the 6 neighbours. Inaccessible voxels get 0.
    """
    _, ny, nx = rank.shape
    flat, start = rank.ravel(), inlet.ravel()
    access = np.zeros(flat.size, np.int32)
    # One chain of waiting voxels a rank; each voxel waits once.
    head, after = np.full(levels, -1, np.int64), np.full(flat.size, -1, np.int64)
    for i in range(flat.size):
        if start[i] and flat[i] > 0:
            access[i] = flat[i]
            after[i] = head[flat[i]]
            head[flat[i]] = i
    steps = (ny * nx, nx, 1)
    for level in range(levels - 1, 0, -1):
        while head[level] >= 0:
            i = head[level]
            head[level] = after[i]
            place = (i // steps[0], i // nx % ny, i % nx)
            for axis in range(3):
                for side in (-1, 1):
                    if not 0 <= place[axis] + side < rank.shape[axis]:
                        continue
                    j = i + side * steps[axis]
                    if access[j] == 0 and flat[j] > 0:
                        access[j] = min(level, flat[j])
                        after[j] = head[access[j]]
                        head[access[j]] = j
    return access.reshape(rank.shape)
