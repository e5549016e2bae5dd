"""What every generator returns: labels, the names of the phases, what is known exactly, and how to make it again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np

__all__ = ["Structure", "check_shape", "with_fractions"]


@dataclass(frozen=True, eq=False)
class Structure:
    """A synthetic volume whose truth is known.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        0 is pore; 1, 2, … are the other phases.
    phases : tuple of str
        Name of each label, beginning with the pore.
    truth : mapping
        What is known exactly, e.g. ``porosity`` and ``fractions``.
    recipe : mapping
        Generator name and arguments; with the same random state it makes the same bytes again.
    """

    labels: np.ndarray
    phases: tuple[str, ...]
    truth: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        labels = self.labels if dtype is None else self.labels.astype(dtype, copy=False)
        return labels.copy() if copy else labels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along z, y and x."""
        z, y, x = self.labels.shape
        return z, y, x


def check_shape(shape: Any) -> tuple[int, int, int]:
    """Return `shape` as three positive whole numbers or raise ``ValueError``."""
    sizes = tuple(np.atleast_1d(np.asarray(shape)).tolist())
    if len(sizes) != 3 or any(not isinstance(n, int) or n < 1 for n in sizes):
        raise ValueError(f"shape is {shape!r}; give three positive whole numbers (z, y, x)")
    z, y, x = sizes
    return z, y, x


def with_fractions(
    labels: np.ndarray, phases: tuple[str, ...], *, recipe: Mapping[str, Any], truth: Mapping[str, Any] | None = None
) -> Structure:
    """Return the structure of `labels`; its truth begins with the porosity and the fractions, counted."""
    counts = _count_labels(labels.reshape(-1))[: len(phases)]
    fractions = (counts / labels.size).tolist()
    return Structure(labels, phases, {"porosity": fractions[0], "fractions": fractions, **(truth or {})}, recipe)


@numba.njit(cache=True, nogil=True)
def _count_labels(labels: Any) -> Any:
    # Two tables take turns: a run of one label would wait for its own counter at each voxel.
    odd, even = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for i in range(0, labels.size - 1, 2):
        even[labels[i]] += 1
        odd[labels[i + 1]] += 1
    if labels.size % 2:
        even[labels[labels.size - 1]] += 1
    return even + odd
