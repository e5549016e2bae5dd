"""What may be asked of a model that makes volumes, checked the same way for every kind of model."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from generative.decoding import phase_counts

__all__ = ["Request", "check_request", "is_whole", "sample_seed"]

# Counts of voxels, bytes and windows then stay whole numbers of 64 bits.
MOST_VOXELS = 2**48


@dataclass(frozen=True)
class Request:
    """Volumes that are asked for; made by `check_request`.

    Attributes
    ----------
    shape : tuple of three ints
        ``(z, y, x)`` in voxels.
    count : int
        How many.
    seed, first : int
        Volume i = `first`, …, `first` + `count` − 1 depends on `seed` and i alone.
    fractions : tuple of float, optional
        Volume fraction of each phase.
    periodic : bool
        Whether opposite faces fit together.
    """

    shape: tuple[int, int, int]
    count: int
    seed: int
    first: int
    fractions: tuple[float, ...] | None
    periodic: bool


def check_request(
    shape: Sequence[int] | None,
    *,
    default: tuple[int, int, int] | None,
    n_phases: int,
    count: int = 1,
    seed: int = 0,
    first: int = 0,
    fractions: Sequence[float] | None = None,
    periodic: bool = False,
) -> Request:
    """Check what is asked for.

    Parameters
    ----------
    shape : three ints, optional
        ``(z, y, x)`` in voxels; `default` unless given.
    default : three ints, optional
        The shape that the model was trained on.
    n_phases : int
        Phases of the model.
    count, seed, first, fractions, periodic
        See `Request`.

    Raises
    ------
    ValueError
        If a value is not a whole number, is out of its range, or the fractions do not fit the phases.
    """
    whole = {"count": (count, 1), "seed": (seed, 0), "first": (first, 0)}
    for name, (value, least) in whole.items():
        if not is_whole(value) or value < least:
            raise ValueError(f"{name} is {value!r}; give a whole number of at least {least}")
    lengths = default if shape is None else shape
    wanted = tuple(lengths) if isinstance(lengths, Sequence | np.ndarray) and not isinstance(lengths, str) else ()
    if len(wanted) != 3 or not all(is_whole(n) and n >= 1 for n in wanted):
        raise ValueError(f"shape is {lengths!r}; give three whole lengths (z, y, x) of at least 1 voxel")
    z, y, x = (int(n) for n in wanted)
    if prod((z, y, x)) > MOST_VOXELS:
        raise ValueError(f"shape is {(z, y, x)}; give at most 2⁴⁸ voxels in all")
    if fractions is not None:
        phase_counts(fractions, n_phases=n_phases, voxels=z * y * x)
        fractions = tuple(float(f) for f in fractions)
    return Request((z, y, x), int(count), int(seed), int(first), fractions, bool(periodic))


def sample_seed(seed: int, index: int, *stream: int) -> int:
    """Return the 64-bit seed of volume `index`, or of one `stream` of random numbers within it."""
    return int(np.random.SeedSequence(seed, spawn_key=(index, *stream)).generate_state(1, np.uint64)[0])


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number, which True is not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_)
