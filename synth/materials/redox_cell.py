"""Vanadium flow-battery cells: two half-cells, the membrane between them, its gaskets, and bubbles one by one."""

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numba
import numpy as np
from scipy import ndimage

from synth.arguments import as_number, as_numbers
from synth.exact_counts import whole_counts
from synth.fibres import Orientation, draw_fibres, fill_with_fibres
from synth.gaussian import gaussian_field
from synth.object_lists import list_voxels
from synth.structure import Structure, check_shape, with_fractions

__all__ = ["redox_cell"]

PHASES = ("electrolyte", "bubble", "membrane", "gasket", "fibre")
ELECTROLYTE, BUBBLE, MEMBRANE, GASKET, FIBRE = range(5)
SIDES = ("lower", "upper")
SMALLEST_BUBBLE = 8
# Voxels that stay free between two bubbles, and between the membrane and a bubble that does not touch it.
GAP = 2
MOST_BUBBLES = 200_000
# Places tried for a bubble before its side counts as full.
BATCH, PATIENCE = 64, 6000
# Part of what was placed at random until it was full that can be placed again.
SAFE = 0.6
# Columns of the membrane are looked through by squares of so many.
TILE = 16
# Spread of the membrane's thickness, relative to its mean.
UNEVEN = 0.12
# A felt lies flat but is needled; its fibres bend over a few sides of the box.
FELT, PERSISTENCE = Orientation(in_plane=2.0), 2.0


def redox_cell(
    shape: tuple[int, int, int],
    *,
    membrane_thickness_vox: float | None = None,
    membrane_waviness_vox: float | None = None,
    membrane_wavelength_vox: float | None = None,
    gasket_width_vox: float | None = None,
    gasket_height_vox: float | None = None,
    bubble_fraction: float = 0.05,
    n_bubbles: int | None = None,
    bubble_diameter_vox: float | None = None,
    sigma: float = 0.35,
    elongation: tuple[float, float] = (1.0, 1.8),
    flatness: tuple[float, float] = (1.0, 1.6),
    roughness: float = 0.08,
    touching: float = 0.25,
    crowding: float = 0.5,
    lower_share: float = 0.5,
    fibre_fraction: float = 0.0,
    fibre_diameter_vox: float = 3.0,
    rng: np.random.Generator | int,
) -> Structure:
    """Make a vanadium redox flow-battery cell as X-ray tomography sees it.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along z (through the cell), y (from gasket to gasket) and x; at least 24, 16 and 4.
    membrane_thickness_vox : float, optional
        Mean thickness, 2 or more; 1/24 of the height, at least 3, if not given. It varies smoothly by an eighth.
    membrane_waviness_vox : float, optional
        Standard deviation of the height of the membrane's middle about the middle of the box; 1/40 of the box's
        height if not given. The membrane lies flatter between the gaskets.
    membrane_wavelength_vox : float, optional
        Correlation length of the waves; a fifth of the longer side of the membrane if not given.
    gasket_width_vox : float, optional
        How far the gaskets reach in along y from either end; an eighth of that side if not given, 0 for none.
    gasket_height_vox : float, optional
        How high they stand on either side of the membrane; a quarter of the box's height if not given. A value
        above that of the box makes a frame as high as the half-cells.
    bubble_fraction : float
        Bubble volume by electrode volume (both half-cells: electrolyte, bubbles and fibres), above 0 and below 1;
        measured cells have 0.008 to 0.075. It is hit to one voxel.
    n_bubbles : int, optional
        How many bubbles; by default as many as have this fraction at the diameter wanted.
    bubble_diameter_vox : float, optional
        Median diameter of the spheres of the bubbles' volumes, 1/16 of the box's height, at least 5, if not
        given. Not to be given together with `n_bubbles`. All diameters are scaled by one factor so that the
        volumes add up.
    sigma : float
        Standard deviation of the logarithm of the diameters, 0 to 1. Bubbles larger than 0.7 of the height of a
        half-cell are made as small as that.
    elongation, flatness : (float, float)
        Ranges of longest by middle axis and of middle by shortest axis, uniform, 1 to 4, before a bubble is
        pressed against a wall.
    roughness : float
        Smooth bumps of the surface, relative to the radius, 0 to 0.3.
    touching : float
        Share of the bubbles that rest against the membrane, 0 to 1. All others stay at least two voxels away.
    crowding : float
        Share of the other bubbles that gather near the membrane, 0 to 1: their distance from it is exponential
        with a mean of a quarter of the half-cell's height, that of the rest uniform.
    lower_share : float
        Share of the bubbles in the lower half-cell (small z), 0 to 1.
    fibre_fraction : float
        Volume of felt fibres by electrode volume, 0 to 0.3; hit to one voxel. 0 leaves the label out.
    fibre_diameter_vox : float
        Diameter of the fibres, 1 or more.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    Structure
        Labels 0 (electrolyte), 1 (bubble), 2 (membrane), 3 (gasket) and, with fibres, 4 (fibre). ``truth``, counted
        from the labels, has

        - ``n_bubbles``, ``n_touching``, ``bubble_volume``, ``electrode_volume``, ``bubble_fraction``,
          ``fibre_fraction``;
        - ``half_cells``: for ``lower`` and ``upper`` the same ``n_bubbles``, ``bubble_volume``,
          ``electrode_volume`` and ``bubble_fraction``, and ``membrane_area`` (voxel faces between membrane and
          electrode), ``blocked_area`` (those of them behind a bubble) and ``membrane_blockage`` (their ratio);
        - ``membrane_blockage``: of both sides together;
        - ``membrane_mean_thickness`` and the maps, shape (Y, X), ``membrane_thickness_map`` (voxels along z) and
          ``membrane_height_map`` (z of its middle);
        - ``bubbles``: the list of bubbles, numbered as a scan along x, y, z meets them. Each has the keys of
          `synth.object_lists.list_voxels` and ``side``, ``touches_membrane`` (a voxel of it has a face on the
          membrane), ``touches_border`` (of the box, which may have cut it), ``membrane_distance`` (between the
          centres of its and the membrane's nearest voxels; 1 if it touches) and ``contact_area`` (faces).

    Raises
    ------
    ValueError
        For impossible arguments, for a membrane that does not fit into the box, and for more bubbles than can be
        kept apart: the message says about which fraction can be reached.

    Notes
    -----
    The membrane cuts the box in two: no path of electrolyte, bubbles and fibres, not even over corners, leads from
    one half-cell to the other. A bubble is grown voxel by voxel from its centre, in the order of a bumpy
    ellipsoid's distance, up to its volume, which so is exact, and is one piece, whatever it is pressed against:
    membrane, gasket, the box (the cell's plates at the ends of z) and fibres, around which the gas grows. Two
    bubbles always have two voxels between them. Large bubbles are placed first.

    References
    ----------
    .. [1] A. Colliard-Granero et al., "Advancing vanadium redox flow battery analysis: a deep learning approach for
       high-throughput 3D visualization and bubble quantification", Digital Discovery 4 (2025) 2724.
    """
    shape = check_shape(shape)
    given = _check_bubbles({
        "membrane_thickness_vox": membrane_thickness_vox, "membrane_waviness_vox": membrane_waviness_vox,
        "membrane_wavelength_vox": membrane_wavelength_vox, "gasket_width_vox": gasket_width_vox,
        "gasket_height_vox": gasket_height_vox, "bubble_fraction": bubble_fraction, "n_bubbles": n_bubbles,
        "bubble_diameter_vox": bubble_diameter_vox, "sigma": sigma, "elongation": elongation, "flatness": flatness,
        "roughness": roughness, "touching": touching, "crowding": crowding, "lower_share": lower_share,
        "fibre_fraction": fibre_fraction, "fibre_diameter_vox": fibre_diameter_vox,
    })  # fmt: skip
    rng = np.random.default_rng(rng)
    cell = _Cell.draw(shape, given, rng)
    electrode = int(np.count_nonzero(cell.labels == ELECTROLYTE))
    _grow_fibres(cell.labels, round(given["fibre_fraction"] * electrode), given["fibre_diameter_vox"], rng)
    volumes = _draw_volumes(cell, electrode, given, rng)
    voxels = _place_bubbles(cell, volumes, given, rng)
    phases = PHASES if given["fibre_fraction"] > 0 else PHASES[:-1]
    recipe = {"generator": "redox_cell", "shape": list(shape), **given}
    return with_fractions(cell.labels, phases, recipe=recipe, truth=_truth(cell, voxels))


def _check_bubbles(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as plain numbers; those that need the box are checked where it is known."""
    ranges = {name: _as_range(name, raw[name]) for name in ("elongation", "flatness")}
    given = {**raw, **as_numbers({name: value for name, value in raw.items() if name not in ranges}), **ranges}
    limits = {
        "sigma": (0, 1), "roughness": (0, 0.3), "touching": (0, 1), "crowding": (0, 1), "lower_share": (0, 1),
        "fibre_fraction": (0, 0.3),
    }  # fmt: skip
    for name, (low, high) in limits.items():
        if given[name] is None or not low <= given[name] <= high:
            raise ValueError(f"{name} is {given[name]!r}; give a number from {low} to {high}")
    if given["bubble_fraction"] is None or not 0 < given["bubble_fraction"] < 1:
        raise ValueError(f"bubble_fraction is {given['bubble_fraction']!r}; give a number above 0 and below 1")
    count, diameter, fibre = given["n_bubbles"], given["bubble_diameter_vox"], given["fibre_diameter_vox"]
    if count is not None and diameter is not None:
        raise ValueError("n_bubbles and bubble_diameter_vox were both given; the fraction allows only one of them")
    if count is not None and not (isinstance(count, int) and 1 <= count <= MOST_BUBBLES):
        raise ValueError(f"n_bubbles is {count!r}; give a whole number from 1 to {MOST_BUBBLES}")
    if diameter is not None and not 2.5 <= diameter < math.inf:
        raise ValueError(f"bubble_diameter_vox is {diameter!r}; give a number of 2.5 or more")
    if fibre is None or not 1 <= fibre < math.inf:
        raise ValueError(f"fibre_diameter_vox is {fibre!r}; give a number of 1 or more")
    return given


def _as_range(name: str, value: Any) -> list[float]:
    pair = value if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1 else ()
    ends = [as_number(name, end) for end in pair]
    if len(ends) != 2 or not 1 <= ends[0] <= ends[1] <= 4:
        raise ValueError(f"{name} is {value!r}; give a range (low, high) within 1 to 4")
    return ends


@dataclass(frozen=True)
class _Cell:
    """The labels, and per column of the box the membrane's first z and the first z above it."""

    labels: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def draw(cls, shape: tuple[int, int, int], given: dict[str, Any], rng: np.random.Generator) -> "_Cell":
        if shape[0] < 24 or shape[1] < 16 or shape[2] < 4:
            raise ValueError(f"shape is {shape}; a cell takes at least 24 x 16 x 4 voxels (z, y, x)")
        width, height = _gasket_size(shape, given)
        low, high = _draw_membrane(shape, width, given, rng)
        labels = np.zeros(shape, np.uint8)
        z = np.arange(shape[0])[:, None, None]
        # Whole-volume comparisons stay within the few slices that the membrane crosses.
        first, last = int(low.min()), int(high.max())
        band = z[first:last]
        labels[first:last][(band >= low) & (band < high)] = MEMBRANE
        if width > 0:
            _clamp(labels, low, high, width, height, rng)
        return cls(labels, low, high)

    def wall(self, y: np.ndarray, x: np.ndarray, side: int) -> np.ndarray:
        """Return z of the membrane's face towards a side."""
        return (self.high if side else self.low)[y.astype(int), x.astype(int)].astype(float)


def _gasket_size(shape: tuple[int, int, int], given: dict[str, Any]) -> tuple[float, float]:
    width, height = given["gasket_width_vox"], given["gasket_height_vox"]
    width = shape[1] / 8 if width is None else width
    height = shape[0] / 4 if height is None else height
    if not 0 <= width <= 0.4 * shape[1]:
        raise ValueError(f"gasket_width_vox is {width!r}; give a number from 0 to {0.4 * shape[1]:g}, 0.4 of that side")
    if not 1 <= height < math.inf:
        raise ValueError(f"gasket_height_vox is {height!r}; give a number of 1 or more")
    return float(width), float(height)


def _draw_membrane(
    shape: tuple[int, int, int], width: float, given: dict[str, Any], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each column the first z of the membrane and the first above it, int64 maps of shape (Y, X)."""
    nz, ny, nx = shape
    thickness, waviness = given["membrane_thickness_vox"], given["membrane_waviness_vox"]
    length = given["membrane_wavelength_vox"]
    thickness = max(3.0, nz / 24) if thickness is None else thickness
    waviness = nz / 40 if waviness is None else waviness
    length = max(4.0, max(ny, nx) / 5) if length is None else length
    for name, value, least in (("thickness", thickness, 2), ("waviness", waviness, 0), ("wavelength", length, 2)):
        if not least <= value < math.inf:
            raise ValueError(f"membrane_{name}_vox is {value!r}; give a number of {least} or more")
    if thickness * (1 + 3 * UNEVEN) / 2 + 3 * waviness + 6 > nz / 2:
        raise ValueError(
            f"a membrane {thickness:g} voxels thick with waves of {waviness:g} leaves no half-cells in a height of "
            f"{nz}; make it thinner or flatter, or the box higher"
        )
    waves = _bounded_map((1, ny, nx), length, rng)[0] * waviness
    y = np.arange(ny) + 0.5
    # Between the gaskets the membrane is held flat.
    free = np.clip((np.minimum(y, ny - y) - width) / max(width, 1.0), 0.25, 1.0) if width > 0 else np.ones(ny)
    middle = nz / 2 + waves * free[:, None]
    extra = _bounded_map((1, ny, nx), max(2.0, length / 3), rng)[0]
    thick = np.maximum(thickness * (1 + UNEVEN * (extra - extra.mean())), 2.0)
    low = np.rint(middle - thick / 2).astype(np.int64)
    high = np.maximum(np.rint(middle + thick / 2).astype(np.int64), low + 2)
    # Where it is steep, neighbouring columns must still overlap, or it would leak over a corner.
    return low, np.maximum(high, ndimage.maximum_filter(low, 3) + 1)


def _bounded_map(shape: tuple[int, int, int], length: float, rng: np.random.Generator) -> np.ndarray:
    """Return a Gaussian field that is bent so that it stays between -3 and 3."""
    length = min(length, 4.0 * max(shape))
    # A strip that is narrow against the waves is cut from a wider map: the field asks for an eighth of their length.
    z, y, x = (n if n == 1 else max(n, math.ceil(length / 8)) for n in shape)
    field = gaussian_field((z, y, x), length_vox=length, rng=rng)[: shape[0], : shape[1], : shape[2]]
    return 3 * np.tanh(field / 3)


def _clamp(
    labels: np.ndarray, low: np.ndarray, high: np.ndarray, width: float, height: float, rng: np.random.Generator
) -> None:
    """Put a block of gasket on both sides of the membrane at both ends of y."""
    nz, ny, nx = labels.shape
    length = max(3.0, width / 2)
    most = min(ny // 2 - 2, math.ceil(1.3 * width) + 1)
    y = np.arange(most)[:, None] + 0.5
    for end in (0, 1):
        columns = slice(0, most) if end == 0 else slice(ny - 1, ny - 1 - most, -1)
        inner = width * (1 + 0.08 * _bounded_map((nz, 1, nx), length, rng))
        tall = height * (1 + 0.05 * _bounded_map((1, most, nx), length, rng)[0])
        for z in range(nz):
            away = np.maximum(z - high[columns], low[columns] - 1 - z)
            block = labels[z, columns]
            block[(y < inner[z]) & (away < tall) & (block == ELECTROLYTE)] = GASKET


def _grow_fibres(labels: np.ndarray, wanted: int, diameter: float, rng: np.random.Generator) -> None:
    """Lay felt through the electrodes until exactly `wanted` voxels are fibre."""
    if wanted == 0:
        return
    persistence = PERSISTENCE * max(labels.shape)
    fibres = draw_fibres(
        (0, 0, 0), labels.shape, orientation=FELT, persistence_vox=persistence, step_vox=max(1.0, 0.02 * persistence),
        rng=rng,
    )  # fmt: skip
    solid = fill_with_fibres(labels, fibres, radius=diameter / 2, target=wanted).solid
    if solid < wanted:
        raise ValueError(f"fibres fill only {solid / wanted:.0%} of the fibre_fraction asked for; ask for less")
    # They are stamped as 1, before there is a bubble.
    labels[labels == 1] = FIBRE


def _draw_volumes(cell: _Cell, electrode: int, given: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Return the bubbles' volumes in voxels, largest first, which add up to the fraction exactly."""
    nz = cell.labels.shape[0]
    target = round(given["bubble_fraction"] * electrode)
    if target < SMALLEST_BUBBLE:
        raise ValueError(
            f"bubble_fraction {given['bubble_fraction']:g} is {target} voxels here, and a bubble takes at least "
            f"{SMALLEST_BUBBLE}; ask for more, or for a larger box"
        )
    most = math.pi / 6 * (0.7 * min(int(cell.low.min()), nz - int(cell.high.max()))) ** 3
    most = max(most, 2.0 * SMALLEST_BUBBLE)
    wanted = _draw_weights(target, most, nz, given, rng)
    count = len(wanted)
    if not count * SMALLEST_BUBBLE <= target <= count * most:
        raise ValueError(
            f"bubble_fraction {given['bubble_fraction']:g} gives {count} bubbles {target / count:g} voxels each; give "
            f"an n_bubbles that leaves each {SMALLEST_BUBBLE} to {most:.0f}"
        )
    low, high = 0.0, target / wanted.min()
    for _ in range(60):
        middle = (low + high) / 2
        total = np.clip(middle * wanted, SMALLEST_BUBBLE, most).sum()
        low, high = (middle, high) if total < target else (low, middle)
    # What lies above the smallest is divided, so that rounding leaves none below it.
    extra = np.clip(high * wanted, SMALLEST_BUBBLE, most) - SMALLEST_BUBBLE
    shares = extra / extra.sum() if extra.sum() > 0 else np.full(count, 1 / count)
    return SMALLEST_BUBBLE + np.sort(whole_counts(shares.tolist(), target - SMALLEST_BUBBLE * count))[::-1]


def _draw_weights(target: int, most: float, height: int, given: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Draw lognormal bubble volumes, as many as are asked for or as come closest to `target` in sum."""
    sigma, count = given["sigma"], given["n_bubbles"]
    if count is not None:
        return np.exp(3 * sigma * rng.standard_normal(int(count)))
    diameter = given["bubble_diameter_vox"]
    diameter = max(5.0, height / 16) if diameter is None else min(diameter, 10.0 * height)
    median = math.pi / 6 * diameter**3
    expected = target / min(median, most)
    if expected > MOST_BUBBLES:
        raise ValueError(
            f"bubbles of {diameter:g} voxels would be about {expected:.0f} here; give a larger bubble_diameter_vox, "
            f"for at most {MOST_BUBBLES}"
        )
    drawn = np.empty(0)
    while drawn.sum() < target:
        batch = median * np.exp(3 * sigma * rng.standard_normal(64 + int(expected / 4)))
        drawn = np.concatenate([drawn, np.clip(batch, SMALLEST_BUBBLE, most)])
    closest = int(np.abs(np.cumsum(drawn) - target).argmin()) + 1
    # Where the largest possible bubbles are meant, one less of them would not do.
    return drawn[: max(closest, math.ceil(target / most))]


def _place_bubbles(
    cell: _Cell, volumes: np.ndarray, given: dict[str, Any], rng: np.random.Generator
) -> list[np.ndarray]:
    """Write the bubbles into the labels; return the flat indices of each one's voxels, in the order of a scan."""
    count = len(volumes)
    upper = (rng.permutation(count) >= round(given["lower_share"] * count)).astype(int)
    touching = rng.permutation(count) < round(given["touching"] * count)
    workshop = _Workshop(cell, int(volumes[0]))
    voxels: list[np.ndarray] = []
    full: dict[tuple[int, bool], int] = {}
    # Room at the membrane is scarce; within each kind large bubbles come first.
    for i in np.argsort(~touching, kind="stable").tolist():
        side, touch = int(upper[i]), bool(touching[i])
        if (side, touch) in full:
            continue
        grown = workshop.place(int(volumes[i]), given, side=side, touch=touch, rng=rng)
        if grown is None:
            full[side, touch] = i
        else:
            voxels.append(grown)
    if full:
        # The others are tried all the same: what can be reached is what the fullest place can take.
        shares = {
            kind: _share(volumes * (upper == kind[0]) * (touching == kind[1]), kind, i) for kind, i in full.items()
        }
        kind = min(shares, key=lambda k: shares[k])
        _refuse_full(int(volumes[full[kind]]), given, kind=kind, share=shares[kind])
    return sorted(voxels, key=lambda v: int(v[0]))


def _share(volumes: np.ndarray, kind: tuple[int, bool], n_placed: int) -> float:
    """Return the share of the first bubbles in what they compete for: on the membrane area, elsewhere volume."""
    needs = volumes ** (2 / 3 if kind[1] else 1.0)
    return float(needs[:n_placed].sum() / needs.sum())


def _refuse_full(volume: int, given: dict[str, Any], *, kind: tuple[int, bool], share: float) -> NoReturn:
    """Say which fraction can be reached where a `share` of the bubbles of a kind found room."""
    fraction, count = given["bubble_fraction"], given["n_bubbles"]
    where = f"on the {SIDES[kind[0]]} side of the membrane" if kind[1] else f"in the {SIDES[kind[0]]} half-cell"
    if share == 0:
        raise ValueError(
            f"bubble_fraction {fraction:g} cannot be reached: not one bubble of {volume} voxels fits {where}; ask for "
            "smaller bubbles, or for none there"
        )
    possible = SAFE * share
    # Less volume for as many bubbles would leave some too small.
    number = "" if count is None else f" with {max(1, math.floor(possible * count))} bubbles"
    raise ValueError(
        f"bubble_fraction {fraction:g} cannot be reached: {where} there was no room for one of {volume} voxels; "
        f"about {possible * fraction:.2g} can be reached{number} with these sizes and shares: ask for no more, or for "
        "fewer bubbles there"
    )


class _Workshop:
    """Where bubbles may grow, and the room to work in."""

    def __init__(self, cell: _Cell, largest: int) -> None:
        self.cell = cell
        # 0 free, 1 too close to a bubble; 2 in use while one grows.
        self.taken = np.zeros(cell.labels.shape, np.uint8)
        size = 2 * GAP + 1
        self.zone = np.stack(
            [ndimage.minimum_filter(cell.low, size) - GAP, ndimage.maximum_filter(cell.high, size) + GAP]
        )
        self.keys, self.heap = np.empty(6 * largest + 8), np.empty(6 * largest + 8, np.int64)
        self.pushed = np.empty(6 * largest + 8, np.int64)

    def place(
        self, volume: int, given: dict[str, Any], *, side: int, touch: bool, rng: np.random.Generator
    ) -> np.ndarray | None:
        """Grow a bubble of exactly so many voxels and return them sorted, or None where none fits."""
        grown = np.empty(volume, np.int64)
        for tried in range(0, PATIENCE, BATCH):
            rows = _draw_axes(volume, given, rng)
            # The further it sticks out along z, the further from the membrane lies its centre.
            extent = float(np.linalg.norm(rows[:, 0]))
            crowding = given["crowding"] if tried < PATIENCE // 2 else 0.0
            centres = self._draw_centres(extent, crowding, side=side, touch=touch, rng=rng)
            bumps = np.column_stack([2.2 * rng.standard_normal((4, 3)), 2 * np.pi * rng.random(4)])
            found = _try_places(
                self.cell.labels, self.taken, self.zone, centres, rows, bumps, given["roughness"] / 2, side, touch,
                self.keys, self.heap, self.pushed, grown,
            )  # fmt: skip
            if found:
                return np.sort(grown)
        return None

    def _draw_centres(
        self, extent: float, crowding: float, *, side: int, touch: bool, rng: np.random.Generator
    ) -> np.ndarray:
        nz, ny, nx = self.cell.labels.shape
        y, x = rng.random(BATCH) * ny, rng.random(BATCH) * nx
        wall = self.cell.wall(y, x, side)
        height = nz - wall if side else wall
        if touch:
            distance = extent * rng.uniform(0.2, 0.85, BATCH)
        else:
            room = np.maximum(height - extent - GAP, 1.0)
            near, even = rng.exponential(0.25 * height), rng.random(BATCH) * room
            distance = extent + GAP + np.where(rng.random(BATCH) < crowding, near % room, even)
        return np.column_stack([wall + distance if side else wall - distance, y, x])


def _draw_axes(volume: int, given: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Return the three semi-axes of an ellipsoid of random orientation as the rows of a matrix."""
    long, flat = rng.uniform(*given["elongation"]), rng.uniform(*given["flatness"])
    middle = (volume * 3 / (4 * math.pi) * flat / long) ** (1 / 3)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.array([[long * middle], [middle], [middle / flat]]) * rotation


@numba.njit(cache=True)
def _try_places(
    labels: Any, taken: Any, zone: Any, centres: Any, rows: Any, bumps: Any, rough: float, side: int, touch: bool,
    keys: Any, heap: Any, pushed: Any, grown: Any,
) -> bool:  # fmt: skip
    """Grow the bubble at the first of the centres at which there is room for it."""
    scaled = np.empty((3, 3))
    for i in range(3):
        scaled[i] = rows[i] / (rows[i] ** 2).sum()
    for c in range(len(centres)):
        if not _looks_free(labels, taken, zone, centres[c], rows, side, touch):
            continue
        n_pushed = _grow(labels, taken, zone, centres[c], scaled, bumps, rough, side, touch, keys, heap, pushed, grown)
        flat = taken.ravel()
        for i in range(abs(n_pushed)):
            flat[pushed[i]] = 0
        if n_pushed > 0 and (not touch or _count_contact(labels, grown) > 0):
            _settle(labels, taken, grown)
            return True
    return False


@numba.njit(cache=True)
def _looks_free(labels: Any, taken: Any, zone: Any, centre: Any, rows: Any, side: int, touch: bool) -> bool:
    """Tell quickly, from the middle and the tips of the axes, whether it is worth to try a place."""
    nz, ny, nx = labels.shape
    for tip in range(7):
        part = 0.0 if tip == 6 else (0.8 if tip % 2 else -0.8)
        point = centre + part * rows[tip // 2 % 3]
        z, y, x = math.floor(point[0]), math.floor(point[1]), math.floor(point[2])
        if not (0 <= z < nz and 0 <= y < ny and 0 <= x < nx):
            if tip == 6:
                return False
            continue
        if taken[z, y, x] != 0 or (tip == 6 and labels[z, y, x] != ELECTROLYTE):
            return False
        if not touch and (z < zone[1, y, x] if side else z >= zone[0, y, x]):
            return False
    return True


@numba.njit(cache=True, inline="always")
def _neighbour(z: int, y: int, x: int, n: int) -> tuple[int, int, int]:
    """Return the voxel behind one of the six faces."""
    step = 1 if n % 2 else -1
    return z + (step if n < 2 else 0), y + (step if 2 <= n < 4 else 0), x + (step if n >= 4 else 0)


@numba.njit(cache=True)
def _grow(
    labels: Any, taken: Any, zone: Any, centre: Any, scaled: Any, bumps: Any, rough: float, side: int, touch: bool,
    keys: Any, heap: Any, pushed: Any, grown: Any,
) -> int:  # fmt: skip
    """Collect the nearest connected electrolyte in order of distance, until `grown` is full.

    Return how many voxels were marked 2 in `taken`, negative where the bubble would have come too close to
    another one or to the membrane, or has no room.
    """
    nz, ny, nx = labels.shape
    z, y, x = int(centre[0]), int(centre[1]), int(centre[2])
    size, n_pushed, n_grown, barrier = 1, 1, 0, np.inf
    keys[0], heap[0] = 0.0, (z * ny + y) * nx + x
    pushed[0], taken[z, y, x] = heap[0], 2
    while n_grown < len(grown):
        if size == 0 or keys[0] >= barrier:
            return -n_pushed
        at = heap[0]
        size = _pop(keys, heap, size)
        grown[n_grown] = at
        n_grown += 1
        z, y, x = at // (ny * nx), at // nx % ny, at % nx
        for n in range(6):
            i, j, k = _neighbour(z, y, x, n)
            if not (0 <= i < nz and 0 <= j < ny and 0 <= k < nx):
                continue
            if labels[i, j, k] != ELECTROLYTE or taken[i, j, k] == 2:
                continue
            key = _distance(i + 0.5 - centre[0], j + 0.5 - centre[1], k + 0.5 - centre[2], scaled, bumps, rough)
            if taken[i, j, k] == 1 or (not touch and (i < zone[1, j, k] if side else i >= zone[0, j, k])):
                # Nothing further than this may belong to the bubble.
                barrier = min(barrier, key)
                continue
            taken[i, j, k] = 2
            pushed[n_pushed] = (i * ny + j) * nx + k
            size = _push(keys, heap, size, key, pushed[n_pushed])
            n_pushed += 1
    return n_pushed


@numba.njit(cache=True)
def _distance(dz: float, dy: float, dx: float, scaled: Any, bumps: Any, rough: float) -> float:
    """Return 1 on the bumpy ellipsoid's surface, less inside and more outside."""
    squared = 0.0
    for i in range(3):
        squared += (scaled[i, 0] * dz + scaled[i, 1] * dy + scaled[i, 2] * dx) ** 2
    r = math.sqrt(dz * dz + dy * dy + dx * dx)
    if rough == 0.0 or r == 0.0:
        return math.sqrt(squared)
    bump = 0.0
    for b in range(len(bumps)):
        bump += math.sin((bumps[b, 0] * dz + bumps[b, 1] * dy + bumps[b, 2] * dx) / r + bumps[b, 3])
    return math.sqrt(squared) * (1.0 + rough * bump)


@numba.njit(cache=True)
def _push(keys: Any, heap: Any, size: int, key: float, item: int) -> int:
    at = size
    while at > 0:
        parent = (at - 1) // 2
        if keys[parent] <= key:
            break
        keys[at], heap[at] = keys[parent], heap[parent]
        at = parent
    keys[at], heap[at] = key, item
    return size + 1


@numba.njit(cache=True)
def _pop(keys: Any, heap: Any, size: int) -> int:
    size -= 1
    key, item = keys[size], heap[size]
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[at], heap[at] = keys[child], heap[child]
        at = child
    keys[at], heap[at] = key, item
    return size


@numba.njit(cache=True)
def _settle(labels: Any, taken: Any, grown: Any) -> None:
    """Make the voxels bubble and keep others away from it."""
    nz, ny, nx = labels.shape
    flat = labels.ravel()
    for at in grown:
        flat[at] = BUBBLE
    for at in grown:
        z, y, x = at // (ny * nx), at // nx % ny, at % nx
        inner = 0 < z < nz - 1 and 0 < y < ny - 1 and 0 < x < nx - 1
        if inner and (
            labels[z - 1, y, x] == labels[z + 1, y, x] == labels[z, y - 1, x] == labels[z, y + 1, x] == BUBBLE
            and labels[z, y, x - 1] == labels[z, y, x + 1] == BUBBLE
        ):
            taken[z, y, x] = 1
            continue
        for i in range(max(0, z - GAP), min(nz, z + GAP + 1)):
            for j in range(max(0, y - GAP), min(ny, y + GAP + 1)):
                for k in range(max(0, x - GAP), min(nx, x + GAP + 1)):
                    taken[i, j, k] = 1


@numba.njit(cache=True)
def _count_contact(labels: Any, voxels: Any) -> int:
    """Count the faces between these voxels and the membrane."""
    nz, ny, nx = labels.shape
    faces = 0
    for at in voxels:
        z, y, x = at // (ny * nx), at // nx % ny, at % nx
        for n in range(6):
            i, j, k = _neighbour(z, y, x, n)
            faces += 0 <= i < nz and 0 <= j < ny and 0 <= k < nx and labels[i, j, k] == MEMBRANE
    return faces


def _peaks(cell: _Cell, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how far the membrane reaches up in each column, seen from a side, and at most in each tile of columns."""
    peak = cell.high - 1 if side else -cell.low
    ny, nx = peak.shape
    padding = ((0, -ny % TILE), (0, -nx % TILE))
    tiles = np.pad(peak, padding, mode="edge").reshape(-(-ny // TILE), TILE, -(-nx // TILE), TILE)
    return peak, tiles.max(axis=(1, 3))


@numba.njit(cache=True)
def _membrane_distance(labels: Any, voxels: Any, peak: Any, tiles: Any, side: int) -> float:
    """Return the least distance between the centres of a bubble's voxels and of the membrane's."""
    ny, nx = peak.shape
    up = 1 if side else -1
    squared = np.inf
    for at in voxels:
        z, y, x = at // (ny * nx), at // nx % ny, at % nx
        squared = min(squared, float(up * z - peak[y, x]) ** 2)
    for at in voxels:
        z, y, x = at // (ny * nx), at // nx % ny, at % nx
        # Of a column, the voxel next to the membrane is the nearest.
        if labels[z - up, y, x] != BUBBLE:
            squared = _nearer(up * z, y, x, peak, tiles, squared)
    return math.sqrt(squared)


@numba.njit(cache=True)
def _nearer(z: int, y: int, x: int, peak: Any, tiles: Any, squared: float) -> float:
    """Return the least squared distance of a voxel from the membrane, or `squared` if that is less."""
    ny, nx = peak.shape
    reach = int(math.sqrt(squared))
    for t in range(max(0, y - reach) // TILE, min(ny - 1, y + reach) // TILE + 1):
        for u in range(max(0, x - reach) // TILE, min(nx - 1, x + reach) // TILE + 1):
            dy = max(t * TILE - y, 0, y - (t + 1) * TILE + 1)
            dx = max(u * TILE - x, 0, x - (u + 1) * TILE + 1)
            if dy * dy + dx * dx + max(0, z - tiles[t, u]) ** 2 >= squared:
                continue
            for j in range(t * TILE, min(ny, (t + 1) * TILE)):
                for k in range(u * TILE, min(nx, (u + 1) * TILE)):
                    squared = min(squared, float((j - y) ** 2 + (k - x) ** 2 + max(0, z - peak[j, k]) ** 2))
    return squared


@numba.njit(cache=True)
def _count_sides(labels: Any, low: Any) -> Any:
    """Count the voxels of each label below and above the membrane's lower face, shape (2, 5)."""
    counts = np.zeros((2, 5), np.int64)
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                counts[int(z >= low[y, x]), labels[z, y, x]] += 1
    return counts


@numba.njit(cache=True)
def _count_faces(labels: Any, low: Any, high: Any) -> Any:
    """Count for each side the faces between membrane and electrode, and those of them behind a bubble."""
    faces = np.zeros((2, 2), np.int64)
    nz, ny, nx = labels.shape
    for y in range(ny):
        for x in range(nx):
            for z in range(low[y, x], high[y, x]):
                for n in range(6):
                    i, j, k = _neighbour(z, y, x, n)
                    if not (0 <= i < nz and 0 <= j < ny and 0 <= k < nx):
                        continue
                    other = labels[i, j, k]
                    if other != MEMBRANE and other != GASKET:
                        side = int(i >= high[j, k])
                        faces[side, 0] += 1
                        faces[side, 1] += other == BUBBLE
    return faces


def _truth(cell: _Cell, voxels: list[np.ndarray]) -> dict[str, Any]:
    counts, faces = _count_sides(cell.labels, cell.low), _count_faces(cell.labels, cell.low, cell.high)
    electrodes = counts[:, [ELECTROLYTE, BUBBLE, FIBRE]].sum(axis=1)
    bubbles = _list_bubbles(cell, voxels)
    half_cells = {
        name: {
            "n_bubbles": sum(bubble["side"] == name for bubble in bubbles),
            "bubble_volume": int(counts[side, BUBBLE]),
            "electrode_volume": int(electrodes[side]),
            "bubble_fraction": float(counts[side, BUBBLE] / electrodes[side]),
            "membrane_area": int(faces[side, 0]),
            "blocked_area": int(faces[side, 1]),
            "membrane_blockage": float(faces[side, 1] / max(faces[side, 0], 1)),
        }
        for side, name in enumerate(SIDES)
    }
    return {
        "n_bubbles": len(bubbles),
        "n_touching": sum(bubble["touches_membrane"] for bubble in bubbles),
        "bubble_volume": int(counts[:, BUBBLE].sum()),
        "electrode_volume": int(electrodes.sum()),
        "bubble_fraction": float(counts[:, BUBBLE].sum() / electrodes.sum()),
        "fibre_fraction": float(counts[:, FIBRE].sum() / electrodes.sum()),
        "half_cells": half_cells,
        "membrane_blockage": float(faces[:, 1].sum() / max(faces[:, 0].sum(), 1)),
        "membrane_mean_thickness": float((cell.high - cell.low).mean()),
        "membrane_thickness_map": (cell.high - cell.low).astype(np.float32),
        "membrane_height_map": ((cell.high + cell.low) / 2).astype(np.float32),
        "bubbles": bubbles,
    }


def _list_bubbles(cell: _Cell, voxels: list[np.ndarray]) -> list[dict[str, Any]]:
    shape = cell.labels.shape
    ids = np.repeat(np.arange(1, len(voxels) + 1), [len(v) for v in voxels])
    bubbles = list_voxels(np.concatenate(voxels), ids, shape=shape)
    peaks = [_peaks(cell, side) for side in (0, 1)]
    for bubble, own in zip(bubbles, voxels, strict=True):
        z, y, x = np.unravel_index(own, shape)
        side = int(z[0] >= cell.low[y[0], x[0]])
        contact = int(_count_contact(cell.labels, own))
        ends = [int(edge) for c, n in zip((z, y, x), shape, strict=True) for edge in (c.min(), n - 1 - c.max())]
        bubble |= {
            "side": SIDES[side],
            "touches_membrane": contact > 0,
            "touches_border": min(ends) == 0,
            "membrane_distance": float(_membrane_distance(cell.labels, own, *peaks[side], side)),
            "contact_area": contact,
        }
    return bubbles
