"""Background, stripes and gain recovered on known truth: ``python benchmarks/correction_intensity.py [SEEDS]``.

Truth is made in four ways: a known smooth field, known curtains, a known gain and offset of each slice, and nothing
at all. Stripes are scored by ``10 log10 Σ(in - clean)² / Σ(out - clean)²``, each slice's mean difference on the faces
taken off (brightness as a whole is the gain's), over all pixels; the loss on a clean image is the fall of its
signal-to-noise ratio against the noiseless image when the filter is forced on it.
"""

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from segment.correction import (
    correct,
    estimate_background,
    estimate_gain,
    estimate_stripes,
    undo_gain,
    undo_stripes,
    wedge_filter,
)  # fmt: skip
from synth import (
    FibsemSettings,
    catalyst_layer,
    fibsem,
    gaussian_phases,
    secondary_particle,
    sofc_electrode,
    sphere_pack,
)  # fmt: skip
from synth.sem.milling import Curtains

SHAPE = (32, 192, 192)
STRUCTURES: dict[str, Callable[[tuple[int, int, int], int], np.ndarray]] = {
    "sphere pack, 45 % pore": lambda shape, seed: sphere_pack(shape, porosity=0.45, diameter_vox=24, rng=seed).labels,
    "fine sphere pack, 60 %": lambda shape, seed: sphere_pack(shape, porosity=0.6, diameter_vox=12, rng=seed).labels,
    "three phases, 40 %": lambda shape, seed: (
        gaussian_phases(shape, fractions=(0.4, 0.35, 0.25), length_vox=18, rng=seed).labels
    ),
    "dense, 12 %": lambda shape, seed: gaussian_phases(shape, fractions=(0.12, 0.88), length_vox=25, rng=seed).labels,
    "catalyst layer": lambda shape, seed: catalyst_layer(shape, rng=seed).labels,
    "solid-oxide electrode": lambda shape, seed: sofc_electrode(shape, rng=seed).labels,
    "secondary particle": lambda shape, seed: secondary_particle(shape, rng=seed).labels,
    "porosity 10 to 90 % along y": lambda shape, seed: _graded(shape, seed),
}
CURTAINS = {
    "full height": Curtains(strength=0.08, full_height=1.0, persistence_slices=12, angle_deg=1.5),
    "half from hard spots": Curtains(strength=0.1, full_height=0.5, persistence_slices=8),
    "from hard spots": Curtains(strength=0.1, full_height=0.1, persistence_slices=4, angle_deg=-1.0),
}


def _graded(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 6)
    return (field / field.std() > 1.28 * np.linspace(-1, 1, shape[1])[:, None]).astype(np.uint8)


def noiseless(labels: np.ndarray, seed: int, curtains: Curtains | None = None) -> np.ndarray:
    """Return the stack as an even, steady instrument without noise sees it, with or without curtains."""
    quiet = FibsemSettings(shading=0, slice_gain=0, dose=1e9, read_noise=0, curtains=curtains)
    return np.asarray(fibsem(labels, quiet, rng=seed))


def image(labels: np.ndarray, seed: int, *, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the stack as an even, steady instrument sees it, and the same without noise."""
    ideal = noiseless(labels, seed)
    spread = noise * np.sqrt(np.maximum(ideal, 0) / 150 + 0.02**2)
    return (ideal + spread * np.random.default_rng(seed).standard_normal(ideal.shape)).astype(np.float32), ideal


def uneven(shape: tuple[int, ...], seed: int, span: float = 0.3) -> np.ndarray:
    """Return a smooth field of mean 1 that is no polynomial."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    turn, bowl, twist = rng.uniform(0, 2 * np.pi), *rng.uniform(-0.5, 0.5, 2)
    field = np.cos(turn) * y + np.sin(turn) * x + bowl * (x**2 + y**2) + twist * x * y + 0.2 * np.sin(2 * x + y + turn)
    field = 1 + span * (field - field.mean()) / np.ptp(field)
    return (field / field.mean()).astype(np.float32)


def rolling_ball(stack: np.ndarray) -> np.ndarray:
    """Return the field of a ball rolled over the inverted mean of the slices, of a third of their side."""
    from skimage.restoration import rolling_ball as roll

    mean = ndimage.gaussian_filter(stack.max() - stack.mean(axis=0), 2)
    return stack.max() - roll(mean, radius=stack.shape[1] / 3)


def broad_gaussian(stack: np.ndarray) -> np.ndarray:
    """Return the usual flat field: the mean of the slices through a Gaussian of a sixth of their side."""
    return ndimage.gaussian_filter(stack.mean(axis=0), stack.shape[1] / 6, mode="nearest")


def wavelet_fft(stack: np.ndarray, *, sigma: float = 2.5, wavelet: str = "db5") -> np.ndarray:
    """Damp the vertical details of each slice's wavelet transform about their zero wave along y (Münch et al. 2009)."""
    import pywt

    result = np.empty(stack.shape, np.float32)
    for z, picture in enumerate(stack):
        level = pywt.dwt_max_level(min(picture.shape), wavelet)
        coarse, *details = pywt.wavedec2(picture, wavelet, mode="symmetric", level=level)
        kept = [coarse]
        for across, along, both in details:
            wave = np.fft.fftfreq(len(along)) * len(along)
            damped = np.fft.fft(along, axis=0) * (1 - np.exp(-(wave**2) / (2 * sigma**2)))[:, None]
            kept.append((across, np.fft.ifft(damped, axis=0).real, both))
        result[z] = pywt.waverec2(kept, wavelet, mode="symmetric")[: picture.shape[0], : picture.shape[1]]
    return result


def field_error(found: np.ndarray, true: np.ndarray) -> float:
    """Return the rms difference of two fields of mean 1, in per cent."""
    return 100 * float(np.sqrt(np.mean((found / found.mean() - true / true.mean()) ** 2)))


def levelled(difference: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return a difference without its mean on the faces of each slice."""
    return difference - np.array([d[f].mean() for d, f in zip(difference, face, strict=True)])[:, None, None] * face


def stripe_gain_db(stripy: np.ndarray, out: np.ndarray, clean: np.ndarray, face: np.ndarray) -> float:
    """Return by how much a filter reduced the stripes."""
    before, after = (float((levelled(stack - clean, face) ** 2).sum()) for stack in (stripy, out))
    return 10 * np.log10(before / after)


def loss_db(out: np.ndarray, clean: np.ndarray, ideal: np.ndarray) -> float:
    """Return the fall of the clean image's signal-to-noise ratio by a filter."""
    return 20 * np.log10(np.std(out - ideal) / np.std(clean - ideal))


def compare_backgrounds() -> None:
    """Print the error of the field by method."""
    print(f"\nBackground, rms error in %\n{'':30}{'ours':>8}{'ball':>8}{'Gauss':>8}{'none':>8}")
    for name, build in STRUCTURES.items():
        grey, _ = image(build(SHAPE, 0), 1)
        true = uneven(SHAPE, 2)
        stack = grey * true
        fields = (estimate_background(stack).field, rolling_ball(stack), broad_gaussian(stack), np.ones_like(true))
        print(f"{name:30}" + "".join(f"{field_error(field, true):8.2f}" for field in fields), flush=True)


def compare_stripes() -> None:
    """Print the reduction of stripes, and the loss on the clean image, by method."""
    head = "".join(f"{name:>10}" for name in ("ours", "wedge", "wavelet"))
    print(f"\nStripes, reduction in dB, then loss on the clean image in dB\n{'':54}{head}{head}")
    for name, build in STRUCTURES.items():
        labels = build(SHAPE, 1)
        clean, ideal = image(labels, 1)
        forced = undo_stripes(clean, estimate_stripes(clean, force=True).field)
        losses = [loss_db(out, clean, ideal) for out in (forced, wedge_filter(clean), wavelet_fft(clean))]
        for kind, curtains in CURTAINS.items():
            stripy = clean + noiseless(labels, 1, curtains) - ideal
            estimate = estimate_stripes(stripy)
            outs = (
                undo_stripes(stripy, estimate.field),
                wedge_filter(stripy, angle_deg=curtains.angle_deg),
                wavelet_fft(stripy),
            )
            gains = [stripe_gain_db(stripy, out, clean, labels > 0) for out in outs]
            print(f"{name:30}{kind:24}" + "".join(f"{value:10.2f}" for value in (*gains, *losses)), flush=True)


def compare_gains() -> None:
    """Print what is left of gain and brightness that change from slice to slice."""
    print("\nGain, rms error on faces and pores in % of full scale: before, ours, matched means")
    print(f"{'':30}{'faces':>24}{'pores':>24}")
    for name, build in STRUCTURES.items():
        labels = build(SHAPE, 2)
        clean, _ = image(labels, 2)
        rng = np.random.default_rng(2)
        gain, offset = np.exp(0.03 * rng.standard_normal(SHAPE[0])), 0.02 * rng.standard_normal(SHAPE[0])
        stack = (gain[:, None, None] * clean + offset[:, None, None]).astype(np.float32)
        estimate = estimate_gain(stack)
        means = stack.mean(axis=(1, 2))
        outs = (stack, undo_gain(stack, estimate.gain, estimate.offset), undo_gain(stack, means / means.mean()))
        cells = []
        for mask in (labels > 0, labels == 0):
            for out in outs:
                rest = (out - clean)[mask]
                cells.append(100 * float(np.sqrt(np.mean((rest - rest.mean()) ** 2))))
        print(f"{name:30}" + "".join(f"{value:8.2f}" for value in cells), flush=True)


def count_false_alarms(seeds: int) -> None:
    """Print how often a step acts on stacks that need nothing."""
    print(f"\nFalse alarms on clean stacks of 32 × 128 × 128, {seeds} seeds, two noise levels")
    total: dict[str, int] = {}
    runs = 0
    for name, build in STRUCTURES.items():
        acted = []
        for seed in range(seeds):
            for noise in (0.3, 1.5):
                clean, _ = image(build((32, 128, 128), 10 + seed), seed, noise=noise)
                steps = [step.name for step in correct(clean).report.steps if step.applied]
                runs += 1
                acted += steps
        for step in acted:
            total[step] = total.get(step, 0) + 1
        print(f"{name:30}{', '.join(acted) or 'none'}", flush=True)
    print(f"{runs} stacks: {total or 'none'}")


def clock() -> None:
    """Print the time of each step on 64 × 256 × 256."""
    shape = (64, 256, 256)
    labels = STRUCTURES["sphere pack, 45 % pore"](shape, 0)
    clean, ideal = image(labels, 0)
    stripy = clean + noiseless(labels, 0, CURTAINS["half from hard spots"]) - ideal
    jobs = {
        "gain": lambda: estimate_gain(stripy), "background": lambda: estimate_background(stripy),
        "stripes": lambda: estimate_stripes(stripy), "wedge": lambda: wedge_filter(stripy),
        "wavelet-FFT": lambda: wavelet_fft(stripy), "rolling ball": lambda: rolling_ball(stripy),
        "correct": lambda: correct(stripy),
    }  # fmt: skip
    print("\nSeconds (CPU) for 64 × 256 × 256")
    for name, job in jobs.items():
        start = time.process_time()
        job()
        print(f"{name:14}{time.process_time() - start:8.2f}", flush=True)


def main() -> None:
    """Print all tables; the argument is the number of seeds for the false alarms."""
    warnings.simplefilter("ignore")
    compare_backgrounds()
    compare_gains()
    compare_stripes()
    clock()
    count_false_alarms(int(sys.argv[1]) if len(sys.argv) > 1 else 3)


if __name__ == "__main__":
    main()
