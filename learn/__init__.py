"""Training that any network of the project shares: one loop, on one process or many, resumable to the bit."""

from learn.loop import LoopSettings, train

__all__ = ["LoopSettings", "train"]
