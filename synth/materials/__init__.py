"""The materials of the porous-electrode papers."""

from synth.materials.catalyst_layer import catalyst_layer
from synth.materials.fibre_mat import fibre_mat
from synth.materials.gdl_with_mpl import gdl_with_mpl
from synth.materials.redox_cell import redox_cell
from synth.materials.secondary_particle import secondary_particle
from synth.materials.sofc_electrode import sofc_electrode

__all__ = ["catalyst_layer", "fibre_mat", "gdl_with_mpl", "redox_cell", "secondary_particle", "sofc_electrode"]
