"""The two-stage segmenter: a network on slices or blocks, and a second one that refines what it says."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from tqdm import tqdm

from launch import replace_when_complete
from segment.networks import Network, load_network
from segment.preprocessing import Levels, Preprocessing
from segment.thresholds import check_grey
from segment.tiling import predict_slabs, predict_tiled
from segment.trust import Domain, Judgement, apply_temperature, image_statistics
from volume import from_one_hot

__all__ = ["Segmentation", "Segmenter", "load", "shipped_models"]

SLICE_TILE, SLICE_OVERLAP = 256, 32
BLOCK_TILE, BLOCK_OVERLAP = 64, 16
# Slices that are read at once.
SLAB = 16
COVERAGE = 0.9
DESCRIPTION = "segmenter.json"
WEIGHTS = Path(__file__).parent / "weights"


@dataclasses.dataclass(frozen=True, eq=False)
class Segmentation:
    """What a segmenter says of a volume.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        The most probable phase.
    probability : ndarray of float32, shape (n_phases, Z, Y, X)
        Probability of each phase; they add up to one.
    porosity : float
        Fraction of voxels labelled pore.
    porosity_interval : (float, float)
        Where the true porosity lies with the given coverage, if the volume is like those of the calibration.
    coverage : float
        Of that interval.
    phases : tuple of str
        Name of each label.
    judgement : Judgement or None
        Whether the picture is like those of the training; None if that is not known or the slices are too small.
    """

    labels: np.ndarray
    probability: np.ndarray
    porosity: float
    porosity_interval: tuple[float, float]
    coverage: float
    phases: tuple[str, ...]
    judgement: Judgement | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Segmenter:
    """One or two trained networks and what was measured of them.

    Parameters
    ----------
    first : Network
        From grey values to phases: 2-D, slice by slice (of 2 k + 1 channels: with k neighbours on both sides), or 3-D.
    refine : Network or None
        3-D network from the first one's probabilities and the grey values to phases.
    phases : tuple of str
        Name of each label.
    porosity_errors : tuple of float
        Predicted minus true porosity on volumes that training never saw; the interval rests on them.
    set_aside : int or None
        How many volumes at the end of its corpus the training left out, if known.
    preprocessing : Preprocessing
        What both networks see of the grey values.
    temperature : float
        Logits are divided by it, so that a probability of 0.8 is right in 80 % of such voxels.
    domain : Domain or None
        What the pictures of the training look like.
    """

    first: Network
    refine: Network | None
    phases: tuple[str, ...]
    porosity_errors: tuple[float, ...] = ()
    set_aside: int | None = None
    preprocessing: Preprocessing = Preprocessing()
    temperature: float = 1.0
    domain: Domain | None = None

    def predict(self, grey: Any) -> Segmentation:
        """Segment a grey volume.

        Parameters
        ----------
        grey : array-like or Volume, shape (Z, Y, X)
            Grey values of any scale; z is the slicing direction.

        Returns
        -------
        Segmentation

        Raises
        ------
        ValueError
            If the volume is constant, not three-dimensional or holds NaN.
        """
        grey = check_grey(grey)
        probability = np.concatenate(list(self.slabs(grey)), axis=1)
        labels = from_one_hot(probability)
        porosity = float(np.mean(labels == 0))
        interval, coverage = porosity_interval(porosity, self.porosity_errors)
        judgement = self._judge(grey)
        return Segmentation(labels, probability, porosity, interval, coverage, self.phases, judgement)

    def _judge(self, grey: np.ndarray) -> Judgement | None:
        # A picture too small to be judged can be segmented all the same.
        with contextlib.suppress(ValueError):
            return self.domain.judge(image_statistics(grey)) if self.domain else None
        return None

    def slabs(self, grey: Any) -> Iterator[np.ndarray]:
        """Predict from the first slice to the last, holding a layer of tiles at a time.

        Parameters
        ----------
        grey : array-like, shape (Z, Y, X)
            As in `predict`; what has ``shape``, ``dtype`` and slices (Zarr, HDF5, a memory map) is not read as a whole.

        Yields
        ------
        ndarray of float32, shape (n_phases, planes, Y, X)
            Probability of each phase.

        Raises
        ------
        ValueError
            As `predict`.
        """
        for probability in self._uncalibrated_slabs(grey):
            yield probability if self.temperature == 1 else apply_temperature(probability, self.temperature)

    def _uncalibrated_slabs(self, grey: Any) -> Iterator[np.ndarray]:
        levels = self.preprocessing.measure(grey)
        probabilities = predict_first(self.first, self._seen(grey, levels), shape=grey.shape)
        if self.refine is None:
            yield from probabilities
            return
        stack, seen = _Forward(probabilities), _Forward(self._seen(grey, levels))
        yield from predict_slabs(
            _Probabilities(self.refine),
            lambda first, last: stack_channels(stack(first, last), seen(first, last)),
            size=grey.shape,
            tile=(BLOCK_TILE,) * 3,
            overlap=(BLOCK_OVERLAP,) * 3,
            multiple=self.refine.factor,
        )

    def _seen(self, grey: Any, levels: Levels) -> Iterator[np.ndarray]:
        """Yield what the networks see, ``(1, planes, Y, X)``."""
        for first in range(0, grey.shape[0], SLAB):
            yield self.preprocessing.apply(np.asarray(grey[first : first + SLAB]), levels)[None]

    def save(self, folder: str | Path) -> None:
        """Write the networks and the calibration to `folder`, all or nothing."""
        description = {
            "phases": list(self.phases),
            "porosity_errors": list(self.porosity_errors),
            "set_aside": self.set_aside,
            "preprocessing": self.preprocessing.kind,
            "temperature": self.temperature,
            "domain": self.domain.as_dict() if self.domain else None,
        }
        with replace_when_complete(folder) as temporary:
            temporary.mkdir()
            self.first.save_pretrained(temporary / "first")
            if self.refine is not None:
                self.refine.save_pretrained(temporary / "refine")
            (temporary / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load(name_or_folder: str | Path) -> Segmenter:
    """Load a segmenter.

    Parameters
    ----------
    name_or_folder : str or path-like
        Name of a shipped model, or the folder of a training run or of a saved segmenter.

    Returns
    -------
    Segmenter

    Raises
    ------
    ValueError
        If there is no such model (the message lists the shipped ones), or its folder is damaged.
    """
    for folder in (WEIGHTS / name_or_folder, Path(name_or_folder), Path(name_or_folder) / "segmenter"):
        if (folder / DESCRIPTION).is_file():
            break
    else:
        shipped = ", ".join(shipped_models()) or "none"
        raise ValueError(
            f"there is no segmenter '{name_or_folder}'; give a shipped name ({shipped}) or the folder of a training run"
        )
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return Segmenter(
            load_network(folder / "first"),
            load_network(folder / "refine") if (folder / "refine").is_dir() else None,
            tuple(description["phases"]),
            tuple(description["porosity_errors"]),
            description["set_aside"],
            Preprocessing(description["preprocessing"]),
            description["temperature"],
            Domain.from_dict(description["domain"]) if description["domain"] else None,
        )
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"the segmenter in '{folder}' is damaged or incomplete ({error}); train it again") from error


def shipped_models() -> list[str]:
    """Return the names of the models in the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{DESCRIPTION}"))


def stack_channels(probability: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Return the input ``(n_phases + 1, Z, Y, X)`` of the refining network."""
    return np.concatenate([probability, grey]).astype(np.float32, copy=False)


def predict_first(network: Network, seen: Iterator[np.ndarray], *, shape: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the phases' probabilities ``(n, planes, Y, X)`` by a network on slices or on blocks.

    Parameters
    ----------
    network : Network
        2-D or 3-D.
    seen : iterator of ndarray
        What the network sees, ``(1, planes, Y, X)`` from the first plane to the last.
    shape : sequence of int
        ``(Z, Y, X)``.
    """
    read = _Forward(seen)
    if network.dims == 3:
        yield from predict_slabs(
            _Probabilities(network),
            read,
            size=shape,
            tile=(BLOCK_TILE,) * 3,
            overlap=(BLOCK_OVERLAP,) * 3,
            multiple=network.factor,
        )
        return
    reach = network.config["in_channels"] // 2
    for z in tqdm(range(shape[0]), desc="slices", disable=None):
        first, last = max(0, z - reach), min(shape[0], z + reach + 1)
        # The outermost slices are repeated beyond the ends of the stack.
        places = np.clip(np.arange(z - reach, z + reach + 1), 0, shape[0] - 1) - first
        yield predict_tiled(
            _Probabilities(network),
            read(first, last)[0, places],
            tile=(SLICE_TILE,) * 2,
            overlap=(SLICE_OVERLAP,) * 2,
            multiple=network.factor,
        )[:, None]


class _Forward:
    """Planes of slabs that come one after the other, held only as long as they may be asked for again."""

    def __init__(self, slabs: Iterator[np.ndarray]) -> None:
        self.slabs, self.held, self.start = slabs, next(slabs), 0

    def __call__(self, first: int, last: int) -> np.ndarray:
        """Return planes ``first`` to ``last`` along axis 1; neither may fall."""
        self.held, self.start = self.held[:, first - self.start :], first
        parts = [self.held]
        while sum(part.shape[1] for part in parts) < last - first:
            parts.append(next(self.slabs))
        self.held = np.concatenate(parts, axis=1) if len(parts) > 1 else self.held
        return self.held[:, : last - first]


def porosity_interval(porosity: float, errors: Sequence[float]) -> tuple[tuple[float, float], float]:
    """Return an interval for the true porosity and its coverage, by split conformal prediction.

    Parameters
    ----------
    porosity : float
        As predicted.
    errors : sequence of float
        Predicted minus true porosity on N volumes of the same kind, unseen in training.

    Returns
    -------
    (low, high), coverage
        The k-th smallest absolute error to both sides; its coverage is at least k / (N + 1). k is chosen for
        0.9, or is N where N < 9. Without any error the interval is [0, 1].

    References
    ----------
    .. [1] J. Lei et al., "Distribution-free predictive inference for regression", JASA 113 (2018) 1094-1111.
    """
    count = len(errors)
    if count == 0:
        return (0.0, 1.0), 1.0
    rank = min(count, math.ceil(COVERAGE * (count + 1)))
    reach = float(np.sort(np.abs(errors))[rank - 1])
    return (max(0.0, porosity - reach), min(1.0, porosity + reach)), rank / (count + 1)


class _Probabilities:
    """A network as a function from array ``(C, …)`` to probabilities ``(n, …)``."""

    def __init__(self, network: Network) -> None:
        self.network = network.eval()
        self.device = next(network.parameters()).device

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        logits = self.network(torch.from_numpy(image)[None].to(self.device))
        return logits[0].float().softmax(dim=0).cpu().numpy()
