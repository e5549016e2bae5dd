"""What a finished run shows: sample volumes, a picture of their slices, and a summary."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import volume
from generative.patches import Material
from launch import make_output_folder, replace_when_complete

__all__ = ["finished_summary", "phase_fractions", "write_samples", "write_slices", "write_summary"]

SHOWN = 4


def phase_fractions(labels: NDArray[np.uint8], n_phases: int) -> list[float]:
    """Volume fraction of each phase of one volume."""
    return [float(c) / labels.size for c in np.bincount(labels.ravel(), minlength=n_phases)]


def write_samples(folder: str | Path, samples: NDArray[np.uint8], material: Material) -> list[Path]:
    """Write each of ``(count, Z, Y, X)`` labels as ``sample-000.tif``, …, with phases and voxel size."""
    folder = make_output_folder(folder)
    paths = [folder / f"sample-{i:03d}.tif" for i in range(len(samples))]
    for path, labels in zip(paths, samples, strict=True):
        volume.write(path, volume.Volume(labels, material.voxel_size_um, material.phases))
    return paths


def write_slices(path: str | Path, samples: NDArray[np.uint8], patches: NDArray[np.uint8]) -> Path | None:
    """Draw the middle slices of samples above those of training patches.

    Parameters
    ----------
    path : path-like
        PNG file.
    samples, patches : ndarray of uint8
        ``(count, Z, Y, X)`` labels; the first few of each are drawn.

    Returns
    -------
    Path or None
        None where matplotlib is not installed: a training machine may do without.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    columns = max(min(SHOWN, len(samples)), min(SHOWN, len(patches)))
    figure = Figure(figsize=(2.2 * columns, 4.8), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False)
    top = max(int(samples.max()), int(patches.max()), 1)
    for row, (name, volumes) in zip(axes, (("sample", samples), ("training patch", patches)), strict=True):
        for i, ax in enumerate(row):
            ax.set_axis_off()
            if i < len(volumes):
                ax.imshow(volumes[i][len(volumes[i]) // 2], cmap="gray", vmin=0, vmax=top, interpolation="nearest")
                ax.set_title(f"{name} {i}", fontsize=9)
    with replace_when_complete(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return Path(path)


def write_summary(path: str | Path, samples: NDArray[np.uint8], material: Material, **facts: Any) -> dict[str, Any]:
    """Write the phase fractions of samples and material, and `facts` about the run, as JSON; return them."""
    n = len(material.phases)
    fractions = np.array([phase_fractions(labels, n) for labels in samples])
    summary = {
        **facts,
        "phases": list(material.phases),
        "material_fractions": list(material.fractions()),
        "sample_fractions": fractions.tolist(),
        "sample_fractions_mean": fractions.mean(axis=0).tolist(),
    }
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def finished_summary(run: str | Path, steps: int) -> dict[str, Any] | None:
    """Return the summary of a run that has already gone this far, with ``already_finished``; None if it has not."""
    path = Path(run) / "summary.json"
    if not path.is_file() or not (path.parent / "model").is_dir():
        return None
    summary = json.loads(path.read_text(encoding="utf-8"))
    return {**summary, "already_finished": True} if summary["step"] >= steps else None
