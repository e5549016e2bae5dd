"""What scenes are made from, checked, and the sentences that refuse the rest."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.accepted_input import as_labels, as_voxel_size
from poreforge.report.figures import PHASE_COLOURS

__all__ = [
    "accepted_labels",
    "accepted_limits",
    "accepted_objects",
    "accepted_opacities",
    "accepted_palette",
    "accepted_values",
    "of_shape",
]

MOST_LABELS = 16
NOT_SHOWN = frozenset({"pore", "outside", "electrolyte", "void", "air"})


def accepted_labels(
    labels: Any, voxel_size_um: Sequence[float] | None, phases: Sequence[str] | None
) -> tuple[np.ndarray, tuple[float, float, float] | None, tuple[str, ...]]:
    """Return labels as bytes, the voxel size and a name for each label."""
    array = as_labels(labels, "labels", ndim=(3,)).astype(np.uint8, copy=False)
    high = int(array.max())
    if high >= MOST_LABELS:
        raise ValueError(f"labels go up to {high}; pictures tell {MOST_LABELS} phases apart, 0 to {MOST_LABELS - 1}")
    given = phases if phases is not None else getattr(labels, "phases", None)
    names = tuple(given) if given else ("pore", *(f"phase {k}" for k in range(1, high + 1)))
    if len(names) <= high:
        raise ValueError(f"phases names {len(names)} labels, but labels go up to {high}; name each of them")
    return array, as_voxel_size(voxel_size_um, labels), names


def accepted_palette(colours: Sequence[str] | None, count: int) -> list[str]:
    """Return a colour for each of `count` labels."""
    palette = list(PHASE_COLOURS) if colours is None else [str(colour) for colour in colours]
    wrong = [c for c in palette if len(c) != 7 or c[0] != "#" or any(d not in "0123456789abcdefABCDEF" for d in c[1:])]
    if wrong:
        raise ValueError(f"colour {wrong[0]!r} is not understood; give it as '#rrggbb'")
    if colours is not None and len(palette) < count:
        raise ValueError(f"{len(palette)} colours were given for {count} phases; give one for each label")
    return [palette[k % len(palette)] for k in range(count)]


def accepted_opacities(names: tuple[str, ...], opacity: dict[int, float] | None) -> dict[int, float]:
    """Return the opacity of each label: pores and what is outside are not seen unless that is asked for."""
    values = {k: 0.0 if k == 0 or name.casefold() in NOT_SHOWN else 1.0 for k, name in enumerate(names)}
    for label, value in (opacity or {}).items():
        if label not in values or not 0 <= value <= 1:
            raise ValueError(
                f"opacity has {label!r}: {value!r}; labels 0 to {len(names) - 1} may have opacities from 0 to 1"
            )
        values[label] = float(value)
    return values


def accepted_objects(objects: Any) -> np.ndarray:
    """Return the numbers of the objects, 0 where there is none."""
    numbers = np.asarray(objects)
    if numbers.ndim != 3 or not numbers.size or numbers.dtype.kind not in "biu":
        raise ValueError(
            f"objects have shape {numbers.shape} and dtype {numbers.dtype}; "
            "give a mask or whole numbers with axes (z, y, x), 0 where there is no object"
        )
    if numbers.dtype.kind == "i" and numbers.min() < 0:
        raise ValueError(f"objects go down to {numbers.min()}; number them 1, 2, … and give 0 where there is none")
    if not numbers.any():
        raise ValueError("there is no object: every voxel is 0, so there is nothing to show")
    return numbers


def accepted_values(values: Any, numbers: np.ndarray) -> np.ndarray:
    """Return the property voxel by voxel; what it is outside the objects means nothing."""
    given = np.asarray(values, dtype=np.float32)
    if given.ndim == 3:
        field = of_shape(given, numbers.shape, np.float32)
    elif given.ndim == 1 and len(given) >= int(numbers.max()):
        field = np.concatenate([[0], given]).astype(np.float32)[numbers.astype(np.int64, copy=False)]
    else:
        raise ValueError(
            f"values have shape {given.shape}; give one for each of the {int(numbers.max())} objects, "
            f"or a field of shape {numbers.shape}"
        )
    if not np.isfinite(field[numbers > 0]).all():
        raise ValueError("values hold NaN or infinity inside the objects; each object needs a finite value")
    return field


def of_shape(array: Any, shape: tuple[int, ...], dtype: Any = bool) -> np.ndarray:
    """Return an array of that shape and type."""
    found = np.asarray(array)
    if found.shape != shape:
        raise ValueError(f"arrays have shapes {found.shape} and {shape}; they must be of one volume")
    return found.astype(dtype, copy=False)


def accepted_limits(limits: tuple[float, float] | None, shown: np.ndarray) -> tuple[float, float]:
    """Return the values at the ends of the colour bar."""
    if limits is None:
        low, high = float(shown.min()), float(shown.max())
        return (low, high) if high > low else (low, low + (abs(low) or 1.0))
    low, high = (float(value) for value in limits)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"limits are {limits!r}; give two finite numbers, the smaller one first")
    return low, high
