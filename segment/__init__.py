"""From pictures to labels: thresholds, networks and the two-stage segmenter."""

from segment.segmenter import Segmentation, Segmenter, load, shipped_models
from segment.thresholds import otsu, porosity_threshold

__all__ = ["Segmentation", "Segmenter", "load", "otsu", "porosity_threshold", "shipped_models"]
