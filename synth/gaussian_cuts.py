"""Phases that thresholds cut from Gaussian fields, in exact fractions."""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from synth.exact_counts import check_fractions, whole_counts
from synth.expectations import describe_expected, expect_gaussian_phases
from synth.gaussian import Shape, Waves, check_anisotropy, check_correlation, check_length, draw_waves
from synth.structure import Structure, check_shape, with_fractions
from synth.threads import in_threads

__all__ = ["cut_waves", "gaussian_phases"]

RULES = ("truncated", "plurigaussian")
# In sides of the box; a field of a longer correlation cannot show its statistics.
LONGEST = 1.0
# Of the histogram that finds the thresholds; only the voxels of the bins that they fall into are sorted.
BINS = 4096
RANGE = 5.0
# Each has a histogram; enough for the threads of any processor to share.
MOST_SLABS = 128


def gaussian_phases(
    shape: Shape,
    *,
    fractions: tuple[float, ...],
    length_vox: float | tuple[float, ...],
    rule: str = "truncated",
    correlation: str = "gaussian",
    anisotropy: tuple[float, float, float] = (1.0, 1.0, 1.0),
    periodic: bool = False,
    phases: tuple[str, ...] | None = None,
    rng: np.random.Generator | int,
) -> Structure:
    """Cut Gaussian fields into phases that have exactly the wanted fractions.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along z, y, x.
    fractions : sequence of float
        Of the 2 to 255 phases, adding up to 1. Each is met to one voxel and must give one at least.
    length_vox : float or sequence of float
        Correlation length in voxels, times `anisotropy` at most the box's sides; for ``plurigaussian`` also one
        for each of the fields, one fewer than phases.
    rule : {"truncated", "plurigaussian"}
        ``truncated`` cuts one field at rising thresholds: phase 0 lies where it is lowest, and only phases next to
        each other in number touch (but for jumps between voxels, where the length is short). ``plurigaussian``
        nests independent fields: the lowest part of field i becomes phase i, among the voxels that the fields
        before it have left; every phase may touch every other.
    correlation : str
        A name that `correlation_function` knows.
    anisotropy : sequence of three float
        Stretches the fields along z, y, x.
    periodic : bool
        Make opposite faces fit together.
    phases : sequence of str, optional
        Names; by default pore and solid, or pore, phase 1, phase 2, …
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    Structure
        ``truth`` has the exact ``porosity`` and ``fractions``, ``n_phases``, and ``thresholds``: entry i is the
        lowest value of field i (of the one field, if truncated) above its cut, so that phase i has only lower ones.
        ``expected`` has each phase's closed form (see `synth.truth`), by its name: what such volumes are on average,
        of which this one is a sample. It is left out where there is none: for nested anisotropic fields, and for
        periodic boxes, whose correlation is not quite the one that was asked for.

    Raises
    ------
    ValueError
        For impossible arguments, and lengths that `gaussian_field` refuses.

    Notes
    -----
    A cut at the volume's own order statistic fixes the fractions, which a cut at a fixed level leaves to chance; in
    a volume of many correlation lengths the difference fades. The fields are never held: each plane is made once
    for a histogram and once more for its labels, and only the voxels close to a threshold are sorted.

    References
    ----------
    .. [1] J. A. Quiblier, "A new three-dimensional modeling technique for studying porous media", J. Colloid
       Interface Sci. 98 (1984) 84.
    .. [2] M. Armstrong et al., "Plurigaussian Simulations in Geosciences", Springer (2011).
    """
    shape = check_shape(shape)
    wanted = _check_fractions(fractions, shape)
    names = _check_names(phases, len(wanted))
    stretch = check_anisotropy(anisotropy)
    check_correlation(correlation)
    lengths = _check_rule(rule, length_vox, len(wanted))
    for length in lengths:
        check_length(shape, length, stretch, longest=LONGEST)
    rng = np.random.default_rng(rng)
    last = len(wanted) - 1
    labels = np.empty(shape, np.uint8)
    cuts = [(wanted, tuple(range(last + 1)))]
    if rule == "plurigaussian":
        cuts = [((wanted[i], sum(wanted[i + 1 :])), (i, last)) for i in range(last)]
    thresholds: list[float] = []
    for length, (counts, values) in zip(lengths, cuts, strict=True):
        waves = draw_waves(shape, length, correlation, stretch, periodic=periodic, rng=rng)
        if not thresholds:
            # Not before: drawing takes memory of its own.
            labels.fill(last)
        thresholds += cut_waves(waves, labels, counts=counts, values=values)
    truth: dict[str, Any] = {"n_phases": len(wanted), "thresholds": thresholds}
    exact = [count / labels.size for count in wanted]
    forms = expect_gaussian_phases(exact, lengths, rule=rule, correlation=correlation, anisotropy=stretch)
    if forms and not periodic:
        truth["expected"] = describe_expected(dict(zip(names, forms, strict=True)))
    recipe = {
        "generator": "gaussian_phases", "shape": list(shape), "fractions": _plain(fractions),
        "length_vox": _plain(length_vox), "rule": rule, "correlation": correlation, "anisotropy": list(stretch),
        "periodic": bool(periodic), "phases": list(names),
    }  # fmt: skip
    return with_fractions(labels, names, recipe=recipe, truth=truth)


def _plain(numbers: Any) -> Any:
    return np.asarray(numbers, float).tolist()


def _check_fractions(fractions: Any, shape: Shape) -> tuple[int, ...]:
    """Return the number of voxels of each phase."""
    values = check_fractions(fractions)
    if len(values) > 255:
        raise ValueError(f"fractions has {len(values)} entries; labels have room for 255 phases")
    counts = whole_counts(values, int(np.prod(shape)))
    if 0 in counts:
        i = counts.index(0)
        raise ValueError(
            f"fraction {values[i]:g} of phase {i} is less than a voxel of a box of {'x'.join(map(str, shape))}; "
            "give a larger fraction or a larger box"
        )
    return counts


def _check_names(phases: Any, n: int) -> tuple[str, ...]:
    if phases is None:
        return ("pore", "solid") if n == 2 else ("pore", *(f"phase {i}" for i in range(1, n)))
    if not isinstance(phases, list | tuple) or len(phases) != n or not all(isinstance(name, str) for name in phases):
        raise ValueError(f"phases is {phases!r}; give {n} names, one for each fraction")
    return tuple(phases)


def _check_rule(rule: Any, length_vox: Any, n_phases: int) -> list[float]:
    """Return the correlation length of each field."""
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(f"rule is {rule!r}; known are {', '.join(RULES)}")
    n_fields = 1 if rule == "truncated" else n_phases - 1
    if np.ndim(length_vox) == 0:
        return [length_vox] * n_fields
    if np.ndim(length_vox) != 1 or len(length_vox) != n_fields:
        raise ValueError(
            f"length_vox is {length_vox!r}; rule '{rule}' with {n_phases} phases takes a number or {n_fields} of them"
        )
    return list(length_vox)


def cut_waves(waves: Waves, labels: np.ndarray, *, counts: Sequence[int], values: Sequence[int]) -> list[float]:
    """Share out the voxels that have the last of `values`, in the order of the field; return the thresholds."""
    among = values[-1]
    slabs = np.array_split(np.arange(len(labels)), min(len(labels), MOST_SLABS))
    found = np.zeros((len(slabs), BINS), np.int64)

    def count(i: int) -> None:
        for z in slabs[i]:
            _count(waves.plane(z), labels[z], among, found[i])

    in_threads(count, range(len(slabs)))
    below = np.concatenate([[0], np.cumsum(found.sum(axis=0))])
    edges = np.cumsum(counts)[:-1]
    # The bin that the first voxel above a cut falls into.
    critical = np.unique(np.searchsorted(below, edges, side="right") - 1)
    codes = np.asarray(values)[np.searchsorted(edges, below[:-1], side="right")]
    codes[critical] = -1

    def label(i: int) -> tuple[np.ndarray, np.ndarray]:
        size, n = int(found[i, critical].sum()), 0
        heights, places = np.empty(size, np.float32), np.empty(size, np.int64)
        for z in slabs[i]:
            start = n
            n = _label(waves.plane(z), labels[z], among, codes, heights, places, start)
            places[start:n] += z * labels[0].size
        return heights, places

    parts = in_threads(label, range(len(slabs)))
    heights, places = (np.concatenate(part) for part in zip(*parts, strict=True))
    # Of equal values the earlier voxel is the lower one.
    order = np.argsort(heights, kind="stable")
    sizes = np.diff(below)[critical]
    ranks = np.repeat(below[critical] - (np.cumsum(sizes) - sizes), sizes) + np.arange(len(order))
    labels.reshape(-1)[places[order]] = np.asarray(values)[np.searchsorted(edges, ranks, side="right")]
    return heights[order][np.searchsorted(ranks, edges)].tolist()


@numba.njit(nogil=True, cache=True)
def _bin(value: float) -> int:
    return min(max(int((value + RANGE) * (BINS / (2 * RANGE))), 0), BINS - 1)


@numba.njit(nogil=True, cache=True)
def _count(field: Any, labels: Any, among: int, found: Any) -> None:
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            if labels[y, x] == among:
                found[_bin(field[y, x])] += 1


@numba.njit(nogil=True, cache=True)
def _label(field: Any, labels: Any, among: int, codes: Any, heights: Any, places: Any, n: int) -> int:
    """Label the voxels whose bin settles it and list the others, from entry `n` on, which keep their label."""
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            if labels[y, x] != among:
                continue
            code = codes[_bin(field[y, x])]
            if code >= 0:
                labels[y, x] = code
            else:
                heights[n] = field[y, x]
                places[n] = y * field.shape[1] + x
                n += 1
    return n
