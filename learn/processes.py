"""Which of the processes that train together is this one, on accelerators or on a CPU."""

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

__all__ = ["on_cpu", "this_process"]


def on_cpu() -> bool:
    """Return whether training runs on the CPU: where there is nothing else, or ``ACCELERATE_USE_CPU`` says so.

    Told nothing, accelerate takes each of several processes on a machine without accelerators for the only one.
    """
    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


def this_process() -> PartialState:
    """Return accelerate's state of this process, after joining those started with it."""
    return PartialState(cpu=on_cpu())
