"""The jury: which of several networks makes the strokes that were held back most likely."""

import copy
import dataclasses
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from segment.finetuning.seen_stack import SeenStack
from segment.losses import IGNORED
from segment.networks import Network
from segment.segmenter import stack_channels
from segment.trust import apply_temperature, fit_temperature

__all__ = ["Candidate", "Jury", "places_of"]

# Where networks are tried: squares of this many pixels with so much around them; for 3-D ones with so much around and
# slices on both sides.
CELL, MARGIN, DEEP_MARGIN = 64, 32, 16
# A square tells a porosity if this share of it is labelled.
DENSE = 0.9
LEAST_PROBABILITY = 1e-30


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """Networks, and what the held-back strokes say of them."""

    first: Network
    refine: Network | None
    step: int | None
    losses: np.ndarray
    temperature: float
    accuracy: tuple[float, ...]
    counts: tuple[int, ...]
    square_errors: tuple[float, ...]

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood of a held-back voxel, to which `losses` of the places add up."""
        return float(self.losses.sum())


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """A square of held-back labels in one slice, and the box around it that networks look at."""

    z: int
    planes: slice
    y: slice
    x: slice
    labels: np.ndarray


class Jury:
    """Chooses among candidates by the strokes that were held back."""

    def __init__(self, stack: SeenStack, places: Sequence[Place], *, keep_first: bool) -> None:
        self.stack, self.places, self.keep_first = stack, places, keep_first
        self.candidates: list[Candidate] = []

    @property
    def first(self) -> Candidate:
        """The one that others are measured by."""
        return self.candidates[0]

    @property
    def best(self) -> Candidate:
        """The last of those that are as likely as the likeliest, within a standard error, and not below the first."""
        likeliest = min(self.candidates, key=lambda one: one.loss)
        good = [one for one in self.candidates if one.loss - likeliest.loss <= _standard_error(one, likeliest)]
        return [one for one in good if not self.keep_first or one.loss <= self.first.loss][-1]

    def consider(self, first: Network, refine: Network | None, step: int | None) -> float:
        """Add a candidate, which may go on learning, unless its answers are not finite; return the seconds it took."""
        began = time.monotonic()
        answers = [_answer(first, refine, self.stack, place) for place in self.places]
        known = [place.labels != IGNORED for place in self.places]
        truth = np.concatenate([place.labels[where] for place, where in zip(self.places, known, strict=True)])
        chances = np.concatenate([answer[:, where] for answer, where in zip(answers, known, strict=True)], axis=1)
        if not np.isfinite(chances).all():
            # Learning went astray; what was found before it did stands.
            return time.monotonic() - began
        fit = fit_temperature(np.log(np.maximum(chances, LEAST_PROBABILITY)), truth)
        chances = apply_temperature(chances, fit.temperature)
        of_truth = np.take_along_axis(chances, truth[None], axis=0)[0]
        unlikelihood = -np.log(np.maximum(of_truth, LEAST_PROBABILITY), dtype=np.float64) / len(truth)
        place = np.repeat(np.arange(len(known)), [np.count_nonzero(where) for where in known])
        right = np.bincount(truth[chances.argmax(axis=0) == truth], minlength=len(chances))
        counts = np.bincount(truth, minlength=len(chances))
        self.candidates.append(
            Candidate(
                copy.deepcopy(first).eval(),
                refine,
                step,
                np.bincount(place, unlikelihood),
                fit.temperature,
                tuple((right / counts).tolist()),
                tuple(counts.tolist()),
                tuple(_square_errors(answers, self.places)),
            )
        )
        return time.monotonic() - began


def _standard_error(one: Candidate, other: Candidate) -> float:
    """Return that of the difference of two losses, by its scatter from place to place."""
    apart = one.losses - other.losses
    return float(np.sqrt(len(apart) * apart.var(ddof=1))) if len(apart) > 1 else 0.0


def _square_errors(answers: Sequence[np.ndarray], places: Sequence[Place]) -> Iterator[float]:
    """Yield predicted minus true porosity of the squares that are labelled nearly everywhere."""
    for answer, place in zip(answers, places, strict=True):
        known = place.labels != IGNORED
        if np.count_nonzero(known) >= DENSE * CELL**2:
            yield float(np.mean(answer.argmax(axis=0)[known] == 0) - np.mean(place.labels[known] == 0))


def places_of(held: np.ndarray, reach: int, *, most: int, rng: np.random.Generator) -> list[Place]:
    """Return where held-back labels lie, each phase in as many places as another if there are more than `most`."""
    z, y, x = np.nonzero(held != IGNORED)
    phase = held[z, y, x]
    grid = (held.shape[0], held.shape[1] // CELL + 1, held.shape[2] // CELL + 1)
    cells, cell = np.unique(np.ravel_multi_index((z, y // CELL, x // CELL), grid), return_inverse=True)
    holds = np.zeros((len(cells), int(phase.max()) + 1), bool)
    holds[cell, phase] = True
    order = rng.permutation(len(cells))
    share = max(1, most // holds.shape[1])
    wanted = [number for one in range(holds.shape[1]) for number in order[holds[order, one]][:share].tolist()]
    chosen = list(dict.fromkeys([*wanted, *order.tolist()]))[: max(most, len(set(wanted)))]
    corners = np.stack(np.unravel_index(cells[chosen], grid), axis=1)
    return [_place(held, *corner, reach=reach) for corner in corners.tolist()]


def _place(held: np.ndarray, z: int, row: int, column: int, *, reach: int) -> Place:
    margin = DEEP_MARGIN if reach else MARGIN
    y, x = (slice(max(0, number * CELL - margin), (number + 1) * CELL + margin) for number in (row, column))
    inner = slice(row * CELL, (row + 1) * CELL), slice(column * CELL, (column + 1) * CELL)
    labels = np.full_like(held[z], IGNORED)
    labels[inner] = held[z][inner]
    return Place(z, slice(max(0, z - reach), min(len(held), z + reach + 1)), y, x, labels[y, x])


def _answer(first: Network, refine: Network | None, stack: SeenStack, place: Place) -> np.ndarray:
    """Return the phases' probabilities ``(n, y, x)`` in the slice of a place."""
    flat = first.dims == 2
    planes = range(place.z, place.z + 1) if flat and refine is None else range(place.planes.start, place.planes.stop)
    seen = stack(planes)[None, :, place.y, place.x]
    if flat:
        around = stack.around(planes, first.config["in_channels"] // 2)[:, :, place.y, place.x]
        probability = _probabilities(first, around.swapaxes(0, 1)).swapaxes(0, 1)
    else:
        probability = _probabilities(first, seen[None])[0]
    if refine is not None:
        probability = _probabilities(refine, stack_channels(probability, seen)[None])[0]
    return probability[:, place.z - planes.start]


@torch.inference_mode()
def _probabilities(network: Network, image: np.ndarray) -> np.ndarray:
    """Return ``(B, n, …)`` for ``(B, C, …)``, continued by reflection where a side is no multiple of the factor."""
    short = [(0, 0), (0, 0), *((0, -side % network.factor) for side in image.shape[2:])]
    padded = torch.from_numpy(np.pad(image, short, mode="symmetric")).to(next(network.parameters()).device)
    answer: np.ndarray = network.eval()(padded).float().softmax(dim=1).cpu().numpy()
    return answer[(slice(None), slice(None), *(slice(side) for side in image.shape[2:]))]
