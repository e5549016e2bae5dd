"""The log of a training run: JSON lines, and TensorBoard's files where that is installed."""

import importlib.util
import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch import make_output_folder, replace_when_complete

__all__ = ["Log"]

# What the log itself says of a line, not the training.
OWN = ("step", "seconds")


class Log:
    """``metrics.jsonl`` and, where the package is installed, ``tensorboard/``.

    Lines beyond the checkpoint that a run resumes from are dropped; the seconds go on. TensorBoard's files are
    written anew from the lines that are kept, so that no step is there twice.

    Parameters
    ----------
    folder : path-like
        The run folder.
    done : int
        Steps of the checkpoint that the run resumes from; 0 for a fresh run.

    Raises
    ------
    ValueError
        If the folder cannot be written to.
    """

    def __init__(self, folder: str | Path, done: int) -> None:
        self.path = make_output_folder(folder) / "metrics.jsonl"
        kept: list[dict[str, float]] = []
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            # A killed run may have left half a line.
            kept = [entry for line in lines if line.endswith("\n") and (entry := json.loads(line))["step"] <= done]
            with replace_when_complete(self.path) as temporary:
                temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
        self.start = time.perf_counter() - (kept[-1]["seconds"] if kept else 0.0)
        self.board = _fresh_board(Path(folder) / "tensorboard")
        for entry in kept:
            self._show(entry)

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add a line; numbers that are not finite, for which JSON has no word, become null."""
        seconds = round(time.perf_counter() - self.start, 3)
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items() if name not in OWN}
        entry = {"step": step, **finite, "seconds": seconds}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self._show(entry)

    def close(self) -> None:
        """Write what TensorBoard still holds back."""
        if self.board is not None:
            self.board.close()

    def _show(self, entry: Mapping[str, Any]) -> None:
        if self.board is None:
            return
        # The hour at which the line was written, or would have been without the pauses.
        hour = time.time() - (time.perf_counter() - self.start) + entry["seconds"]
        for name, value in entry.items():
            if name not in OWN and value is not None:
                self.board.add_scalar(name, value, int(entry["step"]), walltime=hour)


def _fresh_board(folder: Path) -> Any:
    """Return a writer into an emptied folder, or None where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    return SummaryWriter(folder)
