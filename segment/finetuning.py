"""Fine-tuning: a trained segmenter is fitted to a user's own stack by a few strokes or labelled slices."""

import copy
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from learn.loop import WeightAverage
from segment.losses import IGNORED, build_loss
from segment.networks import Network
from segment.segmenter import Segmenter, stack_channels
from segment.strokes import hold_back, read_strokes
from segment.thresholds import check_grey
from segment.trust import apply_temperature, fit_temperature

__all__ = ["FineTuned", "FineTuningReport", "Refinement", "fine_tune"]

# Voxels of a crop, and crops a step.
CROPS, BATCH = {2: (1, 96, 96), 3: (32, 48, 48)}, {2: 4, 3: 1}
# Peak of the learning rate and steps of its rise.
LEARNING_RATE, WARMUP = 3e-3, 5
# The output layer first learns alone.
OUTPUT_LEARNING_RATE, OUTPUT_BATCHES, OUTPUT_STEPS = 3e-2, 4, 80
WEIGHT_DECAY, GRADIENT_CLIP, EMA_DECAY = 1e-4, 1.0, 0.95
# The forest teaches where this share of its votes goes to one phase.
SURE = 0.6
# Voxels that it labels, and places of each phase that crops may be centred at, at most.
MOST_TAUGHT, MOST_CENTRES = 2e6, 20_000
# How often on the way the network is tried, and how many steps tell how long one takes.
TRIALS, PACE_STEPS = 6, 3
MOST_MINUTES, MOST_STEPS = 1440, 1_000_000
# Where networks are tried: squares of this many pixels with so much around them, and for 3-D ones with so many slices
# on both sides and so much around; in so many places at most.
CELL, MARGIN, REACH, DEEP_MARGIN = 64, 32, 8, 16
MOST_PLACES, MOST_DEEP_PLACES = 24, 8
# A square tells a porosity if this share of it is labelled; so many of them give an interval a coverage of 0.9.
DENSE, FEWEST_SQUARES = 0.9, 9
LEAST_PROBABILITY = 1e-30

Refinement = Literal["none", "kept", "dropped"]
Basis = Literal["pretraining", "squares", "unknown"]


@dataclasses.dataclass(frozen=True)
class FineTuningReport:
    """What fine-tuning did, and what it brought.

    Attributes
    ----------
    steps : int
        Optimiser steps that were taken.
    kept_step : int
        The step after which the kept network was found; 0 if only its output layer has learnt, None if the segmenter
        as it came was not bettered.
    seconds : float
        Wall time of all.
    phases : tuple of str
        Name of each label.
    labelled : tuple of int
        Voxels of each phase in the user's strokes.
    held_back : tuple of int
        Of these, voxels from which nothing was learnt and on which `before` and `after` were measured.
    before : tuple of float or None
        Fraction of each phase's held-back voxels that the segmenter labelled rightly as it came; None where it did not
        know these phases.
    after : tuple of float
        The same of the segmenter that is returned.
    loss_before : float or None
        Mean negative log-likelihood of a held-back voxel by the segmenter as it came, at the temperature that suits it
        best; None where it did not know these phases.
    loss_after : float
        The same of the segmenter that is returned; never above `loss_before`.
    new_output : bool
        Whether the first network got a new output layer, because the phases are others.
    refinement : {"none", "kept", "dropped"}
        Of the second network: there was none; it is used on; or it is not, because it did not help or knows other
        phases.
    interval : {"squares", "unknown", "pretraining"}
        What the porosity interval of the new segmenter rests on: the porosity errors of nine or more held-back squares
        of 64² pixels of labelled slices, which scatter more than those of a volume; nothing, so that it is [0, 1]; or,
        where the segmenter came back as it was, what it rested on before.
    """

    steps: int
    kept_step: int | None
    seconds: float
    phases: tuple[str, ...]
    labelled: tuple[int, ...]
    held_back: tuple[int, ...]
    before: tuple[float, ...] | None
    after: tuple[float, ...]
    loss_before: float | None
    loss_after: float
    new_output: bool
    refinement: Refinement
    interval: Basis


@dataclasses.dataclass(frozen=True, eq=False)
class FineTuned:
    """A segmenter that has seen a user's strokes.

    Attributes
    ----------
    segmenter : Segmenter
        To be used and saved like any other. Its `domain` and `set_aside` are None; the very one that came if that was
        not bettered.
    report : FineTuningReport
        What was done and what it brought.
    """

    segmenter: Segmenter
    report: FineTuningReport


def fine_tune(
    segmenter: Segmenter,
    grey: Any,
    strokes: Any,
    *,
    phases: Sequence[str] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    rng: np.random.Generator | int = 0,
) -> FineTuned:
    """Fit a trained segmenter to one stack.

    Parameters
    ----------
    segmenter : Segmenter
        As `segment.load` gives it; it is not changed.
    grey : array-like or Volume, shape (Z, Y, X)
        The stack. Its contrast and its phases may differ from those that the segmenter was trained on.
    strokes : array-like of int, shape (Z, Y, X), or mapping of int to array-like of int, shape (Y, X)
        The phase, from 0, where it is labelled and 255 elsewhere; of the whole stack, or of some slices by their
        number. A few strokes in each phase, near its borders too, or a few whole slices.
    phases : sequence of str, optional
        Name of each label; the segmenter's own unless given. Others than its own get a new output layer, which learns
        from the strokes alone.
    minutes : float, optional
        Wall time to spend, 1 unless given; about as many steps are taken as fit into it.
    steps : int, optional
        Steps to take in place of `minutes`. The result then depends on nothing but the arguments.
    rng : Generator or int
        Chooses what is held back and draws the crops.

    Returns
    -------
    FineTuned

    Raises
    ------
    ValueError
        If strokes do not fit the volume or the phases, or leave a phase out, or are too few to hold some back; if both
        `minutes` and `steps` are given or are out of range; for volumes that `Segmenter.predict` refuses.

    Notes
    -----
    A fifth of the strokes is held back (`segment.strokes.hold_back`). A random forest learns from the others in a
    second; where it is sure of an unlabelled voxel, its answer counts as a label beside the strokes, which weigh as
    much in sum: strokes alone lie far from borders, and a network learns from them to draw blots. Batch norm keeps its
    statistics. Weights are averaged along the way and tried six times on what is held back, beside the network that
    came and one whose output layer alone has learnt. Kept is the last of those that make the held-back strokes as
    likely as the likeliest, but for one standard error of the difference from place to place, and not less likely than
    the network that came. The refinement stays if without it they would be less likely by more than that.

    The temperature is fitted to the held-back strokes, but never below 1: they lie where it is easy, so they can only
    show that a network is too sure.
    """
    began = time.monotonic()
    grey = check_grey(grey)
    marks = read_strokes(strokes, grey.shape)
    names = _check_phases(phases, segmenter, marks)
    pace = _Pace(began, minutes, steps)
    rng = np.random.default_rng(rng)
    parts = hold_back(marks, names, rng=rng)
    seed = int(rng.integers(2**31))
    stack, known = _Stack(segmenter, grey), names == segmenter.phases
    jury = _Jury(stack, _places(parts.held, _reach(segmenter.first), most=MOST_PLACES, rng=rng), keep_first=known)
    final = _Jury(stack, _places(parts.held, REACH, most=MOST_DEEP_PLACES, rng=rng), keep_first=True)
    if known:
        jury.consider(segmenter.first, None, None)
    if known and segmenter.refine is not None:
        pace.reserve(final.consider(segmenter.first, segmenter.refine, None))
    # Whoever calls has random numbers of torch's to draw as if nothing had been drawn here.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = copy.deepcopy(segmenter.first) if known else _with_new_output(segmenter.first, len(names))
        taken = _descend(network, _Crops(network, stack, parts.learnt, n_phases=len(names), seed=seed), jury, pace=pace)
    if final.candidates and jury.best is not jury.first:
        for refine in (segmenter.refine, None):
            final.consider(jury.best.first, refine, jury.best.step)
    verdict = final if final.candidates else jury
    report = FineTuningReport(
        taken,
        verdict.best.step,
        time.monotonic() - began,
        names,
        _counts(marks, len(names)),
        verdict.best.counts,
        verdict.first.accuracy if known else None,
        verdict.best.accuracy,
        verdict.first.loss if known else None,
        verdict.best.loss,
        not known,
        "none" if segmenter.refine is None else "dropped" if verdict.best.refine is None else "kept",
        _basis(verdict.best),
    )
    return FineTuned(_tuned(segmenter, verdict.best, names), report)


def _tuned(segmenter: Segmenter, best: "_Candidate", phases: tuple[str, ...]) -> Segmenter:
    """Return the chosen networks with what is known of them; the segmenter itself if it was not bettered."""
    if best.step is None:
        return segmenter
    return dataclasses.replace(
        segmenter,
        first=best.first,
        refine=best.refine,
        phases=phases,
        porosity_errors=best.square_errors if len(best.square_errors) >= FEWEST_SQUARES else (),
        undecided=(),
        set_aside=None,
        temperature=max(1.0, best.temperature),
        domain=None,
    )


def _basis(best: "_Candidate") -> Basis:
    if best.step is None:
        return "pretraining"
    return "squares" if len(best.square_errors) >= FEWEST_SQUARES else "unknown"


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
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
class _Place:
    """A square of held-back labels in one slice, and the box around it that networks look at."""

    z: int
    planes: slice
    y: slice
    x: slice
    labels: np.ndarray


class _Stack:
    """Slices as the networks see them, made when they are first wanted."""

    def __init__(self, segmenter: Segmenter, grey: np.ndarray) -> None:
        self.grey, self.preprocessing = grey, segmenter.preprocessing
        self.levels = segmenter.preprocessing.measure(grey)
        self.made: dict[int, np.ndarray] = {}

    def __call__(self, places: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return ``(len(places), Y, X)``; beyond the ends of the stack lie its outermost slices."""
        return np.stack([self._slice(min(max(0, int(z)), len(self.grey) - 1)) for z in places])

    def _slice(self, z: int) -> np.ndarray:
        if z not in self.made:
            self.made[z] = self.preprocessing.apply(self.grey[z : z + 1], self.levels)[0]
        return self.made[z]


class _Pace:
    """How many steps there are to take."""

    def __init__(self, began: float, minutes: float | None, steps: int | None) -> None:
        if minutes is not None and steps is not None:
            raise ValueError(f"minutes is {minutes} and steps is {steps}; give one of them")
        if minutes is not None and not (_is_number(minutes) and 0 < minutes <= MOST_MINUTES):
            raise ValueError(f"minutes is {minutes!r}; give a number above 0, up to {MOST_MINUTES}")
        if steps is not None and not (_is_whole(steps) and 1 <= steps <= MOST_STEPS):
            raise ValueError(f"steps is {steps!r}; give a whole number from 1 to {MOST_STEPS}")
        self.steps = steps
        self.deadline = math.inf if steps is not None else began + 60 * (1.0 if minutes is None else minutes)

    def reserve(self, seconds: float) -> None:
        """Keep the time for two more trials in three dimensions."""
        self.deadline -= 2 * seconds

    def settle(self, seconds_a_step: float, seconds_a_trial: float) -> int:
        """Return the number of steps, by how long one takes where there is a deadline."""
        if self.steps is None:
            left = self.deadline - time.monotonic() - (TRIALS + 1) * seconds_a_trial
            self.steps = min(MOST_STEPS, max(1, int(left / seconds_a_step)))
        return self.steps


class _Crops:
    """Crops around labelled voxels, each phase as often as another; each crop a function of its number."""

    def __init__(self, network: Network, stack: _Stack, learnt: np.ndarray, *, n_phases: int, seed: int) -> None:
        labelled = np.flatnonzero((learnt != IGNORED).any(axis=(1, 2)))
        self.n_phases, self.seed, self.flat = n_phases, seed, network.dims == 2
        self.device = next(network.parameters()).device
        self.crop = [-(-side // network.factor) * network.factor for side in CROPS[network.dims]]
        if self.flat:
            self.crop[0] = 1
            reach = network.config["in_channels"] // 2
            self.image = np.stack([stack(labelled + step) for step in range(-reach, reach + 1)])
            planes = labelled
        else:
            planes = np.arange(max(0, labelled[0] - REACH), min(len(learnt), labelled[-1] + REACH + 1))
            self.image = stack(planes)[None]
        strokes = learnt[planes]
        taught = _taught(stack.grey[planes], strokes, flat=self.flat, rng=np.random.default_rng((seed, 0)))
        self._fill_up(strokes, np.where(strokes == IGNORED, taught, strokes))
        self.centres = [self._centres(layer, number) for number, layer in enumerate(self.layers)]

    def __call__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the image (C, …), the strokes (…) and the strokes with what the forest adds to them (…)."""
        rng = np.random.default_rng((self.seed, 2, number))
        centres = [where for where in self.centres[number % 2] if len(where)] or self.centres[0]
        where = centres[int(rng.integers(len(centres)))]
        centre = np.unravel_index(int(where[int(rng.integers(len(where)))]), self.layers[0].shape)
        corner = [
            min(max(0, int(at) - side // 2), size - side)
            for at, side, size in zip(centre, self.crop, self.layers[0].shape, strict=True)
        ]
        window = tuple(slice(start, start + side) for start, side in zip(corner, self.crop, strict=True))
        arrays = [self.image[(slice(None), *window)], *(layer[window][None] for layer in self.layers)]
        image, *labels = (np.ascontiguousarray(array) for array in _turned(arrays, rng))
        if self.flat:
            image, labels = image[:, 0], [layer[:, 0] for layer in labels]
        strokes, both = (torch.from_numpy(layer[0].astype(np.int64)) for layer in labels)
        return torch.from_numpy(image), strokes, both

    def _fill_up(self, *layers: np.ndarray) -> None:
        """Continue a stack smaller than a crop by its mirror image, unlabelled."""
        short = [(0, max(0, side - size)) for side, size in zip(self.crop, layers[0].shape, strict=True)]
        self.image = np.pad(self.image, [(0, 0), *short], mode="symmetric")
        self.layers = [np.pad(layer, short, constant_values=IGNORED) for layer in layers]

    def _centres(self, layer: np.ndarray, number: int) -> list[np.ndarray]:
        """Return where each phase lies, some of the places where there are many."""
        rng = np.random.default_rng((self.seed, 1, number))
        every = [np.flatnonzero(layer == phase) for phase in range(self.n_phases)]
        return [
            rng.choice(where, MOST_CENTRES, replace=False) if len(where) > MOST_CENTRES else where for where in every
        ]


def _turned(arrays: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Mirror and transpose ``(C, Z, Y, X)`` within the slice, all alike."""
    turned = list(arrays)
    for axis in (2, 3):
        if rng.random() < 0.5:
            turned = [np.flip(array, axis) for array in turned]
    return [array.swapaxes(2, 3) for array in turned] if rng.random() < 0.5 else turned


def _taught(grey: np.ndarray, strokes: np.ndarray, *, flat: bool, rng: np.random.Generator) -> np.ndarray:
    """Return what a random forest is sure of after a look at the strokes; 255 elsewhere."""
    # It brings scikit-learn and numba, which nothing else here needs.
    from segment.classical import FeatureSettings, PixelForest

    taught = np.full(strokes.shape, IGNORED, np.uint8)
    planes = _few_planes(strokes, rng) if flat else np.arange(len(strokes))
    if not flat and grey.size > MOST_TAUGHT:
        return taught
    threads = torch.get_num_threads()
    # One stack, for the forest scales grey values by the stack that it is given.
    forest = PixelForest.fit(grey[planes], strokes[planes], settings=FeatureSettings(dims=2 if flat else 3), rng=rng)
    share = forest.probability(grey[planes])
    # Numba sets torch's threads too, and their number decides the last bit of what is learnt.
    torch.set_num_threads(threads)
    taught[planes] = np.where(share.max(axis=0) > SURE, share.argmax(axis=0), IGNORED)
    return taught


def _few_planes(strokes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return slices that hold strokes of each phase between them, and others until there are enough voxels."""
    order = rng.permutation(len(strokes))
    found: set[int] = set()
    needed: list[int] = []
    others: list[int] = []
    for z in order.tolist():
        phases = set(np.unique(strokes[z]).tolist()) - {IGNORED}
        (others if phases <= found else needed).append(z)
        found |= phases
    room = max(0, int(MOST_TAUGHT / strokes[0].size) - len(needed))
    return np.sort(np.array(needed + others[:room]))


def _rebuilt(network: Network, n_phases: int) -> Network:
    """Return an untrained network of the same kind and size for another number of phases."""
    sizes = {name: value for name, value in network.config.items() if not name.startswith("_")}
    fresh: Network = type(network)(**{**sizes, "n_phases": n_phases})
    return fresh


def _with_new_output(network: Network, n_phases: int) -> Network:
    """Return a network with the same features and, for another number of phases, a new output layer."""
    fresh = _rebuilt(network, n_phases)
    shapes = {name: value.shape for name, value in fresh.state_dict().items()}
    kept = {name: value for name, value in network.state_dict().items() if value.shape == shapes[name]}
    fresh.load_state_dict(kept, strict=False)
    device: Any = next(network.parameters()).device
    return fresh.to(device)


def _output_layers(network: Network) -> set[str]:
    """Return the names of the layers whose size follows from the number of phases."""
    other = _rebuilt(network, int(network.config["n_phases"]) + 1)
    shapes = {name: value.shape for name, value in other.named_parameters()}
    return {name.rpartition(".")[0] for name, value in network.named_parameters() if value.shape != shapes[name]}


def _descend(network: Network, crops: _Crops, jury: "_Jury", *, pace: _Pace) -> int:
    """Train the output layer, then all; show the jury the averaged network now and then; return the steps taken."""
    loss = _Loss()
    _fit_output(network, crops, loss)
    seconds_a_trial = jury.consider(network, None, 0)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    average = WeightAverage(network, EMA_DECAY)
    steps = pace.settle(_seconds_a_step(network, crops, loss) if pace.steps is None else 0.0, seconds_a_trial)
    # As many steps lie between trials, the last of which comes at the end.
    trials = {math.ceil(steps * (number + 1) / TRIALS) for number in range(TRIALS)}
    _train_mode(network)
    for step in tqdm(range(steps), desc="fine-tuning", disable=None):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, steps)
        loss(network, _batch(crops, step)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_CLIP)
        optimizer.step()
        optimizer.zero_grad()
        average.update(network, step)
        late = time.monotonic() > pace.deadline
        if step + 1 in trials or late:
            averaged = copy.deepcopy(network)
            averaged.load_state_dict(average.weights)
            jury.consider(averaged, None, step + 1)
        if late:
            break
    return step + 1


class _Loss:
    """Of the strokes, and as much again of the strokes with what the forest adds to them."""

    def __init__(self) -> None:
        self.of_strokes, self.of_both = build_loss("cross-entropy"), build_loss("cross-entropy+dice")

    def __call__(self, network: torch.nn.Module, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        image, strokes, both = batch
        logits = network(image)
        return self.of_strokes(logits, strokes) + self.of_both(logits, both)


def _learning_rate(step: int, steps: int) -> float:
    rise = min(1.0, (step + 1) / WARMUP)
    return LEARNING_RATE * rise * max(0.01, 0.5 * (1 + math.cos(math.pi * step / steps)))


def _batch(crops: _Crops, step: int) -> list[torch.Tensor]:
    size = BATCH[2 if crops.flat else 3]
    parts = zip(*(crops(step * size + i) for i in range(size)), strict=True)
    return [torch.stack(part).to(crops.device) for part in parts]


def _train_mode(network: Network) -> None:
    """Let a network learn, with the statistics of its batch norms as they are: a few crops would give poor ones."""
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def _seconds_a_step(network: Network, crops: _Crops, loss: _Loss) -> float:
    """Take the gradient a few times, without a step; the first time is not counted."""
    _train_mode(network)
    times = []
    for step in range(PACE_STEPS):
        began = time.monotonic()
        loss(network, _batch(crops, step)).backward()
        times.append(time.monotonic() - began)
    network.zero_grad()
    return sum(times[1:]) / (PACE_STEPS - 1)


def _fit_output(network: Network, crops: _Crops, loss: _Loss) -> None:
    """Train the output layer alone on features that are computed once: cheap, and a good place to start from."""
    batches = [_batch(crops, step) for step in range(OUTPUT_BATCHES)]
    found = [_features(network, image) for image, *_ in batches]
    head, seen = found[0][0], [features for _, features in found]
    if head is None:
        return
    optimizer = torch.optim.AdamW(head.parameters(), lr=OUTPUT_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for step in range(OUTPUT_STEPS):
        number = step % OUTPUT_BATCHES
        loss(head, [seen[number], *batches[number][1:]]).backward()
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def _features(network: Network, image: torch.Tensor) -> tuple[torch.nn.Module | None, torch.Tensor]:
    """Return the layer that gives the network's answer, None if it ends in something else, and that layer's input."""
    calls: list[tuple[torch.nn.Module, torch.Tensor, torch.Tensor]] = []
    names, modules = _output_layers(network), dict(network.named_modules())
    hooks = [
        modules[name].register_forward_hook(lambda module, inputs, output: calls.append((module, inputs[0], output)))
        for name in sorted(names)
    ]
    answer = network.eval()(image)
    for hook in hooks:
        hook.remove()
    for module, features, output in calls:
        if output.shape == answer.shape and torch.equal(output, answer):
            return module, features
    return None, image


# The jury


class _Jury:
    """Chooses among candidates by the strokes that were held back."""

    def __init__(self, stack: _Stack, places: Sequence[_Place], *, keep_first: bool) -> None:
        self.stack, self.places, self.keep_first = stack, places, keep_first
        self.candidates: list[_Candidate] = []

    @property
    def first(self) -> _Candidate:
        """The one that others are measured by."""
        return self.candidates[0]

    @property
    def best(self) -> _Candidate:
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
            _Candidate(
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


def _standard_error(one: _Candidate, other: _Candidate) -> float:
    """Return that of the difference of two losses, by its scatter from place to place."""
    apart = one.losses - other.losses
    return float(np.sqrt(len(apart) * apart.var(ddof=1))) if len(apart) > 1 else 0.0


def _reach(network: Network) -> int:
    return REACH if network.dims == 3 else 0


def _square_errors(answers: Sequence[np.ndarray], places: Sequence[_Place]) -> Iterator[float]:
    """Yield predicted minus true porosity of the squares that are labelled nearly everywhere."""
    for answer, place in zip(answers, places, strict=True):
        known = place.labels != IGNORED
        if np.count_nonzero(known) >= DENSE * CELL**2:
            yield float(np.mean(answer.argmax(axis=0)[known] == 0) - np.mean(place.labels[known] == 0))


def _places(held: np.ndarray, reach: int, *, most: int, rng: np.random.Generator) -> list[_Place]:
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


def _place(held: np.ndarray, z: int, row: int, column: int, *, reach: int) -> _Place:
    margin = DEEP_MARGIN if reach else MARGIN
    y, x = (slice(max(0, number * CELL - margin), (number + 1) * CELL + margin) for number in (row, column))
    inner = slice(row * CELL, (row + 1) * CELL), slice(column * CELL, (column + 1) * CELL)
    labels = np.full_like(held[z], IGNORED)
    labels[inner] = held[z][inner]
    return _Place(z, slice(max(0, z - reach), min(len(held), z + reach + 1)), y, x, labels[y, x])


def _answer(first: Network, refine: Network | None, stack: _Stack, place: _Place) -> np.ndarray:
    """Return the phases' probabilities ``(n, y, x)`` in the slice of a place."""
    flat = first.dims == 2
    planes = range(place.z, place.z + 1) if flat and refine is None else range(place.planes.start, place.planes.stop)
    seen = stack(planes)[None, :, place.y, place.x]
    if flat:
        reach = first.config["in_channels"] // 2
        around = [stack([z + step for z in planes])[:, place.y, place.x] for step in range(-reach, reach + 1)]
        probability = _probabilities(first, np.stack(around, axis=1)).swapaxes(0, 1)
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


# What the user gave


def _check_phases(phases: Sequence[str] | None, segmenter: Segmenter, marks: np.ndarray) -> tuple[str, ...]:
    """Return the names of the phases, of all of which there must be strokes."""
    names = segmenter.phases if phases is None else tuple(phases)
    listed = ", ".join(names)
    if (
        isinstance(phases, str)
        or not all(isinstance(name, str) and name for name in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(f"phases are {phases!r}; give a name for each label, each of them once")
    if not 2 <= len(names) <= IGNORED:
        raise ValueError(f"there are {len(names)} phases; give the names of 2 to {IGNORED}, as many as are labelled")
    counts = np.bincount(marks.ravel(), minlength=IGNORED + 1)[:IGNORED]
    found = np.flatnonzero(counts)
    if not found.size:
        raise ValueError(f"no voxel is labelled: all are {IGNORED}; draw strokes in each phase ({listed})")
    if found[-1] >= len(names):
        raise ValueError(
            f"a stroke is labelled {found[-1]}, but there are {len(names)} phases ({listed}), numbered from 0; "
            "give the names of all as phases, or label it anew"
        )
    if found.size < len(names):
        missing = next(name for number, name in enumerate(names) if not counts[number])
        raise ValueError(f"no stroke is labelled '{missing}'; draw strokes in each phase ({listed})")
    return names


def _counts(marks: np.ndarray, n_phases: int) -> tuple[int, ...]:
    return tuple(np.bincount(marks.ravel(), minlength=n_phases)[:n_phases].tolist())


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
