"""Whether volumes of one model differ from each other as much as parts of the material do."""

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import as_whole_number
from evaluate.likeness.memorisation import MOST_PATCHES, NearestPatches, find_copies, patches_with_nearest
from evaluate.likeness.nearest_patches import LARGEST, SMALLEST, Symmetry, as_volumes, draw_places, mirrored_and_turned
from evaluate.morphology import minkowski_of_phases, two_point

__all__ = ["Coverage", "Diversity", "diversity"]

# Distances of S2 in voxels.
DISTANCES = (1, 2, 4, 8)
FEWEST_PARTS = 8
# Cubes smaller than this hold too little to be described by one number.
SMALLEST_PART = 12


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How much one number varies from volume to volume; made by `diversity`.

    Attributes
    ----------
    quantity : {"volume_fraction", "specific_surface", "euler_density", "two_point"}
    phase : int
        Label.
    distance : int
        Of ``"two_point"``, in voxels; otherwise 0.
    generated, real : float
        Standard deviation between generated volumes and between parts of the material, lengths in voxels.
    ratio : float
        Variance of the former over that of the latter: the coverage. Below 1 the model knows too little of the
        material, above 1 it makes what is not in it. NaN never: 1 where both are 0, infinite where the latter is.
    low, high : float
        Its interval, of F for normal numbers.
    p_value : float
        That a ratio so low comes from equal variances, by the same law.
    p_adjusted : float
        By Holm's method for all numbers.
    """

    quantity: str
    phase: int
    distance: int
    generated: float
    real: float
    ratio: float
    low: float
    high: float
    p_value: float
    p_adjusted: float


@dataclasses.dataclass(frozen=True)
class Diversity:
    """What `diversity` found.

    Attributes
    ----------
    coverage : tuple of Coverage
        For each phase the fraction, surface, Euler number and S2 at 1, 2, 4 and 8 voxels.
    part : tuple of int
        Edges (z, y, x) of the boxes compared, voxels: those of a generated volume, or smaller.
    n_parts : int
        Parts of the material.
    generated : NearestPatches
        Patches of generated volumes and the window nearest to each in the *other* generated volumes.
    real : NearestPatches
        The same for as many separate parts of the material, as far as it has them.
    threshold : float
        Patches of a smaller `relative` are duplicates, if they hold at least a quarter of the structure (`content`)
        of the material: half the median of those of the material.
    share_of_duplicates : float
        Of the patches of generated volumes.
    share_of_real : float
        Of those of the material, by the same measure.
    n_volumes, n_distinct : int
        Generated volumes, and how many are left if those that share a duplicate are counted as one.
    verdict : {"duplicates", "less diverse than the material", "as diverse as the material"}
        ``"duplicates"`` if there are more than in the material; less diverse if any `p_adjusted` is below `level`.
    level : float
        Of the tests and, as 1 - `level`, of the intervals.
    size : int
        Edge of the patches, voxels.
    symmetry : str
        Which symmetries were searched.
    """

    coverage: tuple[Coverage, ...]
    part: tuple[int, int, int]
    n_parts: int
    generated: NearestPatches
    real: NearestPatches
    threshold: float
    share_of_duplicates: float
    share_of_real: float
    n_volumes: int
    n_distinct: int
    verdict: str
    level: float
    size: int
    symmetry: str


def diversity(
    volumes: Any,
    real: Any,
    *,
    size: int = 32,
    count: int = 16,
    symmetry: Symmetry = "cubic",
    level: float = 0.05,
    rng: np.random.Generator | int,
) -> Diversity:
    """Compare how volumes of one model differ with how parts of the material do.

    Parameters
    ----------
    volumes : array_like, shape (count, Z, Y, X), or a sequence of volumes
        Labels of at least three volumes of one shape that the model made independently.
    real : array_like, shape (Z, Y, X), or a sequence of volumes
        Labels of the material, which must hold eight separate boxes of 12 voxels.
    size : int
        Edge of the patches that are looked for, voxels, 8 to 240.
    count : int
        Patches, dealt to the volumes in turn; at least one each.
    symmetry : {"cubic", "transverse", "flips", "none"}
        Which turned and mirrored copies count; see `memorisation_audit`.
    level : float
        Of the tests.
    rng : numpy Generator or int
        Which patches and boxes.

    Returns
    -------
    Diversity

    Raises
    ------
    ValueError
        Not labels; fewer than three volumes, or of different shapes; a material that holds fewer than eight boxes of 12
        voxels; an argument out of range.

    Notes
    -----
    Coverage: one box from each generated volume, at a random place, and all boxes of that shape that the material
    holds side by side. Boxes have the shape of the generated volumes if the material holds eight of them, otherwise
    they shrink until it does. The ratio of two variances of normal numbers follows F. Side by side, boxes of the
    material are a little alike, so that its variance is a little low and the ratio high: the test is then mild.

    Duplicates: as in `memorisation_audit`, but looked for in all other generated volumes. What chance brings is
    known from parts of the material, of the shape of the generated volumes and as many. Where it does not
    hold so many, or only smaller ones, chance has fewer windows to hit, so that the threshold is a little too high.
    The voxel-wise difference of two volumes as they lie would tell nothing: a shift by a few voxels makes
    two copies look unrelated.
    """
    edge, many, made, material = _check(volumes, real, size=size, count=count, level=level)
    mirrored_and_turned(symmetry)
    random = np.random.default_rng(rng)
    part = _part(made[0].shape, material)
    coverage = _coverage(made, material, part, level=float(level), rng=random)
    parts = [box for volume in material for box in _boxes(volume, part)]
    chosen = [parts[i] for i in random.permutation(len(parts))[: len(made)]]
    ours = _patches(made, many, size=edge, symmetry=symmetry, rng=random)
    theirs = _patches(chosen, many, size=min(edge, *part), symmetry=symmetry, rng=random)
    threshold, copies, by_chance = find_copies(ours, theirs, material)
    narrow = any(entry.p_adjusted < level for entry in coverage)
    return Diversity(
        coverage=coverage,
        part=part,
        n_parts=len(parts),
        generated=ours,
        real=theirs,
        threshold=threshold,
        share_of_duplicates=float(copies.mean()),
        share_of_real=float(by_chance.mean()),
        n_volumes=len(made),
        n_distinct=_distinct(len(made), ours.origin[copies, 0], ours.place[copies, 0]),
        verdict=_verdict(copies.mean() > by_chance.mean(), narrow),
        level=float(level),
        size=edge,
        symmetry=symmetry,
    )


def _check(
    volumes: Any, real: Any, *, size: Any, count: Any, level: Any
) -> tuple[int, int, list[np.ndarray], list[np.ndarray]]:
    if isinstance(level, bool) or not isinstance(level, numbers.Real) or not 0 < float(level) < 1:
        raise ValueError(f"level is {level!r}; it must be a number above 0 and below 1, such as 0.05")
    edge = as_whole_number(size, "size", low=SMALLEST, high=LARGEST)
    many = as_whole_number(count, "count", low=2, high=MOST_PATCHES)
    made = as_volumes(volumes, "volumes", size=max(edge, SMALLEST_PART))
    if len(made) < 3 or len({volume.shape for volume in made}) > 1:
        shapes = ", ".join(str(volume.shape) for volume in made[:4])
        raise ValueError(f"volumes holds {len(made)} of shapes {shapes}; give at least three volumes of one shape")
    material = as_volumes(real, "real", size=SMALLEST_PART)
    if sum(len(_corners(volume.shape, (SMALLEST_PART,) * 3)) for volume in material) < FEWEST_PARTS:
        raise ValueError(
            f"real holds fewer than {FEWEST_PARTS} boxes of {SMALLEST_PART} voxels; "
            "give more of the material to tell how much it varies"
        )
    return edge, max(many, len(made)), made, material


def _part(shape: Sequence[int], material: Sequence[np.ndarray]) -> tuple[int, int, int]:
    """Return the largest box, of the shape of a generated volume or cut down, of which the material holds enough."""
    edges = list(shape)
    while sum(len(_corners(volume.shape, edges)) for volume in material) < FEWEST_PARTS:
        longest = max(edges)
        edges = [min(n, longest - 1) for n in edges]
    z, y, x = edges
    return z, y, x


def _corners(shape: Sequence[int], box: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(i * n for i, n in zip(c, box, strict=True)) for c in np.ndindex(*np.floor_divide(shape, box))]


def _boxes(volume: np.ndarray, box: Sequence[int]) -> list[np.ndarray]:
    return [
        np.ascontiguousarray(volume[tuple(slice(a, a + n) for a, n in zip(corner, box, strict=True))])
        for corner in _corners(volume.shape, box)
    ]


def _coverage(
    made: Sequence[np.ndarray],
    material: Sequence[np.ndarray],
    part: tuple[int, int, int],
    *,
    level: float,
    rng: np.random.Generator,
) -> tuple[Coverage, ...]:
    n_phases = 1 + max(1, *(int(volume.max()) for volume in [*made, *material]))
    boxes = []
    for volume in made:
        corner = [int(rng.integers(0, n - edge + 1)) for n, edge in zip(volume.shape, part, strict=True)]
        boxes.append(volume[tuple(slice(a, a + n) for a, n in zip(corner, part, strict=True))])
    ours = np.array([_describe(box, n_phases) for box in boxes])
    theirs = np.array([_describe(box, n_phases) for volume in material for box in _boxes(volume, part)])
    keys = [(phase, *key) for phase in range(n_phases) for key in _keys()]
    found = [_ratio(ours[:, k], theirs[:, k], key, level=level) for k, key in enumerate(keys)]
    order = np.argsort([entry.p_value for entry in found], kind="stable")
    steps = [min(1.0, (len(found) - rank) * found[i].p_value) for rank, i in enumerate(order)]
    adjusted = dict(zip(order.tolist(), np.maximum.accumulate(steps).tolist(), strict=True))
    return tuple(dataclasses.replace(entry, p_adjusted=adjusted[i]) for i, entry in enumerate(found))


def _keys() -> list[tuple[str, int]]:
    return [("volume_fraction", 0), ("specific_surface", 0), ("euler_density", 0)] + [
        ("two_point", distance) for distance in DISTANCES
    ]


def _describe(box: np.ndarray, n_phases: int) -> list[float]:
    """Return the numbers of one box in voxels, phase after phase."""
    numbers_found: list[float] = []
    box = np.ascontiguousarray(box)
    for phase, measured in enumerate(minkowski_of_phases(box, n_phases=n_phases)):
        curve = two_point(box == phase, r_max=max(DISTANCES)).s2
        numbers_found += [measured.volume_fraction, measured.specific_surface, measured.euler_density]
        numbers_found += [float(curve[distance]) for distance in DISTANCES]
    return numbers_found


def _ratio(ours: np.ndarray, theirs: np.ndarray, key: tuple[int, str, int], *, level: float) -> Coverage:
    from scipy.special import fdtr, fdtri

    phase, quantity, distance = key
    variances = [float(np.var(values, ddof=1)) for values in (ours, theirs)]
    degrees = ours.size - 1, theirs.size - 1
    ratio = variances[0] / variances[1] if variances[1] > 0 else (1.0 if variances[0] == 0 else np.inf)
    p_value = float(fdtr(*degrees, ratio)) if variances[1] > 0 else 1.0
    return Coverage(
        quantity=quantity,
        phase=phase,
        distance=distance,
        generated=variances[0] ** 0.5,
        real=variances[1] ** 0.5,
        ratio=ratio,
        low=ratio / float(fdtri(*degrees, 1 - level / 2)),
        high=ratio / float(fdtri(*degrees, level / 2)),
        p_value=p_value,
        p_adjusted=p_value,
    )


def _patches(
    volumes: Sequence[np.ndarray], count: int, *, size: int, symmetry: Symmetry, rng: np.random.Generator
) -> NearestPatches:
    """Deal patches to the volumes in turn and look for each in the others."""
    places = draw_places(volumes, count, size, rng=rng)
    places[:, 0] = np.arange(count) % len(volumes)
    return patches_with_nearest(volumes, volumes, places, size=size, symmetry=symmetry, passed_over="volume")


def _distinct(n: int, first: np.ndarray, second: np.ndarray) -> int:
    """Return how many groups are left of n volumes if each pair is joined."""
    group = np.arange(n)
    for a, b in zip(first, second, strict=True):
        group[group == group[a]] = group[b]
    return len(np.unique(group))


def _verdict(duplicates: bool, narrow: bool) -> str:
    if duplicates:
        return "duplicates"
    return "less diverse than the material" if narrow else "as diverse as the material"
