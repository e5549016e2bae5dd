"""What all segmentation networks have in common: how they are called, saved and refused."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

__all__ = ["Network", "check_sizes", "count_parameters"]


class Network(ModelMixin, ConfigMixin):  # type: ignore[misc]  # both name their file config_name
    """A network from a picture or volume to one logit a phase.

    A subclass registers its sizes with `register_to_config`, `dims` and `in_channels` among them, and defines
    `factor` and `logits`.

    Notes
    -----
    No network of this package computes a statistic of the image that it is looking at: it normalises with batch
    norm, whose statistics are fixed after training, or each voxel by its own channels. So an answer depends on
    what surrounds a voxel and not on where a tile ends or on what else is in a batch.
    """

    @property
    @abstractmethod
    def factor(self) -> int:
        """Number of which every side of the input must be a multiple, in pixels or voxels."""

    @abstractmethod
    def logits(self, grey: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return the answer for an input that has been checked."""

    @property
    def dims(self) -> int:
        """2 for a network on slices, 3 for one on volumes."""
        return int(self.config["dims"])

    def forward(self, grey: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return logits ``(B, n_phases, [Z,] Y, X)`` for an input ``(B, in_channels, [Z,] Y, X)``.

        Raises
        ------
        ValueError
            If the number of axes or channels is not the network's, or a side is no multiple of `factor`.
        """
        self._check_input(tuple(grey.shape))
        return self.logits(grey)

    def _check_input(self, shape: tuple[int, ...]) -> None:
        if len(shape) != self.dims + 2:
            axes = "Y, X" if self.dims == 2 else "Z, Y, X"
            raise ValueError(f"the input has shape {shape}; this {self.dims}-D network takes (B, C, {axes})")
        channels = self.config["in_channels"]
        if shape[1] != channels:
            raise ValueError(f"the input has {shape[1]} channels; this network takes {channels}")
        if any(side < 1 or side % self.factor for side in shape[2:]):
            raise ValueError(
                f"the input's sides are {shape[2:]}; this network takes multiples of {self.factor}: crop or pad them"
            )


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers training may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def check_sizes(sizes: Mapping[str, Any]) -> None:
    """Refuse sizes that are no whole numbers above 0.

    Parameters
    ----------
    sizes : mapping of str to int
        Each with the name that the user gave it.

    Raises
    ------
    ValueError
        Naming the first that is not.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; give a whole number, 1 or more")
