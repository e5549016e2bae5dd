"""Fit the fast FIB-SEM's view to Blender's: ``python benchmarks/blender_calibration.py [--samples N] [--fit]``.

Renders three structures to fit to and one that the fit never sees, without surface texture, many light paths a pixel,
heights corrected, and prints how far `synth.fibsem` is from them: with its default settings, and with the preset
"blender". ``--fit`` fits the view anew and prints the settings found, for `synth/sem/presets.py`. The preset's texture
is the difference between renders with and without.
"""

import argparse
import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import optimize, stats

from synth import blender_stack, catalyst_layer, fibre_mat, gaussian_phases, sphere_pack
from synth.blender import BlenderSettings
from synth.sem import FIBSEM_PRESETS, FibsemSettings, fibsem

SHAPE = (72, 96, 96)
CUTS = [2, 12, 22, 32]
MARGIN = 8  # pixels at the border, where Blender shows its dark surround
SMOOTH = BlenderSettings(grain=0.0, roughness=0.0)
CLEAN: dict[str, Any] = {
    "mottle": 0.0, "shading": 0.0, "slice_gain": 0.0, "dose": 1e12, "read_noise": 0.0, "texture": 0.0,
    "wall_texture": 0.0,
}  # fmt: skip
# First guess, lower and upper bound.
FITTED = {
    "depth_vox": (20.0, 5.0, 100.0),
    "shine_through": (0.95, 0.2, 1.5),
    "rim": (0.25, 0.0, 1.5),
    "shadow": (0.9, 0.0, 1.0),
    "fill_light": (0.25, 0.0, 0.9),
    "sun": (0.6, 0.0, 1.0),
    "floor_grey": (0.02, 0.0, 0.2),
    "edge": (0.2, 0.0, 1.0),
    "blur_vox": (0.4, 0.2, 1.5),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A structure and what Blender shows of it: without texture, and as it comes."""

    labels: np.ndarray
    face_grey: tuple[float, ...]
    smooth: np.ndarray
    plain: np.ndarray

    @property
    def pore(self) -> np.ndarray:
        """Pixels that show a pore, within the margin."""
        return within(self.labels[CUTS]) == 0


def within(stack: np.ndarray) -> np.ndarray:
    """Return a stack without its margin."""
    return stack[:, MARGIN:-MARGIN, MARGIN:-MARGIN]


def render(labels: np.ndarray, samples: int) -> Case:
    """Render the cuts of one structure."""
    smooth, plain = (
        np.asarray(
            blender_stack(labels, slices=CUTS, resolution=2 * SHAPE[2], samples=samples, rng=0, settings=s).corrected
        )
        for s in (SMOOTH, BlenderSettings())
    )
    greys = BlenderSettings().brightness_table(int(labels.max()))[1:]
    return Case(labels, tuple(map(float, greys)), within(smooth), within(plain))


def image(case: Case, settings: FibsemSettings, **changes: Any) -> np.ndarray:
    """Return our picture of the same cuts."""
    shown = dataclasses.replace(settings, face_grey=case.face_grey, **changes)
    return within(fibsem(case.labels, shown, rng=0)[CUTS])


def fit(cases: Iterable[Case]) -> dict[str, float]:
    """Return the settings that come nearest, in the mean over the structures' face and pore pixels alike."""
    names = list(FITTED)
    first, low, high = (np.array(column) for column in zip(*FITTED.values(), strict=True))
    cases = list(cases)

    def residual(values: np.ndarray) -> np.ndarray:
        start = dataclasses.replace(FibsemSettings(relief=0.0, sun_azimuth_deg=120.0), **CLEAN)
        errors = []
        for case in cases:
            error = image(case, start, **dict(zip(names, map(float, values), strict=True))) - case.smooth
            errors += [error[mask] / np.sqrt(mask.sum()) for mask in (case.pore, ~case.pore)]
        return np.concatenate(errors)

    best = optimize.least_squares(residual, first, bounds=(low, high), x_scale=high / 3, diff_step=0.02, max_nfev=12)
    found = dict(zip(names, best.x.round(3).tolist(), strict=True))
    textures = [case.plain - case.smooth for case in cases]
    found["texture"] = float(np.mean([t[~c.pore].std() for t, c in zip(textures, cases, strict=True)]))
    found["wall_texture"] = float(
        np.mean([t[c.pore].std() / c.smooth[c.pore].mean() for t, c in zip(textures, cases, strict=True)])
    )
    return found


def report(name: str, case: Case, settings: FibsemSettings) -> str:
    """Return one row of figures: without texture, but for the histogram, which is that of both as they come."""
    ours, pore = image(case, settings, **CLEAN), case.pore
    error = ours - case.smooth
    rmse = [float(np.sqrt((error[mask] ** 2).mean())) for mask in (~pore, pore)]
    correlation = np.corrcoef(ours[pore], case.smooth[pore])[0, 1]
    quiet = {**CLEAN, "texture": settings.texture, "wall_texture": settings.wall_texture}
    distance = stats.wasserstein_distance(image(case, settings, **quiet).ravel(), case.plain.ravel())
    return f"{name:24} {rmse[0]:8.3f} {rmse[1]:8.3f} {correlation:8.3f} {distance:10.4f}"


def main() -> None:
    """Render, fit if asked to, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=128, help="light paths a pixel")
    parser.add_argument("--fit", action="store_true", help="fit the view anew")
    given = parser.parse_args()
    structures = {
        "sphere_pack": sphere_pack(SHAPE, porosity=0.5, diameter_vox=16, rng=1),
        "fibre_mat": fibre_mat(SHAPE, rng=2),
        "gaussian_phases": gaussian_phases(SHAPE, fractions=(0.4, 0.35, 0.25), length_vox=7, rng=3),
        "held out: catalyst_layer": catalyst_layer(SHAPE, rng=4),
    }
    cases = {name: render(structure.labels, given.samples) for name, structure in structures.items()}
    if given.fit:
        print(fit(case for name, case in cases.items() if not name.startswith("held out")))
    looks = {"default": FibsemSettings(), 'preset "blender"': FIBSEM_PRESETS["blender"]}
    for look, settings in looks.items():
        print(f"{look}\n{'':24} {'face':>8} {'pores':>8} {'pores':>8} {'histogram':>10}")
        print(f"{'':24} {'rmse':>8} {'rmse':>8} {'corr.':>8} {'distance':>10}")
        for name, case in cases.items():
            print(report(name, case, settings))


if __name__ == "__main__":
    main()
