"""Segmentation without networks: flooding and walking from sure voxels, Canny's edges, a random forest of pixels."""

from segment.classical.markers import UNKNOWN, confident_markers
from segment.classical.outlines import canny
from segment.classical.pixel_features import FeatureSettings
from segment.classical.pixel_forest import PixelForest
from segment.classical.regions import random_walker, watershed

__all__ = [
    "UNKNOWN",
    "FeatureSettings",
    "PixelForest",
    "canny",
    "confident_markers",
    "random_walker",
    "watershed",
]
