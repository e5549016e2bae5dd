"""The ``poreforge`` command."""

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from launch import exit_on_bad_input, load_config
from launch.command import INTERRUPTED
from poreforge.outputs import PROBABILITY, bare_name

__all__ = ["main"]

RETRY_S = 0.05


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
    corpus.add_argument("--workers", type=_number, metavar="N", help="processes on this machine (default: this one)")
    corpus.add_argument("--scheduler", metavar="ADDRESS", help="dask scheduler whose workers do it, tcp://host:port")
    corpus.set_defaults(run=_corpus)

    segment = commands.add_parser("segment", help="labels and porosity of a grey volume")
    segment.add_argument("volume", metavar="VOLUME", help="file or folder with grey values")
    segment.add_argument("--model", default="fibsem", metavar="NAME", help="shipped name or folder (default: fibsem)")
    segment.add_argument("--out", type=Path, metavar="FILE", help="labels (default: VOLUME-labels.tif in this folder)")
    segment.add_argument(
        "--strokes", metavar="FILE", help="a few labels of the volume, from which the model learns first"
    )
    segment.add_argument(
        "--unlabelled", type=_number, default=255, metavar="N",
        help="of the strokes: 255 (default), phases count from 0; or 0, phases count from 1",
    )  # fmt: skip
    segment.add_argument("--phases", nargs="+", metavar="NAME", help="of the strokes (default: those of the model)")
    segment.add_argument("--minutes", type=float, metavar="T", help="to learn from the strokes (default: 1)")
    segment.add_argument("--keep-model", type=Path, metavar="DIR", help="what it has learnt (default: VOLUME-model)")
    segment.add_argument(
        "--slices", default="auto", metavar="HOW",
        help="stack: neighbours tell of one another; single: each by itself; auto (default): as they look",
    )  # fmt: skip
    segment.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu, cuda, cuda:1")
    segment.add_argument(
        "--precision",
        default="float32",
        metavar="NAME",
        help="float32 (default), or bfloat16: faster where there is it",
    )
    segment.add_argument(
        "--workers", type=_number, metavar="N", help="processes that share the work (default: this one)"
    )
    segment.add_argument("--scheduler", metavar="ADDRESS", help="dask scheduler whose workers share the work instead")
    _add_voxel_size(segment)
    segment.set_defaults(run=_segment)

    calibrate = commands.add_parser("calibrate", help="labels of a measured porosity, and what its interval means")
    calibrate.add_argument("volume", metavar="VOLUME", help="NAME-probability.tif, as segment writes it")
    calibrate.add_argument("--porosity", type=float, required=True, metavar="P", help="measured, from 0 to 1")
    calibrate.add_argument("--interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help="of the measurement")
    calibrate.add_argument(
        "--measure", nargs="*", default=["surface", "tortuosity"], metavar="NAME",
        help="what the interval is carried on to: surface, tortuosity (default: both), permeability, or nothing",
    )  # fmt: skip
    calibrate.add_argument("--out", type=Path, metavar="FILE", help="labels (default: NAME-calibrated.tif)")
    _add_voxel_size(calibrate)
    calibrate.set_defaults(run=_calibrate)

    correct = commands.add_parser("correct", help="undo what the microscope did to a raw stack, with a report")
    correct.add_argument("stack", metavar="STACK", help="file or folder with grey values, slice by slice")
    correct.add_argument(
        "--out", type=Path, metavar="FILE", help="result (default: STACK-corrected.tif in this folder)"
    )
    correct.add_argument(
        "--step", action="append", default=[], metavar="NAME=VALUE",
        help="auto, on or off for region, gain, background, stripes, drift, foreshortening; also contrast=stretch",
    )  # fmt: skip
    correct.add_argument("--config", type=Path, metavar="FILE", help="YAML file with these settings")
    _add_voxel_size(correct)
    correct.set_defaults(run=_correct)

    characterise = commands.add_parser("characterise", help="every number and picture of a labelled volume")
    characterise.add_argument("volume", metavar="VOLUME", help="file or folder with labels, 0 being pore")
    characterise.add_argument("--out", type=Path, metavar="DIR", help="folder (default: VOLUME-characterised)")
    characterise.add_argument("--only", nargs="+", default=[], metavar="TOPIC", help="measure these topics alone")
    characterise.add_argument("--without", nargs="+", default=[], metavar="TOPIC", help="leave these topics out")
    _add_voxel_size(characterise)
    characterise.set_defaults(run=_characterise)

    reconstruct = commands.add_parser("reconstruct", help="meshes of the solid, by one method or all, and their scores")
    reconstruct.add_argument("volume", metavar="VOLUME", help="file or folder with labels, 0 being pore")
    reconstruct.add_argument("--method", default="all", metavar="NAME", help="how, or all (default)")
    reconstruct.add_argument("--truth", metavar="VOLUME", help="labels to score against (default: the volume's own)")
    reconstruct.add_argument("--out", type=Path, metavar="DIR", help="folder (default: VOLUME-meshes)")
    _add_voxel_size(reconstruct)
    reconstruct.set_defaults(run=_reconstruct)

    generate = commands.add_parser("generate", help="new volumes from a trained model; the same command again goes on")
    generate.add_argument("--model", required=True, metavar="NAME", help="shipped name, or folder of a training run")
    generate.add_argument(
        "--shape", nargs=3, type=_number, metavar=("Z", "Y", "X"), help="voxels (default: those of its patches)"
    )
    generate.add_argument("--count", type=_number, default=1, metavar="N", help="how many (default: 1)")
    generate.add_argument("--first", type=_number, default=0, metavar="I", help="number of the first (default: 0)")
    generate.add_argument("--seed", type=_number, default=0, metavar="S", help="default: 0")
    generate.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the volumes")
    generate.add_argument("--steps", type=_number, metavar="N", help="steps from noise to volume (default: 25)")
    generate.add_argument("--fractions", nargs="+", type=float, metavar="F", help="of each phase's volume, exact")
    generate.add_argument("--periodic", action="store_true", help="make opposite faces fit together")
    generate.add_argument("--sampler", default="dpm++", metavar="NAME", help="dpm++ (default), ddim or ddpm")
    generate.add_argument(
        "--guidance", type=float, default=1.0, metavar="W", help="how strongly it is told --fractions (default: 1)"
    )
    generate.add_argument("--overlap", type=_number, metavar="N", help="voxels that windows share")
    generate.add_argument("--format", metavar="NAME", help="tif or zarr (default: zarr for what is large)")
    generate.add_argument(
        "--devices", nargs="+", metavar="NAME", help="such as cuda:0 cuda:1, which share the work (default: one)"
    )
    generate.set_defaults(run=_generate)

    compare = commands.add_parser("compare", help="generated volumes against a real one, number by number")
    compare.add_argument("--real", required=True, metavar="VOLUME", help="file or folder with labels, 0 being pore")
    compare.add_argument(
        "--generated", required=True, nargs="+", action="extend", metavar="[NAME=]DIR",
        help="a method's volume or folder of volumes; give several to compare methods",
    )  # fmt: skip
    compare.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    compare.add_argument("--subvolume", type=_number, default=64, metavar="N", help="edge of the cubes (default: 64)")
    compare.add_argument("--most", type=_number, default=64, metavar="N", help="cubes a volume at most (default: 64)")
    compare.add_argument("--held-out", metavar="VOLUME", help="real volume that no method was trained on")
    compare.add_argument(
        "--patches", type=_number, default=16, metavar="N", help="of each method, looked for in VOLUME (default: 16)"
    )
    compare.add_argument(
        "--symmetry", default="cubic", metavar="NAME", help="of copies: cubic (default), transverse, flips, none"
    )
    compare.add_argument(
        "--without", nargs="+", default=[], metavar="TOPIC",
        help="leave out: sizes, transport, interfaces, memorisation, diversity, views",
    )  # fmt: skip
    compare.add_argument("--paper", metavar="TABLE", help="set the paper's two-phase or three-phase table beside it")
    compare.add_argument(
        "--normalisation", default="density", metavar="NAME", help="density (default), or paper: numbers as it prints"
    )
    _add_voxel_size(compare)
    compare.set_defaults(run=_compare)

    benchmark = commands.add_parser("benchmark", help="methods of segmentation ranked on corpora of known truth")
    benchmark.add_argument("--corpora", required=True, nargs="+", action="extend", metavar="[NAME=]DIR", help="folders")
    benchmark.add_argument(
        "--methods", nargs="+", action="extend", metavar="NAME[=DIR]",
        help="built-in or shipped, or NAME=DIR of a training run or of labels made elsewhere (default: all that come)",
    )  # fmt: skip
    benchmark.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    benchmark.add_argument("--volumes", type=_number, metavar="N", help="of each corpus at most (default: all unseen)")
    benchmark.add_argument(
        "--learn-from", type=_number, default=2, metavar="N", help="volumes that pixel-forest learns from (default: 2)"
    )
    benchmark.add_argument("--learn-slices", type=_number, metavar="N", help="labelled slices of each (default: all)")
    benchmark.add_argument("--axis", type=_number, default=0, metavar="N", help="of the tortuosity (default: 0, z)")
    benchmark.add_argument("--without", nargs="+", default=[], metavar="TOPIC", help="leave out: tortuosity, distances")
    benchmark.add_argument("--seed", type=_number, default=0, metavar="S", help="default: 0")
    benchmark.set_defaults(run=_benchmark)

    export = commands.add_parser("export", help="a volume in the files of other programs")
    export.add_argument("volume", metavar="VOLUME", help="file or folder with labels, 0 being pore")
    export.add_argument(
        "--to", nargs="+", required=True, metavar="FORMAT", help="vti, stl, ply, avizo, porespy, openpnm"
    )
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    _add_voxel_size(export)
    export.set_defaults(run=_export)
    return parser


def _add_config(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--config", type=Path, required=required, metavar="FILE", help="YAML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key")


def _number(text: str) -> int | str:
    """Return a whole number if it is one, else the text, which is refused in one line where it is used."""
    try:
        return int(text)
    except ValueError:
        return text


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

    config = load_config(CorpusConfig, parsed.config, parsed.set)
    with _stopping_politely("poreforge corpus", f"what is complete in '{parsed.out}' stays, the same command goes on"):
        corpus = produce_corpus(config, parsed.out, workers=parsed.workers, scheduler=parsed.scheduler)
    print(f"{len(corpus)} volumes in {parsed.out}")


@contextlib.contextmanager
def _stopping_politely(program: str, advice: str) -> Iterator[None]:
    """End on Ctrl-C, and likewise on the signal with which batch systems warn, with a line and exit status 130."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def stop_soon(lost: "sys.UnraisableHookArgs") -> None:
        # Compiled code that calls back, such as Numba's, cannot pass an interrupt on.
        if isinstance(lost.exc_value, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, RETRY_S)
        else:
            known_hook(lost)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGALRM)}
    known_hook, sys.unraisablehook = sys.unraisablehook, stop_soon
    try:
        yield
    except KeyboardInterrupt:
        print(f"{program}: interrupted; {advice}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = known_hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _segment(parsed: argparse.Namespace) -> None:
    from poreforge.segmentation import Computing, name_of_porosity, segment_file
    from segment.slice_order import check_slices

    out = parsed.out or Path(f"{bare_name(parsed.volume)}-labels.tif")
    computing = Computing(parsed.device, parsed.precision, parsed.workers, parsed.scheduler)
    computing.check()
    check_slices(parsed.slices)
    model = _taught_model(parsed)
    with _stopping_politely(
        "poreforge segment", f"what is finished stays beside '{out}', the same command with --model {model} goes on"
    ):
        summary = segment_file(
            parsed.volume, out, model=model, voxel_size_um=parsed.voxel_size, slices=parsed.slices, computing=computing
        )
    low, high = summary["porosity_interval"]
    interval = f"{low:.4f} to {high:.4f}"
    report = out.with_name(f"{bare_name(out)}.html")
    name = name_of_porosity(tuple(summary["fractions"]))
    print(f"{name} {summary['porosity']:.4f} ({interval}); labels in {out}, report in {report}")
    warnings = list(summary["warnings"])
    if summary["domain"] and not summary["domain"]["inside"]:
        causes = "; ".join(summary["domain"]["furthest"])
        others = " or ".join(f"--model {name}" for name in summary["domain"]["better_known_to"])
        cure = f"{others} has learnt from such images" if others else "a few --strokes would fit the model to them"
        warnings.append(f"the images are unlike those of the training ({causes}): do not trust the interval; {cure}")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _taught_model(parsed: argparse.Namespace) -> str:
    """Return the model to segment with, which has learnt from the user's strokes if there are any."""
    if parsed.strokes is None:
        given = [name for name in ("phases", "minutes", "keep_model") if getattr(parsed, name) is not None]
        if given:
            raise ValueError(
                f"--{given[0].replace('_', '-')} is for --strokes, and there are none; give both or neither"
            )
        return str(parsed.model)
    from poreforge.fine_tuning import fine_tune_file, report_sentence

    folder = parsed.keep_model or Path(f"{bare_name(parsed.volume)}-model")
    report = fine_tune_file(
        parsed.volume, parsed.strokes, folder, model=parsed.model, phases=parsed.phases,
        unlabelled=parsed.unlabelled, slices=parsed.slices, minutes=parsed.minutes,
    )  # fmt: skip
    print(f"{report_sentence(report)}; model in {folder}")
    return str(folder)


def _calibrate(parsed: argparse.Namespace) -> None:
    from poreforge.calibration import calibrate_file

    out = parsed.out or Path(f"{bare_name(parsed.volume).removesuffix(PROBABILITY)}-calibrated.tif")
    summary = calibrate_file(
        parsed.volume, out, porosity=parsed.porosity, interval=parsed.interval, measures=parsed.measure,
        voxel_size_um=parsed.voxel_size,
    )  # fmt: skip
    without, least = summary["porosity_without"], summary["least_probability"]
    report = out.with_name(f"{bare_name(out)}.html")
    print(
        f"porosity {summary['porosity']:.4f} where the pore's probability is above {least:.3f} ({without:.4f} above a "
        f"half); labels in {out}, report in {report}"
    )
    for warning in summary["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)


def _correct(parsed: argparse.Namespace) -> None:
    from poreforge.correction import correct_file
    from segment.correction import CorrectionSettings

    out = parsed.out or Path(f"{bare_name(parsed.stack)}-corrected.tif")
    settings = load_config(CorrectionSettings, parsed.config, parsed.step)
    summary = correct_file(parsed.stack, out, settings=settings, voxel_size_um=parsed.voxel_size)
    done = [step["name"] for step in summary["steps"] if step["applied"]]
    said = f"corrected {', '.join(done)}" if done else "nothing had to be corrected"
    print(f"{said}; stack in {out}, report in {out.with_name(f'{bare_name(out)}.html')}")


def _characterise(parsed: argparse.Namespace) -> None:
    from poreforge.characterise import characterise

    out = parsed.out or Path(f"{bare_name(parsed.volume)}-characterised")
    topics = {"only": parsed.only, "without": parsed.without}
    print(f"open {characterise(parsed.volume, out, voxel_size_um=parsed.voxel_size, **topics)}")


def _reconstruct(parsed: argparse.Namespace) -> None:
    from poreforge.reconstruction import reconstruct_file, table_text

    out = parsed.out or Path(f"{bare_name(parsed.volume)}-meshes")
    found = reconstruct_file(
        parsed.volume, out, method=parsed.method, truth=parsed.truth, voxel_size_um=parsed.voxel_size
    )
    print(table_text(found["methods"]))
    print(f"open {out / 'report.html'}")


def _generate(parsed: argparse.Namespace) -> None:
    from poreforge.generation import GenerationSettings, generate

    settings = GenerationSettings(
        shape=tuple(parsed.shape) if parsed.shape else None, count=parsed.count, first=parsed.first, seed=parsed.seed,
        steps=parsed.steps, fractions=tuple(parsed.fractions) if parsed.fractions else None, periodic=parsed.periodic,
        sampler=parsed.sampler, guidance_scale=parsed.guidance, overlap=parsed.overlap, format=parsed.format,
        devices=tuple(parsed.devices) if parsed.devices else None,
    )  # fmt: skip
    summary = generate(parsed.model, parsed.out, settings)
    print(f"{parsed.out}: {len(summary['volumes'])} volumes of {tuple(summary['shape'])}")


def _compare(parsed: argparse.Namespace) -> None:
    from poreforge.compare import compare_files

    report = compare_files(
        parsed.real, parsed.generated, parsed.out, paper=parsed.paper, held_out=parsed.held_out,
        patches=parsed.patches, symmetry=parsed.symmetry, without=parsed.without, subvolume=parsed.subvolume,
        most=parsed.most, normalisation=parsed.normalisation, voxel_size_um=parsed.voxel_size,
    )  # fmt: skip
    print(f"open {report}")


def _benchmark(parsed: argparse.Namespace) -> None:
    from poreforge.benchmark import benchmark_files

    with _stopping_politely(
        "poreforge benchmark", f"what is measured stays in '{parsed.out}', the same command goes on"
    ):
        report = benchmark_files(
            parsed.corpora, parsed.methods, parsed.out, volumes=parsed.volumes, learn_from=parsed.learn_from,
            learn_slices=parsed.learn_slices, axis=parsed.axis, without=parsed.without, seed=parsed.seed,
        )  # fmt: skip
    print(f"open {report}")


def _export(parsed: argparse.Namespace) -> None:
    from poreforge.exports import export_file

    for path in export_file(parsed.volume, parsed.out, formats=parsed.to, voxel_size_um=parsed.voxel_size):
        print(path)


def _refuse_foreign_evaluate() -> None:
    """Raise ``ValueError`` if `evaluate` is another distribution's package of that name."""
    import evaluate

    if not hasattr(evaluate, "minkowski"):
        raise ValueError(
            f"the package 'evaluate' at {evaluate.__file__} is another project's; "
            "install Poreforge into an environment of its own"
        )
