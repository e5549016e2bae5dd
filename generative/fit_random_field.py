"""Fit a Gaussian or Boolean model to a material, started as ``python generative/fit_random_field.py --config FILE``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    # Started as a file, Python looks for packages in this folder; they are one above.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from generative.rivals.fitting import RandomFieldConfig, fit_random_field
from launch import exit_on_bad_input, load_config

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the configuration, fit, draw, and say where the results are."""
    parser = argparse.ArgumentParser(
        prog="fit_random_field",
        description="Fit a random field to the volume fractions and two-point correlations of a labelled volume or a "
        "recipe, and draw volumes from it.",
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML file, e.g. configs/generative/gaussian.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting")
    parser.add_argument("--out", type=Path, help="run folder; wins over 'out' of the configuration")
    given = parser.parse_args(arguments)
    # Quoted, because YAML would take a folder called 2024 for a number.
    out = [f"out={json.dumps(str(given.out))}"] if given.out else []
    with exit_on_bad_input("fit_random_field"):
        config = load_config(RandomFieldConfig, given.config, [*given.set, *out])
        summary = fit_random_field(config)
        error = max(summary["fit"]["s2_error"])
        print(f"{config.out}: fitted in {summary['fit_seconds']} s; S2 is off by {error:.2%} of its fall at most")


if __name__ == "__main__":
    main()
