"""From volumes to new volumes: the 3-D diffusion model, its training and its sampling."""

from generative.coding import LabelCoding, encode
from generative.configuration import DDPMConfig
from generative.decoding import decode
from generative.denoiser import Denoiser
from generative.loading import ModelCard, load
from generative.noise_schedule import NoiseSchedule, cosine_schedule
from generative.patches import LabelledPatches, Material, read_material
from generative.pipeline import StructurePipeline, WalkSettings
from generative.walks import Walk, make_walk

__all__ = [
    "DDPMConfig",
    "Denoiser",
    "LabelCoding",
    "LabelledPatches",
    "Material",
    "ModelCard",
    "NoiseSchedule",
    "StructurePipeline",
    "Walk",
    "WalkSettings",
    "cosine_schedule",
    "decode",
    "encode",
    "load",
    "make_walk",
    "read_material",
]
