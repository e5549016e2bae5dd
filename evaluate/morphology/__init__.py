"""What a phase looks like: Minkowski functionals, correlation, chords, pore sizes, clusters, interfaces."""

from evaluate.morphology.correlation import TwoPoint, two_point
from evaluate.morphology.minkowski_functionals import Minkowski, minkowski

__all__ = ["Minkowski", "TwoPoint", "minkowski", "two_point"]
