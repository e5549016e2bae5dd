"""Oxygen electrodes of solid-oxide cells as FIB-SEM sees them: pores in sintered LSCF, or in LSCF and GDC."""

import functools
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from synth.arguments import as_number, as_numbers
from synth.exact_counts import check_fractions, highest, whole_counts
from synth.expectations import describe_expected
from synth.gaussian import draw_waves, gaussian_field
from synth.gaussian_cuts import cut_waves
from synth.structure import Structure, check_shape, with_fractions
from synth.truth import ClosedForm, gaussian_level_set, gaussian_polygons

__all__ = ["expected_sofc_phases", "sofc_electrode", "sofc_targets"]

Preset = Literal["two-phase", "three-phase"]
PHASES = {"two-phase": ("pore", "LSCF"), "three-phase": ("pore", "GDC", "LSCF")}
# Per phase: volume fraction, "specific surface area" and "Euler characteristic" of the real images, as printed.
PRINTED = {
    "two-phase": ((0.497, 0.014, -3.48e-5), (0.456, 0.014, -3.77e-5)),
    "three-phase": ((0.437, 0.015, -4.21e-5), (0.259, 0.010, -1.1e-6), (0.258, 0.011, 8.91e-7)),
}
# QuantImPy visits the (n - 1)³ neighbourhoods of a cube of n = 64 voxels, and its sums were divided by n³.
VISITED = (63 / 64) ** 3
# QuantImPy's functionals are S/8 and 3χ/(4π).
SURFACE_UNIT, EULER_UNIT = 8.0, 4 * np.pi / 3
# Where the pores' rectangle in the plane of the two fields has its centre, and how steeply the borders between GDC and
# LSCF leave its corners (radians): of the three-phase preset both phases' surface and Euler density follow.
CENTRE = (0.6729, 0.4435)
BORDER = 0.8833
# No Gaussian variable is further from 0 than this.
FAR = 9.0
LEAST_FRACTION = 1e-4
# Of a scale or a length, and one over it for the least.
MOST = 1e6

Region = tuple[list[tuple[float, float]], list[tuple[float, float]] | None]


def sofc_electrode(
    shape: tuple[int, int, int],
    *,
    preset: Preset = "two-phase",
    fractions: tuple[float, ...] | None = None,
    length_vox: float | None = None,
    scale: float = 1.0,
    periodic: bool = False,
    rng: np.random.Generator | int,
) -> Structure:
    """Make an oxygen electrode of a solid-oxide cell, two or three phases, whose statistics are those of real ones.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along z, y, x.
    preset : {"two-phase", "three-phase"}
        Pore and LSCF, or pore, GDC and LSCF, with the volume fractions, specific surfaces and Euler densities of
        the real images in Tables 1 and 2 of [1]_, as `sofc_targets` converts them.
    fractions : sequence of float, optional
        Of the phases in this order, adding up to 1, each 1e-4 or more, in place of the preset's.
    length_vox : float, optional
        Correlation length of the fields in voxels of the paper, in place of the preset's (7.7 and 10.4). Grains and
        pores are about as wide.
    scale : float
        Voxels per voxel of the paper: with 2 everything is twice as large, twice as finely resolved.
    periodic : bool
        Make opposite faces fit together.
    rng : Generator or int
        Source of randomness, or the seed of one.

    Returns
    -------
    Structure
        Labels 0 (pore), 1 (LSCF) or 0 (pore), 1 (GDC), 2 (LSCF). ``truth`` has the exact ``porosity`` and
        ``fractions``; ``length_vox``, the correlation length used; ``expected``, for each phase the densities and S2
        of the model in an infinite volume, in closed form (see `expected_sofc_phases`). Where `fractions` and
        `length_vox` are the preset's there are also ``printed``, the table as it stands, ``target``, the same in this
        resolution, and ``mismatch``: the difference of the two over the absolute value of the target.

    Raises
    ------
    ValueError
        For impossible arguments, and where the features are longer than the volume's longest side.

    Notes
    -----
    Two phases: a Gaussian field, cut where the fractions say. Its length follows from the specific surface; then the
    Euler density, -1.59e-4, has no freedom left, and it lies between the two printed ones, 4 % from each. Three phases:
    two independent fields T1, T2. Pore is where (T1, T2) lies in a rectangle, GDC where T1 is further outside than
    T2, LSCF elsewhere. So each of four kinds of blobs grows around its own centres, and GDC meets LSCF at the
    necks between grains, not in the middle of a grain as an independent third field would have it. The position
    of the rectangle, the borders and the length are solved for the densities: of the nine numbers in the
    table eight are met exactly, the Euler density of the pores is -1.06e-4 in place of -1.85e-4 in the closed form.

    Where the pores run out between GDC and LSCF, voxels of any size cut their narrow ends up, which the closed form
    does not know (see `synth.truth.ClosedForm`). Six volumes of 192³ had, in the mean,

    ===============  ========  ========  =============  =============  ================  ====================
    phase            fraction  surface   Euler (6)      Euler (26)     target            QuantImPy, as printed
    ===============  ========  ========  =============  =============  ================  ====================
    pore (of two)    0.5215    0.1169    -1.60e-4       -1.60e-4       0.1174, -1.53e-4  0.497, 0.0139, -3.6e-5
    LSCF (of two)    0.4785    0.1169    -1.60e-4       -1.60e-4       0.1174, -1.66e-4  0.456, 0.0139, -3.6e-5
    pore (of three)  0.4581    0.1226    -1.57e-4       -1.25e-4       0.1258, -1.85e-4  0.437, 0.0146, -3.0e-5
    GDC              0.2715    0.0829    1e-6 ± 4e-6    -5e-6 ± 2e-6   0.0839, -5e-6     0.259, 0.0099, 0.0e-5
    LSCF             0.2704    0.0910    19e-6 ± 7e-6   5e-6 ± 1e-6    0.0923, 4e-6      0.258, 0.0108, 0.5e-5
    ===============  ========  ========  =============  =============  ================  ====================

    so that all printed fractions and surfaces come out to the digit, and of the Euler densities those of the pores of
    the three-phase electrode fall short, by 15 % (6), 32 % (26) or 29 % (QuantImPy, whose Euler table has errors).

    References
    ----------
    .. [1] A. Bentamou, S. Chrétien, Y. Gavet, "3D Denoising Diffusion Probabilistic Models for 3D microstructure image
       generation of fuel cell electrodes", Computational Materials Science, Tables 1 and 2.
    """
    shape = check_shape(shape)
    shares, length = _resolve(preset, fractions, length_vox, scale)
    if length > max(shape):
        raise ValueError(
            f"the features are {length:.3g} voxels long and the volume's longest side is {max(shape)}; "
            "give a larger shape, or a smaller scale or length_vox"
        )
    counts = whole_counts(shares, shape[0] * shape[1] * shape[2])
    rng = np.random.default_rng(rng)
    if len(counts) == 3:
        fields = [gaussian_field(shape, length_vox=length, periodic=periodic, rng=rng) for _ in range(2)]
        labels = _cut_grains(fields, _half_widths(shares), counts)
    else:
        waves = draw_waves(shape, length, "gaussian", (1.0, 1.0, 1.0), periodic=periodic, rng=rng)
        labels = np.ones(shape, np.uint8)
        cut_waves(waves, labels, counts=counts, values=(0, 1))
    recipe = {
        "generator": "sofc_electrode", "shape": list(shape), "preset": preset,
        "fractions": None if fractions is None else [float(f) for f in fractions],
        **as_numbers({"length_vox": length_vox, "scale": scale}), "periodic": bool(periodic),
    }  # fmt: skip
    truth: dict[str, Any] = {"length_vox": length, "expected": describe_expected(_expected(preset, shares, length))}
    if fractions is None and length_vox is None:
        truth |= _comparison(preset, float(scale), truth["expected"])
    return with_fractions(labels, PHASES[preset], recipe=recipe, truth=truth)


def sofc_targets(preset: Preset = "two-phase", *, scale: float = 1.0) -> dict[str, dict[str, float]]:
    """Return the real electrodes' densities, converted from what the tables print.

    Parameters
    ----------
    preset : {"two-phase", "three-phase"}
        Table 1 or Table 2 of ``ddpm_3d``, real images.
    scale : float
        Voxels per voxel of the paper.

    Returns
    -------
    dict
        For each phase ``volume_fraction``, ``specific_surface`` in 1/voxel and ``euler_density`` in 1/voxel³, in the
        conventions of `evaluate.minkowski`.

    Raises
    ------
    ValueError
        For an unknown preset or a scale that is not from 1e-6 to 1e6.

    Notes
    -----
    The printed fractions of every column of both tables, of the real images and of each method, add up to 0.952 to
    0.955, which is (63/64)³ = 0.9539: the sums of QuantImPy over the 63³ neighbourhoods of a 64³ crop were
    divided by 64³. Surface and Euler number must be in its units, S/8 and 3χ/(4π): then the surface 0.014 stands
    for 0.117 per voxel and a smooth Gaussian texture of that surface has an Euler density of -1.6e-4, as the table's
    -3.6e-5 says after conversion; by the letter the two would be apart by a factor of 130. So fractions are divided by
    their sum, surfaces multiplied by 8 / 0.9539 and Euler densities by (4π/3) / 0.9539. Printed to 0.001, the
    surfaces are known to 3 to 5 %.
    """
    _check_preset(preset)
    _check_positive("scale", scale)
    total = sum(row[0] for row in PRINTED[preset])
    return {
        name: {
            "volume_fraction": fraction / total,
            "specific_surface": SURFACE_UNIT * surface / VISITED / scale,
            "euler_density": EULER_UNIT * euler / VISITED / scale**3,
        }
        for name, (fraction, surface, euler) in zip(PHASES[preset], PRINTED[preset], strict=True)
    }


def expected_sofc_phases(
    preset: Preset = "two-phase",
    *,
    fractions: tuple[float, ...] | None = None,
    length_vox: float | None = None,
    scale: float = 1.0,
) -> dict[str, ClosedForm]:
    """Work out the phases of `sofc_electrode` in an infinite volume.

    Parameters
    ----------
    preset, fractions, length_vox, scale
        As in `sofc_electrode`.

    Returns
    -------
    dict of ClosedForm
        For each phase its densities and its two-point probability.

    Raises
    ------
    ValueError
        For impossible arguments.

    Notes
    -----
    A volume of the generator is cut to exact fractions, not at exact levels, so that it scatter less around these.
    """
    shares, length = _resolve(preset, fractions, length_vox, scale)
    return _expected(preset, shares, length)


def _resolve(preset: Any, fractions: Any, length_vox: Any, scale: Any) -> tuple[tuple[float, ...], float]:
    """Return the fractions and the length in voxels that the arguments ask for."""
    targets = sofc_targets(preset, scale=scale)
    shares = tuple(target["volume_fraction"] for target in targets.values())
    if fractions is not None:
        shares = check_fractions(fractions)
        if len(shares) != len(targets) or min(shares) < LEAST_FRACTION:
            raise ValueError(
                f"fractions are {fractions!r}; give one for each of {', '.join(targets)}, {LEAST_FRACTION:g} or more"
            )
    if length_vox is None:
        return shares, _preset_length(preset) * scale
    _check_positive("length_vox", length_vox)
    return shares, float(length_vox) * scale


def _check_preset(preset: Any) -> None:
    if not isinstance(preset, str) or preset not in PHASES:
        raise ValueError(f"preset is {preset!r}; give one of {', '.join(map(repr, PHASES))}")


def _check_positive(name: str, value: Any) -> None:
    if not 1 / MOST <= as_number(name, value) <= MOST:
        raise ValueError(f"{name} is {value!r}; give a number above 0, from {1 / MOST:g} to {MOST:g}")


@functools.cache
def _preset_length(preset: Preset) -> float:
    """Length in voxels of the paper at which the pores have their target surface; a surface goes with 1 / length."""
    target = sofc_targets(preset)
    shares = tuple(phase["volume_fraction"] for phase in target.values())
    return _expected(preset, shares, 1.0)["pore"].specific_surface / target["pore"]["specific_surface"]


def _expected(preset: Preset, shares: tuple[float, ...], length: float) -> dict[str, ClosedForm]:
    if len(shares) == 2:
        pore = gaussian_level_set(shares[0], length_vox=length)
        return dict(zip(PHASES[preset], (pore, pore.complement()), strict=True))
    pore_region, gdc, lscf = _regions(*_half_widths(shares))
    phases = [gaussian_polygons(*regions, length_vox=length) for regions in ([pore_region], gdc, lscf)]
    return dict(zip(PHASES[preset], phases, strict=True))


def _comparison(preset: Preset, scale: float, expected: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return the table as printed, converted, and how far the model is from it."""
    target = sofc_targets(preset, scale=scale)
    columns = list(target["pore"])
    rows = zip(PHASES[preset], PRINTED[preset], strict=True)
    return {
        "printed": {name: dict(zip(columns, row, strict=True)) for name, row in rows},
        "target": target,
        "mismatch": {
            name: {key: (expected[name][key] - wanted) / abs(wanted) for key, wanted in phase.items()}
            for name, phase in target.items()
        },
    }


# Three phases: a rectangle in the plane of two fields, and borders that leave its corners


def _cut_grains(fields: list[np.ndarray], half_widths: tuple[float, float], counts: tuple[int, ...]) -> np.ndarray:
    """Label the rectangle 0, what lies beyond its T1 sides 1 and beyond its T2 sides 2; the fields are used up."""
    for excess, centre, half in zip(fields, CENTRE, half_widths, strict=True):
        excess -= np.float32(centre)
        np.abs(excess, out=excess)
        excess -= np.float32(half)
    gdc, lscf = fields
    lscf /= np.float32(np.tan(BORDER))
    labels = highest(np.maximum(gdc, lscf), counts[1] + counts[2])
    lscf -= gdc
    solid = labels.view(np.uint8)
    solid += highest(lscf, counts[2], among=labels.copy())
    return solid


def _regions(half1: float, half2: float) -> tuple[Region, list[Region], list[Region]]:
    """Return the polygons of pore, GDC and LSCF."""
    left, right, low, high = CENTRE[0] - half1, CENTRE[0] + half1, CENTRE[1] - half2, CENTRE[1] + half2
    x, y = float(np.cos(BORDER)), float(np.sin(BORDER))
    corners = [(right, low), (right, high), (left, high), (left, low)]
    rays = [(x, -y), (x, y), (-x, y), (-x, -y)]

    def beyond(side: int) -> Region:
        first, last = (side + 1) % 4, side
        return [corners[first], corners[last]], [rays[first], rays[last]]

    return (corners, None), [beyond(0), beyond(2)], [beyond(1), beyond(3)]


@functools.lru_cache(maxsize=64)
def _half_widths(shares: tuple[float, ...]) -> tuple[float, float]:
    """Half the sides of the pores' rectangle along T1 and T2 at which the phases have their fractions.

    All rectangles with the pores' fraction form a family from wide and flat (no GDC) to tall and narrow (no LSCF).
    """
    pore, gdc = shares[:2]

    def sides(share2: float) -> tuple[float, float]:
        return _half_width(CENTRE[0], pore / share2), _half_width(CENTRE[1], share2)

    def surplus(share2: float) -> float:
        return gaussian_polygons(*_regions(*sides(share2))[1], length_vox=1.0).volume_fraction - gdc

    tiny = 1e-3 * min(shares) / max(shares)
    return sides(brentq(surplus, pore + tiny * (1 - pore), 1 - tiny * (1 - pore), xtol=1e-13))


def _half_width(centre: float, share: float) -> float:
    """Half the width of the band around `centre` that holds a standard normal variable with probability `share`."""
    return float(brentq(lambda h: ndtr(centre + h) - ndtr(centre - h) - share, 0.0, FAR, xtol=1e-13))
