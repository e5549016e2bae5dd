"""New volumes from a trained denoiser: one noise and one walk backwards for each sample."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from generative.decoding import decode, phase_counts
from generative.denoiser import Denoiser
from generative.scheduling import Sampler, clean_estimate, make_sampler
from launch import make_output_folder
from learn import checkpoints

__all__ = ["StructurePipeline", "load"]

SHIPPED = Path(__file__).parent / "weights"


class StructurePipeline:
    """A denoiser, its noise schedule and the names of its phases: what it takes to make volumes.

    Parameters
    ----------
    denoiser : Denoiser
        The network, best with averaged weights.
    scheduler : DDPMScheduler
        As made by `make_scheduler`, with the ``prediction_type`` of the training.
    phases : sequence of str
        Names indexed by label.
    voxel_size_um : tuple of three floats, optional
        Of the material that the network was trained on, ``(z, y, x)``.
    patch : tuple of three ints, optional
        Shape of the patches of the training; the default shape of a sample.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scheduler: DDPMScheduler,
        *,
        phases: Sequence[str],
        voxel_size_um: tuple[float, float, float] | None = None,
        patch: tuple[int, int, int] | None = None,
    ) -> None:
        if len(phases) != denoiser.config["n_phases"]:
            raise ValueError(f"{len(phases)} phases are named, but the denoiser has {denoiser.config['n_phases']}")
        self.denoiser, self.scheduler = denoiser.eval(), scheduler
        self.phases, self.voxel_size_um, self.patch = tuple(phases), voxel_size_um, patch

    def __call__(
        self,
        shape: Sequence[int] | None = None,
        *,
        count: int = 1,
        steps: int = 50,
        seed: int = 0,
        fractions: Sequence[float] | None = None,
        periodic: bool = False,
        sampler: Sampler = "ddim",
        first: int = 0,
    ) -> NDArray[np.uint8]:
        """Make volumes.

        Sample i depends on `seed` and i alone: it is the same in a batch of any size.

        Parameters
        ----------
        shape : three ints, optional
            ``(z, y, x)`` in voxels; the patch of the training unless given. Where a length is not a multiple of
            the network's factor, a larger volume is made and cut.
        count : int
            How many.
        steps : int
            Steps of the walk, 1 to the length of the schedule.
        seed : int
            Not negative.
        fractions : sequence of float, optional
            Volume fraction of each phase, adding up to 1; hit to within one voxel by the decoding, see `decode`.
        periodic : bool
            Make the opposite faces of the volume match. Lengths must then be multiples of the network's factor.
        sampler : {"ddim", "ddpm"}
            See `make_sampler`.
        first : int
            Number i of the first sample: ``pipe(count=4)[3]`` is ``pipe(first=3)[0]``.

        Returns
        -------
        ndarray of uint8
            ``(count, Z, Y, X)`` labels.

        Raises
        ------
        ValueError
            If an argument is out of its range.
        """
        wanted = self._checked_shape(shape, periodic)
        self._check_numbers(count=count, steps=steps, seed=seed, first=first)
        if fractions is not None:
            phase_counts(fractions, n_phases=len(self.phases), voxels=int(np.prod(wanted)))
        out = np.empty((count, *wanted), dtype=np.uint8)
        self.denoiser.set_boundary("circular" if periodic else "zeros")
        try:
            for i in range(count):
                scores = self.scores(wanted, index=first + i, steps=steps, seed=seed, sampler=sampler)
                out[i] = decode(scores, fractions=fractions)
        finally:
            self.denoiser.set_boundary("zeros")
        return out

    @torch.inference_mode()
    def scores(
        self, shape: tuple[int, int, int], *, index: int, steps: int, seed: int, sampler: Sampler = "ddim"
    ) -> NDArray[np.float32]:
        """Walk one sample from noise to the last estimate of the one-hot volume, ``(n, Z, Y, X)``, not clipped.

        One sample at a time: kernels round differently in batches of different size, and a rounding can flip a label.
        """
        scheduler = make_sampler(self.scheduler, sampler)
        scheduler.set_timesteps(steps, device=self.denoiser.device)
        # The CPU's generator gives the same noise to every device.
        generator = torch.Generator().manual_seed(_sample_seed(seed, index))
        full = [-(-length // self.denoiser.factor) * self.denoiser.factor for length in shape]
        x = torch.randn((1, len(self.phases), *full), generator=generator).to(self.denoiser.device)
        estimate = x
        for t in tqdm(scheduler.timesteps, desc=f"sample {index}", leave=False, disable=None):
            prediction = self.denoiser(x, t.expand(1))
            estimate = clean_estimate(self.scheduler, noisy=x, prediction=prediction, timestep=t)
            x = scheduler.step(prediction, t, x, generator=generator, return_dict=False)[0]
        z, y, x_ = shape
        return _finite(estimate[0, :, :z, :y, :x_])

    def to(self, device: str | torch.device) -> "StructurePipeline":
        """Move the denoiser to a device and return the pipeline."""
        torch.nn.Module.to(self.denoiser, device)
        return self

    def with_denoiser(self, denoiser: torch.nn.Module) -> "StructurePipeline":
        """Return the same pipeline with another network of the same phases."""
        return StructurePipeline(
            cast("Denoiser", denoiser),
            self.scheduler,
            phases=self.phases,
            voxel_size_um=self.voxel_size_um,
            patch=self.patch,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json``, the weights (safetensors), ``scheduler_config.json`` and ``material.json``."""
        folder = make_output_folder(folder)
        self.denoiser.save_pretrained(folder)
        self.scheduler.save_pretrained(folder)
        material = {"phases": self.phases, "voxel_size_um": self.voxel_size_um, "patch": self.patch}
        (folder / "material.json").write_text(json.dumps(material, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "StructurePipeline":
        """Read what `save_pretrained` wrote.

        Raises
        ------
        ValueError
            If a file is missing or cannot be read.
        """
        folder = Path(folder)
        try:
            material = json.loads((folder / "material.json").read_text(encoding="utf-8"))
            scheduler = DDPMScheduler.from_pretrained(folder, local_files_only=True)
            denoiser = Denoiser.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"'{folder}' does not hold a complete model: {error}") from error
        for parameter in denoiser.parameters():
            # Read weights lie at odd addresses, where kernels round differently from those that were trained.
            parameter.data = parameter.data.clone()
        size, patch = material["voxel_size_um"], material["patch"]
        return cls(
            denoiser,
            scheduler,
            phases=material["phases"],
            voxel_size_um=tuple(size) if size else None,
            patch=tuple(patch) if patch else None,
        )

    def _checked_shape(self, shape: Sequence[int] | None, periodic: bool) -> tuple[int, int, int]:
        wanted = tuple(int(n) for n in (shape if shape is not None else self.patch or ()))
        if len(wanted) != 3 or min(wanted) < 1:
            raise ValueError(f"shape is {shape}; it must be three positive lengths (z, y, x) in voxels")
        if periodic and any(n % self.denoiser.factor for n in wanted):
            raise ValueError(
                f"shape is {wanted}; a periodic volume needs lengths that are multiples of {self.denoiser.factor}"
            )
        return wanted

    def _check_numbers(self, *, count: int, steps: int, seed: int, first: int) -> None:
        longest = self.scheduler.config["num_train_timesteps"]
        if not 1 <= steps <= longest:
            raise ValueError(f"steps is {steps}; it must be between 1 and {longest}")
        if count < 1:
            raise ValueError(f"count is {count}; it must be at least 1")
        if seed < 0 or first < 0:
            raise ValueError(f"seed is {seed} and first is {first}; neither may be negative")


def load(name_or_folder: str | Path, *, device: str | torch.device | None = None) -> StructurePipeline:
    """Load a model that makes volumes.

    Parameters
    ----------
    name_or_folder : str or path-like
        Name of a shipped model, a folder written by `StructurePipeline.save_pretrained`, or the folder of a
        training run (its final model, or the averaged weights of its newest checkpoint).
    device : str or torch.device, optional
        An accelerator if there is one, unless given.

    Returns
    -------
    StructurePipeline
        Call it as ``pipe(shape=(z, y, x), count=1, steps=50, seed=0, fractions=None, periodic=False)``.

    Raises
    ------
    ValueError
        If there is no such name or folder, or no complete model in it.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return StructurePipeline.from_pretrained(_model_folder(name_or_folder)).to(device)


def _model_folder(name_or_folder: str | Path) -> Path:
    shipped = sorted(p.parent.name for p in SHIPPED.glob("*/config.json"))
    if str(name_or_folder) in shipped:
        return SHIPPED / str(name_or_folder)
    folder = Path(name_or_folder)
    if not folder.is_dir():
        raise ValueError(
            f"there is no model '{name_or_folder}'; shipped: {', '.join(shipped) or 'none in this version'}; "
            "the folder of a training run (generative/train_ddpm.py) is accepted too"
        )
    candidates = [folder, folder / "model", *(checkpoint / "model" for checkpoint in checkpoints(folder)[-1:])]
    for candidate in candidates:
        if (candidate / "config.json").is_file():
            return candidate
    raise ValueError(f"'{folder}' holds neither a model nor a complete checkpoint; train one or give another folder")


def _sample_seed(seed: int, index: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1, np.uint64)[0])


def _finite(estimate: Tensor) -> NDArray[np.float32]:
    if not bool(torch.isfinite(estimate).all()):
        raise ValueError("the model's estimate is not finite; its weights are broken: train it again")
    return estimate.float().cpu().numpy()
