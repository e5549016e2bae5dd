"""A trained network made ready to answer: batch norms folded in, channels last, on its device, in its precision."""

import copy
import itertools
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segment.networks import Network

__all__ = ["Answering", "Precision", "check_precision", "choose_device"]

Precision = Literal["float32", "bfloat16"]
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


class Answering:
    """A network as a function from an array to probabilities.

    Parameters
    ----------
    network : Network
        It is copied and not changed.
    precision : {"float32", "bfloat16"}
        Of convolutions; sums over tiles and probabilities are float32 anyway.

    Notes
    -----
    A batch norm behind a convolution is a factor and an offset for each channel once it is trained, and so becomes part
    of the convolution's weights.
    """

    def __init__(self, network: Network, precision: Precision = "float32") -> None:
        self.device = next(network.parameters()).device
        self.precision = check_precision(precision)
        self.layout = CHANNELS_LAST[network.dims]
        ready: Any = _folded(copy.deepcopy(network).eval())
        self.network = ready.to(memory_format=self.layout)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return probabilities ``(n, …)``, float32, for an input ``(C, …)``."""
        try:
            x = torch.from_numpy(image)[None].to(self.device).contiguous(memory_format=self.layout)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                logits = self.network(x)
            return logits[0].float().softmax(dim=0).contiguous().cpu().numpy()
        except RuntimeError as error:
            # The CPU's own exhaustion has no class of its own.
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise MemoryError(f"a tile of {image.shape} does not fit on device '{self.device}'") from error
            raise


def check_precision(precision: Precision) -> Precision:
    """Return `precision` if there is such, else raise ``ValueError``."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}; give one of {', '.join(get_args(Precision))}")
    return precision


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name.

    Parameters
    ----------
    name : str
        ``cpu``, ``cuda``, ``cuda:1`` and so on, or ``auto``: the first accelerator if there is one, else the CPU.

    Raises
    ------
    ValueError
        If it is no such name, or this machine or this installation of PyTorch has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"the device is {name!r}; give auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ValueError(
            f"there is no device '{name}' (PyTorch {torch.__version__} sees {found} CUDA devices); give auto or cpu"
        )
    return device


def _folded(network: nn.Module) -> nn.Module:
    """Fold each batch norm that follows a convolution in a sequence into it, in place."""
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for (name, layer), (after, norm) in itertools.pairwise(list(sequence.named_children())):
            if not isinstance(layer, nn.Conv2d | nn.Conv3d) or not isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
                continue
            if norm.track_running_stats:
                setattr(sequence, name, fuse_conv_bn_eval(layer, norm))
                setattr(sequence, after, nn.Identity())
    return network
