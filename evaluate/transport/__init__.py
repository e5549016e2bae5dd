"""What moves through a phase: diffusion, conduction, and an estimate of flow."""

from evaluate.transport.permeability_estimate import KozenyCarman, kozeny_carman, kozeny_carman_of
from evaluate.transport.phase_conductivity import EffectiveConductivity, effective_conductivity
from evaluate.transport.solve_arguments import NoPathError
from evaluate.transport.tortuosity_factor import Tortuosity, tortuosity

__all__ = [
    "EffectiveConductivity",
    "KozenyCarman",
    "NoPathError",
    "Tortuosity",
    "effective_conductivity",
    "kozeny_carman",
    "kozeny_carman_of",
    "tortuosity",
]
