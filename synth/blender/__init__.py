"""Slices of a serially cut electrode as Blender renders them: light, shadow and the depth behind each cut."""

from synth.blender.process import SYSTEM_LIBRARIES, BlenderCrashError, BlenderUnavailableError
from synth.blender.settings import BlenderSettings
from synth.blender.stack import BlenderStack, blender_stack

__all__ = [
    "SYSTEM_LIBRARIES",
    "BlenderCrashError",
    "BlenderSettings",
    "BlenderStack",
    "BlenderUnavailableError",
    "blender_stack",
]
