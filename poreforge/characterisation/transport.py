"""Diffusion and conduction through each phase, and the flow that the pores would let through."""

from typing import Any

from evaluate import NoPathError, Tortuosity, kozeny_carman, minkowski, tortuosity
from poreforge.characterisation.findings import Findings, columns_of, mask_of, names_of, unit_of
from poreforge.report import Section, Table
from volume import Volume

__all__ = ["transport"]

PORE = 0


def transport(volume: Volume) -> Findings:
    """Solve for the tortuosity factor of each phase along each axis; estimate the permeability of the pores."""
    names = names_of(volume)
    numbers, rows = [], []
    solved: dict[int, Tortuosity] = {}
    for label, name in enumerate(names):
        for axis, letter in enumerate("zyx"):
            found, reason = _solve(volume, label, axis)
            numbers.append({"label": label, "axis": letter, **(_plain(found) if found else {"reason": reason})})
            if found is None:
                rows.append([name, letter, "no path", "0", "∞"])
                continue
            rows.append(
                [name, letter, *columns_of(found.tortuosity, found.effective_diffusivity, found.formation_factor)]
            )
            if label == PORE:
                solved[axis] = found
    heads = ["phase", "along", "tortuosity factor τ", "Deff / D0", "formation factor"]
    text = (
        "τ = ε D0 / Deff, from the diffusion equation in the phase with fixed values at the two faces and nothing "
        "through the sides. It is the square of what is called tortuosity where lengths are compared."
    )
    table = Table("Transport through each phase.", heads, rows)
    flow, flow_table = _flow(volume, solved)
    tables = [table, flow_table] if flow_table else [table]
    return Findings({"transport": numbers, "permeability": flow}, Section("Transport", [text], tables=tables))


def _solve(volume: Volume, label: int, axis: int) -> tuple[Tortuosity | None, str]:
    try:
        return tortuosity(mask_of(volume, label), axis=axis), ""
    except NoPathError as error:
        return None, str(error)


def _plain(found: Tortuosity) -> dict[str, Any]:
    return {
        "tortuosity": found.tortuosity, "effective_diffusivity": found.effective_diffusivity,
        "formation_factor": found.formation_factor, "connected": found.connected, "boundary": found.boundary,
        "residual": found.residual, "iterations": found.iterations, "converged": found.converged,
    }  # fmt: skip


def _flow(volume: Volume, solved: dict[int, Tortuosity]) -> tuple[list[dict[str, Any]], Table | None]:
    if not solved:
        return [], None
    unit = unit_of(volume)
    surface = minkowski(mask_of(volume, PORE)).specific_surface
    numbers, rows = [], []
    for axis, found in solved.items():
        if not surface:
            continue
        estimate = kozeny_carman(
            found.porosity, surface, found.tortuosity, unit="um" if volume.voxel_size_um is not None else "voxel"
        )
        numbers.append({"axis": "zyx"[axis], "permeability": estimate.permeability, "form": estimate.form})
        rows.append(["zyx"[axis], *columns_of(estimate.permeability)])
    caption = "Permeability of the pores by Kozeny and Carman, K = ε³ / (2.5 τ S²)."
    return numbers, Table(caption, ["along", f"K / {unit}²"], rows) if rows else None
