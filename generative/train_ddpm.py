"""Train a diffusion model, started as ``accelerate launch generative/train_ddpm.py --config FILE [--out DIR]``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    # Started as a file, Python looks for packages in this folder; they are one above.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)


from generative.configuration import DDPMConfig
from generative.training import train
from launch import exit_on_bad_input, load_config
from learn import this_process

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the configuration, train, and say where the results are."""
    parser = argparse.ArgumentParser(
        prog="train_ddpm",
        description="Train a 3-D diffusion model on a labelled volume or a recipe. The same command again resumes.",
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML file, e.g. configs/generative/smoke.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting")
    parser.add_argument("--out", type=Path, help="run folder; wins over 'out' of the configuration")
    given = parser.parse_args(arguments)
    # Quoted, because YAML would take a folder called 2024 for a number.
    out = [f"out={json.dumps(str(given.out))}"] if given.out else []
    with exit_on_bad_input("train_ddpm"):
        config = load_config(DDPMConfig, given.config, [*given.set, *out])
        summary = train(config)
        if this_process().is_main_process:
            state = "was already finished" if summary.get("already_finished") else "finished"
            print(f"{config.out}: {state} at step {summary['step']}")


if __name__ == "__main__":
    main()
