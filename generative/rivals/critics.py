"""The network that judges: strided convolutions, over volumes or over slices."""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Critic", "one_hot"]

KERNEL = 4


class Critic(nn.Module):
    """Give each image or volume one number: the larger, the more it looks real.

    Each layer halves the resolution; a last kernel of 4 turns what is left into numbers, whose mean is the answer.

    Parameters
    ----------
    n_phases : int
        Channels of what is judged.
    widths : sequence of int
        Channels after each halving.
    dims : {2, 3}
        Images ``(B, n, Y, X)`` or volumes ``(B, n, Z, Y, X)``.
    normalised : bool
        Batch norm after each halving but the first, and leaky ReLU (DCGAN); otherwise no norm, which would tie the
        samples of a batch together and spoil the gradient penalty, and ReLU (SliceGAN).
    """

    def __init__(self, n_phases: int, widths: Sequence[int], *, dims: Literal[2, 3], normalised: bool) -> None:
        super().__init__()
        conv: type[nn.Module] = nn.Conv2d if dims == 2 else nn.Conv3d
        parts: list[nn.Module] = []
        for number, (before, after) in enumerate(itertools.pairwise([n_phases, *widths])):
            parts.append(conv(before, after, KERNEL, stride=2, padding=1, bias=False))
            if normalised and number:
                parts.append(nn.BatchNorm2d(after) if dims == 2 else nn.BatchNorm3d(after))
            parts.append(nn.LeakyReLU(0.2) if normalised else nn.ReLU())
        self.net = nn.Sequential(*parts, conv(widths[-1], 1, KERNEL, bias=False))

    @staticmethod
    def smallest(widths: Sequence[int]) -> int:
        """Return the smallest length that can be judged."""
        return int(KERNEL * 2 ** len(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B,)`` numbers in single precision."""
        return self.net(x).float().flatten(1).mean(dim=1)


def one_hot(labels: Tensor, n_phases: int) -> Tensor:
    """Turn labels ``(B, …)`` into float32 zeros and ones ``(B, n_phases, …)``."""
    channels = torch.arange(n_phases, device=labels.device).view(1, -1, *[1] * (labels.dim() - 1))
    return (labels[:, None] == channels).float()
