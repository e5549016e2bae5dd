"""A grey volume in; labels, probabilities, porosity with its interval and a report out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import describe_software, make_output_folder
from poreforge.outputs import bare_name, software_facts, write_summary
from poreforge.report import Figure, Section, Table, write_report
from poreforge.report.figures import curves, label_image, picture
from segment import Segmentation, load
from segment.thresholds import check_grey
from volume import Volume, choose_for_writing, read, write

__all__ = ["segment_file"]


def segment_file(
    path: str | Path, out: str | Path, *, model: str, voxel_size_um: Sequence[float] | None = None
) -> dict[str, Any]:
    """Segment the volume in a file.

    Parameters
    ----------
    path : path-like
        Grey values.
    out : path-like
        File for the labels; its ending chooses the format. Beside it go ``NAME-probability.tif`` (that of the
        pore), ``NAME-summary.json`` and ``NAME.html``.
    model : str
        As `segment.load` takes it.
    voxel_size_um : (float, float, float), optional
        Size of a voxel along z, y, x; by default the file's.

    Returns
    -------
    dict
        What ``NAME-summary.json`` holds.

    Raises
    ------
    ValueError
        If the volume or the model cannot be used, or `out` cannot be written or would replace the volume.
    """
    out = Path(out)
    probability = out.with_name(f"{bare_name(out)}-probability.tif")
    segmenter = load(model)
    grey = read(path, voxel_size_um=voxel_size_um)
    # All that can be refused is refused before the long work begins and the first file is written.
    check_grey(grey)
    choose_for_writing(out)
    if Path(path).resolve() in (out.resolve(), probability.resolve()):
        raise ValueError(f"the result would replace the volume '{path}' itself; choose another name with --out")
    make_output_folder(out.parent)
    result = segmenter.predict(grey.array)
    summary = {
        "file": str(path),
        "model": model,
        "shape": list(grey.shape),
        "voxel_size_um": grey.voxel_size_um,
        "porosity": result.porosity,
        "porosity_interval": list(result.porosity_interval),
        "interval_coverage": result.coverage,
        "fractions": {name: float(np.mean(result.labels == k)) for k, name in enumerate(result.phases)},
        "undecided": float(np.mean(result.probability.max(axis=0) < 0.8)),
        "domain": _domain_facts(result),
        "software": describe_software(),
    }
    write(out, Volume(result.labels, grey.voxel_size_um, result.phases))
    write(probability, Volume(result.probability[0], grey.voxel_size_um))
    # A name of its own: NAME.json belongs to NAME.raw.
    write_summary(out.with_name(f"{bare_name(out)}-summary.json"), summary)
    _write_report(out.with_name(f"{bare_name(out)}.html"), grey, result, summary)
    return summary


def _domain_facts(result: Segmentation) -> dict[str, Any] | None:
    judgement = result.judgement
    if judgement is None:
        return None
    return {"inside": judgement.inside, "p_value": judgement.p_value, "furthest": list(judgement.furthest)}


def _domain_sentence(result: Segmentation) -> str:
    judgement = result.judgement
    if judgement is None:
        return "Whether the images are like those of the training is not known."
    if judgement.inside:
        return "In noise, sharpness, contrast and stripes the images are like those of the training."
    return (
        f"The images are unlike those of the training (p = {judgement.p_value:.2f}): {'; '.join(judgement.furthest)}. "
        "Neither the interval nor the probabilities can be trusted."
    )


def _write_report(path: Path, grey: Volume, result: Segmentation, summary: dict[str, Any]) -> None:
    low, high = result.porosity_interval
    text = (
        f"Porosity {result.porosity:.2%}; interval {low:.2%} to {high:.2%}. The interval covers the truth in at least "
        f"{result.coverage:.0%} of volumes like the synthetic ones on which the model was calibrated. It says nothing "
        "about a material or an instrument that is unlike all of them: look at the pictures."
    )
    unsure = f"{summary['undecided']:.1%} of the voxels have no phase with a probability of 0.8."
    rows = [[name, f"{fraction:.2%}"] for name, fraction in summary["fractions"].items()]
    sections = [
        Section(
            "Result",
            [text, _domain_sentence(result), unsure],
            tables=[Table("Volume fractions.", ["phase", "fraction"], rows)],
        ),
        Section("Slices", [], [_slices(grey.array, result)]),
        Section("Slice by slice", [], [_profile(grey, result)]),
    ]
    facts = {
        "File": Path(summary["file"]).name,
        "Model": summary["model"],
        "Voxels": " × ".join(map(str, grey.shape)) + " (z, y, x)",
        **software_facts(summary["software"]),
    }
    write_report(path, f"Segmentation of {Path(summary['file']).name}", sections, facts=facts)


def _slices(grey: np.ndarray, result: Segmentation) -> Figure:
    low, high = np.percentile(grey, [0.5, 99.5])
    pictures = []
    for z in sorted({len(grey) // 6, len(grey) // 2, 5 * len(grey) // 6}):
        confidence = result.probability[:, z].max(axis=0)
        pictures += [
            picture(grey[z], f"slice {z}", limits=(low, high)),
            picture(label_image(result.labels[z]), "labels"),
            picture(confidence, "confidence", limits=(1 / len(result.phases), 1), colours="magma"),
        ]
    caption = "Grey values; labels, pore dark; probability of the chosen label: where it is dark, do not trust it."
    return Figure(pictures, caption, 3)


def _profile(grey: Volume, result: Segmentation) -> Figure:
    porosity = (result.labels == 0).mean(axis=(1, 2))
    return curves(
        {"porosity": (np.arange(len(porosity)), porosity)},
        x_label="slice",
        y_label="porosity of the slice",
        levels={"whole volume": result.porosity},
        caption="A single slice that stands out is more often a bad image than a change of the material.",
        alt="Porosity of each slice.",
    )
