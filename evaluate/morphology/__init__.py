"""What a phase looks like: Minkowski functionals, correlation, chords, pore sizes, clusters, interfaces."""

from evaluate.morphology.accessible_sizes import intrusion_diameter
from evaluate.morphology.chords import ChordLengths, ChordsAlong, LinealPath, chord_lengths, lineal_path
from evaluate.morphology.connected_parts import Clusters, clusters, percolating_part
from evaluate.morphology.correlation import TwoPoint, two_point
from evaluate.morphology.interfaces import InterfaceAreas, TriplePhaseBoundary, interface_areas, triple_phase_boundary
from evaluate.morphology.minkowski_functionals import Minkowski, minkowski, minkowski_of_phases
from evaluate.morphology.pore_bodies import split_pores
from evaluate.morphology.pore_sizes import LogNormal, PoreSizes, pore_size_distribution
from evaluate.morphology.thickness import local_thickness

__all__ = [
    "ChordLengths",
    "ChordsAlong",
    "Clusters",
    "InterfaceAreas",
    "LinealPath",
    "LogNormal",
    "Minkowski",
    "PoreSizes",
    "TriplePhaseBoundary",
    "TwoPoint",
    "chord_lengths",
    "clusters",
    "interface_areas",
    "intrusion_diameter",
    "lineal_path",
    "local_thickness",
    "minkowski",
    "minkowski_of_phases",
    "percolating_part",
    "pore_size_distribution",
    "split_pores",
    "triple_phase_boundary",
    "two_point",
]
