"""New volumes from a trained denoiser: one noise and one walk backwards for each sample, at any size."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from generative.coding import LabelCoding, encode
from generative.decoding import ReadScores, decode_slabs, fraction_offsets, phase_counts
from generative.denoiser import Denoiser
from generative.fingerprint import fingerprint
from generative.inpainting import Known, known_region
from generative.loading import ModelCard, checked_device, read_card, realign, write_card
from generative.memory import say_what_to_lower
from generative.multi_plane import multi_plane, voxel_estimate
from generative.noise_schedule import NoiseSchedule, cosine_schedule
from generative.position_noise import PositionNoise
from generative.requests import Request, check_request, is_whole, sample_seed
from generative.walking import Estimate, walk_windows
from generative.walks import Sampler, Walk, make_walk, with_resampling
from volume import write_slabs

__all__ = ["Precision", "StructurePipeline", "WalkSettings"]

Precision = Literal["no", "bf16", "fp16"]
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
STEPS = 25
LOWER = "lower the shape or windows_at_once, or write it slab by slab (StructurePipeline.write, --format zarr)"
LOWER_ON_DISK = "lower y and x of the shape, or windows_at_once"
# From the estimator of a window to one that is guided.
Guide = Callable[[Estimate], Estimate]
# How often what planes say of a volume is counted; see `generative.multi_plane.multi_plane`.
EVIDENCE: dict[Sampler, float] = {"dpm++": 1.5, "ddim": 1.5, "ddpm": 4 / 3}


@dataclass(frozen=True)
class WalkSettings:
    """How volumes are made, whatever is asked for.

    Parameters
    ----------
    sampler : {"dpm++", "ddim", "ddpm"}
        See `generative.make_walk`.
    overlap : int, optional
        Voxels that neighbouring windows share along each axis; a quarter of the window unless given. Windows are as
        large as the patches of the training.
    windows_at_once : int
        Windows in one call of the network. Kernels round differently in batches of different size, and a rounding can
        flip a label that is nearly a tie: the same number must be used to get the same bytes.
    guidance_scale : float
        How strongly a model that can be told the volume fractions is held to them: 0 does not tell it, 1 tells it,
        more exaggerates the difference (classifier-free guidance).
    precision : {"no", "bf16", "fp16"}, optional
        Arithmetic of the network; that of its training unless given.
    repeats : int
        How often each `jump` steps of the walk are gone over, so that what is made grows together with a region that
        is given; see `generative.walks.with_resampling`. 1 is the walk itself.
    jump : int
        Steps in such a part.
    """

    sampler: Sampler = "dpm++"
    overlap: int | None = None
    windows_at_once: int = 1
    guidance_scale: float = 1.0
    precision: Precision | None = None
    repeats: int = 1
    jump: int = 5

    def __post_init__(self) -> None:
        if self.overlap is not None and not (is_whole(self.overlap) and self.overlap >= 0):
            raise ValueError(f"overlap is {self.overlap!r}; give a whole number of voxels, 0 or more")
        for name in ("windows_at_once", "repeats", "jump"):
            value = getattr(self, name)
            if not is_whole(value) or value < 1:
                raise ValueError(f"{name} is {value!r}; give a whole number of at least 1")
        if not isinstance(self.guidance_scale, int | float) or not 0 <= self.guidance_scale <= 100:
            raise ValueError(f"guidance_scale is {self.guidance_scale!r}; give a number from 0 to 100")
        if self.precision not in (None, "no", "bf16", "fp16"):
            raise ValueError(f"precision is {self.precision!r}; give 'no', 'bf16' or 'fp16'")


class StructurePipeline:
    """A denoiser, its noise schedule and what is known of its material: what it takes to make volumes.

    Parameters
    ----------
    denoiser : Denoiser
        The network, best with averaged weights.
    schedule : NoiseSchedule
        That of the training.
    card : ModelCard
        Of the kind ``diffusion``, with phases, voxel size and patch. Its settings may hold ``offsets``, constants
        added to the scores of the phases before decoding, ``precision``, ``fractions``, those of the material, and
        ``coding``, the fields of the `generative.LabelCoding` of its training.

    Notes
    -----
    A planar model, trained on a micrograph, makes pictures ``(1, Y, X)``, and volumes by estimating the planes along
    all three axes at each step (`generative.multi_plane.multi_plane`); give it 50 steps or more.
    """

    def __init__(self, denoiser: Denoiser, schedule: NoiseSchedule, *, card: ModelCard) -> None:
        if len(card.phases) != denoiser.config["n_phases"]:
            raise ValueError(
                f"{len(card.phases)} phases are named, but the denoiser has {denoiser.config['n_phases']}; "
                "name as many as it was trained on"
            )
        self.denoiser, self.schedule, self.card = denoiser.eval(), schedule, card
        self._copies: tuple[Denoiser, ...] = ()
        if self.offsets is not None and self.offsets.shape != (len(card.phases),):
            raise ValueError(f"the model has {len(self.offsets)} offsets for {len(card.phases)} phases; make it again")

    @property
    def phases(self) -> tuple[str, ...]:
        """Names indexed by label."""
        return self.card.phases

    @property
    def voxel_size_um(self) -> tuple[float, float, float] | None:
        """Of the material, ``(z, y, x)``."""
        return self.card.voxel_size_um

    @property
    def patch(self) -> tuple[int, int, int]:
        """Shape of a window: that of the patches of the training; of a planar model one plane."""
        return self.card.patch or (64, 64, 64)

    def __call__(
        self,
        shape: Sequence[int] | None = None,
        *,
        count: int = 1,
        steps: int | None = None,
        seed: int = 0,
        fractions: Sequence[float] | None = None,
        periodic: bool = False,
        first: int = 0,
        known: Known | None = None,
        guide: Guide | None = None,
        settings: WalkSettings | None = None,
    ) -> NDArray[np.uint8]:
        """Make volumes.

        Sample i depends on `seed` and i alone: it is the same in a batch of any size.

        Parameters
        ----------
        shape : three ints, optional
            ``(z, y, x)`` in voxels, any; the patch of the training unless given. Larger volumes are made of
            overlapping windows that are denoised together, smaller ones are cut from one window.
        count : int
            How many.
        steps : int, optional
            Steps of the walk, 1 to the length of the schedule; 25 unless given.
        seed : int
            Not negative.
        fractions : sequence of float, optional
            Volume fraction of each phase, adding up to 1; hit to within one voxel by the decoding, see
            `generative.decode`. A model that can be told fractions is told these.
        periodic : bool
            Make the opposite faces of the volume match.
        first : int
            Number i of the first sample: ``pipe(count=4)[3]`` is ``pipe(first=3)[0]``.
        known : Known, optional
            Of `known_region`: what the volumes hold somewhere, to the voxel, also where `fractions` are asked for.
            `settings` with ``repeats`` above 1 make the rest fit to it better.
        guide : callable, optional
            Turns the estimator of a window into one that is led, such as a `generative.guidance.Guidance`.
        settings : WalkSettings, optional
            Sampler, windows and guidance.

        Returns
        -------
        ndarray of uint8
            ``(count, Z, Y, X)`` labels.

        Raises
        ------
        ValueError
            If an argument is out of its range, or memory runs out.
        """
        request = check_request(
            shape,
            default=self.patch,
            n_phases=len(self.phases),
            count=count,
            seed=seed,
            first=first,
            fractions=fractions,
            periodic=periodic,
        )
        walk = self._walk(request, steps, settings, known=known, guide=guide)
        with say_what_to_lower(f"{request.count} x {request.shape} voxels", LOWER):
            out = np.empty((request.count, *request.shape), dtype=np.uint8)
            for i, labels in enumerate(out):
                index = request.first + i
                scores = self.scores(request, walk, index=index, settings=settings, wrap=guide, known=known)
                done = 0
                for slab in self._decoded(partial(_planes, scores), request, known):
                    labels[done : done + len(slab)] = slab
                    done += len(slab)
        return out

    def write(
        self,
        path: str | Path,
        shape: Sequence[int],
        *,
        index: int = 0,
        steps: int | None = None,
        seed: int = 0,
        fractions: Sequence[float] | None = None,
        periodic: bool = False,
        known: Known | None = None,
        guide: Guide | None = None,
        settings: WalkSettings | None = None,
    ) -> None:
        """Make one volume that need not fit into memory and write it as OME-Zarr: the volume that calling would make.

        Killed and called again, it goes on after its last finished step. Until the end the walk lies in a folder
        beside `path`, whose name begins with a dot; it takes ``8 n Z Y X`` bytes (16 with DPM-Solver++). It is taken
        up by the same weights and arguments alone.

        Parameters
        ----------
        path : path-like
            Ends in ``.zarr``.
        shape : three ints
            ``(z, y, x)`` in voxels.
        index : int
            Number of the sample.
        steps, seed, fractions, periodic, known, settings
            As in calling.
        guide : Guidance, optional
            As in calling, but a `generative.guidance.Guidance` or another dataclass of plain values, whose content
            can be compared when the walk is taken up again.

        Raises
        ------
        ValueError
            If an argument is out of its range, the folder of the walk belongs to other weights or arguments, or memory
            or disk run out.
        """
        path = Path(path)
        request = check_request(
            shape,
            default=self.patch,
            n_phases=len(self.phases),
            seed=seed,
            first=index,
            fractions=fractions,
            periodic=periodic,
        )
        walk = self._walk(request, steps, settings, known=known, guide=guide)
        storing = {
            "store": path.with_name(f".{path.name}-walk"),
            "identity": self._identity(request, settings, known=known, guide=guide),
            "progress": path.name,
        }
        with say_what_to_lower(f"planes of {request.shape[1:]} voxels", LOWER_ON_DISK):
            stored = self.scores(
                request, walk, index=request.first, settings=settings, wrap=guide, known=known, **storing
            )
            slabs = self._decoded(stored.read, request, known)
            write_slabs(path, slabs, shape=request.shape, voxel_size_um=self.voxel_size_um, phases=self.phases)
        stored.remove()

    def known_region(
        self,
        labels: ArrayLike,
        mask: ArrayLike | None = None,
        *,
        shape: Sequence[int] | None = None,
        corner: Sequence[int] = (0, 0, 0),
        coding: LabelCoding | None = None,
    ) -> Known:
        """Say what volumes must hold somewhere, for `known` in calling.

        Parameters
        ----------
        labels, mask, shape, corner
            As in `generative.inpainting.known_region`.
        coding : LabelCoding, optional
            That of the training, which models know of themselves.

        Raises
        ------
        ValueError
            If it does not fit, or the model does not know its coding and none is given.
        """
        told = (self.card.settings or {}).get("coding")
        if coding is None and told is None:
            raise ValueError(
                "this model does not say how it codes labels; give coding=LabelCoding(…) as in its configuration"
            )
        used = coding or LabelCoding(**cast(dict[str, Any], told))
        return known_region(labels, mask, n_phases=len(self.phases), coding=used, shape=shape, corner=corner)

    def _walk(
        self,
        request: Request,
        steps: int | None,
        settings: WalkSettings | None,
        *,
        known: Known | None,
        guide: Guide | None,
    ) -> Walk:
        settings = settings or WalkSettings()
        if known is not None and not isinstance(known, Known):
            raise ValueError(f"known is of type {type(known).__name__}; give what known_region returns")
        if guide is not None and not callable(guide):
            raise ValueError(f"guide is {guide!r}; give a generative.guidance.Guidance or another callable")
        if known is not None and request.fractions is not None and known.clean.shape[1:] == request.shape:
            known.check_room(request.fractions)
        walk = make_walk(self.schedule, sampler=settings.sampler, steps=STEPS if steps is None else steps)
        if settings.repeats == 1:
            return walk
        if self.denoiser.config["planar"] and request.shape[0] > 1:
            # Each time over adds to the variance; see `generative.multi_plane.multi_plane`.
            raise ValueError(f"repeats is {settings.repeats}; volumes of a planar model are walked once, give 1")
        return with_resampling(walk, self.schedule, jump=settings.jump, repeats=settings.repeats)

    def _decoded(self, read: ReadScores, request: Request, known: Known | None) -> Iterator[NDArray[np.uint8]]:
        return decode_slabs(
            read if known is None else known.hold(read),
            (len(self.phases), *request.shape),
            fractions=request.fractions,
            offsets=self.offsets,
        )

    def _identity(
        self, request: Request, settings: WalkSettings | None, *, known: Known | None, guide: Guide | None
    ) -> str:
        """Return what tells the scores of one walk from those of another beside its noise and its windows."""
        # What begins with an underscore says where it was read from.
        built = {name: value for name, value in self.denoiser.config.items() if not name.startswith("_")}
        network = [built, self.denoiser.state_dict(), self.schedule, self.card.settings]
        return fingerprint([network, request.fractions, settings or WalkSettings(), known, guide])

    @property
    def offsets(self) -> NDArray[np.float32] | None:
        """Constants added to the scores of the phases before decoding."""
        known = (self.card.settings or {}).get("offsets")
        return None if known is None else np.asarray(known, dtype=np.float32)

    def scores(
        self,
        request: Request,
        walk: Walk,
        *,
        index: int,
        settings: WalkSettings | None = None,
        wrap: Guide | None = None,
        known: Known | None = None,
        **walking: Any,
    ) -> Any:
        """Walk one sample from noise to the last estimate of the coded volume.

        Parameters
        ----------
        request : Request
            Shape, seed, fractions and period.
        walk : Walk
            As `make_walk` makes it.
        index : int
            Number of the sample.
        settings : WalkSettings, optional
            Windows and guidance.
        wrap : callable, optional
            From the estimator of a window to one that is guided; see `generative.guidance`.
        known : Known, optional
            What the volume holds somewhere.
        **walking
            ``store`` and more for `generative.walking.walk_windows`.

        Returns
        -------
        ndarray of float32, or StoredScores with ``store``
            ``(n, Z, Y, X)``, about −1 to 1, not clipped.
        """
        settings = settings or WalkSettings()
        last = int(walk.timesteps[-1])
        crew = [
            self.estimator(fractions=request.fractions, settings=settings, last=last, denoiser=one)
            for one in (self.denoiser, *self._copies)
        ]
        window = self.patch
        if self.denoiser.config["planar"] and request.shape[0] > 1:
            window = (max(self.patch), *self.patch[1:])
            crew = [self._of_volumes(estimate, settings.sampler) for estimate in crew]
        overlap = tuple(n // 4 for n in window) if settings.overlap is None else (settings.overlap,) * 3
        return walk_windows(
            [wrap(estimate) for estimate in crew] if wrap else crew,
            walk,
            shape=request.shape,
            channels=len(self.phases),
            noise=PositionNoise(sample_seed(request.seed, index), len(self.phases)),
            window=window,
            overlap=overlap,
            periodic=request.periodic,
            batch=settings.windows_at_once,
            known=None if known is None else (known.clean, known.mask),
            **walking,
        )

    def _of_volumes(self, estimate: Estimate, sampler: Sampler) -> Estimate:
        """Make an estimator of volumes of that of pictures; what a voxel knows of itself are the volume fractions."""
        shares = (self.card.settings or {}).get("fractions")
        alone = None
        if shares is not None:
            voxels = np.repeat(np.arange(len(shares)), phase_counts(shares, n_phases=len(shares), voxels=10_000))
            coded = encode(voxels.astype(np.uint8).reshape(1, 1, -1), len(shares))
            alone = voxel_estimate(coded, self.schedule, rng=0)
        return multi_plane(estimate, alone=alone, evidence=EVIDENCE[sampler])

    def estimator(
        self,
        *,
        fractions: Sequence[float] | None = None,
        settings: WalkSettings | None = None,
        last: int | None = None,
        denoiser: Denoiser | None = None,
    ) -> Estimate:
        """Return the function from noisy windows (B, n, z, y, x) at a time step to their clean estimates.

        Parameters
        ----------
        fractions : sequence of float, optional
            What a model that can be told fractions is told.
        settings : WalkSettings, optional
            Guidance and precision.
        last : int, optional
            The time step at which a walk ends. Estimates are clipped to [−1, 1] at all others: at the last there is
            no step to come that could go astray, and equal scores could not be told apart where fractions are asked.
        denoiser : Denoiser, optional
            A copy of the pipeline's on another device.

        Returns
        -------
        Estimate
            It keeps track of gradients if its windows require them, and only then.
        """
        network = denoiser or self.denoiser
        settings = settings or WalkSettings()
        precision = settings.precision or (self.card.settings or {}).get("precision", "no")
        told = None
        if fractions is not None and self.denoiser.config["conditions"] and settings.guidance_scale > 0:
            told = torch.tensor([fractions], dtype=torch.float32, device=network.device)
        predict = partial(_predict, network, told=told, scale=settings.guidance_scale)

        def estimate(noisy: Tensor, timestep: int, _corners: Any = None) -> Tensor:
            with torch.set_grad_enabled(noisy.requires_grad):
                x = noisy.to(network.device)
                times = torch.full((len(x),), timestep, device=x.device)
                with torch.autocast(x.device.type, HALF.get(precision), enabled=precision in HALF):
                    prediction = predict(x, times)
                clean = self.schedule.clean_estimate(x, prediction.float(), times)
                if not bool(torch.isfinite(clean).all()):
                    raise ValueError("the model's estimate is not finite; its weights are broken: train it again")
                return clean if timestep == last else clean.clamp(-1, 1)

        return estimate

    def calibrated(
        self, fractions: Sequence[float], *, count: int, steps: int = STEPS, seed: int = 0
    ) -> "StructurePipeline":
        """Return the same pipeline with offsets at which its volumes have these fractions in the mean.

        Parameters
        ----------
        fractions : sequence of float
            Those of the material.
        count : int
            Volumes, of the shape of a patch, that are made to find the offsets.
        steps : int
            Steps of each walk.
        seed : int
            Of these volumes; take one that is used for nothing else.
        """
        bare = self.with_settings(offsets=None)
        request = check_request(None, default=self.patch, n_phases=len(self.phases), count=count, seed=seed)
        walk = make_walk(self.schedule, steps=steps)
        pooled = np.concatenate([bare.scores(request, walk, index=i) for i in range(count)], axis=1)
        return self.with_settings(offsets=[round(float(o), 5) for o in fraction_offsets(pooled, fractions)])

    def with_settings(self, **settings: Any) -> "StructurePipeline":
        """Return the same pipeline with other settings of its card; None removes one."""
        known = {**(self.card.settings or {}), **settings}
        kept = {name: value for name, value in known.items() if value is not None}
        pipe = StructurePipeline(self.denoiser, self.schedule, card=replace(self.card, settings=kept))
        pipe._copies = self._copies
        return pipe

    def with_denoiser(self, denoiser: torch.nn.Module) -> "StructurePipeline":
        """Return the same pipeline with another network of the same phases."""
        return StructurePipeline(cast("Denoiser", denoiser), self.schedule, card=self.card)

    def to(self, device: str | torch.device) -> "StructurePipeline":
        """Move the denoiser to a device, forget copies of it on others, and return the pipeline."""
        torch.nn.Module.to(self.denoiser, checked_device(device))
        self._copies = ()
        return self

    def on_devices(self, devices: Sequence[str | torch.device]) -> "StructurePipeline":
        """Let several devices share the windows of each step, move the denoiser to the first and return the pipeline.

        Devices of one kind give the same volumes as one of them does.

        Parameters
        ----------
        devices : sequence of str or torch.device
            Such as ``["cuda:0", "cuda:1"]``.

        Raises
        ------
        ValueError
            If there are none, or one is not there.
        """
        if isinstance(devices, str) or not len(devices):
            raise ValueError(f"devices is {devices!r}; give a list such as ['cuda:0', 'cuda:1']")
        places = [checked_device(device) for device in devices]
        self.to(places[0])
        self._copies = tuple(torch.nn.Module.to(deepcopy(self.denoiser), place) for place in places[1:])
        return self

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write ``config.json``, the weights (safetensors) and ``material.json``.

        Parameters
        ----------
        folder : path-like
            Made if it is not there.
        half : bool
            Round the learnt weights to float16, which halves the file. They are read back as float32; what
            follows from the material's covariance stays float32, as it spans too many orders of magnitude.
        """
        written = deepcopy(self.denoiser) if half else self.denoiser
        if half:
            for parameter in written.parameters():
                parameter.data = parameter.data.half()
        written.save_pretrained(folder)
        write_card(folder, self._described())

    def _described(self) -> ModelCard:
        schedule = {
            "timesteps": len(self.schedule),
            "noise_scale": self.schedule.noise_scale,
            "prediction": self.schedule.prediction,
        }
        return replace(self.card, settings={**(self.card.settings or {}), "schedule": schedule})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "StructurePipeline":
        """Read what `save_pretrained` wrote.

        Raises
        ------
        ValueError
            If a file is missing or cannot be read.
        """
        card = read_card(folder)
        try:
            schedule = cosine_schedule(**(card.settings or {})["schedule"])
            denoiser, found = Denoiser.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True, torch_dtype=torch.float32
            )
            if absent := sorted([*found["missing_keys"], *found["unexpected_keys"]]):
                raise ValueError(f"config.json and the weights are of two networks, which differ in {absent[0]}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"'{folder}' does not hold a complete model: {error}") from error
        realign(denoiser)
        return cls(denoiser, schedule, card=card)


def _planes(scores: NDArray[np.float32], first: int, last: int) -> NDArray[np.float32]:
    return scores[:, first:last]


def _predict(denoiser: Denoiser, x: Tensor, times: Tensor, *, told: Tensor | None, scale: float) -> Tensor:
    """Predict, guided without a classifier where fractions are told."""
    if told is None:
        return cast(Tensor, denoiser(x, times))
    with_fractions = denoiser(x, times, told.expand(len(x), -1))
    if scale == 1:
        return cast(Tensor, with_fractions)
    without = denoiser(x, times)
    return cast(Tensor, without + scale * (with_fractions - without))
