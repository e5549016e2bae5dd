"""What is known of one method on one volume, and the folder in which it stays."""

import dataclasses
import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import numpy as np

from launch import make_output_folder, replace_when_complete

__all__ = ["Result", "ResultFolder"]


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """One method on one volume.

    Attributes
    ----------
    scores : dict
        As `poreforge.scores.score_segmentation` returns them; empty if the method failed.
    cost : dict
        As `poreforge.benchmarking.labelling.Server` tells it, with ``mvoxel``; empty for labels made elsewhere.
    plane : ndarray of uint8, shape (Y, X)
        Labels of the middle slice; of no pixel if the method failed.
    failure : str
        The sentence with which it failed; empty if it did not.
    """

    scores: dict[str, float]
    cost: dict[str, float]
    plane: np.ndarray
    failure: str = ""

    @classmethod
    def failed(cls, sentence: str) -> "Result":
        """Return what is known of a method that failed."""
        return cls({}, {}, np.empty((0, 0), np.uint8), sentence)


class ResultFolder(MutableMapping[str, Result]):
    """Results by key, each in a file of a folder, complete or not there; the folder is made with the first one.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, key: str) -> Result:
        path = self._path(key)
        if not path.is_file():
            raise KeyError(key)
        with np.load(path, allow_pickle=False) as file:
            record = json.loads(str(file["record"]))
            return Result(record["scores"], record["cost"], file["plane"])

    def __setitem__(self, key: str, value: Result) -> None:
        make_output_folder(self.folder)
        record = np.array(json.dumps({"scores": value.scores, "cost": value.cost}))
        with replace_when_complete(self._path(key)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, record=record, plane=value.plane)

    def __delitem__(self, key: str) -> None:
        self._path(key).unlink()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self.folder.glob("*.npz")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"
