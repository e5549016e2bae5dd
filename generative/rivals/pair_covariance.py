"""How often two voxels at each displacement hold two given phases, measured in a labelled volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluate.morphology.pair_hits import axis_images, padded_sizes, pair_hits, pair_members
from generative.patches import Material

__all__ = ["PairCovariance", "measure_pairs"]

# Displacements up to half the shortest side are measured, and no longer ones than this.
LONGEST_LAG = 64
SHORTEST_SIDE = 16
# A correlation has died away where it stays within this.
DIED_AWAY = 0.02

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairCovariance:
    """Pair probabilities of the phases at the displacements (z, y, x), each from 0 to the largest lag.

    Attributes
    ----------
    fractions : ndarray, shape (n,)
        Volume fraction of each phase.
    covariance : ndarray, shape (n, n, L + 1, L + 1, L + 1)
        Probability that the voxels of a pair hold phases i and j, less what it would be if they were independent;
        mean over the signs of the displacement.
    distance : ndarray, shape (L + 1, L + 1, L + 1)
        Length of each displacement in voxels.
    """

    fractions: Array
    covariance: Array
    distance: Array

    def of_sets(self, first: Sequence[int], second: Sequence[int] | None = None) -> Array:
        """Return the probability that the voxels of a pair lie in two sets of phases (by default twice the first)."""
        i, j = list(first), list(first if second is None else second)
        independent = self.fractions[i].sum() * self.fractions[j].sum()
        total: Array = independent + self.covariance[np.ix_(i, j)].sum(axis=(0, 1))
        return total

    def radial(self) -> "PairCovariance":
        """Return the means over the displacements of length k - 1/2 to k + 1/2, as arrays of shape (L + 1, 1, 1)."""
        rows = [[self._mean(values) for values in row] for row in self.covariance]
        distance = self._mean(self.distance)
        return PairCovariance(self.fractions, np.array(rows)[..., None, None], distance[:, None, None])

    def reach(self) -> int:
        """Return the distance in voxels beyond which no phase knows of itself any more, or the longest measured."""
        own = [self._mean(self.covariance[i, i]) / (f * (1 - f)) for i, f in enumerate(self.fractions)]
        return int(np.flatnonzero((abs(np.array(own)) > DIED_AWAY).any(axis=0))[-1]) + 1

    def error_of(self, s2: Mapping[int, Array]) -> list[float]:
        """Compare a model's S2 of each phase with the measured one.

        Parameters
        ----------
        s2 : mapping of int to ndarray
            For each label S2 at the displacements of `distance`.

        Returns
        -------
        list of float
            For each label the root mean square difference over distances up to `reach`, every distance counting the
            same, in units of φ (1 - φ), which is what S2 falls by from 0 to infinity.
        """
        near, errors = slice(self.reach() + 1), []
        for label in sorted(s2):
            squares = self._mean((s2[label] - self.of_sets([label])) ** 2)[near]
            fraction = self.fractions[label]
            errors.append(float(np.sqrt(squares.mean()) / (fraction * (1 - fraction))))
        return errors

    def _mean(self, values: Array) -> Array:
        bins = np.rint(self.distance).astype(int).ravel()
        length = len(self.distance)
        sums = np.bincount(bins, values.ravel())[:length]
        means: Array = sums / np.bincount(bins)[:length]
        return means


def measure_pairs(material: Material, *, isotropic: bool) -> PairCovariance:
    """Measure the pair probabilities of all phases, as in `evaluate.two_point` with free borders.

    Parameters
    ----------
    material : Material
        Labels ``(Z, Y, X)``.
    isotropic : bool
        Replace each value by the mean over all displacements of exactly the same length. Wider bins would do at
        large distances; the surface and the Euler density, however, hang on the first three lengths, 1, √2 and √3.

    Raises
    ------
    ValueError
        If a side is shorter than 16 voxels.

    Notes
    -----
    The pairs inside the window are compared with the phases' fractions among just these pairs, so that what is in
    the middle of the window by chance does not count as correlation. The covariances of all phases with one add up
    to 0; hence the last phase need not be measured.
    """
    labels, n_phases = material.labels, len(material.phases)
    if min(labels.shape) < SHORTEST_SIDE:
        raise ValueError(
            f"the volume has {'x'.join(map(str, labels.shape))} voxels, too few for a correlation; give a volume of at "
            f"least {SHORTEST_SIDE} voxels along every axis"
        )
    lag = min(LONGEST_LAG, min(labels.shape) // 2)
    lags = (lag, lag, lag)
    sizes = padded_sizes(labels.shape, lags)
    weights = [images * (n - np.arange(lag + 1.0)) for images, n in zip(axis_images(lags), labels.shape, strict=True)]
    pairs = weights[0][:, None, None] * weights[1][:, None] * weights[2]
    squares = np.arange(lag + 1) ** 2
    length = squares[:, None, None] + squares[:, None] + squares
    masks = [labels == label for label in range(n_phases - 1)]
    members = [pair_members(mask, lags=lags, shape=labels.shape) / pairs for mask in masks]
    covariance = np.zeros((n_phases, n_phases, *pairs.shape))
    for i in range(n_phases - 1):
        for j in range(i + 1):
            hits = pair_hits(masks[i], None if i == j else masks[j], lags=lags, sizes=sizes)
            values = hits / pairs - members[i] * members[j]
            covariance[i, j] = covariance[j, i] = _shells(values, pairs, length) if isotropic else values
    last = n_phases - 1
    covariance[last, :last] = covariance[:last, last] = -covariance[:last, :last].sum(axis=0)
    covariance[last, last] = -covariance[:last, last].sum(axis=0)
    return PairCovariance(np.array(material.fractions()), covariance, np.sqrt(length))


def _shells(values: Array, pairs: Array, length: NDArray[np.int64]) -> Array:
    """Return at each displacement the mean over all of its length, by the number of pairs."""
    number = np.bincount(length.ravel(), pairs.ravel())
    sums = np.bincount(length.ravel(), (values * pairs).ravel())
    return (sums / np.maximum(number, 1))[length]
