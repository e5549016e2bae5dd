"""Whether a method's volumes differ from each other, and whether they are copies of what it was trained on."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from evaluate.likeness.memorisation import MemorisationAudit, NearestPatches
    from evaluate.likeness.variety import Diversity

__all__ = ["AUDITS", "Audits", "audit_method"]

AUDITS = ("memorisation", "diversity")
LARGEST_PATCH = 32
SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Audits:
    """What was found of one method.

    Attributes
    ----------
    memorisation : MemorisationAudit or None
        None if it was left out or cannot be had.
    nearest : tuple of ndarray or None
        The patch that is nearest to the training material, and its nearest window, turned to match.
    diversity : Diversity or None
        None if it was left out or cannot be had.
    reasons : tuple of str
        Why something cannot be had.
    """

    memorisation: "MemorisationAudit | None" = None
    nearest: tuple[np.ndarray, np.ndarray] | None = None
    diversity: "Diversity | None" = None
    reasons: tuple[str, ...] = ()


def audit_method(
    cubes: Sequence[np.ndarray],
    real: np.ndarray,
    *,
    held_out: np.ndarray | None,
    audits: Sequence[str],
    patches: int,
    symmetry: Any,
    chance: "NearestPatches | None" = None,
) -> Audits:
    """Audit one method on a cube of each of its volumes.

    Parameters
    ----------
    cubes : sequence of ndarray of uint8, shape (n, n, n)
        From the middle of each generated volume.
    real : ndarray of uint8
        The real volume, taken for the training material.
    held_out : ndarray of uint8, optional
        Real material that the method was not trained on.
    audits : sequence of {"memorisation", "diversity"}
        Which.
    patches, symmetry
        As `count` and `symmetry` of `evaluate.likeness.memorisation_audit`; patches have half the edge of a cube, 32
        voxels at most.
    chance : NearestPatches, optional
        Of the audit of another method, as in `evaluate.likeness.memorisation_audit`.

    Returns
    -------
    Audits
        What these volumes do not allow is None, with the reason.
    """
    found, reasons = Audits(), []
    size = max(min(LARGEST_PATCH, len(cubes[0]) // 2), 8)
    if "memorisation" in audits:
        from evaluate.likeness.memorisation import memorisation_audit

        try:
            audit = memorisation_audit(
                list(cubes), real, size=size, count=patches, symmetry=symmetry, held_out=held_out, chance=chance,
                rng=SEED,
            )  # fmt: skip
            found = dataclasses.replace(found, memorisation=audit, nearest=_nearest(audit, cubes, real))
        except ValueError as error:
            reasons.append(f"memorisation: {error}")
    if "diversity" in audits:
        from evaluate.likeness.variety import diversity

        try:
            count = max(patches, len(cubes))
            diverse = diversity(list(cubes), real, size=size, count=count, symmetry=symmetry, rng=SEED)
            found = dataclasses.replace(found, diversity=diverse)
        except ValueError as error:
            reasons.append(f"diversity: {error}")
    return dataclasses.replace(found, reasons=tuple(reasons))


def _nearest(
    audit: "MemorisationAudit", cubes: Sequence[np.ndarray], real: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    made, size = audit.generated, audit.size
    which = int(np.argmin(made.relative))
    volume, *corner = made.origin[which].tolist()
    patch = cubes[volume][tuple(slice(a, a + size) for a in corner)]
    flipped = [axis for axis in range(3) if made.mirrored[which][axis]]
    turned = np.flip(patch.transpose(made.axes[which].tolist()), flipped)
    window = real[tuple(slice(a, a + size) for a in made.place[which, 1:].tolist())]
    return turned.copy(), window.copy()
