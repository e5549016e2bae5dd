"""Speed and accuracy of the tomograph, beside ASTRA's and scikit-image's: ``python benchmarks/xray.py --out DIR``.

All work on the same slices: discs of known chords, voxels on their rims partly filled. Projections are compared with
the exact areas of strips, slices reconstructed from each library's own projections with the discs. ``--real FILE``
takes a stack of carbon fibres and draws it beside `synth.fibre_mat` as the preset ``synchrotron-felt`` shows it. The
answers go to DIR/xray.json and DIR/xray.png.
"""

import argparse
import json
import math
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE, ANGLES, SLICES = 255, 400, 64
# Row, column (from the middle), radius and attenuation of each disc.
DISCS = ((0.0, 0.0, 100.0, 0.010), (-38.4, 22.7, 25.3, 0.020), (45.1, 30.2, 11.8, -0.010), (12.3, -60.6, 4.2, 0.030))
FINE = 8
VOLUMES = ((128, 200), (256, 400))


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return wall seconds, processor seconds and what the function returns."""
    wall, processor = time.perf_counter(), time.process_time()
    value = function()
    return time.perf_counter() - wall, time.process_time() - processor, value


def discs() -> np.ndarray:
    """Return the discs, averaged over voxels, shape (SIDE, SIDE)."""
    at = (np.arange(SIDE * FINE) + 0.5) / FINE - SIDE / 2
    image = np.zeros((SIDE * FINE, SIDE * FINE), np.float32)
    for y, x, radius, mu in DISCS:
        image += mu * ((at[:, None] - y) ** 2 + (at - x) ** 2 <= radius**2)
    return image.reshape(SIDE, FINE, SIDE, FINE).mean(axis=(1, 3))


def exact(angles: np.ndarray, width: int) -> np.ndarray:
    """Return the areas of the discs in strips of width 1, shape (A, width)."""
    t = np.arange(width) - (width - 1) / 2
    sums = np.zeros((len(angles), width))
    for y, x, radius, mu in DISCS:
        middle = x * np.cos(angles) + y * np.sin(angles)
        low, high = (np.clip(t - middle[:, None] + d, -radius, radius) for d in (-0.5, 0.5))
        for sign, u in ((1, high), (-1, low)):
            sums += sign * mu * (u * np.sqrt(radius**2 - u**2) + radius**2 * np.arcsin(u / radius))
    return sums


def ours(image: np.ndarray, angles: np.ndarray) -> dict[str, Any]:
    """Measure our projector and filtered back-projection on SLICES slices at once."""
    from synth.xray.filtering import filter_projections
    from synth.xray.projector import Sample, back_project, project

    slices = np.repeat(image[..., None], SLICES, axis=2)

    def forward() -> np.ndarray:
        return project(slices, Sample.box(SIDE, SIDE), angles, width=SIDE, shifts=np.zeros(len(angles)))

    def back() -> np.ndarray:
        filtered = sinogram.copy()
        weights = np.full(len(angles), math.pi / len(angles))
        filter_projections(filtered, weights, window="ramp", cutoff=1.0)
        return back_project(filtered, angles, shape=(SIDE, SIDE))

    forward()
    wall, cpu, sinogram = timed(forward)
    back()
    wall_back, cpu_back, found = timed(back)
    return row("ours", [wall, cpu, wall_back, cpu_back], SLICES, sinogram[..., 0], found[..., 0], image, angles)


def astra(image: np.ndarray, angles: np.ndarray, projector: str) -> dict[str, Any]:
    """Measure ASTRA on the processor, slice by slice."""
    import astra

    # Its rows run downwards and its detector the other way round.
    geometry = astra.create_proj_geom("parallel", 1.0, SIDE, -angles)
    handle = astra.create_projector(projector, geometry, astra.create_vol_geom(SIDE, SIDE))

    def forward() -> np.ndarray:
        identity, sinogram = astra.create_sino(image, handle)
        astra.data2d.delete(identity)
        return sinogram

    def back() -> np.ndarray:
        identity, found = astra.create_reconstruction("FBP", handle, sinogram, filterType="ram-lak")
        astra.data2d.delete(identity)
        return found

    wall, cpu, sinogram = timed(forward)
    wall_back, cpu_back, found = timed(back)
    return row(f"ASTRA, {projector}", [wall, cpu, wall_back, cpu_back], 1, sinogram, found, image, angles)


def scikit_image(image: np.ndarray, angles: np.ndarray) -> dict[str, Any]:
    """Measure scikit-image's radon and iradon, slice by slice."""
    from skimage.transform import iradon, radon

    # Its angles run the other way round.
    degrees = -np.degrees(angles)
    wall, cpu, sinogram = timed(lambda: radon(image, theta=degrees, circle=True))
    wall_back, cpu_back, found = timed(lambda: iradon(sinogram, theta=degrees, filter_name="ramp", circle=True))
    return row("scikit-image", [wall, cpu, wall_back, cpu_back], 1, sinogram.T, found, image, angles)


def row(
    name: str, seconds: list[float], slices: int, sinogram: np.ndarray, found: np.ndarray, image: Any, angles: Any
) -> dict[str, Any]:
    """Return one line of the table: milliseconds a slice and errors relative to the largest value."""
    truth = exact(angles, SIDE)
    r = np.hypot(*np.meshgrid(np.arange(SIDE) - SIDE // 2, np.arange(SIDE) - SIDE // 2))
    wrong = (found - image)[r < SIDE // 2 - 1]
    keys = ("project", "project_cpu", "reconstruct", "reconstruct_cpu")
    return {
        "name": name,
        **{f"{key}_ms": 1e3 * value / slices for key, value in zip(keys, seconds, strict=True)},
        "projection_error": float(np.sqrt(np.mean((sinogram - truth) ** 2)) / truth.max()),
        "slice_error": float(np.sqrt(np.mean(wrong**2)) / image.max()),
    }


def volumes() -> list[dict[str, Any]]:
    """Measure whole images, everything included, at two sizes."""
    from synth import fibre_mat
    from synth.xray import XRAY_PRESETS, ScanSettings, XraySettings, xray_ct

    rows = []
    xray_ct(np.eye(9, dtype=np.uint8)[None], rng=0)
    for side, n_angles in VOLUMES:
        labels = fibre_mat((side,) * 3, rng=0).labels
        default = XraySettings(scan=ScanSettings(n_angles=n_angles))
        cases = {"default": default, "synchrotron-felt": XRAY_PRESETS["synchrotron-felt"]}
        for name, settings in cases.items():
            wall, cpu, _ = timed(lambda labels=labels, settings=settings: xray_ct(labels, settings, rng=0))  # type: ignore[misc]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            rows.append({"side": side, "settings": name, "seconds": wall, "cpu_seconds": cpu, "peak_gib": peak})
    return rows


def spectrum(slices: np.ndarray) -> np.ndarray:
    """Return the power of the differences between neighbouring slices by frequency, averaged over circles."""
    difference = np.diff(slices, axis=0) / math.sqrt(2)
    power = np.abs(np.fft.fft2(difference)) ** 2 / difference[0].size
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(slices.shape[1]), np.fft.fftfreq(slices.shape[2]), indexing="ij"))
    bins = np.rint(2 * min(slices.shape[1:]) * f / 2).astype(int)
    return np.bincount(bins.ravel(), power.mean(axis=0).ravel()) / np.bincount(bins.ravel())


def draw(real: Path | None, path: Path) -> None:
    """Draw a felt as the tomograph shows it, beside a real one where there is one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    import volume
    from synth import fibre_mat
    from synth.xray import XRAY_PRESETS, xray_ct

    labels = fibre_mat((100, 100, 100), porosity=0.86, fibre_diameter_vox=11, in_plane=3.0, rng=3).labels
    stacks = {"synchrotron-felt": xray_ct(labels, XRAY_PRESETS["synchrotron-felt"], rng=1)}
    if real is not None:
        stacks["real"] = volume.read(real).array / 255
    figure, axes = plt.subplots(len(stacks), 5, figsize=(20, 4 * len(stacks)), squeeze=False)
    for line, (name, grey) in zip(axes, stacks.items(), strict=True):
        middle = [n // 2 for n in grey.shape]
        for axis, picture in zip(line, (grey[middle[0]], grey[:, middle[1]], grey[..., middle[2]]), strict=False):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
            axis.set_title(name)
        line[3].hist(grey.ravel(), 128, range=(0, 1), log=True, histtype="step")
        line[3].set_title("grey values")
        line[4].semilogy(spectrum(grey)[: middle[0]])
        line[4].set_title("power of slice differences by frequency")
    figure.tight_layout()
    figure.savefig(path, dpi=60)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--real", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    image, angles = discs(), np.arange(ANGLES) * math.pi / ANGLES
    rows = [ours(image, angles), *(astra(image, angles, p) for p in ("linear", "strip")), scikit_image(image, angles)]
    for line in rows:
        print("  ".join(f"{key} {value:.3g}" if isinstance(value, float) else value for key, value in line.items()))
    whole = volumes()
    for line in whole:
        print(
            "  ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{value}" for key, value in line.items())
        )
    answers = {"machine": platform.processor(), "slices": rows, "volumes": whole}
    (arguments.out / "xray.json").write_text(json.dumps(answers, indent=1))
    draw(arguments.real, arguments.out / "xray.png")


if __name__ == "__main__":
    main()
