"""The image of a focused-ion-beam scanning electron microscope, part by part."""

from synth.sem.charging import Charging
from synth.sem.detector import Electronics
from synth.sem.geometry import SliceGeometry
from synth.sem.milling import Curtains, Redeposition
from synth.sem.optics import Optics
from synth.sem.presets import FIBSEM_PRESETS
from synth.sem.settings import FibsemSettings, backscatter_grey
from synth.sem.stack import degrade, fibsem, fibsem_image

__all__ = [
    "FIBSEM_PRESETS",
    "Charging",
    "Curtains",
    "Electronics",
    "FibsemSettings",
    "Optics",
    "Redeposition",
    "SliceGeometry",
    "backscatter_grey",
    "degrade",
    "fibsem",
    "fibsem_image",
]
