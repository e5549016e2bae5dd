"""Train one stage of the segmenter: ``accelerate launch segment/train.py --config configs/segment/slices.yaml``.

The same command again goes on where a stopped run left off.
"""

import argparse

from launch import exit_on_bad_input, load_config
from learn import this_process
from segment.training import TrainingConfig, train_stage


def main() -> None:
    """Read the command line, write the record of the run, train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="YAML file with the fields of segment.training.TrainingConfig")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. loop.steps=50")
    arguments = parser.parse_args()
    with exit_on_bad_input("segment/train.py"):
        config = load_config(TrainingConfig, arguments.config, arguments.set)
        segmenter = train_stage(config)
        if this_process().is_main_process:
            errors = ", ".join(f"{100 * error:+.2f}" for error in segmenter.porosity_errors)
            print(f"saved {config.out / 'segmenter'}; porosity errors on unseen volumes in points: {errors or 'none'}")


if __name__ == "__main__":
    main()
