"""What moves through a phase: diffusion, conduction, and flow."""

from evaluate.transport.flow_permeability import Permeability, permeability
from evaluate.transport.permeability_estimate import KozenyCarman, kozeny_carman, kozeny_carman_of
from evaluate.transport.phase_conductivity import EffectiveConductivity, effective_conductivity
from evaluate.transport.solve_arguments import NoPathError
from evaluate.transport.tortuosity_factor import Tortuosity, tortuosity

__all__ = [
    "EffectiveConductivity",
    "KozenyCarman",
    "NoPathError",
    "Permeability",
    "Tortuosity",
    "effective_conductivity",
    "kozeny_carman",
    "kozeny_carman_of",
    "permeability",
    "tortuosity",
]
