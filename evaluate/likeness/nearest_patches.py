"""The window of a material that differs least from a patch, under every translation and symmetry."""

import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from evaluate.accepted_input import as_labels
from evaluate.blocks import Block, blocks

__all__ = [
    "LARGEST",
    "LARGEST_N_PHASES",
    "SMALLEST",
    "Nearest",
    "PassedOver",
    "Symmetry",
    "as_volumes",
    "cut",
    "draw_places",
    "mirrored_and_turned",
    "nearest_windows",
]

Symmetry = Literal["cubic", "transverse", "flips", "none"]
PassedOver = Literal["nothing", "place", "volume"]
Described = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
# Order of the axes, which of them are mirrored afterwards.
Turn = tuple[tuple[int, int, int], tuple[bool, bool, bool]]
SYMMETRIES = ("cubic", "transverse", "flips", "none")
LARGEST_N_PHASES = 16
SMALLEST, LARGEST = 8, 240
# Translations along each edge of a part that is searched at once: some 100 MiB.
PART = 128
WORD = 32


class Nearest(NamedTuple):
    """The nearest window of each patch.

    Attributes
    ----------
    differing : ndarray of int64, shape (n,)
        Voxels in which it differs.
    volume : ndarray of int64, shape (n,)
        Which of the volumes holds it.
    place : ndarray of int64, shape (n, 3)
        Its first voxel (z, y, x).
    turn : ndarray of int64, shape (n,)
        Which of `mirrored_and_turned` makes the patch look like it.
    """

    differing: np.ndarray
    volume: np.ndarray
    place: np.ndarray
    turn: np.ndarray


def mirrored_and_turned(symmetry: Symmetry) -> list[Turn]:
    """List the symmetries of a material: 48, 16, 8 or 1, the identity first.

    A patch is turned by ``np.flip(patch.transpose(axes), [a for a in range(3) if mirrored[a]])``.

    Raises
    ------
    ValueError
        `symmetry` is unknown.
    """
    if symmetry not in SYMMETRIES:
        raise ValueError(f"symmetry is {symmetry!r}; it must be one of {', '.join(map(repr, SYMMETRIES))}")
    orders: list[tuple[int, int, int]] = {
        "cubic": list(itertools.permutations((0, 1, 2))),
        "transverse": [(0, 1, 2), (0, 2, 1)],
    }.get(symmetry, [(0, 1, 2)])  # type: ignore[assignment]
    mirrors = list(itertools.product((False, True), repeat=3)) if symmetry != "none" else [(False, False, False)]
    return [(axes, flips) for axes in orders for flips in mirrors]  # type: ignore[misc]


def as_volumes(values: Any, name: str, *, size: int = 1) -> list[np.ndarray]:
    """Return one volume, several, or an array (count, Z, Y, X) as a list of ``uint8`` volumes.

    Raises
    ------
    ValueError
        Not labels in three dimensions, none at all, smaller than `size` along an axis, or a label above 15.
    """
    if isinstance(values, np.ndarray) and values.dtype != object and values.ndim == 4:
        values = list(values)
    several = list(values) if isinstance(values, list | tuple) and _holds_volumes(values) else [values]
    found = []
    for number, value in enumerate(several):
        what = name if len(several) == 1 else f"{name}[{number}]"
        labels = as_labels(value, what, ndim=(3,))
        if min(labels.shape) < size:
            raise ValueError(
                f"{what} has shape {labels.shape}; patches of {size} voxels do not fit: "
                "give a larger volume or lower the size"
            )
        if labels.dtype != bool and labels.max() >= LARGEST_N_PHASES:
            raise ValueError(
                f"{what} holds values up to {labels.max()}; at most {LARGEST_N_PHASES} phases are compared, "
                "labelled from 0: is it a grey volume?"
            )
        found.append(np.ascontiguousarray(labels, dtype=np.uint8))
    if not found:
        raise ValueError(f"{name} holds no volume; give at least one array of labels (Z, Y, X)")
    return found


def _holds_volumes(values: Sequence[Any]) -> bool:
    return all(np.ndim(value) == 3 for value in values)


def draw_places(volumes: Sequence[np.ndarray], count: int, size: int, *, rng: np.random.Generator) -> np.ndarray:
    """Draw patches, each place of each volume as likely as the others, shape (count, 4): volume, z, y, x."""
    free = np.array([[n - size + 1 for n in volume.shape] for volume in volumes], np.int64)
    share = free.prod(axis=1) / free.prod(axis=1).sum()
    which = rng.choice(len(volumes), count, p=share)
    return np.column_stack([which, rng.integers(0, free[which])])


def cut(volumes: Sequence[np.ndarray], place: np.ndarray, size: int) -> np.ndarray:
    """Return the patch of `size` at (volume, z, y, x)."""
    which, *corner = (int(number) for number in place)
    return volumes[which][tuple(slice(a, a + size) for a in corner)]


def nearest_windows(
    patches: Sequence[np.ndarray],
    volumes: Sequence[np.ndarray],
    *,
    symmetry: Symmetry,
    origin: np.ndarray | None = None,
    passed_over: PassedOver = "nothing",
) -> Nearest:
    r"""Find, for each patch, the window of the volumes that differs from it in the fewest voxels.

    Parameters
    ----------
    patches : sequence of ndarray of uint8, shape (size, size, size)
        All of one size, 8 to 240.
    volumes : sequence of ndarray of uint8
        Where to look: every translation by whole voxels that keeps the window inside.
    symmetry : {"cubic", "transverse", "flips", "none"}
        Each patch is turned and mirrored in so many ways.
    origin : ndarray of int, shape (n, 4), optional
        Where in `volumes` each patch was cut (volume, z, y, x); not needed if nothing is passed over.
    passed_over : {"nothing", "place", "volume"}
        Windows that are not looked at: none, those that share a voxel with a patch's origin, or its whole volume.

    Returns
    -------
    Nearest
        Exact; of windows equally near the first that the search met, which does not depend on the threads.

    Raises
    ------
    ValueError
        If a patch has no window left.

    Notes
    -----
    Branch and bound. Patch and window are cut into 27 to 125 cubes. Two cubes whose labels occur :math:`c_k` and
    :math:`d_k` times differ in at least :math:`\tfrac12 \sum_k |c_k - d_k|` voxels, and the sum over the cubes
    is a bound for the whole. It is found first for 2 × 2 × 2 translations at once, from the least and the largest
    count among them, then for each translation left. What is still below the best distance so far is counted voxel by
    voxel, 32 to a machine word.
    """
    size = patches[0].shape[0]
    turns = mirrored_and_turned(symmetry)
    n_phases = 1 + max(1, *(int(volume.max()) for volume in [*patches, *volumes]))
    described = _describe_patches(patches, turns, n_phases)
    best = np.full((len(patches), 5), size**3 + 1, np.int64)
    where = np.zeros(len(patches), np.int64)
    for number, volume in enumerate(volumes):
        barred = np.zeros((len(patches), 3, 2), np.int64)
        if origin is not None and passed_over != "nothing":
            barred = _barred(origin, number, volume.shape, size=size, whole=passed_over == "volume")
        before = best[:, 0].copy()
        _search_volume(volume, described, barred, size=size, n_phases=n_phases, best=best)
        where[best[:, 0] < before] = number
    if np.any(best[:, 0] > size**3):
        raise ValueError(
            f"every window of {size} voxels overlaps the patch's own place; "
            "give larger volumes or more of them, or lower the size"
        )
    return Nearest(best[:, 0], where, best[:, 1:4], best[:, 4])


def _barred(origin: np.ndarray, number: int, shape: tuple[int, ...], *, size: int, whole: bool) -> np.ndarray:
    """Return the translations of volume `number` that are passed over, from and to for each patch and axis."""
    mine = origin[:, 0] == number
    low = np.where(whole, 0, origin[:, 1:] - size + 1)
    high = np.where(whole, np.array(shape), origin[:, 1:] + size)
    return np.where(mine[:, None, None], np.stack([low, high], axis=2), 0)


def _search_volume(
    volume: np.ndarray, described: tuple[np.ndarray, np.ndarray], barred: np.ndarray, *, size: int, n_phases: int,
    best: np.ndarray,
) -> None:  # fmt: skip
    from evaluate.likeness.window_search import search

    edge, words = _edge_of_cubes(size), -(-size // WORD)
    cubes = edge * np.array(list(np.ndindex((size // edge,) * 3)))
    bits = [min(size - WORD * word, WORD) for word in range(words)]
    masks = np.array([(1 << n) - 1 for n in bits], np.uint32)
    for block in blocks([n - size + 1 for n in volume.shape], edge=PART):
        start = np.array([part.start for part in block.core])
        extent = tuple(part.stop - part.start for part in block.core)
        labels = volume[_windows_of(block, size)]
        found = best.copy()
        search(
            _describe_block(labels, n_phases, edge=edge, words=words), described, masks,
            barred - start[:, None], extent, cubes, found,
        )  # fmt: skip
        nearer = found[:, 0] < best[:, 0]
        found[:, 1:4] += start
        best[nearer] = found[nearer]


def _edge_of_cubes(size: int) -> int:
    """Return the even edge of the cubes, 3 to 5 of them to a patch, that are counted."""
    return 2 * ((size + 3) // 8)


def _windows_of(block: Block, size: int) -> tuple[slice, ...]:
    return tuple(slice(part.start, part.stop + size - 1) for part in block.core)


def _describe_block(labels: np.ndarray, n_phases: int, *, edge: int, words: int) -> Described:
    """Return counts in every cube of `edge`, their extremes in cells of 2³ translations, and the words of bits."""
    # Of two labels the counts of one say all.
    counted = range(1, n_phases) if n_phases == 2 else range(n_phases)
    counts = np.stack([_in_cubes(labels == label, edge) for label in counted])
    low, high = _of_cells(counts, np.minimum), _of_cells(counts, np.maximum)
    padded = np.pad(labels.transpose(0, 2, 1), [(0, 0), (0, WORD * words), (0, 0)])
    planes = range((n_phases - 1).bit_length())
    bits = np.stack([_words(padded >> plane & 1, axis=1) for plane in planes])
    return low, high, counts, bits


def _in_cubes(mask: np.ndarray, edge: int) -> np.ndarray:
    """Count the voxels in the cube of `edge` that begins at each voxel."""
    sums = mask.astype(np.int32)
    for axis in range(3):
        sums = np.cumsum(np.insert(sums, 0, 0, axis=axis), axis=axis, dtype=np.int32)
        ahead = sums[(slice(None),) * axis + (slice(edge, None),)]
        sums = ahead - sums[(slice(None),) * axis + (slice(None, -edge),)]
    return sums


def _of_cells(counts: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """Least or largest count among each 2 × 2 × 2 voxels."""
    odd = [(0, 0)] + [(0, n % 2) for n in counts.shape[1:]]
    found = np.pad(counts, odd, mode="edge")
    for axis in (1, 2, 3):
        before = (slice(None),) * axis
        found = extreme(found[(*before, slice(0, None, 2))], found[(*before, slice(1, None, 2))])
    return np.ascontiguousarray(found)


def _words(bits: np.ndarray, *, axis: int) -> np.ndarray:
    """Return the 32 bits that begin at each voxel along `axis`, the first in the lowest place; zero beyond the end."""
    found = bits.astype(np.uint32)
    for step in (1, 2, 4, 8, 16):
        ahead, back = ((slice(None),) * axis + (part,) for part in (slice(step, None), slice(None, -step)))
        found[back] = found[back] | found[ahead] << np.uint32(step)
    return found


def _describe_patches(
    patches: Sequence[np.ndarray], turns: Sequence[Turn], n_phases: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return counts and words of every copy of every patch, as `window_search.search` takes them."""
    counts, words = [], []
    for patch, (axes, mirrored) in itertools.product(patches, turns):
        turned = np.flip(patch.transpose(axes), [a for a in range(3) if mirrored[a]])
        counts.append(_counts_of_patch(turned, n_phases))
        words.append(_words_of_patch(turned, n_phases))
    lead = (len(patches), len(turns))
    return (
        np.stack(counts).reshape(*lead, *counts[0].shape).astype(np.int32),
        np.stack(words).reshape(*lead, *words[0].shape),
    )


def _counts_of_patch(patch: np.ndarray, n_phases: int) -> np.ndarray:
    """How often each label occurs in each of the cubes, shape (K, cubes)."""
    edge = _edge_of_cubes(patch.shape[0])
    many = patch.shape[0] // edge
    inner = patch[(slice(0, many * edge),) * 3].reshape((many, edge) * 3)
    counted = range(1, n_phases) if n_phases == 2 else range(n_phases)
    return np.stack([(inner == label).sum(axis=(1, 3, 5)).ravel() for label in counted])


def _words_of_patch(patch: np.ndarray, n_phases: int) -> np.ndarray:
    """Bits of the labels, 32 voxels along x to a word, shape (planes, words, z, y)."""
    size = patch.shape[0]
    padded = np.pad(patch, [(0, 0), (0, 0), (0, -size % WORD)])
    planes = range((n_phases - 1).bit_length())
    return np.stack([_words(padded >> plane & 1, axis=2)[:, :, ::WORD].transpose(2, 0, 1) for plane in planes])
