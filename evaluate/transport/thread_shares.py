"""No more threads than a volume is worth."""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numba
import numpy as np

__all__ = ["on_few_threads"]

# Voxels for each thread.
SHARE = 2**18
Options = ParamSpec("Options")
Result = TypeVar("Result")


def on_few_threads(
    solve: Callable[Concatenate[np.ndarray, Options], Result],
) -> Callable[Concatenate[np.ndarray, Options], Result]:
    """Give each thread a share of the volume worth its start; the result must not depend on them."""

    @functools.wraps(solve)
    def with_few(volume: np.ndarray, *args: Any, **options: Any) -> Result:
        before = numba.get_num_threads()
        numba.set_num_threads(max(1, min(before, volume.size // SHARE)))
        try:
            return solve(volume, *args, **options)
        finally:
            numba.set_num_threads(before)

    return with_few
