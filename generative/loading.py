"""Models on disk: what each folder says of itself, and one way to load any kind."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from launch import make_output_folder
from learn import checkpoints

__all__ = [
    "GenerativeModel",
    "ModelCard",
    "checked_device",
    "find_model",
    "load",
    "read_card",
    "realign",
    "shipped_models",
    "write_card",
]

SHIPPED = Path(__file__).parent / "weights"
CARD = "material.json"
# Each kind of model, and the class that reads it.
KINDS = {
    "diffusion": "generative.pipeline:StructurePipeline",
    "dcgan": "generative.rivals.adversarial:AdversarialPipeline",
    "slicegan": "generative.rivals.adversarial:AdversarialPipeline",
    "gaussian": "generative.rivals.gaussian_model:GaussianPipeline",
    "boolean": "generative.rivals.boolean_model:BooleanPipeline",
}


@dataclass(frozen=True)
class ModelCard:
    """What a model makes, written beside its weights as ``material.json``.

    Parameters
    ----------
    kind : str
        ``diffusion``, ``dcgan``, ``slicegan``, ``gaussian`` or ``boolean``.
    phases : tuple of str
        Names indexed by label.
    voxel_size_um : tuple of three floats, optional
        ``(z, y, x)`` of the material that it learnt.
    patch : tuple of three ints, optional
        Shape ``(z, y, x)`` that it learnt; the default shape of a volume.
    settings : dict, optional
        What this kind of model needs besides its weights; plain numbers, text and lists.
    """

    kind: str
    phases: tuple[str, ...]
    voxel_size_um: tuple[float, float, float] | None = None
    patch: tuple[int, int, int] | None = None
    settings: dict[str, Any] | None = None


class GenerativeModel(Protocol):
    """What every kind of model does; `load` returns one."""

    card: ModelCard

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
        """Make labels ``(count, Z, Y, X)``."""
        ...

    def to(self, device: Any) -> "GenerativeModel":
        """Move to a torch device."""
        ...

    def save_pretrained(self, folder: str | Path) -> None:
        """Write all files of the model into a folder."""
        ...


def write_card(folder: str | Path, card: ModelCard) -> None:
    """Write ``material.json`` into `folder`."""
    known = {
        "kind": card.kind,
        "phases": list(card.phases),
        "voxel_size_um": card.voxel_size_um,
        "patch": card.patch,
        "settings": card.settings or {},
    }
    path = make_output_folder(folder) / CARD
    path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def read_card(folder: str | Path) -> ModelCard:
    """Read ``material.json`` of a folder.

    Raises
    ------
    ValueError
        If it is missing, cannot be read or names an unknown kind.
    """
    path = Path(folder) / CARD
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        size, patch = known["voxel_size_um"], known["patch"]
        card = ModelCard(
            kind=known.get("kind", "diffusion"),
            phases=tuple(known["phases"]),
            voxel_size_um=tuple(size) if size else None,
            patch=tuple(patch) if patch else None,
            settings=dict(known.get("settings") or {}),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"'{folder}' does not hold a complete model: {path.name}: {error}") from error
    if card.kind not in KINDS:
        raise ValueError(f"'{folder}' holds a model of the kind {card.kind!r}; known are {', '.join(KINDS)}")
    return card


def realign(network: Any) -> None:
    """Move weights that were read to addresses at which kernels round as they did in training."""
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()


def load(name_or_folder: str | Path, *, device: Any = None) -> Any:
    """Load a model that makes volumes.

    Parameters
    ----------
    name_or_folder : str or path-like
        Name of a shipped model, a folder written by `save_pretrained`, or the folder of a training run (its final
        model, or the averaged weights of its newest checkpoint).
    device : str or torch.device, optional
        An accelerator if there is one, unless given.

    Returns
    -------
    StructurePipeline, or a rival's pipeline
        Call it as ``pipe(shape=(z, y, x), count=1, steps=25, seed=0, fractions=None, periodic=False)``.

    Raises
    ------
    ValueError
        If there is no such name or folder, no complete model in it, or no such device.
    """
    import torch

    folder = find_model(name_or_folder)
    module, name = KINDS[read_card(folder).kind].split(":")
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    place = checked_device(device)
    return getattr(importlib.import_module(module), name).from_pretrained(folder).to(place)


def checked_device(device: Any) -> Any:
    """Return a torch device that is there.

    Raises
    ------
    ValueError
        If torch does not know it or cannot reach it.
    """
    import torch

    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device {str(device)!r} cannot be used ({reason}); give cpu, cuda, cuda:1, …") from error
    return place


def shipped_models() -> list[str]:
    """Return the names of the models that come with Poreforge."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))


def find_model(name_or_folder: str | Path) -> Path:
    """Return the folder with the files of a model that `load` would read, which a training run may soon replace.

    Raises
    ------
    ValueError
        If there is none.
    """
    shipped = shipped_models()
    if str(name_or_folder) in shipped:
        return SHIPPED / str(name_or_folder)
    folder = Path(name_or_folder)
    if not folder.is_dir():
        raise ValueError(
            f"there is no model '{name_or_folder}'; shipped: {', '.join(shipped) or 'none in this version'}; "
            "the folder of a training run (generative/train_ddpm.py, generative/train_gan.py) is accepted too"
        )
    for candidate in (folder, folder / "model", *(checkpoint / "model" for checkpoint in checkpoints(folder)[-1:])):
        if (candidate / CARD).is_file():
            return candidate
    raise ValueError(f"'{folder}' holds neither a model nor a complete checkpoint; train one or give another folder")
