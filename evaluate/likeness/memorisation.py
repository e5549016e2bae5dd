"""Whether a generative model repeats its training material: the nearest training window of what it made."""

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import as_whole_number
from evaluate.likeness.nearest_patches import (
    LARGEST,
    LARGEST_N_PHASES,
    SMALLEST,
    PassedOver,
    Symmetry,
    as_volumes,
    cut,
    draw_places,
    mirrored_and_turned,
    nearest_windows,
)

__all__ = [
    "MOST_PATCHES",
    "MemorisationAudit",
    "NearestPatches",
    "find_copies",
    "memorisation_audit",
    "patches_with_nearest",
]

MOST_PATCHES = 4096
# A copy is this much nearer than the median of held-out patches, and holds this share of the material's structure.
COPY = 0.5
STRUCTURE = 0.25


@dataclasses.dataclass(frozen=True)
class NearestPatches:
    r"""Patches of one kind and the training window nearest to each; made by `memorisation_audit`.

    Attributes
    ----------
    distance : ndarray, shape (n,)
        Share of the voxels that differ, over all translations and symmetries the smallest.
    relative : ndarray, shape (n,)
        `distance` over the share of the patch's voxels that are not of its most frequent phase: about 1 if the best
        match is as good as none (a window of that phase alone), 0 for a copy. 1 for a patch of a single phase, in
        which there is nothing to recognise.
    expected : ndarray, shape (n,)
        Share that differs on average from an unrelated window, :math:`1 - \sum_k p_k q_k` of the patch's fractions p
        and those of the training material q.
    content : ndarray, shape (n,)
        Share of the patch's voxels that are not of its most frequent phase.
    origin : ndarray of int, shape (n, 4)
        Where the patch was cut: number of the volume, first voxel (z, y, x).
    place : ndarray of int, shape (n, 4)
        Where its nearest window lies: number of the training volume, first voxel (z, y, x).
    axes : ndarray of int, shape (n, 3)
    mirrored : ndarray of bool, shape (n, 3)
        The symmetry: ``np.flip(patch.transpose(axes), [a for a in range(3) if mirrored[a]])`` looks like the window.
    """

    distance: np.ndarray
    relative: np.ndarray
    expected: np.ndarray
    content: np.ndarray
    origin: np.ndarray
    place: np.ndarray
    axes: np.ndarray
    mirrored: np.ndarray


@dataclasses.dataclass(frozen=True)
class MemorisationAudit:
    r"""What `memorisation_audit` found.

    Attributes
    ----------
    generated : NearestPatches
        Patches of what the model made.
    held_out : NearestPatches
        Patches of the material itself.
    reference : {"held-out material", "training material"}
        Where the latter come from.
    expected_distance : float
        Share of differing voxels of unrelated windows of the training material, :math:`1 - \sum_k q_k^2`.
    probability_nearer : float
        Chance that a generated patch is nearer (`relative`) than a held-out one, ties counted half; 0.5 of equals.
    p_value : float
        One-sided Mann-Whitney test of it: small if generated patches are nearer than chance explains.
    threshold : float
        Patches of a smaller `relative` are copies, if they hold at least a quarter of the structure (`content`) of
        the material: half the median of the held-out ones.
    share_of_copies : float
        Of the generated patches.
    share_of_held_out : float
        Of the held-out patches by the same measure: what chance alone brings.
    verdict : {"copies", "nearer than held-out material", "no sign of memorisation"}
        ``"copies"`` if their share is above that of the held-out patches; otherwise by the test at `level`.
    level : float
        Level of the test.
    size : int
        Edge of the patches, voxels.
    symmetry : str
        Which symmetries were searched.
    """

    generated: NearestPatches
    held_out: NearestPatches
    reference: str
    expected_distance: float
    probability_nearer: float
    p_value: float
    threshold: float
    share_of_copies: float
    share_of_held_out: float
    verdict: str
    level: float
    size: int
    symmetry: str


def memorisation_audit(
    generated: Any,
    training: Any,
    *,
    size: int = 32,
    count: int = 16,
    symmetry: Symmetry = "cubic",
    held_out: Any = None,
    chance: NearestPatches | None = None,
    level: float = 0.01,
    rng: np.random.Generator | int,
) -> MemorisationAudit:
    """Look for the training material in what a model made.

    Parameters
    ----------
    generated : array_like, shape (Z, Y, X) or (count, Z, Y, X), or a sequence of volumes
        Labels of what the model made.
    training : array_like, or a sequence of volumes
        Labels of the material it was trained on, of any shape.
    size : int
        Edge of the cubic patches in voxels, 8 to 240; at most the smallest side of any volume.
    count : int
        Patches of each kind, 2 to 4096; twice as many make the audit take twice as long.
    symmetry : {"cubic", "transverse", "flips", "none"}
        Which turned and mirrored copies count: all 48; the 16 that leave z where it is; the 8 mirror images; none.
        At least those that augmented the training.
    held_out : array_like or sequence of volumes, optional
        Material that the model has not seen. Without it patches of the training material stand in for it, and every
        window that shares a voxel with the patch's own place is passed over.
    chance : NearestPatches, optional
        `MemorisationAudit.held_out` of an audit of another model against the same material, with the same `size`,
        `symmetry` and `held_out`. It is not looked for again, which saves half the time, and all models are held
        against the same patches.
    level : float
        Of the test, above 0 and below 1.
    rng : numpy Generator or int
        Which patches.

    Returns
    -------
    MemorisationAudit

    Raises
    ------
    ValueError
        Not labels, more than 16 phases, a volume smaller than a patch, an argument out of range, training material too
        small to hold a window beside the patch's own place, or held-out material that is part of it.

    Notes
    -----
    The distance is exact: no translation by whole voxels and no symmetry is left out (see `nearest_windows`). It
    finds repeated voxels, turned or not; it does not find a copy that is stretched or bent. 16 + 16 patches of 32³
    against 400³ voxels of sandstone take 90 s of one core under all 48 symmetries. The finer the structure, the less
    the bounds rule out; noise without any structure is the worst case.

    Held-out patches taken from the training material: windows that begin where the place ends may
    continue its structure, which makes them nearer than strangers are (the audit turns milder by it), and the windows
    passed over, fewer than (2 size)³, are missed (which makes it stricter). Both vanish as the volume grows against
    the patch. Patches of one volume are not quite independent; where `size` is not well above the correlation
    length the p value is smaller than it should be.

    References
    ----------
    .. [1] N. Carlini et al., "Extracting training data from diffusion models", USENIX Security 2023: nearest
       training picture against what chance brings.

    Examples
    --------
    >>> import numpy as np
    >>> material = np.random.default_rng(0).integers(0, 2, (24, 24, 24))
    >>> memorisation_audit(np.flip(material, 0), material, size=8, count=4, rng=0).verdict
    'copies'
    """
    edge, many = _check(size, count, level)
    random = np.random.default_rng(rng)
    mirrored_and_turned(symmetry)
    made, material = (as_volumes(v, n, size=edge) for v, n in ((generated, "generated"), (training, "training")))
    reference = material if held_out is None else as_volumes(held_out, "held_out", size=edge)
    ways: list[tuple[list[np.ndarray], PassedOver]] = [
        (made, "nothing"),
        (reference, "place" if held_out is None else "nothing"),
    ]
    searches = (
        patches_with_nearest(
            volumes,
            material,
            draw_places(volumes, many, edge, rng=random),
            size=edge,
            symmetry=symmetry,
            passed_over=passed_over,
        )
        for volumes, passed_over in ways
    )
    ours = next(searches)
    theirs = next(searches) if chance is None else chance
    shares = _fractions(material)
    threshold, copies, by_chance = find_copies(ours, theirs, material)
    _refuse_repetition(threshold, "training" if held_out is None else "held-out")
    nearer, p_value = _test(ours.relative, theirs.relative)
    return MemorisationAudit(
        generated=ours,
        held_out=theirs,
        reference="training material" if held_out is None else "held-out material",
        expected_distance=float(1 - shares @ shares),
        probability_nearer=nearer,
        p_value=p_value,
        threshold=threshold,
        share_of_copies=float(copies.mean()),
        share_of_held_out=float(by_chance.mean()),
        verdict=_verdict(copies.mean() > by_chance.mean(), p_value < level),
        level=float(level),
        size=edge,
        symmetry=symmetry,
    )


def _check(size: Any, count: Any, level: Any) -> tuple[int, int]:
    if isinstance(level, bool) or not isinstance(level, numbers.Real) or not 0 < float(level) < 1:
        raise ValueError(f"level is {level!r}; it must be a number above 0 and below 1, such as 0.01")
    edge = as_whole_number(size, "size", low=SMALLEST, high=LARGEST)
    return edge, as_whole_number(count, "count", low=2, high=MOST_PATCHES)


def _refuse_repetition(threshold: float, kind: str) -> None:
    """Refuse a reference that is itself found in the training material: no copy would be below its threshold."""
    if threshold == 0:
        raise ValueError(
            f"most patches of the {kind} material lie in the training material a second time, voxel by voxel, so that "
            "copies tell nothing; give held-out material that is no part of it"
        )


def _fractions(volumes: Sequence[np.ndarray]) -> np.ndarray:
    """Volume fraction of each label that may occur, shape (16,), of all volumes together."""
    counts = sum(np.bincount(volume.ravel(), minlength=LARGEST_N_PHASES) for volume in volumes)
    return np.asarray(counts, float) / sum(volume.size for volume in volumes)


def patches_with_nearest(
    volumes: Sequence[np.ndarray],
    material: Sequence[np.ndarray],
    origin: np.ndarray,
    *,
    size: int,
    symmetry: Symmetry,
    passed_over: PassedOver = "nothing",
) -> NearestPatches:
    """Look for patches of `volumes` in the material.

    Parameters
    ----------
    volumes, material : sequence of ndarray of uint8
        As `as_volumes` returns them.
    origin : ndarray of int, shape (n, 4)
        Where in `volumes` the patches lie: volume, z, y, x.
    size, symmetry, passed_over
        As in `nearest_windows`.
    """
    patches = [cut(volumes, place, size) for place in origin]
    found = nearest_windows(patches, material, symmetry=symmetry, origin=origin, passed_over=passed_over)
    shares = np.array([_fractions([patch]) for patch in patches])
    content = 1 - shares.max(axis=1)
    distance = found.differing / size**3
    turns = mirrored_and_turned(symmetry)
    return NearestPatches(
        distance=distance,
        relative=np.divide(distance, content, out=np.ones_like(distance), where=content > 0),
        expected=1 - shares @ _fractions(material),
        content=content,
        origin=origin,
        place=np.column_stack([found.volume, found.place]),
        axes=np.array([turns[turn][0] for turn in found.turn]),
        mirrored=np.array([turns[turn][1] for turn in found.turn]),
    )


def find_copies(
    sample: NearestPatches, chance: NearestPatches, material: Sequence[np.ndarray]
) -> tuple[float, np.ndarray, np.ndarray]:
    """Tell copies from what chance brings.

    Parameters
    ----------
    sample, chance : NearestPatches
        The patches asked about, and those of the material itself.
    material : sequence of ndarray of uint8
        The material.

    Returns
    -------
    threshold : float
        Half the median `relative` of `chance`.
    copies, by_chance : ndarray of bool
        Which patches of either sample are below it and hold at least a quarter of the structure (`content`) of the
        material, so that there is something to recognise.
    """
    threshold = COPY * float(np.median(chance.relative))
    least = STRUCTURE * (1 - float(_fractions(material).max()))
    copies, by_chance = ((s.relative < threshold) & (s.content >= least) for s in (sample, chance))
    return threshold, copies, by_chance


def _test(generated: np.ndarray, held_out: np.ndarray) -> tuple[float, float]:
    """Chance that a generated patch is nearer, and the one-sided p value of the rank test."""
    from scipy.stats import mannwhitneyu

    test = mannwhitneyu(generated, held_out, alternative="less")
    return 1 - float(test.statistic) / (generated.size * held_out.size), float(test.pvalue)


def _verdict(copies: bool, nearer: bool) -> str:
    if copies:
        return "copies"
    return "nearer than held-out material" if nearer else "no sign of memorisation"
