"""What makes our diffusion model learn quickly, one choice undone at a time.

    python benchmarks/learning_choices.py --out DIR

Every variant is configs/generative/best.yaml but for one choice, trained for the same minutes on the same material,
alone: a pilot of a few steps says how many fit. ``poreforge compare`` then sets the volumes of all of them beside the
material. What is finished stays in DIR; a second call goes on where the first was stopped.
"""

import argparse
import json
import subprocess
import sys

from generators import ROOT, add_options, draw, prepare_material, train

VARIANTS: dict[str, tuple[str, ...]] = {
    "best": (),
    "one-hot": ("coding.kind=one_hot",),
    "noise-scale-1": ("diffusion.noise_scale=1",),
    "even-weights": ("diffusion.min_snr=null",),
    "no-linear": ("denoiser.linear=false",),
    # The linear estimate is one of the clean volume: to be set beside "no-linear".
    "velocity": ("denoiser.linear=false", "diffusion.prediction_type=v_prediction"),
    "noise": ("denoiser.linear=false", "diffusion.prediction_type=epsilon"),
    "stem-4": ("denoiser.stem=4",),
    "stem-1": ("denoiser.stem=1",),
}


def main() -> None:
    """Train, draw, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, material="sofc-three-phase", minutes=6, count=16)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="setting of every variant")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    material, held_out = prepare_material(given.material, given.out, side=given.material_side, volume_side=given.side)
    rows = {}
    for variant in given.variants:
        folder = given.out / variant
        folder.mkdir(exist_ok=True)
        settings = [*VARIANTS[variant], *given.set]
        rows[variant] = train("diffusion", material, folder, minutes=given.minutes, settings=settings)
        rows[variant]["seconds_a_volume"] = draw("diffusion", folder, count=given.count, side=given.side)
        print(variant, rows[variant], flush=True)
    facts = {"material": given.material, "minutes": given.minutes, "variants": rows}
    (given.out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    generated = [f"{variant}={given.out / variant / 'diffusion' / 'volumes'}" for variant in given.variants]
    subprocess.run(
        [sys.executable, "-m", "poreforge", "compare", "--real", str(material), "--held-out", str(held_out),
         "--generated", *generated, "--subvolume", str(given.side),
         "--without", "memorisation", "transport", "sizes", "interfaces", "diversity", "views",
         "--out", str(given.out / "compare")],
        check=True, cwd=ROOT,
    )  # fmt: skip


if __name__ == "__main__":
    main()
