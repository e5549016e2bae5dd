"""X-ray computed tomography from the projections up."""

from synth.xray.presets import XRAY_PRESETS
from synth.xray.settings import (
    BeamSettings,
    DetectorSettings,
    GreySettings,
    ReconstructionSettings,
    ScanSettings,
    XraySettings,
)
from synth.xray.tomograph import xray_ct, xray_image

__all__ = [
    "XRAY_PRESETS",
    "BeamSettings",
    "DetectorSettings",
    "GreySettings",
    "ReconstructionSettings",
    "ScanSettings",
    "XraySettings",
    "xray_ct",
    "xray_image",
]
