"""What the artefacts of a stack share: checked arguments, a random stream for each slice, slow random variation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from synth.laws import Choice, Sometimes, has_laws

__all__ = [
    "SlowField", "check_artefact", "correlate_along_z", "draw_seed", "outcomes", "slice_stream", "slow_field",
    "slow_series",
]  # fmt: skip

# Full width at half height of a Gaussian of standard deviation 1.
FULL_WIDTH = math.sqrt(8 * math.log(2))
REACH = 3.5  # of the weights, in standard deviations; beyond, they are below 0.3 % of the largest


def check_artefact(grey: Any, labels: Any, settings: Any, kind: type) -> tuple[np.ndarray, np.ndarray]:
    """Return grey values and labels that an artefact can work on, or refuse them.

    Parameters
    ----------
    grey : ndarray of float32, shape (Z, Y, X)
    labels : ndarray of uint8, same shape
    settings : instance of `kind`
        Without laws.
    kind : type

    Returns
    -------
    grey, labels : ndarray
        The same, contiguous.

    Raises
    ------
    ValueError
        If a shape, a type or a grey value does not fit, or a law has not been drawn.
    """
    if not isinstance(settings, kind):
        raise ValueError(f"settings are {settings!r}; give an instance of {kind.__name__}")
    if has_laws(settings):
        raise ValueError(f"these {kind.__name__} hold laws; give settings that have been drawn")
    values = np.asarray(grey)
    if values.ndim != 3 or values.size == 0 or values.dtype != np.float32:
        raise ValueError(f"grey is {values.dtype} of shape {values.shape}; give float32 of shape (Z, Y, X)")
    if not np.isfinite(values).all():
        raise ValueError("grey holds nan or infinity; give finite grey values")
    phases = np.asarray(labels)
    if phases.shape != values.shape or phases.dtype != np.uint8:
        raise ValueError(
            f"labels are {phases.dtype} of shape {phases.shape}; give uint8 of the shape of grey, {values.shape}"
        )
    return np.ascontiguousarray(values), np.ascontiguousarray(phases)


def outcomes(value: Any) -> list[Any]:
    """Return what may come of a setting that is one of several things: all options of a choice, or itself."""
    if isinstance(value, Choice):
        return [outcome for option in value.options for outcome in outcomes(option)]
    if isinstance(value, Sometimes):
        return outcomes(value.value) + outcomes(value.otherwise)
    return [value]


def draw_seed(rng: np.random.Generator | int) -> int:
    """Return the one number that an artefact takes from `rng`, whatever its settings."""
    return int(np.random.default_rng(rng).integers(2**63))


def slice_stream(seed: int, z: int) -> np.random.Generator:
    """Return the random numbers of slice `z`, which do not depend on other slices nor on threads."""
    return np.random.default_rng((seed, z))


def correlate_along_z(values: np.ndarray, persistence_slices: float) -> np.ndarray:
    """Correlate independent normal numbers along their first axis, in place, variances kept.

    Parameters
    ----------
    values : ndarray of float, shape (Z, …)
        Independent, of mean 0 and of one variance.
    persistence_slices : float
        Distance at which the correlation, exp(-distance / persistence_slices), is 1/e; 0 leaves them independent.

    Returns
    -------
    ndarray
        `values`.
    """
    kept = math.exp(-1 / persistence_slices) if persistence_slices > 0 else 0.0
    fresh = math.sqrt(1 - kept**2)
    for z in range(1, len(values)):
        values[z] *= fresh
        values[z] += kept * values[z - 1]
    return values


def slow_series(n: int, persistence_slices: float, rng: np.random.Generator) -> np.ndarray:
    """Return `n` normal numbers of mean 0 and variance 1 with correlation exp(-distance / persistence_slices)."""
    return correlate_along_z(rng.standard_normal(n), persistence_slices)


@dataclass(frozen=True)
class SlowField:
    """A random field of mean 0 and variance 1 at each pixel, held as coarse nodes and worked out slice by slice."""

    nodes: np.ndarray  # float32, (Z, rows, columns)
    along_y: tuple[np.ndarray, np.ndarray]  # first node of each pixel, and the weights of the nodes from there on
    along_x: tuple[np.ndarray, np.ndarray]

    def slice(self, z: int) -> np.ndarray:
        """Return slice `z`, float32, shape (Y, X)."""
        return _spread(self.nodes[z], *self.along_y, *self.along_x)


def slow_field(
    shape: Sequence[int], width: tuple[float, float], persistence_slices: float, *, rng: np.random.Generator
) -> SlowField:
    """Draw a smooth normal field.

    Parameters
    ----------
    shape : (int, int, int)
        Slices, rows and columns.
    width : (float, float)
        Full width at half height, along y and x, of the Gaussian bumps that the field is the sum of, in pixels.
        Its correlation is wider by a factor of the square root of 2.
    persistence_slices : float
        Slices after which the correlation along z is 1/e.
    rng : Generator

    Returns
    -------
    SlowField
    """
    along_y, n_rows = _weights(shape[1], width[0] / FULL_WIDTH)
    along_x, n_columns = _weights(shape[2], width[1] / FULL_WIDTH)
    nodes = rng.standard_normal((shape[0], n_rows, n_columns), np.float32)
    return SlowField(correlate_along_z(nodes, persistence_slices), along_y, along_x)


def _weights(n: int, spread: float) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    """Return the first node and the weights of the nodes for `n` pixels, and how many nodes there are."""
    pitch = max(1.0, spread)
    reach = int(np.ceil(REACH * spread / pitch))
    position = np.arange(n) / pitch + reach
    first = np.rint(position).astype(np.int64) - reach
    distance = (first[:, None] + np.arange(2 * reach + 1) - position[:, None]) * pitch
    weights = np.exp(-0.5 * (distance / max(spread, 1e-3)) ** 2)
    # The variance of a pixel is the sum of its squared weights.
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return (first, weights.astype(np.float32)), int(first[-1]) + 2 * reach + 1


@numba.njit(cache=True, nogil=True)
def _spread(nodes: Any, first_y: Any, weights_y: Any, first_x: Any, weights_x: Any) -> Any:
    n_rows, ny, nx = nodes.shape[0], len(first_y), len(first_x)
    wide = np.zeros((n_rows, nx), np.float32)
    for row in range(n_rows):
        for x in range(nx):
            value = np.float32(0)
            for k in range(weights_x.shape[1]):
                value += weights_x[x, k] * nodes[row, first_x[x] + k]
            wide[row, x] = value
    field = np.zeros((ny, nx), np.float32)
    for y in range(ny):
        for k in range(weights_y.shape[1]):
            weight, row = weights_y[y, k], first_y[y] + k
            for x in range(nx):
                field[y, x] += weight * wide[row, x]
    return field
