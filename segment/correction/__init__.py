"""From a raw stack to one that can be measured: what the microscope did to it is found, reported and undone."""

from segment.correction.background import BackgroundEstimate, estimate_background, undo_background
from segment.correction.correcting import Corrected, CorrectionReport, CorrectionSettings, StepReport, correct
from segment.correction.drift import DriftEstimate, common_area, estimate_drift, register
from segment.correction.gain import GainEstimate, estimate_gain, undo_gain
from segment.correction.intensity import equalise, equalise_locally, normalise, stretch
from segment.correction.region import Region, find_region
from segment.correction.stripes import StripeEstimate, estimate_stripes, stripe_spectrum, undo_stripes
from segment.correction.tilt import TiltEstimate, estimate_tilt, undo_foreshortening
from segment.correction.wedge import wedge_filter

__all__ = [
    "BackgroundEstimate",
    "Corrected",
    "CorrectionReport",
    "CorrectionSettings",
    "DriftEstimate",
    "GainEstimate",
    "Region",
    "StepReport",
    "StripeEstimate",
    "TiltEstimate",
    "common_area",
    "correct",
    "equalise",
    "equalise_locally",
    "estimate_background",
    "estimate_drift",
    "estimate_gain",
    "estimate_stripes",
    "estimate_tilt",
    "find_region",
    "normalise",
    "register",
    "stretch",
    "stripe_spectrum",
    "undo_background",
    "undo_foreshortening",
    "undo_gain",
    "undo_stripes",
    "wedge_filter",
]
