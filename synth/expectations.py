"""What a model is on average, as plain numbers beside the truth of one volume."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synth.truth import ClosedForm, gaussian_bands, gaussian_level_set, intersection

__all__ = ["describe_expected", "expect_gaussian_phases"]

# In voxels.
DISTANCES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


def describe_expected(forms: Mapping[str, ClosedForm]) -> dict[str, Any]:
    """Return what is expected of each phase: the densities that are finite, and S2 at a few distances.

    Parameters
    ----------
    forms : mapping of str to ClosedForm
        By the phase's name.

    Returns
    -------
    dict
        For each phase ``volume_fraction``, ``specific_surface``, ``mean_curvature``, ``euler_density`` (in voxels) and
        ``two_point``, a mapping of the distances ``r`` and the probabilities ``s2``.
    """
    return {
        phase: {key: value for key, value in form.densities().items() if np.isfinite(value)}
        | {"two_point": {"r": list(DISTANCES), "s2": form.two_point(DISTANCES).tolist()}}
        for phase, form in forms.items()
    }


def expect_gaussian_phases(
    fractions: Sequence[float], lengths: Sequence[float], *, rule: str, correlation: str, anisotropy: Sequence[float]
) -> tuple[ClosedForm, ...]:
    """Return the closed form of each phase of `synth.gaussian_phases`, or none where there is none.

    There is none of nested fields that are anisotropic.
    """
    stretch = tuple(anisotropy)
    if rule == "truncated":
        return gaussian_bands(fractions, length_vox=lengths[0], correlation=correlation, anisotropy=stretch)
    if len(fractions) > 2 and len(set(stretch)) > 1:
        return ()
    phases, rest, left = [], None, 1.0
    for fraction, length in zip(fractions[:-1], lengths, strict=True):
        cut = gaussian_level_set(fraction / left, length_vox=length, correlation=correlation, anisotropy=stretch)
        phases.append(cut if rest is None else intersection(rest, cut))
        rest = cut.complement() if rest is None else intersection(rest, cut.complement())
        left -= fraction
    return (*phases, rest) if rest is not None else ()
