"""Laws of the radii of balls, as they are, and as a box sees them that balls may reach into from outside."""

import functools
import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from scipy import integrate
from scipy.stats.distributions import rv_frozen

from synth.size_laws import distribution_mapping, frozen_distribution

__all__ = ["DistributionRadii", "LognormalRadii", "RadiusLaw", "radius_law"]

# Cells of probability in which the weight of a radius counts as constant.
CELLS = 2**14
# A law of diameters may have this much of its probability below 0, which is then cut off.
LARGEST_CUT = 0.01
UNSURE = "give a law of positive diameters, at most 1 % of it below 0, with a finite mean volume"


class RadiusLaw(Protocol):
    """Radii of balls, in voxels."""

    median: float

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw radii."""

    def draw_near_box(self, count: int, sides: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw radii of balls that reach into a box.

        A ball of radius r does (up to the box's rounded corners) if its centre lies in the box grown by r, so large
        ones do more often: the law is weighted by (Lz + 2r)(Ly + 2r)(Lx + 2r).
        """

    def moment(self, order: int) -> float:
        """Return E[r^order]."""

    def describe(self) -> dict[str, Any]:
        """Return the law as plain text of the arguments ``diameter_vox`` and ``sigma``."""


def radius_law(diameter: Any, sigma: float) -> RadiusLaw:
    """Return the law of the radii: lognormal if `diameter` is a number, its median, otherwise the law that it is.

    Parameters
    ----------
    diameter : float, frozen scipy.stats distribution or mapping
        In voxels; a mapping as `synth.size_laws.frozen_distribution` takes it.
    sigma : float
        Log-standard deviation, used with a number only.

    Raises
    ------
    ValueError
        If the diameters are not positive, or their mean volume is not finite.
    """
    if isinstance(diameter, Mapping | rv_frozen):
        return DistributionRadii(frozen_distribution(diameter))
    if not 0 <= sigma <= 1:
        raise ValueError(f"sigma is {sigma!r}; give the standard deviation of the log diameters, 0 to 1")
    if not 0 < diameter < np.inf:
        raise ValueError(f"diameter_vox is {diameter!r}; give a number above 0, or a distribution")
    return LognormalRadii(diameter / 2, sigma)


def reach_moments(law: RadiusLaw, sides: np.ndarray) -> np.ndarray:
    """Return the four terms, in powers of r, of the mean volume of a box grown by a ball's radius on all sides."""
    return np.abs(np.poly(-sides))[::-1] * 2.0 ** np.arange(4) * [law.moment(k) for k in range(4)]


class LognormalRadii:
    """Lognormal radii; equal ones if `sigma` is 0."""

    def __init__(self, median: float, sigma: float) -> None:
        self.median, self.sigma = median, sigma

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw radii."""
        return self._exponentials(np.zeros(count, int), rng)

    def draw_near_box(self, count: int, sides: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw radii of balls that reach into a box."""
        # A lognormal times r^k is a lognormal with mu + k sigma², hence the weighted law is a mixture of four.
        weights = reach_moments(self, sides)
        return self._exponentials(rng.choice(4, size=count, p=weights / weights.sum()), rng)

    def _exponentials(self, power: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.exp(np.log(self.median) + power * self.sigma**2 + self.sigma * rng.standard_normal(len(power)))

    def moment(self, order: int) -> float:
        """Return E[r^order]."""
        return float(np.exp(order * np.log(self.median) + 0.5 * (order * self.sigma) ** 2))

    def describe(self) -> dict[str, Any]:
        """Return the law as plain text."""
        return {"diameter_vox": 2 * self.median, "sigma": self.sigma}


class DistributionRadii:
    """Half the values of a frozen scipy.stats distribution, cut off at 0."""

    def __init__(self, diameters: Any) -> None:
        self.diameters = diameters
        self.cut = float(diameters.cdf(0.0))
        if not self.cut <= LARGEST_CUT:
            raise ValueError(f"diameter_vox is '{diameters.dist.name}', {self.cut:.0%} of it not above 0; {UNSURE}")
        # The integral of a heavy tail comes out infinite, negative or not at all.
        if not 0 < self.moment(3) < np.inf:
            raise ValueError(f"diameter_vox is '{diameters.dist.name}' with an infinite mean volume; {UNSURE}")
        self.median = float(self._radii(np.array(0.5)))

    def _radii(self, probability: np.ndarray) -> np.ndarray:
        return self.diameters.ppf(self.cut + (1 - self.cut) * probability) / 2

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw radii."""
        return self._radii(rng.random(count))

    def draw_near_box(self, count: int, sides: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw radii of balls that reach into a box."""
        radii = self._middles
        weights = np.prod(sides + 2 * radii[:, None], axis=1)
        cells = rng.choice(CELLS, size=count, p=weights / weights.sum())
        return self._radii((cells + rng.random(count)) / CELLS)

    @functools.cached_property
    def _middles(self) -> np.ndarray:
        return self._radii((np.arange(CELLS) + 0.5) / CELLS)

    @functools.cache  # noqa: B019
    def moment(self, order: int) -> float:
        """Return E[r^order]."""
        if order == 0:
            return 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("error", integrate.IntegrationWarning)
            try:
                return float(self.diameters.expect(lambda d: (d / 2) ** order, lb=0, conditional=True))
            except integrate.IntegrationWarning:
                return np.inf

    def describe(self) -> dict[str, Any]:
        """Return the law as plain text."""
        return {"diameter_vox": distribution_mapping(self.diameters)}
