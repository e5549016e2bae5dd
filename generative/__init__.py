"""From volumes to new volumes: the 3-D diffusion model, its training and its sampling."""

from generative.configuration import DDPMConfig
from generative.decoding import decode
from generative.denoiser import Denoiser
from generative.patches import LabelledPatches, Material, read_material, signed_one_hot
from generative.pipeline import StructurePipeline, load
from generative.scheduling import make_sampler, make_scheduler

__all__ = [
    "DDPMConfig",
    "Denoiser",
    "LabelledPatches",
    "Material",
    "StructurePipeline",
    "decode",
    "load",
    "make_sampler",
    "make_scheduler",
    "read_material",
    "signed_one_hot",
]
