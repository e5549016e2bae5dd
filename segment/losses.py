"""Losses for label maps."""

import torch
from torch.nn import functional

__all__ = ["CrossEntropyDice"]


class CrossEntropyDice:
    """Cross-entropy plus one minus the mean soft Dice of the phases.

    Parameters
    ----------
    dice_weight : float
        Weight of the Dice term; 0 leaves cross-entropy alone.

    Notes
    -----
    Dice of phase k: 2 Σ p_k t_k / (Σ p_k + Σ t_k), with sums over the whole batch, smoothed by one pixel so
    that a batch without the phase is defined.

    References
    ----------
    .. [1] F. Milletari, N. Navab, S.-A. Ahmadi, "V-Net", 3DV 2016, arXiv:1606.04797.
    """

    def __init__(self, dice_weight: float = 1.0) -> None:
        self.dice_weight = dice_weight

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of ``(B, n, …)`` logits for ``(B, …)`` whole-number labels."""
        logits = logits.float()
        loss = functional.cross_entropy(logits, labels)
        if self.dice_weight == 0:
            return loss
        probability = logits.softmax(dim=1)
        target = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(probability.dtype)
        axes = (0, *range(2, logits.ndim))
        overlap = (probability * target).sum(axes)
        total = probability.sum(axes) + target.sum(axes)
        dice = (2 * overlap + 1) / (total + 1)
        return loss + self.dice_weight * (1 - dice.mean())
