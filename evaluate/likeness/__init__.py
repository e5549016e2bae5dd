"""How like the real material generated volumes are: numbers, curves, diversity, memorisation, seams."""

from evaluate.likeness.curve_distances import CurveDistance, curve_distance
from evaluate.likeness.independent_draws import (
    Deviation,
    MeanOfDraws,
    deviation_of_means,
    mean_of_draws,
    neighbour_inflation,
)
from evaluate.likeness.memorisation import MemorisationAudit, NearestPatches, memorisation_audit
from evaluate.likeness.printed_units import paper_factor
from evaluate.likeness.seams import SeamError, SeamErrors, seam_errors
from evaluate.likeness.subvolume_measures import SubvolumeMeasures, measure_subvolumes, place_cubes
from evaluate.likeness.variety import Coverage, Diversity, diversity

__all__ = [
    "Coverage",
    "CurveDistance",
    "Deviation",
    "Diversity",
    "MeanOfDraws",
    "MemorisationAudit",
    "NearestPatches",
    "SeamError",
    "SeamErrors",
    "SubvolumeMeasures",
    "curve_distance",
    "deviation_of_means",
    "diversity",
    "mean_of_draws",
    "measure_subvolumes",
    "memorisation_audit",
    "neighbour_inflation",
    "paper_factor",
    "place_cubes",
    "seam_errors",
]
