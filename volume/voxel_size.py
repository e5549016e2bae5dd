"""The physical size of a voxel: its check, its units, and which of two statements of it to believe."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["VoxelSize", "check_voxel_size", "from_header", "micrometres_per"]

VoxelSize = tuple[float, float, float]

UNITS_UM = {
    1e-6: ("pm", "picometer", "picometre"),
    1e-4: ("å", "a", "angstrom", "ångström"),
    1e-3: ("nm", "nanometer", "nanometre"),
    1.0: ("um", "μm", "micron", "micrometer", "micrometre", "μ"),
    25.4: ("thou", "mil"),
    1e3: ("mm", "millimeter", "millimetre"),
    1e4: ("cm", "centimeter", "centimetre"),
    25.4e3: ("in", "inch", "inche", '"'),
    1e5: ("dm", "decimeter", "decimetre"),
    304.8e3: ("ft", "foot", "feet"),
    1e6: ("m", "meter", "metre"),
}
UM_OF_UNIT = {name: factor for factor, names in UNITS_UM.items() for name in names}

# Headers keep sizes as rounded decimals or as ratios of 32-bit integers; a larger difference is an edit.
HEADER_TOLERANCE = 1e-4


def check_voxel_size(voxel_size_um: Any) -> VoxelSize | None:
    """Return the voxel size as three floats.

    Parameters
    ----------
    voxel_size_um : sequence of three numbers, or None
        Size along (z, y, x) in micrometres; ``None`` if it is not known.

    Returns
    -------
    tuple of float, or None

    Raises
    ------
    ValueError
        If it is not three positive finite numbers.
    """
    if voxel_size_um is None:
        return None
    wanted = "it must be three positive numbers (z, y, x) in micrometres, or None if it is not known"
    try:
        sizes = np.asarray(voxel_size_um, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"voxel_size_um is {voxel_size_um!r}; {wanted}") from None
    if sizes.shape != (3,) or not np.all(np.isfinite(sizes)) or not np.all(sizes > 0):
        raise ValueError(f"voxel_size_um is {voxel_size_um!r}; {wanted}")
    return float(sizes[0]), float(sizes[1]), float(sizes[2])


def micrometres_per(unit: Any) -> float | None:
    r"""Return how many micrometres one `unit` of length is, or ``None`` for pixels and unknown units.

    Both signs for micro, ImageJ's escapes such as ``\u00B5m``, and plurals are understood.
    """
    name = str(unit or "").strip().strip("\0")
    name = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match.group(1), 16)), name)
    name = name.casefold().replace("µ", "μ")
    return UM_OF_UNIT.get(name) or UM_OF_UNIT.get(name.removesuffix("s"))


def from_header(header: Sequence[float | None] | None, exact: VoxelSize | None) -> VoxelSize | None:
    """Choose between a format's own voxel size and the exact one that Poreforge noted beside it.

    Parameters
    ----------
    header : sequence of three numbers or None
        What the format's own fields say, in micrometres (z, y, x); entries may be missing or nonsense.
    exact : tuple of float, or None
        What the note says, if there is one.

    Returns
    -------
    tuple of float, or None
        The note as long as the header agrees with it up to rounding; otherwise the header, because another
        program has changed it since. An incomplete header counts for nothing: no size is invented.
    """
    if header is None or len(header) != 3:
        return exact
    sizes = [0.0 if value is None else abs(float(value)) for value in header]
    if not all(math.isfinite(value) and value > 0 for value in sizes):
        return exact
    if exact is not None and np.allclose(sizes, exact, rtol=HEADER_TOLERANCE, atol=0):
        return exact
    return sizes[0], sizes[1], sizes[2]
