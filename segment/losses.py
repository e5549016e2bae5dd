"""Losses for label maps: what a prediction costs where the truth is known."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import functional

__all__ = [
    "IGNORED",
    "LOSSES",
    "Boundary",
    "CrossEntropy",
    "CrossEntropyDice",
    "Dice",
    "Focal",
    "FocalDice",
    "Loss",
    "border_distance",
    "build_loss",
]

# Label of a voxel without one, as between scribbles.
IGNORED = 255


class Loss(ABC):
    """A number for the logits of a network and the labels that they should give.

    Notes
    -----
    Voxels labelled 255 have no truth: they count nothing, neither in the loss nor in its gradient. Without any known
    voxel the loss is 0 (that of Dice and its gradient too). Half-precision logits are taken in single precision.
    """

    def __call__(self, logits: torch.Tensor | Sequence[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """Return the loss.

        Parameters
        ----------
        logits : Tensor or sequence of Tensor, each of shape (B, n, …)
            One or more spatial axes. A sequence holds the outputs of deep supervision, the final one first, all of
            the labels' size; their losses weigh 1, 1/2, 1/4, …, divided by the sum of these.
        labels : Tensor of whole numbers, shape (B, …)
            0 … n − 1, or 255 where the truth is not known.

        Returns
        -------
        Tensor
            Of no axes.

        Raises
        ------
        ValueError
            If sizes or types do not fit, or a label is none of n phases.
        """
        outputs = tuple(logits) if isinstance(logits, tuple | list) else (logits,)
        _check(outputs, labels)
        labels = labels.long()
        losses = torch.stack([self._of(_widened(output), labels) for output in outputs])
        shares = losses.new_tensor([0.5**level for level in range(len(outputs))])
        return (shares * losses).sum() / shares.sum()

    @abstractmethod
    def _of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of one output."""


class CrossEntropy(Loss):
    """Mean of −ln p_t, p_t being the probability given to the true phase."""

    def _of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        total = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
        return total / _count_known(labels)


class Dice(Loss):
    """One minus the mean soft Dice of the phases.

    Notes
    -----
    Dice of phase k: 2 Σ p_k t_k / (Σ p_k + Σ t_k), with sums over the whole batch, smoothed by one pixel so
    that a batch without the phase is defined.

    References
    ----------
    .. [1] F. Milletari, N. Navab, S.-A. Ahmadi, "V-Net", 3DV 2016, arXiv:1606.04797.
    """

    def _of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        known = (labels != IGNORED).unsqueeze(1)
        probability = logits.softmax(dim=1) * known
        target = functional.one_hot(labels.where(known[:, 0], 0), logits.shape[1]).movedim(-1, 1) * known
        target = target.to(probability.dtype)
        axes = (0, *range(2, logits.ndim))
        overlap = (probability * target).sum(axes)
        total = probability.sum(axes) + target.sum(axes)
        dice = (2 * overlap + 1) / (total + 1)
        return 1 - dice.mean()


class CrossEntropyDice(Loss):
    """Cross-entropy plus one minus the mean soft Dice of the phases.

    Parameters
    ----------
    dice_weight : float
        Weight of the Dice term; 0 leaves cross-entropy alone.
    """

    def __init__(self, dice_weight: float = 1.0) -> None:
        self.dice_weight = _at_least_0("dice_weight", dice_weight)
        self.cross_entropy, self.dice = CrossEntropy(), Dice()

    def _of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = self.cross_entropy._of(logits, labels)
        return loss if self.dice_weight == 0 else loss + self.dice_weight * self.dice._of(logits, labels)


class Focal(Loss):
    """Focal loss: cross-entropy that leaves out what is already right.

    Parameters
    ----------
    gamma : float
        γ, 0 or more; 0 is cross-entropy.
    alpha : sequence of float, optional
        α, one weight a phase; all 1 unless given.

    Notes
    -----
    FL(p_t) = −α_t (1 − p_t)^γ ln p_t, equation 5 of [1]_ with the softmax for p, averaged over the known voxels.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, arXiv:1708.02002.
    """

    def __init__(self, gamma: float = 2.0, alpha: Sequence[float] | None = None) -> None:
        self.gamma, self.alpha = _at_least_0("gamma", gamma), _check_alpha(alpha)

    def _of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        minus_ln_p = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
        # 1 − p without cancellation; kept off 0, where the slope of its root is infinite.
        missing = -torch.expm1(-minus_ln_p)
        loss = missing.clamp(min=torch.finfo(missing.dtype).tiny) ** self.gamma * minus_ln_p
        if self.alpha is not None:
            loss = loss * self._weights(labels, logits)
        return loss.sum() / _count_known(labels)

    def _weights(self, labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        alpha = self.alpha or ()
        if len(alpha) != logits.shape[1]:
            raise ValueError(
                f"alpha has {len(alpha)} weights and the logits {logits.shape[1]} phases; give one a phase"
            )
        table = torch.tensor(alpha, dtype=logits.dtype, device=logits.device)
        return table[labels.where(labels != IGNORED, 0)]


class FocalDice(Loss):
    """Focal loss plus one minus the mean soft Dice of the phases.

    Parameters
    ----------
    gamma, alpha
        Those of `Focal`.
    dice_weight : float
        Weight of the Dice term; 0 leaves the focal loss alone.
    """

    def __init__(self, gamma: float = 2.0, alpha: Sequence[float] | None = None, *, dice_weight: float = 1.0) -> None:
        self.dice_weight = _at_least_0("dice_weight", dice_weight)
        self.focal, self.dice = Focal(gamma, alpha), Dice()

    def _of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = self.focal._of(logits, labels)
        return loss if self.dice_weight == 0 else loss + self.dice_weight * self.dice._of(logits, labels)


class Boundary(Loss):
    """Cross-entropy that weighs most beside the phases' borders, and so throughout thin features.

    Parameters
    ----------
    weight : float
        λ: how much more a voxel at a border counts than one far from all; 0 is cross-entropy.
    width_vox : float
        σ: how far from a border the weight reaches, in voxels of every axis alike.
    dice_weight : float
        Weight of a Dice term beside it.

    Notes
    -----
    Σ w (−ln p_t) / Σ w over the known voxels, w = 1 + λ exp(−(d − ½)² / 2σ²), d being the distance between the voxel
    and the nearest one of another phase, d − ½ about that to the border; w = 1 where d exceeds 4σ + 1, and wherever
    the sample holds one phase only. Work and memory grow with σ and the number of phases, up to the sample's side.

    The signed-distance loss of [1]_ was not taken: it is linear in p, so that its minimum lies at p = 0 or 1
    whatever the doubt, and the probabilities here must stay fit for calibration; it also wants a region's loss beside
    it and a schedule between the two. The weights are kin to those of [2]_, equation 2; being the same on both sides of
    a border, they do not push it to either.

    References
    ----------
    .. [1] H. Kervadec et al., "Boundary loss for highly unbalanced segmentation", Med. Image Anal. 67 (2021) 101851.
    .. [2] O. Ronneberger, P. Fischer, T. Brox, "U-Net", MICCAI 2015, arXiv:1505.04597.
    """

    def __init__(self, weight: float = 4.0, width_vox: float = 1.5, *, dice_weight: float = 0.0) -> None:
        self.weight, self.dice_weight = _at_least_0("weight", weight), _at_least_0("dice_weight", dice_weight)
        self.width_vox = _at_least_0("width_vox", width_vox)
        if self.width_vox == 0:
            raise ValueError("width_vox is 0; give a number of voxels above 0")
        self.dice = Dice()

    def _of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        minus_ln_p = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
        w = self._weights(labels).to(logits.dtype)
        # Without any known voxel both sums are 0.
        loss = (w * minus_ln_p).sum() / w.sum().clamp(min=1)
        return loss if self.dice_weight == 0 else loss + self.dice_weight * self.dice._of(logits, labels)

    def _weights(self, labels: torch.Tensor) -> torch.Tensor:
        """Return w (B, …), 0 where the truth is not known."""
        d = border_distance(labels, reach=math.ceil(4 * self.width_vox + 1))
        nearness = torch.exp(-((d - 0.5) ** 2) / (2 * self.width_vox**2))
        return (1 + self.weight * nearness) * (labels != IGNORED)


def border_distance(labels: torch.Tensor, *, reach: int) -> torch.Tensor:
    """Return how far the nearest voxel of another phase is.

    Parameters
    ----------
    labels : Tensor of whole numbers, shape (B, …)
        Phases; voxels labelled 255 are of no phase, neither the same nor another.
    reach : int
        Longest distance that matters, in voxels.

    Returns
    -------
    Tensor of float32, shape (B, …)
        Euclidean distance between voxel centres, exact; infinite beyond `reach`, where a sample has one phase only,
        and at voxels labelled 255. What lies outside the sample is not known and counts for no phase.

    Raises
    ------
    ValueError
        If `reach` is not a whole number above 0.

    References
    ----------
    P. Felzenszwalb, D. Huttenlocher, "Distance Transforms of Sampled Functions", Theory Comput. 8 (2012) 415-428:
    axis by axis, here with the parabolas cut off at `reach`.
    """
    if isinstance(reach, bool) or not isinstance(reach, int) or reach < 1:
        raise ValueError(f"reach is {reach!r}; give a whole number of voxels above 0")
    result = torch.full(labels.shape, math.inf, device=labels.device)
    for phase in labels.unique().tolist():
        if phase == IGNORED:
            continue
        inside = labels == phase
        squared = torch.where(inside | (labels == IGNORED), math.inf, 0.0)
        for axis in range(1, labels.ndim):
            squared = _lowest_parabola(squared, axis, reach)
        result = torch.where(inside, squared, result)
    return torch.where(result <= reach**2, result.sqrt(), math.inf)


LOSSES: Mapping[str, type[Loss]] = MappingProxyType(
    {
        "cross-entropy": CrossEntropy,
        "dice": Dice,
        "cross-entropy+dice": CrossEntropyDice,
        "focal": Focal,
        "focal+dice": FocalDice,
        "boundary": Boundary,
    }
)


def build_loss(name: str, **settings: Any) -> Loss:
    """Make a loss by its name.

    Parameters
    ----------
    name : {"cross-entropy", "dice", "cross-entropy+dice", "focal", "focal+dice", "boundary"}
        Key of `LOSSES`.
    **settings
        What its class takes: ``gamma`` and ``alpha`` where it is focal, ``dice_weight`` where it adds Dice,
        ``weight``, ``width_vox`` and ``dice_weight`` of ``boundary``.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If there is no such loss, it has no such setting, or a setting is out of its range.
    """
    if name not in LOSSES:
        raise ValueError(f"there is no loss {name!r}; give one of {', '.join(LOSSES)}")
    own_constructor = LOSSES[name].__init__ is not object.__init__
    taken = list(inspect.signature(LOSSES[name]).parameters) if own_constructor else []
    strange = [key for key in settings if key not in taken]
    if strange:
        raise ValueError(f"loss '{name}' has no setting '{strange[0]}'; it takes {', '.join(taken) or 'none'}")
    return LOSSES[name](**settings)


def _lowest_parabola(squared: torch.Tensor, axis: int, reach: int) -> torch.Tensor:
    """Return min over |o| ≤ reach of squared(x + o) + o² along an axis."""
    lowest, side = squared.clone(), squared.shape[axis]
    for offset in range(1, min(reach, side - 1) + 1):
        ahead, behind = (tensor.narrow(axis, offset, side - offset) for tensor in (lowest, squared))
        torch.minimum(ahead, squared.narrow(axis, 0, side - offset) + offset**2, out=ahead)
        here = lowest.narrow(axis, 0, side - offset)
        torch.minimum(here, behind + offset**2, out=here)
    return lowest


def _check(outputs: Sequence[torch.Tensor], labels: torch.Tensor) -> None:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels are {labels.dtype}; give whole numbers")
    if labels.numel() == 0 or labels.ndim < 2 or not outputs:
        raise ValueError(f"labels have shape {tuple(labels.shape)} for {len(outputs)} outputs; give a batch (B, …)")
    for output in outputs:
        if output.ndim < 3 or (output.shape[0], *output.shape[2:]) != labels.shape:
            raise ValueError(
                f"logits have shape {tuple(output.shape)} and labels {tuple(labels.shape)}; give logits (B, n, …) "
                "of the size of the labels (B, …)"
            )
    phases = min(output.shape[1] for output in outputs)
    low, high = (bound.item() for bound in labels.where(labels != IGNORED, 0).aminmax())
    if low < 0 or high >= min(phases, IGNORED):
        wrong = low if low < 0 else high
        raise ValueError(f"a label is {wrong}; the logits know phases 0 … {phases - 1}, and {IGNORED} is no truth")


def _widened(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _count_known(labels: torch.Tensor) -> torch.Tensor:
    return (labels != IGNORED).sum().clamp(min=1)


def _at_least_0(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}; give a number, 0 or more")
    return float(value)


def _check_alpha(alpha: Any) -> tuple[float, ...] | None:
    if alpha is None:
        return None
    if isinstance(alpha, str) or not isinstance(alpha, Sequence) or not alpha:
        raise ValueError(f"alpha is {alpha!r}; give one weight a phase, or None")
    weights = tuple(_at_least_0("a weight of alpha", weight) for weight in alpha)
    if sum(weights) == 0:
        raise ValueError("every weight of alpha is 0; give at least one above 0")
    return weights
