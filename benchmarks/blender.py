"""Speed and looks of Blender's slices: ``python benchmarks/blender.py [--side 150] [--columns 256] [--out FOLDER]``.

Looks: a few cuts with few light paths, with the denoiser and without, against the same cuts with many, apart for the
cut face, the pores (both two pixels from any edge of the labels) and the edges between them. ``texture`` is the
standard deviation of what a Gaussian of 1.5 pixels takes away, and beside it that of the many-path picture: noise
raises it, a denoiser that eats texture lowers it. Speed: whole calls, start of the processes included.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from synth import sphere_pack
from synth.blender import BlenderSettings, BlenderStack, blender_stack

CASES = {"4 denoised": (4, True), "8 denoised": (8, True), "2 denoised": (2, True), "8": (8, False), "4": (4, False)}
MANY = 512


def looks(labels: np.ndarray, columns: int, out: Path | None) -> None:
    """Print a table of the cases' errors."""
    cuts = [int(len(labels) * share) for share in (0.2, 0.3, 0.4)]

    def render(samples: int, denoise: bool) -> BlenderStack:
        settings = BlenderSettings(denoise=denoise)
        return blender_stack(labels, slices=cuts, resolution=columns, samples=samples, rng=1, settings=settings)

    reference = render(MANY, False)
    print(f"{'paths':12}{'region':>8}{'RMSE':>9}{'bias':>9}{'texture':>9}{'(many)':>9}{'SSIM':>8}")
    for name, case in CASES.items():
        stack = render(*case)
        for region, mask in regions(reference.labels).items():
            print_errors(name, region, stack.grey, reference.grey, mask)
        if out:
            save_pictures(out / f"blender_{name.replace(' ', '_')}.png", stack.grey[0], reference.grey[0])


def regions(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks by name."""
    from scipy import ndimage

    within_slice = np.ones((1, 5, 5), bool)
    face, pore = (ndimage.binary_erosion(mask, within_slice) for mask in (labels > 0, labels == 0))
    return {"all": np.ones_like(face), "face": face, "pore": pore, "edge": ~face & ~pore}


def print_errors(name: str, region: str, grey: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> None:
    """Print one line of the table."""
    from scipy import ndimage
    from skimage.metrics import structural_similarity

    difference = (grey - reference)[mask]
    texture = [(g - ndimage.gaussian_filter(g, (0, 1.5, 1.5)))[mask].std() for g in (grey, reference)]
    line = f"{name:12}{region:>8}{np.sqrt((difference**2).mean()):9.4f}{difference.mean():+9.4f}"
    line += f"{texture[0]:9.4f}{texture[1]:9.4f}"
    if region == "all":
        similar = [structural_similarity(r, g, data_range=1.0) for r, g in zip(reference, grey, strict=True)]
        line += f"{np.mean(similar):8.4f}"
    print(line, flush=True)


def save_pictures(path: Path, grey: np.ndarray, reference: np.ndarray) -> None:
    """Write a slice beside its many-path reference."""
    import matplotlib.image

    path.parent.mkdir(parents=True, exist_ok=True)
    both = np.concatenate([grey, np.ones((len(grey), 4), np.float32), reference], axis=1)
    matplotlib.image.imsave(path, np.repeat(np.repeat(both, 3, 0), 3, 1), cmap="gray", vmin=0, vmax=1)


def speed(labels: np.ndarray, columns: int, device: str) -> None:
    """Print a table of the time that whole stacks take."""
    print(
        f"{'columns':>8}{'paths':>12}{'slices':>8}{'seconds':>9}{'slices/s':>10}{'CPU s/slice':>13}{'GiB/process':>13}"
    )
    for name in ("4 denoised", "8"):
        samples, denoise = CASES[name]
        settings = BlenderSettings(denoise=denoise, device=device)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        blender_stack(labels, resolution=columns, samples=samples, rng=1, settings=settings)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        n = len(labels)
        memory = after.ru_maxrss / 2**20
        print(f"{columns:8}{name:>12}{n:8}{seconds:9.1f}{n / seconds:10.2f}{cpu / n:13.2f}{memory:13.2f}", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=150, help="voxels along each axis")
    parser.add_argument("--columns", type=int, default=256, help="pixels along x")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--out", type=Path, help="folder for pictures")
    parser.add_argument("--only", choices=("speed", "looks"))
    options = parser.parse_args()
    labels = sphere_pack((options.side,) * 3, porosity=0.45, diameter_vox=18, rng=0).labels
    if options.only != "looks":
        speed(labels, options.columns, options.device)
        if options.columns != options.side:
            speed(labels, options.side, options.device)
    if options.only != "speed":
        looks(labels, options.columns, options.out)


if __name__ == "__main__":
    main()
