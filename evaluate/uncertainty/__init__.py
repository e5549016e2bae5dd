"""How well a number is known: intervals from one volume, representative size, bias of the voxel size."""

from evaluate.uncertainty.intervals import ConfidenceInterval, confidence_interval
from evaluate.uncertainty.representative_size import RepresentativeVolume, representative_volume
from evaluate.uncertainty.voxel_bias import VoxelSizeLimit, coarsened, extrapolate_voxel_size, measure_coarsened

__all__ = [
    "ConfidenceInterval",
    "RepresentativeVolume",
    "VoxelSizeLimit",
    "coarsened",
    "confidence_interval",
    "extrapolate_voxel_size",
    "measure_coarsened",
    "representative_volume",
]
