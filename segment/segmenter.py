"""The two-stage segmenter: a network on slices, a second one that refines their stack."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from tqdm import tqdm

from launch import replace_when_complete
from segment.networks import UNet
from segment.thresholds import check_grey
from segment.tiling import predict_tiled
from volume import from_one_hot

__all__ = ["Segmentation", "Segmenter", "load", "normalise", "shipped_models"]

SLICE_TILE, SLICE_OVERLAP = 256, 32
BLOCK_TILE, BLOCK_OVERLAP = 64, 16
COVERAGE = 0.9
GREY_RANGE = (-0.5, 1.5)
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
    """

    labels: np.ndarray
    probability: np.ndarray
    porosity: float
    porosity_interval: tuple[float, float]
    coverage: float
    phases: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Segmenter:
    """Two trained networks and what was measured of them.

    Parameters
    ----------
    slices : UNet
        2-D network from one slice to its phases.
    refine : UNet or None
        3-D network from stacked probabilities and grey values to phases.
    phases : tuple of str
        Name of each label.
    porosity_errors : tuple of float
        Predicted minus true porosity on volumes that training never saw; the interval rests on them.
    set_aside : int or None
        How many volumes at the end of its corpus the training left out, if known.
    """

    slices: UNet
    refine: UNet | None
    phases: tuple[str, ...]
    porosity_errors: tuple[float, ...] = ()
    set_aside: int | None = None

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
        grey = normalise(check_grey(grey))
        probability = predict_slices(self.slices, grey)
        if self.refine is not None:
            probability = predict_blocks(self.refine, stack_channels(probability, grey))
        labels = from_one_hot(probability)
        porosity = float(np.mean(labels == 0))
        interval, coverage = porosity_interval(porosity, self.porosity_errors)
        return Segmentation(labels, probability, porosity, interval, coverage, self.phases)

    def save(self, folder: str | Path) -> None:
        """Write the networks and the calibration to `folder`, all or nothing."""
        description = {
            "phases": list(self.phases),
            "porosity_errors": list(self.porosity_errors),
            "set_aside": self.set_aside,
        }
        with replace_when_complete(folder) as temporary:
            temporary.mkdir()
            self.slices.save_pretrained(temporary / "slices")
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
        slices = UNet.from_pretrained(folder / "slices").eval()
        refine = UNet.from_pretrained(folder / "refine").eval() if (folder / "refine").is_dir() else None
        return Segmenter(
            slices,
            refine,
            tuple(description["phases"]),
            tuple(description["porosity_errors"]),
            description.get("set_aside"),
        )
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"the segmenter in '{folder}' is damaged or incomplete ({error}); train it again") from error


def shipped_models() -> list[str]:
    """Return the names of the models in the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{DESCRIPTION}"))


def normalise(grey: np.ndarray) -> np.ndarray:
    """Return `grey` as float32 with its 1st percentile at 0 and its 99th at 1, and nothing far beyond.

    Where these two are equal, the smallest and largest values take their place. Values beyond `GREY_RANGE`, such as
    glaring grains and dead pixels, are clipped to it: they would mislead the network far around them.
    """
    # A regular subset keeps large volumes cheap and the result independent of chance.
    stride = max(1, math.ceil((grey.size / 4e6) ** (1 / 3)))
    low, high = np.percentile(grey[::stride, ::stride, ::stride], [1, 99])
    if low == high:
        # As Python numbers, for the span of an int16 volume need not fit into int16.
        low, high = grey.min().item(), grey.max().item()
    # Single precision would drown the contrast of wide numbers that sit on a large offset.
    wide = np.result_type(grey.dtype, np.float32).type
    scaled = (grey.astype(wide, copy=False) - wide(low)) / wide(high - low)
    return np.clip(scaled, *GREY_RANGE).astype(np.float32, copy=False)


def stack_channels(probability: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Return the input ``(n_phases + 1, Z, Y, X)`` of the refining network."""
    return np.concatenate([probability, grey[None]]).astype(np.float32, copy=False)


def predict_slices(network: UNet, grey: np.ndarray) -> np.ndarray:
    """Return the phases' probabilities ``(n, Z, Y, X)`` of normalised grey values, slice by slice."""
    predict = _Probabilities(network)
    tile, overlap = (SLICE_TILE,) * 2, (SLICE_OVERLAP,) * 2
    slices = [
        predict_tiled(predict, image[None], tile=tile, overlap=overlap, multiple=network.factor)
        for image in tqdm(grey, desc="slices", disable=None)
    ]
    return np.stack(slices, axis=1)


def predict_blocks(network: UNet, channels: np.ndarray) -> np.ndarray:
    """Return the phases' probabilities ``(n, Z, Y, X)`` refined in three dimensions."""
    return predict_tiled(
        _Probabilities(network),
        channels,
        tile=(BLOCK_TILE,) * 3,
        overlap=(BLOCK_OVERLAP,) * 3,
        multiple=network.factor,
    )


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

    def __init__(self, network: UNet) -> None:
        self.network = network.eval()
        self.device = next(network.parameters()).device

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        logits = self.network(torch.from_numpy(image)[None].to(self.device))
        return logits[0].float().softmax(dim=0).cpu().numpy()
