"""Synthetic pictures beside real ones: ``python benchmarks/realism.py --fibsem FILE --ct FILE --out DIR``.

For each real stack a structure of about its kind is imaged by the preset that comes nearest. Three things that a
network sees are compared: the histogram of the grey values, the spectrum of the noise in flat regions, and the spectrum
of stripes. Writes ``pictures.png`` (crops side by side, to be looked at) and ``curves.png``; prints the figures.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage, stats

from synth import fibre_mat, gaussian_phases
from synth.recipes import MICROSCOPES
from volume import read

BLOCK = 32
FLATTEST = 0.2
BINS = np.linspace(-0.25, 1.25, 51)


@dataclasses.dataclass(frozen=True)
class Look:
    """What a stack looks like, contrast taken out: 0 and 1 are its 1st and 99th percentile.

    Attributes
    ----------
    histogram : (50,) density over `BINS`
    noise_db : (16,) power of the noise in flat blocks, by frequency up to half a cycle a pixel, in dB of contrast²
    stripes_db : (N,) power of column means over that of row means, by frequency along x, in dB; 0 without stripes
    noise : standard deviation of the noise over the contrast
    """

    histogram: np.ndarray
    noise_db: np.ndarray
    stripes_db: np.ndarray
    noise: float


def look_of(stack: np.ndarray) -> tuple[Look, np.ndarray]:
    """Measure a stack; also return it with its contrast taken out."""
    low, high = np.percentile(stack, [1, 99])
    grey = (np.asarray(stack, np.float32) - low) / (high - low)
    histogram, _ = np.histogram(grey, BINS, density=True)
    power = noise_power(grey)
    return Look(histogram, decibel(radial(power)), stripe_spectrum(grey), float(np.sqrt(power.sum()) / BLOCK)), grey


def noise_power(grey: np.ndarray) -> np.ndarray:
    """Return the mean periodogram of the flattest blocks, (32, 32); its sum over 32² is the variance."""
    n_z, n_y, n_x = (n - n % m for n, m in zip(grey.shape, (1, BLOCK, BLOCK), strict=True))
    blocks = grey[:n_z, :n_y, :n_x].reshape(n_z, n_y // BLOCK, BLOCK, n_x // BLOCK, BLOCK)
    blocks = blocks.transpose(0, 1, 3, 2, 4).reshape(-1, BLOCK, BLOCK)
    smooth = ndimage.gaussian_filter(blocks, (0, 2, 2)).std(axis=(1, 2))
    flat = blocks[np.argsort(smooth)[: max(8, int(FLATTEST * len(blocks)))]]
    flat = flat - np.stack([plane(block) for block in flat])
    window = np.outer(np.hanning(BLOCK), np.hanning(BLOCK))
    return (abs(np.fft.fft2(flat * window)) ** 2).mean(axis=0) / (window**2).sum()


def plane(block: np.ndarray) -> np.ndarray:
    """Return the plane of least squares through a square block."""
    axis = np.arange(len(block)) - (len(block) - 1) / 2
    weight = (axis**2).sum() * len(block)
    slope_y, slope_x = (block * axis[:, None]).sum() / weight, (block * axis).sum() / weight
    return block.mean() + slope_y * axis[:, None] + slope_x * axis


def radial(power: np.ndarray) -> np.ndarray:
    """Return the mean over rings of whole frequency, from 1 to 16 cycles a block."""
    frequency = np.fft.fftfreq(BLOCK, 1 / BLOCK)
    ring = np.rint(np.hypot(frequency[:, None], frequency)).astype(int)
    return (np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel()))[1 : BLOCK // 2 + 1]


def stripe_spectrum(grey: np.ndarray) -> np.ndarray:
    """Return column means' power over row means' power by frequency along the slice, in dB."""
    side = min(grey.shape[1:])
    square = grey[:, :side, :side] - ndimage.gaussian_filter(grey[:, :side, :side], (0, 8, 8))
    columns, rows = (
        (abs(np.fft.rfft(square.mean(axis=axis) * np.hanning(side), axis=-1)) ** 2).mean(axis=0) for axis in (1, 2)
    )
    ratio = decibel(ndimage.uniform_filter1d(columns, 9) / ndimage.uniform_filter1d(rows, 9))
    return ratio[side // 32 :]


def decibel(power: np.ndarray) -> np.ndarray:
    """Return 10 log10."""
    return 10 * np.log10(np.maximum(power, 1e-12))


def image(instrument: str, preset: str, labels: np.ndarray) -> np.ndarray:
    """Image labels with a preset, seed 0."""
    microscope = MICROSCOPES[instrument]
    return np.asarray(microscope.image(labels, microscope.presets[preset], rng=0))


def like_shale(shape: tuple[int, ...]) -> np.ndarray:
    """Return few small pores in a solid with some brighter grains."""
    fractions = (0.03, 0.95, 0.02)
    return gaussian_phases(shape, fractions=fractions, length_vox=9, rng=0).labels


def like_preform(shape: tuple[int, ...]) -> np.ndarray:
    """Return carbon fibres of 8 voxels (10 µm at 1.3 µm) at a porosity of 0.84."""
    return fibre_mat(shape, porosity=0.84, fibre_diameter_vox=8, rng=0).labels


def compare(name: str, real: np.ndarray, synthetic: np.ndarray) -> dict[str, Any]:
    """Print one line of figures; return both looks and both stacks."""
    (look, grey), (ours, made) = look_of(real), look_of(synthetic)
    distance = stats.wasserstein_distance(grey.ravel()[::7], made.ravel()[::7])
    spectrum = np.sqrt(np.mean((look.noise_db - look.noise_db.mean() - ours.noise_db + ours.noise_db.mean()) ** 2))
    print(
        f"{name:20} noise / contrast {look.noise:.3f} real, {ours.noise:.3f} ours; "
        f"histogram distance {distance:.3f}; shape of the noise spectrum {spectrum:.1f} dB apart; "
        f"stripes up to {look.stripes_db.max():.1f} dB real, {ours.stripes_db.max():.1f} dB ours"
    )
    return {"name": name, "looks": (look, ours), "stacks": (grey, made)}


def draw_curves(cases: list[dict[str, Any]], path: Path) -> None:
    """Draw the three curves of each case."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(cases), 3, figsize=(12, 3.2 * len(cases)), squeeze=False)
    for row, case in zip(axes, cases, strict=True):
        for look, label in zip(case["looks"], ("real", "synthetic"), strict=True):
            row[0].plot((BINS[1:] + BINS[:-1]) / 2, look.histogram, label=label)
            row[1].plot(np.arange(1, len(look.noise_db) + 1) / BLOCK, look.noise_db, label=label)
            row[2].plot(np.linspace(0, 0.5, len(look.stripes_db)), look.stripes_db, label=label)
        labels = (("grey (0 and 1: 1st, 99th percentile)", "density"), ("cycles / pixel", "noise, dB of contrast²"))
        for axis, (x, y) in zip(row, (*labels, ("cycles / pixel along x", "columns over rows, dB")), strict=True):
            axis.set(xlabel=x, ylabel=y)
        row[0].set_title(case["name"], loc="left")
        row[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_pictures(cases: list[dict[str, Any]], path: Path) -> None:
    """Draw the middle slice of both stacks of each case, real on the left."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(cases), 2, figsize=(12, 6 * len(cases)), squeeze=False)
    for row, case in zip(axes, cases, strict=True):
        for axis, stack, label in zip(row, case["stacks"], ("real", "synthetic"), strict=True):
            side = min(400, *stack.shape[1:])
            axis.imshow(stack[len(stack) // 2, :side, :side], cmap="gray", vmin=0, vmax=1)
            axis.set(title=f"{case['name']}: {label}", xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def main() -> None:
    """Compare what was given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fibsem", type=Path, help="a real FIB-SEM stack")
    parser.add_argument("--ct", type=Path, help="a real X-ray tomogram of fibres")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    kinds: list[tuple[str, Path | None, Callable[[Any], np.ndarray], tuple[str, str]]] = [
        ("FIB-SEM", given.fibsem, like_shale, ("fibsem", "helios-5-hx-bse")),
        ("X-ray CT of fibres", given.ct, like_preform, ("xray_ct", "synchrotron-felt")),
    ]
    cases = []
    for name, path, structure, (instrument, preset) in kinds:
        if path is not None:
            real = np.asarray(read(path))
            shape = (len(real), *(min(n, 512) for n in real.shape[1:]))
            cases.append(compare(name, real, image(instrument, preset, structure(shape))))
    if not cases:
        parser.error("nothing to compare with: give --fibsem, --ct or both")
    given.out.mkdir(parents=True, exist_ok=True)
    draw_curves(cases, given.out / "curves.png")
    draw_pictures(cases, given.out / "pictures.png")


if __name__ == "__main__":
    main()
