"""Packs of balls, overlapping or not, with necks and agglomerates where wanted."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numba
import numpy as np
from scipy.stats.distributions import rv_frozen

from synth.arguments import as_number, as_numbers
from synth.expectations import describe_expected
from synth.hard_spheres import HardSpheres, find_pairs, mean_volume, pack_hard_spheres
from synth.necks import stamp_necks
from synth.overlapping_spheres import draw_agglomerates, draw_balls, fill_with_balls
from synth.radius_laws import LognormalRadii, RadiusLaw, radius_law
from synth.stamping import BISECTIONS, span, stamp_all
from synth.structure import Structure, check_shape, with_fractions
from synth.truth import ClosedForm, boolean_model

__all__ = ["sphere_pack"]

POROSITY_TOLERANCE = 1e-4
# Balls that are nearer than this, in units of the sum of their radii, are joined by a neck.
NECK_REACH = 0.05
# Packs are made denser than asked for by this and then shrunk; each further try doubles it.
EXCESS, TRIES = 0.004, 5
# Windows of a pack that are looked at for one with the wanted solid, or less than this share more: as many as make
# up so many voxels, within bounds.
WINDOWS, WINDOW_VOXELS, CLOSE = (6, 48), 2**22, 0.01
# More solid than EASY is first tried in a box for so many balls, whose porosity is good to PILOT_ERROR.
EASY, PILOT, PILOT_ERROR = 0.55, 1500, 0.02
MOST_SPHERES, MOST_HARD_SPHERES = 2**28, 2**22
NO_PAIRS = np.empty((0, 2), int)

Shape = tuple[int, int, int]


def sphere_pack(
    shape: Shape,
    *,
    porosity: float,
    diameter_vox: float | Mapping[str, Any] | rv_frozen,
    sigma: float = 0.3,
    overlap: bool = True,
    periodic: bool = False,
    neck: float = 0.0,
    agglomerate_vox: float | None = None,
    agglomerate_fraction: float = 0.5,
    rng: np.random.Generator | int,
) -> Structure:
    """Fill a box with solid spheres until the wanted porosity is left.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along z, y, x.
    porosity : float
        Wanted pore fraction, between 0 and 1. It is met to 1e-4 or one voxel, whichever is larger; with necks
        between spheres that overlap, to what one sphere adds.
    diameter_vox : float, frozen scipy.stats distribution or mapping
        Median of the lognormal diameters, in voxels; or the distribution of the diameters, in plain text a mapping
        like ``{"name": "gamma", "a": 4, "scale": 3}`` (see `synth.frozen_distribution`).
    sigma : float
        Standard deviation of the logarithm of the diameters; 0 makes all spheres equal. Not used with a
        distribution.
    overlap : bool
        True is the Boolean model: spheres are placed independently. False is a packing of hard spheres: random
        sequential addition as far as it goes, then a relaxation in which spheres push each other away, up to random
        close packing (0.64 solid for equal spheres). All diameters are then multiplied by one factor near 1, by which
        the porosity is met, and none is drawn wider than half the box's
        shortest side (where not periodic, of the box grown by twice the median).
    periodic : bool
        Let spheres leave on one side and enter on the other. Otherwise the box is a window of a larger sample, so
        that its border is no different from the inside: centres also lie outside.
    neck : float
        Radius of the sintering necks in units of the smaller sphere's radius, from 0 (none) to below 1. Spheres are
        joined where less than 5 % of the sum of their radii lies between them.
    agglomerate_vox : float, optional
        Median diameter, in voxels, of agglomerates: larger balls, of the same `sigma`, overlapping each other, that
        hold the centres of all spheres. For spheres that may overlap.
    agglomerate_fraction : float
        Share of space that the agglomerates take in the mean, between 0 and 1.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    Structure
        Labels 0 (pore) and 1 (solid). ``truth`` has the exact ``porosity`` and ``fractions`` of the labels and
        ``n_spheres``, the number of spheres that made a voxel solid. Where mathematics has a closed form,
        ``expected`` has by phase what such packs are on average, of which this volume is one sample:
        ``volume_fraction``, ``specific_surface`` (1/voxel), ``mean_curvature`` (1/voxel²), ``euler_density``
        (1/voxel³), and for overlapping spheres ``two_point``. For hard spheres these are exact sums over the balls of
        the pack (the window's, where not periodic, differ by chance), and ``median_diameter`` is theirs.

    Raises
    ------
    ValueError
        For impossible arguments, and where spheres that may not overlap leave no room: the message says which
        porosity was reached.

    Notes
    -----
    A voxel is solid if its centre lies in a sphere; voxel *i* spans [i, i + 1).

    References
    ----------
    .. [1] S. N. Chiu, D. Stoyan, W. S. Kendall, J. Mecke, "Stochastic Geometry and its Applications", ch. 3.
    .. [2] C. S. O'Hern, L. E. Silbert, A. J. Liu, S. R. Nagel, Phys. Rev. E 68 (2003) 011306.
    """
    shape = check_shape(shape)
    numbers = {
        "porosity": porosity, "sigma": sigma, "neck": neck,
        "agglomerate_vox": agglomerate_vox, "agglomerate_fraction": agglomerate_fraction,
    }  # fmt: skip
    porosity, sigma, neck, agglomerate_vox, agglomerate_fraction = as_numbers(numbers).values()
    if not isinstance(diameter_vox, Mapping | rv_frozen):
        diameter_vox = as_number("diameter_vox", diameter_vox)
    overlap, periodic = bool(overlap), bool(periodic)
    law = _check_arguments(shape, porosity, diameter_vox, sigma=sigma, overlap=overlap, periodic=periodic)
    _check_options(shape, neck, agglomerate_vox, fraction=agglomerate_fraction, overlap=overlap)
    if agglomerate_vox is not None:
        radius_law(agglomerate_vox, sigma)
    rng = np.random.default_rng(rng)
    wanted = _Wanted(shape, porosity, periodic, neck)
    if overlap:
        clusters = None
        if agglomerate_vox is not None:
            clusters = (LognormalRadii(agglomerate_vox / 2, sigma), agglomerate_fraction)
        pack = _overlapping(wanted, law, clusters, rng)
    else:
        pack = _hard(wanted, law, rng)
    recipe = {
        "generator": "sphere_pack", "shape": list(shape), "porosity": porosity, "diameter_vox": diameter_vox,
        "sigma": sigma, "overlap": overlap, "periodic": periodic, "neck": neck,
        "agglomerate_vox": agglomerate_vox, "agglomerate_fraction": agglomerate_fraction,
    } | law.describe()  # fmt: skip
    return with_fractions(pack.labels, ("pore", "solid"), recipe=recipe, truth=pack.truth)


class _Wanted(NamedTuple):
    shape: Shape
    porosity: float
    periodic: bool
    neck: float

    @property
    def n_voxels(self) -> int:
        return int(np.prod(self.shape))

    @property
    def solid(self) -> int:
        return round((1 - self.porosity) * self.n_voxels)

    @property
    def tolerance(self) -> int:
        return max(1, int(POROSITY_TOLERANCE * self.n_voxels))


class _Pack(NamedTuple):
    labels: np.ndarray
    truth: dict[str, Any]


def _check_arguments(
    shape: Shape, porosity: float, diameter_vox: Any, *, sigma: float, overlap: bool, periodic: bool
) -> RadiusLaw:
    if not 0 < porosity < 1:
        raise ValueError(f"porosity is {porosity!r}; give a number above 0 and below 1")
    longest = min(shape) if overlap or not periodic else min(shape) / 2
    advice = f"at most {longest:g}, " + (
        "the box's shortest side" if longest == min(shape) else "half the shortest side"
    )
    if not isinstance(diameter_vox, Mapping | rv_frozen) and not 0 < diameter_vox <= longest:
        raise ValueError(f"diameter_vox is {diameter_vox!r}; give a number above 0 and {advice}")
    law = radius_law(diameter_vox, sigma)
    if 2 * law.median > longest:
        raise ValueError(f"diameter_vox has a median of {2 * law.median:g}; give a distribution with {advice}")
    return law


def _check_options(shape: Shape, neck: float, agglomerate_vox: float | None, *, fraction: float, overlap: bool) -> None:
    if not 0 <= neck < 1:
        raise ValueError(f"neck is {neck!r}; give a number from 0 to below 1, in units of the smaller radius")
    if not 0 < fraction < 1:
        raise ValueError(f"agglomerate_fraction is {fraction!r}; give a number above 0 and below 1")
    if agglomerate_vox is None:
        return
    if not overlap:
        raise ValueError("agglomerate_vox is for spheres that may overlap; leave it out, or allow overlap")
    if not 0 < agglomerate_vox <= min(shape):
        raise ValueError(
            f"agglomerate_vox is {agglomerate_vox!r}; "
            f"give a number above 0 and at most {min(shape)}, the box's shortest side"
        )


# Spheres that may overlap


def _overlapping(
    wanted: _Wanted, law: RadiusLaw, clusters: tuple[RadiusLaw, float] | None, rng: np.random.Generator
) -> _Pack:
    smaller = min(4 / 3 * np.pi * law.moment(3), float(wanted.n_voxels))
    _check_number(-np.log(wanted.porosity) * wanted.n_voxels / smaller, MOST_SPHERES)
    # Balls that do not reach into the box may have necks that do.
    margin = int(np.ceil(2 * law.median)) if wanted.neck and not wanted.periodic else 0
    z, y, x = (n + 2 * margin for n in wanted.shape)
    batches = draw_balls((z, y, x), law, periodic=wanted.periodic, rng=rng)
    if margin:
        batches = ((centres - margin, radii) for centres, radii in batches)
    holds, what = None, "these spheres"
    if clusters is not None:
        holds = draw_agglomerates(
            wanted.shape,
            clusters[0],
            fraction=clusters[1],
            margin=int(4 * law.median) + margin,
            periodic=wanted.periodic,
            rng=rng,
        )
        what = f"spheres in agglomerates that take {clusters[1]:g} of space"
    labels = np.zeros(wanted.shape, np.uint8)
    filled = fill_with_balls(
        labels,
        batches,
        target=wanted.solid,
        tolerance=wanted.tolerance,
        periodic=wanted.periodic,
        holds=holds,
        keep=wanted.neck > 0,
    )
    if abs(filled.solid - wanted.solid) > wanted.tolerance:
        raise ValueError(_missed(wanted, 1 - filled.solid / wanted.n_voxels, what))
    if wanted.neck > 0:
        labels, n = _with_necks(wanted, filled.centres, filled.radii)
        return _Pack(labels, {"n_spheres": n})
    truth: dict[str, Any] = {"n_spheres": filled.number}
    if clusters is None:
        model = boolean_model(wanted.porosity, **law.describe())
        truth["expected"] = describe_expected({"solid": model.solid, "pore": model.pore})
    return _Pack(labels, truth)


def _with_necks(wanted: _Wanted, centres: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, int]:
    """Take as many of the balls, in their order, as the porosity allows once they are joined; shrink the last one."""
    balls = _images(centres, radii, np.array(wanted.shape, float), wanted.shape, wrap=wanted.periodic)
    pairs = _pairs(balls)
    latest = balls.order[pairs].max(axis=1, initial=0)

    def render(number: int) -> np.ndarray:
        return _render(wanted, balls, 1.0, pairs[latest < number], balls.order < number)

    low, high = 0, len(radii)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if np.count_nonzero(render(middle)) <= wanted.solid else (low, middle)
    before = render(low)
    last = balls.order == low

    def grow(factor: float) -> np.ndarray:
        grown = balls._replace(radii=np.where(last, factor * balls.radii, balls.radii))
        return _render(wanted, grown, 1.0, pairs[latest == low], last, onto=before.copy())

    factor = _bisect(lambda f: np.count_nonzero(grow(f)) <= wanted.solid, 0.0, 1.0)
    chosen = balls.order <= low
    shrunk = np.where(last, factor * balls.radii, balls.radii)[chosen]
    _, useful = stamp_all(np.zeros(wanted.shape, np.uint8), balls.centres[chosen], shrunk)
    return grow(factor), len(np.unique(balls.order[chosen][useful]))


# Spheres that may not overlap


def _hard(wanted: _Wanted, law: RadiusLaw, rng: np.random.Generator) -> _Pack:
    """Pack hard spheres; where that is hopeless, a small box tells so in short time."""
    volume = mean_volume(_sides(wanted, law), law, rng)
    number = (1 - wanted.porosity) * float(np.prod(_sides(wanted, law))) / volume
    _check_number(number, MOST_HARD_SPHERES)
    if number > 2 * PILOT and wanted.porosity < 1 - EASY:
        pilot = wanted._replace(shape=_smaller(wanted, PILOT / number))
        pack, reached = _try_hard(pilot, law, rng)
        if pack is None and reached > wanted.porosity + PILOT_ERROR:
            raise ValueError(_missed(wanted, reached, "spheres that do not overlap"))
    pack, reached = _try_hard(wanted, law, rng)
    if pack is None:
        raise ValueError(_missed(wanted, reached, "spheres that do not overlap"))
    return pack


def _sides(wanted: _Wanted, law: RadiusLaw) -> np.ndarray:
    # So that the window's opposite faces are not neighbours.
    return np.array(wanted.shape, float) + (0.0 if wanted.periodic else 4 * law.median)


def _smaller(wanted: _Wanted, share: float) -> Shape:
    """Return a box of that share of the voxels, as nearly a cube as the wanted one allows."""
    left, sides = share * wanted.n_voxels, np.ones(3, int)
    for k, axis in enumerate(np.argsort(wanted.shape, kind="stable")):
        sides[axis] = max(1, min(wanted.shape[axis], round(left ** (1 / (3 - k)))))
        left /= sides[axis]
    return tuple(sides.tolist())


def _try_hard(wanted: _Wanted, law: RadiusLaw, rng: np.random.Generator) -> tuple[_Pack | None, float]:
    """Pack more densely than asked for, then shrink all balls by one factor; return also the porosity reached."""
    # Necks take their part of the solid; how much is learnt by trying.
    share, excess, reached = (1 - wanted.porosity) * (0.9 if wanted.neck else 1.0), EXCESS, 0
    for _ in range(TRIES):
        pack = pack_hard_spheres(_sides(wanted, law), law, solid=share, excess=excess, rng=rng)
        balls, solid = _choose_window(wanted, pack, rng)
        enough = solid >= wanted.solid - wanted.tolerance
        if enough:
            factor = _shrink_joined(wanted, balls) if wanted.neck else _shrink(wanted, balls)
            if factor is not None:
                return _finish_hard(wanted, pack, balls, factor), wanted.porosity
        else:
            reached = max(reached, solid)
            if pack.solid < share * (1 + excess) * 0.999:
                break
        if wanted.neck:
            share *= float(np.clip(wanted.solid / max(solid, 1), 0.8, 1.2))
        else:
            excess *= 2
    return None, 1 - reached / wanted.n_voxels


def _choose_window(wanted: _Wanted, pack: HardSpheres, rng: np.random.Generator) -> tuple["_Balls", int]:
    """Return the balls of the window that has the least solid too much, or the most if all have too little.

    To take the first that has enough would favour windows with balls in their middle, where they count in full.
    """
    windows: list[tuple[int, _Balls]] = []
    for _ in range(int(np.clip(WINDOW_VOXELS // wanted.n_voxels, *WINDOWS))):
        origin = rng.random(3) * pack.sides
        balls = _images((pack.centres - origin) % pack.sides, pack.radii, pack.sides, wanted.shape, wrap=True)
        pairs = _pairs(balls) if wanted.neck else NO_PAIRS
        windows.append((int(np.count_nonzero(_render(wanted, balls, 1.0, pairs))) - wanted.solid, balls))
        if 0 <= windows[-1][0] <= CLOSE * wanted.solid:
            break
    excess, balls = min(windows, key=lambda window: (window[0] < -wanted.tolerance, abs(window[0])))
    return balls, wanted.solid + excess


def _finish_hard(wanted: _Wanted, pack: HardSpheres, balls: "_Balls", factor: float) -> _Pack:
    radii = factor * pack.radii
    pairs = _pairs(balls) if wanted.neck else NO_PAIRS
    labels = np.zeros(wanted.shape, np.uint8)
    _, useful = stamp_all(labels, balls.centres, factor * balls.radii)
    stamp_necks(labels, balls.centres, factor * balls.radii, pairs, neck=wanted.neck)
    truth: dict[str, Any] = {
        "n_spheres": len(np.unique(balls.order[useful])),
        "median_diameter": 2 * float(np.median(radii)),
    }
    if wanted.neck == 0:
        # Per volume of the pack of which the box shows a window, or all.
        first, second, third = (float(np.sum(radii**k)) / float(np.prod(pack.sides)) for k in (1, 2, 3))
        number = len(radii) / float(np.prod(pack.sides))
        solid = ClosedForm(4 / 3 * np.pi * third, 4 * np.pi * second, 4 * np.pi * first, number)
        truth["expected"] = {"solid": solid.densities(), "pore": solid.complement().densities()}
    return _Pack(labels, truth)


def _shrink(wanted: _Wanted, balls: "_Balls") -> float:
    """Return the factor for all radii that leaves the wanted porosity."""
    for low in (0.97, 0.8, 0.0):
        always, ratios = _ratios(wanted.shape, balls.centres, balls.radii, low)
        if always <= wanted.solid:
            break
    # A voxel turns solid when the factor reaches its distance in units of the radius; balls do not share voxels.
    number = min(wanted.solid - always, len(ratios))
    return float(np.partition(ratios, number - 1)[number - 1]) if number else low


def _shrink_joined(wanted: _Wanted, balls: "_Balls") -> float | None:
    """Do the same where necks join the balls, or return None if they would be shrunk by more than a tenth."""
    pairs = _pairs(balls)

    def fits(factor: float) -> bool:
        return int(np.count_nonzero(_render(wanted, balls, factor, pairs))) <= wanted.solid

    return _bisect(fits, 0.9, 1.0) if fits(0.9) else None


# Both


class _Balls(NamedTuple):
    """Balls that reach into the box, periodic copies as balls of their own; `order` is each one's number."""

    centres: np.ndarray
    radii: np.ndarray
    order: np.ndarray


def _images(centres: np.ndarray, radii: np.ndarray, sides: np.ndarray, shape: Shape, *, wrap: bool) -> _Balls:
    shifts = np.array(np.meshgrid(*[(0, -1, 1)] * 3, indexing="ij")).reshape(3, -1).T if wrap else np.zeros((1, 3))
    # A neck may reach into the box between two balls that do not.
    reach = radii[:, None] + radii.max(initial=0)
    copies = []
    for shift in shifts:
        moved = centres + shift * sides
        kept = ((moved > -reach) & (moved < np.array(shape) + reach)).all(axis=1)
        copies.append((moved[kept], radii[kept], np.flatnonzero(kept)))
    return _Balls(*(np.concatenate(part) for part in zip(*copies, strict=True)))


def _pairs(balls: _Balls) -> np.ndarray:
    """List the pairs of balls that a neck joins."""
    if len(balls.radii) < 2:
        return NO_PAIRS
    order = np.argsort(-balls.radii, kind="stable")
    low, room = balls.centres.min(axis=0, initial=0), 3 * balls.radii.max(initial=1)
    sides = balls.centres.max(axis=0, initial=0) - low + room
    return order[find_pairs(balls.centres[order] - low, balls.radii[order], sides, reach=NECK_REACH)]


def _render(
    wanted: _Wanted, balls: _Balls, factor: float, pairs: np.ndarray,
    chosen: np.ndarray | slice = slice(None), *, onto: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Stamp the chosen balls and the necks of `pairs`, all radii multiplied by `factor`."""
    labels = np.zeros(wanted.shape, np.uint8) if onto is None else onto
    radii = factor * balls.radii
    stamp_all(labels, balls.centres[chosen], radii[chosen])
    stamp_necks(labels, balls.centres, radii, pairs, neck=wanted.neck)
    return labels


def _bisect(fits: Any, low: float, high: float) -> float:
    """Return the largest number in a range that fits; smaller ones do."""
    for _ in range(BISECTIONS // 2):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _missed(wanted: _Wanted, reached: float, what: str) -> str:
    return (
        f"porosity {wanted.porosity:g} cannot be reached by {what}; this pack ended at {reached:.4f}: "
        "ask for more, or change the spheres"
    )


def _check_number(number: float, most: int) -> None:
    if number > most:
        raise ValueError(
            f"about {number:.2g} spheres would be needed; at most {most:.2g} are made: "
            "give a larger diameter_vox or a smaller box"
        )


@numba.njit(cache=True, nogil=True)
def _ratios(shape: Shape, centres: Any, radii: Any, low: float) -> tuple[int, Any]:
    """Measure the voxels' distances from the centres of their balls, in units of the radius.

    Returns how many are up to `low`, and the distances of those between it and 1.
    """
    inner, found, number = 0, np.empty(1024), 0
    for i in range(radii.shape[0]):
        z0, z1 = span(centres[i, 0], radii[i], shape[0], False)
        for z in range(z0, z1 + 1):
            rest_z = radii[i] ** 2 - (z + 0.5 - centres[i, 0]) ** 2
            y0, y1 = span(centres[i, 1], np.sqrt(max(rest_z, 0.0)), shape[1], False)
            for y in range(y0, y1 + 1):
                rest = rest_z - (y + 0.5 - centres[i, 1]) ** 2
                x0, x1 = span(centres[i, 2], np.sqrt(max(rest, 0.0)), shape[2], False)
                if number + x1 - x0 + 1 > found.shape[0]:
                    found = np.concatenate((found, np.empty(found.shape[0] + x1 - x0 + 1)))
                for x in range(x0, x1 + 1):
                    ratio = np.sqrt(max(radii[i] ** 2 - rest + (x + 0.5 - centres[i, 2]) ** 2, 0.0)) / radii[i]
                    if ratio <= low:
                        inner += 1
                    else:
                        found[number] = ratio
                        number += 1
    return inner, found[:number].copy()
