"""Running out of memory, said in one sentence."""

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["say_what_to_lower"]

RAN_OUT = ("out of memory", "can't allocate memory", "cannot allocate memory")


@contextlib.contextmanager
def say_what_to_lower(task: str, advice: str) -> Iterator[None]:
    """Turn the many ways in which memory runs out into ``ValueError``.

    Parameters
    ----------
    task : str
        What it ran out in, such as ``"a volume of (64, 64, 64) voxels"``.
    advice : str
        What to lower, or to do instead.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in str(error).lower() for words in RAN_OUT):
            raise
        raise ValueError(f"memory ran out for {task}; {advice}") from error
