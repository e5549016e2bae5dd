"""The whole chain, small: make an electrode, image it, train on other synthetic images, segment, score, report."""

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evaluate import two_point
from launch import ConfigError, describe_software, make_output_folder, to_plain, write_record
from learn import LoopSettings
from poreforge.demo_generation import (
    GenerationSettings,
    generate_electrode,
    generation_section,
    measure_generated,
)
from poreforge.outputs import software_facts, write_summary
from poreforge.report import Figure, Section, Table, write_report
from poreforge.report.figures import curves, error_map, label_image, mosaic, picture
from poreforge.scores import SCORES, measure_labels, score_segmentation
from segment import Segmenter, otsu, porosity_threshold
from segment.training import NetworkSettings, TrainingConfig, train_stage
from synth import Structure, blender_stack, fibsem, sphere_pack
from synth.blender import BlenderStack, BlenderUnavailableError
from synth.production import CorpusConfig, produce_corpus
from volume import Volume, write

__all__ = ["DemoConfig", "run_demo"]

TRUTH, OTSU, CALIBRATED, SLICES, TWO_STAGE = "truth", "Otsu", "porosity threshold", "2-D U-Net", "two-stage U-Net"
# Of the spheres in the training corpus; it is the smallest side that its volumes may have.
LARGEST_DIAMETER = 24
# Around the default instrument, which images the unseen electrode: so well does a laboratory know its microscope.
MICROSCOPE = {
    "instrument": "fibsem",
    "settings": {
        "tilt_deg": {"uniform": [44, 56]},
        "floor_grey": {"uniform": [0.05, 0.22]},
        "shine_through": {"uniform": [0.4, 0.8]},
        "depth_vox": {"uniform": [6, 20]},
        "relief": {"uniform": [0.1, 0.5]},
        "edge": {"uniform": [0.0, 0.25]},
        "texture": {"uniform": [0.0, 0.05]},
        "mottle": {"uniform": [0.0, 0.1]},
        "blur_vox": {"uniform": [0.4, 1.1]},
        "shading": {"uniform": [0.0, 0.35]},
        "slice_gain": {"uniform": [0.0, 0.04]},
        "dose": {"log_uniform": [40, 500]},
        "read_noise": {"uniform": [0.0, 0.04]},
    },
}
# Pixels a voxel in Blender's pictures.
BLENDER_SCALE = 2
# Halved three times in the 2-D network.
CROP_FACTOR = 8


@dataclasses.dataclass(frozen=True)
class DemoTraining:
    """The training corpus and how long each stage learns from it.

    Parameters
    ----------
    count : int
        Volumes of the corpus.
    validation : int
        How many of them are set aside, for the porosity interval.
    shape : (int, int, int)
        Of each volume; at least 24 along each axis.
    slices, refine : LoopSettings
        Of the two stages.
    """

    count: int = 30
    validation: int = 9
    shape: tuple[int, int, int] = (96, 96, 96)
    slices: LoopSettings = LoopSettings(steps=1100, batch_size=8, checkpoint_every=100)
    refine: LoopSettings = LoopSettings(steps=450, batch_size=4, checkpoint_every=100)

    def __post_init__(self) -> None:
        if min(self.shape) < LARGEST_DIAMETER:
            raise ConfigError(f"training.shape is {list(self.shape)}; give at least {LARGEST_DIAMETER} along each axis")
        if not 0 <= self.validation < self.count:
            raise ConfigError(
                f"training.validation is {self.validation} of {self.count} volumes; set aside 0 or more, but not all"
            )


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """What the demo makes.

    Parameters
    ----------
    seed : int
        The unseen volume's; the training corpus has another.
    shape : (int, int, int)
        Of the unseen volume.
    porosity, diameter_vox : float
        Of the unseen electrode.
    voxel_size_um : (float, float, float)
        Size of a voxel along z, y, x.
    blender_slices : int
        How many cuts Blender renders; 0 leaves it out.
    training : DemoTraining
        The training.
    generated : GenerationSettings
        New volumes from a shipped model.
    """

    seed: int = 0
    shape: tuple[int, int, int] = (128, 128, 128)
    porosity: float = 0.45
    diameter_vox: float = 18.0
    voxel_size_um: tuple[float, float, float] = (0.01, 0.01, 0.01)
    blender_slices: int = 4
    training: DemoTraining = DemoTraining()
    generated: GenerationSettings = GenerationSettings()

    def __post_init__(self) -> None:
        if self.seed < 0 or self.blender_slices < 0:
            raise ConfigError(f"seed is {self.seed} and blender_slices {self.blender_slices}; give 0 or more")
        # Refused here, so that a demo that cannot be made leaves nothing behind.
        if not 0 < self.porosity < 1:
            raise ConfigError(f"porosity is {self.porosity}; give a number above 0 and below 1")
        if min(self.shape) < 2 or not 0 < self.diameter_vox <= min(self.shape):
            raise ConfigError(
                f"shape is {list(self.shape)} and diameter_vox {self.diameter_vox}; give at least 2 voxels along each "
                "axis, and a diameter above 0 and at most the shortest side"
            )
        if not all(0 < size < math.inf for size in self.voxel_size_um):
            raise ConfigError(f"voxel_size_um is {list(self.voxel_size_um)}; give three sizes above 0")


def run_demo(config: DemoConfig, out: str | Path) -> Path:
    """Run the chain; a run that was stopped goes on where it was.

    Parameters
    ----------
    config : DemoConfig
        What to make.
    out : path-like
        Folder of ``report.html``, ``summary.json``, ``overview.png``, the volumes, the corpus and the networks.

    Returns
    -------
    Path
        The report.
    """
    out = make_output_folder(out)
    write_record(out, config, seed=config.seed)
    clock = _Clock()
    with clock("make and image the electrode"):
        structure = sphere_pack(
            config.shape, porosity=config.porosity, diameter_vox=config.diameter_vox, rng=config.seed
        )
        grey = fibsem(structure, rng=config.seed)
    with clock("render with Blender"):
        stack = _render(structure, config)
    with clock("make the training corpus"):
        corpus = _training_corpus(config, out)
    with clock("train on slices"):
        first = train_stage(_stage("slices", config, out))
    with clock("train the refinement"):
        segmenter = train_stage(_stage("refine", config, out))
    with clock("segment"):
        labels, details = _segment(structure, grey, first, segmenter)
    with clock("score"):
        truth = measure_labels(structure.labels)
        scores = {name: score_segmentation(found, truth) for name, found in labels.items()}
    _write_volumes(out, config, structure, grey, labels[TWO_STAGE])
    with clock("generate an electrode"):
        generated = generate_electrode(config.generated, seed=config.seed) if config.generated.count else None
    summary = {
        "truth": {**structure.truth, "recipe": structure.recipe},
        "methods": scores,
        **details,
        "generated": measure_generated(generated) if generated else None,
        "training": {"volumes": len(corpus), "set_aside": config.training.validation},
        "seconds": clock.seconds,
        "config": to_plain(config),
        "software": describe_software(),
    }
    write_summary(out / "summary.json", summary)
    (out / "overview.png").write_bytes(_overview(structure.labels, grey, labels))
    sections = list(_sections(structure, grey, stack, labels, summary))
    if generated:
        sections.insert(-1, generation_section(generated, config.generated))
    return write_report(out / "report.html", "A porous electrode, from truth to score", sections, facts=_facts(summary))


class _Clock:
    """Seconds by step, in the order in which they ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        print(f"{step} …", flush=True)
        yield
        self.seconds[step] = round(time.perf_counter() - start, 2)


def _render(structure: Structure, config: DemoConfig) -> BlenderStack | str | None:
    """Return the rendered cuts, or the sentence that says why there are none."""
    if config.blender_slices == 0:
        return None
    cuts = np.linspace(0.15, 0.6, config.blender_slices) * config.shape[0]
    try:
        return blender_stack(
            structure.labels,
            slices=[int(cut) for cut in cuts],
            resolution=BLENDER_SCALE * config.shape[2],
            rng=config.seed,
        )
    except BlenderUnavailableError as error:
        return str(error)


def _training_corpus(config: DemoConfig, out: Path) -> Any:
    training = config.training
    recipe = {
        "generator": "sphere_pack",
        "shape": list(training.shape),
        "porosity": {"uniform": [0.25, 0.65]},
        "diameter_vox": {"uniform": [10, LARGEST_DIAMETER]},
    }
    corpus = CorpusConfig(recipe, MICROSCOPE, training.count, config.seed + 1, config.voxel_size_um)
    return produce_corpus(corpus, out / "corpus")


def _stage(stage: Any, config: DemoConfig, out: Path) -> TrainingConfig:
    flat = stage == "slices"
    return TrainingConfig(
        corpus=out / "corpus",
        out=out / stage,
        stage=stage,
        first_stage=None if flat else str(out / "slices"),
        validation=config.training.validation,
        crop=_crop(config.training.shape, flat=flat),
        seed=config.seed,
        network=NetworkSettings(size={"width": 16, "depth": 3} if flat else {"width": 8, "depth": 2}),
        loop=config.training.slices if flat else config.training.refine,
    )


def _crop(shape: tuple[int, int, int], *, flat: bool) -> tuple[int, ...]:
    """Return the size of a training sample: as large as the networks like it and the volumes allow."""
    z, y, x = shape
    largest, side = (96, min(y, x)) if flat else (32, min(z, y, x))
    side = min(largest, side) // CROP_FACTOR * CROP_FACTOR
    return (side, side) if flat else (side, side, side)


def _segment(
    structure: Structure, grey: np.ndarray, first: Segmenter, segmenter: Segmenter
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    two_stage = segmenter.predict(grey)
    labels = {
        OTSU: otsu(grey),
        CALIBRATED: porosity_threshold(grey, structure.truth["porosity"]),
        SLICES: first.predict(grey).labels,
        TWO_STAGE: two_stage.labels,
    }
    details = {"porosity_interval": list(two_stage.porosity_interval), "interval_coverage": two_stage.coverage}
    return labels, details


def _write_volumes(out: Path, config: DemoConfig, structure: Structure, grey: np.ndarray, labels: np.ndarray) -> None:
    write(out / "volumes" / "grey.tif", Volume(grey, config.voxel_size_um))
    write(out / "volumes" / "truth.tif", Volume(structure.labels, config.voxel_size_um, structure.phases))
    write(out / "volumes" / "two-stage.tif", Volume(labels, config.voxel_size_um, structure.phases))


def _sections(
    structure: Structure,
    grey: np.ndarray,
    stack: BlenderStack | str | None,
    labels: dict[str, np.ndarray],
    summary: dict[str, Any],
) -> Iterator[Section]:
    yield _result_section(summary)
    yield _slices_section(structure, grey, labels)
    yield _score_section(summary["methods"])
    yield _correlation_section(structure, labels, summary["config"]["voxel_size_um"])
    if stack is not None:
        yield _blender_section(stack)
    yield _time_section(summary["seconds"])


def _result_section(summary: dict[str, Any]) -> Section:
    scores, truth = summary["methods"], summary["truth"]["porosity"]
    low, high = summary["porosity_interval"]
    rival = max((OTSU, CALIBRATED), key=lambda name: scores[name]["mean_iou"])
    best = scores[TWO_STAGE]
    return Section(
        "Result",
        [
            f"An electrode of {truth:.1%} porosity was made from overlapping spheres and imaged by a simulated "
            f"FIB-SEM. A network trained on {summary['training']['volumes'] - summary['training']['set_aside']} other "
            "synthetic volumes, each under an instrument drawn from around this one, then segmented it without ever "
            "having seen it.",
            f"Two-stage U-Net: mean IoU {best['mean_iou']:.4f}, porosity {best['porosity']:.1%} (interval {low:.1%} to "
            f"{high:.1%}, coverage {summary['interval_coverage']:.0%}). The better threshold ({rival}) reaches a mean "
            f"IoU of {scores[rival]['mean_iou']:.4f}.",
        ],
    )


def _slices_section(structure: Structure, grey: np.ndarray, labels: dict[str, np.ndarray]) -> Section:
    truth, found = structure.labels, labels[TWO_STAGE]
    z, y = structure.shape[0] // 2, structure.shape[1] // 2
    pictures = [
        picture(grey[z], "what the microscope sees", limits=(0, 1)),
        picture(label_image(truth[z]), "truth"),
        picture(label_image(found[z]), TWO_STAGE),
        picture(grey[:, y], "grey, cut along z", limits=(0, 1)),
        picture(label_image(truth[:, y]), "truth, cut along z"),
        picture(label_image(found[:, y]), f"{TWO_STAGE}, cut along z"),
    ]
    errors = [picture(error_map(labels[name][z], truth[z]), name) for name in (OTSU, CALIBRATED, TWO_STAGE)]
    return Section(
        "Slices beside the truth",
        [],
        [
            Figure(pictures, f"Slice {z}, and a cut along the slicing direction with z downwards. Pore is dark.", 3),
            Figure(
                errors,
                "Where each method is wrong: red is pore taken for solid, blue is solid taken for pore. What shines "
                "through the pores from behind the cut misleads a threshold.",
                3,
            ),
        ],
    )


def _overview(truth: np.ndarray, grey: np.ndarray, labels: dict[str, np.ndarray]) -> bytes:
    """Return the middle slice: grey, truth and labels above, the errors of three methods below."""
    z = len(grey) // 2
    above = [picture(grey[z], "grey", limits=(0, 1))]
    above += [picture(label_image(volume[z]), "labels") for volume in (truth, labels[TWO_STAGE])]
    below = [picture(error_map(labels[name][z], truth[z]), name) for name in (OTSU, CALIBRATED, TWO_STAGE)]
    return mosaic(above + below, columns=3, scale=2)


def _score_section(scores: dict[str, dict[str, float]]) -> Section:
    rows, best = [], []
    names = list(scores)
    for key, (head, form, sense) in SCORES.items():
        values = [scores[name][key] for name in names]
        rows.append([head, *("–" if math.isnan(value) else form.format(value) for value in values)])
        rank = [value if sense > 0 else -abs(value) for value in values]
        highest = max((value for value in rank if not math.isnan(value)), default=None)
        best.append(frozenset(i + 1 for i, value in enumerate(rank) if sense and value == highest))
    table = Table("On the unseen volume; the best of each row is set off.", ["score", *names], rows, best)
    note = (
        "Both thresholds work on the volume after a 3 × 3 × 3 median filter. The porosity threshold is told the true "
        "porosity, which a laboratory would have to measure; its porosity error is zero by construction."
    )
    return Section("Scores", [note], tables=[table])


def _correlation_section(structure: Structure, labels: dict[str, np.ndarray], voxel_size_um: list[float]) -> Section:
    # Radial lags are counted in voxels, which only cubic voxels turn into one length.
    cubic = len(set(voxel_size_um)) == 1
    lines: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, found in {TRUTH: structure.labels, **labels}.items():
        correlation = two_point(found == 0)
        lines[name] = (correlation.r * (voxel_size_um[0] if cubic else 1), correlation.s2)
    figure = curves(
        lines,
        x_label="distance r / " + ("µm" if cubic else "voxel"),
        y_label="two-point correlation S2 of the pores",
        reference=TRUTH,
        levels={"porosity squared": structure.truth["porosity"] ** 2},
        caption="Probability that two points at distance r both lie in pores. It begins at the porosity and ends at "
        "its square.",
        alt="Two-point correlation of the truth and of each segmentation.",
    )
    return Section("Two-point correlation", [], [figure])


def _blender_section(stack: BlenderStack | str) -> Section:
    if isinstance(stack, str):
        return Section("The same electrode in Blender", [f"Not rendered: {stack}"])
    cuts = [f"cut {cut}" for cut in stack.slices]
    pictures = [
        *(picture(grey, name, limits=(0, 1)) for grey, name in zip(stack.grey, cuts, strict=True)),
        *(picture(label_image(labels), f"labels of {name}") for labels, name in zip(stack.labels, cuts, strict=True)),
    ]
    caption = (
        f"Cuts of the same structure rendered by Blender, seen at {stack.tilt_deg:g}° to the normal of the cut face as "
        "the camera sees them: foreshortened, lit from one side, the material behind in view. Below, the exact label "
        "of every pixel."
    )
    return Section("The same electrode in Blender", [], [Figure(pictures, caption, len(cuts))])


def _time_section(seconds: dict[str, float]) -> Section:
    rows = [[step, f"{value:.1f}"] for step, value in seconds.items()]
    rows.append(["all", f"{sum(seconds.values()):.1f}"])
    return Section("Times", tables=[Table("Wall time of each step.", ["step", "seconds"], rows)])


def _facts(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "Seed": f"{summary['config']['seed']} (unseen volume), {summary['config']['seed'] + 1} (training corpus)",
        **software_facts(summary["software"]),
        "Repeat": "the settings are in run.json and summary.json beside this report",
    }
