"""Training that any network of the project shares: one loop, on one process or many, resumable to the bit."""

from learn.loop import LoopSettings, Turn, checkpoints, train
from learn.processes import on_cpu, this_process
from learn.runs import begin_run

__all__ = ["LoopSettings", "Turn", "begin_run", "checkpoints", "on_cpu", "this_process", "train"]
