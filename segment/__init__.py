"""From pictures to labels: corrections, thresholds, networks and the two-stage segmenter."""

from segment.correction import Corrected, CorrectionSettings, correct
from segment.segmenter import Segmentation, Segmenter, load, shipped_models, shipped_models_like
from segment.thresholds import hysteresis, hysteresis_levels, multi_otsu, otsu, porosity_threshold

__all__ = [
    "Corrected",
    "CorrectionSettings",
    "Segmentation",
    "Segmenter",
    "correct",
    "hysteresis",
    "hysteresis_levels",
    "load",
    "multi_otsu",
    "otsu",
    "porosity_threshold",
    "shipped_models",
    "shipped_models_like",
]
