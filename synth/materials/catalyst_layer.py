"""The catalyst layer of fuel cells and electrolysers: carbon particles in agglomerates, ionomer, a porosity profile."""

import itertools
import math
from typing import Any

import numba
import numpy as np
from scipy import ndimage

from synth.exact_counts import highest, whole_counts
from synth.gaussian import gaussian_field
from synth.structure import Structure, check_shape, with_fractions

__all__ = ["catalyst_layer"]

# Distance of a particle from the one it is fused to, in sums of the two radii.
FUSION = 0.85
# Share of the particles that continue a chain; the others begin a branch.
CHAINING = 0.75
# Agglomerates are ellipsoids: standard deviation of the logarithm of their axes.
ELONGATION = 0.2
# Sizes beyond these many standard deviations are cut, so that it is known how far outside the box a centre may lie.
CUT = 2.0
# Particles may cover the box this many times over, taking overlap as volume, before a request counts as unreachable.
PATIENCE = 100
BATCH = 200_000
# Agglomerates, in voxels, that any box may have; those far wider than it take hours, nearly all of them outside.
WIDEST = 64
# Of a radius; they settle it to far below the distance between two voxel centres.
BISECTIONS = 40
CARBON, IONOMER = 1, 2
# Distances from the carbon, in voxels, within which ionomer lies; a farther one only if there is no room nearer by.
FILM_REACHES = (6, 12, 24, 48, 96, 192)
# How much farther, in voxels, a film reaches where all around is carbon.
WEDGE = 3.0
# The film's uneven field is drawn on a grid this much coarser.
COARSE = 4


def catalyst_layer(
    shape: tuple[int, int, int],
    *,
    porosity: float | tuple[float, float] = (0.50, 0.65),
    gradient_vox: float = 100.0,
    particle_diameter_vox: float = 4.0,
    particle_sigma: float = 0.2,
    agglomerate_diameter_vox: float = 24.0,
    agglomerate_sigma: float = 0.3,
    agglomerate_porosity: float = 0.6,
    ionomer_fraction: float = 0.0,
    film_unevenness: float = 0.8,
    film_length_vox: float = 16.0,
    rng: np.random.Generator | int,
) -> Structure:
    """Make the catalyst layer of a fuel cell or an electrolyser, as FIB-SEM shows it at about 10 nm a voxel.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along z, y, x; the membrane lies at z = 0.
    porosity : float or (float, float)
        Wanted pore fraction, what the ionomer fills not counted: a number, or the value at the membrane and that of
        the plateau, with a straight line between them. The mean over the slices is met to one voxel.
    gradient_vox : float
        Thickness of the region in which the porosity changes; in a thinner box it is the box's thickness.
    particle_diameter_vox : float
        Median diameter of the primary particles, lognormal; 30 to 50 nm are usual.
    particle_sigma : float
        Standard deviation of the logarithm of the particles' diameters.
    agglomerate_diameter_vox : float
        Median diameter of the agglomerates, lognormal; 100 to 300 nm are usual.
    agglomerate_sigma : float
        Standard deviation of the logarithm of the agglomerates' diameters.
    agglomerate_porosity : float
        Pore fraction in an agglomerate on its own, as an estimate: exp(-volume of its particles / its volume).
    ionomer_fraction : float
        Fraction of the whole that the ionomer film takes, met to one voxel; 0 is a layer without that phase.
    film_unevenness : float
        Standard deviation of the film's thickness along the surface, in voxels.
    film_length_vox : float
        Distance over which the film's thickness changes.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    Structure
        Labels 0 (pore), 1 (carbon) and, where `ionomer_fraction` is above 0, 2 (ionomer). ``truth`` has, counted
        from the labels, ``porosity``, ``fractions``, ``porosity_profile`` (slice by slice) and ``carbon_faces``
        (voxel faces between carbon and another phase, inside the box); ``target_profile``, what the slices were
        to have; ``n_particles`` and ``n_agglomerates`` that made a voxel carbon. With ionomer also
        ``film_coverage``, the share of the carbon's faces that ionomer covers, and ``film_thickness_vox``, the
        ionomer's voxels for each face that it covers (`None` where it covers none).

    Raises
    ------
    ValueError
        For impossible arguments, and where particles cannot reach the porosity: the message says what they reached.

    Notes
    -----
    An agglomerate is a branched chain of spheres fused to each other, as carbon black is. It begins on carbon that
    is there already, if there is some near, grows within an ellipsoid and turns aside from places that are taken.
    Agglomerates are placed at random, also outside the box, so that its sides are no different from its
    inside, and the more of them the less porous the slice is to be. Pores within agglomerates are hence about as wide
    as a particle and pores between them about as wide as an agglomerate. A particle is left out, and with it
    what would hang on it, where the slices within a particle's diameter of its centre have all the carbon that they
    are to have: a single slice varies about its target as in a real layer, the slices around it make up for that. The
    last particles are made as small as the porosity asks for.

    The ionomer takes the pore voxels that come first by their distance from the carbon, less a smooth random field,
    less a bonus for carbon all around, so that wedges and necks fill first. Its share of the solid is about the same
    at all depths. No voxel comes before all its neighbours that are nearer to the carbon, so all of the film sits on
    carbon.

    References
    ----------
    .. [1] T. Soboleva et al., "On the micro-, meso-, and macroporous structures of polymer electrolyte membrane fuel
       cell catalyst layers", ACS Appl. Mater. Interfaces 2, 375 (2010).
    """
    shape = check_shape(shape)
    recipe = {
        "generator": "catalyst_layer", "shape": list(shape),
        "porosity": porosity if np.ndim(porosity) == 0 else np.asarray(porosity).tolist(),
        "gradient_vox": gradient_vox, "particle_diameter_vox": particle_diameter_vox,
        "particle_sigma": particle_sigma, "agglomerate_diameter_vox": agglomerate_diameter_vox,
        "agglomerate_sigma": agglomerate_sigma, "agglomerate_porosity": agglomerate_porosity,
        "ionomer_fraction": ionomer_fraction, "film_unevenness": film_unevenness, "film_length_vox": film_length_vox,
    }  # fmt: skip
    profile = _target_profile(shape, porosity, gradient_vox)
    _check_arguments(shape, profile, recipe)
    rng = np.random.default_rng(rng)
    solid = (1 - profile) / (1 - profile).sum()
    fractions = (profile.mean(), 1 - profile.mean() - ionomer_fraction, ionomer_fraction)
    _, n_carbon, n_ionomer = whole_counts(fractions, math.prod(shape))
    labels = np.zeros(shape, np.uint8)
    window = max(1, round(particle_diameter_vox))
    counts = _fill_with_carbon(labels, n_carbon * solid, window, recipe, rng)
    if ionomer_fraction > 0:
        _add_film(labels, n_ionomer * solid, window, recipe, rng)
    truth = {"porosity_profile": (labels == 0).mean(axis=(1, 2)).tolist(), "target_profile": profile.tolist()}
    truth |= counts | _film_truth(labels, ionomer_fraction > 0)
    phases = ("pore", "carbon", "ionomer") if ionomer_fraction > 0 else ("pore", "carbon")
    return with_fractions(labels, phases, recipe=recipe, truth=truth)


def _target_profile(shape: tuple[int, int, int], porosity: Any, gradient_vox: float) -> np.ndarray:
    ends = np.asarray(porosity, float)
    if ends.shape not in ((), (2,)) or not ((ends > 0) & (ends < 1)).all():
        raise ValueError(
            f"porosity is {porosity!r}; give a number above 0 and below 1, or two: at the membrane and of the plateau"
        )
    if not 0 <= gradient_vox < math.inf:
        raise ValueError(f"gradient_vox is {gradient_vox!r}; give a thickness of 0 or more voxels")
    membrane, plateau = np.broadcast_to(ends, 2)
    thickness = min(float(gradient_vox), float(shape[0]))
    depth = np.arange(shape[0]) + 0.5
    risen = np.minimum(depth / thickness, 1.0) if thickness > 0 else np.ones(shape[0])
    return membrane + (plateau - membrane) * risen


def _check_arguments(shape: tuple[int, int, int], profile: np.ndarray, given: dict[str, Any]) -> None:
    widest, longest = max(WIDEST, max(shape) // 2), 4 * max(shape)
    particle, agglomerate = given["particle_diameter_vox"], given["agglomerate_diameter_vox"]
    if not 1 <= particle <= widest:
        raise ValueError(f"particle_diameter_vox is {particle!r}; give a number from 1 to {widest}")
    if not particle <= agglomerate <= widest:
        raise ValueError(
            f"agglomerate_diameter_vox is {agglomerate!r}; give a number from that of a particle, {particle:g}, "
            f"to {widest}: half the longest side, or {WIDEST} if that is more"
        )
    for name in ("particle_sigma", "agglomerate_sigma"):
        if not 0 <= given[name] <= 1:
            raise ValueError(f"{name} is {given[name]!r}; give the standard deviation of the log diameters, 0 to 1")
    if not 0.01 <= given["agglomerate_porosity"] <= 0.99:
        raise ValueError(f"agglomerate_porosity is {given['agglomerate_porosity']!r}; give a number from 0.01 to 0.99")
    solid = 1 - profile.mean()
    if not 0 <= given["ionomer_fraction"] < solid:
        raise ValueError(
            f"ionomer_fraction is {given['ionomer_fraction']!r}; give 0 or more and less than {solid:.4g}, "
            "what the porosity leaves for carbon and ionomer"
        )
    if not 0 <= given["film_unevenness"] <= 100:
        raise ValueError(f"film_unevenness is {given['film_unevenness']!r}; give a number of voxels from 0 to 100")
    if not 1 <= given["film_length_vox"] <= longest:
        raise ValueError(f"film_length_vox is {given['film_length_vox']!r}; give a number from 1 to {longest}")


def _fill_with_carbon(
    labels: np.ndarray, wanted: np.ndarray, window: int, given: dict[str, Any], rng: np.random.Generator
) -> dict[str, int]:
    """Write carbon until there are `wanted` voxels (slice by slice, summed) of it; return how many objects it took."""
    # Carbon around the box is written too, and cut off at the end: particles turn aside from it at the sides as inside.
    rim = [min(round(given["agglomerate_diameter_vox"]), max(n, 2 * window)) for n in labels.shape]
    wide = np.zeros([n + 2 * r for n, r in zip(labels.shape, rim, strict=True)], np.uint8)
    missing, left = np.pad(wanted, rim[0], mode="edge"), round(float(wanted.sum()))
    total, drawn = left, 0.0
    # Of a Boolean model, so that all slices are full at about the same time.
    crowd = -np.log1p(-missing / labels[0].size)
    n_particles = n_agglomerates = 0
    while left > 0:
        if drawn > PATIENCE:
            reached = 1 - (total - left) / labels.size
            raise ValueError(
                f"the porosity is {reached:.5f}, ionomer not counted, after particles of {PATIENCE} times the volume; "
                f"{left} voxels are still to be filled: ask for a higher porosity or a lower agglomerate_porosity"
            )
        agglomerates, density = _draw_agglomerates(wide.shape, missing, crowd, given, rng)
        drawn += density
        left, particles, agglomerates_used = _grow(wide, np.array(rim), missing, window, left, *agglomerates)
        n_particles += particles
        n_agglomerates += agglomerates_used
    labels[:] = wide[tuple(slice(r, r + n) for r, n in zip(rim, labels.shape, strict=True))]
    return {"n_particles": n_particles, "n_agglomerates": n_agglomerates}


def _draw_agglomerates(
    shape: tuple[int, ...], missing: np.ndarray, crowd: np.ndarray, given: dict[str, Any], rng: np.random.Generator
) -> tuple[tuple[np.ndarray, ...], float]:
    """Draw agglomerates and the numbers that decide their chains; also return how often they cover where they lie.

    Where no slice has too little carbon whole agglomerates would be left out, so none are drawn there.
    """
    median, sigma = given["agglomerate_diameter_vox"] / 2, given["agglomerate_sigma"]
    particle, particle_sigma = given["particle_diameter_vox"] / 2, given["particle_sigma"]
    longest = math.exp(CUT * (sigma + 4 / 3 * ELONGATION)) * median
    needy = np.flatnonzero(missing > 0)
    first, last = np.array([needy[0], 0, 0]), np.array([needy[-1] + 1, *shape[1:]])
    low, high = first - longest, last + longest
    region = float(np.prod(high - low))
    # Means of the cubes of lognormal radii.
    cube, particle_cube = (r**3 * math.exp(4.5 * s * s) for r, s in ((median, sigma), (particle, particle_sigma)))
    crowding = -math.log(given["agglomerate_porosity"]) / particle_cube
    count = int(np.clip(0.2 * region / (4.19 * cube), 16, max(16, BATCH / (crowding * cube))))
    centres = low + (high - low) * rng.random((count, 3))
    radii = median * np.exp(sigma * np.clip(rng.standard_normal(count), -CUT, CUT))
    frames, axes = _draw_ellipsoids(radii, rng)
    members = np.maximum(1, np.rint(crowding * radii**3)).astype(np.int64)
    outside = np.linalg.norm(centres - np.clip(centres, first, last), axis=1)
    near = outside <= axes.max(axis=1) + particle * math.exp(CUT * particle_sigma)
    at = np.clip(np.floor(centres[:, 0]).astype(int), needy[0], needy[-1])
    near &= rng.random(count) * crowd[needy].max() <= crowd[at]
    ends = np.cumsum(members[near])
    total = int(ends[-1]) if near.any() else 0
    steps = rng.standard_normal((total, 3), np.float32)
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    grains = particle * np.exp(particle_sigma * np.clip(rng.standard_normal(total), -CUT, CUT))
    chosen = centres[near], frames[near], ends
    return (*chosen, steps, grains, rng.random(total)), 4.19 * count * crowding * cube * particle_cube / region


def _draw_ellipsoids(radii: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return matrices that take ellipsoids, as large as balls of these radii, to the unit ball; and their half axes."""
    stretch = np.clip(rng.standard_normal((len(radii), 3)), -CUT, CUT)
    axes = radii[:, None] * np.exp(ELONGATION * (stretch - stretch.mean(axis=1, keepdims=True)))
    rotations = np.linalg.qr(rng.standard_normal((len(radii), 3, 3)))[0]
    return np.swapaxes(rotations, 1, 2) / axes[:, :, None], axes


@numba.njit(cache=True)
def _grow(
    labels: Any, rim: Any, missing: Any, window: int, left: int,
    centres: Any, frames: Any, ends: Any, steps: Any, grains: Any, forks: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Place agglomerates until nothing is left to fill; return what is left, the particles and agglomerates used."""
    longest = 0
    for a in range(len(ends)):
        longest = max(longest, ends[a] - (ends[a - 1] if a > 0 else 0))
    places, kept = np.empty((longest, 3)), np.empty(longest, np.bool_)
    n_particles, n_agglomerates = 0, 0
    for a in range(len(ends)):
        begin = ends[a - 1] if a > 0 else 0
        helped = 0
        for i in range(begin, ends[a]):
            k = i - begin
            parent = _parent(k, forks[i])
            _put(labels, places, k, parent, steps[i], grains, i, parent + begin, centres[a], frames[a], forks[i])
            kept[k] = (k == 0 or kept[parent]) and _is_missing(missing, places[k, 0], window)
            if kept[k]:
                found = _stamp(labels, rim, missing, places[k], grains[i], left)
                left -= found
                helped += found > 0
            if left == 0:
                break
        n_particles += helped
        n_agglomerates += helped > 0
        if left == 0:
            break
    return left, n_particles, n_agglomerates


@numba.njit(cache=True)
def _parent(k: int, fork: float) -> int:
    """Return which earlier particle of its agglomerate the k-th is fused to."""
    if fork < CHAINING:
        return k - 1
    return int((fork - CHAINING) / (1 - CHAINING) * k)


@numba.njit(cache=True)
def _put(
    labels: Any,
    places: Any,
    k: int,
    parent: int,
    step: Any,
    grains: Any,
    i: int,
    i_parent: int,
    centre: Any,
    frame: Any,
    fork: float,
) -> None:
    """Find the place of an agglomerate's k-th particle, in its ellipsoid."""
    if k == 0:
        # Anywhere in the ball within the ellipsoid, but on earlier carbon if one of these places has it.
        length = fork ** (1 / 3) / np.sqrt((frame * frame).sum(axis=1).max())
        for turn in range(6):
            _step(places, 0, centre, step, length, turn)
            if _is_taken(labels, places[0]):
                return
        return
    length = FUSION * (grains[i] + grains[i_parent])
    for must_be_free in (True, False):
        for turn in range(6):
            _step(places, k, places[parent], step, length, turn)
            if _is_inside(places[k], centre, frame) and not (must_be_free and _is_taken(labels, places[k])):
                return
    inward = centre - places[parent]
    _step(places, k, places[parent], inward / max(np.sqrt((inward * inward).sum()), 1e-9), length, 0)


@numba.njit(cache=True)
def _step(places: Any, k: int, start: Any, step: Any, length: float, turn: int) -> None:
    """Go from `start` into one of the six directions that a step and its turns by the axes give."""
    sign = length if turn < 3 else -length
    for axis in range(3):
        places[k, axis] = start[axis] + sign * step[(axis + turn) % 3]


@numba.njit(cache=True)
def _is_taken(labels: Any, place: Any) -> bool:
    nz, ny, nx = labels.shape
    z, y, x = int(np.floor(place[0])), int(np.floor(place[1])), int(np.floor(place[2]))
    return 0 <= z < nz and 0 <= y < ny and 0 <= x < nx and labels[z, y, x] != 0


@numba.njit(cache=True)
def _is_inside(place: Any, centre: Any, frame: Any) -> bool:
    total = 0.0
    for row in range(3):
        along = 0.0
        for axis in range(3):
            along += frame[row, axis] * (place[axis] - centre[axis])
        total += along * along
    return total <= 1


@numba.njit(cache=True)
def _is_missing(missing: Any, z: float, window: int) -> bool:
    """Tell whether the slices around height z have too little carbon."""
    at = min(max(int(np.floor(z)), 0), len(missing) - 1)
    total = 0.0
    for i in range(max(at - window, 0), min(at + window + 1, len(missing))):
        total += missing[i]
    return total > 0


@numba.njit(cache=True)
def _stamp(labels: Any, rim: Any, missing: Any, place: Any, radius: float, left: int) -> int:
    """Write a sphere of carbon, or as much of it as may be; return how many voxels of the box changed."""
    if 4.19 * (radius + 1) ** 3 > left:
        low, high = 0.0, radius
        if _visit(labels, rim, missing, place, radius, False) > left:
            for _ in range(BISECTIONS):
                middle = 0.5 * (low + high)
                if _visit(labels, rim, missing, place, middle, False) > left:
                    high = middle
                else:
                    low = middle
            radius = low
    return _visit(labels, rim, missing, place, radius, True)


@numba.njit(cache=True)
def _visit(labels: Any, rim: Any, missing: Any, place: Any, radius: float, write: bool) -> int:
    nz, ny, nx = labels.shape
    found = 0
    for z in range(max(int(np.ceil(place[0] - radius - 0.5)), 0), min(int(np.floor(place[0] + radius - 0.5)) + 1, nz)):
        rest_z = radius * radius - (z + 0.5 - place[0]) ** 2
        half_y = np.sqrt(max(rest_z, 0.0))
        found_here = 0
        for y in range(
            max(int(np.ceil(place[1] - half_y - 0.5)), 0), min(int(np.floor(place[1] + half_y - 0.5)) + 1, ny)
        ):
            half_x = np.sqrt(max(rest_z - (y + 0.5 - place[1]) ** 2, 0.0))
            for x in range(
                max(int(np.ceil(place[2] - half_x - 0.5)), 0), min(int(np.floor(place[2] + half_x - 0.5)) + 1, nx)
            ):
                if labels[z, y, x] == 0:
                    found_here += rim[1] <= y < ny - rim[1] and rim[2] <= x < nx - rim[2]
                    if write:
                        labels[z, y, x] = CARBON
        if write:
            missing[z] -= found_here
        if rim[0] <= z < nz - rim[0]:
            found += found_here
    return found


def _add_film(
    labels: np.ndarray, wanted: np.ndarray, window: int, given: dict[str, Any], rng: np.random.Generator
) -> None:
    """Write ionomer into the pores, as many voxels as `wanted` adds up to, about as many in each slice."""
    count = round(float(wanted.sum()))
    enough = min(2 * count, labels.size - np.count_nonzero(labels))
    for reach in FILM_REACHES:
        squared = _squared_distance(labels, reach)
        candidates = squared.ravel().nonzero()[0]
        if candidates.size >= enough:
            break
    if candidates.size < count:
        raise ValueError(
            f"{count} voxels of ionomer have no place within {reach} voxels of the {np.count_nonzero(labels)} voxels "
            "of carbon; ask for a lower ionomer_fraction or a lower porosity"
        )
    order = candidates[np.argsort(squared.ravel()[candidates], kind="stable")]
    score = _film_score(labels, squared, given, rng)
    score -= _levels(score, squared > 0, wanted, window)[:, None, None]
    _let_none_float(score, squared, order)
    labels[highest(score, count, among=squared > 0)] = IONOMER


def _film_score(labels: np.ndarray, squared: np.ndarray, given: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Return how soon each pore voxel is filled: early near the carbon, in wedges, and where a smooth field says so."""
    density = ndimage.uniform_filter((labels == CARBON).astype(np.float32), 5, mode="nearest")
    score = WEDGE * density - np.sqrt(squared, dtype=np.float32)
    if given["film_unevenness"] > 0:
        nz, ny, nx = (-(-n // COARSE) + 1 for n in labels.shape)
        length = max(given["film_length_vox"] / COARSE, 1.0)
        field = gaussian_field((nz, ny, nx), length_vox=length, rng=rng).astype(np.float32)
        _add_interpolated(score, field, given["film_unevenness"])
    return score


@numba.njit(cache=True)
def _add_interpolated(score: Any, field: Any, weight: float) -> None:
    """Add a field of a coarse grid to each voxel, by trilinear interpolation."""
    nz, ny, nx = score.shape
    row = np.empty(field.shape[2], np.float32)
    for z in range(nz):
        kz, fz = z // COARSE, (z % COARSE) / COARSE
        for y in range(ny):
            ky, fy = y // COARSE, (y % COARSE) / COARSE
            for k in range(len(row)):
                near = (1 - fz) * field[kz, ky, k] + fz * field[kz + 1, ky, k]
                far = (1 - fz) * field[kz, ky + 1, k] + fz * field[kz + 1, ky + 1, k]
                row[k] = weight * ((1 - fy) * near + fy * far)
            for x in range(nx):
                kx, fx = x // COARSE, (x % COARSE) / COARSE
                score[z, y, x] += (1 - fx) * row[kx] + fx * row[kx + 1]


def _levels(score: np.ndarray, among: np.ndarray, wanted: np.ndarray, window: int) -> np.ndarray:
    """Return for each slice the score above which about `wanted` of the candidates lie, groups of slices joined up."""
    edges = np.linspace(0, len(wanted), max(1, len(wanted) // (2 * window)) + 1).round().astype(int)
    middles, levels = [], []
    for begin, end in itertools.pairwise(edges):
        values = score[begin:end][among[begin:end]]
        count = min(round(float(wanted[begin:end].sum())), values.size)
        if count > 0:
            middles.append((begin + end - 1) / 2)
            levels.append(np.partition(values, values.size - count)[values.size - count])
    if not levels:
        return np.zeros(len(wanted), np.float32)
    return np.interp(np.arange(len(wanted)), middles, levels).astype(np.float32)


@numba.njit(cache=True)
def _let_none_float(score: Any, squared: Any, order: Any) -> None:
    """Lower each score below the highest among the neighbours that are nearer to the carbon.

    `order` lists the voxels by distance. One that is not next to the carbon always has a nearer neighbour, so what
    ranks highest always hangs together with the carbon.
    """
    nz, ny, nx = score.shape
    for index in order:
        x, y, z = index % nx, index // nx % ny, index // (nx * ny)
        own = squared[z, y, x]
        if own == 1:
            continue
        best = np.float32(-np.inf)
        if z > 0 and 0 < squared[z - 1, y, x] < own:
            best = max(best, score[z - 1, y, x])
        if z + 1 < nz and 0 < squared[z + 1, y, x] < own:
            best = max(best, score[z + 1, y, x])
        if y > 0 and 0 < squared[z, y - 1, x] < own:
            best = max(best, score[z, y - 1, x])
        if y + 1 < ny and 0 < squared[z, y + 1, x] < own:
            best = max(best, score[z, y + 1, x])
        if x > 0 and 0 < squared[z, y, x - 1] < own:
            best = max(best, score[z, y, x - 1])
        if x + 1 < nx and 0 < squared[z, y, x + 1] < own:
            best = max(best, score[z, y, x + 1])
        score[z, y, x] = min(score[z, y, x], np.nextafter(best, np.float32(-np.inf)))


def _squared_distance(labels: np.ndarray, reach: int) -> np.ndarray:
    """Return the squared distance of each voxel from the carbon; 0 in it and beyond `reach`."""
    squared = np.empty(labels.shape, np.uint16)
    _distances_in_rows(labels, squared, reach)
    squared = _nearest_along_y(squared, reach)
    turned = np.ascontiguousarray(np.swapaxes(squared, 0, 1))
    squared = np.ascontiguousarray(np.swapaxes(_nearest_along_y(turned, reach), 0, 1))
    squared[squared > reach * reach] = 0
    return squared


@numba.njit(cache=True)
def _distances_in_rows(labels: Any, squared: Any, reach: int) -> None:
    far = np.uint16((reach + 1) ** 2)
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            steps = reach + 1
            for x in range(nx):
                steps = 0 if labels[z, y, x] == CARBON else min(steps + 1, reach + 1)
                squared[z, y, x] = min(steps * steps, far)
            steps = reach + 1
            for x in range(nx - 1, -1, -1):
                steps = 0 if labels[z, y, x] == CARBON else min(steps + 1, reach + 1)
                squared[z, y, x] = min(squared[z, y, x], steps * steps)


@numba.njit(cache=True)
def _nearest_along_y(squared: Any, reach: int) -> Any:
    """Return the least, over steps along y, of the step's square and the squared distance there."""
    result = squared.copy()
    nz, ny, nx = squared.shape
    for z in range(nz):
        for y in range(ny):
            for step in range(1, reach + 1):
                cost = np.uint16(step * step)
                for other in (y - step, y + step):
                    if 0 <= other < ny:
                        for x in range(nx):
                            result[z, y, x] = min(result[z, y, x], np.uint16(squared[z, other, x] + cost))
    return result


def _film_truth(labels: np.ndarray, has_film: bool) -> dict[str, Any]:
    """Count the carbon's faces, and with ionomer how many of them it covers."""
    faces, covered = _count_faces(labels)
    if not has_film:
        return {"carbon_faces": faces}
    ionomer = int(np.count_nonzero(labels == IONOMER))
    return {
        "carbon_faces": faces,
        "film_coverage": covered / faces if faces else None,
        "film_thickness_vox": ionomer / covered if covered else None,
    }


@numba.njit(cache=True)
def _count_faces(labels: Any) -> tuple[int, int]:
    faces, covered = 0, 0
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                here = labels[z, y, x]
                for dz, dy, dx in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
                    if z + dz < nz and y + dy < ny and x + dx < nx:
                        there = labels[z + dz, y + dy, x + dx]
                        if (here == CARBON) != (there == CARBON):
                            faces += 1
                            covered += here == IONOMER or there == IONOMER
    return faces, covered
