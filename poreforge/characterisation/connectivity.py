"""Which phases hold together, and from which faces they can be reached."""

import numpy as np

from evaluate import clusters
from poreforge.characterisation.findings import Findings, columns_of, mask_of, names_of
from poreforge.report import Section, Table
from volume import Volume

__all__ = ["connectivity"]


def connectivity(volume: Volume) -> Findings:
    """Count the clusters of each phase and what they reach."""
    numbers, rows = [], []
    for label, name in enumerate(names_of(volume)):
        found = clusters(mask_of(volume, label))
        numbers.append(
            {
                "label": label, "clusters": found.number, "percolating_fraction": list(found.percolating_fraction),
                "accessible_fraction": np.asarray(found.accessible_fraction).tolist(),
                "largest_fraction": found.largest_fraction, "isolated_fraction": found.isolated_fraction,
            }
        )  # fmt: skip
        shares = (*found.percolating_fraction, found.largest_fraction, found.isolated_fraction)
        rows.append([name, str(found.number), *columns_of(*shares)])
    heads = ["phase", "clusters", *(f"connects both faces across {axis}" for axis in "zyx"), "largest", "isolated"]
    table = Table("Shares of each phase's volume; voxels hang together at faces.", heads, rows)
    return Findings({"connectivity": numbers}, Section("Connectivity", tables=[table]))
