"""Where predictions disagree: over mirror images of the picture, or over an ensemble."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from segment.trust.slabs import LEAST_PROBABILITY, check_probability

__all__ = ["Spread", "flip_spread", "spread_of"]


@dataclasses.dataclass(frozen=True, eq=False)
class Spread:
    """Several predictions of one volume, summed up.

    Attributes
    ----------
    probability : ndarray of float32, shape (n, Z, Y, X)
        Mean over the predictions.
    pore_deviation : ndarray of float32, shape (Z, Y, X)
        Standard deviation of the pore's (phase 0) probability over the predictions, divided by their number (not by
        one less): of two predictions it is half their difference; from 0 to 0.5.
    entropy : ndarray of float32, shape (Z, Y, X)
        Of the mean probability in nats, from 0 to ln n: doubt of any kind.
    mutual_information : ndarray of float32, shape (Z, Y, X)
        That entropy less the mean of the predictions' own, in nats, at least 0: the part of the doubt in which the
        predictions contradict each other, as opposed to a blurred border on which they all agree.
    """

    probability: np.ndarray
    pore_deviation: np.ndarray
    entropy: np.ndarray
    mutual_information: np.ndarray


def flip_spread(predict: Callable[[np.ndarray], Any], grey: Any, *, flips: Sequence[str] = ("", "x")) -> Spread:
    """Segment mirror images of a picture, mirror the answers back, and see where they differ.

    Parameters
    ----------
    predict : callable
        From grey values ``(Z, Y, X)`` to probabilities ``(n, Z, Y, X)``.
    grey : array-like, shape (Z, Y, X)
        Grey values. One slab is as good as the whole volume where `predict` looks at it slice by slice, or where the
        slab has margins that are cut off afterwards: nothing is turned along z.
    flips : sequence of str
        Each names one image: of the letters ``x`` and ``y`` (mirrored along that axis) and ``t`` (y and x exchanged,
        after any mirroring); ``""`` is the picture itself.

        Only what leaves the laws of the image's formation alone tells doubt from mistreatment. In a FIB-SEM the
        view is tilted in the y-z plane and curtains run along +y, so that x alone may be mirrored: the default.
        An electron image of an untilted face without curtains allows y too, and slices of an X-ray tomogram all of
        ``("", "x", "y", "xy", "t", "xt", "yt", "xyt")``. z is never mirrored: at larger z lies what shines through.

    Returns
    -------
    Spread
        Zero deviation wherever `predict` treats the images alike. Held in memory: n + 5 values a voxel.

    Raises
    ------
    ValueError
        For unknown or repeated flips, for a picture that is not finite or has not three axes, and for an answer of
        another shape than its picture.
    """
    array = _check_picture(grey)
    names = _check_flips(flips)

    def answers() -> Iterable[np.ndarray]:
        for name in names:
            turned = np.ascontiguousarray(_turn(array, name))
            answer = check_probability(predict(turned))
            if answer.shape[1:] != turned.shape:
                raise ValueError(
                    f"predict made {answer.shape} of a picture {turned.shape}; it must return (phase, z, y, x)"
                )
            yield _turn_back(answer, name)

    return spread_of(answers())


def spread_of(probabilities: Iterable[Any]) -> Spread:
    """Sum up several predictions of one volume or slab: an ensemble's, or of flipped images.

    Parameters
    ----------
    probabilities : iterable of array-like, shape (n, Z, Y, X)
        Probabilities, one after the other (a generator keeps only one in memory).

    Returns
    -------
    Spread

    Raises
    ------
    ValueError
        Without any, and where shapes differ.

    References
    ----------
    Houlsby, Huszár, Ghahramani, Lengyel, "Bayesian active learning for classification and preference learning",
    arXiv:1112.5745 (mutual information); Wang et al., Neurocomputing 338 (2019) 34 (test-time flips).
    """
    count = 0
    for member in probabilities:
        p = check_probability(member).astype(np.float32, copy=False)
        if count == 0:
            first = p[0].copy()
            total, shift, squares, own = (np.zeros(s, np.float32) for s in (p.shape, *(p.shape[1:],) * 3))
        elif p.shape != total.shape:
            raise ValueError(f"predictions have shapes {total.shape} and {p.shape}; give predictions of one volume")
        count += 1
        total += p
        # Off the first prediction the sums lose nothing where predictions agree: exactly 0 stays 0.
        away = p[0] - first
        shift += away
        squares += away**2
        own += _entropy(p)
    if count == 0:
        raise ValueError("there is no prediction; give at least one")
    total /= count
    variance = squares / count - (shift / count) ** 2
    entropy = _entropy(total)
    shared = np.maximum(entropy - own / count, 0)
    return Spread(total, np.sqrt(np.maximum(variance, 0)), entropy, shared)


def _entropy(p: np.ndarray) -> np.ndarray:
    entropy = np.zeros(p.shape[1:], np.float32)
    for channel in p:
        entropy -= channel * np.log(np.maximum(channel, np.float32(LEAST_PROBABILITY)))
    return np.maximum(entropy, 0)


def _check_picture(grey: Any) -> np.ndarray:
    # A slab may be constant where its volume is not, so less is asked than of a volume.
    array = np.asarray(grey)
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "uif":
        raise ValueError(f"grey values are {array.dtype} of shape {array.shape}; give numbers (z, y, x)")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = np.count_nonzero(~np.isfinite(array))
        raise ValueError(f"{bad} grey values are NaN or infinite; mend or crop the volume first")
    return array


def _check_flips(flips: Sequence[str]) -> list[str]:
    names = [flips] if isinstance(flips, str) else list(flips)
    if not names:
        raise ValueError("flips is empty; give at least one, '' for the picture itself")
    for name in names:
        if not isinstance(name, str) or len(set(name)) != len(name) or set(name) - set("xyt"):
            raise ValueError(f"flip {name!r} is not known; combine the letters 'x', 'y' and 't', or give '' for none")
    if len({frozenset(name) for name in names}) < len(names):
        raise ValueError(f"flips {names} name an image twice; give each once")
    return names


def _turn(array: np.ndarray, name: str) -> np.ndarray:
    mirrored = _mirror(array, name)
    return mirrored.swapaxes(-1, -2) if "t" in name else mirrored


def _turn_back(array: np.ndarray, name: str) -> np.ndarray:
    return _mirror(array.swapaxes(-1, -2) if "t" in name else array, name)


def _mirror(array: np.ndarray, name: str) -> np.ndarray:
    axes = [axis for axis, letter in ((-2, "y"), (-1, "x")) if letter in name]
    return np.flip(array, axes) if axes else array
