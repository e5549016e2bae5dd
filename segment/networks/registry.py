"""The networks by name: what there is, how one is made, and how one is loaded."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError

from segment.networks.attention_unet import AttentionUNet
from segment.networks.network import Network, check_sizes
from segment.networks.resnext_unet import ResNeXtUNet
from segment.networks.segnet import SegNet
from segment.networks.swin_unet import SwinUNet
from segment.networks.unet import UNet
from segment.networks.unet3plus import UNet3Plus
from segment.networks.vnet import VNet

__all__ = ["NETWORKS", "NetworkEntry", "build_network", "load_network"]

CONFIG = "config.json"
NOT_SIZES = frozenset({"self", "dims", "in_channels", "n_phases"})


@dataclass(frozen=True)
class NetworkEntry:
    """What the registry knows of a network.

    Attributes
    ----------
    network : type
        Its class.
    dims : tuple of int
        In how many dimensions the papers have it: 2 for slices, 3 for volumes.
    papers : tuple of str
        Which of the five papers use it, by the names of the README.
    paper_size : mapping of str to int
        Keywords that give the size of the papers; where they tell none, that of the network's own reference.
    """

    network: type[Network]
    dims: tuple[int, ...]
    papers: tuple[str, ...]
    paper_size: Mapping[str, int]

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the keywords that `build_network` passes on to this network."""
        return tuple(name for name in inspect.signature(self.network.__init__).parameters if name not in NOT_SIZES)


NETWORKS: Mapping[str, NetworkEntry] = MappingProxyType(
    {
        "unet": NetworkEntry(
            UNet, (2, 3), ("reproducible_3d_segmentation",), MappingProxyType({"width": 64, "depth": 4})
        ),
        "segnet": NetworkEntry(SegNet, (2,), ("pore_segnet",), MappingProxyType({"width": 32})),
        "vnet": NetworkEntry(VNet, (3,), ("utile_pore",), MappingProxyType({"width": 16, "depth": 4, "kernel": 5})),
        "resnext-unet": NetworkEntry(
            ResNeXtUNet,
            (2, 3),
            ("utile_pore", "utile_redox"),
            MappingProxyType({"width": 64, "layers": 101, "cardinality": 32}),
        ),
        "swin-unet": NetworkEntry(
            SwinUNet, (2, 3), ("utile_pore", "utile_redox"), MappingProxyType({"width": 48, "window": 6})
        ),
        "attention-unet": NetworkEntry(
            AttentionUNet, (2, 3), ("utile_redox",), MappingProxyType({"width": 64, "depth": 4})
        ),
        "unet3plus": NetworkEntry(UNet3Plus, (2, 3), ("utile_redox",), MappingProxyType({"width": 64, "depth": 4})),
    }
)


def build_network(name: str, *, dims: int, in_channels: int = 1, n_phases: int = 2, **size: Any) -> Network:
    """Return an untrained network.

    Parameters
    ----------
    name : str
        One of `NETWORKS`. The 2.5-D U-Net is ``unet`` with ``dims=2`` and 2 k + 1 channels: neighbouring slices.
    dims : int
        2 for slices, 3 for volumes.
    in_channels : int
        Channels of the input.
    n_phases : int
        Phases to tell apart, 2 or more: channels of the output.
    **size
        Keywords of the network's class, such as ``width``; ``NETWORKS[name].sizes`` names them, and
        ``NETWORKS[name].paper_size`` is the papers' choice. The defaults are small enough to train on a CPU.

    Returns
    -------
    Network
        In ``train()`` mode, weights drawn from torch's own generator (seed it with ``torch.manual_seed``).

    Raises
    ------
    ValueError
        If there is no such network or not in that many dimensions, or a size is unknown or out of range.
    """
    if name not in NETWORKS:
        raise ValueError(f"there is no network '{name}'; give one of {', '.join(NETWORKS)}")
    entry = NETWORKS[name]
    if dims not in entry.dims:
        raise ValueError(f"dims is {dims!r}; '{name}' exists in {' and '.join(map(str, entry.dims))} dimensions")
    unknown = [key for key in size if key not in entry.sizes]
    if unknown:
        raise ValueError(f"'{name}' has no size '{unknown[0]}'; it has {', '.join(entry.sizes)}")
    check_sizes({"n_phases": n_phases})
    if n_phases < 2:
        raise ValueError(f"n_phases is {n_phases}; give 2 or more to tell apart")
    make: Any = entry.network
    network: Network = make(dims=dims, in_channels=in_channels, n_phases=n_phases, **size)
    return network.train()


def load_network(folder: str | Path) -> Network:
    """Return a saved network of any class in this package, in ``eval()`` mode.

    Parameters
    ----------
    folder : str or path-like
        What ``network.save_pretrained`` wrote: ``config.json``, which names the class and its sizes, and weights.

    Raises
    ------
    ValueError
        If the folder holds no network, one of an unknown class, or weights that do not fit.
    """
    folder = Path(folder)
    classes: dict[str, Any] = {entry.network.__name__: entry.network for entry in NETWORKS.values()}
    if not (folder / CONFIG).is_file():
        raise ValueError(f"there is no network in '{folder}'; give a folder that holds {CONFIG} and its weights")
    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["_class_name"]
        if kind not in classes:
            raise ValueError(f"its class is {kind!r}, not one of {', '.join(classes)}")
        # Otherwise what the file lacks would silently be left at random.
        # Saving memory patches torch for all threads, and a network at work in another one answers wrongly.
        network, found = classes[kind].from_pretrained(folder, output_loading_info=True, low_cpu_mem_usage=False)
        astray = [*found["missing_keys"], *found["unexpected_keys"], *found["mismatched_keys"]]
        if astray:
            raise ValueError(f"{len(astray)} of its weights are missing or do not fit, {astray[0]} for one")
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        # The libraries go on with every other fault, and with advice on their own options.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines[1].rstrip(".") if len(lines) > 1 else str(error)).partition(". ")[0]
        raise ValueError(f"the network in '{folder}' cannot be loaded ({reason}); save or train it again") from error
    loaded: Network = network.eval()
    return loaded
