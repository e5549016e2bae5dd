"""Slices of a serially cut electrode as Blender renders them: light, shadow and the depth behind each cut."""

from synth.blender.imaging import BLENDER_PRESETS, BlenderImaging, blender_image
from synth.blender.process import SYSTEM_LIBRARIES, BlenderCrashError, BlenderUnavailableError
from synth.blender.settings import BlenderSettings
from synth.blender.stack import BlenderStack, blender_stack

__all__ = [
    "BLENDER_PRESETS",
    "SYSTEM_LIBRARIES",
    "BlenderCrashError",
    "BlenderImaging",
    "BlenderSettings",
    "BlenderStack",
    "BlenderUnavailableError",
    "blender_image",
    "blender_stack",
]
