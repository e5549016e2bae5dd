"""New volumes from a trained generator of an adversarial pair: one latent, one pass, any size."""

import itertools
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from generative.decoding import decode
from generative.loading import ModelCard, read_card, realign, write_card
from generative.requests import Request, check_request, sample_seed
from generative.rivals.volume_generator import VolumeGenerator
from launch import make_output_folder

__all__ = ["AdversarialPipeline"]

# Volumes are made in blocks of this length, so that memory does not grow with them beyond the labels themselves.
BLOCK = 128

Span = tuple[int, int]


class AdversarialPipeline:
    """A generator and the names of its phases: what it takes to make volumes.

    Parameters
    ----------
    generator : VolumeGenerator
        The network, best with averaged weights.
    card : ModelCard
        Of kind ``dcgan`` or ``slicegan``.

    Raises
    ------
    ValueError
        If the card names another number of phases than the generator makes.
    """

    def __init__(self, generator: VolumeGenerator, card: ModelCard) -> None:
        if len(card.phases) != generator.config["n_phases"]:
            raise ValueError(
                f"{len(card.phases)} phases are named, but the generator makes {generator.config['n_phases']}"
            )
        self.generator, self.card = generator.eval(), card

    def __call__(
        self,
        shape: Sequence[int] | None = None,
        *,
        count: int = 1,
        steps: int | None = None,
        seed: int = 0,
        fractions: Sequence[float] | None = None,
        periodic: bool = False,
        first: int = 0,
    ) -> NDArray[np.uint8]:
        """Make volumes.

        Volume i depends on `seed`, `shape` and i alone: it is the same whatever the `count`.

        Parameters
        ----------
        shape : three ints, optional
            ``(z, y, x)`` in voxels; the patch of the training unless given. A larger latent gives a larger volume,
            from which this is cut.
        count : int
            How many.
        steps : int, optional
            Ignored: a generator takes a single step.
        seed : int
            Not negative.
        fractions : sequence of float, optional
            Volume fraction of each phase, hit to within a voxel by the decoding; see `generative.decoding.decode`.
        periodic : bool
            Make opposite faces fit together, by a latent that is wrapped around. Lengths must then be multiples of the
            voxels that a latent site stands for.
        first : int
            Number i of the first volume.

        Returns
        -------
        ndarray of uint8
            ``(count, Z, Y, X)`` labels.

        Raises
        ------
        ValueError
            If an argument is out of its range.
        """
        request = check_request(
            shape,
            default=self.card.patch,
            n_phases=len(self.card.phases),
            count=count,
            seed=seed,
            first=first,
            fractions=fractions,
            periodic=periodic,
        )
        scale = self.generator.scale
        if request.periodic and any(length % scale for length in request.shape):
            raise ValueError(
                f"shape is {request.shape}; a periodic volume of this model needs lengths that are multiples of {scale}"
            )
        return np.stack([self._volume(request, request.first + i) for i in range(request.count)])

    def to(self, device: Any) -> "AdversarialPipeline":
        """Move the generator to a device and return the pipeline."""
        nn.Module.to(self.generator, device)
        return self

    def with_generator(self, generator: Any) -> "AdversarialPipeline":
        """Return the same pipeline with another network of the same phases."""
        return AdversarialPipeline(generator, self.card)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json``, the weights (safetensors) and ``material.json``."""
        folder = make_output_folder(folder)
        self.generator.save_pretrained(folder)
        write_card(folder, self.card)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "AdversarialPipeline":
        """Read what `save_pretrained` wrote.

        Raises
        ------
        ValueError
            If a file is missing or cannot be read.
        """
        card = read_card(folder)
        try:
            generator = VolumeGenerator.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"'{folder}' does not hold a complete model: {error}") from error
        realign(generator)
        return cls(generator, card)

    def _volume(self, request: Request, index: int) -> NDArray[np.uint8]:
        latent, corner = self._latent(request, index)
        n, shape = len(self.card.phases), request.shape
        if request.fractions is None:
            labels = np.empty(shape, dtype=np.uint8)
            for block in _blocks(shape):
                labels[_slices(block)] = decode(self._scores(latent, _moved(block, corner)))
            return labels
        # Prescribed fractions compare all voxels with each other.
        scores = np.empty((n, *shape), dtype=np.float32)
        for block in _blocks(shape):
            scores[:, *_slices(block)] = self._scores(latent, _moved(block, corner))
        return decode(scores, fractions=request.fractions)

    def _latent(self, request: Request, index: int) -> tuple[Tensor, tuple[int, ...]]:
        """Return the latent ``(C, …)`` of a volume, and where the volume begins in what comes of it."""
        net = self.generator
        if request.periodic:
            sites = [length // net.scale for length in request.shape]
        else:
            sites = [net.sites(length) for length in request.shape]
        # The CPU's generator gives the same noise to every device.
        noise = torch.Generator().manual_seed(sample_seed(request.seed, index))
        latent = torch.randn((net.config["latent_channels"], *sites), generator=noise)
        if not request.periodic:
            return latent, tuple((net.length(n) - length) // 2 for n, length in zip(sites, request.shape, strict=True))
        # As many sites more as it takes for one whole period to lie beyond the reach of both ends.
        more = max(0, ceil((2 * net.edge - net.length(0)) / net.scale))
        for axis, n in enumerate(sites, start=1):
            latent = latent.index_select(axis, torch.arange(n + more) % n)
        return latent, (net.edge,) * 3

    @torch.inference_mode()
    def _scores(self, latent: Tensor, block: Sequence[Span]) -> NDArray[np.float32]:
        """Return the scores of one block ``(n, …)`` from the latent sites that reach it."""
        net = self.generator
        window, inside = [slice(None)], [slice(None)]
        for (begin, end), n in zip(block, latent.shape[1:], strict=True):
            low = max(0, (begin - net.edge) // net.scale)
            high = min(n, ceil((end + net.edge - net.length(0)) / net.scale))
            window.append(slice(low, high))
            inside.append(slice(begin - low * net.scale, end - low * net.scale))
        scores = net.scores(latent[tuple(window)][None].to(net.device))[0]
        scores = scores[tuple(inside)].float().cpu()
        if not bool(torch.isfinite(scores).all()):
            raise ValueError("the model's scores are not finite; its weights are broken: train it again")
        return scores.numpy()


def _blocks(shape: Sequence[int]) -> Iterator[tuple[Span, ...]]:
    """Yield the blocks that fill a volume."""
    spans = [[(low, min(low + BLOCK, n)) for low in range(0, n, BLOCK)] for n in shape]
    yield from itertools.product(*spans)


def _slices(block: Sequence[Span]) -> tuple[slice, ...]:
    return tuple(slice(low, high) for low, high in block)


def _moved(block: Sequence[Span], corner: Sequence[int]) -> list[Span]:
    return [(low + shift, high + shift) for (low, high), shift in zip(block, corner, strict=True)]
