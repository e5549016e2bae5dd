"""Whether a picture is like those that a segmenter was trained on."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segment.trust.image_statistics import FEATURES, ImageStatistics

__all__ = ["Domain", "Judgement"]

FEWEST, MOST = 19, 1000
LEVEL = 0.05
FAR = 3.0
# Standard deviations between the 5th and the 95th percentile of a Gaussian.
SPAN = 3.29
# Spread of ln(value), or of a level, that is not worth a warning where the training images differ less.
LEAST_SPREAD = 0.05


@dataclasses.dataclass(frozen=True)
class Judgement:
    """How far a picture is from those of a domain.

    Attributes
    ----------
    distance : float
        Mahalanobis distance from the middle of the domain.
    p_value : float
        Fraction of the domain's own pictures, and of this one, that are as far or further from the others. Of pictures
        drawn like the domain's, at most a fraction p has a p-value of p or less.
    level : float
        At and below which a picture counts as outside.
    furthest : tuple of str
        What is more than three standard deviations from the middle, the furthest first, in words; for a picture that
        is outside by a combination of numbers, which ones.
    """

    distance: float
    p_value: float
    level: float
    furthest: tuple[str, ...]

    @property
    def inside(self) -> bool:
        """Whether the picture may be one of the domain's."""
        return self.p_value > self.level


@dataclasses.dataclass(frozen=True)
class Domain:
    """Pictures that a segmenter knows.

    Attributes
    ----------
    images : tuple of ImageStatistics
        Of 19 to 1000 pictures, one each.

    Notes
    -----
    A picture is compared by `ImageStatistics.vector`. Middle: the median. Spread: the distance of the 5th to the 95th
    percentile, so that one picture in twenty may be spoilt. Covariance: of deviations in that spread, cut off at three,
    and shrunk towards a multiple of the unit matrix as Ledoit and Wolf derive it. The p-value is that of full
    conformal prediction: among the domain's pictures and the new one, each one's distance from all others.

    References
    ----------
    Ledoit, Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate Analysis 88
    (2004) 365; Vovk, Gammerman, Shafer, *Algorithmic Learning in a Random World*, Springer (2005), chapter 2.
    """

    images: tuple[ImageStatistics, ...]

    @classmethod
    def fit(cls, images: Sequence[ImageStatistics]) -> "Domain":
        """Make the domain of some pictures.

        Parameters
        ----------
        images : sequence of ImageStatistics
            19 to 1000 of `image_statistics`, best of all materials and instruments of the training.

        Returns
        -------
        Domain

        Raises
        ------
        ValueError
            For fewer (no p-value would reach 0.05) or more (judging would take minutes), or anything else in the list.
        """
        known = tuple(images)
        if not FEWEST <= len(known) <= MOST:
            raise ValueError(
                f"there are {len(known)} images; give {FEWEST} to {MOST}, a random choice if you have more"
            )
        for image in known:
            if not isinstance(image, ImageStatistics):
                raise ValueError(f"images hold a {type(image).__name__}; give what image_statistics returns")
        return cls(known)

    def judge(self, image: ImageStatistics, *, level: float = LEVEL) -> Judgement:
        """Say how far a picture is from the domain.

        Parameters
        ----------
        image : ImageStatistics
            Of the picture.
        level : float
            Fraction of the domain's own kind of pictures that may be called outside, from 1 / (N + 1) for a domain of
            N to below 1.

        Returns
        -------
        Judgement

        Raises
        ------
        ValueError
            If `level` is out of range.
        """
        least = 1 / (len(self.images) + 1)
        if not isinstance(level, int | float | np.number) or not least <= level < 1:
            raise ValueError(f"level is {level!r}; with {len(self.images)} images give {least:.3g} or more, below 1")
        vectors = np.array([known.vector() for known in (*self.images, image)])
        law, own = _Law.of(vectors[:-1]), vectors[-1]
        distance = law.distance(own)
        others = [_Law.of(np.delete(vectors, i, axis=0)).distance(vectors[i]) for i in range(len(self.images))]
        # A copy of a known picture must not be called further away for the last digit.
        as_far = sum(other >= distance * (1 - 1e-12) for other in others)
        p_value = (as_far + 1) / len(vectors)
        return Judgement(distance, p_value, float(level), _furthest(law, image, outside=p_value <= level))

    def as_dict(self) -> dict[str, Any]:
        """Return the domain for JSON."""
        return {"images": [image.as_dict() for image in self.images]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Domain":
        """Return the domain that `as_dict` gave; ``ValueError`` for anything else."""
        if not isinstance(values, Mapping) or not isinstance(values.get("images"), list):
            raise ValueError("this is no domain; give what Domain.as_dict returned")
        return cls.fit([ImageStatistics.from_dict(image) for image in values["images"]])


@dataclasses.dataclass(frozen=True, eq=False)
class _Law:
    """Where pictures lie and how they scatter."""

    middle: np.ndarray
    spread: np.ndarray
    inverse: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> "_Law":
        low, middle, high = np.percentile(vectors, [5, 50, 95], axis=0)
        spread = np.maximum((high - low) / SPAN, LEAST_SPREAD)
        deviations = np.clip((vectors - middle) / spread, -FAR, FAR)
        return cls(middle, spread, np.linalg.inv(_shrunk(deviations)))

    def deviation(self, vector: np.ndarray) -> np.ndarray:
        return (vector - self.middle) / self.spread

    def distance(self, vector: np.ndarray) -> float:
        z = self.deviation(vector)
        return math.sqrt(float(z @ self.inverse @ z))


def _shrunk(deviations: np.ndarray) -> np.ndarray:
    """Return the second moments of rows (N, F), shrunk towards a multiple of the unit matrix."""
    count, size = deviations.shape
    moments = deviations.T @ deviations / count
    scale = float(np.trace(moments)) / size
    target = max(scale, LEAST_SPREAD) * np.eye(size)
    away = float(((moments - target) ** 2).sum())
    # The rows' own scatter about the moments: how little they are known.
    scatter = float((((deviations**2).sum(axis=1)) ** 2).sum() / count - (moments**2).sum()) / count
    share = min(1.0, max(scatter, 0.0) / away) if away > 0 else 1.0
    return (1 - share) * moments + share * target


def _furthest(law: _Law, image: ImageStatistics, *, outside: bool) -> tuple[str, ...]:
    z = law.deviation(image.vector())
    names = list(FEATURES)
    far = [i for i in np.argsort(-np.abs(z)).tolist() if abs(z[i]) > FAR]
    if far or not outside:
        return tuple(_in_words(names[i], getattr(image, names[i]), float(law.middle[i])) for i in far)
    share = z * (law.inverse @ z)
    first, second = (FEATURES[names[i]].words for i in np.argsort(-share)[:2])
    return (f"no single number, but an unusual combination, above all of {first} and {second}",)


def _in_words(name: str, value: float, middle: float) -> str:
    feature = FEATURES[name]
    unit = " px" if name.endswith("_px") else ""
    if feature.least is None:
        side = "above" if value > middle else "below"
        return f"{feature.words} {abs(value - middle):.2f} {side} that of the training images ({value:.2f})"
    typical = math.exp(middle) - feature.least
    times = (feature.least + value) / math.exp(middle)
    return (
        f"{feature.words} {_times(times)} times that of the training images "
        f"({round(value, 4):.3g}{unit} against {round(max(typical, 0.0), 4):.3g}{unit})"
    )


def _times(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"
