"""Gas diffusion layers with a microporous layer: fibres, a cracked layer on them, and how deep it has sunk in."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from scipy import ndimage

from synth.exact_counts import highest
from synth.fibres import Orientation, draw_fibres, fill_with_fibres
from synth.gaussian import gaussian_field
from synth.structure import Structure, check_shape, with_fractions

__all__ = ["gdl_with_mpl"]

PORE, FIBRE, MPL = 0, 1, 2
# Where a length is not given, what fits the published layers, or this share of the box if that is less.
THICKNESS, THICKNESS_SHARE = 10.0, 1 / 4
INTRUSION, INTRUSION_SHARE = 20.0, 2 / 3
# 483 cracks that take 25 % of a plan of about a million pixels (UTILE-Pore).
CRACKS_PER_AREA = 483e-6 / 0.25
# Log-standard-deviation of the areas that cracks are meant to have: few large ones, many small ones.
CRACK_AREA_SIGMA = 1.2
# A line of this radius covers a pixel centre wherever it is, so that it never breaks.
THINNEST_RADIUS = 0.75
# Of two cracks: what is nearer to one's edge than this is, or touches, one of its neighbours' eight neighbours.
GUARD = 1.5
# Side branches per crack width of length, and the least width of one in units of its crack's.
BRANCHING, BRANCH_WIDTH = 0.06, 0.6
# A branch begins only where this many widths ahead nothing has cracked within as many widths, so that lines do not
# crowd; where no such place is left, with these shares of it.
AHEAD, CLEARANCE, CROWDING = 4.0, 2.5, (1.0, 0.5, 0.25)
# Turns of a crack's line: slow drift per square root of length, and kinks per crack width of length.
DRIFT, KINKS, KINK_ANGLE = 0.05, 0.12, 0.6
MOST_ARMS = 64
SEED_TRIES, BRANCH_TRIES, EXTENSION_TRIES = 1000, 100, 2000
# Most of the crack area that may be left to the widening of cracks, in units of all of it, and in pixels.
WIDENED_SHARE, WIDENED_PIXELS = 0.1, 64


class _Cracks(NamedTuple):
    """Cracks in plan view: 0 or the number of the crack at each pixel, and the length of each crack's lines."""

    ids: np.ndarray
    lengths: np.ndarray


def gdl_with_mpl(
    shape: tuple[int, int, int],
    *,
    porosity: float = 0.82,
    fibre_diameter_vox: float = 4.0,
    in_plane: float = 20.0,
    persistence_vox: float | None = None,
    mpl_thickness_vox: float | None = None,
    roughness_vox: float = 1.0,
    roughness_length_vox: float = 12.0,
    intrusion_depth_vox: float | None = None,
    intrusion_area_fraction: float = 0.15,
    intrusion_length_vox: float = 40.0,
    crack_area_fraction: float = 0.22,
    crack_width_vox: tuple[float, float] = (4.0, 0.4),
    n_cracks: int | None = None,
    rng: np.random.Generator | int,
) -> Structure:
    """Make a gas diffusion layer with a microporous layer (MPL): 0 pore, 1 fibre, 2 MPL.

    The MPL's free surface is the plane z = 0. Fibres lie at and beyond the plane z = h, where h is the nominal
    thickness of the MPL rounded to a voxel; none reaches below it. The MPL fills what is below its rough top, fibres
    and cracks excepted, and so lies between the fibres wherever that top is beyond h.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along z (through the plane), y, x.
    porosity : float
        Of the fibre substrate, that is of all voxels with z ≥ h: the part that is no fibre, whether pore or MPL. So
        is a pycnometer's porosity compared with an image from which the MPL has been taken out. Met to one voxel.
    fibre_diameter_vox : float
        In voxels, from 1 to the substrate's or the plan's shortest side.
    in_plane : float
        Schladitz' β of the fibres, see `synth.fibres.Orientation`.
    persistence_vox : float, optional
        Persistence length of curved fibres, at least half their diameter; ``None`` is straight.
    mpl_thickness_vox : float, optional
        Nominal thickness; 10 voxels, or a quarter of the box if that is less. Its rounded value h is at least 1.
    roughness_vox, roughness_length_vox : float
        Standard deviation of the height of the MPL's top, and its correlation length in the plane.
    intrusion_depth_vox : float, optional
        How much the deepest intrusion adds to that height; 20 voxels, or two thirds of the substrate if that is less.
    intrusion_area_fraction : float
        Part of the plan in which the MPL intrudes.
    intrusion_length_vox : float
        Size of these zones.
    crack_area_fraction : float
        Part of the surface z = 0 that is crack, met to one voxel. Up to about 0.7 finds room where the cracks
        are few.
    crack_width_vox : (float, float)
        Median and log-standard-deviation of the cracks' lognormal widths; a line narrower than 1.5 is made 1.5.
    n_cracks : int, optional
        Number of cracks; if not given, in proportion to their area, as many as published (483 where 25 % of a plan
        of a million pixels is crack), at least 1.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    Structure
        ``truth`` holds, all exact, lengths in voxels:

        - ``porosity`` and ``fractions`` of all labels; ``substrate_porosity``, see `porosity`; ``substrate_plane``, h;
        - ``cracks``: for each ``id`` (as `scipy.ndimage.label` numbers the pores of the slice z = 0, with 4 or 8
          neighbours), ``area``, ``length`` of its centre lines in the plan with all branches, from tip to tip,
          ``mean_width`` (area / length) and ``centroid`` (y, x; pixel *i* has its centre at i + 0.5);
        - ``crack_map``, the id at each pixel, 0 where there is none; ``n_cracks``, ``crack_area``,
          ``crack_area_fraction`` and ``crack_density``, cracks per pixel of the plan;
        - ``thickness_map``, the number of MPL voxels of each column, and ``thickness`` with its ``mean``, ``std`` and
          ``max`` over the columns that have any;
        - ``intrusion_map``, how far each column's last MPL voxel reaches beyond the plane h, 0 where it does not, and
          ``intrusion`` with its ``mean`` over the whole plan and its ``max``;
        - ``interface_area``, the number of voxel faces between MPL and fibre;
        - ``n_fibres`` drawn, and ``fibre_diameter``.

    Raises
    ------
    ValueError
        For arguments out of range, and for cracks or fibres that find no room: the message says what was reached.

    Notes
    -----
    The MPL counts as a homogeneous solid: its own pores are below the resolution of X-rays. Cracks run through its
    whole thickness, with upright walls. They begin anywhere, meander, kink and branch, are mirrored up to half their
    width beyond the plan's border (so that it is about as cracked as the inside, and no crack is cut in two), and end
    where they would come within one MPL voxel of another, so that each is a component of its own at the surface; a
    branch that meets its own crack ends there and may cut out an island. The slices below h thus all have the porosity
    `crack_area_fraction`, up to where the top is; then it rises to the plateau of the substrate.

    References
    ----------
    .. [1] A. Colliard-Granero and others, "UTILE-Pore: Deep Learning-Enabled 3D Analysis of Porous Materials in
       Polymer Electrolyte Membrane-Based Energy Devices", J. Electrochem. Soc. 172 (2025) 074515, figs. 4 and 5.
    """
    shape = check_shape(shape)
    recipe = {
        "generator": "gdl_with_mpl", "shape": list(shape), "porosity": porosity,
        "fibre_diameter_vox": fibre_diameter_vox, "in_plane": in_plane, "persistence_vox": persistence_vox,
        "mpl_thickness_vox": mpl_thickness_vox, "roughness_vox": roughness_vox,
        "roughness_length_vox": roughness_length_vox, "intrusion_depth_vox": intrusion_depth_vox,
        "intrusion_area_fraction": intrusion_area_fraction, "intrusion_length_vox": intrusion_length_vox,
        "crack_area_fraction": crack_area_fraction, "crack_width_vox": list(crack_width_vox), "n_cracks": n_cracks,
    }  # fmt: skip
    plane = _check_mpl(shape, recipe)
    _check_fibres(shape, plane, recipe)
    n_crack_pixels, count = _check_cracks(shape, recipe)
    fibre_rng, top_rng, crack_rng = np.random.default_rng(rng).spawn(3)
    labels = np.zeros(shape, np.uint8)
    n_fibres = _lay_fibres(labels[plane:], recipe, fibre_rng)
    cracks = _grow_cracks(shape[1:], n_crack_pixels, count, widths=crack_width_vox, rng=crack_rng)
    _coat(labels, _top(shape, plane, recipe, top_rng), cracks.ids)
    fibres = int(np.count_nonzero(labels == FIBRE))
    truth = {
        "substrate_plane": plane,
        "substrate_porosity": 1 - fibres / labels[plane:].size,
        **_crack_truth(cracks),
        **_layer_truth(labels, plane),
        "interface_area": int(_count_faces(labels, MPL, FIBRE)),
        "n_fibres": n_fibres,
        "fibre_diameter": float(fibre_diameter_vox),
    }
    return with_fractions(labels, ("pore", "fibre", "MPL"), recipe=recipe, truth=truth)


def _check_mpl(shape: tuple[int, int, int], given: Mapping[str, Any]) -> int:
    """Check what describes the MPL and return the plane at which the fibres begin."""
    thickness, nz = given["mpl_thickness_vox"], shape[0]
    if nz < 4:
        raise ValueError(f"shape has {nz} voxels along z; give at least 4, for the MPL and the fibres")
    if thickness is None:
        thickness = min(THICKNESS, THICKNESS_SHARE * nz)
    if not 0.5 < thickness <= nz - 2:
        raise ValueError(f"mpl_thickness_vox is {thickness!r}; give a number above 0.5 and at most {nz - 2}")
    plane = round(thickness)
    for name in ("roughness_length_vox", "intrusion_length_vox"):
        if not 0 < given[name] < math.inf:
            raise ValueError(f"{name} is {given[name]!r}; give a length above 0")
    if not 0 <= given["roughness_vox"] <= nz:
        raise ValueError(f"roughness_vox is {given['roughness_vox']!r}; give a number from 0 to {nz}")
    if not 0 <= given["intrusion_area_fraction"] <= 1:
        raise ValueError(f"intrusion_area_fraction is {given['intrusion_area_fraction']!r}; give a number from 0 to 1")
    depth = given["intrusion_depth_vox"]
    if depth is not None and not 0 <= depth <= nz - plane:
        raise ValueError(
            f"intrusion_depth_vox is {depth!r}; give a number from 0 to {nz - plane}, the substrate's thickness"
        )
    return plane


def _check_fibres(shape: tuple[int, int, int], plane: int, given: Mapping[str, Any]) -> None:
    porosity, diameter, persistence = (given[k] for k in ("porosity", "fibre_diameter_vox", "persistence_vox"))
    if not 0 < porosity < 1:
        raise ValueError(f"porosity is {porosity!r}; give a number above 0 and below 1")
    widest = min(shape[0] - plane, *shape[1:])
    if not 1 <= diameter <= widest:
        raise ValueError(
            f"fibre_diameter_vox is {diameter!r}; give a number from 1 to {widest}, the substrate's shortest side"
        )
    if persistence is not None and not persistence >= diameter / 2:
        raise ValueError(
            f"persistence_vox is {persistence!r}; give at least {diameter / 2:g}, half the fibre's diameter, or None"
        )


def _check_cracks(shape: tuple[int, int, int], given: Mapping[str, Any]) -> tuple[int, int]:
    """Check what describes the cracks and return how many pixels and how many cracks there are to be."""
    part, widths, count = given["crack_area_fraction"], given["crack_width_vox"], given["n_cracks"]
    if not 0 <= part < 1:
        raise ValueError(f"crack_area_fraction is {part!r}; give a number from 0 up to, not including, 1")
    if len(widths) != 2 or not 0 < widths[0] <= min(shape[1:]) or not 0 <= widths[1] <= 1.5:
        raise ValueError(
            f"crack_width_vox is {tuple(widths)!r}; give a median width above 0 and at most {min(shape[1:])}, and a "
            "log-standard-deviation from 0 to 1.5"
        )
    plan = shape[1] * shape[2]
    pixels = round(part * plan)
    implied = max(1, round(CRACKS_PER_AREA * part * plan)) if pixels else 0
    if count is None:
        return pixels, implied
    if count != int(count) or not min(pixels, 1) <= count <= pixels:
        raise ValueError(
            f"n_cracks is {count!r} where the crack area is {pixels} pixels; give a whole number from "
            f"{min(pixels, 1)} to {pixels}"
        )
    return pixels, int(count)


def _lay_fibres(substrate: np.ndarray, given: Mapping[str, Any], rng: np.random.Generator) -> int:
    """Fill the substrate with fibres whose lines end a radius before the plane of the MPL; return their number."""
    radius, persistence = given["fibre_diameter_vox"] / 2, given["persistence_vox"] or math.inf
    low, high = np.full(3, -radius), np.array(substrate.shape) + radius
    low[0] = radius
    fibres = draw_fibres(
        low, high, orientation=Orientation(given["in_plane"]), persistence_vox=persistence,
        step_vox=min(radius, persistence / 30), rng=rng,
    )  # fmt: skip
    target = substrate.size - round(given["porosity"] * substrate.size)
    filled = fill_with_fibres(substrate, fibres, radius=radius, target=target)
    if filled.solid < target:
        raise ValueError(
            f"porosity {given['porosity']:g} cannot be reached by fibres of diameter {2 * radius:g}; the substrate "
            f"ended at {1 - filled.solid / substrate.size:.4f}: ask for more"
        )
    return len(np.unique(filled.segments.fibre))


def _top(shape: tuple[int, int, int], plane: int, given: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Draw the height of the MPL's top, shape (Y, X)."""
    plan, depth = (1, *shape[1:]), given["intrusion_depth_vox"]
    if depth is None:
        depth = min(INTRUSION, INTRUSION_SHARE * (shape[0] - plane))
    rough = gaussian_field(plan, length_vox=given["roughness_length_vox"], rng=rng)[0]
    patches = gaussian_field(plan, length_vox=given["intrusion_length_vox"], rng=rng)[0]
    top = plane + given["roughness_vox"] * rough
    sunk = highest(patches, round(given["intrusion_area_fraction"] * patches.size))
    if depth > 0 and sunk.any():
        shore = patches[sunk].min()
        # From 0 at the shore of a zone to 1 at the deepest point of all.
        share = np.maximum(patches - shore, 0) / max(float(patches.max() - shore), np.finfo(np.float32).tiny)
        top = top + depth * share
    return np.clip(top, 1, shape[0])


def _coat(labels: np.ndarray, top: np.ndarray, crack_ids: np.ndarray) -> None:
    """Write the MPL below its top, in place, wherever there is neither fibre nor crack."""
    top = np.where(crack_ids > 0, 0, top)
    for z in range(math.ceil(top.max())):
        # Voxel z has its centre at z + 0.5.
        layer = labels[z]
        layer[(layer == PORE) & (top >= z + 0.5)] = MPL


def _crack_truth(cracks: _Cracks) -> dict[str, Any]:
    ids, count = cracks.ids, len(cracks.lengths)
    areas = np.bincount(ids.ravel(), minlength=count + 1)[1:]
    centroids = np.zeros((0, 2))
    if count:
        centroids = np.array(ndimage.center_of_mass(ids > 0, ids, np.arange(1, count + 1))) + 0.5
    rows = zip(areas.tolist(), cracks.lengths.tolist(), centroids.tolist(), strict=True)
    return {
        "cracks": [
            {"id": i, "area": area, "length": length, "mean_width": area / length, "centroid": centroid}
            for i, (area, length, centroid) in enumerate(rows, 1)
        ],
        "crack_map": ids,
        "n_cracks": count,
        "crack_area": int(areas.sum()),
        "crack_area_fraction": float(areas.sum() / ids.size),
        "crack_density": count / ids.size,
    }


def _layer_truth(labels: np.ndarray, plane: int) -> dict[str, Any]:
    thickness = np.zeros(labels.shape[1:], np.int32)
    reach = np.zeros(labels.shape[1:], np.int32)
    for z, layer in enumerate(labels):
        here = layer == MPL
        thickness += here
        reach[here] = z + 1
    intrusion = np.maximum(reach - plane, 0).astype(np.int32)
    held = thickness[thickness > 0]
    return {
        "thickness_map": thickness,
        "thickness": {"mean": float(held.mean()), "std": float(held.std()), "max": int(held.max())},
        "intrusion_map": intrusion,
        "intrusion": {"mean": float(intrusion.mean()), "max": int(intrusion.max())},
    }


@numba.njit(cache=True)
def _count_faces(labels: Any, one: int, other: int) -> int:
    nz, ny, nx = labels.shape
    faces = 0
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                here = labels[z, y, x]
                if here != one and here != other:
                    continue
                wanted = one + other - here
                faces += z + 1 < nz and labels[z + 1, y, x] == wanted
                faces += y + 1 < ny and labels[z, y + 1, x] == wanted
                faces += x + 1 < nx and labels[z, y, x + 1] == wanted
    return faces


def _grow_cracks(
    plan: tuple[int, int], pixels: int, count: int, *, widths: Sequence[float], rng: np.random.Generator
) -> _Cracks:
    """Grow `count` cracks, none touching another, that cover exactly `pixels` of the plan."""
    ids = np.zeros(plan, np.int32)
    if not count:
        return _Cracks(ids, np.zeros(0))
    shares = np.sort(np.exp(CRACK_AREA_SIGMA * rng.standard_normal(count)))[::-1]
    # Each gets a pixel at least; the largest come first, while there is room.
    budgets = 1 + np.diff(np.round(np.cumsum(shares) / shares.sum() * (pixels - count)), prepend=0).astype(np.int64)
    # The longer a crack, the wider it has opened.
    drawn = widths[0] * np.exp(widths[1] * rng.standard_normal(count))
    # As wide as lines are drawn; branches per width would otherwise have no end.
    crack_widths = np.sort(np.maximum(drawn, 2 * THINNEST_RADIUS))[::-1].copy()
    lengths = np.zeros(count)
    left, grown = 0, 0
    while grown < count:
        used = _grow_crack(ids, grown + 1, budgets[grown] + left, crack_widths[grown], lengths, rng)
        if not used:
            raise ValueError(
                f"n_cracks is {count} where only {grown} cracks found room, one pixel or more apart; give fewer "
                "cracks, or less crack area"
            )
        left += budgets[grown] - used
        grown += 1
    left -= _extend_cracks(ids, left, crack_widths, lengths, rng)
    if left <= max(WIDENED_PIXELS, WIDENED_SHARE * pixels):
        edge = np.flatnonzero((ndimage.grey_dilation(ids, (3, 3)) > 0) & (ids == 0))
        while left > 0 and (added := _widen_cracks(ids.ravel(), plan[1], rng.permutation(edge), left)):
            left -= added
            edge = np.flatnonzero((ndimage.grey_dilation(ids, (3, 3)) > 0) & (ids == 0))
    if left > 0:
        raise ValueError(
            f"crack_area_fraction {pixels / ids.size:.4g} cannot be reached by {count} cracks of median width "
            f"{widths[0]:g}, one pixel or more apart; they ended at {(pixels - left) / ids.size:.4f}: ask for less"
        )
    return _renumber(ids, lengths)


def _renumber(ids: np.ndarray, lengths: np.ndarray) -> _Cracks:
    """Give the cracks numbers in the order in which a scan of the plan meets them."""
    numbers, first = np.unique(ids, return_index=True)
    met = numbers[numbers > 0][np.argsort(first[numbers > 0])]
    new = np.zeros(len(lengths) + 1, np.int32)
    new[met] = np.arange(1, len(met) + 1)
    return _Cracks(new[ids], lengths[met - 1])


@numba.njit(cache=True)
def _grow_crack(ids: Any, crack: int, budget: int, width: float, lengths: Any, rng: Any) -> int:
    """Grow one crack from a free place, two ways; return how many pixels it took, 0 if there was no place."""
    ny, nx = ids.shape
    # A crack of few pixels is no longer than it is wide.
    half = max(THINNEST_RADIUS, min(width / 2, np.sqrt(budget / np.pi)))
    rim = half - THINNEST_RADIUS
    y, x, found = 0.0, 0.0, -1
    for _ in range(SEED_TRIES):
        y, x = (ny + 2 * rim) * rng.random() - rim, (nx + 2 * rim) * rng.random() - rim
        found = _free_pixels(ids, crack, y, x, y, x, half)
        if found > 0:
            break
    if found <= 0:
        return 0
    lengths[crack - 1] = 2 * half
    if found > budget:
        ids[int(min(max(y, 0.0), ny - 1.0)), int(min(max(x, 0.0), nx - 1.0))] = crack
        return 1
    used = _write_line(ids, crack, y, x, y, x, half)
    return used + _grow_arms(ids, crack, y, x, budget - used, width, lengths, rng)


@numba.njit(cache=True)
def _grow_arms(ids: Any, crack: int, y: float, x: float, budget: int, width: float, lengths: Any, rng: Any) -> int:
    """Let a crack run two ways from where it began, and branch."""
    arms, trunk = np.empty((MOST_ARMS, 5)), np.empty((512, 2))
    heading = 2 * np.pi * rng.random()
    # Of an arm: y, x, heading, half its width, its length so far.
    arms[0] = np.array([y, x, heading, width / 2, 0.0])
    arms[1] = np.array([y, x, heading + np.pi, width / 2, 0.0])
    trunk[0] = np.array([y, x])
    used, n_arms, n_trunk, tries = 0, 2, 1, 0
    while used < budget and tries < BRANCH_TRIES:
        if n_arms == 0:
            tries += 1
            at = trunk[rng.integers(0, min(n_trunk, len(trunk)))]
            n_arms += _branch(ids, arms[0], at[0], at[1], 2 * np.pi * rng.random(), width, 1.0, rng)
            continue
        one = rng.integers(0, n_arms)
        taken = _step(ids, crack, arms[one], budget - used, rng)
        if taken < 0:
            n_arms -= 1
            arms[one] = arms[n_arms]
            continue
        used += taken
        tries = 0 if taken else tries
        # A step that adds nothing runs over what is there, as where an arm leaves its root.
        lengths[crack - 1] += taken > 0 and _square_outside(ids, arms[one, 0], arms[one, 1]) == 0
        trunk[n_trunk % len(trunk)] = arms[one, :2]
        n_trunk += 1
        if n_arms < MOST_ARMS and rng.random() < BRANCHING / width:
            aside = arms[one, 2] + (1.2 + 0.7 * rng.random()) * (1.0 if rng.random() < 0.5 else -1.0)
            n_arms += _branch(ids, arms[n_arms], arms[one, 0], arms[one, 1], aside, width, 1.0, rng)
    return used


@numba.njit(cache=True)
def _branch(ids: Any, arm: Any, y: float, x: float, heading: float, width: float, crowding: float, rng: Any) -> bool:
    """Make `arm` a new branch if there is room ahead of it; tell whether there is."""
    ny, nx = ids.shape
    ahead, clear = crowding * AHEAD * width, crowding * CLEARANCE * width
    to_y, to_x = y + ahead * np.sin(heading), x + ahead * np.cos(heading)
    # What lies beyond the border is as cracked as what lies at the opposite one.
    for j in range(int(np.floor(to_y - clear)), int(to_y + clear) + 1):
        for i in range(int(np.floor(to_x - clear)), int(to_x + clear) + 1):
            if ids[j % ny, i % nx] and (j + 0.5 - to_y) ** 2 + (i + 0.5 - to_x) ** 2 <= clear * clear:
                return False
    half = width / 2 * (BRANCH_WIDTH + (1 - BRANCH_WIDTH) * rng.random())
    arm[0], arm[1], arm[2], arm[3], arm[4] = y, x, heading, half, 0.0
    return True


@numba.njit(cache=True)
def _extend_cracks(ids: Any, budget: int, widths: Any, lengths: Any, rng: Any) -> int:
    """Let new branches grow from anywhere in the cracks until the budget is used up, or no branch finds room."""
    ny, nx = ids.shape
    used = 0
    arm = np.empty(5)
    for crowding in CROWDING:
        failures = 0
        # A step covers about a width; what is less is left to the widening.
        while budget - used > widths.max() and failures < EXTENSION_TRIES:
            failures += 1
            y, x = rng.integers(0, ny), rng.integers(0, nx)
            crack = ids[y, x]
            heading = 2 * np.pi * rng.random()
            if crack == 0 or not _branch(ids, arm, y + 0.5, x + 0.5, heading, widths[crack - 1], crowding, rng):
                continue
            gain, steps, taken = 0, 0, 0
            while taken >= 0:
                taken = _step(ids, crack, arm, budget - used - gain, rng)
                gain += max(taken, 0)
                steps += taken > 0 and _square_outside(ids, arm[0], arm[1]) == 0
            used += gain
            lengths[crack - 1] += steps
            failures = failures if gain == 0 else 0
    return used


@numba.njit(cache=True)
def _step(ids: Any, crack: int, arm: Any, budget: int, rng: Any) -> int:
    """Move an arm's tip on by one pixel; return the pixels taken, or -1 where the arm ends."""
    ny, nx = ids.shape
    y, x, heading, half, age = arm
    heading += DRIFT * rng.standard_normal()
    if rng.random() < KINKS / (2 * max(half, THINNEST_RADIUS)):
        heading += KINK_ANGLE * rng.standard_normal()
    rim = max(half, THINNEST_RADIUS) - 0.5
    # Where one crack runs out of the plan, in a larger one another runs in: mirrored, it is that other one.
    if not -rim <= y + np.sin(heading) <= ny + rim:
        heading = -heading
    if not -rim <= x + np.cos(heading) <= nx + rim:
        heading = np.pi - heading
    to_y, to_x = y + np.sin(heading), x + np.cos(heading)
    # So wide that what the plan shows of it hangs together.
    thinnest = THINNEST_RADIUS + max(_square_outside(ids, y, x), _square_outside(ids, to_y, to_x)) ** 0.5
    wide = max(thinnest, half * (1 + 0.15 * rng.standard_normal()))
    free = _free_pixels(ids, crack, y, x, to_y, to_x, wide)
    # Once clear of where it began, an arm that finds nothing new has met its own crack.
    if free < 0 or free > budget or (free == 0 and age > 4 * half + 2):
        return -1
    arm[0], arm[1], arm[2], arm[4] = to_y, to_x, heading, age + 1
    return _write_line(ids, crack, y, x, to_y, to_x, wide)


@numba.njit(cache=True)
def _square_outside(ids: Any, y: float, x: float) -> float:
    ny, nx = ids.shape
    return max(-y, 0.0, y - ny) ** 2 + max(-x, 0.0, x - nx) ** 2


@numba.njit(cache=True)
def _square_to_line(py: float, px: float, y: float, x: float, to_y: float, to_x: float) -> float:
    dy, dx = to_y - y, to_x - x
    square, s = dy * dy + dx * dx, 0.0
    if square > 0:
        s = min(max(((py - y) * dy + (px - x) * dx) / square, 0.0), 1.0)
    return (py - y - s * dy) ** 2 + (px - x - s * dx) ** 2


@numba.njit(cache=True)
def _free_pixels(ids: Any, crack: int, y: float, x: float, to_y: float, to_x: float, half: float) -> int:
    """Count the pixels that a line would add to a crack, or return -1 if it came too near to another crack."""
    ny, nx = ids.shape
    reach = half + GUARD
    free = 0
    for j in range(max(0, int(min(y, to_y) - reach)), min(ny, int(max(y, to_y) + reach) + 1)):
        for i in range(max(0, int(min(x, to_x) - reach)), min(nx, int(max(x, to_x) + reach) + 1)):
            square = _square_to_line(j + 0.5, i + 0.5, y, x, to_y, to_x)
            if square > reach * reach:
                continue
            if ids[j, i] != 0 and ids[j, i] != crack:
                return -1
            free += ids[j, i] == 0 and square <= half * half
    return free


@numba.njit(cache=True)
def _write_line(ids: Any, crack: int, y: float, x: float, to_y: float, to_x: float, half: float) -> int:
    ny, nx = ids.shape
    written = 0
    for j in range(max(0, int(min(y, to_y) - half)), min(ny, int(max(y, to_y) + half) + 1)):
        for i in range(max(0, int(min(x, to_x) - half)), min(nx, int(max(x, to_x) + half) + 1)):
            if ids[j, i] == 0 and _square_to_line(j + 0.5, i + 0.5, y, x, to_y, to_x) <= half * half:
                ids[j, i] = crack
                written += 1
    return written


@numba.njit(cache=True)
def _widen_cracks(flat: Any, nx: int, candidates: Any, most: int) -> int:
    """Give pixels beside a crack to it, in the order of `candidates`, where no other crack is among the neighbours."""
    ny, added = len(flat) // nx, 0
    for at in candidates:
        if added == most:
            break
        y, x = at // nx, at % nx
        crack, beside, alone = 0, False, True
        for j in range(max(0, y - 1), min(ny, y + 2)):
            for i in range(max(0, x - 1), min(nx, x + 2)):
                other = flat[j * nx + i]
                if other == 0:
                    continue
                alone = alone and (crack == 0 or crack == other)
                crack = other
                beside = beside or j == y or i == x
        if alone and beside:
            flat[at] = crack
            added += 1
    return added
