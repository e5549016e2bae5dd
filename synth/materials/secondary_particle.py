"""Secondary particles of NCM cathodes: primary grains grown outwards, with pores where the grains meet."""

import math
from typing import Any

import numba
import numpy as np

from synth.arguments import as_number, as_numbers
from synth.exact_counts import highest
from synth.gaussian import gaussian_field
from synth.object_lists import label_objects, list_objects
from synth.structure import Structure, check_shape, with_fractions

__all__ = ["primary_grains", "secondary_particle"]

PHASES = ("pore", "active material", "outside")
MATERIAL, OUTSIDE = 1, 2
# Lengths below are in grain sizes, measured as the grains are stretched.
SPACING = 0.75
REACH = 1.6
# How far a grain bulges out of the outline, at most, and how far two neighbours' caps may differ.
BULGE, STEP = 0.12, 0.08
# Seeds keep this part of a grain's radial length from the outline, so that no grain is cut to a sliver.
INSET = 0.3
# Strength of the random part of the pores' score, and the depth from which on pores are as likely as further in.
FIELD = 0.16
RIND = 0.35
BATCH = 4096
MOST_GRAINS = 2_000_000


def secondary_particle(
    shape: tuple[int, int, int],
    *,
    porosity: float = 0.05,
    diameter_vox: float | None = None,
    grain_size_vox: float | None = None,
    elongation: float = 2.0,
    slit: float = 0.35,
    unevenness: float = 0.35,
    centre_bias: float = 0.1,
    rng: np.random.Generator | int,
) -> Structure:
    """Make a spherical secondary particle of NCM, or a crop from inside one.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along z, y, x.
    porosity : float
        Internal porosity, pores / (pores + active material), above 0 and at most 0.5; measured particles have
        0.01 to 0.15. It is hit to one voxel.
    diameter_vox : float, optional
        Diameter of the sphere of the particle's volume, pores included; 0.9 of the box's shortest side if not
        given. Up to the box's diagonal the particle sits in the middle of the box, which may cut it. From there
        on the box lies, at a random place, inside the particle wherever the bulges of the outline leave room:
        always from the diagonal plus a grain's length on.
    grain_size_vox : float, optional
        Cube root of the mean volume of a primary grain; a twelfth of the diameter, at least 5 and at most a quarter
        of the longest side, if not given.
    elongation : float
        Radial length of the grains by their tangential one, 1 to 5. Grains near the centre are less elongated:
        it grows from 1 there to its full value at half the radius.
    slit : float
        0 puts the pores along the lines where three grains meet; towards 1 they spread as slits along the faces
        between two grains.
    unevenness : float
        How much more porous some regions are than others, 0 to 2.
    centre_bias : float
        How much more porous the centre is than the rim, 0 to 2; negative to -2 for a denser centre.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    Structure
        Labels 0 (pore), 1 (active material) and 2 (outside). Outside keeps its name where the particle fills the
        box. ``truth``, counted from the labels, has ``internal_porosity``; ``particle_volume`` (pores and
        material, voxels); ``pore_volume``; ``equivalent_diameter`` of the particle volume (None where the box cuts
        the particle); ``centre`` of the sphere ([z, y, x] in voxels; outside the box for some crops); ``n_grains``
        with a voxel of active material; ``mean_grain_volume`` (particle volume by grains, pores shared out);
        ``n_pores`` and ``pores``, the list of the 26-connected pores (see `synth.object_lists.list_voxels`).

    Raises
    ------
    ValueError
        For impossible arguments; for a particle too small for its grains; and where more pores are asked for than
        the particle has voxels away from its outline: the message says which porosity is reachable.

    Notes
    -----
    Grains are the cells of a Voronoi tessellation whose distance is shorter along the radius through each seed;
    the seeds keep a smallest distance from each other. The outline is the sphere, raised over each grain and
    lowered where two meet; of all voxels those deepest below it are the particle, as many as the sphere has in the
    box. Pores are the voxels that rank highest in closeness to the third nearest grain (and, by `slit`, to the
    second), plus a random field of about the grains' size, which opens some junctions and closes others, one of
    several grains' size, and a trend along the radius. No pore touches the outside: a layer of material one voxel
    thick (26-neighbourhood) always closes it.

    References
    ----------
    .. [1] H.-B. Lee et al., "Deep learning image segmentation for the reliable porosity measurement of
       high-capacity Ni-based oxide cathode secondary particles", J. Anal. Sci. Technol. 14 (2023).
    """
    shape = check_shape(shape)
    given = as_numbers({
        "porosity": porosity, "diameter_vox": diameter_vox, "grain_size_vox": grain_size_vox,
        "elongation": elongation, "slit": slit, "unevenness": unevenness, "centre_bias": centre_bias,
    })  # fmt: skip
    _check_pores(given)
    rng = np.random.default_rng(rng)
    ball = _Ball(shape, given, rng)
    trend = _pore_trend(ball, given["unevenness"], rng)
    grains, score = _tessellate(ball, trend, slit=given["slit"], centre_bias=given["centre_bias"])
    labels = _open_pores(grains, score, given["porosity"])
    recipe = {"generator": "secondary_particle", "shape": list(shape), **given}
    return with_fractions(labels, PHASES, recipe=recipe, truth=_truth(labels, grains, ball))


def _open_pores(grains: np.ndarray, score: np.ndarray, porosity: float) -> np.ndarray:
    """Return the labels: pores where the score is highest, but for the layer that closes the particle."""
    particle = grains > 0
    inside = ~_beside(~particle)
    volume, room = int(np.count_nonzero(particle)), int(np.count_nonzero(inside))
    wanted = round(porosity * volume)
    if wanted > room:
        raise ValueError(
            f"porosity {porosity:g} cannot be reached: of {volume} voxels {room} lie away from the outline; ask for "
            f"at most {math.floor(1e4 * room / max(volume, 1)) / 1e4:g}, or for a larger particle"
        )
    labels = np.where(particle, np.uint8(MATERIAL), np.uint8(OUTSIDE))
    labels[highest(score, wanted, among=inside)] = 0
    return labels


def primary_grains(
    shape: tuple[int, int, int],
    *,
    diameter_vox: float | None = None,
    grain_size_vox: float | None = None,
    elongation: float = 2.0,
    rng: np.random.Generator | int,
) -> np.ndarray:
    """Return the grain to which each voxel of a secondary particle belongs.

    Parameters
    ----------
    shape, diameter_vox, grain_size_vox, elongation, rng
        As in `secondary_particle`; with the same values and seed these are the grains of that particle.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        0 outside the particle; a pore has the grain in whose cell it lies. Not every number occurs.

    Raises
    ------
    ValueError
        For impossible arguments.
    """
    given = as_numbers({"diameter_vox": diameter_vox, "grain_size_vox": grain_size_vox, "elongation": elongation})
    ball = _Ball(check_shape(shape), given, np.random.default_rng(rng))
    return _tessellate(ball, None, slit=0.0, centre_bias=0.0)[0]


def _check_pores(given: dict[str, Any]) -> None:
    porosity = as_number("porosity", given["porosity"])
    if not 0 < porosity <= 0.5:
        raise ValueError(f"porosity is {porosity!r}; give the internal porosity, above 0 and at most 0.5")
    for name, low, high in (("slit", 0, 1), ("unevenness", 0, 2), ("centre_bias", -2, 2)):
        if not low <= as_number(name, given[name]) <= high:
            raise ValueError(f"{name} is {given[name]!r}; give a number from {low} to {high}")


class _Ball:
    """The sphere, where it lies, and the seeds of its grains."""

    def __init__(self, shape: tuple[int, int, int], given: dict[str, Any], rng: np.random.Generator) -> None:
        diameter, grain = given["diameter_vox"], given["grain_size_vox"]
        elongation = as_number("elongation", given["elongation"])
        diameter = 0.9 * min(shape) if diameter is None else diameter
        if not 8 <= diameter <= 1e5:
            raise ValueError(
                f"diameter_vox is {diameter!r}; give a number from 8 to 1e5 (a box as thin as {min(shape)} voxels may "
                "need a diameter of its own)"
            )
        grain = min(max(5.0, diameter / 12), max(3.0, max(shape) / 4), diameter / 2) if grain is None else grain
        if not 2 <= grain <= diameter / 2:
            raise ValueError(
                f"grain_size_vox is {grain!r}; give a number from 2 to {diameter / 2:g}, half the particle's diameter"
            )
        if not 1 <= elongation <= 5:
            raise ValueError(f"elongation is {elongation!r}; give a number from 1 to 5")
        self.shape, self.radius, self.grain, self.elongation = shape, diameter / 2, float(grain), float(elongation)
        self.reach = REACH * self.grain * self.elongation ** (2 / 3)
        self.centre = self._draw_centre(rng)
        self.seeds, self.caps = self._draw_seeds(rng)

    def _draw_centre(self, rng: np.random.Generator) -> np.ndarray:
        """Return the middle of the box, or for a crop a place from which the whole box lies in the particle."""
        sides = np.asarray(self.shape, float)
        play = self.radius - np.linalg.norm(sides) / 2 - self.bulge
        direction, length = rng.standard_normal(3), rng.random() ** (1 / 3)
        if play <= 0:
            return sides / 2
        return sides / 2 + direction / np.linalg.norm(direction) * length * play

    @property
    def bulge(self) -> float:
        """The outline leaves the sphere by less than this."""
        return (BULGE + STEP) * self.grain

    def _draw_seeds(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw the seeds that matter to the box and the height of the outline over each."""
        depth = self.radius - min(INSET * self.grain * self.elongation ** (2 / 3), 0.5 * self.radius)
        low = np.maximum(-self.reach, self.centre - depth)
        high = np.minimum(np.asarray(self.shape) + self.reach, self.centre + depth)
        within = _share_in_ball(low, high, self.centre, depth) * float(np.prod(high - low))
        wanted = max(4, round(within * (self.radius / depth) ** 3 / self.grain**3))
        if wanted > MOST_GRAINS:
            raise ValueError(
                f"grain_size_vox is {self.grain:g}, which makes {wanted} grains; give a larger one, for at most "
                f"{MOST_GRAINS}"
            )
        seeds, spacing = np.empty((0, 3)), SPACING * self.grain
        while len(seeds) < wanted:
            tries = low + rng.random((max(BATCH, 2 * wanted), 3)) * (high - low)
            tries = tries[((tries - self.centre) ** 2).sum(axis=1) <= depth**2]
            seeds = _thin_out(np.concatenate([seeds, tries]), len(seeds), wanted, self._metric(), spacing)
            # Where they no longer fit, they may come closer: the loop always ends.
            spacing *= 0.9
        return seeds, STEP * self.grain * (2 * rng.random(wanted) - 1)

    def _metric(self) -> np.ndarray:
        return np.array([*self.centre, self.radius, self.elongation])


def _share_in_ball(low: np.ndarray, high: np.ndarray, centre: np.ndarray, radius: float) -> float:
    """Return the part of a box that lies in a ball, on a grid of 48³ points."""
    steps = (np.arange(48) + 0.5) / 48
    z, y, x = (((a + steps * (b - a)) - c) ** 2 for a, b, c in zip(low, high, centre, strict=True))
    return float(np.mean(z[:, None, None] + y[:, None] + x <= radius**2))


@numba.njit(cache=True)
def _form(seed: Any, metric: Any) -> tuple[float, float, float, float, float]:
    """Return (along, across, uz, uy, ux): squared distance = across |d|² + (along - across) (d·u)²."""
    dz, dy, dx = seed[0] - metric[0], seed[1] - metric[1], seed[2] - metric[2]
    r = math.sqrt(dz * dz + dy * dy + dx * dx) + 1e-9
    stretch = 1.0 + (metric[4] - 1.0) * min(1.0, 2.0 * r / metric[3])
    # The product of the three factors is 1: the stretch leaves volumes as they are.
    return stretch ** (-4.0 / 3.0), stretch ** (2.0 / 3.0), dz / r, dy / r, dx / r


@numba.njit(cache=True)
def _thin_out(points: Any, n_kept: int, wanted: int, metric: Any, spacing: float) -> Any:
    """Keep the first `n_kept` points and, up to `wanted`, those of the rest that are far enough from all before."""
    reach = spacing * metric[4] ** (2.0 / 3.0)
    low = np.array([points[:, 0].min(), points[:, 1].min(), points[:, 2].min()])
    # Not more cells than about the points, whatever the spacing.
    span = max(points[:, 0].max() - low[0], points[:, 1].max() - low[1], points[:, 2].max() - low[2])
    side = max(reach, span / 128.0) + 1e-9
    n = int(span / side) + 1
    head = np.full((n, n, n), -1, np.int64)
    following = np.full(wanted, -1, np.int64)
    kept = np.empty((wanted, 3))
    count = 0
    for i in range(points.shape[0]):
        if count == wanted:
            break
        cell = ((points[i] - low) / side).astype(np.int64)
        if i >= n_kept and not _is_free(points[i], cell, kept, head, following, metric, spacing):
            continue
        kept[count] = points[i]
        following[count] = head[cell[0], cell[1], cell[2]]
        head[cell[0], cell[1], cell[2]] = count
        count += 1
    return kept[:count]


@numba.njit(cache=True)
def _is_free(point: Any, cell: Any, kept: Any, head: Any, following: Any, metric: Any, spacing: float) -> bool:
    along, across, uz, uy, ux = _form(point, metric)
    n = head.shape[0]
    for z in range(max(cell[0] - 1, 0), min(cell[0] + 2, n)):
        for y in range(max(cell[1] - 1, 0), min(cell[1] + 2, n)):
            for x in range(max(cell[2] - 1, 0), min(cell[2] + 2, n)):
                other = head[z, y, x]
                while other >= 0:
                    dz, dy, dx = kept[other, 0] - point[0], kept[other, 1] - point[1], kept[other, 2] - point[2]
                    radial = dz * uz + dy * uy + dx * ux
                    squared = across * (dz * dz + dy * dy + dx * dx) + (along - across) * radial * radial
                    if squared < spacing * spacing:
                        return False
                    other = following[other]
    return True


def _grid(shape: tuple[int, int, int], step: float) -> tuple[int, int, int]:
    z, y, x = (math.ceil(n / step) + 2 for n in shape)
    return z, y, x


def _pore_trend(ball: _Ball, unevenness: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return the random part of the pores' score on a coarse grid, and the grid's spacing in voxels."""
    step = max(1.0, ball.grain / 6)
    fine = gaussian_field(_grid(ball.shape, step), length_vox=0.6 * ball.grain / step, rng=rng)
    coarse_step = max(1.0, ball.grain / 2)
    coarse = gaussian_field(_grid(ball.shape, coarse_step), length_vox=3 * ball.grain / coarse_step, rng=rng)
    trend = np.float32(FIELD) * fine
    if unevenness > 0:
        _add_field(trend, coarse, step / coarse_step, FIELD * unevenness)
    return trend, step


@numba.njit(cache=True)
def _at(field: Any, z: float, y: float, x: float) -> float:
    """Return `field` between its grid points, by trilinear interpolation."""
    i, j, k = int(z), int(y), int(x)
    i, j, k = min(i, field.shape[0] - 2), min(j, field.shape[1] - 2), min(k, field.shape[2] - 2)
    a, b, c = z - i, y - j, x - k
    near = (field[i, j, k] * (1 - c) + field[i, j, k + 1] * c) * (1 - b) + (
        field[i, j + 1, k] * (1 - c) + field[i, j + 1, k + 1] * c
    ) * b
    far = (field[i + 1, j, k] * (1 - c) + field[i + 1, j, k + 1] * c) * (1 - b) + (
        field[i + 1, j + 1, k] * (1 - c) + field[i + 1, j + 1, k + 1] * c
    ) * b
    return near * (1 - a) + far * a


@numba.njit(cache=True)
def _add_field(field: Any, other: Any, ratio: float, factor: float) -> None:
    for z in range(field.shape[0]):
        for y in range(field.shape[1]):
            for x in range(field.shape[2]):
                field[z, y, x] += factor * _at(other, z * ratio, y * ratio, x * ratio)


def _tessellate(
    ball: _Ball, trend: tuple[np.ndarray, float] | None, *, slit: float, centre_bias: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the grain of each voxel, 0 outside the particle, and the score by which voxels become pores."""
    grains = np.zeros(ball.shape, np.int32)
    depth = np.full(ball.shape, -np.inf, np.float32)
    field, step = (np.zeros((2, 2, 2), np.float32), 1e9) if trend is None else trend
    score = np.zeros(ball.shape if trend is not None else (0, 0, 0), np.float32)
    order = np.argsort(ball.seeds[:, 0], kind="stable")
    numbers = np.array([ball.grain, ball.reach, ball.bulge, slit, centre_bias, step])
    in_ball = _visit_slices(ball.seeds[order], ball.caps[order], ball._metric(), numbers, field, grains, depth, score)
    # Only near the sphere is it open whether a voxel belongs to the particle.
    sure = depth > ball.bulge
    open_to_rank = (depth >= -ball.bulge) & ~sure
    particle = sure | highest(depth, int(in_ball) - int(np.count_nonzero(sure)), among=open_to_rank)
    grains[~particle] = 0
    return grains, score


@numba.njit(cache=True)
def _visit_slices(
    seeds: Any, caps: Any, metric: Any, numbers: Any, field: Any, grains: Any, depth: Any, score: Any
) -> int:
    """Write grain, depth below the outline and score of each voxel; return how many voxels the sphere has."""
    nz, ny, nx = grains.shape
    grain, reach = numbers[:2]
    nearest = np.empty((ny, nx, 3), np.float32)
    in_ball, first = 0, 0
    for z in range(nz):
        nearest[:] = (REACH * grain) ** 2
        while first < len(seeds) and seeds[first, 0] < z + 0.5 - reach:
            first += 1
        for s in range(first, len(seeds)):
            if seeds[s, 0] > z + 0.5 + reach:
                break
            _offer(s, seeds[s], metric, z, (REACH * grain) ** 2, nearest, grains[z])
        in_ball += _rate_slice(z, seeds, caps, metric, numbers, field, nearest, grains, depth, score)
    return in_ball


@numba.njit(cache=True)
def _rate_slice(
    z: int, seeds: Any, caps: Any, metric: Any, numbers: Any, field: Any, nearest: Any, grains: Any, depth: Any,
    score: Any,
) -> int:  # fmt: skip
    """Write depth and score of a slice, and the grain where none was in reach; return how much of it the sphere has."""
    grain, _, bulge, slit, bias, step = numbers
    radius, in_ball = metric[3], 0
    for y in range(grains.shape[1]):
        for x in range(grains.shape[2]):
            r2 = (z + 0.5 - metric[0]) ** 2 + (y + 0.5 - metric[1]) ** 2 + (x + 0.5 - metric[2]) ** 2
            if r2 > (radius + bulge) ** 2:
                continue
            r = math.sqrt(r2)
            in_ball += r <= radius
            if grains[z, y, x] == 0:
                grains[z, y, x] = _search(z, y, x, seeds, metric) + 1
            d1 = math.sqrt(nearest[y, x, 0])
            second = math.sqrt(nearest[y, x, 1]) - d1
            third = math.sqrt(nearest[y, x, 2]) - d1
            # Each grain ends in a cap that falls off towards its borders.
            cap = BULGE * grain * (2 * min(1.0, 1.6 * second / grain) - 1)
            depth[z, y, x] = radius - r + cap + caps[grains[z, y, x] - 1]
            if score.size:
                value = -((1.0 - slit) * third + 2.0 * slit * second) / grain - bias * 0.5 * r / radius
                value -= max(0.0, RIND - depth[z, y, x] / grain)
                score[z, y, x] = value + _at(field, z / step, y / step, x / step)
    return in_ball


@numba.njit(cache=True, inline="always")
def _insert(three: Any, value: Any) -> bool:
    """Put a value smaller than the last of three sorted ones in its place; return whether that is the first."""
    if value >= three[1]:
        three[2] = value
        return False
    three[2] = three[1]
    if value >= three[0]:
        three[1] = value
        return False
    three[1] = three[0]
    three[0] = max(value, np.float32(0.0))
    return True


@numba.njit(cache=True)
def _offer(s: int, seed: Any, metric: Any, z: int, most: float, nearest: Any, owner: Any) -> None:
    """Offer a seed to the voxels of a slice: each keeps its three smallest squared distances and the first's seed."""
    ny, nx = owner.shape
    along, across, uz, uy, ux = _form(seed, metric)
    lean = along - across
    dz = z + 0.5 - seed[0]
    # The squared distance along a row is a x² + 2 b x + c in x counted from the seed.
    a = across + lean * ux * ux
    reach = math.sqrt(most / min(along, across))
    for y in range(max(0, int(seed[1] - reach)), min(ny, int(seed[1] + reach) + 1)):
        dy = y + 0.5 - seed[1]
        radial = dz * uz + dy * uy
        b = lean * ux * radial
        c = across * (dz * dz + dy * dy) + lean * radial * radial
        under = b * b - a * (c - most)
        if under <= 0:
            continue
        root = math.sqrt(under)
        x0 = max(0, math.ceil(seed[2] + (-b - root) / a - 0.5))
        x1 = min(nx - 1, math.floor(seed[2] + (-b + root) / a - 0.5))
        for x in range(x0, x1 + 1):
            dx = x + 0.5 - seed[2]
            squared = np.float32((a * dx + 2 * b) * dx + c)
            if squared < nearest[y, x, 2] and _insert(nearest[y, x], squared):
                owner[y, x] = s + 1


@numba.njit(cache=True)
def _search(z: int, y: int, x: int, seeds: Any, metric: Any) -> int:
    """Return the nearest of all seeds, for the few voxels in whose reach there is none."""
    best, found = np.inf, 0
    for s in range(len(seeds)):
        along, across, uz, uy, ux = _form(seeds[s], metric)
        dz, dy, dx = z + 0.5 - seeds[s, 0], y + 0.5 - seeds[s, 1], x + 0.5 - seeds[s, 2]
        radial = dz * uz + dy * uy + dx * ux
        squared = across * (dz * dz + dy * dy + dx * dx) + (along - across) * radial * radial
        if squared < best:
            best, found = squared, s
    return found


def _beside(mask: np.ndarray) -> np.ndarray:
    """Return the mask grown by one voxel in its 26-neighbourhood; beyond the box there is nothing."""
    grown = mask.copy()
    for axis in range(3):
        before = grown.copy()
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        grown[low] |= before[high]
        grown[high] |= before[low]
    return grown


def _truth(labels: np.ndarray, grains: np.ndarray, ball: _Ball) -> dict[str, Any]:
    counts = np.bincount(labels.ravel(), minlength=3)
    volume = int(counts[0] + counts[MATERIAL])
    whole = bool((ball.centre - ball.radius - ball.bulge >= 0).all()) and bool(
        (ball.centre + ball.radius + ball.bulge <= ball.shape).all()
    )
    n_grains = int(np.count_nonzero(np.bincount(grains[labels == MATERIAL])))
    ids, n_pores = label_objects(labels == 0)
    return {
        "internal_porosity": int(counts[0]) / volume,
        "particle_volume": volume,
        "pore_volume": int(counts[0]),
        "equivalent_diameter": (6 * volume / math.pi) ** (1 / 3) if whole else None,
        "centre": ball.centre.tolist(),
        "n_grains": n_grains,
        "mean_grain_volume": volume / n_grains,
        "n_pores": n_pores,
        "pores": list_objects(ids),
    }
