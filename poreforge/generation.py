"""From a trained model to volumes in files; killed and started again, it goes on."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from generative import StructurePipeline, WalkSettings, load
from generative.fingerprint import fingerprint_of_files
from generative.loading import find_model
from generative.memory import say_what_to_lower
from generative.requests import Request, check_request
from generative.walks import Sampler, make_walk
from launch import ConfigError, describe_software, make_output_folder
from poreforge.outputs import write_summary
from volume import Volume, read, write

__all__ = ["GenerationSettings", "generate"]

RECORD = "generate.json"
# Scores of more bytes than this are kept on disk.
LARGE = 4 * 2**30
# What says how volumes are made rather than which.
FREE = ("count", "first", "format", "devices")
# What only a walk has.
OF_WALKS = ("steps", "sampler", "guidance_scale", "overlap")
PLANES = 16


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
        As in `generative.WalkSettings`; these and `steps` for diffusion models only.
    format : {"tif", "zarr"}, optional
        One file a volume, or one OME-Zarr folder that is written slab by slab with the walk on disk; the second for
        volumes whose scores take more than 4 GiB unless given.
    devices : sequence of str, optional
        Such as ``cuda:0``; several share the windows of a diffusion model. An accelerator if there is one unless
        given.
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
    devices: tuple[str, ...] | None = None

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
        If the model or an argument cannot be used, the folder holds volumes of other weights or that were asked for
        otherwise, or memory or disk run out. What was made before that stays; where nothing was, nothing is left.
    """
    folder, out = find_model(model), Path(out)
    weights, pipe = fingerprint_of_files(folder), _load(folder, settings.devices)
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
    scores = 4 * len(pipe.card.phases) * prod(request.shape)
    suffix = settings.format or ("zarr" if scores > LARGE else "tif")
    asked = {"shape": request.shape, **_arguments(pipe, settings)}
    began, new = time.perf_counter(), not out.exists()
    _claim(make_output_folder(out), {"model": str(model), "weights": weights}, settings, suffix)
    try:
        rows = _make_all(pipe, out, suffix, request=request, asked=asked)
    except ValueError:
        _withdraw(out, new=new)
        raise
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


def _load(folder: Path, devices: tuple[str, ...] | None) -> Any:
    pipe = load(folder, device=devices[0] if devices else None)
    if devices is None or len(devices) == 1:
        return pipe
    if not isinstance(pipe, StructurePipeline):
        raise ConfigError(f"a model of the kind '{pipe.card.kind}' works on one device, not on {', '.join(devices)}")
    return pipe.on_devices(devices)


def _make_all(pipe: Any, out: Path, suffix: str, *, request: Request, asked: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for index in range(request.first, request.first + request.count):
        path = out / f"sample-{index:03d}.{suffix}"
        started = time.perf_counter()
        if not path.exists():
            with say_what_to_lower(f"a volume of {request.shape} voxels", "lower the shape"):
                _make(pipe, path, index, asked)
        _clear(path)
        rows.append(_facts(path, len(pipe.card.phases), seconds=time.perf_counter() - started))
    return rows


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
    usual = {field.name: field.default for field in fields(settings)}
    for name in OF_WALKS:
        if getattr(settings, name) != usual[name]:
            raise ConfigError(
                f"{name} is {getattr(settings, name)!r}, but a model of the kind '{pipe.card.kind}' takes no steps "
                "from noise to volume; leave it out"
            )
    return asked


def _make(pipe: Any, path: Path, index: int, asked: dict[str, Any]) -> None:
    if path.suffix == ".zarr" and isinstance(pipe, StructurePipeline):
        pipe.write(path, index=index, **asked)
        return
    labels = pipe(first=index, **asked)[0]
    write(path, Volume(labels, pipe.card.voxel_size_um, pipe.card.phases))


def _facts(path: Path, n_phases: int, *, seconds: float) -> dict[str, Any]:
    counts = sum(np.bincount(slab.ravel(), minlength=n_phases) for slab in _slabs(path))
    return {"file": path.name, "fractions": (counts / np.sum(counts)).tolist(), "seconds": round(seconds, 2)}


def _slabs(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield a volume some planes at a time; one of a format for large volumes is never held."""
    if path.suffix == ".zarr":
        import zarr

        try:
            array: Any = zarr.open_group(path, mode="r")["0"]
        except Exception as error:
            # The reader has error types of its own.
            raise ConfigError(f"'{path}' is not a complete volume; remove it and start again") from error
    else:
        array = read(path).array
    for first in range(0, array.shape[0], PLANES):
        yield np.asarray(array[first : first + PLANES])


def _clear(path: Path) -> None:
    """Remove what calls that were killed left of a volume that is complete now."""
    for left in (path.with_name(f".{path.name}-walk"), *path.parent.glob(f".????????-{path.name}")):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def _withdraw(out: Path, *, new: bool) -> None:
    """Remove the record of what could not be made, and the folder if it is new, unless something was made."""
    if any(out.glob("sample-*")) or any(out.glob(".sample-*-walk/state-*")):
        return
    for left in out.glob(".sample-*-walk"):
        shutil.rmtree(left)
    (out / RECORD).unlink(missing_ok=True)
    if new and not any(out.iterdir()):
        out.rmdir()


def _claim(out: Path, made_by: dict[str, str], settings: GenerationSettings, suffix: str) -> None:
    """Write what is asked for, or refuse a folder whose volumes were asked for otherwise."""
    fixed = {name: value for name, value in asdict(settings).items() if name not in FREE}
    asked = json.loads(json.dumps({**made_by, **fixed, "format": suffix}))
    path = out / RECORD
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = {}
        for name, value in asked.items():
            # The same weights may have moved.
            if name != "model" and before.get(name) != value:
                raise ConfigError(
                    f"'{out}' holds volumes made with {name} = {before.get(name)!r}, now {name} = {value!r}; "
                    "set it back or choose another folder"
                )
        return
    if any(out.glob("sample-*")):
        raise ConfigError(f"'{out}' holds samples of another origin; choose another folder")
    write_summary(path, asked)
