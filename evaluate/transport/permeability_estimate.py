"""Permeability of a porous medium from its porosity, surface and tortuosity: the Kozeny-Carman equation."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

from evaluate.accepted_input import as_mask
from evaluate.morphology import minkowski
from evaluate.transport.tortuosity_factor import tortuosity as tortuosity_factor

__all__ = ["KozenyCarman", "kozeny_carman", "kozeny_carman_of"]

CONSTANTS = {"carman": 5.0, "tortuosity": 2.5, "utile_pore": 4.5}
# Straight pores may be solved to a tortuosity this much below 1.
ROUNDING = 1e-6
Form = Literal["carman", "tortuosity", "utile_pore"]


@dataclasses.dataclass(frozen=True)
class KozenyCarman:
    """An estimate of permeability; made by `kozeny_carman` or `kozeny_carman_of`.

    Attributes
    ----------
    permeability : float
        K in unit², the K of Darcy's law u = -K/μ ∇p with the velocity u averaged over the whole cross-section.
    form : str
        Which equation.
    constant : float
        The number C in it.
    porosity : float
        ε.
    specific_surface : float
        S, surface of the pores per volume of the whole, in 1/unit.
    tortuosity : float or None
        The tortuosity factor τ = ε D0 / Deff = τ_geometric²; None if the form does not take it.
    unit : str
        ``"um"`` or ``"voxel"``.
    """

    permeability: float
    form: str
    constant: float
    porosity: float
    specific_surface: float
    tortuosity: float | None
    unit: str


def kozeny_carman(
    porosity: float,
    specific_surface: float,
    tortuosity: float | None = None,
    *,
    form: Form | None = None,
    constant: float | None = None,
    unit: Literal["um", "voxel"] = "um",
) -> KozenyCarman:
    r"""Estimate the permeability from porosity, surface and tortuosity.

    Parameters
    ----------
    porosity : float
        ε, above 0 and at most 1.
    specific_surface : float
        S, surface of the pores per volume of the *whole*, in 1/unit, as `minkowski` gives it. A surface per volume of
        solid S_v is S = (1 - ε) S_v, with which ε³ / (C S²) is the more familiar ε³ / (C (1 - ε)² S_v²).
    tortuosity : float, optional
        The tortuosity *factor* τ = ε D0 / Deff ≥ 1, as `evaluate.tortuosity` gives it: the square of a length ratio.
    form : {"carman", "tortuosity", "utile_pore"}, optional
        By default ``"tortuosity"`` if a tortuosity is given, otherwise ``"carman"``. See the notes.
    constant : float, optional
        C; by default 5, 2.5 and 4.5 for the three forms.
    unit : {"um", "voxel"}
        The unit of length of `specific_surface`; the permeability is in its square.

    Returns
    -------
    KozenyCarman

    Raises
    ------
    ValueError
        A number out of range, an unknown `form` or `unit`, a tortuosity missing or given to a form that has no use for
        it.

    Notes
    -----
    ================  ============================  ===================================================================
    form              K                             C
    ================  ============================  ===================================================================
    ``"carman"``      :math:`ε^3 / (C S^2)`         5: it holds the tortuosity already, as Carman [1]_ found for
                                                    packings of grains
    ``"tortuosity"``  :math:`ε^3 / (C τ S^2)`       2 for round tubes, 3 for slits, 2 to 2.5 in general: the shape of
                                                    the pores alone
    ``"utile_pore"``  :math:`ε^3 / (C τ^2 S^2)`     4 to 5, as in [2]_, equation 4
    ================  ============================  ===================================================================

    The last one counts the tortuosity more than once: its constant holds one, and a tortuosity factor, which the paper
    takes from PoreSpy, is a square already. It is kept to compare with published numbers.
    For parallel round tubes of radius r, S = 2ε/r and τ = 1, so that the second form with C = 2 is exactly ε r²/8.

    All forms are guides to an order of magnitude for media with pores of about one size.

    References
    ----------
    .. [1] P. C. Carman, "Fluid flow through granular beds", Trans. Inst. Chem. Eng. 15 (1937) 150.
    .. [2] A. Colliard-Granero et al., "UTILE-Pore", J. Electrochem. Soc. 172 (2025) 074515.

    Examples
    --------
    >>> kozeny_carman(0.5, 1.0, 1.0, constant=2.0).permeability
    0.0625
    """
    form = form or ("carman" if tortuosity is None else "tortuosity")
    if form not in tuple(CONSTANTS):
        raise ValueError(f"form is {form!r}; it must be one of {', '.join(map(repr, CONSTANTS))}")
    if (tortuosity is None) != (form == "carman"):
        needed = "takes no tortuosity: its constant holds one" if form == "carman" else "needs a tortuosity"
        raise ValueError(f"form {form!r} {needed}; choose the form that fits")
    if unit not in ("um", "voxel"):
        raise ValueError(f"unit is {unit!r}; it must be 'um' or 'voxel'")
    epsilon = _within("porosity", porosity, above=0, most=1)
    surface = _within("specific_surface", specific_surface, above=0)
    factor = _within("constant", CONSTANTS[form] if constant is None else constant, above=0)
    bend = 1.0 if tortuosity is None else max(_within("tortuosity", tortuosity, least=1), 1.0)
    power = 2 if form == "utile_pore" else 1
    return KozenyCarman(
        permeability=epsilon**3 / (factor * bend**power * surface**2),
        form=form,
        constant=factor,
        porosity=epsilon,
        specific_surface=surface,
        tortuosity=None if tortuosity is None else bend,
        unit=unit,
    )


def kozeny_carman_of(
    mask: Any,
    *,
    axis: int,
    voxel_size_um: Sequence[float] | None = None,
    form: Form = "tortuosity",
    constant: float | None = None,
) -> KozenyCarman:
    """Estimate the permeability of a volume along an axis.

    Parameters
    ----------
    mask : array_like, shape (Z, Y, X)
        True (or 1) in the pores.
    axis : int
        0, 1 or 2: z, y or x. The form ``"carman"`` gives the same for each, but still wants the pores to connect the
        two faces.
    voxel_size_um : sequence of three floats, optional
        As in `minkowski`, which measures the surface; without it the permeability is in voxels².
    form, constant
        As in `kozeny_carman`.

    Returns
    -------
    KozenyCarman

    Raises
    ------
    ValueError
        As in `tortuosity`, `minkowski` and `kozeny_carman`; a mask that is all pore, without any surface.
    """
    inside = as_mask(mask)
    if inside.all():
        raise ValueError("mask is True everywhere; without a surface there is no Kozeny-Carman permeability")
    solved = tortuosity_factor(mask, axis=axis, voxel_size_um=voxel_size_um)
    measured = minkowski(mask, voxel_size_um=voxel_size_um)
    return kozeny_carman(
        measured.volume_fraction,
        measured.specific_surface,
        None if form == "carman" else solved.tortuosity,
        form=form,
        constant=constant,
        unit="um" if measured.unit == "um" else "voxel",
    )


def _within(
    name: str, value: Any, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
) -> float:
    limits = f"at least {least:g}" if above == -math.inf else f"above {above:g}"
    if most < math.inf:
        limits += f" and at most {most:g}"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}; it must be a number {limits}") from None
    if not (math.isfinite(number) and above < number <= most and number >= least - ROUNDING):
        raise ValueError(f"{name} is {number}; it must be {limits}")
    return number
