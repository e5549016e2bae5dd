"""From a trained model to volumes in files; killed and started again, it goes on."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from generative import StructurePipeline, WalkSettings, load
from generative.requests import check_request
from generative.walks import Sampler, make_walk
from launch import ConfigError, describe_software, make_output_folder
from poreforge.outputs import write_summary
from volume import Volume, read, write

__all__ = ["GenerationSettings", "generate"]

RECORD = "generate.json"
# Scores of more bytes than this are kept on disk.
LARGE = 4 * 2**30


@dataclass(frozen=True)
class GenerationSettings:
    """What to make.

    Parameters
    ----------
    shape : three ints, optional
        ``(z, y, x)`` in voxels; what the model was trained on unless given.
    count, first, seed, steps, fractions, periodic
        As in calling a model of `generative.load`.
    sampler, guidance_scale, overlap
        As in `generative.WalkSettings`; diffusion models only.
    format : {"tif", "zarr"}, optional
        One file a volume, or one OME-Zarr folder that is written slab by slab with the walk on disk; the second for
        volumes whose scores take more than 4 GiB unless given.
    """

    shape: tuple[int, int, int] | None = None
    count: int = 1
    first: int = 0
    seed: int = 0
    steps: int | None = None
    fractions: tuple[float, ...] | None = None
    periodic: bool = False
    sampler: Sampler = "dpm++"
    guidance_scale: float = 1.0
    overlap: int | None = None
    format: Literal["tif", "zarr"] | None = None

    def __post_init__(self) -> None:
        if self.format not in (None, "tif", "zarr"):
            raise ValueError(f"format is {self.format!r}; give tif or zarr")


def generate(model: str | Path, out: str | Path, settings: GenerationSettings) -> dict[str, Any]:
    """Make volumes and write them as ``sample-000.tif``, … (or ``.zarr``), with phases and voxel size.

    Those that are there already are kept, so the same command again goes on where it was stopped, and with a larger
    `count` adds to what was made.

    Parameters
    ----------
    model : str or path-like
        As `generative.load` takes it.
    out : path-like
        Folder; it also gets ``generate.json`` (what was asked for) and ``summary.json``.
    settings : GenerationSettings
        What to make.

    Returns
    -------
    dict
        What ``summary.json`` holds.

    Raises
    ------
    ValueError
        If the model or an argument cannot be used, or the folder holds volumes that were asked for otherwise.
    """
    pipe, out = load(model), Path(out)
    patch = pipe.card.patch
    request = check_request(
        settings.shape,
        default=patch,
        n_phases=len(pipe.card.phases),
        count=settings.count,
        seed=settings.seed,
        first=settings.first,
        fractions=settings.fractions,
        periodic=settings.periodic,
    )
    scores = 4 * len(pipe.card.phases) * int(np.prod(request.shape))
    suffix = settings.format or ("zarr" if scores > LARGE else "tif")
    asked = _arguments(pipe, settings)
    _claim(make_output_folder(out), str(model), settings, suffix)
    began, rows = time.perf_counter(), []
    for index in range(request.first, request.first + request.count):
        path = out / f"sample-{index:03d}.{suffix}"
        started = time.perf_counter()
        if not path.exists():
            _make(pipe, path, index, {"shape": request.shape, **asked})
        rows.append(_facts(path, len(pipe.card.phases), seconds=time.perf_counter() - started))
    summary = {
        "model": str(model),
        "kind": pipe.card.kind,
        "phases": list(pipe.card.phases),
        "shape": list(request.shape),
        "voxel_size_um": pipe.card.voxel_size_um,
        "volumes": rows,
        "mean_fractions": np.mean([row["fractions"] for row in rows], axis=0).tolist(),
        "seconds": round(time.perf_counter() - began, 2),
        "software": describe_software(),
    }
    write_summary(out / "summary.json", summary)
    return summary


def _arguments(pipe: Any, settings: GenerationSettings) -> dict[str, Any]:
    """Return what the model is called with besides shape and number, checked before anything is written."""
    asked: dict[str, Any] = {
        "steps": settings.steps,
        "seed": settings.seed,
        "fractions": settings.fractions,
        "periodic": settings.periodic,
    }
    if isinstance(pipe, StructurePipeline):
        asked["settings"] = WalkSettings(
            sampler=settings.sampler, overlap=settings.overlap, guidance_scale=settings.guidance_scale
        )
        make_walk(pipe.schedule, sampler=settings.sampler, steps=1 if settings.steps is None else settings.steps)
    return asked


def _make(pipe: Any, path: Path, index: int, asked: dict[str, Any]) -> None:
    if path.suffix == ".zarr" and isinstance(pipe, StructurePipeline):
        pipe.write(path, index=index, **asked)
        return
    labels = pipe(first=index, **asked)[0]
    write(path, Volume(labels, pipe.card.voxel_size_um, pipe.card.phases))


def _facts(path: Path, n_phases: int, *, seconds: float) -> dict[str, Any]:
    labels = read(path).array
    counts = np.bincount(labels.ravel(), minlength=n_phases)
    return {"file": path.name, "fractions": (counts / labels.size).tolist(), "seconds": round(seconds, 2)}


def _claim(out: Path, model: str, settings: GenerationSettings, suffix: str) -> None:
    """Write what is asked for, or refuse a folder whose volumes were asked for otherwise."""
    # How many does not change what each of them is.
    fixed = {name: value for name, value in asdict(settings).items() if name not in ("count", "first", "format")}
    asked = json.loads(json.dumps({"model": model, **fixed, "format": suffix}))
    path = out / RECORD
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = {}
        for name, value in asked.items():
            if before.get(name) != value:
                raise ConfigError(
                    f"'{out}' holds volumes made with {name} = {before.get(name)!r}, now {name} = {value!r}; "
                    "set it back or choose another folder"
                )
        return
    if any(out.glob("sample-*")):
        raise ConfigError(f"'{out}' holds samples of another origin; choose another folder")
    write_summary(path, asked)
