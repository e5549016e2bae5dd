"""The state of a training run on disk: each checkpoint is complete or not there."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from generative.pipeline import StructurePipeline, newest_checkpoint
from launch import ConfigError, to_plain

__all__ = ["check_same_run", "load_checkpoint", "save_checkpoint"]

# What a resumed run may change: how far it goes, and the place where it lies.
FREE_KEYS = frozenset({"training.steps", "out"})


def save_checkpoint(
    run: Path, step: int, accelerator: Accelerator, *, ema: EMAModel, averaged: StructurePipeline, keep: int
) -> Path:
    """Write ``checkpoints/step-…`` and drop the oldest ones. Every process must call it.

    Parameters
    ----------
    run : Path
        The run folder.
    step : int
        Optimiser steps done.
    accelerator : Accelerator
        Saves weights, optimiser, learning-rate schedule, gradient scaler and the random state of each process.
    ema : EMAModel
        The moving average; its counters are saved here, its weights through `averaged`.
    averaged : StructurePipeline
        Receives the averaged weights and is written to ``ema/``, from where `generative.load` can read it.
    keep : int
        Number of newest checkpoints kept.

    Returns
    -------
    Path
        The checkpoint.
    """
    final = run / "checkpoints" / f"step-{step:08d}"
    # A name that all processes know, unlike a random one.
    partial = final.with_name(f".partial-{final.name}")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial), safe_serialization=True)
    if accelerator.is_main_process:
        ema.copy_to(averaged.denoiser.parameters())
        averaged.save_pretrained(partial / "ema")
        counters = {name: value for name, value in ema.state_dict().items() if name != "shadow_params"}
        state = {"step": step, "ema": counters}
        (partial / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        partial.rename(final)
        for old in sorted((run / "checkpoints").glob("step-*"))[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return final


def load_checkpoint(folder: Path, accelerator: Accelerator, *, ema: EMAModel, phases: tuple[str, ...]) -> int:
    """Read a checkpoint into what the accelerator has prepared and into the moving average.

    Returns
    -------
    int
        Optimiser steps done.

    Raises
    ------
    ValueError
        If the checkpoint is of a model with other phases.
    """
    saved = StructurePipeline.from_pretrained(folder / "ema")
    if saved.phases != phases:
        raise ValueError(
            f"checkpoint '{folder}' is of a model with {len(saved.phases)} phases ({', '.join(saved.phases)}), but the "
            f"material has {len(phases)} ({', '.join(phases)}); train in another run folder"
        )
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    accelerator.load_state(str(folder))
    shadow = [p.detach().to(s) for p, s in zip(saved.denoiser.parameters(), ema.shadow_params, strict=True)]
    ema.load_state_dict({**state["ema"], "shadow_params": shadow})
    return int(state["step"])


def check_same_run(run: Path, config: Any) -> None:
    """Refuse to go on in a folder that holds the checkpoints of another configuration.

    Raises
    ------
    ConfigError
        Naming the first differing key and both values. ``training.steps`` and ``out`` may differ.
    """
    if newest_checkpoint(run) is None:
        return
    try:
        before = _flat(json.loads((run / "run.json").read_text(encoding="utf-8"))["config"])
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"'{run}' has checkpoints but no readable run.json; choose another run folder") from error
    now = _flat(json.loads(json.dumps(to_plain(config))))
    for key in sorted((before.keys() | now.keys()) - FREE_KEYS):
        if before.get(key) != now.get(key):
            raise ConfigError(
                f"run folder '{run}' was trained with {key} = {before.get(key)!r}, now {key} = {now.get(key)!r}; "
                "only training.steps may change: set it back or choose another run folder"
            )


def _flat(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Turn nested mappings into ``{"outer.inner": value}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{where}{key}.") if isinstance(value, Mapping) else {f"{where}{key}": value}
    return flat
