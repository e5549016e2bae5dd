"""The ``poreforge`` command."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from launch import exit_on_bad_input, load_config
from poreforge.outputs import bare_name

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.
    """
    parsed = _parser().parse_args(arguments)
    with exit_on_bad_input(f"poreforge {parsed.command}"):
        _refuse_foreign_evaluate()
        parsed.run(parsed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="poreforge", description="Make, image, segment, generate and measure porous electrodes."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="the whole chain, small, ending in a report")
    demo.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for report.html and all the rest")
    _add_config(demo, required=False)
    demo.set_defaults(run=_demo)

    corpus = commands.add_parser("corpus", help="make a training corpus; the same command again goes on")
    corpus.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the corpus")
    _add_config(corpus, required=True)
    corpus.set_defaults(run=_corpus)

    segment = commands.add_parser("segment", help="labels and porosity of a grey volume")
    segment.add_argument("volume", metavar="VOLUME", help="file or folder with grey values")
    segment.add_argument("--model", default="fibsem", metavar="NAME", help="shipped name or folder (default: fibsem)")
    segment.add_argument("--out", type=Path, metavar="FILE", help="labels (default: VOLUME-labels.tif in this folder)")
    _add_voxel_size(segment)
    segment.set_defaults(run=_segment)

    characterise = commands.add_parser("characterise", help="every number and picture of a labelled volume")
    characterise.add_argument("volume", metavar="VOLUME", help="file or folder with labels, 0 being pore")
    characterise.add_argument("--out", type=Path, metavar="DIR", help="folder (default: VOLUME-characterised)")
    _add_voxel_size(characterise)
    characterise.set_defaults(run=_characterise)
    return parser


def _add_config(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--config", type=Path, required=required, metavar="FILE", help="YAML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key")


def _add_voxel_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--voxel-size", type=float, nargs=3, metavar=("Z", "Y", "X"), help="in µm; by default what the file says"
    )


def _demo(parsed: argparse.Namespace) -> None:
    from poreforge.demo import DemoConfig, run_demo

    report = run_demo(load_config(DemoConfig, parsed.config, parsed.set), parsed.out)
    print(f"open {report}")


def _corpus(parsed: argparse.Namespace) -> None:
    from synth.production import CorpusConfig, produce_corpus

    corpus = produce_corpus(load_config(CorpusConfig, parsed.config, parsed.set), parsed.out)
    print(f"{len(corpus)} volumes in {parsed.out}")


def _segment(parsed: argparse.Namespace) -> None:
    from poreforge.segmentation import segment_file

    out = parsed.out or Path(f"{bare_name(parsed.volume)}-labels.tif")
    summary = segment_file(parsed.volume, out, model=parsed.model, voxel_size_um=parsed.voxel_size)
    low, high = summary["porosity_interval"]
    interval = f"{low:.4f} to {high:.4f}"
    report = out.with_name(f"{bare_name(out)}.html")
    print(f"porosity {summary['porosity']:.4f} ({interval}); labels in {out}, report in {report}")


def _characterise(parsed: argparse.Namespace) -> None:
    from poreforge.characterise import characterise

    out = parsed.out or Path(f"{bare_name(parsed.volume)}-characterised")
    print(f"open {characterise(parsed.volume, out, voxel_size_um=parsed.voxel_size)}")


def _refuse_foreign_evaluate() -> None:
    """Raise ``ValueError`` if `evaluate` is another distribution's package of that name."""
    import evaluate

    if not hasattr(evaluate, "minkowski"):
        raise ValueError(
            f"the package 'evaluate' at {evaluate.__file__} is another project's; "
            "install Poreforge into an environment of its own"
        )
