"""A short text that changes with whatever a result depends on."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["fingerprint", "fingerprint_of_files"]


def fingerprint(value: Any) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of a value.

    Parameters
    ----------
    value : object
        Numbers, text, None, arrays, tensors, dataclasses, and mappings and sequences of these.

    Raises
    ------
    ValueError
        If there is something else in it, such as a function, whose content cannot be told.
    """
    digest = hashlib.sha256()
    for part in _parts(value):
        digest.update(part)
    return digest.hexdigest()[:16]


def fingerprint_of_files(folder: str | Path) -> str:
    """Return the same of the names and contents of the files in a folder."""
    return fingerprint({p.name: np.fromfile(p, np.uint8) for p in sorted(Path(folder).iterdir()) if p.is_file()})


def _parts(value: Any) -> Iterator[bytes]:
    """Yield bytes that begin with what they are and how many, so that no two values share theirs."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        yield type(value).__name__.encode()
        yield from _parts(fields)
    elif isinstance(value, torch.Tensor):
        yield from _parts(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, np.ndarray):
        yield f"array {value.dtype.str} {value.shape} ".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        yield from _parts([[key, value[key]] for key in sorted(value)])
    elif isinstance(value, list | tuple):
        yield f"{len(value)} of ".encode()
        for one in value:
            yield from _parts(one)
    elif value is None or isinstance(value, str | int | float | np.generic):
        text = repr(value.item() if isinstance(value, np.generic) else value)
        yield f"{len(text)} {text} ".encode()
    else:
        raise ValueError(
            f"{value!r} cannot be told from another of its kind, so that a walk on disk could not be resumed safely; "
            "give plain numbers, arrays or a dataclass of them, such as generative.guidance.Guidance"
        )
