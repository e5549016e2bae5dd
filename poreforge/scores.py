"""Every score of a segmentation against the truth, as plain numbers."""

import numpy as np

from evaluate import Mesh, agreement, chamfer, hausdorff, minkowski, porosity, reconstruct, two_point

__all__ = ["SCORES", "score_segmentation"]

# Name in summary.json: (head in the report, format, +1 where more is better and -1 where less is).
SCORES = {
    "iou_pore": ("IoU pore", "{:.4f}", +1),
    "iou_solid": ("IoU solid", "{:.4f}", +1),
    "mean_iou": ("mean IoU", "{:.4f}", +1),
    "mean_dice": ("mean Dice", "{:.4f}", +1),
    "accuracy": ("accuracy", "{:.4f}", +1),
    "porosity": ("porosity", "{:.4f}", 0),
    "porosity_error": ("porosity error", "{:+.4f}", -1),
    "specific_surface_error": ("surface error / %", "{:+.1f}", -1),
    "euler_density_error": ("Euler density error / %", "{:+.1f}", -1),
    "s2_error": ("rms error of S2", "{:.4f}", -1),
    "chamfer": ("Chamfer / voxel", "{:.3f}", -1),
    "hausdorff95": ("Hausdorff 95 % / voxel", "{:.2f}", -1),
}


def score_segmentation(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Score two-phase labels by voxel and by the properties that follow from them.

    Parameters
    ----------
    prediction, truth : ndarray of uint8, shape (Z, Y, X)
        0 is pore, 1 is solid.

    Returns
    -------
    dict
        The keys of `SCORES`. Relative errors are in per cent of the true value, lengths in voxels.
    """
    match = agreement(prediction, truth, n_phases=2)
    measured, true = minkowski(prediction == 0), minkowski(truth == 0)
    surfaces = [_interface(labels) for labels in (prediction, truth)]
    s2 = [two_point(labels == 0).s2 for labels in (prediction, truth)]
    found, wanted = surfaces
    both = found is not None and wanted is not None
    return {
        "iou_pore": match.iou[0],
        "iou_solid": match.iou[1],
        "mean_iou": float(np.mean(match.iou)),
        "mean_dice": float(np.mean(match.dice)),
        "accuracy": match.accuracy,
        "porosity": porosity(prediction),
        "porosity_error": porosity(prediction) - porosity(truth),
        "specific_surface_error": _percent(measured.specific_surface, true.specific_surface),
        "euler_density_error": _percent(measured.euler_density, true.euler_density),
        "s2_error": float(np.sqrt(np.mean((s2[0] - s2[1]) ** 2))),
        "chamfer": chamfer(found, wanted) if both else float("nan"),
        "hausdorff95": hausdorff(found, wanted, percentile=95) if both else float("nan"),
    }


def _interface(labels: np.ndarray) -> Mesh | None:
    """Return the surface between solid and pore, or None where one of them is lost.

    The faces that close the mesh at the volume's border are left out: they lie alike in any two volumes.
    """
    if not 0 < np.count_nonzero(labels) < labels.size:
        return None
    mesh = reconstruct(labels)
    # Voxel centres lie at whole numbers; only what closes the mesh lies beyond the outermost ones.
    inside = ((mesh.vertices >= 0) & (mesh.vertices <= np.array(labels.shape) - 1)).all(axis=1)
    faces = mesh.faces[inside[mesh.faces].all(axis=1)]
    return Mesh(mesh.vertices, faces) if len(faces) else None


def _percent(value: float, true: float) -> float:
    return 100 * (value - true) / abs(true) if true else float("nan")
