"""How well a network in training does on volumes that it never sees."""

from collections.abc import Callable, Mapping

import torch

from segment.losses import IGNORED, Loss

__all__ = ["VALIDATION_LOSS", "ValidationMonitor"]

VALIDATION_LOSS = "validation_loss"


class ValidationMonitor:
    """Loss and mean IoU on a fixed set of crops.

    Parameters
    ----------
    crops : callable
        From an index to ``image`` (C, …) and ``labels`` (…), the same each time.
    count : int
        How many of them.
    loss : Loss
        What training minimises.
    n_phases : int
        Number of phases.
    batch_size : int
        Crops that are looked at together.
    """

    def __init__(
        self,
        crops: Callable[[int], Mapping[str, torch.Tensor]],
        *,
        count: int,
        loss: Loss,
        n_phases: int,
        batch_size: int,
    ) -> None:
        self.crops, self.count, self.loss = crops, count, loss
        self.n_phases, self.batch_size = n_phases, batch_size

    @torch.inference_mode()
    def __call__(self, averaged: torch.nn.Module, step: int) -> Mapping[str, float]:
        """Return ``validation_loss``, the mean over the crops, and ``validation_iou``, the mean over the phases.

        A phase's IoU is that of all crops together; phases that are neither there nor predicted do not count. Networks
        with deep supervision are judged by their final output alone.
        """
        device = next(averaged.parameters()).device
        total, confusion = 0.0, torch.zeros(self.n_phases**2, dtype=torch.long, device=device)
        for first in range(0, self.count, self.batch_size):
            batch = [self.crops(index) for index in range(first, min(first + self.batch_size, self.count))]
            image, labels = (torch.stack([one[key] for one in batch]).to(device) for key in ("image", "labels"))
            logits = averaged(image)
            total += len(batch) * float(self.loss(logits, labels))
            known = labels != IGNORED
            pairs = labels[known] * self.n_phases + logits.argmax(dim=1)[known]
            confusion += torch.bincount(pairs, minlength=self.n_phases**2)
        return {VALIDATION_LOSS: total / self.count, "validation_iou": _mean_iou(confusion.view(self.n_phases, -1))}


def _mean_iou(confusion: torch.Tensor) -> float:
    """Return the mean over the phases that occur, of pairs (true, predicted)."""
    hit = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - hit
    return float((hit[union > 0] / union[union > 0]).mean())
