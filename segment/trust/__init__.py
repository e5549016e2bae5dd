"""How far a segmentation can be trusted: calibration, spread, intervals, domain, a measured porosity."""

from segment.trust.calibration import Reliability, ReliabilityCurve, reliability
from segment.trust.conformal import (
    ConformalInterval,
    Coverage,
    PorosityDoubt,
    conformal_interval,
    coverage_of,
    porosity_doubt,
    scaled_interval,
)
from segment.trust.domain import Domain, Judgement
from segment.trust.image_statistics import ImageStatistics, image_statistics
from segment.trust.known_porosity import (
    CarriedInterval,
    PorosityShift,
    carry_interval,
    find_shift,
    label_slabs,
    match_porosity,
)
from segment.trust.spread import Spread, flip_spread, spread_of
from segment.trust.temperature import Temperature, apply_temperature, fit_temperature

__all__ = [
    "CarriedInterval",
    "ConformalInterval",
    "Coverage",
    "Domain",
    "ImageStatistics",
    "Judgement",
    "PorosityDoubt",
    "PorosityShift",
    "Reliability",
    "ReliabilityCurve",
    "Spread",
    "Temperature",
    "apply_temperature",
    "carry_interval",
    "conformal_interval",
    "coverage_of",
    "find_shift",
    "fit_temperature",
    "flip_spread",
    "image_statistics",
    "label_slabs",
    "match_porosity",
    "porosity_doubt",
    "reliability",
    "scaled_interval",
    "spread_of",
]
